"""Doorways: any scene that learns as an environment of other libraries, with somebody outside in the place of its learner.

`stepped_scene.py` makes such a scene, steps it and says what came of it; `gymnasium_env.py`, `rsl_rl_env.py` and `sb3_env.py`
are what Gymnasium, rsl_rl and Stable-Baselines3 expect, each imported when it is asked for. Public words are the functions
below: the scene as `engine.load_experiment` takes it, or an `Experiment`, and flags of the scene as keywords.
Imports `systems.outside`, components and the engine.
"""

import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import SceneError
from engine.runner.experiment import Experiment

if TYPE_CHECKING:
    from systems.doorways.gymnasium_env import GymnasiumEnv
    from systems.doorways.rsl_rl_env import RslRlEnv
    from systems.doorways.sb3_env import StableBaselinesEnv

LIBRARIES = {  # module that is needed, what it is called and the extra that brings it
    "gymnasium": ("Gymnasium", "gymnasium"),
    "stable_baselines3": ("Stable-Baselines3", "sb3"),
    "rsl_rl": ("rsl_rl", "rsl-rl"),
    "tensordict": ("tensordict", "rsl-rl"),
}

__all__ = ["make_gymnasium_env", "make_rsl_rl_env", "make_sb3_env"]


def _imported(module: str) -> Any:
    """A module of this package; SceneError where the library that it is for is missing."""
    try:
        return import_module(f"systems.doorways.{module}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in LIBRARIES:
            raise
        name, extra = LIBRARIES[str(error.name).partition(".")[0]]
        raise SceneError(f"{name} is not installed. pip install 'lockstep-sim[{extra}]' brings it.") from None


def make_gymnasium_env(
    scene: "str | Path | Experiment", config: str | None = None, *, seed: int = 0, device: str = "cpu",
    groups: Sequence[str] = ("actor",), bound: float = math.inf, overrides: Mapping[str, str] | None = None, **flags: Any,
) -> "GymnasiumEnv":  # fmt: skip
    """A scene as a Gymnasium vector environment: what the actor sees as a Box, or several `groups` as a Dict.

    Actions are held within ±`bound` where the scene has no narrower one of its own.
    """
    module = _imported("gymnasium_env")
    made: GymnasiumEnv = module.GymnasiumEnv(
        scene, config, seed=seed, device=device, groups=groups, bound=bound, overrides=overrides, **flags
    )
    return made


def make_sb3_env(
    scene: "str | Path | Experiment", config: str | None = None, *, seed: int = 0, device: str = "cpu",
    bound: float = 10.0, overrides: Mapping[str, str] | None = None, **flags: Any,
) -> "StableBaselinesEnv":  # fmt: skip
    """A scene as a VecEnv of Stable-Baselines3, which sees what the actor sees; its learners want actions within a `bound`."""
    module = _imported("sb3_env")
    made: StableBaselinesEnv = module.StableBaselinesEnv(
        scene, config, seed=seed, device=device, bound=bound, overrides=overrides, **flags
    )
    return made


def make_rsl_rl_env(
    scene: "str | Path | Experiment", config: str | None = None, *, seed: int = 0, device: str = "cpu",
    overrides: Mapping[str, str] | None = None, **flags: Any,
) -> "RslRlEnv":  # fmt: skip
    """A scene as a VecEnv of rsl_rl, with each group that its observations name."""
    module = _imported("rsl_rl_env")
    made: RslRlEnv = module.RslRlEnv(scene, config, seed=seed, device=device, overrides=overrides, **flags)
    return made
