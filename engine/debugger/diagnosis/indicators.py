"""Indicators of trouble: statistics of observation channels, joints, reward terms and feet. Without words, without a store."""

import math
import warnings
from collections.abc import Sequence

import attrs
import numpy as np

from engine.debugger.model.evidence import RowSamples

FAR = 8.0  # spreads from the middle
JITTER = 8.0  # Hz
WINDOW = 64  # ticks
AT_LIMIT = 0.99  # share of a limit that counts as reaching it
MOST_SAMPLES = 800  # that quantiles are taken of


def pooled(samples: Sequence[RowSamples]) -> np.ndarray:
    """All values, (samples, labels); (0, 0) without any."""
    found = [s.values for s in samples if len(s.values)]
    return np.concatenate(found) if found else np.zeros((0, 0))


# -- channels of observations and actions --------------------------------------------------------------


@attrs.frozen(eq=False)
class ChannelIndicators:
    """Per channel, over all samples; statistics are of the finite values, NaN where there are none."""

    samples: int
    pairs: int  # consecutive samples within an episode
    mean: np.ndarray
    spread: np.ndarray
    low: np.ndarray
    high: np.ndarray
    changes: np.ndarray  # share of consecutive ticks in which the value changed; NaN without any
    rate: np.ndarray  # root mean square change from tick to tick; NaN without any
    nonfinite: np.ndarray  # share of samples
    at_limit: np.ndarray  # share of samples
    far: np.ndarray  # share of samples more than FAR robust spreads from the median
    peak: np.ndarray  # largest distance from the median, in robust spreads


