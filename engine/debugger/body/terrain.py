"""Terrain under a figure: heights read from the model that a run hands out, and looked up under points. No Qt."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import attrs
import numpy as np

CELL = 0.1  # m between the points of a lattice
MOST = 2000  # of them along a side


@attrs.frozen(eq=False)
class TerrainHeights:
    """Heights of the ground at points of a lattice, rows along y: what is between them is drawn straight."""

    heights: np.ndarray  # (Y, X) m
    corner: tuple[float, float]  # m, of the first
    cell: tuple[float, float]  # m along x and y

    def under(self, points: np.ndarray) -> np.ndarray:
        """Height under points (..., 2 or 3) in m, (...); 0 beyond the lattice and under what is not a number."""
        places = [(points[..., axis] - self.corner[axis]) / self.cell[axis] for axis in (0, 1)]
        most = self.heights.shape[1] - 1, self.heights.shape[0] - 1
        inside = np.logical_and.reduce([(p >= 0.0) & (p <= m) for p, m in zip(places, most, strict=True)])
        (i, u), (j, v) = (_split(np.where(inside, p, 0.0), m) for p, m in zip(places, most, strict=True))
        near = (1.0 - u) * self.heights[j, i] + u * self.heights[j, i + 1]
        far = (1.0 - u) * self.heights[j + 1, i] + u * self.heights[j + 1, i + 1]
        return np.where(inside, (1.0 - v) * near + v * far, 0.0)


def _split(place: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    whole = np.minimum(place.astype(np.int64), most - 1)
    return whole, place - whole


def onto_ground(points: np.ndarray, ground: TerrainHeights | None) -> np.ndarray:
    """Points (..., 3) put on the ground under them, height 0 where there is no terrain."""
    flat = np.asarray(points, np.float64) * (1.0, 1.0, 0.0)
    if ground is not None:
        flat[..., 2] = ground.under(flat)
    return flat


def read_terrain(path: Path) -> TerrainHeights | None:
    """The height fields and boxes of a model's world; None where there are none, or they do not make sense."""
    try:
        root = ElementTree.parse(path).getroot()
        fields = {field.get("name"): field for field in root.iterfind("asset/hfield")}
        found = []
        for geom in root.iterfind("worldbody/geom"):
            middle = _numbers(geom.get("pos"))
            if geom.get("type") == "hfield":
                field = fields[geom.get("hfield")]
                x, y, span, _ = _numbers(field.get("size"))
                shape = int(field.get("nrow", "")), int(field.get("ncol", ""))
                # MuJoCo's text has the row of the largest y first
                rows = middle[2] + span * _numbers(field.get("elevation")).reshape(shape)[::-1]
                far = np.array((x, y))
                found.append((middle[:2] - far, middle[:2] + far, rows))
            elif geom.get("type") == "box":
                half = _numbers(geom.get("size"))
                found.append(((middle - half)[:2], (middle + half)[:2], (middle + half)[2]))
        return _lattice(found) if found else None
    except (OSError, ElementTree.ParseError, ValueError, IndexError, KeyError, ZeroDivisionError):
        return None


def _lattice(parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> TerrainHeights:
    """The highest of parts, each from a low to a high corner (2,) m, at points CELL apart; one number, or rows of a field."""
    low, high = np.min([part[0] for part in parts], 0), np.max([part[1] for part in parts], 0)
    count = np.minimum(np.round((high - low) / CELL).astype(int) + 1, MOST)
    cell = (high - low) / np.maximum(count - 1, 1)
    heights = np.full((count[1], count[0]), -np.inf)
    for first, past, tops in parts:
        i, j = np.ceil((first - low) / cell - 1e-6).astype(int)
        k, n = np.floor((past - low) / cell + 1e-6).astype(int)
        if tops.ndim:
            lines, columns = tops.shape
            u = np.clip(((low[0] + cell[0] * np.arange(i, k + 1)) - first[0]) / (past - first)[0], 0.0, 1.0)
            v = np.clip(((low[1] + cell[1] * np.arange(j, n + 1)) - first[1]) / (past - first)[1], 0.0, 1.0)
            tops = tops[np.ix_(np.rint(v * (lines - 1)).astype(int), np.rint(u * (columns - 1)).astype(int))]
        place = heights[j : n + 1, i : k + 1]
        np.maximum(place, tops, out=place)
    heights[~np.isfinite(heights)] = 0.0
    return TerrainHeights(heights, (float(low[0]), float(low[1])), (float(cell[0]), float(cell[1])))


def _numbers(text: str | None) -> np.ndarray:
    return np.array((text or "").split(), np.float64)
