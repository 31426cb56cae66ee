"""Worker process: started by its path with `--channel N --memory N --size N`, file handles and bytes that its parent gave it.

It imports Isaac Gym before anything that might import torch, answers one message after the other, and ends with its parent.
"""

import ctypes
import os
import signal
import socket
import sys
import time
import traceback
import types
from typing import Any, Dict

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl


def _open_packages() -> None:
    """Let `systems.physics.isaacgym.worker` be imported from here without the packages above it, which need torch."""
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path = [place for place in sys.path if os.path.abspath(place or ".") != folder]
    names = ["systems", "physics", "isaacgym", "worker"]
    for depth in range(len(names), 0, -1):
        module = types.ModuleType(".".join(names[:depth]))
        module.__path__ = [folder]  # type: ignore[attr-defined]
        sys.modules[module.__name__] = module
        folder = os.path.dirname(folder)


def _end_with_parent(parent: int) -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:  # it was gone before it was asked
            os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer


class Worker:
    """Answers messages by `answer_<op>`."""

    def __init__(self, memory: Any) -> None:
        self._memory = memory
        self._simulation: Any = None

    def answer(self, message: Dict[str, Any]) -> Dict[str, Any]:
        """The answer to a message."""
        found: Dict[str, Any] = getattr(self, "answer_" + message["op"])(message)
        return found

    def answer_hello(self, message: Dict[str, Any]) -> Dict[str, Any]:
        """Import Isaac Gym, and say what runs here."""
        home = message["home"]
        if home:
            sys.path.insert(0, home)
        version = "{}.{}.{}".format(*sys.version_info[:3])
        try:
            import isaacgym
            from isaacgym import gymtorch  # noqa: F401 - compiles an extension when it is first imported
        except Exception as error:
            return {"missing": f"{type(error).__name__}: {error}", "python": version}
        import shutil

        import numpy

        stands_in = bool(getattr(isaacgym, "STANDS_IN", False))
        return {
            "runtime": "standin" if stands_in else "isaacgym",
            "python": version,
            "numpy": numpy.__version__,
            "torch": str(getattr(sys.modules.get("torch"), "__version__", "none")),
            "ninja": shutil.which("ninja") or "none",
            "compiler": shutil.which("c++") or "none",
            "folder": os.path.dirname(os.path.abspath(isaacgym.__file__)),
        }

    def answer_create(self, message: Dict[str, Any]) -> Dict[str, Any]:
        """Make the simulation and load the robot."""
        from systems.physics.isaacgym.worker import memory
        from systems.physics.isaacgym.worker.simulation import GymSimulation

        own = message["settings"]
        arrays = memory.arrays(self._memory, own["rows"], len(own["joints"]), len(own["bodies"]))
        self._simulation = GymSimulation(own, arrays)
        return dict(self._simulation.names())

    def answer_build(self, message: Dict[str, Any]) -> Dict[str, Any]:
        """Make the rows."""
        return dict(self._simulation.build())

    def answer_change(self, message: Dict[str, Any]) -> Dict[str, Any]:
        """Give rows constants of their own."""
        import numpy

        rows = numpy.frombuffer(message["rows"], "i4")
        fields = message["fields"].items()
        values = {name: numpy.frombuffer(data, "f4").reshape(len(rows), -1) for name, data in fields}
        self._simulation.change(rows, values)
        return {}

    def answer_step(self, message: Dict[str, Any]) -> Dict[str, Any]:
        """Advance."""
        self._simulation.step(message["substeps"])
        return {}

    def answer_measure(self, message: Dict[str, Any]) -> Dict[str, Any]:
        """One of the self-check's measurements, in a simulation of its own."""
        from systems.physics.isaacgym.worker import measurements

        found: Dict[str, Any] = getattr(measurements, message["what"])(message)
        return found


def main() -> int:
    """Answer until the parent is gone or says that it is over."""
    given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    _end_with_parent(int(given["--parent"]))
    _open_packages()
    from systems.physics.isaacgym.worker import memory, wire

    channel = socket.socket(fileno=int(given["--channel"]))
    worker = Worker(memory.mapped(int(given["--memory"]), int(given["--size"])))
    while True:
        try:
            message = wire.receive(channel)
        except EOFError:
            return 0
        if message["op"] == "close":
            return 0
        began = time.perf_counter()
        try:
            answer = worker.answer(message)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            answer = {"error": text, "trace": traceback.format_exc()}
        sys.stdout.flush()
        wire.send(channel, dict(answer, number=message["number"], seconds=time.perf_counter() - began))


if __name__ == "__main__":
    # without the exit handlers of Isaac Gym, which may hang or crash after everything is done
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
