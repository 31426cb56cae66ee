"""Policies of other projects see what their tables say, in order and scale, and move the joints that they name."""

import json
import math
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from engine import SceneError
from scenes.robots import load
from scenes.robots.menagerie import LARGE, available
from systems.deploy.player import Player
from systems.deploy.policy import OnnxPolicy
from systems.deploy.robot import MujocoRobot, RobotReading
from systems.referee.foreign import ForeignPolicy, load_foreign
from systems.referee.table import TABLES, known_tables, read_table
from systems.referee.terms import TERMS, Moment
from tests.helpers import needs_g1
from tests.systems.referee.makers import holosoma_about, linear_policy, robot_called, table_file

NONE = np.zeros(3)


def random_reading(joints: int, **more: Any) -> RobotReading:
    """A reading of random numbers."""
    rng = np.random.default_rng(3)
    turn = rng.normal(size=4)
    reading = RobotReading(
        rng.normal(size=3), turn / np.linalg.norm(turn), rng.normal(size=3), rng.normal(size=3),
        rng.normal(size=joints), rng.normal(size=joints),
    )  # fmt: skip
    return attrs.evolve(reading, **more)


def moment(**more: Any) -> Moment:
    """Two joints, at rest, upright in the origin."""
    upright = np.array((1.0, 0.0, 0.0, 0.0))
    two = np.zeros(2)
    still = RobotReading(NONE, upright, NONE, NONE, two, two)
    return attrs.evolve(Moment(still, NONE, two, NONE, two, two, NONE, upright, two, two, NONE, upright), **more)


def about_z(angle: float) -> np.ndarray:
    return np.array((math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2)))


# -- terms ---------------------------------------------------------------------------------------------


def test_a_velocity_sensor_away_from_the_base_also_feels_how_it_turns() -> None:
    reading = attrs.evolve(
        moment().reading,
        base_linear_velocity=np.array((1.0, 0.0, 0.0)),
        base_angular_velocity=np.array((0.0, 0.0, 2.0)),
    )
    seen = TERMS["base_linear_velocity"](moment(reading=reading, sensor=np.array((0.1, 0.0, 0.0))))
    np.testing.assert_allclose(seen, (1.0, 0.2, 0.0))  # ω × r = (0, 2 · 0.1, 0)


def test_gravity_is_seen_in_the_axes_of_the_base() -> None:
    forward = np.array((math.cos(0.25), 0.0, math.sin(0.25), 0.0))  # 0.5 rad about y, nose down
    reading = attrs.evolve(moment().reading, base_orientation=forward)
    np.testing.assert_allclose(TERMS["gravity"](moment(reading=reading)), (math.sin(0.5), 0.0, -math.cos(0.5)))


def test_the_reference_s_anchor_is_seen_from_the_robot_s() -> None:
    seen = moment(
        anchor_place=np.array((1.0, 2.0, 0.5)), anchor_turn=about_z(math.pi / 2),
        aim_place=np.array((1.0, 3.0, 0.7)), aim_turn=about_z(math.pi / 2 + 0.3),
    )  # fmt: skip
    np.testing.assert_allclose(TERMS["anchor_position"](seen), (1.0, 0.0, 0.2), atol=1e-12)
    c, s = math.cos(0.3), math.sin(0.3)
    np.testing.assert_allclose(TERMS["anchor_orientation"](seen), (c, -s, s, c, 0.0, 0.0), atol=1e-12)


def test_offsets_commands_gait_and_reference_are_what_their_names_say() -> None:
    reading = attrs.evolve(moment().reading, joint_position=np.array((0.3, -0.1)))
    seen = moment(
        reading=reading, default=np.array((0.1, 0.1)), command=np.array((0.5, 0.2, -0.4)), phase=np.array((0.0, math.pi)),
        joints=np.array((1.0, 2.0)), speeds=np.array((3.0, 4.0)),
    )  # fmt: skip
    for name, value in {
        "joint_offset": (0.2, -0.2), "command_linear": (0.5, 0.2), "command_turning": (-0.4,),
        "gait_cosine": (1.0, -1.0), "gait_sine": (0.0, 0.0), "reference_joints": (1.0, 2.0, 3.0, 4.0),
    }.items():  # fmt: skip
        np.testing.assert_allclose(TERMS[name](seen), value, atol=1e-12)


# -- tables --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", known_tables())
def test_a_table_that_comes_along_is_data_of_at_most_forty_lines(name: str) -> None:
    file = TABLES / f"{name}.toml"
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 40
    assert read_table(file).about


