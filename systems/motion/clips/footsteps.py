"""Plans of footsteps: where each foot is at any time, and where the floor shall push."""

from collections.abc import Sequence
from itertools import pairwise

import attrs
import numpy as np
import torch

from engine.errors import SceneError
from systems.maths import quaternion
from systems.maths.rotation import yawed
from systems.motion.clips.outline import FPS, bump, rise, times
from systems.motion.clips.stance import Stance

Place = tuple[float, float, float]  # how far the whole stance is moved for a foot to stand like that: m, m, rad


@attrs.frozen
class Footstep:
    """One step of a plan: which foot, 0 left or 1 right, and its new place.

    A place is a motion of the whole stance, turned about the middle of the soles and then moved, which
    takes the foot there from where it stands at first.
    """

    foot: int
    place: Place


@attrs.frozen
class Gait:
    """Timing and height of steps; seconds and metres."""

    swing: float  # s that a foot is in the air
    double: float  # s with both feet down between steps, in which the weight moves over
    lift: float  # m
    roll: float = 0.0  # share of a step by which the pressure moves along the sole below it
    shift: float = 0.5  # s in which the weight moves onto the first foot, and off the last
    rest: float = 0.5  # s of standing before and after


@attrs.frozen(eq=False)
class FootstepPlan:
    """Where the feet and the pressure are over time."""

    time: np.ndarray  # (T,) s
    place: np.ndarray  # (T, feet, 3) m, m, rad
    lift: np.ndarray  # (T, feet) m
    pressure: np.ndarray  # (T, 2) m


def walk_through(stance: Stance, steps: Sequence[Footstep], gait: Gait) -> FootstepPlan:
    """The plan for `steps` at `gait`: at rest in the middle of the soles first and last, on one foot in between.

    Feet leave the floor a frame before they move along, and come down a frame after. All of it is quintics.
    """
    if len(stance.feet) != 2:
        raise SceneError(
            f"{stance.robot.name} cannot take steps: it has {len(stance.feet)} feet, and clips with steps are made for "
            "two. Choose stand or squat."
        )
    off = [gait.rest + gait.shift + i * (gait.swing + gait.double) for i in range(len(steps))]
    down = [begin + gait.swing for begin in off]
    time = times(down[-1] + gait.shift + gait.rest)
    place, lift = np.zeros((len(time), 2, 3)), np.zeros((len(time), 2))
    now = np.zeros((2, 3))
    points = [(0.0, stance.centre), (gait.rest, stance.centre)]
    for step, begin, end in zip(steps, off, down, strict=True):
        other, goal = 1 - step.foot, np.array(step.place)
        moved = goal - now[step.foot]
        place[:, step.foot] += rise(time, begin + 1.0 / FPS, end - 1.0 / FPS)[:, None] * moved
        lift[:, step.foot] += gait.lift * bump(time, begin, end)
        now[step.foot] = goal
        middle = sole(stance, other, now[other])
        points += [(begin, middle - gait.roll * moved[:2]), (end, middle + gait.roll * moved[:2])]
    last = 0.5 * (sole(stance, 0, now[0]) + sole(stance, 1, now[1]))
    points += [(down[-1] + gait.shift, last), (float(time[-1]), last)]
    return FootstepPlan(time=time, place=place, lift=lift, pressure=_through(points, time))


def sole(stance: Stance, foot: int, place: np.ndarray) -> np.ndarray:
    """The middle of a foot's sole at a place, (..., 3) m, m, rad -> (..., 2) m."""
    return moved(stance, place, stance.soles[foot])


def moved(stance: Stance, place: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Where a point (2,) m of the standing robot goes with a place: (..., 3) -> (..., 2) m."""
    return np.asarray(stance.centre + turned(place[..., 2], point - stance.centre) + place[..., :2])


def turned(heading: np.ndarray, point: np.ndarray) -> np.ndarray:
    """A point (2,) m turned to the left by angles (...) rad about the origin, (..., 2) m."""
    sine, cosine = np.sin(heading), np.cos(heading)
    return np.stack((cosine * point[0] - sine * point[1], sine * point[0] + cosine * point[1]), -1)


def foot_poses(stance: Stance, steps: FootstepPlan) -> tuple[np.ndarray, np.ndarray]:
    """Position (T, feet, 3) m and rotation (T, feet, 4) of both feet, which stay flat."""
    position = np.tile(stance.foot_position, (len(steps.time), 1, 1))
    for foot in range(2):
        position[:, foot, :2] = moved(stance, steps.place[:, foot], stance.foot_position[foot, :2])
    position[..., 2] += steps.lift
    heading, flat = torch.from_numpy(yawed(steps.place[..., 2])), torch.from_numpy(stance.foot_rotation)
    return position, quaternion.multiply(heading, flat).numpy()


def _through(points: Sequence[tuple[float, np.ndarray]], time: np.ndarray) -> np.ndarray:
    """A path (T, 2) m that rests at each of (s, m) `points` and takes a quintic from each to the next."""
    path = np.tile(points[0][1], (len(time), 1))
    for (begin, here), (end, there) in pairwise(points):
        path = path + rise(time, begin, end)[:, None] * (there - here)
    return path
