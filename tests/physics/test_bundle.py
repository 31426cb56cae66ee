"""The physics bundle: phases, choice of backend, messages."""

from typing import Any

import pytest
import torch

from components.control import DofTarget, DofTorque
from components.episode import Rewritten
from components.physics import Diverged, Physics
from engine.errors import SceneError
from systems.learning.dynamics import make_dynamics
from systems.physics import (
    begin_physics,
    make_backend,
    physics,
    refresh_kinematics,
    restart_physics,
    step_physics_servo,
    step_physics_torque,
)
from systems.robots.model import build_robot
from tests.physics.rows import make_rows, pendulum


def names(bundle: Any) -> dict[str, list[str]]:
    return {phase: [system.name for system in systems] for phase, systems in bundle.systems.items()}


def test_servo_is_one_call_and_torque_one_call_per_substep() -> None:
    servo = physics(build_robot(pendulum()), rows=2, nthread=1)
    torque = physics(build_robot(pendulum(), control="torque"), rows=2, decimation=3, nthread=1)
    expected = {
        "ACTUATE": ["begin_physics"],
        "STEP": ["step_physics"],
        "SENSE": ["refresh_kinematics"],
        "REFRESH": ["restart_physics", "refresh_kinematics"],
    }
    assert names(servo) == names(torque) == expected
    assert (servo.repeat, torque.repeat) == (1, 3)
    assert servo.systems["STEP"][0].constants == {"substeps": 4}


def test_without_control_nothing_is_stepped() -> None:
    assert names(physics(build_robot(pendulum()), rows=2, backend="kinematic", control="none"))["STEP"] == []


@pytest.mark.parametrize("control", ["servo", "torque"])
def test_systems_drive_the_backend(control: str) -> None:
    rows = make_rows(2, pendulum(), control=control)
    engine, mark = Physics(backend=rows.backend), Diverged.make(2)
    rewritten = Rewritten.make(2)
    rewritten.rows[0] = True
    rows.root.position[0, 2] = 2.0
    restart_physics(rewritten, rows.root, rows.dofs, engine)
    begin_physics(engine, mark)
    if control == "servo":
        target = DofTarget.make(2, rows.model.axes, position=0.3)
        step_physics_servo(target, engine, rows.root, rows.dofs, mark, substeps=4)
    else:
        for _ in range(4):
            step_physics_torque(DofTorque.make(2, rows.model.axes, value=1.0), engine, rows.root, rows.dofs, mark)
    refresh_kinematics(engine, rows.root, rows.dofs, rows.bodies, rows.forces)
    assert rows.root.position[0, 2] == pytest.approx(2.0 - 0.5 * 9.81 * 0.02**2, abs=3e-3)
    assert (rows.dofs.position > 0.0).all() and not mark.rows.any()
    assert torch.equal(rows.bodies.position[:, 0], rows.root.position)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"backend": "mujco"},
            "There is no physics backend 'mujco'; there are: mujoco, warp, isaacgym, kinematic, learned. Did you mean mujoco?",
        ),
        ({"rows": 0}, "physics(rows=0) makes no sense; rows is at least 1."),
        ({"decimation": 0}, "physics(decimation=0) makes no sense; decimation is at least 1."),
        ({"nthread": -1}, "physics(nthread=-1) makes no sense; nthread is at least 0."),
        (
            {"backend": "kinematic", "nthread": 2},
            "physics(nthread=2) has no effect with backend='kinematic', whose steps need no threads; leave it out, or "
            "choose backend='mujoco'.",
        ),
        (
            {"backend": "learned"},
            "physics(backend='learned') needs the model that moves the rows: physics(backend='learned', dynamics=...), made by "
            "systems.learning.dynamics.make_dynamics.",
        ),
        (
            {"dynamics": make_dynamics(("swing",), 0.02)},
            "physics(dynamics=...) has no effect with backend='mujoco'; leave it out, or choose backend='learned'.",
        ),
        (
            {"backend": "learned", "dynamics": make_dynamics(("swing",), 0.02), "nthread": 2},
            "physics(nthread=2) has no effect with backend='learned', whose steps need no threads; leave it out, or choose "
            "backend='mujoco'.",
        ),
        (
            {"backend": "learned", "dynamics": make_dynamics(("swing", "bend"), 0.02)},
            "The learned dynamics are those of the joints swing, bend, but the robot 'pendulum' has swing. Play with the robot that "
            "they were fitted to.",
        ),
    ],
)
def test_senseless_settings_are_sentences(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SceneError) as error:
        physics(build_robot(pendulum()), **{"rows": 1, **options})
    assert str(error.value) == message


def test_control_that_the_robot_was_not_built_for_is_refused() -> None:
    with pytest.raises(SceneError) as error:
        physics(build_robot(pendulum()), rows=1, control="torque")
    assert str(error.value) == (
        "physics(control='torque') does not fit robot 'pendulum', which was built with control='servo'. "
        "Build the robot with control='torque'."
    )


def test_more_rows_than_memory_are_refused_before_they_are_allocated() -> None:
    with pytest.raises(SceneError, match=r"rows of 'pendulum' need .* bytes for their simulations"):
        make_backend(build_robot(pendulum()), rows=10**10)
