"""The motion library: clips verified, resampled and packed once, then sampled for all rows at any time.

A clip plays in its own world frame. Between frames vectors are blended linearly and rotations along the
great circle; velocities are blended from those of the frames, never differenced on the way. Before its
start and beyond its end a clip holds its first and last frame.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Annotated, Literal, TypeVar

import attrs
import torch

from components.motion import BuiltInClip, Clip, MotionLibrary
from components.robot import Robot
from engine.errors import SceneError, listing
from systems.motion.check import Verification
from systems.motion.clips import BUILT_IN, make_clip
from systems.motion.findings import bounded
from systems.motion.kinematics import Kinematics, resample
from systems.motion.packing import Packing
from systems.motion.unfit import Unfit

TIME_TOLERANCE = 1e-3  # s; more than float32 loses on a clip of an hour, far less than a tick
MAX_LOGGED = 12
ClipHeight = Annotated[Literal["keep", "auto"], "auto lowers or raises clips until the feet meet the floor"]
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


def build_library(
    clips: Iterable[Clip | BuiltInClip],
    robot: Robot,
    model: Kinematics,
    *,
    fps: float = 50.0,
    height: str = "keep",
    skip_unfit: bool = False,
    in_file: bool = False,
    device: torch.device | str = "cpu",
) -> MotionLibrary:
    """Make, verify, resample and pack `clips` for a robot; a clip named twice is loaded once, with both weights.

    A list of clips is empty afterwards, since what files say of bodies is let go clip by clip. `height="auto"` puts
    feet on the floor; `in_file` keeps the frames in files, for `systems/clip_parts.py` to take some at a time. What was decided and found is logged as warnings and kept in `warnings`.
    Raises SceneError with all clips that cannot be played by this robot; with `skip_unfit` these are left out.
    """
    unique = _merge(_handed_over(clips) if isinstance(clips, list) else clips)
    if not unique:
        raise SceneError(
            f"The motion library was given no clips. Name a built-in clip ({listing(BUILT_IN)}) or a file."
        )
    unfit = Unfit(skip=skip_unfit)
    names, weights = [clip.name for clip in unique], [clip.weight for clip in unique]
    made = [
        make_clip(clip.name, robot, model) if isinstance(clip, BuiltInClip) else clip for clip in _handed_over(unique)
    ]
    packing = Packing(made, robot, model, fps, in_file=in_file)
    verification = Verification(robot, model, unfit, height=height, poses=packing.poses)
    sound = verification.verify(_handed_over(made))
    unfit.settle(len(sound))
    kept = sorted(sound)
    findings = [*verification.decided, *(finding for index in kept for finding in sound[index][1])]
    for line in bounded(findings, MAX_LOGGED):
        _log.warning(line)
    frames = torch.tensor(packing.finish({index: sound[index][0] for index in kept}))
    contacts = _contacts([sound[index][0] for index in kept], frames.tolist(), len(robot.foot_names), fps)
    weight = torch.tensor([weights[index] for index in kept], dtype=torch.float64)
    return MotionLibrary(
        names=_distinct([names[index] for index in kept]),
        warnings=tuple(finding.text for finding in findings),
        fps=fps,
        num_dofs=len(robot.dof_names),
        num_tracked=len(robot.tracked_bodies),
        start=(frames.cumsum(0) - frames).to(device),
        frames=frames.to(device),
        seconds=((frames - 1).double() / fps).float().to(device),
        weight=(weight / weight.sum()).float().to(device),
        vectors=packing.vectors.to(device),
        rotations=packing.rotations.to(device),
        contacts=contacts.to(device),
    )


def _contacts(clips: Sequence[Clip], frames: Sequence[int], feet: int, fps: float) -> torch.Tensor:
    """Which feet the clips want to bear load, (all frames, feet), as `MotionLibrary.contacts` says."""
    masked = [clip.contact_mask is not None and clip.contact_mask.shape[1] == feet for clip in clips]
    if not any(masked):
        return torch.zeros(0, feet)
    parts = [
        torch.tensor(resample(clip, fps).contact_mask) if known else torch.full((count, feet), -1.0)
        for clip, count, known in zip(clips, frames, masked, strict=True)
    ]
    return torch.cat([part.float() for part in parts])


def _handed_over(clips: list[_T]) -> Iterator[_T]:
    """The clips of a list, which lets go of each: what files say of bodies is freed as soon as it is compared."""
    clips.reverse()
    while clips:
        yield clips.pop()


def _merge(clips: Iterable[Clip | BuiltInClip]) -> list[Clip | BuiltInClip]:
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


def clip_facts(library: MotionLibrary, at_once: int = 0) -> dict[str, str]:
    """How many clips there are and how much memory they take, of which `at_once` are held (0: all), in words."""
    frames, longest = len(library.vectors), int(library.frames.max())
    each = sum(table[0].numel() * table.element_size() for table in _tables(library))
    count = len(library.names)
    size = f"{count} {'clip' if count == 1 else 'clips'}, {frames:,} frames at {library.fps:g} per second"
    if not at_once:
        return {"clips": f"{size}: {_mebibytes(frames * each)} of memory"}
    held = f"{at_once} at once, of up to {longest:,} frames: {_mebibytes(at_once * longest * each)} of memory"
    return {"clips": f"{size}: {_mebibytes(frames * each)} in a file; {held}"}


def _tables(library: MotionLibrary) -> list[torch.Tensor]:
    return [table for table in (library.vectors, library.rotations, library.contacts) if len(table)]


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"
