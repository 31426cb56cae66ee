"""Velocity commands for locomotion, the gait clock, and resets around the default pose: commands(), gait_clock(), standing().

A command is a velocity of the base in its own axes: forward and to the left in m/s, and a yaw rate in rad/s. It is drawn
anew when an episode begins and every few seconds. Some rows are asked to stand, some to go straight ahead, and some to
turn to a heading, for which the yaw rate follows from how far it is off.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from components.command import Command, CommandRange, GaitClock
from components.episode import Done, Episode, Rewritten
from components.robot import DofState, Robot, RootState
from engine import Bundle, Clock, Rng, System, Write, any_row, deferred, put_rows, system
from engine.ecs.schedule import Schedule
from engine.errors import SceneError
from systems.maths.quaternion import turn, yaw
from systems.maths.tensors import vector
from systems.tick import COMMAND, RESET, SENSE

Span = tuple[float, float]
Stage = tuple[int, Span, Span, Span]  # control steps since the run began; ranges forward, to the left, of the yaw rate
Velocity = tuple[float, float, float]
AXES = ("forward", "sideways", "turn")


# -- commands ------------------------------------------------------------------------------------------


def widen_range(clock: Clock, span: Write[CommandRange], *, stages: tuple[Stage, ...]) -> None:
    """Draw commands from the ranges of the last stage that has begun."""
    begins = vector(tuple(stage[0] for stage in stages), span.low.device, torch.int64)
    last = (begins <= clock.device_tick).sum().sub_(1).view(1)
    for side, column in enumerate((span.low, span.high)):
        bounds = tuple(float(pair[side]) for _, *ranges in stages for pair in ranges)
        column.copy_(vector(bounds, column.device).view(len(stages), -1).index_select(0, last).squeeze(0))


def count_down(done: Done, command: Write[Command]) -> None:
    """Find the rows that get another command: their wait is over, or an episode begins, and nobody holds theirs."""
    command.wait.sub_(1)
    torch.le(command.wait, 0, out=command.due)
    command.due.logical_or_(done.ended).logical_and_(~command.held)


def draw_commands(
    rng: Rng, span: CommandRange, command: Write[Command], *, dt: float, interval: Span = (3.0, 8.0),
    standing: float = 0.1, ahead: float = 0.2, least_ahead: float = 0.3, turning: float = 0.3,
    heading: Span = (-math.pi, math.pi), dead_zone: float = 0.0,
) -> None:  # fmt: skip
    """Rows that are due get a velocity, uniform over the range, and keep it for U(`interval`) s.

    Shares of rows, each drawn by itself: `standing` rows stand; `ahead` rows go straight forward with max(|v_x|,
    `least_ahead`) m/s; `turning` rows turn to a `heading` in rad, unless they stand or go straight. Horizontal velocities
    of up to `dead_zone` in m/s become 0.
    """
    drawn = torch.rand((len(command.due), 8), generator=rng, device=rng.device)
    velocity = torch.lerp(span.low, span.high, drawn[:, :3])
    velocity[:, :2].masked_fill_((velocity[:, :2].norm(dim=-1) <= dead_zone).unsqueeze(-1), 0.0)
    stands, straight = drawn[:, 3] < standing, drawn[:, 4] < ahead
    speed = velocity[:, 0].abs().clamp_min(least_ahead).minimum(span.high[0])
    put_rows(velocity[:, 0], straight, speed)
    put_rows(velocity[:, 1:], straight, 0.0)
    put_rows(velocity, stands, 0.0)
    first, past = max(1, round(interval[0] / dt)), max(1, round(interval[1] / dt)) + 1
    wait = drawn[:, 7].mul(past - first).long().add_(first)
    turns = (drawn[:, 5] < turning) & ~(stands | straight)
    angle = drawn[:, 6] * (heading[1] - heading[0]) + heading[0]
    for column, value in (
        (command.velocity, velocity), (command.wait, wait), (command.turning, turns), (command.heading, angle)
    ):  # fmt: skip
        put_rows(column, command.due, value)


def turn_to_heading(root: RootState, span: CommandRange, command: Write[Command], *, gain: float = 0.5) -> None:
    """Rows with a heading get the yaw rate `gain` × what is left to turn, the shorter way, within the range; `gain` in 1/s."""
    left = torch.remainder(command.heading - yaw(root.rotation) + math.pi, 2.0 * math.pi).sub_(math.pi)
    rate = left.mul_(gain).clamp_(span.low[2], span.high[2])
    put_rows(command.velocity[:, 2], command.turning & ~command.held, rate)


def refuse_stages(widen: System, schedule: Schedule | None = None) -> None:
    """SceneError for ranges of commands that are upside down, and for stages whose beginnings cross."""
    stages = widen.constants["stages"]
    begins = [stage[0] for stage in stages]
    if not begins or begins[0] != 0 or begins != sorted(set(begins)):
        raise SceneError(
            f"commands.widen_range.stages begin at control steps {begins}; the first begins at 0, and each after the one "
            "before it. Put them in order."
        )
    for begin, *spans in stages:
        for name, (low, high) in zip(AXES, spans, strict=True):
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise SceneError(
                    f"commands.widen_range.stages: the range {name}=({low:g}, {high:g}) from control step {begin} on is not "
                    "one from a least to a greatest number. Write the lower one first."
                )


def refuse_draws(widen: System, draw: System, schedule: Schedule | None = None) -> None:
    """SceneError for shares, waits and speeds from which no command can be drawn."""
    given, where = draw.constants, "commands.draw_commands"
    for name in ("standing", "ahead", "turning"):
        if not 0.0 <= given[name] <= 1.0:
            raise SceneError(f"{where}.{name}={given[name]:g} is a share of rows; give a number from 0 to 1.")
    low, high = given["interval"]
    if not 0.0 < low <= high < math.inf:
        raise SceneError(f"{where}.interval={given['interval']} is not a range of times in s, such as (3.0, 8.0).")
    if not given["heading"][0] <= given["heading"][1]:
        raise SceneError(f"{where}.heading={given['heading']} is upside down; write the lower angle first.")
    for begin, forward, sideways, _ in widen.constants["stages"]:
        if given["ahead"] and given["least_ahead"] > forward[1]:
            raise SceneError(
                f"{where}.least_ahead={given['least_ahead']:g} m/s is outside the range forward={forward} from control step "
                f"{begin} on. Give at most {forward[1]:g}, or {where}.ahead=0."
            )
        fastest = math.hypot(max(map(abs, forward)), max(map(abs, sideways)))
        if 0.0 < fastest <= given["dead_zone"]:
            raise SceneError(
                f"{where}.dead_zone={given['dead_zone']:g} m/s leaves nothing of ranges up to {fastest:g} m/s from control "
                f"step {begin} on. Give less."
            )


def fixed_command(stages: Sequence[Stage], velocity: Velocity) -> dict[str, Any]:
    """Constants of `commands` that ask every row for one `velocity`. Raises SceneError outside the first stage's ranges."""
    for name, value, (low, high) in zip(AXES, velocity, stages[0][1:], strict=True):
        if not low <= value <= high:
            raise SceneError(
                f"The command {velocity} asks for {value:g} {name}, outside the range {low:g} … {high:g} of this task. Give "
                "a number within, or widen the range where the task is written."
            )
    forward, sideways, rate = ((value, value) for value in velocity)
    return {"stages": ((0, forward, sideways, rate),), "standing": 0.0, "ahead": 0.0, "turning": 0.0, "dead_zone": 0.0}


