"""Trace: what a system does in one run, so that two runs can be compared. What differs could not be replayed."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from operator import attrgetter, is_
from types import MappingProxyType
from typing import Any, ClassVar

import attrs
import numpy as np
import torch
from torch import Tensor

from engine.capture.launches import Work, heard_by
from engine.ecs.world import Clock, World
from engine.tools.operations import HostCopies, OperationMode, host_read

INTO = "Write into the tensor that is there, with copy_ or out=."
SMALL = 4096  # bytes of an array, and parts of a collection, that are compared
_MADE, _COPIED = "torch.tensor of numbers of the host", "copy from the host"
_FROM_HOST = frozenset((_MADE, _COPIED))
_PLAIN = frozenset((bool, int, str, bytes, type(None)))
_NUMBERS = _PLAIN | {float}
_WITH_PARTS = frozenset((np.ndarray, tuple, list, dict))
_KNOWN = _NUMBERS | _WITH_PARTS | {Tensor}


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
        self.found = HostState()  # when the run began
        self.touched: list[str] = []  # what the run changed of it, in whatever resource
        self._used: frozenset[str] = frozenset()  # names of resources
        self._made: dict[int, int] = {}  # memory that the run made, by address
        self._aside = False  # while another library works

    @contextmanager
    def watching(self, world: World, used: Iterable[type]) -> Iterator[None]:
        """Trace everything that this thread does as long as this lasts, and look into resources, of which some are `used`."""
        clock, self._used = world.clock, frozenset(cls.__name__ for cls in used)
        self.found = HostState(world.resources)
        clock.__class__ = _WatchedClock
        _WatchedClock.asks = self
        try:
            with heard_by(self), HostCopies(self._read), self:
                yield
        finally:
            clock.__class__ = Clock
            self._made.clear()
        self.touched = changes(self.found, HostState(world.resources))

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
        self.steps.append((str(func), self._comparable((args, kwargs))))
        self.draws[-1] += [each for each in (*args, *kwargs.values()) if isinstance(each, torch.Generator)]
        given = {t.untyped_storage().data_ptr() for t in tensors((args, kwargs))}
        result = func(*args, **kwargs)
        for made in tensors(result):
            address = made.untyped_storage().data_ptr()
            if address not in given:
                self._made[address] = len(self.steps)
        return result

    def _comparable(self, value: Any) -> Any:
        """An argument as something that compares equal where a replay would take the same."""
        if isinstance(value, Tensor):
            address = value.untyped_storage().data_ptr()
            place = ("made", self._made[address]) if address in self._made else ("memory", address)
            return (*place, tuple(value.shape), value.stride(), value.storage_offset(), value.dtype)
        if isinstance(value, (list, tuple)):
            return tuple(map(self._comparable, value))
        if isinstance(value, dict):
            return tuple((key, self._comparable(part)) for key, part in value.items())
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
        own = [name for name in self.touched if name.count(".") == 1]  # objects may be put back before the next run
        replaced = [name for name in own if isinstance(self.found.marks[name], Same)]
        if len(own) > len(replaced):
            names = ", ".join(name for name in own if name not in replaced)
            return Obstacle(f"it changes {names} on the host", "Keep that in a tensor.")
        if replaced:
            return Obstacle(f"it puts something else in the place of {', '.join(replaced)}", INTO)
        return None

    def differs(self, other: "OperationTrace") -> Obstacle | None:
        """Why a replay of this run would not do what the other run did."""
        for name in changes(self.found, other.found):
            if name.count(".") > 1 and name.split(".")[0] in self._used:
                if isinstance(other.found.marks[name], Same):
                    return Obstacle(f"it uses {name}, which is another one from run to run", INTO)
                return Obstacle(f"it uses {name}, which changes on the host from run to run", "Keep that in a tensor.")
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
        """The number on the device, which is up to date."""
        return self.number


class Same:
    """A tensor, or an object, that equals only itself."""

    __slots__ = ("it",)

    def __init__(self, it: object) -> None:
        self.it = it

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.it is other.it

    __hash__ = None  # type: ignore[assignment]


class HostState:
    """What resources keep on the host, but for the clock's and constants that are numbers: what operations may be made of.

    `marks` by 'Resource.field', and of an object with attributes, also by 'Resource.field.attribute'. Numbers, words, small
    arrays of numpy, and small tuples, lists and dicts count by their values; tensors and everything else by which one it is.
    What lies deeper, or in an object without `__dict__`, is not seen.
    """

    def __init__(self, resources: Mapping[type, Any] = MappingProxyType({})) -> None:
        self.marks: dict[str, Any] = {}
        self._reads: list[Callable[[], Iterable[Any]]] = []
        for cls, item in resources.items():
            if cls is not Clock:
                self._look_into(item, attrs.fields(cls))
        self._values = self._now()
        self._inner = [(value, _marked(value)) for value in self._values if _may_change(value)]

    def _look_into(self, item: Any, fields: Iterable[Any]) -> None:
        self._reads.append(
            partial(attrgetter("__class__", *(field.name for field in fields)), item)
        )  # a tuple in any case
        for field in fields:
            name, value = f"{type(item).__name__}.{field.name}", getattr(item, field.name)
            if not field.metadata.get("constant") or type(value) not in _NUMBERS:
                self.marks[name] = _marked(value)
            if type(value) not in _KNOWN and (inside := getattr(value, "__dict__", None)):
                self._reads.append(inside.values)
                self.marks |= {f"{name}.{key}": _marked(part) for key, part in inside.items()}

    def _now(self) -> list[Any]:
        return [value for read in self._reads for value in read()]

    def holds(self) -> bool:
        """Whether everything certainly is as it was; much faster than to compare `marks`."""
        now = self._now()
        return (
            len(now) == len(self._values)
            and all(map(is_, now, self._values))
            and all(_marked(value) == mark for value, mark in self._inner)
        )


def changes(before: HostState, after: HostState) -> list[str]:
    """Names of the second of two states of the host under which the first one differs."""
    old = before.marks
    return [name for name, mark in after.marks.items() if name not in old or old[name] != mark]


def _may_change(value: Any) -> bool:
    """Whether a value that stays the same object may come to have another mark."""
    return type(value) in _WITH_PARTS and not (type(value) is tuple and all(type(part) in _NUMBERS for part in value))


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
