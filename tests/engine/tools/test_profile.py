"""Counting operations, bytes and time per system."""

from collections import Counter

import torch

from engine import Bundle, Scene, Tick, Write, build, every, system, table
from engine.snapshot.snapshot import save
from engine.tools.profile import count_operations, measure_time, profile_table
from tests.engine.toy import Age, Place, run


def three(place: Write[Place], age: Write[Age]) -> None:
    """Two operations on x, one on moves; views are free."""
    place.x.add_(1.0)
    place.x[:, 0].mul_(2.0)
    age.moves.add_(1)


def pair(place: Write[Place]) -> None:
    """One operation with two results."""
    torch.max(place.x, dim=1)


def scene(rows: int = 8, **options: object) -> Scene:
    bundle = Bundle("b", [Place, Age], [], {"A": [system(three, **options)], "B": [system(pair)]}, repeat=2)  # type: ignore[arg-type]
    return Scene([table("t", rows=rows)], [bundle], Tick(phases=("A", "B"), repeat=("A",)))


def test_operations_and_bytes_are_counted_by_system():
    """8 rows: x is 8 × 2 × 4 = 64 bytes, its first column 32, moves 8 × 8 = 64; twice a tick, three ticks."""
    cost = count_operations(build(scene()).schedule, 3)["A", "three"]
    assert (cost.phase, cost.bundle, cost.calls) == ("A", "b", 6)
    assert cost.operations == 3 * 6
    assert cost.bytes == (64 + 32 + 64) * 6
    assert cost.kinds == Counter({"add_": 12, "mul_": 6})


def test_every_result_of_an_operation_counts():
    """max gives 8 float32 and 8 int64."""
    cost = count_operations(build(scene()).schedule)["B", "pair"]
    assert cost.operations == 1 and cost.bytes == 8 * 4 + 8 * 8


def test_system_that_did_not_run_is_not_counted():
    assert ("A", "three") not in count_operations(build(scene(when=every(100))).schedule, 3)


def test_counting_gives_the_schedule_back_and_runs_the_same():
    one, two = run(1), run(1)
    count_operations(one.schedule, 4)
    two.run(4)
    assert one.schedule.wrap is None
    assert save(one.world) == save(two.world)


def test_time_is_that_of_the_measured_ticks():
    simulation = build(scene())
    simulation.run(5)
    costs = measure_time(simulation.schedule, 4)
    assert list(costs) == [("A", "three"), ("B", "pair")]
    assert costs["A", "three"].calls == 8 and costs["B", "pair"].calls == 4
    assert all(cost.seconds > 0 for cost in costs.values())


def test_table_has_a_line_for_every_system_and_a_total():
    lines = profile_table(build(scene()).schedule, ticks=3).splitlines()
    assert lines[0].split() == ["phase", "system", "µs/tick", "share", "calls", "ops/tick", "KiB/tick"]
    three_line, pair_line, total = lines[1].split(), lines[2].split(), lines[3].split()
    assert three_line[:2] == ["A", "three"] and three_line[4:6] == ["2.00", "6.0"]
    assert pair_line[:2] == ["B", "pair"] and pair_line[4:6] == ["1.00", "1.0"]
    assert total[0] == "total" and total[-1] == "7.0"
