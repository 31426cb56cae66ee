"""The named configurations of walking by command, constant by constant, against tables written from the published numbers."""

import functools
import math
from typing import Any

import pytest

from engine import Simulation, build
from engine.ecs.constants import addresses
from scenes.velocity import CONFIGS, experiment
from tests.helpers import needs_g1
from tests.scenes.test_configurations import COMPUTED, MJLAB, of_term

TOLERANCES = {  # rad while walking and running, by what the patterns say of the G1's joints
    "hip_pitch": (0.3, 0.5),
    "hip_(roll|yaw)": (0.15, 0.2),
    "knee": (0.35, 0.6),
    "ankle_roll": (0.1, 0.15),
    "ankle": (0.25, 0.35),
    "waist_roll": (0.08, 0.08),
    "waist_pitch": (0.1, 0.2),
    "(waist|torso)": (0.2, 0.3),
    "shoulder_pitch": (0.15, 0.5),
    "shoulder_roll": (0.15, 0.2),
    "shoulder_yaw": (0.1, 0.15),
    "elbow": (0.15, 0.35),
    "(wrist|head)": (0.3, 0.3),
}
WEIGHTS = {
    "linear_velocity": 2.0,
    "angular_velocity": 2.0,
    "upright": 1.0,
    "posture": 1.0,
    "joint_limits": -1.0,
    "action_rate": -0.1,
    "foot_clearance": -2.0,
    "swing_height": -0.25,
    "foot_slip": -0.1,
    "soft_landing": -1e-5,
    "body_angular_velocity": -0.05,
    "angular_momentum": -0.02,
    "self_collision": -1.0,
}
WIDTHS = {"linear_velocity": 0.25, "angular_velocity": 0.5, "upright": 0.2, "posture": 1.0}
NOISE = {"base_linear_velocity": 0.5, "base_angular_velocity": 0.2, "projected_gravity": 0.05, "joint_velocity": 1.5}
NOISE |= {"measured_joint_position": 0.01}
PPO = {key: value for key, value in MJLAB.items() if key.startswith("ppo.")} | {
    "ppo.improve_policy.entropy_weight": 0.01
}
MEASURED = {f"measurements.measure.command/{n}.place": i for i, n in enumerate(("forward", "sideways", "yaw_rate"))}
COMMON = {
    "actuation.reset_delay.steps": (0, 0),
    "episode.spread_episodes.steps": 1000,
    "kinematics.derive_contacts.threshold": 1.0,
    "commands.draw_commands.heading": (-math.pi, math.pi),
    "commands.draw_commands.least_ahead": 0.3,
    "commands.draw_commands.dt": 0.02,
    "commands.turn_to_heading.gain": 0.5,
    "task.terminate.diverged.kind": "fault",
    "task.reward.only_positive": False,
    "task.reward.dt": 0.02,
    "task.observe.noisy": True,
    **PPO,
    **MEASURED,
}
VELOCITY = {
    **COMMON,
    "physics.step_physics.substeps": 4,
    "kinematics.derive_base_frame.sensor": (0.04525, 0.0, -0.08339),
    "feet.follow_swing.dt": 0.02,
    **{key: value for key, value in MJLAB.items() if key.startswith(("randomization.push", "randomization.draw"))},
    "randomization.push.linear": (0.5, 0.5, 0.4),
    "randomization.torso_com.distribution": "uniform",
    "randomization.torso_com.spans": ((-0.025, 0.025), (-0.025, 0.025), (-0.03, 0.03)),
    "randomization.encoder_bias.distribution": "uniform",
    "randomization.encoder_bias.spans": ((-0.015, 0.015),),
    "randomization.foot_friction.distribution": "uniform",
    "randomization.foot_friction.spans": ((0.3, 1.2),),
    "standing.reset_to_default.place": 0.5,
    "standing.reset_to_default.lift": (0.01, 0.05),
    "standing.reset_to_default.facing": math.pi,
    "standing.reset_to_default.linear": 0.0,
    "standing.reset_to_default.angular": 0.0,
    "standing.reset_to_default.bend": (1.0, 1.0),
    "commands.widen_range.stages": (
        (0, (-1.0, 1.0), (-1.0, 1.0), (-0.5, 0.5)),
        (120_000, (-1.5, 2.0), (-1.0, 1.0), (-0.7, 0.7)),
        (240_000, (-2.0, 3.0), (-1.0, 1.0), (-0.7, 0.7)),
    ),
    "commands.draw_commands.interval": (3.0, 8.0),
    "commands.draw_commands.standing": 0.1,
    "commands.draw_commands.ahead": 0.2,
    "commands.draw_commands.turning": 0.3,
    "commands.draw_commands.dead_zone": 0.0,
    "task.terminate.tipped.degrees": 70.0,
    "task.terminate.time_limit.steps": 1000,
    "task.terminate.time_limit.kind": "time_limit",
    **{f"task.reward.{name}.weight": weight for name, weight in WEIGHTS.items()},
    **{f"task.reward.{name}.width": width for name, width in WIDTHS.items()},
    "task.reward.linear_velocity.vertical": True,
    "task.reward.angular_velocity.tilting": True,
    "task.reward.posture.walk": 0.05,
    "task.reward.posture.run": 1.5,
    "task.reward.posture.standing": ((".*", 0.05),),
    "task.reward.posture.walking": tuple((f"(?i).*{part}.*", pair[0]) for part, pair in TOLERANCES.items()),
    "task.reward.posture.running": tuple((f"(?i).*{part}.*", pair[1]) for part, pair in TOLERANCES.items()),
    **{f"task.reward.{n}.moving": 0.05 for n in ("foot_clearance", "swing_height", "foot_slip", "soft_landing")},
    **{f"task.reward.{n}.height": 0.1 for n in ("foot_clearance", "swing_height")},
    "task.reward.body_angular_velocity.own_axes": False,
    "task.observe.limit": math.inf,
    **{f"task.observe.{name}.noise": noise for name, noise in NOISE.items()},
    "task.observe.measured_joint_position.groups": ("actor",),
    **{f"task.observe.{n}.groups": ("critic",) for n in ("joint_position", "feet_height", "feet_air_time")},
    **{f"task.observe.{n}.groups": ("critic",) for n in ("feet_touching", "feet_force")},
}
SCALES = {  # of ASAP's G1, per second
    "tracking_lin_vel": 1.0,
    "tracking_ang_vel": 0.5,
    "penalty_lin_vel_z": -2.0,
    "penalty_ang_vel_xy": -1.0,
    "penalty_ang_vel_xy_torso": -1.0,
    "penalty_orientation": -1.0,
    "penalty_torques": -1e-5,
    "penalty_dof_acc": -3.5e-8,
    "penalty_action_rate": -0.01,
    "base_height": -10.0,
    "penalty_slippage": -1.0,
    "penalty_feet_ori": -2.0,
    "limits_dof_pos": -10.0,
    "feet_air_time": 1.0,
    "penalty_feet_height": -2.5,
    "feet_heading_alignment": -0.3,
    "penalty_close_feet_xy": -10.0,
    "penalty_hip_pos": -1.0,
    "upperbody_joint_angle_freeze": -0.2,
}
HUMANOIDVERSE = {
    **COMMON,
    "physics.step_physics.substeps": 1,  # torque is computed before each of the 4
    "actuation.fill_torque_noise.amplitude": 0.0,
    "actuation.clip_action.limit": 100.0,
    "actuation.compute_torque.controller": "P",
    "actuation.compute_torque.dt": 0.02,
    "actuation.compute_torque.noisy": False,
    "actuation.compute_torque.limited": True,
    "kinematics.derive_base_frame.sensor": (0.0, 0.0, 0.0),
    "flight.follow_feet.threshold": 1.0,
    "flight.follow_feet.dt": 0.02,
    "curricula.measure_length.window": 10_000.0,
    "curricula.adapt_penalty.down": 400.0,
    "curricula.adapt_penalty.up": 700.0,
    "curricula.adapt_penalty.degree": 3e-5 / 8,  # an episode at a time, of which the published tick has eight
    "curricula.adapt_penalty.low": 0.0,
    "curricula.adapt_penalty.high": 1.0,
    "standing.reset_to_default.place": 0.0,
    "standing.reset_to_default.lift": (0.0, 0.0),
    "standing.reset_to_default.facing": 0.0,
    "standing.reset_to_default.linear": 0.5,
    "standing.reset_to_default.angular": 0.5,
    "standing.reset_to_default.bend": (0.5, 1.5),
    "commands.widen_range.stages": ((0, (-1.0, 1.0), (-1.0, 1.0), (-1.0, 1.0)),),
    "commands.draw_commands.interval": (10.0, 10.0),
    "commands.draw_commands.standing": 0.0,
    "commands.draw_commands.ahead": 0.0,
    "commands.draw_commands.turning": 1.0,
    "commands.draw_commands.dead_zone": 0.2,
    "task.terminate.terminate_by_gravity.x": 0.8,
    "task.terminate.terminate_by_gravity.y": 0.8,
    "task.terminate.time_out.steps": 1001,
    "task.terminate.time_out.kind": "time_limit",
    **{f"task.reward.{name}.weight": weight for name, weight in SCALES.items()},
    **{f"task.reward.{name}.penalty": True for name, weight in SCALES.items() if weight < 0.0},
    **{f"task.reward.tracking_{name}_vel.width": 0.25 for name in ("lin", "ang")},
    "task.reward.tracking_lin_vel.vertical": False,
    "task.reward.tracking_ang_vel.tilting": False,
    "task.reward.penalty_ang_vel_xy_torso.own_axes": True,
    "task.reward.penalty_dof_acc.dt": 0.02,
    "task.reward.base_height.height": 0.78,
    "task.reward.feet_air_time.least": 0.5,
    "task.reward.feet_air_time.moving": 0.1,
    "task.reward.penalty_feet_height.height": 0.12,
    "task.reward.penalty_feet_height.free": 0.02,
    "task.reward.penalty_close_feet_xy.names": ("left_ankle_roll_link", "right_ankle_roll_link"),
    "task.reward.penalty_close_feet_xy.least": 0.15,
    "task.reward.penalty_hip_pos.joints": (".*_hip_(roll|yaw)_joint",),
    "task.reward.upperbody_joint_angle_freeze.joints": ("waist_.*|.*_(shoulder|elbow|wrist)_.*",),
    "task.observe.limit": 100.0,
    "task.observe.base_ang_vel.scale": 0.25,
    "task.observe.base_lin_vel.scale": 2.0,
    "task.observe.dof_vel.scale": 0.05,
}
CONSTANTS: dict[str, dict[str, Any]] = {"mjlab_velocity": VELOCITY, "humanoidverse_locomotion": HUMANOIDVERSE}
RUN = {"num_envs": 4096, "seconds": 20.0, "substeps": 4, "robustness": 1.0, "self_collision": True, "penalties": 1.0}
RUN |= {"backend": "mujoco", "gait_period": None, "command": None}
RUNS: dict[str, dict[str, Any]] = {
    "mjlab_velocity": RUN
    | {"control": "servo", "curriculum": True, "iterations": 30_000, "randomise": "mjlab_velocity"},
    "humanoidverse_locomotion": RUN
    | {"control": "P", "curriculum": False, "iterations": 1_000_000, "randomise": "none"},
}
LEARNING = {"horizon": 24, "hidden": (512, 256, 128), "critic_hidden": None, "learning_rate": 1e-3}
LEARNINGS = {
    "mjlab_velocity": LEARNING | {"init_std": 1.0, "normalise": True},
    "humanoidverse_locomotion": LEARNING | {"init_std": 0.8, "normalise": False},
}
SIZES = {"mjlab_velocity": (99, 111), "humanoidverse_locomotion": (99, 99)}


