"""Commands of locomotion: the velocity that is asked for, its range, and the clock of a gait."""

import torch
from torch import Tensor

from engine.ecs.component import column, component, resource


@component
class Command:
    """The velocity that each row is asked for, in the axes of its base. `held` rows keep what somebody wrote by hand."""

    velocity: Tensor = column(3, doc="forward and to the left, m/s; yaw rate, rad/s")
    heading: Tensor = column(unit="rad", doc="yaw to turn to, in world axes, where `turning`")
    turning: Tensor = column(dtype=torch.bool, doc="the yaw rate follows from the heading")
    wait: Tensor = column(dtype=torch.int64, unit="control steps", doc="until the next one is drawn")
    due: Tensor = column(dtype=torch.bool, doc="drawn in this tick")
    held: Tensor = column(dtype=torch.bool, doc="neither drawn nor turned to a heading")


@resource
class CommandRange:
    """What commands are drawn from in this tick: (3,) as in `Command.velocity`."""

    low: Tensor
    high: Tensor

    @classmethod
    def zeros(cls, device: torch.device | str = "cpu") -> "CommandRange":
        """No motion, as before the first tick."""
        return cls(low=torch.zeros(3, device=device), high=torch.zeros(3, device=device))


@component
class GaitClock:
    """Where each foot is in its cycle of stance and swing."""

    start: Tensor = column(unit="1", doc="phase with which the episode began, in [0, 1)")
    phase: Tensor = column("foot", unit="1", doc="in [0, 1)")
