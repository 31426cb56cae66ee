"""Tick panel: the systems of a tick to scale, or their times over the last minutes, and where the marked number comes from."""

from itertools import groupby
from typing import Any, ClassVar

import attrs
import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QMouseEvent, QPainter, QPolygonF

from engine.debugger.model.store import Store
from engine.debugger.model.subscription import Subscription
from engine.debugger.panels.edit import break_place
from engine.debugger.panels.panel import Panel
from engine.debugger.widgets import theme
from engine.debugger.widgets.parts import Canvas, ElidedLabel, fill_polygon, stack, write

_TICK_HEIGHT, _HISTORY_HEIGHT = 34, 120
_NARROWEST = 3.0  # pixels of a system, however fast it is
_GAP = "#4a5060"


class TickPanel(Panel):
    """Header, strip and provenance."""

    title: ClassVar[str] = "Tick"
    rate: ClassVar[float] = 10.0
    needs = (Subscription("timing", (), "selected", 4.0),)  # more often nobody can read

    def _build(self) -> None:
        self.header, self.origin = ElidedLabel("no tick yet"), ElidedLabel()
        theme.set_colour(self.origin, theme.DIM)
        self.strip = TickBar(self.store)
        stack(self, self.header, (self.strip, 1), self.origin, margins=(8, 2, 8, 2))
        self.setFixedHeight(self._height())
        self._provenance: dict[str, Any] = {}
        self._asked: tuple[Any, ...] = ()
        self._seen: tuple[Any, ...] = ()

    def schema_changed(self) -> None:
        """Other systems."""
        self.strip.rebuild()

    def toggle_history(self) -> None:
        """Between the last tick and the last minutes."""
        self.strip.set_history(not self.strip.history)
        self.setFixedHeight(self._height())
        self.changed.emit()

    def _height(self) -> int:
        return self.strip.minimumHeight() + 2 * self.header.sizeHint().height() + 8

    def refresh(self) -> None:
        """Texts, and the strip where something moved."""
        theme.set_text(self.header, self._say_tick())
        self._ask_provenance()
        theme.set_text(self.origin, self._say_provenance())
        state = self.store.state
        stands = (state.get("next"), state.get("mode"), len(self.store.breaks))
        seen = (self.store.seen["timing"], *stands, self.strip.width())
        if seen != self._seen:
            self._seen = seen
            self.strip.arrange()
            self.strip.update()

    def _say_tick(self) -> str:
        state, timing = self.store.state, self.store.timing
        parts = []
        if "tick" in state:
            parts.append(f"tick {int(state['tick']):,}".replace(",", " "))
        if timing:
            parts.append(f"{timing['tick_seconds'] * 1e3:.1f} ms (p95 {timing['tick_p95'] * 1e3:.1f})")
        following = self.store.next_system()
        if following is not None:
            substep = f", substep {state['substep']}" if state.get("substep") else ""
            parts.append(f"next: {self.store.systems[following]['name']}{substep}")
        if state.get("inspected"):
            parts.append("inspected: slower")
        return " · ".join(parts) or "no tick yet"

    def _ask_provenance(self) -> None:
        """Once for each number that is marked, and again where a tick or step has passed while paused."""
        picked, state = self.store.picked, self.store.state
        tick = state.get("tick") if state.get("mode") == "paused" else None
        wanted = (picked, self.store.selected, tick, state.get("next"))
        if picked is None or wanted == self._asked:
            return
        if not self._asked or self._asked[:2] != wanted[:2]:
            self._provenance = {}
        self._asked = wanted
        column, label = picked

        def then(answer: dict[str, Any]) -> None:
            if answer.get("t") == "ok" and self.store.picked == picked:
                self._provenance = answer

        self.control.send({"t": "provenance", "column": column, "label": label, "row": self.store.selected}, then)

    def _say_provenance(self) -> str:
        picked = self.store.picked
        info = self.store.columns.get(picked[0]) if picked is not None else None
        if info is None or picked is None:
            return "mark a column in World to see who writes and reads it"
        label = f"[{info.labels[picked[1]]}]" if picked[1] is not None and info.size > 1 else ""
        name = f"{info.component}.{info.name}{label}"
        origin, readers = self._provenance, list(info.readers)
        written = f"written by {', '.join(info.writers)} (declared)" if info.writers else "written by nobody"
        if origin.get("writer"):
            when = f" (tick {int(origin.get('tick', 0)):,})".replace(",", " ")
            kind = "" if origin.get("kind") == "observed" else ", declared"
            written = f"written by {origin['writer']}{when}{kind}"
            readers = [str(each) for each in origin.get("readers", [])]
        read = f"read by {', '.join(readers)}" if readers else "read by nobody"
        return f"{name}   {written}   {read}"


@attrs.define(eq=False)
class TickSegment:
    """One system in the strip."""

    system: int
    group: int
    left: float = 0.0
    width: float = 0.0


