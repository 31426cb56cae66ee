"""What a debugger has asked for, as plans that copy it: built once, since storage never moves.

A plan samples at two moments of a tick: behind the phase `Tick.finished`, where an episode that ended still shows how,
and at the end. Nothing here waits for anybody; what is not fetched in time is replaced, and counted.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from engine.observed import Ends
from engine.scene import Simulation
from engine.trace import as_numpy
from engine.wire import Samples

TRACE_BYTES = 1 << 20
"""Of one subscription's samples between two frames; the oldest make room, and are counted as lost."""
LARGEST = 1 << 18
"""Bytes of a frame while the run goes on."""
ENDING = ("values", "pose", "trace")
"""Kinds that show how an episode ended."""
VITALS = 128  # samples of one subscription between two frames
_SMOOTH = 0.05  # share of a new measurement in the averages of a plan's cost
_LEAST = 0.4  # share of the budget that plans have whatever else there is
_ROOM = 0.8  # share of the budget that must be enough for a rate to be raised again
_SLOWEST = 0.5  # Hz

Sample = tuple[int, np.ndarray, list[np.ndarray]]
"""Tick, which rows ended (rows,), and the values of each column."""


@attrs.define(eq=False)
class Picked:
    """One column of a plan: all values of a row, or those at flat `labels`."""

    number: int
    column: Tensor
    labels: np.ndarray | None
    alias: np.ndarray | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.alias = as_numpy(self.column) if self.column.device.type == "cpu" else None

    @property
    def row_bytes(self) -> int:
        """Bytes of what is taken of one row."""
        count = self.column[0].numel() if self.labels is None else len(self.labels)
        return int(count) * self.column.element_size()

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The values of some rows, copied: (rows, *column) or (rows, labels)."""
        if self.alias is not None:
            # one row is the usual case, and its number costs a fraction of an array of numbers
            taken: np.ndarray = self.alias[rows[0]][None].copy() if len(rows) == 1 else self.alias[rows]
        else:
            taken = as_numpy(self.column[torch.from_numpy(rows).to(self.column.device)])
        return taken if self.labels is None else taken.reshape(len(rows), -1)[:, self.labels]

    def scalar(self) -> np.ndarray:
        """One float32 per row of the table: the value at the one label, or the norm of the row."""
        values = as_numpy(self.column) if self.alias is None else self.alias
        flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
        if self.labels is not None:
            flat = flat[:, self.labels[:1]]
        if flat.shape[1] == 1:
            return flat[:, 0].astype(np.float32)
        norm: np.ndarray = np.sqrt(np.square(flat.astype(np.float32)).sum(1))
        return norm


@attrs.define(eq=False)
class Plan:
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
    going_on: np.ndarray = attrs.field(factory=lambda: np.zeros(0, np.bool_))  # (rows,) False; nobody writes to it
    ended: "np.ndarray | None" = attrs.field(init=False)  # which rows of the table end, as numpy sees it on the host
    ring: deque[Sample] = attrs.field(factory=deque)
    vitals: "deque[tuple[int, np.ndarray]]" = attrs.field(factory=lambda: deque(maxlen=VITALS))

    def __attrs_post_init__(self) -> None:
        on_host = self.ends is not None and self.ends.ended.device.type == "cpu"
        self.ended = as_numpy(self.ends.ended) if self.ends is not None and on_host else None

    def retarget(self, rows: Sequence[int]) -> None:
        """Have other rows from now on; those that the table does not have are left out."""
        self.rows = np.array([row for row in rows if row < self.most], np.int64)
        self.going_on = np.zeros(len(self.rows), np.bool_)
        self.forget()
        self.due = 0.0
        if self.kind == "column":
            self.num_bytes = 4 * len(self.columns[0].column)
        else:
            self.num_bytes = sum(picked.row_bytes for picked in self.columns) * len(self.rows)

    def forget(self) -> None:
        """Time has jumped, or the rows are others: what was kept belongs to something else."""
        self.finished, self.since, self.before = None, -1, None
        self.ring.clear()
        self.vitals.clear()

    def at_finish(self, tick: int) -> None:
        """Keep what rows whose episode has ended show now."""
        if self.ends is None or self.kind not in ENDING or not len(self.rows):
            return
        now = as_numpy(self.ends.ended) if self.ended is None else self.ended
        if len(self.rows) == 1 and not now[self.rows[0]]:
            return
        ended = now[self.rows]
        if not ended.any():
            return
        if self.kind == "trace":
            self._append(tick, ended)
        else:
            self.finished = tick, ended, [picked.take(self.rows) for picked in self.columns]

    def after_tick(self, tick: int) -> None:
        """Keep what is asked for of every tick."""
        if self.kind == "trace" and len(self.rows):
            self._append(tick, self.going_on)

    def _append(self, tick: int, ended: np.ndarray) -> None:
        count = len(self.rows)
        self.ring.append((tick, ended, [picked.take(self.rows).reshape(count, -1) for picked in self.columns]))
        while len(self.ring) * (self.num_bytes + 16) > TRACE_BYTES and len(self.ring) > 1:
            self.ring.popleft()
            self.lost += 1

    def message(self, tick: int, *, still: bool = False) -> dict[str, Any] | None:
        """The frame of what there is now, its arrays copied but not packed; None when there is nothing new.

        `still`: the run stands, whatever ended has ended.
        """
        if self.kind == "trace":
            return self._trace()
        if self.kind == "column":
            picked = self.columns[0]
            return self.data([tick, tick], [[picked.number, picked.scalar()]])
        values_of = [picked.take(self.rows) for picked in self.columns]
        finish = self.going_on
        if self.finished is not None and self.finished[0] == tick and not still:
            _, finish, early = self.finished
            for now, then in zip(values_of, early, strict=True):
                now[finish] = then[finish]
        cols = [[p.number, value] for p, value in zip(self.columns, values_of, strict=True)]
        return self.data([tick, tick], cols) | {"rows": self.rows.tolist(), "finish": finish}

    def _trace(self) -> dict[str, Any] | None:
        """As many of the samples that wait as fit into a frame, oldest first."""
        count = min(len(self.ring), max(2, LARGEST // (self.num_bytes + 16)))
        if not count:
            return None
        ring = [self.ring.popleft() for _ in range(count)]
        cols = [
            [picked.number, Samples(sample[number] for _, _, sample in ring)]
            for number, picked in enumerate(self.columns)
        ]
        at, ended = np.array([tick for tick, _, _ in ring]), Samples(ended for _, ended, _ in ring)
        return self.data([ring[0][0], ring[-1][0]], cols) | {"at": at, "ended": ended, "rows": self.rows.tolist()}

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
        self.per_frame += (4 * _SMOOTH if self.per_frame else 1.0) * (seconds - self.per_frame)

    def cost(self, hz: float, tick_seconds: float) -> float:
        """Seconds that the plan costs in a tick at some rate; there is at most one frame in a tick."""
        return self.per_tick + self.per_frame * min(1.0, hz * tick_seconds)


def make_plan(
    simulation: Simulation,
    table: str,
    number: int,
    kind: str,
    columns: Sequence[tuple[int, Any]],
    rows: Sequence[int],
    hz: float,
    *,
    selected: bool = False,
) -> Plan:
    """A plan of what a `sub` message asks for, whose columns have been checked; `table` is that of kinds without columns."""
    every = list(simulation.world.columns().items())
    picked, tables = [], []
    for identity, labels in columns:
        address, column = every[identity]
        tables.append(address.split(".")[0])
        picked.append(Picked(identity, column, None if labels is None else np.array(labels, np.int64)))
    tables = tables or [table]
    most = min(simulation.world.tables[name].rows for name in tables)
    plan = Plan(number, kind, picked, selected, hz, hz, simulation.ends.get(tables[0]), most)
    plan.retarget(rows)
    return plan


@attrs.define
class Governor:
    """Keeps what debuggers cost below `budget`, a share of a tick, by asking the most expensive plans less often.

    It looks every `settle` seconds. What a rate costs is foreseen from what a frame costs, so that rates do not swing. The
    cost of samples that every tick is asked for (traces, vitals) does not depend on a rate, and remains.
    """

    budget: float
    settle: float = 1.0
    looked: float = 0.0

    def share(self, plans: Sequence[Plan], tick_seconds: float) -> float:
        """What the plans cost, as a share of a tick."""
        return sum(plan.cost(plan.hz, tick_seconds) for plan in plans) / max(tick_seconds, 1e-9)

    def adjust(self, plans: Sequence[Plan], tick_seconds: float, now: float, others: float = 0.0) -> list[Plan]:
        """Halve rates until everything fits, or double one that was halved; the plans whose rates are others now.

        others: the share of a tick that the debugger costs besides. Plans have some of the budget whatever it is.
        """
        if now - self.looked < self.settle:
            return []
        self.looked = now
        most = max(_LEAST * self.budget, self.budget - others) * tick_seconds
        before = [plan.hz for plan in plans]
        total = sum(plan.cost(plan.hz, tick_seconds) for plan in plans)
        while total > most and (plan := _dearest(plans, tick_seconds)) is not None:
            lower = max(min(plan.hz, 1.0 / tick_seconds) / 2, _SLOWEST)
            total -= plan.cost(plan.hz, tick_seconds) - plan.cost(lower, tick_seconds)
            plan.hz = lower
        if before == [plan.hz for plan in plans]:
            self._give_back(plans, tick_seconds, _ROOM * most - total)
        return [plan for plan, hz in zip(plans, before, strict=True) if plan.hz != hz]

    def _give_back(self, plans: Sequence[Plan], tick_seconds: float, room: float) -> None:
        """Raise the slowest rate for which there are `room` seconds in a tick."""
        for plan in sorted((p for p in plans if p.hz < p.asked), key=lambda p: p.hz / p.asked):
            higher = min(plan.asked, 2 * plan.hz)
            if plan.cost(higher, tick_seconds) - plan.cost(plan.hz, tick_seconds) <= room:
                plan.hz = higher
                return


def _dearest(plans: Sequence[Plan], tick_seconds: float) -> Plan | None:
    """The plan whose frames cost most of those that may come less often."""
    slower = [plan for plan in plans if plan.hz > _SLOWEST and plan.per_frame > 0]
    return max(slower, key=lambda p: p.cost(p.hz, tick_seconds) - p.per_tick, default=None)
