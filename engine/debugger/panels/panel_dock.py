"""Panel host: keeps a panel in its dock, and shows a traceback in its place when it raises."""

import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any

from PySide6.QtCore import QMimeData, Qt, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QLabel, QPlainTextEdit, QPushButton, QStackedLayout, QWidget

from engine.debugger.model.store import Store
from engine.debugger.model.subscription import PanelControl, Subscription
from engine.debugger.panels.panel import Panel
from engine.debugger.widgets import theme
from engine.debugger.widgets.parts import stack

COLUMN_MIME = "application/x-lockstep-column"
"""What is dragged out of World: column id and flat label, or -1 for the whole column, as text."""


def dragged(column_id: int, label: int | None) -> QMimeData:
    """A number of the World on its way to a chart."""
    data = QMimeData()
    data.setData(COLUMN_MIME, f"{column_id} {-1 if label is None else label}".encode())
    return data


def dropped(data: QMimeData) -> tuple[int, int | None]:
    """The column and label that were dragged."""
    column, label = bytes(data.data(COLUMN_MIME).data()).decode().split()
    return int(column), None if int(label) < 0 else int(label)


class PanelHost(QWidget):
    """One panel, or the traceback of what it raised with a button that makes it anew."""

    changed = Signal()
    taken = Signal(int, object)  # a number was dropped here: column id, and flat label or None

    def __init__(
        self, panel_class: type[Panel], store: Store, control: PanelControl, takes_columns: bool = False
    ) -> None:
        super().__init__()
        self.panel_class, self.store, self.control = panel_class, store, control
        self.shown = False
        self.panel: Panel | None = None
        self._layout = QStackedLayout(self)
        self._failure = _Failure(self.reload)
        self._layout.addWidget(self._failure)
        self.setAcceptDrops(takes_columns)
        self.reload()

    @property
    def title(self) -> str:
        """The panel's name."""
        return self.panel_class.title

    @property
    def failed(self) -> str:
        """The traceback that is shown; '' while the panel is."""
        return self._failure.text.toPlainText() if self.panel is None else ""

    def reload(self) -> None:
        """Make the panel anew."""
        self._discard()
        try:
            panel = self.panel_class(self.store, self.control)
            if self.store.schema is not None:
                panel.schema_changed()
        except Exception as error:
            self.fail(error)
            return
        self.panel = panel
        panel.changed.connect(self.changed)
        self._layout.addWidget(panel)
        self._layout.setCurrentWidget(panel)
        self.changed.emit()

    def _discard(self) -> None:
        if self.panel is not None:
            self._layout.removeWidget(self.panel)
            self.panel.hide()
            self.panel.deleteLater()
            self.panel = None

    def fail(self, error: BaseException) -> None:
        """Show an error in place of the panel."""
        self._discard()
        lines = "".join(traceback.format_exception(error)).strip()
        self._failure.text.setPlainText(lines)
        theme.set_text(self._failure.title, f"{self.title} stopped: {type(error).__name__}")
        self._layout.setCurrentWidget(self._failure)
        self.changed.emit()

    def subscriptions(self) -> list[Subscription]:
        """What the panel needs; nothing while it is hidden or failed."""
        return list(self.call("subscriptions") or ()) if self.shown else []

    def refresh(self) -> None:
        """Redraw the panel if it can be seen."""
        if self.shown:
            self.call("refresh")

    def schema_changed(self) -> None:
        """Tell the panel, hidden or not."""
        self.call("schema_changed")

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the panel; None where it has none of this name, or raised."""
        bound: Callable[..., Any] | None = getattr(self.panel, method, None)
        try:
            return None if bound is None else bound(*arguments)
        except Exception as error:
            self.fail(error)
            return None

    def blamed(self, trace: TracebackType | None) -> bool:
        """Whether something was raised inside of this panel, as its paint and mouse events do."""
        while trace is not None:
            owner = trace.tb_frame.f_locals.get("self")
            if self.panel is not None and (
                owner is self.panel or (isinstance(owner, QWidget) and self.panel.isAncestorOf(owner))
            ):
                return True
            trace = trace.tb_next
        return False

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802 - Qt's name
        """Take numbers of World."""
        if event.mimeData().hasFormat(COLUMN_MIME):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802 - Qt's name
        """Tell which number it was."""
        self.taken.emit(*dropped(event.mimeData()))
        event.acceptProposedAction()


class _Failure(QWidget):
    """A traceback and a way out."""

    def __init__(self, reload: Callable[[], None]) -> None:
        super().__init__()
        self.title = QLabel()
        theme.set_colour(self.title, theme.RED)
        self.text = QPlainTextEdit(readOnly=True, lineWrapMode=QPlainTextEdit.LineWrapMode.NoWrap)
        button = QPushButton("Reload")
        button.clicked.connect(lambda: reload())
        layout = stack(self, self.title, self.text, margins=(4, 4, 4, 4))
        layout.addWidget(button, alignment=Qt.AlignmentFlag.AlignLeft)
