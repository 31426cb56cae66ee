"""Says what a built scene is: tables, columns, the tick with readers and writers, addresses; and draws it."""

from engine.component import info
from engine.schedule import Entry, addresses
from engine.scene import Simulation


def explain(simulation: Simulation) -> str:
    """Tables, columns, the tick, and every address with its value, as text."""
    world, schedule = simulation.world, simulation.schedule
    lines = [f"SCENE {world.name}", "", "TABLES"]
    for home in world.tables.values():
        lines.append(f"  {home.name}: {home.rows} rows")
        for axis, labels in home.axes.items():
            shown = ", ".join(labels[:4]) + (", …" if len(labels) > 4 else "")
            lines.append(f"    {axis:<20} {len(labels):>4}  {shown}")
    lines += ["", "COLUMNS"]
    for (home_name, cls), instance in world.components.items():
        declared = info(cls)
        lines.append(f"  {home_name}.{declared.name} ({declared.lifetime}): {declared.doc.splitlines()[0] if declared.doc else ''}")
        for name, col in declared.columns.items():
            tensor = getattr(instance, name)
            axes = ", ".join(["row", *map(str, col.axes)])
            kind = str(col.dtype).removeprefix("torch.")
            extra = "  ".join(x for x in (col.unit and f"[{col.unit}]", col.doc) if x)
            lines.append(f"    {name:<20} ({axes}) = {tuple(tensor.shape)} {kind}  {extra}".rstrip())
    lines += ["", "RESOURCES"]
    for cls in world.resources:
        lines.append(f"  {cls.__name__}: {(cls.__doc__ or '').strip().splitlines()[0]}")
    lines += ["", "TICK", f"  first tick: {schedule.tick.begin}, then from {schedule.tick.entry or schedule.tick.phases[0]}"]
    for phase in (schedule.tick.begin, *schedule.tick.phases):
        entries = [e for e in schedule.entries if e.phase == phase]
        if entries:
            times = f" × {schedule.repeat}" if phase in schedule.tick.repeat and schedule.repeat > 1 else ""
            lines.append(f"  {phase}{times}")
            lines += [f"    {line}" for entry in entries for line in _describe(entry)]
    lines += ["", "ADDRESSES"]
    for address, places in addresses(simulation.scene.bundles).items():
        lines.append(f"  {address} = {places[0].holder[places[0].key]!r}")
    return "\n".join(lines)


def _describe(entry: Entry) -> list[str]:
    doc = (entry.system.function.__doc__ or "").strip().splitlines()
    when = f"  when {entry.system.when.label}" if entry.system.when is not None else ""
    lines = [f"{entry.name} ({entry.bundle}){when}  {doc[0] if doc else ''}"]
    reads, writes = _names(entry.system.reads), _names(entry.system.writes)
    lines.append(f"  reads {reads or 'nothing'}; writes {writes or 'nothing'}" + ("; draws" if entry.system.signature.rng else ""))
    if entry.system.terms:
        lines.append(f"  terms {', '.join(entry.system.terms)}")
    return lines


def _names(types: tuple[type, ...]) -> str:
    return ", ".join(t.__name__ for t in types)


def graph(simulation: Simulation) -> str:
    """The tick as a DOT graph: systems in order (boxes, clustered by phase), components (ellipses), access (edges)."""
    lines = ["digraph tick {", "  rankdir=LR;", '  node [fontname="Helvetica"];']
    schedule = simulation.schedule
    touched: dict[str, str] = {}
    edges: list[str] = []
    previous = ""
    for number, phase in enumerate((schedule.tick.begin, *schedule.tick.phases)):
        entries = [e for e in schedule.entries if e.phase == phase]
        if not entries:
            continue
        lines.append(f'  subgraph cluster_{number} {{ label="{phase}";')
        for entry in entries:
            node = f"{phase}.{entry.name}.{entry.table}"
            lines.append(f'    "{node}" [shape=box, label="{entry.name}"];')
            if previous:
                edges.append(f'  "{previous}" -> "{node}" [style=bold];')
            previous = node
            for cls in entry.system.reads:
                touched[cls.__name__] = ""
                edges.append(f'  "{cls.__name__}" -> "{node}" [color=gray];')
            for cls in entry.system.writes:
                touched[cls.__name__] = ""
                edges.append(f'  "{node}" -> "{cls.__name__}" [color=red];')
        lines.append("  }")
    lines += [f'  "{name}" [shape=ellipse];' for name in touched]
    return "\n".join([*lines, *edges, "}"]) + "\n"
