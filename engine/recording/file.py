"""Recordings: frames in a file that can be read however much of it is left.

    file    := "ENGREC1\\n"  record (schema)  record*  [record (index)  trailer]
    record  := length (u32, big-endian)  CRC32 (u32) of length and map  one msgpack map
    trailer := "ENGEND1\\n"  offset of the index (u64)  CRC32 of all bytes before (u32)

A record is a frame of engine/protocol/framing.py with a checksum in between. Only a recording that was closed has an index and a
trailer; what was cut off by a crash, or has a flipped bit, opens up to the last sound record before it.
"""

import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Self

import attrs
import numpy as np

from engine.errors import WireError, did_you_mean
from engine.protocol.framing import LENGTH, Limits, column_ids, decode_body, encode_frame, pack_array, unpack_array

MAGIC = b"ENGREC1\n"
_CHECK = struct.Struct(">I")
_TRAILER = struct.Struct(">8sQI")
_END = b"ENGEND1\n"
_LIMITS = Limits()
_HEAD = LENGTH.size + _CHECK.size
TERMINAL, END, TORN = 0, 1, 2
"""When a sample was taken: behind the phase `Tick.finished`, at the end of a tick, in the middle of one that failed."""


@attrs.define(eq=False)
class RecordingWriter:
    """Writes a recording record by record; a record that cannot be written whole is taken back, and raises OSError."""

    path: Path
    file: BinaryIO
    size: int = 0
    checksum: int = 0
    offsets: list[int] = attrs.field(factory=list)

    @classmethod
    def create(cls, path: Path, schema: Mapping[str, Any]) -> Self:
        """A new file that begins with the schema; replaces one that is there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = cls(path, open(path, "wb", buffering=0))  # noqa: SIM115 - open until closed
        try:
            writer._put(MAGIC)
            writer.append(schema)
        except OSError:
            writer.file.close()
            raise
        return writer

    @classmethod
    def reopen(cls, path: Path, through: int) -> Self:
        """Go on behind the last record whose ticks are not later than `through`; what follows is cut off.

        Raises WireError for a file that is no recording.
        """
        recording = Recording.open(path)
        end = recording.records[0].end
        for record in recording.records[1:]:
            if record.message["t"] == "index" or _last_tick(record.message) > through:
                break
            end = record.end
        writer = cls(path, open(path, "r+b", buffering=0))  # noqa: SIM115 - open until closed
        writer.file.truncate(end)
        writer.file.seek(end)
        writer.size = end
        writer.checksum = zlib.crc32(path.read_bytes())
        writer.offsets = [r.offset for r in recording.records if r.end <= end]
        return writer

    def append(self, message: Mapping[str, Any]) -> None:
        """Write one message as a record. Raises OSError where that fails, WireError for what a frame cannot carry."""
        frame = encode_frame(message)
        length, body = frame[: LENGTH.size], frame[LENGTH.size :]
        offset = self.size
        self._put(length + _CHECK.pack(zlib.crc32(frame)) + body)
        self.offsets.append(offset)

    def close(self) -> None:
        """Write index and trailer, and close the file; OSError leaves a recording without them."""
        if self.file.closed:
            return
        try:
            index = self.size
            self.append({"t": "index", "offsets": pack_array(np.array(self.offsets, np.int64))})
            self._put(_TRAILER.pack(_END, index, self.checksum))
            os.fsync(self.file.fileno())
        finally:
            self.file.close()

    def _put(self, data: bytes) -> None:
        try:
            if self.file.write(data) != len(data):
                raise OSError("only a part could be written")
        except OSError:
            self.file.truncate(self.size)
            self.file.seek(self.size)
            raise
        self.checksum = zlib.crc32(data, self.checksum)
        self.size += len(data)


def _last_tick(message: Mapping[str, Any]) -> int:
    ticks = message.get("ticks")
    return int(ticks[-1]) if isinstance(ticks, list) and ticks else int(message.get("tick", 0))


@attrs.frozen(eq=False)
class Record:
    """One message of a recording, and the bytes from `offset` to `end` that it takes."""

    offset: int
    end: int
    message: dict[str, Any]


@attrs.frozen(eq=False)
class Trace:
    """Samples of one row in the order in which they were taken.

    `tick` (samples,) is when, `moment` (samples,) is TERMINAL, END or TORN, `columns` has (samples, …) by address.
    A TERMINAL sample is the last one of an episode; the END sample of the same tick is the first one of the next.
    """

    row: int
    tick: np.ndarray
    moment: np.ndarray
    columns: dict[str, np.ndarray]


@attrs.frozen(eq=False)
class Recording:
    """A recording as far as it is sound. `lost` says what is missing, '' when it was closed and nothing is."""

    path: Path
    records: list[Record]
    complete: bool
    lost: str

    @classmethod
    def open(cls, path: "str | Path", limits: Limits = _LIMITS) -> Self:
        """Read a file; WireError when it is no recording, or its schema is damaged; OSError when it cannot be read."""
        path = Path(path)
        data = path.read_bytes()
        if data[: len(MAGIC)] != MAGIC:
            found = f"it starts with {data[: len(MAGIC)]!r} instead of {MAGIC!r}" if data else "it is empty"
            raise WireError(f"{path} is not a recording: {found}.")
        records, lost = _read(data, limits)
        if not records or records[0].message["t"] != "schema":
            raise WireError(f"{path} is not a recording that can be read: its schema is missing. {lost}".strip())
        column_ids(records[0].message)
        return cls(path, records, not lost, lost)

    @property
    def schema(self) -> dict[str, Any]:
        """What the recorded simulation is."""
        return self.records[0].message

    @property
    def frames(self) -> list[dict[str, Any]]:
        """Every message between schema and index."""
        return [record.message for record in self.records[1:] if record.message["t"] != "index"]

    def of(self, t: str, /, **fields: Any) -> Iterator[dict[str, Any]]:
        """The messages of a type that have these fields: of("data", sub="trace")."""
        return (m for m in self.frames if m["t"] == t and all(m.get(k) == v for k, v in fields.items()))

    def trace(self, row: int, addresses: "list[str] | None" = None, sub: str = "trace") -> Trace:
        """What was recorded of one row, by column address; all columns without `addresses`.

        Raises WireError for a row or column that is not in the recording.
        """
        ids = column_ids(self.schema)
        names = {number: address for address, number in ids.items()}
        wanted = {address: _known(address, ids) for address in addresses or ()}
        found: dict[str, list[np.ndarray]] = {}
        ticks, moments = [], []
        with self._blaming():
            for message in self.of("data", sub=sub):
                if row not in message["rows"]:
                    continue
                place = message["rows"].index(row)
                here = unpack_array(message["present"])[:, place]
                ticks.append(unpack_array(message["at"])[here])
                moments.append(unpack_array(message["moment"])[here])
                for number, *array in message["cols"]:
                    if not wanted or number in wanted.values():
                        found.setdefault(names[number], []).append(unpack_array(array)[:, place][here])
        missing = [address for address in wanted if address not in found]
        if not ticks or missing:
            what = f"column {missing[0]} of row {row}" if ticks else f"row {row}"
            raise WireError(f"{self.path} holds no {sub} of {what}.")
        with self._blaming():
            columns = {address: np.concatenate(found[address]) for address in (wanted or found)}
        return Trace(row, np.concatenate(ticks), np.concatenate(moments), columns)

    def black_box(self, row: int, table: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Ticks (samples,) and the vital numbers (samples,) of one row by label; WireError where there are none."""
        with self._blaming():
            messages = list(self.of("data", sub="black_box", table=table))
            if not messages or not 0 <= row < unpack_array(messages[0]["values"]).shape[1]:
                raise WireError(f"{self.path} holds no black box of row {row} of table '{table}'.")
            ticks = np.concatenate([unpack_array(m["at"]) for m in messages])
            values = np.concatenate([unpack_array(m["values"])[:, row] for m in messages])
            return ticks, {label: values[:, i] for i, label in enumerate(self.schema["vitals"][table])}

    @contextmanager
    def _blaming(self) -> Iterator[None]:
        """A file that is sound but not laid out as a recording was made by somebody else."""
        try:
            yield
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise WireError(
                f"{self.path} has a message that is not laid out as one of a recording ({error!r})."
            ) from None


