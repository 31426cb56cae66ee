"""Fourth rung: a time limit is not the end of the world. What the critic believes, in closed form.

Every episode has a colour, 0 or 1, drawn when it begins, and earns it in every step whatever is done. Where
a time limit cuts it off, the future that it does not see goes on as before: colour / (1 − γ). Where it
terminates there is none: with s steps left, colour × (1 − γ^s) / (1 − γ).
"""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from components.episode import Done, Episode
from components.learning import Policy
from engine import Bundle, Rng, Write, column, component, put_rows, system, term
from systems.tick import RESET
from tests.learning.ladder import Rung, ends_after

GAMMA = 0.8


@component
class Colour:
    """What each step of the episode earns."""

    value: Tensor = column()


def draw_colour(done: Done, rng: Rng, colour: Write[Colour]) -> None:
    """0 or 1 for every new episode."""
    put_rows(colour.value, done.ended, torch.randint(0, 2, colour.value.shape, generator=rng))


def shown(colour: Colour) -> Tensor:
    """The colour."""
    return colour.value.unsqueeze(-1)


def moment(episode: Episode, *, steps: int) -> Tensor:
    """How many steps there have been, one number for each."""
    return one_hot(episode.step.clamp(max=steps), steps + 1).to(torch.float32)


def earned(colour: Colour) -> Tensor:
    """The colour, in every step."""
    return colour.value


def believed(steps: int, kind: str, seen: list[list[float]], *, sees_time: bool = False) -> list[float]:
    """What the critic of a trained policy says of some observations."""
    views = {"shown": term(shown)}
    if sees_time:
        views["moment"] = term(moment, steps=steps)
    rung = Rung(
        state=lambda: Bundle("colour", [Colour], systems={RESET: [system(draw_colour)]}),
        observations=lambda: views,
        rewards=lambda: {"earned": term(earned)},
        terminations=lambda: ends_after(steps, kind),
    )
    constants = {"gamma": GAMMA, "desired_kl": 0.0, "learning_rate": 5e-3, "value_clip": float("inf")}
    trained = rung.learn(40, horizon=8, **constants)
    values: list[float] = trained.world[Policy].critic(torch.tensor(seen)).tolist()
    return values


@pytest.mark.parametrize("steps", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_what_is_cut_off_goes_on_from_its_own_last_state(steps: int):
    black, white = believed(steps, "time_limit", [[0.0], [1.0]])
    assert white == pytest.approx(1 / (1 - GAMMA), abs=0.05)
    assert black == pytest.approx(0.0, abs=0.05)


def test_what_terminates_has_no_future():
    black, white = believed(1, "failure", [[0.0], [1.0]])
    assert white == pytest.approx(1.0, abs=0.05)
    assert black == pytest.approx(0.0, abs=0.05)


def test_value_counts_the_steps_that_are_left():
    seen = [[1.0, *(float(i == step) for i in range(5))] for step in range(4)]
    left = [(1 - GAMMA ** (4 - step)) / (1 - GAMMA) for step in range(4)]
    assert left == pytest.approx([2.952, 2.44, 1.8, 1.0])
    assert believed(4, "failure", seen, sees_time=True) == pytest.approx(left, abs=0.05)
