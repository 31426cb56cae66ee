"""Rewinding: whether it gives the same bytes, how long a restore takes, and what the ring costs a training.

    python -m benchmarks.rewind [--json] [--rows 512] [--ticks 600] [--back 500] [--large 4096] [--rounds 6]
                                [any flag of the scene, e.g. --clip stand]

same_bytes    the scene runs `ticks` ticks in a ring, goes back by `back`, branches there without an edit and runs again;
              digests of whole snapshots are compared at every hundredth tick and at the end
restore       `world.restore` of a ring's snapshot at `large` rows: the first, and the median of the others
capture       the same for taking one, into fresh memory and into that of an old one
overhead      time of training with a ring ÷ without − 1; two equal simulations take turns, and segments in which others
              took more than 5 % of a core are dropped and repeated
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.pairs import alternate
from engine import Simulation, build
from engine.snapshot.history import Ring
from engine.snapshot.snapshot import capture, restore
from scenes.motion_tracking import CONFIGS, experiment

EVERY = 48  # ticks between snapshots: two learning iterations


def digest(simulation: Simulation) -> str:
    """SHA-256 of a snapshot."""
    total = hashlib.sha256()
    for piece in capture(simulation.world).pieces():
        total.update(piece)
    return total.hexdigest()


def run_and_note(simulation: Simulation, ring: Ring, end: int) -> dict[int, str]:
    """Run to the end of a tick; digests of every hundredth one on the way, and of the last."""
    noted = {}
    while ring.tick < end:
        simulation.run(min(100 - (ring.tick % 100), end - ring.tick))
        noted[ring.tick] = digest(simulation)
    return noted


def rewind(rows: int, ticks: int, back: int, **arguments: Any) -> dict[str, Any]:
    """Run, go back, run again; whether all digests agree."""
    simulation = build(experiment(CONFIGS["laptop"].replace(num_envs=rows, **arguments)).train())
    with Ring(simulation) as probe:
        size = probe.num_bytes
    ring = Ring(simulation, every=EVERY, budget=(back // EVERY + 5) * size)
    first = run_and_note(simulation, ring, ticks)
    start = perf_counter()
    ring.seek(ticks - back)
    sought = perf_counter() - start
    ring.branch()
    again = run_and_note(simulation, ring, ticks)
    start = perf_counter()
    ring.seek(ticks - back)
    ring.live()
    both = perf_counter() - start
    return {
        "rows": rows,
        "ticks_run_again": back,
        "same_bytes": all(first[tick] == value for tick, value in again.items()) and digest(simulation) == first[ticks],
        "seek_seconds": sought,
        "seek_and_live_seconds": both,
        "snapshot_megabytes": size / 1e6,
    }


def times(work: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Milliseconds of the first call, and the median of the others."""
    taken = []
    for _ in range(rounds + 1):
        start = perf_counter()
        work()
        taken.append(1e3 * (perf_counter() - start))
    return taken[0], median(taken[1:])


def restoring(rows: int, rounds: int, **arguments: Any) -> dict[str, Any]:
    """Time of restoring and of capturing, with ticks in between so that the snapshot differs from the world."""
    simulation = build(experiment(CONFIGS["laptop"].replace(num_envs=rows, **arguments)).train())
    simulation.run(3)
    kept = [capture(simulation.world)]
    fresh = times(lambda: capture(simulation.world), 2)
    into = times(lambda: kept.append(capture(simulation.world, kept.pop())), rounds)
    simulation.run(2)
    back = times(lambda: restore(simulation.world, kept[0]), rounds)
    return {
        "rows": rows,
        "snapshot_megabytes": kept[0].num_bytes / 1e6,
        "capture_fresh_ms": fresh[1],
        "capture_ms": into[1],
        "restore_first_ms": back[0],
        "restore_ms": back[1],
    }


def overhead(rows: int, rounds: int, **arguments: Any) -> dict[str, Any]:
    """Training with and without a ring, in turn."""
    bare, ringed = (build(experiment(CONFIGS["laptop"].replace(num_envs=rows, **arguments)).train()) for _ in range(2))
    ring = Ring(ringed, every=EVERY, budget=2**30)
    for simulation in (bare, ringed):
        simulation.run(EVERY)
    kept, dropped = alternate(
        {"without": lambda: bare.run(EVERY), "with": lambda: ringed.run(EVERY)}, rounds=rounds, limit=0.05
    )
    pairs = [b / a - 1.0 for a, b in zip(kept["without"], kept["with"], strict=True)]
    return {
        "rows": rows,
        "every_ticks": EVERY,
        "overhead": median(kept["with"]) / median(kept["without"]) - 1.0,
        "overhead_spread": [min(pairs), max(pairs)],
        "seconds_without": median(kept["without"]),
        "snapshots_kept": len(ring.kept),
        "dropped_segments": dropped,
    }


def main() -> int:
    """Print the figures as a table, or as JSON with --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--ticks", type=int, default=600)
    parser.add_argument("--back", type=int, default=500)
    parser.add_argument("--large", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--clip", default="squat")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    result = {
        "rewind": rewind(given.rows, given.ticks, given.back, clip=given.clip),
        "restore": restoring(given.large, max(5, given.rounds), clip=given.clip),
        "overhead": overhead(given.rows, given.rounds, clip=given.clip),
    }
    if given.json:
        print(json.dumps(result, indent=1))
    else:
        for part, figures in result.items():
            for key, value in figures.items():
                print(
                    f"{part:<10}{key:<24} {value:.4g}" if isinstance(value, float) else f"{part:<10}{key:<24} {value}"
                )
    return 0 if result["rewind"]["same_bytes"] else 1


if __name__ == "__main__":
    sys.exit(main())
