"""Capture of a simulation's ticks: systems are warmed up and compared, recorded as segments, and replayed.

What cannot be replayed runs as ever, and is named in one sentence with its cure. A replay gives the bytes that the same
systems give when they are called, and moves the same random streams.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Protocol

import attrs
from torch import Generator, Tensor
from torch.autograd.graph import increment_version

from engine.capture.cuda_graphs import CudaGraphs
from engine.capture.launches import Streams, Work
from engine.capture.segments import always, due, never_recorded, segments
from engine.capture.trace import INTO, HostState, Obstacle, OperationTrace, Same, changes
from engine.ecs.component import Kind, info, kind_of
from engine.ecs.scene import Simulation
from engine.ecs.schedule import WAIT, Entry, Observer
from engine.ecs.system import system
from engine.errors import SceneError

RUNS = 5  # of a system, of which two in succession must be alike


class Capturer(Protocol):
    """Records operations; see `cpu_recorder` and `cuda_graphs`."""

    def warm(self) -> AbstractContextManager[None]:
        """Where systems run before they are recorded."""
        ...

    def record(self, run: Callable[[], None], streams: Streams) -> list[Work]:
        """What `run` does, as launches in order, without effect; raises what `run` does. `streams`: what each graph draws from."""
        ...


@attrs.define(eq=False)
class CapturedSegment:
    """A segment that is replayed: its launches, in order, and the values of terms that they compute."""

    entries: tuple[Entry, ...]
    counts: bool  # whether it moves the clock's number on the device
    looks: bool  # whether a system that is called may have changed, in this tick, what it was made of
    stands_in: Entry = attrs.field(init=False)
    written: list[Tensor] = attrs.field(init=False)
    launches: list[Work] | None = None
    values: list[tuple[Entry, list[Tensor]]] = attrs.field(factory=list)
    state: HostState = attrs.field(factory=HostState)  # of the host when it was recorded, where it `looks`
    over: bool = False  # given up: its systems are called for the rest of the tick

    def give_up(self) -> None:
        """Keep nothing but the seconds that it took."""
        self.over, self.launches = True, None
        self.values.clear()
        self.written.clear()


@attrs.define(eq=False)
class Capture:
    """Runs a simulation's ticks from recordings while it is `attached`; `say` gets a sentence for what it leaves alone.

    Masks decide no more whether a system runs, as on a GPU. A tick in which somebody looks between systems, calls them
    himself, or wrote into the world since the last one, is run by calling every system.
    """

    simulation: Simulation
    capturer: Capturer
    say: Callable[[str], None] = print
    sentences: list[str] = attrs.field(factory=list, init=False)
    eager: dict[int, str] = attrs.field(factory=dict, init=False)  # why entries run by themselves, by id
    captured: dict[tuple[int, ...], CapturedSegment] = attrs.field(factory=dict, init=False)
    stand_ins: list[Entry] = attrs.field(factory=list, init=False)  # of all recordings, those that were given up too
    ticks: int = attrs.field(
        default=0, init=False
    )  # replayed since they were counted last, and how much was launched in them
    launched: int = attrs.field(default=0, init=False)
    called: int = attrs.field(default=0, init=False)  # systems that ran by themselves in those
    eager_ticks: int = attrs.field(default=0, init=False)  # in which all did
    _traces: dict[tuple[int, int], tuple[int, OperationTrace]] = attrs.field(factory=dict, init=False)
    _ready: set[tuple[int, int]] = attrs.field(factory=set, init=False)
    _plans: dict[tuple[int, ...], list[Entry]] = attrs.field(factory=dict, init=False)
    _columns: list[Tensor] = attrs.field(init=False)
    _versions: list[int] = attrs.field(factory=list, init=False)
    _used: tuple[type, ...] = attrs.field(default=(), init=False)  # resources
    _users: dict[str, list[Entry]] = attrs.field(factory=dict, init=False)
    _state: HostState = attrs.field(factory=HostState, init=False)
    _constants: dict[str, str] = attrs.field(factory=dict, init=False)
    _changes: dict[str, tuple[int, int]] = attrs.field(factory=dict, init=False)  # how often soon again, and when
    _blamed: tuple[Entry, ...] = attrs.field(default=(), init=False)  # whose fault it is when a recording fails now
    _stopped: str = attrs.field(default="", init=False)  # why nothing is recorded any more
    _observer: Observer = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._columns = list(self.simulation.world.columns().values())
        self._observer = Observer(after_tick=self._remember)
        always(self.simulation.schedule)
        self._find_users()
        for entry in self.simulation.schedule.entries:
            if why := never_recorded(entry):
                self._leave(entry, Obstacle(why, "Once it needs nothing of the host, it is recorded with the others."))

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Replay ticks as long as this lasts, once they are warmed up and recorded. Afterwards every system is called again."""
        schedule = self.simulation.schedule
        schedule.substitute = self._substitute
        schedule.attach(self._observer)
        try:
            yield
        finally:
            schedule.substitute = None
            schedule.detach(self._observer)

    def report(self) -> dict[str, float]:
        """Means of the ticks since the last report: launches and systems called in one that is replayed; and the ticks that were not."""
        found: dict[str, float] = {"capture/eager_ticks": self.eager_ticks}
        if self.ticks:
            found["capture/launches"] = self.launched / self.ticks
            found["capture/eager_systems"] = self.called / self.ticks
        self.ticks = self.launched = self.called = self.eager_ticks = 0
        return found

    def described(self) -> list[str]:
        """The recordings, one a line: from which system to which, and in how many launches."""
        return [
            f"{each.entries[0].place} to {each.entries[-1].place}: {len(each.entries)} systems, {len(each.launches or ())} launches"
            for each in self.captured.values()
        ]

    # -- a tick ----------------------------------------------------------------------------------------

    def _substitute(self) -> Sequence[Entry] | None:
        world, clock = self.simulation.world, self.simulation.world.clock
        if self._hindered():
            self._call_all()
            return None
        self._state = self._notice_changes(self._state)
        running = due(self.simulation.schedule.plan(), world)
        keys = _keys(running)
        waiting = [id(e) not in self.eager and key not in self._ready for e, key in zip(running, keys, strict=True)]
        if any(waiting):
            self._call_all()
            return [
                self._stand_in(e, partial(self._trace, e, key)) if waits else e
                for e, key, waits in zip(running, keys, waiting, strict=True)
            ]
        plan = self._plan(running)
        first = plan[0] if plan else None
        if first is not None and any(r.counts and r.stands_in is first for r in self.captured.values()):
            if clock.number_tick != clock.tick - 1:
                clock.number.fill_(clock.tick - 1)
            clock.number_tick = clock.tick - 1
        else:
            _ = clock.device_tick
        self.ticks += 1
        self.called += sum(id(e) in self.eager for e in running)
        return plan

    def _call_all(self) -> None:
        """A tick in which every system is called."""
        self.eager_ticks += 1
        _ = self.simulation.world.clock.device_tick

    def _hindered(self) -> bool:
        """Whether this tick is run by calling every system."""
        schedule = self.simulation.schedule
        if self._stopped:
            return True
        if schedule.wrap is not None:
            self._once(
                "Every system is called by itself, none is replayed: --row-blocks, --audit and --profile need that."
            )
            return True
        if any(each.before_entry or each.after_entry for each in schedule.observers):
            self._once("Ticks in which a debugger stops or looks between systems are not replayed; let it run on.")
            return True
        return bool(self._versions) and self._versions != [column._version for column in self._columns]

    def _remember(self) -> None:
        self._versions = [column._version for column in self._columns]

    def _notice_changes(self, known: HostState) -> HostState:
        """Record anew where resources keep other things on the host than is `known`, of which recorded operations may be made."""
        world, users = self.simulation.world, self._users
        constants = dict(world.constants)
        if known.holds() and known.marks and constants == self._constants:
            return known
        now, tick = self._host_state(), world.clock.tick
        changed = changes(known, now)
        if not changed and constants == self._constants:
            return now
        for name in changed if known.marks else ():
            soon = tick - self._changes.get(name, (0, -2 * RUNS))[1] < 2 * RUNS
            times = self._changes.get(name, (0, 0))[0] + 1 if soon else 0
            self._changes[name] = times, tick
            if times == RUNS:
                what = "is another one" if isinstance(now.marks[name], Same) else "changes on the host"
                cure = INTO if isinstance(now.marks[name], Same) else "Keep that in a tensor."
                for entry in users.get(name.split(".")[0], ()):
                    self._leave(entry, Obstacle(f"{name} {what} time and again", cure))
        affected = {id(entry) for name in changed for entry in users.get(name.split(".")[0], ())}
        for key, (_, trace) in list(self._traces.items()):
            if constants != self._constants or key[0] in affected:
                self._ready.discard(key)
                if not set(changed) & set(trace.touched):  # by itself, as its next run is to show again
                    del self._traces[key]
        self._constants = constants
        self._state.marks |= {name: now.marks[name] for name in changed}
        self._forget()
        return now

    def _host_state(self) -> HostState:
        resources = self.simulation.world.resources
        return HostState({cls: resources[cls] for cls in self._used})

    def _forget(self) -> None:
        """Record everything anew; what is left of this tick is called."""
        for each in self.captured.values():
            each.give_up()
        self.captured.clear()
        self._plans.clear()

    # -- warming up ------------------------------------------------------------------------------------

    def _trace(self, entry: Entry, key: tuple[int, int]) -> None:
        """Run a system, and compare with what it did the last time."""
        trace = OperationTrace()
        used = [cls for table, cls in (*entry.reads, *entry.writes) if not table]
        with self.capturer.warm(), trace.watching(self.simulation.world, used):
            self._call(entry)
        self._look(entry)
        runs, before = self._traces.get(key, (0, None))
        difference = before.differs(trace) if before is not None else None
        self._traces[key] = runs + 1, trace
        if before is None:  # what is made once and kept, is made now
            return
        if (obstacle := trace.obstacle()) is not None:
            self._leave(entry, obstacle)
        elif difference is None:
            self._ready.add(key)
        elif runs + 1 >= RUNS:
            self._leave(entry, difference)

    def _call(self, entry: Entry) -> None:
        if entry.terms is not None:
            entry.terms.asks = False
        try:
            entry.call()
        finally:
            if entry.terms is not None:
                entry.terms.asks = True

    def _look(self, entry: Entry) -> None:
        """Look now and then whether terms are finite, as the schedule does on a GPU."""
        if entry.terms is not None:
            world = self.simulation.world
            for found in entry.terms.nonfinite(wait=world.clock.tick % WAIT == 0):
                world.notice(f"{entry.bundle}.{entry.name}", *found)

    # -- recording and replaying -----------------------------------------------------------------------

    def _plan(self, running: list[Entry]) -> list[Entry]:
        """What runs in the place of the systems of this tick: recordings, and those that are called."""
        schedule = self.simulation.schedule
        cut = schedule.until_finish(running) if any(each.at_finish for each in schedule.observers) else None
        key = (cut or 0, *map(id, running))
        if key not in self._plans:
            found: list[Entry] = []
            looks = False
            for part in segments(running, self.eager, cut):
                if isinstance(part, Entry):
                    looks = looks or self._may_change(part)
                    found.append(part)
                else:
                    found.append(self._recording(part, counts=not found, looks=looks).stands_in)
                    looks = False
            self._plans[key] = found
        return self._plans[key]

    def _may_change(self, entry: Entry) -> bool:
        """Whether a system that is called may write into a resource that others use."""
        return bool(entry.system.signature.world) or any(not table and cls in self._used for table, cls in entry.writes)

    def _recording(self, entries: tuple[Entry, ...], *, counts: bool, looks: bool) -> CapturedSegment:
        known = self.captured.get(key := (int(counts), int(looks), *map(id, entries)))
        if known is None:
            world = self.simulation.world
            known = self.captured[key] = CapturedSegment(entries, counts, looks)
            known.stands_in = self._stand_in(entries[-1], partial(self._replay, known), f"segment {len(self.captured)}")
            self.stand_ins.append(known.stands_in)
            data = {key for entry in entries for key in entry.writes if kind_of(key[1]) is Kind.COMPONENT}
            known.written = [
                getattr(world.component(cls, table), name) for table, cls in data for name in info(cls).columns
            ]
        return known

    def _stand_in(self, entry: Entry, call: Callable[[], None], name: str | None = None) -> Entry:
        """An entry that runs in the place of another one."""
        made = attrs.evolve(system(_nothing, name=name or entry.name), wide=entry.system.wide)
        return Entry(made, entry.bundle, entry.phase, entry.table, call)

    def _replay(self, recording: CapturedSegment) -> None:
        clock = self.simulation.world.clock
        if recording.looks and recording.launches is not None:
            self._notice_changes(recording.state)
        if recording.over or (recording.launches is None and not self._record(recording)):
            for entry in recording.entries:
                entry.call()
                self._look(entry)
            return
        for launch in recording.launches or ():
            launch()
        self.launched += len(recording.launches or ())
        if recording.counts:
            clock.number_tick = clock.tick
        if recording.written:
            increment_version(recording.written)
        if clock.tick % WAIT == 0:
            for entry, values in recording.values:
                assert entry.terms is not None
                entry.terms.values, entry.terms.unknown = list(values), True
                self._look(entry)

    def _record(self, recording: CapturedSegment) -> bool:
        """Record a segment; where that fails, nothing has happened, and whose fault it was is left alone from now on.

        All others are recorded anew then: torch warrants nothing for what shares memory or streams with what has failed.
        """
        clock = self.simulation.world.clock
        before, self._blamed = clock.number_tick, recording.entries[:0]
        recording.state = self._host_state() if recording.looks else HostState()
        try:
            recording.launches = self.capturer.record(partial(self._run, recording), self._streams(recording.entries))
        except Exception as error:
            clock.number_tick = before
            words = str(error).partition("\n")[0] or type(error).__name__
            for each in self._blamed:
                self._leave(each, Obstacle(words, "Where that is none of its doing, --capture off calls all systems."))
            if not self._blamed:
                self._stopped = words
                self._once(f"No recording can begin: {words}. Systems are called from now on, as --capture off says.")
            self._forget()
            return False
        return True

    def _streams(self, entries: Sequence[Entry]) -> list[list[Generator]]:
        """The random streams that systems draw from up to each launch that comes between two graphs, as their traces have it."""
        found: list[list[Generator]] = [[]]
        for key in _keys(entries):
            first, *more = self._traces[key][1].draws
            found[-1] += first
            found += [list(part) for part in more]
        return found

    def _run(self, recording: CapturedSegment) -> None:
        clock, recording.values = self.simulation.world.clock, []
        self._blamed = recording.entries
        if recording.counts:
            clock.number.add_(1)
            clock.number_tick = clock.tick
        for entry in recording.entries:
            self._blamed = (entry,)
            self._call(entry)
            if entry.terms is not None:
                recording.values.append((entry, list(entry.terms.values)))
                entry.terms.nonfinite(wait=False)
        self._blamed = recording.entries

    # -- messages -------------------------------------------------------------------------------------

    def _find_users(self) -> None:
        """Which of the systems that are not called use each resource, by its name."""
        self._users = {}
        for entry in self.simulation.schedule.entries:
            for table, cls in (*entry.reads, *entry.writes) if id(entry) not in self.eager else ():
                if not table:
                    self._users.setdefault(cls.__name__, []).append(entry)
        self._used = tuple(cls for cls in self.simulation.world.resources if cls.__name__ in self._users)

    def _leave(self, entry: Entry, obstacle: Obstacle) -> None:
        """Call a system from now on."""
        if id(entry) not in self.eager:
            self.eager[id(entry)] = obstacle.why
            self._find_users()
            self._once(f"{entry.place} is called, not replayed: {obstacle.why}. {obstacle.cure}")

    def _once(self, sentence: str) -> None:
        if sentence not in self.sentences:
            self.sentences.append(sentence)
            self.say(sentence)


def capture_for(simulation: Simulation, asked: str, say: Callable[[str], None]) -> Capture | None:
    """The capture of a simulation on a GPU; None where it is not to be captured. SceneError for a word that has no effect."""
    device = simulation.world.device
    refuse_capture(asked, str(device))
    if asked == "off" or device.type != "cuda":
        return None
    return Capture(simulation, CudaGraphs(device, whole=asked == "whole"), say)


def refuse_capture(asked: str, device: str) -> None:
    """SceneError for a kind of capture that a device does not have."""
    if asked in ("on", "whole") and not device.startswith("cuda"):
        raise SceneError(
            f"--capture {asked} records CUDA graphs, and --device is {device}. Leave it out, or say --device cuda."
        )


def _keys(entries: Sequence[Entry]) -> list[tuple[int, int]]:
    """Each entry and how often it stood before."""
    seen: dict[int, int] = {}
    found = []
    for entry in entries:
        seen[id(entry)] = seen.get(id(entry), -1) + 1
        found.append((id(entry), seen[id(entry)]))
    return found


def _nothing() -> None:
    """The function of an entry that stands in for others."""
