"""Velocity commands, the gait clock and resets, worked out by hand and counted over many draws."""

import math
from typing import Any

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from components.command import Command, CommandRange, GaitClock
from components.episode import Done, Episode
from components.robot import DofState, RootState
from engine import Clock, SceneError, Simulation, build, put_rows
from scenes.velocity import CONFIGS, experiment
from systems.maths.quaternion import yaw
from systems.tick import COMMAND
from systems.velocity import (
    advance_gait,
    commands,
    count_down,
    draw_commands,
    fixed_command,
    gait_clock,
    reset_to_default,
    start_gait,
    turn_to_heading,
    widen_range,
)
from tests.systems.task_rows import from_euler, generator, small_robot

RANGE = ((-1.0, 1.0), (-0.5, 0.5), (-0.4, 0.4))
STAGES = ((0, *RANGE), (100, (-1.0, 2.0), (-0.5, 0.5), (-0.4, 0.4)), (200, (-2.0, 3.0), (-0.5, 0.5), (-0.7, 0.7)))


def span(*ranges: tuple[float, float]) -> CommandRange:
    """Ranges as a resource."""
    low, high = zip(*(ranges or RANGE), strict=True)
    return CommandRange(low=tensor(low), high=tensor(high))


def drawn(rows: int = 20_000, **constants: Any) -> Command:
    """Commands of rows that are all due."""
    command = Command.make(rows, due=True)
    draw_commands(generator(1), span(), command, dt=0.02, **constants)
    return command


def plain_draws(**constants: Any) -> Command:
    """Commands that are only drawn from the range."""
    return drawn(**{"standing": 0.0, "ahead": 0.0, "turning": 0.0, **constants})


def test_velocities_are_uniform_over_the_range() -> None:
    velocity = plain_draws().velocity
    for column, (low, high) in zip(velocity.unbind(-1), RANGE, strict=True):
        assert low <= float(column.min()) < low + 0.01 and high - 0.01 < float(column.max()) <= high
        assert float(column.mean()) == pytest.approx(0.5 * (low + high), abs=0.02)
        assert float(column.std()) == pytest.approx((high - low) / math.sqrt(12), rel=0.02)


def test_a_tenth_of_the_rows_stands_and_a_fifth_goes_straight_ahead() -> None:
    """Each share by itself: 10 % stand; of the others 20 % go straight, and 30 % of the rest turn to a heading."""
    command = drawn()
    still = (command.velocity == 0).all(-1)
    assert float(still.float().mean()) == pytest.approx(0.1, abs=0.01)
    ahead = ~still & (command.velocity[:, 1:] == 0).all(-1)
    assert float(ahead.float().mean()) == pytest.approx(0.9 * 0.2, abs=0.01)
    assert float(command.velocity[ahead, 0].min()) >= 0.3 and float(command.velocity[ahead, 0].max()) <= 1.0
    slow = (command.velocity[ahead, 0] == 0.3).float().mean()
    assert float(slow) == pytest.approx(0.3, abs=0.02)  # |v| of U(−1, 1) below 0.3
    assert float(command.turning.float().mean()) == pytest.approx(0.9 * 0.8 * 0.3, abs=0.01)
    assert not bool((command.turning & (still | ahead)).any())
    assert -math.pi <= float(command.heading.min()) < -3.13 and 3.13 < float(command.heading.max()) <= math.pi


def test_small_velocities_become_none_and_keep_their_yaw_rate() -> None:
    command = plain_draws(dead_zone=0.2)
    size = command.velocity[:, :2].norm(dim=-1)
    assert not bool(((size > 0) & (size <= 0.2)).any())
    area = math.pi * 0.2**2 / (2.0 * 1.0)  # of the disc in the rectangle of the range
    assert float((size == 0).float().mean()) == pytest.approx(area, abs=0.005)
    assert bool((command.velocity[size == 0, 2] != 0).all())


