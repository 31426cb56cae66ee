"""QPainter drawing of a robot: floor, path, ghost of the reference, capsules, forces and text. Without OpenGL."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import attrs
import numpy as np
from PySide6.QtCore import QLineF, QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QImage, QPainter, QPen

from engine.debugger.body.skeleton import LOAD, Skeleton, tip_positions
from engine.debugger.body.terrain import TerrainHeights, onto_ground
from engine.debugger.widgets.parts import fill_polygon
from engine.debugger.widgets.theme import AMBER, BACKGROUND, BLUE, DIM, GREEN, LINE, RED, WHITE
from engine.render.camera import OrbitCamera

SQUARE, REACH = 0.5, 6  # m, and squares of the floor on every side
PIECES = 5  # of a line along one square, on terrain
FORCE_LENGTH = 0.001  # m of arrow per N
LONGEST_ARROW = 0.8  # m
GHOST_SHARE, OUTLINE_SHARE = 0.45, 0.6
NEAR_REFERENCE = 0.4  # share of the threshold from which a body is joined to its reference
CLEAR = QColor(0, 0, 0, 0)
CLOSE = 0.05  # m, the same where there is no threshold


@attrs.frozen(eq=False)
class BodyPose:
    """What is drawn of one tick: metres, world axes; None or empty for what there is not."""

    position: np.ndarray  # (B, 3)
    rotation: np.ndarray | None = None  # (B, 4) scalar first
    reference: np.ndarray | None = None  # (T, 3)
    force: np.ndarray | None = None  # (B, 3) N
    errors: np.ndarray = attrs.field(factory=lambda: np.zeros(0))  # (T,)
    command: np.ndarray | None = None  # (2,) or (3,) m/s
    path: np.ndarray = attrs.field(factory=lambda: np.zeros((0, 3)))  # (N, 3) of the root, NaN where it is broken
    trails: np.ndarray = attrs.field(factory=lambda: np.zeros((0, 2, 3)))  # (M, 2, 3) where bodies slipped
    failure: "BodyPose | None" = None
    ground: TerrainHeights | None = None  # None: a plane at height 0


@attrs.frozen
class Capsules:
    """Capsules in pixels: ends (N, 2, 2), half-widths (N,), depths (N,), and the body at whose end each is (N,)."""

    ends: np.ndarray
    width: np.ndarray
    depth: np.ndarray
    body: np.ndarray


def capsules(camera: OrbitCamera, start: np.ndarray, end: np.ndarray, radius: np.ndarray, body: np.ndarray) -> Capsules:
    """Project capsules between points (N, 3) m; those with an end that is not finite or too near are left out."""
    points = np.stack((start, end), 1)
    with np.errstate(invalid="ignore"):
        seen = camera.project(points)
    shown = np.isfinite(seen).all((1, 2)) & (seen[..., 2] > 0.1).all(1)
    seen = seen[shown]
    depth = seen[..., 2].mean(1)
    return Capsules(seen[..., :2], radius[shown] * camera.scale() / depth, depth, body[shown])


def skeleton_capsules(camera: OrbitCamera, figure: Skeleton, shot: BodyPose) -> Capsules:
    """The robot: one capsule from each body to each of its children, and one for what reaches beyond."""
    position = shot.position
    tips = tip_positions(figure, position, shot.rotation)
    start = np.concatenate((position[figure.limbs[:, 0]], position[figure.tips]))
    end = np.concatenate((position[figure.limbs[:, 1]], tips))
    body = np.concatenate((figure.limbs[:, 1], figure.tips))
    upper = np.concatenate((figure.limbs[:, 0], figure.tips))
    radius = np.minimum(figure.radius[upper], figure.radius[body])
    if not len(body):
        start = end = position
        body = np.arange(len(position))
        radius = figure.radius
    return capsules(camera, start, end, radius, body)


def ghost_capsules(camera: OrbitCamera, figure: Skeleton, reference: np.ndarray) -> Capsules:
    """The reference: tracked bodies joined to the tracked ones above them."""
    upper, lower = figure.ghost_limbs[:, 0], figure.ghost_limbs[:, 1]
    radius = np.minimum(figure.radius[figure.tracked[upper]], figure.radius[figure.tracked[lower]])
    return capsules(camera, reference[upper], reference[lower], radius, lower)


def draw(
    painter: QPainter, camera: OrbitCamera, figure: Skeleton, shot: BodyPose, layer: QImage, mesh: QImage | None = None
) -> None:
    """Draw one shot. `layer`: a premultiplied ARGB image of the camera's size to work on; `mesh` replaces the capsules."""
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
    draw_floor(painter, camera, shot.ground)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
    _draw_ground(painter, camera, shot)
    if shot.failure is not None:
        failed = skeleton_capsules(camera, figure, shot.failure)
        if len(failed.depth):
            _draw_outline(painter, failed, layer)
    robot = skeleton_capsules(camera, figure, shot)
    wrong = wrong_bodies(figure, shot.errors)
    if mesh is None:
        _draw_robot(painter, robot, wrong)
    else:
        painter.drawImage(QRectF(0, 0, *camera.size), mesh)
    if shot.reference is not None and len(shot.reference) == len(figure.tracked):
        ghost = ghost_capsules(camera, figure, shot.reference)
        if len(ghost.depth):
            _draw_ghost(painter, ghost, robot, layer)
        _draw_gaps(painter, camera, figure, shot)
    _draw_arrows(painter, camera, shot)


