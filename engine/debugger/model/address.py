"""Addresses of columns as a person types them: `DofTorque.value[left_ankle]`, `RootState.position`; and numbers of rows."""

from collections.abc import Sequence

import attrs

from engine.debugger.model.schema import ColumnInfo
from engine.errors import SceneError, did_you_mean, listing


@attrs.frozen
class ColumnPart:
    """A column, or some values of its rows: `labels` are flat indices, None for all."""

    column: ColumnInfo
    labels: tuple[int, ...] | None

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


def _find_labels(word: str, column: ColumnInfo) -> tuple[int, ...]:
    if word.isascii() and word.isdigit() and int(word) < len(column.labels):
        return (int(word),)
    exact = [i for i, label in enumerate(column.labels) if label == word]
    part = exact or [i for i, label in enumerate(column.labels) if label.split(".")[0].split("[")[0] == word]
    part = part or [i for i, label in enumerate(column.labels) if word and label.startswith(word)]
    if not part:
        known = listing(column.labels, 12) if column.labels != ("",) else "none: it is one number"
        near = did_you_mean(word, column.labels)
        raise SceneError(f"{column.address} has no value '{word}'.{near} Its values: {known}.")
    return tuple(part)


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
