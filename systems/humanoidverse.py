"""HumanoidVerse's motion tracking task: its names, layout, weights and numbers, its errors mended.

The setting is the published one: observations `deepmimic_a2c_nolinvel_LARGEnoise_history`, rewards
`dm_2real`, no domain randomisation. Terms have the names that they have there, and stand in the same
alphabetical order. docs/humanoidverse.md lists what is the same and what is mended.
"""

import math
from collections.abc import Mapping
from typing import Any

import attrs
import torch

from components.episode import Done
from components.motion import MotionCursor, MotionLibrary
from components.robot import DofState, Robot, RobotDescription, RootState, VirtualBody
from engine import Bundle, Rng, Term, Write, term
from systems import observations as seen
from systems import rewards as earn
from systems import terminations as end
from systems import tracking_terms as track
from systems.episode import curricula, episode, num_steps
from systems.kinematics import kinematics
from systems.maths.quaternion import from_rotation_vector, multiply, normalize
from systems.maths.tensors import indices
from systems.observations import ACTOR, CRITIC
from systems.reference import motion_ended, sample_root_and_dofs
from systems.tracking import put_state, tracking

LIMIT = 100.0  # on every action and every number of an observation
VIRTUAL_BODIES = (
    VirtualBody("left_hand", "left_elbow_link", (0.25, 0.0, 0.0)),
    VirtualBody("right_hand", "right_elbow_link", (0.25, 0.0, 0.0)),
    VirtualBody("head", "torso_link", (0.0, 0.0, 0.42)),
)
LOWER = ("pelvis|torso_link|waist_.*|.*_(hip|knee|ankle)_.*",)
UPPER = (".*_(shoulder|elbow|wrist)_.*|.*_hand|head",)
THREE_POINTS = ("left_hand", "right_hand", "head")
FEET = (".*_ankle_roll_link",)
RESETS_PER_TICK = 100.0  # 4096 rows whose episodes last 41 steps, between the curricula's thresholds of 40 and 42


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


def humanoidverse_rewards() -> dict[str, Term]:
    """The rewards `dm_2real`; perfect tracking earns 7.95 per second.

    Robot and reference are compared at the same instant, not with the reference a control step ahead.
    """
    both: dict[str, Any] = {"first": LOWER, "second": UPPER, "shares": (0.5, 1.0), "widths": (0.1, 0.03)}
    return {
        "teleop_body_position_extend": term(track.world_position_of_two, weight=1.0, **both),
        "teleop_vr_3point": term(track.world_position, weight=1.6, width=0.03, of=THREE_POINTS),
        "teleop_body_position_feet": term(track.world_position, weight=2.1, width=0.03, of=FEET),
        "teleop_body_rotation_extend": term(track.world_rotation, weight=0.5, width=1.0),
        "teleop_body_velocity_extend": term(track.world_linear_velocity, weight=0.5, width=1.0),
        "teleop_body_ang_velocity_extend": term(track.world_angular_velocity, weight=0.5, width=1.0),
        "teleop_joint_position": term(track.dof_position_error, weight=0.75, width=1.0),
        "teleop_joint_velocity": term(track.dof_velocity_error, weight=0.5, width=1.0),
        "penalty_torques": term(earn.torques, weight=-1e-6, penalty=True),
        "penalty_action_rate": term(earn.action_rate, weight=-0.5, penalty=True),
        "penalty_feet_ori": term(earn.foot_orientation, weight=-2.0, penalty=True),
        "feet_heading_alignment": term(earn.foot_heading, weight=-0.1, penalty=True),
        "penalty_slippage": term(earn.slippage, weight=-1.0, penalty=True),
        "limits_dof_pos": term(earn.position_limits, weight=-10.0, penalty=True),
        "limits_dof_vel": term(earn.velocity_limits, weight=-5.0, penalty=True),
        "limits_torque": term(earn.torque_limits, weight=-5.0, penalty=True, most=1.0),
        "termination": term(earn.failed, weight=-200.0, unclipped=True),
    }


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


