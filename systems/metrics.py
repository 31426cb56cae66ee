"""What an iteration was like: rewards, episode lengths, why episodes ended, how far the robot was off."""

from collections.abc import Mapping

import attrs
import torch
from torch import Tensor

from components.episode import Done, Episode, Reward
from components.learning import LearningMetrics
from components.metrics import Metrics
from components.motion import MotionReference, RelativeTarget, TrackedBodies, TrackedState
from components.robot import DofState
from engine import Bundle, World, Write, deferred, every, system
from systems.tick import INSPECT, REWARD

ERRORS = ("anchor_position", "body_position", "body_linear_velocity", "body_angular_velocity", "dof_position", "dof_velocity")


def count_rewards(done: Done, episode: Episode, reward: Reward, metrics: Write[Metrics]) -> None:
    """Add this tick's rewards, and the totals of the episodes that end in it."""
    ended = done.ended.to(torch.float32)
    totals = torch.cat((torch.ones_like(ended).unsqueeze(-1), episode.step.unsqueeze(-1), episode.reward_sums), -1)
    metrics.episodes.add_(ended @ totals)
    metrics.reasons.add_((done.reason & done.ended.unsqueeze(-1)).sum(0))
    metrics.rewards.add_(reward.total.sum())
    metrics.steps.add_(len(ended))


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
    for name in ("steps", "episodes", "reasons", "errors", "rewards"):
        running: Tensor = getattr(metrics, name)
        getattr(metrics, f"latest_{name}").copy_(running)
        running.zero_()


def make_metrics(axes: Mapping[str, tuple[str, ...]], seed: int, device: torch.device) -> Metrics:
    """Metrics sized by the axes `reward` and `termination`; the seed is not used."""
    sizes = {"steps": (), "episodes": (2 + len(axes["reward"]),), "reasons": (len(axes["termination"]),)}
    sizes |= {"errors": (len(ERRORS) + 1,), "rewards": ()}
    fields = {name: torch.zeros(size, dtype=torch.float64 if name != "episodes" else torch.float32, device=device) for name, size in sizes.items()}
    return Metrics(**fields, **{f"latest_{name}": tensor.clone() for name, tensor in fields.items()})


def metrics(*, horizon: int) -> Bundle:
    """Counts every tick and flushes every `horizon` ticks."""
    return Bundle(
        "metrics",
        resources=[deferred(Metrics, make_metrics)],
        systems={
            REWARD: [system(count_rewards, after="reward"), system(count_errors, when=every(4))],
            INSPECT: [system(flush_metrics, when=every(horizon))],
        },
    )


def report(world: World, dt: float) -> dict[str, float]:
    """The finished iteration as numbers by name; what no episode ended to tell is left out.

    `dt` is the control step in s; reward terms are per second of the episodes that ended.
    """
    latest = world[Metrics]
    axes = next(t.axes for t in world.tables.values() if "reward" in t.axes)
    steps = max(float(latest.latest_steps), 1.0)
    numbers = {"reward/per_step": float(latest.latest_rewards) / steps}
    count, length, *sums = latest.latest_episodes.double().tolist()
    if count:
        numbers["episode/return"] = sum(sums) / count
        numbers["episode/length"] = length / count
        numbers |= {f"reward/{name}": s / max(length * dt, 1e-9) for name, s in zip(axes["reward"], sums, strict=True)}
    numbers["episode/ended"] = count
    numbers |= {f"end/{name}": n / max(count, 1.0) for name, n in zip(axes["termination"], latest.latest_reasons.tolist(), strict=True)}
    *errors, counted = latest.latest_errors.tolist()
    numbers |= {f"error/{name}": e / max(counted, 1.0) for name, e in zip(ERRORS, errors, strict=True)}
    if LearningMetrics in world.resources:
        learned = world[LearningMetrics]
        numbers |= {f"learn/{f.name}": float(getattr(learned, f.name)) for f in attrs.fields(LearningMetrics)}
    return numbers
