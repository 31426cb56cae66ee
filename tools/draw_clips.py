"""Draws the pictures of docs/clips.md and prints its table, measured with the simulator's own bodies.

python -m tools.draw_clips                     # all clips on the G1, into docs/pictures
python -m tools.draw_clips --robot humanoid --folder /tmp walk turn
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
from systems.clips import BUILT_IN, make_clip
from systems.physics.model import RobotModel, build_robot

POSES, WIDTH, HEIGHT = 8, 150, 270  # pictures in a strip, and pixels of each
FINER = 2  # drawn larger by this and scaled down
COLOURS = 96
FOLDER = Path(__file__).resolve().parent.parent / "docs" / "pictures"
FROM = {"walk": 60.0, "march": 40.0, "squat": 50.0, "turn": 20.0}  # degrees from the front that the camera stands; else 0


def draw(model: RobotModel, clip: Clip) -> Image.Image:
    """Equally distant moments of a clip side by side, the camera moving along with the robot but never turning."""
    simulator, data = model.model, mujoco.MjData(model.model)
    simulator.vis.headlight.ambient[:], simulator.vis.headlight.diffuse[:] = 0.45, 0.5
    options = mujoco.MjvOption()
    options.geomgroup[3] = 0
    camera = mujoco.MjvCamera()
    camera.distance, camera.elevation = 3.2 * model.robot.default_height, -12.0
    camera.azimuth = 180.0 - FROM.get(clip.name, 0.0)
    strip = Image.new("RGB", (POSES * WIDTH, HEIGHT), "white")
    with mujoco.Renderer(simulator, FINER * HEIGHT, FINER * WIDTH) as renderer:
        for number, frame in enumerate(np.linspace(0, clip.num_frames - 1, POSES).round().astype(int)):
            data.qpos[:] = np.concatenate(
                (clip.root_position[frame], clip.root_rotation[frame], clip.dof_position[frame])
            )
            mujoco.mj_kinematics(simulator, data)
            mujoco.mj_comPos(simulator, data)
            camera.lookat[:] = (*clip.root_position[frame, :2], 0.88 * model.robot.default_height)
            renderer.update_scene(data, camera, options)
            panel = Image.fromarray(renderer.render()).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
            ImageDraw.Draw(panel).text((6, HEIGHT - 16), f"{frame / clip.fps:.1f} s", fill="white")
            strip.paste(panel, (number * WIDTH, 0))
    return strip.quantize(COLOURS, dither=Image.Dither.NONE)


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
        print(f"{file} {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
