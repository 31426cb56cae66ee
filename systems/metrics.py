"""What an iteration was like: rewards, episode lengths, why episodes ended, how far the robot was off."""

from collections.abc import Mapping
from typing import Any, cast

import attrs
import torch

from components.episode import Done, Episode, Reward
from components.learning import LearningMetrics
from components.metrics import Metrics
from components.motion import MotionReference, RelativeTarget, TrackedBodies, TrackedState
from components.robot import DofState
from engine import Bundle, World, Write, deferred, every, system
from systems.tick import INSPECT, REWARD

ERRORS = (
    "anchor_position",
    "body_position",
    "body_linear_velocity",
    "body_angular_velocity",
    "dof_position",
    "dof_velocity",
)


def count_rewards(done: Done, episode: Episode, reward: Reward, metrics: Write[Metrics]) -> None:
    """Add this tick's rewards, and the totals of the episodes that end in it.

    One product of (every row, ended rows) with (1, reward, steps, why it ended, reward of each term so far).
    """
    every_row = torch.ones_like(reward.total)
    picked = torch.stack((every_row, done.ended.to(every_row.dtype)))
    columns = [column.unsqueeze(-1) for column in (every_row, reward.total, episode.step)]
    metrics.sums.add_(picked @ torch.cat((*columns, done.reason, episode.reward_sums), -1))


def count_errors(
    tracked: TrackedState,
    target: RelativeTarget,
    reference: MotionReference,
    dofs: DofState,
    bodies: TrackedBodies,
    metrics: Write[Metrics],
) -> None:
    """Add this tick's tracking errors, in the order of ERRORS: means over bodies, L2 norms over joints.

    Every fourth tick says as much as every one, at a quarter of the operations.
    """
    anchor = (tracked.position[:, bodies.anchor] - reference.body_position[:, bodies.anchor]).norm(dim=-1)
    position = (tracked.position - target.position).norm(dim=-1).mean(-1)
    linear = (tracked.linear_velocity - reference.body_linear_velocity).norm(dim=-1).mean(-1)
    angular = (tracked.angular_velocity - reference.body_angular_velocity).norm(dim=-1).mean(-1)
    joints = (dofs.position - reference.dof_position).norm(dim=-1)
    speeds = (dofs.velocity - reference.dof_velocity).norm(dim=-1)
    counted = torch.ones_like(anchor)
    metrics.errors.add_(torch.stack((anchor, position, linear, angular, joints, speeds, counted)).sum(-1))


def flush_metrics(metrics: Write[Metrics]) -> None:
    """Keep the finished iteration as `latest` and start a new one."""
    for running, latest in ((metrics.sums, metrics.latest_sums), (metrics.errors, metrics.latest_errors)):
        latest.copy_(running)
        running.zero_()


def make_metrics(axes: Mapping[str, tuple[str, ...]], seed: int, device: torch.device) -> Metrics:
    """Metrics sized by the axes `reward` and `termination`; the seed is not used."""
    sums = torch.zeros(2, 3 + len(axes["termination"]) + len(axes["reward"]), dtype=torch.float64, device=device)
    errors = torch.zeros(len(ERRORS) + 1, dtype=torch.float64, device=device)
    return Metrics(sums=sums, errors=errors, latest_sums=sums.clone(), latest_errors=errors.clone())


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
    )


def report(world: World, dt: float) -> dict[str, float]:
    """The finished iteration as numbers by name; what no episode ended to tell, or nobody counted, is left out.

    `dt` is the control step in s; reward terms are per second of the episodes that ended.
    """
    latest = world[Metrics]
    axes = next(t.axes for t in world.tables.values() if "reward" in t.axes)
    (steps, reward, *_), (count, _, length, *totals) = latest.latest_sums.tolist()
    reasons, terms = totals[: len(axes["termination"])], totals[len(axes["termination"]) :]
    numbers = {"reward/per_step": reward / max(steps, 1.0)}
    if count:
        numbers["episode/return"] = sum(terms) / count
        numbers["episode/length"] = length / count
        numbers |= {f"reward/{name}": s / max(length * dt, 1e-9) for name, s in zip(axes["reward"], terms, strict=True)}
        numbers |= {f"end/{name}": n / count for name, n in zip(axes["termination"], reasons, strict=True)}
    numbers["episode/ended"] = count
    *errors, counted = latest.latest_errors.tolist()
    if counted:
        numbers |= {f"error/{name}": e / counted for name, e in zip(ERRORS, errors, strict=True)}
    if LearningMetrics in world.resources:
        learned = world[LearningMetrics]
        numbers |= {
            f"learn/{f.name}": float(getattr(learned, f.name)) for f in attrs.fields(cast(Any, LearningMetrics))
        }
    return numbers
