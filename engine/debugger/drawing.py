"""Small pictures that panels share, painted by hand: bars with names, a histogram, a chart with its usual band."""

import math
from collections.abc import Sequence

import attrs
import numpy as np
from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFontMetricsF, QMouseEvent, QPainter, QPaintEvent, QPolygonF
from PySide6.QtWidgets import QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from engine.debugger import theme

ROW = 15  # least height of a bar's line, px
GAP = 6


def nice(value: float) -> float:
    """The next 1, 2 or 5 × 10^k that is not below a size: ranges that rarely change. 1 for 0 and what is not finite."""
    if not math.isfinite(value) or value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if value <= step * power * (1 + 1e-9))


def elided(metrics: QFontMetricsF, text: str, width: float) -> str:
    """The text, cut in the middle where it is too wide."""
    return metrics.elidedText(text, Qt.TextElideMode.ElideMiddle, max(0.0, width))


def scrolled(inner: QWidget) -> QScrollArea:
    """A widget that scrolls up and down where it does not fit."""
    area = QScrollArea()
    area.setWidget(inner)
    area.setWidgetResizable(True)
    area.setFrameShape(QScrollArea.Shape.NoFrame)
    return area


def stacked(widget: QWidget) -> QVBoxLayout:
    """A layout from top to bottom without margins."""
    box = QVBoxLayout(widget)
    box.setContentsMargins(0, 0, 0, 0)
    box.setSpacing(2)
    return box


@attrs.frozen
class Bar:
    """One line of a BarList. A value that is not finite is written out instead of drawn."""

    name: str
    value: float
    mark: float | None = None  # a white tick, such as a mean
    spread: float = 0.0  # half the length of a thin line about the mark
    texts: tuple[str, ...] = ()
    colour: str = theme.BLUE
    tip: str = ""


class BarList(QWidget):
    """Horizontal bars from 0, one line each, with names on the left and short texts on the right."""

    picked = Signal(int)
    opened = Signal(int)

    def __init__(self, headings: Sequence[str] = (), title: str = "") -> None:
        super().__init__()
        self.headings, self.title = tuple(headings), title
        self.bars: tuple[Bar, ...] = ()
        self.low, self.high, self.chosen = 0.0, 1.0, -1
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMouseTracking(True)

    def show_bars(self, bars: Sequence[Bar], low: float, high: float, chosen: int = -1) -> None:
        """Draw other bars over the range `low` to `high`; nothing is done where nothing changed."""
        fresh = (tuple(bars), low, high, chosen)
        if fresh != (self.bars, self.low, self.high, self.chosen):
            grown = len(bars) != len(self.bars)
            self.bars, self.low, self.high, self.chosen = fresh
            if grown:
                self.setMinimumHeight(self.minimumSizeHint().height())
            self.update()

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Room for every line."""
        return QSize(160, self._top() + ROW * max(1, len(self.bars)) + 4)

    def _top(self) -> int:
        return 16 * bool(self.title) + 15 * bool(self.headings)

    def _line(self) -> float:
        return min(22.0, max(float(ROW), (self.height() - self._top() - 4) / max(1, len(self.bars))))

    def _at(self, event: QMouseEvent) -> int:
        place = int((event.position().y() - self._top()) // self._line())
        return place if 0 <= place < len(self.bars) else -1

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Pick the bar under the mouse."""
        if self._at(event) >= 0:
            self.picked.emit(self._at(event))

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Open the bar under the mouse."""
        if self._at(event) >= 0:
            self.opened.emit(self._at(event))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Tell more about the bar under the mouse."""
        place = self._at(event)
        self.setToolTip(self.bars[place].tip if place >= 0 else "")

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), theme.brush(theme.BACKGROUND))
        metrics = QFontMetricsF(self.font())
        columns = [
            max(metrics.horizontalAdvance(t) for t in (heading, *(b.texts[i] for b in self.bars if i < len(b.texts))))
            for i, heading in enumerate(self.headings)
        ]
        right = self.width() - sum(c + 2 * GAP for c in columns)
        left = min(max((metrics.horizontalAdvance(b.name) for b in self.bars), default=0.0), 0.4 * right) + 2 * GAP
        if self.title:
            painter.setPen(theme.pen(theme.TEXT))
            text = elided(metrics, self.title, self.width() - 2 * GAP)
            painter.drawText(QRectF(0, 0, self.width(), 16), Qt.AlignmentFlag.AlignCenter, text)
        painter.setPen(theme.pen(theme.DIM))
        x = float(right)
        for heading, width in zip(self.headings, columns, strict=True):
            box = QRectF(x, self._top() - 15, width + GAP, 15)
            painter.drawText(box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, heading)
            x += width + 2 * GAP
        for i, bar in enumerate(self.bars):
            self._draw(painter, metrics, i, bar, left, right, columns)
        painter.end()

    def _draw(
        self,
        painter: QPainter,
        metrics: QFontMetricsF,
        i: int,
        bar: Bar,
        left: float,
        right: float,
        columns: list[float],
    ) -> None:
        line, middle = self._line(), Qt.AlignmentFlag.AlignVCenter
        top = self._top() + i * line
        if i == self.chosen:
            painter.fillRect(QRectF(0, top, self.width(), line), theme.brush(theme.SELECTION, 120))
        painter.setPen(theme.pen(theme.TEXT))
        name = elided(metrics, bar.name, left - 2 * GAP)
        painter.drawText(QRectF(0, top, left - GAP, line), Qt.AlignmentFlag.AlignRight | middle, name)
        span = (self.high - self.low) or 1.0

        def at(value: float) -> float:
            return left + (right - GAP - left) * min(1.0, max(0.0, (value - self.low) / span))

        if math.isfinite(bar.value):
            a, b = sorted((at(0.0), at(bar.value)))
            painter.fillRect(QRectF(a, top + 0.2 * line, max(1.0, b - a), 0.6 * line), theme.brush(bar.colour))
        else:
            painter.setPen(theme.pen(theme.RED))
            painter.drawText(QRectF(left, top, right - left, line), middle, theme.number(bar.value))
        painter.setPen(theme.pen(theme.LINE))
        painter.drawLine(QPointF(at(0.0), top), QPointF(at(0.0), top + line))
        if bar.mark is not None and math.isfinite(bar.mark):
            painter.setPen(theme.pen(theme.WHITE))
            painter.drawLine(QPointF(at(bar.mark), top + 2), QPointF(at(bar.mark), top + line - 2))
            if bar.spread > 0 and math.isfinite(bar.spread):
                y = top + line / 2
                painter.drawLine(QPointF(at(bar.mark - bar.spread), y), QPointF(at(bar.mark + bar.spread), y))
        painter.setPen(theme.pen(theme.TEXT))
        x = right
        for text, width in zip(bar.texts, columns, strict=False):
            painter.drawText(QRectF(x, top, width + GAP, line), Qt.AlignmentFlag.AlignRight | middle, text)
            x += width + 2 * GAP


