"""HumanoidVerse's locomotion task: its names, layout, weights and numbers, its errors mended.

The setting is the published one: observations `singlestep_withlinvel`, no domain randomisation, the rewards of ASAP's G1 and
of HumanoidVerse's G1 with 12 joints, H1 and Go2. Terms have the names that they have there; docs/velocity.md says what is mended.
"""

import re
from collections.abc import Callable
from functools import partial

from engine import Term, term
from engine.errors import SceneError
from scenes.tasks import humanoidverse
from scenes.tasks.velocity import Locomotion, LocomotionConfig
from systems import locomotion_terms as walk
from systems import observations as seen
from systems import rewards as earn
from systems import terminations as end
from systems.episode import num_steps
from systems.robots.model import RobotModel

HEIGHTS = {  # m, by the name of the robot: of the base, and of a swinging foot's body
    "g1_(23|29)dof": (0.78, 0.12),
    "h1_(10|19)dof": (0.98, 0.2),
    "go2": (0.25, 0.12),
    "g1_12dof": (0.728, 0.2),
}
UPPER = {29: "waist_.*|.*_(shoulder|elbow|wrist)_.*", 23: ".*_(shoulder|elbow)_.*"}  # of the G1, by its joints
SCALES = {  # weights per second in the columns g1, h1, go2 and g1 with 12 joints; 0: not a term of that robot
    "tracking_lin_vel": (1.0, 1.0, 1.0, 1.0),
    "tracking_ang_vel": (0.5, 0.5, 0.5, 0.5),
    "penalty_lin_vel_z": (-2.0, -2.0, -2.0, -2.0),
    "penalty_ang_vel_xy": (-1.0, -1.0, -0.05, -0.05),
    "penalty_ang_vel_xy_torso": (-1.0, 0.0, 0.0, 0.0),
    "penalty_orientation": (-1.0, -1.0, 0.0, -1.0),
    "penalty_torques": (-1e-5, -1e-5, -2e-4, 0.0),
    "penalty_dof_vel": (0.0, 0.0, 0.0, -1e-3),
    "penalty_dof_acc": (-3.5e-8, -3.5e-8, -2.5e-7, -2.5e-7),
    "penalty_action_rate": (-0.01, -0.01, -0.01, -0.1),
    "base_height": (-10.0, -100.0, 0.0, -10.0),
    "penalty_slippage": (-1.0, 0.0, 0.0, -1.0),
    "penalty_feet_ori": (-2.0, -2.0, 0.0, -1.0),
    "limits_dof_pos": (-10.0, -10.0, -10.0, -5.0),
    "feet_air_time": (1.0, 1.0, 1.0, 1.0),
    "penalty_feet_height": (-2.5, -5.0, 0.0, -5.0),
    "feet_heading_alignment": (-0.3, 0.0, 0.0, -0.3),
    "penalty_close_feet_xy": (-10.0, 0.0, 0.0, -2.0),
    "penalty_hip_pos": (-1.0, 0.0, 0.0, -1.0),
    "upperbody_joint_angle_freeze": (-0.2, 0.0, 0.0, 0.0),
    "feet_max_height_for_this_air": (0.0, 0.0, -100.0, 0.0),
}


def family(model: RobotModel) -> str:
    """Whose column of weights a robot has. Raises SceneError for a robot without one."""
    name = model.robot.name
    found = next((each for each in HEIGHTS if re.fullmatch(each, name)), None)
    if found is None:
        raise SceneError(
            f"HumanoidVerse has weights for the G1, the H1 and the Go2, and none for '{name}'. Choose --config mjlab_velocity, or --rewards mjlab_velocity."
        )
    return found


def observations(model: RobotModel, *, noise: float = 1.0) -> dict[str, Term]:
    """What actor and critic see, in alphabetical order: 12 + 3 D numbers with D joints; the published noise is none."""
    return {
        "actions": term(seen.last_action),
        "base_ang_vel": term(seen.base_angular_velocity, scale=0.25),
        "base_lin_vel": term(seen.base_linear_velocity, scale=2.0),
        "command_ang_vel": term(walk.turn_command),
        "command_lin_vel": term(walk.linear_command),
        "dof_pos": term(seen.joint_position),
        "dof_vel": term(seen.joint_velocity, scale=0.05),
        "projected_gravity": term(seen.projected_gravity),
    }


