"""Rewards added up: values of terms, weighed, for each row and tick.

What the settings mean is explained in `systems/rewards.py`.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from components.episode import Done, Earned, PenaltyScale, Reward, RewardWidths
from engine import System, Terms, Write, put_rows
from systems.maths.gradients import write
from systems.maths.tensors import mask, vector


def _earn(
    values: Terms,
    done: Done,
    so_far: Earned,
    earned: Reward,
    dt: float,
    only_positive: bool,
    scale: Tensor | None,
    widths: RewardWidths | None = None,
    alpha: float = 0.0,
) -> None:
    device, terms = earned.total.device, earned.terms
    weights = vector(tuple(float(w) * dt for w in values.setting("weight", 1.0)), device)
    if scale is not None:
        scaled = vector(tuple(float(bool(p)) for p in values.setting("penalty", False)), device)
        weights = weights * torch.lerp(torch.ones_like(scaled), scale.to(scaled.dtype), scaled)
    values.stack(terms)
    finite, falloff = values.finite(terms), _falloff(values)
    if any(falloff):
        steep = vector(tuple(-f for f in falloff), device)
        if widths is not None:
            _tighten(values.setting("adapts"), terms, widths, alpha)
            steep = torch.where(widths.width > 0.0, -1.0 / widths.width, steep)
        near = torch.exp(terms * steep)
        write(terms, torch.where, mask(tuple(f > 0 for f in falloff), device), near, terms)
        finite = values.finite(terms) and finite  # a negative error may fall up without bound
    terms.mul_(weights).masked_fill_(done.lost.unsqueeze(-1), 0.0)
    if finite:
        write(so_far.least, torch.minimum, so_far.least, terms)
    else:
        _pay_the_least(terms, so_far.least)
    if only_positive:
        clipped = vector(tuple(float(not u) for u in values.setting("unclipped", False)), device, terms.dtype)
        write(earned.total, torch.mv, terms, clipped).clamp_min_(0.0).add_(torch.mv(terms, 1.0 - clipped))
    else:
        write(earned.total, torch.sum, terms, -1)
    so_far.sums.add_(terms)


def _tighten(adapts: Sequence[str | float | None], errors: Tensor, widths: RewardWidths, alpha: float) -> None:
    """Fold the mean errors (rows, terms) of this tick into the running ones, and let widths follow them downwards."""
    follows = mask(tuple(each is not None for each in adapts), errors.device)
    now = torch.nan_to_num(errors.detach(), nan=0.0, posinf=0.0, neginf=0.0).mean(0)
    widths.error.copy_(torch.where(follows, torch.lerp(widths.error, now, alpha), 0.0))
    share = vector(tuple(float(each) if isinstance(each, (int, float)) else 1.0 for each in adapts), errors.device)
    least = torch.minimum(widths.width, share * widths.error)
    half = torch.minimum(widths.width, 0.5 * (least + widths.error))
    means = mask(tuple(each == "mean" for each in adapts), errors.device)
    widths.width.copy_(torch.where(follows, torch.where(means, half, least), 0.0))


def _pay_the_least(terms: Tensor, least: Tensor) -> None:
    """Put in place of what is not finite the least that the term ever paid in any row, at most 0.

    So nothing that makes a term break pays more than what the term is there to prevent. What is finite stays, for it is
    among the least or above.
    """
    paid = terms.clone()
    write(least, torch.minimum, least, torch.nan_to_num(paid, 0.0, 0.0, 0.0))
    write(terms, torch.maximum, torch.nan_to_num(paid, -math.inf, -math.inf, -math.inf), least.amin(0))


def _falloff(values: Terms) -> tuple[float, ...]:
    """1 / std² or 1 / width of every term; 0 where a term's value counts as it is."""
    pairs = zip(values.setting("std"), values.setting("width"), strict=True)
    return tuple(1.0 / std**2 if std else 1.0 / width if width else 0.0 for std, width in pairs)


def reward(
    values: Terms, done: Done, so_far: Write[Earned], earned: Write[Reward], *, dt: float, only_positive: bool = False
) -> None:
    """Add up weight × value × dt, with `dt` in s; a lost tick counts 0.

    A term that is not finite counts the least that it ever paid in any row, and at most 0.

    `only_positive` cuts the sum off at 0, without the terms registered as `unclipped`.
    """
    _earn(values, done, so_far, earned, dt, only_positive, None)


def reward_under_curriculum(
    values: Terms,
    done: Done,
    penalty: PenaltyScale,
    so_far: Write[Earned],
    earned: Write[Reward],
    *,
    dt: float,
    only_positive: bool = False,
) -> None:
    """`reward`, with the weights of terms registered as `penalty` scaled by the curriculum."""
    _earn(values, done, so_far, earned, dt, only_positive, penalty.value)


def reward_that_adapts(
    values: Terms,
    done: Done,
    widths: Write[RewardWidths],
    so_far: Write[Earned],
    earned: Write[Reward],
    *,
    dt: float,
    only_positive: bool = False,
    alpha: float = 0.001,
) -> None:
    """`reward`, with widths that follow the errors of terms; `alpha` is the share of a tick in the running mean error."""
    _earn(values, done, so_far, earned, dt, only_positive, None, widths, alpha)


def reward_that_adapts_under_curriculum(
    values: Terms,
    done: Done,
    penalty: PenaltyScale,
    widths: Write[RewardWidths],
    so_far: Write[Earned],
    earned: Write[Reward],
    *,
    dt: float,
    only_positive: bool = False,
    alpha: float = 0.001,
) -> None:
    """`reward_that_adapts`, with the weights of terms registered as `penalty` scaled by the curriculum."""
    _earn(values, done, so_far, earned, dt, only_positive, penalty.value, widths, alpha)


def begin_widths(earned: System, axes: Mapping[str, tuple[str, ...]], seed: int, device: torch.device) -> RewardWidths:
    """The widths that terms are registered with, where they adapt; the seed is not used."""
    start = [0.0] * len(axes["reward"])
    for place, each in enumerate(earned.terms.values()):
        std: float | None = each.settings.get("std")
        if each.settings.get("adapts") is not None:
            start[place] = std**2 if std else float(each.settings["width"])
    made = torch.tensor(start, device=device)
    return RewardWidths(width=made, error=made.clone())


def reset_earned(done: Done, so_far: Write[Earned]) -> None:
    """Ended rows start with nothing earned."""
    put_rows(so_far.sums, done.ended, 0.0)
