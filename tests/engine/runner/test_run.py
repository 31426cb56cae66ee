"""The command line: what it refuses, and that a run is what its seed says, however often it is interrupted."""

import errno
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from engine import Simulation
from engine.files import json_bytes
from engine.runner import checkpoint
from engine.runner.checkpoint import checkpoints
from engine.runner.config import load_scene, make_plan
from engine.runner.flags import flat, from_plain, parse, read, to_plain
from engine.runner.replay_command import main as replay
from engine.runner.run import main
from engine.runner.run_folder import RunFolder

TOY = str(Path(__file__).parents[1].joinpath("toy_scene.py"))
REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, without the second that a picture costs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(RunFolder, "draw_curve", lambda self: None)


def interrupt_after(
    monkeypatch: pytest.MonkeyPatch, calls: int, times: int = 1, number: signal.Signals = signal.SIGINT
) -> None:
    """Send a signal right after the given call of Simulation.run (the first is the entry tick)."""
    original, seen = Simulation.run, []

    def run(self: Simulation, ticks: int = 1) -> None:
        original(self, ticks)
        seen.append(ticks)
        if len(seen) == calls:
            for _ in range(times):
                signal.raise_signal(number)

    monkeypatch.setattr(Simulation, "run", run)


def metrics(folder: str) -> bytes:
    path = Path(folder, "metrics.jsonl")
    return path.read_bytes() if path.exists() else b""


def final(folder: str, iteration: int = 4) -> bytes:
    return Path(folder, "checkpoints", f"iteration_{iteration:06d}.lockstep").read_bytes()


BAD = {
    "a name of bytes": (
        [TOY, "--out", "n\udcff"],
        "error: The name 'n\\udcff' is not UTF-8, which the files of a run cannot keep. Rename it, or name a link to it.",
    ),
    "many threads": ([TOY, "--threads", "100000000"], "error: --threads is 100000000, for "),
    "no scene": ([], "error: Say which scene to run first: python -m engine.run scenes/<name>.py [flags]."),
    "missing file": ([TOY.replace("toy_scene", "toy_scen")], "error: There is no scene file"),
    "missing module": (["no.such.scene"], "error: There is no scene file or module 'no.such.scene'."),
    "unknown flag": ([TOY, "--num-env", "3"], "error: Unknown flag --num-env. Did you mean --num-envs"),
    "stray word": (
        [TOY, "3"],
        "error: '3' is not expected here: the scene comes first, and every value after its flag. Join a list with commas, and",
    ),
    "no value": (
        [TOY, "--num-envs"],
        "error: --num-envs takes a whole number, but was given nothing. --help lists the flags.",
    ),
    "wrong int": ([TOY, "--num-envs", "many"], "error: --num-envs takes a whole number, but was given 'many'."),
    "wrong float": ([TOY, "--pause", "nan"], "error: --pause takes a number, but was given 'nan'."),
    "wrong choice": ([TOY, "--mode", "plan"], "error: --mode takes one of plain, fancy, but was given 'plan'."),
    "wrong union": ([TOY, "--limit", "x"], "error: --limit takes a whole number or one of auto, but was given 'x'."),
    "wrong tuple": (
        [TOY, "--span", "1,2,3"],
        "error: --span takes 2 values with commas between (a number, a number), but was given '1,2,3'.",
    ),
    "no rows": ([TOY, "--num-envs", "0"], "error: Table 'point' was given rows=0; it needs at least 1 row."),
    "no iterations": ([TOY, "--iterations", "0"], "error: --iterations is 0; it must be at least 1."),
    "negative iterations": ([TOY, "--iterations", "-3"], "error: --iterations is -3; it must be at least 1."),
    "seed beyond 64 bits": ([TOY, "--seed", "9" * 20], f"error: --seed is {'9' * 20}; it must be below 2**63, "),
    "negative seed": ([TOY, "--seed", "-1"], "error: --seed is -1; it must not be negative."),
    "no checkpoints": ([TOY, "--keep", "0"], "error: --keep is 0; it must be at least 1."),
    "audit of nothing": ([TOY, "--audit", "0"], "error: --audit is 0; it must be at least 1."),
    "unknown device": ([TOY, "--device", "quantum"], "error: --device is 'quantum'; it takes cpu, cuda or cuda:N."),
    "unknown address": (
        [TOY, "--set", "toy.wander.stepp=3"],
        "error: There is no constant 'toy.wander.stepp'. Did you mean toy.wander.step",
    ),
    "address without value": ([TOY, "--set", "toy.wander.step"], "error: --set takes ADDRESS=VALUE, but was given"),
    "wrong constant": ([TOY, "--set", "toy.wander.step=far"], "error: toy.wander.step takes "),
    "unknown phase": ([TOY, "--skip", "LERN"], "error: skip names phase 'LERN', which the tick does not have"),
    "two modes": ([TOY, "--check", "--graph"], "error: --graph and --check are two things to do instead of training"),
    "nothing to resume": (["--resume", "nowhere"], "error: There is no run folder or checkpoint at nowhere."),
    "resume of nothing": (["--resume"], "error: --resume takes a run folder or a checkpoint."),
    "nothing to evaluate": ([TOY, "--eval", "nowhere"], "error: There is no run folder or checkpoint at nowhere."),
    "forbidden folder": ([TOY, "--out", "/proc/lockstep"], "error: /proc cannot be written to ("),
}


