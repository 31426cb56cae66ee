"""Film files: the way of the camera, captions, and the encoder.

The picture comes from MuJoCo's renderer where OpenGL works, from our own painter where it does not.
"""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from engine.errors import SceneError
from systems.maths.rotation import yaw
from systems.maths.smoothing import gaussian_average

if TYPE_CHECKING:
    from components.terrain import Ground
    from systems.film.scenery import RenderScene

SIZE = (640, 480)
LONGEST = 20.0  # s of film
HOLD = 1.0  # s for which a fallen robot stays in the picture
SMOOTHING = 0.4  # s, standard deviation with which the camera follows
STEEPEST, CLEARANCE = -67.0, 0.3  # degrees; m of the camera above the ground
AZIMUTH, ELEVATION = 145.0, -11.0  # degrees; from the robot's first heading, so that its face is seen


@attrs.frozen(eq=False)
class FilmShot:
    """One uncut shot of T frames: states (T, 7 + dof) as in `components/footage.py`, and lines of text.

    `ending` is added in red to the last frame, which then stands still.
    """

    name: str
    robot: np.ndarray
    ghost: np.ndarray | None
    captions: tuple[tuple[str, ...], ...]
    ending: str = ""


def follow(shot: FilmShot, height: float, fps: float, ground: "Ground | None" = None) -> np.ndarray:
    """A camera that keeps robot and ghost in view, (T, 6): look at x, y, z, distance (m), azimuth, elevation (degrees).

    On terrain it climbs with them, and looks down more steeply where the ground would be in the way.
    """
    robot = shot.robot[:, :3]
    ghost = robot if shot.ghost is None else shot.ghost[:, :3]
    apart = np.linalg.norm(robot - ghost, axis=-1)
    heading = np.degrees(yaw(shot.robot[0, 3:7]))
    path = np.zeros((len(robot), 6))
    path[:, :2] = 0.5 * (robot + ghost)[:, :2]
    path[:, 2] = 0.47 * height
    path[:, 3] = 2.5 * height + apart
    if ground is not None:
        path[:, 2] += _ground_height(ground, path[:, :2])
    path[:, :4] = gaussian_average(path[:, :4], SMOOTHING * fps)
    path[:, 4:] = heading + AZIMUTH, ELEVATION
    if ground is not None:
        path[:, 5] = gaussian_average(_free_elevation(path, ground)[:, None], SMOOTHING * fps)[:, 0]
    return path


def _ground_height(ground: "Ground", places: np.ndarray) -> np.ndarray:
    """Height of the ground at (T, 2) places, (T,) m."""
    import torch  # which a robot on a plane is filmed without

    from systems.ground.heights import ground_height

    return np.asarray(ground_height(ground, torch.from_numpy(places)))


def _free_elevation(path: np.ndarray, ground: "Ground") -> np.ndarray:
    """The least steep view of each frame from above the ground, (T,) degrees."""
    chosen = np.full(len(path), STEEPEST)
    azimuth = np.radians(path[:, 4])
    for elevation in np.arange(STEEPEST, ELEVATION + 1.0, 8.0):
        slant = np.radians(elevation)
        forward = np.stack((np.cos(slant) * np.cos(azimuth), np.cos(slant) * np.sin(azimuth)), 1)
        eye = path[:, :2] - path[:, 3:4] * forward
        above = path[:, 2] - path[:, 3] * np.sin(slant) - _ground_height(ground, eye)
        chosen = np.where(above > CLEARANCE, elevation, chosen)
    return chosen


Words = tuple[tuple[str, ...], str]  # the lines of a frame, and the ending where it is shown


def cut(shots: Sequence[FilmShot], fps: float) -> tuple[list[FilmShot], list[Words]]:
    """At most LONGEST of film and what is written on every frame; endings are held, what is too long is left out."""
    left, made, words = round(LONGEST * fps), [], []
    for shot in shots:
        count = min(left, len(shot.robot))
        if not count:
            continue
        whole = bool(shot.ending) and count == len(shot.robot)
        frames = [*range(count), *([count - 1] * min(round(HOLD * fps), left - count) if whole else [])]
        ghost = None if shot.ghost is None else shot.ghost[frames]
        made.append(attrs.evolve(shot, robot=shot.robot[frames], ghost=ghost))
        words += [(shot.captions[i], shot.ending if whole and i == count - 1 else "") for i in frames]
        left -= len(frames)
    return made, words


def need_packages() -> None:
    """Raise SceneError where a package that films need is missing."""
    try:
        import av
        import PIL
    except ImportError as error:
        raise SceneError(
            f"A film needs the package {error.name}, which is not installed. pip install av pillow"
        ) from None
    del av, PIL


