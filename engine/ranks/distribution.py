"""A simulation whose rows are cut into blocks, of one process or of several: how each of its systems is run there.

A system that only touches rows, or only what is the same in all processes, runs as it is. What one may do that writes shared
state from its own rows is decided by how that state is combined (engine/ranks/sharing.py), and refused where nothing says so.
"""

import copy
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import torch
from torch import Tensor

from engine.ecs.access import Terms
from engine.ecs.component import Kind, assemble, info, kind_of
from engine.ecs.condition import AnyRow
from engine.ecs.scene import Simulation
from engine.ecs.schedule import Entry
from engine.ecs.world import World
from engine.errors import BuildError, SceneError, listing
from engine.ranks.blocks import Blocks
from engine.ranks.draws import BlockDraws
from engine.ranks.products import BlockProducts
from engine.ranks.sharing import GATHERED, OWN, REDUCED, Summed, combined

LEAST = 32
"""Rows of a block come in multiples of so many: torch computes the last few numbers of a tensor otherwise than those before."""
MOST = 128  # rows of a block, unless more are asked for
MANY = 8  # blocks, if rows are enough
FIRST_CALLS = 3

Call = Callable[[], None]


def usual_block(rows: int) -> int:
    """Rows of a block where nobody says: as many as leave 8 blocks, at most 128 and at least 32. SceneError where none fit."""
    fitting = [size for size in (128, 64, 32) if rows % size == 0]
    if not fitting:
        raise SceneError(f"{rows} rows cannot be cut into blocks of a multiple of {LEAST} rows.{nearest(rows, LEAST)}")
    return next((size for size in fitting if rows // size >= MANY), fitting[-1])


def nearest(rows: int, step: int) -> str:
    """' The nearest that fit are …' for a number of rows that is no multiple of `step`."""
    below, above = rows // step * step, -(-rows // step) * step
    found = " and ".join(str(each) for each in dict.fromkeys((below, above)) if each)
    return f" The nearest numbers of rows that fit are {found}."


def refuse_blocks(rows: int, size: int, ranks: int) -> None:
    """SceneError where so many rows do not make whole blocks, as many for each process."""
    if size < LEAST or size % LEAST:
        raise SceneError(
            f"Blocks of {size} rows are not possible; give a multiple of {LEAST}, such as {max(LEAST, size // LEAST * LEAST)}."
        )
    if rows % size:
        raise SceneError(f"{rows} rows do not make whole blocks of {size} rows.{nearest(rows, size)}")
    if rows // size < ranks:
        smaller = next((each for each in (128, 64, 32) if each < size and rows % (each * ranks) == 0), None)
        cure = f"say --row-blocks {smaller}, start fewer, " if smaller else "start fewer, "
        raise SceneError(
            f"{ranks} processes are more than the {rows // size} blocks of {size} rows that {rows} rows make: {cure}or simulate at "
            f"least {ranks * size} rows."
        )
    if rows // size % ranks:
        raise SceneError(
            f"{rows} rows make {rows // size} blocks of {size}, which {ranks} processes cannot share evenly."
            f"{nearest(rows, size * ranks)}"
        )


@attrs.frozen
class Anywhere:
    """A condition of rows that holds in all processes where it holds in one."""

    own: AnyRow
    ranks: Any

    @property
    def label(self) -> str:
        """any_row(Component.column) in any process"""
        return f"{self.own.label} in any process"

    def holds(self, world: World) -> bool:
        """True when some row of some process is set."""
        return bool(self.ranks.gather(torch.tensor([self.own.holds(world)], device=world.device)).any())


class Distribution:
    """Runs the systems of a simulation whose rows are cut into blocks of `rows`; `ranks` are the processes that share them.

    Raises BuildError for a system that would make shared state differ between processes, SceneError where nobody learns by blocks.
    """

    def __init__(self, simulation: Simulation, rows: int, ranks: Any = None) -> None:
        self.simulation, self.world, self.ranks = simulation, simulation.world, ranks
        if Blocks not in self.world.resources:
            raise SceneError(
                f"The scene '{self.world.name}' has no learner whose work can be shared or cut into blocks; run it in one process, "
                "without --row-blocks."
            )
        self.blocks: Blocks = self.world.resource(Blocks)
        lengths = {each.rows for each in self.world.tables.values()}
        if len(lengths) > 1:
            raise SceneError(
                f"The scene '{self.world.name}' has tables of {listing(map(str, sorted(lengths)))} rows; only tables of one length are cut "
                "into blocks."
            )
        self.rows = next(iter(lengths))
        refuse_blocks(self.rows * self.size, rows, self.size)
        self.blocks.rows, self.blocks.count, self.blocks.ranks = rows, self.rows // rows, ranks
        first = self.rank * self.blocks.count
        self.own, self.all = range(first, first + self.blocks.count), range(self.blocks.everywhere)
        self.draws = BlockDraws(self.world.device, rows)
        self._calls: dict[int, tuple[int, int]] = {}  # by entry: tick and how often it ran in it
        self._views: dict[tuple[int, int], tuple[Call, Call]] = {}
        self._parts: dict[tuple[int, int], Any] = {}
        self._whole: dict[int, Any] = {}
        self._totals: list[type] = []
        self._products: dict[int, BlockProducts] = {}
        self._plans: dict[int, Callable[[Entry], None]] = {}
        for entry in simulation.schedule.entries:
            self._plan(entry)
        simulation.schedule.wrap = self._run

    @property
    def size(self) -> int:
        """Processes."""
        return self.ranks.size if self.ranks is not None else 1

    @property
    def rank(self) -> int:
        """Number of this one."""
        return self.ranks.rank if self.ranks is not None else 0

    def _run(self, entry: Entry) -> None:
        if self.ranks is not None:
            self.ranks.runs = entry
        self._plans.get(id(entry), _as_it_is)(entry)

    def _plan(self, entry: Entry) -> None:
        """Decide how an entry is run."""
        resources = {cls: combined(cls) for _, cls in (*entry.reads, *entry.writes) if kind_of(cls) is Kind.RESOURCE}
        written = [cls for _, cls in entry.writes if kind_of(cls) is Kind.RESOURCE and resources[cls] is not OWN]
        on_rows = any(kind_of(cls) is Kind.COMPONENT for _, cls in (*entry.reads, *entry.writes))
        run: Callable[[Entry], None] = _as_it_is
        sums = [cls for cls in resources if isinstance(resources[cls], Summed)]
        for cls in sums:
            for name in _fields(cls):
                field: Tensor = getattr(self.world.resource(cls), name)
                self.blocks.sums.setdefault(
                    f"{cls.__name__}.{name}", field.new_zeros((self.blocks.count, *field.shape))
                )
        if needs_all(entry) or (on_rows and any(resources[cls] is GATHERED for cls in written)):
            run = self._gathering
        elif on_rows and any(cls in written for cls in sums):
            run = partial(self._by_block, sums)
        elif sums:
            run = partial(self._folding, sums)
        for cls in written if on_rows and run != self._gathering else ():
            known = resources[cls]
            if isinstance(known, Summed):
                continue
            if known is REDUCED and Blocks in resources:
                continue
            if known is None and not self._from_rows(entry):
                continue
            raise BuildError(_unshared(entry, cls, known is REDUCED))
        if self.ranks is not None and isinstance(entry.when, AnyRow) and (written or needs_all(entry)):
            entry.when = Anywhere(entry.when, self.ranks)
        if on_rows and run is _as_it_is and Blocks not in resources:
            run = self._multiplying
        if entry.system.signature.rng:
            run = partial(self._drawing, run, self.all if run == self._gathering else self.own)
        if run is not _as_it_is:
            self._plans[id(entry)] = run

    @staticmethod
    def _from_rows(entry: Entry) -> bool:
        """Whether what an entry writes into resources may come of its rows: unless its function says that it does not."""
        return not getattr(entry.system.function, "__shares_nothing_of_rows__", False)

    # -- ways to run a system --------------------------------------------------------------------------

    def _drawing(self, run: Callable[[Entry], None], blocks: Sequence[int], entry: Entry) -> None:
        stream, tick = self.world.generator(f"{entry.bundle}.{entry.name}"), self.world.clock.tick
        last, calls = self._calls.get(id(entry), (-1, 0))
        schedule = self.simulation.schedule
        often = schedule.repeat if entry.phase in schedule.tick.repeat else 1
        calls = (calls + 1) % often if last == tick else 0  # a tick that is run again draws the same
        self._calls[id(entry)] = tick, calls
        self.draws.begin(stream, tick, zlib.crc32(entry.phase.encode()) + calls, blocks)
        with self.draws:
            run(entry)

    def _multiplying(self, entry: Entry) -> None:
        """Make matrix products block by block; of a system that made none in its first calls, no more is asked."""
        mode = self._products.get(id(entry))
        if mode is None:
            mode = self._products[id(entry)] = BlockProducts(self.rows, self.blocks.rows)
        if mode.seen or entry.calls < FIRST_CALLS:
            with mode:
                entry.call()
        else:
            entry.call()

    def _by_block(self, sums: Sequence[type], entry: Entry) -> None:
        for block in range(self.blocks.count):
            self._viewed(entry, block, partial(self._part, block=block, sums=sums))()

    def _folding(self, sums: Sequence[type], entry: Entry) -> None:
        for cls in sums:
            self.fold(cls)
        entry.call()

    def fold(self, cls: type) -> None:
        """Add what blocks have summed up to a resource."""
        item: Any = self.world.resource(cls)
        fields = [getattr(item, name) for name in _fields(cls)]
        parts = [self.blocks.sums[f"{cls.__name__}.{name}"] for name in _fields(cls)]
        flat = [part.view(self.blocks.count, -1) for part in parts]
        total = self.blocks.total(list(torch.cat(flat, 1)))
        for field, part, each in zip(fields, parts, torch.split(total, [part.shape[1] for part in flat]), strict=True):
            field.add_(each.view_as(field))
            part.zero_()

    def _gathering(self, entry: Entry) -> None:
        if self.ranks is None:
            entry.call()
            return
        keys = [(table, cls) for table, cls in (*entry.reads, *entry.writes) if kind_of(cls) is Kind.COMPONENT]
        own = [self.world.components[key] for key in dict.fromkeys(keys)]
        pairs = [
            (getattr(item, name), getattr(self._everybodys(item), name))
            for item in own
            for name in info(type(item)).columns
        ]
        packed = torch.cat([each.contiguous().view(-1).view(torch.uint8).view(self.rows, -1) for each, _ in pairs], 1)
        everything = self.ranks.gather(packed).flatten(0, 1)
        widths = [each.element_size() * each[0].numel() for each, _ in pairs]
        for (each, whole), part in zip(pairs, torch.split(everything, widths, 1), strict=True):
            whole.copy_(part.contiguous().view(-1).view(each.dtype).view_as(whole))
        self._viewed(entry, -1, lambda value: self._whole.get(id(value), value))()
        for table, cls in entry.writes:
            if kind_of(cls) is Kind.COMPONENT:
                item = self.world.components[table, cls]
                for name in info(cls).columns:
                    getattr(item, name).copy_(
                        getattr(self._whole[id(item)], name)[self.rank * self.rows :][: self.rows]
                    )

    def _viewed(self, entry: Entry, number: int, seen: Callable[[Any], Any]) -> Call:
        """The call of an entry with other arguments, made anew when its constants were edited."""
        key, call = (id(entry), number), entry.call
        known = self._views.get(key)
        if known is None or known[0] is not call:
            given = {
                name: _terms(value, seen) if isinstance(value, Terms) else seen(value)
                for name, value in _keywords(call).items()
            }
            known = self._views[key] = call, partial(call.func, **given)  # type: ignore[attr-defined]
        return known[1]

    def _part(self, value: Any, block: int, sums: Sequence[type]) -> Any:
        """What a block has of a component, or of a resource to which it adds."""
        kind = kind_of(type(value))
        if kind is Kind.RESOURCE and type(value) not in sums:
            return value
        key = id(value), block
        if kind is not None and key not in self._parts:
            if kind is Kind.COMPONENT:
                rows = slice(block * self.blocks.rows, (block + 1) * self.blocks.rows)
                self._parts[key] = assemble(
                    type(value), {name: getattr(value, name)[rows] for name in info(type(value)).columns}
                )
            else:
                self._parts[key] = self._counter(value, block)
        return self._parts.get(key, value)

    def _counter(self, item: Any, block: int) -> Any:
        """A resource of a block's own, whose summed fields lie in `Blocks.sums`."""
        own, cls = copy.copy(item), type(item)
        for name in _fields(cls):
            setattr(own, name, self.blocks.sums[f"{cls.__name__}.{name}"][block])
        return own

    def _everybodys(self, item: Any) -> Any:
        """The component as the rows of all processes have it."""
        if id(item) not in self._whole:
            columns = {name: getattr(item, name) for name in info(type(item)).columns}
            blank = {name: each.new_zeros((self.size * self.rows, *each.shape[1:])) for name, each in columns.items()}
            self._whole[id(item)] = assemble(type(item), blank)
        return self._whole[id(item)]


def _as_it_is(entry: Entry) -> None:
    entry.call()


def _fields(cls: type) -> tuple[str, ...]:
    """The fields of a summed resource that blocks add to."""
    found = combined(cls)
    return found.fields if isinstance(found, Summed) else ()


def _keywords(call: Callable[..., Any]) -> Mapping[str, Any]:
    return call.keywords  # type: ignore[attr-defined, no-any-return]


def _terms(terms: Terms, seen: Callable[[Any], Any]) -> Terms:
    """The same terms of other arguments."""
    bound: list[Any] = [
        (name, partial(call.func, **{key: seen(value) for key, value in _keywords(call).items()}), settings)  # type: ignore[attr-defined]
        for name, call, settings in terms._bound
    ]
    return Terms(bound)


def on_rows_of_all(function: Callable[..., None]) -> Callable[..., None]:
    """Mark a system that every process runs on the rows of all: one that needs the number of a row in its table, or learns from all."""
    setattr(function, "__on_rows_of_all__", True)
    return function


def shares_nothing_of_rows(function: Callable[..., None]) -> Callable[..., None]:
    """Mark a system that reads rows, and writes into shared resources only what does not come of them."""
    setattr(function, "__shares_nothing_of_rows__", True)
    return function


def needs_all(entry: Entry) -> bool:
    """Whether a system was marked by `on_rows_of_all`."""
    return getattr(entry.system.function, "__on_rows_of_all__", False)


def _unshared(entry: Entry, cls: type, reduced: bool) -> str:
    start = f"{entry.place} of bundle '{entry.bundle}' writes {cls.__name__} from the rows of one process"
    if reduced:
        return f"{start}, and does not take Blocks, by which it would sum over all of them. Give it a parameter of type Blocks."
    return (
        f"{start}, and {cls.__name__} does not say how the processes combine it. Declare COMBINED in its class: OWN, REDUCED, GATHERED or "
        "summed(...) of engine.ranks.sharing; or run this scene in one process, without --row-blocks."
    )
