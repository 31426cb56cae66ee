"""Data frames of each kind, read and remembered in a memory of fixed size: values and traces of rows, frames of all rows, black
boxes, timing.

Every part reads a whole frame before it remembers anything of it. `rewind` forgets what is later than a tick; `renumber` gets
the new id of each column that another schema still has.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from engine.debugger.model.schema import ColumnInfo
from engine.errors import WireError
from engine.protocol.framing import unpack_array

SAMPLES = 4096  # samples kept of one number
_FIRST = 256
_ROWS = 128  # rows of one column whose latest value is kept
_PAST = 1 << 19  # bytes of earlier values kept of one column and row
_PAST_ROWS = 8  # rows of which they are kept
_BLACK_BOX = 1024  # samples of vital numbers kept of one row
_TIMINGS = 3000  # timing frames kept: five minutes at 10 Hz
_RECENT = 100  # of them make median and p95

Message = Mapping[str, Any]
Columns = Mapping[int, ColumnInfo]
Value = tuple[int, np.ndarray, bool]
"""Tick, a row's values in the shape of the column, and whether they were taken as its episode ended."""
Number = tuple[int, int | None]  # column and flat label; None: the norm of all values


class _Ring:
    """The last `SAMPLES` samples, with their ticks, which never fall.

    They lie in one piece in an array of up to twice SAMPLES, so that reading never copies.
    """

    def __init__(self, **fields: type) -> None:
        self._held = np.zeros(_FIRST, [("tick", np.int64), *fields.items()])
        self._start = self._end = 0

    def __len__(self) -> int:
        return self._end - self._start

    @property
    def _kept(self) -> np.ndarray:
        return self._held[self._start : self._end]

    def read(self) -> tuple[np.ndarray, ...]:
        """Ticks, and the values of each field; views that the next `append` may change."""
        return tuple(self._kept[name] for name in self._held.dtype.names or ())

    def rewind(self, tick: int) -> None:
        """Forget what is later than a tick."""
        self._end = self._start + int(np.searchsorted(self._kept["tick"], tick, "right"))

    def _add(self, ticks: np.ndarray, *fields: np.ndarray) -> None:
        count = min(SAMPLES, len(ticks))
        if self._end + count > len(self._held):
            kept = self._kept[-SAMPLES:]
            grown = min(2 * SAMPLES, max(len(self._held), 1 << (len(kept) + count).bit_length()))
            self._held = np.concatenate([kept, np.zeros(grown - len(kept), kept.dtype)])
            self._start, self._end = 0, len(kept)
        self._end += count
        for name, values in zip(self._held.dtype.names or (), (ticks, *fields), strict=True):
            self._held[name][self._end - count : self._end] = values[len(values) - count :]
        self._start = max(self._start, self._end - SAMPLES)


class TraceRing(_Ring):
    """Samples of one number of one row, in the order in which they were taken: a run that was rewound overwrites what came later."""

    def __init__(self) -> None:
        super().__init__(value=np.float64, breaks=np.bool_)
        self._source: object = None

    def append(self, ticks: np.ndarray, values: np.ndarray, breaks: np.ndarray, source: object) -> None:
        """Add samples from one subscription; what another one brought already is left out."""
        if len(self) and len(ticks):
            last = int(self._kept["tick"][-1])
            if source != self._source:
                fresh = int(np.searchsorted(ticks, last, "right"))
                ticks, values, breaks = ticks[fresh:], values[fresh:], breaks[fresh:]
            if len(ticks):
                if ticks[0] < last:
                    self.rewind(int(ticks[0]) - 1)
                breaks = breaks.copy()
                breaks[0] |= ticks[0] < last or ticks[0] > last + 1
        if len(ticks):
            self._source = source
            self._add(ticks, values, breaks)


