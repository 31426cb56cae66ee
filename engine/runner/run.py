"""The command line: python -m engine.run scenes/<name>.py [flags]."""

import inspect
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import attrs
import torch

from engine.ecs.scene import Scene, Simulation, build
from engine.ecs.schedule import addresses
from engine.ecs.world import World
from engine.errors import LockstepError, SceneError
from engine.inspect.inspector import Inspector
from engine.inspect.interventions import counted
from engine.inspect.listener import parse_debug
from engine.runner import commands as use
from engine.runner import flags as command
from engine.runner.checkpoint import checkpoint_name
from engine.runner.commands import PROGRAM, print_facts
from engine.runner.console import Panel, duration, make_console, results_table
from engine.runner.debugging import attended
from engine.runner.provenance import made_of
from engine.runner.recording import Watch, rows_to_record
from engine.runner.resume import Start, resume
from engine.runner.run_folder import Origin, RunFolder, refuse_unusable
from engine.runner.scene_file import blaming, load_scene, make_scene
from engine.snapshot.snapshot import restore, save

SHARE_OF_PHASE = {
    "TORQUE": "physics",
    "STEP": "physics",
    "LEARN": "learning",
}  # for the time split only; others are systems
_FREE_ON_RESUME = {"iterations", "checkpoint_every", "keep", "film"}
_ORIGINS = ("resume", "eval", "play", "export")


@attrs.define
class Plan:
    """What is to be run, after flags, defaults and a resumed run's configuration are put together."""

    source: str
    function: Callable[..., Any]
    scene_flags: tuple[command.Flag, ...]
    flags: dict[str, Any]
    run: dict[str, Any]
    overrides: dict[str, str]
    given: dict[str, Any]
    origin: Origin | None = None

    def scene(self) -> Scene:
        """Call the scene function with its flags; it also gets those of the runner that it has parameters for."""
        shared = {
            flag.name: self.run[flag.name]
            for flag in self.scene_flags
            if flag.name in self.run and self.run[flag.name] is not None
        }
        return make_scene(self.function, self.source, {**self.flags, **shared})

    def build(self) -> Simulation:
        """The scene, built and proven."""
        scene = self.scene()
        with blaming(self.source, "Building the scene"):
            return build(
                scene, seed=self.run["seed"], device=self.run["device"], overrides=self.overrides, skip=self.run["skip"]
            )


@attrs.define
class Stop:
    """Remembers a request to stop; a second one stops at once."""

    requested: bool = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Answer Ctrl-C and SIGTERM as long as this lasts."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status: 0 done, 1 audit findings, 2 bad input, 130 interrupted."""
    try:
        return _dispatch(list(sys.argv[1:] if arguments is None else arguments))
    except LockstepError as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except SystemExit as leaving:  # --help
        return int(leaving.code or 0)


def _dispatch(arguments: list[str]) -> int:
    plan = make_plan(arguments)
    console = make_console()
    for name, only in (("eval", use.evaluate_only), ("play", use.play), ("export", use.export)):
        if plan.given.get(name):
            return only(plan, console, Relay(console), Stop())
    modes = [name for name in (*command.SWITCHES, *command.COUNTED) if plan.given.get(name)]
    if len(modes) > 1:
        raise SceneError(f"--{modes[0]} and --{modes[1]} are two things to do instead of training; choose one.")
    return _inspect(plan, modes[0]) if modes else _train(plan, console)


