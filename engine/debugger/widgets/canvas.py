"""Canvas: base of the widgets that are painted by hand."""

from PySide6.QtCore import QEvent, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QHelpEvent, QMouseEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QToolTip, QWidget

from engine.debugger.widgets import theme

_Where = Qt.AlignmentFlag


class Canvas(QWidget):
    """Widget on the dark background, which `paint` paints on, and of whose places `tip_at` tells more."""

    picked = Signal(int)
    """The number of what was clicked."""

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
        """What is told of a place; '' for nothing."""
        return self.toolTip()


def write(painter: QPainter, shade: str, box: QRectF, text: str, where: _Where = _Where.AlignLeft) -> None:
    """Write a text in a colour; the pen keeps it."""
    painter.setPen(theme.pen(shade))
    painter.drawText(box, where, text)


def draw_line(painter: QPainter, shade: str, x0: float, y0: float, x1: float, y1: float) -> None:
    """Draw a straight line in a colour; the pen keeps it."""
    painter.setPen(theme.pen(shade))
    painter.drawLine(QPointF(x0, y0), QPointF(x1, y1))
