"""The tick: an ordered list of systems, bound to their data once, and run."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import attrs
import torch

from engine.access import Signature, Terms
from engine.bundle import Bundle, System
from engine.component import Kind, kind_of
from engine.errors import BuildError, did_you_mean, listing
from engine.world import World


@attrs.frozen
class Tick:
    """Phases in order. The `repeat` group runs several times; the first tick runs `begin`, then enters at `entry`."""

    phases: tuple[str, ...]
    repeat: tuple[str, ...] = ()
    begin: str = "BEGIN"
    entry: str | None = None

    def __attrs_post_init__(self) -> None:
        places = [self.phases.index(p) for p in self.repeat if p in self.phases]
        if len(places) != len(self.repeat) or places != list(range(places[0], places[0] + len(places)) if places else []):
            raise BuildError(f"The repeat group {self.repeat} is not a run of consecutive phases of {self.phases}.")
        if self.entry is not None and self.entry not in self.phases:
            raise BuildError(f"The entry phase '{self.entry}' is not one of {listing(self.phases)}.")


@attrs.define(eq=False)
class Entry:
    """One system at its place in the tick, on one table, with its arguments bound."""

    system: System
    bundle: str
    phase: str
    table: str
    call: Callable[[], None]
    seconds: float = 0.0
    calls: int = 0

    @property
    def name(self) -> str:
        """The system's name."""
        return self.system.name

    @property
    def place(self) -> str:
        """`name` (PHASE), as errors say it."""
        return f"`{self.system.name}` ({self.phase})"


def arrange(tick: Tick, bundles: Sequence[Bundle], skip: Sequence[str] = ()) -> list[tuple[str, str, System]]:
    """(phase, bundle, system) in order: phases, then bundles, then declaration; `after` moves a system.

    Raises BuildError for an unknown phase, or an `after` that names nobody in the same phase.
    """
    known = {tick.begin, *tick.phases}
    for phase in skip:
        if phase not in known:
            raise BuildError(f"--skip names phase '{phase}', which the tick does not have: {listing(known)}.{did_you_mean(phase, known)}")
    for bundle in bundles:
        for phase in bundle.systems:
            if phase not in known:
                raise BuildError(
                    f"Bundle '{bundle.name}' puts systems in phase '{phase}', which the tick does not have. "
                    f"Its phases: {listing(tick.phases)}.{did_you_mean(phase, known)}"
                )
    order: list[tuple[str, str, System]] = []
    for phase in (tick.begin, *tick.phases):
        if phase in skip:
            continue
        placed = [(phase, b.name, s) for b in bundles for s in b.systems.get(phase, ())]
        for item in [entry for entry in placed if entry[2].after]:
            target = item[2].after
            others = [entry for entry in placed if entry[2].name == target and entry is not item]
            if not others:
                names = [s.name for _, _, s in placed]
                raise BuildError(
                    f"`{item[2].name}` ({phase}) wants to run after `{target}`, which is not in {phase}. "
                    f"There: {listing(names)}.{did_you_mean(str(target), names)}"
                )
            placed.remove(item)
            placed.insert(placed.index(others[-1]) + 1, item)
        order += placed
    return order


def tables_for(system: System, world: World) -> list[str]:
    """Tables that have all components of a system (its terms' included); BuildError naming the nearest if none."""
    needed = [t for t in (*system.reads, *system.writes) if kind_of(t) is Kind.COMPONENT]
    redirected = {p.type for p in system.signature.parameters if p.name in system.tables}
    own = [t for t in needed if t not in redirected]
    if not own:
        return ["" if not system.tables else next(iter(system.tables.values()))]
    homes = [name for name in world.tables if all((name, t) in world.components for t in own)]
    if not homes:
        best = max(world.tables, key=lambda name: sum((name, t) in world.components for t in own))
        lacks = [t.__name__ for t in own if (best, t) not in world.components]
        raise BuildError(
            f"No table has everything that `{system.name}` touches. The closest is '{best}', which lacks "
            f"{listing(lacks)}. Add the bundle that brings it."
        )
    return homes


