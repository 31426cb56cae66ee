"""The files of a run: configuration, metrics, timing, checkpoints, TensorBoard events, curve, evaluation.

`metrics.jsonl` holds only what the seed decides; everything that a clock decides is in `timing.jsonl`.
"""

import errno
import fcntl
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import Any, Self

import attrs

from engine.ecs.world import World
from engine.errors import SceneError, SnapshotError, did_you_mean, listing
from engine.files import INTERVENTIONS, JsonLines, Say, file_errors
from engine.runner import checkpoint
from engine.runner.checkpoint import CheckpointScore, CheckpointWriter, WriteOutcome, checkpoint_name, checkpoints
from engine.runner.wandb_log import WandbLog
from engine.snapshot import snapshot
from engine.snapshot.snapshot import Snapshot

_SHARE_OF_CURVE = 0.005  # of the time of training
_FIRST_CURVE = 120.0  # s; a shorter run is drawn when it ends
ENDING = ".lockstep"  # of checkpoints and exported policies
ONNX = ".onnx"  # of policies for other programs
UNBEGUN = {".lock", "config.json.part"}  # all that a run leaves that was killed before it began


def refuse_unusable(path: Path) -> None:
    """SceneError when no new run can be written at `path`; leaves nothing behind."""
    if path.is_dir() and any(child.name not in UNBEGUN for child in path.iterdir()):
        if (path / "config.json").exists():
            go_on = f"go on with it: --resume {quote(str(path))} without --out"
            raise SceneError(f"The folder {path} already holds a run. Choose another --out, or {go_on}.")
        raise SceneError(f"The folder {path} already holds files. Choose another --out.")
    ancestor = path
    while not ancestor.exists():
        ancestor = ancestor.parent
    if not ancestor.is_dir():
        raise SceneError(f"{path} cannot be a run folder: {ancestor} is a file. Choose another --out.")
    with (
        file_errors(f"{ancestor} cannot be written to", cure=" Choose another --out."),
        tempfile.TemporaryFile(dir=ancestor),
    ):
        pass


