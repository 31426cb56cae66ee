"""World panel: a tree of tables, components and columns with the value of the selected row, and the labelled values in it."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from PySide6 import QtWidgets
from PySide6.QtCore import QEvent, QMimeData, QModelIndex, QPersistentModelIndex, QRectF, QSignalBlocker, Qt, QTimer
from PySide6.QtGui import QPainter

from engine.debugger.model.schema import ColumnInfo
from engine.debugger.model.store import Store
from engine.debugger.model.subscription import Subscription
from engine.debugger.panels.panel import Panel
from engine.debugger.panels.panel_dock import COLUMN_MIME, dragged
from engine.debugger.widgets import theme
from engine.debugger.widgets.format import (
    counted,
    first_bad,
    format_number,
    format_value,
    format_values,
    roll_pitch_yaw,
)
from engine.debugger.widgets.parts import stack

_SETTLE = 200  # ms without scrolling or expanding before other columns are asked for
_SHARES = (0.39, 0.31, 0.13)  # of the width; what is left is for the writer
HEADINGS = ("column", "row", "type", "writer")
NAME, VALUE, TYPE, WRITER = range(4)
FRACTION = Qt.ItemDataRole.UserRole  # where a value lies between its limits, 0 to 1; None without limits
_ANGLES = ("roll", "pitch", "yaw")


class ColumnLine(QtWidgets.QTreeWidgetItem):
    """A line of the tree. `first` and `count` are the flat values of a column that it stands for; `angle` is one of
    roll, pitch and yaw of a quaternion, or None."""

    def __init__(
        self,
        texts: Sequence[str],
        info: ColumnInfo | None = None,
        first: int = 0,
        count: int = 0,
        angle: int | None = None,
        shade: str = theme.TEXT,
    ) -> None:
        super().__init__(texts)
        self.info, self.first, self.count, self.angle = info, first, count, angle
        self.wrong = self.stepped = False
        self._shade, tip = shade, _tip(self)
        for cell, tint in enumerate((shade, theme.TEXT, theme.DIM, theme.DIM)):
            self.setForeground(cell, theme.brush(tint))
            self.setToolTip(cell, tip)
        if info is None:
            self.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
        elif count > 1 and angle is None:
            self.setChildIndicatorPolicy(self.ChildIndicatorPolicy.ShowIndicator)

    @property
    def name(self) -> str:
        """What it is called."""
        return self.text(NAME)

    @property
    def label(self) -> int | None:
        """The flat label of one value; None for what is more than one."""
        return self.first if self.info is not None and self.count == 1 and self.angle is None else None

    @property
    def lines(self) -> list["ColumnLine"]:
        """Lines below this one; values of a column are made when somebody looks."""
        if not self.childCount() and self.info is not None and self.count > 1 and self.angle is None:
            self.addChildren(list(self._values(self.info)))
        return _lines(self)

    def _values(self, info: ColumnInfo) -> Iterator["ColumnLine"]:
        whole = self.count == info.size
        if whole and len(info.shape) > 1:
            each = info.size // info.shape[0]
            for index, name in enumerate(_shorter(info.axes[0])):
                yield ColumnLine([name], info, index * each, each)
            return
        labels = info.labels[self.first : self.first + self.count]
        if not whole:
            body = info.axes[0][self.first // self.count]
            labels = tuple(label.removeprefix(body).removeprefix(".") for label in labels)
        for offset, name in enumerate(_shorter(labels)):
            yield ColumnLine([name, "", info.unit], info, self.first + offset, 1)
        if info.is_quaternion and self.count == 4:
            for angle, name in enumerate(_ANGLES):
                yield ColumnLine([name, "", "°"], info, self.first, 4, angle)

    def show(self, value: str, wrong: bool, stepped: bool, fraction: float | None = None) -> None:
        """Read differently from now on."""
        if (value, fraction) != (self.text(VALUE), self.data(VALUE, FRACTION)):
            self.setText(VALUE, value)
            self.setData(VALUE, FRACTION, fraction)
        if (wrong, stepped) != (self.wrong, self.stepped):
            self.wrong, self.stepped = wrong, stepped
            for cell, tint in ((NAME, self._shade), (VALUE, theme.TEXT)):
                self.setForeground(cell, theme.brush(theme.RED if wrong else theme.AMBER if stepped else tint))


class ColumnTree(QtWidgets.QTreeWidget):
    """Values are texts that `read` brings up to date for the lines it is given, and only for those."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.before: dict[int, np.ndarray] = {}  # what columns held before the last step, to show what it changed
        self._filter = ""
        self.setHeaderLabels(HEADINGS)
        self.itemExpanded.connect(lambda line: line.lines)

    @property
    def tables(self) -> list[ColumnLine]:
        """The lines of tables, which those of components are below."""
        return _lines(self.invisibleRootItem())

    def components(self) -> Iterator[ColumnLine]:
        """The line of every component that passes the filter."""
        return (component for table in self.tables for component in table.lines)

    def columns(self) -> Iterator[ColumnLine]:
        """The line of every column that passes the filter."""
        return (column for component in self.components() for column in component.lines)

    def rebuild(self, filter_text: str | None = None) -> None:
        """Make the tree anew from the schema, with the columns whose name, unit or system the filter text is in."""
        if filter_text is not None:
            self._filter = filter_text.strip().lower()
        tables: dict[str, ColumnLine] = {}
        components: dict[tuple[str, str], ColumnLine] = {}
        for info in self.store.columns.values():
            if not self._matches(info):
                continue
            table = tables.setdefault(info.table, ColumnLine([info.table, counted(info.rows, "row")]))
            key = info.table, info.component
            if key not in components:
                components[key] = ColumnLine([info.component, "", info.lifetime], shade=theme.BLUE)
                table.addChild(components[key])
            writer = "".join(info.writers[:1]) + (f" +{len(info.writers) - 1}" if len(info.writers) > 1 else "")
            components[key].addChild(ColumnLine([info.name, "", info.type, writer], info, 0, info.size))
        with QSignalBlocker(self):  # what is marked stays so
            self.clear()
            self.addTopLevelItems(list(tables.values()))

    def _matches(self, info: ColumnInfo) -> bool:
        text = f"{info.address} {info.unit} {' '.join(info.writers)} {' '.join(info.readers)}".lower()
        return all(word in text for word in self._filter.split())

    def read(self, lines: list[ColumnLine]) -> None:
        """Bring the values of some lines up to date."""
        for line in lines:
            if line.info is not None:
                held = self.store.value(line.info.id, self.store.selected)
                line.show(*("", False, False) if held is None else self._describe(line, line.info, held[1].reshape(-1)))
            elif line.parent() is not None:
                line.show("", any(c.wrong for c in line.lines), any(c.stepped for c in line.lines))

    def _describe(self, line: ColumnLine, info: ColumnInfo, flat: np.ndarray) -> tuple[str, bool, bool, float | None]:
        part = flat[line.first : line.first + line.count]
        if line.angle is not None:
            return f"{roll_pitch_yaw(part)[line.angle]:.1f}", False, False, None
        shaped = part if line.count != info.size or len(info.shape) < 2 else part.reshape(info.shape)
        text = format_values(shaped, info.dtype, info.labels[line.first : line.first + line.count])
        wrong = first_bad(part) is not None
        before = self.before.get(info.id)
        stepped = False
        if before is not None and len(before) == len(flat):
            old = before[line.first : line.first + line.count]
            stepped = not np.array_equal(old, part, equal_nan=old.dtype.kind == "f")
            if stepped and line.count == 1:
                text = f"{format_value(old[0], info.dtype)} → {text}"
        fraction = None
        if line.count == 1 and info.limits is not None:
            low, high = info.limits[line.first]
            if np.isfinite(low) and np.isfinite(high) and high > low and not wrong:
                fraction = float(np.clip((part[0] - low) / (high - low), 0.0, 1.0))
        return text, wrong, stepped, fraction

    def mimeTypes(self) -> list[str]:  # noqa: N802 - Qt's name
        """The type of what is dragged."""
        return [COLUMN_MIME]

    def mimeData(self, items: Sequence[QtWidgets.QTreeWidgetItem]) -> QMimeData:  # noqa: N802 - Qt's name
        """The column that is dragged."""
        for line in items:
            if isinstance(line, ColumnLine) and line.info is not None:
                return dragged(line.info.id, line.label)
        return QMimeData()


