"""Configuration of a run: the scene's configuration, the run's settings and options, and how the command line changes them."""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import attrs
import torch

from engine.capture.capture import refuse_capture
from engine.ecs.scene import Simulation, build
from engine.errors import SceneError
from engine.protocol.vitals import find_ends, find_vitals
from engine.ranks.distribution import Distribution, refuse_blocks, usual_block
from engine.runner import flags
from engine.runner.experiment import Experiment, check_device
from engine.runner.run_folder import Origin
from engine.runner.scene_file import SceneFile, error_context, load_scene

PROGRAM = "python -m engine.run"
ORIGINS = ("resume", "eval", "play", "export")
MODES = ("explain", "graph", "check", "audit", "profile")
PLAYED_WITH = ("seed", "device")  # settings of a run that decide what a trained policy does
MOST_THREADS = 256  # more than any processor has are refused, before they run out of memory
_FREE_ON_RESUME = {"iterations", "checkpoint_every", "keep", "film", "film_every"}
_AT_LEAST_1 = ("iterations", "threads", "checkpoint_every", "keep", "film_every", "audit", "profile")


def _flag(default: Any, hint: str | None = None, alone: str | None = None) -> Any:
    """A field whose flag shows a hint in place of its default, or may stand alone, meaning that value."""
    return attrs.field(default=default, metadata={"hint": hint, "alone": alone})


def _switch() -> Any:
    """A field that is false until its flag stands alone."""
    return _flag(False, alone="true")


@attrs.frozen
class RunSettings:
    """Settings of a run that config.json keeps and a resumed run goes on with."""

    iterations: int | None = _flag(None, hint="from the scene")  # learning iterations in all
    seed: int = 0  # start of every random stream
    device: str = "cpu"  # cpu, cuda or cuda:N
    threads: int | None = _flag(None, hint="torch's own choice")  # CPU threads, also of torch if given
    checkpoint_every: int = 50  # iterations between checkpoints
    keep: int = 3  # how many of the newest checkpoints stay
    row_blocks: int | None = _flag(
        None, hint="not cut; as many as fit under torchrun"
    )  # rows in a block: any number of processes then reaches the same bytes
    skip: tuple[str, ...] = _flag((), hint="none")  # phases to leave out, such as RECORD,LEARN
    film: bool = True  # film the policy when the run ends
    film_every: int | None = _flag(None, hint="none")  # iterations between films that are made while it goes on


@attrs.frozen
class RunOptions:
    """Options of one command: where it reads and writes, who may watch, and what to do instead of training."""

    out: Path | None = attrs.field(
        default=None, metadata={"hint": "runs/<scene>/<time>"}
    )  # folder of the run, or the file that --export writes
    resume: Path | None = None  # go on: a run folder continues in place, a checkpoint file into a new folder
    allow_changes: bool = _switch()  # resume although the scene file, its sources or packages changed since
    eval: Path | None = None  # only evaluate this run folder or checkpoint
    play: str | None = _flag(None, alone="")  # only film this run folder, checkpoint or policy; alone: the scene's
    export: Path | None = None  # only write the policy of this run folder or checkpoint to the file --out
    export_takes: Literal["signals", "observation", "observation_json"] = (
        "signals"  # what an exported .onnx file makes joint targets of; _json: all of its metadata is JSON
    )
    debug: str = "on"  # let the debugger attach: on, off, or tcp:PORT as well
    debug_expose: bool = _switch()  # let --debug tcp:HOST:PORT listen beyond this machine
    debug_on_detach: Literal["resume", "stay"] = "resume"  # what a paused run does when its debugger has gone
    capture: Literal["auto", "on", "off", "whole"] = (
        "auto"  # record ticks as CUDA graphs and replay them, by itself on a GPU; whole: in one graph, the simulator's steps included
    )
    record: str | None = _flag(None, alone="")  # keep the recent past of these rows, such as 0-15 or 3,17; alone: of 16
    shards: str | None = _flag(
        None, hint="none"
    )  # start N processes on this machine, each on its own processors; or auto
    rank_timeout: float = 25.0  # s that processes that learn together wait for one of them
    wandb: Literal["offline", "online"] | None = _flag(None, alone="offline")  # numbers for W&B, too; alone: kept here
    set: list[str] = attrs.field(
        factory=list, metadata={"hint": "none"}
    )  # ADDRESS=VALUE: another value of a constant; repeatable
    explain: bool = _switch()  # print tables, columns, the tick and every address, and do nothing else
    graph: bool = _switch()  # print the tick as a DOT graph, and do nothing else
    check: bool = _switch()  # build and prove the scene, and do nothing else
    audit: int | None = _flag(None, alone="50")  # run N ticks (alone: 50), report what a declaration does not allow
    profile: int | None = _flag(None, alone="50")  # run N ticks (alone: 50) and print what each system costs


