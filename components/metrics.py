"""Numbers about training and about a trained policy."""

import torch
from torch import Tensor

from engine.component import column, component, resource


@resource
class Metrics:
    """Sums over the running iteration, and the finished iteration before it."""

    steps: Tensor  # () row-steps so far
    episodes: Tensor  # (2 + reward,) of ended episodes: count, steps, weighted reward of each term
    reasons: Tensor  # (termination,) episodes by the term that ended them
    errors: Tensor  # (errors + 1,) tracking errors summed over rows and sampled ticks, and how many there were
    rewards: Tensor  # () reward, summed over rows and ticks
    latest_steps: Tensor
    latest_episodes: Tensor
    latest_reasons: Tensor
    latest_errors: Tensor
    latest_rewards: Tensor


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
