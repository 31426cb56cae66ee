"""Terrain: the ground under the rows, and the tile of it that each row is on."""

import torch
from torch import Tensor

from engine.ecs.component import column, component, constant, resource


@resource
class Ground:
    """The ground, in the frame in which places of rows are given: flat at height 0 unless it has `planes`.

    Squares are `cell` m wide, the first begins at `corner`; x goes along the second axis. With u along x and v along y in [0, 1)
    the height of a square (a, b, c, d, e) is a + u b + v c where u > v, else a + u d + v e: two triangles, as MuJoCo cuts height
    fields, or the level top of a block. Beyond the squares the ground is level at height 0 for `border` m, and then there is none.
    """

    planes: Tensor | None = constant(default=None)  # (Y, X, 5) m
    cell: float = constant(default=1.0)
    corner: tuple[float, float] = constant(default=(0.0, 0.0))
    border: float = constant(default=0.0)
    origins: Tensor | None = constant(default=None)  # (levels, kinds, 3) m, where episodes begin on each tile
    kinds: tuple[str, ...] = constant(default=())
    shares: tuple[float, ...] = constant(default=())  # of rows that are on each kind


@component
class TerrainTile:
    """The tile on which the row's episode began, where its places are counted from, and how far it was asked to go."""

    level: Tensor = column(dtype=torch.int64, doc="difficulty, from 0 up")
    kind: Tensor = column(dtype=torch.int64, doc="place in `Ground.kinds`")
    origin: Tensor = column(
        3, unit="m", doc="of the episode's places, of a clip's too; it moves along where a row is put to the other edge"
    )
    asked: Tensor = column(unit="m", doc="length of the way that commands have asked for in this episode")
