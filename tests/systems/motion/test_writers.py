"""Files of the writers: what other programs load, what our own reader reads back, and the same bytes every time."""

import io
import pickle
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import joblib
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from components.motion import Clip
from engine.errors import SceneError
from scenes.robots.menagerie import available
from systems.maths.rotation import yawed
from systems.motion.check import verify_clip
from systems.motion.files import read_clips
from systems.motion.kinematics import resample
from systems.motion.writers import CONTAINERS, clip_bytes
from systems.robots.model import RobotModel, build_robot
from tests.made_clips import clip_made_once
from tests.systems.motion.tools.robots import TWISTED, model, twisted

MJLAB = ("fps", "joint_pos", "joint_vel", "body_pos_w", "body_quat_w", "body_lin_vel_w", "body_ang_vel_w")


@cache
def built_in(robot: str, word: str) -> Clip:
    """A built-in clip, made once; for the robot that is no humanoid, joints that swing, differently for each word."""
    if robot != "twisted":
        return clip_made_once(word, model(robot).robot, model(robot))
    time, joints = np.arange(100) / 50.0, np.arange(7)
    swing = 0.02 * np.sin(time[:, None] * (1.0 + joints) + len(word))
    still = np.tile([1.0, 0.0, 0.0, 0.0], (100, 1))
    place = np.stack((0.3 * time, 0.0 * time, 0.845 + 0.0 * time), 1)
    return Clip(word, 50.0, place, still, swing, model(robot).robot.dof_names)


def motion(robot: RobotModel, word: str, *, heading: float = 0.0, fps: float = 50.0) -> Clip:
    """A built-in clip, turned about the vertical, at some rate."""
    made = resample(built_in(robot.robot.name, word), fps)
    turn = yawed(np.array(heading))
    x, y, z = made.root_position.T
    c, s = np.cos(heading), np.sin(heading)
    place = np.stack((c * x - s * y + 3.0, s * x + c * y - 1.0, z), 1)
    w, i, j, k = made.root_rotation.T
    (a, _, _, d) = turn
    rotation = np.stack((a * w - d * k, a * i - d * j, a * j + d * i, a * k + d * w), 1)
    return attrs.evolve(made, root_position=place, root_rotation=rotation)