def test_terms_are_seen_in_the_order_and_scale_of_the_table(tmp_path: Path) -> None:
    joints = len(robot_called("humanoid").dof_names)
    terms = ["command", ["joint_velocity", 0.05], "joint_offset", ["base_angular_velocity", 0.25]]
    table = table_file(tmp_path / "own.toml", terms, "action_scale = 0.5")
    width = 3 + 2 * joints + 3
    for at in (0, 2, 3, 3 + joints, width - 1):
        weights = np.zeros((width, joints))
        weights[at, 0] = 1.0
        policy = load_foreign(linear_policy(tmp_path / "p.onnx", weights), str(table), load)
        reading, command = random_reading(joints), np.array((0.1, 0.2, 0.3))
        policy.begin(reading)
        default = policy.arena.default
        seen = np.concatenate((
            command, 0.05 * reading.joint_velocity, reading.joint_position - default, 0.25 * reading.base_angular_velocity,
        ))  # fmt: skip
        wanted = default.copy()
        wanted[0] += 0.5 * seen[at]
        np.testing.assert_allclose(policy.target(reading, command), wanted, atol=1e-6)


def test_the_last_action_is_the_network_s_own_and_held_within_its_limit(tmp_path: Path) -> None:
    joints = len(robot_called("humanoid").dof_names)
    table = table_file(tmp_path / "own.toml", ["last_action"], "action_limit = 2.5\naction_scale = 0.1")
    file = linear_policy(tmp_path / "p.onnx", np.eye(joints), bias=np.ones(joints))  # 1, 2, 3, …
    policy = load_foreign(file, str(table), load)
    policy.begin(random_reading(joints))
    found = [policy.target(random_reading(joints), NONE)[0] - policy.arena.default[0] for _ in range(4)]
    np.testing.assert_allclose(found, (0.1, 0.2, 0.25, 0.25), atol=1e-6)


def test_feet_swing_in_turn_and_stand_while_nothing_is_asked(tmp_path: Path) -> None:
    joints = len(robot_called("humanoid").dof_names)
    weights = np.zeros((2, joints))
    weights[0, 0] = weights[1, 1] = 1.0
    table = table_file(tmp_path / "own.toml", ["gait_cosine"], "gait_period = 0.08\ngait_stands = true")  # four steps
    policy = load_foreign(linear_policy(tmp_path / "p.onnx", weights), str(table), load)
    policy.begin(random_reading(joints))
    walking, standing = np.array((0.5, 0.0, 0.0)), NONE

    def feet(command: np.ndarray) -> np.ndarray:
        return (policy.target(random_reading(joints), command) - policy.arena.default)[:2].round(6)

    np.testing.assert_allclose([feet(walking) for _ in range(3)], ((1.0, -1.0), (0.0, 0.0), (-1.0, 1.0)), atol=1e-6)
    np.testing.assert_allclose(feet(standing), (-1.0, -1.0))
    np.testing.assert_allclose(feet(walking), (1.0, -1.0))


def test_joints_may_come_in_another_order_than_the_robot_s(tmp_path: Path) -> None:
    robot = robot_called("humanoid")
    joints = list(robot.dof_names)
    table = table_file(
        tmp_path / "own.toml", ["joint_position"],
        'joint_names = "dof_names"\njoint_stiffness = "kp"\njoint_damping = "kd"\ndefault_joint_pos = "pose"',
    )  # fmt: skip
    count = np.arange(float(len(joints)))
    about = {
        "dof_names": joints[::-1],
        "kp": (count + 1.0).tolist(),
        "kd": count.tolist(),
        "pose": (100.0 * count).tolist(),
    }
    policy = load_foreign(linear_policy(tmp_path / "p.onnx", np.eye(len(joints)), about=about), str(table), load)
    reading = random_reading(len(joints))
    policy.begin(reading)
    assert policy.joints == tuple(joints)
    np.testing.assert_allclose(policy.numbers["joint_stiffness"], count[::-1] + 1.0)
    np.testing.assert_allclose(policy.target(reading, NONE), 100.0 * count[::-1] + reading.joint_position, rtol=1e-5)


