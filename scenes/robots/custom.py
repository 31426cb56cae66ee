"""A robot from any MJCF file."""

from pathlib import Path

from components.robot import RobotDescription
from engine.errors import SceneError


def custom(path: str | Path) -> RobotDescription:
    """The robot in an MJCF file, as the file describes it; SceneError lists what it lacks to be one."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise SceneError(f"There is no robot file {file}; give the path of an MJCF file (.xml).")
    from systems.robots.describe import describe

    return describe(file)
