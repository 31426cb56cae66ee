"""`python -m engine.run`: train, evaluate, play, export or inspect a scene; see `engine.runner`."""

import sys

from engine.runner.run import main

if __name__ == "__main__":
    sys.exit(main())
