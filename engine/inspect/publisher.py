"""Publisher of a run: data that debuggers subscribed to, and events; called in the tick thread, sent by the server."""

import time
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import torch

from engine.ecs.scene import Simulation
from engine.inspect.client import DebugClient
from engine.inspect.episodes import EpisodeEnds
from engine.inspect.server import DebugServer
from engine.inspect.subscription import ENDING, LARGEST, RateLimiter, SamplingPlan, make_plan
from engine.protocol import messages
from engine.protocol.display import NO_DISPLAY, View
from engine.protocol.vitals import find_ends, find_vitals
from engine.recording.recorder import EVERY_ON_HOST, BlackBox

BUDGET = 0.005
"""Share of a tick that data may cost."""
VITALS = 0.004
"""Share of a tick that the black box may cost besides; where it costs more, it is sampled in fewer ticks."""
_MEASURED = 8  # ticks between those in which it is measured what each subscription costs, which costs time itself
_SMOOTH = 0.05  # share of a tick in averages of costs
_SELDOM = 32  # ticks between samples of the black box, at most
RESETS_EVERY = 0.5
"""Seconds between events of resets."""
EVENT_EVERY = 0.05
"""Seconds between events of one break that goes on holding."""


@attrs.define(eq=False)
class Publisher:
    """The clients of a run, their subscriptions, and what goes to them. `table` is the one whose rows are watched.

    `tick` gives the tick in which, or after which, the run is. Sampling never raises: a subscription that fails ends with `sub_no`.
    """

    simulation: Simulation
    server: DebugServer
    table: str
    tick: Callable[[], int]
    view: View = NO_DISPLAY
    limiter: RateLimiter = attrs.field(factory=lambda: RateLimiter(BUDGET))
    clients: dict[DebugClient, dict[int, SamplingPlan]] = attrs.field(factory=dict, init=False)
    selected: dict[DebugClient, tuple[int, ...]] = attrs.field(factory=dict, init=False)
    tick_seconds: float = attrs.field(default=0.02, init=False)
    hooks: float = attrs.field(default=0.0, init=False)  # CPU seconds of the debugger's hooks in a tick, averaged
    snapshots: float = attrs.field(default=0.0, init=False)  # CPU seconds in a tick of what is kept to go back to
    endings: EpisodeEnds = attrs.field(init=False)
    _black_box: BlackBox | None = attrs.field(default=None, init=False)
    _learned: tuple[int, dict[str, float]] = attrs.field(default=(0, {}), init=False)
    _pairs: list[tuple[DebugClient, SamplingPlan]] = attrs.field(factory=list, init=False)  # all subscriptions
    _ending: list[tuple[DebugClient, SamplingPlan]] = attrs.field(
        factory=list, init=False
    )  # that show how episodes end
    _reported: float = attrs.field(default=0.0, init=False)
    _spaced: float = attrs.field(default=0.0, init=False)
    _box_cost: float = attrs.field(default=0.0, init=False)  # CPU seconds in a tick, averaged

    def __attrs_post_init__(self) -> None:
        self.endings = EpisodeEnds(self.simulation, self.table, self.view)

    # -- clients ---------------------------------------------------------------------------------------

    def join(self, client: DebugClient) -> None:
        """A client has come; it has selected row 0."""
        if not self.clients:
            self.endings = EpisodeEnds(self.simulation, self.table, self.view)
        self.clients[client], self.selected[client] = {}, (0,)

    def leave(self, client: DebugClient) -> None:
        """A client has gone."""
        self.clients.pop(client, None)
        self.selected.pop(client, None)
        self._regroup()

    @property
    def plans(self) -> list[SamplingPlan]:
        """All subscriptions."""
        return [plan for plans in self.clients.values() for plan in plans.values()]

    @property
    def cost(self) -> float:
        """Share of a tick that data costs."""
        return self.limiter.share(self.plans, self.tick_seconds) + self.others + self._box_cost / self.tick_seconds

    @property
    def others(self) -> float:
        """Share of a tick that the debugger costs besides its subscriptions and the black box."""
        plans = self.limiter.share(self.plans, self.tick_seconds)
        return max(0.0, (self.hooks - self._box_cost + self.snapshots) / self.tick_seconds - plans)

    @property
    def dropped(self) -> int:
        """Frames that clients did not fetch in time."""
        return sum(client.dropped for client in self.clients)

    def subscribe(self, client: DebugClient, message: messages.SubscribeRequest, *, paused: bool) -> None:
        """Begin to send what was asked for, or say why not."""
        chosen = message.rows == "selected"
        rows = self.selected[client] if isinstance(message.rows, str) else message.rows
        plan = make_plan(self.simulation, self.table, message, rows, selected=chosen)
        self.clients[client].pop(plan.id, None)
        problem = ""
        if plan.num_bytes > LARGEST and not paused:
            problem = f"{plan.num_bytes} bytes in a frame are more than {LARGEST}; pause the run, or ask for less."
        elif plan.kind == "vitals" and not find_vitals(self.simulation).get(self.table):
            problem = "This scene declares no vital numbers."
        if problem:
            code = "unsupported" if plan.kind == "vitals" else "over_budget"
            self.server.post(client, {"t": "sub_no", "id": plan.id, "code": code, "text": problem})
        else:
            self.clients[client][plan.id] = plan
            self._send_rate(client, plan)
        self._regroup()

    def unsubscribe(self, client: DebugClient, number: int) -> None:
        """Send nothing more of a subscription."""
        self.clients[client].pop(number, None)
        self._regroup()

    def select(self, client: DebugClient, rows: tuple[int, ...]) -> None:
        """What a client means by "selected" from now on."""
        self.selected[client] = rows
        for plan in self.clients[client].values():
            if plan.selected:
                plan.retarget(rows)

    def _send_rate(self, client: DebugClient, plan: SamplingPlan) -> None:
        self.server.post(client, {"t": "sub_ok", "id": plan.id, "hz": plan.hz, "bytes": plan.num_bytes})

    # -- data ------------------------------------------------------------------------------------------

    def at_finish(self) -> None:
        """Sample rows that ended, while they show how, and send an event of them."""
        tick = self.tick()
        if self._black_box is not None:
            try:
                self._take_vitals(self._black_box)
            except Exception as error:  # a term that nobody computes but for those who watch
                for client, plan in self._pairs:
                    if plan.kind == "vitals":
                        self._end_failed(client, plan, error)
        now = time.perf_counter()
        soon, measured = now + 2.0 * self.tick_seconds, tick % _MEASURED == 0
        ended = {id(find_ends(self.simulation).get(self.table)): frozenset(self.endings.look(tick).tolist())}
        for client, plan in self._ending:
            if plan.kind != "trace" and plan.due > soon:
                continue  # what its next frame shows has not happened yet
            plan.coming = tick
            start = time.thread_time() if measured else 0.0  # what other processes do meanwhile is not the plan's fault
            try:
                if id(plan.ends) not in ended:
                    ended[id(plan.ends)] = plan.ended_rows()
                plan.at_finish(tick, ended[id(plan.ends)])
            except Exception as error:  # a debugger may be wrong in ways that nobody thought of; the training goes on
                self._end_failed(client, plan, error)
            plan.spent += time.thread_time() - start if measured else 0.0
        ended_now = self.endings.pending_event(now - self._reported >= RESETS_EVERY)
        if ended_now is not None:
            self._reported = now
            self.event("reset", **ended_now, wake=False)

    def after_tick(self, seconds: float) -> None:
        """Sample, and offer what is due, at the end of a tick that took so long."""
        tick, now = self.tick(), time.perf_counter()
        self.tick_seconds += 0.1 * (seconds - self.tick_seconds)
        for client, plan in self._pairs:
            if plan.kind == "trace" or now >= plan.due:
                try:
                    self._sample(client, plan, tick, now)
                except Exception as error:  # as above
                    self._end_failed(client, plan, error)
        if tick % _MEASURED == 0:
            for _, plan in self._pairs:
                plan.settle()
        if now - self.limiter.looked >= self.limiter.settle:
            for changed in self.limiter.adjust(self.plans, self.tick_seconds, now, self.others):
                for client, plan in self._pairs:
                    if plan is changed:
                        self._send_rate(client, changed)
        self.server.send()

    def _sample(self, client: DebugClient, plan: SamplingPlan, tick: int, now: float) -> None:
        due = now >= plan.due and (plan.num_bytes <= LARGEST or plan.kind == "trace")
        due = due and (plan.coming == tick or plan.ends is None or plan.kind not in ENDING)
        measured = tick % _MEASURED == 0 or (due and not plan.per_frame)
        start = time.thread_time() if measured else 0.0
        plan.after_tick(tick)
        between = time.thread_time() if measured else 0.0
        plan.spent += between - start
        if due:
            plan.due = now + 1.0 / plan.hz
            self._offer(client, plan, tick, None)
            if measured:
                plan.framed(time.thread_time() - between)

    def show_everything(self, view: int | None) -> None:
        """All latest values at once: the run stands still, and somebody looks. `view`: the earlier tick that is in view."""
        tick = self.tick()
        for client, plan in self._pairs:
            try:
                self._offer(client, plan, tick, view, still=True)
            except Exception as error:  # as above
                self._end_failed(client, plan, error)
        self.server.send()

    def _end_failed(self, client: DebugClient, plan: SamplingPlan, error: Exception) -> None:
        """End a subscription that failed."""
        self.clients[client].pop(plan.id, None)
        text = f"That cannot be sent: {type(error).__name__}: {error}"[:500]
        self.server.post(client, {"t": "sub_no", "id": plan.id, "code": "unsupported", "text": text})
        self._regroup()

    def _offer(
        self, client: DebugClient, plan: SamplingPlan, tick: int, view: int | None, *, still: bool = False
    ) -> None:
        if plan.kind in ("trace", "vitals") and not self.server.empty(client, plan.id):
            return  # what is kept goes with the next frame
        made: dict[str, Any] | None
        if plan.kind == "timing":
            made = None if still else self._timing(plan, tick)  # inside a tick some systems have run and some have not
        elif plan.kind == "learner":
            made = self._learner(plan, tick)
        elif plan.kind == "vitals":
            made = _vitals(plan)
        else:
            made = plan.message(tick, still=still)
        if made is not None:
            made["view"] = view
            self.server.offer(client, plan.id, made, wake=False)

    def _timing(self, plan: SamplingPlan, tick: int) -> dict[str, Any] | None:
        """Seconds and calls of each system that is called; what a capture replays counts to the whole tick alone."""
        entries = self.simulation.schedule.entries
        now = np.array([entry.seconds for entry in entries]), np.array([entry.calls for entry in entries], np.int32)
        before, since = plan.before, plan.since
        if before is not None and tick <= since:
            return None
        plan.before, plan.since = now, tick
        if before is None:  # from now on, rather than since the run began
            return None
        made = plan.data([since + 1, tick])
        return made | {
            "seconds": ((now[0] - before[0]) / (tick - since)).astype(np.float32),
            "calls": now[1] - before[1],
            "tick_seconds": self.tick_seconds,
        }

    def _learner(self, plan: SamplingPlan, tick: int) -> dict[str, Any] | None:
        iteration, values = self._learned
        if iteration == plan.since or not values:
            return None
        plan.since = iteration
        return plan.data([tick, tick]) | {"values": values, "iteration": iteration}

    def _regroup(self) -> None:
        """Subscriptions are others now. The black box is taken as long as somebody asks for it."""
        self._pairs = [(client, plan) for client, plans in self.clients.items() for plan in plans.values()]
        self._ending = [(client, plan) for client, plan in self._pairs if plan.kind in ENDING and plan.ends is not None]
        if not any(plan.kind == "vitals" for plan in self.plans):
            self._black_box, self._box_cost = None, 0.0
        elif self._black_box is None:
            self._black_box = BlackBox(self.simulation, self.table, 1, self._usual_every)
            self._spaced = time.monotonic()

    @property
    def _usual_every(self) -> int:
        return EVERY_ON_HOST if self.simulation.world.device.type == "cpu" else 1

    @torch.no_grad()
    def _take_vitals(self, box: BlackBox) -> None:
        start, before = time.thread_time(), box.taken
        self._box_cost *= 1.0 - _SMOOTH
        asked = [plan for plan in self.plans if plan.kind == "vitals"]
        box.take()
        if box.taken > before:
            for plan in asked:
                plan.vitals.append((int(box.tick[0]), box.store[0].numpy()[plan.rows]))
            self._box_cost += _SMOOTH * (time.thread_time() - start)
            if time.monotonic() - self._spaced >= self.limiter.settle:
                self._spaced = time.monotonic()
                wanted = round((time.thread_time() - start) / (VITALS * self.tick_seconds))
                box.every = max(self._usual_every, min(_SELDOM, wanted))

    def iteration(self, number: int, values: dict[str, float]) -> None:
        """An iteration is over: its numbers."""
        self._learned = number, values
        self.event("iteration", f"iteration {number}", fields={"iteration": number})

    def jump(self) -> None:
        """Time has jumped: what is kept of other ticks leads nowhere."""
        for plan in self.plans:
            plan.forget()

    # -- events ----------------------------------------------------------------------------------------

    def event(self, kind: str, text: str, *, wake: bool = True, **more: Any) -> None:
        """Tell everybody what happened. more: row, column (address), system (name), fields; wake, as of DebugServer.broadcast."""
        blank: dict[str, Any] = {"t": "event", "row": None, "column": None, "system": None, "fields": {}}
        self.server.broadcast({**blank, **more, "kind": kind, "tick": self.tick(), "text": text}, wake=wake)


def _vitals(plan: SamplingPlan) -> dict[str, Any] | None:
    if not plan.vitals or not len(plan.rows):
        return None
    samples = list(plan.vitals)
    plan.vitals.clear()
    at, values = np.array([tick for tick, _ in samples]), np.stack([values for _, values in samples])
    made = plan.data([int(at[0]), int(at[-1])])
    return made | {"at": at, "values": values, "rows": plan.rows.tolist()}
