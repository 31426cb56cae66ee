"""Theme: Fusion, dark, dense, one font. Red is wrong, amber asks for attention or is not live, blue is
reference and links, white is the selected row, green is good; colour is never the only sign."""

from functools import cache
from typing import Any

import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QFont, QIcon, QPainter, QPalette, QPen, QPixmap, QPolygonF
from PySide6.QtWidgets import QApplication, QLabel, QWidget

BACKGROUND = "#0e0f12"
PANEL = "#16181d"
RAISED = "#22262e"
LINE = "#3a3f4a"
TEXT = "#d7dae0"
DIM = "#8a919e"
WHITE = "#f4f6fa"
RED = "#ff5c5c"
AMBER = "#f0b429"
BLUE = "#5aa9f8"
FILL = "#2d6cb5"
GREEN = "#58c26f"
VIOLET = "#8265d0"
SELECTION = "#1d4f80"
PHASES = {"ACT": VIOLET, "TORQUE": FILL, "STEP": FILL, "LEARN": "#4a5a86"}
"""Colours of phases that are worth recognising; the others are grey."""
_ALARMS, _CALLS = ("nonfinite", "exception", "error"), ("warning", "break", "control")
EVENTS = {**dict.fromkeys(_ALARMS, RED), **dict.fromkeys(_CALLS, AMBER), "edit": BLUE}
"""Colours of kinds of events that are worth a look."""
FAMILY, POINTS = "DejaVu Sans", 9

_STYLE = f"""
QToolTip {{ color: {TEXT}; background: {RAISED}; border: 1px solid {LINE}; }}
QMainWindow::separator {{ background: {BACKGROUND}; width: 5px; height: 5px; }}
QDockWidget {{ color: {TEXT}; }}
QDockWidget::title {{ background: {PANEL}; padding: 3px 4px; }}
QToolBar {{ background: {PANEL}; border: none; spacing: 4px; }}
QStatusBar {{ background: {PANEL}; }}
QStatusBar::item {{ border: none; }}
QTreeView, QTableView, QPlainTextEdit {{ background: {BACKGROUND}; border: none; }}
QHeaderView::section {{ background: {RAISED}; color: {TEXT}; border: none; border-right: 1px solid {LINE}; padding: 1px 3px; }}
QLineEdit {{ background: {BACKGROUND}; border: 1px solid {LINE}; border-radius: 2px; padding: 1px 3px; }}
QLineEdit:focus {{ border: 1px solid {BLUE}; }}
QTabBar::tab {{ background: {PANEL}; color: {DIM}; padding: 3px 8px; border: none; border-top: 2px solid transparent; }}
QTabBar::tab:selected {{ background: {RAISED}; color: {TEXT}; border-top: 2px solid {BLUE}; }}
QTabBar::tab:hover {{ color: {TEXT}; }}
"""


def apply(app: QApplication) -> None:
    """Style, palette and font of the application, and the defaults of plots: no antialiasing, no OpenGL."""
    if app.styleSheet() == _STYLE:  # to apply it again would style every widget anew
        return
    app.setStyle("Fusion")
    app.setFont(QFont(FAMILY, POINTS))
    palette = QPalette()
    role = QPalette.ColorRole
    for colour, roles in {
        BACKGROUND: (role.Base, role.Dark),
        PANEL: (role.Window, role.AlternateBase),
        RAISED: (role.Button, role.ToolTipBase),
        LINE: (role.Mid, role.Light),
        TEXT: (role.WindowText, role.Text, role.ButtonText, role.ToolTipText),
        DIM: (role.PlaceholderText,),
        RED: (role.BrightText,),
        BLUE: (role.Link,),
        SELECTION: (role.Highlight,),
        WHITE: (role.HighlightedText,),
    }.items():
        for which in roles:
            palette.setColor(which, QColor(colour))
    for which in (role.Text, role.WindowText, role.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, which, QColor(LINE).lighter(130))
    app.setPalette(palette)
    app.setStyleSheet(_STYLE)
    pg.setConfigOptions(antialias=False, useOpenGL=False, background=BACKGROUND, foreground=DIM)


@cache
def colour(name: str, alpha: int = 255) -> QColor:
    """A colour by its text, with an opacity of 0 to 255."""
    made = QColor(name)
    made.setAlpha(alpha)
    return made


@cache
def pen(name: str, dashed: bool = False) -> QPen:
    """A line one pixel wide: wider ones are four times slower to draw."""
    made = QPen(colour(name))
    made.setWidth(1)
    made.setCosmetic(True)
    if dashed:
        made.setStyle(Qt.PenStyle.DashLine)
    return made


@cache
def brush(name: str, alpha: int = 255) -> QBrush:
    """A plain fill."""
    return QBrush(colour(name, alpha))


def set_text(label: QLabel, text: str, name: str = "") -> None:
    """Change a label, and its colour if one is named, only where that changes something: laying text out is what costs."""
    if label.text() != text:
        label.setText(text)
    if name:
        set_colour(label, name)


def set_colour(widget: QWidget, name: str) -> None:
    """Change the colour of a widget's text only where that changes something."""
    role = widget.foregroundRole()
    if widget.palette().color(role) != colour(name):
        palette = widget.palette()
        palette.setColor(role, colour(name))
        widget.setPalette(palette)


_SHAPES: dict[str, list[list[tuple[float, float]]]] = {
    "run": [[(4, 2), (13, 8), (4, 14)]],
    "pause": [[(3, 2), (7, 2), (7, 14), (3, 14)], [(9, 2), (13, 2), (13, 14), (9, 14)]],
    "step_system": [[(1, 3), (7, 8), (1, 13)], [(7, 3), (13, 8), (7, 13)]],
    "step_tick": [[(2, 3), (9, 8), (2, 13)], [(10, 3), (13, 3), (13, 13), (10, 13)]],
    "break": [[(8, 2), (15, 14), (1, 14)]],
    "cross": [
        [(4.5, 5.5), (5.5, 4.5), (11.5, 10.5), (10.5, 11.5)],
        [(4.5, 10.5), (10.5, 4.5), (11.5, 5.5), (5.5, 11.5)],
    ],
    "live": [[(2, 3), (8, 8), (2, 13)], [(8, 3), (14, 8), (8, 13)]],
}


@cache
def icon(name: str, tint: str = TEXT) -> QIcon:
    """A drawn icon: run, pause, step_system, step_tick, break, cross, live or record (a disc)."""
    made = QIcon()
    for mode, shade in ((QIcon.Mode.Normal, tint), (QIcon.Mode.Disabled, LINE)):
        pixmap = QPixmap(16, 16)
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(shade))
        if name == "record":
            painter.drawEllipse(QRectF(3, 3, 10, 10))
        for polygon in _SHAPES.get(name, []):
            painter.drawPolygon(QPolygonF([QPointF(x, y) for x, y in polygon]))
        painter.end()
        made.addPixmap(pixmap, mode)
    return made


def plain_plot(plot: Any) -> Any:
    """Take away what a person could press or drag in a pyqtgraph plot made without a menu; its item, with ranges set by hand."""
    item = plot.getPlotItem()
    item.hideButtons()
    item.setMouseEnabled(False, False)
    item.disableAutoRange()
    item.getAxis("bottom").enableAutoSIPrefix(False)
    plot.setFrameShape(plot.Shape.NoFrame)
    return item
