"""Evidence: how likely each way of reading a clip's numbers is, by what a robot on a floor can do.

A reading is a choice of quaternion order, joint order and unit of angles. It scores by what it makes the robot do,
over moments of the whole clip: lean, slide and tilt the foot that stands, lose its balance, leave or sink into the
floor, leave the ranges of its joints, its default pose, or symmetry. Each of them costs log(1 + (x / scale)²), so
that a right reading of a poor recording costs little more than one of a good one. The lowest score is the best. No
term depends on the frame rate.
"""

from collections.abc import Iterator, Sequence

import attrs
import numpy as np
import torch

from components.motion import Clip
from components.robot import Robot
from systems.maths import quaternion
from systems.motion.joint_orders import OWN_BREADTH_FIRST, OWN_ORDER, PUBLISHED, JointOrder
from systems.motion.joint_tree import JointTree, other_side
from systems.motion.joints import TURN, Match, bare, match_joints, strangers, turned_back, within_ranges
from systems.motion.kinematics import Kinematics, body_poses, mass_center

HOPELESS = 10.0  # by how much joints alone may score worse than the best reading, to be looked at any further
MOMENTS = 100  # of a clip that are looked at; each is two frames
MISNAMED = 5.0  # by how much an order of joints must fit better than their names, for these to be doubted
USUAL = 1.0  # by how much an unusual joint order must be better for being unusual
LEAN, TILT, SLIDE, RISE, SINK, BALANCE = 0.4, 0.06, 0.1, 0.04, 0.03, 0.06  # rad, m, share of the speed, m, m, m
LYING, LAIN = 0.35, 4.0  # share of the standing height below which feet do not carry the robot, and what that costs
RANGE, POSE, TRUNK, SYMMETRY = 0.05, 0.4, 0.15, 0.15  # rad
ADULT = 0.76  # m, height of the pelvis of the robot for which lengths above are
_STILL = 0.03  # m/s at 30 frames per second, below which sliding is noise
OTHER_ROTATION = {"wxyz": ("xyzw", 1), "xyzw": ("wxyz", -1)}  # and by how many places to roll


@attrs.frozen(eq=False)
class Reading:
    """One way to read a clip's numbers, with its score."""

    rotation: str  # wxyz or xyzw
    order: JointOrder | None  # None: the file names its joints
    degrees: bool
    score: float
    stated: bool = True  # whether it agrees with all that the file and the user say
    carried: float = 0.0  # share of the moments in which the root is high enough above the feet to stand on them
    floor: float = np.inf  # m, how far the lowest point of any body is from the floor in the median frame

    @property
    def key(self) -> tuple[str, str, bool]:
        """What is read how."""
        return self.rotation, self.order.word if self.order else "", self.degrees

    def differs(self, other: "Reading") -> set[str]:
        """The facts in which two readings differ."""
        pairs = zip(("rotation", "joints", "angles"), self.key, other.key, strict=True)
        return {fact for fact, mine, theirs in pairs if mine != theirs}


def joint_orders(clip: Clip, robot: Robot, tree: JointTree) -> tuple[JointOrder, ...]:
    """The orders in which the nameless columns of a clip may be, for a robot; the likely ones first.

    Where the user has a word for it, that order alone.
    """
    width, own = clip.dof_position.shape[1], robot.dof_names
    level = tuple(own[joint] for joint in tree.breadth_first())
    orders = [
        each
        for each in PUBLISHED
        if len(each.names) == width
        and not any(strangers(match_joints(each.names, robot), each.names, clip.dof_position, tree))
    ]
    if width == len(own):
        name = f"of {robot.name}"
        orders.insert(0, JointOrder(OWN_ORDER, name, own))
        orders.append(JointOrder(OWN_BREADTH_FIRST, f"{name}, breadth first as in PhysX", level, usual=False))
    if clip.joint_order:
        return tuple(each for each in orders if each.word == clip.joint_order)
    published = [each.names for each in PUBLISHED]
    mine = {OWN_ORDER, OWN_BREADTH_FIRST}
    different = [each for each in orders if each.word not in mine or each.names not in published]
    return tuple(sorted(different, key=lambda each: not each.usual))


def weigh(clip: Clip, robot: Robot, model: Kinematics, tree: JointTree) -> tuple[Reading, ...]:
    """All readings of a clip with their scores, the best first; readings that come to the same motion are one.

    Of one whose joints alone make it hopeless the score is that of its joints, which is less than all of it.
    """
    rows, first = _moments(clip.num_frames)
    place, turns = clip.root_position[rows], list(_rotations(clip, rows))
    readings: list[Reading] = []
    best = np.inf
    postures = _postures(clip, robot, tree, rows)
    alone = len(postures) * len(turns) == 1
    for joints, order, degrees, angles in postures:
        body = None if alone or joints > best + HOPELESS else _Posed.of(angles, robot, model)
        for name, rotation in turns:
            cost, carried, floor = (0.0, 0.0, np.inf) if body is None else body.stand(place, rotation, first)
            score = joints + cost
            best = min(best, score)
            agrees = not clip.file_rotation or name == clip.file_rotation or clip.origin("rotation") == "assumed"
            stated = agrees and (not degrees or clip.origin("angles") == "assumed")
            readings.append(Reading(name, order, degrees, score, stated, carried, floor))
    return tuple(sorted(readings, key=lambda reading: reading.score))


