"""Command-line flags made of configurations: every field of an attrs class is a flag, parsed by tyro.

A flag is named by the path to its field: `num_envs` is `--num-envs`, `learning.desired_kl` is `--learning.desired-kl`. Its
help is the text in Annotated[type, "text"], the field's metadata "help", or the comment that ends the field's line. A
field with metadata {"flag": False} is no flag. A run keeps its flags for those who go on with it from another folder: a path
is kept absolute, and where a text names files, a function in Annotated[str, "text", function] says how it is kept. tyro is imported when there is something to parse.
"""

import inspect
import logging
import math
import re
import types
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import attrs

from engine.ecs.component import real_types
from engine.errors import SceneError, did_you_mean
from engine.files import absolute

T = TypeVar("T")
_log = logging.getLogger(__name__)
_NAMES = {  # of the types in sentences, and in the help
    int: ("a whole number", "INT"),
    float: ("a number", "FLOAT"),
    str: ("text", "TEXT"),
    bool: ("true or false", "BOOL"),
    Path: ("a path", "PATH"),
    type(None): ("none", "none"),
}
_CONSTANTS: dict[Any, dict[str, Any]] = {bool: {"true": True, "false": False}, type(None): {"none": None}}


@attrs.frozen
class Flag:
    """One flag: the dotted path to its field, type, value in force and help.

    `hint` stands in the help in place of the default; `alone` is the value of a flag that stands without one; `kept` makes
    of a value that names files one that names them from any folder.
    """

    name: str
    type: Any
    value: Any = None
    help: "str | Callable[[], str]" = ""
    hint: str | None = None
    alone: str | None = None
    kept: Callable[[Any], Any] | None = None

    @property
    def plain(self) -> Any:
        """The value in force as a run's configuration keeps it, which means the same from any folder."""
        return to_plain(self.kept(self.value) if self.kept is not None and self.value is not None else self.value)

    @property
    def text(self) -> str:
        """The flag as it is typed: --num-envs."""
        return "--" + self.name.replace("_", "-")

    @property
    def group(self) -> bool:
        """Whether this is a configuration inside another, whose fields are flags."""
        return isinstance(self.type, type) and attrs.has(self.type)

    @property
    def switch(self) -> bool:
        """Whether it is switched on by its name alone, with no --no-… beside it."""
        return self.type is bool and self.alone is not None

    @property
    def decided_elsewhere(self) -> bool:
        """Whether it may be true, false or left open (`bool | None`)."""
        return set(alternatives(self.type)) == {bool, type(None)}


def fields(config: Any, hidden: Sequence[str] = ()) -> list[Flag]:
    """The flags of one configuration, those inside it as a group."""
    cls = type(config)
    hints, found = real_types(cls), []
    for field in attrs.fields(cls):
        if field.name in hidden or not field.metadata.get("flag", True):
            continue
        kind, text, extra = hints.get(field.name, field.type), field.metadata.get("help", ""), dict[str, Any]()
        if get_origin(kind) is Annotated:
            kind, *notes = get_args(kind)
            text = next((note for note in notes if isinstance(note, str)), text)
            extra["kept"] = next((note for note in notes if callable(note)), None)
        extra |= {name: field.metadata[name] for name in ("hint", "alone") if name in field.metadata}
        text = text or partial(_comment, cls, field.name)
        found.append(Flag(field.name, kind, getattr(config, field.name), text, **extra))
    return found


def flat(config: Any, hidden: Sequence[str] = ()) -> dict[str, Flag]:
    """Every flag of a configuration and of those inside it, by dotted name."""
    found: dict[str, Flag] = {}
    for flag in fields(config, hidden):
        if flag.group:
            found |= {f"{flag.name}.{n}": attrs.evolve(f, name=f"{flag.name}.{n}") for n, f in flat(flag.value).items()}
        else:
            found[flag.name] = flag
    return found


def changed(config: T, values: Mapping[str, Any]) -> T:
    """The configuration with other values, by dotted name."""
    own: dict[str, Any] = {name: value for name, value in values.items() if "." not in name}
    for head in {name.partition(".")[0] for name in values} - own.keys():
        inside = {name.partition(".")[2]: value for name, value in values.items() if name.startswith(f"{head}.")}
        own[head] = changed(getattr(config, head), inside)
    return attrs.evolve(config, **own)  # type: ignore[misc]


def _comment(cls: type, name: str) -> str:
    """The comment at the end of a field's declaration, in the class that declares it."""
    owner = next((each for each in cls.__mro__ if name in inspect.get_annotations(each)), cls)
    with suppress(OSError, TypeError):
        after = re.split(rf"^ +{name} *:", inspect.getsource(owner), maxsplit=1, flags=re.MULTILINE)[1:]
        depth = 0
        for line in "".join(after).splitlines():
            code, _, comment = line.partition("  # ")
            depth += sum(code.count(c) for c in "([{") - sum(code.count(c) for c in ")]}")
            if depth <= 0:
                return comment.strip()
    return ""


