"""Imagination: part of the tick, run on imagined rows, which are other instances of the same components.

A resource of a bundle declares it; `build` binds and proves it. Imagined rows begin from given values of some components,
as many as wanted, and may carry gradients. Nothing is written into a table, and whoever writes gets fresh tensors, so that
what was read before stays as it was. Systems that nothing in the next step depends on judge all steps at once, at the end.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import torch
from torch import Tensor

from engine.ecs.access import Signature, Terms
from engine.ecs.binding import Key, accesses
from engine.ecs.bundle import Bundle
from engine.ecs.check import check_schedule
from engine.ecs.component import Kind, assemble, constant, info, kind_of, make, resource
from engine.ecs.condition import FirstTick
from engine.ecs.schedule import Entry, Schedule
from engine.ecs.system import System
from engine.ecs.world import World
from engine.errors import BuildError

State = Mapping[type, Mapping[str, Tensor]]
Replaced = Mapping[type, Callable[[World], Any]]


@resource
class Imagination:
    """Which systems run on imagined rows, and from what those begin.

    Of the systems in `phases` that run always, and of the caches that `enter` derives for rows that begin, those are imagined
    on which one of the components `wanted` depends; `systems` by phase are imagined only. `given`: what rows begin with.
    `replaces`: resources that they see in place of the world's, made from it. Systems named in `again` run in each
    step, where with such a resource they may leave out (NaN) what nobody reads before the end, and once more on all steps
    before those are judged, with the resources of `judged_by`. `unknown`: components that nothing imagined tells, each with
    the reason. `streams` names sets of random streams, one for each thread that imagines. `cure` ends every finding.
    """

    wanted: tuple[type, ...] = constant()
    given: tuple[type, ...] = constant()
    phases: tuple[str, ...] = constant()
    enter: tuple[str, ...] = constant()
    systems: Mapping[str, Sequence[System]] = constant(factory=dict)
    replaces: Replaced = constant(factory=dict)
    again: tuple[str, ...] = constant(default=())
    judged_by: Replaced = constant(factory=dict)
    unknown: Mapping[type, str] = constant(factory=dict)
    streams: tuple[str, ...] = constant(default=("imagined",))
    cure: str = constant(default="")
    schedule: Schedule = constant(init=False)
    resources: dict[type, Any] = constant(init=False)
    judging: dict[type, Any] = constant(init=False)
    judges: frozenset[int] = constant(init=False)
    table: str = constant(init=False)

    def bind(self, schedule: Schedule, bundle: Bundle, table: str) -> None:
        """Choose the imagined systems and prove them; raises BuildError with every finding, one a line."""
        world, tick = schedule.world, schedule.tick
        self.table, self.resources = table, {cls: make(world) for cls, make in self.replaces.items()}
        self.judging = {**self.resources, **{cls: make(world) for cls, make in self.judged_by.items()}}
        known = [e for e in schedule.entries if e.table == table and e.bundle != bundle.name]
        begin = [e for e in known if e.phase in self.enter and all(_lifetime(cls) == "derived" for _, cls in e.writes)]
        run = [e for e in known if e.phase in self.phases and e.when is None]
        own = [
            Entry(each, bundle.name, phase, table, partial(each.function), None, *accesses(each, table))
            for phase, group in self.systems.items()
            for each in group
        ]
        entries = self._needed([*own, *run, *(attrs.evolve(e, when=FirstTick(), asks=()) for e in begin)])
        order = tuple(p for p in tick.phases if p in {*self.phases, *self.enter, *self.systems})
        repeat = tuple(p for p in tick.repeat if p in order)
        cycle = attrs.evolve(tick, phases=order, repeat=repeat, entry=self.enter[0], finished=None, shares={})
        self.schedule = Schedule(world, cycle, schedule.repeat, entries)
        carried = self._carried(entries)
        self.judges = frozenset(id(e) for e in entries if id(e) not in carried)
        findings = self._findings(entries)
        try:
            check_schedule(self.schedule)
        except BuildError as error:
            findings += str(error).splitlines()
        for e in (each for each in entries if each.system.signature.rng):
            for stream in self.streams:
                world.generator(f"{e.bundle}.{e.name}/{stream}")
        if findings:
            raise BuildError("\n".join(f"In imagination: {text} {self.cure}".rstrip() for text in findings))

    def _needed(self, entries: list[Entry]) -> list[Entry]:
        """The entries on which a wanted component depends, in order."""
        wanted: set[Key] = {(self.table, cls) for cls in self.wanted}
        kept: set[int] = set()
        while more := [e for e in entries if id(e) not in kept and wanted.intersection(e.writes)]:
            kept.update(id(e) for e in more)
            wanted.update(key for e in more for key in (*e.reads, *e.writes))
        return [e for e in entries if id(e) in kept]

    def _carried(self, entries: list[Entry]) -> set[int]:
        """Entries that the next step depends on: they write state that another one reads, or lead to one that does."""
        steps = [e for e in entries if e.when is None]
        shared = {
            key
            for e in steps
            for key in e.writes
            if _lifetime(key[1]) == "state" and any(key in (*o.reads, *o.writes) for o in steps if o is not e)
        }
        found = {id(e) for e in entries if e.when is not None or shared.intersection(e.writes)}
        while True:
            read = {key for e in entries if id(e) in found for key in (*e.reads, *e.writes)}
            more = {id(e) for e in entries if read.intersection(e.writes)} - found
            if not more:
                return found
            found |= more

    def _findings(self, entries: list[Entry]) -> list[str]:
        """Who uses state that rows do not begin with, writes what belongs to real rows, or reads what nothing tells.

        What a system adds up for itself begins from its fill.
        """
        found: dict[str, None] = {}
        for e in entries:
            for key in (*e.reads, *e.writes):
                cls, own = (
                    key[1],
                    key in e.writes and all(o.system is e.system for o in entries if key in (*o.reads, *o.writes)),
                )
                if kind_of(cls) is Kind.RESOURCE and key in e.writes and cls not in self.resources:
                    found[f"{e.place} writes the resource {cls.__name__}, which belongs to the real rows."] = None
                if _lifetime(cls) == "state" and cls not in self.given and not own:
                    found[f"{e.place} uses {cls.__name__}, which imagined rows do not begin with."] = None
            terms = {f"Term `{name}` of {e.place}": each.signature for name, each in e.system.terms.items()}
            for where, signature in {e.place: e.system.signature, **terms}.items():
                for cls in set(signature.reads).intersection(self.unknown):
                    found[f"{where} reads {cls.__name__}: {self.unknown[cls]}."] = None
        return list(found)

    def begin(self, state: State, stream: str = "imagined") -> "Imagined":
        """Rows that begin from `state`, columns of (rows, ...) by component; draws come from that one of `streams`."""
        begun = Imagined(self, stream, {(self.table, cls): assemble(cls, state[cls]) for cls in self.given})
        for e in self.schedule.plan(begun=False):
            begun.call(e, begun.present)
        return begun


@attrs.define(eq=False)
class Imagined:
    """Imagined rows: `present` is what their components are now. Take steps, then let them be judged."""

    imagination: Imagination
    stream: str
    present: dict[Key, Any]
    _seen: list[tuple[Entry, dict[Key, list[Any]]]] = attrs.field(factory=list, init=False)
    _written: set[Key] = attrs.field(factory=set, init=False)  # in this step

    def __getitem__(self, cls: type) -> Any:
        return self.present[self.imagination.table, cls]

    def step(self) -> None:
        """One imagined tick."""
        place, imagination = 0, self.imagination
        self._written.clear()
        for e in imagination.schedule.plan():
            if e.when is not None:
                continue
            judged = id(e) in imagination.judges
            if judged or e.name in imagination.again:
                if place == len(self._seen):
                    self._seen.append((e, {}))
                for key in (*e.reads, *(k for k in e.writes if _lifetime(k[1]) == "state" or k in self._written)):
                    if key in self.present:
                        self._seen[place][1].setdefault(key, []).append(self.present[key])
                place += 1
            if not judged:
                self.call(e, self.present)

    def judge(self) -> dict[type, Any]:
        """What the judging systems make of all steps so far, by component: (steps × rows, ...), the first step's rows first."""
        stacks: dict[tuple[int, ...], Any] = {}
        made: dict[Key, Any] = {}
        self._written.clear()
        for e, seen in self._seen:
            present = {key: made[key] for key in (*e.reads, *e.writes) if key in made}
            for key, instances in seen.items():
                known = tuple(map(id, instances))
                if key not in made and known not in stacks:
                    columns = {n: torch.cat([getattr(each, n) for each in instances]) for n in info(key[1]).columns}
                    stacks[known] = assemble(key[1], columns)
                present.setdefault(key, stacks.get(known))
            self.call(e, present, judging=True)
            made.update({key: present[key] for key in e.writes if key in present})
        return {cls: instance for (_, cls), instance in made.items()}

    def call(self, entry: Entry, present: dict[Key, Any], *, judging: bool = False) -> None:
        """Run one system on the components of `present`, and put there what it wrote."""
        each, table, world = entry.system, self.imagination.table, self.imagination.schedule.world
        resources = {**world.resources, **(self.imagination.judging if judging else self.imagination.resources)}

        def find(signature: Signature) -> dict[str, Any]:
            return {p.name: present.get((table, p.type), resources.get(p.type)) for p in signature.parameters}

        given, rows = find(each.signature), len(next(iter(vars(next(iter(present.values()))).values())))
        written = [(p.name, (table, p.type)) for p in each.signature.parameters if (table, p.type) in entry.writes]
        for name, key in written:
            given[name] = self._fresh(key, given[name], rows)
        if each.signature.rng:
            given[each.signature.rng] = world.generator(f"{entry.bundle}.{entry.name}/{self.stream}")
        if each.signature.terms:
            terms = (
                (n, partial(t.function, **find(t.signature), **t.constants), t.settings) for n, t in each.terms.items()
            )
            given[each.signature.terms] = Terms(list(terms))
        each.function(**given, **each.constants)
        present.update({key: given[name] for name, key in written})
        self._written.update(key for _, key in written)

    def _fresh(self, key: Key, before: Any, rows: int) -> Any:
        """Columns to write into: copies of what was there; of what is derived or signalled anew, as it is first made."""
        cls, lifetime, columns = key[1], _lifetime(key[1]), info(key[1]).columns
        if before is not None and (lifetime == "state" or (lifetime == "signal" and key in self._written)):
            return assemble(cls, {name: getattr(before, name).clone() for name in columns})
        world = self.imagination.schedule.world
        return make(cls, rows, world.tables[self.imagination.table].axes, device=world.device)


def _lifetime(cls: type) -> str:
    return info(cls).lifetime if kind_of(cls) is Kind.COMPONENT else "resource"
