"""Episode logs: what the first episode of every row was like, frame by frame, for whoever measures or draws it afterwards."""

import torch
from torch import Tensor

from engine.ecs.component import column, component


@component
class RobotLog:
    """The robot after every control step of its first episode, before anything starts over."""

    root: Tensor = column("frame", 3, unit="m", doc="place of the base in world axes")
    root_velocity: Tensor = column("frame", 3, unit="m/s", doc="of the base, world axes")
    dof_position: Tensor = column("frame", "dof", unit="rad")
    dof_velocity: Tensor = column("frame", "dof", unit="rad/s")
    action: Tensor = column("frame", "dof", doc="of the policy")
    frames: Tensor = column(dtype=torch.int64, doc="kept so far")
    running: Tensor = column(dtype=torch.bool, fill=1.0)
    failed: Tensor = column(dtype=torch.bool, doc="the episode ended by a failure")
    reason: Tensor = column("termination", dtype=torch.bool, doc="why it ended")


@component
class TorqueLog:
    """Torque of every joint at the end of every control step of the first episode."""

    value: Tensor = column("frame", "dof", unit="N·m")


@component
class TargetLog:
    """What every joint was asked for in every control step of the first episode."""

    position: Tensor = column("frame", "dof", unit="rad")


@component
class FootLog:
    """Feet after every control step of the first episode."""

    touching: Tensor = column("frame", "foot", dtype=torch.bool, doc="contact force above the threshold")
    velocity: Tensor = column(
        "frame",
        "foot",
        3,
        unit="m/s",
        doc="of the sole, world axes",
    )


@component
class ReferenceLog:
    """Tracked bodies and joints beside their reference of the same instant, in the first episode."""

    clip: Tensor = column(dtype=torch.int64, doc="the clip that was played")
    time: Tensor = column("frame", unit="s", doc="of the clip")
    dof_position: Tensor = column("frame", "dof", unit="rad", doc="of the reference")
    dof_velocity: Tensor = column("frame", "dof", unit="rad/s", doc="of the reference")
    position: Tensor = column("frame", "tracked", 3, unit="m", doc="of the robot")
    rotation: Tensor = column("frame", "tracked", 4, doc="of the robot, scalar first")
    reference_position: Tensor = column("frame", "tracked", 3, unit="m")
    reference_rotation: Tensor = column("frame", "tracked", 4, doc="scalar first")


@component
class CommandLog:
    """Commands beside how the base moved, in the first episode: forward and to the left in m/s, yaw rate in rad/s."""

    asked: Tensor = column("frame", 3)
    moved: Tensor = column("frame", 3)
