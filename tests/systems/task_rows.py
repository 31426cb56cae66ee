"""Small robots, bodies and fake term lists for the task's tests, and rotation maths of its own in numpy."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.motion import TrackedBodies
from components.robot import Robot
from engine.ecs.access import Terms
from systems.maths.quaternion import turn_by_euler

BODIES = ("pelvis", "left_foot", "right_foot", "torso")


def small_robot(dofs: int = 2, **changes: Any) -> Robot:
    """Four bodies and `dofs` joints: limits ±2 (soft ±1.8) rad, 10 rad/s, 20 N·m, gains 10 and 2, unit scale 0.5."""
    one = torch.ones(dofs)
    values: dict[str, Any] = {
        "name": "small",
        "dof_names": tuple(f"joint{i}" for i in range(dofs)),
        "body_names": BODIES,
        "foot_names": ("left_foot", "right_foot"),
        "tracked_bodies": BODIES,
        "anchor_body": "torso",
        "end_effectors": ("left_foot", "right_foot"),
        "default_position": 0.1 * one,
        "default_height": 0.8,
        "position_limit": torch.stack((-2 * one, 2 * one), -1),
        "soft_position_limit": torch.stack((-1.8 * one, 1.8 * one), -1),
        "velocity_limit": 10 * one,
        "torque_limit": 20 * one,
        "stiffness": 10 * one,
        "damping": 2 * one,
        "armature": 0.01 * one,
        "action_scale": 0.5 * one,
    }
    return Robot(**{**values, **changes})


def small_bodies() -> TrackedBodies:
    """All four bodies tracked, torso (3) the anchor, feet (1, 2) the end effectors."""
    index = torch.arange(4)
    return TrackedBodies(names=BODIES, body_index=index, anchor=3, end_effectors=torch.tensor([1, 2]))


def terms(**given: "tuple[Tensor, dict[str, Any]]") -> Terms:
    """Terms that yield fixed values: name=(value, settings)."""
    return Terms([(name, lambda value=value: value, settings) for name, (value, settings) in given.items()])


def generator(seed: int = 0) -> torch.Generator:
    """A seeded stream."""
    stream = torch.Generator()
    stream.manual_seed(seed)
    return stream


def matrix(q: Any) -> np.ndarray:
    """Rotation matrix of one scalar-first quaternion, by the textbook formula, float64."""
    w, x, y, z = np.asarray(q, dtype=np.float64)
    return np.array(
        [
            [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
        ]
    )


def about(axis: str, angle: float) -> np.ndarray:
    """Rotation matrix of a turn about x, y or z."""
    c, s = np.cos(angle), np.sin(angle)
    return {
        "x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[axis]


def from_euler(roll: Tensor, pitch: Tensor, yaw: Tensor) -> Tensor:
    """Rotations by roll about x, then pitch about y, then yaw about z, all fixed axes, rad; (rows,) -> (rows, 4)."""
    angles = torch.stack((roll, pitch, yaw), -1)
    upright = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=angles.dtype)
    return turn_by_euler(upright.expand(*roll.shape, 4), angles)


def matrix_angle(a: np.ndarray, b: np.ndarray) -> float:
    """Angle in [0, π] between two rotation matrices, stable near 0 and π."""
    r = a @ b.T
    vector = np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
    return float(np.arctan2(np.linalg.norm(vector), np.trace(r) - 1.0))


def random_rotations(*shape: int, seed: int = 0) -> Tensor:
    """Uniformly random unit quaternions (*shape, 4)."""
    q = torch.randn((*shape, 4), generator=generator(seed))
    return q / q.norm(dim=-1, keepdim=True)


def marked(component: Any, rows: Any) -> Any:
    """A component whose column `rows` has these values; `make` cannot tell that column from its own argument."""
    made = component.make(len(rows))
    made.rows.copy_(torch.as_tensor(rows))
    return made