def humanoidverse_curricula(*, moving: bool = True, noise: bool = False) -> Bundle:
    """Penalties, soft limits and motion-far radius harden while episodes last longer than 42 control steps.

    They ease below 40. Published degrees hold for one tick with resets; here every finished episode counts by
    itself, so they are divided by the `RESETS_PER_TICK` of the published setting. `moving` False keeps all at their
    start. `noise` turns on the curriculum of observation noise, which the published setting leaves off.
    """

    def paced(degree: float, **more: Any) -> Mapping[str, Any] | None:
        return {"degree": degree / RESETS_PER_TICK, "down": 40.0, "up": 42.0, **more} if moving else None

    return curricula(
        window=10_000.0,
        penalty=0.1,
        penalty_adapts=paced(1e-5, low=0.0, high=1.0),
        limits=(1.15, 1.15, 1.15),
        limits_adapt=paced(2.5e-7, position=(0.95, 1.15), velocity=(0.95, 1.25), torque=(0.85, 1.25)),
        motion_far=1.5,
        motion_far_adapts=paced(2.5e-5, low=0.3, high=2.0),
        noise=0.05 if noise else 1.0,
        noise_adapts=paced(1e-5, low=1e-5, high=1.0) if noise else None,
    )


def reset_near_reference(
    done: Done,
    library: MotionLibrary,
    cursor: MotionCursor,
    rng: Rng,
    root: Write[RootState],
    dofs: Write[DofState],
    *,
    level: float = 0.0,
    on_frames: bool = False,
) -> None:
    """Put ended rows where their clip is when their episode begins, plus Gaussian noise times `level`.

    Deviations at level 1: joints 0.1 rad and 0.15 rad/s, root 0.05 m, 0.01 m/s and 0.01 rad/s. The root also turns
    about a random axis by U(0, 1) times 10 · 3.14 / 180 rad in world axes. `on_frames` as in `reset_to_reference`.
    """
    place, facing, velocity, spin, joints, speeds = sample_root_and_dofs(
        library, cursor.clip, cursor.start, on_frames=on_frames
    )
    if level:
        count = joints.shape[1]
        drawn = torch.randn((len(joints), 12 + 2 * count), generator=rng, device=joints.device)
        off, axis, push, twirl, bend, rush = drawn.split((3, 3, 3, 3, count, count), 1)
        share = torch.rand((len(joints), 1), generator=rng, device=joints.device)
        turned = normalize(axis) * (share * (level * 10.0 * 3.14 / 180.0))
        facing = multiply(from_rotation_vector(turned), facing)
        place, velocity, spin = (
            value.add(noise, alpha=level * std)
            for value, noise, std in ((place, off, 0.05), (velocity, push, 0.01), (spin, twirl, 0.01))
        )
        joints, speeds = joints.add(bend, alpha=0.1 * level), speeds.add(rush, alpha=0.15 * level)
    put_state(done, root, dofs, (place, facing, velocity, spin, joints, speeds))


def humanoidverse(
    library: MotionLibrary,
    robot: Robot,
    *,
    observations: Mapping[str, Term],
    seconds: float = 20.0,
    playing: bool = False,
    reset_level: float = 0.0,
    noise_curriculum: bool = False,
    dt: float = 0.02,
) -> list[Bundle]:
    """The task's bundles. `playing` a policy: from each clip's start, without noise, end or moving curricula.

    Episodes begin anywhere in a clip, which spreads their ends; their lengths are counted from 0, since they
    drive the curricula. Raises SceneError for a robot that lacks one of the bodies that rewards ask for.
    """
    for patterns in (LOWER, UPPER, FEET):
        indices(robot.tracked_bodies, patterns, torch.device("cpu"))
    seconds = math.inf if playing else seconds
    return [
        kinematics(threshold=1.0),
        episode(seconds=seconds, dt=dt, spread=False),
        tracking(
            library,
            robot,
            rewards=humanoidverse_rewards(),
            terminations=humanoidverse_terminations(seconds=seconds, dt=dt),
            observations=observations,
            start="start" if playing else "uniform",
            order="cycle" if playing else "weight",
            reset=reset_near_reference,
            reset_noise={"level": 0.0 if playing else reset_level},
            noisy=not playing,
            noise_curriculum=noise_curriculum,
            observation_limit=LIMIT,
            dt=dt,
        ),
        humanoidverse_curricula(moving=not playing, noise=noise_curriculum),
    ]
