"""Rotation maths in numpy, float64, for models and clips; `systems/maths/quaternion.py` is its twin for tensors.

Quaternions are (..., 4), scalar first (w, x, y, z), unit norm.
"""

import numpy as np


def rotate(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    """R(q) v; `q`: (..., 4), `v`: (..., 3), broadcasting."""
    w, u = q[..., :1], q[..., 1:]
    t = 2.0 * np.cross(u, v)
    return np.asarray(v + w * t + np.cross(u, t))


def rotate_inverse(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    """R(q)ᵀ v; `q`: (..., 4), `v`: (..., 3), broadcasting."""
    return rotate(q * np.array((1.0, -1.0, -1.0, -1.0)), v)


def pitched(angle: np.ndarray) -> np.ndarray:
    """Turns about y by `angle` in rad, (...) -> (..., 4)."""
    zero = np.zeros_like(angle)
    return np.stack((np.cos(0.5 * angle), zero, np.sin(0.5 * angle), zero), -1)


def yawed(angle: np.ndarray) -> np.ndarray:
    """Turns about z by `angle` in rad, (...) -> (..., 4)."""
    zero = np.zeros_like(angle)
    return np.stack((np.cos(0.5 * angle), zero, zero, np.sin(0.5 * angle)), -1)


def yaw(q: np.ndarray) -> np.ndarray:
    """Rotation about z in rad, as `quaternion.yaw`; (..., 4) -> (...)."""
    w, x, y, z = np.moveaxis(q, -1, 0)
    return np.asarray(np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z)))
