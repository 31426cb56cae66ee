"""Trainings under torchrun, with real processes that exchange by gloo."""

import json
import os
import shlex
import signal
import tempfile
import time
from pathlib import Path

import pytest

from engine.protocol.framing import encode_frame
from engine.recording.file import Recording
from tests.docs.pages import fences
from tests.engine.inspected import Client
from tests.engine.ranks.jobs import SMALL, Job, free_port, started, torchrun, until

pytestmark = pytest.mark.slow

CARTPOLE = ["scenes/cartpole.py", *SMALL]
TRACKING = [
    "scenes/motion_tracking.py",
    "--num-envs",
    "128",
    "--learning.hidden",
    "32",
    "32",
    "--no-film",
    "--debug",
    "off",
]
FIRST, LAST = "checkpoints/iteration_000004.lockstep", "checkpoints/iteration_000020.lockstep"


def finished(words: list[str], output: Path, seconds: float = 200.0) -> Job:
    with started(words, output) as job:
        assert job.wait(seconds) == 0, job.text
        return job


def bytes_of(run: Path, last: str = LAST) -> tuple[bytes, bytes]:
    return (run / "metrics.jsonl").read_bytes(), (run / last).read_bytes()


def failures_of(run: Path) -> tuple[bytes, int, int, list[bytes]]:
    """What is logged of failures, how often, how many rows the recording has, and its frames."""
    recording = Recording.open(run / "failures.rec")
    frames = [encode_frame(message) for message in recording.of("data")]
    lines = (run / "failures.jsonl").read_text(encoding="utf-8").replace(str(run), "RUN")
    return lines.encode(), len(frames), recording.schema["tables"][0]["rows"], frames


def test_recorded_rows_of_each_process_lie_in_the_folder_of_the_run(tmp_path: Path):
    run = tmp_path / "run"
    finished(torchrun(2, *CARTPOLE, "--iterations", "8", "--record", "0-63", "--out", str(run)), tmp_path / "two.txt")
    for folder in (run / "records", run / "records" / "rank_1"):
        recording = Recording.open(folder / "tick_00000064_end.rec")
        rows = {tuple(message["rows"]) for message in recording.of("data", sub="trace")}
        assert rows == {tuple(range(64))}
    failed = {row for m in Recording.open(run / "failures.rec").of("data", sub="episode") for row in m["rows"]}
    assert min(failed) < 64 <= max(failed)


def test_one_two_and_four_processes_and_one_without_torchrun_write_the_same_files(tmp_path: Path):
    flags = [*CARTPOLE, "--iterations", "20"]
    finished(
        ["-m", "engine.run", *flags, "--row-blocks", "32", "--threads", "2", "--out", str(tmp_path / "alone")],
        tmp_path / "alone.txt",
    )
    wanted = bytes_of(tmp_path / "alone"), failures_of(tmp_path / "alone")
    assert wanted[1][1] > 0
    for count in (1, 2, 4):
        finished(torchrun(count, *flags, "--out", str(tmp_path / str(count))), tmp_path / f"{count}.txt")
        assert (bytes_of(tmp_path / str(count)), failures_of(tmp_path / str(count))) == wanted
    kept = json.loads((tmp_path / "4" / "config.json").read_text(encoding="utf-8"))
    assert kept["rows"] == 128 and kept["flags"]["num_envs"] == 128 and kept["run"]["row_blocks"] == 32


def test_the_torchrun_line_of_the_page_starts_on_two_machines(tmp_path: Path):
    (line,) = [fence.text for fence in fences("cluster.md", "bash", "torchrun")]
    words, own = shlex.split(line), {"--nproc-per-node": "1", "--rdzv-endpoint": f"127.0.0.1:{free_port()}"}
    head = words[1 : words.index("-m")]
    head = [own.get(before, word) for before, word in zip(["", *head], head, strict=False)]
    run = tmp_path / "run"
    job = ["-m", "torch.distributed.run", *head, "-m", "engine.run", *CARTPOLE, "--iterations", "20", "--out", str(run)]
    with started(job, tmp_path / "first.txt") as first, started(job, tmp_path / "second.txt") as second:
        assert [each.wait(120.0) for each in (first, second)] == [0, 0], first.text + second.text
    alone = [*CARTPOLE, "--row-blocks", "32", "--iterations", "20", "--out", str(tmp_path / "alone")]
    finished(["-m", "engine.run", *alone], tmp_path / "alone.txt")
    assert bytes_of(run) == bytes_of(tmp_path / "alone")


def test_tracking_reaches_the_same_bytes_with_one_two_and_four_processes(tmp_path: Path):
    flags = [*TRACKING, "--iterations", "20"]
    for count in (1, 2, 4):
        finished(torchrun(count, *flags, "--out", str(tmp_path / str(count))), tmp_path / f"{count}.txt", 400.0)
    assert bytes_of(tmp_path / "1") == bytes_of(tmp_path / "2") == bytes_of(tmp_path / "4")


IMAGINING = [
    "--learner",
    "world_model",
    *(
        f"--world-model.{name}={value}"
        for name, value in {
            "warm-up": 18, "memory": 48, "collect": 2, "first-fits": 20, "fits": 5, "updates": 1, "batch": 64, "horizon": 8,
        }.items()
    ),
]  # fmt: skip


