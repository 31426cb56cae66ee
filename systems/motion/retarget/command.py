"""What is named is a BVH file, a folder of them, `cmu` for all motions of the data package, or one as cmu:CMU_016_22;
some of its frames as walk.bvh:100-250.

A table says of every clip how fast feet slide while they stand, how deep they sink, how near the joints come to their
motors' speed, and in how much of the time the floor pushes within the soles. A clip with a fault is not written.
"""

import argparse
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import attrs

from engine.errors import SceneError, did_you_mean
from systems.motion.retarget.bones import SUFFIX, read_bones, read_human
from systems.motion.retarget.cmu import PREFIX, cmu_motion, cmu_motions
from systems.motion.retarget.human import AXES, UNITS, HumanMotion
from systems.motion.retarget.make import FPS, Retargeted, retarget
from systems.motion.retarget.solve import need_mink
from systems.motion.tools.fitted import FittedClip, KnownRobots
from systems.motion.tools.output import add_output, write_clips
from systems.motion.unfit import Unfit

FEW = 4  # motions; more are worth processes of their own
_FRAMES = re.compile(r"(?P<name>.+?):(?P<first>\d*)-(?P<last>\d*)")
_HEAD = f"{'clip':24} {'s':>6} {'slide cm/s':>12} {'sink cm':>8} {'speed':>6} {'balance':>8}  verdict"


class _List(argparse.Action):
    """Prints the motions of the data package, and ends."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        for name, motion in cmu_motions().items():
            frames = len(motion.points)
            print(f"{PREFIX}{name}  {(frames - 1) / motion.fps:5.1f} s, {frames} frames at {motion.fps:.4g} per second")
        parser.exit()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lockstep clips retarget`."""
    parser.add_argument("motions", nargs="+", metavar="MOTION", help="a BVH file, a folder of them, cmu or cmu:NAME")
    parser.add_argument("--list", action=_List, nargs=0, help="print the motions that cmu: knows")
    parser.add_argument("--robot", default="auto", help="a robot by name, an MJCF file, or auto: the G1")
    parser.add_argument("--fps", type=float, default=FPS, metavar="RATE", help="frames per second of the clips; 50")
    parser.add_argument("--unit", choices=UNITS, help="of the lengths in BVH files; found by the legs when left out")
    parser.add_argument(
        "--up", choices=AXES, help="axis of BVH files, as --up=-y where it points down; found by the shoulders"
    )
    parser.add_argument("--bones", type=Path, metavar="FILE", help='JSON such as {"left_hip": "LThigh"}')
    parser.add_argument("--jobs", type=int, metavar="COUNT", help="processes; as many as cores for more than 4 motions")
    parser.add_argument("--skip-unfit", action="store_true", help="leave out clips with a fault and write the others")
    add_output(parser)


def run(options: argparse.Namespace) -> int:
    """Make clips of a robot out of human motion."""
    need_mink()
    name = options.robots.fitting([]) if options.robot == "auto" else options.robot
    model = options.robots.model(name, [])
    humans = read_motions(
        options.motions, unit=options.unit, up=options.up, bones=options.bones, skip_unfit=options.skip_unfit
    )
    print(_HEAD)
    every = []
    for made in _made(humans, options.robots, name, options.fps, options.jobs):
        print(table_row(made), flush=True)
        every.append(made)
    sound = [FittedClip(made.clip, model) for made in every if not made.findings]
    faults = [fault for made in every for fault in made.findings]
    for made in every:
        if made.notes:
            print(f"{made.clip.source}: {'; '.join(made.notes)}.")
    for fault in faults:
        print(f"  ! {fault}")
    if faults and (not options.skip_unfit or not sound):
        cure = "Add --skip-unfit to write the others." if sound else "Try another motion, or another robot."
        raise SceneError(f"{len(humans) - len(sound)} of {len(humans)} clips are not sound, so none is written. {cure}")
    return write_clips(sound, options)


