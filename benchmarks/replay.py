"""Failed episodes of a finished run, re-created: their columns must be those that were logged, bit for bit.

    python -m benchmarks.replay [--episodes 20] [--num-envs 512] [--iterations 40] [--folder F]

Trains the tracking scene from scratch with --record, takes failures spread over the run, of recorded rows as far as
there are enough, and replays them. Compared are every traced column of the last tick with failures.rec and, for
recorded rows, of every tick that the recorder still had.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import attrs
import numpy as np

from components.observation import FinalObservation
from engine.protocol.framing import column_ids, unpack_array
from engine.recording.failures import FRAMES
from engine.recording.file import END, TERMINAL, Recording
from engine.runner.replay import EpisodeReplay, LoggedFailure, RunReplay
from engine.runner.replay_command import open_replay

REPOSITORY = Path(__file__).resolve().parents[1]


@attrs.frozen
class Comparison:
    """How an episode compares with the log: ticks and numbers that were compared, and addresses that differ."""

    ticks: int
    numbers: int
    different: tuple[str, ...]


def counts(address: str, episode: EpisodeReplay, place: int) -> bool:
    """Whether a column holds anything at that sample: a final observation is the row's own only where it is cut off."""
    table, component, _ = address.split(".")
    return component != FinalObservation.__name__ or bool(episode.columns[f"{table}.Done.truncated"][place])


def compare(recording: Recording, episode: EpisodeReplay, failure: LoggedFailure) -> Comparison:
    """Every sample of failures.rec that is about this failure against the re-created episode."""
    names = {number: address for address, number in column_ids(recording.schema).items()}
    ticks: set[int] = set()
    numbers, different = 0, dict[str, None]()
    for message in recording.of("data"):
        if message["sub"] not in ("failure", "episode") or message["rows"] != [failure.row]:
            continue
        at, moment = unpack_array(message["at"]), unpack_array(message["moment"])
        if int(at[-1]) != failure.tick:
            continue
        for sample, (tick, when) in enumerate(zip(at.tolist(), moment.tolist(), strict=True)):
            if when != (TERMINAL if tick == failure.tick else END):
                continue
            place = int(np.flatnonzero(episode.ticks == tick)[0])
            ticks.add(tick)
            for number, *array in message["cols"]:
                if not counts(names[number], episode, place):
                    continue
                logged, made = unpack_array(array)[sample, 0], episode.columns[names[number]][place]
                numbers += logged.size
                if logged.tobytes() != np.asarray(made, logged.dtype).tobytes():
                    different[f"{names[number]} at tick {tick}"] = None
    return Comparison(len(ticks), numbers, tuple(different))


def choose(past: RunReplay, count: int, recorded: set[int]) -> list[LoggedFailure]:
    """`count` failures spread over the run, of recorded rows as far as there are enough of them."""
    own = [failure for failure in past.failures if failure.row in recorded]
    pool = own if len(own) >= count else past.failures
    return [pool[i * len(pool) // count] for i in range(min(count, len(pool)))]


def main() -> int:
    """Run and print; 1 when anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--num-envs", type=int, default=512)
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--every", type=int, default=10, help="iterations between checkpoints")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary) / "run"
        if not folder.exists():
            command = [sys.executable, "-m", "engine.run", "scenes/motion_tracking.py", "--no-film", "--record", "0-63"]
            command += ["--num-envs", str(given.num_envs), "--iterations", str(given.iterations), "--keep", "1000"]
            command += ["--checkpoint-every", str(given.every), "--out", str(folder.absolute())]
            subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
        past, _ = open_replay(folder, print)
        chosen = choose(past, given.episodes, set(range(64)))
        start = time.perf_counter()
        episodes = past.episodes([(failure.row, failure.tick) for failure in chosen])
        seconds = time.perf_counter() - start
        recording = Recording.open(folder / FRAMES)
    print(f"{len(past.failures)} failures logged; {len(chosen)} replayed in {seconds:.0f} s")
    print(f"{'tick':>6} {'row':>4} {'ticks':>6} {'alone':>6} {'compared':>9} {'numbers':>10}  same")
    bad = 0
    for failure, episode in zip(chosen, episodes, strict=True):
        seen = compare(recording, episode, failure)
        same = not seen.different and episode.digest == failure.digest and seen.ticks > 0
        bad += not same
        print(
            f"{failure.tick:>6} {failure.row:>4} {len(episode.ticks):>6} {episode.alone:>6} {seen.ticks:>9} "
            f"{seen.numbers:>10,}  {'yes' if same else 'NO: ' + ', '.join(seen.different[:3])}"
        )
    print("all identical" if not bad else f"{bad} of {len(chosen)} differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
