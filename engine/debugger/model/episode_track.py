"""Place of rows in their clips, tick by tick, worked out from a sample now and then and from the ends of episodes.

Within an episode the step counts ticks and the clip plays on at one pace, so that nobody has to send either at every tick.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from engine.debugger.model.evidence import GLANCES, KEPT, WATCHED, End, RowSamples, spread
from engine.debugger.model.schema import Declared
from engine.debugger.model.store import Store

CURSOR = ("episode_step", "clip", "clip_time")  # roles of the columns that hold the place of a row
TICK, STEP, CLIP, TIME = range(4)
"""Columns of a moment: tick, steps since the episode began, clip, and s in the clip; NaN where unknown."""


def pace(known: Sequence[np.ndarray]) -> float:
    """Seconds of a clip in a tick: the median over pairs of moments, (moments, 4) of each row, that share an episode and a clip; NaN without any."""
    found = []
    for moments in known:
        ticks, seconds = np.diff(moments[:, TICK]), np.diff(moments[:, TIME])
        same = (np.diff(_began(moments)) == 0) & (np.diff(moments[:, CLIP]) == 0) & (ticks > 0)
        found.append(seconds[same] / ticks[same])
    every = np.concatenate(found) if found else np.zeros(0)
    every = every[np.isfinite(every)]
    return float(np.median(every)) if len(every) else float("nan")


def positions(moments: np.ndarray, seconds: float, most: int) -> RowSamples | None:
    """Step, clip and time at each of the last `most` ticks, from moments (moments, 4) of one row, by tick.

    `seconds`: of a clip in a tick. An episode is known from when it began to the last moment in it; what lies between episodes
    is left out. A tick in which one ends and the next begins is there twice. None where no moment has a step.
    """
    moments = moments[np.isfinite(moments[:, STEP])]
    if not len(moments):
        return None
    pieces, earliest = [], max(0, moments[-1, TICK] - most)  # the step of a first episode may begin anywhere
    for inside in np.split(moments, np.flatnonzero(np.diff(_began(moments))) + 1):
        begin = _began(inside)[0]
        ticks = np.arange(max(begin, earliest), inside[-1, TICK] + 1)
        next_known = inside[np.searchsorted(inside[:, TICK], ticks)]
        time = next_known[:, TIME] - (next_known[:, TICK] - ticks) * seconds
        time = np.where(next_known[:, TICK] == ticks, next_known[:, TIME], time)
        pieces.append(np.stack([ticks, ticks - begin, next_known[:, CLIP], time], 1))
        earliest = max(earliest, inside[-1, TICK])
    table = np.concatenate(pieces)[-most:]
    breaks = np.concatenate([np.arange(len(piece)) == 0 for piece in pieces])[-most:]
    return RowSamples(table[:, TICK].astype(np.int64), table[:, STEP:], breaks)


class EpisodeTrack:
    """Moments and ends of the rows that are watched, also of those that end more often than they are sampled."""

    def __init__(self, declared: Declared) -> None:
        self.declared = declared
        step = declared.roles.get("episode_step")
        rows = spread(step.rows, WATCHED) if step is not None else ()
        self._looks: dict[int, deque[tuple[float, ...]]] = {row: deque(maxlen=GLANCES) for row in rows}
        self._ends: dict[int, deque[End]] = {row: deque(maxlen=GLANCES) for row in rows}

    def look(self, store: Store) -> None:
        """Take the present place of rows, if that has been received."""
        columns = {role: column for role in CURSOR if (column := self.declared.roles.get(role)) is not None}
        for row, kept in self._looks.items():
            found = {role: store.value(column.id, row) for role, column in columns.items()}
            moment = _moment({role: (v[0], float(v[1].reshape(()))) for role, v in found.items() if v is not None})
            if len(moment) < 4 or None in found.values() or (kept and kept[-1][TICK] == moment[TICK]):
                continue
            while kept and kept[-1][TICK] > moment[TICK]:  # the run has gone back
                kept.pop()
            kept.append(moment)

    def remember(self, ends: Iterable[End]) -> None:
        """Take ends of episodes."""
        for end in ends:
            kept = self._ends.get(end.row)
            if kept is not None:
                while kept and kept[-1].tick >= end.tick:  # the run has gone back
                    kept.pop()
                kept.append(end)

    def ends(self) -> list[End]:
        """The latest ends of watched rows."""
        return [end for kept in self._ends.values() for end in kept]

    def cursors(self) -> dict[int, RowSamples]:
        """Step, clip and time at each of the last ticks, by row."""
        moments = {row: self._moments(row) for row in self._looks}
        seconds = pace(list(moments.values()))
        seconds = self.declared.dt or np.nan if np.isnan(seconds) else seconds
        found = {row: positions(known, seconds, KEPT) for row, known in moments.items()}
        return {row: samples for row, samples in found.items() if samples is not None}

    def _moments(self, row: int) -> np.ndarray:
        ends = [(e.tick, e.step, np.nan if e.clip < 0 else e.clip, e.time) for e in self._ends[row]]
        known = sorted({moment[TICK]: moment for moment in (*self._looks[row], *ends)}.values())
        return np.array(known, np.float64).reshape(-1, 4)


def _moment(found: Mapping[str, tuple[int, float]]) -> tuple[float, ...]:
    """Moment of the tick and value of each column; () where they do not make one.

    Clip and time are sent together. Others ask for the step too, which may be of a later tick of the episode.
    """
    if "episode_step" not in found:
        return ()
    (later, step), *place = (found[role] for role in CURSOR if role in found)
    tick = place[0][0] if place else later
    step -= later - tick
    if any(at != tick for at, _ in place) or (step <= 0 and later != tick):
        return ()
    return (tick, step, *(found[role][1] if role in found else np.nan for role in CURSOR[1:]))


def _began(moments: np.ndarray) -> np.ndarray:
    return np.asarray(moments[:, TICK] - moments[:, STEP])
