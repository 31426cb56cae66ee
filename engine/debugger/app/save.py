"""Files that the window writes: what it has received, as a recording that the same window opens; screenshots; and exports for
other programs, seconds of systems for trace viewers, numbers for numpy and spreadsheets.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtWidgets import QMainWindow

from engine.debugger.model.frames import Value
from engine.debugger.model.schema import ColumnInfo
from engine.debugger.model.store import Store
from engine.errors import SceneError
from engine.files import file_errors
from engine.protocol.framing import pack_array
from engine.recording.file import END, TERMINAL, RecordingWriter

_Found = tuple[str, np.ndarray, np.ndarray, np.ndarray]  # sub, ticks, moments, values
_MESSAGE = 1 << 22  # bytes of samples in one message
_MICRO = 1e6
Numbers = dict[str, tuple[np.ndarray, np.ndarray]]
"""By 'table.Component.column[label]': ticks (samples,) and values (samples,)."""


def save_recording(store: Store, path: Path) -> None:
    """Schema and events; of every row that was looked at traces ('trace' of columns, 'labels' of single numbers) and the
    values that were shown ('values'); of all rows the latest 'column' and the 'band' before it; 'learner' and 'timing'.

    SceneError where there is nothing to save, or no place to.
    """
    if store.schema is None:
        raise SceneError("Nothing has been received yet, so there is nothing to save.")
    with (
        file_errors(f"{path} cannot be written", cure=" Choose another place."),
        closing(RecordingWriter.create(path, store.schema)) as writer,
    ):
        for message in _messages(store):
            writer.append(message)


def save_screenshot(window: QMainWindow, store: Store, stem: Path) -> None:
    """<stem>.png, <stem>.layout (as QMainWindow.restoreState takes it) and, once there is a schema, <stem>.rec.

    SceneError where they cannot be written.
    """
    picture = window.grab()
    with file_errors(f"The screenshot cannot be written to {stem.parent}"):
        stem.parent.mkdir(parents=True, exist_ok=True)
        stem.with_suffix(".layout").write_bytes(window.saveState().data())
    if not picture.save(str(stem.with_suffix(".png"))):
        raise SceneError(f"{stem}.png cannot be written.")
    if store.schema is not None:
        save_recording(store, stem.with_suffix(".rec"))


def _messages(store: Store) -> Iterator[dict[str, Any]]:
    for row in sorted(store.traces.rows() | store.values.rows()):
        traced: dict[int, dict[int, tuple[np.ndarray, np.ndarray]]] = {}
        for column, label, ticks, values in store.traces.of_row(row):
            traced.setdefault(column, {})[label] = ticks, values
        history = store.values.history(row)
        whole: dict[tuple[str, bytes, bytes], list[tuple[ColumnInfo, np.ndarray]]] = {}
        for info in store.columns.values():
            every = _every_tick(info, traced.get(info.id, {}))
            last = int(every[1][-1]) if every is not None and len(every[1]) else -1
            newer = [value for value in history.get(info.id, []) if value[0] > last]  # than the last frame of a trace
            for found in (every, _now_and_then(newer)):
                if found is not None:
                    sub, at, moment, values = found
                    whole.setdefault((sub, at.tobytes(), moment.tobytes()), []).append((info, values))
        for (sub, *times), columns in whole.items():
            at, moment = np.frombuffer(times[0], np.int64), np.frombuffer(times[1], np.uint8)
            yield from _samples(sub, row, at, moment, columns)
        for column, labels in traced.items():
            if len(labels) < store.columns[column].size:
                yield from _labels(store.columns[column], row, labels)
    for event in store.events:
        sent = {name: value for name, value in event.items() if name != "ends"}  # which the reader finds
        yield {"t": "event", **sent}
    yield from _whole(store)


def _whole(store: Store) -> Iterator[dict[str, Any]]:
    """Messages about the whole run: numbers of all rows, of the learner, and seconds of systems."""
    for number, label, tick, values, band in store.frames():
        frame = {"t": "data", "ticks": [tick, tick], "labels": None if label is None else [label]}
        if len(band):
            yield {**frame, "sub": "band", "cols": [[number, *pack_array(band)]]}
        yield {**frame, "sub": "column", "cols": [[number, *pack_array(values)]]}
    for iteration, numbers in store.learner:
        yield {"t": "data", "sub": "learner", "iteration": iteration, "values": numbers}
    timing: dict[str, Any] = store.timing
    for tick, seconds, tick_seconds in timing.get("history", ()):
        each = {"ticks": [tick, tick], "seconds": pack_array(seconds), "calls": pack_array(timing["calls"])}
        yield {"t": "data", "sub": "timing", "tick_seconds": tick_seconds, **each}


def _every_tick(info: ColumnInfo, traced: dict[int, tuple[np.ndarray, np.ndarray]]) -> _Found | None:
    """A column all of whose values were traced, together."""
    first = traced.get(0)
    if first is None or len(traced) < info.size or not all(np.array_equal(t, first[0]) for t, _ in traced.values()):
        return None
    values = np.stack([traced[label][1] for label in range(info.size)], 1)
    return "trace", first[0].astype(np.int64), _moments(first[0]), _fit(values.reshape(-1, *info.shape), info)


def _now_and_then(history: list[Value]) -> _Found | None:
    """What came of a column to be shown: whole, but not of every tick."""
    if not history:
        return None
    ticks = np.array([tick for tick, _, _ in history], np.int64)
    moments = np.array([TERMINAL if finish else END for *_, finish in history], np.uint8)
    return "values", ticks, moments, np.stack([value for _, value, _ in history])


def _labels(info: ColumnInfo, row: int, traced: dict[int, tuple[np.ndarray, np.ndarray]]) -> Iterator[dict[str, Any]]:
    """Single numbers of a column, each with its own ticks."""
    for label, (ticks, values) in traced.items():
        column = (info, _fit(values[:, None], info))
        for message in _samples("labels", row, ticks.astype(np.int64), _moments(ticks), [column]):
            yield {**message, "labels": [label]}


def _samples(
    sub: str, row: int, at: np.ndarray, moment: np.ndarray, columns: list[tuple[ColumnInfo, np.ndarray]]
) -> Iterator[dict[str, Any]]:
    """Samples of one row as messages of a few megabytes."""
    each = max(1, _MESSAGE // max(1, sum(array[0].nbytes for _, array in columns)))
    for start in range(0, len(at), each):
        part = slice(start, start + each)
        yield {
            "t": "data",
            "sub": sub,
            "table": columns[0][0].table,
            "ticks": [int(at[part][0]), int(at[part][-1])],
            "rows": [row],
            "at": pack_array(at[part]),
            "moment": pack_array(moment[part]),
            "present": pack_array(np.ones((len(at[part]), 1), np.bool_)),
            "cols": [[info.id, *pack_array(array[part][:, None])] for info, array in columns],
        }


def _moments(ticks: np.ndarray) -> np.ndarray:
    """The first of two samples of one tick is that of an episode's end."""
    return np.append(np.where(np.diff(ticks) == 0, TERMINAL, END), END).astype(np.uint8)


