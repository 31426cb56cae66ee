"""The tick: an ordered list of systems, bound to their data once, and run."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import attrs
import torch

from engine.ecs.access import Terms
from engine.ecs.binding import Key, accesses, bind, tables_for
from engine.ecs.bundle import Bundle
from engine.ecs.condition import AnyRow, bind_condition
from engine.ecs.system import System
from engine.ecs.world import World
from engine.errors import BuildError, did_you_mean, listing

WAIT = 50  # ticks between those in which a GPU is waited for, to see whether terms are finite


@attrs.frozen
class Tick:
    """Phases in order. The `repeat` group runs several times; the first tick runs `begin`, then enters at `entry`.

    `shares` sums up where a tick's time goes: names of parts, each with its phases; the other phases are "systems".
    Observers see finished rows after phase `finished`, before anything starts over.
    """

    phases: tuple[str, ...]
    repeat: tuple[str, ...] = ()
    begin: str = "BEGIN"
    entry: str | None = None
    finished: str | None = None
    shares: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        twice = [p for p in self.phases if self.phases.count(p) > 1 or p == self.begin]
        if twice:
            raise BuildError(f"Phase '{twice[0]}' stands in the tick twice; names of phases must differ.")
        unknown = [p for p in self.repeat if p not in self.phases]
        start = self.phases.index(self.repeat[0]) if self.repeat and not unknown else 0
        if unknown or self.phases[start : start + len(self.repeat)] != self.repeat:
            raise BuildError(f"The repeat group {self.repeat} is not a run of consecutive phases of {self.phases}.")
        for name in (phase for phases in self.shares.values() for phase in phases):
            if name not in self.phases:
                raise BuildError(f"The phase '{name}' in shares is not one of {listing(self.phases)}.")
        if self.finished is not None and self.finished not in self.phases:
            raise BuildError(f"The phase finished='{self.finished}' is not one of {listing(self.phases)}.")
        if self.entry is None:
            return
        if self.entry not in self.phases:
            raise BuildError(f"The entry phase '{self.entry}' is not one of {listing(self.phases)}.")
        if self.repeat and self.phases.index(self.entry) < start + len(self.repeat):
            raise BuildError(
                f"The entry phase '{self.entry}' comes before the end of the repeat group {self.repeat}; enter after it."
            )


@attrs.define(eq=False)
class Entry:
    """One system at its place in the tick, on one table, with its arguments bound.

    `reads` holds what is only read, the terms' reads included; `asks` what the condition `when` looks at.
    """

    system: System
    bundle: str
    phase: str
    table: str
    call: Callable[[], None]
    when: Any = None
    reads: tuple[Key, ...] = ()
    writes: tuple[Key, ...] = ()
    asks: tuple[Key, ...] = ()
    seconds: float = 0.0
    calls: int = 0
    terms: Terms | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.terms = getattr(self.call, "keywords", {}).get(self.system.signature.terms)

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

    Systems after the same one keep their order. Raises BuildError for an unknown phase, and for an `after`
    that names nobody in the same phase or waits for itself.
    """
    known = (tick.begin, *tick.phases)
    for phase in skip:
        if phase not in known:
            raise BuildError(
                f"skip names phase '{phase}', which the tick does not have: {listing(known)}.{did_you_mean(phase, known)}"
            )
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
        order += _chain([(phase, b.name, s) for b in bundles for s in b.systems.get(phase, ())])
    return order


