"""Processors that a run is bound to: which settings of OpenMP are warned of, and where."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.runner.processors import pinned_threads
from engine.runner.run import main
from engine.runner.run_folder import RunFolder
from tests.engine import toy_scene
from tests.helpers import REPOSITORY


def test_settings_that_bind_threads_are_named_with_their_effect_and_the_cure() -> None:
    assert pinned_threads({"OMP_PROC_BIND": "true", "OMP_PLACES": "cores"}, 1, 8) == (
        "OMP_PROC_BIND=true OMP_PLACES=cores in the environment binds this run to 1 of 8 processors: simulator and learner "
        "share them, which makes training slower. Type `unset OMP_PROC_BIND OMP_PLACES` and start it again."
    )


@pytest.mark.parametrize("name", ["OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY"])
def test_each_setting_alone_is_warned_of(name: str) -> None:
    warning = pinned_threads({name: "0"}, 1, 2)
    assert warning is not None and warning.startswith(f"{name}=0 in") and f"`unset {name}`" in warning


@pytest.mark.parametrize(
    "environment",
    [{}, {"OMP_NUM_THREADS": "1"}, {"OMP_PROC_BIND": ""}, {"OMP_PROC_BIND": "False", "OMP_PLACES": "cores"}],
)
def test_where_nothing_binds_there_is_no_warning(environment: dict[str, str]) -> None:
    assert pinned_threads(environment, 1, 2) is None


def test_where_all_processors_are_left_there_is_no_warning() -> None:
    assert pinned_threads({"OMP_PLACES": "sockets"}, 8, 8) is None


def test_a_run_says_it_at_its_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMP_PROC_BIND", "close")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(RunFolder, "draw_curve", lambda self: None)
    assert main([str(toy_scene.__file__), "--out", str(tmp_path / "run"), "--iterations", "1"]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert (
        output.count("OMP_PROC_BIND=close in the environment binds this run to 1 of 4 processors") == 2
    )  # and at its end


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="there is one processor to be had"
)
def test_torch_binds_the_thread_that_loads_it_where_it_is_told_to() -> None:
    """What the warning rests on, seen in a process of its own."""
    code = "import torch; from engine.runner.processors import pinned_here; print(pinned_here())"
    surroundings = {**os.environ, "OMP_PROC_BIND": "true", "OMP_PLACES": "threads"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=surroundings, cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert "OMP_PROC_BIND=true OMP_PLACES=threads in the environment binds this run to 1 of" in done.stdout
