"""What a client may say is taken apart without trust: right messages become objects, everything else is a WireError."""

import resource
import struct
import time

import msgpack
import numpy as np
import pytest

from engine.errors import WireError
from engine.protocol import messages
from engine.protocol.framing import LENGTH, encode_frame, pack_array
from engine.protocol.messages import RefusedMessage, SchemaBounds, decode, parse
from tests.engine.frames import KNOWN, VALID, mutated

CASES = 200_000
SLOWEST = 2e-4  # s of processor, on average of many messages; about three times what is seen on a slow machine
"""Seconds of one core for all of them."""


def body(message: object) -> bytes:
    return msgpack.packb(message, use_bin_type=True)


def refused(message: object, known: SchemaBounds | None = KNOWN) -> RefusedMessage:
    with pytest.raises(RefusedMessage) as caught:
        decode(message if isinstance(message, bytes) else body(message), known)
    return caught.value


@pytest.mark.parametrize("message", VALID, ids=lambda m: str(m["t"]))
def test_every_message_of_the_protocol_is_read(message: dict):
    found = decode(encode_frame(message)[LENGTH.size :], KNOWN)
    assert isinstance(found, (messages.TYPES[message["t"]], messages.SetConstantRequest))
    if "id" in message:
        assert found.id == message["id"]


@pytest.mark.parametrize("message", VALID, ids=lambda m: str(m["t"]))
def test_a_field_that_the_message_does_not_have_is_refused(message: dict):
    error = refused({**message, "shiny": [1, {"new": True}]})
    assert error.code == "bad_message" and str(error) == f"'{message['t']}' has no field 'shiny'."


def test_a_field_that_is_misspelt_is_refused_with_the_near_one():
    assert "Did you mean rows?" in str(refused({"t": "select", "row": [1]}))


def test_a_subscription_becomes_an_object_with_checked_values():
    found = parse({"t": "sub", "id": 3, "kind": "trace", "columns": [[1, [0, 5]], [0, None]], "rows": [7], "hz": 500})
    assert found == messages.SubscribeRequest(id=3, kind="trace", columns=((1, (0, 5)), (0, None)), rows=(7,), hz=60.0)


def test_a_column_edit_holds_an_array():
    found = parse({"t": "set", "id": 1, "column": 0, "rows": [2], "values": pack_array(np.float32([1, 2, 3]))})
    assert isinstance(found, messages.SetColumnRequest)
    np.testing.assert_array_equal(found.array, [1, 2, 3])


@pytest.mark.parametrize(
    ("message", "code", "says"),
    [
        ({"t": "dance", "id": 4}, "unsupported", "'dance' is not a message of this protocol."),
        ({"t": "step", "id": 4, "unit": "year"}, "bad_message", "unit of 'step' is 'year', not system or phase or tick."),
        ({"t": "step", "id": 4, "count": 0}, "bad_message", "count of 'step' is 0, not a whole number from 1"),
        ({"t": "step", "id": 4, "count": True}, "bad_message", "count of 'step' is True"),
        ({"t": "step", "id": 4, "count": 1.0}, "bad_message", "count of 'step' is 1.0"),
        ({"t": "pause"}, "bad_message", "'pause' lacks id."),
        ({"t": "pause", "id": -1}, "bad_message", "id of 'pause' is -1"),
        ({"t": "sub", "id": 4, "kind": "all"}, "bad_message", "kind of 'sub' is 'all'"),
        ({"t": "sub", "id": 4, "kind": "values", "hz": float("nan")}, "bad_message", "hz of 'sub' is nan"),
        ({"t": "sub", "id": 4, "kind": "values", "hz": 0}, "bad_message", "not a rate in Hz above 0"),
        ({"t": "sub", "id": 4, "kind": "values", "columns": [[9, None]]}, "unknown_column", "There is no column 9"),
        ({"t": "sub", "id": 4, "kind": "values", "columns": [[0, [3]]]}, "unknown_column", "there is no 3."),
        ({"t": "sub", "id": 4, "kind": "values", "columns": [[0, []]]}, "bad_message", "a list of 1 to 4096 numbers"),
        ({"t": "sub", "id": 4, "kind": "values", "columns": [[0, None]], "rows": [99]}, "bad_message", "no row 99"),
        ({"t": "sub", "id": 4, "kind": "values", "columns": [[0, [1, -2]]]}, "bad_message",
         "columns of 'sub' is -2, not a list of 1 to 4096 numbers from 0 or null."),
        ({"t": "break", "id": 4, "when": "x", "rows": []}, "bad_message", "rows of 'break' is [], not a list of 1 to 65536 numbers"),
        ({"t": "record", "id": 4, "on": 1}, "bad_message", "on of 'record' is 1, not true or false."),
        ({"t": "sub", "id": 4, "kind": "values", "rows": list(range(65))}, "bad_message", "a list of 0 to 64"),
        ({"t": "sub", "id": 4, "kind": "values", "columns": [[0, None]] * 257}, "bad_message", "at most 256 columns"),
        ({"t": "sub", "id": 4, "kind": "column", "columns": [[0, [0, 1]]]}, "bad_message", "at most one label"),
        ({"t": "select", "rows": [10]}, "bad_message", "There are 10 rows; there is no row 10."),
        ({"t": "run_to", "id": 4}, "bad_message", "names a system or a tick"),
        ({"t": "run_to", "id": 4, "system": 3}, "bad_message", "there is no system 3"),
        ({"t": "break", "id": 4, "when": "x" * 257}, "bad_message", "text of at most 256 characters"),
        ({"t": "break", "id": 4, "when": "x", "at": "before "}, "bad_message", "'before <system>'"),
        ({"t": "asset", "id": 4, "hash": "../etc"}, "bad_message", "a hash in hexadecimal digits"),
        ({"t": "set", "id": 4, "column": 0, "rows": [1], "values": [0.5]}, "bad_shape", "not [dtype, shape, bin]"),
        ({"t": "set", "id": 4, "column": 0, "rows": [1], "values": ["<f4", [2], b"12345678"]}, "bad_shape", "for 1 row of 3; give 1 or 3."),
        ({"t": "set", "id": 4, "column": 0, "rows": [], "values": ["<f4", [1], b"1234"]}, "bad_message", "1 to 65536"),
        ({"t": "set", "id": 4, "column": 0, "rows": [1], "values": ["|O", [1], b"12345678"]}, "bad_shape", "|O"),
    ],
    ids=lambda value: None if isinstance(value, str) else str(value)[:48],
)  # fmt: skip
def test_wrong_values_are_refused_with_a_code_and_a_sentence(message: dict, code: str, says: str):
    error = refused(message)
    assert error.code == code
    assert says in str(error)
    assert error.id == (message.get("id") if message.get("id", -1) >= 0 else None)