class Band(_Ring):
    """How one number is spread over all rows, frame by frame: median and 5th and 95th percentile of the finite ones."""

    def __init__(self, history: np.ndarray | None = None) -> None:
        """history (frames, 4): what `read` gave of an earlier one."""
        super().__init__(median=np.float64, low=np.float64, high=np.float64)
        if history is not None:
            self._add(*history.T)

    def append(self, tick: int, values: np.ndarray) -> None:
        """Add one frame of all rows; one that is not later than the last replaces those from there on."""
        finite = values[np.isfinite(values)]
        spread = np.percentile(finite, (50.0, 5.0, 95.0)) if len(finite) else np.full(3, np.nan)
        self.rewind(tick - 1)
        self._add(np.array([tick]), *spread[:, None])


class RowValues:
    """Whole columns of single rows: the latest, those of the tick in view, and earlier ones."""

    def __init__(self) -> None:
        self._latest: dict[int, dict[int, Value]] = {}
        self._viewed: dict[int, dict[int, Value]] = {}
        self._past: dict[int, dict[int, deque[Value]]] = {}

    def latest(self, column: int, row: int) -> Value | None:
        """The newest value."""
        return self._latest.get(column, {}).get(row)

    def at(self, column: int, row: int, tick: int) -> Value | None:
        """The value of a tick, else the newest before it."""
        viewed = self._viewed.get(column, {}).get(row)
        if viewed is not None and viewed[0] == tick:
            return viewed
        return next((held for held in reversed(self._past.get(row, {}).get(column, ())) if held[0] <= tick), None)

    def history(self, row: int) -> dict[int, list[Value]]:
        """The earlier values of a row by column, oldest first."""
        return {column: list(past) for column, past in self._past.get(row, {}).items()}

    def rows(self) -> set[int]:
        """Rows of which there are earlier values."""
        return set(self._past)

    def feed(self, message: Message, rows: list[int], view: Any, columns: Columns) -> None:
        """Take in a frame of values; `view` is the earlier tick that it is of, None for the present."""
        tick = int(message["ticks"][1]) if view is None else int(view)
        held = self._latest if view is None else self._viewed
        finish = unpack_array(message["finish"]) if message.get("finish") else np.zeros(len(rows), np.bool_)
        arrays = [(int(number), unpack_array(array)) for number, *array in message["cols"]]
        if any(len(array) != len(rows) for _, array in arrays) or len(finish) != len(rows):
            raise WireError("A frame of values does not fit the rows that it names.")
        for number, array in arrays:
            if array.shape[1:] != columns[number].shape:
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

    def rewind(self, tick: int) -> None:
        """Forget earlier values from after a tick."""
        for past in (past for of_row in self._past.values() for past in of_row.values()):
            while past and past[-1][0] > tick:
                past.pop()

    def renumber(self, kept: Mapping[int, int]) -> None:
        """Keep the columns that have a new id."""
        self._latest = {kept[n]: value for n, value in self._latest.items() if n in kept}
        self._viewed = {kept[n]: value for n, value in self._viewed.items() if n in kept}
        for row, of_row in self._past.items():
            self._past[row] = {kept[n]: past for n, past in of_row.items() if n in kept}


