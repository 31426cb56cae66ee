"""Snapshot of a world: what its next tick depends on, in memory and as bytes. A checkpoint is a snapshot.

`capture` copies what the next tick depends on out of a world: every state and derived column, `state()` of each
resource, every random stream. Encoded in a container (engine/snapshot/container.py), the first part is a msgpack tree, in which arrays are
numbers of the parts that follow. An extract has a part of the resources and how they were made, and no columns.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import attrs
import msgpack  # type: ignore[import-untyped]
import numpy as np
import torch
from torch import Tensor

from engine.ecs.component import info
from engine.ecs.world import World
from engine.errors import SnapshotError, did_you_mean, listing
from engine.snapshot.container import PREFIX, CorruptBlock, Packer, read_parts, read_prefix
from engine.snapshot.encoding import copied, decode, encode, num_bytes_of

MAGIC = b"LOCKSTEP"
FORMAT = 3


@attrs.define(eq=False)
class Snapshot:
    """What the next tick depends on, in memory of its own on the host."""

    fingerprint: dict[str, Any]
    columns: dict[str, Tensor] | None
    resources: dict[str, Any]
    streams: dict[str, Tensor] = attrs.field(factory=dict)
    about: dict[str, Any] = attrs.field(factory=dict)
    constants: dict[str, str] = attrs.field(factory=dict)  # edited since the scene was built

    @property
    def tick(self) -> int:
        """The tick after which it was taken; -1 when nothing had run."""
        clock = self.resources.get("Clock", {})
        return int(clock["tick"]) if clock.get("begun") else -1

    @property
    def num_bytes(self) -> int:
        """Memory of its arrays."""
        return sum(map(num_bytes_of, (self.columns, self.resources, self.streams)))

    def pieces(self) -> Iterator["bytes | memoryview"]:
        """The encoded snapshot in pieces of at most a mebibyte."""
        arrays: list[tuple[str, memoryview]] = []
        body: dict[str, Any] = {
            "fingerprint": self.fingerprint,
            "resources": {name: encode(state, arrays, name) for name, state in self.resources.items()},
        }
        if self.columns is not None:
            body["columns"] = {name: encode(column, arrays, name) for name, column in self.columns.items()}
            body["streams"] = {name: encode(s, arrays, f"stream {name}") for name, s in self.streams.items()}
        if self.constants:
            body["constants"] = self.constants
        if self.about:
            body["about"] = encode(self.about)
        body["parts"] = [name for name, _ in arrays]
        packer = Packer(MAGIC, FORMAT)
        yield packer.start
        for part in (msgpack.packb(body), *(data for _, data in arrays)):
            yield from packer.part(part)
        yield from packer.end()

    def encode(self) -> bytes:
        """The snapshot as bytes."""
        return b"".join(self.pieces())

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The snapshot in `data`; SnapshotError when bytes are missing, flipped or of an unknown version."""
        body, arrays = _body(data)
        try:
            columns = body.get("columns")
            taken = cls(
                body["fingerprint"],
                None if columns is None else {name: decode(value, arrays) for name, value in columns.items()},
                {name: decode(value, arrays) for name, value in body["resources"].items()},
                {name: decode(value, arrays) for name, value in body.get("streams", {}).items()},
                decode(body.get("about", {}), arrays),
                {str(address): str(text) for address, text in body.get("constants", {}).items()},
            )
            _check_kinds(taken)
        except Exception as error:  # who forges a tree chooses what it raises
            raise SnapshotError(f"The snapshot is not laid out as one of format {FORMAT} ({error}).") from None
        return taken


def _check_kinds(taken: Snapshot) -> None:
    """ValueError where something is not of the kind that it stands for."""
    _plain(taken.fingerprint)
    tensors, mappings = [*(taken.columns or {}).values(), *taken.streams.values()], [*taken.resources.values()]
    if not all(isinstance(tensor, Tensor) for tensor in tensors):
        raise ValueError("a column or stream is no tensor")
    if not all(isinstance(state, dict) for state in (*mappings, taken.fingerprint, taken.about)):
        raise ValueError("a resource, the fingerprint or 'about' is no table of names")


def capture(world: World, into: Snapshot | None = None, *, about: Mapping[str, Any] | None = None) -> Snapshot:
    """Copy what the next tick depends on; the memory of `into`, which is given up, is used again where it fits."""
    old = into or Snapshot({}, {}, {})
    with one_thread():
        return Snapshot(
            fingerprint(world),
            {name: copied(tensor, (old.columns or {}).get(name)) for name, tensor in _kept_columns(world).items()},
            {
                c.__name__: copied(resource_state(r), old.resources.get(c.__name__))
                for c, r in kept_resources(world).items()
            },
            {name: stream.get_state() for name, stream in sorted(world.generators.items())},
            dict(about or {}),
            dict(world.constants),
        )


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread to compute or copy on: it fills the memory's bandwidth, and never waits for threads that a busy machine holds up."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def save(world: World) -> bytes:
    """Everything that the next tick depends on, as bytes."""
    return capture(world).encode()


