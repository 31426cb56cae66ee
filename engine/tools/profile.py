"""Profile of a tick: time, torch operations and bytes per system."""

from collections import Counter
from typing import Any

import attrs
from torch import Tensor

from engine.ecs.schedule import Entry, Schedule
from engine.tools.operations import OperationMode

_FREE = {
    "alias", "as_strided", "detach", "diagonal", "expand", "permute", "select", "slice", "split", "split_with_sizes",
    "squeeze", "t", "transpose", "unbind", "unfold", "unsqueeze", "view", "_unsafe_view",
}  # fmt: skip


@attrs.define
class Cost:
    """What one system cost over the profiled ticks."""

    phase: str
    bundle: str
    calls: int = 0
    seconds: float = 0.0
    operations: int = 0
    bytes: int = 0
    kinds: Counter[str] = attrs.field(factory=Counter)


class _Count(OperationMode):  # type: ignore[no-untyped-call]
    def __init__(self, cost: Cost) -> None:
        super().__init__()
        self.cost = cost

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name not in _FREE:  # views cost a fraction of a microsecond and touch no memory
            self.cost.operations += 1
            self.cost.kinds[name] += 1
            made = out if isinstance(out, (tuple, list)) else (out,)
            self.cost.bytes += sum(t.numel() * t.element_size() for t in made if isinstance(t, Tensor))
        return out


def count_operations(schedule: Schedule, ticks: int = 1) -> dict[tuple[str, str], Cost]:
    """Run ticks while counting torch operations that touch memory and bytes written, by (phase, system)."""
    costs: dict[tuple[str, str], Cost] = {}

    def count(entry: Entry) -> None:
        cost = costs.setdefault((entry.phase, entry.name), Cost(entry.phase, entry.bundle))
        cost.calls += 1
        with _Count(cost):
            entry.call()

    before = schedule.wrap
    schedule.wrap = count
    try:
        schedule.run(ticks)
    finally:
        schedule.wrap = before
    return costs


def measure_time(schedule: Schedule, ticks: int) -> dict[tuple[str, str], Cost]:
    """Run ticks and return seconds per (phase, system)."""
    start = {id(e): (e.seconds, e.calls) for e in schedule.entries}
    schedule.run(ticks)
    costs: dict[tuple[str, str], Cost] = {}
    for entry in schedule.entries:
        seconds, calls = start[id(entry)]
        cost = costs.setdefault((entry.phase, entry.name), Cost(entry.phase, entry.bundle))
        cost.seconds += entry.seconds - seconds
        cost.calls += entry.calls - calls
    return costs


def profile_table(schedule: Schedule, ticks: int = 50) -> str:
    """A table of time, operations and bytes per system, one line each, in tick order."""
    schedule.run(2)
    times = measure_time(schedule, ticks)
    counts = count_operations(schedule, ticks)
    total = sum(c.seconds for c in times.values())
    lines = [f"{'phase':<10} {'system':<26} {'µs/tick':>10} {'share':>7} {'calls':>6} {'ops/tick':>9} {'KiB/tick':>9}"]
    for key, cost in times.items():
        count = counts.get(key, Cost(cost.phase, cost.bundle))
        lines.append(
            f"{key[0]:<10} {key[1]:<26} {cost.seconds / ticks * 1e6:>10.1f} {cost.seconds / max(total, 1e-12):>6.1%} "
            f"{cost.calls / ticks:>6.2f} {count.operations / ticks:>9.1f} {count.bytes / ticks / 1024:>9.1f}"
        )
    operations = sum(c.operations for c in counts.values()) / ticks
    lines.append(f"{'total':<37} {total / ticks * 1e6:>10.1f} {'':>7} {'':>6} {operations:>9.1f}")
    return "\n".join(lines)
