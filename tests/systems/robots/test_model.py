"""Building robots: what is kept, what is replaced, and what a mistake says."""

import mujoco
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from components.robot import Box, Capsule, Motor
from engine.errors import SceneError
from scenes.robots.humanoid import humanoid
from systems.maths.rotation import rotate, rotate_inverse
from systems.robots.model import build_robot
from tests.physics.rows import PENDULUM, one_foot, pendulum


def random_states(count: int, dofs: int, seed: int) -> list[np.ndarray]:
    """Arguments of `RobotModel.kinematics`."""
    rng = np.random.default_rng(seed)
    rotation = rng.normal(size=(count, 4))
    rotation /= np.linalg.norm(rotation, axis=-1, keepdims=True)
    return [
        rng.normal(size=(count, 3)), rotation, rng.uniform(-0.5, 0.5, (count, dofs)),
        rng.normal(size=(count, 3)), rng.normal(size=(count, 3)), rng.normal(size=(count, dofs)),
    ]  # fmt: skip


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_kinematics_agrees_with_mujocos_own_object_velocities(seed: int) -> None:
    robot = build_robot(humanoid())
    root_position, root_rotation, dof_position, linear, angular, dof_velocity = random_states(2, 19, seed)
    found = robot.kinematics(root_position, root_rotation, dof_position, linear, angular, dof_velocity)
    data = mujoco.MjData(robot.model)
    for row in range(2):
        data.qpos[:] = np.concatenate((root_position[row], root_rotation[row], dof_position[row]))
        matrix = np.zeros(9)
        mujoco.mju_quat2Mat(matrix, root_rotation[row])
        data.qvel[:] = np.concatenate((linear[row], matrix.reshape(3, 3).T @ angular[row], dof_velocity[row]))
        mujoco.mj_forward(robot.model, data)
        for body in range(1, robot.model.nbody):
            velocity = np.zeros(6)
            mujoco.mj_objectVelocity(robot.model, data, mujoco.mjtObj.mjOBJ_XBODY, body, velocity, 0)
            np.testing.assert_allclose(found[0][row, body - 1], data.xpos[body], atol=1e-12)
            np.testing.assert_allclose(found[1][row, body - 1], data.xquat[body], atol=1e-12)
            np.testing.assert_allclose(found[2][row, body - 1], velocity[3:], atol=1e-10)
            np.testing.assert_allclose(found[3][row, body - 1], velocity[:3], atol=1e-10)


def test_root_velocities_come_back_as_they_went_in() -> None:
    robot = build_robot(humanoid())
    states = random_states(5, 19, 1)
    _, _, linear, angular = robot.kinematics(*states)
    np.testing.assert_allclose(linear[:, 0], states[3], atol=1e-12)
    np.testing.assert_allclose(angular[:, 0], states[4], atol=1e-12)


def test_poses_are_the_same_whether_anything_moves_or_not() -> None:
    robot = build_robot(humanoid())
    states = random_states(7, 19, 2)
    still = robot.kinematics(*states[:3], *(np.zeros_like(speed) for speed in states[3:]))
    for moving, standing in zip(robot.kinematics(*states)[:2], still, strict=False):
        np.testing.assert_array_equal(moving, standing)
    assert not still[2].any() and not still[3].any()


def test_kinematics_of_no_frames_is_empty() -> None:
    found = build_robot(humanoid()).kinematics(*random_states(0, 19, 0))
    assert [a.shape for a in found] == [(0, 20, 3), (0, 20, 4), (0, 20, 3), (0, 20, 3)]


def test_turning_there_and_back_changes_nothing() -> None:
    q = np.array([0.5, 0.5, 0.5, 0.5])  # 120° about (1, 1, 1): x goes to y
    np.testing.assert_allclose(rotate(q, np.array([1.0, 0.0, 0.0])), [0.0, 1.0, 0.0], atol=1e-15)
    np.testing.assert_allclose(rotate_inverse(q, np.array([0.0, 1.0, 0.0])), [1.0, 0.0, 0.0], atol=1e-15)


