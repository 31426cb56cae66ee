"""The flight recorder: the recent past of a few rows (trace) and of all (black box), kept in memory until it is needed.

Written as a recording when a tick fails, when a column first holds a value that is not finite, on request, and at the end.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.ecs.component import info
from engine.ecs.scene import Simulation
from engine.ecs.schedule import Observer
from engine.ecs.table import as_numpy
from engine.errors import SceneError, WireError
from engine.protocol.display import NO_DISPLAY, View
from engine.protocol.framing import pack_array
from engine.protocol.schema import make_schema
from engine.protocol.vitals import find_ends, find_vitals
from engine.recording.file import END, TERMINAL, TORN, RecordingWriter
from engine.recording.row_ring import RowTrace, kept_through, traced_columns

MOST_ROWS = 64
USUAL_ROWS = 16
BUDGET = 64 << 20  # bytes of the trace
SAMPLES = 128  # of the black box
EVERY_ON_HOST = 2  # ticks between samples of the black box on a CPU, where they cost more than on a GPU
_EVENTS = 256
BY_HAND = ("request", "break")
"""Kinds of recordings that somebody asked for: none replaces another, as where a run comes by the same tick twice."""


def watched_table(simulation: Simulation) -> str:
    """The table that is traced: the first with endings, else the first."""
    return next(iter(find_ends(simulation) or simulation.world.tables))


def parse_rows(text: "str | bool", rows: int, *, flag: str = "--record", most: int = MOST_ROWS) -> list[int]:
    """The rows that a flag names ('0-15', '3,17'), of `rows`; True: 16 of them, evenly spread. SceneError for bad ones."""
    if text is True:
        count = min(USUAL_ROWS, rows)
        return [i * rows // count for i in range(count)]
    found: dict[int, None] = {}
    for part in str(text).split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise SceneError(f"{flag} takes rows such as 0-15 or 3,17, but was given '{text}'.")
        span = int(first), int(last) if dash else int(first)
        for row in span:
            if row >= rows:
                raise SceneError(f"{flag} names row {row}, but there are {rows} rows, counted from 0.")
        if span[1] < span[0]:
            raise SceneError(f"{flag} is given the rows {part.strip()}; write the smaller one first.")
        found |= dict.fromkeys(range(span[0], span[1] + 1))
    if len(found) > most:
        raise SceneError(f"{flag} names {len(found)} rows; {most} are the most.")
    return list(found)


class BlackBox:
    """A ring of the vital numbers of every row, as float16: (samples, rows, labels)."""

    def __init__(self, simulation: Simulation, table: str, samples: int, every: int) -> None:
        self.world, self.table, self.every = simulation.world, table, every
        self.vitals = find_vitals(simulation).get(table, [])
        width = sum(len(vital.labels) for vital in self.vitals)
        rows = self.world.tables[table].rows
        self.store = torch.zeros((samples, rows, width), dtype=torch.float16)
        self.tick = np.zeros(samples, np.int64)
        self.taken = self.first = 0

    def take(self) -> None:
        """Sample all rows, if it is time to."""
        tick = self.world.clock.tick
        if not self.vitals or tick % self.every:
            return
        slot = self.taken % len(self.tick)
        rows = self.store.shape[1]
        self.store[slot].copy_(torch.cat([vital.value().reshape(rows, -1).float() for vital in self.vitals], 1))
        self.tick[slot] = tick
        self.taken += 1

    def rewind(self, tick: int) -> None:
        """Forget what was sampled after a tick."""
        self.first, self.taken = kept_through(tick, self.tick, self.first, self.taken)

    def messages(self) -> Iterator[dict[str, Any]]:
        """What is kept, oldest first, some samples a message."""
        slots = np.arange(max(self.first, self.taken - len(self.tick)), self.taken) % len(self.tick)
        values = self.store.numpy()
        each = max(1, (1 << 22) // max(1, values[0].nbytes))
        for start in range(0, len(slots), each):
            part = slots[start : start + each]
            at = self.tick[part]
            yield {
                "t": "data",
                "sub": "black_box",
                "table": self.table,
                "ticks": [int(at[0]), int(at[-1])],
                "at": pack_array(at),
                "values": pack_array(values[part]),
            }


_NARROW = 4  # values per row of the columns that a glance is at
_PIECE = 8192  # values; a product of longer vectors may be shared among threads, which are the simulator's


def _finite(pieces: list[np.ndarray]) -> bool:
    return all(map(isfinite, map(np.vdot, pieces, pieces)))  # other products warn of what is too large to be squared


class FiniteCheck:
    """Looks for the first value of a traced state column that is neither a number nor meant to be.

    Of several columns it takes one whose writers read none of the others, not even through what is derived from them: a
    cause before what it spoils. The sum of squares of a column is finite where all of it is, unless it is huge; only where
    it is not, each element is looked at.
    """

    def __init__(self, simulation: Simulation, table: str) -> None:
        self.simulation, self.table = simulation, table
        state = {f"{t}.{c.__name__}": c for t, c in simulation.world.components if info(c).lifetime == "state"}
        self.columns: list[tuple[str, type, Tensor]] = [
            (address, state[owner], column)
            for address, column in traced_columns(simulation.world, table).items()
            if (owner := address.rpartition(".")[0]) in state and column.is_floating_point()
        ]
        self._pieces: list[np.ndarray] = []
        self._narrow: list[np.ndarray] = []
        self._rest: list[Tensor] = []
        for _, _, column in self.columns:
            if (
                column.device.type == "cpu"
                and column.is_contiguous()
                and column.dtype in (torch.float32, torch.float64)
            ):
                flat = as_numpy(column).reshape(-1)
                pieces = [flat[start : start + _PIECE] for start in range(0, len(flat), _PIECE)]
                self._pieces += pieces
                self._narrow += pieces if column[0].numel() <= _NARROW else []
            else:
                self._rest.append(column)

    def glance(self) -> dict[str, Any] | None:
        """`find`, where a narrow column is not finite: what spoils a row of a simulator spoils its root at once."""
        return None if self._narrow and _finite(self._narrow) else self.find()

    def find(self) -> dict[str, Any] | None:
        """An event that names row, label, column and the system that wrote it; None while all is finite."""
        if _finite(self._pieces) and self._rest_is_finite():
            return None
        bad = [found for found in self.columns if not bool(torch.isfinite(found[2]).all())]
        if not bad:
            return None
        causes = [found for found in bad if not self._spoiled(found[1], bad, 1)] or bad
        first = next((found for found in causes if not self._spoiled(found[1], causes, len(self.columns))), causes[0])
        address, component, column = first
        return self._event(address, component, column, (~torch.isfinite(column)).nonzero()[0].tolist())

    def _rest_is_finite(self) -> bool:
        sums = [column.sum(dtype=torch.float32) for column in self._rest]
        return not sums or bool(torch.isfinite(torch.stack(sums).sum()))

    def _spoiled(self, component: type, bad: list[tuple[str, type, Tensor]], steps: int) -> bool:
        """Whether what writes a component reads another one of `bad`, itself or through up to so many derived ones."""
        others = {(self.table, other) for _, other, _ in bad if other is not component}
        entries, seen, new = self.simulation.schedule.entries, {(self.table, component)}, {(self.table, component)}
        for _ in range(steps):
            read = {key for entry in entries if new & {*entry.writes} for key in entry.reads}
            if others & read:
                return True
            new = {key for key in read - seen if key[0] and info(key[1]).lifetime != "state"}
            seen |= new
        return False

    def _event(self, address: str, component: type, column: Tensor, where: list[int]) -> dict[str, Any]:
        world, (row, *places) = self.simulation.world, where
        axes = info(component).columns[address.rpartition(".")[2]].axes
        labels = [
            world.tables[self.table].axes[axis][place] if isinstance(axis, str) else str(place)
            for axis, place in zip(axes, places, strict=True)
        ]
        writers = [e.place for e in self.simulation.schedule.entries if (self.table, component) in e.writes]
        label = f"[{', '.join(labels)}]" if labels else ""
        text = f"{address}{label} is {float(column[tuple(where)])} in row {row} at tick {world.clock.tick}"
        unique = list(dict.fromkeys(writers))
        text += f", written by {unique[0]}" if len(unique) == 1 else f", written by one of {', '.join(unique)}"
        fields = {"labels": labels, "writers": unique}
        return event("nonfinite", world.clock.tick, text + ".", row=row, column=address, fields=fields)


def event(kind: str, tick: int, text: str, **more: Any) -> dict[str, Any]:
    """A message of type 'event'."""
    return {"t": "event", "kind": kind, "tick": tick, "text": text, **more}


def _free(path: Path) -> Path:
    """The path, or with a number after its name where there is such a file."""
    found, number = path, 2
    while found.exists():
        found, number = path.with_stem(f"{path.stem}-{number}"), number + 1
    return found


class Recorder:
    """Keeps the trace of `rows` and the black box of a simulation, and writes them.

    Attached, it looks after `Tick.finished` and at the end of each tick, and changes nothing. `budget` is the
    memory of the trace in bytes; `folder` is where recordings go that nobody names; `warn` is called with what happens.
    """

    def __init__(
        self,
        simulation: Simulation,
        *,
        rows: "list[int] | None" = None,
        budget: int = BUDGET,
        samples: int = SAMPLES,
        folder: Path = Path("records"),
        warn: Callable[[str], None] = print,
        view: View = NO_DISPLAY,
    ) -> None:
        self.view, self.simulation, self.folder, self.warn = view, simulation, folder, warn
        self.table = watched_table(simulation)
        rows = parse_rows(True, simulation.world.tables[self.table].rows) if rows is None else rows
        self.trace = RowTrace(simulation.world, self.table, rows, budget)
        on_host = simulation.world.device.type == "cpu"
        self.black_box = BlackBox(simulation, self.table, samples, EVERY_ON_HOST if on_host else 1)
        self.check: FiniteCheck | None = FiniteCheck(simulation, self.table)
        self.events: deque[dict[str, Any]] = deque(maxlen=_EVENTS)
        self.asked = self.stopped = False
        self.latest: Path | None = None
        """The recording that was written last."""
        self.observer = Observer(at_finish=self.see_finished, after_tick=self.see_end)

    def attach(self) -> None:
        """Begin to look."""
        self.simulation.schedule.attach(self.observer)

    def detach(self) -> None:
        """Stop looking."""
        self.simulation.schedule.detach(self.observer)

    def rewind(self) -> None:
        """The world has gone back to an earlier tick: forget what came after it."""
        tick = self.simulation.world.clock.tick
        self.trace.rewind(tick)
        self.black_box.rewind(tick)
        before = [each for each in self.events if each["tick"] <= tick]
        self.events.clear()
        self.events.extend(before)
        self.check = FiniteCheck(self.simulation, self.table)

    def ask(self) -> None:
        """Have a recording written at the end of the tick; safe to call from a signal handler."""
        self.asked = True

    def see_finished(self) -> None:
        """Sample rows whose episode is over, while they show how."""
        self._survive(self._take_finished)

    def see_end(self) -> None:
        """Sample all rows, and write what was asked for."""
        self._survive(self._take_end)

    @torch.no_grad()
    def _survive(self, look: Callable[[], None]) -> None:
        """What only recordings look at (vital numbers, warn) may be wrong; the run goes on without them."""
        if self.stopped:
            return
        try:
            look()
        except Exception as error:
            self.stopped = True
            self.warn(f"The recording failed ({type(error).__name__}: {error}); nothing more is recorded.")

    def _take_finished(self) -> None:
        ends = find_ends(self.simulation).get(self.table)
        if ends is not None:
            ended = as_numpy(ends.ended)[self.trace.rows]
            if ended.any():
                self.trace.take(TERMINAL, ended)
            if ends.ended.any():  # a row that starts over takes what was wrong with it along
                self._look_for_nonfinite()
        self.black_box.take()

    def _take_end(self) -> None:
        self.trace.take(END)
        self._look_for_nonfinite()
        if self.asked:
            self.asked = False
            self.keep("request", "A recording was asked for.")

    def _look_for_nonfinite(self) -> None:
        found = self.check.find() if self.check is not None else None
        if found is not None:
            self.check = None  # what follows from the first one is of no interest
            self.trace.take(TORN)
            self.warn(found["text"])
            self._keep(found)

    def keep_failure(self, error: BaseException) -> Path | None:
        """Write what led to an exception, with the rows as they are in the middle of the tick that failed; where."""
        if self.stopped:
            return None
        self.trace.take(TORN)
        return self.keep("exception", f"{type(error).__name__}: {str(error)[:2000]}")

    def keep(self, kind: str, text: str) -> Path | None:
        """Write into the folder, named by tick and kind; None, with a warning and no more recording, where it cannot be."""
        return None if self.stopped else self._keep(event(kind, self.simulation.world.clock.tick, text))

    def _keep(self, why: dict[str, Any]) -> Path | None:
        self.events.append(why)
        path = self.folder / f"tick_{why['tick']:08d}_{why['kind']}.rec"
        if why["kind"] in BY_HAND:
            path = _free(path)
        try:
            self.latest = self.write(path)
            return self.latest
        except (OSError, WireError) as error:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)  # what little room there is belongs to checkpoints
            self.stopped = True
            self.warn(
                f"The recording {path.name} cannot be written ({getattr(error, 'strerror', None) or error}); "
                "nothing more is recorded."
            )
        return None

    def write(self, path: Path) -> Path:
        """Write everything that is kept; OSError where that fails, WireError for what no frame can carry."""
        writer = RecordingWriter.create(path, make_schema(self.simulation, self.view))
        try:
            for message in (*self.events, *self.trace.messages(), *self.black_box.messages()):
                writer.append(message)
            writer.close()
        finally:
            writer.file.close()
        return path
