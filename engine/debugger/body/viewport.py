"""Viewport: the picture of the Body panel, whose camera the mouse moves."""

from collections.abc import Callable

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QImage, QMouseEvent, QPainter, QWheelEvent
from PySide6.QtWidgets import QSizePolicy

from engine.debugger.body.painter import BodyPose, draw, draw_text
from engine.debugger.body.skeleton import Skeleton
from engine.debugger.body.terrain import onto_ground
from engine.debugger.widgets.parts import Canvas
from engine.debugger.widgets.theme import AMBER, DIM
from engine.render.camera import OrbitCamera

LEGEND = "white robot · blue reference · green contact force · red beyond the limit"


class Viewport(Canvas):
    """The picture itself, and the camera that the mouse moves."""

    def __init__(self) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(160, 120)
        self.figure: Skeleton | None = None
        self.shot: BodyPose | None = None
        self.mesh: QImage | None = None
        self.lines: list[list[tuple[str, str]]] = []
        self.note = ""
        self.follow = True
        self.moved: Callable[[], None] = lambda: None
        self._center, self._pan = np.array((0.0, 0.0, 0.8)), np.zeros(3)
        self._angles, self._distance, self._height = (145.0, -12.0), 3.5, 0.0
        self._grip: QPointF | None = None
        self._layer = QImage()

    def camera(self) -> OrbitCamera:
        """The camera of the next picture."""
        return OrbitCamera(self._center + self._pan, self._distance, *self._angles, (self.width(), self.height()))

    def look(self, azimuth: float, elevation: float) -> None:
        """Turn the camera; degrees in world axes."""
        self._angles = (azimuth, float(np.clip(elevation, -89.0, 89.0)))
        self._moved()

    def frame_figure(self) -> None:
        """Stand where the whole figure is seen, and follow it again."""
        self._pan = np.zeros(3)
        self._height = 0.0
        self.follow = True
        self.track()
        self._moved()

    def track(self) -> None:
        """Let what is looked at go after the root, smoothly; at once where it jumps."""
        if self.shot is None or not np.isfinite(self.shot.position[0]).all():
            return
        position = self.shot.position[np.isfinite(self.shot.position).all(-1)]
        floor = float(onto_ground(self.shot.position[0], self.shot.ground)[2])
        if not self._height:
            low = min(floor, float(position[:, 2].min()))
            self._height = max(float(position[:, 2].max()) - low, 0.2)
            self._distance = 2.5 * self._height
            self._center = np.array((*position[0, :2], floor + 0.5 * self._height))
        if self.follow:
            target = np.array((*self.shot.position[0, :2], floor + 0.5 * self._height))
            apart = target - self._center
            self._center = target if np.linalg.norm(apart) > 1.0 else self._center + 0.3 * apart

    def paint(self, painter: QPainter) -> None:
        """Draw the picture and the words on it."""
        if self.figure is not None and self.shot is not None:
            draw(painter, self.camera(), self.figure, self.shot, self._paper(), self.mesh)
        place = QRectF(self.rect()).adjusted(8, 6, -8, -6)
        draw_text(painter, place, self.lines)
        if self.height() > 200:
            below = QRectF(place.left(), place.bottom() - painter.fontMetrics().height(), place.width(), 20)
            draw_text(painter, below, [[(self.note or self.legend(), AMBER if self.note else DIM)]])

    def legend(self) -> str:
        """What the colours mean, of what is drawn."""
        failure = self.shot is not None and self.shot.failure is not None
        command = self.shot is not None and self.shot.command is not None
        text = LEGEND + (" · grey outline last failure" if failure else "")
        return text + (" · amber commanded velocity" if command else "")

    def _paper(self) -> QImage:
        """The image that ghosts are drawn on, of the widget's size in its own pixels."""
        ratio = self.devicePixelRatioF()
        size = (round(self.width() * ratio), round(self.height() * ratio))
        if (self._layer.width(), self._layer.height()) != size:
            self._layer = QImage(*size, QImage.Format.Format_ARGB32_Premultiplied)
            self._layer.setDevicePixelRatio(ratio)
        return self._layer

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Take hold of the picture."""
        self._grip = event.position()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Let go of it."""
        self._grip = None

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Show the whole figure again."""
        self.frame_figure()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Left orbits; middle, or Shift and left, pans."""
        if self._grip is None:
            return
        moved, self._grip = event.position() - self._grip, event.position()
        pans = event.buttons() & Qt.MouseButton.MiddleButton or event.modifiers() & Qt.KeyboardModifier.ShiftModifier
        if pans:
            right, up, _ = self.camera().axes()
            self._pan += (-moved.x() * right + moved.y() * up) * self._distance / self.camera().scale()
            self._moved()
        elif event.buttons() & Qt.MouseButton.LeftButton:
            self.look((self._angles[0] - 0.4 * moved.x()) % 360.0, self._angles[1] - 0.3 * moved.y())

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        """Zoom."""
        self._distance = float(np.clip(self._distance * 0.9 ** (event.angleDelta().y() / 120.0), 0.3, 60.0))
        self._moved()
        event.accept()

    def _moved(self) -> None:
        self.moved()
        self.update()