class WorldPanel(Panel):
    """The tree of tables, components and columns; only lines that can be seen are read and asked for."""

    title: ClassVar[str] = "World"
    rate: ClassVar[float] = 8.0

    def _build(self) -> None:
        self.filter = QtWidgets.QLineEdit(placeholderText="filter columns   Ctrl+F", clearButtonEnabled=True)
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
        tree.setAlternatingRowColors(True)
        tree.setIndentation(10)
        tree.setDragEnabled(True)
        tree.setTextElideMode(Qt.TextElideMode.ElideMiddle)  # left_shoulder_pitch and _roll differ at their ends
        tree.setSelectionMode(tree.SelectionMode.SingleSelection)
        tree.setItemDelegateForColumn(VALUE, _ValueDelegate(tree))
        tree.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        tree.header().setStretchLastSection(False)
        tree.header().setMinimumSectionSize(30)
        tree.header().setSectionResizeMode(WRITER, tree.header().ResizeMode.Stretch)  # what is left, and no more
        tree.currentItemChanged.connect(self._picked)
        tree.itemExpanded.connect(self._toggled)
        tree.itemCollapsed.connect(self._toggled)
        tree.verticalScrollBar().valueChanged.connect(lambda _: self._settled.start())

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

    def _picked(self, current: QtWidgets.QTreeWidgetItem | None) -> None:
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


class _ValueDelegate(QtWidgets.QStyledItemDelegate):
    """A value with a bar that shows where it lies between its limits."""

    def paint(
        self, painter: QPainter, option: QtWidgets.QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
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


def _lines(above: QtWidgets.QTreeWidgetItem) -> list[ColumnLine]:
    below = (above.child(place) for place in range(above.childCount()))
    return [line for line in below if isinstance(line, ColumnLine)]


def _shorter(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names without the last word that all of them have: 'left_knee' for 'left_knee_joint'."""
    ends = {name.rpartition("_")[2] for name in names}
    if len(names) < 2 or len(ends) > 1 or not all(name.rpartition("_")[0] for name in names):
        return names
    return tuple(name.rpartition("_")[0] for name in names)


def _tip(line: ColumnLine) -> str:
    info = line.info
    if info is None:
        return ""
    lines = [f"{info.address} · {info.lifetime}", info.doc]
    touched = {"written": info.writers, "read": info.readers}
    lines += [f"{how} by {', '.join(names)}" for how, names in touched.items() if names]
    if info.limits is not None and line.label is not None:
        low, high = info.limits[line.label]
        lines.append(f"limits {format_number(low)} … {format_number(high)} {info.unit}")
    return "\n".join(line for line in lines if line)
