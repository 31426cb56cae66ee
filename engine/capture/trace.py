"""Trace: what a system does in one run, so that two runs can be compared. What differs could not be replayed."""

import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, ClassVar

import attrs
import numpy as np
import torch
from torch import Tensor

from engine.capture.launches import Work, heard_by
from engine.ecs.world import Clock, World
from engine.tools.operations import HostCopies, OperationMode, host_read

HostState = dict[str, Any]
INTO = "Write into the tensor that is there, with copy_ or out=."
SMALL = 4096  # bytes of an array, and parts of a collection, that are compared
_MADE, _COPIED = "torch.tensor of numbers of the host", "copy from the host"
_FROM_HOST = frozenset((_MADE, _COPIED))
_PLAIN = frozenset((bool, int, str, bytes, type(None)))
_NUMBERS = _PLAIN | {float}
_KNOWN = _NUMBERS | {Tensor, np.ndarray, tuple, list, dict}


@attrs.frozen
class Obstacle:
    """Why a system cannot be replayed, and what to do about it; both go into a sentence."""

    why: str
    cure: str


class OperationTrace(OperationMode):  # type: ignore[no-untyped-call]
    """Operations of one run, each with the numbers that it takes from the host and the memory that was there before.

    `reads` are what the host waited for; `asked` whether the number of the tick was asked for on the host.
    """

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[Any, ...]] = []
        self.reads: set[str] = set()
        self.draws: list[list[torch.Generator]] = [
            []
        ]  # streams that are drawn from, up to each launch that comes between graphs
        self.asked = False
        self.changed: list[str] = []  # what resources keep on the host
        self.replaced: list[str] = []  # tensors of resources
        self._made: dict[int, int] = {}  # memory that the run made, by address
        self._aside = False  # while another library works

    @contextmanager
    def watching(self, world: World) -> Iterator[None]:
        """Trace everything that this thread does as long as this lasts, and look into the resources before and after."""
        clock, before = world.clock, host_state(world, world.resources)
        clock.__class__ = _WatchedClock
        _WatchedClock.asks = self
        try:
            with heard_by(self), HostCopies(self._read), self:
                yield
        finally:
            clock.__class__ = Clock
            self._made.clear()
        after = host_state(world, world.resources)
        changed = changes(before, after)
        self.replaced = [name for name in changed if isinstance(after.get(name), Same)]
        self.changed = [name for name in changed if name not in self.replaced]

    def launch(self, work: Work, joins: bool) -> None:
        """Work of another library counts as one operation, whatever it does."""
        self.steps.append(("launch", joins))
        if not joins:
            self.draws.append([])
        self._aside = True
        try:
            work()
        finally:
            self._aside = False

    def _read(self, what: str) -> None:
        if not self._aside:
            self.reads.add(what)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._aside:
            return func(*args, **kwargs)
        if found := host_read(func, args, kwargs):
            self.reads.add(found)
        if func.overloadpacket.__name__ == "lift_fresh":
            self.reads.add(_MADE)
        elif func.overloadpacket.__name__ == "copy_" and args[1].is_cpu and not args[0].is_cpu:
            self.reads.add(_COPIED)
        self.steps.append((str(func), self._told((args, kwargs))))
        self.draws[-1] += [each for each in (*args, *kwargs.values()) if isinstance(each, torch.Generator)]
        given = {t.untyped_storage().data_ptr() for t in tensors((args, kwargs))}
        result = func(*args, **kwargs)
        for made in tensors(result):
            address = made.untyped_storage().data_ptr()
            if address not in given:
                self._made[address] = len(self.steps)
        return result

    def _told(self, value: Any) -> Any:
        """An argument as something that compares equal where a replay would take the same."""
        if isinstance(value, Tensor):
            address = value.untyped_storage().data_ptr()
            place = ("made", self._made[address]) if address in self._made else ("memory", address)
            return (*place, tuple(value.shape), value.stride(), value.storage_offset(), value.dtype)
        if isinstance(value, (list, tuple)):
            return tuple(map(self._told, value))
        if isinstance(value, dict):
            return tuple((key, self._told(part)) for key, part in value.items())
        if isinstance(value, torch.Generator):
            return "generator"
        return (type(value).__name__, repr(value))

    def obstacle(self) -> Obstacle | None:
        """What is wrong with this run by itself."""
        if self.reads:
            cure = "Make it once and keep it." if self.reads <= _FROM_HOST else "Use masks and put_rows."
            return Obstacle(f"it reads the device ({', '.join(sorted(self.reads))})", cure)
        if self.asked:
            return Obstacle(
                "it asks the clock for `tick`, a number of the host that a replay would not renew",
                "Compute with `device_tick`, or say when=every(n).",
            )
        if self.changed:
            return Obstacle(f"it changes {', '.join(self.changed)} on the host", "Keep that in a tensor.")
        if self.replaced:
            return Obstacle(f"it puts something else in the place of {', '.join(self.replaced)}", INTO)
        return None

    def differs(self, other: "OperationTrace") -> Obstacle | None:
        """Why a replay of this run would not do what the other run did."""
        for mine, theirs in zip(self.steps, other.steps, strict=False):
            if mine[0] != theirs[0]:
                break
            pair = _first_difference(mine[1], theirs[1])
            if pair is None:
                continue
            kinds = {pair[0][0], pair[1][0]}
            if "made" in kinds:
                break
            if "memory" in kinds:
                return Obstacle(
                    f"{mine[0]} works on memory that is another one from run to run",
                    INTO,
                )
            return Obstacle(
                f"{mine[0]} takes a number of the host that changes from run to run ({pair[0][-1]}, then {pair[1][-1]})",
                "Keep that in a tensor.",
            )
        else:
            if len(self.steps) == len(other.steps):
                return None
        return Obstacle(
            "its operations differ from run to run",
            "Do the same ones for all rows in every tick, and select with masks.",
        )


