"""A simulation that ticks in a thread of its own, with an inspector, and a debugger that talks to it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from engine import Simulation, build
from engine.debugger.net.connection import Address, Connection
from engine.ecs.schedule import Observer
from engine.inspect.commands import handle
from engine.inspect.inspector import Inspector
from engine.inspect.run_handle import RunHandle
from engine.inspect.server import DebugServer
from engine.protocol.display import NO_DISPLAY
from engine.protocol.framing import column_ids, pack_array, unpack_array
from engine.protocol.schema import schema_for_debuggers
from tests.engine import toy_scene
from tests.engine.server_clients import RUN

SECONDS = 10.0


class Client:
    """One debugger; what is not an answer is kept: states, events, data."""

    def __init__(self, path: str, role: str = "control", name: str = "me") -> None:
        self.connection = Connection.attach(Address(path=path), role=role, client=name)
        assert self.connection.schema is not None
        self.ids = column_ids(self.connection.schema)
        self.systems = [system["name"] for system in self.connection.schema["systems"]]
        self.state: dict[str, Any] = {}
        self.events: list[dict[str, Any]] = []
        self.data: list[dict[str, Any]] = []
        self.answers: dict[int, dict[str, Any]] = {}
        self.rates: list[dict[str, Any]] = []
        self.bye: dict[str, Any] | None = None
        self.pong = -1
        self.last = 0

    def read(self, seconds: float) -> bool:
        """Take one message; False when none came in time."""
        message = self.connection.receive(seconds)
        if message is None:
            return False
        match message["t"]:
            case "state":
                self.state = message
            case "event":
                self.events.append(message)
            case "data":
                self.data.append(message)
            case "ok" | "error":
                self.answers[message["id"]] = message
            case "sub_ok" | "sub_no":
                self.rates.append(message)
            case "bye":
                self.bye = message
            case "pong":
                self.pong = message["n"]
        return True

    def until(self, holds: Callable[[], Any], seconds: float = SECONDS) -> Any:
        """Read until something holds; what it holds."""
        end = time.monotonic() + seconds
        while not (found := holds()):
            assert time.monotonic() < end, (self.state, self.events[-3:], self.rates[-3:])
            self.read(0.05)
        return found

    def drain(self) -> None:
        """Take what has come, and what comes right after it: the server is asked until it had nothing else to say."""
        end, silent = time.monotonic() + 0.3, False
        while not silent:
            number = self.pong + 1
            self.connection.send({"t": "ping", "n": number})
            self.until(partial(self._ponged, number))
            silent = not self.read(0.04) or time.monotonic() > end  # a run that goes on is never silent

    def _ponged(self, number: int) -> bool:
        return self.pong == number

    def send(self, what: str, /, **fields: Any) -> int:
        self.last += 1
        self.connection.send({"t": what, "id": self.last, **fields})
        return self.last

    def answer(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = self.until(lambda: self.answers.get(number))
        return found

    def ask(self, kind: str, /, **fields: Any) -> dict[str, Any]:
        """Send a command that succeeds; its answer, once the state that goes with it has come."""
        answer = self.answer(self.send(kind, **fields))
        assert answer["t"] == "ok", answer
        if kind in ("pause", "run", "step", "run_to", "seek", "live", "branch"):
            self.drain()
        return answer

    def refused(self, kind: str, /, **fields: Any) -> tuple[str, str]:
        """Send a command that fails; code and sentence."""
        answer = self.answer(self.send(kind, **fields))
        assert answer["t"] == "error", answer
        return answer["code"], answer["text"]

    def sub(self, kind: str, *addresses: Any, rows: Any = "selected", hz: float = 60.0) -> dict[str, Any]:
        """Subscribe; what is answered. An address may be (address, labels)."""
        columns = [[self.ids[a], None] if isinstance(a, str) else [self.ids[a[0]], a[1]] for a in addresses]
        number = self.send("sub", kind=kind, columns=columns, rows=rows, hz=hz)
        rate: dict[str, Any] = self.until(lambda: next((r for r in self.rates if r["id"] == number), None))
        return rate

    def frames(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.data if message["kind"] == kind]

    def set(
        self, address: str, rows: list[int], values: Any, labels: list[int] | None = None, **more: Any
    ) -> dict[str, Any]:
        packed = pack_array(np.asarray(values))
        return {
            "column": self.ids[address],
            "rows": rows,
            "labels": labels,
            "values": packed,
            "reason": "a test",
            **more,
        }

    def event(self, kind: str) -> dict[str, Any]:
        """The next event of a kind that comes; earlier ones are forgotten."""
        found: dict[str, Any] = self.until(lambda: next((e for e in self.events if e["kind"] == kind), None))
        self.events = []
        return found

    @property
    def next(self) -> str | None:
        return None if self.state["next"] is None else self.systems[self.state["next"]]

    def close(self) -> None:
        self.connection.close()


class ToyRun(RunHandle):
    """A run without a training: `continued` are the ticks that it went on from, `over` that it is to end."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.over = threading.Event()
        self.continued: list[int] = []

    @property
    def stopping(self) -> bool:
        return self.over.is_set()

    def continue_from(self, tick: int) -> None:
        self.continued.append(tick)


