"""The HumanoidVerse motion tracking setting in plain numpy, row by row, for tests to compare with.

Written from the published behaviour alone and on purpose without anything of this package, so that agreement means
something. Clarity over speed: float64, one Python loop per row, every formula as it reads on paper.

The setting: Unitree G1 with 23 dof, observations `deepmimic_a2c_nolinvel_LARGEnoise_history`, rewards `dm_2real`.
N rows, D = 23 dof, B = 24 bodies, 27 bodies with the three extended ones (hands and head), F = 2 feet. World frame, z
up, metres, radians, seconds; quaternions are scalar first and of unit length.

Where the published code has known faults, this is the sound version:

- rewards and terminations compare robot and reference at one instant, so pass the reference of that instant;
  observations look one step ahead, so pass the reference (and its phase) that the next step is to reach;
- nothing is cached, so the first observation of an episode follows from the state that is passed;
- an extended body moves rigidly with its parent;
- a row that fails and times out in one step has failed;
- noise is uniform and is added before scaling.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

Array = np.ndarray

DT = 0.02
CLIP_OBSERVATIONS = 100.0
HISTORY_LENGTH = 4

# ---------------------------------------------------------------------------------------------------------- the robot

_LEG = ("hip_pitch", "hip_roll", "hip_yaw", "knee", "ankle_pitch", "ankle_roll")
_ARM = ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow")
_JOINTS = (
    *(f"left_{part}" for part in _LEG),
    *(f"right_{part}" for part in _LEG),
    "waist_yaw",
    "waist_roll",
    "waist_pitch",
    *(f"left_{part}" for part in _ARM),
    *(f"right_{part}" for part in _ARM),
)
DOF_NAMES = tuple(f"{joint}_joint" for joint in _JOINTS)
BODY_NAMES = ("pelvis", *("torso_link" if joint == "waist_pitch" else f"{joint}_link" for joint in _JOINTS))
FEET = tuple(name for name in BODY_NAMES if "ankle_roll_link" in name)
TERMINATE_AFTER_CONTACTS_ON = tuple(
    name for name in BODY_NAMES if any(part in name for part in ("pelvis", "shoulder", "hip"))
)

# name, parent, offset in the parent's frame (m), rotation in the parent's frame (w, x, y, z)
EXTENDED = (
    ("left_hand", "left_elbow_link", (0.25, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0)),
    ("right_hand", "right_elbow_link", (0.25, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0)),
    ("head", "torso_link", (0.0, 0.0, 0.42), (1.0, 0.0, 0.0, 0.0)),
)
EXTENDED_NAMES = BODY_NAMES + tuple(name for name, *_ in EXTENDED)
THREE_POINTS = ("left_hand", "right_hand", "head")
UPPER = tuple(n for n in EXTENDED_NAMES if "shoulder" in n or "elbow" in n or n in THREE_POINTS)
LOWER = tuple(n for n in EXTENDED_NAMES if n not in UPPER)


@dataclass
class Constants:
    """What does not change: all (D,), in dof order. Position limits are the hard ones."""

    default_dof_position: Array
    lower: Array
    upper: Array
    velocity_limit: Array
    torque_limit: Array


# joint: default, lower, upper, velocity limit, torque limit; the left side, which the right one mirrors in roll
_TABLE = {
    "hip_pitch": (-0.1, -2.5307, 2.8798, 32, 88),
    "hip_roll": (0, -0.5236, 2.9671, 32, 88),
    "hip_yaw": (0, -2.7576, 2.7576, 32, 88),
    "knee": (0.3, -0.087267, 2.8798, 20, 139),
    "ankle_pitch": (-0.2, -0.87267, 0.5236, 37, 50),
    "ankle_roll": (0, -0.2618, 0.2618, 37, 50),
    "waist_yaw": (0, -2.618, 2.618, 32, 88),
    "waist_roll": (0, -0.52, 0.52, 37, 50),
    "waist_pitch": (0, -0.52, 0.52, 37, 50),
    "shoulder_pitch": (0, -3.0892, 2.6704, 37, 25),
    "shoulder_roll": (0, -1.5882, 2.2515, 37, 25),
    "shoulder_yaw": (0, -2.618, 2.618, 37, 25),
    "elbow": (0, -1.0472, 2.0944, 37, 25),
}


def g1_constants() -> Constants:
    """The published numbers of the 23-dof G1."""
    columns: list[tuple[float, ...]] = []
    for joint in _JOINTS:
        default, lower, upper, velocity, torque = _TABLE[joint.removeprefix("left_").removeprefix("right_")]
        if joint in ("right_hip_roll", "right_shoulder_roll"):
            lower, upper = -upper, -lower
        columns.append((default, lower, upper, velocity, torque))
    return Constants(*np.array(columns, dtype=np.float64).T)


@dataclass
class Bodies:
    """World states of bodies: position, linear and angular velocity (N,B,3), rotation (N,B,4) wxyz.

    With 24 bodies they are those of BODY_NAMES; with 27 those of EXTENDED_NAMES.
    """

    position: Array
    rotation: Array
    linear_velocity: Array
    angular_velocity: Array


@dataclass
class RobotState:
    """The robot at one instant, all derived from the same simulator state.

    root_position (N,3), root_rotation (N,4) wxyz, root_linear_velocity and root_angular_velocity (N,3) in the
    world frame; dof_position, dof_velocity (N,D); bodies; foot_contact_force (N,F,3) net, world, in the order of FEET;
    torque (N,D) of the last physics substep, after clipping; previous_dof_velocity (N,D) one control step ago;
    action (N,D) the clipped, undelayed action just executed and previous_action the one before, both 0 after a reset.
    """

    root_position: Array
    root_rotation: Array
    root_linear_velocity: Array
    root_angular_velocity: Array
    dof_position: Array
    dof_velocity: Array
    bodies: Bodies
    foot_contact_force: Array
    torque: Array
    previous_dof_velocity: Array
    action: Array
    previous_action: Array


@dataclass
class Reference:
    """The reference at one instant: bodies as in `Bodies` (24 are extended, 27 taken as they are), dof (N,D)."""

    bodies: Bodies
    dof_position: Array
    dof_velocity: Array


# --------------------------------------------------------------------------------------- rotations, one row at a time


def rotate(q: Array, v: Array) -> Array:
    """R(q) v = (2w² - 1) v + 2w (u × v) + 2 u (u·v)."""
    w, u = q[0], q[1:]
    return (2 * w * w - 1) * v + 2 * w * np.cross(u, v) + 2 * u * np.dot(u, v)


def rotate_inverse(q: Array, v: Array) -> Array:
    """R(q)ᵀ v."""
    w, u = q[0], q[1:]
    return (2 * w * w - 1) * v - 2 * w * np.cross(u, v) + 2 * u * np.dot(u, v)


def multiply(a: Array, b: Array) -> Array:
    """The quaternion of R(a) R(b)."""
    vector = a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:])
    return np.array([a[0] * b[0] - np.dot(a[1:], b[1:]), *vector])


def conjugate(q: Array) -> Array:
    """The inverse of a unit quaternion."""
    return np.array([q[0], -q[1], -q[2], -q[3]])


def wrap_to_pi(angle: float) -> float:
    """The same direction in (-pi, pi]."""
    angle = angle % (2 * math.pi)
    return angle - 2 * math.pi if angle > math.pi else angle


def heading(q: Array) -> float:
    """Angle about +z of where the x axis points."""
    x, y, _ = rotate(q, np.array([1.0, 0.0, 0.0]))
    return math.atan2(y, x)


def without_heading(q: Array, v: Array) -> Array:
    """H⁻¹ v: a world vector turned about z by minus the heading of q."""
    c, s = math.cos(heading(q)), math.sin(heading(q))
    return np.array([c * v[0] + s * v[1], -s * v[0] + c * v[1], v[2]])


def rotation_angle(target: Array, actual: Array) -> float:
    """Angle of target · actual⁻¹, in (-pi, pi]."""
    difference = multiply(target, conjugate(actual))
    return wrap_to_pi(2 * math.atan2(float(np.linalg.norm(difference[1:])), float(difference[0])))


DOWN = np.array([0.0, 0.0, -1.0])


def extend(bodies: Bodies, extended: tuple = EXTENDED, names: tuple[str, ...] = BODY_NAMES) -> Bodies:
    """The bodies followed by the extended ones, which are fixed to their parents.

    Position p + R(q) o, rotation q r, velocity v + ω × (R(q) o), angular velocity ω. What already has as many bodies
    as `names` and `extended` together is returned as it is.
    """
    if bodies.position.shape[1] == len(names) + len(extended):
        return bodies
    assert bodies.position.shape[1] == len(names)
    columns: list[list[Array]] = [[], [], [], []]
    for row in range(len(bodies.position)):
        added: list[list[Array]] = [[], [], [], []]
        for _, parent_name, offset, rotation in extended:
            parent = names.index(parent_name)
            q, omega = bodies.rotation[row, parent], bodies.angular_velocity[row, parent]
            arm = rotate(q, np.array(offset))
            added[0].append(bodies.position[row, parent] + arm)
            added[1].append(multiply(q, np.array(rotation)))
            added[2].append(bodies.linear_velocity[row, parent] + np.cross(omega, arm))
            added[3].append(omega)
        own = (bodies.position, bodies.rotation, bodies.linear_velocity, bodies.angular_velocity)
        for column, mine, new in zip(columns, own, added, strict=True):
            column.append(np.concatenate([mine[row], np.array(new)]))
    return Bodies(*(np.array(column) for column in columns))


# ------------------------------------------------------------------------------------------------------- observations

DIMENSIONS = {
    "actions": 23,
    "base_ang_vel": 3,
    "base_lin_vel": 3,
    "dif_local_rigid_body_pos": 81,
    "dof_pos": 23,
    "dof_vel": 23,
    "local_ref_rigid_body_pos": 81,
    "projected_gravity": 3,
    "ref_motion_phase": 1,
}
SCALES = dict.fromkeys(DIMENSIONS, 1.0) | {"base_lin_vel": 2.0, "base_ang_vel": 0.25, "dof_vel": 0.05}
NOISE = dict.fromkeys(DIMENSIONS, 0.0) | {
    "base_ang_vel": 0.3,
    "projected_gravity": 0.2,
    "dof_pos": 0.01,
    "dof_vel": 1.0,
}
_PROPRIOCEPTION = ("base_ang_vel", "projected_gravity", "dof_pos", "dof_vel", "actions", "ref_motion_phase")
HISTORIES = {"history_actor": _PROPRIOCEPTION, "history_critic": ("base_lin_vel", *_PROPRIOCEPTION)}
GROUPS = {
    "actor": (*_PROPRIOCEPTION, "history_actor"),
    "critic": (
        "base_lin_vel",
        *_PROPRIOCEPTION,
        "dif_local_rigid_body_pos",
        "local_ref_rigid_body_pos",
        "history_critic",
    ),
}


def dimension(key: str) -> int:
    """Numbers per row of a key or of a compound of histories."""
    if key in HISTORIES:
        return sum(DIMENSIONS[part] * HISTORY_LENGTH for part in HISTORIES[key])
    return DIMENSIONS[key]


def layout(keys: Iterable[str]) -> list[tuple[str, int, int]]:
    """(key, start, end) of a group, keys in alphabetical order."""
    places, start = [], 0
    for key in sorted(keys):
        places.append((key, start, start + dimension(key)))
        start += dimension(key)
    return places


def history_layout(compound: str) -> list[tuple[str, int, int, int]]:
    """(key, age, start, end) within a compound: keys alphabetical, then age 1 (the newest entry) to 4."""
    places, start = [], 0
    for key in sorted(HISTORIES[compound]):
        for age in range(1, HISTORY_LENGTH + 1):
            places.append((key, age, start, start + DIMENSIONS[key]))
            start += DIMENSIONS[key]
    return places


OBSERVATION_LAYOUT = {group: layout(keys) for group, keys in GROUPS.items()}
assert OBSERVATION_LAYOUT["actor"][-1][2] == 380
assert OBSERVATION_LAYOUT["critic"][-1][2] == 557


@dataclass
class History:
    """What was observed before: `frames`, oldest to newest, each key -> (N,dim), already noised and scaled.

    The observation of a step is made first and its frame pushed afterwards, so a compound never holds its own step.
    Of a row that is reset all old frames are zero, and so is what lies before the first frame.
    """

    frames: list[dict[str, Array]] = field(default_factory=list)

    def push(self, values: Mapping[str, Array]) -> None:
        """Append the frame of the step that was just observed."""
        self.frames.append({key: np.array(values[key], dtype=np.float64) for key in HISTORIES["history_critic"]})

    def reset(self, rows: Array) -> None:
        """Zero the past of rows (N,) bool; comes before their first observation."""
        for frame in self.frames:
            for values in frame.values():
                values[rows] = 0.0

    def compound(self, name: str, n: int) -> Array:
        """(n,dim): keys alphabetical, per key the whole newest entry, then the one before, to the fourth."""
        parts = []
        for key, age, start, end in history_layout(name):
            known = age <= len(self.frames)
            parts.append(self.frames[-age][key] if known else np.zeros((n, end - start)))
        return np.concatenate(parts, axis=1)


def ref_motion_phase(
    step: Array, start_time: Array, motion_length: Array, dt: float = DT, steps_ahead: int = 1
) -> Array:
    """(N,1) share of the motion at the reference that the next step is to reach; not clipped at 1."""
    return (((step + steps_ahead) * dt + start_time) / motion_length)[:, None]


def raw_observations(robot: RobotState, ahead: Reference, phase: Array, constants: Constants) -> dict[str, Array]:
    """key -> (N,dim), neither noised nor scaled.

    ahead: the reference that is to be reached at the end of the next step; phase (N,) or (N,1): where in the motion
    that is.
    """
    target, actual = extend(ahead.bodies).position, extend(robot.bodies).position
    n, count = target.shape[:2]
    raw = {key: np.zeros((n, size)) for key, size in DIMENSIONS.items()}
    for row in range(n):
        q = robot.root_rotation[row]
        raw["base_lin_vel"][row] = rotate_inverse(q, robot.root_linear_velocity[row])
        raw["base_ang_vel"][row] = rotate_inverse(q, robot.root_angular_velocity[row])
        raw["projected_gravity"][row] = rotate_inverse(q, DOWN)
        raw["dof_pos"][row] = robot.dof_position[row] - constants.default_dof_position
        raw["dof_vel"][row] = robot.dof_velocity[row]
        raw["actions"][row] = robot.action[row]
        raw["ref_motion_phase"][row] = phase[row]
        for body in range(count):
            place = slice(3 * body, 3 * body + 3)
            difference = target[row, body] - actual[row, body]
            raw["dif_local_rigid_body_pos"][row, place] = without_heading(q, difference)
            from_root = target[row, body] - robot.root_position[row]
            raw["local_ref_rigid_body_pos"][row, place] = without_heading(q, from_root)
    return raw


def observed(
    raw: Mapping[str, Array],
    draws: Mapping[str, Array] | None = None,
    noise_level: float = 1.0,
    noise: Mapping[str, float] = NOISE,
    scales: Mapping[str, float] = SCALES,
) -> dict[str, Array]:
    """(raw + u · noise · noise_level) · scale per key, u from draws (N,dim) in [-1, 1), zero where a key has none.

    Each group and the history have draws of their own; noise_level is the value of the noise curriculum.
    """
    values = {}
    for key, value in raw.items():
        u = 0.0 if draws is None or key not in draws else draws[key]
        values[key] = (value + u * noise[key] * noise_level) * scales[key]
    return values


def _group(group: str, values: Mapping[str, Array], history: History) -> Array:
    n = len(values["actions"])
    parts = [history.compound(key, n) if key in HISTORIES else values[key] for key in sorted(GROUPS[group])]
    return np.clip(np.concatenate(parts, axis=1), -CLIP_OBSERVATIONS, CLIP_OBSERVATIONS)


def actor_observation(values: Mapping[str, Array], history: History) -> Array:
    """(N,380) from `observed` values of this step and the history before it."""
    return _group("actor", values, history)


def critic_observation(values: Mapping[str, Array], history: History) -> Array:
    """(N,557) from `observed` values of this step, drawn apart from the actor's, and the history before it."""
    return _group("critic", values, history)


