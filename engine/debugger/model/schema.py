"""Schema of a run, parsed: its columns, and what it declares of roles, reward terms, endings and constants; and addresses of
columns and numbers of rows as a person types them.
"""

import ast
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, product
from typing import Any

import attrs
import numpy as np

from engine.errors import SceneError, did_you_mean, listing
from engine.protocol.framing import unpack_array
from engine.protocol.roles import USUAL_COLUMNS

_ROTATION_NAMES = ("rotation", "orientation", "quaternion")


@attrs.frozen(eq=False, slots=False)
class ColumnInfo:
    """One column as the schema describes it. `shape` is that of one row.

    `axes` holds the labels along each axis of a row. `limits` is (values, 2), lower and upper, or None.
    """

    id: int
    address: str
    table: str
    component: str
    name: str
    shape: tuple[int, ...]
    axes: tuple[tuple[str, ...], ...]
    dtype: str
    unit: str
    doc: str
    lifetime: str
    rows: int
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    limits: np.ndarray | None

    @property
    def size(self) -> int:
        """Values in one row."""
        return math.prod(self.shape)

    @property
    def type(self) -> str:
        """'29 rad', '14×3 m', 'bool'."""
        sizes = "×".join(str(size) for size in self.shape)
        unit = self.unit or ("" if self.is_float else self.dtype)
        return f"{sizes} {unit}".strip() or "1"

    @property
    def is_float(self) -> bool:
        """Whether values may have fractions, and may be not finite."""
        return "float" in self.dtype

    @property
    def is_quaternion(self) -> bool:
        """Whether the last axis holds w, x, y, z."""
        return bool(self.shape) and self.shape[-1] == 4 and any(part in self.name for part in _ROTATION_NAMES)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """One text per value of a row, in flat order: 'left_knee', 'left_foot.x', '3'; '' for a scalar."""
        return tuple(".".join(parts) for parts in product(*self.axes))


def read_columns(schema: Mapping[str, Any]) -> Iterator[ColumnInfo]:
    """Every column of a schema; WireError, KeyError, TypeError or ValueError where it is not a valid one."""
    touched: dict[str, dict[str, list[str]]] = {"reads": {}, "writes": {}}
    for system in schema.get("systems", ()):
        for how, found in touched.items():
            for owner in system.get(how, ()):
                found.setdefault(owner, []).append(system["name"])
    for table in schema.get("tables", ()):
        for component in table.get("components", ()):
            owner = f"{table['name']}.{component['name']}"
            for column in component["columns"]:
                shape = tuple(int(size) for size in column["shape"])
                limits = None if column["limits"] is None else unpack_array(column["limits"]).astype(np.float64)
                yield ColumnInfo(
                    id=int(column["id"]),
                    address=f"{owner}.{column['name']}",
                    table=table["name"],
                    component=component["name"],
                    name=column["name"],
                    shape=shape,
                    axes=_axes(column, shape),
                    dtype=column["dtype"],
                    unit=column["unit"],
                    doc=column["doc"],
                    lifetime=component["lifetime"],
                    rows=int(table["rows"]),
                    writers=tuple(dict.fromkeys(touched["writes"].get(owner, ()))),
                    readers=tuple(dict.fromkeys(touched["reads"].get(owner, ()))),
                    limits=None if limits is None else np.broadcast_to(limits.reshape(-1, 2), (math.prod(shape), 2)),
                )


