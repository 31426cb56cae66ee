"""Score and time of cart-pole: whole runs of the command line, one seed after the other.

    python -m benchmarks.cartpole --seeds 5

Seconds are those a user waits, from the command to its prompt: start, training, files, curve and evaluation; and those of
the processor, which other work on the machine does not lengthen much. The exit status is 1 when a seed stays below 475 of
500 or takes 60 s or more.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import attrs

SOLVED, SECONDS = 475.0, 60.0


@attrs.frozen
class Result:
    """One seed: the score without exploration, what the command took, and when the score was first reached exploring."""

    seed: int
    score: float
    seconds: float
    processor_seconds: float
    learned: int | None  # iteration


def run(seed: int, folder: Path, flags: Sequence[str]) -> Result:
    """Train with one seed into `folder`; raises CalledProcessError when the command fails."""
    command = [sys.executable, "-m", "engine.run", "scenes/cartpole.py", "--seed", str(seed), "--out", str(folder)]
    start, busy = perf_counter(), children_seconds()
    subprocess.run([*command, *flags], check=True, stdout=subprocess.DEVNULL)
    seconds, processor_seconds = perf_counter() - start, children_seconds() - busy
    score = json.loads((folder / "evaluation.json").read_text())["summary"]["return"]
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    learned = next((row["iteration"] for row in rows if row.get("episode/return", 0.0) >= SOLVED), None)
    return Result(seed, score, seconds, processor_seconds, learned)


def children_seconds() -> float:
    """Processor seconds of all commands that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def main() -> int:
    """Print a line for each seed; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=5)
    given, flags = parser.parse_known_args()
    print(f"{os.cpu_count()} processors; load of the last minute {os.getloadavg()[0]:.1f}")
    print("seed  score  seconds  of the processor  first return of 475 while exploring")
    results = []
    with tempfile.TemporaryDirectory() as home:
        for seed in range(given.seeds):
            result = run(seed, Path(home) / str(seed), flags)
            results.append(result)
            times = f"{result.seconds:7.1f}  {result.processor_seconds:16.1f}"
            print(f"{seed:4}  {result.score:5.1f}  {times}  iteration {result.learned or '–'}", flush=True)
    good = sum(result.score >= SOLVED and result.seconds < SECONDS for result in results)
    print(f"solved in less than {SECONDS:.0f} s by {good} of {len(results)}")
    return 0 if good == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
