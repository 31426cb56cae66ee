"""Frames, in which the debugger and recordings speak. A window on another machine needs nothing else of the engine.

    frame := length (u32, big-endian)  one msgpack map, whose "t" is its type

An array is [dtype, shape, bin]: numpy's name of a little-endian dtype, sizes, bytes; a column is [id, dtype, shape, bin].
Nothing that comes in is evaluated, unpickled or imported. Whatever is wrong is a WireError.
"""

import hashlib
import math
import struct
from collections.abc import Mapping
from typing import Any

import attrs
import msgpack  # type: ignore[import-untyped]
import numpy as np

from engine.errors import WireError

MAGIC = b"ENGDBG1\n"
"""What a debugger client says first on a new connection."""
PROTOCOL = (1, 0)
"""Major and minor version of the debugger protocol; another major version is refused by `other_version`."""
LENGTH = struct.Struct(">I")
DTYPES = ("|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")
_PLAIN = (str, bytes, bool, int, float, type(None))


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


def decode_body(body: "bytes | memoryview", limits: Limits = Limits()) -> dict[str, Any]:
    """The message in the bytes of a frame after its length."""
    if len(body) > limits.frame:
        raise WireError(f"A frame takes {len(body)} bytes; {limits.frame} are the most.")
    try:
        message = msgpack.unpackb(
            body,
            raw=False,
            strict_map_key=True,
            object_pairs_hook=_map,
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
        raise WireError(
            f"A frame is not one msgpack map within limits ({str(error) or type(error).__name__})."
        ) from None
    if not isinstance(message, dict) or not isinstance(message.get("t"), str):
        raise WireError("A frame is not a map with its type as the text 't'.")
    _check_values(message, limits.depth)
    return message


def _map(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if type(key) is not str:
            raise WireError(f"A map of a frame has the key {key!r:.40}; keys are text.")
        if key in found:
            raise WireError(f"A map of a frame has the key '{key:.40}' twice.")
        found[key] = value
    return found


def _refuse_extension(code: int, data: bytes) -> Any:
    raise WireError(f"A frame holds msgpack's extension type {code}; extension types are refused.")


def _check_values(value: Any, left: int) -> None:
    if isinstance(value, (dict, list)):
        if left == 0:
            raise WireError("A frame is nested too deeply.")
        for part in value.values() if isinstance(value, dict) else value:
            _check_values(part, left - 1)
    elif type(value) not in _PLAIN:  # timestamps are an extension that msgpack reads by itself
        raise WireError(f"A frame holds a {type(value).__name__}; msgpack's extension types are refused.")


class FrameTooLarge(WireError):
    """A frame that is announced to be longer than is taken; `length`: bytes after the four of the length."""

    def __init__(self, length: int, most: int) -> None:
        super().__init__(f"A frame of {length} bytes was announced; {most} are the most.")
        self.length = length


class FrameBuffer:
    """Received bytes of one connection, given back frame by frame."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._taken = 0

    def feed(self, data: "bytes | memoryview") -> None:
        """Append bytes that have been received; those of frames that were taken are freed."""
        del self._bytes[: self._taken]
        self._taken = 0
        self._bytes += data

    def skip(self, prefix: bytes) -> bool | None:
        """Remove `prefix` from the start: True when it was there, False when something else is, None when it is too early."""
        begun = bytes(self._bytes[self._taken : self._taken + len(prefix)])
        if not prefix.startswith(begun):
            return False
        if len(begun) < len(prefix):
            return None
        self._taken += len(prefix)
        return True

    @property
    def announced(self) -> int | None:
        """Bytes of the next frame's body, None while its length has not been received."""
        if len(self._bytes) - self._taken < LENGTH.size:
            return None
        length: int = LENGTH.unpack_from(self._bytes, self._taken)[0]
        return length

    @property
    def complete(self) -> bool:
        """Whether a whole frame has been received."""
        length = self.announced
        return length is not None and len(self._bytes) - self._taken >= LENGTH.size + length

    def take(self, most: int) -> bytes | None:
        """The body of the next frame, None while it is not complete. FrameTooLarge, as soon as its length is here, above `most`."""
        length = self.announced
        if length is not None and length > most:
            raise FrameTooLarge(length, most)
        if length is None or not self.complete:
            return None
        start = self._taken + LENGTH.size
        self._taken = start + length
        with memoryview(self._bytes) as view:
            return bytes(view[start : self._taken])

    def clear(self) -> None:
        """Forget everything that was received."""
        self._bytes.clear()
        self._taken = 0


def pack_array(array: np.ndarray) -> list[Any]:
    """[dtype, shape, bin]; WireError for a dtype that is not in DTYPES."""
    ordered = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    if ordered.dtype.str not in DTYPES:
        raise WireError(f"A frame cannot carry an array of dtype {array.dtype}.")
    return [ordered.dtype.str, list(array.shape), ordered.tobytes()]


def pack_data(message: Mapping[str, Any]) -> dict[str, Any]:
    """A data message whose `cols` may be [column id, array], and whose other values arrays, with all of them packed."""
    packed = {key: _packed(value) for key, value in message.items()}
    packed["cols"] = [[col[0], *_packed(col[1])] if len(col) == 2 else col for col in message.get("cols", ())]
    return packed


def _packed(value: Any) -> Any:
    return pack_array(value) if isinstance(value, np.ndarray) else value


def unpack_array(item: Any) -> np.ndarray:
    """The read-only array in [dtype, shape, bin]; WireError when the three do not fit together."""
    if not isinstance(item, list) or len(item) != 3:
        raise WireError("An array in a frame is not [dtype, shape, bin].")
    dtype, shape, data = item
    if dtype not in DTYPES or not isinstance(shape, list) or not isinstance(data, bytes):
        raise WireError(
            f"An array in a frame is {dtype!r:.40}, {shape!r:.40} and {type(data).__name__}, not [dtype, shape, bin]."
        )
    if not all(type(size) is int and 0 <= size < 1 << 32 for size in shape) or len(shape) > 32:
        raise WireError(f"An array in a frame has the shape {shape!r:.60}.")
    if math.prod(shape) * np.dtype(dtype).itemsize != len(data):
        raise WireError(f"An array in a frame has {len(data)} bytes, which are not {dtype} of shape {shape!r:.60}.")
    return np.frombuffer(data, np.dtype(dtype)).reshape(shape)


# -- versions ------------------------------------------------------------------------------------------


def other_version(run: Any, debugger: Any = PROTOCOL) -> str:
    """Sentence for a run and a debugger whose major versions differ; both [major, minor], as the other side sent it or ours."""
    if not (isinstance(run, (list, tuple)) and len(run) == 2 and all(type(number) is int for number in run)):
        return "What listens there does not say which protocol it speaks; it is not a Lockstep run."
    older = "the debugger" if run[0] > debugger[0] else "the run's engine"
    return (
        f"The run speaks debugger protocol {run[0]}.{run[1]}, the debugger {debugger[0]}.{debugger[1]}: upgrade {older} "
        "(pip install --upgrade lockstep-sim)."
    )


# -- the schema ----------------------------------------------------------------------------------------


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
