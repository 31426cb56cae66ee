"""A scene as a vectorised environment of rsl_rl, from version 3 on."""

from pathlib import Path
from typing import Any

import torch
from rsl_rl.env import VecEnv
from tensordict import TensorDict
from torch import Tensor

from engine.errors import SceneError
from engine.runner.experiment import Experiment
from systems.doorways.stepped_scene import SteppedScene


class RslRlEnv(VecEnv):
    """All rows of a scene. Observations have a key for each group: `actor`, `critic` and those that the scene names.

    Extras say which rows were cut off by a time limit (`time_outs`), and once in an iteration of the scene the numbers that its
    own learner would report (`log`).
    """

    def __init__(self, scene: "str | Path | Experiment", config: str | None = None, **options: Any) -> None:
        self.scene = SteppedScene.of(scene, config, **options)
        self.num_envs, self.num_actions = self.scene.rows, self.scene.actions
        self.max_episode_length = self.scene.longest
        self.device = self.scene.device
        self.cfg = {"scene": self.scene.simulation.scene.name, "config": config or "", "rows": self.num_envs}
        self.reset()

    @property
    def episode_length_buf(self) -> Tensor:  # type: ignore[override]
        """Control steps since each row's episode began, (rows,) int64; what is assigned is taken over."""
        return self.scene.step_of_episode

    @episode_length_buf.setter
    def episode_length_buf(self, steps: Tensor) -> None:
        """Take over the steps, by which time limits count."""
        self.scene.step_of_episode.copy_(steps)

    def reset(self) -> tuple[TensorDict, dict[str, Any]]:
        """Begin every episode."""
        self.scene.reset()
        return self.get_observations(), {}

    def get_observations(self) -> TensorDict:
        """What each group sees now."""
        seen = {name: value.clone() for name, value in self.scene.groups.items()}
        return TensorDict(seen, batch_size=[self.num_envs], device=self.device)

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        """One control step of every row; observations of rows whose episode ended are those of the next one."""
        if not isinstance(actions, Tensor) or not actions.is_floating_point():
            raise SceneError(f"Actions are {getattr(actions, 'dtype', type(actions).__name__)}; give a float32 tensor.")
        self.scene.step(actions)
        done, simulation = self.scene.done, self.scene.simulation
        extras: dict[str, Any] = {"time_outs": done.truncated.clone()}
        report = self.scene.experiment.report
        if report is not None and simulation.world.clock.tick % simulation.scene.iteration == 0:
            extras["log"] = {f"/{name}": torch.tensor(value) for name, value in report(simulation.world).items()}
        return self.get_observations(), self.scene.reward.clone(), done.ended.to(torch.long), extras
