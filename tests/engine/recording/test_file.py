"""Recordings: complete when closed, readable up to the last sound record when not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import WireError
from engine.protocol.framing import Limits, pack_array
from engine.recording.file import END, TERMINAL, Recording, RecordingWriter

COLUMNS = [{"id": 0, "name": "x"}, {"id": 1, "name": "y"}]
SCHEMA: dict[str, Any] = {
    "t": "schema",
    "tables": [{"name": "point", "components": [{"name": "Point", "columns": COLUMNS}]}],
    "vitals": {"point": ["speed", "height"]},
}


def sample(tick: int, rows: tuple[int, ...] = (3, 5), moment: int = END, present: Any = True) -> dict[str, Any]:
    """One sample of rows whose x is 100 row + tick and whose y is (row, tick)."""
    x = np.array([[100.0 * row + tick for row in rows]], np.float32)
    y = np.array([[[row, tick] for row in rows]], np.int64)
    here = np.ones((1, len(rows)), np.bool_) & np.array(present)
    return {
        "t": "data", "sub": "trace", "table": "point", "ticks": [tick, tick], "rows": list(rows),
        "at": pack_array(np.array([tick])), "moment": pack_array(np.array([moment], np.uint8)),
        "present": pack_array(here), "cols": [[0, *pack_array(x)], [1, *pack_array(y)]],
    }  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some" / "file.rec"


def write(path: Path, *messages: dict[str, Any], close: bool = True) -> bytes:
    writer = RecordingWriter.create(path, SCHEMA)
    for message in messages:
        writer.append(message)
    writer.close() if close else writer.file.close()
    return path.read_bytes()


def test_a_closed_recording_is_complete_and_gives_back_its_messages(path: Path) -> None:
    data = write(path, sample(1), sample(2))
    assert data.startswith(b"LOCKSREC\x01\0\0\0") and data[-14:-4] == bytes(8) + b"\x02\x01"
    recording = Recording.open(path)
    assert (recording.complete, recording.lost) == (True, "")
    assert recording.schema == SCHEMA and recording.frames == [sample(1), sample(2)]


def test_the_trace_of_a_row_is_what_was_sampled_of_it_in_order(path: Path) -> None:
    write(path, sample(1), sample(2, moment=TERMINAL, present=[True, False]), sample(2), sample(3))
    recording = Recording.open(path)
    trace = recording.trace(3)
    assert trace.tick.tolist() == [1, 2, 2, 3] and trace.moment.tolist() == [END, TERMINAL, END, END]
    assert trace.columns["point.Point.x"].tolist() == [301, 302, 302, 303]
    assert trace.columns["point.Point.y"].tolist() == [[3, 1], [3, 2], [3, 2], [3, 3]]
    other = recording.trace(5, ["point.Point.y"])
    assert other.tick.tolist() == [1, 2, 3] and list(other.columns) == ["point.Point.y"]


def test_what_a_recording_does_not_hold_is_a_sentence(path: Path) -> None:
    write(path, sample(1))
    recording = Recording.open(path)
    with pytest.raises(WireError, match=r"holds no trace of row 4\."):
        recording.trace(4)
    with pytest.raises(WireError, match=r"no column 'point\.Point\.z'\. Did you mean point\.Point\."):
        recording.trace(3, ["point.Point.z"])
    with pytest.raises(WireError, match=r"holds no black box of row 3 of table 'point'\."):
        recording.black_box(3, "point")


def test_the_black_box_gives_vital_numbers_by_label(path: Path) -> None:
    values = np.arange(12, dtype=np.float16).reshape(2, 3, 2)
    box = {"t": "data", "sub": "black_box", "table": "point", "at": pack_array(np.array([4, 6])), "ticks": [4, 6]}
    write(path, box | {"values": pack_array(values)})
    ticks, numbers = Recording.open(path).black_box(1, "point")
    assert ticks.tolist() == [4, 6] and numbers["height"].tolist() == [3, 9] and list(numbers) == ["speed", "height"]


def ends_of_records(data: bytes) -> list[int]:
    """Where each message and the container's end stop, by the lengths alone; each message is one block."""
    ends, offset = [], 12
    while offset < len(data):
        offset += 14 + int.from_bytes(data[offset : offset + 4], "little")
        ends.append(offset)
    return ends


