"""Clips in which nothing is carried over: feet stay put and flat, joints within limits, the mass above the soles."""

from functools import cache

import attrs
import numpy as np
import pytest
from numpy.testing import assert_allclose

from components.motion import Clip
from engine.errors import SceneError
from systems.motion.check import verify_clip
from systems.motion.clips import make_clip
from systems.motion.kinematics import body_poses
from tests.systems.motion_robots import MuJoCoRobot, doll, g1

ROBOTS = {"doll": doll, "g1_29": g1, "g1_23": lambda: g1(23)}


@cache
def made(robot: str, name: str) -> tuple[MuJoCoRobot, Clip, np.ndarray, np.ndarray]:
    """A robot, one of its clips, and the clip's body positions and rotations."""
    model = ROBOTS[robot]()
    clip = make_clip(name, model.robot, model)
    return model, clip, *body_poses(model, clip.root_position, clip.root_rotation, clip.dof_position)


def body(model: MuJoCoRobot, *words: str) -> int:
    """The last body whose name has all words."""
    return max(i for i, name in enumerate(model.robot.body_names) if all(word in name for word in words))


every_clip = pytest.mark.parametrize("name", ["stand", "twist", "squat", "wave"])  # the mass stays put
every_robot = pytest.mark.parametrize("robot", ROBOTS)


@every_robot
@every_clip
def test_feet_neither_slide_nor_sink_nor_lift(robot: str, name: str) -> None:
    model, _, position, rotation = made(robot, name)
    points = model.foot_points(position, rotation)
    assert np.abs(points[..., 2]).max() < 1e-4
    assert np.ptp(points, axis=0).max() < 1e-4


@every_robot
@every_clip
def test_centre_of_mass_stays_over_the_middle_of_the_soles(robot: str, name: str) -> None:
    model, _, position, rotation = made(robot, name)
    feet = model.foot_points(position, rotation)[0]
    middle = 0.5 * (feet.min(0) + feet.max(0))[:2]
    turned = np.array([[_turn(q, c) for q, c in zip(frame, model.body_com, strict=True)] for frame in rotation[::10]])
    centre = np.average(position[::10] + turned, axis=1, weights=model.body_mass)
    assert np.abs(centre[:, :2] - middle).max() < 0.002


def _turn(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    t = 2.0 * np.cross(q[1:], v)
    return v + q[0] * t + np.cross(q[1:], t)


@every_robot
@every_clip
def test_clips_pass_their_own_verification(robot: str, name: str) -> None:
    model, clip, *_ = made(robot, name)
    assert verify_clip(clip, model.robot, model)[1] == []


@every_robot
@every_clip
def test_joints_keep_within_soft_limits_and_move_smoothly(robot: str, name: str) -> None:
    model, clip, *_ = made(robot, name)
    limit = model.robot.soft_position_limit.double().numpy()
    assert (clip.dof_position >= limit[:, 0] - 1e-6).all()
    assert (clip.dof_position <= limit[:, 1] + 1e-6).all()
    velocity = np.gradient(clip.dof_position, axis=0) * clip.fps
    assert np.abs(velocity).max() < 6.0
    assert np.abs(np.gradient(velocity, axis=0) * clip.fps).max() < 80.0
    assert np.abs(velocity[[0, -1]]).max() < 1e-6  # begins and ends at rest


@every_robot
def test_squat_goes_down_and_up_twice_with_arms_forward(robot: str) -> None:
    model, clip, position, _ = made(robot, "squat")
    height = clip.root_position[:, 2]
    assert 4.0 <= clip.seconds <= 5.0
    assert_allclose(height[0] - height.min(), 0.2 * height[0] / 0.76, rtol=1e-6)
    if robot != "doll":
        assert abs(height[0] - height.min() - 0.2) < 0.002
    bottom = height < height.min() + 1e-6
    assert np.diff(bottom.astype(int)).clip(0).sum() == 2
    assert_allclose(clip.dof_position[-1], clip.dof_position[0], atol=1e-6)
    frame = int(np.flatnonzero(bottom)[0])
    words = ("forearm",) if robot == "doll" else ("elbow",)
    for side in ("left", "right"):
        hand, shoulder = (
            body(model, side, *words),
            body(model, side, "upper_arm" if robot == "doll" else "shoulder_pitch"),
        )
        arm = position[:, hand] - position[:, shoulder]
        assert arm[frame, 0] > arm[0, 0] + 0.06


@every_robot
def test_wave_raises_the_right_hand_and_swings_it_three_times(robot: str) -> None:
    model, clip, position, rotation = made(robot, "wave")
    assert clip.seconds == pytest.approx(4.0)
    elbow = body(model, "right", "forearm" if robot == "doll" else "elbow")
    shoulder = body(model, "right", "upper_arm" if robot == "doll" else "shoulder_pitch")
    hand = np.array([_turn(q, model.body_com[elbow]) for q in rotation[:, elbow]])
    raised = slice(65, 135)
    assert (hand[raised, 2] > 0.02).all()  # the forearm points up
    assert (position[raised, elbow, 2] - position[raised, shoulder, 2] > -0.05).all()
    side = hand[raised, 1] - hand[raised, 1].mean()
    peaks = (side[1:-1] > side[:-2]) & (side[1:-1] >= side[2:]) & (side[1:-1] > 0.3 * np.abs(side).max())
    assert peaks.sum() >= 2
    left = [i for i, label in enumerate(model.robot.dof_names) if "left_shoulder" in label or "left_elbow" in label]
    assert_allclose(clip.dof_position[:, left], clip.dof_position[:1, left].repeat(len(hand), 0), atol=1e-9)


def test_robot_without_arms_cannot_wave_but_can_squat() -> None:
    model = doll()
    renamed = tuple(name.replace("shoulder", "s").replace("elbow", "e") for name in model.robot.dof_names)
    model.robot = attrs.evolve(model.robot, dof_names=renamed)
    with pytest.raises(SceneError, match="test cannot wave: none of its joints is named right_shoulder"):
        make_clip("wave", model.robot, model)
    assert make_clip("squat", model.robot, model).num_frames == 241


def test_robot_whose_legs_are_stiff_cannot_squat() -> None:
    model = doll()
    limit = model.robot.soft_position_limit.clone()
    knees = [i for i, name in enumerate(model.robot.dof_names) if "knee" in name]
    limit[knees] = limit.new_tensor((0.5, 0.7))
    model.robot = attrs.evolve(model.robot, soft_position_limit=limit)
    with pytest.raises(SceneError, match=r"test cannot squat with its feet flat on the floor: .* misses by .* cm"):
        make_clip("squat", model.robot, model)


def test_straight_default_legs_bend_a_little() -> None:
    model = doll()
    model.robot = attrs.evolve(model.robot, default_position=model.robot.default_position * 0.0)
    clip = make_clip("squat", model.robot, model)
    points = model.foot_points(*body_poses(model, clip.root_position, clip.root_rotation, clip.dof_position))
    assert np.abs(points[..., 2]).max() < 1e-4


def test_unknown_clip_and_missing_feet() -> None:
    model = doll()
    with pytest.raises(
        SceneError,
        match="There is no built-in clip 'jump'; there are stand, sway, twist, squat, wave, march, side-step, turn, walk",
    ):
        make_clip("jump", model.robot, model)
    model.robot = attrs.evolve(model.robot, foot_names=())
    with pytest.raises(SceneError, match="test names no feet"):
        make_clip("stand", model.robot, model)
