"""The command `lockstep referee`: policies of this and of other projects under one protocol, in one table."""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import attrs
import numpy as np

from engine.errors import SceneError, listing
from engine.files import file_errors, json_bytes, refuse_unwritable, write_file
from systems.deploy.metadata import FORMAT
from systems.deploy.policy import OnnxPolicy, open_session
from systems.referee.arena import Arena, LoadRobot, arena_of_export, refuse_unknown_bodies
from systems.referee.foreign import ForeignPolicy, load_foreign, table_fits
from systems.referee.match import COMMANDS, DIRECTIONS, Protocol, play_motion, pushes, walk, within
from systems.referee.poses import ReferencePoses, reference_of_export
from systems.referee.scores import mean_motion, rounded, tracking_scores, walking_scores
from systems.referee.table import TABLES, known_tables, table_called

if TYPE_CHECKING:
    from systems.referee.rows import RunContender

PROGRAM = "lockstep referee"
ONNX, RUNS = ".onnx", ".lockstep"  # endings of exported policies, and of checkpoints
HEADINGS = {"tracker": "trackers", "walker": "walkers"}


class _Parser(argparse.ArgumentParser):
    """argparse's parser, which raises a sentence for what it cannot parse."""

    def error(self, message: str) -> NoReturn:
        raise SceneError(f"{message[:1].upper()}{message[1:]}. See {self.prog} --help.")


def parser() -> argparse.ArgumentParser:
    """What may be typed."""
    usual = Protocol()
    made = _Parser(
        PROGRAM,
        description="Play policies of this and of other projects under one protocol, and compare them in one table.",
        epilog=f"Tables that come along: {', '.join(known_tables())}. One's own is a TOML file like those in {TABLES}.",
    )
    made.add_argument(
        "policies",
        nargs="+",
        type=Path,
        metavar="POLICY",
        help="exported .onnx file of ours or of another project; run folder or checkpoint of ours, which plays in 64 rows or more",
    )
    made.add_argument(
        "--table",
        metavar="NAME|FILE.toml",
        help="what the foreign policies see whose files it fits (default: the table that comes along and fits)",
    )
    made.add_argument("--clip", help="clip that trackers follow (default: the first that each was trained on)")
    made.add_argument("--episodes", type=int, default=usual.episodes, help="tries at a motion (default: %(default)s)")
    made.add_argument("--seconds", type=float, default=usual.seconds, help="of a walk (default: %(default)s)")
    made.add_argument(
        "--command", nargs=3, type=float, action="append", metavar=("X", "Y", "TURN"),
        help="velocity to walk with, m/s, m/s and rad/s; repeatable (default: "
        + "; ".join(" ".join(f"{x:g}" for x in each) for each in COMMANDS) + ")",
    )  # fmt: skip
    made.add_argument(
        "--push", type=float, default=usual.push, help="m/s that a push adds (default: %(default)s; 0: no pushes)"
    )
    made.add_argument("--seed", type=int, default=usual.seed, help="of the disturbed starts (default: %(default)s)")
    made.add_argument("--json", type=Path, metavar="FILE", help="write protocol and numbers")
    return made


def run_referee(arguments: Sequence[str], load: LoadRobot) -> int:
    """Play what is named and print the table; the exit status. `load` knows robots by name."""
    options = parser().parse_args(arguments)
    protocol = _protocol(options)
    contenders = [_load(path, options, load) for path in options.policies]
    _refuse_senseless(options, contenders)
    results = []
    for each in contenders:
        if each.path.suffix == ONNX:
            print(f"playing {each.path}", file=sys.stderr)
        results.append(each.play(protocol, bool(options.command)))
    problems: list[str] = []
    if options.json is not None:
        with file_errors(f"{options.json} cannot be written", problems.append):
            options.json.parent.mkdir(parents=True, exist_ok=True)
            write_file(options.json, json_bytes({"protocol": protocol.plain(), "policies": results}))
    print("\n\n".join(text for kind in HEADINGS if (text := print_out(kind, results))))
    if problems:
        raise SceneError("\n".join(problems))
    return 0


def _load(path: Path, options: argparse.Namespace, load: LoadRobot) -> "Contender | RunContender":
    if path.suffix == ONNX or not (path.is_dir() or path.suffix == RUNS):
        return Contender.load(path, options.table, load, options.clip)
    from systems.referee.rows import RunContender

    return RunContender.load(path)


def _protocol(options: argparse.Namespace) -> Protocol:
    if options.json is not None:
        if options.json.suffix != ".json" and not options.json.is_dir():
            raise SceneError(
                f"--json writes JSON, not {options.json.name}. Say --json {options.json.with_suffix('.json')}."
            )
        refuse_unwritable(options.json, "--json")
    for name, low in (("episodes", 1), ("seed", 0)):
        if getattr(options, name) < low:
            raise SceneError(f"--{name} is {getattr(options, name)}; give a number from {low} up.")
    if not 0.02 <= options.seconds <= 3600.0:
        raise SceneError(f"--seconds is {options.seconds:g}; give a number from 0.02 to 3600.")
    if not 0.0 <= options.push < math.inf:
        raise SceneError(f"--push is {options.push:g} m/s; give a number from 0 up.")
    commands = tuple((x, y, turn) for x, y, turn in options.command or COMMANDS)
    return Protocol(options.episodes, options.seconds, commands, options.push, options.seed)


