"""Observations, rewards and terminations of motion tracking by name: the published sets, and the tables that a configuration names."""

import math
from collections.abc import Callable, Mapping
from functools import partial

from engine import Term
from engine.errors import SceneError
from scenes.tasks import Config, Tables
from scenes.tasks import g1 as mjlab
from scenes.tasks import humanoidverse as hv
from scenes.tasks.sets import chosen, same_term

OBSERVATIONS: Mapping[str, Callable[..., dict[str, Term]]] = {  # of (noise=share of the published sensor noise)
    "mjlab_tracking": mjlab.g1_observations,
    "mjlab_tracking_no_state_estimation": partial(mjlab.g1_observations, state_estimation=False),
    "humanoidverse": hv.humanoidverse_observations,
    "humanoidverse_deepmimic": hv.deepmimic_observations,
    "humanoidverse_deepmimic_a2c": partial(hv.deepmimic_observations, privileged=True),
    "humanoidverse_motion_tracking": hv.motion_tracking_observations,
    "extra": hv.extra_observations,
}
REWARDS: Mapping[str, Callable[[], dict[str, Term]]] = {
    "mjlab_tracking": mjlab.g1_rewards,
    "beyondmimic": mjlab.beyondmimic_rewards,
    "low_rate": mjlab.low_rate_rewards,
    **{name: partial(hv.humanoidverse_rewards, name) for name in hv.WEIGHT_SETS},
    "extra": hv.extra_rewards,
}
TERMINATIONS: Mapping[str, Callable[..., dict[str, Term]]] = {  # of (seconds=longest episode, dt=control step)
    "mjlab_tracking": mjlab.g1_terminations,
    "humanoidverse": hv.humanoidverse_terminations,
    "extra": hv.extra_terminations,
}


def named_tables(config: Config, *, seconds: float) -> Tables:
    """The tables of terms that a configuration names; SceneError as of `sets.chosen`. `seconds` may be infinite."""
    seen = {name: make(noise=config.robustness) for name, make in OBSERVATIONS.items()}
    earned = {name: make() for name, make in REWARDS.items()}
    ends = {name: make(seconds=seconds, dt=config.dt) for name, make in TERMINATIONS.items()}
    tables = Tables(
        observations=chosen(config.observations, seen, "observations", same=same_term),
        rewards=chosen(config.rewards, earned, "rewards", same=same_term),
        terminations=chosen(config.terminations, ends, "terminations", same=same_term),
    )
    for flag in ("observations", "rewards", "terminations"):
        if not getattr(tables, flag):
            raise SceneError(
                f"{flag}={getattr(config, flag)} leaves nothing; choose a set, such as --{flag} mjlab_tracking."
            )
    return tables


def check_tables(config: Config) -> None:
    """SceneError for terms that there are not, before there is a robot."""
    named_tables(config, seconds=math.inf)