def read_back(clip: Clip, robot: RobotModel, container: str) -> tuple[Clip, list[str]]:
    """A clip after it was written, read and verified, and what verification noticed."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"back.{container}"
        path.write_bytes(clip_bytes([clip], robot, container))
        (found,) = read_clips(str(path))
        assert isinstance(found, Clip)
        assert set(found.origins.values()) <= {"file"} and not found.notes
        return verify_clip(found, robot.robot, robot)


def assert_same_motion(found: Clip, clip: Clip, tolerance: float) -> None:
    """The same rate, places, turns (whatever the sign of a quaternion) and angles."""
    assert found.fps == pytest.approx(clip.fps, abs=1e-3)
    assert_allclose(found.root_position, clip.root_position, rtol=0, atol=tolerance)
    dots = (found.root_rotation * clip.root_rotation).sum(-1)
    assert_allclose(np.abs(dots), 1.0, rtol=0, atol=tolerance)
    assert_allclose(found.dof_position, clip.dof_position, rtol=0, atol=tolerance)


@pytest.mark.parametrize("container", CONTAINERS)
@settings(max_examples=8, deadline=None)
@given(
    robot=st.sampled_from(["humanoid", "twisted"]),
    word=st.sampled_from(["stand", "squat", "turn", "side-step", "wave"]),
    heading=st.floats(-3.1, 3.1),
    fps=st.sampled_from([24.0, 30.0, 50.0, 59.94, 120.0]),
)
@example(robot="humanoid", word="stand", heading=0.0, fps=30.0)  # at rest, but for last digits
def test_what_is_written_is_read_back_as_the_same_motion(
    container: str, robot: str, word: str, heading: float, fps: float
):
    clip = motion(model(robot), word, heading=heading, fps=fps)
    found, warnings = read_back(clip, model(robot), container)
    assert not warnings
    assert_same_motion(found, clip, 3e-6 if container == "npz" else 1e-9)


def test_an_npz_has_what_the_loaders_of_mjlab_and_beyondmimic_ask_for():
    robot = model("humanoid")
    clip = motion(robot, "walk")
    data = np.load(io.BytesIO(clip_bytes([clip], robot, "npz")))
    assert set(MJLAB) <= set(data.files)
    frames, joints, bodies = clip.num_frames, len(robot.robot.dof_names), len(robot.robot.body_names)
    shapes = {name: data[name].shape for name in MJLAB}
    assert shapes == {
        "fps": (1,),
        "joint_pos": (frames, joints),
        "joint_vel": (frames, joints),
        "body_pos_w": (frames, bodies, 3),
        "body_quat_w": (frames, bodies, 4),
        "body_lin_vel_w": (frames, bodies, 3),
        "body_ang_vel_w": (frames, bodies, 3),
    }
    assert {data[name].dtype for name in MJLAB[1:]} == {np.dtype(np.float32)}
    assert data["fps"].tolist() == [50]
    assert tuple(data["joint_names"]) == robot.robot.dof_names
    assert tuple(data["body_names"]) == robot.robot.body_names
    assert data["format_version"].tolist() == [1]


def test_bodies_of_an_npz_are_those_of_the_joints_and_move_as_they_change():
    robot = model("humanoid")
    clip = motion(robot, "walk")
    data = np.load(io.BytesIO(clip_bytes([clip], robot, "npz")))
    own = places_of_bodies(robot, clip)
    assert_allclose(data["body_pos_w"], own, atol=1e-5)
    moved = (data["body_pos_w"][2:] - data["body_pos_w"][:-2]) * 25.0  # central differences at 50 frames per second
    assert_allclose(data["body_lin_vel_w"][1:-1], moved, atol=0.08)
    assert np.abs(moved).max() > 1.0


def places_of_bodies(robot: RobotModel, clip: Clip) -> np.ndarray:
    """Where MuJoCo puts every body, one frame after the other."""
    import mujoco

    data = mujoco.MjData(robot.model)
    places = []
    for frame in range(clip.num_frames):
        data.qpos[:] = np.concatenate((clip.root_position[frame], clip.root_rotation[frame], clip.dof_position[frame]))
        mujoco.mj_kinematics(robot.model, data)
        places.append(data.xpos[1:].copy())
    return np.array(places)


def test_a_table_says_time_names_and_units_and_loses_no_digit():
    robot = model("humanoid")
    clip = motion(robot, "squat", heading=1.0, fps=30.0)
    header, *lines = clip_bytes([clip], robot, "csv").decode().splitlines()
    assert header.split(",")[:8] == [
        "time (s)",
        *(f"root_{axis} (m)" for axis in "xyz"),
        *(f"root_q{p}" for p in "wxyz"),
    ]
    assert header.split(",")[8:] == [f"{name}_dof (rad)" for name in robot.robot.dof_names]
    table = np.array([[float(cell) for cell in line.split(",")] for line in lines])
    assert_allclose(table[:, 0], np.arange(clip.num_frames) / 30.0, rtol=0, atol=1e-12)
    assert_array_equal(table[:, 1:4], clip.root_position)
    assert_array_equal(table[:, 4:8], clip.root_rotation)
    assert_array_equal(table[:, 8:], clip.dof_position)


@pytest.mark.parametrize("load", [joblib.load, lambda file: pickle.load(file)], ids=["joblib", "pickle"])
def test_a_pickle_has_what_the_motion_library_of_asap_asks_for(load):
    robot = model("humanoid")
    both = [attrs.evolve(motion(robot, word), name=word) for word in ("squat", "wave")]
    content = load(io.BytesIO(clip_bytes(both, robot, "pkl")))
    assert list(content) == ["squat", "wave"]
    for clip, found in zip(both, content.values(), strict=True):
        assert set(found) == {"root_trans_offset", "root_rot", "dof", "pose_aa", "fps", "joint_names"}
        assert tuple(found["joint_names"]) == robot.robot.dof_names
        assert found["fps"] == 50 and isinstance(found["fps"], int)
        assert_array_equal(found["root_trans_offset"], clip.root_position)
        assert_array_equal(found["root_rot"][:, 3], clip.root_rotation[:, 0])  # scalar last
        assert_array_equal(found["root_rot"][:, :3], clip.root_rotation[:, 1:])
        assert found["pose_aa"].shape == (clip.num_frames, 1 + len(robot.robot.dof_names), 3)
        knee = robot.robot.dof_names.index("left_knee_joint")
        assert_allclose(found["pose_aa"][:, 1 + knee], clip.dof_position[:, knee, None] * (0.0, 1.0, 0.0), atol=1e-6)


def test_a_pickle_turns_a_joint_about_its_own_axis():
    robot = model("twisted")
    clip = Clip(
        "any", 50.0, np.zeros((2, 3)), np.tile([1.0, 0, 0, 0], (2, 1)), np.full((2, 7), 0.05), robot.robot.dof_names
    )
    found = pickle.loads(clip_bytes([clip], robot, "pkl"))["any"]["pose_aa"]
    assert_allclose(found[0, 1], (0.0, 0.0, -0.05), atol=1e-7)  # about the negative vertical
    assert_allclose(np.linalg.norm(found[:, 1:], axis=-1), 0.05, atol=1e-7)


def test_a_pickle_names_the_core_of_numpy_as_every_version_knows_it():
    robot = model("humanoid")
    content = clip_bytes([motion(robot, "stand")], robot, "pkl")
    assert b"numpy.core.multiarray" in content and b"numpy._core" not in content


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_same_clip_gives_the_same_bytes_at_any_time_of_day(container: str, monkeypatch: pytest.MonkeyPatch):
    robot = model("humanoid")
    clip = motion(robot, "squat")
    first = clip_bytes([clip], robot, container)
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setattr("time.localtime", lambda *_: (2033, 5, 18, 3, 33, 20, 2, 138, 0))
    assert clip_bytes([clip], robot, container) == first


def test_an_npz_can_count_joints_and_bodies_as_physx_does():
    robot = model("humanoid")
    clip = motion(robot, "squat")
    data = np.load(io.BytesIO(clip_bytes([clip], robot, "npz", breadth_first=True)))
    joints, bodies = data["joint_names"].tolist(), data["body_names"].tolist()
    assert joints[:8] == [
        "left_hip_pitch_joint", "right_hip_pitch_joint", "waist_yaw_joint", "left_hip_roll_joint",
        "right_hip_roll_joint", "left_shoulder_pitch_joint", "right_shoulder_pitch_joint", "left_hip_yaw_joint",
    ]  # fmt: skip
    assert bodies[:5] == ["pelvis", "left_hip_pitch_link", "right_hip_pitch_link", "torso_link", "left_hip_roll_link"]
    assert sorted(joints) == sorted(robot.robot.dof_names) and sorted(bodies) == sorted(robot.robot.body_names)
    plain = np.load(io.BytesIO(clip_bytes([clip], robot, "npz")))
    joint, body = joints.index("left_knee_joint"), bodies.index("left_knee_link")
    own_joint, own_body = robot.robot.dof_names.index("left_knee_joint"), robot.robot.body_names.index("left_knee_link")
    for name in ("joint_pos", "joint_vel"):
        assert_array_equal(data[name][:, joint], plain[name][:, own_joint])
    for name in MJLAB[3:]:
        assert_array_equal(data[name][:, body], plain[name][:, own_body])


def test_a_g1_that_is_counted_breadth_first_has_the_documented_order_and_is_read_back(tmp_path: Path):
    if not available():
        pytest.skip("the G1 is not installed")
    robot = model("g1")
    clip = clip_made_once("stand", robot.robot, robot)
    (tmp_path / "stand.npz").write_bytes(clip_bytes([clip], robot, "npz", breadth_first=True))
    (found,) = read_clips(str(tmp_path / "stand.npz"))
    assert isinstance(found, Clip)
    assert found.dof_names is not None and found.dof_names[:4] == (
        "left_hip_pitch_joint",
        "right_hip_pitch_joint",
        "waist_yaw_joint",
        "left_hip_roll_joint",
    )
    sound, warnings = verify_clip(found, robot.robot, robot)
    assert not warnings
    assert_same_motion(sound, clip, 3e-6)


def test_only_an_npz_can_count_breadth_first():
    robot = model("humanoid")
    with pytest.raises(SceneError, match="only npz can count breadth first"):
        clip_bytes([motion(robot, "stand")], robot, "csv", breadth_first=True)


@pytest.mark.parametrize("name", ["torso_yaw", "hip_x", "waist_angle", "head_pos", "yaw", "root_x", "qw", "time"])
def test_a_joint_in_a_table_is_never_taken_for_something_else(name: str, tmp_path: Path):
    robot = build_robot(twisted(TWISTED.replace('"S"', f'"{name}"')))
    clip = attrs.evolve(built_in("twisted", "stand"), dof_names=robot.robot.dof_names)
    (tmp_path / "clip.csv").write_bytes(clip_bytes([clip], robot, "csv"))
    (found,) = read_clips(str(tmp_path / "clip.csv"))
    assert isinstance(found, Clip)
    sound, warnings = verify_clip(found, robot.robot, robot)
    assert not warnings
    assert_array_equal(sound.dof_position, clip.dof_position)
