"""Runs of ours are judged in many rows of their own scene, and asked for what the protocol asks."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from components.command import Command
from components.episode import Rewritten
from components.robot import RootState
from engine import SceneError
from engine.ecs.world import Clock
from scenes.robots.referee import main
from systems.referee.match import Protocol
from systems.referee.rows import RunContender, ask, mark_shoved, shove
from tests.helpers import needs_g1

SHIPPED = Path("scenes/policies/motion_tracking.lockstep")


def test_rows_are_asked_for_the_commands_in_turn() -> None:
    command = Command.make(5, {}, velocity=[[9.0, 9.0, 9.0]] * 5)
    ask(command, velocities=((0.5, 0.0, 0.0), (0.0, 0.0, -0.5)))
    assert command.velocity.tolist() == [[0.5, 0.0, 0.0], [0.0, 0.0, -0.5]] * 2 + [[0.5, 0.0, 0.0]]


def test_rows_are_pushed_in_turn_in_eight_directions_of_their_own_axes_in_one_tick() -> None:
    turned = [math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5)]  # a quarter to the left: forward is y
    root = RootState.make(10, {}, rotation=[turned] * 10, linear_velocity=[[1.0, 0.0, 0.0]] * 10)
    rewritten, clock = Rewritten.make(10, {}), Clock()
    for tick in (99, 100, 101):
        clock.tick = tick
        mark_shoved(clock, rewritten, tick=100)
        shove(clock, root, tick=100, push=2.0)
    assert bool(rewritten.rows.all())
    half = math.sqrt(2.0)
    expected = [[1, 2, 0], [1 - half, half, 0], [-1, 0, 0], [1 - half, -half, 0], [1, -2, 0], [1 + half, -half, 0]]
    torch.testing.assert_close(root.linear_velocity[:6], torch.tensor(expected, dtype=torch.float32))
    torch.testing.assert_close(root.linear_velocity[8:], root.linear_velocity[:2])


@pytest.fixture(scope="module")
def walking_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a humanoid that has learned to walk for one iteration."""
    from engine.run import main as run

    out = tmp_path_factory.mktemp("runs") / "walk"
    words = ["--robot", "humanoid", "--num-envs", "4", "--iterations", "1", "--no-film", "--physics-threads", "1"]
    assert run(["scenes/velocity.py", *words, "--out", str(out)]) == 0
    return out


@pytest.mark.slow
def test_a_walker_s_rows_walk_as_the_protocol_asks(walking_run: Path) -> None:
    contender = RunContender.load(walking_run)
    assert contender.kind == "walker" and contender.name == "walk"
    commands = ((0.3, 0.0, 0.0), (0.0, 0.0, 0.4), (0.0, 0.0, 0.0))
    found = contender.play(Protocol(seconds=0.5, commands=commands), typed=True)
    assert [each["command"] for each in found["walks"]] == list(commands)
    assert found["scores"]["walks"] == 128 and [each["walks"] for each in found["walks"]] == [43, 43, 42]
    scores = found["scores"]
    assert scores["survived s"] <= 0.5 and scores["power W"] > 0.0
    assert scores["target rate rad/frame"] > 0.0 and scores["foot slip m/s"] >= 0.0
    assert scores["pushes survived %"] == 0.0  # it falls within 5 s, pushed or not
    unpushed = contender.play(Protocol(seconds=0.5, commands=commands, push=0.0), typed=True)
    assert "pushes survived %" not in unpushed["scores"]


@pytest.mark.slow
def test_a_run_refuses_what_it_was_not_trained_for(walking_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    for words, message in (
        ([str(walking_run), "--command", "7", "0", "0"], "asks for 7 forward, but"),
        ([str(walking_run), "--table", "mjlab_walker"], "--table has no effect"),
        ([str(walking_run), "--clip", "squat"], "--clip has no effect"),
        ([str(tmp_path)], ""),
    ):
        with pytest.raises(SceneError) as refused:
            main([*words, "--json", str(out)])
        assert message in str(refused.value)
    assert not out.exists()


@pytest.mark.slow
@needs_g1
def test_the_shipped_policy_is_judged_in_64_rows_and_knows_its_clip() -> None:
    contender = RunContender.load(SHIPPED)
    assert contender.kind == "tracker"
    with pytest.raises(SceneError, match="was not trained on the clip 'walk'; it knows squat"):
        contender.choose("walk")
    found: dict[str, Any] = contender.choose("squat").play(Protocol(), typed=False)
    scores = found["scores"]
    assert found["clip"] == "squat" and scores["episodes"] == 64 and scores["success %"] == 100.0
    assert scores["completion %"] == pytest.approx(100.0) and 8.0 < scores["MPJPE global mm"] < 30.0
    assert scores["target rate rad/frame"] == pytest.approx(0.0097, rel=0.1)  # of its file, in plain MuJoCo
    assert scores["foot slip m/s"] < 0.05 and "pushes survived %" not in scores