def bind(system: System, table: str, world: World, name: str) -> Callable[[], None]:
    """The system as a call without arguments, on one table."""

    def arguments(signature: Signature) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for parameter in signature.parameters:
            if kind_of(parameter.type) is Kind.RESOURCE:
                values[parameter.name] = world.resource(parameter.type)
            else:
                values[parameter.name] = world.component(parameter.type, system.tables.get(parameter.name, table))
        return values

    values = arguments(system.signature)
    if system.signature.rng:
        values[system.signature.rng] = world.generator(name)
    if system.signature.world:
        values[system.signature.world] = world
    if system.signature.terms:
        bound = [
            (key, partial(each.function, **arguments(each.signature), **each.constants), each.settings)
            for key, each in system.terms.items()
        ]
        values[system.signature.terms] = Terms(bound)
    return partial(system.function, **values, **system.constants)


@attrs.define(eq=False)
class Schedule:
    """The bound tick. `run()` is one tick; `steps()` yields each entry just before it runs, for debuggers."""

    world: World
    tick: Tick
    repeat: int
    entries: list[Entry]
    after_entry: list[Callable[[Entry], None]] = attrs.field(factory=list)
    around: Callable[[Entry], None] | None = None

    def plan(self, begun: bool = True) -> list[Entry]:
        """Entries of one tick in the order they run, the repeat group unrolled; the first tick when not `begun`."""
        by_phase: dict[str, list[Entry]] = {}
        for entry in self.entries:
            by_phase.setdefault(entry.phase, []).append(entry)
        phases: list[str] = []
        if not begun:
            start = self.tick.phases.index(self.tick.entry) if self.tick.entry else 0
            phases = [self.tick.begin, *self.tick.phases[start:]]
            if self.tick.entry and any(p in phases for p in self.tick.repeat):
                raise BuildError("The entry phase lies before the repeat group; enter after it.")
        else:
            for phase in self.tick.phases:
                if phase in self.tick.repeat:
                    if phase == self.tick.repeat[0]:
                        phases += list(self.tick.repeat) * self.repeat
                else:
                    phases.append(phase)
        return [entry for phase in phases for entry in by_phase.get(phase, ())]

    def steps(self) -> Iterator[Entry]:
        """Run one tick, yielding each entry before it runs; conditions are asked at that moment."""
        clock = self.world.clock
        plan = self.plan(clock.begun)
        if clock.begun:
            clock.tick += 1
        for entry in plan:
            when = entry.system.when
            if when is not None and not when.holds(self.world):
                continue
            yield entry
            with torch.no_grad():
                start = perf_counter()
                if self.around is None:
                    entry.call()
                else:
                    self.around(entry)
                entry.seconds += perf_counter() - start
                entry.calls += 1
            for hook in self.after_entry:
                hook(entry)
        clock.begun = True

    def run(self, ticks: int = 1) -> None:
        """Run whole ticks."""
        for _ in range(ticks):
            for _entry in self.steps():
                pass


def make_schedule(world: World, tick: Tick, bundles: Sequence[Bundle], skip: Sequence[str] = ()) -> Schedule:
    """Bind every system to its tables; raises BuildError as `arrange` and `tables_for` do."""
    repeats = {b.name: b.repeat for b in bundles if b.repeat is not None}
    if len(set(repeats.values())) > 1:
        raise BuildError(f"Bundles disagree on how often {tick.repeat} repeats: {repeats}.")
    entries = []
    for phase, bundle, each in arrange(tick, bundles, skip):
        for home in tables_for(each, world):
            entries.append(Entry(each, bundle, phase, home, bind(each, home, world, f"{bundle}.{each.name}")))
    return Schedule(world, tick, next(iter(repeats.values()), 1), entries)


@attrs.frozen
class Constant:
    """One place that holds a constant: a dict, its key, and the declared type of the value."""

    holder: dict[str, Any]
    key: str
    type: Any


def addresses(bundles: Sequence[Bundle]) -> dict[str, list[Constant]]:
    """Every constant by address `bundle.system.constant` or `bundle.system.term.constant`.

    A system that stands in the tick twice has one address and several places.
    """
    found: dict[str, list[Constant]] = {}
    for bundle in bundles:
        for each in (s for group in bundle.systems.values() for s in group):
            start = f"{bundle.name}.{each.name}"
            for key in each.constants:
                kind = each.signature.constant_types.get(key, Any)
                found.setdefault(f"{start}.{key}", []).append(Constant(each.constants, key, kind))
            for label, part in each.terms.items():
                for key in part.constants:
                    kind = part.signature.constant_types.get(key, Any)
                    found.setdefault(f"{start}.{label}.{key}", []).append(Constant(part.constants, key, kind))
                for key, value in part.settings.items():
                    found.setdefault(f"{start}.{label}.{key}", []).append(Constant(part.settings, key, type(value)))
    return found
