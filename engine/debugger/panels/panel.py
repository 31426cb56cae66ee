"""Base classes of the panels of the window."""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from engine.debugger.model.history import EvidenceHistory, history_of
from engine.debugger.model.schema import ColumnInfo, Declared
from engine.debugger.model.store import Store
from engine.debugger.model.subscription import PanelControl, Subscription


class Panel(QWidget):
    """One part of the window. A panel that raises is replaced by its traceback; the others go on."""

    title: ClassVar[str] = ""
    rate: ClassVar[float] = 5.0
    needs: ClassVar[tuple[Subscription, ...]] = ()  # while it is visible, whatever the run
    changed = Signal()  # `subscriptions()` says something else than before

    def __init__(self, store: Store, control: PanelControl) -> None:
        super().__init__()
        self.store, self.control = store, control
        self._build()

    def _build(self) -> None:
        """Make the parts of the panel, once."""

    def subscriptions(self) -> list[Subscription]:
        """What the panel needs while it is visible; nothing is sent for it while it is hidden."""
        return list(self.needs)

    def refresh(self) -> None:
        """Redraw from the store; called `rate` times a second while visible, so cheap when nothing changed."""

    def schema_changed(self) -> None:
        """`store.schema` is new: rebuild, and keep what still exists."""


class RolePanel(Panel):
    """Panel on the column that plays `role`: its numbers of the selected row, and statistics of more of them."""

    role: ClassVar[str] = ""
    what: ClassVar[str] = ""  # what the column holds, in words
    also: ClassVar[tuple[str, ...]] = ()  # further roles whose numbers of the selected row are asked for
    every: ClassVar[int] = 10  # refreshes between statistics
    measured: ClassVar[tuple[Callable[[Declared], list[Subscription]], ...]] = ()
    """What brings the data of the statistics."""
    _until_statistics = 0

    def subscriptions(self) -> list[Subscription]:
        """The selected row, and what the statistics are made of."""
        known = history_of(self.store).know(self.store.schema)
        wanted = tuple((known.roles[role].id, None) for role in (self.role, *self.also) if role in known.roles)
        own = [Subscription("values", wanted, "selected", 10.0)] if wanted else []
        return own + [sub for bring in self.measured for sub in bring(known)]

    def schema_changed(self) -> None:
        """Other labels."""
        self._until_statistics = 0
        self.refresh()

    def refresh(self) -> None:
        """Redraw what changed, or say why there is nothing to draw."""
        data = history_of(self.store)
        data.collect(self.store)
        column = data.declared.roles.get(self.role)
        if column is None:
            self._until_statistics = 0
            self.clear(f"the run names no column of {self.what}" if self.store.schema else "waiting for a run")
            return
        if self._until_statistics <= 0:
            self._until_statistics = self.every
            self.measure(data, column)
        self._until_statistics -= 1
        got = self.store.value(column.id, self.store.selected)
        self.draw(data, column, None if got is None else np.asarray(got[1], np.float64).ravel())

    def clear(self, why: str) -> None:
        """Draw nothing, and say why."""

    def measure(self, data: EvidenceHistory, column: ColumnInfo) -> None:
        """Take statistics of what came of the column."""

    def draw(self, data: EvidenceHistory, column: ColumnInfo, row: np.ndarray | None) -> None:
        """Draw the column: its numbers of the selected row, flat, or None where none came; and the statistics."""

    def chart(self, label: int) -> None:
        """Add a chart of one number of the column to Plots."""
        column = history_of(self.store).declared.roles.get(self.role)
        if column is not None:
            self.control.plot(column.id, label)
