"""The live debugger's half in the tick thread: samples what was asked for, and does what it is told between systems.

The sockets are another thread's (engine/hub.py). With nobody attached all of this is one `if` per tick. A paused run
waits inside a hook of the schedule; commands are carried out there and between ticks, and nowhere else.
"""

import json
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from engine import messages as say
from engine.breaks import Expression, compile_break
from engine.component import info
from engine.edit import Editor
from engine.errors import BreakError, EditError, LockstepError, ReplayError
from engine.hub import BREAKS, Hub
from engine.inbox import Joined, Left
from engine.peer import Peer
from engine.recorder import BlackBox, FiniteCheck, Recorder, watched_table
from engine.replay import Ring
from engine.run_folder import INTERVENTIONS
from engine.scene import Simulation
from engine.schedule import Entry
from engine.subscription import LARGEST, Plan, govern, make_plan
from engine.trace import as_numpy
from engine.wire import pack_array

BUDGET = 0.005  # share of a tick that data may cost
STATE_EVERY = 0.5  # s
_MOST_EVENT_ROWS = 32


@attrs.define(eq=False)
class Break:
    """A condition, where it is asked, and what happens when it holds."""

    number: int
    expression: Expression
    place: str  # "tick", or "before" or "after" a system
    system: int | None
    rows: "np.ndarray | None"
    skip: int
    action: str


