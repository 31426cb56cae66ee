"""Motion reference of every row: clips sampled at any time, cursors drawn, advanced and ended."""

import torch
from torch import Tensor

from components.episode import Done
from components.motion import MotionCursor, MotionLibrary, MotionReference
from components.terrain import TerrainTile
from engine import Rng, Write, put_rows
from engine.errors import SceneError
from systems.maths import quaternion
from systems.maths.gradients import write

TIME_TOLERANCE = 1e-3  # s; more than float32 loses on a clip of an hour, far less than a tick


def _between(library: MotionLibrary, clip: Tensor, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Frames on both sides of `time` and how far it is between them: (rows,), (rows,) -> (rows,), (rows,), (rows, 1)."""
    last = library.steps[clip]
    place = torch.minimum((time * library.fps).clamp_min_(0.0), last)
    whole = place.long()
    blend = (place - whole).unsqueeze(1)
    first = whole + library.start[clip]
    return first, torch.where(whole < last, first + 1, first), blend


def nearest_frame(library: MotionLibrary, clip: Tensor, time: Tensor) -> Tensor:
    """The frame closest to `time`, counted over all clips: (rows,), (rows,) -> (rows,)."""
    first = library.start.index_select(0, clip)
    frame = (time * library.fps).round_().long().add_(first)
    return frame.clamp_(first, library.last.index_select(0, clip))


def _sample(
    library: MotionLibrary, clip: Tensor, time: Tensor, columns: slice, which: slice, on_frames: bool
) -> tuple[Tensor, Tensor]:
    """Some columns of `vectors` and some of `rotations` at `time`: (rows, columns), (rows, which, 4)."""
    vectors, rotations = library.vectors[:, columns], library.rotations[:, which]
    if on_frames:
        frame = nearest_frame(library, clip, time)
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


def sample_reference_on_tile(
    cursor: MotionCursor,
    library: MotionLibrary,
    tile: TerrainTile,
    reference: Write[MotionReference],
    *,
    on_frames: bool = False,
) -> None:
    """`sample_reference`, from the origin that the row's clip has on its tile."""
    sample_reference(cursor, library, reference, on_frames=on_frames)
    reference.body_position.add_(tile.origin.unsqueeze(1))


def advance_motion(cursor: Write[MotionCursor], *, dt: float) -> None:
    """Time moves on by `dt`: to the next whole number of steps since the start, so that rounding never adds up."""
    steps = (cursor.time - cursor.start).div_(dt).round_().add_(1.0)
    write(cursor.time, torch.add, cursor.start, steps, alpha=dt)


def falls_on_frames(library: MotionLibrary, dt: float) -> bool:
    """Whether there is one frame in each control step of `dt` in s, so that nothing has to be blended."""
    return abs(library.fps * dt - 1.0) < 1e-6


def begin_within(library: MotionLibrary, clip: Tensor, share: Tensor, *, dt: float, on_frames: bool) -> Tensor:
    """The moment at `share` in [0, 1) of what a clip has up to its last `dt`: (rows,), (rows,) -> (rows,) s.

    `on_frames` moves it to the frame at or before it.
    """
    if on_frames:
        return (share * library.steps[clip]).floor_().div_(library.fps)
    return (library.seconds[clip] - dt).clamp_min_(0.0).mul_(share)


def put_start(done: Done, cursor: MotionCursor, clip: Tensor, begin: Tensor, *, dt: float) -> None:
    """Ended rows begin at `begin` in s of `clip`, and aim for the pose one `dt` later."""
    put_rows(cursor.clip, done.ended, clip)
    put_rows(cursor.start, done.ended, begin)
    put_rows(cursor.time, done.ended, begin + dt)


def chosen_of(likely: Tensor, drawn: Tensor) -> Tensor:
    """Which of several, as likely as `likely` says in any unit; `drawn` uniform in [0, 1): (n,), (rows,) -> (rows,).

    What is not likely at all is never chosen: the greatest draw, 1 − 2⁻²⁴, times a sum is rounded to less than the sum.
    """
    edges = likely.cumsum(0)
    return torch.bucketize(drawn * edges[-1], edges, right=True).clamp_max_(len(likely) - 1)


def draw_motion(
    done: Done,
    library: MotionLibrary,
    rng: Rng,
    cursor: Write[MotionCursor],
    *,
    dt: float,
    start_share: float = 0.0,
    order: str = "weight",
    on_frames: bool = False,
) -> None:
    """Ended rows get a clip and a moment of it, and aim for the pose one `dt` later.

    A `start_share` of them begins with the first frame, the others anywhere in the clip up to its last `dt`; `on_frames`
    moves that to the frame at or before it. `order`: "weight" draws a clip by its weight, times its length for those that
    begin anywhere, so that in clips of one weight all frames are equally likely; "cycle" gives row i clip i modulo their
    number. Raises SceneError for any other word, and for a share that is none.
    """
    if not 0.0 <= start_share <= 1.0:
        raise SceneError(f"start_share={start_share} is a share of episodes; give a number from 0 to 1.")
    if order not in ("weight", "cycle"):
        raise SceneError(
            f"Clips cannot be taken in order '{order}'; say 'weight' to draw them or 'cycle' for all in turn."
        )
    mixed = 0.0 < start_share < 1.0
    which, where, *chance = torch.rand((2 + mixed, *cursor.time.shape), generator=rng, device=rng.device).unbind(0)
    if order == "cycle":
        clip = torch.arange(len(which), device=which.device).remainder_(len(library.names))
    else:
        clip = chosen_of(library.weight if start_share == 1.0 else library.usual, which)
        if mixed:
            clip = torch.where(chance[0] < start_share, chosen_of(library.weight, which), clip)
    begin = begin_within(library, clip, where, dt=dt, on_frames=on_frames)
    if start_share == 1.0:
        begin = torch.zeros_like(begin)
    elif mixed:
        begin = begin.masked_fill_(chance[0] < start_share, 0.0)
    put_start(done, cursor, clip, begin, dt=dt)


def motion_ended(cursor: MotionCursor, library: MotionLibrary) -> Tensor:
    """True where the clip has no further frame: T − 1 steps from frame 0 of T frames at the tick rate."""
    return cursor.time >= library.seconds[cursor.clip] - TIME_TOLERANCE
