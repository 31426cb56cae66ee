"""World panel: every column with the value of the selected row."""

from typing import Any, ClassVar

import numpy as np
from PySide6.QtCore import QEvent, QModelIndex, QPersistentModelIndex, QRectF, Qt, QTimer
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QHeaderView, QLineEdit, QStyledItemDelegate, QStyleOptionViewItem, QTreeWidgetItem

from engine.debugger.model.subscription import Subscription
from engine.debugger.panels.panel import Panel
from engine.debugger.panels.world_tree import FRACTION, VALUE, WRITER, ColumnLine, ColumnTree
from engine.debugger.widgets import theme
from engine.debugger.widgets.parts import stack

_SETTLE = 200  # ms without scrolling or expanding before other columns are asked for
_SHARES = (0.39, 0.31, 0.13)  # of the width; what is left is for the writer


class WorldPanel(Panel):
    """The tree of tables, components and columns; only lines that can be seen are read and asked for."""

    title: ClassVar[str] = "World"
    rate: ClassVar[float] = 8.0

    def _build(self) -> None:
        self.filter = QLineEdit(placeholderText="filter columns   Ctrl+F", clearButtonEnabled=True)
        self.filter.setFocusPolicy(Qt.FocusPolicy.ClickFocus)  # keys are for the run until somebody wants to type
        self.filter.textChanged.connect(self._rebuild)
        self.tree = ColumnTree(self.store)
        self._prepare_tree()
        stack(self, self.filter, self.tree, margins=(2, 2, 2, 0))
        self._settled = QTimer(self, singleShot=True, interval=_SETTLE)
        self._settled.timeout.connect(self.changed)
        self._heading = -1
        self._fresh = True  # until somebody expands or collapses a line, the view fills itself
        self._fitting = False

    def _prepare_tree(self) -> None:
        tree = self.tree
        tree.setUniformRowHeights(True)
        tree.setTextElideMode(Qt.TextElideMode.ElideMiddle)  # left_shoulder_pitch and _roll differ at their ends
        tree.setAlternatingRowColors(True)
        tree.setIndentation(10)
        tree.setDragEnabled(True)
        tree.setSelectionMode(tree.SelectionMode.SingleSelection)
        tree.setItemDelegateForColumn(VALUE, _ValueDelegate(tree))
        tree.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        tree.header().setStretchLastSection(False)
        tree.header().setMinimumSectionSize(30)
        tree.header().setSectionResizeMode(WRITER, QHeaderView.ResizeMode.Stretch)  # what is left, and no more
        tree.currentItemChanged.connect(self._picked)
        tree.itemExpanded.connect(self._toggled)
        tree.itemCollapsed.connect(self._toggled)
        tree.verticalScrollBar().valueChanged.connect(lambda _: self._settled.start())

    # -- what a panel does -----------------------------------------------------------------------------

    def subscriptions(self) -> list[Subscription]:
        """Columns of the lines that can be seen."""
        found = sorted({line.info.id for line in self.visible_lines() if line.info is not None})
        columns = tuple((column, None) for column in found)
        return [Subscription("values", columns, "selected", self.rate)] if found else []

    def refresh(self) -> None:
        """Read the lines that can be seen."""
        if self._heading != self.store.selected:
            self._heading = self.store.selected
            self.tree.before.clear()
            self.tree.headerItem().setText(VALUE, f"row {self.store.selected}")
        self.tree.read(self.visible_lines())

    def schema_changed(self) -> None:
        """Rebuild, with what was expanded and marked."""
        self._rebuild(None)

    def resizeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Share the width out, and fill the height."""
        super().resizeEvent(event)
        if self._fresh:
            for section, share in enumerate(_SHARES):
                self.tree.header().resizeSection(section, round(share * self.tree.width()))
            self._expand_what_fits()
        self._settled.start()

    def event(self, event: QEvent) -> bool:
        """Fill the height when first shown."""
        if event.type() == QEvent.Type.Show and self._fresh:
            self._expand_what_fits()
        return super().event(event)

    # -- what the window asks --------------------------------------------------------------------------

    def visible_lines(self) -> list[ColumnLine]:
        """Lines from the top of the view to its bottom."""
        tree, found = self.tree, []
        line, bottom = tree.itemAt(0, 0), tree.viewport().height()
        while isinstance(line, ColumnLine) and tree.visualItemRect(line).top() < bottom:
            found.append(line)
            line = tree.itemBelow(line)
        return found

    def remember(self) -> None:
        """Keep what the selected row holds, so that what a step changes is shown as old → new."""
        held = {column: self.store.value(column, self.store.selected) for column in self.store.columns}
        self.tree.before = {column: np.array(v[1]).reshape(-1) for column, v in held.items() if v is not None}

    def forget(self) -> None:
        """Show values as they are again."""
        self.tree.before.clear()

    def search(self) -> None:
        """Put the cursor into the filter."""
        self.filter.setFocus()
        self.filter.selectAll()

    def pick(self, column_id: int, label: int | None = None) -> None:
        """Mark a column, or one value of it, and scroll to it."""
        line = next((n for n in self.tree.columns() if n.info is not None and n.info.id == column_id), None)
        while line is not None and label is not None and line.count > 1:
            inside = [n for n in line.lines if n.angle is None and n.first <= label < n.first + n.count]
            if not inside:
                break
            line.setExpanded(True)
            line = inside[0]
        if line is not None:
            self.tree.setCurrentItem(line)
            self.tree.scrollToItem(line)

    # -- inside ----------------------------------------------------------------------------------------

    def _picked(self, current: QTreeWidgetItem | None) -> None:
        info = current.info if isinstance(current, ColumnLine) else None
        self.store.picked = None if info is None or not isinstance(current, ColumnLine) else (info.id, current.label)

    def _toggled(self) -> None:
        self._fresh = self._fresh and self._fitting
        self._settled.start()

    def _rebuild(self, filter_text: str | None) -> None:
        expanded = {component.name for component in self.tree.components() if component.isExpanded()}
        picked = self.store.picked
        self._fitting = True
        self.tree.rebuild(filter_text)
        if self.filter.text().strip():
            self.tree.expandToDepth(1)
        elif self._fresh:
            self._expand_what_fits()
        else:
            self.tree.expandToDepth(0)
            for component in self.tree.components():
                component.setExpanded(component.name in expanded)
        if picked is not None and picked[0] in self.store.columns:
            self.pick(*picked)
        self._fitting = False
        self._settled.start()

    def _expand_what_fits(self) -> None:
        """Components from the top, as long as all lines are seen without scrolling."""
        tables = self.tree.tables
        if not tables or not self.isVisible() or self.filter.text():
            return
        self._fitting = True
        self.tree.collapseAll()
        self.tree.expandToDepth(0)
        left = self.tree.viewport().height() // max(1, self.tree.visualItemRect(tables[0]).height())
        left -= sum(1 + table.childCount() for table in tables)
        for component in self.tree.components():
            left -= component.childCount()
            if left >= 0:
                component.setExpanded(True)
        self._fitting = False


class _ValueDelegate(QStyledItemDelegate):
    """A value with a bar that shows where it lies between its limits."""

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Paint a cell, with a bar where the value lies between its limits."""
        super().paint(painter, option, index)
        fraction = index.data(FRACTION)
        if fraction is None:
            return
        box = QRectF(option.rect).adjusted(2, 0, -4, 0)
        painter.fillRect(QRectF(box.left(), box.bottom() - 2, box.width(), 2), theme.colour(theme.LINE))
        near = fraction < 0.02 or fraction > 0.98
        x = box.left() + fraction * (box.width() - 3)
        painter.fillRect(QRectF(x, box.bottom() - 4, 3, 4), theme.colour(theme.RED if near else theme.BLUE))
