"""A run that is killed again and again must end like one that nobody touched.

    python -m tests.exactness.kill [--kills 24] [--inside 6] [--early 3] [--seed 0] [--iterations 60] [--every 2] [--folder F]

Trains the tracking scene once undisturbed, and once more with SIGKILL at random moments: spread over the run, a few
while a process is still starting, and some inside the write of a checkpoint, which is when its .part file is there.
After each kill the run goes on with --resume. The last snapshot and the rows must be the same bytes.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from engine.recording.failures import path_from_here
from engine.runner.checkpoint import checkpoints, moment

REPOSITORY = Path(__file__).resolve().parents[2]
SCENE = ("scenes/motion_tracking.py", "--robot", "humanoid", "--num-envs", "16", "--learning.hidden", "32", "--no-film")
LOGS = ("metrics.jsonl", "failures.jsonl")
PATIENCE = 120.0  # seconds without a new row that mean that something is stuck


@attrs.frozen
class Kill:
    """One SIGKILL: what it was aimed at, what it hit, and what had to be done again."""

    aim: str  # "anywhere", "start" or "write"
    hit: str
    seconds: float  # since the process started
    iteration: int  # of the last whole row
    checkpoint: int  # iteration of the newest one, 0 without any

    @property
    def redone(self) -> int:
        """Iterations that were lost."""
        return self.iteration - self.checkpoint


def run_of(command: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    """Start a run into a folder, or go on with the one there."""
    flags = ["--resume", str(folder)] if (folder / "config.json").exists() else [*command, "--out", str(folder)]
    return subprocess.Popen(
        [sys.executable, "-m", "engine.run", *flags],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for a run; RuntimeError with what it printed when it fails."""
    _, output = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the run ended with {process.returncode}: {output}")


def last_iteration(folder: Path) -> int:
    """The iteration of the last whole row of metrics; 0 without any."""
    path = folder / "metrics.jsonl"
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    return int(json.loads(lines[-2])["iteration"]) if len(lines) > 1 else 0


def parts(folder: Path) -> list[str]:
    """Checkpoints that are being written."""
    try:
        return [name for name in os.listdir(folder / "checkpoints") if name.endswith(".lockstep.part")]
    except FileNotFoundError:
        return []


def wait(process: subprocess.Popen[str], until: Callable[[], bool], pause: float, limit: float = PATIENCE) -> bool:
    """Whether something came true before the process ended or the time was over."""
    end = time.monotonic() + limit
    while not until():
        if process.poll() is not None or time.monotonic() > end:
            return False
        if pause:
            time.sleep(pause)
    return True


def kill_once(
    command: Sequence[str], folder: Path, aim: str, target: int, every: int, rng: random.Random
) -> Kill | None:
    """Start or go on, and kill near iteration `target`; None when the run ended before.

    A write is aimed at by watching for a row that a checkpoint follows, and then for the .part file.
    """
    start = time.monotonic()
    process = run_of(command, folder)
    before = last_iteration(folder)
    if aim == "start":
        wait(process, lambda: False, 0.01, rng.uniform(0.0, 3.0))
    else:
        reached = max(target, 1)
        if wait(process, lambda: last_iteration(folder) >= reached and _progress(folder, before), 0.02):
            if aim == "write":
                wait(process, lambda: last_iteration(folder) % every == every - 1 or bool(parts(folder)), 0.002)
                wait(process, lambda: bool(parts(folder)), 0.0, 30.0)
            else:
                wait(process, lambda: False, 0.002, rng.uniform(0.0, 0.6))
    if process.poll() is not None:
        finish(process)
        return None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    newest = checkpoints(folder)
    return Kill(
        aim,
        what_was_hit(folder),
        time.monotonic() - start,
        last_iteration(folder),
        moment(newest[0])[0] if newest else 0,
    )


def _progress(folder: Path, before: int) -> bool:
    """Rows are cut when a run goes on, so that the same number of rows may be old or new; a running one has a lock."""
    return last_iteration(folder) != before or before == 0