# ------------------------------------------------------------------------------------------------------------ rewards

REWARD_SCALES = {
    "teleop_body_position_extend": 1.0,
    "teleop_vr_3point": 1.6,
    "teleop_body_position_feet": 2.1,
    "teleop_body_rotation_extend": 0.5,
    "teleop_body_velocity_extend": 0.5,
    "teleop_body_ang_velocity_extend": 0.5,
    "teleop_joint_position": 0.75,
    "teleop_joint_velocity": 0.5,
    "penalty_torques": -1e-6,
    "penalty_action_rate": -0.5,
    "penalty_feet_ori": -2.0,
    "feet_heading_alignment": -0.1,
    "penalty_slippage": -1.0,
    "limits_dof_pos": -10.0,
    "limits_dof_vel": -5.0,
    "limits_torque": -5.0,
    "termination": -200.0,
}
PENALTY_SCALED = frozenset(
    {
        "penalty_torques",
        "penalty_dof_acc",
        "penalty_dof_vel",
        "penalty_action_rate",
        "limits_dof_pos",
        "limits_dof_vel",
        "limits_torque",
        "feet_heading_alignment",
        "penalty_feet_ori",
        "penalty_slippage",
    }
)
SIGMA = {
    "upper": 0.03,
    "lower": 0.1,
    "vr_3point": 0.03,
    "feet": 0.03,
    "rotation": 1.0,
    "velocity": 1.0,
    "ang_velocity": 1.0,
    "joint_position": 1.0,
    "joint_velocity": 1.0,
}
LOWER_WEIGHT, UPPER_WEIGHT = 0.5, 1.0
SLIPPAGE_FORCE = 1.0