def wrong_bodies(figure: Skeleton, errors: np.ndarray) -> np.ndarray:
    """(B,) whether the body's tracking error exceeds the threshold."""
    if not len(errors) or not figure.threshold:
        return np.zeros(len(figure.bodies), bool)
    over = np.append(errors > figure.threshold, False)
    return np.asarray(over[figure.blame])


def _lines(painter: QPainter, ends: np.ndarray) -> None:
    painter.drawLines([QLineF(*four) for four in ends.reshape(-1, 4).tolist()])


def draw_floor(painter: QPainter, camera: OrbitCamera, ground: TerrainHeights | None = None) -> None:
    """A grid of half a metre around what is looked at, which fades with the distance and follows the ground."""
    middle = np.round(camera.look_at[:2] / SQUARE) * SQUARE
    steps = np.arange(-REACH, REACH + 1) * SQUARE
    fine = steps if ground is None else np.linspace(steps[0], steps[-1], 2 * REACH * PIECES + 1)
    pieces = np.stack((fine[:-1], fine[1:]), 1)  # lines in pieces, so that each can fade
    across = np.zeros((2, len(steps), len(pieces), 2, 3))
    across[0, ..., 0], across[0, ..., 1] = steps[:, None, None], pieces[None]
    across[1, ..., 1], across[1, ..., 0] = steps[:, None, None], pieces[None]
    lines = across.reshape(-1, 2, 3)
    far = np.linalg.norm(lines.mean(1), axis=-1) / (SQUARE * REACH)
    lines[..., :2] += middle
    lines = onto_ground(lines, ground)
    for nearest, furthest, strength in ((0.0, 0.35, 255), (0.35, 0.65, 150), (0.65, 1.0, 70)):
        color = QColor(LINE)
        color.setAlpha(strength)
        painter.setPen(QPen(color, 1))
        _lines(painter, camera.project_lines(lines[(far >= nearest) & (far < furthest)]))


def _draw_ground(painter: QPainter, camera: OrbitCamera, shot: BodyPose) -> None:
    """Where the root was and where feet slipped, on the floor."""
    if len(shot.path) > 1:
        floor = onto_ground(shot.path, shot.ground)
        pieces = np.stack((floor[:-1], floor[1:]), 1)
        painter.setPen(QPen(QColor(DIM), 1))
        _lines(painter, camera.project_lines(pieces[np.isfinite(pieces).all((1, 2))]))
    if len(shot.trails):
        painter.setPen(QPen(QColor(RED), 3, c=Qt.PenCapStyle.RoundCap))
        _lines(painter, camera.project_lines(shot.trails))


def _pen(color: QColor, width: float, cap: Qt.PenCapStyle = Qt.PenCapStyle.RoundCap) -> QPen:
    return QPen(color, max(width, 1.5), Qt.PenStyle.SolidLine, cap)


def _draw_robot(painter: QPainter, robot: Capsules, wrong: np.ndarray) -> None:
    """Far to near. A dark rim keeps limbs apart that cross; what is nearer is brighter."""
    depth = robot.depth
    span = max(float(np.ptp(depth)), 0.3) if len(depth) else 1.0
    rim = QColor(BACKGROUND)
    for number in np.argsort(-depth, kind="stable").tolist():
        line = QLineF(*robot.ends[number].ravel().tolist())
        width = 2.0 * float(robot.width[number])
        painter.setPen(_pen(rim, width + 3.0, Qt.PenCapStyle.FlatCap))
        painter.drawLine(line)
        shade = 100 + int(35 * (depth[number] - depth.min()) / span)
        painter.setPen(_pen(QColor(RED if wrong[robot.body[number]] else WHITE).darker(shade), width))
        painter.drawLine(line)


@contextmanager
def _layer(painter: QPainter, layer: QImage, parts: Capsules, share: float) -> Iterator[QPainter]:
    """A painter on the emptied layer, as far as the capsules reach, which is put on the picture with an opacity.

    Drawing with CLEAR rubs out: Qt's own mode for that is slow.
    """
    reach = parts.width[:, None, None] + 2.0
    low, high = (parts.ends - reach).min((0, 1)), (parts.ends + reach).max((0, 1))
    whole = QRectF(QPointF(), layer.deviceIndependentSize())
    extent = QRectF(QPointF(*low.tolist()), QPointF(*high.tolist())).intersected(whole).toAlignedRect()
    on = QPainter(layer)
    on.setCompositionMode(QPainter.CompositionMode.CompositionMode_Source)
    on.fillRect(extent, CLEAR)
    on.setClipRect(extent)
    on.setRenderHint(QPainter.RenderHint.Antialiasing, True)
    yield on
    on.end()
    ratio = layer.devicePixelRatio()
    source = QRectF(extent.x() * ratio, extent.y() * ratio, extent.width() * ratio, extent.height() * ratio)
    if not extent.isEmpty():
        painter.setOpacity(share)
        painter.drawImage(QRectF(extent), layer, source)
        painter.setOpacity(1.0)


