"""Bar list: horizontal bars with names and texts, painted by hand."""

import math
from collections.abc import Sequence

import attrs
from PySide6.QtCore import QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QFontMetricsF, QMouseEvent, QPainter
from PySide6.QtWidgets import QSizePolicy

from engine.debugger.widgets import theme
from engine.debugger.widgets.format import format_number
from engine.debugger.widgets.parts import Canvas, draw_line, elided_text, write

ROW = 15  # least height of a bar's line, px
GAP = 6


def round_up(value: float) -> float:
    """The next of few round numbers that is not below a size, so that ranges rarely change. 1 for 0 and non-finite ones."""
    if not math.isfinite(value) or value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0) if value <= step * power * (1 + 1e-9))


@attrs.frozen
class Bar:
    """One line of a BarList. A value that is not finite is written out instead of drawn; None leaves it out."""

    name: str
    value: float | None
    mark: float | None = None  # a white tick, such as a mean
    spread: float = 0.0  # half the length of a thin line about the mark
    texts: tuple[str, ...] = ()
    colour: str = theme.BLUE
    shade: str = theme.TEXT  # of the name
    tip: str = ""


class BarList(Canvas):
    """Horizontal bars from 0, one line each, with names on the left and short texts on the right.

    Texts whose heading comes later are left out first where the widget is narrow.
    """

    opened = Signal(int)

    def __init__(self, headings: Sequence[str] = (), title: str = "") -> None:
        super().__init__()
        self.headings, self.title = tuple(headings), title
        self.bars: tuple[Bar, ...] = ()
        self.low, self.high, self.chosen = 0.0, 1.0, -1
        self.setMinimumSize(160, self._top() + ROW + 4)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

    def show_bars(
        self, bars: Sequence[Bar], low: float, high: float, chosen: int = -1, title: str | None = None
    ) -> None:
        """Draw other bars over the range `low` to `high`; nothing is done where nothing changed."""
        fresh = (tuple(bars), low, high, chosen, self.title if title is None else title)
        if fresh != (self.bars, self.low, self.high, self.chosen, self.title):
            self.bars, self.low, self.high, self.chosen, self.title = fresh
            self.setMinimumHeight(self._top() + ROW * max(1, len(self.bars)) + 4)
            self.update()

    def _top(self) -> int:
        return 16 * bool(self.title) + 15 * bool(self.headings)

    def _line(self) -> float:
        return min(22.0, max(float(ROW), (self.height() - self._top() - 4) / max(1, len(self.bars))))

    def number_at(self, place: QPointF) -> int:
        """The bar there."""
        bar = int((place.y() - self._top()) // self._line())
        return bar if 0 <= bar < len(self.bars) else -1

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Open the bar under the mouse."""
        bar = self.number_at(event.position())
        if bar >= 0 and event.button() == Qt.MouseButton.LeftButton:
            self.opened.emit(bar)

    def tip_at(self, place: QPointF) -> str:
        """More about the bar there."""
        bar = self.number_at(place)
        return self.bars[bar].tip if bar >= 0 else ""

    def paint(self, painter: QPainter) -> None:
        """Paint headings and bars."""
        metrics = QFontMetricsF(self.font())
        columns = [
            max(metrics.horizontalAdvance(t) for t in (heading, *(b.texts[i] for b in self.bars if i < len(b.texts))))
            for i, heading in enumerate(self.headings)
        ]
        while columns and sum(c + 2 * GAP for c in columns) > 0.42 * self.width():
            columns.pop()
        right = self.width() - sum(c + 2 * GAP for c in columns)
        left = min(max((metrics.horizontalAdvance(b.name) for b in self.bars), default=0.0), 0.6 * right) + 2 * GAP
        if self.title:
            text = elided_text(metrics, self.title, self.width() - 2 * GAP)
            write(painter, theme.TEXT, QRectF(0, 0, self.width(), 16), text, Qt.AlignmentFlag.AlignCenter)
        if self.bars and self.headings:
            scale = QRectF(left, self._top() - 15, right - GAP - left, 15)
            ends = [format_number(self.low), format_number(self.high)]
            if sum(metrics.horizontalAdvance(text) for text in ends) + GAP > scale.width():
                ends[0] = ""  # two numbers that touch cannot be read
            write(painter, theme.DIM, scale, ends[0], Qt.AlignmentFlag.AlignLeft)
            write(painter, theme.DIM, scale, ends[1], Qt.AlignmentFlag.AlignRight)
        self._write_cells(painter, theme.DIM, self.headings, columns, QRectF(right, self._top() - 15, 0, 15))
        for i, bar in enumerate(self.bars):
            self._draw(painter, i, bar, left, right, columns)

    def _draw(self, painter: QPainter, i: int, bar: Bar, left: float, right: float, columns: list[float]) -> None:
        line, middle = self._line(), Qt.AlignmentFlag.AlignVCenter
        top = self._top() + i * line
        if i == self.chosen:
            painter.fillRect(QRectF(0, top, self.width(), line), theme.brush(theme.SELECTION, 120))
        name = elided_text(QFontMetricsF(self.font()), bar.name, left - 2 * GAP)
        write(painter, bar.shade, QRectF(0, top, left - GAP, line), name, Qt.AlignmentFlag.AlignRight | middle)
        span = (self.high - self.low) or 1.0

        def at(value: float) -> float:
            return left + (right - GAP - left) * min(1.0, max(0.0, (value - self.low) / span))

        if bar.value is None:
            pass
        elif math.isfinite(bar.value):
            a, b = sorted((at(0.0), at(bar.value)))
            painter.fillRect(QRectF(a, top + 0.2 * line, max(1.0, b - a), 0.6 * line), theme.brush(bar.colour))
        else:
            write(painter, theme.RED, QRectF(left, top, right - left, line), format_number(bar.value), middle)
        draw_line(painter, theme.LINE, at(0.0), top, at(0.0), top + line)
        if bar.mark is not None and math.isfinite(bar.mark):
            if bar.spread > 0 and math.isfinite(bar.spread):
                y = top + line / 2
                draw_line(painter, theme.DIM, at(bar.mark - bar.spread), y, at(bar.mark + bar.spread), y)
            draw_line(painter, theme.WHITE, at(bar.mark), top + 2, at(bar.mark), top + line - 2)
        self._write_cells(painter, theme.TEXT, bar.texts, columns, QRectF(right, top, 0, line))

    def _write_cells(
        self, painter: QPainter, shade: str, texts: Sequence[str], columns: list[float], place: QRectF
    ) -> None:
        """Write texts in columns of these widths, from a place on."""
        for text, width in zip(texts, columns, strict=False):
            place.setWidth(width + GAP)
            write(painter, shade, place, text, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            place.translate(width + 2 * GAP, 0)
