"""Log panel: events, answers to commands, interventions."""

from datetime import datetime
from typing import ClassVar

from PySide6.QtGui import QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QPlainTextEdit

from engine.debugger.panels.panel import Panel
from engine.debugger.widgets import theme
from engine.debugger.widgets.parts import stack

_LINES = 2000


class LogPanel(Panel):
    """Lines, newest last; scrolled along as long as the last one is in view."""

    title: ClassVar[str] = "Log"

    def _build(self) -> None:
        self.text = QPlainTextEdit(readOnly=True, maximumBlockCount=_LINES)  # long lines are wrapped
        stack(self, self.text, margins=(2, 2, 2, 2))
        self._read = self.store.noted - len(self.store.notes)
        self._follow = True  # until somebody scrolls back; a panel that changes its size does not count
        bar = self.text.verticalScrollBar()
        bar.actionTriggered.connect(lambda _: self._scrolled())
        bar.rangeChanged.connect(lambda *_: self._keep_up())

    def _scrolled(self) -> None:
        bar = self.text.verticalScrollBar()
        self._follow = bar.sliderPosition() >= bar.maximum() - 2

    def _keep_up(self) -> None:
        bar = self.text.verticalScrollBar()
        if self._follow:
            bar.setValue(bar.maximum())

    def refresh(self) -> None:
        """Write what has been noted since."""
        fresh = self.store.noted - self._read
        if not fresh:
            return
        self._read = self.store.noted
        cursor = QTextCursor(self.text.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        for when, kind, tick, text in list(self.store.notes)[-fresh:]:
            look = QTextCharFormat()
            look.setForeground(theme.brush(theme.DIM if kind == "reset" else theme.EVENTS.get(kind, theme.TEXT)))
            clock = datetime.fromtimestamp(when).strftime("%H:%M:%S")
            place = "" if tick is None else f"tick {tick}  "
            line = text if text.startswith(f"{kind}:") else f"{kind}: {text}"
            cursor.insertText(("" if self.text.document().isEmpty() else "\n") + f"{clock}  {place}{line}", look)
        self._keep_up()
