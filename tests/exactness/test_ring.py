"""The tracking scene in a ring: rewinding gives the same bytes, and a branch differs only from its edit on."""

import torch

from components.episode import Done
from components.robot import RootState
from engine import Simulation
from engine.snapshot.history import Ring
from engine.snapshot.snapshot import save
from tests.exactness.test_motion_tracking import TICKS, tracking

HORIZON = 12  # ticks of one learning iteration
ROW = 3


def everything(simulation: Simulation) -> tuple[bytes, bytes]:
    """A snapshot, and every column, signals included."""
    world = simulation.world
    return save(world), b"".join(column.numpy().tobytes() for column in world.columns().values())


def columns(simulation: Simulation) -> dict[str, torch.Tensor]:
    return {name: column.clone() for name, column in simulation.world.columns().items()}


def test_rewinding_and_running_again_gives_the_same_bytes() -> None:
    simulation = tracking()
    ring = Ring(simulation, every=7)
    assert ring.exact
    seen = []
    for _ in range(TICKS):
        simulation.run()
        seen.append(everything(simulation))
    for tick in (20, 13, 3, 6, 0, 24):
        ring.seek(tick)
        assert everything(simulation) == seen[tick], tick
    ring.live()
    assert everything(simulation) == seen[-1]
    ring.seek(5)
    ring.branch()
    simulation.run(TICKS - 6)
    assert everything(simulation) == seen[-1]  # a branch without an edit is the same line


def test_a_branch_differs_from_its_edit_on_in_the_edited_row_until_the_policy_learns() -> None:
    simulation = tracking()
    ring = Ring(simulation, every=5)
    original = []
    for _ in range(2 * HORIZON + 2):
        simulation.run()
        original.append(columns(simulation))
    start = HORIZON + 3
    before = {tick: ring.snapshot_at(tick).encode() for tick in (4, start - 1)}
    ring.seek(start)
    simulation.world[RootState].linear_velocity[ROW, 0] += 0.4
    ring.branch()
    assert ring.abandoned is not None and ring.abandoned.tick == 2 * HORIZON + 1
    others = [row for row in range(8) if row != ROW]
    for tick in range(start + 1, 2 * HORIZON):
        simulation.run()
        ended = original[tick]["robot.Done.ended"] | simulation.world[Done].ended
        assert not ended[ROW]  # else rows would start over in one line only, and their draws move those of other rows
        for name, column in simulation.world.columns().items():
            assert torch.equal(column[others], original[tick][name][others]), (tick, name)
        moved = simulation.world[RootState].position[ROW, 0] - original[tick]["robot.RootState.position"][ROW, 0]
        assert moved > 0.0
    simulation.run(2)
    assert not torch.equal(
        simulation.world[RootState].position[others], original[2 * HORIZON + 1]["robot.RootState.position"][others]
    )
    for tick, data in before.items():
        assert ring.snapshot_at(tick).encode() == data


def test_an_edit_that_no_simulation_can_start_from_ends_that_episode_alone() -> None:
    simulation = tracking()
    ring = Ring(simulation, every=5)
    simulation.run(16)
    ring.seek(14)
    simulation.world[RootState].position[ROW, 2] = float("nan")
    ring.branch()
    simulation.run()
    assert simulation.world[Done].ended.nonzero().flatten().tolist() == [ROW]
    expected = everything(simulation)
    simulation.run(3)
    ring.seek(15)
    assert everything(simulation) == expected
