"""Learning in imagination, bit for bit: same seed, other thread counts, resuming, rewinding."""

import random
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from benchmarks.replay import compare
from components.learning import Policy
from components.robot import DofState
from components.world_model import WorldModelMetrics
from engine import Simulation, build
from engine.recording.failures import FRAMES
from engine.recording.file import Recording
from engine.runner.replay_command import open_replay
from engine.snapshot.history import Ring
from engine.snapshot.snapshot import restore, save
from systems.learning.config import WorldModelConfig
from tests.exactness import kill
from tests.helpers import tracking_scene as scene

SMALL = WorldModelConfig(
    collect=4,
    memory=24,
    warm_up=18,
    first_fits=4,
    fits=2,
    fit_batch=32,
    model_hidden=(8,),
    updates=2,
    batch=6,
    horizon=3,
)
NUMBERS = {
    name: ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    for name, value in attrs.asdict(SMALL).items()
    if value != getattr(WorldModelConfig(), name)
}
TERMINATION = "tracking.terminate.end_effector_height.most=0.01"  # m, so that many rows fail
TICKS = 30  # of which three iterations fit and improve


def tracking(seed: int = 0, **arguments: Any) -> Simulation:
    """Eight little humanoids, learning in imagination every four ticks, with sensor noise, reset noise and pushes."""
    small: dict[str, Any] = {
        "robot": "humanoid",
        "clip": "squat,wave",
        "num_envs": 8,
        "hidden": (16,),
        "robustness": 1.0,
    }
    return build(scene(**{**small, "learner": "world_model", "world_model": SMALL, **arguments}), seed=seed)


@pytest.fixture(scope="module")
def reference() -> bytes:
    """What an uninterrupted run on one thread comes to."""
    simulation = tracking(physics_threads=1)
    simulation.schedule.threads = 1
    simulation.run(TICKS)
    return save(simulation.world)


def test_it_learns_within_these_ticks():
    simulation = tracking()
    before = simulation.world[Policy].parameters.clone()
    simulation.run(TICKS)
    metrics = simulation.world[WorldModelMetrics]
    assert not torch.equal(before, simulation.world[Policy].parameters)
    assert float(metrics.gradient_norm) > 0 and float(metrics.skipped_steps) == 0
    assert 0 < float(metrics.error_1) < float(metrics.error_8)


@pytest.mark.parametrize("threads", [1, 2])
def test_same_seed_gives_the_same_bytes_on_one_and_on_two_threads(reference: bytes, threads: int):
    simulation = tracking(physics_threads=threads)
    simulation.schedule.threads = threads
    simulation.run(TICKS)
    assert save(simulation.world) == reference


def test_another_seed_gives_other_bytes_and_the_same_ones_each_time(reference: bytes):
    found = []
    for _ in range(2):
        simulation = tracking(seed=1)
        simulation.run(TICKS)
        found.append(save(simulation.world))
    assert found[0] == found[1] != reference


def test_resuming_at_any_tick_reaches_the_same_bytes(reference: bytes):
    before, saved = tracking(), []
    for _ in range(TICKS):
        saved.append(save(before.world))
        before.run()
    after = tracking(seed=99)  # the snapshot brings its own random streams
    for moment in (0, 1, 19, 20, 21, 28):
        restore(after.world, saved[moment])
        after.run(TICKS - moment)
        assert save(after.world) == reference, moment


def test_rewinding_the_same_world_reaches_the_same_bytes(reference: bytes):
    simulation = tracking()
    simulation.run(22)
    early = save(simulation.world)
    simulation.run(TICKS)
    restore(simulation.world, early)
    assert save(simulation.world) == early
    simulation.run(TICKS - 22)
    assert save(simulation.world) == reference


def test_a_branch_that_goes_back_behind_a_fit_reaches_the_same_bytes_and_one_with_an_edit_others(reference: bytes):
    simulation = tracking()
    ring = Ring(simulation, every=5)
    simulation.run(TICKS)
    ring.seek(18)
    ring.branch()
    simulation.run(TICKS - 19)  # the first tick is number 0
    assert save(simulation.world) == reference
    ring.seek(18)
    simulation.world[DofState].velocity[0] += 0.1
    ring.branch()
    before = simulation.world[Policy].parameters.clone()
    simulation.run(TICKS - 19)
    assert save(simulation.world) != reference and not torch.equal(before, simulation.world[Policy].parameters)


def test_a_run_that_is_killed_while_it_learns_ends_as_one_that_is_not_and_its_failures_are_replayed(tmp_path: Path):
    small = {"robot": "humanoid", "clip": "squat", "num-envs": "8", "learning.hidden": "16", "learner": "world_model"}
    small |= {"iterations": "10", "checkpoint-every": "2", "record": "0-7", "set": TERMINATION}
    small |= {f"world-model.{name.replace('_', '-')}": value for name, value in NUMBERS.items()}
    command = [kill.SCENE[0], *(word for name, value in small.items() for word in (f"--{name}", value)), "--no-film"]
    whole, done, hit = tmp_path / "whole", None, False
    kill.finish(kill.run_of(command, whole))
    for seed in range(8):  # until one is hit before it ends
        killed = tmp_path / f"killed_{seed}"
        done = kill.kill_once(command, killed, "anywhere", 6, 2, random.Random(seed))
        hit = done is not None and 6 <= done.iteration < 10
        if hit:
            break
    assert hit and done is not None and done.checkpoint  # fitted since iteration 5
    kill.finish(kill.run_of(command, killed))
    assert kill.differences(whole, killed) == []
    past = open_replay(killed, print)[0]
    late = [failure for failure in past.failures if failure.tick > 24][:4]
    assert late
    recording = Recording.open(killed / FRAMES)
    for failure, episode in zip(late, past.episodes([(f.row, f.tick) for f in late]), strict=True):
        assert compare(recording, episode, failure).different == () and episode.digest == failure.digest
