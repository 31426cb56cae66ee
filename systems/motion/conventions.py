"""Conventions of motion files: orders of quaternions, kinds of rotations, units and rates, to those of a clip."""

from collections.abc import Callable

import attrs
import numpy as np
import torch

from components.motion import Clip, Fact, Origin
from engine.errors import SceneError
from systems.maths import quaternion
from systems.motion.options import METRES, ClipOptions

UNEVEN = 0.251  # of a step between two times: a quarter, as of 240 fps in whole ms; more is a dropped frame or no clock
CLOCKS = (1.0, 1e-3, 1e-6, 1e-9)  # s; what times may be counted in


def origins(options: ClipOptions, **facts: Origin) -> dict[Fact, Origin]:
    """Who fixed each fact: the user where an option says it, else as given, else the file."""
    kinds: tuple[Fact, ...] = ("rotation", "rate", "joints", "angles", "lengths")
    return {kind: options.origin(kind, facts.get(kind, "file")) for kind in kinds}


def in_order(clip: Clip, order: str, options: ClipOptions) -> Clip:
    """The clip with quaternions scalar first, read in the order that the user gave or in that of the file."""
    word = options.get("rotation")
    turn = 1 if (word or order) == "xyzw" else 0
    clip = attrs.evolve(clip, file_rotation="" if word else order)
    if not turn:
        return clip
    bodies = None if clip.body_rotation is None else np.roll(clip.body_rotation, turn, -1)
    return attrs.evolve(clip, root_rotation=np.roll(clip.root_rotation, turn, -1), body_rotation=bodies)


def in_units(clip: Clip, options: ClipOptions) -> Clip:
    """The clip in radians and metres, where the user says that it is in other units."""
    angle, length = options.get("angles"), options.get("lengths")
    if angle == "deg":
        speed = None if clip.dof_velocity is None else np.deg2rad(clip.dof_velocity)
        clip = attrs.evolve(clip, dof_position=np.deg2rad(clip.dof_position), dof_velocity=speed)
    if length in ("cm", "mm"):
        scale = np.float64(METRES[length])  # what is of single precision becomes double
        bodies = None if clip.body_position is None else clip.body_position * scale
        clip = attrs.evolve(clip, root_position=clip.root_position * scale, body_position=bodies)
    return clip


def in_joint_order(clip: Clip, options: ClipOptions) -> Clip:
    """The clip with the user's word for the order of its nameless joints."""
    if clip.dof_names is not None:
        options.idle("joints", f"{clip.source} names its joints.")
        return clip
    return attrs.evolve(clip, joint_order=options.get("joints") or "")


def from_euler(angles: np.ndarray) -> np.ndarray:
    """Quaternions scalar first of rotations about the fixed axes x, y and z, one after another; (T, 3) rad -> (T, 4)."""
    start = torch.zeros(len(angles), 4, dtype=torch.float64)
    start[:, 0] = 1.0
    return _numpy(lambda turns: quaternion.turn_by_euler(start, turns), angles)


def from_rotation_vectors(vectors: np.ndarray) -> np.ndarray:
    """Quaternions scalar first of (T, 3) rotation vectors."""
    return _numpy(quaternion.from_rotation_vector, vectors)


def _numpy(function: Callable[[torch.Tensor], torch.Tensor], values: np.ndarray) -> np.ndarray:
    return np.asarray(function(torch.from_numpy(np.ascontiguousarray(values))).numpy())


def rate_of(times: np.ndarray, source: str, item: str) -> float:
    """Frames per second of evenly spaced times in seconds, or in ms, µs or ns where seconds make no sense.

    Raises SceneError where they are not evenly spaced.
    """
    steps = np.diff(times)
    step = float(np.median(steps)) if len(steps) else 0.0
    bad = np.flatnonzero(~(np.abs(steps - step) <= UNEVEN * step))
    if not step > 0.0 or len(bad):
        frame = int(bad[0]) if len(bad) else 0
        found = f"frame {frame + 1} comes {steps[frame]:g} after the one before" if len(steps) else "there is one frame"
        fault = f"are not evenly spaced: {found}, where {step:g} is usual" if step > 0.0 else f"do not grow: {found}"
        raise SceneError(
            f"The times in {source} {fault}. Resample the clip, or name "
            f"it as {item}:50fps, if it has 50 frames per second, to go by the frames and not by the times."
        )
    mean = float((times[-1] - times[0]) / len(steps))
    clock = next((unit for unit in CLOCKS if 1.0 <= 1.0 / (mean * unit) <= 1000.0), 1.0)
    return round(1.0 / (mean * clock), 3)
