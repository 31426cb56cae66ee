"""Generators of terrain: one square tile of a kind, from a difficulty in [0, 1] and a random stream; plain numpy.

A tile is a surface of triangles over vertices, or blocks with upright sides: a height field of squares of `cell` m would make a
ramp, one square long, of every riser. Blocks lie on the lattice of squares, so that their tops can be looked up. Ranges are
those of mjlab's rough terrain where it has the kind, else those of legged_gym and Isaac Lab; tiles meet at height 0.
"""

import math
from collections.abc import Callable, Mapping

import attrs
import numpy as np

Span = tuple[float, float]


@attrs.frozen
class TileBlock:
    """A cuboid with upright sides: squares [x0, x1) × [y0, y1) of a lattice, up to `top` m."""

    x0: int
    x1: int
    y0: int
    y1: int
    top: float


@attrs.frozen(eq=False)
class Patch:
    """One tile: heights of (n + 1, n + 1) vertices in m, row by row along y, or blocks, of which the highest counts."""

    heights: np.ndarray | None = None
    blocks: tuple[TileBlock, ...] = ()


Generator = Callable[[float, int, float, np.random.Generator], Patch]


def _grow(difficulty: float, span: Span) -> float:
    return span[0] + difficulty * (span[1] - span[0])


def _squares(length: float, cell: float) -> int:
    return round(length / cell)


def _ring(inner: int, outer: int, count: int, top: float) -> list[TileBlock]:
    """Four blocks between two squares around the middle, `inner` and `outer` squares from the edge of a tile of `count`."""
    a, b, c, d = outer, inner, count - inner, count - outer
    sides = (
        TileBlock(a, d, a, b, top),
        TileBlock(a, d, c, d, top),
        TileBlock(a, b, b, c, top),
        TileBlock(c, d, b, c, top),
    )
    return [side for side in sides if side.x1 > side.x0 and side.y1 > side.y0]


def _middle(edge: int, count: int, top: float) -> TileBlock:
    return TileBlock(edge, count - edge, edge, count - edge, top)


def _places(count: int, cell: float) -> tuple[np.ndarray, np.ndarray]:
    """x and y of vertices from the corner of the tile, m."""
    steps = np.arange(count + 1) * cell
    return steps[None, :], steps[:, None]


def _inside(heights: np.ndarray, border: float, cell: float) -> np.ndarray:
    """Heights that are 0 within `border` m of the edge."""
    edge, kept = math.ceil(border / cell), np.zeros_like(heights, np.float64)
    kept[edge:-edge, edge:-edge] = heights[edge:-edge, edge:-edge]
    return kept


# -- kinds ---------------------------------------------------------------------------------------------


def flat(difficulty: float, count: int, cell: float, rng: np.random.Generator) -> Patch:
    """Height 0."""
    return Patch(blocks=(_middle(0, count, 0.0),))


def random_uniform(
    difficulty: float, count: int, cell: float, rng: np.random.Generator, *,
    noise: Span = (0.02, 0.10), step: float = 0.02, border: float = 0.25,
) -> Patch:  # fmt: skip
    """Vertices at random multiples of `step` from `noise[0]` to a height that grows to `noise[1]`; 0 near the edge."""
    steps = math.floor(difficulty * (noise[1] - noise[0]) / step + 1e-9)
    return Patch(_inside(noise[0] + step * rng.integers(0, steps + 1, (count + 1, count + 1)), border, cell))


def slope(
    difficulty: float, count: int, cell: float, rng: np.random.Generator, *,
    sign: float = 1.0, rise: Span = (0.0, 1.0), platform: float = 2.0,
) -> Patch:  # fmt: skip
    """A pyramid, upside down for `sign` -1: `rise` per run from the edge to a flat `platform` m wide."""
    x, y = _places(count, cell)
    size = count * cell
    inwards = np.minimum(np.minimum(x, size - x), np.minimum(y, size - y))
    return Patch(sign * _grow(difficulty, rise) * np.minimum(inwards, 0.5 * (size - platform)))


def rough_slope(
    difficulty: float, count: int, cell: float, rng: np.random.Generator, *,
    rise: Span = (0.0, 0.4), noise: float = 0.05, step: float = 0.005, spacing: float = 0.2, border: float = 0.25,
    platform: float = 3.0,
) -> Patch:  # fmt: skip
    """A pyramid with random multiples of `step` within ±`noise` m on it, `spacing` m apart and straight in between."""
    smooth = slope(difficulty, count, cell, rng, rise=rise, platform=platform).heights
    coarse = np.arange(math.ceil(count * cell / spacing) + 1) * spacing
    most = round(noise / step)
    drawn = step * rng.integers(-most, most + 1, (len(coarse), len(coarse)))
    places = np.arange(count + 1) * cell
    for _ in range(2):  # along x, then along y
        drawn = np.stack([np.interp(places, coarse, line) for line in drawn], 1)
    return Patch(smooth + _inside(drawn, border, cell))


