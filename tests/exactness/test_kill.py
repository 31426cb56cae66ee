"""SIGKILL at any moment costs time and nothing else; tests/exactness/kill.py does this at length with the tracking scene."""

from pathlib import Path

import pytest

from engine.runner.checkpoint import moment
from tests.exactness import kill

TOY = Path(__file__).parents[1] / "engine" / "toy_scene.py"
ITERATIONS, EVERY = 24, 2


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """The toy scene: 0.1 s in an iteration, checkpoints of half a megabyte, and the best of them judged."""
    text = TOY.read_text(encoding="utf-8").replace("        iterations=4,", '        best="-loss/spread",')
    scene = tmp_path / "toy.py"
    scene.write_text(text, encoding="utf-8")
    flags = {"num-envs": 20_000, "iterations": ITERATIONS, "checkpoint-every": EVERY, "pause": 0.005}
    return [str(scene), *(word for name, value in flags.items() for word in (f"--{name}", str(value)))]


def test_a_run_that_is_killed_again_and_again_ends_as_one_that_is_not(tmp_path: Path, command: list[str]) -> None:
    whole, aimed = tmp_path / "whole", False
    kill.finish(kill.run_of(command, whole))
    for seed in (3, 4, 5):  # on a busy machine a kill may come too late to hit what it was aimed at
        killed = tmp_path / f"killed_{seed}"
        kills = kill.kill_often(
            command, killed, kills=4, inside=2, early=1, iterations=ITERATIONS, every=EVERY, seed=seed
        )
        assert kill.differences(whole, killed) == [], kills
        names = [[moment(path) for path in kill.checkpoints(folder)] for folder in (whole, killed)]
        assert names[0] == names[1]
        assert not list(killed.rglob("*.part"))
        aimed = len(kills) == 4 and sum(each.hit == "write of a checkpoint" for each in kills) >= 2
        if aimed:
            break
    assert aimed, kills
