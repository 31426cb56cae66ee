"""Cost of terrain: a tick of walking by command on each terrain beside one on a plane, and where the difference is.

    python -m benchmarks.terrain [--robot go1] [--rows 512] [--rounds 7] [--terrain rough waves ...]

Ticks have no learning, but for the last figure, and one thread steps physics. Both scenes run in the same process, in turn; times are processor time, so
that other work on the machine disturbs little, and ratios are medians over rounds.

tick      a tick on this terrain ÷ a tick on the plane
physics   the same of `step_physics` alone
scan      share of the tick on terrain that the height scans of actor and critic take
contacts  contacts in a row at the end of a tick, on the plane and on this terrain
training  an iteration of PPO, learning included, on this terrain ÷ one on the plane
"""

import argparse
import sys
import time
from collections.abc import Mapping
from functools import partial
from statistics import median
from typing import Any

import mujoco
import numpy as np

from components.physics import Physics
from components.robot import RootState
from components.terrain import Ground
from engine import Simulation, build
from engine.ecs.schedule import Entry
from scenes.velocity import CONFIGS, experiment
from systems.ground.grid import NAMED
from systems.observations import height_scan

WARM_UP, TICKS = 48, 6


def walking(robot: str, rows: int, terrain: str, *, learns: bool = False) -> Simulation:
    """A scene that is under way, and learns only where it is asked to."""
    config = CONFIGS["laptop"].replace(robot=robot, num_envs=rows, terrain=terrain, physics_threads=1)
    made = build(experiment(config).train(), skip=() if learns else ("RECORD", "LEARN"))
    made.run(WARM_UP)
    return made


def timed(simulation: Simulation) -> Mapping[str, float]:
    """Seconds of processor time of some ticks, and of `step_physics` in them."""
    spent = {"physics": 0.0}

    def measure(entry: Entry) -> None:
        begun = time.process_time()
        entry.call()
        if entry.name == "step_physics":
            spent["physics"] += time.process_time() - begun

    simulation.schedule.wrap = measure
    begun = time.process_time()
    simulation.run(TICKS)
    spent["tick"] = time.process_time() - begun
    simulation.schedule.wrap = None
    return spent


def scan(simulation: Simulation) -> float:
    """Seconds of processor time of the height scans of some ticks."""
    root, ground = simulation.world[RootState], simulation.world[Ground]
    begun = time.process_time()
    for _ in range(TICKS):
        height_scan(root, ground)
    return time.process_time() - begun


def iteration(simulation: Simulation) -> float:
    """Seconds of processor time of one iteration of learning."""
    begun = time.process_time()
    simulation.run(simulation.scene.iteration)
    return time.process_time() - begun


def contacts(simulation: Simulation, rows: int = 64) -> float:
    """Contacts in a row, mean over some."""
    backend = simulation.world[Physics].backend
    data, found = mujoco.MjData(backend.model.model), []
    for place in backend._qpos[:rows]:
        data.qpos[:] = place
        mujoco.mj_fwdPosition(backend.model.model, data)
        found.append(data.ncon)
    return float(np.mean(found))


def compare(plane: Simulation, other: Simulation, taught: tuple[Simulation, Simulation], rounds: int) -> dict[str, Any]:
    """Figures of one terrain beside the plane; `taught` are both once more, and learn."""
    ratios: dict[str, list[float]] = {"tick": [], "physics": [], "scan": [], "training": []}
    for _ in range(rounds):
        even, uneven = map(iteration, taught)
        ratios["training"].append(uneven / even)
        flat, rough = timed(plane), timed(other)
        for name in ("tick", "physics"):
            ratios[name].append(rough[name] / flat[name])
        ratios["scan"].append(scan(other) / rough["tick"])
    ratios["milliseconds"] = [1e3 * rough["tick"] / TICKS]
    return {name: median(values) for name, values in ratios.items()} | {"contacts": (contacts(plane), contacts(other))}


def main() -> int:
    """Print one line for each terrain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robot", default="go1")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--terrain", nargs="+", default=[*NAMED["rough"], "rough"])
    given = parser.parse_args()
    make = partial(walking, given.robot, given.rows)
    plane, taught = make("plane"), make("plane", learns=True)
    for terrain in given.terrain:
        found = compare(plane, make(terrain), (taught, make(terrain, learns=True)), given.rounds)
        flat, rough = found["contacts"]
        print(
            f"{given.robot} {terrain:<16} tick {found['tick']:5.2f}  physics {found['physics']:5.2f}  scan {found['scan']:5.1%}  "
            f"contacts {flat:4.1f} {rough:4.1f}  {found['milliseconds']:5.1f} ms  "
            f"training {found['training']:5.2f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
