"""A scene function's keyword parameters as command-line flags, and text as their values."""

import argparse
import inspect
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import attrs

from engine.ecs.component import real_types
from engine.errors import SceneError, did_you_mean

_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    Path: "a path",
    type(None): "none",
}
_SHORT = {int: "N", float: "X", str: "TEXT", Path: "PATH", bool: "BOOL"}


@attrs.frozen
class Flag:
    """One flag: the parameter behind it, its type, default and help."""

    name: str
    type: Any
    default: Any = None
    help: str = ""
    bare: bool = False  # may stand without a value

    @property
    def text(self) -> str:
        """As it is typed: --num-envs."""
        return "--" + self.name.replace("_", "-")

    def read(self, text: str) -> Any:
        """`text` as a value of this flag; SceneError when it is none."""
        for option in alternatives(self.type):
            try:
                return _read_one(text, option)
            except ValueError:
                continue
        raise SceneError(f"{self.text} takes {describe(self.type)}, but was given '{text}'.")


RUN = (
    Flag("iterations", int | None, None, "learning iterations in all"),
    Flag("seed", int, 0, "start of every random stream"),
    Flag("device", str, "cpu", "cpu, cuda or cuda:N"),
    Flag("threads", int | None, None, "CPU threads, also of torch if given"),
    Flag("checkpoint_every", int, 50, "iterations between checkpoints"),
    Flag("keep", int, 3, "how many of the newest checkpoints stay"),
    Flag("skip", tuple[str, ...], (), "phases to leave out, such as RECORD,LEARN"),
    Flag("film", bool, True, "film the policy when the run ends"),
)
PLACES = (
    Flag("out", Path | None, None, "folder of the run, instead of runs/<scene>/<time>; the file that --export writes"),
    Flag("resume", Path | None, None, "go on: a run folder continues in place, a checkpoint file into a new folder"),
    Flag("allow_changes", bool, None, "resume although the scene file, robot, clips or packages changed since", True),
    Flag("eval", Path | None, None, "only evaluate this run folder or checkpoint"),
    Flag(
        "play", Path | None, None, "only film this run folder, checkpoint or exported policy; alone: the scene's", True
    ),
    Flag("debug", str, "on", "let the debugger attach: on, off, or tcp:PORT as well"),
    Flag("debug_expose", bool, None, "let --debug tcp:HOST:PORT listen beyond this machine", True),
    Flag("debug_on_detach", Literal["resume", "stay"], "resume", "what a paused run does when its debugger has gone"),
    Flag("record", str | None, None, "keep the recent past of these rows, such as 0-15 or 3,17 (alone: of 16)", True),
    Flag("export", Path | None, None, "only write the policy of this run folder or checkpoint to the file --out"),
)
SWITCHES = {
    "explain": "print tables, columns, the tick and every address",
    "graph": "print the tick as a DOT graph",
    "check": "build and prove the scene",
}
COUNTED = {
    "audit": "run N ticks and report whatever a declaration does not allow",
    "profile": "run N ticks and print what each system costs",
}
_AT_LEAST_1 = ("iterations", "threads", "checkpoint_every", "keep")


def scene_flags(function: Callable[..., Any], source: str) -> tuple[Flag, ...]:
    """The flags of a scene function; SceneError for a parameter that cannot be one.

    A parameter with the name of a flag in RUN (seed, device, threads, …) receives the value of that flag.

    The help of a flag is the text in Annotated[type, "text"].
    """
    hints = real_types(function)
    flags = []
    taken = {flag.name for flag in PLACES} | {"set", "help", *SWITCHES, *COUNTED}
    for parameter in inspect.signature(function).parameters.values():
        where = f"Parameter '{parameter.name}' of scene() in {source}"
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise SceneError(f"{where} has no name to make a flag of; write it as a keyword with a default.")
        if parameter.default is parameter.empty:
            raise SceneError(f"{where} has no default; every flag needs one.")
        if parameter.name in taken:
            raise SceneError(f"{where} has the name of one of the runner's own flags; rename it.")
        kind, text = hints.get(parameter.name, type(parameter.default)), ""
        if get_origin(kind) is Annotated:
            kind, *notes = get_args(kind)
            text = next((note for note in notes if isinstance(note, str)), "")
        if not all(_supported(option) for option in alternatives(kind)):
            raise SceneError(
                f"{where} has type {getattr(kind, '__name__', kind)}, which a flag cannot carry. "
                "Use int, float, str, bool, Path, Literal, None or a tuple of them."
            )
        flags.append(Flag(parameter.name, kind, parameter.default, text))
    return tuple(flags)


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
    return _WORDS.get(kind, str(kind))


def _supported(kind: Any) -> bool:
    if get_origin(kind) is tuple:
        return all(part is Ellipsis or _supported(part) for part in get_args(kind))
    return kind in _WORDS or get_origin(kind) is Literal


def _read_one(text: str, kind: Any) -> Any:
    if get_origin(kind) is Literal:
        matches = [option for option in get_args(kind) if str(option) == text]
        _must(bool(matches), text)
        return matches[0]
    if get_origin(kind) is tuple:
        words = [word.strip() for word in text.strip("()[] ").split(",") if word.strip()]
        parts = get_args(kind)
        if Ellipsis in parts:
            parts = (parts[0],) * len(words)
        _must(len(words) == len(parts), text)
        return tuple(_read_one(word, part) for word, part in zip(words, parts, strict=True))
    if kind is type(None):
        return _must(text.lower() == "none", text)
    if kind is bool:
        _must(text.lower() in ("true", "false"), text)
        return text.lower() == "true"
    if kind is Path:
        _must(text != "", text)
        return Path(text).expanduser()
    value = kind(text)
    _must(value == value, text)  # refuses nan
    return value


