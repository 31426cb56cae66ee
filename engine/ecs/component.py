"""Components: attrs classes of tensors, one row per entity, each with a lifetime.

`@component` keeps its value until somebody writes it; `@derived` is a cache that must agree with its
sources whenever it is read; `@signal` is valid only in the tick that wrote it; `@resource` exists once
per world and may hold anything.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Literal, TypeVar, dataclass_transform, get_type_hints

import attrs
import torch
from torch import Tensor

from engine.errors import AccessError, BuildError, did_you_mean, listing

T = TypeVar("T")
Labels = tuple[str, ...]
Axes = Mapping[str, "int | Sequence[str]"]
Lifetime = Literal["state", "derived", "signal"]


@attrs.frozen
class Column:
    """What one tensor of a component is: its axes after the row, dtype, unit, meaning and first value."""

    name: str
    axes: tuple[str | int, ...]
    dtype: torch.dtype
    unit: str
    doc: str
    fill: float

    def shape(self, axes: Axes, owner: str) -> tuple[int, ...]:
        """Sizes of the axes after the row; raises BuildError for an axis that nobody declared."""
        sizes = []
        for axis in self.axes:
            if isinstance(axis, int):
                sizes.append(axis)
            elif axis in axes:
                sizes.append(axis_size(axes[axis]))
            else:
                raise BuildError(
                    f"{owner}.{self.name} runs along axis '{axis}', which the table does not have. "
                    f"It has: {listing(axes) or 'no axes'}. Add it to the table's axes.{did_you_mean(axis, axes)}"
                )
        return tuple(sizes)


@attrs.frozen
class ComponentInfo:
    """The declaration behind a component class."""

    name: str
    lifetime: Lifetime
    doc: str
    columns: Mapping[str, Column]


def axis_size(axis: "int | Sequence[str]") -> int:
    """Length of an axis given as a size or as labels."""
    return axis if isinstance(axis, int) else len(axis)


def column(
    *axes: str | int,
    dtype: torch.dtype = torch.float32,
    unit: str = "",
    doc: str = "",
    fill: float = 0.0,
) -> Any:
    """Declare one tensor of a component with shape (rows, *axes).

    `fill` is its value when the world is made. Axes are names that the table resolves, or plain sizes.
    """
    return attrs.field(metadata={"axes": axes, "dtype": dtype, "unit": unit, "doc": doc, "fill": fill})


def _refuse_assignment(self: Any, name: str, value: Any) -> None:
    if getattr(self, name, None) is value:  # `c.x += t` ends in an assignment of the same tensor
        return
    owner = type(self).__name__
    if name not in info(type(self)).columns:
        raise AccessError(
            f"{owner} has no column '{name}'; it has {listing(info(type(self)).columns)}.{did_you_mean(name, info(type(self)).columns)}"
        )
    raise AccessError(
        f"{owner}.{name} was assigned, which would replace its storage. "
        f"Write into it: {owner}.{name}.copy_(value), {owner}.{name}[:] = value, or an in-place operation."
    )


def _declare(cls: type[T], lifetime: Lifetime) -> type[T]:
    declared = attrs.define(eq=False, slots=False, frozen=False)(cls)
    columns = {}
    for field in attrs.fields(declared):  # type: ignore[arg-type]
        if "axes" not in field.metadata:
            raise BuildError(
                f"{cls.__name__}.{field.name} is not declared with column(...); a component holds tensors only."
            )
        columns[field.name] = Column(name=field.name, **field.metadata)
    setattr(declared, "__lockstep__", ComponentInfo(cls.__name__, lifetime, (cls.__doc__ or "").strip(), columns))
    setattr(declared, "__setattr__", _refuse_assignment)
    setattr(declared, "__init__", _init)
    setattr(declared, "make", classmethod(make))  # type: ignore[arg-type]
    return declared


def _init(self: Any, **tensors: Tensor) -> None:
    self.__dict__.update(tensors)


@dataclass_transform(kw_only_default=True)
def component(cls: type[T]) -> type[T]:
    """State: keeps its value until somebody writes it."""
    return _declare(cls, "state")


@dataclass_transform(kw_only_default=True)
def derived(cls: type[T]) -> type[T]:
    """A cache: must agree with what its writer read, whenever it is read."""
    return _declare(cls, "derived")


@dataclass_transform(kw_only_default=True)
def signal(cls: type[T]) -> type[T]:
    """Valid only in the tick that wrote it; never part of a snapshot."""
    return _declare(cls, "signal")


@dataclass_transform(kw_only_default=True)
def resource(cls: type[T]) -> type[T]:
    """One object per world: a clock, a simulator, a library, counters.

    A snapshot saves every field except those declared with `constant()`. A class that needs more says
    so with `state() -> dict` and `load(dict)`.
    """
    declared = attrs.define(eq=False, slots=False, kw_only=True)(cls)
    setattr(declared, "__lockstep_resource__", True)
    return declared


def constant(**options: Any) -> Any:
    """A field of a resource that is fixed by the scene, so that snapshots leave it out."""
    return attrs.field(metadata={"constant": True}, **options)


class Kind(Enum):
    """What a type in a signature stands for."""

    COMPONENT = "component"
    RESOURCE = "resource"


def kind_of(cls: Any) -> Kind | None:
    """COMPONENT, RESOURCE, or None for a class that the engine does not know."""
    if isinstance(cls, type) and "__lockstep__" in vars(cls):
        return Kind.COMPONENT
    if isinstance(cls, type) and getattr(cls, "__lockstep_resource__", False):
        return Kind.RESOURCE
    return None


def info(cls: Any) -> ComponentInfo:
    """The declaration of a component class; raises BuildError for any other class."""
    found = vars(cls).get("__lockstep__") if isinstance(cls, type) else None
    if found is None:
        raise BuildError(f"{cls!r} is not a component. Decorate it with @component, @derived or @signal.")
    return found  # type: ignore[no-any-return]


def make(
    cls: type[T], rows: int, axes: Axes | None = None, *, device: "torch.device | str" = "cpu", **values: Any
) -> T:
    """Allocate a component of `rows` rows; `values` are broadcast into their columns.

    `axes` maps an axis name to its labels or size. Raises BuildError for an unknown column, an unknown
    axis, or a value whose shape does not fit.
    """
    declaration = info(cls)
    unknown = [name for name in values if name not in declaration.columns]
    if unknown:
        raise BuildError(
            f"{declaration.name} has no column '{unknown[0]}'; it has {listing(declaration.columns)}.{did_you_mean(unknown[0], declaration.columns)}"
        )
    tensors = {}
    for name, col in declaration.columns.items():
        shape = (rows, *col.shape(axes or {}, declaration.name))
        tensor = torch.full(shape, col.fill, dtype=col.dtype, device=device)
        if name in values:
            given = torch.as_tensor(values[name], dtype=col.dtype, device=device)
            try:
                tensor.copy_(given.expand(shape))
            except RuntimeError:
                raise BuildError(
                    f"{declaration.name}.{name} is declared {col.axes} = {shape} but was given {tuple(given.shape)}."
                ) from None
        tensors[name] = tensor
    return cls(**tensors)


def assemble(cls: type[T], tensors: Mapping[str, Tensor]) -> T:
    """A component over storage that exists already, one tensor per column."""
    return cls(**tensors)


def num_bytes(cls: Any, rows: int, axes: Axes) -> int:
    """Memory of a component before anything is allocated."""
    declaration = info(cls)
    return sum(
        rows * math.prod(col.shape(axes, declaration.name)) * torch.empty(0, dtype=col.dtype).element_size()
        for col in declaration.columns.values()
    )


def real_types(function: Callable[..., Any]) -> dict[str, Any]:
    """Parameter types of a function as objects; a clear error where they are postponed and unknown."""
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise BuildError(
            f"The types in the signature of '{function.__name__}' cannot be read ({error}). "
            "Import what they name at run time and do not use `from __future__ import annotations` there."
        ) from None
