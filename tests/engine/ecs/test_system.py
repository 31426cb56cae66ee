"""Registering terms and systems, and fusing many terms into one system."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from engine import BuildError, Bundle, Rng, Scene, SceneError, Terms, World, Write, build, fuse, system, table, term
from tests.engine.toy import (
    TICK,
    Distance,
    Done,
    Place,
    Seen,
    complaint,
    far,
    finish,
    look,
    move,
    position,
    restart,
    toy,
    toy_systems,
)


def refusal(action: Callable[[], Any]) -> str:
    with pytest.raises(BuildError) as caught:
        action()
    return str(caught.value)


def scaled(place: Place, *, factor: float) -> Tensor:
    """Scale the place."""
    return factor * place.x


def random(rng: Rng) -> Tensor:
    """Draw."""
    return torch.rand(1, generator=rng)


def nosy(everything: World) -> Tensor:
    """See everything."""
    return torch.zeros(1)


def test_keywords_of_a_term_are_constants_or_settings():
    made = term(far, scale=2.0, weight=0.5, noise=0.1)
    assert made.constants == {"scale": 2.0}
    assert made.settings == {"weight": 0.5, "noise": 0.1}


def test_term_without_its_constant_is_refused():
    assert refusal(lambda: term(scaled, weight=1.0)) == "Term `scaled` needs factor; pass it to term(scaled, ...)."


@pytest.mark.parametrize(("function", "name"), [(random, "rng"), (nosy, "everything")])
def test_term_only_reads(function: Callable[..., Tensor], name: str):
    assert refusal(lambda: term(function)) == f"Term `{function.__name__}` takes {name}; a term only reads."


def test_defaults_of_a_system_are_its_constants():
    assert system(finish).constants == {"limit": 1.0}
    assert system(finish, limit=3.0).constants == {"limit": 3.0}


def test_unknown_constant_names_near_misses():
    assert refusal(lambda: system(finish, limits=1.0)) == (
        "System `finish` has no constant 'limits'; it has limit. Did you mean limit?"
    )
    assert refusal(lambda: system(restart, limit=1.0)) == "System `restart` has no constant 'limit'; it has none."


def needy(place: Write[Place], *, low: float, high: float) -> None:
    """Need two constants."""


def test_missing_constants_are_named():
    assert (
        refusal(lambda: system(needy, name="greedy"))
        == "System `greedy` needs high, low; pass it to system(greedy, ...)."
    )


def lazily(place: Place) -> Iterator[None]:
    """Never run."""
    yield


def test_generator_is_refused():
    assert (
        refusal(lambda: system(lazily)) == "System `lazily` is a generator; a system runs to its end when it is called."
    )


def test_registrations_of_one_function_do_not_share_constants():
    one, two = system(finish), system(finish)
    one.constants["limit"] = 5.0
    assert two.constants == {"limit": 1.0}


def test_access_of_a_fused_system_is_the_union():
    fused = fuse(look, {"position": term(position), "far": term(far)})
    assert fused.reads == (Place, Distance)
    assert fused.writes == (Seen,)


def test_only_a_combiner_fuses():
    assert refusal(lambda: fuse(restart, {})) == "`restart` cannot fuse terms: give it a parameter of type Terms."


WEIGHT = {"weight": float}


def weigh(values: Terms, seen: Write[Seen]) -> None:
    """Fill the columns with the weights of the terms that have one."""
    for i, weight in enumerate(values.setting("weight", 1.0)):
        seen.value[:, i].fill_(weight)


def test_combiner_reads_the_settings_of_its_terms():
    simulation = build(
        toy(
            {
                **toy_systems(),
                "OBSERVE": [fuse(weigh, {"position": term(position), "far": term(far, weight=2)}, settings=WEIGHT)],
            }
        )
    )
    simulation.run()
    assert_close(simulation.world[Seen].value[0, :2], torch.tensor([1.0, 2.0]))


def test_setting_that_the_combiner_does_not_read_is_refused_with_near_misses():
    assert refusal(lambda: fuse(weigh, {"far": term(far, weigth=2)}, settings=WEIGHT)) == (
        "Term `far` of `weigh` has no setting 'weigth', so weigth=2 has no effect. It has scale, weight. "
        "Did you mean weight?"
    )
    assert "has no setting 'weight'" in refusal(lambda: fuse(weigh, {"far": term(far, weight=2)}))


def test_settings_are_set_with_the_type_that_the_combiner_declares():
    def weighed() -> Scene:
        terms = {"position": term(position), "far": term(far, weight=2)}
        return toy({**toy_systems(), "OBSERVE": [fuse(weigh, terms, settings=WEIGHT)]})

    simulation = build(weighed(), overrides={"toy.weigh.far.weight": "0.5"})
    simulation.run()
    assert_close(simulation.world[Seen].value[0, :2], torch.tensor([1.0, 0.5]))
    with pytest.raises(SceneError) as error:
        build(weighed(), overrides={"toy.weigh.far.weight": "heavy"})
    assert str(error.value) == "toy.weigh.far.weight takes float, but was given 'heavy'. It is 2 now."


def test_fused_terms_see_the_values_of_the_moment():
    simulation = build(toy())
    simulation.run(3)
    world = simulation.world
    expected = torch.cat([world[Place].x, world[Place].x.norm(dim=-1, keepdim=True)], -1)
    assert_close(world[Seen].value, expected)


def test_term_whose_component_is_missing_is_named_with_the_fused_system():
    empty = Bundle("b", [Place, Seen], systems={"OBSERVE": [fuse(look, {"far": term(far)})]}, axes={"seen": 1})
    assert complaint(Scene([table("t", rows=1)], [empty], TICK)) == (
        "BuildError: No table has everything that `look` touches. The closest is 't', which lacks Distance. "
        "Add the bundle that brings it."
    )


def test_may_sync_and_name_are_kept():
    made = system(move, name="walk", may_sync="a simulator")
    assert (made.name, made.may_sync, made.when, made.after, dict(made.tables)) == (
        "walk",
        "a simulator",
        None,
        None,
        {},
    )
    assert made.writes and Done not in made.reads


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"a": torch.zeros(3), "b": torch.zeros(3, 2)},
            "Term `b` returned float32 of shape (3, 2); its system takes one",
        ),
        ({"a": torch.zeros(3, 2)}, "Term `a` returned float32 of shape (3, 2)"),
        ({"a": torch.zeros(2), "b": torch.zeros(2)}, "Term `a` returned float32 of shape (2,)"),
    ],
)
def test_a_term_whose_value_does_not_fit_is_named(values, message):
    terms = Terms([(name, lambda value=value: value, {}) for name, value in values.items()])
    out = torch.ones(3, len(values))
    with pytest.raises(BuildError, match=re.escape(message)):
        terms.stack(out)
    assert out.tolist() == [[1.0] * len(values)] * 3


def test_a_number_where_a_truth_is_asked_for_is_named():
    terms = Terms([("over", lambda: torch.ones(3), {})])
    with pytest.raises(
        BuildError, match=r"Term `over` returned float32 of shape \(3,\); its system takes one bool for each row"
    ):
        terms.stack(torch.zeros(3, 1, dtype=torch.bool))


def test_values_are_stacked_in_order():
    out = torch.zeros(2, 2)
    Terms([("a", lambda: torch.tensor([1.0, 2.0]), {}), ("b", lambda: torch.tensor([True, False]), {})]).stack(out)
    assert out.tolist() == [[1.0, 1.0], [2.0, 0.0]]
