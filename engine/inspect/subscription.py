"""Subscriptions of debuggers, as sampling plans that copy columns: built once, since storage never moves.

A plan samples at two moments of a tick: after the phase `Tick.finished`, where an episode that ended still shows how,
and at the end. Nothing here waits for anybody; what is not fetched in time is replaced, and counted.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from engine.ecs.scene import Simulation
from engine.ecs.table import as_numpy
from engine.protocol.messages import SubscribeRequest
from engine.protocol.vitals import Ends, find_ends

TRACE_BYTES = 1 << 20
"""Of one subscription's samples between two frames; the oldest make room, and are counted as lost."""
LARGEST = 1 << 18
"""Bytes of a frame while the run goes on."""
ENDING = ("values", "pose", "trace")
"""Kinds that show how an episode ended."""
VITALS = 128  # samples of one subscription between two frames
_SMOOTH = 0.2  # share of a new measurement in the averages of a plan's cost
_LEAST = 0.2  # share of the budget that frames have whatever else there is
_ROOM = 0.8  # share of the budget that must be enough for a rate to be raised again
_SLOWEST = 0.5  # Hz


@attrs.define(eq=False)
class Picked:
    """One column of a plan: all values of a row, or those at flat `labels`; of the rows that it is aimed at."""

    number: int
    column: Tensor
    labels: np.ndarray | None
    rows: np.ndarray = attrs.field(factory=lambda: np.zeros(0, np.int64), init=False)
    alias: np.ndarray | None = attrs.field(init=False)
    _flat: np.ndarray | None = attrs.field(init=False)  # all values of a column on the host, in one piece
    _at: np.ndarray = attrs.field(init=False)  # (rows, values) where in it what is picked lies
    _of_all: np.ndarray | None = attrs.field(init=False)  # the value of each row, where there is one

    def __attrs_post_init__(self) -> None:
        self.alias = as_numpy(self.column) if self.column.device.type == "cpu" else None
        in_one_piece = self.alias is not None and self.alias.flags.c_contiguous
        self._flat = self.alias.reshape(-1) if self.alias is not None and in_one_piece else None
        self._of_all = None
        if self._flat is not None and (self.labels is not None or self.width == 1):
            label = 0 if self.labels is None else int(self.labels[0])
            self._of_all = self._flat.reshape(-1, self.width)[:, label]
        self.aim(self.rows)

    @property
    def width(self) -> int:
        """How many values a row has."""
        return int(np.prod(self.column.shape[1:]))

    @property
    def row_bytes(self) -> int:
        """Bytes of what is taken of one row."""
        return (self.width if self.labels is None else len(self.labels)) * self.column.element_size()

    def aim(self, rows: np.ndarray) -> None:
        """Have other rows, which the table has."""
        inside = np.arange(self.width) if self.labels is None else self.labels
        self.rows, self._at = rows, rows[:, None] * self.width + inside

    def take(self) -> np.ndarray:
        """The values of the rows, copied: (rows, *column) or (rows, labels)."""
        if self.alias is None:
            taken = as_numpy(self.column[torch.from_numpy(self.rows).to(self.column.device)])
        elif self.labels is not None and self._flat is not None:
            return self._flat.take(self._at)
        elif len(self.rows) == 1:  # the usual case; a row's number costs a fraction of an array of numbers
            taken = self.alias[self.rows[0]][None].copy()
        else:
            taken = self.alias.take(self.rows, 0)
        return taken if self.labels is None else taken.reshape(len(self.rows), -1)[:, self.labels]

    def take_into(self, out: np.ndarray) -> None:
        """Write the values of the rows into `out`, (rows, values)."""
        if self._flat is not None:
            self._flat.take(self._at, out=out, mode="clip")  # the only mode that does not copy twice
        else:
            out[:] = self.take().reshape(out.shape)

    def scalar(self) -> np.ndarray:
        """One float32 per row of the table: the value at the one label, or the norm of the row."""
        if self._of_all is not None:
            return self._of_all.astype(np.float32)
        values = as_numpy(self.column) if self.alias is None else self.alias
        flat = values.reshape(len(values), self.width).astype(np.float32, copy=False)
        if self.labels is not None:
            flat = flat[:, self.labels[:1]]
        if flat.shape[1] == 1:
            return flat[:, 0].copy()
        norm: np.ndarray = np.sqrt(np.einsum("ij,ij->i", flat, flat))
        return norm


