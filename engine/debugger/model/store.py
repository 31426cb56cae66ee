"""Store of everything that a client has received, for panels to draw from. No Qt, one thread."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from engine.debugger.model.frames import AllRows, BlackBoxes, RowValues, Timings, Traces, Value, number_of
from engine.debugger.model.schema import ColumnInfo, find_role, read_columns
from engine.debugger.model.subscription import Subscription
from engine.errors import WireError
from engine.protocol.framing import column_ids, unpack_array

_NEAR = 15  # ticks by which a value may be older than what is looked at

_NONE = type(None)
_STATE: dict[str, tuple[type, ...]] = {
    "mode": (str,), "tick": (int, _NONE), "next": (int, _NONE), "substep": (int,), "why": (str,), "ticks_per_second": (int, float),
    "cost": (int, float), "dropped": (int,), "controller": (str, _NONE), "inspected": (bool,), "view": (int, _NONE),
    "history": (list, _NONE), "exact": (bool,), "intervened": (int,), "stuck": (int, float), "stack": (list,),
}  # fmt: skip


class Store:
    """Received data. Lookups return None, or arrays of length 0, for what has not come."""

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
        """Lines of Log: seconds since 1970, kind, tick or None, text; `noted` have been made so far."""
        self.noted = 0
        self.learner: list[tuple[int, dict[str, float]]] = []
        self.seen: Counter[str] = Counter()
        """How many messages of each type, and data frames of each kind, have come: a panel compares it to see news."""
        self.bad = 0
        self.connection = ""  # '' while connected; otherwise a sentence with the reason
        self._subs: dict[int, Subscription] = {}
        self.values, self.traces, self._all_rows = RowValues(), Traces(), AllRows()
        self.boxes, self._timings = BlackBoxes(), Timings()

    # -- reading ---------------------------------------------------------------------------------------

    def value(self, column_id: int, row: int) -> Value | None:
        """Tick, the row's values in the shape of the column, and whether they were taken as its episode ended.

        At `cursor` where one is set: what the run sent for that tick, else what traces hold of it, else what came
        shortly before, with the tick that it is of.
        """
        if self.cursor is None:
            return self.values.latest(column_id, row)
        held = self.values.at(column_id, row, self.cursor)
        if column_id not in self.columns or (held is not None and held[0] == self.cursor):
            return held
        traced = self.traces.at(self.columns[column_id], row, self.cursor)
        near = held is not None and self.cursor - held[0] <= _NEAR
        return held if traced is None and near else traced

    def number(self, column: ColumnInfo | None, row: int) -> float | None:
        """`value` of a column with one number per row; None for any other."""
        held = None if column is None or column.size != 1 else self.value(column.id, row)
        return None if held is None or held[1].size != 1 else float(held[1].reshape(()))

    def trace(self, column_id: int, label: int, row: int) -> tuple[np.ndarray, ...]:
        """Ticks, values and breaks of one number; no line is drawn between a sample with a break and the one before.

        Two samples of one tick are the end of an episode and the start of the next. Views: copy what you keep.
        """
        return self.traces.read(column_id, label, row)

    def frame(self, column_id: int, label: int | None) -> tuple[int, np.ndarray] | None:
        """Tick and float32 (table rows,): one value, or with label None the norm, of every row."""
        return self._all_rows.latest.get(self._number(column_id, label))

    def band(self, column_id: int, label: int | None) -> tuple[np.ndarray, ...]:
        """Ticks, median, 5th and 95th percentile over all rows of the `column` frames so far."""
        return self._all_rows.band(self._number(column_id, label))

    def frames(self) -> list[tuple[int, int | None, int, np.ndarray, np.ndarray]]:
        """(column, label, tick, float32 (rows,), (frames, 4)) of every number that came of all rows: latest frame, and band."""
        return [
            (*number, tick, values, np.stack(self._all_rows.band(number), 1))
            for number, (tick, values) in self._all_rows.latest.items()
        ]

    def _number(self, column_id: int, label: int | None) -> tuple[int, int | None]:
        info = self.columns.get(column_id)
        return (column_id, label) if info is None else number_of(info, None if label is None else (label,))

    @property
    def timing(self) -> dict[str, Any]:
        """The latest frame of timing with median and p95 of those before; {} without any."""
        return self._timings.summary

    def column(self, address: str) -> ColumnInfo | None:
        """The column at 'table.Component.column', if the run has it."""
        found = self.by_address.get(address)
        return None if found is None else self.columns[found]

    def role(self, name: str, table: str | None = None) -> ColumnInfo | None:
        """The column that plays a role, such as 'reward_terms', within one table if it is named."""
        address = find_role(self.schema, self.by_address, name, table)
        return None if address is None else self.column(address)

    def next_system(self) -> int | None:
        """The system that runs next while the run stands still."""
        following = self.state.get("next")
        if self.state.get("mode") == "running" or type(following) is not int:
            return None
        return following if 0 <= following < len(self.systems) else None

    def table_rows(self) -> int:
        """Rows of the largest table; 0 before a schema has come."""
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

    def subscribed(self, sub_id: int, sub: Subscription | None) -> None:
        """Remember what a subscription asks for, so that its frames can be read; None forgets it."""
        if sub is None:
            self._subs.pop(sub_id, None)
        else:
            self._subs[sub_id] = sub

    def feed(self, message: dict[str, Any]) -> None:
        """Take in one decoded frame. One that makes no sense is counted in `bad`, and changes nothing else."""
        try:
            match message["t"]:
                case "hello":
                    self.run = dict(message["run"])
                case "schema":
                    self._schema(message)
                case "data":
                    self._data(message)
                case "event":
                    self._event(message)
                case "state":
                    self._state(message)
        except (WireError, KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError):
            self.bad += 1
            return
        self.seen[str(message.get("t"))] += 1

    def _state(self, message: dict[str, Any]) -> None:
        for key, kinds in _STATE.items():
            if key in message and not isinstance(message[key], kinds):
                raise WireError(f"A state says {message[key]!r:.40} for {key}.")
        history = message.get("history")
        if history is not None and (len(history) != 2 or not all(type(tick) is int for tick in history)):
            raise WireError("A state says no oldest and newest tick for history.")
        state = {key: value for key, value in message.items() if key != "t"}
        if state.get("tick") is None:  # a run that is stuck sends only in what, and for how long
            state = self.state | {key: value for key, value in state.items() if value is not None}
        self.state = state

    def _event(self, message: dict[str, Any]) -> None:
        event = _read_event(message, self.state.get("tick", -1))
        if is_branch(event):  # the run goes on from an earlier tick: what came of later ones has not happened
            for part in (self.values, self.traces, self._all_rows, self.boxes):
                part.rewind(event["tick"])
        self.events.append(event)
        if event["kind"] != "iteration" and (event["kind"] != "reset" or self.selected in event["ends"]):
            self.note(event["kind"], event["text"] or event["kind"], event["tick"] if event["tick"] >= 0 else None)

    def _schema(self, message: dict[str, Any]) -> None:
        ids = column_ids(message)
        columns = {info.id: info for info in read_columns(message)}
        systems = list(message["systems"])
        kept = {  # by old number: the new one
            number: ids[old.address]
            for number, old in self.columns.items()
            if old.address in ids and old.shape == columns[ids[old.address]].shape
        }
        self.schema, self.columns, self.by_address, self.systems = message, columns, ids, systems
        for part in (self.values, self.traces, self._all_rows):
            part.renumber(kept)
        self._timings.renumber(len(systems))
        if self.picked is not None:
            self.picked = (kept[self.picked[0]], self.picked[1]) if self.picked[0] in kept else None

    # -- data frames -----------------------------------------------------------------------------------

    def _data(self, message: dict[str, Any]) -> None:
        kind, sub = message["kind"], self._subs.get(message["sub"])
        asked = None if sub is None else dict(sub.columns)
        match kind:
            case "values" | "pose":
                self.values.feed(message, self._rows(message, sub), self._view(message), self.columns)
            case "trace":
                self.traces.feed(message, self._rows(message, sub), asked or {}, self.columns)
            case "column":
                self._all_rows.feed(message, asked, self.columns)
            case "band":
                self._all_rows.feed_band(message, self.columns)
            case "vitals":
                self.boxes.feed(message, self._rows(message, sub))
            case "timing":
                self._timings.feed(message, len(self.systems))
            case "learner":
                self._report(message)
            case _:
                return
        self.seen[kind] += 1

    def _rows(self, message: dict[str, Any], sub: Subscription | None) -> list[int]:
        if "rows" in message:
            return [int(row) for row in message["rows"]]
        return [self.selected] if sub is None or sub.rows == "selected" else list(sub.rows)

    def _view(self, message: dict[str, Any]) -> Any:
        """The earlier tick that a frame of values is of. A run that stands at an earlier tick shows that one."""
        stands = self.state.get("view")
        return stands if message.get("view") is None and stands == int(message["ticks"][1]) else message.get("view")

    def _report(self, message: dict[str, Any]) -> None:
        iteration = int(message["iteration"])
        values = {str(k): float(v) for k, v in message["values"].items() if isinstance(v, (int, float))}
        while self.learner and self.learner[-1][0] >= iteration:
            self.learner.pop()
        self.learner.append((iteration, values))


def is_branch(event: Mapping[str, Any]) -> bool:
    """Whether the run went on from an earlier tick there."""
    return bool(event["kind"] == "edit" and event["fields"].get("what") == "branch")


def _read_event(message: Mapping[str, Any], now: int) -> dict[str, Any]:
    """An event with all its keys; the server itself sends some, and does not know the tick, which is `now`."""
    event: dict[str, Any] = {
        "kind": str(message["kind"]),
        "tick": int(now if message["tick"] is None else message["tick"]),
        "row": message.get("row") if type(message.get("row")) is int else None,
        "column": message.get("column"),
        "system": message.get("system"),
        "text": str(message.get("text", "")),
        "fields": dict(message.get("fields") or {}),
    }
    return event | {"ends": _ends(event) if event["kind"] == "reset" else {}}


def _ends(event: Mapping[str, Any]) -> dict[Any, int]:
    """Ticks at which rows ended, by row, in an event of several ends or of one."""
    fields, tick = event["fields"], event["tick"]
    try:
        row, at = unpack_array(fields["row"]), unpack_array(fields["tick"])
        return dict(zip(row.tolist(), at.tolist(), strict=True))
    except (KeyError, TypeError, ValueError, WireError):
        rows = fields.get("rows")
        return dict.fromkeys(rows if isinstance(rows, list) else [event["row"]], tick)
