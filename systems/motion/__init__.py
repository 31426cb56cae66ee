"""Motion clips: read from files or made for a robot, verified, and packed into the library that is sampled in training.

Public: `read_clips` understands what `--clip` names, `BUILT_IN` are the clips that are made (`make_clip`), `verify_clip`
refuses what cannot be right, `build_library` packs clips for a robot, `clip_summary` describes one in a line,
`robot_and_clips` gives digests for provenance, and `Kinematics` is what all of it asks of a robot model. The systems that
sample a library are in `systems/reference.py`; the command `lockstep clips` is in `tools/`, and `writers.py` writes its
files. Imports `systems.maths`, `systems.robots`, components and the engine.
"""

from systems.motion.check import verify_clip
from systems.motion.clips import BUILT_IN, make_clip
from systems.motion.digests import robot_and_clips
from systems.motion.files import read_clips
from systems.motion.kinematics import Kinematics
from systems.motion.library import build_library
from systems.motion.summary import clip_summary

__all__ = [
    "BUILT_IN",
    "Kinematics",
    "build_library",
    "clip_summary",
    "make_clip",
    "read_clips",
    "robot_and_clips",
    "verify_clip",
]
