"""Parts of panels: the canvas of what is painted by hand, layouts, labels that end in '…' where they do not fit, and tables of text."""

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QFontMetricsF, QHelpEvent, QMouseEvent, QPainter, QPaintEvent, QPolygonF
from PySide6.QtWidgets import QBoxLayout, QLabel, QScrollArea, QTableWidget, QTableWidgetItem, QToolTip, QWidget

from engine.debugger.widgets import theme

_Where = Qt.AlignmentFlag


class Canvas(QWidget):
    """Widget on the dark background, which `paint` paints on, and of whose places `tip_at` tells more."""

    picked = Signal(int)  # the number of what was clicked

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Paint the background, and what is shown on it."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), theme.brush(theme.BACKGROUND))
        self.paint(painter)
        painter.end()

    def paint(self, painter: QPainter) -> None:
        """Paint what is shown."""

    def event(self, event: QEvent) -> bool:
        """Tell of the place that the mouse rests on."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            QToolTip.showText(event.globalPos(), self.tip_at(QPointF(event.pos())), self)
            return True
        return super().event(event)

    def number_at(self, place: QPointF) -> int:
        """The number of what can be picked there; -1 for nothing."""
        return -1

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Pick what is under the mouse."""
        number = self.number_at(event.position())
        if number >= 0 and event.button() == Qt.MouseButton.LeftButton:
            self.picked.emit(number)

    def tip_at(self, place: QPointF) -> str:
        """Tooltip of a place; '' for none."""
        return self.toolTip()


def write(painter: QPainter, shade: str, box: QRectF, text: str, where: _Where = _Where.AlignLeft) -> None:
    """Write a text in a colour; the pen keeps it."""
    painter.setPen(theme.pen(shade))
    painter.drawText(box, where, text)


def draw_line(painter: QPainter, shade: str, x0: float, y0: float, x1: float, y1: float) -> None:
    """Draw a straight line in a colour; the pen keeps it."""
    painter.setPen(theme.pen(shade))
    painter.drawLine(QPointF(x0, y0), QPointF(x1, y1))


def fill_polygon(painter: QPainter, shade: str, *corners: tuple[float, float]) -> None:
    """Fill a polygon, without a rim; there is no brush afterwards."""
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(theme.brush(shade))
    painter.drawPolygon(QPolygonF([QPointF(x, y) for x, y in corners]))
    painter.setBrush(Qt.BrushStyle.NoBrush)


def elided_text(metrics: QFontMetricsF, text: str, width: float) -> str:
    """The text, cut in its middle where it is too wide."""
    return metrics.elidedText(text, Qt.TextElideMode.ElideMiddle, max(0.0, width))


def scroll_area(inner: QWidget) -> QScrollArea:
    """A widget that scrolls up and down where it does not fit."""
    area = QScrollArea(widgetResizable=True)
    area.setWidget(inner)
    area.setFrameShape(area.Shape.NoFrame)
    return area


def stack(
    widget: QWidget,
    *parts: QWidget | tuple[QWidget, int],
    margins: tuple[int, int, int, int] = (0,) * 4,
    spacing: int = 2,
    across: bool = False,
) -> QBoxLayout:
    """Lay parts out in a widget from top to bottom, or across; a number behind a part is its share of the room that is left."""
    box = QBoxLayout(QBoxLayout.Direction.LeftToRight if across else QBoxLayout.Direction.TopToBottom, widget)
    box.setContentsMargins(*margins)
    box.setSpacing(spacing)
    for part in parts:
        box.addWidget(*part) if isinstance(part, tuple) else box.addWidget(part)
    return box


class ElidedLabel(QLabel):
    """Label whose text ends in '…' where it does not fit; its tooltip has all of it. It never makes its neighbours narrower."""

    def __init__(self, text: str = "", note: str = "") -> None:
        super().__init__(text, textFormat=Qt.TextFormat.PlainText)
        self.note = note  # more for the tooltip
        self.setMinimumWidth(40)
        policy = self.sizePolicy().Policy
        self.setSizePolicy(policy.Ignored, policy.Preferred)

    def setText(self, text: str) -> None:  # noqa: N802 - Qt's name
        """Show a text; all of it, and the note, are in the tooltip."""
        super().setText(text)
        self.setToolTip(f"{text}\n{self.note}".strip())

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Paint the text as far as it fits."""
        painter = QPainter(self)
        painter.setPen(self.palette().color(self.foregroundRole()))
        box = self.contentsRect()
        text = painter.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideRight, box.width())
        painter.drawText(box, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, text)
        painter.end()


def headline(text: str, note: str = "") -> ElidedLabel:
    """The line at the top of a panel."""
    made = ElidedLabel(text, note)
    made.setContentsMargins(4, 0, 2, 0)
    return made


def table(headings: tuple[str, ...]) -> QTableWidget:
    """A table to look at: whole rows, no grid, columns as wide as their texts."""
    made = QTableWidget(0, len(headings))
    made.setShowGrid(False)
    made.setWordWrap(False)
    made.setHorizontalHeaderLabels(list(headings))
    made.setEditTriggers(made.EditTrigger.NoEditTriggers)
    made.setSelectionBehavior(made.SelectionBehavior.SelectRows)
    made.setSelectionMode(made.SelectionMode.SingleSelection)
    made.verticalHeader().hide()
    made.verticalHeader().setDefaultSectionSize(17)
    made.verticalHeader().setMinimumSectionSize(15)
    made.horizontalHeader().setDefaultAlignment(Qt.AlignmentFlag.AlignLeft)
    made.horizontalHeader().setSectionResizeMode(made.horizontalHeader().ResizeMode.ResizeToContents)
    made.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
    return made


def fill(widget: QTableWidget, lines: Sequence[tuple[str, ...]], shades: Sequence[str]) -> None:
    """Show other texts; only what changed is set."""
    if widget.rowCount() != len(lines):
        widget.setRowCount(len(lines))
    for i, (texts, shade) in enumerate(zip(lines, shades, strict=True)):
        for j, text in enumerate(texts):
            item = widget.item(i, j)
            if item is None:
                item = QTableWidgetItem()
                widget.setItem(i, j, item)
            if item.text() != text:
                item.setText(text)
                item.setToolTip(text)
            if item.foreground().color() != QColor(shade):
                item.setForeground(theme.brush(shade))
