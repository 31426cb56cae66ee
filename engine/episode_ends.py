"""The events that say which episodes ended: how many, why, and of some of them when and where in what they followed."""

from typing import Any

import attrs
import numpy as np
from torch import Tensor

from engine.scene import Simulation
from engine.trace import as_numpy
from engine.wire import pack_array

MOST_ROWS = 256
"""Rows whose end is told one by one."""
_WAITING = 16  # ticks that are counted at once


@attrs.define(eq=False, slots=False)
class EpisodeEnds:
    """Reads the endings of a table. What is not told at once is counted, and told with the next event.

    Fields of an event: `rows`, how many episodes ended; `reasons`, how many by each reason; and arrays, as packed by
    engine/wire.py, of up to MOST_ROWS rows of the event's tick that ended for a reason: `row`, `reason` (the first one's
    index), `step` (how long the episode was) and, where the scene's roles name the columns, `clip` and `time`.
    """

    simulation: Simulation
    table: str
    _rows: int = attrs.field(default=0, init=False)  # how many episodes ended since the last event
    _count: int = attrs.field(default=0, init=False)  # ticks that wait
    _waiting: tuple[np.ndarray, np.ndarray] = attrs.field(init=False)  # (ticks, rows) ended, (ticks, rows, reasons)
    _fired: np.ndarray = attrs.field(init=False)  # how many episodes ended by each reason

    def __attrs_post_init__(self) -> None:
        self._columns = self.simulation.world.columns()
        self._seen: dict[int, np.ndarray] = {}
        ends = self.simulation.ends.get(self.table)
        reasons = ends.reason.shape[1] if ends is not None and ends.reason is not None else 0
        self._fired = np.zeros(reasons, np.int64)
        rows = self.simulation.world.tables[self.table].rows
        self._waiting = np.zeros((_WAITING, rows), np.bool_), np.zeros((_WAITING, rows, reasons), np.bool_)

    @property
    def now(self) -> bool:
        """Whether an episode ends in this tick."""
        ends = self.simulation.ends.get(self.table)
        return ends is not None and bool(self._read(ends.ended).any())

    def tell(self, tick: int, due: bool) -> dict[str, Any] | None:
        """Text, first row and fields of an event about the rows that end now; None where there are none, or it is not due."""
        ends = self.simulation.ends.get(self.table)
        if ends is None:
            return None
        ended = self._read(ends.ended)
        if not due and self._count < _WAITING:
            self._waiting[0][self._count] = ended
            if ends.reason is not None:
                self._waiting[1][self._count] = self._read(ends.reason)
            self._count += 1
            return None
        rows = ended.nonzero()[0]
        fired = self._read(ends.reason)[rows] if ends.reason is not None else np.zeros((len(rows), 0), np.bool_)
        self._count_waiting()
        self._rows += len(rows)
        self._fired += fired.sum(0)
        if not due or not len(rows):
            return None
        reasons = {label: count for label, count in zip(ends.labels, self._fired.tolist(), strict=False) if count}
        fields: dict[str, Any] = {"rows": self._rows, "reasons": reasons} | self._details(tick, rows, fired)
        text = ", ".join(f"{count} × {label}" for label, count in reasons.items()) or f"{self._rows} episodes ended"
        self._rows, self._fired = 0, np.zeros_like(self._fired)
        return {"text": text, "row": int(rows[0]), "fields": fields}

    def _count_waiting(self) -> None:
        """Count what ended in ticks of which nothing was told; in one go, since to keep a tick costs less than to count it."""
        ended, reason = (each[: self._count] for each in self._waiting)
        self._count = 0
        self._rows += int(ended.sum())
        self._fired += reason[ended].sum(0)

    def _read(self, column: Tensor) -> np.ndarray:
        """A column as numpy sees it, looked up once where it lies on the host, since storage never moves."""
        if column.device.type != "cpu":
            return as_numpy(column)
        if id(column) not in self._seen:
            self._seen[id(column)] = as_numpy(column)
        return self._seen[id(column)]

    def _details(self, tick: int, rows: np.ndarray, fired: np.ndarray) -> dict[str, Any]:
        known = fired.any(1)
        shown, fired = rows[known][:MOST_ROWS], fired[known][:MOST_ROWS]
        if not len(shown):
            return {}
        details = {"row": shown.astype(np.int32), "reason": fired.argmax(1).astype(np.int32)}
        began, step = self.simulation.ends[self.table].began, self._of_role("episode_step")
        if step is not None:
            details["step"] = self._read(step)[shown].reshape(len(shown)).astype(np.float32)
        else:
            since = self._read(began)[shown] if began is not None else np.full(len(shown), np.nan)
            details["step"] = (tick - since).astype(np.float32)
        for name, role in (("clip", "clip"), ("time", "clip_time")):
            column = self._of_role(role)
            if column is not None:
                details[name] = self._read(column)[shown].reshape(len(shown)).astype(np.float32)
        return {name: pack_array(array) for name, array in details.items()}

    def _of_role(self, role: str) -> Tensor | None:
        """The column that plays a part, if it has one number for each row of the table."""
        address = self.simulation.scene.view.roles.get(role, "")
        column = self._columns.get(address)
        home = address.split(".")[0]
        return column if column is not None and home == self.table and column[0].numel() == 1 else None
