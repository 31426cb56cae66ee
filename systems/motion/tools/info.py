"""Says how each file was read, and who fixed what: the file, an option after its name, or nobody (assumed).

Where the clip fits the robot, travel and speeds follow; where it does not, the reason. Many clips get a line each.
"""

import argparse
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
import numpy as np

from components.motion import Clip, Fact, Origin
from systems.motion.joint_orders import PUBLISHED
from systems.motion.kinematics import angular_velocity, differentiate
from systems.motion.tools.fitted import FittedClip, add_clips, made, read_all, try_all

FEW = 4  # clips that get a block each
_WHO: dict[Origin, str] = {"file": "from the file", "option": "as you said", "assumed": "assumed"}
_EVIDENCE = "(by evidence)"
_ANGLES, _LENGTHS = {"rad": 1.0, "degrees": 180.0 / np.pi}, {"m": 1.0, "cm": 100.0, "mm": 1000.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lockstep clips info`."""
    add_clips(parser, many=True)


def run(options: argparse.Namespace) -> int:
    """Print a block about each clip, or a line about each of many."""
    clips = []
    for clip in read_all(options):
        model = options.robots.model(options.robot, [clip])
        clips.append((made(clip, model), model))
    for (raw, model), result in zip(clips, try_all(clips, options.clip_height), strict=True):
        found, refusal = (FittedClip(raw, model), result) if isinstance(result, str) else (result, "")
        print("\n".join(_block(raw, found, refusal)) if len(clips) <= FEW else _row(raw, found, refusal))
    return 0


@attrs.frozen
class Measures:
    """How far and how fast a verified clip goes."""

    travel: float  # m along the floor, from first to last frame
    low: float  # m, of the root
    high: float  # m
    speed: float  # m/s, of the root
    turning: float  # rad/s, of the root
    joint: str  # the fastest
    joint_speed: float  # rad/s
    share: float  # of its limit


def measure(found: FittedClip) -> Measures:
    """How far and how fast a clip goes."""
    clip, robot = found.clip, found.model.robot
    joints = np.abs(differentiate(clip.dof_position, clip.fps))
    shares = joints / robot.velocity_limit.double().numpy()
    frame, joint = np.unravel_index(shares.argmax(), shares.shape)
    return Measures(
        travel=float(np.linalg.norm(clip.root_position[-1, :2] - clip.root_position[0, :2])),
        low=float(clip.root_position[:, 2].min()),
        high=float(clip.root_position[:, 2].max()),
        speed=float(np.linalg.norm(differentiate(clip.root_position, clip.fps), axis=-1).max()),
        turning=float(np.linalg.norm(angular_velocity(clip.root_rotation, clip.fps), axis=-1).max()),
        joint=robot.dof_names[int(joint)],
        joint_speed=float(joints[frame, joint]),
        share=float(shares[frame, joint]),
    )


def _block(raw: Clip, found: FittedClip, refusal: str) -> Iterator[str]:
    path = Path(raw.source.partition("#")[0])
    yield f"{raw.name}: {path} ({path.suffix[1:]})" if raw.source else f"{raw.name}: built in"
    yield from (f"  {name:10}{text}" for name, text in _facts(raw, found.clip))
    if refusal:
        yield from (f"  ! {text}" for text in raw.notes)
        yield f"  robot     {found.model.robot.name} cannot follow it: {refusal}"
        return
    it = measure(found)
    yield f"  robot     {found.model.robot.name}"
    yield f"  travel    {it.travel:.2f} m along the floor, root {it.low:.2f} to {it.high:.2f} m high"
    yield f"  speeds    root up to {it.speed:.2f} m/s and {it.turning:.2f} rad/s"
    yield f"            {it.joint} up to {it.joint_speed:.1f} rad/s, {100.0 * it.share:.0f} % of its limit"
    yield from (f"  ! {text}" for text in found.remarks)


def _facts(raw: Clip, clip: Clip) -> Iterator[tuple[str, str]]:
    """How a clip was read, and for one out of a file who fixed it; `clip` is what verification made of it."""

    def who(fact: Fact) -> str:
        evidence = clip is not raw and (fact != "rate" or clip.fps != raw.fps)
        return _EVIDENCE if evidence and raw.origin(fact) == "assumed" else f"({_WHO[raw.origin(fact)]})"

    length = f"{clip.seconds:.2f} s, {clip.num_frames} frames at {clip.fps:g} per second"
    yield "length", f"{length} {who('rate')}" if raw.source else length
    if raw.dof_names is not None:
        yield "joints", f"{raw.dof_position.shape[1]}, with names"
    else:
        yield "joints", f"{raw.dof_position.shape[1]}, without names{_order(raw, clip)} {who('joints')}"
    if raw.source:
        option = re.search(r":(wxyz|xyzw)\b", raw.typed)
        order = option[1] if option else clip.file_rotation
        turns = f"quaternions {order}" if order else "angles or rotation vectors, which have no order of quaternions"
        yield "root", f"{turns} {who('rotation')}"
        angle, length = (
            _unit(raw.dof_position, clip.dof_position, _ANGLES),
            _unit(raw.root_position, clip.root_position, _LENGTHS),
        )
        units: dict[Fact, str] = {"angles": angle, "lengths": length}
        sources = (
            f"in {unit} {who(fact)}" if raw.origin(fact) != "file" else "as the file says"
            for fact, unit in units.items()
        )
        yield "units", ", ".join(f"{fact} {how}" for fact, how in zip(units, sources, strict=True))
    if raw.weight != 1.0:
        yield "weight", f"{raw.weight:g}"


def _order(raw: Clip, clip: Clip) -> str:
    """In which order joints without names were taken."""
    width, word = raw.dof_position.shape[1], clip.joint_order
    label = next((each.label for each in PUBLISHED if each.word == word and len(each.names) == width), "")
    return f", in the order {label or word}" if word else ""


def _unit(raw: np.ndarray, read: np.ndarray, units: Mapping[str, float]) -> str:
    """The unit that numbers were in, by how much larger they were than what was made of them."""
    sizes = np.linalg.norm(raw), np.linalg.norm(read)
    factor = np.log(sizes[0] / sizes[1]) if all(sizes) else 0.0
    return min(units, key=lambda name: float(abs(np.log(units[name]) - factor)))


def _row(raw: Clip, found: FittedClip, refusal: str) -> str:
    clip = found.clip
    start = f"{raw.name}: {clip.seconds:.2f} s at {clip.fps:g} per second, {raw.dof_position.shape[1]} joints"
    if refusal:
        return f"{start}; {found.model.robot.name} cannot follow it: {refusal}"
    it = measure(found)
    count = len(found.warnings)
    noticed = f"; {count} warning{'s' if count > 1 else ''}" if count else ""
    noticed += "".join(f"\n  ! {text}" for text in found.decided)
    return f"{start}, {it.travel:.2f} m, root up to {it.speed:.2f} m/s, joints up to {100.0 * it.share:.0f} % of a limit{noticed}"