@needs_g1
def test_holosoma_s_walker_sees_a_hundred_numbers_in_alphabetical_order(tmp_path: Path) -> None:
    """Written out from holosoma_inference: the terms of loco_g1_29dof, sorted by name."""
    robot = robot_called("g1")
    reading, command = random_reading(29), np.array((0.5, 0.1, -0.2))
    weights = np.random.default_rng(0).normal(size=(100, 29))
    policy = load_foreign(
        linear_policy(tmp_path / "walk.onnx", weights, takes="actor_obs", about=holosoma_about(robot)), None, load
    )
    assert policy.table.name == "holosoma_walker"
    policy.begin(reading)
    default = robot.default_position.double().numpy()
    w, x, y, z = reading.base_orientation
    down = -np.array((2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)))
    seen = np.concatenate((
        np.zeros(29), 0.25 * reading.base_angular_velocity, [-0.2], [0.5, 0.1], [1.0, -1.0], reading.joint_position - default,
        0.05 * reading.joint_velocity, down, [0.0, 0.0],
    ))  # fmt: skip
    action = np.clip(seen @ weights, -100.0, 100.0)
    np.testing.assert_allclose(policy.target(reading, command), default + 0.25 * action, atol=1e-4)


# -- motions -------------------------------------------------------------------------------------------


@needs_g1
def test_holosoma_s_tracker_begins_on_its_motion_and_is_asked_for_the_next_frame(tmp_path: Path) -> None:
    robot, frames = robot_called("g1"), 6
    rng = np.random.default_rng(1)
    motion = {
        "joint_pos": 0.1 * rng.normal(size=(frames, 29)), "joint_vel": rng.normal(size=(frames, 29)),
        "ref_pos_xyz": np.array([(0.1 * k, 0.0, 0.8) for k in range(frames)]),
        "ref_quat_xyzw": np.array([(0.0, 0.0, math.sin(0.05 * k), math.cos(0.05 * k)) for k in range(frames)]),
    }  # fmt: skip
    weights = np.zeros((154, 29))
    weights[90:119] = np.eye(29)  # joints of the reference
    file = linear_policy(tmp_path / "dance.onnx", weights, gives="actions", motion=motion, about=holosoma_about(robot))
    policy = load_foreign(file, None, load)
    assert policy.table.name == "holosoma_tracker" and policy.length == frames - 1 and policy.clips == ("dance",)
    assert policy.reference is not None
    model, data = policy.arena.robot.model, policy.arena.robot.data
    for k, pose in enumerate(policy.reference.poses):
        policy.arena.robot.reset(pose, np.zeros(35))
        np.testing.assert_allclose(data.xpos[model.body("torso_link").id], (0.1 * k, 0.0, 0.8), atol=1e-6)
        turn = data.xquat[model.body("torso_link").id]
        np.testing.assert_allclose(abs(turn @ (math.cos(0.05 * k), 0.0, 0.0, math.sin(0.05 * k))), 1.0, atol=1e-6)
    pose, speed = policy.start
    np.testing.assert_allclose(pose[7:], motion["joint_pos"][0], atol=1e-6)
    np.testing.assert_allclose(speed[6:], motion["joint_vel"][0], atol=1e-6)
    np.testing.assert_allclose(speed[3:6], (0.0, 0.0, 0.1 / 0.02), atol=0.2 / 0.02)
    player = Player(policy.arena.robot, [policy])
    player.step()
    np.testing.assert_allclose(
        player.targets[0], robot.default_position.double().numpy() + motion["joint_pos"][1], atol=1e-5
    )


def test_our_own_network_by_mjlab_s_table_gives_the_targets_of_the_whole_policy(exported: Path) -> None:
    """Both forms of one policy on the same readings: the metadata says all that the table needs."""
    whole, network = OnnxPolicy.load(exported / "track.onnx"), load_foreign(exported / "network.onnx", None, load)
    assert isinstance(network, ForeignPolicy) and network.table.name == "mjlab_tracker"
    robot = MujocoRobot(whole.about["mjcf"], whole.dt, whole.numbers["joint_torque_limit"])
    player = Player(robot, [whole])
    network.arena = attrs.evolve(
        network.arena, sensor=np.array([float(x) for x in whole.about["velocity_sensor_position"].split(",")])
    )
    network.begin(robot.read())
    for _ in range(20):
        reading = robot.read()
        player.step()
        np.testing.assert_allclose(network.target(reading, NONE), player.targets[-1], atol=2e-5)


