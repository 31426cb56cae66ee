"""Pushes: when they come, how strong they are, and what they replace."""

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from components.episode import PushTimer, Rewritten
from components.robot import RootState
from engine.errors import SceneError
from systems import pushes
from systems.pushes import Push, push_systems
from systems.tick import PERTURB
from tests.systems.task_rows import generator, marked

PUSH = {"linear": (0.5, 0.4, 0.2), "angular": (0.52, 0.3, 0.78), "interval": (1.0, 3.0), "dt": 0.02}


def test_a_row_is_pushed_when_its_wait_is_over():
    timer, rewritten = PushTimer.make(3, wait=[1, 2, 0]), marked(Rewritten, [False, True, False])
    pushes.mark_pushed(timer, rewritten)
    assert timer.wait.tolist() == [0, 1, -1]
    assert timer.due.tolist() == [True, False, True]
    assert rewritten.rows.tolist() == [True, True, True]


def test_a_push_adds_to_the_velocity_of_due_rows_within_its_range():
    rows = 4000
    timer = PushTimer.make(rows, wait=7, due=torch.arange(rows) % 2 == 0)
    root = RootState.make(rows, linear_velocity=[1.0, 2.0, 3.0], angular_velocity=[4.0, 5.0, 6.0])
    pushes.push(marked(Rewritten, timer.due), generator(), timer, root, **PUSH)
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
    pushes.push(rewritten, generator(), timer, RootState.make(rows), **PUSH)
    assert int(timer.wait[1]) == 7
    drawn = timer.wait[torch.arange(rows) != 1]
    assert (int(drawn.min()), int(drawn.max())) == (50, 150)  # 1 s and 3 s of 0.02 s


def test_the_first_wait_covers_the_interval():
    timer = PushTimer.make(4000, due=True)
    pushes.draw_first_push(generator(), timer, interval=(1.0, 3.0), dt=0.02)
    assert (int(timer.wait.min()), int(timer.wait.max())) == (50, 150)
    assert not bool(timer.due.any())


def test_a_push_that_replaces_sets_the_velocity_of_its_directions_and_leaves_the_others() -> None:
    rows = 4000
    timer = PushTimer.make(rows, wait=7, due=torch.arange(rows) % 2 == 0)
    root = RootState.make(rows, linear_velocity=[9.0, 9.0, 3.0], angular_velocity=[4.0, 5.0, 6.0])
    planar = {**PUSH, "linear": (1.0, 1.0, 0.0), "angular": (0.0, 0.0, 0.0)}
    pushes.push(marked(Rewritten, timer.due), generator(), timer, root, replace=True, **planar)
    pushed = root.linear_velocity[::2]
    assert bool((pushed[:, :2].abs() <= 1.0).all()) and float(pushed[:, :2].abs().max()) > 0.99
    assert_close(pushed[:, 2], torch.full((rows // 2,), 3.0))
    assert_close(root.linear_velocity[1::2], tensor([9.0, 9.0, 3.0]).expand(rows // 2, 3))
    assert_close(root.angular_velocity, tensor([4.0, 5.0, 6.0]).expand(rows, 3))


def test_pushes_have_the_strength_asked_for() -> None:
    assert Push(linear=(1.0, 0.5, 0.2)).scaled(0.1).linear == pytest.approx((0.1, 0.05, 0.02))
    constants = push_systems("push", Push(replace=True), 0.02)[PERTURB][0].constants
    assert constants == {
        "linear": (0.5, 0.5, 0.2),
        "angular": (0.52, 0.52, 0.78),
        "replace": True,
        "interval": (1.0, 3.0),
        "dt": 0.02,
    }


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (Push(interval=(3.0, 1.0)), "randomization.shove: interval=(3.0, 1.0) is not a range of positive numbers, such as (1.0, 3.0)."),
        (Push(linear=(-1.0, 0.0, 0.0)), "randomization.shove: linear=(-1.0, 0.0, 0.0), angular=(0.52, 0.52, 0.78) are no half ranges"),
        (Push(linear=(0.0, 0.0, 0.0), angular=(0.0, 0.0, 0.0)), "randomization.shove: linear=(0.0, 0.0, 0.0), angular=(0.0, 0.0, 0.0) are no"),
    ],
)  # fmt: skip
def test_impossible_pushes_are_refused(given: Push, text: str) -> None:
    with pytest.raises(SceneError) as error:
        push_systems("shove", given, 0.02)
    assert str(error.value).startswith(text)
