"""Window of the debugger: menus, timers for each rate, subscriptions of what can be seen, and `show`, which opens it."""

import gc
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from pyqtgraph.util.garbage_collector import GarbageCollector
from PySide6.QtCore import QEvent, QSettings, QTimer
from PySide6.QtGui import QCloseEvent, QShowEvent
from PySide6.QtWidgets import QApplication

from engine.debugger.app import layout
from engine.debugger.app.actions import ACTIONS, MENUS, WindowActions
from engine.debugger.app.main_window import MainWindow
from engine.debugger.app.toolbar import Toolbar
from engine.debugger.model.store import Store
from engine.debugger.model.subscription import merge
from engine.debugger.net.connection import Address
from engine.debugger.net.playback import Playback
from engine.debugger.net.qt_client import Client
from engine.debugger.panels.panel_dock import PanelHost
from engine.debugger.panels.timeline import TimelinePanel
from engine.debugger.widgets import theme
from engine.terminal import signals_handled

_TOOLBAR = 8.0  # refreshes per second
_SETTLE = 30  # ms in which changes of what is wanted are gathered
_INTERRUPTED = 130  # the exit status of what Ctrl-C has ended
_COLLECT = 0.5  # s between looks at whether there is garbage to collect


class Window(MainWindow):
    """Main window at work: it follows what the run sends, and asks for what its visible panels need."""

    def __init__(self, store: Store, client: Client | Playback, settings: QSettings | None = None) -> None:
        super().__init__(store, client, settings)
        self.menu_actions = WindowActions(self)
        self.toolbar = Toolbar(store, self.menu_actions.by_name, self)
        self.toolbar.row_chosen.connect(self.select)
        self.addToolBar(self.toolbar)
        self._make_menus()
        self.interrupted = False
        self._sized = False
        self._view: int | None = None
        layout.arrange(self, self.docks)
        self._wanting = QTimer(self, singleShot=True, interval=_SETTLE)
        self._wanting.timeout.connect(self._subscribe)
        self._retitling = QTimer(self, singleShot=True, interval=0)
        self._retitling.timeout.connect(lambda: layout.hide_titles(self, self.docks))
        self._retitling.start()
        self._follow_visibility()
        self._listen()
        self._start_timers()

    def _make_menus(self) -> None:
        for name in MENUS:
            menu = self.menuBar().addMenu(name)
            if name == "View":
                for dock in self.docks.values():
                    if dock.host.title not in layout.STRIPS:
                        menu.addAction(dock.toggleViewAction())
                menu.addSeparator()
            for entry in ACTIONS:
                if entry.menu == name:
                    menu.addAction(self.menu_actions.by_name[entry.name])

    def _listen(self) -> None:
        client = self.client
        for host in self.hosts.values():
            host.changed.connect(self._want)
        client.fed.connect(self._fed)
        client.ready.connect(self._want)
        client.schema_changed.connect(self._schema_changed)
        client.answered.connect(self.menu_actions.answered)
        client.status.connect(self._status)
        client.happened.connect(self.menu_actions.happened)

    def _start_timers(self) -> None:
        """One for each rate. A frame that is late is skipped: a timer that could not fire in time fires once."""
        self._timers: list[QTimer] = []
        by_rate: dict[float, list[PanelHost]] = {}
        for host in self.hosts.values():
            by_rate.setdefault(host.panel_class.rate, []).append(host)
        for rate, hosts in by_rate.items():
            self._timer(rate, lambda hosts=hosts: [host.refresh() for host in hosts])
        self._timer(_TOOLBAR, self.refresh_frame)

    def _timer(self, rate: float, act: Any) -> None:
        timer = QTimer(self, interval=round(1000.0 / rate))
        timer.timeout.connect(act)
        timer.start()
        self._timers.append(timer)

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
        if not self._wanting.isActive():
            self._wanting.start()

    def _subscribe(self) -> None:
        wanted = [sub for host in self.hosts.values() for sub in host.subscriptions()]
        self.client.subscribe(merge(wanted, self.store.columns))

    # -- what the run says -----------------------------------------------------------------------------

    def _fed(self) -> None:
        """Follow what is viewed, unless this window has just asked for something else."""
        view, panel = self.store.state.get("view"), self.time.panel
        if view != self._view and not (isinstance(panel, TimelinePanel) and panel.seeking):
            self._view = view
            self.store.cursor = view if type(view) is int else None

    def _schema_changed(self) -> None:
        self.menu_actions.undoable.clear()
        for host in self.hosts.values():
            host.schema_changed()
        scene = str(self.store.run.get("scene", ""))
        self.setWindowTitle(f"{self.store.run.get('name') or scene} — Lockstep debugger")
        if scene != self.scene_name:
            self.scene_name = scene
            if layout.restore(self, self.settings, scene):
                self._sized = True
            charts = self.settings.value(f"charts/{scene}")
            if isinstance(charts, list) and charts:
                self.call("Plots", "choose", [str(chart) for chart in charts])
        self._want()

    def _status(self, status: str, text: str) -> None:
        opened = f"opened {self.store.run.get('name')}" if status == "recording" else "connected"
        self.store.note("connection", text or opened)
        if status == "ended":
            why = text if text.lower().startswith(("run ended", "the run has ended")) else f"Run ended: {text}"
            self.store.state = {**self.store.state, "mode": "ended", "why": why}
            self.store.connection = ""
            self.message_until = 0.0  # nothing is as important, and it stays
            self.menu_actions.recording = False
            self._save.show()
        elif status == "over":
            self._save.setVisible(self.store.schema is not None)
            self.say(text, theme.RED)
            self.message_until = float("inf")
        elif status == "lost":
            self.store.breaks.clear()
        self.menu_actions.allow(status == "open")

    def refresh_frame(self) -> None:
        """Bring toolbar and status line up to date."""
        self.toolbar.refresh(self.client.role, self.client.latency, self.menu_actions.recording)
        if time.monotonic() < self.message_until:
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
        theme.set_text(self.message, text, colour)
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

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Close, with its dialogs, for Ctrl-C in the terminal; from the event loop, as an exception inside a call of Qt may end the process."""
        self.interrupted = True
        QTimer.singleShot(0, QApplication.closeAllWindows)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Give panels their sizes when there is a size to share out."""
        super().showEvent(event)
        if not self._sized:
            self._sized = True
            layout.give_sizes(self, self.docks)
        self.setFocus()  # keys are for the run, not for the first box that one can type into

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802 - Qt's name
        """Keep the layout, and let go of the run."""
        if self.scene_name is not None:
            layout.save(self, self.settings, self.scene_name)
            self.settings.setValue(f"charts/{self.scene_name}", self.call("Plots", "chosen") or [])
        for timer in self._timers:
            timer.stop()
        self.client.close()
        super().closeEvent(event)


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
        if not issubclass(kind, Exception) or not window.contain(error, trace):
            before(kind, error, trace)

    sys.excepthook = contained
    window.show()
    client.start()
    try:
        with garbage_collected_here(), signals_handled([signal.SIGINT], window.interrupt):
            status = app.exec()
        return _INTERRUPTED if window.interrupted else status
    finally:
        sys.excepthook = before
        client.close()


@contextmanager
def garbage_collected_here() -> Iterator[None]:
    """Garbage collection in this thread only, that of Qt, within the block: another thread that frees a widget ends the process."""
    enabled = gc.isenabled()
    collector = GarbageCollector(interval=_COLLECT)
    try:
        yield
    finally:
        collector.timer.stop()
        gc.collect()
        if enabled:
            gc.enable()
