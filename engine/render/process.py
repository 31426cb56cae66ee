"""Client of the render process: starts it, asks it for pictures and takes them. `program` says what goes over the pipes."""

import json
import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from engine.errors import LockstepError

PROGRAM = Path(__file__).with_name("program.py")
SETTING = "MUJOCO_GL"  # the variable by which MuJoCo chooses its OpenGL when it is imported
_LENGTH, _SIZE = struct.Struct("<I"), struct.Struct("<HH")


class NoPictures(LockstepError):
    """OpenGL does not work here; the text says why, without a full stop."""


def platforms() -> list[str]:
    """Values of MUJOCO_GL to try: what the user says, else what needs no window."""
    chosen = os.environ.get(SETTING, "").strip()
    if chosen:
        return [chosen]
    return ["egl", "osmesa"] if sys.platform == "linux" else [""]


@contextmanager
def without_opengl() -> Iterator[None]:
    """Import MuJoCo for its physics as long as this lasts: it then loads no OpenGL, whatever the environment asks for."""
    before = os.environ.get(SETTING)
    os.environ[SETTING] = "disable"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SETTING]
        else:
            os.environ[SETTING] = before


def _environment(platform: str) -> dict[str, str]:
    """What the render process gets; PyOpenGL follows the platform, and not a setting of its own that may differ."""
    own = {SETTING: platform} if platform else {}
    return {name: value for name, value in os.environ.items() if not (own and name == "PYOPENGL_PLATFORM")} | own


class RenderChild:
    """One render process of a model file (MJCF or MJB), with the `options` of `program`.

    `patience`: seconds that a picture, or the start, may take. Every method but `kill` and `close` raises NoPictures when the
    process ends, stalls or sends what makes no sense; `kill` may be called by any thread.
    """

    def __init__(
        self, model: Path, options: Mapping[str, Any], platform: str, patience: float, program: Path | None = None
    ) -> None:
        self.patience = patience
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(program or PROGRAM), str(model), json.dumps(options)],
            env=_environment(platform),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the parent, which then ends the process
        )
        assert self.process.stdin is not None and self.process.stdout is not None and self.process.stderr is not None
        self._in, self._out, self._errors = self.process.stdin, self.process.stdout, _Tail(self.process.stderr)

    def about(self) -> dict[str, Any]:
        """What the process says first of the model: joints, free, size, renderer and shapes."""
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        try:
            found: dict[str, Any] = json.loads(self._read(min(length, 1 << 20)))
        except ValueError as error:
            raise NoPictures(self._why(str(error))) from None
        return found

    def ask(self, width: int, height: int, numbers: np.ndarray) -> None:
        """Ask for a picture: 6 numbers of the camera, and the pose. One may be asked for before another is taken."""
        try:
            self._in.write(_SIZE.pack(width, height) + numbers.astype("<f8").tobytes())
            self._in.flush()
        except OSError as error:
            raise NoPictures(self._why(str(error))) from None

    def take(self) -> np.ndarray:
        """The next picture (height, width, 3) uint8."""
        width, height = _SIZE.unpack(self._read(_SIZE.size))
        return np.frombuffer(self._read(width * height * 3), np.uint8).reshape(height, width, 3)

    def kill(self) -> None:
        """End the process; what waits for it raises NoPictures."""
        with suppress(ProcessLookupError):
            self.process.kill()

    def close(self) -> None:
        """End the process and wait for that."""
        self.kill()
        self.process.wait()
        for pipe in (self._in, self._out):
            with suppress(OSError):
                pipe.close()

    def _why(self, problem: str) -> str:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(1.0)
        last, status = self._errors.last(), self.process.poll()
        how = f"signal {-status}" if status is not None and status < 0 else f"status {status}"
        ended = problem if status is None else f"its process ended with {how}"
        return ended + (f" ({last})" if last else "")

    def _read(self, count: int) -> bytes:
        parts, until = [], time.monotonic() + self.patience
        while count:
            if not select.select([self._out], [], [], max(0.0, until - time.monotonic()))[0]:
                raise NoPictures(self._why(f"no picture within {self.patience:g} s"))
            part = os.read(self._out.fileno(), min(count, 1 << 20))
            if not part:
                raise NoPictures(self._why("the render process ended"))
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


class _Tail:
    """The last line that a process prints; reads all the time, so that the process never waits for its pipe."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._line, self._pipe = b"", pipe
        self._thread = threading.Thread(target=self._work, name="render errors", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        with self._pipe:
            for line in self._pipe:
                self._line = line.strip()[:300] or self._line

    def last(self) -> str:
        """The line, once nothing more comes."""
        self._thread.join(1.0)
        return self._line.decode(errors="replace").rstrip(".")
