"""A few simulated rows with their columns, as the physics tests drive them."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor

from components.dynamics import Dynamics
from components.robot import BodyState, Capsule, ContactForce, DofState, Motor, RobotDescription, RootState
from scenes.robots.humanoid import humanoid
from systems.learning.dynamics import fit_linear, make_dynamics
from systems.physics import BACKENDS, make_backend
from systems.physics.contract import Backend
from systems.physics.isaacgym.backend import IsaacGymBackend
from systems.physics.isaacgym.launch import PYTHON
from systems.robots.model import RobotModel, build_robot
from tests.standins.here import StandinHere, environment

PENDULUM = """<mujoco><compiler angle="radian"/><worldbody><body name="base" pos="0 0 1"><freejoint/>
<geom size="0.1" mass="2"/><body name="arm"><joint name="swing" axis="0 1 0" range="-2 1" armature="0.02"/>
<geom type="capsule" fromto="0 0 -0.1 0 0 -0.5" size="0.05" mass="1"/></body></body></worldbody></mujoco>"""


def pendulum(**changes: Any) -> RobotDescription:
    """A ball with one arm: the smallest robot there is."""
    description = RobotDescription(
        name="pendulum",
        model=lambda: PENDULUM,
        motors={"swing": Motor(stiffness=40.0, damping=2.0, torque=8.0, speed=10.0)},
        default_height=1.0,
    )
    return attrs.evolve(description, **changes)


def file_robot(path: Path, text: str) -> Path:
    """`text` as an MJCF file."""
    path.write_text(text)
    return path


def one_foot(*shapes: Capsule) -> RobotDescription:
    """The pendulum with its arm as a foot of the given shapes."""
    return pendulum(feet=("arm",), shapes=shapes)


@attrs.define(eq=False)
class Rows:
    """A backend with its columns, standing in the default pose."""

    model: RobotModel
    backend: Backend
    root: RootState
    dofs: DofState
    bodies: BodyState
    forces: ContactForce
    diverged: Tensor
    made_by: str  # the name that `make_rows` was given

    def tick(self, control: Tensor | None = None, decimation: int = 4) -> None:
        """One control step; holds the default pose, or no torque, unless given otherwise."""
        if control is None:
            rest = self.model.robot.default_position
            control = (rest if self.model.control == "servo" else torch.zeros_like(rest)).expand_as(self.dofs.position)
        self.backend.begin(self.diverged)
        calls, substeps = (1, decimation) if self.model.control == "servo" else (decimation, 1)
        for _ in range(calls):
            self.backend.step(substeps, control, self.root, self.dofs, self.diverged)
        self.refresh()

    def refresh(self) -> None:
        """Bodies and forces."""
        self.backend.kinematics(self.root, self.dofs, self.bodies, self.forces)

    def restart(self, *rows: int) -> None:
        """Push rewritten rows in."""
        mask = torch.zeros(len(self.diverged), dtype=torch.bool)
        mask[list(rows)] = True
        self.backend.restart(mask, self.root, self.dofs)
        self.refresh()

    def every_column(self) -> list[Tensor]:
        """Every column, not copied."""
        return [t for part in (self.root, self.dofs, self.bodies, self.forces) for t in vars(part).values()]

    def columns(self) -> bytes:
        """Every column's bytes, one after the other."""
        return b"".join(t.numpy().tobytes() for t in self.every_column())


def bytes_of(rows: Rows, *which: int) -> list[bytes]:
    """Every column's bytes in some rows."""
    parts = (rows.root, rows.dofs, rows.bodies, rows.forces)
    return [t[list(which)].numpy().tobytes() for part in parts for t in vars(part).values()]


def needs(backend: str) -> list[pytest.MarkDecorator]:
    """Marks of a test of a backend: Warp compiles its kernels, for minutes, and where it is not installed it is skipped; a worker
    of Isaac Gym's stand-in takes a second to start.
    """
    if backend == "isaacgym":
        return [pytest.mark.slow]
    if backend != "warp":
        return []
    reason = f"the backend '{backend}' is not installed: pip install 'lockstep-sim[warp]'"
    return [pytest.mark.slow, pytest.mark.skipif(find_spec("mujoco_warp") is None, reason=reason)]


HERE = "isaacgym in process"  # its stand-in, without a worker process
SIMULATORS = (*BACKENDS, HERE)
BACKENDS_HERE = [pytest.param(name, marks=needs(name)) for name in SIMULATORS]


def fitted(model: RobotModel, ticks: int = 40) -> Dynamics:
    """A learned model of a robot's servos, whose linear part is fitted to what MuJoCo does in a few rows with other targets each."""
    rows = _rows(model, 8, make_backend(model, rows=8, nthread=1))
    draw, seen = torch.Generator().manual_seed(0), list[tuple[Tensor, Tensor, Tensor]]()
    columns = (
        *(rows.root.position, rows.root.rotation, rows.dofs.position),
        *(rows.root.linear_velocity, rows.root.angular_velocity, rows.dofs.velocity),
    )
    for _ in range(ticks):
        before = torch.cat(columns, 1)
        target = rows.model.robot.default_position + 0.3 * torch.randn(rows.dofs.position.shape, generator=draw)
        rows.tick(target)
        seen.append((before, target, torch.cat(columns, 1)))
    dynamics = make_dynamics(model.robot.dof_names, 4 * model.dt, hidden=(8,))
    fit_linear(dynamics, *map(torch.cat, zip(*seen, strict=True)))
    return dynamics


def make_rows(
    count: int = 3,
    description: RobotDescription | None = None,
    *,
    backend: str = "mujoco",
    nthread: int = 1,
    around: Callable[[Backend], Backend] = lambda backend: backend,
    gravity: tuple[float, float, float] | None = None,
    isaacgym_python: str = "",
    **options: Any,
) -> Rows:
    """`count` rows of a robot (our humanoid by default) that have just been put into the default pose.

    `around` puts something between the simulator and whoever uses it; `gravity` in m/s² is that of the model.
    """
    model = build_robot(description or humanoid(), **options)
    if gravity is not None:
        model.model.opt.gravity[:] = gravity
    if backend == HERE:
        link = StandinHere(count, len(model.robot.dof_names), len(model.robot.body_names))
        made: Backend = IsaacGymBackend(model, count, sensed=model.axes["sensed"], link=link)
        return _rows(model, count, around(made), HERE)
    own: dict[str, Any] = {"nthread": nthread} if backend == "mujoco" else {}
    own |= {"dynamics": fitted(model)} if backend == "learned" else {}
    own |= {"isaacgym_python": isaacgym_python} if isaacgym_python else {}
    standing_in = backend == "isaacgym" and not os.environ.get(PYTHON)  # else Isaac Gym itself
    with environment() if standing_in else nullcontext():
        return _rows(model, count, around(make_backend(model, rows=count, backend=backend, **own)), backend)


def _rows(model: RobotModel, count: int, backend: Backend, made_by: str = "mujoco") -> Rows:
    axes = model.axes
    rows = Rows(
        model,
        backend,
        RootState.make(count, axes, position=[0.0, 0.0, model.robot.default_height], rotation=[1.0, 0.0, 0.0, 0.0]),
        DofState.make(count, axes, position=model.robot.default_position),
        BodyState.make(count, axes),
        ContactForce.make(count, axes),
        torch.zeros(count, dtype=torch.bool),
        made_by,
    )
    rows.restart(*range(count))
    return rows