def commands(*, stages: tuple[Stage, ...], dt: float = 0.02, gain: float = 0.5, **draws: Any) -> Bundle:
    """Draws `Command`; `stages` are the ranges, in the order in which they begin, `gain` in 1/s turns to headings.

    `draws` are constants of `draw_commands`; `dt` is the control step in s. Raises SceneError for what cannot be drawn.
    """
    widen = system(widen_range, stages=stages)
    draw = system(draw_commands, when=any_row(Command, "due"), dt=dt, **draws)
    checks = [partial(refuse_stages, widen), partial(refuse_draws, widen, draw)]
    for check in checks:
        check()
    return Bundle(
        "commands",
        components=[Command],
        resources=[deferred(CommandRange, lambda axes, seed, device: CommandRange.zeros(device))],
        systems={COMMAND: [widen, system(count_down), draw, system(turn_to_heading, gain=gain)]},
        checks=checks,
    )


# -- the gait clock ------------------------------------------------------------------------------------


def start_gait(
    done: Done, rng: Rng, clock: Write[GaitClock], *, offsets: tuple[float, ...], spread: float = 1.0
) -> None:
    """Ended rows begin anywhere in the first `spread` of a cycle, each foot `offsets` of a cycle later."""
    begun = torch.rand(clock.start.shape, generator=rng, device=rng.device).mul_(spread)
    put_rows(clock.start, done.ended, begun)
    put_rows(clock.phase, done.ended, (begun.unsqueeze(-1) + vector(offsets, begun.device)).remainder_(1.0))


