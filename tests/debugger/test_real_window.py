"""A training and a window as processes of their own, on a real X server without a screen."""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtGui import QImage

from engine.debugger.net.connection import Address
from engine.debugger.net.session import Session
from engine.debugger.widgets import theme
from engine.protocol.discovery import live_runs
from tests.debugger.scripted import PATIENCE
from tests.helpers import REPOSITORY

TRAINING = ("scenes/motion_tracking.py", "--robot", "humanoid", "--num-envs", "16", "--learning.hidden", "32")
# What engine.run does, but a run that nobody controls stands still for 2 s instead of 30 s.
IMPATIENT = """
import functools, sys
from engine import attend, run
attend.Inspector = functools.partial(attend.Inspector, patience=2.0)
sys.exit(run.main(sys.argv[1:]))
"""
PILL, WORLD, BODY, PLOTS = (0, 18, 120, 45), (0, 170, 430, 700), (450, 170, 1200, 640), (1215, 170, 1600, 920)
# A person in front of the screen: presses the keys named, then takes a picture of the screen.
PERSON = """
import ctypes, sys, time
from PySide6.QtGui import QGuiApplication
app = QGuiApplication([])
x, test = ctypes.CDLL("libX11.so.6"), ctypes.CDLL("libXtst.so.6")
x.XOpenDisplay.restype = ctypes.c_void_p
x.XStringToKeysym.restype = ctypes.c_ulong
display = ctypes.c_void_p(x.XOpenDisplay(None))
def send(name, down):
    code = x.XKeysymToKeycode(display, ctypes.c_ulong(x.XStringToKeysym(name.encode())))
    test.XTestFakeKeyEvent(display, code, down, ctypes.c_ulong(0))
    x.XFlush(display)
    time.sleep(0.05)
root, above, below, count = ctypes.c_ulong(), ctypes.c_ulong(), ctypes.POINTER(ctypes.c_ulong)(), ctypes.c_uint()
x.XDefaultRootWindow.restype = ctypes.c_ulong
top = ctypes.c_ulong(x.XDefaultRootWindow(display))
x.XQueryTree(display, top, *map(ctypes.byref, (root, above, below, count)))
for window in below[:count.value]:
    wide, tall, rest = ctypes.c_uint(), ctypes.c_uint(), [ctypes.c_ulong() for _ in range(5)]
    x.XGetGeometry(
        display, ctypes.c_ulong(window), *map(ctypes.byref, (*rest[:3], wide, tall, *rest[3:]))
    )
    if wide.value > 1000 and sys.argv[2:]:  # nobody else gives the keyboard to it
        x.XSetInputFocus(display, ctypes.c_ulong(window), 2, ctypes.c_ulong(0))
        x.XSync(display, 0)
        time.sleep(0.2)
for press in sys.argv[2:]:
    names = press.split("+")
    for name in names: send(name, 1)
    for name in reversed(names): send(name, 0)
    time.sleep(0.3)
assert app.primaryScreen().grabWindow(0).save(sys.argv[1])
"""


@contextlib.contextmanager
def process(*command: str, **how: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that ends with the block."""
    made = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **how
    )
    try:
        yield made
    finally:
        made.kill()
        made.communicate()


@pytest.fixture
def display() -> Iterator[str]:
    """A screen in memory, on a free number."""
    server = shutil.which("Xvfb")
    if server is None:
        pytest.skip("there is no Xvfb: apt-get install xvfb libxcb-icccm4 libxcb-keysyms1 libxcb-cursor0")
    reader, writer = os.pipe()
    with process(
        server, "-displayfd", str(writer), "-screen", "0", "1600x950x24", "-nolisten", "tcp", pass_fds=(writer,)
    ):
        os.close(writer)
        number = os.read(reader, 16).decode().strip() if select.select([reader], [], [], 10.0)[0] else ""
        if not number:
            pytest.skip("Xvfb does not start here")
        yield f":{number}"
        os.close(reader)  # earlier, and the server would end: it goes on writing


@pytest.fixture
def surroundings(display: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a desk of its own: no other runs, no settings, a screen."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    own = {name: str(tmp_path) for name in ("XDG_CONFIG_HOME", "HOME", "TMPDIR")}
    given = {"DISPLAY": display, "QT_QPA_PLATFORM": "xcb", **own}
    found = {**os.environ, **given}
    tried = subprocess.run(
        [sys.executable, "-c", PERSON, str(tmp_path / "tried.png")],
        env=found,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if tried.returncode:
        pytest.skip(f"Qt cannot draw on X here: {' '.join(tried.stderr.split())}")
    return found


def until(holds: Callable[[], Any], seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.05)
    return found


def look(picture: Path, surroundings: dict[str, str], *keys: str) -> QImage:
    """Press keys, and see what is on the screen then."""
    command = [sys.executable, "-c", PERSON, str(picture), *keys]
    subprocess.run(command, env=surroundings, check=True, capture_output=True, timeout=60)
    image = QImage(str(picture))
    assert (image.width(), image.height()) == (1600, 950)
    return image


def colours(image: QImage, box: tuple[int, int, int, int]) -> set[int]:
    """Colours of every third pixel of a part (left, top, right, bottom) of a picture."""
    left, top, right, bottom = box
    return {image.pixel(x, y) & 0xFFFFFF for x in range(left, right, 3) for y in range(top, bottom, 3)}


def seen(picture: QImage, color: str, box: tuple[int, int, int, int]) -> bool:
    return int(color[1:], 16) in colours(picture, box)


def test_a_window_on_a_screen_shows_and_pauses_a_training_and_holds_up_none_when_it_is_killed(
    surroundings: dict[str, str], tmp_path: Path
):
    training = (*TRAINING, "--iterations", "100000", "--no-film", "--out", str(tmp_path / "walk"))
    with process(sys.executable, "-c", IMPATIENT, *training, env=surroundings) as run:
        (found,) = until(lambda: list(live_runs()))
        session = Session.attach(Address(path=str(found.socket)))
        with process(sys.executable, "-m", "engine.debugger", "--control", "walk", env=surroundings) as window:
            until(lambda: session.state.get("controller"))
            until(lambda: len(colours(look(tmp_path / "1.png", surroundings), BODY)) > 30)
            assert seen(look(tmp_path / "1.png", surroundings), theme.GREEN, PILL)
            look(tmp_path / "2.png", surroundings, "F6")
            until(lambda: session.state["mode"] == "paused")
            paused = until(
                lambda: (image := look(tmp_path / "2.png", surroundings)) and seen(image, theme.AMBER, PILL) and image
            )
            for box in (WORLD, BODY, PLOTS):
                assert len(colours(paused, box)) > 10, "a part of the window is blank"
            tick = int(session.state["tick"])
            window.send_signal(signal.SIGKILL)
            window.wait(PATIENCE)
        until(lambda: session.state["mode"] == "running" and int(session.state["tick"]) > tick + 20)
        assert session.state["controller"] is None and run.poll() is None
        assert any("Nobody has held control for 2 s" in event["text"] for event in session.events)
        session.close()