class _WatchedClock(Clock):
    """A clock that tells a trace who asks for the tick."""

    asks: ClassVar[OperationTrace]

    @property
    def tick(self) -> int:  # type: ignore[override]
        """The number on the host."""
        type(self).asks.asked = True
        return int(self.__dict__["tick"])

    @property
    def device_tick(self) -> Tensor:
        """The number on the device, which was told before."""
        return self.number


class Same:
    """A tensor, or an object, that equals only itself."""

    __slots__ = ("it",)

    def __init__(self, it: object) -> None:
        self.it = it

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.it is other.it

    __hash__ = None  # type: ignore[assignment]


def host_state(world: World, used: Iterable[type]) -> HostState:
    """What resources keep on the host, but for the clock's and constants that are numbers: what operations may be made of.

    By 'Resource.field', and of an object with attributes, also by 'Resource.field.attribute'. Numbers, words, small arrays of
    numpy, and small tuples, lists and dicts count by their values; tensors and everything else by which one it is. What lies
    deeper, or in an object without `__dict__`, is not seen.
    """
    found: HostState = {}
    for cls in used:
        if cls is Clock:
            continue
        item = world.resources[cls]
        for prefix, name, constant in _fields(cls):
            value = getattr(item, name)
            if not constant or type(value) not in _NUMBERS:
                found[prefix] = _marked(value)
            if type(value) not in _KNOWN and (inside := getattr(value, "__dict__", None)):
                for key, part in inside.items():
                    found[f"{prefix}.{key}"] = _marked(part)
    return found


def changes(before: HostState, after: HostState) -> list[str]:
    """Names of the second of two states of the host under which the first one differs."""
    return [] if before == after else [name for name in after if name not in before or before[name] != after[name]]


@cache
def _fields(cls: type) -> tuple[tuple[str, str, bool], ...]:
    return tuple((f"{cls.__name__}.{f.name}", f.name, bool(f.metadata.get("constant"))) for f in attrs.fields(cls))


def _marked(value: Any) -> Any:
    """Something that equals its like as long as operations that are made of the value are the same."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is float:
        return value if value == value else "not a number"
    if kind is np.ndarray and value.nbytes <= SMALL:
        return zlib.crc32(value.tobytes())
    if kind in (tuple, list) and len(value) <= SMALL:
        return kind, *map(_marked, value)
    if kind is dict and len(value) <= SMALL:
        return {key: _marked(part) for key, part in value.items()}
    return Same(value)


def identity(stream: torch.Generator) -> int:
    """Which random stream it is: torch hands out several objects for one."""
    return int(stream._cdata)  # type: ignore[attr-defined]


def tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in arguments or results of an operation."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors(part)
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))


def _first_difference(mine: Any, theirs: Any) -> tuple[Any, Any] | None:
    """The first pair of leaves that differ, as tuples (kind, ..., value)."""
    if mine == theirs:
        return None
    nested = isinstance(mine, tuple) and isinstance(theirs, tuple) and len(mine) == len(theirs)
    if nested and not isinstance(mine[0], str):
        for one, other in zip(mine, theirs, strict=True):
            if (found := _first_difference(one, other)) is not None:
                return found
    if nested and len(mine) == 2 and isinstance(mine[1], tuple):  # a keyword and its argument
        return _first_difference(mine[1], theirs[1])
    leaf = isinstance(mine, tuple) and mine and isinstance(mine[0], str)
    return (mine, theirs) if leaf else (("", str(mine)), ("", str(theirs)))
