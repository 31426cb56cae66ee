"""The console script `lockstep`: one name for every command, those of other packages included.

A command is an entry point of the group `lockstep.commands`: a function that takes the words after the command's name and
returns the exit status. The first line of its docstring is its help. The engine brings its own that way too.
"""

import argparse
import difflib
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from engine.errors import LockstepError, SceneError
from engine.terminal import lasting_output

GROUP = "lockstep.commands"
Command = Callable[[list[str]], int]


def commands() -> dict[str, list[EntryPoint]]:
    """Every command that an installed package brings, by name; several where packages disagree."""
    found: dict[str, dict[str, EntryPoint]] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda each: each.name):
        found.setdefault(point.name, {}).setdefault(point.value, point)
    return {name: list(points.values()) for name, points in found.items()}


def load_command(name: str, points: Sequence[EntryPoint]) -> Command:
    """The function of a command; SceneError where two packages bring one of that name, or it cannot be imported."""
    if len(points) > 1:
        raise SceneError(
            f"The command '{name}' is brought by {' and by '.join(sorted(map(_package, points)))}; uninstall one of them."
        )
    (point,) = points
    try:
        function: Command = point.load()
    except Exception as error:  # whatever a foreign package raises
        raise SceneError(
            f"The command '{name}' of {_package(point)} cannot be imported from {point.value} "
            f"({type(error).__name__}: {error}). Reinstall that package, or uninstall it."
        ) from error
    if not callable(function):
        raise SceneError(f"The command '{name}' of {_package(point)} is {point.value}, which is not a function.")
    return function


def _package(point: EntryPoint) -> str:
    return f"the package '{point.dist.name}'" if point.dist is not None else "a package"


def usage() -> str:
    """A line for each command."""
    found = commands()
    width = max(map(len, found), default=0)
    lines = ["usage: lockstep COMMAND [words of the command]", "", "commands:"]
    for name, points in found.items():
        try:
            text = (load_command(name, points).__doc__ or "").strip().splitlines()[:1]
        except SceneError as error:
            text = [f"! {error}"]
        lines.append(f"  {name:{width}}  {''.join(text)}".rstrip())
    return "\n".join([*lines, "", "`lockstep COMMAND --help` says more about one."])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit status, or 2 where there is no such command."""
    return reporting_errors(_run, arguments)


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0
    name, known = words[0], commands()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"Did you mean {near[0]}?" if near else "`lockstep --help` lists them."
        raise SceneError(f"There is no command '{name}'. {hint}")
    return load_command(name, known[name])(words[1:])


class ArgumentParser(argparse.ArgumentParser):
    """argparse's parser; SceneError for what it cannot parse."""

    def error(self, message: str) -> Any:
        """Raise SceneError in place of argparse's own exit."""
        raise SceneError(f"{message[:1].upper()}{message[1:]}. See {self.prog} --help.")


def reporting_errors(command: Command, arguments: Sequence[str] | None = None) -> int:
    """The exit status of a command, by default with this process's words; what a person can mend becomes lines 'error: …'.

    The status is 2 then, and 130 for a command that was interrupted.
    """
    with lasting_output():
        try:
            return command(list(sys.argv[1:] if arguments is None else arguments))
        except LockstepError as error:
            for line in str(error).splitlines():
                print(f"error: {line}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            return 130
        except SystemExit as leaving:  # --help
            return int(leaving.code or 0)
