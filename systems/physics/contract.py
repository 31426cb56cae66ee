"""Contract of physics backends: what each of them promises.

One convention everywhere: z up; metres, radians, seconds; quaternions scalar first; positions from the
row's own origin; velocities of body frame origins in world axes; joints and bodies in the robot's order.
A backend converts; nobody else may.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from torch import Tensor

from components.robot import BodyState, ContactForce, DofState, RootState

Quantity = Literal["foot_friction", "body_mass", "body_com", "stiffness", "damping"]


class Backend(Protocol):
    """Simulates every row of one robot table.

    The root and joint columns are the state, whoever writes them: a row whose columns hold another number than
    the backend last wrote or took is pushed in when `step`, `restart` or `kinematics` is called next, as if
    `restart` had named it; rows that nobody wrote go on bit for bit. Writes are seen by the version counters of the
    columns, which every torch operation moves. Columns keep what was written, a rotation of another length than 1 too,
    until the next step.
    """

    @property
    def axes(self) -> Mapping[str, tuple[str, ...]]:
        """Labels of `dof`, `body` and `foot`, in the robot's order, and of `sensed`, whose contact force is measured."""
        ...

    @property
    def exact_resume(self) -> bool:
        """Whether a restored snapshot continues with the same bytes."""
        ...

    def begin(self, diverged: Tensor) -> None:
        """A new control step: no substep taken, `diverged` (rows,) bool all false, no self-contact counted."""
        ...

    def step(self, substeps: int, control: Tensor, root: RootState, dofs: DofState, diverged: Tensor) -> None:
        """Advance; root and joint columns then hold the new state.

        `control`: (rows, dof), joint targets in rad or torques in N·m as the robot was built. Rows whose
        simulation fails are set in `diverged` (rows,) and put back to their last sound state.
        """
        ...

    def restart(self, rows: Tensor, root: RootState, dofs: DofState) -> None:
        """The columns of `rows` (rows,) bool were rewritten: push them in and forget warm starts and contacts.

        Rows that a simulation cannot start from (a number that is not finite, a rotation of length 0) are set in
        `diverged` by the next step, and put back to their last sound state.
        """
        ...

    def kinematics(self, root: RootState, dofs: DofState, bodies: BodyState, forces: ContactForce) -> None:
        """Make the body columns agree with root and joints, and the forces with the last substep.

        Rows that were restarted get the forces that act in their new state.
        """
        ...

    def change(self, quantity: Quantity, rows: Tensor, value: Tensor) -> None:
        """Give the rows of mask `rows` their own model constants; float32 `value`, one entry for every row.

        foot_friction (rows,) sliding coefficient; body_mass (rows, body) kg, inertia follows;
        body_com (rows, body, 3) m in the body frame; stiffness, damping (rows, dof) of the joint servo.
        """
        ...

    def focus(self, rows: Sequence[int] | None) -> None:
        """Let steps move these rows only, to the same bytes as among all; the others stand still. None: all.

        The rows come in any order, and a row may be named more than once.
        """
        ...

    def overflows(self) -> Mapping[str, int]:
        """In how many rows a buffer of the simulator was too small since the run began, by name of the buffer.

        What did not fit was left out of the simulation. Empty for a simulator that has no such buffers, or does not report them.
        """
        ...

    def penetration(self) -> np.ndarray | None:
        """(rows,) m, how deep the two shapes that overlap most do, as of the last step; None for a simulator that does not report it."""
        ...

    def state(self) -> dict[str, Any]:
        """Hidden state that a snapshot needs beyond the columns, what the columns last held included.

        Whoever keeps it copies it: its arrays may be those in use.
        """
        ...

    def load(self, state: Mapping[str, Any]) -> None:
        """Put hidden state back, copied; the columns are put back by the caller, before or after.

        An edit that was pending when the state was taken is pending again.
        """
        ...
