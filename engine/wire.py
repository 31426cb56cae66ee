"""Frames, in which the debugger and recordings speak, and the schema of a simulation, which they begin with.

    frame := length (u32, big-endian)  one msgpack map, whose "t" is its type

An array is [dtype, shape, bin]: numpy's name of a little-endian dtype, sizes, bytes; a column is [id, dtype, shape, bin].
Nothing that comes in is evaluated, unpickled or imported. Whatever is wrong is a WireError.
"""

import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import msgpack  # type: ignore[import-untyped]
import numpy as np

from engine.component import info
from engine.condition import AnyRow
from engine.errors import WireError
from engine.scene import Simulation
from engine.schedule import Entry, Key, addresses

LENGTH = struct.Struct(">I")
DTYPES = ("|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")
_PLAIN = (dict, list, str, bytes, bool, int, float, type(None))
_LONGEST_TEXT = 200  # characters of a constant that is no plain value


@attrs.frozen
class Limits:
    """The largest frame, and the longest array, map, text and binary in it, that are accepted."""

    frame: int = 1 << 26
    array: int = 1 << 16
    map: int = 1 << 12
    text: int = 1 << 16
    depth: int = 16


# -- frames --------------------------------------------------------------------------------------------


def encode_frame(message: Mapping[str, Any], limits: Limits = Limits()) -> bytes:
    """A message as one frame; WireError for what a frame cannot carry."""
    try:
        body: bytes = msgpack.packb(dict(message), use_bin_type=True)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise WireError(f"A frame of type {message.get('t')!r} cannot be packed: {error}.") from None
    if len(body) > limits.frame:
        raise WireError(
            f"A frame of type {message.get('t')!r} takes {len(body)} bytes; {limits.frame} are the most. Send less at once."
        )
    return LENGTH.pack(len(body)) + body


def decode_frame(data: "bytes | memoryview", limits: Limits = Limits()) -> dict[str, Any]:
    """The message of exactly one whole frame."""
    if len(data) < LENGTH.size:
        raise WireError(f"A frame begins with {LENGTH.size} bytes of length; here are {len(data)} bytes.")
    (length,) = LENGTH.unpack_from(data)
    if length != len(data) - LENGTH.size:
        raise WireError(f"A frame says that {length} bytes follow its length, but {len(data) - LENGTH.size} do.")
    return decode_body(data[LENGTH.size :], limits)


def split_frames(data: "bytes | memoryview", limits: Limits = Limits()) -> tuple[list[dict[str, Any]], int]:
    """The messages of all whole frames at the start of `data`, and how many bytes they take; for a stream."""
    messages, offset, view = [], 0, memoryview(data)
    while len(view) - offset >= LENGTH.size:
        (length,) = LENGTH.unpack_from(view, offset)
        if length > limits.frame:
            raise WireError(f"A frame says that {length} bytes follow its length; {limits.frame} are the most.")
        if len(view) - offset - LENGTH.size < length:
            break
        messages.append(decode_body(view[offset + LENGTH.size : offset + LENGTH.size + length], limits))
        offset += LENGTH.size + length
    return messages, offset


def decode_body(body: "bytes | memoryview", limits: Limits = Limits()) -> dict[str, Any]:
    """The message in the bytes of a frame behind its length."""
    if len(body) > limits.frame:
        raise WireError(f"A frame takes {len(body)} bytes; {limits.frame} are the most.")
    try:
        message = msgpack.unpackb(
            body,
            raw=False,
            strict_map_key=True,
            object_pairs_hook=_map,
            list_hook=_list,
            ext_hook=_refuse_extension,
            max_array_len=limits.array,
            max_map_len=limits.map,
            max_str_len=limits.text,
            max_bin_len=limits.frame,
            max_ext_len=0,
        )
    except WireError:
        raise
    except Exception as error:  # whatever a library does with bytes from elsewhere, the caller sees one kind of error
        raise WireError(f"A frame is not one msgpack map within limits ({str(error) or type(error).__name__}).") from None
    if not isinstance(message, dict) or not isinstance(message.get("t"), str):
        raise WireError("A frame is not a map with its type as the text 't'.")
    _check_depth(message, limits.depth)
    return message


