"""Processes that are killed, hang, fail, never come or do not agree: one sentence from one of them, and nobody is left."""

import os
import signal
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.engine.ranks.jobs import ROOT, SMALL, Job, free_port, started, torchrun, until

pytestmark = pytest.mark.slow

CARTPOLE = ["scenes/cartpole.py", *SMALL, "--iterations", "4000", "--checkpoint-every", "4"]
FIRST = "checkpoints/iteration_000004.lockstep"
FAILING = '''
import os
import time

from components.control import Action
from engine import Bundle, Clock, Scene, Write, system
from scenes import cartpole
from systems.learning.config import PpoConfig
from systems.metrics import metrics
from systems.ppo import ppo
from systems.tick import STEP
from engine.runner.experiment import Experiment


def stumble(clock: Clock, action: Write[Action], *, at: int = 20, rank: str = "1", how: str = "raise") -> None:
    """Fail in one process."""
    if clock.tick == at and os.environ.get("RANK") == rank:
        if how == "raise":
            raise ValueError("the sensor is unplugged")
        if how == "nan":
            return
        while True:
            time.sleep(0.01)


def experiment(num_envs: int = 64, how: str = "raise") -> Experiment:
    """A cart-pole of which one process fails."""
    learner = PpoConfig(horizon=8, hidden=(16,))
    trip = Bundle("trip", systems={STEP: [system(stumble, how=how, after="push")]})
    return Experiment(train=lambda: cartpole.balancing(num_envs, trip, ppo(learner), metrics(horizon=8)), iterations=20)
'''


def ended(job: Job, within: float) -> float:
    """How long the job took to end; nobody of it is left."""
    start = time.monotonic()
    assert job.wait(within) != 0
    assert job.nobody_is_left()
    return time.monotonic() - start


def test_a_killed_process_ends_the_job_with_one_sentence_that_names_it(tmp_path: Path):
    with started(torchrun(2, *CARTPOLE, "--out", str(tmp_path / "run")), tmp_path / "out.txt") as job:
        until(job, tmp_path / "run" / FIRST)
        victim = job.processes()[1]
        os.kill(victim, signal.SIGKILL)
        ended(job, 60.0)
    assert len(job.errors) == 1, job.text
    assert (
        job.errors[0].startswith(f"error: Rank 1 of 2 (host {socket.gethostname()}, process {victim}) is gone")
        and "; at tick" in job.errors[0]
    )


def test_a_process_that_stands_still_ends_the_job_within_a_minute(tmp_path: Path):
    words = torchrun(2, *CARTPOLE, "--rank-timeout", "6", "--out", str(tmp_path / "run"))
    with started(words, tmp_path / "out.txt") as job:
        until(job, tmp_path / "run" / FIRST)
        os.kill(job.processes()[1], signal.SIGSTOP)
        ended(job, 60.0)
    assert len(job.errors) == 1, job.text
    assert (
        job.errors[0].startswith("error: Rank 1 of 2 (host ")
        and "keeps the others waiting for 6 s; at tick" in job.errors[0]
    )


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("raise", "failed at tick 20 in `stumble` (STEP): ValueError: the sensor is unplugged"),
        (
            "hang",
            "keeps the others waiting for 5 s; at tick 20 it was in `stumble` (STEP). The newest checkpoint is whole: go on with --resume.",
        ),
    ],
)
def test_a_system_that_fails_or_never_ends_in_one_process_is_named(tmp_path: Path, how: str, sentence: str):
    scene = tmp_path / "failing.py"
    scene.write_text(FAILING, encoding="utf-8")
    words = torchrun(
        2,
        str(scene),
        "--how",
        how,
        "--no-film",
        "--debug",
        "off",
        "--rank-timeout",
        "5",
        "--out",
        str(tmp_path / "run"),
    )
    with started(words, tmp_path / "out.txt", PYTHONPATH=str(ROOT)) as job:
        ended(job, 60.0)
    assert (
        len(job.errors) == 1
        and job.errors[0].startswith("error: Rank 1 of 2 (host ")
        and job.errors[0].endswith(sentence)
    ), job.text


