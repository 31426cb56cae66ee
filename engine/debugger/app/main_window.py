"""Main window without what moves: panels in docks, the status line, files, and what panels may ask of it."""

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from PySide6.QtCore import QSettings, QSize
from PySide6.QtWidgets import QFileDialog, QMainWindow, QPushButton

from engine.debugger.app import layout
from engine.debugger.app.save import save_recording, save_screenshot
from engine.debugger.model.store import Store
from engine.debugger.net.playback import Playback
from engine.debugger.net.qt_client import Client
from engine.debugger.panels.action import ActionPanel
from engine.debugger.panels.body import BodyPanel
from engine.debugger.panels.diagnosis import DiagnosisPanel
from engine.debugger.panels.learner import LearnerPanel
from engine.debugger.panels.log import LogPanel
from engine.debugger.panels.observation import ObservationPanel
from engine.debugger.panels.panel import Panel
from engine.debugger.panels.panel_dock import PanelHost
from engine.debugger.panels.plots import PlotsPanel
from engine.debugger.panels.reward import RewardPanel
from engine.debugger.panels.rows import RowsPanel
from engine.debugger.panels.tick import TickPanel
from engine.debugger.panels.timeline import TimelinePanel
from engine.debugger.panels.world import WorldPanel
from engine.debugger.widgets import theme
from engine.debugger.widgets.parts import ElidedLabel
from engine.errors import SceneError

PANELS: tuple[type[Panel], ...] = (
    TickPanel,
    TimelinePanel,
    WorldPanel,
    DiagnosisPanel,
    LogPanel,
    BodyPanel,
    RowsPanel,
    RewardPanel,
    ObservationPanel,
    ActionPanel,
    LearnerPanel,
    PlotsPanel,
)
_SHOWN = 8000  # ms that a sentence stays in the status line
_SIZE = (1600, 950)


class MainWindow(QMainWindow):
    """Panels on one run, or on a recording: whatever `client` brings."""

    def __init__(self, store: Store, client: Client | Playback, settings: QSettings | None = None) -> None:
        super().__init__()
        self.store, self.client = store, client
        self.control = WindowControl(self)
        self.settings = settings if settings is not None else QSettings("lockstep", "debugger")
        self.pictures = Path("screenshots")
        self.scene_name: str | None = None
        self.message_until = 0.0
        self.hosts = {cls.title: self._host(cls) for cls in PANELS}
        self.tick, self.time, self.world = (self.hosts[name] for name in ("Tick", "Time", "World"))
        self.docks = {title: layout.PanelDock(host, self) for title, host in self.hosts.items() if title != "Body"}
        self.setDockOptions(QMainWindow.DockOption.AllowNestedDocks | QMainWindow.DockOption.AllowTabbedDocks)
        self.setCentralWidget(self.hosts["Body"])
        self._make_status()
        self.resize(QSize(*_SIZE).boundedTo(self.screen().availableGeometry().size()))

    def _host(self, panel_class: type[Panel]) -> PanelHost:
        host = PanelHost(panel_class, self.store, self.control, panel_class.title in ("Plots", "Rows"))
        host.taken.connect(self.plot if panel_class.title == "Plots" else self.histogram)
        return host

    def _make_status(self) -> None:
        self.message = ElidedLabel()
        self._save = QPushButton("Save what was received…")
        self._save.clicked.connect(lambda: self.ask_and_save())
        self._save.hide()
        self.statusBar().addWidget(self.message, 1)
        self.statusBar().addPermanentWidget(self._save)

    # -- what panels and actions ask -------------------------------------------------------------------

    def select(self, row: int) -> None:
        """Make another row the selected one."""
        if row == self.store.selected or not 0 <= row < max(1, self.store.table_rows()):
            return
        self.store.selected = row
        self.client.select([row])
        self.refresh_frame()

    def show_panel(self, panel_title: str) -> None:
        """Bring a panel to the front, open it if it was closed."""
        dock = self.docks.get(panel_title)
        if dock is not None:
            dock.show()
            dock.raise_()

    def plot(self, column_id: int, label: int | None) -> None:
        """Add a chart of one number, the first of a whole column."""
        self.show_panel("Plots")
        self.call("Plots", "add_chart", column_id, label or 0)

    def histogram(self, column_id: int, label: int | None) -> None:
        """Show one number of all rows."""
        self.show_panel("Rows")
        self.call("Rows", "show_column", column_id, label)

    def call(self, title: str, method: str, *arguments: Any) -> Any:
        """Call a method of one panel; None where it has none, or raised."""
        return self.hosts[title].call(method, *arguments)

    def marked_system(self) -> int | None:
        """The system that was clicked in the Tick strip."""
        panel = self.tick.panel
        return panel.strip.system if isinstance(panel, TickPanel) else None

    def say(self, text: str, colour: str = theme.TEXT) -> None:
        """Put a sentence into the status line for a while."""
        self.message_until = time.monotonic() + _SHOWN / 1e3
        theme.set_text(self.message, text, colour)

    def refresh_frame(self) -> None:
        """Bring what is around the panels up to date."""

    # -- layout and files ------------------------------------------------------------------------------

    def reset_layout(self) -> None:
        """The default arrangement, also next time."""
        self.settings.remove(layout.key(self.scene_name or ""))
        self.settings.remove(f"charts/{self.scene_name}")
        layout.arrange(self, self.docks)
        layout.hide_titles(self, self.docks)
        layout.give_sizes(self, self.docks)
        self.call("Plots", "reset")

    def ask_and_save(self) -> None:
        """Ask for a place, and save everything that was received there."""
        name, _ = QFileDialog.getSaveFileName(self, "Save what was received", "received.rec", "Recordings (*.rec)")
        if name:
            self.save(Path(name))

    def ask_and_write(self, title: str, name: str, kinds: str, write: Callable[[Path], None]) -> None:
        """Ask for a place, and have something written there; what goes wrong stands in the status line."""
        chosen, _ = QFileDialog.getSaveFileName(self, title, name, kinds)
        if chosen:
            self._write(lambda: write(Path(chosen)), f"Wrote {chosen}")

    def _write(self, write: Callable[[], None], done: str) -> None:
        try:
            write()
            self.say(done)
        except SceneError as error:
            self.say(str(error), theme.RED)

    def save(self, path: Path) -> None:
        """Save everything that was received as a recording; what goes wrong stands in the status line."""
        done = f"Saved {path}; open it with python -m engine.debugger {path}"
        self._write(lambda: save_recording(self.store, path), done)

    def screenshot(self) -> None:
        """A picture, the arrangement of panels, and the data, side by side in `pictures`."""
        stem = self.pictures / f"{self.scene_name or 'window'}_{datetime.now():%Y-%m-%d_%H-%M-%S}"
        self._write(lambda: save_screenshot(self, self.store, stem), f"Saved {stem}.png, .layout and .rec")


class WindowControl:
    """The PanelControl of a window's panels."""

    def __init__(self, window: MainWindow) -> None:
        self.send, self.select = window.client.send, window.select
        self.show, self.plot = window.show_panel, window.plot
