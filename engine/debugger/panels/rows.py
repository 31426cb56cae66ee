"""Rows panel: one number of every row as a heat map, a histogram and the ten worst."""

from typing import ClassVar

import numpy as np
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QComboBox, QToolButton, QWidget

from engine.debugger.model.schema import ColumnInfo, title_of
from engine.debugger.model.store import Store
from engine.debugger.model.subscription import Subscription
from engine.debugger.panels.panel import Panel
from engine.debugger.widgets.format import counted, format_number
from engine.debugger.widgets.heatmap import HeatMap, arrange, worst_rows
from engine.debugger.widgets.histogram import WORST, Histogram, worst_list
from engine.debugger.widgets.parts import ElidedLabel, fill, stack
from engine.debugger.widgets.theme import DIM, RED, TEXT, set_colour, set_text

ROOM_FOR_LIST = 320  # pixels of width
ORDERS = (("by row", ""), ("by value", "value"), ("by clip", "clip"), ("by episode step", "episode_step"))
GOOD_WHEN_HIGH = ("reward_total", "value", "advantage", "log_prob", "episode_step")  # roles whose low values are bad

Chosen = tuple[int, int | None]


class RowsPanel(Panel):
    """Is it one row, or all of them?"""

    title: ClassVar[str] = "Rows"

    def _build(self) -> None:
        self.shown: Chosen | None = None
        self._address = ""  # of what is shown: another schema may number it otherwise
        self.highest = True
        self.threshold: float | None = None
        self._touched = False
        self._drawn: object = None
        self.choice, self.order, self.direction = QComboBox(), QComboBox(), QToolButton()
        self.map, self.histogram, self.worst = HeatMap(), Histogram(), worst_list()
        self.words = ElidedLabel()
        self._lay_out()
        self.choice.activated.connect(lambda index: self.show_column(*self.choice.itemData(index)))
        self.order.activated.connect(self._reorder)
        self.direction.clicked.connect(self._turn)
        self.map.picked.connect(self.control.select)
        self.histogram.moved = self._put_threshold
        self.worst.cellClicked.connect(self._pick_listed)
        self._say_direction()
        self.schema_changed()

    def _lay_out(self) -> None:
        for combo, least in ((self.choice, 80), (self.order, 64)):
            combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            combo.setMinimumContentsLength(4)
            combo.setMinimumWidth(least)
        self.order.view().setMinimumWidth(120)
        self.choice.view().setMinimumWidth(220)
        self.choice.setToolTip("Which number of every row is shown")
        for text, key in ORDERS:
            self.order.addItem(text, key)
        self.order.setToolTip("The order of the cells")
        self.direction.setToolTip("Which end is the worse one")
        self.direction.setAutoRaise(True)
        self.words.setContentsMargins(6, 0, 6, 2)
        set_colour(self.words, DIM)
        above, middle = QWidget(), QWidget()
        stack(above, (self.choice, 3), (self.order, 2), self.direction, margins=(4, 2, 4, 0), across=True)
        stack(middle, (self.map, 5), (self.histogram, 4), self.worst, spacing=6, across=True)
        stack(self, above, (middle, 1), self.words)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """The list gives way where there is no room for all three."""
        super().resizeEvent(event)
        self.worst.setVisible(self.width() >= ROOM_FOR_LIST)

    def show_column(self, column: int, label: int | None) -> None:
        """Show one number of every row: a flat place in a row, or None for the norm of the row."""
        info = self.store.columns.get(column)
        if info is None or (label is not None and not 0 <= label < info.size):
            return
        self._touched = True
        self._show(info, 0 if info.size == 1 else label)
        self.changed.emit()

    def _show(self, info: ColumnInfo, label: int | None) -> None:
        if self.shown == (info.id, label):
            return
        self.shown, self._address = (info.id, label), info.address
        good = [self.store.role(role) for role in GOOD_WHEN_HIGH]
        self.highest = not any(column is not None and column.id == info.id for column in good)
        upper = np.nan if info.limits is None or label is None else float(info.limits[label, 1])
        self.threshold = upper if np.isfinite(upper) else None
        self.histogram.put_threshold(self.threshold)
        self.histogram.forget()
        self._drawn = None
        self._say_direction()
        self._fill_choice()

    def worst_row(self) -> int | None:
        """The worst row by what is shown; None where nothing has come."""
        frame = None if self.shown is None else self.store.frame(*self.shown)
        return None if frame is None or not len(frame[1]) else worst_rows(frame[1], 1, self.highest)[0]

    def _fill_choice(self) -> None:
        """Columns with one number per row, and what is shown besides."""
        entries: dict[Chosen, str] = {(c.id, 0): title_of(c, 0) for c in self.store.columns.values() if c.size == 1}
        if self.shown is not None:
            entries.setdefault(self.shown, title_of(self.store.columns[self.shown[0]], self.shown[1]))
        self.choice.clear()
        for key, text in entries.items():
            self.choice.addItem(text, key)
        self.choice.setCurrentIndex(list(entries).index(self.shown) if self.shown is not None else -1)

    def _say_direction(self) -> None:
        self.direction.setText("high is bad" if self.highest else "low is bad")

    def _turn(self) -> None:
        self.highest = not self.highest
        self._drawn = None
        self._say_direction()
        self.refresh()

    def _reorder(self) -> None:
        self._drawn = None
        self.changed.emit()
        self.refresh()

    def _put_threshold(self, value: float) -> None:
        if value != self.threshold:
            self.threshold = value
            self.histogram.put_threshold(value)
            self._drawn = None
            self.refresh()

    def _pick_listed(self, line: int, _: int) -> None:
        item = self.worst.item(line, 0)
        if item is not None and item.text():
            self.control.select(int(item.text()))

    def schema_changed(self) -> None:
        """Keep what is shown if it still exists, else show what tells most."""
        shown, self._drawn = self.shown, None
        info = self.store.column(self._address)
        if shown is not None and info is not None and (shown[1] is None or shown[1] < info.size):
            self.shown = (info.id, shown[1])
        else:
            self.shown = None
            if (first := default_column(self.store)) is not None:
                self._show(first, 0)
        self._fill_choice()
        self.changed.emit()

    def subscriptions(self) -> list[Subscription]:
        """The number of all rows, and what they are sorted by."""
        if self.shown is None:
            return []
        key = self._sort_column()
        wanted = dict.fromkeys([self.shown, *([] if key is None else [(key.id, 0)])])
        columns = [(column, None if place is None else (place,)) for column, place in wanted]
        return [Subscription("column", (each,), (), self.rate) for each in columns]

    def _sort_column(self) -> ColumnInfo | None:
        role = self.order.currentData()
        found = self.store.role(role) if role in ("clip", "episode_step") else None
        if found is None or self.shown is None or found.size != 1:
            return None
        return found if found.rows == self.store.columns[self.shown[0]].rows else None

    def refresh(self) -> None:
        """Redraw if another frame has come, another row is selected or something else was chosen."""
        row = self.store.selected
        frame = None if self.shown is None else self.store.frame(*self.shown)
        if frame is None:
            ended = self.store.state.get("mode") == "ended"
            coming = "not kept for all rows" if ended else "waiting for its first frame"
            waiting = coming if self.shown is not None else "no number to show yet"
            if self._drawn is None:
                self._clear(waiting)
                self._drawn = waiting
            return
        tick, values = frame
        if self._drawn == (self.shown, tick, row, id(values)):
            return
        self._drawn = (self.shown, tick, row, id(values))
        self.map.set(values, self._arranged(values), bright_is_low=not self.highest)
        self.map.mark(row)
        self.histogram.set(values, float(values[row]) if row < len(values) else np.nan)
        self._list(values, row)
        self._say(values)

    def _clear(self, text: str) -> None:
        empty = np.zeros(0, np.float32)
        self.map.set(empty, np.zeros(0, np.int64), False)
        self.histogram.set(empty, np.nan)
        self._list(empty, -1)
        set_text(self.words, text, DIM)

    def _arranged(self, values: np.ndarray) -> np.ndarray:
        if self.order.currentData() == "value":
            return arrange(values.astype(np.float64), len(values), descending=self.highest)
        column = self._sort_column()
        frame = None if column is None else self.store.frame(column.id, 0)
        return arrange(None if frame is None else frame[1].astype(np.float64), len(values))

    def _list(self, values: np.ndarray, selected: int) -> None:
        rows = worst_rows(values, WORST, self.highest)
        lines = [(str(row), format_number(float(values[row]))) for row in rows]
        shades = [TEXT if np.isfinite(values[row]) else RED for row in rows]
        missing = WORST - len(rows)
        fill(self.worst, lines + [("", "")] * missing, shades + [TEXT] * missing)
        for line, row in enumerate([*rows, *[-1] * missing]):
            for item in (self.worst.item(line, 0), self.worst.item(line, 1)):
                if item is not None and item.isSelected() != (row == selected >= 0):
                    item.setSelected(row == selected)

    def _say(self, values: np.ndarray) -> None:
        """How many rows are beyond the threshold, and how many are not finite."""
        lost = int((~np.isfinite(values)).sum())
        parts = []
        if lost:
            parts.append(f"{lost} of {len(values)} not finite")
        if self.threshold is not None and len(values):
            beyond = int((values > self.threshold).sum() if self.highest else (values < self.threshold).sum())
            side = "above" if self.highest else "below"
            parts.append(f"{beyond} {side} {format_number(self.threshold)} ({100.0 * beyond / len(values):.1f} %)")
        if not parts:
            parts.append(f"{counted(len(values), 'row')} · click the histogram for a threshold")
        set_text(self.words, " · ".join(parts), RED if lost else DIM)


def default_column(store: Store) -> ColumnInfo | None:
    """An error, else the reward, else the step of the episode, else the first column with one number per row."""
    scalars = [column for column in store.columns.values() if column.size == 1]
    errors = [column for column in scalars if "error" in column.address.lower()]
    roles = [store.role("reward_total"), store.role("episode_step")]
    return next((c for c in [*errors, *roles, *scalars] if c is not None and c.size == 1), None)
