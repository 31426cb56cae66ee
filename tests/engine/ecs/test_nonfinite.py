"""Terms that are not finite: noticed by name when they first are, and counted."""

import math

import torch
from torch import Tensor

from engine import Bundle, Clock, Scene, Simulation, Terms, Tick, Write, build, column, component, fuse, table, term
from engine.ecs.world import NonFinite
from engine.tools.audit import Audit


@component
class Sum:
    """What the terms come to."""

    parts: Tensor = column(3)


def steady(total: Sum) -> Tensor:
    """1 in every row."""
    return torch.ones(len(total.parts))


def broken(total: Sum, clock: Clock, *, value: float = math.nan, from_tick: int = 2) -> Tensor:
    """A number that is none in rows 1 and 2, from a tick on."""
    found = torch.zeros(len(total.parts))
    if clock.tick >= from_tick:
        found[1:3] = value
    return found


def whole(total: Sum) -> Tensor:
    """A whole number."""
    return torch.full((len(total.parts),), 7)


def add(values: Terms, total: Write[Sum]) -> None:
    """Put the values side by side."""
    values.stack(total.parts)
    assert values.finite(total.parts) == bool(total.parts.isfinite().all())


def made(**constants: float) -> Simulation:
    terms = {"steady": term(steady), "broken": term(broken, **constants), "whole": term(whole)}
    bundle = Bundle("b", [Sum], systems={"ADD": [fuse(add, terms)]})
    return build(Scene([table("t", rows=4)], [bundle], Tick(phases=("ADD",))))


def test_a_term_that_is_not_finite_is_noticed_once_and_counted_in_every_tick():
    for value in (math.nan, math.inf, -math.inf):
        simulation, noticed = made(value=value), list[NonFinite]()
        simulation.world.noticed.append(noticed.append)
        simulation.run(2)
        assert not noticed and not simulation.world.nonfinite
        simulation.run(3)
        (found,) = noticed
        assert simulation.world.nonfinite == {"b.add.broken": found}
        assert (found.system, found.term, found.tick, found.row, found.count) == ("b.add", "broken", 2, 1, 6)
        assert str(found.value) == str(value)


def test_a_term_too_large_to_be_squared_is_not_noticed():
    simulation = made(value=3e38)
    values = next(entry.terms for entry in simulation.schedule.entries)
    assert values is not None and not values.finite(torch.full((2,), 3e38))
    assert values.nonfinite(wait=True) == []


def test_terms_that_stay_finite_are_not_noticed():
    simulation = made(from_tick=100)
    simulation.run(10)
    assert simulation.world.nonfinite == {}


def test_ticks_that_are_run_again_are_not_counted_again():
    simulation = made()
    simulation.run(3)
    with simulation.schedule.unobserved():
        simulation.run(5)
    assert simulation.world.nonfinite["b.add.broken"].count == 2


def test_an_audit_finds_the_term_by_its_name():
    simulation = made(value=math.inf)
    audit = Audit(simulation.schedule)
    simulation.run(5)
    audit.detach()
    assert not simulation.world.noticed
    texts = {finding.text: finding.tick for finding in audit.findings}
    assert texts["The term `broken` of b.add is inf in row 1."] == 2
