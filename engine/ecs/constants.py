"""Constants of systems and terms: their addresses, values from text, and edits of a running simulation."""

import ast
import inspect
import math
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

import attrs

from engine.ecs.binding import bind
from engine.ecs.bundle import Bundle
from engine.ecs.schedule import Schedule
from engine.errors import SceneError, did_you_mean


@attrs.frozen
class Constant:
    """One place that holds a constant: a dict, its key, and the declared type of the value."""

    holder: dict[str, Any]
    key: str
    type: Any


def addresses(bundles: Sequence[Bundle]) -> dict[str, list[Constant]]:
    """Every constant by address `bundle.system.constant` or `bundle.system.term.constant`.

    A system that stands in the tick twice has one address and several places.
    """
    found: dict[str, list[Constant]] = {}
    for bundle in bundles:
        for each in (s for group in bundle.systems.values() for s in group):
            start = f"{bundle.name}.{each.name}"
            holders = [(start, each.constants, each.signature.constant_types)]
            for label, part in each.terms.items():
                own = f"{start}.{label}"
                holders += [(own, part.constants, part.signature.constant_types), (own, part.settings, each.settings)]
            for place, holder, kinds in holders:
                for key in holder:
                    found.setdefault(f"{place}.{key}", []).append(Constant(holder, key, kinds.get(key, Any)))
    return found


@attrs.define(eq=False)
class Constants:
    """The constants of a built scene. Edits are part of the world (`World.constants`), so that snapshots keep them."""

    bundles: Sequence[Bundle]
    schedule: Schedule
    _originals: dict[str, list[Any]] = attrs.field(factory=dict, init=False)  # of edited ones, as they were built

    def parse(self, address: str, text: str) -> Any:
        """`text` as a value of the constant. Raises SceneError for an unknown address or a value that does not fit."""
        place = self._places(address)[0]
        return parse_value(text, place.type, place.holder[place.key], address)

    def value(self, address: str) -> Any:
        """The value of a constant now. Raises SceneError for an unknown address."""
        place = self._places(address)[0]
        return place.holder[place.key]

    def edit(self, address: str, text: str) -> None:
        """Give a constant another value from now on. Raises SceneError as `parse` and `check_settings` do; nothing has changed then."""
        self.parse(address, text)
        edits = self.schedule.world.constants
        before = dict(edits)
        edits[address] = text
        self.sync()
        try:
            check_settings(self.bundles, self.schedule)
        except SceneError:
            edits.clear()
            edits.update(before)
            self.sync()
            raise

    def sync(self) -> None:
        """Bind systems whose constants are not what `World.constants` says: after an edit, or a restored snapshot."""
        edits = self.schedule.world.constants
        changed: set[int] = set()  # mappings of constants, which several systems may share
        for address in dict.fromkeys([*self._originals, *edits]):
            places = self._places(address)
            originals = self._originals.setdefault(address, [each.holder[each.key] for each in places])
            for place, original in zip(places, originals, strict=True):
                value = parse_value(edits[address], place.type, original, address) if address in edits else original
                place.holder[place.key] = value
                changed.add(id(place.holder))
        for entry in self.schedule.entries:
            terms = entry.system.terms.values()
            own = [entry.system.constants, *(given for each in terms for given in (each.constants, each.settings))]
            if any(id(constants) in changed for constants in own):
                entry.call = bind(entry.system, entry.table, self.schedule.world, f"{entry.bundle}.{entry.name}")

    def _places(self, address: str) -> list[Constant]:
        known = addresses(self.bundles)
        if address not in known:
            raise SceneError(_unknown(address, known))
        return known[address]


def _unknown(address: str, known: Mapping[str, Any]) -> str:
    return f"There is no constant '{address}'.{did_you_mean(address, known) or ' `explain` lists them.'}"


def apply_overrides(bundles: Sequence[Bundle], overrides: Mapping[str, str]) -> None:
    """Set constants by address from text; every address and value is checked before any is changed."""
    known = addresses(bundles)
    ready = []
    for address, text in overrides.items():
        if address not in known:
            raise SceneError(_unknown(address, known))
        ready += [(p, parse_value(text, p.type, p.holder[p.key], address)) for p in known[address]]
    for place, value in ready:
        place.holder[place.key] = value


def parse_value(text: str, declared: Any, current: Any, where: str) -> Any:
    """`text` as the declared type, or as the type of the current value; SceneError when it does not fit."""
    options = _alternatives(declared)
    if not options or Any in options:
        options = (type(current),) if current is not None else (object,)
    try:
        value: Any = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = {"true": True, "false": False, "none": None, "inf": math.inf, "-inf": -math.inf}.get(text.lower(), text)
    for option in sorted(options, key=lambda o: o is str):  # any text is a str, so that is asked last
        for candidate in (value, text):
            try:
                return text if option is str else _fit(candidate, option)
            except ValueError:
                continue
    wanted = " or ".join("None" if o is type(None) else o.__name__ if type(o) is type else str(o) for o in options)
    raise SceneError(f"{where} takes {wanted.replace('typing.', '')}, but was given '{text}'. It is {current!r} now.")


def _alternatives(declared: Any) -> tuple[Any, ...]:
    if get_origin(declared) in (Union, types.UnionType):
        return tuple(o for part in get_args(declared) for o in _alternatives(part))
    return () if declared in (inspect.Parameter.empty, None) else (declared,)


def _fit(value: Any, option: Any) -> Any:
    """`value` as the type `option`; ValueError when it is not a valid one."""
    origin, parts = get_origin(option) or option, get_args(option)
    if origin is object:
        return value
    if origin is Literal and any(value == p and type(value) is type(p) for p in parts):
        return value
    if origin is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if origin in (tuple, list, Sequence) and isinstance(value, (tuple, list)):
        kinds = (
            [parts[0]] * len(value) if len(parts) == 1 or parts[1:] == (...,) else list(parts or [object] * len(value))
        )
        if len(kinds) != len(value):
            raise ValueError
        return (list if origin is list else tuple)(_fit_any(v, kind) for v, kind in zip(value, kinds, strict=True))
    if type(value) is origin:
        return value
    raise ValueError


def _fit_any(value: Any, declared: Any) -> Any:
    for option in _alternatives(declared):
        try:
            return _fit(value, object if option is Any else option)
        except ValueError:
            continue
    raise ValueError


def check_settings(bundles: Sequence[Bundle], schedule: Schedule) -> None:
    """Raise SceneError for a setting that has no effect, as the bundles' own checks find it."""
    for bundle in bundles:
        for each in bundle.checks:
            each(schedule)
