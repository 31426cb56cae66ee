"""Clips that take steps: march, side-step, turn and walk."""

import numpy as np

from systems.motion.clips.balance import cart_path
from systems.motion.clips.footsteps import Footstep, FootstepPlan, Gait, foot_poses, turned, walk_through
from systems.motion.clips.outline import FPS, Outline, rise
from systems.motion.clips.stance import Stance, moved_bodies, swing_arm, waist
from systems.motion.kinematics import body_poses

LEFT, RIGHT = 0, 1
ARM_SWING = 0.35  # rad
STEADY = 0.6  # s over which the heading of the feet is averaged, about a step
KNEE = 0.45  # rad; a knee is not stretched further than this


def march(stance: Stance) -> Outline:
    """Eight steps on the spot, knees up."""
    steps = [Footstep(foot, (0.0, 0.0, 0.0)) for foot in (LEFT, RIGHT) * 4]
    gait = Gait(swing=0.46, double=0.14, lift=0.1 * stance.scale)
    plan = walk_through(stance, steps, gait)
    return step_along(stance, plan, arms=(plan.lift[:, RIGHT] - plan.lift[:, LEFT]) / gait.lift)


def side_step(stance: Stance) -> Outline:
    """Two steps to the left and two back, each foot following the other."""
    aside, inward = 0.11 * stance.scale, _inward(0.025 * stance.scale)
    way = ((LEFT, 1), (RIGHT, 1), (LEFT, 2), (RIGHT, 2), (RIGHT, 1), (LEFT, 1), (RIGHT, 0), (LEFT, 0))
    steps = [Footstep(foot, (0.0, aside * count + inward[foot] if count else 0.0, 0.0)) for foot, count in way]
    return step_along(stance, walk_through(stance, steps, Gait(swing=0.48, double=0.16, lift=0.06 * stance.scale)))


def turn(stance: Stance) -> Outline:
    """Half a turn to the left in eight steps on the spot."""
    steps = [Footstep(foot, (0.0, 0.0, 0.25 * np.pi * count)) for count in (1, 2, 3, 4) for foot in (LEFT, RIGHT)]
    return step_along(stance, walk_through(stance, steps, Gait(swing=0.46, double=0.16, lift=0.06 * stance.scale)))


def walk(stance: Stance) -> Outline:
    """Six steps forward and one to close up, feet nearer to each other than when standing."""
    length, inward = 0.285 * stance.scale, _inward(0.03 * stance.scale)
    way = ((LEFT, 1), (RIGHT, 2), (LEFT, 3), (RIGHT, 4), (LEFT, 5), (RIGHT, 6), (LEFT, 6))
    steps = [Footstep(foot, (length * count, inward[foot] if count < 6 else 0.0, 0.0)) for foot, count in way]
    plan = walk_through(stance, steps, Gait(swing=0.52, double=0.12, lift=0.06 * stance.scale, roll=0.1))
    ahead = (plan.place[:, RIGHT, 0] - plan.place[:, LEFT, 0]) / length
    return step_along(stance, plan, arms=ahead, trunk=-0.15 * ahead)


def _inward(distance: float) -> tuple[float, float]:
    """Which way `distance` towards the other foot is, for the left foot and the right one, along y."""
    return -distance, distance


def step_along(
    stance: Stance, plan: FootstepPlan, *, arms: np.ndarray | None = None, trunk: np.ndarray | None = None
) -> Outline:
    """FootstepPlan with the pelvis between the feet, facing as they do, and as low as the legs need it.

    `arms` (T,) is how far the left arm swings forward and the right one back, where 1 is ARM_SWING; `trunk` (T,)
    is how far the trunk turns left above the pelvis, rad.
    """
    dofs = np.tile(stance.default, (len(plan.time), 1))
    if arms is not None:
        for side, sign in (("left", 1.0), ("right", -1.0)):
            dofs += (sign * arms)[:, None] * swing_arm(stance, side, ARM_SWING)
    if trunk is not None:
        dofs += trunk[:, None] * waist(stance)
    position, rotation = foot_poses(stance, plan)
    heading = _steadied(plan.place[:, :, 2].mean(1), STEADY)
    low = rise(plan.time, 0.2, 1.0) - rise(plan.time, plan.time[-1] - 1.0, plan.time[-1] - 0.2)
    return Outline(
        height=stance.height - _drop(stance, plan.pressure, heading, position) * low,
        lean=np.zeros(len(low)),
        heading=heading,
        dofs=dofs,
        foot_position=position,
        foot_rotation=rotation,
        pressure=plan.pressure,
    )


def _drop(stance: Stance, pressure: np.ndarray, heading: np.ndarray, foot_position: np.ndarray) -> float:
    """How far the pelvis must be lowered for every foot to be in reach of a leg whose knee stays bent, m."""
    bent = stance.default.copy()
    for joint in stance.legs:
        if "knee" in stance.robot.dof_names[joint]:
            bent[joint] = KNEE if stance.upper[joint] > -stance.lower[joint] else -KNEE
    upright = np.zeros((1, 3)), np.array([[1.0, 0.0, 0.0, 0.0]])
    body, _ = body_poses(stance.model, *upright, bent[None])
    moves = moved_bodies(stance.model, stance.default)
    root = cart_path(stance, pressure) - turned(heading, stance.centre)
    allowed = []
    for number, foot in enumerate(stance.feet):
        hip = int(np.flatnonzero(moves[moves[:, foot]].any(0))[0])
        place = body[0, hip]
        reach = np.linalg.norm(body[0, foot] - place)
        aside = np.linalg.norm(foot_position[:, number, :2] - root - turned(heading, place[:2]), axis=1)
        above = np.sqrt(np.maximum(reach**2 - aside**2, 0.0))
        allowed.append((foot_position[:, number, 2] + above - place[2]).min())
    return max(0.0, stance.height - float(min(allowed)))


def _steadied(value: np.ndarray, seconds: float) -> np.ndarray:
    """`value` (T,) averaged over `seconds` around each frame, the ends held."""
    reach = round(0.5 * seconds * FPS)
    return np.convolve(np.pad(value, reach, mode="edge"), np.full(2 * reach + 1, 1.0 / (2 * reach + 1)), mode="valid")
