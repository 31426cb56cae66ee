"""The configuration `humanoidverse_tracking`: layout, first observations, histories, resuming, evaluation, budgets."""

import math
from itertools import groupby
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from components.control import Action, DofTorque
from components.episode import Done, Episode, PenaltyScale, Reward
from components.learning import Policy, Rollout
from components.motion import MotionCursor, MotionFar, MotionLibrary, MotionReference, TrackedState
from components.observation import History, Observation, ObservationNoise, Seen
from components.robot import BaseFrame, DofState, Robot, RootState
from engine import SceneError, Simulation, build
from engine.ecs.schedule import Observer
from engine.snapshot.snapshot import restore, save
from engine.tools.audit import Audit
from engine.tools.profile import count_operations
from scenes.motion_tracking import CONFIGS
from systems.learning.networks import Untouched
from tests.helpers import data_path, evaluated, needs_g1, shorter, tracking, tracking_scene
from tests.scenes.test_motion_tracking import NOT_COUNTED

ACTOR = {
    "actions": (0, 23),
    "base_ang_vel": (23, 26),
    "dof_pos": (26, 49),
    "dof_vel": (49, 72),
    "history_actor": (72, 376),
    "projected_gravity": (376, 379),
    "ref_motion_phase": (379, 380),
}
CRITIC = {
    "actions": (0, 23),
    "base_ang_vel": (23, 26),
    "base_lin_vel": (26, 29),
    "dif_local_rigid_body_pos": (29, 110),
    "dof_pos": (110, 133),
    "dof_vel": (133, 156),
    "history_critic": (156, 472),
    "local_ref_rigid_body_pos": (472, 553),
    "projected_gravity": (553, 556),
    "ref_motion_phase": (556, 557),
}


def hv(rows: int = 8, robot: str = "humanoid", **arguments: Any) -> Simulation:
    """The task with few rows and a tiny network."""
    options = {
        "config": "humanoidverse_tracking",
        "robot": robot,
        "num_envs": rows,
        "hidden": (16,),
        "physics_threads": 1,
    }
    return build(tracking_scene(**{**options, **arguments}))


