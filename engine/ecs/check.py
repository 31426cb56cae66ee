"""Build-time proofs over the first tick and two more; every finding is one sentence that names its cure."""

from collections.abc import Iterable
from typing import Any

import attrs

from engine.ecs.binding import Key
from engine.ecs.component import Kind, info, kind_of
from engine.ecs.condition import Every, FirstTick
from engine.ecs.schedule import Entry, Schedule
from engine.ecs.world import Clock
from engine.errors import BuildError


def check_schedule(schedule: Schedule) -> None:
    """Raise BuildError with every finding, one a line: owners, races, the world, then freshness and signals.

    A fault is named once: of all readers of a stale cache or dead signal, and of all systems by which two bundles
    race, only the first is named.
    """
    owners = find_owners(schedule)
    contested = set(owners)
    findings = [
        *owners.values(),
        *find_races(schedule, contested),
        *find_early_views(schedule),
        *DataFlow(schedule, contested).findings(),
    ]
    if findings:
        raise BuildError("\n".join(findings))


def _lifetime(key: Key) -> str:
    return info(key[1]).lifetime if kind_of(key[1]) is Kind.COMPONENT else "state"


def find_owners(schedule: Schedule) -> dict[Key, str]:
    """Derived components with more than one writing system; one system may be scheduled as often as needed."""
    writers: dict[Key, dict[str, None]] = {}
    for entry in schedule.entries:
        for key in entry.writes:
            if _lifetime(key) == "derived":
                writers.setdefault(key, {})[entry.name] = None
    return {
        key: f"{key[1].__name__} is written by {' and '.join(f'`{n}`' for n in names)}; a derived component has one writer. "
        "Make one system write it, or make it an ordinary component."
        for key, names in writers.items()
        if len(names) > 1
    }


def find_races(schedule: Schedule, contested: set[Key]) -> list[str]:
    """Two bundles that touch the same data in one phase, one of them writing, must say `after=`."""
    findings: dict[tuple[str, ...], str] = {}
    for phase in (schedule.tick.begin, *schedule.tick.phases):
        entries = [e for e in schedule.entries if e.phase == phase]
        for i, first in enumerate(entries):
            for second in entries[i + 1 :]:
                if first.bundle == second.bundle or _ordered(entries, first, second):
                    continue
                shared = set(first.writes) & _touched(second) | _touched(first) & set(second.writes)
                if shared - contested:
                    names = sorted({cls.__name__ for _, cls in shared - contested})
                    text = (
                        f"`{first.name}` ({first.bundle}) and `{second.name}` ({second.bundle}) both touch "
                        f"{' and '.join(names)} in {phase}; only the order of bundles decides. Say `after=`."
                    )
                    findings.setdefault((phase, *sorted((first.bundle, second.bundle))), text)
    return list(findings.values())


def _touched(entry: Entry) -> set[Key]:
    return {*entry.reads, *entry.writes, *entry.asks}


def _ordered(entries: list[Entry], first: Entry, second: Entry) -> bool:
    """Whether `after` fixes the order of two entries of one phase, however the bundles are ordered."""
    one, other = _chain_to_root(entries, first), _chain_to_root(entries, second)
    if one[0] is not other[0]:
        return one[0].bundle == other[0].bundle
    shared = sum(a is b for a, b in zip(one, other, strict=False))
    if shared in (len(one), len(other)):
        return True  # one waits for the other
    return one[shared].bundle == other[shared].bundle


def _chain_to_root(entries: list[Entry], entry: Entry) -> list[Entry]:
    """From the entry that stands on its own place, through the ones placed after it, to `entry`."""
    chain = [entry]
    while chain[0].system.after is not None:
        chain.insert(0, [e for e in entries if e.name == chain[0].system.after][-1])
    return chain


def find_early_views(schedule: Schedule) -> list[str]:
    """A system that takes the World sees everything, so it stands in the last phase and writes nothing."""
    last = schedule.tick.phases[-1]
    return [
        f"{e.place} takes the World, which shows everything; it may do so only in {last}, the last phase, and write nothing."
        for e in schedule.entries
        if e.system.signature.world and (e.phase != last or e.writes)
    ]


