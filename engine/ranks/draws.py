"""Random numbers of a block of rows, whoever draws them.

A system that runs in blocks draws for each of them from a stream that is seeded by its own stream's seed, the tick, the phase
and how often it ran in that tick, and the number of the block. So neither the number of processes nor a condition that only some rows meet
moves any other draw, and there is nothing to save. torch's generator on the CPU takes 32 bits of such a seed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from engine.errors import BuildError

_BITS = (1 << 64) - 1


def mixed(*numbers: int) -> int:
    """A seed of 63 bits for some whole numbers (the finaliser of SplitMix64, over each of them)."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & _BITS
        state = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) & _BITS
        state = ((state ^ state >> 27) * 0x94D049BB133111EB) & _BITS
        state ^= state >> 31
    return state >> 1


class BlockDraws(TorchFunctionMode):
    """While it lasts, draws with one generator are made block by block.

    `rows` are those of a block, `blocks` the numbers of the blocks whose rows a tensor has, in order. What has no axis of so
    many rows is drawn once, the same in every process.
    """

    def __init__(self, device: torch.device, rows: int) -> None:
        super().__init__()
        self.device, self.rows = device, rows
        self.streams: dict[int, torch.Generator] = {}
        self.stream: torch.Generator | None = None
        self.key: tuple[int, ...] = ()
        self.blocks: Sequence[int] = ()
        self.ready: set[int] = set()

    def begin(self, stream: torch.Generator, tick: int, call: int, blocks: Sequence[int]) -> None:
        """Draws with `stream` are those of this call of its system from now on."""
        self.stream, self.key, self.blocks = stream, (stream.initial_seed(), tick, call), blocks
        self.ready.clear()

    def of(self, block: int) -> torch.Generator:
        """The stream of a block; -1 that of all."""
        found = self.streams.get(block)
        if found is None:
            found = self.streams[block] = torch.Generator(self.device)
        if block not in self.ready:
            self.ready.add(block)
            found.manual_seed(mixed(*self.key, block + 1))
        return found

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a function of torch; a draw in pieces."""
        if not kwargs or kwargs.get("generator") is not self.stream:
            return func(*args, **(kwargs or {}))
        others = {name: value for name, value in kwargs.items() if name not in ("generator", "size")}
        if func is torch.randperm:
            return self._permuted(int(args[0]), others)
        if args and isinstance(args[0], Tensor):
            return self._drawn_for(func, args[0], args[1:], others)
        shape, rest = _shape(func, args, kwargs)
        axis = self._axis(shape)
        if axis is None:
            return func(*rest, shape, generator=self.of(-1), **others)
        part = (*shape[:axis], self.rows, *shape[axis + 1 :])
        return torch.cat([func(*rest, part, generator=self.of(block), **others) for block in self.blocks], axis)

    def _axis(self, shape: Sequence[int]) -> int | None:
        whole = len(self.blocks) * self.rows
        return next((axis for axis, length in enumerate(shape) if length == whole), None)

    def _drawn_for(
        self, func: Callable[..., Any], rows: Tensor, rest: tuple[Any, ...], others: dict[str, Any]
    ) -> Tensor:
        """In place, or a new tensor of what is drawn by the numbers of another."""
        axis = self._axis(rows.shape)
        if axis is None:
            drawn: Tensor = func(rows, *rest, generator=self.of(-1), **others)
            return drawn
        parts = zip(torch.split(rows, self.rows, axis), self.blocks, strict=True)
        made = [func(part, *rest, generator=self.of(block), **others) for part, block in parts]
        return rows if func.__name__.endswith("_") else torch.cat(made, axis)

    def _permuted(self, length: int, others: dict[str, Any]) -> Tensor:
        """A permutation that leaves every number in its block."""
        part, rest = divmod(length, len(self.blocks))
        if rest:
            return torch.randperm(length, generator=self.of(-1), **others)
        made = [torch.randperm(part, generator=self.of(block), **others) for block in self.blocks]
        return torch.cat([order + at * part for at, order in enumerate(made)])


def _shape(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """The shape that is asked for, and the arguments before it."""
    if "size" in kwargs:
        return tuple(kwargs["size"]), args
    if args and isinstance(args[-1], (tuple, list)):
        return tuple(args[-1]), args[:-1]
    if args and func in (torch.rand, torch.randn) and all(isinstance(each, int) for each in args):
        return args, ()
    raise BuildError(
        f"A system draws with torch.{func.__name__}{str(args)[:60]}, which cannot be cut into blocks of rows. Draw a shape whose first "
        "axis is rows: torch.rand((rows, ...), generator=rng)."
    )