@dataclass
class LimitFactors:
    """Shares of the hard limits from which the limit terms count; with `curriculum` those of the curricula.

    Without curricula the setting has 0.9, 0.9, 0.825, and the torque term is not capped at 1 per dof.
    """

    position: float = 1.15
    velocity: float = 1.15
    torque: float = 1.15
    curriculum: bool = True


STATIC_LIMITS = LimitFactors(0.9, 0.9, 0.825, curriculum=False)


def tracking_rewards(robot: RobotState, reference: Reference) -> dict[str, Array]:
    """The eight tracking terms (N,), each 1 at best but the first, which is 1.5.

    Every distance is a mean over bodies and over x, y, z, so a third of the mean squared distance.
    """
    target, actual = extend(reference.bodies), extend(robot.bodies)
    terms: dict[str, list[float]] = {name: [] for name in REWARD_SCALES if name.startswith("teleop_")}
    for row in range(len(robot.root_position)):
        squared = (target.position[row] - actual.position[row]) ** 2

        def closeness(names: tuple[str, ...], sigma: str, squared: Array = squared) -> float:
            chosen = [squared[EXTENDED_NAMES.index(name)] for name in names]
            return math.exp(-float(np.mean(chosen)) / SIGMA[sigma])

        terms["teleop_body_position_extend"].append(
            LOWER_WEIGHT * closeness(LOWER, "lower") + UPPER_WEIGHT * closeness(UPPER, "upper")
        )
        terms["teleop_vr_3point"].append(closeness(THREE_POINTS, "vr_3point"))
        terms["teleop_body_position_feet"].append(closeness(FEET, "feet"))
        angles = [rotation_angle(q, p) for q, p in zip(target.rotation[row], actual.rotation[row], strict=True)]
        errors = {
            ("teleop_body_rotation_extend", "rotation"): np.array(angles),
            ("teleop_body_velocity_extend", "velocity"): target.linear_velocity[row] - actual.linear_velocity[row],
            ("teleop_body_ang_velocity_extend", "ang_velocity"): (
                target.angular_velocity[row] - actual.angular_velocity[row]
            ),
            ("teleop_joint_position", "joint_position"): reference.dof_position[row] - robot.dof_position[row],
            ("teleop_joint_velocity", "joint_velocity"): reference.dof_velocity[row] - robot.dof_velocity[row],
        }
        for (name, sigma), error in errors.items():
            terms[name].append(math.exp(-float(np.mean(error**2)) / SIGMA[sigma]))
    return {name: np.array(values) for name, values in terms.items()}


