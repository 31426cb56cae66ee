"""From action to torque: delays, targets, the three controllers, noise and limits."""

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from components.control import Action, ActionDelay, DofTarget, DofTorque, EncoderBias, PdGains, PreviousDof, TorqueNoise
from components.episode import Done
from components.motion import MotionReference
from components.robot import DofState
from engine.errors import SceneError
from systems import actuation as act
from tests.systems.task_rows import generator, small_robot

AXES = {"dof": 2, "delay": 3, "tracked": 1, "termination": 1}


def delayed(steps: list[int]) -> ActionDelay:
    return ActionDelay.make(len(steps), AXES, steps=steps)


def test_each_row_acts_on_the_action_of_its_own_delay_ago():
    robot, delay = small_robot(), delayed([0, 1, 2])
    bias, target = EncoderBias.make(3, AXES), DofTarget.make(3, AXES)
    seen = []
    for tick in (1.0, 2.0, 3.0, 4.0):
        act.delay_action(Action.make(3, AXES, value=tick), delay)
        act.aim_around_default(delay, robot, bias, target)
        seen.append(target.command[:, 0].tolist())
    # unit scale 0.5; what was never sent counts 0
    assert seen == [[0.5, 0.0, 0.0], [1.0, 0.5, 0.0], [1.5, 1.0, 0.5], [2.0, 1.5, 1.0]]


def test_a_queue_of_one_is_no_delay():
    delay = ActionDelay.make(2, {**AXES, "delay": 1})
    act.delay_action(Action.make(2, AXES, value=7.0), delay)
    target = DofTarget.make(2, AXES)
    act.aim_around_default(delay, small_robot(), EncoderBias.make(2, AXES), target)
    assert_close(target.command, torch.full((2, 2), 3.5))


def test_the_target_is_centre_plus_scaled_action_minus_encoder_bias():
    delay, target = delayed([0]), DofTarget.make(1, AXES)
    bias = EncoderBias.make(1, AXES, value=[0.01, -0.02])
    act.delay_action(Action.make(1, AXES, value=[1.0, -2.0]), delay)
    act.aim_around_default(delay, small_robot(), bias, target)
    assert_close(target.position, tensor([[0.1 + 0.5 - 0.01, 0.1 - 1.0 + 0.02]]))
    assert_close(target.command, tensor([[0.5, -1.0]]))
    reference = MotionReference.make(1, AXES, dof_position=[0.7, 0.3])
    act.aim_around_reference(delay, small_robot(), bias, reference, target)
    assert_close(target.position, tensor([[0.7 + 0.5 - 0.01, 0.3 - 1.0 + 0.02]]))


def test_only_ended_rows_forget_their_actions_and_draw_a_new_delay():
    done = Done.make(4, AXES, ended=[True, False, True, False])
    delay = ActionDelay.make(4, AXES, queue=5.0, steps=9)
    act.reset_delay(done, generator(), delay, steps=(0, 2))
    assert_close(delay.queue[:, 0, 0], tensor([0.0, 5.0, 0.0, 5.0]))
    assert delay.steps[1] == delay.steps[3] == 9
    action = Action.make(4, AXES, value=3.0, previous=2.0)
    act.reset_action(done, action)
    assert_close(action.value[:, 0], tensor([0.0, 3.0, 0.0, 3.0]))
    assert_close(action.previous[:, 0], tensor([0.0, 2.0, 0.0, 2.0]))


def test_delays_cover_the_whole_range_with_both_ends():
    done = Done.make(3000, AXES, ended=True)
    delay = ActionDelay.make(3000, AXES)
    act.reset_delay(done, generator(), delay, steps=(0, 2))
    counts = torch.bincount(delay.steps, minlength=3)
    assert len(counts) == 3 and bool(((counts > 900) & (counts < 1100)).all())


def test_the_action_is_held_within_its_limit():
    action = Action.make(1, AXES, value=[150.0, -0.5])
    act.clip_action(action, limit=100.0)
    assert_close(action.value, tensor([[100.0, -0.5]]))


