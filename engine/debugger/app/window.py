"""The window: panels in docks, one timer for each rate, and the subscriptions of what can be seen."""

import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from PySide6.QtCore import QEvent, QSettings, QSize, QTimer
from PySide6.QtGui import QCloseEvent, QShowEvent
from PySide6.QtWidgets import QApplication, QFileDialog, QMainWindow, QPushButton

from engine.debugger.app import layout
from engine.debugger.app.actions import Deeds
from engine.debugger.app.answers import Answers
from engine.debugger.app.keys import DEEDS, MENUS
from engine.debugger.app.save import save_recording, save_screenshot
from engine.debugger.app.toolbar import Toolbar
from engine.debugger.model.store import Store
from engine.debugger.net.connection import Address
from engine.debugger.net.playback import Playback
from engine.debugger.net.qt_client import Client, Then
from engine.debugger.net.subscriptions import merge
from engine.debugger.panels.action import ActionPanel
from engine.debugger.panels.body import Body
from engine.debugger.panels.diagnosis import WhyPanel
from engine.debugger.panels.learner import LearnerPanel
from engine.debugger.panels.log import Log
from engine.debugger.panels.observation import ObservationPanel
from engine.debugger.panels.panel import Panel
from engine.debugger.panels.panel_dock import PanelHost
from engine.debugger.panels.plots import Plots
from engine.debugger.panels.reward import RewardPanel
from engine.debugger.panels.rows import Rows
from engine.debugger.panels.tick import Schedule
from engine.debugger.panels.timeline import Timeline
from engine.debugger.panels.world import Columns
from engine.debugger.widgets import theme
from engine.debugger.widgets.elided_label import Elided
from engine.errors import SceneError

PANELS: tuple[type[Panel], ...] = (
    Schedule,
    Timeline,
    Columns,
    WhyPanel,
    Log,
    Body,
    Rows,
    RewardPanel,
    ObservationPanel,
    ActionPanel,
    LearnerPanel,
    Plots,
)
_TOOLBAR = 8.0  # refreshes per second
_SETTLE = 30  # ms in which changes of what is wanted are gathered
_SHOWN = 8000  # ms that a sentence stays in the status line
_SIZE = (1600, 950)
_INTERRUPTED = 130  # the exit status of what Ctrl-C has ended


