"""Second rung: the best action depends on what is seen. Regression by reward, with floors worked out by hand.

The observation (u, v) is uniform in [−1, 1]² and the best action is u² − v. The reward is −(a − u² + v)², so
the score of a policy is minus its mean squared error:

- a constant can at best be the mean of the target, and is left with its variance, Var u² + Var v = 4/45 + 1/3
- a linear policy can at best be 1/3 − v, and is left with Var u² = 4/45
- a policy that sees and bends has no floor
"""

import pytest
import torch
from torch import Tensor

from components.control import Action
from components.episode import Done
from engine import Bundle, Rng, Write, column, component, put_rows, system, term
from systems.tick import RESET
from tests.learning.ladder import Rung, ends_after

BEST_CONSTANT = -(4 / 45 + 1 / 3)
BEST_LINE = -4 / 45


@component
class Point:
    """Where the row is."""

    place: Tensor = column(2)


def draw_point(done: Done, rng: Rng, point: Write[Point]) -> None:
    """A new point for every episode, uniform in [−1, 1]²."""
    put_rows(point.place, done.ended, 2.0 * torch.rand(point.place.shape, generator=rng) - 1.0)


def place(point: Point) -> Tensor:
    """The row's own point."""
    return point.place


def place_of_the_neighbour(point: Point) -> Tensor:
    """The point of the row before: of the same distribution, but of no use."""
    return point.place.roll(1, 0)


def close(point: Point, action: Action) -> Tensor:
    """−(a − u² + v)²."""
    u, v = point.place.unbind(-1)
    return -(action.value[:, 0] - u.square() + v).square()


def squared_target(seen: object = place) -> Rung:
    """One step, then another point."""
    return Rung(
        state=lambda: Bundle("point", [Point], systems={RESET: [system(draw_point)]}),
        observations=lambda: {"place": term(seen)},  # type: ignore[arg-type]
        rewards=lambda: {"close": term(close)},
        terminations=lambda: ends_after(1),
    )


def test_the_policy_bends_to_what_it_sees():
    trained = squared_target().learn(40, horizon=16)
    assert squared_target().score(trained, steps=1) > 0.05 * BEST_LINE


def test_a_policy_without_hidden_layers_reaches_the_best_line_and_no_more():
    trained = squared_target().learn(40, horizon=16, hidden=())
    assert squared_target().score(trained, steps=1, hidden=()) == pytest.approx(BEST_LINE, rel=0.1)


def test_the_observation_of_another_row_is_worth_no_more_than_none():
    rung = squared_target(place_of_the_neighbour)
    trained = rung.learn(40, horizon=16)
    assert rung.score(trained, steps=1) == pytest.approx(BEST_CONSTANT, rel=0.1)
