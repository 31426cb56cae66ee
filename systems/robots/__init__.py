"""Robot models: from a description, or somebody's MJCF file, to a compiled model with motors, shapes and sensors.

Public: `build_robot` compiles a RobotDescription into a `RobotModel` (`Solver` says what it spends time on), `describe`
reads a description out of an MJCF or URDF file, `robot_facts` says in words what a robot is, `export_mjcf` writes a model
as one MJCF text, `robot_view` says what debuggers draw. `ForwardKinematics` says where the bodies of a model are and how they
move, for many states at once and with gradients.

A file is read in one order: `sources.py` makes it a spec (`urdf.py` where it is URDF), `pose.py` and `drives.py` see it as
its author wrote it, `isolate.py` leaves the robot and nothing else, `feet.py` finds what it stands on. Needs MuJoCo. Imports `systems.maths`, components and the engine.
"""

from systems.robots.describe import describe
from systems.robots.display import robot_view
from systems.robots.export_mjcf import export_mjcf
from systems.robots.forward_kinematics import ForwardKinematics
from systems.robots.mjcf import Solver
from systems.robots.model import RobotModel, build_robot
from systems.robots.summary import robot_facts

__all__ = [
    "ForwardKinematics",
    "RobotModel",
    "Solver",
    "build_robot",
    "describe",
    "export_mjcf",
    "robot_facts",
    "robot_view",
]
