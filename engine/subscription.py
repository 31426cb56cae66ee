"""What a debugger has asked for, as plans that copy it: built once, since storage never moves.

A plan samples at two moments of a tick: behind the phase `Tick.finished`, where an episode that ended still shows how,
and at the end. Nothing here waits for anybody; what is not fetched in time is replaced, and counted.
"""

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from torch import Tensor

from engine.observed import Ends
from engine.scene import Simulation
from engine.trace import as_numpy
from engine.wire import Samples

TRACE_BYTES = 1 << 20  # of one subscription's samples between two frames
LARGEST = 1 << 18  # bytes of a frame while the run goes on
SLOWEST = 0.5  # Hz
_SMOOTH = 0.05  # share of a new measurement in the averages of a plan's cost
_ROOM = 0.7  # share of the budget that must be enough before a rate is raised again
_ENDING = ("values", "pose", "trace")  # kinds that show how an episode ended


@attrs.define(eq=False)
class Picked:
    """One column of a plan: all values of a row, or those at flat `labels`."""

    number: int
    column: Tensor
    labels: np.ndarray | None
    alias: np.ndarray = attrs.field(init=False)
    on_host: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.alias = as_numpy(self.column)
        self.on_host = self.column.device.type == "cpu"

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The values of some rows, copied: (rows, *column) or (rows, labels)."""
        if not self.on_host:
            self.alias = as_numpy(self.column)
        taken: np.ndarray
        if len(rows) == 1:  # the usual case, and a slice costs a fraction of an index array
            row = rows[0]
            taken = self.alias[row : row + 1]
            return taken.copy() if self.labels is None else taken.reshape(1, -1)[:, self.labels]
        taken = self.alias[rows]
        return taken if self.labels is None else taken.reshape(len(rows), -1)[:, self.labels]


@attrs.define(eq=False)
class Plan:
    """A subscription: what is copied, when it is due, and what it costs."""

    id: int
    kind: str
    columns: list[Picked]
    rows: np.ndarray
    selected: bool
    asked: float  # Hz
    hz: float
    ends: Ends | None
    due: float = 0.0
    per_tick: float = 0.0  # seconds that every tick costs, averaged
    per_frame: float = 0.0  # seconds that a frame costs, averaged
    spent: float = 0.0  # seconds of this tick so far
    lost: int = 0
    finished: "tuple[int, np.ndarray, list[np.ndarray]] | None" = None
    ring: list[tuple[int, np.ndarray, list[np.ndarray]]] = attrs.field(factory=list)
    since: int = 0
    going_on: np.ndarray = attrs.field(init=False)  # (rows,) False: nobody's episode has ended; never written to
    most: int = attrs.field(init=False)  # samples that the ring holds
    ending: bool = attrs.field(init=False)  # whether it shows how an episode ended
    ended: "np.ndarray | None" = attrs.field(default=None, init=False)  # as numpy sees it on the host

    def __attrs_post_init__(self) -> None:
        if self.ends is not None and self.ends.ended.device.type == "cpu":
            self.ended = as_numpy(self.ends.ended)
        self.aim(self.rows)

    @property
    def num_bytes(self) -> int:
        """About how large a frame is."""
        if self.kind == "column":
            return 4 * len(self.columns[0].alias) if self.columns else 0
        one = sum(p.take(self.rows[:1]).nbytes for p in self.columns) if len(self.rows) else 0
        return one * len(self.rows)

    def at_finish(self, tick: int) -> None:
        """Keep what rows whose episode has ended show now; called in ticks in which there are any."""
        if self.ends is None or not self.ending:
            return
        ended = (self.ended if self.ended is not None else as_numpy(self.ends.ended))[self.rows]
        if not ended.any():
            return
        if self.kind == "trace":
            self._append(tick, ended)
        else:
            self.finished = tick, ended, [picked.take(self.rows) for picked in self.columns]

    def after_tick(self, tick: int) -> None:
        """Keep what every tick is asked for: a plan of kind `trace` needs this call."""
        if len(self.rows):
            self._append(tick, self.going_on)

    def _append(self, tick: int, ended: np.ndarray) -> None:
        values = [picked.take(self.rows).reshape(len(self.rows), -1) for picked in self.columns]
        self.ring.append((tick, ended, values))
        if len(self.ring) > self.most:
            self.ring.pop(0)
            self.lost += 1

    def aim(self, rows: "Sequence[int] | np.ndarray") -> None:
        """Look at these rows from now on; rows that a column does not have are left out."""
        least = min((len(p.alias) for p in self.columns), default=1 << 62)
        self.rows = np.array([row for row in rows if row < least], np.int64)
        self.going_on = np.zeros(len(self.rows), np.bool_)
        self.ending = self.kind in _ENDING and len(self.rows) > 0
        self.most = max(1, TRACE_BYTES // (self.num_bytes + 16))
        self.ring, self.finished, self.due = [], None, 0.0

    def message(self, tick: int) -> dict[str, Any] | None:
        """A data message of what there is now, its arrays copied but not packed; None when there is nothing new."""
        if self.kind == "trace":
            return self._trace()
        if self.kind == "column":
            picked = self.columns[0]
            flat = picked.alias.reshape(len(picked.alias), -1)
            if picked.labels is not None:
                values = flat[:, picked.labels[0]].astype(np.float32)
            else:
                values = np.sqrt(np.square(flat.astype(np.float32)).sum(1)) if flat.shape[1] > 1 else flat[:, 0]
            return self._data([tick, tick], [[picked.number, values.astype(np.float32)]])
        values_of = [picked.take(self.rows) for picked in self.columns]
        cols = [[picked.number, value] for picked, value in zip(self.columns, values_of, strict=True)]
        finish = self.going_on
        if self.finished is not None and self.finished[0] == tick:
            _, finish, early = self.finished
            for now, then in zip(values_of, early, strict=True):
                now[finish] = then[finish]
        self.finished = None
        return self._data([tick, tick], cols) | {"rows": self.rows.tolist(), "finish": finish}

    def _trace(self) -> dict[str, Any] | None:
        if not self.ring:
            return None
        ring, self.ring = self.ring, []
        cols = [
            [picked.number, Samples(sample[number] for _, _, sample in ring)]
            for number, picked in enumerate(self.columns)
        ]
        at, ended = np.array([tick for tick, _, _ in ring], np.int64), Samples(ended for _, ended, _ in ring)
        return self._data([ring[0][0], ring[-1][0]], cols) | {"at": at, "ended": ended, "rows": self.rows.tolist()}

    def _data(self, ticks: list[int], cols: list[list[Any]]) -> dict[str, Any]:
        lost, self.lost = self.lost, 0
        return {"kind": self.kind, "ticks": ticks, "view": None, "lost": lost, "cols": cols}

    def settle(self) -> None:
        """Close a tick's account of what every tick costs."""
        self.per_tick += _SMOOTH * (self.spent - self.per_tick)
        self.spent = 0.0

    def framed(self, seconds: float) -> None:
        """Account for a frame; the first one stands for those that follow."""
        self.per_frame += (4 * _SMOOTH if self.per_frame else 1.0) * (seconds - self.per_frame)

    def cost(self, hz: float, tick_seconds: float) -> float:
        """Seconds that the plan costs in a tick at some rate; no more than one frame is made in a tick."""
        return self.per_tick + self.per_frame * min(1.0, hz * tick_seconds)


