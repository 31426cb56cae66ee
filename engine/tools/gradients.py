"""Proof that gradients pass through an imagined tick, by running it on two rows."""

from typing import Any

import torch
from torch import Tensor

from engine.ecs.binding import Key
from engine.ecs.component import Kind, assemble, info, kind_of
from engine.ecs.imagination import Imagination, Imagined
from engine.ecs.schedule import Entry
from engine.errors import BuildError

ROWS = 2


def check_gradients(imagination: Imagination, schedule: Any = None, *, begins: tuple[type, ...] = ()) -> None:
    """Raise BuildError that names every imagined system or term where a gradient ends, and the column.

    It is followed from what the first system writes with a gradient, and from the components `begins`.
    """
    world = imagination.schedule.world
    generator = torch.Generator().manual_seed(0)
    axes = world.tables[imagination.table].axes
    state: dict[type, dict[str, Tensor]] = {
        cls: {
            name: torch.randn(ROWS, *shape, generator=generator).to(c.dtype)
            if c.dtype.is_floating_point
            else torch.zeros(ROWS, *shape, dtype=c.dtype)
            for name, c in info(cls).columns.items()
            for shape in [c.shape(axes, cls.__name__)]
        }
        for cls in imagination.given
    }
    streams = {name: stream.get_state() for name, stream in world.generators.items()}
    known = set(world.generators)
    rows = imagination.begin(state, "gradients")
    findings: dict[str, None] = {}
    carrying: set[Key] = {(imagination.table, cls) for cls in begins}
    with torch.enable_grad():
        for _ in range(2):  # what the first step wrote is read in the second
            for entry in imagination.schedule.plan():
                if entry.when is None:
                    findings.update(dict.fromkeys(_follow(rows, entry, carrying)))
    for name in set(world.generators) - known:
        del world.generators[name]
    for name, held in streams.items():
        world.generators[name].set_state(held)
    if findings:
        raise BuildError("\n".join(f"In imagination: {text} {imagination.cure}".rstrip() for text in findings))


def _follow(rows: Imagined, entry: Entry, carrying: set[Key]) -> list[str]:
    """Run one system with gradients on what depends on an action, and say where they end; `carrying` grows."""
    read = [k for k in (*entry.reads, *entry.writes) if kind_of(k[1]) is Kind.COMPONENT and k in rows.present]
    moving = [(k, name) for k in read if k in carrying for name in _floats(rows.present[k])]
    present = {**rows.present, **{k: _leaves(rows.present[k], None if k in carrying else "") for k in read}}
    problem = _run(rows, entry, present)
    if problem:
        for key, name in moving:
            alone = {**rows.present, **{k: _leaves(rows.present[k], name if k == key else "") for k in read}}
            if _run(rows, entry, alone):
                return [f"{entry.place} lets no gradient through {key[1].__name__}.{name} ({problem})."]
        return [f"{entry.place} lets no gradient through ({problem})."]
    written = [key for key in entry.writes if kind_of(key[1]) is Kind.COMPONENT]
    floats = [(key, name) for key in written for name in _floats(present[key])]
    live = [key for key, name in floats if getattr(present[key], name).requires_grad]
    found = [] if live or not moving or not floats else [
        f"{entry.place} reads {moving[0][0][1].__name__}.{moving[0][1]}, but no gradient reaches "
        f"{floats[0][0][1].__name__}.{floats[0][1]}, which it writes: it is cut, or leaves torch."
    ]  # fmt: skip
    carrying.update(live)
    found += [] if found else _blocked(rows, entry, carrying)
    rows.present.update({key: _leaves(present[key], "") for key in written})
    return found


def _blocked(rows: Imagined, entry: Entry, carrying: set[Key]) -> list[str]:
    """Terms with numbers as values, of which no gradient depends on what carries one."""
    found = []
    table = rows.imagination.table
    for name, each in entry.system.terms.items():
        moving = [p.type for p in each.signature.parameters if (table, p.type) in carrying]
        if not moving:
            continue
        resources = {**rows.imagination.schedule.world.resources, **rows.imagination.resources}
        values = {p.name: rows.present.get((table, p.type), resources.get(p.type)) for p in each.signature.parameters}
        values = {
            name: _leaves(value, None) if kind_of(type(value)) is Kind.COMPONENT else value
            for name, value in values.items()
        }
        value = each.function(**values, **each.constants)
        if value.dtype.is_floating_point and not value.requires_grad:
            found.append(
                f"Term `{name}` of {entry.place} lets no gradient through {moving[0].__name__}: "
                "it counts, compares, or leaves torch."
            )
    return found


def _run(rows: Imagined, entry: Entry, present: dict[Key, Any]) -> str:
    """Call it and go back through it; what torch says where that is not possible."""
    try:
        rows.call(entry, present)
        made = [
            getattr(present[key], name)
            for key in entry.writes
            if kind_of(key[1]) is Kind.COMPONENT
            for name in _floats(present[key])
        ]
        moving = [tensor.sum() for tensor in made if tensor.requires_grad]
        if moving:
            torch.stack(moving).sum().backward()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        return str(error).splitlines()[0].rstrip(".")
    return ""


def _floats(component: Any) -> list[str]:
    return [name for name, c in info(type(component)).columns.items() if c.dtype.is_floating_point]


def _leaves(component: Any, only: str | None) -> Any:
    """The component with gradients on the column `only`; None: on every number, '': on none."""
    tensors = {}
    for name in info(type(component)).columns:
        value = getattr(component, name).detach().clone()
        tensors[name] = value.requires_grad_(value.dtype.is_floating_point and only in (None, name))
    return assemble(type(component), tensors)
