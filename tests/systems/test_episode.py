"""Counting, beginning and restarting episodes; curricula over scripted episode lengths."""

import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from components.episode import Done, Episode, EpisodeLength, PenaltyScale, Rewritten, SoftLimits
from components.motion import DofFar, MotionFar
from components.observation import ObservationNoise
from engine import Clock
from engine.errors import SceneError
from systems import episode as ep
from systems.tick import RECORD, RESET
from tests.systems.task_rows import generator

AXES = {"reward": 2, "termination": 2}


def length(mean: float = 0.0, finished: float = 0.0) -> EpisodeLength:
    return EpisodeLength(mean=tensor(mean), weight=tensor(0.0), finished=tensor(finished))


def test_the_first_tick_sends_every_row_through_reset_without_blame():
    done, rewritten = Done.make(2, AXES, terminated=True, truncated=True, lost=True, reason=True), Rewritten.make(2)
    ep.mark_all_done(done, rewritten)
    assert done.ended.all() and rewritten.rows.all()
    assert not any(bool(c.any()) for c in (done.terminated, done.truncated, done.lost, done.reason))


def test_steps_are_counted_and_ended_rows_start_over():
    episode = Episode.make(2, AXES, step=[4, 9])
    ep.count_step(episode)
    ep.reset_episode(Done.make(2, AXES, ended=[False, True]), Clock(tick=7, begun=True), episode)
    assert episode.step.tolist() == [5, 0]
    assert episode.began.tolist() == [0, 7]


def test_rows_that_ended_are_rewritten():
    rewritten = Rewritten.make(2)
    ep.mark_rewritten(Done.make(2, AXES, ended=[False, True]), rewritten)
    assert rewritten.rows.tolist() == [False, True]


def test_first_episodes_are_spread_over_the_whole_length():
    episode = Episode.make(5000, AXES)
    ep.spread_episodes(generator(), episode, steps=500)
    assert (int(episode.step.min()), int(episode.step.max())) == (0, 499)
    assert 240 < float(episode.step.double().mean()) < 260


@pytest.mark.parametrize(("seconds", "steps"), [(10.0, 500), (0.01, 1), (20.0, 1000), (math.inf, math.inf)])
def test_an_episode_lasts_a_whole_number_of_steps(seconds, steps):
    assert ep.num_steps(seconds, 0.02) == steps


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan])
def test_an_episode_without_length_is_refused(seconds):
    with pytest.raises(SceneError, match=f"An episode of seconds={seconds} is not possible"):
        ep.num_steps(seconds, 0.02)


@pytest.mark.parametrize(("spread", "steps"), [(1, []), (math.inf, []), (500, [500])])
def test_first_episodes_are_spread_only_where_that_has_an_effect(spread, steps):
    made = ep.episode(spread=spread).systems[RESET]
    assert [s.constants["steps"] for s in made if s.name == "spread_episodes"] == steps


def test_mean_length_is_the_plain_mean_at_first_and_ignores_running_rows():
    running = length()
    episode = Episode.make(4, AXES, step=[10, 30, 99, 50])
    done = Done.make(4, AXES, terminated=[True, False, False, False], truncated=[False, True, False, False])
    ep.measure_length(done, episode, running, window=100.0)
    assert_close(running.finished, tensor(2.0))
    assert_close(running.mean, tensor(20.0))  # (10 + 30) / 2, not pulled towards 0
    # two more of length 50 against a filled part w = 1 - 0.99²: new w = 1 - 0.99³, share 0.01 / w of one episode
    later = Done.make(4, AXES, terminated=[False, False, False, True])
    ep.measure_length(later, episode, running, window=100.0)
    assert_close(running.mean, tensor(20.0 + 30.0 * 0.01 / (1 - 0.99**3)))


def test_mean_length_stays_between_shortest_and_longest_with_more_rows_than_the_window():
    running = length()
    for step in (10, 40):
        episode = Episode.make(500, AXES, step=step)
        ep.measure_length(Done.make(500, AXES, terminated=True), episode, running, window=100.0)
    assert 10.0 <= float(running.mean) <= 40.0


def test_the_marking_of_the_first_tick_finishes_no_episode():
    running, episode = length(), Episode.make(3, AXES, step=7)
    done = Done.make(3, AXES)
    ep.mark_all_done(done, Rewritten.make(3))
    ep.measure_length(done, episode, running)
    assert (float(running.finished), float(running.mean)) == (0.0, 0.0)