def make_plan(
    simulation: Simulation,
    number: int,
    kind: str,
    columns: Sequence[tuple[int, Any]],
    rows: Any,
    hz: float,
    selected: Sequence[int],
) -> Plan:
    """A plan of what a `sub` message asks for; its columns and rows have been checked against the schema."""
    every = list(simulation.world.columns().items())
    picked, tables = [], []
    for identity, labels in columns:
        address, column = every[identity]
        tables.append(address.split(".")[0])
        picked.append(Picked(identity, column, None if labels is None else np.array(labels, np.int64)))
    ends = simulation.ends.get(tables[0]) if tables else next(iter(simulation.ends.values()), None)
    wanted = np.array(selected if rows == "selected" else rows, np.int64)
    return Plan(number, kind, picked, wanted, rows == "selected", hz, hz, ends)


def govern(plans: Sequence[Plan], tick_seconds: float, budget: float) -> list[Plan]:
    """Halve the rates of what costs most until everything fits into `budget` (share of a tick); those that changed.

    A rate that was lowered is doubled again, one in a call, once that leaves some of the budget free. What a rate costs
    is foreseen, not awaited, so rates do not swing.
    """
    before = {plan.id: plan.hz for plan in plans}
    most = budget * tick_seconds

    def gain(plan: Plan) -> float:
        lower = max(plan.hz / 2, min(SLOWEST, plan.asked))
        return plan.cost(plan.hz, tick_seconds) - plan.cost(lower, tick_seconds)

    total = sum(plan.cost(plan.hz, tick_seconds) for plan in plans)
    while total > most and any(plan.hz > SLOWEST for plan in plans):
        # A rate above that of ticks costs nothing more, so it is halved whatever that gains.
        worst = max((p for p in plans if p.hz > SLOWEST), key=lambda p: (gain(p), p.hz))
        total -= gain(worst)
        worst.hz = max(worst.hz / 2, SLOWEST)
    if not any(plan.hz != before[plan.id] for plan in plans):
        for plan in sorted((p for p in plans if p.hz < p.asked), key=lambda p: p.hz):
            higher = min(plan.asked, 2 * plan.hz)
            if total + plan.cost(higher, tick_seconds) - plan.cost(plan.hz, tick_seconds) <= _ROOM * most:
                plan.hz = higher
                break
    return [plan for plan in plans if plan.hz != before[plan.id]]
