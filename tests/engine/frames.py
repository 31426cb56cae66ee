"""Valid messages of a debugger client, and what a fuzz makes of them."""

from collections.abc import Iterator
from typing import Any

import msgpack  # type: ignore[import-untyped]
import numpy as np

from engine.protocol.framing import pack_array
from engine.protocol.messages import SchemaBounds

KNOWN = SchemaBounds({0: (10, 3), 1: (10, 29), 2: (4, 1)}, rows=10, systems=3)
"""Columns 0 (3 values) and 1 (29) of a table of 10 rows, column 2 of one of 4."""

VALID: list[dict[str, Any]] = [
    {"t": "auth", "protocol": [1, 0], "client": "me", "role": "observe", "proof": b"", "schema": ""},
    {"t": "sub", "id": 1, "kind": "values", "columns": [[0, None], [1, [0, 28]]], "rows": [0, 9], "hz": 10.0},
    {"t": "sub", "id": 2, "kind": "timing", "columns": [], "rows": "selected", "hz": 10},
    {"t": "sub", "id": 3, "kind": "column", "columns": [[1, [4]]], "rows": [], "hz": 5},
    {"t": "unsub", "id": 1},
    {"t": "select", "rows": [3]},
    {"t": "ack", "seq": 12},
    {"t": "ping", "n": 1},
    {"t": "pong", "n": 1},
    {"t": "pause", "id": 1},
    {"t": "run", "id": 2},
    {"t": "step", "id": 3, "unit": "system", "count": 2},
    {"t": "run_to", "id": 4, "system": 2, "tick": None},
    {"t": "run_to", "id": 5, "system": None, "tick": 100},
    {"t": "set", "id": 6, "column": 0, "rows": [0, 9], "labels": [2], "values": pack_array(np.array([1, 2], np.float32)),
     "force": False, "reason": "because"},
    {"t": "set", "id": 7, "address": "tracking.reward.std", "value": "0.2", "reason": ""},
    {"t": "break", "id": 8, "at": "before reward", "when": "nonfinite(a.B.c)", "rows": None, "skip": 0, "action": "pause"},
    {"t": "unbreak", "id": 9, "break": 1},
    {"t": "seek", "id": 10, "tick": 5},
    {"t": "live", "id": 11},
    {"t": "branch", "id": 12},
    {"t": "snapshot", "id": 13},
    {"t": "record", "id": 14, "on": True, "content": "trace"},
    {"t": "reset", "id": 15, "rows": [1, 2]},
    {"t": "control", "id": 16, "do": "take"},
    {"t": "provenance", "id": 17, "column": 1, "label": 28, "row": 9},
    {"t": "asset", "id": 18, "hash": "0f", "offset": 0},
]  # fmt: skip

_ODD: list[Any] = [
    None, True, -1, 2**63, 2**31, 1e308, float("nan"), float("inf"), "", "x" * 5000, "\x00", b"", b"\xff" * 100, [], {},
    [[]], [[[[]]]], {"t": "run"}, list(range(300)), [-1], ["0"], [[0, [0]]], [[0, 0]], [None, None], "selected", "tick",
    ["<f4", [1], b"1234"], ["<f4", [-1], b""], ["|O", [1], b"12345678"], ["<f4", [2**31, 2**31], b""], [None, [1], b"1"],
    ["<f4", "x", 3], msgpack.ExtType(1, b"a"), msgpack.Timestamp(1, 2), {"a": {"a": {"a": {}}}},
]  # fmt: skip


def mutated(rng: np.random.Generator, count: int) -> Iterator[bytes]:
    """Frame bodies: valid ones with a value exchanged, bits flipped, bytes cut off, doubled or inserted, or noise."""
    bodies = [msgpack.packb(message) for message in VALID]
    for kind in rng.integers(0, 10, count):
        number = int(rng.integers(len(bodies)))
        if kind < 3:
            message = dict(VALID[number])
            for _ in range(int(rng.integers(1, 3))):
                message[str(rng.choice(list(message)))] = _ODD[int(rng.integers(len(_ODD)))]
            yield msgpack.packb(message)
            continue
        data = bytearray(bodies[number])
        place = int(rng.integers(len(data)))
        if kind < 6:
            data[place] = int(rng.integers(256))
        elif kind == 6:
            del data[place:]
        elif kind == 7:
            data[place:place] = rng.bytes(int(rng.integers(1, 6)))
        elif kind == 8:
            data += data[place:]
        else:
            data = bytearray(rng.bytes(int(rng.integers(0, 64))))
        yield bytes(data)
