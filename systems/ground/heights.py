"""Height of the ground under points, the same that MuJoCo collides with: everything that asks how high something is asks here."""

import functools

import torch
from torch import Tensor

from components.terrain import Ground
from engine.errors import SceneError
from systems.maths.tensors import vector


def ground_height(ground: Ground, points: Tensor) -> Tensor:
    """Height of the ground under points (..., 2) or (..., 3) in m, (...); 0 on flat ground and beyond the tiles."""
    return height_at(ground, points[..., 0].contiguous(), points[..., 1].contiguous())


def height_at(ground: Ground, x: Tensor, y: Tensor) -> Tensor:
    """`ground_height` under points whose x and y in m, of one shape, stand in memory one after the other."""
    if ground.planes is None:
        return torch.zeros_like(x)
    rows, columns, _ = ground.planes.shape
    u, v = ((each - first).mul_(1.0 / ground.cell) for each, first in zip((x, y), ground.corner, strict=True))
    off = (u >= 0.0).logical_and_(u < columns).logical_and_(v >= 0.0).logical_and_(v < rows).logical_not_()
    column, row = u.floor(), v.floor()
    u.sub_(column)
    v.sub_(row)
    square = column.int().add_(row.int(), alpha=columns).clamp_(0, rows * columns - 1).mul_(5).view(-1)
    number = torch.add(square, (u > v).view(-1), alpha=-2).add_(3)  # of b or d
    height = _looked_up(ground.planes, number, u).mul_(u)
    height.addcmul_(_looked_up(ground.planes, number.add_(1), v), v).add_(_looked_up(ground.planes, square, u))
    return height.masked_fill_(off, 0.0)  # off is also what is no number


def _looked_up(planes: Tensor, number: Tensor, like: Tensor) -> Tensor:
    """The numbers at (n,) places in `planes`, in shape and type `like` a tensor of n."""
    return planes.view(-1).index_select(0, number).to(like.dtype).view_as(like)


def height_above_ground(ground: Ground, points: Tensor) -> Tensor:
    """How high points (..., 3) are above the ground, in m, (...)."""
    height = points[..., 2]
    return height if ground.planes is None else height - ground_height(ground, points)


def ground_normal(ground: Ground, points: Tensor, reach: float) -> Tensor:
    """Unit normal of the plane through the ground `reach` m before, behind, left and right of points (..., 2), (..., 3)."""
    steps = vector((reach, 0.0, -reach, 0.0, 0.0, reach, 0.0, -reach), points.device, points.dtype).view(4, 2)
    front, back, left, right = ground_height(ground, points[..., None, :2] + steps).unbind(-1)
    tilted = torch.stack((back - front, right - left, torch.full_like(front, 2.0 * reach)), -1)
    return tilted / tilted.norm(dim=-1, keepdim=True)


def off_tiles(ground: Ground, points: Tensor, margin: float) -> Tensor:
    """Whether points (..., 2) are less than `margin` m from where the flat border ends, or beyond; (...) bool."""
    half = half_size(ground)
    beyond = [points[..., axis].abs() > most + ground.border - margin for axis, most in enumerate(half)]
    return beyond[0] | beyond[1]


def half_size(ground: Ground) -> tuple[float, float]:
    """Half the extent of all tiles along x and y, m; infinite for flat ground."""
    return (-ground.corner[0], -ground.corner[1]) if ground.planes is not None else (torch.inf, torch.inf)


@functools.cache
def scan_points(size: tuple[float, float], spacing: float, device: torch.device) -> Tensor:
    """Points of a grid around 0, (N, 2) m: `size` long in x and wide in y, `spacing` apart, x first.

    Raises SceneError for a grid that is none. Nobody may write into it.
    """
    counts = [round(side / spacing) + 1 if spacing > 0.0 and side >= 0.0 else 0 for side in size]
    if not all(count and abs((count - 1) * spacing - side) < 1e-6 for count, side in zip(counts, size, strict=True)):
        raise SceneError(
            f"A height scan of size={size} with spacing={spacing:g} m is no grid; give a length and a width that are multiples of "
            "the spacing, such as (1.6, 1.0) and 0.1."
        )
    x, y = (
        torch.linspace(-0.5 * side, 0.5 * side, count, device=device) for side, count in zip(size, counts, strict=True)
    )
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(-1, 2)
