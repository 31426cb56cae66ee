"""Metrics of a learning iteration: rewards, episode lengths, why episodes ended, how far the robot was off."""

import functools
from collections.abc import Mapping

import attrs
import numpy as np
import torch

from components.command import CommandRange
from components.episode import Done, Earned, Episode, EpisodeLength, PenaltyScale, Reward, SoftLimits
from components.metrics import Measurements, Metrics
from components.motion import DofFar, MotionFar, MotionReference, RelativeTarget, TrackedBodies, TrackedState
from components.observation import ObservationNoise
from components.physics import Physics
from components.robot import DofState
from engine import Bundle, Term, Terms, World, Write, deferred, every, fuse, system
from engine.ranks.blocks import Blocks
from systems.maths.quaternion import angle_between
from systems.tick import INSPECT, REWARD

WINDOW = 100  # episodes over which the recent ones are averaged, and iterations that are remembered for it
ERRORS = (
    "anchor_position",
    "anchor_rotation",
    "anchor_linear_velocity",
    "anchor_angular_velocity",
    "body_position",
    "body_rotation",
    "body_linear_velocity",
    "body_angular_velocity",
    "dof_position",
    "dof_velocity",
)


def count_rewards(done: Done, episode: Episode, earned: Earned, reward: Reward, metrics: Write[Metrics]) -> None:
    """Add this tick's rewards, and the totals of the episodes that end in it.

    One product of (every row, ended rows) with (1, reward, steps, why it ended, each term's reward now and so far).
    """
    every_row = torch.ones_like(reward.total)
    picked = torch.stack((every_row, done.ended.to(every_row.dtype)))
    columns = [column.unsqueeze(-1) for column in (every_row, reward.total, episode.step)]
    metrics.sums.add_(picked @ torch.cat((*columns, done.reason, reward.terms, earned.sums), -1))


def count_errors(
    tracked: TrackedState,
    target: RelativeTarget,
    reference: MotionReference,
    dofs: DofState,
    bodies: TrackedBodies,
    metrics: Write[Metrics],
) -> None:
    """Add this tick's tracking errors, in the order of ERRORS: of the anchor in the world, means over bodies, L2 norms over joints.

    Places and rotations of bodies are compared with the re-placed reference, velocities in world axes. Every fourth tick
    says as much as every one, at a quarter of the operations.
    """
    at = slice(bodies.anchor, bodies.anchor + 1)
    vectors = (tracked.position, tracked.position[:, at], tracked.linear_velocity, tracked.angular_velocity)
    aims = (target.position, reference.body_position[:, at], reference.body_linear_velocity)
    lengths = (torch.cat(vectors, 1) - torch.cat((*aims, reference.body_angular_velocity), 1)).norm(dim=-1)
    turned = torch.cat((tracked.rotation, tracked.rotation[:, at]), 1)
    angles = angle_between(turned, torch.cat((target.rotation, reference.body_rotation[:, at]), 1))
    joints = (dofs.position - reference.dof_position).norm(dim=-1, keepdim=True)
    speeds = (dofs.velocity - reference.dof_velocity).norm(dim=-1, keepdim=True)
    summed = torch.cat((lengths, angles, joints, speeds), 1).sum(0, dtype=torch.float64)
    metrics.errors.addmv_(error_weights(len(bodies.names), bodies.anchor, summed.device), summed)
    metrics.errors[-1].add_(len(joints))


@functools.cache
def error_weights(count: int, anchor: int, device: torch.device) -> torch.Tensor:
    """How ERRORS are made of what `count_errors` adds up, (errors + 1, columns); for `count` bodies, one of them the anchor.

    Columns: distances of bodies, of the anchor in the world, errors of linear and of angular velocities of bodies, angles of
    bodies, that of the anchor in the world, joints, their velocities.
    """
    position, linear, angular, rotation = 0, count + 1, 2 * count + 1, 3 * count + 1
    weights = np.zeros((len(ERRORS) + 1, 4 * count + 4))
    single = (position + count, rotation + count, linear + anchor, angular + anchor)
    for row, column in enumerate(single):
        weights[row, column] = 1.0
    for row, first in enumerate((position, rotation, linear, angular), len(single)):
        weights[row, first : first + count] = 1.0 / count
    weights[-3, -2] = weights[-2, -1] = 1.0
    return torch.from_numpy(weights).to(device)


