"""Laws of motion that every simulator with dynamics obeys, each by a number worked out here; and faults that they catch."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from components.robot import BodyState, Box, Capsule, ContactForce, DofState, Motor, RobotDescription, RootState
from engine.errors import SceneError
from systems.ground.grid import make_terrain
from systems.maths.quaternion import from_rotation_vector, multiply, normalize, rotate_inverse
from systems.physics.contract import Backend
from tests.physics.rows import HERE, PENDULUM, Rows, bytes_of, make_rows, needs, pendulum

G = 9.81
WITH_DYNAMICS = ("mujoco", "warp", "isaacgym", HERE)
Make = Callable[..., Rows]

LUMP = PENDULUM.replace('mass="1"', 'mass="1e-4"').replace("-0.5", "-0.2")  # its arm, which robots have, weighs nothing
CRANE = """<mujoco><compiler angle="radian"/><worldbody><body name="base" pos="0 0 1"><freejoint/>
<geom type="box" size="1 1 0.1" mass="1e6"/><body name="arm" pos="0 0 0.1"><joint name="swing" axis="0 1 0" range="-2 2"
armature="0.02"/><geom type="capsule" fromto="0 0 0.1 0 0 0.5" size="0.05" mass="1"/></body></body></worldbody></mujoco>"""
ARM, STIFFNESS, DAMPING = 0.3, 40.0, 2.0  # m to the arm's centre of mass; gains of the pendulum's motor


def lump(shape: Box | Capsule) -> RobotDescription:
    """2 kg of that shape."""
    return pendulum(model=lambda: LUMP, feet=("base",), shapes=(shape,), default_height=0.1)


def block(make: Make, count: int = 2, **options: Any) -> Rows:
    """Rows of a box of 0.2 m that lies on the floor."""
    rows = make(count, lump(Box("base", (0.0, 0.0, 0.0), (0.1, 0.1, 0.1))), **options)
    for _ in range(20):
        rows.tick()
    return rows


def crane(make: Make, *, gravity: float = 0.0, **options: Any) -> Rows:
    """Two rows of an upright arm of 1 kg on a base that nothing moves; beside the base, nothing touches the floor."""
    motors = {"swing": Motor(stiffness=STIFFNESS, damping=DAMPING, torque=20.0, speed=10.0)}
    shapes = (Box("base", (0.0, 0.0, 0.0), (1.0, 1.0, 0.1)),)
    description = pendulum(model=lambda: CRANE, motors=motors, feet=("base",), shapes=shapes, default_height=1.0)
    return make(2, description, gravity=(0.0, 0.0, -gravity), **options)


def inertia(rows: Rows) -> float:
    """Of the crane's arm about its joint, with the motor's, kg·m²."""
    own = rows.model.model
    assert own.body_ipos[2, 2] == pytest.approx(ARM)
    return float(own.body_mass[2] * ARM**2 + rows.model.body_inertia[1, 1, 1] + own.dof_armature[6])


# -- laws ----------------------------------------------------------------------------------------------


def a_state_that_is_put_in_comes_out_again(make: Make) -> None:
    rows = make(3, dt=1e-5)
    draw = torch.Generator().manual_seed(0)
    put = {
        "position": torch.randn(3, 3, generator=draw) + torch.tensor([0.0, 0.0, 5.0]),
        "rotation": normalize(torch.randn(3, 4, generator=draw)),
        "linear_velocity": torch.randn(3, 3, generator=draw),
        "angular_velocity": torch.randn(3, 3, generator=draw),
    }
    for name, values in put.items():
        getattr(rows.root, name).copy_(values)
    joints = rows.model.robot.default_position + 0.1 * torch.randn(rows.dofs.position.shape, generator=draw)
    speeds = torch.randn(joints.shape, generator=draw)
    rows.dofs.position.copy_(joints)
    rows.dofs.velocity.copy_(speeds)
    rows.restart(0, 1, 2)
    rows.tick(joints, decimation=1)
    for name, values in put.items():
        assert_close(getattr(rows.root, name), values, atol=2e-3, rtol=0.0)
    assert_close(rows.dofs.position, joints, atol=1e-4, rtol=0.0)
    assert_close(rows.dofs.velocity, speeds, atol=0.05, rtol=0.0)  # of which its servo takes a little


def what_falls_falls_as_fast_as_it_should(make: Make) -> None:
    rows = make(1, pendulum(), control="torque", dt=0.001)
    rows.root.position[:, 2] = 10.0
    rows.restart(0)
    rows.tick(decimation=4)
    assert_close(rows.root.linear_velocity[0], torch.tensor([0.0, 0.0, -G * 0.004]), atol=2e-6, rtol=0.0)


def what_spins_freely_keeps_its_spin_in_world_axes(make: Make) -> None:
    rows = make(2, lump(Box("base", (0.0, 0.0, 0.0), (0.1, 0.1, 0.1))), gravity=(0.0, 0.0, 0.0))
    spin, drift = torch.tensor([[3.0, 0.0, 0.0], [0.0, 2.0, 1.0]]), torch.tensor([1.0, -0.5, 0.25])
    turned = normalize(torch.tensor([[0.8, 0.0, 0.0, 0.6], [0.5, -0.5, 0.7, 0.1]]))
    rows.root.position[:, 2], rows.root.rotation[:] = 5.0, turned
    rows.root.angular_velocity[:], rows.root.linear_velocity[:] = spin, drift
    rows.restart(0, 1)
    for _ in range(5):
        rows.tick()  # 0.1 s in all
    assert_close(rows.root.angular_velocity, spin, atol=2e-3, rtol=0.0)
    assert_close(rows.root.linear_velocity, drift.expand(2, 3), atol=2e-3, rtol=0.0)
    expected = multiply(from_rotation_vector(spin * 0.1), turned)
    assert_close(
        rows.root.rotation * (rows.root.rotation * expected).sum(1, keepdim=True).sign(), expected, atol=1e-3, rtol=0.0
    )


def gravity_pulls_a_leaning_arm_further_down(make: Make) -> None:
    rows = crane(make, gravity=G, control="torque")
    rows.root.position[:, 2] = 0.1
    rows.restart(0, 1)
    rows.tick(decimation=40)  # until the floor carries it
    rows.dofs.position[:, 0] = lean = torch.tensor([0.3, -0.6])
    rows.restart(0, 1)
    rows.tick(decimation=2)
    expected = ARM * G * lean.sin() / inertia(rows) * 2 * rows.model.dt
    assert_close(rows.dofs.velocity[:, 0], expected, rtol=0.03, atol=0.0)


def a_servo_moves_as_its_spring_and_damper_say(make: Make) -> None:
    rows = crane(make)
    rows.dofs.position[:, 0] = place = torch.tensor([0.2, -0.1])
    rows.dofs.velocity[:, 0] = speed = torch.tensor([-1.0, 2.0])
    rows.restart(0, 1)
    target, dt, own = torch.tensor([0.1, 0.25]), rows.model.dt, inertia(rows)
    for _ in range(3):
        rows.tick(target.unsqueeze(1))
        for _ in range(4):  # implicit in the damper: I (v' − v) / dt = K (target − q) − D v'
            speed = (own * speed + dt * STIFFNESS * (target - place)) / (own + dt * DAMPING)
            place = place + dt * speed
    assert_close(rows.dofs.position[:, 0], place, atol=2e-4, rtol=0.0)
    assert_close(rows.dofs.velocity[:, 0], speed, atol=2e-3, rtol=0.0)


def a_torque_acts_in_the_very_substep_that_it_is_given_in(make: Make) -> None:
    rows = crane(make, control="torque")
    expected = torch.zeros(2)
    rows.backend.begin(rows.diverged)
    for torque in (2.0, -5.0, 0.0, 3.0):
        given = torch.tensor([[torque], [0.5 * torque]])
        rows.backend.step(1, given, rows.root, rows.dofs, rows.diverged)
        expected += given[:, 0] * rows.model.dt / inertia(rows)
        assert_close(rows.dofs.velocity[:, 0], expected, atol=1e-3, rtol=0.0)


def a_torque_turns_the_joint_that_it_names(make: Make) -> None:
    rows = make(2, control="torque")
    rows.root.position[:, 2] = 5.0
    rows.restart(0, 1)
    names = rows.backend.axes["dof"]
    for at, joint in enumerate(("left_elbow_joint", "right_shoulder_roll_joint")):
        torque = torch.zeros_like(rows.dofs.position)
        torque[at, names.index(joint)] = 1.0
        rows.tick(torque, decimation=1)
        moved = rows.dofs.velocity[at]
        assert names[int(moved.argmax())] == joint and float(moved.max()) > 1e-3


def what_lies_on_the_floor_presses_with_its_weight(make: Make) -> None:
    rows = block(make)
    weight = float(rows.model.body_mass.sum()) * G
    assert_close(rows.forces.force[:, 0, 2], torch.full((2,), weight), rtol=0.02, atol=0.0)
    assert_close(rows.root.position[:, 2], torch.full((2,), 0.1), atol=2e-3, rtol=0.0)


def what_lies_on_a_slope_slides_where_friction_does_not_hold_it(make: Make) -> None:
    friction, speeds = 0.5, []  # it holds up to atan 0.5 = 0.464 rad
    slab = lump(Box("base", (0.0, 0.0, 0.0), (0.1, 0.1, 0.02)))
    for slope in (0.4, 0.6):
        rows = make(1, slab, gravity=(G * np.sin(slope), 0.0, -G * np.cos(slope)))
        rows.backend.change(torch.tensor([True]), {"friction": torch.full((1, 1), friction)})
        rows.root.position[:, 2] = 0.02
        rows.restart(0)
        for _ in range(20):
            rows.tick()  # 0.4 s in all
        speeds.append(float(rows.root.linear_velocity[0, 0]))
    assert abs(speeds[0]) < 0.02
    assert speeds[1] == pytest.approx(0.4 * G * (np.sin(0.6) - friction * np.cos(0.6)), rel=0.1)


def what_lies_on_terrain_lies_at_its_height(make: Make) -> None:
    tiles = make_terrain("stairs_up,slope_up,pit,waves", levels=1)  # as hard as they are
    assert tiles is not None
    rows = make(4, lump(Box("base", (0.0, 0.0, 0.0), (0.1, 0.1, 0.1))), terrain=tiles)
    # six steps of 0.1 m; 1 m per m for 3 m; 1 m deep; no wave in the middle, but the ground is bent there
    height = torch.tensor([0.6, 3.0, -1.0, 0.0])
    rows.root.position.copy_(torch.from_numpy(tiles.origins[0]).float())
    rows.root.position[:, 2] = height + 0.1
    rows.restart(0, 1, 2, 3)
    for _ in range(20):
        rows.tick()  # 0.4 s in all
    assert_close(rows.root.position[:3, 2], height[:3] + 0.1, atol=2e-3, rtol=0.0)
    assert abs(float(rows.root.position[3, 2]) - 0.1) < 0.1
    weight = float(rows.model.body_mass.sum()) * G
    assert_close(rows.forces.force[:3, 0, 2], torch.full((3,), weight), rtol=0.02, atol=0.0)
    assert rows.backend.overflows() == {"contact": 0, "constraint": 0}


def bodies_are_where_root_and_joints_put_them(make: Make) -> None:
    rows = make(2)
    for _ in range(2):
        rows.tick(rows.model.robot.default_position.expand_as(rows.dofs.position) + 0.2)
    root, dofs = rows.root, rows.dofs
    sources = (root.position, root.rotation, dofs.position, root.linear_velocity, root.angular_velocity, dofs.velocity)
    expected = rows.model.kinematics(*(t.double().numpy() for t in sources))
    found = (rows.bodies.position, rows.bodies.rotation, rows.bodies.linear_velocity, rows.bodies.angular_velocity)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b, atol=5e-5)


def a_restart_leaves_the_other_rows_as_they_are(make: Make) -> None:
    rows, other = block(make, 3), block(make, 3)
    for each in (rows, other):
        each.root.linear_velocity[:, 0] = 1.0  # it slides and turns, so that warm starts matter
        each.root.angular_velocity[:, 2] = 3.0
        each.restart(0, 1, 2)
        each.tick()
    rows.root.position[1, 2] = 0.5
    rows.restart(1)
    assert bytes_of(rows, 0, 2) == bytes_of(other, 0, 2)
    for each in (rows, other):
        each.tick()
    assert bytes_of(rows, 0, 2) == bytes_of(other, 0, 2)
    assert bytes_of(rows, 1) != bytes_of(other, 1)


def a_row_that_starts_from_no_number_is_put_aside(make: Make) -> None:
    rows = make(4, pendulum())
    rows.dofs.position[1, 0] = float("nan")
    rows.root.rotation[2] = 0.0
    rows.dofs.velocity[3, 0] = 1e12
    rows.restart(1, 2, 3)
    assert rows.bodies.position.isfinite().all() and rows.forces.force.isfinite().all()
    rows.tick()
    assert rows.diverged.tolist() == [False, True, True, True]
    assert rows.dofs.position.isfinite().all() and (rows.root.rotation.norm(dim=1) - 1.0).abs().max() < 1e-5
    rows.tick()
    assert not rows.diverged.any()  # it went on from where it was sound


LAWS = (
    a_state_that_is_put_in_comes_out_again,
    what_falls_falls_as_fast_as_it_should,
    what_spins_freely_keeps_its_spin_in_world_axes,
    gravity_pulls_a_leaning_arm_further_down,
    a_servo_moves_as_its_spring_and_damper_say,
    a_torque_acts_in_the_very_substep_that_it_is_given_in,
    a_torque_turns_the_joint_that_it_names,
    what_lies_on_the_floor_presses_with_its_weight,
    what_lies_on_a_slope_slides_where_friction_does_not_hold_it,
    bodies_are_where_root_and_joints_put_them,
    a_restart_leaves_the_other_rows_as_they_are,
    a_row_that_starts_from_no_number_is_put_aside,
)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("backend", [pytest.param(name, marks=needs(name)) for name in WITH_DYNAMICS])
def test_law(backend: str, law: Callable[[Make], None]) -> None:
    law(partial(make_rows, backend=backend))


def test_law_of_terrain() -> None:
    what_lies_on_terrain_lies_at_its_height(make_rows)


@pytest.mark.parametrize("backend", ["warp", "isaacgym", "kinematic"])
def test_simulators_that_do_not_keep_it_refuse_terrain(backend: str) -> None:
    if backend == "warp":
        pytest.importorskip("mujoco_warp")
    with pytest.raises(SceneError, match=r"terrain.* (Choose|--) ?backend[= ]'?mujoco"):
        make_rows(1, pendulum(), backend=backend, terrain=make_terrain("slope_up", levels=1))


# -- faults --------------------------------------------------------------------------------------------


class Faulty:
    """A simulator as it is; each class below does one thing wrong."""

    def __init__(self, inner: Backend) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class SwappedJoints(Faulty):
    """Commands reach each other's joints."""

    def step(self, substeps: int, control: Tensor, *rest: Any) -> None:
        self.inner.step(substeps, control.flip(1), *rest)


