"""Efficiency of 1, 2 and 4 processes that train together: seconds, bytes, exchanges and waits of a learning iteration.

    python -m benchmarks.scale scenes/motion_tracking.py --num-envs 1024 --ranks 1 2 4 --latency 0 2 --bandwidth 0 125

Each line is a torchrun of this machine. Efficiency is the rate against that of one process with blocks, per process and limited to
the processors that there are: two processes on two processors that take half as long have 1, and four of them, too. `plain` is
one process with as many threads as processors and rows that are not cut. `busy` are the seconds of all processors, which other work on the machine
does not lengthen much. --latency (ms) and --bandwidth (MB/s; 0: no limit) delay
every exchange by that much: they stand for a network, whose own protocol they leave out. The last lines predict other numbers of
processes from what was measured.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

WARM_UP = 1  # iterations
PREDICTED = (8, 64, 512)


@attrs.frozen
class IterationCost:
    """Of one iteration: seconds, those of the processors, those that a process waited in exchanges, bytes that it sent, how many exchanges."""

    seconds: float
    busy: float
    waited: float
    sent: float
    exchanges: float
    steps: int


def work(words: Sequence[str], rows: int, iterations: int, latency: float, bandwidth: float) -> None:
    """One of the processes; rank 0 prints what it measured."""
    from engine.ranks.ranks import Ranks, asked_for
    from engine.runner.config import make_plan
    from engine.runner.together import pin

    class Network(Ranks):
        """Processes with a network between them that takes its time."""

        @contextmanager
        def _together(self, num_bytes: int) -> Iterator[None]:
            with super()._together(num_bytes):
                yield
                delay = latency + (num_bytes * (self.size - 1) / bandwidth if bandwidth else 0.0)
                if self.size > 1 and delay:
                    time.sleep(delay)

    ranks = Network.join(120.0) if asked_for() else None
    plan = make_plan([*words, "--num-envs", str(rows)])
    if ranks is not None:
        pin(ranks)
        plan.share(ranks)
    simulation = plan.build(plan.experiment())
    length = simulation.scene.iteration
    simulation.run(1 + WARM_UP * length)
    before = (ranks.waited, ranks.sent, ranks.exchanges) if ranks is not None else (0.0, 0, 0)
    start, busy = time.perf_counter(), time.process_time()
    simulation.run(iterations * length)
    seconds, busy = (time.perf_counter() - start) / iterations, (time.process_time() - busy) / iterations
    if ranks is not None:
        busy = sum(ranks.words(busy))
    after = (ranks.waited, ranks.sent, ranks.exchanges) if ranks is not None else (0.0, 0, 0)
    waited, sent, exchanges = ((now - then) / iterations for now, then in zip(after, before, strict=True))
    if ranks is None or ranks.rank == 0:
        print(
            json.dumps(attrs.asdict(IterationCost(seconds, busy, waited, sent, exchanges, rows * length))), flush=True
        )
    if ranks is not None:
        ranks.leave()
        ranks.end_together()
        sys.stdout.flush()
        os._exit(0)


def measure(
    given: Any, ranks: int, latency: float = 0.0, bandwidth: float = 0.0, more: Sequence[str] = ()
) -> IterationCost:
    """Run so many processes; 0 for one without torchrun."""
    words = ["--work", given.scene, "--num-envs", str(given.num_envs), "--iterations", str(given.iterations)]
    words += ["--latency", str(latency), "--bandwidth", str(bandwidth), *given.flags, *more]
    own = [sys.executable, "-m", "benchmarks.scale", *words]
    if ranks:
        own[1:2] = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m"]
    threads = str(os.cpu_count() if not ranks else 1)
    done = subprocess.run(
        own, env=os.environ | {"OMP_NUM_THREADS": threads}, stdout=subprocess.PIPE, text=True, check=True
    )
    return IterationCost(**json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{"))))


def predicted(one: IterationCost, two: IterationCost, count: int, latency: float, bandwidth: float) -> float:
    """Efficiency of `count` processes with as many rows each as one had, a processor each, by a network.

    Computing takes the processor seconds of one process. An exchange goes around a ring, one latency for each neighbour, and twice
    (to those that add up a part, and from them); in both each process sends what it sends when there are two.
    """
    hops = two.exchanges * 2.0 * (count - 1) * latency
    network = hops + 2.0 * two.sent * (count - 1) / count / bandwidth
    return one.busy / (one.busy + network)


def main() -> int:
    """Print a line for each number of processes; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("scene")
    parser.add_argument("--num-envs", type=int, default=1024)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--latency", type=float, nargs="+", default=[0.0], help="ms")
    parser.add_argument("--bandwidth", type=float, nargs="+", default=[0.0], help="MB/s")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    given, flags = parser.parse_known_args()
    given.flags = flags
    if given.work:
        words = [given.scene, *given.flags]
        work(words, given.num_envs, given.iterations, given.latency[0] / 1e3, given.bandwidth[0] * 1e6)
        return 0
    processors = os.cpu_count() or 1
    print(
        f"{processors} processors; load of the last minute {os.getloadavg()[0]:.1f}; {given.num_envs} rows of {given.scene}"
    )
    print("processes  latency  bandwidth  seconds  busy  steps/s  efficiency  MB sent  exchanges  waits")
    plain = measure(given, 0)
    print(
        f"    plain        –          –  {plain.seconds:7.3f}  {plain.busy:6.2f}  {plain.steps / plain.seconds:7.0f}",
        flush=True,
    )
    found: dict[int, IterationCost] = {}
    for bandwidth in given.bandwidth:
        for latency in given.latency:
            for ranks in given.ranks if not (latency or bandwidth) else [n for n in given.ranks if n > 1]:
                each = measure(given, ranks, latency, bandwidth)
                if not (latency or bandwidth):
                    found[ranks] = each
                one = found.get(1, each)
                share = one.seconds / each.seconds / min(ranks, processors)
                limits = f"{latency:4.1f} ms  {f'{bandwidth:g} MB/s' if bandwidth else '–':>9}"
                numbers = f"{each.seconds:7.3f}  {each.busy:6.2f}  {each.steps / each.seconds:7.0f}  {share:10.2f}  {each.sent / 1e6:7.1f}  {each.exchanges:9.0f}"
                print(f"{ranks:9}  {limits}  {numbers}  {each.waited / each.seconds:5.0%}", flush=True)
    if 1 in found and 2 in found:
        print("\npredicted for as many rows in each process as one had here, a processor each:")
        print("processes  1 Gbit/s, 0.1 ms  10 Gbit/s, 0.05 ms  100 Gbit/s, 0.01 ms")
        for count in PREDICTED:
            cells = [
                predicted(found[1], found[2], count, *net) for net in ((1e-4, 1.25e8), (5e-5, 1.25e9), (1e-5, 1.25e10))
            ]
            print(f"{count:9}  {cells[0]:16.2f}  {cells[1]:18.2f}  {cells[2]:19.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