@attrs.define
class RunPlan:
    """What is to be run, after defaults, a resumed run's configuration and flags are put together."""

    file: SceneFile
    config: Any
    settings: RunSettings
    options: RunOptions
    overrides: dict[str, str]
    name: str | None = None  # of the scene's configuration
    origin: Origin | None = None
    ranks: Any = None  # the processes that learn together, where there are several

    @property
    def source(self) -> str:
        """The scene file, or the dotted module."""
        return self.file.source

    @property
    def in_place(self) -> bool:
        """Whether the run goes on in the folder that it resumes."""
        return self.resumed is not None and self.resumed.path.is_dir() and self.options.out is None

    @property
    def resumed(self) -> Origin | None:
        """What --resume names."""
        return self.origin if self.options.resume is not None else None

    @property
    def playing(self) -> bool:
        """Whether a policy is only evaluated or filmed."""
        return self.options.eval is not None or self.options.play is not None

    @property
    def departures(self) -> dict[str, str]:
        """What a policy is played with that its run was not made with, by flag, "set …" or "config"."""
        made = self.origin.config if self.origin is not None and self.playing else None
        if made is None:
            return {}
        known: dict[str, Any] = {**made.get("run", {}), **made.get("flags", {})}
        given = self.scene_flags | {n: f for n, f in flags.flat(self.settings).items() if n in PLAYED_WITH}
        found = {"config": str(self.name)} if self.file.named and made.get("config", self.name) != self.name else {}
        usual = {
            n: f.plain for n, f in flags.flat(self.file.config(self.name)).items()
        }  # of flags that the run did not have
        found |= {n: flags.write(f.value) for n, f in given.items() if {**usual, **known}.get(n, ...) != f.plain}
        overrides = made.get("overrides", {})
        return found | {f"set {a}": text for a, text in self.typed_overrides.items() if overrides.get(a) != text}

    def changed_since(self, made: Mapping[str, Any] | None) -> dict[str, Any]:
        """The scene's flags, by name, with values that differ from those in a run's configuration."""
        known = (made or {}).get("flags", {})
        return {
            name: flag.value for name, flag in self.scene_flags.items() if known.get(name, flag.plain) != flag.plain
        }

    @property
    def typed_overrides(self) -> dict[str, str]:
        """What this command line says with --set."""
        return flags.read_overrides(self.options.set)

    def plain(self) -> dict[str, Any]:
        """What a resumed run goes on with, as JSON can carry it."""
        groups = {"flags": self.scene_flags, "run": flags.flat(self.settings)}
        plain = {key: {n: f.plain for n, f in group.items()} for key, group in groups.items()}
        return {**({"config": self.name} if self.file.named else {}), **plain, "overrides": dict(self.overrides)}

    @property
    def scene_flags(self) -> dict[str, flags.Flag]:
        """The scene's own flags and their values, but for those that are the run's settings."""
        return flags.flat(self.config, _shared(self.config))

    def experiment(self) -> Experiment:
        """The scene file's experiment, made anew; it gets those settings of the run that it has parameters for."""
        given = {name: getattr(self.settings, name) for name in _shared(self.config)}
        if self.ranks is not None and self.ranks.size > 1:
            given["num_envs"] = self.config.num_envs // self.ranks.size
        return self.file.experiment(attrs.evolve(self.config, **{k: v for k, v in given.items() if v is not None}))

    def build(self, experiment: Experiment | None = None) -> Simulation:
        """The scene to train, built and proven."""
        experiment = experiment or self.experiment()
        with error_context(self.source, "Making the scene"):
            scene = experiment.train()
        if not hasattr(scene, "tables"):
            raise SceneError(f"{self.file.called} returned {type(scene).__name__} instead of a Scene.")
        names = json.dumps(dict(scene.identity), ensure_ascii=False, default=str)
        if not _is_text(names):
            raise SceneError(f"A name in {names!r} is not UTF-8, which a checkpoint cannot keep. Rename its file.")
        with error_context(self.source, "Building the scene"):
            run = self.settings
            simulation = build(scene, seed=run.seed, device=run.device, overrides=self.overrides, skip=run.skip)
            find_ends(simulation)  # what is wrong with them is refused whether or not anything is recorded
            find_vitals(simulation)
            if run.row_blocks is not None:
                Distribution(simulation, run.row_blocks, self.ranks)
            return simulation

    def share(self, ranks: Any) -> None:
        """Let several processes train together, each with its part of the rows; SceneError where that is not possible."""
        total = getattr(self.config, "num_envs", None)
        busy = next(
            (f"--{name}" for name in (*ORIGINS[1:], *MODES) if getattr(self.options, name) not in (None, False)), None
        )
        if busy is not None:
            raise SceneError(f"{busy} is done by one process; start it without torchrun and without --shards.")
        if self.settings.film_every is not None and ranks.size > 1:
            raise SceneError(
                "--film-every lets the other processes wait for longer than they do. Say --film-every none, and film with --play RUN, "
                "also while it goes on."
            )
        if ranks.size > 1 and not isinstance(total, int):
            raise SceneError(
                f"{self.file.called} has no parameter num_envs, the number of rows that {ranks.size} processes would share. Give it one."
            )
        if self.settings.device.startswith("cuda"):
            self._choose_device(ranks)
        size = self.settings.row_blocks
        if size is None and self.in_place and self.origin is not None:
            raise SceneError(
                f"{self.origin.path} was made without blocks of rows, which processes share. Begin a new run from its checkpoint: --resume "
                "CHECKPOINT --out FOLDER, or go on with one process without torchrun."
            )
        if size is None and isinstance(total, int):
            size = usual_block(total)
        if size is not None and isinstance(total, int):
            refuse_blocks(total, size, ranks.size)
        self.settings, self.ranks = attrs.evolve(self.settings, row_blocks=size), ranks

    def _choose_device(self, ranks: Any) -> None:
        """The GPU of this process, by its number on its host."""
        if ranks.local_size > 1 and ":" in self.settings.device:
            raise SceneError(
                f"--device {self.settings.device} would put {ranks.local_size} processes onto one GPU. Say --device cuda: each takes the GPU "
                "of its own number."
            )
        if ranks.local >= torch.cuda.device_count():
            raise SceneError(
                f"Process {ranks.local} of this host has no GPU of its own: there are {torch.cuda.device_count()}. Start as many processes "
                "as GPUs."
            )
        if ":" not in self.settings.device:
            torch.cuda.set_device(ranks.local)
            self.settings = attrs.evolve(self.settings, device=f"cuda:{ranks.local}")


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shared(config: Any) -> list[str]:
    """Fields of a scene's configuration that are settings of the run."""
    return [f.name for f in attrs.fields(type(config)) if hasattr(attrs.fields(RunSettings), f.name)]