class SpinInBodyAxes(Faulty):
    """The root's angular velocity comes in the axes of its own frame."""

    def step(self, substeps: int, control: Tensor, root: RootState, dofs: DofState, diverged: Tensor) -> None:
        self.inner.step(substeps, control, root, dofs, diverged)
        root.angular_velocity.copy_(rotate_inverse(root.rotation, root.angular_velocity))


class StaleTorque(Faulty):
    """Every step applies what was asked for in the one before."""

    def step(self, substeps: int, control: Tensor, *rest: Any) -> None:
        last = vars(self).get("last", torch.zeros_like(control))
        self.last = control.clone()
        self.inner.step(substeps, last, *rest)


class LeakyRestart(Faulty):
    """The row after one that starts over starts over as well."""

    def restart(self, rows: Tensor, root: RootState, dofs: DofState) -> None:
        self.inner.restart(rows | rows.roll(1), root, dofs)


class StaleBodies(Faulty):
    """Bodies are where they were when somebody asked before."""

    def kinematics(self, root: RootState, dofs: DofState, bodies: BodyState, forces: ContactForce) -> None:
        last = [column.clone() for column in vars(bodies).values()]
        self.inner.kinematics(root, dofs, bodies, forces)
        for column, old in zip(vars(bodies).values(), last, strict=True):
            column.copy_(old)


