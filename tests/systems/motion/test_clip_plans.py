"""What clips are made of, one piece at a time: curves, footsteps, the cart on its table, the solver, the stance."""

from functools import cache

import attrs
import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from scenes import robots
from systems.motion.clips.balance import GRAVITY, Effort, cart_path, follow_pressure
from systems.motion.clips.footsteps import Footstep, Gait, foot_poses, moved, walk_through
from systems.motion.clips.outline import FPS, bump, planted, rise, times
from systems.motion.clips.solve import least_squares
from systems.motion.clips.stance import Stance, stand_up, swing_arm, waist
from systems.motion.kinematics import body_poses
from systems.robots.model import RobotModel, build_robot
from tests.systems.motion_robots import doll

HIGH = 0.6 / GRAVITY  # s², of a mass at 0.6 m


@cache
def humanoid_model() -> RobotModel:
    return build_robot(robots.load("humanoid"))


@cache
def humanoid() -> Stance:
    return stand_up(humanoid_model().robot, humanoid_model())


def cart(centre: np.ndarray, arm: float) -> np.ndarray:
    """c − arm c̈, frame by frame, without the ends."""
    return centre[1:-1] - arm * FPS**2 * (centre[2:] - 2.0 * centre[1:-1] + centre[:-2])


# ---- curves


def test_curves_at_points_worked_out_by_hand() -> None:
    time = np.array((-1.0, 1.0, 1.5, 2.0, 3.0, 9.0))
    assert_allclose(rise(time, 1.0, 3.0), (0.0, 0.0, 0.25**3 * (10.0 - 3.75 + 0.375), 0.5, 1.0, 1.0))
    assert_allclose(bump(time, 1.0, 3.0), (0.0, 0.0, 64.0 * (0.25 * 0.75) ** 3, 1.0, 0.0, 0.0))
    assert_allclose(times(0.1), (0.0, 0.02, 0.04, 0.06, 0.08, 0.1))


# ---- the cart on the table


def test_still_pressure_keeps_the_mass_above_it() -> None:
    pressure = np.tile((0.03, -0.2), (60, 1))
    assert_allclose(follow_pressure(pressure, np.full(60, HIGH), pressure[0], pressure[-1]), pressure, atol=1e-12)


def test_swinging_pressure_moves_the_mass_by_a_known_share() -> None:
    """For p = A sin ωt the answer is A / (1 + h ω²) sin ωt; with differences, ω² is (2 − 2 cos ω dt) / dt²."""
    time, omega = times(10.0), 2.0 * np.pi * 0.4
    pressure = np.stack((np.zeros_like(time), 0.1 * np.sin(omega * time)), 1)
    centre = follow_pressure(pressure, np.full(len(time), HIGH), np.zeros(2), np.zeros(2))
    share = 1.0 / (1.0 + HIGH * (2.0 - 2.0 * np.cos(omega / FPS)) * FPS**2)
    middle = slice(150, -150)  # 3 s from where it must be at rest: exp(−3 s √(g / z)) is 6e-6
    assert_allclose(centre[middle, 1], share * pressure[middle, 1], atol=2e-5)
    assert_allclose(centre[:, 0], 0.0, atol=1e-15)


def test_pressure_that_steps_aside_is_anticipated_exponentially() -> None:
    """Before a step by 1 at t = 0 the answer is exp(√(g/z) t) / 2, after it 1 − exp(−√(g/z) t) / 2."""
    frames = np.arange(401)
    pressure = np.repeat((frames > 200).astype(float)[:, None], 2, 1)
    pressure[200] = 0.5
    centre = follow_pressure(pressure, np.full(401, HIGH), np.zeros(2), np.ones(2))[:, 0]
    time = (frames - 200) / FPS
    expected = np.where(time < 0.0, 0.5 * np.exp(time / np.sqrt(HIGH)), 1.0 - 0.5 * np.exp(-time / np.sqrt(HIGH)))
    assert_allclose(centre, expected, atol=3e-3)  # half of it from differences, half from smoothing


places = st.floats(-0.3, 0.3)


