"""Experiments in a notebook: a scene file's experiment with flags as keywords, and learning iterations as numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.ecs.scene import Simulation
from engine.errors import SceneError, did_you_mean
from engine.runner import flags
from engine.runner.experiment import Experiment
from engine.runner.scene_file import load_scene


def load_experiment(
    source: str | Path, config: str | None = None, *, settings: Mapping[str, Any] | None = None, **values: Any
) -> Experiment:
    """The experiment of a scene file or dotted module, in a named configuration, with other `values` of its flags.

    A flag inside another has a dot in its name: `**{"learning.horizon": 12}`. `settings` of the run, as its device, go to flags of
    their names where the scene has such. SceneError for an unknown flag or value.
    """
    file = load_scene(str(source))
    made = file.config(config)
    known = flags.flat(made)
    values = {name: value for name, value in (settings or {}).items() if name in known} | values
    for name, value in values.items():
        if name not in known:
            raise SceneError(f"{file.called} has no flag '{name}'.{did_you_mean(name, known)}")
        values[name] = _value(file.called, known[name], value)
    return file.experiment(flags.changed(made, values))


def _value(called: str, flag: flags.Flag, value: Any) -> Any:
    """A value as the command line would read it."""
    try:
        return flags.read(flags.write(tuple(value) if isinstance(value, list) else value), flag.type)
    except ValueError:
        raise SceneError(
            f"The flag '{flag.name}' of {called} takes {flags.describe(flag.type)}, but was given {value!r}."
        ) from None


def learn(experiment: Experiment, simulation: Simulation, iterations: int) -> list[Mapping[str, float]]:
    """Run learning iterations, and return the numbers of each: those of metrics.jsonl, and `iteration`, `tick`, `env_steps`.

    No file is written. `simulation` is what `build` makes of the experiment's scene; it goes on where it is.
    """
    if iterations < 1:
        raise SceneError(f"{iterations} iterations cannot be learned; give at least 1.")
    world, length = simulation.world, simulation.scene.iteration
    rows = next(iter(world.tables.values())).rows
    if not world.clock.begun:
        simulation.run()  # the first tick only places the rows, and belongs to no iteration
    found: list[Mapping[str, float]] = []
    for _ in range(iterations):
        simulation.run(length - world.clock.tick % length)
        tick = world.clock.tick
        numbers = experiment.report(world) if experiment.report else {}
        found.append({"iteration": tick // length, "tick": tick, "env_steps": tick * rows, **numbers})
    return found