def torque_of(**changes):
    robot = small_robot()
    dofs = DofState.make(1, AXES, position=[0.0, 0.5], velocity=[0.0, 1.0])
    previous = PreviousDof.make(1, AXES, velocity=[0.0, 0.6])
    target = DofTarget.make(1, AXES, position=[1.0, 0.5], command=[3.0, -1.0])
    gains = PdGains.make(1, AXES, stiffness=10.0, damping=2.0)
    noise = TorqueNoise.make(1, AXES, amplitude=0.1)
    torque = DofTorque.make(1, AXES)
    act.compute_torque(dofs, previous, target, gains, noise, robot, generator(), torque, **changes)
    return torque.value


def test_position_control_pulls_to_the_target_and_damps():
    assert_close(torque_of(controller="P"), tensor([[10.0, -2.0]]))  # 10 (1 - 0) - 0;  10 (0.5 - 0.5) - 2 * 1


def test_velocity_control_damps_the_acceleration_over_one_control_step():
    # 10 (3 - 0) - 0 = 30, held at 20;  10 (-1 - 1) - 2 (1 - 0.6) / 0.02 = -20 - 40 = -60
    assert_close(torque_of(controller="V", dt=0.02, limited=False), tensor([[30.0, -60.0]]))
    assert_close(torque_of(controller="V", dt=0.02), tensor([[20.0, -20.0]]))


def test_torque_control_passes_the_command_on():
    assert_close(torque_of(controller="T"), tensor([[3.0, -1.0]]))


def test_torque_noise_is_a_share_of_the_limit_and_differs_every_substep():
    robot, rows = small_robot(), 2000
    target = DofTarget.make(rows, AXES, command=1.0)
    noise, torque, rng = TorqueNoise.make(rows, AXES, amplitude=[0.1, 0.0]), DofTorque.make(rows, AXES), generator()
    blank = (DofState.make(rows, AXES), PreviousDof.make(rows, AXES), target, PdGains.make(rows, AXES))
    act.compute_torque(*blank, noise, robot, rng, torque, controller="T", noisy=True)
    first = torque.value.clone()
    assert -1.0 <= float(first[:, 0].min()) < -0.95 and 2.95 < float(first[:, 0].max()) <= 3.0  # 1 ± 0.1 * 20
    assert_close(first[:, 1], torch.ones(rows))
    act.compute_torque(*blank, noise, robot, rng, torque, controller="T", noisy=True)
    assert not torch.equal(first, torque.value)


def test_noise_cannot_lift_a_torque_above_the_limit():
    noise, torque = TorqueNoise.make(50, AXES, amplitude=0.5), DofTorque.make(50, AXES)
    blank = (DofState.make(50, AXES), PreviousDof.make(50, AXES), DofTarget.make(50, AXES, command=20.0))
    act.compute_torque(
        *blank, PdGains.make(50, AXES), noise, small_robot(), generator(), torque, controller="T", noisy=True
    )
    assert float(torque.value.max()) == 20.0


def test_rows_start_with_the_robots_gains_and_even_noise():
    gains, noise = PdGains.make(2, AXES), TorqueNoise.make(2, AXES)
    act.fill_gains(small_robot(), gains)
    act.fill_torque_noise(noise, amplitude=0.1)
    assert_close(gains.stiffness, torch.full((2, 2), 10.0))
    assert_close(gains.damping, torch.full((2, 2), 2.0))
    assert_close(noise.amplitude, torch.full((2, 2), 0.1))


def test_the_velocity_that_a_step_starts_from_is_kept():
    previous = PreviousDof.make(1, AXES)
    act.remember_velocity(DofState.make(1, AXES, velocity=[1.0, 2.0]), previous)
    assert_close(previous.velocity, tensor([[1.0, 2.0]]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"controller": "pid"}, "actuation: controller='pid' is not one of 'servo', 'P', 'V', 'T'."),
        ({"around": "zero"}, "actuation: around='zero' is neither 'default' nor 'reference'."),
        ({"latency": (2, 1)}, "actuation: latency=(2, 1) is not a range of control steps from 0 up, such as (0, 2)."),
        (
            {"torque_noise": 0.1},
            "actuation: torque_noise needs an explicit controller; choose controller='P', 'V' or 'T'.",
        ),
    ],
)
def test_impossible_actuation_is_refused(given, message):
    with pytest.raises(SceneError) as error:
        act.actuation(**given)
    assert str(error.value) == message
