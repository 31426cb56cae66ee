"""Canvas: base of the widgets that are painted by hand."""

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from engine.debugger.widgets import theme

_Where = Qt.AlignmentFlag


class Canvas(QWidget):
    """Widget on the dark background, which `paint` paints on."""

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Paint the background, and what is shown on it."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), theme.brush(theme.BACKGROUND))
        self.paint(painter)
        painter.end()

    def paint(self, painter: QPainter) -> None:
        """Paint what is shown."""


def write(painter: QPainter, shade: str, box: QRectF, text: str, where: _Where = _Where.AlignLeft) -> None:
    """Write a text in a colour; the pen keeps it."""
    painter.setPen(theme.pen(shade))
    painter.drawText(box, where, text)
