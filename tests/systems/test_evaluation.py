"""Scores are worked out by hand on two bodies."""

import torch
from torch.testing import assert_close

from components.episode import Done
from components.metrics import Score
from components.motion import MotionCursor, MotionReference, TrackedState
from components.robot import DofState
from systems.evaluation import SCORES, score

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
