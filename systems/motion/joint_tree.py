"""What each joint of a robot carries, found by moving one after the other."""

import re

import attrs
import numpy as np
import torch

from components.robot import Robot
from systems.maths import quaternion
from systems.motion.kinematics import Kinematics, body_poses

_MOVE = 0.1  # rad
_SIDE = re.compile(r"(?<![A-Za-z])(left|right|Left|Right|LEFT|RIGHT|[lrLR])(?![a-z])")
_OTHER = {"left": "right", "l": "r", "Left": "Right", "LEFT": "RIGHT", "L": "R"}
_OTHER |= {right: left for left, right in _OTHER.items()}
_TRUNK_SHARE = 0.2  # of the robot's mass


@attrs.frozen(eq=False)
class JointTree:
    """The joints of a robot by what they carry; all along axis `dof`."""

    depth: tuple[int, ...]  # joints between each one and the root
    leg: tuple[bool, ...]  # whether it carries a foot
    trunk: tuple[bool, ...]  # whether it carries a fifth of the mass and no foot
    mirror: tuple[tuple[int, int, int], ...]  # left, right, and the sign between them in a symmetric pose

    def breadth_first(self) -> tuple[int, ...]:
        """The joints level by level, as PhysX counts them."""
        return tuple(sorted(range(len(self.depth)), key=lambda joint: self.depth[joint]))


def joint_tree(model: Kinematics, robot: Robot) -> JointTree:
    """The tree of a robot's joints."""
    count = len(robot.dof_names)
    pose = robot.default_position.detach().cpu().double().numpy() + np.vstack((np.zeros(count), _MOVE * np.eye(count)))
    still = np.tile((1.0, 0.0, 0.0, 0.0), (count + 1, 1))
    position, rotation = body_poses(model, np.zeros((count + 1, 3)), still, pose)
    turned = torch.from_numpy(rotation)
    turn = quaternion.to_rotation_vector(quaternion.multiply(turned[1:], quaternion.conjugate(turned[:1]))).numpy()
    moved = (np.abs(position[1:] - position[:1]).max(-1) > 1e-9) | (np.abs(turn).max(-1) > 1e-6)
    feet = sorted(set(model.foot_point_body))
    leg = moved[:, feet].any(1) if feet else np.zeros(count, dtype=bool)
    share = moved @ model.body_mass / model.body_mass.sum()
    axis = turn[np.arange(count), moved.argmax(1)] / _MOVE
    return JointTree(
        depth=tuple(sum(_carries(moved, other, joint) for other in range(count)) for joint in range(count)),
        leg=tuple(leg.tolist()),
        trunk=tuple((~leg & (share > _TRUNK_SHARE)).tolist()),
        mirror=_mirrored(robot.dof_names, axis),
    )


def _carries(moved: np.ndarray, above: int, below: int) -> bool:
    """Whether one joint carries another; of two in the same body the first does."""
    if above == below or (moved[below] & ~moved[above]).any():
        return False
    return bool((moved[above] & ~moved[below]).any()) or above < below


def other_side(name: str) -> str:
    """The joint's name with left for right, or right for left; as it is where it has no side."""
    return _SIDE.sub(lambda match: _OTHER[match[0]], name, count=1)


def _mirrored(names: tuple[str, ...], axis: np.ndarray) -> tuple[tuple[int, int, int], ...]:
    """Pairs of joints that differ in one word for the side, and turn about mirrored axes."""
    pairs = []
    for left, name in enumerate(names):
        other = other_side(name)
        right = names.index(other) if other in names else -1
        if right <= left:
            continue
        along = float(axis[right] @ (axis[left] * np.array((-1.0, 1.0, -1.0))))
        if abs(along) > 0.8:
            pairs.append((left, right, 1 if along > 0.0 else -1))
    return tuple(pairs)
