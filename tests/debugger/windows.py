"""A window attached to a scripted run, for tests of the frame around the panels."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication

from engine.debugger.app.window import Window
from engine.debugger.model.store import Store
from engine.debugger.net.connection import Address
from engine.debugger.net.qt_client import Client
from engine.debugger.widgets import theme
from tests.debugger.scripted import PATIENCE, ScriptedServer
from tests.debugger.scripted_run import ScriptedRun


@attrs.define(eq=False)
class Attached:
    """A window, and the run that it looks at."""

    server: ScriptedServer
    store: Store
    client: Client
    window: Window
    wait: Callable[..., None]
    sequence: int = 0

    def flow(self, ticks: int = 30) -> None:
        """Let ticks pass, and what they bring arrive. Subscriptions take turns, as two frames at a time are all that is sent."""
        self.wait(self.subscribed)
        for number in range(ticks):
            with self.server._lock:
                for peer in self.server.peers:
                    ids = list(peer.subs)
                    turn = 3 * number % max(1, len(ids))
                    peer.subs = {each: peer.subs[each] for each in ids[turn:] + ids[:turn]}
            self.server.advance()
            self.settle(3)
            end = time.monotonic() + PATIENCE
            while any(peer.waiting for peer in self.server.peers):  # frames of this tick that were not acknowledged
                assert time.monotonic() < end, "frames are not acknowledged"
                time.sleep(0.001)
                self.settle(1)

    def subscribed(self) -> bool:
        """Whether the run has heard of all that the window wants, and of nothing else."""
        asked = set(self.client._subs.values())
        with self.server._lock:
            return not self.window._wanting.isActive() and all(set(peer.subs) == asked for peer in self.server.peers)

    def settle(self, times: int = 20) -> None:
        """Let the window do what it has to."""
        for _ in range(times):
            QApplication.processEvents()

    def say_state(self) -> None:
        """Send `state`, and wait until the window has it."""
        seen = self.store.seen["state"]
        self.server._all(self.server.state())
        self.wait(lambda: self.store.seen["state"] > seen)

    def refresh(self) -> None:
        """Redraw every panel that is shown now, instead of when its timer says so."""
        for host in self.window.hosts.values():
            host.refresh()
        self.window.refresh_frame()

    def expect(self, message_type: str, /, **fields: Any) -> dict[str, Any]:
        """The latest message of a type and with these fields that the run got, as soon as there is one."""
        return self.server.wait(message_type, **fields)


@contextmanager
def attached(
    qtbot: Any, rows: int = 64, size: tuple[int, int] = (1600, 950), settings: Path | None = None, role: str = "control"
) -> Iterator[Attached]:
    """Open a window on a scripted run and wait for the schema."""
    theme.apply(QApplication.instance())
    with tempfile.TemporaryDirectory(prefix="dbg") as folder:
        path = Path(folder)
        with ScriptedServer(path / "r.sock", ScriptedRun(rows=rows)) as server:
            store = Store()
            client = Client(store, Address(path=str(path / "r.sock")), role)
            window = Window(
                store, client, QSettings(str(settings or path / "settings.ini"), QSettings.Format.IniFormat)
            )
            window.pictures = path / "pictures"
            window.resize(*size)
            window.show()
            client.start()
            try:
                qtbot.waitUntil(lambda: store.schema is not None and bool(store.state))
                made = Attached(server, store, client, window, qtbot.waitUntil)
                server.wait("sub")
                made.settle()
                yield made
            finally:
                window.close()
                window.deleteLater()
                QApplication.processEvents()
