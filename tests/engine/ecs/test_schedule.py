"""The tick as a list: order, repetition, entry, tables, addresses."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from engine import (
    AccessError,
    BuildError,
    Bundle,
    Clock,
    Rng,
    Scene,
    Tick,
    Write,
    build,
    column,
    component,
    system,
    table,
)
from engine.ecs.constants import addresses
from engine.ecs.schedule import Entry, Observer, arrange
from engine.snapshot.snapshot import save
from tests.engine.toy import TICK, Age, Distance, Place, complaint, finish, measure, move, run, toy, toy_systems


@component
class Log:
    """The order in which systems ran: each appends its digit."""

    digits: Tensor = column(dtype=torch.int64)


def write(log: Write[Log], *, digit: int) -> None:
    """Append a digit."""
    log.digits.mul_(10).add_(digit)


def digit(number: int, **options: Any) -> Any:
    """A system called after its digit."""
    return system(write, name=f"w{number}", digit=number, **options)


def logged(
    tick: Tick, *bundles: dict[str, list[Any]], ticks: int = 1, skip: tuple[str, ...] = (), repeat: int | None = None
) -> int:
    """Digits in the order in which the systems of those bundles ran."""
    made = [Bundle(f"b{i}", [Log], [], systems, repeat=repeat) for i, systems in enumerate(bundles)]
    simulation = build(Scene([table("t", rows=1)], made, tick), skip=skip, check=False)
    simulation.run(ticks)
    return int(simulation.world[Log].digits[0])


AB = Tick(phases=("A", "B"))


def test_phases_come_first_then_bundles_then_declaration():
    first = {"B": [digit(5)], "A": [digit(1), digit(2)]}
    second = {"A": [digit(3)], "B": [digit(6), digit(7)]}
    assert logged(AB, first, second) == 123567


def test_after_places_a_system_right_behind_another():
    assert logged(AB, {"A": [digit(1), digit(2)]}, {"A": [digit(3, after="w1")]}) == 132


def test_chain_of_after_holds_whatever_the_declaration():
    assert logged(AB, {"A": [digit(3, after="w2"), digit(2, after="w1"), digit(1)]}) == 123


def test_systems_behind_the_same_one_keep_their_order():
    assert logged(AB, {"A": [digit(2, after="w1"), digit(3, after="w1"), digit(1), digit(4)]}) == 1234


def test_after_somebody_who_is_not_there():
    systems = {"A": [digit(1), digit(2, after="w3")], "B": [digit(3)]}
    with pytest.raises(BuildError) as caught:
        logged(AB, systems)
    assert str(caught.value) == "`w2` (A) wants to run after `w3`, which is not in A. There: w1. Did you mean w1?"


def test_after_oneself_or_in_a_circle():
    with pytest.raises(BuildError) as caught:
        logged(AB, {"A": [digit(1, after="w1")]})
    assert str(caught.value) == "`w1` (A) wants to run after `w1`, which is not in A. There: nothing else."
    with pytest.raises(BuildError) as caught:
        logged(AB, {"A": [digit(1, after="w2"), digit(2, after="w1"), digit(3)]})
    assert str(caught.value) == "In A, `w1` and `w2` wait for each other through `after=`; one of them must go first."


def test_unknown_phase_names_near_misses():
    assert complaint(toy({"SENS": [system(measure)]})) == (
        "BuildError: Bundle 'toy' puts systems in phase 'SENS', which the tick does not have. "
        "Its phases: MOVE, SENSE, RESET, REFRESH, OBSERVE. Did you mean SENSE?"
    )


def test_skipped_phases_do_not_run():
    assert logged(AB, {"A": [digit(1)], "B": [digit(2)]}, skip=("A",)) == 2


def test_skipping_an_unknown_phase():
    assert complaint(toy(), skip=("LEARN",)) == (
        "BuildError: skip names phase 'LEARN', which the tick does not have: BEGIN, MOVE, SENSE, RESET, REFRESH, OBSERVE."
    )


GROUP = Tick(phases=("A", "B", "C", "D"), repeat=("B", "C"), entry="D")


def test_group_repeats_as_a_whole():
    systems = {"A": [digit(1)], "B": [digit(2)], "C": [digit(3)], "D": [digit(4)]}
    assert logged(GROUP, systems, ticks=2, repeat=2) == 4_123234


def test_first_tick_begins_then_enters():
    systems = {"BEGIN": [digit(9)], "A": [digit(1)], "D": [digit(4)]}
    assert logged(GROUP, systems, ticks=3) == 94_14_14


def test_first_tick_without_an_entry_runs_everything_and_repeats_the_group():
    tick = Tick(phases=("A", "B"), repeat=("B",))
    assert logged(tick, {"BEGIN": [digit(9)], "A": [digit(1)], "B": [digit(2)]}, repeat=2) == 9122


def test_bundles_agree_on_the_repeat():
    text = "BuildError: Bundles disagree on how often ('MOVE',) repeats: {'toy': 3, 'other': 2}."
    assert complaint(toy(None, Bundle("other", repeat=2))) == text


def test_repeat_is_at_least_one():
    assert complaint(toy(repeat=0)) == "BuildError: Bundle 'toy' repeats ('MOVE',) 0 times; it must be at least once."


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"phases": ("A", "A")}, "Phase 'A' stands in the tick twice; names of phases must differ."),
        ({"phases": ("A", "BEGIN")}, "Phase 'BEGIN' stands in the tick twice; names of phases must differ."),
        (
            {"phases": ("A", "B", "C"), "repeat": ("A", "C")},
            "The repeat group ('A', 'C') is not a run of consecutive phases of ('A', 'B', 'C').",
        ),
        ({"phases": ("A",), "repeat": ("X",)}, "The repeat group ('X',) is not a run of consecutive phases of ('A',)."),
        ({"phases": ("A", "B"), "entry": "C"}, "The entry phase 'C' is not one of A, B."),
        (
            {"phases": ("A", "B"), "repeat": ("B",), "entry": "A"},
            "The entry phase 'A' comes before the end of the repeat group ('B',); enter after it.",
        ),
    ],
)
def test_tick_that_makes_no_sense(options: dict[str, Any], text: str):
    with pytest.raises(BuildError) as caught:
        Tick(**options)
    assert str(caught.value) == text


def test_clock_counts_ticks_from_zero():
    simulation = build(toy())
    seen = []
    for _ in range(3):
        simulation.run()
        seen.append(simulation.world[Clock].tick)
    assert seen == [0, 1, 2]
    assert simulation.world[Clock].begun


def test_steps_stop_before_every_system():
    simulation = build(toy())
    names = [entry.name for entry in simulation.schedule.steps()]
    assert names == ["mark_all", "restart", "measure", "look"]
    steps = simulation.schedule.steps()
    assert next(steps).name == "move"
    assert int(simulation.world[Age].moves[0]) == 0
    assert next(steps).name == "move"
    assert int(simulation.world[Age].moves[0]) == 1


def test_steps_and_run_do_the_same():
    one, two = build(toy()), build(toy())
    one.run(4)
    for _ in range(4):
        list(two.schedule.steps())
    assert save(one.world) == save(two.world)


def train(place: Write[Place]) -> None:
    """Write a column while gradients may be asked for."""
    assert not torch.is_grad_enabled()
    place.x.add_(1.0)


def test_systems_run_without_gradients():
    simulation = build(toy({**toy_systems(), "OBSERVE": [system(train)]}), check=False)
    simulation.run(2)
    list(simulation.schedule.steps())
    assert torch.is_grad_enabled()


def rebind(place: Write[Place]) -> None:
    """Try to replace the storage."""
    place.x = torch.zeros(1)


def test_system_cannot_replace_storage():
    simulation = build(toy({**toy_systems(), "OBSERVE": [system(rebind)]}), check=False)
    with pytest.raises(AccessError):
        simulation.run()


def test_observers_are_called_after_every_system():
    simulation = build(toy())
    seen: list[str] = []
    simulation.schedule.attach(Observer(after_entry=lambda entry: seen.append(entry.name)))
    simulation.run()
    assert seen == ["mark_all", "restart", "measure", "look"]


def test_observers_are_called_in_order_around_every_tick_and_system():
    simulation = build(toy())
    seen: list[str] = []
    watch = Observer(
        before_tick=lambda: seen.append("before tick"),
        before_entry=lambda entry: seen.append(f"before {entry.name}"),
        after_entry=lambda entry: seen.append(f"after {entry.name}"),
        at_finish=lambda: seen.append("finish"),
        after_tick=lambda: seen.append("after tick"),
    )
    simulation.schedule.attach(Observer(after_tick=lambda: seen.append("second")))
    simulation.schedule.attach(Observer(after_tick=lambda: seen.append("first")), first=True)
    simulation.schedule.attach(watch)
    simulation.schedule.attach(watch)
    simulation.run()
    names = ["mark_all", "restart", "measure", "look"]
    systems = [f"{moment} {name}" for name in names for moment in ("before", "after")]
    assert seen == ["before tick", *systems, "first", "second", "after tick"]
    seen.clear()
    simulation.run()
    assert seen.count("finish") == 1
    simulation.schedule.detach(watch)
    simulation.schedule.detach(watch)
    seen.clear()
    simulation.run()
    assert seen == ["first", "second"]


def test_observers_attached_before_a_tick_see_that_tick():
    simulation = build(toy())
    seen: list[str] = []
    late = Observer(before_tick=lambda: seen.append("before"), after_tick=lambda: seen.append("after"))
    simulation.schedule.attach(Observer(before_tick=lambda: simulation.schedule.attach(late)))
    simulation.run()
    assert seen == ["before", "after"]


def test_unobserved_ticks_are_not_seen_and_not_timed():
    simulation = build(toy())
    seen: list[int] = []
    watch = Observer(after_tick=lambda: seen.append(simulation.world.clock.tick))
    simulation.schedule.attach(watch)
    simulation.run(2)
    calls = [entry.calls for entry in simulation.schedule.entries]
    with simulation.schedule.unobserved():
        simulation.run(2)
    assert [entry.calls for entry in simulation.schedule.entries] == calls
    simulation.run()
    assert seen == [0, 1, 4] and simulation.schedule.observers == [watch]


# Random streams.


def draw(rng: Rng, place: Write[Place]) -> None:
    """Draw."""
    place.x.copy_(torch.rand(place.x.shape, generator=rng))


def test_another_drawing_system_changes_no_other_draw():
    """`move` draws from its own stream, so `draw` on its own columns leaves it alone."""
    alone = run(5).world
    extra = Bundle("extra", [Age], [], {"BEGIN": [system(draw)]})
    beside = build(toy(None, extra), check=False)
    beside.run(5)
    assert_close(beside.world[Distance].value, alone[Distance].value, rtol=0, atol=0)


def test_streams_belong_to_bundle_and_system():
    assert set(run().world.generators) == {"toy.move"}


def test_two_different_systems_of_one_name():
    systems = {**toy_systems(), "OBSERVE": [system(measure, name="finish")]}
    assert complaint(toy(systems)) == (
        "BuildError: Bundle 'toy' has two different systems called `finish`; give one of them a name=."
    )


# Several tables.


def reach(place: Place, ball: Write[Place]) -> None:
    """Move the ball to the point."""
    ball.x.copy_(place.x)


def shove(place: Write[Place]) -> None:
    """Move everything."""
    place.x.add_(1.0)


def tables(systems: list[Any], *, balls: int = 2) -> Scene:
    """Points (2 rows, Place and Age) and balls (Place only)."""
    points = Bundle("points", [Place, Age], [], {"OBSERVE": systems}, table="points")
    return Scene(
        [table("points", rows=2), table("balls", rows=balls)], [points, Bundle("balls", [Place], table="balls")], TICK
    )


def test_system_runs_once_for_every_table_that_has_its_components():
    simulation = build(tables([system(shove)], balls=3))
    simulation.run()
    assert_close(simulation.world["points", Place].x, torch.ones(2, 2))
    assert_close(simulation.world["balls", Place].x, torch.ones(3, 2))


def aim(age: Age, place: Place, ball: Write[Place]) -> None:
    """Move the ball to the point; only points have an age."""
    ball.x.copy_(place.x + age.moves.unsqueeze(-1))


def test_redirected_parameter_is_of_the_other_table():
    simulation = build(tables([system(aim, tables={"ball": "balls"})]))
    simulation.world["points", Place].x.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    simulation.world["points", Age].moves.fill_(10)
    simulation.run()
    assert_close(simulation.world["balls", Place].x, torch.tensor([[11.0, 12.0], [13.0, 14.0]]))
    (entry,) = simulation.schedule.entries
    assert entry.table == "points"
    assert entry.reads == (("points", Age), ("points", Place))
    assert entry.writes == (("balls", Place),)


def test_system_with_all_parameters_redirected_runs_once():
    simulation = build(tables([system(reach, tables={"place": "points", "ball": "balls"})]))
    assert [e.table for e in simulation.schedule.entries] == ["points"]


@pytest.mark.parametrize(
    ("redirect", "text"),
    [
        ({"bal": "balls"}, "`aim` points 'bal' at table 'balls', but takes age, place, ball. Did you mean ball?"),
        (
            {"ball": "bals"},
            "`aim` points 'ball' at table 'bals', which the scene does not have: points, balls. Did you mean balls?",
        ),
        ({"age": "balls"}, "`aim` points 'age' at table 'balls', which lacks Age. Add the bundle that brings it."),
    ],
)
def test_redirection_that_leads_nowhere(redirect: dict[str, str], text: str):
    assert complaint(tables([system(aim, tables=redirect)])) == f"BuildError: {text}"


def test_redirected_tables_are_equally_long():
    assert complaint(tables([system(aim, tables={"ball": "balls"})], balls=3)) == (
        "BuildError: `aim` runs on table 'points' (2 rows) but points 'ball' at table 'balls' (3 rows); "
        "they must be equally long."
    )


def test_no_table_has_everything():
    scene = tables([system(measure)])
    assert complaint(scene) == (
        "BuildError: No table has everything that `measure` touches. The closest is 'points', which lacks Distance. "
        "Add the bundle that brings it."
    )


def test_missing_resource_is_named():
    bundle = Bundle("b", [Place, Age], [], {"MOVE": [system(move)]})
    assert complaint(Scene([table("t", rows=1)], [bundle], TICK)) == (
        "BuildError: No bundle brings the resource Wind. Resources here: Clock. "
        "Add the bundle that owns it, or pass an instance in Bundle(resources=[...])."
    )


# Addresses.


def test_every_constant_and_setting_has_an_address():
    known = addresses(toy().bundles)
    assert set(known) == {"toy.move.step", "toy.finish.limit", "toy.look.far.scale", "toy.look.far.weight"}
    (place,) = known["toy.look.far.scale"]
    assert (place.holder[place.key], place.type) == (1.0, float)


def test_system_that_stands_twice_has_one_address_and_two_places():
    systems = {"SENSE": [system(finish)], "OBSERVE": [system(finish, limit=math.inf)]}
    assert len(addresses(toy(systems).bundles)["toy.finish.limit"]) == 2


def test_arrangement_names_phase_and_bundle():
    placed = arrange(TICK, toy().bundles)
    assert [(phase, bundle, s.name) for phase, bundle, s in placed][:3] == [
        ("BEGIN", "toy", "mark_all"),
        ("MOVE", "toy", "move"),
        ("SENSE", "toy", "measure"),
    ]


def narrow_work(log: Write[Log]) -> None:
    """One thread is enough."""
    log.digits.add_(1)


def wide_work(log: Write[Log]) -> None:
    """All threads help."""
    log.digits.add_(1)


def test_only_wide_systems_use_all_threads_and_the_setting_is_put_back() -> None:
    seen: dict[str, int] = {}

    def note(entry: Entry) -> None:
        seen[entry.name] = torch.get_num_threads()
        entry.call()

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        simulation = build(
            Scene(
                [table("t", rows=2)],
                [Bundle("b", [Log], systems={"GO": [system(narrow_work), system(wide_work, wide=True)]})],
                Tick(("GO",)),
            )
        )
        simulation.schedule.wrap = note
        simulation.run(2)
        assert seen == {"narrow_work": 1, "wide_work": 3}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
