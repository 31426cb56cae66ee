"""Locomotion against an oracle that knows nothing of it: every reward term and observation, tick by tick.

The scene runs with few rows that fall and land; the oracle gets the plain columns of every tick and computes in float64.
Numbers agree to 1e-6 of the largest magnitude in their part of the row, or to 1e-6 where that is below 1.
"""

from typing import Any

import mujoco
import numpy as np
import pytest
import torch

from components.command import Command, GaitClock
from components.control import Action, DofTorque, PreviousDof
from components.episode import Done, Reward
from components.observation import Observation
from components.physics import Physics
from components.robot import (
    BodyInertia,
    BodyState,
    Contact,
    ContactForce,
    ContactSensors,
    DofState,
    Flight,
    FootState,
    Robot,
    RootState,
    Swing,
)
from components.terrain import Ground
from engine import Simulation, World, build, term
from engine.ecs.schedule import Entry, Observer
from scenes.tasks.locomotion import measured
from scenes.velocity import CONFIGS, experiment
from systems import locomotion_terms as walk
from systems.tick import OBSERVE, REWARD, SENSE
from tests.helpers import needs_g1
from tests.systems import locomotion_oracle as oracle
from tests.systems.task_rows import small_robot

ROWS = 6
WALKING = (("hip_pitch", 0.3), ("hip_", 0.15), ("knee", 0.35), ("ankle_roll", 0.1), ("ankle", 0.25), ("waist", 0.2),
           ("shoulder_pitch", 0.15), ("shoulder_roll", 0.15), ("elbow", 0.15))  # fmt: skip
RUNNING = (("hip_pitch", 0.5), ("hip_", 0.2), ("knee", 0.6), ("ankle_roll", 0.15), ("ankle", 0.35), ("waist", 0.3),
           ("shoulder_pitch", 0.5), ("shoulder_roll", 0.2), ("elbow", 0.35))  # fmt: skip
TABLES = ((("", 0.05),), WALKING, RUNNING)
MJLAB = {"linear_velocity": 2.0, "angular_velocity": 2.0, "upright": 1.0, "posture": 1.0, "joint_limits": -1.0,
         "action_rate": -0.1, "foot_clearance": -2.0, "swing_height": -0.25, "foot_slip": -0.1, "soft_landing": -1e-5,
         "body_angular_velocity": -0.05, "angular_momentum": -0.02, "self_collision": -1.0}  # fmt: skip
HUMANOIDVERSE = {"tracking_lin_vel": 1.0, "tracking_ang_vel": 0.5, "penalty_lin_vel_z": -2.0, "penalty_ang_vel_xy": -1.0,
               "penalty_ang_vel_xy_torso": -1.0, "penalty_orientation": -1.0, "penalty_torques": -1e-5,
               "penalty_dof_acc": -3.5e-8, "penalty_action_rate": -0.01, "base_height": -10.0, "penalty_slippage": -1.0,
               "penalty_feet_ori": -2.0, "limits_dof_pos": -10.0, "feet_air_time": 1.0, "penalty_feet_height": -2.5,
               "feet_heading_alignment": -0.3, "penalty_close_feet_xy": -10.0, "penalty_hip_pos": -1.0,
               "upperbody_joint_angle_freeze": -0.2, "gait_contact": 0.18}  # fmt: skip
PENALTY = 0.1


def simulated(config: str, **numbers: Any) -> Simulation:
    """Six rows that flail about, without noise."""
    small: dict[str, Any] = {
        "num_envs": ROWS,
        "hidden": (8,),
        "physics_threads": 1,
        "init_std": 1.5,
        "penalties": 1.0,
        "randomise": "none",
    }
    small["robustness"] = 0.0 if config == "mjlab_velocity" else 1.0  # which has no noise
    return build(experiment(CONFIGS[config].replace(**{**small, **numbers})).train())


def plain(tensor: torch.Tensor) -> np.ndarray:
    """A column as numpy has it."""
    return tensor.detach().numpy().astype(np.float64)