def advance_gait(
    episode: Episode, clock: Write[GaitClock], *, offsets: tuple[float, ...], period: float, dt: float
) -> None:
    """Put each foot where it ought to be in its cycle of `period` s: that of this very moment, not of a step ago."""
    time = episode.step.to(torch.float32).mul_(dt / period).add_(clock.start)
    clock.phase.copy_(time.unsqueeze(-1).add(vector(offsets, time.device)).remainder_(1.0))


def gait_clock(robot: Robot, *, period: float, spread: float = 1.0, dt: float = 0.02) -> Bundle:
    """Keeps `GaitClock` with cycles of `period` s: two feet take turns, of four those of a diagonal go together (trot).

    Raises SceneError for another number of feet, or a period that is too short for control steps of `dt` in s.
    """
    usual = {2: (0.0, 0.5), 4: (0.0, 0.5, 0.5, 0.0)}
    if len(robot.foot_names) not in usual:
        raise SceneError(
            f"Robot '{robot.name}' has {len(robot.foot_names)} feet, and a gait clock knows the order of 2 and of 4. Leave "
            "gait_period out."
        )
    if not 2.0 * dt <= period < math.inf:
        raise SceneError(
            f"gait_period={period:g} s is not possible with control steps of {dt:g} s; give at least {2 * dt:g}."
        )
    offsets = usual[len(robot.foot_names)]
    return Bundle(
        "gait_clock",
        components=[GaitClock],
        systems={
            SENSE: [system(advance_gait, after="count_step", offsets=offsets, period=period, dt=dt)],
            RESET: [system(start_gait, when=any_row(Rewritten, "rows"), offsets=offsets, spread=spread)],
        },
    )


# -- where episodes begin --------------------------------------------------------------------------------


def reset_to_default(
    done: Done, robot: Robot, rng: Rng, root: Write[RootState], dofs: Write[DofState], *, place: float = 0.5,
    lift: Span = (0.01, 0.05), facing: float = math.pi, linear: float = 0.0, angular: float = 0.0, bend: Span = (1.0, 1.0),
) -> None:  # fmt: skip
    """Ended rows stand upright in the default pose, somewhere near their origin.

    The root is U(±`place`) m away in x and y, `lift` m above its default height, turned by U(±`facing`) rad, and moves with
    U(±`linear`) m/s and U(±`angular`) rad/s along and about each axis. Joints, at rest, are at their default angles times
    U(`bend`), each by itself, within their soft limits.
    """
    count = dofs.position.shape[1]
    drawn = torch.rand((len(done.ended), 10 + count), generator=rng, device=rng.device)
    both, above, bent = drawn[:, :9].mul(2.0).sub_(1.0), drawn[:, 9], drawn[:, 10:]
    height = above.mul(lift[1] - lift[0]).add_(lift[0] + robot.default_height)
    upright = vector((1.0, 0.0, 0.0, 0.0), rng.device).expand_as(root.rotation)
    low, high = robot.soft_position_limit.unbind(-1)
    angles = bent.mul(bend[1] - bend[0]).add_(bend[0]).mul_(robot.default_position)
    if bend != (1.0, 1.0):
        angles = torch.clamp(angles, low, high)
    put_rows(root.position, done.ended, torch.cat((both[:, :2] * place, height.unsqueeze(-1)), -1))
    put_rows(root.rotation, done.ended, turn(upright, "z", both[:, 2] * facing))
    put_rows(root.linear_velocity, done.ended, both[:, 3:6] * linear)
    put_rows(root.angular_velocity, done.ended, both[:, 6:9] * angular)
    put_rows(dofs.position, done.ended, angles)
    put_rows(dofs.velocity, done.ended, 0.0)


def standing(**spans: Any) -> Bundle:
    """Episodes begin in the default pose; `spans` are constants of `reset_to_default`."""
    return Bundle("standing", systems={RESET: [system(reset_to_default, when=any_row(Rewritten, "rows"), **spans)]})