@attrs.define(eq=False)
class RunFolder:
    """One run on disk, locked for this process."""

    path: Path
    warn: Say
    keep: int = 3
    lock: Any = None
    events: Any = None
    wandb: WandbLog | None = None
    fresh: bool = False
    saved: Path | None = None
    score: CheckpointScore = attrs.field(factory=CheckpointScore)
    failing: bool = False
    next_curve: float = attrs.field(factory=lambda: time.perf_counter() + _FIRST_CURVE)
    warned: set[str] = attrs.field(factory=set)
    declined: Callable[[], None] = lambda: None  # called when a checkpoint that is due is not taken
    metrics: JsonLines = attrs.field(init=False)
    timing: JsonLines = attrs.field(init=False)
    writer: CheckpointWriter = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.metrics = JsonLines(self.path / "metrics.jsonl", self.warn)
        self.timing = JsonLines(self.path / "timing.jsonl", self.warn)
        self.writer = CheckpointWriter(self._put)

    @classmethod
    def create(cls, path: Path | None, scene: str, warn: Say) -> Self:
        """A new locked folder at `path`, or at runs/<scene>/<now>; SceneError where there can be none."""
        fresh = path is None or not path.exists()
        parent = Path("runs") / re.sub(r"[^\w.-]+", "_", scene)
        with file_errors(f"The run folder {path or parent} cannot be made", cure=" Choose another --out."):
            if path is None:
                path = _new_name(parent)
            else:
                refuse_unusable(path)
                path.mkdir(parents=True, exist_ok=True)
            made = cls(path, warn, fresh=fresh)._locked()
            try:
                refuse_unusable(path)  # another run may have come and gone before it was locked
            except SceneError:
                made.close()
                raise
            return made

    @classmethod
    def reopen(cls, path: Path, warn: Say) -> Self:
        """An existing folder, locked, without what a killed write left; SceneError when another run is writing to it."""
        folder = cls(path, warn)._locked()
        try:
            with file_errors(f"The run folder {path} cannot be written to"):
                for part in (*path.glob("*.part"), *(path / "checkpoints").glob("*.part")):
                    part.unlink(missing_ok=True)
        except SceneError:
            folder.close()
            raise
        return folder

    def _locked(self) -> Self:
        with file_errors(f"The run folder {self.path} cannot be written to"):
            self.lock = open(self.path / ".lock", "a+")  # noqa: SIM115 - held as long as the run
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.lock.close()
            raise SceneError(f"Another run is writing to {self.path}. Wait for it, or choose another --out.") from None
        return self

    def discard(self) -> None:
        """Undo `create` after a failure before the first tick."""
        self.close()
        if self.fresh:
            shutil.rmtree(self.path, ignore_errors=True)

    def append(self, row: Mapping[str, Any], timing: Mapping[str, Any]) -> None:
        """Write what a finished iteration was like and how long it took."""
        self.metrics.append(row)
        self.timing.append(timing)
        self.score.note(row)

    def save(self, world: World, iteration: int, ticks: int) -> None:
        """Take a checkpoint `ticks` ticks after an iteration; it is written meanwhile, and `report` says how that went.

        None is taken while rows wait for room on the disk, since it would be newer than they are.
        """
        name = checkpoint_name(iteration, ticks)
        if unwritten := self._unwritten():
            self.declined()
            why = f"the rows of {unwritten[0].path.name} come first"
            self._report(WriteOutcome(name, OSError(errno.ENOSPC, why)))
        else:
            self.writer.take(world, name)

    def save_kept(self, taken: Snapshot, iteration: int, ticks: int) -> None:
        """Write a snapshot that was taken earlier as the checkpoint of its moment, unless there is one."""
        if not self.saved_is(iteration, ticks):
            self.writer.submit(taken, checkpoint_name(iteration, ticks))

    def _unwritten(self) -> list[JsonLines]:
        """Logs of which rows still wait, although they were tried once more."""
        for lines in (self.metrics, self.timing):
            if lines.waiting:
                lines.flush()
        return [lines for lines in (self.metrics, self.timing) if lines.waiting]

    def saved_is(self, iteration: int, ticks: int) -> bool:
        """Whether the newest checkpoint is that of this moment."""
        return self.saved is not None and self.saved.name == checkpoint_name(iteration, ticks)

    def report(self) -> None:
        """Warn about checkpoints: once that they fail, and once that they are written again."""
        for outcome in self.writer.outcomes():
            self._report(outcome)

    def drain(self) -> None:
        """Wait until the checkpoints that were taken are written, and report."""
        self.writer.drain()
        self.report()

    def _report(self, outcome: WriteOutcome) -> None:
        if outcome.error is not None:
            if not self.failing:
                kept = f"the newest is {self.saved.name}" if self.saved else "there is none yet"
                why = getattr(outcome.error, "strerror", None) or str(outcome.error) or "out of memory"
                self.warn(
                    f"checkpoint {outcome.name} could not be written ({why}); {kept}. Training goes on, and the next "
                    "ones are tried."
                )
            self.failing = True
            return
        self.saved = self.path / "checkpoints" / outcome.name
        if self.failing:
            self.warn(f"checkpoints are written again: {outcome.name}.")
        self.failing = False
        self._warn_untidy(outcome.untidy)
        if self.score.name and self.score.of(checkpoint.moment(self.saved)[0]) is None:
            self._once(
                f"None of the last {checkpoint.WINDOW} iterations reported '{self.score.number}', so {outcome.name} cannot be the "
                f"best checkpoint.{did_you_mean(self.score.number, next(reversed(self.metrics.rows()), {}))}"
            )

    def _warn_untidy(self, error: OSError | None) -> None:
        if error is not None:
            self._once(
                f"checkpoints cannot be tidied up ({error.strerror or error}): there may be more of them than --keep "
                f"says, and {checkpoint.BEST} may not be there."
            )

    def _once(self, text: str) -> None:
        if text not in self.warned:
            self.warned.add(text)
            self.warn(text)

    def _put(self, name: str, taken: Snapshot) -> OSError | None:
        """Write a checkpoint and tidy up after it; runs in the writer's thread."""
        checkpoint.write(self.path, name, taken)
        return self._tidy()

    def _tidy(self) -> OSError | None:
        try:
            checkpoint.prune(self.path, self.keep, self.score)
        except OSError as error:
            return error
        return None

    def truncate_to(self, newest: Path | None, iteration: int, tick: int, rows: Path | None = None) -> None:
        """Forget what came after a tick, `newest` being the checkpoint of it; the rows may be those of another run."""
        for path in sorted(self.path.glob("*.jsonl")):
            if path.name != INTERVENTIONS:  # what somebody did stays true
                JsonLines(path, self.warn).cut(iteration, tick)
        if rows is not None:
            for lines in (self.metrics, self.timing, JsonLines(self.path / INTERVENTIONS, self.warn)):
                if (rows / lines.path.name).is_file():
                    lines.take(rows / lines.path.name, iteration, tick)
        self.saved = newest
        self.score.values = {number: value for number, value in self.score.values.items() if number <= iteration}
        known = self.metrics.rows()
        for row in known:
            self.score.note(row)
        last = known[-1]["iteration"] if known else 0
        if newest is not None and last < iteration:
            self.warn(f"{self.metrics.path.name} ends at iteration {last}; its rows up to {iteration} are lost.")
        self._warn_untidy(self._tidy())

    def write_events(self, iteration: int, values: Mapping[str, Any]) -> None:
        """Scalars of one iteration for TensorBoard, and W&B; after a failure there are no more of them."""
        if self.wandb is not None:
            self.wandb.write(iteration, values)
        if self.events is False:
            return
        try:
            if self.events is None:
                from torch.utils.tensorboard import SummaryWriter

                self.events = SummaryWriter(str(self.path / "tensorboard"), purge_step=iteration)
            for name, value in values.items():
                if isinstance(value, (int, float)):
                    self.events.add_scalar(name, value, iteration)
        except OSError as error:
            self.events = False
            self.warn(f"TensorBoard events cannot be written ({error.strerror or error}).")

    def update_curve(self) -> None:
        """Draw the curve of a run that goes on, unless it is young or drawing would take more than its small share of the time."""
        start = time.perf_counter()
        if start >= self.next_curve:
            self.draw_curve()
            now = time.perf_counter()
            self.next_curve = now + (now - start) / _SHARE_OF_CURVE

    def draw_curve(self) -> None:
        """Bring curve.png up to date."""
        from engine.runner.plot import RunRecord, draw

        with file_errors("curve.png cannot be written", self.warn):
            draw(self.path / "curve.png", [RunRecord.read(self.path, self.metrics.rows(), self.timing.rows())])

    def flush(self) -> None:
        """Write the rows that wait, and say how many are lost for good."""
        for lines in self._unwritten():
            self.warn(f"{len(lines.waiting)} rows of {lines.path.name} are lost.")

    def close(self) -> None:
        """Let go of the folder, once what was taken is written."""
        try:
            self.writer.close()
            self.report()
        finally:
            self._release()

    def _release(self) -> None:
        if self.wandb is not None:
            self.wandb.close()
        if self.events:
            with file_errors("TensorBoard events are not complete", self.warn):
                self.events.close()
        if self.lock is not None:
            self.lock.close()


