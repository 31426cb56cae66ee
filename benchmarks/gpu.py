"""Cost of a tick of the tracking scene on a GPU, by MuJoCo Warp: how fast, what is not physics, launches and waits.

    python -m benchmarks.gpu [--device cuda] [--rows 4096,8192] [--ticks 48] [--variants eager,captured] [--no-first] [--json]

With --device cpu the same runs on Warp's CPU device, with few rows, to see that it runs; no figure of it says anything of a GPU.
Each figure is of one variant, that is a way of running the tick, and of one number of rows.

tick_steps_per_second      rows × ticks a second of the tick without learning
training_steps_per_second  the same with PPO, over whole iterations
not_physics_percent        of the time of a tick without learning, what the systems of the simulator do not take
percent_per_system         the same by system, in ticks that call them one by one; on a GPU between two events on its stream, so that waiting for launches counts
first_tick_cold_seconds    from making the scene until the first tick that runs as the variant does is done: the second of an eager one,
                           of a captured one the first in which everything that is due is replayed; in a new process without any kernel kept
first_tick_warm_seconds    the same in the next process, with the kernels kept
On a GPU, in a tick without learning:
launches_per_tick          kernels and copies that the host launches, by torch and by Warp; of a graph only its own launch counts
graph_launches_per_tick    graphs among them
waits_per_tick             calls by which the host waits for the GPU, by torch and by Warp
torch_waits_per_tick       those that torch's own debug mode warns of
On the CPU device, which has neither launches nor waits:
operations_per_tick        torch operations that touch memory, outside the simulator's systems
undeclared_waits           systems that would wait for a GPU without saying so (`--audit`)
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from benchmarks.tick import PHYSICS
from engine import Simulation, build
from engine.capture.capture import Capture, capture_for
from engine.ecs.condition import Every
from engine.ecs.schedule import Entry
from engine.errors import SceneError, listing
from engine.runner.experiment import check_device
from engine.tools.audit import Audit
from engine.tools.profile import count_operations
from scenes.motion_tracking import CONFIGS, experiment

WITHOUT_LEARNING = ("RECORD", "LEARN")


@contextmanager
def captured(simulation: Simulation) -> Iterator[Capture]:
    """Ticks are replayed, as a training does; what is called instead is printed on standard error."""
    made = capture_for(simulation, "on", lambda text: print(text, file=sys.stderr))
    assert made is not None
    with made.attached():
        yield made


VARIANTS: Mapping[str, Callable[[Simulation], AbstractContextManager[Capture | None]]] = {
    "eager": lambda simulation: nullcontext(),
    "captured": captured,
}  # ways of running the tick, as long as what each makes of a simulation lasts
ROUNDS = 20
GRAPH_LAUNCHES = frozenset(("cudaGraphLaunch", "cuGraphLaunch"))
LAUNCHES = GRAPH_LAUNCHES | {
    "cudaLaunchKernel", "cudaLaunchKernelExC", "cudaLaunchCooperativeKernel", "cuLaunchKernel", "cuLaunchKernelEx",
    "cudaMemcpyAsync", "cudaMemsetAsync", "cuMemcpyAsync", "cuMemsetD8Async", "cuMemsetD32Async",
}  # fmt: skip
WAITS = frozenset(
    ("cudaDeviceSynchronize", "cudaStreamSynchronize", "cudaEventSynchronize", "cudaMemcpy", "cuCtxSynchronize",
     "cuStreamSynchronize", "cuEventSynchronize")
)  # fmt: skip


@contextmanager
def running(
    rows: int, device: str, variant: str, *, learn: bool, scene: Mapping[str, Any]
) -> Iterator[tuple[Simulation, Capture | None]]:
    """The tracking scene of so many rows, to be run so; without learning RECORD and LEARN are skipped."""
    config = CONFIGS["laptop"].replace(num_envs=rows, backend="warp", device=device, **scene)
    simulation = build(experiment(config).train(), device=device, skip=() if learn else WITHOUT_LEARNING)
    with VARIANTS[variant](simulation) as capture:
        yield simulation, capture


def warm_up(simulation: Simulation, capture: Capture | None) -> None:
    """Run a round of the systems that run every few ticks; of a capture, three, and more until one is replayed and nothing recorded in it.

    SceneError where that does not come.
    """
    conditions = [entry.when for entry in simulation.schedule.entries]
    ticks = math.lcm(*(condition.ticks for condition in conditions if isinstance(condition, Every)))
    simulation.run(1 + ticks)  # the first tick belongs to no round
    if capture is None:
        return
    simulation.run(2 * ticks)
    for _ in range(ROUNDS):
        capture.report()
        recordings = len(capture.stand_ins)
        simulation.run(ticks)
        if capture.report()["capture/eager_ticks"] == 0 and len(capture.stand_ins) == recordings:
            return
    raise SceneError(
        f"After {ROUNDS} rounds of {ticks} ticks some are not replayed: {listing(capture.sentences)}. "
        "Say --variants eager to measure without capture."
    )


def first_replayed(simulation: Simulation, capture: Capture | None) -> None:
    """Run until a tick is replayed, that is until nothing that is due in it has to warm up; without a capture two ticks."""
    simulation.run(2)
    while capture is not None and "capture/launches" not in capture.report():
        simulation.run()


def seconds_of(work: Callable[[], None], device: str) -> float:
    """How long work takes until the device has done it."""
    _finish(device)
    start = perf_counter()
    work()
    _finish(device)
    return perf_counter() - start


def _finish(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def seconds_per_system(simulation: Simulation, ticks: int) -> dict[str, float]:
    """Seconds of each system over some ticks: on a GPU as its own stream sees them, without waiting for it in between."""
    on_gpu = simulation.world.device.type == "cuda"
    marks: list[tuple[str, Any, Any]] = []

    def mark() -> Any:
        if not on_gpu:
            return perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def watch(entry: Entry) -> None:
        start = mark()
        entry.call()
        marks.append((entry.name, start, mark()))

    simulation.schedule.wrap = watch
    simulation.run(ticks)
    simulation.schedule.wrap = None
    _finish(str(simulation.world.device))
    found: dict[str, float] = {}
    for name, start, end in marks:
        found[name] = found.get(name, 0.0) + (1e-3 * start.elapsed_time(end) if on_gpu else end - start)
    return found


def share_of(seconds: Mapping[str, float]) -> dict[str, Any]:
    """Percent by system, and of all that are no physics."""
    total = sum(seconds.values())
    shares = {name: 100.0 * own / total for name, own in sorted(seconds.items(), key=lambda item: -item[1])}
    return {
        "not_physics_percent": sum(share for name, share in shares.items() if name not in PHYSICS),
        "percent_per_system": {name: share for name, share in shares.items() if share >= 0.2},
    }


def calls_per_tick(names: Iterable[str], ticks: int) -> dict[str, float]:
    """Launches and waits among the calls of a driver, of which one wait is the profiler's."""
    seen = list(names)
    return {
        "launches_per_tick": sum(name in LAUNCHES for name in seen) / ticks,
        "graph_launches_per_tick": sum(name in GRAPH_LAUNCHES for name in seen) / ticks,
        "waits_per_tick": max(0, sum(name in WAITS for name in seen) - 1) / ticks,
    }


