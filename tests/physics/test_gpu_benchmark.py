"""The benchmark of a GPU's tick: what it counts, what it refuses, and that it runs on Warp's CPU device."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import gpu
from engine import Simulation
from engine.capture.capture import Capture
from engine.capture.cpu_recorder import CpuRecorder
from engine.capture.segments import always

WARP_HERE = find_spec("mujoco_warp") is not None
WARP = pytest.mark.skipif(not WARP_HERE, reason="MuJoCo Warp is not installed")


def test_launches_and_waits_are_counted_in_a_tick_and_the_profiler_s_own_wait_is_not() -> None:
    names = ["cudaLaunchKernel"] * 6 + ["cuLaunchKernel"] * 2 + ["cudaGraphLaunch"] * 4 + ["cudaMemcpyAsync"] * 2
    names += ["cudaStreamSynchronize"] * 2 + ["cudaDeviceSynchronize", "aten::add", "ampere_sgemm"]
    assert gpu.calls_per_tick(names, 2) == {
        "launches_per_tick": 7.0,  # (6 + 2 + 4 + 2) / 2
        "graph_launches_per_tick": 2.0,
        "waits_per_tick": 1.0,  # (2 + 1 - 1) / 2
    }


def test_what_is_not_physics_is_the_rest_of_the_systems() -> None:
    shares = gpu.share_of(
        {"step_physics": 5.0, "refresh_kinematics": 1.0, "reward": 3.0, "observe": 0.999, "act": 0.001}
    )
    assert shares["not_physics_percent"] == pytest.approx(40.0)
    assert shares["percent_per_system"] == pytest.approx(
        {"step_physics": 50.0, "reward": 30.0, "refresh_kinematics": 10.0, "observe": 9.99}
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_cuda_it_is_refused_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--rows", "8"]) == 2
    assert capsys.readouterr() == ("", "--device is 'cuda', but torch finds no CUDA device here. Use --device cpu.\n")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rows", "8,none"], "'8,none' is no list of numbers of rows"),
        (["--rows", "0"], "'0' is no list of numbers of rows"),
        (["--ticks", "0"], "'0' is no number of ticks"),
        (["--variants", "fast"], "there is no variant 'fast'; there are eager, captured"),
    ],
)
def test_flags_that_make_no_sense_are_refused(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        gpu.main(["--device", "cpu", *flags])
    assert message in capsys.readouterr().err


def test_events_on_a_gpu_s_stream_give_the_seconds_of_each_system(monkeypatch: pytest.MonkeyPatch) -> None:
    clock: Iterator[float] = iter(
        [0.0, 3.0, 3.0, 4.0, 10.0, 12.0, 12.0, 15.0]
    )  # ms, start and end of two systems in two ticks

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at = next(clock)

        def elapsed_time(self, end: "Event") -> float:
            return end.at - self.at

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    entries = [SimpleNamespace(name=name, call=lambda: None) for name in ("step_physics", "reward")]
    schedule = SimpleNamespace(wrap=None)
    run = lambda ticks: [schedule.wrap(entry) for _ in range(ticks) for entry in entries]  # noqa: E731
    simulation = SimpleNamespace(schedule=schedule, run=run, world=SimpleNamespace(device=torch.device("cuda")))
    found = gpu.seconds_per_system(simulation, 2)  # type: ignore[arg-type]
    assert found == pytest.approx({"step_physics": 0.005, "reward": 0.004})
    assert schedule.wrap is None


@pytest.mark.slow
@WARP
def test_on_warp_s_cpu_device_it_runs_to_its_end_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--device", "cpu", "--rows", "4,5", "--ticks", "3", "--hidden", "8", "--no-first", "--json"]
    assert gpu.main(flags) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["machine"]["device"].startswith("Warp's CPU device, no GPU: ")
    assert [(each["rows"], each["variant"]) for each in found["results"]] == [(4, "eager"), (5, "eager")]
    for each in found["results"]:
        assert each["tick_steps_per_second"] > 0.0 and each["training_steps_per_second"] > 0.0
        assert 0.0 < each["not_physics_percent"] < 100.0 and each["undeclared_waits"] == 0
        assert not each.keys() & {"launches_per_tick", "waits_per_tick", "first_tick_cold_seconds"}
        assert sum(each["percent_per_system"].values()) == pytest.approx(100.0, abs=5.0)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Any]:
    """A variant that replays on the processor, and its small scene."""

    @contextmanager
    def replayed(simulation: Simulation) -> Iterator[Capture]:
        always(simulation.schedule)
        made = Capture(simulation, CpuRecorder(), say=lambda sentence: None)
        with made.attached():
            yield made

    monkeypatch.setattr(gpu, "VARIANTS", {"captured": replayed})
    return {"robot": "humanoid", "clip": "squat", "hidden": (8,), "horizon": 4}


@WARP
@pytest.mark.parametrize("learn", [False, True])
def test_after_the_warm_up_of_a_captured_tick_all_are_replayed_and_none_is_recorded(
    learn: bool, recorded: Mapping[str, Any]
) -> None:
    with gpu.running(4, "cpu", "captured", learn=learn, scene=recorded) as (simulation, capture):
        gpu.warm_up(simulation, capture)
        assert capture is not None
        recordings = len(capture.stand_ins)
        assert simulation.world.clock.tick > 3 * (4 if learn else 1)
        simulation.run(24)
        assert capture.report()["capture/eager_ticks"] == 0 and len(capture.stand_ins) == recordings > 0


@WARP
def test_the_first_captured_tick_is_the_first_that_is_replayed(recorded: Mapping[str, Any]) -> None:
    with gpu.running(4, "cpu", "captured", learn=False, scene=recorded) as (simulation, capture):
        gpu.first_replayed(simulation, capture)
        assert capture is not None
        assert [each.calls for each in capture.stand_ins] == [1] and capture.captured


def test_a_captured_tick_is_refused_for_the_processor_with_the_variant_that_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert gpu.main(["--device", "cpu", "--variants", "captured"]) == 2
    message = "The variant 'captured' records CUDA graphs, and --device is cpu. Say --variants eager.\n"
    assert capsys.readouterr().err == message
