"""Recording as a source of the messages that a live run would send, and in the place of a session. No Qt."""

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from engine.debugger.model.schema import find_role, read_columns
from engine.debugger.model.subscription import Labels
from engine.debugger.net.session import NextFrame
from engine.errors import AttachError, SceneError, WireError
from engine.protocol.framing import pack_array, unpack_array
from engine.recording.file import TERMINAL, Recording

NEAR = 15  # ticks by which a sample may be older than the tick in view, where not every tick was kept
_TRACES = ("trace", "episode")
_VERBATIM = ("learner", "timing", "column", "band")  # of the whole run, as a live one sends them
OFFLINE = "This is a recording: it can be looked at, but not changed."


class RecordingSource:
    """A recording, row by row and tick by tick. SceneError for a file that is not a recording.

    first, last: the ticks that it spans; rows: those of which there are numbers; lost: what is missing, '' if nothing is.
    """

    def __init__(self, path: Path) -> None:
        try:
            self.recording = Recording.open(path)
            self.schema, self.lost = self.recording.schema, self.recording.lost
            self.columns = {column.id: column for column in read_columns(self.schema)}
            self._sort()
        except OSError as error:
            raise SceneError(f"{path} cannot be opened: {error.strerror or error}.") from None
        except WireError as error:
            raise SceneError(f"{error} It cannot be opened.") from None
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise SceneError(f"{path} cannot be opened: it is not laid out as a recording ({error!r}).") from None

    def _sort(self) -> None:
        data = list(self.recording.of("data"))
        self.frames = [m for m in data if m.get("sub") in (*_TRACES, "values")]
        self.singles = [m for m in data if m.get("sub") == "labels"]
        self.boxes = [m for m in data if m.get("sub") == "black_box"]
        self.whole = [m for m in data if m.get("sub") in _VERBATIM]
        ticks = [int(tick) for m in (*self.frames, *self.singles, *self.boxes) for tick in m["ticks"]]
        self.first, self.last = (min(ticks), max(ticks)) if ticks else (0, 0)
        self.rows = sorted({int(row) for m in self.frames for row in m["rows"]})

    def state(self, view: int | None) -> dict[str, Any]:
        """The state of a run that has ended, with an earlier tick in view."""
        return {"mode": "ended", "tick": self.last, "history": [self.first, self.last], "view": view}

    def events(self) -> list[dict[str, Any]]:
        """Events of the recording, oldest first; where none is an end of an episode, those that the traces show as well."""
        noted = list(self.recording.of("event"))
        if not any(event.get("kind") == "reset" for event in noted):
            noted += self._ends()
        return sorted(noted, key=lambda event: int(event.get("tick", 0)))

    def _ends(self) -> Iterator[dict[str, Any]]:
        """Ends of episodes in the traces, as events of single rows."""
        address = find_role(self.schema, [column.address for column in self.columns.values()], "reason")
        reason = next((column for column in self.columns.values() if column.address == address), None)
        for message in (m for m in self.frames if m["sub"] in _TRACES):
            at, moment = unpack_array(message["at"]), unpack_array(message["moment"])
            present = unpack_array(message["present"])
            why = next((unpack_array(a) for n, *a in message["cols"] if reason is not None and n == reason.id), None)
            for sample, place in np.argwhere((moment == TERMINAL)[:, None] & present):
                fired = [] if why is None else np.flatnonzero(why[sample, place]).tolist()
                names = [reason.labels[i] for i in fired] if reason is not None else []
                yield {
                    "t": "event",
                    "kind": "reset",
                    "tick": int(at[sample]),
                    "row": int(message["rows"][place]),
                    "text": ", ".join(names) or "the episode ended",
                    "fields": {"reasons": names, "count": 1},
                }

    def values(self, row: int, view: int | None, wanted: Mapping[int, Labels]) -> list[dict[str, Any]]:
        """Fields of `values` frames of a row, by when they were sampled: the last sample of the tick in view, or of all.

        Of an episode that ended in that tick it is the sample that shows its end. Samples of a column that are not there, or
        more than NEAR ticks before the tick in view, are left out.
        """
        tick = self.last if view is None else view
        newest: dict[int, tuple[int, bool, list[Any]]] = {}  # by column
        for message, place in self._of_row(row):
            at, moment = unpack_array(message["at"]), unpack_array(message["moment"])
            here = np.flatnonzero((at <= tick) & unpack_array(message["present"])[:, place])
            if not len(here) or (view is not None and at[here[-1]] < tick - NEAR):
                continue
            same = here[at[here] == at[here[-1]]]
            sample = int(same[0] if moment[same[0]] == TERMINAL else same[-1])
            for number, *array in message["cols"]:
                if number in wanted and (number not in newest or newest[number][0] <= at[sample]):
                    packed = [number, *pack_array(unpack_array(array)[sample, place][None])]
                    newest[number] = int(at[sample]), bool(moment[sample] == TERMINAL), packed
        frames: dict[tuple[int, bool], dict[str, Any]] = {}
        for tick, ended, packed in newest.values():
            frame = {"rows": [row], "ticks": [tick, tick], "view": view if tick == view else None, "cols": []}
            frame["finish"] = pack_array(np.array([ended]))
            frames.setdefault((tick, ended), frame)["cols"].append(packed)
        return [frames[key] for key in sorted(frames)]

    def trace(self, row: int, wanted: Mapping[int, Labels]) -> Iterator[dict[str, Any]]:
        """Fields of `trace` frames with every sample of a row."""
        for message, place in self._of_row(row):
            if message["sub"] not in _TRACES:
                continue
            here = unpack_array(message["present"])[:, place]
            columns = []
            for number, *packed in message["cols"]:
                if number in wanted:
                    array = unpack_array(packed)[here, place].reshape(int(here.sum()), 1, -1)
                    labels = wanted[number]
                    columns.append([number, *pack_array(array if labels is None else array[..., list(labels)])])
            ended = (unpack_array(message["moment"])[here] == TERMINAL)[:, None]
            at = pack_array(unpack_array(message["at"])[here])
            yield {"rows": [row], "at": at, "ended": pack_array(ended), "cols": columns, "ticks": message["ticks"]}

        for message in self.singles:  # of columns of which only a part was traced
            asked = wanted.get(message["cols"][0][0], ())
            if message["rows"] == [row] and (asked is None or set(message["labels"]) <= set(asked)):
                ended = (unpack_array(message["moment"]) == TERMINAL)[:, None]
                frame = {key: message[key] for key in ("rows", "at", "cols", "ticks", "labels")}
                yield frame | {"ended": pack_array(ended)}

    def vitals(self, rows: list[int]) -> Iterator[dict[str, Any]]:
        """Fields of `vitals` frames of the black box."""
        for message in self.boxes:
            values = unpack_array(message["values"])
            known = [row for row in rows if row < values.shape[1]]
            packed = pack_array(values[:, known])
            yield {"rows": known, "at": message["at"], "values": packed, "cols": [], "ticks": message["ticks"]}

    def _of_row(self, row: int) -> Iterator[tuple[dict[str, Any], int]]:
        return ((message, message["rows"].index(row)) for message in self.frames if row in message["rows"])