def restore(
    world: World, data: "bytes | Snapshot", only: tuple[str, ...] | None = None, *, any_identity: bool = False
) -> None:
    """Copy a snapshot into a world. Nothing is changed unless all of it fits.

    Raises SnapshotError for damaged bytes, another format version, or the first difference between the
    worlds; `any_identity` lets robots, clips and the like differ where the columns still fit. With `only`, just the
    resources of those names are taken, whatever else differs.
    """
    taken = data if isinstance(data, Snapshot) else Snapshot.decode(data)
    for name in only or ():
        if name not in taken.resources:
            raise SnapshotError(f"The snapshot has no resource '{name}'.{did_you_mean(name, taken.resources)}")
        if name not in {cls.__name__ for cls in kept_resources(world)}:
            raise SnapshotError(f"This world has no resource '{name}' to take from the snapshot.")
    if only is not None:
        _load_resources(world, {name: taken.resources[name] for name in only})
        return
    if taken.columns is None:
        raise SnapshotError(
            f"The snapshot holds only {listing(taken.resources)}, to be used as it is; a run goes on from a checkpoint."
        )
    theirs, ours = dict(taken.fingerprint), _plain(fingerprint(world))
    if any_identity:
        theirs["identity"] = ours["identity"]
    difference = first_difference(_plain(theirs), ours)
    if difference:
        raise SnapshotError(f"The snapshot belongs to another world: {difference}")
    _check_contents(world, taken)
    with one_thread():
        _load_resources(world, taken.resources)
        for address, tensor in _kept_columns(world).items():
            tensor.copy_(taken.columns[address])
    for name, state in taken.streams.items():
        world.generators[name].set_state(state)
    world.constants = dict(taken.constants)
    world.condition_cache.clear()
    for hook in world.restored:
        hook()


def difference_but_for_rows(world: World, taken: Snapshot) -> str:
    """A sentence about what keeps a snapshot from going on in a world whatever its rows and identity; '' when nothing does."""
    return first_difference(_without_rows(taken.fingerprint), _without_rows(fingerprint(world)))


def rows_of(taken: "Snapshot | World") -> dict[str, int]:
    """How many rows the tables of a snapshot, or of a world, have."""
    tables = fingerprint(taken)["tables"] if isinstance(taken, World) else taken.fingerprint["tables"]
    return {name: int(axes["rows"]) for name, axes in tables.items()}


def _without_rows(seen: Mapping[str, Any]) -> Any:
    tables = {name: {**axes, "rows": 0} for name, axes in seen["tables"].items()}
    columns = {address: [[0, *shape[1:]], kind] for address, (shape, kind) in seen["columns"].items()}
    return _plain({**seen, "identity": {}, "tables": tables, "columns": columns})


def start_over(world: World, taken: Snapshot, tick: int) -> None:
    """Let a new world of other rows go on after a tick with what a snapshot knows of no row: resources and random streams.

    The world's next tick is its first. A resource whose tensors have a row for each row stays as it was built. Raises
    SnapshotError where another resource does not fit.
    """
    pairs = {(rows, rows_of(world)[name]) for name, rows in rows_of(taken).items()}
    by_name = {cls.__name__: item for cls, item in world.resources.items()}
    kept = {
        name: state
        for name, state in taken.resources.items()
        if name != "Clock" and not _of_rows(state, resource_state(by_name[name]), pairs)
    }
    _load_resources(world, kept)
    for name, state in taken.streams.items():
        world.generators[name].set_state(state)
    world.constants = dict(taken.constants)
    world.clock.tick, world.clock.begun = tick, False
    for hook in world.restored:
        hook()


def _of_rows(theirs: Any, ours: Any, pairs: set[tuple[int, int]]) -> bool:
    """Whether tensors differ in shape, and only in as many rows as the tables do."""
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        return any(_of_rows(theirs[name], ours[name], pairs) for name in theirs if name in ours)
    shapes = [tuple(getattr(value, "shape", ())) for value in (theirs, ours)]
    return shapes[0] != shapes[1] and shapes[0][1:] == shapes[1][1:] and (*shapes[0][:1], *shapes[1][:1]) in pairs


