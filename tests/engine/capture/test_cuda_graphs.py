"""CUDA graphs: the calls that torch's documentation asks for, in order, to a stand-in for torch.cuda; nothing runs on a GPU here."""

import gc
from contextlib import nullcontext
from itertools import count
from typing import Any

import pytest
import torch

from engine.capture.cuda_graphs import CudaGraphs
from engine.capture.launches import launch

CALLS: list[Any] = []


class StreamStandIn:
    """A stream that tells whom it waits for."""

    def __init__(self, device: Any = None) -> None:
        self.name = "side" if device is not None else "current"
        self.device_index = 3

    def wait_stream(self, other: "StreamStandIn") -> None:
        """Wait."""
        CALLS.append(f"{self.name} waits for {other.name}")


class GraphStandIn:
    """A graph that tells what is done with it."""

    made = 0

    def __init__(self) -> None:
        GraphStandIn.made += 1
        self.number = GraphStandIn.made

    def register_generator_state(self, stream: torch.Generator) -> None:
        """Take a random stream."""
        CALLS.append(f"register {stream.initial_seed()} with {self.number}")

    def capture_begin(self, pool: Any, capture_error_mode: str) -> None:
        """Begin."""
        CALLS.append(f"begin {self.number} in {pool}, {capture_error_mode}")

    def capture_end(self) -> None:
        """End."""
        CALLS.append(f"end {self.number}")

    def replay(self) -> None:
        """Replay."""
        CALLS.append(f"replay {self.number}")

    def reset(self) -> None:
        """Forget."""
        CALLS.append(f"reset {self.number}")


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU."""
    CALLS.clear()
    GraphStandIn.made = 0
    current, pools = StreamStandIn(), count(1)
    fakes = {
        "Stream": StreamStandIn,
        "CUDAGraph": GraphStandIn,
        "graph_pool_handle": lambda: f"pool {next(pools)}",
        "current_stream": lambda device=None: current,
        "stream": lambda stream: nullcontext(),
        "synchronize": lambda device=None: CALLS.append("synchronize"),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(
        torch._C,
        "_cuda_endAllocateToPool",
        lambda index, pool: CALLS.append(f"device {index} allocates to {pool} no more"),
        raising=False,
    )
    monkeypatch.setattr(torch, "zeros", lambda *size, device: None)


def stream(seed: int) -> torch.Generator:
    """A random stream with that seed."""
    return torch.Generator().manual_seed(seed)


def run() -> None:
    """Work of torch, of another library inside a graph, of another library between graphs, of torch."""
    CALLS.append("first")
    launch(lambda: CALLS.append("inside"), joins=True)
    launch(lambda: CALLS.append("between"))
    CALLS.append("second")


def test_graphs_are_recorded_on_a_side_stream_from_one_pool_around_what_comes_between() -> None:
    first, second = stream(1), stream(2)
    parts = CudaGraphs(torch.device("cuda")).record(run, [[first, first], [second]])
    assert CALLS == [
        "synchronize", "side waits for current", "register 1 with 1", "begin 1 in pool 1, thread_local", "first", "inside",
        "end 1", "register 2 with 2", "begin 2 in pool 1, thread_local", "second", "end 2", "current waits for side",
    ]  # fmt: skip
    CALLS.clear()
    for part in parts:
        part()
    assert CALLS == ["replay 1", "between", "replay 2"]


def test_one_graph_has_everything_inside() -> None:
    parts = CudaGraphs(torch.device("cuda"), whole=True).record(run, [[stream(1)], [stream(2)]])
    assert len(parts) == 1 and "between" in CALLS[CALLS.index("inside") : CALLS.index("second")]
    assert [call for call in CALLS if "register" in call] == ["register 1 with 1", "register 2 with 1"]


def test_a_recording_that_fails_is_ended_and_the_garbage_is_collected_again() -> None:
    def fail() -> None:
        assert not gc.isenabled()
        raise RuntimeError("operation not permitted when stream is capturing")

    graphs = CudaGraphs(torch.device("cuda"))
    with pytest.raises(RuntimeError, match="not permitted"):
        graphs.record(fail, [[stream(1)]])
    assert gc.isenabled() and len(graphs.broken) == 1
    assert CALLS[CALLS.index("end 1") :] == [
        "end 1", "device 3 allocates to pool 1 no more", "reset 1",  # what a failing end leaves undone
        "register 1 with 2", "begin 2 in pool 3, thread_local", "end 2",  # which tells the stream that it is not recorded
        "current waits for side",
    ]  # fmt: skip
    CALLS.clear()
    graphs.record(run, [[stream(1)], [stream(2)]])
    assert "begin 3 in pool 2, thread_local" in CALLS
