"""Frames: what goes in comes out, and nothing but WireError comes out of bytes from elsewhere."""

import contextlib
import struct

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import WireError, build
from engine.ecs.world import column_labels
from engine.protocol.framing import (
    DTYPES,
    MAGIC,
    PROTOCOL,
    FrameBuffer,
    FrameTooLarge,
    Limits,
    column_ids,
    decode_body,
    encode_frame,
    other_version,
    pack_array,
    schema_hash,
    unpack_array,
)
from engine.protocol.schema import make_schema
from tests.engine.toy_scene import make_scene

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
MESSAGES = st.dictionaries(st.text(), PLAIN, max_size=5).map(lambda m: {**m, "t": "x"})


def whole_frames(*parts: bytes) -> list[dict]:
    """The messages of the whole frames in bytes that come in parts."""
    buffer, found = FrameBuffer(), []
    for part in parts:
        buffer.feed(part)
        while (body := buffer.take(1 << 20)) is not None:
            found.append(decode_body(body))
    return found


def decoded(frame: bytes) -> dict:
    (message,) = whole_frames(frame)
    return message


@given(MESSAGES)
def test_a_message_comes_out_as_it_went_in(message: dict) -> None:
    assert decoded(encode_frame(message)) == message


def test_a_frame_is_a_big_endian_length_and_one_map() -> None:
    assert encode_frame({"t": "x"}) == b"\x00\x00\x00\x05\x81\xa1t\xa1x"


@given(st.lists(MESSAGES, max_size=4), st.data())
@settings(max_examples=40)
def test_a_buffer_gives_the_whole_frames_of_a_stream_wherever_it_is_cut(
    messages: list[dict], data: st.DataObject
) -> None:
    frames = [encode_frame(m) for m in messages]
    stream = b"".join(frames)
    cut = data.draw(st.integers(0, len(stream)))
    whole = [i for i in range(len(frames) + 1) if sum(map(len, frames[:i])) <= cut][-1]
    assert whole_frames(stream[:cut]) == messages[:whole]
    assert whole_frames(stream[:cut], stream[cut:]) == messages


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_wire_error(data: bytes) -> None:
    for read in (decode_body, whole_frames):
        try:
            read(data)
        except WireError:
            continue


@given(MESSAGES, st.data())
def test_a_damaged_frame_is_a_message_or_a_wire_error(message: dict, data: st.DataObject) -> None:
    frame = bytearray(encode_frame(message))
    place = data.draw(st.integers(0, len(frame) - 1))
    frame[place] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(WireError):
        assert all(isinstance(found, dict) for found in whole_frames(bytes(frame)))


def packed(value: object) -> bytes:
    return msgpack.packb(value)


def nested(depth: int) -> object:
    return [] if depth == 0 else [nested(depth - 1)]


REFUSED = {
    "a key twice": (b"\x82\xa1t\xa1a\xa1t\xa1b", "the key 't' twice"),
    "a key that is a number": (packed({"t": "x", 1: 2}), "int is not allowed for map key"),
    "a key that is bytes": (b"\x82\xa1t\xa1x\xc4\x01k\x01", "keys are text"),
    "an extension": (packed({"t": "x", "a": msgpack.ExtType(4, b"abc")}), "not one msgpack map within limits"),
    "an empty extension": (packed({"t": "x", "a": [msgpack.ExtType(4, b"")]}), "extension type 4"),
    "a timestamp": (packed({"t": "x", "a": msgpack.Timestamp(1)}), "not one msgpack map within limits"),
    "two maps": (packed({"t": "x"}) * 2, "extra data"),
    "half a map": (packed({"t": "x"})[:-1], "incomplete input"),
    "a list": (packed(["t"]), "not a map with its type"),
    "no type": (packed({"a": 1}), "not a map with its type"),
    "a type that is no text": (packed({"t": 1}), "not a map with its type"),
    "text that is none": (b"\x81\xa1t\xa1\xff", "not one msgpack map within limits"),
    "a claimed length": (b"\x81\xa1t\xdd\xff\xff\xff\xff", "not one msgpack map within limits"),
    "deep nesting": (packed({"t": "x", "a": nested(17)}), "nested too deeply"),
    "very deep nesting": (b"\x82\xa1t\xa1x\xa1a" + b"\x91" * 100_000, "not one msgpack map within limits"),
}


