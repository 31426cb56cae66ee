"""Trace: what a system does in one run, so that two runs can be compared. What differs could not be replayed."""

import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import attrs
import numpy as np
import torch
from torch import Tensor

from engine.capture.launches import Work, heard_by
from engine.ecs.world import Clock, World
from engine.tools.operations import HostCopies, OperationMode, host_read

Numbers = dict[str, Any]


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
        self.changed: list[str] = []  # numbers of resources
        self.found: Numbers = {}  # what objects in resources kept on the host when the run began
        self._made: dict[int, int] = {}  # memory that the run made, by address
        self._aside = False  # while another library works

    @contextmanager
    def watching(self, world: World, used: Iterable[type]) -> Iterator[None]:
        """Trace everything that this thread does as long as this lasts, and look into the resources that are `used`."""
        clock, before, self.found = world.clock, numbers(world), kept_inside(world, used)
        clock.__class__ = _WatchedClock
        _WatchedClock.asks = self
        try:
            with heard_by(self), HostCopies(self._read), self:
                yield
        finally:
            clock.__class__ = Clock
            self._made.clear()
        after = numbers(world)
        self.changed = [name for name in after if after[name] != before.get(name)]

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
            self.reads.add("torch.tensor of numbers of the host")
        elif func.overloadpacket.__name__ == "copy_" and args[1].is_cpu and not args[0].is_cpu:
            self.reads.add("copy from the host")
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
            return Obstacle(f"it reads the device ({', '.join(sorted(self.reads))})", "Use masks and put_rows.")
        if self.asked:
            return Obstacle(
                "it asks the clock for `tick`, a number of the host that a replay would not renew",
                "Compute with `device_tick`, or say when=every(n).",
            )
        if self.changed:
            return Obstacle(f"it changes {', '.join(self.changed)} on the host", "Keep that in a tensor.")
        return None

    def differs(self, other: "OperationTrace") -> Obstacle | None:
        """Why a replay of this run would not do what the other run did."""
        for name, value in self.found.items():
            if other.found.get(name, value) != value:
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
                    "Write into the tensor that is there, with copy_ or out=.",
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


def numbers(world: World) -> Numbers:
    """Numbers, words and switches that resources keep on the host, but for the clock's: what operations may be made of."""
    return {
        f"{cls.__name__}.{field.name}": value
        for cls, item in world.resources.items()
        if cls is not Clock
        for field in attrs.fields(cls)
        if not field.metadata.get("constant")
        and isinstance(value := getattr(item, field.name), (bool, int, float, str, type(None)))
    }


def kept_inside(world: World, used: Iterable[type]) -> Numbers:
    """Numbers, and checksums of arrays of numpy, that objects in these resources have as attributes."""
    found: Numbers = {}
    for cls in used:
        for field in attrs.fields(cls):
            inside = getattr(getattr(world.resource(cls), field.name), "__dict__", {})
            for name, value in inside.items():
                if isinstance(value, np.ndarray):
                    value = zlib.crc32(value.tobytes())
                if isinstance(value, (bool, int, float, str, type(None))):
                    found[f"{cls.__name__}.{field.name}.{name}"] = value
    return found


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
