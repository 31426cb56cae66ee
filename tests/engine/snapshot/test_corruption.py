"""Damaged, cut, mixed and forged snapshots: each is refused in a sentence, and nothing changes, grows or runs.

Files are taken apart and forged by the layout that engine/snapshot/container.py documents, not by its code.
"""

import re
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import msgpack  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Clock, Simulation, SnapshotError, build
from engine.snapshot.snapshot import Snapshot, about, capture, identity, restore, save
from tests.engine.toy import Place, Wind, run, toy, toy_systems
from tests.helpers import tracking_scene

HEAD = 14
FAR = 2 << 20  # bytes that a named place may lie before the damage


def quiet_toy() -> Simulation:
    """The toy without wind and chance: a snapshot so small that every bit of it can be tried."""
    simulation = build(toy({**toy_systems(), "MOVE": []}))
    simulation.run(3)
    return simulation


WORLD = quiet_toy()
SMALL = save(WORLD.world)
WINDY = run(4)
SAVED = save(WINDY.world)


@pytest.fixture(scope="module")
def tracking() -> tuple[Simulation, bytes]:
    """A learning robot, whose snapshot has hundreds of blocks, and some larger than others."""
    made = tracking_scene(robot="humanoid", clip="squat", num_envs=4, hidden=(8,), horizon=12, robustness=1.0)
    simulation = build(made)
    simulation.run(13)
    return simulation, save(simulation.world)


def refused(data: bytes, simulation: Simulation = WORLD, before: bytes = SMALL) -> str:
    """What restoring says; the world must be as it was."""
    try:
        with pytest.raises(SnapshotError) as caught:
            restore(simulation.world, data)
    except BaseException:
        restore(simulation.world, before)
        raise
    assert save(simulation.world) == before, "a refused snapshot changed the world"
    return str(caught.value)


def named_place(sentence: str) -> int:
    """The offset that a sentence names."""
    if "they start with" in sentence:
        return 0
    found = re.search(r"(?:damaged at byte|damaged after byte|\(bytes|ends after) (\d+)", sentence)
    assert found, f"no offset in: {sentence}"
    return int(found[1])


def assert_near(sentence: str, place: int) -> None:
    """The named place lies at the damage or closely before it."""
    assert 0 <= place - named_place(sentence) < FAR, f"damage at {place}: {sentence}"


def flipped(data: bytes, bit: int) -> bytes:
    """The same with one bit the other way round."""
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


# Damage.


