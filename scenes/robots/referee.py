"""The command `lockstep referee`, which knows the robots of this package."""

import sys
from collections.abc import Sequence

from scenes.robots import load
from systems.referee.command import run_referee


def main(arguments: Sequence[str] | None = None) -> int:
    """Play policies of this and of other projects under one protocol, and compare them in one table."""
    return run_referee(sys.argv[1:] if arguments is None else arguments, load)