def beyond_position(q: Array, constants: Constants, factor: float) -> float:
    """Σ of how far dofs (D,) lie outside the limits that are `factor` times as wide about the same middle."""
    total = 0.0
    for value, lower, upper in zip(q, constants.lower, constants.upper, strict=True):
        middle, width = 0.5 * (lower + upper), upper - lower
        low, high = middle - 0.5 * width * factor, middle + 0.5 * width * factor
        total += max(0.0, low - value) + max(0.0, value - high)
    return total


def beyond_magnitude(values: Array, limits: Array, factor: float, cap: float = 1.0) -> float:
    """Σ clip(abs(value) - limit · factor, 0, cap) over dofs (D,)."""
    return sum(min(max(abs(v) - limit * factor, 0.0), cap) for v, limit in zip(values, limits, strict=True))


def penalty_rewards(robot: RobotState, constants: Constants, limits: LimitFactors, dt: float = DT) -> dict[str, Array]:
    """The terms that say how the robot moves, all (N,) and not negative, including three that dm_2real does not use."""
    feet = [BODY_NAMES.index(name) for name in FEET]
    terms: dict[str, list[float]] = {}

    def add(name: str, value: float) -> None:
        terms.setdefault(name, []).append(value)

    for row in range(len(robot.root_position)):
        velocity, torque = robot.dof_velocity[row], robot.torque[row]
        add("penalty_torques", sum(torque**2))
        add("penalty_dof_vel", sum(velocity**2))
        add("penalty_dof_acc", sum(((robot.previous_dof_velocity[row] - velocity) / dt) ** 2))
        add("penalty_action_rate", sum((robot.previous_action[row] - robot.action[row]) ** 2))
        gravity = rotate_inverse(robot.root_rotation[row], DOWN)
        add("penalty_orientation", gravity[0] ** 2 + gravity[1] ** 2)
        slip, tilt, turn = 0.0, 0.0, 0.0
        for foot, body in enumerate(feet):
            q = robot.bodies.rotation[row, body]
            if np.linalg.norm(robot.foot_contact_force[row, foot]) > SLIPPAGE_FORCE:
                slip += float(np.linalg.norm(robot.bodies.linear_velocity[row, body]))
            gravity = rotate_inverse(q, DOWN)
            tilt += math.sqrt(gravity[0] ** 2 + gravity[1] ** 2)
            turn += abs(wrap_to_pi(heading(q) - heading(robot.root_rotation[row])))
        add("penalty_slippage", slip)
        add("penalty_feet_ori", tilt)
        add("feet_heading_alignment", turn)
        add("limits_dof_pos", beyond_position(robot.dof_position[row], constants, limits.position))
        add("limits_dof_vel", beyond_magnitude(velocity, constants.velocity_limit, limits.velocity))
        cap = 1.0 if limits.curriculum else math.inf
        add("limits_torque", beyond_magnitude(torque, constants.torque_limit, limits.torque, cap))
    return {name: np.array(values) for name, values in terms.items()}


