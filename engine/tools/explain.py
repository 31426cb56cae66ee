"""Description of a built scene: tables, columns with who writes and reads them, the tick, addresses; and its graph."""

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from textwrap import wrap
from typing import Any

from engine.ecs.binding import Key
from engine.ecs.component import info
from engine.ecs.constants import addresses
from engine.ecs.scene import Simulation
from engine.ecs.schedule import Entry


def explain(simulation: Simulation) -> str:
    """Tables, columns, the tick, and every address with its value, as text."""
    world, schedule = simulation.world, simulation.schedule
    lines = [f"SCENE {world.name}", "", "TABLES"]
    for home in world.tables.values():
        lines.append(f"  {home.name}: {home.rows} rows")
        for axis, labels in home.axes.items():
            shown = ", ".join(labels[:4]) + (", …" if len(labels) > 4 else "")
            lines.append(f"    {axis:<20} {len(labels):>4}  {shown}")
    lines += ["", "COLUMNS, under the component that a signature names; a system that writes one may read it too"]
    for (home_name, cls), instance in world.components.items():
        declared = info(cls)
        kind = f"{declared.lifetime}, {_file(cls)}"
        lines.append(f"  {home_name}.{declared.name} ({kind}): {_first_line(declared.doc)}".rstrip(" :"))
        lines += _users(simulation, (home_name, cls))
        for name, col in declared.columns.items():
            tensor = getattr(instance, name)
            axes = ", ".join(["row", *map(str, col.axes)])
            kind = str(col.dtype).removeprefix("torch.")
            extra = "  ".join(x for x in (col.unit and f"[{col.unit}]", col.doc) if x)
            lines.append(f"    {name:<20} ({axes}) = {tuple(tensor.shape)} {kind}  {extra}".rstrip())
    lines += ["", "RESOURCES"]
    for cls in world.resources:
        lines.append(f"  {cls.__name__}: {_first_line(cls.__doc__)}".rstrip(" :"))
        lines += _users(simulation, ("", cls))
    lines += [
        "",
        "TICK",
        f"  first tick: {schedule.tick.begin}, then from {schedule.tick.entry or schedule.tick.phases[0]}",
    ]
    for phase in (schedule.tick.begin, *schedule.tick.phases):
        entries = [e for e in schedule.entries if e.phase == phase]
        if entries:
            times = f" × {schedule.repeat}" if phase in schedule.tick.repeat and schedule.repeat > 1 else ""
            lines.append(f"  {phase}{times}")
            lines += [f"    {line}" for entry in entries for line in _describe(entry, len(world.tables) > 1)]
    lines += ["", "ADDRESSES"]
    for address, places in addresses(simulation.scene.bundles).items():
        lines.append(f"  {address} = {places[0].holder[places[0].key]!r}")
    return "\n".join(lines)


def _users(simulation: Simulation, key: Key) -> list[str]:
    """Who writes and who reads a component or resource in the tick, and who records it."""
    writers, readers = dict[str, None](), dict[str, None]()
    for entry in simulation.schedule.entries:
        if key in entry.writes:
            when = f" when {entry.when.label}" if entry.when is not None else ""
            writers[
                f"{_named(entry.name, entry.system.function)} ({entry.phase}{when}, {_file(entry.system.function)})"
            ] = None
        if key in entry.asks and key not in entry.writes:
            readers[f"the condition of {entry.name} ({entry.phase})"] = None
        own = [p.type for p in entry.system.signature.parameters if not p.writes]
        if key in entry.reads and key[1] in own:
            readers[f"{_named(entry.name, entry.system.function)} ({entry.phase}, {_file(entry.system.function)})"] = (
                None
            )
        for name, each in entry.system.terms.items():
            if key in entry.reads + entry.writes and key[1] in [p.type for p in each.signature.parameters]:
                term = f"{entry.name}.{_named(name, each.function)}"
                readers[f"{term} ({entry.phase}, {_file(each.function)})"] = None
    recorded = [
        f"{_named(name, each.function)} ({_file(each.function)})"
        for bundle in simulation.scene.bundles
        for name, each in bundle.vitals.items()
        if key[1] in [p.type for p in each.signature.parameters]
    ]
    lines = _listed("written by", writers) if writers else ["    written by no system"]
    lines += _listed("read by", readers) if readers else ["    read by no other system"]
    return lines + (_listed("recorded as", recorded) if recorded else [])


def _listed(what: str, users: Iterable[str]) -> list[str]:
    return wrap(f"{what} {', '.join(users)}", 150, initial_indent="    ", subsequent_indent="        ")


def _named(name: str, function: Callable[..., Any]) -> str:
    """The name in the tick, and the function's where it differs."""
    return name if name == function.__name__ else f"{name} = {function.__name__}"


def _file(thing: Callable[..., Any]) -> str:
    """The file that defines a function or class, as its module is imported."""
    path = thing.__module__.replace(".", "/")
    source = inspect.getsourcefile(inspect.unwrap(thing))
    return f"{path}/__init__.py" if source and Path(source).stem == "__init__" else f"{path}.py"


def _describe(entry: Entry, several: bool) -> list[str]:
    where = f" on {entry.table}" if several and entry.table else ""
    when = f"  when {entry.when.label}" if entry.when is not None else ""
    after = f"  after {entry.system.after}" if entry.system.after else ""
    lines = [
        f"{entry.name} ({entry.bundle}){where}{when}{after}  {_first_line(entry.system.function.__doc__)}".rstrip()
    ]
    reads, writes = _names(entry, entry.reads), _names(entry, entry.writes)
    lines.append(
        f"  reads {reads or 'nothing'}; writes {writes or 'nothing'}"
        + ("; draws" if entry.system.signature.rng else "")
    )
    if entry.system.terms:
        lines.append(f"  terms {', '.join(entry.system.terms)}")
    return lines


def _names(entry: Entry, keys: tuple[Key, ...]) -> str:
    """Names of data; those of another table than the system's own carry that table's name."""
    return ", ".join(cls.__name__ if table in ("", entry.table) else f"{table}.{cls.__name__}" for table, cls in keys)


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().split("\n")[0]


def graph(simulation: Simulation) -> str:
    """The tick as a DOT graph: systems in order (boxes, clustered by phase), components (ellipses), access (edges)."""
    lines = ["digraph tick {", "  rankdir=LR;", '  node [fontname="Helvetica"];']
    schedule = simulation.schedule
    several = len(simulation.world.tables) > 1
    touched: dict[str, None] = {}
    edges: list[str] = []
    previous = ""
    for number, phase in enumerate((schedule.tick.begin, *schedule.tick.phases)):
        entries = [e for e in schedule.entries if e.phase == phase]
        if not entries:
            continue
        lines.append(f'  subgraph cluster_{number} {{ label="{phase}";')
        for entry in entries:
            node = f"{phase}.{entry.bundle}.{entry.name}.{entry.table}"
            lines.append(f'    "{node}" [shape=box, label="{entry.name}"];')
            if previous:
                edges.append(f'  "{previous}" -> "{node}" [style=bold];')
            previous = node
            for keys, form in (
                (entry.reads, '  "{0}" -> "{1}" [color=gray];'),
                (entry.writes, '  "{1}" -> "{0}" [color=red];'),
            ):
                for table, cls in keys:
                    data = f"{table}.{cls.__name__}" if several and table else cls.__name__
                    touched[data] = None
                    edges.append(form.format(data, node))
        lines.append("  }")
    lines += [f'  "{name}" [shape=ellipse];' for name in touched]
    return "\n".join([*lines, *edges, "}"]) + "\n"
