"""Columns as a schema describes them."""

import math
from functools import cached_property
from typing import Any

import attrs
import numpy as np

from engine.protocol.framing import unpack_array

_CARTESIAN = {3: ("x", "y", "z")}
_QUATERNION = {**_CARTESIAN, 4: ("w", "x", "y", "z")}
_ROTATION_NAMES = ("rotation", "orientation", "quaternion")


@attrs.frozen(eq=False, slots=False)
class ColumnInfo:
    """One column as the schema describes it. `shape` is that of one row.

    `limits` is (values, 2), lower and upper, or None. `axes` names the places of each axis, None where nothing does.
    """

    id: int
    address: str
    table: str
    component: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    unit: str
    doc: str
    lifetime: str
    rows: int
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    limits: np.ndarray | None
    axes: tuple[tuple[str, ...] | None, ...]

    @property
    def size(self) -> int:
        """Values in one row."""
        return math.prod(self.shape)

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
        """One text per value of a row, in flat order: 'left_knee', 'left_foot.x', '[3]'; '' for a scalar."""
        named = _QUATERNION if self.is_quaternion else _CARTESIAN
        texts = [""]
        for size, labels in zip(self.shape, self.axes, strict=True):
            words = labels or named.get(size)
            if words:
                texts = [f"{text}.{word}" if text else word for text in texts for word in words]
            else:
                texts = [f"{text}[{index}]" for text in texts for index in range(size)]
        return tuple(texts)


def read_columns(schema: dict[str, Any]) -> list[ColumnInfo]:
    """Every column of a schema; WireError or KeyError where it is none."""
    writers: dict[str, list[str]] = {}
    readers: dict[str, list[str]] = {}
    for system in schema["systems"]:
        for names, found in ((system["writes"], writers), (system["reads"], readers)):
            for name in names:
                if system["name"] not in found.setdefault(name, []):
                    found[name].append(system["name"])
    made = []
    for table in schema["tables"]:
        axes = {axis["name"]: tuple(axis["labels"]) for axis in table["axes"]}
        for component in table["components"]:
            owner = f"{table['name']}.{component['name']}"
            for column in component["columns"]:
                shape = tuple(int(size) for size in column["shape"])
                named = [axes.get(axis) if axis else None for axis in column["axes"]]
                fitting = tuple(n if n is not None and len(n) == s else None for n, s in zip(named, shape, strict=True))
                made.append(
                    ColumnInfo(
                        id=int(column["id"]),
                        address=f"{owner}.{column['name']}",
                        table=table["name"],
                        component=component["name"],
                        name=column["name"],
                        shape=shape,
                        dtype=column["dtype"],
                        unit=column.get("unit", ""),
                        doc=column.get("doc", ""),
                        lifetime=component.get("lifetime", "state"),
                        rows=int(table["rows"]),
                        writers=tuple(writers.get(owner, ())),
                        readers=tuple(readers.get(owner, ())),
                        limits=_limits(column.get("limits"), math.prod(shape)),
                        axes=fitting,
                    )
                )
    return made


def _limits(packed: Any, size: int) -> np.ndarray | None:
    """[dtype, shape, bin] of one pair for all values or one for each, as (values, 2)."""
    if packed is None:
        return None
    return np.broadcast_to(unpack_array(packed).astype(np.float64).reshape(-1, 2), (size, 2))