def _must(holds: bool, text: str) -> None:
    if not holds:
        raise ValueError(text)


def to_plain(value: Any) -> Any:
    """A flag's value as JSON can carry it; paths become absolute."""
    if isinstance(value, tuple):
        return [to_plain(part) for part in value]
    return str(value.absolute()) if isinstance(value, Path) else value


def from_plain(value: Any, kind: Any) -> Any:
    """The inverse of `to_plain`."""
    options = alternatives(kind)
    if isinstance(value, list):
        return tuple(from_plain(part, str) for part in value)
    return Path(value) if isinstance(value, str) and Path in options and str not in options else value


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise SceneError(message.removeprefix("argument ").rstrip(".") + ". --help lists the flags.")


def make_parser(flags: Sequence[Flag], program: str, description: str) -> argparse.ArgumentParser:
    """A parser whose result holds only what was said: scene flags under 'scene.<name>', others under '<name>'."""
    parser = _Parser(
        prog=program,
        usage=f"{program} [flags]",
        description=description,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=30, width=100),
    )
    runner_has = {flag.name for flag in RUN}
    own = [flag for flag in flags if flag.name not in runner_has]
    if own:
        group = parser.add_argument_group("the scene")
        for flag in own:
            _add(group, flag, f"scene.{flag.name}")
    group = parser.add_argument_group("the run")
    defaults = {flag.name: flag.default for flag in flags}
    for flag in (*RUN, *PLACES):
        default = defaults.get(flag.name) if flag.default is None else flag.default
        _add(group, attrs.evolve(flag, default=default), flag.name)
    group.add_argument(
        "--set",
        action="append",
        metavar="ADDRESS=VALUE",
        help="give a constant another value (repeatable); --explain lists addresses",
    )
    group = parser.add_argument_group("instead of training")
    for name, text in SWITCHES.items():
        group.add_argument(f"--{name}", action="store_true", help=text)
    for name, text in COUNTED.items():
        group.add_argument(f"--{name}", nargs="?", const="50", metavar="N", help=f"{text} (default: 50)")
    return parser


def _add(group: Any, flag: Flag, destination: str) -> None:
    shown = f" (default: {', '.join(map(str, flag.default)) if isinstance(flag.default, tuple) else flag.default})"
    text = (flag.help + (shown if flag.default not in (None, ()) else "")).replace("%", "%%").strip()
    if flag.type is bool and flag.bare:
        group.add_argument(flag.text, action="store_true", dest=destination, help=text)
        return
    if set(alternatives(flag.type)) - {type(None)} == {bool}:
        group.add_argument(flag.text, action=argparse.BooleanOptionalAction, dest=destination, help=text)
        return
    kinds = [option for option in alternatives(flag.type) if option is not type(None)]
    metavar = "|".join(
        "|".join(map(str, get_args(kind))) if get_origin(kind) is Literal else _SHORT.get(kind, "A,B") for kind in kinds
    )
    optional: dict[str, Any] = {"nargs": "?", "const": True} if flag.bare else {}
    group.add_argument(flag.text, dest=destination, metavar=metavar, help=text, **optional)


def parse(arguments: Sequence[str], flags: Sequence[Flag], program: str, description: str) -> dict[str, Any]:
    """What the command line says, converted; SceneError for an unknown flag (with near misses) or a wrong value."""
    parser = make_parser(flags, program, description)
    found, unknown = parser.parse_known_args(list(arguments))
    if unknown:
        word = next((word for word in unknown if word.startswith("-")), unknown[0]).split("=")[0]
        if not word.startswith("-"):
            raise SceneError(f"'{word}' is not expected here: the scene comes first, and every value behind its flag.")
        known = [option for action in parser._actions for option in action.option_strings]
        raise SceneError(f"Unknown flag {word}.{did_you_mean(word, known) or ' --help lists the flags.'}")
    by_name = {f"scene.{flag.name}": flag for flag in flags} | {flag.name: flag for flag in (*RUN, *PLACES)}
    by_name |= {name: Flag(name, int) for name in COUNTED}
    given = {name: by_name[name].read(text) if isinstance(text, str) else text for name, text in vars(found).items()}
    for name in (*_AT_LEAST_1, *COUNTED):
        if given.get(name) is not None and given[name] < 1:
            raise SceneError(f"{by_name[name].text} is {given[name]}; it must be at least 1.")
    if given.get("seed", 0) < 0:
        raise SceneError(f"--seed is {given['seed']}; it must not be negative.")
    given["set"] = read_overrides(given.get("set", []))
    return given


def read_overrides(texts: Sequence[str]) -> dict[str, str]:
    """ADDRESS=VALUE texts as a mapping; SceneError where there is no '='."""
    overrides = {}
    for text in texts:
        address, equals, value = text.partition("=")
        if not equals or not address.strip():
            raise SceneError(f"--set takes ADDRESS=VALUE, but was given '{text}'.")
        overrides[address.strip()] = value.strip()
    return overrides
