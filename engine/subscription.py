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
from engine.wire import pack_array

TRACE_BYTES = 1 << 20
"""Of one subscription's samples between two frames; the oldest make room, and are counted as lost."""
LARGEST = 1 << 18
"""Bytes of a frame while the run goes on."""
VITALS = 128  # samples of one subscription between two frames
_SMOOTH = 0.05  # share of a new measurement in the average of a plan's cost
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
            taken: np.ndarray = self.alias[rows]
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
    cost: float = 0.0  # seconds in a tick, averaged
    spent: float = 0.0  # seconds in this tick
    lost: int = 0
    since: int = -1  # tick or iteration of the last frame
    before: Any = None  # what was counted when the last frame was made
    finished: "tuple[np.ndarray, list[np.ndarray]] | None" = None
    ring: deque[Sample] = attrs.field(factory=deque)
    vitals: "deque[tuple[int, np.ndarray]]" = attrs.field(factory=lambda: deque(maxlen=VITALS))

    def retarget(self, rows: Sequence[int]) -> None:
        """Have other rows from now on; those that the table does not have are left out."""
        self.rows = np.array([row for row in rows if row < self.most], np.int64)
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
        if self.ends is None or self.kind not in ("values", "pose", "trace") or not len(self.rows):
            return
        ended = as_numpy(self.ends.ended)[self.rows]
        self.finished = None
        if not ended.any():
            return
        if self.kind == "trace":
            self._append(tick, ended)
        else:
            self.finished = ended, [picked.take(self.rows) for picked in self.columns]

    def after_tick(self, tick: int) -> None:
        """Keep what is asked for of every tick."""
        if self.kind == "trace" and len(self.rows):
            self._append(tick, np.zeros(len(self.rows), np.bool_))

    def _append(self, tick: int, ended: np.ndarray) -> None:
        self.ring.append((tick, ended, [picked.take(self.rows) for picked in self.columns]))
        while len(self.ring) * (self.num_bytes + 16) > TRACE_BYTES and len(self.ring) > 1:
            self.ring.popleft()
            self.lost += 1

    def message(self, tick: int, *, still: bool = False) -> dict[str, Any] | None:
        """The frame of what there is now; None when there is nothing new. `still`: the run stands, whatever ended has ended."""
        if self.kind == "trace":
            return self._trace()
        if self.kind == "column":
            picked = self.columns[0]
            return self.data([tick, tick], [[picked.number, *pack_array(picked.scalar())]])
        values_of = [picked.take(self.rows) for picked in self.columns]
        finish = np.zeros(len(self.rows), np.bool_)
        if self.finished is not None and not still:
            finish, early = self.finished
            for now, then in zip(values_of, early, strict=True):
                now[finish] = then[finish]
        more = {"rows": self.rows.tolist(), "finish": pack_array(finish)}
        cols = [[p.number, *pack_array(value)] for p, value in zip(self.columns, values_of, strict=True)]
        return self.data([tick, tick], cols) | more

    def _trace(self) -> dict[str, Any] | None:
        """As many of the samples that wait as fit into a frame, oldest first."""
        count = min(len(self.ring), max(2, LARGEST // (self.num_bytes + 16)))
        if not count:
            return None
        ring = [self.ring.popleft() for _ in range(count)]
        at, ended = np.array([tick for tick, _, _ in ring]), np.stack([e for _, e, _ in ring])
        cols = []
        for number, picked in enumerate(self.columns):
            values = np.stack([sample[number] for _, _, sample in ring])
            cols.append([picked.number, *pack_array(values.reshape(count, len(self.rows), -1))])
        more = {"at": pack_array(at), "ended": pack_array(ended), "rows": self.rows.tolist()}
        return self.data([int(at[0]), int(at[-1])], cols) | more

    def data(self, ticks: list[int], cols: "list[list[Any]] | None" = None) -> dict[str, Any]:
        """A frame of this kind, with what was lost before it."""
        lost, self.lost = self.lost, 0
        return {"kind": self.kind, "ticks": ticks, "view": None, "lost": lost, "cols": cols or []}

    def settle(self) -> None:
        """Close a tick's account."""
        self.cost += _SMOOTH * (self.spent - self.cost)
        self.spent = 0.0


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
    """Keeps what plans cost below `budget`, a share of a tick, by asking the most expensive ones less often.

    It looks every `settle` seconds, so that one change shows before the next. The cost of samples that every tick is
    asked for (traces, vitals) does not depend on a rate, and remains.
    """

    budget: float
    settle: float = 1.0
    looked: float = 0.0

    def share(self, plans: Sequence[Plan], tick_seconds: float) -> float:
        """What the plans cost, as a share of a tick."""
        return sum(plan.cost for plan in plans) / max(tick_seconds, 1e-9)

    def adjust(self, plans: Sequence[Plan], tick_seconds: float, now: float) -> Plan | None:
        """Halve the rate of one plan, or give some of its own back to one; that plan, if any."""
        if now - self.looked < self.settle:
            return None
        self.looked, share = now, self.share(plans, tick_seconds)
        if share > self.budget:
            for plan in sorted(plans, key=lambda plan: plan.cost, reverse=True):
                if plan.hz > _SLOWEST:
                    plan.hz = max(plan.hz / 2, _SLOWEST)
                    return plan
        elif share < self.budget / 2:
            for plan in plans:
                if plan.hz < plan.asked:
                    plan.hz = min(plan.asked, 1.5 * plan.hz)
                    return plan
        return None
