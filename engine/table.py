"""Tables: N rows of one kind of entity with named, labelled axes; and the helpers that write rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from engine.component import Labels
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
    if isinstance(value, Tensor) and value.dim():
        fitting = value.to(column.dtype).expand_as(column)  # else `out=` would grow the column to the broadcast shape
        torch.where(wide, fitting, column, out=column)
    else:
        column.masked_fill_(wide, value)


def push_history(history: Tensor, value: Tensor) -> None:
    """Make `value` entry 0 of `history` and move the others one place back, in place.

    `history`: (rows, length, ...), newest first; `value`: (rows, ...), which may be an entry of `history`.
    """
    history.copy_(torch.cat((value.unsqueeze(1), history[:, :-1]), 1))  # overlapping slices would corrupt silently
