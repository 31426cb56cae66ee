"""Evidence of diagnosis over time: a history of the samples of which a store keeps only the latest."""

from collections import deque
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from engine.debugger.model.episode_track import EpisodeTrack
from engine.debugger.model.evidence import (
    CLOSE,
    EARNINGS,
    FRAMES,
    GLANCES,
    MOST_TERMS,
    PACE,
    Evidence,
    RowSamples,
    spread,
)
from engine.debugger.model.extraction import add_ends, bad_values, ends_in, feet, learner, row_samples, vitals
from engine.debugger.model.schema import ColumnInfo, Declared, declared
from engine.debugger.model.store import Store


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
        most = max(2, min(FRAMES, EARNINGS // max(1, terms.rows))) if terms else 1
        for label in range(min(MOST_TERMS, terms.size) if terms else 0):
            frame = store.frame(terms.id, label) if terms else None
            kept = self._terms.setdefault(label, deque(maxlen=most))
            if frame is not None and frame[0] > self._since and (not kept or kept[-1][0] != frame[0]):
                kept.append((frame[0], np.asarray(frame[1])))
        if store.cursor is None and seen is not None:
            step = known.roles.get("episode_step")
            for row in spread(seen.rows, CLOSE):
                self._glance(store, seen, step, row)
            self._explored(store)
        if store.cursor is None:
            self._track.look(store)

    def _glance(self, store: Store, seen: ColumnInfo, step: ColumnInfo | None, row: int) -> None:
        value = store.value(seen.id, row)
        kept = self._seen.setdefault(row, deque(maxlen=GLANCES))
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
        for row in spread(drawn.rows, CLOSE):
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
        frames = [history[i] for i in range(max(0, len(history) - PACE), len(history))]
        if len(frames) == PACE:
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
