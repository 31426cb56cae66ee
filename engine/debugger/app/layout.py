"""Layout of the docks: the default arrangement, and the one that somebody made for a scene."""

from collections.abc import Mapping

from PySide6.QtCore import QByteArray, QSettings, Qt
from PySide6.QtWidgets import QDockWidget, QMainWindow, QTabBar, QTabWidget, QWidget

from engine.debugger.panels.panel_dock import PanelHost

_VERSION = 1  # of saved layouts
STRIPS = ("Tick", "Time")
_SHARES = (0.27, 0.24)  # of the width: World, Plots
_TRACEBACK = 140  # pixels
_WORLD, _WHY, _ROWS = 0.52, 0.27, 0.27  # of the height
_LEAST = {"World": (250, 140), "Why": (220, 90), "Log": (160, 80), "Rows": (260, 150), "Plots": (240, 200)}
"""Sizes below which a panel says nothing."""
LOWER = ("Reward", "Observation", "Action", "Learner")  # panels that share a place as tabs, the first in front


class PanelDock(QDockWidget):
    """A panel that can be moved, floated and closed. Strips have no title to be dragged by."""

    def __init__(self, host: PanelHost, parent: QMainWindow) -> None:
        super().__init__(host.title, parent)
        self.host = host
        self.setObjectName(f"panel {host.title}")
        self.setWidget(host)
        if host.title in STRIPS:
            self.setTitleBarWidget(QWidget())
            self.setFeatures(QDockWidget.DockWidgetFeature.NoDockWidgetFeatures)
            host.changed.connect(self._fit)
            self._fit()
        else:
            host.setMinimumSize(*_LEAST.get(host.title, (200, 120)))

    def _fit(self) -> None:
        """A strip is as high as it says, so that all else is for the others; a traceback takes what it needs."""
        panel = self.host.panel
        self.host.setFixedHeight(_TRACEBACK if panel is None else panel.minimumHeight())

    def hide_title(self, hidden: bool) -> None:
        """A tab says the name already, and can be dragged as well."""
        if self.host.title not in STRIPS and hidden != (self.titleBarWidget() is not None):
            self.setTitleBarWidget(QWidget() if hidden else None)  # type: ignore[arg-type]


def arrange(window: QMainWindow, docks: Mapping[str, PanelDock]) -> None:
    """The default: strips on top; World above Why and Log; Rows and the terms below the body; Plots on the right."""
    areas = Qt.DockWidgetArea
    for corner, area in (
        (Qt.Corner.TopLeftCorner, areas.TopDockWidgetArea),
        (Qt.Corner.TopRightCorner, areas.TopDockWidgetArea),
        (Qt.Corner.BottomLeftCorner, areas.LeftDockWidgetArea),
        (Qt.Corner.BottomRightCorner, areas.RightDockWidgetArea),
    ):
        window.setCorner(corner, area)
    window.setTabPosition(areas.AllDockWidgetAreas, QTabWidget.TabPosition.North)
    for dock in docks.values():
        window.removeDockWidget(dock)
        dock.setFloating(False)
    homes = {"Tick": areas.TopDockWidgetArea, "World": areas.LeftDockWidgetArea, "Plots": areas.RightDockWidgetArea}
    homes["Rows"] = areas.BottomDockWidgetArea
    for title, area in homes.items():
        window.addDockWidget(area, docks[title])
    window.splitDockWidget(docks["Tick"], docks["Time"], Qt.Orientation.Vertical)
    window.splitDockWidget(docks["World"], docks["Why"], Qt.Orientation.Vertical)
    window.splitDockWidget(docks["Rows"], docks[LOWER[0]], Qt.Orientation.Horizontal)
    for title in LOWER[1:]:
        window.tabifyDockWidget(docks[LOWER[0]], docks[title])
    window.tabifyDockWidget(docks["Why"], docks["Log"])
    for dock in docks.values():
        dock.show()
    docks[LOWER[0]].raise_()
    docks["Why"].raise_()
    give_sizes(window, docks)


def give_sizes(window: QMainWindow, docks: Mapping[str, PanelDock]) -> None:
    """The sizes of the default arrangement in a window of the size it has."""
    width, height = window.width(), window.height()
    horizontal, vertical = Qt.Orientation.Horizontal, Qt.Orientation.Vertical
    why, rows = round(_WHY * height), round(_ROWS * height)
    window.resizeDocks([docks["World"], docks["Plots"]], [round(share * width) for share in _SHARES], horizontal)
    window.resizeDocks([docks["Rows"], docks[LOWER[0]]], [rows, rows], vertical)
    middle = round((1.0 - sum(_SHARES)) * width)
    window.resizeDocks([docks["Rows"], docks[LOWER[0]]], [round(0.44 * middle), round(0.56 * middle)], horizontal)
    window.resizeDocks([docks["World"], docks["Why"]], [round(_WORLD * height), why], vertical)


def hide_titles(window: QMainWindow, docks: Mapping[str, PanelDock]) -> None:
    """Titles are for panels that stand alone; the others have tabs, which Qt forgets when a panel comes back from outside."""
    for dock in docks.values():
        dock.hide_title(bool(window.tabifiedDockWidgets(dock)) and not dock.isFloating())
    for bar in window.findChildren(QTabBar, options=Qt.FindChildOption.FindDirectChildrenOnly):
        if bar.count() > 1 and not bar.isVisible():
            bar.show()


def save(window: QMainWindow, settings: QSettings, scene: str) -> None:
    """Keep the arrangement of a scene."""
    settings.setValue(f"{key(scene)}/geometry", window.saveGeometry())
    settings.setValue(f"{key(scene)}/layout", window.saveState(_VERSION))


def restore(window: QMainWindow, settings: QSettings, scene: str) -> bool:
    """Bring back what was kept; False where there is nothing, or it does not fit this window."""
    geometry, state = (settings.value(f"{key(scene)}/{name}") for name in ("geometry", "layout"))
    if not isinstance(geometry, QByteArray) or not isinstance(state, QByteArray):
        return False
    window.restoreGeometry(geometry)
    return window.restoreState(state, _VERSION)


def key(scene: str) -> str:
    """Key of the settings under which the arrangement of a scene is kept."""
    return "layout/" + (scene.replace("/", "_") or "unnamed")