Guard = tuple[Any, ...] | None
"""A condition at one moment; None is always. Two guards are equal only where they give the same answer."""


@attrs.define(eq=False)
class StaleRead:
    """Why a derived component does not agree with its sources, and under which guards it was refreshed since.

    `writer` is None for a component that has never been written.
    """

    writer: str | None
    wrote: type
    when: Any
    guard: Guard
    refreshed: set[Guard] = attrs.field(factory=set)


class DataFlow:
    """Data flow through the first tick and two more: which caches are stale and which signals dead where they are read.

    Sources of a derived component are everything else its writer takes, transitively. A refresh under a
    condition counts only for what became stale under the same condition, in the same tick, while the data that the
    condition asks for stands still. In the first tick a mask that BEGIN wrote counts as set.
    """

    def __init__(self, schedule: Schedule, contested: set[Key]) -> None:
        self.schedule = schedule
        self.sources: dict[Key, set[Key]] = {}
        self.writer_of: dict[Key, Entry] = {}
        for entry in schedule.entries:
            for key in (k for k in entry.writes if _lifetime(k) == "derived" and k not in contested):
                self.writer_of.setdefault(key, entry)
                self.sources.setdefault(key, set()).update({*entry.reads, *entry.writes} - {key} - contested)
        self.contested = contested
        self.stale = {key: [StaleRead(None, object, None, None)] for key in self.sources}
        self.tick = 0
        self.alive: dict[Key, list[Guard]] = {}
        self.marked: set[Key] = set()
        self.version: dict[Key, int] = {}
        self.dead: dict[Key, str] = {}
        self.unwritten: dict[Any, str] = {}
        self.outdated: dict[Any, list[tuple[set[str], str]]] = {}

    def findings(self) -> list[str]:
        """One sentence for each fault."""
        for self.tick in range(3):
            self.alive, self.marked, self.version = {}, set(), {}
            if self.tick:
                self._spread(("", Clock), StaleRead("the start of the tick", Clock, None, None), set())
            for entry in self.schedule.plan(begun=self.tick > 0):
                if isinstance(entry.when, FirstTick) and self.tick:
                    continue
                if isinstance(entry.when, Every) and not self.tick:
                    for key in entry.writes:
                        self._refresh(key, (entry.when, self.tick))
                    continue
                self._visit(entry)
        unwritten = [text for fault, text in self.unwritten.items() if fault not in self.outdated]
        return [*unwritten, *(text for each in self.outdated.values() for _, text in each), *self.dead.values()]

    def _visit(self, entry: Entry) -> None:
        for key in entry.asks:
            self._check(f"The condition {entry.when.label} of {entry.place}", key, entry, None)
        guard = self._guard(entry)
        for key in (*entry.reads, *entry.writes):
            if key not in entry.writes or (_lifetime(key) == "signal" and key in self.alive):
                self._check(entry.place, key, entry, guard)
        for key in entry.writes:
            self.version[key] = self.version.get(key, 0) + 1
            (self.marked.add if entry.phase == self.schedule.tick.begin else self.marked.discard)(key)
            self._refresh(key, guard)
            self._spread(key, StaleRead(entry.place, key[1], entry.when, guard), set(entry.writes))

    def _guard(self, entry: Entry) -> Guard:
        if entry.when is None or isinstance(entry.when, FirstTick):
            return None
        if self.tick == 0 and entry.asks and all(key in self.marked or key in self.dead for key in entry.asks):
            return None
        return (entry.when, self.tick, *(self.version.get(key, 0) for key in entry.asks))

    def _refresh(self, key: Key, guard: Guard) -> None:
        """`key` is written under `guard`: a signal is alive, a cache agrees with its sources."""
        if _lifetime(key) == "signal":
            self.alive.setdefault(key, []).append(guard)
        if key in self.stale:
            for cause in self.stale[key]:
                cause.refreshed.add(guard)
            self.stale[key] = [c for c in self.stale[key] if guard is not None and c.guard not in c.refreshed]

    def _spread(self, key: Key, cause: StaleRead, seen: set[Key]) -> None:
        """`key` changed: whatever is derived from it, transitively, is stale."""
        changed = [key]
        seen = {key, *seen}
        while changed:
            source = changed.pop()
            for target in [t for t, needs in self.sources.items() if source in needs and t not in seen]:
                seen.add(target)
                changed.append(target)
                self.stale[target].append(attrs.evolve(cause, refreshed=set()))

    def _check(self, reader: str, key: Key, entry: Entry, guard: Guard) -> None:
        if _lifetime(key) == "signal":
            guards = self.alive.get(key, [])
            if None not in guards and guard not in guards:
                self.dead.setdefault(key, self._dead_text(reader, key, entry))
        elif _lifetime(key) == "derived" and key not in self.contested:
            name = key[1].__name__
            if key not in self.writer_of:
                self.unwritten.setdefault(
                    key, f"{reader} reads {name}, which no system writes. Schedule the system that derives it."
                )
                return
            causes = [c for c in self.stale[key] if guard is None or guard not in c.refreshed]
            if causes:
                self._note_stale(f"{reader} reads {name}, which", key, causes)

    def _note_stale(self, start: str, key: Key, causes: list[StaleRead]) -> None:
        """One sentence for each place where a writer is missing, whatever it derives and whoever reads it there."""
        writer = self.writer_of[key]
        fault = (writer.bundle, writer.name, writer.table)
        changed = [c for c in causes if c.writer is not None]
        if not changed:
            self.unwritten.setdefault(fault, f"{start} {self._unwritten_text(key, causes[0])}")
            return
        writers = {str(c.writer) for c in changed}
        for known, _ in self.outdated.setdefault(fault, []):
            if known & writers:
                known |= writers
                return
        cause = min(changed, key=lambda c: kind_of(c.wrote) is Kind.RESOURCE)  # a column says more than its simulator
        self.outdated[fault].append((writers, f"{start} {self._stale_text(key, cause)}"))

    def _unwritten_text(self, key: Key, cause: StaleRead) -> str:
        writer = f"`{self.writer_of[key].name}`"
        if cause.refreshed:
            return f"{writer} writes only under {_labels(cause.refreshed)}. Run it under the same condition, or {writer} always."
        entry = self.schedule.tick.entry
        if self.tick or entry is None:
            return f"{writer} has not written yet. Schedule {writer} before it."
        return f"{writer} has not written yet in the first tick. Schedule {writer} before it, in {self.schedule.tick.begin} or after {entry}, where the first tick enters."

    def _stale_text(self, key: Key, cause: StaleRead) -> str:
        writer = f"`{self.writer_of[key].name}`"
        start = f"{cause.writer} made stale by writing {cause.wrote.__name__}."
        if any(guard is not None and guard[0] == cause.when for guard in cause.refreshed):
            return f"{start} {writer} runs between them under {cause.when.label}, which may answer differently by then; run it always."
        also = f", under {cause.when.label} or always" if cause.when is not None else ""
        return f"{start} Schedule {writer} between them{also}."

    def _dead_text(self, reader: str, key: Key, entry: Entry) -> str:
        name, tick = key[1].__name__, self.schedule.tick
        guards = self.alive.get(key, [])
        if guards:
            cure = "Run it under the same condition, or write it always."
            if any(guard is not None and guard[0] == entry.when for guard in guards):
                cure = "By then the condition may answer differently; write it always."
            return f"{reader} reads {name}, which is written only under {_labels(guards)}. {cure}"
        later = [e for e in self.schedule.entries if key in e.writes and e is not entry and e.phase != tick.begin]
        if not later:
            return f"{reader} reads {name} before any system writes it. Schedule a system that writes {name}."
        if self.tick == 0 and not any(e in self.schedule.plan(begun=False) for e in later):
            return (
                f"{reader} reads {name} in the first tick, which enters at {tick.entry} and so misses {later[0].place}. "
                f"Write it in {tick.begin} too, or make it a component that keeps its value."
            )
        return f"{reader} reads {name} before any system writes it. Move it after {later[0].place}."


def _labels(guards: Iterable[Guard]) -> str:
    return " or ".join(sorted({guard[0].label for guard in guards if guard is not None}))
