"""MuJoCo Warp backend: all rows on one device, a GPU or, much slower, the processor.

The columns and the simulation lie on the same device and are copied there; rows are chosen by masks, so that a step, a restart and
a look at the bodies wait for nothing. Numbers are float32, so trajectories part slowly from those of MuJoCo in float64.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.robot import BodyState, ContactForce, DofState, RootState
from engine.ecs.table import put_rows
from engine.errors import SnapshotError
from systems.maths.quaternion import rotate, rotate_inverse
from systems.physics.contract import SELF_CONTACT_FORCE, SPEED_LIMIT
from systems.physics.mujoco_fields import DERIVING, arrays, take_values, varied_by, with_sensors
from systems.physics.shadow_copy import ShadowOnDevice
from systems.physics.warp_simulation import BUFFERS, DERIVED, Buffers, WarpSimulation
from systems.robots.model import RobotModel


class WarpBackend:
    """See `systems/physics/contract.py`. `sensed` are the bodies whose contact force is measured.

    A row that fails keeps the forces of its last sound substep. `buffers`: another room for contacts and constraints than
    suffices on a flat floor.
    """

    def __init__(
        self,
        model: RobotModel,
        rows: int,
        *,
        sensed: Sequence[str],
        device: "torch.device | str" = "cpu",
        buffers: Buffers | None = None,
    ) -> None:
        device = torch.device(device)
        self.model = model
        self.axes = {**model.axes, "sensed": tuple(sensed)}
        self.varies = varied_by(model)
        self.exact_resume = device.type == "cpu"  # on CUDA sums are added up in any order
        compiled, places = with_sensors(model, sensed)
        self._simulation = own = WarpSimulation(model, compiled, rows, device, buffers)
        self._sensed = torch.tensor(places, dtype=torch.int64, device=device)
        own.place[:, 2] = model.robot.default_height
        own.place[:, 7:] = model.robot.default_position.to(device)
        self._sound = (own.place.clone(), own.speed.clone())
        self._sensors = torch.zeros_like(own.sensors)  # as of each row's last step or restart
        self._self_contacts = torch.zeros(rows, device=device)
        self._unsound = torch.zeros(rows, dtype=torch.bool, device=device)  # given values no simulation can start from
        self._shadow = ShadowOnDevice(rows, len(model.robot.dof_names), device)
        self._varied: set[str] = set()  # constants that differ from row to row
        self._moved = True  # since bodies were last computed
        self._copied_to: BodyState | None = None
        self._still: Tensor | None = None  # rows out of focus; None: no row

    def begin(self, diverged: Tensor) -> None:
        """A new control step."""
        diverged.zero_()
        self._self_contacts.zero_()

    def step(self, substeps: int, control: Tensor, root: RootState, dofs: DofState, diverged: Tensor) -> None:
        """Advance all rows, and put back those that failed or are out of focus."""
        own = self._simulation
        edited = self._shadow.edited(root, dofs)
        if edited is not None:
            self._push(edited, root, dofs)
        bad = self._unsound | ~control.isfinite().all(1)  # Warp makes a torque at its limit of a NaN
        self._unsound.zero_()
        own.control.copy_(control)
        guess, touched = own.warm_start.clone(), torch.zeros_like(self._self_contacts)
        if self.model.self_collision:  # a count over substeps needs to see every one of them
            for _ in range(substeps):
                own.step(1)
                touched += own.sensors[:, -3:].norm(dim=1) > SELF_CONTACT_FORCE
        else:
            own.step(substeps)
        bad |= ~(own.place.isfinite().all(1) & (own.speed.abs() < SPEED_LIMIT).all(1))
        if self._still is not None:
            bad &= ~self._still
        stays = bad if self._still is None else bad | self._still
        for array, sound in zip((own.place, own.speed), self._sound, strict=True):
            put_rows(array, stays, sound)
            sound.copy_(array)
        if self._still is not None:
            put_rows(own.warm_start, self._still, guess)
        put_rows(own.warm_start, bad, 0.0)
        put_rows(self._sensors, ~stays, own.sensors)
        self._self_contacts += touched.masked_fill_(stays, 0.0)
        diverged |= bad
        self._moved = True
        self._publish(root, dofs)

    def restart(self, rows: Tensor, root: RootState, dofs: DofState) -> None:
        """Push in the rows named and those edited, and compute what holds in their new state; others are not touched."""
        edited = self._shadow.edited(root, dofs)
        self._start(rows if edited is None else rows | edited, root, dofs)

    def _start(self, rows: Tensor, root: RootState, dofs: DofState) -> None:
        """Push rows in, and take up the forces in their new state: Warp computes them for all rows or none."""
        taken = self._push(rows, root, dofs)
        self._simulation.forward()
        put_rows(self._sensors, taken, self._simulation.sensors)

    def _push(self, rows: Tensor, root: RootState, dofs: DofState) -> Tensor:
        """Begin anew with the columns of `rows` (rows,) bool; returns those that can."""
        own = self._simulation
        self._shadow.take(root, dofs, rows)
        rotation = root.rotation / root.rotation.norm(dim=1, keepdim=True)
        place = torch.cat((root.position, rotation, dofs.position), 1)
        spin = rotate_inverse(rotation, root.angular_velocity)  # body axes there
        speed = torch.cat((root.linear_velocity, spin, dofs.velocity), 1)
        sound = place.isfinite().all(1) & (speed.abs() < SPEED_LIMIT).all(1)
        put_rows(self._unsound, rows, ~sound)
        taken = rows & sound
        for array, values, kept in zip((own.place, own.speed), (place, speed), self._sound, strict=True):
            put_rows(array, taken, values)
            put_rows(kept, taken, values)
        put_rows(own.warm_start, taken, 0.0)
        put_rows(own.control, taken, dofs.position if self.model.control == "servo" else 0.0)  # at rest where it stands
        put_rows(self._self_contacts, taken, 0.0)
        self._moved = True
        return taken

    def _publish(self, root: RootState, dofs: DofState) -> None:
        place, speed = self._simulation.place, self._simulation.speed
        root.position.copy_(place[:, :3])
        root.rotation.copy_(place[:, 3:7])
        dofs.position.copy_(place[:, 7:])
        root.linear_velocity.copy_(speed[:, :3])
        root.angular_velocity.copy_(rotate(place[:, 3:7], speed[:, 3:6]))
        dofs.velocity.copy_(speed[:, 6:])
        self._shadow.take(root, dofs)

    def kinematics(self, root: RootState, dofs: DofState, bodies: BodyState, forces: ContactForce) -> None:
        """Compute where bodies are, and copy out."""
        edited = self._shadow.edited(root, dofs)
        if edited is not None:
            self._start(edited, root, dofs)
        if self._moved or self._copied_to is not bodies:
            own = self._simulation
            own.locate()
            position, spin = own.position[:, 1:], own.twist[:, 1:, :3]
            arm = position - own.center[:, 1:2]  # from the tree's centre of mass, whose velocity MuJoCo reports
            bodies.position.copy_(position)
            bodies.rotation.copy_(own.rotation[:, 1:])
            bodies.angular_velocity.copy_(spin)
            bodies.linear_velocity.copy_(own.twist[:, 1:, 3:] + torch.linalg.cross(spin, arm))
        self._moved, self._copied_to = False, bodies
        count = len(self.model.contact_bodies)
        exerted = self._sensors[:, : 3 * count].view(-1, count, 3)
        forces.force.copy_(exerted.index_select(1, self._sensed).neg_())
        forces.self_contacts.copy_(self._self_contacts)

    def change(self, rows: Tensor, values: Mapping[str, Tensor]) -> None:
        """Write per-row model constants and what MuJoCo derives from them. This waits for the device."""
        picked = np.flatnonzero(rows.cpu().numpy())
        with self._simulation.written() as host:
            take_values(host, self.model, picked, {name: value.cpu() for name, value in values.items()})
        if not picked.size:
            return
        self._varied.update(name for field in values for name in arrays(self.model, field))
        if DERIVING & values.keys():
            self._varied.update(DERIVED)
            self._simulation.derive()
            self._moved = True

    def focus(self, rows: Sequence[int] | None) -> None:
        """Keep what steps do to these rows only; all are computed."""
        self._still = None
        if rows is not None:
            self._still = torch.ones_like(self._unsound)
            self._still[list(rows)] = False

    def overflows(self) -> Mapping[str, int]:
        """Contacts, and the constraints they make. Contacts of all rows share their room: where it runs out, all rows count."""
        bits = self._simulation.overflow.cpu()
        return {name: int((bits & mask).bool().sum()) for name, mask in BUFFERS.items()}

    def penetration(self) -> np.ndarray | None:
        """Of all contacts, those of the robot with itself too."""
        return (-self._sensors[:, 3 * len(self.model.contact_bodies)]).clamp_min(0.0).cpu().numpy()

    def state(self) -> dict[str, Any]:
        """Integration state, sensors and counts, what the columns held, and per-row model constants."""
        own = self._simulation
        return {
            "place": own.place,
            "speed": own.speed,
            "warm_start": own.warm_start,
            "overflow": own.overflow,
            "sensors": self._sensors,
            "self_contacts": self._self_contacts,
            "unsound": self._unsound,
            "columns": self._shadow.values,
            "fields": {name: own.constants[name] for name in sorted(self._varied)},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Put hidden state back. Bodies and forces are in columns, so they are computed only when asked for again."""
        mine = {name: value for name, value in self.state().items() if isinstance(value, Tensor)}
        for name, value in mine.items():
            theirs = tuple(state[name].shape) if name in state else None
            if theirs != tuple(value.shape):
                raise SnapshotError(
                    f"The snapshot holds the simulator's {name} as {theirs}; MuJoCo Warp has {tuple(value.shape)} (rows, numbers) "
                    "here. Use the robot, rows and backend that it was made with."
                )
        self._shadow.load(state["columns"])
        for name in mine.keys() - {"columns"}:
            mine[name].copy_(state[name])
        for sound, array in zip(self._sound, (mine["place"], mine["speed"]), strict=True):
            sound.copy_(array)
        own, fields = self._simulation, state["fields"]
        for name in self._varied | fields.keys():
            own.constants[name].copy_(fields.get(name, own.nominal[name]))
        self._varied = set(fields)
        self._moved = True
