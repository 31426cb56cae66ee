"""Whole trainings cut into blocks, in one process and in threads that stand for several."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from engine import (
    BuildError,
    Bundle,
    Rng,
    Scene,
    SceneError,
    Tick,
    Write,
    any_row,
    build,
    column,
    component,
    resource,
    system,
    table,
)
from engine.ecs.scene import Simulation
from engine.ranks.agreement import agreed, audit, digests, refuse_differences
from engine.ranks.blocks import Blocks
from engine.ranks.distribution import Distribution, on_rows_of_all, refuse_blocks, usual_block
from engine.ranks.logical import SnapshotOfAll, fitted
from engine.ranks.ranks import RankError
from engine.ranks.sharing import GATHERED, REDUCED, Combination, Summed, summed
from engine.snapshot.snapshot import Snapshot, capture, restore
from scenes.cartpole import balancing
from systems.learning.config import PpoConfig
from systems.metrics import metrics
from systems.ppo import play, ppo
from tests.engine.ranks.threads import ThreadRanks, together

LEARNER = PpoConfig(horizon=8, hidden=(16, 16), epochs=2, minibatches=2)
ROWS, BLOCK = 128, 32
BUILDING = threading.Lock()  # a policy begins with torch's own stream, which threads, unlike processes, share


def cartpole(ranks: ThreadRanks | None = None, rows: int = ROWS) -> Simulation:
    own = rows // (ranks.size if ranks else 1)
    with BUILDING:
        simulation = build(balancing(own, ppo(LEARNER), metrics(horizon=LEARNER.horizon)), seed=3)
    Distribution(simulation, BLOCK, ranks)
    return simulation


def run_and_take(ticks: int, ranks: ThreadRanks, start: bytes | None = None) -> bytes | None:
    simulation = cartpole(ranks)
    whole = SnapshotOfAll(simulation.world, ranks)
    if start is not None:
        restore(simulation.world, fitted(Snapshot.decode(start), simulation.world, ranks))
    simulation.run(ticks)
    if ranks.rank:
        whole.take_part()
        return None
    return whole.capture(simulation.world).encode()


def alone(ticks: int, start: bytes | None = None) -> bytes:
    simulation = cartpole()
    if start is not None:
        restore(simulation.world, fitted(Snapshot.decode(start), simulation.world))
    simulation.run(ticks)
    return capture(simulation.world).encode()


def test_one_two_and_four_processes_reach_the_same_snapshot_byte_for_byte():
    wanted = alone(25)  # three iterations
    for size in (2, 4):
        found = together(size, partial(run_and_take, 25))
        assert found[0] == wanted


def test_a_run_goes_on_with_any_number_of_processes_even_in_the_middle_of_an_iteration():
    wanted = alone(25)
    four = together(4, partial(run_and_take, 12))[0]
    two = together(2, partial(run_and_take, 8, start=four))[0]
    assert alone(5, start=two) == wanted


def test_without_blocks_a_run_is_another_one_that_learns_as_much():
    plain = build(balancing(ROWS, ppo(LEARNER), metrics(horizon=LEARNER.horizon)), seed=3)
    plain.run(25)
    taken = capture(plain.world)
    assert "Blocks" not in taken.resources and "Blocks" not in taken.fingerprint["resources"]
    assert taken.encode() != alone(25)


def test_a_snapshot_without_blocks_goes_on_in_blocks_and_back():
    plain = build(balancing(ROWS, ppo(LEARNER), metrics(horizon=LEARNER.horizon)), seed=3)
    plain.run(9)
    began = capture(plain.world).encode()
    assert together(2, partial(run_and_take, 8, start=began))[0] == alone(8, start=began)
    back = alone(8, start=began)
    restore(plain.world, fitted(Snapshot.decode(back), plain.world))
    assert plain.world.clock.tick == 16


def test_a_tick_that_is_run_again_draws_the_same():
    simulation = cartpole()
    simulation.run(12)
    before = capture(simulation.world)
    simulation.run(1)
    after = capture(simulation.world).encode()
    for _ in range(2):
        restore(simulation.world, before)
        simulation.run(1)
        assert capture(simulation.world).encode() == after


def test_processes_draw_other_numbers_for_their_rows_from_one_seed():
    first, second = together(2, lambda ranks: _begun(ranks).columns()["cart.Cart.position"].clone())
    assert not torch.equal(first, second)


def _begun(ranks: ThreadRanks) -> Any:
    simulation = cartpole(ranks)
    simulation.run(1)
    return simulation.world


def test_normalisers_have_the_moments_of_all_rows():
    def moments(ranks: ThreadRanks) -> tuple[Tensor, Tensor, Tensor]:
        simulation = cartpole(ranks)
        simulation.run(9)
        actor, seen = (
            simulation.world.resource(_policy(simulation)).actor,
            simulation.world.columns()["cart.Rollout.actor"],
        )
        return actor.normaliser.mean.clone(), actor.normaliser.count.clone(), ranks.gather(seen).flatten(0, 2)

    for mean, count, seen in together(2, moments):
        assert torch.allclose(mean, seen.double().mean(0).float(), atol=1e-6) and count == len(seen) == ROWS * 8


def _policy(simulation: Simulation) -> type:
    return next(cls for cls in simulation.world.resources if cls.__name__ == "Policy")


# -- what is shared, and how ---------------------------------------------------------------------------


@component
class Grain:
    """A number for each row."""

    value: Tensor = column()
    full: Tensor = column(dtype=torch.bool)


@resource
class Undeclared:
    """Says nothing."""

    value: Tensor


@resource
class Everybodys:
    """Made of the rows of all processes."""

    COMBINED: ClassVar[Combination] = GATHERED
    value: Tensor


@resource
class AddedUp:
    """To which rows add."""

    COMBINED: ClassVar[Summed] = summed("value")
    value: Tensor
    latest: Tensor


@resource
class ByItself:
    """Whose systems sum over processes."""

    COMBINED: ClassVar[Combination] = REDUCED
    value: Tensor


def fill(rng: Rng, grain: Write[Grain]) -> None:
    """Draw a number for each row; few are large."""
    grain.value.copy_(torch.rand(grain.value.shape, generator=rng))
    grain.full.copy_(grain.value > 0.98)


def write_undeclared(grain: Grain, shared: Write[Undeclared]) -> None:
    """Write shared state from own rows."""
    shared.value.copy_(grain.value.mean())


def write_gathered(grain: Grain, shared: Write[Everybodys]) -> None:
    """The largest number, and how often it was asked for."""
    shared.value.copy_(torch.stack((grain.value.max(), shared.value[1] + 1.0)))


def add_up(grain: Grain, shared: Write[AddedUp]) -> None:
    """Add the numbers of all rows."""
    shared.value.add_(grain.value.sum(dtype=torch.float64))


def flush(shared: Write[AddedUp]) -> None:
    """Keep the sum."""
    shared.latest.copy_(shared.value)
    shared.value.zero_()


def write_reduced(grain: Grain, shared: Write[ByItself]) -> None:
    """Forget the other processes."""
    shared.value.copy_(grain.value.mean())


@on_rows_of_all
def number(grain: Write[Grain]) -> None:
    """Give each row its number."""
    grain.value.copy_(torch.arange(len(grain.value)))


def sand(*systems: Any, rows: int = 128, extra: tuple[Any, ...] = ()) -> Scene:
    shared = [Undeclared(value=torch.zeros(())), Everybodys(value=torch.zeros(2)), ByItself(value=torch.zeros(()))]
    shared += [
        AddedUp(value=torch.zeros((), dtype=torch.float64), latest=torch.zeros((), dtype=torch.float64)),
        Blocks(),
        *extra,
    ]
    bundle = Bundle("sand", [Grain], shared, {"A": [system(fill)], "B": list(systems), "C": [system(flush)]})
    return Scene([table("grain", rows=rows)], [bundle], Tick(phases=("A", "B", "C")))


def spread(ticks: int, *systems: Callable[[], Any]) -> Callable[[ThreadRanks], Simulation]:
    def run(ranks: ThreadRanks) -> Simulation:
        simulation = build(sand(*(each() for each in systems), rows=128 // ranks.size))
        Distribution(simulation, 32, ranks if ranks.size > 1 else None)
        simulation.run(ticks)
        return simulation

    return run


def test_a_system_that_writes_shared_state_from_its_own_rows_is_refused():
    with pytest.raises(
        BuildError,
        match=r"`write_undeclared` \(B\) of bundle 'sand' writes Undeclared from the rows of one process, and Undeclared does not say",
    ):
        Distribution(build(sand(system(write_undeclared))), 32)
    with pytest.raises(BuildError, match=r"`write_reduced` \(B\).*does not take Blocks, by which it would sum"):
        Distribution(build(sand(system(write_reduced))), 32)


def test_sums_and_gathered_numbers_are_those_of_all_rows_and_the_same_everywhere():
    each = (lambda: system(add_up), lambda: system(write_gathered, when=any_row(Grain, "full")))
    wanted = together(1, spread(5, *each))[0].world
    for size in (2, 4):
        for found in together(size, spread(5, *each)):
            assert torch.equal(found.world[AddedUp].latest, wanted[AddedUp].latest)
            assert torch.equal(found.world[Everybodys].value, wanted[Everybodys].value)
    assert 50.0 < wanted[AddedUp].latest < 78.0  # the sum of 128 numbers in [0, 1)
    assert wanted[Everybodys].value[1] >= 1.0


def test_a_row_has_the_number_that_it_has_among_all():
    found = together(4, spread(1, lambda: system(number)))
    assert torch.equal(torch.cat([each.world[Grain].value for each in found]), torch.arange(128.0))


def test_an_audit_names_the_first_shared_state_that_differs():
    def run(ranks: ThreadRanks) -> str:
        simulation = spread(1, lambda: system(write_gathered))(ranks)
        audit(ranks, simulation.world)
        if ranks.rank == 1:
            simulation.world[Everybodys].value[0] += 1e-6
        try:
            audit(ranks, simulation.world)
        except RankError as error:
            return str(error)
        return "nothing"

    errors = together(2, run)
    assert (
        errors[0].startswith(
            "At tick 0 Everybodys.value of rank 1 is not that of rank 0, though all processes share it."
        )
        and errors[1] == ""
    )


def test_digests_are_of_shared_state_only():
    names = digests(cartpole().world)
    assert (
        "Policy.learning_rate" in names
        and "Clock.tick" in names
        and not any(name.startswith("Blocks") for name in names)
    )


# -- what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "size", "ranks", "text"),
    [
        (100, 32, 2, "100 rows do not make whole blocks of 32 rows. The nearest numbers of rows that fit are 96 and 128."),
        (64, 16, 2, "Blocks of 16 rows are not possible; give a multiple of 32, such as 32."),
        (64, 32, 4, "4 processes are more than the 2 blocks of 32 rows that 64 rows make: start fewer, or simulate at least 128 rows."),
        (256, 128, 4, "4 processes are more than the 2 blocks of 128 rows that 256 rows make: say --row-blocks 64, start fewer, or simulate at least 512 rows."),
        (320, 64, 2, "320 rows make 5 blocks of 64, which 2 processes cannot share evenly. The nearest numbers of rows that fit are 256 and 384."),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit_are_refused_with_the_nearest_that_do(rows: int, size: int, ranks: int, text: str):
    with pytest.raises(SceneError) as error:
        refuse_blocks(rows, size, ranks)
    assert str(error.value) == text
    with pytest.raises(SceneError, match=r"cannot be cut into blocks.*are 96 and 128"):
        usual_block(100)


def test_blocks_follow_from_the_number_of_rows_alone():
    assert [usual_block(rows) for rows in (32, 64, 128, 256, 512, 1024, 4096, 96)] == [32, 32, 32, 32, 64, 128, 128, 32]


def test_a_scene_without_a_learner_that_sums_over_processes_is_refused():
    scene = balancing(64, play(LEARNER))
    with pytest.raises(SceneError, match="The scene 'cartpole' has no learner whose work can be shared"):
        Distribution(build(scene), 32)


def test_the_first_difference_between_processes_is_said_by_the_one_that_differs():
    def compare(ranks: ThreadRanks) -> str:
        facts = {"the version of torch": "2.13", "--seed": ranks.rank if ranks.rank < 2 else 0, "the clip walk": "a"}
        try:
            refuse_differences(ranks, facts)
        except (SceneError, RankError) as error:
            return str(error)
        return "agreed"

    errors = together(3, compare)
    assert errors[1].startswith("Rank 1 (host here) does not agree with rank 0 on --seed: it has 1, rank 0 0.")
    assert errors[0] == errors[2] == ""


def test_a_mistake_of_all_is_said_once_and_that_of_one_by_that_one():
    def fail(text: str) -> None:
        raise SceneError(text)

    def everybody(ranks: ThreadRanks) -> str:
        with pytest.raises((SceneError, RankError)) as error:
            agreed(ranks, lambda: fail("No such clip."))
        return str(error.value)

    def second(ranks: ThreadRanks) -> str:
        with pytest.raises((SceneError, RankError)) as error:
            agreed(ranks, lambda: fail("No such clip.") if ranks.rank == 1 else None)
        return str(error.value)

    assert together(3, everybody) == ["No such clip.", "", ""]
    assert together(3, second) == ["", "Rank 1 of 3 (host here): No such clip.", ""]
