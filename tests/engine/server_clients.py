"""Clients of a server, good and bad, for its tests."""

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from engine.debugger.net.connection import Address, Connection
from engine.inspect.client import DebugClient
from engine.inspect.server import DebugServer
from engine.protocol import messages
from engine.protocol.framing import LENGTH, decode_body, pack_array

RUN = {"name": "toy/1", "scene": "toy", "pid": os.getpid(), "host": socket.gethostname(), "started": "now",
       "device": "cpu", "seed": 1, "folder": "runs/toy/1"}  # fmt: skip
SCHEMA: dict[str, Any] = {
    "t": "schema",
    "tables": [
        {
            "name": "robot",
            "rows": 8,
            "axes": [],
            "components": [
                {"name": "Root", "columns": [{"id": 0, "name": "position", "shape": [3]}, {"id": 1, "name": "step", "shape": []}]}
            ],
        }
    ],
    "systems": [{"id": 0, "name": "move", "reads": [], "writes": ["robot.Root"]}],
}  # fmt: skip


def where(server: DebugServer) -> Address:
    assert server.stem is not None
    return Address(path=f"{server.stem}.sock")


@contextlib.contextmanager
def attached(server: DebugServer, **more: Any) -> Iterator[Connection]:
    made = Connection.attach(where(server), **more)
    try:
        yield made
    finally:
        made.close()


def drained(server: DebugServer, count: int = 1, seconds: float = 3.0) -> list[tuple[DebugClient, Any]]:
    found: list[tuple[DebugClient, Any]] = []
    end = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < end:
        server.wait(0.05)
        found += server.drain()
    assert len(found) >= count, found
    return found


def seen(server: DebugServer, kind: type) -> tuple[DebugClient, Any]:
    """Drain until a message of that class has come; it."""
    end = time.monotonic() + 3.0
    while time.monotonic() < end:
        for peer, message in drained(server):
            if isinstance(message, kind):
                return peer, message
    raise AssertionError(f"no {kind} came")


def heard(connection: Connection, kind: str, seconds: float = 3.0) -> dict[str, Any]:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        message = connection.receive(left)
        if message is not None and message["t"] == kind:
            return message
    raise AssertionError(f"no '{kind}' came")


def until(holds: Callable[[], object], seconds: float = 3.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not become so"
        time.sleep(0.01)


def raw(server: DebugServer) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(5.0)
    made.connect(where(server).path)
    return made


def closed(made: socket.socket, seconds: float = 3.0) -> bool:
    """Whether the other end hangs up, whatever it says before."""
    made.settimeout(seconds)
    try:
        while made.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def frame(tick: int, size: int = 3) -> dict[str, Any]:
    return {"kind": "values", "ticks": [tick, tick], "view": None, "cols": [[0, *pack_array(np.full((1, size), tick, np.float32))]]}  # fmt: skip


def subscribed(server: DebugServer, connection: Connection, number: int = 1) -> DebugClient:
    connection.send({"t": "sub", "id": number, "kind": "values", "columns": [[0, None]], "rows": [0], "hz": 30})
    return seen(server, messages.SubscribeRequest)[0]


def received(client: socket.socket, seconds: float = 0.3) -> list[dict[str, Any]]:
    """Whatever comes within some seconds, unanswered."""
    data, end = b"", time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and select.select([client], [], [], left)[0]:
        data += client.recv(1 << 20)
    found = []
    while data:
        (length,) = LENGTH.unpack_from(data)
        found.append(decode_body(data[4 : 4 + length]))
        data = data[4 + length :]
    return found


def goodbye(client: socket.socket) -> str:
    """The code of the `bye` that ends a connection."""
    data = b""
    with contextlib.suppress(OSError):
        while more := client.recv(65536):
            data += more
    while data:
        (length,) = LENGTH.unpack_from(data)
        message, data = decode_body(data[4 : 4 + length]), data[4 + length :]
        if message["t"] == "bye":
            return str(message["code"])
    raise AssertionError("no goodbye")


def free_port() -> int:
    """A port that nobody listens at just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
