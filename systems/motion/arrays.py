"""Named arrays of a motion file: each of the kind and shape that a clip needs, or a sentence that names it."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
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

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an entry; () of what is no array."""
        with suppress(ValueError):  # of lists that differ in length
            return tuple(np.shape(self._content[name]))
        return ()

    def __contains__(self, name: str) -> bool:
        return name in self._content

    def array(self, name: str, *shape: int | str, single: bool = False) -> np.ndarray:
        """An entry as float64 of the given shape, a word where any size will do; sizes of 1 may be surplus.

        With `single` an entry of float32 stays one.
        """
        value = self._plain(name)
        try:
            if np.iscomplexobj(value):
                raise TypeError
            stays = single and isinstance(value, np.ndarray) and value.dtype == np.float32
            array = np.asarray(value, dtype=np.float32 if stays else np.float64)
        except (TypeError, ValueError, OverflowError):
            raise SceneError(f"'{name}' in {self.source} is not an array of numbers.") from None
        found = array.shape
        while array.ndim > len(shape) and 1 in array.shape:
            array = array.squeeze(max(axis for axis, size in enumerate(array.shape) if size == 1))
        if array.ndim != len(shape) or any(
            isinstance(want, int) and have != want for have, want in zip(array.shape, shape, strict=True)
        ):
            wanted = ", ".join(map(str, shape))
            raise SceneError(f"'{name}' in {self.source} has shape {found}; it should be ({wanted}).")
        return array

    def _plain(self, name: str) -> Any:
        value = self._content[name]
        if isinstance(value, ObjectArray):
            raise SceneError(
                f"'{name}' in {self.source} is an array of Python objects, and reading objects can run any code. Save it "
                f"as plain numbers or text: {name}=np.array(list({name}), dtype=str) for names, dtype=float for numbers; a "
                f"dictionary by np.savez('clip.npz', **{name}.item())."
            )
        return value

    def names(self, kind: str, size: int | None = None) -> tuple[str, ...] | None:
        """Names of the joints or bodies, of which there should be `size`; None where the file has none."""
        key = next((key for key in NAMES[kind] if key in self._content and not self._is_table(key)), None)
        if key is None:
            return None
        array = np.asarray(self._plain(key)).ravel()
        if array.dtype.kind not in "SU":
            raise SceneError(f"'{key}' in {self.source} holds {array.dtype}, not names.")
        array = np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array
        names = short_names([str(each) for each in array])
        if size is not None and len(names) != size:
            raise SceneError(f"'{key}' in {self.source} has {len(names)} names for {size} columns.")
        return names

    def _is_table(self, name: str) -> bool:
        """Whether an entry holds numbers with a row per frame, as "joints" does in some files and names in others."""
        value = self._content[name]
        return isinstance(value, np.ndarray) and value.ndim > 1 and value.dtype.kind in "fiu"

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
        described = NamedArrays(self.source, {**self._metadata(), **self._content})
        for name in (*RATES, *STEPS):
            if name in described:
                number = described.number(name, f" Or name the clip as {options.item}:30fps, say.")
                return number if name in RATES else 1.0 / number
        for name in TIMES:
            if name in self._content and np.size(self._plain(name)) == frames:
                return rate_of(self.array(name, frames), self.source, options.item)
        raise SceneError(
            f"{self.source} lacks 'fps', the frame rate. Say it by hand: name the clip as {options.item}:30fps, if it has "
            "30 frames per second."
        )

    def _metadata(self) -> dict[str, Any]:
        """What a text of JSON in the file says beside its arrays."""
        text = self._content.get("metadata")
        try:
            content = json.loads(str(np.asarray(text).item())) if text is not None else {}
        except (TypeError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def number(self, name: str, cure: str = "") -> float:
        """An entry that is one positive number, or the same one for each frame."""
        array = np.asarray(self._plain(name)).ravel()
        with suppress(ValueError):
            array = array.astype(np.float64)
        value = float(array[0]) if array.size and array.dtype.kind == "f" and np.all(array == array[0]) else -1.0
        if not 0.0 < value < float("inf"):
            what = "seconds between two frames" if name in STEPS else "frames per second"
            shown = repr(self._content[name])
            shown = f"{shown[:40]}…" if len(shown) > 40 else shown
            raise SceneError(f"'{name}' in {self.source} is {shown}; it should be one positive number of {what}.{cure}")
        return value


def short_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names without what all have in front up to a slash, colons or a dot, as in robot/left_knee_joint."""
    parted = [re.fullmatch(r"(.*(?:/|::|\.))?(.*)", name) for name in names]
    shared = {match and match[1] for match in parted}
    return tuple(match[2] for match in parted if match) if len(shared) == 1 else tuple(names)
