"""One snapshot of all processes, and what of one belongs to each: rows one after the other, whoever had them.

So it is the same whatever wrote it, and a run goes on with another number of processes, or with one.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.ecs.world import World
from engine.ranks.blocks import Blocks
from engine.ranks.sharing import OWN, combined
from engine.snapshot.snapshot import Snapshot, capture, rows_of

Change = Callable[["Tensor | np.ndarray"], "Tensor | np.ndarray"]


def _of_rows(world: World) -> list[str]:
    """Names of the resources of which each process has its own part."""
    return [cls.__name__ for cls in world.resources if combined(cls) is OWN or cls is Blocks]


def _changed(value: Any, lengths: tuple[int, ...], change: Change) -> Any:
    """Nested values with `change` of every array whose first axis is as long as one of `lengths`."""
    if isinstance(value, (Tensor, np.ndarray)):
        return change(value) if value.ndim and len(value) in lengths else value
    if isinstance(value, Mapping):
        return {key: _changed(part, lengths, change) for key, part in value.items()}
    return type(value)(_changed(part, lengths, change) for part in value) if isinstance(value, (list, tuple)) else value


def _with_rows(fingerprint: Mapping[str, Any], factor: Callable[[int], int]) -> dict[str, Any]:
    tables = {name: {**axes, "rows": factor(axes["rows"])} for name, axes in fingerprint["tables"].items()}
    columns = {
        address: [[factor(shape[0]), *shape[1:]], kind] for address, (shape, kind) in fingerprint["columns"].items()
    }
    return {**fingerprint, "tables": tables, "columns": columns}


class SnapshotOfAll:
    """Snapshots that all processes make together; rank 0 gets them. `capture` and `decline` are called there, `take_part` elsewhere."""

    def __init__(self, world: World, ranks: Any) -> None:
        self.world, self.ranks, self.blocks = world, ranks, world.resource(Blocks)
        self.rows = next(iter(world.tables.values())).rows
        self._old: Snapshot | None = None

    def capture(self, world: World, into: Snapshot | None = None) -> Snapshot:
        """Ask the others for their parts, and put all together."""
        self.ranks.words(True)
        return self._joined(capture(world))

    def decline(self) -> None:
        """Tell the others that there is no snapshot this time."""
        self.ranks.words(False)

    def take_part(self) -> None:
        """Give a part to rank 0, if it wants one."""
        if self.ranks.words(None)[0]:
            self._old = capture(self.world, self._old)
            self._joined(self._old)

    def _joined(self, taken: Snapshot) -> Snapshot:
        names, found = _of_rows(self.world), list[Any]()
        lengths = {name: (self.blocks.count,) if name == "Blocks" else (self.rows,) for name in names}

        def noted(array: "Tensor | np.ndarray") -> "Tensor | np.ndarray":
            found.append(array)
            return array

        columns = taken.columns or {}
        for array in columns.values():
            noted(array)
        for name in names:
            _changed(taken.resources.get(name, {}), lengths[name], noted)
        parts = iter(self._collected(found))
        if self.ranks.rank:
            return taken
        made = {name: next(parts) for name in columns}
        resources = dict(taken.resources)
        for name in names:
            if name in resources:
                resources[name] = _changed(resources[name], lengths[name], lambda _: next(parts))
        seen = _with_rows(taken.fingerprint, lambda rows: rows * self.ranks.size)
        return Snapshot(seen, made, resources, taken.streams, taken.about, taken.constants)

    def _collected(self, arrays: list[Any]) -> list[Any]:
        """The arrays of all processes, one after the other along the first axis; of rank 0 only."""
        flat = [
            torch.as_tensor(np.ascontiguousarray(array)) if isinstance(array, np.ndarray) else array.contiguous()
            for array in arrays
        ]
        packed = torch.cat([each.view(-1).view(torch.uint8) for each in flat])
        everything = self.ranks.collect(packed)
        if everything is None:
            return arrays
        made, at = [], 0
        for array, each in zip(arrays, flat, strict=True):
            rows = everything[:, at : at + each.nbytes].contiguous().view(-1).view(each.dtype)
            joined = rows.view(self.ranks.size * each.shape[0], *each.shape[1:])
            made.append(joined.numpy() if isinstance(array, np.ndarray) else joined)
            at += each.nbytes
        return made


def fitted(taken: Snapshot, world: World, ranks: Any = None) -> Snapshot:
    """A snapshot as this process can go on from it: its part of the rows; blocks, where only one of the two has them, begin anew."""
    blocks = world.resources.get(Blocks)
    if taken.columns is None or blocks is None:
        return taken
    resources = {name: state for name, state in taken.resources.items() if name != "Blocks" or blocks.kept}
    if blocks.kept:
        resources.setdefault("Blocks", blocks.state())
    seen = {**taken.fingerprint, "resources": sorted(resources)}
    taken = Snapshot(seen, taken.columns, resources, taken.streams, taken.about, taken.constants)
    return share_of(taken, world, ranks) if ranks is not None else taken


def share_of(taken: Snapshot, world: World, ranks: Any) -> Snapshot:
    """What of a snapshot of all rows belongs to this process; the snapshot itself where it is of another number of rows."""
    rows = next(iter(world.tables.values())).rows
    if taken.columns is None or set(rows_of(taken).values()) != {rows * ranks.size}:
        return taken
    blocks = world.resource(Blocks)

    def part(array: "Tensor | np.ndarray") -> "Tensor | np.ndarray":
        own = len(array) // ranks.size
        return array[ranks.rank * own : (ranks.rank + 1) * own]

    columns = {name: part(column) for name, column in taken.columns.items()}
    resources = dict(taken.resources)
    for name in _of_rows(world):
        length = blocks.everywhere if name == "Blocks" else rows * ranks.size
        resources[name] = _changed(resources.get(name, {}), (length,), part)
    seen = _with_rows(taken.fingerprint, lambda count: count // ranks.size)
    return Snapshot(seen, columns, resources, taken.streams, taken.about, taken.constants)  # type: ignore[arg-type]
