"""Columns by what they mean: as the scene names them, else by the names that tasks usually give."""

from collections.abc import Mapping
from typing import Any

from engine.debugger.model.column_info import ColumnInfo
from engine.debugger.model.store import Store

USUAL = {
    "reward_total": "Reward.total",
    "torque": "DofTorque.value",
    "action": "Action.value",
    "dof_position": "DofState.position",
    "value": "Rollout.value",
    "episode_step": "Episode.step",
    "clip": "MotionCursor.clip",
    "clip_time": "MotionCursor.time",
    "done": "Done.ended",
    "terminated": "Done.terminated",
    "command": "Command.velocity",
}


def find_role(store: Store, role: str, table: str | None = None) -> ColumnInfo | None:
    """The column that plays a role, within one table if it is named; None where there is none."""
    found = store.role(role)
    if found is not None and table in (None, found.table):
        return found
    ending = "." + USUAL.get(role, " ")
    columns = (c for c in store.columns.values() if c.address.endswith(ending) and table in (None, c.table))
    return next(columns, None)


def number(store: Store, column: ColumnInfo | None, row: int) -> float | None:
    """The value of a column with one number per row, of one row; None where it has not come."""
    if column is None or column.size != 1:
        return None
    held = store.value(column.id, row)
    return None if held is None or held[1].size != 1 else float(held[1].reshape(()))


def clip_name(schema: Mapping[str, Any] | None, index: float | None) -> str:
    """A clip by its number, as the run's identity names it; '' where there are no clips."""
    if index is None or index != index:
        return ""
    identity = ((schema or {}).get("run") or {}).get("identity") or {}
    clips = identity.get("clips") if isinstance(identity, Mapping) else None
    if isinstance(clips, (list, tuple)) and 0 <= int(index) < len(clips):
        return str(clips[int(index)])
    return str(int(index))


def short(label: str) -> str:
    """A label without the '_joint' or '_link' that robot files put behind every name: 'left_knee', 'left_foot.x'."""
    head, dot, tail = label.partition(".")
    return head.removesuffix("_link").removesuffix("_joint") + dot + tail


def title_of(column: ColumnInfo, label: int | None) -> str:
    """'DofState.position · left_knee rad'."""
    name = f"{column.component}.{column.name}"
    if label is None:
        name += " · norm" if column.size > 1 else ""
    elif column.labels[label]:
        name += f" · {short(column.labels[label])}"
    return f"{name} {column.unit}".rstrip() if column.unit not in ("", "1") else name