def supported(kind: Any) -> bool:
    """Whether a flag can carry a type."""
    if get_origin(kind) in (Union, types.UnionType, tuple):
        return all(part is Ellipsis or supported(part) for part in get_args(kind))
    return kind in _NAMES or get_origin(kind) is Literal


def alternatives(kind: Any) -> tuple[Any, ...]:
    """The members of a union, text last, as it accepts everything."""
    if get_origin(kind) in (Union, types.UnionType):
        parts = [option for part in get_args(kind) for option in alternatives(part)]
        return tuple(sorted(parts, key=lambda option: (option is str) * 2 + (option is Path)))
    return (kind,)


def describe(kind: Any) -> str:
    """A type in words."""
    options = alternatives(kind)
    if len(options) > 1:
        return " or ".join(describe(option) for option in options)
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        parts = get_args(kind)
        if Ellipsis in parts:
            return f"{describe(parts[0])}, repeated with commas between"
        return f"{len(parts)} values with commas between ({', '.join(describe(part) for part in parts)})"
    return _NAMES[kind][0] if kind in _NAMES else str(kind)


def _short(kind: Any) -> str:
    """A type as the help has it: INT|none, A,B for several values."""
    options = alternatives(kind)
    if len(options) > 1:
        return "|".join(map(_short, options))
    if get_origin(kind) is Literal:
        return "|".join(map(str, get_args(kind)))
    return "A,B" if get_origin(kind) is tuple else _NAMES[kind][1]


def read(text: str, kind: Any) -> Any:
    """A text as a value of a type; ValueError when it is not one."""
    for option in alternatives(kind):
        try:
            return _read_one(text, option)
        except ValueError:
            continue
    raise ValueError(f"takes {describe(kind)}, but was given '{text}'.")


def _read_one(text: str, kind: Any) -> Any:
    if get_origin(kind) is tuple:
        words = [word.strip() for word in text.strip("()[] ").split(",") if word.strip()]
        return tuple(read(word, part) for word, part in zip(words, _parts(kind, len(words)), strict=True))
    if kind is Path:
        return Path(text).expanduser()
    if get_origin(kind) is Literal:
        known = {str(option): option for option in get_args(kind)}
    elif kind in _CONSTANTS:
        text, known = text.lower(), _CONSTANTS[kind]
    else:
        known = {text: kind(text)}
    if text not in known or known[text] != known[text]:  # nan
        raise ValueError(text)
    return known[text]


def _parts(kind: Any, count: int) -> tuple[Any, ...]:
    """The types of so many values of a tuple type."""
    parts = get_args(kind)
    return (parts[0],) * count if Ellipsis in parts else parts


def write(value: Any) -> str:
    """A flag's value as it is typed."""
    return "none" if value is None else ",".join(map(write, value)) if isinstance(value, tuple) else str(value)