@attrs.define(eq=False)
class TickGroup:
    """Neighbouring systems of one phase, or of phases that are repeated together."""

    name: str
    colour: str
    systems: list[int]


def group_systems(schema: dict[str, Any]) -> list[TickGroup]:
    """The groups of a schema's systems in order, 'TORQUE+STEP ×4' for repeated phases; systems of the first tick are left out."""
    phases = {phase["name"]: phase for phase in schema["phases"]}
    shown = []  # (how often its phase is repeated, phase, number) of each system
    for number, system in enumerate(schema["systems"]):
        phase = phases.get(system["phase"], {"repeat": 1, "first_tick_only": False})
        if not phase["first_tick_only"]:
            shown.append((int(phase["repeat"]), system["phase"], number))
    groups = []
    for _, part in groupby(shown, lambda each: each[:1] if each[0] > 1 else each[:2]):
        repeats, names, systems = zip(*part, strict=True)
        name = "+".join(dict.fromkeys(names)) + (f" ×{repeats[0]}" if repeats[0] > 1 else "")
        groups.append(TickGroup(name, theme.PHASES.get(names[0], theme.RAISED), list(systems)))
    return groups


def share_out(seconds: np.ndarray, room: float) -> np.ndarray:
    """Widths that fill the room in proportion to seconds, but for what would be too narrow to be seen."""
    seconds = np.nan_to_num(seconds.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0).clip(min=0.0)
    if seconds.sum() <= 0.0:
        seconds = np.ones(len(seconds))
    least = min(_NARROWEST, room / (2 * len(seconds)))
    widths: np.ndarray = np.maximum(seconds / seconds.sum() * room, least)
    spare = widths - least
    widths -= (widths.sum() - room) * spare / max(float(spare.sum()), 1e-9)
    return widths