def _axes(column: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[tuple[str, ...], ...]:
    axes = tuple(tuple(map(str, labels)) for labels in column["labels"])
    if tuple(map(len, axes)) != shape:
        raise ValueError(f"Column {column['name']} has labels for another shape than {shape}.")
    return axes


# -- what rules and panels ask -------------------------------------------------------------------------


@attrs.frozen
class RewardTerm:
    """A reward term: a row's value is `scale` × the term; a kernel's is `scale` × exp(−e² / `sigma`²), at most `scale`."""

    name: str
    scale: float | None  # weight × dt; None: not declared
    sigma: float | None = None  # in the unit of the error; None: no kernel
    setting: str = "std"  # what to turn: std, which is σ, or width, which is σ²
    unclear: bool = False  # a sum of kernels, whose error does not follow from its value

    @property
    def word(self) -> str:
        """The setting with its value."""
        sigma = self.sigma or 0.0
        return f"σ = {sigma:.3g}" if self.setting == "std" else f"{self.setting} (σ²) = {sigma**2:.3g}"


@attrs.frozen
class Declared:
    """What a schema declares of the task; None or empty where it declares nothing."""

    columns: Mapping[str, ColumnInfo]  # by address
    roles: Mapping[str, ColumnInfo]
    terms: tuple[RewardTerm, ...]
    reasons: tuple[str, ...]
    time_limits: frozenset[str]  # reasons that are no failure
    vitals: tuple[str, ...]
    clips: tuple[str, ...]  # names, by their number
    feet: tuple[str, ...]
    joints: tuple[str, ...]
    dt: float | None  # s of a tick
    constants: Mapping[str, Any]
    systems: tuple[Mapping[str, Any], ...]

    def constant(self, *endings: str) -> Any:
        """The value of the first constant whose address ends like one of `endings`; None without one."""
        pairs = ((value, address, ending) for ending in endings for address, value in self.constants.items())
        return next((value for value, address, ending in pairs if address.endswith("." + ending)), None)

    def number(self, *endings: str) -> float | None:
        """`constant`, where it is a finite number."""
        value = self.constant(*endings)
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        return float(value) if good else None


def declared(schema: Mapping[str, Any] | None, edits: Mapping[str, Any] | None = None) -> Declared:
    """What a schema declares, all of it empty for None.

    edits: by address, the values that constants were given since the schema was made.
    """
    schema = schema or {}
    columns = {column.address: column for column in read_columns(schema)}
    found = {role: find_role(schema, columns, role) for role in USUAL_COLUMNS}
    roles = {role: columns[address] for role, address in found.items() if address is not None}
    constants = {c["address"]: c.get("value") for c in schema.get("constants", ())}
    constants |= {address: _literal(new) for address, new in (edits or {}).items() if address in constants}
    systems = tuple(schema.get("systems", ()))
    tables = schema.get("tables", ())
    table = next((roles[r].table for r in ("reward_terms", "ended", "action") if r in roles), None)
    table = table or next((t["name"] for t in tables), "")
    axes = {axis["name"]: tuple(axis["labels"]) for t in tables if t["name"] == table for axis in t.get("axes", ())}
    reasons = tuple(schema.get("endings", {}).get(table, {}).get("reasons", ())) or axes.get("termination", ())
    dt = _seconds(schema.get("dt"), constants)
    identity = (schema.get("run") or {}).get("identity")
    clips = identity.get("clips") if isinstance(identity, Mapping) else None
    return Declared(
        columns=columns,
        roles=roles,
        terms=tuple(
            _term(name, systems, constants, dt)
            for name in (roles["reward_terms"].labels if "reward_terms" in roles else ())
        ),
        reasons=reasons,
        time_limits=frozenset(r for r in reasons if _setting(systems, constants, r, "kind") == "time_limit"),
        vitals=tuple(schema.get("vitals", {}).get(table, ())),
        clips=tuple(map(str, clips)) if isinstance(clips, (list, tuple)) else (),
        feet=axes.get("foot", ()),
        joints=axes.get("dof", ()),
        dt=dt,
        constants=constants,
        systems=systems,
    )


def find_role(
    schema: Mapping[str, Any] | None, addresses: Iterable[str], role: str, table: str | None = None
) -> str | None:
    """The address, among `addresses`, of the column that plays a role, within one table if it is named; None without one."""
    known = [address for address in addresses if table is None or address.startswith(f"{table}.")]
    roles = (schema or {}).get("roles")
    named = roles.get(role) if isinstance(roles, Mapping) else None
    if named in known:
        return str(named)
    return next((address for address in known if address.endswith(f".{USUAL_COLUMNS[role]}")), None)


def _seconds(dt: Any, constants: Mapping[str, Any]) -> float | None:
    """Seconds of a tick: `dt` of the schema, else the rewards' constant `dt`, else that of all systems if they agree."""
    rates = [[value for address, value in constants.items() if address.endswith(end)] for end in (".reward.dt", ".dt")]
    for found in ([dt], *rates):
        values = {float(rate) for rate in found if isinstance(rate, (int, float)) and rate > 0.0}
        if values:
            return values.pop() if len(values) == 1 else None
    return None


def _literal(value: Any) -> Any:
    """Value of an edit's text, '0.01' or '(256, 128)'; what is not a number, list or word of Python stays text."""
    try:
        return ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def _setting(systems: Sequence[Mapping[str, Any]], constants: Mapping[str, Any], term: str, key: str) -> Any:
    """A setting of a term: as the constants are now, else as it was registered."""
    now = (value for address, value in constants.items() if address.endswith(f".{term}.{key}"))
    terms = (each for system in systems for each in system.get("terms", ()) if each["name"] == term)
    return next(chain(now, (each["settings"][key] for each in terms if key in each["settings"])), None)


def _term(
    name: str, systems: Sequence[Mapping[str, Any]], constants: Mapping[str, Any], dt: float | None
) -> RewardTerm:
    keys = ("weight", "std", "width", "widths", "shares")
    weight, std, width, widths, shares = (_setting(systems, constants, name, key) for key in keys)
    weight = 1.0 if weight is None else weight
    if dt is None or not isinstance(weight, (int, float)):
        return RewardTerm(name, None)
    if isinstance(std, (int, float)) and std > 0:
        return RewardTerm(name, weight * dt, float(std))
    if isinstance(width, (int, float)) and width > 0:
        return RewardTerm(name, weight * dt, math.sqrt(width), "width")
    if isinstance(widths, (list, tuple)) and widths:
        shares = shares or [1.0] * len(widths)
        return RewardTerm(name, weight * dt * sum(shares), math.sqrt(max(widths)), "widths", unclear=True)
    return RewardTerm(name, weight * dt)


# -- words ---------------------------------------------------------------------------------------------


def groups(labels: Sequence[str]) -> dict[str, list[int]]:
    """Labels that belong to one term, 'command[0]', 'command[1]', …, by its name."""
    found: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        found.setdefault(re.sub(r"\[\d+\]$", "", label) or label, []).append(place)
    return found


def short(label: str) -> str:
    """A label without the '_joint' or '_link' that robot files put after every name: 'left_knee', 'left_foot.x'."""
    return re.sub(r"_(joint|link)(?=\.|$)", "", label)


def title_of(column: ColumnInfo, label: int | None) -> str:
    """'DofState.position · left_knee rad'."""
    name = f"{column.component}.{column.name}"
    if label is None:
        name += " · norm" if column.size > 1 else ""
    elif column.labels[label]:
        name += f" · {short(column.labels[label])}"
    return f"{name} {column.unit}".rstrip() if column.unit not in ("", "1") else name


def clip_name(clips: Sequence[str], index: float | None) -> str:
    """A clip by its number, as the run's identity names it, else the number; '' where it is not known."""
    if index is None or index != index:
        return ""
    return clips[int(index)] if 0 <= int(index) < len(clips) else str(int(index))


# -- addresses as a person types them: `DofTorque.value[left_ankle]`, `RootState.position` --------------


@attrs.frozen
class ColumnPart:
    """A column, or some values of its rows: `labels` are flat indices, None for all."""

    column: ColumnInfo
    labels: list[int] | None

    @property
    def names(self) -> list[str]:
        """A label for each of the values."""
        every = range(len(self.column.labels)) if self.labels is None else self.labels
        return [self.column.labels[index] for index in every]


def find_part(text: str, columns: Sequence[ColumnInfo]) -> ColumnPart:
    """The column, or part of one, at a whole address or the end of one, with a label, a part of labels or a number in brackets.
    SceneError with near misses where there is none, or several."""
    name, bracket, inside = text.partition("[")
    found = [column for column in columns if column.address == name]
    found = found or [column for column in columns if column.address.endswith(f".{name}")]
    if len(found) != 1:
        raise SceneError(_no_column(name, found, columns))
    if not bracket:
        return ColumnPart(found[0], None)
    return ColumnPart(found[0], _find_labels(inside.removesuffix("]"), found[0]))


def _no_column(name: str, found: Sequence[ColumnInfo], columns: Sequence[ColumnInfo]) -> str:
    if found:
        return f"'{name}' may be {' or '.join(column.address for column in found)}; say more of it."
    near = did_you_mean(name, [c.address for c in columns])
    near = near or did_you_mean(name, [c.address.split(".", 1)[1] for c in columns])
    return f"The run has no column '{name}'.{near} `list` shows all {len(columns)}."


def _find_labels(word: str, column: ColumnInfo) -> list[int]:
    if word.isascii() and word.isdigit() and int(word) < len(column.labels):
        return [int(word)]
    exact = [i for i, label in enumerate(column.labels) if label == word]
    part = exact or [i for i, label in enumerate(column.labels) if label.split(".")[0].split("[")[0] == word]
    part = part or [i for i, label in enumerate(column.labels) if word and label.startswith(word)]
    if not part:
        known = listing(column.labels, 12) if column.labels != ("",) else "none: it is one number"
        near = did_you_mean(word, column.labels)
        raise SceneError(f"{column.address} has no value '{word}'.{near} Its values: {known}.")
    return part


def parse_rows(text: str, rows: int, most: int) -> list[int]:
    """Row numbers of '5', '0,7,9', '0-7' or 'all'; SceneError for rows that a table of so many does not have."""
    found: list[int] = []
    for part in text.split(",") if text != "all" else [f"0-{rows - 1}"]:
        first, dash, last = part.partition("-")
        if not (first.isascii() and first.isdigit()) or (dash and not (last.isascii() and last.isdigit())):
            raise SceneError(f"'{text}' names no rows; say a number, 0,7,9 or 0-7.")
        low, high = int(first), int(last or first)
        if high >= rows:
            raise SceneError(f"There is no row {high}; the table has {rows}, counted from 0.")
        found += range(low, high + 1)
    if not 0 < len(found) <= most:
        allowed = f"1 to {most}" if most > 1 else "one"
        raise SceneError(f"'{text}' names {len(found)} rows; {allowed} can be asked for at once.")
    return found
