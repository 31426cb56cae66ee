"""A recording in place of a session: the text client looks things up in it, and everything else is refused."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from engine.debugger.model.schema import read_columns
from engine.debugger.net.recording_source import Labels, Recorded
from engine.errors import AttachError
from engine.protocol.framing import pack_array, unpack_array

OFFLINE = "This is a recording: it can be looked at, but not changed."


class Offline:
    """Has what Text uses of a Session. SceneError for a file that is no recording."""

    def __init__(self, path: Path) -> None:
        self.recorded = Recorded(path)
        self.schema, self.ended, self.role = self.recorded.schema, "", "control"
        self.events: deque[dict[str, Any]] = deque(self.recorded.events())
        self.view: int | None = None

    @property
    def greeting(self) -> str:
        """What the recording is, in a sentence or two."""
        recorded = self.recorded
        run = self.schema.get("run", {})
        of = f"{len(recorded.rows)} rows ({_spans(recorded.rows)})" if recorded.rows else "no rows"
        said = f"{recorded.recording.path.name}: {run.get('scene')}, {of}, ticks {recorded.first} to {recorded.last}."
        return f"{said} {recorded.lost}".strip()

    @property
    def state(self) -> dict[str, Any]:
        """What a run that has ended would say of itself."""
        recorded = self.recorded
        told: dict[str, Any] = {"mode": "ended", "tick": recorded.last, "history": [recorded.first, recorded.last]}
        return told | {"view": self.view, "rows": _spans(recorded.rows), "lost": recorded.lost or "nothing"}

    def wait_for_state(self) -> dict[str, Any]:
        """See Session."""
        return self.state

    def standing(self) -> dict[str, Any]:
        """See Session."""
        return self.state

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
        info = next(column for column in read_columns(self.schema) if column.id == number)
        home = f"{info.table}.{info.component}"
        sources = {name for s in self.schema["systems"] if home in s["writes"] for name in s["reads"] if name != home}
        when = self.recorded.last if self.view is None else self.view
        writer = " or ".join(info.writers) or "nobody"
        told = {"readers": list(info.readers), "sources": sorted(sources)}
        return {"t": "ok", "writer": writer, "tick": when, "kind": "declared", **told}

    @contextmanager
    def watch(
        self, kind: str, columns: list[list[Any]], rows: list[int], hz: float = 10.0
    ) -> Iterator[Callable[[float], dict[str, Any] | None]]:
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
        before: int | None = None
        for view in range(tick, self.recorded.last + 1):
            frame = self._frame(number, labels, rows, view)
            if frame is not None and frame["ticks"][0] != before:
                before = frame["ticks"][0]
                yield frame

    def _frame(self, number: int, labels: "list[int] | None", rows: list[int], tick: int) -> dict[str, Any] | None:
        wanted: dict[int, Labels] = {number: None}
        found = [self.recorded.sample(row, tick, wanted) for row in rows]
        if not all(found):
            return None
        arrays = [unpack_array(samples[-1].columns[0][1:]).reshape(1, -1) for samples in found]
        values = np.concatenate([a if labels is None else a[:, labels] for a in arrays])
        newest = max(samples[-1].tick for samples in found)
        return {"t": "data", "ticks": [newest, newest], "cols": [[number, *pack_array(values)]]}

    def stay(self) -> None:
        """Nothing happens in a recording."""

    def close(self) -> None:
        """Nothing to let go of."""


def _spans(rows: list[int]) -> str:
    """'0-7, 12'."""
    parts: list[list[int]] = []
    for row in rows:
        if parts and parts[-1][-1] == row - 1:
            parts[-1] = [parts[-1][0], row]
        else:
            parts.append([row])
    return ", ".join("-".join(map(str, part)) for part in parts)
