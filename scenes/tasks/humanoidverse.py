"""HumanoidVerse's motion tracking task: its names, layout, weights and numbers, its errors mended.

The setting is the published one: observations `deepmimic_a2c_nolinvel_LARGEnoise_history`, rewards
`dm_2real`, no domain randomisation. Terms have the names that they have there, and stand in the same
alphabetical order. docs/humanoidverse.md lists what is the same and what is mended.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import torch

from components.motion import MotionLibrary
from components.robot import RobotDescription, VirtualBody
from engine import Bundle, Term, term
from scenes.tasks import Config, Tables, Task, g1
from scenes.tasks.ground import under_clips
from scenes.tasks.readings import readings
from systems import locomotion_terms as walk
from systems import observations as seen
from systems import rewards as earn
from systems import terminations as end
from systems import tracking_terms as track
from systems.episode import episode, num_steps
from systems.humanoidverse import reset_near_reference
from systems.learning.config import PpoConfig
from systems.maths.tensors import indices
from systems.observation_groups import ACTOR, CRITIC
from systems.reference import motion_ended
from systems.robots.model import RobotModel
from systems.tracking import start_on_reference, tracking

VIRTUAL_BODIES = (
    VirtualBody("left_hand", "left_elbow_link", (0.25, 0.0, 0.0)),
    VirtualBody("right_hand", "right_elbow_link", (0.25, 0.0, 0.0)),
    VirtualBody("head", "torso_link", (0.0, 0.0, 0.42)),
)
LOWER = ("pelvis|torso_link|waist_.*|.*_(hip|knee|ankle)_.*",)
UPPER = (".*_(shoulder|elbow|wrist)_.*|.*_hand|head",)
THREE_POINTS = ("left_hand", "right_hand", "head")
FEET = (".*_ankle_roll_link",)
BRACED = ("(?i)pelvis|base|trunk|(.*_)?(shoulder|hip)(_.*)?",)  # bodies that may not touch anything
WEIGHT_SETS = (
    "humanoidverse",
    "humanoidverse_basic",
    "humanoidverse_simfinetuning",
)  # dm_2real, basic, dm_simfinetuning
WEIGHTS = {  # per second, in these sets; 0: not a term of that set
    "teleop_body_position_extend": (1.0, 1.0, 1.0),
    "teleop_vr_3point": (1.6, 1.0, 1.6),
    "teleop_body_position_feet": (2.1, 1.0, 2.1),
    "teleop_body_rotation_extend": (0.5, 0.5, 0.5),
    "teleop_body_velocity_extend": (0.5, 0.5, 0.5),
    "teleop_body_ang_velocity_extend": (0.5, 0.5, 0.5),
    "teleop_joint_position": (0.75, 0.5, 0.75),
    "teleop_joint_velocity": (0.5, 0.5, 0.5),
    "penalty_torques": (-1e-6, -1e-6, -1e-6),
    "penalty_action_rate": (-0.5, -0.001, -0.2),
    "penalty_feet_ori": (-2.0, 0.0, -2.0),
    "feet_heading_alignment": (-0.1, 0.0, -0.1),
    "penalty_slippage": (-1.0, 0.0, -1.0),
    "limits_dof_pos": (-10.0, -10.0, -10.0),
    "limits_dof_vel": (-5.0, -5.0, -5.0),
    "limits_torque": (-5.0, -0.1, -5.0),
    "termination": (-200.0, -200.0, -200.0),
}


def humanoidverse_robot(description: RobotDescription) -> RobotDescription:
    """The robot with all its bodies tracked, and hands and head as virtual bodies after them."""
    return attrs.evolve(description, tracked_bodies=(), virtual_bodies=VIRTUAL_BODIES)


def humanoidverse_observations(*, noise: float = 1.0) -> dict[str, Term]:
    """What is seen: 380 numbers for the actor and 557 for the critic with 23 joints and 27 bodies.

    Order is alphabetical. Noise comes before scaling and is drawn for actor, critic and history by
    themselves; `noise` is the share of the published one. The critic sees as much noise as the actor does, as
    published. Reference terms and phase show the pose to have at the end of the coming control step.
    """

    def sensor(half: float) -> dict[str, float | int]:
        return {"noise": half * noise, "critic_noise": half * noise, "history": 4}

    terms = {
        "base_lin_vel": term(seen.base_linear_velocity, scale=2.0, history=4, groups=CRITIC),
        "base_ang_vel": term(seen.base_angular_velocity, scale=0.25, **sensor(0.3)),
        "projected_gravity": term(seen.projected_gravity, **sensor(0.2)),
        "dof_pos": term(seen.joint_position, **sensor(0.01)),
        "dof_vel": term(seen.joint_velocity, scale=0.05, **sensor(1.0)),
        "actions": term(seen.last_action, history=4),
        "ref_motion_phase": term(track.phase, history=4),
        "dif_local_rigid_body_pos": term(track.target_offset, groups=CRITIC),
        "local_ref_rigid_body_pos": term(track.target_position, groups=CRITIC),
        "history_actor": term(seen.actor_history, groups=ACTOR),
        "history_critic": term(seen.critic_history, groups=CRITIC),
    }
    return dict(sorted(terms.items()))


def deepmimic_observations(*, noise: float = 1.0, privileged: bool = False) -> dict[str, Term]:
    """The published `deepmimic`, 79 numbers with 23 joints, or with a `privileged` critic of 241 `deepmimic_a2c`; their noise is none."""
    bodies = {
        "dif_local_rigid_body_pos": term(track.target_offset, groups=CRITIC),
        "local_ref_rigid_body_pos": term(track.target_position, groups=CRITIC),
    }
    return dict(sorted({**_single_step(), **(bodies if privileged else {})}.items()))


def motion_tracking_observations(*, noise: float = 1.0) -> dict[str, Term]:
    """The published `motion_tracking`, for actor and critic 240 numbers with 23 joints and 27 bodies; its noise is none."""
    terms = {
        **_single_step(),
        "dif_local_rigid_body_pos": term(track.target_offset),
        "local_ref_rigid_body_pos": term(track.target_position),
    }
    del terms["ref_motion_phase"]
    return dict(sorted(terms.items()))


def _single_step() -> dict[str, Term]:
    return {
        "actions": term(seen.last_action),
        "base_ang_vel": term(seen.base_angular_velocity, scale=0.25),
        "base_lin_vel": term(seen.base_linear_velocity, scale=2.0),
        "dof_pos": term(seen.joint_position),
        "dof_vel": term(seen.joint_velocity, scale=0.05),
        "projected_gravity": term(seen.projected_gravity),
        "ref_motion_phase": term(track.phase),
    }


def humanoidverse_rewards(name: str = "humanoidverse") -> dict[str, Term]:
    """The rewards `dm_2real`, or another set of weights by its `name`; perfect tracking earns 7.95 per second.

    Robot and reference are compared at the same instant, not with the reference a control step ahead.
    """
    both: dict[str, Any] = {"first": LOWER, "second": UPPER, "shares": (0.5, 1.0), "widths": (0.1, 0.03)}
    costs: dict[str, Any] = {"penalty": True}
    makers: dict[str, Callable[..., Term]] = {
        "teleop_body_position_extend": partial(term, track.world_position_of_two, **both),
        "teleop_vr_3point": partial(term, track.world_position, width=0.03, of=THREE_POINTS),
        "teleop_body_position_feet": partial(term, track.world_position, width=0.03, of=FEET),
        "teleop_body_rotation_extend": partial(term, track.world_rotation, width=1.0),
        "teleop_body_velocity_extend": partial(term, track.world_linear_velocity, width=1.0),
        "teleop_body_ang_velocity_extend": partial(term, track.world_angular_velocity, width=1.0),
        "teleop_joint_position": partial(term, track.dof_position_error, width=1.0),
        "teleop_joint_velocity": partial(term, track.dof_velocity_error, width=1.0),
        "penalty_torques": partial(term, earn.torques, **costs),
        "penalty_action_rate": partial(term, earn.action_rate, **costs),
        "penalty_feet_ori": partial(term, earn.foot_orientation, **costs),
        "feet_heading_alignment": partial(term, earn.foot_heading, **costs),
        "penalty_slippage": partial(term, earn.slippage, **costs),
        "limits_dof_pos": partial(term, earn.position_limits, **costs),
        "limits_dof_vel": partial(term, earn.velocity_limits, **costs),
        "limits_torque": partial(term, earn.torque_limits, most=1.0, **costs),
        "termination": partial(term, earn.failed, unclipped=True),
    }
    column = WEIGHT_SETS.index(name)
    return {each: makers[each](weight=weights[column]) for each, weights in WEIGHTS.items() if weights[column]}


def humanoidverse_terminations(*, seconds: float = 20.0, dt: float = 0.02) -> dict[str, Term]:
    """Why episodes end; `seconds` may be infinite. A failure wins over a time limit in the same tick.

    An episode runs out of time after, not with, its last whole step, as published; a clip ends on its last frame.
    """
    return {
        "terminate_by_gravity": term(end.tilt, x=0.8, y=0.8),
        "terminate_when_motion_far": term(track.motion_far),
        "diverged": term(end.diverged, kind="fault"),
        "time_out": term(end.time_limit, kind="time_limit", steps=num_steps(seconds, dt) + 1),
        "terminate_when_motion_end": term(motion_ended, kind="time_limit"),
    }


def extra_observations(*, noise: float = 1.0) -> dict[str, Term]:
    """What HumanoidVerse and PBHC can show besides, by their names, to actor and critic and without noise."""
    return {
        "vr_3point_pos": term(track.target_position, of=THREE_POINTS),
        "local_ref_rigid_body_vel": term(track.target_velocity),
        "global_ref_rigid_body_vel": term(track.target_velocity, world_axes=True),
        "dif_joint_angles": term(track.dof_position_offset),
        "dif_joint_velocities": term(track.dof_velocity_offset),
        "relyaw": term(track.turned_since_start),
        "phase_embedding": term(track.phase_embedding, size=16),
        "base_pos_z": term(seen.base_height),
        "feet_contact_force": term(seen.feet_force, scale=0.01),
    }


def extra_rewards() -> dict[str, Term]:
    """What HumanoidVerse and PBHC can reward besides, by their names; weights are PBHC's, or ours where none is published."""
    return {
        "teleop_max_joint_position": term(track.max_dof_position_error, weight=1.0, width=1.0),
        "teleop_radial_body_velocity": term(track.radial_body_velocity, weight=0.5),
        "teleop_radial_joint_velocity": term(track.radial_dof_velocity, weight=0.5),
        "alive": term(earn.alive, weight=1.0),
        "feet_air_time": term(earn.flight_time, weight=1.0, least=0.3),
        "penalty_feet_contact_forces": term(walk.hard_contact, weight=-0.01, most=400.0),
        "penalty_stumble": term(walk.stumble, weight=-2.0),
        "penalty_dof_vel": term(earn.dof_velocity, weight=-1e-3),
        "penalty_orientation": term(earn.orientation, weight=-1.0),
        "minimal_action_norm": term(earn.action_size, weight=1.0, width=1.0),
        "penalty_minimal_action_norm": term(earn.action_growth, weight=-0.1),
    }