@settings(max_examples=25, deadline=None)
@given(st.lists(places, min_size=1, max_size=5), places, st.floats(0.3, 1.2))
def test_any_smooth_path_of_pressure_is_followed_from_rest_to_rest(
    stops: list[float], begin: float, height: float
) -> None:
    time, arm = times(1.8 + 0.7 * len(stops)), height / GRAVITY
    path = np.full(len(time), begin)
    for number, (here, there) in enumerate(zip([begin, *stops[:-1]], stops, strict=True)):
        path = path + (there - here) * rise(time, 0.9 + 0.7 * number, 1.3 + 0.7 * number)
    pressure = np.stack((path, -path), 1)
    centre = follow_pressure(pressure, np.full(len(time), arm), pressure[0], pressure[-1])
    for edge, rest in ((centre[:3], pressure[0]), (centre[-3:], pressure[-1])):
        assert_allclose(edge, np.tile(rest, (3, 1)), atol=1e-12)
    assert_allclose(centre[:, 1], -centre[:, 0], atol=1e-9)
    missed = np.abs(cart(centre[:, 0], arm) - path[1:-1])
    largest = max(abs(stop - other) for stop in [begin, *stops] for other in [begin, *stops])
    assert missed[45:-45].max() < 0.012 * largest + 1e-9
    assert missed.max() < 0.25 * largest + 1e-9  # with both feet down, while it sets out and comes to rest


def test_effort_of_a_cart_with_a_flywheel() -> None:
    """m = 1 kg at (0, 0, 0.981 m), pushed by (0.981, −1.962, 0) m/s², flywheel sped up by (0.1, 0.2, 0) N·m."""
    effort = Effort(
        centre=np.array([(0.0, 0.0, 0.981)]),
        acceleration=np.array([(0.981, -1.962, 0.0)]),
        spin=np.array([(0.0981, 0.1962, 0.0)]),
    )
    assert_allclose(effort.arm, 0.1)
    assert_allclose(effort.pressure, [(-0.0981 - 0.02, 0.1962 + 0.01)])
    assert_allclose(effort.friction, np.sqrt(0.05))


def test_first_path_is_that_of_the_whole_mass_at_its_standing_height() -> None:
    stance = humanoid()
    time = times(4.0)
    aside = 0.05 * (rise(time, 1.0, 1.6) - rise(time, 2.4, 3.0))
    pressure = stance.centre + np.stack((np.zeros_like(aside), aside), 1)
    model = humanoid_model().model
    data = mujoco.MjData(model)
    data.qpos[:] = (0.0, 0.0, stance.height, 1.0, 0.0, 0.0, 0.0, *stance.default)
    mujoco.mj_forward(model, data)
    path = cart_path(stance, pressure)[:, 1]
    for lifted, wrong in ((0.0, False), (0.1, True), (-0.1, True)):
        missed = cart(path, (data.subtree_com[1, 2] + lifted) / GRAVITY) - aside[1:-1]
        assert (np.abs(missed[60:-60]).max() > 1e-3) == wrong


# ---- footsteps


def test_plan_of_one_step_by_hand() -> None:
    """0.2 s rest, 0.4 s shift, 0.6 s swing of the left foot, 0.4 s shift, 0.2 s rest."""
    stance = humanoid()
    gait = Gait(swing=0.6, double=0.2, lift=0.05, shift=0.4, rest=0.2)
    plan = walk_through(stance, [Footstep(0, (0.2, 0.1, 0.0))], gait)
    assert plan.time[-1] == pytest.approx(1.8)
    assert_allclose(plan.place[:, 1], 0.0)
    assert_allclose(plan.place[[30, 31, 45, 59, 60], 0, 0], (0.0, 0.0, 0.1, 0.2, 0.2), atol=1e-12)
    assert plan.lift[45, 0] == pytest.approx(0.05)
    assert plan.lift[31, 0] > 0.0
    left, right = stance.soles
    middle = 0.5 * (left + right)
    assert_allclose(plan.pressure[[0, 10]], [middle, middle], atol=1e-12)
    assert_allclose(plan.pressure[30:61], np.tile(right, (31, 1)), atol=1e-12)
    assert_allclose(plan.pressure[[80, 90]], np.tile(np.add(middle, (0.1, 0.05)), (2, 1)), atol=1e-12)
    position, _ = foot_poses(stance, plan)
    assert_allclose(position[-1] - position[0], [(0.2, 0.1, 0.0), (0.0, 0.0, 0.0)], atol=1e-12)


def test_pressure_rolls_along_the_sole_and_over_to_the_other_one() -> None:
    stance = humanoid()
    gait = Gait(swing=0.4, double=0.2, lift=0.05, shift=0.4, rest=0.2, roll=0.1)
    steps = [Footstep(0, (0.2, 0.0, 0.0)), Footstep(1, (0.4, 0.0, 0.0))]
    plan = walk_through(stance, steps, gait)
    left, right = stance.soles
    assert_allclose(plan.pressure[30], right - (0.02, 0.0), atol=1e-12)
    assert_allclose(plan.pressure[50], np.add(right, (0.02, 0.0)), atol=1e-12)
    assert_allclose(plan.pressure[60], np.add(left, (0.2 - 0.04, 0.0)), atol=1e-12)
    assert_allclose(plan.pressure[55], 0.5 * (plan.pressure[50] + plan.pressure[60]), atol=1e-12)


