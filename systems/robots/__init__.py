"""Robot models: from a description, or somebody's MJCF file, to a compiled model with motors, shapes and sensors.

Public: `build_robot` compiles a RobotDescription into a `RobotModel` (`Solver` says what it spends time on), `describe`
reads a description out of an MJCF file, `export_mjcf` writes a model as one MJCF text, `robot_view` says what debuggers
draw. Needs MuJoCo. Imports `systems.maths`, components and the engine.
"""

from systems.robots.describe import describe
from systems.robots.display import robot_view
from systems.robots.export_mjcf import export_mjcf
from systems.robots.mjcf import Solver
from systems.robots.model import RobotModel, build_robot

__all__ = ["RobotModel", "Solver", "build_robot", "describe", "export_mjcf", "robot_view"]
