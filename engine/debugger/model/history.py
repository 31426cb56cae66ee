"""Evidence of diagnosis from a store: samples of rows by role, ends of episodes, contacts of feet, values that are not finite;
and a history of the samples of which the store keeps only the latest.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from engine.debugger.model import evidence
from engine.debugger.model.episode_track import EpisodeTrack
from engine.debugger.model.evidence import Bad, End, Evidence, Foot, RowSamples, foot_places, rows_watched, spread
from engine.debugger.model.schema import ColumnInfo, Declared, declared
from engine.debugger.model.store import Store
from engine.errors import WireError
from engine.protocol.framing import unpack_array


class EvidenceHistory:
    """Evidence of one store, with the samples of which the store keeps only the latest."""

    def __init__(self) -> None:
        self._forget(None)

    def _forget(self, schema: Any) -> None:
        self._schema = schema
        self.declared = declared(schema)
        self._edits: list[tuple[int, str, Any]] = []  # since a tick, a constant, and what it was given
        self._latest_event: Any = None  # the latest event that was looked at
        self._terms: dict[int, deque[tuple[int, np.ndarray]]] = {}
        self._seen: dict[int, deque[tuple[int, np.ndarray, float]]] = {}
        self._drawn: dict[int, tuple[int, np.ndarray]] = {}
        self._track = EpisodeTrack(self.declared)
        self._since = -1  # the tick up to which samples of reward terms are stale
        self._pace: tuple[float, np.ndarray] | None = None  # when watching began: seconds of a tick, of each system

    def know(self, schema: Any) -> Declared:
        """Declarations of the schema, read again only when it is another one."""
        if schema is not self._schema:
            self._forget(schema)
        return self.declared

    def _read_events(self, store: Store) -> None:
        """Constants that were edited count as they are now. An edit at an earlier tick undoes those after it."""
        fresh: list[Mapping[str, Any]] = []
        for event in reversed(store.events):
            if event is self._latest_event:
                break
            fresh.append(event)
        if not fresh:
            return
        self._latest_event, before = fresh[0], list(self._edits)
        for event in reversed(fresh):
            if event.get("kind") == "reset":
                self._track.remember(ends_in(event, self.declared))
            if event.get("kind") == "edit":
                fields, tick = event.get("fields") or {}, int(event.get("tick", 0))
                self._edits = [edit for edit in self._edits if edit[0] <= tick]
                if isinstance(fields.get("address"), str) and "new" in fields:
                    self._edits.append((tick, fields["address"], fields["new"]))
        if self._edits == before:
            return
        terms = self.declared.terms
        self.declared = declared(self._schema, {address: new for _, address, new in self._edits})
        if self.declared.terms != terms:  # samples under other settings do not count for these
            self._since = max((tick for tick, _, _ in self._edits), default=-1)
            self._terms.clear()

    def collect(self, store: Store) -> None:
        """Take the latest frames and observations; cheap, for every refresh. Nothing while an old tick is in view."""
        self.know(store.schema)
        self._read_events(store)
        known = self.declared
        terms, seen = known.roles.get("reward_terms"), known.roles.get("observation")
        most = max(2, min(evidence.FRAMES, evidence.EARNINGS // max(1, terms.rows))) if terms else 1
        for label in range(min(evidence.MOST_TERMS, terms.size) if terms else 0):
            frame = store.frame(terms.id, label) if terms else None
            kept = self._terms.setdefault(label, deque(maxlen=most))
            if frame is not None and frame[0] > self._since and (not kept or kept[-1][0] != frame[0]):
                kept.append((frame[0], np.asarray(frame[1])))
        if store.cursor is not None:
            return
        self._track.look(store)
        if seen is not None:
            for row in spread(seen.rows, evidence.CLOSE):
                self._glance(store, seen, known.roles.get("episode_step"), row)
            self._explored(store)

    def _glance(self, store: Store, seen: ColumnInfo, step: ColumnInfo | None, row: int) -> None:
        value = store.value(seen.id, row)
        kept = self._seen.setdefault(row, deque(maxlen=evidence.GLANCES))
        if value is None or (kept and kept[-1][0] == value[0]):
            return
        at = store.value(step.id, row) if step is not None else None
        age = float(at[1].reshape(())) if at is not None and at[0] == value[0] else np.nan
        kept.append((value[0], np.asarray(value[1], np.float64).ravel(), age))

    def _explored(self, store: Store) -> None:
        known = self.declared
        drawn, mean = known.roles.get("action_drawn"), known.roles.get("action_mean")
        if drawn is None or mean is None or drawn.size != mean.size or not known.joints:
            return
        for row in spread(drawn.rows, evidence.CLOSE):
            a, b = store.value(drawn.id, row), store.value(mean.id, row)
            if a is not None and b is not None and a[0] == b[0] and self._drawn.get(row, (None,))[0] != a[0]:
                difference = np.asarray(a[1], np.float64) - np.asarray(b[1], np.float64)
                self._drawn[row] = (a[0], difference.reshape(-1, len(known.joints)))

    def terms(self) -> dict[int, np.ndarray]:
        """Collected samples of all rows, by label."""
        return {label: np.concatenate([v for _, v in kept]) for label, kept in self._terms.items() if kept}

    def latest_terms(self) -> list[tuple[int, deque[tuple[int, np.ndarray]]]]:
        """Collected frames by label, to see whether there are new ones."""
        return [(label, kept) for label, kept in self._terms.items() if kept]

    def observations(self) -> dict[int, RowSamples]:
        """Collected observations by row, with a break where the episode is another one, or is not known to be the same."""
        steps = "episode_step" in self.declared.roles
        return {row: _glances(kept, steps) for row, kept in self._seen.items() if kept}

    def exploration(self) -> np.ndarray | None:
        """(samples, joints): action as drawn minus mean action."""
        return np.concatenate([d for _, d in self._drawn.values()]) if self._drawn else None

    def gather(self, store: Store) -> Evidence:
        """All evidence."""
        self.collect(store)
        known = self.declared
        found = Evidence(known, terms=self.terms(), events=list(store.events))
        found.learner = learner(store)
        add_ends(found, self._track.ends())
        found.cursors = self._track.cursors()
        found.observations, found.exploration = self.observations(), self.exploration()
        found.actions = row_samples(store, known.roles.get("action"))
        found.velocities = row_samples(store, known.roles.get("velocity"))
        found.torques = row_samples(store, known.roles.get("torque"))
        found.vitals, found.feet = vitals(store, known), feet(store, known)
        self._add_timing(store.timing or {}, found)
        found.bad = bad_values(found)
        return found

    def _add_timing(self, timing: Mapping[str, Any], found: Evidence) -> None:
        """Medians of the latest frames, and of as many when watching began."""
        if "seconds" not in timing or len(timing["seconds"]) != len(self.declared.systems):
            return
        found.seconds = np.asarray(timing["seconds"], np.float64)
        history = timing.get("history", ())
        frames = [history[i] for i in range(max(0, len(history) - evidence.PACE), len(history))]
        if len(frames) == evidence.PACE:
            pace = float(np.median([t for *_, t in frames])), np.median([s for _, s, _ in frames], 0)
            self._pace = self._pace or pace
            found.pace, found.first_pace = pace, self._pace


_HISTORIES: "WeakKeyDictionary[Any, EvidenceHistory]" = WeakKeyDictionary()


def history_of(store: Any) -> EvidenceHistory:
    """The history of a store, shared by all panels."""
    return _HISTORIES.setdefault(store, EvidenceHistory())


def _glances(kept: "deque[tuple[int, np.ndarray, float]]", steps: bool) -> RowSamples:
    """Samples of a row. The step of one may be of another frame that came meanwhile: it is next to no other then."""
    ticks, values, ages = (np.array(each) for each in zip(*kept, strict=True))
    other = np.diff(ages) != np.diff(ticks)  # also where an age is NaN
    return RowSamples(ticks, values, np.r_[False, other if steps else np.zeros_like(other)])


# -- what a store holds now -----------------------------------------------------------------------------


def learner(store: Store) -> dict[str, np.ndarray]:
    """Reports of the learner, by name: one number per iteration, NaN where there is none; 'iteration' counts."""
    latest = list(store.learner)[-evidence.ITERATIONS :]
    names = sorted({name for _, values in latest for name in values})
    found = {n: np.array([values.get(n, np.nan) for _, values in latest], np.float64) for n in names}
    return {"iteration": np.array([i for i, _ in latest], np.float64), **found} if latest else {}


def row_samples(store: Store, column: ColumnInfo | None, labels: Iterable[int] | None = None) -> dict[int, RowSamples]:
    """Samples of a column, tick by tick, of the rows that may be watched."""
    if column is None:
        return {}
    places = list(range(column.size) if labels is None else labels)
    found = {row: _samples(store, column, places, row) for row in spread(column.rows, evidence.WATCHED)}
    return {row: samples for row, samples in found.items() if samples is not None}


def _samples(store: Store, column: ColumnInfo, labels: Sequence[int], row: int) -> RowSamples | None:
    if not labels or not len(store.trace(column.id, labels[0], row)[0]):
        return None
    parts = [store.trace(column.id, label, row) for label in labels]
    length = min(evidence.KEPT, *(len(ticks) for ticks, _, _ in parts))
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
        if len(ends) >= evidence.ENDS:
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
    for row in spread(rows_watched(known), evidence.WATCHED) if known.vitals else ():
        got = store.boxes.rows.get(row)
        if got is not None and len(got[0]) and got[1].shape[1] == len(known.vitals):
            ticks, values = np.array(got[0][-evidence.KEPT :]), np.asarray(got[1][-evidence.KEPT :], np.float64)
            found[row] = RowSamples(ticks, values, np.zeros(len(ticks), bool))
    return found


def feet(store: Store, known: Declared) -> list[Foot]:
    """Every foot of the watched rows whose contact was received."""
    found = []
    for name in known.feet:
        places = foot_places(known, name)
        role = "contact" if "contact" in places else "contact_force"
        for row, base in row_samples(store, *places[role]).items() if role in places else ():
            touching = np.abs(base.values[:, 0]) > (0.0 if role == "contact" else evidence.STANDING)
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
            names = map(str, named_by)  # 'step_physics' or '`step_physics` (STEP)'
            writers = tuple(name.split("`")[1] if name.count("`") == 2 else name for name in names)
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
        firsts = [
            (int(s.ticks[i]), row, j)
            for row, s in rows.items()
            for i, j in np.argwhere(~np.isfinite(s.values))[:1].tolist()
        ]
        if column is not None and firsts:
            tick, row, label = min(firsts)
            listed.append(Bad(column.address, column.labels[label], row, tick))
    first: dict[str, Bad] = {}
    for one in sorted(listed, key=lambda b: b.tick):
        first.setdefault(one.address, one)
    return list(first.values())