class Histogram(QWidget):
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

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), theme.brush(theme.BACKGROUND))
        metrics, centre = QFontMetricsF(self.font()), Qt.AlignmentFlag.AlignCenter
        width, top, bottom = self.width() - 2 * GAP, 16 + 15 * bool(self.caption), self.height() - 16
        painter.setPen(theme.pen(theme.TEXT))
        painter.drawText(QRectF(GAP, 0, width, 16), centre, elided(metrics, self.title, width))
        painter.setPen(theme.pen(theme.DIM))
        painter.drawText(QRectF(GAP, 15, width, 15), centre, elided(metrics, self.caption, width))
        painter.drawLine(QPointF(GAP, bottom), QPointF(GAP + width, bottom))
        box = QRectF(GAP, bottom + 1, width, 15)
        painter.drawText(box, Qt.AlignmentFlag.AlignLeft, theme.number(self.low))
        painter.drawText(box, Qt.AlignmentFlag.AlignRight, f"{theme.number(self.high)} {self.unit}".strip())
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
        painter.end()


class Chart(QWidget):
    """One number over iterations, its usual band shaded, its last value and a word for it."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title, self.word, self.shade = title, "", theme.DIM
        self.xs = self.ys = np.zeros(0)
        self.band: tuple[float, float] | None = None
        self.setMinimumSize(130, 64)

    def show_line(
        self, xs: np.ndarray, ys: np.ndarray, band: tuple[float, float] | None, word: str, shade: str
    ) -> None:
        """Draw other points; NaN interrupts the line."""
        self.xs, self.ys, self.band, self.word, self.shade = xs, ys, band, word, shade
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), theme.brush(theme.BACKGROUND))
        metrics = QFontMetricsF(self.font())
        wide = self.width() - 2 * GAP
        painter.setPen(theme.pen(self.shade))
        right = metrics.horizontalAdvance(self.word)
        painter.drawText(QRectF(GAP, 1, wide, 15), Qt.AlignmentFlag.AlignRight, self.word)
        painter.setPen(theme.pen(theme.TEXT))
        painter.drawText(
            QRectF(GAP, 1, wide, 15), Qt.AlignmentFlag.AlignLeft, elided(metrics, self.title, wide - right - GAP)
        )
        good = np.isfinite(self.ys)
        if good.any():
            self._draw(painter, metrics, good)
        painter.end()

    def _draw(self, painter: QPainter, metrics: QFontMetricsF, good: np.ndarray) -> None:
        low, high = float(self.ys[good].min()), float(self.ys[good].max())
        if self.band is not None:
            low = min(low, self.band[0]) if math.isfinite(self.band[0]) else low
            high = max(high, self.band[1]) if math.isfinite(self.band[1]) else high
        room = 0.05 * (high - low) or max(abs(high), 1.0) * 0.05
        low, high = low - room, high + room
        labels = [theme.number(high), theme.number(low)]
        left = max(metrics.horizontalAdvance(t) for t in labels) + 2 * GAP
        top, bottom, right = 20.0, self.height() - 6.0, self.width() - GAP

        def y(value: float) -> float:
            return bottom - (bottom - top) * (min(high, max(low, value)) - low) / (high - low)

        painter.setPen(theme.pen(theme.DIM))
        box = QRectF(0, top - 4, left - GAP, bottom - top + 8)
        painter.drawText(box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop, labels[0])
        painter.drawText(box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignBottom, labels[1])
        if self.band is not None:
            a, b = y(self.band[1]), y(self.band[0])
            painter.fillRect(QRectF(left, a, right - left, max(1.0, b - a)), theme.brush(theme.GREEN, 45))
        painter.setPen(theme.pen(theme.LINE))
        painter.drawLine(QPointF(left, top), QPointF(left, bottom))
        painter.drawLine(QPointF(left, bottom), QPointF(right, bottom))
        painter.setPen(theme.pen(theme.WHITE))
        first, last = float(self.xs[0]), float(self.xs[-1])
        across = (right - left) / ((last - first) or 1.0)
        for part in np.split(np.arange(len(self.xs)), np.flatnonzero(np.diff(good.astype(int)) != 0) + 1):
            if good[part[0]]:
                points = [QPointF(left + across * (float(self.xs[i]) - first), y(float(self.ys[i]))) for i in part]
                if len(points) == 1:
                    painter.drawEllipse(points[0], 1.5, 1.5)
                painter.drawPolyline(QPolygonF(points))
