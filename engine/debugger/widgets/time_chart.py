"""Time chart: a number of the selected row over ticks, before the spread of all rows."""

from collections.abc import Callable

import attrs
import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QBrush, QMouseEvent, QPainter, QPolygonF, QTransform
from PySide6.QtWidgets import QLabel, QStyleOptionGraphicsItem, QToolButton, QWidget

from engine.debugger.widgets import theme
from engine.debugger.widgets.format import format_number
from engine.debugger.widgets.parts import ElidedLabel, stack

AXIS_WIDTH = 60  # pixels for numbers left of a chart: room for -0.0985 and 86000.2
Spans = tuple[tuple[float, float], ...]


@attrs.frozen(eq=False)
class ChartLine:
    """What is drawn of one trace: `connect` (N,) says whether a sample is joined to the next; spans are in ticks."""

    x: np.ndarray
    y: np.ndarray  # 0 where not finite: no line leads there
    connect: np.ndarray
    gaps: Spans  # nothing came
    bad: Spans  # not finite
    finite: np.ndarray  # (N,)


def make_line(ticks: np.ndarray, values: np.ndarray, breaks: np.ndarray) -> ChartLine:
    """Break a trace where an episode ended, where frames were lost and where it is not finite."""
    finite = np.isfinite(values)
    joined = np.zeros(len(ticks), np.int32)
    joined[:-1] = finite[:-1] & finite[1:] & ~breaks[1:]
    lost = np.flatnonzero(breaks[1:] & (np.diff(ticks) > 1))
    gaps = tuple((float(ticks[i]), float(ticks[i + 1])) for i in lost.tolist())
    edges = np.flatnonzero(np.diff(np.concatenate(([0], (~finite).astype(np.int8), [0])))).reshape(-1, 2)
    bad = tuple((float(ticks[a]) - 0.5, float(ticks[b - 1]) + 0.5) for a, b in edges.tolist())
    return ChartLine(ticks.astype(np.float64), np.where(finite, values, 0.0), joined, gaps, bad, finite)


def fit_range(values: np.ndarray, limits: tuple[float, float] | None) -> tuple[float, float]:
    """A vertical range for finite values, with a margin; it takes in a limit that they come near to."""
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (-1.0, 1.0)
    for limit in limits or ():
        if np.isfinite(limit) and limit != 0.0 and (low < 0.6 * limit < 0.0 or 0.0 < 0.6 * limit < high):
            low, high = min(low, limit), max(high, limit)
    margin = 0.08 * (high - low) or max(0.1 * abs(high), 1e-3)
    return low - margin, high + margin


class ChartMarks(pg.GraphicsObject):  # type: ignore[misc]
    """What lies behind the curves: the band as polygons, hatched gaps, and red where values are not finite."""

    def __init__(self) -> None:
        super().__init__()
        self._band: list[QPolygonF] = []
        self._gaps: Spans = ()
        self._bad: Spans = ()
        self._area = QRectF(0, 0, 1, 1)

    def set(self, band: list[QPolygonF], gaps: Spans, bad: Spans) -> None:
        """Draw these from now on."""
        if band == self._band and gaps == self._gaps and bad == self._bad:
            return
        self._band, self._gaps, self._bad = band, gaps, bad
        self.update()

    def set_area(self, area: QRectF) -> None:
        """The ranges of the chart: gaps and red regions reach from the lowest to the highest value."""
        self.prepareGeometryChange()
        self._area = area

    def boundingRect(self) -> QRectF:  # noqa: N802 - Qt's name
        """The whole chart."""
        return self._area

    def paint(self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None) -> None:
        """Paint the band, gaps and red spans, in ticks and values."""
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.brush(theme.BLUE, 60))
        for polygon in self._band:
            painter.drawPolygon(polygon)
        for spans, color, alpha in ((self._gaps, theme.DIM, 110), (self._bad, theme.RED, 70)):
            fill = QBrush(theme.brush(color, alpha))
            if color == theme.DIM:
                fill.setStyle(Qt.BrushStyle.BDiagPattern)
                fill.setTransform(QTransform(painter.worldTransform().inverted()[0]))
            painter.setBrush(fill)
            for begin, end in spans:
                painter.drawRect(QRectF(begin, self._area.top(), end - begin, self._area.height()))


def band_breaks(ticks: np.ndarray) -> np.ndarray:
    """(N,) whether nothing joins a sample to the one before: several frames are missing between them."""
    steps = np.diff(ticks)
    return np.append(False, steps > 3 * max(1.0, float(np.median(steps)))) if len(steps) else np.zeros(len(ticks), bool)


