"""Limbs of a robot, found by its kinematic chains: legs from root to feet, arms as the two chains beside the trunk.

No name of a joint is read: a hip or shoulder is where the axes of the first joints of a chain meet, a knee or elbow
is the next joint, and what comes after it is the ankle or the wrist.
"""

import attrs
import mujoco
import numpy as np

from engine.errors import SceneError, listing
from systems.maths.rotation import rotate, rotate_inverse
from systems.robots.model import RobotModel

MEET = 0.15  # of a limb's length: axes this close to one point meet in it


@attrs.frozen(eq=False)
class BodyPoint:
    """A point that is fixed to a body."""

    body: int  # id in the MuJoCo model
    local: np.ndarray  # (3,) m, in the body's frame


@attrs.frozen(eq=False)
class JointChain:
    """A leg or an arm: where it hangs, its hinge and its end, and how long its two parts are."""

    top: BodyPoint  # hip in the root's frame, shoulder in the trunk's
    hinge: BodyPoint  # knee or elbow
    tip: BodyPoint  # ankle or wrist
    upper: float  # m
    lower: float  # m
    body: int  # last of the chain: the foot or the hand; id in the MuJoCo model
    joints: int  # in the whole chain
    hinge_joint: int  # id in the MuJoCo model
    straight: float  # rad, of the hinge when the limb is stretched
    forward: float  # 1 where the hinge's angle grows when a lower leg goes back, -1 where it falls

    @property
    def length(self) -> float:
        """From top to tip when stretched, m."""
        return self.upper + self.lower


@attrs.frozen(eq=False)
class RobotFoot:
    """A foot as it stands flat, facing x."""

    rotation: np.ndarray  # (4,) scalar first
    soles: np.ndarray  # (points, 3) m from the body's origin, world axes, when flat
    radius: np.ndarray  # (points,) m
    ankle: np.ndarray  # (3,) m from the body's origin, world axes, when flat

    @property
    def middle(self) -> np.ndarray:
        """(3,) m, middle of the lowest points of the sole, from the body's origin, world axes, when flat."""
        low = self.soles - self.radius[:, None] * np.array((0.0, 0.0, 1.0))
        low = low[low[:, 2] < low[:, 2].min() + 0.005]
        return np.asarray(0.5 * (low.min(0) + low.max(0)))

    @property
    def height(self) -> float:
        """Of the body's origin above the floor when flat, m."""
        return float((self.radius - self.soles[:, 2]).max())


@attrs.frozen(eq=False)
class Limbs:
    """Legs, feet and, where it has them, arms of a robot; left first."""

    root: int  # body id in the MuJoCo model
    trunk: int
    waist: np.ndarray  # (3,) m, where the trunk turns, in the root's frame
    trunk_at: np.ndarray  # (3,) m, the trunk's origin in the root's frame, when the robot stands
    legs: tuple[JointChain, JointChain]
    feet: tuple[RobotFoot, RobotFoot]
    arms: tuple[JointChain, ...]

    @property
    def leg(self) -> float:
        """Mean length of the legs, hip to ankle, m."""
        return 0.5 * (self.legs[0].length + self.legs[1].length)

    @property
    def hips(self) -> np.ndarray:
        """The hips in the root's frame, (2, 3) m."""
        return np.stack([leg.top.local for leg in self.legs])


class _Pose:
    """The robot at joint angles, its root at the origin and upright."""

    def __init__(self, model: mujoco.MjModel, joints: np.ndarray) -> None:
        self.model, self.data = model, mujoco.MjData(model)
        self.data.qpos[:7] = 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0
        self.data.qpos[7:] = joints
        mujoco.mj_kinematics(model, self.data)
        mujoco.mj_comPos(model, self.data)

    def point(self, body: int, place: np.ndarray) -> BodyPoint:
        local = rotate_inverse(self.data.xquat[body], place - self.data.xpos[body])
        return BodyPoint(body, local)

    def joints(self, last: int, first: int) -> list[int]:
        """Joints from body `first` (not of it) down to body `last`."""
        found: list[int] = []
        while last > first:
            start = int(self.model.body_jntadr[last])
            found = [*range(start, start + int(self.model.body_jntnum[last])), *found]
            last = int(self.model.body_parentid[last])
        return found


def find_limbs(model: RobotModel) -> Limbs:
    """Legs, feet and arms of a robot; SceneError for one that does not stand on two legs with knees."""
    names, robot = model.robot.foot_names, model.robot
    if len(names) != 2:
        raise SceneError(
            f"{robot.name} has {len(names)} feet ({listing(names) or 'none'}); human motion is for a robot with two."
        )
    pose = _Pose(model.model, robot.default_position.double().cpu().numpy())
    feet = sorted((model.model.body(name).id for name in names), key=lambda body: -pose.data.xpos[body, 1])
    root = 1
    legs = [_limb(pose, root, foot, robot.name, "leg") for foot in feet]
    trunk, hands = _arms(pose, feet)
    arms = [_limb(pose, trunk, hand, robot.name, "arm") for hand in hands]
    waist = pose.joints(trunk, root)
    place = pose.data.xanchor[waist].mean(0) if waist else pose.data.xpos[trunk]
    flat = _Pose(model.model, np.zeros(model.model.nq - 7))
    return Limbs(
        root=root,
        trunk=trunk,
        waist=place.copy(),
        trunk_at=pose.data.xpos[trunk].copy(),
        legs=(legs[0], legs[1]),
        feet=(_foot(model, flat, feet[0], legs[0]), _foot(model, flat, feet[1], legs[1])),
        arms=tuple(arms),
    )


