"""Gaussian smoothing and moving extremes of curves over time."""

import numpy as np


def gaussian_average(values: np.ndarray, std: float) -> np.ndarray:
    """Average over `std` frames, the ends held; (T,) -> (T,) or (T, N) -> (T, N)."""
    if values.ndim > 1:
        return np.stack([gaussian_average(column, std) for column in values.T], 1)
    reach = max(1, round(3.0 * std))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(std, 1e-3)) ** 2)
    return np.convolve(np.pad(values, reach, mode="edge"), kernel / kernel.sum(), mode="valid")


def moving_extreme(values: np.ndarray, reach: int, *, largest: bool) -> np.ndarray:
    """Smallest or largest of each value and its `reach` neighbours on both sides, (T,) -> (T,)."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, reach, mode="edge"), 2 * reach + 1)
    return np.asarray(windows.max(-1) if largest else windows.min(-1))
