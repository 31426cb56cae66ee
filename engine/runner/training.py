"""A training: the loop around the ticks, its iterations, files, console, interruption, and the evaluation after it."""

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

import attrs

from engine import files
from engine.capture.capture import Capture, capture_for
from engine.ecs.constants import addresses
from engine.ecs.scene import Simulation
from engine.ecs.schedule import Entry
from engine.ecs.world import NonFinite, World
from engine.errors import LostError, SceneError, did_you_mean
from engine.files import absolute, file_errors, json_bytes
from engine.ranks.agreement import agreed, audit, refuse_differences
from engine.ranks.logical import SnapshotOfAll
from engine.runner.commands import TrialRun
from engine.runner.config import PROGRAM, RunPlan
from engine.runner.console import Progress, Warnings, duration, print_facts
from engine.runner.debugging import Inspector, ObservedTraining, counted, debug_server, parse_debug
from engine.runner.experiment import Experiment
from engine.runner.processors import pinned_here
from engine.runner.provenance import provenance
from engine.runner.recording import RunObservers, rows_to_record
from engine.runner.resume import Start, resume
from engine.runner.run_folder import Bystander, RunFolder, refuse_unusable
from engine.runner.run_log import RunLog
from engine.runner.stop import REQUEUE
from engine.runner.trial import about_nonfinite
from engine.runner.wandb_log import WandbLog, refuse_unknown
from engine.snapshot.snapshot import Snapshot, capture, save

AUDITED = 10  # iterations between those after which processes compare what they share


def train(plan: RunPlan, console: Any) -> int:
    """Train as planned, in a new folder or one that goes on; the exit status."""
    options, origin, ranks = plan.options, plan.resumed, plan.ranks
    writes = ranks is None or ranks.rank == 0
    warn = Warnings(console)

    def prepare() -> RunFolder | None:
        if options.out and writes:
            refuse_unusable(options.out)
        parse_debug(options.debug, options.debug_expose)  # raises before anything is built
        refuse_unknown(options.wandb)
        if pinned := pinned_here():
            warn(pinned)
        return RunFolder.reopen(origin.path, warn) if origin is not None and plan.in_place and writes else None

    folder = agreed(ranks, prepare)
    scratch = ExitStack()
    try:
        experiment, simulation, recorded = agreed(ranks, partial(_built, plan))
        refuse_differences(ranks, _facts(plan, experiment, simulation) if ranks is not None else {})
        plan.settings = attrs.evolve(plan.settings, iterations=plan.settings.iterations or experiment.iterations)
        start = agreed(ranks, lambda: resume(plan, experiment, simulation, warn)) if origin else None
        whole = SnapshotOfAll(simulation.world, ranks) if ranks is not None else None
        if whole is not None and not writes:
            own = scratch.enter_context(tempfile.TemporaryDirectory(prefix="lockstep_rank_"))
            folder = Bystander.begin(Path(own), warn, whole.take_part)
        folder = agreed(ranks, lambda: folder or RunFolder.create(options.out, simulation.scene.name, warn))
        if writes and whole is not None:
            folder.writer.capture, folder.declined = whole.capture, whole.decline
        if ranks is not None:
            ranks.folder = Path(ranks.words(str(absolute(folder.path)))[0])
        observers = agreed(ranks, lambda: _begin_files(plan, experiment, simulation, folder, start, recorded, warn))
    except BaseException:
        if folder is not None:
            folder.discard()
        scratch.close()
        raise
    try:
        with scratch:
            return Training(plan, experiment, simulation, folder, warn, observers).run()
    finally:
        folder.close()
        if warn.log is not None:
            warn.log.close()


def _built(plan: RunPlan) -> tuple[Experiment, Simulation, list[int] | None]:
    """The experiment, what is trained, and the rows that are recorded."""
    experiment = plan.experiment()
    if plan.settings.film_every is not None and experiment.film is None:
        raise SceneError("--film-every has no effect: the scene has no film. Leave it out.")
    simulation = plan.build(experiment)
    return experiment, simulation, rows_to_record(plan.options.record, simulation)


