"""Verification of a clip against the robot that shall follow it, by forward kinematics, before anything is learned from it.

A clip that cannot be right is refused with frame, value and cure; what is merely suspicious becomes a
warning. Wrong quaternion order, wrong joint order and wrong units are distinguished, since each of them
otherwise loads without a word and never trains.
"""

import attrs
import numpy as np
import torch

from components.motion import Clip
from components.robot import Robot
from engine.errors import SceneError
from systems.maths import quaternion
from systems.motion.floor import check_floor, put_on_floor
from systems.motion.joint_orders import BREADTH_FIRST_ORDER, DOCUMENTED_ORDER
from systems.motion.joints import WRIST, fit_joints
from systems.motion.kinematics import Kinematics, body_poses

LIMIT_SLACK = 0.25  # rad beyond a joint limit that is a warning; more is another robot, order or unit
BODY_WARNING, BODY_REFUSAL = 1e-3, 0.03  # m between a body in the file and where its joints put it
TURN_WARNING, TURN_REFUSAL = 0.02, 0.2  # rad, the same for rotations
ROOT_SPEED = 12.0  # m/s; a root that moves faster has jumped
ROOT_TURN = 40.0  # rad/s


def verify_clip(clip: Clip, robot: Robot, model: Kinematics, *, height: str = "keep") -> tuple[Clip, list[str]]:
    """`clip` with its joints in the robot's order, unit quaternions and, for `height="auto"`, feet on the floor.

    Also returns what is suspicious about it, one sentence each. Raises SceneError where it cannot be right.
    """
    if height not in ("keep", "auto"):
        raise SceneError(
            f"Clip height '{height}' is unknown. Say 'keep' to play clips as they are or 'auto' to put feet on the "
            "floor."
        )
    _check_frames(clip)
    _check_finite(clip)
    clip, warnings = fit_joints(clip, robot)
    clip, found = _check_quaternions(clip)
    warnings += found
    _check_units(clip, robot)
    _check_upright(clip)
    _check_alternatives(clip, robot, model)
    warnings += _check_limits(clip, robot)
    warnings += _check_jumps(clip, robot)
    warnings += _check_frame_rate(clip)
    position, rotation = _poses(clip, model)
    warnings += _check_bodies(clip, robot, position, rotation)
    low = model.foot_points(position, rotation)[..., 2].min(-1)
    if height == "auto":
        clip, found = put_on_floor(clip, low)
        return clip, warnings + found
    return clip, warnings + check_floor(clip, low)


def _poses(clip: Clip, model: Kinematics) -> tuple[np.ndarray, np.ndarray]:
    return body_poses(model, clip.root_position, clip.root_rotation, clip.dof_position)


def _check_frames(clip: Clip) -> None:
    if clip.num_frames < 2:
        raise SceneError(
            f"{clip.title} has {clip.num_frames} frames; a motion needs at least 2. Is the file cut short?"
        )
    if not 1.0 <= clip.fps <= 1000.0:
        raise SceneError(
            f"{clip.title} says {clip.fps:g} frames per second; 1 to 1000 are believable. Say e.g. file.csv:30fps."
        )


def _check_finite(clip: Clip) -> None:
    arrays = {
        "root position": clip.root_position,
        "root rotation": clip.root_rotation,
        "joint position": clip.dof_position,
        "body position": clip.body_position,
        "body rotation": clip.body_rotation,
    }
    for name, array in arrays.items():
        if array is not None and not np.isfinite(array).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise SceneError(
                f"{clip.at(place[0])}: {name} {list(place[1:])} is {array[place]}. Every number must be finite; "
                "cut the frame out or convert the clip again."
            )


def _check_quaternions(clip: Clip) -> tuple[Clip, list[str]]:
    norm = np.linalg.norm(clip.root_rotation, axis=-1)
    error = np.abs(norm - 1.0)
    frame = int(error.argmax())
    if error[frame] > 0.05:
        raise SceneError(
            f"{clip.at(frame)}: the root quaternion has length {norm[frame]:.3f} instead of 1. "
            "Are columns missing or shifted, or is it a rotation of another kind?"
        )
    clip = attrs.evolve(clip, root_rotation=clip.root_rotation / norm[:, None])
    if error[frame] > 1e-3:
        return clip, [f"{clip.at(frame)}: the root quaternion has length {norm[frame]:.4f}; it is scaled to 1."]
    return clip, []


def _limits(robot: Robot) -> tuple[np.ndarray, np.ndarray]:
    limit = robot.position_limit.detach().cpu().double().numpy()
    return limit[:, 0], limit[:, 1]


def _largest(table: np.ndarray) -> tuple[int, int]:
    row, column = np.unravel_index(table.argmax(), table.shape)
    return int(row), int(column)


def _excess(position: np.ndarray, robot: Robot) -> np.ndarray:
    lower, upper = _limits(robot)
    return np.asarray(np.maximum(lower - position, position - upper))