def make_plan(arguments: Sequence[str]) -> RunPlan:
    """The plan that a command line asks for; SceneError for whatever is wrong with it."""
    words = list(arguments)
    for word in (*words, os.getcwd()):
        if not _is_text(word):
            raise SceneError(
                f"The name {word!r} is not UTF-8, which the files of a run cannot keep. Rename it, or name a link to it."
            )
    given = words.pop(0) if words and not words[0].startswith("-") else None
    looked_up = _looked_up(words)
    origin = _origin(looked_up)
    if given is None and (origin is None or origin.config is None) and {"-h", "--help"} & {*words}:
        about = "SCENE is a file or module with a function experiment() or scene(); its parameters are flags too."
        flags.parse(words, f"{PROGRAM} SCENE", about, {"run": RunSettings(), "command": RunOptions()})
    file = _scene_file(given, origin)
    name, config, settings, overrides = _defaults(file, origin, looked_up.config)
    hidden = _shared(config)
    scenes = {name: getattr(config, name) for name in hidden if getattr(settings, name) is None}
    settings = attrs.evolve(settings, **scenes)
    _refuse_taken(config, file)
    groups = {"scene": config, "run": settings, "command": RunOptions()}
    if file.named:
        kind: Any = Annotated[Literal[tuple(file.configs)], "named configuration"]
        choice = attrs.make_class("Choice", {"config": attrs.field(type=kind)})
        groups = {"configuration": choice(name), **groups}
    made = flags.parse(words, f"{PROGRAM} {given or file.source}", file.about, groups, hidden)
    plan = RunPlan(file, made["scene"], made["run"], made["command"], overrides, name, origin)
    overrides |= flags.read_overrides(plan.options.set)
    _refuse_combinations(plan)
    if plan.in_place:
        _, recorded, run, kept = _defaults(file, origin, None)
        _refuse_changes(plan, flags.flat(recorded, hidden) | flags.flat(run), kept)
    _check_values(plan, settings)
    if plan.settings.threads:
        torch.set_num_threads(plan.settings.threads)
    return plan


