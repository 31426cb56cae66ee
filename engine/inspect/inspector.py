"""The live debugger's half in the tick thread: hooks of the schedule in which a run is sampled, and in which it stands still.

The sockets are another thread's (engine/inspect/server.py). With nobody attached all of this is one `if` per tick. What clients say
is done between ticks and, while the run stands there, between systems: engine/inspect/commands.py. What they are sent is
engine/inspect/publisher.py's.
"""

import math
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from engine.ecs.scene import Simulation
from engine.ecs.schedule import Entry, Observer
from engine.errors import LockstepError
from engine.inspect.breakpoints import Breakpoints, Hit, Writers
from engine.inspect.client import DebugClient
from engine.inspect.edit import Editor
from engine.inspect.interventions import Interventions
from engine.inspect.publisher import EVENT_EVERY, Publisher
from engine.inspect.run_handle import RunHandle
from engine.inspect.server import DebugServer, Joined, Left
from engine.inspect.stepping import Stepper
from engine.protocol.display import NO_DISPLAY, View
from engine.protocol.messages import ClientMessage
from engine.protocol.vitals import find_ends
from engine.recording.recorder import FiniteCheck, Recorder, watched_table
from engine.snapshot.history import Ring

STATE_EVERY = 0.5  # s
SNAPSHOTS = 0.001
"""Share of a tick that snapshots for going back may cost; where they cost more, there are fewer."""
_FARTHEST = 8  # times as many ticks between them, at most


