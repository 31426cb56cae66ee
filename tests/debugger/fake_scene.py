"""Scenes that are described by tables of names, so that tests of the debugger get their schemas from `make_schema`."""

import inspect
from collections.abc import Mapping, Sequence
from types import FunctionType
from typing import Any

import attrs
import torch
from torch import Tensor

from engine import (
    Bundle,
    Endings,
    Scene,
    System,
    Terms,
    Tick,
    Write,
    build,
    column,
    component,
    derived,
    fuse,
    signal,
    system,
    table,
    term,
)
from engine.protocol.display import View
from engine.protocol.schema import make_schema

LIFETIMES = {"state": component, "derived": derived, "signal": signal}


@attrs.frozen
class FakeColumn:
    """One column: `axes` are names of axes, or sizes."""

    axes: tuple[str | int, ...] = ()
    dtype: str = "float32"
    unit: str = ""
    doc: str = ""


@attrs.frozen
class FakeSystem:
    """One system, which does nothing: `reads` and `writes` name components, `terms` settings by name of the term."""

    name: str
    phase: str
    reads: Sequence[str] = ()
    writes: Sequence[str] = ()
    doc: str = ""
    bundle: str = "task"
    when: Any = None
    constants: Mapping[str, Any] = attrs.field(factory=dict)
    terms: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    draws: bool = False


def fake_component(name: str, columns: Mapping[str, FakeColumn], lifetime: str = "state", doc: str = "") -> type:
    """A component class with these columns."""
    fields = {
        key: column(*each.axes, dtype=getattr(torch, each.dtype), unit=each.unit, doc=each.doc)
        for key, each in columns.items()
    }
    made = type(name, (), {"__annotations__": dict.fromkeys(columns, Tensor), "__doc__": doc or name, **fields})
    return LIFETIMES[lifetime](made)


def _function(name: str, doc: str, types: Mapping[str, Any], constants: Mapping[str, Any]) -> Any:
    """A function without effect that declares what it touches."""
    made = FunctionType((lambda *_, **__: None).__code__, {}, name)
    kind = inspect.Parameter
    made.__doc__, made.__annotations__ = doc, dict(types)
    parameters = [kind(key, kind.POSITIONAL_OR_KEYWORD, annotation=each) for key, each in types.items()]
    parameters += [kind(key, kind.KEYWORD_ONLY, default=value) for key, value in constants.items()]
    made.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return made


def blank() -> Tensor:
    """A term that is always 0."""
    return torch.zeros(1)


def blank_rows(*, width: int, rows: int) -> Tensor:
    """Vital numbers that are always 0."""
    return torch.zeros(rows, width)


def fake_system(each: FakeSystem, components: Mapping[str, type]) -> System:
    """A system as described."""
    types: dict[str, Any] = {f"read_{name}": components[name] for name in each.reads}
    types |= {f"write_{name}": Write[components[name]] for name in each.writes}  # type: ignore[misc]
    types |= {"rng": torch.Generator} if each.draws else {}
    if each.terms:
        function = _function(each.name, each.doc, types | {"terms": Terms}, each.constants)
        known = {key: type(value) for settings in each.terms.values() for key, value in settings.items()}
        return fuse(function, {name: term(blank, **settings) for name, settings in each.terms.items()}, settings=known)
    return system(_function(each.name, each.doc, types, each.constants), when=each.when)


def fake_schema(
    components: Sequence[type],
    systems: Sequence[FakeSystem],
    *,
    rows: int,
    axes: Mapping[str, Sequence[str]],
    phases: Sequence[str],
    repeat: Sequence[str] = (),
    repeats: int | None = None,
    name: str = "fake",
    seed: int = 0,
    identity: Mapping[str, Any] | None = None,
    view: View | None = None,
    endings: Endings | None = None,
    vitals: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The schema of a scene with one table 'robot'. `vitals`: by name the axis that its numbers run along, '' for one number."""
    known = {each.__name__: each for each in components}
    first = systems[0].bundle if systems else "task"
    bundles = []
    for owner in dict.fromkeys([first, *(each.bundle for each in systems)]):
        placed: dict[str, list[System]] = {}
        for each in systems:
            if each.bundle == owner:
                placed.setdefault(each.phase, []).append(fake_system(each, known))
        bundles.append(Bundle(owner, systems=placed))
    bundles[0].components, bundles[0].endings, bundles[0].repeat = components, endings, repeats
    bundles[0].vitals = {
        name: term(blank_rows, width=len(axes[axis]) if axis else 1, rows=rows, axis=axis)
        for name, axis in (vitals or {}).items()
    }
    scene = Scene(
        [table("robot", rows=rows, axes=axes)],
        bundles,
        Tick(tuple(phases), tuple(repeat)),
        name=name,
        identity=identity or {},
    )
    return make_schema(build(scene, seed=seed, check=False), view or View())