def body_of(world: World, sole: np.ndarray, radius: float) -> oracle.Body:
    """The robot's numbers, masses straight from the simulator's model."""
    robot, model = world[Robot], world[Physics].backend.model.model
    axes = [oracle.matrix(q) for q in model.body_iquat[1:]]
    feet = len(robot.foot_names)
    return oracle.Body(
        default=plain(robot.default_position),
        soft=plain(robot.soft_position_limit),
        hard=plain(robot.position_limit),
        names=robot.dof_names,
        bodies=robot.body_names,
        foot=[robot.body_names.index(name) for name in robot.foot_names],
        anchor=robot.body_names.index(robot.anchor_body),
        sole=np.tile(sole, (feet, 1)),
        radius=np.full(feet, radius),
        mass=model.body_mass[1:],
        com=model.body_ipos[1:],
        inertia=np.stack([a @ np.diag(i) @ a.T for a, i in zip(axes, model.body_inertia[1:], strict=True)]),
    )


def rows_of(world: World) -> list[oracle.Row]:
    """Every row from the raw columns: nothing that this package derives."""
    root, dofs, bodies, action = world[RootState], world[DofState], world[BodyState], world[Action]
    sensed = world[ContactSensors].bodies
    feet = [sensed.index(name) for name in world[Robot].foot_names]
    forces = world[ContactForce]
    torque = plain(world[DofTorque].value) if (("robot", DofTorque) in world.components) else plain(dofs.position) * 0
    columns = (root.position, root.rotation, root.linear_velocity, root.angular_velocity, dofs.position, dofs.velocity,
               bodies.position, bodies.rotation, bodies.linear_velocity, bodies.angular_velocity,
               forces.force[:, feet], action.value, action.previous)  # fmt: skip
    arrays = [plain(column) for column in columns] + [torque]
    arrays += [plain(world[PreviousDof].velocity), plain(world[Command].velocity), plain(forces.self_contacts)]
    return [oracle.Row(*(array[i] for array in arrays)) for i in range(ROWS)]


def close(actual: np.ndarray, expected: np.ndarray, what: str) -> None:
    """Within 1e-6 of the largest magnitude of each row, or of 1."""
    actual, expected = actual.reshape(len(actual), -1), expected.reshape(len(expected), -1)
    scale = np.maximum(1.0, np.abs(expected).max(1, keepdims=True))
    worst = float((np.abs(actual - expected) / scale).max())
    assert worst <= 1e-6, f"{what} is off by {worst:.2e}"


class Watch:
    """Follows a simulation and its feet, and compares rewards and observations of each tick."""

    def __init__(self, simulation: Simulation, sole: tuple[float, float, float], radius: float) -> None:
        self.simulation, self.world = simulation, simulation.world
        self.body = body_of(self.world, np.array(sole), radius)
        self.feet = [oracle.Feet(len(self.body.foot)) for _ in range(ROWS)]
        self.counts = {"ended": 0, "landed": 0, "airborne": 0, "moving": 0, "close": 0}
        simulation.schedule.attach(Observer(after_entry=self.after))

    def run(self, ticks: int) -> None:
        """Compare so many ticks."""
        self.simulation.run(ticks)

    def after(self, entry: Entry) -> None:
        """Compare what a system has just written."""
        last = [e for e in self.simulation.schedule.entries if e.phase == entry.phase][-1]
        if entry is last and entry.phase == SENSE:
            for feet, row in zip(self.feet, rows_of(self.world), strict=True):
                feet.step(self.body, row)
        elif entry.phase == REWARD and entry.name == "reward":
            self.compare_rewards(rows_of(self.world))
        elif entry.phase == OBSERVE and entry.name == "observe":
            for i in np.flatnonzero(self.world[Done].ended.numpy()):
                self.feet[i] = oracle.Feet(len(self.body.foot))
            self.compare_observation(rows_of(self.world))

    def count(self, rows: list[oracle.Row]) -> None:
        """See that something happens."""
        self.counts["ended"] += int(self.world[Done].ended.sum())
        self.counts["landed"] += sum(any(feet.landed) for feet in self.feet)
        self.counts["airborne"] += sum(not any(feet.down) for feet in self.feet)
        self.counts["moving"] += sum(oracle.asked(row) > 0.05 for row in rows)

    def compare_rewards(self, rows: list[oracle.Row]) -> None:
        """See the subclasses."""
        raise NotImplementedError

    def compare_observation(self, rows: list[oracle.Row]) -> None:
        """See the subclasses."""
        raise NotImplementedError

    def compare(
        self, expected: list[dict[str, float]], weights: dict[str, float], rest: dict[str, torch.Tensor]
    ) -> None:
        """Weighted terms of this tick, and values of terms that have no weight."""
        reward, labels = self.world[Reward], self.world.tables["robot"].axes["reward"]
        assert set(labels) == set(weights)
        lost = self.world[Done].lost.numpy()
        for place, name in enumerate(labels):
            value = np.array([weights[name] * oracle.DT * each[name] for each in expected])
            close(plain(reward.terms[:, place]), np.where(lost, 0.0, value), name)
        for name, found in rest.items():
            close(plain(found), np.array([each[name] for each in expected]), name)


