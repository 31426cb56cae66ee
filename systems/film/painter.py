"""Software painter of films, for machines without OpenGL: convex parts as shaded triangles, the farthest first."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.render.camera import OrbitCamera
from systems.film.scenery import RenderScene

if TYPE_CHECKING:
    from components.terrain import Ground

SUN = np.array((-0.35, -0.45, 0.82))  # towards the light
SKY_TOP, SKY_LOW = np.array((184, 196, 212.0)), np.array((237, 242, 247.0))
FLOOR = (((204, 211, 219), (189, 197, 207)), (224, 230, 236))  # two squares, and the distance
SHADOW = (138, 147, 160)
GHOST_COLOR, GHOST_SHARE = (26, 115, 242), 0.45
SQUARE, REACH = 0.5, 12  # m, and squares on every side
PIECE, NEARBY = 0.1, 4.0  # m, side of a drawn square of terrain, and how far it is drawn on every side
SMOOTH = 2  # pixels of the drawing on one of the picture, along each side


def paint(
    scene: RenderScene, robot: np.ndarray, ghost: np.ndarray | None, cameras: np.ndarray, size: tuple[int, int]
) -> Iterator[np.ndarray]:
    """Frames as `systems/film/render.py` makes them, from the same arguments; equal ones give equal bytes."""
    from PIL import Image

    poses = scene.poses(robot)
    other = None if ghost is None else scene.poses(ghost)
    large = (size[0] * SMOOTH, size[1] * SMOOTH)
    colors = [tuple(round(255 * share) for share in part.color) for part in scene.parts]
    for frame, (*look_at, distance, azimuth, elevation) in enumerate(cameras.tolist()):
        camera = OrbitCamera(np.array(look_at), distance, azimuth, elevation, large, scene.field_of_view)
        image = _backdrop(camera, squares=scene.ground is None)
        solid = _triangles(scene, poses[0][frame], poses[1][frame], colors)
        if scene.ground is None:
            _draw_shadow(image, camera, solid[0])
        else:
            ground = _terrain(scene.ground, camera)
            solid = np.concatenate((ground[0], solid[0])), np.concatenate((ground[1], solid[1]))
        picture = image.copy()
        _draw(picture, camera, *solid)
        if other is not None:
            blue = _triangles(scene, other[0][frame], other[1][frame], [GHOST_COLOR] * len(colors))
            _draw(image, camera, *(np.concatenate(pair) for pair in zip(solid, blue, strict=True)))
            picture = Image.blend(picture, image, GHOST_SHARE)  # in front of the robot it tints, behind it is hidden
        yield np.asarray(picture.reduce(SMOOTH))


def _backdrop(camera: OrbitCamera, squares: bool) -> Any:
    from PIL import Image

    width, height = camera.size
    azimuth = np.radians(camera.azimuth)
    ahead = np.array((np.cos(azimuth), np.sin(azimuth), 0.0))
    horizon = int(np.clip(camera.project(camera.look_at + 1e5 * ahead)[1], 1, height))
    share = np.linspace(0.0, 1.0, horizon)[:, None]
    sky = np.broadcast_to((SKY_TOP + share * (SKY_LOW - SKY_TOP))[:, None], (horizon, width, 3))
    tints, distance = FLOOR
    image = Image.new("RGB", (width, height), distance)
    image.paste(Image.fromarray(np.ascontiguousarray(sky, np.uint8)), (0, 0))
    if not squares:
        return image
    square = np.floor(camera.look_at[:2] / SQUARE) + np.mgrid[-REACH:REACH, -REACH:REACH].reshape(2, -1).T  # (N, 2)
    corners = np.zeros((len(square), 4, 3))
    corners[..., :2] = SQUARE * (square[:, None] + np.array([(0, 0), (1, 0), (1, 1), (0, 1)]))
    seen = camera.project(corners)
    far = np.linalg.norm(SQUARE * (square + 0.5) - camera.look_at[:2], axis=-1) / (SQUARE * REACH)
    near = np.clip(1.0 - far**2, 0.0, 1.0)[:, None]  # squares fade into the distance
    tones = near * np.array(tints)[square.sum(1).astype(int) % 2] + (1.0 - near) * np.array(distance)
    _polygons(image, seen, tones, seen[..., 2].min(-1) > 0.1)
    return image


def _triangles(
    scene: RenderScene, position: np.ndarray, rotation: np.ndarray, colors: list[tuple[int, ...]]
) -> tuple[np.ndarray, np.ndarray]:
    """All triangles of a pose: corners (F, 3, 3) m in world axes, and shaded colours (F, 3)."""
    corners, tones = [], []
    for part, place, turn, color in zip(scene.parts, position, rotation, colors, strict=True):
        triangles = (part.vertices @ turn.T + place)[part.faces]
        normal = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
        normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
        light = 0.62 + 0.38 * np.maximum(normal @ SUN, -0.3)
        corners.append(triangles)
        tones.append(np.minimum(light[:, None] * (np.array(color) + 18.0), 255.0))
    return np.concatenate(corners), np.concatenate(tones)


def _terrain(ground: "Ground", camera: OrbitCamera) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of the ground around what is looked at: corners (F, 3, 3) m and shaded colours (F, 3)."""
    import torch  # which a robot on a plane is painted without

    from systems.ground.heights import ground_height

    first = np.round(camera.look_at[:2] / PIECE) - round(NEARBY / PIECE)
    steps = PIECE * np.arange(2 * round(NEARBY / PIECE) + 1)
    x, y = np.meshgrid(PIECE * first[0] + steps, PIECE * first[1] + steps)
    z = ground_height(ground, torch.from_numpy(np.stack((x, y), -1))).numpy()
    points = np.stack((x, y, z), -1)
    a, b, c, d = points[:-1, :-1], points[:-1, 1:], points[1:, 1:], points[1:, :-1]
    corners = np.stack((np.stack((a, b, c), -2), np.stack((a, c, d), -2)), 2).reshape(-1, 3, 3)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    light = 0.55 + 0.45 * np.maximum((normal / np.linalg.norm(normal, axis=-1, keepdims=True)) @ SUN, 0.0)
    middle = corners.mean(1)
    (light_square, dark_square), distance = FLOOR
    even = np.floor(middle[:, :2] / SQUARE).sum(1).astype(int) % 2
    tones = light[:, None] * np.array((light_square, dark_square))[even]
    far = np.linalg.norm(middle[:, :2] - camera.look_at[:2], axis=-1, keepdims=True) / NEARBY
    near = np.clip(2.0 - 2.0 * far, 0.0, 1.0)
    return corners, near * tones + (1.0 - near) * np.array(distance)