class TickBar(Canvas):
    """The bar itself: painted, not made of widgets."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.system: int | None = None  # that was clicked
        self.history = False
        self.groups: list[TickGroup] = []
        self.segments: list[TickSegment] = []
        self.setMinimumHeight(_TICK_HEIGHT)

    def rebuild(self) -> None:
        """Groups and segments of a new schema."""
        self.groups = group_systems(self.store.schema) if self.store.schema else []
        groups = enumerate(self.groups)
        self.segments = [TickSegment(system, place) for place, group in groups for system in group.systems]
        if self.system is not None and self.system >= len(self.store.systems):
            self.system = None
        self.arrange()
        self.update()

    def set_history(self, on: bool) -> None:
        """Show the last minutes instead of the last tick."""
        self.history = on
        self.setMinimumHeight(_HISTORY_HEIGHT if on else _TICK_HEIGHT)
        self.update()

    def seconds(self) -> np.ndarray:
        """What each system takes; equal parts as long as nothing was measured."""
        timing = self.store.timing
        if timing and len(timing["seconds"]) == len(self.store.systems):
            return np.asarray(np.nan_to_num(timing["seconds"], posinf=0.0, neginf=0.0))
        return np.ones(len(self.store.systems), np.float32)

    def arrange(self) -> None:
        """Lay segments out: to scale, but none too narrow to be seen."""
        if not self.segments:
            return
        seconds = self.seconds()[[segment.system for segment in self.segments]]
        widths = share_out(seconds, self.width() - 1.0)
        left = 0.0
        for segment, width in zip(self.segments, widths, strict=True):
            segment.left, segment.width = left, float(width)
            left += float(width)

    def at(self, place: QPointF) -> int | None:
        """The system under a point."""
        if self.history:
            return None
        return next((s.system for s in self.segments if s.left <= place.x() < s.left + s.width), None)

    def paint(self, painter: QPainter) -> None:
        """The tick, or the last minutes."""
        if self.history:
            self._paint_history(painter)
        elif self.segments:
            self._paint_tick(painter)

    def _paint_tick(self, painter: QPainter) -> None:
        top, height = 3.0, self.height() - 4.0
        following, seconds = self.store.next_system(), self.seconds()
        next_group = next((s.group for s in self.segments if s.system == following), None)
        for segment in self.segments:
            box = QRectF(segment.left, top, segment.width, height)
            fill = theme.AMBER if segment.group == next_group else self.groups[segment.group].colour
            painter.fillRect(box, theme.colour(fill))
        painter.setPen(theme.pen(theme.BACKGROUND))
        for before, segment in zip(self.segments, self.segments[1:], strict=False):
            if before.group != segment.group:
                painter.drawLine(QPointF(segment.left, top), QPointF(segment.left, top + height))
            elif segment.width > 6 or before.width > 6:
                painter.drawLine(QPointF(segment.left, top + height - 5), QPointF(segment.left, top + height))
        for place, group in enumerate(self.groups):
            dark = place == next_group
            self._paint_name(painter, place, float(seconds[group.systems].sum()), dark, top, height)
        self._paint_marks(painter, following, top, height)

    def _paint_name(self, painter: QPainter, place: int, seconds: float, dark: bool, top: float, height: float) -> None:
        mine = [segment for segment in self.segments if segment.group == place]
        box = QRectF(mine[0].left + 4, top, sum(s.width for s in mine) - 6, height)
        measure, name = painter.fontMetrics(), self.groups[place].name
        if measure.horizontalAdvance(name) > box.width():
            return
        painter.setPen(theme.pen(theme.BACKGROUND if dark else theme.WHITE))
        painter.drawText(QPointF(box.left(), top + measure.ascent()), name)
        text = f"{seconds * 1e3:.1f} ms"
        if self.store.timing and height >= 2 * measure.ascent() + 2 and measure.horizontalAdvance(text) <= box.width():
            painter.drawText(QPointF(box.left(), top + height - 3), text)

    def _paint_marks(self, painter: QPainter, following: int | None, top: float, height: float) -> None:
        breaks = {str(message.get("at", "")) for message in self.store.breaks.values()}
        for segment in self.segments:
            for word, x in (("before", segment.left), ("after", segment.left + segment.width)):
                if breaks and break_place(self.store, word, segment.system) in breaks:
                    fill_polygon(painter, theme.RED, (x - 4, top), (x + 4, top), (x, top + 7))
            if segment.system == self.system:
                painter.setPen(theme.pen(theme.WHITE))
                painter.drawRect(QRectF(segment.left, top, max(2.0, segment.width - 1), height - 1))
            if segment.system == following:
                painter.fillRect(QRectF(segment.left - 1, 0, 2, self.height()), theme.colour(theme.RED))

    def _paint_history(self, painter: QPainter) -> None:
        history = list(self.store.timing.get("history", ()))
        step = max(1, len(history) // 300)
        history = history[::-1][::step][::-1]
        if len(history) < 2 or not self.groups:
            text = "times of the last minutes come while a run is watched"
            write(painter, theme.DIM, QRectF(self.rect()), text, Qt.AlignmentFlag.AlignCenter)
            return
        seconds = np.nan_to_num(np.stack([each for _, each, _ in history]))
        stacked = np.cumsum([seconds[:, group.systems].sum(1) for group in self.groups], 0)
        width, height = self.width() - 1.0, self.height() - 2.0
        highest = max(float(np.percentile(stacked[-1], 99.0)) * 1.1, 1e-6)
        x = np.linspace(0.0, width, len(history))
        below = np.zeros(len(history))
        painter.setPen(theme.pen(theme.BACKGROUND))
        shades = (theme.RAISED, _GAP)
        for place, (group, above) in enumerate(zip(self.groups, stacked, strict=True)):
            y = height - np.minimum(np.concatenate([above, below[::-1]]) / highest, 1.0) * height
            points = [QPointF(a, b) for a, b in zip(np.concatenate([x, x[::-1]]), y, strict=True)]
            fill = shades[place % 2] if group.colour == theme.RAISED else group.colour
            painter.setBrush(theme.brush(fill))
            painter.drawPolygon(QPolygonF(points))
            thick = (above[-1] - below[-1]) / highest * height
            if thick > painter.fontMetrics().height():
                painter.setPen(theme.pen(theme.WHITE))
                middle = height - (above[-1] + below[-1]) / 2 / highest * height
                text = f"{group.name} {(above[-1] - below[-1]) * 1e3:.1f} ms"
                left = width - painter.fontMetrics().horizontalAdvance(text) - 6
                painter.drawText(QPointF(left, middle + painter.fontMetrics().ascent() / 2), text)
                painter.setPen(theme.pen(theme.BACKGROUND))
            below = above

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Mark a system; a second click takes the mark away."""
        found = self.at(event.position())
        self.system = None if found == self.system else found
        self.update()

    def tip_at(self, place: QPointF) -> str:
        """The system there."""
        found = self.at(place)
        return self.describe(found) if found is not None else ""

    def describe(self, number: int) -> str:
        """Name, first doc line, reads and writes, median and p95 of a system."""
        system = self.store.systems[number]
        lines = [f"{system['name']}   {system['phase']} · {system['bundle']}", str(system.get("doc", ""))]
        condition = system.get("when", {}).get("label", "")
        lines.append(f"only when {condition}" if condition else "")
        lines += [f"{how} {', '.join(map(str, system.get(how, ()))) or 'nothing'}" for how in ("reads", "writes")]
        timing = self.store.timing
        if timing and number < len(timing["median"]):
            lines.append(f"median {timing['median'][number] * 1e3:.3f} ms, p95 {timing['p95'][number] * 1e3:.3f} ms")
        return "\n".join(line for line in lines if line)
