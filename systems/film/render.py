"""Pictures of films by MuJoCo, which the render process draws: an OpenGL driver may end the process that calls it."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from engine.render.process import NoPictures, RenderChild, platforms

PATIENCE = 60.0  # s that a frame may take
LONGEST_WAIT = (
    120.0  # s for all frames on terrain, which a software renderer draws whole; else it is left to our painter
)
BUDGET = 20.0  # s for all frames with smooth edges; a film that would take longer gets jagged ones, at half the cost


def render(
    model: mujoco.MjModel,
    robot: np.ndarray,
    ghost: np.ndarray | None,
    cameras: np.ndarray,
    size: tuple[int, int],
    lamp: tuple[float, float, float],
    *,
    climbs: bool = False,
) -> Iterator[np.ndarray]:
    """Frames (height, width, 3) uint8 of robot states (T, 7 + dof), with a translucent `ghost` of the same shape.

    `cameras`: (T, 6) what to look at (m), distance (m), azimuth and elevation in degrees; `lamp` is where the first
    light hangs, from what is looked at, its height from 0 unless it `climbs`. Raises NoPictures when no process gets through.
    """
    with tempfile.TemporaryDirectory(prefix="film-") as folder:
        path = Path(folder, "model.mjb")
        mujoco.mj_saveModel(model, str(path))
        wanted = np.concatenate([cameras, robot, *(() if ghost is None else (ghost,))], 1)
        options = {"lamp": lamp, "ghost": ghost is not None, "climbs": climbs}
        problems = []
        for platform in platforms():
            done = 0
            try:
                for frame in _frames(path, options, platform, wanted, size):
                    yield frame
                    done += 1
                return
            except NoPictures as problem:
                problems.append(f"{platform or 'OpenGL'}: {problem}")
                if done:
                    break
        raise NoPictures("; ".join(problems))


def _frames(
    path: Path, options: dict[str, Any], platform: str, wanted: np.ndarray, size: tuple[int, int]
) -> Iterator[np.ndarray]:
    """A picture of each of `wanted` (T, camera and poses); the process draws one while the one before is used."""
    child = RenderChild(path, {**options, "samples": 4}, platform, PATIENCE)
    try:
        child.about()
        needed = _seconds(child, wanted[0], size) * len(wanted)
        if options["climbs"] and needed > LONGEST_WAIT:
            raise NoPictures(f"its {len(wanted)} pictures of the terrain would take {needed:.0f} s")
        if needed > BUDGET:
            child.close()
            child = RenderChild(path, options, platform, PATIENCE)
            child.about()
        child.ask(*size, wanted[0])
        for following in wanted[1:]:
            child.ask(*size, following)
            yield child.take()
        yield child.take()
    finally:
        child.close()


def _seconds(child: RenderChild, wanted: np.ndarray, size: tuple[int, int]) -> float:
    """How long a picture takes, after the first one, which takes longer."""
    for _ in range(2):
        began = time.perf_counter()
        child.ask(*size, wanted)
        child.take()
    return time.perf_counter() - began
