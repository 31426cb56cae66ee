"""Snapshots: exact, complete, refused whole when anything is wrong, and written whole or not at all."""

import errno
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import msgpack  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor

from engine import Bundle, Clock, Scene, Simulation, SnapshotError, World, build, resource, table
from engine.ecs.component import info
from engine.files import write_file
from engine.snapshot.snapshot import MAGIC, Snapshot, capture, decode, encode, first_difference, restore, save
from tests.engine.toy import TICK, Age, Done, Place, Wind, run, toy


@resource
class Box:
    """One field of every kind that a snapshot can hold, and a module."""

    tensor: Tensor
    array: Any
    number: float
    whole: int
    switch: bool
    text: str
    raw: bytes
    pair: tuple[int, float]
    items: list[Any]
    named: dict[str, Any]
    numbered: dict[int, Tensor]
    module: torch.nn.Module
    nothing: None = None


def make_box() -> Box:
    torch.manual_seed(0)
    return Box(
        tensor=torch.arange(3.0),
        array=np.arange(4, dtype=np.int16),
        number=0.1,
        whole=-5,
        switch=True,
        text="ångström",
        raw=b"\x00\xff",
        pair=(1, 2.5),
        items=[1, "a", None],
        named={"__tensor__": 1, "b": torch.ones(2)},
        numbered={3: torch.zeros(1)},
        module=torch.nn.Linear(2, 1),
    )


@resource
class Stubborn:
    """Says itself what it saves, and refuses negative numbers after it has changed."""

    value: float = 1.0

    def state(self) -> dict[str, Any]:
        return {"value": self.value}

    def load(self, state: dict[str, Any]) -> None:
        self.value = state["value"]
        if self.value < 0:
            raise ValueError(f"{self.value} is negative")


def full(seed: int = 0, ticks: int = 3) -> Simulation:
    """The toy scene with a box and a stubborn resource, after some ticks."""
    simulation = build(toy(None, Bundle("more", resources=[make_box(), Stubborn()])), seed=seed)
    simulation.run(ticks)
    return simulation


def test_same_world_gives_the_same_bytes():
    assert save(full().world) == save(full().world)


def test_snapshot_does_not_disturb_the_run():
    one, two = run(2), run(2)
    save(one.world)
    one.run(3)
    two.run(3)
    assert save(one.world) == save(two.world)


def test_going_back_and_again_gives_the_same_bytes():
    simulation = full()
    start = save(simulation.world)
    simulation.run(7)
    end = save(simulation.world)
    assert end != start
    restore(simulation.world, start)
    assert save(simulation.world) == start
    simulation.run(7)
    assert save(simulation.world) == end


def test_another_process_worth_of_world_goes_on_exactly():
    """Another seed, so that everything that matters must come out of the snapshot."""
    simulation = full(seed=0)
    start = save(simulation.world)
    simulation.run(7)
    other = full(seed=99, ticks=0)
    restore(other.world, start)
    other.run(7)
    assert save(other.world) == save(simulation.world)


def test_storage_does_not_move():
    simulation = full()
    before = {name: tensor.data_ptr() for name, tensor in simulation.world.columns().items()}
    weight = simulation.world[Box].module.weight
    restore(simulation.world, save(simulation.world))
    assert {name: tensor.data_ptr() for name, tensor in simulation.world.columns().items()} == before
    assert simulation.world[Box].module.weight is weight


# Every piece of state, one at a time: change it, see the bytes change, go back.


def other_value(value: Any) -> Any:
    """Something of the same kind that differs."""
    if isinstance(value, Tensor):
        return ~value if value.dtype == torch.bool else value + 1
    if isinstance(value, np.ndarray):
        return value + 1
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, (str, bytes)):
        return value * 2
    if isinstance(value, tuple):
        return tuple(other_value(v) for v in value)
    if isinstance(value, list):
        return [*value[:-1], "changed"]
    if isinstance(value, dict):
        return {k: other_value(v) for k, v in value.items()}
    return "something"


