"""Checkpoints: captured between ticks, written by a thread; the newest and the best of them stay.

The tick thread copies the world into one of two buffers and goes on. A thread encodes the copy, brings the rows of
the run's logs to the disk, and then the checkpoint, so that after a power cut no checkpoint is newer than its rows.
When both buffers are busy the tick thread waits: every checkpoint that is due is made, whatever the disk is like,
and which ones a folder holds is decided by the run alone.
"""

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import attrs

from engine import files
from engine.ecs.world import World
from engine.snapshot.snapshot import Snapshot, capture

CHECKPOINT = re.compile(r"iteration_(\d+)(?:_tick_(\d+))?\.lockstep")
BEST = "best.lockstep"
BUFFERS = 2
WINDOW = 10  # iterations that a checkpoint is judged by


def checkpoint_name(iteration: int, ticks: int) -> str:
    """The file name of a snapshot taken `ticks` ticks after an iteration."""
    return f"iteration_{iteration:06d}" + (f"_tick_{ticks:04d}" if ticks else "") + ".lockstep"


def moment(path: Path) -> tuple[int, int]:
    """Iteration, and ticks after it, of a checkpoint file by its name."""
    found = CHECKPOINT.fullmatch(path.name)
    assert found is not None, path
    return int(found[1]), int(found[2] or 0)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run folder, newest first."""
    found = [path for path in (folder / "checkpoints").glob("*.lockstep") if CHECKPOINT.fullmatch(path.name)]
    return sorted(found, key=moment, reverse=True)


@attrs.define
class CheckpointScore:
    """Scores of the checkpoints of a run: the mean of one reported number over the last WINDOW iterations.

    A name with "-" in front is of a number that should be small; without a name no checkpoint has a score.
    """

    name: str | None = None
    values: dict[int, float] = attrs.field(factory=dict)

    @property
    def number(self) -> str:
        """The name as `report` has it."""
        return (self.name or "").removeprefix("-")

    def note(self, row: Mapping[str, Any]) -> None:
        """Take the number of one row of metrics, if it is there."""
        value = row.get(self.number)
        if isinstance(value, (int, float)) and abs(value) < float("inf"):
            self.values[row["iteration"]] = -float(value) if (self.name or "").startswith("-") else float(value)

    def of(self, iteration: int) -> float | None:
        """The score of a checkpoint of this iteration; None when no row up to it has the number."""
        known = [self.values[i] for i in range(iteration - WINDOW + 1, iteration + 1) if i in self.values]
        return sum(known) / len(known) if known else None

    def best(self, paths: Iterable[Path]) -> Path | None:
        """The checkpoint of the highest score, the newest of several."""
        known = [(score, moment(path), path) for path in paths if (score := self.of(moment(path)[0])) is not None]
        return max(known)[-1] if known else None


def prune(folder: Path, keep: int, score: CheckpointScore) -> None:
    """Let BEST point to the best checkpoint of a run folder, and remove all others but the `keep` newest.

    OSError when the link cannot be made or a file not be removed; one does not keep the other from being done.
    """
    known = checkpoints(folder)
    best = score.best(known)
    try:
        _link(folder / "checkpoints" / BEST, best)
    finally:
        for old in known[keep:]:
            if old != best:
                old.unlink(missing_ok=True)


def _link(link: Path, best: Path | None) -> None:
    if best is None:
        link.unlink(missing_ok=True)
    elif not link.is_symlink() or os.readlink(link) != best.name:
        part = link.with_name(BEST + ".part")
        part.unlink(missing_ok=True)
        part.symlink_to(best.name)
        os.replace(part, link)


def write(folder: Path, name: str, taken: Snapshot) -> None:
    """Write a checkpoint into a run folder, whole or not at all, after everything that its logs say; OSError."""
    target = folder / "checkpoints" / name
    target.parent.mkdir(exist_ok=True)
    for path in (*sorted(folder.glob("*.jsonl")), *sorted(folder.glob("*.rec")), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    files.write_file(target, taken.pieces())


@attrs.frozen
class WriteOutcome:
    """Outcome of writing a checkpoint: `error` is None when it is on the disk, `untidy` when old ones are gone too."""

    name: str
    error: OSError | MemoryError | None = None
    untidy: OSError | None = None


@attrs.define(eq=False)
class CheckpointWriter:
    """Takes snapshots of a world and has them written, in order, by a thread of its own.

    `put(name, snapshot)` writes one, in the thread: an OSError that it raises means that there is no checkpoint, one
    that it returns that something beside it went wrong.
    """

    put: Callable[[str, Snapshot], OSError | None]
    stall: float = 0.0  # seconds that the latest `take` held up the tick thread
    _free: "SimpleQueue[Snapshot | None]" = attrs.field(factory=SimpleQueue, init=False)
    _jobs: "deque[Future[WriteOutcome]]" = attrs.field(factory=deque, init=False)
    _thread: ThreadPoolExecutor = attrs.field(factory=lambda: ThreadPoolExecutor(1, "checkpoints"), init=False)

    def __attrs_post_init__(self) -> None:
        for _ in range(BUFFERS):
            self._free.put(None)

    def take(self, world: World, name: str) -> None:
        """Copy the world, to be written as `name`; waits only while both buffers are in use."""
        start = time.perf_counter()
        buffer = self._free.get()
        try:
            taken = capture(world, buffer)
        except BaseException:
            self._free.put(None)
            raise
        self.submit(taken, name)
        self.stall = time.perf_counter() - start

    def submit(self, taken: Snapshot, name: str) -> None:
        """Have a snapshot, which is given up, written as `name`."""
        self._jobs.append(self._thread.submit(self._write, name, taken))

    def _write(self, name: str, taken: Snapshot) -> WriteOutcome:
        try:
            return WriteOutcome(name, untidy=self.put(name, taken))
        except (OSError, MemoryError) as error:
            return WriteOutcome(name, error)
        finally:
            self._free.put(taken)

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be written."""
        return all(job.done() for job in self._jobs)

    def outcomes(self) -> list[WriteOutcome]:
        """Outcomes of the checkpoints that were finished since this was last asked; raises what is a mistake of ours."""
        found = []
        while self._jobs and self._jobs[0].done():
            found.append(self._jobs.popleft().result())
        return found

    def drain(self) -> None:
        """Wait until everything taken so far is written, or has failed to be."""
        wait(self._jobs)

    def close(self) -> None:
        """Write what was taken, and end the thread."""
        self._thread.shutdown()
