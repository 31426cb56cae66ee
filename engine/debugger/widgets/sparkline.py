"""Sparklines: a small histogram, and a small chart with its usual band, painted by hand."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QFontMetricsF, QPainter, QPolygonF

from engine.debugger.widgets import theme
from engine.debugger.widgets.bars import GAP
from engine.debugger.widgets.format import format_number
from engine.debugger.widgets.parts import Canvas, draw_line, elided_text, write
from engine.debugger.widgets.time_chart import band_breaks


class SmallHistogram(Canvas):
    """Counts over a range, with a curve in shares of its height, dashed lines, and a caption below the title."""

    def __init__(self) -> None:
        super().__init__()
        self.title = self.caption = self.unit = ""
        self.counts = np.zeros(0)
        self.low, self.high = 0.0, 1.0
        self.curve = np.zeros(0)  # in [0, 1], at equal distances over the range
        self.lines: tuple[tuple[float, str], ...] = ()  # (value, colour)
        self.hot = np.zeros(0, bool)  # counts drawn in red
        self.setMinimumSize(120, 70)

    def show_counts(
        self,
        counts: np.ndarray,
        low: float,
        high: float,
        *,
        title: str,
        caption: str = "",
        unit: str = "",
        curve: np.ndarray | None = None,
        hot: np.ndarray | None = None,
        lines: Sequence[tuple[float, str]] = (),
    ) -> None:
        """Draw something else."""
        self.counts, self.low, self.high = counts, low, high
        self.title, self.caption, self.unit, self.lines = title, caption, unit, tuple(lines)
        self.curve = np.zeros(0) if curve is None else curve
        self.hot = np.zeros(len(counts), bool) if hot is None else hot
        self.update()

    def paint(self, painter: QPainter) -> None:
        """Paint counts, curve and lines."""
        metrics, centre = QFontMetricsF(self.font()), Qt.AlignmentFlag.AlignCenter
        width, top, bottom = self.width() - 2 * GAP, 16 + 15 * bool(self.caption), self.height() - 16
        write(painter, theme.TEXT, QRectF(GAP, 0, width, 16), elided_text(metrics, self.title, width), centre)
        write(painter, theme.DIM, QRectF(GAP, 15, width, 15), elided_text(metrics, self.caption, width), centre)
        draw_line(painter, theme.DIM, GAP, bottom, GAP + width, bottom)
        box = QRectF(GAP, bottom + 1, width, 15)
        painter.drawText(box, Qt.AlignmentFlag.AlignLeft, format_number(self.low))
        painter.drawText(box, Qt.AlignmentFlag.AlignRight, f"{format_number(self.high)} {self.unit}".strip())
        most = float(self.counts.max(initial=0.0))
        step = width / max(1, len(self.counts))
        for i in np.flatnonzero(self.counts > 0) if most > 0 else ():
            tall = max(1.0, (bottom - top) * float(self.counts[i]) / most)
            fill = theme.brush(theme.RED if self.hot[i] else theme.FILL)
            painter.fillRect(QRectF(GAP + i * step, bottom - tall, max(1.0, step - 1), tall), fill)
        if len(self.curve) > 1:
            painter.setPen(theme.pen(theme.AMBER))
            xs = GAP + width * np.linspace(0, 1, len(self.curve))
            points = zip(xs.tolist(), (bottom - (bottom - top) * self.curve).tolist(), strict=True)
            painter.drawPolyline(QPolygonF([QPointF(x, y) for x, y in points]))
        for value, shade in self.lines:
            if math.isfinite(value) and self.low <= value <= self.high:
                x = GAP + width * (value - self.low) / ((self.high - self.low) or 1.0)
                painter.setPen(theme.pen(shade, dashed=True))
                painter.drawLine(QPointF(x, top), QPointF(x, bottom))


class Sparkline(Canvas):
    """One number over iterations, its usual band shaded, its last value and a word for it; another one beside it in blue."""

    def __init__(self, title: str, log: bool = False) -> None:
        super().__init__()
        self.title, self.word, self.shade, self.log = title, "", theme.DIM, log
        self.xs = self.ys = self.beside = np.zeros(0)
        self.band: tuple[float, float] | None = None
        self.setMinimumSize(130, 64)

    def show_line(
        self,
        xs: np.ndarray,
        ys: np.ndarray,
        band: tuple[float, float] | None,
        word: str,
        shade: str,
        beside: np.ndarray | None = None,
    ) -> None:
        """Draw other points; NaN interrupts a line, and so do iterations that were not received."""
        self.xs, self.ys, self.band, self.word, self.shade = xs, ys, band, word, shade
        self.beside = np.full(len(xs), np.nan) if beside is None else beside
        self.update()

    def paint(self, painter: QPainter) -> None:
        """Paint the line over its band."""
        metrics = QFontMetricsF(self.font())
        wide = self.width() - 2 * GAP
        box, right = QRectF(GAP, 1, wide, 15), metrics.horizontalAdvance(self.word)
        write(painter, self.shade, box, self.word, Qt.AlignmentFlag.AlignRight)
        write(painter, theme.TEXT, box, elided_text(metrics, self.title, wide - right - GAP))
        good = np.isfinite(self.ys)
        if good.any():
            self._draw(painter, metrics)

    def _range(self, ys: np.ndarray) -> tuple[float, float]:
        """From the lowest to the highest of values and band."""
        values = [float(ys.min()), float(ys.max()), *(self.band or ())]
        low, high = (f(v for v in values if math.isfinite(v)) for f in (min, max))
        room = 0.05 * (high - low) or 0.05 * (abs(high) or 1.0)
        return (low, high) if high > low else (low - room, high + room)

    def _draw(self, painter: QPainter, metrics: QFontMetricsF) -> None:
        both = np.concatenate((self.ys, self.beside))
        low, high = self._range(both[np.isfinite(both)])
        log = self.log and low > 0
        labels = [format_number(high), format_number(low)]
        left = max(metrics.horizontalAdvance(t) for t in labels) + 2 * GAP
        top, bottom, right = 21.0, self.height() - 7.0, self.width() - GAP
        base, span = (math.log(low), math.log(high / low)) if log else (low, high - low)

        def y(value: float) -> float:
            inside = min(high, max(low, value))
            return bottom - (bottom - top) * ((math.log(inside) if log else inside) - base) / span

        box = QRectF(0, top - 6, left - GAP, bottom - top + 12)
        write(painter, theme.DIM, box, labels[0], Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop)
        write(painter, theme.DIM, box, labels[1], Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignBottom)
        if self.band is not None:
            a, b = y(self.band[1]), y(self.band[0])
            painter.fillRect(QRectF(left, a, right - left, max(1.0, b - a)), theme.brush(theme.GREEN, 45))
        draw_line(painter, theme.LINE, left, top, left, bottom)
        draw_line(painter, theme.LINE, left, bottom, right, bottom)
        first, last = float(self.xs[0]), float(self.xs[-1])
        across = (right - left) / ((last - first) or 1.0)
        places = left + across * (self.xs - first)
        for values, colour in ((self.beside, theme.BLUE), (self.ys, theme.WHITE)):
            painter.setPen(theme.pen(colour))
            self._polyline(painter, places, values, y)

    def _polyline(self, painter: QPainter, places: np.ndarray, values: np.ndarray, y: Callable[[float], float]) -> None:
        good = np.isfinite(values)
        apart = band_breaks(self.xs) | np.append(False, np.diff(good.astype(int)) != 0)
        for part in np.split(np.arange(len(places)), np.flatnonzero(apart)):
            if good[part[0]]:
                points = [QPointF(float(places[i]), y(float(values[i]))) for i in part]
                if len(points) == 1:
                    painter.drawEllipse(points[0], 1.5, 1.5)
                painter.drawPolyline(QPolygonF(points))
