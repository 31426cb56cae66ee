"""The preset against an oracle that knows nothing of it: observations, rewards, ends and curricula, tick by tick.

The scene runs with few rows and the oracle gets the plain columns of every tick: the state that is judged, before
any row is reset, and the state that is observed, after. It computes in float64, the tick in float32, so numbers
agree to 1e-6 of the largest magnitude in their part of the row, or to 1e-6 where that is below 1.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from components.control import Action, DofTorque, PreviousDof
from components.episode import Chance, Done, Episode, EpisodeLength, PenaltyScale, Reward, SoftLimits
from components.motion import MotionCursor, MotionFar, MotionLibrary, MotionReference
from components.observation import Observation
from components.robot import BaseFrame, BodyState, ContactForce, ContactSensors, DofState, Robot, RootState
from components.terrain import Ground
from engine import Bundle, Simulation, World, build, term
from engine.ecs.schedule import Entry, Observer
from systems import rewards as earn
from systems import terminations as end
from systems.maths.quaternion import normalize
from systems.tick import OBSERVE, RECORD, REWARD, SENSE
from tests.helpers import needs_g1, tracking_scene
from tests.systems import humanoidverse_oracle as oracle

pytestmark = needs_g1
ROWS = 6
CONSTANTS = oracle.g1_constants()
LISTED = oracle.TERMINATE_AFTER_CONTACTS_ON
FASTER = {"penalty": 1e-3, "limits_dof_pos": 2e-4, "motion_far": 1e-3}  # so that a few episodes move them visibly


def all_forces(forces: ContactForce) -> torch.Tensor:
    """The force on every body that can touch anything, so that all of them have sensors."""
    return forces.force.flatten(1)


def preset(backend: str, clip: str) -> Simulation:
    """Six rows without sensor noise, with curricula that move."""
    made = tracking_scene(
        "humanoidverse_tracking",
        clip=clip,
        num_envs=ROWS,
        backend=backend,
        robustness=0.0,
        hidden=(16,),
        physics_threads=1 if backend == "mujoco" else 0,
    )
    overrides = {
        "curricula.adapt_penalty.degree": FASTER["penalty"],
        "curricula.adapt_limits.degree": FASTER["limits_dof_pos"],
        "curricula.adapt_motion_far.degree": FASTER["motion_far"],
        "curricula.measure_length.window": 50.0,
    }
    made.bundles = [*made.bundles, Bundle("watch", vitals={"all": term(all_forces)})]
    return build(made, overrides={address: str(value) for address, value in overrides.items()})


def plain(tensor: torch.Tensor) -> np.ndarray:
    """A column as numpy has it."""
    return tensor.detach().numpy().astype(np.float64)


def places(world: World, bodies: Sequence[str]) -> list[int]:
    """Where along the axis of sensed bodies these are."""
    return [world[ContactSensors].bodies.index(name) for name in bodies]


def sensed(world: World) -> tuple[str, ...]:
    """Those of the listed bodies that can touch anything; nothing ever pushes the others."""
    return tuple(name for name in LISTED if name in world[ContactSensors].bodies)


def robot_state(world: World) -> oracle.RobotState:
    """What the oracle asks of the robot, from the raw columns: nothing that this package derives."""
    root, dofs, bodies, action = world[RootState], world[DofState], world[BodyState], world[Action]
    return oracle.RobotState(
        root_position=plain(root.position),
        root_rotation=plain(root.rotation),
        root_linear_velocity=plain(root.linear_velocity),
        root_angular_velocity=plain(root.angular_velocity),
        dof_position=plain(dofs.position),
        dof_velocity=plain(dofs.velocity),
        bodies=oracle.Bodies(
            plain(bodies.position),
            plain(bodies.rotation),
            plain(bodies.linear_velocity),
            plain(bodies.angular_velocity),
        ),
        foot_contact_force=plain(world[ContactForce].force)[:, places(world, oracle.FEET)],
        torque=plain(world[DofTorque].value),
        previous_dof_velocity=plain(world[PreviousDof].velocity),
        action=plain(action.value),
        previous_action=plain(action.previous),
    )


def reference_state(world: World) -> oracle.Reference:
    """The reference as it is sampled at the moment."""
    reference = world[MotionReference]
    bodies = (
        reference.body_position,
        reference.body_rotation,
        reference.body_linear_velocity,
        reference.body_angular_velocity,
    )
    return oracle.Reference(
        oracle.Bodies(*map(plain, bodies)), plain(reference.dof_position), plain(reference.dof_velocity)
    )


@dataclasses.dataclass
class Judged:
    """One tick: what was judged, and by what."""

    robot: oracle.RobotState
    reference: oracle.Reference
    step: np.ndarray
    start: np.ndarray
    length: np.ndarray
    limits: oracle.LimitFactors
    penalty: float
    radius: float


def judged(world: World) -> Judged:
    """Everything that rewards and terminations of this tick depend on."""
    cursor, limits = world[MotionCursor], world[SoftLimits]
    return Judged(
        robot=robot_state(world),
        reference=reference_state(world),
        step=plain(world[Episode].step),
        start=plain(cursor.start),
        length=plain(world[MotionLibrary].seconds[cursor.clip]),
        limits=oracle.LimitFactors(*(float(v) for v in (limits.position, limits.velocity, limits.torque))),
        penalty=float(world[PenaltyScale].value),
        radius=float(world[MotionFar].threshold),
    )


def switched_off(world: World) -> dict[str, torch.Tensor]:
    """Terminations that the setting has but does not use; chance always strikes."""
    dofs, robot, torque, chance = world[DofState], world[Robot], world[DofTorque], Chance.make(ROWS)
    return {
        "contact": end.contact(world[ContactForce], world[ContactSensors], bodies=sensed(world)),
        "low_height": end.low(world[RootState], world[Ground], height=0.2),
        "dof_pos_limit": end.position_limit(dofs, robot, chance),
        "dof_vel_limit": end.velocity_limit(dofs, robot, chance),
        "torque_limit": end.torque_limit(torque, robot, chance),
    }


def unweighted(world: World) -> dict[str, torch.Tensor]:
    """Penalties that the setting has but gives no weight."""
    return {
        "penalty_dof_vel": earn.dof_velocity(world[DofState]),
        "penalty_dof_acc": earn.dof_acceleration(world[DofState], world[PreviousDof]),
        "penalty_orientation": earn.orientation(world[BaseFrame]),
    }


def close(actual: np.ndarray, expected: np.ndarray, what: str) -> None:
    """Within 1e-6 of the largest magnitude of each row, or of 1."""
    actual, expected = actual.reshape(len(actual), -1), expected.reshape(len(expected), -1)
    scale = np.maximum(1.0, np.abs(expected).max(1, keepdims=True))
    worst = float((np.abs(actual - expected) / scale).max())
    assert worst <= 1e-6, f"{what} is off by {worst:.2e}"


class Watch:
    """Runs ticks of a simulation and compares each with the oracle."""

    def __init__(self, simulation: Simulation, change: Callable[[World, int], None] | None = None) -> None:
        self.simulation, self.world, self.change = simulation, simulation.world, change
        self.history = oracle.History()
        self.count = np.zeros(ROWS)  # control steps since each row's reset, counted here
        self.moving = {"penalty": 0.1, "limits_dof_pos": 1.15, "limits_dof_vel": 1.15, "limits_torque": 1.15}
        self.moving["motion_far"] = 1.5
        self.average = (0.0, 0.0)
        self.tick = 0
        self.seen: dict[str, int] = dict.fromkeys((*oracle.FAILURES, *oracle.TIME_OUTS, "running"), 0)
        simulation.schedule.attach(Observer(after_entry=self.after))
        self.now: Judged | None = None

    def run(self, ticks: int) -> None:
        """Compare so many ticks."""
        for _ in range(ticks):
            self.simulation.run(1)
            self.tick += 1

    def after(self, entry: Entry) -> None:
        """Look in at the moments that matter."""
        if entry.phase == SENSE and entry.name == "refresh_kinematics" and self.change:
            self.change(self.world, self.tick)
        elif entry.phase == SENSE and entry.name == "count_step":
            self.count += 1
        elif entry.phase == REWARD and entry.name == "reward":
            self.now = judged(self.world)
            self.compare_judgement(self.now)
        elif entry.phase == RECORD and entry.name == "adapt_motion_far":
            self.compare_curricula()
        elif entry.phase == OBSERVE and entry.name == "observe":
            self.compare_observation()

    def compare_judgement(self, now: Judged) -> None:
        """Ends, why, every reward and their sum."""
        axes, done, reward = self.world.tables["robot"].axes, self.world[Done], self.world[Reward]
        found = oracle.terminations(
            now.robot,
            now.reference,
            CONSTANTS,
            now.step,
            now.start + (self.count - now.step) * oracle.DT,  # where the clip is says the count, not a changed step
            now.length - 0.5 * oracle.DT,  # ticks fall on frames, and the last frame is the end
            oracle.TerminationSettings(motion_far=now.radius),
            plain(self.world[ContactForce].force)[:, places(self.world, sensed(self.world))],
        )
        failed, late, ended = oracle.outcome(found)
        reasons = dict(zip(axes["termination"], done.reason.T.numpy(), strict=True))
        ours = {
            "gravity": "terminate_by_gravity",
            "motion_far": "terminate_when_motion_far",
            "time_out": "time_out",
            "motion_end": "terminate_when_motion_end",
        }
        for theirs, name in ours.items():
            np.testing.assert_array_equal(reasons[name], found[theirs], err_msg=f"tick {self.tick}: {name}")
            self.seen[theirs] += int(found[theirs].sum())
        for name, value in switched_off(self.world).items():
            np.testing.assert_array_equal(value.numpy(), found[name], err_msg=f"tick {self.tick}: {name}")
            self.seen[name] += int(found[name].sum())
        assert not reasons["diverged"].any()
        for column, expected in ((done.terminated, failed), (done.truncated, late), (done.ended, ended)):
            np.testing.assert_array_equal(column.numpy(), expected)
        self.seen["running"] += int((~ended).sum())
        terms = oracle.rewards(now.robot, now.reference, CONSTANTS, failed, now.limits)
        assert set(axes["reward"]) == set(oracle.REWARD_SCALES)
        for place, name in enumerate(axes["reward"]):
            weight = oracle.REWARD_SCALES[name] * oracle.DT * (now.penalty if name in oracle.PENALTY_SCALED else 1.0)
            close(plain(reward.terms[:, place]), terms[name] * weight, f"tick {self.tick}: {name}")
        for name, value in unweighted(self.world).items():
            close(plain(value), terms[name], f"tick {self.tick}: {name}")
        close(plain(reward.total), oracle.total(terms, now.penalty), f"tick {self.tick}: total")

    def compare_curricula(self) -> None:
        """The running mean of lengths and every number that follows it, after this tick's finished episodes."""
        assert self.now is not None
        done, length, limits = self.world[Done], self.world[EpisodeLength], self.world[SoftLimits]
        finished = done.ended.numpy()
        count = int(finished.sum())
        self.average = oracle.fixed_average(*self.average, count, float(self.now.step[finished].mean()), window=50)
        assert float(length.mean) == pytest.approx(self.average[0], rel=1e-6)
        for name, value in self.moving.items():
            degree = FASTER.get(name, FASTER["limits_dof_pos"])
            rule = dataclasses.replace(oracle.CURRICULA[name], degree=degree)
            self.moving[name] = oracle.fixed_curriculum(value, self.average[0], count, rule)
        actual = {
            "penalty": self.world[PenaltyScale].value,
            "limits_dof_pos": limits.position,
            "limits_dof_vel": limits.velocity,
            "limits_torque": limits.torque,
            "motion_far": self.world[MotionFar].threshold,
        }
        for name, value in actual.items():
            assert float(value) == pytest.approx(self.moving[name], rel=1e-9), name

    def compare_observation(self) -> None:
        """All 380 and 557 numbers, part by part, history included."""
        world, cursor = self.world, self.world[MotionCursor]
        ended = world[Done].ended.numpy()
        self.count[ended] = 0
        self.history.reset(ended)
        length = plain(world[MotionLibrary].seconds[cursor.clip])
        phase = oracle.ref_motion_phase(self.count, plain(cursor.start), length)
        values = oracle.observed(oracle.raw_observations(robot_state(world), reference_state(world), phase, CONSTANTS))
        for group, whole in (("actor", oracle.actor_observation), ("critic", oracle.critic_observation)):
            expected, actual = whole(values, self.history), plain(getattr(world[Observation], group))
            assert actual.shape == expected.shape == (ROWS, {"actor": 380, "critic": 557}[group])
            for key, first, last in oracle.OBSERVATION_LAYOUT[group]:
                close(actual[:, first:last], expected[:, first:last], f"tick {self.tick}: {group} {key}")
        self.history.push(values)


