"""Scores are worked out by hand on two bodies and by an independent numpy loop."""

import numpy as np
import torch
from torch.testing import assert_close

from components.episode import Done
from components.metrics import Score
from components.motion import MotionCursor, MotionReference, TrackedState
from components.robot import DofState
from systems.evaluation import SCORES, procrustes_error, score

AXES = {"tracked": 2, "dof": 1, "score": SCORES, "termination": ("fallen",), "body": 2}


def frame(result: Score, robot: list, reference: list, *, terminated: bool = False, ended: bool = False) -> None:
    done = Done.make(1, AXES, terminated=terminated, ended=ended or terminated)
    tracked = TrackedState.make(1, AXES, position=[robot])
    target = MotionReference.make(1, AXES, body_position=[reference])
    score(done, tracked, target, DofState.make(1, AXES), MotionCursor.make(1, AXES, clip=3), result)


def test_global_error_is_the_mean_distance_and_local_error_ignores_the_root():
    result = Score.make(1, AXES)
    frame(result, [[0.3, 0.0, 0.0], [0.3, 0.0, 1.1]], [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    second = (0.3**2 + 0.1**2) ** 0.5
    assert_close(result.sums[0, 0], torch.tensor((0.3 + second) / 2))
    assert_close(result.sums[0, 1], torch.tensor((0.0 + 0.1) / 2))
    assert result.clip.tolist() == [3]


def test_velocity_and_acceleration_errors_are_first_and_second_differences_per_frame():
    result = Score.make(1, AXES)
    still = [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    for x in (0.0, 0.1, 0.4):  # offsets 0, 0.1, 0.4: differences 0.1, 0.3; second difference 0.2
        frame(result, [[x, 0.0, 0.0], [x, 0.0, 1.0]], still)
    assert_close(result.sums[0, 3], torch.tensor(0.1 + 0.3))
    assert_close(result.sums[0, 4], torch.tensor(0.2))
    assert result.frames.tolist() == [3]


def test_frames_after_the_first_episode_do_not_count_and_failure_sticks():
    result = Score.make(1, AXES)
    still = [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    frame(result, still, still, terminated=True)
    frame(result, [[9.0, 0.0, 0.0], [9.0, 0.0, 1.0]], still)
    assert result.frames.tolist() == [1]
    assert result.failed.tolist() == [True] and result.far.tolist() == [False]
    assert_close(result.sums[0, 0], torch.tensor(0.0))


def test_mean_error_above_half_a_metre_in_any_frame_is_far():
    result = Score.make(1, AXES)
    still = [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    frame(result, [[0.51, 0.0, 0.0], [0.51, 0.0, 1.0]], still)
    frame(result, still, still)
    assert result.far.tolist() == [True] and result.failed.tolist() == [False]


def test_procrustes_error_is_zero_for_a_similar_shape_and_matches_numpy_for_noise():
    rng = np.random.default_rng(0)
    target = rng.normal(size=(6, 3))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    moved = 1.7 * target @ turn.T + np.array([1.0, -2.0, 0.5])
    assert float(procrustes_error(torch.tensor(moved), torch.tensor(target))) < 1e-9
    noisy = moved + 0.1 * rng.normal(size=moved.shape)
    a, b = noisy - noisy.mean(0), target - target.mean(0)
    u, s, vh = np.linalg.svd(b.T @ a)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vh))])
    rotation = u @ flip @ vh
    scale = np.trace(np.diag(s) @ flip) / (a**2).sum()
    best = np.linalg.norm(scale * a @ rotation.T - b, axis=1).mean()
    assert_close(float(procrustes_error(torch.tensor(noisy), torch.tensor(target))), best)
    for _ in range(200):  # no similarity nearby does better in the least-squares sense
        other, _ = np.linalg.qr(rotation + 0.05 * rng.normal(size=(3, 3)))
        other *= np.sign(np.linalg.det(other))
        worse = ((scale * a @ other.T - b) ** 2).sum()
        assert worse >= ((scale * a @ rotation.T - b) ** 2).sum() - 1e-12


def test_a_mirrored_shape_is_not_similar():
    target = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.3, 0.2, 0.1], [-1.0, 0.4, 0.8]])
    mirrored = target * torch.tensor([-1.0, 1.0, 1.0])
    assert float(procrustes_error(mirrored, target)) > 0.05
