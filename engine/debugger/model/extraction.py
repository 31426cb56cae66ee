"""Evidence from what a store holds: samples of rows by role, ends of episodes, contacts of feet, values that are not finite."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from engine.debugger.model.evidence import (
    ENDS,
    ITERATIONS,
    KEPT,
    STANDING,
    WATCHED,
    Bad,
    End,
    Evidence,
    Foot,
    RowSamples,
    foot_places,
    rows_watched,
    spread,
)
from engine.debugger.model.schema import ColumnInfo, Declared
from engine.debugger.model.store import Store
from engine.errors import WireError
from engine.protocol.framing import unpack_array


def learner(store: Store) -> dict[str, np.ndarray]:
    """Reports of the learner, by name: one number per iteration, NaN where there is none; 'iteration' counts."""
    latest = list(store.learner)[-ITERATIONS:]
    names = sorted({name for _, values in latest for name in values})
    found = {n: np.array([values.get(n, np.nan) for _, values in latest], np.float64) for n in names}
    return {"iteration": np.array([i for i, _ in latest], np.float64), **found} if latest else {}


def row_samples(store: Store, column: ColumnInfo | None, labels: Iterable[int] | None = None) -> dict[int, RowSamples]:
    """Samples of a column, tick by tick, of the rows that may be watched."""
    if column is None:
        return {}
    places = list(range(column.size) if labels is None else labels)
    found = {row: _samples(store, column, places, row) for row in spread(column.rows, WATCHED)}
    return {row: samples for row, samples in found.items() if samples is not None}


def _samples(store: Store, column: ColumnInfo, labels: Sequence[int], row: int) -> RowSamples | None:
    if not labels or not len(store.trace(column.id, labels[0], row)[0]):
        return None
    parts = [store.trace(column.id, label, row) for label in labels]
    length = min(KEPT, *(len(ticks) for ticks, _, _ in parts))
    if not length:
        return None
    ticks, _, breaks = parts[0]
    values = np.stack([np.asarray(v[-length:], np.float64) for _, v, _ in parts], 1)
    return RowSamples(np.array(ticks[-length:]), values, np.array(breaks[-length:], bool))


def add_ends(found: Evidence, remembered: Iterable[End]) -> None:
    """Put the ends of episodes that events and memory hold into the evidence."""
    known = found.declared
    events = [e for e in found.events if e.get("kind") == "reset"]
    ends: dict[tuple[int, int], End] = {}
    for event in reversed(events):
        ends |= {(end.row, end.tick): end for end in ends_in(event, known)}
        if len(ends) >= ENDS:
            break
    ends = {(end.row, end.tick): end for end in remembered} | ends
    found.ends = sorted(ends.values(), key=lambda end: end.tick)
    counted = [c for c in map(_counted, events) if c is not None]
    if not counted and "episode/ended" in found.learner:
        number = np.nan_to_num(found.learner["episode/ended"])
        shares = {r: np.nan_to_num(found.learner[f"end/{r}"]) for r in known.reasons if f"end/{r}" in found.learner}
        counted = [(int(n), {r: float(n * s[i]) for r, s in shares.items()}) for i, n in enumerate(number)][-20:]
    found.end_counts = counted or [(1, dict.fromkeys(end.reasons, 1.0)) for end in found.ends]


def ends_in(event: Mapping[str, Any], known: Declared) -> list[End]:
    """Ends of episodes in the event of a reset: arrays row, reason, step and perhaps tick, clip and time; [] without them."""
    fields = event.get("fields") or {}
    try:
        row, reason, step = (unpack_array(fields[key]) for key in ("row", "reason", "step"))
        clip = unpack_array(fields["clip"]) if "clip" in fields else np.full(len(row), -1)
        time = unpack_array(fields["time"]) if "time" in fields else np.full(len(row), np.nan)
        tick = unpack_array(fields["tick"]) if "tick" in fields else np.full(len(row), int(event.get("tick", 0)))
        names = [known.reasons[i] if 0 <= i < len(known.reasons) else f"reason {i}" for i in reason.tolist()]
        ends = zip(row.tolist(), tick.tolist(), names, step.tolist(), clip.tolist(), time.tolist(), strict=True)
        return [End(int(r), int(at), (n,), float(s), int(c), float(t)) for r, at, n, s, c, t in ends]
    except (KeyError, TypeError, ValueError, WireError):
        return []


def _counted(event: Mapping[str, Any]) -> tuple[int, dict[str, float]] | None:
    """Number of episodes that ended in a reset, and by each reason."""
    fields = event.get("fields") or {}
    reasons, rows = fields.get("reasons"), fields.get("rows")
    if isinstance(reasons, Mapping):
        counts = {str(k): float(v) for k, v in reasons.items() if isinstance(v, (int, float))}
        return int(rows if isinstance(rows, int) else max(1.0, sum(counts.values()))), counts
    if isinstance(reasons, (list, tuple)) and (rows in (None, 1) or len(reasons) == 1):
        number = rows if isinstance(rows, int) else 1
        return number, {str(name): float(number) for name in reasons}
    return None


def vitals(store: Store, known: Declared) -> dict[int, RowSamples]:
    """Black box of each row."""
    found = {}
    for row in spread(rows_watched(known), WATCHED) if known.vitals else ():
        got = store.boxes.rows.get(row)
        if got is not None and len(got[0]) and got[1].shape[1] == len(known.vitals):
            ticks, values = np.array(got[0][-KEPT:]), np.asarray(got[1][-KEPT:], np.float64)
            found[row] = RowSamples(ticks, values, np.zeros(len(ticks), bool))
    return found


def feet(store: Store, known: Declared) -> list[Foot]:
    """Every foot of the watched rows whose contact was received."""
    found = []
    for name in known.feet:
        places = foot_places(known, name)
        role = "contact" if "contact" in places else "contact_force"
        for row, base in row_samples(store, *places[role]).items() if role in places else ():
            touching = np.abs(base.values[:, 0]) > (0.0 if role == "contact" else STANDING)
            roles = [each for each in ("body_velocity", "reference", "origin") if each in places]
            other = {each: _samples(store, *places[each], row) for each in roles}
            sized = {r: s.values for r, s in other.items() if s is not None and len(s.ticks) == len(base.ticks)}
            speed = np.hypot(*sized["body_velocity"].T) if "body_velocity" in sized else None
            height = None
            if "reference" in sized and ("origin" in sized) == ("origin" in places):
                height = sized["reference"][:, 0] - (sized["origin"][:, 0] if "origin" in sized else 0.0)
            found.append(Foot(name, row, base.ticks, touching, speed, height))
    return found


def bad_values(found: Evidence) -> list[Bad]:
    """Values that are not finite, as reported or received: the first of every column, oldest first."""
    known = found.declared
    by_id = {column.id: address for address, column in known.columns.items()}
    named = {int(s["id"]): str(s["name"]) for s in known.systems if isinstance(s.get("id"), int)}
    listed: list[Bad] = []
    for event in found.events:
        if event.get("kind") == "nonfinite":
            fields = event.get("fields") or {}
            column, system = event.get("column"), event.get("system")
            named_by = fields.get("writers") or ([named.get(system, str(system))] if system is not None else [])
            writers = tuple(map(_system_name, named_by))
            labels = ", ".join(map(str, fields.get("labels", ())))
            address = str(by_id.get(column, column)) if column is not None else ""
            listed.append(Bad(address, labels, event.get("row"), int(event.get("tick", 0)), writers))
    watched = {
        "observation": found.observations,
        "action": found.actions,
        "velocity": found.velocities,
        "torque": found.torques,
    }
    for role, rows in watched.items():
        column = known.roles.get(role)
        firsts = [(int(s.ticks[i]), row, j) for row, s in rows.items() for i, j in _first_bad(s.values)]
        if column is not None and firsts:
            tick, row, label = min(firsts)
            listed.append(Bad(column.address, column.labels[label], row, tick))
    first: dict[str, Bad] = {}
    for one in sorted(listed, key=lambda b: b.tick):
        first.setdefault(one.address, one)
    return list(first.values())


def _system_name(text: str) -> str:
    """'step_physics', also of '`step_physics` (STEP)'."""
    return str(text).split("`")[1] if str(text).count("`") == 2 else str(text)


def _first_bad(values: np.ndarray) -> list[tuple[int, int]]:
    bad = ~np.isfinite(values)
    where = np.flatnonzero(bad.any(1))
    return [(int(where[0]), int(np.flatnonzero(bad[where[0]])[0]))] if len(where) else []
