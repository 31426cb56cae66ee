"""Conditions: when a system runs, decided on the host from what a snapshot holds."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from engine import (
    BuildError,
    Bundle,
    Scene,
    Tick,
    Write,
    any_row,
    build,
    column,
    component,
    every,
    first_tick,
    system,
    table,
)
from tests.engine.toy import ANY_DONE, TICK, Age, Done, Place, complaint, mark_all, restart, run, toy, toy_systems


@component
class Count:
    """How often something ran."""

    value: Tensor = column(dtype=torch.int64)
    wanted: Tensor = column(dtype=torch.bool)


def count(count: Write[Count]) -> None:
    """Add one."""
    count.value.add_(1)


def counted(when: Any, ticks: int) -> list[int]:
    """How often a system under that condition had run after each of the first ticks."""
    tick = Tick(phases=("COUNT",))
    simulation = build(
        Scene([table("t", rows=1)], [Bundle("b", [Count], [], {"COUNT": [system(count, when=when)]})], tick)
    )
    seen = []
    for _ in range(ticks):
        simulation.run()
        seen.append(int(simulation.world[Count].value[0]))
    return seen


def refusal(action: Callable[[], Any]) -> str:
    with pytest.raises(BuildError) as caught:
        action()
    return str(caught.value)


def test_every_runs_on_multiples_and_never_first():
    """Ticks 0 to 6: it runs on 3 and 6."""
    assert counted(every(3), 7) == [0, 0, 0, 1, 1, 1, 2]


def test_every_one_runs_on_all_but_the_first_tick():
    assert counted(every(1), 3) == [0, 1, 2]


def test_first_tick_runs_once():
    assert counted(first_tick(), 3) == [1, 1, 1]


def test_without_a_condition_it_always_runs():
    assert counted(None, 3) == [1, 2, 3]


@pytest.mark.parametrize("ticks", [0, -3, 1.5, True, "2"])
def test_every_needs_a_whole_number(ticks: Any):
    assert refusal(lambda: every(ticks)) == f"every({ticks!r}) needs a whole number of at least 1 tick."


def test_any_row_follows_its_mask():
    tick = Tick(phases=("COUNT",))
    when = any_row(Count, "wanted")
    simulation = build(
        Scene([table("t", rows=3)], [Bundle("b", [Count], [], {"COUNT": [system(count, when=when)]})], tick)
    )
    wanted, value = simulation.world[Count].wanted, simulation.world[Count].value
    simulation.run()
    assert int(value[0]) == 0
    wanted[2] = True
    simulation.run(2)
    assert int(value[0]) == 2
    wanted.fill_(False)
    simulation.run()
    assert int(value[0]) == 2


def test_mask_is_looked_at_once_while_it_stands_still():
    simulation = run(1)
    world = simulation.world
    when = any_row(Done, "ended", "points")
    assert when.holds(world)
    key = id(world[Done].ended)
    version, _ = world.condition_cache[key]
    world.condition_cache[key] = (version, False)
    assert not when.holds(world)
    world[Done].ended.fill_(True)
    assert when.holds(world)


def test_any_row_of_an_unknown_column():
    assert (
        refusal(lambda: any_row(Done, "ends"))
        == "any_row: Done has no column 'ends'; it has ended. Did you mean ended?"
    )


def test_any_row_needs_a_mask():
    assert (
        refusal(lambda: any_row(Age, "moves")) == "any_row: Age.moves is torch.int64; it must be a mask (torch.bool)."
    )


def test_any_row_needs_a_component():
    assert (
        refusal(lambda: any_row(int, "x"))
        == "<class 'int'> is not a component. Decorate it with @component, @derived or @signal."
    )


def test_conditions_are_equal_when_they_ask_the_same():
    assert any_row(Done, "ended") == ANY_DONE != any_row(Count, "wanted")
    assert every(2) == every(2) != every(3)
    assert first_tick() == first_tick()


def test_labels():
    assert [c.label for c in (every(3), first_tick(), ANY_DONE)] == ["every(3)", "first_tick()", "any_row(Done.ended)"]


def test_mask_that_no_table_has():
    systems = {**toy_systems(), "OBSERVE": [system(restart, when=any_row(Count, "wanted"))]}
    assert complaint(toy(systems)) == (
        "BuildError: `restart` runs under any_row(Count.wanted), but Count is in no table. Add the bundle that brings it."
    )


def two_tables(when: Any) -> Scene:
    """Tables a and b with Place and Done, c with Count only."""
    bundles = [Bundle(n, [Place, Done], [], {}, table=n) for n in "ab"] + [Bundle("c", [Count], [], {}, table="c")]
    bundles[0].systems = {"BEGIN": [system(mark_all)], "RESET": [system(restart, when=when)]}
    bundles[2].systems = {"OBSERVE": [system(count, when=any_row(Done, "ended"))]}
    if when is None:
        bundles[2].systems = {}
    return Scene([table(n, rows=1) for n in "abc"], bundles, TICK)


def test_mask_in_several_tables_must_be_chosen_by_a_system_on_another():
    assert complaint(two_tables(any_row(Done, "ended"))) == (
        "BuildError: `count` runs under any_row(Done.ended), but Done is in a, b; say which: any_row(..., table=)."
    )


def test_mask_is_that_of_the_systems_own_table():
    scene = two_tables(any_row(Done, "ended"))
    scene.bundles[2].systems = {}
    schedule = build(scene, check=False).schedule
    assert [(e.table, e.when.table) for e in schedule.entries if e.name == "restart"] == [("a", "a"), ("b", "b")]


def test_mask_may_name_its_table():
    scene = two_tables(any_row(Done, "ended", "b"))
    scene.bundles[2].systems = {}
    schedule = build(scene, check=False).schedule
    assert {e.when.table for e in schedule.entries if e.name == "restart"} == {"b"}


def test_mask_may_not_name_a_table_without_it():
    assert complaint(two_tables(any_row(Done, "ended", "c"))) == (
        "BuildError: `restart` runs under any_row(Done.ended), but Done is in a, b; say which: any_row(..., table=)."
    )
