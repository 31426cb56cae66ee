"""Segments of the tick compiled by torch for the processor, beside the same systems called one by one.

    python -m benchmarks.compiled [--rows 512] [--rounds 5]

Prints processor time of a call in ms, each the fastest of the rounds in turn, and what compiling cost, in s of processor time of this
process and of those that it starts.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

from engine import Simulation, build
from engine.ecs.schedule import Entry
from scenes.motion_tracking import CONFIGS, experiment

SEGMENTS = {
    "rewards": ("reward",),
    "observations": ("observe",),
    "reference, rewards and observations": (
        "derive_tracked_state", "reward", "sample_reference", "derive_anchor_view", "observe",
    ),
}  # fmt: skip
CALLS = 40


def entries(simulation: Simulation, names: Sequence[str]) -> list[Entry]:
    """The first entry of each name, in the order of the tick; terms are not looked at on the host, as in a recording."""
    found: dict[str, Entry] = {}
    for entry in simulation.schedule.plan():
        if entry.name in names:
            found.setdefault(entry.name, entry)
    for entry in found.values():
        if entry.terms is not None:
            entry.terms.asks = False
    return list(found.values())


def call_all(systems: Sequence[Entry]) -> None:
    """Run them."""
    for entry in systems:
        entry.call()


def milliseconds(work: Callable[[], None]) -> float:
    """Processor time of a call."""
    start = time.process_time()
    for _ in range(CALLS):
        work()
    return 1e3 * (time.process_time() - start) / CALLS


def spent() -> float:
    """Processor time of this process and of those that it started and that have ended, in s."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main(arguments: Sequence[str]) -> None:
    """Measure each segment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    simulation = build(experiment(CONFIGS["laptop"].replace(num_envs=options.rows)).train())
    simulation.run(6)
    for name, systems in SEGMENTS.items():
        called = partial(call_all, entries(simulation, systems))
        with torch.no_grad():
            start = spent()
            compiled = torch.compile(called, dynamic=False)
            compiled()
            compiled()
            cost = spent() - start
            pairs = [(milliseconds(called), milliseconds(compiled)) for _ in range(options.rounds)]
        eager, fused = (min(column) for column in zip(*pairs, strict=True))
        print(f"{name}: called {eager:.2f} ms, compiled {fused:.2f} ms, after {cost:.1f} s of compiling")


if __name__ == "__main__":
    main(sys.argv[1:])
