"""Inverse kinematics: legs and horizontal root position that put feet and centre of mass where they shall be."""

import numpy as np
import torch

from engine.errors import SceneError
from systems.maths import quaternion
from systems.maths.rotation import yawed
from systems.motion.clips.outline import Outline
from systems.motion.clips.solve import least_squares
from systems.motion.clips.stance import Stance, mass_centre
from systems.motion.kinematics import body_poses

TURN_WEIGHT = 0.3  # m/rad: what a foot's tilt costs against its displacement
KNEES = (0.3, 0.8, 1.3)  # rad that knees are bent by in a first guess, tried in this order
PLACED = 2e-3  # m; residual above which a robot cannot make a motion

Motion = tuple[np.ndarray, np.ndarray, np.ndarray]  # root position (T, 3) m and rotation (T, 4), joints (T, dof) rad


def put_feet_down(
    stance: Stance, outline: Outline, centre: np.ndarray, guess: np.ndarray | None = None, every: int = 1
) -> tuple[Motion, np.ndarray]:
    """The motion whose centre of mass is above `centre` (T, 2) m, and the unknowns of the solution.

    The unknowns are the root's x and y and the leg joints, (T, 2 + legs); those of a similar motion are a good
    `guess`. `every` is how many frames share a Jacobian. Where joint limits stand against it, the feet are put as
    near as they go.
    """
    legs, turned = list(stance.legs), outline.rotation

    def state(x: np.ndarray, frame: np.ndarray) -> Motion:
        position = np.concatenate((x[:, :2], outline.height[frame, None]), 1)
        joints = outline.dofs[frame]
        joints[:, legs] = x[:, 2:]
        return position, turned[frame], joints

    def residual(x: np.ndarray, frame: np.ndarray) -> np.ndarray:
        position, rotation = body_poses(stance.model, *state(x, frame))
        mass = mass_centre(stance.model, position, rotation, slice(None))[:, :2]
        return np.concatenate((_foot_error(stance, outline, position, rotation, frame), mass - centre[frame]), 1)

    unbounded, frames = np.full(2, np.inf), np.arange(len(centre))
    lower, upper = (
        np.concatenate((ends, limit[legs])) for ends, limit in ((-unbounded, stance.lower), (unbounded, stance.upper))
    )
    found: list[tuple[float, np.ndarray]] = []
    for bend in KNEES if guess is None else KNEES[:1]:
        start = _first_guess(stance, outline, centre, bend) if guess is None else guess
        solved = least_squares(residual, start, lower, upper, 1e-9, every)
        found.append((float(np.abs(residual(solved, frames)[:, :-2]).max()), solved))
        if found[-1][0] < PLACED:
            break
    _, solved = min(found, key=lambda one: one[0])
    return state(solved, frames), solved


def check_feet(name: str, stance: Stance, outline: Outline, motion: Motion) -> None:
    """Raise SceneError, in which the clip is called `name`, where feet are not where the outline wants them."""
    position, rotation = body_poses(stance.model, *motion)
    error = np.abs(_foot_error(stance, outline, position, rotation, np.arange(len(position)))).max()
    if error > PLACED:
        joints, needed = len(stance.legs), 6 * len(stance.feet)
        reason = f"the nearest pose found within its joint limits misses by {100.0 * error:.1f} cm"
        cure = "Choose another clip, or check its default pose and limits."
        if joints < needed:
            reason = f"its legs have {joints} joints, where feet that go anywhere need {needed}"
            cure = (
                "Clips that are made by code are for legs of six joints; name a file with a motion of this robot, or let it walk "
                "in scenes/velocity.py, which needs no clip."
            )
        raise SceneError(f"{stance.robot.name} cannot {name} with its feet flat on the floor: {reason}. {cure}")


def _first_guess(stance: Stance, outline: Outline, centre: np.ndarray, bend: float) -> np.ndarray:
    """The root where it stands relative to the centre of mass when at rest, and knees that are bent by `bend` rad or more."""
    bent = stance.default.copy()
    for joint in stance.legs:
        if joint in stance.knees and abs(bent[joint]) < 0.5 * bend:
            bent[joint] = bend if stance.upper[joint] > -stance.lower[joint] else -bend
    standing = np.tile(np.append(stance.centre, 0.0), (len(centre), 1))
    turned = quaternion.rotate(torch.from_numpy(yawed(outline.heading)), torch.from_numpy(standing)).numpy()
    return np.concatenate((centre - turned[:, :2], np.tile(bent[list(stance.legs)], (len(centre), 1))), 1)


def _foot_error(
    stance: Stance, outline: Outline, position: np.ndarray, rotation: np.ndarray, frame: np.ndarray
) -> np.ndarray:
    """Displacement and weighted tilt of each foot, (rows, 6 × feet) m."""
    feet = list(stance.feet)
    offset = position[:, feet] - outline.foot_position[frame]
    target = quaternion.conjugate(torch.from_numpy(outline.foot_rotation[frame]))
    turn = quaternion.multiply(torch.from_numpy(rotation[:, feet]), target)
    tilt = quaternion.to_rotation_vector(turn).numpy()
    return np.concatenate((offset.reshape(len(position), -1), TURN_WEIGHT * tilt.reshape(len(position), -1)), 1)
