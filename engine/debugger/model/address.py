"""Columns of a schema by the words that a person types: `DofTorque.value[left_ankle]`, `RootState.position`."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import attrs

from engine.errors import SceneError, did_you_mean, listing

_PARTS = {
    ("position", 3): "xyz",
    ("velocity", 3): "xyz",
    ("force", 3): "xyz",
    ("gravity", 3): "xyz",
    ("rotation", 4): "wxyz",
}


@attrs.frozen
class Column:
    """One column: its id and address, the shape of a row, a label for each value of a row, and who touches it."""

    id: int
    address: str
    rows: int
    shape: tuple[int, ...]
    labels: tuple[str, ...]
    dtype: str
    unit: str
    doc: str
    lifetime: str
    writers: tuple[str, ...]
    readers: tuple[str, ...]

    @property
    def type(self) -> str:
        """'29 rad', '14×3 m', 'bool'."""
        sizes = "×".join(str(size) for size in self.shape)
        unit = self.unit or ("" if self.dtype.startswith("float") else self.dtype)
        return f"{sizes} {unit}".strip() or "1"


@attrs.frozen
class Place:
    """A column, or some values of its rows: `labels` are flat indices, None for all."""

    column: Column
    labels: tuple[int, ...] | None

    @property
    def names(self) -> list[str]:
        """What each of the values is called."""
        every = range(len(self.column.labels)) if self.labels is None else self.labels
        return [self.column.labels[index] for index in every]


def columns_of(schema: Mapping[str, Any]) -> list[Column]:
    """The columns of a schema, in its order."""
    touched: dict[str, dict[str, list[str]]] = {"reads": {}, "writes": {}}
    for system in schema["systems"]:
        for how, found in touched.items():
            for name in system[how]:
                names = found.setdefault(name, [])
                if system["name"] not in names:
                    names.append(system["name"])
    made = []
    for table in schema["tables"]:
        axes = {axis["name"]: axis["labels"] for axis in table["axes"]}
        for component in table["components"]:
            owner = f"{table['name']}.{component['name']}"
            for column in component["columns"]:
                shape = tuple(column["shape"])
                made.append(
                    Column(
                        id=column["id"],
                        address=f"{owner}.{column['name']}",
                        rows=table["rows"],
                        shape=shape,
                        labels=_labels(column["name"], shape, column["axes"], axes),
                        dtype=column["dtype"],
                        unit=column["unit"],
                        doc=column["doc"],
                        lifetime=component["lifetime"],
                        writers=tuple(touched["writes"].get(owner, ())),
                        readers=tuple(touched["reads"].get(owner, ())),
                    )
                )
    return made


def _labels(name: str, shape: tuple[int, ...], axes: list[str], known: Mapping[str, list[str]]) -> tuple[str, ...]:
    """left_knee, left_foot.x, [3]; '' for a scalar."""
    every = []
    for axis, size in zip(axes, shape, strict=True):
        words = known.get(axis, [])
        if len(words) != size:
            part = next((p for (end, count), p in _PARTS.items() if name.endswith(end) and count == size), "")
            words = list(part) or [f"[{index}]" for index in range(size)]
        every.append(words)
    return tuple(".".join(words).replace(".[", "[") for words in itertools.product(*every)) if math.prod(shape) else ()


def find_place(text: str, columns: list[Column]) -> Place:
    """The place that a person means: a whole address or the end of one, with a label, a part of labels or a number in
    brackets. SceneError with near misses when it is none, or several."""
    name, bracket, inside = text.partition("[")
    found = [column for column in columns if column.address == name]
    found = found or [column for column in columns if column.address.endswith(f".{name}")]
    if len(found) != 1:
        raise SceneError(_no_column(name, found, columns))
    if not bracket:
        return Place(found[0], None)
    return Place(found[0], _find_labels(inside.removesuffix("]"), found[0]))


def _no_column(name: str, found: list[Column], columns: list[Column]) -> str:
    if found:
        return f"'{name}' may be {' or '.join(column.address for column in found)}; say more of it."
    near = did_you_mean(name, [c.address for c in columns]) or did_you_mean(
        name, [c.address.split(".", 1)[1] for c in columns]
    )
    return f"The run has no column '{name}'.{near} `list` shows all {len(columns)}."


def _find_labels(word: str, column: Column) -> tuple[int, ...]:
    if word.isascii() and word.isdigit() and int(word) < len(column.labels):
        return (int(word),)
    exact = [i for i, label in enumerate(column.labels) if label == word or label == f"[{word}]"]
    part = exact or [i for i, label in enumerate(column.labels) if label.split(".")[0].split("[")[0] == word]
    part = part or [i for i, label in enumerate(column.labels) if word and label.startswith(word)]
    if not part:
        known = listing(column.labels, 12) if column.labels != ("",) else "none: it is one number"
        raise SceneError(
            f"{column.address} has no value '{word}'.{did_you_mean(word, column.labels)} Its values: {known}."
        )
    return tuple(part)


def parse_rows(text: str, rows: int, most: int) -> list[int]:
    """Row numbers of '5', '0,7,9', '0-7' or 'all'; SceneError for what is none of a table of so many rows."""
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