def slices(labels: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    """Where each term stands, by its labels."""
    found = {}
    for name, some in groupby(range(len(labels)), lambda i: labels[i].partition("[")[0]):
        places = list(some)
        assert name not in found
        found[name] = (places[0], places[-1] + 1)
    return found


# -- layout --------------------------------------------------------------------------------------------


@needs_g1
def test_the_layout_is_the_published_one() -> None:
    world = hv(2, robot="auto").world
    axes = world.tables["robot"].axes
    assert world[Robot].name == "g1_23dof" and len(axes["tracked"]) == 27
    assert slices(axes["actor_observation"]) == ACTOR
    assert slices(axes["critic_observation"]) == CRITIC
    assert list(ACTOR) == sorted(ACTOR) and list(CRITIC) == sorted(CRITIC)
    widths = {
        "actions": 23,
        "base_ang_vel": 3,
        "dof_pos": 23,
        "dof_vel": 23,
        "projected_gravity": 3,
        "ref_motion_phase": 1,
    }
    past = [name for name, width in widths.items() for _ in range(4 * width)]
    assert [label.partition("@")[0] for label in axes["actor_history"]] == past
    ages = [int(label.partition("@")[2].partition("[")[0]) for label in axes["actor_history"][:92]]
    assert ages == [age for age in (1, 2, 3, 4) for _ in range(23)]  # newest first, each with all joints
    assert len(axes["critic_history"]) == 316


@needs_g1
def test_gains_scale_and_default_pose_are_the_published_ones() -> None:
    robot = hv(1, robot="auto").world[Robot]
    by_name = dict(
        zip(robot.dof_names, zip(robot.stiffness.tolist(), robot.damping.tolist(), strict=True), strict=True)
    )
    assert by_name["left_knee_joint"] == (200.0, 5.0) and by_name["right_ankle_roll_joint"] == pytest.approx(
        (20.0, 0.1)
    )
    assert bool((robot.action_scale == 0.25).all())
    pose = dict(zip(robot.dof_names, robot.default_position.tolist(), strict=True))
    assert pose["left_hip_pitch_joint"] == pytest.approx(-0.1) and pose["left_knee_joint"] == pytest.approx(0.3)


def test_what_is_seen_agrees_with_the_state_row_by_row() -> None:
    """Noise off: every key from the raw columns, in rows that go on and in rows that have just been reset."""
    simulation = hv(6, robustness=0.0, clip="squat,wave")
    world = simulation.world
    simulation.run(5)
    world[Episode].step[1] = 10_000
    simulation.run(1)
    assert bool(world[Done].truncated[1]) and not bool(world[Done].ended.all())
    places = slices(world.tables["robot"].axes["critic_observation"])

    def part(name: str) -> torch.Tensor:
        first, last = places[name]
        return world[Observation].critic[:, first:last]

    base, dofs, cursor = world[BaseFrame], world[DofState], world[MotionCursor]
    assert_close(part("base_lin_vel"), 2.0 * base.linear_velocity)
    assert_close(part("base_ang_vel"), 0.25 * base.angular_velocity)
    assert_close(part("projected_gravity"), base.gravity)
    assert_close(part("dof_pos"), dofs.position - world[Robot].default_position)
    assert_close(part("dof_vel"), 0.05 * dofs.velocity)
    assert_close(part("actions"), world[Action].value)
    seconds = world[MotionLibrary].seconds[cursor.clip]
    assert_close(part("ref_motion_phase")[:, 0], (cursor.start + (world[Episode].step + 1) * 0.02) / seconds)
    assert float(part("ref_motion_phase")[1, 0]) == pytest.approx(float((cursor.start[1] + 0.02) / seconds[1]))
    q = world[RootState].rotation.double()
    forward = torch.stack((1 - 2 * (q[:, 2] ** 2 + q[:, 3] ** 2), 2 * (q[:, 1] * q[:, 2] + q[:, 0] * q[:, 3])), 1)
    cosine, sine = (forward / forward.norm(dim=1, keepdim=True)).unsqueeze(2).unbind(1)
    reference, tracked = world[MotionReference].body_position.double(), world[TrackedState].position.double()
    for name, from_where in (("dif_local_rigid_body_pos", tracked), ("local_ref_rigid_body_pos", tracked[:, :1])):
        x, y, z = (reference - from_where).unbind(-1)
        expected = torch.stack((cosine * x + sine * y, cosine * y - sine * x, z), -1).flatten(1)
        assert_close(part(name).double(), expected, atol=1e-6, rtol=1e-6)
    assert not part("history_critic")[1].any() and bool(part("history_critic")[0].any())


def test_histories_of_actor_and_critic_are_one_and_hold_the_ticks_before() -> None:
    simulation = hv(4, clip="stand")
    world, recorded = simulation.world, []
    for _ in range(4):
        simulation.run(1)
        recorded.append(world[Seen].value.clone())
    world[Episode].step.zero_()
    simulation.run(1)
    running = ~world[Done].ended
    assert bool(running.any())
    axes = world.tables["robot"].axes
    now = slices(axes["remembered"])
    for history, labels in (("actor", axes["actor_history"]), ("critic", axes["critic_history"])):
        values = getattr(world[History], history)
        for column, label in enumerate(labels):
            name, _, rest = label.rpartition("@")
            age, _, place = rest.rstrip("]").partition("[")
            source = now[name][0] + int(place or 0)
            assert torch.equal(values[running, column], recorded[-int(age)][running, source]), label
        first, last = slices(axes[f"{history}_observation"])[f"history_{history}"]
        assert torch.equal(getattr(world[Observation], history)[:, first:last], values.clamp(-100.0, 100.0))


def test_noise_is_drawn_before_scaling_and_for_each_group_by_itself() -> None:
    loud, quiet = hv(64, clip="stand"), hv(64, clip="stand", robustness=0.0)
    for simulation in (loud, quiet):
        simulation.run(1)
    assert torch.equal(loud.world[DofState].velocity, quiet.world[DofState].velocity)
    places = {g: slices(loud.world.tables["robot"].axes[f"{g}_observation"]) for g in ("actor", "critic")}
    for name, most in (("base_ang_vel", 0.25 * 0.3), ("projected_gravity", 0.2), ("dof_pos", 0.01), ("dof_vel", 0.05)):
        drawn = []
        for group in ("actor", "critic"):
            first, last = places[group][name]
            noise = (getattr(w[Observation], group)[:, first:last] for w in (loud.world, quiet.world))
            drawn.append(next(noise) - next(noise))
            assert 0.95 * most < float(drawn[-1].abs().max()) <= most * 1.0001, name
        assert not torch.equal(*drawn)
    for name in ("actions", "ref_motion_phase"):
        first, last = places["actor"][name]
        assert torch.equal(loud.world[Observation].actor[:, first:last], quiet.world[Observation].actor[:, first:last])


# -- as a whole ----------------------------------------------------------------------------------------


def test_perfect_tracking_earns_what_is_published() -> None:
    """The robot is put on its reference just before it is judged: rewards compare the same instant."""
    simulation = hv(2, clip="stand", robustness=0.0)
    simulation.run(2)
    world = simulation.world

    def follow(entry: Any) -> None:
        if entry.name == "align_reference":
            tracked, reference = world[TrackedState], world[MotionReference]
            for name in ("position", "rotation", "linear_velocity", "angular_velocity"):
                getattr(tracked, name).copy_(getattr(reference, f"body_{name}"))
            for name in ("position", "velocity"):
                getattr(world[DofState], name).copy_(getattr(reference, f"dof_{name}"))

    simulation.schedule.attach(Observer(after_entry=follow))
    simulation.run(1)
    names = world.tables["robot"].axes["reward"]
    good = [i for i, name in enumerate(names) if name.startswith("teleop_")]
    assert_close(world[Reward].terms[:, good].sum(-1), torch.full((2,), 7.95 * 0.02))


def test_audited_ticks_of_learning_have_no_findings() -> None:
    simulation = hv(horizon=4)
    audit = Audit(simulation.schedule)
    simulation.run(10)  # it learns twice
    assert [finding.text for finding in audit.findings] == []
    policy = simulation.world[Policy]
    assert isinstance(policy.actor.normaliser, Untouched) and isinstance(policy.critic.normaliser, Untouched)
    assert float(policy.actor.log_std.exp().mean()) == pytest.approx(0.8, abs=0.05)


def test_same_seed_same_bytes_and_resuming_reaches_them() -> None:
    whole, again = hv(horizon=6), hv(horizon=6)
    for simulation in (whole, again):
        simulation.run(11)
    middle = save(whole.world)
    for simulation in (whole, again):
        simulation.run(9)
    reference = save(whole.world)
    assert save(again.world) == reference
    restore(again.world, middle)
    again.run(9)
    assert save(again.world) == reference


def test_a_row_that_is_cut_off_keeps_what_the_critic_would_have_seen() -> None:
    cut, whole = (hv(horizon=1000, robustness=0.0, clip="stand") for _ in range(2))
    for simulation in (cut, whole):
        simulation.run(4)
    cut.world[Episode].step.fill_(10_000)
    for simulation in (cut, whole):
        simulation.run(1)
    compared = cut.world[Done].truncated & ~whole.world[Done].ended
    assert bool(compared.any())
    kept = cut.world[Rollout].final_critic[:, cut.world.clock.tick - 1]
    assert_close(kept[compared], whole.world[Observation].critic[compared], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("growing", [False, True])
def test_a_row_that_is_cut_off_keeps_an_observation_as_noisy_as_those_that_the_critic_learns_on(growing: bool) -> None:
    cut, whole = (hv(64, horizon=1000, robustness=1.0, clip="stand", noise_curriculum=growing) for _ in range(2))
    for simulation in (cut, whole):
        simulation.run(4)
    cut.world[Episode].step.fill_(10_000)
    for simulation in (cut, whole):
        simulation.run(1)
    compared = cut.world[Done].truncated & ~whole.world[Done].ended
    labels = cut.world.tables["robot"].axes["critic_observation"]
    first, last = slices(labels)["base_ang_vel"]
    kept = cut.world[Rollout].final_critic[compared, cut.world.clock.tick - 1, first:last]
    noise = kept / 0.25 - whole.world[BaseFrame].angular_velocity[compared]
    level = 0.05 if growing else 1.0
    assert len(noise) > 50
    assert 0.9 * 0.3 * level < float(noise.abs().max()) <= 0.3 * level + 1e-4


def test_curricula_follow_finished_episodes_and_are_reported() -> None:
    made = tracking("humanoidverse_tracking", robot="humanoid", num_envs=8, hidden=(16,), physics_threads=1)
    simulation = build(made.train())
    simulation.run(60)
    assert made.report is not None
    numbers = made.report(simulation.world)
    assert 5.0 < numbers["curriculum/episode_length"] <= 60.0  # in steps, counted from 0 from the first episode on
    penalty, radius = float(simulation.world[PenaltyScale].value), float(simulation.world[MotionFar].threshold)
    assert (numbers["curriculum/penalty"], numbers["curriculum/motion_far"]) == (penalty, radius)
    assert penalty != 0.1 and radius != 1.5
    assert numbers["curriculum/noise"] == 1.0
    assert bool((simulation.world[DofTorque].value.abs() <= simulation.world[Robot].torque_limit).all())


def test_evaluation_is_repeatable_and_judges_by_a_fixed_radius() -> None:
    own = tracking(
        "humanoidverse_tracking", robot="humanoid", clip="squat,wave", num_envs=4, hidden=(16,), physics_threads=1
    )
    made = shorter(own, ticks=60)
    simulation = build(made.train())
    simulation.run(2)
    first, second = (evaluated(made, save(simulation.world), seed=3) for _ in range(2))
    assert first == second
    assert all(math.isfinite(v) for v in first["summary"].values())


def test_a_tick_stays_within_its_budget_of_operations() -> None:
    simulation = hv(horizon=1000)
    simulation.run(3)
    for _ in range(2):  # constants are made the first time
        simulation.world[Episode].step[0] = 10_000
        costs = count_operations(simulation.schedule)
        assert bool(simulation.world[Done].truncated[0])
    assert sum(c.operations for (_, name), c in costs.items() if name not in NOT_COUNTED) <= 516


@needs_g1
def test_a_real_clip_trains() -> None:
    clip = str(data_path("motions", "asap_g1_23dof/asap_kick_level1.pkl"))
    simulation = hv(4, robot="auto", clip=clip, horizon=4)
    simulation.run(9)
    assert all(bool(p.isfinite().all()) for p in simulation.world[Policy].actor.parameters())
    assert simulation.world[Observation].critic.shape == (4, 557)


# -- numbers -------------------------------------------------------------------------------------------


def test_named_configurations_are_complete_and_flags_change_single_numbers() -> None:
    own = CONFIGS["humanoidverse_tracking"]
    assert (own.num_envs, own.learning.init_std, own.control, own.around, own.seconds) == (
        4096,
        0.8,
        "P",
        "default",
        20.0,
    )
    assert own.self_collision and not own.learning.normalise and own.learning.hidden == (512, 256, 128)
    assert own.learning.entropy_weight == 0.01
    given = CONFIGS["humanoidverse_tracking_laptop"].replace(num_envs=64, control="servo", self_collision=False)
    assert (given.num_envs, given.control, given.self_collision, given.seconds) == (64, "servo", False, 20.0)
    assert given.learning.normalise and given.learning.init_std == 0.25 and given.task is own.task
    usual = next(iter(CONFIGS.values())).replace(substeps=5)
    assert (usual.num_envs, usual.substeps, usual.control, usual.around) == (512, 5, "servo", "reference")


def test_the_noise_curriculum_is_a_flag_and_only_of_this_preset() -> None:
    grown = hv(noise_curriculum=True)
    grown.run(3)
    assert float(grown.world[ObservationNoise].level) == pytest.approx(0.05, rel=1e-3)
    assert float(hv().world[ObservationNoise].level) == 1.0
    with pytest.raises(SceneError, match="which the task 'g1' does not have"):
        tracking_scene(robot="humanoid", noise_curriculum=True)
