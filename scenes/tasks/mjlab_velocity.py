"""mjlab's velocity task, flat and rough: its tables of terms and its numbers, and what of them a laptop can train."""

import functools
import logging
import math
import re

import attrs

from engine import Term, term
from engine.errors import listing
from scenes.tasks.ground import height_scan
from scenes.tasks.velocity import GAIT_WEIGHT, Locomotion, LocomotionConfig
from systems import locomotion_terms as walk
from systems import observations as seen
from systems import rewards as earn
from systems import terminations as end
from systems.episode import num_steps
from systems.learning.config import PpoConfig
from systems.observation_groups import ACTOR, CRITIC
from systems.robots.model import RobotModel
from systems.velocity import Stage

_log = logging.getLogger(__name__)
STAGES: tuple[Stage, ...] = (  # control steps; m/s forward and to the left, rad/s
    (0, (-1.0, 1.0), (-1.0, 1.0), (-0.5, 0.5)),
    (120_000, (-1.5, 2.0), (-1.0, 1.0), (-0.7, 0.7)),
    (240_000, (-2.0, 3.0), (-1.0, 1.0), (-0.7, 0.7)),
)
GYRO = (0.04525, 0.0, -0.08339)  # m, gyro and velocimeter of the G1, in the pelvis frame
JOINTS = (  # of a humanoid, and their tolerances in rad while walking and running; the first pattern that matches counts
    ("(?i).*hip_pitch.*", 0.3, 0.5),
    ("(?i).*hip_(roll|yaw).*", 0.15, 0.2),
    ("(?i).*knee.*", 0.35, 0.6),
    ("(?i).*ankle_roll.*", 0.1, 0.15),
    ("(?i).*ankle.*", 0.25, 0.35),
    ("(?i).*waist_roll.*", 0.08, 0.08),
    ("(?i).*waist_pitch.*", 0.1, 0.2),
    ("(?i).*(waist|torso).*", 0.2, 0.3),
    ("(?i).*shoulder_pitch.*", 0.15, 0.5),
    ("(?i).*shoulder_roll.*", 0.15, 0.2),
    ("(?i).*shoulder_yaw.*", 0.1, 0.15),
    ("(?i).*elbow.*", 0.15, 0.35),
    ("(?i).*(wrist|head).*", 0.3, 0.3),
)
OTHERS = (".*", 0.3, 0.5)  # joints that have none of these names, as many robots call theirs
MOVING = (("(?i).*(calf|knee).*", 0.6), (".*", 0.3))
QUADRUPED = {"standing": (("(?i).*(calf|knee).*", 0.1), (".*", 0.05)), "walking": MOVING, "running": MOVING}


def mjlab_observations(model: RobotModel, *, noise: float = 1.0) -> dict[str, Term]:
    """What is seen: 12 + 3 D numbers for the actor with D joints, and 6 more per foot for the critic, which has no noise.

    On terrain both see a height scan besides.
    """
    return {
        "base_linear_velocity": term(seen.base_linear_velocity, noise=0.5 * noise),
        "base_angular_velocity": term(seen.base_angular_velocity, noise=0.2 * noise),
        "projected_gravity": term(seen.projected_gravity, noise=0.05 * noise),
        "measured_joint_position": term(seen.measured_joint_position, noise=0.01 * noise, groups=ACTOR),
        "joint_position": term(seen.joint_position, groups=CRITIC),
        "joint_velocity": term(seen.joint_velocity, noise=1.5 * noise),
        "last_action": term(seen.last_action),
        "command": term(walk.velocity_command),
        "feet_height": term(walk.feet_height, groups=CRITIC),
        "feet_air_time": term(walk.feet_air_time, groups=CRITIC),
        "feet_touching": term(seen.feet_touching, groups=CRITIC),
        "feet_force": term(walk.log_feet_force, groups=CRITIC),
        **(height_scan(noise=noise) if model.terrain is not None else {}),
    }


@functools.cache
def humanoid_tolerances(joints: tuple[str, ...]) -> dict[str, tuple[tuple[str, float], ...]]:
    """Patterns of joints and how far from the default pose, in rad, each may be; says once which joints have no known name."""
    others = [name for name in joints if not any(re.fullmatch(pattern, name) for pattern, *_ in JOINTS)]
    if others:
        _log.warning(
            f"The names of {listing(others, 6)} do not say what these joints are; they may be {OTHERS[1]:g} rad from the default "
            f"pose while walking, and {OTHERS[2]:g} rad while running."
        )
    known = (*JOINTS, OTHERS) if others else JOINTS
    return {
        "standing": ((".*", 0.05),),
        "walking": tuple((pattern, walking) for pattern, walking, _ in known),
        "running": tuple((pattern, running) for pattern, _, running in known),
    }


