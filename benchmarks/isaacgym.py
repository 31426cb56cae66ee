"""Cost of the worker process of Isaac Gym's backend: what messages and shared memory add to a control step.

    python -m benchmarks.isaacgym [--rows 512] [--ticks 40] [--json]

The simulator is the stand-in of the tests, which is not Isaac Gym: of the figures only what the process adds says anything. The same
code moves the rows in the worker as in this process; what differs is waiting for its answer.

step_milliseconds       a control step of four substeps of the tracking humanoid, as the worker itself timed it
transport_milliseconds  what passes until its answer is here beside that: the message there and back, and waking up
transport_percent       the same as a share of the step
bytes_per_row           of the memory that both map
"""

import argparse
import json
import sys
from collections.abc import Sequence
from statistics import median

from systems.physics.isaacgym.backend import IsaacGymBackend
from systems.physics.isaacgym.launch import WorkerProcess
from systems.physics.isaacgym.worker import memory
from tests.physics.rows import make_rows


def measured(rows: int, ticks: int) -> dict[str, float]:
    """The figures, as medians over control steps."""
    made = make_rows(rows, backend="isaacgym")
    assert isinstance(made.backend, IsaacGymBackend)
    link, seconds = made.backend.link, list[tuple[float, float]]()
    assert isinstance(link, WorkerProcess)
    for _ in range(ticks):
        made.tick()
        seconds.append(link.seconds)
    step, added = median(there for _, there in seconds), median(here - there for here, there in seconds)
    model = made.model.robot
    return {
        "rows": rows,
        "step_milliseconds": 1e3 * step,
        "transport_milliseconds": 1e3 * added,
        "transport_percent": 100.0 * added / step,
        "bytes_per_row": memory.num_bytes(rows, len(model.dof_names), len(model.body_names)) / rows,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser("python -m benchmarks.isaacgym", description=__doc__)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--ticks", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    found = measured(given.rows, given.ticks)
    if given.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:<24} {value:,.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