def rewards(
    robot: RobotState,
    reference: Reference,
    constants: Constants,
    failed: Array,
    limits: LimitFactors | None = None,
    dt: float = DT,
) -> dict[str, Array]:
    """name -> (N,) value before any scale; reference of the robot's instant, failed (N,) bool of this step."""
    return {
        **tracking_rewards(robot, reference),
        **penalty_rewards(robot, constants, limits or LimitFactors(), dt),
        "termination": np.array([1.0 if row else 0.0 for row in failed]),
    }


def total(
    terms: Mapping[str, Array],
    penalty_scale: float,
    scales: Mapping[str, float] = REWARD_SCALES,
    dt: float = DT,
    penalty_scaled: Iterable[str] = PENALTY_SCALED,
    only_positive: bool = False,
) -> Array:
    """(N,) reward: Σ term · scale · dt · (penalty_scale for the names that have it), then termination · scale · dt."""
    shrunk = set(penalty_scaled)
    reward = np.zeros(len(terms["termination"]))
    for name, scale in scales.items():
        if name != "termination" and scale != 0:
            reward += terms[name] * scale * dt * (penalty_scale if name in shrunk else 1.0)
    if only_positive:
        reward = np.maximum(reward, 0.0)
    return reward + terms["termination"] * scales.get("termination", 0.0) * dt