@pytest.mark.parametrize("learner", [[], ["--learner", "auto", "--world-model.most-gap", "1e-9"]])
def test_learning_in_imagination_reaches_the_same_bytes_with_one_two_and_four_processes(
    tmp_path: Path, learner: list[str]
):
    flags = [*TRACKING, *IMAGINING, *learner, "--iterations", "5" if learner else "20"]
    last = f"checkpoints/iteration_{int(flags[-1]):06d}.lockstep"
    for count in (1, 2, 4):
        finished(torchrun(count, *flags, "--out", str(tmp_path / str(count))), tmp_path / f"{count}.txt", 400.0)
    assert bytes_of(tmp_path / "1", last) == bytes_of(tmp_path / "2", last) == bytes_of(tmp_path / "4", last)
    numbers = json.loads((tmp_path / "2" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert numbers.get("fallback/ppo", 1.0) == 1.0 and numbers["imagine/kl"] > 0.0


def killed_at(job: Job, path: Path, rank: int) -> None:
    until(job, path)
    os.kill(job.processes()[rank], signal.SIGKILL)
    assert job.wait(60.0) != 0
    assert job.nobody_is_left()


def test_a_run_killed_on_four_goes_on_on_two_and_then_on_one_to_the_same_bytes(tmp_path: Path):
    flags = [*CARTPOLE, "--iterations", "24", "--checkpoint-every", "2", "--keep", "20"]
    finished(
        ["-m", "engine.run", *flags, "--row-blocks", "32", "--out", str(tmp_path / "alone")], tmp_path / "alone.txt"
    )
    run, last = tmp_path / "run", "checkpoints/iteration_000024.lockstep"
    with started(torchrun(4, *flags, "--out", str(run)), tmp_path / "four.txt") as job:
        killed_at(job, run / "checkpoints/iteration_000002.lockstep", 3)
    assert not (run / last).exists()
    with started(torchrun(2, "scenes/cartpole.py", "--resume", str(run)), tmp_path / "two.txt") as job:
        killed_at(job, run / "checkpoints/iteration_000008.lockstep", 0)
    assert not (run / last).exists()
    finished(["-m", "engine.run", "--resume", str(run)], tmp_path / "one.txt")
    assert bytes_of(run, last) == bytes_of(tmp_path / "alone", last)


def test_torchrun_starts_processes_again_that_go_on_to_the_same_bytes(tmp_path: Path):
    flags = [*CARTPOLE, "--iterations", "24", "--checkpoint-every", "2", "--keep", "20"]
    finished(
        ["-m", "engine.run", *flags, "--row-blocks", "32", "--out", str(tmp_path / "alone")], tmp_path / "alone.txt"
    )
    run, last = tmp_path / "run", "checkpoints/iteration_000024.lockstep"
    again = ["--max-restarts", "2", "--monitor-interval", "0.2"]
    with started(torchrun(2, *flags, "--out", str(run), options=again), tmp_path / "again.txt") as job:
        until(job, run / FIRST)
        os.kill(job.processes()[1], signal.SIGKILL)
        assert job.wait(120.0) == 0, job.text
    assert bytes_of(run, last) == bytes_of(tmp_path / "alone", last)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)])
def test_shards_stop_and_save_as_one_process_does(tmp_path: Path, number: signal.Signals, status: int):
    run = tmp_path / "run"
    words = [
        "-m",
        "engine.run",
        *CARTPOLE,
        "--iterations",
        "4000",
        "--checkpoint-every",
        "4",
        "--shards",
        "2",
        "--record",
        "0",
        "--out",
        str(run),
    ]
    with started(words, tmp_path / "out.txt") as job:
        until(job, run / FIRST)
        if number == signal.SIGUSR1:  # a scheduler warns every process of a step
            for process in job.processes().values():
                os.kill(process, number)
        else:
            os.kill(job.process.pid, number)
        assert job.wait(60.0) == status, job.text
        assert job.nobody_is_left()
    assert "stopped after" in job.text and not job.errors
    rows = [json.loads(line)["iteration"] for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    newest = max(path.name for path in (run / "checkpoints").glob("iteration_*"))
    assert newest == f"iteration_{rows[-1]:06d}.lockstep" and len(rows) < 4000


def test_a_debugger_at_one_process_pauses_all_steps_and_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    flags = [*CARTPOLE[:-2], "--iterations", "20", "--rank-timeout", "5"]
    finished(torchrun(2, *flags, "--debug", "off", "--out", str(tmp_path / "plain")), tmp_path / "plain.txt")
    with tempfile.TemporaryDirectory(prefix="runs", dir="/tmp") as place:
        monkeypatch.setenv("XDG_RUNTIME_DIR", place)
        run = tmp_path / "run"
        with started(torchrun(2, *flags, "--debug", "on", "--out", str(run)), tmp_path / "out.txt") as job:
            until(job, run / "metrics.jsonl")
            first, second = (Path(place, "lockstep", f"{job.processes()[rank]}.json") for rank in (0, 1))
            until(job, second)
            assert json.loads(second.read_text(encoding="utf-8"))["run"] == "run, rank 1" and first.exists()
            client = Client(str(second.with_suffix(".sock")))
            client.ask("pause")
            tick = client.state["tick"]
            before = len((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
            end = time.monotonic() + 12.0  # more than twice as long as a process waits for one that does not answer
            while time.monotonic() < end:
                client.read(0.2)
            assert (
                job.process.poll() is None
                and len((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()) <= before + 1
            )
            client.ask("step", unit="system", count=3)
            client.ask("step", unit="tick", count=2)
            assert client.state["tick"] > tick
            code, text = client.refused("snapshot")
            assert "write their checkpoints together" in text, code
            client.ask("run")
            client.connection.close()
            assert job.wait(120.0) == 0, job.text
    assert bytes_of(run) == bytes_of(tmp_path / "plain")
