"""Memory of fixed size for what arrives tick by tick: one number of one row, and the spread of one number over all rows."""

import numpy as np

SAMPLES = 4096
"""Samples kept of one traced number."""
_FIRST = 256


class TraceRing:
    """The last `SAMPLES` samples of one number of one row, in the order in which they were taken.

    Ticks never fall within it: a run that was rewound overwrites what came later.
    """

    def __init__(self) -> None:
        self._ticks = np.zeros(_FIRST, np.int64)
        self._values = np.zeros(_FIRST, np.float64)
        self._breaks = np.zeros(_FIRST, np.bool_)
        self._start = self._end = 0
        self._source: object = None

    def __len__(self) -> int:
        return self._end - self._start

    def read(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ticks, values and breaks; views that the next `append` may change."""
        span = slice(self._start, self._end)
        return self._ticks[span], self._values[span], self._breaks[span]

    def rewind(self, tick: int) -> None:
        """Forget what is later than a tick."""
        self._end = self._start + int(np.searchsorted(self.read()[0], tick, "right"))

    def append(self, ticks: np.ndarray, values: np.ndarray, breaks: np.ndarray, source: object) -> None:
        """Add samples from one subscription; what another one brought already is left out."""
        if not len(ticks):
            return
        if len(self):
            last = int(self._ticks[self._end - 1])
            if source != self._source:
                fresh = int(np.searchsorted(ticks, last, "right"))
                ticks, values, breaks = ticks[fresh:], values[fresh:], breaks[fresh:]
                if not len(ticks):
                    return
            if ticks[0] < last:
                self._end = self._start + int(np.searchsorted(self.read()[0], ticks[0], "left"))
            breaks = breaks.copy()
            breaks[0] |= ticks[0] < last or ticks[0] > last + 1
        self._source = source
        ticks, values, breaks = ticks[-SAMPLES:], values[-SAMPLES:], breaks[-SAMPLES:]
        self._make_room(len(ticks))
        span = slice(self._end, self._end + len(ticks))
        self._ticks[span], self._values[span], self._breaks[span] = ticks, values, breaks
        self._end += len(ticks)
        self._start = max(self._start, self._end - SAMPLES)

    def _make_room(self, count: int) -> None:
        """Samples lie in one piece in arrays of up to twice SAMPLES, so that reading never copies."""
        size = len(self._ticks)
        if self._end + count <= size:
            return
        kept = min(len(self), SAMPLES)
        grown = min(2 * SAMPLES, max(size, 1 << (kept + count).bit_length()))
        for name in ("_ticks", "_values", "_breaks"):
            old = getattr(self, name)
            new = np.zeros(grown, old.dtype)
            new[:kept] = old[self._end - kept : self._end]
            setattr(self, name, new)
        self._start, self._end = 0, kept


class Band:
    """How one number is spread over all rows, frame by frame: median and 5th and 95th percentile of the finite ones."""

    def __init__(self, history: np.ndarray | None = None) -> None:
        """history (frames, 4): what `read` gave of an earlier one."""
        self._count = 0 if history is None else min(len(history), SAMPLES)
        self._rows = np.zeros((max(_FIRST, self._count), 4))
        if history is not None:
            self._rows[: self._count] = history[len(history) - self._count :]

    def append(self, tick: int, values: np.ndarray) -> None:
        """Add one frame of all rows; one that is not later than the last replaces those from there on."""
        finite = values[np.isfinite(values)]
        spread = np.percentile(finite, (50.0, 5.0, 95.0)) if len(finite) else (np.nan,) * 3
        self.rewind(tick - 1)
        if self._count == len(self._rows):
            if self._count >= SAMPLES:
                self._count -= SAMPLES // 2
                self._rows[: self._count] = self._rows[-self._count :]
            else:
                self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[self._count] = (tick, *spread)
        self._count += 1

    def rewind(self, tick: int) -> None:
        """Forget what is later than a tick."""
        while self._count and self._rows[self._count - 1, 0] > tick:
            self._count -= 1

    def read(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Ticks, median, 5th and 95th percentile."""
        kept = self._rows[: self._count]
        return kept[:, 0].astype(np.int64), kept[:, 1], kept[:, 2], kept[:, 3]
