"""Pushes, encoders, gains and motors that differ from row to row."""

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from components.control import EncoderBias, PdGains, TorqueNoise
from components.episode import Done, PushTimer, Rewritten
from components.robot import RootState
from engine.errors import SceneError
from systems import randomization as vary
from systems.tick import PERTURB
from tests.systems.task_rows import generator, marked, small_robot

AXES = {"dof": 2, "termination": 1}
PUSH = {"linear": (0.5, 0.4, 0.2), "angular": (0.52, 0.3, 0.78), "interval": (1.0, 3.0), "dt": 0.02}


def test_a_row_is_pushed_when_its_wait_is_over():
    timer, rewritten = PushTimer.make(3, wait=[1, 2, 0]), marked(Rewritten, [False, True, False])
    vary.mark_pushed(timer, rewritten)
    assert timer.wait.tolist() == [0, 1, -1]
    assert timer.due.tolist() == [True, False, True]
    assert rewritten.rows.tolist() == [True, True, True]


def test_a_push_adds_to_the_velocity_of_due_rows_within_its_range():
    rows = 4000
    timer = PushTimer.make(rows, wait=7, due=torch.arange(rows) % 2 == 0)
    root = RootState.make(rows, linear_velocity=[1.0, 2.0, 3.0], angular_velocity=[4.0, 5.0, 6.0])
    vary.push(marked(Rewritten, timer.due), generator(), timer, root, **PUSH)
    assert_close(root.linear_velocity[1::2], tensor([1.0, 2.0, 3.0]).expand(rows // 2, 3))
    assert_close(root.angular_velocity[1::2], tensor([4.0, 5.0, 6.0]).expand(rows // 2, 3))
    kick = torch.cat(
        (root.linear_velocity - tensor([1.0, 2.0, 3.0]), root.angular_velocity - tensor([4.0, 5.0, 6.0])), 1
    )
    limit = tensor([0.5, 0.4, 0.2, 0.52, 0.3, 0.78])
    assert bool((kick.abs() <= limit + 1e-5).all())
    assert bool((kick[::2].abs().amax(0) > 0.99 * limit).all())
    assert bool((kick[::2].mean(0).abs() < 0.05 * limit).all())


def test_pushed_and_ended_rows_draw_a_new_wait():
    rows = 4000
    timer = PushTimer.make(rows, wait=7, due=[True, *[False] * (rows - 1)])
    rewritten = marked(Rewritten, torch.arange(rows) != 1)  # row 2 and on have ended
    vary.push(rewritten, generator(), timer, RootState.make(rows), **PUSH)
    assert int(timer.wait[1]) == 7
    drawn = timer.wait[torch.arange(rows) != 1]
    assert (int(drawn.min()), int(drawn.max())) == (50, 150)  # 1 s and 3 s of 0.02 s


def test_the_first_wait_covers_the_interval():
    timer = PushTimer.make(4000, due=True)
    vary.draw_first_push(generator(), timer, interval=(1.0, 3.0), dt=0.02)
    assert (int(timer.wait.min()), int(timer.wait.max())) == (50, 150)
    assert not bool(timer.due.any())


def test_encoder_bias_stays_within_its_amplitude():
    bias = EncoderBias.make(2000, AXES)
    vary.draw_encoder_bias(generator(), bias, amplitude=0.01)
    assert 0.0099 < float(bias.value.max()) <= 0.01 and -0.01 <= float(bias.value.min()) < -0.0099


def test_ended_rows_get_new_gains_for_each_joint():
    done = Done.make(2000, AXES, ended=torch.arange(2000) > 0)
    gains = PdGains.make(2000, AXES, stiffness=1.0, damping=1.0)
    vary.vary_gains(done, small_robot(), generator(), gains, stiffness=(0.75, 1.25), damping=(0.9, 1.1))
    assert gains.stiffness[0].tolist() == gains.damping[0].tolist() == [1.0, 1.0]
    for column, low, high in ((gains.stiffness[1:], 7.5, 12.5), (gains.damping[1:], 1.8, 2.2)):
        assert low <= float(column.min()) < low + 0.02 and high - 0.02 < float(column.max()) <= high
    assert float((gains.stiffness[1:, 0] / 10 - gains.damping[1:, 0] / 2).abs().max()) > 0.1  # drawn apart


def test_ended_rows_get_new_torque_noise():
    done = Done.make(2000, AXES, ended=torch.arange(2000) > 0)
    noise = TorqueNoise.make(2000, AXES)
    vary.vary_torque_noise(done, generator(), noise, share=0.1, factor=(0.5, 1.5))
    assert noise.amplitude[0].tolist() == [0.0, 0.0]
    assert 0.05 <= float(noise.amplitude[1:].min()) < 0.051 and 0.149 < float(noise.amplitude.max()) <= 0.15


def test_everything_can_be_switched_off():
    assert vary.randomization(push_interval=None, encoder_bias=0.0).systems == {}
    assert PERTURB in vary.randomization().systems


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"push_interval": None, "push_linear": (1.0, 1.0, 0.0)}, "randomization: push_linear=(1.0, 1.0, 0.0) has no effect with push_interval=None; leave it out."),
        ({"torque_noise_factor": (0.5, 1.5)}, "randomization: torque_noise_factor=(0.5, 1.5) has no effect with torque_noise=0; leave it out."),
    ],
)  # fmt: skip
def test_what_nothing_reads_is_refused(given, text):
    with pytest.raises(SceneError) as error:
        vary.randomization(**given)
    assert str(error.value) == text


def test_an_impossible_range_is_refused():
    with pytest.raises(SceneError) as error:
        vary.randomization(push_interval=(3.0, 1.0))
    assert str(error.value) == (
        "randomization: push_interval=(3.0, 1.0) is not a range of positive numbers, such as (1.0, 3.0)."
    )
