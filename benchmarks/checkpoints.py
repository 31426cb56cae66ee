"""Cost of checkpoints: the share of training time, and the longest stall that one puts into a tick.

    python -m benchmarks.checkpoints [--rows 512] [--large 4096] [--every 50] [--rounds 5] [--block 3] [--json]

share      (time of a block of iterations in which one checkpoint is taken and written − time of a block without) ÷
           time of `--every` iterations; blocks alternate, each is as long as a write and waits for its end, so that
           whatever the writing thread takes from the ticks is in it
stall      seconds that taking the checkpoint held up the tick thread, longest of all; the first two, which bring
           their memory along, are counted apart
write      seconds from there until the checkpoint was on the disk
curve      seconds of drawing curve.png, which the runner does at the same moments and on the tick thread
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.pairs import alternate
from engine import Simulation, build
from engine.runner.checkpoint import BUFFERS
from engine.runner.run_folder import RunFolder
from engine.snapshot.snapshot import capture
from scenes.motion_tracking import CONFIGS, experiment

ITERATION = 24


def train(rows: int, **arguments: Any) -> Simulation:
    """The main scene, warmed up by one iteration."""
    made = build(experiment(CONFIGS["laptop"].replace(num_envs=rows, **arguments)).train())
    made.run(ITERATION + 1)
    return made


def cost(simulation: Simulation, place: Path, *, every: int, rounds: int, block: int) -> dict[str, float]:
    """Cost of checkpoints, in blocks of `block` iterations."""
    folder = RunFolder.create(place, "checkpoints", print)
    taken = 0
    stalls: list[float] = []
    writes: list[float] = []

    def without() -> None:
        simulation.run(block * ITERATION)

    def saving() -> None:
        nonlocal taken
        taken += 1
        start = time.perf_counter()
        folder.save(simulation.world, taken, 0)
        stalls.append(folder.writer.stall)
        for _ in range(block * ITERATION):
            simulation.run()
            if len(writes) < taken and folder.writer.idle:
                writes.append(time.perf_counter() - start)
        folder.drain()
        if len(writes) < taken:
            writes.append(time.perf_counter() - start)

    for _ in range(BUFFERS):
        saving()
    kept, dropped = alternate({"without": without, "saving": saving}, rounds=rounds)
    plain, more = median(kept["without"]), median(kept["saving"])
    folder.close()
    pairs = [b - a for a, b in zip(kept["without"], kept["saving"], strict=False)]
    return {
        "iteration_seconds": plain / block,
        "seconds_per_checkpoint": more - plain,
        "seconds_per_checkpoint_least": min(pairs),
        "seconds_per_checkpoint_most": max(pairs),
        "share": (more - plain) / (every * plain / block),
        "stall_first_ms": 1e3 * max(stalls[:BUFFERS]),
        "stall_median_ms": 1e3 * median(stalls[BUFFERS:]),
        "stall_longest_ms": 1e3 * max(stalls[BUFFERS:]),
        "write_seconds": median(writes),
        "dropped_segments": float(dropped),
    }


def captures(simulation: Simulation, times: int = 10) -> dict[str, float]:
    """Stalls of captures alone, into memory that is used again."""
    world = simulation.world
    buffer, stalls = capture(world), []
    for _ in range(times):
        start = time.perf_counter()
        buffer = capture(world, buffer)
        stalls.append(1e3 * (time.perf_counter() - start))
    return {
        "capture_mb": buffer.num_bytes / 1e6,
        "capture_median_ms": median(stalls),
        "capture_longest_ms": max(stalls),
    }


def curve(place: Path, iterations: int = 300) -> float:
    """Seconds of drawing curve.png after so many iterations, the second time."""
    folder = RunFolder.create(place, "curve", print)
    names = [f"{group}/{i}" for group in ("reward", "end", "error", "learn") for i in range(8)]
    for iteration in range(1, iterations + 1):
        row = {"iteration": iteration, "tick": ITERATION * iteration, "env_steps": 512 * ITERATION * iteration}
        folder.append({**row, **dict.fromkeys(names, 0.5 * iteration)}, {"iteration": iteration, "elapsed": 1.0})
    seconds = 0.0
    for _ in range(2):
        start = time.perf_counter()
        folder.draw_curve()
        seconds = time.perf_counter() - start
    folder.close()
    return seconds


def measure(given: argparse.Namespace, place: Path) -> dict[str, dict[str, float]]:
    """Every figure."""
    simulation = train(given.rows)
    found = {f"{given.rows} rows": cost(simulation, place / "run", **_lengths(given)) | captures(simulation)}
    del simulation
    if given.large:
        found[f"{given.large} rows"] = captures(train(given.large))
    return {**found, "curve.png": {"seconds": curve(place / "curve")}}


def _lengths(given: argparse.Namespace) -> dict[str, int]:
    return {"every": given.every, "rounds": given.rounds, "block": given.block}


def main() -> int:
    """Print the figures as a table, or as JSON with --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"rows": 512, "large": 4096, "every": 50, "rounds": 5, "block": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--folder", type=Path, default=None, help="where to write, on the disk to be measured")
    given = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="checkpoints-", dir=given.folder))
    try:
        found = measure(given, place)
    finally:
        shutil.rmtree(place)
    if given.json:
        print(json.dumps(found, indent=1))
        return 0
    for name, figures in found.items():
        print(name)
        for key, value in figures.items():
            print(f"  {key:<28} {value:10.4g}" + (f"  {value:.2%}" if key == "share" else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
