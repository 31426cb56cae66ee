"""Alarms of learning in imagination: when they are raised, and what they say."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from components.dynamics import Dynamics
from components.world_model import BestPolicy, RunningRewards, WorldModelMetrics
from engine.ecs.world import World
from systems.learning.alarms import alarms, compare_rewards, make_rewards
from systems.learning.best import PATIENCE
from systems.learning.dynamics import FLOOR, make_dynamics

JOINTS = ("hip", "knee", "ankle")


@pytest.fixture
def world() -> World:
    """A world in which learning in imagination goes well."""
    dynamics = make_dynamics(JOINTS, 0.02, hidden=(4,))
    dynamics.scale.fill_(1.0)
    best = BestPolicy(
        actor={}, reward=torch.tensor(0.1), mean=torch.tensor(0.1), average={}, iterations=torch.tensor(0.0)
    )
    rewards = make_rewards({}, 0, torch.device("cpu"))
    resources: dict[type, Any] = {type(r): r for r in (dynamics, best, rewards, WorldModelMetrics.zeros())}
    return World("ball", {}, 0, torch.device("cpu"), resources=resources)


def earn(world: World, real: float, imagined: float, iterations: int, ticks: int = 100) -> list[bool]:
    """Whether there is an alarm that rewards have parted, after each of some iterations with these."""
    metrics, rewards = world[WorldModelMetrics], world[RunningRewards]
    memory: Any = SimpleNamespace(count=torch.full((3,), ticks))
    found = []
    for _ in range(iterations):
        metrics.real_reward.fill_(real)
        metrics.imagined_reward.fill_(imagined)
        compare_rewards(memory, world[Dynamics], rewards, metrics, warm_up=32, most_gap=0.25)
        found.append(bool(rewards.parted))
    return found


def test_nothing_is_said_of_a_run_that_goes_well(world: World):
    assert not any(earn(world, 0.08, 0.09, 60)) and alarms(world) == {}
    assert float(world[WorldModelMetrics].gap) == pytest.approx(1 / 9, rel=1e-5) and not world[WorldModelMetrics].parted


def test_rewards_that_differ_part_only_when_they_were_watched_for_long_enough(world: World):
    assert earn(world, 0.05, 0.1, PATIENCE + 2) == [False] * (PATIENCE - 1) + [True] * 3
    assert float(world[WorldModelMetrics].parted) == 3


@pytest.mark.parametrize(("real", "imagined"), [(0.074, 0.1), (0.1, 0.074), (-0.1, -0.07), (-0.01, 0.01)])
def test_rewards_part_whichever_is_larger_and_whatever_their_sign(world: World, real: float, imagined: float):
    assert earn(world, real, imagined, PATIENCE)[-1]
    assert float(world[WorldModelMetrics].gap) == pytest.approx((imagined - real) / max(abs(real), abs(imagined)))


def test_rewards_that_meet_again_have_not_parted_any_more(world: World):
    earn(world, 0.05, 0.1, PATIENCE)
    real = imagined = 1.0 - (1.0 - 1 / PATIENCE) ** PATIENCE
    real, imagined, iterations = 0.05 * real, 0.1 * imagined, 0
    while abs(imagined - real) > 0.25 * imagined:
        real, imagined = real + (0.1 - real) / PATIENCE, imagined + (0.1 - imagined) / PATIENCE
        iterations += 1
    assert earn(world, 0.1, 0.1, iterations + 1) == [True] * (iterations - 1) + [False] * 2 and alarms(world) == {}


def test_nothing_is_compared_before_the_model_is_fitted(world: World):
    earn(world, 0.05, 0.1, 50, ticks=31)
    assert not world[RunningRewards].iterations and not world[WorldModelMetrics].gap


def test_the_sentence_of_rewards_that_part_has_what_both_earn(world: World):
    earn(world, 0.05, 0.1, PATIENCE)
    assert alarms(world) == {
        "parted": "Imagined and real rewards part: a control step earns 0.1 in imagination and 0.05 in the simulator, means of "
        "the last 20 iterations, which differ by 50%. The policy learns what holds in the model only. Imagine fewer ticks, "
        "--world-model.horizon, or let PPO take over, --learner auto."
    }


def test_a_model_that_is_not_finite_is_said_and_so_are_updates_that_were_left_out(world: World):
    world[WorldModelMetrics].skipped_steps.fill_(4)
    assert list(alarms(world)) == ["skipped"] and alarms(world)["skipped"].startswith(
        "4 updates of the policy were left"
    )
    world[Dynamics].bias[0] = math.nan
    assert list(alarms(world)) == ["model"]
    assert "numbers that are not finite, so the policy does not learn any more: 4 updates" in alarms(world)["model"]


def test_each_time_that_the_best_policy_is_put_back_is_an_alarm_of_its_own(world: World):
    metrics = world[WorldModelMetrics]
    for times in (1, 2):
        metrics.taken_back.fill_(times)
        metrics.real_reward.fill_(0.08)
        metrics.imagined_reward.fill_(0.12)
        (name,) = alarms(world)
        assert name == f"taken back {times}" and f"put back, {times} times so far" in alarms(world)[name]
        assert "imagined steps earn 0.12, real ones 0.08, and those of the best policy 0.1." in alarms(world)[name]


def test_joints_that_the_model_never_saw_move_are_named_and_counted(world: World):
    world[Dynamics].deviation[11] = FLOOR  # inputs are height, gravity, root velocities, and then joints
    earn(world, 0.1, 0.1, 1)
    assert float(world[WorldModelMetrics].unmoved_joints) == 1
    assert list(alarms(world)) == ["unmoved joints"] and "never seen these joints move: knee." in str(alarms(world))
    world[Dynamics].scale.zero_()  # never fitted, so nothing was seen at all
    assert alarms(world) == {}
