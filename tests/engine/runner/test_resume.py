"""Resuming whatever a kill left behind, and saying what a run was made of that changed since."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.runner import provenance
from engine.runner.checkpoint import checkpoints
from engine.runner.provenance import own_modules
from engine.runner.run import main
from engine.runner.run_folder import RunFolder

REPOSITORY = Path(__file__).resolve().parents[3]
TOY = Path(__file__).parents[1].joinpath("toy_scene.py").read_text()
CHANGED = "does not go on as it began: undo that, or accept it with --allow-changes."


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(RunFolder, "draw_curve", lambda self: None)
    Path("toy.py").write_text(TOY)


def toy(**parts: dict[str, str]) -> str:
    """The toy scene, made of this and with this identity."""
    sources = f"        sources={parts['parts']},\n        iterations=4,"
    named = f'TICK, name="toy", identity={parts["identity"]})'
    return TOY.replace("        iterations=4,", sources).replace('TICK, name="toy")', named)


def files(folder: str) -> dict[str, bytes]:
    """What must not depend on kills: rows and checkpoints."""
    found = [Path(folder, "metrics.jsonl"), *checkpoints(Path(folder))]
    return {path.name: path.read_bytes() for path in found}


def config(folder: str) -> Any:
    return json.loads(Path(folder, "config.json").read_text())


def half(*more: str) -> None:
    """A run that is over half way through."""
    assert main(["toy.py", "--out", "run", "--iterations", "2", *more]) == 0


def test_what_a_kill_leaves_is_removed_or_cut_and_the_run_reaches_the_same_bytes() -> None:
    assert main(["toy.py", "--out", "whole", "--checkpoint-every", "1"]) == 0
    half("--checkpoint-every", "1")
    for name in ("config.json", "curve.png", "checkpoints/iteration_000003.lockstep", "checkpoints/best.lockstep"):
        Path("run", name + ".part").write_bytes(b"half of")
    for name, row in {"metrics": '{"iteration": 3, "tick": 15}', "failures": '{"row": 1, "tick": 12}'}.items():
        with open(f"run/{name}.jsonl", "a", encoding="utf-8") as file:
            file.write(row + '\n{"tick": 1')
    assert main(["--resume", "run", "--iterations", "4"]) == 0
    assert files("run") == files("whole")
    logged, whole = (Path(folder, "failures.jsonl").read_text() for folder in ("run", "whole"))
    assert logged.replace("replay run", "replay whole") == whole
    assert not list(Path("run").rglob("*.part"))


def test_a_run_killed_before_its_first_checkpoint_begins_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["toy.py", "--out", "whole", "--seed", "3"]) == 0
    assert main(["toy.py", "--out", "run", "--seed", "3"]) == 0
    (only,) = checkpoints(Path("run"))
    only.rename(str(only) + ".part")
    text = Path("run/metrics.jsonl").read_text()
    Path("run/metrics.jsonl").write_text("".join(text.splitlines(keepends=True)[:2]) + '{"iter')
    capsys.readouterr()
    assert main(["--resume", "run"]) == 0
    assert "! run has no checkpoint yet; it begins again from the start.\n" in capsys.readouterr().out
    assert files("run") == files("whole")


def test_a_finished_run_without_checkpoints_is_not_begun_again(capsys: pytest.CaptureFixture[str]) -> None:
    half()
    before = files("run")["metrics.jsonl"]
    checkpoints(Path("run"))[0].unlink()
    capsys.readouterr()
    assert main(["--resume", "run"]) == 2
    assert capsys.readouterr().err == "error: run/checkpoints holds no checkpoint.\n"
    assert files("run")["metrics.jsonl"] == before


def test_a_branch_killed_before_its_first_checkpoint_begins_again_where_it_branched(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["toy.py", "--out", "run", "--checkpoint-every", "1"]) == 0
    origin = Path("run/checkpoints/iteration_000002.lockstep")
    branch = ["--resume", str(origin), "--out", "branch", "--set", "toy.wander.step=0.1"]
    assert main(branch) == 0
    whole = files("branch")
    for path in checkpoints(Path("branch")):
        path.unlink()
    Path("branch/metrics.jsonl").unlink()
    assert main(["--resume", "branch"]) == 0
    assert files("branch") == whole
    for path in checkpoints(Path("branch")):
        path.unlink()
    origin.unlink()
    capsys.readouterr()
    assert main(["--resume", "branch"]) == 2
    assert capsys.readouterr().err == (
        f"error: branch has no checkpoint yet, and {origin.absolute()}, from which it began, is gone.\n"
    )


def test_a_run_killed_before_its_configuration_can_be_started_again(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run").mkdir()
    Path("run/.lock").touch()
    Path("run/config.json.part").write_text("{")
    assert main(["--resume", "run"]) == 2
    assert capsys.readouterr().err == (
        "error: run is not a run folder: it has no config.json. It was stopped before it began; start it again with "
        "--out run.\n"
    )
    half()
    assert not Path("run/config.json.part").exists()


def test_rows_that_a_power_cut_took_are_missed(capsys: pytest.CaptureFixture[str]) -> None:
    half()
    Path("run/metrics.jsonl").write_text(Path("run/metrics.jsonl").read_text().splitlines(keepends=True)[0])
    assert main(["--resume", "run", "--iterations", "3"]) == 0
    assert "! metrics.jsonl ends at iteration 1; its rows up to 2 are lost." in capsys.readouterr().out


def test_two_processes_cannot_go_on_with_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    half()
    resume = ["--resume", "run", "--iterations", "100000"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    first = subprocess.Popen([sys.executable, "-m", "engine.run", *resume], env=environment, stdout=subprocess.DEVNULL)
    try:
        rows = Path("run/metrics.jsonl")
        before, deadline = rows.stat().st_size, time.monotonic() + 60
        while rows.stat().st_size <= before and time.monotonic() < deadline:
            time.sleep(0.05)
        capsys.readouterr()
        assert main(resume) == 2
        assert (
            capsys.readouterr().err == "error: Another run is writing to run. Wait for it, or choose another --out.\n"
        )
        assert first.poll() is None
    finally:
        first.send_signal(signal.SIGTERM)
        assert first.wait(60) == 130


def test_a_changed_scene_file_or_module_is_refused_unless_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("helper_of_toy.py").write_text("STEP = 1\n")
    Path("toy.py").write_text(TOY.replace("import torch\n", "import helper_of_toy\nimport torch\n", 1))
    half()
    assert set(config("run")["provenance"]["modules"]) == {"helper_of_toy.py"}
    toy, helper = Path("toy.py").absolute(), Path("helper_of_toy.py").absolute()
    toy.write_text(toy.read_text() + "# seen again\n")
    helper.write_text("STEP = 2\n")
    before = config("run")
    capsys.readouterr()
    assert main(["--resume", "run", "--iterations", "3"]) == 2
    sentences = [f"The scene file {toy} changed since.", f"The module {helper} changed since."]
    assert capsys.readouterr().err.splitlines() == [f"error: {text}" for text in (*sentences, f"run {CHANGED}")]
    assert main(["--resume", "run", "--iterations", "3", "--out", "other"]) == 2
    assert not Path("other").exists() and config("run") == before
    capsys.readouterr()
    assert main(["--resume", "run", "--iterations", "3", "--allow-changes"]) == 0
    printed = capsys.readouterr().out
    assert all(f"! {text}\n" in printed for text in sentences)
    assert config("run")["changes"] == [{"iteration": 2, "changes": sentences}]
    helper.unlink()
    assert main(["--resume", "run", "--iterations", "4", "--out", "other", "--allow-changes"]) == 0
    assert config("other")["changes"] == [
        {"iteration": 2, "changes": sentences},
        {"iteration": 3, "changes": [f"The module {helper} is gone."]},
    ]
    assert main(["--resume", "other", "--iterations", "5", "--allow-changes"]) == 0
    assert len(config("other")["changes"]) == 2


def test_changed_packages_parts_and_sources_are_told_apart_from_another_processor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("toy.py").write_text(toy(parts={"robot a": "1", "clip kick": "2"}, identity={"robot": "a"}))
    half()
    changed = config("run")
    changed["versions"] |= {"torch": "1.2", "gone": "7"}
    changed["torch_threads"] = 99
    changed["provenance"]["parts"] = {"robot a": "1", "clip kick": "other", "clip wave": "3"}
    changed["provenance"]["lockstep"] = "other"
    changed["provenance"]["processor"] = {"model": "Abacus", "capability": "BEADS"}
    Path("run/config.json").write_text(json.dumps(changed))
    capsys.readouterr()
    assert main(["--resume", "run", "--iterations", "3"]) == 2
    differences = [
        "Lockstep's own sources (engine, components, systems) changed since.",
        "The clip wave is gone.",
        "The clip kick changed since.",
        f"torch was 1.2, here it is {torch.__version__}.",
        "gone was 7, here it is not installed.",
    ]
    assert capsys.readouterr().err.splitlines() == [f"error: {text}" for text in (*differences, f"run {CHANGED}")]
    assert main(["--resume", "run", "--iterations", "3", "--allow-changes"]) == 0
    printed = capsys.readouterr().out
    assert all(f"! {text}\n" in printed for text in differences)
    assert "! The processor was Abacus (BEADS), here it is " in printed
    assert "! torch had 99 threads, here it has " in printed

    monkeypatch.setattr(provenance, "_processor", lambda: "Slide rule")
    capsys.readouterr()
    assert main(["--resume", "run", "--iterations", "4"]) == 0
    assert "here it is Slide rule (" in capsys.readouterr().out


def test_what_is_measured_with_a_part_that_has_changed_is_said_and_overwrites_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("toy.py").write_text(toy(parts={"robot doll": "1", "clip walk": "2"}, identity={}))
    half()
    before = Path("run/evaluation.json").read_bytes()
    Path("toy.py").write_text(toy(parts={"robot doll": "other", "clip turn": "2"}, identity={}))
    capsys.readouterr()
    assert main(["--eval", "run"]) == 0
    warned = [line for line in capsys.readouterr().out.splitlines() if line.startswith("!")]
    assert warned == ["! The robot doll changed since. The policy was trained with what it was before."]
    assert Path("run/evaluation.json").read_bytes() == before and Path("run/evaluation_changed.json").exists()


def test_a_scene_with_another_identity_goes_on_where_its_columns_fit(capsys: pytest.CaptureFixture[str]) -> None:
    Path("toy.py").write_text(toy(parts={"robot a": "1"}, identity={"robot": "a"}))
    half()
    Path("toy.py").write_text(toy(parts={"robot b": "1"}, identity={"robot": "b"}))
    assert main(["--resume", "run", "--iterations", "3"]) == 2
    assert "error: The robot a is gone.\nerror: The robot b is new.\n" in capsys.readouterr().err
    assert main(["--resume", "run", "--iterations", "3", "--allow-changes"]) == 0


def test_a_run_of_before_goes_on_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    half()
    old = config("run")
    for name in ("provenance", "changes", "began_from"):
        del old[name]
    Path("run/config.json").write_text(json.dumps(old))
    assert main(["--resume", "run", "--iterations", "3"]) == 0
    assert "! The run does not say what it was made of; changes of its scene, " in capsys.readouterr().out


def test_allowing_changes_of_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["toy.py", "--allow-changes"]) == 2
    assert capsys.readouterr().err == ("error: --allow-changes is for a run that goes on; it stands beside --resume.\n")


def test_modules_of_lockstep_and_of_packages_are_not_the_users() -> None:
    import scenes.robots  # noqa: F401 - something beside the scene

    found = own_modules(REPOSITORY / "scenes" / "motion_tracking.py")
    assert {"robots/__init__.py", "robots/humanoid.py"} <= found.keys() and "motion_tracking.py" not in found
    found = own_modules(REPOSITORY / "scene_at_the_top.py")
    assert "scenes/robots/__init__.py" in found
    assert not [name for name in found if name.startswith(("engine/", "systems/", "components/"))]
    assert not own_modules(Path(torch.__file__).parents[3] / "scene.py").keys() & {"numpy/__init__.py"}


def test_a_run_goes_on_with_other_rows_which_start_over(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["toy.py", "--out", "run", "--checkpoint-every", "2", "--set", "toy.stray.limit=0.5"]) == 0
    capsys.readouterr()
    for number, newest in ((3, "run/checkpoints/iteration_000002.lockstep"), (4, "run")):
        branch = ["--resume", newest, "--out", f"wide{number}", "--num-envs", "12", "--iterations", "6"]
        assert main(branch) == 0
        printed, before = capsys.readouterr(), 2 if number == 3 else 4
        sentence = f"rows, and this run 12: every row begins a new episode. Policy, learner and curricula go on from iteration {before}."
        assert f"{before:06d}.lockstep has 8 {sentence}" in printed.out and "set aside" not in printed.out + printed.err
        rows = [json.loads(line) for line in Path(f"wide{number}/metrics.jsonl").read_text().splitlines()]
        steps = [5 * (8 * min(i, before) + 12 * max(0, i - before)) for i in range(1, 7)]
        assert [(row["iteration"], row["env_steps"]) for row in rows] == [*enumerate(steps, 1)]
        assert (
            Path(f"wide{number}/metrics.jsonl")
            .read_text()
            .startswith("".join(Path("run/metrics.jsonl").read_text().splitlines(keepends=True)[:before]))
        )
        logged = [json.loads(line) for line in Path(f"wide{number}/failures.jsonl").read_text().splitlines()]
        assert min(line["tick"] for line in logged) > 5 * before  # none of the rows that there were before
        assert min(line["first_tick"] for line in logged if "row" in line) == 5 * before
    whole = files("wide3")
    for path in checkpoints(Path("wide3")):
        path.unlink()
    assert main(["--resume", "wide3"]) == 0
    assert files("wide3") == whole


def test_flags_that_a_checkpoint_holds_are_brought_into_it_also_after_a_kill(
    capsys: pytest.CaptureFixture[str],
) -> None:
    hook = "def go_on(world, changed):\n    if 'pause' in changed:\n        world.resource(Count).running += 1000\n\n\n"
    Path("toy.py").write_text(
        TOY.replace("def experiment(", f"{hook}def experiment(").replace(
            "iterations=4,", "iterations=4,\n        go_on=go_on,"
        )
    )
    half()
    newest = "run/checkpoints/iteration_000002.lockstep"
    assert main(["--resume", newest, "--out", "same", "--iterations", "3"]) == 0
    capsys.readouterr()
    assert main(["--resume", newest, "--out", "other", "--iterations", "3", "--pause", "0.001", "--seed", "7"]) == 0
    warned = f"! --seed 7 is for the evaluation; the random streams of training go on from {newest}."
    assert warned in capsys.readouterr().out.splitlines()
    with_hook = files("other")
    assert with_hook["metrics.jsonl"] != files("same")["metrics.jsonl"]
    for path in checkpoints(Path("other")):
        path.unlink()
    assert main(["--resume", "other"]) == 0
    assert files("other") == with_hook
    assert main(["--resume", "other", "--iterations", "4"]) == 0  # its own flags, which are no change


def test_what_a_learner_cannot_go_on_with_is_refused_with_the_difference(capsys: pytest.CaptureFixture[str]) -> None:
    half()
    Path("toy.py").write_text(
        TOY.replace('axes={"side": ("left", "right")}', 'axes={"side": ("left", "right", "top")}')
    )
    for more in ([], ["--allow-changes"], ["--num-envs", "9", "--out", "other"]):
        assert main(["--resume", "run", "--iterations", "3", *more]) == 2
        printed = capsys.readouterr().err
        assert (
            "cannot go on with these flags: tables point axis side is ['left', 'right'] in the snapshot but" in printed
        )
        assert printed.count("\n") == 1 and "train anew without --resume." in printed and not Path("other").exists()


def test_failures_of_a_scene_that_has_changed_are_kept_beside_and_not_called_damaged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    half("--set", "toy.stray.limit=0.5")
    assert Path("run/failures.rec").exists()
    Path("toy.py").write_text(
        TOY.replace('unit="m", fill', 'unit="m"').replace('column(2, unit="m")', 'column(2, unit="cm")')
    )
    before = Path("run/failures.rec").read_bytes()
    capsys.readouterr()
    assert main(["--resume", "run", "--iterations", "3", "--allow-changes", "--out", "other"]) == 0
    assert "failures.rec" not in capsys.readouterr().out and not list(Path("other").glob("failures.rec.*"))
    assert main(["--resume", "run", "--iterations", "3", "--allow-changes"]) == 0
    assert (
        "! failures.rec is of the scene before it changed; it is kept as failures.rec.before" in capsys.readouterr().out
    )
    assert Path("run/failures.rec.before").read_bytes() == before
