"""A recording in place of a run: answers what panels subscribe to from the file, and takes no commands but seeking."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import QObject, QTimer, Signal

from engine.debugger.panel import Sub
from engine.debugger.store import Store
from engine.errors import SceneError, WireError
from engine.recording import TERMINAL, Recording
from engine.wire import pack_array, unpack_array

_TRACES = ("trace", "episode")
_NEAR = 15  # ticks by which a sample may be older than the tick in view, where not every tick was kept
_SINGLE = -1  # the number of a subscription that nobody made
_OFFLINE = "This is a recording: it can be looked at, but not changed."


class Playback(QObject):
    """Has the signals and methods of a Client. SceneError for a file that is no recording."""

    fed = Signal()
    ready = Signal()
    schema_changed = Signal()
    happened = Signal(dict)
    answered = Signal(dict, dict)
    status = Signal(str, str)

    def __init__(self, store: Store, path: Path, parent: QObject | None = None) -> None:
        super().__init__(parent)
        try:
            self.recording = Recording.open(path)
        except (OSError, WireError) as error:
            raise SceneError(f"{path} cannot be opened: {getattr(error, 'strerror', None) or error}") from None
        self.store, self.role, self.latency = store, "recording", 0.0
        self.refused: dict[Sub, str] = {}
        self._subs: dict[Sub, int] = {}
        self._number = 0
        self._frames = [m for m in self.recording.of("data") if m.get("sub") in (*_TRACES, "values")]
        self._singles = list(self.recording.of("data", sub="labels"))
        self._boxes = list(self.recording.of("data", sub="black_box"))
        ticks: list[int] = [tick for m in [*self._frames, *self._singles, *self._boxes] for tick in m["ticks"]]
        self.first, self.last = (min(ticks), max(ticks)) if ticks else (0, 0)
        self.rows = sorted({int(row) for m in self._frames for row in m["rows"]})

    def start(self) -> None:
        """Feed what there is besides numbers."""
        schema = self.recording.schema
        run = schema.get("run", {})
        self.store.feed({"t": "hello", "run": {**run, "name": self.recording.path.name}})
        self.store.feed(schema)
        for event in self.recording.of("event"):
            self.store.feed(event)
        if self.rows:
            self.store.selected = self.rows[0]
        self._tell_state(None)
        self.status.emit("recording", self.recording.lost)
        self.schema_changed.emit()
        self.ready.emit()

    def close(self) -> None:
        """Nothing to let go of."""

    def send(self, message: dict[str, Any], then: Any = None) -> None:
        """Seeking is done here; everything else is refused."""
        self._number += 1
        answer: dict[str, Any] = {"t": "ok", "id": self._number}
        if message["t"] == "seek":
            self._tell_state(max(self.first, min(self.last, int(message["tick"]))))
        elif message["t"] == "live":
            self._tell_state(None)
        elif message["t"] == "provenance":
            answer = {"t": "error", "id": self._number, "code": "offline", "text": ""}
        else:
            answer = {"t": "error", "id": self._number, "code": "offline", "text": _OFFLINE}

        def deliver() -> None:
            if then is not None:
                then(answer)
            self.answered.emit(message, answer)

        QTimer.singleShot(0, self, deliver)

    def select(self, rows: list[int]) -> None:
        """Feed the numbers of another row."""
        self._feed_all(list(self._subs))

    def subscribe(self, wanted: Iterable[Sub]) -> None:
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

    def _tell_state(self, view: int | None) -> None:
        self.store.feed(
            {
                "t": "state",
                "mode": "ended",
                "tick": self.last,
                "next": None,
                "why": self.recording.lost,
                "view": view,
                "history": [self.first, self.last],
                "exact": True,
            }
        )
        self._feed_all([sub for sub in self._subs if sub.kind in ("values", "pose")])
        self.fed.emit()

    def _feed_all(self, subs: list[Sub]) -> None:
        for sub in subs:
            rows = [self.store.selected] if sub.rows == "selected" else list(sub.rows)
            for row in rows:
                if sub.kind in ("values", "pose"):
                    self._feed_values(sub, row)
                elif sub.kind == "trace":
                    self._feed_trace(sub, row)
            if sub.kind == "vitals":
                self._feed_vitals(sub, rows)
        self.fed.emit()

    def _of_row(self, row: int) -> Iterable[tuple[dict[str, Any], int]]:
        return ((message, message["rows"].index(row)) for message in self._frames if row in message["rows"])

    def _feed_values(self, sub: Sub, row: int) -> None:
        """The last sample of the tick in view: of an episode that ended in it, the one that shows its end."""
        view = self.store.state.get("view")
        tick = self.last if view is None else view
        wanted = dict(sub.columns)
        for message, place in self._of_row(row):
            at, moment = unpack_array(message["at"]), unpack_array(message["moment"])
            here = np.flatnonzero((at <= tick) & unpack_array(message["present"])[:, place])
            if not len(here) or (view is not None and at[here[-1]] < tick - _NEAR):
                continue
            same = here[at[here] == at[here[-1]]]
            sample = int(same[0] if moment[same[0]] == TERMINAL else same[-1])
            columns = [
                [number, *pack_array(unpack_array(array)[sample, place][None])]
                for number, *array in message["cols"]
                if number in wanted
            ]
            frame = {
                "cols": columns,
                "rows": [row],
                "finish": pack_array(np.array([moment[sample] == TERMINAL])),
                "view": view if at[sample] == tick else None,
                "ticks": [int(at[sample]), int(at[sample])],
            }
            self.store.feed({"t": "data", "sub": self._subs[sub], "kind": sub.kind, **frame})

    def _feed_trace(self, sub: Sub, row: int) -> None:
        wanted = dict(sub.columns)
        for message, place in self._of_row(row):
            if message["sub"] not in _TRACES:
                continue
            here = unpack_array(message["present"])[:, place]
            columns = []
            for number, *packed in message["cols"]:
                if number in wanted:
                    array = unpack_array(packed)[here, place].reshape(int(here.sum()), 1, -1)
                    labels = wanted[number]
                    columns.append([number, *pack_array(array if labels is None else array[..., list(labels)])])
            at = unpack_array(message["at"])[here]
            ended = (unpack_array(message["moment"])[here] == TERMINAL)[:, None]
            frame = {"rows": [row], "at": pack_array(at), "ended": pack_array(ended), "cols": columns}
            self.store.feed({"t": "data", "sub": self._subs[sub], "kind": "trace", "ticks": message["ticks"], **frame})
        self._feed_singles(wanted, row)

    def _feed_singles(self, wanted: dict[int, tuple[int, ...] | None], row: int) -> None:
        """Numbers of columns of which only a part was traced; each is a subscription of its own to the store."""
        for message in self._singles:
            number, labels = message["cols"][0][0], tuple(message["labels"])
            asked = wanted.get(number, ())
            if message["rows"] == [row] and (asked is None or set(labels) <= set(asked)):
                self.store.subscribed(_SINGLE, Sub("trace", ((number, labels),)))
                ended = (unpack_array(message["moment"]) == TERMINAL)[:, None]
                frame = {key: message[key] for key in ("rows", "at", "cols", "ticks")} | {"ended": pack_array(ended)}
                self.store.feed({"t": "data", "sub": _SINGLE, "kind": "trace", **frame})

    def _feed_vitals(self, sub: Sub, rows: list[int]) -> None:
        for message in self._boxes:
            values = unpack_array(message["values"])
            known = [row for row in rows if row < values.shape[1]]
            frame = {"rows": known, "at": message["at"], "values": pack_array(values[:, known]), "cols": []}
            self.store.feed({"t": "data", "sub": self._subs[sub], "kind": "vitals", "ticks": message["ticks"], **frame})
