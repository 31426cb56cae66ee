"""`python -m engine.run`: train, evaluate, play, export or inspect a scene. The code is in `engine.runner`."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Train a scene, or evaluate, play, export or inspect it."""
    from engine.runner.run import main as run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
