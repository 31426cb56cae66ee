"""Terms: small pure functions that return a tensor; many are fused into one system."""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

import attrs
from torch import Tensor

from engine.ecs.access import Signature, read_signature
from engine.errors import BuildError, did_you_mean, listing


@attrs.define(eq=False)
class Term:
    """A registered term: its function, constants, and what its registration says to the combiner."""

    function: Callable[..., Tensor]
    signature: Signature
    constants: dict[str, Any]
    settings: dict[str, Any]


def term(function: Callable[..., Tensor], **given: Any) -> Term:
    """Register a pure function. Keywords it takes after `*` are its constants; the others are settings.

    Raises BuildError when the function writes, draws, reads the world, or lacks a constant.
    """
    signature = read_signature(function)
    name = function.__name__
    if signature.writes:
        raise BuildError(
            f"Term `{name}` declares Write[{signature.writes[0].__name__}]. A term only reads; keep its state in a system."
        )
    if signature.rng or signature.world or signature.terms:
        raise BuildError(
            f"Term `{name}` takes {signature.rng or signature.world or signature.terms}; a term only reads."
        )
    accepted = {*signature.constants, *signature.required}
    constants = {**signature.constants, **{k: v for k, v in given.items() if k in accepted}}
    missing = signature.required - constants.keys()
    if missing:
        raise BuildError(f"Term `{name}` needs {listing(sorted(missing))}; pass it to term({name}, ...).")
    return Term(function, signature, constants, {k: v for k, v in given.items() if k not in accepted})


@attrs.define(eq=False)
class System:
    """A registered system: a function, its constants, and when and where it runs. `settings`: see `fuse`."""

    name: str
    function: Callable[..., None]
    signature: Signature
    constants: dict[str, Any]
    when: Any = None
    after: str | None = None
    tables: Mapping[str, str] = attrs.field(factory=dict)
    terms: dict[str, Term] = attrs.field(factory=dict)
    may_sync: str = ""
    wide: bool = False
    settings: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def reads(self) -> tuple[type, ...]:
        """Everything that is only read, the terms' reads included."""
        written = set(self.writes)
        seen: dict[type, None] = dict.fromkeys(self.signature.reads)
        for each in self.terms.values():
            seen.update(dict.fromkeys(each.signature.reads))
        return tuple(t for t in seen if t not in written)

    @property
    def writes(self) -> tuple[type, ...]:
        """Everything that may be written."""
        return self.signature.writes


def system(
    function: Callable[..., None],
    *,
    name: str | None = None,
    when: Any = None,
    after: str | None = None,
    tables: Mapping[str, str] | None = None,
    may_sync: str = "",
    wide: bool = False,
    **constants: Any,
) -> System:
    """Register a function as a system.

    `when` is a condition; `after` the name of the system it must directly follow in its phase; `tables`
    points a parameter at a table; `may_sync` gives the reason why it may wait for device values; `wide` lets it use all of torch's threads. The
    others run on one: waking threads costs small operations more than it saves, and simulators bring their own.
    Raises BuildError for an unknown or missing constant.
    """
    signature = read_signature(function)
    label = name or function.__name__
    accepted = {*signature.constants, *signature.required}
    unknown = [key for key in constants if key not in accepted]
    if unknown:
        raise BuildError(
            f"System `{label}` has no constant '{unknown[0]}'; it has {listing(sorted(accepted)) or 'none'}.{did_you_mean(unknown[0], accepted)}"
        )
    missing = signature.required - constants.keys()
    if missing:
        raise BuildError(f"System `{label}` needs {listing(sorted(missing))}; pass it to system({label}, ...).")
    if inspect.isgeneratorfunction(function):
        raise BuildError(f"System `{label}` is a generator; a system runs to its end when it is called.")
    return System(
        label, function, signature, {**signature.constants, **constants}, when, after, tables or {}, {}, may_sync, wide
    )


def fuse(
    combiner: Callable[..., None],
    terms: Mapping[str, Term],
    *,
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> System:
    """One system from many terms: `combiner` has a parameter of type `Terms` that yields their values.

    Access is the union of the combiner's and the terms'. `settings` are those that the combiner reads of a term, by name
    with their types. Other keywords are those of `system`. Raises BuildError for a term with another setting.
    """
    made = system(combiner, name=name, **options)
    if made.signature.terms is None:
        raise BuildError(f"`{made.name}` cannot fuse terms: give it a parameter of type Terms.")
    check_terms(made.name, terms, settings or {})
    made.terms, made.settings = dict(terms), dict(settings or {})
    return made


def check_terms(combiner: str, terms: Mapping[str, Term], settings: Collection[str]) -> None:
    """Raise BuildError for a term with a setting that its combiner, which reads `settings`, would ignore."""
    for label, each in terms.items():
        known = [*each.constants, *settings]
        for key, value in each.settings.items():
            if key not in settings:
                raise BuildError(
                    f"Term `{label}` of `{combiner}` has no setting '{key}', so {key}={value!r} has no effect. "
                    f"It has {listing(known) or 'none'}.{did_you_mean(key, known)}"
                )


@attrs.frozen(eq=False)
class Concatenation:
    """An axis that is as long as some terms' values together; the engine measures it at build."""

    terms: Mapping[str, Term]


def concatenated(terms: Mapping[str, Term]) -> Concatenation:
    """The axis along which the values of `terms` stand side by side, labelled 'term' or 'term[i]'."""
    return Concatenation(dict(terms))
