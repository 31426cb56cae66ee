"""Vital numbers, by hand."""

import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from components.control import Action, DofTarget, DofTorque, PdGains
from components.episode import Done, Reward
from components.motion import RelativeTarget, TrackedState
from components.robot import BaseFrame, ContactForce, ContactSensors, DofState, RootState
from systems import vitals
from tests.systems.task_rows import small_bodies, small_robot

AXES = {"dof": 2, "body": 3, "sensed": 3, "tracked": 4, "reward": 2, "termination": 2}


def test_the_base_stands_leans_and_moves():
    root = RootState.make(2, position=[[1.0, 2.0, 0.7], [0.0, 0.0, 0.2]])
    assert_close(vitals.root_height(root), tensor([0.7, 0.2]))
    half = math.sqrt(0.5)
    base = BaseFrame.make(
        3, gravity=[[0.0, 0.0, -1.0], [half, 0.0, -half], [0.0, 0.0, 1.0]], linear_velocity=[3.0, 4.0, 0.0],
        angular_velocity=[0.0, 6.0, 8.0],
    )  # fmt: skip
    assert_close(vitals.tilt(base), tensor([0.0, 45.0, 180.0]))
    assert_close(vitals.linear_speed(base), torch.full((3,), 5.0))
    assert_close(vitals.angular_speed(base), torch.full((3,), 10.0))


def test_gravity_that_is_a_little_too_long_still_has_an_angle():
    assert vitals.tilt(BaseFrame.make(1, gravity=[0.0, 0.0, -1.0000001])).tolist() == [0.0]


def test_motors_are_used_by_a_share_of_their_limit():
    torque = DofTorque.make(1, AXES, value=[[5.0, -30.0]])
    body = small_robot(torque_limit=tensor([10.0, 20.0]))
    assert_close(vitals.torque_use(torque, body), tensor([[0.5, 1.5]]))
    target = DofTarget.make(1, AXES, position=[[0.5, 0.0]])
    dofs = DofState.make(1, AXES, position=[[0.1, 0.2]], velocity=[[1.0, -1.0]])
    gains = PdGains.make(1, AXES, stiffness=[[10.0, 100.0]], damping=[[1.0, 2.0]])
    # 10 · 0.4 − 1 · 1 = 3 of 10; 100 · −0.2 − 2 · −1 = −18 of 20
    assert_close(vitals.servo_torque_use(target, dofs, gains, body), tensor([[0.3, 0.9]]))


def test_actions_change_at_a_rate():
    action = Action.make(1, AXES, value=[[3.0, 1.0]], previous=[[0.0, 5.0]])
    assert vitals.action_rate(action).tolist() == [5.0]


def test_feet_carry_the_size_of_the_force_on_them():
    forces = ContactForce.make(1, AXES, force=[[[9.0, 9.0, 9.0], [0.0, 3.0, 4.0], [0.0, 0.0, 2.0]]])
    body, sensors = small_robot(foot_names=("left", "right")), ContactSensors(bodies=("root", "left", "right"))
    assert_close(vitals.foot_force(forces, sensors, body), tensor([[5.0, 2.0]]))


def test_bodies_are_off_by_a_distance():
    tracked = TrackedState.make(1, AXES, position=[[[0.0] * 3, [3.0, 4.0, 0.0], [0.0] * 3, [0.0, 0.0, 1.0]]])
    tracked.rotation[..., 0] = 1.0
    half = math.sqrt(0.5)
    target = RelativeTarget.make(1, AXES, rotation=[half, half, 0.0, 0.0])
    assert vitals.mean_body_error(tracked, target).tolist() == [1.5]
    assert vitals.worst_body_error(tracked, target).tolist() == [5.0]
    bodies = small_bodies()
    assert vitals.anchor_height_error(tracked, target, bodies).tolist() == [1.0]
    assert vitals.anchor_angle(tracked, target, bodies).item() == pytest.approx(math.pi / 2, abs=1e-6)


def test_rewards_and_reasons_are_taken_as_they_are():
    reward, done = Reward.make(2, AXES, terms=[[1.0, 2.0], [3.0, 4.0]]), Done.make(2, AXES, reason=[[True, False]] * 2)
    assert vitals.reward_terms(reward) is reward.terms and vitals.ended_by(done) is done.reason