def channel_indicators(samples: Sequence[RowSamples], limit: float | None = None) -> ChannelIndicators | None:
    """Indicators of every channel; `limit` is the bound at which values are clipped. None without a sample."""
    values = pooled(samples)
    if not values.size:
        return None
    pairs, changed, squares = 0, np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for part_of_row in samples:
        steps = part_of_row.steps()
        before, after = part_of_row.values[:-1][steps], part_of_row.values[1:][steps]
        pairs += len(before)
        changed += ((before != after) & ((before == before) | (after == after))).sum(0)
        with np.errstate(invalid="ignore"):
            change = after - before
        squares += np.where(np.isfinite(change), change**2, 0.0).sum(0)
    finite = np.isfinite(values)
    clean = values if finite.all() else np.where(finite, values, np.nan)
    part = clean[:: max(1, -(-len(clean) // MOST_SAMPLES))]
    mean, spread, low, high = _nan_statistics(clean)
    below, middle, above = nan_quantiles(part, (0.16, 0.5, 0.84))
    robust = (above - below) / 2
    robust = np.where(robust > 0, robust, spread)
    with np.errstate(invalid="ignore", divide="ignore"):
        peak = np.where(robust > 0, np.maximum(high - middle, middle - low) / robust, 0.0)
        at_limit = (np.abs(clean) >= limit * (1 - 1e-6)).mean(0) if limit else np.zeros(values.shape[1])
        far = np.zeros(values.shape[1])
        out = peak > FAR
        far[out] = (np.abs(clean[:, out] - middle[out]) > FAR * robust[out]).mean(0)
    unknown = np.full(values.shape[1], np.nan)
    return ChannelIndicators(
        samples=len(values),
        pairs=pairs,
        mean=mean,
        spread=spread,
        low=low,
        high=high,
        changes=changed / pairs if pairs else unknown,
        rate=np.sqrt(squares / pairs) if pairs else unknown,
        nonfinite=1 - finite.mean(0),
        at_limit=at_limit,
        far=far,
        peak=np.nan_to_num(peak),
    )


def nan_quantiles(values: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Quantiles (shares, labels) of (samples, labels) without NaN; NaN where nothing is left. Linear between ranks."""
    ordered = np.sort(np.ascontiguousarray(values.T), axis=1).T  # NaN last
    count = (~np.isnan(values)).sum(0)
    rank = np.asarray(shares)[:, None] * np.maximum(count - 1, 0)
    lower = np.floor(rank).astype(int)
    upper = np.minimum(lower + 1, np.maximum(count - 1, 0))
    columns = np.arange(values.shape[1])
    with np.errstate(invalid="ignore"):
        found = ordered[lower, columns] * (1 - (rank - lower)) + ordered[upper, columns] * (rank - lower)
    return np.where(count > 0, found, np.nan)


def _nan_statistics(clean: np.ndarray) -> tuple[np.ndarray, ...]:
    """Mean, standard deviation, lowest and highest value of each column without its NaN."""
    low, high = clean.min(0), clean.max(0)
    if not np.isnan(low).any():
        return clean.mean(0), np.where(low == high, 0.0, clean.std(0)), low, high
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a column without a finite value
        mean, spread, low, high = (f(clean, 0) for f in (np.nanmean, np.nanstd, np.nanmin, np.nanmax))
    return mean, np.where(low == high, 0.0, spread), low, high


# -- joints --------------------------------------------------------------------------------------------


def fast_power(samples: Sequence[RowSamples], dt: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Share of each joint's velocity power above JITTER, the size of that part in rad/s, and how many windows were used.

    Welch's method: Hann windows of WINDOW ticks that overlap by half, without their mean. NaN where a joint
    stands still or nothing was long enough.
    """
    total: np.ndarray | float = 0.0
    count = 0
    weights = np.hanning(WINDOW)[:, None]
    for part_of_row in samples:
        broken = np.flatnonzero(~part_of_row.steps()) + 1
        for part in np.split(part_of_row.values, broken):
            for start in range(0, len(part) - WINDOW + 1, WINDOW // 2):
                block = part[start : start + WINDOW]
                if np.isfinite(block).all():
                    total = total + np.abs(np.fft.rfft((block - block.mean(0)) * weights, axis=0)) ** 2
                    count += 1
    width = samples[0].values.shape[1] if samples else 0
    if not count:
        return np.full(width, np.nan), np.full(width, np.nan), 0
    power = np.asarray(total)
    fast = np.fft.rfftfreq(WINDOW, dt) > JITTER
    whole, above = power.sum(0), power[fast].sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(whole > 0, above / whole, np.nan)
    size = np.sqrt(2 * above / count / (weights**2).sum() / WINDOW)
    return share, size, count


def saturation(use: np.ndarray) -> np.ndarray:
    """Share of samples (samples, joints) of |torque| / limit in which a joint is at its limit; NaN without finite ones."""
    finite = np.isfinite(use)
    with np.errstate(invalid="ignore"):
        at = (use >= AT_LIMIT) & finite
        return np.where(finite.any(0), at.sum(0) / np.maximum(finite.sum(0), 1), np.nan)


# -- reward terms --------------------------------------------------------------------------------------


@attrs.frozen(eq=False)
class TermIndicators:
    """Of one reward term over rows and time, in what a tick earns."""

    samples: int
    mean: float
    spread: float
    zero: float  # share of samples that are exactly 0
    nonfinite: int


def term_indicators(values: np.ndarray) -> TermIndicators | None:
    """Signs of one term from its samples; None without a finite one."""
    finite = values[np.isfinite(values)].astype(np.float64)
    if not len(finite):
        return None
    spread = 0.0 if (finite == finite[0]).all() else float(finite.std())
    zero = float((finite == 0).mean())
    return TermIndicators(len(finite), float(finite.mean()), spread, zero, len(values) - len(finite))


@attrs.frozen(eq=False)
class KernelIndicators:
    """How a term scale · exp(−e² / σ²) is used: `value` in [0, 1] is what is left of the scale."""

    value: np.ndarray
    low: float  # share of samples below 0.05: too far away to feel the way
    high: float  # share of samples above 0.95: nothing left to gain
    error: float | None  # median e; None where most values have vanished


def kernel_indicators(values: np.ndarray, scale: float, sigma: float) -> KernelIndicators | None:
    """Where on its slope a kernel is; None without a finite sample or scale."""
    finite = values[np.isfinite(values)].astype(np.float64)
    if not len(finite) or not scale:
        return None
    value = np.clip(finite / scale, 0.0, 1.0)
    middle = float(np.median(value))
    error = sigma * math.sqrt(max(0.0, -math.log(middle))) if middle > 0 else None
    return KernelIndicators(value, float((value < 0.05).mean()), float((value > 0.95).mean()), error)


def kernel_slope(value: np.ndarray) -> np.ndarray:
    """|d exp(−u²) / du| where exp(−u²) is `value`, as a share of the steepest; u = e / σ."""
    clipped = np.clip(value, 1e-12, 1.0)
    return np.asarray(2 * np.sqrt(-np.log(clipped)) * clipped / (math.sqrt(2) * math.exp(-0.5)))


# -- feet and episodes ------------------------------------------------------------------------------------------


def lifted(height: np.ndarray) -> np.ndarray:
    """Where a foot is more than 4 cm above its usual lowest height in m (the 5th percentile)."""
    finite = height[np.isfinite(height)]
    if not len(finite):
        return np.zeros(len(height), bool)
    return np.asarray(height > np.percentile(finite, 5) + 0.04)


def densest(values: np.ndarray, share: float) -> tuple[float, float]:
    """The shortest interval that holds at least `share` of the values (at least one of them)."""
    ordered = np.sort(values)
    count = max(1, math.ceil(share * len(ordered)))
    starts = ordered[: len(ordered) - count + 1]
    place = int(np.argmin(ordered[count - 1 :] - starts))
    return float(ordered[place]), float(ordered[place + count - 1])