@attrs.define(eq=False, slots=False)
class Inspector:
    """Serves debuggers of one training.

    folder: where interventions.jsonl and recordings go. history: (ticks between snapshots, bytes) of the ring that rewinding
    needs, which is kept only while somebody is attached. stay: a paused run stays so when its debugger has gone; else
    it goes on after `patience` seconds. saved, branched: called to write a checkpoint, and after going on from another
    tick. attached is all that an unattended tick looks at.
    """

    simulation: Simulation
    hub: Hub
    folder: Path | None = None
    history: tuple[int, int] = (50, 1 << 29)
    stay: bool = False
    patience: float = 30.0
    saved: Callable[[], str] | None = None
    branched: Callable[[int], None] | None = None
    stopping: Callable[[], bool] = attrs.field(default=lambda: False)
    intervened: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        schedule = self.simulation.schedule
        self.world, self.schedule = self.simulation.world, schedule
        self.ids = {id(entry): number for number, entry in enumerate(schedule.entries)}
        self.addresses = list(self.world.columns())
        self.table = watched_table(self.simulation)
        self.editor = Editor(self.simulation)
        self.clients: dict[Peer, dict[int, Plan]] = {}
        self.selected: dict[Peer, tuple[int, ...]] = {}
        self.breaks: dict[int, Break] = {}
        self.ring: Ring | None = None
        self.recorder: Recorder | None = None
        self.black_box: BlackBox | None = None
        self.vitals: deque[tuple[int, np.ndarray]] = deque(maxlen=256)
        self.finite: FiniteCheck | None = None
        self.writers: dict[tuple[str, type], tuple[Entry, int]] = {}
        self.learned: tuple[int, dict[str, float]] = (0, {})
        self.pausing = self.inside = False
        self.left: tuple[str, int] | None = None  # unit and count of a step under way
        self.run_to: tuple[int | None, int | None] | None = None
        self.pending: list[tuple[Peer, int]] = []  # commands that are answered when the run stands still again
        self.next: Entry | None = None
        self.resets: list[int] = []
        self.why, self.phase = "", ""
        self.tick_seconds, self.tick_began, self.said, self.alone_since = 0.02, 0.0, 0.0, 0.0
        self.spent_on = [0.0] * len(schedule.entries), [0] * len(schedule.entries)
        self.numbers = 0
        self.hooked = False
        self.versions: list[tuple[tuple[str, type], int]] = []
        schedule.before_tick.insert(0, self._before_tick)

    # -- the hooks -------------------------------------------------------------------------------------

    def _before_tick(self) -> None:
        if not self.hub.attached and not self.clients and not self.pausing:
            return
        self._serve()
        if not self.clients and not self.pausing:
            self._unhook()
            return
        self._hook()
        if self.run_to and self.run_to[1] is not None and self._tick() >= self.run_to[1]:
            self._stand("run_to")
        elif self.left and self.left[0] == "tick":
            self._count_down()
        if self.pausing and not self.left and not self.run_to:
            self._pause(None)
        self.schedule.between = self._between if self._inspecting() else None
        self.inside = True
        self.tick_began = time.perf_counter()

    def _at_finish(self) -> None:
        for row in self.resets:
            self._mark_done(row)
        self.resets = []
        tick = self._tick()
        for plans in self.clients.values():
            for plan in plans.values():
                plan.timed(plan.at_finish, tick)
        self._tell_resets(tick)
        if self.black_box is not None:
            self._take_vitals()
        self._ask_breaks("tick", None, memory=False)

    def _after_tick(self) -> None:
        self.inside, self.next = False, None
        tick, now = self._tick(), time.perf_counter()
        self.tick_seconds += 0.1 * ((now - self.tick_began) - self.tick_seconds)
        self._look_for_nonfinite()
        self._ask_breaks("tick", None, memory=True)
        for peer, plans in self.clients.items():
            for plan in plans.values():
                plan.timed(plan.after_tick, tick)
                if now >= plan.due:
                    plan.due = now + 1.0 / plan.hz
                    plan.timed(self._offer, peer, plan, tick)
                plan.settle()
        every = [plan for plans in self.clients.values() for plan in plans.values()]
        for plan in govern(every, self.tick_seconds, BUDGET):
            for peer, plans in self.clients.items():
                if plans.get(plan.id) is plan:
                    self.hub.post(peer, {"t": "sub_ok", "id": plan.id, "hz": plan.hz, "bytes": plan.num_bytes})
        if now - self.said >= STATE_EVERY:
            self._publish("running")

    def _between(self, entry: Entry) -> None:
        """Before each system of an inspected tick."""
        before, self.next, self.inside = self.next, entry, True
        if before is not None:
            self._ask_breaks("after", self.ids[id(before)], memory=True)
        number = self.ids[id(entry)]
        self._ask_breaks("before", number, memory=True)
        if self.run_to and self.run_to[0] == number:
            self._stand("run_to")
        if (self.left and self.left[0] == "system" and before is not None) or (
            self.left and self.left[0] == "phase" and self.phase and entry.phase != self.phase
        ):
            self._count_down()
        self.phase = entry.phase
        if self.pausing and not self.left and not self.run_to:
            self._pause(entry)
        self._remember_versions(entry)

    def _after_entry(self, entry: Entry) -> None:
        """Who wrote what, by version counters; those that MuJoCo writes are raised by hand."""
        for key, version in self.versions:
            if version != self._version(key):
                self.writers[key] = entry, self._tick()

    def _remember_versions(self, entry: Entry) -> None:
        self.versions = [(key, self._version(key)) for key in entry.writes if key[0]]

    def _version(self, key: tuple[str, type]) -> int:
        component = self.world.components[key]
        return sum(getattr(component, name)._version for name in info(key[1]).columns)

    def _hook(self) -> None:
        if self.hooked:
            return
        self.hooked = True
        self.schedule.at_finish.append(self._at_finish)
        self.schedule.after_tick.append(self._after_tick)
        self.finite = self.finite or FiniteCheck(self.simulation, self.table)
        if self.ring is None and self.history[1] > 0:
            try:
                self.ring = Ring(self.simulation, every=self.history[0], budget=self.history[1])
            except LockstepError as error:
                self._event("warning", f"There is no rewinding: {error}")
                self.history = self.history[0], 0

    def _unhook(self) -> None:
        if not self.hooked:
            return
        self.hooked, self.schedule.between = False, None
        for hooks, own in ((self.schedule.at_finish, self._at_finish), (self.schedule.after_tick, self._after_tick)):
            hooks.remove(own)
        if self.ring is not None:
            self.ring.close()
            self.ring = None
        self.breaks.clear()
        self.black_box = None

    def _inspecting(self) -> bool:
        stepping = self.left is not None and self.left[0] != "tick"
        aiming = self.run_to is not None and self.run_to[0] is not None
        inspected = stepping or aiming or any(b.place != "tick" for b in self.breaks.values())
        if inspected and self._after_entry not in self.schedule.after_entry:
            self.versions = []
            self.schedule.after_entry.append(self._after_entry)
        elif not inspected and self._after_entry in self.schedule.after_entry:
            self.schedule.after_entry.remove(self._after_entry)
        return inspected

    # -- standing still --------------------------------------------------------------------------------

    def _count_down(self) -> None:
        """One system, phase or tick of a step is over."""
        assert self.left is not None
        unit, count = self.left
        if count > 1:
            self.left = unit, count - 1
        else:
            self._stand("step")

    def _stand(self, why: str) -> None:
        self.pausing, self.left, self.run_to, self.why = True, None, None, why

    def _pause(self, entry: Entry | None) -> None:
        """Wait here, and do what is said, until the run may go on."""
        self.alone_since = 0.0
        self._show_everything()
        self._publish("paused")
        self._answer_pending()
        while self.pausing and not self.left and not self.run_to:
            if self.stopping():
                self._go_on()
                break
            self.hub.wait(0.2)
            if self._serve() and self.pausing and not self.left and not self.run_to:
                self._show_everything()
                self._publish("paused")
                self._answer_pending()
            if time.perf_counter() - self.said >= STATE_EVERY:
                self._publish("paused")
            if not self.hub.controller and not self.stay:
                self.alone_since = self.alone_since or time.perf_counter()
                if time.perf_counter() - self.alone_since > self.patience:
                    self._event("control", f"Nobody has held control for {self.patience:g} s; the run goes on.")
                    self._go_on()
            else:
                self.alone_since = 0.0
        if entry is not None and (self.left or self.run_to or self.breaks):
            self.schedule.between = self._between
            self._inspecting()
        self._publish("running")

    def _go_on(self) -> None:
        if self.ring is not None and self.ring.viewing:
            self.ring.live()
        self.pausing, self.why, self.left, self.run_to = False, "", None, None

    def _answer_pending(self) -> None:
        for peer, number in self.pending:
            self.hub.post(peer, {"t": "ok", "id": number, "tick": self._tick()})
        self.pending = []

    # -- what clients say ------------------------------------------------------------------------------

    def _serve(self) -> bool:
        """Do what was said; whether anything was."""
        found = self.hub.drain()
        for peer, message in found:
            if isinstance(message, Joined):
                self.clients[peer], self.selected[peer] = {}, (0,)
                self._publish("paused" if self.pausing else "running")
            elif isinstance(message, Left):
                self.clients.pop(peer, None)
                self.selected.pop(peer, None)
                self.pending = [(p, n) for p, n in self.pending if p is not peer]
            else:
                self._obey(peer, message)
        return bool(found)

    def _obey(self, peer: Peer, message: say.Message) -> None:
        number = getattr(message, "id", 0)
        try:
            answer = self._do(peer, message)
        except EditError as error:
            self._refuse(peer, number, error.code, str(error))
        except BreakError as error:
            self._refuse(peer, number, "bad_expression", str(error))
        except ReplayError as error:
            self._refuse(peer, number, "out_of_history", str(error))
        except LockstepError as error:
            self._refuse(peer, number, "bad_message", str(error))
        except Exception as error:  # a debugger may be wrong in ways that nobody thought of; the training goes on
            self._refuse(peer, number, "unsupported", f"That failed: {type(error).__name__}: {error}"[:500])
        else:
            if answer is not None:
                self.hub.post(peer, {"t": "ok", "id": number, **answer})

    def _refuse(self, peer: Peer, number: int, code: str, text: str) -> None:
        self.hub.post(peer, {"t": "error", "id": number, "code": code, "text": text})

    def _do(self, peer: Peer, message: say.Message) -> dict[str, Any] | None:
        match message:
            case say.Sub():
                self._subscribe(peer, message)
                return None
            case say.Unsub(id=number):
                self.clients[peer].pop(number, None)
                return None
            case say.Select(rows=rows):
                self._select(peer, rows)
                return None
            case say.Pause(id=number):
                self._stand("asked for")
                self.pending.append((peer, number))
                return None
            case say.Run():
                self._go_on()
                self._publish("running")
                return {"tick": self._tick()}
            case say.Step(id=number, unit=unit, count=count):
                self._need_pause("step")
                self._need_live()
                self.left = unit, count
                self.phase = self.next.phase if self.next is not None else ""
                self.pending.append((peer, number))
                return None
            case say.RunTo(id=number, system=system, tick=tick):
                self._need_live()
                if tick is not None and tick <= self._tick():
                    raise EditError(
                        "bad_message", f"The run is at tick {self._tick()}; tick {tick} lies behind, seek it."
                    )
                self.run_to, self.pausing = (system, tick), True
                self.left = None
                self.pending.append((peer, number))
                return None
            case say.Provenance():
                return self._provenance(message)
            case say.Asset():
                raise EditError("unsupported", "This run does not hand out model files.")
            case _:
                return self._intervene(peer, message)

    def _intervene(self, peer: Peer, message: say.Message) -> dict[str, Any] | None:
        match message:
            case say.SetColumn(column=column, rows=rows, labels=labels, values=values, force=force, reason=reason):
                address = self.addresses[column]
                self.editor.live_signals = self._live_signals()
                old = self.editor.set_column(address, rows, values, labels, force=force)
                what = f"{address} of {len(rows)} rows"
                self._intervention(
                    peer, "set", what, old.tolist(), np.asarray(values).tolist(), reason, address=address
                )
                return {"old": pack_array(old)}
            case say.SetConstant(address=address, value=value, reason=reason):
                before, after, when = self.editor.set_constant(address, value)
                if self.ring is not None and not self.ring.viewing and not self.inside:
                    self.ring.keep()
                self._intervention(peer, "set", address, before, after, reason, address=address)
                return {"old": before, "new": after, "when": when}
            case say.Break():
                return self._add_break(message)
            case say.Unbreak(number=number):
                if self.breaks.pop(number, None) is None:
                    raise EditError("bad_message", f"There is no break {number}.")
                return {}
            case say.Seek(tick=tick):
                self._history().seek(tick)
                self.pausing = True
                return {"tick": self._tick(), "exact": self._history().exact}
            case say.Live():
                self._history().live()
                return {"tick": self._tick()}
            case say.Branch():
                self._history().branch()
                if self.branched is not None:
                    self.branched(self._tick())
                self._intervention(peer, "branch", f"tick {self._tick()}", None, None, "")
                return {"tick": self._tick()}
            case say.Snapshot():
                if self.saved is None or self.inside:
                    raise EditError("unsupported", "A checkpoint is written between ticks of a training only.")
                return {"name": self.saved()}
            case say.Record(on=on):
                return self._record(on, self.selected.get(peer, ()))
            case say.Reset(rows=rows):
                self.resets += [row for row in rows if row not in self.resets]
                self._intervention(peer, "reset", f"rows {list(rows)[:8]}", None, None, "")
                return {"rows": len(rows)}
        raise EditError("unsupported", f"This run does not know the command '{type(message).__name__}'.")

    def _need_pause(self, what: str) -> None:
        if not self.pausing:
            raise EditError("not_paused", f"The run is not paused; pause it before a {what}.")

    def _need_live(self) -> None:
        if self.ring is not None and self.ring.viewing:
            raise EditError(
                "not_paused", f"Tick {self._tick()} is in view; go back with live, or on with branch, first."
            )

    def _history(self) -> Ring:
        if self.ring is None:
            raise EditError("out_of_history", "This run keeps no history; its budget does not hold two snapshots.")
        if self.inside:
            raise EditError("not_paused", "The tick is not over; finish it (step tick) before going elsewhere.")
        return self.ring

    def _subscribe(self, peer: Peer, message: say.Sub) -> None:
        plan = make_plan(
            self.simulation, message.id, message.kind, message.columns, message.rows, message.hz, self.selected[peer]
        )
        if plan.num_bytes > LARGEST and not self.pausing:
            text = f"{plan.num_bytes} bytes in a frame are more than {LARGEST}; pause the run, or ask for less."
            self.hub.post(peer, {"t": "sub_no", "id": plan.id, "code": "over_budget", "text": text})
            return
        if message.kind == "vitals" and self.black_box is None:
            self.black_box = BlackBox(self.simulation, self.table, 2, 1)
        self.clients[peer][plan.id] = plan
        self.hub.post(peer, {"t": "sub_ok", "id": plan.id, "hz": plan.hz, "bytes": plan.num_bytes})

    def _select(self, peer: Peer, rows: tuple[int, ...]) -> None:
        self.selected[peer] = rows
        for plan in self.clients[peer].values():
            if plan.selected:
                least = min((len(p.alias) for p in plan.columns), default=1 << 62)
                plan.rows = np.array([row for row in rows if row < least], np.int64)
                plan.ring, plan.finished, plan.due = [], None, 0.0

    # -- data ------------------------------------------------------------------------------------------

    def _offer(self, peer: Peer, plan: Plan, tick: int) -> None:
        if not self.hub.empty(peer, plan.id) and plan.kind == "trace":
            return  # what is kept goes with the next frame
        made: dict[str, Any] | None
        if plan.kind == "timing":
            made = self._timing(tick)
        elif plan.kind == "learner":
            made = self._learner(plan, tick)
        elif plan.kind == "vitals":
            made = self._vitals(plan)
        else:
            made = plan.message(tick)
        if made is not None:
            if self.ring is not None and self.ring.viewing:
                made["view"] = tick
            self.hub.offer(peer, plan.id, made)

    def _show_everything(self) -> None:
        """All latest values, at once: the run stands still, and somebody looks."""
        tick = self._tick()
        for peer, plans in self.clients.items():
            for plan in plans.values():
                if plan.kind in ("values", "pose", "column"):
                    plan.finished = None
                self._offer(peer, plan, tick)

    def _timing(self, tick: int) -> dict[str, Any]:
        seconds, calls = self.spent_on
        now = [entry.seconds for entry in self.schedule.entries], [entry.calls for entry in self.schedule.entries]
        spent = np.array([a - b for a, b in zip(now[0], seconds, strict=True)], np.float32)
        count = np.array([a - b for a, b in zip(now[1], calls, strict=True)], np.int32)
        self.spent_on = now
        ticks = max(int(count.max(initial=1)) // max(self.schedule.repeat, 1), 1)
        made = {"kind": "timing", "ticks": [tick, tick], "view": None, "lost": 0, "cols": []}
        return made | {
            "seconds": pack_array(spent / ticks), "calls": pack_array(count), "tick_seconds": self.tick_seconds,
        }  # fmt: skip

    def _learner(self, plan: Plan, tick: int) -> dict[str, Any] | None:
        iteration, values = self.learned
        if iteration == plan.since or not values:
            return None
        plan.since = iteration
        made = {"kind": "learner", "ticks": [tick, tick], "view": None, "lost": 0, "cols": []}
        return made | {"values": values, "iteration": iteration}

    def _take_vitals(self) -> None:
        assert self.black_box is not None
        before = self.black_box.taken
        self.black_box.take()
        if self.black_box.taken > before:
            slot = before % len(self.black_box.tick)
            self.vitals.append((int(self.black_box.tick[slot]), self.black_box.store[slot].numpy().copy()))

    def _vitals(self, plan: Plan) -> dict[str, Any] | None:
        new = [(tick, values) for tick, values in self.vitals if tick > plan.since]
        if not new or not len(plan.rows):
            return None
        plan.since = new[-1][0]
        at, values = np.array([tick for tick, _ in new]), np.stack([values[plan.rows] for _, values in new])
        made = {"kind": "vitals", "ticks": [int(at[0]), int(at[-1])], "view": None, "lost": 0, "cols": []}
        return made | {"at": pack_array(at), "values": pack_array(values), "rows": plan.rows.tolist()}

    def iteration(self, number: int, row: dict[str, float]) -> None:
        """An iteration is over: its numbers, as they go to metrics.jsonl."""
        self.learned = number, {name: float(value) for name, value in row.items()}
        if self.clients:
            self._event("iteration", f"iteration {number}", fields={"iteration": number})

    # -- what happens ----------------------------------------------------------------------------------

    def _tick(self) -> int:
        clock = self.world.clock
        return clock.tick if clock.begun or self.inside else -1

    def _event(self, kind: str, text: str, **more: Any) -> None:
        row, column, system = more.pop("row", None), more.pop("column", None), more.pop("system", None)
        fields = more.pop("fields", {})
        self.hub.broadcast(
            {"t": "event", "kind": kind, "tick": self._tick(), "row": row, "column": column, "system": system,
             "text": text, "fields": fields}
        )  # fmt: skip

    def _tell_resets(self, tick: int) -> None:
        ends = self.simulation.ends.get(self.table)
        if ends is None:
            return
        ended = as_numpy(ends.ended)
        if not ended.any():
            return
        rows = np.flatnonzero(ended)
        why: dict[str, int] = {}
        if ends.reason is not None:
            counts = as_numpy(ends.reason)[rows].sum(0)
            why = {label: int(count) for label, count in zip(ends.labels, counts, strict=True) if count}
        fields: dict[str, Any] = {"reasons": why, "count": len(rows), "rows": rows[:_MOST_EVENT_ROWS].tolist()}
        fields["failed"] = as_numpy(ends.failed)[rows[:_MOST_EVENT_ROWS]].tolist()
        if ends.reason is not None:
            shown = as_numpy(ends.reason)[rows[:_MOST_EVENT_ROWS]]
            fields["why"] = [[label for label, on in zip(ends.labels, row, strict=True) if on] for row in shown]
        if ends.began is not None:
            fields["steps"] = (tick - as_numpy(ends.began)[rows[:_MOST_EVENT_ROWS]]).tolist()
        text = ", ".join(f"{count} × {label}" for label, count in why.items()) or f"{len(rows)} episodes ended"
        self._event("reset", text, row=int(rows[0]), fields=fields)

    def _look_for_nonfinite(self) -> None:
        found = self.finite.find() if self.finite is not None else None
        if found is None:
            return
        self.finite = None
        system = found["fields"]["writers"][0] if found["fields"]["writers"] else None
        self._event(
            "nonfinite", found["text"], row=found["row"], column=found["column"], system=system, fields=found["fields"]
        )

    def _mark_done(self, row: int) -> None:
        ends = self.simulation.ends.get(self.table)
        if ends is not None:
            ends.ended[row] = True
            for column in ends.follow:
                column[row] = True

    def _live_signals(self) -> frozenset[tuple[str, type]]:
        """Signals that were written before the next system of the tick, and are still read by it or a later one."""
        if self.next is None:
            return frozenset()
        plan = self.schedule.plan()
        here = max((i for i, entry in enumerate(plan) if entry is self.next), default=0)
        written = {key for entry in plan[:here] for key in entry.writes}
        read = {key for entry in plan[here:] for key in entry.reads}
        return frozenset(key for key in written & read if key[0] and info(key[1]).lifetime == "signal")

    def _provenance(self, message: say.Provenance) -> dict[str, Any]:
        table, component, _ = self.addresses[message.column].split(".")
        key = next(k for k in self.world.components if k[0] == table and info(k[1]).name == component)
        declared = [entry for entry in self.schedule.entries if key in entry.writes]
        observed = self.writers.get(key)
        writer = observed[0] if observed else declared[0] if declared else None
        return {
            "writer": writer.name if writer else "",
            "tick": observed[1] if observed else self._tick(),
            "kind": "observed" if observed else "declared",
            "readers": list(dict.fromkeys(e.name for e in self.schedule.entries if key in e.reads)),
            "sources": list(dict.fromkeys(cls.__name__ for home, cls in (writer.reads if writer else ()) if home)),
        }

    def _add_break(self, message: say.Break) -> dict[str, Any]:
        if len(self.breaks) >= BREAKS:
            raise EditError("over_budget", f"{BREAKS} breaks are the most; remove one first.")
        place, _, system = message.at.partition(" ")
        number = None
        if place != "tick":
            known = {entry.name: self.ids[id(entry)] for entry in reversed(self.schedule.entries)}
            number = int(system) if system.isdigit() else known.get(system)
            if number is None or number >= len(self.schedule.entries):
                raise EditError("bad_message", f"There is no system '{system}' to break {place}.")
        rows = None if message.rows is None else np.array(message.rows, np.int64)
        expression = compile_break(message.when, self.world)
        self.numbers += 1
        self.breaks[self.numbers] = Break(self.numbers, expression, place, number, rows, message.skip, message.action)
        return {"break": self.numbers}

    def _ask_breaks(self, place: str, system: int | None, *, memory: bool) -> None:
        for each in list(self.breaks.values()):
            if each.place != place or each.system != system or (each.expression.memory and not memory):
                continue
            hits = each.expression.hits().numpy()
            if each.rows is not None:
                only = np.zeros_like(hits)
                only[each.rows] = hits[each.rows]
                hits = only
            if not hits.any():
                continue
            if each.skip > 0:
                each.skip -= 1
                continue
            self._hit(each, np.flatnonzero(hits))

    def _hit(self, each: Break, rows: np.ndarray) -> None:
        address = each.expression.columns[0]
        column = self.world.columns()[address]
        values = as_numpy(column[int(rows[0])]).reshape(-1)
        label = ""
        if column.is_floating_point() and not np.isfinite(values).all():
            from engine.world import flat_labels

            place = int(np.flatnonzero(~np.isfinite(values))[0])
            label = flat_labels(self.world, address)[place]
        table, component, _ = address.split(".")
        writers = [
            e for e in self.schedule.entries for key in e.writes if key[0] == table and info(key[1]).name == component
        ]
        by = writers[0].name if writers else "nobody"
        count = self.world.tables[each.expression.table].rows
        where = f"row {int(rows[0])}" + (f", {label}" if label else "")
        text = f"break: {each.expression.text} hit at {where}, written by {by}; {len(rows)} of {count} rows"
        fields = {"break": each.number, "rows": rows[:_MOST_EVENT_ROWS].tolist(), "count": len(rows), "label": label}
        self._event("break", text, row=int(rows[0]), column=address, system=by, fields=fields)
        if each.action == "pause":
            self._stand(text)
            if self.inside:
                self._pause(self.next)  # at the end of a tick the run stops before the next one
        elif each.action == "keep" and self.recorder is not None:
            self.recorder.keep("break", text)

    def _record(self, on: bool, rows: tuple[int, ...]) -> dict[str, Any]:
        if self.folder is None:
            raise EditError("unsupported", "There is no run folder to write recordings to.")
        if on and self.recorder is None:
            self.recorder = Recorder(
                self.simulation,
                rows=list(rows) or None,
                folder=self.folder / "records",
                say=lambda t: self._event("record", t),
            )
            self.recorder.attach()
            return {"path": ""}
        path = None
        if not on and self.recorder is not None:
            path = self.recorder.keep("request", "A recording was asked for.")
            self.recorder.detach()
            self.recorder = None
        self._event("record", f"recording written: {path.name}" if path else "recording")
        return {"path": str(path) if path else ""}

    def _intervention(
        self, peer: Peer, what: str, where: str, old: Any, new: Any, reason: str, *, address: str | None = None
    ) -> None:
        self.intervened += 1
        line = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"), "tick": self._tick(), "client": peer.name, "what": what,
            "where": where, "old": old, "new": new, "reason": reason,
        }  # fmt: skip
        fields = {"old": old, "new": new, "reason": reason} | ({"address": address} if address else {})
        self._event("edit", f"{peer.name}: {what} {where}", fields=fields)
        if self.folder is not None:
            try:
                with open(self.folder / INTERVENTIONS, "a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
            except OSError as error:
                self._event("warning", f"interventions.jsonl cannot be written ({error.strerror or error}).")

    def _publish(self, mode: str) -> None:
        self.said = time.perf_counter()
        ring = self.ring
        viewing = ring is not None and ring.viewing
        plans = [plan for plans in self.clients.values() for plan in plans.values()]
        holder = self.hub.controller
        self.hub.publish(
            {
                "mode": "viewing" if viewing else mode,
                "tick": self._tick(),
                "next": self.ids[id(self.next)] if self.next is not None else None,
                "substep": 0,
                "why": self.why if mode == "paused" else "",
                "ticks_per_second": 1.0 / max(self.tick_seconds, 1e-9),
                "cost": sum(plan.cost for plan in plans) / max(self.tick_seconds, 1e-9),
                "dropped": sum(plan.lost for plan in plans),
                "controller": holder.name if holder is not None else None,
                "inspected": self.schedule.between is not None,
                "view": self._tick() if viewing else None,
                "history": [ring.ticks[0], ring.ticks[-1]] if ring is not None and not self.inside else None,
                "exact": ring.exact if ring is not None else False,
                "intervened": self.intervened,
            }
        )

    def failed(self, error: BaseException) -> None:
        """A tick has failed: say where, to whoever is attached."""
        self._event(
            "exception", f"{type(error).__name__}: {error}"[:2000], system=self.next.name if self.next else None
        )

    def close(self, text: str = "The run has ended.") -> None:
        """Say goodbye, and leave the schedule as it was."""
        self._unhook()
        if self._before_tick in self.schedule.before_tick:
            self.schedule.before_tick.remove(self._before_tick)
        self.hub.close(text, tick=self._tick())
