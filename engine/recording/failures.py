"""The failure log: which rows failed, when and why, so that any of their episodes can be made again.

`failures.jsonl` has a line for each logged failure and one for each iteration with failures:

    {"iteration", "tick", "row", "first_tick", "reasons", "digest", "replay"}
    {"iteration", "tick", "failed", "logged", "reasons"}

`failures.rec` has what each logged row held when its episode ended, and the whole episode of rows that are recorded.
Like metrics, the lines are what the seed decides: the same run gives the same bytes, however often it is resumed.
"""

import json
import os
import shutil
from base64 import b64decode, b64encode
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.ecs.scene import Simulation
from engine.ecs.schedule import Observer
from engine.ecs.table import as_numpy
from engine.errors import WireError
from engine.files import JsonLines
from engine.protocol.display import NO_DISPLAY, View
from engine.protocol.framing import LENGTH, decode_body, encode_frame, schema_hash
from engine.protocol.schema import make_schema
from engine.protocol.vitals import find_ends
from engine.recording.file import TERMINAL, Recording, RecordingWriter
from engine.recording.recorder import Recorder, event, watched_table
from engine.recording.row_ring import RowReader, data_message

LINES, FRAMES = "failures.jsonl", "failures.rec"
MOST = 4  # failures that are logged, per reason and iteration
BUDGET = 64 << 20  # bytes of failures.rec
REMEMBERED = 1 << 14
"""Ticks with failures of which it is known what was counted by then, for runs that go back into the middle of an iteration."""
PROGRAM = "python -m engine.replay"


