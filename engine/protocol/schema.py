"""Schema of a simulation: its tables, systems and constants, for readers that have none of its code.

A debugger connection and a recording begin with it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from engine.ecs.binding import Key
from engine.ecs.component import info
from engine.ecs.condition import AnyRow
from engine.ecs.constants import addresses
from engine.ecs.scene import Simulation
from engine.ecs.schedule import Entry
from engine.ecs.world import column_labels
from engine.protocol.display import NO_DISPLAY, View
from engine.protocol.framing import pack_array
from engine.protocol.vitals import find_ends, find_vitals

_LONGEST_TEXT = 200  # characters of a constant that is no plain value


def make_schema(simulation: Simulation, view: View = NO_DISPLAY) -> dict[str, Any]:
    """The frame of type 'schema' that describes a simulation.

    Column ids count from 0 in the order of declaration. Data frames name columns only by id. `labels` of a column are those
    along each axis after the row, as breakpoints name them.
    """
    world, schedule = simulation.world, simulation.schedule
    tick = schedule.tick
    return {
        "t": "schema",
        "version": 1,
        "run": {"scene": world.name, "seed": world.seed, "identity": _plain(world.identity)},
        "tables": _tables(simulation, view),
        "resources": [
            {"name": cls.__name__, "doc": _first_line(cls.__doc__), "fields": [f.name for f in attrs.fields(cls)]}
            for cls in world.resources
        ],
        "phases": [{"name": tick.begin, "repeat": 1, "first_tick_only": True}]
        + [
            {"name": name, "repeat": schedule.repeat if name in tick.repeat else 1, "first_tick_only": False}
            for name in tick.phases
        ],
        "systems": [_system(number, entry) for number, entry in enumerate(schedule.entries)],
        "constants": [
            {"address": address, "type": _type_name(places[0].type), "value": _plain(places[0].holder[places[0].key])}
            for address, places in addresses(simulation.scene.bundles).items()
        ],
        "vitals": {
            table: [label for v in vitals for label in v.labels] for table, vitals in find_vitals(simulation).items()
        },
        **view.described(world),
        "endings": {table: {"reasons": list(ends.labels)} for table, ends in find_ends(simulation).items()},
    }


def schema_for_debuggers(simulation: Simulation, view: View = NO_DISPLAY) -> dict[str, Any]:
    """The schema with the models that its figures can be drawn from.

    A recording has none of them: they hold paths of this machine, by which recordings would differ.
    """
    return make_schema(simulation, view) | {"models": view.models()}


def _tables(simulation: Simulation, view: View) -> list[dict[str, Any]]:
    world = simulation.world
    ids = {address: number for number, address in enumerate(world.columns())}
    limits = {a: pack_array(np.array(pairs, np.float32)) for a, pairs in view.limits.items()}
    made: list[dict[str, Any]] = []
    for home in world.tables.values():
        components = []
        for declared in (info(cls) for table, cls in world.components if table == home.name):
            addresses = {f"{home.name}.{declared.name}.{name}": column for name, column in declared.columns.items()}
            columns = [
                {
                    "id": ids[address],
                    "name": column.name,
                    "axes": [axis if isinstance(axis, str) else "" for axis in column.axes],
                    "shape": list(world.columns()[address].shape[1:]),
                    "labels": [list(labels) for labels in column_labels(world, address)],
                    "dtype": str(column.dtype).removeprefix("torch."),
                    "unit": column.unit,
                    "doc": column.doc,
                    "editable": declared.lifetime == "state",
                    "limits": limits.get(address),
                }
                for address, column in addresses.items()
            ]
            components.append(
                {"name": declared.name, "lifetime": declared.lifetime, "doc": declared.doc, "columns": columns}
            )
        axes = [{"name": name, "labels": list(labels)} for name, labels in home.axes.items()]
        made.append({"name": home.name, "rows": home.rows, "axes": axes, "components": components})
    return made


def _system(number: int, entry: Entry) -> dict[str, Any]:
    when = entry.when
    return {
        "id": number,
        "name": entry.name,
        "bundle": entry.bundle,
        "phase": entry.phase,
        "table": entry.table,
        "doc": _first_line(entry.system.function.__doc__),
        "reads": _names(entry.reads),
        "writes": _names(entry.writes),
        "draws": entry.system.signature.rng is not None,
        "when": {
            "label": when.label if when is not None else "",
            "asks": f"{when.table}.{when.component.__name__}.{when.column}" if isinstance(when, AnyRow) else "",
        },
        "terms": [
            {
                "name": name,
                "doc": _first_line(each.function.__doc__),
                "settings": {key: _plain(value) for key, value in each.settings.items()},
            }
            for name, each in entry.system.terms.items()
        ],
    }


def _names(keys: Sequence[Key]) -> list[str]:
    return [f"{table}.{cls.__name__}" if table else cls.__name__ for table, cls in keys]


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().split("\n")[0]


def _type_name(declared: Any) -> str:
    return declared.__name__ if type(declared) is type else str(declared).replace("typing.", "")[:_LONGEST_TEXT]


def _plain(value: Any) -> Any:
    """A plain value as it is, anything else as text."""
    if value is None or isinstance(value, (bool, float, str)):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    return repr(value)[:_LONGEST_TEXT]
