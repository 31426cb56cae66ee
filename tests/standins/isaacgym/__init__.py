"""Stand-in for NVIDIA Isaac Gym Preview 4, written from its documentation, the type stubs and public clients, backed by MuJoCo.

It has the calls that the worker uses and refuses what the real one refuses. It is no Isaac Gym: PhysX moves things otherwise. It is
on a path only where a test puts it there; STANDIN_FAULT in the environment plants a fault, see `gymapi.py`.
"""

import os
import sys

STANDS_IN = True

if "torch" in sys.modules:
    raise ImportError("PyTorch was imported before isaacgym modules.  Please import torch after isaacgym modules.")
os.write(1, b"Importing module 'gym_38' (stand-in)\n")