class MjlabWatch(Watch):
    """mjlab's tables."""

    def compare_rewards(self, rows: list[oracle.Row]) -> None:
        """All terms, and the air time, which has no weight."""
        self.count(rows)
        expected = [oracle.mjlab(self.body, r, f, TABLES) for r, f in zip(rows, self.feet, strict=True)]
        world = self.world
        self.compare(expected, MJLAB, {"air_time": walk.air_time(world[Swing], world[Command])})
        momentum = np.stack([oracle.angular_momentum(self.body, row) for row in rows])
        sizes = np.linalg.norm(momentum, axis=1)
        close(plain(reward_of(world, "angular_momentum")), -0.02 * oracle.DT * sizes**2, "momentum")

    def compare_observation(self, rows: list[oracle.Row]) -> None:
        """Every number of actor and critic."""
        close(plain(self.world[Observation].actor), np.stack([oracle.actor(self.body, r) for r in rows]), "actor")
        critic = [oracle.critic(self.body, r, f) for r, f in zip(rows, self.feet, strict=True)]
        close(plain(self.world[Observation].critic), np.stack(critic), "critic")


def reward_of(world: World, name: str) -> torch.Tensor:
    """One term of this tick."""
    return world[Reward].terms[:, world.tables["robot"].axes["reward"].index(name)]


class HumanoidVerseWatch(Watch):
    """HumanoidVerse's terms for the G1, and those that no column of weights has; the gait clock beside them."""

    def compare_rewards(self, rows: list[oracle.Row]) -> None:
        """All terms; penalties at the start of their curriculum."""
        self.count(rows)
        upper = "shoulder|elbow|wrist|waist"
        phases = plain(self.world[GaitClock].phase)
        expected = [
            {**oracle.humanoidverse(self.body, r, f, base=0.78, lift=0.12, upper=upper), **oracle.gait(self.body, r, p)}
            for r, f, p in zip(rows, self.feet, phases, strict=True)
        ]
        for each in expected:
            each["share_of_200_N"] = each["penalty_feet_contact_forces"] / 200.0
        weights = {name: w * (PENALTY if w < 0 else 1.0) for name, w in HUMANOIDVERSE.items()}
        w = self.world
        rest = {
            "share_of_200_N": walk.hard_contact(w[Contact]) / 200.0,  # the difference of large numbers
            "penalty_in_the_air": walk.in_the_air(w[Flight]),
            "penalty_stumble": walk.stumble(w[ContactForce], w[ContactSensors], w[Robot]),
            "penalty_feet_swing_height": walk.swinging_foot_height(
                w[BodyState], w[Contact], w[Robot], w[Ground], height=0.12
            ),
            "gait_period": walk.gait_period(w[GaitClock], w[Contact], w[BodyState], w[Robot]),
        }
        self.compare(expected, weights, rest)
        self.counts["close"] += sum(int(each["penalty_close_feet_xy"]) for each in expected)

    def compare_observation(self, rows: list[oracle.Row]) -> None:
        """Actor and critic see the same, alphabetically, and the clock after it."""
        axes = {"actions": 29, "base_ang_vel": 3, "base_lin_vel": 3, "command_ang_vel": 1, "command_lin_vel": 2}
        phases = plain(self.world[GaitClock].phase)[:, 0]
        expected = []
        for row, phase in zip(rows, phases, strict=True):
            turn = oracle.matrix(row.turn)
            parts = (row.action, 0.25 * turn.T @ row.spin, 2.0 * turn.T @ row.speed, row.command[2:], row.command[:2],
                     row.q - self.body.default, 0.05 * row.qd, turn.T @ [0, 0, -1.0],
                     [np.sin(2 * np.pi * phase)], [np.cos(2 * np.pi * phase)])  # fmt: skip
            assert [len(part) for part in parts[:5]] == list(axes.values())
            expected.append(np.clip(np.concatenate(parts), -100.0, 100.0))
        for found in (self.world[Observation].actor, self.world[Observation].critic):
            close(plain(found), np.stack(expected), "observation")


