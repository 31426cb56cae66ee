"""Cost of debuggers for the thread that ticks: blocks of ticks with and without one, in turn. For benchmarks/debugger.py."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import attrs
import numpy as np

from benchmarks.debugger_clients import subscribe
from engine import build
from engine.debugger.net.connection import Address, Connection
from engine.ecs.scene import Simulation
from engine.ecs.schedule import Observer
from engine.inspect.commands import handle
from engine.inspect.inspector import Inspector
from engine.inspect.run_handle import RunHandle
from engine.inspect.server import DebugServer
from engine.protocol.schema import make_schema
from engine.snapshot.history import Ring
from scenes.motion_tracking import CONFIGS, experiment

SETTLE = 12  # ticks after each change that are not measured: the handshake, the first snapshot, new rates
CLIENTS = "benchmarks.debugger_clients"


@attrs.define
class Block:
    """Measured ticks: seconds each by the clock and on the CPU of the ticking thread; CPU seconds of the thread of the
    sockets, and of the debugger's hooks in the ticking thread, its snapshots included."""

    wall: np.ndarray
    cpu: np.ndarray
    sockets: float
    hooks: float
    snapshots: float
    wakes: int


@attrs.frozen
class BenchmarkRun(RunHandle):
    """A run of which only iterations matter, as in engine/runner/debugging.py."""

    length: int

    def may_change(self, tick: int) -> bool:
        """After each iteration."""
        return tick % self.length == 0


