"""Tables of a motion library: one row per frame, filled clip by clip as `MotionLibrary` orders them."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from components.motion import Clip
from components.robot import Robot
from systems.maths.bodies import carry, tracked_parents, virtual_frames
from systems.motion.kinematics import (
    Bodies,
    Kinematics,
    angular_velocity,
    body_poses,
    continuous,
    differentiate,
    frames_at,
    resample,
)
from systems.motion.mapped import mapped_table
from systems.motion.plausible import BELIEVED_RATES

CHUNK = 4096  # frames whose bodies are computed at once, a matter of memory only
_CURVES = ("root_position", "root_rotation", "dof_position")


class Packing:
    """Rows at `fps` for each of many clips, which are named by their place among all.

    Rows of a clip that is at this rate are filled as soon as its bodies are asked for, and stay where nothing changes
    it afterwards: verification and library compute them once. `in_file` keeps the tables in files.
    """

    def __init__(
        self, clips: Sequence[Clip], robot: Robot, model: Kinematics, fps: float, *, in_file: bool = False
    ) -> None:
        self.model, self.fps = model, fps
        self._table = mapped_table if in_file else torch.empty
        self._widths = 9 + 2 * len(robot.dof_names) + 9 * len(robot.tracked_bodies), 1 + len(robot.tracked_bodies)
        self._tracked = tracked_parents(robot)
        self._virtual = [part.double().cpu() for part in virtual_frames(robot)] if robot.virtual_bodies else []
        low, high = BELIEVED_RATES
        self._frames = {i: frames_at(clip, fps) for i, clip in enumerate(clips) if low <= clip.fps <= high}
        self._filled: dict[int, Clip] = {}
        self._allocate()

    def _allocate(self) -> None:
        frames = list(self._frames.values())
        stops = np.cumsum(frames, dtype=np.int64).tolist()
        self._rows = {i: slice(n - count, n) for i, n, count in zip(self._frames, stops, frames, strict=True)}
        self.vectors: Tensor = self._table(sum(frames), self._widths[0])
        self.rotations: Tensor = self._table(sum(frames), self._widths[1], 4)

    def poses(self, index: int, clip: Clip) -> tuple[np.ndarray, np.ndarray]:
        """Where a clip puts every body, (T, B, 3) m and (T, B, 4)."""
        at_rate = clip.num_frames == self._frames.get(index) and resample(clip, self.fps) is clip
        if not at_rate or clip.num_frames > CHUNK:
            return body_poses(self.model, *(getattr(clip, name) for name in _CURVES))
        self._filled[index] = clip
        return self._fill(clip, self._rows[index])

    def finish(self, clips: Mapping[int, Clip]) -> list[int]:
        """Fill what is missing of the clips that shall be in the tables, and leave out all others; frames of each."""
        frames = {index: frames_at(clip, self.fps) for index, clip in clips.items()}
        rows, tables = self._rows, (self.vectors, self.rotations)
        moved = frames != self._frames
        if moved:
            self._frames = frames
            self._allocate()
        for index, clip in clips.items():
            filled = self._filled.pop(index, None)
            if filled is None or not _same(filled, clip):
                self._fill(resample(clip, self.fps), self._rows[index])
            elif moved:
                for table, before in zip((self.vectors, self.rotations), tables, strict=True):
                    table[self._rows[index]] = before[rows[index]]
        return list(frames.values())

    def _fill(self, clip: Clip, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Fill rows of a clip at the tables' rate; the poses of all bodies in its last CHUNK frames."""
        linear = differentiate(clip.root_position, clip.fps)
        angular = angular_velocity(clip.root_rotation, clip.fps)
        speed = differentiate(clip.dof_position, clip.fps)
        root = (clip.root_position, clip.root_rotation, clip.dof_position, linear, angular, speed)
        table, turns = self.vectors[rows].numpy(), self.rotations[rows].numpy()
        bodies: Bodies | None = None
        for first in range(0, clip.num_frames, CHUNK):
            part = slice(first, min(first + CHUNK, clip.num_frames))
            bodies = self.model.kinematics(*(each[part] for each in root))
            followed = [each[:, self._tracked] for each in bodies]
            if self._virtual:
                carry(*map(torch.from_numpy, followed), *self._virtual)  # tensors share the memory of their arrays
            position, rotation, *speeds = followed
            parts = (*(root[i][part] for i in (0, 3, 4, 2, 5)), position, *speeds)
            np.concatenate([each.reshape(len(position), -1) for each in parts], 1, out=table[part], casting="same_kind")
            turns[part, 0], turns[part, 1:] = clip.root_rotation[part], rotation
        turns[:] = continuous(turns)
        assert bodies is not None
        return bodies[:2]


def _same(a: Clip, b: Clip) -> bool:
    """Whether two clips have the same curves at the same rate."""
    return a.fps == b.fps and all(getattr(a, name) is getattr(b, name) for name in _CURVES)
