"""Rotation maths on raw tensors. Quaternions are (..., 4), scalar first (w, x, y, z), unit norm.

Products are Hamilton products; `rotate(q, v)` turns v from the frame of q into the frame q is seen from.
"""

import torch
from torch import Tensor


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product a ⊗ b; `a`, `b`: (..., 4)."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        (
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ),
        -1,
    )


def conjugate(q: Tensor) -> Tensor:
    """The inverse rotation of a unit quaternion (..., 4)."""
    return q * q.new_tensor((1.0, -1.0, -1.0, -1.0))


def normalize(q: Tensor) -> Tensor:
    """`q` (..., 4) scaled to unit norm."""
    return q / q.norm(dim=-1, keepdim=True).clamp_min(1e-12)


def rotate(q: Tensor, v: Tensor) -> Tensor:
    """R(q) v; `q`: (..., 4), `v`: (..., 3), broadcasting."""
    w, u = q[..., :1], q[..., 1:]
    u, v = torch.broadcast_tensors(u, v)
    t = 2.0 * torch.linalg.cross(u, v)
    return v + w * t + torch.linalg.cross(u, t)


def rotate_inverse(q: Tensor, v: Tensor) -> Tensor:
    """R(q)ᵀ v; `q`: (..., 4), `v`: (..., 3), broadcasting."""
    w, u = q[..., :1], q[..., 1:]
    u, v = torch.broadcast_tensors(u, v)
    t = 2.0 * torch.linalg.cross(u, v)
    return v - w * t + torch.linalg.cross(u, t)


def yaw(q: Tensor) -> Tensor:
    """Rotation about world z in rad, atan2(2(wz + xy), 1 − 2(y² + z²)); (..., 4) -> (...)."""
    w, x, y, z = q.unbind(-1)
    return torch.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


def yaw_only(q: Tensor) -> Tensor:
    """The part of `q` (..., 4) that turns about world z, as a quaternion."""
    half = 0.5 * yaw(q)
    zero = torch.zeros_like(half)
    return torch.stack((half.cos(), zero, zero, half.sin()), -1)


def from_rotation_vector(v: Tensor) -> Tensor:
    """exp: axis times angle in rad, (..., 3) -> (..., 4)."""
    angle = v.norm(dim=-1, keepdim=True)
    half = 0.5 * angle
    scale = torch.where(angle > 1e-8, half.sin() / angle.clamp_min(1e-8), 0.5 - angle * angle / 48.0)
    return torch.cat((half.cos(), v * scale), -1)


def to_rotation_vector(q: Tensor) -> Tensor:
    """log, along the shorter way round: (..., 4) -> (..., 3), length in [0, π]."""
    q = torch.where(q[..., :1] < 0, -q, q)
    sine = q[..., 1:].norm(dim=-1, keepdim=True)
    angle = 2.0 * torch.atan2(sine, q[..., :1])
    return q[..., 1:] * torch.where(sine > 1e-8, angle / sine.clamp_min(1e-8), torch.full_like(sine, 2.0))


def angle_between(a: Tensor, b: Tensor) -> Tensor:
    """Geodesic angle in [0, π] between two rotations; (..., 4), (..., 4) -> (...).

    2 atan2(|vec|, |w|) of a ⊗ b⁻¹: exact for small angles, where arccos of the dot product is not.
    """
    aw, av, bw, bv = a[..., :1], a[..., 1:], b[..., :1], b[..., 1:]
    scalar = (a * b).sum(-1)
    av, bv = torch.broadcast_tensors(av, bv)
    vector = bw * av - aw * bv - torch.linalg.cross(av, bv)
    return 2.0 * torch.atan2(vector.norm(dim=-1), scalar.abs())


def first_two_columns(q: Tensor) -> Tensor:
    """rot6: the first two columns of the rotation matrix, read row by row; (..., 4) -> (..., 6)."""
    w, x, y, z = q.unbind(-1)
    return torch.stack(
        (
            1.0 - 2.0 * (y * y + z * z),
            2.0 * (x * y - w * z),
            2.0 * (x * y + w * z),
            1.0 - 2.0 * (x * x + z * z),
            2.0 * (x * z - w * y),
            2.0 * (y * z + w * x),
        ),
        -1,
    )


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Spherical interpolation along the shorter way, renormalised; `t` in [0, 1] broadcasts to (..., 1)."""
    dot = (a * b).sum(-1, keepdim=True)
    b = torch.where(dot < 0, -b, b)
    angle = torch.acos(dot.abs().clamp(max=1.0))
    sine = angle.sin()
    near = sine < 1e-4  # chord and arc agree here to float precision
    safe = torch.where(near, torch.ones_like(sine), sine)
    start = torch.where(near, 1.0 - t, ((1.0 - t) * angle).sin() / safe)
    end = torch.where(near, t, (t * angle).sin() / safe)
    return normalize(start * a + end * b)


def from_euler(roll: Tensor, pitch: Tensor, yaw: Tensor) -> Tensor:
    """Rotation by roll about x, then pitch about y, then yaw about z, all fixed axes, rad; (...) -> (..., 4)."""
    cr, sr = (0.5 * roll).cos(), (0.5 * roll).sin()
    cp, sp = (0.5 * pitch).cos(), (0.5 * pitch).sin()
    cy, sy = (0.5 * yaw).cos(), (0.5 * yaw).sin()
    return torch.stack(
        (cr * cp * cy + sr * sp * sy, sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy, cr * cp * sy - sr * sp * cy),
        -1,
    )
