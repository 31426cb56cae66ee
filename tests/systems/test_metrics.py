"""What an iteration reports, worked out by hand on three rows."""

import math

import torch
from torch.testing import assert_close

from components.command import CommandRange
from components.episode import Done, Earned, Episode, Reward
from components.metrics import Metrics
from components.motion import MotionReference, RelativeTarget, TrackedBodies, TrackedState
from components.robot import DofState
from engine import World, table
from systems.metrics import ERRORS, count_errors, count_rewards, flush_metrics, make_metrics, report

AXES = {"reward": ("near", "calm"), "termination": ("fallen", "time_limit"), "tracked": 2, "dof": 2, "body": 2}
LABELS = {name: labels for name, labels in AXES.items() if isinstance(labels, tuple)}


def world_of(metrics: Metrics) -> World:
    """A world with nothing but a table and these metrics."""
    world = World("test", {"robot": table("robot", rows=3, axes=AXES)}, 0, torch.device("cpu"))
    world.resources[Metrics] = metrics
    return world


def test_lengths_and_returns_are_of_ended_episodes_and_reward_terms_per_second_of_all_rows() -> None:
    metrics = make_metrics(LABELS, 0, torch.device("cpu"))
    done = Done.make(3, AXES, ended=[True, False, True], reason=[[True, False], [True, False], [False, True]])
    episode = Episode.make(3, AXES, step=[10, 7, 30])
    earned = Earned.make(3, AXES, sums=[[1.0, -0.5], [9.0, 9.0], [3.0, 0.0]])
    reward = Reward.make(3, AXES, total=[0.1, 0.2, 0.6], terms=[[0.2, -0.1], [0.3, -0.1], [0.6, 0.0]])
    count_rewards(done, episode, earned, reward, metrics)
    flush_metrics(metrics)
    numbers = report(world_of(metrics), dt=0.02)
    assert numbers["episode/ended"] == 2
    assert_close(numbers["episode/length"], (10 + 30) / 2)
    assert_close(numbers["episode/return"], (1.0 - 0.5 + 3.0 + 0.0) / 2)
    assert_close(numbers["reward/per_step"], (0.1 + 0.2 + 0.6) / 3)
    assert_close(numbers["reward/near"], (0.2 + 0.3 + 0.6) / (3 * 0.02))
    assert_close(numbers["reward/calm"], -(0.1 + 0.1) / (3 * 0.02))
    assert (numbers["end/fallen"], numbers["end/time_limit"]) == (0.5, 0.5)


def test_recent_episodes_are_the_last_hundred_counted_in_whole_iterations() -> None:
    """Iterations of 3, 0, 70 and 40 episodes, newest last: the newest two have 110, and a hundred without the first."""
    metrics = make_metrics(LABELS, 0, torch.device("cpu"))
    for count, length, earned in ((3, 900.0, 9.0), (0, 0.0, 0.0), (70, 7000.0, 35.0), (40, 8000.0, 80.0)):
        metrics.sums[1, [0, 2, -2]] = torch.tensor([count, length, earned], dtype=torch.float64)
        flush_metrics(metrics)
        if count == 70:
            assert_close(report(world_of(metrics), dt=0.02)["episode/recent_length"], (900.0 + 7000.0) / 73)
    numbers = report(world_of(metrics), dt=0.02)
    assert_close(numbers["episode/recent_length"], (7000.0 + 8000.0) / 110)
    assert_close(numbers["episode/recent_return"], (35.0 + 80.0) / 110)
    assert numbers["episode/length"] == 200.0
    saved = {name: getattr(metrics, name).clone() for name in ("sums", "errors", "latest_sums", "latest_errors")}
    metrics.load(saved)  # of a version without a window
    assert "episode/recent_length" not in report(world_of(metrics), dt=0.02)


