"""Control data: actions and their delays, encoder errors, joint targets, gains and torques."""

import torch
from torch import Tensor

from engine.ecs.component import column, component, signal


@component
class Action:
    """The policy's raw output and the one before it; zero after a reset where `reset_action` runs."""

    value: Tensor = column("dof", doc="clipped, undelayed")
    previous: Tensor = column("dof")


@component
class ChosenAction:
    """What somebody outside of the tick wants every row to do in the next one."""

    value: Tensor = column("dof")


@component
class ActionDelay:
    """A queue of recent actions and how many control steps each row lags behind."""

    queue: Tensor = column("delay", "dof", doc="newest first")
    steps: Tensor = column(dtype=torch.int64, unit="control steps")


@component
class EncoderBias:
    """Constant error of the joint encoders: seen in the actor's joint positions, taken off its targets."""

    value: Tensor = column("dof", unit="rad")


@signal
class DofTarget:
    """What reaches the joints in this tick."""

    position: Tensor = column("dof", unit="rad", doc="default (or reference) + scale × delayed action − encoder bias")
    command: Tensor = column("dof", doc="scale × delayed action: rad, rad/s or N·m by the controller")


@signal
class DofTorque:
    """Motor torque of the current substep, within limits."""

    value: Tensor = column("dof", unit="N·m")


@component
class PdGains:
    """Gains of each row's joint servo."""

    stiffness: Tensor = column("dof", unit="N·m/rad")
    damping: Tensor = column("dof", unit="N·m·s/rad")


@component
class TorqueNoise:
    """How unreliable each motor of a row is: noise drawn every substep, at most this much."""

    amplitude: Tensor = column("dof", unit="1", doc="share of the torque limit")


@component
class PreviousDof:
    """Joint velocity at the end of the tick before, for accelerations."""

    velocity: Tensor = column("dof", unit="rad/s")
