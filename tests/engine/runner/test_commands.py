"""What is done with a trained world from the command line: filmed at the end of a run, played, exported."""

import json
import re
import shutil
from pathlib import Path

import pytest

from engine import files
from engine.runner import commands
from engine.runner.run import main
from engine.runner.run_folder import RunFolder
from engine.snapshot import snapshot
from tests.engine import film_scene, toy_scene

FILM = str(film_scene.__file__)
TOY = str(toy_scene.__file__)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, without the second that a picture costs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(RunFolder, "draw_curve", lambda self: None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run with strength 0.7, `run`, and its policy, `will.lockstep`."""
    folder = tmp_path_factory.mktemp("finished")
    run, policy = str(folder / "run"), str(folder / "will.lockstep")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "draw_curve", lambda self: None)
        assert main([FILM, "--out", run, "--strength", "0.7", "--seed", "3", "--no-film"]) == 0
        assert main(["--export", run, "--out", policy]) == 0
    return folder


@pytest.fixture
def run(finished: Path, elsewhere: None) -> Path:
    """The finished run."""
    return Path(shutil.copytree(finished / "run", "run", symlinks=True))


def test_a_run_ends_with_a_film_and_says_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([FILM, "--out", "run"]) == 0
    output = capsys.readouterr().out
    assert "\n  film        film.mp4\n  strength    0.5 of 0.5\n" in output
    assert Path("run/film.mp4").read_text() == "a film"


def test_films_of_a_run_that_goes_on_change_nothing_in_it() -> None:
    for folder, more in (("filmed", ["--film-every", "1"]), ("plain", [])):
        assert main([FILM, "--out", folder, "--iterations", "3", "--no-film", *more]) == 0
    assert sorted(p.name for p in Path("filmed/films").iterdir()) == ["iteration_000001.mp4", "iteration_000002.mp4"]
    last = "checkpoints/iteration_000003.lockstep"
    assert Path("filmed", last).read_bytes() == Path("plain", last).read_bytes()
    assert main(["--resume", "filmed", "--iterations", "5", "--film-every", "4"]) == 0
    assert Path("filmed/films/iteration_000004.mp4").exists() and not Path("filmed/film.mp4").exists()


def test_films_that_cannot_be_made_while_it_goes_on_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([TOY, "--film-every", "2", "--out", "run"]) == 2
    assert "--film-every has no effect: the scene has no film. Leave it out." in capsys.readouterr().err
    assert main([FILM, "--film-every", "0", "--out", "run"]) == 2
    assert "--film-every is 0; it must be at least 1." in capsys.readouterr().err


def test_no_film_is_made_when_the_run_says_so(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not (run / "film.mp4").exists()
    assert main(["--resume", "run", "--iterations", "5", "--film"]) == 0
    assert (run / "film.mp4").exists() and "film.mp4" in capsys.readouterr().out


def test_a_film_that_fails_does_not_fail_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([FILM, "--out", "run", "--fail", "no light"]) == 0
    output = capsys.readouterr().out
    assert "finished 4/4" in output and "! The film could not be made: no light" in output
    assert (Path("run/evaluation.json")).exists()


def test_ctrl_c_while_filming_keeps_everything_else(capsys: pytest.CaptureFixture[str]) -> None:
    text = Path(FILM).read_text().replace("        film=Trial(scene,", "        film=Trial(pressed,")
    press = "    def pressed() -> Scene:\n        signal.raise_signal(signal.SIGINT)\n        return scene()\n\n"
    text = text.replace("    def film(", press + "    def film(").replace(
        "import attrs", "import signal\n\nimport attrs"
    )
    Path("pressed.py").write_text(text)
    assert main(["pressed.py", "--out", "run"]) == 130
    output = capsys.readouterr().out
    assert "! The film was interrupted; --play makes it again." in output
    assert Path("run/evaluation.json").exists() and not Path("run/film.mp4").exists()


def test_play_films_a_run_or_a_checkpoint_with_the_flags_that_it_was_made_with(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--play", "run"]) == 0
    assert "strength    0.7 of 0.7" in capsys.readouterr().out and (run / "film.mp4").exists()
    checkpoint = "run/checkpoints/iteration_000004.lockstep"
    assert main([FILM, "--play", checkpoint, "--out", "some/where.mp4", "--strength", "0.1"]) == 0
    output = capsys.readouterr().out
    assert "strength    0.7 of 0.1" in output and "film        some/where.mp4" in output
    assert Path("some/where.mp4").exists()


def test_an_exported_policy_says_how_it_was_made_and_brings_its_flags(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--export", "run", "--out", "will.lockstep"]) == 0
    data = Path("will.lockstep").read_bytes()
    assert list(snapshot.Snapshot.decode(data).resources) == ["Will"] and str(Path.cwd()) not in str(
        snapshot.about(data)
    )
    capsys.readouterr()
    assert main([FILM, "--play", "will.lockstep"]) == 0
    output = capsys.readouterr().out
    command = "python -m engine.run engine/film_scene.py --strength 0.7"
    assert f"trained by  {command}, seed 3, 4 iterations" in output
    assert "strength    0.7 of 0.7" in output and "film        runs/film/film.mp4" in output
    assert main([FILM, "--export", "will.lockstep", "--out", "again.lockstep"]) == 0
    assert snapshot.about(Path("again.lockstep").read_bytes()) == snapshot.about(data)


def test_play_alone_shows_the_policy_that_comes_with_the_scene(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--export", "run", "--out", "will.lockstep"]) == 0
    capsys.readouterr()
    assert main([FILM, "--play", "--shipped", "will.lockstep"]) == 0
    assert "strength    0.7 of 0.5" in capsys.readouterr().out


BAD = {
    "no such file": ([FILM, "--play", "nowhere"], "There is no run folder or checkpoint at nowhere."),
    "no policy": ([FILM, "--play"], "The scene 'film' comes without a trained policy; name a run folder"),
    "lost policy": ([FILM, "--play", "--shipped", "lost"], "There is no run folder or checkpoint at lost."),
    "no film": ([TOY, "--play"], "The scene 'toy' has no film, so there is nothing to --play."),
    "garbage": ([FILM, "--play", "garbage"], "garbage: These bytes are not a snapshot"),
    "empty": ([FILM, "--play", "empty"], "empty: The snapshot ends after 0 bytes"),
    "torn": (
        [FILM, "--play", "torn"],
        "torn: The snapshot is damaged at byte ",
    ),
    "other scene": (
        [FILM, "--play", "will.lockstep", "--name", "dance"],
        "will.lockstep was trained in the scene 'film', but this is 'dance'; name that scene.",
    ),
    "other widths": (
        [FILM, "--play", "will.lockstep", "--size", "2"],
        "will.lockstep does not fit the scene 'film' with these flags: Resource Will",
    ),
    "two origins": ([FILM, "--play", "run", "--eval", "run"], "--eval and --play cannot be combined"),
    "export to nowhere": (["--export", "run"], "--export writes one file; say which with --out FILE."),
    "export of another format": (
        ["--export", "run", "--out", "policy.pt"],
        "--export writes a policy in Lockstep's own format, which --play and --eval read, or an .onnx file for other programs, "
        "and no pt file. Say --out policy.lockstep, or --out policy.onnx.",
    ),
    "export that the scene does not know": (
        ["--export", "run", "--out", "policy.onnx"],
        "The scene 'film' does not say how its policy is written as an .onnx file. Say --out policy.lockstep, or give its "
        "Experiment export=systems.deploy.export.write_onnx.",
    ),
    "export of an observation without a graph": (
        ["--export", "run", "--out", "policy.lockstep", "--export-takes", "observation"],
        "--export-takes observation has no effect on policy.lockstep; it is for .onnx files. Leave it out, or say --out "
        "policy.onnx.",
    ),
    "film of another format": (
        ["--play", "run", "--out", "a/film.gif"],
        "--play writes an mp4 film, not .gif. Say --out a/film.mp4, or a folder.",
    ),
    "export of nothing": ([FILM, "--export"], "--export takes a run folder or a checkpoint."),
    "export of garbage": ([FILM, "--export", "garbage", "--out", "x"], "garbage: These bytes are not a snapshot"),
    "resume of a policy": ([FILM, "--resume", "will.lockstep"], "The snapshot holds only Will, to be used as it is"),
}


@pytest.mark.parametrize(("arguments", "sentence"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_played_is_one_sentence(
    arguments: list[str], sentence: str, run: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(finished / "will.lockstep", "will.lockstep")
    Path("garbage").write_bytes(b"this is no checkpoint, but it is long enough to have a header")
    Path("empty").write_bytes(b"")
    Path("torn").write_bytes(Path("will.lockstep").read_bytes()[:-3])
    capsys.readouterr()
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {sentence}") and printed.err.count("\n") == 1
    assert not Path("runs").exists()


def test_a_scene_without_a_policy_has_nothing_to_export(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([TOY, "--out", "run"]) == 0
    capsys.readouterr()
    assert main(["--export", "run", "--out", "x"]) == 2
    assert capsys.readouterr().err == "error: The scene 'toy' has no policy to export.\n"


def test_an_evaluation_has_the_constants_that_were_edited_in_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = Path(TOY).read_text()
    asked = """    return {
        "table": [{"clip": "walk", "success": 1.0}],
        "summary": {"overrides": {a: str(p[0].holder[p[0].key]) for a, p in known.items() if a in WATCHED}},
    }
"""
    start, end = text.index("    mean = float("), text.index("def experiment(")
    text = text[:start] + "    known = addresses(MADE[-1].bundles)\n" + asked + "\n\n" + text[end:]
    text = text.replace("def spread(", "MADE = []\nWATCHED = ('toy.stray.limit', 'toy.wander.step')\n\n\ndef spread(")
    text = text.replace("    return Scene(", "    MADE.append(Scene(").replace(
        'name="toy")\n', 'name="toy"))\n    return MADE[-1]\n'
    )
    text = text.replace("import torch\n", "import torch\n\nfrom engine.ecs.constants import addresses\n", 1)
    Path("asked.py").write_text(text)
    assert main(["asked.py", "--out", "run", "--no-film", "--set", "toy.stray.limit=2.0"]) == 0
    path = Path("run/checkpoints/iteration_000004.lockstep")
    taken = snapshot.Snapshot.decode(path.read_bytes())
    taken.constants = {"toy.wander.step": "0.2", "toy.stray.limit": "3.0"}
    files.write_file(path, taken.encode())
    capsys.readouterr()
    assert main(["--eval", "run"]) == 0
    output = capsys.readouterr().out
    assert "! Measured with what was edited in the run: toy.wander.step = 0.2, toy.stray.limit = 3.0." in output
    summary = json.loads(Path("run/evaluation.json").read_text())["summary"]
    assert summary["overrides"] == {"toy.stray.limit": "3.0", "toy.wander.step": "0.2"}
    assert main(["--eval", "run", "--set", "toy.wander.step=0.9"]) == 0
    summary = json.loads(Path("run/evaluation_set_toy.wander.step_0.9.json").read_text())["summary"]
    assert summary["overrides"] == {"toy.stray.limit": "3.0", "toy.wander.step": "0.9"}


def test_what_is_played_with_other_flags_takes_the_place_of_nothing_that_is_the_runs_own(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--play", "run"]) == 0
    kept = {name: (run / name).read_bytes() for name in ("evaluation.json", "film.mp4")}
    before = {path.name for path in run.iterdir()}
    capsys.readouterr()
    assert main(["--eval", "run", "--strength", "0.1"]) == 0
    assert "evaluation  run/evaluation_strength_0.1.json\n" in capsys.readouterr().out
    assert json.loads((run / "evaluation_strength_0.1.json").read_text())["with"] == {"strength": "0.1"}
    assert main(["--eval", "run", "--seed", "4", "--fail", "a/b c"]) == 0
    assert main(["--eval", "run", "--seed", "4", "--fail", "d/b c"]) == 0
    assert main(["--play", "run", "--strength", "0.2"]) == 0
    assert main(["--eval", "run", "--fail", "x" * 300]) == 0
    found = sorted({path.name for path in run.iterdir()} - before)
    assert [re.sub("_[0-9a-f]{6}\\.", "_#.", name) for name in found] == [
        "evaluation_fail_b_c_seed_4_#.json",
        "evaluation_fail_b_c_seed_4_#.json",
        f"evaluation_fail_{'x' * 75}_#.json",
        "evaluation_strength_0.1.json",
        "film_strength_0.2.mp4",
    ]
    assert {name: (run / name).read_bytes() for name in kept} == kept


def test_an_earlier_checkpoint_is_measured_into_a_file_of_its_own_and_the_newest_into_the_runs() -> None:
    assert main([FILM, "--out", "run", "--checkpoint-every", "1", "--no-film"]) == 0
    for iteration, name in ((2, "evaluation_iteration_000002.json"), (4, "evaluation.json")):
        Path("run", name).unlink(missing_ok=True)
        assert main(["--eval", f"run/checkpoints/iteration_00000{iteration}.lockstep"]) == 0
        assert json.loads(Path("run", name).read_text())["checkpoint"] == f"iteration_00000{iteration}.lockstep"


def test_an_evaluation_can_be_written_to_a_named_file_and_again(run: Path) -> None:
    assert main(["--eval", "run", "--out", "some/where.json"]) == 0
    assert main(["--eval", "run", "--out", "some/where.json"]) == 0
    assert json.loads(Path("some/where.json").read_text())["table"] == [{"clip": "walk", "success": 1.0}]


def test_a_flag_that_the_scene_has_got_since_is_played_at_its_default_and_is_no_departure(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    del config["flags"]["fail"]
    (run / "config.json").write_text(json.dumps(config))
    (run / "evaluation.json").unlink()
    assert main(["--eval", "run"]) == 0
    assert json.loads((run / "evaluation.json").read_text())["with"] == {}


def test_what_was_measured_is_written_before_it_is_printed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "evaluation.json").unlink()

    def fail(*given: object) -> None:
        raise RuntimeError("no terminal")

    monkeypatch.setattr(commands, "results_table", fail)
    with pytest.raises(RuntimeError, match="no terminal"):
        main(["--eval", "run"])
    assert json.loads((run / "evaluation.json").read_text())["table"]
