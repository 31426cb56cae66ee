"""Default pose of a robot's file: its keyframe, or the file's own pose, moved into the ranges where it is outside."""

import math

import attrs
import mujoco
import numpy as np

from engine.errors import listing
from systems.maths.rotation import rotate

PREFERRED = ("home", "stand")  # parts of the names of keyframes, best first
MOST_LEAN = math.radians(30.0)  # of the root in a pose to stand in
_SIZES = {mujoco.mjtJoint.mjJNT_FREE: 7, mujoco.mjtJoint.mjJNT_BALL: 4}


@attrs.frozen
class Pose:
    """Angles (rad) by joint, what they are called, and a sentence where there was a choice."""

    angles: dict[str, float]
    called: str
    notes: tuple[str, ...] = ()


def keyframe(spec: mujoco.MjSpec) -> Pose | None:
    """The keyframe to stand in of a file as its author wrote it: one called home or stand, else the first that is upright."""
    joints = list(spec.joints)
    sizes = [_SIZES.get(joint.type, 1) for joint in joints]
    starts = np.cumsum([0, *sizes])
    standing = []
    for number, key in enumerate(spec.keys):
        values = np.array(key.qpos)
        if len(values) != starts[-1]:
            continue
        at = {joint.name: start for joint, start, size in zip(joints, starts, sizes, strict=False) if size == 1}
        roots = [values[start + 3 : start + 7] for start, size in zip(starts, sizes, strict=False) if size == 7]
        if all(lean(rotation) < MOST_LEAN for rotation in roots):
            called = f"keyframe '{key.name}'" if key.name else f"keyframe {number}"
            standing.append(Pose({name: float(values[start]) for name, start in at.items()}, called))
    named = [pose for word in PREFERRED for pose in standing if word in pose.called.lower()]
    chosen = next(iter(named or standing), None)
    if chosen is not None and len(spec.keys) > 1:
        return attrs.evolve(chosen, notes=(f"Its default pose is the {chosen.called}, one of {len(spec.keys)}.",))
    return chosen


def lean(rotation: np.ndarray) -> float:
    """rad between the z axis of a rotation (scalar first, any length) and the world's."""
    length = float(np.linalg.norm(rotation))
    up = rotate(np.asarray(rotation) / length, np.array([0.0, 0.0, 1.0])) if length else np.array([0.0, 0.0, 1.0])
    return math.acos(min(1.0, max(-1.0, float(up[2]))))


def within_ranges(model: mujoco.MjModel, pose: Pose) -> tuple[dict[str, float], list[str]]:
    """Angles of all joints of a compiled model but the first: the pose's, or the nearest within the range, and a sentence of those."""
    angles, moved = {}, []
    for joint in range(1, model.njnt):
        name, (low, high) = model.joint(joint).name, model.jnt_range[joint]
        wanted = pose.angles.get(name, float(model.qpos0[model.jnt_qposadr[joint]]))
        angles[name] = float(np.clip(wanted, low, high)) if model.jnt_limited[joint] else wanted
        if angles[name] != wanted:
            moved.append(f"{name} at {angles[name]:g} in place of {wanted:g} rad")
    if not moved:
        return angles, []
    return angles, [f"The {pose.called} is outside of joint ranges; the default pose has {listing(moved, 6)}."]
