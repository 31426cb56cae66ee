"""Paired timing, for the benchmarks beside it: works take turns in short segments, and those in which others were busy are dropped."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import attrs

_TICK = os.sysconf("SC_CLK_TCK")


@attrs.frozen
class TimedSegment:
    """One timed stretch: wall-clock seconds, and the share of a core that others took meanwhile."""

    seconds: float
    others: float


def _busy() -> float:
    """CPU seconds used on the whole machine since boot, stolen time included; 0 where unknown."""
    try:
        fields = [float(x) for x in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    except (OSError, ValueError, IndexError):
        return 0.0
    user, nice, system, _idle, _wait, interrupt, soft, stolen = fields
    return (user + nice + system + interrupt + soft + stolen) / _TICK


def timed(work: Callable[[], None]) -> TimedSegment:
    """Run `work` once."""
    busy, own, start = _busy(), time.process_time(), time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    others = max(0.0, (_busy() - busy) - (time.process_time() - own))
    return TimedSegment(seconds, others / seconds)


def alternate(
    works: dict[str, Callable[[], None]], *, rounds: int, limit: float = 0.05, patience: int = 3
) -> tuple[dict[str, list[float]], int]:
    """Run the works in turn, `rounds` times each; a segment in which others took more than `limit` of a
    core is dropped and repeated, up to `patience` times as many segments in all.

    Returns the kept seconds per work, and how many segments were dropped. Where the machine never gets
    quiet, the quietest segments are kept so that every work has `rounds` of them.
    """
    seen: dict[str, list[TimedSegment]] = {name: [] for name in works}
    for _ in range(rounds * patience):
        for name, work in works.items():
            seen[name].append(timed(work))
        if all(sum(s.others <= limit for s in segments) >= rounds for segments in seen.values()):
            break
    kept, dropped = {}, 0
    for name, segments in seen.items():
        quiet = (
            sorted(segments, key=lambda s: s.others)[:rounds]
            if sum(s.others <= limit for s in segments) < rounds
            else [s for s in segments if s.others <= limit]
        )
        kept[name] = [s.seconds for s in quiet]
        dropped += len(segments) - len(quiet)
    return kept, dropped
