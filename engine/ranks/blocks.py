"""Blocks of rows: the unit in which sums over rows are made, so that the number of processes changes no byte.

Sums over blocks follow one binary tree. A process adds up those of its subtrees that hold only its own blocks; what is left
of the tree is added up by everybody alike.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.ecs.component import constant, resource
from engine.snapshot.snapshot import one_thread

Span = tuple[int, int]


@resource
class Blocks:
    """Blocks that rows are cut into, of all processes that learn together; a single one of all rows unless asked for."""

    rows: int = constant(default=0)  # in a block; 0: rows are not cut
    count: int = constant(default=1)  # blocks of this process
    ranks: Any = constant(default=None)  # the processes (engine/ranks/ranks.py), None for a single one
    sums: dict[str, Tensor] = constant(factory=dict)  # (blocks, ...) what blocks have added to fields of resources

    @property
    def kept(self) -> bool:
        """Whether snapshots hold it."""
        return self.rows > 0

    @property
    def size(self) -> int:
        """Processes."""
        return self.ranks.size if self.ranks is not None else 1

    @property
    def everywhere(self) -> int:
        """Blocks of all processes."""
        return self.count * self.size

    def state(self) -> dict[str, Any]:
        """Rows of a block, and what is not added up yet."""
        return {"rows": self.rows, "sums": dict(self.sums)}

    def load(self, state: dict[str, Any]) -> None:
        """Put sums of blocks back; those of other blocks are forgotten."""
        for name, own in self.sums.items():
            saved = state["sums"].get(name)
            own.copy_(saved if saved is not None and saved.shape == own.shape else torch.zeros_like(own))

    def split(self, rows: Tensor) -> tuple[Tensor, ...]:
        """The parts of a tensor whose first axis is rows, or rows and something within each, that belong to this process's blocks."""
        return torch.split(rows, len(rows) // self.count) if self.count > 1 else (rows,)

    def mapped(self, function: Callable[..., Tensor], *rows: Tensor) -> Tensor:
        """`function` of what every block has of `rows`, one after the other: equal shapes give equal bits."""
        if not self.rows:
            return function(*rows)
        with one_thread():
            return torch.cat([function(*parts) for parts in zip(*map(self.split, rows), strict=True)])

    def gathered(self, own: Tensor) -> Tensor:
        """What every process has, one after the other along the first axis."""
        return own if self.ranks is None else self.ranks.gather(own).flatten(0, 1)

    def total(self, parts: Sequence[Tensor]) -> Tensor:
        """The sum over all blocks of all processes; `parts` has one tensor for each of this process's blocks.

        Without blocks, the sum of however many parts there are.
        """
        if not self.rows:
            return torch.stack(list(parts)).sum(0)
        spans = [spans_within(self.everywhere, rank * self.count, self.count) for rank in range(self.size)]
        first = (self.ranks.rank if self.ranks is not None else 0) * self.count
        own = [_added(span, lambda at: parts[at - first]) for span in spans[first // self.count]]
        if self.ranks is None:
            return own[0]
        longest = max(map(len, spans))
        padded = torch.stack([*own, *[torch.zeros_like(own[0])] * (longest - len(own))])

        def finish(nodes: Tensor) -> Tensor:
            """(processes, nodes, numbers) to (numbers,)."""
            known = {span: nodes[rank, at] for rank, each in enumerate(spans) for at, span in enumerate(each)}
            return _joined((0, self.everywhere), known)

        summed: Tensor = self.ranks.reduced(padded.flatten(1), finish)
        return summed.view_as(own[0])

    def moments(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Variance and mean of the samples of all processes: (samples, ...) to (...), twice (Chan, Golub & LeVeque 1979)."""
        if not self.rows:
            return torch.var_mean(batch, 0, correction=0)
        with one_thread():
            parts = [torch.stack(torch.var_mean(part, 0, correction=0)) for part in self.split(batch)]
            variances, means = self.gathered(torch.stack(parts)).unbind(1)
            mean = means.mean(0)
            return variances.mean(0) + (means - mean).square().mean(0), mean

    def variance(self, batch: Tensor) -> Tensor:
        """Variance of all numbers of all processes."""
        return self.moments(batch.flatten())[0] if self.rows else batch.var(correction=0)

    def std_mean(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Deviation and mean of all numbers of all processes."""
        if not self.rows:
            return torch.std_mean(batch, correction=0)
        variance, mean = self.moments(batch.flatten())
        return variance.sqrt(), mean

    def samples(self, own: int) -> int:
        """How many there are in all processes, where each has as many."""
        return own * self.size


def spans_within(count: int, first: int, length: int) -> list[Span]:
    """The largest subtrees of the tree over `count` blocks that lie within [first, first + length)."""

    def within(low: int, high: int) -> list[Span]:
        if first <= low and high <= first + length:
            return [(low, high)]
        if high <= first or first + length <= low:
            return []
        middle = halved(low, high)
        return within(low, middle) + within(middle, high)

    return within(0, count)


def halved(low: int, high: int) -> int:
    """Where a subtree divides: after the largest power of two that leaves something."""
    return low + (1 << (high - low - 1).bit_length() - 1)


def _added(span: Span, leaf: Callable[[int], Tensor]) -> Tensor:
    low, high = span
    if high - low == 1:
        return leaf(low)
    middle = halved(low, high)
    return _added((low, middle), leaf) + _added((middle, high), leaf)


def _joined(span: Span, known: "dict[Span, Tensor]") -> Tensor:
    if span in known:
        return known[span]
    middle = halved(*span)
    return _joined((span[0], middle), known) + _joined((middle, span[1]), known)
