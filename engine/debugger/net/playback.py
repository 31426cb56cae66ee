"""Recording in the place of a run: answers the subscriptions of panels from a file, and takes no commands but seeking."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import QTimer

from engine.debugger.model.history import history_of
from engine.debugger.model.store import Store
from engine.debugger.model.subscription import Subscription
from engine.debugger.net.qt_client import Source
from engine.debugger.net.recording_source import OFFLINE, RecordingSource
from engine.protocol.framing import pack_array

_SINGLE = -1  # the number of a subscription that nobody made
_WHOLE = -2  # and of messages about the whole run


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

        def deliver() -> None:
            if then is not None:
                then(answer)
            self.answered.emit(message, answer)

        QTimer.singleShot(0, self, deliver)

    def select(self, rows: list[int]) -> None:
        """Feed the numbers of another row."""
        self._feed_all(list(self._subs))

    def subscribe(self, wanted: Iterable[Subscription]) -> None:
        """Feed what is new among these."""
        wanted = dict.fromkeys(wanted)
        for sub in [sub for sub in self._subs if sub not in wanted]:
            self.store.subscribed(self._subs.pop(sub), None)
        fresh = [sub for sub in wanted if sub not in self._subs]
        for sub in fresh:
            self._number += 1
            self._subs[sub] = self._number
            self.store.subscribed(self._number, sub)
        self._feed_all(fresh)

    # -- inside ----------------------------------------------------------------------------------------

    def _feed_state(self, view: int | None) -> None:
        self.store.feed({"t": "state", **self.recorded.state(view), "why": self.recorded.lost, "exact": True})
        self._feed_all([sub for sub in self._subs if sub.kind in ("values", "pose")])
        self.fed.emit()

    def _feed_all(self, subs: list[Subscription]) -> None:
        for sub in subs:
            rows = [self.store.selected] if sub.rows == "selected" else list(sub.rows)
            for row in rows:
                if sub.kind in ("values", "pose"):
                    self._feed_values(sub, row)
                elif sub.kind == "trace":
                    self._feed_trace(sub, row)
            if sub.kind == "vitals":
                for frame in self.recorded.vitals(rows):
                    self._feed(sub, frame)
        self.fed.emit()

    def _feed_values(self, sub: Subscription, row: int) -> None:
        view = self.store.state.get("view")
        for sample in self.recorded.sample(row, view, dict(sub.columns)):
            frame = {
                "cols": sample.columns,
                "rows": [row],
                "finish": pack_array(np.array([sample.ended])),
                "view": view if sample.tick == view else None,
                "ticks": [sample.tick, sample.tick],
            }
            self._feed(sub, frame)

    def _feed_trace(self, sub: Subscription, row: int) -> None:
        wanted = dict(sub.columns)
        for frame in self.recorded.trace(row, wanted):
            self._feed(sub, frame)
        for number, labels, frame in self.recorded.single(row, wanted):
            self.store.subscribed(_SINGLE, Subscription("trace", ((number, labels),)))
            self.store.feed({"t": "data", "sub": _SINGLE, "kind": "trace", **frame})

    def _feed(self, sub: Subscription, frame: dict[str, Any]) -> None:
        self.store.feed({"t": "data", "sub": self._subs[sub], "kind": sub.kind, **frame})
