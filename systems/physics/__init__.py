"""Physics: the simulator that moves the robot, by one contract for all. Simulators are imported when asked for."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from components.control import DofTarget, DofTorque
from components.episode import Rewritten
from components.physics import Diverged, Physics
from components.robot import BodyState, ContactForce, ContactSensors, DofState, RootState
from components.terrain import Ground
from engine.ecs.access import Write
from engine.ecs.bundle import Bundle, deferred
from engine.ecs.condition import any_row
from engine.ecs.scene import free_host_memory
from engine.ecs.schedule import Schedule
from engine.ecs.system import System, system
from engine.errors import SceneError, did_you_mean, listing
from systems.physics.contract import FIELDS, Backend, Nominal
from systems.physics.sensing import place_sensors, refuse_unsensed
from systems.tick import ACTUATE, BEGIN, REFRESH, SENSE, STEP

if TYPE_CHECKING:
    from components.dynamics import Dynamics
    from systems.robots.model import RobotModel

REWRITTEN = any_row(Rewritten, "rows")  # condition of everything that follows from rewritten rows
BACKENDS = ("mujoco", "warp", "isaacgym", "kinematic", "learned")
_SIMULATOR = "the simulator reads and writes host memory"
_ELSEWHERE = "the simulator is another process, which is waited for"


def begin_physics(physics: Write[Physics], diverged: Write[Diverged]) -> None:
    """A new control step: nothing has diverged yet, no self-contact is counted."""
    physics.backend.begin(diverged.rows)


def begin_isaacgym(physics: Write[Physics], diverged: Write[Diverged]) -> None:
    """A new control step, simulated by Isaac Gym's documented interface and not yet run on Isaac Gym itself; nothing has diverged."""
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
    dynamics: "Dynamics | None" = None,
    device: "torch.device | str" = "cpu",
    isaacgym_python: str = "",
) -> Backend:
    """A simulator of `rows` copies of the robot.

    `nthread` 0 uses all processors; `sensed` are the bodies whose contact force is measured, by default all that can touch
    something; `dynamics` is the model that moves the rows of the backend "learned"; `isaacgym_python` the interpreter that has
    Isaac Gym, by default the one that the environment names. Its columns are on `device`. Raises SceneError as
    `refuse_senseless` and `refuse_device` do.
    """
    refuse_senseless(
        model, rows=rows, backend=backend, nthread=nthread, dynamics=dynamics, isaacgym_python=isaacgym_python
    )
    refuse_device(backend, str(device))
    if dynamics is not None:
        from systems.physics.learned_backend import LearnedBackend

        return LearnedBackend(model, dynamics)
    sensed = model.axes["sensed"] if sensed is None else sensed
    if backend == "warp":
        from systems.physics.warp_backend import WarpBackend

        return WarpBackend(model, rows, sensed=sensed, device=device)
    if backend == "isaacgym":
        from systems.physics.isaacgym.backend import start

        return start(model, rows, sensed=sensed, python=isaacgym_python, device=device)
    if backend == "kinematic":
        from systems.physics.kinematic_backend import KinematicBackend

        return KinematicBackend(model, rows, sensed=sensed)
    from systems.physics.mujoco_backend import MujocoBackend

    return MujocoBackend(model, rows, sensed=sensed, nthread=nthread)


def variable_fields(model: "RobotModel", backend: str) -> dict[str, Nominal]:
    """The fields of which a backend can give rows values of their own, as they are in the model; FIELDS explains them."""
    if backend not in ("mujoco", "warp", "isaacgym"):
        return {}
    from systems.physics.mujoco_fields import felt, labels, nominal, varied_by

    varied = varied_by(model)
    if backend == "isaacgym":
        from systems.physics.isaacgym.backend import varied as varied_there

        varied = varied_there(model.control)
    return {
        name: Nominal(labels(model, name), torch.from_numpy(nominal(model, name)), tuple(felt(model, name).tolist()))
        for name in FIELDS
        if name in varied
    }


