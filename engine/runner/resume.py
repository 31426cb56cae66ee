"""Resuming a run: from its newest whole checkpoint, or from the start, if its provenance is still the same."""

from pathlib import Path

import attrs

from engine.ecs.scene import Simulation
from engine.errors import SceneError, SnapshotError
from engine.files import Say, whole_rows
from engine.ranks.logical import fitted
from engine.runner.checkpoint import checkpoints
from engine.runner.config import RunPlan
from engine.runner.experiment import Experiment
from engine.runner.provenance import differences
from engine.runner.run_folder import Origin
from engine.runner.scene_file import error_context
from engine.snapshot.snapshot import Snapshot, difference_but_for_rows, restore, rows_of, start_over


@attrs.frozen
class Start:
    """Where a resumed run goes on: the checkpoint that it goes on from, None at the very beginning."""

    checkpoint: Path | None = None
    iteration: int = 0
    tick: int = 0
    own: bool = False  # a checkpoint of the folder that is written to
    rows: Path | None = None  # another run, whose rows come first
    damaged: list[Path] = attrs.field(factory=list)  # newer ones, which are renamed
    changes: list[str] = attrs.field(factory=list)

    def quarantine(self) -> None:
        """Give damaged checkpoints a name that none has; OSError."""
        for path in self.damaged:
            path.rename(path.with_suffix(".damaged"))


def resume(plan: RunPlan, experiment: Experiment, simulation: Simulation, warn: Say) -> Start:
    """Bring the world to where the run goes on; SceneError when it is over, or its sources changed."""
    origin = plan.resumed
    assert origin is not None
    began = (origin.config or {}).get("began_from")
    unwritten = origin.path.is_dir() and not checkpoints(origin.path)
    source = origin
    if unwritten and began:
        if not Path(began).is_file():
            raise SnapshotError(f"{origin.path} has no checkpoint yet, and {began}, from which it began, is gone.")
        source = Origin.find(Path(began))
    total = plan.settings.iterations or experiment.iterations
    rows = [row["iteration"] for row, _ in whole_rows(origin.path / "metrics.jsonl")]
    if unwritten and not began and max(rows, default=0) < total:
        warn(f"{origin.path} has no checkpoint yet; it begins again from the start.")
        return Start(changes=changes_since(plan, experiment, warn))
    path, data, damaged = source.load(warn)
    taken = fitted(Snapshot.decode(data), simulation.world, plan.ranks)
    tick = max(taken.tick, 0)
    iteration = tick // simulation.scene.iteration
    if iteration >= total:
        raise SceneError(
            f"{path} is already at iteration {iteration} of {total}. Ask for more with --iterations, or measure it with --eval."
        )
    if taken.columns is not None and (differs := difference_but_for_rows(simulation.world, taken)):
        raise SceneError(
            f"{path} cannot go on with these flags: {differs} A learner goes on with the joints, observations, rewards and other "
            "terms that it began with; leave out the flags that change them, use the Lockstep that wrote it, or train anew without --resume."
        )
    changes = changes_since(plan, experiment, warn)
    then, here = (sum(rows_of(each).values()) for each in (taken, simulation.world))
    if taken.columns is not None and rows_of(taken) != rows_of(simulation.world):
        tick = iteration * simulation.scene.iteration
        start_over(simulation.world, taken, tick)
        simulation.run()
        warn(
            f"{path} has {then} rows, and this run {here}: every row begins a new episode. Policy, learner and curricula go on "
            f"from iteration {iteration}."
        )
    else:
        restore(simulation.world, taken, any_identity=plan.options.allow_changes)
    if experiment.go_on is not None:
        with error_context(plan.source, "Going on"):
            experiment.go_on(simulation.world, plan.changed_since(source.config))
    seed = (source.config or {}).get("run", {}).get("seed", plan.settings.seed)
    if seed != plan.settings.seed:
        warn(f"--seed {plan.settings.seed} is for the evaluation; the random streams of training go on from {path}.")
    own = plan.in_place and source is origin
    return Start(path, iteration, tick, own, None if own else source.folder, damaged if own else [], changes)


def changes_since(plan: RunPlan, experiment: Experiment, warn: Say) -> list[str]:
    """Changes of the run's provenance, each also a warning; SceneError where they must be allowed."""
    origin = plan.origin
    if origin is None or origin.config is None:
        return []
    changed, shaky = differences(origin.config, plan.source, experiment)
    if changed and not plan.options.allow_changes:
        cure = f"{origin.path} does not go on as it began: undo that, or accept it with --allow-changes."
        raise SceneError("\n".join([*changed, cure]))
    for text in (*changed, *shaky):
        warn(text)
    return [*changed, *shaky]