@attrs.define(eq=False)
class Bench:
    """A training in this process that debuggers can attach to."""

    simulation: Simulation
    server: DebugServer
    inspector: Inspector
    length: int
    spent: float = 0.0
    ring: Ring | None = None  # whose hooks are counted

    @classmethod
    def open(cls, rows: int, **arguments: Any) -> "Bench":
        """Build the tracking scene, warm it up, and listen."""
        simulation = build(experiment(CONFIGS["laptop"].replace(num_envs=rows, **arguments)).train())
        simulation.run(2 * simulation.scene.iteration)
        folder = Path(tempfile.mkdtemp(prefix="lockstep-bench"))
        run = {"name": "benchmark", "scene": simulation.scene.name, "pid": os.getpid(), "host": socket.gethostname(),
               "started": "", "device": str(simulation.world.device), "seed": simulation.world.seed, "folder": ""}  # fmt: skip
        server = DebugServer(run, partial(make_schema, simulation), folder=folder)
        server.start()
        length = simulation.scene.iteration
        inspector = Inspector(simulation, server, handle, BenchmarkRun(length))
        made = cls(simulation, server, inspector, length)
        simulation.schedule.detach(inspector._tick_starts)
        inspector._tick_starts = Observer(before_tick=made._counted(inspector._before_tick))
        inspector._tick_runs = Observer(
            at_finish=made._counted(inspector._at_finish), after_tick=made._counted(inspector._after_tick)
        )
        simulation.schedule.attach(inspector._tick_starts, first=True)
        return made

    def _counted(self, real: Callable[[], None]) -> Callable[[], None]:
        """A call that adds its CPU time to `spent`."""

        def counted() -> None:
            start = time.thread_time()
            real()
            self.spent += time.thread_time() - start
            if self.inspector.ring is not self.ring:
                self.ring = self.inspector.ring
                self._count_ring()

        return counted

    @property
    def path(self) -> str:
        """The socket."""
        return f"{self.server.stem}.sock"

    def settle(self, ticks: int = SETTLE) -> None:
        """Run ticks that nobody measures."""
        self.simulation.run(ticks)

    def _count_ring(self) -> None:
        """Snapshots are part of what an attached debugger costs."""
        ring, schedule = self.ring, self.simulation.schedule
        if ring is None:
            return
        schedule.detach(ring.observer)
        ring.observer = Observer(  # also there, so that the ring can take it out again
            before_tick=partial(self._keep, ring, ring._before), after_tick=partial(self._keep, ring, ring._after)
        )
        schedule.attach(ring.observer)

    def _keep(self, ring: Ring, real: Callable[[], None]) -> None:
        """A hook of the ring; a snapshot counts in full measure over the ticks that it stands for, not in this one."""
        start, taken = time.thread_time(), ring.kept[-1]
        real()
        self.spent += time.thread_time() - start if ring.kept[-1] == taken else 0.0

    def block(self, ticks: int) -> Block:
        """Run and time ticks."""
        wall, cpu, thread = np.empty(ticks), np.empty(ticks), self.server.sockets._thread
        clock = time.pthread_getcpuclockid(thread.ident) if thread is not None and thread.ident else 0
        before, wakes, self.spent = time.clock_gettime(clock), self.server.sockets.wakes, 0.0
        for each in range(ticks):
            start, busy = time.perf_counter(), time.thread_time()
            self.simulation.run()
            wall[each], cpu[each] = time.perf_counter() - start, time.thread_time() - busy
        ring, sockets = self.inspector.ring, time.clock_gettime(clock) - before
        snapshots = ticks * ring.seconds / ring.every if ring is not None else 0.0
        return Block(wall, cpu, sockets, self.spent + snapshots, snapshots, self.server.sockets.wakes - wakes)

    def alone(self) -> None:
        """Run until the last debugger has been forgotten."""
        while self.server.attached or self.inspector.publisher.clients:
            self.simulation.run()

    @contextmanager
    def process(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        """A client process, attached; ended after the block."""
        started = subprocess.Popen(
            [sys.executable, "-m", CLIENTS, arguments[0], self.path, *arguments[1:]],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        try:
            while not self.inspector.publisher.clients or not all(self.inspector.publisher.clients.values()):
                if started.poll() is not None:
                    raise SystemExit(f"The client ended with status {started.returncode} before it had attached.")
                self.simulation.run()
            yield started
        finally:
            started.kill()
            started.wait()
            self.alone()

    @contextmanager
    def stalled(self, subscriptions: list[dict[str, Any]]) -> Iterator[None]:
        """A client that subscribes and never reads."""
        connection = Connection.attach(Address(path=self.path))
        subscribe(connection, subscriptions)
        try:
            yield
        finally:
            connection.close()
            self.alone()


def watch(bench: Bench, seconds: float = 4.0) -> dict[str, Any]:
    """What the window sees of the training, and what it subscribes to."""
    with bench.process("window", str(time.time()), str(seconds)) as window:
        while window.poll() is None:
            bench.simulation.run()
        assert window.stdout is not None
        found: dict[str, Any] = json.loads(window.stdout.read())
    return found


def unattended(bench: Bench) -> dict[str, float]:
    """Microseconds of the hook with nobody attached, and how often the thread of the sockets woke in an iteration."""
    hook, count = type(bench.inspector)._before_tick, 200_000

    def loop(call: Callable[[], object]) -> float:
        start = time.thread_time()
        for _ in range(count):
            call()
        return (time.thread_time() - start) / count

    bench.alone()
    time.sleep(0.6)
    wakes = bench.server.sockets.wakes
    bench.simulation.run(bench.length)
    woken = bench.server.sockets.wakes - wakes
    bound = partial(hook, bench.inspector)
    return {"microseconds": 1e6 * min(loop(bound) for _ in range(5)), "wakes": float(woken)}


def attached(bench: Bench, subscriptions: list[dict[str, Any]], rounds: int) -> dict[str, Any]:
    """Shares of tick time that a reading client costs: of pairs of blocks, the median of what they differ by."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(subscriptions, file)
        file.flush()
        pairs = []
        for _ in range(rounds):
            bench.alone()
            bench.settle()
            without = bench.block(bench.length)
            with bench.process("plain", file.name):
                bench.settle()
                pairs.append((without, bench.block(bench.length)))
                rates = [plan.hz for plans in bench.inspector.publisher.clients.values() for plan in plans.values()]
    tick = min(float(np.mean(a.wall)) for a, _ in pairs)  # of the block that the machine disturbed least
    own = [(b.hooks - a.hooks) / bench.length / tick for a, b in pairs]
    asked = [each["hz"] for each in subscriptions]
    return {
        "tick_seconds": tick,
        "hooks": median(own),
        "snapshots": median(b.snapshots / bench.length / tick for _, b in pairs),
        "wall": median(float(np.median(b.wall) / np.median(a.wall)) - 1.0 for a, b in pairs),
        "cpu": median(float((np.median(b.cpu) - np.median(a.cpu)) / tick) for a, b in pairs),
        "noise": float(np.std([np.median(a.cpu) for a, _ in pairs]) / tick),
        "sockets": median(b.sockets / bench.length / tick for _, b in pairs),
        "wakes": median(b.wakes / bench.length for _, b in pairs),
        "frames_per_second": sum(rates),
        "asked_per_second": sum(asked),
    }


def unread(bench: Bench, subscriptions: list[dict[str, Any]], rounds: int) -> dict[str, dict[str, float]]:
    """p50 and p99 of tick time with clients that do not read, relative to those of the quiet blocks between."""
    times: dict[str, list[Block]] = {"quiet": [], "stalled": [], "stopped": [], "killed": []}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(subscriptions, file)
        file.flush()
        for _ in range(rounds):
            for name, blocks in times.items():
                bench.alone()
                bench.settle()
                client = (
                    nullcontext() if name == "quiet" else bench.stalled(subscriptions) if name == "stalled"
                    else bench.process("plain", file.name)
                )  # fmt: skip
                with client as started:
                    bench.settle()
                    if started is not None:
                        started.send_signal(signal.SIGSTOP if name == "stopped" else signal.SIGKILL)
                    blocks.append(bench.block(bench.length))
    quiet = times.pop("quiet")
    return {name: _against(blocks, quiet) for name, blocks in times.items()}


def _against(blocks: list[Block], quiet: list[Block]) -> dict[str, float]:
    found = {}
    for clock in ("wall", "cpu"):
        here, there = (np.concatenate([getattr(b, clock) for b in each]) for each in (blocks, quiet))
        for share in (50, 99):
            found[f"{clock}_p{share}"] = float(np.percentile(here, share) / np.percentile(there, share)) - 1.0
    return found