class DroppedContact(Faulty):
    """One of four contacts of the body of a row that touches hardest is left out."""

    def kinematics(self, root: RootState, dofs: DofState, bodies: BodyState, forces: ContactForce) -> None:
        self.inner.kinematics(root, dofs, bodies, forces)
        forces.force[1, forces.force[1].norm(dim=1).argmax()] *= 0.75


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        (SwappedJoints, a_torque_turns_the_joint_that_it_names),
        (SpinInBodyAxes, a_state_that_is_put_in_comes_out_again),
        (SpinInBodyAxes, what_spins_freely_keeps_its_spin_in_world_axes),
        (StaleTorque, a_torque_acts_in_the_very_substep_that_it_is_given_in),
        (LeakyRestart, a_restart_leaves_the_other_rows_as_they_are),
        (StaleBodies, bodies_are_where_root_and_joints_put_them),
        (DroppedContact, what_lies_on_the_floor_presses_with_its_weight),
    ],
)
@pytest.mark.parametrize("backend", [pytest.param(name, marks=needs(name)) for name in ("mujoco", "warp", HERE)])
def test_a_law_catches_the_fault(backend: str, fault: type[Faulty], law: Callable[[Make], None]) -> None:
    law(partial(make_rows, backend=backend, around=Faulty))  # nothing is wrong with what merely passes on
    with pytest.raises(AssertionError):
        law(partial(make_rows, backend=backend, around=fault))
