"""Takes the pictures of docs/debugger.md: a real training, and the real window on it, driven by keys and dialogs.

    python -m docs.tools.make_pictures [--out docs/pictures/debugger] [--warm-up 200] [--watch 45]

Needs an X server without a screen (Xvfb); takes about three minutes. Whatever a picture should show is checked before it is taken.
"""

import argparse
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from PIL import Image

SIZE = (1600, 950)
LARGEST = 250_000  # bytes of a picture
LABEL, NUMBER = "left_knee_joint", "2.5"
TRAINING = ("scenes/motion_tracking.py", "--clip", "walk", "--num-envs", "256", "--iterations", "100000", "--no-film")
NO_XVFB = "There is no Xvfb, a screen in memory: apt-get install xvfb libxcb-icccm4 libxcb-keysyms1 libxcb-cursor0"


def expect(holds: object, what: str) -> None:
    """End here when the window does not show what it should."""
    if not holds:
        sys.exit(f"The picture would be wrong: {what}.")


@contextlib.contextmanager
def screen() -> Iterator[str]:
    """An X server of its own on a free display, as DISPLAY has it."""
    program = shutil.which("Xvfb")
    if program is None:
        sys.exit(NO_XVFB)
    reader, writer = os.pipe()
    command = [program, "-displayfd", str(writer), "-screen", "0", f"{SIZE[0]}x{SIZE[1]}x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=(writer,), stderr=subprocess.DEVNULL)
    os.close(writer)
    try:
        number = os.read(reader, 16).strip() if select.select([reader], [], [], 30.0)[0] else b""
        if not number:
            sys.exit(f"{program} did not start; it ended with status {server.poll()}.")
        yield f":{number.decode()}"
    finally:
        os.close(reader)
        server.terminate()
        server.wait()


@contextlib.contextmanager
def training(folder: Path, warm_up: int) -> Iterator[None]:
    """A training in a process of its own, from the tick `warm_up` on."""
    with (folder.parent / "training.log").open("w") as log:
        command = [sys.executable, "-m", "engine.run", *TRAINING, "--out", str(folder)]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            while not _ticks(folder) >= warm_up:
                if process.poll() is not None:
                    sys.exit(f"The training ended: {Path(log.name).read_text()[-2000:]}")
                time.sleep(0.5)
            yield
        finally:
            process.terminate()
            process.wait()


def _ticks(folder: Path) -> int:
    metrics = folder / "metrics.jsonl"
    lines = metrics.read_text().splitlines() if metrics.is_file() else []
    with contextlib.suppress(ValueError, IndexError):
        return int(json.loads(lines[-1])["tick"])
    return 0


class Driver:
    """A user of the window: presses keys, fills dialogs in, waits, takes pictures."""

    def __init__(self, folder: Path, out: Path) -> None:
        from PySide6.QtCore import QSettings
        from PySide6.QtWidgets import QApplication

        from engine.debugger.app.window import Window
        from engine.debugger.model.store import Store
        from engine.debugger.net.connection import Address
        from engine.debugger.net.qt_client import Client
        from engine.debugger.widgets import theme
        from engine.protocol.discovery import live_runs

        (run,) = live_runs()
        self.run, self.out = folder, out
        self.app = QApplication.instance() or QApplication([])
        assert isinstance(self.app, QApplication)
        theme.apply(self.app)
        self.store = Store()
        self.client = Client(self.store, Address(path=str(run.socket)))
        settings = QSettings(str(folder.parent / "window.ini"), QSettings.Format.IniFormat)
        self.window = Window(self.store, self.client, settings)
        self.window.resize(*SIZE)
        self.window.move(0, 0)
        self.window.show()
        self.client.start()

    def wait(self, seconds: float, until: Callable[[], object] = lambda: False) -> bool:
        """Let the window work for a time, or until something holds: whether it does."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until():
            self.app.processEvents()
            time.sleep(0.005)
        return bool(until())

    def press(self, keys: str, times: int = 1) -> None:
        """A key, as menus name it."""
        from PySide6.QtGui import QKeySequence
        from PySide6.QtTest import QTest

        for _ in range(times):
            self.window.activateWindow()
            self.window.setFocus()
            self.wait(0.05)
            QTest.keySequence(self.window, QKeySequence(keys))
            self.wait(0.15)

    def dialog(self, keys: str, place: tuple[int, int] | None = None, **fields: str) -> Any:
        """What a key opens, with its boxes filled in."""
        from PySide6.QtTest import QTest
        from PySide6.QtWidgets import QComboBox, QDialog

        self.press(keys)
        found = [each for each in self.window.findChildren(QDialog) if each.isVisible()]
        expect(len(found) == 1, f"{keys} opens {len(found)} dialogs: {self.window.message.text()}")
        for name, text in fields.items():
            box = getattr(found[0], name)
            if isinstance(box, QComboBox):
                box.setCurrentText(text)
            else:
                box.selectAll()
                QTest.keyClicks(box, text)
        if place is not None:
            found[0].move(*place)
        return found[0]

    def confirm(self, dialog: Any) -> None:
        """Press the button that does it, and wait for the run's answer."""
        from PySide6.QtCore import Qt
        from PySide6.QtTest import QTest

        QTest.mouseClick(dialog.confirm, Qt.MouseButton.LeftButton)
        expect(self.wait(10, lambda: not dialog.isVisible()), f"the run refuses: {dialog.problem.text()}")
        self.wait(1)

    def mark(self, address: str, label: str | None) -> int:
        """Mark a number in World: its column."""
        column = self.store.by_address[address]
        labels = self.store.columns[column].labels
        self.window.call("World", "pick", column, None if label is None else labels.index(label))
        self.wait(0.5)
        return column

    def mode(self, *modes: str) -> bool:
        """Wait until the run is in one of these."""
        return self.wait(20, lambda: self.store.state.get("mode") in modes)

    def picture(self, name: str, box: tuple[int, int, int, int] = (0, 0, *SIZE), torn: str = "") -> None:
        """Save a part of the screen, or a panel torn out of the window; 256 colours are all it has."""
        self.wait(0.7)
        failed = {title: host.failed for title, host in self.window.hosts.items() if host.failed}
        expect(not failed and not self.store.bad, f"panels failed {failed}, {self.store.bad} bad frames")
        from PySide6.QtGui import QGuiApplication

        seen = self.window.docks[torn].grab() if torn else QGuiApplication.primaryScreen().grabWindow(0, *box)
        path = self.out / f"{name}.png"
        expect(seen.save(str(path)), f"{path} cannot be written")
        with Image.open(path) as image:
            colours = image.convert("RGB")
        expect(len(colours.getcolors(1 << 22) or []) > 20, f"{name} is blank")
        colours.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
        expect(path.stat().st_size <= LARGEST, f"{path} has {path.stat().st_size} bytes, more than {LARGEST}")
        print(f"{path}  {path.stat().st_size / 1e3:.0f} kB  tick {self.store.state.get('tick')}")

    def tear(self, title: str, size: tuple[int, int]) -> None:
        """Drag a panel out of the window."""
        dock = self.window.docks[title]
        self.window.show_panel(title)
        dock.setFloating(True)
        dock.move(100, 150)
        dock.resize(*size)

    def put_back(self, title: str) -> None:
        """Put it into the window again."""
        self.window.docks[title].setFloating(False)
        self.window.menu_actions.by_name["reset_layout"].trigger()
        self.wait(1)


def look(driver: Driver, watch: float) -> None:
    """The window as it opens, and Why."""
    expect(driver.wait(10, lambda: driver.store.schema), "nothing came from the run")
    driver.wait(watch)
    expect(driver.mode("running"), f"the run is {driver.store.state}")
    driver.picture("window")
    driver.tear("Why", (760, 470))
    panel: Any = driver.window.hosts["Why"].panel
    if not driver.wait(30, lambda: any(f.text.startswith("before ") for f in panel.findings)):
        print("Why has no autopsy: what it received so far singles nothing out.")
    driver.wait(3)
    expect(len(panel.findings) >= 3, f"Why says {panel.findings}")
    driver.picture("why", torn="Why")
    driver.put_back("Why")


def look_back(driver: Driver) -> None:
    """A failure, paused, 35 ticks ago."""
    driver.press("Ctrl+T")
    expect(driver.wait(5, lambda: driver.client.role == "control"), "control was not given")
    driver.press("N")
    driver.mark("robot.PreviousDof.velocity", LABEL)
    driver.press("P")
    begun = int(driver.store.state["tick"])
    driver.wait(60, lambda: int(driver.store.state["tick"]) > begun + 150)
    driver.press("F6")
    expect(driver.mode("paused"), "the run does not pause")
    driver.press("Shift+Left", 3)
    driver.press("Left", 5)
    store = driver.store
    expect(driver.wait(60, lambda: store.cursor is not None and store.state.get("view") == store.cursor), "no past")
    expect(store.cursor == int(store.state["tick"]) - 35 or store.state["mode"] == "viewing", f"{store.state}")
    figure = store.by_address["robot.BodyState.position"]

    def shown() -> bool:
        held = store.value(figure, store.selected)
        return held is not None and held[0] == store.cursor

    expect(driver.wait(20, shown), f"Body shows another tick than {store.cursor}")
    driver.wait(2)
    driver.picture("scrub")
    driver.press("End")
    expect(driver.mode("paused"), "the window does not come back from the past")


def change(driver: Driver) -> None:
    """A push: the dialog, two steps, undone."""
    driver.wait(2)
    driver.mark("robot.RootState.linear_velocity", "y")
    dialog = driver.dialog("E", (620, 600), value=NUMBER, reason="a push from the right")
    driver.picture("edit", (0, 95, 1215, 760))
    driver.confirm(dialog)
    driver.press("F11", 2)
    driver.wait(2)
    driver.press("Ctrl+Z")
    driver.wait(2)
    written = (driver.run / "interventions.jsonl").read_text().splitlines()
    edits = [line for line in map(json.loads, written) if "linear_velocity" in json.dumps(line)]
    expect(len(edits) == 2, f"interventions.jsonl has {written}")


def break_it(driver: Driver) -> None:
    """A NaN that a break catches, and the log of it all."""
    condition = "nonfinite(robot.PreviousDof.velocity)"
    driver.confirm(driver.dialog("Ctrl+B", at="after remember_velocity", when=condition))
    driver.mark("robot.DofState.velocity", LABEL)
    dialog = driver.dialog("E", value="nan", reason="what if?")
    dialog.force.setChecked(True)
    driver.confirm(dialog)
    world: Any = driver.window.hosts["World"].panel
    world.filter.setText("PreviousDof")
    driver.mark("robot.PreviousDof.velocity", LABEL)
    driver.press("F5")
    hit = driver.wait(20, lambda: "hit" in str(driver.store.state.get("why")))
    driver.wait(3)
    message = driver.window.message.text()
    expect(hit and driver.mode("paused"), f"the break did not hold: {driver.store.state}")
    for part in (f"row {driver.store.selected}", LABEL, "robot.PreviousDof.velocity", "written by remember_velocity"):
        expect(part in message, f"the break says '{message}', without '{part}'")
    driver.picture("break")
    driver.tear("Log", (980, 330))
    driver.wait(2)
    driver.picture("log", torn="Log")
    driver.put_back("Log")
    driver.press("Ctrl+T")
    driver.window.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser("python -m docs.tools.make_pictures", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/pictures/debugger"), help="folder of the pictures")
    parser.add_argument("--warm-up", type=int, default=200, metavar="TICKS", help="trained before the window opens")
    parser.add_argument("--watch", type=float, default=45.0, metavar="SECONDS", help="watched before the first picture")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lockstep-") as place, screen() as display:
        os.environ.update(DISPLAY=display, QT_QPA_PLATFORM="xcb", XDG_RUNTIME_DIR=place)
        os.environ.pop("WAYLAND_DISPLAY", None)
        folder = Path(place) / "walking"
        with training(folder, given.warm_up), patch("engine.debugger.net.link.user_name", lambda: "me@laptop"):
            driver = Driver(folder, given.out)
            look(driver, given.watch)
            look_back(driver)
            change(driver)
            break_it(driver)


if __name__ == "__main__":
    main()
