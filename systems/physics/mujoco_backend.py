"""MuJoCo backend on the CPU: all rows in one `mujoco.batch.Batch`, stepped on its own threads.

The batch keeps one float64 row of integration state per simulation; our columns are float32, so every
field is converted with one copy. Results do not depend on the number of threads. A second batch, of the same model
without contacts, constraints and motors, says where the bodies are, for the moving one knows only where they were a substep ago.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch, SimulationError
from torch import Tensor
from torch.autograd.graph import increment_version

from components.robot import BodyState, ContactForce, DofState, RootState
from engine.errors import SceneError, SnapshotError
from systems.maths.rotation import rotate, rotate_inverse
from systems.physics.contract import SELF_CONTACT_FORCE, SPEED_LIMIT
from systems.physics.mujoco_fields import DERIVING, DERIVING_ARRAYS, arrays, take_values, varied_by, with_sensors
from systems.physics.shadow_copy import ShadowCopy
from systems.robots.model import RobotModel
from systems.robots.silence import quiet

_VEL, _ACC = int(mujoco.mjtStage.mjSTAGE_VEL), int(mujoco.mjtStage.mjSTAGE_ACC)
_DISABLE = mujoco.mjtDisableBit
_ONLY_PLACES = sum(
    map(int, (_DISABLE.mjDSBL_CONSTRAINT, _DISABLE.mjDSBL_CONTACT, _DISABLE.mjDSBL_SENSOR, _DISABLE.mjDSBL_ACTUATION))
)
_BAD = [
    int(w)
    for w in (
        mujoco.mjtWarning.mjWARN_BADQPOS,
        mujoco.mjtWarning.mjWARN_BADQVEL,
        mujoco.mjtWarning.mjWARN_BADQACC,
        mujoco.mjtWarning.mjWARN_BADCTRL,
    )
]
_BUFFERS = {"contact": int(mujoco.mjtWarning.mjWARN_CONTACTFULL), "constraint": int(mujoco.mjtWarning.mjWARN_CNSTRFULL)}
_PLACING_FIELDS = ("body_mass", "body_ipos", "body_subtreemass")  # that centres of mass, and so velocities, depend on

_ALL = slice(None)


class MujocoBackend:
    """See `systems/physics/contract.py`. `sensed` are the bodies whose contact force is measured."""

    exact_resume = True

    def __init__(self, model: RobotModel, rows: int, *, sensed: Sequence[str], nthread: int = 0) -> None:
        self.model = model
        self.axes = {**model.axes, "sensed": tuple(sensed)}
        self.varies = varied_by(model)
        compiled, self._sensed = with_sensors(model, sensed)
        self._batch = Batch(compiled, rows, nthread)
        inputs = (self._batch.bind(name) for name in ("qpos", "qvel", "ctrl", "qacc_warmstart"))
        self._qpos, self._qvel, self._control, self._warm_start = inputs
        self._sensors = self._batch.bind("sensordata")
        places = copy.copy(model.model)
        places.opt.disableflags |= _ONLY_PLACES
        self._places = Batch(places, rows, nthread)
        outputs = (self._places.bind(name) for name in ("qpos", "qvel", "xpos", "xquat", "cvel", "subtree_com"))
        self._place, self._speed, self._position, self._rotation, self._twist, self._center = outputs
        self._force = np.zeros((rows, len(sensed), 3), np.float32)
        self._self_contacts = np.zeros(rows, np.float32)
        self._unsound = np.zeros(rows, bool)  # rows that were given values no simulation can start from
        self._overflowed = np.zeros((rows, len(_BUFFERS)), bool)
        self._shadow = ShadowCopy(rows, len(model.robot.dof_names))
        self._varied: set[str] = set()  # fields of the model that differ from row to row
        self._moved: np.ndarray | None = None  # rows that changed since bodies were last computed; None: all
        self._copied_to: BodyState | None = None  # the columns they were copied to
        self._focus: np.ndarray | None = None  # the rows that are stepped; None: all
        self._qpos[:, 2] = model.robot.default_height
        self._qpos[:, 7:] = model.robot.default_position.numpy()
        self._sound = self._batch.state.copy()
        self._seen = self._warnings()

    def begin(self, diverged: Tensor) -> None:
        """A new control step."""
        diverged.zero_()
        self._self_contacts[:] = 0.0

    def step(self, substeps: int, control: Tensor, root: RootState, dofs: DofState, diverged: Tensor) -> None:
        """Advance all rows, or those in focus."""
        self._take_edits(root, dofs)
        self._control[:] = control.numpy()
        dropped = self._dropped()
        failed = self._unsound.copy()
        self._unsound[:] = False
        if self.model.self_collision:  # a count over substeps needs to see every one of them
            for _ in range(substeps):
                self._advance(1, failed)
                self._self_contacts += np.linalg.norm(self._sensors[:, -3:], axis=-1) > SELF_CONTACT_FORCE
        else:
            self._advance(substeps, failed)
        self._overflowed |= self._dropped() != dropped
        self._move(self._focus)
        self._read_forces(slice(None))
        self._quarantine(failed, diverged)
        self._sound[:] = self._batch.state
        self._publish(root, dofs)

    def restart(self, rows: Tensor, root: RootState, dofs: DofState) -> None:
        """Push in the rows named and those edited, and compute what holds in their new state; others are not touched."""
        edited = self._shadow.edited(root, dofs)
        picked = np.flatnonzero(rows.numpy() if edited is None else rows.numpy() | edited)
        if picked.size:
            self._push(picked, root, dofs)

    def _take_edits(self, root: RootState, dofs: DofState) -> None:
        """Push in what was written into the columns since this backend wrote or took them."""
        edited = self._shadow.edited(root, dofs)
        if edited is not None and edited.any():
            self._push(np.flatnonzero(edited), root, dofs)

    def _push(self, picked: np.ndarray, root: RootState, dofs: DofState) -> None:
        self._shadow.take(root, dofs, picked)
        with np.errstate(invalid="ignore", divide="ignore"):
            rotation = _float64(root.rotation, picked)
            rotation /= np.linalg.norm(rotation, axis=-1, keepdims=True)
            place = np.concatenate((_float64(root.position, picked), rotation, _float64(dofs.position, picked)), -1)
            spin = rotate_inverse(rotation, _float64(root.angular_velocity, picked))
            speed = np.concatenate((_float64(root.linear_velocity, picked), spin, _float64(dofs.velocity, picked)), -1)
            sound = np.isfinite(place).all(-1) & (np.abs(speed) < SPEED_LIMIT).all(-1)
        self._unsound[picked] = ~sound
        picked, place, speed = picked[sound], place[sound], speed[sound]
        self._batch.state[picked] = 0.0
        self._qpos[picked], self._qvel[picked] = place, speed
        if self.model.control == "servo":
            self._control[picked] = place[:, 7:]  # at rest where it stands, until the next target
        self._recompute(picked)

    def _move(self, rows: np.ndarray | None) -> None:
        """Note that these rows are elsewhere now; None: all."""
        self._moved = None if rows is None or self._moved is None else np.union1d(self._moved, rows)

    def kinematics(self, root: RootState, dofs: DofState, bodies: BodyState, forces: ContactForce) -> None:
        """Compute where bodies are in rows that moved, and copy out."""
        self._take_edits(root, dofs)
        rows = None if self._copied_to is not bodies else self._moved
        self._moved, self._copied_to = np.zeros(0, np.int64), bodies
        if rows is None or rows.size:
            self._copy_out(rows, bodies, forces)
        _copy(forces.self_contacts, self._self_contacts)

    def _copy_out(self, picked: np.ndarray | None, bodies: BodyState, forces: ContactForce) -> None:
        rows = slice(None) if picked is None else picked
        self._place[rows], self._speed[rows] = self._qpos[rows], self._qvel[rows]
        with quiet():
            self._places.forward(picked, _VEL)
        position, spin = self._position[rows, 1:], self._twist[rows, 1:, :3]
        arm = position - self._center[rows, 1:2]  # from the tree's centre of mass, whose velocity MuJoCo reports
        velocity = self._twist[rows, 1:, 3:].copy()
        for x, y, z in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
            velocity[..., x] += spin[..., y] * arm[..., z] - spin[..., z] * arm[..., y]
        _copy(bodies.position, position, rows)
        _copy(bodies.rotation, self._rotation[rows, 1:], rows)
        _copy(bodies.angular_velocity, spin, rows)
        _copy(bodies.linear_velocity, velocity, rows)
        _copy(forces.force, self._force[rows], rows)

    def change(self, rows: Tensor, values: Mapping[str, Tensor]) -> None:
        """Write per-row model constants and what MuJoCo derives from them."""
        picked = np.flatnonzero(rows.numpy())
        take_values(self._batch, self.model, picked, values)
        if not picked.size:
            return
        for field in values:
            self._varied.update(arrays(self.model, field))
        if DERIVING & values.keys():
            self._varied.update(_PLACING_FIELDS[:2])  # each row has its own of both from here on
            self._derive(picked)

    def _derive(self, picked: np.ndarray) -> None:
        """What MuJoCo derives from masses and centres of mass, which then decide where bodies are as well."""
        pairs = [(self._batch.expand(name), self._places.expand(name)) for name in _PLACING_FIELDS]
        with quiet():
            self._batch.set_const(picked)
        for moving, placing in pairs:
            placing[picked] = moving[picked]
        self._move(picked)

    def focus(self, rows: Sequence[int] | None) -> None:
        """Step these rows only."""
        self._focus = None if rows is None else np.array(sorted({*rows}), np.int64)

    def overflows(self) -> Mapping[str, int]:
        """MuJoCo's two: contacts, and the constraints they make."""
        return dict(zip(_BUFFERS, self._overflowed.sum(0).tolist(), strict=True))

    def penetration(self) -> np.ndarray | None:
        """Of all contacts, those of the robot with itself too."""
        return np.maximum(-self._sensors[:, 3 * len(self.model.contact_bodies)], 0.0)

    def state(self) -> dict[str, Any]:
        """Integration state, last forces and counts, what the columns held, and per-row model constants.

        The arrays are those in use; whoever keeps them copies them.
        """
        return {
            "simulation": self._batch.state,
            "force": self._force,
            "self_contacts": self._self_contacts,
            "unsound": self._unsound,
            "overflowed": self._overflowed,
            "columns": self._shadow.values,
            "fields": {name: self._batch.expand(name) for name in sorted(self._varied)},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Put hidden state back. Bodies and forces are in columns, so they are computed only when asked for again."""
        shape = np.shape(state["simulation"])
        if shape != self._batch.state.shape:
            raise SnapshotError(
                f"The snapshot holds the simulator's state as {shape} (rows, numbers); here it is {self._batch.state.shape}."
            )
        self._load_fields(state["fields"])
        self._batch.state[:] = state["simulation"]
        self._sound[:] = self._batch.state
        self._force[:] = state["force"]
        self._self_contacts[:] = state["self_contacts"]
        self._unsound[:] = state["unsound"]
        self._overflowed[:] = state.get("overflowed", False)  # snapshots of earlier versions have neither
        self._shadow.load(state.get("columns", {}))
        self._seen = self._warnings()
        self._moved = None

    def _load_fields(self, fields: Mapping[str, np.ndarray]) -> None:
        """Put per-row model constants back, the model's own where the snapshot has none.

        What MuJoCo derives from them follows only in rows in which they change: it takes as long as a tick.
        """
        derive = np.zeros(len(self._force), bool)
        for name in sorted(self._varied | fields.keys()):
            mine, theirs = self._batch.expand(name), fields.get(name, self._own(name))
            if name in DERIVING_ARRAYS:
                derive |= (mine != theirs).reshape(len(mine), -1).any(-1)
            mine[:] = theirs
        self._varied = set(fields)
        if derive.any():
            self._derive(np.flatnonzero(derive))

    def _own(self, name: str) -> np.ndarray:
        """An array of the model that all rows share."""
        owner = self._batch.model.opt if name.startswith("opt.") else self._batch.model
        return np.asarray(getattr(owner, name.removeprefix("opt.")))

    def _advance(self, substeps: int, failed: np.ndarray) -> None:
        try:
            with quiet():
                self._batch.step(self._focus, nstep=substeps)
        except SimulationError as error:
            failed[error.ids] = True

    def _warnings(self) -> np.ndarray:
        return np.asarray(self._batch.warning[:, _BAD, 1].sum(1))

    def _dropped(self) -> np.ndarray:
        """How often each buffer was too small, (rows, buffers). Whatever else is computed than steps counts too."""
        return np.stack([self._batch.warning[:, buffer, 1] for buffer in _BUFFERS.values()], 1)

    def _quarantine(self, failed: np.ndarray, diverged: Tensor) -> None:
        """Mark rows that raised, warned or left the realm of numbers, and put them back to a sound state."""
        with np.errstate(invalid="ignore", over="ignore"):
            sane = (np.abs(self._qvel).max(-1) < SPEED_LIMIT) & np.isfinite(self._batch.state.sum(-1))
        bad = failed | (self._warnings() != self._seen) | ~sane
        diverged |= torch.from_numpy(bad)
        picked = np.flatnonzero(bad)
        if picked.size:
            self._batch.state[picked] = self._sound[picked]
            self._recompute(picked)

    def _recompute(self, picked: np.ndarray) -> None:
        """Forces of some rows from their state, as if nothing had happened before."""
        self._warm_start[picked] = 0.0
        try:
            with quiet():
                self._batch.forward(picked, _ACC)
        except SimulationError as error:
            self._unsound[error.ids] = True
        self._warm_start[picked] = 0.0
        self._move(picked)
        self._read_forces(picked)
        self._self_contacts[picked] = 0.0
        self._seen = self._warnings()
        self._sound[picked] = self._batch.state[picked]

    def _read_forces(self, rows: "slice | np.ndarray") -> None:
        """Net contact force of each sensed body; the sensor reports what the body exerts."""
        count = len(self.model.contact_bodies)
        self._force[rows] = -self._sensors[rows, : 3 * count].reshape(-1, count, 3)[:, self._sensed]

    def _publish(self, root: RootState, dofs: DofState) -> None:
        rotation = self._qpos[:, 3:7]
        _copy(root.position, self._qpos[:, :3])
        _copy(root.rotation, rotation)
        _copy(dofs.position, self._qpos[:, 7:])
        _copy(root.linear_velocity, self._qvel[:, :3])
        _copy(root.angular_velocity, rotate(rotation, self._qvel[:, 3:6]))  # body axes there
        _copy(dofs.velocity, self._qvel[:, 6:])
        self._shadow.take(root, dofs)


def _copy(column: Tensor, values: np.ndarray, rows: "slice | np.ndarray" = _ALL) -> None:
    """Into rows of a column without torch: its threads would spin on the processors that simulations need next."""
    column.numpy()[rows] = values
    increment_version(column)


def _float64(column: Tensor, rows: np.ndarray) -> np.ndarray:
    return np.asarray(column.numpy()[rows], np.float64)


def num_bytes(model: RobotModel, rows: int) -> int:
    """Memory that the simulations of `rows` rows take, before any of it is allocated."""
    compiled, bodies = model.model, len(model.robot.body_names)
    state = mujoco.mj_stateSize(compiled, int(mujoco.mjtState.mjSTATE_INTEGRATION))
    outputs = compiled.nbody * (3 + 4 + 6 + 3) + compiled.nsensordata
    columns = 13 + 2 * len(model.robot.dof_names)
    return rows * (8 * (3 * state + outputs) + 4 * (9 * bodies + columns))


def check_memory(model: RobotModel, rows: int, available: float) -> None:
    """SceneError where the simulations would not fit into `available` bytes."""
    needed = num_bytes(model, rows)
    if needed > available:
        raise SceneError(
            f"{rows} rows of '{model.robot.name}' need {needed:,} bytes for their simulations, but only "
            f"{available:,} bytes of memory are free; at most {max(1, available * rows // needed)} rows fit."
        )
