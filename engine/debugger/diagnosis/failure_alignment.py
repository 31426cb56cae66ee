"""Failure alignment, or what went wrong first: failures aligned at their end, held against survivors at the same place of the clip."""

from collections.abc import Mapping

import attrs
import numpy as np

from engine.debugger.diagnosis.indicators import nan_quantiles
from engine.debugger.model.evidence import End, Evidence, RowSamples

SPAN = 50  # ticks before the end that are looked at
PHASE = 0.2  # s (or, without a clip, 10 control steps) within which samples count as the same place
FEWEST_FAILURES = 5
FEWEST_SURVIVORS = 100  # samples
ENOUGH = 20  # survivors at one place; below that all places count
MOST = 0.5  # of failures that must be outside; by chance 0.1 are
ROUNDING = 0.02  # of a band's width


@attrs.frozen(eq=False)
class FailureAlignment:
    """When each vital number left what is usual among survivors."""

    reason: str
    failures: int
    survivors: int  # samples
    names: tuple[str, ...]
    ticks: np.ndarray  # (lags,) ticks before the end, rising
    outside: np.ndarray  # (lags, vitals) share of failures outside the survivors' p5–p95
    departure: np.ndarray  # (vitals,) ticks before the end; NaN for what did not depart
    above: np.ndarray  # (vitals,) share of the departures that are above the band
    level: np.ndarray  # (vitals,) median value of failures from the departure on

    def first(self) -> list[int]:
        """Vitals that departed, first one first."""
        found = [i for i in range(len(self.names)) if np.isfinite(self.departure[i])]
        return sorted(found, key=lambda i: (-self.departure[i], -self.outside[0, i]))


def align_failures(evidence: Evidence, reason: str) -> "FailureAlignment | str":
    """Alignment of the failures by one reason; a sentence where there is too little to tell."""
    names = evidence.declared.vitals
    chosen = [i for i, name in enumerate(names) if not name.startswith("ended_by")]
    if not names:
        return "no autopsy: the run declares no vital numbers"
    if not evidence.vitals:
        return "no autopsy yet: no black box was received"
    failures = [end for end in evidence.ends if reason in end.reasons and end.row in evidence.vitals]
    samples = [_samples(row, evidence) for row in evidence.vitals]
    usable = [s for s in samples if s is not None]
    survivors = sum(int(s.survives.sum()) for s in usable)
    if not usable or survivors < FEWEST_SURVIVORS:
        return f"no autopsy yet: {survivors} of {FEWEST_SURVIVORS} samples of episodes that went on"
    bands = _Bands(usable, chosen)
    parts = [part for s in usable for part in _failing(s, failures, bands, chosen)]
    if len(parts) < FEWEST_FAILURES:
        return f"no autopsy yet: {len(parts)} of {FEWEST_FAILURES} failures by {reason} among the watched rows"
    return _aligned(reason, parts, survivors, tuple(names[i] for i in chosen))


@attrs.frozen(eq=False)
class _RowSamples:
    row: int
    ticks: np.ndarray
    values: np.ndarray
    place: np.ndarray  # (samples,) int: clip and time in it, in steps of PHASE
    began: np.ndarray  # (samples,) the tick after which the episode began
    survives: np.ndarray  # (samples,) bool: the episode goes on long enough


def _samples(row: int, evidence: Evidence) -> _RowSamples | None:
    vitals, cursor = evidence.vitals[row], evidence.cursors.get(row)
    if cursor is None or not len(cursor.ticks):
        return None
    inside = (vitals.ticks >= cursor.ticks[0]) & (vitals.ticks <= cursor.ticks[-1])
    ticks = vitals.ticks[inside]
    if not len(ticks):
        return None
    ends = sorted((e for e in evidence.ends if e.row == row), key=lambda e: e.tick)
    limits = evidence.declared.time_limits
    at = np.array([ticks[0] - 1, *(e.tick for e in ends), cursor.ticks[-1]])
    harmless = np.array([False, *(bool(e.reasons) and set(e.reasons) <= limits for e in ends), False])
    following = 1 + np.searchsorted(at[1:-1], ticks, "left")
    survives = harmless[following] | (at[following] - ticks > SPAN)
    return _RowSamples(row, ticks, vitals.values[inside], _place(cursor, ticks), at[following - 1], survives)


