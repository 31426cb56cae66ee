"""World panel: every column with the value of the selected row."""

from typing import Any, ClassVar

import numpy as np
from PySide6.QtCore import QEvent, QModelIndex, QPersistentModelIndex, QRectF, Qt, QTimer
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLineEdit,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTreeView,
)

from engine.debugger.model.subscription import Subscription
from engine.debugger.panels.panel import Panel
from engine.debugger.panels.world_tree import FRACTION, VALUE, WRITER, ColumnNode, ColumnTree
from engine.debugger.widgets import theme
from engine.debugger.widgets.bars import stack

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
        self.tree = QTreeView()
        self.model = ColumnTree(self.store, self)
        self._prepare_tree()
        stack(self, self.filter, self.tree, margins=(2, 2, 2, 0))
        self._settled = QTimer(self, singleShot=True, interval=_SETTLE)
        self._settled.timeout.connect(self.changed)
        self._heading = -1
        self._fresh = True  # until somebody expands or collapses a line, the view fills itself
        self._fitting = False

    def _prepare_tree(self) -> None:
        tree = self.tree
        tree.setModel(self.model)
        tree.setUniformRowHeights(True)
        tree.setTextElideMode(Qt.TextElideMode.ElideMiddle)  # left_shoulder_pitch and _roll differ at their ends
        tree.setAlternatingRowColors(True)
        tree.setIndentation(10)
        tree.setDragEnabled(True)
        tree.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        tree.setItemDelegateForColumn(VALUE, _ValueDelegate(tree))
        tree.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        tree.header().setStretchLastSection(False)
        tree.header().setMinimumSectionSize(30)
        tree.header().setSectionResizeMode(WRITER, QHeaderView.ResizeMode.Stretch)  # what is left, and no more
        tree.selectionModel().currentChanged.connect(self._picked)
        tree.expanded.connect(self._toggled)
        tree.collapsed.connect(self._toggled)
        tree.verticalScrollBar().valueChanged.connect(lambda _: self._settled.start())

    # -- what a panel does -----------------------------------------------------------------------------

    def subscriptions(self) -> list[Subscription]:
        """Columns of the lines that can be seen."""
        found = sorted({node.info.id for node in self.visible_nodes() if node.info is not None})
        columns = tuple((column, None) for column in found)
        return [Subscription("values", columns, "selected", self.rate)] if found else []

    def refresh(self) -> None:
        """Read the lines that can be seen."""
        if self._heading != self.store.selected:
            self._heading = self.store.selected
            self.model.before.clear()
            self.model.headerDataChanged.emit(Qt.Orientation.Horizontal, VALUE, VALUE)
        self.model.update(self.visible_nodes())

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

    def visible_nodes(self) -> list[ColumnNode]:
        """Lines from the top of the view to its bottom."""
        tree, found = self.tree, []
        index = tree.indexAt(tree.viewport().rect().topLeft())
        bottom = tree.viewport().height()
        while index.isValid() and tree.visualRect(index).top() < bottom:
            found.append(self.model.node(index))
            index = tree.indexBelow(index)
        return found

    def remember(self) -> None:
        """Keep what the selected row holds, so that what a step changes is shown as old → new."""
        held = {column: self.store.value(column, self.store.selected) for column in self.store.columns}
        self.model.before = {column: np.array(v[1]).reshape(-1) for column, v in held.items() if v is not None}

    def forget(self) -> None:
        """Show values as they are again."""
        self.model.before.clear()

    def search(self) -> None:
        """Put the cursor into the filter."""
        self.filter.setFocus()
        self.filter.selectAll()

    def pick(self, column_id: int, label: int | None = None) -> None:
        """Mark a column, or one value of it, and scroll to it."""
        node = next((n for n in self.model.columns() if n.info is not None and n.info.id == column_id), None)
        while node is not None and label is not None and node.count > 1:
            inside = [n for n in node.children if n.angle is None and n.first <= label < n.first + n.count]
            if not inside:
                break
            self.tree.expand(self.model.index_of(node))
            node = inside[0]
        if node is not None:
            self.tree.setCurrentIndex(self.model.index_of(node))
            self.tree.scrollTo(self.model.index_of(node))

    # -- inside ----------------------------------------------------------------------------------------

    def _picked(self, current: QModelIndex, _: QModelIndex) -> None:
        node = self.model.node(current)
        self.store.picked = None if node.info is None else (node.info.id, node.label)

    def _toggled(self, _: QModelIndex) -> None:
        self._fresh = self._fresh and self._fitting
        self._settled.start()

    def _rebuild(self, filter_text: str | None) -> None:
        components = [component for table in self.model.root.owned for component in table.owned]
        expanded = {node.name for node in components if self.tree.isExpanded(self.model.index_of(node))}
        picked = self.store.picked
        self._fitting = True
        self.model.rebuild(filter_text)
        if self.filter.text().strip():
            self.tree.expandToDepth(1)
        elif self._fresh:
            self._expand_what_fits()
        else:
            for table in self.model.root.owned:
                self.tree.expand(self.model.index_of(table))
                for component in table.owned:
                    self.tree.setExpanded(self.model.index_of(component), component.name in expanded)
        if picked is not None and picked[0] in self.store.columns:
            self.pick(*picked)
        self._fitting = False
        self._settled.start()

    def _expand_what_fits(self) -> None:
        """Components from the top, as long as all lines are seen without scrolling."""
        if not self.model.root.owned or not self.isVisible() or self.filter.text():
            return
        self._fitting = True
        self.tree.collapseAll()
        self.tree.expandToDepth(0)
        first = self.tree.visualRect(self.model.index(0, 0)).height()
        left = self.tree.viewport().height() // max(1, first)
        left -= sum(1 + len(table.owned) for table in self.model.root.owned)
        for table in self.model.root.owned:
            for component in table.owned:
                left -= len(component.owned)
                if left >= 0:
                    self.tree.expand(self.model.index_of(component))
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
