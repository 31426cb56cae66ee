"""Pseudo-inertia of rigid bodies: mass, centre of mass and inertia as one matrix, which stays physical when it is changed.

With ρ the density of a body and p places in its frame, J = ∫ ρ [p; 1] [p; 1]ᵀ is a positive definite 4 × 4 matrix, and each
such matrix is that of some body with positive mass everywhere. So is A J Aᵀ for every regular A: the body, deformed by the
affine map A. Here A = e^size [[e^x, xy, xz, shift_x], [0, e^y, yz, shift_y], [0, 0, e^z, shift_z], [0, 0, 0, 1]]: `size` scales
the mass by e^(2 size), x, y, z stretch the body along its axes, xy, yz, xz shear it, and the shifts, in m, move it. All 0 changes
nothing. After Rucker and Wensing, Smooth Parameterization of Rigid-Body Inertia (2022). float64 throughout; any leading axes.
"""

import numpy as np


def deformed(
    mass: np.ndarray, center: np.ndarray, inertia: np.ndarray, change: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mass (…), centre (…, 3) and inertia about it (…, 3, 3) of bodies after the map of `change` (…, 10); see the top."""
    pseudo = pseudo_inertia(mass, center, inertia)
    matrix = _map(change)
    return from_pseudo_inertia(matrix @ pseudo @ np.swapaxes(matrix, -1, -2))


def pseudo_inertia(mass: np.ndarray, center: np.ndarray, inertia: np.ndarray) -> np.ndarray:
    """(…, 4, 4) of mass kg, centre m and inertia kg·m² about the centre, in axes of the body frame."""
    found = np.zeros((*np.shape(mass), 4, 4))
    half_trace = 0.5 * np.trace(inertia, axis1=-2, axis2=-1)
    about_center = half_trace[..., None, None] * np.eye(3) - inertia
    found[..., :3, :3] = about_center + mass[..., None, None] * center[..., :, None] * center[..., None, :]
    found[..., :3, 3] = found[..., 3, :3] = mass[..., None] * center
    found[..., 3, 3] = mass
    return found


def from_pseudo_inertia(pseudo: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The inverse of `pseudo_inertia`."""
    mass = pseudo[..., 3, 3]
    center = pseudo[..., :3, 3] / mass[..., None]
    about_center = pseudo[..., :3, :3] - mass[..., None, None] * center[..., :, None] * center[..., None, :]
    trace = np.trace(about_center, axis1=-2, axis2=-1)
    return mass, center, trace[..., None, None] * np.eye(3) - about_center


def principal(inertia: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Principal moments (…, 3) and axes (…, 4), a scalar-first unit quaternion from them to the body frame."""
    moments, axes = np.linalg.eigh(inertia)
    axes = axes * np.where(np.linalg.det(axes) < 0.0, -1.0, 1.0)[..., None, None]
    return moments, _quaternion(axes)


def _map(change: np.ndarray) -> np.ndarray:
    size, x, y, z, xy, yz, xz, *shift = np.moveaxis(np.asarray(change, np.float64), -1, 0)
    found = np.zeros((*size.shape, 4, 4))
    for place, stretch in enumerate((x, y, z)):
        found[..., place, place] = np.exp(stretch)
        found[..., place, 3] = shift[place]
    found[..., 0, 1], found[..., 1, 2], found[..., 0, 2] = xy, yz, xz
    found[..., 3, 3] = 1.0
    return found * np.exp(size)[..., None, None]


def _quaternion(matrix: np.ndarray) -> np.ndarray:
    """Of a rotation matrix, by the largest of the four numbers (Shepperd): none is divided by a small one."""
    m = matrix
    squares = np.stack(
        (
            1 + m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2],
            1 + m[..., 0, 0] - m[..., 1, 1] - m[..., 2, 2],
            1 - m[..., 0, 0] + m[..., 1, 1] - m[..., 2, 2],
            1 - m[..., 0, 0] - m[..., 1, 1] + m[..., 2, 2],
        ),
        -1,
    )
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    w, x, y, z = np.moveaxis(squares, -1, 0)
    rows = np.stack([np.stack(r, -1) for r in ((w, wx, wy, wz), (wx, x, xy, xz), (wy, xy, y, yz), (wz, xz, yz, z))], -2)
    best = squares.argmax(-1)
    found = np.take_along_axis(rows, best[..., None, None], -2)[..., 0, :]
    return np.asarray(found / np.linalg.norm(found, axis=-1, keepdims=True))