def perturbations(world: World) -> Iterator[tuple[str, Callable[[], None]]]:
    """Every state and derived column, resource field and random stream, with a way to change it."""
    for (home, cls), instance in world.components.items():
        if info(cls).lifetime != "signal":
            for name in info(cls).columns:
                column = getattr(instance, name)
                yield f"{home}.{cls.__name__}.{name}", lambda c=column: c.copy_(other_value(c))
    for cls, item in world.resources.items():
        for field in attrs.fields(cls):
            value = getattr(item, field.name)
            if isinstance(value, torch.nn.Module):
                for name, part in value.named_parameters():
                    yield f"{cls.__name__}.{field.name}.{name}", lambda p=part: p.data.add_(1.0)
            elif isinstance(value, Tensor) and not field.metadata.get("constant"):
                yield f"{cls.__name__}.{field.name}", lambda v=value: v.copy_(other_value(v))
            elif not field.metadata.get("constant"):
                yield (
                    f"{cls.__name__}.{field.name}",
                    lambda i=item, n=field.name, v=value: setattr(i, n, other_value(v)),
                )
    for name, stream in world.generators.items():
        yield f"stream {name}", lambda g=stream: torch.rand(1, generator=g)


def assert_snapshot_is_complete(simulation: Simulation) -> list[str]:
    """Changing anything changes the bytes, and restoring brings every byte back; the names of what was changed."""
    world = simulation.world
    whole = save(world)
    names = []
    for name, change in perturbations(world):
        change()
        assert save(world) != whole, f"{name} is not part of the snapshot"
        restore(world, whole)
        assert save(world) == whole, f"{name} is not restored"
        names.append(name)
    return names


def test_every_piece_of_state_is_saved_and_restored():
    names = assert_snapshot_is_complete(full())
    columns = ["Place.x", "Age.moves", "Distance.value", "Seen.value"]
    expected = {
        *(f"points.{c}" for c in columns),
        "stream toy.move",
        "Clock.tick",
        "Clock.begun",
        "Wind.push",
        "Wind.gusts",
    }
    expected |= {f"Box.{f.name}" for f in attrs.fields(Box) if f.name != "module"} | {
        "Box.module.weight",
        "Box.module.bias",
    }
    assert set(names) == expected | {"Stubborn.value"}


def test_signals_are_skipped():
    simulation = full()
    before = save(simulation.world)
    simulation.world[Done].ended.logical_not_()
    assert save(simulation.world) == before
    assert b"Done" not in before


def test_constants_of_a_resource_are_skipped():
    simulation = full()
    before = save(simulation.world)
    simulation.world[Wind].name = "south"
    assert save(simulation.world) == before


def test_mask_of_a_condition_is_looked_at_again():
    simulation = full()
    simulation.world.condition_cache[1] = (0, True)
    restore(simulation.world, save(simulation.world))
    assert simulation.world.condition_cache == {}


def test_only_takes_the_named_resources():
    source = full(ticks=5)
    source.world[Box].tensor.fill_(7.0)
    target = build(toy(None, Bundle("more", resources=[make_box(), Stubborn()]), rows=9))
    target.run(2)
    untouched = target.world[Place].x.clone()
    restore(target.world, save(source.world), only=("Box",))
    assert target.world[Box].tensor.tolist() == [7.0, 7.0, 7.0]
    assert torch.equal(target.world[Place].x, untouched)
    assert target.world[Clock].tick == 1


# Refusals. Whatever is refused has changed nothing.


def refusal(simulation: Simulation, data: bytes, **options: Any) -> str:
    before = save(simulation.world)
    with pytest.raises(SnapshotError) as caught:
        restore(simulation.world, data, **options)
    assert save(simulation.world) == before, "a refused snapshot changed the world"
    return str(caught.value)


SAVED = save(run(4).world)
OTHER = run(2)
UNCHANGED = save(OTHER.world)


def test_unknown_resource_is_refused():
    assert refusal(OTHER, SAVED, only=("Wint",)) == "The snapshot has no resource 'Wint'. Did you mean Wind?"
    assert refusal(OTHER, save(full().world), only=("Wind", "Box")) == (
        "This world has no resource 'Box' to take from the snapshot."
    )


@given(st.integers(0, len(SAVED) - 1))
@settings(max_examples=60)
def test_truncated_snapshot_is_refused(length: int):
    with pytest.raises(SnapshotError):
        restore(OTHER.world, SAVED[:length])
    assert save(OTHER.world) == UNCHANGED


@pytest.mark.parametrize("length", [0, 1, 7, 8, 11])
def test_snapshot_that_ends_in_its_header(length: int):
    assert refusal(OTHER, SAVED[:length]) == (
        f"The snapshot ends after {length} bytes, inside its 12-byte header; it was cut off."
    )