# ------------------------------------------------------------------------------------------------------- terminations

FAILURES = (
    "contact",
    "gravity",
    "low_height",
    "dof_pos_limit",
    "dof_vel_limit",
    "torque_limit",
    "motion_far",
)
TIME_OUTS = ("time_out", "motion_end")
DEFAULT_TERMINATIONS = ("gravity", "motion_far", "time_out", "motion_end")


@dataclass
class TerminationSettings:
    """Thresholds: gravity components, metres, newtons, share of the limits, probability per step, seconds."""

    gravity_x: float = 0.8
    gravity_y: float = 0.8
    motion_far: float = 1.5
    min_base_height: float = 0.2
    contact_force: float = 1.0
    limit_factor: float = 0.98
    limit_probability: float = 0.25
    max_episode_length: float = 20.0


def terminations(
    robot: RobotState,
    reference: Reference,
    constants: Constants,
    step: Array,
    start_time: Array,
    motion_length: Array,
    settings: TerminationSettings | None = None,
    listed_contact_force: Array | None = None,
    coins: Mapping[str, Array] | None = None,
    dt: float = DT,
) -> dict[str, Array]:
    """name -> (N,) bool of every condition, whether switched on or not; `outcome` picks.

    reference: of the robot's instant. step (N,): control steps of the episode including this one. start_time,
    motion_length (N,) s. listed_contact_force (N,L,3): forces on TERMINATE_AFTER_CONTACTS_ON, none where left out.
    coins: name of a limit condition -> (N,) uniform in [0, 1); without one the condition is not left to chance.
    """
    settings = settings or TerminationSettings()
    target, actual = extend(reference.bodies).position, extend(robot.bodies).position
    max_steps = math.ceil(settings.max_episode_length / dt)
    found: dict[str, list[bool]] = {name: [] for name in FAILURES + TIME_OUTS}
    for row in range(len(robot.root_position)):
        forces = [] if listed_contact_force is None else listed_contact_force[row]
        found["contact"].append(any(np.linalg.norm(force) > settings.contact_force for force in forces))
        gravity = rotate_inverse(robot.root_rotation[row], DOWN)
        found["gravity"].append(abs(gravity[0]) > settings.gravity_x or abs(gravity[1]) > settings.gravity_y)
        found["low_height"].append(robot.root_position[row, 2] < settings.min_base_height)
        share = settings.limit_factor
        beyond = {
            "dof_pos_limit": beyond_position(robot.dof_position[row], constants, share),
            "dof_vel_limit": beyond_magnitude(robot.dof_velocity[row], constants.velocity_limit, share),
            "torque_limit": beyond_magnitude(robot.torque[row], constants.torque_limit, share),
        }
        for name, violation in beyond.items():
            coin = 0.0 if coins is None or name not in coins else coins[name][row]
            found[name].append(violation > 0 and coin < settings.limit_probability)
        distances = np.linalg.norm(target[row] - actual[row], axis=-1)
        found["motion_far"].append(bool(max(distances) > settings.motion_far))
        found["time_out"].append(bool(step[row] > max_steps))
        found["motion_end"].append(bool(step[row] * dt + start_time[row] > motion_length[row]))
    return {name: np.array(values, dtype=bool) for name, values in found.items()}


