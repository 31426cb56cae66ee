"""Grid of tiles: one kind of terrain along y for each name, harder and harder along x, centred at the origin."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import attrs
import numpy as np
import torch

from components.terrain import Ground
from engine.ecs.world import stream_seed
from engine.errors import SceneError, did_you_mean, listing
from systems.ground.generators import GENERATORS, Patch, flat

PLANE = "plane"
NAMED: Mapping[str, Mapping[str, float]] = {  # kinds and their shares of rows
    "rough": {  # mjlab's
        "flat": 0.2,
        "stairs_up": 0.2,
        "stairs_down": 0.2,
        "slope_up": 0.1,
        "slope_down": 0.1,
        "random_uniform": 0.1,
        "waves": 0.1,
    },
    "stairs": {"stairs_up": 0.5, "stairs_down": 0.5},
    "slopes": {"slope_up": 0.5, "slope_down": 0.5},
    "all": dict.fromkeys(GENERATORS, 1.0 / len(GENERATORS)),
}
COPIES = 8  # of the heights: the compiler's, those of the models of two simulators, and those that are looked up


@attrs.frozen(eq=False)
class Cuboid:
    """A block of the whole terrain: (low, high) along x and y in m, and its top."""

    x: tuple[float, float]
    y: tuple[float, float]
    top: float


@attrs.frozen(eq=False)
class HeightField:
    """Tiles of triangles: (low, high) along x and y in m; heights are `lowest` + `shares` × `span`, to the last bit of float32."""

    x: tuple[float, float]
    y: tuple[float, float]
    lowest: float  # m
    span: float  # m
    shares: np.ndarray  # (rows + 1, columns + 1) float32 in [0, 1]

    @property
    def heights(self) -> np.ndarray:
        """(rows + 1, columns + 1) m."""
        return self.lowest + self.span * self.shares.astype(np.float64)


Part = TypeVar("Part", Cuboid, HeightField)


@attrs.frozen(eq=False)
class Terrain:
    """Terrain as a simulator gets it: a height field for each tile of triangles, and blocks."""

    kinds: tuple[str, ...]
    shares: tuple[float, ...]
    cell: float  # m
    border: float  # m of flat ground around the tiles
    lowest: float  # m
    fields: tuple[HeightField, ...]
    blocks: tuple[Cuboid, ...]
    planes: np.ndarray  # (Y, X, 5) as in `Ground.planes`
    origins: np.ndarray  # (levels, kinds, 3) m

    @property
    def half_size(self) -> tuple[float, float]:
        """Half the extent of all tiles along x and y, m."""
        rows, columns, _ = self.planes.shape
        return 0.5 * columns * self.cell, 0.5 * rows * self.cell

    def ground(self) -> Ground:
        """What is looked up."""
        x, y = self.half_size
        return Ground(
            planes=torch.from_numpy(self.planes.astype(np.float32)),
            cell=self.cell,
            corner=(-x, -y),
            border=self.border,
            origins=torch.from_numpy(self.origins.astype(np.float32)),
            kinds=self.kinds,
            shares=self.shares,
        )

    def joined(self) -> "Terrain":
        """The same ground of fewer parts: blocks of one height that make one block, and the fields of a kind, become one."""
        blocks, before = list(self.blocks), len(self.blocks) + 1
        while len(blocks) < before:
            before = len(blocks)
            blocks = [attrs.evolve(run[0], x=(run[0].x[0], run[-1].x[1])) for run in _runs(blocks, "x", "y")]
            blocks = [attrs.evolve(run[0], y=(run[0].y[0], run[-1].y[1])) for run in _runs(blocks, "y", "x")]
        fields = tuple(_joined_fields(run) for run in _runs(self.fields, "x", "y"))
        return attrs.evolve(self, fields=fields, blocks=tuple(blocks))

    def near(self, points: np.ndarray, reach: float) -> "Terrain":
        """The same without fields and blocks that are farther than `reach` m from all points (N, 2), along x or y."""

        def shown(part: "HeightField | Cuboid") -> bool:
            spans = zip((part.x, part.y), points.T, strict=True)
            inside = [(places > low - reach) & (places < high + reach) for (low, high), places in spans]
            return bool((inside[0] & inside[1]).any())

        return attrs.evolve(self, fields=tuple(filter(shown, self.fields)), blocks=tuple(filter(shown, self.blocks)))


def kinds_of(text: str) -> dict[str, float]:
    """Kinds and their shares of what a person writes: a name of NAMED, or kinds with commas between; SceneError for others."""
    if text in NAMED:
        return dict(NAMED[text])
    names = [name.strip() for name in text.split(",")]
    known = (PLANE, *NAMED, *GENERATORS)
    for name in names:
        if name in (PLANE, *NAMED):
            kinds = ",".join(
                dict.fromkeys(kind for each in names for kind in NAMED.get(each, (each,)) if kind != PLANE)
            )
            raise SceneError(
                f"terrain: '{name}' in '{text}' stands alone. Name kinds of tiles instead: {kinds or 'flat'}."
            )
        if name not in GENERATORS:
            raise SceneError(
                f"terrain: there is no terrain '{name}'; there are {listing((PLANE, *NAMED))}, and kinds of tiles with commas "
                f"between: {listing(GENERATORS, 40)}.{did_you_mean(name, known)}"
            )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SceneError(f"terrain: '{twice[0]}' is named twice in '{text}'. Name each kind once.")
    return dict.fromkeys(names, 1.0 / len(names))


def num_bytes(kinds: int, levels: int, size: float, cell: float) -> int:
    """Memory of the heights of a terrain and of what is kept beside them, before any of it is allocated."""
    return round(levels * size / cell) * round(kinds * size / cell) * 4 * COPIES


def make_terrain(
    text: str, *, levels: int = 10, size: float = 8.0, cell: float = 0.1, border: float = 20.0, seed: int = 0,
    available: float = float("inf"),
) -> Terrain | None:  # fmt: skip
    """The terrain of a name, or of kinds with commas between; None for a plane.

    Tiles are `size` m wide with `levels` of difficulty from 0 to 1 (a single one: 1). Each tile draws from a stream of its own,
    named by its kind and level. Raises SceneError for what is no terrain, or needs more than `available` bytes.
    """
    if text == PLANE:
        return None
    kinds = kinds_of(text)
    _refuse_senseless(kinds, levels, size, cell, border, available)
    count = round(size / cell)
    planes, fields, blocks = np.zeros((len(kinds) * count, levels * count, 5)), list[HeightField](), list[Cuboid]()
    for number, kind in enumerate(kinds):
        for level in range(levels):
            patch = _patch(kind, level, levels, count, cell, seed)
            x, y = level * count, number * count
            corner = (x * cell - 0.5 * levels * size, y * cell - 0.5 * len(kinds) * size)
            squares = planes[y : y + count, x : x + count]
            if patch.heights is not None:  # all tiles are 0 at their edges
                fields.append(_field(patch.heights, corner, size))
                squares[:] = _planes(fields[-1].heights)
            else:
                squares[..., 0] = -np.inf
            for one in patch.blocks:
                top = squares[one.y0 : one.y1, one.x0 : one.x1, 0]
                np.maximum(top, one.top, out=top)
                along, across = (
                    (first + low * cell, first + high * cell)
                    for first, low, high in zip(corner, (one.x0, one.y0), (one.x1, one.y1), strict=True)
                )
                blocks.append(Cuboid(along, across, one.top))
    made = Terrain(
        kinds=tuple(kinds),
        shares=tuple(kinds.values()),
        cell=cell,
        border=border,
        lowest=min([0.0, *(field.lowest for field in fields), *(block.top for block in blocks)]),
        fields=tuple(fields),
        blocks=(*blocks, *_border(levels * size, len(kinds) * size, border)),
        planes=planes,
        origins=np.zeros((levels, len(kinds), 3)),
    )
    made.origins[:] = _origins(made, levels, len(kinds), count)
    return made


def _patch(kind: str, level: int, levels: int, count: int, cell: float, seed: int) -> Patch:
    rng = np.random.default_rng(stream_seed(seed, f"terrain.{kind}.{level}"))
    difficulty = level / (levels - 1) if levels > 1 else 1.0
    patch = GENERATORS[kind](difficulty, count, cell, rng)
    level_ground = patch.heights is not None and not patch.heights.any()
    return flat(difficulty, count, cell, rng) if level_ground else patch  # one block: its contacts cost less


def _field(heights: np.ndarray, corner: tuple[float, float], size: float) -> HeightField:
    low = float(heights.min())
    span = max(float(np.ptp(heights)), 0.01)  # a simulator wants one above 0
    x, y = ((first, first + size) for first in corner)
    return HeightField(x, y, low, span, ((heights - low) / span).astype(np.float32))


def _runs(parts: Sequence[Part], along: str, across: str) -> list[list[Part]]:
    """Parts that follow each other `along` an axis, equally high if they are blocks, and have the same sides `across`."""

    def line(part: Part) -> tuple[float, ...]:
        return (*(round(side, 6) for side in getattr(part, across)), getattr(part, "top", 0.0))

    runs: list[list[Part]] = []
    for part in sorted(parts, key=lambda part: (line(part), getattr(part, along))):
        last = runs[-1][-1] if runs else part
        touches = abs(getattr(last, along)[1] - getattr(part, along)[0]) < 1e-6 and line(last) == line(part)
        runs[-1].append(part) if touches else runs.append([part])
    return runs


def _joined_fields(run: Sequence[HeightField]) -> HeightField:
    """Fields that follow each other along x as one."""
    if len(run) == 1:
        return run[0]
    heights = np.concatenate([*(field.heights[:, :-1] for field in run[:-1]), run[-1].heights], 1)
    low, high = min(field.lowest for field in run), max(field.lowest + field.span for field in run)
    shares = ((heights - low) / (high - low)).astype(np.float32)
    return HeightField((run[0].x[0], run[-1].x[1]), run[0].y, low, high - low, shares)


def _planes(heights: np.ndarray) -> np.ndarray:
    """Both triangles of every square, as in `Ground.planes`."""
    a, b, c, d = heights[:-1, :-1], heights[:-1, 1:], heights[1:, :-1], heights[1:, 1:]
    return np.stack((a, b - a, d - b, d - c, c - a), -1)


def _border(length: float, width: float, border: float) -> list[Cuboid]:
    """Flat ground at height 0 around all tiles."""
    x, y = 0.5 * length, 0.5 * width
    if not border:
        return []
    sides = (((-x - border, x + border), (y, y + border)), ((-x - border, x + border), (-y - border, -y)),
             ((x, x + border), (-y, y)), ((-x - border, -x), (-y, y)))  # fmt: skip
    return [Cuboid(along, across, 0.0) for along, across in sides]


def _origins(made: Terrain, levels: int, kinds: int, count: int) -> np.ndarray:
    """The middle of each tile, at the height of the ground there."""
    x, y = made.half_size
    size, places = count * made.cell, np.zeros((levels, kinds, 3))
    places[..., 0] = (np.arange(levels)[:, None] + 0.5) * size - x
    places[..., 1] = (np.arange(kinds)[None] + 0.5) * size - y
    squares = (np.arange(kinds)[None] * count + count // 2, np.arange(levels)[:, None] * count + count // 2)
    places[..., 2] = made.planes[squares][..., 0]  # of its first corner, which is the middle
    return places


def _refuse_senseless(
    kinds: Mapping[str, float], levels: int, size: float, cell: float, border: float, available: float
) -> None:
    """SceneError for numbers of which no terrain can be made, and for one beyond memory."""
    if levels < 1:
        raise SceneError(f"terrain: levels={levels} makes no sense; there is at least 1.")
    if not 0.02 <= cell <= 0.25:
        raise SceneError(f"terrain: cell={cell:g} m is no width of a square; give one from 0.02 to 0.25.")
    if not border >= 0.0:
        raise SceneError(f"terrain: border={border:g} m makes no sense; give 0 or more.")
    if not size >= 6.0 or abs(size / cell - 2 * round(0.5 * size / cell)) > 1e-6:
        raise SceneError(
            f"terrain: tiles of size={size:g} m cannot be made of squares of {cell:g} m; give at least 6 m, and an even number "
            "of squares."
        )
    needed = num_bytes(len(kinds), levels, size, cell)
    if needed > available:
        raise SceneError(
            f"terrain: {levels} levels of {len(kinds)} kinds in squares of {cell:g} m need {needed:,} bytes, but only "
            f"{available:,.0f} bytes of memory are free. Give fewer levels or kinds, or wider squares."
        )