def test_foot_points_are_the_lowest_points_of_spheres_and_capsule_ends() -> None:
    robot = build_robot(
        one_foot(Capsule("arm", 0.02, (0.0, 0.0, -0.5)), Capsule("arm", 0.03, (0.0, 0.0, -0.4), (0.2, 0.0, -0.4)))
    )
    assert robot.foot_point_body == (1, 1, 1)
    position = np.array([[[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]])
    level = np.tile([1.0, 0.0, 0.0, 0.0], (1, 2, 1))
    points = robot.foot_points(position, level)[0]
    np.testing.assert_allclose(
        sorted(points.tolist()), [[0.0, 0.0, 0.48], [0.0, 0.0, 0.57], [0.2, 0.0, 0.57]], atol=1e-6
    )
    turned = np.tile([np.sqrt(0.5), 0.0, np.sqrt(0.5), 0.0], (1, 2, 1))  # 90° about y: -z in the body is -x here
    np.testing.assert_allclose(robot.foot_points(position, turned)[0, 0], [-0.5, 0.0, 1.0 - 0.02], atol=1e-6)


def test_foot_points_of_a_box_are_its_corners() -> None:
    robot = build_robot(pendulum(feet=("arm",), shapes=(Box("arm", (0.1, 0.0, -0.5), (0.1, 0.05, 0.02)),)))
    points = robot.foot_points(np.zeros((1, 2, 3)), np.tile([1.0, 0.0, 0.0, 0.0], (1, 2, 1)))[0]
    expected = [(x, y, z) for x in (0.0, 0.2) for y in (-0.05, 0.05) for z in (-0.52, -0.48)]
    np.testing.assert_allclose(sorted(map(tuple, points.round(9))), expected, atol=1e-9)


def test_default_height_puts_the_lowest_foot_point_on_the_floor() -> None:
    robot = build_robot(humanoid())
    height = robot.robot.default_height
    place, upright = np.array([[0.0, 0.0, height]]), np.array([[1.0, 0.0, 0.0, 0.0]])
    pose, still = robot.robot.default_position.numpy()[None], np.zeros((1, 3))
    position, rotation, *_ = robot.kinematics(place, upright, pose, still, still, np.zeros((1, 19)))
    assert abs(robot.foot_points(position, rotation)[..., 2].min()) < 1e-6


def test_soft_limits_keep_nine_tenths_of_the_range_about_its_middle() -> None:
    robot = build_robot(pendulum()).robot  # range -2 … 1: middle -0.5, 0.45 × 3 = 1.35
    assert_close(robot.position_limit, torch.tensor([[-2.0, 1.0]]))
    assert_close(robot.soft_position_limit, torch.tensor([[-1.85, 0.85]]))


def test_servo_carries_the_motors_gains_and_limit() -> None:
    compiled = build_robot(pendulum()).model
    assert compiled.opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    assert compiled.actuator_gainprm[0, 0] == 40.0
    np.testing.assert_array_equal(compiled.actuator_biasprm[0, :3], [0.0, -40.0, -2.0])
    np.testing.assert_array_equal(compiled.actuator_forcerange[0], [-8.0, 8.0])


def test_torque_control_passes_torque_through_and_clips_it() -> None:
    built = build_robot(pendulum(), control="torque")
    data = mujoco.MjData(built.model)
    for asked, given_torque in ((3.0, 3.0), (20.0, 8.0), (-20.0, -8.0)):
        data.ctrl[0] = asked
        mujoco.mj_forward(built.model, data)
        assert data.qfrc_actuator[6] == given_torque


def test_armature_is_the_motors_or_else_the_files() -> None:
    assert build_robot(pendulum()).robot.armature.item() == pytest.approx(0.02)
    motor = Motor(40.0, 2.0, 8.0, 10.0, armature=0.05)
    assert build_robot(pendulum(motors={"swing": motor})).robot.armature.item() == pytest.approx(0.05)


def test_unit_action_asks_for_a_quarter_of_the_torque_limit() -> None:
    assert build_robot(pendulum()).robot.action_scale.item() == pytest.approx(0.25 * 8.0 / 40.0)
    motor = Motor(40.0, 2.0, 8.0, 10.0, action_scale=0.7)
    assert build_robot(pendulum(motors={"swing": motor})).robot.action_scale.item() == pytest.approx(0.7)


def test_files_own_actuators_sensors_keyframes_pairs_and_scenery_are_replaced() -> None:
    furniture = PENDULUM.replace("<worldbody>", '<worldbody><geom name="table" type="box" size="1 1 1"/>').replace(
        "</mujoco>",
        '<actuator><motor joint="swing"/></actuator><sensor><jointpos joint="swing"/></sensor>'
        '<keyframe><key qpos="0 0 2 1 0 0 0 0"/></keyframe></mujoco>',
    )
    compiled = build_robot(pendulum(model=lambda: furniture)).model
    assert (compiled.nu, compiled.nkey) == (1, 0)
    assert [compiled.geom(i).name for i in range(compiled.ngeom) if compiled.geom_bodyid[i] == 0] == ["floor"]
    assert all(kind == mujoco.mjtSensor.mjSENS_CONTACT for kind in compiled.sensor_type)


def test_locked_joint_disappears_and_its_mass_stays() -> None:
    model = humanoid()
    locked = build_robot(
        model.__class__(
            name="stiff", model=model.model, motors=model.motors, feet=model.feet, locked_joints=".*_elbow_joint"
        )
    )
    assert len(locked.robot.dof_names) == 17 and "left_elbow_link" not in locked.robot.body_names
    assert locked.body_mass.sum() == pytest.approx(build_robot(model).body_mass.sum())


def test_shapes_touch_the_floor_only_unless_self_collision_is_asked_for() -> None:
    for asked in (False, True):
        compiled = build_robot(humanoid(), self_collision=asked).model
        touching = compiled.geom_contype.astype(bool)
        assert (compiled.geom_conaffinity[touching] == int(asked)).all()


def test_parts_that_touch_in_the_default_pose_do_not_collide_with_each_other() -> None:
    built = build_robot(humanoid(), self_collision=True)
    data = mujoco.MjData(built.model)
    data.qpos[2], data.qpos[7:] = 5.0, built.robot.default_position
    mujoco.mj_forward(built.model, data)
    assert data.ncon == 0


def test_foot_has_friction_and_the_rest_slides() -> None:
    compiled = build_robot(
        one_foot(Capsule("arm", 0.02, (0.0, 0.0, -0.5)), Capsule("base", 0.1, (0.0, 0.0, 0.0)))
    ).model
    by_body = {int(compiled.geom_bodyid[g]): g for g in range(compiled.ngeom) if compiled.geom_contype[g]}
    assert compiled.geom_condim[by_body[1]] == 1
    assert compiled.geom_condim[by_body[2]] == 3 and compiled.geom_priority[by_body[2]] == 1
    assert compiled.geom_friction[by_body[2], 0] == 0.6


def test_shapes_do_not_change_the_mass() -> None:
    plain = build_robot(pendulum())
    assert (
        build_robot(one_foot(Capsule("arm", 0.2, (0.0, 0.0, -0.5)))).body_mass.tolist()
        == plain.body_mass.tolist()
        == [2.0, 1.0]
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"motors": {}},
            "Robot 'pendulum' has no motor (gains and torque limit) for swing; its motor patterns are none.",
        ),
        (
            {"default_pose": {"swng": 0.1}},
            "Robot 'pendulum': the pattern 'swng' of its default pose matches none of its joints: swing. Did you mean swing?",
        ),
        (
            {"default_pose": {"swing": 1.5}},
            "Robot 'pendulum': the default pose puts swing at 1.5 rad, outside its range -2 … 1. Give it an angle within in "
            "`default_pose`.",
        ),
        (
            {"tracked_bodies": ("arms",)},
            "Robot 'pendulum' names the tracked body 'arms', which it does not have. It has: base, arm. Did you mean arm or base?",
        ),
        ({"feet": ("toe",)}, "Robot 'pendulum' names the foot 'toe', which it does not have. It has: base, arm."),
        (
            {"shapes": (Capsule("leg", 0.1, (0.0, 0.0, 0.0)),)},
            "Robot 'pendulum' has a collision shape for body 'leg', which matches none of its bodies: base, arm.",
        ),
        (
            {"model": lambda: PENDULUM.replace("<freejoint/>", "")},
            "The model of robot 'pendulum' lacks: one free joint, on its first body (it has 0 free joints; write <freejoint/> there).",
        ),
        (
            {"model": lambda: PENDULUM.replace('name="swing" axis', "axis").replace('range="-2 1"', "")},
            "The model of robot 'pendulum' lacks: joint names (on arm); joint ranges (on an unnamed joint).",
        ),
    ],
)
def test_mistake_in_a_description_is_a_sentence(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SceneError) as error:
        build_robot(pendulum(**changes))
    assert str(error.value) == message


def test_model_that_is_not_mjcf_is_refused() -> None:
    with pytest.raises(SceneError, match="Robot 'pendulum': its generated MJCF is not valid MJCF"):
        build_robot(pendulum(model=lambda: "<mujoco><worldbody><body></mujoco>"))


def test_unknown_control_and_impossible_step_are_refused() -> None:
    with pytest.raises(SceneError, match="control='velocity' is unknown"):
        build_robot(pendulum(), control="velocity")
    with pytest.raises(SceneError, match="The physics step dt=0 s must be above 0"):
        build_robot(pendulum(), dt=0)
