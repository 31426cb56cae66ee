"""A scene that somebody outside steps: actions in, and what came of them out, as tensors of all rows."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from components.control import Action, ChosenAction
from components.episode import Done, Episode, Reward
from components.observation import GroupObservation, LastObservation, Observation, ObservationGroups
from engine import Simulation, build, load_experiment
from engine.ecs.world import stream_seed
from engine.errors import BuildError, SceneError, listing
from engine.runner.experiment import Experiment, check_device
from engine.snapshot.snapshot import Snapshot, capture, restore
from systems.observation_groups import BOTH
from systems.outside import without_learner

ENDLESS = 2**31 - 1  # control steps of an episode without a time limit


@attrs.define(eq=False)
class SteppedScene:
    """A built scene, with the state that it began in; `table` is where its rows are."""

    experiment: Experiment
    simulation: Simulation
    table: str
    limit: float  # an action is applied within ± this
    beginning: Snapshot

    @classmethod
    def of(
        cls,
        source: "str | Path | Experiment",
        config: str | None = None,
        *,
        seed: int = 0,
        device: str = "cpu",
        bound: float = math.inf,
        overrides: Mapping[str, str] | None = None,
        **flags: Any,
    ) -> "SteppedScene":
        """The scene of a file, module or experiment, without its learner, with actions held within ±`bound`.

        A scene file with a flag for its device gets `device` by that as well. SceneError where nobody can act in it or sees
        anything, and for a device that is not there.
        """
        _refuse_seed(seed)
        check_device(device, typed=False)
        if not bound > 0:
            raise SceneError(f"bound={bound} leaves no actions; give a number above 0.")
        if isinstance(source, Experiment) and (flags or config is not None):
            named = next(iter(flags), "config")
            raise SceneError(
                f"An Experiment is made already, so that {named}=… has no effect. Name its scene file instead."
            )
        made = (
            source
            if isinstance(source, Experiment)
            else load_experiment(source, config, settings={"device": device}, **flags)
        )
        scene = without_learner(made.train(), bound=bound)
        try:
            simulation = build(scene, seed=seed, device=device, overrides=overrides)
        except BuildError as error:
            raise SceneError(f"The scene '{scene.name}' does not fit together without its learner: {error}") from error
        acting = [entry for entry in simulation.schedule.entries if entry.system.name == "take_action"]
        table = acting[0].table
        moved = [e for e in simulation.schedule.entries if e not in acting and (table, Action) in (*e.reads, *e.writes)]
        if not moved or not simulation.world.tables[table].axes.get("dof"):
            raise SceneError(
                f"The scene '{scene.name}' has no actions: no system reads Action. Let one move something by it."
            )
        return cls(made, simulation, table, acting[0].system.constants["limit"], capture(simulation.world))

    def of_row(self, component: type) -> Any:
        """A component of the table that acts."""
        return self.simulation.world.component(component, self.table)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.simulation.world.tables[self.table].rows

    @property
    def actions(self) -> int:
        """How many numbers an action has."""
        return self.of_row(ChosenAction).value.shape[1]

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.simulation.world.device

    @property
    def longest(self) -> int:
        """Control steps of the longest episode: the least of the time limits that count them, else ENDLESS."""
        terms = [t for e in self.simulation.schedule.entries for t in e.system.terms.values()]
        found = [
            t.constants["steps"] for t in terms if t.settings.get("kind") == "time_limit" and "steps" in t.constants
        ]
        return int(min((each for each in found if math.isfinite(each)), default=ENDLESS))

    @property
    def groups(self) -> dict[str, Tensor]:
        """What each group sees now, (rows, width), by its name; groups that see nothing are left out."""
        seen = self.of_row(Observation)
        found = {name: getattr(seen, name) for name in BOTH if getattr(seen, name).shape[1]}
        if ObservationGroups in self.simulation.world.resources:
            further = self.of_row(GroupObservation).value
            found |= {n: further[:, c] for n, c in self.simulation.world.resource(ObservationGroups).columns.items()}
        return found

    @property
    def last(self) -> LastObservation:
        """What was seen last by rows whose episode has just ended."""
        found: LastObservation = self.of_row(LastObservation)
        return found

    @property
    def done(self) -> Done:
        """Whose episode has just ended, and how."""
        found: Done = self.of_row(Done)
        return found

    @property
    def reward(self) -> Tensor:
        """What the last action was worth, (rows,)."""
        found: Tensor = self.of_row(Reward).total
        return found

    @property
    def step_of_episode(self) -> Tensor:
        """Control steps since each row's episode began, (rows,) int64."""
        found: Tensor = self.of_row(Episode).step
        return found

    def group(self, name: str) -> Tensor:
        """What a group sees; SceneError for one that there is not."""
        if name not in self.groups:
            raise SceneError(
                f"The scene '{self.simulation.scene.name}' has no observations of a group '{name}'; it has "
                f"{listing(self.groups)}."
            )
        return self.groups[name]

    def reset(self, seed: int | None = None) -> None:
        """Put the scene back to its beginning, curricula included, and begin every episode.

        With a seed random streams begin anew, as in a scene that was built with it; without one they go on.
        """
        if seed is not None:
            _refuse_seed(seed)
        world = self.simulation.world
        with torch.inference_mode(False), torch.no_grad():
            going_on = {name: stream.get_state() for name, stream in world.generators.items()}
            restore(world, self.beginning)
            for name, stream in world.generators.items():
                if seed is not None:
                    stream.manual_seed(stream_seed(int(seed), name))
                else:
                    stream.set_state(going_on[name])
            self.simulation.run()

    def step(self, actions: Tensor) -> None:
        """One control step of every row by actions (rows, actions); rows whose episode ends begin another one in the same step.

        SceneError for actions of another shape, or that are not finite.
        """
        if not self.simulation.world.clock.begun:
            raise SceneError("No episode has begun. Call reset() before step().")
        column = self.of_row(ChosenAction).value
        if tuple(actions.shape) != tuple(column.shape):
            raise SceneError(
                f"Actions have the shape {tuple(actions.shape)}; this scene takes {tuple(column.shape)}: rows, and a number for "
                f"each of {listing(self.simulation.world.tables[self.table].axes['dof'], 6)}."
            )
        with torch.inference_mode(False), torch.no_grad():
            given = actions.to(column.device, torch.float32)
            finite = given.isfinite()
            if not bool(finite.all()):
                row, place = (int(each) for each in (~finite).nonzero()[0])
                raise SceneError(
                    f"The action of row {row} is {float(given[row, place])} at place {place}; give finite numbers only."
                )
            column.copy_(given)
            self.simulation.run()


def _refuse_seed(seed: Any) -> None:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**63:
        raise SceneError(f"seed={seed!r} is no seed; give a whole number from 0 up, below 2**63.")


def as_actions(actions: Any) -> Tensor:
    """Actions of a numpy array, or of what becomes one; SceneError where they are no numbers."""
    try:
        array = np.asarray(actions)
    except ValueError:
        array = np.array(None)
    if array.dtype.kind not in "fiu":
        raise SceneError(f"Actions are of type {array.dtype}; give an array of float32, (rows, actions).")
    with np.errstate(over="ignore"):  # what becomes infinite is refused with its place
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
