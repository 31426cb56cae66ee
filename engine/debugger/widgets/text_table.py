"""Text table: read-only cells whose texts change now and then."""

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from engine.debugger.widgets import theme


def table(headings: tuple[str, ...]) -> QTableWidget:
    """A table to look at: whole rows, no grid, columns as wide as their texts."""
    made = QTableWidget(0, len(headings))
    made.setHorizontalHeaderLabels(list(headings))
    made.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    made.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    made.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    made.setShowGrid(False)
    made.setWordWrap(False)
    made.verticalHeader().hide()
    made.verticalHeader().setDefaultSectionSize(17)
    made.verticalHeader().setMinimumSectionSize(15)
    made.horizontalHeader().setDefaultAlignment(Qt.AlignmentFlag.AlignLeft)
    made.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
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
