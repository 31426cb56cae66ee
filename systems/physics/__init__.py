"""Physics: the simulator that moves the robot, by one contract for all. Simulators are imported when asked for."""

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from components.control import DofTarget, DofTorque
from components.episode import Rewritten
from components.physics import Diverged, Physics
from components.robot import BodyState, ContactForce, ContactSensors, DofState, RootState
from engine.ecs.access import Write
from engine.ecs.bundle import Bundle, deferred
from engine.ecs.condition import any_row
from engine.ecs.scene import free_host_memory
from engine.ecs.system import system
from engine.errors import SceneError, did_you_mean
from systems.physics.contract import Backend
from systems.physics.sensing import place_sensors, refuse_unsensed
from systems.tick import ACTUATE, REFRESH, SENSE, STEP

if TYPE_CHECKING:
    from systems.robots.model import RobotModel

REWRITTEN = any_row(Rewritten, "rows")  # condition of everything that follows from rewritten rows
BACKENDS = ("mujoco", "kinematic")
_SIMULATOR = "the simulator reads and writes host memory"


def begin_physics(physics: Write[Physics], diverged: Write[Diverged]) -> None:
    """A new control step: nothing has diverged yet, no self-contact is counted."""
    physics.backend.begin(diverged.rows)


def step_physics_servo(
    target: DofTarget,
    physics: Write[Physics],
    root: Write[RootState],
    dofs: Write[DofState],
    diverged: Write[Diverged],
    *,
    substeps: int,
) -> None:
    """Let the simulator's own servo pull the joints to their targets for `substeps` steps in one call."""
    physics.backend.step(substeps, target.position, root, dofs, diverged.rows)


def step_physics_torque(
    torque: DofTorque,
    physics: Write[Physics],
    root: Write[RootState],
    dofs: Write[DofState],
    diverged: Write[Diverged],
    *,
    substeps: int = 1,
) -> None:
    """Apply explicit joint torques."""
    physics.backend.step(substeps, torque.value, root, dofs, diverged.rows)


def restart_physics(rewritten: Rewritten, root: RootState, dofs: DofState, physics: Write[Physics]) -> None:
    """Push rows whose root or joints were written by hand into the simulator."""
    physics.backend.restart(rewritten.rows, root, dofs)


def refresh_kinematics(
    physics: Physics, root: RootState, dofs: DofState, bodies: Write[BodyState], forces: Write[ContactForce]
) -> None:
    """Make body poses, velocities and contact forces agree with root and joints."""
    physics.backend.kinematics(root, dofs, bodies, forces)


def make_backend(
    model: "RobotModel",
    *,
    rows: int,
    backend: str = "mujoco",
    nthread: int = 0,
    sensed: Sequence[str] | None = None,
) -> Backend:
    """A simulator of `rows` copies of the robot.

    `nthread` 0 uses all processors; `sensed` are the bodies whose contact force is measured, by default all that can touch
    something. Raises SceneError as `refuse_senseless` does.
    """
    refuse_senseless(model, rows=rows, backend=backend, nthread=nthread)
    sensed = model.axes["sensed"] if sensed is None else sensed
    if backend == "kinematic":
        from systems.physics.kinematic_backend import KinematicBackend

        return KinematicBackend(model, rows, sensed=sensed)
    from systems.physics.mujoco_backend import MujocoBackend

    return MujocoBackend(model, rows, sensed=sensed, nthread=nthread)


def refuse_senseless(model: "RobotModel", *, rows: int, backend: str, decimation: int = 1, nthread: int = 0) -> None:
    """SceneError for an unknown or missing backend, settings that make no sense, and rows that would not fit into memory."""
    if backend not in BACKENDS:
        raise SceneError(
            f"There is no physics backend '{backend}'; there are: {', '.join(BACKENDS)}.{did_you_mean(backend, BACKENDS)}"
        )
    if find_spec("mujoco") is None:
        raise SceneError(
            f"The physics backend '{backend}' needs MuJoCo, which is not installed. pip install 'mujoco>=4.0'"
        )
    for name, value, least in (("rows", rows, 1), ("decimation", decimation, 1), ("nthread", nthread, 0)):
        if value < least:
            raise SceneError(f"physics({name}={value}) makes no sense; {name} is at least {least}.")
    if backend == "kinematic":
        if nthread:
            raise SceneError(
                f"physics(nthread={nthread}) has no effect with backend='kinematic', whose steps need no threads; leave it out, "
                "or choose backend='mujoco'."
            )
    else:
        from systems.physics.mujoco_backend import check_memory

        check_memory(model, rows, free_host_memory())


def physics(
    model: "RobotModel",
    *,
    rows: int,
    backend: str = "mujoco",
    control: str | None = None,
    decimation: int = 4,
    nthread: int = 0,
) -> Bundle:
    """Everything between joint commands and body poses.

    `control` is "servo" (one native call per control step, reads DofTarget), "torque" (one call per substep,
    reads DofTorque) or "none" (nothing is stepped: another system moves root and joints); by default what
    the model was built for.
    """
    control = control or model.control
    if control not in ("none", model.control):
        raise SceneError(
            f"physics(control='{control}') does not fit robot '{model.robot.name}', which was built with "
            f"control='{model.control}'. Build the robot with control='{control}'."
        )
    refuse_senseless(model, rows=rows, backend=backend, decimation=decimation, nthread=nthread)
    sensors = ContactSensors()

    def simulator(axes: Mapping[str, tuple[str, ...]], seed: int, device: torch.device) -> Physics:
        return Physics(backend=make_backend(model, rows=rows, backend=backend, nthread=nthread, sensed=axes["sensed"]))

    step = {
        "servo": [system(step_physics_servo, name="step_physics", substeps=decimation, may_sync=_SIMULATOR)],
        "torque": [system(step_physics_torque, name="step_physics", substeps=1, may_sync=_SIMULATOR)],
        "none": [],
    }[control]
    return Bundle(
        "physics",
        components=[RootState, DofState, BodyState, ContactForce, Diverged],
        resources=[deferred(Physics, simulator), sensors, model.robot],
        axes={**model.axes, "sensed": partial(place_sensors, sensors, model)},
        checks=[partial(refuse_unsensed, sensors, model)],
        systems={
            ACTUATE: [system(begin_physics)],
            STEP: step,
            SENSE: [system(refresh_kinematics, may_sync=_SIMULATOR)],
            REFRESH: [
                system(restart_physics, when=REWRITTEN, may_sync=_SIMULATOR),
                system(refresh_kinematics, when=REWRITTEN, may_sync=_SIMULATOR),
            ],
        },
        repeat=decimation if control == "torque" else 1,
    )
