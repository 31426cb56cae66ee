"""Makes clips of our own, so that nothing need be downloaded: stand, squat and wave, for any humanoid.

The pelvis height and lean, the waist and the arms follow analytic curves. The legs and the horizontal
place of the pelvis are then solved frame by frame so that both feet stay flat where they are and the
centre of mass stays above the middle of the feet. Everything is found through forward kinematics, so no
leg length, joint axis or sign of a particular robot is written here; arms, knees and waist are found by
name (`right_shoulder…`, `…elbow…`, `…knee…`, `waist_pitch…`).
"""

from collections.abc import Callable
from functools import partial

import attrs
import numpy as np
import torch

from components.motion import Clip
from components.robot import Robot
from engine.errors import SceneError, did_you_mean, listing
from systems import quaternion
from systems.motion_kinematics import Kinematics, body_poses

FPS = 50.0
STEP = 1e-5  # rad or m, of finite differences
TURN_WEIGHT = 0.3  # m/rad: what a foot's tilt costs against its displacement
SOLVED = 1e-5  # m; residual at which the feet count as placed
PLACED = 2e-3  # m; residual above which a robot cannot make a motion


@attrs.frozen(eq=False)
class _Stance:
    """Where the feet stand, what they are moved by, and what is above them."""

    robot: Robot
    model: Kinematics
    default: np.ndarray  # (dof,) rad
    lower: np.ndarray  # (dof,) rad, soft limits
    upper: np.ndarray
    height: float  # m, of the root when standing
    scale: float  # height of the root against the G1's
    feet: tuple[int, ...]  # bodies
    foot_position: np.ndarray  # (feet, 3) m
    foot_rotation: np.ndarray  # (feet, 4), flat on the floor
    centre: np.ndarray  # (2,) m, middle of the soles
    legs: tuple[int, ...]  # joints that move the feet


def make_clip(name: str, robot: Robot, model: Kinematics) -> Clip:
    """A built-in clip for this robot at 50 fps; raises SceneError for an unknown name or a robot that cannot do it."""
    if name not in _MAKERS:
        raise SceneError(
            f"There is no built-in clip '{name}'; there are {listing(_MAKERS)}.{did_you_mean(name, _MAKERS)}"
        )
    stance = _stand_up(robot, model)
    height, lean, dofs = _MAKERS[name](stance)
    position, rotation, dofs = _put_feet_down(name, stance, height, lean, dofs)
    return Clip(
        name=name, fps=FPS, root_position=position, root_rotation=rotation, dof_position=dofs, dof_names=robot.dof_names
    )


