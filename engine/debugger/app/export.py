"""Exports for other programs: seconds of systems for trace viewers, numbers for numpy and spreadsheets."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from engine.debugger.model.store import Store
from engine.errors import SceneError
from engine.files import file_errors

_MICRO = 1e6
Numbers = dict[str, tuple[np.ndarray, np.ndarray]]
"""By 'table.Component.column[label]': ticks (samples,) and values (samples,)."""


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