@pytest.mark.parametrize(("body", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_and_why(body: bytes, why: str) -> None:
    with pytest.raises(WireError, match=why):
        decode_body(body)


def test_limits_are_kept_both_ways() -> None:
    small = Limits(frame=64, array=4, map=3, text=8)
    assert decode_body(packed({"t": "x", "a": [1, 2, 3, 4]}), small)["a"] == [1, 2, 3, 4]
    for message in ({"t": "x", "a": [0] * 5}, {"t": "x", "a": 1, "b": 2, "c": 3}, {"t": "x", "a": "a" * 9}):
        with pytest.raises(WireError, match="within limits"):
            decode_body(packed(message), small)
    with pytest.raises(WireError, match="64 are the most"):
        decode_body(packed({"t": "x", "a": b"a" * 64}), small)
    with pytest.raises(WireError, match=r"64 are the most\. Send less at once"):
        encode_frame({"t": "x", "a": b"a" * 64}, small)


def test_a_frame_that_is_announced_to_be_too_long_is_refused_before_it_has_come() -> None:
    buffer = FrameBuffer()
    buffer.feed(struct.pack(">I", 65))
    with pytest.raises(FrameTooLarge, match=r"A frame of 65 bytes was announced; 64 are the most\.") as caught:
        buffer.take(64)
    assert caught.value.length == 65
    assert buffer.take(65) is None


def test_a_prefix_is_skipped_once_it_has_come_whole_and_another_one_is_not() -> None:
    buffer = FrameBuffer()
    assert buffer.skip(MAGIC) is None
    buffer.feed(MAGIC[:3])
    assert buffer.skip(MAGIC) is None
    buffer.feed(MAGIC[3:] + encode_frame({"t": "x"}))
    assert buffer.skip(MAGIC) and buffer.take(100) is not None
    buffer.feed(b"GET / HTTP")
    assert buffer.skip(MAGIC) is False


def test_two_major_versions_say_which_side_to_upgrade() -> None:
    major = PROTOCOL[0]
    for run, debugger, older in (((major + 1, 0), PROTOCOL, "debugger"), (PROTOCOL, (major + 1, 0), "run's engine")):
        sentence = (
            f"The run speaks debugger protocol {run[0]}.{run[1]}, the debugger {debugger[0]}.{debugger[1]}: upgrade the "
            f"{older} (pip install --upgrade lockstep-sim)."
        )
        assert other_version(list(run), debugger) == sentence
    assert other_version(None) == "What listens there does not say which protocol it speaks; it is not a Lockstep run."


@pytest.mark.parametrize("value", [object(), 2**64, {1, 2}, 1j])
def test_what_a_frame_cannot_carry_is_a_wire_error(value: object) -> None:
    with pytest.raises(WireError, match="of type 'x' cannot be packed"):
        encode_frame({"t": "x", "value": value})


@given(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=4), st.randoms())
def test_arrays_come_out_as_they_went_in(dtype: str, shape: list[int], random: object) -> None:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    array = np.frombuffer(bytes(i % 2 for i in range(size)), dtype).reshape(shape)
    found = unpack_array(decoded(encode_frame({"t": "x", "a": pack_array(array)}))["a"])
    assert found.dtype.str == dtype and found.shape == tuple(shape) and found.tobytes() == array.tobytes()


def test_arrays_travel_little_endian_and_in_c_order() -> None:
    big = np.array([[1, 2], [3, 4]], ">i2").T
    assert pack_array(big) == ["<i2", [2, 2], b"\x01\x00\x03\x00\x02\x00\x04\x00"]


@pytest.mark.parametrize(
    "item",
    [
        None,
        ["<f4", [1]],
        ["<f4", [2], b"1234"],
        ["<f4", [-1], b""],
        ["<f4", [True], b"1234"],
        ["<f4", 1, b"1234"],
        ["<f4", [1], "1234"],
        [">f4", [1], b"1234"],
        ["|O", [1], b"12345678"],
        [[], [1], b"1234"],
        ["<f4", [0] * 33, b""],
        ["<f4", [2**40, 0], b""],
    ],
)
def test_an_array_whose_parts_do_not_fit_is_a_wire_error(item: object) -> None:
    with pytest.raises(WireError, match="An array in a frame"):
        unpack_array(item)


def test_an_array_of_objects_cannot_be_sent() -> None:
    with pytest.raises(WireError, match="cannot carry an array of dtype object"):
        pack_array(np.array([None]))


# -- the schema ----------------------------------------------------------------------------------------


def test_the_schema_says_what_the_scene_is() -> None:
    simulation = build(make_scene(num_envs=3))
    schema = decoded(encode_frame(make_schema(simulation)))
    (table,) = schema["tables"]
    assert (table["name"], table["rows"]) == ("point", 3)
    assert {"name": "side", "labels": ["left", "right"]} in table["axes"]
    point = table["components"][0]
    assert (point["name"], point["lifetime"], point["doc"]) == ("Point", "state", "Where each row is.")
    assert point["columns"] == [
        {
            "id": 0,
            "name": "position",
            "axes": [""],
            "shape": [2],
            "labels": [["0", "1"]],
            "dtype": "float32",
            "unit": "m",
            "doc": "",
            "editable": True,
            "limits": None,
        }
    ]
    assert [p["name"] for p in schema["phases"]] == ["BEGIN", "STEP", "SENSE", "RESET", "REFRESH", "LEARN"]
    assert [p["repeat"] for p in schema["phases"]] == [1, 2, 1, 1, 1, 1]
    stray = next(s for s in schema["systems"] if s["name"] == "stray")
    assert stray["doc"] == "End rows that are further than `limit` metres from home."
    assert stray["writes"] == ["point.Ended", "Count"] and stray["phase"] == "SENSE" and not stray["draws"]
    home = next(s for s in schema["systems"] if s["name"] == "return_home")
    assert home["when"]["asks"] == "point.Ended.rows"
    assert {"address": "toy.stray.limit", "type": "float", "value": 1.0} in schema["constants"]
    assert schema["resources"][1] == {
        "name": "Count",
        "doc": "Episodes that ended in the running iteration and in the last finished one.",
        "fields": ["running", "latest"],
    }
    assert schema["vitals"] == {"point": ["place[0]", "place[1]"]}
    assert schema["endings"] == {"point": {"reasons": ["left", "right"]}}


def test_the_schema_has_the_labels_by_which_breakpoints_name_the_values_of_a_column() -> None:
    simulation = build(make_scene(num_envs=3))
    schema = make_schema(simulation)
    for component in schema["tables"][0]["components"]:
        for column in component["columns"]:
            address = f"point.{component['name']}.{column['name']}"
            assert column["labels"] == [list(labels) for labels in column_labels(simulation.world, address)]
            assert [len(labels) for labels in column["labels"]] == column["shape"]


def test_column_ids_are_small_and_in_order_of_declaration() -> None:
    simulation = build(make_scene())
    ids = column_ids(make_schema(simulation))
    assert ids == {address: number for number, address in enumerate(simulation.world.columns())}


def test_the_hash_changes_with_the_scene_and_only_with_it() -> None:
    same = [schema_hash(make_schema(build(make_scene(num_envs=3)))) for _ in range(2)]
    assert same[0] == same[1] and len(same[0]) == 32
    assert schema_hash(make_schema(build(make_scene(num_envs=4)))) != same[0]
    changed = build(make_scene(num_envs=3), overrides={"toy.stray.limit": "2.0"})
    assert schema_hash(make_schema(changed)) != same[0]