class Window(QMainWindow):
    """Shows one run, or a recording: whatever `client` brings."""

    def __init__(self, store: Store, client: Client | Playback, settings: QSettings | None = None) -> None:
        super().__init__()
        self.store, self.client = store, client
        self.control = WindowControl(self)
        self.settings = settings if settings is not None else QSettings("lockstep", "debugger")
        self.pictures = Path("screenshots")
        self.deeds = Deeds(self)
        self._answers = Answers(self)
        self.hosts = {cls.title: self._host(cls) for cls in PANELS}
        self.tick, self.time, self.world = (self.hosts[name] for name in ("Tick", "Time", "World"))
        self.docks = {title: layout.PanelDock(host, self) for title, host in self.hosts.items() if title != "Body"}
        self.setDockOptions(QMainWindow.DockOption.AllowNestedDocks | QMainWindow.DockOption.AllowTabbedDocks)
        self.setCentralWidget(self.hosts["Body"])
        self.toolbar = Toolbar(store, self.deeds.actions, self)
        self.toolbar.row_chosen.connect(self.select)
        self.addToolBar(self.toolbar)
        self._make_menus()
        self._make_status()
        self._scene: str | None = None
        self._sized = False
        self._view: int | None = None
        self._said_until = 0.0
        self.resize(QSize(*_SIZE).boundedTo(self.screen().availableGeometry().size()))
        layout.arrange(self, self.docks)
        self._wanting = QTimer(self, singleShot=True, interval=_SETTLE)
        self._wanting.timeout.connect(self._subscribe)
        self._retitling = QTimer(self, singleShot=True, interval=0)
        self._retitling.timeout.connect(lambda: layout.hide_titles(self, self.docks))
        self._retitling.start()
        self._follow_visibility()
        self._listen()
        self._start_timers()

    def _host(self, panel_class: type[Panel]) -> PanelHost:
        host = PanelHost(panel_class, self.store, self.control, panel_class.title in ("Plots", "Rows"))
        host.changed.connect(self._want)
        host.taken.connect(lambda column, label: self._drop(host.title, column, label))
        return host

    def _make_menus(self) -> None:
        for name in MENUS:
            menu = self.menuBar().addMenu(name)
            if name == "View":
                for dock in self.docks.values():
                    if dock.host.title not in layout.STRIPS:
                        menu.addAction(dock.toggleViewAction())
                menu.addSeparator()
            for deed in DEEDS:
                if deed.menu == name:
                    menu.addAction(self.deeds.actions[deed.name])

    def _make_status(self) -> None:
        self.message = Elided()
        self._save = QPushButton("Save what was received…")
        self._save.clicked.connect(lambda: self.ask_and_save())
        self._save.hide()
        self.statusBar().addWidget(self.message, 1)
        self.statusBar().addPermanentWidget(self._save)

    def _listen(self) -> None:
        client = self.client
        client.fed.connect(self._fed)
        client.ready.connect(self._want)
        client.schema_changed.connect(self._schema_changed)
        client.answered.connect(self._answers.take)
        client.status.connect(self._status)
        client.happened.connect(self._answers.happened)

    def _start_timers(self) -> None:
        """One for each rate. A frame that is late is skipped: a timer that could not fire in time fires once."""
        self._timers: list[QTimer] = []
        by_rate: dict[float, list[PanelHost]] = {}
        for host in self.hosts.values():
            by_rate.setdefault(host.panel_class.rate, []).append(host)
        for rate, hosts in by_rate.items():
            self._timer(rate, lambda hosts=hosts: [host.refresh() for host in hosts])
        self._timer(_TOOLBAR, self._refresh_frame)

    def _timer(self, rate: float, act: Any) -> None:
        timer = QTimer(self, interval=round(1000.0 / rate))
        timer.timeout.connect(act)
        timer.start()
        self._timers.append(timer)

    # -- what panels and deeds ask ---------------------------------------------------------------------------------------

    def send(self, message: dict[str, Any], then: Then | None = None) -> None:
        """Send a command to the run."""
        self.client.send(message, then)

    def select(self, row: int) -> None:
        """Make another row the selected one."""
        if row == self.store.selected or not 0 <= row < max(1, self.store.table_rows()):
            return
        self.store.selected = row
        self.client.select([row])
        self._refresh_frame()

    def show_panel(self, title: str) -> None:
        """Bring a panel to the front, open it if it was closed."""
        dock = self.docks.get(title)
        if dock is not None:
            dock.show()
            dock.raise_()

    def plot(self, column_id: int, label: int) -> None:
        """Add a chart."""
        self.show_panel("Plots")
        self.call("Plots", "add_chart", column_id, label)

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
        return panel.system if isinstance(panel, Schedule) else None

    def say(self, text: str, colour: str = theme.TEXT) -> None:
        """Put a sentence into the status line for a while."""
        self._said_until = time.monotonic() + _SHOWN / 1e3
        theme.set_text(self.message, text)
        theme.set_colour(self.message, colour)

    def _drop(self, title: str, column: int, label: int | None) -> None:
        if title == "Plots":
            self.plot(column, label or 0)
        else:
            self.histogram(column, label)

    # -- what can be seen, and what it needs ------------------------------------------------------------

    def _follow_visibility(self) -> None:
        self.hosts["Body"].shown = True
        for dock in self.docks.values():
            dock.visibilityChanged.connect(lambda shown, dock=dock: self._shown(dock, shown))
            dock.dockLocationChanged.connect(lambda _: self._retitling.start())
            dock.topLevelChanged.connect(lambda _: self._retitling.start())

    def _shown(self, dock: layout.PanelDock, shown: bool) -> None:
        dock.host.shown = shown and not self.isMinimized()
        self._retitling.start()
        self._want()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """A window that is minimised asks for nothing."""
        if event.type() == QEvent.Type.WindowStateChange:
            hidden = self.isMinimized()
            self.hosts["Body"].shown = not hidden
            for dock in self.docks.values():
                dock.host.shown = not hidden and dock.isVisible() and not dock.visibleRegion().isEmpty()
            self._want()
        super().changeEvent(event)

    def _want(self) -> None:
        if hasattr(self, "_wanting") and not self._wanting.isActive():
            self._wanting.start()

    def _subscribe(self) -> None:
        wanted = [sub for host in self.hosts.values() for sub in host.subscriptions()]
        self.client.subscribe(merge(wanted, self.store))

    # -- what the run says -----------------------------------------------------------------------------

    def _fed(self) -> None:
        """Follow what is viewed, unless this window has just asked for something else."""
        view = self.store.state.get("view")
        if view != self._view and not self._seeking():
            self._view = view
            self.store.cursor = view if type(view) is int else None

    def _seeking(self) -> bool:
        panel = self.time.panel
        return isinstance(panel, Timeline) and panel.seeking

    def _schema_changed(self) -> None:
        self.deeds.undoable.clear()
        for host in self.hosts.values():
            host.schema_changed()
        scene = str(self.store.run.get("scene", ""))
        self.setWindowTitle(f"{self.store.run.get('name') or scene} — Lockstep debugger")
        if scene != self._scene:
            self._scene = scene
            if layout.restore(self, self.settings, scene):
                self._sized = True
            self._choose_charts()
        self._want()

    def _choose_charts(self) -> None:
        charts = self.settings.value(f"charts/{self._scene}")
        if isinstance(charts, list) and charts:
            self.call("Plots", "choose", [str(chart) for chart in charts])

    def _status(self, status: str, text: str) -> None:
        opened = f"opened {self.store.run.get('name')}" if status == "recording" else "connected"
        self.store.note("connection", text or opened)
        if status == "ended":
            why = text if text.lower().startswith(("run ended", "the run has ended")) else f"Run ended: {text}"
            self.store.state = {**self.store.state, "mode": "ended", "why": why}
            self.store.connection = ""
            self._said_until = 0.0  # nothing is as important, and it stays
            self.deeds.recording = False
            self._save.show()
        elif status == "over":
            self._save.setVisible(self.store.schema is not None)
            self.say(text, theme.RED)
            self._said_until = float("inf")
        elif status == "lost":
            self.store.breaks.clear()
        self.deeds.allow(status == "open")

    def _refresh_frame(self) -> None:
        self.toolbar.refresh(self.client.role, self.client.latency, self.deeds.recording)
        if time.monotonic() < self._said_until:
            return
        state = self.store.state
        if self.store.connection:
            text, colour = self.store.connection, theme.AMBER
        elif state.get("mode") == "paused":
            why = str(state.get("why", ""))
            text, colour = why if why.startswith("break") else f"paused: {why}".rstrip(": "), theme.AMBER
        else:
            wrong = "stuck" in state or state.get("mode") == "ended"
            text, colour = str(state.get("why") or ""), theme.AMBER if wrong else theme.DIM
        theme.set_text(self.message, text)
        theme.set_colour(self.message, colour)
        if "stuck" in state:
            self.message.setToolTip("\n".join(str(line) for line in state.get("stack", ())))

    # -- errors, layout, files -------------------------------------------------------------------------

    def contain(self, error: BaseException, trace: TracebackType | None) -> bool:
        """Blame a panel for what was raised in its events; False when it was none of them."""
        guilty = next((host for host in self.hosts.values() if host.blamed(trace)), None)
        if guilty is None:
            self.store.note("error", f"{type(error).__name__}: {error}")
            self.say(f"The window itself failed: {type(error).__name__}: {error}", theme.RED)
            return False
        guilty.fail(error)
        return True

    def reset_layout(self) -> None:
        """The default arrangement, also next time."""
        layout.forget(self.settings, self._scene or "")
        self.settings.remove(f"charts/{self._scene}")
        layout.arrange(self, self.docks)
        layout.hide_titles(self, self.docks)
        layout.give_sizes(self, self.docks)
        self.call("Plots", "reset")

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Give panels their sizes when there is a size to share out."""
        super().showEvent(event)
        if not self._sized:
            self._sized = True
            layout.give_sizes(self, self.docks)
        self.setFocus()  # keys are for the run, not for the first box that one can type into

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802 - Qt's name
        """Keep the layout, and let go of the run."""
        if self._scene is not None:
            layout.save(self, self.settings, self._scene)
            self.settings.setValue(f"charts/{self._scene}", self.call("Plots", "chosen") or [])
        for timer in self._timers:
            timer.stop()
        self.client.close()
        super().closeEvent(event)

    def ask_and_save(self) -> None:
        """Ask for a place, and save everything that was received there."""
        name, _ = QFileDialog.getSaveFileName(self, "Save what was received", "received.rec", "Recordings (*.rec)")
        if name:
            self.save(Path(name))

    def ask_and_write(self, title: str, name: str, kinds: str, write: Callable[[Path], None]) -> None:
        """Ask for a place, and have something written there; what goes wrong is said in the status line."""
        chosen, _ = QFileDialog.getSaveFileName(self, title, name, kinds)
        if not chosen:
            return
        try:
            write(Path(chosen))
            self.say(f"Wrote {chosen}")
        except SceneError as error:
            self.say(str(error), theme.RED)

    def save(self, path: Path) -> None:
        """Save everything that was received as a recording; what goes wrong is said in the status line."""
        try:
            save_recording(self.store, path)
            self.say(f"Saved {path}; open it with python -m engine.debugger {path}")
        except SceneError as error:
            self.say(str(error), theme.RED)

    def screenshot(self) -> None:
        """A picture, the arrangement of panels, and the data, side by side in `pictures`."""
        stem = self.pictures / f"{self._scene or 'window'}_{datetime.now():%Y-%m-%d_%H-%M-%S}"
        try:
            save_screenshot(self, self.store, stem)
            self.say(f"Saved {stem}.png, .layout and .rec")
        except SceneError as error:
            self.say(str(error), theme.RED)


class WindowControl:
    """What panels may do, done by the window."""

    def __init__(self, window: Window) -> None:
        self._window = window

    def send(self, message: dict[str, Any], then: Then | None = None) -> None:
        """See PanelControl."""
        self._window.send(message, then)

    def select(self, row: int) -> None:
        """See PanelControl."""
        self._window.select(row)

    def show(self, panel_title: str) -> None:
        """See PanelControl."""
        self._window.show_panel(panel_title)

    def plot(self, column_id: int, label: int) -> None:
        """See PanelControl."""
        self._window.plot(column_id, label)


def show(address: Address | None = None, recording: Path | None = None, role: str = "observe") -> int:
    """Open the window on a run or a recording, and return when it is closed: the exit status.

    SceneError for a file that is no recording.
    """
    app = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(app, QApplication) and (address is None) != (recording is None)
    theme.apply(app)
    store = Store()
    client = Client(store, address, role) if address is not None else Playback(store, Path(recording or ""))
    window = Window(store, client)
    before = sys.excepthook

    def contained(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):  # Ctrl-C in the terminal that the window was opened from
            window.close()
            app.exit(_INTERRUPTED)
        elif not issubclass(kind, Exception) or not window.contain(error, trace):
            before(kind, error, trace)

    sys.excepthook = contained
    window.show()
    client.start()
    try:
        return app.exec()
    finally:
        sys.excepthook = before
        client.close()
