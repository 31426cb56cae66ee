"""Ring of samples: all columns of a few rows, tick by tick, in a ring of fixed memory; and the digest of one row."""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.ecs.component import info
from engine.ecs.table import as_numpy
from engine.ecs.world import World
from engine.protocol.framing import pack_array
from engine.recording.file import END

LARGEST = 4096
"""Bytes per row. A component with a larger column (a rollout) is left out of traces and digests, with all its columns."""
_LITTLE = sys.byteorder == "little"
_FRAME = 1 << 22  # bytes of columns in one message, about


def traced_columns(world: World, table: str) -> dict[str, Tensor]:
    """The columns of a table that are traced, by address 'table.Component.column', in order of declaration."""
    found: dict[str, Tensor] = {}
    for (home, cls), instance in world.components.items():
        columns = {f"{home}.{cls.__name__}.{name}": getattr(instance, name) for name in info(cls).columns}
        if home == table and all(column[0].nbytes <= LARGEST for column in columns.values()):
            found |= columns
    return found


def traced_addresses(world: World, table: str, *, signals: bool = True) -> list[str]:
    """The addresses of `traced_columns` in order; without those of signals if asked, as digests are made."""
    lasting = {f"{t}.{cls.__name__}" for t, cls in world.components if info(cls).lifetime != "signal"}
    return [a for a in traced_columns(world, table) if signals or a.rpartition(".")[0] in lasting]


def row_digest(world: World, table: str, row: int) -> str:
    """32 hexadecimal digits of what one row holds now: the first 16 bytes of a SHA-256.

    It runs over address (UTF-8), a zero byte, and the row's little-endian values in C order, of each of
    `traced_addresses(world, table, signals=False)` in that order.
    """
    reader = RowReader(world, table)
    return reader.digest(reader.read(row))


class RowReader:
    """Reads one row of a table at a time: the bytes of every traced column, little-endian and in C order."""

    def __init__(self, world: World, table: str) -> None:
        columns = traced_columns(world, table)
        ids = {address: number for number, address in enumerate(world.columns())}
        lasting = set(traced_addresses(world, table, signals=False))
        self.columns = list(columns.values())
        blanks = [little(as_numpy(column[:1])) for column in self.columns]
        self.heads = [[ids[a], b.dtype.str, [1, *b.shape]] for a, b in zip(columns, blanks, strict=True)]
        self.labels = [f"{address}\0".encode() if address in lasting else b"" for address in columns]
        self.aliases = [as_numpy(column) for column in self.columns] if world.device.type == "cpu" else None

    def read(self, row: int) -> list[bytes]:
        """What a row holds now, column by column."""
        arrays = (c[row] for c in self.aliases) if self.aliases else (as_numpy(c[row]) for c in self.columns)
        return [little(array).tobytes() for array in arrays]

    def digest(self, held: Sequence[bytes]) -> str:
        """The digest of what `read` returned."""
        parts = [label + data for label, data in zip(self.labels, held, strict=True) if label]
        return hashlib.sha256(b"".join(parts)).hexdigest()[:32]

    def packed(self, held: Sequence[bytes]) -> list[list[Any]]:
        """The same as columns of a message with one sample of one row."""
        return [[*head, data] for head, data in zip(self.heads, held, strict=True)]


def little(array: np.ndarray) -> np.ndarray:
    """Little-endian, whatever the machine is."""
    return array if _LITTLE else array.astype(array.dtype.newbyteorder("<"))