def test_our_own_walker_s_network_by_mjlab_s_table_gives_the_targets_of_the_whole_policy(exported: Path) -> None:
    whole, network = OnnxPolicy.load(exported / "walk.onnx"), load_foreign(exported / "steps.onnx", None, load)
    assert network.table.name == "mjlab_walker" and network.ranges is not None
    robot = MujocoRobot(whole.about["mjcf"], whole.dt, whole.numbers["joint_torque_limit"])
    player = Player(robot, [whole])
    player.command = np.array((0.3, 0.1, -0.2))
    network.arena = attrs.evolve(
        network.arena, sensor=np.array([float(x) for x in whole.about["velocity_sensor_position"].split(",")])
    )
    network.begin(robot.read())
    for _ in range(20):
        reading = robot.read()
        player.step()
        np.testing.assert_allclose(network.target(reading, player.command), player.targets[-1], atol=2e-5)


# -- what does not fit ---------------------------------------------------------------------------------


@needs_g1
def test_what_does_not_fit_is_one_sentence_that_says_what_would(tmp_path: Path) -> None:
    robot = robot_called("g1")
    about, weights = holosoma_about(robot), np.zeros((100, 29))
    names = about["dof_names"]

    def refused(
        words: str, matrix: np.ndarray = weights, table: str | None = None, takes: str = "actor_obs", **entries: Any
    ) -> None:
        file = linear_policy(
            tmp_path / "p.onnx", matrix, takes=takes, about={k: v for k, v in entries.items() if v is not None}
        )
        with pytest.raises(SceneError) as error:
            load_foreign(file, table, load)
        assert words in str(error.value) and "\n" not in str(error.value)

    whole = dict(about)
    refused("is a policy of another robot", **{**whole, "dof_names": ["hinge", *names[1:]]})
    refused("the file lacks left_hip_pitch_joint", **{**whole, "dof_names": names[1:]})
    refused("has 29 joints, but 28 numbers as joint_stiffness", **{**whole, "kp": about["kp"][1:]})
    refused("does not say 'kd' in its metadata", **{**whole, "kd": None})
    refused("kp='none', which are not numbers", **{**whole, "kp": "none"})
    refused("kp that is not finite", **{**whole, "kp": ",".join(["nan"] * 29)})
    refused(
        "takes 99 numbers as actor_obs, but the table holosoma_walker makes 100: last_action 29", weights[1:], **whole
    )
    refused("gives 28 numbers as action, but its robot has 29 joints", weights[:, 1:], **whole)
    refused(
        "no table that comes along fits. What the policy sees in `senses` must be said by a table",
        takes="senses",
        **whole,
    )
    refused("it has no metadata: no table that comes along fits", takes="senses")
    refused("but the table playground_g1 is for files that take obs", table="playground_g1", **whole)
    refused("There is no table at nowhere.toml", table="nowhere.toml", **whole)
    refused("command ranges that lack", **{**whole, "command_ranges": {"lin_vel_x": [-1.0, 1.0]}})


def test_a_file_that_fits_no_table_by_its_size_is_told_what_each_would_see(tmp_path: Path) -> None:
    file = linear_policy(tmp_path / "p.onnx", np.zeros((50, 12)), gives="continuous_actions")
    with pytest.raises(SceneError) as error:
        load_foreign(file, None, load)
    quadruped = (
        "playground_go1 makes 48" if available(LARGE) else f"the table playground_go1 comes with the package {LARGE}"
    )
    assert "playground_g1 makes 103" in str(error.value) and quadruped in str(error.value)


@pytest.mark.parametrize(
    ("more", "inputs", "words"),
    [
        ("gain = 1.0", '["command"]', "there is no entry 'gain' in a table"),
        ("physics_dt = -1.0", '["command"]', "cannot be read"),
        ("friction = 0.0", '["command"]', "friction=0.0 does not fit"),
        ("", '["comand"]', "there is no term 'comand'. Did you mean"),
    ],
)
def test_a_table_that_is_wrong_says_where(tmp_path: Path, more: str, inputs: str, words: str) -> None:
    file = table_file(tmp_path / "own.toml", json.loads(inputs), more)
    with pytest.raises(SceneError, match=f"own.toml.*{words}"):
        read_table(file)


def test_a_table_lacks_no_robot_and_no_motion(tmp_path: Path) -> None:
    file = table_file(tmp_path / "own.toml", ["command"])
    text = file.read_text(encoding="utf-8")
    for old, new, words in (
        ('robots = ["humanoid"]', "", "no robot is named"),
        ('"walker"', '"tracker"', r"says under \[reference\]"),
        ('"walker"', '"runner"', "kind='runner' is unknown"),
        ('action = "action"', "", "lacks action"),
    ):
        file.write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(SceneError, match=words):
            read_table(file)