def make_plan(arguments: list[str]) -> Plan:
    """Read the command line; SceneError for whatever is wrong with it."""
    source = arguments.pop(0) if arguments and not arguments[0].startswith("-") else None
    origin = _origin(arguments)
    config = origin.config if origin and origin.config else None
    recorded: str = config["source"] if config else ""
    if recorded.endswith(".py"):
        recorded = str(Path(recorded).absolute())
    if source is None and not recorded:
        if {"-h", "--help"} & set(arguments):
            about = "SCENE is a file or module with a function scene(); its parameters are flags too."
            command.make_parser((), f"{PROGRAM} SCENE", about).print_help()
            raise SystemExit(0)
        raise SceneError(f"Say which scene to run first: {PROGRAM} scenes/<name>.py [flags].")
    gone = recorded.endswith(".py") and not Path(recorded).exists()
    if source is None and gone:
        raise SceneError(
            f"The run was made with {recorded}, which is gone. Name the scene file first, before the flags."
        )
    function, found = load_scene(source or recorded)
    if origin and recorded and found != recorded and not gone:
        raise SceneError(f"{origin.path} was made with {recorded}, not with {source}.")
    own = command.scene_flags(function, found)
    text = inspect.cleandoc(function.__doc__ or "")
    given = command.parse(arguments, own, f"{PROGRAM} {source or recorded}", text)
    asked = [f"--{name}" for name in _ORIGINS if given.get(name)]
    if len(asked) > 1:
        raise SceneError(f"{asked[0]} and {asked[1]} cannot be combined; each is a command of its own.")
    if given.get("allow_changes") and not given.get("resume"):
        raise SceneError("--allow-changes is for a run that goes on; it stands beside --resume.")
    plan = settle(found, function, own, given, config, origin)
    check_device(plan.run["device"])
    if plan.run["threads"]:
        torch.set_num_threads(plan.run["threads"])
    return plan


def _origin(arguments: Sequence[str]) -> Origin | None:
    for number, word in enumerate(arguments):
        flag, equals, value = word.partition("=")
        if flag.removeprefix("--") in _ORIGINS and flag.startswith("--"):
            path = value if equals else next(iter(arguments[number + 1 :]), "")
            if not path or path.startswith("-"):
                if flag == "--play" and not equals:
                    continue  # the policy that comes with the scene
                raise SceneError(f"{flag} takes a run folder or a checkpoint.")
            return Origin.find(Path(path).expanduser())
    return None


def settle(
    source: str,
    function: Callable[..., Any],
    own: tuple[command.Flag, ...],
    given: dict[str, Any],
    config: dict[str, Any] | None,
    origin: Origin | None,
) -> Plan:
    """Defaults, then the configuration of a resumed run, then what was said.

    SceneError when a run that continues in place is told anything that differs from its configuration.
    """
    kinds = {flag.name: flag.type for flag in (*own, *command.RUN)}
    flags = {flag.name: flag.default for flag in own if flag.name not in {r.name for r in command.RUN}}
    run = {flag.name: flag.default for flag in command.RUN}
    overrides: dict[str, str] = {}
    if config is not None:
        gone = [name for name in config["flags"] if name not in flags]
        if gone:
            raise SceneError(
                f"The run was made with --{gone[0].replace('_', '-')}, which scene() in {source} no longer has."
            )
        flags |= {name: command.from_plain(value, kinds[name]) for name, value in config["flags"].items()}
        run |= {name: command.from_plain(value, kinds[name]) for name, value in config["run"].items() if name in run}
        overrides = dict(config["overrides"])
    in_place = (
        config is not None
        and origin is not None
        and origin.path.is_dir()
        and given.get("resume")
        and not given.get("out")
    )
    said = {
        name.removeprefix("scene."): value for name, value in given.items() if name.startswith("scene.") or name in run
    }
    for name, value in said.items():
        before = flags[name] if name in flags else run[name]
        if in_place and name not in _FREE_ON_RESUME and command.to_plain(value) != command.to_plain(before):
            _refuse_change(f"--{name.replace('_', '-')}", before, value)
        (flags if name in flags else run)[name] = value
    for address, text in given["set"].items():
        if in_place and overrides.get(address) != text:
            _refuse_change(f"--set {address}", overrides.get(address, "not set"), text)
        overrides[address] = text
    return Plan(source, function, own, flags, run, overrides, given, origin)


def _refuse_change(flag: str, before: Any, value: Any) -> None:
    raise SceneError(
        f"{flag} is {before} in the run's configuration, but {value} was asked for. A run goes on as it began: "
        "leave the flag out, or begin a new run from a checkpoint with --out."
    )