def outcome(
    conditions: Mapping[str, Array], switched_on: Iterable[str] = DEFAULT_TERMINATIONS
) -> tuple[Array, Array, Array]:
    """(failed, timed_out, done), each (N,) bool; a row that fails has not timed out."""
    on = set(switched_on)
    failed = np.logical_or.reduce([conditions[name] & (name in on) for name in FAILURES])
    late = np.logical_or.reduce([conditions[name] & (name in on) for name in TIME_OUTS])
    return failed, late & ~failed, failed | late


# ---------------------------------------------------------------------------------------------------------- curricula


@dataclass(frozen=True)
class Curriculum:
    """A number that follows the average episode length, in control steps.

    Below `down` it is multiplied by 1 + when_short · degree, above `up` by 1 - when_short · degree, between them
    and on them it stays; then it is clipped to [low, high]. when_short is +1 for what is relaxed when episodes are
    short (limits, allowed distance) and -1 for what is lessened then (penalties, noise).
    """

    initial: float
    low: float
    high: float
    degree: float
    when_short: int
    down: float = 40.0
    up: float = 42.0


CURRICULA = {
    "penalty": Curriculum(0.1, 0.0, 1.0, 1e-5, -1),
    "limits_dof_pos": Curriculum(1.15, 0.95, 1.15, 2.5e-7, +1),
    "limits_dof_vel": Curriculum(1.15, 0.95, 1.25, 2.5e-7, +1),
    "limits_torque": Curriculum(1.15, 0.85, 1.25, 2.5e-7, +1),
    "motion_far": Curriculum(1.5, 0.3, 2.0, 2.5e-5, +1),
    "noise": Curriculum(0.05, 1e-5, 1.0, 1e-5, -1),
}
AVERAGE_WINDOW = 10000