def blocks(data: bytes) -> list[tuple[int, int]]:
    """Where the blocks of a snapshot begin, and how many payload bytes each has, by the layout in engine/snapshot/container.py."""
    found, start = [], 12
    while start < len(data):
        (stored,) = struct.unpack_from("<I", data, start)
        found.append((start, stored))
        start += 14 + stored
    return found


def contents(data: bytes) -> dict[str, Any]:
    """The tree in the first block, which is small enough to be one."""
    stored, raw, codec = struct.unpack_from("<IIB", data, 12)
    packed = data[26 : 26 + stored]
    tree: dict[str, Any] = msgpack.unpackb(zlib.decompress(packed) if codec else packed)
    assert len(msgpack.packb(tree)) == raw
    return tree


def test_blocks_are_the_contents_every_array_and_the_end():
    parts = contents(SAVED)["parts"]
    assert parts[:4] == ["Wind", "points.Place.x", "points.Age.moves", "points.Distance.value"]
    assert parts[-1] == "stream toy.move"
    assert len(blocks(SAVED)) == 1 + len(parts) + 1
    assert blocks(SAVED)[-1] == (len(SAVED) - 14, 0)


@pytest.mark.parametrize("block", range(len(blocks(SAVED))))
def test_a_cut_is_said_with_the_block_that_it_hit(block: int):
    start, stored = blocks(SAVED)[block]
    name = ["the table of contents", *contents(SAVED)["parts"], "the end"][block]
    for cut in {start, start + 1, start + 13, start + 14 + stored - 1}:
        assert refusal(OTHER, SAVED[:cut]) == (
            f"The snapshot is damaged at byte {start}: the block of {name} there is cut off: the file ends at byte {cut}. "
            "Use an earlier one."
        )


@pytest.mark.parametrize("block", range(len(blocks(SAVED))))
def test_a_flipped_bit_is_said_with_the_block_that_it_is_in(block: int):
    start, stored = blocks(SAVED)[block]
    name = ["the table of contents", *contents(SAVED)["parts"], "the end"][block]
    for place in {start + 9, start + 10, start + 13, start + 14 + stored - 1}:
        damaged = bytearray(SAVED)
        damaged[place] ^= 1
        assert refusal(OTHER, bytes(damaged)) == (
            f"The snapshot is damaged at byte {start}: the block of {name} there does not match its checksum. "
            "Use an earlier one."
        )


def test_blocks_in_another_order_are_refused():
    (first, stored), (second, more) = blocks(SAVED)[1:3]
    one, two = SAVED[first : first + 14 + stored], SAVED[second : second + 14 + more]
    assert "does not match its checksum" in refusal(
        OTHER, SAVED[:first] + two + one + SAVED[first + len(one) + len(two) :]
    )


def test_bytes_behind_the_end_are_refused():
    assert refusal(OTHER, SAVED + b"more") == (
        f"The snapshot is damaged at byte {len(SAVED)}: the block of the end there is followed by 4 bytes that do not "
        "belong to it. Use an earlier one."
    )


def test_a_large_array_is_cut_into_blocks_and_compressed_where_that_pays():
    simulation = full()
    box = simulation.world[Box]
    noise = np.random.default_rng(0).integers(0, 256, 3 * 2**20 + 5, np.uint8)
    box.items = [noise, np.zeros(2**22, np.uint8)]
    data = save(simulation.world)
    sizes = [stored for _, stored in blocks(data)]
    assert sizes.count(2**20) == 3 and sizes.count(5) == 1
    assert len(data) < 3 * 2**20 + 100_000, "4 MiB of zeros take next to nothing"
    box.items = [np.zeros_like(noise), np.ones(2**22, np.uint8)]
    restore(simulation.world, data)
    assert np.array_equal(box.items[0], noise) and not box.items[1].any()


@given(st.integers(0, len(SAVED) - 1), st.integers(1, 255))
@settings(max_examples=100)
def test_flipped_byte_is_refused(place: int, flip: int):
    damaged = bytearray(SAVED)
    damaged[place] ^= flip
    with pytest.raises(SnapshotError):
        restore(OTHER.world, bytes(damaged))
    assert save(OTHER.world) == UNCHANGED


