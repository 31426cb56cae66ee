"""Consecutive samples of one row, as diagnosis looks at them."""

import attrs
import numpy as np


@attrs.frozen(eq=False)
class RowSamples:
    """Ticks (T,), values (T, labels), and breaks (T,), true where a sample does not follow the one before it: the episode
    ended, or frames were lost.
    """

    ticks: np.ndarray
    values: np.ndarray
    breaks: np.ndarray

    def steps(self) -> np.ndarray:
        """(T − 1,) true where a sample comes later in the same episode than the one before it."""
        return np.asarray((np.diff(self.ticks) > 0) & ~self.breaks[1:])