def _facts(plan: RunPlan, experiment: Experiment, simulation: Simulation) -> dict[str, Any]:
    """What all processes that learn together must agree on, by name."""
    made = provenance(plan.source, experiment)
    versions = {f"the version of {name}": text for name, text in made["versions"].items()}
    flags = plan.plain()
    identity = json.loads(json.dumps(dict(simulation.scene.identity), default=str))
    return {
        **versions,
        "Lockstep's own sources": made["lockstep"],
        "the scene file": made["scene_file"],
        **{f"the module {name}": digest for name, digest in made["modules"].items()},
        **{f"the {name}": digest for name, digest in made["parts"].items()},
        "the kind of device": simulation.world.device.type,
        "the configuration": flags.get("config", ""),
        **{
            f"--{n.replace('_', '-')}": v
            for group in ("flags", "run")
            for n, v in flags[group].items()
            if n not in ("device", "threads")
        },
        **{f"--set {address}": text for address, text in flags["overrides"].items()},
        "--resume": str(plan.origin.path.name) if plan.origin is not None else "",
        "the scene's identity": identity,
    }


def _begin_files(
    plan: RunPlan,
    experiment: Experiment,
    simulation: Simulation,
    folder: RunFolder,
    start: Start | None,
    recorded: list[int] | None,
    warn: Warnings,
) -> RunObservers:
    """What a run writes before its first tick, and its observers."""
    options, origin = plan.options, plan.resumed
    resumed, ranks = origin.folder if origin is not None else None, plan.ranks
    shared = (ranks.words, ranks.rank, ranks.size) if ranks is not None and ranks.size > 1 else None
    if isinstance(folder, Bystander):
        if recorded is not None and not ranks.folder.is_dir():
            warn(
                f"The folder of the run, {ranks.folder}, is not there on this machine: rows of this process are not recorded."
            )
            recorded = None
        records = ranks.folder / "records" / f"rank_{ranks.rank}"
        return RunObservers.begin(simulation, folder.path, warn, recorded, None, experiment.display, shared, records)
    folder.keep, folder.score.name = plan.settings.keep, experiment.best
    with file_errors(f"{folder.path} cannot be written to"):
        kept = json_bytes(configuration(plan, experiment, simulation, start))
        files.write_file(folder.path / "config.json", kept)
        if start is not None:
            start.quarantine()
            folder.truncate_to(start.checkpoint if start.own else None, start.iteration, start.tick, start.rows)
        title = f"{simulation.scene.name}  seed {plan.settings.seed}  {folder.path}"
        warn.begin_log(RunLog.open(folder.path, title, warn))
        folder.wandb = WandbLog.begin(options.wandb, folder.path, simulation.scene.name, json.loads(kept), warn)
        return RunObservers.begin(simulation, folder.path, warn, recorded, resumed, experiment.display, shared)


def configuration(
    plan: RunPlan, experiment: Experiment, simulation: Simulation, start: Start | None = None
) -> dict[str, Any]:
    """Everything that the run depends on, as config.json keeps it, and what changed each time that it was resumed."""
    origin = plan.resumed
    before = (origin.config or {}) if origin else {}
    changes = list(before.get("changes", []))
    if start is not None and start.changes:
        changes.append({"iteration": start.iteration, "changes": start.changes})
    began = before.get("began_from") if start is None or start.checkpoint is None or start.own else start.checkpoint
    parts = provenance(plan.source, experiment)
    constants = {a: places[0].holder[places[0].key] for a, places in addresses(simulation.scene.bundles).items()}
    return {
        "scene": simulation.scene.name,
        "identity": dict(simulation.scene.identity),
        "rows": next(iter(simulation.world.tables.values())).rows * (plan.ranks.size if plan.ranks is not None else 1),
        "titles": dict(experiment.titles),
        "source": plan.source,
        **plan.plain(),
        "resumed_from": str(absolute(origin.path)) if origin else None,
        "began_from": str(absolute(Path(began))) if began else None,
        "torch_threads": parts.pop("torch_threads"),
        "versions": parts.pop("versions"),
        "provenance": parts,
        "changes": changes,
        "addresses": {a: v if isinstance(v, (int, float, str, type(None))) else repr(v) for a, v in constants.items()},
    }


