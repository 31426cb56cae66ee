"""Time and memory of reading and checking many frames, or many clips.

    python -m benchmarks.clip_speed [--minutes 30] [--clips 1000] [--seconds 10]

Writes tables without headers from our own clips, one of so many minutes and a folder of so many clips, and measures
`read_clips` and `build_library` in a process each: wall-clock and processor seconds, and the most memory resident.
"""

import argparse
import logging
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from scenes import robots
from systems.motion.clips import BUILT_IN, make_clip
from systems.motion.files import read_clips
from systems.motion.kinematics import resample
from systems.motion.library import build_library
from systems.robots.model import build_robot

FPS = 30.0


def write_table(path: Path, names: tuple[str, ...], frames: int) -> None:
    """A bare CSV of built-in clips there and back again, as often as it takes for so many frames."""
    model = build_robot(robots.load("g1"))
    parts: list[np.ndarray] = []
    for name in names:
        clip = resample(make_clip(name, model.robot, model), FPS)
        table = np.concatenate((clip.root_position, clip.root_rotation, clip.dof_position), 1)
        parts += [table, table[::-1]] if not parts or np.allclose(parts[-1][-1], table[0], atol=0.05) else []
    table = np.concatenate(parts)
    rows = np.resize(np.arange(len(table)), frames)
    lines = np.array([",".join(f"{x:.6f}" for x in row) for row in table])
    path.write_text("\n".join(lines[rows]) + "\n", encoding="ascii")


def measure(spec: str) -> None:
    """Read and check what `spec` names, and print what it took."""
    logging.disable(logging.WARNING)
    started, processor = time.perf_counter(), time.process_time()
    clips = read_clips(spec)
    reading = time.perf_counter() - started
    model = build_robot(robots.load("g1"))
    library = build_library(clips, model.robot, model)
    seconds, used = time.perf_counter() - started, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    print(
        f"{len(clips):5d} clips, {len(library.vectors):7d} frames at 50 fps: {seconds:5.1f} s ({reading:.1f} s reading, "
        f"{used:.1f} s of processor), {peak:5.0f} MB at most"
    )


def main() -> None:
    """Print both measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10.0)
    c = parser.parse_args()
    fresh = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        one, many = Path(folder) / "long.csv", Path(folder) / "many"
        many.mkdir()
        write_table(one, BUILT_IN, round(60.0 * c.minutes * FPS))
        write_table(many / "0.csv", BUILT_IN, round(c.seconds * FPS))
        for number in range(1, c.clips):
            (many / f"{number}.csv").write_bytes((many / "0.csv").read_bytes())
        for spec in (one, many):
            process = fresh.Process(target=measure, args=(str(spec),))
            process.start()
            process.join()


if __name__ == "__main__":
    main()