def band_polygons(ticks: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[QPolygonF]:
    """The areas between two curves; samples that are not finite are left out."""
    good = np.isfinite(low) & np.isfinite(high)
    ticks, low, high = ticks[good], low[good], high[good]
    made = []
    for part in np.split(np.arange(len(ticks)), np.flatnonzero(band_breaks(ticks))):
        points = [*zip(ticks[part].tolist(), low[part].tolist(), strict=True)]
        points += zip(ticks[part][::-1].tolist(), high[part][::-1].tolist(), strict=True)
        made.append(QPolygonF([QPointF(x, y) for x, y in points]))
    return made


class ChartHeader(QWidget):
    """Title and newest value of a chart. Dragging it moves the chart; its cross removes it."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title, self.value = ElidedLabel(title), QLabel()
        self.cross = QToolButton(autoRaise=True)
        self.dragged: Callable[[float], None] = lambda _: None
        self.setCursor(Qt.CursorShape.OpenHandCursor)
        self.setToolTip("Drag to change the order")
        self.title.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.value.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.cross.setFixedSize(16, 16)
        self.cross.setCursor(Qt.CursorShape.ArrowCursor)
        self.cross.setToolTip("Remove this chart")
        stack(self, (self.title, 1), self.value, self.cross, margins=(6, 0, 2, 0), spacing=6, across=True)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Tell how far down the chart is dragged."""
        if event.buttons() & Qt.MouseButton.LeftButton:
            self.dragged(event.globalPosition().y())


class TimeChart(QWidget):
    """A number of one column: `label` is its place among the flat values of a row; `address` names the column for good."""

    def __init__(
        self, column: int, label: int, title: str, limits: tuple[float, float] | None, address: str = ""
    ) -> None:
        super().__init__()
        self.column, self.label, self.limits, self.address = column, label, limits, address
        self.line = make_line(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.bool_))
        self.header = ChartHeader(title)
        self.header.cross.setIcon(theme.icon("cross", theme.DIM))
        self.plot = pg.PlotWidget(enableMenu=False)
        self._band: tuple[np.ndarray, np.ndarray, np.ndarray] = (np.zeros(0),) * 3
        self._x, self._y = (0.0, 1.0), (-1.0, 1.0)
        stack(self, self.header, (self.plot, 1), spacing=0)
        self.setMinimumHeight(84)
        self._furnish()

    def _furnish(self) -> None:
        item = theme.plain_plot(self.plot)
        item.getViewBox().setDefaultPadding(0.0)
        left = item.getAxis("left")
        left.setWidth(AXIS_WIDTH)
        left.setStyle(maxTickLevel=0, hideOverlappingLabels=True)  # half a number cannot be read
        left.enableAutoSIPrefix(False)
        self.marks = ChartMarks()
        self.median, self.curve = (pg.PlotCurveItem(pen=theme.pen(shade)) for shade in (theme.BLUE, theme.WHITE))
        self.now = pg.InfiniteLine(angle=90, pen=theme.pen(theme.RED))
        self.now.setVisible(False)
        dash = theme.pen(theme.AMBER, dashed=True)
        dashes = [pg.InfiniteLine(y, angle=0, pen=dash) for y in self.limits or () if np.isfinite(y)]
        for part in (self.marks, self.median, self.curve, *dashes, self.now):
            self.plot.addItem(part, ignoreBounds=True)

    def show_axis(self, shown: bool) -> None:
        """Whether ticks are written below the chart; the lowest one does it for all."""
        axis = self.plot.getPlotItem().getAxis("bottom")
        axis.setStyle(showValues=shown)
        axis.setHeight(20 if shown else 6)

    def set_data(self, trace: tuple[np.ndarray, ...], band: tuple[np.ndarray, ...], cursor: int | None) -> None:
        """Draw a trace (ticks, values, breaks) and a band (ticks, median, p5, p95), as far as they are in range."""
        first = max(0, int(np.searchsorted(trace[0], self._x[0])) - 1)
        self.line = line = make_line(*(part[first:] for part in trace))
        self.curve.setData(line.x, line.y, connect=line.connect, skipFiniteCheck=True)
        first = max(0, int(np.searchsorted(band[0], self._x[0])) - 1)
        ticks, median, low, high = (part[first:] for part in band)
        good = np.isfinite(median)
        joined = np.append(~band_breaks(ticks[good])[1:], False).astype(np.int32)[: int(good.sum())]
        self.median.setData(ticks[good].astype(np.float64), median[good], connect=joined, skipFiniteCheck=True)
        self._band = (median, low, high)
        self.marks.set(band_polygons(ticks, low, high), line.gaps, line.bad)
        self.now.setVisible(cursor is not None)
        if cursor is not None:
            self.now.setValue(cursor)
        self._say(trace[0], trace[1], cursor)

    def _say(self, ticks: np.ndarray, values: np.ndarray, cursor: int | None) -> None:
        """The value at the cursor, else the newest."""
        place = len(ticks) - 1 if cursor is None else int(np.searchsorted(ticks, cursor, "right")) - 1
        known = place >= 0 and (cursor is None or ticks[place] == cursor)
        theme.set_text(self.header.value, format_number(float(values[place])) if known else "")
        theme.set_colour(self.header.value, theme.RED if known and not np.isfinite(values[place]) else theme.TEXT)

    def fit_range(self, low: float, high: float) -> None:
        """Show the ticks from `low` to `high`, and of values what is there."""
        line = self.line
        shown = np.concatenate((line.y[line.finite & (line.x >= low) & (line.x <= high)], *self._band))
        y = fit_range(shown, self.limits)
        kept = self._y[0] <= y[0] and y[1] <= self._y[1] and (y[1] - y[0]) > 0.6 * (self._y[1] - self._y[0])
        y = self._y if kept else y
        if (low, high) == self._x and y == self._y:
            return
        self._x, self._y = (low, high), y
        self.marks.set_area(QRectF(low, y[0], high - low, y[1] - y[0]))
        self.plot.setRange(xRange=self._x, yRange=y, padding=0, disableAutoRange=False)
