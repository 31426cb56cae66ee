"""A trained policy and the run that it comes from, for programs that play or measure it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import attrs

from engine.ecs.scene import Scene
from engine.errors import SceneError
from engine.runner.checkpoint import CHECKPOINT, checkpoints, moment
from engine.runner.commands import TrialRun, fitting, load_trained
from engine.runner.config import RunPlan, make_plan
from engine.runner.console import Warnings
from engine.runner.experiment import Experiment, Trial
from engine.runner.plot import RunRecord
from engine.runner.run_folder import Origin
from engine.snapshot.snapshot import about


@attrs.define
class FirstWarnings(Warnings):
    """Warnings of several trials, each of which is printed once."""

    def __call__(self, text: str) -> None:
        """Warn, unless that was done before."""
        if text not in self.messages:
            super().__call__(text)


@attrs.frozen(eq=False)
class TrainedPolicy:
    """A policy, as a run folder, a checkpoint or an exported file has it, and the experiment that it was trained in.

    `given` is what the user typed, `checkpoint` the file that is played. `scene` is the scene that was trained.
    """

    given: Path
    checkpoint: Path
    plan: RunPlan
    experiment: Experiment
    scene: Scene
    trials: TrialRun

    @classmethod
    def open(cls, given: Path, words: Sequence[str], console: Any, *, scene_file: str | None = None) -> Self:
        """The policy at a path, with further words of the command line as --eval takes them.

        `scene_file` is one in place of that which the run was made with. SceneError for a path without a policy, or words that
        make no sense.
        """
        plan = make_plan([*([scene_file] if scene_file else []), "--eval", str(given), *words])
        refuse_unfinished(plan.origin)
        experiment = plan.experiment()
        scene = experiment.train()
        return cls(given, *_loaded(plan, experiment, scene, console))

    def play(self, trial: Trial, path: Path, doing: str, *, seed: int) -> Mapping[str, Any]:
        """What a trial reads of this policy; it may write a file at `path`. KeyboardInterrupt after Ctrl-C."""
        settings = attrs.evolve(self.plan.settings, seed=seed)
        trials = attrs.evolve(self.trials, plan=attrs.evolve(self.plan, settings=settings))
        with fitting(self.checkpoint, self.scene.name):
            found = trials.run(trial, path, doing, "Measured", f"Interrupted while {doing}; nothing was written.")
        if found is None:
            raise KeyboardInterrupt
        return found

    @property
    def folder(self) -> Path | None:
        """The run folder that it comes from."""
        return self.plan.origin.folder if self.plan.origin else None

    @property
    def iteration(self) -> int | None:
        """The learning iteration of the checkpoint, as far as its name tells."""
        return moment(self.checkpoint)[0] if CHECKPOINT.fullmatch(self.checkpoint.name) else None

    def record(self) -> RunRecord | None:
        """How it was trained; None for a policy that comes without its run."""
        return RunRecord.read(self.folder) if self.folder else None

    def provenance(self) -> dict[str, Any]:
        """What is known of its training: configuration of the run, and of an exported policy how it was made."""
        origin = self.plan.origin
        config = dict(origin.config) if origin is not None and origin.config else {}
        return {**about(self.trials.data), **config}


def _loaded(
    plan: RunPlan, experiment: Experiment, scene: Scene, console: Any
) -> tuple[Path, RunPlan, Experiment, Scene, TrialRun]:
    path, trials = load_trained(plan, experiment, scene, plan.origin, FirstWarnings(console))
    return path, plan, experiment, scene, trials


def refuse_unfinished(origin: Origin | None) -> None:
    """SceneError for a run that has not kept a checkpoint."""
    if origin is not None and origin.path.is_dir() and not checkpoints(origin.path):
        raise SceneError(
            f"{origin.path} holds no checkpoint yet, so there is no policy in it. Wait until the run has written one, go on with "
            f"it by python -m engine.run --resume {origin.path}, or name another run."
        )
