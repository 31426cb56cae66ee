"""All clips of our own against the simulator: what the floor and the motors would have to do for them.

Forces come from MuJoCo's inverse dynamics on differences of the clip's frames; nothing of the code that
balances the clips takes part.
"""

import copy
from functools import cache

import attrs
import mujoco
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from components.motion import Clip
from engine.errors import SceneError
from scenes import robots
from systems.motion.clips import BUILT_IN, make_clip
from systems.motion.clips.balance import measure
from systems.motion.kinematics import body_poses
from systems.motion.library import build_library
from systems.robots.model import RobotModel, build_robot
from tests.helpers import needs_g1

STEPPING = ("march", "side-step", "turn", "walk")
CASES = [pytest.param("humanoid", name, id=f"humanoid-{name}") for name in BUILT_IN]
CASES += [pytest.param("g1", name, marks=needs_g1, id=f"g1-{name}") for name in BUILT_IN]
CASES += [pytest.param("g1_23dof", name, marks=needs_g1, id=f"g1_23dof-{name}") for name in ("sway", "walk")]
STEPS = [case for case in CASES if case.values[1] in STEPPING]
every_case = pytest.mark.parametrize(("robot", "name"), CASES)
every_step = pytest.mark.parametrize(("robot", "name"), STEPS)


@attrs.frozen(eq=False)
class Demand:
    """What a clip asks for, at every frame but the first and the last."""

    force: np.ndarray  # (T, 3) N, of the floor
    pressure: np.ndarray  # (T, 2) m
    torque: np.ndarray  # (T, dof) N·m where one foot bears all; elsewhere nan


@cache
def model_of(robot: str) -> RobotModel:
    return build_robot(robots.load(robot))


@cache
def made(robot: str, name: str) -> Clip:
    return make_clip(name, model_of(robot).robot, model_of(robot))


@cache
def soles(robot: str, name: str) -> np.ndarray:
    """Corners of each foot, (T, feet, 4, 3) m."""
    model, clip = model_of(robot), made(robot, name)
    points = model.foot_points(*body_poses(model, clip.root_position, clip.root_rotation, clip.dof_position))
    body = np.array(model.foot_point_body)
    feet = [model.robot.body_names.index(foot) for foot in model.robot.foot_names]
    return np.stack([points[:, body == foot] for foot in feet], 1)


def lowest(robot: str, name: str) -> np.ndarray:
    """Height of the lowest corner of each foot, (T, feet) m."""
    return soles(robot, name)[..., 2].min(2)


@cache
def demand(robot: str, name: str) -> Demand:
    model, clip = copy.copy(model_of(robot).model), made(robot, name)
    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONSTRAINT)
    data, down = mujoco.MjData(model), lowest(robot, name) < 1e-4
    feet = [1 + model_of(robot).robot.body_names.index(foot) for foot in model_of(robot).robot.foot_names]
    states = np.concatenate((clip.root_position, clip.root_rotation, clip.dof_position), 1)
    speeds = np.zeros((len(states) - 1, model.nv))
    for before, after, speed in zip(states[:-1], states[1:], speeds, strict=True):
        mujoco.mj_differentiatePos(model, speed, 1.0 / clip.fps, before, after)
    forces, pressures, torques = [], [], []
    along, about = np.zeros((3, model.nv)), np.zeros((3, model.nv))
    for frame in range(1, len(states) - 1):
        data.qpos[:] = states[frame]
        data.qvel[:] = 0.5 * (speeds[frame] + speeds[frame - 1])
        data.qacc[:] = (speeds[frame] - speeds[frame - 1]) * clip.fps
        mujoco.mj_inverse(model, data)
        force, root = data.qfrc_inverse[:3].copy(), data.xmat[1].reshape(3, 3)
        moment = root @ data.qfrc_inverse[3:6] + np.cross(states[frame, :3], force)  # about the world's origin
        torque = np.full(model.nv, np.nan)
        if down[frame].sum() == 1:
            mujoco.mj_jac(model, data, along, about, np.zeros(3), feet[int(down[frame].argmax())])
            torque = data.qfrc_inverse - along.T @ force - about.T @ moment
            assert np.abs(torque[:6]).max() < 1e-6  # the foot's push accounts for the whole motion of the root
        forces.append(force)
        pressures.append((-moment[1] / force[2], moment[0] / force[2]))
        torques.append(torque[6:])
    return Demand(np.array(forces), np.array(pressures), np.array(torques))


def depth(corners: np.ndarray, place: np.ndarray) -> float:
    """How far inside the convex hull of `corners` (N, 2) a place (2,) is: the least distance from its edges."""
    along = corners[None] - corners[:, None]
    normal = np.stack((-along[..., 1], along[..., 0]), -1)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    normal = np.divide(normal, length, out=np.zeros_like(normal), where=length > 1e-6)
    beside = np.einsum("ijk,ijnk->ijn", normal, corners[None, None] - corners[:, None, None])
    edge = (beside.min(-1) > -1e-6) & (length[..., 0] > 1e-6)
    inside = np.einsum("ijk,ijk->ij", normal, np.broadcast_to(place - corners[:, None], normal.shape))
    return float(inside[edge].min())


