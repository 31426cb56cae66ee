"""Label whose text ends in '…' where it does not fit; its tooltip has all of it."""

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QLabel


class ElidedLabel(QLabel):
    """A label that never makes its neighbours narrower."""

    def __init__(self, text: str = "", note: str = "") -> None:
        super().__init__(text)
        self.note = note  # more for the tooltip
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setMinimumWidth(40)

    def setText(self, text: str) -> None:  # noqa: N802 - Qt's name
        """Show a text; all of it, and the note, are in the tooltip."""
        super().setText(text)
        self.setToolTip(f"{text}\n{self.note}".strip())

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Hardly any width, whatever the text."""
        return QSize(40, super().sizeHint().height())

    minimumSizeHint = sizeHint  # noqa: N815 - Qt's name

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
