"""Isaac Gym backend: rows are moved by PhysX in a worker process, and bodies follow by forward kinematics of our own.

Isaac Gym knows where links are only after a step, so that bodies are computed from root and joints here, after a step as after a
restart. Contact forces are its own, and zero in a row that started over until it is stepped.
"""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.robot import BodyState, ContactForce, DofState, RootState
from engine.ecs.table import put_rows
from engine.errors import SceneError, SnapshotError, listing
from systems.physics.contract import SPEED_LIMIT
from systems.physics.isaacgym import assets
from systems.physics.isaacgym.launch import STANDIN, GymLink, WorkerProcess, find_python, standin_allowed
from systems.physics.mujoco_fields import labels
from systems.physics.shadow_copy import ShadowOnDevice
from systems.robots.forward_kinematics import ForwardKinematics
from systems.robots.model import RobotModel

_log = logging.getLogger(__name__)
_ANY, _SERVO = ("friction", "armature", "joint_damping", "torque_limit"), ("stiffness", "damping")


def varied(control: str) -> frozenset[str]:
    """The fields that rows of a robot with that kind of control may differ in: those that may change while Isaac Gym runs."""
    return frozenset((*_ANY, *_SERVO) if control == "servo" else _ANY)


class IsaacGymBackend:
    """See `systems/physics/contract.py`. `sensed` are the bodies whose contact force is measured; `link` is the simulation."""

    exact_resume = False  # of contacts Isaac Gym remembers more than it tells
    perishable = True

    def __init__(
        self,
        model: RobotModel,
        rows: int,
        *,
        sensed: Sequence[str],
        link: GymLink,
        device: "torch.device | str" = "cpu",
    ) -> None:
        device = torch.device(device)
        self.model, self.link = model, link
        self.axes = {**model.axes, "sensed": tuple(sensed)}
        self.varies = varied(model.control)
        dofs = len(model.robot.dof_names)
        self._kinematics = ForwardKinematics.of(model.model, device=device)
        self._sensed = [model.robot.body_names.index(name) for name in sensed]
        self._load_asset(rows, gpu=device.type == "cuda")
        self._state = torch.zeros(rows, 13 + 2 * dofs, device=device)  # root and joints of every row, sound always
        self._state[:, 2] = model.robot.default_height
        self._state[:, 3] = 1.0
        self._state[:, 13 : 13 + dofs] = model.robot.default_position.to(device)
        self._force = torch.zeros(rows, len(sensed), 3, device=device)
        self._unsound = torch.zeros(rows, dtype=torch.bool, device=device)  # given values no simulation can start from
        self._shadow = ShadowOnDevice(rows, dofs, device)
        self._fields: dict[str, Tensor] = {}  # constants that differ from row to row
        self._still: Tensor | None = None  # rows out of focus; None: no row
        self._put_back(~self._unsound)

    def _load_asset(self, rows: int, *, gpu: bool) -> None:
        model, link = self.model, self.link
        with tempfile.TemporaryDirectory(prefix="isaacgym") as folder:
            file = assets.write_asset(model, Path(folder))
            try:
                names = link.ask("create", settings=assets.settings(model, rows, file, gpu=gpu))
                assets.refuse_other_names(model, names)
                assets.refuse_misread(model, link.ask("build"))
            except BaseException:
                link.close()
                raise

    def _parts(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Root's position, rotation, linear and angular velocity, joints and their velocities, of states side by side."""
        count = len(self.model.robot.dof_names)
        position, rotation, linear, angular, joints, rates = state.split((3, 4, 3, 3, count, count), 1)
        return position, rotation, linear, angular, joints, rates

    def begin(self, diverged: Tensor) -> None:
        """A new control step."""
        diverged.zero_()

    def step(self, substeps: int, control: Tensor, root: RootState, dofs: DofState, diverged: Tensor) -> None:
        """Advance all rows, and put back those that failed or are out of focus."""
        edited = self._shadow.edited(root, dofs)
        if edited is not None:
            self._push(edited, root, dofs)
        bad = self._unsound | ~control.isfinite().all(1)  # a number that is none would spoil the rows beside it too
        self._unsound.zero_()
        neutral = self._parts(self._state)[4] if self.model.control == "servo" else torch.zeros_like(control)
        memory = self.link.memory
        memory["command"][:] = torch.where(bad.unsqueeze(1), neutral, control).cpu().numpy()
        self.link.ask("step", substeps=substeps)
        memory["pushed"][:] = 0
        parts = [torch.from_numpy(memory[name]) for name in ("root", "position", "velocity")]
        state = torch.cat(parts, 1).to(self._state.device)
        force = torch.from_numpy(memory["force"][:, self._sensed]).to(self._state.device)
        bad |= ~self._sane(state)
        if self._still is not None:
            bad &= ~self._still
        stays = bad if self._still is None else bad | self._still
        put_rows(self._state, ~stays, state)
        put_rows(self._force, ~stays & force.isfinite().all(2).all(1), force)
        self._put_back(stays)
        diverged |= bad
        self._publish(root, dofs)

    def _sane(self, state: Tensor) -> Tensor:
        _, _, linear, angular, _, rates = self._parts(state)
        slow = torch.cat((linear, angular, rates), 1).abs().amax(1) < SPEED_LIMIT
        return state.isfinite().all(1) & slow

    def _put_back(self, rows: Tensor) -> None:
        """Let rows (rows,) bool start from their state in the next step."""
        picked = rows.cpu().numpy()
        if not picked.any():
            return
        memory, state = self.link.memory, self._state.cpu().numpy()[picked]
        count = len(self.model.robot.dof_names)
        memory["pushed"][picked] = 1
        memory["pushed_root"][picked] = state[:, :13]
        memory["pushed_position"][picked] = state[:, 13 : 13 + count]
        memory["pushed_velocity"][picked] = state[:, 13 + count :]

    def restart(self, rows: Tensor, root: RootState, dofs: DofState) -> None:
        """Push in the rows named and those edited; others are not touched."""
        edited = self._shadow.edited(root, dofs)
        self._push(rows if edited is None else rows | edited, root, dofs)

    def _push(self, rows: Tensor, root: RootState, dofs: DofState) -> None:
        """Begin anew with the columns of `rows` (rows,) bool, of those that can."""
        self._shadow.take(root, dofs, rows)
        rotation = root.rotation / root.rotation.norm(dim=1, keepdim=True)
        velocities = (root.linear_velocity, root.angular_velocity)
        state = torch.cat((root.position, rotation, *velocities, dofs.position, dofs.velocity), 1)
        sound = self._sane(state)
        put_rows(self._unsound, rows, ~sound)
        put_rows(self._state, rows & sound, state)
        put_rows(self._force, rows & sound, 0.0)
        self._put_back(rows & sound)

    def _publish(self, root: RootState, dofs: DofState) -> None:
        columns = (root.position, root.rotation, root.linear_velocity, root.angular_velocity)
        for column, values in zip((*columns, dofs.position, dofs.velocity), self._parts(self._state), strict=True):
            column.copy_(values)
        self._shadow.take(root, dofs)

    def kinematics(self, root: RootState, dofs: DofState, bodies: BodyState, forces: ContactForce) -> None:
        """Compute where bodies are, and copy the forces out."""
        edited = self._shadow.edited(root, dofs)
        if edited is not None:
            self._push(edited, root, dofs)
        moved = self._kinematics.moving(*self._parts(self._state))
        columns = (bodies.position, bodies.rotation, bodies.linear_velocity, bodies.angular_velocity)
        for column, values in zip(columns, moved, strict=True):
            column.copy_(values)
        forces.force.copy_(self._force)
        forces.self_contacts.zero_()

    def change(self, rows: Tensor, values: Mapping[str, Tensor]) -> None:
        """Give rows their own constants, one call of Isaac Gym for each row."""
        lacking = sorted(values.keys() - self.varies)
        if lacking:
            raise SceneError(
                f"Isaac Gym cannot vary {listing(lacking)} of rows that run; it varies {listing(sorted(self.varies))}. Choose "
                "--backend mujoco."
            )
        picked = np.flatnonzero(rows.cpu().numpy())
        if not picked.size:
            return
        count, fields = len(rows), {}
        for name, given in values.items():
            wide = given.cpu().float().reshape(count, len(labels(self.model, name)))
            own = self._fields.setdefault(name, self._nominal(name).expand(count, -1).clone())
            own[picked] = wide[picked]
            fields[name] = own[picked].numpy().tobytes()
        self.link.ask("change", rows=picked.astype(np.int32).tobytes(), fields=fields)

    def _nominal(self, name: str) -> Tensor:
        """A field as it is in the model, (1, labels)."""
        if name == "friction":
            return torch.from_numpy(assets.friction(self.model)).float().unsqueeze(0)
        model = self.model.model
        own = {"armature": model.dof_armature[6:], "joint_damping": model.dof_damping[6:]}
        values = torch.from_numpy(own[name].copy()) if name in own else getattr(self.model.robot, name)
        return torch.as_tensor(values).float().unsqueeze(0)

    def focus(self, rows: Sequence[int] | None) -> None:
        """Keep what steps do to these rows only; all are computed."""
        self._still = None
        if rows is not None:
            self._still = torch.ones_like(self._unsound)
            self._still[list(rows)] = False

    def overflows(self) -> Mapping[str, int]:
        """Isaac Gym does not say which rows lost contacts."""
        return {}

    def penetration(self) -> np.ndarray | None:
        """It does not say."""
        return None

    def state(self) -> dict[str, Any]:
        """Root and joints, last forces, what the columns held, and per-row constants; not what PhysX remembers of contacts."""
        return {
            "state": self._state,
            "force": self._force,
            "unsound": self._unsound,
            "columns": self._shadow.values,
            "fields": dict(sorted(self._fields.items())),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Put hidden state back: every row starts from it in the next step, with no memory of its contacts."""
        mine = {name: value for name, value in self.state().items() if isinstance(value, Tensor)}
        for name, value in mine.items():
            theirs = tuple(state[name].shape) if name in state else None
            if theirs != tuple(value.shape):
                raise SnapshotError(
                    f"The snapshot holds the simulator's {name} as {theirs}; Isaac Gym has {tuple(value.shape)} (rows, numbers) here. "
                    "Use the robot, rows and backend that it was made with."
                )
        for name in mine.keys() - {"columns"}:
            mine[name].copy_(state[name])
        self._shadow.load(state["columns"])
        every = torch.ones(len(self._state), dtype=torch.bool)
        nominal = {name: self._nominal(name).expand(len(every), -1) for name in self._fields}
        self._fields = {}
        given = {**nominal, **state["fields"]}
        if given:
            self.change(every, given)
        self._fields = {name: self._fields[name] for name in state["fields"]}
        self._put_back(every)


def start(
    model: RobotModel, rows: int, *, sensed: Sequence[str], python: str, device: "torch.device | str"
) -> IsaacGymBackend:
    """The backend with a worker of its own, which runs in `python` or the environment's. SceneError where there can be none."""
    assets.refuse_unreadable(model)
    device = torch.device(device)
    interpreter, gpu = find_python(python), _gpu_id(device)
    worker = WorkerProcess(interpreter, rows, len(model.robot.dof_names), len(model.robot.body_names), device=gpu)
    found = worker.greet()
    if found["runtime"] == "standin":
        if not standin_allowed():
            worker.close()
            raise SceneError(
                f"What {interpreter} has as isaacgym ({found['folder']}) is a stand-in for tests, and nothing that it simulates "
                f"says anything about Isaac Gym. Name a Python that has Isaac Gym itself, or set {STANDIN}=1 for a test."
            )
        _log.warning("This is a stand-in for Isaac Gym, for tests: its numbers say nothing about Isaac Gym.")
    else:
        _log.warning(
            "The backend 'isaacgym' follows the documented interface and was tested with a stand-in; it was not yet run on Isaac Gym "
            "itself. `python -m systems.physics.isaacgym selfcheck` measures what it assumes."
        )
    return IsaacGymBackend(model, rows, sensed=sensed, link=worker, device=device)


def _gpu_id(device: torch.device) -> str | None:
    """The UUID of a GPU, by which another process finds it whatever its number there; None for the processor."""
    if device.type != "cuda":
        return None
    if not torch.cuda.is_available():
        raise SceneError(f"There is no {device} here. Choose --device cpu, with which PhysX runs on the processor.")
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"
