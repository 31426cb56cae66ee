"""What the rungs of the ladder share: a scene of a few rows, training, and the score without exploration."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from engine import Bundle, Scene, Simulation, Term, Trial, build, table, term
from engine.runner.trial import run_trial
from engine.snapshot.snapshot import save
from systems.episode import episode
from systems.first_episode import first_episodes, summarise_episodes
from systems.ppo import PpoConfig, play, ppo
from systems.task import task
from systems.terminations import time_limit
from systems.tick import TICK

ROWS, TRIAL_ROWS, HIDDEN = 64, 1000, (32,)


def ends_after(steps: int, kind: str = "failure") -> dict[str, Term]:
    """Every episode ends after so many steps: by failure, with nothing after it, unless `kind` says time_limit."""
    return {"over": term(time_limit, kind=kind, steps=steps)}


@attrs.frozen
class Rung:
    """A task: its own state and systems, what is seen, earned (per step), and when an episode is over."""

    state: Callable[[], Bundle]
    observations: Callable[[], Mapping[str, Term]]
    rewards: Callable[[], Mapping[str, Term]]
    terminations: Callable[[], Mapping[str, Term]]
    levers: int = 1

    def scene(self, rows: int, *learner: Bundle) -> Scene:
        """The task with whoever learns or plays it; an action has `levers` numbers."""
        goal = task(observations=self.observations(), rewards=self.rewards(), terminations=self.terminations(), dt=1.0)
        home = table("row", rows=rows, axes={"dof": self.levers})
        return Scene([home], [self.state(), episode(), goal, *learner], TICK, name="rung")

    def learn(self, iterations: int, *, horizon: int, seed: int = 0, **options: Any) -> Simulation:
        """Train for so many iterations; `options` are those of `PpoConfig`."""
        learner = ppo(PpoConfig(**{"horizon": horizon, "hidden": HIDDEN, **options}))
        simulation = build(self.scene(ROWS, learner), seed=seed)
        simulation.run(1 + iterations * horizon)
        return simulation

    def score(self, trained: Simulation, *, steps: int, hidden: tuple[int, ...] = HIDDEN, **options: Any) -> float:
        """Mean return of the mean action over the first episode, `steps` long, of every row of a fresh world."""
        player = PpoConfig(hidden=hidden, **options)
        trial = Trial(
            lambda: self.scene(TRIAL_ROWS, play(player), first_episodes()),
            steps + 1,  # the first tick only resets
            summarise_episodes,
        )
        found = run_trial(trial, save(trained.world), Path("nothing"), training=trained.scene, seed=1)
        result: float = found["summary"]["return"]
        return result