def pbhc_rewards() -> dict[str, Term]:
    """What PBHC rewards besides where clips have a `contact_mask`."""
    return {"teleop_contact_mask": term(track.contact_mask, weight=0.5)}


def extra_terminations(*, seconds: float = 20.0, dt: float = 0.02) -> dict[str, Term]:
    """What HumanoidVerse and PBHC can end an episode for besides, by the names of their switches; off as published."""
    return {
        "terminate_by_contact": term(end.contact, bodies=BRACED),
        "terminate_by_low_height": term(end.low, height=0.2),
        "terminate_by_lean": term(end.leaning, most=0.75),
        "terminate_when_close_to_dof_pos_limit": term(end.position_limit, share=0.98, probability=0.25),
        "terminate_when_close_to_dof_vel_limit": term(end.velocity_limit, share=0.98, probability=0.25),
        "terminate_when_close_to_torque_limit": term(end.torque_limit, share=0.98, probability=0.25),
        "terminate_when_dof_far": term(track.dof_far),
    }


def humanoidverse_bundles(
    config: Config, library: MotionLibrary, model: RobotModel, tables: Tables, *, playing: bool, dt: float
) -> list[Bundle]:
    """The task's bundles. `playing` a policy: from each clip's start, without noise or moving curricula.

    Of what `robustness` scales the task has sensor noise, which is in the observations, and the pushes that `randomise` may
    ask for. Episodes begin anywhere in a clip, which spreads their ends; their lengths are counted from 0, since they drive
    the curricula. Raises SceneError for a robot that lacks one of the bodies that the published rewards ask for.
    """
    for patterns in (LOWER, UPPER, FEET):
        indices(model.robot.tracked_bodies, patterns, torch.device("cpu"))
    drawn = config.randomised(model, playing, dt)
    return [
        *readings(tables, model, moving=not playing, noise=config.noise_curriculum, dt=dt),
        episode(),
        tracking(
            library,
            model.robot,
            rewards=tables.rewards,
            terminations=tables.terminations,
            observations=tables.observations,
            start="start" if playing else config.starts,
            order="cycle" if playing else "weight",
            **config.parts(playing),
            reset=start_on_reference if playing else reset_near_reference,
            noisy=not playing,
            noise_curriculum=config.noise_curriculum,
            observation_limit=config.task.limit,
            on_tiles=model.terrain is not None,
            dt=dt,
        ),
        *drawn,
        *under_clips(config, model, library, drawn, playing=playing),
    ]


