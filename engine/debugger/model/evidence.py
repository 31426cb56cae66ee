"""Evidence of the rules of diagnosis: received data by role, and the subscriptions that bring them.

A few rows, spread over the table, are watched; reward terms are seen for all rows once in a while.
"""

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from engine.debugger.model.schema import ColumnInfo, Declared
from engine.debugger.model.subscription import Subscription

ENDS = 2048  # of episodes, the latest
WATCHED = 32  # rows, for a few numbers each tick
CLOSE = 8  # rows, for all channels of an observation
FEW = 4  # rows, for all joints each tick
KEPT = 1500  # ticks of a row
GLANCES = 200  # samples of a row's observation
FRAMES = 24  # frames of all rows that are kept of a reward term, or as many as make
EARNINGS = 20_000  # samples
MOST_TERMS = 24
ITERATIONS = 400
PACE = 20  # frames of timing whose median is the time of a tick
STANDING = 10.0  # N on a foot, where contact is not a column


@attrs.frozen(eq=False)
class RowSamples:
    """Ticks (T,), values (T, labels), and breaks (T,), true where a sample does not follow the one before it: the episode
    ended, or frames were lost.
    """

    ticks: np.ndarray
    values: np.ndarray
    breaks: np.ndarray

    def steps(self) -> np.ndarray:
        """(T − 1,) true where a sample comes later in the same episode than the one before it."""
        return np.asarray((np.diff(self.ticks) > 0) & ~self.breaks[1:])


@attrs.frozen
class End:
    """The end of one episode."""

    row: int
    tick: int
    reasons: tuple[str, ...]
    step: float = np.nan  # control steps that it lasted; NaN where unknown
    clip: int = -1  # -1: unknown
    time: float = np.nan  # s in the clip


@attrs.frozen(eq=False)
class Foot:
    """One foot of one row, tick by tick. What is not received is None."""

    name: str
    row: int
    ticks: np.ndarray
    touching: np.ndarray  # bool
    speed: np.ndarray | None = None  # m/s, over the ground
    reference_height: np.ndarray | None = None  # m, from the row's own origin


@attrs.frozen
class Bad:
    """A value that is not finite."""

    address: str
    label: str
    row: int | None
    tick: int
    writers: tuple[str, ...] = ()


@attrs.define(eq=False)
class Evidence:
    """Data that rules look at; empty where nothing was received."""

    declared: Declared
    ends: list[End] = attrs.field(factory=list)  # newest last
    end_counts: list[tuple[int, dict[str, float]]] = attrs.field(factory=list)  # (ended, by reason), oldest first
    learner: dict[str, np.ndarray] = attrs.field(factory=dict)  # one number per iteration; NaN where not reported
    terms: dict[int, np.ndarray] = attrs.field(factory=dict)  # by label: samples over rows and time
    observations: dict[int, RowSamples] = attrs.field(factory=dict)  # by row
    actions: dict[int, RowSamples] = attrs.field(factory=dict)
    velocities: dict[int, RowSamples] = attrs.field(factory=dict)
    torques: dict[int, RowSamples] = attrs.field(factory=dict)
    cursors: dict[int, RowSamples] = attrs.field(factory=dict)  # labels: step, clip, time; NaN where unknown
    vitals: dict[int, RowSamples] = attrs.field(factory=dict)
    exploration: np.ndarray | None = None  # (samples, joints): action as drawn − mean
    feet: list[Foot] = attrs.field(factory=list)
    events: list[dict[str, Any]] = attrs.field(factory=list)
    seconds: np.ndarray | None = None  # per system and tick
    pace: tuple[float, np.ndarray] | None = None  # seconds of a tick, and of each system in it, lately
    first_pace: tuple[float, np.ndarray] | None = None  # when watching began
    bad: list[Bad] = attrs.field(factory=list)  # first of each column, oldest first