def refuse_senseless(
    model: "RobotModel",
    *,
    rows: int,
    backend: str,
    decimation: int = 1,
    nthread: int = 0,
    dynamics: "Dynamics | None" = None,
    isaacgym_python: str = "",
) -> None:
    """SceneError for an unknown or missing backend, settings that make no sense, and rows that would not fit into memory."""
    if backend not in BACKENDS:
        raise SceneError(
            f"There is no physics backend '{backend}'; there are: {', '.join(BACKENDS)}.{did_you_mean(backend, BACKENDS)}"
        )
    if find_spec("mujoco") is None:
        raise SceneError(
            f"The physics backend '{backend}' needs MuJoCo, which is not installed. pip install 'mujoco>=4.0'"
        )
    if backend == "warp" and find_spec("mujoco_warp") is None:
        raise SceneError(
            "The physics backend 'warp' needs MuJoCo Warp, which is not installed. pip install 'lockstep-sim[warp]', or choose "
            "--backend mujoco."
        )
    if backend == "isaacgym":
        from systems.physics.isaacgym.assets import refuse_unreadable

        refuse_unreadable(model)
    elif isaacgym_python:
        raise SceneError(
            f"isaacgym_python={isaacgym_python} has no effect with backend='{backend}'; leave it out, or choose "
            "backend='isaacgym'."
        )
    for name, value, least in (("rows", rows, 1), ("decimation", decimation, 1), ("nthread", nthread, 0)):
        if value < least:
            raise SceneError(f"physics({name}={value}) makes no sense; {name} is at least {least}.")
    if (backend == "learned") != (dynamics is not None):
        raise SceneError(
            "physics(backend='learned') needs the model that moves the rows: physics(backend='learned', dynamics=...), made by "
            "systems.learning.dynamics.make_dynamics."
            if dynamics is None
            else f"physics(dynamics=...) has no effect with backend='{backend}'; leave it out, or choose backend='learned'."
        )
    if dynamics is not None and dynamics.joints != model.robot.dof_names:
        raise SceneError(
            f"The learned dynamics are those of the joints {listing(dynamics.joints)}, but the robot '{model.robot.name}' has "
            f"{listing(model.robot.dof_names)}. Play with the robot that they were fitted to."
        )
    if model.terrain is not None and backend != "mujoco":
        why = (
            "has wrong contacts on height fields, in MuJoCo Warp 4.0"  # docs/backends.md has figures
            if backend == "warp"
            else "knows nothing of the ground, so terrain would have no effect"
        )
        raise SceneError(f"terrain: the backend '{backend}' {why}. Choose backend='mujoco', or terrain='plane'.")
    if backend != "mujoco":
        if nthread:
            raise SceneError(
                f"physics(nthread={nthread}) has no effect with backend='{backend}', whose steps need no threads; leave it out, "
                "or choose backend='mujoco'."
            )
    else:
        from systems.physics.mujoco_backend import check_memory

        check_memory(model, rows, free_host_memory())


def refuse_device(backend: str, device: str) -> None:
    """SceneError for a simulator whose rows cannot be on that device."""
    if backend not in ("warp", "isaacgym") and device != "cpu":
        raise SceneError(
            f"Backend '{backend}' simulates in host memory, so its scenes run with --device cpu, not '{device}'; --backend warp "
            "simulates on a GPU."
        )


def physics(
    model: "RobotModel",
    *,
    rows: int,
    backend: str = "mujoco",
    control: str | None = None,
    decimation: int = 4,
    nthread: int = 0,
    dynamics: "Dynamics | None" = None,
    isaacgym_python: str = "",
) -> Bundle:
    """Everything between joint commands and body poses.

    `control` is "servo" (one native call per control step, reads DofTarget), "torque" (one call per substep,
    reads DofTorque) or "none" (nothing is stepped: another system moves root and joints); by default what
    the model was built for. `dynamics` is the model, fitted or loaded before the first tick, of the backend "learned";
    `isaacgym_python` the interpreter of the backend "isaacgym".
    """
    control = control or model.control
    if control not in ("none", model.control):
        raise SceneError(
            f"physics(control='{control}') does not fit robot '{model.robot.name}', which was built with "
            f"control='{model.control}'. Build the robot with control='{control}'."
        )
    asked: Any = {"backend": backend, "nthread": nthread, "dynamics": dynamics, "isaacgym_python": isaacgym_python}
    refuse_senseless(model, rows=rows, decimation=decimation, **asked)
    sensors = ContactSensors()
    ground = Ground() if model.terrain is None else model.terrain.ground()

    def simulator(axes: Mapping[str, tuple[str, ...]], seed: int, device: torch.device) -> Physics:
        return Physics(backend=make_backend(model, rows=rows, sensed=axes["sensed"], device=device, **asked))

    waits = "" if backend == "warp" else _ELSEWHERE if backend == "isaacgym" else _SIMULATOR
    step = {
        "servo": [system(step_physics_servo, name="step_physics", substeps=decimation, may_sync=waits)],
        "torque": [system(step_physics_torque, name="step_physics", substeps=1, may_sync=waits)],
        "none": [],
    }[control]
    begins = begin_isaacgym if backend == "isaacgym" else begin_physics
    start = system(begins, name="begin_physics", may_sync=waits)
    learned, refused, begin = _learned(dynamics)
    return Bundle(
        "physics",
        components=[RootState, DofState, BodyState, ContactForce, Diverged],
        resources=[deferred(Physics, simulator), sensors, model.robot, ground, *learned],
        axes={**model.axes, "sensed": partial(place_sensors, sensors, model)},
        checks=[*refused, partial(refuse_unsensed, sensors, model)],
        systems={
            **begin,
            ACTUATE: [start],
            STEP: step,
            SENSE: [system(refresh_kinematics, may_sync=waits)],
            REFRESH: [
                system(restart_physics, when=REWRITTEN, may_sync=waits),
                system(refresh_kinematics, when=REWRITTEN, may_sync=waits),
            ],
        },
        repeat=decimation if control == "torque" else 1,
    )


def _learned(
    dynamics: "Dynamics | None",
) -> tuple[list[Any], list[Callable[[Schedule], None]], dict[str, list[System]]]:
    """Resources, checks and systems of a scene whose rows a model moves."""
    if dynamics is None:
        return [], [], {}
    from systems.physics.learned_backend import refuse_contacts, refuse_unfitted

    return [dynamics], [refuse_contacts], {BEGIN: [system(refuse_unfitted, may_sync="looks at the model once")]}
