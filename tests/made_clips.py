"""Built-in clips of tests: each is made once in a process for each robot, which is four fifths of building a small tracking scene.

What makes them is under test in tests/systems/motion, where it is called by its own name.
"""

import copy
import pickle
from typing import Any

from components.motion import Clip
from components.robot import Robot
from systems.motion.clips import make_clip
from systems.motion.digests import digest
from systems.robots.model import RobotModel

_MADE: dict[tuple[str, bytes, str], Clip] = {}


def clip_made_once(name: str, robot: Robot, model: Any) -> Clip:
    """What `make_clip` returns, copied from what it returned before for the same compiled model and description."""
    if not isinstance(model, RobotModel):
        return make_clip(name, robot, model)
    key = name, pickle.dumps(model.model), digest(robot)
    if key not in _MADE:
        _MADE[key] = make_clip(name, robot, model)
    return copy.deepcopy(_MADE[key])
