"""Where panels lie: the default arrangement, and the one that somebody made for a scene."""

from collections.abc import Mapping

from PySide6.QtCore import QByteArray, QSettings, Qt
from PySide6.QtWidgets import QDockWidget, QMainWindow, QTabWidget, QWidget

from engine.debugger.host import PanelHost

_VERSION = 1  # of saved layouts
STRIPS = ("Tick", "Time")
_SHARES = (0.27, 0.24)  # of the width: World, Plots
_HEIGHTS = {"Tick": 76, "Time": 44, "Why": 0.17, "Rows": 0.27}  # pixels, or shares of the height
LOWER = ("Reward", "Observation", "Action", "Learner")
"""Panels that share a place as tabs, the first in front."""


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
    tall = {name: round(size * height) if isinstance(size, float) else size for name, size in _HEIGHTS.items()}
    window.resizeDocks([docks["World"], docks["Plots"]], [round(share * width) for share in _SHARES], horizontal)
    window.resizeDocks([docks["Tick"], docks["Time"]], [tall["Tick"], tall["Time"]], vertical)
    window.resizeDocks([docks["Rows"], docks[LOWER[0]]], [tall["Rows"]] * 2, vertical)
    middle = round((1.0 - sum(_SHARES)) * width)
    window.resizeDocks([docks["Rows"], docks[LOWER[0]]], [round(0.44 * middle), round(0.56 * middle)], horizontal)
    used = tall["Tick"] + tall["Time"] + 90
    window.resizeDocks([docks["World"], docks["Why"]], [height - used - tall["Why"], tall["Why"]], vertical)


def save(window: QMainWindow, settings: QSettings, scene: str) -> None:
    """Keep the arrangement of a scene."""
    settings.setValue(f"{_key(scene)}/geometry", window.saveGeometry())
    settings.setValue(f"{_key(scene)}/layout", window.saveState(_VERSION))


def restore(window: QMainWindow, settings: QSettings, scene: str) -> bool:
    """Bring back what was kept; False where there is nothing, or it does not fit this window."""
    geometry, state = (settings.value(f"{_key(scene)}/{name}") for name in ("geometry", "layout"))
    if not isinstance(geometry, QByteArray) or not isinstance(state, QByteArray):
        return False
    window.restoreGeometry(geometry)
    return window.restoreState(state, _VERSION)


def forget(settings: QSettings, scene: str) -> None:
    """Drop what was kept."""
    settings.remove(_key(scene))


def _key(scene: str) -> str:
    return "layout/" + (scene.replace("/", "_") or "unnamed")
