"""Scenes: tables + bundles, checked and turned into a running simulation."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch

from engine.ecs.bundle import Bundle, Deferred
from engine.ecs.check import check_schedule
from engine.ecs.component import Kind, Labels, assemble, info, kind_of, make, num_bytes
from engine.ecs.constants import Constants, apply_overrides, check_settings
from engine.ecs.imagination import Imagination
from engine.ecs.schedule import Schedule, Tick, make_schedule
from engine.ecs.system import Concatenation, Term
from engine.ecs.table import Table
from engine.ecs.world import Clock, World, stream_seed
from engine.errors import BuildError, SceneError, did_you_mean, listing


@attrs.define(eq=False)
class Scene:
    """Tables, the bundles that fill them, and the tick that runs their systems.

    `identity` is what a snapshot must agree on besides the tables, such as the files that it was made of.
    """

    tables: Sequence[Table]
    bundles: Sequence[Bundle]
    tick: Tick
    name: str = "scene"
    identity: Mapping[str, Any] = attrs.field(factory=dict)

    _built: bool = attrs.field(default=False, init=False)

    @property
    def iteration(self) -> int:
        """Ticks that make one round of work; 1 where no bundle says."""
        return next((b.iteration for b in self.bundles if b.iteration), 1)


@attrs.define(eq=False)
class Simulation:
    """A built scene: its world, the schedule that moves the world, and the constants of its systems."""

    scene: Scene = attrs.field(repr=lambda scene: scene.name)
    world: World = attrs.field(repr=lambda world: f"tick {world.clock.tick}")
    schedule: Schedule = attrs.field(repr=False)
    constants: Constants = attrs.field(repr=False)

    def run(self, ticks: int = 1) -> None:
        """Run whole ticks; the very first one enters at the tick's entry phase."""
        self.schedule.run(ticks)


def build(
    scene: Scene,
    *,
    seed: int = 0,
    device: "str | torch.device" = "cpu",
    overrides: Mapping[str, str] | None = None,
    skip: Sequence[str] = (),
    check: bool = True,
) -> Simulation:
    """Allocate, bind and prove a scene.

    Raises SceneError for an unknown address or unusable value and, before allocating, for columns larger than
    the free memory, and for a setting that has no effect; BuildError for everything that does not fit together.
    """
    _refuse_unusable(scene)
    apply_overrides(scene.bundles, overrides or {})
    scene._built = True
    device = torch.device(device)
    world = World(scene.name, {t.name: t for t in scene.tables}, seed, device, identity=dict(scene.identity))
    _bring_resources(scene.bundles, world)
    homes = {b.name: home_of(b, world) for b in scene.bundles}
    _resolve_axes(scene.bundles, homes, world)
    wanted = _wanted(scene.bundles, homes)
    need = sum(num_bytes(cls, world.tables[home].rows, world.tables[home].axes) for home, cls in wanted)
    refuse_beyond_memory(need, device, max((t.rows for t in scene.tables), default=0))
    _bring_deferred(scene.bundles, homes, world)
    for (home, cls), bundles in wanted.items():
        world.components[home, cls] = _allocate(cls, world.tables[home], bundles, device)
    schedule = make_schedule(world, scene.tick, scene.bundles, skip)
    for bundle, each in ((b, r) for b in scene.bundles for r in b.resources if isinstance(r, Imagination)):
        each.bind(schedule, bundle, homes[bundle.name].name)
    if check:
        check_schedule(schedule)
        check_settings(scene.bundles, schedule)
    constants = Constants(scene.bundles, schedule)
    world.restored.append(constants.sync)
    return Simulation(scene, world, schedule, constants)


def _refuse_unusable(scene: Scene) -> None:
    """BuildError for two parts of one name, and for a scene that was built before."""
    for kind, names in (("bundles", [b.name for b in scene.bundles]), ("tables", [t.name for t in scene.tables])):
        twice = [n for n in names if names.count(n) > 1]
        if twice:
            raise BuildError(f"Two {kind} are called '{twice[0]}'; names must differ.")
    iterations = {b.name: b.iteration for b in scene.bundles if b.iteration}
    if len(set(iterations.values())) > 1:
        raise BuildError(f"Bundles disagree on how many ticks make an iteration: {iterations}.")
    if scene._built:
        raise BuildError(
            f"The scene '{scene.name}' was built before, and its resources and constants belong to that world. "
            "Call the function that makes the scene again."
        )


def _bring_resources(bundles: Sequence[Bundle], world: World) -> None:
    world.resources[Clock] = Clock()
    world.clock.number = world.clock.number.to(world.device)
    for bundle in bundles:
        for item in bundle.resources:
            if isinstance(item, Deferred):
                continue
            if kind_of(type(item)) is not Kind.RESOURCE:
                raise BuildError(f"Bundle '{bundle.name}' brings {item!r}, whose class is not a @resource.")
            _add_resource(item, bundle, world)
    for cls, item in world.resources.items() if world.device.type != "cpu" else ():
        named = ((field.name, getattr(item, field.name)) for field in attrs.fields(cls) if field.init)
        left = {n: v.to(world.device) for n, v in named if isinstance(v, torch.Tensor) and v.device.type == "cpu"}
        world.resources[cls] = attrs.evolve(item, **left) if left else item


