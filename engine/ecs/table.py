"""Tables: N rows of one kind of entity with named, labelled axes; and the helpers that write rows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from engine.ecs.component import Labels
from engine.errors import BuildError


@attrs.define
class Table:
    """One kind of entity: `rows` parallel copies, whose columns run along labelled `axes`."""

    name: str
    rows: int
    axes: dict[str, Labels]


def table(name: str, *, rows: int, axes: Mapping[str, int | Sequence[str]] | None = None) -> Table:
    """Declare a table; an axis given as a size is labelled '0', '1', ...

    Raises BuildError when `rows` is not a positive integer or an axis repeats a label.
    """
    if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
        raise BuildError(f"Table '{name}' was given rows={rows!r}; it needs at least 1 row.")
    labelled: dict[str, Labels] = {}
    for axis, labels in (axes or {}).items():
        names = tuple(str(i) for i in range(labels)) if isinstance(labels, int) else tuple(labels)
        if len(set(names)) != len(names):
            twice = next(n for n in names if names.count(n) > 1)
            raise BuildError(f"Axis '{axis}' of table '{name}' has the label '{twice}' twice; labels must differ.")
        labelled[axis] = names
    return Table(name, rows, labelled)


def put_rows(column: Tensor, mask: Tensor, value: Any) -> None:
    """Write `value` into the rows of `column` where `mask` is true, in place, without an index list.

    `column`: (rows, ...); `mask`: (rows,) bool; `value`: a number, or a tensor that broadcasts to `column`.
    Raises RuntimeError, with nothing written, when `value` does not broadcast or overlaps `column` in part.
    """
    wide = mask.reshape(-1, *[1] * (column.dim() - 1))
    if isinstance(value, Tensor):  # one number too: `masked_fill_` would ask the device for it
        fitting = value.to(column.dtype).expand_as(column)  # else `out=` would grow the column to the broadcast shape
        torch.where(wide, fitting, column, out=column)
    else:
        column.masked_fill_(wide, value)


def push_history(history: Tensor, value: Tensor) -> None:
    """Make `value` entry 0 of `history` and move the others one place back, in place.

    `history`: (rows, length, ...), newest first; `value`: (rows, ...), which may be an entry of `history`.
    """
    history.copy_(torch.cat((value.unsqueeze(1), history[:, :-1]), 1))  # overlapping slices would corrupt silently


def as_numpy(column: Tensor) -> np.ndarray:
    """A column as numpy sees it: the same memory where it lies on the host. bfloat16 comes as its 16 bits."""
    column = column.detach().cpu()
    return (column.view(torch.int16) if column.dtype == torch.bfloat16 else column).numpy()


def tensors_in(value: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor reachable from a resource, with a path to it."""
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, torch.nn.Module):
        for name, part in [*value.named_parameters(), *value.named_buffers()]:
            yield f"{path}.{name}", part
    elif isinstance(value, (dict, list, tuple)):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from tensors_in(part, f"{path}.{key}")
    elif attrs.has(type(value)) and hasattr(type(value), "__lockstep_resource__"):
        for field in attrs.fields(type(value)):
            yield from tensors_in(getattr(value, field.name), f"{path}.{field.name}" if path else field.name)
