"""Every configuration of every scene: it passes its checks, keeps to what it declares, and goes on from a kill to the same bytes."""

import importlib
import signal
from pathlib import Path

import pytest

from engine import Experiment, build
from engine.runner.checkpoint import checkpoints
from engine.runner.run import main as run
from engine.snapshot.snapshot import restore, save
from engine.tools.audit import Audit
from tests.exactness import kill
from tests.helpers import REPOSITORY, go1, needs_g1

TICKS, HORIZON = 50, 6
SMALL = {"num_envs": 4, "hidden": (8,), "horizon": HORIZON, "physics_threads": 1}
WORDS = ["--num-envs", "4", "--learning.hidden", "8", "--learning.horizon", str(HORIZON), "--physics-threads", "1"]
WORDS += ["--checkpoint-every", "2", "--iterations", "100000"]  # until it is killed
SCENES = ("motion_tracking", "velocity")
CONFIGS = {scene: importlib.import_module(f"scenes.{scene}").CONFIGS for scene in SCENES}
SECOND_NAMES = ("published",)
CASES = [(scene, name) for scene, configs in CONFIGS.items() for name in configs if name not in SECOND_NAMES]
pytestmark = [pytest.mark.slow, needs_g1]


def test_scenes_with_configurations_are_those_tried_here() -> None:
    files = sorted(path.stem for path in (REPOSITORY / "scenes").glob("*.py") if path.stem != "__init__")
    assert [name for name in files if hasattr(importlib.import_module(f"scenes.{name}"), "CONFIGS")] == list(SCENES)


def robot_of(scene: str, name: str) -> str:
    """The robot of a configuration; the Go1 from wherever there is one."""
    robot = str(CONFIGS[scene][name].robot)
    return go1() if robot == "go1" else robot


def made(scene: str, name: str) -> Experiment:
    """A configuration with few rows and a small network that learns every six ticks."""
    config = CONFIGS[scene][name].replace(**SMALL, robot=robot_of(scene, name))
    experiment: Experiment = importlib.import_module(f"scenes.{scene}").experiment(config)
    return experiment


@pytest.mark.parametrize(("scene", "name"), CASES)
def test_a_configuration_passes_its_check(scene: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([f"scenes/{scene}.py", "--config", name, "--robot", robot_of(scene, name), "--check"]) == 0
    assert "ok" in capsys.readouterr().out


@pytest.mark.parametrize(("scene", "name"), CASES)
def test_fifty_audited_ticks_have_no_findings_and_a_killed_run_goes_on_to_the_same_bytes(
    scene: str, name: str, tmp_path: Path
) -> None:
    command = [f"scenes/{scene}.py", "--config", name, "--robot", robot_of(scene, name), *WORDS]
    experiment = made(scene, name)
    with kill.run_of(command, tmp_path) as process:
        try:
            undisturbed = build(experiment.train(), seed=0)
            audit = Audit(undisturbed.schedule)
            undisturbed.run(TICKS)
            assert audit.findings == []
            audit.detach()
            assert kill.wait(process, lambda: bool(checkpoints(tmp_path)), 0.01)
        finally:
            process.send_signal(signal.SIGKILL)
    resumed = build(experiment.train(), seed=9)
    restore(resumed.world, checkpoints(tmp_path)[0].read_bytes())
    passed = resumed.world.clock.tick + 1
    end = max(TICKS, passed + 2 * HORIZON)
    undisturbed.run(end - TICKS)
    resumed.run(end - passed)
    assert save(resumed.world) == save(undisturbed.world)
