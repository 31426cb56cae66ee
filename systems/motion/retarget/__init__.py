"""Human motion made into clips of a robot: `lockstep clips retarget`.

Public: `read_human` reads a BVH file and `cmu_motions` the motions of the data package, both as a `HumanMotion`;
`retarget` makes the clip of a robot out of it, with what was measured of the clip. On the way the feet of the human are
found standing or swinging (`contact.py`), their places are scaled to the robot's limbs (`limbs.py`, `feet.py`,
`targets.py`), mink solves for the joints (`solve.py`), and the pelvis is moved until the feet hold the robot
(`balance.py`). mink is imported when it is needed.
"""

from systems.motion.retarget.bones import read_human
from systems.motion.retarget.cmu import cmu_motions
from systems.motion.retarget.human import HumanMotion
from systems.motion.retarget.make import Retargeted, retarget

__all__ = ["HumanMotion", "Retargeted", "cmu_motions", "read_human", "retarget"]