def _chain(placed: list[tuple[str, str, System]]) -> list[tuple[str, str, System]]:
    """The systems of one phase, each with `after` right after the one it names."""
    followers: dict[int, list[int]] = {}
    for i, (phase, _, each) in enumerate(placed):
        if each.after is None:
            continue
        targets = [j for j, (_, _, other) in enumerate(placed) if other.name == each.after and j != i]
        if not targets:
            names = [s.name for _, _, s in placed if s is not each]
            raise BuildError(
                f"`{each.name}` ({phase}) wants to run after `{each.after}`, which is not in {phase}. "
                f"There: {listing(names) or 'nothing else'}.{did_you_mean(each.after, names)}"
            )
        followers.setdefault(targets[-1], []).append(i)
    order: list[int] = []
    waiting = [i for i, (_, _, each) in enumerate(placed) if each.after is None][::-1]
    while waiting:
        order.append(waiting.pop())
        waiting += followers.get(order[-1], [])[::-1]
    lost = [placed[i] for i in range(len(placed)) if i not in order]
    if lost:
        who = " and ".join(f"`{each.name}`" for _, _, each in lost)
        raise BuildError(f"In {lost[0][0]}, {who} wait for each other through `after=`; one of them must go first.")
    return [placed[i] for i in order]


@attrs.frozen(eq=False)
class Observer:
    """Functions that a schedule calls around ticks and systems; none of them may change the world.

    `before_tick` may wait, and may refuse the tick by raising; `before_entry` may wait. `at_finish` is called once per
    tick after the phase `tick.finished` (not in the first tick), `after_tick` at its end.
    """

    before_tick: Callable[[], None] | None = None
    before_entry: Callable[[Entry], None] | None = None
    after_entry: Callable[[Entry], None] | None = None
    at_finish: Callable[[], None] | None = None
    after_tick: Callable[[], None] | None = None


@attrs.define(eq=False)
class Schedule:
    """The bound tick. `run()` is one tick; `steps()` yields each entry just before it runs, for tools.

    `observers` watch it, in order; see `attach`. `wrap` runs an entry in the place of `entry.call`, which it must call.
    `substitute` may give other entries, in order of phases, that do what the plan of a tick after the first one does.
    `threads` is what torch may use in systems that are `wide`; the others run on one.
    """

    world: World
    tick: Tick
    repeat: int
    entries: list[Entry]
    wrap: Callable[[Entry], None] | None = None
    substitute: Callable[[], Sequence[Entry] | None] | None = None
    threads: int = attrs.field(factory=torch.get_num_threads)
    observers: list[Observer] = attrs.field(factory=list, init=False)
    _calls: dict[str, list[Callable[..., None]]] = attrs.field(init=False)
    _plans: dict[bool, list[Entry]] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._calls = {event.name: [] for event in attrs.fields(Observer)}

    def attach(self, observer: Observer, *, first: bool = False) -> None:
        """Call an observer from now on, after those that are attached already, or `first`. No effect if it is attached."""
        if observer not in self.observers:
            self.observers.insert(0 if first else len(self.observers), observer)
            self._gather()

    def detach(self, observer: Observer) -> None:
        """Do not call an observer any more. No effect if it is not attached."""
        if observer in self.observers:
            self.observers.remove(observer)
            self._gather()

    def _gather(self) -> None:
        for event, calls in self._calls.items():
            calls[:] = [call for each in self.observers if (call := getattr(each, event)) is not None]

    @contextmanager
    def unobserved(self) -> Iterator[None]:
        """Run without observers and without counting time, for ticks that are run again."""
        observers, known = list(self.observers), {name: attrs.evolve(n) for name, n in self.world.nonfinite.items()}
        spent = [(entry.seconds, entry.calls) for entry in self.entries]
        for each in observers:
            self.detach(each)
        try:
            yield
        finally:
            for each in observers:
                self.attach(each)
            self.world.nonfinite = known
            for entry, (seconds, calls) in zip(self.entries, spent, strict=True):
                entry.seconds, entry.calls = seconds, calls

    def plan(self, begun: bool = True) -> list[Entry]:
        """Entries of one tick in the order they run, the repeat group unrolled; the first tick when not `begun`."""
        if begun not in self._plans:
            tick, phases = self.tick, list(self.tick.phases)
            if tick.repeat:
                start = phases.index(tick.repeat[0])
                phases[start : start + len(tick.repeat)] = list(tick.repeat) * self.repeat
            if not begun:
                phases = [tick.begin, *(phases[phases.index(tick.entry) :] if tick.entry else phases)]
            self._plans[begun] = [entry for phase in phases for entry in self.entries if entry.phase == phase]
        return self._plans[begun]

    def steps(self) -> Iterator[Entry]:
        """Run one tick, yielding each entry before it runs; conditions are asked at that moment."""
        for entry in self._due():
            yield entry
            with torch.no_grad():
                self._run_entry(entry)
        self._use_threads(self.threads)

    def run(self, ticks: int = 1) -> None:
        """Run whole ticks."""
        with torch.no_grad():
            for _ in range(ticks):
                for entry in self._due():
                    self._run_entry(entry)
        self._use_threads(self.threads)

    def _due(self) -> Iterator[Entry]:
        clock, calls = self.world.clock, self._calls
        for call in calls["before_tick"]:
            call()
        plan: Sequence[Entry] = self.plan(clock.begun)
        clock.tick += clock.begun
        if clock.begun and self.substitute is not None:
            plan = self.substitute() or plan
        if clock.begun and calls["at_finish"]:
            split = self.until_finish(plan)
            yield from self._holding(plan[:split])
            for call in calls["at_finish"]:
                call()
            plan = plan[split:]
        yield from self._holding(plan)
        clock.begun = True
        for call in calls["after_tick"]:
            call()

    def _holding(self, plan: Sequence[Entry]) -> Iterator[Entry]:
        calls = self._calls["before_entry"]
        for entry in plan:
            if entry.when is None or entry.when.holds(self.world):
                if calls:  # an empty loop costs more
                    for call in calls:
                        call(entry)
                yield entry

    def until_finish(self, plan: Sequence[Entry]) -> int:
        """How many entries of a plan run up to the phase in which finished rows are looked at."""
        phases, last = self.tick.phases, self.tick.finished
        after = phases[phases.index(last) + 1 :] if last else ()
        return sum(entry.phase not in after for entry in plan)

    def _use_threads(self, count: int) -> None:
        if count != torch.get_num_threads():
            torch.set_num_threads(count)

    def _run_entry(self, entry: Entry) -> None:
        start = perf_counter()
        self._use_threads(self.threads if entry.system.wide else 1)
        if self.wrap is None:
            entry.call()
        else:
            self.wrap(entry)
        if entry.terms is not None:
            for found in entry.terms.nonfinite(wait=self.world.clock.tick % WAIT == 0):
                self.world.notice(f"{entry.bundle}.{entry.name}", *found)
        entry.seconds += perf_counter() - start
        entry.calls += 1
        for call in self._calls["after_entry"]:
            call(entry)


