"""What a schema says about rewards, endings, limits and clips, as the panels and rules of diagnosis need it.

A scene names its columns by role; a column with the usual name plays the role where none is named.
"""

import ast
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from engine.errors import WireError
from engine.protocol.framing import unpack_array

GROUPS = ("rewards", "observations", "actions", "terminations")
USUAL = {
    "reward_terms": "Reward.terms",
    "reward_total": "Reward.total",
    "observation": "Observation.actor",
    "action": "Action.value",
    "action_drawn": "Rollout.action",
    "action_mean": "Rollout.mean",
    "torque": "DofTorque.value",
    "velocity": "DofState.velocity",
    "ended": "Done.ended",
    "reason": "Done.reason",
    "episode_step": "Episode.step",
    "clip": "MotionCursor.clip",
    "clip_time": "MotionCursor.time",
    "advantage": "Rollout.advantage",
    "contact": "Contact.touching",
    "contact_force": "ContactForce.force",
    "body_velocity": "BodyState.linear_velocity",
    "reference": "MotionReference.body_position",
}


@attrs.frozen
class Column:
    """A column as the schema declares it; `labels` has one text per value of a row."""

    id: int
    address: str
    table: str
    rows: int
    labels: tuple[str, ...]
    unit: str = ""
    limits: np.ndarray | None = attrs.field(default=None, eq=False)  # (values, 2), lower and upper

    @property
    def width(self) -> int:
        """Values in a row."""
        return len(self.labels)


@attrs.frozen
class RewardTerm:
    """A reward term: a row's value is `scale` × the term; a kernel's is `scale` × exp(−e² / `sigma`²), at most `scale`."""

    name: str
    scale: float | None  # weight × dt; None: not declared
    sigma: float | None = None  # in the unit of the error; None: no kernel
    setting: str = "std"  # what to turn: std, which is σ, or width, which is σ²
    unclear: bool = False  # a sum of kernels, whose error cannot be told from its value

    @property
    def word(self) -> str:
        """The setting with its value."""
        sigma = self.sigma or 0.0
        return f"σ = {sigma:.3g}" if self.setting == "std" else f"{self.setting} (σ²) = {sigma**2:.3g}"


@attrs.frozen
class Declared:
    """What the rules want to know of a schema; None or empty where it does not say."""

    columns: Mapping[str, Column]
    roles: Mapping[str, Column]
    terms: tuple[RewardTerm, ...]
    reasons: tuple[str, ...]
    time_limits: frozenset[str]  # reasons that are no failure
    vitals: tuple[str, ...]
    clips: tuple[str, ...]
    feet: tuple[str, ...]
    joints: tuple[str, ...]
    dt: float | None  # s of a tick
    constants: Mapping[str, Any]
    systems: tuple[Mapping[str, Any], ...]

    def constant(self, *endings: str) -> Any:
        """The value of the first constant whose address ends like one of `endings`; None without one."""
        for ending in endings:
            for address, value in self.constants.items():
                if address.endswith("." + ending):
                    return value
        return None

    def number(self, *endings: str) -> float | None:
        """`constant`, where it is a finite number."""
        value = self.constant(*endings)
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        return float(value) if good else None


def declared(schema: Mapping[str, Any] | None, edits: Mapping[str, Any] | None = None) -> Declared:
    """Read a schema; whatever is missing or has an unexpected form counts as not said.

    edits: by address, what constants were given since the schema was made.
    """
    schema = schema or {}
    columns = {column.address: column for column in _columns(schema)}
    roles = _roles(schema, columns)
    constants = {c["address"]: c.get("value") for c in schema.get("constants", ()) if "address" in c}
    constants |= {address: written(new) for address, new in (edits or {}).items() if address in constants}
    systems = tuple(schema.get("systems", ()))
    table = next((roles[r].table for r in ("reward_terms", "ended", "action") if r in roles), None)
    table = table or next((t["name"] for t in schema.get("tables", ())), "")
    axes = {
        axis["name"]: tuple(axis["labels"])
        for t in schema.get("tables", ())
        if t["name"] == table
        for axis in t.get("axes", ())
    }
    reasons = tuple(schema.get("endings", {}).get(table, {}).get("reasons", ())) or axes.get("termination", ())
    names = roles["reward_terms"].labels if "reward_terms" in roles else ()
    rate = schema.get("dt") or next((v for a, v in constants.items() if a.endswith(".reward.dt")), None)
    rate = rate or next((v for a, v in constants.items() if a.endswith(".dt")), None)
    dt = float(rate) if isinstance(rate, (int, float)) and rate > 0 else None
    clips = schema.get("run", {}).get("identity", {})
    return Declared(
        columns=columns,
        roles=roles,
        terms=tuple(_term(name, systems, constants, dt) for name in names),
        reasons=reasons,
        time_limits=frozenset(r for r in reasons if _setting(systems, constants, r, "kind") == "time_limit"),
        vitals=tuple(schema.get("vitals", {}).get(table, ())),
        clips=tuple(clips.get("clips", ())) if isinstance(clips, Mapping) else (),
        feet=axes.get("foot", ()),
        joints=axes.get("dof", ()),
        dt=dt,
        constants=constants,
        systems=systems,
    )


