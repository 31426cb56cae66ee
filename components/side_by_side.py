"""Side by side: rows that a learned simulator moves, the same rows in the simulator it was learned from, and how far they part."""

import torch
from torch import Tensor

from components.physics import Physics
from components.robot import DofState, RootState
from engine.ecs.component import column, component, resource


@resource
class Simulator(Physics):
    """The backend that moves `SimulatedRoot` and `SimulatedDofs`."""


@component
class SimulatedRoot(RootState):
    """The free base where the simulator takes it by the same joint targets."""


@component
class SimulatedDofs(DofState):
    """Joint state where the simulator takes it by the same joint targets."""


@component
class ModelError:
    """How far the learned simulator is from the simulator by now, in rows that began at the same place."""

    steps: Tensor = column(dtype=torch.int64, unit="1", doc="control steps since both began")
    joints: Tensor = column(unit="rad", doc="mean over the joints")
    position: Tensor = column(unit="m", doc="of the root")
    rotation: Tensor = column(unit="rad", doc="of the root")
    diverged: Tensor = column(dtype=torch.bool, doc="the simulation failed in this step, and is where it was before")


@component
class ModelErrorAfter:
    """How far it was so many control steps after both began, the first time that the row got so far."""

    reached: Tensor = column("error_steps", dtype=torch.bool, doc="the row got so far")
    joints: Tensor = column("error_steps", unit="rad", doc="mean over the joints")
    position: Tensor = column("error_steps", unit="m", doc="of the root")
    rotation: Tensor = column("error_steps", unit="rad", doc="of the root")
