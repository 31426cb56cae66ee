"""Everything the window has received, for panels to draw from. No Qt, one thread."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.debugger.model.column_info import ColumnInfo, read_columns
from engine.debugger.model.ring_buffer import Band, TraceRing
from engine.errors import WireError
from engine.protocol.framing import column_ids, unpack_array

if TYPE_CHECKING:
    from engine.debugger.panels.panel import Sub

__all__ = ["ColumnInfo", "Store", "Value"]

_ROWS = 128  # rows of one column whose latest value is kept
_TIMINGS = 3000  # timing frames kept: five minutes at 10 Hz
_RECENT = 100  # of them make median and p95
_PAST = 1 << 19  # bytes of earlier values kept of one column and row
_PAST_ROWS = 8  # rows of which they are kept
_NEAR = 15  # ticks by which they may be older than what is looked at
_BLACK_BOX = 1024  # samples of vital numbers kept of one row

_NONE = type(None)
_STATE: dict[str, tuple[type, ...]] = {
    "mode": (str,), "tick": (int, _NONE), "next": (int, _NONE), "substep": (int,), "why": (str,), "ticks_per_second": (int, float),
    "cost": (int, float), "dropped": (int,), "controller": (str, _NONE), "inspected": (bool,), "view": (int, _NONE),
    "history": (list, _NONE), "exact": (bool,), "intervened": (int,), "stuck": (int, float), "stack": (list,),
}  # fmt: skip

Value = tuple[int, np.ndarray, bool]


class Store:
    """What was received. Lookups return None, or arrays of length 0, for what has not come."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.schema: dict[str, Any] | None = None
        self.columns: dict[int, ColumnInfo] = {}
        self.by_address: dict[str, int] = {}
        self.systems: list[dict[str, Any]] = []
        self.state: dict[str, Any] = {}
        self.run: dict[str, Any] = {}
        self.selected = 0
        self.cursor: int | None = None
        self.picked: tuple[int, int | None] | None = None
        """The column, and the flat label in it, that is marked in World."""
        self.breaks: dict[int, dict[str, Any]] = {}
        """Breaks that this window has set, by number, as they were asked for."""
        self.events: deque[dict[str, Any]] = deque(maxlen=4096)
        self.notes: deque[tuple[float, str, int | None, str]] = deque(maxlen=2000)
        """What Log shows: seconds since 1970, kind, tick or None, text; `noted` have been made so far."""
        self.noted = 0
        self.learner: list[tuple[int, dict[str, float]]] = []
        self.timing: dict[str, Any] = {}
        self.seen: Counter[str] = Counter()
        """How many messages of each type, and data frames of each kind, have come: a panel compares it to see news."""
        self.bad = 0
        self.connection = ""
        """'' while connected; otherwise a sentence that says why not."""
        self._subs: dict[int, Sub] = {}
        self._latest: dict[int, dict[int, Value]] = {}
        self._viewed: dict[int, dict[int, Value]] = {}
        self._past: dict[int, dict[int, deque[Value]]] = {}
        self._rings: dict[tuple[int, int, int], TraceRing] = {}
        self._frames: dict[tuple[int, int | None], tuple[int, np.ndarray]] = {}
        self._bands: dict[tuple[int, int | None], Band] = {}
        self._vitals: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._timings: deque[tuple[int, np.ndarray, float]] = deque(maxlen=_TIMINGS)

    # -- reading ---------------------------------------------------------------------------------------

    def value(self, column_id: int, row: int) -> Value | None:
        """Tick, the row's values in the shape of the column, and whether they were taken as its episode ended.

        At `cursor` where one is set: what the run sent for that tick, else what traces hold of it, else what came
        shortly before, with the tick that it is of.
        """
        if self.cursor is None:
            return self._latest.get(column_id, {}).get(row)
        viewed = self._viewed.get(column_id, {}).get(row)
        if viewed is not None and viewed[0] == self.cursor:
            return viewed
        past = self._past.get(row, {}).get(column_id, ())
        earlier = next((held for held in reversed(past) if held[0] <= self.cursor), None)
        if earlier is not None and earlier[0] == self.cursor:
            return earlier
        traced = self._traced(column_id, row, self.cursor)
        if traced is None and earlier is not None and self.cursor - earlier[0] <= _NEAR:
            return earlier
        return traced

    def _traced(self, column_id: int, row: int, tick: int) -> Value | None:
        info = self.columns.get(column_id)
        if info is None:
            return None
        values, finish = np.empty(info.size), False
        for label in range(info.size):
            ring = self._rings.get((column_id, label, row))
            if ring is None:
                return None
            ticks, held, _ = ring.read()
            place = int(np.searchsorted(ticks, tick))
            if place == len(ticks) or ticks[place] != tick:
                return None
            values[label] = held[place]
            finish = place + 1 < len(ticks) and ticks[place + 1] == tick
        return tick, values.reshape(info.shape), bool(finish)

    def trace(self, column_id: int, label: int, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ticks, values and breaks of one number; no line is drawn between a sample with a break and the one before.

        Two samples of one tick are the end of an episode and the start of the next. Views: copy what you keep.
        """
        ring = self._rings.get((column_id, label, row))
        if ring is None:
            return np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.bool_)
        return ring.read()

    def traced(self, row: int) -> list[tuple[int, int, np.ndarray, np.ndarray]]:
        """(column, flat label, ticks, values) of everything that was traced of one row."""
        rings = ((key, ring.read()) for key, ring in self._rings.items() if key[2] == row)
        return [(column, label, ticks, values) for (column, label, _), (ticks, values, _) in rings if len(ticks)]

    def history(self, row: int) -> dict[int, list[Value]]:
        """What came of one row lately, by column, oldest first; not every tick."""
        return {column: list(past) for column, past in self._past.get(row, {}).items()}

    def known_rows(self) -> list[int]:
        """Rows of which anything is remembered."""
        return sorted({row for _, _, row in self._rings} | set(self._past))

    def frame(self, column_id: int, label: int | None) -> tuple[int, np.ndarray] | None:
        """Tick and float32 (table rows,): one value, or with label None the norm, of every row."""
        return self._frames.get(self._one(column_id, label))

    def band(self, column_id: int, label: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Ticks, median, 5th and 95th percentile over all rows of the `column` frames so far."""
        band = self._bands.get(self._one(column_id, label))
        return Band().read() if band is None else band.read()

    def frames(self) -> list[tuple[int, int | None, int, np.ndarray, np.ndarray]]:
        """(column, label, tick, float32 (rows,), (frames, 4)) of every number that came of all rows: latest frame, and band."""
        return [
            (column, label, tick, values, np.stack(self._bands.get((column, label), Band()).read(), 1))
            for (column, label), (tick, values) in self._frames.items()
        ]

    def _one(self, column_id: int, label: int | None) -> tuple[int, int | None]:
        """A scalar is its own only value, whichever way it is asked for."""
        scalar = column_id in self.columns and self.columns[column_id].size == 1
        return column_id, 0 if scalar else label

    def vitals(self, row: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Ticks (samples,) and vital numbers float32 (samples, vitals) of one row's black box."""
        return self._vitals.get(row)

    def column(self, address: str) -> ColumnInfo | None:
        """The column at 'table.Component.column', if the run has it."""
        found = self.by_address.get(address)
        return None if found is None else self.columns[found]

    def role(self, name: str) -> ColumnInfo | None:
        """The column that the scene names for a role, such as 'reward_terms'."""
        for part in ("roles", "rewards", "observations", "actions", "terminations"):
            hints = (self.schema or {}).get(part)
            if isinstance(hints, dict) and isinstance(hints.get(name), str):
                return self.column(hints[name])
        return None

    def table_rows(self, column_id: int | None = None) -> int:
        """Rows of a column's table; without one, of the largest table. 0 before a schema has come."""
        if column_id is not None:
            return self.columns[column_id].rows if column_id in self.columns else 0
        return max((column.rows for column in self.columns.values()), default=0)

    def happened(self) -> Iterator[dict[str, Any]]:
        """Events, newest first, without those of a future that was given up for a branch."""
        until = float("inf")
        for event in reversed(self.events):
            if event["tick"] <= until:
                yield event
            if is_branch(event):
                until = min(until, event["tick"])

    def note(self, kind: str, text: str, tick: int | None = None) -> None:
        """Put a line into the log."""
        self.notes.append((self._clock(), kind, tick, text))
        self.noted += 1

    # -- receiving -------------------------------------------------------------------------------------

    def subscribed(self, sub_id: int, sub: "Sub | None") -> None:
        """Remember what a subscription asks for, so that its frames can be read; None forgets it."""
        if sub is None:
            self._subs.pop(sub_id, None)
        else:
            self._subs[sub_id] = sub

    def feed(self, message: dict[str, Any]) -> None:
        """Take in one decoded frame. One that makes no sense is counted in `bad`, and changes nothing else."""
        handlers = {
            "hello": self._hello,
            "schema": self._schema,
            "data": self._data,
            "event": self._event,
            "state": self._state,
        }
        try:
            handler = handlers.get(message["t"])
            if handler is not None:
                handler(message)
        except (WireError, KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError):
            self.bad += 1
            return
        self.seen[str(message.get("t"))] += 1

    def _hello(self, message: dict[str, Any]) -> None:
        self.run = dict(message["run"])

    def _state(self, message: dict[str, Any]) -> None:
        for key, kinds in _STATE.items():
            if key in message and not isinstance(message[key], kinds):
                raise WireError(f"A state says {message[key]!r:.40} for {key}.")
        history = message.get("history")
        if history is not None and (len(history) != 2 or not all(type(tick) is int for tick in history)):
            raise WireError("A state says no oldest and newest tick for history.")
        told = {key: value for key, value in message.items() if key != "t"}
        if told.get("tick") is None:  # a run that is stuck says only in what, and for how long
            told = self.state | {key: value for key, value in told.items() if value is not None}
        self.state = told

    def _event(self, message: dict[str, Any]) -> None:
        tick = message["tick"]
        if tick is None:  # the hub speaks for itself, and does not know it
            tick = self.state.get("tick", -1)
        event: dict[str, Any] = {
            "kind": str(message["kind"]),
            "tick": int(tick),
            "row": message.get("row") if type(message.get("row")) is int else None,
            "column": message.get("column"),
            "system": message.get("system"),
            "text": str(message.get("text", "")),
            "fields": dict(message.get("fields") or {}),
        }
        event["ends"] = _ends(event) if event["kind"] == "reset" else {}
        if is_branch(event):
            self._rewind(event["tick"])
        self.events.append(event)
        if event["kind"] != "iteration" and (event["kind"] != "reset" or self.selected in event["ends"]):
            self.note(event["kind"], event["text"] or event["kind"], event["tick"] if event["tick"] >= 0 else None)

    def _rewind(self, tick: int) -> None:
        """The run goes on from an earlier tick: what came of later ones has not happened."""
        for ring in self._rings.values():
            ring.rewind(tick)
        for band in self._bands.values():
            band.rewind(tick)
        self._frames = {key: frame for key, frame in self._frames.items() if frame[0] <= tick}
        for of_row in self._past.values():
            for past in of_row.values():
                while past and past[-1][0] > tick:
                    past.pop()
        self._vitals = {row: (at[at <= tick], values[at <= tick]) for row, (at, values) in self._vitals.items()}

    def _schema(self, message: dict[str, Any]) -> None:
        ids = column_ids(message)
        columns = {info.id: info for info in read_columns(message)}
        kept = {  # by old number: the new one
            number: ids[old.address]
            for number, old in self.columns.items()
            if old.address in ids and old.shape == columns[ids[old.address]].shape
        }
        self.schema, self.columns, self.by_address = message, columns, ids
        self.systems = list(message["systems"])
        self._latest, self._viewed = (
            {kept[number]: value for number, value in held.items() if number in kept}
            for held in (self._latest, self._viewed)
        )
        self._past = {
            row: {kept[number]: past for number, past in of_row.items() if number in kept}
            for row, of_row in self._past.items()
        }
        self._rings = {(kept[key[0]], *key[1:]): ring for key, ring in self._rings.items() if key[0] in kept}
        self._frames = {(kept[key[0]], key[1]): frame for key, frame in self._frames.items() if key[0] in kept}
        self._bands = {(kept[key[0]], key[1]): band for key, band in self._bands.items() if key[0] in kept}
        if self.picked is not None:
            self.picked = (kept[self.picked[0]], self.picked[1]) if self.picked[0] in kept else None
        if self.timing and len(self.timing["seconds"]) != len(self.systems):
            self.timing = {}
            self._timings.clear()

    # -- data frames -----------------------------------------------------------------------------------

    def _data(self, message: dict[str, Any]) -> None:
        kind = message["kind"]
        readers = {
            "values": self._values,
            "pose": self._values,
            "trace": self._trace,
            "column": self._column,
            "band": self._band,
            "timing": self._timing,
            "learner": self._learner,
            "vitals": self._black_box,
        }
        if kind in readers:
            readers[kind](message, self._subs.get(message["sub"]))
            self.seen[kind] += 1

    def _rows(self, message: dict[str, Any], sub: "Sub | None") -> list[int]:
        if "rows" in message:
            return [int(row) for row in message["rows"]]
        return [self.selected] if sub is None or sub.rows == "selected" else list(sub.rows)

    def _labels(self, sub: "Sub | None", info: ColumnInfo, width: int) -> list[int]:
        """Which flat values of a row the last axis of an array holds."""
        asked = dict(sub.columns).get(info.id) if sub is not None else None
        labels = list(range(info.size)) if asked is None else list(asked)
        if len(labels) != width:
            raise WireError(f"A frame has {width} values of column {info.address}, but {len(labels)} were asked for.")
        return labels

    def _values(self, message: dict[str, Any], sub: "Sub | None") -> None:
        rows, view = self._rows(message, sub), message.get("view")
        if view is None and self.state.get("view") == int(message["ticks"][1]):
            view = self.state["view"]  # a run that stands at an earlier tick shows that one
        tick = int(message["ticks"][1]) if view is None else int(view)
        held = self._latest if view is None else self._viewed
        finish = unpack_array(message["finish"]) if message.get("finish") else np.zeros(len(rows), np.bool_)
        arrays = [(int(number), unpack_array(array)) for number, *array in message["cols"]]
        if any(len(array) != len(rows) for _, array in arrays) or len(finish) != len(rows):
            raise WireError("A frame of values does not fit the rows that it names.")
        for number, array in arrays:
            info = self.columns[number]
            if array.shape[1:] != info.shape:
                continue  # some labels only: read with `trace`
            of_column = held.setdefault(number, {})
            for place, row in enumerate(rows):
                of_column.pop(row, None)  # so that the order of the dict is that of arrival
                of_column[row] = (tick, array[place], bool(finish[place]))
                if view is None:
                    self._keep(number, row, of_column[row])
            while len(of_column) > _ROWS:
                del of_column[next(iter(of_column))]

    def _keep(self, column: int, row: int, value: Value) -> None:
        """Remember a value for when somebody looks back."""
        if row not in self._past:
            while len(self._past) >= _PAST_ROWS:
                del self._past[next(iter(self._past))]
            self._past[row] = {}
        past = self._past[row].get(column)
        if past is None:
            past = self._past[row][column] = deque(maxlen=max(8, min(512, _PAST // max(1, value[1].nbytes))))
        while past and past[-1][0] >= value[0]:
            past.pop()
        past.append(value)

    def _trace(self, message: dict[str, Any], sub: "Sub | None") -> None:
        rows, at = self._rows(message, sub), unpack_array(message["at"]).astype(np.int64)
        ended = unpack_array(message["ended"]).astype(np.bool_)
        if ended.shape != (len(at), len(rows)) or np.any(np.diff(at) < 0):
            raise WireError("A trace does not fit its rows and ticks.")
        arrays = []
        for number, *packed in message["cols"]:
            info, array = self.columns[int(number)], unpack_array(packed)
            array = array.reshape(len(at), len(rows), -1) if array.size else np.zeros((0, len(rows), 0))
            if len(array):
                arrays.append((info, array, self._labels(sub, info, array.shape[2])))
        twice = np.append(at[1:] == at[:-1], False)[:, None]
        kept = ~twice | ended  # of rows whose episode goes on, the second sample of a tick says it all
        for place, row in enumerate(rows):
            mine = kept[:, place]
            ticks = at[mine]
            breaks = np.append(False, ended[mine, place][:-1]) | np.append(False, np.diff(ticks) > 1)
            if len(breaks) and message.get("lost"):
                breaks[0] = True
            for info, array, labels in arrays:
                values = array[mine, place].astype(np.float64)
                for index, label in enumerate(labels):
                    ring = self._rings.setdefault((info.id, label, row), TraceRing())
                    ring.append(ticks, values[:, index], breaks[: len(ticks)], message["sub"])

    def _column(self, message: dict[str, Any], sub: "Sub | None") -> None:
        for number, *packed in message["cols"]:
            asked = dict(sub.columns).get(int(number)) if sub is not None else message.get("labels")
            array = unpack_array(packed)
            if array.shape != (self.columns[int(number)].rows,):
                raise WireError("A frame of a column does not have one value per row.")
            key = self._one(int(number), int(asked[0]) if asked else None)
            tick = int(message["ticks"][1])
            self._frames[key] = (tick, array.astype(np.float32, copy=False))
            self._bands.setdefault(key, Band()).append(tick, self._frames[key][1])

    def _band(self, message: dict[str, Any], sub: "Sub | None") -> None:
        """What a saved window had made of earlier `column` frames: ticks, median, p5 and p95 (frames, 4)."""
        for number, *packed in message["cols"]:
            history, labels = unpack_array(packed).astype(np.float64), message.get("labels")
            if history.ndim != 2 or history.shape[1] != 4:
                raise WireError("A saved band does not have a tick and three numbers for each frame.")
            key = self._one(self.columns[int(number)].id, int(labels[0]) if labels else None)
            self._bands[key] = Band(history)

    def _timing(self, message: dict[str, Any], sub: "Sub | None") -> None:
        seconds = unpack_array(message["seconds"]).astype(np.float32)
        calls = unpack_array(message["calls"]) if message.get("calls") else np.ones(len(seconds), np.int32)
        if len(seconds) != len(self.systems) or len(calls) != len(seconds):
            raise WireError("A frame of timing does not fit the systems of the schema.")
        tick, tick_seconds = int(message["ticks"][1]), float(message["tick_seconds"])
        if not seconds.any():
            return  # no tick has passed since the last frame
        self._timings.append((tick, seconds, tick_seconds))
        recent = [self._timings[i] for i in range(max(0, len(self._timings) - _RECENT), len(self._timings))]
        median, p95 = np.percentile(np.stack([s for _, s, _ in recent]), (50.0, 95.0), axis=0)
        self.timing = {
            "tick": tick,
            "seconds": seconds,
            "calls": calls,
            "median": median.astype(np.float32),
            "p95": p95.astype(np.float32),
            "tick_seconds": tick_seconds,
            "tick_p95": float(np.percentile([t for *_, t in recent], 95.0)),
            "history": self._timings,
        }

    def _learner(self, message: dict[str, Any], sub: "Sub | None") -> None:
        iteration = int(message["iteration"])
        values = {str(k): float(v) for k, v in message["values"].items() if isinstance(v, (int, float))}
        while self.learner and self.learner[-1][0] >= iteration:
            self.learner.pop()
        self.learner.append((iteration, values))

    def _black_box(self, message: dict[str, Any], sub: "Sub | None") -> None:
        at, values = unpack_array(message["at"]).astype(np.int64), unpack_array(message["values"])
        rows = self._rows(message, sub)
        if values.ndim != 3 or values.shape[:2] != (len(at), len(rows)):
            raise WireError("A frame of vital numbers does not fit its rows and ticks.")
        for place, row in enumerate(rows):
            ticks, held = at, values[:, place].astype(np.float32)
            if row in self._vitals and self._vitals[row][1].shape[1] == held.shape[1] and len(at):
                old_ticks, old = self._vitals[row]
                earlier = old_ticks < at[0]
                ticks, held = np.append(old_ticks[earlier], ticks), np.concatenate([old[earlier], held])
            self._vitals[row] = ticks[-_BLACK_BOX:], held[-_BLACK_BOX:]


def is_branch(event: dict[str, Any]) -> bool:
    """Whether the run went on from an earlier tick there."""
    return bool(event["kind"] == "edit" and event["fields"].get("what") == "branch")


def _ends(event: dict[str, Any]) -> dict[Any, int]:
    """When which rows ended, of an event that tells of several or of one."""
    fields, tick = event["fields"], event["tick"]
    try:
        row, at = unpack_array(fields["row"]), unpack_array(fields["tick"])
        return dict(zip(row.tolist(), at.tolist(), strict=True))
    except (KeyError, TypeError, ValueError, WireError):
        rows = fields.get("rows")
        return dict.fromkeys(rows if isinstance(rows, list) else [event["row"]], tick)