def _draw_ghost(painter: QPainter, ghost: Capsules, robot: Capsules, layer: QImage) -> None:
    """One translucent shape, where no part of the robot is nearer to the eye; overlaps do not add up."""
    parts = [(d, True, i) for i, d in enumerate(ghost.depth.tolist())]
    parts += [(d, False, i) for i, d in enumerate(robot.depth.tolist())]
    color = QColor(BLUE)
    with _layer(painter, layer, ghost, GHOST_SHARE) as on:
        for _, is_ghost, number in sorted(parts, reverse=True):
            part = ghost if is_ghost else robot
            on.setPen(_pen(color if is_ghost else CLEAR, 2.0 * float(part.width[number])))
            on.drawLine(QLineF(*part.ends[number].ravel().tolist()))


def _draw_outline(painter: QPainter, failed: Capsules, layer: QImage) -> None:
    """The last failure: the contour of all capsules together."""
    with _layer(painter, layer, failed, OUTLINE_SHARE) as on:
        for color, rim in ((QColor(DIM), 2.0), (CLEAR, -1.0)):
            for ends, width in zip(failed.ends, failed.width.tolist(), strict=True):
                on.setPen(_pen(color, 2.0 * width + rim))
                on.drawLine(QLineF(*ends.ravel().tolist()))


def _draw_gaps(painter: QPainter, camera: OrbitCamera, figure: Skeleton, shot: BodyPose) -> None:
    """Dotted lines from tracked bodies to where the reference has them, red beyond the threshold."""
    assert shot.reference is not None
    pairs = np.stack((shot.position[figure.tracked], shot.reference), 1)
    if not len(shot.errors):
        return
    shown = np.isfinite(pairs).all((1, 2)) & (shot.errors > (NEAR_REFERENCE * (figure.threshold or 0.0) or CLOSE))
    wrong = shot.errors > (figure.threshold or np.inf)
    for mask, color in ((shown & ~wrong, BLUE), (shown & wrong, RED)):
        if mask.any():
            painter.setPen(QPen(QColor(color), 1.5, Qt.PenStyle.DotLine))
            _lines(painter, camera.project_lines(pairs[mask]))


def _draw_arrows(painter: QPainter, camera: OrbitCamera, shot: BodyPose) -> None:
    """Contact forces from the body up, and the commanded velocity in front of the root: one second of it."""
    if shot.force is not None and shot.force.shape == shot.position.shape:
        size = np.linalg.norm(shot.force, axis=-1)
        shown = np.isfinite(shot.position).all(-1) & np.isfinite(size) & (size > LOAD)
        share = np.minimum(FORCE_LENGTH, LONGEST_ARROW / np.maximum(size, 1e-9))
        for body in np.flatnonzero(shown).tolist():
            below = onto_ground(shot.position[body], shot.ground)
            base = below if shot.position[body, 2] - below[2] < 0.25 else shot.position[body]
            draw_arrow(painter, camera, base, base + share[body] * shot.force[body], GREEN)
    if shot.command is not None and np.isfinite(shot.command).all() and np.isfinite(shot.position[0]).all():
        base = onto_ground(shot.position[0], shot.ground)
        ahead = np.zeros(3)
        ahead[:2] = shot.command[:2]
        draw_arrow(painter, camera, base, base + ahead, AMBER)


def draw_arrow(painter: QPainter, camera: OrbitCamera, start: np.ndarray, end: np.ndarray, color: str) -> None:
    """An arrow between two points (3,) m; a head of fixed size, left out where the arrow is shorter."""
    line = camera.project_lines(np.stack((start, end))[None])
    if not len(line):
        return
    (x0, y0), (x1, y1) = line[0].tolist()
    length = float(np.hypot(x1 - x0, y1 - y0))
    painter.setPen(QPen(QColor(color), 2.0))
    if length < 7.0:
        painter.drawLine(QLineF(x0, y0, x1, y1))
        return
    ux, uy = (x1 - x0) / length, (y1 - y0) / length
    bx, by = x1 - 7.0 * ux, y1 - 7.0 * uy
    painter.drawLine(QLineF(x0, y0, bx, by))
    fill_polygon(painter, color, (x1, y1), (bx - 4 * uy, by + 4 * ux), (bx + 4 * uy, by - 4 * ux))


def draw_text(painter: QPainter, place: QRectF, lines: Sequence[Sequence[tuple[str, str]]]) -> None:
    """Lines of (text, colour) parts, from the top left corner of `place`; what is too long ends in '…'."""
    metrics = painter.fontMetrics()
    y = place.top()
    for line in lines:
        x = place.left()
        for text, color in line:
            room = int(place.right() - x)
            if room < 12:
                break
            shown = metrics.elidedText(text, Qt.TextElideMode.ElideRight, room)
            painter.setPen(QColor(color))
            painter.drawText(QPointF(x, y + metrics.ascent()), shown)
            x += metrics.horizontalAdvance(shown) + 14
        y += metrics.height() + 2