def traffic_on_gpu(simulation: Simulation, ticks: int) -> dict[str, float]:
    """What the host asks of the GPU in a tick, and how often it waits."""
    from torch.profiler import ProfilerActivity, profile

    device = simulation.world.device
    torch.cuda.synchronize(device)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        simulation.run(ticks)
        torch.cuda.synchronize(device)  # the wait that `calls_per_tick` leaves out
    found = calls_per_tick((event.name for event in seen.events()), ticks)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            simulation.run(ticks)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return {**found, "torch_waits_per_tick": sum("synchronizing" in str(one.message) for one in warned) / ticks}


def traffic_on_cpu(simulation: Simulation, ticks: int) -> dict[str, float]:
    """What can be counted without a GPU: torch operations, and systems that would wait for one."""
    counts = count_operations(simulation.schedule, ticks)
    outside = sum(cost.operations for (_, name), cost in counts.items() if name not in PHYSICS)
    audit = Audit(simulation.schedule)
    simulation.run(ticks)
    audit.detach()
    waits = sum("waits for device values" in finding.text for finding in audit.findings)
    return {"operations_per_tick": outside / ticks, "undeclared_waits": waits}


def without_learning(playing: Simulation, capture: Capture | None, rows: int, ticks: int) -> dict[str, Any]:
    """The figures of a tick in which nobody learns."""
    device = str(playing.world.device)
    warm_up(playing, capture)
    seconds = seconds_of(lambda: playing.run(ticks), device)
    traffic = (traffic_on_cpu if device == "cpu" else traffic_on_gpu)(playing, min(ticks, 8))
    shares = share_of(seconds_per_system(playing, ticks))
    return {"tick_steps_per_second": rows * ticks / seconds, **traffic, **shares}


