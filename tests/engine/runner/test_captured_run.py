"""A training that replays ticks: what it says, counts and clocks. A recorder on the processor stands in for CUDA graphs."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine import Simulation
from engine.capture.capture import Capture
from engine.capture.cpu_recorder import CpuRecorder
from engine.runner import training
from engine.runner.run import main
from engine.runner.run_folder import RunFolder

TOY = str(Path(__file__).parents[1].joinpath("toy_scene.py"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, without the second that a picture costs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(RunFolder, "draw_curve", lambda self: None)


def rows(folder: str, file: str) -> list[dict[str, Any]]:
    """The lines of a run's file."""
    return [json.loads(line) for line in Path(folder, file).read_text(encoding="utf-8").splitlines()]


def test_a_training_counts_what_is_replayed_and_says_what_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def recorded(simulation: Simulation, asked: str, say: Any) -> Capture:
        assert asked == "auto"
        return Capture(simulation, CpuRecorder(), say)

    flags = [TOY, "--debug", "off", "--no-film"]
    assert main([*flags, "--out", "plain"]) == 0
    monkeypatch.setattr(training, "capture_for", recorded)
    capsys.readouterr()
    assert main([*flags, "--out", "replayed"]) == 0
    output = capsys.readouterr().out
    plain, replayed = (rows(folder, "metrics.jsonl") for folder in ("plain", "replayed"))
    assert not any(name.startswith("capture/") for name in plain[-1])
    assert sum(row["capture/eager_ticks"] for row in replayed) >= 2
    assert replayed[-1]["capture/launches"] > 1.0
    assert "is called, not replayed: " in output
    timing = rows("replayed", "timing.jsonl")[-1]
    assert any(name.endswith("segment 1") for name in timing["by_system"])
    assert all(seconds >= 0.0 for seconds in timing["by_system"].values())
    assert "systems" in rows("plain", "timing.jsonl")[-1] and "systems" not in timing  # a segment is of several parts


def test_graphs_are_refused_where_there_is_no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([TOY, "--capture", "on"]) == 2
    assert (
        "--capture on records CUDA graphs, and --device is cpu. Leave it out, or say --device cuda."
        in capsys.readouterr().err
    )