@pytest.mark.parametrize("place", range(12 + 14))
def test_every_byte_of_the_header_counts(place: int):
    damaged = bytearray(SAVED)
    damaged[place] ^= 0x40
    refusal(OTHER, bytes(damaged))


@given(st.binary(max_size=200))
@settings(max_examples=50)
def test_noise_is_refused(noise: bytes):
    for data in (noise, MAGIC + noise, SAVED + b"\x00" + noise):
        with pytest.raises(SnapshotError):
            restore(OTHER.world, data)


@pytest.mark.parametrize(
    ("data", "begin"), [(b"PK\x03\x04" + bytes(100), r"b'PK\x03\x04\x00\x00\x00\x00'"), (b"hi\n", r"b'hi\n'")]
)
def test_something_else_is_refused_however_short(data: bytes, begin: str):
    assert refusal(OTHER, data) == (
        f"These bytes are not a snapshot: they start with {begin} instead of b'LOCKSTEP'. Only what Lockstep itself saved can be loaded."
    )


def test_other_version_is_refused():
    newer = SAVED[:8] + (4).to_bytes(4, "little") + SAVED[12:]
    assert refusal(OTHER, newer) == "The snapshot has format version 4 (bytes 8 to 11); this program reads version 3."


def other_world(**changes: Any) -> Simulation:
    """A sound toy world with the scene's attributes changed."""
    scene = toy(rows=changes.pop("rows", 4))
    for name, value in changes.items():
        setattr(scene, name, value)
    return build(scene)


PREFIX = "The snapshot belongs to another world: "


def test_other_scene_is_refused():
    assert refusal(other_world(name="other"), SAVED) == PREFIX + "scene is 'toy' in the snapshot but 'other' here."


def test_other_number_of_rows_is_refused():
    assert refusal(other_world(rows=5), SAVED) == PREFIX + "tables points rows is 4 in the snapshot but 5 here."


def test_other_identity_is_refused():
    assert (
        refusal(other_world(identity={"robot": "g1"}), SAVED)
        == PREFIX + "identity robot is here but not in the snapshot."
    )


def labelled(*labels: str) -> Simulation:
    return build(Scene([table("t", rows=1, axes={"dof": labels})], [Bundle("b", [Place])], TICK))


def test_other_axis_labels_are_refused():
    saved = save(labelled("hip", "knee").world)
    assert refusal(labelled("knee", "hip"), saved) == (
        PREFIX + "tables t axis dof is ['hip', 'knee'] in the snapshot but ['knee', 'hip'] here."
    )


def test_long_axes_show_what_is_new():
    many = [f"joint{i}" for i in range(12)]
    saved = save(labelled(*many).world)
    assert refusal(labelled(*many[:-1], "tail"), saved) == (
        PREFIX + "tables t axis dof: the snapshot has 12 entries, here are 12; only there: joint11; only here: tail."
    )


def test_other_columns_are_refused():
    fewer = build(Scene([table("points", rows=4, axes={"seen": 3})], [Bundle("b", [Place])], TICK, name="toy"))
    saved = save(
        build(Scene([table("points", rows=4, axes={"seen": 3})], [Bundle("b", [Place, Age])], TICK, name="toy")).world
    )
    assert refusal(fewer, saved) == PREFIX + "columns points.Age.moves is in the snapshot but not here."


def test_other_resources_are_refused():
    assert "resources" in refusal(OTHER, save(full().world))


def test_other_shape_in_a_resource_is_refused():
    wide = run(1)
    wide.world[Wind].push = torch.zeros(3)
    assert refusal(wide, SAVED) == (
        "Resource Wind does not fit: push is '(2,) torch.float32' in the snapshot but '(3,) torch.float32' here."
    )


def test_other_type_in_a_resource_is_refused():
    exact = run(1)
    exact.world[Wind].push = torch.zeros(2, dtype=torch.float64)
    assert "'(2,) torch.float32' in the snapshot but '(2,) torch.float64' here." in refusal(exact, SAVED)


def test_resource_that_refuses_late_leaves_everything_as_it_was():
    """The box loads before Stubborn refuses; it must be put back, and so must Stubborn itself."""
    source = full()
    source.world[Box].tensor.fill_(7.0)
    source.world[Stubborn].value = -1.0
    assert refusal(full(ticks=5), save(source.world)) == "Resource Stubborn refuses its saved state: -1.0 is negative"