def _map(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if type(key) is not str:
            raise WireError(f"A map of a frame has the key {key!r:.40}; keys are text.")
        if key in found:
            raise WireError(f"A map of a frame has the key '{key:.40}' twice.")
        found[key] = _plain(value)
    return found


def _list(values: list[Any]) -> list[Any]:
    return [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    """Timestamps are an extension that msgpack reads by itself."""
    if type(value) not in _PLAIN:
        raise WireError(f"A frame holds a {type(value).__name__}; msgpack's extension types are refused.")
    return value


def _refuse_extension(code: int, data: bytes) -> Any:
    raise WireError(f"A frame holds msgpack's extension type {code}; extension types are refused.")


def _check_depth(value: Any, left: int) -> None:
    if isinstance(value, (dict, list)):
        if left == 0:
            raise WireError("A frame is nested too deeply.")
        for part in value.values() if isinstance(value, dict) else value:
            _check_depth(part, left - 1)


def pack_array(array: np.ndarray) -> list[Any]:
    """[dtype, shape, bin]; WireError for a dtype that is not in DTYPES."""
    ordered = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    if ordered.dtype.str not in DTYPES:
        raise WireError(f"A frame cannot carry an array of dtype {array.dtype}.")
    return [ordered.dtype.str, list(array.shape), ordered.tobytes()]


def unpack_array(item: Any) -> np.ndarray:
    """The read-only array behind [dtype, shape, bin]; WireError when the three do not fit together."""
    if not isinstance(item, list) or len(item) != 3:
        raise WireError("An array in a frame is not [dtype, shape, bin].")
    dtype, shape, data = item
    if dtype not in DTYPES or not isinstance(shape, list) or not isinstance(data, bytes):
        raise WireError(f"An array in a frame is {dtype!r:.40}, {shape!r:.40} and {type(data).__name__}, not [dtype, shape, bin].")
    if not all(type(size) is int and 0 <= size < 1 << 32 for size in shape) or len(shape) > 32:
        raise WireError(f"An array in a frame has the shape {shape!r:.60}.")
    if math.prod(shape) * np.dtype(dtype).itemsize != len(data):
        raise WireError(f"An array in a frame has {len(data)} bytes, which are not {dtype} of shape {shape!r:.60}.")
    return np.frombuffer(data, np.dtype(dtype)).reshape(shape)


# -- the schema ----------------------------------------------------------------------------------------


def make_schema(simulation: Simulation) -> dict[str, Any]:
    """What a simulation is, for a reader who has none of its code: the frame of type 'schema'.

    Column ids count from 0 in the order of declaration. Data frames name columns only by id.
    """
    world, schedule = simulation.world, simulation.schedule
    tick = schedule.tick
    return {
        "t": "schema",
        "version": 1,
        "run": {"scene": world.name, "seed": world.seed, "identity": _said(world.identity)},
        "tables": _tables(simulation),
        "resources": [
            {"name": cls.__name__, "doc": _first_line(cls.__doc__), "fields": [f.name for f in attrs.fields(cls)]}
            for cls in world.resources
        ],
        "phases": [{"name": tick.begin, "repeat": 1, "first_tick_only": True}]
        + [
            {"name": name, "repeat": schedule.repeat if name in tick.repeat else 1, "first_tick_only": False}
            for name in tick.phases
        ],
        "systems": [_system(number, entry) for number, entry in enumerate(schedule.entries)],
        "constants": [
            {"address": address, "type": _type_name(places[0].type), "value": _said(places[0].holder[places[0].key])}
            for address, places in addresses(simulation.scene.bundles).items()
        ],
        "vitals": {table: [label for v in vitals for label in v.labels] for table, vitals in simulation.vitals.items()},
        "endings": {table: {"reasons": list(ends.labels)} for table, ends in simulation.ends.items()},
    }


def schema_hash(schema: Mapping[str, Any]) -> str:
    """32 hexadecimal digits that are the same for the same schema: the beginning of a SHA-256."""
    return hashlib.sha256(encode_frame(schema)).hexdigest()[:32]


def column_ids(schema: Mapping[str, Any]) -> dict[str, int]:
    """The id of each column by its address 'table.Component.column'; WireError for what is no schema."""
    try:
        return {
            f"{table['name']}.{component['name']}.{column['name']}": column["id"]
            for table in schema["tables"]
            for component in table["components"]
            for column in component["columns"]
        }
    except (KeyError, TypeError):
        raise WireError("A schema does not list tables, components and columns.") from None


def _tables(simulation: Simulation) -> list[dict[str, Any]]:
    ids = {address: number for number, address in enumerate(simulation.world.columns())}
    made: list[dict[str, Any]] = []
    for home in simulation.world.tables.values():
        components = []
        for (table, cls), instance in simulation.world.components.items():
            if table != home.name:
                continue
            declared = info(cls)
            columns = [
                {
                    "id": ids[f"{table}.{declared.name}.{name}"],
                    "name": name,
                    "axes": [axis if isinstance(axis, str) else "" for axis in column.axes],
                    "shape": list(getattr(instance, name).shape[1:]),
                    "dtype": str(column.dtype).removeprefix("torch."),
                    "unit": column.unit,
                    "doc": column.doc,
                }
                for name, column in declared.columns.items()
            ]
            components.append(
                {"name": declared.name, "lifetime": declared.lifetime, "doc": declared.doc, "columns": columns}
            )
        axes = [{"name": name, "labels": list(labels)} for name, labels in home.axes.items()]
        made.append({"name": home.name, "rows": home.rows, "axes": axes, "components": components})
    return made


def _system(number: int, entry: Entry) -> dict[str, Any]:
    when = entry.when
    return {
        "id": number,
        "name": entry.name,
        "bundle": entry.bundle,
        "phase": entry.phase,
        "table": entry.table,
        "doc": _first_line(entry.system.function.__doc__),
        "reads": _names(entry.reads),
        "writes": _names(entry.writes),
        "draws": entry.system.signature.rng is not None,
        "when": {
            "label": when.label if when is not None else "",
            "asks": f"{when.table}.{when.component.__name__}.{when.column}" if isinstance(when, AnyRow) else "",
        },
        "terms": [
            {
                "name": name,
                "doc": _first_line(each.function.__doc__),
                "settings": {key: _said(value) for key, value in each.settings.items()},
            }
            for name, each in entry.system.terms.items()
        ],
    }


def _names(keys: Sequence[Key]) -> list[str]:
    return [f"{table}.{cls.__name__}" if table else cls.__name__ for table, cls in keys]


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().split("\n")[0]


def _type_name(declared: Any) -> str:
    return declared.__name__ if type(declared) is type else str(declared).replace("typing.", "")[:_LONGEST_TEXT]


def _said(value: Any) -> Any:
    """A plain value as it is, anything else as text."""
    if value is None or isinstance(value, (bool, float, str)):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, (list, tuple)):
        return [_said(part) for part in value]
    if isinstance(value, Mapping):
        return {str(key): _said(part) for key, part in value.items()}
    return repr(value)[:_LONGEST_TEXT]
