"""Worker process of Isaac Gym: found, started, asked, and ended with whoever started it.

Control is a socket pair, one end of which the worker inherits; numbers of the rows lie in memory that both map. What the worker
prints is kept, and its last lines stand in every sentence about it.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import IO, Any, Protocol

import numpy as np

from engine.errors import LostError, SceneError
from systems.physics.isaacgym.worker import memory, wire

PYTHON, HOME, TIMEOUT = "LOCKSTEP_ISAACGYM_PYTHON", "LOCKSTEP_ISAACGYM_HOME", "LOCKSTEP_ISAACGYM_TIMEOUT"
STANDIN = "LOCKSTEP_ISAACGYM_STANDIN"
_START, _ANSWER = 900.0, 120.0  # s; the first start compiles an extension
_BUILDING = ("hello", "create", "build", "measure")  # messages that come before a run, or instead of one
_GRACE = 2.0  # s to end when asked to
_LAST_WORDS = 600  # characters
_FLAG = "--isaacgym-python"


class GymLink(Protocol):
    """A simulation in Isaac Gym, here or in another process, as `IsaacGymBackend` drives it; see `worker/memory.py`."""

    @property
    def memory(self) -> Mapping[str, np.ndarray]:
        """Arrays by name, to be read and written in place."""
        ...

    def ask(self, op: str, **given: Any) -> dict[str, Any]:
        """The answer of `Worker.answer_<op>`. SceneError or LostError where there is none."""
        ...

    def close(self) -> None:
        """End it."""
        ...


def find_python(given: str) -> Path:
    """The interpreter that is to run Isaac Gym, by the flag or the environment; SceneError where it is none."""
    text, source = (given, _FLAG) if given else (os.environ.get(PYTHON, ""), PYTHON)
    if not text:
        raise SceneError(
            f"The backend 'isaacgym' runs in a Python 3.8 of yours that has Isaac Gym Preview 4. Say which with {_FLAG} PATH or "
            f"{PYTHON}=PATH, or choose --backend mujoco."
        )
    path = Path(text).expanduser()
    if not path.is_file() or not os.access(path, os.X_OK):
        state = "is a folder" if path.is_dir() else "is no program" if path.exists() else "is not there"
        inside = path / "bin" / "python"
        cure = f" Did you mean {inside}?" if inside.is_file() else " Name the python program of that environment."
        raise SceneError(f"{source}={text} {state}.{cure}")
    return path.absolute()


def standin_allowed() -> bool:
    """Whether the environment says that a stand-in for Isaac Gym may simulate, as in a test."""
    return os.environ.get(STANDIN) == "1"


def timeout(started: bool) -> float:
    """Seconds to wait for an answer; SceneError for a number in the environment that is none."""
    text = os.environ.get(TIMEOUT, "")
    if not text:
        return _ANSWER if started else _START
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < float("inf"):
        raise SceneError(f"{TIMEOUT}={text} is no time; give seconds above 0, or leave it out.")
    return seconds


def environment(python: Path, device: str | None) -> dict[str, str]:
    """The environment of the worker: none of this Python's own, and the libraries of that one in front.

    `device` is the UUID of the GPU that it sees as its first, None to leave that alone.
    """
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    prefix = python.parent.parent
    own["PYTHONNOUSERSITE"] = "1"
    own["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, (str(prefix / "lib"), own.get("LD_LIBRARY_PATH", ""))))
    own["PATH"] = os.pathsep.join(filter(None, (str(python.parent), own.get("PATH", ""))))
    own["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    return own | ({"CUDA_VISIBLE_DEVICES": device} if device else {})


class WorkerProcess:
    """A worker for `rows` rows of so many joints and bodies, which ends when this object does."""

    def __init__(self, python: Path, rows: int, dofs: int, bodies: int, *, device: str | None = None) -> None:
        self.python = python
        size = max(memory.num_bytes(rows, dofs, bodies), 1)
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the worker
        with _anonymous_memory(size) as handle:
            self.memory = memory.arrays(memory.mapped(handle, size), rows, dofs, bodies)
            self._channel, theirs = socket.socketpair()
            with theirs:
                given = {"channel": theirs.fileno(), "memory": handle, "size": size, "parent": os.getpid()}
                self._process = self._start(given, environment(python, device))
        self.seconds = (0.0, 0.0)  # that the last answer took, and of them those that the worker worked
        self._number = 0
        self._lost = False
        self._end = weakref.finalize(self, _end, self._process, self._channel)

    def _start(self, given: Mapping[str, int], own: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        program = Path(__file__).parent / "worker" / "main.py"
        arguments = [str(part) for name, value in given.items() for part in (f"--{name}", value)]
        try:
            return subprocess.Popen(
                [str(self.python), str(program), *arguments],
                env=dict(own),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=(given["channel"], given["memory"]),
                start_new_session=True,  # Ctrl-C is for the run, which ends it
            )
        except OSError as error:
            self._channel.close()
            raise SceneError(
                f"{self.python} cannot be started ({error.strerror or error}). Give the Python 3.8 that has Isaac Gym with {_FLAG}."
            ) from None

    @property
    def process_id(self) -> int:
        """Of the worker."""
        return self._process.pid

    def greet(self) -> dict[str, Any]:
        """Wait until it has imported Isaac Gym; what it says of itself. SceneError where it cannot."""
        try:
            found = self.ask("hello", home=os.environ.get(HOME, ""))
        except LostError as error:
            self.close()
            raise SceneError(
                f"{error} Isaac Gym needs a Python 3.8 with numpy and msgpack; {_FLAG} names {self.python}."
            ) from None
        if "missing" in found:
            self.close()
            raise SceneError(self._cannot_import(found))
        return found

    def _cannot_import(self, found: Mapping[str, Any]) -> str:
        version = str(found["python"])
        error = f"{self.python}, Python {version}, cannot import Isaac Gym ({found['missing']})."
        if version.split(".")[:2] != ["3", "8"]:
            return f"{error} Its modules are for Python 3.8: name such a Python with {_FLAG}."
        return (
            f"{error} Install Isaac Gym Preview 4 there, {quote(str(self.python))} -m pip install -e isaacgym/python, or name its "
            f"folder python/ in {HOME}."
        )

    def ask(self, op: str, **given: Any) -> dict[str, Any]:
        """Send a message and wait for its answer.

        LostError where the worker ended, does not answer in time, answers what cannot be, or failed at a step; SceneError where
        it says that it cannot build what it was asked for. Either way the error gives its last words.
        """
        if self._lost:
            raise LostError("The worker of Isaac Gym is gone.")
        self._number += 1
        seconds = timeout(started=op not in _BUILDING)
        self._channel.settimeout(seconds)
        began = time.perf_counter()
        try:
            wire.send(self._channel, {"op": op, "number": self._number, **given})
            answer = wire.receive(self._channel)
        except TimeoutError:
            raise self._gone(f"has not answered '{op}' within {seconds:g} s ({TIMEOUT} sets how long)") from None
        except (EOFError, OSError):
            raise self._gone(f"{self._how_it_ended()} while it was asked to '{op}'") from None
        except wire.NoMessage as error:
            raise self._gone(f"answered '{op}' with {error}") from None
        if answer.pop("number", None) != self._number:
            raise self._gone(f"answered another question than '{op}'")
        self.seconds = (time.perf_counter() - began, float(answer.pop("seconds", 0.0)))
        if "error" in answer:
            words = self.last_words()
            self.close()
            kind = SceneError if op in _BUILDING else LostError
            raise kind(f"Isaac Gym failed at '{op}': {str(answer['error']).rstrip('.')}.{words}")
        return answer

    def _gone(self, what: str) -> LostError:
        self._lost = True
        self._end()
        return LostError(f"The worker of Isaac Gym {what}.{self.last_words()}")

    def _how_it_ended(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
        status = self._process.poll()
        if status is None:
            return "closed its channel"
        if status >= 0:
            return f"ended with status {status}"
        return f"crashed ({signal.Signals(-status).name})" if -status in signal.valid_signals() else "crashed"

    def last_words(self) -> str:
        """' Its last words: …', or nothing where it wrote nothing."""
        self._log.flush()
        end = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, end - 8 * _LAST_WORDS))
        text = self._log.read().decode("utf-8", "replace")
        self._log.seek(0, os.SEEK_END)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        kept = " | ".join(lines)[-_LAST_WORDS:]
        return f" Its last words: {kept}" if kept else ""

    def close(self) -> None:
        """Ask it to end, and end it where it does not."""
        self._lost = True
        self._end()


def _end(process: "subprocess.Popen[bytes]", channel: socket.socket) -> None:
    """End the worker, within seconds whatever it does; it is not among the processes afterwards."""
    with contextlib.suppress(OSError):
        channel.settimeout(1.0)
        wire.send(channel, {"op": "close", "number": 0})
    channel.close()
    until = time.monotonic() + (_GRACE if process.poll() is None else 0.0)
    for stop in (None, process.terminate, process.kill):
        if process.poll() is None and stop is not None:
            stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.1, until - time.monotonic()) if stop is not process.kill else None)
            return


@contextlib.contextmanager
def _anonymous_memory(size: int) -> Any:
    """A handle of `size` bytes of memory without a name, which goes with the last process that maps it."""
    if sys.platform.startswith("linux"):
        handle = os.memfd_create("isaacgym")
    else:
        with tempfile.TemporaryFile() as file:
            handle = os.dup(file.fileno())
    try:
        os.ftruncate(handle, size)
        yield handle
    finally:
        os.close(handle)