def mjlab_rewards(model: RobotModel) -> dict[str, Term]:
    """What is rewarded, a robot on two feet by the G1's numbers and any other by the Go1's; following perfectly earns 6 per second.

    On terrain a quadruped is upright where it is parallel to the ground, and its trunk should touch nothing.
    """
    biped = len(model.robot.foot_names) == 2
    tolerances = humanoid_tolerances(model.robot.dof_names) if biped else QUADRUPED
    terms = {
        "linear_velocity": term(walk.linear_velocity, weight=2.0, width=0.25),
        "angular_velocity": term(walk.angular_velocity, weight=2.0, width=0.5),
        "upright": term(walk.anchor_tilt, weight=1.0, width=0.2),
        "posture": term(walk.posture, weight=1.0, width=1.0, **tolerances),
        "joint_limits": term(earn.joint_limits, weight=-1.0),
        "action_rate": term(earn.action_rate, weight=-0.1),
        "foot_clearance": term(walk.foot_clearance, weight=-2.0),
        "swing_height": term(walk.swing_height, weight=-0.25),
        "foot_slip": term(walk.foot_slip, weight=-0.1),
        "soft_landing": term(walk.landing_force, weight=-1e-5),
    }
    if biped:
        terms["body_angular_velocity"] = term(walk.anchor_tilt_rate, weight=-0.05)
        terms["angular_momentum"] = term(walk.angular_momentum, weight=-0.02)
    if biped and model.self_collision:
        terms["self_collision"] = term(earn.self_collision, weight=-1.0)
    if rough_quadruped(model):
        terms["upright"] = term(walk.ground_tilt, weight=1.0, width=0.2)
        if model.self_collision:
            terms["self_collision"] = term(earn.self_collision, weight=-0.1)
        if trunk := touching(model, re.escape(model.robot.anchor_body)):
            terms["trunk_contact"] = term(earn.collision, weight=-0.1, bodies=trunk, force=10.0)
    return terms


def rewards_from_afar(model: RobotModel) -> dict[str, Term]:
    """mjlab's, made to teach with a hundredth of the experience: a velocity pays from further off, and the pose counts less.

    At an error of 1 m/s mjlab's term for the velocity has 2 % of its value, and hardly a slope. This one has 37 %.
    """
    terms = mjlab_rewards(model)
    others = {"linear_velocity": {"weight": 4.0, "width": 1.0}, "posture": {"weight": 0.3}}
    return terms | {
        name: attrs.evolve(terms[name], settings={**terms[name].settings, **settings})
        for name, settings in others.items()
    }


def mjlab_terminations(model: RobotModel, *, seconds: float = 20.0, dt: float = 0.02) -> dict[str, Term]:
    """What ends an episode; `seconds` may be infinite. On terrain a quadruped may lean, but not kneel on its thighs."""
    fallen = {"tipped": term(end.tipped, degrees=70.0)}
    if rough_quadruped(model) and (thighs := touching(model, ".*thigh.*")):
        fallen = {"thigh_contact": term(end.contact, bodies=thighs, force=10.0)}
    return {
        **fallen,
        "diverged": term(end.diverged, kind="fault"),
        "time_limit": term(end.time_limit, kind="time_limit", steps=num_steps(seconds, dt)),
    }


def rough_quadruped(model: RobotModel) -> bool:
    """Whether the Go1's numbers for terrain hold."""
    return model.terrain is not None and len(model.robot.foot_names) != 2


def touching(model: RobotModel, pattern: str) -> tuple[str, ...]:
    """The pattern, where a body that can touch something matches it; else none."""
    return (pattern,) if any(re.fullmatch(pattern, name) for name in model.axes["sensed"]) else ()


MJLAB = Locomotion(name="mjlab_velocity", stages=STAGES, sensor=GYRO)
LAPTOP = LocomotionConfig(  # for two cores
    task=MJLAB,
    robot="g1",
    num_envs=256,
    control="servo",
    curriculum=False,
    self_collision=False,
    elliptic=False,
    substeps=3,
    observations="mjlab_velocity",
    rewards="from_afar",
    terminations="mjlab_velocity",
    robustness=0.2,
    randomise="mjlab_velocity.push,mjlab_velocity.encoder_bias",
    randomise_played="mjlab_velocity.encoder_bias",
    gait_period=0.8,
    gait_weight=0.4,
    penalties=0.1,  # the best of four short trainings of the Go1
    iterations=3000,
    learning=PpoConfig(hidden=(128, 128), init_std=0.8, desired_kl=0.02, entropy_weight=0.005, value_clip=math.inf),
)
GO1_LAPTOP = LAPTOP.replace(robot="go1", gait_period=0.5, iterations=800)
PUBLISHED = LAPTOP.replace(
    num_envs=4096,
    gait_period=None,
    gait_weight=GAIT_WEIGHT,
    curriculum=True,
    self_collision=True,
    substeps=4,
    rewards="mjlab_velocity",
    robustness=1.0,
    randomise="mjlab_velocity",
    randomise_played="mjlab_velocity,-push",
    penalties=1.0,
    iterations=30_000,
    learning=PpoConfig(entropy_weight=0.01),
)
ROUGH = PUBLISHED.replace(terrain="rough")
CONFIGS = {"laptop": LAPTOP, "go1_laptop": GO1_LAPTOP, "mjlab_velocity": PUBLISHED, "mjlab_velocity_rough": ROUGH}
