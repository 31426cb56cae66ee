"""Memory of fixed size for what arrives tick by tick: one number of one row, and the spread of one number over all rows."""

import numpy as np

SAMPLES = 4096
"""Samples kept of one number."""
_FIRST = 256


class _Ring:
    """The last `SAMPLES` samples, with their ticks, which never fall.

    They lie in one piece in an array of up to twice SAMPLES, so that reading never copies.
    """

    def __init__(self, **fields: type) -> None:
        self._held = np.zeros(_FIRST, [("tick", np.int64), *fields.items()])
        self._start = self._end = 0

    def __len__(self) -> int:
        return self._end - self._start

    @property
    def _kept(self) -> np.ndarray:
        return self._held[self._start : self._end]

    def rewind(self, tick: int) -> None:
        """Forget what is later than a tick."""
        self._end = self._start + int(np.searchsorted(self._kept["tick"], tick, "right"))

    def _add(self, ticks: np.ndarray, *fields: np.ndarray) -> None:
        count = min(SAMPLES, len(ticks))
        if self._end + count > len(self._held):
            kept = self._kept[-SAMPLES:]
            grown = min(2 * SAMPLES, max(len(self._held), 1 << (len(kept) + count).bit_length()))
            self._held = np.concatenate([kept, np.zeros(grown - len(kept), kept.dtype)])
            self._start, self._end = 0, len(kept)
        self._end += count
        for name, values in zip(self._held.dtype.names or (), (ticks, *fields), strict=True):
            self._held[name][self._end - count : self._end] = values[len(values) - count :]
        self._start = max(self._start, self._end - SAMPLES)


class TraceRing(_Ring):
    """Samples of one number of one row, in the order in which they were taken: a run that was rewound overwrites what came later."""

    def __init__(self) -> None:
        super().__init__(value=np.float64, breaks=np.bool_)
        self._source: object = None

    def read(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ticks, values and breaks; views that the next `append` may change."""
        kept = self._kept
        return kept["tick"], kept["value"], kept["breaks"]

    def append(self, ticks: np.ndarray, values: np.ndarray, breaks: np.ndarray, source: object) -> None:
        """Add samples from one subscription; what another one brought already is left out."""
        if len(self) and len(ticks):
            last = int(self._kept["tick"][-1])
            if source != self._source:
                fresh = int(np.searchsorted(ticks, last, "right"))
                ticks, values, breaks = ticks[fresh:], values[fresh:], breaks[fresh:]
            if len(ticks):
                if ticks[0] < last:
                    self.rewind(int(ticks[0]) - 1)
                breaks = breaks.copy()
                breaks[0] |= ticks[0] < last or ticks[0] > last + 1
        if len(ticks):
            self._source = source
            self._add(ticks, values, breaks)


class Band(_Ring):
    """How one number is spread over all rows, frame by frame: median and 5th and 95th percentile of the finite ones."""

    def __init__(self, history: np.ndarray | None = None) -> None:
        """history (frames, 4): what `read` gave of an earlier one."""
        super().__init__(median=np.float64, low=np.float64, high=np.float64)
        if history is not None:
            self._add(*history.T)

    def append(self, tick: int, values: np.ndarray) -> None:
        """Add one frame of all rows; one that is not later than the last replaces those from there on."""
        finite = values[np.isfinite(values)]
        spread = np.percentile(finite, (50.0, 5.0, 95.0)) if len(finite) else np.full(3, np.nan)
        self.rewind(tick - 1)
        self._add(np.array([tick]), *spread[:, None])

    def read(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Ticks, median, 5th and 95th percentile; views."""
        kept = self._kept
        return kept["tick"], kept["median"], kept["low"], kept["high"]