def _check_contents(world: World, taken: Snapshot) -> None:
    """SnapshotError where a snapshot does not hold what its fingerprint says."""
    streams = {name: stream.get_state() for name, stream in world.generators.items()}
    branches: tuple[tuple[str, Mapping[str, Any], Mapping[str, Any]], ...] = (
        ("column", taken.columns or {}, _kept_columns(world)),
        ("resource", taken.resources, {cls.__name__: {} for cls in kept_resources(world)}),
        ("stream", taken.streams, streams),
    )
    for kind, theirs, ours in branches:
        for name in (*ours, *theirs):
            if name not in theirs or name not in ours:
                where = "does not hold" if name in ours else "holds, beyond its own list,"
                raise SnapshotError(f"The snapshot {where} the {kind} {name}; it was not written by this program.")
            if kind != "resource" and _shapes(theirs[name]) != _shapes(ours[name]):
                raise SnapshotError(
                    f"The snapshot holds the {kind} {name} as {_shapes(theirs[name])}; here it is {_shapes(ours[name])}."
                )
    for name, stream in world.generators.items():
        try:
            torch.Generator(stream.device).set_state(taken.streams[name])
        except RuntimeError as error:
            raise SnapshotError(f"The snapshot's stream {name} is not the state of a generator ({error}).") from None


def extract(world: World, about: Mapping[str, Any]) -> bytes:
    """A snapshot of nothing but what can be used without going on: the `exported()` of resources that have it.

    `about` says how it was made. It is taken with `restore(data, only=...)`; SnapshotError without such a resource.
    """
    kept = {cls.__name__: copied(item.exported()) for cls, item in world.resources.items() if hasattr(item, "exported")}
    if not kept:
        raise SnapshotError(f"The scene '{world.name}' has no policy to export.")
    return Snapshot(fingerprint(world), None, kept, about=dict(about)).encode()


def about(data: bytes) -> dict[str, Any]:
    """How an extract was made; empty for an ordinary snapshot."""
    body, arrays = _body(data)
    try:
        return dict(decode(body.get("about", {}), arrays))
    except Exception as error:
        raise SnapshotError(f"The snapshot does not say how it was made ({error}).") from None


def identity(data: bytes) -> dict[str, Any]:
    """The scene's name and identity in the world that a snapshot was taken of."""
    seen = _body(data)[0]["fingerprint"]
    try:
        return {"scene": seen["scene"], **seen["identity"]}
    except (KeyError, TypeError) as error:
        raise SnapshotError(f"The snapshot does not say what world it was taken of ({error}).") from None


def resources_in(data: bytes) -> tuple[str, ...]:
    """Names of the resources that a snapshot holds."""
    return tuple(map(str, _body(data)[0]["resources"]))


def edited_constants(data: bytes) -> dict[str, str]:
    """What constants were edited to before a snapshot was taken, as text by address."""
    return {str(address): str(text) for address, text in _body(data)[0].get("constants", {}).items()}


def _load_resources(world: World, saved: Mapping[str, Any]) -> None:
    """Load all or none: a resource that refuses its state after others took theirs has them put back."""
    by_name = {cls.__name__: item for cls, item in world.resources.items()}
    for name, state in saved.items():
        check_state(name, by_name[name], state)
    before: dict[str, Any] = {}
    try:
        for name, state in saved.items():
            before[name] = copied(resource_state(by_name[name]))
            load_resource(by_name[name], copied(state))
    except Exception as error:
        for name, state in before.items():
            load_resource(by_name[name], state)
        if isinstance(error, SnapshotError):
            raise
        raise SnapshotError(f"Resource {name} refuses its saved state: {error}") from error


def _body(data: bytes) -> tuple[dict[str, Any], list[bytearray]]:
    """The tree of a snapshot and its arrays; SnapshotError when bytes are missing, flipped or of another version."""
    prefix = read_prefix(data)
    if not MAGIC.startswith(begin := bytes(data[: len(MAGIC)])):
        raise SnapshotError(
            f"These bytes are not a snapshot: they start with {begin!r} instead of {MAGIC!r}. Only what Lockstep itself saved can be "
            "loaded."
        )
    if prefix is None:
        raise SnapshotError(
            f"The snapshot ends after {len(data)} bytes, inside its {PREFIX.size}-byte header; it was cut off."
        )
    _, version = prefix
    if version != FORMAT:
        raise SnapshotError(
            f"The snapshot has format version {version} (bytes 8 to 11); this program reads version {FORMAT}."
        )
    parts: list[bytearray] = []
    try:
        for part in read_parts(data):
            parts.append(part.content)
    except CorruptBlock as damage:
        raise SnapshotError(
            f"The snapshot is damaged at byte {damage.offset}: the block of {_name_of(damage.part, parts)} there "
            f"{damage.text}. Use an earlier one."
        ) from None
    return _unpacked(bytes(parts[0]) if parts else b""), parts[1:]


