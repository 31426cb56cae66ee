"""What the window has received, as a recording that the same window opens."""

from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtWidgets import QMainWindow

from engine.debugger.store import ColumnInfo, Store
from engine.errors import SceneError
from engine.recording import END, TERMINAL, RecordingWriter
from engine.wire import pack_array


def save_recording(store: Store, path: Path) -> None:
    """Schema, traces of every row that was traced, latest values, events. SceneError where there is nothing, or no place."""
    if store.schema is None:
        raise SceneError("Nothing has been received yet, so there is nothing to save.")
    try:
        writer = RecordingWriter.create(path, store.schema)
        try:
            for message in _messages(store):
                writer.append(message)
        finally:
            writer.close()
    except OSError as error:
        raise SceneError(f"{path} cannot be written ({error.strerror or error}). Choose another place.") from None


def save_screenshot(window: QMainWindow, store: Store, stem: Path) -> None:
    """<stem>.png, <stem>.layout (as QMainWindow.restoreState takes it) and, once there is a schema, <stem>.rec.

    SceneError where they cannot be written.
    """
    picture = window.grab()
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        stem.with_suffix(".layout").write_bytes(window.saveState().data())
    except OSError as error:
        raise SceneError(f"The screenshot cannot be written to {stem.parent} ({error.strerror or error}).") from None
    if not picture.save(str(stem.with_suffix(".png"))):
        raise SceneError(f"{stem}.png cannot be written.")
    if store.schema is not None:
        save_recording(store, stem.with_suffix(".rec"))


def _messages(store: Store) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for row in store.traced_rows():
        message = _trace(store, row)
        if message is not None:
            made.append(message)
    return made + [{"t": "event", **event} for event in store.events]


def _trace(store: Store, row: int) -> dict[str, Any] | None:
    """All that is known of one row: traced numbers tick by tick, latest values at the end; NaN where something is not."""
    traced = store.traced(row)
    times = [np.stack([ticks, _twins(ticks)]) for _, _, ticks, _ in traced]
    latest = {info.id: held for info in store.columns.values() if (held := store.value(info.id, row)) is not None}
    times += [np.array([[held[0]], [0]]) for held in latest.values()]
    if not times:
        return None
    moments = np.unique(np.concatenate(times, 1), axis=1)
    ticks, twins = moments
    place = {(int(tick), int(twin)): index for index, (tick, twin) in enumerate(moments.T)}
    columns: dict[int, np.ndarray] = {}
    for column, label, own, values in traced:
        array = columns.setdefault(column, _blank(store.columns[column], len(ticks)))
        at = [place[int(tick), int(twin)] for tick, twin in zip(own, _twins(own), strict=True)]
        array[at, label] = values
    for column, (tick, value, _) in latest.items():
        columns.setdefault(column, _blank(store.columns[column], len(ticks)))[place[tick, 0]] = value.reshape(-1)
    moment = np.where((ticks[:-1] == ticks[1:]) & (twins[1:] == 1), TERMINAL, END)
    return {
        "t": "data",
        "sub": "trace",
        "table": next(iter(store.columns.values())).table,
        "ticks": [int(ticks[0]), int(ticks[-1])],
        "rows": [row],
        "at": pack_array(ticks.astype(np.int64)),
        "moment": pack_array(np.append(moment, END).astype(np.uint8)),
        "present": pack_array(np.ones((len(ticks), 1), np.bool_)),
        "cols": [
            [c, *pack_array(array.reshape(len(ticks), 1, *store.columns[c].shape))] for c, array in columns.items()
        ],
    }


def _twins(ticks: np.ndarray) -> np.ndarray:
    """1 for the second sample of a tick, which begins an episode, else 0."""
    return np.append(0, (np.diff(ticks) == 0).astype(np.int64)) if len(ticks) else np.zeros(0, np.int64)


def _blank(info: ColumnInfo, samples: int) -> np.ndarray:
    if info.is_float:
        return np.full((samples, info.size), np.nan, np.float32)
    return np.zeros((samples, info.size), np.dtype(info.dtype))