def test_waits_are_uniform_control_steps_and_both_ends_occur() -> None:
    command = plain_draws(interval=(0.1, 0.2))
    counts = torch.bincount(command.wait).tolist()
    assert counts[:5] == [0] * 5 and len(counts) == 11  # 5 to 10 steps of 0.02 s
    assert all(count == pytest.approx(20_000 / 6, rel=0.08) for count in counts[5:])


def test_rows_whose_wait_is_over_or_whose_episode_ended_are_due_unless_held() -> None:
    command = Command.make(5, wait=tensor([2, 1, 9, 1, 9]), held=tensor([False, False, False, True, True]))
    done = Done.make(5, {"termination": ("fell",)}, ended=tensor([False, False, True, False, True]))
    count_down(done, command)
    assert command.wait.tolist() == [1, 0, 8, 0, 8]
    assert command.due.tolist() == [False, True, True, False, False]


def test_only_rows_that_are_due_are_drawn() -> None:
    command = Command.make(2, velocity=7.0, wait=3, due=tensor([True, False]))
    draw_commands(generator(1), span(), command, dt=0.02)
    assert (command.velocity[1] == 7.0).all() and int(command.wait[1]) == 3
    assert (command.velocity[0].abs() <= 1.0).all() and 150 <= int(command.wait[0]) <= 400


@pytest.mark.parametrize(
    ("facing", "heading", "rate"),
    [
        (0.0, 0.6, 0.3),  # half of what is left, in 1/s
        (1.0, 0.6, -0.2),
        (3.0, -3.0, 0.5 * (2 * math.pi - 6.0)),  # across the back: 0.283 rad to the left
        (-3.0, 3.0, -0.5 * (2 * math.pi - 6.0)),
        (0.0, 2.0, 0.4),  # 1.0 rad/s is beyond the range
        (0.0, -2.0, -0.4),
    ],
)
def test_a_heading_is_turned_to_the_shorter_way_and_within_the_range(
    facing: float, heading: float, rate: float
) -> None:
    turned = from_euler(*(tensor([a]) for a in (0.1, -0.2, facing)))
    root = RootState.make(1, rotation=turned)
    command = Command.make(1, heading=heading, turning=True, velocity=tensor([0.5, 0.1, 9.0]))
    turn_to_heading(root, span(), command, gain=0.5)
    assert_close(command.velocity, tensor([[0.5, 0.1, rate]]), atol=1e-5, rtol=0)


def test_rows_without_a_heading_and_held_rows_keep_their_yaw_rate() -> None:
    root = RootState.make(2, rotation=tensor([1.0, 0.0, 0.0, 0.0]))
    command = Command.make(2, heading=1.0, turning=tensor([False, True]), held=tensor([False, True]), velocity=0.25)
    turn_to_heading(root, span(), command)
    assert (command.velocity == 0.25).all()


@pytest.mark.parametrize(("tick", "stage"), [(0, 0), (99, 0), (100, 1), (199, 1), (200, 2), (10**6, 2)])
def test_ranges_widen_when_a_stage_begins(tick: int, stage: int) -> None:
    found, clock = CommandRange.zeros(), Clock()
    clock.tick = tick
    widen_range(clock, found, stages=STAGES)
    assert found.low.tolist() == pytest.approx([pair[0] for pair in STAGES[stage][1:]])
    assert found.high.tolist() == pytest.approx([pair[1] for pair in STAGES[stage][1:]])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"stages": (STAGES[0], STAGES[2], STAGES[1])}, r"begin at control steps \[0, 200, 100\].*Put them in order"),
        ({"stages": (STAGES[0], STAGES[0])}, r"begin at control steps \[0, 0\]"),
        ({"stages": STAGES[1:]}, "the first begins at 0"),
        ({"stages": ((0, (1.0, -1.0), *RANGE[1:]),)}, r"forward=\(1, -1\) from control step 0 .* lower one first"),
        ({"stages": ((0, *RANGE[:2], (0.0, math.inf)),)}, r"turn=\(0, inf\)"),
        ({"standing": 1.5}, "standing=1.5 is a share of rows"),
        ({"turning": -0.1}, "turning=-0.1 is a share of rows"),
        ({"interval": (8.0, 3.0)}, r"interval=\(8.0, 3.0\) is not a range of times"),
        ({"heading": (1.0, -1.0)}, r"heading=\(1.0, -1.0\) is upside down"),
        ({"least_ahead": 1.2}, r"least_ahead=1.2 m/s is outside the range forward=\(-1.0, 1.0\).*at most 1"),
        ({"dead_zone": 2.0}, "dead_zone=2 m/s leaves nothing of ranges up to 1.1"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SceneError, match=sentence):
        commands(**{"stages": STAGES, **given})


