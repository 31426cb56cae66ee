"""Kinematics of clips: bodies from root and joint curves, resampling and velocities."""

from typing import Protocol

import attrs
import numpy as np
import torch

from components.motion import Clip
from systems.maths import quaternion

Bodies = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class Kinematics(Protocol):
    """What motion code asks of a robot model; `systems/robots/model.py` has one."""

    @property
    def foot_point_body(self) -> tuple[int, ...]:
        """Body of each foot point."""

    @property
    def body_mass(self) -> np.ndarray:
        """(bodies,) kg."""

    @property
    def body_com(self) -> np.ndarray:
        """(bodies, 3) m in the body frame."""

    @property
    def body_inertia(self) -> np.ndarray:
        """(bodies, 3, 3) kg·m² about the centre of mass, in the axes of the body frame."""

    def kinematics(
        self,
        root_position: np.ndarray,
        root_rotation: np.ndarray,
        dof_position: np.ndarray,
        root_linear_velocity: np.ndarray,
        root_angular_velocity: np.ndarray,
        dof_velocity: np.ndarray,
        /,
    ) -> Bodies:
        """Position (T, B, 3), rotation (T, B, 4), linear and angular velocity (T, B, 3) of all bodies, world axes."""

    def foot_points(self, body_position: np.ndarray, body_rotation: np.ndarray, /) -> np.ndarray:
        """The lowest points of the feet, (T, points, 3) m."""


def body_poses(
    model: Kinematics, root_position: np.ndarray, root_rotation: np.ndarray, dof_position: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where root and joints put every body, without velocities: (T, B, 3) m and (T, B, 4)."""
    still = np.zeros_like(root_position)
    return model.kinematics(root_position, root_rotation, dof_position, still, still, np.zeros_like(dof_position))[:2]


def mass_center(model: Kinematics, position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Centre of mass of all bodies, (T, B, 3) m and (T, B, 4) -> (T, 3) m."""
    share = model.body_mass / model.body_mass.sum()
    w, x, y, z = np.moveaxis(rotation, -1, 0)
    a, b, c = 2.0 * share * model.body_com.T
    arm = (  # how far each body's own centre is from its origin, R(q) (a, b, c) summed over bodies
        (x * y - w * z) @ b + (x * z + w * y) @ c - (y * y + z * z) @ a,
        (x * y + w * z) @ a + (y * z - w * x) @ c - (x * x + z * z) @ b,
        (x * z - w * y) @ a + (y * z + w * x) @ b - (x * x + y * y) @ c,
    )
    return np.asarray(np.einsum("b,tbi->ti", share, position) + share @ model.body_com + np.stack(arm, -1))


def frames_at(clip: Clip, fps: float) -> int:
    """How many frames the clip has at another rate."""
    same = abs(clip.fps - fps) < 1e-9 * fps
    return clip.num_frames if same else int(np.floor(clip.seconds * fps + 1e-6)) + 1


def resample(clip: Clip, fps: float) -> Clip:
    """The clip at another rate: linear in positions and joints, along the great circle in the root rotation.

    Actions and contacts are held from frame to frame.

    Frames lie at 0, 1/fps, … up to and including the clip's last moment. A clip at that rate already is
    returned as it is.
    """
    if abs(clip.fps - fps) < 1e-9 * fps:
        return clip
    count = frames_at(clip, fps)
    place = np.clip(np.arange(count) / fps * clip.fps, 0.0, clip.num_frames - 1)
    first = np.minimum(np.floor(place).astype(np.int64), clip.num_frames - 2)
    blend = (place - first)[:, None]
    held = np.floor(place + 1e-6).astype(np.int64)  # a frame that rounding puts just before its time is that frame
    rotation = torch.from_numpy(clip.root_rotation)
    turned = quaternion.slerp(rotation[first], rotation[first + 1], torch.from_numpy(blend))
    return attrs.evolve(
        clip,
        fps=fps,
        root_position=clip.root_position[first] * (1.0 - blend) + clip.root_position[first + 1] * blend,
        root_rotation=turned.numpy(),
        dof_position=clip.dof_position[first] * (1.0 - blend) + clip.dof_position[first + 1] * blend,
        dof_velocity=None,
        action=None if clip.action is None else clip.action[held],
        contact_mask=None if clip.contact_mask is None else clip.contact_mask[held],
        body_names=None,
        body_position=None,
        body_rotation=None,
    )


def continuous(rotation: np.ndarray) -> np.ndarray:
    """The same rotations (T, ..., 4) with signs chosen so that no quaternion jumps to its antipode."""
    flips = np.where((rotation[1:] * rotation[:-1]).sum(-1) < 0.0, -1.0, 1.0)
    signs = np.cumprod(np.concatenate((np.ones_like(rotation[:1, ..., 0]), flips)), 0)
    return np.asarray(rotation * signs[..., None])


def differentiate(value: np.ndarray, fps: float) -> np.ndarray:
    """Central differences over frames (T, ...), one-sided at both ends, per second."""
    return np.asarray(np.gradient(value, axis=0) * fps)


def angular_velocity(rotation: np.ndarray, fps: float) -> np.ndarray:
    """log(q[i+1] ⊗ q[i−1]⁻¹) / 2dt in world axes, (T, 4) -> (T, 3) rad/s, one-sided at both ends.

    The logarithm takes the shorter way round, so the sign of a quaternion never turns the axis over.
    """
    after = torch.from_numpy(np.concatenate((rotation[1:], rotation[-1:])))
    before = torch.from_numpy(np.concatenate((rotation[:1], rotation[:-1])))
    turn = quaternion.to_rotation_vector(quaternion.multiply(after, quaternion.conjugate(before))).numpy()
    span = np.full((len(rotation), 1), 2.0)
    span[0] = span[-1] = 1.0
    return np.asarray(turn * fps / span)
