"""`python -m engine.curve`: learning curves of one run or several in one picture. The code is in `engine.runner`."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the learning curves of runs of one scene together."""
    from engine.runner.plot import main as plot

    return plot(arguments)


if __name__ == "__main__":
    sys.exit(main())