def to_plain(value: Any) -> Any:
    """A flag's value as JSON can carry it: "inf" for what is not finite; paths become absolute."""
    if isinstance(value, tuple):
        return [to_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return str(absolute(value)) if isinstance(value, Path) else value


def from_plain(value: Any, kind: Any) -> Any:
    """The inverse of `to_plain`."""
    options = alternatives(kind)
    if isinstance(value, list):
        several = next((option for option in options if get_origin(option) is tuple), tuple[str, ...])
        return tuple(from_plain(part, each) for part, each in zip(value, _parts(several, len(value)), strict=False))
    if isinstance(value, str) and str not in options and value in ("inf", "-inf") and float in options:
        return float(value)
    return Path(value) if isinstance(value, str) and Path in options and str not in options else value


def read_overrides(texts: Sequence[str]) -> dict[str, str]:
    """ADDRESS=VALUE texts as a mapping; SceneError where there is no '='."""
    overrides = {}
    for text in texts:
        address, equals, value = text.partition("=")
        if not equals or not address.strip():
            raise SceneError(f"--set takes ADDRESS=VALUE, but was given '{text}'.")
        overrides[address.strip()] = value.strip()
    return overrides


def parse(
    arguments: Sequence[str], program: str, about: str, groups: Mapping[str, Any], hidden: Sequence[str] = ()
) -> dict[str, Any]:
    """The configurations of `groups` with what the command line says instead; `hidden` are fields of "scene" without flags.

    SceneError for an unknown flag (with near misses) or a wrong value. --help prints every flag and exits.
    """
    if not arguments:
        return dict(groups)
    import tyro
    from tyro import _errors

    known = {
        flag.text: flag
        for name, config in groups.items()
        for flag in flat(config, hidden if name == "scene" else ()).values()
    }
    _warn_of_repeats(arguments, known)
    root = attrs.make_class("Flags", {name: attrs.field(type=type(config)) for name, config in groups.items()})
    with _errors.on_parse_error(lambda event: _complain(event, known)):
        made = tyro.cli(
            root,
            prog=program,
            description=about,
            args=_spelled_out(arguments, known),
            default=root(**groups),
            registry=_registry([type(group) for group in groups.values()], type(groups.get("scene")), hidden),
        )
    return {name: getattr(made, name) for name in groups}


def _warn_of_repeats(arguments: Sequence[str], known: Mapping[str, Flag]) -> None:
    """Warn of a flag that is given twice, where only the last one counts."""
    typed = [word.partition("=")[0].replace("_", "-") for word in arguments if word.startswith("--")]
    for text, times in Counter(typed).items():
        if times > 1 and text in known and get_origin(known[text].type) is not list:
            _log.warning(f"{text} is given {times} times; only the last one counts.")


def _spelled_out(arguments: Sequence[str], known: Mapping[str, Flag]) -> list[str]:
    """The arguments, with a value for each flag that may stand alone and does."""
    found: list[str] = []
    for word, after in zip(arguments, [*arguments[1:], "--"], strict=True):
        typed = word.replace("_", "-") if word.startswith("--") and "=" not in word else word
        flag, negated = known.get(typed), known.get("--" + typed.removeprefix("--no-"))
        if flag is not None and not flag.switch and after.startswith("--"):
            alone = "true" if flag.decided_elsewhere else flag.alone
            found += [word] if alone is None else [f"{word}={alone}"]
        elif flag is None and negated is not None and negated.decided_elsewhere:
            found.append(f"{negated.text}=false")
        else:
            found.append(word)
    return found


def _complain(event: Any, known: Mapping[str, Flag]) -> None:
    """SceneError in place of tyro's own report of what cannot be parsed."""
    tokens = getattr(event, "tokens", None)
    if tokens:
        word = next((word for word in tokens if word.startswith("-")), tokens[0]).split("=")[0]
        if not word.startswith("-"):
            raise SceneError(
                f"'{word}' is not expected here: the scene comes first, and every value after its flag. Join a list with "
                "commas, and quote a value with blanks."
            )
        raise SceneError(f"Unknown flag {word}.{did_you_mean(word, ['--help', *known]) or ' --help lists the flags.'}")
    argument = getattr(event, "argument", None)
    name = argument.lowered.name_or_flags[0] if argument is not None else ""
    if name in known and not hasattr(event, "message"):
        raise SceneError(f"{name} takes {describe(known[name].type)}, but was given nothing. --help lists the flags.")
    raise SceneError(f"{name} {getattr(event, 'message', type(event).__name__)}".strip())


def _registry(groups: Sequence[type], scene: type, hidden: Sequence[str]) -> Any:
    """How tyro takes configurations apart, and reads and shows their values."""
    from tyro import conf
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, StructConstructorSpec, StructFieldSpec

    registry = ConstructorRegistry()

    @registry.struct_rule
    def configuration(info: Any) -> Any:
        if not (isinstance(info.type, type) and attrs.has(info.type)):
            return None
        specs = []
        for flag in fields(info.default, hidden if info.type is scene else ()):
            kind: Any = flag.type
            if get_origin(kind) is list:
                kind = Annotated[kind, conf.UseAppendAction]
            elif flag.switch:
                kind = Annotated[kind, conf.FlagCreatePairsOff]
            hint = f"(default: {flag.hint})" if flag.hint and flag.value in (None, (), []) else None
            if info.type in groups:  # their names are headings, but no part of a flag
                kind = Annotated[kind, conf.arg(prefix_name=False, help_behavior_hint=hint)]
            specs.append(StructFieldSpec(flag.name, kind, flag.value, flag.help or None))
        return StructConstructorSpec(lambda **values: attrs.evolve(info.default, **values), tuple(specs))

    @registry.primitive_rule
    def value(info: Any) -> Any:
        kind = info.type
        if kind is bool or not supported(kind):
            return None
        several = any(get_origin(option) is tuple for option in alternatives(kind))

        def instance(words: list[str]) -> Any:
            if not words:
                raise ValueError(f"takes {describe(kind)}, but was given nothing. --help lists the flags.")
            return read(",".join(words), kind)

        return PrimitiveConstructorSpec(
            nargs="*" if several else 1,
            metavar=_short(kind),
            instance_from_str=instance,
            is_instance=lambda value: True,
            str_from_instance=lambda value: [write(value)],
        )

    return registry
