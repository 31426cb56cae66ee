"""Checkpoints: written while the ticks go on, the newest and the best kept, and tried again when the disk was full."""

import errno
import json
import math
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from engine import Simulation, build, files
from engine.runner.checkpoint import CheckpointScore, CheckpointWriter, checkpoint_name, checkpoints, moment, prune
from engine.runner.run import main
from engine.runner.run_folder import RunFolder
from engine.snapshot.snapshot import Snapshot, save
from tests.engine.toy_scene import make_scene

TOY = str(Path(__file__).parents[1].joinpath("toy_scene.py"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(RunFolder, "draw_curve", lambda self: None)


def blank(*names: str) -> None:
    Path("checkpoints").mkdir(exist_ok=True)
    for name in names:
        Path("checkpoints", name).write_bytes(b"x")


def score(name: str, values: dict[int, float]) -> CheckpointScore:
    made = CheckpointScore(name)
    for iteration, value in values.items():
        made.note({"iteration": iteration, name.removeprefix("-"): value})
    return made


def test_a_name_says_the_moment_and_moments_are_in_order() -> None:
    names = [checkpoint_name(*when) for when in ((9, 0), (10, 0), (10, 3))]
    assert names == ["iteration_000009.lockstep", "iteration_000010.lockstep", "iteration_000010_tick_0003.lockstep"]
    blank(*names, "best.lockstep", "other.lockstep", "iteration_000011.lockstep.part")
    assert [moment(path) for path in checkpoints(Path())] == [(10, 3), (10, 0), (9, 0)]


def test_the_merit_is_the_mean_of_ten_iterations_and_of_fewer_at_the_start() -> None:
    made = score("a", {i: float(i) for i in range(1, 21)})
    assert made.of(20) == 15.5 and made.of(3) == 2.0 and made.of(40) is None
    assert score("-a", {1: 3.0, 2: 5.0}).of(2) == -4.0
    made.note({"iteration": 21, "a": None})
    made.note({"iteration": 22, "a": math.inf})
    made.note({"iteration": 23})
    assert made.of(23) == sum(range(14, 21)) / 7
    assert CheckpointScore().of(3) is None


def test_pruning_spares_the_newest_and_the_best_and_the_link_follows() -> None:
    blank(*(checkpoint_name(i, 0) for i in (1, 2, 3, 4)))
    values = {1: 0.0, 2: 9.0, 3: -90.0, 4: 1.0}
    prune(Path(), 1, score("a", values))
    assert [moment(p)[0] for p in checkpoints(Path())] == [4, 2]
    assert os.readlink("checkpoints/best.lockstep") == "iteration_000002.lockstep"
    blank(checkpoint_name(5, 0))
    prune(Path(), 1, score("a", {**values, 5: 1000.0}))
    assert [moment(p)[0] for p in checkpoints(Path())] == [5]
    assert os.readlink("checkpoints/best.lockstep") == "iteration_000005.lockstep"
    prune(Path(), 1, score("b", {}))
    assert sorted(os.listdir("checkpoints")) == ["iteration_000005.lockstep"]


@given(values=some.dictionaries(some.integers(1, 40), some.floats(-1e6, 1e6), min_size=1), data=some.data())
def test_the_best_is_that_of_a_search_through_all_windows(values: dict[int, float], data: Any) -> None:
    present = data.draw(some.lists(some.integers(1, 40), min_size=1, unique=True))
    best = score("a", values).best([Path(checkpoint_name(i, 0)) for i in present])
    means = {}
    for iteration in present:
        window = [values[i] for i in sorted(values) if iteration - 10 < i <= iteration]
        if window:
            means[iteration] = sum(window) / len(window)
    largest = max(means.values(), default=None)
    assert (moment(best)[0] if best else None) == max((i for i, m in means.items() if m == largest), default=None)


def test_ticks_go_on_while_checkpoints_are_written_and_wait_only_for_a_third() -> None:
    gate, written, seen = threading.Semaphore(0), [], []

    def slow(name: str, taken: Snapshot) -> None:
        gate.acquire()
        seen.append({id(column) for column in (taken.columns or {}).values()})
        written.append((name, taken.encode()))

    simulation = build(make_scene())
    writer, expected = CheckpointWriter(slow), []
    for name in ("a", "b"):
        simulation.run()
        writer.take(simulation.world, name)  # returns although nothing can be written yet
        expected.append((name, save(simulation.world)))
    assert written == [] and writer.outcomes() == []
    simulation.run()
    third = threading.Timer(0.2, gate.release)
    third.start()
    writer.take(simulation.world, "c")
    assert writer.stall > 0.1
    expected.append(("c", save(simulation.world)))
    simulation.run(3)
    for _ in range(2):
        gate.release()
    writer.drain()
    assert written == expected
    assert [outcome.name for outcome in writer.outcomes()] == ["a", "b", "c"]
    assert seen[2] == seen[0] and seen[1] != seen[0]  # the third is in the memory of the first
    writer.close()


def test_a_mistake_in_the_thread_is_raised_on_the_tick_thread() -> None:
    def fail(name: str, taken: Snapshot) -> None:
        raise ZeroDivisionError("a bug")

    writer = CheckpointWriter(fail)
    writer.take(build(make_scene()).world, "a")
    writer.drain()
    with pytest.raises(ZeroDivisionError, match="a bug"):
        writer.outcomes()
    writer.close()


def test_nothing_is_printed_by_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = set()

    def full(path: Path, data: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = RunFolder.create(Path("run"), "toy", lambda text: threads.add(threading.current_thread()))
    monkeypatch.setattr(files, "write_file", full)
    folder.save(build(make_scene()).world, 1, 0)
    folder.close()
    assert threads == {threading.main_thread()}


def test_rows_reach_the_disk_before_the_checkpoint_that_follows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        fsync(handle)
        done.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)

    def renamed(old: Any, new: Any) -> None:
        replace(old, new)
        done.append(f"-> {Path(new).name}")

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    folder = RunFolder.create(Path("run"), "toy", print)
    folder.append({"iteration": 1}, {"iteration": 1})
    Path("run/failures.jsonl").write_text("")
    Path("run/failures.rec").write_text("")
    folder.save(build(make_scene()).world, 1, 0)
    folder.close()
    rows = ["failures.jsonl", "metrics.jsonl", "timing.jsonl", "failures.rec", "run"]
    name = "iteration_000001.lockstep"
    assert done == [*rows, f"{name}.part", f"-> {name}", "checkpoints"]


def test_no_checkpoint_is_newer_than_rows_that_wait_for_room() -> None:
    messages: list[str] = []
    folder = RunFolder.create(Path("run"), "toy", messages.append)
    kept, folder.metrics.path = folder.metrics.path, Path("/dev/full")
    folder.append({"iteration": 1}, {"iteration": 1})
    world = build(make_scene()).world
    folder.save(world, 1, 0)
    assert messages[1:] == [
        "checkpoint iteration_000001.lockstep could not be written (the rows of full come first); there is none yet. "
        "Training goes on, and the next ones are tried."
    ]
    folder.metrics.path = kept
    folder.save(world, 2, 0)
    folder.close()
    assert messages[2:] == ["checkpoints are written again: iteration_000002.lockstep."]
    assert kept.read_text() == '{"iteration": 1}\n'


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one mebibyte."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not permitted here: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_that_fills_up_and_is_freed_costs_checkpoints_and_nothing_else(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--iterations", "9", "--checkpoint-every", "1", "--num-envs", "400"]
    assert main([TOY, "--out", "whole", *arguments]) == 0
    original, filler = Simulation.run, small_disk / "filler"

    def run(self: Simulation, ticks: int = 1) -> None:
        tick = self.world.clock.tick
        if tick == 17:  # in iteration 4
            with suppress(OSError), open(filler, "wb", buffering=0) as file:
                while file.write(b"x" * 512):
                    pass
        if tick == 32:  # in iteration 7
            filler.unlink()
        original(self, ticks)

    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(Simulation, "run", run)
        assert main([TOY, "--out", str(small_disk / "run"), *arguments]) == 0
    output = capsys.readouterr().out.split("finished 9/9")[0]
    assert output.count("could not be written") == 1 and output.count("checkpoints are written again") == 1
    assert "checkpoints are written again: iteration_000007.lockstep." in output
    for name in ("metrics.jsonl", "checkpoints/iteration_000009.lockstep"):
        assert (small_disk / "run" / name).read_bytes() == Path("whole", name).read_bytes()


def best_of(text: str) -> str:
    """The toy scene with a number by which checkpoints are judged."""
    Path("judged.py").write_text(Path(TOY).read_text().replace("        iterations=4,", f'        best="{text}",'))
    return "judged.py"


def test_the_best_checkpoint_is_kept_linked_and_usable(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [best_of("-loss/spread"), "--iterations", "30", "--checkpoint-every", "1", "--keep", "2"]
    assert main([*arguments, "--out", "run"]) == 0
    rows = [json.loads(line)["loss/spread"] for line in Path("run/metrics.jsonl").read_text().splitlines()]
    means = [sum(rows[max(0, i - 9) : i + 1]) / len(rows[max(0, i - 9) : i + 1]) for i in range(30)]
    best = 1 + min(range(30), key=lambda i: means[i])
    assert [moment(p)[0] for p in checkpoints(Path("run"))] == sorted({30, 29, best}, reverse=True)
    link = "run/checkpoints/best.lockstep"
    assert os.readlink(link) == checkpoint_name(best, 0)
    assert main(["--eval", link, "--out", "measured"]) == 0
    assert json.loads(Path("measured/evaluation.json").read_text())["checkpoint"] == checkpoint_name(best, 0)
    assert main(["--resume", link, "--iterations", "31", "--out", "branch"]) == 0
    whole = Path("run/metrics.jsonl").read_bytes().splitlines()
    assert Path("branch/metrics.jsonl").read_bytes().splitlines()[:30] == whole
    os.unlink(f"run/checkpoints/{checkpoint_name(best, 0)}")
    capsys.readouterr()
    assert main(["--eval", link]) == 2
    target = f"run/checkpoints/{checkpoint_name(best, 0)}"
    assert (
        capsys.readouterr().err == f"error: {link} points to {target}, which is not there. Name another checkpoint.\n"
    )


def test_a_number_that_is_never_reported_is_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([best_of("loss/spred"), "--iterations", "4", "--checkpoint-every", "1", "--out", "run"]) == 0
    output = capsys.readouterr().out.split("finished")[0]
    assert (
        output.count("reported 'loss/spred', so iteration_000001.lockstep cannot be the best checkpoint. Did you") == 1
    )
    assert not Path("run/checkpoints/best.lockstep").is_symlink()


def test_a_disk_without_links_still_prunes_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: Path, target: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    arguments = ["--iterations", "9", "--checkpoint-every", "1", "--keep", "2", "--out", "run"]
    assert main([best_of("loss/spread"), *arguments]) == 0
    output = capsys.readouterr().out.split("finished")[0]
    assert output.count("! checkpoints cannot be tidied up (Operation not permitted): there may be more of them") == 1
    assert len(checkpoints(Path("run"))) <= 3
    assert main(["--resume", "run", "--iterations", "10"]) == 0
