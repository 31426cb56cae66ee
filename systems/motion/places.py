"""Places of clips and robots: what a flag names, so that it means the same files from any folder."""

from pathlib import Path
from typing import Annotated

from engine.files import absolute
from systems.motion.clips import BUILT_IN

MOST_COMMAS = 8  # in one path


def absolute_clips(spec: str) -> str:
    """A clip list with the absolute path of every file and folder in it; names, options and weights stay as they are."""
    parts, found = spec.split(","), []
    while parts:
        counts = range(min(len(parts), MOST_COMMAS + 1), 1, -1)  # of parts that a comma in the name of a file parts
        count = next((n for n in counts if path_end(",".join(parts[:n]), len(",".join(parts[: n - 1])))), 1)
        found.append(_absolute_item(",".join(parts[:count]).strip()))
        parts = parts[count:]
    return ",".join(found)


def _absolute_item(item: str) -> str:
    """One item of a list, of which the longest beginning that is a path becomes absolute."""
    end = path_end(item)
    path, rest = item[:end], item[end:]
    return item if not path or (_built_in(path) and not rest.startswith((":", "#"))) else absolute_file(path) + rest


def path_end(item: str, after: int = 0) -> int:
    """Where the longest beginning of an item that is a file or folder ends, beyond `after`; 0 where there is none."""
    ends = [len(item), *(i for i in range(len(item) - 1, after, -1) if item[i] in ":#=")]
    return next((end for end in ends if item[:end] and Path(item[:end].strip()).expanduser().exists()), 0)


def _built_in(name: str) -> bool:
    return name.replace("_", "-") in BUILT_IN


def absolute_robot(text: str) -> str:
    """The absolute path of a robot's file, also after "name:"; a name stays as it is, also where something else is called so."""
    name, colon, file = text.partition(":")
    if colon and not Path(text).expanduser().exists():
        return f"{name}:{absolute_file(file)}"
    return absolute_file(text) if "/" in text or "." in text else text


def absolute_file(text: str) -> str:
    """The absolute path of a file or folder that is there; any other text as it is."""
    path = Path(text).expanduser()
    return str(absolute(path)) if path.exists() else text


RobotName = Annotated[
    str, "a robot by name, an MJCF or URDF file, or auto: the robot with the clip's joints", absolute_robot
]
