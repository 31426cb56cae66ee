"""Four panels: angles of the joints, their place between the limits, heights of root and feet, speeds of the joints.

Joints that come nearest to a limit are named; the others are grey. Many clips go into a folder, a picture each.
"""

import argparse
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import SceneError, listing
from engine.tools.figures import file_figure
from systems.motion.kinematics import body_poses, differentiate
from systems.motion.tools.fitted import FittedClip, add_clips, fitted
from systems.motion.tools.output import add_force, path_of, paths_in, refuse_existing, write_whole

PICTURES = ("png", "pdf", "svg")
NAMED = 6  # joints with a colour
_GREY, _LIMIT = "0.82", "#b03030"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lockstep clips plot`."""
    add_clips(parser, many=True)
    ends = listing(f".{ending}" for ending in PICTURES)
    parser.add_argument(
        "--out",
        type=path_of,
        required=True,
        metavar="FILE",
        help=f"the picture ({ends}), or a folder for one of each clip",
    )
    add_force(parser)


def run(options: argparse.Namespace) -> int:
    """Draw clips."""
    found = fitted(options)
    paths = _paths(found, options.out)
    refuse_existing(paths, force=options.force)
    for path, each in zip(paths, found, strict=True):
        write_whole(path, picture(each, path.suffix[1:].lower()))
        print(f"{path}: {each.clip.name}, {each.clip.seconds:.2f} s, {each.model.robot.name}")
    return 0


def _paths(found: Sequence[FittedClip], out: Path) -> list[Path]:
    if out.is_dir() or not out.suffix:
        return paths_in(out, found, PICTURES[0])
    if out.suffix[1:] not in PICTURES:
        ends = listing(f".{ending}" for ending in PICTURES)
        raise SceneError(f"--out {out} ends in '{out.suffix}'; pictures are drawn as {ends}, or into a folder.")
    if len(found) > 1:
        raise SceneError(
            f"There are {len(found)} clips, and {out} is one picture. Name a folder: --out {out.with_suffix('')}"
        )
    return [out]


def picture(found: FittedClip, ending: str) -> bytes:
    """The content of a picture of a clip."""
    figure = file_figure(12.0, 7.5)
    clip = found.clip
    figure.suptitle(
        f"{clip.name}: {clip.seconds:.2f} s, {clip.num_frames} frames at {clip.fps:g} per second, {found.model.robot.name}"
    )
    time = np.arange(clip.num_frames) / clip.fps
    panels = figure.subplots(2, 2, sharex=True)
    _angles(panels[0, 0], time, found)
    _places(panels[0, 1], time, found)
    _heights(panels[1, 0], time, found)
    _speeds(panels[1, 1], time, found)
    for panel in panels.ravel():
        panel.set_xlim(time[0], time[-1])
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    for panel in panels[1]:
        panel.set_xlabel("s")
    content = io.BytesIO()
    figure.savefig(content, format=ending, dpi=110)
    return content.getvalue()


def _curves(panel: Any, time: np.ndarray, values: np.ndarray, names: Sequence[str], rank: np.ndarray) -> None:
    """A curve for each joint; those that rank highest in colour, with names."""
    first = np.argsort(-rank, kind="stable")[:NAMED].tolist()
    rest = [joint for joint in range(len(names)) if joint not in first]
    if rest:
        panel.plot(time, values[:, rest], color=_GREY, linewidth=0.7, zorder=1)
    for colour, joint in enumerate(first):
        panel.plot(time, values[:, joint], color=f"C{colour}", linewidth=1.2, label=names[joint].removesuffix("_joint"))


def _angles(panel: Any, time: np.ndarray, found: FittedClip) -> None:
    panel.set_title("joint angles that change most, rad", fontsize=9)
    angles = found.clip.dof_position
    _curves(panel, time, angles, found.model.robot.dof_names, np.ptp(angles, 0))


def _places(panel: Any, time: np.ndarray, found: FittedClip) -> None:
    panel.set_title("place between the joint limits, %", fontsize=9)
    low, high = found.model.robot.position_limit.double().numpy().T
    place = 100.0 * (found.clip.dof_position - low) / (high - low)
    _curves(panel, time, place, found.model.robot.dof_names, np.abs(place - 50.0).max(0))
    for limit in (0.0, 100.0):
        panel.axhline(limit, color=_LIMIT, linewidth=0.8, linestyle="--")


def _heights(panel: Any, time: np.ndarray, found: FittedClip) -> None:
    panel.set_title("height of the root and of the lowest point of each foot, m", fontsize=9)
    clip, model = found.clip, found.model
    points = model.foot_points(*body_poses(model, clip.root_position, clip.root_rotation, clip.dof_position))[..., 2]
    panel.plot(time, clip.root_position[:, 2], color="0.3", linewidth=1.2, label=model.robot.body_names[0])
    body = np.array(model.foot_point_body)
    for colour, foot in enumerate(dict.fromkeys(model.foot_point_body)):
        lowest = points[:, body == foot].min(1)
        panel.plot(time, lowest, color=f"C{colour}", linewidth=1.2, label=model.robot.body_names[foot])
    panel.axhline(0.0, color=_LIMIT, linewidth=0.8, linestyle="--")


def _speeds(panel: Any, time: np.ndarray, found: FittedClip) -> None:
    panel.set_title("joint speeds, % of their limits", fontsize=9)
    robot = found.model.robot
    share = (
        100.0 * np.abs(differentiate(found.clip.dof_position, found.clip.fps)) / robot.velocity_limit.double().numpy()
    )
    _curves(panel, time, share, robot.dof_names, share.max(0))
    if share.max() > 50.0:
        panel.axhline(100.0, color=_LIMIT, linewidth=0.8, linestyle="--")
