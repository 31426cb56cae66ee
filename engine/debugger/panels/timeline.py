"""Time panel: what the run still remembers, with what happened in it; dragging looks at an earlier tick."""

import time
from typing import Any, ClassVar

from PySide6.QtCore import QPointF, QRectF, Qt, QTimer
from PySide6.QtGui import QMouseEvent, QPainter

from engine.debugger.model.store import Store
from engine.debugger.panels.panel import Panel
from engine.debugger.widgets import theme
from engine.debugger.widgets.parts import Canvas, ElidedLabel, fill_polygon, stack

_BETWEEN = 0.1  # seconds between two seeks while dragging
_SETTLED = 0.6  # seconds in which the run's word about what is viewed is older than ours
_PATIENCE = 30.0  # seconds after which a seek that was not answered is forgotten
MARKS = ("nonfinite", "exception", "break", "edit", "record", "reset")
"""Kinds of events that are marked, the most important first."""


class TimelinePanel(Panel):
    """The strip and a line that says what is shown."""

    title: ClassVar[str] = "Time"
    rate: ClassVar[float] = 10.0

    def _build(self) -> None:
        self.bar = TimelineBar(self.store, self.seek, self.go_live)
        self.text = ElidedLabel("live")
        stack(self, (self.bar, 1), self.text, margins=(8, 0, 8, 2), spacing=0)
        self.setFixedHeight(self.bar.minimumHeight() + self.text.sizeHint().height() + 4)
        self._wanted: int | None = None
        self.sought = -1e9  # when something was last asked for, by time.monotonic
        self._unanswered = False
        self._later = QTimer(self, singleShot=True)
        self._later.timeout.connect(self._send)
        self._seen: tuple[Any, ...] = ()

    def refresh(self) -> None:
        """The text, and the bar where something moved."""
        theme.set_text(self.text, *self.say())
        state = self.store.state
        seen = (self.bar.span(), self.store.cursor, self.store.seen["event"], state.get("mode"), self.store.selected)
        if seen != self._seen:
            self._seen = seen
            self.bar.update()

    def say(self) -> tuple[str, str]:
        """What is shown, in words, and the colour of them."""
        state, span, cursor = self.store.state, self.bar.span(), self.store.cursor
        mode = state.get("mode", "")
        last = {"paused": "paused", "ended": "run ended"}.get(mode, "live")
        if span is None:
            inside = mode == "paused" and state.get("next") is not None
            return f"{last} · {'in a tick: step to its end to look back' if inside else 'no history'}", theme.DIM
        oldest, newest = span
        if cursor is None:
            return f"{last} · history of {newest - oldest} ticks · drag to look back", theme.DIM
        exact = "exact" if state.get("exact", True) else "replayed, not bit-exact"
        if state.get("view") != cursor:
            exact = "what was received" if mode == "ended" else "what was received, the run is asked"
        stands = {"paused": " — engine paused", "ended": " — run ended"}.get(mode, "")
        shown = f"{cursor:,}".replace(",", " ")
        return f"viewing tick {shown} (−{newest - cursor} of {newest - oldest}, {exact}){stands}", theme.AMBER

    def seek(self, tick: int) -> None:
        """Look at a tick: at once with what the window has, and as soon as may be with what the run sends."""
        span = self.bar.span()
        if span is None:
            return
        self._wanted = self.store.cursor = max(span[0], min(span[1], tick))
        since = time.monotonic() - self.sought
        left = _BETWEEN - since
        if self._unanswered and since < _PATIENCE:
            pass  # a run may take seconds to get there; it gets the latest wish as soon as it has answered
        elif left <= 0.0:
            self._send()
        elif not self._later.isActive():
            self._later.start(int(left * 1e3) + 1)
        self.refresh()

    def scrub(self, ticks: int) -> None:
        """Some ticks further; beyond the newest is live."""
        span = self.bar.span()
        if span is None:
            return
        target = (span[1] if self.store.cursor is None else self.store.cursor) + ticks
        if target > span[1] or (ticks > 0 and self.store.cursor is None):
            self.go_live()
        else:
            self.seek(target)

    def go_live(self) -> None:
        """Back to the latest tick."""
        self._later.stop()
        self._wanted = None
        self.sought = time.monotonic()
        if self.store.cursor is not None or self.store.state.get("view") is not None:
            self.control.send({"t": "live"})
        self.store.cursor = None
        self.refresh()

    def _send(self) -> None:
        if self._wanted is not None:
            self.sought = time.monotonic()
            wanted, self._wanted, self._unanswered = self._wanted, None, True
            self.control.send({"t": "seek", "tick": wanted}, self._answered)

    def _answered(self, answer: dict[str, Any]) -> None:
        self._unanswered = False
        self._send()

    @property
    def seeking(self) -> bool:
        """Whether what the run says about the tick in view is older than what was asked of it."""
        since = time.monotonic() - self.sought
        return since < _SETTLED or (self._unanswered and since < _PATIENCE)


