"""What is printed reaches any terminal, and where it cannot be printed nothing else suffers."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.runner.run import main
from engine.terminal import PLAIN, LastingStream, lasting_output
from tests.helpers import REPOSITORY

TOY = Path(__file__).with_name("toy_scene.py")
CARTPOLE = REPOSITORY / "scenes" / "cartpole.py"


def test_characters_that_an_encoding_lacks_become_similar_ones() -> None:
    text = "2 × 3² ≤ 10… – ┏━┓│ ▂█ 45° ‖a‖ → ünder 漢 \udcff"
    assert text.encode("ascii", PLAIN) == b"2 x 32 <= 10... - +-+| ## 45deg |a| -> under ? \xff"
    assert "°² –×".encode("cp1252", PLAIN).decode("cp1252") == "°² –×" and "▂".encode("cp1252", PLAIN) == b"#"


class Broken(io.StringIO):
    """A stream that fails in one way."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error


@pytest.mark.parametrize(
    "error", [BrokenPipeError(32, "gone"), OSError(28, "full"), OSError(5, "hung up"), ValueError("closed")]
)
def test_a_stream_that_fails_ends_nothing(error: Exception) -> None:
    stream = LastingStream(Broken(error))
    assert print("text", file=stream, flush=True) is None and stream.end() is None  # type: ignore[func-returns-value]


def test_streams_are_put_back_and_wrapped_once(monkeypatch: pytest.MonkeyPatch) -> None:
    own = io.StringIO()
    monkeypatch.setattr(sys, "stdout", own)
    monkeypatch.setattr(sys, "stderr", None)
    with lasting_output():
        outer = sys.stdout
        print("to nowhere", file=sys.stderr)
        with lasting_output():
            assert sys.stdout is outer
            print("text ×")
    assert sys.stdout is own and sys.stderr is None and own.getvalue() == "text ×\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_explanations_reach_a_terminal_of_any_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    printed, complained = io.BytesIO(), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding=encoding))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(complained, encoding=encoding))
    assert main([str(CARTPOLE), "--explain"]) == 0
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    assert b"ADDRESSES" in printed.getvalue() and complained.getvalue() == b""


def test_a_run_whose_output_nobody_reads_is_finished(tmp_path: Path) -> None:
    script = (
        f"{sys.executable} -m engine.run {TOY} --out {tmp_path}/run --no-film --debug off; echo $? > {tmp_path}/status"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        ["bash", "-c", f"({script}) | true"], env=environment, capture_output=True, timeout=120, check=False
    )
    assert (tmp_path / "status").read_text() == "0\n" and done.stderr == b""
    assert (tmp_path / "run" / "evaluation.json").exists()


def test_a_run_without_any_output_is_finished(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    script = f"exec {sys.executable} -m engine.run {TOY} --out {tmp_path}/run --no-film --debug off >&- 2>&-"
    assert subprocess.run(["bash", "-c", script], env=environment, timeout=120, check=False).returncode == 0
    assert (tmp_path / "run" / "evaluation.json").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_run_whose_log_is_on_a_full_disk_is_finished(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    script = f"exec {sys.executable} -m engine.run {TOY} --out {tmp_path}/run --no-film --debug off > /dev/full"
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, b"") and (tmp_path / "run" / "evaluation.json").exists()