def test_depth_in_a_rectangle() -> None:
    corners = np.array([(0.0, 0.0), (0.0, 2.0), (4.0, 0.0), (4.0, 2.0), (2.0, 1.0)])
    assert depth(corners, np.array((1.0, 0.75))) == pytest.approx(0.75)
    assert depth(corners, np.array((3.5, 1.0))) == pytest.approx(0.5)
    assert depth(corners, np.array((2.0, 2.25))) == pytest.approx(-0.25)


@every_case
def test_floor_pushes_well_inside_the_soles_that_stand_on_it(robot: str, name: str) -> None:
    corners, down = soles(robot, name), lowest(robot, name) < 1e-4
    assert down.any(1).all()
    for frame, place in enumerate(demand(robot, name).pressure, start=1):
        assert depth(corners[frame, down[frame]].reshape(-1, 3)[:, :2], place) > 0.02


@every_case
def test_friction_of_three_tenths_is_enough(robot: str, name: str) -> None:
    force = demand(robot, name).force
    assert (np.linalg.norm(force[:, :2], axis=1) / force[:, 2]).max() < (0.2 if name in STEPPING else 0.1)
    weight = 9.81 * model_of(robot).body_mass.sum()
    assert force[:, 2].min() > 0.5 * weight
    assert_allclose(force[:, 2].mean(), weight, rtol=5e-3)  # it is at rest before and after


@every_step
def test_motors_are_strong_enough_to_stand_on_one_foot(robot: str, name: str) -> None:
    torque = demand(robot, name).torque
    one = ~np.isnan(torque[:, 0])
    assert one.mean() > 0.4
    assert (np.abs(torque[one]) / model_of(robot).robot.torque_limit.numpy()).max() < 0.75


@every_case
def test_our_own_measure_agrees_with_inverse_dynamics(robot: str, name: str) -> None:
    clip, asked = made(robot, name), demand(robot, name)
    effort = measure(model_of(robot), (clip.root_position, clip.root_rotation, clip.dof_position))
    assert_allclose(effort.pressure[1:-1], asked.pressure, atol=0.001)
    friction = np.linalg.norm(asked.force[:, :2], axis=1) / asked.force[:, 2]
    assert_allclose(effort.friction[1:-1], friction, atol=0.001)


@every_case
def test_feet_stand_still_or_are_off_the_floor(robot: str, name: str) -> None:
    corners, height = soles(robot, name), lowest(robot, name)
    assert height.min() > -1e-4
    assert np.ptp(corners[..., 2], axis=2).max() < 1.5e-3  # flat; the soles of a G1 are not quite
    still = (height[1:] < 1e-4) & (height[:-1] < 1e-4)
    step = np.linalg.norm(np.diff(corners[..., :2], axis=0), axis=-1).max(2)
    assert step[still].max() < 1e-4
    swinging = np.abs(np.diff(corners, axis=0)).max((2, 3)) > 0.01
    assert not swinging.any() or height[1:][swinging].min() > 0.002
    if name in STEPPING:
        assert height.max() > 0.05 * model_of(robot).robot.default_height


@every_case
def test_joints_keep_within_limits_and_rest_first_and_last(robot: str, name: str) -> None:
    known, clip = model_of(robot).robot, made(robot, name)
    limit = known.soft_position_limit.double().numpy()
    assert (clip.dof_position >= limit[:, 0]).all()
    assert (clip.dof_position <= limit[:, 1]).all()
    velocity = np.gradient(clip.dof_position, axis=0) * clip.fps
    assert (np.abs(velocity) / known.velocity_limit.numpy()).max() < 0.4
    assert np.abs(np.gradient(velocity, axis=0) * clip.fps).max() < 150.0
    assert np.abs(velocity[[0, 1, -2, -1]]).max() < 0.02
    assert_allclose(clip.dof_position[-1], clip.dof_position[0], atol=1e-3)
    assert_allclose(clip.dof_position[0], known.default_position, atol=0.1)
    assert clip.root_position[0, 2] == pytest.approx(clip.root_position[-1, 2], abs=1e-9)
    assert 3.0 <= clip.seconds <= 8.0