class RowTrace:
    """A ring of samples of all traced columns of `rows`, as many as fit into `budget` bytes.

    A sample is taken of all rows at once, at a moment (TERMINAL, END, TORN) of a tick; `present` says for which rows it counts.
    """

    def __init__(self, world: World, table: str, rows: Sequence[int], budget: int) -> None:
        self.world, self.table = world, table
        self.rows = np.array(rows, np.int64)
        columns = traced_columns(world, table)
        self.columns = list(columns.values())
        ids = {address: number for number, address in enumerate(world.columns())}
        self.ids = [ids[address] for address in columns]
        self.on_host = world.device.type == "cpu"
        self.aliases = [as_numpy(column) if self.on_host else None for column in self.columns]
        self.device_rows = torch.as_tensor(self.rows, device=world.device)
        blanks = [as_numpy(column[:1]) for column in self.columns]
        each = len(rows) * sum(blank.nbytes for blank in blanks) + len(rows) + 9
        self.capacity = max(2, budget // each)
        self.store = [np.empty((self.capacity, len(rows), *blank.shape[1:]), blank.dtype) for blank in blanks]
        self.tick = np.zeros(self.capacity, np.int64)
        self.moment = np.zeros(self.capacity, np.uint8)
        self.present = np.zeros((self.capacity, len(rows)), np.bool_)
        self.taken = self.first = 0

    @property
    def num_bytes(self) -> int:
        """Memory of the ring when it is full."""
        return sum(part.nbytes for part in (*self.store, self.tick, self.moment, self.present))

    def take(self, moment: int = END, present: "np.ndarray | None" = None) -> None:
        """Copy what the rows hold now."""
        slot = self.taken % self.capacity
        self.tick[slot], self.moment[slot] = self.world.clock.tick, moment
        self.present[slot] = True if present is None else present
        for column, alias, ring in zip(self.columns, self.aliases, self.store, strict=True):
            if alias is None:
                ring[slot] = as_numpy(column.index_select(0, self.device_rows))
            elif alias.flags.c_contiguous:
                alias.take(self.rows, 0, ring[slot], "clip")  # with any other mode numpy copies twice
            else:
                ring[slot] = alias[self.rows]
        self.taken += 1

    def samples(self) -> np.ndarray:
        """Slots of the samples that are kept, oldest first."""
        return np.arange(max(self.first, self.taken - self.capacity), self.taken) % self.capacity

    def rewind(self, tick: int) -> None:
        """Forget what was sampled after a tick."""
        self.first, self.taken = kept_through(tick, self.tick, self.first, self.taken)

    def messages(self) -> Iterator[dict[str, Any]]:
        """Everything that is kept, as messages of type 'data', oldest first."""
        slots = self.samples()
        each = max(1, _FRAME * self.capacity // max(1, sum(part.nbytes for part in self.store)))
        for start in range(0, len(slots), each):
            yield self._message("trace", slots[start : start + each], slice(None))

    def episode(self, row: int, began: int) -> dict[str, Any]:
        """What is kept of one row since its episode began after a tick, as one message."""
        place = int(np.flatnonzero(self.rows == row)[0])
        slots = self.samples()
        tick, moment = self.tick[slots], self.moment[slots]
        mine = self.present[slots, place] & ((tick > began) | ((tick == began) & (moment == END)))
        return self._message("episode", slots[mine], slice(place, place + 1))

    def _message(self, sub: str, slots: np.ndarray, places: slice) -> dict[str, Any]:
        arrays = [ring[slots][:, places] for ring in self.store]
        columns = [[number, *pack_array(array)] for number, array in zip(self.ids, arrays, strict=True)]
        at = self.tick[slots]
        return data_message(
            sub, self.table, self.rows[places].tolist(), at, self.moment[slots], self.present[slots][:, places], columns
        )


def kept_through(tick: int, ticks: np.ndarray, first: int, taken: int) -> tuple[int, int]:
    """Of a ring whose slots say their `ticks`: the numbers of its first sample and after its last one up to a tick."""
    first = max(first, taken - len(ticks))
    slots = np.arange(first, taken) % len(ticks)
    return first, first + int((ticks[slots] <= tick).sum())


def data_message(
    sub: str,
    table: str,
    rows: list[int],
    at: np.ndarray,
    moment: np.ndarray,
    present: np.ndarray,
    columns: list[list[Any]],
) -> dict[str, Any]:
    """Samples as a message: `at` and `moment` (samples,), `present` (samples, rows), packed columns (samples, rows, …)."""
    return {
        "t": "data",
        "sub": sub,
        "table": table,
        "ticks": [int(at[0]), int(at[-1])],
        "rows": rows,
        "at": pack_array(at),
        "moment": pack_array(moment),
        "present": pack_array(present),
        "cols": columns,
    }
