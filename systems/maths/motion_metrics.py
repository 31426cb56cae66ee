"""Metrics of motions, as the field defines them: how far a robot is off its reference, how smoothly and cheaply it moves.

Plain functions of tensors. Leading dimensions `...` are frames, rows, or both; where a function looks from one frame to the
next, frames are the dimension before those that it names, and a result has fewer of them. Places are in m in world axes,
z up, quaternions (w, x, y, z), joints in rad; `dt` is the time between frames in s. Nothing is averaged over frames: who
counts which frames is up to the caller.
"""

import torch
from torch import Tensor

from systems.maths.quaternion import angle_between, difference, rotate, turn, yaw
from systems.maths.tensors import vector

FAR = 0.5  # m of mean distance of the bodies, above which a clip is lost
LOW = 0.25  # m of difference in height of the anchor, above which one is
TILTED = 0.8  # difference of the vertical part of gravity in the anchor's axes, above which one is
ROUGH = 10_000.0  # rad/s³ of a joint, above which its motion is called a jerk


# -- places of bodies ----------------------------------------------------------------------------------


def global_error(position: Tensor, reference: Tensor) -> Tensor:
    """MPJPE, global: mean distance of bodies, (..., B, 3), (..., B, 3) -> (...) m."""
    return (position - reference).norm(dim=-1).mean(-1)


def root_relative_error(position: Tensor, reference: Tensor, root: int = 0) -> Tensor:
    """MPJPE, root-relative: mean distance of bodies after the place of body `root` is taken away from both; -> (...) m."""
    offset = position - reference
    return (offset - offset[..., root : root + 1, :]).norm(dim=-1).mean(-1)


def anchored(
    position: Tensor, rotation: Tensor, reference: Tensor, reference_rotation: Tensor, anchor: int
) -> tuple[Tensor, Tensor]:
    """The reference where the robot's anchor stands and facing where it faces, but with its own height, roll and pitch.

    (..., B, 3) and (..., B, 4) of the robot and of the reference -> places and rotations of the reference.
    """
    at = slice(anchor, anchor + 1)
    heading = yaw(difference(rotation[..., at, :], reference_rotation[..., at, :]))
    upright = vector((1.0, 0.0, 0.0, 0.0), heading.device, heading.dtype)
    offset = rotate(turn(upright, "z", heading), reference - reference[..., at, :])
    place = torch.cat((position[..., at, :2], reference[..., at, 2:]), -1)
    return place + offset, turn(reference_rotation, "z", heading)


def anchor_relative_error(
    position: Tensor, rotation: Tensor, reference: Tensor, reference_rotation: Tensor, anchor: int
) -> Tensor:
    """R-MPKPE: mean distance of bodies to the reference as `anchored`; -> (...) m."""
    return global_error(position, anchored(position, rotation, reference, reference_rotation, anchor)[0])


def procrustes_error(points: Tensor, target: Tensor) -> Tensor:
    """Mean distance after the best rotation, translation and scale of `points`; (..., P, 3) -> (...) in m.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991.
    """
    a = points - points.mean(-2, keepdim=True)
    b = target - target.mean(-2, keepdim=True)
    u, s, vh = torch.linalg.svd(b.transpose(-1, -2) @ a)
    sign = torch.sign(torch.linalg.det(u) * torch.linalg.det(vh))
    s = torch.cat((s[..., :2], s[..., 2:] * sign.unsqueeze(-1)), -1)
    u = torch.cat((u[..., :2], u[..., 2:] * sign[..., None, None]), -1)
    scale = s.sum(-1) / a.square().sum((-1, -2)).clamp_min(1e-12)
    moved = scale[..., None, None] * a @ (u @ vh).transpose(-1, -2)
    return (moved - b).norm(dim=-1).mean(-1)


def velocity_error(position: Tensor, reference: Tensor) -> Tensor:
    """E_vel: mean distance of bodies' displacements, (..., T, B, 3) -> (..., T - 1) m per frame."""
    return (position - reference).diff(dim=-3).norm(dim=-1).mean(-1)


def acceleration_error(position: Tensor, reference: Tensor) -> Tensor:
    """E_acc: mean distance of bodies' second differences, (..., T, B, 3) -> (..., T - 2) m per frame²."""
    return (position - reference).diff(n=2, dim=-3).norm(dim=-1).mean(-1)