def make_schedule(world: World, tick: Tick, bundles: Sequence[Bundle], skip: Sequence[str] = ()) -> Schedule:
    """Bind every system to its tables; raises BuildError as `arrange`, `tables_for` and `bind_condition` do."""
    repeats = {b.name: b.repeat for b in bundles if b.repeat is not None}
    if len(set(repeats.values())) > 1:
        raise BuildError(f"Bundles disagree on how often {tick.repeat} repeats: {repeats}.")
    repeat = next(iter(repeats.values()), 1)
    if repeat < 1:
        raise BuildError(
            f"Bundle '{next(iter(repeats))}' repeats {tick.repeat} {repeat} times; it must be at least once."
        )
    entries = []
    functions: dict[str, Callable[..., None]] = {}
    for phase, bundle, each in arrange(tick, bundles, skip):
        address = f"{bundle}.{each.name}"
        if functions.setdefault(address, each.function) is not each.function:
            raise BuildError(
                f"Bundle '{bundle}' has two different systems called `{each.name}`; give one of them a name=."
            )
        for home in tables_for(each, world):
            when = bind_condition(each.when, home, world, each.name)
            reads, writes = accesses(each, home)
            asks = ((str(when.table), when.component),) if isinstance(when, AnyRow) else ()
            entries.append(
                Entry(each, bundle, phase, home, bind(each, home, world, address), when, reads, writes, asks)
            )
    return Schedule(world, tick, repeat, entries)
