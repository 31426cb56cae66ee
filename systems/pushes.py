"""Pushes: the root's velocity changes all at once, row by row, every few seconds."""

import math
from typing import Any

import attrs
import torch

from components.episode import PushTimer, Rewritten
from components.robot import RootState
from engine import Rng, System, Write, any_row, put_rows, system
from engine.errors import SceneError
from systems.maths.tensors import vector
from systems.tick import BEGIN, PERTURB, TERMINATE

Span = tuple[float, float]
Triple = tuple[float, float, float]


@attrs.frozen
class Push:
    """Pushes every U(`interval`) s of a row: half ranges `linear` m/s and `angular` rad/s, added to the velocity or in its place."""

    interval: Span = (1.0, 3.0)
    linear: Triple = (0.5, 0.5, 0.2)
    angular: Triple = (0.52, 0.52, 0.78)
    replace: bool = False

    def scaled(self, share: float) -> "Push":
        """The same pushes, so many times as strong."""
        x, y, z = (share * most for most in self.linear)
        roll, pitch, yaw = (share * most for most in self.angular)
        return attrs.evolve(self, linear=(x, y, z), angular=(roll, pitch, yaw))


def push_systems(name: str, push_: Push, dt: float) -> dict[str, list[System]]:
    """The systems of pushes that go by `name` in the randomization, by phase; SceneError for what is no push."""
    where, most = f"randomization.{name}", (*push_.linear, *push_.angular)
    if not 0 < push_.interval[0] <= push_.interval[1] < math.inf:
        raise SceneError(f"{where}: interval={push_.interval} is not a range of positive numbers, such as (1.0, 3.0).")
    if not all(0.0 <= x < math.inf for x in most) or not any(most):
        raise SceneError(
            f"{where}: linear={push_.linear}, angular={push_.angular} are no half ranges, from 0 up and not all 0, such as "
            "linear=(0.5, 0.5, 0.2). Leave the push out to do without."
        )
    timing: dict[str, Any] = {"interval": push_.interval, "dt": dt}
    given: dict[str, Any] = {"linear": push_.linear, "angular": push_.angular, "replace": push_.replace}
    return {
        BEGIN: [system(draw_first_push, **timing)],
        TERMINATE: [system(mark_pushed, after="mark_rewritten")],
        PERTURB: [system(push, when=any_row(Rewritten, "rows"), **given, **timing)],
    }


def draw_first_push(rng: Rng, timer: Write[PushTimer], *, interval: Span, dt: float) -> None:
    """Give every row its first wait, uniform over `interval` in s."""
    timer.wait.random_(*control_steps(interval, dt), generator=rng)
    timer.due.zero_()


def mark_pushed(timer: Write[PushTimer], rewritten: Write[Rewritten]) -> None:
    """Count down; rows whose wait is over are pushed in this tick."""
    timer.wait.sub_(1)
    torch.le(timer.wait, 0, out=timer.due)
    rewritten.rows.logical_or_(timer.due)


def push(
    rewritten: Rewritten,
    rng: Rng,
    timer: Write[PushTimer],
    root: Write[RootState],
    *,
    linear: Triple,
    angular: Triple,
    interval: Span,
    dt: float,
    replace: bool = False,
) -> None:
    """Add U(−x, x) to the root velocity of rows that are due: x is `linear` in m/s, then `angular` in rad/s.

    With `replace` it takes the place of the velocity, in the directions in which x is not 0; that may brake as well. Rows that
    are pushed, or about to start over, draw a new wait.
    """
    amplitude = vector(tuple(2.0 * x for x in (*linear, *angular)), root.position.device)
    kick = torch.rand((len(timer.due), 6), generator=rng, device=root.position.device).sub_(0.5).mul_(amplitude)
    kick.mul_(timer.due.unsqueeze(-1))
    if replace:
        stopped = timer.due.unsqueeze(-1) & (amplitude > 0.0)
        root.linear_velocity.masked_fill_(stopped[:, :3], 0.0)
        root.angular_velocity.masked_fill_(stopped[:, 3:], 0.0)
    root.linear_velocity.add_(kick[:, :3])
    root.angular_velocity.add_(kick[:, 3:])
    put_rows(
        timer.wait, rewritten.rows, torch.empty_like(timer.wait).random_(*control_steps(interval, dt), generator=rng)
    )


def control_steps(interval: Span, dt: float) -> tuple[int, int]:
    """First and one past the last number of control steps that `interval` in s stands for."""
    first = max(1, round(interval[0] / dt))
    return first, max(first, round(interval[1] / dt)) + 1
