"""A scene as a vectorised environment of Stable-Baselines3."""

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from engine.errors import SceneError
from engine.runner.experiment import Experiment
from systems.doorways.gymnasium_env import GymnasiumEnv


class StableBaselinesEnv(VecEnv):
    """All rows of a scene. A row that ends has `terminal_observation`, `TimeLimit.truncated` and `episode` in its info.

    Actions have a `bound`, as the library's learners want it.
    """

    def __init__(
        self, scene: "str | Path | Experiment", config: str | None = None, *, bound: float = 10.0, **options: Any
    ) -> None:
        if not bound < math.inf:
            raise SceneError(f"bound={bound}, but learners of Stable-Baselines3 want finite ones; give a number.")
        self.inner = GymnasiumEnv(scene, config, bound=bound, **options)
        self.render_mode = None
        self._actions: Any = None
        self._began = time.perf_counter()
        self._return, self._length = np.zeros(self.inner.num_envs), np.zeros(self.inner.num_envs, np.int64)
        super().__init__(self.inner.num_envs, self.inner.single_observation_space, self.inner.single_action_space)

    def reset(self) -> Any:
        """Begin every episode, with the seed that `seed()` was given last, if any."""
        seed = self._seeds[0]
        self._reset_seeds()
        self._reset_options()
        self._return[:], self._length[:] = 0.0, 0
        self.reset_infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        return self.inner.reset(seed=seed)[0]

    def step_async(self, actions: np.ndarray) -> None:
        """Keep actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> Any:
        """One control step of every row by the kept actions."""
        seen, reward, terminated, truncated, found = self.inner.step(self._actions)
        self._return += reward
        self._length += 1
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        ended = terminated | truncated
        for row in np.flatnonzero(ended):
            seconds = round(time.perf_counter() - self._began, 6)
            infos[row] = {
                "TimeLimit.truncated": bool(truncated[row]),
                "terminal_observation": found["final_obs"][row],
                "episode": {"r": float(self._return[row]), "l": int(self._length[row]), "t": seconds},
            }
        self._return[ended], self._length[ended] = 0.0, 0
        return seen, reward.astype(np.float32), ended, infos

    def close(self) -> None:
        """Nothing is held that needs closing."""
        self.inner.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The same for every row: an attribute of this environment."""
        return [getattr(self.inner, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Rows have no attributes of their own."""
        raise SceneError(
            f"'{attr_name}' cannot be set for single rows: they are one simulation. Change its constants instead."
        )

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Rows have no methods of their own."""
        raise SceneError(f"'{method_name}' cannot be called for single rows: they are one simulation.")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No row is wrapped."""
        return [False] * len(list(self._get_indices(indices)))
