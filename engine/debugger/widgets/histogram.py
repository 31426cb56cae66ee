"""Histogram of the Rows panel, and its table of the worst rows."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, Qt
from PySide6.QtWidgets import QHeaderView, QTableWidget

from engine.debugger.widgets.parts import table
from engine.debugger.widgets.theme import AMBER, BLUE, FILL, TEXT, brush, pen, plain_plot

WORST = 10
BINS = 40
LABEL = 42  # px between numbers on the axis, at least
_APART = 6  # px between two numbers
RANGE_EVERY = 0.5  # s between changes of the range


class Histogram(pg.PlotWidget):  # type: ignore[misc]
    """How many rows have which value, and the threshold that a click puts."""

    def __init__(self) -> None:
        super().__init__(enableMenu=False)
        self.moved: Callable[[float], None] = lambda _: None
        item = plain_plot(self)
        item.hideAxis("left")
        item.getAxis("bottom").setHeight(20)
        item.getAxis("bottom").setTicks([[]])
        self.setMinimumSize(70, 64)
        self.setToolTip("Click to put the threshold")
        look = {"fillLevel": 0.0, "brush": brush(FILL), "pen": pen(BLUE)}
        self.bars = pg.PlotCurveItem(np.zeros(2), np.zeros(1), stepMode="center", skipFiniteCheck=True, **look)
        self.threshold = pg.InfiniteLine(angle=90, movable=True, pen=pen(AMBER))
        self.threshold.sigPositionChanged.connect(lambda line: self.moved(float(line.value())))
        self.row = pg.InfiniteLine(angle=90, pen=pen(TEXT))
        for part in (self.bars, self.row, self.threshold):
            self.addItem(part, ignoreBounds=True)
        self.threshold.setVisible(False)
        self.row.setVisible(False)
        self._edges: tuple[float, float] | None = None
        self._highest = 0.0
        self._ranged = 0.0

    def set(self, values: np.ndarray, selected: float) -> None:
        """Draw the finite ones of values (rows,), and where the selected row is among them."""
        finite = values[np.isfinite(values)].astype(np.float64)
        self.row.setVisible(bool(np.isfinite(selected)))
        if np.isfinite(selected):
            self.row.setValue(selected)
        if not len(finite):
            self.bars.setData(np.zeros(2), np.zeros(1))
            self.getPlotItem().getAxis("bottom").setTicks([[]])
            self._edges = None
            return
        now = time.monotonic()
        ranging = self._edges is None or now - self._ranged >= RANGE_EVERY
        if ranging:
            low, high = float(finite.min()), float(finite.max())
            margin = 0.5 * max(abs(high), 1.0) * 1e-2 if high <= low else 0.0
            self._edges, self._ranged = (low - margin, high + margin), now
        assert self._edges is not None
        counts, edges = np.histogram(finite, BINS, self._edges)
        self.bars.setData(edges, counts.astype(np.float64))
        if ranging or counts.max() > self._highest:
            self._highest = max(1.0, float(counts.max()))
            space = 0.04 * (self._edges[1] - self._edges[0])
            x = (self._edges[0] - space, self._edges[1] + space)
            self.setRange(xRange=x, yRange=(0.0, 1.05 * self._highest), padding=0, disableAutoRange=False)
            self._label(*x)

    def _label(self, low: float, high: float) -> None:
        """Round numbers below, as many as have room."""
        most = max(1, int(self.width() // LABEL))
        exact = (high - low) / (most + 1)
        power, pixels = 10.0 ** np.floor(np.log10(exact)), max(1, self.width()) / (high - low)
        for step in (nice * power for nice in (1, 2, 5, 10, 20, 50, 100) if nice * power >= exact):
            ticks = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
            texts = [f"{tick + 0.0:.6g}" for tick in ticks]
            wide = max((self.fontMetrics().horizontalAdvance(text) for text in texts), default=0) + _APART
            if len(ticks) < 2 or step * pixels >= wide:
                break
        half = 0.5 * max(wide, LABEL) / pixels  # a label at the rim would be cut
        labels = zip(ticks.tolist(), texts, strict=True)
        shown = [(tick, text) for tick, text in labels if low + half <= tick <= high - half]
        self.getPlotItem().getAxis("bottom").setTicks([shown])

    def resizeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """More room, more numbers."""
        super().resizeEvent(event)
        if getattr(self, "_edges", None) is not None:
            self._label(*self.getPlotItem().getViewBox().viewRange()[0])

    def forget(self) -> None:
        """Another number is shown from now on."""
        self._edges = None

    def put_threshold(self, value: float | None) -> None:
        """Draw the threshold at a value, or not at all."""
        self.threshold.setVisible(value is not None)
        if value is not None:
            self.threshold.setValue(value)

    def mousePressEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Put the threshold where it was clicked."""
        if event.button() == Qt.MouseButton.LeftButton:
            place = self.getPlotItem().getViewBox().mapSceneToView(QPointF(self.mapToScene(event.position().toPoint())))
            self.moved(float(place.x()))
        super().mousePressEvent(event)


def worst_list() -> QTableWidget:
    """The table of the worst rows and their values, with room for WORST of them and no scroll bars."""
    made = table(("worst", "value"))
    made.setRowCount(WORST)
    made.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
    made.verticalHeader().setMinimumSectionSize(12)
    made.verticalHeader().setDefaultSectionSize(15)
    made.horizontalHeader().setHighlightSections(False)
    made.horizontalHeader().setDefaultAlignment(Qt.AlignmentFlag.AlignCenter)
    made.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
    made.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    made.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    made.setSelectionMode(QTableWidget.SelectionMode.ExtendedSelection)
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    made.setFixedWidth(124)
    made.hide()  # until there is room
    return made
