"""Recording file: messages of a run, one after another, that can be read however much of the file is left.

A recording is a container (engine/snapshot/container.py) each of whose parts is one message, encoded as in a frame of
engine/protocol/framing.py; the first is the schema. Only a recording that was closed has the container's end; what was cut
off by a crash, or has a flipped bit, opens up to the last sound message before it.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Self

import attrs
import numpy as np

from engine.errors import WireError, did_you_mean
from engine.protocol.framing import LENGTH, Limits, column_ids, decode_body, encode_frame, unpack_array
from engine.snapshot.container import PREFIX, CorruptBlock, Packer, read_parts, read_prefix

MAGIC = b"LOCKSREC"
FORMAT = 1
_LIMITS = Limits()
TERMINAL, END, TORN = 0, 1, 2
"""When a sample was taken: after the phase `Tick.finished`, at the end of a tick, in the middle of one that failed."""


@attrs.define(eq=False)
class RecordingWriter:
    """Writes a recording message by message; one that cannot be written whole is taken back, and raises OSError."""

    path: Path
    file: BinaryIO
    packer: Packer
    size: int = 0

    @classmethod
    def create(cls, path: Path, schema: Mapping[str, Any]) -> Self:
        """A new file that begins with the schema; replaces one that is there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = cls(path, open(path, "wb", buffering=0), Packer(MAGIC, FORMAT))  # noqa: SIM115 - open until closed
        try:
            writer._put([writer.packer.start])
            writer.append(schema)
        except OSError:
            writer.file.close()
            raise
        return writer

    @classmethod
    def reopen(cls, path: Path, through: int) -> Self:
        """Go on after the last message whose ticks are not later than `through`; what follows is cut off.

        Raises WireError for a file that is no recording.
        """
        last, *others = Recording.open(path).records
        for record in others:
            if _last_tick(record.message) > through:
                break
            last = record
        packer = Packer(MAGIC, FORMAT)
        packer.checksum = last.checksum
        writer = cls(path, open(path, "r+b", buffering=0), packer, last.end)  # noqa: SIM115 - open until closed
        writer.file.truncate(last.end)
        writer.file.seek(last.end)
        return writer

    def append(self, message: Mapping[str, Any]) -> None:
        """Write one message. Raises OSError where that fails, WireError for what a frame cannot carry."""
        body = memoryview(encode_frame(message))[LENGTH.size :]
        self._put(self.packer.part(body))

    def close(self) -> None:
        """Write the end, and close the file; OSError leaves a recording without it."""
        if self.file.closed:
            return
        try:
            self._put(self.packer.end())
            os.fsync(self.file.fileno())
        finally:
            self.file.close()

    def _put(self, pieces: "Iterable[bytes | memoryview]") -> None:
        checksum = self.packer.checksum
        data = b"".join(pieces)
        try:
            if self.file.write(data) != len(data):
                raise OSError("only a part could be written")
        except OSError:
            self.packer.checksum = checksum
            self.file.truncate(self.size)
            self.file.seek(self.size)
            raise
        self.size += len(data)


def _last_tick(message: Mapping[str, Any]) -> int:
    ticks = message.get("ticks")
    return int(ticks[-1]) if isinstance(ticks, list) and ticks else int(message.get("tick", 0))


@attrs.frozen(eq=False)
class RecordedMessage:
    """One message of a recording, where its bytes end, and the container's checksum up to there."""

    message: dict[str, Any]
    end: int
    checksum: int


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
    records: list[RecordedMessage]
    complete: bool
    lost: str

    @classmethod
    def open(cls, path: "str | Path", limits: Limits = _LIMITS) -> Self:
        """Read a file; WireError when it is no recording, or its schema is damaged; OSError when it cannot be read."""
        path = Path(path)
        data = path.read_bytes()
        magic, version = read_prefix(data) or (data[: len(MAGIC)], FORMAT)
        if magic != MAGIC:
            found = f"it starts with {magic!r} instead of {MAGIC!r}" if data else "it is empty"
            raise WireError(f"{path} is not a recording: {found}.")
        if version != FORMAT:
            raise WireError(
                f"{path} is not a recording that can be read: its format version is {version}, and this program reads {FORMAT}."
            )
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
        """Every message after the schema."""
        return [record.message for record in self.records[1:]]

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


def _read(data: bytes, limits: Limits) -> tuple[list[RecordedMessage], str]:
    """Every sound message from the start, and a sentence about what is lost after them."""
    records: list[RecordedMessage] = []
    end = PREFIX.size
    try:
        for part in read_parts(data, limits.frame):
            message = decode_body(memoryview(part.content), limits)
            end = part.end
            records.append(RecordedMessage(message, end, part.checksum))
    except WireError as error:
        why = f"cannot be read ({error})"
    except CorruptBlock as damage:
        if damage.offset == len(data):
            return records, f"The file ends at byte {len(data)}: the recording was not closed."
        why = damage.text
    else:
        return records, ""
    return records, f"The message at byte {end} {why}; {len(data) - end} bytes from there on are lost."