def flat_labels(shape: Sequence[int], axes: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """One text per value of a row: 'left_knee', 'left_foot.x', '[3]', or '' for a scalar."""
    labels = [""]
    for size, names in zip(shape, axes, strict=True):
        if len(names) != size:
            names = "xyz" if size == 3 else "wxyz" if size == 4 else [f"[{i}]" for i in range(size)]
        labels = [f"{a}.{b}" if a and not b.startswith("[") else a + b for a in labels for b in names]
    return tuple(labels)


def written(value: Any) -> Any:
    """A value as an edit tells it, '0.01' or '(256, 128)'; text that is no number, list or word of Python stays text."""
    try:
        return ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def groups(labels: Sequence[str]) -> dict[str, list[int]]:
    """Labels that belong to one term, 'command[0]', 'command[1]', …, by its name."""
    found: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        found.setdefault(re.sub(r"\[\d+\]$", "", label) or label, []).append(place)
    return found


def short(name: str) -> str:
    """A joint or body name without what every name ends with."""
    return re.sub(r"_(joint|link)$", "", name)


def _columns(schema: Mapping[str, Any]) -> list[Column]:
    found = []
    for table in schema.get("tables", ()):
        axes = {axis["name"]: tuple(axis["labels"]) for axis in table.get("axes", ())}
        for component in table.get("components", ()):
            for column in component.get("columns", ()):
                names = [axes.get(axis, ()) for axis in column.get("axes", ())]
                shape = column.get("shape", ())
                names = names if len(names) == len(shape) else [()] * len(shape)
                address = f"{table['name']}.{component['name']}.{column['name']}"
                labels, unit = flat_labels(shape, names), column.get("unit", "")
                limits = _limits(column.get("limits"), len(labels))
                found.append(Column(column["id"], address, table["name"], int(table["rows"]), labels, unit, limits))
    return found


def _limits(packed: Any, size: int) -> np.ndarray | None:
    try:
        return None if packed is None else np.broadcast_to(unpack_array(packed).reshape(-1, 2), (size, 2))
    except (WireError, ValueError):
        return None


def _roles(schema: Mapping[str, Any], columns: Mapping[str, Column]) -> dict[str, Column]:
    named: dict[str, Any] = {}
    for group in GROUPS:
        hints = schema.get(group)
        named |= hints if isinstance(hints, Mapping) else {}
    named = {"ended": named.get("done"), **named}
    found = {}
    for role in {**USUAL, **named}:
        address = named.get(role)
        if address is None:
            ending = "." + USUAL.get(role, " ")
            address = next((a for a in columns if a.endswith(ending)), None)
        if isinstance(address, str) and address in columns:
            found[role] = columns[address]
    return found


def _setting(systems: Sequence[Mapping[str, Any]], constants: Mapping[str, Any], term: str, key: str) -> Any:
    """A setting of a term: as the constants say now, else as it was registered."""
    for address, value in constants.items():
        if address.endswith(f".{term}.{key}"):
            return value
    for system in systems:
        for each in system.get("terms", ()):
            if each.get("name") == term and key in each.get("settings", {}):
                return each["settings"][key]
    return None


def _term(
    name: str, systems: Sequence[Mapping[str, Any]], constants: Mapping[str, Any], dt: float | None
) -> RewardTerm:
    weight = _setting(systems, constants, name, "weight")
    weight = 1.0 if weight is None else weight
    std, width = (_setting(systems, constants, name, key) for key in ("std", "width"))
    if dt is None or not isinstance(weight, (int, float)):
        return RewardTerm(name, None)
    if isinstance(std, (int, float)) and std > 0:
        return RewardTerm(name, weight * dt, float(std))
    if isinstance(width, (int, float)) and width > 0:
        return RewardTerm(name, weight * dt, math.sqrt(width), "width")
    widths = _setting(systems, constants, name, "widths")
    if isinstance(widths, (list, tuple)) and widths:
        shares = _setting(systems, constants, name, "shares") or [1.0] * len(widths)
        return RewardTerm(name, weight * dt * sum(shares), math.sqrt(max(widths)), "widths", unclear=True)
    return RewardTerm(name, weight * dt)
