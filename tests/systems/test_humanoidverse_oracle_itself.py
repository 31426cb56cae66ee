"""The oracle that others are compared with, itself compared with numbers worked out by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.systems import humanoidverse_oracle as oracle

IDENTITY = (1.0, 0.0, 0.0, 0.0)
HALF = math.sqrt(0.5)
YAW_90 = (HALF, 0.0, 0.0, HALF)
CONSTANTS = oracle.g1_constants()
NO = np.array([False])


def turned(degrees: float, axis: int) -> np.ndarray:
    """The quaternion of a turn about the x, y or z axis."""
    q = np.zeros(4)
    q[0], q[1 + axis] = math.cos(math.radians(degrees) / 2), math.sin(math.radians(degrees) / 2)
    return q


def bodies(n: int = 1, count: int = 24) -> oracle.Bodies:
    zeros = np.zeros((n, count, 3))
    return oracle.Bodies(zeros.copy(), np.tile(np.array(IDENTITY), (n, count, 1)), zeros.copy(), zeros.copy())


def robot(n: int = 1) -> oracle.RobotState:
    """Standing still at the origin in the default pose, with the other bodies in the pelvis."""
    dofs = np.zeros((n, 23))
    return oracle.RobotState(
        root_position=np.zeros((n, 3)),
        root_rotation=np.tile(np.array(IDENTITY), (n, 1)),
        root_linear_velocity=np.zeros((n, 3)),
        root_angular_velocity=np.zeros((n, 3)),
        dof_position=np.tile(CONSTANTS.default_dof_position, (n, 1)),
        dof_velocity=dofs.copy(),
        bodies=bodies(n),
        foot_contact_force=np.zeros((n, 2, 3)),
        torque=dofs.copy(),
        previous_dof_velocity=dofs.copy(),
        action=dofs.copy(),
        previous_action=dofs.copy(),
    )


def reference(n: int = 1) -> oracle.Reference:
    """What the standing robot does."""
    return oracle.Reference(bodies(n), np.tile(CONSTANTS.default_dof_position, (n, 1)), np.zeros((n, 23)))


def raw(state: oracle.RobotState, ahead: oracle.Reference, phase: float = 0.0) -> dict[str, np.ndarray]:
    return oracle.raw_observations(state, ahead, np.full(len(state.action), phase), CONSTANTS)


# ---------------------------------------------------------------------------------------------------------- the robot


def test_the_robot_has_the_published_groups_of_bodies():
    assert len(oracle.BODY_NAMES) == 24
    assert len(oracle.EXTENDED_NAMES) == 27
    assert (len(oracle.LOWER), len(oracle.UPPER)) == (16, 11)
    assert "torso_link" in oracle.LOWER
    assert oracle.FEET == ("left_ankle_roll_link", "right_ankle_roll_link")
    assert len(oracle.TERMINATE_AFTER_CONTACTS_ON) == 1 + 2 * 3 + 2 * 3


def test_the_right_side_mirrors_roll_limits():
    left, right = (oracle.DOF_NAMES.index(f"{side}_hip_roll_joint") for side in ("left", "right"))
    assert (left, right) == (1, 7)
    assert (CONSTANTS.lower[right], CONSTANTS.upper[right]) == (-2.9671, 0.5236)
    assert (CONSTANTS.lower[20], CONSTANTS.upper[20]) == (-2.2515, 1.5882)
    assert CONSTANTS.default_dof_position[9] == 0.3


# ----------------------------------------------------------------------------------------------------------- rotation


def test_a_quarter_turn_about_z_takes_x_to_y():
    np.testing.assert_allclose(oracle.rotate(np.array(YAW_90), np.array([1.0, 0, 0])), [0, 1, 0], atol=1e-15)
    np.testing.assert_allclose(oracle.rotate_inverse(np.array(YAW_90), np.array([0.0, 1, 0])), [1, 0, 0], atol=1e-15)
    assert oracle.heading(np.array(YAW_90)) == pytest.approx(math.pi / 2)


def test_turns_compose_right_to_left():
    roll_then_yaw = oracle.multiply(turned(90, 2), turned(90, 0))
    np.testing.assert_allclose(oracle.rotate(roll_then_yaw, np.array([0.0, 1, 0])), [0, 0, 1], atol=1e-15)


def test_angle_of_a_rotation_ignores_the_sign_of_its_quaternion_and_the_long_way_round():
    assert oracle.rotation_angle(turned(90, 1), np.array(IDENTITY)) == pytest.approx(math.pi / 2)
    assert abs(oracle.rotation_angle(-turned(90, 1), np.array(IDENTITY))) == pytest.approx(math.pi / 2)
    assert oracle.rotation_angle(turned(270, 1), np.array(IDENTITY)) == pytest.approx(-math.pi / 2)
    assert oracle.wrap_to_pi(-math.pi) == math.pi


def test_a_hand_swings_with_its_elbow():
    state = bodies()
    elbow = oracle.BODY_NAMES.index("left_elbow_link")
    state.position[0, elbow] = 0, 0, 1
    state.rotation[0, elbow] = YAW_90
    state.linear_velocity[0, elbow] = 1, 0, 0
    state.angular_velocity[0, elbow] = 0, 0, 2
    whole = oracle.extend(state)
    np.testing.assert_allclose(whole.position[0, 24], [0, 0.25, 1], atol=1e-15)
    np.testing.assert_allclose(whole.linear_velocity[0, 24], [0.5, 0, 0], atol=1e-15)  # ω × (0, 0.25, 0) = (-0.5, 0, 0)
    np.testing.assert_allclose(whole.angular_velocity[0, 24], [0, 0, 2])
    np.testing.assert_allclose(whole.rotation[0, 24], YAW_90)
    np.testing.assert_allclose(whole.position[0, 26], [0, 0, 0.42])
    assert oracle.extend(whole) is whole


def test_a_turned_extended_body_is_turned_in_its_parents_frame():
    state = bodies()
    state.rotation[0, 0] = YAW_90
    whole = oracle.extend(state, (("tool", "pelvis", (1.0, 0.0, 0.0), tuple(turned(90, 0))),))
    np.testing.assert_allclose(whole.position[0, 24], [0, 1, 0], atol=1e-15)
    np.testing.assert_allclose(whole.rotation[0, 24], oracle.multiply(turned(90, 2), turned(90, 0)))


# ------------------------------------------------------------------------------------------------------- observations


def test_groups_have_the_published_sizes_and_order():
    assert [key for key, *_ in oracle.OBSERVATION_LAYOUT["actor"]] == [
        "actions",
        "base_ang_vel",
        "dof_pos",
        "dof_vel",
        "history_actor",
        "projected_gravity",
        "ref_motion_phase",
    ]
    assert oracle.dimension("history_actor") == 304
    assert oracle.dimension("history_critic") == 316
    places = {key: (start, end) for key, start, end in oracle.OBSERVATION_LAYOUT["critic"]}
    assert places["dif_local_rigid_body_pos"] == (29, 110)
    assert places["history_critic"] == (156, 472)
    assert oracle.OBSERVATION_LAYOUT["critic"][-1] == ("ref_motion_phase", 556, 557)
    assert oracle.history_layout("history_actor")[:5] == [
        ("actions", 1, 0, 23),
        ("actions", 2, 23, 46),
        ("actions", 3, 46, 69),
        ("actions", 4, 69, 92),
        ("base_ang_vel", 1, 92, 95),
    ]


def test_a_robot_facing_y_sees_its_world_from_there():
    state, ahead = robot(), reference()
    state.root_position[0] = 1, 2, 0
    state.root_rotation[0] = YAW_90
    state.root_linear_velocity[0] = 0, 3, 0
    state.root_angular_velocity[0] = 4, 0, 0
    state.bodies.position[0, 5] = 1, 2, 3
    ahead.bodies.position[0, 5] = 2, 2, 3
    values = raw(state, ahead)
    np.testing.assert_allclose(values["base_lin_vel"][0], [3, 0, 0], atol=1e-14)
    np.testing.assert_allclose(values["base_ang_vel"][0], [0, -4, 0], atol=1e-14)
    np.testing.assert_allclose(values["projected_gravity"][0], [0, 0, -1], atol=1e-14)
    np.testing.assert_allclose(values["dif_local_rigid_body_pos"][0, 15:18], [0, -1, 0], atol=1e-14)
    np.testing.assert_allclose(values["local_ref_rigid_body_pos"][0, 15:18], [0, -1, 3], atol=1e-14)
    np.testing.assert_allclose(values["dof_pos"], 0)


def test_only_the_heading_is_taken_out_of_reference_positions():
    state, ahead = robot(), reference()
    state.root_rotation[0] = oracle.multiply(turned(90, 2), turned(40, 1))
    ahead.bodies.position[0, 0] = 0, 0, 1
    values = raw(state, ahead)
    np.testing.assert_allclose(values["local_ref_rigid_body_pos"][0, :3], [0, 0, 1], atol=1e-14)
    sine, cosine = math.sin(math.radians(40)), math.cos(math.radians(40))
    np.testing.assert_allclose(values["projected_gravity"][0], [sine, 0, -cosine], atol=1e-14)


def test_noise_comes_before_scale_and_shrinks_with_its_curriculum():
    state = robot()
    state.root_angular_velocity[0] = 1, 0, 0
    draws = {"base_ang_vel": np.ones((1, 3)), "actions": np.ones((1, 23))}
    values = oracle.observed(raw(state, reference()), draws, noise_level=0.5)
    np.testing.assert_allclose(values["base_ang_vel"][0], [1.15 * 0.25, 0.15 * 0.25, 0.15 * 0.25])
    np.testing.assert_allclose(values["actions"], 0)


def test_phase_is_that_of_the_next_step_and_goes_past_one():
    phase = oracle.ref_motion_phase(np.array([0, 100]), np.array([1.0, 0.0]), np.array([2.0, 2.0]))
    np.testing.assert_allclose(phase, [[1.02 / 2], [2.02 / 2]])


def test_history_is_newest_first_lacks_the_present_and_forgets_at_a_reset():
    history = oracle.History()
    state = robot(2)
    for step in range(1, 6):
        state.action[:] = step
        frame = oracle.observed(raw(state, reference(2), phase=0.1 * step))
        history.push(frame)
    now = oracle.observed(raw(robot(2), reference(2), phase=0.6))
    seen = oracle.actor_observation(now, history)
    assert seen.shape == (2, 380)
    np.testing.assert_allclose(seen[:, :23], 0)
    np.testing.assert_allclose(seen[0, 72 : 72 + 92 : 23], [5, 4, 3, 2])
    np.testing.assert_allclose(seen[0, 372:376], [0.5, 0.4, 0.3, 0.2])
    np.testing.assert_allclose(seen[0, 379], 0.6)
    history.reset(np.array([False, True]))
    seen = oracle.critic_observation(now, history)
    assert seen.shape == (2, 557)
    np.testing.assert_allclose(seen[0, 156 : 156 + 92 : 23], [5, 4, 3, 2])
    np.testing.assert_allclose(seen[1, 156:472][-4:], 0)
    np.testing.assert_allclose(seen[1, 156:248], 0)
    history.push(now)
    np.testing.assert_allclose(oracle.critic_observation(now, history)[1, 468:472], [0.6, 0, 0, 0])


def test_observations_are_clipped_and_histories_are_not_before():
    state = robot()
    state.action[:] = 1000
    values = oracle.observed(raw(state, reference()))
    history = oracle.History()
    history.push(values)
    assert history.frames[0]["actions"][0, 0] == 1000
    assert oracle.actor_observation(values, history)[0, [0, 72]].tolist() == [100, 100]


# ------------------------------------------------------------------------------------------------------------ rewards


def test_perfect_tracking_is_worth_the_published_reward():
    terms = oracle.rewards(robot(), reference(), CONSTANTS, NO)
    np.testing.assert_allclose(oracle.total(terms, penalty_scale=1.0), 7.95 * 0.02)
    assert set(oracle.REWARD_SCALES) <= set(terms)


def test_position_terms_of_a_known_shift():
    target = reference()
    target.bodies.position[0, :, 0] += 0.3  # mean over x, y, z of 0.09 is 0.03
    terms = oracle.tracking_rewards(robot(), target)
    np.testing.assert_allclose(terms["teleop_body_position_extend"], 0.5 * math.exp(-0.3) + math.exp(-1.0))
    np.testing.assert_allclose(terms["teleop_vr_3point"], math.exp(-1.0))
    np.testing.assert_allclose(terms["teleop_body_position_feet"], math.exp(-1.0))
    for name in ("body_rotation_extend", "body_velocity_extend", "joint_position"):
        np.testing.assert_allclose(terms[f"teleop_{name}"], 1.0)


def test_a_lifted_foot_counts_among_the_lower_bodies_and_the_feet():
    target = reference()
    target.bodies.position[0, oracle.BODY_NAMES.index("right_ankle_roll_link"), 2] = 0.3
    terms = oracle.tracking_rewards(robot(), target)
    np.testing.assert_allclose(terms["teleop_body_position_feet"], math.exp(-0.015 / 0.03))
    np.testing.assert_allclose(terms["teleop_body_position_extend"], 1 + 0.5 * math.exp(-(0.03 / 16) / 0.1))
    np.testing.assert_allclose(terms["teleop_vr_3point"], 1.0)


def test_rotation_velocity_and_joint_terms_of_known_errors():
    target = reference()
    target.bodies.rotation[0, 3] = -turned(90, 1)  # no extended body hangs on it
    target.bodies.linear_velocity[0, 3] = 3, 0, 0
    target.bodies.angular_velocity[0, 3] = 0, 1, 2
    target.dof_position[0, 0] += 2
    target.dof_velocity[0, :2] = 1
    terms = oracle.tracking_rewards(robot(), target)
    np.testing.assert_allclose(terms["teleop_body_rotation_extend"], math.exp(-((math.pi / 2) ** 2) / 27))
    np.testing.assert_allclose(terms["teleop_body_velocity_extend"], math.exp(-9 / 81))
    np.testing.assert_allclose(terms["teleop_body_ang_velocity_extend"], math.exp(-5 / 81))
    np.testing.assert_allclose(terms["teleop_joint_position"], math.exp(-4 / 23))
    np.testing.assert_allclose(terms["teleop_joint_velocity"], math.exp(-2 / 23))


def test_penalties_of_known_motion():
    state = robot()
    state.torque[0, :2] = 3, -4
    state.action[0, 0], state.previous_action[0, 0] = 1.0, -1.0
    state.dof_velocity[0, 5], state.previous_dof_velocity[0, 5] = 2.0, 1.9
    state.root_rotation[0] = oracle.multiply(turned(170, 2), turned(30, 0))
    left, right = (oracle.BODY_NAMES.index(name) for name in oracle.FEET)
    state.bodies.rotation[0, left] = turned(-170, 2)
    state.bodies.rotation[0, right] = oracle.multiply(turned(160, 2), turned(30, 1))
    state.bodies.linear_velocity[0, left] = 0, 3, 4
    state.bodies.linear_velocity[0, right] = 9, 0, 0
    state.foot_contact_force[0] = [[0, 0.8, 0.8], [0, 0, 1.0]]
    terms = oracle.penalty_rewards(state, CONSTANTS, oracle.LimitFactors())
    np.testing.assert_allclose(terms["penalty_torques"], 25)
    np.testing.assert_allclose(terms["penalty_action_rate"], 4)
    np.testing.assert_allclose(terms["penalty_dof_vel"], 4)
    np.testing.assert_allclose(terms["penalty_dof_acc"], 25)
    np.testing.assert_allclose(terms["penalty_orientation"], 0.25)
    np.testing.assert_allclose(terms["penalty_feet_ori"], 0.5)
    np.testing.assert_allclose(terms["feet_heading_alignment"], math.radians(20 + 10))
    np.testing.assert_allclose(terms["penalty_slippage"], 5)  # a force of exactly 1 N does not count


def test_limit_terms_with_and_without_curricula():
    state = robot()
    knee = oracle.DOF_NAMES.index("left_knee_joint")
    state.dof_position[0, knee] = 1.3962665 + 0.9 * 1.4835335 + 0.1
    state.dof_velocity[0, 0] = -(32 * 0.9 + 0.25)
    state.dof_velocity[0, 1] = 32 * 0.9 + 50
    state.torque[0, 0] = 88 * 0.825 + 3
    fixed = oracle.penalty_rewards(state, CONSTANTS, oracle.STATIC_LIMITS)
    np.testing.assert_allclose(fixed["limits_dof_pos"], 0.1)
    np.testing.assert_allclose(fixed["limits_dof_vel"], 1.25)
    np.testing.assert_allclose(fixed["limits_torque"], 3)
    moving = oracle.penalty_rewards(state, CONSTANTS, oracle.LimitFactors(1.15, 0.9, 0.825))
    np.testing.assert_allclose(moving["limits_dof_pos"], 0)
    np.testing.assert_allclose(moving["limits_torque"], 1)


def test_failure_costs_four_whatever_the_penalty_scale_and_penalties_shrink():
    state = robot()
    state.action[0, 0] = 1.0
    terms = oracle.rewards(state, reference(), CONSTANTS, np.array([True]))
    np.testing.assert_allclose(oracle.total(terms, penalty_scale=0.1), 0.159 - 0.5 * 0.02 * 0.1 - 4.0)
    np.testing.assert_allclose(oracle.total(terms, penalty_scale=1.0), 0.159 - 0.5 * 0.02 - 4.0)
    terms["penalty_action_rate"][:] = 1000
    np.testing.assert_allclose(oracle.total(terms, penalty_scale=1.0, only_positive=True), -4.0)


# ------------------------------------------------------------------------------------------------------- terminations


def ends(state: oracle.RobotState, target: oracle.Reference, step: int = 1, **given: object) -> dict[str, bool]:
    ones = np.ones(len(state.action))
    found = oracle.terminations(state, target, CONSTANTS, step * ones, 0 * ones, 100 * ones, **given)  # type: ignore[arg-type]
    return {name: bool(value[0]) for name, value in found.items()}


def test_standing_ends_only_by_height_when_the_floor_is_where_the_pelvis_is():
    assert [name for name, value in ends(robot(), reference()).items() if value] == ["low_height"]


@pytest.mark.parametrize(("degrees", "falls"), [(53, False), (54, True), (-54, True), (150, False)])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_tilt_beyond_0_8_of_gravity_is_a_fall(degrees: float, falls: bool, axis: int):
    state = robot()
    state.root_rotation[0] = turned(degrees, axis)  # sin 53° = 0.799, sin 150° = 0.5
    assert ends(state, reference())["gravity"] == falls


def test_one_body_too_far_is_motion_far():
    target = reference()
    target.bodies.position[0, 9] = 0.9, 1.2, 0
    assert not ends(robot(), target)["motion_far"]
    target.bodies.position[0, 9, 2] = 0.01
    assert ends(robot(), target)["motion_far"]
    assert not ends(robot(), target, settings=oracle.TerminationSettings(motion_far=1.6))["motion_far"]


def test_time_is_out_at_step_1001_and_motion_ends_after_its_length():
    assert not ends(robot(), reference(), 1000)["time_out"]
    assert ends(robot(), reference(), 1001)["time_out"]
    one = np.ones(1)
    found = oracle.terminations(robot(), reference(), CONSTANTS, 51 * one, one, 2 * one)
    assert found["motion_end"][0]


def test_optional_terminations_fire_on_force_and_limits_and_ask_the_coin():
    state = robot()
    state.dof_position[0, 0] = 2.8798
    state.dof_velocity[0, 0] = 32
    state.torque[0, 0] = -88
    for name in ("dof_pos_limit", "dof_vel_limit", "torque_limit"):
        assert ends(state, reference())[name]
        assert ends(state, reference(), coins={name: np.array([0.24])})[name]
        assert not ends(state, reference(), coins={name: np.array([0.25])})[name]
        assert not ends(robot(), reference())[name]
    assert ends(state, reference(), listed_contact_force=np.array([[[0.8, 0.8, 0]]]))["contact"]
    assert not ends(state, reference(), listed_contact_force=np.array([[[0.8, 0.0, 0.6]]]))["contact"]


def test_failure_wins_over_time_out_and_what_is_off_ends_nothing():
    conditions = {name: np.zeros(4, dtype=bool) for name in oracle.FAILURES + oracle.TIME_OUTS}
    conditions["gravity"][:2] = True
    conditions["motion_end"][1:3] = True
    conditions["low_height"][:] = True
    failed, timed_out, done = oracle.outcome(conditions)
    assert failed.tolist() == [True, True, False, False]
    assert timed_out.tolist() == [False, False, True, False]
    assert done.tolist() == [True, True, True, False]


# ---------------------------------------------------------------------------------------------------------- curricula


def test_published_average_moves_by_the_share_of_the_window():
    assert oracle.published_average(0.0, 100, 50.0) == pytest.approx(0.5)
    assert oracle.published_average(40.0, 5000, 60.0) == pytest.approx(50.0)


def test_published_curricula_move_once_and_stay_between_thresholds():
    penalty, limit = oracle.CURRICULA["penalty"], oracle.CURRICULA["limits_dof_pos"]
    assert oracle.published_curriculum(0.5, 39.9, penalty) == pytest.approx(0.5 * (1 - 1e-5), rel=1e-12)
    assert oracle.published_curriculum(0.5, 42.1, penalty) == pytest.approx(0.5 * (1 + 1e-5), rel=1e-12)
    assert [oracle.published_curriculum(0.5, average, penalty) for average in (40.0, 41.0, 42.0)] == [0.5] * 3
    assert oracle.published_curriculum(1.0, 100, penalty) == 1.0
    assert oracle.published_curriculum(1.15, 10, limit) == 1.15
    assert oracle.published_curriculum(1.0, 10, limit) == pytest.approx(1 + 2.5e-7, rel=1e-12)
    assert oracle.published_curriculum(1.0, 50, oracle.CURRICULA["motion_far"]) == pytest.approx(1 - 2.5e-5, rel=1e-12)
    assert oracle.published_curriculum(0.05, 50, oracle.CURRICULA["noise"]) == pytest.approx(0.0500005, rel=1e-12)


def test_fixed_curriculum_counts_every_episode():
    quick = replace(oracle.CURRICULA["penalty"], degree=0.1)
    assert oracle.fixed_curriculum(0.5, 30, 2, quick) == pytest.approx(0.5 * 0.81)
    assert oracle.fixed_curriculum(0.5, 50, 2, quick) == pytest.approx(0.5 * 1.21)
    assert oracle.fixed_curriculum(0.5, 50, 100, quick) == 1.0
    assert oracle.fixed_curriculum(0.5, 50, 0, quick) == 0.5


def test_fixed_average_is_a_mean_from_the_start_and_forgets_with_its_window():
    assert oracle.fixed_average(0.0, 0.0, 3, 50.0) == (pytest.approx(50.0), pytest.approx(1 - 0.9999**3))
    average, weight = oracle.fixed_average(0.0, 0.0, 1, 10.0, window=2)
    assert (average, weight) == (10.0, 0.5)
    average, weight = oracle.fixed_average(average, weight, 1, 40.0, window=2)
    assert (average, weight) == (pytest.approx((0.25 * 10 + 0.5 * 40) / 0.75), 0.75)
    assert oracle.fixed_average(12.0, 0.3, 0, math.nan) == (12.0, 0.3)
    assert oracle.fixed_average(0.0, 0.0, 0, math.nan) == (0.0, 0.0)


def test_fixed_average_does_not_care_how_episodes_are_dealt_to_steps():
    together = oracle.fixed_average(30.0, 0.4, 7, 55.0, window=20)
    apart = (30.0, 0.4)
    for _ in range(7):
        apart = oracle.fixed_average(*apart, 1, 55.0, window=20)
    assert together == pytest.approx(apart)