def test_processes_that_disagree_are_refused_before_anything_runs(tmp_path: Path):
    port = str(free_port())
    with ExitStack() as stack:
        jobs = [
            stack.enter_context(
                started(
                    ["-m", "engine.run", *CARTPOLE, "--seed", str(rank), "--out", str(tmp_path / "run")], tmp_path / f"{rank}.txt",
                    RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="localhost", MASTER_PORT=port,
                )
            )
            for rank in range(2)
        ]  # fmt: skip
        assert [job.wait(60.0) for job in jobs] == [2, 2]
    assert jobs[0].errors == [] and len(jobs[1].errors) == 1
    assert (
        jobs[1]
        .errors[0]
        .startswith(
            f"error: Rank 1 (host {socket.gethostname()}) does not agree with rank 0 on --seed: it has 1, rank 0 0."
        )
    )
    assert not (tmp_path / "run").exists()


def test_a_process_that_never_comes_is_named(tmp_path: Path):
    words = ["-m", "engine.run", *CARTPOLE, "--rank-timeout", "5", "--out", str(tmp_path / "run")]
    place = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port())}
    with started(words, tmp_path / "out.txt", **place) as job:
        assert job.wait(60.0) == 2
    assert job.errors == [
        "error: Of 2 processes, rank 1 did not come within 5 s. Start as many as WORLD_SIZE says, or give them longer: --rank-timeout."
    ]


def test_a_port_that_is_taken_is_named(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        place = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        with started(["-m", "engine.run", *CARTPOLE, "--rank-timeout", "5"], tmp_path / "out.txt", **place) as job:
            assert job.wait(60.0) == 2
    assert len(job.errors) == 1 and job.errors[0].startswith(
        f"error: The processes cannot meet at 127.0.0.1:{port}: the port is taken"
    ), job.text


def test_two_jobs_at_one_rendezvous_are_refused(tmp_path: Path):
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port())}
    words = ["-m", "engine.run", *CARTPOLE, "--rank-timeout", "20", "--out", str(tmp_path / "run")]
    with (
        started(words, tmp_path / "0.txt", RANK="0", **place),
        started(words, tmp_path / "1.txt", RANK="1", **place) as first,
    ):
        until(first, tmp_path / "run" / FIRST)
        with started(words, tmp_path / "2.txt", RANK="1", **place) as second:
            assert second.wait(60.0) == 2
    assert len(second.errors) == 1 and second.errors[0].startswith(
        f"error: Rank 1 is there twice: two jobs meet at localhost:{place['MASTER_PORT']}."
    )


BAD = {
    "rows": (["scenes/cartpole.py", "--num-envs", "100"], "100 rows cannot be cut into blocks of a multiple of 32 rows. The nearest numbers of rows that fit are 96 and 128."),
    "too many processes": (["scenes/cartpole.py", "--num-envs", "32"], "2 processes are more than the 1 blocks of 32 rows that 32 rows make: start fewer, or simulate at least 64 rows."),
    "no learner": (["scenes/replay_motion.py"], "has no parameter num_envs, the number of rows that 2 processes would share. Give it one."),
    "a GPU that is not there": (["scenes/cartpole.py", "--device", "cuda"], "--device is 'cuda', but torch finds no CUDA device here. Use --device cpu."),
    "an evaluation": (["scenes/cartpole.py", "--play"], "--play is done by one process; start it without torchrun and without --shards."),
}  # fmt: skip


@pytest.mark.parametrize(("words", "sentence"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_said_once_and_leaves_nothing(tmp_path: Path, words: list[str], sentence: str):
    with started(torchrun(2, *words, "--out", str(tmp_path / "run")), tmp_path / "out.txt") as job:
        ended(job, 60.0)
    assert len(job.errors) == 1 and sentence in job.errors[0], job.text
    assert not (tmp_path / "run").exists()


def test_two_jobs_with_one_run_folder_are_refused(tmp_path: Path):
    run = tmp_path / "run"
    with started(torchrun(2, *CARTPOLE, "--out", str(run)), tmp_path / "first.txt") as first:
        until(first, run / FIRST)
        with started(torchrun(2, "scenes/cartpole.py", "--resume", str(run)), tmp_path / "second.txt") as second:
            ended(second, 60.0)
        assert first.process.poll() is None
    assert second.errors == [
        f"error: Rank 0 of 2 (host {socket.gethostname()}): Another run is writing to {run}. Wait for it, or choose another --out."
    ]


def test_torch_distributed_is_imported_only_when_asked_for():
    code = "import sys; import engine.run; from engine.runner.run import main; main(['scenes/cartpole.py', '--check']); sys.exit('torch.distributed.distributed_c10d' in sys.modules and 3 or 0)"
    before = "import sys, torch; sys.exit('torch.distributed.distributed_c10d' in sys.modules and 3 or 0)"
    import subprocess

    plain, ours = (
        subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, check=False).returncode
        for text in (before, code)
    )
    assert ours == plain
