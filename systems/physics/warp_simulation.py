"""Simulations in MuJoCo Warp: one model and one data of all rows on a device, their arrays seen as torch tensors.

Everything runs on torch's current stream, and nothing here waits for the device but `written`. Steps are recorded once as a
graph and replayed, on the processor too; inside a graph that torch records they become part of it. Importing this module starts Warp.
"""

import copy
import dataclasses
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import mujoco
import numpy as np
import torch
import warp as wp
from torch import Tensor

from engine.capture.launches import launch
from engine.ecs.scene import free_host_memory
from engine.errors import SceneError
from systems.physics.mujoco_fields import arrays, varied_by
from systems.robots.model import RobotModel

_log = logging.getLogger(__name__)
DERIVED = (
    "body_subtreemass",
    "body_invweight0",
    "dof_invweight0",
    "actuator_acc0",
)  # of masses and armature, by set_const
GRAVITY = "opt.gravity"
SENSOR_MATCHES = 64  # contacts that one contact sensor looks at, as Warp's own default
_GEOM = mujoco.mjtGeom
_ON_A_PLANE = {
    _GEOM.mjGEOM_SPHERE: 1,
    _GEOM.mjGEOM_ELLIPSOID: 1,
    _GEOM.mjGEOM_CAPSULE: 2,
}  # contacts; of others 4 at most
_REFUSED = int(
    mujoco.mjtDisableBit.mjDSBL_AUTORESET | mujoco.mjtDisableBit.mjDSBL_MIDPHASE
)  # flags that Warp knows not


