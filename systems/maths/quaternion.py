"""Rotation maths on raw tensors. Quaternions are (..., 4), scalar first (w, x, y, z), unit norm.

Products are Hamilton products; `rotate(q, v)` turns v from the frame of q into the frame q is seen from.
"""

import torch
from torch import Tensor

from systems.maths.tensors import vector


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product a ⊗ b; `a`, `b`: (..., 4), broadcasting."""
    aw, av, bw, bv = a[..., :1], a[..., 1:], b[..., :1], b[..., 1:]
    av, bv = torch.broadcast_tensors(av, bv)
    real = (aw * bw).sub_((av * bv).sum(-1, keepdim=True))
    imaginary = torch.linalg.cross(av, bv).addcmul_(aw, bv).addcmul_(bw, av)
    return torch.cat((real, imaginary), -1)


def conjugate(q: Tensor) -> Tensor:
    """The inverse rotation of a unit quaternion (..., 4)."""
    return torch.cat((q[..., :1], -q[..., 1:]), -1)


def normalize(q: Tensor) -> Tensor:
    """`q` (..., 4) scaled to unit norm."""
    return q / q.norm(dim=-1, keepdim=True).clamp_min(1e-12)


def difference(a: Tensor, b: Tensor) -> Tensor:
    """a ⊗ b⁻¹: the turn in the outer frame that takes b to a; `a`, `b`: (..., 4), broadcasting."""
    a, b = torch.broadcast_tensors(a, b)
    aw, av, bw, bv = a[..., :1], a[..., 1:], b[..., :1], b[..., 1:]
    imaginary = torch.linalg.cross(bv, av).addcmul_(bw, av).addcmul_(aw, bv, value=-1.0)
    return torch.cat(((a * b).sum(-1, keepdim=True), imaginary), -1)


def rotate(q: Tensor, v: Tensor) -> Tensor:
    """R(q) v; `q`: (..., 4), `v`: (..., 3), broadcasting."""
    w, (u, v) = q[..., :1], torch.broadcast_tensors(q[..., 1:], v)
    t = torch.linalg.cross(u, v).mul_(2.0)
    return torch.linalg.cross(u, t).add_(v).addcmul_(w, t)


def rotate_inverse(q: Tensor, v: Tensor) -> Tensor:
    """R(q)ᵀ v; `q`: (..., 4), `v`: (..., 3), broadcasting."""
    w, (u, v) = q[..., :1], torch.broadcast_tensors(q[..., 1:], v)
    t = torch.linalg.cross(u, v).mul_(2.0)
    return torch.linalg.cross(u, t).add_(v).addcmul_(w, t, value=-1.0)


def yaw(q: Tensor) -> Tensor:
    """Rotation about world z in rad, atan2(2(wz + xy), 1 − 2(y² + z²)); (..., 4) -> (...)."""
    w, x, y, z = q.unbind(-1)
    sine = (w * z).addcmul_(x, y)
    cosine = 0.5 - (y * y).addcmul_(z, z)
    return torch.atan2(sine, cosine)


_FLIPS = {"x": (-1,), "y": (-2,), "z": (-1, -2)}  # of (w, x), (y, z): what multiplying by i, j or k permutes
_SIGNS = {"x": (-1.0, 1.0, -1.0, 1.0), "y": (-1.0, 1.0, 1.0, -1.0), "z": (-1.0, -1.0, 1.0, 1.0)}


def turn(q: Tensor, axis: str, angle: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`q` (..., 4) turned by `angle` (...) in rad about the outer frame's `axis`, "x", "y" or "z"; broadcasting.

    The same as multiplying from the left by the quaternion of that turn. Written to `out` where given.
    """
    half = 0.5 * angle.unsqueeze(-1)
    return _turn(q, axis, half.cos(), half.sin(), out)


def turn_by_euler(q: Tensor, angles: Tensor) -> Tensor:
    """`q` (..., 4) turned about the outer frame's x, then y, then z by `angles` (..., 3) in rad."""
    half = 0.5 * angles
    for axis, cosine, sine in zip("xyz", half.cos().split(1, -1), half.sin().split(1, -1), strict=True):
        q = _turn(q, axis, cosine, sine)
    return q


def _turn(q: Tensor, axis: str, cosine: Tensor, sine: Tensor, out: Tensor | None = None) -> Tensor:
    product = q.unflatten(-1, (2, 2)).flip(_FLIPS[axis]).flatten(-2)
    return torch.mul(cosine, q, out=out).addcmul_(sine * vector(_SIGNS[axis], q.device), product)


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

    4 atan2(|a − b|, |a + b|), signs chosen for the shorter way: exact for small angles, where the arccos of
    the dot product is not.
    """
    apart, together = torch.linalg.vector_norm(a - b, dim=-1), torch.linalg.vector_norm(a + b, dim=-1)
    return 4.0 * torch.atan2(torch.minimum(apart, together), torch.maximum(apart, together))


def to_columns(q: Tensor) -> Tensor:
    """The three columns of the rotation matrix one after the other: where x, y and z point; (..., 4) -> (..., 9).

    Every entry is a quadratic form in (w, x, y, z): the ten products of two of them, and one matrix product.
    All products are 16 wide, for which matrix libraries have fast paths, and the rest is zero.
    """
    left, right, forms = (vector(values, q.device, q.dtype).view(-1, WIDE) for values in _QUADRATIC)
    return q.matmul(left).mul_(q.matmul(right)).matmul(forms)[..., :9]


def to_matrix(q: Tensor) -> Tensor:
    """Rotation matrices of unit quaternions; (..., 4) -> (..., 3, 3), a transposed view."""
    return to_columns(q).unflatten(-1, (3, 3)).mT


WIDE = 16


def _quadratic_forms() -> tuple[tuple[float, ...], ...]:
    """Which components the ten products take, (4, WIDE) twice, and R_ij as their sum, (WIDE, WIDE) at i + 3 j.

    On the diagonal w² ± x² ± y² ± z², elsewhere 2 (q_i q_j ± w q_k).
    """
    pairs = [(k, m) for k in range(4) for m in range(k, 4)]
    left, right = ([[0.0] * WIDE for _ in range(4)] for _ in range(2))
    forms = [[0.0] * WIDE for _ in range(WIDE)]
    for number, (first, second) in enumerate(pairs):
        left[first][number] = right[second][number] = 1.0
    for i in range(3):
        for k in range(4):
            forms[pairs.index((k, k))][4 * i] = 1.0 if k in (0, i + 1) else -1.0
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        for row, column, sign in ((i, j, -1.0), (j, i, 1.0)):
            forms[pairs.index((min(i, j) + 1, max(i, j) + 1))][row + 3 * column] = 2.0
            forms[pairs.index((0, k + 1))][row + 3 * column] = 2.0 * sign
    return tuple(tuple(value for line in matrix for value in line) for matrix in (left, right, forms))


_QUADRATIC = _quadratic_forms()


_NEARLY_1 = 1.0 - 2.0**-21  # its arccos is below 1e-3 and has a derivative


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Spherical interpolation along the shorter way, renormalised; `t` in [0, 1] broadcasts to (..., 1)."""
    dot = (a * b).sum(-1, keepdim=True)
    angle = dot.abs().clamp_(max=_NEARLY_1).acos_().clamp_(min=1e-3)  # below, arc and chord agree to float precision
    part = t * angle
    blend = (angle - part).sin_() * a
    blend.addcmul_(part.sin().mul_(torch.copysign(vector((1.0,), dot.device, dot.dtype), dot)), b)
    return blend / torch.linalg.vector_norm(blend, dim=-1, keepdim=True)
