"""Named arrays of a motion file: each of the kind and shape that a clip needs, or a sentence that names it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.errors import SceneError
from systems.motion.array_pickle import ObjectArray
from systems.motion.conventions import rate_of
from systems.motion.options import ClipOptions

RATES = (
    "fps",
    "mocap_framerate",
    "mocap_frame_rate",
    "framerate",
    "frame_rate",
    "frequency",
    "motion_fps",
    "hz",
    "FPS",
)
STEPS = ("dt", "timestep", "motion_dt", "time_step", "frame_time", "mocap_dt")  # s between frames
TIMES = ("time", "times", "timestamps", "timestamp", "t")  # s of each frame
NAMES = {
    "joints": ("joint_names", "dof_names", "joints_list", "joint_name", "dof_name", "qpos_names", "joints"),
    "bodies": ("body_names", "link_names", "link_body_list", "body_name", "body_list"),
}


class NamedArrays:
    """What a file holds of one clip, by name; an entry that is None counts as absent."""

    def __init__(self, source: str, content: Mapping[Any, Any]) -> None:
        self.source = source
        self._content = {str(key): value for key, value in content.items() if value is not None}

    @property
    def keys(self) -> list[str]:
        """The names."""
        return list(self._content)

    def entry(self, name: str) -> Any:
        """An entry as it is in the file."""
        return self._content[name]

    def __contains__(self, name: str) -> bool:
        return name in self._content

    def array(self, name: str, *shape: int | None) -> np.ndarray:
        """An entry as float64 of the given shape, None where any size will do; sizes of 1 may be surplus."""
        value = self._plain(name)
        try:
            array = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            raise SceneError(f"'{name}' in {self.source} is not an array of numbers.") from None
        found = array.shape
        while array.ndim > len(shape) and 1 in (array.shape[0], array.shape[-1]):
            array = array[..., 0] if array.shape[-1] == 1 else array[0]
        if array.ndim != len(shape) or any(
            want is not None and have != want for have, want in zip(array.shape, shape, strict=True)
        ):
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise SceneError(f"'{name}' in {self.source} has shape {found}; it should be ({wanted}).")
        return array

    def _plain(self, name: str) -> Any:
        value = self._content[name]
        if isinstance(value, ObjectArray):
            raise SceneError(
                f"'{name}' in {self.source} is an array of Python objects, and reading objects can run any code. Save it "
                f"as plain numbers or text: {name}=np.array(list({name}), dtype=str) for names, dtype=float for numbers."
            )
        return value

    def names(self, kind: str, size: int | None = None) -> tuple[str, ...] | None:
        """Names of the joints or bodies, of which there should be `size`; None where the file has none."""
        key = next((key for key in NAMES[kind] if key in self._content), None)
        if key is None:
            return None
        array = np.asarray(self._plain(key)).ravel()
        if array.dtype.kind not in "SU":
            raise SceneError(f"'{key}' in {self.source} holds {array.dtype}, not names.")
        names = tuple(str(np.char.decode(each, "utf-8")) if array.dtype.kind == "S" else str(each) for each in array)
        if size is not None and len(names) != size:
            raise SceneError(f"'{key}' in {self.source} has {len(names)} names for {size} columns.")
        return names

    def root_inside(self, dof: np.ndarray, root: np.ndarray) -> bool:
        """Whether the root's position and rotation stand in front of the joints, in the same array."""
        names = self.names("joints")
        if names is not None:
            return len(names) == dof.shape[1] - 7
        return dof.shape[1] > 7 and bool(np.all(np.abs(dof[:, :7] - root) < 1e-3))

    def frame_rate(self, options: ClipOptions, frames: int) -> float:
        """Frames per second: by hand, or by a rate, a step or the times of frames in the file."""
        by_hand = options.fps
        if by_hand is not None:
            return by_hand
        for names, turned in ((RATES, False), (STEPS, True)):
            for name in names:
                if name in self._content:
                    rate = self._number(name)
                    return 1.0 / rate if turned else rate
        for name in TIMES:
            if name in self._content and np.size(self._plain(name)) == frames:
                return rate_of(self.array(name, frames), self.source, options.item)
        raise SceneError(
            f"{self.source} lacks 'fps', the frame rate. Say it by hand: name the clip as {options.item}:30fps, if it has "
            "30 frames per second."
        )

    def _number(self, name: str) -> float:
        value = self._plain(name)
        array = np.asarray(value)
        if array.size != 1 or array.dtype.kind not in "fiu" or not 0.0 < float(array.reshape(())) < float("inf"):
            what = "seconds between two frames" if name in STEPS else "frames per second"
            raise SceneError(f"'{name}' in {self.source} is {value!r}; it should be one positive number of {what}.")
        return float(array.reshape(()))
