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

from components.motion import BuiltInClip, Clip, MotionLibrary
from components.robot import Robot
from engine.errors import SceneError, listing
from systems.maths.bodies import carry, tracked_parents, virtual_frames
from systems.motion.check import verify_clip
from systems.motion.clips import BUILT_IN, make_clip
from systems.motion.kinematics import Kinematics, angular_velocity, continuous, differentiate, resample

TIME_TOLERANCE = 1e-3  # s; more than float32 loses on a clip of an hour, far less than a tick
MAX_LOGGED = 12
ClipHeight = Annotated[Literal["keep", "auto"], "auto lowers or raises clips until the feet meet the floor"]
_log = logging.getLogger(__name__)


def build_library(
    clips: Sequence[Clip | BuiltInClip],
    robot: Robot,
    model: Kinematics,
    *,
    fps: float = 50.0,
    height: str = "keep",
    device: torch.device | str = "cpu",
) -> MotionLibrary:
    """Make, verify, resample and pack `clips` for a robot; a clip named twice is loaded once, with both weights.

    `height="auto"` puts feet on the floor. Findings are logged as warnings and kept in `warnings`. Raises
    SceneError for a clip that cannot be played by this robot.
    """
    if not clips:
        raise SceneError(
            f"The motion library was given no clips. Name a built-in clip ({listing(BUILT_IN)}) or a file."
        )
    warnings: list[str] = []
    packed: list[tuple[np.ndarray, np.ndarray]] = []
    unique = _merge(clips)
    for clip in unique:
        made = make_clip(clip.name, robot, model) if isinstance(clip, BuiltInClip) else clip
        sound, found = verify_clip(made, robot, model, height=height)
        warnings += found
        packed.append(_pack(resample(sound, fps), robot, model))
    for warning in warnings[:MAX_LOGGED]:
        _log.warning(warning)
    if len(warnings) > MAX_LOGGED:
        _log.warning(f"{len(warnings) - MAX_LOGGED} more warnings about clips; all are in MotionLibrary.warnings.")
    frames = torch.tensor([len(vectors) for vectors, _ in packed])
    weight = torch.tensor([clip.weight for clip in unique], dtype=torch.float64)
    return MotionLibrary(
        names=_distinct([clip.name for clip in unique]),
        warnings=tuple(warnings),
        fps=fps,
        num_dofs=len(robot.dof_names),
        num_tracked=packed[0][1].shape[1] - 1,
        start=(frames.cumsum(0) - frames).to(device),
        frames=frames.to(device),
        seconds=((frames - 1).double() / fps).float().to(device),
        weight=(weight / weight.sum()).float().to(device),
        vectors=torch.from_numpy(np.concatenate([vectors for vectors, _ in packed])).float().to(device),
        rotations=torch.from_numpy(np.concatenate([rotations for _, rotations in packed])).float().to(device),
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


def _pack(clip: Clip, robot: Robot, model: Kinematics) -> tuple[np.ndarray, np.ndarray]:
    """(frames, 9 + 2 dof + 9 tracked) and (frames, 1 + tracked, 4), as MotionLibrary orders them."""
    linear = differentiate(clip.root_position, clip.fps)
    angular = angular_velocity(clip.root_rotation, clip.fps)
    speed = differentiate(clip.dof_position, clip.fps)
    bodies = model.kinematics(clip.root_position, clip.root_rotation, clip.dof_position, linear, angular, speed)
    tracked = tracked_parents(robot)
    followed = [part[:, tracked] for part in bodies]
    if robot.virtual_bodies:
        frames = [part.double().cpu() for part in virtual_frames(robot)]
        carry(*map(torch.from_numpy, followed), *frames)  # tensors share the memory of their arrays
    position, rotation, body_linear, body_angular = followed
    parts = (clip.root_position, linear, angular, clip.dof_position, speed, position, body_linear, body_angular)
    vectors = np.concatenate([part.reshape(clip.num_frames, -1) for part in parts], 1)
    return vectors, continuous(np.concatenate((clip.root_rotation[:, None], rotation), 1))