def end_effector_error(
    position: Tensor, rotation: Tensor, reference: Tensor, reference_rotation: Tensor, anchor: int, ends: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean distance in m and mean angle in rad of the bodies `ends`, (E,), to the reference as `anchored`; -> (...), (...)."""
    place, facing = anchored(position, rotation, reference, reference_rotation, anchor)
    angle = angle_between(rotation[..., ends, :], facing[..., ends, :])
    return global_error(position[..., ends, :], place[..., ends, :]), angle.mean(-1)


# -- joints --------------------------------------------------------------------------------------------


def joint_error(angles: Tensor, reference: Tensor) -> Tensor:
    """Mean |Δq| over joints, (..., D), (..., D) -> (...) rad."""
    return (angles - reference).abs().mean(-1)


def joint_velocity_error(speeds: Tensor, reference: Tensor) -> Tensor:
    """Root mean square over joints of the difference of speeds, (..., D), (..., D) -> (...) rad/s."""
    return (speeds - reference).square().mean(-1).sqrt()


def action_rate(actions: Tensor) -> Tensor:
    """Mean over joints of how far an action moves from one frame to the next, (..., T, D) -> (..., T - 1), in its unit."""
    return actions.diff(dim=-2).abs().mean(-1)


def joint_jerk(speeds: Tensor, dt: float) -> Tensor:
    """Mean over joints of |jerk|, the second difference of speeds, (..., T, D) rad/s -> (..., T - 2) rad/s³."""
    return (speeds.diff(n=2, dim=-2) / dt**2).abs().mean(-1)


def jerky(speeds: Tensor, dt: float, rough: float = ROUGH) -> Tensor:
    """Whether any joint's |jerk| is above `rough` in rad/s³, (..., T, D) rad/s -> (..., T - 2)."""
    return (speeds.diff(n=2, dim=-2) / dt**2).abs().amax(-1) > rough


def power(torque: Tensor, speeds: Tensor) -> Tensor:
    """Power that motors put in, Σ max(τ q̇, 0), (..., D) N·m, (..., D) rad/s -> (...) W; braking gives nothing back."""
    return (torque * speeds).clamp_min(0.0).sum(-1)


def cost_of_transport(watts: Tensor, speed: Tensor, mass: float, gravity: float = 9.81) -> Tensor:
    """Mean power over weight times mean speed, watts (..., T) and m/s (..., T) -> (...); nan for who stands still."""
    mean = speed.mean(-1)
    return watts.mean(-1) / (mass * gravity * torch.where(mean > 1e-6, mean, torch.nan))


# -- feet ----------------------------------------------------------------------------------------------


def foot_slip(velocity: Tensor, touching: Tensor) -> Tensor:
    """Mean horizontal speed of feet that touch, (..., F, 3) m/s and (..., F) bool -> (...) m/s; nan where none touches."""
    speed, touching = velocity[..., :2].norm(dim=-1), touching.to(velocity.dtype)
    return (speed * touching).sum(-1) / touching.sum(-1)


# -- success -------------------------------------------------------------------------------------------


def far(position: Tensor, reference: Tensor, limit: float = FAR) -> Tensor:
    """Whether the mean distance of bodies in the world is above `limit` in m, (..., B, 3) -> (...)."""
    return global_error(position, reference) > limit


def low_or_tilted(
    position: Tensor,
    rotation: Tensor,
    reference: Tensor,
    reference_rotation: Tensor,
    height: float = LOW,
    tilt: float = TILTED,
) -> Tensor:
    """Whether the anchor is too high or low, or leans otherwise than the reference's; of the anchor alone.

    (..., 3) and (..., 4) of robot and reference -> (...). Heights differ by more than `height` in m, or the vertical part of
    gravity in the anchor's axes by more than `tilt`, as BeyondMimic and mjlab end episodes.
    """
    apart = (position[..., 2] - reference[..., 2]).abs() > height
    leaning = (_upright(rotation) - _upright(reference_rotation)).abs() > tilt
    return apart | leaning


def _upright(rotation: Tensor) -> Tensor:
    """Cosine of the tilt, (..., 4) -> (...)."""
    x, y = rotation[..., 1], rotation[..., 2]
    return 1.0 - 2.0 * (x * x + y * y)


# -- commands ------------------------------------------------------------------------------------------


def command_errors(velocity: Tensor, turning: Tensor, command: Tensor) -> tuple[Tensor, Tensor]:
    """|v_xy − command| in m/s and |ω_z − command| in rad/s.

    `velocity`: (..., 2 or 3) m/s in the axes of the heading; `turning`: (...) rad/s; `command`: (..., 3) -> (...), (...).
    """
    return (velocity[..., :2] - command[..., :2]).norm(dim=-1), (turning - command[..., 2]).abs()
