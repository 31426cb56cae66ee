"""What is written says everything that it takes to read it: rate, names of joints, units, order of quaternions.

npz  what mjlab and BeyondMimic load: joints, and place and speed of every body, computed from the joints;
       mjlab wants bodies depth first, BeyondMimic in Isaac Lab --breadth-first, and neither looks at names
csv  a line a frame: time, root, quaternion w x y z, joints; the first line names them
pkl  what ASAP and PHC load: {clip: {root_trans_offset, root_rot x y z w, dof, pose_aa, fps}}; it holds many clips
"""

import argparse
from functools import partial

from systems.motion.tools.fitted import add_clips, fitted
from systems.motion.tools.output import add_output, write_clips
from systems.motion.tools.resample import at_rate, frame_rate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lockstep clips convert`."""
    add_clips(parser, many=True)
    parser.add_argument(
        "--fps", metavar="RATE", help="resample first, such as 50fps; the clip's own rate when left out"
    )
    parser.add_argument(
        "--breadth-first",
        action="store_true",
        help="count joints and bodies of an npz as PhysX does, for BeyondMimic in Isaac Lab; mjlab counts depth first",
    )
    add_output(parser)


def run(options: argparse.Namespace) -> int:
    """Write clips in another layout."""
    if options.fps is None:
        found = fitted(options)
    else:
        found = fitted(options, after=partial(at_rate, fps=frame_rate(options.fps)))
    return write_clips(found, options, breadth_first=options.breadth_first)
