"""Toolbar: what the run is doing, the buttons to change that, which row is looked at, and what looking costs."""

from typing import Any

from PySide6.QtCore import QSignalBlocker, QSize, Qt, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QLabel, QSizePolicy, QSpinBox, QToolBar, QToolButton, QWidget

from engine.debugger.model.store import Store
from engine.debugger.widgets import theme

_PILL = "background: {fill}; color: {ink}; border-radius: 3px; padding: 5px 10px; font-weight: bold;"


def describe_mode(store: Store) -> tuple[str, str]:
    """The state in few words, and its colour: 'RUNNING', 'PAUSED before reward', 'VIEWING −35', 'ENDED', 'NOT CONNECTED'."""
    state = store.state
    mode = state.get("mode")
    if mode == "ended":
        return "ENDED", theme.DIM
    if store.connection:
        return "NOT CONNECTED", theme.RED
    if store.cursor is not None:
        _, newest = state.get("history") or (0, state.get("tick", 0))
        return f"VIEWING −{max(0, int(newest) - store.cursor)}", theme.AMBER
    if mode == "paused":
        following = store.next_system()
        before = "" if following is None else f" before {store.systems[following]['name']}"
        why = str(state.get("why", ""))
        wrong = why.startswith("break") or "nonfinite" in why  # amber where somebody has stopped the run
        return f"PAUSED{before}", theme.RED if wrong else theme.AMBER
    if mode == "viewing":
        return "VIEWING", theme.AMBER
    return ("RUNNING", theme.GREEN) if mode == "running" else ("WAITING", theme.DIM)


class Toolbar(QToolBar):
    """Everything here is also a menu entry."""

    row_chosen = Signal(int)

    def __init__(self, store: Store, actions: dict[str, QAction], parent: QWidget) -> None:
        super().__init__("Toolbar", parent, movable=False, iconSize=QSize(16, 16))
        self.setObjectName("toolbar")
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.store, self.record_action = store, actions["record"]
        self.pill = QLabel(alignment=Qt.AlignmentFlag.AlignCenter)
        self.addWidget(self.pill)
        for name, text in (
            ("run", "Run F5"),
            ("pause", "Pause F6"),
            ("step_system", "System F10"),
            ("step_tick", "Tick F11"),
            ("break", "Break F9"),
            ("record", "Record"),
        ):
            actions[name].setIconText(text)
            self.addAction(actions[name])
        self.row = QSpinBox(maximum=0)
        self.row.setKeyboardTracking(False)
        self.row.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.row.setFixedWidth(72)
        self.row.valueChanged.connect(self.row_chosen)
        self.addWidget(QLabel("  row "))
        self.addWidget(self.row)
        for name in ("worst", "next_failure"):
            actions[name].setIconText(actions[name].text().lower())
            self.addAction(actions[name])
        spacer = QWidget()
        spacer.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.addWidget(spacer)
        self.cost = QLabel()
        self.cost.setContentsMargins(4, 0, 6, 0)
        theme.set_colour(self.cost, theme.DIM)
        self.addWidget(self.cost)
        for button in self.findChildren(QToolButton):
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)

    def refresh(self, role: str, latency: float, recording: bool) -> None:
        """Bring texts up to date."""
        words, fill = describe_mode(self.store)
        theme.set_text(self.pill, words)
        style = _PILL.format(fill=fill, ink=theme.BACKGROUND)
        if self.pill.styleSheet() != style:
            self.pill.setStyleSheet(style)
        self._refresh_row()
        theme.set_text(self.cost, describe_cost(self.store.state, role))
        self.cost.setToolTip(f"round trip {latency * 1e3:.1f} ms · {self.store.bad} frames made no sense")
        if self.record_action.isChecked() != recording:
            self.record_action.setChecked(recording)

    def _refresh_row(self) -> None:
        rows = self.store.table_rows()
        if self.row.maximum() == max(0, rows - 1) and self.row.value() == self.store.selected:
            return
        with QSignalBlocker(self.row):
            self.row.setMaximum(max(0, rows - 1))
            if self.row.value() != self.store.selected:
                self.row.setValue(self.store.selected)


def describe_cost(state: dict[str, Any], role: str) -> str:
    """'control · 54.9 tick/s · cost 0.3 % · dropped 0'."""
    parts = [role]
    if "ticks_per_second" in state:
        parts.append(f"{float(state['ticks_per_second']):.1f} tick/s")
    if "cost" in state:
        parts.append(f"cost {100.0 * float(state['cost']):.1f} %")
    if "dropped" in state:
        parts.append(f"dropped {int(state['dropped'])}")
    if state.get("intervened"):
        parts.insert(1, f"intervened {int(state['intervened'])}")
    return " · ".join(parts)
