"""A range is written in frames, 10-250 (from 1, both included), or in seconds, 1.5s-4s; either end may be left out.

What is cut away is not verified, so that a clip can be mended by cutting.
"""

import argparse
import math
import re
from functools import partial

import attrs
import numpy as np

from components.motion import Clip
from engine.errors import SceneError
from systems.motion.tools.fitted import add_clips, fitted
from systems.motion.tools.output import add_output, write_clips

_RANGE = re.compile(r"(?P<first>\d+(?:\.\d+)?s?)?-(?P<last>\d+(?:\.\d+)?s?)?")
_EDGE = 1e-6  # of a frame: how far a moment may miss one to mean it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lockstep clips cut`."""
    add_clips(parser, many=False)
    parser.add_argument("range", metavar="RANGE", help="frames as 10-250, or seconds as 1.5s-4s")
    add_output(parser)


def run(options: argparse.Namespace) -> int:
    """Write a part of each clip."""
    return write_clips(fitted(options, before=partial(cut, text=options.range)), options)


def cut(clip: Clip, text: str) -> Clip:
    """The frames that a range such as '10-250', '1.5s-4s' or '2s-' names; SceneError where it names fewer than two."""
    first, last = _frames(clip, text)
    if not 1 <= first < last <= clip.num_frames:
        raise SceneError(
            f"{text} is frames {first} to {last} of {clip.title}, which has 1 to {clip.num_frames} "
            f"(0s to {clip.seconds:.2f}s). Name two frames or more of those."
        )
    arrays = {
        field.name: getattr(clip, field.name)[first - 1 : last]
        for field in attrs.fields(Clip)
        if isinstance(getattr(clip, field.name), np.ndarray)
    }
    return attrs.evolve(clip, **arrays)


def _frames(clip: Clip, text: str) -> tuple[int, int]:
    match = _RANGE.fullmatch(text)
    ends = [match["first"], match["last"]] if match else []
    given = [end for end in ends if end]
    seconds = [end.endswith("s") for end in given]
    if not given or any(seconds) != all(seconds) or any("." in end for end in given if not end.endswith("s")):
        raise SceneError(
            f"'{text}' is no range. Write frames as 10-250 or seconds as 1.5s-4s; either end may be left out."
        )
    first, last = (end.rstrip("s") if end else None for end in ends)
    if not all(seconds):
        return int(first or 1), int(last or clip.num_frames)
    start = 1 if first is None else math.ceil(float(first) * clip.fps - _EDGE) + 1
    end = clip.num_frames if last is None else math.floor(float(last) * clip.fps + _EDGE) + 1
    return start, end