def table_row(made: Retargeted) -> str:
    """A line of the table."""
    q = made.quality
    return (
        f"{made.clip.name:24} {made.clip.seconds:6.1f} {100 * q.slide:5.1f} / {100 * q.slide_most:4.1f} "
        f"{100 * q.sink:8.1f} {100 * q.speed:5.0f}% {100 * q.balanced:7.0f}%  "
        f"{'sound' if not made.findings else 'unfit'}"
    )


def read_motions(
    names: Sequence[str],
    *,
    unit: str | None = None,
    up: str | None = None,
    bones: Path | None = None,
    skip_unfit: bool = False,
) -> list[HumanMotion]:
    """The human motions that are named.

    Raises SceneError for one that is not there, and one that lists all that cannot be read; with `skip_unfit` these are left
    out with a warning.
    """
    given = None if bones is None else read_bones(bones)
    found: list[HumanMotion] = []
    unfit = Unfit(skip=skip_unfit)
    for words in names:
        cut = None if Path(words).exists() else _FRAMES.fullmatch(words)
        name = cut["name"] if cut else words
        if name == PREFIX.rstrip(":"):
            motions = list(cmu_motions().values())
        elif name.startswith(PREFIX):
            motions = [cmu_motion(name.removeprefix(PREFIX))]
        else:
            motions = []
            for path in _files(name):
                with unfit.caught():
                    motions.append(read_human(path, unit=unit, up=up, bones=given))
        found += [_cut(motion, cut["first"], cut["last"]) for motion in motions] if cut else motions
    unfit.settle(len(found))
    return found


def _cut(human: HumanMotion, first: str, last: str) -> HumanMotion:
    """Frames `first` to `last` of a motion, counted from 1, both included; all before or after where one is ''."""
    count = len(human.points)
    begin, end = int(first or 1), int(last or count)
    if not 1 <= begin < end <= count:
        raise SceneError(
            f"Frames {first}-{last} of {human.source} cannot be cut out: it has frames 1 to {count}, and a motion needs "
            "two or more."
        )
    return attrs.evolve(human, name=f"{human.name}_{begin}-{end}", points=human.points[begin - 1 : end])


def _files(name: str) -> list[Path]:
    place = Path(name).expanduser()
    if place.is_dir():
        files = sorted(p for p in place.rglob("*") if p.suffix.lower() == SUFFIX)
        if not files:
            raise SceneError(f"Folder {name} holds no human motion; such a file ends in {SUFFIX}.")
        return files
    if not place.is_file():
        near = [file.name for file in place.parent.iterdir()] if place.parent.is_dir() else []
        raise SceneError(
            f"There is no human motion {name}: it is no file or folder, nor {PREFIX.rstrip(':')} or {PREFIX}NAME."
            f"{did_you_mean(place.name, near)}"
        )
    if place.suffix.lower() != SUFFIX:
        raise SceneError(
            f"{name} ends in '{place.suffix}', but human motion is read from {SUFFIX} files. SMPL, AMASS and FBX files can "
            "be exported as such, from Blender for one. A clip that is a robot's already is written in another layout by: "
            f"lockstep clips convert {name} --out FILE"
        )
    return [place]


def _made(
    humans: Sequence[HumanMotion], robots: KnownRobots, name: str, fps: float, jobs: int | None
) -> Iterator[Retargeted]:
    """The clips in the order of the motions."""
    if jobs is not None and jobs < 1:
        raise SceneError(f"--jobs {jobs} processes cannot work; 1 or more can.")
    jobs = jobs or (os.cpu_count() or 1 if len(humans) > FEW else 1)
    if min(jobs, len(humans)) == 1:
        yield from (retarget(human, robots.model(name, []), fps=fps) for human in humans)
        return
    empty = KnownRobots(robots.load, robots.fitting)
    with ProcessPoolExecutor(min(jobs, len(humans)), get_context("spawn"), _begin, (empty, name)) as pool:
        yield from pool.map(partial(_one, fps=fps), humans)


_WORKER: dict[str, Any] = {}


def _begin(robots: KnownRobots, name: str) -> None:
    _WORKER["model"] = robots.model(name, [])


def _one(human: HumanMotion, fps: float) -> Retargeted:
    return retarget(human, _WORKER["model"], fps=fps)
