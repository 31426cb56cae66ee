"""Joint order: a clip's joints are matched by name to those of the robot that shall follow it."""

import attrs
import numpy as np

from components.motion import Clip
from components.robot import Robot
from engine.errors import SceneError, listing
from systems.motion.joint_orders import DOCUMENTED_ORDER

WRIST = ("wrist", "hand")  # joints and bodies that differ between otherwise equal robots


def _without_suffix(name: str) -> str:
    return name.removesuffix("_joint")


def fit_joints(clip: Clip, robot: Robot) -> tuple[Clip, list[str]]:
    """The clip with joints by name in the robot's order; missing wrists are filled with 0, surplus ones dropped.

    Raises SceneError naming the joints when the clip belongs to another robot.
    """
    width = clip.dof_position.shape[1]
    own = [_without_suffix(name) for name in robot.dof_names]
    warnings: list[str] = []
    names = clip.dof_names or DOCUMENTED_ORDER.get(width)
    if names is None:
        if width != len(own):
            raise SceneError(
                f"{clip.title} has {width} joints without names and {robot.name} has {len(own)}. "
                "Write joint_names into the file, or use a clip made for this robot."
            )
        names = robot.dof_names
        warnings.append(f"{clip.title} does not name its {width} joints; they are taken in the order of {robot.name}.")
    if len(names) != width:
        raise SceneError(f"{clip.title} names {len(names)} joints but has angles for {width}.")
    given = [_without_suffix(name) for name in names]
    if len(set(given)) != len(given):
        raise SceneError(f"{clip.title} names the joint '{next(n for n in given if given.count(n) > 1)}' twice.")
    missing = [name for name in own if name not in given]
    surplus = [name for name in given if name not in own]
    strange = [name for name in missing + surplus if not any(word in name for word in WRIST)]
    if strange:
        raise SceneError(
            f"{clip.title} is for another robot: "
            + "; ".join(
                f"{verb} {listing(group, 6)}"
                for verb, group in (("it lacks", missing), (f"{robot.name} has no", surplus))
                if group
            )
            + ". Use a clip made for this robot, or retarget it."
        )
    position = np.zeros((clip.num_frames, len(own)))
    velocity = None if clip.dof_velocity is None else np.zeros_like(position)
    for column, name in enumerate(own):
        if name in given:
            position[:, column] = clip.dof_position[:, given.index(name)]
            if velocity is not None and clip.dof_velocity is not None:
                velocity[:, column] = clip.dof_velocity[:, given.index(name)]
    if missing:
        warnings.append(f"{clip.title} lacks {listing(missing, 6)}; they are held at 0.")
    if surplus:
        warnings.append(
            f"{clip.title} moves {listing(surplus, 6)}, which {robot.name} does not have; they are left out."
        )
    clip = _take_root(clip, robot)
    named = None if clip.dof_names is None else robot.dof_names
    return attrs.evolve(clip, dof_position=position, dof_velocity=velocity, dof_names=named), warnings


def _take_root(clip: Clip, robot: Robot) -> Clip:
    root = robot.body_names[0]
    if (
        clip.body_names is None
        or clip.body_position is None
        or clip.body_rotation is None
        or root not in clip.body_names
    ):
        return clip
    index = clip.body_names.index(root)
    if index == 0:
        return clip
    return attrs.evolve(clip, root_position=clip.body_position[:, index], root_rotation=clip.body_rotation[:, index])
