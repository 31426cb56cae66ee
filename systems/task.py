"""Task of terms: what the policy sees, what is good, and when an episode is over; task()."""

import math
from collections.abc import Mapping
from functools import partial

import systems.observations
import systems.reward_sum
import systems.rewards
import systems.terminations
from components.episode import Chance, Earned, Reward, RewardWidths, Rewritten
from engine import Bundle, System, Term, any_row, deferred, system
from systems.episode import mark_rewritten
from systems.tick import RESET, REWARD, TERMINATE
from systems.vitals import task_vitals


def task(
    name: str = "task",
    *,
    observations: Mapping[str, Term],
    rewards: Mapping[str, Term],
    terminations: Mapping[str, Term],
    noisy: bool = True,
    noise_curriculum: bool = False,
    observation_limit: float = math.inf,
    only_positive: bool = False,
    dt: float = 0.02,
) -> Bundle:
    """Observation, reward and ends of episodes, for any state; add `episode()`, which counts and restarts them.

    What the settings of a term mean is explained in `systems/observations.py`, `systems/rewards.py` and
    `systems/terminations.py`. `dt` is the control step in s; `noisy` False switches observation noise off,
    `observation_limit` bounds every number seen; `only_positive` cuts the reward off at 0. Raises SceneError
    for a setting that does not exist, and where actor or critic would see nothing.
    """
    seen = systems.observations.observations(
        observations, noisy=noisy, limit=observation_limit, curriculum=noise_curriculum
    )
    earned = systems.rewards.rewards(rewards, dt=dt, only_positive=only_positive)
    asks_chance = any(p.type is Chance for each in terminations.values() for p in each.signature.parameters)
    begin = partial(systems.reward_sum.begin_widths, earned)
    widths = [deferred(RewardWidths, begin)] if RewardWidths in earned.writes else []
    phases: dict[str, list[System]] = {
        TERMINATE: [
            *([system(systems.terminations.draw_chance)] if asks_chance else []),
            systems.terminations.terminations(terminations),
            system(mark_rewritten),
        ],
        REWARD: [earned],
        RESET: [system(systems.reward_sum.reset_earned, when=any_row(Rewritten, "rows"))],
    }
    for phase, more in seen.systems.items():
        phases[phase] = [*phases.get(phase, ()), *more]
    return Bundle(
        name,
        components=[Reward, Earned, *([Chance] if asks_chance else []), *seen.components],
        resources=[*seen.resources, *widths],
        systems=phases,
        axes={
            "reward": partial(systems.rewards.skip_weightless, earned),
            "termination": tuple(terminations),
            **seen.axes,
        },
        checks=[partial(systems.rewards.check_weights, earned), *seen.checks],
        vitals=task_vitals(),
    )
