"""Observation terms that tables of other projects name: functions of one moment, in numpy."""

from collections.abc import Callable, Mapping

import attrs
import numpy as np

from systems.deploy.robot import RobotReading
from systems.maths.rotation import rotate, rotate_inverse


@attrs.frozen(eq=False)
class Moment:
    """What a policy may see in one control step. Joints are in the policy's order; quaternions are w, x, y, z."""

    reading: RobotReading
    command: np.ndarray  # (3,) m/s, m/s, rad/s
    default: np.ndarray  # (joints,) rad
    sensor: np.ndarray  # (3,) m, of the velocity sensor in the base
    last_action: np.ndarray  # (joints,)
    phase: np.ndarray  # (2,) rad, of the left and of the right foot
    anchor_place: np.ndarray  # (3,) m, of the robot's anchor in the world; 0 for a walker
    anchor_turn: np.ndarray  # (4,)
    joints: np.ndarray  # (joints,) rad, of the reference; 0 for a walker
    speeds: np.ndarray  # (joints,) rad/s
    aim_place: np.ndarray  # (3,) m, of the reference's anchor
    aim_turn: np.ndarray  # (4,)
    last_target: np.ndarray = attrs.field(factory=lambda: np.zeros(0))  # (joints,) rad; 0 in the first control step
    ahead: Mapping[str, np.ndarray] = attrs.field(
        factory=dict
    )  # (F, …) of the motion in the next frames, by what it is


def base_linear_velocity(moment: Moment) -> np.ndarray:
    """Of the velocity sensor, in its own axes, m/s."""
    reading = moment.reading
    return reading.base_linear_velocity + np.cross(reading.base_angular_velocity, moment.sensor)


def gravity(moment: Moment) -> np.ndarray:
    """Where down is, in the axes of the base."""
    return rotate_inverse(moment.reading.base_orientation, np.array((0.0, 0.0, -1.0)))


def anchor_position(moment: Moment) -> np.ndarray:
    """The reference's anchor seen from the robot's, m."""
    return rotate_inverse(moment.anchor_turn, moment.aim_place - moment.anchor_place)


def anchor_orientation(moment: Moment) -> np.ndarray:
    """First two columns, row by row, of the rotation of the reference's anchor seen from the robot's; (6,)."""
    columns = rotate_inverse(moment.anchor_turn[None], rotate(moment.aim_turn[None], np.eye(3)[:2]))
    return columns.T.ravel()


XYZW = [1, 2, 3, 0]  # which of w, x, y, z are x, y, z, w


TERMS: Mapping[str, Callable[[Moment], np.ndarray]] = {
    "base_linear_velocity": base_linear_velocity,
    "base_angular_velocity": lambda moment: moment.reading.base_angular_velocity,
    "gravity": gravity,
    "projected_gravity": gravity,
    "command": lambda moment: moment.command,
    "command_linear": lambda moment: moment.command[:2],
    "command_turning": lambda moment: moment.command[2:],
    "joint_position": lambda moment: moment.reading.joint_position,
    "joint_offset": lambda moment: moment.reading.joint_position - moment.default,
    "joint_velocity": lambda moment: moment.reading.joint_velocity,
    "last_action": lambda moment: moment.last_action,
    "gait_cosine": lambda moment: np.cos(moment.phase),
    "gait_sine": lambda moment: np.sin(moment.phase),
    "reference_joints": lambda moment: np.concatenate((moment.joints, moment.speeds)),
    "anchor_position": anchor_position,
    "anchor_orientation": anchor_orientation,
    "anchor_rotation_xyzw": lambda moment: moment.anchor_turn[XYZW],
    "last_target": lambda moment: moment.last_target,
    "reference_anchor_position": lambda moment: moment.ahead["anchor_place_now"],
    "future_joint_position": lambda moment: moment.ahead["joints"],
    "future_joint_velocity": lambda moment: moment.ahead["speeds"],
    "future_anchor_position": lambda moment: moment.ahead["anchor_place"],
    "future_anchor_rotation_xyzw": lambda moment: moment.ahead["anchor_turn"][..., XYZW],
    "future_body_position": lambda moment: moment.ahead["body_place"],
    "future_body_rotation_xyzw": lambda moment: moment.ahead["body_turn"][..., XYZW],
}
