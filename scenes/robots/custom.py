"""A robot from any MJCF or URDF file."""

from pathlib import Path

from components.robot import RobotDescription
from engine.errors import SceneError, listing


def is_file_name(text: str) -> bool:
    """Whether a word names a file and not a robot of the project: it has a folder or an ending."""
    return any(mark in text for mark in "/\\.")


def model_file(path: str | Path) -> Path:
    """The MJCF or URDF file at a path. Raises SceneError where there is none."""
    from systems.robots.sources import MODELS, kind, near_files

    file = Path(path).expanduser()
    if file.is_dir():
        inside = sorted(each.name for each in file.iterdir() if each.suffix.lower() in MODELS)
        there = f"in it are {listing(inside)}" if inside else "there is no MJCF or URDF file in it"
        raise SceneError(f"{file} is a folder, and a robot is one file; {there}.")
    if not file.is_file():
        raise SceneError(
            f"There is no robot file {file}; give the path of an MJCF file (.xml) or a URDF file (.urdf).{near_files(file)}"
        )
    kind(file)
    return file


def custom(path: str | Path) -> RobotDescription:
    """The robot in an MJCF or URDF file, as the file describes it; SceneError lists what it lacks to be one."""
    from systems.robots.describe import describe

    return describe(model_file(path))