@pytest.mark.parametrize(
    ("value", "shown"), [({1, 2}, "{1, 2} (set)"), (2**64, "18446744073709551616 (int)"), (1j, "1j (complex)")]
)
def test_what_a_snapshot_cannot_hold_is_a_sentence(value: Any, shown: str):
    simulation = full()
    simulation.world[Box].items = [value]
    with pytest.raises(SnapshotError) as caught:
        save(simulation.world)
    assert str(caught.value) == (
        f"A snapshot cannot hold {shown}. Declare the field with constant(), or give its resource state() and load()."
    )


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(
            st.text(max_size=5) | st.sampled_from(("__tensor__", "__tuple__", "__pairs__")), inner, max_size=3
        )
        | st.dictionaries(st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(PLAIN)
def test_plain_values_survive(value: Any):
    back = decode(encode(value))
    assert back == value and type(back) is type(value)


@given(
    arrays.arrays(
        st.sampled_from((np.float32, np.float64, np.int64, np.uint8, np.bool_)),
        arrays.array_shapes(min_dims=0, min_side=0),
    )
)
def test_tensors_and_arrays_survive_bit_for_bit(array: np.ndarray):
    for value in (array, torch.from_numpy(np.array(array))):
        back = decode(encode(value))
        assert type(back) is type(value) and back.dtype == value.dtype and tuple(back.shape) == tuple(value.shape)
        assert np.asarray(back).tobytes() == np.asarray(value).tobytes()


def test_strided_tensor_survives():
    value = torch.arange(6.0).reshape(2, 3).t()[:, ::2]
    assert torch.equal(decode(encode(value)), value)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.complex64])
def test_types_that_numpy_does_not_know_survive(dtype: torch.dtype):
    value = torch.tensor([1.5, -2.0]).to(dtype)
    assert torch.equal(decode(encode(value)), value)


def test_a_captured_snapshot_is_a_copy_and_counts_its_bytes():
    simulation = full()
    taken = capture(simulation.world)
    data = taken.encode()
    assert taken.tick == 2 and taken.num_bytes < len(data)
    simulation.run(3)
    assert taken.encode() == data and Snapshot.decode(data).encode() == data
    restore(simulation.world, taken)
    assert save(simulation.world) == data
    simulation.run(3)
    assert taken.encode() == data, "the world goes on in memory of its own"


def test_a_snapshot_that_is_given_up_lends_its_memory():
    simulation = full()
    old = capture(simulation.world)
    assert old.columns is not None
    places = {name: column.data_ptr() for name, column in old.columns.items()}
    simulation.run(2)
    new = capture(simulation.world, into=old)
    assert new.columns is not None
    assert {name: column.data_ptr() for name, column in new.columns.items()} == places
    assert new.encode() == save(simulation.world)


def test_nothing_has_run_before_tick_0():
    assert capture(full(ticks=0).world).tick == -1 and capture(full(ticks=1).world).tick == 0


def test_equal_values_have_no_difference():
    assert first_difference({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}) == ""


# Files.


def test_file_is_written_whole(tmp_path: Path):
    path = tmp_path / "a.snapshot"
    write_file(path, SAVED)
    assert path.read_bytes() == SAVED
    write_file(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert os.listdir(tmp_path) == ["a.snapshot"]


class FullDisk:
    """A file that takes some bytes and then fails, as a full disk does."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room = file, room

    def __enter__(self) -> "FullDisk":
        return self

    def __exit__(self, *problem: object) -> None:
        self.file.close()

    def write(self, data: bytes) -> int:
        self.file.write(data[: self.room])
        self.file.flush()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("room", [0, 1, 100])
def test_full_disk_leaves_the_file_before_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int):
    path = tmp_path / "a.snapshot"
    write_file(path, b"before")
    real = open
    monkeypatch.setattr("builtins.open", lambda *a, **k: FullDisk(real(*a, **k), room))
    with pytest.raises(OSError, match="No space left on device"):
        write_file(path, SAVED)
    monkeypatch.undo()
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a.snapshot"]


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_failure_to_reach_the_disk_leaves_the_file_before_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
):
    path = tmp_path / "a.snapshot"
    write_file(path, b"before")

    def fail(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(OSError, match="No space left on device"):
        write_file(path, SAVED)
    monkeypatch.undo()
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a.snapshot"]


def test_interruption_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "a.snapshot", SAVED)
    assert os.listdir(tmp_path) == []
