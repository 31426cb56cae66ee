"""`python -m engine.replay`: list the failures of a run, and see any of them again; see `engine.runner`."""

import sys

from engine.runner.replay_command import main

if __name__ == "__main__":
    sys.exit(main())