def rewards(model: RobotModel) -> dict[str, Term]:
    """The published terms with the weights of the robot's family; penalties are under the curriculum."""
    kind = family(model)
    base, foot = HEIGHTS[kind]
    makers: dict[str, Callable[..., Term]] = {
        "tracking_lin_vel": partial(term, walk.linear_velocity, width=0.25, vertical=False),
        "tracking_ang_vel": partial(term, walk.angular_velocity, width=0.25, tilting=False),
        "penalty_lin_vel_z": partial(term, walk.vertical_velocity),
        "penalty_ang_vel_xy": partial(term, walk.tilt_rate),
        "penalty_ang_vel_xy_torso": partial(term, walk.anchor_tilt_rate, own_axes=True),
        "penalty_orientation": partial(term, earn.orientation),
        "penalty_torques": partial(term, earn.torques),
        "penalty_dof_vel": partial(term, earn.dof_velocity),
        "penalty_dof_acc": partial(term, earn.dof_acceleration),
        "penalty_action_rate": partial(term, earn.action_rate),
        "base_height": partial(term, walk.base_height, height=base),
        "penalty_slippage": partial(term, earn.slippage),
        "penalty_feet_ori": partial(term, earn.foot_orientation),
        "limits_dof_pos": partial(term, earn.position_limits),
        "feet_air_time": partial(term, walk.walking_flight_time),
        "penalty_feet_height": partial(term, walk.lowest_foot_height, height=foot),
        "feet_heading_alignment": partial(term, earn.foot_heading),
        "penalty_close_feet_xy": partial(term, walk.bodies_close, names=model.robot.foot_names, least=0.15),
        "penalty_hip_pos": partial(term, walk.joint_angle, joints=(".*_hip_(roll|yaw)_joint",)),
        "upperbody_joint_angle_freeze": partial(
            term, walk.joint_deviation, joints=(UPPER.get(len(model.robot.dof_names), ""),)
        ),
        "feet_max_height_for_this_air": partial(term, earn.flight_too_low, height=foot),
    }
    column = list(HEIGHTS).index(kind)
    chosen = {name: weights[column] for name, weights in SCALES.items() if weights[column]}
    return {
        name: makers[name](weight=weight, **({"penalty": True} if weight < 0.0 else {}))
        for name, weight in chosen.items()
    }


def terminations(model: RobotModel, *, seconds: float = 20.0, dt: float = 0.02) -> dict[str, Term]:
    """Why episodes end; `seconds` may be infinite. An episode runs out of time after its last whole step, as published."""
    return {
        "terminate_by_gravity": term(end.tilt, x=0.8, y=0.8),
        "diverged": term(end.diverged, kind="fault"),
        "time_out": term(end.time_limit, kind="time_limit", steps=num_steps(seconds, dt) + 1),
    }


def extra_terminations(model: RobotModel, *, seconds: float = 20.0, dt: float = 0.02) -> dict[str, Term]:
    """What HumanoidVerse can end an episode for besides, by the names of its switches; off as published.

    A base is low below 0.3 m, as published, or half its usual height where that is less.
    """
    terms = humanoidverse.extra_terminations()
    del terms["terminate_when_dof_far"]
    low = min(0.3, 0.5 * float(model.robot.default_height))
    return {**terms, "terminate_by_low_height": term(end.low, height=low)}


LOCOMOTION = Locomotion(
    name="humanoidverse_locomotion",
    stages=((0, (-1.0, 1.0), (-1.0, 1.0), (-1.0, 1.0)),),
    draws={"interval": (10.0, 10.0), "standing": 0.0, "ahead": 0.0, "turning": 1.0, "dead_zone": 0.2},
    start={"place": 0.0, "lift": (0.0, 0.0), "facing": 0.0, "linear": 0.5, "angular": 0.5, "bend": (0.5, 1.5)},
    limit=100.0,  # on every action and every number of an observation
)
PUBLISHED = LocomotionConfig(
    task=LOCOMOTION,
    robot="g1_humanoidverse",
    num_envs=4096,
    control="P",
    curriculum=False,
    self_collision=True,
    elliptic=False,
    substeps=4,
    observations="humanoidverse_locomotion",
    rewards="humanoidverse_locomotion",
    terminations="humanoidverse_locomotion",
    robustness=1.0,
    iterations=1_000_000,
    learning=humanoidverse.PUBLISHED.learning,
)
CONFIGS = {"humanoidverse_locomotion": PUBLISHED}
