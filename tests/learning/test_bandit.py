"""First rung: one step, and one best place for each of six levers. The policy's mean goes where the reward is.

Six, not one: a policy that learns nothing wanders, and one lever alone could end at its best place by chance.
"""

import torch
from torch import Tensor

from components.control import Action
from components.episode import Episode
from engine import Bundle, term
from tests.learning.ladder import Rung, ends_after

BEST = torch.tensor([0.7, -0.7, 0.7, -0.7, 0.7, -0.7])
UNLEARNED = -(0.7**2)  # all levers at 0


def nothing(episode: Episode) -> Tensor:
    """There is nothing to see."""
    return torch.ones_like(episode.step, dtype=torch.float32).unsqueeze(-1)


def near(action: Action) -> Tensor:
    """Minus the mean over levers of (a − best)²: 0 at best."""
    return -(action.value - BEST).square().mean(-1)


def near_of_the_neighbour(action: Action) -> Tensor:
    """What the row before has earned: no row's action has anything to do with its own reward."""
    return near(action).roll(1)


def bandit(reward: object = near) -> Rung:
    """One step, then it is over."""
    return Rung(
        state=lambda: Bundle("bandit"),
        observations=lambda: {"nothing": term(nothing)},
        rewards=lambda: {"near": term(reward)},  # type: ignore[arg-type]
        terminations=lambda: ends_after(1),
        levers=len(BEST),
    )


def test_the_mean_action_becomes_the_best_action():
    trained = bandit().learn(20, horizon=8)
    assert bandit().score(trained, steps=1) > -0.005  # within 0.07 of the best


def test_reward_for_the_action_of_another_row_teaches_nothing():
    trained = bandit(near_of_the_neighbour).learn(20, horizon=8)
    assert bandit().score(trained, steps=1) < 0.7 * UNLEARNED