def test_places_turn_about_the_middle_of_the_soles() -> None:
    stance = humanoid()
    place = np.array([(0.0, 0.0, 0.5 * np.pi), (1.0, 2.0, np.pi)])
    there = moved(stance, place, np.add(stance.centre, (0.3, 0.1)))
    assert_allclose(there - stance.centre, [(-0.1, 0.3), (0.7, 1.9)], atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.floats(-0.3, 0.3), st.floats(-0.3, 0.3), st.floats(-1.0, 1.0)),
        min_size=1,
        max_size=6,
    ),
    st.integers(15, 30),
    st.integers(4, 12),
)
def test_one_foot_at_most_is_up_and_the_pressure_is_then_below_the_other(
    steps: list[tuple[int, float, float, float]], swing: int, double: int
) -> None:
    stance, gait = humanoid(), Gait(swing=swing / FPS, double=double / FPS, lift=0.06)
    plan = walk_through(stance, [Footstep(foot, (x, y, yaw)) for foot, x, y, yaw in steps], gait)
    up = plan.lift > 0.0
    assert up.sum(1).max() == 1
    moving = np.abs(np.diff(plan.place, axis=0)).max(2) > 0.0
    assert (up[1:] | up[:-1])[moving].all()
    for foot in (0, 1):
        below = moved(stance, plan.place[:, 1 - foot], stance.soles[1 - foot])
        assert_allclose(plan.pressure[up[:, foot]], below[up[:, foot]], atol=1e-9)


# ---- the solver


def bend(x: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Two unknowns that shall make (x + y², y + x²/2) equal to a point that moves with the frame."""
    goal = np.stack((0.3 + 0.002 * frame, 0.2 - 0.001 * frame), 1)
    return np.stack((x[:, 0] + x[:, 1] ** 2, x[:, 1] + 0.5 * x[:, 0] ** 2), 1) - goal


@pytest.mark.parametrize("every", [1, 4, 7, 1000])
def test_solver_finds_the_zero_however_many_frames_share_a_jacobian(every: int) -> None:
    free = np.full(2, np.inf)
    x = least_squares(bend, np.zeros((60, 2)), -free, free, 1e-12, every)
    assert np.abs(bend(x, np.arange(60))).max() < 1e-6


def test_solver_stops_at_bounds() -> None:
    def away(x: np.ndarray, frame: np.ndarray) -> np.ndarray:
        return x - (3.0, 0.5)

    x = least_squares(away, np.zeros((5, 2)), np.full(2, -1.0), np.full(2, 1.0), 1e-12)
    assert_allclose(x, np.tile((1.0, 0.5), (5, 1)), atol=1e-6)


# ---- the stance


def test_feet_are_counted_from_the_left_whatever_their_order() -> None:
    stance = humanoid()
    other = attrs.evolve(stance.robot, foot_names=stance.robot.foot_names[::-1])
    again = stand_up(other, stance.model)
    assert again.feet == stance.feet
    assert again.soles[0, 1] > 0.0 > again.soles[1, 1]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_waist_turns_left_whichever_way_its_axis_points(sign: float) -> None:
    model = build_robot(robots.load("humanoid"))
    model.model.jnt_axis[model.model.joint("waist_yaw_joint").id] *= sign
    expected = [sign if name == "waist_yaw_joint" else 0.0 for name in model.robot.dof_names]
    assert_allclose(waist(stand_up(model.robot, model)), expected)


def test_trunk_without_a_waist_is_left_alone() -> None:
    model = doll()
    assert not waist(stand_up(model.robot, model)).any()


def test_arms_swing_forward_by_the_angle_asked_for() -> None:
    stance = humanoid()
    upper, hand = (stance.robot.body_names.index(f"left_{part}_link") for part in ("shoulder_roll", "elbow"))

    def lines(dofs: np.ndarray) -> np.ndarray:
        outline = planted(stance, dofs[None])
        place = np.zeros((1, 3))
        position, _ = body_poses(stance.model, place, outline.rotation, dofs[None])
        return np.asarray(position[0, hand] - position[0, upper])

    before, after = lines(stance.default), lines(stance.default + swing_arm(stance, "left", 0.4))
    turn = np.arctan2(after[0], -after[2]) - np.arctan2(before[0], -before[2])
    assert turn == pytest.approx(0.4, abs=0.02)
    armless = attrs.evolve(stance, robot=attrs.evolve(stance.robot, dof_names=tuple("abcdefghijklmnopqrs")))
    assert not swing_arm(armless, "left", 0.4).any()