def test_a_file_cut_anywhere_opens_up_to_the_last_whole_record(path: Path) -> None:
    messages = [sample(1, (7,)), sample(2, (7,)), {"t": "event", "tick": 2}]
    data = write(path, *messages)
    schema, *ends = ends_of_records(data)
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        if cut < schema:
            with pytest.raises(WireError, match="is not a recording"):
                Recording.open(path)
            continue
        recording = Recording.open(path)
        assert recording.frames == messages[: sum(end <= cut for end in ends[:3])]
        assert not recording.complete and recording.lost


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_flipped_bit_is_found_and_its_record_is_named(path: Path, data: st.DataObject) -> None:
    messages = [sample(tick, (7,)) for tick in range(4)]
    whole = write(path, *messages)
    place, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    damaged = bytearray(whole)
    damaged[place] ^= 1 << bit
    path.write_bytes(bytes(damaged))
    schema, *ends = ends_of_records(whole)
    if place < schema:
        with pytest.raises(WireError, match="is not a recording"):
            Recording.open(path)
        return
    recording = Recording.open(path)
    sound = sum(end <= place for end in ends[:4])
    assert recording.frames == messages[:sound] and not recording.complete
    assert f"at byte {[schema, *ends][sum(end <= place for end in ends)]}" in recording.lost


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_recording_or_a_wire_error(path: Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    for start in (b"", b"LOCKSREC\x01\0\0\0"):
        path.write_bytes(start + data)
        with pytest.raises(WireError, match="is not a recording"):
            Recording.open(path)


@pytest.mark.parametrize(
    "broken", [{"rows": 3}, {"at": None}, {"cols": [[9, "<f4", [1, 2], b"12345678"]]}, {"present": []}]
)
def test_a_message_of_another_layout_is_a_wire_error(path: Path, broken: dict[str, Any]) -> None:
    write(path, sample(1) | broken)
    with pytest.raises(WireError):
        Recording.open(path).trace(3)


@pytest.mark.parametrize("close", [True, False])
def test_a_recording_is_cut_back_to_a_tick_and_goes_on_as_if_nothing_had_been(path: Path, close: bool) -> None:
    straight = write(path, *(sample(tick) for tick in (1, 2, 3, 4)))
    write(path, sample(1), sample(2), sample(9), sample(10), close=close)
    writer = RecordingWriter.reopen(path, through=2)
    for tick in (3, 4):
        writer.append(sample(tick))
    writer.close()
    assert path.read_bytes() == straight


def test_a_torn_end_is_cut_off_when_a_recording_goes_on(path: Path) -> None:
    data = write(path, sample(1), sample(2), close=False)
    path.write_bytes(data[:-3])
    RecordingWriter.reopen(path, through=99).close()
    recording = Recording.open(path)
    assert recording.complete and recording.frames == [sample(1)]


def test_a_record_that_cannot_be_written_whole_is_taken_back(path: Path) -> None:
    class Full:
        """A file on a disk that is nearly full."""

        def __init__(self, file: Any) -> None:
            self.file, self.room = file, 10

        def write(self, data: bytes) -> int:
            return self.file.write(data[: self.room])

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    writer = RecordingWriter.create(path, SCHEMA)
    before = path.read_bytes()
    writer.file = Full(writer.file)  # type: ignore[assignment]
    with pytest.raises(OSError, match="only a part"):
        writer.append(sample(1))
    assert path.read_bytes() == before
    with pytest.raises(OSError, match="only a part"):
        writer.close()
    assert writer.file.closed and Recording.open(path).frames == []


def test_a_recording_goes_on_after_a_message_that_could_not_be_written(path: Path) -> None:
    class Torn:
        """A file that writes half of what it is given, once."""

        def __init__(self, file: Any) -> None:
            self.file, self.whole = file, False

        def write(self, data: bytes) -> int:
            self.whole, whole = True, self.whole
            return self.file.write(data if whole else data[: len(data) // 2])

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    writer = RecordingWriter.create(path, SCHEMA)
    writer.file = Torn(writer.file)  # type: ignore[assignment]
    with pytest.raises(OSError, match="only a part"):
        writer.append(sample(1))
    writer.append(sample(2))
    writer.close()
    recording = Recording.open(path)
    assert recording.complete and recording.frames == [sample(2)]


def test_a_message_that_unpacks_to_more_than_a_frame_may_have_is_not_read(path: Path) -> None:
    write(path, sample(1), {"t": "event", "tick": 1, "text": "a" * 5000})
    recording = Recording.open(path, Limits(frame=4000))
    assert recording.frames == [sample(1)] and "longer than 4000 bytes" in recording.lost
