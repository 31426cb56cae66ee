"""The world: all state of all environments, and nothing else."""

import hashlib
from collections.abc import Callable
from itertools import product
from typing import Any, TypeVar, overload

import attrs
import torch

from engine.ecs.component import Column, Kind, info, kind_of, resource
from engine.ecs.table import Table
from engine.errors import BuildError, did_you_mean, listing

T = TypeVar("T")
_XYZ = {3: ("x", "y", "z"), 4: ("w", "x", "y", "z")}


@resource
class Clock:
    """Where in time the run is. Tick 0 is the first tick; `begun` is false until it has run."""

    tick: int = 0
    begun: bool = False

    def __attrs_post_init__(self) -> None:
        self.number = torch.zeros((), dtype=torch.int64)  # tick `number_tick`, on the device of the world
        self.number_tick = 0

    @property
    def device_tick(self) -> torch.Tensor:
        """`tick` as a tensor () int64, for systems whose operations are recorded and replayed without the host."""
        if self.number_tick != self.tick:
            self.number.fill_(self.tick)
            self.number_tick = self.tick
        return self.number


@attrs.define
class NonFinite:
    """A term that was not finite: where it was so first, and in how many rows of all ticks."""

    system: str  # bundle.system
    term: str
    tick: int
    row: int
    value: float
    count: int = 0


@attrs.define(eq=False)
class World:
    """Tables of components, resources, and one random stream per system that asks for one."""

    name: str
    tables: dict[str, Table]
    seed: int
    device: torch.device
    components: dict[tuple[str, type], Any] = attrs.field(factory=dict)
    resources: dict[type, Any] = attrs.field(factory=dict)
    generators: dict[str, torch.Generator] = attrs.field(factory=dict)
    identity: dict[str, Any] = attrs.field(factory=dict)
    constants: dict[str, str] = attrs.field(factory=dict)  # edited since the build, by address
    restored: list[Callable[[], None]] = attrs.field(factory=list)  # called when a snapshot was put back
    nonfinite: dict[str, NonFinite] = attrs.field(factory=dict)  # terms by address, as far as they were ever so
    noticed: list[Callable[[NonFinite], None]] = attrs.field(factory=list)  # called when one is so for the first time
    condition_cache: dict[int, tuple[int, bool]] = attrs.field(factory=dict)

    @property
    def clock(self) -> Clock:
        """The Clock resource."""
        return self.resource(Clock)

    def component(self, cls: type[T], table: str | None = None) -> T:
        """The columns of a component; `table` may be left out where only one table has it."""
        homes = [t for (t, c) in self.components if c is cls]
        if table is None and len(homes) == 1:
            table = homes[0]
        found = self.components.get((table or "", cls))
        if found is None:
            if table is None and homes:
                raise BuildError(
                    f"{cls.__name__} is in several tables ({listing(homes)}); say which: world[table, {cls.__name__}]."
                )
            names = sorted({c.__name__ for _, c in self.components})
            where = f"table '{table}'" if table and homes else "any table"
            raise BuildError(
                f"{cls.__name__} is not in {where}. Components here: {listing(names)}.{did_you_mean(cls.__name__, names)}"
            )
        return found  # type: ignore[no-any-return]

    def resource(self, cls: type[T]) -> T:
        """The one instance of a resource."""
        found = self.resources.get(cls)
        if found is None:
            names = sorted(c.__name__ for c in self.resources)
            raise BuildError(
                f"No bundle brings the resource {cls.__name__}. Resources here: {listing(names)}."
                f"{did_you_mean(cls.__name__, names)} Add the bundle that owns it, or pass an instance in Bundle(resources=[...])."
            )
        return found  # type: ignore[no-any-return]

    @overload
    def __getitem__(self, key: type[T]) -> T: ...
    @overload
    def __getitem__(self, key: tuple[str, type[T]]) -> T: ...
    def __getitem__(self, key: Any) -> Any:
        """world[Place], world["ball", Place] or world[Clock]."""
        if isinstance(key, tuple):
            return self.component(key[1], key[0])
        return self.component(key) if kind_of(key) is Kind.COMPONENT else self.resource(key)

    def generator(self, name: str) -> torch.Generator:
        """The random stream of that name, seeded from (world seed, name) on first use."""
        if name not in self.generators:
            stream = torch.Generator(device=self.device)
            stream.manual_seed(stream_seed(self.seed, name))
            self.generators[name] = stream
        return self.generators[name]

    def notice(self, system: str, term: str, row: int, value: float, count: int) -> None:
        """Count rows in which a term was not finite in this tick."""
        address = f"{system}.{term}"
        if address not in self.nonfinite:
            self.nonfinite[address] = NonFinite(system, term, self.clock.tick, row, value)
            for call in self.noticed:
                call(self.nonfinite[address])
        self.nonfinite[address].count += count

    def columns(self) -> dict[str, torch.Tensor]:
        """Every column by address 'table.Component.column', in order of declaration."""
        return {
            f"{table}.{cls.__name__}.{name}": getattr(instance, name)
            for (table, cls), instance in self.components.items()
            for name in info(cls).columns
        }

    def declaration(self, address: str) -> Column:
        """How the column 'table.Component.column' is declared."""
        table, component, name = address.split(".")
        cls = next(cls for home, cls in self.components if home == table and cls.__name__ == component)
        return info(cls).columns[name]


def column_labels(world: World, address: str) -> list[tuple[str, ...]]:
    """Labels along each axis of a column after the row: those of the table's axes; x y z for three numbers, w x y z for
    four, else counted."""
    shape = world.columns()[address].shape[1:]
    own = world.tables[address.split(".")[0]].axes
    return [
        own[axis] if isinstance(axis, str) else _XYZ.get(size, tuple(map(str, range(size))))
        for axis, size in zip(world.declaration(address).axes, shape, strict=True)
    ]


def flat_labels(world: World, address: str) -> tuple[str, ...]:
    """A label for each value that a column has in one row: 'left_foot.x'; '' where there is only one."""
    return tuple(".".join(parts) for parts in product(*column_labels(world, address)))


def stream_seed(seed: int, name: str) -> int:
    """A 63-bit seed for a named stream: the first bytes of SHA-256 of 'seed/name'."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big") >> 1