def spread(rows: int, count: int) -> tuple[int, ...]:
    """At most `count` of `rows`, evenly spread."""
    count = min(rows, count)
    return tuple(i * rows // count for i in range(count))


def rows_watched(known: Declared) -> int:
    """Rows of the table that episodes run in."""
    return next((known.roles[r].rows for r in ("ended", "reward_terms", "action") if r in known.roles), 0)


def foot_places(known: Declared, name: str) -> dict[str, tuple[ColumnInfo, list[int]]]:
    """Columns and labels of one foot, by role."""
    wanted = {
        "contact": [name],
        "contact_force": [f"{name}.z"],
        "body_velocity": [f"{name}.x", f"{name}.y"],
        "reference": [f"{name}.z"],
        "origin": ["z"],
    }
    found = {}
    for role, labels in wanted.items():
        column = known.roles.get(role)
        if column is not None and all(label in column.labels for label in labels):
            found[role] = (column, [column.labels.index(label) for label in labels])
    if "contact" in found:
        found.pop("contact_force", None)
    return found


# -- subscriptions that bring it ------------------------------------------------------------------------


def cursor_subs(known: Declared) -> list[Subscription]:
    """Place in the clip of watched rows, now and then; ends of episodes come as events."""
    if "episode_step" not in known.roles:  # without it nothing is known between two looks
        return []
    wanted = [known.roles[role] for role in ("episode_step", "clip", "clip_time") if role in known.roles]
    rows = spread(wanted[0].rows, WATCHED)
    return [_sub("values", wanted, rows[i : i + CLOSE], 1.0) for i in range(0, len(rows), CLOSE)]


def vitals_subs(known: Declared) -> list[Subscription]:
    """The black box of watched rows."""
    rows = rows_watched(known)
    return [Subscription("vitals", (), spread(rows, WATCHED), 1.0)] if known.vitals and rows else []


def observation_subs(known: Declared) -> list[Subscription]:
    """All channels of a few rows, and the steps of their episodes."""
    wanted = [known.roles[role] for role in ("observation", "episode_step") if role in known.roles]
    if "observation" not in known.roles:
        return []
    return [_sub("values", wanted, spread(wanted[0].rows, CLOSE), 10.0)]


def action_subs(known: Declared) -> list[Subscription]:
    """Actions and joint velocities tick by tick, and the share of exploration, of a few rows."""
    traced = ("action", "velocity") if known.vitals else ("action", "velocity", "torque")
    drawn = [known.roles[role] for role in ("action_drawn", "action_mean") if role in known.roles]
    subs = [_sub("values", drawn, spread(drawn[0].rows, CLOSE), 0.5)] if len(drawn) == 2 else []
    columns = [known.roles[role] for role in traced if role in known.roles]
    return [*(_sub("trace", [column], spread(column.rows, FEW), 2.0) for column in columns), *subs]


def reward_subs(known: Declared) -> list[Subscription]:
    """Each term of all rows."""
    column = known.roles.get("reward_terms")
    count = min(MOST_TERMS, column.size) if column else 0
    return [Subscription("column", ((column.id, (i,)),), (), 1.0) for i in range(count)] if column else []


def foot_subs(known: Declared) -> list[Subscription]:
    """Contact, speed and the reference's height of the feet of a few rows."""
    wanted: dict[ColumnInfo, list[int]] = {}
    for name in known.feet:
        for column, labels in foot_places(known, name).values():
            known_labels = wanted.setdefault(column, [])
            known_labels.extend(label for label in labels if label not in known_labels)
    if not wanted:
        return []
    first = next(iter(wanted))
    columns = tuple((column.id, tuple(labels)) for column, labels in wanted.items())
    return [Subscription("trace", columns, spread(first.rows, FEW), 2.0)]


LEARNER_SUB, TIMING_SUB = (Subscription(kind, (), (), 1.0) for kind in ("learner", "timing"))
"""Reports of the learner, and the time of every system."""


def all_subs(known: Declared) -> list[Subscription]:
    """A little of everything, of which rules judge."""
    parts = (cursor_subs, vitals_subs, reward_subs, observation_subs, action_subs, foot_subs)
    return [*(sub for part in parts for sub in part(known)), LEARNER_SUB, TIMING_SUB]


def _sub(kind: str, columns: Sequence[ColumnInfo], rows: tuple[int, ...], hz: float) -> Subscription:
    return Subscription(kind, tuple((column.id, None) for column in columns), rows, hz)
