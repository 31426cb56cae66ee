"""Third rung: the first action of an episode decides what its last step earns; those between change nothing.

The return is 1 − the mean over six levers of (a₀ − best)²: 1 at best, 0 for an action of 0. Credit can come back on two
ways: along the trace of GAE, (γλ)^k, or through a critic that sees what was chosen.
"""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from components.control import Action
from components.episode import Done, Episode
from engine import Bundle, Write, column, component, put_rows, system, term
from systems.tick import STEP
from tests.learning.ladder import Rung, ends_after

STEPS = 4
BEST = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])


@component
class Choice:
    """What was chosen in the first step of the episode."""

    first: Tensor = column("dof")


def remember(action: Action, episode: Episode, choice: Write[Choice]) -> None:
    """Keep the first action of the episode."""
    put_rows(choice.first, episode.step == 0, action.value)


def moment(episode: Episode) -> Tensor:
    """How many steps there have been, one number for each."""
    return one_hot(episode.step.clamp(max=STEPS), STEPS + 1).to(torch.float32)


def chosen(choice: Choice, episode: Episode) -> Tensor:
    """The first action, once it has been taken."""
    return choice.first * (episode.step > 0).unsqueeze(-1)


def verdict(choice: Choice, done: Done) -> Tensor:
    """1 − the mean of (a₀ − best)² in the last step, nothing before."""
    return (1.0 - (choice.first - BEST).square().mean(-1)) * done.ended


def delayed_credit(critic_sees_the_choice: bool) -> Rung:
    """Four steps; only the first matters, and only the last earns."""
    seen = {"moment": term(moment)}
    if critic_sees_the_choice:
        seen["chosen"] = term(chosen, groups=("critic",))
    return Rung(
        state=lambda: Bundle("choice", [Choice], systems={STEP: [system(remember)]}),
        observations=lambda: seen,
        rewards=lambda: {"verdict": term(verdict)},
        terminations=lambda: ends_after(STEPS),
        levers=len(BEST),
    )


def learned(gamma: float, lam: float, critic_sees_the_choice: bool) -> float:
    """The score after training; 1 is best."""
    rung = delayed_credit(critic_sees_the_choice)
    steady = {"desired_kl": 0.0, "learning_rate": 3e-3, "entropy_weight": 0.0}
    trained = rung.learn(40, horizon=2 * STEPS, gamma=gamma, lam=lam, **steady)
    return rung.score(trained, steps=STEPS)


@pytest.mark.parametrize(
    ("gamma", "lam", "critic_sees_the_choice"),
    [
        pytest.param(0.99, 0.95, False, id="along the trace"),
        pytest.param(0.99, 1.0, False, id="whole returns", marks=pytest.mark.slow),
        pytest.param(0.99, 0.0, True, id="through the critic"),
    ],
)
def test_credit_comes_back_to_the_first_action(gamma: float, lam: float, critic_sees_the_choice: bool):
    assert learned(gamma, lam, critic_sees_the_choice) > 0.97


@pytest.mark.parametrize(
    ("gamma", "lam", "critic_sees_the_choice"),
    [
        pytest.param(0.0, 0.95, True, id="without a future", marks=pytest.mark.slow),
        pytest.param(0.99, 0.0, False, id="without trace and with a blind critic"),
    ],
)
def test_credit_does_not_come_back(gamma: float, lam: float, critic_sees_the_choice: bool):
    assert learned(gamma, lam, critic_sees_the_choice) < 0.4