@attrs.frozen(eq=False)
class Contender:
    """A policy with its arena, and the motion that it follows."""

    policy: OnnxPolicy
    arena: Arena
    reference: ReferencePoses | None = None  # of a tracker

    @classmethod
    def load(cls, path: Path, table: str | None, load: LoadRobot, clip: str | None = None) -> "Contender":
        """A policy in a file: ours by what the file says, another project's by a table; `clip` is for one that follows any."""
        about = open_session(path).get_modelmeta().custom_metadata_map
        if about.get("format") == FORMAT and about.get("takes") == "signals":
            ours = OnnxPolicy.load(path)
            found = cls(ours, arena_of_export(ours), reference_of_export(ours) if ours.clips else None)
        else:
            named = table if table is not None and table_fits(path, table) else None
            foreign = load_foreign(path, named, load, clip)
            found = cls(foreign, foreign.arena, foreign.reference)
        if found.reference is not None:
            refuse_unknown_bodies(path, found.arena)
        return found

    @property
    def path(self) -> Path:
        """Its file."""
        return self.policy.path

    @property
    def kind(self) -> str:
        """What it does."""
        return "walker" if self.reference is None else "tracker"

    def refuse(self, command: Sequence[float]) -> None:
        """SceneError for a command that it was not trained for."""
        self.policy.refuse(np.array(command))

    def choose(self, clip: str) -> "Contender":
        """The same, following another of its clips. SceneError for one that it was not trained on."""
        self.policy.choose(clip)
        if isinstance(self.policy, ForeignPolicy):
            return self
        return attrs.evolve(self, reference=reference_of_export(self.policy))

    def play(self, protocol: Protocol, typed: bool) -> dict[str, Any]:
        """What came of it. Commands that were not typed are left out where the policy was not trained for them."""
        table = self.policy.table.name if isinstance(self.policy, ForeignPolicy) else ""
        found = {"policy": self.policy.name, "kind": self.kind, "table": table, "robot": self.arena.name}
        if self.reference is not None:
            return {**found, "clip": self.policy.clips[self.policy.clip], "scores": self._track(protocol)}
        commands = [each for each in protocol.commands if typed or within(self.policy, each)]
        if not commands:
            raise SceneError(
                f"{self.policy.path} was trained for none of the usual commands. Give one: --command X Y TURN."
            )
        walks = {each: walk(self.policy, self.arena, each, protocol.seconds) for each in commands}
        mass, dt = self.arena.mass, self.policy.dt
        scores = walking_scores(list(walks.values()), mass, dt)
        if protocol.push:
            scores["pushes survived %"] = 100.0 * pushes(self.policy, self.arena, protocol, commands[0]) / DIRECTIONS
        apart = [
            {"command": each, "moved": mean_motion([went], dt), **rounded(walking_scores([went], mass, dt))}
            for each, went in walks.items()
        ]
        return {**found, "scores": rounded(scores), "walks": apart}

    def _track(self, protocol: Protocol) -> dict[str, Any]:
        assert self.reference is not None
        arena = self.arena
        tries = play_motion(self.policy, arena, self.reference, protocol)
        ends = [arena.tracked.index(each) for each in arena.ends if each in arena.tracked]
        return rounded(tracking_scores(tries, arena.tracked.index(arena.anchor), ends, self.policy.dt))


def _refuse_senseless(options: argparse.Namespace, contenders: "list[Contender | RunContender]") -> None:
    """Choose clips and refuse commands, before anything is played."""
    kinds = {each.kind for each in contenders}
    if options.table is not None:
        chosen = table_called(options.table)
        foreign = [each.policy for each in contenders if isinstance(each.policy, ForeignPolicy)]
        if chosen not in [each.table for each in foreign]:
            raise SceneError(
                f"--table has no effect: {chosen.name} is for files that take {listing(chosen.inputs or [chosen.inputs_key])} and give "
                f"{listing([chosen.action, *chosen.reference.values()])}, and none of the policies does. Give another, or leave it out."
            )
    if options.clip is not None and "tracker" not in kinds:
        raise SceneError("--clip has no effect: none of the policies follows a clip. Leave it out.")
    if options.command is not None and "walker" not in kinds:
        raise SceneError("--command has no effect: none of the policies follows commands. Leave it out.")
    for number, each in enumerate(contenders):
        if options.clip is not None and each.kind == "tracker":
            contenders[number] = each.choose(options.clip)
        for command in options.command or () if each.kind == "walker" else ():
            each.refuse(command)


def print_out(kind: str, results: Sequence[Mapping[str, Any]]) -> str:
    """The table of one kind: a row for each number, a column for each policy; '' without such policies.

    For walkers, a row for each command says how they moved on average: m/s forward, m/s to the left, rad/s.
    """
    chosen = [each for each in results if each["kind"] == kind]
    if not chosen:
        return ""
    rows = [[HEADINGS[kind], *(each["policy"] for each in chosen)]]
    if kind == "tracker":
        rows.append(["clip", *(each["clip"] for each in chosen)])
    rows.append(["robot", *(each["robot"] for each in chosen)])
    for name in dict.fromkeys(name for each in chosen for name in each["scores"]):
        values = [each["scores"].get(name) for each in chosen]
        rows.append([name, *("–" if x is None else f"{x:g}" for x in values)])
    asked = {tuple(went["command"]) for each in chosen for went in each.get("walks", ())}
    for command in sorted(asked, reverse=True):
        moved = [
            next((went["moved"] for went in each["walks"] if tuple(went["command"]) == command), (None,) * 3)
            for each in chosen
        ]
        rows.append([f"asked {_triple(command)}", *map(_triple, moved)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if not at else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def _triple(numbers: Sequence[float | None]) -> str:
    return " ".join("–" if x is None else f"{x + 0.0:.2f}" for x in numbers)
