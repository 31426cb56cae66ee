"""Runs of ours are judged in many rows of their own scene, and asked for what the protocol asks."""

from pathlib import Path
from typing import Any

import pytest

from components.command import Command
from engine import SceneError
from scenes.robots.referee import main
from systems.referee.match import Protocol
from systems.referee.rows import RunContender, ask
from tests.helpers import needs_g1

SHIPPED = Path("scenes/policies/motion_tracking.lockstep")


def test_rows_are_asked_for_the_commands_in_turn() -> None:
    command = Command.make(5, {}, velocity=[[9.0, 9.0, 9.0]] * 5)
    ask(command, velocities=((0.5, 0.0, 0.0), (0.0, 0.0, -0.5)))
    assert command.velocity.tolist() == [[0.5, 0.0, 0.0], [0.0, 0.0, -0.5]] * 2 + [[0.5, 0.0, 0.0]]


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
    assert found["scores"]["survived s"] <= 0.5 and found["scores"]["power W"] > 0.0


@pytest.mark.slow
def test_a_run_refuses_what_it_was_not_trained_for(walking_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    for words, told in (
        ([str(walking_run), "--command", "7", "0", "0"], "asks for 7 forward, but"),
        ([str(walking_run), "--table", "mjlab_walker"], "--table has no effect"),
        ([str(walking_run), "--clip", "squat"], "--clip has no effect"),
        ([str(tmp_path)], ""),
    ):
        with pytest.raises(SceneError) as refused:
            main([*words, "--json", str(out)])
        assert told in str(refused.value)
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
    assert scores["target rate rad/frame"] is None and scores["foot slip m/s"] is None
