"""Recording the tracking scene: a failure shows the robot that failed, not the one that starts over."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.episode import Done, Earned, Reward
from components.learning import Rollout
from components.robot import BodyState, RootState
from engine import Simulation, build
from engine.ecs.schedule import Observer
from engine.protocol.vitals import find_ends, find_vitals
from engine.recording.failures import logged_failures
from engine.recording.file import END, TERMINAL, Recording
from engine.recording.row_ring import traced_addresses
from engine.runner.recording import RunObservers
from scenes import cartpole
from tests.helpers import tracking_scene

ROW, TICK = 3, 7


def tracking() -> Simulation:
    """Eight little humanoids that learn every twelve ticks."""
    return build(
        tracking_scene(robot="humanoid", clip="squat,wave", num_envs=8, hidden=(16,), horizon=12, robustness=1.0)
    )


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray], Simulation]:
    """The folder of a run in which row 3 is made to fail in tick 7, what it held in REWARD, and the simulation."""
    simulation, folder = tracking(), tmp_path_factory.mktemp("run")
    world, before = simulation.world, {}

    def plant(entry: Any) -> None:
        if world.clock.tick == TICK and entry.name == "terminate":
            done = world[Done]
            done.ended[ROW] = done.terminated[ROW] = done.reason[ROW, 0] = True
            done.truncated[ROW] = False
        if world.clock.tick == TICK and entry.name == "reward":
            before["robot.RootState.position"] = world[RootState].position[ROW].numpy().copy()
            before["robot.BodyState.rotation"] = world[BodyState].rotation[ROW].numpy().copy()
            before["robot.Reward.terms"] = world[Reward].terms[ROW].numpy().copy()
            before["robot.Earned.sums"] = world[Earned].sums[ROW].numpy().copy()

    simulation.schedule.attach(Observer(after_entry=plant))
    with RunObservers.begin(simulation, folder, print, rows=[0, ROW]).attached():
        simulation.run(12)
    return folder, before, simulation


@pytest.mark.parametrize("sub", ["failure", "episode"])
def test_a_planted_failure_shows_the_terminal_pose_and_rewards(
    failed: tuple[Path, dict[str, np.ndarray], Simulation], sub: str
) -> None:
    folder, before, _ = failed
    trace = Recording.open(folder / "failures.rec").trace(ROW, sub=sub)
    place = np.flatnonzero((trace.tick == TICK) & (trace.moment == TERMINAL))[0]
    for address, value in before.items():
        assert np.array_equal(trace.columns[address][place], value), address
    assert before["robot.Reward.terms"].any() and trace.columns["robot.Done.terminated"][place]


def test_the_trace_has_both_ends_of_a_reset_in_one_tick(
    failed: tuple[Path, dict[str, np.ndarray], Simulation],
) -> None:
    folder, before, _ = failed
    (path,) = (folder / "records").iterdir()
    trace = Recording.open(path).trace(ROW)
    old, new = np.flatnonzero(trace.tick == TICK)
    assert (trace.moment[old], trace.moment[new]) == (TERMINAL, END)
    assert np.array_equal(trace.columns["robot.RootState.position"][old], before["robot.RootState.position"])
    assert not np.array_equal(trace.columns["robot.RootState.position"][new], before["robot.RootState.position"])
    assert not trace.columns["robot.Earned.sums"][new].any()
    assert trace.columns["robot.Episode.began"][old] < trace.columns["robot.Episode.began"][new] == TICK
    assert trace.tick.tolist() == [*range(TICK + 1), *range(TICK, 12)]


def test_the_log_has_the_failure_and_the_box_its_vital_numbers(
    failed: tuple[Path, dict[str, np.ndarray], Simulation],
) -> None:
    folder, _, simulation = failed
    (line,) = [r for r in logged_failures(folder) if (r["row"], r["tick"]) == (ROW, TICK)]
    assert line["reasons"][0] == simulation.world.tables["robot"].axes["termination"][0]
    assert line["iteration"] == 1 and 0 <= line["first_tick"] < TICK
    (path,) = (folder / "records").iterdir()
    ticks, numbers = Recording.open(path).black_box(ROW, "robot")
    assert ticks.tolist() == [2, 4, 6, 8, 10]
    assert 0.3 < numbers["root_height"][0] < 2.0 and 0.0 <= numbers["worst_body_error"].max() < 2.0
    assert "reward[body_position]" in numbers and "ended_by[anchor_height]" in numbers


def test_what_only_the_learner_keeps_is_not_traced(failed: tuple[Path, dict[str, np.ndarray], Simulation]) -> None:
    world = failed[2].world
    traced = {address.split(".")[1] for address in traced_addresses(world, "robot")}
    assert traced == {cls.__name__ for _, cls in world.components} - {Rollout.__name__}


@pytest.mark.parametrize(
    ("made", "some"),
    [
        (lambda: cartpole.experiment(num_envs=4).train(), {"state[2]", "reward[balanced]", "ended_by[fallen]"}),
        (
            lambda: tracking_scene("humanoidverse_tracking", robot="humanoid", num_envs=4, hidden=(16,)),
            {"root_height", "tilt", "foot_force[left_ankle_roll_link]"},
        ),
    ],
)
def test_every_scene_has_vital_numbers_and_endings(made: Any, some: set[str]) -> None:
    simulation = build(made())
    (vitals,) = find_vitals(simulation).values()
    assert some <= {label for vital in vitals for label in vital.labels}
    (ends,) = find_ends(simulation).values()
    assert len(ends.labels) > 2 and ends.began is not None and ends.failed is not ends.ended
