"""`python -m engine.curve`: learning curves of one run or several in one picture; see `engine.runner.plot`."""

import sys

from engine.runner.plot import main

if __name__ == "__main__":
    sys.exit(main())
