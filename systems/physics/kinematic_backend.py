"""Kinematic backend, without dynamics: joints go to their targets, the root stays where it was put. Plays motions; tests use it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.robot import BodyState, ContactForce, DofState, RootState
from engine.errors import SceneError, listing
from systems.robots.model import RobotModel


class KinematicBackend:
    """See `systems/physics/contract.py`. Everything it knows is in the columns; nothing touches anything."""

    exact_resume = True
    varies: frozenset[str] = frozenset()

    def __init__(self, model: RobotModel, rows: int, *, sensed: Sequence[str]) -> None:
        self.model = model
        self.axes = {**model.axes, "sensed": tuple(sensed)}
        self._moving = model.control == "servo"

    def begin(self, diverged: Tensor) -> None:
        """A new control step."""
        diverged.zero_()

    def step(self, substeps: int, control: Tensor, root: RootState, dofs: DofState, diverged: Tensor) -> None:
        """Put the joints on their targets, within their limits; torques move nothing.

        Rows with a non-finite target are marked and keep their joints.
        """
        if not self._moving:
            return
        robot = self.model.robot
        bad = ~control.isfinite().all(-1)
        diverged |= bad
        target = control.clamp(robot.position_limit[:, 0], robot.position_limit[:, 1])
        target = torch.where(bad[:, None], dofs.position, target)
        dofs.velocity.copy_((target - dofs.position) / (substeps * self.model.dt))
        dofs.position.copy_(target)

    def restart(self, rows: Tensor, root: RootState, dofs: DofState) -> None:
        """Nothing to forget."""

    def kinematics(self, root: RootState, dofs: DofState, bodies: BodyState, forces: ContactForce) -> None:
        """Forward kinematics of the columns; no forces."""
        moved = self.model.kinematics(
            *(
                tensor.double().numpy()
                for tensor in (
                    root.position, root.rotation, dofs.position,
                    root.linear_velocity, root.angular_velocity, dofs.velocity,
                )
            )
        )  # fmt: skip
        columns = (bodies.position, bodies.rotation, bodies.linear_velocity, bodies.angular_velocity)
        for column, values in zip(columns, moved, strict=True):
            column.copy_(torch.from_numpy(values))
        forces.force.zero_()
        forces.self_contacts.zero_()

    def change(self, rows: Tensor, values: Mapping[str, Tensor]) -> None:
        """Raises SceneError: mass, friction and gains make no difference without dynamics."""
        raise SceneError(
            f"The kinematic backend cannot vary {listing(values)}: it has no dynamics. Choose --backend mujoco."
        )

    def focus(self, rows: Sequence[int] | None) -> None:
        """There is no work to spare."""

    def overflows(self) -> Mapping[str, int]:
        """Nothing touches anything."""
        return {}

    def penetration(self) -> np.ndarray | None:
        """Shapes go through each other, and nobody looks."""
        return None

    def state(self) -> dict[str, Any]:
        """Nothing is hidden."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Nothing is hidden."""
