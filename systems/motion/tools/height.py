"""Lowers or raises each clip until its lowest foot meets the floor, as --clip-height auto does when it is loaded.

A slow drift is taken away; jumps stay as high as they are.
"""

import argparse

from systems.motion.tools.fitted import add_clips, fitted
from systems.motion.tools.output import add_output, write_clips


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lockstep clips height`."""
    add_clips(parser, many=True, height=False)
    parser.set_defaults(clip_height="auto")
    add_output(parser)


def run(options: argparse.Namespace) -> int:
    """Write clips whose feet are on the floor."""
    return write_clips(fitted(options), options)