def test_a_command_outside_its_range_is_refused_with_the_range() -> None:
    with pytest.raises(SceneError, match=r"asks for 0.6 sideways, outside the range -0.5 … 0.5"):
        fixed_command(STAGES, (0.5, 0.6, 0.0))
    assert fixed_command(STAGES, (0.5, 0.0, -0.4))["stages"] == ((0, (0.5, 0.5), (0.0, 0.0), (-0.4, -0.4)),)


# -- in a scene ----------------------------------------------------------------------------------------


def walking(rows: int = 4, **numbers: Any) -> Simulation:
    """The scene with the little humanoid, which resets rarely."""
    small = {"robot": "humanoid", "num_envs": rows, "hidden": (8,), "physics_threads": 1, "horizon": 1000}
    return build(experiment(CONFIGS["laptop"].replace(**{**small, **numbers})).train())


def test_constants_that_cross_are_refused_when_they_are_set_too() -> None:
    made = experiment(CONFIGS["laptop"].replace(robot="humanoid", num_envs=2)).train()
    with pytest.raises(SceneError, match="outside the range forward"):
        build(made, overrides={"commands.draw_commands.least_ahead": "3.0"})
    simulation = walking(2)
    with pytest.raises(SceneError, match="upside down"):
        simulation.constants.edit("commands.draw_commands.heading", "(1.0, -1.0)")


def test_a_command_that_is_held_stays_through_waits_and_resets() -> None:
    simulation = walking()
    simulation.run(1)
    command, episode = simulation.world[Command], simulation.world[Episode]
    command.velocity[0] = tensor([0.8, 0.0, 0.1])
    command.held[0] = True
    command.wait.fill_(2)
    episode.step.fill_(10_000)  # all run out of time
    before = command.velocity.clone()
    simulation.run(4)
    assert bool(simulation.world[Episode].step.max() < 10)
    assert_close(command.velocity[0], tensor([0.8, 0.0, 0.1]))
    assert not torch.equal(command.velocity[1:], before[1:])
    command.held[0] = False
    simulation.run(1)
    assert not torch.equal(command.velocity[0], before[0])  # its wait was over long ago


def test_a_fixed_command_is_asked_of_every_row_at_any_time() -> None:
    simulation = walking(command=(0.5, -0.2, 0.3))
    for _ in range(3):
        simulation.run(1)
        assert_close(simulation.world[Command].velocity, tensor([0.5, -0.2, 0.3]).expand(4, 3))


def test_a_new_episode_knows_its_yaw_rate_at_once() -> None:
    """The reset turns the robot, so the rate that a heading asks for is that of the new pose."""
    simulation = walking(rows=64)
    simulation.run(1)
    command, root = simulation.world[Command], simulation.world[RootState]
    left = torch.remainder(command.heading - yaw(root.rotation) + math.pi, 2 * math.pi) - math.pi
    turning = command.turning
    assert bool(turning.any())
    assert_close(command.velocity[turning, 2], (0.5 * left).clamp(-0.5, 0.5)[turning], atol=1e-5, rtol=0)
    assert [e.name for e in simulation.schedule.entries if e.phase == COMMAND] == [
        "widen_range", "count_down", "draw_commands", "turn_to_heading",
    ]  # fmt: skip


# -- the gait clock ------------------------------------------------------------------------------------


