"""Text for numbers, values of columns, shares and lists of names. Without Qt."""

import math
from collections.abc import Sequence

import numpy as np

_SHOWN = 4  # numbers of a vector that fit into one cell


def format_number(value: float, digits: int = 3) -> str:
    """A number in few characters: '0.118', '-12.5', '1.2e+06', 'NaN', '∞'."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    size = abs(value)
    if size == 0.0:
        return "0"
    if size >= 10.0 ** (digits + 2) or size < 10.0**-digits:
        return f"{value:.{max(1, digits - 2)}e}"
    return f"{value:.{min(digits, max(0, digits - 1 - math.floor(math.log10(size))))}f}"


def format_share(share: float) -> str:
    """A share in words, as a whole percentage where that says enough."""
    return f"{100 * share:.1f} %" if 0 < share < 0.0095 else f"{100 * share:.0f} %"


def format_figure(value: float) -> str:
    """A number with three significant digits and a true minus sign."""
    return f"{value:.3g}".replace("-", "−")


def join_names(names: Sequence[str], most: int = 3) -> str:
    """Some names, and how many more there are."""
    shown = list(names[:most])
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def format_value(value: float, dtype: str) -> str:
    """One value: 'yes', '171', '0.118'."""
    if dtype == "bool":
        return "yes" if value else "no"
    if dtype.startswith(("int", "uint")):
        return str(int(value))
    return format_number(float(value))


def counted(number: int, noun: str) -> str:
    """'1 row', '32 rows'."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def format_values(values: np.ndarray, dtype: str, labels: tuple[str, ...]) -> str:
    """A row of a column, or a part of one with its labels, in about twenty characters.

    What is not finite comes first; of flags, the names of those that are set.
    """
    flat = values.reshape(-1)
    if not len(flat):
        return "—"
    if len(flat) == 1:
        return format_value(flat[0], dtype)
    bad = first_bad(flat)
    if bad is not None:
        return f"{format_value(flat[bad], dtype)} {labels[bad]}"
    if dtype == "bool":
        return ", ".join(label for label, value in zip(labels, flat, strict=True) if value) or "—"
    if len(flat) <= _SHOWN:
        return " ".join(f"{value:.2f}" if abs(value) < 100 else format_number(float(value)) for value in flat)
    return f"{'×'.join(str(size) for size in values.shape)} values"


def first_bad(flat: np.ndarray) -> int | None:
    """The first place that is not finite."""
    bad = np.flatnonzero(~np.isfinite(flat))
    return int(bad[0]) if len(bad) else None


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
