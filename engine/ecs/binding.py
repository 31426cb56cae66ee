"""Binding: which tables a system runs on, and the system as a call without arguments on one of them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from engine.ecs.access import Parameter, Signature, Terms
from engine.ecs.component import Kind, kind_of
from engine.ecs.system import System, Term
from engine.ecs.world import World
from engine.errors import BuildError, did_you_mean, listing

Key = tuple[str, type]
"""One piece of data: (table, component), or ("", resource)."""


def parameters_of(system: System) -> list[Parameter]:
    """Every declared access of a system, its terms' included."""
    return [*system.signature.parameters, *(p for each in system.terms.values() for p in each.signature.parameters)]


def accesses(system: System, table: str) -> tuple[tuple[Key, ...], tuple[Key, ...]]:
    """What a system on that table only reads, and what it writes."""

    def key(parameter: Parameter) -> Key:
        if kind_of(parameter.type) is Kind.RESOURCE:
            return ("", parameter.type)
        return (system.tables.get(parameter.name, table), parameter.type)

    writes = dict.fromkeys(key(p) for p in parameters_of(system) if p.writes)
    reads = dict.fromkeys(key(p) for p in parameters_of(system) if key(p) not in writes)
    return tuple(reads), tuple(writes)


def tables_for(system: System, world: World) -> list[str]:
    """Tables that have all components of a system (its terms' included); [""] when it touches only resources.

    Raises BuildError naming the nearest table if no table does, and for a `tables=` that cannot be followed.
    """
    components = [p for p in parameters_of(system) if kind_of(p.type) is Kind.COMPONENT]
    _check_redirects(system, components, world)
    own = list(dict.fromkeys(p.type for p in components if p.name not in system.tables))
    homes = [name for name in world.tables if all((name, t) in world.components for t in own)]
    if not own:
        homes = [next(iter(system.tables.values()), "")]
    if not homes:
        best = max(world.tables, key=lambda name: sum((name, t) in world.components for t in own))
        lacks = [t.__name__ for t in own if (best, t) not in world.components]
        raise BuildError(
            f"No table has everything that `{system.name}` touches. The closest is '{best}', which lacks "
            f"{listing(lacks)}. Add the bundle that brings it."
        )
    for home in homes:
        _check_lengths(system, home, world)
    return homes


def _check_redirects(system: System, components: Sequence[Parameter], world: World) -> None:
    by_name = {p.name: p.type for p in components}
    for name, target in system.tables.items():
        start = f"`{system.name}` points '{name}' at table '{target}'"
        if name not in by_name:
            raise BuildError(f"{start}, but takes {listing(by_name) or 'no components'}.{did_you_mean(name, by_name)}")
        if target not in world.tables:
            raise BuildError(
                f"{start}, which the scene does not have: {listing(world.tables)}.{did_you_mean(target, world.tables)}"
            )
        if (target, by_name[name]) not in world.components:
            raise BuildError(f"{start}, which lacks {by_name[name].__name__}. Add the bundle that brings it.")


def _check_lengths(system: System, home: str, world: World) -> None:
    for name, target in system.tables.items():
        rows = world.tables[home].rows
        if world.tables[target].rows != rows:
            raise BuildError(
                f"`{system.name}` runs on table '{home}' ({rows} rows) but points '{name}' at table '{target}' "
                f"({world.tables[target].rows} rows); they must be equally long."
            )


def accessed(signature: Signature, table: str, world: World, tables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The components (of `table`, or of the one that `tables` says) and resources that a signature names."""
    values: dict[str, Any] = {}
    for parameter in signature.parameters:
        if kind_of(parameter.type) is Kind.RESOURCE:
            values[parameter.name] = world.resource(parameter.type)
        else:
            values[parameter.name] = world.component(parameter.type, (tables or {}).get(parameter.name, table))
    return values


def bind_term(each: Term, table: str, world: World) -> Callable[[], torch.Tensor]:
    """A term that no system fuses, as a call without arguments, on one table."""
    return partial(each.function, **accessed(each.signature, table, world), **each.constants)


def bind(system: System, table: str, world: World, name: str) -> Callable[[], None]:
    """The system as a call without arguments, on one table."""

    def arguments(signature: Signature) -> dict[str, Any]:
        return accessed(signature, table, world, system.tables)

    values = arguments(system.signature)
    if system.signature.rng:
        values[system.signature.rng] = world.generator(name)
    if system.signature.world:
        values[system.signature.world] = world
    if system.signature.terms:
        bound: list[tuple[str, Callable[[], torch.Tensor], Mapping[str, Any]]] = [
            (key, partial(each.function, **arguments(each.signature), **each.constants), each.settings)
            for key, each in system.terms.items()
        ]
        values[system.signature.terms] = Terms(bound)
    return partial(system.function, **values, **system.constants)
