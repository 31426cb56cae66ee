"""HumanoidVerse's task by hand: weights, widths, limits and paces as published, on states made up for it."""

import math
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from torch import Tensor, tensor
from torch.testing import assert_close

from components.control import Action, DofTorque
from components.episode import Done, Earned, Episode, EpisodeLength, PenaltyScale, Reward, SoftLimits
from components.motion import MotionCursor, MotionFar, MotionReference, TrackedBodies, TrackedState
from components.observation import ObservationNoise
from components.robot import BaseFrame, BodyState, Contact, DofState, Robot, RootState, VirtualBody
from engine import Term
from engine.errors import SceneError
from scenes.robots import humanoid
from scenes.tasks import humanoidverse as hv
from systems import episode as ep
from systems.humanoidverse import humanoidverse_curricula, reset_near_reference
from systems.maths.bodies import tracked_bodies
from systems.maths.tensors import indices
from systems.reward_sum import _earn
from systems.robots.model import build_robot
from systems.tick import RECORD
from tests.systems.task_rows import from_euler, generator, matrix, matrix_angle, terms

DT = 0.02
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def robot() -> Robot:
    return build_robot(hv.humanoidverse_robot(humanoid.humanoid()), control="torque").robot


class Stand:
    """One row of the little humanoid, exactly on its reference: everything at rest, where the reference is."""

    def __init__(self, robot: Robot) -> None:
        axes = {
            "dof": robot.dof_names,
            "body": robot.body_names,
            "foot": robot.foot_names,
            "tracked": robot.tracked_bodies,
            "termination": 1,
            "reward": tuple(hv.humanoidverse_rewards()),
        }
        upright: dict[str, Any] = {"rotation": [1.0, 0.0, 0.0, 0.0]}
        self.axes = axes
        self.parts: dict[type, Any] = {
            each: each.make(1, axes) for each in (Action, DofTorque, DofState, Contact, Done, Earned, Reward)
        }
        self.parts[TrackedState] = TrackedState.make(1, axes, **upright)
        self.parts[MotionReference] = MotionReference.make(1, axes, body_rotation=[1.0, 0.0, 0.0, 0.0])
        self.parts[BodyState] = BodyState.make(1, axes, **upright)
        self.parts[RootState] = RootState.make(1, **upright)
        self.parts[BaseFrame] = BaseFrame.make(1, gravity=[0.0, 0.0, -1.0])
        self.parts[Robot] = robot
        self.parts[TrackedBodies] = tracked_bodies(robot)
        self.parts[SoftLimits] = SoftLimits(position=tensor(1.0), velocity=tensor(1.0), torque=tensor(0.5))

    def __getitem__(self, kind: type) -> Any:
        return self.parts[kind]

    def value(self, each: Term) -> Tensor:
        """A term's value, its parameters picked by type."""
        given = {p.name: self.parts[p.type] for p in each.signature.parameters}
        return each.function(**given, **each.constants)

    def earned(self, penalty: float = 0.1) -> dict[str, float]:
        """Every reward of this tick by name, as the combiner adds them up, and their sum as 'total'."""
        rewards = hv.humanoidverse_rewards()
        values = terms(**{name: (self.value(each), each.settings) for name, each in rewards.items()})
        reward = self[Reward]
        _earn(values, self[Done], self[Earned], reward, DT, False, tensor(penalty))
        return {**dict(zip(rewards, reward.terms[0].tolist(), strict=True)), "total": float(reward.total)}


@pytest.fixture
def stand(robot: Robot) -> Stand:
    return Stand(robot)


# -- bodies --------------------------------------------------------------------------------------------


def test_hands_and_head_stand_behind_all_bodies(robot: Robot) -> None:
    assert robot.tracked_bodies == (*robot.body_names, "left_hand", "right_hand", "head")
    sets = [indices(robot.tracked_bodies, patterns, CPU).tolist() for patterns in (hv.LOWER, hv.UPPER)]
    assert sorted(sets[0] + sets[1]) == list(range(len(robot.tracked_bodies)))  # each body in exactly one
    assert [robot.tracked_bodies[i] for i in sets[1]][-3:] == ["left_hand", "right_hand", "head"]
    assert robot.tracked_bodies[0] == "pelvis"  # heading is that of body 0


def test_a_robot_without_the_bodies_is_told_so() -> None:
    whole = humanoid.humanoid()
    headless = attrs.evolve(whole, model=lambda: whole.model().replace("torso_link", "trunk"), tracked_bodies=())  # type: ignore[operator]
    with pytest.raises(SceneError, match="parent of a virtual body 'torso_link', which it does not have"):
        build_robot(hv.humanoidverse_robot(headless))
    twice = attrs.evolve(whole, virtual_bodies=(VirtualBody("pelvis", "torso_link", (0.0, 0.0, 0.0)),))
    with pytest.raises(SceneError, match="has a body 'pelvis' already; give the virtual body another name"):
        build_robot(twice)


