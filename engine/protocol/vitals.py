"""What bundles declare for those who watch: which columns say that an episode ended, and vital numbers."""

from collections.abc import Callable
from weakref import WeakKeyDictionary

import attrs
import torch
from torch import Tensor

from engine.ecs.binding import bind_term
from engine.ecs.bundle import Bundle
from engine.ecs.component import Labels, info
from engine.ecs.scene import Simulation, home_of
from engine.ecs.system import Term
from engine.ecs.world import World
from engine.errors import BuildError, did_you_mean, listing


@attrs.frozen(eq=False)
class Ends:
    """The columns that `Endings` name, of one table: (rows,) bool, `reason` (rows, labels) bool, `began` (rows,) integer."""

    table: str
    ended: Tensor
    failed: Tensor
    reason: Tensor | None
    labels: Labels
    began: Tensor | None
    follow: tuple[Tensor, ...] = ()


@attrs.frozen(eq=False)
class Vital:
    """A bound vital term: `value()` is (rows,) or (rows, labels)."""

    name: str
    labels: Labels
    value: Callable[[], Tensor]


_ends_of: WeakKeyDictionary[Simulation, dict[str, Ends]] = WeakKeyDictionary()
_vitals_of: WeakKeyDictionary[Simulation, dict[str, list[Vital]]] = WeakKeyDictionary()


def find_ends(simulation: Simulation) -> dict[str, Ends]:
    """The endings of each table that has some, found once for each simulation.

    Raises BuildError for a column that is not there or not what it must be, and for a second declaration.
    """
    if simulation in _ends_of:
        return _ends_of[simulation]
    found: dict[str, Ends] = {}
    for bundle in simulation.scene.bundles:
        if bundle.endings is None:
            continue
        table = home_of(bundle, simulation.world).name
        if table in found:
            raise BuildError(
                f"Bundle '{bundle.name}' declares the endings of table '{table}', which another bundle declares too; keep one."
            )
        found[table] = _ends(bundle, table, simulation.world)
    return _ends_of.setdefault(simulation, found)


def _ends(bundle: Bundle, table: str, world: World) -> Ends:
    given = bundle.endings
    assert given is not None
    ended = _column(bundle, table, world, given.component, given.ended, "ended")
    failed = _column(bundle, table, world, given.component, given.failed, "failed") if given.failed else ended
    reason: Tensor | None = None
    labels: Labels = ("ended",)
    if given.reason:
        reason = _column(bundle, table, world, given.component, given.reason, "reason")
        axis = info(given.component).columns[given.reason].axes[0]
        labels = world.tables[table].axes[axis] if isinstance(axis, str) else tuple(map(str, range(axis)))
    began = _column(bundle, table, world, *given.began, "began") if given.began else None
    follow = tuple(_column(bundle, table, world, *place, "follow") for place in given.follow)
    return Ends(table, ended, failed, reason, labels, began, follow)


def _column(bundle: Bundle, table: str, world: World, component: type, name: str, role: str) -> Tensor:
    """A column with the shape and dtype of its role."""
    where = f"Bundle '{bundle.name}' declares the endings of table '{table}' by {component.__name__}"
    if (table, component) not in world.components:
        raise BuildError(f"{where}, which the table lacks. Add the component to the bundle.")
    known = info(component).columns
    if name not in known:
        raise BuildError(f"{where}.{name}, but {component.__name__} has {listing(known)}.{did_you_mean(name, known)}")
    column: Tensor = getattr(world.components[table, component], name)
    fits = column.dtype in (torch.int32, torch.int64) if role == "began" else column.dtype == torch.bool
    if not fits or column.dim() != (2 if role == "reason" else 1):
        wanted = {"reason": "(rows, one axis) bool", "began": "(rows,) int64"}.get(role, "(rows,) bool")
        kind = str(column.dtype).removeprefix("torch.")
        raise BuildError(f"{where}.{name} ({role}), which is {tuple(column.shape)} {kind}; it must be {wanted}.")
    return column


def find_vitals(simulation: Simulation) -> dict[str, list[Vital]]:
    """The vital terms of each table, bound once for each simulation, in the order of bundles.

    Raises BuildError when two have one name, an access cannot be bound, or a value is not one or more numbers per row.
    """
    if simulation in _vitals_of:
        return _vitals_of[simulation]
    found: dict[str, list[Vital]] = {}
    for bundle in simulation.scene.bundles:
        table = home_of(bundle, simulation.world).name
        for name, each in bundle.vitals.items():
            vitals = found.setdefault(table, [])
            if name in [other.name for other in vitals]:
                raise BuildError(
                    f"Bundle '{bundle.name}' brings the vital term `{name}`, which another bundle brings too; names must differ."
                )
            vitals.append(_vital(name, each, table, simulation.world))
    return _vitals_of.setdefault(simulation, found)


def _vital(name: str, each: Term, table: str, world: World) -> Vital:
    value = bind_term(each, table, world)
    rows = world.tables[table].rows
    with torch.no_grad():
        blank = value()
    if blank.dim() not in (1, 2) or blank.shape[0] != rows:
        raise BuildError(
            f"Vital term `{name}` ({each.function.__name__}) returned shape {tuple(blank.shape)} for {rows} rows; "
            "it must return (rows,) or (rows, width)."
        )
    width = 1 if blank.dim() == 1 else blank.shape[1]
    axis = world.tables[table].axes.get(each.settings.get("axis", ""), ())
    if len(axis) == width and blank.dim() == 2:
        return Vital(name, tuple(f"{name}[{label}]" for label in axis), value)
    return Vital(name, (name,) if width == 1 else tuple(f"{name}[{i}]" for i in range(width)), value)
