"""Worker process of Isaac Gym: what crosses to it, under this Python and a real 3.8, and what becomes of a run that loses it."""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from engine.errors import LostError, SceneError
from engine.runner.run import main as run
from systems.physics import make_backend
from systems.physics.isaacgym.__main__ import main as command
from systems.physics.isaacgym.backend import IsaacGymBackend
from systems.physics.isaacgym.launch import PYTHON, STANDIN, TIMEOUT, WorkerProcess
from systems.robots.model import build_robot
from tests.helpers import REPOSITORY
from tests.physics.rows import HERE, Rows, make_rows, pendulum
from tests.standins.here import FOLDER, alive, environment

pytestmark = pytest.mark.slow
SCENE = [
    "scenes/motion_tracking.py",
    "--robot",
    "humanoid",
    "--clip",
    "stand",
    "--num-envs",
    "4",
    "--debug",
    "off",
    "--no-film",
]
SMALL = ["--learning.hidden", "8", "--learning.horizon", "4", "--backend", "isaacgym"]


def python38() -> str:
    """A Python 3.8 with what the worker and the stand-in need; without one the test is skipped."""
    found = os.environ.get("LOCKSTEP_TEST_PYTHON38") or shutil.which("python3.8")
    needed = "import sys, numpy, msgpack, mujoco; assert sys.version_info[:2] == (3, 8)"
    if not found or subprocess.run([found, "-c", needed], capture_output=True).returncode:
        pytest.skip("no Python 3.8 with numpy, msgpack and mujoco==3.2.3: name one in LOCKSTEP_TEST_PYTHON38")
    return found


@pytest.fixture(autouse=True)
def standin() -> Iterator[None]:
    with environment():
        yield


