"""Scoring first episodes, by hand on three rows."""

import pytest
import torch

from components.episode import Done, Reward
from components.metrics import FirstEpisode
from engine import World, table
from systems.first_episode import count_first_episode, summarise_episodes

AXES = {"reward": 1, "termination": 1}


def test_only_the_first_episode_of_a_row_counts():
    first = FirstEpisode.make(3)
    for total, terminated, truncated in (
        ([1.0, 2.0, 3.0], [False, False, False], [False, False, False]),
        ([1.0, 2.0, 3.0], [True, False, False], [False, True, False]),  # row 0 fails, row 1 runs out of time
        ([9.0, 9.0, 3.0], [True, True, False], [False, False, False]),  # their second episodes
    ):
        ended = [a or b for a, b in zip(terminated, truncated, strict=True)]
        done = Done.make(3, AXES, ended=ended, terminated=terminated, truncated=truncated)
        count_first_episode(done, Reward.make(3, AXES, total=total), first)
    assert first.steps.tolist() == [2, 2, 3]
    assert first.earned.tolist() == [2.0, 4.0, 9.0]
    assert first.failed.tolist() == [True, False, False]
    assert first.alive.tolist() == [False, False, True]

    world = World("test", {"row": table("row", rows=3)}, 0, torch.device("cpu"))
    world.components["row", FirstEpisode] = first
    summary = summarise_episodes(world)["summary"]
    assert summary == pytest.approx(
        {"episodes": 3, "return": 5.0, "least": 2.0, "most": 9.0, "length": 7 / 3, "failed %": 100 / 3}
    )
