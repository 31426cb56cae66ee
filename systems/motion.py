"""The motion library: clips verified, resampled and packed once, then sampled for all rows at any time.

A clip plays in its own world frame. Between frames vectors are blended linearly and rotations along the
great circle; velocities are blended from those of the frames, never differenced on the way. Before its
start and beyond its end a clip holds its first and last frame.
"""

import logging
from collections.abc import Sequence
from itertools import count

import attrs
import numpy as np
import torch
from torch import Tensor

from components.episode import Done
from components.motion import BuiltInClip, Clip, MotionCursor, MotionLibrary, MotionReference
from components.robot import Robot
from engine.access import Rng, Write
from engine.errors import SceneError, listing
from engine.table import put_rows
from systems import quaternion
from systems.clips import BUILT_IN, make_clip
from systems.kinematics import carry, tracked_parents, virtual_frames
from systems.motion_check import verify_clip
from systems.motion_kinematics import Kinematics, angular_velocity, continuous, differentiate, resample

TIME_TOLERANCE = 1e-3  # s; more than float32 loses on a clip of an hour, far less than a tick
MAX_LOGGED = 12
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
    """Names with (2), (3), … behind those that occur before."""
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


def _between(library: MotionLibrary, clip: Tensor, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Frames on both sides of `time` and how far it is between them: (rows,), (rows,) -> (rows,), (rows,), (rows, 1)."""
    last = library.frames[clip] - 1
    place = torch.minimum((time * library.fps).clamp_min_(0.0), last)
    whole = place.long()
    blend = (place - whole).unsqueeze(1)
    first = whole + library.start[clip]
    return first, torch.where(whole < last, first + 1, first), blend


def _nearest(library: MotionLibrary, clip: Tensor, time: Tensor) -> Tensor:
    """The frame closest to `time`, counted over all clips: (rows,), (rows,) -> (rows,)."""
    first = library.start.index_select(0, clip)
    frame = (time * library.fps).round_().long().add_(first)
    return torch.clamp(frame, first, library.last.index_select(0, clip), out=frame)


def _sample(
    library: MotionLibrary, clip: Tensor, time: Tensor, columns: slice, which: slice, on_frames: bool
) -> tuple[Tensor, Tensor]:
    """Some columns of `vectors` and some of `rotations` at `time`: (rows, columns), (rows, which, 4)."""
    vectors, rotations = library.vectors[:, columns], library.rotations[:, which]
    if on_frames:
        frame = _nearest(library, clip, time)
        return vectors.index_select(0, frame), rotations.index_select(0, frame)
    first, second, blend = _between(library, clip, time)
    pair = rotations.index_select(0, first), rotations.index_select(0, second)
    return (
        torch.lerp(vectors.index_select(0, first), vectors.index_select(0, second), blend),
        quaternion.slerp(*pair, blend.unsqueeze(2)),
    )


def sample_root_and_dofs(
    library: MotionLibrary, clip: Tensor, time: Tensor, *, on_frames: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Root position, rotation, linear and angular velocity, joint position and velocity at `time` of `clip`.

    `clip`: (rows,) int64, `time`: (rows,) s; `on_frames` takes the nearest frame instead of blending. Returns
    (rows, 3) m, (rows, 4), (rows, 3) m/s and rad/s in world axes, (rows, dof) rad and rad/s.
    """
    dofs = library.num_dofs
    vectors, rotation = _sample(library, clip, time, slice(0, 9 + 2 * dofs), slice(0, 1), on_frames)
    position, linear, angular, dof_position, dof_velocity = vectors.split((3, 3, 3, dofs, dofs), 1)
    return position, rotation[:, 0], linear, angular, dof_position, dof_velocity


def sample_bodies(
    library: MotionLibrary, clip: Tensor, time: Tensor, *, on_frames: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pose and velocity of the tracked bodies at `time` of `clip`, in world axes.

    `clip`: (rows,) int64, `time`: (rows,) s; `on_frames` takes the nearest frame instead of blending. Returns
    (rows, tracked, 3) m, (rows, tracked, 4), (rows, tracked, 3) m/s of the frame origins, (rows, tracked, 3) rad/s.
    """
    vectors, rotation = _sample(library, clip, time, slice(9 + 2 * library.num_dofs, None), slice(1, None), on_frames)
    position, linear, angular = vectors.unflatten(1, (3, library.num_tracked, 3)).unbind(1)
    return position, rotation, linear, angular


def sample_reference(
    cursor: MotionCursor, library: MotionLibrary, reference: Write[MotionReference], *, on_frames: bool = False
) -> None:
    """Each row's reference pose and velocity become those of its clip at its time.

    `on_frames` takes the nearest frame: the same, at a third of the operations, where ticks fall on frames.
    """
    dofs = library.num_dofs
    vectors, rotation = _sample(library, cursor.clip, cursor.time, slice(9, None), slice(1, None), on_frames)
    position, linear, angular = vectors[:, 2 * dofs :].unflatten(1, (3, library.num_tracked, 3)).unbind(1)
    reference.dof_position.copy_(vectors[:, :dofs])
    reference.dof_velocity.copy_(vectors[:, dofs : 2 * dofs])
    reference.body_position.copy_(position)
    reference.body_linear_velocity.copy_(linear)
    reference.body_angular_velocity.copy_(angular)
    reference.body_rotation.copy_(rotation)


def advance_motion(cursor: Write[MotionCursor], *, dt: float) -> None:
    """Time moves on by `dt`: to the next whole number of steps since the start, so that rounding never adds up."""
    steps = (cursor.time - cursor.start).div_(dt).round_().add_(1.0)
    torch.add(cursor.start, steps, alpha=dt, out=cursor.time)


def draw_motion(
    done: Done,
    library: MotionLibrary,
    rng: Rng,
    cursor: Write[MotionCursor],
    *,
    dt: float,
    start: str = "uniform",
    order: str = "weight",
    on_frames: bool = False,
) -> None:
    """Ended rows get a clip and a moment of it, and aim for the pose one `dt` later.

    `start`: "uniform" over the clip up to its last `dt`, or "start" for its first frame; `on_frames` moves it
    to the frame at or before it. `order`: "weight" draws clips by weight, "cycle" gives row i clip i modulo
    their number. Raises SceneError for any other word.
    """
    if start not in ("uniform", "start"):
        raise SceneError(
            f"A motion cannot start at '{start}'; say 'uniform' for any moment of the clip or 'start' for its first."
        )
    if order not in ("weight", "cycle"):
        raise SceneError(
            f"Clips cannot be taken in order '{order}'; say 'weight' to draw them or 'cycle' for all in turn."
        )
    which, where = torch.rand((2, *cursor.time.shape), generator=rng, device=rng.device).unbind(0)
    if order == "cycle":
        clip = torch.arange(len(which), device=which.device).remainder_(len(library.names))
    else:
        clip = torch.bucketize(which, library.weight.cumsum(0), right=True).clamp_max_(len(library.names) - 1)
    if start == "start":
        begin = torch.zeros_like(where)
    elif on_frames:
        begin = (where * (library.frames[clip] - 1)).floor_().div_(library.fps)
    else:
        begin = (library.seconds[clip] - dt).clamp_min_(0.0).mul_(where)
    put_rows(cursor.clip, done.ended, clip)
    put_rows(cursor.start, done.ended, begin)
    put_rows(cursor.time, done.ended, begin + dt)


def motion_ended(cursor: MotionCursor, library: MotionLibrary) -> Tensor:
    """True where the clip has no further frame: T − 1 steps from frame 0 of T frames at the tick rate."""
    return cursor.time >= library.seconds[cursor.clip] - TIME_TOLERANCE
