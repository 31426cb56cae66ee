"""What every panel of the window is, and what it may ask of the window."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal, Protocol

import attrs
from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from engine.debugger.model.store import Store


@attrs.frozen
class Sub:
    """One subscription as the wire knows it.

    `columns` names (column id, flat labels in one row, or None for all); `rows` are row numbers, or "selected";
    `hz` is how often at most. Kinds without columns (timing, learner) leave `columns` empty.
    """

    kind: str
    columns: tuple[tuple[int, tuple[int, ...] | None], ...] = ()
    rows: tuple[int, ...] | Literal["selected"] = "selected"
    hz: float = 10.0


class Control(Protocol):
    """What a panel may do besides drawing."""

    def send(self, message: dict[str, Any], then: Callable[[dict[str, Any]], None] | None = None) -> None:
        """Send a command without its id; `then` gets the answer (`ok` or `error`) on the Qt thread."""

    def select(self, row: int) -> None:
        """Make another row the selected one, everywhere."""

    def show(self, panel_title: str) -> None:
        """Bring a panel to the front."""

    def plot(self, column_id: int, label: int) -> None:
        """Add a chart of one number to Plots."""


class Panel(QWidget):
    """One part of the window. A panel that raises is replaced by its traceback; the others go on."""

    title: ClassVar[str] = ""
    rate: ClassVar[float] = 5.0
    changed = Signal()
    """`subscriptions()` says something else than before."""

    def __init__(self, store: Store, control: Control) -> None:
        super().__init__()
        self.store = store
        self.control = control

    def subscriptions(self) -> list[Sub]:
        """What the panel needs while it is visible; nothing is sent for it while it is hidden."""
        return []

    def refresh(self) -> None:
        """Redraw from the store; called `rate` times a second while visible, so cheap when nothing changed."""

    def schema_changed(self) -> None:
        """`store.schema` is new: rebuild, and keep what still exists."""