def test_a_curriculum_moves_once_per_finished_episode_whatever_the_number_of_rows():
    together, apart = PenaltyScale(value=tensor(0.1)), PenaltyScale(value=tensor(0.1))
    ep.adapt_penalty(length(50.0, finished=3.0), together, down=40.0, up=42.0, degree=0.1)
    for _ in range(3):
        ep.adapt_penalty(length(50.0, finished=1.0), apart, down=40.0, up=42.0, degree=0.1)
    assert_close(together.value, tensor(0.1 * 1.1**3))
    assert_close(apart.value, together.value)


def test_penalties_shrink_while_episodes_are_short_rest_between_and_stay_in_range():
    scale = PenaltyScale(value=tensor(0.5))
    ep.adapt_penalty(length(39.0, 2.0), scale, down=40.0, up=42.0, degree=0.1)
    assert_close(scale.value, tensor(0.5 * 0.9**2))
    ep.adapt_penalty(length(41.0, 2.0), scale, down=40.0, up=42.0, degree=0.1)
    assert_close(scale.value, tensor(0.405))
    ep.adapt_penalty(length(60.0, 100.0), scale, down=40.0, up=42.0, degree=0.1)
    assert float(scale.value) == 1.0


def test_limits_and_radius_tighten_as_episodes_get_longer():
    limits = SoftLimits(position=tensor(1.0), velocity=tensor(1.0), torque=tensor(1.0))
    ep.adapt_limits(
        length(50.0, 1.0), limits, degree=0.1, position=(0.95, 1.15), velocity=(0.5, 1.25), torque=(0.85, 1.25)
    )
    assert_close(torch.stack((limits.position, limits.velocity, limits.torque)), tensor([0.95, 0.9, 0.9]))
    ep.adapt_limits(
        length(10.0, 1.0), limits, degree=0.1, position=(0.95, 1.15), velocity=(0.5, 1.25), torque=(0.85, 1.25)
    )
    assert_close(torch.stack((limits.position, limits.velocity, limits.torque)), tensor([0.95 * 1.1, 0.99, 0.99]))
    joints = DofFar(threshold=tensor(3.0))
    for steps, expected in ((50.0, 2.7), (10.0, 2.97), (10.0, 3.0)):
        ep.adapt_dof_far(length(steps, 1.0), joints, degree=0.1)
        assert_close(joints.threshold, tensor(expected))
    far = MotionFar(threshold=tensor(1.5))
    ep.adapt_motion_far(length(50.0, 1.0), far, degree=0.1)
    assert_close(far.threshold, tensor(1.35))
    ep.adapt_motion_far(length(50.0, 100.0), far, degree=0.1)
    assert float(far.threshold) == 0.25


def test_noise_grows_with_episode_length():
    noise = ObservationNoise(level=tensor(0.05))
    ep.adapt_noise(length(50.0, 1.0), noise, degree=0.1)
    assert_close(noise.level, tensor(0.055))


def test_only_the_curricula_that_are_given_move():
    bundle = ep.curricula(penalty=0.1, penalty_adapts={"degree": 1e-6})
    assert [s.name for s in bundle.systems[RECORD]] == ["measure_length", "adapt_penalty"]
    made = {r.type: r.factory({}, 0, torch.device("cpu")) for r in bundle.resources}
    assert_close(made[PenaltyScale].value, tensor(0.1, dtype=torch.float64))
    assert_close(made[MotionFar].threshold, tensor(1.5, dtype=torch.float64))


def test_the_slowest_published_pace_adds_up():
    """1 − 2.5e-9 is 1 in float32: after a million ticks with one finished episode each the limit has shrunk by 0.25 %."""
    made = {r.type: r.factory({}, 0, torch.device("cpu")) for r in ep.curricula(limits=(1.15, 1.15, 1.15)).resources}
    limits = made[SoftLimits]
    ep.adapt_limits(length(50.0, 1.0), limits, degree=2.5e-9)
    assert float(limits.position) == pytest.approx(1.15 * (1.0 - 2.5e-9), rel=1e-15)
    ep.adapt_limits(length(50.0, 1e6 - 1.0), limits, degree=2.5e-9)
    assert float(limits.position) == pytest.approx(1.15 * (1.0 - 2.5e-9) ** 1e6, rel=1e-9)


@pytest.mark.parametrize(
    "name", ["penalty_adapts", "limits_adapt", "motion_far_adapts", "dof_far_adapts", "noise_adapts"]
)
def test_thresholds_of_a_curriculum_that_cross_are_refused(name: str) -> None:
    with pytest.raises(SceneError, match=r"down=500 and up=400 cross.*at most up"):
        ep.curricula(**{name: {"down": 500.0, "up": 400.0}})
    ep.curricula(**{name: {"down": 400.0, "up": 400.0}})
