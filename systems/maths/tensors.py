"""Constants of registrations as tensors, made once per value and device.

Every function here is pure: the same arguments always give the same tensor, so remembering it is not state.
Nobody may write into what they return.
"""

import functools
import re

import torch
from torch import Tensor

from engine.errors import SceneError, did_you_mean, listing


@functools.cache
def vector(values: tuple[float, ...], device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """`values` as a vector."""
    return torch.tensor(values, dtype=dtype, device=device)


@functools.cache
def mask(values: tuple[bool, ...], device: torch.device) -> Tensor:
    """`values` as a boolean vector."""
    return torch.tensor(values, dtype=torch.bool, device=device)


@functools.cache
def spread(values: tuple[float, ...], widths: tuple[int, ...], device: torch.device) -> Tensor:
    """Each value repeated as often as its term is wide: one number per column of the concatenated terms."""
    return torch.tensor([v for v, width in zip(values, widths, strict=True) for _ in range(width)], device=device)


@functools.cache
def indices(names: tuple[str, ...], patterns: tuple[str, ...], device: torch.device) -> Tensor:
    """Where in `names` the regular expressions match a whole name, in the order of `names`, as int64.

    Raises SceneError for a pattern that matches nothing.
    """
    for pattern in patterns:
        if not any(re.fullmatch(pattern, name) for name in names):
            raise SceneError(
                f"'{pattern}' matches none of {listing(names, 40)}. Write a regular expression that matches a "
                f"whole name.{did_you_mean(pattern, names)}"
            )
    found = [i for i, name in enumerate(names) if any(re.fullmatch(pattern, name) for pattern in patterns)]
    return torch.tensor(found, dtype=torch.int64, device=device)


@functools.cache
def by_pattern(names: tuple[str, ...], values: tuple[tuple[str, float], ...], device: torch.device) -> Tensor:
    """One number for each name: that of the first pattern which matches the whole of it.

    Raises SceneError for a name that none matches.
    """
    found = [next((value for pattern, value in values if re.fullmatch(pattern, name)), None) for name in names]
    missing = [name for name, value in zip(names, found, strict=True) if value is None]
    if missing:
        raise SceneError(
            f"None of the patterns {listing([pattern for pattern, _ in values], 40)} matches {listing(missing, 40)}, and each "
            "needs a number. Add (pattern, number) for them."
        )
    return torch.tensor(found, dtype=torch.float32, device=device)