def check_device(text: str) -> None:
    """SceneError for a device that does not exist or is not there."""
    try:
        device = torch.device(text)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise SceneError(f"--device is '{text}'; it takes cpu, cuda or cuda:N.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SceneError(f"--device is '{text}', but torch finds no CUDA device here. Use --device cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SceneError(
            f"--device is '{text}', but there are {torch.cuda.device_count()} CUDA devices, counted from 0."
        )


def _inspect(plan: Plan, mode: str) -> int:
    simulation = plan.build()
    if plan.origin and plan.given.get("resume") and mode in command.COUNTED:
        restore(simulation.world, plan.origin.load(lambda text: print(f"! {text}"))[1])
    if mode == "check":
        print("ok")
    elif mode == "explain":
        from engine.tools.explain import explain

        print(explain(simulation))
    elif mode == "graph":
        from engine.tools.explain import graph

        print(graph(simulation), end="")
    elif mode == "profile":
        from engine.tools.profile import profile_table

        print(profile_table(simulation.schedule, plan.given["profile"]))
    else:
        return _audit(simulation, plan.given["audit"])
    return 0


def _audit(simulation: Simulation, ticks: int) -> int:
    from engine.tools.audit import Audit

    audit = Audit(simulation.schedule)
    simulation.run(ticks)
    audit.detach()
    for finding in audit.findings:
        print(f"tick {finding.tick}: {finding.text}")
    print(f"found {len(audit.findings)} in {ticks} ticks" if audit.findings else f"ok: nothing found in {ticks} ticks")
    return 1 if audit.findings else 0


def _train(plan: Plan, console: Any) -> int:
    origin = plan.origin if plan.given.get("resume") else None
    in_place = origin is not None and origin.path.is_dir() and not plan.given.get("out")
    if plan.given.get("out") and not in_place:
        refuse_unusable(plan.given["out"])
    parse_debug(
        plan.given.get("debug") or "on", bool(plan.given.get("debug_expose"))
    )  # what is wrong with it is said now
    warn = Relay(console)
    reopened = RunFolder.reopen(origin.path, warn) if origin is not None and in_place else None
    folder = reopened
    try:
        simulation = plan.build()
        plan.run["iterations"] = plan.run["iterations"] or simulation.scene.iterations
        recorded = rows_to_record(plan.given.get("record"), simulation)
        start = resume(plan, origin, simulation, warn) if origin else None
        folder = reopened or RunFolder.create(plan.given.get("out"), simulation.scene.name, warn)
        folder.keep, folder.merit.name = plan.run["keep"], simulation.scene.best
        try:
            folder.write_json("config.json", configuration(plan, simulation, origin, start))
            if start is not None:
                start.set_aside()
                folder.go_on(start.checkpoint if start.own else None, start.iteration, start.tick, start.rows)
            resumed = origin.folder if origin is not None else None
            watch = Watch.begin(simulation, folder.path, warn, recorded, resumed)
        except OSError as error:
            raise SceneError(f"{folder.path} cannot be written to ({error.strerror or error}).") from None
    except BaseException:
        if folder is not None:
            folder.close() if folder is reopened else folder.abandon()
        raise
    try:
        return Training(plan, simulation, folder, console, warn, watch).run()
    finally:
        folder.close()


@attrs.define
class Relay:
    """Where warnings go: to the panel once there is one, to the console before."""

    console: Any
    panel: Panel | None = None
    said: list[str] = attrs.field(factory=list)
    also: Callable[[str], None] | None = None  # who else is told

    def __call__(self, text: str) -> None:
        """Say it, and remember it for the summary."""
        self.said.append(text)
        if self.also is not None:
            self.also(text)
        if self.panel is not None:
            self.panel.event(text)
        else:
            self.console.print(f"! {text}", markup=False, soft_wrap=True)


def configuration(
    plan: Plan, simulation: Simulation, origin: Origin | None = None, start: Start | None = None
) -> dict[str, Any]:
    """Everything that the run depends on, as config.json keeps it, and what changed each time that it was resumed."""
    before = (origin.config or {}) if origin else {}
    changes = list(before.get("changes", []))
    if start is not None and start.changes:
        changes.append({"iteration": start.iteration, "changes": start.changes})
    began = before.get("began_from") if start is None or start.checkpoint is None or start.own else start.checkpoint
    parts = made_of(plan.source, simulation.scene)
    constants = {
        address: places[0].holder[places[0].key] for address, places in addresses(simulation.scene.bundles).items()
    }
    return {
        "scene": simulation.scene.name,
        "identity": dict(simulation.scene.identity),
        "rows": next(iter(simulation.world.tables.values())).rows,
        "titles": dict(simulation.scene.titles),
        "source": plan.source,
        "flags": {name: command.to_plain(value) for name, value in plan.flags.items()},
        "run": {name: command.to_plain(value) for name, value in plan.run.items()},
        "overrides": plan.overrides,
        "resumed_from": str(origin.path) if origin else None,
        "began_from": str(Path(began).absolute()) if began else None,
        "torch_threads": parts.pop("torch_threads"),
        "versions": parts.pop("versions"),
        "made_of": parts,
        "changes": changes,
        "addresses": {
            address: value if isinstance(value, (int, float, str)) or value is None else repr(value)
            for address, value in constants.items()
        },
    }


@attrs.define
class Training:
    """The loop around the ticks: iterations, files, panel, interruption, evaluation."""

    plan: Plan
    simulation: Simulation
    folder: RunFolder
    console: Any
    warn: Relay
    watch: Watch
    stop: Stop = attrs.field(factory=Stop)
    origin_of_time: float = 0.0
    began: float = 0.0
    first_tick: int = 0
    spent: dict[int, float] = attrs.field(factory=dict)
    inspector: Inspector | None = None

    @property
    def world(self) -> World:
        """The world that is trained."""
        return self.simulation.world

    @property
    def rows(self) -> int:
        """Rows of the first table, each of which makes one environment step per tick."""
        return next(iter(self.world.tables.values())).rows

    @property
    def elapsed(self) -> float:
        """Seconds of training, those before a resume included."""
        return time.perf_counter() - self.origin_of_time

    @property
    def length(self) -> int:
        """Ticks of an iteration."""
        return self.simulation.scene.iteration

    def run(self) -> int:
        """Train to the last iteration, evaluate, summarise; the exit status."""
        scene, total = self.simulation.scene, self.plan.run["iterations"]
        panel = Panel(
            self.console, f"{scene.name}  {self.rows} rows  {self.world.device}  {self.folder.path}", total, scene.panel
        )
        self.warn.panel = panel
        times = self.folder.timing.rows()
        self.origin_of_time = time.perf_counter() - (times[-1]["elapsed"] if times else 0.0)
        with self.stop.listening():
            with panel.shown(), attended(self), self.watch.looking():
                self._loop(panel, total * self.length)
                self._save_last()
            self.folder.draw_curve()
            evaluated = self._evaluate() if not self.stop.requested else False
            if evaluated:
                self.folder.draw_curve()  # now with the results
            filmed = self._film() if not self.stop.requested else {}
        self.folder.flush()
        self._summarise(evaluated, filmed)
        return 130 if self.stop.requested else 0

    def _loop(self, panel: Panel, last: int) -> None:
        clock = self.world.clock
        self.start_iteration()
        while not self.stop.requested and (not clock.begun or clock.tick < last):
            self.simulation.run()
            if clock.tick and clock.tick % self.length == 0:
                self._finish_iteration(panel)
            panel.tick(clock.tick / self.length)

    def start_iteration(self) -> None:
        """Begin to count the time of an iteration."""
        self.began, self.first_tick = time.perf_counter(), self.world.clock.tick
        self.spent = {id(entry): entry.seconds for entry in self.simulation.schedule.entries}

    def _finish_iteration(self, panel: Panel) -> None:
        scene, clock = self.simulation.scene, self.world.clock
        iteration = clock.tick // self.length
        row: dict[str, float] = {"iteration": iteration, "tick": clock.tick, "env_steps": clock.tick * self.rows}
        row |= scene.report(self.world) if scene.report else {}
        interventions = counted(self.folder.path)
        row |= {"intervened": interventions} if interventions else {}
        seconds = time.perf_counter() - self.began
        timing = {"iteration": iteration, "elapsed": self.elapsed, "seconds": seconds}
        timing |= {"steps_per_second": (clock.tick - self.first_tick) * self.rows / seconds, **self._split()}
        self.folder.append(row, timing)
        shown = {name: value for name, value in timing.items() if name not in ("iteration", "by_phase", "by_system")}
        self.folder.write_events(iteration, row | {f"time/{name}": value for name, value in shown.items()})
        panel.iteration(row, timing)
        if self.inspector is not None:
            self.inspector.iteration(iteration, row)
        if iteration % self.plan.run["checkpoint_every"] == 0 and iteration < panel.total:
            self.watch.flush()
            self.folder.save(self.world, *divmod(clock.tick, self.length))
            self.folder.update_curve()
        self.folder.report()
        self.start_iteration()

    def _split(self) -> dict[str, Any]:
        phases: dict[str, float] = {}
        systems: dict[str, float] = {}
        shares = dict.fromkeys(("physics", "systems", "learning"), 0.0)
        for entry in self.simulation.schedule.entries:
            seconds = entry.seconds - self.spent[id(entry)]
            name = f"{entry.phase}.{entry.name}"
            phases[entry.phase] = phases.get(entry.phase, 0.0) + seconds
            systems[name] = systems.get(name, 0.0) + seconds
            shares[SHARE_OF_PHASE.get(entry.phase, "systems")] += seconds
        whole = max(sum(shares.values()), 1e-12)
        return {**{name: value / whole for name, value in shares.items()}, "by_phase": phases, "by_system": systems}

    def _save_last(self) -> None:
        """Leave the world as it is in a checkpoint, if it is not in one already."""
        moment = divmod(self.world.clock.tick, self.length)
        self.watch.flush()
        self.folder.drain()
        if self.world.clock.begun and getattr(self.folder.saved, "name", "") != checkpoint_name(*moment):
            self.folder.save(self.world, *moment)
            self.folder.drain()

    def _evaluate(self) -> bool:
        result = use.evaluate(self.plan, self.simulation.scene, save(self.world), self.stop, self.warn)
        if result is None:
            return False
        self.console.print(results_table(result))
        try:
            self.folder.write_json(
                "evaluation.json", {"checkpoint": self.folder.saved.name if self.folder.saved else None, **result}
            )
        except OSError as error:
            self.warn(f"evaluation.json cannot be written ({error.strerror or error}).")
            return False
        return True

    def _film(self) -> Mapping[str, str]:
        """What the film shows, and which file it is; a film that fails is a warning."""
        if self.simulation.scene.film is None or not self.plan.run["film"]:
            return {}
        path = self.folder.path / "film.mp4"
        try:
            seen = use.film(self.plan, self.simulation.scene, save(self.world), path, self.stop, self.warn)
        except Exception as error:  # whatever it is, the training is done and stays
            self.warn(f"The film could not be made: {error or type(error).__name__}")
            return {}
        return {} if seen is None else {"film": path.name, **seen}

    def _summarise(self, evaluated: bool, filmed: Mapping[str, str]) -> None:
        path, (iteration, ticks) = self.folder.path, divmod(self.world.clock.tick, self.length)
        total = self.plan.run["iterations"]
        finished = iteration >= total
        after = f" and {ticks} of {self.length} ticks" if ticks else ""
        facts = {
            "run": str(path),
            "checkpoint": str(self.folder.saved.relative_to(path)) if self.folder.saved else "none could be written",
            "curve": "curve.png" if (path / "curve.png").exists() else "",
            "evaluation": "evaluation.json" if evaluated else "",
            **filmed,
            "watch": f"tensorboard --logdir {path}",
            "go on": "" if finished else f"{PROGRAM} --resume {path}",
        }
        head = "finished" if finished else "stopped after"
        steps = f"{self.world.clock.tick * self.rows:,} steps"
        self.console.print(
            f"\n[bold]{head} {iteration}/{total} iterations{after}[/]  {steps}  {duration(self.elapsed)}"
        )
        print_facts(self.console, facts)
        for text in dict.fromkeys(self.warn.said):
            self.console.print(f"  ! {text}", markup=False, soft_wrap=True)
