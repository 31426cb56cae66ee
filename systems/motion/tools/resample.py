"""Positions and joints are blended linearly, the rotation of the root along the great circle. A rate is written 50fps.

The first frame stays where it is; the last one is the last that fits into the clip's length.
"""

import argparse
import re
from functools import partial

import attrs

from engine.errors import SceneError
from systems.motion.kinematics import resample
from systems.motion.tools.fitted import FittedClip, add_clips, fitted
from systems.motion.tools.output import add_output, write_clips

SLOWEST, FASTEST = 1.0, 1000.0  # frames per second


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lockstep clips resample`."""
    add_clips(parser, many=False)
    parser.add_argument("rate", metavar="RATE", help="such as 50fps")
    add_output(parser)


def run(options: argparse.Namespace) -> int:
    """Write clips at another frame rate."""
    fps = frame_rate(options.rate)
    return write_clips(fitted(options, after=partial(at_rate, fps=fps)), options)


def frame_rate(text: str) -> float:
    """Frames per second out of '50fps' or '50'; SceneError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(?:fps)?", text)
    if match is None or not SLOWEST <= float(match[1]) <= FASTEST:
        raise SceneError(f"'{text}' is no frame rate from {SLOWEST:g} to {FASTEST:g}. Write it like 50fps.")
    return float(match[1])


def at_rate(found: FittedClip, fps: float) -> FittedClip:
    """A clip at another rate; SceneError where it is too short for two frames of it."""
    clip = resample(found.clip, fps)
    if clip.num_frames < 2:
        raise SceneError(
            f"{found.clip.title} lasts {found.clip.seconds:.3f} s, which is less than two frames at {fps:g} per second. "
            "Take a higher rate."
        )
    return attrs.evolve(found, clip=clip)
