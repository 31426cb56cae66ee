"""Access of systems and terms: what a signature reads, writes, draws and takes as constants.

`X` reads a component or resource, `Write[X]` reads and writes it, `Rng` is the system's own random
stream, `Terms` the values of fused terms, and everything after `*` is a constant.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin

import attrs
import numpy as np
import torch

from engine.ecs.component import kind_of, real_types
from engine.ecs.world import World
from engine.errors import BuildError

T = TypeVar("T")


class _WriteMark:
    """Marks a parameter that its function writes."""


class _RngMark:
    """Marks the parameter that receives the system's own generator."""


Write = Annotated[T, _WriteMark]
Rng = Annotated[torch.Generator, _RngMark]


@attrs.frozen
class Parameter:
    """One declared access."""

    name: str
    type: type
    writes: bool


@attrs.frozen
class Signature:
    """What a function declares: accesses in order, its random stream, constants with defaults."""

    function: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    rng: str | None
    terms: str | None
    world: str | None
    constants: Mapping[str, Any]
    constant_types: Mapping[str, Any]
    required: frozenset[str]

    @property
    def reads(self) -> tuple[type, ...]:
        """Types that are read only."""
        return tuple(p.type for p in self.parameters if not p.writes)

    @property
    def writes(self) -> tuple[type, ...]:
        """Types that are written (and may be read)."""
        return tuple(p.type for p in self.parameters if p.writes)


class Terms:
    """The fused terms of a system, as its combining function sees them.

    Iterating evaluates them in order and yields (name, value). `setting(key)` returns what each term's
    registration gives for `key` (a weight, a limit, ...), in the same order. A combiner asks `finite` of what it makes of
    the values; where the answer is no, the schedule looks after the system which terms were not. While operations are
    recorded, to be replayed with other `values`, it does not ask (`asks`), as on a GPU: whether they are finite is `unknown`.
    """

    def __init__(self, bound: "list[tuple[str, Callable[[], torch.Tensor], Mapping[str, Any]]]") -> None:
        self._bound = bound
        self.values: list[torch.Tensor] = []
        self._suspect = self.unknown = False
        self.asks = True

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        self.values.clear()
        for name, evaluate, _ in self._bound:
            self.values.append(evaluate())
            yield name, self.values[-1]

    def finite(self, made: torch.Tensor) -> bool:
        """Whether all of these numbers, made of the values, are finite; on a GPU never, as asking would wait for it."""
        if made.device.type != "cpu" or not self.asks:
            self.unknown = True
            return False
        flat = np.from_dlpack(made.detach()).reshape(-1)
        # the fastest way; what is too large to be squared is not called finite
        sound = math.isfinite(np.vdot(flat, flat))
        self._suspect |= not sound
        return sound

    def nonfinite(self, wait: bool) -> "list[tuple[str, int, float, int]]":
        """Name, first row, its number, and how many rows, of each term that was not finite when the values were last asked for.

        Without `wait` nothing is asked of a GPU.
        """
        look, values = self._suspect or (self.unknown and wait), list(self.values)
        self._suspect = self.unknown = False
        self.values.clear()
        if not look:
            return []
        found = []
        for name, value in zip(self.names, values, strict=False):
            bad = ~value.isfinite().view(len(value), -1)
            rows = bad.any(-1).nonzero().flatten().tolist()
            if rows:
                found.append((name, rows[0], float(value.view(len(value), -1)[rows[0]][bad[rows[0]]][0]), len(rows)))
        return found

    def __len__(self) -> int:
        return len(self._bound)

    @property
    def names(self) -> tuple[str, ...]:
        """Term names in declaration order."""
        return tuple(name for name, _, _ in self._bound)

    def stack(self, out: torch.Tensor) -> None:
        """Write the values side by side into `out`, (rows, terms); BuildError names a term whose value does not fit."""
        values = [value for _, value in self]
        if values and values[0].shape != out.shape[:-1]:
            self._refuse(values, out)  # `out` would be resized
        try:
            if torch.is_grad_enabled():  # torch records no `out=`
                self._refuse(values, out)
                out.copy_(torch.stack(values, -1))
            else:
                torch.stack(values, -1, out=out)
        except (RuntimeError, TypeError):
            self._refuse(values, out)
            raise

    def _refuse(self, values: list[torch.Tensor], out: torch.Tensor) -> None:
        for name, value in zip(self.names, values, strict=True):
            if value.shape != out.shape[:-1] or not torch.can_cast(value.dtype, out.dtype):
                kinds = [str(kind).removeprefix("torch.") for kind in (value.dtype, out.dtype)]
                raise BuildError(
                    f"Term `{name}` returned {kinds[0]} of shape {tuple(value.shape)}; its system takes one {kinds[1]} for "
                    f"each row, of shape {tuple(out.shape[:-1])}."
                )

    def setting(self, key: str, default: Any = None) -> list[Any]:
        """One registration setting of every term; `default` where a term does not say."""
        return [settings.get(key, default) for _, _, settings in self._bound]


def read_signature(function: Callable[..., Any]) -> Signature:
    """Parse a system's or term's signature; raises BuildError naming the parameter that is wrong."""
    _refuse_no_function(function)
    name = function.__name__
    types = real_types(function)
    parameters: list[Parameter] = []
    constants: dict[str, Any] = {}
    required: set[str] = set()
    rng = terms = world = None
    for parameter in inspect.signature(function).parameters.values():
        hint = types.get(parameter.name)
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            raise BuildError(
                f"'{name}' takes {str(parameter).split(':')[0]}; a signature must name everything it touches."
            )
        if parameter.kind is parameter.KEYWORD_ONLY:
            if parameter.default is parameter.empty:
                required.add(parameter.name)
            else:
                constants[parameter.name] = parameter.default
            continue
        if hint is None:
            raise BuildError(f"Parameter '{parameter.name}' of '{name}' has no type; its type says what it touches.")
        marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
        base = get_args(hint)[0] if marks else hint
        if _RngMark in marks:
            rng = parameter.name
        elif base is Terms:
            terms = parameter.name
        elif base is World:
            world = parameter.name
        elif kind_of(base) is not None:
            parameters.append(Parameter(parameter.name, base, _WriteMark in marks))
        else:
            raise BuildError(
                f"Parameter '{parameter.name}' of '{name}' has type {getattr(base, '__name__', base)}, which is neither a "
                "component nor a resource. Decorate the class, or make the parameter a constant after `*`."
            )
    constant_types = {key: types.get(key, Any) for key in (*constants, *required)}
    return Signature(function, tuple(parameters), rng, terms, world, constants, constant_types, frozenset(required))


def _refuse_no_function(function: Callable[..., Any]) -> None:
    """BuildError for what is not a plain function, or remembers something."""
    if not inspect.isfunction(function):
        raise BuildError(
            f"{function!r} is not a plain function. A system or term is a function defined with `def`, whose signature says everything it touches."
        )
    if function.__closure__:
        raise BuildError(
            f"'{function.__name__}' is a closure: it remembers {', '.join(function.__code__.co_freevars)} from where it was "
            "made. A system or term has no memory of its own; pass it as a constant after `*`."
        )
