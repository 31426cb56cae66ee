"""`python -m engine.replay`: list the failures of a run, and see any of them again. The code is in `engine.runner`."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """List the failures of a run, or see any of its episodes again."""
    from engine.runner.replay_command import main as replay

    return replay(arguments)


if __name__ == "__main__":
    sys.exit(main())