def what_was_hit(folder: Path) -> str:
    """In the middle of what a run was, by what it left."""
    if not (folder / "config.json").exists():
        return "before the configuration"
    if parts(folder):
        return "write of a checkpoint"
    metrics = folder / "metrics.jsonl"
    if metrics.exists() and not metrics.read_bytes().endswith(b"\n"):
        return "write of a row"
    if list(folder.rglob("*.part")):
        return "write of another file"
    return "between writes" if checkpoints(folder) else "before the first checkpoint"


def kill_often(
    command: Sequence[str],
    folder: Path,
    *,
    kills: int,
    inside: int,
    early: int,
    iterations: int,
    every: int,
    seed: int,
    tell: Callable[[Kill], None] = lambda kill: None,
) -> list[Kill]:
    """Kill a run `kills` times, `inside` of them in a write and `early` while starting, and let it end."""
    rng = random.Random(seed)
    aims = ["write"] * inside + ["start"] * early + ["anywhere"] * (kills - inside - early)
    rng.shuffle(aims)
    done: list[Kill] = []
    while len(done) < kills:
        target = int((len(done) + rng.random()) / kills * (iterations - every))
        missing = inside - sum(kill.hit == "write of a checkpoint" for kill in done)
        aim = "write" if missing >= kills - len(done) else aims[len(done)]
        kill = kill_once(command, folder, aim, target, every, rng)
        if kill is None:
            break
        done.append(kill)
        tell(kill)
    newest = checkpoints(folder)
    if not newest or moment(newest[0])[0] < iterations:
        finish(run_of(command, folder))
    return done


def differences(whole: Path, killed: Path) -> list[str]:
    """Files that differ between the two runs: the last snapshot, the logs, and which checkpoint is the best."""
    last = checkpoints(whole)[0].name
    names = [f"checkpoints/{last}", *(name for name in LOGS if (whole / name).exists() or (killed / name).exists())]
    differ = [name for name in names if _bytes(whole / name) != _bytes(killed / name)]
    best = [os.path.realpath(folder / "checkpoints/best.lockstep") for folder in (whole, killed)]
    return differ + ["checkpoints/best.lockstep"] * (Path(best[0]).name != Path(best[1]).name)


def _bytes(path: Path) -> bytes:
    """A file, with the run folder, which failures.jsonl spells in its lines to paste, as RUN."""
    data = path.read_bytes() if path.exists() else b""
    return (
        data.replace(f"replay {path_from_here(path.parent)} ".encode(), b"replay RUN ")
        if path.suffix == ".jsonl"
        else data
    )


def main() -> int:
    """Print the kills and whether the two runs are the same; the exit status says so too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"kills": 24, "inside": 6, "early": 3, "seed": 0, "iterations": 60, "every": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--folder", type=Path, default=None, help="keep the two runs here")
    given = parser.parse_args()
    place = given.folder or Path(tempfile.mkdtemp(prefix="kill-"))
    command = [*SCENE, "--iterations", str(given.iterations), "--checkpoint-every", str(given.every)]
    finish(run_of(command, place / "whole"))
    print(f"{'kill':>4}  {'aimed at':<9} {'hit':<28} {'after s':>7} {'iteration':>9} {'checkpoint':>10} {'redone':>6}")
    count = 0

    def tell(kill: Kill) -> None:
        nonlocal count
        count += 1
        numbers = f"{kill.seconds:>7.1f} {kill.iteration:>9} {kill.checkpoint:>10} {kill.redone:>6}"
        print(f"{count:>4}  {kill.aim:<9} {kill.hit:<28} {numbers}", flush=True)

    kills = kill_often(
        command,
        place / "killed",
        kills=given.kills,
        inside=given.inside,
        early=given.early,
        iterations=given.iterations,
        every=given.every,
        seed=given.seed,
        tell=tell,
    )
    differ = differences(place / "whole", place / "killed")
    hits = {hit: sum(kill.hit == hit for kill in kills) for hit in sorted({kill.hit for kill in kills})}
    print(f"{len(kills)} kills: " + ", ".join(f"{number} {hit}" for hit, number in hits.items()))
    print(f"iterations redone: {sum(kill.redone for kill in kills)} of {given.iterations}")
    print(f"identical: {'no, these differ: ' + ', '.join(differ) if differ else 'yes'}")
    if given.folder is None:
        shutil.rmtree(place)
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
