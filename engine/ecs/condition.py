"""Conditions: host-side tests whether a system runs in this tick. They depend only on what a snapshot holds."""

from typing import Any, Protocol

import attrs
import torch

from engine.ecs.component import info
from engine.ecs.world import World
from engine.errors import BuildError, did_you_mean, listing


class Condition(Protocol):
    """Anything with a label and a test; two conditions are the same when they compare equal."""

    @property
    def label(self) -> str:
        """How explain and errors name it."""
        ...

    def holds(self, world: World) -> bool:
        """Whether the system runs in this tick."""
        ...


@attrs.frozen
class Every:
    """See `every`."""

    ticks: int

    @property
    def label(self) -> str:
        """every(n)"""
        return f"every({self.ticks})"

    def holds(self, world: World) -> bool:
        """True on ticks n, 2n, … but for the first, whichever number it has."""
        return bool(world.clock.begun and world.clock.tick % self.ticks == 0)


@attrs.frozen
class FirstTick:
    """See `first_tick`."""

    label: str = "first_tick()"

    def holds(self, world: World) -> bool:
        """True until the first tick is over; it is tick 0, unless the clock was put to another before."""
        return not world.clock.begun


@attrs.frozen
class AnyRow:
    """See `any_row`."""

    component: type
    column: str
    table: str | None = None

    @property
    def label(self) -> str:
        """any_row(Component.column)"""
        return f"any_row({self.component.__name__}.{self.column})"

    def holds(self, world: World) -> bool:
        """True when some row is set; on a GPU always true, where asking would stall."""
        mask = getattr(world.component(self.component, self.table), self.column)
        if mask.device.type != "cpu":
            return True
        key, version = id(mask), mask._version
        known = world.condition_cache.get(key)
        if known is None or known[0] != version:
            known = (version, bool(mask.any()))
            world.condition_cache[key] = known
        return bool(known[1])


def every(ticks: int) -> Every:
    """True on ticks n, 2n, 3n, …; never in the first tick (0)."""
    if isinstance(ticks, bool) or not isinstance(ticks, int) or ticks < 1:
        raise BuildError(f"every({ticks!r}) needs a whole number of at least 1 tick.")
    return Every(ticks)


def first_tick() -> FirstTick:
    """True in the first tick of a run only."""
    return FirstTick()


def any_row(component: type, column: str, table: str | None = None) -> AnyRow:
    """True when any row of a boolean column is set. On a GPU it is always true: asking would wait."""
    columns = info(component).columns
    if column not in columns:
        raise BuildError(
            f"any_row: {component.__name__} has no column '{column}'; it has {listing(columns)}.{did_you_mean(column, columns)}"
        )
    if columns[column].dtype != torch.bool:
        raise BuildError(
            f"any_row: {component.__name__}.{column} is {columns[column].dtype}; it must be a mask (torch.bool)."
        )
    return AnyRow(component, column, table)


def bind_condition(when: Any, table: str, world: World, system: str) -> Any:
    """`when` with its table filled in: the system's own if that has the component, else the only one that has.

    Raises BuildError when no table has the component, or several that the system does not run on.
    """
    if not isinstance(when, AnyRow):
        return when
    homes = [name for name, cls in world.components if cls is when.component]
    place = when.table or (table if table in homes or len(homes) != 1 else homes[0])
    if place in homes:
        return attrs.evolve(when, table=place)
    asked = f"`{system}` runs under {when.label}, but {when.component.__name__} is in"
    if not homes:
        raise BuildError(f"{asked} no table. Add the bundle that brings it.")
    raise BuildError(f"{asked} {listing(homes)}; say which: any_row(..., table=).")
