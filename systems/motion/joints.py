"""Joint order: a clip's joints are matched by name to those of the robot that shall follow it."""

import re
from collections.abc import Sequence
from functools import lru_cache

import attrs
import numpy as np

from components.motion import Clip
from components.robot import Robot
from engine.errors import SceneError, listing
from systems.motion.findings import ClipFinding
from systems.motion.joint_tree import JointTree

WRIST = ("wrist", "hand")  # bodies that differ between otherwise equal robots
_LOOSE = (*WRIST, "finger", "thumb", "index", "middle", "ring_", "pinky", "little", "gripper", "head", "neck")
_SUFFIXES = re.compile("(_joint)?(_dof)?$", re.IGNORECASE)
_BREAKS = re.compile(r"[ \-]+|(?<=[a-z])(?=[A-Z])")  # between words, as in left-knee, Left Knee and leftKnee
STILL = 0.05  # rad about 0 within which a joint that the robot lacks may move
LIMIT_SLACK = 0.25  # rad beyond a joint limit that is a warning; more is another robot, order or unit
MOST_NAMES = 4096  # whose spelling is remembered
TURN = 7.0  # rad; angles beyond it are no radians that are a turn off


@attrs.frozen
class Match:
    """Which column of a clip drives which joint of a robot."""

    column: tuple[int, ...]  # of each joint; -1 where the clip lacks it
    missing: tuple[str, ...]  # joints that the clip lacks
    surplus: tuple[str, ...]  # names of columns for which the robot has no joint

    def arrange(self, angles: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Columns in the robot's order, (T, columns) -> (T, dof), with `missing` (dof,) where the clip has none."""
        column = np.array(self.column)
        return np.where(column >= 0, angles[:, column], missing)


@lru_cache(maxsize=MOST_NAMES)
def bare(name: str) -> str:
    """A joint's name without the suffixes that some files add."""
    return _SUFFIXES.sub("", name)


@lru_cache(maxsize=MOST_NAMES)
def _spelled(name: str) -> str:
    """What a joint's name is whichever way its words are parted and capitals are used."""
    return bare(_BREAKS.sub("_", name.strip())).lower()


def match_joints(names: Sequence[str], robot: Robot) -> Match:
    """Columns that are called `names`, in any spelling, matched to a robot's joints."""
    given, own = ([_spelled(name) for name in some] for some in (names, robot.dof_names))
    return Match(
        column=tuple(given.index(name) if name in given else -1 for name in own),
        missing=tuple(bare(name) for name in robot.dof_names if _spelled(name) not in given),
        surplus=tuple(bare(name) for name in names if _spelled(name) not in own),
    )


def turned_back(angles: np.ndarray, robot: Robot) -> np.ndarray:
    """Angles (T, dof) of which those are within their joints' ranges that would be one whole turn off; all, or none."""
    lower, upper = _ranges(robot)
    back = angles - 2.0 * np.pi * np.sign(angles - 0.5 * (lower + upper))
    off, fits = (np.maximum(lower - each, each - upper) for each in (angles, back))
    turned = np.where((off > LIMIT_SLACK) & (fits <= LIMIT_SLACK), back, angles)
    return turned if np.abs(turned).max(initial=0.0) <= TURN else angles


def within_ranges(angles: np.ndarray, robot: Robot) -> bool:
    """Whether no angle (T, dof) is further outside of its joint's range than a warning allows."""
    lower, upper = _ranges(robot)
    return bool(((angles > lower - LIMIT_SLACK) & (angles < upper + LIMIT_SLACK)).all())


def _ranges(robot: Robot) -> np.ndarray:
    """(2, dof) rad: the lower and the upper ends of joints' ranges."""
    return np.asarray(robot.position_limit.detach().cpu().double().numpy().T)


def strangers(match: Match, names: Sequence[str], angles: np.ndarray, tree: JointTree) -> tuple[list[str], list[str]]:
    """Joints without which a clip is of another robot: those that it must not lack, and those that it must not move.

    It must have every joint of the legs and one of the trunk. What it moves beyond the robot may be hands and heads.
    """
    lacks = [column < 0 for column in match.column]
    trunk = [not gone for gone, carries in zip(lacks, tree.trunk, strict=True) if carries]
    needed = [leg or (carries and not any(trunk)) for leg, carries in zip(tree.leg, tree.trunk, strict=True)]
    must = [need for lack, need in zip(lacks, needed, strict=True) if lack]
    missing = [name for name, need in zip(match.missing, must, strict=True) if need]
    given = [bare(name) for name in names]
    most = np.abs(angles).max(0, initial=0.0)
    moved = [name for name in match.surplus if most[given.index(name)] > STILL]
    return missing, [name for name in moved if not any(word in name.lower() for word in _LOOSE)]


def fit_joints(clip: Clip, names: Sequence[str], robot: Robot, tree: JointTree) -> tuple[Clip, Match]:
    """The clip with its columns, called `names`, in the robot's order.

    Joints that it lacks are held at their default, surplus ones left out; an action for each joint goes along. Raises SceneError naming the joints when
    the clip belongs to another robot.
    """
    given = [_spelled(name) for name in names]
    if len(given) != clip.dof_position.shape[1]:
        raise SceneError(f"{clip.title} names {len(given)} joints but has angles for {clip.dof_position.shape[1]}.")
    if len(set(given)) != len(given):
        raise SceneError(f"{clip.title} names the joint '{next(n for n in given if given.count(n) > 1)}' twice.")
    match = match_joints(names, robot)
    missing, moved = strangers(match, names, clip.dof_position, tree)
    if missing or moved:
        raise SceneError(
            f"{clip.title} is for another robot: {_difference(match, robot)}. "
            "Use a clip made for this robot, or retarget it."
        )
    default = robot.default_position.detach().cpu().double().numpy()
    velocity, action = clip.dof_velocity, clip.action
    of_joints = action is not None and action.shape[1] == len(names)
    fitted = attrs.evolve(
        _take_root(clip, robot),
        dof_position=match.arrange(clip.dof_position, default),
        dof_velocity=None if velocity is None else match.arrange(velocity, np.zeros_like(default)),
        action=match.arrange(action, np.zeros_like(default)) if of_joints and action is not None else action,
        dof_names=None if clip.dof_names is None else robot.dof_names,
    )
    return fitted, match


def unmatched(who: str, match: Match, robot: Robot) -> list[ClipFinding]:
    """Findings about joints that clips, called `who`, lack, or have beyond the robot."""
    findings = []
    if match.missing:
        lacks = f"{who}: {listing(match.missing, 6)} missing, held at the default {_angles(match.missing)}."
        findings.append(ClipFinding("joints that a clip lacks", lacks))
    if match.surplus:
        left = f"{who}: {listing(match.surplus, 6)} left out, as {robot.name} has no such {_joints(match.surplus)}."
        findings.append(ClipFinding("joints that the robot lacks", left))
    return findings


def _angles(names: Sequence[str]) -> str:
    return "angle" if len(names) == 1 else "angles"


def _joints(names: Sequence[str]) -> str:
    return "joint" if len(names) == 1 else "joints"


def _difference(match: Match, robot: Robot) -> str:
    groups = (("it lacks", match.missing), (f"{robot.name} has no", match.surplus))
    return "; ".join(f"{verb} {listing(group, 6)}" for verb, group in groups if group)


def _take_root(clip: Clip, robot: Robot) -> Clip:
    root = robot.body_names[0]
    if (
        clip.body_names is None
        or clip.body_position is None
        or clip.body_rotation is None
        or root not in clip.body_names
    ):
        return clip
    index = clip.body_names.index(root)
    if index == 0:
        return clip
    place, turn = (part[:, index].astype(np.float64) for part in (clip.body_position, clip.body_rotation))
    return attrs.evolve(clip, root_position=place, root_rotation=turn)
