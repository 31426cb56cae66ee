"""Qt side of a connection: feeds the store, keeps subscriptions, and hands answers to whoever asked."""

from collections.abc import Callable, Iterable
from typing import Any

from PySide6.QtCore import QObject, Qt, QTimer, Signal, Slot

from engine.debugger.model.store import Store
from engine.debugger.model.subscription import Subscription
from engine.debugger.net.connection import Address
from engine.debugger.net.link import Link

Then = Callable[[dict[str, Any]], None]
_BATCH = 64  # messages taken at a time, so that a flood does not hold the window


class Source(QObject):
    """What a window hears from a run, or from a recording in its place."""

    fed = Signal()  # the store has taken in something new
    ready = Signal()  # connected, and the schema is known: subscriptions are asked for anew
    schema_changed = Signal()
    happened = Signal(dict)
    answered = Signal(dict, dict)
    """A command and its answer, `ok` or `error`; also messages of the run that answer none."""
    status = Signal(str, str)  # 'open', 'lost', 'over' or 'ended', and a sentence about why

    def __init__(self, store: Store, role: str) -> None:
        super().__init__()
        self.store, self.role = store, role
        self._subs: dict[Subscription, int] = {}
        self._number = 0

    def _replace_subs(self, wanted: Iterable[Subscription]) -> tuple[list[int], list[Subscription]]:
        """Make these the subscriptions, and no others: the numbers of those that are over, and those that are new."""
        wanted = dict.fromkeys(wanted)
        over = [self._subs.pop(sub) for sub in list(self._subs) if sub not in wanted]
        for number in over:
            self.store.subscribed(number, None)
        fresh = [sub for sub in wanted if sub not in self._subs]
        for sub in fresh:
            self._number += 1
            self._subs[sub] = self._number
            self.store.subscribed(self._number, sub)
        return over, fresh

    def _answer(self, command: dict[str, Any], then: Then | None, answer: dict[str, Any]) -> None:
        if then is not None:
            then(answer)
        self.answered.emit(command, answer)


class Client(Source):
    """Talks to one run. Everything here happens on the Qt thread; the socket has its own."""

    _arrived = Signal()

    def __init__(self, store: Store, address: Address, role: str = "observe") -> None:
        super().__init__(store, role)
        self.connected = self.over = False
        self._waiting: dict[int, tuple[dict[str, Any], Then | None]] = {}
        self._closed = self._usable = False
        self._arrived.connect(self._drain, Qt.ConnectionType.QueuedConnection)
        self.link = Link(address, self._arrived.emit, role)

    @property
    def latency(self) -> float:
        """Seconds to the run and back."""
        return self.link.latency

    def start(self) -> None:
        """Begin to connect."""
        self.link.start()

    def close(self) -> None:
        """Disconnect for good."""
        self._closed = True
        self.link.close()

    # -- asking ----------------------------------------------------------------------------------------

    def send(self, message: dict[str, Any], then: Then | None = None) -> None:
        """Send a command; its answer reaches `then` on this thread, also when the connection breaks before it comes."""
        self._number += 1
        if not self.connected:
            answer = {"t": "error", "id": self._number, "code": "offline", "text": "There is no connection to a run."}
            QTimer.singleShot(0, self, lambda: self._answer(message, then, answer))
            return
        self._waiting[self._number] = (message, then)
        self.link.send({**message, "id": self._number})

    def select(self, rows: list[int]) -> None:
        """Point every subscription of "selected" at other rows."""
        if self._usable:
            self.link.send({"t": "select", "rows": rows})

    def subscribe(self, wanted: Iterable[Subscription]) -> None:
        """Make these the subscriptions, and no others."""
        if self._usable:
            over, fresh = self._replace_subs(wanted)
            for number in over:
                self.link.send({"t": "unsub", "id": number})
            for sub in fresh:
                self.link.send(sub.message(self._subs[sub]))

    # -- receiving -------------------------------------------------------------------------------------

    @Slot()
    def _drain(self) -> None:
        if self._closed:
            return
        messages = self.link.take(_BATCH)
        for message in messages:
            self._take(message)
        taken = [m["seq"] for m in messages if m["t"] == "data" and type(m.get("seq")) is int]
        if taken and not self._closed:  # one stands for all before it, and wakes the run once
            self.link.send({"t": "ack", "seq": taken[-1]})
        if messages:
            self.fed.emit()
        if len(messages) == _BATCH:
            self._arrived.emit()

    def _take(self, message: dict[str, Any]) -> None:
        kind = message["t"]
        if kind == "link":
            self._link(str(message["status"]), str(message["text"]))
            return
        self.store.feed(message)
        if kind in ("ok", "error"):
            number = message.get("id")
            command, then = self._waiting.pop(number if type(number) is int else 0, ({}, None))
            self._answer(command, then, message)
        elif kind == "welcome":
            self._welcome(message)
        elif kind == "schema" and self.store.schema is message:
            self.link.schema_hash = str(message.get("hash", ""))
            self._begin()
            self.schema_changed.emit()
        elif kind == "sub_no":
            refusal = {"t": "error", "code": "sub_no", "text": str(message.get("text", ""))}
            for sub in (sub for sub, number in self._subs.items() if number == message.get("id")):
                self.answered.emit({"t": "sub", "kind": sub.kind}, refusal)
        elif kind == "event" and self.store.events:
            self.happened.emit(self.store.events[-1])

    def _link(self, status: str, text: str) -> None:
        self.connected = status == "open"
        self.over = status in ("over", "ended")
        self.store.connection = text
        if status != "open":
            self._usable = False
            self._replace_subs(())
            waiting, self._waiting = self._waiting, {}
            for number, (command, then) in waiting.items():
                lost = "The connection was lost before the run answered."
                self._answer(command, then, {"t": "error", "id": number, "code": "lost", "text": lost})
        self.status.emit(status, text)

    def _welcome(self, message: dict[str, Any]) -> None:
        self.role = str(message.get("role", "observe"))
        if self.store.schema is not None and message.get("schema") == self.link.schema_hash:
            self._begin()

    def _begin(self) -> None:
        """Subscriptions of an earlier connection, or of another schema, mean nothing to the run."""
        self._usable = True
        self._replace_subs(())
        if self.store.selected >= self.store.table_rows():
            self.store.selected = 0
        self.link.send({"t": "select", "rows": [self.store.selected]})
        self.ready.emit()