HUMANOIDVERSE = Task(
    name="humanoidverse",
    robots={23: "g1_23dof_humanoidverse", 29: "g1_humanoidverse"},
    bundles=humanoidverse_bundles,
    describe=humanoidverse_robot,
    limit=100.0,  # on every action and every number of an observation
)
PUBLISHED = Config(
    task=HUMANOIDVERSE,
    num_envs=4096,
    control="P",
    around="default",
    self_collision=True,
    seconds=20.0,
    substeps=4,
    robustness=1.0,
    observations="humanoidverse",
    rewards="humanoidverse",
    terminations="humanoidverse",
    iterations=1_000_000,
    sampling="uniform",
    learning=PpoConfig(
        horizon=24,
        hidden=(512, 256, 128),
        init_std=0.8,
        normalise=False,
        learning_rate=1e-3,
        gamma=0.99,
        lam=0.95,
        epochs=5,
        minibatches=4,
        clip=0.2,
        value_clip=0.2,
        value_weight=1.0,
        entropy_weight=0.01,
        desired_kl=0.01,
        lowest_rate=1e-5,
        highest_rate=1e-2,
        max_grad_norm=1.0,
    ),
)
LAPTOP = PUBLISHED.replace(num_envs=512, substeps=3, robustness=0.1, iterations=None, learning=g1.LAPTOP.learning)
CONFIGS = {"humanoidverse_tracking": PUBLISHED, "humanoidverse_tracking_laptop": LAPTOP}