def _name_of(part: int, parts: list[bytearray]) -> str:
    listed = _unpacked(bytes(parts[0])).get("parts") if parts else None
    names = ["the table of contents", *(listed if isinstance(listed, list) else ())]
    return str(names[part]) if part < len(names) else "the end"


def _unpacked(body: bytes) -> dict[str, Any]:
    try:
        unpacked = msgpack.unpackb(body, strict_map_key=False)
        if isinstance(unpacked, dict) and {"fingerprint", "resources"} <= unpacked.keys():
            return unpacked
    except (ValueError, TypeError, msgpack.UnpackException):  # TypeError: a list as a key
        pass
    raise SnapshotError("The snapshot's table of contents is not one.")


def fingerprint(world: World) -> dict[str, Any]:
    """What two worlds must agree on before state may move between them."""
    return {
        "scene": world.name,
        "identity": dict(world.identity),
        "tables": {
            t.name: {"rows": t.rows, **{f"axis {a}": list(labels) for a, labels in t.axes.items()}}
            for t in world.tables.values()
        },
        "columns": {address: [list(t.shape), str(t.dtype)] for address, t in _kept_columns(world).items()},
        "resources": sorted(cls.__name__ for cls in kept_resources(world)),
        "streams": sorted(world.generators),
    }


def first_difference(theirs: Any, ours: Any, path: str = "") -> str:
    """A sentence about the first place where two nested values differ; '' when they agree."""
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for key in [*theirs, *(k for k in ours if k not in theirs)]:
            where = f"{path} {key}".strip()
            if key not in ours:
                return f"{where} is in the snapshot but not here."
            if key not in theirs:
                return f"{where} is here but not in the snapshot."
            found = first_difference(theirs[key], ours[key], where)
            if found:
                return found
        return ""
    if isinstance(theirs, list) and isinstance(ours, list) and theirs != ours:
        gone, new = [x for x in theirs if x not in ours], [x for x in ours if x not in theirs]
        if len(theirs) > 8 and (gone or new):
            return (
                f"{path}: the snapshot has {len(theirs)} entries, here are {len(ours)}; "
                f"only there: {listing(map(str, gone), 5) or 'none'}; only here: {listing(map(str, new), 5) or 'none'}."
            )
    if theirs != ours:
        return f"{path} is {theirs!r} in the snapshot but {ours!r} here."
    return ""


def kept_resources(world: World) -> dict[type, Any]:
    """The resources that snapshots hold: all but those that say `kept` False, which then have nothing to keep."""
    return {cls: item for cls, item in world.resources.items() if getattr(item, "kept", True)}


def _kept_columns(world: World) -> dict[str, Tensor]:
    return {
        f"{table}.{cls.__name__}.{name}": getattr(instance, name)
        for (table, cls), instance in world.components.items()
        if info(cls).lifetime != "signal"
        for name in info(cls).columns
    }


def _plain(value: Any) -> Any:
    return msgpack.unpackb(msgpack.packb(value), strict_map_key=False)


def resource_state(item: Any) -> dict[str, Any]:
    """What a snapshot keeps of a resource: its own `state()`, or every field that is not constant."""
    if hasattr(item, "state"):
        own: dict[str, Any] = item.state()
        return own
    return {
        f.name: _field_state(getattr(item, f.name)) for f in attrs.fields(type(item)) if not f.metadata.get("constant")
    }


def _field_state(value: Any) -> Any:
    return value.state_dict() if hasattr(value, "state_dict") else value


def check_state(name: str, item: Any, state: Mapping[str, Any]) -> None:
    """SnapshotError when a saved state does not fit the resource's tensors."""
    difference = first_difference(_shapes(state), _shapes(resource_state(item)))
    if difference and not hasattr(item, "load"):
        raise SnapshotError(f"Resource {name} does not fit: {difference}")
    if hasattr(item, "check"):
        item.check(state)


def _shapes(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _shapes(v) for k, v in value.items()}
    return f"{tuple(value.shape)} {value.dtype}" if isinstance(value, (Tensor, np.ndarray)) else None


def load_resource(item: Any, state: Mapping[str, Any]) -> None:
    """Put a saved state back, into existing storage where it is a tensor."""
    if hasattr(item, "load"):
        item.load(dict(state))
        return
    for name, value in state.items():
        current = getattr(item, name)
        if isinstance(current, Tensor):
            current.copy_(value)
        elif hasattr(current, "load_state_dict"):
            current.load_state_dict(value)
        else:
            setattr(item, name, value)
