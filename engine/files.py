"""Files that outlive whatever happens to the process or the disk: JSON lines, and files written whole or not at all."""

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

import attrs

from engine.errors import SceneError

Say = Callable[[str], None]
INTERVENTIONS = "interventions.jsonl"
"""The file of a run folder that says what somebody did to the run by hand; it stays true when the run goes back."""


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


def absolute(path: Path) -> Path:
    """The path from the root, with ~ and, where it stays the same file, without what .. takes back; links are not followed."""
    full = path.expanduser().absolute()
    tidy = Path(os.path.normpath(full))
    return tidy if tidy.exists() and full.exists() and tidy.samefile(full) else full


def refuse(text: str) -> None:
    """SceneError with this text."""
    raise SceneError(text)


@contextmanager
def file_errors(failing: str, report: Say = refuse, cure: str = "") -> Iterator[None]:
    """Report an OSError of the body: what is failing, such as "F cannot be written", why, and the cure."""
    try:
        yield
    except OSError as error:
        report(f"{failing} ({error.strerror or error}).{cure}")


def refuse_unwritable(path: Path, flag: str) -> None:
    """SceneError where no file can be written to `path`, which a flag named; leaves nothing behind."""
    if path.is_dir():
        raise SceneError(f"{flag} is {path}, which is a folder. Name a file in it, or another one.")
    ancestor = next(parent for parent in path.absolute().parents if parent.exists())
    with (
        file_errors(f"{flag} {path} cannot be written", cure=f" Choose another {flag}."),
        tempfile.TemporaryFile(dir=ancestor),
    ):
        pass


@attrs.define
class JsonLines:
    """A JSON-lines file that survives a full disk: what could not be written waits for the next row."""

    path: Path
    warn: Say
    waiting: list[str] = attrs.field(factory=list)
    failed: bool = False

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row; a failure is a warning once, and tried again with the next row."""
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
        return [row for row, _ in whole_rows(self.path)] + [json.loads(line) for line in self.waiting]

    def cut(self, iteration: int, tick: int) -> None:
        """Drop everything from the first row after a tick on (an iteration where rows do not tell their tick)."""
        if self.path.exists():
            kept = takewhile(lambda pair: _until(pair[0], iteration, tick), whole_rows(self.path))
            write_file(self.path, "".join(line for _, line in kept).encode())

    def take(self, source: Path, iteration: int, tick: int) -> None:
        """Have the rows of another file, up to a tick or iteration, instead of these."""
        kept = "".join(line for row, line in whole_rows(source) if _until(row, iteration, tick))
        write_file(self.path, kept.encode())


def _until(row: Mapping[str, Any], iteration: int, tick: int) -> bool:
    return bool(row["tick"] <= tick if "tick" in row else row.get("iteration", 0) <= iteration)


def whole_rows(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """The rows of a file and their lines, up to the first that is torn, or has neither tick nor iteration."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for line in text.splitlines(keepends=True):
        try:
            row = json.loads(line)
        except ValueError:
            return
        numbered = isinstance(row, dict) and isinstance(row.get("tick", row.get("iteration")), (int, float))
        if not line.endswith("\n") or not numbered:
            return
        yield row, line


def write_file(path: Path, data: "bytes | Iterable[bytes | memoryview]") -> None:
    """Write whole or not at all: a temporary file beside `path`, fsync, rename; a failure leaves `path` as it was."""
    _write_through(path.with_name(path.name + ".part"), path, data)


def write_shared_file(path: Path, data: "bytes | Iterable[bytes | memoryview]") -> None:
    """`write_file` where another process may be writing the same file: the last one to finish counts."""
    _write_through(path.with_name(f"{path.name}.{os.getpid()}.part"), path, data)


def _write_through(part: Path, path: Path, data: "bytes | Iterable[bytes | memoryview]") -> None:
    try:
        with open(part, "wb") as file:
            for piece in (data,) if isinstance(data, bytes) else data:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
