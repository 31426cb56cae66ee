"""Time and memory of reading and checking many frames, or many clips.

    python -m benchmarks.clip_speed [--minutes 30] [--clips 500] [--seconds 10] [--like FOLDER --robot g1_23dof]

Writes files from our own clips: a table without header of so many minutes, a folder of so many such tables, and one of
as many npz files at 50 fps with the poses of all bodies, as mjlab has them. With --like, instead, as many pickles of ASAP's
layout from the clips of a folder, which go there and back again and of which no two have the same joints. Measures `read_clips` and `build_library` in
a process each: wall-clock and processor seconds, and the most memory resident, of which imports alone take 250 MiB.
"""

import argparse
import logging
import multiprocessing
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from components.motion import Clip
from scenes import robots
from systems.motion.check import verify_clip
from systems.motion.clips import BUILT_IN, make_clip
from systems.motion.files import read_clips
from systems.motion.kinematics import resample
from systems.motion.library import build_library
from systems.motion.writers import clip_bytes
from systems.robots.model import RobotModel, build_robot


def write_clip(path: Path, model: RobotModel, seconds: float, fps: float) -> None:
    """Built-in clips there and back again, as often as it takes for so many seconds: a bare CSV, or an npz with bodies."""
    parts: list[np.ndarray] = []
    for name in BUILT_IN:
        clip = resample(make_clip(name, model.robot, model), fps)
        table = np.concatenate((clip.root_position, clip.root_rotation, clip.dof_position), 1)
        parts += [table, table[::-1]] if not parts or np.allclose(parts[-1][-1], table[0], atol=0.05) else []
    table = np.concatenate(parts)
    rows = np.resize(np.arange(len(table)), round(seconds * fps))
    if path.suffix == ".npz":
        place, turn, joints = np.split(table[rows], (3, 7), 1)
        path.write_bytes(clip_bytes([Clip(path.stem, fps, place, turn, joints)], model, "npz"))
        return
    lines = np.array([",".join(f"{x:.6f}" for x in row) for row in table])
    path.write_text("\n".join(lines[rows]) + "\n", encoding="ascii")


def write_like(folder: Path, source: Path, robot: str, count: int, seconds: float) -> None:
    """So many pickles from the clips of a folder: there and back again, with joints that sway by up to 0.02 rad more."""
    model = build_robot(robots.load(robot))
    known = [verify_clip(clip, model.robot, model)[0] for clip in read_clips(str(source)) if isinstance(clip, Clip)]
    for number in range(count):
        clip = known[number % len(known)]
        frames = round(seconds * clip.fps) + 1
        way = np.r_[np.arange(clip.num_frames), np.arange(clip.num_frames - 2, 0, -1)]
        rows = np.resize(way, frames)
        phase = np.arange(frames)[:, None] / clip.fps + number
        joints = clip.dof_position[rows] + 0.02 * np.sin(phase + np.arange(clip.dof_position.shape[1]))
        made = Clip(f"clip_{number}", clip.fps, clip.root_position[rows], clip.root_rotation[rows], joints)
        (folder / f"clip_{number}.pkl").write_bytes(clip_bytes([made], model, "pkl"))


def measure(spec: str, robot: str) -> None:
    """Read and check what `spec` names, and print what it took."""
    logging.disable(logging.WARNING)
    started, processor = time.perf_counter(), time.process_time()
    clips = read_clips(spec)
    reading = time.perf_counter() - started
    model = build_robot(robots.load(robot))
    count = len(clips)
    library = build_library(clips, model.robot, model)
    seconds, used = time.perf_counter() - started, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    print(
        f"{Path(spec).name:8s} {count:5d} clips, {len(library.vectors):7d} frames at 50 fps: {seconds:5.1f} s ({reading:.1f} s reading, "
        f"{used:.1f} s of processor), {peak:5.0f} MiB at most"
    )


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--like", type=Path, metavar="FOLDER")
    parser.add_argument("--robot", default="g1")
    c = parser.parse_args()
    fresh, model = multiprocessing.get_context("spawn"), build_robot(robots.load(c.robot))
    with tempfile.TemporaryDirectory() as folder:
        if c.like:
            made = Path(folder) / "like"
            made.mkdir()
            write_like(made, c.like, c.robot, c.clips, c.seconds)
            process = fresh.Process(target=measure, args=(str(made), c.robot))
            process.start()
            process.join()
            return
        one, *many = (Path(folder) / name for name in ("long.csv", "csv", "npz"))
        write_clip(one, model, 60.0 * c.minutes, 30.0)
        for place, fps in zip(many, (30.0, 50.0), strict=True):
            place.mkdir()
            first = place / f"0.{place.name}"
            write_clip(first, model, c.seconds, fps)
            for number in range(1, c.clips):
                shutil.copy(first, place / f"{number}.{place.name}")
        for spec in (one, *many):
            process = fresh.Process(target=measure, args=(str(spec), c.robot))
            process.start()
            process.join()


if __name__ == "__main__":
    main()
