"""What a debugger has asked for, as plans that copy it: built once, since storage never moves.

A plan samples at two moments of a tick: behind the phase `Tick.finished`, where an episode that ended still shows how,
and at the end. Nothing here waits for anybody; what is not fetched in time is replaced, and counted.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
from torch import Tensor

from engine.observed import Ends
from engine.scene import Simulation
from engine.trace import as_numpy
from engine.wire import pack_array

TRACE_BYTES = 1 << 20  # of one subscription's samples between two frames
LARGEST = 1 << 18  # bytes of a frame while the run goes on
_SMOOTH = 0.05  # share of a new measurement in the average of a plan's cost


@attrs.define(eq=False)
class Picked:
    """One column of a plan: all values of a row, or those at flat `labels`."""

    number: int
    column: Tensor
    labels: np.ndarray | None
    alias: np.ndarray = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.alias = as_numpy(self.column)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The values of some rows, copied: (rows, *column) or (rows, labels)."""
        if self.column.device.type != "cpu":
            self.alias = as_numpy(self.column)
        taken: np.ndarray = self.alias[rows]
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
    cost: float = 0.0  # seconds in a tick, averaged
    spent: float = 0.0  # seconds in this tick
    lost: int = 0
    finished: "tuple[np.ndarray, list[np.ndarray]] | None" = None
    ring: list[tuple[int, np.ndarray, list[np.ndarray]]] = attrs.field(factory=list)
    since: int = 0

    @property
    def num_bytes(self) -> int:
        """About how large a frame is."""
        if self.kind == "column":
            return 4 * len(self.columns[0].alias) if self.columns else 0
        one = sum(p.take(self.rows[:1]).nbytes for p in self.columns) if len(self.rows) else 0
        return one * len(self.rows)

    def at_finish(self, tick: int) -> None:
        """Keep what rows whose episode has ended show now."""
        if self.ends is None or self.kind not in ("values", "pose", "trace") or not len(self.rows):
            return
        ended = as_numpy(self.ends.ended)[self.rows]
        if not ended.any():
            self.finished = None
            return
        if self.kind == "trace":
            self._append(tick, ended)
        else:
            self.finished = ended, [picked.take(self.rows) for picked in self.columns]

    def after_tick(self, tick: int) -> None:
        """Keep what every tick is asked for."""
        if self.kind == "trace" and len(self.rows):
            self._append(tick, np.zeros(len(self.rows), np.bool_))

    def _append(self, tick: int, ended: np.ndarray) -> None:
        values = [picked.take(self.rows) for picked in self.columns]
        self.ring.append((tick, ended, values))
        size = sum(value.nbytes for value in values) + 16
        while len(self.ring) * size > TRACE_BYTES and len(self.ring) > 1:
            self.ring.pop(0)
            self.lost += 1

    def message(self, tick: int) -> dict[str, Any] | None:
        """The frame of what there is now; None when there is nothing new."""
        if self.kind == "trace":
            return self._trace()
        if self.kind == "column":
            picked = self.columns[0]
            flat = picked.alias.reshape(len(picked.alias), -1)
            if picked.labels is not None:
                values = flat[:, picked.labels[0]].astype(np.float32)
            else:
                values = np.sqrt(np.square(flat.astype(np.float32)).sum(1)) if flat.shape[1] > 1 else flat[:, 0]
            return self._data([tick, tick], [[picked.number, *pack_array(values.astype(np.float32))]])
        values_of = [picked.take(self.rows) for picked in self.columns]
        finish = np.zeros(len(self.rows), np.bool_)
        if self.finished is not None:
            finish, early = self.finished
            for now, then in zip(values_of, early, strict=True):
                now[finish] = then[finish]
        more = {"rows": self.rows.tolist(), "finish": pack_array(finish)}
        cols = [[p.number, *pack_array(value)] for p, value in zip(self.columns, values_of, strict=True)]
        return self._data([tick, tick], cols) | more

    def _trace(self) -> dict[str, Any] | None:
        if not self.ring:
            return None
        ring, self.ring = self.ring, []
        at, ended = np.array([tick for tick, _, _ in ring]), np.stack([e for _, e, _ in ring])
        cols = []
        for number, picked in enumerate(self.columns):
            values = np.stack([sample[number] for _, _, sample in ring])
            cols.append([picked.number, *pack_array(values.reshape(len(ring), len(self.rows), -1))])
        more = {"at": pack_array(at), "ended": pack_array(ended), "rows": self.rows.tolist()}
        return self._data([int(at[0]), int(at[-1])], cols) | more

    def _data(self, ticks: list[int], cols: list[list[Any]]) -> dict[str, Any]:
        lost, self.lost = self.lost, 0
        return {"kind": self.kind, "ticks": ticks, "view": None, "lost": lost, "cols": cols}

    def timed(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call, and count the time."""
        start = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            self.spent += time.perf_counter() - start

    def settle(self) -> None:
        """Close a tick's account."""
        self.cost += _SMOOTH * (self.spent - self.cost)
        self.spent = 0.0


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
    least = min((len(p.alias) for p in picked), default=1 << 62)
    return Plan(number, kind, picked, wanted[wanted < least], rows == "selected", hz, hz, ends)


def govern(plans: Sequence[Plan], tick_seconds: float, budget: float) -> list[Plan]:
    """Halve the rates of what costs most until everything fits into `budget` (share of a tick); those that changed.

    Plans whose rate was lowered get some of it back once there is room for twice what is used.
    """
    share = sum(plan.cost for plan in plans) / max(tick_seconds, 1e-9)
    if share > budget:
        worst = max(plans, key=lambda plan: plan.cost)
        worst.hz = max(worst.hz / 2, 0.5)
        return [worst]
    if share < budget / 2:
        for plan in plans:
            if plan.hz < plan.asked:
                plan.hz = min(plan.asked, 1.5 * plan.hz)
                return [plan]
    return []
