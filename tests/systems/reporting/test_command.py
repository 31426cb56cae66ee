"""lockstep evaluate measures small runs for real, side by side, and refuses what it cannot measure before it writes anything."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine import LockstepError, SceneError, SnapshotError
from engine.run import main as run
from engine.runner import commands as runner
from engine.runner.cli import commands, load_command
from engine.runner.stop import StopRequest
from scenes.robots.clip_tools import main as clip_tools
from systems.reporting.command import main
from tests.helpers import REPOSITORY

SCENES = REPOSITORY / "scenes"
TINY = (
    "--num-envs",
    "4",
    "--learning.hidden",
    "8",
    "--learning.horizon",
    "4",
    "--iterations",
    "1",
    "--no-film",
    "--debug",
    "off",
)
TRACKING = ("motion_tracking.py", "--robot", "humanoid", "--physics-threads", "1", *TINY)


def trained(out: Path, scene: str, *flags: str) -> Path:
    assert run([str(SCENES / scene), *flags, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of less than half a second."""
    folder = tmp_path_factory.mktemp("clips")
    for name in ("squat", "wave"):
        words = ["cut", name, "0s-0.4s", "--robot", "humanoid", "--out", str(folder / f"{name}.npz")]
        assert clip_tools(words) == 0
    return folder