def _fit(values: np.ndarray, info: ColumnInfo) -> np.ndarray:
    """Traced numbers, which are held as float64, in a type of the kind that the column has."""
    return values.astype(np.float32 if info.is_float else np.dtype(info.dtype))


# -- for other programs ---------------------------------------------------------------------------------


def chrome_trace(store: Store) -> dict[str, Any]:
    """One tick of each timing frame as events of the Trace Event Format, which Perfetto and chrome://tracing open.

    A system is a slice as long as it took on average since the frame before. Ticks lie where they would if all ticks of a frame
    took equally long. SceneError where no timing came.
    """
    history = list(store.timing.get("history", ()))
    if not history:
        raise SceneError("No timing has been received yet, so there is none to export.")
    events: list[dict[str, Any]] = [
        {"name": "process_name", "ph": "M", "pid": 1, "args": {"name": f"{store.run.get('name') or 'run'}"}},
        {"name": "thread_name", "ph": "M", "pid": 1, "tid": 1, "args": {"name": "tick"}},
    ]
    began, before = 0.0, history[0][0]
    for tick, seconds, tick_seconds in history:
        began += (tick - before) * tick_seconds * _MICRO
        before = tick
        events.append(_slice(f"tick {tick}", "tick", began, tick_seconds, {"tick": tick}))
        at = began
        for system, each in zip(store.systems, seconds.tolist(), strict=True):
            if each > 0.0:
                events.append(_slice(str(system["name"]), str(system["phase"]), at, each, {"bundle": system["bundle"]}))
                at += each * _MICRO
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _slice(name: str, category: str, at: float, seconds: float, more: dict[str, Any]) -> dict[str, Any]:
    timed = {"ts": round(at, 3), "dur": round(seconds * _MICRO, 3)}
    return {"name": name, "cat": category, "ph": "X", "pid": 1, "tid": 1, **timed, "args": more}


