"""The command `lockstep clips`, which knows the robots of this package."""

import sys
from collections.abc import Sequence

from scenes.robots import fitting, load
from systems.motion.tools.command import main as run_tool
from systems.motion.tools.fitted import KnownRobots


def main(arguments: Sequence[str] | None = None) -> int:
    """Look at motion clips, check, cut, mirror and convert them, or retarget human motion."""
    return run_tool(sys.argv[1:] if arguments is None else arguments, KnownRobots(load, fitting))
