"""Values in words: what World, edit dialogs and the log say about numbers."""

import math

import numpy as np

from engine.debugger.model.schema import ColumnInfo
from engine.debugger.widgets import theme

_SHOWN = 4  # numbers of a vector that fit into one cell


def say_number(value: float, dtype: str) -> str:
    """One value: 'yes', '171', '0.118'."""
    if dtype == "bool":
        return "yes" if value else "no"
    if dtype.startswith(("int", "uint")):
        return str(int(value))
    return theme.number(float(value))


def counted(number: int, noun: str) -> str:
    """'1 row', '32 rows'."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def say_values(values: np.ndarray, info: ColumnInfo, labels: tuple[str, ...]) -> str:
    """A row of a column, or a part of one with its labels, in about twenty characters.

    What is not finite is said first; of flags, the names of those that are set.
    """
    flat = values.reshape(-1)
    if not len(flat):
        return "—"
    if len(flat) == 1:
        return say_number(flat[0], info.dtype)
    bad = first_bad(flat)
    if bad is not None:
        return f"{say_number(flat[bad], info.dtype)} {labels[bad]}"
    if info.dtype == "bool":
        return ", ".join(label for label, value in zip(labels, flat, strict=True) if value) or "—"
    if len(flat) <= _SHOWN:
        return " ".join(f"{value:.2f}" if abs(value) < 100 else theme.number(float(value)) for value in flat)
    return f"{'×'.join(str(size) for size in values.shape)} values"


def say_type(info: ColumnInfo) -> str:
    """'3 m', '29 rad', '14×3 m', 'bool', '1'."""
    shape = "×".join(str(size) for size in info.shape)
    unit = info.unit if info.is_float else info.unit or info.dtype
    return f"{shape} {unit}".strip() or "1"


def first_bad(flat: np.ndarray) -> int | None:
    """The first place that is not finite."""
    if flat.dtype.kind != "f" or np.isfinite(flat).all():
        return None
    return int(np.flatnonzero(~np.isfinite(flat))[0])


def roll_pitch_yaw(quaternion: np.ndarray) -> tuple[float, float, float]:
    """Degrees of a turn about x, then y, then z (fixed axes) from w, x, y, z of any length but 0."""
    norm = float(np.linalg.norm(quaternion))
    if not math.isfinite(norm) or norm == 0.0:
        return math.nan, math.nan, math.nan
    w, x, y, z = (float(part) / norm for part in quaternion)
    roll = math.atan2(2.0 * (w * x + y * z), 1.0 - 2.0 * (x * x + y * y))
    pitch = math.asin(max(-1.0, min(1.0, 2.0 * (w * y - z * x))))
    yaw = math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
    return math.degrees(roll), math.degrees(pitch), math.degrees(yaw)
