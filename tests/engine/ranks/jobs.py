"""Jobs of several processes, started as a person does, and what they leave behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[3]
SMALL = ["--num-envs", "128", "--horizon", "8", "--hidden", "16", "16", "--no-film", "--debug", "off"]


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(**more: str) -> dict[str, str]:
    """As a person's shell has it, with one thread."""
    kept = {
        name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "PYTEST_CURRENT_TEST")
    }
    return kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "200"} | more


@attrs.define
class Job:
    """A started command, in a session of its own."""

    process: "subprocess.Popen[str]"
    output: Path

    def wait(self, seconds: float = 90.0) -> int:
        """The exit status."""
        return self.process.wait(seconds)

    @property
    def text(self) -> str:
        """What was printed so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    @property
    def errors(self) -> list[str]:
        """The sentences that begin with 'error: '."""
        return [line for line in self.text.splitlines() if line.startswith("error: ")]

    def processes(self) -> dict[int, int]:
        """By rank, the process."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                known = dict(
                    each.split("=", 1)
                    for each in (folder / "environ").read_text(encoding="utf-8", errors="replace").split("\0")
                    if "=" in each
                )
            except OSError:
                continue
            if known.get("LOCKSTEP_TEST_JOB") == str(self.output) and "RANK" in known:
                found[int(known["RANK"])] = int(folder.name)
        return found

    def nobody_is_left(self, seconds: float = 10.0) -> bool:
        """Whether all processes end within this time."""
        last = time.monotonic() + seconds
        while self.processes() and time.monotonic() < last:
            time.sleep(0.1)
        return not self.processes()


@contextmanager
def started(words: Sequence[str], output: Path, **more: str) -> Iterator[Job]:
    """A command that runs; whatever is left of it is killed at the end."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with open(output, "w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env=environment(LOCKSTEP_TEST_JOB=str(output), **more),
        )  # fmt: skip
    job = Job(process, output)
    try:
        yield job
    finally:
        for number in (*job.processes().values(), process.pid):
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        process.wait()


def torchrun(count: int, *words: str, options: Sequence[str] = ()) -> list[str]:
    """The words of a torchrun of this machine."""
    port = ["--master-port", str(free_port())]
    return ["-m", "torch.distributed.run", "--nproc-per-node", str(count), *port, *options, "-m", "engine.run", *words]


def until(job: Job, path: Path, seconds: float = 60.0) -> None:
    """Wait for a file that the job writes."""
    last = time.monotonic() + seconds
    while not path.exists():
        assert job.process.poll() is None and time.monotonic() < last, job.text
        time.sleep(0.05)