def test_the_clock_shows_this_very_moment_and_feet_take_turns() -> None:
    axes = {"foot": 2}
    clock = GaitClock.make(3, axes, start=tensor([0.0, 0.0, 0.9]))
    episode = Episode.make(3, step=tensor([0, 10, 10]))
    advance_gait(episode, clock, offsets=(0.0, 0.5), period=0.8, dt=0.02)
    assert_close(clock.phase, tensor([[0.0, 0.5], [0.25, 0.75], [0.15, 0.65]]))  # 10 · 0.02 / 0.8 = 0.25


def test_episodes_begin_anywhere_in_the_cycle_and_others_go_on() -> None:
    clock = GaitClock.make(2000, {"foot": 4}, start=5.0, phase=5.0)
    done = Done.make(2000, {"termination": ("fell",)})
    put_rows(done.ended, torch.arange(2000) > 0, True)
    start_gait(done, generator(2), clock, offsets=(0.0, 0.5, 0.5, 0.0))
    assert float(clock.start[0]) == 5.0 and (clock.phase[0] == 5.0).all()
    begun = clock.start[1:]
    assert float(begun.mean()) == pytest.approx(0.5, abs=0.03) and float(begun.min()) >= 0 and float(begun.max()) < 1
    assert_close(clock.phase[1:, 0], begun)
    assert_close(clock.phase[1:, 1], (begun + 0.5) % 1.0)
    assert torch.equal(clock.phase[:, 0], clock.phase[:, 3])


def test_a_gait_needs_two_or_four_feet_and_time_for_a_cycle() -> None:
    with pytest.raises(SceneError, match="has 3 feet"):
        gait_clock(small_robot(foot_names=("a", "b", "c")), period=0.8)
    with pytest.raises(SceneError, match=r"give at least 0\.04"):
        gait_clock(small_robot(), period=0.03)


# -- resets --------------------------------------------------------------------------------------------


def reset(rows: int = 4000, **spans: Any) -> tuple[RootState, DofState]:
    """Rows that have all been reset."""
    root, dofs = RootState.make(rows), DofState.make(rows, {"dof": 2}, velocity=3.0)
    done = Done.make(rows, {"termination": ("fell",)}, ended=True)
    reset_to_default(done, small_robot(), generator(3), root, dofs, **spans)
    return root, dofs


def test_episodes_begin_upright_in_the_default_pose_around_the_origin() -> None:
    root, dofs = reset()
    assert float(root.position[:, :2].abs().max()) == pytest.approx(0.5, abs=0.01)
    assert 0.81 <= float(root.position[:, 2].min()) < 0.812 and 0.848 < float(root.position[:, 2].max()) <= 0.85
    assert (root.rotation[:, 1:3] == 0).all() and float(yaw(root.rotation).abs().max()) == pytest.approx(
        math.pi, abs=0.01
    )
    assert float(yaw(root.rotation).mean()) == pytest.approx(0.0, abs=0.1)
    assert (root.linear_velocity == 0).all() and (root.angular_velocity == 0).all() and (dofs.velocity == 0).all()
    assert_close(dofs.position, torch.full((4000, 2), 0.1))


def test_joints_are_bent_by_factors_and_the_root_thrown() -> None:
    root, dofs = reset(bend=(0.5, 1.5), linear=0.5, angular=0.3, place=0.0, lift=(0.0, 0.0), facing=0.0)
    assert 0.05 <= float(dofs.position.min()) < 0.051 and 0.149 < float(dofs.position.max()) <= 0.15
    assert float(root.linear_velocity.abs().max()) == pytest.approx(0.5, abs=0.01)
    assert float(root.angular_velocity.abs().max()) == pytest.approx(0.3, abs=0.01)
    assert_close(root.position, tensor([0.0, 0.0, 0.8]).expand(4000, 3))
    assert_close(root.rotation, tensor([1.0, 0.0, 0.0, 0.0]).expand(4000, 4))


def test_joints_stay_within_their_soft_limits() -> None:
    _, dofs = reset(bend=(0.0, 40.0))  # up to 4 rad, and 1.8 is the soft limit
    assert float(dofs.position.max()) == pytest.approx(1.8)
