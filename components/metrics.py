"""Metrics of training, and scores of a trained policy."""

from typing import ClassVar

import torch
from torch import Tensor

from engine.ecs.component import column, component, constant, resource
from engine.ranks.sharing import Summed, summed


@resource
class Metrics:
    """Sums over the running iteration, and the finished iteration before it."""

    COMBINED: ClassVar[Summed] = summed("sums", "errors")

    sums: Tensor  # (2, 3 + termination + reward): over all rows, and over rows whose episode ended
    errors: Tensor  # (errors + 1,) tracking errors summed over rows and sampled ticks, and how many there were
    latest_sums: Tensor
    latest_errors: Tensor
    window: Tensor  # (iterations, 3 + termination + reward) of rows whose episode ended, newest first, where any did

    def load(self, state: dict[str, Tensor]) -> None:
        """Put saved sums back; a window that was not saved begins empty."""
        for name in ("sums", "errors", "latest_sums", "latest_errors", "window"):
            own = getattr(self, name)
            own.copy_(state.get(name, torch.zeros_like(own)))


@resource
class Measurements:
    """Means of terms over the running iteration, and over the finished one before it; rows without a number do not count."""

    COMBINED: ClassVar[Summed] = summed("sums")

    names: tuple[str, ...] = constant()
    sums: Tensor  # (2, terms): of values, and how many there were
    latest: Tensor


@component
class CommandScore:
    """How well the first episode of each row followed its commands."""

    linear: Tensor = column(unit="m/s", doc="sum over frames of the error of horizontal velocity")
    turning: Tensor = column(unit="rad/s", doc="sum over frames of the error of the yaw rate")


@component
class FirstEpisode:
    """The first episode of each row, for an evaluation: what comes after it does not count."""

    alive: Tensor = column(dtype=torch.bool, fill=1.0)
    failed: Tensor = column(dtype=torch.bool, doc="ended by a failure")
    steps: Tensor = column(dtype=torch.int64, unit="control steps")
    earned: Tensor = column(unit="1", doc="sum of rewards: the return, undiscounted")


@component
class Score:
    """How one evaluation episode went. Rows stop counting when their first episode ends."""

    alive: Tensor = column(dtype=torch.bool, fill=1.0)
    failed: Tensor = column(dtype=torch.bool, doc="ended by a failure")
    far: Tensor = column(dtype=torch.bool, doc="mean body error above the limit in some frame")
    frames: Tensor = column(dtype=torch.int64)
    clip: Tensor = column(dtype=torch.int64, doc="the clip that was played")
    sums: Tensor = column("score", doc="sums over frames, in the order of axis score")
    offset: Tensor = column("tracked", 3, unit="m", doc="robot − reference in the last frame")
    offset_before: Tensor = column("tracked", 3, unit="m", doc="the same one frame earlier")
