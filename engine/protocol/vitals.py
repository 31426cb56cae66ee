"""What bundles declare for those who watch: which columns say that an episode ended, and vital numbers."""

from collections.abc import Callable, Iterable
from weakref import WeakKeyDictionary

import attrs
import torch
from torch import Tensor

from engine.ecs.bundle import Bundle
from engine.ecs.component import Labels, info
from engine.ecs.scene import Simulation, home_of
from engine.ecs.schedule import bind_term
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
    if simulation not in _ends_of:
        _ends_of[simulation] = _find_ends(_placed(simulation), simulation.world)
    return _ends_of[simulation]


def _placed(simulation: Simulation) -> list[tuple[Bundle, str]]:
    """Bundles, each with the name of its table."""
    return [(bundle, home_of(bundle, simulation.world).name) for bundle in simulation.scene.bundles]


def _find_ends(placed: Iterable[tuple[Bundle, str]], world: World) -> dict[str, Ends]:
    found: dict[str, Ends] = {}
    for bundle, table in placed:
        if bundle.endings is None:
            continue
        if table in found:
            raise BuildError(
                f"Bundle '{bundle.name}' declares the endings of table '{table}', which another bundle declares too; keep one."
            )
        found[table] = _ends(bundle, table, world)
    return found


def _ends(bundle: Bundle, table: str, world: World) -> Ends:
