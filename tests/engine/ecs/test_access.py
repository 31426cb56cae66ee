"""Signatures become lists of accesses."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from engine import BuildError, Clock, Rng, Terms, World, Write
from engine.ecs.access import read_signature
from tests.engine.toy import Distance, Done, Place, Wind, restart


def refusal(function: Callable[..., Any]) -> str:
    with pytest.raises(BuildError) as caught:
        read_signature(function)
    return str(caught.value)


def everything(
    place: Place, wind: Wind, rng: Rng, values: Terms, world: World, distance: Write[Distance], clock: Write[Clock],
    *, limit: float = 2.0, name: str,
) -> None:  # fmt: skip
    """Take one of each."""


def test_every_kind_of_parameter_is_told_apart():
    signature = read_signature(everything)
    assert signature.reads == (Place, Wind)
    assert signature.writes == (Distance, Clock)
    assert (signature.rng, signature.terms, signature.world) == ("rng", "values", "world")
    assert dict(signature.constants) == {"limit": 2.0}
    assert signature.required == {"name"}
    assert dict(signature.constant_types) == {"limit": float, "name": str}


def test_reading_and_writing_are_in_the_type():
    signature = read_signature(restart)
    assert signature.reads == (Done,) and signature.writes == (Place,)


def test_closure_is_refused():
    memory = []

    def remembers(place: Place) -> None:
        memory.append(place)

    assert refusal(remembers) == (
        "'remembers' is a closure: it remembers memory from where it was made. "
        "A system or term has no memory of its own; pass it as a constant after `*`."
    )


def test_untyped_parameter_is_refused():
    def vague(place):  # type: ignore[no-untyped-def]
        """Say nothing."""

    assert refusal(vague) == "Parameter 'place' of 'vague' has no type; its type says what it touches."


def test_type_that_is_no_data_is_refused():
    def odd(place: int) -> None:
        """Take a number."""

    assert refusal(odd) == (
        "Parameter 'place' of 'odd' has type int, which is neither a component nor a resource. "
        "Decorate the class, or make the parameter a constant after `*`."
    )


def test_open_ended_signature_is_refused():
    def more(*places: Place) -> None:
        """Take any number."""

    def named(**places: Place) -> None:
        """Take any name."""

    assert refusal(more) == "'more' takes *places; a signature must name everything it touches."
    assert refusal(named) == "'named' takes **places; a signature must name everything it touches."


class Remembers:
    """An object with memory."""

    def __call__(self, place: Place) -> None:
        """Be called."""


@pytest.mark.parametrize("function", [functools.partial(restart), Remembers(), Remembers().__call__, torch.zeros])
def test_only_plain_functions_are_systems(function: Callable[..., Any]):
    assert refusal(function) == (
        f"{function!r} is not a plain function. A system or term is a function defined with `def`, "
        "whose signature says everything it touches."
    )


def test_terms_are_evaluated_in_order_when_asked():
    asked = []

    def evaluate(name: str) -> Tensor:
        asked.append(name)
        return torch.zeros(1)

    terms = Terms([(n, functools.partial(evaluate, n), {"weight": i}) for i, n in enumerate("ba")])
    assert terms.names == ("b", "a") and len(terms) == 2 and asked == []
    assert [name for name, _ in terms] == ["b", "a"] and asked == ["b", "a"]


def test_settings_of_terms_fall_back_to_the_default():
    terms = Terms([("a", lambda: torch.zeros(1), {"weight": 2.0}), ("b", lambda: torch.zeros(1), {})])
    assert terms.setting("weight", 1.0) == [2.0, 1.0]
    assert terms.setting("noise") == [None, None]