def _check_units(clip: Clip, robot: Robot) -> None:
    largest = np.abs(clip.dof_position).max(0)
    if largest.max() > np.pi and _excess(clip.dof_position, robot).max() > LIMIT_SLACK:
        if _excess(np.deg2rad(clip.dof_position), robot).max() <= LIMIT_SLACK:
            joint = int(largest.argmax())
            frame = int(np.abs(clip.dof_position[:, joint]).argmax())
            raise SceneError(
                f"{clip.at(frame)}: {robot.dof_names[joint]} is {clip.dof_position[frame, joint]:.1f}, "
                "and all joints fit their limits when read as degrees. Joint angles must be in radians; multiply "
                "them by π/180."
            )
    height = float(np.median(clip.root_position[:, 2]))
    if height > max(5.0, 10.0 * robot.default_height):
        raise SceneError(
            f"{clip.title}: the root is {height:.1f} m above the floor in the median frame. Is the root position in "
            "centimetres "
            "or millimetres? It must be in metres."
        )


def _up(rotation: np.ndarray) -> np.ndarray:
    """z component of the root's z axis, (T, 4) -> (T,)."""
    return np.asarray(1.0 - 2.0 * (rotation[:, 1] ** 2 + rotation[:, 2] ** 2))


_OTHER = {"wxyz": ("xyzw", 1), "xyzw": ("wxyz", -1)}


def _quaternion_cure(clip: Clip) -> str:
    other, _ = _OTHER[clip.file_rotation]
    return (
        f"The file's quaternions seem to be {other} and were read as {clip.file_rotation}: name the clip as "
        f"{clip.source}:{other}, or as {clip.source}:{clip.file_rotation} if it is right as it is."
    )


def _check_upright(clip: Clip) -> None:
    if not clip.file_rotation:
        return
    other = np.roll(clip.root_rotation, _OTHER[clip.file_rotation][1], -1)
    as_read, as_other = _up(clip.root_rotation), _up(other)
    if np.median(as_read) < 0.3 and np.median(as_other) > 0.7:
        frame = int(as_read.argmin())
        angle = np.degrees(np.arccos(np.clip(as_read[frame], -1.0, 1.0)))
        raise SceneError(f"{clip.at(frame)}: the root leans over by {angle:.0f} degrees. {_quaternion_cure(clip)}")


def _check_alternatives(clip: Clip, robot: Robot, model: Kinematics) -> None:
    """Refuse a clip whose standing feet are much stiller and flatter when it is read another way."""
    width = clip.dof_position.shape[1]
    order = BREADTH_FIRST_ORDER.get(width)
    if clip.dof_names is None and order is not None and robot.dof_names == DOCUMENTED_ORDER[width]:
        columns = [order.index(name) for name in robot.dof_names]
        if _unrest(attrs.evolve(clip, dof_position=clip.dof_position[:, columns]), model) < 0.5 * _unrest(clip, model):
            raise SceneError(
                f"{clip.title} has feet that slide and tilt, and would not if its joints were counted breadth first, "
                "as PhysX does (left hip pitch, right hip pitch, waist yaw, …). Reorder them depth first, "
                "or write joint_names into the file."
            )
    if clip.file_rotation:
        other = np.roll(clip.root_rotation, _OTHER[clip.file_rotation][1], -1)
        if _up(other).min() > 0.5 and _up(clip.root_rotation).min() > 0.5:
            if _unrest(attrs.evolve(clip, root_rotation=other), model) < 0.5 * _unrest(clip, model):
                raise SceneError(
                    f"{clip.title} has feet that slide and tilt as if the root faced the wrong way. "
                    f"{_quaternion_cure(clip)}"
                )


def _unrest(clip: Clip, model: Kinematics) -> float:
    """How much the foot nearest to the floor slides (m/s) times how much it tilts (m); small for a sound clip."""
    points = model.foot_points(*_poses(clip, model))
    body = np.asarray(model.foot_point_body)
    lowest = points[..., 2].argmin(1)
    frames = np.arange(clip.num_frames)
    step = points[frames[1:], lowest[:-1], :2] - points[frames[:-1], lowest[:-1], :2]
    slide = float(np.median(np.linalg.norm(step, axis=-1))) * clip.fps
    same_foot = body[None] == body[lowest][:, None]
    heights = points[..., 2]
    tilt = np.where(same_foot, heights, -np.inf).max(1) - np.where(same_foot, heights, np.inf).min(1)
    return (slide + 0.02) * (float(np.median(tilt)) + 0.005)


def _check_limits(clip: Clip, robot: Robot) -> list[str]:
    excess = _excess(clip.dof_position, robot)
    frame, joint = _largest(excess)
    lower, upper = _limits(robot)
    where = (
        f"{clip.at(frame)}: {robot.dof_names[joint]} is {clip.dof_position[frame, joint]:.3f} rad, outside its range "
        f"{lower[joint]:.3f} to {upper[joint]:.3f}"
    )
    if excess[frame, joint] > LIMIT_SLACK:
        raise SceneError(
            f"{where} by more than {LIMIT_SLACK} rad. Is the clip for another robot, or are its joints in another order?"
        )
    return [f"{where}; the robot will not reach it."] if excess[frame, joint] > 1e-3 else []