class Bystander(RunFolder):
    """The folder of a run that another process writes: this one writes nothing there, and only gives its part of checkpoints."""

    @classmethod
    def begin(cls, scratch: Path, warn: Say, parts: Callable[[], None]) -> Self:
        """`scratch` is a folder for this process's own files, `parts` gives its part of a snapshot."""
        made = cls(scratch, warn)
        made.give = parts
        return made

    give: Callable[[], None] = lambda: None

    def append(self, row: Mapping[str, Any], timing: Mapping[str, Any]) -> None:
        """Nothing."""

    def save(self, world: World, iteration: int, ticks: int) -> None:
        """Give a part of the checkpoint."""
        self.give()

    def truncate_to(self, newest: Path | None, iteration: int, tick: int, rows: Path | None = None) -> None:
        """Nothing."""

    def write_events(self, iteration: int, values: Mapping[str, Any]) -> None:
        """Nothing."""

    def update_curve(self) -> None:
        """Nothing."""

    def draw_curve(self) -> None:
        """Nothing."""


def _new_name(parent: Path) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    name = datetime.now().strftime("%Y%m%d-%H%M%S")
    for number in range(1, 100):
        path = parent / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):
            path.mkdir()
            return path
    raise SceneError(f"{parent} is full of runs that began in this second; choose a folder with --out.")