def workers() -> list[int]:
    """Worker processes that this one started."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            words = (place / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == os.getpid() and b"worker/main.py" in words and alive(int(place.name)):
            found.append(int(place.name))
    return found


def assert_no_worker_is_left() -> None:
    until = time.monotonic() + 10.0
    while workers() and time.monotonic() < until:
        gc.collect()
        time.sleep(0.05)
    assert workers() == []


def moved(rows: Rows) -> bytes:
    """What a few rows are like after pushes, restarts and other gains."""
    rows.backend.change(
        torch.tensor([False, True]), {"stiffness": torch.full((2, len(rows.model.robot.dof_names)), 50.0)}
    )
    for tick in range(4):
        rows.tick(rows.model.robot.default_position.expand_as(rows.dofs.position) + 0.1 * tick)
        rows.root.linear_velocity[0, 0] += 0.3
        rows.restart(0)
    return rows.columns()


def test_a_worker_gives_the_bytes_of_the_same_simulator_in_process() -> None:
    here = moved(make_rows(2, backend=HERE))
    assert moved(make_rows(2, backend="isaacgym")) == here


def test_a_worker_under_python_3_8_simulates_as_one_under_this_python() -> None:
    there = make_rows(2, backend="isaacgym", isaacgym_python=python38())
    here = make_rows(2, backend=HERE)
    moved(there), moved(here)
    torch.testing.assert_close(there.dofs.position, here.dofs.position, atol=1e-4, rtol=0.0)  # MuJoCo 3.2 and 4.0
    torch.testing.assert_close(there.bodies.position, here.bodies.position, atol=1e-4, rtol=0.0)


def test_workers_come_and_go() -> None:
    for _ in range(2):
        rows = make_rows(2, pendulum(), backend="isaacgym")
        rows.tick()
        assert isinstance(rows.backend, IsaacGymBackend)
        link = rows.backend.link
        assert isinstance(link, WorkerProcess) and workers() == [link.process_id]
        rows.backend.link.close()
        assert_no_worker_is_left()
        with pytest.raises(LostError, match="The worker of Isaac Gym is gone"):
            rows.tick()
    make_rows(2, pendulum(), backend="isaacgym")
    assert_no_worker_is_left()  # with the last reference to it


# -- what is refused before a run -----------------------------------------------------------------------


def started(python: str) -> None:
    make_backend(build_robot(pendulum()), rows=1, backend="isaacgym", isaacgym_python=python)


def test_a_stand_in_is_refused_unless_the_environment_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STANDIN)
    with pytest.raises(
        SceneError, match=rf"is a stand-in for tests, and nothing that it simulates.*{STANDIN}=1 for a test"
    ):
        started(sys.executable)
    assert_no_worker_is_left()


def test_a_python_without_isaac_gym_is_told_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCKSTEP_ISAACGYM_HOME")
    with pytest.raises(
        SceneError, match=r"cannot import Isaac Gym \(ModuleNotFoundError.*Its modules are for Python 3\.8"
    ):
        started(sys.executable)
    with pytest.raises(SceneError, match=r"cannot import Isaac Gym.*-m pip install -e isaacgym/python"):
        started(python38())
    assert_no_worker_is_left()


def test_a_program_that_is_no_python_is_told_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"ended with status 0 while it was asked to 'hello'.*needs a Python 3\.8"):
        started("/bin/true")
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho no module named msgpack >&2\nexit 3\n")
    script.chmod(0o755)
    with pytest.raises(SceneError, match=r"ended with status 3.*Its last words: no module named msgpack"):
        started(str(script))
    script.write_text("no program")
    with pytest.raises(SceneError, match=r"cannot be started \(Exec format error\)"):
        started(str(script))
    assert_no_worker_is_left()


def test_a_time_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("soon", "0", "-3", "nan", "inf"):
        monkeypatch.setenv(TIMEOUT, text)
        with pytest.raises(SceneError, match=f"{TIMEOUT}={text} is no time"):
            started(sys.executable)
        assert_no_worker_is_left()


def test_a_misread_robot_ends_a_run_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STANDIN_FAULT", "no_ranges")
    assert run([*SCENE, *SMALL, "--out", str(tmp_path / "run")]) == 2
    assert "misreads the robot 'humanoid'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert_no_worker_is_left()


# -- what becomes of a run ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("die:60", "ended with status 3 while it was asked to 'step'. Its last words: "),
        ("crash:60", "crashed (SIGSEGV) while it was asked to 'step'"),
        ("hang:60", "has not answered 'step' within 15 s (LOCKSTEP_ISAACGYM_TIMEOUT sets how long)"),
        ("garbage:60", "answered 'step' with 5 bytes that are no msgpack"),
        ("other_answer:60", "answered another question than 'step'"),
        ("raise:60", "Isaac Gym failed at 'step': RuntimeError: PhysX error"),
    ],
)
def test_a_run_that_loses_its_worker_says_so_saves_and_goes_on_later(
    fault: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    monkeypatch.setenv("STANDIN_FAULT", fault)
    if fault.startswith("hang"):
        monkeypatch.setenv(TIMEOUT, "15")  # which is time enough to start
    assert run([*SCENE, *SMALL, "--iterations", "6", "--out", str(folder)]) == 2
    output = " ".join(capsys.readouterr().err.replace("error: ", "").split())
    assert says in output, output
    if fault.startswith("die"):
        assert "PhysX: out of luck" in output
    assert f"iteration_000004.lockstep is saved: go on with python -m engine.run --resume {folder}" in output
    assert_no_worker_is_left()
    monkeypatch.delenv("STANDIN_FAULT")
    assert run(["--resume", str(folder)]) == 0
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert_no_worker_is_left()


def test_a_run_that_is_killed_leaves_no_worker(tmp_path: Path) -> None:
    own = os.environ | {"PYTHONPATH": str(REPOSITORY), "STANDIN_FAULT": "hang:60"}
    words = [sys.executable, "-m", "engine.run", *SCENE, *SMALL, "--iterations", "50", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(words, env=own, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        found: list[int] = []
        until = time.monotonic() + 300.0
        while time.monotonic() < until and not (tmp_path / "run" / "metrics.jsonl").exists():
            time.sleep(0.1)
        time.sleep(1.0)
        for place in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == process.pid:
                found.append(int(place.name))
        assert found
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    until = time.monotonic() + 10.0
    while any(map(alive, found)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(alive, found))


def test_the_tracking_scene_trains_and_is_evaluated_with_the_same_command_but_for_the_backend(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    assert run([*SCENE, *SMALL, "--isaacgym-python", sys.executable, "--iterations", "3", "--out", str(folder)]) == 0
    written = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    (title,) = written["tables"]
    assert title == "isaacgym stand-in beside mujoco"  # results of a stand-in say so
    assert "This is a stand-in for Isaac Gym" in caplog.text
    assert run(["--eval", str(folder), "--backend", "mujoco"]) == 0
    assert_no_worker_is_left()


def test_explain_says_that_isaac_gym_itself_was_not_tried(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*SCENE, "--backend", "isaacgym", "--explain"]) == 0
    assert "not yet run on Isaac Gym itself" in capsys.readouterr().out


# -- the self-check ---------------------------------------------------------------------------------------


def test_the_self_check_measures_what_is_assumed_and_writes_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    assert command(["selfcheck", "--report", str(report), "--envs", "4"]) == 0
    output = capsys.readouterr().out
    assert "all assumptions hold" in output and "This was a stand-in" in output
    found = json.loads(report.read_text())
    values = {line["name"]: (line["status"], line["value"]) for line in found["lines"]}
    assert found["runtime"] == "standin" and found["holds"]
    assert values["joints that stand right, left in the file"] == ("INFO", "left_joint, right_joint")
    assert values["a second setter before simulate"][0] == values["friction of two shapes"][0] == "PASS"
    assert_no_worker_is_left()


def test_the_self_check_fails_where_isaac_gym_is_otherwise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STANDIN_FAULT", "origin_velocity")
    assert command(["selfcheck", "--envs"]) == 1
    output = capsys.readouterr().out
    assert "FAIL  linear velocity is that of the" in output and "origin" in output
    assert "FAILED: an assumption does not hold" in output


def test_the_self_check_says_what_it_cannot_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, says in (
        (["--device", "tpu"], "--device tpu is none"),
        (["--envs", "0"], "--envs takes numbers of rows above 0"),
        (["--report", str(tmp_path / "gone" / "report.json")], "cannot be written"),
        (["--python", "/gone"], "--isaacgym-python=/gone is not there"),
    ):
        assert command(["selfcheck", *words]) == 2
        assert says in capsys.readouterr().err
    monkeypatch.setenv(PYTHON, "")
    assert command(["selfcheck"]) == 2
    assert str(FOLDER) not in capsys.readouterr().err
