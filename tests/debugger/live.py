"""A real training with a debugger on its socket, in one thread but for the sockets' own: what a window would receive."""

import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import Experiment
from engine.debugger.diagnosis.finding import RuleFinding
from engine.debugger.diagnosis.rules import diagnose
from engine.debugger.model.evidence import Evidence, all_subs
from engine.debugger.model.history import EvidenceHistory
from engine.debugger.model.store import Store
from engine.debugger.model.subscription import Subscription
from engine.debugger.net.connection import Address
from engine.debugger.net.link import Link
from engine.ecs.scene import Scene, build
from engine.ecs.schedule import Observer
from engine.inspect import inspector, publisher
from engine.inspect.commands import handle
from engine.inspect.inspector import Inspector
from engine.inspect.server import DebugServer
from engine.protocol.display import View
from engine.protocol.framing import pack_array
from engine.protocol.roles import USUAL_COLUMNS
from engine.protocol.schema import schema_for_debuggers
from tests.engine.inspected import ToyRun

PATIENCE = 30.0  # s
DT = 0.02  # s
VIEW = View(roles={role: f"robot.{column}" for role, column in USUAL_COLUMNS.items()}, dt=DT)


class Clock:
    """Time as the inspector sees it: every tick takes DT, whatever else the machine has to do."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        """Seconds of ticks so far."""
        return self.now

    def thread_time(self) -> float:
        """What is done within a tick takes no time at all."""
        return self.now

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def tick(self) -> None:
        """Another one."""
        self.now += DT


def steady(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Rates of data count in ticks of DT, and no rate is lowered because the machine is slow."""
    clock = Clock()
    monkeypatch.setattr(inspector, "time", clock)
    monkeypatch.setattr(publisher, "time", clock)
    monkeypatch.setattr(publisher, "BUDGET", math.inf)
    return clock


class Live:
    """Trains a scene, and watches it as the Why panel does: the same subscriptions, rules and rates.

    Of `experiment` come the report and what is drawn.

    `clock` comes from `steady`; `how` are keywords of engine.ecs.scene.build.
    """

    def __init__(self, scene: Scene, experiment: Experiment, folder: Path, clock: Clock, **how: Any) -> None:
        self.report, view = experiment.report, experiment.display
        self.simulation = build(scene, **how)
        self.world = self.simulation.world
        self.server = DebugServer(
            {"name": "planted", "scene": self.simulation.scene.name, "pid": 1},
            partial(schema_for_debuggers, self.simulation, view),
            folder=folder,
        )
        self.server.start()
        self.inspector = Inspector(self.simulation, self.server, handle, ToyRun(folder), view=view)
        self.simulation.schedule.attach(Observer(before_tick=clock.tick))
        self.store, self.collected = Store(), EvidenceHistory()
        self.answers: dict[int, dict[str, Any]] = {}
        self.number = 0
        self.link = Link(Address(str(self.server.stem) + ".sock"), lambda: None, role="control")
        self.link.start()
        self.until(lambda: self.store.schema is not None)
        self.subscribe(*all_subs(self.collected.know(self.store.schema)))

    def close(self) -> None:
        """Leave, and end the run."""
        self.link.close()
        self.inspector.close()

    def subscribe(self, *subs: Subscription) -> None:
        """Ask for data."""
        for sub in subs:
            self.number += 1
            self.store.subscribed(self.number, sub)
            columns = [[column, None if labels is None else list(labels)] for column, labels in sub.columns]
            asked = {"t": "sub", "id": self.number, "kind": sub.kind, "columns": columns, "rows": list(sub.rows)}
            self.link.send({**asked, "hz": sub.hz})

    def ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Send a command, and train until it is answered."""
        self.number += 1
        number = self.number
        self.link.send({**message, "id": number})
        self.until(lambda: number in self.answers)
        return self.answers[number]

    def set_value(self, address: str, row: int, label: int, value: float) -> dict[str, Any]:
        """Edit one value, finite or not."""
        packed = pack_array(np.array([[value]], np.float32))
        at = {"column": self.store.by_address[address], "rows": [row], "labels": [label]}
        return self.ask({"t": "set", **at, "values": packed, "force": not math.isfinite(value), "reason": "planted"})

    def set_constant(self, address: str, value: object) -> dict[str, Any]:
        """Edit a constant."""
        return self.ask({"t": "set", "address": address, "value": str(value), "reason": "planted"})

    def until(self, done: Callable[[], bool]) -> None:
        """Train until something has come."""
        end = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < end, "nothing came"
            self.tick()

    def tick(self) -> None:
        """One tick, and everything that has come."""
        self.simulation.run()
        clock, length = self.world.clock, self.simulation.scene.iteration
        if clock.tick and clock.tick % length == 0 and self.report is not None:
            self.inspector.iteration(clock.tick // length, self.report(self.world))
        time.sleep(0.001)  # so that the threads of the sockets get their turn
        for message in self.link.take():
            self.store.feed(message)
            if message["t"] == "data":
                self.link.send({"t": "ack", "seq": message["seq"]})
            elif message["t"] in ("ok", "error", "sub_ok", "sub_no"):
                self.answers[message["id"]] = message
        self.collected.collect(self.store)

    def train(self, ticks: int) -> None:
        """Train on."""
        for _ in range(ticks):
            self.tick()

    def evidence(self) -> Evidence:
        """What the rules look at."""
        assert self.store.bad == 0
        return self.collected.gather(self.store)

    def findings(self) -> list[RuleFinding]:
        """The sentences of the Why panel."""
        return diagnose(self.evidence())