@functools.cache
def built(name: str) -> Simulation:
    return build(experiment(CONFIGS[name].replace(num_envs=2, physics_threads=1)).train())


@needs_g1
@pytest.mark.parametrize("name", CONSTANTS)
def test_every_constant_is_the_published_one(name: str) -> None:
    expected = dict(CONSTANTS[name])
    found = {a: p[0].holder[p[0].key] for a, p in addresses(built(name).scene.bundles).items()}
    found = {a: value for a, value in found.items() if a.rpartition(".")[2] not in COMPUTED}
    for address, value in CONSTANTS[name].items():  # what the critic sees before a reset: the same terms once more
        if of_term(address)[0] == "observe" and expected.get(address.rpartition(".")[0] + ".groups") != ("actor",):
            expected[address.replace(".observe.", ".observe_final.")] = value
    assert found.keys() == expected.keys()
    for address, value in expected.items():
        assert found[address] == (pytest.approx(value) if isinstance(value, float) else value), address


@pytest.mark.parametrize("name", RUNS)
def test_rows_and_network_are_the_published_ones(name: str) -> None:
    given = CONFIGS[name]
    assert {key: getattr(given, key) for key in RUNS[name]} == RUNS[name]
    assert {key: getattr(given.learning, key) for key in LEARNINGS[name]} == LEARNINGS[name]