def flush_metrics(metrics: Write[Metrics]) -> None:
    """Keep the finished iteration as `latest`, and of ended episodes in the window, and start a new one."""
    older = torch.cat((metrics.sums[1:], metrics.window[:-1]))
    metrics.window.copy_(torch.where(metrics.sums[1, 0] > 0.0, older, metrics.window))
    for running, latest in ((metrics.sums, metrics.latest_sums), (metrics.errors, metrics.latest_errors)):
        latest.copy_(running)
        running.zero_()


def make_metrics(axes: Mapping[str, tuple[str, ...]], seed: int, device: torch.device) -> Metrics:
    """Metrics sized by the axes `reward` and `termination`; the seed is not used."""
    sums = torch.zeros(2, 3 + len(axes["termination"]) + 2 * len(axes["reward"]), dtype=torch.float64, device=device)
    errors = torch.zeros(len(ERRORS) + 1, dtype=torch.float64, device=device)
    window = sums.new_zeros(WINDOW, sums.shape[1])
    return Metrics(sums=sums, errors=errors, latest_sums=sums.clone(), latest_errors=errors.clone(), window=window)


def metrics(*, horizon: int, tracking: bool = False) -> Bundle:
    """Counts every tick and flushes every `horizon` ticks; `tracking` also counts how far off the robot is."""
    errors = [system(count_errors, when=every(4))] if tracking else []
    return Bundle(
        "metrics",
        resources=[deferred(Metrics, make_metrics)],
        systems={
            REWARD: [system(count_rewards, after="reward"), *errors],
            INSPECT: [system(flush_metrics, when=every(horizon))],
        },
        iteration=horizon,
    )


def measure(values: Terms, measured: Write[Measurements]) -> None:
    """Add this tick's values of terms, a number for each row, or nan where a row has none to give."""
    found = torch.stack([value for _, value in values], -1)
    counted = torch.stack((found.nan_to_num(0.0), (~found.isnan()).to(found.dtype)))
    measured.sums.add_(counted.sum(1))


def flush_measurements(measured: Write[Measurements]) -> None:
    """Keep the finished iteration as `latest` and start a new one."""
    measured.latest.copy_(measured.sums)
    measured.sums.zero_()


def measurements(terms: Mapping[str, Term], *, horizon: int) -> Bundle:
    """Means of `terms`, which return (rows,), over every `horizon` ticks, for `report` under the names that they have here.

    Every fourth tick says as much as every one, at a quarter of the operations.
    """

    def blank(axes: Mapping[str, tuple[str, ...]], seed: int, device: torch.device) -> Measurements:
        zero = torch.zeros(2, len(terms), dtype=torch.float64, device=device)
        return Measurements(names=tuple(terms), sums=zero, latest=zero.clone())

    return Bundle(
        "measurements",
        resources=[deferred(Measurements, blank)],
        systems={
            REWARD: [fuse(measure, terms, when=every(4))],
            INSPECT: [system(flush_measurements, when=every(horizon))],
        },
    )


