"""First rung: one step, one best action. The policy's mean goes where the reward is."""

import torch
from torch import Tensor

from components.control import Action
from components.episode import Episode
from engine import Bundle, term
from tests.learning.ladder import Rung, ends_after

BEST = 0.7


def nothing(episode: Episode) -> Tensor:
    """There is nothing to see."""
    return torch.ones_like(episode.step, dtype=torch.float32).unsqueeze(-1)


def near(action: Action) -> Tensor:
    """0 for the best action, and −(a − BEST)² for another."""
    return -(action.value[:, 0] - BEST).square()


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
    )


UNLEARNED = -(BEST**2)  # an action of 0


def test_the_mean_action_becomes_the_best_action():
    trained = bandit().learn(30, horizon=8)
    assert bandit().score(trained, steps=1) > -(0.1**2)  # within 0.1 of the best


def test_reward_for_the_action_of_another_row_teaches_nothing():
    trained = bandit(near_of_the_neighbour).learn(30, horizon=8)
    assert bandit().score(trained, steps=1) < UNLEARNED / 2