@pytest.mark.parametrize("robot", ["humanoid", pytest.param("g1", marks=needs_g1)])
def test_clips_go_where_they_say(robot: str) -> None:
    scale = made(robot, "stand").root_position[0, 2] / 0.76

    def feet(name: str) -> np.ndarray:
        return soles(robot, name).mean(2)[..., :2]

    walked = feet("walk")[-1] - feet("walk")[0]
    assert_allclose(walked, np.tile((6 * 0.285 * scale, 0.0), (2, 1)), atol=1e-4)
    speed = np.gradient(made(robot, "walk").root_position[:, 0]) * 50.0
    assert 0.4 * scale < np.median(speed[100:220]) < 0.6 * scale
    aside = feet("side-step")[..., 1] - feet("side-step")[0, :, 1]
    assert 0.2 * scale < aside.max() < 0.3 * scale
    assert_allclose(aside[-1], 0.0, atol=1e-4)
    assert np.abs(feet("march") - feet("march")[0]).max() < 1e-4
    assert_allclose(made(robot, "turn").root_rotation[-1], (0.0, 0.0, 0.0, 1.0), atol=1e-6)
    assert_allclose(feet("turn")[-1], feet("turn")[0, ::-1], atol=1e-4)  # each foot where the other one was


@pytest.mark.parametrize("robot", ["humanoid", pytest.param("g1", marks=needs_g1)])
def test_sway_brings_the_weight_over_each_foot_and_twist_turns_the_chest(robot: str) -> None:
    middle = soles(robot, "sway")[0].mean(1)[:, 1]
    side = demand(robot, "sway").pressure[:, 1]
    assert_allclose((side.max(), side.min()), 0.8 * np.array((middle.max(), middle.min())), atol=0.01)
    model, clip = model_of(robot), made(robot, "twist")
    _, rotation = body_poses(model, clip.root_position, clip.root_rotation, clip.dof_position)
    chest = 2.0 * np.arctan2(*rotation[:, model.robot.body_names.index("torso_link"), [3, 0]].T)
    assert_allclose((chest.max(), chest.min()), (0.8, -0.8), atol=0.02)


@pytest.mark.parametrize("robot", ["humanoid", pytest.param("g1", marks=needs_g1)])
def test_library_of_all_nine_has_nothing_to_find(robot: str) -> None:
    model = model_of(robot)
    library = build_library([made(robot, name) for name in BUILT_IN], model.robot, model, height="auto")
    assert library.warnings == ()
    assert library.names == BUILT_IN


def test_same_robot_same_bytes() -> None:
    model = build_robot(robots.load("humanoid"))
    again = make_clip("march", model.robot, model)
    assert again.dof_position.tobytes() == made("humanoid", "march").dof_position.tobytes()


def test_a_clip_is_made_on_one_thread_and_leaves_torch_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A robot's kinematics are small: threads would wait for each other far longer than they compute."""
    compute, seen = RobotModel.kinematics, set[int]()

    def watched(self: RobotModel, *curves: np.ndarray) -> tuple[np.ndarray, ...]:
        seen.add(torch.get_num_threads())
        return compute(self, *curves)

    model, before = model_of("humanoid"), torch.get_num_threads()
    monkeypatch.setattr(RobotModel, "kinematics", watched)
    torch.set_num_threads(2)
    try:
        make_clip("stand", model.robot, model)
        assert (seen, torch.get_num_threads()) == ({1}, 2)
    finally:
        torch.set_num_threads(before)


def test_robots_that_cannot_step_are_told_why() -> None:
    model = model_of("humanoid")
    one = attrs.evolve(model, robot=attrs.evolve(model.robot, foot_names=model.robot.foot_names[:1]))
    with pytest.raises(SceneError, match="humanoid cannot take steps: it has 1 feet, and clips with steps are made"):
        make_clip("walk", one.robot, one)


@pytest.mark.parametrize("locked", ["left_elbow_joint", ".*_elbow_joint|.*_shoulder_roll_joint"])
@pytest.mark.parametrize("name", ["twist", "squat", "walk"])
def test_arms_without_an_elbow_swing_as_one_piece(name: str, locked: str) -> None:
    model = build_robot(attrs.evolve(robots.load("humanoid"), locked_joints=locked, default_pose={}))
    clip = make_clip(name, model.robot, model)
    assert np.isfinite(clip.root_position).all()
    shoulder = model.robot.dof_names.index("left_shoulder_pitch_joint")
    assert np.ptp(clip.dof_position[:, shoulder]) > 0.1


def test_legs_with_too_few_joints_are_named() -> None:
    feet = ("left_ankle_pitch_link", "right_ankle_pitch_link")
    locked = ".*_ankle_roll_joint|.*_hip_yaw_joint"
    known = attrs.evolve(
        robots.load("humanoid"), locked_joints=locked, feet=feet, tracked_bodies=(), anchor_body="", end_effectors=()
    )
    model = build_robot(known)
    with pytest.raises(
        SceneError,
        match=r"cannot sway with its feet flat on the floor: its legs have 8 joints, where .* in scenes/velocity\.py, which",
    ):
        make_clip("sway", model.robot, model)