def _check_jumps(clip: Clip, robot: Robot) -> list[str]:
    rotation = torch.from_numpy(clip.root_rotation)
    speed = np.linalg.norm(np.diff(clip.root_position, axis=0), axis=-1) * clip.fps
    turn = quaternion.angle_between(rotation[1:], rotation[:-1]).numpy() * clip.fps
    for value, most, unit, what in ((speed, ROOT_SPEED, "m/s", "moves"), (turn, ROOT_TURN, "rad/s", "turns")):
        frame = int(value.argmax())
        if value[frame] > most:
            raise SceneError(
                f"{clip.at(frame)}: the root {what} at {value[frame]:.1f} {unit} to the next frame, over {most:g}. "
                "Two clips seem to be joined here, or the frame rate is wrong; cut it, e.g. file.csv:1-"
                f"{frame + 1}."
            )
    step = np.abs(np.diff(clip.dof_position, axis=0))
    limit = robot.velocity_limit.detach().cpu().double().numpy()
    ratio = step * clip.fps / np.where(limit > 0.0, limit, np.inf)
    frame, joint = _largest(ratio)
    where = f"{clip.at(frame)}: {robot.dof_names[joint]} moves {step[frame, joint]:.2f} rad to the next frame"
    if ratio[frame, joint] > 2.0 and step[frame, joint] > 0.8:
        cure = "unwrap the angle" if abs(step[frame, joint] - 2.0 * np.pi) < 0.5 else "cut the clip there, or smooth it"
        raise SceneError(f"{where}, {ratio[frame, joint]:.1f} times its speed limit. The clip jumps here; {cure}.")
    if ratio[frame, joint] > 1.0:
        return [f"{where}, {ratio[frame, joint]:.1f} times its speed limit; the robot will not follow."]
    return []


def _check_frame_rate(clip: Clip) -> list[str]:
    """Joint velocities in the file, where it has some, show the frame rate that they were computed for."""
    if clip.dof_velocity is None or not np.isfinite(clip.dof_velocity).all():
        return []
    ours = np.gradient(clip.dof_position, axis=0).ravel()
    theirs = clip.dof_velocity.ravel()
    if not ours @ ours:
        return []
    fps = float(ours @ theirs / (ours @ ours))
    if np.corrcoef(ours, theirs)[0, 1] > 0.98 and abs(fps / clip.fps - 1.0) > 0.1:
        raise SceneError(
            f"{clip.title} says {clip.fps:g} frames per second, but its joint velocities fit {fps:.1f}. "
            f"Name it as {clip.source}:{fps:.0f}fps, or convert it again."
        )
    if np.corrcoef(ours, theirs)[0, 1] < 0.9:
        return [f"{clip.title} has joint velocities that do not fit its joint angles; they are computed anew."]
    return []


def _check_bodies(clip: Clip, robot: Robot, position: np.ndarray, rotation: np.ndarray) -> list[str]:
    """Compare body poses in the file with those of its joints."""
    if clip.body_position is None:
        return []
    names = clip.body_names or robot.body_names
    if len(names) != clip.body_position.shape[1]:
        raise SceneError(
            f"{clip.title} has {clip.body_position.shape[1]} bodies without names and {robot.name} has {len(names)}. "
            "It is for another robot, or needs body_names."
        )
    known = [name for name in names if name in robot.body_names and not any(word in name for word in WRIST)]
    theirs, ours = [names.index(name) for name in known], [robot.body_names.index(name) for name in known]
    if not known:
        return []
    distance = np.linalg.norm(clip.body_position[:, theirs] - position[:, ours], axis=-1)
    errors = [(distance, BODY_WARNING, BODY_REFUSAL, "m")]
    if clip.body_rotation is not None:
        given, made = torch.from_numpy(clip.body_rotation[:, theirs].copy()), torch.from_numpy(rotation[:, ours].copy())
        angle = quaternion.angle_between(quaternion.normalize(given), made).numpy()
        errors.append((angle, TURN_WARNING, TURN_REFUSAL, "rad"))
    for error, warn, refuse, unit in errors:
        frame, body = _largest(error)
        far = f"{error[frame, body]:.4f} {unit}"
        where = f"{clip.at(frame)}: {known[body]} is {far} away from where the clip's joints put it"
        if error[frame, body] > refuse:
            raise SceneError(
                f"{where}. The joints or bodies are in another order (other simulators count breadth first), or the "
                "clip is for "
                "another robot; write joint_names and body_names into the file, or convert it again."
            )
        if error[frame, body] > warn:
            return [f"{where}: it was made with a slightly different model. Bodies are computed from the joints."]
    return []