class TraceBuffer:
    """The samples of a trace that wait for a frame, in memory that grows up to TRACE_BYTES; then the oldest make room."""

    def __init__(self, columns: Sequence[Picked], rows: int, num_bytes: int) -> None:
        self.columns, self.most = columns, max(2, TRACE_BYTES // (num_bytes + 16))
        self.first = self.count = self.lost = 0
        size = min(16, self.most)
        self.tick, self.ended = np.empty(size, np.int64), np.empty((size, rows), np.bool_)
        self.values = [np.empty((size, *p._at.shape), _dtype(p.column)) for p in columns]

    def append(self, tick: int, ended: np.ndarray) -> None:
        """Take a sample."""
        if self.count == len(self.tick):
            self._make_room()
        slot = (self.first + self.count) % len(self.tick)
        self.tick[slot], self.ended[slot] = tick, ended
        for picked, values in zip(self.columns, self.values, strict=True):
            picked.take_into(values[slot])
        self.count += 1

    def _make_room(self) -> None:
        size = len(self.tick)
        if size == self.most:
            self.first, self.count, self.lost = (self.first + 1) % size, self.count - 1, self.lost + 1
            return
        order = np.arange(self.first, self.first + min(2 * size, self.most)) % size  # after `count` lies nothing
        self.tick, self.ended = self.tick[order], self.ended[order]
        self.values, self.first = [values[order] for values in self.values], 0

    def pop(self, most: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Ticks (samples,), which rows ended (samples, rows) and values (samples, rows, values), oldest first."""
        count, size = min(self.count, most), len(self.tick)
        if count == 1:
            where: Any = slice(self.first, self.first + 1)
            found = self.tick[where].copy(), self.ended[where].copy(), [values[where].copy() for values in self.values]
        else:
            where = np.arange(self.first, self.first + count) % size
            found = self.tick[where], self.ended[where], [values[where] for values in self.values]
        self.first, self.count = (self.first + count) % size, self.count - count
        return found


def _dtype(column: Tensor) -> Any:
    return as_numpy(column[:0]).dtype


@attrs.define(eq=False)
class SamplingPlan:
    """A subscription: what is copied, when it is due, and what it costs."""

    id: int
    kind: str
    columns: list[Picked]
    selected: bool
    asked: float  # Hz
    hz: float
    ends: Ends | None
    most: int  # rows that there are
    rows: np.ndarray = attrs.field(factory=lambda: np.zeros(0, np.int64))
    num_bytes: int = 0  # of a frame, about
    due: float = 0.0
    per_tick: float = 0.0  # seconds that every tick costs, averaged
    per_frame: float = 0.0  # seconds that a frame costs, averaged
    spent: float = 0.0  # seconds in this tick, without its frame
    lost: int = 0
    since: int = -1  # tick or iteration of the last frame
    before: Any = None  # what was counted when the last frame was made
    finished: "tuple[int, np.ndarray, list[np.ndarray]] | None" = None  # with the tick in which episodes ended
    coming: int = -2  # the tick whose frame may be made at its end, as its endings have been looked at
    row_set: frozenset[int] = frozenset()
    going_on: np.ndarray = attrs.field(factory=lambda: np.zeros(0, np.bool_))  # (rows,) False; nobody writes to it
    ended: "np.ndarray | None" = attrs.field(init=False)  # which rows of the table end, as numpy sees it on the host
    buffer: TraceBuffer = attrs.field(init=False)  # of a trace
    vitals: "deque[tuple[int, np.ndarray]]" = attrs.field(factory=lambda: deque(maxlen=VITALS))

    def __attrs_post_init__(self) -> None:
        on_host = self.ends is not None and self.ends.ended.device.type == "cpu"
        self.ended = as_numpy(self.ends.ended) if self.ends is not None and on_host else None

    def retarget(self, rows: Sequence[int]) -> None:
        """Have other rows from now on; those that the table does not have are left out."""
        self.rows = np.array([row for row in rows if row < self.most], np.int64)
        self.row_set = frozenset(self.rows.tolist())
        self.going_on = np.zeros(len(self.rows), np.bool_)
        for picked in self.columns:
            picked.aim(self.rows)
        self.due = 0.0
        if self.kind == "column":
            self.num_bytes = 4 * len(self.columns[0].column)
        else:
            self.num_bytes = sum(picked.row_bytes for picked in self.columns) * len(self.rows)
        self.forget()

    def forget(self) -> None:
        """Time has jumped, or the rows are others: what was kept belongs to something else."""
        self.finished, self.since, self.before = None, -1, None
        self.vitals.clear()
        if self.kind == "trace":
            self.buffer = TraceBuffer(self.columns, len(self.rows), self.num_bytes)

    def ended_rows(self) -> frozenset[int]:
        """The rows of the table whose episode ends."""
        if self.ends is None:
            return frozenset()
        now = as_numpy(self.ends.ended) if self.ended is None else self.ended
        return frozenset(now.nonzero()[0].tolist())

    def at_finish(self, tick: int, ended_rows: frozenset[int]) -> None:
        """Keep what rows whose episode has ended show now."""
        if self.row_set.isdisjoint(ended_rows):
            return
        ended = np.array([row in ended_rows for row in self.rows.tolist()])
        if self.kind == "trace":
            self.buffer.append(tick, ended)
        else:
            self.finished = tick, ended, [picked.take() for picked in self.columns]

    def after_tick(self, tick: int) -> None:
        """Keep what is asked for of every tick."""
        if self.kind == "trace" and len(self.rows):
            self.buffer.append(tick, self.going_on)

    def message(self, tick: int, *, still: bool = False) -> dict[str, Any] | None:
        """The frame of what there is now, its arrays copied but not packed; None when there is nothing new.

        `still`: the run stands, whatever ended has ended.
        """
        if self.kind == "trace":
            return self._trace()
        if self.kind == "column":
            picked = self.columns[0]
            return self.data([tick, tick], [[picked.number, picked.scalar()]])
        values_of = [picked.take() for picked in self.columns]
        finish = self.going_on
        if self.finished is not None and self.finished[0] == tick and not still:
            _, finish, early = self.finished
            for now, then in zip(values_of, early, strict=True):
                now[finish] = then[finish]
        cols = [[p.number, value] for p, value in zip(self.columns, values_of, strict=True)]
        return self.data([tick, tick], cols) | {"rows": self.rows.tolist(), "finish": finish}

    def _trace(self) -> dict[str, Any] | None:
        """As many of the samples that wait as fit into a frame, oldest first."""
        if not self.buffer.count:
            return None
        at, ended, values_of = self.buffer.pop(max(2, LARGEST // (self.num_bytes + 16)))
        self.lost, self.buffer.lost = self.lost + self.buffer.lost, 0
        cols = [[picked.number, values] for picked, values in zip(self.columns, values_of, strict=True)]
        return self.data([int(at[0]), int(at[-1])], cols) | {"at": at, "ended": ended, "rows": self.rows.tolist()}

    def data(self, ticks: list[int], cols: "list[list[Any]] | None" = None) -> dict[str, Any]:
        """A frame of this kind, with what was lost before it."""
        lost, self.lost = self.lost, 0
        return {"kind": self.kind, "ticks": ticks, "view": None, "lost": lost, "cols": cols or []}

    def settle(self) -> None:
        """Close the account of what every tick costs."""
        self.per_tick += _SMOOTH * (self.spent - self.per_tick)
        self.spent = 0.0

    def framed(self, seconds: float) -> None:
        """Account for a frame; the first one stands for those that follow."""
        self.per_frame += (_SMOOTH if self.per_frame else 1.0) * (seconds - self.per_frame)

    def frames(self, hz: float, tick_seconds: float) -> float:
        """Seconds that frames cost in a tick at some rate; there is at most one frame in a tick."""
        return self.per_frame * min(1.0, hz * tick_seconds)


def make_plan(
    simulation: Simulation, table: str, asked: SubscribeRequest, rows: Sequence[int], *, selected: bool = False
) -> SamplingPlan:
    """A plan of what a `sub` message asks for, whose columns have been checked; `table` is that of kinds without columns."""
    every = list(simulation.world.columns().items())
    picked, tables = [], []
    for identity, labels in asked.columns:
        address, column = every[identity]
        tables.append(address.split(".")[0])
        picked.append(Picked(identity, column, None if labels is None else np.array(labels, np.int64)))
    tables = tables or [table]
    most = min(simulation.world.tables[name].rows for name in tables)
    ends = find_ends(simulation).get(tables[0])
    plan = SamplingPlan(asked.id, asked.kind, picked, selected, asked.hz, asked.hz, ends, most)
    plan.retarget(rows)
    return plan


@attrs.define
class RateLimiter:
    """Keeps what debuggers cost below `budget`, a share of a tick, by asking the most expensive plans less often.

    It looks every `settle` seconds. What a rate costs is foreseen from what a frame costs, so that rates do not swing. The
    cost of samples that every tick is asked for (traces, vitals) does not depend on a rate, and remains; frames have some
    of the budget whatever else there is, since a window that shows nothing is of no use at any cost.
    """

    budget: float
    settle: float = 1.0
    looked: float = 0.0

    def share(self, plans: Sequence[SamplingPlan], tick_seconds: float) -> float:
        """What the plans cost, as a share of a tick."""
        return sum(plan.per_tick + plan.frames(plan.hz, tick_seconds) for plan in plans) / max(tick_seconds, 1e-9)

    def adjust(
        self, plans: Sequence[SamplingPlan], tick_seconds: float, now: float, others: float = 0.0
    ) -> list[SamplingPlan]:
        """Halve rates until everything fits, or double one that was halved; the plans whose rates are others now.

        others: the share of a tick that the debugger costs besides.
        """
        if now - self.looked < self.settle:
            return []
        self.looked = now
        others += sum(plan.per_tick for plan in plans) / tick_seconds
        most = max(_LEAST * self.budget, self.budget - others) * tick_seconds
        before = [plan.hz for plan in plans]
        total = sum(plan.frames(plan.hz, tick_seconds) for plan in plans)
        while total > most and (plan := _dearest(plans, tick_seconds)) is not None:
            lower = max(min(plan.hz, 1.0 / tick_seconds) / 2, _SLOWEST)
            total -= plan.frames(plan.hz, tick_seconds) - plan.frames(lower, tick_seconds)
            plan.hz = lower
        if before == [plan.hz for plan in plans]:
            self._give_back(plans, tick_seconds, _ROOM * most - total)
        return [plan for plan, hz in zip(plans, before, strict=True) if plan.hz != hz]

    def _give_back(self, plans: Sequence[SamplingPlan], tick_seconds: float, room: float) -> None:
        """Raise the slowest rate for which there are `room` seconds in a tick."""
        for plan in sorted((p for p in plans if p.hz < p.asked), key=lambda p: p.hz / p.asked):
            higher = min(plan.asked, 2 * plan.hz)
            if plan.frames(higher, tick_seconds) - plan.frames(plan.hz, tick_seconds) <= room:
                plan.hz = higher
                return


def _dearest(plans: Sequence[SamplingPlan], tick_seconds: float) -> SamplingPlan | None:
    """The plan whose frames cost most of those that may come less often."""
    slower = [plan for plan in plans if plan.hz > _SLOWEST and plan.per_frame > 0]
    return max(slower, key=lambda p: p.frames(p.hz, tick_seconds), default=None)
