"""Observations, rewards and terminations of motion tracking by name: the published sets, and the tables that a configuration names."""

import math
from collections.abc import Callable, Mapping
from functools import partial

from engine import Term
from scenes.tasks import Config, Tables
from scenes.tasks import g1 as mjlab
from scenes.tasks import humanoidverse as hv
from scenes.tasks.ground import height_scan
from scenes.tasks.sets import chosen_terms

OBSERVATIONS: Mapping[str, Callable[..., dict[str, Term]]] = {  # of (noise=share of the published sensor noise)
    "mjlab_tracking": mjlab.g1_observations,
    "mjlab_tracking_no_state_estimation": partial(mjlab.g1_observations, state_estimation=False),
    "humanoidverse": hv.humanoidverse_observations,
    "humanoidverse_deepmimic": hv.deepmimic_observations,
    "humanoidverse_deepmimic_a2c": partial(hv.deepmimic_observations, privileged=True),
    "humanoidverse_motion_tracking": hv.motion_tracking_observations,
    "terrain": height_scan,
    "extra": hv.extra_observations,
}
REWARDS: Mapping[str, Callable[[], dict[str, Term]]] = {
    "mjlab_tracking": mjlab.g1_rewards,
    "beyondmimic": mjlab.beyondmimic_rewards,
    "low_rate": mjlab.low_rate_rewards,
    **{name: partial(hv.humanoidverse_rewards, name) for name in hv.WEIGHT_SETS},
    "extra": hv.extra_rewards,
    "pbhc": hv.pbhc_rewards,
}
TERMINATIONS: Mapping[str, Callable[..., dict[str, Term]]] = {  # of (seconds=longest episode, dt=control step)
    "mjlab_tracking": mjlab.g1_terminations,
    "humanoidverse": hv.humanoidverse_terminations,
    "extra": hv.extra_terminations,
}


def named_tables(config: Config, *, seconds: float) -> Tables:
    """The tables of terms that a configuration names; SceneError as of `chosen_terms`. `seconds` may be infinite."""
    return Tables(
        observations=chosen_terms(config, "observations", OBSERVATIONS, noise=config.robustness),
        rewards=chosen_terms(config, "rewards", REWARDS),
        terminations=chosen_terms(config, "terminations", TERMINATIONS, seconds=seconds, dt=config.dt),
    )


def check_tables(config: Config) -> None:
    """SceneError for terms that there are not, before there is a robot."""
    named_tables(config, seconds=math.inf)