def _draw(image: Any, camera: OrbitCamera, corners: np.ndarray, tones: np.ndarray) -> None:
    seen = camera.project(corners)
    (ax, ay), (bx, by), (cx, cy) = (seen[:, i, :2].T for i in range(3))
    facing = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax) < 0.0  # counter-clockwise, with y down
    _polygons(image, seen, tones, facing & (seen[..., 2].min(-1) > 0.1))


def _draw_shadow(image: Any, camera: OrbitCamera, corners: np.ndarray) -> None:
    seen = camera.project(corners - corners[..., 2:] / SUN[2] * SUN)
    _polygons(image, seen, np.tile(np.array(SHADOW), (len(seen), 1)), seen[..., 2].min(-1) > 0.1)


def _polygons(image: Any, seen: np.ndarray, tones: np.ndarray, shown: np.ndarray) -> None:
    """Fill polygons (F, corners, 3) in pixels and depth, those of mask `shown`, the farthest first."""
    from PIL import ImageDraw

    picked = np.flatnonzero(shown)
    picked = picked[np.argsort(-seen[picked, :, 2].mean(-1), kind="stable")]
    points = seen[picked, :, :2].reshape(len(picked), 2 * seen.shape[1]).tolist()
    fill = ImageDraw.Draw(image).polygon
    for place, tone in zip(points, tones[picked].round().astype(int).tolist(), strict=True):
        fill(place, tuple(tone))
