"""The files of a run: locked, whole or absent, and readable after a crash or a full disk."""

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine import SceneError, SnapshotError, files
from engine.files import JsonLines, plain_numbers
from engine.runner.checkpoint import checkpoints
from engine.runner.run import main
from engine.runner.run_folder import Origin, RunFolder
from engine.snapshot import snapshot

REPOSITORY = Path(__file__).resolve().parents[3]
TOY = str(Path(__file__).parents[1].joinpath("toy_scene.py"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(RunFolder, "draw_curve", lambda self: None)


def train(*arguments: str) -> int:
    return main([TOY, *arguments])


def test_a_second_run_into_a_folder_in_use_is_refused() -> None:
    first = RunFolder.create(Path("run"), "toy", print)
    with pytest.raises(SceneError, match=r"^Another run is writing to run\. Wait for it, or choose another --out\.$"):
        RunFolder.create(Path("run"), "toy", print)
    with pytest.raises(SceneError, match="Another run is writing to run"):
        RunFolder.reopen(Path("run"), print)
    first.close()
    RunFolder.reopen(Path("run"), print).close()


def test_a_folder_that_holds_anything_is_refused_and_kept(capsys: pytest.CaptureFixture[str]) -> None:
    Path("notes").mkdir()
    Path("notes/precious.txt").write_text("keep")
    assert train("--out", "notes") == 2
    assert capsys.readouterr().err == "error: The folder notes already holds files. Choose another --out.\n"
    assert train("--out", "run") == train("--out", "run") - 2 == 0
    sentence = "already holds a run. Choose another --out, or go on with it: --resume run without --out."
    assert sentence in capsys.readouterr().err
    assert [path.name for path in Path("notes").iterdir()] == ["precious.txt"]


def test_a_file_in_the_way_and_a_read_only_place_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("keep")
    assert train("--out", "file/run") == 2
    assert capsys.readouterr().err.endswith("file is a file. Choose another --out.\n")
    assert train("--out", "file") == 2

    def refuse(**_: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert train("--out", "new/run") == 2
    assert capsys.readouterr().err.endswith("cannot be written to (Read-only file system). Choose another --out.\n")
    assert not Path("new").exists() and Path("file").read_text() == "keep"


def test_two_runs_in_one_second_get_two_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path.cwd())
    folders = [RunFolder.create(None, "toy", print) for _ in range(3)]
    assert len({folder.path for folder in folders}) == 3
    for folder in folders:
        folder.close()


def test_a_full_disk_at_the_start_leaves_no_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_file", full)
    assert train("--out", "run") == 2
    assert capsys.readouterr().err == "error: run cannot be written to (No space left on device).\n"
    assert not Path("run").exists()


def test_a_full_disk_during_a_checkpoint_keeps_the_one_before_and_the_run_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--out", "whole") == 0
    original = files.write_file

    def full(path: Path, data: Any) -> None:
        if path.suffix == ".lockstep" and path.name > "iteration_000002.lockstep":
            raise OSError(errno.ENOSPC, "No space left on device")
        original(path, data)

    monkeypatch.setattr(files, "write_file", full)
    assert train("--out", "run", "--checkpoint-every", "1") == 1  # what it learned last is nowhere
    output = capsys.readouterr().out
    warning = "! checkpoint iteration_000003.lockstep could not be written (No space left on device); "
    assert warning + "the newest is iteration_000002.lockstep. Training goes on, and the next ones are tried." in output
    assert "checkpoint iteration_000004" not in output
    assert "checkpoint  checkpoints/iteration_000002.lockstep" in output
    assert Path("run/metrics.jsonl").read_bytes() == Path("whole/metrics.jsonl").read_bytes()
    assert [path.stem for path in checkpoints(Path("run"))] == ["iteration_000002", "iteration_000001"]
    snapshot.Snapshot.decode(checkpoints(Path("run"))[0].read_bytes())


def test_a_write_that_really_fails_leaves_the_checkpoint_whole_and_no_part() -> None:
    """The operating system refuses files beyond 64 KiB, so the write fails half way."""
    program = f"""
import resource, sys
from pathlib import Path
sys.path.insert(0, {str(REPOSITORY)!r})
from engine import build
from engine.runner.run_folder import RunFolder
from tests.engine.toy_scene import make_scene
messages = []
folder = RunFolder.create(Path("run"), "toy", messages.append)
folder.save(build(make_scene(num_envs=8)).world, 1, 0)
folder.drain()
large = build(make_scene(num_envs=100_000))
large.run(2)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, resource.RLIM_INFINITY))
for iteration in (1, 2):
    folder.save(large.world, iteration, 0)
folder.drain()
assert messages == ["checkpoint iteration_000001.lockstep could not be written (File too large); the newest is "
                "iteration_000001.lockstep. Training goes on, and the next ones are tried."], messages
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
folder.save(large.world, 3, 0)
folder.close()
assert messages[1:] == ["checkpoints are written again: iteration_000003.lockstep."], messages
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    assert sorted(p.name for p in Path("run/checkpoints").iterdir()) == [
        "iteration_000001.lockstep",
        "iteration_000003.lockstep",
    ]
    for path in checkpoints(Path("run")):
        snapshot.Snapshot.decode(path.read_bytes())


def test_rows_that_a_full_disk_refused_are_written_when_there_is_room_again() -> None:
    messages: list[str] = []
    lines = JsonLines(Path("/dev/full"), messages.append)
    lines.append({"iteration": 1, "reward": 0.5})
    lines.append({"iteration": 2, "reward": float("nan")})
    assert messages == ["full cannot be written (No space left on device); its rows wait in memory."]
    lines.path = Path("metrics.jsonl")
    lines.append({"iteration": 3})
    assert Path("metrics.jsonl").read_text() == (
        '{"iteration": 1, "reward": 0.5}\n{"iteration": 2, "reward": null}\n{"iteration": 3}\n'
    )
    assert [row["iteration"] for row in lines.rows()] == [1, 2, 3]


def test_rows_that_never_found_room_are_counted_at_the_end() -> None:
    messages: list[str] = []
    folder = RunFolder.create(Path("run"), "toy", messages.append)
    folder.metrics.path = Path("/dev/full")
    folder.metrics.append({"iteration": 1})
    folder.metrics.append({"iteration": 2})
    folder.flush()
    folder.close()
    assert messages[-1] == "2 rows of full are lost." and len(messages) == 2


def test_cutting_drops_later_rows_and_a_torn_last_one() -> None:
    Path("m.jsonl").write_text('{"iteration": 1}\n{"iteration": 2}\n{"iteration": 3}\n{"itera')
    lines = JsonLines(Path("m.jsonl"), print)
    lines.cut(2, 10)
    assert Path("m.jsonl").read_text() == '{"iteration": 1}\n{"iteration": 2}\n'
    Path("m.jsonl").write_text('{"row": 3, "tick": 9}\n{"row": 1, "tick": 11}\n{"row": 0, "ti')
    lines.cut(2, 10)
    assert Path("m.jsonl").read_text() == '{"row": 3, "tick": 9}\n'


def test_a_damaged_newest_checkpoint_is_skipped_and_the_run_reaches_the_same_bytes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train("--out", "whole", "--iterations", "6") == 0
    assert train("--out", "run", "--checkpoint-every", "1") == 0
    newest, before, *_ = checkpoints(Path("run"))
    newest.write_bytes(newest.read_bytes()[:-7])
    flipped = bytearray(before.read_bytes())
    flipped[len(flipped) // 2] ^= 4
    before.write_bytes(bytes(flipped))
    capsys.readouterr()
    assert main(["--resume", "run", "--iterations", "6", "--checkpoint-every", "50"]) == 0
    output = capsys.readouterr().out
    assert f"! {newest}: The snapshot is damaged at byte " in output
    assert f"! {before}: The snapshot is damaged at byte " in output
    for name in ("metrics.jsonl", "checkpoints/iteration_000006.lockstep"):
        assert Path("run", name).read_bytes() == Path("whole", name).read_bytes()
    assert newest.with_suffix(".damaged").exists() and before.with_suffix(".damaged").exists()


def test_a_run_without_a_whole_checkpoint_cannot_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--out", "run") == 0
    (only,) = checkpoints(Path("run"))
    only.write_bytes(b"")
    assert main(["--resume", "run", "--iterations", "9"]) == 2
    assert capsys.readouterr().err == "error: run/checkpoints holds no whole checkpoint.\n"
    assert main(["--resume", str(only), "--out", "new"]) == 2
    assert "was cut off" in capsys.readouterr().err and not Path("new").exists()
    with pytest.raises(SnapshotError, match="cannot be read"):
        Origin(Path("run/nothing"), None, None).load(print)


@pytest.mark.parametrize("text", ["{", "[1]", "{}"])
def test_a_damaged_configuration_is_one_sentence(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("run").mkdir()
    assert main(["--resume", "run"]) == 2
    assert capsys.readouterr().err == "error: run is not a run folder: it has no config.json.\n"
    Path("run/config.json").write_text(text)
    assert main(["--resume", "run"]) == 2
    assert capsys.readouterr().err.startswith("error: run/config.json ")


def test_numbers_that_json_lacks_become_null() -> None:
    value = {"a": float("inf"), "b": [1, 2.5, float("nan")], "c": (True, None, "x")}
    assert plain_numbers(value) == {"a": None, "b": [1, 2.5, None], "c": [True, None, "x"]}
    json.dumps(plain_numbers(value), allow_nan=False)


def test_a_run_that_goes_on_is_drawn_after_two_minutes_and_then_for_half_a_percent_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, drawn = [1000.0], list[float]()

    def draw(folder: RunFolder) -> None:
        drawn.append(now[0])
        now[0] += 2.0  # drawing takes two seconds: the next one is due 2 / 0.005 = 400 s after it

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr(RunFolder, "draw_curve", draw)
    folder = RunFolder.create(Path("run"), "toy", print)
    for moment in (1000.0, 1119.0, 1120.0, 1500.0, 1521.0, 1522.0):
        now[0] = moment
        folder.update_curve()
    folder.close()
    assert drawn == [1120.0, 1522.0]