class Traces:
    """Numbers of single rows, tick by tick."""

    def __init__(self) -> None:
        self._rings: dict[tuple[int, int, int], TraceRing] = {}

    def read(self, column: int, label: int, row: int) -> tuple[np.ndarray, ...]:
        """Ticks, values and breaks of one number; views."""
        ring = self._rings.get((column, label, row))
        return TraceRing().read() if ring is None else ring.read()

    def of_row(self, row: int) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
        """(column, flat label, ticks, values) of every number of a row."""
        for (column, label, owner), ring in self._rings.items():
            if owner == row and len(ring):
                ticks, values, _ = ring.read()
                yield column, label, ticks, values

    def rows(self) -> set[int]:
        """Rows of which anything was traced."""
        return {row for _, _, row in self._rings}

    def at(self, info: ColumnInfo, row: int, tick: int) -> Value | None:
        """A whole column at a tick; None unless all of its numbers were traced."""
        values, finish = np.empty(info.size), False
        for label in range(info.size):
            ticks, held, _ = self.read(info.id, label, row)
            place = int(np.searchsorted(ticks, tick))
            if place == len(ticks) or ticks[place] != tick:
                return None
            values[label] = held[place]
            finish = place + 1 < len(ticks) and ticks[place + 1] == tick
        return tick, values.reshape(info.shape), bool(finish)

    def feed(self, message: Message, rows: list[int], asked: Mapping[int, Any], columns: Columns) -> None:
        """Take in a frame of a trace; `asked` are the labels of each column in it, None for all, unless the frame names them."""
        at, ended = unpack_array(message["at"]).astype(np.int64), unpack_array(message["ended"]).astype(np.bool_)
        if ended.shape != (len(at), len(rows)) or np.any(np.diff(at) < 0):
            raise WireError("A trace does not fit its rows and ticks.")
        arrays = []
        for number, *packed in message["cols"]:
            info, array = columns[int(number)], unpack_array(packed)
            array = array.reshape(len(at), len(rows), -1) if array.size else np.zeros((0, len(rows), 0))
            if len(array):
                named = message.get("labels")
                labels = _labels(asked.get(info.id) if named is None else named, info, array.shape[2])
                arrays.append((info.id, array, labels))
        twice = np.append(at[1:] == at[:-1], False)[:, None]
        kept = ~twice | ended  # of rows whose episode goes on, the second sample of a tick says it all
        for place, row in enumerate(rows):
            mine = kept[:, place]
            ticks = at[mine]
            breaks = np.append(False, ended[mine, place][:-1]) | np.append(False, np.diff(ticks) > 1)
            if len(breaks) and message.get("lost"):
                breaks[0] = True
            for column, array, labels in arrays:
                values = array[mine, place].astype(np.float64)
                for index, label in enumerate(labels):
                    ring = self._rings.setdefault((column, label, row), TraceRing())
                    ring.append(ticks, values[:, index], breaks[: len(ticks)], message["sub"])

    def rewind(self, tick: int) -> None:
        """Forget samples after a tick."""
        for ring in self._rings.values():
            ring.rewind(tick)

    def renumber(self, kept: Mapping[int, int]) -> None:
        """Keep the columns that have a new id."""
        self._rings = {(kept[key[0]], *key[1:]): ring for key, ring in self._rings.items() if key[0] in kept}


def _labels(asked: Sequence[int] | None, info: ColumnInfo, width: int) -> list[int]:
    """Which flat values of a row the last axis of an array holds."""
    labels = list(range(info.size)) if asked is None else list(asked)
    if len(labels) != width:
        raise WireError(f"A frame has {width} values of column {info.address}, but {len(labels)} were asked for.")
    return labels


class AllRows:
    """One number of every row: the latest frame, and the spread over the rows of all frames so far."""

    def __init__(self) -> None:
        self.latest: dict[Number, tuple[int, np.ndarray]] = {}
        self._bands: dict[Number, Band] = {}

    def band(self, number: Number) -> tuple[np.ndarray, ...]:
        """Ticks, median, 5th and 95th percentile."""
        return self._bands.get(number, Band()).read()

    def feed(self, message: Message, asked: Mapping[int, Any] | None, columns: Columns) -> None:
        """Take in a frame of columns; `asked` are their labels, None where the frame names them itself."""
        for number, *packed in message["cols"]:
            info, array = columns[int(number)], unpack_array(packed)
            labels = message.get("labels") if asked is None else asked.get(info.id)
            if array.shape != (info.rows,):
                raise WireError("A frame of a column does not have one value per row.")
            key, tick = number_of(info, labels), int(message["ticks"][1])
            self.latest[key] = (tick, array.astype(np.float32, copy=False))
            self._bands.setdefault(key, Band()).append(tick, self.latest[key][1])

    def feed_band(self, message: Message, columns: Columns) -> None:
        """Take in the spread that a saved window had made of earlier frames: ticks, median, p5 and p95 (frames, 4)."""
        for number, *packed in message["cols"]:
            history = unpack_array(packed).astype(np.float64)
            if history.ndim != 2 or history.shape[1] != 4:
                raise WireError("A saved band does not have a tick and three numbers for each frame.")
            self._bands[number_of(columns[int(number)], message.get("labels"))] = Band(history)

    def rewind(self, tick: int) -> None:
        """Forget frames after a tick."""
        for band in self._bands.values():
            band.rewind(tick)
        self.latest = {key: frame for key, frame in self.latest.items() if frame[0] <= tick}

    def renumber(self, kept: Mapping[int, int]) -> None:
        """Keep the columns that have a new id."""
        self.latest = {(kept[key[0]], key[1]): frame for key, frame in self.latest.items() if key[0] in kept}
        self._bands = {(kept[key[0]], key[1]): band for key, band in self._bands.items() if key[0] in kept}


