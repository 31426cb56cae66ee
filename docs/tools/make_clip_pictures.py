"""Draws the pictures of docs/clips.md and prints its table, measured with the simulator's own bodies.

python -m docs.tools.make_clip_pictures                     # all clips on the G1, into docs/pictures
python -m docs.tools.make_clip_pictures --robot humanoid --folder /tmp walk turn
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")

import mujoco
import numpy as np
from PIL import Image, ImageDraw

from components.motion import Clip
from scenes import robots
from systems.motion.clips import BUILT_IN, make_clip
from systems.motion.clips.balance import measure
from systems.motion.kinematics import body_poses, differentiate
from systems.robots.model import RobotModel, build_robot

POSES, WIDTH, HEIGHT = 8, 150, 260  # pictures in a strip, and pixels of each
FINER = 2  # drawn larger by this and scaled down
COLOURS = 64
FLOOR, LINE, BACKGROUND = (0.9, 0.91, 0.93, 1.0), (0.45, 0.5, 0.6, 1.0), 245
DOWN = 5e-4  # m; a point of a sole that is lower than this bears load
LAMP = np.array((-0.12, -0.2, -1.0))  # where it shines
GRID = 0.25  # m between lines on the floor
ASIDE = {"walk": 65.0, "march": 40.0, "squat": 38.0, "turn": 20.0}  # degrees from the front that the camera stands
PART = {"walk": (1.7, 3.2), "march": (1.6, 3.0)}  # s; a pair of steps rather than the whole clip
FOLDER = Path(__file__).resolve().parent.parent / "docs" / "pictures"


def draw(model: RobotModel, clip: Clip) -> Image.Image:
    """Moments of a clip side by side; the camera moves along with the robot but never turns."""
    simulator, data = model.model, mujoco.MjData(model.model)
    simulator.vis.global_.offwidth, simulator.vis.global_.offheight = FINER * WIDTH, FINER * HEIGHT
    simulator.vis.headlight.ambient[:], simulator.vis.headlight.diffuse[:] = 0.32, 0.34
    simulator.geom_rgba[simulator.geom("floor").id] = FLOOR
    camera, options = mujoco.MjvCamera(), mujoco.MjvOption()
    options.geomgroup[3] = 0  # shapes that only collide
    camera.distance, camera.elevation = 2.95 * model.robot.default_height, -14.0
    camera.azimuth = 180.0 - ASIDE.get(clip.name, 0.0)
    strip = Image.new("RGB", (POSES * WIDTH, HEIGHT))
    with mujoco.Renderer(simulator, FINER * HEIGHT, FINER * WIDTH, max_geom=2000) as renderer:
        for number, frame in enumerate(_moments(clip)):
            root = clip.root_position[frame]
            data.qpos[:] = np.concatenate((root, clip.root_rotation[frame], clip.dof_position[frame]))
            mujoco.mj_forward(simulator, data)
            camera.lookat[:] = (root[0], root[1], 0.84 * model.robot.default_height)
            renderer.update_scene(data, camera, options)
            panel = Image.fromarray(_render(renderer, root)).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
            ImageDraw.Draw(panel).text((6, HEIGHT - 16), f"{frame / clip.fps:.1f} s", fill="black")
            strip.paste(panel, (number * WIDTH, 0))
    return strip.quantize(COLOURS, dither=Image.Dither.NONE)


def _moments(clip: Clip) -> list[int]:
    """Equally distant frames of a clip, or of the part of it that says more."""
    first, last = PART.get(clip.name, (0.0, clip.seconds))
    return [round(moment * clip.fps) for moment in np.linspace(first, last, POSES)]


def _furnish(scene: mujoco.MjvScene, root: np.ndarray) -> None:
    """Lines on the floor that show how far the robot goes, and a lamp that throws its shadow."""
    near = (root[:2] / GRID).round() * GRID
    for axis in (0, 1):
        for offset in np.arange(-3.0, 3.0 + GRID, GRID):
            place, size = np.array((*near, 0.0)), np.full(3, 0.003)
            place[axis] += offset
            size[1 - axis], size[2] = 3.0, 1e-4
            line = scene.geoms[scene.ngeom]
            mujoco.mjv_initGeom(line, mujoco.mjtGeom.mjGEOM_BOX, size, place, np.eye(3).ravel(), LINE)
            scene.ngeom += 1
    lamp = scene.lights[scene.nlight]
    lamp.type, lamp.castshadow, lamp.headlight = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, 1, 0
    lamp.pos, lamp.dir = root - 3.0 * LAMP, LAMP
    lamp.ambient, lamp.diffuse, lamp.specular = (0.0,) * 3, (0.4,) * 3, (0.1,) * 3
    scene.nlight += 1


def _render(renderer: mujoco.Renderer, root: np.ndarray) -> np.ndarray:
    """The furnished scene in front of a plain background, (height, width, 3) of bytes."""
    renderer.enable_segmentation_rendering()
    nothing = renderer.render()[..., 0] < 0
    renderer.disable_segmentation_rendering()
    _furnish(renderer.scene, root)
    picture: np.ndarray = renderer.render().copy()
    picture[nothing] = BACKGROUND
    return picture


def figures(model: RobotModel, clip: Clip) -> str:
    """A row of the table: length, way, friction, least distance of the pressure from the soles' edge, fastest joint."""
    motion = clip.root_position, clip.root_rotation, clip.dof_position
    effort = measure(model, motion)
    points = model.foot_points(*body_poses(model, *motion))
    inside = min(
        _depth(feet[feet[:, 2] < DOWN, :2], place) for feet, place in zip(points, effort.pressure, strict=True)
    )
    speed = np.abs(differentiate(clip.dof_position, clip.fps)).max(0)
    joint = int(speed.argmax())
    limit = float(model.robot.velocity_limit[joint])
    name = model.robot.dof_names[joint].removesuffix("_joint").replace("_", " ")
    way = float(np.linalg.norm(effort.centre[-1, :2] - effort.centre[0, :2]))
    fastest = f"{name} {speed[joint]:.1f} of {limit:g} rad/s" if speed[joint] else "none"
    return (
        f"| {clip.name} | {clip.seconds:.1f} s | {way:.2f} m | {effort.friction.max():.2f} | "
        f"{100.0 * inside:.1f} cm | {fastest} |"
    )


def _depth(corners: np.ndarray, place: np.ndarray) -> float:
    """How far inside the convex hull of `corners` (N, 2) m a `place` (2,) m is, m; negative outside."""
    best = np.inf
    for first in corners:
        for second in corners:
            along = second - first
            normal = np.array((-along[1], along[0])) / max(float(np.linalg.norm(along)), 1e-9)
            if np.linalg.norm(along) > 1e-6 and ((corners - first) @ normal).min() > -1e-6:
                best = min(best, float((place - first) @ normal))
    return best


def main() -> None:
    """Draw and measure the clips named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", default=BUILT_IN, help="names of built-in clips; all by default")
    parser.add_argument("--robot", default="g1", help="a robot by name, or an MJCF file")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the pictures go")
    chosen = parser.parse_args()
    model = build_robot(robots.load(chosen.robot), visual=True)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    for name in chosen.clips:
        clip = make_clip(name, model.robot, model)
        file = chosen.folder / f"clip_{name}.png"
        draw(model, clip).save(file, optimize=True)
        print(figures(model, clip))


if __name__ == "__main__":
    main()
