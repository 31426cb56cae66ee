"""`--demo` as a user types it: in a process of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PySide6.QtGui import QImage

from engine.debugger.widgets import theme
from tests.debugger.scripted import PATIENCE
from tests.helpers import REPOSITORY

# What `python -m engine.debugger --demo` does, with somebody in front of it who looks at it once, and closes it.
WATCHED = """
import sys
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication
from engine.debugger.__main__ import main
app = QApplication([])
looks = 0
def look():
    global looks
    looks += 1
    windows = [w for w in app.topLevelWidgets() if w.isVisible() and hasattr(w, "hosts")]
    if not windows and looks < 500:
        return
    (window,) = windows
    shown = window.store.value(window.store.by_address["robot.BodyState.position"], 0)
    if shown is None and looks < 500:
        return
    assert not any(host.failed for host in window.hosts.values())
    assert window.grab().save(sys.argv[1])
    window.close()
    timer.stop()
timer = QTimer(interval=200)
timer.timeout.connect(look)
timer.start()
sys.exit(main(["--demo"]))
"""

# The same with nobody in front of it; it says when its window is there.
SHOWN = """
import sys
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication
from engine.debugger.__main__ import main
app = QApplication([])
def look():
    if any(w.isVisible() and hasattr(w, "hosts") for w in app.topLevelWidgets()):
        timer.stop()
        print("shown", flush=True)
timer = QTimer(interval=50)
timer.timeout.connect(look)
timer.start()
sys.exit(main(["--demo"]))
"""


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """A user without settings, screen and runs."""
    own = {name: str(tmp_path) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "TMPDIR")}
    taken = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    return {**{name: text for name, text in os.environ.items() if name not in taken}, **own}


def debugger(home: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "engine.debugger", *arguments]
    return subprocess.run(command, env=home, cwd=REPOSITORY, capture_output=True, text=True, timeout=4 * PATIENCE)


def test_the_demo_is_shown_in_a_window_that_closes_cleanly(home: dict[str, str], tmp_path: Path):
    picture = tmp_path / "demo.png"
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(picture)],
        env={**home, "QT_QPA_PLATFORM": "offscreen"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    image = QImage(str(picture))
    colours = {image.pixel(x, y) & 0xFFFFFF for x in range(450, 1200, 2) for y in range(170, 640, 2)}
    assert {int(theme.WHITE[1:], 16), int(theme.RED[1:], 16)} & colours and len(colours) > 30  # a robot


def test_the_demo_s_process_ends_when_it_is_told_to(home: dict[str, str]):
    command, surroundings = [sys.executable, "-c", SHOWN], {**home, "QT_QPA_PLATFORM": "offscreen"}
    with subprocess.Popen(command, env=surroundings, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "shown\n"
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)
    assert process.returncode == 130


def test_the_demo_is_read_without_a_window(home: dict[str, str]):
    done = debugger(home, "--demo", "--text", "print", "RootState.position", "0")
    assert done.returncode == 0, done.stderr
    assert "robot.RootState.position [m] at tick" in done.stdout
    done = debugger(home, "--demo", "--text", "set Reward.total 0 1 because why not")
    assert done.returncode == 1
    assert "This is a recording: it can be looked at, but not changed." in done.stdout + done.stderr


def test_without_a_screen_there_is_a_sentence_and_no_core_dump(home: dict[str, str]):
    done = debugger(home, "--demo")
    assert done.returncode == 1
    sentence = "There is no display: use `ssh -X` or --text here, or record and open the file elsewhere.\n"
    assert done.stderr == sentence and not done.stdout