def _stand(stance: _Stance) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three seconds of standing still."""
    count = round(3.0 * FPS) + 1
    return np.full(count, stance.height), np.zeros(count), np.tile(stance.default, (count, 1))


def _squat(stance: _Stance) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """4.8 s: 20 cm down and up twice (for a G1), leaning forward, arms swinging forward for balance."""
    time = np.arange(round(4.8 * FPS) + 1) / FPS
    depth = sum(_rise(time, begin, begin + 0.9) - _rise(time, begin + 1.1, begin + 2.0) for begin in (0.3, 2.5))
    dofs = np.tile(stance.default, (len(time), 1))
    for side, outward in (("left", 1.0), ("right", -1.0)):
        arm = _arm(stance.robot, side)
        if arm:
            reached = _reach(stance, side, np.array((1.0, 0.15 * outward, 0.1)), np.array((1.0, 0.0, 0.3)))
            dofs[:, arm] += depth[:, None] * (reached - stance.default[list(arm)])
    for joint, label in enumerate(stance.robot.dof_names):
        if "waist_pitch" in label:
            dofs[:, joint] += 0.1 * depth
    return stance.height - 0.2 * stance.scale * depth, 0.35 * depth, dofs


def _wave(stance: _Stance) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """4 s: the right hand goes up, swings from side to side three times and comes down again."""
    arm = _arm(stance.robot, "right")
    if not arm:
        raise SceneError(
            f"{stance.robot.name} cannot wave: none of its joints is named right_shoulder… or right_elbow…. Choose "
            "stand."
        )
    time = np.arange(round(4.0 * FPS) + 1) / FPS
    up = _rise(time, 0.2, 1.1) - _rise(time, 2.9, 3.8)
    swing = np.sin(2.0 * np.pi * 1.5 * (time - 1.0)) * (_rise(time, 1.0, 1.3) - _rise(time, 2.7, 3.0))
    upper_arm = np.array((0.25, -1.0, 0.1))
    inward, outward = (_reach(stance, "right", upper_arm, np.array((0.2, side, 1.0))) for side in (0.35, -0.55))
    dofs = np.tile(stance.default, (len(time), 1))
    dofs[:, arm] += up[:, None] * (0.5 * (inward + outward) - stance.default[list(arm)])
    dofs[:, arm] += swing[:, None] * 0.5 * (outward - inward)
    return np.full(len(time), stance.height), np.zeros(len(time)), dofs


_MAKERS: dict[str, Callable[[_Stance], tuple[np.ndarray, np.ndarray, np.ndarray]]] = {
    "stand": _stand,
    "squat": _squat,
    "wave": _wave,
}


def _rise(time: np.ndarray, begin: float, end: float) -> np.ndarray:
    """From 0 at `begin` to 1 at `end` along 10x³ − 15x⁴ + 6x⁵: at rest, and free of force, at both ends."""
    x = np.clip((time - begin) / (end - begin), 0.0, 1.0)
    return np.asarray(x**3 * (10.0 + x * (6.0 * x - 15.0)))


def _arm(robot: Robot, side: str) -> tuple[int, ...]:
    """Joints of one arm from shoulder to elbow."""
    words = ("shoulder", "elbow")
    return tuple(i for i, name in enumerate(robot.dof_names) if side in name and any(word in name for word in words))


def _stand_up(robot: Robot, model: Kinematics) -> _Stance:
    """The default pose set down on flat feet."""
    default = robot.default_position.detach().cpu().double().numpy()
    limit = robot.soft_position_limit.detach().cpu().double().numpy()
    default = np.clip(default, limit[:, 0], limit[:, 1])
    feet = tuple(robot.body_names.index(name) for name in robot.foot_names)
    if not feet:
        raise SceneError(
            f"{robot.name} names no feet, so no clip can be made for it. Name its foot bodies, or read a clip from a "
            "file."
        )
    place, turn = np.zeros((1, 3)), np.array([[1.0, 0.0, 0.0, 0.0]])
    flat_position, flat_rotation = body_poses(model, place, turn, np.zeros((1, len(default))))
    flat_points = model.foot_points(flat_position, flat_rotation)[0]
    position, rotation = body_poses(model, place, turn, default[None])
    height = -float(model.foot_points(position, rotation)[0, :, 2].min())
    knees = [i for i, name in enumerate(robot.dof_names) if "knee" in name]
    if any(abs(default[i]) < 0.15 for i in knees):
        height *= 0.985  # straight legs cannot give way
    target, centre = position[0, list(feet)].copy(), []
    for i, foot in enumerate(feet):
        points = flat_points[[body == foot for body in model.foot_point_body]]
        if not len(points):
            raise SceneError(
                f"Foot '{robot.foot_names[i]}' of {robot.name} has no contact points, so it cannot be put on the floor."
            )
        below = points - flat_position[0, foot]
        target[i, 2] = -below[:, 2].min()
        centre.append(target[i, :2] + 0.5 * (below[:, :2].min(0) + below[:, :2].max(0)))
    moved = _moved_bodies(model, default)[:, list(feet)].any(1)
    return _Stance(
        robot=robot,
        model=model,
        default=default,
        lower=limit[:, 0],
        upper=limit[:, 1],
        height=height,
        scale=height / 0.76,
        feet=feet,
        foot_position=target,
        foot_rotation=flat_rotation[0, list(feet)],
        centre=np.mean(centre, 0),
        legs=tuple(int(i) for i in np.flatnonzero(moved)),
    )


def _moved_bodies(model: Kinematics, dofs: np.ndarray) -> np.ndarray:
    """Which bodies each joint turns, (dof, bodies) bool."""
    count = len(dofs)
    trial = np.concatenate((dofs[None], dofs + 1e-3 * np.eye(count)))
    turn = np.tile((1.0, 0.0, 0.0, 0.0), (count + 1, 1))
    _, rotation = body_poses(model, np.zeros((count + 1, 3)), turn, trial)
    return np.asarray(np.abs((rotation[1:] * rotation[:1]).sum(-1)) < 1.0 - 1e-8)


def _solve(
    residual: Callable[[np.ndarray], np.ndarray],
    guess: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    damping: float,
) -> np.ndarray:
    """Damped least squares within bounds, all frames at once: minimise |residual| over (frames, unknowns).

    `residual` maps (frames × k, unknowns) to (frames × k, values), any k in frame-major order. The Jacobian
    is a finite difference.
    """
    x = guess.copy()
    frames, size = x.shape
    for _ in range(30):
        trial = np.concatenate((x[:, None], x[:, None] + STEP * np.eye(size)), 1)
        value = residual(trial.reshape(-1, size)).reshape(frames, size + 1, -1)
        error = value[:, 0]
        jacobian = ((value[:, 1:] - error[:, None]) / STEP).swapaxes(1, 2)
        normal = jacobian.swapaxes(1, 2) @ jacobian + damping * np.eye(size)
        change = np.linalg.solve(normal, -(jacobian.swapaxes(1, 2) @ error[..., None]))[..., 0]
        x = np.clip(x + np.clip(change, -0.2, 0.2), lower, upper)
        if np.abs(change).max() < SOLVED:
            break
    return x


def _put_feet_down(
    name: str, stance: _Stance, height: np.ndarray, lean: np.ndarray, dofs: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Legs and horizontal root position for each frame's root height, lean about y and other joints.

    Equal frames are solved once.
    """
    posture = np.round(np.concatenate((height[:, None], lean[:, None], dofs), 1), 12)
    posture, back = np.unique(posture, axis=0, return_inverse=True)
    back = back.reshape(-1)
    height, rotation = posture[:, 0], _pitched(posture[:, 1])
    legs = list(stance.legs)

    def state(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        each = len(x) // len(posture)
        position = np.concatenate((x[:, :2], np.repeat(height, each)[:, None]), 1)
        joints = np.repeat(posture[:, 2:], each, 0)
        joints[:, legs] = x[:, 2:]
        return position, np.repeat(rotation, each, 0), joints

    def residual(x: np.ndarray) -> np.ndarray:
        position, turned = body_poses(stance.model, *state(x))
        return np.concatenate((_foot_error(stance, position, turned), _balance_error(stance, position, turned)), 1)

    bent = stance.default.copy()
    for joint in legs:
        if "knee" in stance.robot.dof_names[joint] and abs(bent[joint]) < 0.15:
            bent[joint] = 0.3 if stance.upper[joint] > -stance.lower[joint] else -0.3
    guess = np.tile(np.concatenate((np.zeros(2), bent[legs])), (len(posture), 1))
    bounds = [
        np.concatenate((np.full(2, edge), limit[legs])) for edge, limit in ((-1.0, stance.lower), (1.0, stance.upper))
    ]
    solved = _solve(residual, guess, bounds[0], bounds[1], 1e-9)
    error = np.abs(residual(solved)[:, : 6 * len(stance.feet)]).max()
    if error > PLACED:
        raise SceneError(
            f"{stance.robot.name} cannot {name} with its feet flat on the floor: {100.0 * error:.1f} cm are missing "
            "within its joint "
            "limits. Choose another clip, or check its default pose and limits."
        )
    position, turned, joints = state(solved)
    return position[back], turned[back], joints[back]


def _foot_error(stance: _Stance, position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    feet = list(stance.feet)
    offset = position[:, feet] - stance.foot_position
    target = torch.from_numpy(stance.foot_rotation)
    turn = quaternion.multiply(
        torch.from_numpy(rotation[:, feet]), quaternion.conjugate(target).expand(len(rotation), -1, -1)
    )
    tilt = quaternion.to_rotation_vector(turn).numpy()
    return np.concatenate((offset.reshape(len(position), -1), TURN_WEIGHT * tilt.reshape(len(position), -1)), 1)


def _balance_error(stance: _Stance, position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Where the centre of mass stands against the middle of the soles, (frames, 2) m."""
    return np.asarray(_mass_centre(stance.model, position, rotation, slice(None))[:, :2] - stance.centre)


def _mass_centre(
    model: Kinematics, position: np.ndarray, rotation: np.ndarray, bodies: slice | list[int]
) -> np.ndarray:
    mass = model.body_mass[bodies]
    local = torch.from_numpy(model.body_com[bodies]).expand(len(position), -1, -1)
    centre = position[:, bodies] + quaternion.rotate(torch.from_numpy(rotation[:, bodies]), local).numpy()
    return np.asarray((mass[:, None] * centre).sum(1) / mass.sum())


def _pitched(lean: np.ndarray) -> np.ndarray:
    zero = np.zeros_like(lean)
    return np.stack((np.cos(0.5 * lean), zero, np.sin(0.5 * lean), zero), -1)


def _reach(stance: _Stance, side: str, upper_arm: np.ndarray, forearm: np.ndarray) -> np.ndarray:
    """Joint angles of an arm whose upper arm and forearm point as given in the upright root's frame.

    The forearm points from the elbow to the centre of mass of everything beyond it. The target moves from
    the arm's default direction to the wanted one in small steps, so that the arm takes the natural way.
    """
    arm = list(_arm(stance.robot, side))
    moved = _moved_bodies(stance.model, stance.default)
    elbow = next((i for i in arm if "elbow" in stance.robot.dof_names[i]), arm[-1])
    beyond = [int(i) for i in np.flatnonzero(moved[elbow])]
    shoulder = int(np.flatnonzero(moved[arm[0]])[0])

    def directions(x: np.ndarray) -> np.ndarray:
        joints = np.tile(stance.default, (len(x), 1))
        joints[:, arm] = x
        position, rotation = body_poses(stance.model, np.zeros((len(x), 3)), _pitched(np.zeros(len(x))), joints)
        hand = _mass_centre(stance.model, position, rotation, beyond)
        lines = np.stack((position[:, beyond[0]] - position[:, shoulder], hand - position[:, beyond[0]]), 1)
        return _unit(lines)

    x = stance.default[arm][None]
    begin, end = directions(x)[0], _unit(np.stack((upper_arm, forearm)))
    for share in np.linspace(0.1, 1.0, 10):
        target = _unit(begin + share * (end - begin))
        x = _solve(partial(_miss, directions, target), x, stance.lower[arm], stance.upper[arm], 1e-2)
    return np.asarray(x[0])


def _miss(directions: Callable[[np.ndarray], np.ndarray], target: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.asarray(directions(x) - target).reshape(len(x), -1)


def _unit(lines: np.ndarray) -> np.ndarray:
    return np.asarray(lines / np.linalg.norm(lines, axis=-1, keepdims=True))