def number_of(info: ColumnInfo, labels: Sequence[int] | None) -> Number:
    """The first of some flat labels of a column, or its norm; a scalar is its own only value, whichever way it is asked for."""
    return info.id, 0 if info.size == 1 else int(labels[0]) if labels else None


class BlackBoxes:
    """Vital numbers of single rows."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        """By row: ticks (samples,) and numbers float32 (samples, vitals)."""

    def feed(self, message: Message, rows: list[int]) -> None:
        """Take in a frame of vital numbers."""
        at, values = unpack_array(message["at"]).astype(np.int64), unpack_array(message["values"])
        if values.ndim != 3 or values.shape[:2] != (len(at), len(rows)):
            raise WireError("A frame of vital numbers does not fit its rows and ticks.")
        for place, row in enumerate(rows):
            ticks, held = at, values[:, place].astype(np.float32)
            if row in self.rows and self.rows[row][1].shape[1] == held.shape[1] and len(at):
                old_ticks, old = self.rows[row]
                earlier = old_ticks < at[0]
                ticks, held = np.append(old_ticks[earlier], ticks), np.concatenate([old[earlier], held])
            self.rows[row] = ticks[-_BLACK_BOX:], held[-_BLACK_BOX:]

    def rewind(self, tick: int) -> None:
        """Forget samples after a tick."""
        self.rows = {row: (at[at <= tick], values[at <= tick]) for row, (at, values) in self.rows.items()}


class Timings:
    """Seconds of every system: `summary` of the latest frames, {} without any."""

    def __init__(self) -> None:
        self.summary: dict[str, Any] = {}
        self._frames: deque[tuple[int, np.ndarray, float]] = deque(maxlen=_TIMINGS)

    def feed(self, message: Message, systems: int) -> None:
        """Take in a frame of timing."""
        seconds = unpack_array(message["seconds"]).astype(np.float32)
        calls = unpack_array(message["calls"]) if message.get("calls") else np.ones(len(seconds), np.int32)
        if len(seconds) != systems or len(calls) != len(seconds):
            raise WireError("A frame of timing does not fit the systems of the schema.")
        tick, tick_seconds = int(message["ticks"][1]), float(message["tick_seconds"])
        if not seconds.any():
            return  # no tick has passed since the last frame
        self._frames.append((tick, seconds, tick_seconds))
        recent = [self._frames[i] for i in range(max(0, len(self._frames) - _RECENT), len(self._frames))]
        median, p95 = np.percentile(np.stack([s for _, s, _ in recent]), (50.0, 95.0), axis=0)
        self.summary = {
            "tick": tick,
            "seconds": seconds,
            "calls": calls,
            "median": median.astype(np.float32),
            "p95": p95.astype(np.float32),
            "tick_seconds": tick_seconds,
            "tick_p95": float(np.percentile([t for *_, t in recent], 95.0)),
            "history": self._frames,
        }

    def renumber(self, systems: int) -> None:
        """Forget everything when there are as many systems no more."""
        if self.summary and len(self.summary["seconds"]) != systems:
            self.summary = {}
            self._frames.clear()