def test_every_term_and_number_of_mjlabs_velocity_task_agrees() -> None:
    watch = MjlabWatch(simulated("mjlab_velocity", robot="humanoid"), (0.03, 0.0, -0.04), 0.01)
    watch.run(70)
    assert watch.counts["ended"] > 2 and watch.counts["landed"] > 20 and watch.counts["moving"] > 100, watch.counts


@needs_g1
def test_every_term_and_number_of_humanoidverses_locomotion_agrees() -> None:
    scene = simulated("humanoidverse_locomotion", gait_period=0.7)
    watch = HumanoidVerseWatch(scene, (0.035, 0.0, -0.03), 0.005)
    watch.run(60)
    assert watch.counts["ended"] > 3 and watch.counts["moving"] > 100, watch.counts


def test_angular_momentum_is_that_of_the_simulator() -> None:
    simulation = simulated("mjlab_velocity", robot="humanoid")
    simulation.run(12)
    world = simulation.world
    model = world[Physics].backend.model.model
    found = walk.momentum(world[BodyState], world[BodyInertia])
    root, dofs = world[RootState], world[DofState]
    for i in range(ROWS):
        data = mujoco.MjData(model)
        data.qpos[:] = np.concatenate([plain(x[i]) for x in (root.position, root.rotation, dofs.position)])
        spin = oracle.matrix(plain(root.rotation[i])).T @ plain(root.angular_velocity[i])  # MuJoCo: own axes
        data.qvel[:] = np.concatenate([plain(root.linear_velocity[i]), spin, plain(dofs.velocity[i])])
        mujoco.mj_forward(model, data)
        mujoco.mj_subtreeVel(model, data)
        np.testing.assert_allclose(
            found[i], data.subtree_angmom[1], atol=2e-5 * max(1.0, abs(data.subtree_angmom[1]).max())
        )


def test_a_gait_is_measured_over_the_feet_that_touch_or_land() -> None:
    """Of both feet, of one of them, and of none, where there is nothing to measure."""
    axes = {"foot": 2}
    feet = FootState.make(3, axes, linear_velocity=[[[3.0, 4.0, 9.0], [0.0, 1.0, 0.0]]] * 3)
    touching, landed = [[True, True], [True, False], [False, False]], [[True, True], [False, True], [False, False]]
    contact = Contact.make(3, axes, touching=touching, force=[[100.0, 300.0]] * 3)
    swing = Swing.make(3, axes, peak=[[0.1, 0.2]] * 3, landed=landed)
    for found, expected in (
        (walk.slip_speed(feet, contact), [3.0, 5.0, np.nan]),
        (walk.mean_landing_force(swing, contact), [200.0, 300.0, np.nan]),
        (walk.mean_swing_peak(swing), [0.15, 0.2, np.nan]),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    errors = {"error/linear_velocity", "error/yaw_rate", "command/forward", "command/sideways", "command/yaw_rate"}
    gait = {"gait/slip", "gait/landing_force", "gait/swing_peak", "gait/momentum"}
    assert measured({name: term(walk.linear_error) for name in MJLAB}).keys() == errors | gait


@pytest.mark.parametrize("phase", [0.0, 0.1, 0.3, 0.5, 0.62, 0.9])
def test_swing_and_stance_of_a_foot_change_places_over_the_cycle(phase: float) -> None:
    """At rest without force all that is expected is earned: E_swing + E_stance, with B between them."""
    axes = {"foot": 1, "body": 1}
    clock = GaitClock.make(1, axes, phase=phase)
    contact, bodies = Contact.make(1, axes), BodyState.make(1, axes)
    robot = one_foot()
    earned = float(walk.gait_period(clock, contact, bodies, robot))
    edge = [oracle.von_mises(2 * np.pi * (phase - limit)) for limit in (0.0, 0.5, 1.0)]
    assert earned == pytest.approx(edge[0] * (1 - edge[1]) + edge[1] * (1 - edge[2]), abs=1e-6)


def one_foot() -> Robot:
    """A robot that is a foot."""
    return small_robot(body_names=("foot",), foot_names=("foot",))
