"""Tree model of the World panel: tables, components, columns, and the labelled values in a row of them."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import attrs
import numpy as np
from PySide6.QtCore import QAbstractItemModel, QMimeData, QModelIndex, QObject, QPersistentModelIndex, Qt

from engine.debugger.model.schema import ColumnInfo
from engine.debugger.model.store import Store
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

HEADINGS = ("column", "row", "type", "writer")
NAME, VALUE, TYPE, WRITER = range(4)
FRACTION = Qt.ItemDataRole.UserRole
"""Where a value lies between its limits, 0 to 1; None without limits."""
_ANGLES = ("roll", "pitch", "yaw")
Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()


@attrs.define(eq=False, slots=False)
class ColumnNode:
    """A line of the tree. `first` and `count` are the flat values of a column that it stands for; `angle` is one of
    roll, pitch and yaw of a quaternion, or None."""

    name: str
    parent: "ColumnNode | None" = None
    place: int = 0
    info: ColumnInfo | None = None
    first: int = 0
    count: int = 0
    angle: int | None = None
    type: str = ""
    writer: str = ""
    value: str = ""
    wrong: bool = False
    stepped: bool = False
    fraction: float | None = None
    owned: list["ColumnNode"] = attrs.field(factory=list)

    @property
    def label(self) -> int | None:
        """The flat label of one value; None for what is more than one."""
        return self.first if self.info is not None and self.count == 1 and self.angle is None else None

    @cached_property
    def children(self) -> list["ColumnNode"]:
        """Lines below this one; values of a column are made when somebody looks."""
        if self.owned or self.info is None or self.angle is not None or self.count <= 1:
            return self.owned
        return list(self._values())

    def _values(self) -> Iterator["ColumnNode"]:
        assert self.info is not None
        info, whole = self.info, self.count == self.info.size
        if whole and len(info.shape) > 1:
            each = info.size // info.shape[0]
            names = _shorter(info.axes[0])
            for index, name in enumerate(names):
                yield ColumnNode(name, self, index, info, index * each, each)
            return
        labels = info.labels[self.first : self.first + self.count]
        if not whole:
            body = info.axes[0][self.place]
            labels = tuple(label.removeprefix(body).removeprefix(".") for label in labels)
        for offset, name in enumerate(_shorter(labels)):
            yield ColumnNode(name, self, offset, info, self.first + offset, 1, type=info.unit)
        if info.is_quaternion and self.count == 4:
            for angle, name in enumerate(_ANGLES):
                yield ColumnNode(name, self, 4 + angle, info, self.first, 4, angle, type="°")


class ColumnTree(QAbstractItemModel):
    """Values are texts that `update` brings up to date for the lines it is given, and only for those."""

    def __init__(self, store: Store, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.store = store
        self.root = ColumnNode("")
        self.before: dict[int, np.ndarray] = {}
        """What columns held before the last step, to show what it changed."""
        self._filter = ""

    def rebuild(self, filter_text: str | None = None) -> None:
        """Make the tree anew from the schema, with the columns whose name, unit or system the filter text is in."""
        if filter_text is not None:
            self._filter = filter_text.strip().lower()
        self.beginResetModel()
        self.root = ColumnNode("")
        tables: dict[str, ColumnNode] = {}
        components: dict[tuple[str, str], ColumnNode] = {}
        for info in self.store.columns.values():
            if not self._matches(info):
                continue
            table = tables.get(info.table) or self._add(
                self.root, ColumnNode(info.table, value=counted(info.rows, "row"))
            )
            tables[info.table] = table
            key = info.table, info.component
            component = components.get(key) or self._add(table, ColumnNode(info.component, type=info.lifetime))
            components[key] = component
            writer = "".join(info.writers[:1]) + (f" +{len(info.writers) - 1}" if len(info.writers) > 1 else "")
            self._add(component, ColumnNode(info.name, None, 0, info, 0, info.size, None, info.type, writer))
        self.endResetModel()

    def _add(self, parent: ColumnNode, node: ColumnNode) -> ColumnNode:
        node.parent, node.place = parent, len(parent.owned)
        parent.owned.append(node)
        return node

    def _matches(self, info: ColumnInfo) -> bool:
        text = f"{info.address} {info.unit} {' '.join(info.writers)} {' '.join(info.readers)}".lower()
        return all(word in text for word in self._filter.split())

    def columns(self) -> Iterator[ColumnNode]:
        """The line of every column that passes the filter."""
        for table in self.root.owned:
            for component in table.owned:
                yield from component.owned

    def update(self, nodes: list[ColumnNode]) -> None:
        """Read the values of some lines, and repaint those that read differently."""
        row = self.store.selected
        for node in nodes:
            if node.info is None:
                if node.parent is not self.root:
                    self._update_component(node)
                continue
            held = self.store.value(node.info.id, row)
            shown = ("", False, False, None) if held is None else self._describe(node, node.info, held[1].reshape(-1))
            if shown != (node.value, node.wrong, node.stepped, node.fraction):
                node.value, node.wrong, node.stepped, node.fraction = shown
                self.dataChanged.emit(self.index_of(node, NAME), self.index_of(node, VALUE))

    def _describe(self, node: ColumnNode, info: ColumnInfo, flat: np.ndarray) -> tuple[str, bool, bool, float | None]:
        part = flat[node.first : node.first + node.count]
        if node.angle is not None:
            return f"{roll_pitch_yaw(part)[node.angle]:.1f}", False, False, None
        shaped = part if node.count != info.size or len(info.shape) < 2 else part.reshape(info.shape)
        text = format_values(shaped, info.dtype, info.labels[node.first : node.first + node.count])
        wrong = first_bad(part) is not None
        before = self.before.get(info.id)
        stepped = False
        if before is not None and len(before) == len(flat):
            old = before[node.first : node.first + node.count]
            stepped = not np.array_equal(old, part, equal_nan=old.dtype.kind == "f")
            if stepped and node.count == 1:
                text = f"{format_value(old[0], info.dtype)} → {text}"
        fraction = None
        if node.count == 1 and info.limits is not None:
            low, high = info.limits[node.first]
            if np.isfinite(low) and np.isfinite(high) and high > low and not wrong:
                fraction = float(np.clip((part[0] - low) / (high - low), 0.0, 1.0))
        return text, wrong, stepped, fraction

    def _update_component(self, node: ColumnNode) -> None:
        wrong, stepped = any(c.wrong for c in node.owned), any(c.stepped for c in node.owned)
        if (wrong, stepped) != (node.wrong, node.stepped):
            node.wrong, node.stepped = wrong, stepped
            self.dataChanged.emit(self.index_of(node, NAME), self.index_of(node, VALUE))

    # -- what a view asks ------------------------------------------------------------------------------

    def node(self, index: Index) -> ColumnNode:
        """The line behind an index."""
        found = index.internalPointer() if index.isValid() else self.root
        return found if isinstance(found, ColumnNode) else self.root

    def index_of(self, node: ColumnNode, column: int = 0) -> QModelIndex:
        """The index of a line."""
        return QModelIndex() if node is self.root else self.createIndex(node.place, column, node)

    def index(self, row: int, column: int, parent: Index = _NOWHERE) -> QModelIndex:
        """Index of a child, for Qt."""
        children = self.node(parent).children
        return self.createIndex(row, column, children[row]) if 0 <= row < len(children) else QModelIndex()

    def parent(self, index: Index = _NOWHERE) -> QModelIndex:  # type: ignore[override]
        """Index of the line above, for Qt."""
        above = self.node(index).parent
        return QModelIndex() if above is None else self.index_of(above)

    def rowCount(self, parent: Index = _NOWHERE) -> int:  # noqa: N802 - Qt's name
        """Number of lines below one."""
        return len(self.node(parent).children) if parent.column() <= 0 else 0

    def hasChildren(self, parent: Index = _NOWHERE) -> bool:  # noqa: N802 - Qt's name
        """Whether there are lines below one; values of a column are not made for it."""
        node = self.node(parent)
        return bool(node.owned) or (node.angle is None and node.count > 1)

    def columnCount(self, parent: Index = _NOWHERE) -> int:  # noqa: N802 - Qt's name
        """Number of headings."""
        return len(HEADINGS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:  # noqa: N802 - Qt's name
        """Text of a heading."""
        if role != Qt.ItemDataRole.DisplayRole or orientation != Qt.Orientation.Horizontal:
            return None
        return f"row {self.store.selected}" if section == VALUE else HEADINGS[section]

    def data(self, index: Index, role: int = 0) -> Any:
        """Text, colour, tooltip or share of a limit of a cell."""
        node, column = self.node(index), index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return (node.name, node.value, node.type, node.writer)[column]
        if role == Qt.ItemDataRole.ForegroundRole:
            return theme.colour(self._colour(node, column))
        if role == Qt.ItemDataRole.ToolTipRole:
            return _tip(node)
        if role == FRACTION and column == VALUE:
            return node.fraction
        return None

    def _colour(self, node: ColumnNode, column: int) -> str:
        if column in (TYPE, WRITER):
            return theme.DIM
        if node.wrong:
            return theme.RED
        if node.stepped:
            return theme.AMBER
        is_component = node.info is None and node.parent is not self.root
        return theme.BLUE if is_component and column == NAME else theme.TEXT

    def flags(self, index: Index) -> Qt.ItemFlag:
        """What may be done with a line; columns can be dragged."""
        usual = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        return usual | Qt.ItemFlag.ItemIsDragEnabled if self.node(index).info is not None else usual

    def mimeTypes(self) -> list[str]:  # noqa: N802 - Qt's name
        """The type of what is dragged."""
        return [COLUMN_MIME]

    def mimeData(self, indexes: Any) -> QMimeData:  # noqa: N802 - Qt's name
        """The column that is dragged."""
        for index in indexes:
            node = self.node(index)
            if node.info is not None:
                return dragged(node.info.id, node.label)
        return QMimeData()


def _shorter(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names without the last word that all of them have: 'left_knee' for 'left_knee_joint'."""
    ends = {name.rpartition("_")[2] for name in names}
    if len(names) < 2 or len(ends) > 1 or not all(name.rpartition("_")[0] for name in names):
        return names
    return tuple(name.rpartition("_")[0] for name in names)


def _tip(node: ColumnNode) -> str:
    info = node.info
    if info is None:
        return ""
    lines = [f"{info.address} · {info.lifetime}", info.doc]
    if info.writers:
        lines.append(f"written by {', '.join(info.writers)}")
    if info.readers:
        lines.append(f"read by {', '.join(info.readers)}")
    if info.limits is not None and node.label is not None:
        low, high = info.limits[node.label]
        lines.append(f"limits {format_number(low)} … {format_number(high)} {info.unit}")
    return "\n".join(line for line in lines if line)