# -- rewards -------------------------------------------------------------------------------------------


def test_perfect_tracking_earns_7_95_per_second(stand: Stand) -> None:
    earned = stand.earned()
    assert earned["total"] == pytest.approx(7.95 * DT)
    expected = {
        "teleop_body_position_extend": 1.5,
        "teleop_vr_3point": 1.6,
        "teleop_body_position_feet": 2.1,
        "teleop_body_rotation_extend": 0.5,
        "teleop_body_velocity_extend": 0.5,
        "teleop_body_ang_velocity_extend": 0.5,
        "teleop_joint_position": 0.75,
        "teleop_joint_velocity": 0.5,
    }
    for name, value in earned.items():
        if name != "total":
            assert value == pytest.approx(expected.get(name, 0.0) * DT), name


def test_body_positions_count_by_set(stand: Stand, robot: Robot) -> None:
    stand[TrackedState].position[0, robot.tracked_bodies.index("head")] = tensor([0.3, 0.0, 0.4])
    upper, lower = (len(indices(robot.tracked_bodies, p, CPU)) for p in (hv.UPPER, hv.LOWER))
    earned = stand.earned()
    # 0.25 m² over xyz and the set's bodies; the lower set is exact
    assert earned["teleop_body_position_extend"] == pytest.approx(DT * (0.5 + math.exp(-0.25 / (3 * upper) / 0.03)))
    assert earned["teleop_vr_3point"] == pytest.approx(DT * 1.6 * math.exp(-0.25 / 9 / 0.03))
    assert earned["teleop_body_position_feet"] == pytest.approx(DT * 2.1)
    stand[TrackedState].position.zero_()
    stand[TrackedState].position[0, robot.tracked_bodies.index("left_ankle_roll_link"), 1] = 0.2
    earned = stand.earned()
    assert earned["teleop_body_position_extend"] == pytest.approx(
        DT * (1.0 + 0.5 * math.exp(-0.04 / (3 * lower) / 0.1))
    )
    assert earned["teleop_vr_3point"] == pytest.approx(DT * 1.6)
    assert earned["teleop_body_position_feet"] == pytest.approx(DT * 2.1 * math.exp(-0.04 / 6 / 0.03))


def test_rotations_velocities_and_joints_count_as_means(stand: Stand, robot: Robot) -> None:
    bodies, dofs = len(robot.tracked_bodies), len(robot.dof_names)
    zero = torch.zeros(1)
    stand[TrackedState].rotation[0, 3] = from_euler(zero, zero, tensor([1.2]))[0]
    stand[TrackedState].linear_velocity[0, 5] = tensor([1.0, 2.0, 2.0])
    stand[TrackedState].angular_velocity[0, 7] = tensor([0.0, 3.0, 4.0])
    stand[DofState].position[0, 2] = 0.5
    stand[DofState].velocity[0, 4] = -2.0
    earned = stand.earned()
    assert earned["teleop_body_rotation_extend"] == pytest.approx(DT * 0.5 * math.exp(-1.44 / bodies))
    assert earned["teleop_body_velocity_extend"] == pytest.approx(DT * 0.5 * math.exp(-9 / (3 * bodies)))
    assert earned["teleop_body_ang_velocity_extend"] == pytest.approx(DT * 0.5 * math.exp(-25 / (3 * bodies)))
    assert earned["teleop_joint_position"] == pytest.approx(DT * 0.75 * math.exp(-0.25 / dofs))
    assert earned["teleop_joint_velocity"] == pytest.approx(DT * 0.5 * math.exp(-4 / dofs))


