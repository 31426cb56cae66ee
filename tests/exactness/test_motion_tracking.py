"""The tracking scene, bit for bit: same seed, other thread counts, resuming, rewinding."""

from typing import Any

import pytest

from engine import Simulation, build
from engine.snapshot.snapshot import restore, save
from tests.helpers import tracking_scene as scene

TICKS = 26  # two learning iterations and a bit


def tracking(seed: int = 0, **arguments: Any) -> Simulation:
    """Eight little humanoids, learning every twelve ticks, with sensor noise, reset noise and pushes."""
    made = scene(robot="humanoid", clip="squat,wave", num_envs=8, hidden=(16,), horizon=12, robustness=1.0, **arguments)
    return build(made, seed=seed)


@pytest.fixture(scope="module")
def reference() -> bytes:
    """What an uninterrupted run on one physics thread comes to."""
    simulation = tracking(physics_threads=1)
    simulation.run(TICKS)
    return save(simulation.world)


def test_same_seed_gives_the_same_bytes_on_one_and_on_two_physics_threads(reference: bytes) -> None:
    for threads in (1, 2):
        simulation = tracking(physics_threads=threads)
        simulation.run(TICKS)
        assert save(simulation.world) == reference


def test_another_seed_gives_other_bytes(reference: bytes) -> None:
    simulation = tracking(seed=1)
    simulation.run(TICKS)
    assert save(simulation.world) != reference


def test_resuming_at_any_tick_reaches_the_same_bytes(reference: bytes) -> None:
    before, saved = tracking(), []
    for _ in range(TICKS):
        saved.append(save(before.world))
        before.run()
    after = tracking(seed=99)  # the snapshot brings its own random streams
    for moment in (0, 1, 7, 12, 13, 25):
        restore(after.world, saved[moment])
        after.run(TICKS - moment)
        assert save(after.world) == reference, moment


def test_rewinding_the_same_world_reaches_the_same_bytes(reference: bytes) -> None:
    simulation = tracking()
    simulation.run(9)
    early = save(simulation.world)
    simulation.run(TICKS)
    restore(simulation.world, early)
    assert save(simulation.world) == early
    simulation.run(TICKS - 9)
    assert save(simulation.world) == reference
