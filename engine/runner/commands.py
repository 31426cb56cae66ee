"""Commands on a trained policy: evaluate, film, play or export it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs

from engine import files
from engine.ecs.scene import Scene, Simulation
from engine.errors import SceneError, SnapshotError
from engine.files import Say, file_errors, json_bytes, refuse
from engine.runner import flags
from engine.runner.config import PROGRAM, RunPlan
from engine.runner.console import Warnings, make_console, print_facts, progress_bar, results_table
from engine.runner.experiment import Experiment, Trial
from engine.runner.run_folder import Origin, refuse_unusable
from engine.runner.stop import StopRequest
from engine.runner.trial import reaching, run_trial
from engine.snapshot.snapshot import about, edited_constants, extract, identity, restore


class Interrupted(Exception):
    """Ctrl-C while something other than training was running."""


@attrs.frozen
class TrialRun:
    """Trials of one experiment on one snapshot, under a progress bar that Ctrl-C ends."""

    plan: RunPlan
    experiment: Experiment
    data: bytes
    stop: StopRequest
    warn: Warnings

    def evaluate(self, home: Path | None, checkpoint: str | None, report: Say) -> bool | None:
        """Print what the experiment's evaluation measures, and write evaluation.json into a folder, if there is one.

        None without an evaluation, or when it was interrupted; False when `report` was called because no file could be written.
        """
        again = "The evaluation was interrupted; --eval does it again."
        found = self._run(self.experiment.evaluate, (home or Path()) / "evaluation", "evaluating", "Measured", again)
        if found is None:
            return None
        self.warn.console.print(results_table(found))
        if home is not None:
            path = home / "evaluation.json"
            with file_errors(f"{path} cannot be written", report):
                home.mkdir(parents=True, exist_ok=True)
                files.write_file(
                    path, json_bytes({"checkpoint": checkpoint, "set": dict(self.plan.overrides), **found})
                )
                return True
        return False

    def film(self, path: Path) -> Mapping[str, str] | None:
        """What the film at `path` shows; None without one, or when it was interrupted."""
        again = "The film was interrupted; --play makes it again."
        return self._run(self.experiment.film, path, "filming", "Filmed", again)

    def _run(self, trial: Trial | None, path: Path, doing: str, done: str, again: str) -> Mapping[str, Any] | None:
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
                device=self.plan.settings.device, overrides=overrides, progress=progress,
            )  # fmt: skip
        self.warn(again)
        return None

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
        if not console.is_terminal:
            console.print(doing)
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
    assert origin is not None
    warn = Warnings(console)
    path, data, _ = origin.load(warn)
    theirs = identity(data)["scene"]
    if theirs != scene.name:
        raise SceneError(f"{path} was trained in the scene '{theirs}', but this is '{scene.name}'; name that scene.")
    try:
        yield path, TrialRun(plan, experiment, data, StopRequest(), warn)
    except SnapshotError as error:
        raise SceneError(f"{path} does not fit the scene '{scene.name}' with these flags: {error}") from None


def play(plan: RunPlan, console: Any) -> int:
    """--play: film a policy; the exit status."""
    experiment, out = plan.experiment(), plan.options.out
    scene = experiment.train()
    if experiment.film is None:
        raise SceneError(f"The scene '{scene.name}' has no film, so there is nothing to --play.")
    if plan.origin is None and experiment.policy is None:
        raise SceneError(
            f"The scene '{scene.name}' comes without a trained policy; name a run folder or checkpoint after --play."
        )
    origin = plan.origin or Origin.find(Path(experiment.policy or ""))
    home = out or origin.folder or Path("runs") / scene.name
    target = home if home.suffix == ".mp4" else home / "film.mp4"
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
    if out:
        refuse_unusable(out)
    experiment = plan.experiment()
    scene = experiment.train()
    if experiment.evaluate is None:
        raise SceneError(f"The scene '{scene.name}' has no evaluation.")
    home = out or (origin.folder if origin else None)
    with _trained(plan, experiment, scene, origin, console) as (path, trials):
        written = trials.evaluate(home, path.name, refuse)
    if written is None:
        return 130
    if home:
        console.print(f"  evaluation  {home / 'evaluation.json'}", markup=False, soft_wrap=True)
    return 0


def export(plan: RunPlan, console: Any) -> int:
    """--export: write a policy and how it was made, and nothing else; the exit status."""
    out, experiment = plan.options.out, plan.experiment()
    if out is None or out.is_dir():
        raise SceneError("--export writes one file; say which with --out FILE.")
    simulation = plan.build(experiment)
    world = simulation.world
    usable = [cls.__name__ for cls in world.resources if hasattr(cls, "exported")]
    with _trained(plan, experiment, simulation.scene, plan.origin, console) as (_, trials):
        made = about(trials.data)
        restore(world, trials.data, only=tuple(usable) if made else (*usable, "Clock"))
    small = extract(world, made or _provenance(plan, simulation))
    with file_errors(f"{out} cannot be written"):
        out.parent.mkdir(parents=True, exist_ok=True)
        files.write_file(out, small)
    print_facts(console, {"policy": f"{out} ({len(small) / 1e6:.2f} MB)", "play it": f"{PROGRAM} --play {out}"})
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
        "command": " ".join([PROGRAM, source, *named, *typed]),
        "seed": plan.settings.seed,
        "iterations": tick // simulation.scene.iteration,
        "steps": tick * rows,
        "versions": config.get("versions", {}),
        "config": {"source": source, **plan.plain()},
    }