def test_penalties_by_hand_and_under_the_curriculum(stand: Stand, robot: Robot) -> None:
    stand[DofTorque].value[0, 0] = 45.4  # half of 90 N·m is inside: 0.4 beyond
    stand[DofTorque].value[0, 1] = -90.0  # 45 beyond counts as 1
    stand[Action].value[0, 0], stand[Action].previous[0, 0] = 0.5, 0.2
    stand[DofState].position[0, 0] = robot.position_limit[0, 1] + 0.25
    stand[DofState].velocity[0, 0] = 20.3  # limit 20 rad/s
    stand[DofState].velocity[0, 1] = -30.0  # 10 beyond counts as 1
    zero = torch.zeros(1)
    left, right = (robot.body_names.index(f"{side}_ankle_roll_link") for side in ("left", "right"))
    stand[BodyState].rotation[0, left] = from_euler(tensor([0.3]), zero, zero)[0]
    stand[BodyState].rotation[0, right] = from_euler(zero, zero, tensor([0.4]))[0]
    stand[BodyState].linear_velocity[0, left] = tensor([2.0, 3.0, 6.0])
    stand[BodyState].linear_velocity[0, right] = tensor([1.0, 0.0, 0.0])
    stand[Contact].touching[0, 0] = True
    expected = {
        "penalty_torques": -1e-6 * (45.4**2 + 90.0**2),
        "penalty_action_rate": -0.5 * 0.09,
        "penalty_feet_ori": -2.0 * math.sin(0.3),
        "feet_heading_alignment": -0.1 * 0.4,
        "penalty_slippage": -1.0 * 7.0,
        "limits_dof_pos": -10.0 * 0.25,
        "limits_dof_vel": -5.0 * 1.3,
        "limits_torque": -5.0 * 1.4,
    }
    full, tenth = stand.earned(penalty=1.0), stand.earned(penalty=0.1)
    for name, value in expected.items():
        assert full[name] == pytest.approx(DT * value, rel=2e-4), name
        assert tenth[name] == pytest.approx(0.1 * full[name]), name
    assert tenth["teleop_vr_3point"] == full["teleop_vr_3point"]


def test_a_failure_costs_4_whatever_the_curriculum(stand: Stand) -> None:
    stand[Done].truncated[0] = True
    assert stand.earned()["termination"] == 0.0
    stand[Done].terminated[0] = True
    assert stand.earned(penalty=0.1)["termination"] == pytest.approx(-4.0)


# -- ends ----------------------------------------------------------------------------------------------


def test_episodes_end_by_lean_distance_time_and_clip() -> None:
    ends = hv.humanoidverse_terminations()
    lean = ends["terminate_by_gravity"]
    frames = BaseFrame.make(3, gravity=[[0.79, 0.0, -0.61], [-0.81, 0.0, -0.58], [0.0, 0.81, -0.58]])
    assert lean.function(frames, **lean.constants).tolist() == [False, True, True]
    axes = {"tracked": 27}
    tracked, far = TrackedState.make(2, axes), ends["terminate_when_motion_far"]
    tracked.position[:, 26] = tensor([[1.2, 0.9, 0.01], [1.2, 0.9, 0.0]])  # hypotenuse 1.50003 and 1.5
    radius = MotionFar(threshold=tensor(1.50001))
    assert far.function(tracked, MotionReference.make(2, {**axes, "dof": 1}), radius).tolist() == [True, False]
    late = ends["time_out"]
    assert late.settings["kind"] == "time_limit"
    steps = Episode.make(2, {"reward": 1}, step=[1000, 1001])
    assert late.function(steps, **late.constants).tolist() == [False, True]

    class Library:
        seconds = tensor([2.0])

    over = ends["terminate_when_motion_end"]
    assert over.settings["kind"] == "time_limit"
    assert over.function(MotionCursor.make(2, time=[1.98, 2.0]), Library()).tolist() == [False, True]
    assert ends["diverged"].settings["kind"] == "fault"


# -- curricula -----------------------------------------------------------------------------------------


def started(**options: Any) -> tuple[dict[type, Any], list[Any]]:
    bundle = humanoidverse_curricula(**options)
    return {r.type: r.factory({}, 0, CPU) for r in bundle.resources}, list(bundle.systems[RECORD])


def test_curricula_start_as_published_and_harden_one_hundredth_of_a_degree_per_episode() -> None:
    made, systems = started()
    length, limits = made[EpisodeLength], made[SoftLimits]
    assert (float(made[PenaltyScale].value), float(made[MotionFar].threshold)) == (0.1, 1.5)
    assert float(made[ObservationNoise].level) == 1.0  # the noise curriculum is off: all of the noise from the start
    assert [float(x) for x in (limits.position, limits.velocity, limits.torque)] == [1.15] * 3
    length.mean.fill_(42.5)
    length.finished.fill_(100.0)  # what one tick of the published setting brings
    for each in systems[1:]:
        each.function(length, made[each.signature.writes[0]], **each.constants)
    assert float(made[PenaltyScale].value) == pytest.approx(0.1 * (1 + 1e-5), rel=1e-9)
    assert float(made[MotionFar].threshold) == pytest.approx(1.5 * (1 - 2.5e-5), rel=1e-9)
    for value in (limits.position, limits.velocity, limits.torque):
        assert float(value) == pytest.approx(1.15 * (1 - 2.5e-7), rel=1e-9)
    length.finished.fill_(1e12)
    for each in systems[1:]:
        each.function(length, made[each.signature.writes[0]], **each.constants)
    assert (float(made[PenaltyScale].value), float(made[MotionFar].threshold)) == (1.0, 0.3)
    assert [float(x) for x in (limits.position, limits.velocity, limits.torque)] == [0.95, 0.95, 0.85]
    length.mean.fill_(39.5)
    for each in systems[1:]:
        each.function(length, made[each.signature.writes[0]], **each.constants)
    assert (float(made[PenaltyScale].value), float(made[MotionFar].threshold)) == (0.0, 2.0)
    assert [float(x) for x in (limits.position, limits.velocity, limits.torque)] == [1.15, 1.25, 1.25]


