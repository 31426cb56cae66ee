"""Where rows were in their clips, from a look now and then: against what the same rows say at every tick."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.debugger.model.episode_track import pace, positions
from engine.ecs.schedule import Observer
from engine.ecs.table import as_numpy
from tests.debugger.live import Live, steady
from tests.helpers import tracking

NOWHERE = float("nan")


def moments(*known: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(known, np.float64).reshape(-1, 4)


def test_an_episode_that_ended_is_known_back_to_its_beginning() -> None:
    found = positions(moments((107, 7, 3, 1.64)), 0.02, 100)
    assert found is not None
    assert found.ticks.tolist() == list(range(100, 108))
    assert found.values[:, 0].tolist() == list(range(8))
    assert set(found.values[:, 1]) == {3.0}
    np.testing.assert_allclose(found.values[:, 2], 1.5 + 0.02 * np.arange(8))
    assert found.breaks.tolist() == [True] + [False] * 7


def test_a_tick_in_which_one_episode_ends_and_the_next_begins_is_there_twice() -> None:
    found = positions(moments((12, 2, 0, 0.5), (15, 3, 1, 4.0)), 0.1, 100)
    assert found is not None
    assert found.ticks.tolist() == [10, 11, 12, 12, 13, 14, 15]
    assert found.values[:, 0].tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert found.values[:, 1].tolist() == [0, 0, 0, 1, 1, 1, 1]
    np.testing.assert_allclose(found.values[:, 2], [0.3, 0.4, 0.5, 3.7, 3.8, 3.9, 4.0])
    assert np.flatnonzero(found.breaks).tolist() == [0, 3]


def test_what_lies_between_episodes_that_are_known_is_left_out() -> None:
    found = positions(moments((3, 3, 0, 0.0), (20, 1, 0, 0.0)), 0.1, 100)
    assert found is not None and found.ticks.tolist() == [0, 1, 2, 3, 19, 20]


def test_a_row_that_begins_in_the_middle_of_an_episode_does_not_reach_into_the_one_before() -> None:
    found = positions(moments((10, 4, 0, 0.0), (13, 9, 0, 0.0)), 0.1, 100)
    assert found is not None
    assert found.ticks.tolist() == [6, 7, 8, 9, 10, 10, 11, 12, 13]
    assert found.values[:, 0].tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9]


def test_only_the_last_ticks_are_kept_and_a_clip_that_changes_is_taken_from_the_next_look() -> None:
    found = positions(moments((50, 50, 0, 1.0), (60, 60, 2, 9.0)), 0.1, 15)
    assert found is not None and len(found.ticks) == 15 and found.ticks[-1] == 60
    assert found.values[:, 1].tolist() == [0.0] * 5 + [2.0] * 10
    np.testing.assert_allclose(found.values[-3:, 2], [8.8, 8.9, 9.0])


def test_unknown_steps_clips_and_times() -> None:
    assert positions(moments((5, NOWHERE, 0, 1.0)), 0.1, 10) is None
    assert positions(moments(), 0.1, 10) is None
    found = positions(moments((5, 2, NOWHERE, NOWHERE)), NOWHERE, 10)
    assert found is not None and found.values[:, 0].tolist() == [0, 1, 2] and np.isnan(found.values[:, 1:]).all()
    found = positions(moments((5, 2, 0, 1.0)), NOWHERE, 10)
    assert found is not None and np.isnan(found.values[:2, 2]).all() and found.values[2, 2] == 1.0


def test_the_pace_of_a_clip_is_that_between_looks_at_the_same_episode() -> None:
    rows = [
        moments((0, 0, 0, 0.0), (10, 10, 0, 0.5), (20, 20, 0, 1.0), (21, 0, 0, 7.0), (23, 2, 1, 7.1)),
        moments((0, 0, 0, 0.0)),
        moments(),
    ]
    np.testing.assert_allclose(pace(rows), 0.05)
    assert np.isnan(pace(rows[1:])) and np.isnan(pace([]))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.sets(st.integers(0, 200), max_size=6))
def test_what_is_worked_out_is_what_a_row_did(lengths: list[int], looks: set[int]) -> None:
    """Episodes of some lengths, each of another clip; an event for the end of each, and looks at the end of some ticks."""
    truth: list[tuple[float, float, float, float]] = []
    known: list[tuple[float, float, float, float]] = []
    tick = 0
    for clip, length in enumerate(lengths):
        episode = [(tick + i, i, clip, 2.0 * clip + 0.02 * i) for i in range(length + 1)]
        truth += episode
        known += [moment for moment in episode[1:-1] if moment[0] in looks] + [episode[-1]]
        tick += length
    found = positions(np.array(known, np.float64), 0.02, 10_000)
    assert found is not None
    np.testing.assert_array_equal(found.ticks, [moment[0] for moment in truth])
    np.testing.assert_allclose(found.values, np.array(truth)[:, 1:], atol=1e-9)


def test_of_a_real_training_it_is_what_the_columns_said_at_every_tick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = tracking(robot="humanoid", num_envs=16, hidden=(16,), physics_threads=1)
    live = Live(made.train(), made, tmp_path, steady(monkeypatch))
    columns = [
        live.world.columns()[f"robot.{name}"] for name in ("Episode.step", "MotionCursor.clip", "MotionCursor.time")
    ]
    ended, clock = live.world.columns()["robot.Done.ended"], live.world.clock
    before = clock.tick
    truth: dict[tuple[int, int, bool], list[float]] = {}

    def take(rows: np.ndarray, finish: bool) -> None:
        for row in rows:
            truth[int(row), clock.tick, finish] = [float(as_numpy(column)[row]) for column in columns]

    live.simulation.schedule.attach(Observer(at_finish=lambda: take(np.flatnonzero(as_numpy(ended)), True)))
    live.simulation.schedule.attach(Observer(after_tick=lambda: take(np.arange(16), False)))
    live.train(200)
    cursors, checked, ends = live.evidence().cursors, 0, 0
    live.close()
    assert set(cursors) == set(range(16))
    for row, stretch in cursors.items():
        finish = np.r_[np.diff(stretch.ticks) == 0, False]  # the first of the two samples of a tick
        for tick, values, first in zip(stretch.ticks.tolist(), stretch.values, finish.tolist(), strict=True):
            if tick <= before:
                continue
            possible = [truth[key] for key in ((row, tick, first), (row, tick, not first)) if key in truth]
            assert any(np.allclose(values, each, atol=2e-4) for each in possible), (row, tick, values, possible)
            checked, ends = checked + 1, ends + first
    assert checked > 0.7 * 16 * 200 and ends > 10
