"""Memory that both processes see: arrays of all rows, in the order and conventions of `systems/physics/contract.py`.

A root is 13 numbers: position (m, from the row's own origin), rotation (scalar first), linear velocity of the frame origin (m/s) and
angular velocity (rad/s), both in world axes.
"""

import mmap
from typing import Any, Dict, Tuple

import numpy as np

_ALIGNED = 256  # bytes


def shapes(rows: int, dofs: int, bodies: int) -> Dict[str, Tuple[Tuple[int, ...], str]]:
    """Shape and number format of each array by name."""
    return {
        "command": ((rows, dofs), "f4"),  # joint targets in rad, or torques in N·m
        "pushed": ((rows,), "u1"),  # 1: the row starts from what follows before the next step
        "pushed_root": ((rows, 13), "f4"),
        "pushed_position": ((rows, dofs), "f4"),
        "pushed_velocity": ((rows, dofs), "f4"),
        "root": ((rows, 13), "f4"),  # from here on as of the last step
        "position": ((rows, dofs), "f4"),
        "velocity": ((rows, dofs), "f4"),
        "force": ((rows, bodies, 3), "f4"),  # N in world axes, on each body
    }


def num_bytes(rows: int, dofs: int, bodies: int) -> int:
    """Bytes of all arrays."""
    return sum(_room(shape, kind) for shape, kind in shapes(rows, dofs, bodies).values())


def arrays(memory: Any, rows: int, dofs: int, bodies: int) -> Dict[str, np.ndarray]:
    """The arrays in a writable buffer of `num_bytes`."""
    found, at = {}, 0
    for name, (shape, kind) in shapes(rows, dofs, bodies).items():
        found[name] = np.ndarray(shape, np.dtype(kind), memory, at)
        at += _room(shape, kind)
    return found


def mapped(handle: int, size: int) -> mmap.mmap:
    """The memory of a file handle, shared with whoever else maps it."""
    return mmap.mmap(handle, size)


def _room(shape: Tuple[int, ...], kind: str) -> int:
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize
    return (size + _ALIGNED - 1) // _ALIGNED * _ALIGNED
