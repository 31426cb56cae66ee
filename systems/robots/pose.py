"""Default pose of a robot's file: its keyframe, or the file's own pose, moved into the ranges where it is outside."""

import math
import re
from itertools import accumulate

import attrs
import mujoco
import numpy as np

from engine.errors import listing
from systems.maths.rotation import rotate

PREFERRED = ("home", "stand")  # parts of the names of keyframes, best first
ONE_SIDED = re.compile("(?<![a-z])(left|right)|Left|Right")  # in names of those on one leg, which are the last choice
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
    joints, starts = _places(spec)
    standing = []
    for number, key in enumerate(spec.keys):
        if not _fault(key, joints, starts):
            at = {joint.name: start for joint, start in zip(joints, starts, strict=False) if _size(joint) == 1}
            pose = {name: float(key.qpos[start]) for name, start in at.items()}
            standing.append(Pose(pose, _called(key, number)))
    both = [pose for pose in standing if not ONE_SIDED.search(pose.called)] or standing
    named = [pose for word in PREFERRED for pose in both if word in pose.called.lower()]
    chosen = next(iter(named or both), None)
    if chosen is not None and len(spec.keys) > 1:
        return attrs.evolve(chosen, notes=(f"Its default pose is the {chosen.called}, one of {len(spec.keys)}.",))
    return chosen


def unused_keyframes(spec: mujoco.MjSpec) -> list[str]:
    """Why keyframes of a file are not poses to stand in, one sentence each."""
    joints, starts = _places(spec)
    faults = [(_called(key, i), _fault(key, joints, starts)) for i, key in enumerate(spec.keys) if len(key.qpos)]
    return [f"The {called} {fault}; it is not used." for called, fault in faults if fault]


def _places(spec: mujoco.MjSpec) -> tuple[list[mujoco.MjsJoint], list[int]]:
    """The joints of a spec, and where the numbers of each begin in a keyframe; the last is the count of all."""
    joints = list(spec.joints)
    return joints, [0, *accumulate(map(_size, joints))]


def _size(joint: mujoco.MjsJoint) -> int:
    return _SIZES.get(joint.type, 1)


def _called(key: mujoco.MjsKey, number: int) -> str:
    return f"keyframe '{key.name}'" if key.name else f"keyframe {number}"


def _fault(key: mujoco.MjsKey, joints: list[mujoco.MjsJoint], starts: list[int]) -> str:
    """What keeps a keyframe from being a pose to stand in; '' where nothing does."""
    if len(key.qpos) != starts[-1]:
        return f"has {len(key.qpos)} numbers where this model has {starts[-1]}"
    values = np.array(key.qpos)
    roots = [values[start + 3 : start + 7] for joint, start in zip(joints, starts, strict=False) if _size(joint) == 7]
    tilt = max(map(lean, roots), default=0.0)
    return f"leans by {math.degrees(tilt):.0f}°" if tilt >= MOST_LEAN else ""


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
