"""Malformed debugger frames against a run that is training: what must stay well is the run, its memory and the next client.

    python -m tests.debugger.fuzz --frames 100000

Valid messages about the run's own columns with values exchanged, bits flipped, bytes cut off or noise, all sent by one
debugger after another that holds control, so that what is valid is also carried out. The exit status is 1 when the tick
thread raised, stood still without being asked to, or memory grew by more than 16 MiB.
"""

import argparse
import contextlib
import resource
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import msgpack  # type: ignore[import-untyped]
import numpy as np

from engine.errors import AttachError
from engine.protocol.framing import LENGTH, pack_array
from tests.engine.frames import mutated
from tests.engine.inspected import Client, Live, toy

MOST_GROWTH = 16 << 20  # bytes
_AT_ONCE, _OF_ONE = 5, 100  # frames between two looks at whether the run hung up, and of one debugger
_KNOWN: list[dict[str, Any]] = [
    {"t": "sub", "id": 1, "kind": "values", "columns": [[0, None], [2, None]], "rows": [0, 5], "hz": 60.0},
    {"t": "sub", "id": 2, "kind": "trace", "columns": [[0, [0, 1]]], "rows": "selected", "hz": 60.0},
    {"t": "sub", "id": 3, "kind": "column", "columns": [[0, [1]]], "rows": [], "hz": 60.0},
    {"t": "sub", "id": 4, "kind": "vitals", "columns": [], "rows": [1], "hz": 60.0},
    {"t": "sub", "id": 5, "kind": "timing", "columns": [], "rows": [], "hz": 60.0},
    {"t": "select", "rows": [3, 4]},
    {"t": "break", "id": 6, "at": "before stray", "when": "point.Distance.value > 0.9", "skip": 2, "action": "mark"},
    {"t": "break", "id": 7, "at": "tick", "when": "changed(point.Point.position[0])", "rows": [1], "action": "pause"},
    {"t": "set", "id": 8, "column": 0, "rows": [0, 7], "labels": [1], "values": pack_array(np.array([0.1, 0.2], np.float32))},
    {"t": "set", "id": 9, "address": "toy.wander.step", "value": "0.25", "reason": ""},
    {"t": "pause", "id": 10}, {"t": "step", "id": 11, "unit": "system", "count": 2}, {"t": "run", "id": 12},
    {"t": "run_to", "id": 13, "system": 4, "tick": None}, {"t": "live", "id": 14}, {"t": "branch", "id": 15},
    {"t": "seek", "id": 16, "tick": 20}, {"t": "reset", "id": 17, "rows": [2]}, {"t": "snapshot", "id": 18},
    {"t": "provenance", "id": 19, "column": 1, "label": None, "row": 3},
]  # fmt: skip


@attrs.frozen
class Outcome:
    """What became of a run: frames sent, debuggers that it took, ticks meanwhile, growth of memory in bytes, seconds."""

    frames: int
    clients: int
    ticks: int
    growth: int
    seconds: float


def frames(rng: np.random.Generator, count: int) -> Iterator[bytes]:
    """Bodies of frames: a third valid for the toy scene, a third of those spoilt in a byte, the rest of all kinds."""
    bodies = [msgpack.packb(message) for message in _KNOWN]
    other = mutated(rng, count)
    for kind, number in zip(rng.integers(0, 3, count), rng.integers(0, len(bodies), count), strict=True):
        if kind == 2:
            yield next(other)
            continue
        body = bytearray(bodies[number])
        if kind == 1:
            body[int(rng.integers(len(body)))] = int(rng.integers(256))
        yield bytes(body)


def memory() -> int:
    """Bytes that the process has in memory now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def throw(live: Live, rng: np.random.Generator, count: int) -> int:
    """Send frames, attaching again when the run hangs up or makes the client wait; how many debuggers that took."""
    waiting, clients = deque(frames(rng, count)), 0
    while waiting:
        client, clients = _attach(live), clients + 1
        with contextlib.suppress(AttachError, OSError):
            _throw_some(client, waiting)
        client.close()
        assert live.error is None, live.error
    return clients


def _throw_some(client: Client, waiting: deque[bytes]) -> None:
    for number in range(_OF_ONE // _AT_ONCE):
        for _ in range(min(_AT_ONCE, len(waiting))):
            body = waiting.popleft()
            client.connection.socket.sendall(LENGTH.pack(len(body)) + body)
        client.send("run")
        client.connection.send({"t": "ping", "n": number})
        client.until(partial(_looked_at, client, number))
        if client.bye is not None:
            return


def _looked_at(client: Client, number: int) -> bool:
    """Whether the run has dealt with what was sent before that ping, or hung up."""
    return client.bye is not None or client.pong >= number


def _attach(live: Live) -> Client:
    end = time.monotonic() + 20.0
    while True:
        try:
            return Client(f"{live.server.stem}.sock")
        except AttachError:  # those that were hung up on may still be counted
            assert time.monotonic() < end
            time.sleep(0.01)


def fuzz(count: int, seed: int = 0) -> Outcome:
    """Throw frames at a training of the toy scene, and attach once more; AssertionError for what must not be."""
    start = time.perf_counter()
    with (
        tempfile.TemporaryDirectory(prefix="fuzz", dir="/tmp") as name,
        Live(toy(), Path(name), pace=0.0005, patience=0.05, history=(25, 1 << 20)) as live,
    ):
        rng = np.random.default_rng(seed)
        throw(live, rng, min(count // 5, 3000))  # what grows once: caches, buffers, the ring
        before, tick = memory(), live.world.clock.tick
        clients = throw(live, rng, count)
        growth = memory() - before
        client = _attach(live)
        live.clients.append(client)
        client.answer(client.send("control", do="take"))
        client.answer(client.send("run"))
        there = live.world.clock.tick
        client.until(lambda: live.world.clock.tick > there + 10)
        client.sub("values", "point.Point.position", rows=[0, 7])
        client.until(lambda: client.frames("values"))
        return Outcome(count, clients, live.world.clock.tick - tick, growth, time.perf_counter() - start)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what became of the run; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    found = fuzz(given.frames, given.seed)
    print(f"{found.frames} frames by {found.clients} debuggers in {found.seconds:.0f} s; {found.ticks} ticks meanwhile")
    print(f"memory grew by {found.growth / 2**20:.1f} MiB")
    return int(found.growth > MOST_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