def _looked_up(words: Sequence[str]) -> argparse.Namespace:
    """The flags that decide which other flags there are: "" for one without a value, None for one that is not there."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in (*ORIGINS, "config"):
        parser.add_argument(f"--{name}", nargs="?", const="")
    return parser.parse_known_args(words)[0]


def _origin(given: argparse.Namespace) -> Origin | None:
    """The run folder or checkpoint that --resume, --eval, --play or --export names."""
    for name in ORIGINS:
        path = getattr(given, name)
        if path:
            return Origin.find(Path(path).expanduser())
        if path is not None and name != "play":  # alone it is the policy that comes with the scene
            raise SceneError(f"--{name} takes a run folder or a checkpoint.")
    return None


def _scene_file(given: str | None, origin: Origin | None) -> SceneFile:
    """The scene file that was named, or the one of the run that goes on."""
    recorded: str = origin.config["source"] if origin and origin.config else ""
    if recorded.endswith(".py"):
        recorded = str(Path(recorded).absolute())
    if given is None and not recorded:
        if origin is not None:
            origin.load(print)  # says what is wrong with a file that is no checkpoint
        raise SceneError(f"Say which scene to run first: {PROGRAM} scenes/<name>.py [flags].")
    gone = recorded.endswith(".py") and not Path(recorded).exists()
    if given is None and gone:
        raise SceneError(
            f"The run was made with {recorded}, which is gone. Name the scene file first, before the flags."
        )
    file = load_scene(given or recorded)
    if origin and recorded and file.source != recorded and not gone:
        raise SceneError(f"{origin.path} was made with {recorded}, not with {given}.")
    return file


def _defaults(file: SceneFile, origin: Origin | None, chosen: str | None) -> tuple[Any, ...]:
    """Name, configuration, settings and overrides before flags: of the named configuration, then of the run that goes on."""
    recorded = origin.config if origin and origin.config else {}
    name = chosen or recorded.get("config") or (next(iter(file.configs)) if file.named else None)
    config, settings = file.config(name), RunSettings()
    if not recorded:
        return name, config, settings, {}
    if chosen is None:
        gone = [flag for flag in recorded["flags"] if flag not in flags.flat(config, _shared(config))]
        if gone:
            raise SceneError(f"The run was made with --{gone[0].replace('_', '-')}, which {file.called} no longer has.")
        config = _as_recorded(config, recorded["flags"])
    return name, config, _as_recorded(settings, recorded["run"]), dict(recorded["overrides"])


def _as_recorded(config: Any, plain: Mapping[str, Any]) -> Any:
    known = flags.flat(config)
    return flags.changed(config, {n: flags.from_plain(plain[n], known[n].type) for n in plain if n in known})


def _refuse_taken(config: Any, file: SceneFile) -> None:
    """SceneError where the scene has a flag that the runner needs for itself."""
    taken = {field.name for field in attrs.fields(RunOptions)} | {"config", "help"}
    for field in attrs.fields(type(config)):
        if field.name in taken:
            raise SceneError(
                f"Parameter '{field.name}' of {file.called} has the name of one of the runner's own flags; rename it."
            )


def _refuse_combinations(plan: RunPlan) -> None:
    options = plan.options
    asked = [f"--{name}" for name in ORIGINS if getattr(options, name) is not None]
    if len(asked) > 1:
        raise SceneError(f"{asked[0]} and {asked[1]} cannot be combined; each is a command of its own.")
    if options.allow_changes and options.resume is None:
        raise SceneError("--allow-changes is for a run that goes on; it stands beside --resume.")
    modes = [name for name in MODES if getattr(options, name) not in (None, False)]
    if len(modes) > 1:
        raise SceneError(f"--{modes[0]} and --{modes[1]} are two things to do instead of training; choose one.")


def _refuse_changes(plan: RunPlan, kept: dict[str, flags.Flag], overrides: dict[str, str]) -> None:
    """SceneError when a run that continues in place is given anything that differs from its configuration."""
    changes = [
        (flag.text, kept[name].value, flag.value)
        for name, flag in (plan.scene_flags | flags.flat(plan.settings)).items()
        if name not in _FREE_ON_RESUME and flag.plain != kept[name].plain
        if kept[name].value is not None or name not in _shared(plan.config)
    ]
    changes += [
        (f"--set {a}", overrides.get(a, "not set"), t) for a, t in plan.overrides.items() if overrides.get(a) != t
    ]
    for flag, before, value in changes:
        raise SceneError(
            f"{flag} is {before} in the run's configuration, but {value} was asked for. A run goes on as it began: "
            "leave the flag out, or begin a new run from a checkpoint with --out."
        )


def _check_values(plan: RunPlan, before: RunSettings) -> None:
    """SceneError for a number that cannot be, or a device that is not there."""
    for name in _AT_LEAST_1:
        value = getattr(plan.settings, name, None) if hasattr(before, name) else getattr(plan.options, name)
        if value is not None and value < 1 and value != getattr(before, name, None):
            raise SceneError(f"--{name.replace('_', '-')} is {value}; it must be at least 1.")
    threads, most = plan.settings.threads or 0, max(MOST_THREADS, os.cpu_count() or 1)
    if threads > most:
        raise SceneError(f"--threads is {threads}, for {os.cpu_count()} processors; it is at most {most}.")
    refuse_capture(plan.options.capture, plan.settings.device)
    if plan.settings.seed < 0:
        raise SceneError(f"--seed is {plan.settings.seed}; it must not be negative.")
    if plan.settings.seed >= 2**63:
        raise SceneError(f"--seed is {plan.settings.seed}; it must be below 2**63, {2**63}.")
    check_device(plan.settings.device)
