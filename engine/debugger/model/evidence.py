"""What the rules of diagnosis look at: what was received, sorted by role.

A few rows, spread over the table, are watched; reward terms are seen for all rows once in a while.
"""

from typing import Any, Protocol

import attrs
import numpy as np

from engine.debugger.diagnosis.indicators import Stretch
from engine.debugger.model.declared import Column, Declared

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
PACE = 20  # frames of timing that say how long a tick takes
STANDING = 10.0  # N on a foot, where contact is not a column


class Received(Protocol):
    """What is asked of a store."""

    schema: Any
    events: Any
    learner: Any
    timing: Any
    cursor: int | None

    def value(self, column_id: int, row: int) -> "tuple[int, np.ndarray, bool] | None":
        """Tick, value, and whether it was taken behind RECORD."""

    def trace(self, column_id: int, label: int, row: int) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
        """Ticks, values and breaks."""

    def frame(self, column_id: int, label: int | None) -> "tuple[int, np.ndarray] | None":
        """Tick and one value of every row."""

    def vitals(self, row: int) -> "tuple[np.ndarray, np.ndarray] | None":
        """Ticks and vital numbers."""


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
    reference_height: np.ndarray | None = None  # m


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
    """Everything that rules look at; empty where nothing was received."""

    declared: Declared
    ends: list[End] = attrs.field(factory=list)  # newest last
    end_counts: list[tuple[int, dict[str, float]]] = attrs.field(factory=list)  # (ended, by reason), oldest first
    learner: dict[str, np.ndarray] = attrs.field(factory=dict)  # one number per iteration; NaN where not reported
    terms: dict[int, np.ndarray] = attrs.field(factory=dict)  # by label: samples over rows and time
    observations: dict[int, Stretch] = attrs.field(factory=dict)  # by row
    actions: dict[int, Stretch] = attrs.field(factory=dict)
    velocities: dict[int, Stretch] = attrs.field(factory=dict)
    torques: dict[int, Stretch] = attrs.field(factory=dict)
    cursors: dict[int, Stretch] = attrs.field(factory=dict)  # labels: step, clip, time; NaN where unknown
    vitals: dict[int, Stretch] = attrs.field(factory=dict)
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


def foot_places(known: Declared, name: str) -> dict[str, tuple[Column, list[int]]]:
    """By what they tell: the columns and labels of one foot."""
    wanted = {
        "contact": [name],
        "contact_force": [f"{name}.z"],
        "body_velocity": [f"{name}.x", f"{name}.y"],
        "reference": [f"{name}.z"],
    }
    found = {}
    for role, labels in wanted.items():
        column = known.roles.get(role)
        if column is not None and all(label in column.labels for label in labels):
            found[role] = (column, [column.labels.index(label) for label in labels])
    if "contact" in found:
        found.pop("contact_force", None)
    return found
