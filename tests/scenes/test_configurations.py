"""Every named configuration of motion tracking, constant by constant, against tables written from the published numbers."""

import functools
import math
from typing import Any

import numpy as np
import pytest
import torch

from components.learning import Policy
from components.motion import MotionLibrary
from components.physics import Physics
from components.robot import Robot
from engine import Simulation, build
from engine.ecs.constants import addresses
from scenes.motion_tracking import CONFIGS, experiment
from scenes.tasks import Config
from scenes.tasks.tracking_sets import named_tables
from systems.observation_groups import group_terms
from tests.helpers import needs_g1

COMPUTED = ("rows_at_once", "places", "fields", "columns")  # constants that are no numbers of a task
LEGS = ("hip_pitch", "hip_roll", "hip_yaw", "knee", "ankle_pitch", "ankle_roll")
ARMS = ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow", "wrist_roll", "wrist_pitch", "wrist_yaw")
JOINTS = [
    *(f"{side}_{part}_joint" for side in ("left", "right") for part in LEGS),
    *(f"waist_{part}_joint" for part in ("yaw", "roll", "pitch")),
    *(f"{side}_{part}_joint" for side in ("left", "right") for part in ARMS),
]
MOTORS = {  # armature kg·m², Kp N·m/rad, Kd N·m·s/rad, limit N·m, speed rad/s, action scale rad
    "5020": (0.003609725, 14.2506, 0.907223, 25.0, 37.0, 0.438577),
    "7520-14": (0.010177520, 40.1792, 2.557890, 88.0, 32.0, 0.547546),
    "7520-22": (0.025101925, 99.0984, 6.308802, 139.0, 20.0, 0.350661),
    "4010": (0.004250000, 16.7783, 1.068142, 5.0, 22.0, 0.074501),
    "2 x 5020": (0.007219450, 28.5012, 1.814446, 50.0, 37.0, 0.438577),
}
LEG_MOTORS = ["7520-14", "7520-22", "7520-14", "7520-22", "2 x 5020", "2 x 5020"]
ARM_MOTORS = ["5020", "5020", "5020", "5020", "5020", "4010", "4010"]
MOTOR_OF = [*LEG_MOTORS, *LEG_MOTORS, "7520-14", "2 x 5020", "2 x 5020", *ARM_MOTORS, *ARM_MOTORS]
LEG = [(-2.5307, 2.8798), (-0.5236, 2.9671), (-2.7576, 2.7576), (-0.0873, 2.8798), (-0.8727, 0.5236), (-0.2618, 0.2618)]
ARM = [
    (-3.0892, 2.6704),
    (-1.5882, 2.2515),
    (-2.618, 2.618),
    (-1.0472, 2.0944),
    (-1.9722, 1.9722),
    *[(-1.6144, 1.6144)] * 2,
]
RIGHT_LEG = [LEG[0], (-2.9671, 0.5236), *LEG[2:]]
RIGHT_ARM = [ARM[0], (-2.2515, 1.5882), *ARM[2:]]
RANGES = [*LEG, *RIGHT_LEG, (-2.618, 2.618), (-0.52, 0.52), (-0.52, 0.52), *ARM, *RIGHT_ARM]
POSE = [
    *[-0.312, 0.0, 0.0, 0.669, -0.363, 0.0] * 2,
    *[0.0, 0.0, 0.0],
    *[0.2, 0.2, 0.0, 0.6, 0.0, 0.0, 0.0],
    *[0.2, -0.2, 0.0, 0.6, 0.0, 0.0, 0.0],
]
TRACKED = [
    "pelvis",
    *(f"{side}_{part}_link" for side in ("left", "right") for part in ("hip_roll", "knee", "ankle_roll")),
    "torso_link",
    *(f"{side}_{part}_link" for side in ("left", "right") for part in ("shoulder_roll", "elbow", "wrist_yaw")),
]
BOTH = ("actor", "critic")