def save_chrome_trace(store: Store, path: Path) -> None:
    """Write `chrome_trace` as JSON; SceneError where there is none, or no place for it."""
    text = json.dumps(chrome_trace(store))
    with file_errors(f"{path} cannot be written", cure=" Choose another place."):
        path.write_text(text, encoding="utf-8")


def selection(store: Store, wanted: Iterable[tuple[int, int | None]], row: int) -> Numbers:
    """What is remembered of (column, flat label; None for all) of a row: every tick where traced, else what was shown."""
    found: Numbers = {}
    shown = store.values.history(row)
    for number, label in wanted:
        info = store.columns[number]
        for place in range(info.size) if label is None else (label,):
            label_text = info.labels[place]
            bracketed = label_text if not label_text or label_text.startswith("[") else f"[{label_text}]"
            name = info.address + bracketed
            ticks, values, _ = store.trace(number, place, row)
            past = shown.get(number, [])
            if not len(ticks) and past:
                ticks = np.array([tick for tick, _, _ in past], np.int64)
                values = np.array([value.reshape(-1)[place] for _, value, _ in past], np.float64)
            if len(ticks):
                found[name] = ticks.copy(), values.copy()
    return found


def save_selection(numbers: Numbers, path: Path) -> None:
    """As .npz ('NAME' and 'NAME.tick' for each number) or, with any other ending, as CSV: a line for each sample.

    An episode that ended has two lines of the same tick, its last and the first of the next. SceneError where there is
    nothing, or no place for it.
    """
    if not numbers:
        raise SceneError("Nothing has been received of what is plotted or marked, so there is nothing to export.")
    with file_errors(f"{path} cannot be written", cure=" Choose another place."):
        if path.suffix == ".npz":
            arrays: dict[str, Any] = {name: values for name, (_, values) in numbers.items()}
            arrays |= {f"{name}.tick": ticks for name, (ticks, _) in numbers.items()}
            np.savez_compressed(path, **arrays)
            return
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["tick", *numbers])
            writer.writerows(_lines(numbers))


def _lines(numbers: Numbers) -> Iterable[list[Any]]:
    """Samples of the same tick side by side, in order; '' where a number has none."""
    cells: dict[tuple[int, int], dict[str, float]] = {}
    for name, (ticks, values) in numbers.items():
        nth = np.arange(len(ticks)) - np.searchsorted(ticks, ticks)
        for tick, again, value in zip(ticks.tolist(), nth.tolist(), values.tolist(), strict=True):
            cells.setdefault((tick, again), {})[name] = value
    return ([tick, *(cells[tick, again].get(name, "") for name in numbers)] for tick, again in sorted(cells))