def _known(address: str, ids: Mapping[str, int]) -> int:
    if address not in ids:
        raise WireError(f"The recording's schema has no column '{address}'.{did_you_mean(address, ids)}")
    return ids[address]


def _read(data: bytes, limits: Limits) -> tuple[list[Record], str]:
    """Every sound record from the start, and a sentence about what is lost behind them."""
    view, records, offset = memoryview(data), list[Record](), len(MAGIC)
    while offset < len(view):
        if records and records[-1].message["t"] == "index":
            return records, _check_trailer(data, offset, records[-1].offset)
        if len(view) - offset < _HEAD:
            return records, _gone(offset, data, "is cut off")
        (length,), (checksum,) = LENGTH.unpack_from(view, offset), _CHECK.unpack_from(view, offset + LENGTH.size)
        body = view[offset + _HEAD : offset + _HEAD + length]
        if len(body) < length:
            return records, _gone(offset, data, "is cut off, or its length is damaged")
        if zlib.crc32(body, zlib.crc32(view[offset : offset + LENGTH.size])) != checksum:
            return records, _gone(offset, data, "does not match its checksum")
        try:
            message = decode_body(body, limits)
        except WireError as error:
            return records, _gone(offset, data, f"cannot be read ({error})")
        records.append(Record(offset, offset + _HEAD + length, message))
        offset = records[-1].end
    return records, f"The file ends at byte {len(data)} without an index: the recording was not closed."


def _gone(offset: int, data: bytes, why: str) -> str:
    return f"The record at byte {offset} {why}; {len(data) - offset} bytes from there on are lost."


def _check_trailer(data: bytes, offset: int, index: int) -> str:
    if len(data) - offset < _TRAILER.size:
        return f"The trailer at byte {offset} is cut off; every record is there."
    tag, said, checksum = _TRAILER.unpack_from(data, offset)
    if (tag, said, checksum) != (_END, index, zlib.crc32(data[:offset])):
        return f"The trailer at byte {offset} is damaged; every record is there."
    if len(data) - offset > _TRAILER.size:
        return f"The trailer at byte {offset} is followed by bytes that do not belong to it; every record is there."
    return ""
