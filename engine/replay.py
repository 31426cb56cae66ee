"""python -m engine.replay"""

import sys

from engine.replay_command import main

if __name__ == "__main__":
    sys.exit(main())