OBSERVED = {  # of the actor: noise
    "command": 0.0,
    "anchor_position": 0.25,
    "anchor_orientation": 0.05,
    "base_linear_velocity": 0.5,
    "base_angular_velocity": 0.2,
    "measured_joint_position": 0.01,
    "joint_velocity": 0.5,
    "last_action": 0.0,
}
ACTOR = {"command": 58, "anchor_position": 3, "anchor_orientation": 6, "base_linear_velocity": 3}
ACTOR |= {"base_angular_velocity": 3, "measured_joint_position": 29, "joint_velocity": 29, "last_action": 29}
CRITIC = {"command": 58, "anchor_position": 3, "anchor_orientation": 6, "bodies_position": 42, "bodies_orientation": 84}
CRITIC |= {"base_linear_velocity": 3, "base_angular_velocity": 3, "joint_position": 29, "joint_velocity": 29}
CRITIC |= {"last_action": 29}
EARNED = {  # weight per second, std
    "global_anchor_position": (0.5, 0.3),
    "global_anchor_orientation": (0.5, 0.4),
    "body_position": (1.0, 0.3),
    "body_orientation": (1.0, 0.4),
    "body_linear_velocity": (1.0, 1.0),
    "body_angular_velocity": (1.0, 3.14),
    "action_rate": (-0.1, None),
    "joint_limits": (-10.0, None),
    "self_collision": (-10.0, None),
}
MJLAB = {
    "physics.step_physics.substeps": 4,
    "actuation.reset_delay.steps": (0, 0),
    "kinematics.derive_base_frame.sensor": (0.04525, 0.0, -0.08339),
    "episode.spread_episodes.steps": 500,
    "tracking.advance_motion.dt": 0.02,
    "tracking.sample_reference.on_frames": True,
    "tracking.draw_motion.floor": 0.1,
    "tracking.draw_motion.kernel": 3,  # bins; the published default does not smooth
    "tracking.draw_motion.decay": 0.8,
    "tracking.draw_motion.prior": 0.1,
    "tracking.count_failures.alpha": 0.001,
    "tracking.draw_motion.on_frames": True,
    "tracking.draw_motion.dt": 0.02,
    "tracking.start_next_clip.dt": 0.02,
    "tracking.reset_to_reference.position": (0.05, 0.05, 0.01),
    "tracking.reset_to_reference.rotation": (0.1, 0.1, 0.2),
    "tracking.reset_to_reference.linear": (0.5, 0.5, 0.2),
    "tracking.reset_to_reference.angular": (0.52, 0.52, 0.78),
    "tracking.reset_to_reference.joint": 0.1,
    "tracking.reset_to_reference.joint_velocity": 0.0,
    "tracking.reset_to_reference.on_frames": True,
    "tracking.observe.noisy": True,
    "tracking.observe.limit": math.inf,
    **{f"tracking.observe.{name}.noise": noise for name, noise in OBSERVED.items() if noise},
    **{
        f"tracking.observe.{n}.groups": ("critic",) for n in ("bodies_position", "bodies_orientation", "joint_position")
    },
    **{f"tracking.observe.{name}.groups": BOTH for name in ("anchor_position", "base_linear_velocity")},
    "tracking.observe.measured_joint_position.groups": ("actor",),
    "tracking.terminate.anchor_height.most": 0.25,
    "tracking.terminate.anchor_tilt.most": 0.8,
    "tracking.terminate.end_effector_height.most": 0.25,
    "tracking.terminate.diverged.kind": "fault",
    "tracking.terminate.time_limit.steps": 500,
    "tracking.terminate.time_limit.kind": "time_limit",
    "tracking.terminate.motion_end.kind": "time_limit",
    "tracking.reward.only_positive": False,
    "tracking.reward.dt": 0.02,
    **{f"tracking.reward.{name}.weight": weight for name, (weight, _) in EARNED.items()},
    **{f"tracking.reward.{name}.std": std for name, (_, std) in EARNED.items() if std},
    "randomization.draw_first_push.interval": (1.0, 3.0),
    "randomization.draw_first_push.dt": 0.02,
    "randomization.push.replace": False,
    "randomization.push.linear": (0.5, 0.5, 0.2),
    "randomization.push.angular": (0.52, 0.52, 0.78),
    "randomization.push.interval": (1.0, 3.0),
    "randomization.push.dt": 0.02,
    "randomization.torso_com.distribution": "uniform",
    "randomization.torso_com.spans": ((-0.025, 0.025), (-0.05, 0.05), (-0.05, 0.05)),
    "randomization.encoder_bias.distribution": "uniform",
    "randomization.encoder_bias.spans": ((-0.01, 0.01),),
    "randomization.foot_friction.distribution": "uniform",
    "randomization.foot_friction.spans": ((0.3, 1.2),),
    "ppo.act.limit": math.inf,
    "ppo.estimate_advantage.gamma": 0.99,
    "ppo.estimate_advantage.lam": 0.95,
    "ppo.improve_policy.epochs": 5,
    "ppo.improve_policy.minibatches": 4,
    "ppo.improve_policy.clip": 0.2,
    "ppo.improve_policy.value_clip": 0.2,
    "ppo.improve_policy.value_weight": 1.0,
    "ppo.improve_policy.entropy_weight": 0.005,
    "ppo.improve_policy.desired_kl": 0.01,
    "ppo.improve_policy.lowest_rate": 1e-5,
    "ppo.improve_policy.highest_rate": 1e-2,
    "ppo.improve_policy.max_grad_norm": 1.0,
    "ppo.improve_policy.l2c2_actor": 0.0,
    "ppo.improve_policy.l2c2_critic": 0.0,
}
COLLISION, ENCODERS, FRICTION = (
    "tracking.reward.self_collision.",
    "randomization.encoder_bias.",
    "randomization.foot_friction.",
)
BEYONDMIMIC = {
    **{k: v for k, v in MJLAB.items() if not k.startswith((COLLISION, ENCODERS, FRICTION))},
    "tracking.reward.undesired_contacts.weight": -0.1,
    "tracking.reward.undesired_contacts.force": 1.0,
    "tracking.reward.undesired_contacts.bodies": ("(?!.*_(ankle|wrist)_).*",),
    "randomization.joint_offset.distribution": "uniform",
    "randomization.joint_offset.spans": ((-0.01, 0.01),),
    "randomization.friction.distribution": "uniform",
    "randomization.friction.spans": ((0.3, 1.6),),
    "randomization.restitution.distribution": "uniform",
    "randomization.restitution.spans": ((0.0, 0.5),),
}
AT_25_HZ = {
    "physics.step_physics.substeps": 8,
    "episode.spread_episodes.steps": 250,
    "tracking.terminate.time_limit.steps": 250,
    "tracking.reward.action_rate.weight": -0.05,
    "ppo.estimate_advantage.gamma": 0.9801,
    "ppo.estimate_advantage.lam": 0.9025,
    **{key: 0.04 for key in MJLAB if key.endswith(".dt")},
}
SEEN = {  # by HumanoidVerse: scale, noise
    "actions": (1.0, 0.0),
    "base_ang_vel": (0.25, 0.3),
    "base_lin_vel": (2.0, 0.0),
    "dof_pos": (1.0, 0.01),
    "dof_vel": (0.05, 1.0),
    "projected_gravity": (1.0, 0.2),
    "ref_motion_phase": (1.0, 0.0),
}
SCALES = {  # per second, `dm_2real`
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
WIDTHS = {
    "teleop_vr_3point": 0.03,
    "teleop_body_position_feet": 0.03,
    "teleop_body_rotation_extend": 1.0,
    "teleop_body_velocity_extend": 1.0,
    "teleop_body_ang_velocity_extend": 1.0,
    "teleop_joint_position": 1.0,
    "teleop_joint_velocity": 1.0,
}
HUMANOIDVERSE = {
    "physics.step_physics.substeps": 1,  # torque is computed before each of the 4
    "actuation.fill_torque_noise.amplitude": 0.0,
    "actuation.clip_action.limit": 100.0,
    "actuation.reset_delay.steps": (0, 0),
    "actuation.compute_torque.controller": "P",
    "actuation.compute_torque.dt": 0.02,
    "actuation.compute_torque.noisy": False,
    "actuation.compute_torque.limited": True,
    "kinematics.derive_base_frame.sensor": (0.0, 0.0, 0.0),
    "kinematics.derive_contacts.threshold": 1.0,
    "curricula.measure_length.window": 10_000.0,
    **{f"curricula.adapt_{each}.down": 40.0 for each in ("penalty", "limits", "motion_far")},
    **{f"curricula.adapt_{each}.up": 42.0 for each in ("penalty", "limits", "motion_far")},
    "curricula.adapt_penalty.degree": 1e-5 / 100,  # an episode at a time, of which the published tick has a hundred
    "curricula.adapt_penalty.low": 0.0,
    "curricula.adapt_penalty.high": 1.0,
    "curricula.adapt_limits.degree": 2.5e-7 / 100,
    "curricula.adapt_limits.position": (0.95, 1.15),
    "curricula.adapt_limits.velocity": (0.95, 1.25),
    "curricula.adapt_limits.torque": (0.85, 1.25),
    "curricula.adapt_motion_far.degree": 2.5e-5 / 100,
    "curricula.adapt_motion_far.low": 0.3,
    "curricula.adapt_motion_far.high": 2.0,
    **{key: MJLAB[key] for key in MJLAB if key.startswith(("tracking.advance", "tracking.sample"))},
    "tracking.draw_motion.start_share": 0.0,
    "tracking.draw_motion.order": "weight",
    "tracking.draw_motion.on_frames": True,
    "tracking.draw_motion.dt": 0.02,
    "tracking.start_next_clip.dt": 0.02,
    "tracking.reset_to_reference.level": 0.0,
    "tracking.reset_to_reference.on_frames": True,
    "tracking.observe.noisy": True,
    "tracking.observe.limit": 100.0,
    **{f"tracking.observe.{name}.scale": scale for name, (scale, _) in SEEN.items() if scale != 1.0},
    **{f"tracking.observe.{name}.{key}": n for name, (_, n) in SEEN.items() if n for key in ("noise", "critic_noise")},
    **{f"tracking.observe.{name}.history": 4 for name in SEEN},
    "tracking.observe.base_lin_vel.groups": ("critic",),
    "tracking.observe.dif_local_rigid_body_pos.groups": ("critic",),
    "tracking.observe.local_ref_rigid_body_pos.groups": ("critic",),
    "tracking.observe.local_ref_rigid_body_pos.of": (),  # all bodies
    "tracking.observe.history_actor.groups": ("actor",),
    "tracking.observe.history_critic.groups": ("critic",),
    "tracking.remember.noisy": True,
    "tracking.terminate.terminate_by_gravity.x": 0.8,
    "tracking.terminate.terminate_by_gravity.y": 0.8,
    "tracking.terminate.diverged.kind": "fault",
    "tracking.terminate.time_out.steps": 1001,  # 20 s, and out of time after them
    "tracking.terminate.time_out.kind": "time_limit",
    "tracking.terminate.terminate_when_motion_end.kind": "time_limit",
    "tracking.reward.only_positive": False,
    "tracking.reward.dt": 0.02,
    **{f"tracking.reward.{name}.weight": weight for name, weight in SCALES.items()},
    **{f"tracking.reward.{name}.width": width for name, width in WIDTHS.items()},
    **{f"tracking.reward.{n}.penalty": True for n, w in SCALES.items() if w < 0.0 and n != "termination"},
    "tracking.reward.termination.unclipped": True,
    "tracking.reward.limits_torque.most": 1.0,
    "tracking.reward.teleop_body_position_extend.shares": (0.5, 1.0),
    "tracking.reward.teleop_body_position_extend.widths": (0.1, 0.03),
    "tracking.reward.teleop_body_position_extend.first": ("pelvis|torso_link|waist_.*|.*_(hip|knee|ankle)_.*",),
    "tracking.reward.teleop_body_position_extend.second": (".*_(shoulder|elbow|wrist)_.*|.*_hand|head",),
    "tracking.reward.teleop_vr_3point.of": ("left_hand", "right_hand", "head"),
    "tracking.reward.teleop_body_position_feet.of": (".*_ankle_roll_link",),
    "tracking.reward.teleop_body_rotation_extend.of": (),
    **{key: MJLAB[key] for key in MJLAB if key.startswith("ppo.")},
    "ppo.improve_policy.entropy_weight": 0.01,
}
CONSTANTS: dict[str, dict[str, Any]] = {
    "mjlab_tracking": MJLAB,
    "mjlab_tracking_25hz": MJLAB | AT_25_HZ,
    "beyondmimic_tracking": BEYONDMIMIC,
    "beyondmimic_tracking_25hz": BEYONDMIMIC | AT_25_HZ,
    "humanoidverse_tracking": HUMANOIDVERSE,
}
RUN = {"num_envs": 4096, "control": "servo", "around": "default", "self_collision": True, "seconds": 10.0}
RUN |= {
    "substeps": 4,
    "robustness": 1.0,
    "rate": 50.0,
    "iterations": 30_000,
    "learner": "ppo",
    "backend": "mujoco",
    "sampling": "adaptive",
}
RUNS: dict[str, dict[str, Any]] = {
    "mjlab_tracking": RUN,
    "mjlab_tracking_25hz": RUN | {"rate": 25.0, "substeps": 8},
    "beyondmimic_tracking": RUN,
    "beyondmimic_tracking_25hz": RUN | {"rate": 25.0, "substeps": 8},
    "humanoidverse_tracking": RUN
    | {"control": "P", "seconds": 20.0, "iterations": 1_000_000, "randomise": "none", "sampling": "uniform"},
}
LEARNING = {
    "horizon": 24,
    "hidden": (512, 256, 128),
    "critic_hidden": None,
    "init_std": 1.0,
    "learning_rate": 1e-3,
    "normalise": True,
}
LEARNINGS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("mjlab_tracking", "beyondmimic_tracking"), LEARNING),
    **dict.fromkeys(("mjlab_tracking_25hz", "beyondmimic_tracking_25hz"), LEARNING | {"horizon": 12}),
    "humanoidverse_tracking": LEARNING | {"init_std": 0.8, "normalise": False},
}