def test_flushing_starts_a_new_iteration() -> None:
    metrics = make_metrics(LABELS, 0, torch.device("cpu"))
    nobody = Done.make(3, AXES)
    count_rewards(nobody, Episode.make(3, AXES), Earned.make(3, AXES), Reward.make(3, AXES, total=1.0), metrics)
    flush_metrics(metrics)
    assert float(metrics.sums.abs().sum()) == 0.0
    flush_metrics(metrics)
    numbers = report(world_of(metrics), dt=0.02)
    assert numbers["reward/per_step"] == 0.0
    assert {"episode/length", "end/fallen"}.isdisjoint(numbers)  # no episode ended: there is nothing to say of one
    assert numbers["episode/ended"] == 0.0
    assert not any(name.startswith("error/") for name in numbers)  # and nobody counted errors


def test_errors_are_means_over_rows_bodies_and_counted_ticks() -> None:
    metrics = make_metrics(LABELS, 0, torch.device("cpu"))
    bodies = TrackedBodies(names=("a", "b"), body_index=torch.tensor([0, 1]), anchor=1, end_effectors=torch.tensor([0]))
    half = [math.cos(0.3), 0.0, math.sin(0.3), 0.0]  # 0.6 rad about y
    level = [1.0, 0.0, 0.0, 0.0]
    tracked = TrackedState.make(
        2,
        AXES,
        position=[[[0.3, 0.0, 0.0], [0.0, 0.4, 0.0]], [[0.0] * 3, [0.0] * 3]],
        rotation=[[level, half], [level, [-x for x in half]]],  # a quaternion and its negative are one rotation
        linear_velocity=[[[0.0] * 3, [0.0, 3.0, 4.0]], [[0.0, 1.0, 0.0], [0.0] * 3]],
        angular_velocity=[[[0.0] * 3, [0.0, 0.0, 2.0]], [[0.0] * 3, [0.0] * 3]],
    )
    upright = torch.tensor(level).expand(2, 2, 4)
    target = RelativeTarget.make(2, AXES, rotation=[[half, half], [level, level]])
    reference = MotionReference.make(2, AXES, body_rotation=upright)
    dofs = DofState.make(2, AXES, position=[[3.0, 4.0], [0.0, 0.0]], velocity=[[0.0, 0.0], [5.0, 12.0]])
    for _ in range(2):
        count_errors(tracked, target, reference, dofs, bodies, metrics)
    flush_metrics(metrics)
    numbers = report(world_of(metrics), dt=0.02)
    assert_close(numbers["error/anchor_position"], (0.4 + 0.0) / 2)
    assert_close(numbers["error/anchor_rotation"], 0.6, atol=1e-6, rtol=0.0)
    assert_close(numbers["error/anchor_linear_velocity"], (5.0 + 0.0) / 2)
    assert_close(numbers["error/anchor_angular_velocity"], (2.0 + 0.0) / 2)
    assert_close(numbers["error/body_position"], ((0.3 + 0.4) / 2 + 0.0) / 2)
    assert_close(numbers["error/body_rotation"], ((0.6 + 0.0) / 2 + (0.0 + 0.6) / 2) / 2, atol=1e-6, rtol=0.0)
    assert_close(numbers["error/body_linear_velocity"], (5.0 / 2 + 1.0 / 2) / 2)
    assert_close(numbers["error/body_angular_velocity"], (2.0 / 2 + 0.0) / 2)
    assert_close(numbers["error/dof_position"], (5.0 + 0.0) / 2)
    assert_close(numbers["error/dof_velocity"], (0.0 + 13.0) / 2)
    assert {f"error/{name}" for name in ERRORS} <= numbers.keys()


def test_ranges_that_commands_are_drawn_from_are_numbers() -> None:
    world = world_of(make_metrics(LABELS, 0, torch.device("cpu")))
    world.resources[CommandRange] = CommandRange(
        low=torch.tensor([-1.0, -0.5, -2.0]), high=torch.tensor([2.0, 0.5, 3.0])
    )
    numbers = report(world, dt=0.02)
    assert numbers["command_range/forward_low"] == -1.0 and numbers["command_range/forward_high"] == 2.0
    assert numbers["command_range/yaw_rate_low"] == -2.0 and numbers["command_range/sideways_high"] == 0.5
