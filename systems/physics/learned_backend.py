"""Learned backend: a dynamics model moves the rows, with gradients where they are asked for. Contacts it cannot tell."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.dynamics import Dynamics
from components.robot import BodyState, ContactForce, DofState, RootState
from engine.ecs.schedule import Schedule
from engine.errors import SceneError, listing
from systems.learning.dynamics import Folded, fold, predict
from systems.physics.sensing import readers_in
from systems.robots.forward_kinematics import ForwardKinematics
from systems.robots.model import RobotModel


class LearnedBackend:
    """See `systems/physics/contract.py`; columns may have any number of rows, and carry gradients.

    `pull`: backwards through time no row pulls at a part of the state more than so many times as hard as the median row.
    `bodies`: those whose poses and velocities are given, by default all; those of the others are NaN.
    """

    exact_resume = True
    varies: frozenset[str] = frozenset()

    def __init__(
        self, model: RobotModel, dynamics: Dynamics, *, pull: float = math.inf, bodies: Sequence[str] | None = None
    ) -> None:
        if model.control != "servo":
            raise SceneError(
                f"The learned dynamics are those of joint servos over a whole control step, but the robot '{model.robot.name}' is "
                f"built with control='{model.control}'. Choose --control servo."
            )
        self.model, self.dynamics, self.pull = model, dynamics, pull
        self.axes: Mapping[str, tuple[str, ...]] = {**model.axes, "sensed": ()}
        self._kinematics = ForwardKinematics.of(model, bodies)
        known = model.robot.body_names if bodies is None else bodies
        self._places = torch.tensor([model.robot.body_names.index(name) for name in known])
        self._all = bodies is None
        self._rows: Sequence[int] | None = None
        self._folded: Folded | None = None  # until the first step, before which the dynamics are loaded

    def refold(self) -> None:
        """Take up the dynamics as they are now; called whenever they were fitted."""
        self._folded = fold(self.dynamics)

    def begin(self, diverged: Tensor) -> None:
        """A new control step."""
        diverged.zero_()

    def step(self, substeps: int, control: Tensor, root: RootState, dofs: DofState, diverged: Tensor) -> None:
        """One control step, however many `substeps` a simulator takes in it; rows with a number that is not finite stand still."""
        columns = (
            root.position,
            root.rotation,
            dofs.position,
            root.linear_velocity,
            root.angular_velocity,
            dofs.velocity,
        )
        before = torch.cat(columns, 1)
        self._folded = self._folded or fold(self.dynamics)
        after = predict(self._folded, before, control)
        if after.requires_grad and self.pull < math.inf:
            after.register_hook(self._tame)
        bad = ~after.isfinite().all(1)
        if self._rows is not None:
            still = torch.ones_like(bad)
            still[list(self._rows)] = False
            after, bad = torch.where(still.unsqueeze(1), before, after), bad & ~still
        if bool(bad.any()):
            diverged |= bad
            after = torch.where(bad.unsqueeze(1), before, after)
        for column, value in zip(columns, after.split([column.shape[1] for column in columns], 1), strict=True):
            column.copy_(value)

    def _tame(self, gradient: Tensor) -> Tensor:
        return tame(gradient, self.pull)

    def restart(self, rows: Tensor, root: RootState, dofs: DofState) -> None:
        """Nothing to forget."""

    def kinematics(self, root: RootState, dofs: DofState, bodies: BodyState, forces: ContactForce) -> None:
        """Forward kinematics of the columns; no forces."""
        moved = self._kinematics.moving(
            root.position,
            root.rotation,
            root.linear_velocity,
            root.angular_velocity,
            dofs.position,
            dofs.velocity,
        )
        columns = (bodies.position, bodies.rotation, bodies.linear_velocity, bodies.angular_velocity)
        for column, values in zip(columns, moved, strict=True):
            if self._all:
                column.copy_(values)
                continue
            with torch.no_grad():
                column.fill_(math.nan)
            column.index_copy_(1, self._places, values)
        forces.force.zero_()
        forces.self_contacts.zero_()

    def change(self, rows: Tensor, values: Mapping[str, Tensor]) -> None:
        """Raises SceneError: the model was fitted to the robot as it was."""
        raise SceneError(
            f"The learned dynamics cannot be given another {listing(values)}: they are those of the robot that they were fitted "
            "to. Choose --backend mujoco."
        )

    def focus(self, rows: Sequence[int] | None) -> None:
        """Let these rows move only."""
        self._rows = rows

    def overflows(self) -> Mapping[str, int]:
        """It has no buffers."""
        return {}

    def penetration(self) -> np.ndarray | None:
        """It knows of no shapes."""
        return None

    def state(self) -> dict[str, Any]:
        """Nothing is hidden; the dynamics are a resource of their own."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up the dynamics in the next step: they may be put back later than this."""
        self._folded = None


def refuse_unfitted(dynamics: Dynamics) -> None:
    """SceneError for dynamics that were never fitted, as in a run that was saved before its memory was filled."""
    if not bool(dynamics.scale.any()):
        raise SceneError(
            "The learned dynamics were saved before they were fitted for the first time, so nothing is known of how the robot moves. "
            "Name a later checkpoint, train for longer, or choose --backend mujoco."
        )


def refuse_contacts(schedule: Schedule) -> None:
    """SceneError for a system or term that reads contact forces."""
    for reader in readers_in(schedule):
        raise SceneError(
            f"'{reader.address}' reads contact forces, and the learned simulator tells none. Leave it out, or choose "
            "--backend mujoco."
        )


def tame(gradient: Tensor, pull: float) -> Tensor:
    """Gradients of states (rows, 13 + 2 · joints), each part of a row at most `pull` times as long as in the median row.

    Parts are root position and rotation, joints, root's linear and angular velocity, joint velocities; rows without a
    gradient do not count, and a number that is not finite becomes 0.
    """
    belongs = _parts((gradient.shape[1] - 13) // 2, gradient.dtype)
    gradient = torch.nan_to_num(gradient, 0.0, 0.0, 0.0)
    squares = torch.mm(belongs, gradient.square().t())
    median = squares.masked_fill(squares == 0.0, math.nan).nanmedian(1, keepdim=True).values
    scale = (pull**2 * median / squares).nan_to_num(0.0).clamp(max=1.0).sqrt_()
    return gradient * torch.mm(scale.t(), belongs)


@functools.cache
def _parts(joints: int, dtype: torch.dtype) -> Tensor:
    """(6, 13 + 2 · joints): 1 where a number belongs to a part."""
    sizes = torch.tensor((3, 4, joints, 3, 3, joints))
    return torch.eye(6, dtype=dtype).repeat_interleave(sizes, 1)