def config(name: str, **numbers: Any) -> Config:
    return CONFIGS[name].replace(clip="stand", num_envs=2, physics_threads=1, **numbers)


@functools.cache
def built(name: str) -> Simulation:
    robot = "g1_23dof_humanoidverse" if name.startswith("humanoidverse") else "auto"
    return build(experiment(config(name, robot=robot)).train())


def constants(name: str) -> dict[str, Any]:
    """Every constant of the built scene by its address, without what only says how it is computed."""
    found = {a: p[0].holder[p[0].key] for a, p in addresses(built(name).scene.bundles).items()}
    return {a: value for a, value in found.items() if a.rpartition(".")[2] not in COMPUTED}


def widths(labels: tuple[str, ...]) -> dict[str, int]:
    """How many numbers each term has, in order."""
    found: dict[str, int] = {}
    for label in labels:
        name = label.partition("[")[0]
        found[name] = found.get(name, 0) + 1
    return found


def of_term(address: str) -> tuple[str, str]:
    """System, and term or constant, that an address names."""
    return address.split(".")[1], address.split(".")[2]


RARE = ("beyondmimic_tracking_25hz",)  # made of the others


@needs_g1
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in RARE else n for n in CONSTANTS])
def test_every_constant_is_the_published_one(name: str) -> None:
    expected, found = dict(CONSTANTS[name]), constants(name)
    for other in (
        "observe_final",
        "remember",
    ):  # the same terms once more: those of the critic, and those with a history
        terms = {of_term(a)[1] for a in found if of_term(a)[0] == other and a.count(".") == 3}
        copied = {a.replace(".observe.", f".{other}."): v for a, v in expected.items() if of_term(a)[0] == "observe"}
        expected |= {a: v for a, v in copied.items() if of_term(a)[1] in terms}
    expected |= {f"tracking.observe_final.{key}": expected[f"tracking.observe.{key}"] for key in ("noisy", "limit")}
    assert found.keys() == expected.keys()
    for address, value in expected.items():
        assert found[address] == (pytest.approx(value) if isinstance(value, float) else value), address