def _postures(
    clip: Clip, robot: Robot, tree: JointTree, rows: np.ndarray
) -> list[tuple[float, JointOrder | None, bool, np.ndarray]]:
    """Cost of the joints, order, unit and angles (T, dof) of all different readings of the joints, the best first."""
    found: list[tuple[float, JointOrder | None, bool, np.ndarray]] = []
    for order, degrees, angles, surplus in _angles(clip, robot, tree, rows):
        if not any(np.array_equal(angles, before) for *_, before in found):
            rare = 0.0 if order is None or order.usual else USUAL
            found.append((_joint_cost(angles, robot, tree) + surplus + rare, order, degrees, angles))
    return sorted(found, key=lambda posture: posture[0])


def better_than_named(clip: Clip, robot: Robot, tree: JointTree) -> tuple[JointOrder, float, float] | None:
    """A joint order that fits a clip's columns far better than the names it gives them, and the costs of both."""
    nameless = attrs.evolve(clip, dof_names=None, joint_order="")
    rows, _ = _moments(clip.num_frames)
    named, orders = (_postures(each, robot, tree, rows) for each in (clip, nameless))
    if not orders or orders[0][0] > named[0][0] - MISNAMED or orders[0][1] is None:
        return None
    return orders[0][1], orders[0][0], named[0][0]


def read_as(clip: Clip, reading: Reading) -> Clip:
    """The clip with its quaternions and angles read that way; its joints keep their columns."""
    if clip.file_rotation and reading.rotation != clip.file_rotation:
        places = OTHER_ROTATION[clip.file_rotation][1]
        bodies = None if clip.body_rotation is None else np.roll(clip.body_rotation, places, -1)
        clip = attrs.evolve(clip, root_rotation=np.roll(clip.root_rotation, places, -1), body_rotation=bodies)
    if reading.degrees:
        speed = None if clip.dof_velocity is None else np.deg2rad(clip.dof_velocity)
        clip = attrs.evolve(clip, dof_position=np.deg2rad(clip.dof_position), dof_velocity=speed)
    return clip


