"""MuJoCo renderer of films in a child process: an OpenGL driver may end the process that calls it.

Run as a script, this file is the child. It imports nothing of the project, so that it starts quickly.
"""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import mujoco
import numpy as np

PATIENCE = 60.0  # s that a frame may take
BUDGET = 20.0  # s for all frames with smooth edges; a film that would take longer gets jagged ones, at half the cost
GHOST = (0.1, 0.45, 0.95, 0.35)


class NoPictures(Exception):
    """OpenGL does not work here; the text says why."""


def platforms() -> list[str]:
    """Values of MUJOCO_GL to try: what the user says, else what needs no window."""
    chosen = os.environ.get("MUJOCO_GL")
    if chosen:
        return [chosen]
    return ["egl", "osmesa"] if sys.platform == "linux" else [""]


def render(
    model: mujoco.MjModel,
    robot: np.ndarray,
    ghost: np.ndarray | None,
    cameras: np.ndarray,
    size: tuple[int, int],
    lamp: tuple[float, float, float],
) -> Iterator[np.ndarray]:
    """Frames (height, width, 3) uint8 of robot states (T, 7 + dof), with a translucent `ghost` of the same shape.

    `cameras`: (T, 6) what to look at (m), distance (m), azimuth and elevation in degrees; `lamp` is where the first
    light hangs, from what is looked at. Raises NoPictures when no child gets through.
    """
    with tempfile.TemporaryDirectory(prefix="film-") as folder:
        mujoco.mj_saveModel(model, str(Path(folder, "model.mjb")))
        np.savez(Path(folder, "states.npz"), robot=robot, cameras=cameras, ghost=robot[:0] if ghost is None else ghost)
        Path(folder, "about.json").write_text(json.dumps({"size": size, "lamp": lamp}), encoding="utf-8")
        problems = []
        for platform in platforms():
            done = 0
            try:
                for frame in _watch(folder, platform, len(robot), size):
                    yield frame
                    done += 1
                return
            except NoPictures as problem:
                problems.append(f"{platform or 'OpenGL'}: {problem}")
                if done:
                    break
        raise NoPictures("; ".join(problems))


def _watch(folder: str, platform: str, count: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    width, height = size
    child = subprocess.Popen(
        [sys.executable, "-P", __file__, folder],
        env={**os.environ, **({"MUJOCO_GL": platform} if platform else {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the parent, which then ends the child
    )
    try:
        for _ in range(count):
            yield np.frombuffer(_read(child, width * height * 3), np.uint8).reshape(height, width, 3)
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        child.communicate()


def _read(child: "subprocess.Popen[bytes]", wanted: int) -> bytes:
    """The next `wanted` bytes that a child prints; NoPictures when it ends or stalls before."""
    assert child.stdout is not None and child.stderr is not None
    parts: list[bytes] = []
    until = time.monotonic() + PATIENCE
    while wanted:
        if not select.select([child.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
            raise NoPictures(f"no picture within {PATIENCE:g} s")
        part = os.read(child.stdout.fileno(), min(wanted, 1 << 20))
        if not part:
            lines = child.stderr.read().decode(errors="replace").strip().splitlines()
            raise NoPictures(lines[-1] if lines else f"the renderer ended with status {child.wait()}")
        parts.append(part)
        wanted -= len(part)
    return b"".join(parts)


class _Show:
    """The scene of one child: a model, two states and a camera."""

    def __init__(self, model: mujoco.MjModel, size: tuple[int, int], lamp: list[float], samples: int) -> None:
        model.vis.quality.offsamples = samples
        self.model, self.lamp = model, lamp
        self.robot, self.ghost = mujoco.MjData(model), mujoco.MjData(model)
        self.renderer = mujoco.Renderer(model, size[1], size[0], max_geom=3 * model.ngeom + 10)
        self.renderer.scene.flags[mujoco.mjtRndFlag.mjRND_FOG] = 1
        self.camera, self.option = mujoco.MjvCamera(), mujoco.MjvOption()

    def frame(self, robot: np.ndarray, ghost: np.ndarray | None, camera: np.ndarray) -> np.ndarray:
        """One picture."""
        scene = self.renderer.scene
        self._pose(self.robot, robot)
        self.camera.lookat[:], self.camera.distance = camera[:3], camera[3]
        self.camera.azimuth, self.camera.elevation = camera[4:]
        self.renderer.update_scene(self.robot, self.camera, self.option)
        scene.lights[0].pos = [camera[0] + self.lamp[0], camera[1] + self.lamp[1], self.lamp[2]]
        if ghost is not None:
            self._pose(self.ghost, ghost)
            solid = scene.ngeom
            category = mujoco.mjtCatBit.mjCAT_DYNAMIC
            mujoco.mjv_addGeoms(self.model, self.ghost, self.option, mujoco.MjvPerturb(), category, scene)
            for geom in scene.geoms[solid : scene.ngeom]:
                geom.rgba = GHOST
        return self.renderer.render()

    def _pose(self, data: mujoco.MjData, state: np.ndarray) -> None:
        data.qpos[:] = state
        mujoco.mj_kinematics(self.model, data)
        mujoco.mj_camlight(self.model, data)


def _child(folder: str) -> None:
    about = json.loads(Path(folder, "about.json").read_text(encoding="utf-8"))
    model = mujoco.MjModel.from_binary_path(str(Path(folder, "model.mjb")))
    with np.load(Path(folder, "states.npz")) as saved:
        robot, ghosts, cameras = saved["robot"], saved["ghost"], saved["cameras"]
    shown = [(robot[i], ghosts[i] if len(ghosts) else None, cameras[i]) for i in range(len(robot))]
    show = _Show(model, about["size"], about["lamp"], samples=4)
    show.frame(*shown[0])
    began = time.perf_counter()
    show.frame(*shown[0])
    if (time.perf_counter() - began) * len(shown) > BUDGET:
        show.renderer.close()
        show = _Show(model, about["size"], about["lamp"], samples=0)
    for state in shown:
        sys.stdout.buffer.write(show.frame(*state).tobytes())
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    _child(sys.argv[1])
