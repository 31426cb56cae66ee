"""Stance of a robot, and what its limbs do: everything a clip needs to know of it, found through its kinematics.

No leg length, joint axis or sign of a particular robot is written here; arms, knees and waist are found by
name (`right_shoulder…`, `…elbow…`, `…knee…`, `waist_…`).
"""

from collections.abc import Callable
from functools import partial

import attrs
import numpy as np
import torch

from components.robot import Robot
from engine.errors import SceneError
from systems.maths import quaternion
from systems.maths.rotation import pitched
from systems.motion.clips.solve import least_squares
from systems.motion.kinematics import Kinematics, body_poses

TILTED = 0.002  # m that a foot reaches deeper than when it is flat
SAME_PLACE = 1e-6  # m; joints that are closer turn about one point


@attrs.frozen(eq=False)
class Stance:
    """Where the feet stand, what they are moved by, and what is above them. The root is at x = y = 0, facing x."""

    robot: Robot
    model: Kinematics
    default: np.ndarray  # (dof,) rad
    lower: np.ndarray  # (dof,) rad, soft limits
    upper: np.ndarray
    height: float  # m, of the root when standing
    scale: float  # height of the root against the G1's
    feet: tuple[int, ...]  # bodies, from left to right
    foot_position: np.ndarray  # (feet, 3) m
    foot_rotation: np.ndarray  # (feet, 4), flat on the floor
    soles: np.ndarray  # (feet, 2) m, middle of each sole
    centre: np.ndarray  # (2,) m, middle of the soles
    legs: tuple[int, ...]  # joints that move the feet
    knees: tuple[int, ...]  # joints that shorten the legs


def stand_up(robot: Robot, model: Kinematics) -> Stance:
    """The default pose set down on flat feet; SceneError for a robot without feet or contact points."""
    default = robot.default_position.detach().cpu().double().numpy()
    limit = robot.soft_position_limit.detach().cpu().double().numpy()
    default = np.clip(default, limit[:, 0], limit[:, 1])
    feet = tuple(robot.body_names.index(name) for name in robot.foot_names)
    if not feet:
        raise SceneError(
            f"{robot.name} names no feet, so no clip can be made for it. Name its foot bodies, or read a clip from a "
            "file."
        )
    place, turn = np.zeros((1, 3)), np.array([[1.0, 0.0, 0.0, 0.0]])
    position, rotation = body_poses(model, place, turn, default[None])
    lowest = -float(model.foot_points(position, rotation)[0, :, 2].min())
    feet = tuple(sorted(feet, key=lambda foot: -position[0, foot, 1]))
    zero = body_poses(model, place, turn, np.zeros((1, len(default))))
    flat_position, flat_rotation = min(zero, (position, rotation), key=lambda pose: _unevenness(model, pose, feet))
    flat_points = model.foot_points(flat_position, flat_rotation)[0]
    moved = moved_bodies(model, default)[:, list(feet)].any(1)
    legs = tuple(int(i) for i in np.flatnonzero(moved))
    target, soles = position[0, list(feet)].copy(), []
    for i, foot in enumerate(feet):
        points = flat_points[[body == foot for body in model.foot_point_body]]
        if not len(points):
            raise SceneError(
                f"Foot '{robot.body_names[foot]}' of {robot.name} has no contact points, so it cannot be put on the floor."
            )
        below = points - flat_position[0, foot]
        target[i, 2] = -below[:, 2].min()
        soles.append(target[i, :2] + 0.5 * (below[:, :2].min(0) + below[:, :2].max(0)))
    level = float((target[:, 2] - position[0, list(feet), 2]).max())
    height = level if lowest > level + TILTED else lowest
    if any(abs(default[i]) < 0.15 for i in knees(robot, model, default, limit, legs)):
        height *= 0.985  # straight legs cannot give way
    return Stance(
        robot=robot,
        model=model,
        default=default,
        lower=limit[:, 0],
        upper=limit[:, 1],
        height=height,
        scale=height / 0.76,
        feet=feet,
        foot_position=target,
        foot_rotation=flat_rotation[0, list(feet)],
        soles=np.array(soles),
        centre=np.mean(soles, 0),
        legs=legs,
        knees=knees(robot, model, default, limit, legs),
    )