@needs_g1
@pytest.mark.parametrize("name", SIZES)
def test_actor_and_critic_see_as_many_numbers_as_published(name: str) -> None:
    axes = built(name).world.tables["robot"].axes
    assert (len(axes["actor_observation"]), len(axes["critic_observation"])) == SIZES[name]


@needs_g1
def test_legs_alone_are_rewarded_as_published_for_them() -> None:
    """HumanoidVerse's `g1_12dof`, per second, with the heights and the distance of feet that go with it."""
    weights = {
        "tracking_lin_vel": 1.0, "tracking_ang_vel": 0.5, "penalty_lin_vel_z": -2.0, "penalty_ang_vel_xy": -0.05,
        "penalty_orientation": -1.0, "penalty_dof_vel": -1e-3, "penalty_dof_acc": -2.5e-7, "penalty_action_rate": -0.1,
        "base_height": -10.0, "penalty_slippage": -1.0, "penalty_feet_ori": -1.0, "limits_dof_pos": -5.0, "feet_air_time": 1.0,
        "penalty_feet_height": -5.0, "feet_heading_alignment": -0.3, "penalty_close_feet_xy": -2.0, "penalty_hip_pos": -1.0,
    }  # fmt: skip
    numbers: dict[str, Any] = {"robot": "g1_12dof_humanoidverse", "num_envs": 2, "physics_threads": 1}
    made = build(experiment(CONFIGS["humanoidverse_locomotion"].replace(**numbers)).train())
    made.run(2)
    known = addresses(made.scene.bundles)
    found = {address.split(".")[2]: known[address][0] for address in known if address.endswith(".weight")}
    assert {name: place.holder[place.key] for name, place in found.items()} == pytest.approx(weights)
    for address, value in (("base_height.height", 0.728), ("penalty_feet_height.height", 0.2)):
        place = known[f"task.reward.{address}"][0]
        assert place.holder[place.key] == value