def test_every_flipped_bit_of_a_small_snapshot_is_refused_where_it_is() -> None:
    for bit in range(8 * len(SMALL)):
        with pytest.raises(SnapshotError) as caught:
            Snapshot.decode(flipped(SMALL, bit))
        assert_near(str(caught.value), bit // 8)


def test_every_cut_of_a_small_snapshot_is_refused_where_it_is() -> None:
    for length in range(len(SMALL)):
        with pytest.raises(SnapshotError) as caught:
            Snapshot.decode(SMALL[:length])
        assert_near(str(caught.value), length)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_flipped_bits_and_cuts_of_a_learning_robot_are_refused(
    tracking: tuple[Simulation, bytes], data: st.DataObject
) -> None:
    whole = tracking[1]
    bits = data.draw(st.lists(st.integers(0, 8 * len(whole) - 1), min_size=1, max_size=4, unique=True))
    damaged = whole
    for bit in bits:
        damaged = flipped(damaged, bit)
    with pytest.raises(SnapshotError) as caught:
        Snapshot.decode(damaged)
    assert_near(str(caught.value), min(bits) // 8)
    length = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(SnapshotError) as caught:
        Snapshot.decode(whole[:length])
    assert_near(str(caught.value), length)


def test_the_first_and_last_bit_of_every_part_of_a_block_of_a_learning_robot(
    tracking: tuple[Simulation, bytes],
) -> None:
    whole = tracking[1]
    for start, end in pieces(whole):
        for place in {start, start + 4, start + 8, start + 9, start + 10, start + HEAD - 1, end - 1}:
            with pytest.raises(SnapshotError) as caught:
                Snapshot.decode(flipped(whole, 8 * place + 7))
            assert named_place(str(caught.value)) == start


def test_a_damaged_snapshot_leaves_a_learning_robot_alone(tracking: tuple[Simulation, bytes]) -> None:
    simulation, whole = tracking
    for start, end in pieces(whole)[::40]:
        refused(flipped(whole, 8 * (end - 1)), simulation, whole)
        refused(whole[: start + 5], simulation, whole)


def test_damage_behind_the_first_mebibyte_is_said_there() -> None:
    simulation = run(2)
    simulation.world[Wind].push = torch.from_numpy(np.random.default_rng(0).random(700_000))
    data = save(simulation.world)
    big = [(start, end) for start, end in pieces(data) if end - start > 2**20]
    assert len(big) == 5
    for place in (start + 2**19 for start, _ in big):
        assert 0 <= place - named_place(str(refusal_of(flipped(data, 8 * place)))) < 2**20


def refusal_of(data: bytes) -> SnapshotError:
    """What decoding says."""
    with pytest.raises(SnapshotError) as caught:
        Snapshot.decode(data)
    return caught.value


@given(st.binary(max_size=400))
@settings(max_examples=100)
def test_noise_is_refused(noise: bytes) -> None:
    for data in (noise, SAVED[:12] + noise, SAVED[:26] + noise, SAVED[:300] + noise + SAVED[300:]):
        if data != SAVED:
            with pytest.raises(SnapshotError):
                Snapshot.decode(data)


# Whole blocks in the wrong place.


def pieces(data: bytes) -> list[tuple[int, int]]:
    """Where each block begins and ends."""
    found, start = [], 12
    while start < len(data):
        (stored,) = struct.unpack_from("<I", data, start)
        found.append((start, start + HEAD + stored))
        start += HEAD + stored
    return found


def in_order(data: bytes, order: list[int]) -> bytes:
    """The header and those blocks."""
    where = pieces(data)
    return data[:12] + b"".join(data[slice(*where[number])] for number in order)


def test_blocks_that_are_lost_doubled_or_swapped_are_refused() -> None:
    numbers = list(range(len(pieces(SAVED))))
    wrong = [numbers[:i] + numbers[i + 1 :] for i in numbers]
    wrong += [[*numbers[:i], i, *numbers[i:]] for i in numbers]
    wrong += [[*numbers[:i], i + 1, i, *numbers[i + 2 :]] for i in numbers[:-1]]
    for order in wrong:
        refused(in_order(SAVED, order), WINDY, SAVED)


def test_the_halves_of_two_snapshots_are_not_one() -> None:
    """Both are sound and of the same world, and their blocks are equally long but for the last few."""
    other = save(run(9).world)
    assert other != SAVED
    for (_, end), (_, other_end) in zip(pieces(SAVED), pieces(other), strict=True):
        spliced = SAVED[:end] + other[other_end:]
        if spliced not in (SAVED, other):
            refused(spliced, WINDY, SAVED)


# Forged files: every checksum is right.


def block(before: int, payload: bytes, *, raw: int | None = None, codec: int = 0, last: int = 1) -> bytes:
    """One block by the documented layout, that continues a checksum."""
    head = struct.pack("<IIBB", len(payload), len(payload) if raw is None else raw, codec, last)
    return head + struct.pack("<I", zlib.crc32(head + payload, before)) + payload


def good(payload: bytes, **options: Any) -> Callable[[int], bytes]:
    """A block whose place is given later."""
    return lambda before: block(before, payload, **options)


def framed(*blocks: Callable[[int], bytes], end: bytes = b"") -> bytes:
    """A file of those blocks and the end."""
    data = b"LOCKSTEP" + struct.pack("<I", 3)
    checksum = zlib.crc32(data)
    for make in (*blocks, good(end, codec=2)):
        made = make(checksum)
        data, (checksum,) = data + made, struct.unpack("<I", made[10:HEAD])
    return data


def forged(tree: Any, *arrays: bytes) -> bytes:
    """A file with that table of contents and those arrays, all checksums right."""
    payloads = [tree if isinstance(tree, bytes) else msgpack.packb(tree), *arrays]
    return framed(*map(good, payloads))


def contents(data: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """The tree and the arrays of a small sound file, in which no block goes on in another."""
    parts = []
    for start, end in pieces(data)[:-1]:
        codec = data[start + 8]
        parts.append(zlib.decompress(data[start + HEAD : end]) if codec == 1 else data[start + HEAD : end])
    return msgpack.unpackb(parts[0], strict_map_key=False), parts[1:]


def test_a_forged_copy_of_a_sound_file_is_accepted() -> None:
    """So what follows is refused for what is wrong in it, and not for how it was forged."""
    tree, arrays = contents(SMALL)
    restore(WORLD.world, forged(tree, *arrays))
    assert save(WORLD.world) == SMALL


COLUMN = "points.Place.x"
TENSORS: dict[str, Any] = {
    "a function of torch": {"__tensor__": "load"},
    "a module of torch": {"__tensor__": "os"},
    "a dunder": {"__tensor__": "__dict__"},
    "an unknown type": {"__tensor__": "float33"},
    "a type that is a number": {"__tensor__": 7},
    "a type that is nothing": {"__tensor__": None},
    "a type that is a list": {"__tensor__": ["float32"]},
    "quantised numbers": {"__tensor__": "quint8"},
    "raw bits": {"__tensor__": "bits8"},
    "objects": {"__tensor__": None, "__array__": "O"},
    "objects in a record": {"__tensor__": None, "__array__": {"names": ["a"], "formats": ["O"]}},
    "a record": {"__tensor__": None, "__array__": "f4,f4"},
    "an unfinished record": {"__tensor__": None, "__array__": "(,)f4"},
    "another shape": {"shape": [4, 3]},
    "another sound shape": {"shape": [2, 4]},
    "a shape that broadcasts": {"shape": [1, 8]},
    "a negative shape": {"shape": [-1, 2]},
    "two negative lengths": {"shape": [-4, -2]},
    "an enormous shape": {"shape": [2**62, 2**62]},
    "an unsigned shape": {"shape": [2**64 - 1]},
    "a shape of fractions": {"shape": [4.0, 2.0]},
    "a shape of texts": {"shape": ["4", "2"]},
    "a nested shape": {"shape": [[4], [2]]},
    "a shape that is a number": {"shape": 8},
    "a shape that is a truth": {"shape": [True, 8]},
    "no shape": {"shape": None},
    "a part out of range": {"part": 10_000},
    "a negative part": {"part": -1},
    "a part that is a truth": {"part": True},
    "a part that is a text": {"part": "0"},
    "the part of another": {"part": 2},
    "an enormous length": {"part": None, "data": 2**40},
    "a list for data": {"part": None, "data": [1] * 32},
    "a text for data": {"part": None, "data": "x" * 32},
}


def with_column(change: dict[str, Any]) -> bytes:
    """The small snapshot with one column described in another way; None takes an entry out."""
    tree, arrays = contents(SMALL)
    column = {**tree["columns"][COLUMN], **change}
    tree["columns"][COLUMN] = {
        key: value for key, value in column.items() if value is not None or change == {key: None}
    }
    if change == {"shape": None}:
        del tree["columns"][COLUMN]["shape"]
    return forged(tree, *arrays)


@pytest.mark.parametrize("what", TENSORS)
def test_a_tensor_that_is_none_is_refused(what: str) -> None:
    refused(with_column(TENSORS[what]))


def deep(levels: int) -> Any:
    """A list in a list in a list."""
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


def set_in(tree: Any, path: str, value: Any) -> None:
    """Put a value at a path of keys."""
    *way, key = path.split("/")
    for step in way:
        tree = tree[step]
    tree[key] = value


TREES: list[tuple[str, Any]] = [
    *((name, value) for name in ("fingerprint", "columns", "resources", "streams") for value in (7, [], "x", [[1, 2]])),
    ("fingerprint", {}),
    ("fingerprint/identity", deep(600)),
    ("fingerprint/columns", 3),
    ("columns", {}),
    ("columns/" + COLUMN, 3),
    ("columns/" + COLUMN, None),
    ("columns/points.Extra.x", 3),
    ("resources/Wind", 3),
    ("resources/Wind", {}),
    ("resources/Wind", {"push": 3, "gusts": 0}),
    ("resources/Wind/push", deep(400)),
    ("resources/Other", {}),
    ("resources/Clock", {"tick": 0}),
    ("resources/Wind/gusts", msgpack.ExtType(5, b"x")),
    ("resources/Wind/gusts", msgpack.Timestamp(0)),
    ("resources/Wind/gusts", {"__tuple__": 3}),
    ("resources/Wind/gusts", {"__pairs__": 3}),
    ("resources/Wind/gusts", {"__pairs__": [[[1], 2]]}),
    ("resources/Wind/gusts", {"__pairs__": [[1]]}),
    ("streams/toy.other", 3),
    ("about", 3),
]


@pytest.mark.parametrize(("path", "value"), TREES, ids=[f"{p}={v!r:.20}" for p, v in TREES])
def test_a_tree_that_makes_no_sense_is_refused(path: str, value: Any) -> None:
    tree, arrays = contents(SMALL)
    set_in(tree, path, value)
    refused(forged(tree, *arrays))


@pytest.mark.parametrize("name", ["fingerprint", "columns", "resources", "streams", "parts"])
def test_a_tree_without_one_of_its_branches(name: str) -> None:
    """Refused, unless nothing is lost with it: this world has no streams, and parts are named for messages only."""
    tree, arrays = contents(SMALL)
    del tree[name]
    if name in ("streams", "parts"):
        restore(WORLD.world, forged(tree, *arrays))
        assert save(WORLD.world) == SMALL
    else:
        refused(forged(tree, *arrays))


STREAMS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "of nothing": lambda state: 3,
    "of another length": lambda state: {**state, "shape": [16], "part": None, "data": bytes(16)},
    "of zeros": lambda state: {**state, "part": None, "data": bytes(5056)},
    "of other numbers": lambda state: {**state, "__tensor__": "int8"},
}


@pytest.mark.parametrize("what", STREAMS)
def test_a_random_stream_that_is_none_is_refused(what: str) -> None:
    """Before anything is changed: columns and resources of this file are sound, and of another tick."""
    tree, arrays = contents(save(run(7).world))
    state = STREAMS[what](tree["streams"]["toy.move"])
    tree["streams"]["toy.move"] = (
        {k: v for k, v in state.items() if v is not None} if isinstance(state, dict) else state
    )
    refused(forged(tree, *arrays), WINDY, SAVED)


def test_a_stream_or_resource_that_is_missing_is_refused() -> None:
    for branch, name in (("streams", "toy.move"), ("resources", "Wind"), ("columns", COLUMN)):
        tree, arrays = contents(save(run(7).world))
        del tree[branch][name]
        assert name in refused(forged(tree, *arrays), WINDY, SAVED)


@pytest.mark.parametrize(
    "tree",
    [
        b"",
        b"\xc1",
        b"\x81\x91\x01\x02",  # a map whose key is a list
        b"\xdd\xff\xff\xff\xff",  # a list of 2^32 - 1 entries
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 100_000,
        b"\xd9\x02\xff\xfe",  # text that is not UTF-8
        b"\x80 and more",
        7,
        [],
        {},
        {"fingerprint": {}, "resources": {}},
        {"fingerprint": 1, "resources": 2, "columns": 3, "parts": 4},
    ],
    ids=lambda tree: f"{tree!r:.25}",
)
def test_a_table_of_contents_that_is_none_is_refused(tree: Any) -> None:
    refused(forged(tree))
    for look in (identity, about):
        try:
            look(forged(tree))
        except SnapshotError:
            continue


@pytest.mark.parametrize("parts", [None, 7, "x", [7], [[]], []])
def test_names_of_parts_that_are_none_do_not_spoil_the_message(parts: Any) -> None:
    tree, arrays = contents(SMALL)
    data = forged({**tree, "parts": parts}, *arrays)
    assert_near(refused(flipped(data, 8 * (len(data) - 1))), len(data) - 1)


FRAMES: dict[str, Callable[[int], bytes]] = {
    "an unknown codec": lambda tree: framed(good(tree, codec=3)),
    "compressed nonsense": lambda tree: framed(good(tree, codec=1)),
    "half of what was compressed": lambda tree: framed(good(zlib.compress(tree)[:-9], codec=1, raw=len(tree))),
    "more than was compressed": lambda tree: framed(good(zlib.compress(tree) + b"x", codec=1, raw=len(tree))),
    "less than it says": lambda tree: framed(good(zlib.compress(tree), codec=1, raw=len(tree) + 1)),
    "more than it says": lambda tree: framed(good(zlib.compress(tree), codec=1, raw=len(tree) - 1)),
    "a length of nothing": lambda tree: framed(good(zlib.compress(tree), codec=1, raw=0)),
    "another raw length": lambda tree: framed(good(tree, raw=len(tree) + 1)),
    "a part that does not end": lambda tree: framed(good(tree), good(b"rest", last=0)),
    "a table of contents that does not end": lambda tree: framed(good(tree, last=0)),
    "no blocks": lambda tree: framed(),
    "two ends": lambda tree: framed(good(tree), good(b"", codec=2)),
    "an end with a payload": lambda tree: framed(good(tree), end=b"more"),
    "a block of two mebibytes": lambda tree: framed(good(tree), good(bytes(2**21))),
    "a bomb": lambda tree: framed(good(tree), good(zlib.compress(bytes(2**27)), codec=1, raw=2**27)),
    "a bomb without a length": lambda tree: framed(good(tree), good(zlib.compress(bytes(2**27)), codec=1, raw=0)),
}


@pytest.mark.parametrize("what", FRAMES)
def test_blocks_that_no_writer_makes_are_refused_at_their_place(what: str) -> None:
    tree, _ = contents(SMALL)
    data = FRAMES[what](msgpack.packb(tree))
    assert "byte" in refused(data) or what == "no blocks"


SIZES: dict[str, Callable[[], bytes]] = {
    "stored length": lambda: SMALL[:12] + b"\xff\xff\xff\xff" + SMALL[16:],
    "raw length": lambda: SMALL[:16] + b"\xff\xff\xff\xff" + SMALL[20:],
    "a bomb": lambda: FRAMES["a bomb"](msgpack.packb(contents(SMALL)[0])),
    "a bomb without a length": lambda: FRAMES["a bomb without a length"](msgpack.packb(contents(SMALL)[0])),
    "a shape": lambda: with_column({"shape": [2**40]}),
    "a length for data": lambda: with_column({"part": None, "data": 2**30}),
    "a list": lambda: forged(b"\xdd\xff\xff\xff\xff"),
    "bytes": lambda: forged(b"\xc6\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("what", SIZES)
def test_an_enormous_size_takes_no_memory(what: str) -> None:
    data = SIZES[what]()
    tracemalloc.start()
    with pytest.raises(SnapshotError):
        Snapshot.decode(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 2**20


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=4)
    | st.binary(max_size=9)
    | st.sampled_from(("float32", "int64", "load", "O", "<f4"))
)
KEYS = st.sampled_from(
    ("__tensor__", "__array__", "__pairs__", "__tuple__", "shape", "data", "part", "push", "gusts", "tick", "begun")
)
HOSTILE = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.integers(0, 3), inner, max_size=4),
    max_leaves=10,
)


@given(st.sampled_from([p for p, _ in TREES if "/" in p or p == "about"]), HOSTILE)
@settings(max_examples=150, deadline=None)
def test_whatever_stands_in_the_tree_there_is_no_other_exception(path: str, value: Any) -> None:
    tree, arrays = contents(SMALL)
    set_in(tree, path, value)
    data = forged(tree, *arrays)
    simulation = WORLD
    try:
        restore(simulation.world, data)
    except SnapshotError:
        assert save(simulation.world) == SMALL
        return
    finally:
        restore(simulation.world, SMALL)


# A restored world is its own.


def test_a_world_shares_no_memory_with_the_snapshot_it_came_from() -> None:
    source = run(5)
    for taken in (capture(source.world), Snapshot.decode(save(source.world))):
        data = taken.encode()
        other = run(2)
        restore(other.world, taken)
        other.world[Place].x.fill_(7.0)
        other.world[Wind].push.fill_(7.0)
        other.world[Clock].tick = 99
        other.run(3)
        source.run(3)
        assert taken.encode() == data


def test_two_arrays_of_a_file_do_not_share_memory() -> None:
    """Part 2 is as long as part 1 in this file; what is written into one tensor must not appear in another."""
    tree, arrays = contents(SMALL)
    names = [n for n, c in tree["columns"].items() if c["shape"] == [4]]
    tree["columns"][names[0]]["part"] = tree["columns"][names[1]]["part"]
    tree["columns"][names[0]]["__tensor__"] = tree["columns"][names[1]]["__tensor__"]
    refused(forged(tree, *arrays))


# What could be written but not read back is refused when it is captured.


class Pair(NamedTuple):
    """A tuple whose parts have names."""

    first: int
    second: int


@pytest.mark.parametrize(
    "array", [np.zeros(2, "f4,i4"), np.array([{}, None], dtype=object)], ids=["records", "objects"]
)
def test_an_array_that_could_not_be_read_back_is_refused_at_once(array: np.ndarray) -> None:
    simulation = run(1)
    simulation.world[Wind].gusts = array  # type: ignore[assignment]
    with pytest.raises(SnapshotError, match="A snapshot cannot hold an array of "):
        capture(simulation.world)


def test_a_tuple_with_names_is_kept_as_a_tuple() -> None:
    simulation = run(1)
    simulation.world[Wind].gusts = Pair(1, 2)  # type: ignore[assignment]
    restore(simulation.world, save(simulation.world))
    assert simulation.world[Wind].gusts == (1, 2)


def test_physics_that_refuses_half_way_is_put_back(tracking: tuple[Simulation, bytes]) -> None:
    """Fields of single rows come first in a file, and forces of another shape after them."""
    simulation, whole = tracking
    taken = Snapshot.decode(whole)
    state = taken.resources["Physics"]
    state["fields"] = {"geom_friction": np.full_like(state["force"], 0.1, shape=(4, 28, 3))}
    state["force"] = np.zeros((4, 3, 3), np.float32)
    refused(taken.encode(), simulation, whole)
