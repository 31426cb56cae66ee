"""The ring: going back to any tick, returning, branching, and what it refuses."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Bundle, Simulation, World, build, constant, resource, system
from engine.ecs.schedule import Observer
from engine.errors import ReplayError, SceneError
from engine.snapshot.history import Ring
from engine.snapshot.snapshot import restore, save
from tests.engine.toy import Place, Wind, toy, toy_systems

Bytes = tuple[bytes, bytes]


def everything(world: World) -> Bytes:
    """What the next tick depends on, and every column, signals included."""
    return save(world), b"".join(column.numpy().tobytes() for column in world.columns().values())


def size(**options: Any) -> int:
    """Bytes of one snapshot of the toy scene in a ring."""
    return Ring(build(toy(**options))).num_bytes


SIZE = size()


def ringed(ticks: int = 0, *, every: int = 5, snapshots: int = 100) -> tuple[Simulation, Ring, dict[int, Bytes]]:
    """The toy scene with a ring, and everything after each of its ticks."""
    simulation = build(toy())
    ring = Ring(simulation, every=every, budget=snapshots * SIZE)
    seen = {-1: everything(simulation.world)}
    for tick in range(ticks):
        simulation.run()
        seen[tick] = everything(simulation.world)
    return simulation, ring, seen


def test_every_tick_since_the_beginning_can_be_sought_in_any_order() -> None:
    simulation, ring, seen = ringed(23)
    assert ring.ticks == range(-1, 23) and ring.kept == [-1, 4, 9, 14, 19] and ring.tick == 22
    for tick in [7, 4, 22, -1, 0, 8, 9, 21, 3]:
        ring.seek(tick)
        assert ring.tick == tick and ring.viewing
        assert everything(simulation.world) == seen[tick]
    ring.live()
    assert not ring.viewing and everything(simulation.world) == seen[22]


def test_going_on_after_looking_around_is_going_on() -> None:
    simulation, ring, _ = ringed(12)
    ring.seek(3)
    ring.live()
    simulation.run(8)
    undisturbed = build(toy())
    undisturbed.run(20)
    assert everything(simulation.world) == everything(undisturbed.world)
    assert ring.ticks == range(-1, 20)


def test_ring_does_not_disturb_the_run() -> None:
    simulation, _, _ = ringed(20, every=3)
    undisturbed = build(toy())
    undisturbed.run(20)
    assert everything(simulation.world) == everything(undisturbed.world)


def test_oldest_snapshots_make_room_in_the_budget_and_their_memory_is_used_again() -> None:
    simulation, ring, _ = ringed(12, every=2, snapshots=4)
    assert ring.kept == [7, 9, 11] and ring.ticks == range(7, 12)
    places = {m.snapshot.columns["points.Place.x"].data_ptr() for m in [*ring._moments, *ring._spare]}  # type: ignore[index]
    for _ in range(10):
        simulation.run(2)
        assert ring.num_bytes <= 4 * SIZE
        assert {m.snapshot.columns["points.Place.x"].data_ptr() for m in ring._moments} <= places  # type: ignore[index]
    assert ring.kept == [27, 29, 31]


@pytest.mark.parametrize("tick", [6, -1, 12, 1000])
def test_tick_out_of_range_is_a_sentence_and_changes_nothing(tick: int) -> None:
    simulation, ring, seen = ringed(12, every=2, snapshots=4)
    with pytest.raises(ReplayError) as error:
        ring.seek(tick)
    assert str(error.value) == (
        f"The ring reaches from tick 7 to tick 11; tick {tick} is not among them. A larger budget= keeps more of the past."
    )
    assert everything(simulation.world) == seen[11] and not ring.viewing


def test_budget_that_does_not_hold_two_snapshots_is_refused() -> None:
    with pytest.raises(SceneError) as error:
        Ring(build(toy()), budget=2 * SIZE - 1)
    assert str(error.value) == (
        f"Ring(budget={2 * SIZE - 1:,}) does not hold two snapshots of 'toy', which take {2 * SIZE:,} bytes; one to go back "
        "to and one of the present are the least. Give it more, or simulate fewer rows."
    )
    with pytest.raises(SceneError, match=r"Ring\(every=0\) makes no sense; a snapshot is kept every 1 tick or more"):
        Ring(build(toy()), every=0)


def test_least_budget_reaches_back_to_the_newest_snapshot() -> None:
    simulation, ring, seen = ringed(13, every=5, snapshots=2)
    assert ring.kept == [9]
    for tick in (9, 12, 10):
        ring.seek(tick)
        assert everything(simulation.world) == seen[tick] and ring.num_bytes <= 2 * SIZE
    ring.branch()
    assert ring.abandoned is None and ring.num_bytes <= 2 * SIZE
    ring.live()
    simulation.run()
    assert everything(simulation.world) == seen[11]


def test_running_while_a_tick_is_in_view_is_refused_and_changes_nothing() -> None:
    simulation, ring, seen = ringed(12)
    ring.seek(6)
    for attempt in (simulation.run, lambda: next(simulation.schedule.steps())):
        with pytest.raises(ReplayError) as error:
            attempt()
        assert str(error.value) == (
            "Tick 6 is in view and tick 11 is the present, so there is nothing to go on from. Call live() to go on from "
            "the present, or branch() to go on from the tick in view."
        )
        assert everything(simulation.world) == seen[6]
    ring.live()
    simulation.run()
    assert ring.tick == 12


def test_branch_goes_on_from_the_tick_in_view_and_keeps_the_future_it_gives_up() -> None:
    simulation, ring, seen = ringed(18, every=5)
    ring.seek(11)
    simulation.world[Place].x[2] = 0.5
    edited = everything(simulation.world)
    ring.branch()
    assert not ring.viewing and ring.kept == [-1, 4, 9, 11] and ring.ticks == range(-1, 12)
    assert ring.abandoned is not None and ring.abandoned.encode() == seen[17][0]
    simulation.run(4)
    alone = build(toy(), seed=5)
    restore(alone.world, edited[0])
    alone.run(4)
    assert everything(simulation.world) == everything(alone.world)
    for tick in (3, 10):
        ring.seek(tick)
        assert everything(simulation.world) == seen[tick]
    ring.seek(11)
    assert everything(simulation.world) == edited  # as it went on from there


def test_branching_without_a_tick_in_view_is_refused() -> None:
    _, ring, _ = ringed(3)
    with pytest.raises(ReplayError, match="Tick 2 is the present, so there is nothing to branch off"):
        ring.branch()


def test_edit_while_viewing_is_gone_after_seeking_on_or_returning() -> None:
    simulation, ring, seen = ringed(12)
    for after in (6, 7, 3):
        ring.seek(6)
        simulation.world[Place].x[0] = 9.0
        ring.seek(after)
        assert everything(simulation.world) == seen[after]
    simulation.world[Wind].gusts = 7
    ring.live()
    assert everything(simulation.world) == seen[11]


@pytest.mark.parametrize("what", ["column", "resource tensor", "resource number"])
def test_what_is_written_by_hand_between_ticks_is_part_of_the_past(what: str) -> None:
    simulation, ring, seen = ringed(12)
    if what == "column":
        simulation.world[Place].x[1] = 0.25
    elif what == "resource tensor":
        simulation.world[Wind].push.fill_(0.2)
    else:
        simulation.world[Wind].gusts = 3
    seen[11] = everything(simulation.world)
    for tick in range(12, 15):
        simulation.run()
        seen[tick] = everything(simulation.world)
    assert ring.kept == [-1, 4, 9, 11]
    for tick in (13, 11, 10, 12, 14):
        ring.seek(tick)
        assert everything(simulation.world) == seen[tick]


def test_edit_of_the_present_survives_a_look_around() -> None:
    simulation, ring, _ = ringed(8)
    simulation.world[Place].x[1] = 0.25
    edited = everything(simulation.world)
    ring.seek(2)
    ring.live()
    assert everything(simulation.world) == edited
    ring.seek(7)
    assert everything(simulation.world) == edited


def test_keep_takes_what_no_counter_shows() -> None:
    simulation, ring, _ = ringed(8)
    simulation.world.generator("toy.move").manual_seed(123)
    ring.keep()
    simulation.run(2)
    expected = everything(simulation.world)
    simulation.run(1)
    ring.seek(9)
    assert everything(simulation.world) == expected
    with pytest.raises(ReplayError, match=r"Tick 9 is in view; only the present after a whole tick can be kept\."):
        ring.keep()


def test_observers_do_not_see_ticks_that_are_run_again() -> None:
    simulation, ring, _ = ringed(8)
    seen: list[int] = []
    simulation.schedule.attach(Observer(after_tick=lambda: seen.append(ring.tick)))
    simulation.schedule.attach(Observer(at_finish=lambda: seen.append(-ring.tick)))
    simulation.run()
    ring.seek(3)
    ring.live()
    simulation.run()
    assert seen == [-8, 8, -9, 9]


def test_whoever_waits_between_systems_is_not_asked_when_ticks_run_again() -> None:
    simulation, ring, _ = ringed(8)
    seen: list[int] = []
    waiting = Observer(before_entry=lambda entry: seen.append(ring.tick))
    simulation.schedule.attach(waiting)
    ring.seek(3)
    ring.live()
    assert seen == [] and waiting in simulation.schedule.observers
    simulation.run()
    assert set(seen) == {8}


def test_snapshot_at_a_tick_leaves_the_world_as_it_was() -> None:
    simulation, ring, seen = ringed(13)
    assert ring.snapshot_at(7).encode() == seen[7][0]
    assert everything(simulation.world) == seen[12] and not ring.viewing
    ring.seek(3)
    simulation.world[Place].x[1] = 0.25
    edited = everything(simulation.world)
    taken = ring.snapshot_at(9)
    assert taken.tick == 9 and taken.encode() == seen[9][0]
    assert everything(simulation.world) == edited and ring.viewing
    with pytest.raises(ReplayError):
        ring.snapshot_at(13)
    assert everything(simulation.world) == edited
    ring.seek(4)
    assert everything(simulation.world) == seen[4]
    ring.live()
    simulation.run(30)
    assert taken.encode() == seen[9][0]


def test_world_that_is_restored_from_elsewhere_begins_a_past_of_its_own() -> None:
    simulation, ring, seen = ringed(20)
    restore(simulation.world, seen[6][0])
    assert ring.ticks == range(6, 7)
    simulation.run(6)
    assert ring.kept == [6, 11] and ring.ticks == range(6, 13)
    assert everything(simulation.world) == seen[12]
    ring.seek(8)
    assert everything(simulation.world) == seen[8]
    restore(simulation.world, seen[17][0])
    ring.branch()
    assert ring.kept == [17] and ring.ticks == range(17, 18)


class Interrupted(Exception):
    """What breaks a tick off."""


@resource
class Fuse:
    """Blows in the tick of that number."""

    tick: int = constant(default=-5)


def burn(fuse: Fuse, wind: Wind) -> None:
    """Break the tick off."""
    if wind.gusts == fuse.tick:
        raise Interrupted


def test_tick_that_broke_off_never_happened() -> None:
    systems = toy_systems()
    systems["SENSE"].append(system(burn))
    simulation = build(toy(systems, Bundle("more", resources=[Fuse()])))
    ring = Ring(simulation, every=4)
    simulation.run(11)
    seen = {tick: ring.snapshot_at(tick).encode() for tick in (5, 10)}
    simulation.world[Fuse].tick = 0
    with pytest.raises(Interrupted):
        simulation.run()
    assert ring.ticks == range(-1, 11)
    simulation.world[Fuse].tick = -5
    ring.seek(5)
    assert save(simulation.world) == seen[5]
    ring.live()
    assert save(simulation.world) == seen[10]


def test_tick_that_was_stepped_halfway_cannot_be_finished_behind_a_seek() -> None:
    simulation, ring, seen = ringed(8)
    steps = simulation.schedule.steps()
    next(steps)
    next(steps)
    with pytest.raises(ReplayError, match=r"Tick 8 is not over; only the present after a whole tick can be kept\."):
        ring.keep()
    ring.seek(4)
    assert everything(simulation.world) == seen[4]
    with pytest.raises(ReplayError, match="had begun before seek"):
        list(steps)
    ring.live()
    assert save(simulation.world) == seen[7][0]


def test_close_returns_to_the_present_and_leaves_the_schedule_alone() -> None:
    simulation, ring, seen = ringed(8)
    with ring:
        ring.seek(2)
    assert everything(simulation.world) == seen[7]
    schedule = simulation.schedule
    assert schedule.observers == []
    simulation.run(3)
    ring.close()


@resource
class Vague:
    """Says that it cannot be resumed exactly."""

    exact_resume: bool = constant(default=False)


def test_exactness_is_what_every_resource_claims() -> None:
    assert Ring(build(toy())).exact
    assert not Ring(build(toy(None, Bundle("more", resources=[Vague()])))).exact


ACTIONS = st.one_of(
    st.tuples(st.just("run"), st.integers(1, 9)),
    st.tuples(st.just("seek"), st.floats(0.0, 1.0)),
    st.tuples(st.just("snapshot_at"), st.floats(0.0, 1.0)),
    st.tuples(st.just("edit"), st.integers(0, 3)),
    st.tuples(st.sampled_from(["live", "branch", "keep", "gust"]), st.none()),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ACTIONS, max_size=25), st.integers(1, 7), st.integers(2, 6))
def test_ring_is_a_list_of_everything_that_ever_was(actions: list[tuple[str, Any]], every: int, snapshots: int) -> None:
    """Against the plainest model there is: everything after every tick of the line that led to the present."""
    simulation, ring, line = ringed(0, every=every, snapshots=snapshots)
    world = simulation.world
    check: Callable[[], Bytes] = partial(everything, world)
    view: int | None = None
    for action, value in actions:
        present = max(line)
        if action == "run" and view is None:
            start = line[present][0]
            for tick in range(present + 1, present + 1 + value):
                simulation.run()
                line[tick] = check()
            alone = build(toy(), seed=77)
            restore(alone.world, start)
            alone.run(value)
            assert save(alone.world) == line[present + value][0]
        elif action == "run":
            before = check()
            with pytest.raises(ReplayError):
                simulation.run()
            assert check() == before
        elif action in ("seek", "snapshot_at"):
            reach = ring.ticks
            tick = reach[round(value * (len(reach) - 1))]
            if action == "seek":
                ring.seek(tick)
                assert check() == line[tick]
                view = tick
            else:
                before = check()
                assert ring.snapshot_at(tick).encode() == line[tick][0]
                assert check() == before
        elif action == "live":
            ring.live()
            assert check() == line[present]
            view = None
        elif action == "branch" and view is not None:
            ring.branch()
            line = {tick: state for tick, state in line.items() if tick <= view} | {view: check()}
            view = None
        elif action == "keep" and view is None:
            ring.keep()
        elif action in ("edit", "gust"):
            if action == "edit":
                world[Place].x[value] += torch.tensor([0.1, -0.2])
            else:
                world[Wind].gusts += 1
            if view is None:
                line[present] = check()
        assert ring.viewing == (view is not None)
        assert ring.ticks[-1] == max(line) and ring.num_bytes <= snapshots * SIZE
        gaps = [b - a for a, b in zip(ring.kept, [*ring.kept[1:], max(line)], strict=True)]
        assert all(gap <= every for gap in gaps)
