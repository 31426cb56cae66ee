"""The console script `lockstep COMMAND`, whose commands are entry points of the group `lockstep.commands`.

An entry point is a function that takes the arguments after the command's name and returns the exit status. The first line
of its docstring is its help. The engine registers its own; any distribution adds more.
"""

import importlib.metadata
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint

from engine.errors import LockstepError, SceneError, did_you_mean

GROUP = "lockstep.commands"


def reporting_errors(command: Callable[[list[str]], int], arguments: list[str]) -> int:
    """The exit status of a command; what a person can mend becomes lines 'error: …' and status 2."""
    try:
        return command(arguments)
    except LockstepError as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except SystemExit as leaving:  # --help
        return int(leaving.code or 0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command of any installed distribution, or list them all; the exit status."""
    return reporting_errors(_dispatch, list(sys.argv[1:] if arguments is None else arguments))


def _dispatch(arguments: list[str]) -> int:
    known = commands()
    if not arguments or arguments[0] in ("-h", "--help"):
        return _list(known)
    name, rest = arguments[0], arguments[1:]
    if name not in known:
        raise SceneError(f"There is no command '{name}'.{did_you_mean(name, known) or ' lockstep --help lists them.'}")
    return _load(known[name])(rest)


def commands() -> dict[str, list[EntryPoint]]:
    """The installed commands by name; more than one where distributions contend for a name."""
    found: dict[str, list[EntryPoint]] = {}
    for each in importlib.metadata.entry_points(group=GROUP):
        if each not in found.setdefault(each.name, []):
            found[each.name].append(each)
    return dict(sorted(found.items()))


def _load(several: Sequence[EntryPoint]) -> Callable[[list[str]], int]:
    """The function of a command; SceneError where it cannot be imported or two distributions bring it."""
    each, *others = several
    if others:
        brought = " and ".join(sorted(_distribution(entry) for entry in several))
        raise SceneError(f"The command '{each.name}' is brought by {brought}; uninstall one of them.")
    try:
        found = each.load()
    except Exception as error:  # whatever a plugin's import raises
        raise SceneError(
            f"The command '{each.name}' of {_distribution(each)} cannot be loaded ({type(error).__name__}: {error}). "
            "Reinstall or remove that distribution."
        ) from None
    if not callable(found):
        raise SceneError(f"The command '{each.name}' of {_distribution(each)} is not a function, but {each.value}.")
    return found  # type: ignore[no-any-return]


def _distribution(each: EntryPoint) -> str:
    return each.dist.name if each.dist is not None else each.value


def _list(known: dict[str, list[EntryPoint]]) -> int:
    print("usage: lockstep COMMAND [arguments]\n")
    for name, several in known.items():
        try:
            text = (_load(several).__doc__ or "").strip().split("\n")[0]
        except SceneError as error:
            text = str(error)
        print(f"  {name:<12} {text}".rstrip())
    print("\nlockstep COMMAND --help says more about one of them.")
    return 0