@pytest.mark.parametrize("name", RUNS)
def test_rows_rate_and_network_are_the_published_ones(name: str) -> None:
    given = CONFIGS[name]
    assert {key: getattr(given, key) for key in RUNS[name]} == RUNS[name]
    assert {key: getattr(given.learning, key) for key in LEARNINGS[name]} == LEARNINGS[name]


@needs_g1
@pytest.mark.parametrize("name", ["mjlab_tracking", "mjlab_tracking_25hz", "beyondmimic_tracking"])
def test_the_robot_is_the_published_one(name: str) -> None:
    world = built(name).world
    robot = world[Robot]
    assert list(robot.dof_names) == JOINTS and list(robot.tracked_bodies) == TRACKED
    assert robot.anchor_body == "torso_link" and robot.default_height == 0.76
    assert set(robot.end_effectors) == {f"{s}_{p}_link" for s in ("left", "right") for p in ("ankle_roll", "wrist_yaw")}
    table = np.array([MOTORS[motor] for motor in MOTOR_OF])
    own = (robot.armature, robot.stiffness, robot.damping, robot.torque_limit, robot.velocity_limit, robot.action_scale)
    np.testing.assert_allclose(torch.stack(own, -1).numpy(), table, rtol=2e-5)
    np.testing.assert_allclose(robot.default_position.numpy(), POSE, atol=1e-6)
    low, high = np.array(RANGES).T
    np.testing.assert_allclose(robot.position_limit.numpy(), np.stack((low, high), -1), atol=6e-5)
    middle, half = (low + high) / 2, 0.45 * (high - low)
    np.testing.assert_allclose(
        robot.soft_position_limit.numpy(), np.stack((middle - half, middle + half), -1), atol=6e-5
    )
    option = world[Physics].backend.model.model.opt
    assert option.timestep == pytest.approx(0.005)
    assert (option.iterations, option.ls_iterations, option.impratio) == (10, 20, 1.0)
    assert (option.integrator, option.solver, option.cone) == (3, 2, 0)  # implicit-fast, Newton, pyramidal