def draw(rng: torch.Generator, *shape: int) -> torch.Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=rng)


def fabricate(world: World, tick: int) -> None:
    """Put made-up numbers into the raw columns: the first rows near their reference, the others anywhere.

    Poses, velocities, torques and forces need not fit together, but body 0 is the root.
    """
    rng = torch.Generator().manual_seed(tick)
    reference, robot, root, dofs, bodies = (
        world[each] for each in (MotionReference, Robot, RootState, DofState, BodyState)
    )
    count, dof = len(robot.body_names), len(robot.dof_names)
    spread = torch.tensor([0.01, 0.03, 0.1, 0.3, 1.0, 3.0])[:, None, None]
    bodies.position.copy_(reference.body_position[:, :count] + spread * draw(rng, ROWS, count, 3))
    bodies.rotation.copy_(normalize(reference.body_rotation[:, :count] + spread * draw(rng, ROWS, count, 4)))
    bodies.linear_velocity.copy_(reference.body_linear_velocity[:, :count] + 3 * spread * draw(rng, ROWS, count, 3))
    bodies.angular_velocity.copy_(reference.body_angular_velocity[:, :count] + 5 * spread * draw(rng, ROWS, count, 3))
    for name in ("position", "rotation", "linear_velocity", "angular_velocity"):
        getattr(root, name).copy_(getattr(bodies, name)[:, 0])
    dofs.position.copy_(reference.dof_position + spread[:, 0] * draw(rng, ROWS, dof))
    dofs.velocity.copy_(reference.dof_velocity + 20 * spread[:, 0] * draw(rng, ROWS, dof))
    world[DofTorque].value.copy_(robot.torque_limit * (2.0 * torch.rand((ROWS, dof), generator=rng) - 1.0))
    sensed = len(world[ContactSensors].bodies)
    world[ContactForce].force.copy_(torch.exp(2.0 * draw(rng, ROWS, sensed, 1)) * 0.5 * draw(rng, ROWS, sensed, 3))
    world[Action].value.copy_(spread[:, 0] * 30.0 * draw(rng, ROWS, dof))  # beyond ±100 in the last row
    world[Episode].step[tick % 3] = (999, 1000, 1001)[tick // 3 % 3]  # count_step comes after this


def test_the_robot_is_the_one_of_the_oracle() -> None:
    robot = preset("mujoco", "stand").world[Robot]
    assert robot.dof_names == oracle.DOF_NAMES and robot.body_names == oracle.BODY_NAMES
    assert robot.tracked_bodies == oracle.EXTENDED_NAMES and robot.foot_names == oracle.FEET
    ours = (robot.default_position, *robot.position_limit.unbind(1), robot.velocity_limit, robot.torque_limit)
    theirs = (CONSTANTS.default_dof_position, CONSTANTS.lower, CONSTANTS.upper)
    for mine, expected in zip(ours, (*theirs, CONSTANTS.velocity_limit, CONSTANTS.torque_limit), strict=True):
        np.testing.assert_allclose(plain(mine), expected, rtol=1e-6)


def test_simulated_ticks_agree() -> None:
    """Falling robots, clips that end, a time limit in the middle: sixty ticks of physics."""
    watch = Watch(preset("mujoco", "squat,wave"))
    watch.run(30)
    watch.world[Episode].step[2] = 5000
    cursor, seconds = watch.world[MotionCursor], watch.world[MotionLibrary].seconds
    cursor.time[3] = seconds[cursor.clip[3]] - 0.04  # two more frames and its clip ends
    cursor.start[3] = cursor.time[3] - 0.02 * (watch.count[3] + 1.0)
    watch.run(30)
    assert min(watch.seen[name] for name in ("time_out", "motion_end")) >= 1 and watch.seen["running"] > 200


def test_fabricated_extremes_agree() -> None:
    """Any pose, any speed, torque and force, on and beyond every threshold."""
    watch = Watch(preset("kinematic", "squat"), fabricate)
    watch.run(40)
    assert min(count for name, count in watch.seen.items() if name != "motion_end") >= 5
    assert (
        watch.moving["penalty"] != 0.1 and watch.moving["motion_far"] != 1.5 and watch.moving["limits_torque"] != 1.15
    )
