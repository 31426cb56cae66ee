"""Human motion as points: where hips, knees, hands and so on are, whatever skeleton they were recorded with."""

from collections.abc import Mapping

import attrs
import numpy as np

from engine.errors import SceneError, listing
from systems.maths.smoothing import gaussian_average

SIDES = ("left", "right")
JOINTS = ("hip", "knee", "ankle", "toe", "shoulder", "elbow", "wrist")
LANDMARKS = tuple(f"{side}_{joint}" for joint in JOINTS for side in SIDES)
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "in": 0.0254, "cmu": 0.056444}  # m; the last is of the CMU's own files
AXES = ("x", "y", "z", "-x", "-y", "-z")
CLEARLY = 0.8  # of the way from ankles to shoulders that is along the axis that is up
SHORTEST_LEG, LONGEST_LEG = 0.55, 1.15  # m from hip to ankle, of people from 1.2 to 2.2 m tall
APART, APART_FRAMES = 0.15, 10  # m by which a first pose is apart, and frames after it that are not
SMOOTHING = 0.02  # s, standard deviation of what takes the tremble of markers away


@attrs.frozen(eq=False)
class HumanMotion:
    """The way of every landmark, z up, in metres; the order is that of LANDMARKS."""

    name: str
    fps: float
    points: np.ndarray  # (frames, landmarks, 3) m
    source: str = ""  # where it came from, for messages
    notes: tuple[str, ...] = ()  # what was decided when it was read

    def of(self, joint: str) -> np.ndarray:
        """A landmark of both sides, left first: (frames, 2, 3) m."""
        first = 2 * JOINTS.index(joint)
        return self.points[:, first : first + 2]

    @property
    def leg(self) -> float:
        """Median length from hip over knee to ankle, m."""
        return leg_length(self.points)


def leg_length(points: np.ndarray) -> float:
    """Median length from hip over knee to ankle of (frames, landmarks, 3), in its own unit."""
    thigh, shank = points[:, 2:4] - points[:, 0:2], points[:, 4:6] - points[:, 2:4]
    return float(np.median(np.linalg.norm(thigh, axis=-1) + np.linalg.norm(shank, axis=-1)))


def from_points(
    name: str,
    source: str,
    fps: float,
    places: Mapping[str, np.ndarray],
    unit: str | None = None,
    up: str | None = None,
) -> HumanMotion:
    """A human motion out of landmarks (frames, 3) in any unit and with any axis up; both are found and noted.

    `unit` is one of UNITS and found by the length of the legs where it is None, `up` is one of AXES. Raises SceneError
    for a leg that fits no unit, for a person of whom no axis is up, and for one whose left is right.
    """
    points = np.stack([places[landmark] for landmark in LANDMARKS], 1).astype(np.float64)
    _check(source, points)
    notes = []
    length = leg_length(points)
    if unit is None:
        unit = next((u for u, size in UNITS.items() if SHORTEST_LEG <= size * length <= LONGEST_LEG), None)
        if unit is None:
            raise SceneError(
                f"{source}: a leg is {length:.3g} long, which is that of a person in none of the units "
                f"{listing(UNITS)}. Say which with --unit."
            )
        notes.append(f"lengths are in {unit}, by a leg of {UNITS[unit] * length:.2f} m")
    points = points * UNITS[unit]
    if _begins_apart(points):
        points = points[1:]
        notes.append("the first frame is a pose apart from the motion and is left out")
    if up is None:
        up = _upward_axis(source, points)
        notes += [f"{up} is up"] if up != "z" else []
    upright = _z_up(points, up)
    _check_sides(source, upright)
    return HumanMotion(name=name, fps=fps, points=upright, source=source, notes=tuple(notes))


def _check(source: str, points: np.ndarray) -> None:
    if len(points) < 2:
        raise SceneError(f"{source} has {len(points)} frames; a motion needs at least 2. Is the file cut short?")
    if not np.isfinite(points).all():
        frame, landmark = (int(i) for i in np.argwhere(~np.isfinite(points))[0][:2])
        raise SceneError(
            f"{source}, frame {frame}: the place of the {LANDMARKS[landmark].replace('_', ' ')} is not a finite "
            "number. Export the motion again."
        )


def _begins_apart(points: np.ndarray) -> bool:
    """Whether the first frame is a T-pose or the like, from which the second is a jump."""
    steps = np.linalg.norm(np.diff(points[: APART_FRAMES + 1], axis=0), axis=-1).max(1)
    return len(steps) > 2 and steps[0] > APART and steps[0] > 4.0 * steps[1:].max()


def _upward_axis(source: str, points: np.ndarray) -> str:
    """The axis along which shoulders are above ankles."""
    lift = np.median(points[:, 8:10].mean(1) - points[:, 4:6].mean(1), axis=0)
    axis = int(np.abs(lift).argmax())
    if abs(lift[axis]) < CLEARLY * np.linalg.norm(lift):
        raise SceneError(
            f"{source}: the shoulders are above the ankles along no axis (x {lift[0]:.2f}, y {lift[1]:.2f}, "
            f"z {lift[2]:.2f} m in the median frame), so it is not clear which is up. Say e.g. --up y."
        )
    return f"{'' if lift[axis] > 0.0 else '-'}{'xyz'[axis]}"


def _z_up(points: np.ndarray, up: str) -> np.ndarray:
    """`points` turned so that z is up."""
    turned = np.roll(points, 2 - "xyz".index(up[-1]), axis=-1)  # a cyclic exchange of axes keeps left and right
    return turned * np.array((1.0, -1.0, -1.0)) if up.startswith("-") else turned


def _check_sides(source: str, points: np.ndarray) -> None:
    """Refuse a person whose toes point backwards from hips of which the left is on the left."""
    left = points[:, 0] - points[:, 1]
    ahead = (points[:, 6:8] - points[:, 4:6]).mean(1)
    if np.median(ahead[:, 0] * left[:, 1] - ahead[:, 1] * left[:, 0]) < 0.0:
        raise SceneError(
            f"{source}: the toes point backwards, so left and right are exchanged, or what is up is down. Give the right "
            "bones to the left landmarks and the other way round with --bones FILE, or say e.g. --up y."
        )


def sample(human: HumanMotion, fps: float, smoothing: float = SMOOTHING) -> HumanMotion:
    """The motion at another rate, smoothed over `smoothing` s."""
    seconds = (len(human.points) - 1) / human.fps
    moments = np.arange(int(np.floor(seconds * fps + 1e-6)) + 1) / fps
    known = np.arange(len(human.points)) / human.fps
    flat = human.points.reshape(len(human.points), -1)
    curves = np.stack([np.interp(moments, known, column) for column in flat.T], 1)
    if smoothing > 0.0:
        curves = gaussian_average(curves, smoothing * fps)
    return attrs.evolve(human, fps=fps, points=curves.reshape(-1, *human.points.shape[1:]))
