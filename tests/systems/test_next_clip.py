"""The next clip: a row that is asked to starts it from its first frame, and nothing else of the run is touched."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from components.episode import Done
from components.learning import Rollout
from components.motion import MotionCursor, MotionLibrary, NextClip
from components.robot import DofState, RootState
from engine import Simulation, build
from engine.inspect.edit import Editor
from engine.snapshot.history import Ring
from engine.snapshot.snapshot import restore, save
from scenes.motion_tracking import CONFIGS, experiment
from systems.next_clip import end_for_next_clip, start_next_clip
from systems.reference import sample_root_and_dofs

DT = 0.02
ASKED = "robot.NextClip.asked"


def small(**numbers: Any) -> Simulation:
    """Four rows that learn to follow three clips."""
    given = {
        "robot": "humanoid",
        "clip": "squat,wave,stand",
        "num_envs": 4,
        "hidden": (8,),
        "horizon": 4,
        "randomise": "none",
    }
    return build(experiment(CONFIGS["laptop"].replace(**{**given, "robustness": 0.0, **numbers})).train(), seed=1)


def ask(simulation: Simulation, *rows: int) -> None:
    """What the key of the debugger's body view sends, and `set NextClip.asked ROWS yes`."""
    Editor(simulation).set_column(ASKED, rows, np.array([True]))


@pytest.fixture(scope="module")
def three() -> MotionLibrary:
    return small().world[MotionLibrary]


def test_the_clip_after_a_row_s_own_is_next_and_after_the_last_the_first(three: MotionLibrary):
    axes = {"termination": 1}
    cursor = MotionCursor.make(4, clip=[0, 1, 2, 2], time=[1.0, 2.0, 3.0, 1.5], start=[0.5, 0.0, 1.0, 0.0])
    following = NextClip.make(4, asked=[True, False, True, True])
    done = Done.make(4, axes, ended=[False, False, False, True], terminated=[False, False, False, True])
    end_for_next_clip(cursor, three, following, done)
    assert following.clip.tolist() == [1, -1, 0, 0]
    assert done.ended.tolist() == [True, False, True, True]
    assert done.truncated.tolist() == [True, False, True, False]  # a failure in the same tick stays one
    start_next_clip(following, cursor, dt=DT)
    assert cursor.clip.tolist() == [1, 1, 0, 0]
    assert_close(cursor.start, tensor([0.0, 0.0, 0.0, 0.0]))
    assert_close(cursor.time, tensor([DT, 2.0, DT, DT]))
    assert not bool(following.asked.any()) and following.clip.tolist() == [-1] * 4


def test_who_asks_behind_the_ends_of_a_tick_waits_for_the_next_tick():
    cursor, following = MotionCursor.make(1, clip=[1], time=[2.0]), NextClip.make(1, asked=[True])
    start_next_clip(following, cursor, dt=DT)
    assert (cursor.clip.tolist(), cursor.time.tolist(), following.asked.tolist()) == ([1], [2.0], [True])


def test_an_asked_row_starts_its_next_clip_from_the_first_frame_and_the_others_go_on():
    simulation = small()
    simulation.run(7)
    world = simulation.world
    before = {name: getattr(world[MotionCursor], name).clone() for name in ("clip", "time")}
    ask(simulation, 2)
    simulation.run(1)
    cursor = world[MotionCursor]
    assert int(cursor.clip[2]) == (int(before["clip"][2]) + 1) % 3
    assert (float(cursor.start[2]), float(cursor.time[2])) == (0.0, pytest.approx(DT))
    place, facing, _, _, joints, _ = sample_root_and_dofs(
        world[MotionLibrary], cursor.clip, torch.zeros(4), on_frames=True
    )
    assert_close(world[RootState].position[2], place[2])
    assert_close(world[RootState].rotation[2], facing[2])
    assert_close(world[DofState].position[2], joints[2])
    on = ~world[Done].ended
    assert on.tolist().count(True) >= 2
    assert_close(cursor.time[on], before["time"][on] + DT)
    assert torch.equal(cursor.clip[on], before["clip"][on])
    assert world[Rollout].truncated[2].any() and not bool(world[NextClip].asked.any())
    simulation.run(1)
    assert float(world[MotionCursor].start[2]) == 0.0  # and only once


def test_a_run_that_was_asked_goes_on_to_the_same_bytes_from_a_snapshot_and_when_it_is_rewound():
    simulation, other = small(), small()
    ring = Ring(simulation, every=4, budget=1 << 26)
    simulation.run(6)
    ask(simulation, 0, 3)
    ring.touch()
    saved = save(simulation.world)
    simulation.run(5)
    columns = {name: column.clone() for name, column in simulation.world.columns().items()}
    restore(other.world, saved)
    other.run(5)
    ring.seek(6)  # the tick after it was asked for
    assert simulation.world[MotionCursor].time[[0, 3]].tolist() == pytest.approx([DT, DT])
    ring.live()
    for name, column in columns.items():
        assert torch.equal(column, other.world.columns()[name]), name
        assert torch.equal(column, simulation.world.columns()[name]), name


def test_without_anybody_who_asks_the_systems_do_not_run():
    simulation = small()
    simulation.run(30)
    entries = {each.name: each for each in simulation.schedule.entries}
    assert entries["end_for_next_clip"].calls == entries["start_next_clip"].calls == 0