class Live:
    """A running simulation with a server and an inspector; `error` is what ended its thread."""

    def __init__(
        self, simulation: Simulation, place: Path, /, pace: float = 0.002, folder: Path | None = None, **options: Any
    ) -> None:
        self.simulation, self.world, self.pace = simulation, simulation.world, pace
        view = options.get("view", NO_DISPLAY)
        self.server = DebugServer(RUN, lambda: schema_for_debuggers(simulation, view), folder=place)
        self.server.start()
        self.run = ToyRun(folder)
        self.inspector = Inspector(simulation, self.server, handle, self.run, **options)
        self.clients: list[Client] = []
        self.error: BaseException | None = None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._tick, daemon=True)

    def _tick(self) -> None:
        try:
            while not self.over.is_set():
                self.simulation.run()
                time.sleep(self.pace)
        except BaseException as error:
            self.error = error
            self.inspector.failed(error)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        assert self.error is None, self.error
        assert self.server.sockets.last_error == ""

    def stop(self) -> None:
        self.over.set()
        for client in self.clients:
            client.close()
        self.run.over.set()
        self.thread.join(SECONDS)
        assert not self.thread.is_alive()
        self.inspector.close()

    def client(self, role: str = "control", name: str = "me") -> Client:
        made = Client(f"{self.server.stem}.sock", role, name)
        self.clients.append(made)
        return made

    def column(self, address: str) -> np.ndarray:
        """A copy of what a column holds; for a run that stands."""
        return self.world.columns()[address].numpy().copy()

    def observers(self) -> list[Observer]:
        return list(self.simulation.schedule.observers)


class History:
    """What every column held after the phase `finished` and at the end of each tick; taken without the inspector."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.finish: dict[int, dict[str, np.ndarray]] = {}
        self.end: dict[int, dict[str, np.ndarray]] = {}
        simulation.schedule.attach(Observer(at_finish=lambda: self._take(self.finish)))
        simulation.schedule.attach(Observer(after_tick=lambda: self._take(self.end)))

    def _take(self, into: dict[int, dict[str, np.ndarray]]) -> None:
        world = self.simulation.world
        into[world.clock.tick] = {address: column.numpy().copy() for address, column in world.columns().items()}


def toy(rows: int = 8, seed: int = 3) -> Simulation:
    return build(toy_scene.make_scene(num_envs=rows), seed=seed)


def unpacked(message: dict[str, Any], address: str, client: Client) -> np.ndarray:
    return next(unpack_array(array) for number, *array in message["cols"] if number == client.ids[address])


@contextmanager
def paused_toy(
    place: Path, /, rows: int = 8, simulation: Simulation | None = None, **options: Any
) -> Iterator[tuple[Live, Client]]:
    """A toy that stands between two ticks, and the client that stopped it."""
    with Live(simulation or toy(rows), place, **options) as live:
        client = live.client()
        client.ask("pause")
        yield live, client