@pytest.fixture(scope="module")
def runs(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two seeds of a tracker of two clips, in which half a millimetre is a failure, and a cart."""
    folder = tmp_path_factory.mktemp("runs")
    both = (*TRACKING, "--clip", str(clips), "--set", "tracking.terminate.end_effector_height.most=0.0005")
    cart = ("--num-envs", "4", "--iterations", "1", "--no-film", "--debug", "off")
    return {
        "one": trained(folder / "one", *both, "--seed", "0"),
        "two": trained(folder / "two", *both, "--seed", "1"),
        "cart": trained(folder / "cart", "cartpole.py", *cart),
    }


@pytest.fixture(scope="module")
def walker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = ("velocity.py", "--robot", "humanoid", "--seconds", "0.5", "--physics-threads", "1", *TINY)
    return trained(tmp_path_factory.mktemp("walker") / "walker", *words)


def evaluate(out: Path, *words: Any) -> tuple[dict[str, Any], str]:
    """The numbers and the page."""
    assert main([*map(str, words), "--out", str(out), "--no-film"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["evaluation.json", "report.html"]
    return json.loads((out / "evaluation.json").read_text()), (out / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def side_by_side(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    return evaluate(tmp_path_factory.mktemp("out") / "both", runs["one"], runs["two"], "--seeds", "2")


def test_runs_stand_side_by_side_with_and_without_noise_over_seeds(side_by_side: tuple[dict[str, Any], str]) -> None:
    found, _ = side_by_side
    played = [(each["run"], each["noise"], each["seed"]) for each in found["results"]]
    assert played == [(name, noise, seed) for name in ("one", "two") for noise in (False, True) for seed in (0, 1)]
    assert [row["clip"] for row in found["results"][0]["table"]] == ["squat", "wave", "all"]
    values = [row["MPJPE global mm"] for each in found["results"][:2] for row in each["table"] if row["clip"] == "all"]
    spread = found["spreads"][0]["clips"]["all"]["MPJPE global mm"]
    assert spread["n"] == 2 and spread["mean"] == pytest.approx(sum(values) / 2)
    assert spread["std"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    calm, noisy = (found["results"][place]["table"][-1] for place in (0, 2))
    assert calm["MPJPE global mm"] != noisy["MPJPE global mm"]


def test_runs_that_differ_in_their_seed_have_a_mean_over_seeds_of_training(
    side_by_side: tuple[dict[str, Any], str],
) -> None:
    found, page = side_by_side
    (both,) = [each for each in found["spreads"] if each["over"] == "runs" and not each["noise"]]
    means = [each["clips"]["wave"]["power W"]["mean"] for each in found["spreads"][:4:2]]
    assert both["clips"]["wave"]["power W"]["mean"] == pytest.approx(sum(means) / 2)
    assert both["of"] == "mean of 2 seeds: one, two" and both["of"] in page


def test_the_numbers_are_those_of_the_runs_own_evaluation_which_stays(
    runs: dict[str, Path], side_by_side: tuple[dict[str, Any], str]
) -> None:
    own = json.loads((runs["one"] / "evaluation.json").read_text())
    assert own["checkpoint"] == "iteration_000001.lockstep" and "runs" not in own
    mine = side_by_side[0]["results"][0]
    assert (mine["run"], mine["noise"], mine["seed"]) == ("one", False, 0)  # as it was measured after its training
    for here, there in zip(mine["table"], own["table"], strict=True):
        assert {name: here[name] for name in there} == there
        assert here["power W"] > 0.0 and here["end effectors mm"] > 0.0 and here["R-MPKPE mm"] > 0.0


def test_failures_say_where_and_why(side_by_side: tuple[dict[str, Any], str]) -> None:
    found, page = side_by_side
    assert found["failures"], "half a millimetre is soon missed"
    for failure in found["failures"]:
        assert failure["clip"] in ("squat", "wave") and failure["why"] and 0.0 < failure["time s"] < 10.0
    assert "failure" in page and f"{len(found['runs'])}" and "end effector height" in page


def test_the_page_has_curves_joints_contacts_and_every_run(side_by_side: tuple[dict[str, Any], str]) -> None:
    _, page = side_by_side
    for words in ("Where it goes wrong", "When feet touch", "Joints", "Training", "What the numbers are", "R-MPKPE mm"):
        assert words in page
    assert page.count("data:image/png;base64,") == 1 and page.count("data:image/svg+xml;base64,") == 2 * 3
    assert len(page) < 5_000_000


@pytest.mark.slow
def test_a_walker_is_measured_by_its_commands(walker: Path, tmp_path: Path) -> None:
    found, page = evaluate(tmp_path / "out", walker, "--seeds", "1", "--noise", "off")
    (row,) = found["results"][0]["table"]
    assert {
        "success %",
        "length s",
        "linear velocity error m/s",
        "yaw rate error rad/s",
        "power W",
        "foot slip m/s",
    } <= {*row}
    assert "cost of transport" in row and "When feet touch" in page
    assert found["spreads"][0]["clips"]["commands"]["power W"]["std"] is None


def test_a_scene_without_a_robot_has_the_numbers_of_its_own_evaluation(runs: dict[str, Path], tmp_path: Path) -> None:
    found, page = evaluate(tmp_path / "out", runs["cart"], "--seeds", "2")
    assert [each["noise"] for each in found["results"]] == [False, False]  # it has no noise
    assert {"return", "failed %"} <= {*found["results"][0]["table"][0]}
    assert "no robot whose joints and feet could be drawn" in page and "When feet touch" not in page


@pytest.mark.slow
def test_flags_of_the_scene_are_passed_on_and_said(runs: dict[str, Path], clips: Path, tmp_path: Path) -> None:
    wave = clips / "wave.npz"
    words = (runs["one"], runs["two"], "--seeds", "1", "--noise", "on", "--clip", wave, "--randomise-played", "none")
    found, page = evaluate(tmp_path / "out", *words)
    assert {row["clip"] for each in found["results"] for row in each["table"]} == {"wave"}
    assert f"Played otherwise than trained: clip {wave}, randomise_played none." in page


def test_a_film_comes_with_the_page_and_the_default_folder_is_said(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([str(runs["cart"]), "--seeds", "1"]) == 0
    (out,) = (tmp_path / "evaluations").iterdir()
    assert sorted(p.name for p in out.iterdir()) == ["evaluation.json", "film_1.mp4", "report.html"]
    assert "data:video/mp4;base64," in (out / "report.html").read_text(encoding="utf-8")
    output = capsys.readouterr().out
    assert f"evaluations/{out.name}/report.html" in output and "return" in output


def test_the_command_is_one_of_lockstep() -> None:
    assert load_command("evaluate", commands()["evaluate"]) is main


# -- what is refused -----------------------------------------------------------------------------------


def refused(tmp_path: Path, *words: Any, error: type[Exception] = SceneError) -> str:
    """The sentence; nothing is written."""
    out = tmp_path / "refused"
    with pytest.raises(error) as caught:
        main([*map(str, words), *(() if "--out" in words else ("--out", str(out)))])
    text = str(caught.value)
    assert "\n" not in text and text.endswith((".", "?")) and not out.exists()
    return text


def test_without_a_run_there_is_nothing_to_measure(tmp_path: Path) -> None:
    assert "Name the runs to measure before any flag" in refused(tmp_path)
    assert "no run folder or checkpoint at" in refused(tmp_path, tmp_path / "nothing")
    assert "is not a run folder" in refused(tmp_path, tmp_path)
    for name, sentence in {
        "policy.onnx": "is an .onnx file, which is for other programs",
        "text.txt": "are not a snapshot",
    }.items():
        (tmp_path / name).write_text("x")
        assert sentence in refused(tmp_path, tmp_path / name, error=LockstepError)


def test_a_run_without_a_checkpoint_has_no_policy_and_says_how_to_get_one(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    unfinished = tmp_path / "run"
    shutil.copytree(runs["cart"], unfinished)
    shutil.rmtree(unfinished / "checkpoints")
    text = refused(tmp_path, unfinished)
    assert "holds no checkpoint yet" in text
    assert f"--resume {unfinished}" in text


def test_a_checkpoint_that_is_cut_is_no_policy(runs: dict[str, Path], tmp_path: Path) -> None:
    cut = tmp_path / "run"
    shutil.copytree(runs["cart"], cut)
    for path in (cut / "checkpoints").glob("iteration*"):
        path.write_bytes(path.read_bytes()[:100])
    assert "checkpoint" in refused(tmp_path, cut, error=SnapshotError)


def with_clip(run_: Path, copy: Path, clip: Path) -> Path:
    """A copy of a run that was made with another clip."""
    shutil.copytree(run_, copy)
    config = json.loads((copy / "config.json").read_text())
    config["flags"]["clip"] = str(clip)
    (copy / "config.json").write_text(json.dumps(config))
    return copy


def test_runs_of_different_scenes_do_not_stand_side_by_side(runs: dict[str, Path], tmp_path: Path) -> None:
    text = refused(tmp_path, runs["one"], runs["cart"])
    assert "one is of the scene 'motion_tracking' and cart of 'cartpole'" in text and "of one scene together" in text


def test_nor_do_runs_of_different_clips(runs: dict[str, Path], clips: Path, tmp_path: Path) -> None:
    text = refused(tmp_path, runs["one"], with_clip(runs["two"], tmp_path / "other", clips / "wave.npz"))
    assert (
        "one has the clips squat, wave, and other has wave" in text
        and "say --clip for all of them".lower() in text.lower()
    )


@pytest.mark.slow
def test_runs_of_different_clips_stand_side_by_side_on_one(runs: dict[str, Path], clips: Path, tmp_path: Path) -> None:
    other = with_clip(runs["two"], tmp_path / "other", clips / "wave.npz")
    words = (runs["one"], other, "--clip", clips / "wave.npz", "--seeds", "1", "--noise", "off")
    found, _ = evaluate(tmp_path / "out", *words)
    assert found["differences"] == ""


def test_a_run_whose_scene_file_is_gone_is_measured_with_the_one_that_is_named_first(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    moved = tmp_path / "run"
    shutil.copytree(runs["cart"], moved)
    config = json.loads((moved / "config.json").read_text())
    config["source"] = str(tmp_path / "gone.py")
    (moved / "config.json").write_text(json.dumps(config))
    assert "gone.py, which is gone. Name the scene file first" in refused(tmp_path, moved)
    found, _ = evaluate(tmp_path / "out", SCENES / "cartpole.py", moved, "--seeds", "1")
    assert found["scene"] == "cartpole"
    assert "Name the runs" in refused(tmp_path, SCENES / "cartpole.py")


def test_a_clip_that_is_not_there_any_more_is_named(runs: dict[str, Path], tmp_path: Path) -> None:
    assert "gone.csv" in refused(tmp_path, with_clip(runs["one"], tmp_path / "run", tmp_path / "gone.csv"))


def test_nothing_is_overwritten(runs: dict[str, Path], tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "evaluation.json").write_text("mine")
    assert "already holds files" in refused(tmp_path, runs["cart"], "--out", taken)
    assert (taken / "evaluation.json").read_text() == "mine" and len([*taken.iterdir()]) == 1
    assert "already holds files" in refused(tmp_path, runs["cart"], "--out", runs["cart"])
    assert "is a file" in refused(tmp_path, runs["cart"], "--out", taken / "evaluation.json")


def test_an_empty_folder_may_be_filled(runs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    evaluate(tmp_path / "empty", runs["cart"], "--seeds", "1")


@pytest.mark.slow
def test_as_many_episodes_are_played_as_are_asked_for(runs: dict[str, Path], tmp_path: Path) -> None:
    for name, count in (("one", 7), ("cart", 5)):
        found, page = evaluate(tmp_path / name, runs[name], "--seeds", "1", "--noise", "off", "--episodes", str(count))
        assert found["results"][0]["table"][-1]["episodes"] == count and f"Every one of {count} rows" in page
    sentence = "--episodes is 1, but there are 2 clips, and each is played. Give at least 2."
    assert refused(tmp_path, runs["one"], "--episodes", "1") == sentence


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--seeds", "0"), "--seeds is 0"),
        (("--episodes", "0"), "--episodes is 0"),
        (("--seeds", "many"), "invalid int value: 'many'"),
        (("--noise", "loud"), "invalid choice: 'loud'"),
        (("--noise", "on"), "--noise on has no effect"),
        (("--wrong", "1"), "--wrong"),
        (("--clip", "walk"), "clip"),
    ],
)
def test_flags_that_make_no_sense_are_one_sentence(
    runs: dict[str, Path], tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    assert message in refused(tmp_path, runs["cart"], *words)


def test_a_run_that_is_given_twice_is_named(runs: dict[str, Path], tmp_path: Path) -> None:
    assert "was given twice" in refused(tmp_path, runs["cart"], runs["cart"])


def test_a_scene_without_an_evaluation_says_so(tmp_path: Path) -> None:
    scene = tmp_path / "plain.py"
    scene.write_text(
        "from scenes.cartpole import balancing\nfrom systems.ppo import ppo\nfrom systems.learning.config import PpoConfig\n"
        "def scene(num_envs: int = 2):\n    return balancing(num_envs, ppo(PpoConfig(horizon=4, hidden=(8,))))\n"
    )
    out = tmp_path / "run"
    assert run([str(scene), "--iterations", "1", "--debug", "off", "--out", str(out)]) == 0
    text = refused(tmp_path, out)
    assert "The scene 'cartpole'" in text and "has no evaluation" in text and "adding_a_task.md" in text


def test_ctrl_c_writes_nothing(runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "StopRequest", partial(StopRequest, requested=True))
    with pytest.raises(KeyboardInterrupt):
        main([str(runs["cart"]), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