@needs_g1
def test_actor_and_critic_see_the_published_numbers_in_the_published_order() -> None:
    for name in ("mjlab_tracking", "beyondmimic_tracking"):
        axes = built(name).world.tables["robot"].axes
        assert list(widths(axes["actor_observation"]).items()) == list(ACTOR.items())
        assert list(widths(axes["critic_observation"]).items()) == list(CRITIC.items())
        assert (len(axes["actor_observation"]), len(axes["critic_observation"])) == (160, 286)


def test_the_actor_without_state_estimation_sees_154_numbers_and_the_critic_what_it_saw() -> None:
    given = config("mjlab_tracking", observations="mjlab_tracking_no_state_estimation")
    seen = named_tables(given, seconds=10.0).observations
    critic = group_terms(seen, "critic")
    assert sum(ACTOR[name] for name in group_terms(seen, "actor")) == 154
    assert list(critic) == list(CRITIC)
    assert all("critic_noise" not in each.settings for each in critic.values())


@needs_g1
def test_networks_and_clips_have_the_published_sizes_and_rates() -> None:
    for name, rate in (("mjlab_tracking", 50.0), ("mjlab_tracking_25hz", 25.0)):
        world = built(name).world
        policy = world[Policy]
        layers = [tuple(p.shape) for p in policy.actor.parameters() if p.dim() == 2]
        assert layers == [(512, 160), (256, 512), (128, 256), (29, 128)]
        layers = [tuple(p.shape) for p in policy.critic.parameters() if p.dim() == 2]
        assert layers == [(512, 286), (256, 512), (128, 256), (1, 128)]
        assert torch.allclose(policy.actor.log_std.exp(), torch.ones(29))
        assert world[MotionLibrary].fps == rate
