"""Scenes: tables + bundles, checked and turned into a running simulation; constants set by address."""

import ast
import inspect
import math
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Union, get_args, get_origin

import attrs
import torch

from engine.bundle import Bundle, Concatenation, Deferred, Term
from engine.check import check_schedule
from engine.component import Kind, Labels, assemble, info, kind_of, make, num_bytes
from engine.errors import BuildError, SceneError, did_you_mean, listing
from engine.schedule import Schedule, Tick, addresses, make_schedule
from engine.table import Table
from engine.world import Clock, World, stream_seed


@attrs.define(eq=False)
class Scene:
    """What a scene function returns.

    `identity` is what a snapshot must agree on besides the tables (robot, clips, …). `report` turns a
    world into the numbers of one learning iteration, `evaluate` measures a trained world (both optional;
    see engine/run.py).
    """

    tables: Sequence[Table]
    bundles: Sequence[Bundle]
    tick: Tick
    name: str = "scene"
    identity: Mapping[str, Any] = attrs.field(factory=dict)
    report: Callable[[World], dict[str, float]] | None = None
    evaluate: Callable[..., dict[str, Any]] | None = None
    panel: Sequence[str] = ()
    iterations: int = 100

    @property
    def iteration(self) -> int:
        """Ticks of one learning iteration; 1 without a learner."""
        return next((b.iteration for b in self.bundles if b.iteration), 1)