def _place(cursor: RowSamples, ticks: np.ndarray) -> np.ndarray:
    found = cursor.values[np.minimum(np.searchsorted(cursor.ticks, ticks, "left"), len(cursor.ticks) - 1)]
    step, clip, time = found.T
    where = np.where(np.isnan(time), step / 10, time / PHASE)
    clip = np.nan_to_num(clip, nan=0.0)
    return np.asarray(np.nan_to_num(clip * 100_000 + np.floor(where), nan=-1.0).astype(np.int64))


class _Bands:
    """The survivors' p5 and p95 of every vital number, at each place."""

    def __init__(self, samples: list[_RowSamples], chosen: list[int]) -> None:
        values = np.concatenate([s.values[s.survives][:, chosen] for s in samples])
        places = np.concatenate([s.place[s.survives] for s in samples])
        values = np.where(np.isfinite(values), values, np.nan)
        self.everywhere = nan_quantiles(values, (0.05, 0.95))
        order = np.argsort(places, kind="stable")
        keys, starts = np.unique(places[order], return_index=True)
        pieces = np.split(values[order], starts[1:])
        self.at: Mapping[int, np.ndarray] = {
            int(key): nan_quantiles(piece, (0.05, 0.95))
            for key, piece in zip(keys, pieces, strict=True)
            if len(piece) >= ENOUGH
        }

    def sides(self, place: np.ndarray, values: np.ndarray) -> np.ndarray:
        """+1 above, −1 below, 0 within; what is not finite is above."""
        band = np.stack([self.at.get(int(p), self.everywhere) for p in place])
        low, high = band[:, 0], band[:, 1]
        room = ROUNDING * (high - low)
        with np.errstate(invalid="ignore"):
            above = (values > high + room) | ~np.isfinite(values)
            return np.asarray(above.astype(int) - (values < low - room).astype(int))


def _failing(
    samples: _RowSamples, failures: list[End], bands: _Bands, chosen: list[int]
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of each failure of a row: ticks before the end, sides and values of the last SPAN ticks of its episode."""
    parts = []
    for end in failures:
        if end.row == samples.row:
            before = end.tick - samples.ticks
            last = (before >= 0) & (before <= SPAN) & (samples.ticks > samples.began.max(initial=-1, where=before >= 0))
            if last.any():
                values = samples.values[last][:, chosen]
                parts.append((before[last], bands.sides(samples.place[last], values), values))
    return parts


def _aligned(
    reason: str, parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]], survivors: int, names: tuple[str, ...]
) -> FailureAlignment:
    gaps = np.concatenate([np.abs(np.diff(before)) for before, _, _ in parts])
    spacing = max(1, int(np.median(gaps))) if len(gaps) else 1
    lags = np.arange(0, SPAN + 1, spacing)
    outside = np.full((len(lags), len(names)), np.nan)
    place = np.concatenate([p[0] // spacing for p in parts])
    sides, values = np.concatenate([p[1] for p in parts]), np.concatenate([p[2] for p in parts])
    for i in range(len(lags)):
        here = place == i
        if here.sum() >= max(3, len(parts) / 2):
            outside[i] = (sides[here] != 0).mean(0)
    departure, above, level = (np.full(len(names), np.nan) for _ in range(3))
    for vital in range(len(names)):
        reached = _reached(outside[:, vital])
        if reached is not None:
            departure[vital] = lags[reached]
            since = place <= reached
            out = sides[since, vital]
            above[vital] = (out > 0).sum() / max(1, (out != 0).sum())
            level[vital] = np.median(values[since, vital])
    return FailureAlignment(reason, len(parts), survivors, names, lags, outside, departure, above, level)


def _reached(outside: np.ndarray) -> int | None:
    """How many lags back from the end most failures are outside without more than one lag in between."""
    reached, missed = None, 0
    for i, share in enumerate(outside):
        if share >= MOST:
            reached, missed = i, 0
        else:
            missed += 1
            if missed > 1:
                break
    return reached
