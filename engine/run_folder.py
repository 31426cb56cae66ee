"""The files of a run: configuration, metrics, timing, checkpoints, TensorBoard events, curve, evaluation.

`metrics.jsonl` holds only what the seed decides; everything that a clock decides is in `timing.jsonl`.
"""

import fcntl
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import attrs

from engine import snapshot
from engine.errors import SceneError, SnapshotError

CHECKPOINT = re.compile(r"iteration_(\d+)(?:_tick_(\d+))?\.lockstep")
Say = Callable[[str], None]


def plain_numbers(value: Any) -> Any:
    """Nested values with floats that JSON lacks (nan, inf) as None."""
    if isinstance(value, Mapping):
        return {str(key): plain_numbers(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_numbers(part) for part in value]
    if isinstance(value, bool) or value is None or isinstance(value, (int, str)):
        return value
    number = float(value)
    return number if math.isfinite(number) else None


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """Indented JSON for people."""
    return (json.dumps(plain_numbers(value), indent=2, ensure_ascii=False) + "\n").encode()


@attrs.define
class Lines:
    """A JSON-lines file that survives a full disk: what could not be written waits for the next row."""

    path: Path
    warn: Say
    waiting: list[str] = attrs.field(factory=list)
    failed: bool = False

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row; a failure is said once and tried again with the next row."""
        self.waiting.append(json.dumps(plain_numbers(row)) + "\n")
        self.flush()

    def flush(self) -> None:
        """Try to write the rows that wait."""
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with open(self.path, "ab", buffering=0) as file:
                data = "".join(self.waiting).encode()
                if file.write(data) != len(data):
                    raise OSError("only a part could be written")
        except OSError as error:
            if self.path.is_file():
                os.truncate(self.path, size)
            if not self.failed:
                self.warn(f"{self.path.name} cannot be written ({error.strerror or error}); its rows wait in memory.")
            self.failed = True
            return
        self.waiting.clear()
        self.failed = False

    def rows(self) -> list[dict[str, Any]]:
        """Every whole row of the file and the rows that wait."""
        return [row for row, _ in _whole_rows(self.path)] + [json.loads(line) for line in self.waiting]

    def cut(self, iteration: int) -> None:
        """Drop the rows after an iteration, and a torn last row."""
        if self.path.exists():
            kept = "".join(line for row, line in _whole_rows(self.path) if row["iteration"] <= iteration)
            snapshot.write_file(self.path, kept.encode())


def _whole_rows(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for line in text.splitlines(keepends=True):
        try:
            row = json.loads(line)
        except ValueError:
            return
        if not line.endswith("\n") or not isinstance(row, dict) or "iteration" not in row:
            return
        yield row, line


def refuse_unusable(path: Path) -> None:
    """SceneError when no new run can be written at `path`; leaves nothing behind."""
    if path.is_dir() and any(child.name != ".lock" for child in path.iterdir()):
        holds = "a run; go on with --resume" if (path / "config.json").exists() else "files"
        raise SceneError(f"The folder {path} already holds {holds}. Choose another --out.")
    ancestor = path
    while not ancestor.exists():
        ancestor = ancestor.parent
    if not ancestor.is_dir():
        raise SceneError(f"{path} cannot be a run folder: {ancestor} is a file. Choose another --out.")
    try:
        with tempfile.TemporaryFile(dir=ancestor):
            pass
    except OSError as error:
        raise SceneError(f"{ancestor} cannot be written to ({error.strerror}). Choose another --out.") from None


@attrs.define(eq=False)
class RunFolder:
    """One run on disk, locked for this process."""

    path: Path
    warn: Say
    keep: int = 3
    lock: Any = None
    events: Any = None
    fresh: bool = False
    saved: Path | None = None
    metrics: Lines = attrs.field(init=False)
    timing: Lines = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.metrics = Lines(self.path / "metrics.jsonl", self.warn)
        self.timing = Lines(self.path / "timing.jsonl", self.warn)

    @classmethod
    def create(cls, path: Path | None, scene: str, warn: Say) -> Self:
        """A new locked folder at `path`, or at runs/<scene>/<now>; SceneError where there can be none."""
        fresh = path is None or not path.exists()
        try:
            if path is None:
                path = _new_name(Path("runs") / re.sub(r"[^\w.-]+", "_", scene))
            else:
                refuse_unusable(path)
                path.mkdir(parents=True, exist_ok=True)
            return cls(path, warn, fresh=fresh)._locked()
        except OSError as error:
            raise SceneError(
                f"The run folder {path} cannot be made ({error.strerror}). Choose another --out."
            ) from None

    @classmethod
    def reopen(cls, path: Path, warn: Say) -> Self:
        """An existing folder, locked; SceneError when another run is writing to it."""
        return cls(path, warn)._locked()

    def _locked(self) -> Self:
        try:
            self.lock = open(self.path / ".lock", "a+")  # noqa: SIM115 - held as long as the run
        except OSError as error:
            raise SceneError(f"The run folder {self.path} cannot be written to ({error.strerror}).") from None
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.lock.close()
            raise SceneError(f"Another run is writing to {self.path}. Wait for it, or choose another --out.") from None
        return self

    def abandon(self) -> None:
        """Undo `create` after a failure before the first tick."""
        self.close()
        if self.fresh:
            shutil.rmtree(self.path, ignore_errors=True)

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a small file whole; OSError leaves the old one."""
        snapshot.write_file(self.path / name, json_bytes(value))

    def checkpoint(self, data: bytes, iteration: int, ticks: int) -> bool:
        """Keep a snapshot taken `ticks` ticks after an iteration; False, with a warning, when it cannot be written."""
        name = f"iteration_{iteration:06d}" + (f"_tick_{ticks:04d}" if ticks else "") + ".lockstep"
        target = self.path / "checkpoints" / name
        try:
            target.parent.mkdir(exist_ok=True)
            snapshot.write_file(target, data)
        except OSError as error:
            kept = f"the newest is {self.saved.name}" if self.saved else "there is none yet"
            self.warn(f"checkpoint {name} could not be written ({error.strerror or error}); {kept}. Training goes on.")
            return False
        self.saved = target
        for old in checkpoints(self.path)[self.keep :]:
            old.unlink(missing_ok=True)
        return True

    def rewind(self, checkpoint: Path, iteration: int, damaged: list[Path]) -> None:
        """Forget what came after a checkpoint, and set damaged ones aside."""
        for path in damaged:
            path.rename(path.with_suffix(".damaged"))
        self.metrics.cut(iteration)
        self.timing.cut(iteration)
        self.saved = checkpoint

    def take_rows(self, source: Path, iteration: int) -> None:
        """Begin with the rows of another run up to an iteration."""
        for lines in (self.metrics, self.timing):
            kept = "".join(line for row, line in _whole_rows(source / lines.path.name) if row["iteration"] <= iteration)
            snapshot.write_file(lines.path, kept.encode())

    def write_events(self, iteration: int, values: Mapping[str, Any]) -> None:
        """TensorBoard scalars of one iteration; after a failure there are no more of them."""
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

    def draw_curve(self) -> None:
        """Bring curve.png up to date."""
        from engine.curve import Recorded, draw

        try:
            draw(self.path / "curve.png", [Recorded.read(self.path, self.metrics.rows(), self.timing.rows())])
        except OSError as error:
            self.warn(f"curve.png cannot be written ({error.strerror or error}).")

    def flush(self) -> None:
        """Write the rows that wait, and say how many are lost for good."""
        for lines in (self.metrics, self.timing):
            if lines.waiting:
                lines.flush()
            if lines.waiting:
                self.warn(f"{len(lines.waiting)} rows of {lines.path.name} are lost.")

    def close(self) -> None:
        """Let go of the folder."""
        if self.events:
            try:
                self.events.close()
            except OSError as error:
                self.warn(f"TensorBoard events are not complete ({error.strerror or error}).")
        if self.lock is not None:
            self.lock.close()


def _new_name(parent: Path) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    name = datetime.now().strftime("%Y%m%d-%H%M%S")
    for number in range(1, 100):
        path = parent / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir()
            return path
        except FileExistsError:
            continue
    raise SceneError(f"{parent} is full of runs that began in this second; choose a folder with --out.")


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run folder, newest first."""
    found = [(m, p) for p in (folder / "checkpoints").glob("*.lockstep") if (m := CHECKPOINT.fullmatch(p.name))]
    return [p for m, p in sorted(found, key=lambda pair: (int(pair[0][1]), int(pair[0][2] or 0)), reverse=True)]


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
                raise SceneError(f"{path} is not a run folder: it has no config.json.")
            return cls(path, path, _read_config(path / "config.json"))
        if not path.exists():
            raise SceneError(f"There is no run folder or checkpoint at {path}.")
        home = next(
            (p for p in (path.absolute().parent, path.absolute().parent.parent) if (p / "config.json").is_file()), None
        )
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


def _read_whole(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        snapshot.Snapshot.decode(data)
    except OSError as error:
        raise SnapshotError(f"{path} cannot be read ({error.strerror}).") from None
    except SnapshotError as error:
        raise SnapshotError(f"{path}: {error}") from None
    return data


def _brought_config(path: Path) -> dict[str, Any] | None:
    """The configuration inside an exported policy; None for any other file, of which `load` tells what is wrong."""
    try:
        found: dict[str, Any] | None = snapshot.about(path.read_bytes()).get("config")
    except (OSError, SnapshotError):
        return None
    return found


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SceneError(f"{path} cannot be read as JSON ({error}).") from None
    if not isinstance(config, dict) or not {"source", "flags", "run", "overrides"} <= config.keys():
        raise SceneError(f"{path} is not the configuration of a run: it lacks source, flags, run or overrides.")
    return config
