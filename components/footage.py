"""Footage: what is kept of an episode to make a film of it, of a robot or of anything that terms return."""

import torch
from torch import Tensor

from engine.ecs.component import column, component


@component
class Footage:
    """The first episode of every row, frame by frame; a frame pairs robot and reference of the same instant.

    Axis `state`: root position (m), root rotation (scalar first), joint positions (rad).
    """

    robot: Tensor = column("frame", "state")
    ghost: Tensor = column("frame", "state", doc="the reference, or the simulated robot beside a learned simulator")
    far: Tensor = column("frame", unit="m", doc="mean distance of the tracked bodies from the reference")
    local: Tensor = column("frame", unit="m", doc="the same with the first tracked body put on its reference")
    time: Tensor = column("frame", unit="s", doc="of the clip")
    clip: Tensor = column(dtype=torch.int64)
    frames: Tensor = column(dtype=torch.int64, doc="kept so far")
    running: Tensor = column(dtype=torch.bool, fill=1.0)
    fallen: Tensor = column(dtype=torch.bool, doc="the episode ended by a failure")
    reason: Tensor = column("termination", dtype=torch.bool, doc="why it ended")


@component
class CommandFootage:
    """The first episode of every row that follows velocity commands, frame by frame; axis `state` as in `Footage`."""

    robot: Tensor = column("frame", "state")
    asked: Tensor = column("frame", 3, doc="the command: forward and to the left, m/s; yaw rate, rad/s")
    moved: Tensor = column("frame", 3, doc="how the base moved, alike")
    frames: Tensor = column(dtype=torch.int64, doc="kept so far")
    running: Tensor = column(dtype=torch.bool, fill=1.0)
    fallen: Tensor = column(dtype=torch.bool, doc="the episode ended by a failure")
    reason: Tensor = column("termination", dtype=torch.bool, doc="why it ended")


@component
class Filmstrip:
    """Values of terms in the first episode of every row, frame by frame."""

    shown: Tensor = column("frame", "shown")
    frames: Tensor = column(dtype=torch.int64, doc="kept so far")
    running: Tensor = column(dtype=torch.bool, fill=1.0)