@pytest.mark.parametrize(("arguments", "sentence"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_sentence_and_leaves_nothing_behind(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(sentence)
    assert printed.err.count("\n") == 1 and printed.out == ""
    assert os.listdir() == []


BAD_SCENES = {
    "x = 1": "error: bad.py has no function experiment() or scene(). A scene file defines experiment(...) -> Experiment",
    "def scene(): pass\ndef experiment(): pass": "error: bad.py has both experiment() and scene(); keep experiment(), which",
    "def experiment():\n    return 3": "error: experiment() in {path} returned int instead of an Experiment.",
    "def scene(:": "error: {path}, line 1: ",
    "\nimport nothing_like_this": "error: Loading bad.py failed at {path}, line 2: ModuleNotFoundError: No module named",
    "def scene():\n    return 1 / 0": "error: scene() failed at {path}, line 2: ZeroDivisionError: division by zero",
    "def scene():\n    return 3": "error: scene() in {path} returned int instead of a Scene.",
    "def scene(rows: int): pass": "error: Parameter 'rows' of scene() in {path} has no default; every flag needs one.",
    "def scene(rows: dict = None): pass": "error: Parameter 'rows' of scene() in {path} has type dict, which a flag",
    "def scene(out: int = 1): pass": "error: Parameter 'out' of scene() in {path} has the name of one of the runner's",
    "def scene(**rows): pass": "error: Parameter 'rows' of scene() in {path} has no name to make a flag of",
    "def scene(rows: Nowhere = 1): pass": "error: Loading bad.py failed at {path}, line 1: NameError: ",
}


@pytest.mark.parametrize("text", BAD_SCENES)
def test_a_scene_file_that_cannot_be_used_is_one_sentence(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.py").write_text(text)
    assert main(["bad.py"]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(BAD_SCENES[text].format(path=tmp_path / "bad.py"))
    assert printed.err.count("\n") == 1 and not Path("runs").exists()


def test_an_unreadable_scene_file_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    Path("folder.py").mkdir()
    Path("binary.py").write_bytes(b"\xff\xfe\x00")
    assert main(["folder.py"]) == 2
    assert capsys.readouterr().err == "error: The scene file folder.py cannot be read (Is a directory).\n"
    assert main(["binary.py"]) == 2
    assert capsys.readouterr().err.startswith("error: The scene file binary.py cannot be read (")


def test_cuda_is_refused_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main([TOY, "--device", "cuda"]) == 2
    assert capsys.readouterr().err == (
        "error: --device is 'cuda', but torch finds no CUDA device here. Use --device cpu.\n"
    )
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert main([TOY, "--device", "cuda:3"]) == 2
    assert "there are 1 CUDA devices" in capsys.readouterr().err


def test_flags_have_the_types_and_help_of_the_scene_function(tmp_path: Path) -> None:
    Path("typed.py").write_text(
        "from pathlib import Path\n"
        "def scene(rows: int = 3, span: tuple[int, ...] = (1, 2), clip: Path | None = None, fast: bool = True):\n"
        '    """A scene."""\n'
    )
    flags = flat(load_scene("typed.py").config())
    assert read("7", flags["rows"].type) == 7
    assert read("4,5,6", flags["span"].type) == (4, 5, 6)
    assert read("none", flags["clip"].type) is None and read("a/b", flags["clip"].type) == Path("a/b")
    assert read("-inf", float | None) == -float("inf")
    with pytest.raises(ValueError, match="takes a whole number, repeated with commas between"):
        read("1,x", flags["span"].type)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (math.inf, float),
        (-math.inf, float | None),
        (1e-3, float),
        (None, float | None),
        ((1.5, math.inf), tuple[float, ...]),
    ],
)
def test_a_number_is_the_same_after_the_configuration_was_written_and_read(value: Any, kind: Any) -> None:
    written = json.loads(json_bytes({"flag": to_plain(value)}))["flag"]
    assert from_plain(written, kind) == value


def test_a_switch_may_be_left_to_the_scene() -> None:
    Path("toy.py").write_text(
        'def scene(fast: bool | None = None):\n    """Decides by itself where nothing is given."""\n'
    )
    config = load_scene("toy.py").config()
    made = [parse(words, "toy", "", {"scene": config})["scene"] for words in ([], ["--fast"], ["--no-fast"])]
    assert [each.fast for each in made] == [None, True, False]


def test_help_lists_scene_flags_with_text_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([TOY, "--help"]) == 0
    printed = capsys.readouterr().out
    shown = " ".join(printed.replace("│", " ").split())
    assert "100 % of them." in shown
    assert "--num-envs INT rows that wander (default: 8)" in shown
    assert "--loud, --no-loud" in shown and "--mode plain|fancy how it looks (default: plain)" in shown
    assert shown.count("(default: ") == len(
        re.findall(r"^[^\w-]{0,3}--\w", printed, re.MULTILINE)
    )  # every flag shows one
    assert main(["--help"]) == 0


def test_explain_graph_check_audit_and_profile_print_and_create_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    expected = {"--check": "ok\n", "--explain": "SCENE toy", "--graph": "digraph tick {", "--profile": "phase "}
    for flag, start in expected.items():
        assert main([TOY, flag]) == 0
        assert capsys.readouterr().out.startswith(start)
    assert main([TOY, "--audit", "7"]) == 0
    assert capsys.readouterr().out == "ok: nothing found in 7 ticks\n"
    assert os.listdir() == []


def test_audit_findings_are_printed_and_exit_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([TOY, "--audit", "3", "--set", "toy.wander.step=inf"]) == 1
    output = capsys.readouterr().out
    assert "Point.position is" in output and "written by `wander` (STEP)" in output
    assert output.endswith("in 3 ticks\n")


def test_a_run_leaves_configuration_metrics_timing_events_checkpoint_and_evaluation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([TOY, "--num-envs", "6", "--seed", "4", "--set", "toy.wander.step=0.5"]) == 0
    (folder,) = Path("runs/toy").iterdir()
    config = json.loads((folder / "config.json").read_text())
    assert config["flags"]["num_envs"] == 6 and config["run"]["seed"] == 4
    assert config["overrides"] == {"toy.wander.step": "0.5"} and config["addresses"]["toy.wander.step"] == 0.5
    assert {"python", "torch", "numpy", "mujoco"} <= config["versions"].keys()
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(row["iteration"], row["tick"], row["env_steps"]) for row in rows] == [
        (1, 5, 30),
        (2, 10, 60),
        (3, 15, 90),
        (4, 20, 120),
    ]
    times = [json.loads(line) for line in (folder / "timing.jsonl").read_text().splitlines()]
    assert all(abs(row["physics"] + row["systems"] + row["learning"] - 1) < 1e-9 for row in times)
    assert set(times[-1]["by_phase"]) >= {"STEP", "LEARN"} and "STEP.wander" in times[-1]["by_system"]
    assert [path.name for path in checkpoints(folder)] == ["iteration_000004.lockstep"]
    assert list((folder / "tensorboard").glob("events.out.tfevents.*"))
    assert json.loads((folder / "evaluation.json").read_text())["table"][0]["clip"] == "walk"
    output = capsys.readouterr().out
    assert "iteration 4/4" in output and "Evaluation" in output and "finished 4/4 iterations" in output


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not() -> None:
    for folder, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert main([TOY, "--out", folder, "--seed", seed]) == 0
    assert metrics("a") == metrics("b") and final("a") == final("b")
    assert metrics("a") != metrics("c")


@pytest.mark.parametrize("calls", [1, 2, 6, 9, 16])
def test_ctrl_c_and_resume_reach_the_bytes_of_an_uninterrupted_run(
    calls: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([TOY, "--out", "whole"]) == 0
    with monkeypatch.context() as patch:
        interrupt_after(patch, calls)
        assert main([TOY, "--out", "cut"]) == 130
    assert "go on       python -m engine.run --resume cut" in capsys.readouterr().out
    assert len(metrics("cut").splitlines()) == (calls - 1) // 5
    assert main(["--resume", "cut"]) == 0
    assert metrics("cut") == metrics("whole") and final("cut") == final("whole")


def test_a_second_ctrl_c_stops_at_once_without_saving(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt_after(monkeypatch, 3, times=2)
    assert main([TOY, "--out", "run"]) == 130
    assert capsys.readouterr().err == "stopped\n"
    assert checkpoints(Path("run")) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_finishes_the_tick_and_saves(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([TOY, "--out", "whole", "--iterations", "2"]) == 0
    with monkeypatch.context() as patch:
        interrupt_after(patch, 4, number=number)
        assert main([TOY, "--out", "cut", "--iterations", "2"]) == 130
    assert "stopped after 0/2 iterations and 3 of 5 ticks" in capsys.readouterr().out
    assert main(["--resume", "cut"]) == 0
    assert metrics("cut") == metrics("whole") and final("cut", 2) == final("whole", 2)


def test_a_signal_from_another_process_finishes_the_tick_and_saves() -> None:
    arguments = [TOY, "--out", "cut", "--pause", "0.01", "--iterations", "1000"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(
        [sys.executable, "-m", "engine.run", *arguments], env=environment, stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not Path("cut/metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "stopped after" in output
    done = len(metrics("cut").splitlines())
    assert main(["--resume", "cut", "--iterations", str(done + 1)]) == 0
    assert main([TOY, "--out", "whole", "--iterations", str(done + 1)]) == 0
    assert metrics("cut") == metrics("whole") and final("cut", done + 1) == final("whole", done + 1)


def test_a_flag_that_is_given_twice_is_said_where_only_the_last_one_counts(caplog: pytest.LogCaptureFixture) -> None:
    plan = make_plan(
        [TOY, "--num-envs", "3", "--num_envs=5", "--set", "toy.wander.step=1", "--set", "toy.stray.limit=2"]
    )
    assert plan.config.num_envs == 5 and len(plan.overrides) == 2
    assert caplog.messages == ["--num-envs is given 2 times; only the last one counts."]


def test_what_is_to_be_typed_can_be_typed_where_a_folder_has_blanks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt_after(monkeypatch, 8)
    assert main([TOY, "--out", "a b/run"]) == 130
    output = capsys.readouterr().out
    assert "tensorboard --logdir 'a b/run'\n" in output and "python -m engine.run --resume 'a b/run'\n" in output


def test_a_terminal_that_is_gone_stops_nothing_under_nohup(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        interrupt_after(monkeypatch, 3, number=signal.SIGHUP)
        assert main([TOY, "--out", "run"]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_resume_refuses_flags_that_differ_and_a_finished_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([TOY, "--out", "run"]) == 0
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    capsys.readouterr()
    refused = {
        ("--num-envs", "9"): "error: --num-envs is 8 in the run's configuration, but 9 was asked for.",
        ("--seed", "2"): "error: --seed is 0 in the run's configuration, but 2 was asked for.",
        ("--set", "toy.wander.step=1"): "error: --set toy.wander.step is not set in the run's configuration, but 1 was",
        ("--iterations", "3"): "error: run/checkpoints/iteration_000004.lockstep is already at iteration 4 of 3.",
        (): "error: run/checkpoints/iteration_000004.lockstep is already at iteration 4 of 4.",
    }
    for flags, sentence in refused.items():
        assert main(["--resume", "run", *flags]) == 2
        assert capsys.readouterr().err.startswith(sentence)
    assert before == {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    Path("other.py").write_text(Path(TOY).read_text())
    assert main(["other.py", "--resume", "run", "--iterations", "9"]) == 2
    assert "was made with" in capsys.readouterr().err


def test_a_longer_resume_reaches_the_bytes_of_a_longer_run() -> None:
    assert main([TOY, "--out", "short", "--iterations", "2"]) == 0
    assert main([TOY, "--resume", "short", "--iterations", "5", "--checkpoint-every", "1", "--num-envs", "8"]) == 0
    assert main([TOY, "--out", "long", "--iterations", "5"]) == 0
    assert metrics("short") == metrics("long") and final("short", 5) == final("long", 5)
    assert [path.stem[-1] for path in checkpoints(Path("short"))] == ["5", "4", "3"]


def test_a_checkpoint_file_branches_into_a_new_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([TOY, "--out", "run", "--checkpoint-every", "1"]) == 0
    before = metrics("run")
    middle = "run/checkpoints/iteration_000002.lockstep"
    assert main(["--resume", middle, "--out", "branch"]) == 0
    assert metrics("branch") == before == metrics("run") and final("branch") == final("run")
    assert main(["--resume", middle, "--out", "other", "--set", "toy.wander.step=0.1"]) == 0
    assert metrics("other").splitlines()[:2] == before.splitlines()[:2] and metrics("other") != before


def test_eval_measures_a_run_or_a_checkpoint_and_trains_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([TOY, "--out", "run", "--checkpoint-every", "1"]) == 0
    whole = Path("run/evaluation.json").read_text()
    before = metrics("run")
    assert main(["--eval", "run"]) == 0
    assert Path("run/evaluation.json").read_text() == whole and metrics("run") == before
    assert main(["--eval", "run/checkpoints/iteration_000002.lockstep", "--out", "early"]) == 0
    assert json.loads(Path("early/evaluation.json").read_text())["checkpoint"] == "iteration_000002.lockstep"
    assert "walk" in capsys.readouterr().out


def test_the_runner_hands_its_threads_to_scenes_that_ask_and_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", asked.append)
    text = Path(TOY).read_text().replace("    loud: bool = False,", "    threads: int = 0,")
    Path("threaded.py").write_text(
        text.replace("    return Experiment(", "    assert threads == 2\n    return Experiment(")
    )
    assert main(["threaded.py", "--check", "--threads", "2"]) == 0
    assert main([TOY, "--check", "--threads", "2"]) == 0
    assert asked == [2, 2]


def test_an_unexpected_mistake_in_a_system_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Simulation, ticks: int = 1) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Simulation, "run", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        main([TOY, "--out", "run"])


def test_a_name_in_the_panel_that_nobody_reports_is_a_warning_with_the_near_miss(capsys):
    source = Path(TOY).read_text().replace('"end/strayed"]', '"reward/distanse"]')
    Path("toy.py").write_text(source)
    assert main(["toy.py", "--iterations", "1", "--no-film", "--out", "run"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert (
        "The experiment's panel names 'reward/distanse', which no iteration reported. Did you mean reward/dist" in text
    )


def test_an_alarm_is_said_once_for_as_long_as_it_lasts(capsys: pytest.CaptureFixture[str]) -> None:
    text = Path(TOY).read_text(encoding="utf-8")
    alarms = 'lambda world: {"far": f"Far at {world.clock.tick}."} if world.clock.tick in (10, 15, 25) else {}'
    Path("toy.py").write_text(text.replace("report=report,", f"report=report,\n        alarms={alarms},"))
    assert main(["toy.py", "--out", "run", "--iterations", "6"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "Far at" in line] == [
        "! Far at 10.",
        "! Far at 25.",
        "  ! Far at 10.",  # and again in the summary
        "  ! Far at 25.",
    ]


def test_an_evaluation_says_which_constants_were_set():
    assert main([TOY, "--iterations", "1", "--no-film", "--out", "run"]) == 0
    assert json.loads(Path("run/evaluation.json").read_text())["set"] == {}
    assert main(["--eval", "run", "--set", "toy.wander.step=0.2"]) == 0
    other = json.loads(Path("run/evaluation_set_toy.wander.step_0.2.json").read_text())
    assert other["set"] == {"toy.wander.step": "0.2"} == {n.removeprefix("set "): t for n, t in other["with"].items()}
    assert json.loads(Path("run/evaluation.json").read_text())["set"] == {}


def test_paths_and_texts_that_name_files_are_kept_so_that_a_run_goes_on_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Path(TOY).read_text().replace("from typing import Annotated,", "import os\nfrom typing import Annotated,")
    text = text.replace(
        "    loud: bool = False,", '    files: Annotated[str, "files", os.path.abspath] = "x",\n    loud: bool = False,'
    ).replace(
        "    return Experiment(",
        "    assert open(files).read() == clip.read_text() == 'a clip'\n    return Experiment(",
    )
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "toy.py").write_text(text)
    (tmp_path / "a" / "walk.csv").write_text("a clip")
    monkeypatch.chdir(tmp_path / "a")
    assert main(["toy.py", "--clip", "walk.csv", "--files", "walk.csv", "--out", "../run", "--iterations", "2"]) == 0
    kept = json.loads(Path("../run/config.json").read_text())["flags"]
    assert kept["clip"] == kept["files"] == str(tmp_path / "a" / "walk.csv")
    monkeypatch.chdir(tmp_path / "b")
    assert main(["--resume", "../run", "--iterations", "3"]) == 0
    assert main(["--resume", "../run", "--iterations", "4", "--clip", "../a/walk.csv", "--files", "../a/walk.csv"]) == 0
    assert main(["--eval", "../run", "--clip", "../a/walk.csv"]) == 0
    assert main(["--resume", "../run/checkpoints/iteration_000004.lockstep", "--out", "more", "--iterations", "5"]) == 0
    assert json.loads(Path("more/config.json").read_text())["resumed_from"].startswith(str(tmp_path / "run"))
    assert replay(["../run"]) == 0 and sorted(p.name for p in Path("../run").glob("evaluation*")) == ["evaluation.json"]


def test_the_clips_and_the_robot_of_the_main_scene_are_kept_by_absolute_paths(tmp_path: Path) -> None:
    for name in ("walk.csv", "robot.xml", "g1"):
        Path(name).touch()
    for scene in ("motion_tracking", "replay_motion"):
        flags = [str(REPOSITORY / "scenes" / f"{scene}.py"), "--clip", "walk.csv:xyzw=2,squat", "--robot"]
        for robot, kept in (("robot.xml", str(tmp_path / "robot.xml")), ("g1", "g1")):
            plain = make_plan([*flags, robot]).plain()["flags"]
            assert (plain["clip"], plain["robot"]) == (f"{tmp_path / 'walk.csv'}:xyzw=2,squat", kept)


def test_a_term_that_is_not_finite_is_a_warning_and_a_count_in_the_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    text = Path(TOY).read_text().replace("    term,\n", "    Terms,\n    fuse,\n    term,\n")
    text = text.replace(
        "def make(num_envs",
        """def root(point: Point) -> Tensor:
    \"\"\"A number that is none on one side of home.\"\"\"
    return point.position[:, 0].sqrt()


def look(values: Terms, walk: Write[Walk]) -> None:
    \"\"\"Look, and keep nothing of it.\"\"\"
    values.finite(torch.stack([value for _, value in values], -1))
    walk.began.add_(0)


def make(num_envs""",
    ).replace('"SENSE": [system(measure),', '"SENSE": [system(measure), fuse(look, {"root": term(root)}),')
    Path("toy.py").write_text(text)
    assert main(["toy.py", "--out", "run", "--iterations", "2", "--no-film"]) == 0
    output = capsys.readouterr().out
    assert "! While the policy was played: The term `root` of toy.look was nan in row " in output
    sentence = r"! The term `root` of toy\.look was nan in row \d of tick 1\. .* nonfinite/look\.root in the metrics counts its rows\."
    assert len(re.findall(sentence, output)) == 2  # when it happens, and in the summary
    rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert all(5 < row["nonfinite/look.root"] < 40 for row in rows)
    assert main(["toy.py", "--audit", "4"]) == 1
    assert re.search(r"tick 1: The term `root` of toy\.look is nan in row \d\.", capsys.readouterr().out)


def test_a_folder_of_runs_names_its_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([TOY, "--iterations", "1", "--no-film", "--out", "runs/toy/first"]) == 0
    capsys.readouterr()
    for folder in ("runs", "runs/toy"):
        for command in ("--resume", "--eval"):
            assert main([command, folder]) == 2
            assert capsys.readouterr().err == (
                f"error: {folder} is not a run folder: it has no config.json. It holds runs; name one: runs/toy/first.\n"
            )


def test_a_run_whose_last_checkpoint_cannot_be_written_says_what_is_lost_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert main([TOY, "--iterations", "1", "--no-film", "--out", "run"]) == 0
    monkeypatch.setattr(checkpoint, "write", full)
    assert main(["--resume", "run", "--iterations", "2", "--no-film"]) == 1
    output = capsys.readouterr().out
    assert (
        "! What was learned since iteration_000001.lockstep is in no checkpoint and lost. Make room on the disk"
        in output
    )
    assert main([TOY, "--iterations", "1", "--no-film", "--out", "new"]) == 1
    assert "! What was learned in this run is in no checkpoint and lost." in capsys.readouterr().out


def test_a_folder_in_a_run_names_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([TOY, "--iterations", "1", "--no-film", "--out", "run"]) == 0
    capsys.readouterr()
    assert main(["--eval", "run/checkpoints"]) == 2
    assert capsys.readouterr().err == (
        f"error: run/checkpoints is not a run folder: it has no config.json. It is part of a run; name {Path('run').absolute()}.\n"
    )


def test_a_scene_with_names_that_are_no_text_is_refused_before_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = Path(TOY).read_text().replace('TICK, name="toy")', 'TICK, name="toy", identity={"clips": ["a\\udcff"]})')
    Path("toy.py").write_text(text)
    assert main(["toy.py", "--out", "run"]) == 2
    assert "is not UTF-8, which a checkpoint cannot keep. Rename its file." in capsys.readouterr().err
    assert not Path("run").exists()


def test_a_configuration_that_was_cut_off_says_how_its_checkpoints_can_be_used(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([TOY, "--iterations", "1", "--no-film", "--out", "run"]) == 0
    Path("run/config.json").write_text('{"scene": "to')
    capsys.readouterr()
    assert main(["--resume", "run"]) == 2
    assert "it was cut off or edited. Copy a checkpoint out of the run's folder" in capsys.readouterr().err
    Path("iteration_000001.lockstep").write_bytes(final("run", 1))
    assert main([TOY, "--resume", "iteration_000001.lockstep", "--out", "more", "--iterations", "2", "--no-film"]) == 0


def test_the_curve_is_drawn_once_with_what_the_evaluation_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated: list[bool] = []
    monkeypatch.setattr(
        RunFolder, "draw_curve", lambda folder: evaluated.append(folder.path.joinpath("evaluation.json").exists())
    )
    assert main([TOY, "--out", "run", "--iterations", "2", "--checkpoint-every", "1"]) == 0
    assert evaluated == [True]


def test_the_curve_is_drawn_also_where_an_evaluation_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Path] = []
    monkeypatch.setattr(RunFolder, "draw_curve", lambda folder: drawn.append(folder.path))
    monkeypatch.setattr("engine.runner.commands.TrialRun.evaluate", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main([TOY, "--out", "run", "--iterations", "2"])
    assert drawn == [Path("run")]