@attrs.frozen
class Origin:
    """What --resume, --eval, --play or --export point at: a run folder, or one checkpoint and the folder it belongs to.

    An exported policy has no folder and brings its configuration along.
    """

    path: Path
    folder: Path | None
    config: dict[str, Any] | None

    @classmethod
    def find(cls, path: Path) -> Self:
        """Look at `path`; SceneError when it is neither a run folder nor a file."""
        if path.is_dir():
            if not (path / "config.json").is_file():
                raise SceneError(
                    f"{path} is not a run folder: it has no config.json.{_unbegun(path) or _around(path) or _runs_in(path)}"
                )
            return cls(path, path, _read_config(path / "config.json"))
        if path.is_symlink():
            target = path.parent / os.readlink(path)
            if not path.exists():
                raise SceneError(f"{path} points to {target}, which is not there. Name another checkpoint.")
            path = target
        if not path.exists():
            raise SceneError(f"There is no run folder or checkpoint at {path}.")
        if path.suffix == ONNX:
            raise SceneError(
                f"{path} is an .onnx file, which is for other programs. Name the run or the {ENDING} file that it was exported from."
            )
        home = next((p for p in path.absolute().parents[:2] if (p / "config.json").is_file()), None)
        return cls(path, home, _read_config(home / "config.json") if home else _brought_config(path))

    def load(self, warn: Say) -> tuple[Path, bytes, list[Path]]:
        """The checkpoint file, its bytes, and newer ones that are damaged; SnapshotError when none is whole."""
        if not self.path.is_dir():
            return self.path, _read_whole(self.path), []
        damaged: list[Path] = []
        for path in checkpoints(self.path):
            try:
                data = _read_whole(path)
            except SnapshotError as error:
                warn(f"{error} Going back to the checkpoint before it.")
                damaged.append(path)
                continue
            return path, data, damaged
        raise SnapshotError(f"{self.path / 'checkpoints'} holds no {'whole ' if damaged else ''}checkpoint.")


def _unbegun(path: Path) -> str:
    left = {child.name for child in path.iterdir()}
    return f" It was stopped before it began; start it again with --out {path}." if left and left <= UNBEGUN else ""


def _around(path: Path) -> str:
    """A sentence that names the run that a folder is part of."""
    run = next((each for each in list(path.absolute().parents)[:2] if (each / "config.json").is_file()), None)
    return f" It is part of a run; name {run}." if run else ""


def _runs_in(path: Path) -> str:
    """A sentence that names the newest runs in a folder of runs."""
    found = [file.parent for pattern in ("*/config.json", "*/*/config.json") for file in path.glob(pattern)]
    newest = sorted(found, key=lambda run: run.stat().st_mtime, reverse=True)
    return f" It holds runs; name one: {listing(map(str, newest), 5)}." if newest else ""


def _read_whole(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        snapshot.Snapshot.decode(data)
    except OSError as error:
        raise SnapshotError(f"{path} cannot be read ({error.strerror}).") from None
    except SnapshotError as error:
        cure = " It was written by another version of Lockstep; use that one." if "format version" in str(error) else ""
        raise SnapshotError(f"{path}: {error}{cure}") from None
    return data


def _brought_config(path: Path) -> dict[str, Any] | None:
    """The configuration inside an exported policy; None for any other file, of which `load` says what is wrong."""
    found: dict[str, Any] | None = None
    with suppress(OSError, SnapshotError):
        found = snapshot.about(path.read_bytes()).get("config")
    return found


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SceneError(
            f"{path} cannot be read as JSON ({error}): it was cut off or edited. Copy a checkpoint out of the run's folder and go "
            "on from that, with the scene named first and --out."
        ) from None
    if not isinstance(config, dict) or not {"source", "flags", "run", "overrides"} <= config.keys():
        raise SceneError(f"{path} is not the configuration of a run: it lacks source, flags, run or overrides.")
    return config