def measured(rows: int, device: str, variant: str, ticks: int, scene: Mapping[str, Any]) -> dict[str, Any]:
    """All figures of one variant and number of rows but those of the first tick."""
    with running(rows, device, variant, learn=False, scene=scene) as (playing, capture):
        found = {"rows": rows, "variant": variant, **without_learning(playing, capture, rows, ticks)}
    with running(rows, device, variant, learn=True, scene=scene) as (training, capture):
        horizon = training.scene.iteration
        warm_up(training, capture)
        whole = horizon * max(1, ticks // horizon)
        found["training_steps_per_second"] = rows * whole / seconds_of(lambda: training.run(whole), device)
    return found


def first_tick(rows: int, device: str, variant: str, scene: Mapping[str, Any]) -> float:
    """Seconds from making the scene until the first tick that runs as the variant does is done."""

    def work() -> None:
        with running(rows, device, variant, learn=False, scene=scene) as (simulation, capture):
            first_replayed(simulation, capture)

    return seconds_of(work, device)


def first_ticks(rows: int, device: str, variant: str, scene: Mapping[str, Any]) -> dict[str, float]:
    """The first tick in two new processes: without any kernel kept, and with those that the one before has kept."""
    found = {}
    asked = json.dumps({"rows": rows, "device": device, "variant": variant, "scene": scene})
    with tempfile.TemporaryDirectory() as folder:
        kept = {name: str(Path(folder, name)) for name in ("WARP_CACHE_PATH", "CUDA_CACHE_PATH")}
        for name in ("cold", "warm"):
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.gpu", "--first-tick", asked],
                env={**os.environ, **kept}, stdout=subprocess.PIPE, text=True, check=True,
            )  # fmt: skip
            found[f"first_tick_{name}_seconds"] = float(done.stdout.split()[-1])
    return found


def machine(device: str) -> dict[str, str]:
    """What the figures were measured on."""
    libraries = {name: version(name) for name in ("torch", "mujoco-warp", "warp-lang")}
    if device == "cpu":
        return {"device": f"Warp's CPU device, no GPU: {_processor()}", "driver": "none", **libraries}
    return {"device": torch.cuda.get_device_name(device), "driver": _driver(), **libraries}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _driver() -> str:
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown: nvidia-smi does not say"


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of ticks; give 1 or more.")
    return int(text)


def _numbers(text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no list of numbers of rows, as 4096,8192.")
    return found


def _variants(text: str) -> list[str]:
    for name in text.split(","):
        if name not in VARIANTS:
            raise argparse.ArgumentTypeError(f"there is no variant '{name}'; there are {listing(VARIANTS)}.")
    return text.split(",")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print as lines or, with --json, as JSON."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rows", type=_numbers, default=[4096, 8192])
    parser.add_argument("--ticks", type=_positive, default=48)
    parser.add_argument("--variants", type=_variants, help=f"by default all on a GPU: {','.join(VARIANTS)}")
    parser.add_argument("--robot", default="humanoid")
    parser.add_argument("--clip", default="squat")
    parser.add_argument("--hidden", type=int, nargs="+")
    parser.add_argument(
        "--no-first", action="store_true", help="leave out the first tick, for which kernels are compiled anew"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--first-tick", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.first_tick:
        print(first_tick(**given.first_tick))
        return 0
    scene = {"robot": given.robot, "clip": given.clip} | ({"hidden": tuple(given.hidden)} if given.hidden else {})
    try:
        check_device(given.device)
        variants = given.variants or (["eager"] if given.device == "cpu" else [*VARIANTS])
        if "captured" in variants and given.device == "cpu":
            raise SceneError("The variant 'captured' records CUDA graphs, and --device is cpu. Say --variants eager.")
        results = []
        for rows in given.rows:
            for variant in variants:
                first = {} if given.no_first else first_ticks(rows, given.device, variant, scene)
                results.append(measured(rows, given.device, variant, given.ticks, scene) | first)
    except SceneError as error:
        print(error, file=sys.stderr)
        return 2
    of = machine(given.device)
    if given.json:
        print(json.dumps({"machine": of, "results": results}, indent=1))
        return 0
    for name, value in of.items():
        print(f"{name:<26} {value}")
    for result in results:
        print()
        for name, value in sorted(result.items(), key=lambda item: isinstance(item[1], dict)):
            if isinstance(value, dict):
                print(f"{name}:")
                for system, share in value.items():
                    print(f"  {system:<30} {share:6.1f} %")
            else:
                print(f"{name:<26} {value:,.4g}" if isinstance(value, float) else f"{name:<26} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
