"""Efficiency of the tick beside the physics it wraps, and of an iteration beside its bare arithmetic.

    python -m benchmarks.tick [--json] [--rows 512] [--rounds 6] [--clip C] [--substeps N] [--sampling MODE] [--hidden N N]

Figures are measured in the same process, in turn with what they are compared with; segments in which others took more
than 5 % of a core are dropped and repeated.

step_microseconds           one environment step (one tick of one row) of the full tick without learning
training_step_microseconds  the same while a policy learns
best_physics_microseconds   physics alone for the same step: the fastest of the bare loops of `Batch.step` that are known
                            to move the rows as the scene does (`LOOPS`), named in best_physics
tick_efficiency             env steps/s of the full tick without learning ÷ those of a bare loop of `Batch.step` over the
                            same model, rows, states and controls
iteration_efficiency        (bare physics + bare matrix products of inference and update, same shapes and number) ÷
                            time of one training iteration

The two efficiencies grow where the scene's own physics is slow. Microseconds do not: compare those between versions.
"""

import argparse
import copy
import json
import sys
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch

from benchmarks.pairs import alternate
from components.control import DofTarget
from components.learning import Policy
from components.physics import Physics
from engine import Simulation, build
from engine.ecs.schedule import Entry
from engine.tools.profile import count_operations, measure_time
from scenes.motion_tracking import CONFIGS, experiment

PHYSICS = {"step_physics", "refresh_kinematics", "restart_physics", "begin_physics"}
LEARNING = {"act", "estimate_advantage", "improve_policy"}
TICKS = 24
RANDOMISED = "extra,-friction_loss,gains,mjlab_tracking,control_delay"
OFF = mujoco.mjtDisableBit
LOOPS = {
    "as the scene": 0,
    "without warm start": int(OFF.mjDSBL_WARMSTART),
    "without warm start, mid-phase and sensors": int(OFF.mjDSBL_WARMSTART | OFF.mjDSBL_MIDPHASE | OFF.mjDSBL_SENSOR),
}
"""Bare loops by what they leave out: rows move alike in all of them, to the tolerance of the contact solver."""

Work = Callable[[], None]


def simulate(rows: int, learn: bool, **arguments: Any) -> Simulation:
    """The tracking scene, warmed up; without learning RECORD and LEARN are skipped."""
    made = build(
        experiment(CONFIGS["laptop"].replace(num_envs=rows, **arguments)).train(),
        skip=() if learn else ("RECORD", "LEARN"),
    )
    made.run(3 * TICKS)
    return made


def record_states(simulation: Simulation, ticks: int) -> list[np.ndarray]:
    """States of the simulator, controls included, with which the next ticks start, recorded while the task runs them."""
    running = simulation.world[Physics].backend._batch
    recorded: list[np.ndarray] = []

    def record(entry: Entry) -> None:
        if entry.name == "step_physics":
            controls = running.bind("ctrl")
            controls[:] = simulation.world[DofTarget].position.numpy()
            recorded.append(running.state.copy())
        entry.call()

    simulation.schedule.wrap = record
    simulation.run(ticks)
    simulation.schedule.wrap = None
    return recorded


def bare_batch(running: Batch, without: int = 0) -> Batch:
    """A batch like one that runs; `without` are flags of mujoco.mjtDisableBit beside those of its model."""
    model = copy.copy(running.model)
    model.opt.disableflags |= without
    return Batch(model, running.nsim, running.nthread)


def bare_physics(simulation: Simulation, states: Sequence[np.ndarray], substeps: int, without: int = 0) -> Work:
    """A loop of `Batch.step` from these states, one after the other."""
    batch = bare_batch(simulation.world[Physics].backend._batch, without)

    def work() -> None:
        for state in states:
            batch.state[:] = state
            batch.step(nstep=substeps)

    return work


def randomised_efficiency(rows: int, rounds: int, names: str, **arguments: Any) -> tuple[float, int]:
    """How fast the tick is with everything that `names` say drawn, as a share of the tick without; and dropped segments."""
    plain, drawn = (simulate(rows, False, **arguments, robustness=1.0, randomise=text) for text in ("none", names))
    kept, dropped = alternate({"plain": lambda: plain.run(TICKS), "drawn": lambda: drawn.run(TICKS)}, rounds=rounds)
    return median(kept["plain"]) / median(kept["drawn"]), dropped