def _unevenness(model: Kinematics, pose: tuple[np.ndarray, np.ndarray], feet: tuple[int, ...]) -> float:
    """m by which the lower half of the points of each foot differ in height, summed: 0 for feet that stand flat."""
    heights, body = model.foot_points(*pose)[0, :, 2], np.array(model.foot_point_body)
    uneven = 0.0
    for foot in feet:
        lower = np.sort(heights[body == foot])[: max(1, int((body == foot).sum()) // 2)]
        uneven += float(np.ptp(lower)) if lower.size else 0.0
    return uneven


def knees(
    robot: Robot, model: Kinematics, default: np.ndarray, limit: np.ndarray, legs: tuple[int, ...]
) -> tuple[int, ...]:
    """Joints that shorten the legs: those called so, else the joint that brings each foot closest to the leg's first joint."""
    named = tuple(i for i, name in enumerate(robot.dof_names) if "knee" in name.lower())
    if named or not legs:
        return named
    bend = np.clip(default + 0.5 * np.eye(len(default))[list(legs)], limit[:, 0], limit[:, 1])
    back = np.clip(default - 0.5 * np.eye(len(default))[list(legs)], limit[:, 0], limit[:, 1])
    probe = np.concatenate((default[None], bend, back))
    place, turn = np.zeros((len(probe), 3)), np.tile((1.0, 0.0, 0.0, 0.0), (len(probe), 1))
    position, _ = body_poses(model, place, turn, probe)
    moved, found = moved_bodies(model, default), []
    for foot in (robot.body_names.index(name) for name in robot.foot_names):
        leg = [joint for joint in legs if moved[joint, foot]]
        if leg:
            hip = int(np.flatnonzero(moved[leg[0]])[0])
            length = np.linalg.norm(position[:, foot] - position[:, hip], axis=-1)
            shortest = np.minimum(length[1 : 1 + len(legs)], length[1 + len(legs) :])
            found.append(min(leg, key=lambda joint: shortest[legs.index(joint)]))
    return tuple(dict.fromkeys(found))


def moved_bodies(model: Kinematics, dofs: np.ndarray) -> np.ndarray:
    """Which bodies each joint turns, (dof, bodies) bool."""
    count = len(dofs)
    probe = np.concatenate((dofs[None], dofs + 1e-3 * np.eye(count)))
    turn = np.tile((1.0, 0.0, 0.0, 0.0), (count + 1, 1))
    _, rotation = body_poses(model, np.zeros((count + 1, 3)), turn, probe)
    return np.asarray(np.abs((rotation[1:] * rotation[:1]).sum(-1)) < 1.0 - 1e-8)


def mass_centre(model: Kinematics, position: np.ndarray, rotation: np.ndarray, bodies: slice | list[int]) -> np.ndarray:
    """Where the mass of some bodies is on average, (T, 3) m, for body poses (T, B, 3) m and (T, B, 4)."""
    mass = model.body_mass[bodies]
    local = torch.from_numpy(model.body_com[bodies]).expand(len(position), -1, -1)
    centre = position[:, bodies] + quaternion.rotate(torch.from_numpy(rotation[:, bodies]), local).numpy()
    return np.asarray((mass[:, None] * centre).sum(1) / mass.sum())


def arm(robot: Robot, side: str) -> tuple[int, ...]:
    """Joints of one arm from shoulder to elbow; empty where none is named so."""
    words = ("shoulder", "elbow")
    return tuple(i for i, name in enumerate(robot.dof_names) if side in name and any(word in name for word in words))


def waist(stance: Stance) -> np.ndarray:
    """How far each joint turns for the trunk to turn left by 1 rad above the pelvis: (dof,), 0 without a waist yaw."""
    turning = np.zeros(len(stance.default))
    still, upright = np.zeros((1, 3)), np.array([[1.0, 0.0, 0.0, 0.0]])
    for joint, label in enumerate(stance.robot.dof_names):
        if "waist_yaw" in label:
            rate = np.zeros((1, len(turning)))
            rate[0, joint] = 1.0
            spin = stance.model.kinematics(still, upright, stance.default[None], still, still, rate)[3][0, :, 2]
            turning[joint] = 1.0 if spin.sum() > 0.0 else -1.0
            break
    return turning


def reach(stance: Stance, side: str, upper_arm: np.ndarray, forearm: np.ndarray) -> np.ndarray:
    """Joint angles of an arm whose upper arm and forearm point as given in the upright root's frame.

    The forearm points from the elbow to the centre of mass of everything beyond it. The target moves from
    the arm's default direction to the wanted one in small steps, so that the arm takes the natural way.
    """
    joints, directions = _arm_directions(stance, side)
    x = stance.default[joints][None]
    begin, end = directions(x)[0], _unit(np.stack((upper_arm, forearm)))
    for share in np.linspace(0.1, 1.0, 10):
        target = _unit(begin + share * (end - begin))
        miss = partial(_miss, directions, target)
        x = least_squares(miss, x, stance.lower[joints], stance.upper[joints], 1e-2)
    return np.asarray(x[0])


def swing_arm(stance: Stance, side: str, angle: float) -> np.ndarray:
    """What each joint adds to the default pose for one arm to swing forward by `angle` rad: (dof,); 0 without arms."""
    change = np.zeros(len(stance.default))
    joints, directions = _arm_directions(stance, side)
    if joints:
        hanging = torch.from_numpy(directions(stance.default[joints][None])[0])
        forward = torch.from_numpy(pitched(np.array([-angle, -angle])))
        upper_arm, forearm = quaternion.rotate(forward, hanging).numpy()
        change[joints] = reach(stance, side, upper_arm, forearm) - stance.default[joints]
    return change


def _arm_directions(stance: Stance, side: str) -> tuple[list[int], Callable[[np.ndarray], np.ndarray]]:
    """Joints of an arm, and where their angles (T, joints) point upper arm and forearm: (T, 2, 3) unit vectors."""
    joints = list(arm(stance.robot, side))
    moved = moved_bodies(stance.model, stance.default)

    def directions(x: np.ndarray) -> np.ndarray:
        elbow = next((i for i in joints if "elbow" in stance.robot.dof_names[i]), joints[-1])
        beyond = [int(i) for i in np.flatnonzero(moved[elbow])]
        shoulder = int(np.flatnonzero(moved[joints[0]])[0])
        pose = np.tile(stance.default, (len(x), 1))
        pose[:, joints] = x
        position, rotation = body_poses(stance.model, np.zeros((len(x), 3)), pitched(np.zeros(len(x))), pose)
        hand = mass_centre(stance.model, position, rotation, beyond)
        upper_arm, forearm = position[:, beyond[0]] - position[:, shoulder], hand - position[:, beyond[0]]
        stiff = np.linalg.norm(upper_arm, axis=-1, keepdims=True) < SAME_PLACE  # no elbow, so the arm is one piece
        return _unit(np.stack((np.where(stiff, forearm, upper_arm), forearm), 1))

    return joints, directions


def _miss(
    directions: Callable[[np.ndarray], np.ndarray], target: np.ndarray, x: np.ndarray, frame: np.ndarray
) -> np.ndarray:
    return np.asarray(directions(x) - target).reshape(len(frame), -1)


def _unit(lines: np.ndarray) -> np.ndarray:
    return np.asarray(lines / np.linalg.norm(lines, axis=-1, keepdims=True))