@contextmanager
def _without_native_errors() -> Iterator[None]:
    """Without the line that Warp's library prints where there is no driver."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


wp.config.log_level = wp.LOG_ERROR
if torch.cuda.is_available():
    wp.init()
else:
    with _without_native_errors():
        wp.init()

import mujoco_warp as mjw  # noqa: E402 - it starts Warp, which prints what it pleases unless it is set up before

_OVERFLOW = mjw.OverflowType
BUFFERS = {  # by the names of `Backend.overflows`; iterations that run out are none
    "contact": int(
        _OVERFLOW.BROADPHASE | _OVERFLOW.NARROWPHASE | _OVERFLOW.CCD | _OVERFLOW.HFIELD
        | _OVERFLOW.CONTACT_MATCH | _OVERFLOW.EPA_HORIZON | _OVERFLOW.TACTILE
    ),
    "constraint": int(_OVERFLOW.NEFC | _OVERFLOW.NJMAX_NNZ | _OVERFLOW.NVMAX),
}  # fmt: skip


@attrs.frozen
class Buffers:
    """Room of one row: `contacts`, which also are the pairs that are looked at, and `constraints`.

    Contacts share the room of all rows; of constraints none has more than its own.
    """

    contacts: int
    constraints: int

    @classmethod
    def of(cls, model: mujoco.MjModel, *, self_collision: bool = False) -> "Buffers":
        """What suffices for every pose on a flat floor, and as many contacts with itself as the robot has shapes.

        A contact makes a constraint for each edge of its friction pyramid, or each direction of its cone; a joint one at its
        limit and one for dry friction, which rows may be given.
        """
        touching = (model.geom_contype | model.geom_conaffinity).astype(bool)
        floors = np.flatnonzero(touching & (model.geom_bodyid == 0))
        shapes = np.flatnonzero(touching & (model.geom_bodyid > 0))
        elliptic = model.opt.cone == mujoco.mjtCone.mjCONE_ELLIPTIC

        def edges(directions: int) -> int:
            return directions if elliptic or directions == 1 else 2 * (directions - 1)

        contacts = rows = 0
        for shape in shapes if floors.size else ():
            found = _ON_A_PLANE.get(_GEOM(int(model.geom_type[shape])), 4) * floors.size
            contacts += found
            rows += found * edges(int(max(model.geom_condim[shape], model.geom_condim[floors].max())))
        if self_collision and shapes.size:
            contacts += shapes.size
            rows += shapes.size * edges(int(model.geom_condim[shapes].max()))
        joints = int(model.jnt_limited.sum()) + model.nv + 6 * model.neq
        return cls(max(contacts, model.ngeom, 1), rows + joints)


class WarpSimulation:
    """Rows of a compiled model; the tensors are Warp's own arrays.

    `overflow` (rows,) int32: bits of BUFFERS that were too small in some step since the run began. Where the room that
    contacts share runs out every row has the bit, for nobody knows whose were left out.
    """

    def __init__(
        self,
        model: RobotModel,
        compiled: mujoco.MjModel,
        rows: int,
        device: torch.device,
        buffers: Buffers | None = None,
    ) -> None:
        self.device = device
        self._graphs: dict[int, Any] = {}  # by how many steps they are
        if device.type == "cuda" and not wp.is_cuda_available():
            raise SceneError(
                f"MuJoCo Warp finds no {device}: {_driver()}. Its wheels need a driver of version 580 or newer, which is for CUDA 13: "
                "update it, or choose --device cpu."
            )
        own = copy.copy(compiled)  # the original may be in use elsewhere
        own.opt.disableflags &= ~_REFUSED
        buffers = buffers or Buffers.of(own, self_collision=model.self_collision)
        varied = {name for field in sorted(varied_by(model)) for name in arrays(model, field)}
        self._names = (*sorted(varied - {GRAVITY}), *DERIVED)
        _say_what_takes_long()
        with self._scope():
            self._refuse_beyond_memory(model.robot.name, own, rows, buffers)
            try:
                self._model = mjw.put_model(own, batch_sizes=dict.fromkeys(self._names, rows))
            except (NotImplementedError, ValueError) as error:
                raise SceneError(
                    f"MuJoCo Warp cannot simulate the robot '{model.robot.name}': {error} Choose --backend mujoco."
                ) from None
            self._model.opt.warn_overflow = 0  # else kernels print; `overflow` has it anyway
            self._model.opt.contact_sensor_maxmatch = SENSOR_MATCHES
            self._model.opt.gravity = wp.array(np.tile(own.opt.gravity, (rows, 1)), dtype=wp.vec3)
            self._data = mjw.make_data(own, nworld=rows, nconmax=buffers.contacts, njmax=buffers.constraints)
        option = dataclasses.replace(self._model.opt, graph_conditional=False)
        self._unconditional = dataclasses.replace(self._model, opt=option)  # a graph of torch has no loops
        get = self._tensor
        self.place, self.speed, self.control, self.warm_start = map(get, ("qpos", "qvel", "ctrl", "qacc_warmstart"))
        self.sensors, self.overflow = get("sensordata"), get("overflow")
        self.position, self.rotation, self.twist, self.center = map(get, ("xpos", "xquat", "cvel", "subtree_com"))
        self.constants = {name: wp.to_torch(getattr(self._model, name)) for name in self._names}
        self.constants[GRAVITY] = wp.to_torch(self._model.opt.gravity)
        self.derive()  # in float32, as later; MuJoCo derived the model's own in float64
        self.nominal = {name: values[:1].clone() for name, values in self.constants.items()}

    def _tensor(self, name: str) -> Tensor:
        return wp.to_torch(getattr(self._data, name))

    def _scope(self) -> Any:
        """Where Warp works: on the processor, or on the stream that torch uses."""
        if self.device.type == "cpu":
            return wp.ScopedDevice("cpu")
        return wp.ScopedStream(wp.stream_from_torch(torch.cuda.current_stream(self.device)), sync_enter=False)

    def step(self, substeps: int) -> None:
        """Advance every row."""
        if substeps not in self._graphs:
            with self._scope():
                self._graphs[substeps] = self._recorded(substeps)
        launch(partial(self._step, substeps))

    def _step(self, substeps: int) -> None:
        with self._scope(), self._joined() as model:
            if model is self._model:
                wp.capture_launch(self._graphs[substeps])
            else:
                for _ in range(substeps):
                    mjw.step(model, self._data)

    @contextmanager
    def _joined(self) -> Iterator[Any]:
        """The model to compute with, which has no loops where torch is recording a graph: Warp then takes part in that."""
        if self.device.type == "cpu" or not torch.cuda.is_current_stream_capturing():
            yield self._model
            return
        stream = wp.stream_from_torch(torch.cuda.current_stream(self.device))
        wp.capture_begin(stream=stream, external=True, force_module_load=False)
        try:
            yield self._unconditional
        finally:
            wp.capture_end(stream=stream)

    def _recorded(self, substeps: int) -> Any:
        """Steps as a graph; kernels are loaded by one that is undone. CUDA records on a stream of its own, as it demands."""
        state = (self.place, self.speed, self.warm_start, self.sensors, self.overflow)
        kept = [array.clone() for array in state]
        mjw.step(self._model, self._data)
        for array, old in zip(state, kept, strict=True):
            array.copy_(old)
        stream = None if self.device.type == "cpu" else wp.Stream(str(self.device))
        with wp.ScopedStream(stream), wp.ScopedCapture(force_module_load=False) as capture:
            for _ in range(substeps):
                mjw.step(self._model, self._data)
        return capture.graph

    def forward(self) -> None:
        """Contacts and sensors of every row where it is; nothing moves."""
        launch(self._forward, joins=True)

    def _forward(self) -> None:
        with self._scope(), self._joined() as model:
            mjw.forward(model, self._data)

    def locate(self) -> None:
        """Where bodies are and how they move: after a step the arrays hold what was a substep ago."""
        launch(self._locate, joins=True)

    def _locate(self) -> None:
        with self._scope(), self._joined() as model:
            mjw.fwd_kinematics(model, self._data)
            mjw.com_vel(model, self._data)

    def derive(self) -> None:
        """What follows from masses and armature; a row in which they did not change keeps its bytes."""
        with self._scope():
            mjw.set_const(self._model, self._data)

    @contextmanager
    def written(self) -> Iterator["HostArrays"]:
        """Constants of the rows on the host; what is written into them is the device's afterwards."""
        host = HostArrays(self.constants)
        yield host
        for name, array in host.taken.items():
            self.constants[name].copy_(torch.from_numpy(array))

    def _refuse_beyond_memory(self, robot: str, own: mujoco.MjModel, rows: int, buffers: Buffers) -> None:
        """SceneError for rows that do not fit, by what one takes."""
        one = mjw.make_data(own, nworld=1, nconmax=buffers.contacts, njmax=buffers.constraints)
        constants = sum(4 * np.size(getattr(own, name)) for name in self._names)
        each = _num_bytes(one) + constants + 8 * own.nsensor * SENSOR_MATCHES
        on_host = self.device.type == "cpu"
        free = free_host_memory() if on_host else torch.cuda.mem_get_info(self.device)[0]
        if rows * each > free:
            raise SceneError(
                f"{rows} rows of '{robot}' need {rows * each:,} bytes for their simulations, but only {int(free):,} bytes "
                f"of memory are free{'' if on_host else f' on {self.device}'}; at most {max(1, int(free // each))} rows fit."
            )


