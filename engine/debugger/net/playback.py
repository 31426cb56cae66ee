"""Recording in the place of a run: answers the subscriptions of panels from a file, and takes no commands but seeking."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from PySide6.QtCore import QTimer

from engine.debugger.model.history import history_of
from engine.debugger.model.store import Store
from engine.debugger.model.subscription import Subscription
from engine.debugger.net.qt_client import Source
from engine.debugger.net.recording_source import OFFLINE, RecordingSource

_WHOLE = -1  # the number of a subscription that nobody made: of messages about the whole run


class Playback(Source):
    """A recording with the methods of a Client. SceneError for a file that is not a recording."""

    latency = 0.0

    def __init__(self, store: Store, path: Path) -> None:
        super().__init__(store, "recording")
        self.recorded = RecordingSource(path)

    def start(self) -> None:
        """Feed what there is besides the numbers of rows."""
        recorded = self.recorded
        run = recorded.schema.get("run", {})
        self.store.feed({"t": "hello", "run": {**run, "name": recorded.recording.path.name}})
        self.store.feed(recorded.schema)
        if recorded.rows:
            self.store.selected = recorded.rows[0]
        for event in recorded.events():
            self.store.feed(event)
        tick = None
        for message in recorded.whole:
            if message["sub"] == "column" and message["ticks"] != tick:
                tick = message["ticks"]
                history_of(self.store).collect(self.store)  # of frames that come at once only the last would be noticed
            self.store.feed({**message, "kind": message["sub"], "sub": _WHOLE})
        self._feed_state(None)
        self.status.emit("recording", recorded.lost)
        self.schema_changed.emit()
        self.ready.emit()

    def close(self) -> None:
        """Nothing to let go of."""

    def send(self, message: dict[str, Any], then: Any = None) -> None:
        """Seeking is done here; everything else is refused."""
        self._number += 1
        answer: dict[str, Any] = {"t": "ok", "id": self._number}
        if message["t"] == "seek":
            self._feed_state(max(self.recorded.first, min(self.recorded.last, int(message["tick"]))))
        elif message["t"] == "live":
            self._feed_state(None)
        else:
            text = "" if message["t"] == "provenance" else OFFLINE
            answer |= {"t": "error", "code": "offline", "text": text}
        QTimer.singleShot(0, self, lambda: self._answer(message, then, answer))

    def select(self, rows: list[int]) -> None:
        """Feed the numbers of another row."""
        self._feed_all(list(self._subs))

    def subscribe(self, wanted: Iterable[Subscription]) -> None:
        """Feed what is new among these."""
        self._feed_all(self._replace_subs(wanted)[1])

    def _feed_state(self, view: int | None) -> None:
        self.store.feed({"t": "state", **self.recorded.state(view), "why": self.recorded.lost, "exact": True})
        self._feed_all([sub for sub in self._subs if sub.kind in ("values", "pose")])
        self.fed.emit()

    def _feed_all(self, subs: list[Subscription]) -> None:
        for sub in subs:
            rows = [self.store.selected] if sub.rows == "selected" else list(sub.rows)
            for frame in self._frames(sub, rows):
                self.store.feed({"t": "data", "sub": self._subs[sub], "kind": sub.kind, **frame})
        self.fed.emit()

    def _frames(self, sub: Subscription, rows: list[int]) -> Iterator[dict[str, Any]]:
        """Fields of the frames that bring what a subscription asks for, of rows."""
        wanted, view = dict(sub.columns), self.store.state.get("view")
        if sub.kind in ("values", "pose"):
            yield from (frame for row in rows for frame in self.recorded.values(row, view, wanted))
        elif sub.kind == "trace":
            yield from (frame for row in rows for frame in self.recorded.trace(row, wanted))
        elif sub.kind == "vitals":
            yield from self.recorded.vitals(rows)
