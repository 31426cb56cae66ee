"""Balance of a retargeted motion: where the floor would have to push, and how the robot must move for it to be under its soles.

A mass at height z above a floor that pushes at p obeys c − τ² c̈ = p with τ² = z / (g + z̈): the cart on a table. Read
from left to right that is the centre of pressure of a motion. Read from right to left, with a steady τ, the only way
c that does not run away is p averaged with weights that fall as exp(−|t| / τ), so a correction of p gives one of c.
"""

import numpy as np

from systems.maths.smoothing import gaussian_average

GRAVITY = 9.81  # m/s²
SMOOTHING = 0.06  # s; accelerations of the whole body are felt over this
DIRECTIONS = 32  # in which distances are measured
STEPS = 40  # towards the soles


def pressure_point(centre: np.ndarray, fps: float) -> np.ndarray:
    """Where the floor pushes, (frames, 2) m, for a centre of mass that goes along (frames, 3) m."""
    centre = gaussian_average(centre, SMOOTHING * fps)
    pull = np.gradient(np.gradient(centre, axis=0), axis=0) * fps**2
    arm = centre[:, 2:] / np.maximum(GRAVITY + pull[:, 2:], 1.0)
    return np.asarray(centre[:, :2] - arm * pull[:, :2])


def directions() -> np.ndarray:
    """Unit vectors along the floor, all round, (2, DIRECTIONS); the opposite of one is half of them further."""
    angle = np.linspace(0.0, 2.0 * np.pi, DIRECTIONS, endpoint=False)
    return np.stack((np.cos(angle), np.sin(angle)))


def _edges(soles: np.ndarray, touching: np.ndarray) -> np.ndarray:
    """How far touching soles (frames, points, 2+) reach in every direction, (frames, directions) m."""
    return np.where(touching[..., None], soles[..., :2] @ directions(), -np.inf).max(1)


def off_the_soles(pressure: np.ndarray, soles: np.ndarray, touching: np.ndarray) -> np.ndarray:
    """How far the centre of pressure is outside of what touches, in frames in which something does, m; below 0 inside."""
    held = touching.any(1)
    return np.asarray((pressure[held] @ directions() - _edges(soles[held], touching[held])).max(1))


def correction(centre: np.ndarray, soles: np.ndarray, touching: np.ndarray, margin: float, fps: float) -> np.ndarray:
    """How the centre of mass (frames, 3) m must move aside, (frames, 2) m, for the floor to push `margin` within the soles.

    `soles`: (frames, points, 2+) m, `touching`: (frames, points). Where nothing touches the motion stays as it was.
    """
    held = np.flatnonzero(touching.any(1))
    if not len(held):
        return np.zeros((len(centre), 2))
    pressure = pressure_point(centre, fps)
    goal, along = pressure[held].copy(), directions()
    edges = _edges(soles[held], touching[held])
    narrow = 0.5 * (edges + np.roll(edges, DIRECTIONS // 2, axis=1)).min(1, keepdims=True)
    edges = edges - np.minimum(margin, 0.8 * narrow)
    rows = np.arange(len(held))
    for _ in range(STEPS):
        away = goal @ along - edges
        worst = away.argmax(1)
        goal -= np.maximum(away[rows, worst], 0.0)[:, None] * along[:, worst].T
    frames = np.arange(len(centre))
    change = np.stack([np.interp(frames, held, column) for column in (goal - pressure[held]).T], 1)
    return _average(change, np.sqrt(np.median(centre[:, 2]) / GRAVITY) * fps)


def _average(values: np.ndarray, reach: float) -> np.ndarray:
    """Average of (frames, 2) with weights exp(−|frames| / reach), the ends held."""
    width = max(1, round(5.0 * reach))
    kernel = np.exp(-np.abs(np.arange(-width, width + 1)) / reach)
    padded = np.pad(values, ((width, width), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, kernel / kernel.sum(), mode="valid") for column in padded.T], 1)
