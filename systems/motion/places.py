"""Places of clips and robots: what a flag names, so that it means the same files from any folder."""

import re
from pathlib import Path
from typing import Annotated

from engine.files import absolute
from systems.motion.clips import BUILT_IN


def absolute_clips(spec: str) -> str:
    """A clip list with the absolute path of every file and folder in it; names, options and weights stay as they are."""
    if spec and Path(spec).expanduser().exists() and not _built_in(spec):
        return absolute_file(spec)
    found = ",".join(_absolute_item(item.strip()) for item in spec.split(","))
    return found if found.count(",") == spec.count(",") else spec  # a folder's name with a comma would end the item


def _absolute_item(item: str) -> str:
    """One item of a list, of which the longest beginning that is a path becomes absolute."""
    ends = [len(item), *(match.start() for match in reversed(list(re.finditer("[#:=]", item))))]
    for end in ends:
        path, rest = item[:end], item[end:]
        if _built_in(path) and not rest.startswith((":", "#")):
            return item
        if path and Path(path).expanduser().exists():
            full = absolute_file(path)
            return item if rest and re.search("[#:=]", full[: len(full) - len(Path(path).name)]) else full + rest
    return item


def _built_in(name: str) -> bool:
    return name.replace("_", "-") in BUILT_IN


def absolute_robot(text: str) -> str:
    """The absolute path of a robot's file; a robot's name stays as it is, also where something else is called so."""
    return absolute_file(text) if "/" in text or "." in text else text


def absolute_file(text: str) -> str:
    """The absolute path of a file or folder that is there; any other text as it is."""
    path = Path(text).expanduser()
    return str(absolute(path)) if path.exists() else text


RobotName = Annotated[
    str, "a robot by name, an MJCF or URDF file, or auto: the robot with the clip's joints", absolute_robot
]