def home_of(bundle: Bundle, world: World) -> Table:
    """The table that a bundle is for: the one that it names, else the only one. Raises BuildError without one."""
    if bundle.table is None:
        if len(world.tables) != 1:
            raise BuildError(
                f"Bundle '{bundle.name}' does not say which table it is for; tables: {listing(world.tables)}."
            )
        return next(iter(world.tables.values()))
    if bundle.table not in world.tables:
        raise BuildError(
            f"Bundle '{bundle.name}' is for table '{bundle.table}', which the scene does not have: "
            f"{listing(world.tables)}.{did_you_mean(bundle.table, world.tables)}"
        )
    return world.tables[bundle.table]


def _resolve_axes(bundles: Sequence[Bundle], homes: Mapping[str, Table], world: World) -> None:
    waiting: list[tuple[Bundle, str, Concatenation]] = []
    for bundle in bundles:
        axes = homes[bundle.name].axes
        for axis, given in bundle.axes.items():
            if isinstance(given, Concatenation):
                waiting.append((bundle, axis, given))
                continue
            if callable(given):
                given = given(bundles)
            _add_axis(axes, axis, tuple(map(str, range(given))) if isinstance(given, int) else tuple(given), bundle)
    while waiting:  # a term may read a column that runs along another measured axis
        later: list[tuple[Bundle, str, Concatenation]] = []
        problem = BuildError("")
        for bundle, axis, concatenation in waiting:
            try:
                labels = measure(concatenation.terms, homes[bundle.name], world)
            except BuildError as error:
                problem = error
                later.append((bundle, axis, concatenation))
            else:
                _add_axis(homes[bundle.name].axes, axis, labels, bundle)
        if len(later) == len(waiting):
            raise problem
        waiting = later


def _add_axis(axes: dict[str, Labels], axis: str, labels: Labels, bundle: Bundle) -> None:
    if axes.setdefault(axis, labels) != labels:
        raise BuildError(
            f"Bundle '{bundle.name}' says axis '{axis}' is {listing(labels, 4)} ({len(labels)}), but the table "
            f"already has {listing(axes[axis], 4)} ({len(axes[axis])})."
        )


def measure(terms: Mapping[str, Term], home: Table, world: World) -> Labels:
    """Labels of the concatenated values of terms, by running each on two blank rows."""
    labels: list[str] = []
    for name, each in terms.items():
        values: dict[str, Any] = {
            p.name: world.resource(p.type)
            if kind_of(p.type) is Kind.RESOURCE
            else make(p.type, 2, home.axes, device=world.device)
            for p in each.signature.parameters
        }
        with torch.no_grad():
            value = each.function(**values, **each.constants)
        if value.dim() != 2 or value.shape[0] != 2:
            raise BuildError(
                f"Term `{name}` ({each.function.__name__}) returned shape {tuple(value.shape)} for 2 rows; a concatenated term returns (rows, width)."
            )
        width = value.shape[1]
        labels += [name] if width == 1 else [f"{name}[{i}]" for i in range(width)]
    return tuple(labels)


def _bring_deferred(bundles: Sequence[Bundle], homes: Mapping[str, Table], world: World) -> None:
    for bundle in bundles:
        for item in (r for r in bundle.resources if isinstance(r, Deferred)):
            made = item.factory(homes[bundle.name].axes, stream_seed(world.seed, item.type.__name__), world.device)
            if type(made) is not item.type:
                raise BuildError(
                    f"Bundle '{bundle.name}' defers {item.type.__name__}, but its factory made a {type(made).__name__}."
                )
            _add_resource(made, bundle, world)


def _add_resource(item: Any, bundle: Bundle, world: World) -> None:
    if world.resources.setdefault(type(item), item) is not item:
        raise BuildError(
            f"Two bundles bring the resource {type(item).__name__} ('{bundle.name}' is the second); keep one."
        )


def _wanted(bundles: Sequence[Bundle], homes: Mapping[str, Table]) -> dict[tuple[str, type], list[Bundle]]:
    """Every component of every table, with the bundles that list it."""
    wanted: dict[tuple[str, type], list[Bundle]] = {}
    for bundle in bundles:
        for cls in bundle.components:
            info(cls)
            wanted.setdefault((homes[bundle.name].name, cls), []).append(bundle)
    return wanted


def _allocate(cls: type, home: Table, bundles: Sequence[Bundle], device: torch.device) -> Any:
    blank: Any = make(cls, home.rows, home.axes, device=device)
    tensors = {}
    for name, declared in info(cls).columns.items():
        own = getattr(blank, name)
        offers = [t for t in (b.storage(cls, name) for b in bundles if b.storage) if t is not None]
        if offers and (offers[0].shape != own.shape or offers[0].dtype != own.dtype):
            raise BuildError(
                f"{cls.__name__}.{name} is declared {declared.axes} = {tuple(own.shape)} {own.dtype} but was given storage of "
                f"{tuple(offers[0].shape)} {offers[0].dtype}."
            )
        tensors[name] = offers[0].data if offers else own
    return assemble(cls, tensors)


def refuse_beyond_memory(need: int, device: torch.device, rows: int) -> None:
    """SceneError when `need` bytes for the columns of `rows` rows are more than the device has free; called before allocating."""
    if device.type == "cuda":
        free = float(torch.cuda.mem_get_info(device)[0])
    else:
        free = free_host_memory()
    if need > free:
        raise SceneError(
            f"The scene's columns need {need / 2**30:.1f} GiB for {rows} rows, but {device} has {free / 2**30:.1f} GiB free; at most "
            f"{int(rows * free / need)} rows fit."
        )


def free_host_memory() -> float:
    """Bytes that can still be allocated: what is available, else all that is installed, else unknown (inf)."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
        return sizes["MemAvailable"]
    except (OSError, KeyError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return math.inf
