"""Plots panel: charts of single numbers over ticks, one above the other, on one time axis."""

import time
from typing import Any, ClassVar

from PySide6.QtCore import Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QWidget

from engine.debugger.model.schema import ColumnInfo, title_of
from engine.debugger.model.store import Store
from engine.debugger.model.subscription import Subscription
from engine.debugger.panels.panel import Panel
from engine.debugger.widgets.parts import ElidedLabel, scroll_area, stack
from engine.debugger.widgets.theme import AMBER, DIM, set_colour, set_text
from engine.debugger.widgets.time_chart import TimeChart

MOST = 12  # charts: more curves than fit on a screen in time
SPANS = (50, 100, 200, 300, 500, 1000, 2000, 4000)  # ticks that are shown
RANGE_EVERY = 0.5  # s between changes of range
HEADROOM = 0.08  # share of the span kept free for what comes before the next change
PREFERRED = ("left_knee", "knee", "left_hip_pitch")  # which joint a newcomer wants to see
LEGEND = "white row {row} · blue median and p5–p95 of all rows"


class PlotsPanel(Panel):
    """Numbers over time. Wheel: how many ticks; drag a title: order; its cross: remove."""

    title: ClassVar[str] = "Plots"
    rate: ClassVar[float] = 15.0

    def _build(self) -> None:
        self.charts: list[TimeChart] = []
        self.span = 300
        self._drawn: dict[TimeChart, object] = {}
        self._ranged = 0.0
        self._x = (0.0, 1.0)
        self._touched = False  # the defaults are replaced by a schema that suits them better only until then
        self._legend = ElidedLabel()
        self._legend.setContentsMargins(6, 2, 6, 2)
        set_colour(self._legend, DIM)
        self._note = ""
        inside = QWidget()
        self._stack = stack(inside)
        scroll = scroll_area(inside)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        stack(self, self._legend, (scroll, 1), spacing=0)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        self.addAction("Default charts", self.reset)
        self.addAction("Remove all charts", self.clear)
        self.schema_changed()

    def add_chart(self, column: int, label: int) -> None:
        """Add a chart of one number, at the bottom; one that is there already stays where it is."""
        self._touched = True
        if column not in self.store.columns or not 0 <= label < self.store.columns[column].size:
            return
        if any((chart.column, chart.label) == (column, label) for chart in self.charts):
            return
        if len(self.charts) >= MOST:
            self._note = f"{MOST} charts are the most: remove one first"
            self.refresh()
            return
        self._insert(column, label)
        self.changed.emit()

    def remove_chart(self, chart: TimeChart) -> None:
        """Take a chart away."""
        self._touched = True
        self._take_out(chart)
        self.changed.emit()

    def move_chart(self, chart: TimeChart, place: int) -> None:
        """Put a chart at another place, 0 at the top."""
        self._touched = True
        self.charts.remove(chart)
        self.charts.insert(place, chart)
        self._stack.removeWidget(chart)
        self._stack.insertWidget(place, chart)
        self._show_axes()

    def clear(self) -> None:
        """Take all charts away."""
        for chart in list(self.charts):
            self.remove_chart(chart)

    def reset(self) -> None:
        """The default charts."""
        self.clear()
        for column, label in default_charts(self.store):
            self._insert(column, label)
        self._touched = False
        self.changed.emit()

    def shown_charts(self) -> list[TimeChart]:
        """The charts, from the top."""
        return list(self.charts)

    def chosen(self) -> list[str]:
        """The charts as text, 'address:place in a row', for a saved layout."""
        return [f"{self.store.columns[chart.column].address}:{chart.label}" for chart in self.charts]

    def choose(self, charts: list[str]) -> None:
        """Show the charts that `chosen` gave; those that this run has not are left out."""
        self.clear()
        for text in charts:
            address, _, label = text.rpartition(":")
            if address in self.store.by_address and label.isdigit():
                self.add_chart(self.store.by_address[address], int(label))

    def _insert(self, column: int, label: int) -> None:
        info = self.store.columns[column]
        pair = None if info.limits is None else (float(info.limits[label, 0]), float(info.limits[label, 1]))
        chart = TimeChart(column, label, title_of(info, label), pair, info.address)
        chart.header.setToolTip(f"{info.address}: {info.doc or 'no description'}\nDrag to change the order")
        chart.header.cross.clicked.connect(lambda: self.remove_chart(chart))
        chart.header.dragged = lambda y: self._dragged(chart, y)
        self.charts.append(chart)
        self._stack.addWidget(chart, 1)
        self._show_axes()
        self._ranged = 0.0

    def _take_out(self, chart: TimeChart) -> None:
        self.charts.remove(chart)
        self._drawn.pop(chart, None)
        self._note = ""
        self._stack.removeWidget(chart)
        chart.hide()
        chart.deleteLater()
        self._show_axes()

    def _dragged(self, chart: TimeChart, y: float) -> None:
        """Change places with the chart above or below when its middle is passed."""
        place = self.charts.index(chart)
        for other in (place - 1, place + 1):
            if 0 <= other < len(self.charts):
                widget = self.charts[other]
                middle = widget.mapToGlobal(widget.rect().center()).y()
                if (y < middle) if other < place else (y > middle):
                    self.move_chart(chart, other)
                    return

    def _show_axes(self) -> None:
        for chart in self.charts:
            chart.show_axis(chart is self.charts[-1])

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802 - Qt's name
        """Show more or fewer ticks."""
        nearest = min(range(len(SPANS)), key=lambda i: abs(SPANS[i] - self.span))
        step = -1 if event.angleDelta().y() > 0 else 1
        self.span = SPANS[min(max(nearest + step, 0), len(SPANS) - 1)]
        self._ranged = 0.0
        self._drawn.clear()
        event.accept()

    def schema_changed(self) -> None:
        """Keep the charts whose columns still exist; the default ones where nobody has chosen any."""
        kept = [chart for chart in self.charts if self._still_there(chart)]
        self._drawn.clear()
        for chart in [chart for chart in self.charts if chart not in kept]:
            self._take_out(chart)
        if not self.charts and not self._touched:
            for column, label in default_charts(self.store):
                self._insert(column, label)
        self.changed.emit()

    def _still_there(self, chart: TimeChart) -> bool:
        """Whether the run has what a chart shows, perhaps under another number."""
        info = self.store.column(chart.address)
        if info is None or chart.label >= info.size or title_of(info, chart.label) != chart.header.title.text():
            return False
        chart.column = info.id
        return True

    def subscriptions(self) -> list[Subscription]:
        """Every tick of the selected row, and all rows now and then."""
        labels: dict[int, list[int]] = {}
        for chart in self.charts:
            labels.setdefault(chart.column, []).append(chart.label)
        if not labels:
            return []
        traced = tuple((column, tuple(places)) for column, places in labels.items())
        bands = [Subscription("column", ((chart.column, (chart.label,)),), (), 5.0) for chart in self.charts]
        return [Subscription("trace", traced, "selected", 20.0), *bands]

    def refresh(self) -> None:
        """Draw what is new; ranges change at most twice a second, and when the newest tick would be out of them."""
        store, row = self.store, self.store.selected
        none = "no charts: choose a number in World and press P" if store.columns else ""
        text = self._note or (LEGEND.format(row=row) if self.charts else none)
        set_text(self._legend, text, AMBER if self._note else DIM)
        now = time.monotonic()
        traces = {chart: store.trace(chart.column, chart.label, row) for chart in self.charts}
        bands = {chart: store.band(chart.column, chart.label) for chart in self.charts}
        newest = max((int(t[0][-1]) for t in traces.values() if len(t[0])), default=None)
        outside = newest is not None and not self._x[0] <= newest <= self._x[1] and store.cursor is None
        ranging = newest is not None and (now - self._ranged >= RANGE_EVERY or outside)
        if ranging:
            self._ranged = now
            firsts = [int(ticks[0]) for ticks, *_ in (*traces.values(), *bands.values()) if len(ticks)]
            self._x = self._range(newest or 0, min(firsts, default=0))
        for chart, trace in traces.items():
            band = bands[chart]
            state: tuple[Any, ...] = (row, store.cursor, len(trace[0]), trace[0][-1:].tolist(), band[0][-1:].tolist())
            if self._drawn.get(chart) != state:
                self._drawn[chart] = state
                chart.set_data(trace, band, store.cursor)
            if ranging:
                chart.fit_range(*self._x)

    def _range(self, newest: int, oldest: int) -> tuple[float, float]:
        """The last ticks, as far as there are any, and some room; or those around the cursor where it is not among them."""
        cursor = self.store.cursor
        high = newest + HEADROOM * self.span
        if cursor is not None and cursor < max(high - self.span, oldest):
            high = cursor + 0.5 * self.span
            return high - self.span, high
        return max(high - self.span, float(oldest)), high


def default_charts(store: Store) -> list[tuple[int, int]]:
    """A joint's position, its torque (or what the policy wants of it), reward and value, as far as the run has them."""
    position, reward = store.role("dof_position"), store.role("reward_total")
    torque = store.role("torque") or store.role("action")
    joints = [(column.id, _joint(column)) for column in (position, torque) if column is not None and column.size]
    others = (reward, store.role("value"), store.role("episode_step"))
    return [*joints, *((column.id, 0) for column in others if column is not None and column.size == 1)][:4]


def _joint(column: ColumnInfo) -> int:
    """The value of a knee, where there is one."""
    return next((i for word in PREFERRED for i, label in enumerate(column.labels) if word in label), 0)