class TimelineBar(Canvas):
    """The painted part."""

    def __init__(self, store: Store, seek: Any, go_live: Any) -> None:
        super().__init__()
        self.store, self._seek, self._go_live = store, seek, go_live
        self.setMinimumHeight(28)
        self.setCursor(Qt.CursorShape.PointingHandCursor)

    def span(self) -> tuple[int, int] | None:
        """Oldest and newest tick that can be looked at."""
        oldest, newest = self.store.state.get("history") or (0, 0)
        return (oldest, newest) if oldest < newest else None

    def x_of(self, tick: float) -> float:
        """Where a tick lies."""
        span = self.span()
        if span is None:
            return 0.0
        return 1.0 + (self.width() - 8.0) * (tick - span[0]) / (span[1] - span[0])

    def tick_at(self, x: float) -> int:
        """Which tick lies there."""
        oldest, newest = self.span() or (0, 0)
        return round(oldest + (x - 1.0) / max(1.0, self.width() - 8.0) * (newest - oldest))

    def marks(self) -> list[tuple[int, str, str, str]]:
        """(tick, kind, colour, words) of what is marked, the most important first."""
        span = self.span()
        if span is None:
            return []
        found = []
        for event in self.store.happened():
            kind, row, tick = event["kind"], event["row"], event["tick"]
            if kind == "reset" and row is not None:
                tick = event["ends"].get(self.store.selected, -1)
            if kind not in MARKS or not span[0] <= tick <= span[1]:
                continue
            words = {"nonfinite": "NaN", "edit": str(event["fields"].get("what", "edit"))}
            word = "" if kind == "reset" and row is None else words.get(kind, kind)
            found.append((tick, kind, theme.EVENTS.get(kind, theme.DIM), word))
        return sorted(found, key=lambda mark: MARKS.index(mark[1]))

    def paint(self, painter: QPainter) -> None:
        """The bar up to what is shown, and the marks."""
        bottom = self.height() - 3.0
        painter.fillRect(QRectF(1, bottom - 4, self.width() - 8, 5), theme.colour(theme.RAISED))
        span = self.span()
        if span is not None:
            cursor = self.store.cursor
            until = self.x_of(span[1] if cursor is None else cursor)
            painter.fillRect(QRectF(1, bottom - 4, until - 1, 5), theme.colour(theme.FILL))
            taken = [self._paint_mark(painter, span[1], theme.WHITE, "now", bottom, [])]
            if cursor is not None:
                painter.fillRect(QRectF(until - 1, bottom - 14, 2, 16), theme.colour(theme.RED))
            drawn: set[tuple[int, str]] = set()
            for tick, _, colour, word in self.marks():
                place = int(self.x_of(tick))
                if (place, colour) not in drawn and len(drawn) < 400:
                    drawn.add((place, colour))
                    taken.append(self._paint_mark(painter, tick, colour, word, bottom, taken))

    def _paint_mark(
        self, painter: QPainter, tick: int, colour: str, word: str, bottom: float, taken: list[tuple[float, float]]
    ) -> tuple[float, float]:
        """A triangle, and above it the word where there is room; what of the line it takes."""
        x = self.x_of(tick)
        if not word:
            painter.fillRect(QRectF(x, bottom - 2, 1, 3), theme.colour(colour))
            return x, x
        fill_polygon(painter, colour, (x - 4, bottom - 6), (x + 4, bottom - 6), (x, bottom))
        width = painter.fontMetrics().horizontalAdvance(word)
        left = min(max(0.0, x - width / 2), self.width() - width - 1.0)
        if any(left < end + 6 and start < left + width + 6 for start, end in taken if end > start):
            return x, x
        painter.setPen(theme.pen(colour))
        painter.drawText(QPointF(left, bottom - 9), word)
        return left, left + width

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Look at the tick under the mouse; the right end is live."""
        span = self.span()
        if span is None or not event.buttons() & Qt.MouseButton.LeftButton:
            return
        if event.position().x() >= self.width() - 7:
            self._go_live()
        else:
            self._seek(self.tick_at(event.position().x()))

    mousePressEvent = mouseMoveEvent  # noqa: N815 - Qt's name