@attrs.define(eq=False)
class Simulation:
    """A world and the schedule that moves it."""

    scene: Scene
    world: World
    schedule: Schedule

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

    Raises SceneError for an unknown address or unusable value, BuildError for everything that does not
    fit together, MemoryError-like SceneError before allocating more than the machine has.
    """
    names = [b.name for b in scene.bundles]
    if len(set(names)) != len(names):
        raise BuildError(f"Two bundles are called '{next(n for n in names if names.count(n) > 1)}'; names must differ.")
    apply_overrides(scene.bundles, overrides or {})
    device = torch.device(device)
    world = World(scene.name, {t.name: t for t in scene.tables}, seed, device, identity=dict(scene.identity))
    _bring_resources(scene.bundles, world)
    homes = {b.name: _home(b, world) for b in scene.bundles}
    _resolve_axes(scene.bundles, homes, world)
    _bring_deferred(scene.bundles, homes, world, seed)
    _allocate(scene.bundles, homes, world)
    schedule = make_schedule(world, scene.tick, scene.bundles, skip)
    if check:
        check_schedule(schedule)
    return Simulation(scene, world, schedule)


def _bring_resources(bundles: Sequence[Bundle], world: World) -> None:
    world.resources[Clock] = Clock()
    for bundle in bundles:
        for item in bundle.resources:
            if isinstance(item, Deferred):
                continue
            if kind_of(type(item)) is not Kind.RESOURCE:
                raise BuildError(f"Bundle '{bundle.name}' brings {item!r}, whose class is not a @resource.")
            if world.resources.get(type(item), item) is not item:
                raise BuildError(f"Two bundles bring the resource {type(item).__name__} ('{bundle.name}' is the second); keep one.")
            world.resources[type(item)] = item


def _home(bundle: Bundle, world: World) -> Table:
    if bundle.table is None:
        if len(world.tables) != 1:
            raise BuildError(f"Bundle '{bundle.name}' does not say which table it is for; tables: {listing(world.tables)}.")
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
            labels: Labels = tuple(str(i) for i in range(given)) if isinstance(given, int) else tuple(given)
            if axes.get(axis, labels) != labels:
                raise BuildError(
                    f"Bundle '{bundle.name}' says axis '{axis}' is {listing(labels, 4)} ({len(labels)}), but the table "
                    f"already has {listing(axes[axis], 4)} ({len(axes[axis])})."
                )
            axes[axis] = labels
    while waiting:
        before = len(waiting)
        problem: BuildError | None = None
        for item in list(waiting):
            bundle, axis, concatenation = item
            try:
                labels = measure(concatenation.terms, homes[bundle.name], world)
            except BuildError as error:
                problem = error
                continue
            homes[bundle.name].axes[axis] = labels
            waiting.remove(item)
        if len(waiting) == before:
            raise problem or BuildError("Axes wait for each other.")


def measure(terms: Mapping[str, Term], home: Table, world: World) -> Labels:
    """Labels of the concatenated values of terms, by running each on two blank rows."""
    labels: list[str] = []
    for name, each in terms.items():
        values = {
            p.name: world.resource(p.type)
            if kind_of(p.type) is Kind.RESOURCE
            else make(p.type, 2, home.axes, device=world.device)
            for p in each.signature.parameters
        }
        with torch.no_grad():
            value = each.function(**values, **each.constants)
        if value.dim() != 2 or value.shape[0] != 2:
            raise BuildError(
                f"Term `{name}` ({each.function.__name__}) returned shape {tuple(value.shape)} for 2 rows; "
                "a concatenated term returns (rows, width)."
            )
        width = value.shape[1]
        labels += [name] if width == 1 else [f"{name}[{i}]" for i in range(width)]
    return tuple(labels)


def _bring_deferred(bundles: Sequence[Bundle], homes: Mapping[str, Table], world: World, seed: int) -> None:
    for bundle in bundles:
        for item in bundle.resources:
            if isinstance(item, Deferred):
                made = item.factory(homes[bundle.name].axes, stream_seed(seed, item.type.__name__), world.device)
                world.resources[item.type] = made


def _allocate(bundles: Sequence[Bundle], homes: Mapping[str, Table], world: World) -> None:
    wanted: dict[tuple[str, type], Bundle] = {}
    for bundle in bundles:
        for cls in bundle.components:
            wanted.setdefault((homes[bundle.name].name, cls), bundle)
    need = sum(num_bytes(cls, world.tables[name].rows, world.tables[name].axes) for name, cls in wanted)
    refuse_beyond_memory(need, world.device, "The scene's columns")
    for (name, cls), bundle in wanted.items():
        home = world.tables[name]
        offered = {c: bundle.storage(cls, c) for c in info(cls).columns} if bundle.storage else {}
        blank = make(cls, home.rows, home.axes, device=world.device)
        tensors = {c: getattr(blank, c) if offered.get(c) is None else offered[c].data for c in info(cls).columns}  # type: ignore[union-attr]
        world.components[name, cls] = assemble(cls, tensors)


def refuse_beyond_memory(need: int, device: torch.device, what: str) -> None:
    """SceneError when `need` bytes are more than the device has free; called before allocating."""
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        free = _free_host_memory()
    if need > free:
        raise SceneError(
            f"{what} need {need / 2**30:.1f} GiB, but {device} has {free / 2**30:.1f} GiB free. Use fewer rows (--num-envs)."
        )


def _free_host_memory() -> float:
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
        return float(sizes["MemAvailable"])
    except (OSError, KeyError, ValueError, IndexError):
        return math.inf


def apply_overrides(bundles: Sequence[Bundle], overrides: Mapping[str, str]) -> None:
    """Set constants by address from text; every address and value is checked before any is changed."""
    known = addresses(bundles)
    ready = []
    for address, text in overrides.items():
        if address not in known:
            raise SceneError(f"There is no constant '{address}'.{did_you_mean(address, known) or ' --explain lists them.'}")
        for place in known[address]:
            ready.append((place, parse_value(text, place.type, place.holder[place.key], address)))
    for place, value in ready:
        place.holder[place.key] = value


def parse_value(text: str, declared: Any, current: Any, where: str) -> Any:
    """`text` as the declared type, or as the type of the current value; SceneError when it does not fit."""
    options = _alternatives(declared)
    if not options or Any in options:
        options = (type(current),) if current is not None else (object,)
    if str in options and len(options) == 1:
        return text
    try:
        value: Any = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
        if text.lower() in ("true", "false"):
            value = text.lower() == "true"
        elif text.lower() == "none":
            value = None
        elif text.lower() in ("inf", "-inf"):
            value = float(text)
    for option in options:
        if option is object:
            return value
        if option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if option is tuple and isinstance(value, (tuple, list)):
            return tuple(value)
        if option is type(None) and value is None:
            return None
        if isinstance(option, type) and type(value) is option:
            return value
    if str in options:
        return text
    wanted = " or ".join("None" if o is type(None) else getattr(o, "__name__", str(o)) for o in options)
    raise SceneError(f"{where} takes {wanted}, but was given '{text}'. It is {current!r} now.")


def _alternatives(declared: Any) -> tuple[Any, ...]:
    origin = get_origin(declared)
    if origin in (Union, types.UnionType):
        return tuple(o for part in get_args(declared) for o in _alternatives(part))
    if origin is not None and origin.__name__ == "Literal":
        return tuple({type(a) for a in get_args(declared)})
    if origin is not None:
        return (tuple,) if origin in (tuple, list) or getattr(origin, "__name__", "") == "Sequence" else (origin,)
    return () if declared in (inspect.Parameter.empty, None) else (declared,)
