"""Conversions between the roots of Isaac Gym's tensors and ours, (rows, 13) each; see `worker/memory.py` for ours.

There the rotation is scalar last, and the linear velocity that of the centre of mass. Numbers are computed in float64.
"""

import numpy as np

from systems.physics.isaacgym.worker.assumptions import SPIN_AXES, VELOCITY_POINT

_TO_LAST = [1, 2, 3, 0]
_TO_FIRST = [3, 0, 1, 2]


def rotate(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    """R(q) v, for q (..., 4) scalar first."""
    w, u = q[..., :1], q[..., 1:]
    t = 2.0 * np.cross(u, v)
    return np.asarray(v + w * t + np.cross(u, t))


def to_gym(root: np.ndarray, offset: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Ours as Isaac Gym has it: `offset` (rows, 3) m is where each row's origin lies, `center` (rows, 3) m the root's centre of mass."""
    root = np.asarray(root, np.float64)
    q, velocity, spin = root[:, 3:7], root[:, 7:10], root[:, 10:13]
    if VELOCITY_POINT == "centre of mass":
        velocity = velocity + np.cross(spin, rotate(q, center))
    if SPIN_AXES == "body":
        spin = rotate(q * [1.0, -1.0, -1.0, -1.0], spin)
    made = np.concatenate((root[:, :3] + offset, q[:, _TO_LAST], velocity, spin), 1)
    return np.asarray(made, np.float32)


def from_gym(root: np.ndarray, offset: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Isaac Gym's as ours."""
    root = np.asarray(root, np.float64)
    q, velocity, spin = root[:, 3:7][:, _TO_FIRST], root[:, 7:10], root[:, 10:13]
    if SPIN_AXES == "body":
        spin = rotate(q, spin)
    if VELOCITY_POINT == "centre of mass":
        velocity = velocity - np.cross(spin, rotate(q, center))
    made = np.concatenate((root[:, :3] - offset, q, velocity, spin), 1)
    return np.asarray(made, np.float32)


def grid(rows: int, spacing: float) -> np.ndarray:
    """(rows, 3) m, where the rows' origins lie: apart from each other, in a square around the origin of the world."""
    side = int(np.ceil(np.sqrt(rows)))
    place = np.stack((np.arange(rows) % side, np.arange(rows) // side, np.zeros(rows)), 1)
    middle = [0.5 * (side - 1), 0.5 * (side - 1), 0.0]
    return np.asarray((place - middle) * spacing)
