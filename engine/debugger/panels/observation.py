"""Observation panel: what the policy sees, and whether it can be trusted."""

from typing import ClassVar

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QFontMetricsF, QPainter

from engine.debugger.diagnosis.indicators import ChannelIndicators, channel_indicators
from engine.debugger.diagnosis.rules_robot import AT_REST, FEWEST_PAIRS, suspicious
from engine.debugger.model.evidence import observation_subs
from engine.debugger.model.history import EvidenceHistory
from engine.debugger.model.schema import ColumnInfo, groups
from engine.debugger.panels.panel import RolePanel
from engine.debugger.widgets import theme
from engine.debugger.widgets.bars import GAP, round_up
from engine.debugger.widgets.format import counted, format_number
from engine.debugger.widgets.parts import Canvas, draw_line, elided_text, fill, headline, stack, table, write

MOST_LISTED = 200
LEGEND = (
    "strip: blue is mean ± spread of the watched rows, red the same of a suspicious channel,\n"
    "white the selected row; green below: how often a value is new"
)
CLIP = 10.0  # channels beyond this are drawn at the edge of the strip


class ChannelStrip(Canvas):
    """All channels side by side: mean and spread of the watched rows, the selected row, and how often each changes."""

    def __init__(self) -> None:
        super().__init__()
        self.labels: tuple[str, ...] = ()
        self.terms: dict[str, list[int]] = {}
        self.channels: ChannelIndicators | None = None
        self.row = np.zeros(0)
        self.marked: frozenset[int] = frozenset()
        self.chosen = -1
        self.reach = 1.0
        self.setMinimumSize(200, 110)

    def show_channels(
        self, labels: tuple[str, ...], channels: ChannelIndicators | None, marked: frozenset[int]
    ) -> None:
        """Draw other statistics."""
        if labels != self.labels:
            self.labels, self.terms = labels, groups(labels)
        self.channels, self.marked = channels, marked
        sizes = [np.abs(channels.mean) + channels.spread] if channels is not None else []
        finite = np.concatenate(sizes)[np.isfinite(np.concatenate(sizes))] if sizes else np.zeros(0)
        self.reach = min(CLIP, round_up(float(np.percentile(finite, 98)))) if len(finite) else 1.0
        self.update()

    def number_at(self, place: QPointF) -> int:
        """The channel there."""
        channel = int((place.x() - self._left()) / self._step())
        return channel if 0 <= channel < len(self.labels) else -1

    def _left(self) -> float:
        return QFontMetricsF(self.font()).horizontalAdvance("−0.05") + 2 * GAP

    def _step(self) -> float:
        return (self.width() - self._left() - GAP) / max(1, len(self.labels))

    def tip_at(self, place: QPointF) -> str:
        """Name and numbers of the channel there."""
        channel, found = self.number_at(place), self.channels
        if channel < 0:
            return ""
        text = f"channel {channel}: {self.labels[channel]}"
        text += f"\nrow {format_number(float(self.row[channel]))}" if channel < len(self.row) else ""
        if found is not None and channel < len(found.mean):
            text += f"\nmean {format_number(found.mean[channel])}, spread {format_number(found.spread[channel])}"
            text += f"\nchanges in {100 * found.changes[channel]:.0f} % of samples" if found.pairs else ""
        return text

    def paint(self, painter: QPainter) -> None:
        """Paint mean and spread of every channel, and the selected row."""
        metrics, left, step = QFontMetricsF(self.font()), self._left(), self._step()
        top, bottom = 18.0, self.height() - 28.0
        middle, tall = (top + bottom) / 2, (bottom - top) / 2
        painter.setPen(theme.pen(theme.DIM))
        box = QRectF(0, top - 6, left - GAP, bottom - top + 12)
        right = Qt.AlignmentFlag.AlignRight
        painter.drawText(box, right | Qt.AlignmentFlag.AlignTop, format_number(self.reach))
        painter.drawText(box, right | Qt.AlignmentFlag.AlignVCenter, "0")
        painter.drawText(box, right | Qt.AlignmentFlag.AlignBottom, format_number(-self.reach))
        painter.drawText(QRectF(0, bottom + 9, left - GAP, 18), right, "new")
        draw_line(painter, theme.LINE, left, middle, self.width() - GAP, middle)
        edge = -1.0
        for name, places in self.terms.items():
            a, b = left + places[0] * step, left + (places[-1] + 1) * step
            draw_line(painter, theme.LINE, a, top - 14, a, bottom + 24)
            if a >= edge and b - a > 24:
                text = elided_text(metrics, name, b - a - 4)
                write(painter, theme.DIM, QRectF(a + 3, top - 17, b - a - 4, 15), text)
                edge = a + metrics.horizontalAdvance(text)
        if self.channels is not None and len(self.channels.mean) == len(self.labels):
            self._draw(painter, self.channels, middle, tall, bottom)
        ys = middle - tall * np.clip(np.nan_to_num(self.row) / self.reach, -1, 1)
        painter.setPen(theme.pen(theme.WHITE))
        for i, y in enumerate(ys.tolist()[: len(self.labels)]):
            if np.isfinite(self.row[i]):
                painter.drawLine(QPointF(left + i * step, y), QPointF(left + max(i * step + 1, (i + 1) * step - 1), y))
            else:
                painter.fillRect(QRectF(left + i * step, top, max(1.0, step), 2 * tall), theme.brush(theme.RED, 110))

    def _draw(self, painter: QPainter, found: ChannelIndicators, middle: float, tall: float, bottom: float) -> None:
        left, step = self._left(), self._step()
        wide = step - 1 if step >= 4 else step
        changes = np.nan_to_num(found.changes)
        for i in range(len(self.labels)):
            x = left + i * step
            if i == self.chosen:
                painter.fillRect(QRectF(x, middle - tall, wide, 2 * tall), theme.brush(theme.SELECTION))
            if np.isfinite(found.mean[i]):
                low, high = ((found.mean[i] + s * found.spread[i]) / self.reach for s in (-1, 1))
                a, b = (middle - tall * min(1.0, max(-1.0, float(v))) for v in (high, low))
                shade = theme.RED if i in self.marked else theme.FILL
                painter.fillRect(QRectF(x, a, wide, max(1.5, b - a)), theme.brush(shade))
            else:
                painter.fillRect(QRectF(x, middle - tall, wide, 2 * tall), theme.brush(theme.RED, 110))
            painter.fillRect(QRectF(x, bottom + 10, wide, 14), theme.brush(theme.RAISED))
            part = 14 * float(changes[i])
            painter.fillRect(QRectF(x, bottom + 24 - part, wide, part), theme.brush(theme.GREEN))


