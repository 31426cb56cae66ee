"""The picture of a clip in the plane y = 0: left becomes right. The picture of the picture is the clip, to the last bit.

Which joint takes over from which, and whether it turns the other way, follows from the axes of the robot's model. A robot
whose sides differ is refused with the joints that do.
"""

import argparse

import attrs
import numpy as np

from components.motion import Clip
from systems.motion.tools.fitted import FittedClip, add_clips, fit, fitted
from systems.motion.tools.output import add_output, write_clips
from systems.robots.model import RobotModel
from systems.robots.symmetry import REFLECTION, joint_mirror


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lockstep clips mirror`."""
    add_clips(parser, many=True)
    add_output(parser)


def run(options: argparse.Namespace) -> int:
    """Write the mirror images of clips."""
    return write_clips(fitted(options, after=_mirrored), options)


def _mirrored(found: FittedClip) -> FittedClip:
    image = attrs.evolve(mirror_clip(found.clip, found.model), file_rotation="", joint_order="", origins={}, notes=())
    return attrs.evolve(fit(image, found.model), decided=found.decided)


def mirror_clip(clip: Clip, model: RobotModel) -> Clip:
    """The reflection of a verified clip in the plane y = 0 of the world; SceneError where the robot is not symmetric."""
    joints = joint_mirror(model)
    moved = clip.dof_position[:, joints.image] * joints.sign
    return attrs.evolve(
        clip,
        root_position=clip.root_position * REFLECTION,
        root_rotation=clip.root_rotation * np.array((1.0, *-REFLECTION)),  # turns about the reflected axis go round
        dof_position=moved + joints.offset if joints.offset.any() else moved,
        dof_velocity=None,
        action=None,  # nobody says which way an output turns its joint, or which foot is left
        contact_mask=None,
        body_names=None,
        body_position=None,
        body_rotation=None,
    )
