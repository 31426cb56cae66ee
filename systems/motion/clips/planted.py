"""Clips in which both feet stay where they are: stand, sway, twist, squat and wave."""

import numpy as np

from engine.errors import SceneError
from systems.motion.clips.outline import Outline, planted, rise, times
from systems.motion.clips.stance import Stance, arm, reach, waist


def stand(stance: Stance) -> Outline:
    """Three seconds of standing still."""
    return planted(stance, np.tile(stance.default, (len(times(3.0)), 1)))


def sway(stance: Stance) -> Outline:
    """6 s: the weight goes over the left foot and over the right one, twice, each time for a moment."""
    time = times(6.0)
    reached = 0.8 * (stance.soles[:, 1].max() - stance.centre[1])
    turns = (0.5, 1.1), (1.5, 2.3), (2.7, 3.5), (3.9, 4.7), (4.9, 5.5)
    changes = (1.0, -2.0, 2.0, -2.0, 1.0)
    side = sum(change * rise(time, *turn) for change, turn in zip(changes, turns, strict=True))
    dofs = np.tile(stance.default, (len(time), 1))
    pressure = stance.centre + np.stack((np.zeros_like(time), reached * side), 1)
    return planted(stance, dofs, pressure=pressure)


def twist(stance: Stance) -> Outline:
    """6 s: with both hands in front, the trunk turns left and right twice; the pelvis goes with it by a third."""
    time = times(6.0)
    there = rise(time, 0.2, 1.0) - rise(time, 5.0, 5.8)
    turn = np.sin(2.0 * np.pi * 0.5 * (time - 1.0)) * (rise(time, 1.0, 1.6) - rise(time, 4.4, 5.0))
    dofs = np.tile(stance.default, (len(time), 1)) + (0.6 * turn)[:, None] * waist(stance)
    for side, outward in (("left", 1.0), ("right", -1.0)):
        joints = list(arm(stance.robot, side))
        if joints:
            held = reach(stance, side, np.array((0.35, 0.35 * outward, -1.0)), np.array((1.0, -0.2 * outward, 0.15)))
            dofs[:, joints] += there[:, None] * (held - stance.default[joints])
    return planted(stance, dofs, heading=0.2 * turn)


def squat(stance: Stance) -> Outline:
    """4.8 s: 20 cm down and up twice (for a G1), leaning forward, arms swinging forward for balance."""
    time = times(4.8)
    depth = sum(rise(time, begin, begin + 0.9) - rise(time, begin + 1.1, begin + 2.0) for begin in (0.3, 2.5))
    dofs = np.tile(stance.default, (len(time), 1))
    for side, outward in (("left", 1.0), ("right", -1.0)):
        joints = arm(stance.robot, side)
        if joints:
            reached = reach(stance, side, np.array((1.0, 0.15 * outward, 0.1)), np.array((1.0, 0.0, 0.3)))
            dofs[:, joints] += depth[:, None] * (reached - stance.default[list(joints)])
    for joint, label in enumerate(stance.robot.dof_names):
        if "waist_pitch" in label:
            dofs[:, joint] += 0.1 * depth
    return planted(stance, dofs, height=stance.height - 0.2 * stance.scale * depth, lean=0.35 * depth)


def wave(stance: Stance) -> Outline:
    """4 s: the right hand goes up, swings from side to side three times and comes down again."""
    joints = arm(stance.robot, "right")
    if not joints:
        raise SceneError(
            f"{stance.robot.name} cannot wave: none of its joints is named right_shoulder… or right_elbow…. Choose "
            "stand."
        )
    time = times(4.0)
    up = rise(time, 0.2, 1.1) - rise(time, 2.9, 3.8)
    swing = np.sin(2.0 * np.pi * 1.5 * (time - 1.0)) * (rise(time, 1.0, 1.3) - rise(time, 2.7, 3.0))
    upper_arm = np.array((0.25, -1.0, 0.1))
    inward, outward = (reach(stance, "right", upper_arm, np.array((0.2, side, 1.0))) for side in (0.35, -0.55))
    dofs = np.tile(stance.default, (len(time), 1))
    dofs[:, joints] += up[:, None] * (0.5 * (inward + outward) - stance.default[list(joints)])
    dofs[:, joints] += swing[:, None] * 0.5 * (outward - inward)
    return planted(stance, dofs)
