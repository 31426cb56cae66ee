"""Learning in imagination that changes over to PPO: when it does, and bit for bit."""

from typing import Any

import attrs
import pytest
import torch

from components.learning import LearningMetrics, Policy
from components.world_model import BestPolicy, Fallback, Memory
from engine import SceneError, Simulation
from engine.snapshot.history import Ring
from engine.snapshot.snapshot import restore, save
from systems.auto import auto as bundle
from systems.learning.alarms import alarms
from systems.learning.best import PATIENCE
from systems.learning.config import PpoConfig
from tests.exactness.test_world_model import SMALL, tracking

HORIZON = 8  # ticks of an iteration of PPO
PARTING = attrs.evolve(SMALL, collect=2, updates=1, batch=4, horizon=2, first_fits=2, most_gap=1e-9, critic_first=1)
SWITCH = 56  # the first end of an iteration with 20 comparisons, one every 2 ticks from tick 18 on
TICKS = SWITCH + 2 * HORIZON + 2


def auto(seed: int = 0, **arguments: Any) -> Simulation:
    """Eight little humanoids whose imagined rewards count as parted as soon as they are judged."""
    return tracking(seed, **{"world_model": PARTING, **arguments}, learner="auto", horizon=HORIZON)


@pytest.fixture(scope="module")
def reference() -> bytes:
    """What an uninterrupted run on one thread comes to."""
    simulation = auto(physics_threads=1)
    simulation.schedule.threads = 1
    simulation.run(TICKS)
    return save(simulation.world)


def test_ppo_takes_over_from_the_best_policy_at_the_end_of_the_iteration_in_which_rewards_part():
    assert 18 + 2 * (PATIENCE - 1) == SWITCH
    simulation = auto()
    simulation.run(SWITCH)  # the first tick is number 0
    world = simulation.world
    assert not world[Fallback].ppo and "fallback" not in alarms(world) and not world[LearningMetrics].gradient_norm
    simulation.run(1)
    fallback, remembered = world[Fallback], int(world[Memory].count[0])
    assert (float(fallback.ppo), float(fallback.tick)) == (1.0, SWITCH)
    assert "parted" in alarms(world) and f"PPO goes on from tick {SWITCH}" in alarms(world)["fallback"]
    actor = world[Policy].actor.state_dict()
    assert all(torch.equal(tensor, actor[name]) for name, tensor in world[BestPolicy].actor.items())
    critic = world[Policy].critic.body.layers[0].weight.clone()
    simulation.run(HORIZON)
    assert float(world[LearningMetrics].gradient_norm) > 0 and int(world[Memory].count[0]) == remembered
    assert all(
        torch.equal(tensor, actor[name]) for name, tensor in world[BestPolicy].actor.items()
    )  # only the critic learns
    assert not torch.equal(critic, world[Policy].critic.body.layers[0].weight)
    own = sum(parameter.numel() for parameter in world[Policy].actor.parameters())
    moments = world[Policy].optimiser.moments["exp_avg"]
    assert not moments[:own].any() and moments[own:].any()
    simulation.run(HORIZON)
    assert not torch.equal(world[BestPolicy].actor["body.layers.0.weight"], actor["body.layers.0.weight"])


def test_ppo_goes_on_with_the_noise_of_imagination_and_a_normaliser_that_has_seen_all_that_the_rows_saw():
    simulation = auto(world_model=attrs.evolve(PARTING, most_gap=100.0, hold=20, settle=30, std=0.3, last_std=0.05))
    simulation.run(33)
    actor = simulation.world[Policy].actor
    assert torch.allclose(actor.log_std.exp(), torch.tensor(0.05)) and simulation.world[Fallback].ppo
    assert int(actor.normaliser.count) == 32 * simulation.scene.tables[0].rows
    mean = actor.normaliser.mean.clone()
    simulation.run(HORIZON)
    assert torch.equal(mean, actor.normaliser.mean)  # the first iteration of PPO is the critic's


def test_as_long_as_rewards_agree_imagination_learns_as_it_does_alone():
    simulation = auto(world_model=attrs.evolve(PARTING, most_gap=100.0))
    simulation.run(SWITCH + HORIZON)
    assert not simulation.world[Fallback].ppo and not simulation.world[LearningMetrics].gradient_norm
    assert int(simulation.world[Memory].count[0]) == SWITCH + HORIZON - 1


def test_ppo_goes_on_from_the_present_policy_when_imagination_has_made_all_of_its_updates():
    simulation = auto(world_model=attrs.evolve(PARTING, most_gap=100.0, hold=20, settle=30))
    world = simulation.world
    simulation.run(32)  # its next tick is number 32, the first end of an iteration from tick 30 on
    before = {name: tensor.clone() for name, tensor in world[Policy].actor.state_dict().items()}
    assert not world[Fallback].ppo and world[BestPolicy].reward.isfinite()
    for tensor in world[BestPolicy].actor.values():
        tensor.zero_()
    simulation.run(1)
    assert (float(world[Fallback].ppo), float(world[Fallback].tick)) == (1.0, 32.0)
    assert "all of its updates" in alarms(world)["fallback"] and "settled" not in alarms(world)
    kept = {n: t for n, t in world[Policy].actor.state_dict().items() if n not in ("log_std", "normaliser.count")}
    assert all(torch.equal(tensor, before[name]) for name, tensor in kept.items())
    simulation.run(HORIZON)
    assert float(world[LearningMetrics].gradient_norm) > 0


def test_resuming_before_and_after_ppo_took_over_reaches_the_same_bytes_on_two_threads(reference: bytes):
    before, ran, saved = auto(physics_threads=2), 0, {}
    before.schedule.threads = 2
    for moment in (SWITCH - 3, SWITCH, SWITCH + 1, SWITCH + 5):
        before.run(moment - ran)
        ran, saved[moment] = moment, save(before.world)
    after = auto(seed=99)
    for moment, data in saved.items():
        restore(after.world, data)
        after.run(TICKS - moment)
        assert save(after.world) == reference, moment


def test_going_back_behind_the_change_and_branching_changes_over_again(reference: bytes):
    simulation = auto()
    ring = Ring(simulation, every=5)
    simulation.run(TICKS)
    ring.seek(SWITCH - 5)
    assert not simulation.world[Fallback].ppo
    ring.branch()
    simulation.run(TICKS - 1 - (SWITCH - 5))
    assert simulation.world[Fallback].ppo and save(simulation.world) == reference


def test_a_scene_that_cannot_be_imagined_is_learned_by_ppo_from_the_start_and_says_why():
    simulation = auto(self_collision=True)
    simulation.run(HORIZON + 1)
    world = simulation.world
    assert world[Fallback].ppo and not world[Fallback].tick and float(world[LearningMetrics].gradient_norm) > 0
    assert alarms(world)["fallback"].startswith(
        "PPO learns from the start, since this scene cannot be imagined. In imagination: Term `self_collision` of `reward` "
    )


def test_iterations_of_both_learners_that_do_not_fit_into_each_other_are_refused():
    with pytest.raises(SceneError, match=r"learning\.horizon=24 ticks .* world_model\.collect=5 ticks"):
        bundle(PpoConfig(), attrs.evolve(PARTING, collect=5), None, {}, rows=8, dt=0.02)  # type: ignore[arg-type]
