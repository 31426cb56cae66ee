"""The events that say which episodes ended: how many, why, and when and where in what they followed."""

from typing import Any

import attrs
import numpy as np
from torch import Tensor

from engine.ecs.scene import Simulation
from engine.ecs.table import as_numpy
from engine.protocol.display import NO_DISPLAY, View
from engine.protocol.framing import pack_array
from engine.protocol.vitals import find_ends

MOST_ROWS = 512
"""Ends that an event lists one by one."""
_WAITING = 16  # ticks that are looked at together


@attrs.define(eq=False, slots=False)
class EpisodeEnds:
    """Reads the endings of a table. What has not been sent is kept for the next event.

    Fields of an event: `rows`, how many episodes ended since the last one; `reasons`, how many by each reason; and arrays, as
    packed by engine/protocol/framing.py, of the last up to MOST_ROWS that ended for a reason: `tick`, `row`, `reason` (the first one's
    index), `step` (how long the episode was) and, where the scene's roles name the columns, `clip` and `time`.

    A tick's columns are only copied; they are looked at several ticks together, which costs less.
    """

    simulation: Simulation
    table: str
    view: View = NO_DISPLAY
    now: np.ndarray = attrs.field(init=False)
    """The rows whose episode ended when `look` was called last."""
    _count: int = attrs.field(default=0, init=False)  # ticks that wait
    _rows: int = attrs.field(default=0, init=False)  # how many episodes ended since the last event
    _fired: np.ndarray = attrs.field(init=False)  # and how many of them by each reason
    _details: list[dict[str, np.ndarray]] = attrs.field(factory=list, init=False)  # details, some ticks each

    def __attrs_post_init__(self) -> None:
        ends = find_ends(self.simulation).get(self.table)
        reasons = 0 if ends is None or ends.reason is None else ends.reason.shape[1]
        self.now, self._fired = np.zeros(0, np.int64), np.zeros(reasons, np.int64)
        self._sources: dict[str, tuple[Tensor, np.ndarray | None, np.ndarray]] = {}
        self._tick = np.zeros(_WAITING, np.int64)
        if ends is None:
            return
        wanted = {"ended": ends.ended, "reason": ends.reason, "step": self._of_role("episode_step")}
        wanted |= {"clip": self._of_role("clip"), "time": self._of_role("clip_time")}
        if wanted["step"] is None:
            wanted["began"] = ends.began
        for name, column in wanted.items():
            if column is not None:
                on_host = as_numpy(column) if column.device.type == "cpu" else None  # storage never moves
                kept = np.zeros((_WAITING, *column.shape), as_numpy(column[:0]).dtype)
                self._sources[name] = column, on_host, kept

    def look(self, tick: int) -> np.ndarray:
        """The rows whose episode ends in this tick; what there is to say of them is kept."""
        if not self._sources:
            return self.now
        self.now = self._read("ended").nonzero()[0]
        if len(self.now):
            for name, (_, _, kept) in self._sources.items():
                kept[self._count] = self._read(name)
            self._tick[self._count] = tick
            self._count += 1
            if self._count == _WAITING:
                self._count_up()
        return self.now

    def pending_event(self, due: bool) -> dict[str, Any] | None:
        """Text, last row and fields of an event about what ended since the last one; None where nothing did, or it is not due."""
        if due and self._count:
            self._count_up()
        if not due or not self._rows:
            return None
        labels = find_ends(self.simulation)[self.table].labels
        reasons = {label: count for label, count in zip(labels, self._fired.tolist(), strict=False) if count}
        fields: dict[str, Any] = {"rows": self._rows, "reasons": reasons}
        text = ", ".join(f"{count} × {label}" for label, count in reasons.items()) or f"{self._rows} episodes ended"
        row = None
        if self._details:
            details = {
                name: np.concatenate([each[name] for each in self._details])[-MOST_ROWS:] for name in self._details[0]
            }
            fields |= {name: pack_array(array) for name, array in details.items()}
            row = int(details["row"][-1])
        self._rows, self._fired = 0, np.zeros_like(self._fired)
        self._details.clear()
        return {"text": text, "row": row, "fields": fields}

    def _read(self, name: str) -> np.ndarray:
        column, on_host, _ = self._sources[name]
        return as_numpy(column) if on_host is None else on_host

    def _count_up(self) -> None:
        """Count what ended in the ticks that wait, and keep the details of it."""
        kept = {name: array[: self._count] for name, (_, _, array) in self._sources.items()}
        ticks, rows = kept["ended"].nonzero()
        self._count = 0
        self._rows += len(rows)
        if not len(rows) or "reason" not in kept:
            return
        fired = kept["reason"][ticks, rows]
        self._fired += fired.sum(0)
        known = fired.any(1)
        ticks, rows, fired = ticks[known], rows[known], fired[known]
        if not len(rows):
            return
        at = self._tick[ticks]
        details = {"tick": at, "row": rows.astype(np.int32), "reason": fired.argmax(1).astype(np.int32)}
        if "step" in kept:
            details["step"] = kept["step"][ticks, rows].reshape(len(rows)).astype(np.float32)
        else:
            began = kept["began"][ticks, rows] if "began" in kept else np.full(len(rows), np.nan)
            details["step"] = (at - began).astype(np.float32)
        for name in ("clip", "time"):
            if name in kept:
                details[name] = kept[name][ticks, rows].reshape(len(rows)).astype(np.float32)
        self._details.append(details)
        while sum(len(each["row"]) for each in self._details[1:]) >= MOST_ROWS:
            del self._details[0]

    def _of_role(self, role: str) -> Tensor | None:
        """The column that plays a part, if it has one number for each row of the table."""
        address = self.view.roles.get(role, "")
        column = self.simulation.world.columns().get(address)
        home = address.split(".")[0]
        return column if column is not None and home == self.table and column[0].numel() == 1 else None