def test_the_noise_curriculum_starts_at_a_twentieth_where_it_is_asked_for() -> None:
    made, systems = started(noise=True)
    assert float(made[ObservationNoise].level) == pytest.approx(0.05)
    assert systems[-1].function is ep.adapt_noise
    assert systems[-1].constants == pytest.approx({"down": 40.0, "up": 42.0, "degree": 1e-7, "low": 1e-5, "high": 1.0})


def test_nothing_hardens_while_a_policy_is_judged() -> None:
    made, systems = started(moving=())
    assert [each.name for each in systems] == ["measure_length"]
    assert float(made[MotionFar].threshold) == 1.5


# -- reset ---------------------------------------------------------------------------------------------

FACING = from_euler(tensor([0.3]), tensor([-0.2]), tensor([1.0]))[0]


def reset(monkeypatch: pytest.MonkeyPatch, rows: int, **constants: Any) -> tuple[RootState, DofState]:
    def sample(library: Any, clip: Tensor, time: Tensor, *, on_frames: bool) -> tuple[Tensor, ...]:
        assert time.tolist() == [4.0] * rows  # the moment at which the episode begins
        made = ([1.0, 2.0, 3.0], FACING.tolist(), [0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.5, 1.75], [7.0, 8.0])
        return tuple(tensor(value).expand(rows, -1) for value in made)

    monkeypatch.setattr("systems.humanoidverse.sample_root_and_dofs", sample)
    root, dofs = RootState.make(rows, position=-1.0), DofState.make(rows, {"dof": 2}, position=-1.0)
    done = Done.make(rows, {"termination": 1}, ended=True)
    done.ended[0] = False
    cursor, library = MotionCursor.make(rows, start=4.0, time=4.02), Any
    reset_near_reference(done, library, cursor, generator(), root, dofs, **constants)  # type: ignore[arg-type]
    return root, dofs


def test_episodes_begin_exactly_on_the_reference_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    root, dofs = reset(monkeypatch, 2)
    assert root.position.tolist() == [[-1.0] * 3, [1.0, 2.0, 3.0]]
    assert torch.equal(root.rotation[1], FACING)
    assert_close(torch.cat((root.linear_velocity[1], root.angular_velocity[1])), tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))
    assert dofs.position.tolist() == [[-1.0, -1.0], [0.5, 1.75]] and dofs.velocity[1].tolist() == [7.0, 8.0]


def test_reset_noise_is_gaussian_and_scales_with_its_level(monkeypatch: pytest.MonkeyPatch) -> None:
    root, dofs = reset(monkeypatch, 8001, level=2.0)
    for column, mean, std in (
        (root.position, [1.0, 2.0, 3.0], 0.1),
        (root.linear_velocity, [0.1, 0.2, 0.3], 0.02),
        (root.angular_velocity, [0.4, 0.5, 0.6], 0.02),
        (dofs.position, [0.5, 1.75], 0.2),  # not held within limits
        (dofs.velocity, [7.0, 8.0], 0.3),
    ):
        apart = (column[1:] - tensor(mean)) / std
        assert float(apart.mean(0).abs().max()) < 0.05
        assert bool(((apart.std(0) - 1.0).abs() < 0.04).all())
        assert abs(float((apart**4).mean()) - 3.0) < 0.25  # of a Gaussian; 1.8 of a uniform one
    assert float(dofs.position[:, 0].max()) > 1.0


def test_the_root_turns_by_a_uniform_angle_about_any_world_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    root, _ = reset(monkeypatch, 2001, level=1.0)
    most = 10 * 3.14 / 180
    turned = [matrix(q) @ matrix(FACING).T for q in root.rotation[1:]]
    angle = np.array([matrix_angle(r, np.eye(3)) for r in turned])
    assert angle.max() <= most + 1e-5
    assert angle.max() > 0.99 * most and abs(angle.mean() - most / 2) < 0.02 * most
    axes = np.array([[r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]] for r in turned])
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    assert np.abs(axes.mean(0)).max() < 0.05
    assert np.abs((axes**2).mean(0) - 1 / 3).max() < 0.03  # no direction is preferred