def _factor(average: float, curriculum: Curriculum) -> float:
    if average < curriculum.down:
        return 1.0 + curriculum.when_short * curriculum.degree
    if average > curriculum.up:
        return 1.0 - curriculum.when_short * curriculum.degree
    return 1.0


def published_average(average: float, finished: int, mean_length: float, window: int = AVERAGE_WINDOW) -> float:
    """The average after a step in which `finished` > 0 episodes of `mean_length` steps ended; starts at 0."""
    share = finished / window
    return average * (1.0 - share) + mean_length * share


def published_curriculum(value: float, average: float, curriculum: Curriculum) -> float:
    """The value after a step in which at least one episode ended, however many; `average` is the updated one."""
    return min(max(value * _factor(average, curriculum), curriculum.low), curriculum.high)


def fixed_average(
    average: float, weight: float, finished: int, mean_length: float, window: int = AVERAGE_WINDOW
) -> tuple[float, float]:
    """(average, filled part of the window) after `finished` episodes; both start at 0.

    A running mean that weighs every episode by what came after it and not by which step it ended in: of equal
    lengths it is that length from the first episode on.
    """
    keep = (1.0 - 1.0 / window) ** finished
    filled = 1.0 - keep * (1.0 - weight)
    if finished == 0:
        return average, weight
    return average + (mean_length - average) * (1.0 - keep) / filled, filled


def fixed_curriculum(value: float, average: float, finished: int, curriculum: Curriculum) -> float:
    """The value after a step in which `finished` episodes ended, each of which counts; `average` is updated."""
    if finished == 0:
        return value
    return min(max(value * _factor(average, curriculum) ** finished, curriculum.low), curriculum.high)
