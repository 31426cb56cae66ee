"""How well evidence tells what the numbers of a bare table mean.

    nice python -m benchmarks.clip_evidence [--data FOLDER] [--every 1] [--processes 2] [--orders]

Takes our built-in clips and every clip under FOLDER, turns each about the vertical by 0, 15, … 345°, writes it as a CSV
without a header in wxyz and in xyzw, at 30, 50, 60 and 120 frames per second, whole and in windows of 2, 5 and 10 s, and
reads it back as a user's file. A case is right when the motion comes back, refused when two readings are about as
likely, and wrong otherwise. `--orders` writes joints in every published order instead. `--every 7` takes each 7th case.
"""

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import product
from pathlib import Path

import attrs
import numpy as np
import torch

from components.motion import Clip
from engine.errors import SceneError
from scenes import robots
from systems.maths import quaternion
from systems.maths.rotation import rotate, yawed
from systems.motion.check import verify_clip
from systems.motion.clips import BUILT_IN, make_clip
from systems.motion.files import read_clips
from systems.motion.joint_orders import PUBLISHED
from systems.motion.kinematics import resample
from systems.robots.model import RobotModel, build_robot

RATES = (30.0, 50.0, 60.0, 120.0)
WINDOWS = (0.0, 2.0, 5.0, 10.0)  # s; 0 is the whole clip
HEADINGS = tuple(range(0, 360, 15))  # degrees
ORDERS = ("wxyz", "xyzw")
G1 = {29: "g1", 23: "g1_23dof"}


@attrs.frozen
class BareTable:
    """A motion and how it is written into a table without a header."""

    clip: Clip  # as it should be read
    rotation: str
    window: float  # s
    heading: int  # degrees
    columns: tuple[int, ...] = ()  # of the robot's joints, in the order of the table; () for all
    joints: str = ""  # the order's word


@cache
def model_of(joints: int) -> RobotModel:
    """The G1 with so many joints."""
    return build_robot(robots.load(G1[joints]))


def sound_clips(folder: Path | None) -> list[Clip]:
    """Our built-in clips, and those under a folder, in their robot's joints."""
    model = model_of(29)
    clips = [make_clip(name, model.robot, model) for name in BUILT_IN]
    for file in sorted(folder.rglob("*")) if folder else ():
        if file.suffix in (".pkl", ".csv", ".npz"):
            for clip in read_clips(str(file)):
                assert isinstance(clip, Clip)
                own = model_of(clip.dof_position.shape[1])
                clips.append(verify_clip(clip, own.robot, own)[0])
    return clips


def turned(clip: Clip, degrees: int) -> Clip:
    """A clip turned about the vertical."""
    turn = np.tile(yawed(np.deg2rad(np.array(float(degrees)))), (clip.num_frames, 1))
    rotation = quaternion.multiply(torch.from_numpy(turn), torch.from_numpy(clip.root_rotation)).numpy()
    return attrs.evolve(clip, root_position=rotate(turn, clip.root_position), root_rotation=rotation)


def tables(clip: Clip) -> Iterator[BareTable]:
    """A clip in every heading, rate, window and quaternion order."""
    bare = attrs.evolve(clip, body_names=None, body_position=None, body_rotation=None, dof_velocity=None)
    for fps, window in product(RATES, WINDOWS):
        at_rate = resample(bare, fps)
        for piece in _pieces(at_rate, window):
            for heading, rotation in product(HEADINGS, ORDERS):
                yield BareTable(turned(piece, heading), rotation, window, heading)


def _pieces(clip: Clip, window: float) -> Iterator[Clip]:
    size = round(window * clip.fps) if window else clip.num_frames
    for first in range(0, clip.num_frames - size + 1, size) if size < clip.num_frames or not window else ():
        rows = slice(first, first + size)
        yield attrs.evolve(
            clip,
            root_position=clip.root_position[rows],
            root_rotation=clip.root_rotation[rows],
            dof_position=clip.dof_position[rows],
        )