class HostArrays:
    """Constants of the rows as arrays, by the name that they have in MjModel."""

    def __init__(self, constants: Mapping[str, Tensor]) -> None:
        self._constants = constants
        self.taken: dict[str, np.ndarray] = {}

    def expand(self, name: str) -> np.ndarray:
        """(rows, ...) numbers, to be written in place; on the processor they are the simulation's own."""
        return self.taken.setdefault(name, self._constants[name].cpu().numpy())


def _driver() -> str:
    """What driver there is."""
    version = wp.get_cuda_driver_version()
    return "there is no driver" if version is None else "the driver is for CUDA {}.{}".format(*version)


def _num_bytes(of: Any) -> int:
    """Memory of all arrays of a dataclass, and of those in it."""
    found = 0
    for field in dataclasses.fields(of):
        value = getattr(of, field.name)
        if isinstance(value, wp.array):
            found += value.capacity
        elif hasattr(value, "__dataclass_fields__"):
            found += _num_bytes(value)
    return found


def _say_what_takes_long() -> None:
    """Warn once where no kernel is kept yet: for a minute or so nothing will seem to happen."""
    folder = Path(str(wp.config.kernel_cache_dir))
    if not any(folder.glob("wp_mujoco_warp*")):
        _log.warning(
            f"MuJoCo Warp compiles its kernels, which takes a minute or more; they are kept in {folder} for the next time."
        )
