"""The stand-in for Isaac Gym in this process, and the environment in which a worker of its own finds it."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from systems.physics.isaacgym.launch import HOME, PYTHON, STANDIN
from systems.physics.isaacgym.worker import memory
from systems.physics.isaacgym.worker.main import Worker

FOLDER = Path(__file__).parent
ENVIRONMENT = {HOME: str(FOLDER), STANDIN: "1", PYTHON: sys.executable}


@contextlib.contextmanager
def environment(**more: str) -> Iterator[None]:
    """Where workers find the stand-in, run by this Python unless another is named."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (ENVIRONMENT | more).items():
            patch.setenv(name, value)
        yield


class StandinHere:
    """A link to the worker's code in this process, with a stand-in of its own: the real one has one simulation for each process."""

    def __init__(self, rows: int, dofs: int, bodies: int) -> None:
        own = bytearray(memory.num_bytes(rows, dofs, bodies))
        self.memory: Mapping[str, np.ndarray] = memory.arrays(own, rows, dofs, bodies)
        self._worker = Worker(own)
        forget()
        sys.path.insert(0, str(FOLDER))
        torch = sys.modules.pop("torch", None)  # which a worker does not import before
        try:
            import_module("isaacgym")
        finally:
            sys.modules.update({"torch": torch} if torch else {})
        self._worker.answer({"op": "hello", "home": ""})
        sys.path.remove(str(FOLDER))

    def ask(self, op: str, **given: Any) -> dict[str, Any]:
        """The worker's answer."""
        return self._worker.answer({"op": op, **given})

    def close(self) -> None:
        """Nothing is to end."""


def forget() -> None:
    """The stand-in was never imported, nor what imports it."""
    own = tuple(f"systems.physics.isaacgym.worker.{name}" for name in ("simulation", "tensors", "measurements"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "isaacgym" or name in own]:
        package, _, last = name.rpartition(".")
        vars(sys.modules.get(package, sys)).pop(last, None)
        del sys.modules[name]


def gymapi() -> Any:
    """The stand-in's module of a fresh process."""
    StandinHere(1, 1, 1)
    return sys.modules["isaacgym.gymapi"]


def alive(process_id: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(process_id, 0)
    except OSError:
        return False
    return not Path("/proc").is_dir()
