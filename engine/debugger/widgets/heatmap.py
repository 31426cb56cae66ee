"""Heat map: one number of every row as a square of coloured cells, and its arithmetic."""

import math
from functools import cache

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF
from PySide6.QtGui import QColor, QImage, QPainter
from PySide6.QtWidgets import QSizePolicy

from engine.debugger.widgets.format import format_number
from engine.debugger.widgets.parts import Canvas
from engine.debugger.widgets.theme import BACKGROUND, RED, WHITE, pen

_LEAST_MARK = 7.0  # pixels of the square around the selected row


@cache
def colors() -> np.ndarray:
    """256 colours from dark to bright as 0xffRRGGBB, then the colour of what is not finite, then that of no row."""
    table = pg.colormap.get("viridis").getLookupTable(nPts=256)[:, :3].astype(np.uint32)
    rgb = (table[:, 0] << 16) | (table[:, 1] << 8) | table[:, 2]
    extra = [QColor(name).rgb() & 0xFFFFFF for name in (RED, BACKGROUND)]
    return np.asarray(np.append(rgb, extra).astype(np.uint32) | np.uint32(0xFF000000))


def side_of(rows: int) -> int:
    """Cells along one side of the smallest square that holds all rows."""
    return math.isqrt(max(0, rows - 1)) + 1 if rows else 0


def shade(values: np.ndarray, bright_is_low: bool = False) -> np.ndarray:
    """Places in `colors` of values (rows,): 0 to 255 between the 0.5th and 99.5th percentile, 256 where not finite."""
    values = np.asarray(values, np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return np.full(len(values), 256, np.uint16)
    low, high = np.percentile(values[finite], (0.5, 99.5))
    if high <= low:
        low, high = float(values[finite].min()), float(values[finite].max())
    share = (np.where(finite, values, low) - low) / (high - low) if high > low else np.full(len(values), 0.5)
    level = np.clip(share * 255.0, 0.0, 255.0).astype(np.uint16)
    return np.where(finite, 255 - level if bright_is_low else level, 256).astype(np.uint16)


def arrange(key: np.ndarray | None, rows: int, descending: bool = False) -> np.ndarray:
    """Row numbers in the order of `key` (rows,), what is not finite first; by number where there is no key."""
    if key is None or len(key) != rows:
        return np.arange(rows)
    key = np.where(np.isfinite(key), -key if descending else key, -np.inf)
    return np.argsort(key, kind="stable")


def worst_rows(values: np.ndarray, count: int, highest: bool) -> list[int]:
    """The rows with the highest (or lowest) values, those that are not finite before all others."""
    first: list[int] = arrange(values.astype(np.float64), len(values), descending=highest)[:count].tolist()
    return first


class HeatMap(Canvas):
    """Rows as cells, row-major in a square, in a given order. A click picks a row."""

    def __init__(self) -> None:
        super().__init__()
        self.setMinimumSize(64, 64)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self._values, self._order = np.zeros(0, np.float32), np.zeros(0, np.int64)
        self._image, self._side = QImage(), 0
        self._selected = -1

    def set(self, values: np.ndarray, order: np.ndarray, bright_is_low: bool) -> None:
        """Show the values (rows,) of rows in an order (rows,)."""
        self._values, self._order = values, order
        side = self._side = side_of(len(values))
        cells = np.full(side * side, 257, np.uint16)
        cells[: len(order)] = shade(values, bright_is_low)[order]
        data = np.ascontiguousarray(colors()[cells])
        self._image = QImage(data.tobytes(), side, side, 4 * side, QImage.Format.Format_RGB32).copy()
        self.update()

    def mark(self, row: int) -> None:
        """Put the mark around a row."""
        if row != self._selected:
            self._selected = row
            self.update()

    def area(self) -> QRectF:
        """Where the square is, in pixels."""
        edge = min(self.width(), self.height()) - 4.0
        if self._side and edge > 2 * self._side:
            edge = self._side * math.floor(edge / self._side)  # whole pixels in a cell
        return QRectF((self.width() - edge) / 2.0, (self.height() - edge) / 2.0, edge, edge)

    def number_at(self, place: QPointF) -> int:
        """The row whose cell is at a pixel; -1 beside the square and behind the last row."""
        area = self.area()
        if not self._side or not area.contains(place):
            return -1
        cell = area.width() / self._side
        column, line = int((place.x() - area.left()) / cell), int((place.y() - area.top()) / cell)
        index = line * self._side + column
        return int(self._order[index]) if column < self._side and index < len(self._order) else -1

    def paint(self, painter: QPainter) -> None:
        """One picture, enlarged without blurring, and the mark."""
        if self._side:
            area = self.area()
            painter.drawImage(area, self._image)
            cell = area.width() / self._side
            grow = max(0.0, _LEAST_MARK - cell) / 2.0 + 1.0
            for index in np.flatnonzero(self._order == self._selected).tolist():
                line, column = divmod(index, self._side)
                place = QRectF(area.left() + column * cell, area.top() + line * cell, cell, cell)
                for name, more in ((BACKGROUND, grow + 1.0), (WHITE, grow)):
                    painter.setPen(pen(name))
                    painter.drawRect(place.adjusted(-more, -more, more, more))

    def tip_at(self, place: QPointF) -> str:
        """The row there, and its value."""
        row = self.number_at(place)
        return "" if row < 0 else f"row {row}: {format_number(float(self._values[row]))}"
