"""Tick panel: the systems of a tick to scale, and where the number that is marked in World comes from."""

from typing import Any, ClassVar

from PySide6.QtCore import Signal

from engine.debugger.model.subscription import Subscription
from engine.debugger.panels.panel import Panel
from engine.debugger.panels.tick_bar import TickBar
from engine.debugger.widgets import theme
from engine.debugger.widgets.bars import stack
from engine.debugger.widgets.elided_label import ElidedLabel


class TickPanel(Panel):
    """Header, strip and provenance. `system` is the one that was clicked, or None."""

    title: ClassVar[str] = "Tick"
    rate: ClassVar[float] = 10.0
    marked = Signal(object)
    """Another system was clicked: its id, or None."""

    def _build(self) -> None:
        self.header, self.origin = ElidedLabel("no tick yet"), ElidedLabel()
        theme.set_colour(self.origin, theme.DIM)
        self.strip = TickBar(self.store)
        self.strip.marked.connect(self.marked)
        stack(self, self.header, (self.strip, 1), self.origin, margins=(8, 2, 8, 2))
        self.setFixedHeight(self._height())
        self._provenance: dict[str, Any] = {}
        self._asked: tuple[Any, ...] = ()
        self._seen: tuple[Any, ...] = ()

    @property
    def system(self) -> int | None:
        """The system that was clicked."""
        return self.strip.system

    def subscriptions(self) -> list[Subscription]:
        """Durations of all systems."""
        return [Subscription("timing", (), "selected", 4.0)]  # more often nobody can read

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
        following = self.strip.next_system()
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
        origin = self._provenance
        if origin.get("writer"):
            when = f" (tick {int(origin.get('tick', 0)):,})".replace(",", " ")
            kind = "" if origin.get("kind") == "observed" else ", declared"
            written = f"written by {origin['writer']}{when}{kind}"
            readers = [str(each) for each in origin.get("readers", [])]
        else:
            written = f"written by {', '.join(info.writers)} (declared)" if info.writers else "written by nobody"
            readers = list(info.readers)
        read = f"read by {', '.join(readers)}" if readers else "read by nobody"
        return f"{name}   {written}   {read}"