def write_film(
    path: Path,
    scene: "RenderScene",
    shots: Sequence[FilmShot],
    *,
    fps: float = 50.0,
    size: tuple[int, int] = SIZE,
    progress: Callable[[float], None] | None = None,
) -> str:
    """Write an H.264 film in real time; returns how its pictures were made.

    `progress` is called with a share from 0 to 1. Raises SceneError where there is nothing to show, no encoder, or
    the file cannot be written; what was at `path` before then stays.
    """
    shots, words = cut(shots, fps)
    if not shots:
        raise SceneError("There is nothing to film: the robot did not make a single step.")
    need_packages()
    from engine.render.process import NoPictures
    from systems.film.painter import paint
    from systems.film.render import render
    from systems.film.scenery import LAMP

    robot = np.concatenate([shot.robot for shot in shots])
    ghost = np.concatenate([shot.ghost for shot in shots if shot.ghost is not None] or [robot[:0]])
    both = ghost if len(ghost) else None
    cameras = np.concatenate([follow(shot, scene.height, fps, scene.ground) for shot in shots])

    def captioned(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for number, (frame, (lines, ending)) in enumerate(zip(frames, words, strict=True)):
            if progress is not None:
                progress(number / len(words))
            yield caption(frame, lines, ending)

    try:
        encode(
            path,
            captioned(render(scene.model, robot, both, cameras, size, LAMP, climbs=scene.ground is not None)),
            fps,
            size,
        )
    except NoPictures as problem:
        encode(path, captioned(paint(scene, robot, both, cameras, size)), fps, size)
        return f"painted, as OpenGL does not work here ({problem})"
    return "drawn by MuJoCo"


def caption(frame: np.ndarray, lines: Sequence[str], ending: str = "") -> np.ndarray:
    """`frame` (height, width, 3) uint8 with lines of text in its upper left corner, `ending` in red."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(frame)
    pixels = max(10, frame.shape[0] // 28)
    font = ImageFont.load_default(pixels)
    texts = [*((line, "white") for line in lines), *([(ending, "#ff8a80")] if ending else [])]
    draw = ImageDraw.Draw(image, "RGBA")
    step, margin = round(1.35 * pixels), pixels // 2
    width = max((draw.textlength(text, font) for text, _ in texts), default=0.0)
    if texts:
        box = (margin, margin, 3 * margin + width, 2 * margin + step * len(texts))
        draw.rounded_rectangle(box, margin, fill=(20, 26, 34, 185))
    for number, (text, color) in enumerate(texts):
        draw.text((2 * margin, 1.4 * margin + number * step), text, fill=color, font=font)
    return np.asarray(image)


def drawn_frames(
    values: Sequence[Sequence[float]], draw: Callable[..., None], size: tuple[int, int]
) -> Iterator[np.ndarray]:
    """Frames as `encode` takes them, each drawn by `draw(canvas, *numbers)` on white; `canvas` is a PIL ImageDraw."""
    from PIL import Image, ImageDraw

    for numbers in values:
        image = Image.new("RGB", size, "white")
        draw(ImageDraw.Draw(image), *numbers)
        yield np.asarray(image)


def encode(path: Path, frames: Iterator[np.ndarray], fps: float, size: tuple[int, int]) -> None:
    """Frames (height, width, 3) uint8 of even size as H.264, yuv420p; SceneError where that is not possible."""
    import av

    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SceneError(f"The film {path} cannot be written ({error.strerror or error}).") from None
    try:
        with av.open(str(part), "w", format="mp4", options={"movflags": "faststart"}) as container:
            stream: Any = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
            stream.width, stream.height = size
            stream.pix_fmt, stream.options = "yuv420p", {"crf": "21", "preset": "veryfast"}
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
            container.mux(stream.encode())
        part.replace(path)
    except (OSError, av.error.FFmpegError) as error:
        raise SceneError(f"The film {path} cannot be written ({error.strerror or error}).") from None
    finally:
        part.unlink(missing_ok=True)


def squeeze(path: Path, most: int) -> bytes | None:
    """The film at `path` in at most so many bytes: as it is, or smaller and coarser; None where that is not enough.

    Raises SceneError for a file that is no film.
    """
    data = path.read_bytes()
    for scale, quality in ((1, 28), (2, 28), (2, 34), (4, 34), (4, 42)):
        if len(data) <= most:
            return data
        data = _encoded_again(path, scale, quality)
    return data if len(data) <= most else None


def _encoded_again(path: Path, scale: int, quality: int) -> bytes:
    """The film at `path` with 1 / `scale` of its width and height, as H.264 of that quality (more is coarser)."""
    import av

    written = io.BytesIO()
    try:
        with av.open(str(path)) as source, av.open(written, "w", format="mp4") as target:
            seen = source.streams.video[0]
            stream: Any = target.add_stream("libx264", rate=seen.average_rate)
            stream.width, stream.height = (max(2, side // scale // 2 * 2) for side in (seen.width, seen.height))
            stream.pix_fmt, stream.options = "yuv420p", {"crf": str(quality), "preset": "veryfast"}
            for frame in source.decode(seen):
                target.mux(stream.encode(frame.reformat(stream.width, stream.height, "yuv420p")))
            target.mux(stream.encode())
    except (OSError, av.error.FFmpegError, IndexError) as error:
        raise SceneError(f"{path} cannot be read as a film ({getattr(error, 'strerror', None) or error}).") from None
    return written.getvalue()