def matrix_products(policy: Policy, samples: int, rows: int, epochs: int, minibatches: int) -> Work:
    """The matrix products of one iteration and nothing else: inference, values, and the update's three per layer."""
    layers = {name: list(network.body.layers) for name, network in (("actor", policy.actor), ("critic", policy.critic))}
    size = samples // minibatches

    def operands(count: int) -> dict[str, list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]]:
        return {
            name: [
                (torch.randn(count, la.in_features), la.weight, torch.randn(count, la.out_features)) for la in network
            ]
            for name, network in layers.items()
        }

    small, large, whole = operands(rows), operands(size), operands(samples)

    @torch.no_grad()
    def work() -> None:
        for _ in range(samples // rows):
            for inputs, weight, _out in small["actor"]:
                inputs @ weight.t()
        for inputs, weight, _out in whole["critic"]:
            inputs @ weight.t()
        for _ in range(epochs * minibatches):
            for name in ("actor", "critic"):
                for index, (inputs, weight, slope) in enumerate(large[name]):
                    inputs @ weight.t()
                    slope.t() @ inputs
                    if index:
                        slope @ weight

    return work


def measure(rows: int, rounds: int, randomise: str, **arguments: Any) -> dict[str, Any]:
    """All figures for one number of rows."""
    playing = simulate(rows, False, **arguments)
    substeps = int(arguments["substeps"])
    states = record_states(playing, TICKS)
    loops = {name: bare_physics(playing, states, substeps, without) for name, without in LOOPS.items()}
    kept, dropped = alternate({**loops, "tick": lambda: playing.run(TICKS)}, rounds=rounds)
    steps = rows * TICKS
    floor = kept[next(iter(LOOPS))]
    best = min(LOOPS, key=lambda name: median(kept[name]))
    ratios = [f / t for f, t in zip(floor, kept["tick"], strict=False)]
    result: dict[str, Any] = {
        "rows": rows,
        "step_microseconds": 1e6 * median(kept["tick"]) / steps,
        "best_physics_microseconds": 1e6 * median(kept[best]) / steps,
        "best_physics": best,
        "tick_efficiency": median(floor) / median(kept["tick"]),
        "tick_efficiency_spread": [min(ratios), max(ratios)],
        "bare_steps_per_second": steps / median(floor),
        "tick_steps_per_second": steps / median(kept["tick"]),
    }
    times = measure_time(playing.schedule, TICKS)
    total = sum(c.seconds for c in times.values())
    result["time_per_system"] = {
        f"{p}.{s}": c.seconds / total for (p, s), c in times.items() if c.seconds / total > 0.002
    }

    result["randomised_efficiency"], some = randomised_efficiency(rows, rounds, randomise, **arguments)
    dropped += some
    training = simulate(rows, True, **arguments)
    constants = {e.name: e.system.constants for e in training.schedule.entries}["improve_policy"]
    products = matrix_products(training.world[Policy], steps, rows, constants["epochs"], constants["minibatches"])
    physics = bare_physics(training, record_states(training, TICKS), substeps)
    kept, more = alternate(
        {"physics": physics, "products": products, "iteration": lambda: training.run(TICKS)}, rounds=rounds
    )
    result["iteration_efficiency"] = (median(kept["physics"]) + median(kept["products"])) / median(kept["iteration"])
    result["iteration_seconds"] = median(kept["iteration"])
    result["training_step_microseconds"] = 1e6 * median(kept["iteration"]) / steps
    result["bare_physics_seconds"] = median(kept["physics"])
    result["bare_products_seconds"] = median(kept["products"])
    result["training_steps_per_second"] = steps / median(kept["iteration"])
    times = measure_time(training.schedule, TICKS)
    total = sum(c.seconds for c in times.values())
    result["training_time_per_system"] = {
        f"{p}.{s}": c.seconds / total for (p, s), c in times.items() if c.seconds / total > 0.002
    }
    counts = count_operations(training.schedule, TICKS)
    outside = [c for (_, name), c in counts.items() if name not in PHYSICS | LEARNING]
    result["operations_per_tick"] = sum(c.operations for c in outside) / TICKS
    result["dropped_segments"] = dropped + more
    return result


def main() -> int:
    """Print the figures as a table, or as JSON with --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[512])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--clip", default="squat")
    parser.add_argument("--substeps", type=int, default=CONFIGS["laptop"].substeps)
    parser.add_argument("--sampling", default="uniform")
    parser.add_argument("--hidden", type=int, nargs="+", default=None)
    parser.add_argument("--randomise", default=RANDOMISED)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    extra = {"hidden": tuple(given.hidden)} if given.hidden else {}
    options = {"clip": given.clip, "substeps": given.substeps, "sampling": given.sampling, **extra}
    results = [measure(rows, given.rounds, given.randomise, **options) for rows in given.rows]
    if given.json:
        print(json.dumps(results, indent=1))
        return 0
    for result in results:
        for key, value in result.items():
            if isinstance(value, dict):
                print(f"{key}:")
                for name, share in sorted(value.items(), key=lambda item: -item[1]):
                    print(f"  {name:<36} {share:6.1%}")
            else:
                print(f"{key:<28} {value:.4g}" if isinstance(value, float) else f"{key:<28} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