def tables_in_orders(clip: Clip) -> Iterator[BareTable]:
    """A clip in every published joint order that its joints fill, at 30 frames per second and four headings."""
    own = model_of(clip.dof_position.shape[1]).robot.dof_names
    bare = attrs.evolve(clip, body_names=None, body_position=None, body_rotation=None, dof_velocity=None)
    at_rate = resample(bare, RATES[0])
    for order, window in product(PUBLISHED, WINDOWS):
        if any(name not in own for name in order.names):
            continue
        columns = tuple(own.index(name) for name in order.names)
        for piece, heading in product(_pieces(at_rate, window), (0, 90, 180, 270)):
            kept = np.zeros_like(piece.dof_position)
            kept[:, columns] = piece.dof_position[:, columns]
            whole = attrs.evolve(piece, dof_position=kept)
            yield BareTable(turned(whole, heading), ORDERS[heading // 90 % 2], window, heading, columns, order.word)


def verdict(table: BareTable, path: Path) -> tuple[str, str]:
    """Whether a table is read rightly ("right", "refused", "wrong"), and whether its rate is right, reported as assumed, or wrong."""
    clip, model = table.clip, model_of(table.clip.dof_position.shape[1])
    rotation = np.roll(clip.root_rotation, -1, -1) if table.rotation == "xyzw" else clip.root_rotation
    angles = clip.dof_position[:, table.columns] if table.columns else clip.dof_position
    np.savetxt(path, np.concatenate((clip.root_position, rotation, angles), 1), fmt="%.6f", delimiter=",")
    (raw,) = read_clips(str(path))
    assert isinstance(raw, Clip)
    try:
        found, findings = verify_clip(raw, model.robot, model)
    except SceneError as error:
        return ("refused" if "does not say how it is written, and" in str(error) else f"wrong: {error}"), ""
    same = np.abs((found.root_rotation * clip.root_rotation).sum(-1)).min() > 1.0 - 1e-4
    near = np.abs(found.dof_position - clip.dof_position).max() < 1e-4
    assumed = any(f"{RATES[0]:g} frames per second are assumed" in line for line in findings)
    rate = "right" if found.fps == clip.fps else "reported" if assumed else "wrong"
    return ("right" if same and near else "wrong"), rate


def judged(job: tuple[Clip, int, bool]) -> list[tuple[str, float, float, int, str, str, str, str]]:
    """(clip, rate, window, heading, order, joints, verdict, verdict on the rate) of each case of one clip."""
    clip, every, orders = job
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bare.csv"
        for number, table in enumerate(tables_in_orders(clip) if orders else tables(clip)):
            if number % every == 0:
                found = verdict(table, path)
                head = (clip.name, table.clip.fps, table.window, table.heading, table.rotation, table.joints)
                rows.append((*head, *found))
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("LOCKSTEP_DATA", "../shared/data")) / "motions"
    )
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--orders", action="store_true")
    c = parser.parse_args()
    clips = sound_clips(c.data if c.data.is_dir() else None)
    with ProcessPoolExecutor(c.processes) as pool:
        rows = [row for found in pool.map(judged, [(clip, c.every, c.orders) for clip in clips]) for row in found]
    print(f"{len(clips)} clips, {len(rows)} cases")
    for title, column in (("frames per second", 1), ("window, s", 2), ("quaternions", 4), ("joints", 5)):
        print(
            f"\n{title:>22} {'cases':>8} {'right':>8} {'refused':>8} {'wrong':>6} {'right %':>8}   rate: right / reported / wrong"
        )
        for value in sorted({row[column] for row in rows}, key=str):
            _print_row(str(value), [row for row in rows if row[column] == value])
    _print_row("all", rows)
    print("\nrefused:", Counter(row[0] for row in rows if row[6] == "refused").most_common())
    for row in rows:
        if row[6] != "right":
            print(*row)


def _print_row(title: str, rows: list[tuple[str, float, float, int, str, str, str, str]]) -> None:
    count = Counter(row[6].split(":")[0] for row in rows)
    rate = Counter(row[7] for row in rows)
    print(
        f"{title:>22} {len(rows):8d} {count['right']:8d} {count['refused']:8d} {count['wrong']:6d} "
        f"{100.0 * count['right'] / len(rows):8.2f}   {rate['right']} / {rate['reported']} / {rate['wrong']}"
    )


if __name__ == "__main__":
    main()
