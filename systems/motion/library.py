"""The motion library: clips verified, resampled and packed once, then sampled for all rows at any time.

A clip plays in its own world frame. Between frames vectors are blended linearly and rotations along the
great circle; velocities are blended from those of the frames, never differenced on the way. Before its
start and beyond its end a clip holds its first and last frame.
"""

import logging
from collections.abc import Sequence
from itertools import count
from typing import Annotated, Literal

import attrs
import numpy as np
import torch
from torch import Tensor

from components.motion import BuiltInClip, Clip, MotionLibrary
from components.robot import Robot
from engine.errors import SceneError, listing
from systems.maths.bodies import carry, tracked_parents, virtual_frames
from systems.motion.check import Verification
from systems.motion.clips import BUILT_IN, make_clip
from systems.motion.findings import bounded
from systems.motion.kinematics import Kinematics, angular_velocity, continuous, differentiate, frames_at, resample
from systems.motion.unfit import Unfit

TIME_TOLERANCE = 1e-3  # s; more than float32 loses on a clip of an hour, far less than a tick
MAX_LOGGED = 12
CHUNK = 4096  # frames whose bodies are computed at once, a matter of memory only
ClipHeight = Annotated[Literal["keep", "auto"], "auto lowers or raises clips until the feet meet the floor"]
_log = logging.getLogger(__name__)


def build_library(
    clips: Sequence[Clip | BuiltInClip],
    robot: Robot,
    model: Kinematics,
    *,
    fps: float = 50.0,
    height: str = "keep",
    skip_unfit: bool = False,
    device: torch.device | str = "cpu",
) -> MotionLibrary:
    """Make, verify, resample and pack `clips` for a robot; a clip named twice is loaded once, with both weights.

    `height="auto"` puts feet on the floor. What was decided and found is logged as warnings and kept in `warnings`.
    Raises SceneError with all clips that cannot be played by this robot; with `skip_unfit` these are left out.
    """
    if not clips:
        raise SceneError(
            f"The motion library was given no clips. Name a built-in clip ({listing(BUILT_IN)}) or a file."
        )
    unfit = Unfit(skip=skip_unfit)
    verification = Verification(robot, model, unfit, height=height)
    unique = _merge(clips)
    made = [make_clip(clip.name, robot, model) if isinstance(clip, BuiltInClip) else clip for clip in unique]
    sound = verification.verify(made)
    unfit.settle(len(sound))
    kept = sorted(sound)
    findings = [*verification.decided, *(finding for index in kept for finding in sound[index][1])]
    for line in bounded(findings, MAX_LOGGED):
        _log.warning(line)
    counts = [frames_at(sound[index][0], fps) for index in kept]
    vectors = torch.empty(sum(counts), 9 + 2 * len(robot.dof_names) + 9 * len(robot.tracked_bodies))
    rotations = torch.empty(sum(counts), 1 + len(robot.tracked_bodies), 4)
    frames = torch.tensor(counts)
    start = frames.cumsum(0) - frames
    for first, index in zip(start.tolist(), kept, strict=True):
        clip = resample(sound.pop(index)[0], fps)
        rows = slice(first, first + clip.num_frames)
        _pack(clip, robot, model, vectors[rows], rotations[rows])
    weight = torch.tensor([unique[index].weight for index in kept], dtype=torch.float64)
    return MotionLibrary(
        names=_distinct([unique[index].name for index in kept]),
        warnings=tuple(finding.text for finding in findings),
        fps=fps,
        num_dofs=len(robot.dof_names),
        num_tracked=len(robot.tracked_bodies),
        start=start.to(device),
        frames=frames.to(device),
        seconds=((frames - 1).double() / fps).float().to(device),
        weight=(weight / weight.sum()).float().to(device),
        vectors=vectors.to(device),
        rotations=rotations.to(device),
    )


def _merge(clips: Sequence[Clip | BuiltInClip]) -> list[Clip | BuiltInClip]:
    """Clips of the same name and source become one, whose weight is their sum."""
    merged: dict[tuple[str, str], Clip | BuiltInClip] = {}
    for clip in clips:
        key = (clip.name, clip.source if isinstance(clip, Clip) else "")
        known = merged.get(key)
        merged[key] = clip if known is None else attrs.evolve(known, weight=known.weight + clip.weight)
    return list(merged.values())


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Names with (2), (3), … after those that occur before."""
    taken: list[str] = []
    for name in names:
        choices = (name if i == 1 else f"{name} ({i})" for i in count(1))
        taken.append(next(choice for choice in choices if choice not in taken))
    return tuple(taken)


def _pack(clip: Clip, robot: Robot, model: Kinematics, vectors: Tensor, rotations: Tensor) -> None:
    """Fill (frames, 9 + 2 dof + 9 tracked) and (frames, 1 + tracked, 4), as MotionLibrary orders them."""
    linear = differentiate(clip.root_position, clip.fps)
    angular = angular_velocity(clip.root_rotation, clip.fps)
    speed = differentiate(clip.dof_position, clip.fps)
    root = (clip.root_position, clip.root_rotation, clip.dof_position, linear, angular, speed)
    tracked = tracked_parents(robot)
    table, turns = vectors.numpy(), rotations.numpy()
    for first in range(0, clip.num_frames, CHUNK):
        rows = slice(first, min(first + CHUNK, clip.num_frames))
        followed = [part[:, tracked] for part in model.kinematics(*(part[rows] for part in root))]
        if robot.virtual_bodies:
            frames = [part.double().cpu() for part in virtual_frames(robot)]
            carry(*map(torch.from_numpy, followed), *frames)  # tensors share the memory of their arrays
        position, rotation, *speeds = followed
        parts = (*(root[i][rows] for i in (0, 3, 4, 2, 5)), position, *speeds)
        table[rows] = np.concatenate([part.reshape(len(position), -1) for part in parts], 1)
        turns[rows, 0], turns[rows, 1:] = clip.root_rotation[rows], rotation
    turns[:] = continuous(turns)
