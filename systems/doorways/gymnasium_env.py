"""A scene as a vector environment of Gymnasium."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Space
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from engine.errors import SceneError
from engine.runner.experiment import Experiment
from systems.doorways.stepped_scene import SteppedScene, as_actions
from systems.observation_groups import BOTH


class GymnasiumEnv(VectorEnv[Any, Any, Any]):
    """All rows of a scene. A row whose episode ends begins the next in the same step: its last observation is in `final_obs`.

    Observations are what the actor sees, (rows, width) float32, or with several `groups` a dictionary of what each sees.
    `reset` begins the whole scene anew; with a seed it is as if the scene had been built with it.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self,
        scene: "str | Path | Experiment",
        config: str | None = None,
        *,
        groups: Sequence[str] = ("actor",),
        **options: Any,
    ) -> None:
        if isinstance(groups, str) or not groups or not set(groups) <= set(BOTH):
            raise SceneError(f"groups={groups!r} cannot be observed from here; give a tuple of 'actor' and 'critic'.")
        self.scene = SteppedScene.of(scene, config, **options)
        self.names = tuple(dict.fromkeys(groups))
        self.num_envs = self.scene.rows
        spaces: dict[str, Space[Any]] = {n: _box(self.scene.group(n).shape[1], np.inf) for n in self.names}
        self.single_observation_space = Dict(spaces) if len(spaces) > 1 else spaces[self.names[0]]
        self.single_action_space = _box(self.scene.actions, self.scene.limit)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin every episode. `options` are not known here."""
        if options:
            raise SceneError(f"reset() has no option '{next(iter(options))}' here; leave options out.")
        self.scene.reset(seed)
        super().reset(seed=seed)
        return self._seen(), {}

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One control step of every row; observations of rows whose episode ended are those of the next one."""
        self.scene.step(as_actions(actions))
        done = self.scene.done
        ended, info = _array(done.ended), dict[str, Any]()
        if ended.any():
            last = np.full(self.num_envs, None, dtype=object)
            parts = {name: _array(getattr(self.scene.last, name)) for name in self.names}
            for row in np.flatnonzero(ended):
                own = {name: part[row] for name, part in parts.items()}
                last[row] = own if len(own) > 1 else own[self.names[0]]
            info = {"final_obs": last, "_final_obs": ended}
        ends = _array(done.terminated), _array(done.truncated)
        return self._seen(), _array(self.scene.reward).astype(np.float64), *ends, info

    def _seen(self) -> Any:
        parts = {name: _array(self.scene.group(name)) for name in self.names}
        return parts if len(parts) > 1 else parts[self.names[0]]


def _box(width: int, limit: float) -> Box:
    return Box(-limit, limit, (width,), np.float32)


def _array(values: Any) -> np.ndarray:
    """A copy of a tensor on the host."""
    found: np.ndarray = values.numpy(force=True).copy()
    return found