def test_a_subscription_is_refused_by_sub_no():
    assert refused({"t": "sub", "id": 4, "kind": "all"}).answer == "sub_no"
    assert refused({"t": "step", "id": 4, "count": 0}).answer == "error"


def test_bytes_that_are_no_message_are_refused():
    assert refused(b"").code == "bad_message"
    assert refused(b"\xc1").code == "bad_message"
    assert refused([1, 2]).code == "bad_message"
    assert refused({"id": 1}).code == "bad_message"
    assert refused({"t": 5}).code == "bad_message"
    assert refused(body({"t": "pause", "id": 1}) + b"\x00").code == "bad_message"
    assert refused(b"\x82\xa1t\xa3run\xa1t\xa3run").code == "bad_message"  # a key twice
    assert "extension" in str(refused({"t": "run", "id": msgpack.ExtType(4, b"x")}))
    assert "extension" in str(refused(b"\x82\xa1t\xa3run\xa2id\xd6\xff\x00\x00\x00\x00"))  # a timestamp


def test_only_set_may_be_large():
    rows = list(range(10))
    large = np.zeros(40_000, np.float32)
    error = refused({"t": "reset", "id": 1, "rows": rows, "padding": large.tobytes()})
    assert error.code == "too_large"
    assert refused({"t": "set", "id": 1, "x": b"0" * (1 << 20)}).code == "too_large"
    assert refused({"t": "set", "id": 1, "column": 0, "rows": rows, "values": pack_array(large)}).code == "bad_shape"


def test_a_bomb_of_nested_lists_costs_neither_memory_nor_time():
    head = b"\x82\xa1t\xa1a\xa1b"
    bombs = [
        head + b"\xdd\x00\x00\xff\xff" * 1000 + b"\xc0" * 60_000,
        head + b"\xdd\xff\xff\xff\xff",
        head + b"\xdf\xff\xff\xff\xff",
        head + b"\x91" * 65_000,
        head + (b"\xdc\xff\xff" + b"\x90" * 0xFFFF) * 15,
        head + b"\xdb\xff\xff\xff\xff",
    ]
    for bomb in bombs[:2]:
        refused(bomb)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    for bomb in bombs:
        for _ in range(20):
            refused(bomb)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10  # KiB
    assert time.process_time() - start < 10.0


@pytest.mark.parametrize("known", [None, KNOWN], ids=["without a schema", "with a schema"])
@pytest.mark.parametrize("cases", [CASES // 20, pytest.param(CASES // 2, marks=pytest.mark.slow)])
def test_nothing_but_wire_errors_comes_of_any_bytes(known: SchemaBounds | None, cases: int):
    rng = np.random.default_rng(5)
    start, taken, longest = time.process_time(), 0, 0
    for case in mutated(rng, cases):
        try:
            decode(case, known)
            taken += 1
        except WireError as error:
            longest = max(longest, len(str(error)))
    assert longest < 1000
    assert time.process_time() - start < SLOWEST * cases
    assert 0 < taken < cases  # some mutations leave a message valid


def test_lengths_that_lie_are_wire_errors():
    frame = encode_frame({"t": "ping", "n": 1})
    for length in (0, 1, len(frame), 2**31, 2**32 - 1):
        with pytest.raises(WireError):
            decode(struct.pack(">I", length) + frame[4:], KNOWN)
