"""Damped least squares for many frames at once: every joint angle of a made clip is found with it.

`mujoco.minimize.least_squares` gives the same joints to 3e-5 rad, but one frame at a time: `squat` takes twice as long
with it, `walk` fifteen times.
"""

from collections.abc import Callable

import numpy as np

STEP = 1e-5  # rad or m, of finite differences
SOLVED = 1e-5  # rad or m; a last change smaller than this is small enough
FARTHEST = 0.2  # rad or m that an unknown may change in one iteration

Residual = Callable[[np.ndarray, np.ndarray], np.ndarray]


def least_squares(
    residual: Residual, guess: np.ndarray, lower: np.ndarray, upper: np.ndarray, damping: float, every: int = 1
) -> np.ndarray:
    """Minimise |residual| within bounds by Gauss-Newton, over `guess` (frames, unknowns) in rad or m.

    `residual` maps unknowns (rows, unknowns) and the frame of each row (rows,) to values (rows, values). The
    Jacobian is a finite difference, taken at one frame in `every` and at the last, and blended linearly
    between: neighbouring frames of a smooth motion have nearly the same one.
    """
    x = guess.copy()
    frames, size = x.shape
    nodes = np.unique(np.append(np.arange(0, frames, every), frames - 1))
    for _ in range(30):
        error, jacobian = _linearise(residual, x, nodes)
        if len(nodes) < frames:
            error, jacobian = residual(x, np.arange(frames)), _between(jacobian, nodes, frames)
        normal = jacobian.swapaxes(1, 2) @ jacobian + damping * np.eye(size)
        change = np.linalg.solve(normal, -(jacobian.swapaxes(1, 2) @ error[..., None]))[..., 0]
        moved = np.clip(x + np.clip(change, -FARTHEST, FARTHEST), lower, upper)
        last, x = np.abs(moved - x).max(), moved
        if last < SOLVED:
            break
    return x


def _linearise(residual: Residual, x: np.ndarray, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Residuals and Jacobians at some frames: (nodes, values) and (nodes, values, unknowns)."""
    size = x.shape[1]
    probe = np.concatenate((x[nodes, None], x[nodes, None] + STEP * np.eye(size)), 1)
    value = residual(probe.reshape(-1, size), np.repeat(nodes, size + 1)).reshape(len(nodes), size + 1, -1)
    error = value[:, 0]
    return error, ((value[:, 1:] - error[:, None]) / STEP).swapaxes(1, 2)


def _between(jacobian: np.ndarray, nodes: np.ndarray, frames: int) -> np.ndarray:
    """Jacobians (nodes, …) blended linearly over all frames."""
    frame = np.arange(frames)
    last = np.clip(np.searchsorted(nodes, frame), 1, len(nodes) - 1)
    blend = ((frame - nodes[last - 1]) / (nodes[last] - nodes[last - 1]))[:, None, None]
    return np.asarray((1.0 - blend) * jacobian[last - 1] + blend * jacobian[last])