@attrs.define(eq=False, slots=False)
class Inspector:
    """Serves the debuggers of one training, from when it is made until `close`.

    handle: carries out what a client sent: engine/inspect/commands.py's. run: whose simulation it is. history: (ticks
    between snapshots, bytes) of the ring that rewinding needs, which is kept only while somebody is attached. stay: a
    paused run stays so when its debugger has gone; else it goes on after `patience` seconds. view: what debuggers draw.

    Nothing that a client sends or is sent raises in the tick thread.
    """

    simulation: Simulation
    server: DebugServer
    handle: Callable[["Inspector", DebugClient, ClientMessage], None]
    run: RunHandle = attrs.field(factory=RunHandle)
    history: tuple[int, int] = (50, 1 << 30)
    stay: bool = False
    patience: float = 30.0
    view: View = NO_DISPLAY

    def __attrs_post_init__(self) -> None:
        simulation, schedule = self.simulation, self.simulation.schedule
        self.world, self.schedule = simulation.world, schedule
        self.ids = {id(entry): number for number, entry in enumerate(schedule.entries)}
        self.table = watched_table(simulation)
        self.publisher = Publisher(simulation, self.server, self.table, lambda: self.tick, self.view)
        self.editor = Editor(simulation)
        self.interventions = Interventions(self.run.folder, lambda text: self.publisher.event("warning", text))
        self.writers = Writers(simulation)
        self.breakpoints = Breakpoints(simulation, self.writers)
        self.steps = Stepper(schedule)
        self.ring: Ring | None = None
        self.recorder: Recorder | None = None
        self.finite: FiniteCheck | None = None
        self.pending: list[tuple[DebugClient, int]] = []  # commands that are answered when the run stands again
        self.resets: list[int] = []
        self.inside = False  # a tick has begun and is not over
        self.touched = False  # something was written by hand in the middle of a tick
        self._hooked = False
        self._lost: Ring | None = None  # one of which no snapshot could be taken, still in the schedule
        self._published = self._began = self._alone_since = self._spent = 0.0
        self._tick_starts = Observer(before_tick=self._before_tick)
        self._tick_runs = Observer(at_finish=self._at_finish, after_tick=self._after_tick)
        self._before_systems = Observer(before_entry=self._between)
        self._after_systems = Observer(after_entry=self._after_entry)
        schedule.attach(self._tick_starts, first=True)

    @property
    def tick(self) -> int:
        """The tick that runs, or after which the run is; -1 where none has run."""
        clock = self.world.clock
        return clock.tick if clock.begun or self.inside else -1

    @property
    def viewing(self) -> bool:
        """Whether an earlier tick is in view."""
        return self.ring is not None and self.ring.viewing

    # -- the hooks -------------------------------------------------------------------------------------

    def _before_tick(self) -> None:
        if not (self.server.attached or self._hooked):
            return
        self.inside = False
        if self._lost is not None:
            self._lost.close()
            self._lost = None
        if self.touched and self.ring is not None:
            try:
                self.ring.keep()  # running the last tick again would not repeat what was done in the middle of it
            except Exception as error:
                self._lose_past(error)
        self.touched = False
        self._hook()
        self._serve()
        if self.publisher.clients:
            self._alone_since = 0.0
        elif not self.steps.wanted or (not self.steps.stands and self._left_alone()):
            self._unhook()
            return
        if self.steps.stands:
            self._stand_here()
        self._inspect()
        self.inside, self._began = True, time.perf_counter()
        self.steps.begin_tick()

    def _at_finish(self) -> None:
        start = time.thread_time()
        if self.resets:
            self._mark_done()
        self.steps.pass_finish()
        self.publisher.at_finish()
        if self.breakpoints.known:
            self._ask_breaks(memory=False)
        if self.finite is not None and len(self.publisher.endings.now):
            self._look_for_nonfinite(glance=True)  # a row that starts over takes what was wrong with it along
        if self.steps.stands:
            self._inspect()
        self._spent = time.thread_time() - start

    def _after_tick(self) -> None:
        start = time.thread_time()
        self.inside = False
        if self.finite is not None:
            self._look_for_nonfinite()  # in every tick, before the next one spreads it
        if self.breakpoints.known:
            self._ask_breaks()
        self.steps.end_tick(self.tick)
        self.publisher.after_tick(time.perf_counter() - self._began)
        if time.perf_counter() - self._published >= STATE_EVERY:
            self._space_snapshots()
            self.publish()
        self.publisher.hooks += 0.05 * (self._spent + time.thread_time() - start - self.publisher.hooks)
        self._spent = 0.0

    def _space_snapshots(self) -> None:
        if self.ring is not None:
            wanted = self.ring.seconds / (SNAPSHOTS * max(self.publisher.tick_seconds, 1e-6))
            self.ring.every = max(self.history[0], min(_FARTHEST * self.history[0], math.ceil(wanted)))
            self.publisher.snapshots = self.ring.seconds / self.ring.every

    def _between(self, entry: Entry) -> None:
        """Before each system of an inspected tick."""
        number = self.ids[id(entry)]
        with self._survived("The breaks"):
            self._hit(self.breakpoints.ask("before", number))
        if self.steps.reach(entry, number):
            start = time.perf_counter()
            self._stand_here()
            self._began += time.perf_counter() - start
            self._inspect()

    def _after_entry(self, entry: Entry) -> None:
        """After each system, while somebody steps or has set a break."""
        self.writers.see(entry)
        self.steps.ran()
        with self._survived("The breaks"):
            self._hit(self.breakpoints.ask("after", self.ids[id(entry)]))

    def _hook(self) -> None:
        if self._hooked:
            return
        self._hooked = True
        self.schedule.attach(self._tick_runs)
        self.finite = FiniteCheck(self.simulation, self.table)
        self._look_for_nonfinite()  # before the next tick spreads it
        if self.history[1] > 0:
            try:
                every, budget = self.history
                self.ring = Ring(
                    self.simulation, every=every, budget=budget, watched=self.run.may_change, failed=self._lose_past
                )
            except LockstepError as error:
                self.publisher.event("warning", f"There is no rewinding: {error}")
                self.history = self.history[0], 0
            except Exception as error:  # memory that is full, a resource that cannot be copied
                self.publisher.event("warning", f"There is no rewinding: {_words(error)}")

    def _unhook(self) -> None:
        """Leave the schedule as it was."""
        if not self._hooked:
            return
        self._hooked = self.inside = False
        self.breakpoints.known.clear()
        self.steps.go()
        self._answer_pending({"t": "error", "code": "busy", "text": "The run has gone on."})
        self._inspect()
        self.schedule.detach(self._tick_runs)
        self.end_recording("end", "Nobody is attached any more.")
        for ring in (self.ring, self._lost):
            if ring is not None:
                ring.close()
                self.interventions.discard()
        self.ring = self._lost = None

    def end_recording(self, why: str, text: str) -> Path | None:
        """Write what is being recorded and stop; the recording, None where there is none or it cannot be written."""
        recorder, self.recorder = self.recorder, None
        if recorder is None:
            return None
        try:
            return recorder.keep(why, text)
        finally:
            recorder.detach()

    def _lose_past(self, error: Exception) -> None:
        """No snapshot can be taken any more; the run goes on, but not back."""
        self._lost, self.ring = self.ring, None
        self.publisher.event("warning", f"There is no rewinding any more: {_words(error)}")

    def _inspect(self) -> None:
        """Have the schedule call us between systems, if that is needed now."""
        between = self._hooked and (self.steps.inspects or self.steps.stands or self.breakpoints.inspect)
        after = self._hooked and (between or bool(self.breakpoints.known))
        (self.schedule.attach if between else self.schedule.detach)(self._before_systems)
        attached = self._after_systems in self.schedule.observers
        if after and not attached:
            self.writers.begin()
            self.schedule.attach(self._after_systems)
        elif not after and attached:
            self.schedule.detach(self._after_systems)
            self.writers.seen.clear()

    @contextmanager
    def _survived(self, what: str) -> Iterator[None]:
        """A debugger may be wrong in ways that nobody thought of; the training goes on, without breaks."""
        try:
            yield
        except Exception as error:
            self.breakpoints.known.clear()
            self.finite = None
            self.publisher.event("warning", f"{what} failed and are gone: {type(error).__name__}: {error}"[:500])

    def wrote(self) -> None:
        """Something was written by hand."""
        if self.inside:
            self.touched = True
        elif self.ring is not None:
            self.ring.touch()

    def _mark_done(self) -> None:
        """Have rows go through RESET like those that ended."""
        ends = find_ends(self.simulation)[self.table]
        for column in (ends.ended, *ends.follow):
            column[self.resets] = True
        self.resets, self.touched = [], True

    # -- what a tick shows -----------------------------------------------------------------------------

    def _hit(self, hits: list[Hit]) -> None:
        for each, event in hits:
            now = time.perf_counter()
            if each.action == "pause" or now - each.last_event >= EVENT_EVERY:
                each.last_event = now
                self.publisher.event("break", **event)
            if each.action == "pause":
                self.steps.stand(event["text"])
            elif each.action == "keep" and self.recorder is not None and not each.kept:
                each.kept = True
                self.recorder.keep("break", event["text"])

    def _ask_breaks(self, *, memory: bool = True) -> None:
        with self._survived("The breaks"):
            self._hit(self.breakpoints.ask("tick", None, memory=memory))

    def _look_for_nonfinite(self, *, glance: bool = False) -> None:
        found = None
        with self._survived("The breaks"):
            if self.finite is not None:
                found = self.finite.glance() if glance else self.finite.find()
        if found is None:
            return
        self.finite, writers = None, found["fields"]["writers"]  # what follows from the first one is of no interest
        system = writers[0].split("`")[1] if len(writers) == 1 else None
        about = {key: found[key] for key in ("text", "row", "column", "fields")}
        self.publisher.event("nonfinite", system=system, **about)

    def iteration(self, number: int, row: dict[str, float]) -> None:
        """An iteration is over: its numbers, as they go to metrics.jsonl."""
        self.publisher.iteration(number, {name: float(value) for name, value in row.items()})

    def seek(self, ring: Ring, tick: int | None) -> None:
        """Put another tick in view, None for the present; what was done by hand to the one in view never was."""
        before = self.editor.edited()
        try:
            ring.live() if tick is None else ring.seek(tick)
        except Exception:  # half of a tick that ran again is no place to go on from
            ring.live()
            raise
        finally:
            self.interventions.discard()
            self.jumped()
        now = self.editor.edited()
        if before != now:
            self.server.renew()
        for address in dict.fromkeys([*before, *now]):
            new = self.editor.value(address)
            if before.get(address) != new:
                text = f"{address} is {new} at tick {self.tick}"
                self.publisher.event("edit", text, fields={"what": "set", "address": address, "new": new})

    def jumped(self) -> None:
        """The world is that of another tick than before."""
        self.publisher.jump()
        self.breakpoints.forget()
        self.writers.begin()
        self.finite = FiniteCheck(self.simulation, self.table)

    # -- standing still --------------------------------------------------------------------------------

    def _stand_here(self) -> None:
        """Wait, and do what clients ask for, until the run may go on."""
        self._alone_since = 0.0
        self._show()
        while self.steps.stands:
            if self.run.stopping:
                self.go_on()
                break
            self.server.wait(0.2)
            if self._serve() and self.steps.stands:
                self._show()
            if time.perf_counter() - self._published >= STATE_EVERY:
                self.publish()
            if self._left_alone():
                self.publisher.event("control", f"Nobody has held control for {self.patience:g} s; the run goes on.")
                self.go_on()
        self.publish()

    def _show(self) -> None:
        self.publisher.show_everything(self.tick if self.viewing else None)
        self.publish()
        self._answer_pending({"t": "ok", "tick": self.tick})

    def _left_alone(self) -> bool:
        """Whether nobody who could let the run go has been there for too long."""
        if self.server.controller is not None or self.stay:
            self._alone_since = 0.0
            return False
        self._alone_since = self._alone_since or time.perf_counter()
        return time.perf_counter() - self._alone_since > self.patience

    def go_on(self) -> None:
        """Let the run go, from the present."""
        if self.ring is not None and self.ring.viewing:
            self.seek(self.ring, None)
        self.steps.go()
        self._answer_pending({"t": "error", "code": "busy", "text": "The run was let go before it got there."})

    def _answer_pending(self, answer: dict[str, Any]) -> None:
        for client, number in self.pending:
            self.server.post(client, {**answer, "id": number})
        self.pending = []

    # -- what clients say ------------------------------------------------------------------------------

    def _serve(self) -> bool:
        """Handle what has come from clients; whether anything has."""
        found = self.server.drain()
        for client, message in found:
            if isinstance(message, Joined):
                self.publisher.join(client)
                self.publish()
            elif isinstance(message, Left):
                self.publisher.leave(client)
                self.breakpoints.leave(client)
                self.pending = [(p, number) for p, number in self.pending if p is not client]
            elif client in self.publisher.clients:
                self.handle(self, client, message)
        return bool(found)

    def event(self, kind: str, text: str) -> None:
        """Send an event to every client."""
        self.publisher.event(kind, text)

    def publish(self) -> None:
        """Tell everybody how the run goes on."""
        self._published = time.perf_counter()
        steps, tick, reach = self.steps, self.tick, self.reach()
        mode = "viewing" if self.viewing else "paused" if steps.stands else "running"
        self.server.publish(
            {
                "mode": mode,
                "tick": tick,
                "next": self.ids[id(steps.next)] if steps.next is not None else None,
                "substep": steps.substep,
                "why": steps.why if mode != "running" else "",
                "ticks_per_second": 1.0 / max(self.publisher.tick_seconds, 1e-9),
                "cost": self.publisher.cost,
                "dropped": self.publisher.dropped,
                "controller": self.server.holder,
                "inspected": self._before_systems in self.schedule.observers,
                "view": tick if self.viewing else None,
                "history": [reach[0], reach[-1]] if reach else None,
                "exact": self.ring is not None and self.ring.exact,
                "intervened": self.interventions.count,
            }
        )

    def reach(self) -> range:
        """The ticks that can be sought; none inside a tick, where nothing can be."""
        if self.ring is None or self.inside:
            return range(0)
        try:
            ticks = self.ring.ticks
        except Exception as error:
            self._lose_past(error)
            return range(0)
        return range(max(0, ticks.start), ticks.stop)  # what lies before the first tick is no tick

    # -- the end ---------------------------------------------------------------------------------------

    def failed(self, error: BaseException, recording: Path | None = None) -> None:
        """A tick has failed: say where, to whoever is attached. recording: the flight recorder's, of what led there."""
        if self.recorder is not None:
            with self._survived("The recording"):
                recording = self.recorder.keep_failure(error) or recording
            self.recorder.detach()
            self.recorder = None
        lines = "".join(traceback.format_exception(error))[-4000:]
        fields = {"traceback": lines, "recording": str(recording) if recording is not None else None}
        self.publisher.event("exception", _words(error)[:2000], system=_failed_in(error), fields=fields)

    def close(self, text: str = "The run has ended.") -> None:
        """Say goodbye, and leave the schedule as it was."""
        self.publisher.event("ended", text)
        self._unhook()
        self.schedule.detach(self._tick_starts)
        self.server.close(text, tick=self.tick)


def _words(error: BaseException) -> str:
    return ": ".join(part for part in (type(error).__name__, str(error)) if part)


def _failed_in(error: BaseException) -> str | None:
    """The system that was running."""
    found: Any = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "_run_entry":
            found = frame.f_locals.get("entry")
    return found.name if isinstance(found, Entry) else None
