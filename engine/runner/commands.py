"""Commands on a trained policy: evaluate, film, play or export it."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

import attrs

from engine import files
from engine.ecs.scene import Scene, Simulation
from engine.errors import SceneError, SnapshotError
from engine.files import Say, file_errors, json_bytes, refuse, refuse_unwritable
from engine.runner import flags
from engine.runner.checkpoint import checkpoints
from engine.runner.config import PROGRAM, RunPlan
from engine.runner.console import Warnings, make_console, print_facts, progress_bar, results_table
from engine.runner.experiment import Experiment, Trial
from engine.runner.provenance import changed_parts
from engine.runner.recording import recorded
from engine.runner.run_folder import ENDING, ONNX, Origin, refuse_unusable
from engine.runner.stop import StopRequest
from engine.runner.trial import playing, reaching, run_trial
from engine.snapshot.snapshot import about, edited_constants, extract, identity, restore

OTHER_FILMS = (".gif", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".m4v", ".wmv", ".png", ".jpg")
LONGEST_NAME = 80  # characters of a file's name that say what differs


class Interrupted(BaseException):
    """Ctrl-C while something other than training was running; no failure that anybody records."""


@attrs.frozen
class TrialRun:
    """Trials of one experiment on one snapshot, under a progress bar that Ctrl-C ends."""

    plan: RunPlan
    experiment: Experiment
    data: bytes
    stop: StopRequest
    warn: Warnings

    def evaluate(self, path: Path | None, checkpoint: str | None, report: Say) -> bool | None:
        """Write what the experiment's evaluation measures to a file, if there is one, and then print it.

        None without an evaluation, or when it was interrupted; False when `report` was called because no file could be written.
        """
        again = "The evaluation was interrupted; --eval does it again."
        place = path.with_suffix("") if path else Path("evaluation")
        found = self.run(self.experiment.evaluate, place, "evaluating", "Measured", again)
        if found is None:
            return None
        written, problems = False, list[str]()
        if path is not None:
            about = {"checkpoint": checkpoint, "set": dict(self.plan.overrides), "with": self.plan.departures}
            with file_errors(f"{path} cannot be written", problems.append):
                path.parent.mkdir(parents=True, exist_ok=True)
                files.write_shared_file(path, json_bytes({**about, **found}))
                written = True
        assert self.experiment.evaluate is not None
        self.warn.print(results_table(found, self.experiment.evaluate.worst))
        for problem in problems:
            report(problem)
        return written

    def film(self, path: Path) -> Mapping[str, str] | None:
        """What the film at `path` shows; None without one, or when it was interrupted."""
        again = "The film was interrupted; --play makes it again."
        return self.run(self.experiment.film, path, "filming", "Filmed", again)

    def run(self, trial: Trial | None, path: Path, doing: str, done: str, again: str) -> Mapping[str, Any] | None:
        """What a trial reads; None without one, or when it was interrupted, of which `again` warns.

        `doing` stands beside the progress bar, `done` begins sentences about overrides, such as "Measured".
        """
        if trial is None:
            return None
        edited = {a: t for a, t in edited_constants(self.data).items() if a not in self.plan.typed_overrides}
        overrides = self.plan.overrides | edited
        training = self.experiment.train()
        if overrides:
            self._warn_of(overrides, edited, reaching(overrides, training, trial.scene()), done)
        with suppress(Interrupted), self.stop.listening(), self._bar(doing) as progress:
            return run_trial(
                trial, self.data, path, training=training, seed=self.plan.settings.seed,
                device=self.plan.settings.device, overrides=overrides, progress=progress, warn=self.warn,
                observe=partial(self._recorded, path.parent / "records" / path.stem),
            )  # fmt: skip
        self.warn(again)
        return None

    @contextmanager
    def _recorded(self, folder: Path, simulation: Simulation) -> Iterator[None]:
        """Keep the rows of --record where only a policy is played; a training records itself."""
        asked = self.plan.options.record if self.plan.playing else None
        with recorded(simulation, asked, folder, self.warn, self.experiment.display) as recorder:
            yield
        if recorder is not None and recorder.latest is not None:
            print_facts(self.warn, {"recording": str(recorder.latest)})

    def _warn_of(
        self, overrides: Mapping[str, str], edited: Mapping[str, str], used: Mapping[str, str], done: str
    ) -> None:
        with_them = ", ".join(f"{address} = {text}" for address, text in edited.items() if address in used)
        if with_them:
            self.warn(f"{done} with what was edited in the run: {with_them}.")
        asked = [a for a in overrides if a not in used and (a in edited or self.plan.playing)]
        if asked:
            self.warn(
                f"{done} without {', '.join(asked)}: the scene that plays has values of its own there, or no such system."
            )

    @contextmanager
    def _bar(self, doing: str) -> Iterator[Callable[[float], None]]:
        """A progress bar; the function that moves it raises Interrupted after Ctrl-C."""
        console = make_console()
        if not console.is_interactive:
            self.warn.print(doing)
        with progress_bar(console, doing) as move:

            def progress(share: float) -> None:
                if self.stop.requested:
                    raise Interrupted
                move(share, 1.0, doing)

            yield progress


@contextmanager
def _trained(
    plan: RunPlan, experiment: Experiment, scene: Scene, origin: Origin | None, console: Any
) -> Iterator[tuple[Path, TrialRun]]:
    """A checkpoint file, and trials on it; SceneError says which file does not fit which scene."""
    path, trials = load_trained(plan, experiment, scene, origin, Warnings(console))
    with fitting(path, scene.name):
        yield path, trials


def load_trained(
    plan: RunPlan, experiment: Experiment, scene: Scene, origin: Origin | None, warn: Warnings
) -> tuple[Path, TrialRun]:
    """A checkpoint file, and trials on it; SceneError for one of another scene."""
    assert origin is not None
    path, data, _ = origin.load(warn)
    theirs = identity(data)["scene"]
    if theirs != scene.name:
        raise SceneError(f"{path} was trained in the scene '{theirs}', but this is '{scene.name}'; name that scene.")
    for text in changed_parts(origin.config, experiment):
        warn(f"{text} The policy was trained with what it was before.")
    return path, TrialRun(plan, experiment, data, StopRequest(), warn)


@contextmanager
def fitting(path: Path, scene: str) -> Iterator[None]:
    """SceneError where the snapshot at `path` does not fit the scene that it is played in."""
    try:
        yield
    except SnapshotError as error:
        raise SceneError(f"{path} does not fit the scene '{scene}' with these flags: {error}") from None


def play(plan: RunPlan, console: Any) -> int:
    """--play: film a policy; the exit status."""
    experiment, out = plan.experiment(), plan.options.out
    scene = experiment.train()
    if experiment.film is None:
        raise SceneError(f"The scene '{scene.name}' has no film, so there is nothing to --play.")
    if out is not None and out.suffix.lower() in OTHER_FILMS:
        raise SceneError(
            f"--play writes an mp4 film, not {out.suffix}. Say --out {out.with_suffix('.mp4')}, or a folder."
        )
    if plan.origin is None and experiment.policy is None:
        raise SceneError(
            f"The scene '{scene.name}' comes without a trained policy; name a run folder or checkpoint after --play."
        )
    origin = plan.origin or Origin.find(Path(experiment.policy or ""))
    home = out or origin.folder or Path("runs") / scene.name
    target = home if home.suffix == ".mp4" else home / f"film{'' if out else _distinction(plan)}.mp4"
    with _trained(plan, experiment, scene, origin, console) as (path, trials):
        seen = trials.film(target)
    if seen is None:
        return 130
    made = about(trials.data)
    trained = f"{made['command']}, seed {made['seed']}, {made['iterations']} iterations" if made else ""
    print_facts(console, {"policy": str(path), "trained by": trained, **seen, "film": str(target)})
    return 0


def evaluate(plan: RunPlan, console: Any) -> int:
    """--eval: measure a policy; the exit status."""
    origin, out = plan.origin, plan.options.out
    if out and out.suffix != ".json":
        refuse_unusable(out)
    experiment = plan.experiment()
    scene = experiment.train()
    if experiment.evaluate is None:
        raise SceneError(f"The scene '{scene.name}' has no evaluation.")
    home = out or (origin.folder if origin else None)
    changed = "_changed" if origin and changed_parts(origin.config, experiment) else ""
    called = f"evaluation{'' if out else _distinction(plan) + changed}.json"
    target = home if home is None or home.suffix == ".json" else home / called
    with _trained(plan, experiment, scene, origin, console) as (path, trials):
        written = trials.evaluate(target, path.name, refuse)
    if written is None:
        return 130
    if target:
        print_facts(console, {"evaluation": str(target)})
    return 0


def _distinction(plan: RunPlan) -> str:
    """The end of a file's name in a run folder that says what was played otherwise; '' for what the run itself measures.

    So neither another clip nor an earlier checkpoint takes the place of what is the run's own.
    """
    origin, found = plan.origin, plan.departures
    if origin is not None and origin.folder is not None and not origin.path.is_dir():
        newest = next(iter(checkpoints(origin.folder)), None)
        found |= {} if newest is not None and newest.name == origin.path.name else {"": origin.path.stem}
    names = " ".join(f"{name} {Path(value).name}" for name, value in found.items())
    short = re.sub(r"[^\w.-]+", "_", names).strip("_")
    if len(short) > LONGEST_NAME or not all(re.fullmatch(r"[\w.-]*", value) for value in found.values()):
        digest = hashlib.sha256(json_bytes(found)).hexdigest()[:6]  # what was left out of the name may differ, too
        short = f"{short[:LONGEST_NAME]}_{digest}"
    return f"_{short}" if found else ""


def export(plan: RunPlan, console: Any) -> int:
    """--export: write a policy and how it was made, and nothing else; the exit status."""
    out, experiment = plan.options.out, plan.experiment()
    if out is None or out.is_dir():
        what = "" if out is None else f", and {out} is a folder"
        file = f"{out / 'policy.onnx'}" if out else "FILE"
        raise SceneError(f"--export writes one file{what}; say which with --out {file}.")
    refuse_unwritable(out, "--out")
    if out.suffix == ONNX:
        return _export_onnx(plan, experiment, out, console)
    if out.suffix not in ("", ENDING):
        raise SceneError(
            f"--export writes a policy in Lockstep's own format, which --play and --eval read, or an .onnx file for other programs, "
            f"and no {out.suffix[1:]} file. Say --out {out.with_suffix(ENDING)}, or --out {out.with_suffix(ONNX)}."
        )
    if plan.options.export_takes != "signals":
        raise SceneError(
            f"--export-takes {plan.options.export_takes} has no effect on {out}; it is for .onnx files. Leave it out, or say --out "
            f"{out.with_suffix(ONNX)}."
        )
    simulation = plan.build(experiment)
    world = simulation.world
    usable = [cls.__name__ for cls in world.resources if hasattr(cls, "exported")]
    with _trained(plan, experiment, simulation.scene, plan.origin, console) as (_, trials):
        made = about(trials.data)
        restore(world, trials.data, only=tuple(usable) if made else (*usable, "Clock"))
    small = extract(world, made or _provenance(plan, simulation))
    with file_errors(f"{out} cannot be written", cure=" Choose another --out."):
        out.parent.mkdir(parents=True, exist_ok=True)
        files.write_file(out, small)
    print_facts(
        console, {"policy": f"{out} ({len(small) / 1e6:.2f} MB)", "play it": f"{PROGRAM} --play {quote(str(out))}"}
    )
    return 0


def _export_onnx(plan: RunPlan, experiment: Experiment, out: Path, console: Any) -> int:
    """Write a policy for other programs; the exit status."""
    trial, training = experiment.film or experiment.evaluate, experiment.train()
    if experiment.export is None or trial is None:
        raise SceneError(
            f"The scene '{training.name}' does not say how its policy is written as an .onnx file. Say --out "
            f"{out.with_suffix(ENDING)}, or give its Experiment export=systems.deploy.export.write_onnx."
        )
    settings = plan.settings
    with _trained(plan, experiment, training, plan.origin, console) as (_, trials):
        simulation = playing(
            trial, trials.data, training=training, seed=settings.seed, device="cpu", overrides=plan.overrides
        )
        made = about(trials.data)
        if not made:
            trained = plan.build(experiment)
            restore(trained.world, trials.data, only=("Clock",))
            made = _provenance(plan, trained)
    seen = experiment.export(simulation, out, plan.options.export_takes, made)
    print_facts(console, {"policy": f"{out} ({out.stat().st_size / 1e6:.2f} MB)", **seen})
    return 0


def _provenance(plan: RunPlan, simulation: Simulation) -> dict[str, Any]:
    """How a policy was made: enough to make it again, and nothing about the machine's folders."""
    source = "/".join(Path(plan.source).parts[-2:])
    usual = flags.flat(plan.file.config(plan.name))
    named = [f"--config {plan.name}"] if plan.file.named and plan.name != next(iter(plan.file.configs)) else []
    typed = [f"{f.text} {flags.write(f.value)}" for n, f in plan.scene_flags.items() if f.value != usual[n].value]
    typed += [f"--set {address}={text}" for address, text in plan.overrides.items()]
    config = plan.origin.config if plan.origin and plan.origin.config else {}
    tick, rows = simulation.world.clock.tick, next(iter(simulation.world.tables.values())).rows
    return {
        "command": _from_here(" ".join([PROGRAM, source, *named, *typed])),
        "seed": plan.settings.seed,
        "iterations": tick // simulation.scene.iteration,
        "steps": tick * rows,
        "versions": config.get("versions", {}),
        "config": {"source": source, **_from_here(plan.plain())},
    }


def _from_here(plain: Any) -> Any:
    """Plain values with paths below the folder where the program was started as they are typed there."""
    folder = json.dumps(f"{Path.cwd()}/")[1:-1]
    return json.loads(json.dumps(plain).replace(folder, ""))