class FailureLog:
    """Watches the endings of a simulation and logs failures into a run folder.

    A row is logged while one of its reasons was logged fewer than MOST times in the iteration. Nothing is logged
    where no bundle declares endings. `recorder` is attached first, so that it has seen what is logged.
    """

    def __init__(
        self,
        simulation: Simulation,
        folder: Path,
        warn: Callable[[str], None],
        recorder: Recorder | None = None,
        view: View = NO_DISPLAY,
        budget: int = BUDGET,
    ) -> None:
        self.simulation, self.folder, self.warn, self.recorder, self.budget = simulation, folder, warn, recorder, budget
        self.view = view
        self.world, self.length = simulation.world, simulation.scene.iteration
        self.table = watched_table(simulation)
        self.ends = find_ends(simulation).get(self.table)
        self.labels = (*(self.ends.labels if self.ends else ()), "")  # the last: no reason was given
        self.lines = JsonLines(folder / LINES, warn)
        self.writer: RecordingWriter | None = None
        self.frames: list[dict[str, Any]] = []
        self.full = False
        self.reader = RowReader(self.world, self.table)
        self.past: deque[tuple[int, dict[str, Any]]] = deque(
            maxlen=REMEMBERED
        )  # ticks with failures, counts after them
        self.size, self.first_row = 1, 0  # processes, and the first row of this one among all
        self.exchange: Callable[[Any], list[Any]] | None = None
        self.observer = Observer(at_finish=self.see_finished, after_tick=self.see_end)
        self._start_iteration()

    def _start_iteration(self) -> None:
        self.failed = 0
        self.by_reason = np.zeros(len(self.labels), np.int64)
        self.logged = np.zeros(len(self.labels), np.int64)
        self.rows_logged = 0

    def share(self, exchange: Callable[[Any], list[Any]], rank: int, size: int) -> None:
        """Log the failures of all of `size` processes together, in the first of them; `exchange` returns what each of them says."""
        self.exchange, self.size = exchange, size
        self.first_row, self.full = rank * self.world.tables[self.table].rows, rank > 0

    def attach(self) -> None:
        """Begin to look."""
        self.simulation.schedule.attach(self.observer)

    def detach(self) -> None:
        """Stop looking."""
        self.simulation.schedule.detach(self.observer)

    def see_finished(self) -> None:
        """Count and log the rows that failed in this tick."""
        if self.ends is None:
            return
        failed = as_numpy(self.ends.failed)
        if not failed.any():
            return
        rows = np.flatnonzero(failed)
        why = np.zeros((len(rows), len(self.labels)), np.bool_)
        if self.ends.reason is not None:
            why[:, :-1] = as_numpy(self.ends.reason)[rows]
        elif len(self.labels) > 1:
            why[:, 0] = True
        why[:, -1] = ~why.any(1)
        self.failed += len(rows)
        self.by_reason += why.sum(0)
        for place in np.flatnonzero((why & (self.logged < MOST)).any(1)):
            row, fired = int(rows[place]), why[place]
            if (self.logged[fired] < MOST).any():  # still, after the rows before it
                self.logged[fired] += 1
                self.rows_logged += 1
                self._log(row, [label for label, on in zip(self.labels, fired, strict=True) if on and label])
        self.past.append((self.world.clock.tick, self._counts()))

    def _log(self, row: int, reasons: list[str]) -> None:
        assert self.ends is not None
        tick = self.world.clock.tick
        began = None if self.ends.began is None else int(self.ends.began[row])
        held = self.reader.read(row)
        several = {"table": self.table} if len(self.world.tables) > 1 else {}
        line = {
            "iteration": self._iteration(tick),
            "tick": tick,
            **several,
            "row": row + self.first_row,
            "first_tick": began,
            "reasons": reasons,
            "digest": self.reader.digest(held),
            "replay": self._replay(row + self.first_row, tick),
        }
        self.lines.waiting.append(json.dumps(line) + "\n")
        frames = [self._terminal_sample(row, held)]
        if self.recorder is not None and not self.recorder.stopped and row in self.recorder.trace.rows:
            frames.append(self.recorder.trace.episode(row, began or 0))
        self.frames += [frame | {"rows": [row + self.first_row], "reasons": reasons} for frame in frames]

    def _replay(self, row: int, tick: int) -> str:
        return f"{PROGRAM} {path_from_here(self.folder)} --row {row} --tick {tick}"

    def _terminal_sample(self, row: int, held: list[bytes]) -> dict[str, Any]:
        columns = self.reader.packed(held)
        at, moment = np.array([self.world.clock.tick]), np.array([TERMINAL], np.uint8)
        return data_message("failure", self.table, [row], at, moment, np.ones((1, 1), np.bool_), columns)

    def _iteration(self, tick: int) -> int:
        """The iteration that a tick belongs to, counted from 1 as in metrics.jsonl."""
        return max(0, tick - 1) // self.length + 1

    def see_end(self) -> None:
        """Close an iteration."""
        tick = self.world.clock.tick
        if tick == 0 or tick % self.length:
            return
        if self.exchange is not None:
            self._merge(self.exchange)
        if self.failed:
            reasons = {label: int(n) for label, n in zip(self.labels, self.by_reason, strict=True) if n}
            line = {"iteration": self._iteration(tick), "tick": tick, "failed": self.failed, "logged": self.rows_logged}
            self.lines.waiting.append(json.dumps({**line, "reasons": reasons}) + "\n")
        self._start_iteration()
        self.flush()

    def _merge(self, exchange: Callable[[Any], list[Any]]) -> None:
        """Take what all processes logged of the iteration, and keep what one process with all rows would have logged; others keep nothing."""
        own = {
            "lines": [json.loads(line) for line in self.lines.waiting],
            "frames": [b64encode(encode_frame(frame)).decode() for frame in self.frames],
            "failed": self.failed,
            "by_reason": self.by_reason.tolist(),
        }
        answers = exchange(own)
        self.lines.waiting.clear()
        self.frames.clear()
        self._start_iteration()
        if self.first_row:
            return
        self.failed = sum(each["failed"] for each in answers)
        self.by_reason += np.array([each["by_reason"] for each in answers]).sum(0)
        held = defaultdict[tuple[int, int], list[dict[str, Any]]](list)
        for text in (text for each in answers for text in each["frames"]):
            frame = decode_body(b64decode(text)[LENGTH.size :])
            held[frame["ticks"][1], frame["rows"][0]].append(frame)
        for line in sorted(
            (line for each in answers for line in each["lines"]), key=lambda line: (line["tick"], line["row"])
        ):
            fired = [self.labels.index(reason) for reason in line["reasons"] or [""]]
            if (self.logged[fired] < MOST).any():
                self.logged[fired] += 1
                self.rows_logged += 1
                kept = {**line, "replay": self._replay(line["row"], line["tick"])}
                self.lines.waiting.append(json.dumps(kept) + "\n")
                self.frames += held[line["tick"], line["row"]]

    # -- files -----------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what waits; in the middle of an iteration also what is counted so far, for a run that resumes here."""
        if self.lines.waiting:
            self.lines.flush()
        if self.failed:
            self.frames.append(event("counts", self.world.clock.tick, "", fields=self._counts()))
        self._write_frames()

    def _counts(self) -> dict[str, Any]:
        lists = {name: getattr(self, name).tolist() for name in ("by_reason", "logged")}
        return lists | {"failed": self.failed, "rows_logged": self.rows_logged}

    def _write_frames(self) -> None:
        frames, self.frames = self.frames, []
        for message in frames:
            self._write(message)

    def _write(self, message: dict[str, Any]) -> None:
        if self.full:
            return
        try:
            if self.writer is None:
                self.writer = RecordingWriter.create(self.folder / FRAMES, self._schema())
            if self.writer.size > self.budget and message["t"] == "data":
                return
            self.writer.append(message)
        except OSError as error:
            self.full = True
            self.warn(f"{FRAMES} cannot be written ({error.strerror or error}); failures are logged without it.")

    def close(self) -> None:
        """Write what waits, and close the files."""
        self.flush()
        if self.writer is not None:
            try:
                self.writer.close()
            except OSError as error:
                self.warn(f"{FRAMES} is not complete ({error.strerror or error}).")

    def rewind(self) -> None:
        """The world has gone back to an earlier tick of this run: forget what came after it. OSError."""
        if self.lines.waiting:
            self.lines.flush()  # some of it may be of ticks that stay
        self._write_frames()
        if self.writer is not None:
            self.writer.file.close()
            self.writer = None
        self.lines.waiting.clear()
        self._start_iteration()
        self.resume(self.folder)

    def resume(self, source: Path) -> None:
        """Go on after the tick at which the world stands, with what `source` (this folder, or another run's) logged.

        What another run logged of other rows, clips or columns stays there: none of it can be made again here. OSError where
        the files cannot be read or written.
        """
        tick = self.world.clock.tick
        for name in (LINES, FRAMES):
            if source != self.folder and (source / name).is_file() and not self._made_otherwise(source / FRAMES):
                shutil.copyfile(source / name, self.folder / name)
        self.lines.cut(self._iteration(tick), tick)
        while self.past and self.past[-1][0] > tick:
            self.past.pop()
        counted = self._reopen(tick)
        if tick % self.length == 0:
            return
        if counted is None:
            counted = self._remembered(tick) or self._recount(tick)
        self.past.append((tick, counted))
        self.failed, self.rows_logged = counted["failed"], counted["rows_logged"]
        self.by_reason = np.array(counted["by_reason"], np.int64)
        self.logged = np.array(counted["logged"], np.int64)

    def _schema(self) -> dict[str, Any]:
        """The schema of a simulation that has the rows of all processes."""
        schema = make_schema(self.simulation, self.view)
        tables = [{**each, "rows": each["rows"] * self.size} for each in schema["tables"]]
        return {**schema, "tables": tables}

    def _made_otherwise(self, path: Path) -> bool:
        """Whether a recording is whole, and of a scene with other columns, rows or the like."""
        try:
            return _layout(Recording.open(path).schema) != _layout(self._schema())
        except (OSError, WireError, KeyError, TypeError):
            return False

    def _reopen(self, tick: int) -> dict[str, Any] | None:
        """Cut failures.rec back to a tick; what it says was counted by then."""
        path = self.folder / FRAMES
        if not path.is_file():
            return None
        if self._made_otherwise(path):
            os.replace(path, path.with_suffix(".rec.before"))
            self.warn(
                f"{path.name} is of the scene before it changed; it is kept as {path.name}.before, and a new one begun."
            )
            return None
        try:
            recording = Recording.open(path)
            self.writer = RecordingWriter.reopen(path, tick)
        except (WireError, KeyError, TypeError) as error:
            os.replace(path, path.with_suffix(".rec.damaged"))
            self.warn(f"{error} It is set aside as {path.name}.damaged.")
            return None
        counts = [m["fields"] for m in recording.of("event", kind="counts", tick=tick)]
        return counts[-1] if counts and len(counts[-1]["logged"]) == len(self.labels) else None

    def _remembered(self, tick: int) -> dict[str, Any] | None:
        """What was counted by a tick, as far as this process saw it."""
        if not self.past or self._iteration(self.past[-1][0]) != self._iteration(tick):
            return None
        return self.past[-1][1]

    def _recount(self, tick: int) -> dict[str, Any]:
        """What the lines of the open iteration warn, which is all that is known where failures.rec is lost."""
        rows = [r for r in self.lines.rows() if r["iteration"] == self._iteration(tick) and "row" in r]
        logged = [sum(label in (r["reasons"] or [""]) for r in rows) for label in self.labels]
        return {"failed": len(rows), "rows_logged": len(rows), "by_reason": logged, "logged": logged}


def _layout(schema: Mapping[str, Any]) -> str:
    """A hash of a schema but for the values of constants, which may be edited while it runs."""
    constants = [{**constant, "value": None} for constant in schema["constants"]]
    return schema_hash({**schema, "constants": constants})


def path_from_here(folder: Path) -> str:
    """A folder as it is typed: relative to where the program was started, if it lies in there."""
    full, here = folder.absolute(), Path.cwd()
    return str(full.relative_to(here)) if full.is_relative_to(here) else str(full)


def logged_failures(folder: Path) -> Sequence[dict[str, Any]]:
    """The failures that a run has logged, oldest first."""
    return [row for row in JsonLines(folder / LINES, print).rows() if "row" in row]
