"""World <-> bytes. A checkpoint is a snapshot; there is no second format.

Layout: magic, format version (u32), SHA-256 of the body, body. The body is msgpack: a fingerprint, the raw
bytes of every state and derived column, `state()` of each resource, and every random stream. An extract has
a part of the resources and how they were made, and no columns.
"""

import hashlib
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import msgpack  # type: ignore[import-untyped]
import numpy as np
import torch
from torch import Tensor

from engine.component import info
from engine.errors import SnapshotError, did_you_mean, listing
from engine.world import World

MAGIC = b"LOCKSTEP"
FORMAT = 1
_HEADER = struct.Struct("<8sI32s")


def save(world: World) -> bytes:
    """Everything that the next tick depends on."""
    body = {
        "fingerprint": fingerprint(world),
        "columns": {address: encode(tensor) for address, tensor in _kept_columns(world).items()},
        "resources": {cls.__name__: encode(resource_state(r)) for cls, r in world.resources.items()},
        "streams": {name: encode(g.get_state()) for name, g in sorted(world.generators.items())},
    }
    return _sealed(body)


def _sealed(body: Mapping[str, Any]) -> bytes:
    packed: bytes = msgpack.packb(body)
    return _HEADER.pack(MAGIC, FORMAT, hashlib.sha256(packed).digest()) + packed


def load(world: World, data: bytes, only: tuple[str, ...] | None = None) -> None:
    """Copy a snapshot into a world. Nothing is changed unless all of it fits.

    Raises SnapshotError for damaged bytes, another format version, or the first difference between the
    worlds. With `only`, just the resources of those names are taken, whatever else differs.
    """
    body = read(data)
    for name in only or ():
        if name not in body["resources"]:
            raise SnapshotError(f"The snapshot has no resource '{name}'.{did_you_mean(name, body['resources'])}")
        if name not in {cls.__name__ for cls in world.resources}:
            raise SnapshotError(f"This world has no resource '{name}' to take from the snapshot.")
    if only is not None:
        _load_resources(world, {name: body["resources"][name] for name in only})
        return
    if "columns" not in body:
        raise SnapshotError(
            f"The snapshot holds only {listing(body['resources'])}, to be used as it is; a run goes on from a checkpoint."
        )
    difference = first_difference(body["fingerprint"], _plain(fingerprint(world)))
    if difference:
        raise SnapshotError(f"The snapshot belongs to another world: {difference}")
    _load_resources(world, body["resources"])
    for address, tensor in _kept_columns(world).items():
        tensor.copy_(decode(body["columns"][address]))
    for name, state in body["streams"].items():
        world.generators[name].set_state(decode(state))
    world.condition_cache.clear()


def extract(world: World, about: Mapping[str, Any]) -> bytes:
    """A snapshot of nothing but what can be used without going on: the `exported()` of resources that have it.

    `about` says how it was made. It is taken with `restore(data, only=...)`; SnapshotError without such a resource.
    """
    kept = {cls.__name__: encode(item.exported()) for cls, item in world.resources.items() if hasattr(item, "exported")}
    if not kept:
        raise SnapshotError(f"The scene '{world.name}' has no policy to export.")
    return _sealed({"fingerprint": fingerprint(world), "resources": kept, "about": encode(dict(about))})


def about(data: bytes) -> dict[str, Any]:
    """How an extract was made; empty for an ordinary snapshot."""
    said: dict[str, Any] = decode(read(data).get("about", {}))
    return said


def identity(data: bytes) -> dict[str, Any]:
    """The scene's name and identity in the world that a snapshot was taken of."""
    seen = read(data)["fingerprint"]
    return {"scene": seen["scene"], **seen["identity"]}


def _load_resources(world: World, saved: Mapping[str, Any]) -> None:
    """Load all or none: a resource that refuses its state after others took theirs has them put back."""
    by_name = {cls.__name__: item for cls, item in world.resources.items()}
    states = {name: decode(state) for name, state in saved.items()}
    for name, state in states.items():
        check_state(name, by_name[name], state)
    before: dict[str, Any] = {}
    try:
        for name, state in states.items():
            before[name] = encode(resource_state(by_name[name]))
            load_resource(by_name[name], state)
    except Exception as error:
        for name, state in before.items():
            load_resource(by_name[name], decode(state))
        if isinstance(error, SnapshotError):
            raise
        raise SnapshotError(f"Resource {name} refuses its saved state: {error}") from error


def read(data: bytes) -> dict[str, Any]:
    """The body of a snapshot; SnapshotError when bytes are missing, flipped or of another version."""
    if len(data) < _HEADER.size:
        raise SnapshotError(
            f"The snapshot ends after {len(data)} bytes, inside its {_HEADER.size}-byte header; it was cut off."
        )
    magic, version, digest = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise SnapshotError(f"These bytes are not a snapshot: they start with {magic!r} instead of {MAGIC!r}.")
    if version != FORMAT:
        raise SnapshotError(f"The snapshot has format version {version}; this program reads version {FORMAT}.")
    body = data[_HEADER.size :]
    if hashlib.sha256(body).digest() != digest:
        raise SnapshotError(
            f"The snapshot's checksum does not match its {len(body)} bytes: it is truncated or damaged. Use an earlier one."
        )
    unpacked: dict[str, Any] = msgpack.unpackb(body, strict_map_key=False)
    return unpacked


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
        "resources": sorted(cls.__name__ for cls in world.resources),
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


def encode(value: Any) -> Any:
    """Nested tensors, arrays and plain values as msgpack can carry them; SnapshotError for anything else."""
    if isinstance(value, Tensor):
        flat = value.detach().cpu().contiguous().reshape(-1)
        data = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
        return {"__tensor__": str(value.dtype).removeprefix("torch."), "shape": list(value.shape), "data": data}
    if isinstance(value, np.ndarray):
        return {
            "__array__": str(value.dtype),
            "shape": list(value.shape),
            "data": np.ascontiguousarray(value).tobytes(),
        }
    if isinstance(value, Mapping):
        if all(isinstance(k, str) and not k.startswith("__") for k in value):
            return {k: encode(v) for k, v in value.items()}
        return {"__pairs__": [[encode(k), encode(v)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {"__tuple__": [encode(v) for v in value]}
    if isinstance(value, list):
        return [encode(v) for v in value]
    if value is None or isinstance(value, (bool, float, str, bytes)):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return value
    raise SnapshotError(
        f"A snapshot cannot hold {value!r:.60} ({type(value).__name__}). Declare the field with constant(), or give its resource state() and load()."
    )


def decode(value: Any) -> Any:
    """The inverse of `encode`."""
    if isinstance(value, list):
        return [decode(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "__tensor__" in value:
        dtype, data = getattr(torch, value["__tensor__"]), bytearray(value["data"])
        return (torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)).reshape(value["shape"])
    if "__array__" in value:
        return np.frombuffer(value["data"], dtype=np.dtype(value["__array__"])).reshape(value["shape"]).copy()
    if "__pairs__" in value:
        return {decode(k): decode(v) for k, v in value["__pairs__"]}
    if "__tuple__" in value:
        return tuple(decode(v) for v in value["__tuple__"])
    return {k: decode(v) for k, v in value.items()}


def write_file(path: Path, data: bytes) -> None:
    """Write whole or not at all: a temporary file beside `path`, fsync, rename; a failure leaves `path` as it was."""
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
