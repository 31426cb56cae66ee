"""Base class of the panels of the window."""

from typing import ClassVar

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from engine.debugger.model.store import Store
from engine.debugger.model.subscription import PanelControl, Subscription


class Panel(QWidget):
    """One part of the window. A panel that raises is replaced by its traceback; the others go on."""

    title: ClassVar[str] = ""
    rate: ClassVar[float] = 5.0
    changed = Signal()
    """`subscriptions()` says something else than before."""

    def __init__(self, store: Store, control: PanelControl) -> None:
        super().__init__()
        self.store = store
        self.control = control

    def subscriptions(self) -> list[Subscription]:
        """What the panel needs while it is visible; nothing is sent for it while it is hidden."""
        return []

    def refresh(self) -> None:
        """Redraw from the store; called `rate` times a second while visible, so cheap when nothing changed."""

    def schema_changed(self) -> None:
        """`store.schema` is new: rebuild, and keep what still exists."""