class RecordingSession:
    """A recording in the place of a Session: it is looked through, and everything else is refused. SceneError for a file that
    is not a recording."""

    def __init__(self, path: Path) -> None:
        self.recorded = RecordingSource(path)
        self.schema, self.ended, self.role = self.recorded.schema, "", "control"
        self.events: deque[dict[str, Any]] = deque(self.recorded.events())
        self.view: int | None = None

    @property
    def greeting(self) -> str:
        """A sentence or two about the recording."""
        recorded = self.recorded
        run = self.schema.get("run", {})
        of = f"{len(recorded.rows)} rows ({_spans(recorded.rows)})" if recorded.rows else "no rows"
        text = f"{recorded.recording.path.name}: {run.get('scene')}, {of}, ticks {recorded.first} to {recorded.last}."
        return f"{text} {recorded.lost}".strip()

    def wait_for_state(self) -> dict[str, Any]:
        """The state of a run that has ended."""
        recorded = self.recorded
        return {**recorded.state(self.view), "rows": _spans(recorded.rows), "lost": recorded.lost or "nothing"}

    standing = wait_for_state

    def ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Seeking and who writes a column are answered from the file; everything else is refused."""
        match message["t"]:
            case "seek":
                tick, first, last = int(message["tick"]), self.recorded.first, self.recorded.last
                if not first <= tick <= last:
                    text = f"Tick {tick} is not in this recording; it holds ticks {first} to {last}."
                    return {"t": "error", "code": "out_of_history", "text": text}
                self.view = tick
            case "live":
                self.view = None
            case "provenance":
                return self._provenance(int(message["column"]))
            case _:
                return {"t": "error", "code": "offline", "text": OFFLINE}
        return {"t": "ok"}

    def _provenance(self, number: int) -> dict[str, Any]:
        info = self.recorded.columns[number]
        home = f"{info.table}.{info.component}"
        sources = {name for s in self.schema["systems"] if home in s["writes"] for name in s["reads"] if name != home}
        when = self.recorded.last if self.view is None else self.view
        writer = " or ".join(info.writers) or "nobody"
        answer = {"t": "ok", "writer": writer, "tick": when, "kind": "declared"}
        return answer | {"readers": list(info.readers), "sources": sorted(sources)}

    @contextmanager
    def watch(self, kind: str, columns: list[list[Any]], rows: list[int]) -> Iterator[NextFrame]:
        """Values of rows at the tick in view, then at the ticks after it; AttachError for rows that were not recorded."""
        missing = [row for row in rows if row not in self.recorded.rows]
        if missing:
            kept = _spans(self.recorded.rows) or "none"
            raise AttachError(f"Row {missing[0]} is not in this recording; it holds {kept}.")
        (number, labels), at = columns[0], self.recorded.last if self.view is None else self.view
        frames = self._frames(int(number), labels, rows, at)

        def following(seconds: float) -> dict[str, Any]:
            found = next(frames, None)
            if found is None:
                raise AttachError(f"The recording has no more of this; `seek` a tick before {at} to watch from there.")
            return found

        yield following

    def _frames(self, number: int, labels: "list[int] | None", rows: list[int], tick: int) -> Iterator[dict[str, Any]]:
        before = newest = -1
        for view in range(tick, self.recorded.last + 1):
            found = [self.recorded.values(row, view, {number: None}) for row in rows]
            if all(found):
                newest = max(frames[-1]["ticks"][1] for frames in found)
            if newest != before:
                before = newest
                arrays = [unpack_array(frames[-1]["cols"][0][1:]).reshape(1, -1) for frames in found]
                values = np.concatenate([a if labels is None else a[:, labels] for a in arrays])
                yield {"t": "data", "ticks": [newest, newest], "cols": [[number, *pack_array(values)]]}

    def stay(self) -> None:
        """Nothing happens in a recording."""

    def close(self) -> None:
        """Nothing to let go of."""


def _spans(rows: list[int]) -> str:
    """'0-7, 12'."""
    runs = [[row for _, row in run] for _, run in groupby(enumerate(rows), lambda each: each[1] - each[0])]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