def report(world: World, dt: float) -> dict[str, float]:
    """The finished iteration as numbers by name; what no episode that ended, or nobody, has counted is left out.

    `dt` is the control step in s; reward terms are per second of all rows, return and length of episodes that ended; those that
    are `recent` are of the newest iterations with a hundred of them.
    """
    latest = world[Metrics]
    axes = next(t.axes for t in world.tables.values() if "reward" in t.axes)
    reasons, terms = len(axes["termination"]), len(axes["reward"])
    (steps, reward, _, *rest), (count, _, length, *totals) = latest.latest_sums.tolist()
    numbers = {"reward/per_step": reward / max(steps, 1.0)}
    if count:
        numbers["episode/return"] = sum(totals[reasons + terms :]) / count
        numbers["episode/length"] = length / count
        numbers |= {f"end/{name}": n / count for name, n in zip(axes["termination"], totals[:reasons], strict=True)}
    before = latest.window[:, 0].cumsum(0) - latest.window[:, 0]
    count_recent, _, length, *totals = latest.window[before < WINDOW].sum(0).tolist()
    if count_recent:
        numbers["episode/recent_return"] = sum(totals[reasons + terms :]) / count_recent
        numbers["episode/recent_length"] = length / count_recent
    earned = rest[reasons : reasons + terms]
    numbers |= {f"reward/{name}": s / max(steps * dt, 1e-9) for name, s in zip(axes["reward"], earned, strict=True)}
    numbers["episode/ended"] = count
    *errors, counted = latest.latest_errors.tolist()
    if counted:
        numbers |= {f"error/{name}": e / counted for name, e in zip(ERRORS, errors, strict=True)}
    if Measurements in world.resources:
        measured = world[Measurements]
        means = zip(measured.names, *measured.latest.tolist(), strict=True)
        numbers |= {name: total / rows for name, total, rows in means if rows}
    numbers |= curricula(world) | command_ranges(world)
    if Physics in world.resources:
        numbers |= contacts(world[Physics], world.resources.get(Blocks))
    for each in world.resources.values():
        numbers |= reported(each)
    return numbers


def reported(resource: object) -> dict[str, float]:
    """The numbers that a learner's resource keeps for us: one of each tensor, or one for each of its `labels`."""
    prefix, found = getattr(type(resource), "REPORTED", None), dict[str, float]()
    if prefix is None:
        return found
    for field in attrs.fields(type(resource)):  # type: ignore[arg-type]
        value = getattr(resource, field.name)
        if not isinstance(value, torch.Tensor):
            continue
        if value.dim():
            found |= {f"{prefix}/{n}": v for n, v in zip(resource.labels, value.tolist(), strict=True)}  # type: ignore[attr-defined]
        else:
            found[f"{prefix}/{field.name}"] = float(value)
    return found


def contacts(physics: Physics, blocks: "Blocks | None") -> dict[str, float]:
    """Rows in which a buffer of the simulator was too small, and the overlap in m that one row of a hundred exceeds now.

    Of the rows of all processes that learn together.
    """

    def everywhere(own: torch.Tensor) -> torch.Tensor:
        return own if blocks is None else blocks.gathered(own)

    numbers, counts, depth = dict[str, float](), physics.overflows(), physics.penetration()
    if counts:
        rows = everywhere(torch.tensor([list(counts.values())])).sum(0)
        numbers |= {f"physics/{name}_overflows": float(n) for name, n in zip(counts, rows.tolist(), strict=True)}
    if depth is not None:
        numbers["physics/penetration"] = float(np.quantile(everywhere(torch.as_tensor(depth)).numpy(), 0.99))
    return numbers


def curricula(world: World) -> dict[str, float]:
    """Where the curricula stand, and the mean length in control steps that drives them; nothing without any."""
    if EpisodeLength not in world.resources:
        return {}
    limits = world[SoftLimits]
    return {
        "curriculum/episode_length": float(world[EpisodeLength].mean),
        "curriculum/penalty": float(world[PenaltyScale].value),
        "curriculum/position_limit": float(limits.position),
        "curriculum/velocity_limit": float(limits.velocity),
        "curriculum/torque_limit": float(limits.torque),
        "curriculum/motion_far": float(world[MotionFar].threshold),
        **({"curriculum/dof_far": float(world[DofFar].threshold)} if DofFar in world.resources else {}),
        "curriculum/noise": float(world[ObservationNoise].level),
    }


def command_ranges(world: World) -> dict[str, float]:
    """What commands are drawn from now, in m/s and rad/s; nothing without commands."""
    if CommandRange not in world.resources:
        return {}
    span = world[CommandRange]
    ends = zip(("forward", "sideways", "yaw_rate"), span.low.tolist(), span.high.tolist(), strict=True)
    return {
        f"command_range/{name}_{end}": x for name, *pair in ends for end, x in zip(("low", "high"), pair, strict=True)
    }