def _limb(pose: _Pose, base: int, end: int, robot: str, kind: str) -> JointChain:
    joints = pose.joints(end, base)
    anchors, axes = pose.data.xanchor[joints], pose.data.xaxis[joints]
    beyond = pose.data.subtree_com[end] if kind == "arm" else pose.data.xpos[end]
    length = float(np.linalg.norm(np.diff(np.concatenate((anchors, beyond[None])), axis=0), axis=1).sum())
    top, used = anchors[0] if joints else beyond, 1
    while used < min(3, len(joints)):
        centre = _meeting_point(anchors[: used + 1], axes[: used + 1])
        if _distances(centre, anchors[: used + 1], axes[: used + 1]).max() > MEET * length:
            break
        top, used = centre, used + 1
    if used >= len(joints):
        raise SceneError(
            f"The {kind} of {robot} that ends in '{pose.model.body(end).name}' has no {'knee' if kind == 'leg' else 'elbow'}: "
            f"its {len(joints)} joints all turn about one point. Human motion needs a robot with knees."
        )
    hinge, rest = anchors[used], anchors[used + 1 :]
    tip = (rest[0] if kind == "leg" else rest[-1]) if len(rest) else beyond
    bend = np.arctan2(np.cross(hinge - top, tip - hinge) @ axes[used], (hinge - top) @ (tip - hinge))
    return JointChain(
        top=pose.point(base, top),
        hinge=pose.point(int(pose.model.jnt_bodyid[joints[used]]), hinge),
        tip=pose.point(end, tip),
        upper=float(np.linalg.norm(hinge - top)),
        lower=float(np.linalg.norm(tip - hinge)),
        body=end,
        joints=len(joints),
        hinge_joint=joints[used],
        straight=float(pose.data.qpos[pose.model.jnt_qposadr[joints[used]]] - bend),
        forward=1.0 if axes[used][1] > 0.0 else -1.0,
    )


def _meeting_point(anchors: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """The point with the least squared distance to all axes, drawn a little to the mean of the anchors."""
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    middle = anchors.mean(0)
    matrix = across.sum(0) + 1e-3 * np.eye(3)
    return np.linalg.solve(matrix, np.einsum("nij,nj->i", across, anchors) + 1e-3 * middle)


def _distances(point: np.ndarray, anchors: np.ndarray, axes: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.cross(point - anchors, axes), axis=1)


def _arms(pose: _Pose, feet: list[int]) -> tuple[int, list[int]]:
    """The trunk and the hands, left first; the root and none for a robot without arms.

    The trunk is the body beside which the two longest chains of joints hang, one on either side.
    """
    model, legs = pose.model, set()
    for foot in feet:
        while foot > 1:
            legs.add(foot)
            foot = int(model.body_parentid[foot])
    best: tuple[int, int, list[int]] = (0, 1, [])
    for body in range(1, model.nbody):
        if body in legs:
            continue
        chains = [_chain(pose, child) for child in _moving_children(model, body) if child not in legs]
        for left in chains:
            for right in chains:
                joints = min(len(pose.joints(left, body)), len(pose.joints(right, body)))
                sides = pose.data.subtree_com[left, 1] > 0.02 and pose.data.subtree_com[right, 1] < -0.02
                if sides and joints > max(1, best[0]):
                    best = (joints, body, [left, right])
    return best[1], best[2]


def _moving_children(model: mujoco.MjModel, body: int) -> list[int]:
    children = [int(c) for c in np.flatnonzero(model.body_parentid == body) if c > 1]
    return [c for c in children if any(model.body_jntnum[b] for b in _subtree(model, c))]


def _subtree(model: mujoco.MjModel, body: int) -> list[int]:
    found = [body]
    for other in range(body + 1, model.nbody):
        if int(model.body_parentid[other]) in found:
            found.append(other)
    return found


def _chain(pose: _Pose, body: int) -> int:
    """The last body of a chain of joints without a fork; a hand with fingers ends it."""
    while len(after := _moving_children(pose.model, body)) == 1:
        body = after[0]
    return body


def _foot(model: RobotModel, flat: _Pose, body: int, leg: JointChain) -> RobotFoot:
    turn = flat.data.xquat[body].copy()
    own = [i for i, index in enumerate(model.foot_point_body) if index == body - 1]
    if not own:
        raise SceneError(
            f"Foot '{flat.model.body(body).name}' of {model.robot.name} has no contact points, so it cannot be put on "
            "the floor."
        )
    return RobotFoot(
        rotation=turn,
        soles=rotate(turn[None], model.foot_point_local[own]),
        radius=model.foot_point_radius[own],
        ankle=rotate(turn, leg.tip.local),
    )