class ObservationPanel(RolePanel):
    """The strip of all channels, and a list of those that look wrong."""

    title: ClassVar[str] = "Observation"
    role, what = "observation", "observations"
    measured = (observation_subs,)

    def _build(self) -> None:
        self.head = headline("waiting for a run", LEGEND)
        self.strip = ChannelStrip()
        self.table = table(("channel", "name", "sign", "figure"))
        stack(self, self.head, (self.strip, 3), (self.table, 2))
        self._listed: list[tuple[int, str, str]] = []
        self.strip.picked.connect(self._pick)
        self.table.cellClicked.connect(lambda line, _: self._pick(self._listed[line][0]))
        self.table.cellDoubleClicked.connect(lambda line, _: self.chart(self._listed[line][0]))
        self.refresh()

    def schema_changed(self) -> None:
        """Other channels."""
        self.strip.chosen = -1
        super().schema_changed()

    def _pick(self, channel: int) -> None:
        self.strip.chosen = channel
        self.strip.update()

    def clear(self, why: str) -> None:
        """Say why no channel is drawn."""
        theme.set_text(self.head, why)

    def draw(self, data: EvidenceHistory, column: ColumnInfo, row: np.ndarray | None) -> None:
        """Redraw the row."""
        row = np.zeros(0) if row is None else row
        if not np.array_equal(row, self.strip.row, equal_nan=True):
            self.strip.row = row
            self.strip.update()

    def measure(self, data: EvidenceHistory, column: ColumnInfo) -> None:
        """Statistics of the channels of watched rows."""
        rows = data.observations()
        found = channel_indicators(list(rows.values()), data.declared.number("observe.limit"))
        listed = suspicious(found, column.labels) if found is not None else []
        self._listed = sorted(listed, key=lambda one: one[1] == AT_REST)[:MOST_LISTED]
        self.strip.show_channels(column.labels, found, frozenset(i for i, sign, _ in self._listed if sign != AT_REST))
        samples = found.samples if found is not None else 0
        text = f"{counted(column.size, 'channel')} · {samples} samples of {counted(len(rows), 'row')} · "
        if found is None or found.pairs < FEWEST_PAIRS:
            text += f"too few to judge ({found.pairs if found else 0} of {FEWEST_PAIRS} consecutive)"
        else:
            text += f"{len(self.strip.marked)} suspicious" if self.strip.marked else "none suspicious"
        theme.set_text(self.head, text, theme.AMBER if self.strip.marked else theme.TEXT)
        lines = [(str(i), column.labels[i], sign, figure) for i, sign, figure in self._listed]
        shades = {"non-finite": theme.RED, "constant": theme.RED, "stale": theme.RED, AT_REST: theme.DIM}
        fill(self.table, lines, [shades.get(sign, theme.AMBER) for _, sign, _ in self._listed])