def stairs(
    difficulty: float, count: int, cell: float, rng: np.random.Generator, *,
    sign: float = 1.0, height: Span = (0.0, 0.1), tread: float = 0.3, platform: float = 3.0, border: float = 1.0,
) -> Patch:  # fmt: skip
    """A pyramid of steps, upside down for `sign` -1: a flat border, treads as long as they fit, and a platform."""
    rise, edge, deep = sign * _grow(difficulty, height), _squares(border, cell), _squares(tread, cell)
    steps = (count - 2 * edge - _squares(platform, cell)) // (2 * deep)
    if rise == 0.0:
        return flat(difficulty, count, cell, rng)
    edges = [edge + step * deep for step in range(steps + 1)]
    if rise > 0.0:  # each step stands on the one below: one block for each
        return Patch(blocks=(_middle(0, count, 0.0), *(_middle(e, count, rise * (n + 1)) for n, e in enumerate(edges))))
    rings = [block for n, outer in enumerate(edges[:-1]) for block in _ring(outer + deep, outer, count, rise * (n + 1))]
    floor = _middle(edges[-1], count, rise * len(edges))
    return Patch(blocks=(*_ring(edge, 0, count, 0.0), *rings, floor))


def discrete_obstacles(
    difficulty: float, count: int, cell: float, rng: np.random.Generator, *,
    height: Span = (0.05, 0.2), width: Span = (0.4, 1.1), number: int = 40, platform: float = 2.0,
) -> Patch:  # fmt: skip
    """`number` blocks of random width, depth and place, all as high; none reaches the edge or the `platform` in the middle."""
    top, middle = _grow(difficulty, height), (count - _squares(platform, cell)) // 2
    low, high = (max(1, _squares(side, cell)) for side in width)
    blocks = [_middle(0, count, 0.0)]
    while len(blocks) <= number:
        w, d = rng.integers(low, high + 1, 2).tolist()
        x, y = int(rng.integers(1, count - w)), int(rng.integers(1, count - d))
        apart = x + w <= middle or x >= count - middle or y + d <= middle or y >= count - middle
        if apart:
            blocks.append(TileBlock(x, x + w, y, y + d, top))
    return Patch(blocks=tuple(blocks))


def waves(
    difficulty: float, count: int, cell: float, rng: np.random.Generator, *,
    amplitude: Span = (0.0, 0.2), number: int = 4,
) -> Patch:  # fmt: skip
    """A sin(2πnx/L) sin(2πny/L): `number` waves along each side, 0 at the edge and in the middle."""
    x, y = _places(count, cell)
    turn = 2.0 * math.pi * number / (count * cell)
    return Patch(_grow(difficulty, amplitude) * np.sin(turn * x) * np.sin(turn * y))


def stepping_stones(
    difficulty: float, count: int, cell: float, rng: np.random.Generator, *,
    width: Span = (1.5, 0.4), distance: Span = (0.1, 0.3), depth: float = 1.0, platform: float = 2.0,
) -> Patch:  # fmt: skip
    """Square stones at height 0 around a `platform`, `distance` apart, over a floor `depth` m lower."""
    side, gap = (max(1, _squares(_grow(difficulty, span), cell)) for span in (width, distance))
    begins = list(range(0, count, side + gap))
    middle = (count - _squares(platform, cell)) // 2
    stones = [
        TileBlock(x, min(x + side, count), y, min(y + side, count), 0.0)
        for x in begins
        for y in begins
        if not (middle <= x and x + side <= count - middle and middle <= y and y + side <= count - middle)
    ]
    return Patch(blocks=(_middle(0, count, -depth), _middle(middle, count, 0.0), *stones))


def gaps(
    difficulty: float, count: int, cell: float, rng: np.random.Generator, *,
    width: Span = (0.1, 0.8), depth: float = 1.0, platform: float = 3.0,
) -> Patch:  # fmt: skip
    """A ditch around a `platform`, `depth` m deep and as wide as the difficulty says."""
    inner = (count - _squares(platform, cell)) // 2
    outer = inner - max(1, _squares(_grow(difficulty, width), cell))
    return Patch(blocks=(*_ring(outer, 0, count, 0.0), *_ring(inner, outer, count, -depth), _middle(inner, count, 0.0)))


def pit(
    difficulty: float, count: int, cell: float, rng: np.random.Generator, *,
    depth: Span = (0.0, 1.0), platform: float = 4.0,
) -> Patch:  # fmt: skip
    """A square pit `platform` m wide in the middle, to be climbed out of."""
    edge, deep = (count - _squares(platform, cell)) // 2, _grow(difficulty, depth)
    return Patch(blocks=(*_ring(edge, 0, count, 0.0), _middle(edge, count, -deep)))


def _slope_down(difficulty: float, count: int, cell: float, rng: np.random.Generator) -> Patch:
    return slope(difficulty, count, cell, rng, sign=-1.0)


def _stairs_down(difficulty: float, count: int, cell: float, rng: np.random.Generator) -> Patch:
    return stairs(difficulty, count, cell, rng, sign=-1.0)


GENERATORS: Mapping[str, Generator] = {
    "flat": flat,
    "stairs_up": stairs,
    "stairs_down": _stairs_down,
    "slope_up": slope,
    "slope_down": _slope_down,
    "rough_slope": rough_slope,
    "random_uniform": random_uniform,
    "waves": waves,
    "discrete_obstacles": discrete_obstacles,
    "stepping_stones": stepping_stones,
    "gaps": gaps,
    "pit": pit,
}