def _moments(frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames to look at, and which of these begin a moment: each with the one after it."""
    if frames <= 2 * MOMENTS:
        return np.arange(frames), np.arange(frames - 1)
    begin = np.linspace(0, frames - 2, MOMENTS).astype(int)
    return np.stack((begin, begin + 1), 1).ravel(), 2 * np.arange(MOMENTS)


def _angles(
    clip: Clip, robot: Robot, tree: JointTree, rows: np.ndarray
) -> Iterator[tuple[JointOrder | None, bool, np.ndarray, float]]:
    """Order, unit, angles in the robot's order (T, dof), and the cost of joints that the robot lacks."""
    default = robot.default_position.detach().cpu().double().numpy()
    orders = (None,) if clip.dof_names is not None else joint_orders(clip, robot, tree)
    table = clip.dof_position[rows]
    matches = []
    for order in orders:
        names = clip.dof_names or (() if order is None else order.names)
        match = match_joints(names, robot)
        matches.append((order, names, match, turned_back(match.arrange(table, default), robot)))
    # where nothing but whole turns keeps angles out of their ranges, they are radians
    opened = np.abs(clip.dof_position).max() > TURN and clip.origin("angles") != "option"
    opened = opened and not any(within_ranges(turned, robot) for *_, turned in matches)
    for order, names, match, turned in matches:
        yield order, False, turned, _surplus_cost(names, match, table)
        if opened:
            angles = np.deg2rad(table)
            yield order, True, turned_back(match.arrange(angles, default), robot), _surplus_cost(names, match, angles)


def _rotations(clip: Clip, rows: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    rotation = clip.root_rotation[rows]
    rotation = rotation / np.linalg.norm(rotation, axis=-1, keepdims=True)
    yield clip.file_rotation, rotation
    if clip.file_rotation:
        other, places = OTHER_ROTATION[clip.file_rotation]
        yield other, np.roll(rotation, places, -1)


def _cost(value: np.ndarray, scale: float | np.ndarray) -> np.ndarray:
    return np.asarray(np.log1p((value / scale) ** 2))


def _joint_cost(angles: np.ndarray, robot: Robot, tree: JointTree) -> float:
    """How far joints are from their ranges, from their default pose and from symmetry, summed over joints."""
    lower, upper = robot.position_limit.detach().cpu().double().numpy().T
    default = robot.default_position.detach().cpu().double().numpy()
    beyond = np.maximum(np.maximum(lower - angles, angles - upper), 0.0)
    scale = np.where(tree.trunk, TRUNK, POSE)
    total = float((_cost(beyond, RANGE) + _cost(angles - default, scale)).mean(0).sum())
    if tree.mirror:
        left, right, sign = np.array(tree.mirror).T
        middle = angles.mean(0)
        total += float(_cost(middle[left] - sign * middle[right], SYMMETRY).sum())
    return total


def _surplus_cost(names: Sequence[str], match: Match, angles: np.ndarray) -> float:
    """As `_joint_cost` for the joints that the robot lacks, which hang straight and are mirrored by their names."""
    given = [bare(name) for name in names]
    total = 0.0
    for name in match.surplus:
        column = given.index(name)
        total += float(_cost(angles[:, column], POSE).mean())
        other = other_side(name)
        if other in given[column + 1 :]:
            sign = -1.0 if "roll" in name or "yaw" in name else 1.0
            between = angles[:, column].mean() - sign * angles[:, given.index(other)].mean()
            total += float(_cost(between, SYMMETRY))
    return total


@attrs.frozen(eq=False)
class _Posed:
    """What the joints alone make of the robot: its lowest points and its centre of mass, in the axes of the root."""

    bodies: np.ndarray  # (T, bodies, 3) m, their origins
    feet: np.ndarray  # (T, points, 3) m
    foot: np.ndarray  # (points,) body of each
    center: np.ndarray  # (T, 3) m
    size: float  # of the robot, as a share of an adult's

    @classmethod
    def of(cls, angles: np.ndarray, robot: Robot, model: Kinematics) -> "_Posed":
        still = np.tile((1.0, 0.0, 0.0, 0.0), (len(angles), 1))
        position, rotation = body_poses(model, np.zeros((len(angles), 3)), still, angles)
        center, feet = mass_center(model, position, rotation), model.foot_points(position, rotation)
        return cls(position, feet, np.asarray(model.foot_point_body), center, robot.default_height / ADULT)

    def stand(self, place: np.ndarray, rotation: np.ndarray, first: np.ndarray) -> tuple[float, float, float]:
        """Cost, share of the moments on its feet and distance of the lowest point from the floor.

        By root positions (T, 3) and rotations (T, 4); the cost is a mean over moments.
        """
        axes = quaternion.to_matrix(torch.from_numpy(rotation)).numpy()
        lean = _cost(np.arccos(np.clip(axes[:, 2, 2], -1.0, 1.0)), LEAN)[first]
        bodies = (np.einsum("tbk,tk->tb", self.bodies, axes[:, 2]) + place[:, 2:]).min(1)
        if not self.feet.size:
            return float(lean.mean()), float((axes[first, 2, 2] > 0.5).mean()), float(np.abs(np.median(bodies)))
        heights = np.einsum("tpk,tk->tp", self.feet, axes[:, 2]) + place[:, 2:]
        low = heights.min(1)
        floor = np.abs(np.median(np.minimum(bodies, low))) / self.size
        carried = (place[:, 2] - low)[first] > LYING * self.size * ADULT
        sunk = _cost(np.maximum(-low - 0.05 * self.size, 0.0), SINK * self.size)[first]
        cost = lean + sunk + np.where(carried, self._on_feet(place, axes, heights, first), LAIN)
        return float(cost.mean()), float(carried.mean()), float(floor)

    def _on_feet(self, place: np.ndarray, axes: np.ndarray, heights: np.ndarray, first: np.ndarray) -> np.ndarray:
        lowest, each = heights.argmin(1), np.arange(len(heights))
        low = heights[each, lowest]
        other = np.where(self.foot[None] == self.foot[lowest][:, None], heights, -np.inf).max(1)
        weight = np.exp((low[:, None] - heights) / (0.03 * self.size))
        support = np.einsum("tp,tpk->tk", weight, self.feet) / weight.sum(1, keepdims=True)
        off = np.einsum("tij,tj->ti", axes, self.center - support)[:, :2]
        still = (
            _cost(other - low, TILT * self.size)
            + _cost(low - np.median(low), RISE * self.size)
            + _cost(np.linalg.norm(off, axis=-1), BALANCE * self.size)
        )
        return np.asarray(still[first] + self._slide(place, axes, lowest, first))

    def _slide(self, place: np.ndarray, axes: np.ndarray, lowest: np.ndarray, first: np.ndarray) -> np.ndarray:
        """How fast the lowest point moves over the floor, as a share of how fast it and the root move at all."""
        point = lowest[first]
        at = np.einsum("tij,tj->ti", axes[first], self.feet[first, point])
        then = np.einsum("tij,tj->ti", axes[first + 1], self.feet[first + 1, point])
        root, swing = place[first + 1] - place[first], then - at
        moved = np.linalg.norm((root + swing)[:, :2], axis=-1)
        speed = np.linalg.norm(root, axis=-1) + np.linalg.norm(swing, axis=-1)
        return _cost(moved / (speed + _STILL * self.size / 30.0), SLIDE)
