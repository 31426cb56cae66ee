"""Contract of physics backends: what each of them promises.

One convention everywhere: z up; metres, radians, seconds; quaternions scalar first; positions from the
row's own origin; velocities of body frame origins in world axes; joints and bodies in the robot's order.
A backend converts; nobody else may.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import attrs
import numpy as np
from torch import Tensor

from components.robot import BodyState, ContactForce, DofState, RootState


@attrs.frozen
class Field:
    """A physical constant of which every row may have its own values.

    It has `parts` numbers for each label along `axis`: "shape" (a collision shape), "body", "dof", or "" for one place in
    all. No number may be below `least`, nor equal to it where that is `excluded`, nor above `most`.
    """

    axis: str
    about: str
    unit: str = "1"
    parts: tuple[str, ...] = ("",)
    least: float = -math.inf
    excluded: bool = False
    most: float = math.inf


@attrs.frozen(eq=False)
class Nominal:
    """A field as it is in the model: (labels, parts) float64, and at which labels another value can have an effect."""

    labels: tuple[str, ...]
    values: Tensor
    felt: tuple[bool, ...]


XYZ = ("x", "y", "z")
FIELDS: Mapping[str, Field] = {
    "friction": Field("shape", "sliding friction", least=0.0),
    "torsional_friction": Field("shape", "friction that stops a foot from turning on its place", "m", least=0.0),
    "rolling_friction": Field("shape", "friction that stops rolling", "m", least=0.0),
    "restitution": Field("shape", "share of the approach speed with which a shape bounces off", least=0.0, most=1.0),
    "contact_time": Field("shape", "time constant of the contact's spring and damper", "s", least=0.0, excluded=True),
    "contact_damping": Field("shape", "damping ratio of the contact", least=0.0, excluded=True),
    "body_mass": Field("body", "mass; the inertia follows", "kg", least=0.0, excluded=True),
    "body_com": Field("body", "centre of mass in the body frame", "m", XYZ),
    "pseudo_inertia": Field(
        "body", "see `systems/maths/inertia.py`: mass, centre of mass and inertia together",
        parts=("size", "x", "y", "z", "xy", "yz", "xz", "shift_x", "shift_y", "shift_z"),
    ),
    "armature": Field("dof", "reflected inertia of the motor", "kg·m²", least=0.0),
    "joint_damping": Field("dof", "viscous friction of the joint", "N·m·s/rad", least=0.0),
    "friction_loss": Field("dof", "dry friction of the joint", "N·m", least=0.0),
    "stiffness": Field("dof", "gain of the joint servo on position", "N·m/rad", least=0.0),
    "damping": Field("dof", "gain of the joint servo on velocity", "N·m·s/rad", least=0.0),
    "torque_limit": Field("dof", "most torque of the motor, either way", "N·m", least=0.0, excluded=True),
    "torque_offset": Field("dof", "torque that the motor adds to what is asked of it, as a share of its limit"),
    "gravity": Field("", "acceleration of everything", "m/s²", XYZ),
}  # fmt: skip


SELF_CONTACT_FORCE = 10.0  # N, above which a substep counts as one with a self-contact
SPEED_LIMIT = 1000.0  # m/s or rad/s, beyond which a simulation counts as diverged


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

        Rows that were restarted get the forces that act in their new state, or none until they are stepped where the simulator
        tells forces of steps only, as Isaac Gym.
        """
        ...

    @property
    def varies(self) -> frozenset[str]:
        """Names of the FIELDS that rows may have values of their own of."""
        ...

    def change(self, rows: Tensor, values: Mapping[str, Tensor]) -> None:
        """Give the rows of mask `rows` their own model constants, and derive anew what follows from them.

        `values` by name of the field, of FIELDS: an entry for every row, (rows, labels) or, of more than one part, (rows, labels,
        parts); (rows, parts) for one place in all. SceneError for a field that this backend does not vary.
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
