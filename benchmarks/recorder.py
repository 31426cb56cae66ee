"""Cost of watching: the failure log, which always looks, and the flight recorder of --record, on the tracking scene.

    python -m benchmarks.recorder --rounds 10

Blocks of 24 ticks without observers, with the log and with both take turns. What observers take is measured by themselves as
well, in seconds of their thread, since other work on the machine shifts whole blocks by more than they cost.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, thread_time

from engine import build
from engine.ecs.schedule import Observer
from engine.recording.failures import FRAMES, LINES, FailureLog
from engine.recording.recorder import Recorder
from scenes.motion_tracking import CONFIGS, experiment

BLOCK = 24  # ticks
MODES: dict[str, tuple[str, ...]] = {"nobody": (), "the log": ("log",), "log and recorder": ("recorder", "log")}


def timed(look: Callable[[], None], spent: list[float]) -> Callable[[], None]:
    """`look`, which also adds the seconds of this thread that it takes."""

    def looking() -> None:
        start = thread_time()
        look()
        spent[0] += thread_time() - start

    return looking


def main() -> None:
    """Print a line for each mode, and the sizes of what is kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--rows", type=int, default=512)
    given = parser.parse_args()
    simulation = build(experiment(CONFIGS["laptop"].replace(num_envs=given.rows)).train())
    folder = Path(tempfile.mkdtemp())
    recorder = Recorder(simulation, folder=folder)
    observers: dict[str, FailureLog | Recorder] = {"log": FailureLog(simulation, folder, print), "recorder": recorder}
    schedule = simulation.schedule
    simulation.run(2 * BLOCK + 1)
    wall: dict[str, list[float]] = {mode: [] for mode in MODES}
    own = {mode: [0.0] for mode in MODES}
    for _ in range(given.rounds):
        for mode, names in MODES.items():
            for each in list(schedule.observers):
                schedule.detach(each)
            for watch in (observers[name] for name in names):
                finish, end = timed(watch.see_finished, own[mode]), timed(watch.see_end, own[mode])
                schedule.attach(Observer(at_finish=finish, after_tick=end))
            start = perf_counter()
            simulation.run(BLOCK)
            wall[mode].append(1e3 * (perf_counter() - start) / BLOCK)
    print(f"{os.cpu_count()} processors; load of the last minute {os.getloadavg()[0]:.1f}; {given.rows} rows")
    for mode in MODES:
        cost = 1e3 * own[mode][0] / (given.rounds * BLOCK)
        middle = statistics.median(wall[mode])
        print(f"{mode:<18} {middle:8.2f} ms a tick (best {min(wall[mode]):.2f}), of which observers {cost:.3f} ms")
    start = perf_counter()
    size = recorder.write(folder / "now.rec").stat().st_size
    print(f"a recording: {size / 1e6:.1f} MB in {perf_counter() - start:.2f} s, of {recorder.trace.taken} samples")
    for name in (LINES, FRAMES):
        print(f"{name}: {(folder / name).stat().st_size / 1e3:.1f} kB for {2 * given.rounds} iterations")


if __name__ == "__main__":
    main()
