"""One scene in several simulators: the same numbers are seen, earned and ended by, and a policy is measured in both."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from components.episode import Done, Reward
from components.observation import Observation
from components.robot import DofState, RootState
from engine import Experiment, Simulation, World, build
from engine.runner.run import main as run
from engine.snapshot.snapshot import restore, save
from engine.tools.audit import Audit
from scenes import velocity
from tests.helpers import evaluated, shorter, tracking
from tests.physics.rows import needs
from tests.standins.here import environment

WARP = needs("warp")
WARP_HERE = find_spec("mujoco_warp") is not None
OTHERS = [pytest.param("warp", marks=WARP), pytest.param("isaacgym", marks=needs("isaacgym"))]
CLOSE = {  # after one control step: rewards, what is seen and metres; after ten: metres of the median row; share of a measure
    "warp": (1e-5, 0.02, 1e-5, 1e-3, 1e-3),
    "isaacgym": (5e-3, 0.05, 1e-3, 0.02, 0.05),  # other settings of the contact solver
}
SMALL: dict[str, Any] = {"robot": "humanoid", "num_envs": 6, "hidden": (8,)}


def made(scene: str, backend: str) -> Experiment:
    """A scene's experiment with few rows."""
    if scene != "velocity":
        drawn = {"randomise": "extra,gains,mjlab_tracking"} if scene == "randomised" else {}
        return tracking(clip="squat", backend=backend, **drawn, **SMALL)
    return velocity.experiment(velocity.CONFIGS["laptop"].replace(backend=backend, **SMALL))


def copy_columns(source: World, target: World) -> None:
    """Put every column of one world into the other."""
    for key, instance in source.components.items():
        for name, column in vars(instance).items():
            if isinstance(column, torch.Tensor):
                getattr(target.components[key], name).copy_(column)


@pytest.fixture(autouse=True)
def standin() -> Iterator[None]:
    """Isaac Gym is its stand-in."""
    with environment():
        yield


@pytest.mark.parametrize(
    ("backend", "scene"),
    [pytest.param("warp", scene, marks=WARP) for scene in ("tracking", "velocity", "randomised")]
    + [pytest.param("isaacgym", scene, marks=needs("isaacgym")) for scene in ("tracking", "velocity")],
)
def test_what_is_seen_earned_and_ended_by_is_the_same_in_another_simulator(backend: str, scene: str) -> None:
    here, there = (build(made(scene, name).train(), seed=3) for name in ("mujoco", backend))
    audit, (earned, seen, placed, _, _) = Audit(there.schedule), CLOSE[backend]
    assert (
        here.world.tables["robot"].axes == there.world.tables["robot"].axes
    )  # names of joints, bodies, numbers seen, terms
    for tick in range(8):
        copy_columns(here.world, there.world)
        here.run()
        there.run()
        mine, other = (
            [w[Reward].terms, w[Observation].critic, w[RootState].position] for w in (here.world, there.world)
        )
        if tick:
            assert_close(other[0], mine[0], atol=earned, rtol=0.0)
            assert float(mine[0].abs().max()) > 1e-3
        assert torch.equal(here.world[Done].reason, there.world[Done].reason)
        unlike = (other[1] - mine[1]).abs() > seen  # joint velocities are the most sensitive
        assert float(unlike.float().mean()) <= (0.0 if backend == "warp" else 0.03)
        assert_close(other[2], mine[2], atol=placed, rtol=0.0)
    assert [finding.text for finding in audit.findings] == []


@pytest.mark.parametrize("backend", OTHERS)
def test_trajectories_part_slowly(backend: str) -> None:
    here, there = (build(made("tracking", name).train(), seed=3) for name in ("mujoco", backend))
    for each in (here, there):
        each.run(11)  # the first places the rows; 0.2 s follow
    apart = torch.cat(
        [
            here.world[RootState].position - there.world[RootState].position,
            here.world[DofState].position - there.world[DofState].position,
        ],
        1,
    )
    rows = apart.abs().amax(1)
    assert 0.0 < float(rows.median()) < CLOSE[backend][3] and float(rows.max()) < 0.05


@pytest.mark.parametrize(
    ("backend", "called"),
    [pytest.param("warp", "warp", marks=WARP), pytest.param("isaacgym", "isaacgym stand-in", marks=needs("isaacgym"))],
)
def test_a_policy_of_mujoco_is_measured_in_both(backend: str, called: str) -> None:
    trained = build(made("tracking", "mujoco").train())
    trained.run(2)
    found = evaluated(shorter(made("tracking", backend), 3), save(trained.world))
    (table,) = found["tables"].values()
    assert list(found["tables"]) == [f"{called} beside mujoco"]
    assert [row["played in"] for row in table] == [called, "mujoco"]
    assert table[0] == {"played in": called, **found["summary"]}
    alone = evaluated(shorter(made("tracking", "mujoco"), 3), save(trained.world))
    assert table[1] == {"played in": "mujoco", **alone["summary"]} and "tables" not in alone
    assert table[0]["MPJPE global mm"] == pytest.approx(table[1]["MPJPE global mm"], rel=CLOSE[backend][4])


@pytest.mark.slow
@pytest.mark.skipif(not WARP_HERE, reason="MuJoCo Warp is not installed")
def test_a_run_trains_in_warp_and_is_evaluated_by_command_in_either(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = ["scenes/motion_tracking.py", "--robot", "humanoid", "--clip", "stand", "--num-envs", "4"]
    flags = [*scene, "--learning.hidden", "8", "--learning.horizon", "4", "--debug", "off", "--no-film"]
    folder = str(tmp_path / "run")
    assert run([*flags, "--backend", "warp", "--iterations", "3", "--out", folder]) == 0
    capsys.readouterr()
    assert run(["--eval", folder, "--backend", "mujoco"]) == 0
    assert "beside" not in capsys.readouterr().out
    assert run(["--eval", folder]) == 0
    assert "warp beside mujoco" in capsys.readouterr().out
    written = json.loads((tmp_path / "run" / "evaluation.json").read_text(encoding="utf-8"))
    assert [row["played in"] for row in written["tables"]["warp beside mujoco"]] == ["warp", "mujoco"]


@pytest.mark.slow
@pytest.mark.skipif(not WARP_HERE, reason="MuJoCo Warp is not installed")
def test_a_snapshot_of_a_scene_goes_on_to_the_same_bytes_in_warp() -> None:
    def ends(simulation: Simulation) -> bytes:
        simulation.run(4)
        return save(simulation.world)

    first = build(made("tracking", "warp").train(), seed=5)
    first.run(5)
    kept = save(first.world)
    second = build(made("tracking", "warp").train(), seed=5)
    restore(second.world, kept)
    assert ends(first) == ends(second)