@attrs.define
class Training(ObservedTraining):
    """The loop around the ticks: iterations, files, console, interruption, evaluation."""

    origin_of_time: float = 0.0
    counted: tuple[int, int] = (0, 0)  # a tick, and environment steps until then, of however many rows there were
    inspector: Inspector | None = None
    shared_warnings: int = 0  # that the other processes know of
    alarms: set[str] = attrs.field(factory=set)  # names of those that held after the last iteration
    stopped: bool = False  # some process of several was asked to stop
    nonfinite: dict[str, int] = attrs.field(factory=dict)  # rows in which terms were so until the iteration began
    capture: Capture | None = None  # replays ticks on a GPU
    kept: Snapshot | None = None  # the world as it was after the last iteration, where what moves it may be lost

    @property
    def world(self) -> World:
        """The world that is trained."""
        return self.simulation.world

    @property
    def rows(self) -> int:
        """Rows of the first table in all processes, each of which makes one environment step per tick."""
        return next(iter(self.world.tables.values())).rows * (self.ranks.size if self.ranks is not None else 1)

    @property
    def ranks(self) -> Any:
        """The processes that train together, None for a single one."""
        return self.plan.ranks

    @property
    def leads(self) -> bool:
        """Whether this process writes, evaluates and films."""
        return self.ranks is None or self.ranks.rank == 0

    @property
    def stopping(self) -> bool:
        """Whether to stop before the next tick: processes that train together stop after an iteration, all of them."""
        return self.stop.requested if self.ranks is None else self.stopped

    @property
    def steps(self) -> int:
        """Environment steps of all rows until now, those before a resume included."""
        tick, steps = self.counted
        return steps + (self.world.clock.tick - tick) * self.rows

    @property
    def elapsed(self) -> float:
        """Seconds of training, those before a resume included."""
        return time.perf_counter() - self.origin_of_time

    @property
    def shares(self) -> Mapping[str, str]:
        """By phase, the part of a tick's time that it counts to; the other phases count to "systems"."""
        return {phase: name for name, phases in self.simulation.schedule.tick.shares.items() for phase in phases}

    def run(self) -> int:
        """Train to the last iteration, evaluate, summarise; the exit status."""
        total = self.plan.settings.iterations or self.experiment.iterations
        title = f"{self.simulation.scene.name}  {self.rows} rows  {self.world.device}  {self.folder.path}"
        parts = list(dict.fromkeys([*self.shares.values(), "systems"]))
        progress = Progress(self.warn.console, title, total, self.experiment.panel, parts, note=self.warn.note)
        self.warn.progress = progress
        times, rows = self.folder.timing.rows(), self.folder.metrics.rows()
        self.counted = (rows[-1]["tick"], rows[-1]["env_steps"]) if rows else (0, 0)
        self.world.noticed.append(self._notice)
        self.origin_of_time = time.perf_counter() - (times[-1]["elapsed"] if times else 0.0)
        with self.stop.listening():
            with progress.shown(), debug_server(self) as self.inspector, self.observers.attached():
                if self.ranks is not None:
                    self._watch()
                with self._captured():
                    self._loop(progress, total * self.length)
                self._save_last()
            if self.ranks is not None:
                self.ranks.leave()
                self.stop.requested = self.stopped
                if not self.leads:
                    return self._status()
            self._check_names()
            try:
                evaluated = self._evaluate() if not self.stop.requested else False
            finally:
                self.folder.draw_curve()  # with the results, where there are any
            filmed = self._film("film.mp4") if self.plan.settings.film and not self.stop.requested else {}
        self.folder.flush()
        self._summarise(evaluated, filmed, total)
        return self._status()

    def _status(self) -> int:
        """The exit status: 1 without a last checkpoint, 130 when it was stopped, REQUEUE when a scheduler stopped one of several processes."""
        if not self.stop.requested:
            return int(self.folder.failing)
        return REQUEUE if self.ranks is not None and self.stop.by_scheduler else 130

    @contextmanager
    def _captured(self) -> Iterator[None]:
        """Replay ticks as long as this lasts, where --capture and the device say so; what is left alone is a warning each."""
        self.capture = capture_for(self.simulation, self.plan.options.capture, self.warn)
        if self.capture is None:
            yield
            return
        with self.capture.attached():
            yield

    def _watch(self) -> None:
        """Tell the other processes what this one does."""
        inspector = self.inspector
        self.ranks.tick = lambda: self.world.clock.tick
        self.ranks.paused = lambda: inspector is not None and inspector.steps.stands

    def _exchange(self, row: dict[str, float]) -> dict[str, float]:
        """What an iteration was like in all processes; takes note of those that are to stop, and of their warnings."""
        mine = {
            "stop": self.stop.requested,
            "scheduler": self.stop.by_scheduler,
            "warnings": self.warn.messages[self.shared_warnings :] if self.ranks.rank else [],
            "nonfinite": {name: value for name, value in row.items() if name.startswith("nonfinite/")},
            "intervened": counted(self.folder.path),
        }
        self.shared_warnings = len(self.warn.messages)
        answers = self.ranks.words(mine)
        self.stopped = any(each["stop"] for each in answers)
        self.stop.by_scheduler = any(each["scheduler"] for each in answers)
        for rank, each in enumerate(answers):
            for text in each["warnings"] if self.leads else ():
                if text not in self.warn.messages:
                    self.warn(f"Rank {rank}: {text}")
        counts = defaultdict[str, float](float)
        for each in answers:
            for name, value in (*each["nonfinite"].items(), ("intervened", each["intervened"])):
                counts[name] += value
        return row | {name: int(value) for name, value in counts.items() if value}

    def _loop(self, progress: Progress, last: int) -> None:
        clock = self.world.clock
        self.start_iteration()
        while not self.stopping and (not clock.begun or clock.tick < last):
            ticks = int(clock.begun)  # the first one belongs to no iteration
            self._run_tick()
            if ticks and clock.tick % self.length == 0:
                self._finish_iteration(progress)
            self._keep()
            progress.tick(clock.tick / self.length)

    def _run_tick(self) -> None:
        """One tick; where it loses what the run cannot go on without, a checkpoint of the last iteration is written first."""
        try:
            self.simulation.run()
        except LostError as error:
            raise LostError(f"{error}\n{self._rescue()}") from None

    def _keep(self) -> None:
        """Copy the world after the first tick and after every iteration, where what moves it may be lost."""
        perishable = any(getattr(item, "perishable", False) for item in self.world.resources.values())
        if perishable and (self.kept is None or self.world.clock.tick % self.length == 0):
            self.kept = capture(self.world, self.kept)

    def _rescue(self) -> str:
        """Write the world that was kept, and say how the run goes on."""
        self.observers.flush()
        self.folder.drain()
        if self.kept is None:
            return "It was the first tick, so there is nothing to go on with."
        self.folder.save_kept(self.kept, *divmod(self.kept.tick, self.length))
        self.folder.drain()
        if self.folder.saved is None:
            return "No checkpoint could be written; the warnings above say why."
        path = self.folder.path
        return f"{self.folder.saved.name} is saved: go on with {PROGRAM} --resume {quote(str(path))}"

    def _finish_iteration(self, progress: Progress) -> None:
        clock = self.world.clock
        iteration = clock.tick // self.length
        row: dict[str, float] = {"iteration": iteration, "tick": clock.tick, "env_steps": self.steps}
        row |= self.experiment.report(self.world) if self.experiment.report else {}
        interventions = counted(self.folder.path)
        row |= {"intervened": interventions} if interventions else {}
        row |= self._nonfinite()
        row |= self.capture.report() if self.capture is not None else {}
        if self.ranks is not None:
            row = self._exchange(row)
            if iteration % AUDITED == 0:
                audit(self.ranks, self.world)
        seconds = time.perf_counter() - self.began
        timing = {"iteration": iteration, "elapsed": self.elapsed, "seconds": seconds}
        timing |= {"steps_per_second": (clock.tick - self.first_tick) * self.rows / seconds, **self._split()}
        self.folder.append(row, timing)
        shown = {name: value for name, value in timing.items() if name not in ("iteration", "by_phase", "by_system")}
        self.folder.write_events(iteration, row | {f"time/{name}": value for name, value in shown.items()})
        progress.iteration(row, timing)
        self._raise_alarms()
        if self.inspector is not None:
            self.inspector.iteration(iteration, row)
        if iteration % self.plan.settings.checkpoint_every == 0 and iteration < progress.total:
            self.observers.flush()
            self.folder.save(self.world, *divmod(clock.tick, self.length))
            self.folder.update_curve()
        every = self.plan.settings.film_every
        if every is not None and iteration % every == 0 and iteration < progress.total:
            with progress.hidden():
                self._film(f"films/iteration_{iteration:06d}.mp4")
        self.folder.report()
        self.start_iteration()

    def _raise_alarms(self) -> None:
        """Warn of what goes wrong in the learning since this iteration."""
        held = self.experiment.alarms(self.world) if self.experiment.alarms else {}
        for name, text in held.items():
            if name not in self.alarms:
                self.warn(text)
        self.alarms = set(held)

    def _notice(self, found: NonFinite) -> None:
        counter = f"nonfinite/{found.system.split('.', 1)[-1]}.{found.term}"
        self.warn(f"{about_nonfinite(found)} {counter} in the metrics counts its rows.")

    def _nonfinite(self) -> dict[str, int]:
        """Rows of the finished iteration in which a term was not finite, by system and term, where there are any."""
        now = {address: found.count for address, found in self.world.nonfinite.items()}
        before, self.nonfinite = self.nonfinite, now
        new = {address: count - before.get(address, 0) for address, count in now.items()}
        return {f"nonfinite/{address.split('.', 1)[1]}": count for address, count in new.items() if count}

    def _check_names(self) -> None:
        """Warn of names in `panel` and `best` of the experiment that no iteration reported."""
        known = {name for row in self.folder.metrics.rows() for name in row}
        best = (self.experiment.best or "").removeprefix("-")
        for what, name in (*(("panel", name) for name in self.experiment.panel), ("best", best)):
            if name and known and name not in known:
                self.warn(
                    f"The experiment's {what} names '{name}', which no iteration reported.{did_you_mean(name, known)}"
                )

    @property
    def clocked(self) -> list[Entry]:
        """Everything that a tick calls: systems, and what is replayed in the place of several."""
        return [*self.simulation.schedule.entries, *(self.capture.stand_ins if self.capture is not None else ())]

    def _split(self) -> dict[str, Any]:
        """Seconds by phase and by system, and shares of the parts of a tick, but not while segments reach over several parts."""
        part_of = self.shares
        shares = dict.fromkeys([*part_of.values(), "systems"], 0.0)
        phases, systems = defaultdict[str, float](float), defaultdict[str, float](float)
        for entry in self.clocked:
            seconds = entry.seconds - self.spent.get(id(entry), 0.0)
            phases[entry.phase] += seconds
            systems[f"{entry.phase}.{entry.name}"] += seconds
            shares[part_of.get(entry.phase, "systems")] += seconds
        if self.capture is not None and self.capture.captured:
            shares.clear()
        whole = max(sum(shares.values()), 1e-12)
        return {**{name: value / whole for name, value in shares.items()}, "by_phase": phases, "by_system": systems}

    def _save_last(self) -> None:
        """Leave the world as it is in a checkpoint, if it is not in one already."""
        now = divmod(self.world.clock.tick, self.length)
        self.observers.flush()
        self.folder.drain()
        due = self.world.clock.begun and not self.folder.saved_is(*now)
        if due if self.ranks is None else self.ranks.words(due)[0]:
            self.folder.save(self.world, *now)
            self.folder.drain()
        if self.folder.failing:
            since = f"since {self.folder.saved.name}" if self.folder.saved else "in this run"
            self.warn(f"What was learned {since} is in no checkpoint and lost. Make room on the disk, and train again.")

    def _trials(self) -> TrialRun:
        return TrialRun(self.plan, self.experiment, save(self.world), self.stop, self.warn)

    def _evaluate(self) -> bool:
        checkpoint = self.folder.saved.name if self.folder.saved else None
        return bool(self._trials().evaluate(self.folder.path / "evaluation.json", checkpoint, self.warn))

    def _film(self, name: str) -> Mapping[str, str]:
        """What the film shows, and which file of the run it is; a film that fails is a warning."""
        if self.experiment.film is None:
            return {}
        path = self.folder.path / name
        try:
            path.parent.mkdir(exist_ok=True)
            seen = self._trials().film(path)
            return {} if seen is None else {"film": name, **seen}
        except Exception as error:  # whatever it is, the training is done and stays
            self.warn(f"The film could not be made: {error or type(error).__name__}")
            return {}

    def _summarise(self, evaluated: bool, filmed: Mapping[str, str], total: int) -> None:
        path, (iteration, ticks) = self.folder.path, divmod(self.world.clock.tick, self.length)
        finished = iteration >= total
        after = f" and {ticks} of {self.length} ticks" if ticks else ""
        facts = {
            "run": str(path),
            "checkpoint": str(self.folder.saved.relative_to(path)) if self.folder.saved else "none could be written",
            "curve": "curve.png" if (path / "curve.png").exists() else "",
            "evaluation": "evaluation.json" if evaluated else "",
            **filmed,
            "watch": f"tensorboard --logdir {quote(str(path))}",
            "go on": "" if finished else f"{PROGRAM} --resume {quote(str(path))}",
        }
        head = f"{'finished' if finished else 'stopped after'} {iteration}/{total} iterations{after}"
        steps = f"{self.steps:,} steps"
        self.warn.print(f"\n[bold]{head}[/]  {steps}  {duration(self.elapsed)}")
        print_facts(self.warn, facts)
        for text in dict.fromkeys(self.warn.messages):
            self.warn.print(f"  ! {text}", markup=False, soft_wrap=True)