def titles(dt: float) -> dict[str, str]:
    """What the numbers of `report` are, for a reader who does not know them; `dt` is the control step in s."""
    return {
        "error/anchor_position": "Tracking error: place of the trunk (anchor), mean place of all bodies around it [m]",
        "error/body_position": "Tracking error: place of the trunk (anchor), mean place of all bodies around it [m]",
        "end/": "Why episodes end [share of those that ended]",
        "episode/length": f"Length of episodes [control steps of {dt:g} s]",
        "episode/recent_length": f"Length of the last hundred episodes [control steps of {dt:g} s]",
        "reward/per_step": "Mean reward of a control step [1]",
        "reward/": "What each reward term earns [1/s]",
        "error/anchor_rotation": "Tracking error: rotation of the trunk (anchor), mean rotation of all bodies [rad]",
        "error/body_rotation": "Tracking error: rotation of the trunk (anchor), mean rotation of all bodies [rad]",
        "error/anchor_linear_velocity": "Tracking error: speed of the trunk (anchor), mean of all bodies [m/s]",
        "error/body_linear_velocity": "Tracking error: speed of the trunk (anchor), mean of all bodies [m/s]",
        "error/anchor_angular_velocity": "Tracking error: turning of the trunk (anchor), mean of all bodies [rad/s]",
        "error/body_angular_velocity": "Tracking error: turning of the trunk (anchor), mean of all bodies [rad/s]",
        "error/dof_position": "Tracking error: joint angles, L2 norm over joints [rad]",
        "learn/kl": "Learning: change of the policy in one update, KL divergence [nat]",
        "sampler/top_clip": "Sampling: the clip of the likeliest bin [number]",
        "sampler/top_second": "Sampling: where in its clip the likeliest bin begins [s]",
        "sampler/": "Sampling: evenness of starts (entropy), the largest chance of a bin, and which bin it is [share]",
        "curriculum/": "Curricula: penalty and limits [share], radius [m], joints [rad], length [control steps]",
        "imagine/real_reward": "Learning in imagination: reward of a real and of an imagined control step [1]",
        "imagine/imagined_reward": "Learning in imagination: reward of a real and of an imagined control step [1]",
        "imagine/error_1": "Learned model: mean error of a joint 1, 4, 8 and 16 steps ahead [rad]",
        "imagine/error_4": "Learned model: mean error of a joint 1, 4, 8 and 16 steps ahead [rad]",
        "imagine/error_8": "Learned model: mean error of a joint 1, 4, 8 and 16 steps ahead [rad]",
        "imagine/error_16": "Learned model: mean error of a joint 1, 4, 8 and 16 steps ahead [rad]",
        "imagine/gap": "Learning in imagination: how much more an imagined step earns than a real one [share]",
        "imagine/kl": "Learning in imagination: change of the policy in one update, KL divergence [nat]",
        "learn/action_std": "Exploration: standard deviation of actions [1]",
    }


def locomotion_titles(dt: float) -> dict[str, str]:
    """`titles` of a robot that is asked for velocities."""
    followed = "Error of horizontal velocity [m/s] and of the yaw rate [rad/s], mean"
    own = {"error/linear_velocity": followed, "error/yaw_rate": followed}
    shared = {
        n: t for n, t in titles(dt).items() if not n.startswith(("error/", "imagine/", "curriculum/", "sampler/"))
    }
    return {
        **own,
        **shared,
        "gait/slip": "Gait: speed of feet that touch, and height that soles reach [m/s and m]",
        "gait/swing_peak": "Gait: speed of feet that touch, and height that soles reach [m/s and m]",
        "gait/landing_force": "Gait: force on feet that land, mean [N]",
        "terrain/": "Terrain: level of the rows, mean of all and by kind of tile [1]",
        "command/": "What is asked for, mean [m/s and rad/s]",
        "command_range/": "What is asked for, the range that it is drawn from [m/s and rad/s]",
    }
