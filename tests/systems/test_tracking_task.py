"""The tracking task as a whole: it builds, is proven fresh, resets in place, and stays within its budget."""

from typing import Any

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from components.control import Action, ActionDelay, DofTorque
from components.episode import Done, Episode, PushTimer, Reward, Rewritten
from components.motion import MotionCursor, MotionLibrary, MotionReference, TrackedBodies, TrackedState
from components.observation import History, Observation, Seen
from components.robot import BaseFrame, BodyState, DofState, Robot, RootState
from engine import BuildError, EditError, Scene, SceneError, Simulation, Write, build, system, table, term
from engine.inspect.edit import Editor
from engine.tools.profile import count_operations
from scenes.robots.humanoid import humanoid
from scenes.tasks.g1 import g1_observations, g1_rewards, g1_terminations
from systems import observations as seen
from systems import rewards as earn
from systems import terminations as end
from systems import tracking as task
from systems import tracking_terms as track
from systems.actuation import actuation
from systems.draws.draw import Draw
from systems.episode import curricula, episode
from systems.kinematics import derive_base_frame, derive_tracked_state, kinematics
from systems.maths.quaternion import rotate_inverse
from systems.motion.files import read_clips
from systems.motion.library import build_library
from systems.physics import physics
from systems.pushes import Push
from systems.randomization import randomization
from systems.reference import sample_root_and_dofs
from systems.robots.model import RobotModel, build_robot
from systems.tick import ACT, OBSERVE, TICK
from systems.tracking import start_on_reference, tracking

SENSOR = (0.045, 0.0, -0.083)
OTHERS = {"begin_physics", "step_physics", "refresh_kinematics", "restart_physics", "wiggle"}
USUAL = {"push": Push(), "encoder_bias": Draw("encoder_bias", (-0.01, 0.01))}
MOTION = {"advance_motion", "sample_reference", "draw_motion"}


def wiggle(action: Write[Action]) -> None:
    """Stand in for a policy: the same small action for everybody."""
    action.previous.copy_(action.value)
    action.value.fill_(0.05)


@pytest.fixture(scope="module")
def model() -> RobotModel:
    return build_robot(humanoid(), self_collision=True)


@pytest.fixture(scope="module")
def library(model: RobotModel) -> MotionLibrary:
    return build_library(read_clips("squat"), model.robot, model)


def scene(model: RobotModel, library: MotionLibrary, rows: int = 8, **changes: Any) -> Scene:
    options: dict[str, Any] = {
        "rewards": g1_rewards(),
        "terminations": g1_terminations(),
        "observations": g1_observations(),
        **changes.pop("task", {}),
    }
    bundles = [
        physics(model, rows=rows, nthread=1),
        kinematics(sensor=SENSOR, feet=False),
        changes.pop("actuation", actuation(latency=(0, 2))),
        episode(spread=500),
        tracking(library, model.robot, **options),
        *changes.pop("more", [randomization(USUAL, model)]),
    ]
    bundles[2].systems = {ACT: [system(wiggle)], **bundles[2].systems}
    assert not changes
    return Scene(tables=[table("robot", rows=rows)], bundles=bundles, tick=TICK)


def start(model: RobotModel, library: MotionLibrary, ticks: int = 1, **changes: Any) -> Simulation:
    simulation = build(scene(model, library, **changes))
    simulation.run(ticks)
    return simulation


def fail_row(simulation: Simulation, row: int) -> None:
    """Lift a row's reference by a metre, so that the coming tick ends its episode in failure."""
    simulation.world[MotionReference].body_position[row, :, 2] += 1.0


def test_it_runs_and_everything_stays_finite(model: RobotModel, library: MotionLibrary) -> None:
    simulation = start(model, library, 60)
    world = simulation.world
    for address, column in world.columns().items():
        assert bool(column.isfinite().all()), address
    assert world[Observation].actor.shape[1] == 2 * 19 + 3 + 6 + 3 + 3 + 3 * 19
    assert world[Observation].critic.shape[1] == 2 * 19 + 9 + 6 + 3 * 19 + 9 * len(model.robot.tracked_bodies)
    assert bool((world[Reward].total <= 0.1).all())  # perfect tracking earns 5 per second


def test_the_first_tick_puts_every_row_onto_its_reference(model: RobotModel, library: MotionLibrary) -> None:
    world = start(model, library, 1, task={"reset": start_on_reference, "noisy": False}).world
    cursor, root, dofs = world[MotionCursor], world[RootState], world[DofState]
    place, facing, linear, angular, joints, speeds = sample_root_and_dofs(library, cursor.clip, cursor.start)
    for column, value in (
        (root.position, place),
        (root.rotation, facing),
        (root.linear_velocity, linear),
        (root.angular_velocity, angular),
        (dofs.position, joints),
        (dofs.velocity, speeds),
    ):
        assert_close(column, value, atol=1e-5, rtol=0)
    # the command is where to be one control step later: what the next tick's reward compares with
    assert_close(cursor.time, cursor.start + 0.02)
    _, _, _, _, next_joints, next_speeds = sample_root_and_dofs(library, cursor.clip, cursor.time)
    assert_close(world[Observation].actor[:, :38], torch.cat((next_joints, next_speeds), 1), atol=1e-5, rtol=0)
    assert len(world[Episode].step.unique()) > 4  # first episodes are spread


def test_time_and_reference_move_by_one_step_and_reset_rows_start_over(
    model: RobotModel, library: MotionLibrary
) -> None:
    simulation = start(model, library, 3, task={"start": "start"})
    world = simulation.world
    world[Episode].step.zero_()
    before = world[MotionCursor].time.clone()
    fail_row(simulation, 2)
    simulation.run(1)
    others = torch.arange(8) != 2
    assert world[Done].terminated.tolist() == [i == 2 for i in range(8)]
    assert_close(world[MotionCursor].time[others], before[others] + 0.02)
    assert_close(world[MotionCursor].time[2], tensor(0.02))
    assert world[Episode].step.tolist() == [int(i != 2) for i in range(8)]
    assert not world[Action].value[2].any() and bool(world[Action].value[others].any())
    assert not world[ActionDelay].queue[2].any()


def test_the_first_observation_of_an_episode_is_of_that_episode(model: RobotModel, library: MotionLibrary) -> None:
    simulation = start(model, library, 5, task={"noisy": False})
    world = simulation.world
    fail_row(simulation, 1)
    world[PushTimer].wait[4] = 1
    simulation.run(1)
    assert bool(world[Done].ended[1]) and bool(world[PushTimer].due[4]) and bool(world[Rewritten].rows[4])
    base, tracked, rows = (
        BaseFrame.make(8),
        TrackedState.make(8, {"tracked": model.robot.tracked_bodies}),
        world[Observation],
    )
    derive_base_frame(world[RootState], base, sensor=SENSOR)
    derive_tracked_state(world[BodyState], world[TrackedBodies], tracked)
    anchor = world[TrackedBodies].anchor
    _, _, _, _, joints, speeds = sample_root_and_dofs(library, world[MotionCursor].clip, world[MotionCursor].time)
    apart = world[MotionReference].body_position[:, anchor] - tracked.position[:, anchor]
    expected = torch.cat((joints, speeds, rotate_inverse(tracked.rotation[:, anchor], apart)), -1)
    assert_close(rows.actor[:, :41], expected, atol=1e-5, rtol=0)
    motion = torch.cat((base.linear_velocity, base.angular_velocity), -1)
    assert_close(rows.actor[:, 47:53], motion, atol=1e-6, rtol=0)
    dofs = torch.cat((world[DofState].velocity, world[Action].value), -1)
    assert_close(rows.actor[:, -38:], dofs, atol=1e-6, rtol=0)


def test_a_push_reaches_physics(model: RobotModel, library: MotionLibrary) -> None:
    simulation = start(model, library, 2)
    simulation.world[PushTimer].wait.fill_(100)
    simulation.world[PushTimer].wait[0] = 1
    simulation.run(1)
    pushed = simulation.world[RootState].linear_velocity.clone()
    simulation.run(1)
    change = (simulation.world[RootState].linear_velocity - pushed)[0].norm()
    assert float(change) < 0.5  # the pushed velocity went on; a forgotten push would fall back at once


def test_forgetting_the_second_look_does_not_build(model: RobotModel, library: MotionLibrary) -> None:
    broken = scene(model, library)
    bundle = next(b for b in broken.bundles if b.name == "tracking")
    bundle.systems = {**bundle.systems, OBSERVE: [s for s in bundle.systems[OBSERVE] if s.name == "observe"]}
    with pytest.raises(BuildError, match=r"`observe` .* reads AnchorView"):
        build(broken)


def test_histories_hold_what_was_seen_in_the_ticks_before(model: RobotModel, library: MotionLibrary) -> None:
    terms = {
        "velocity": term(seen.joint_velocity, noise=0.5, history=2),
        "gravity": term(seen.projected_gravity, groups=("critic",), history=1),
    }
    simulation = start(model, library, 1, task={"observations": terms})
    world, recorded = simulation.world, []
    assert not world[History].actor.any()
    assert world[Observation].actor.shape[1] == 3 * 19 and world[Observation].critic.shape[1] == 3 * 19 + 2 * 3
    for _ in range(3):
        velocity, gravity = world[Seen].value.clone().split((19, 3), 1)
        recorded.append((velocity, gravity))
        assert torch.equal(gravity, world[Observation].critic[:, 19:22])
        assert 0 < float((velocity - world[DofState].velocity).abs().max()) <= 0.5  # noisy, but not as it was seen
        assert not torch.equal(velocity, world[Observation].actor[:, :19])
        world[Episode].step.zero_()
        simulation.run(1)
    running = ~world[Done].ended
    past = torch.cat((recorded[2][0], recorded[1][0]), 1)  # newest first
    assert torch.equal(world[Observation].actor[running, 19:], past[running])
    assert torch.equal(world[Observation].critic[running, 22:60], past[running])  # the same past for both
    assert torch.equal(world[Observation].critic[running, -3:], recorded[2][1][running])
    fail_row(simulation, 0)
    simulation.run(1)
    assert bool(world[Done].ended[0]) and not world[Observation].actor[0, 19:].any()


def test_the_humanoidverse_variant_builds_and_runs(model: RobotModel, library: MotionLibrary) -> None:
    explicit = build_robot(humanoid(), control="torque")
    rewards = {
        "world_position": term(track.world_position, weight=1.0, width=0.03),
        "torques": term(earn.torques, weight=-1e-6, penalty=True),
        "torque_limits": term(earn.torque_limits, weight=-5.0, penalty=True),
        "dof_acceleration": term(earn.dof_acceleration, weight=-1e-8),
        "failed": term(earn.failed, weight=-200.0, unclipped=True),
    }
    terminations = {
        "tilt": term(end.tilt),
        "motion_far": term(track.motion_far),
        "position_limit": term(end.position_limit),
        "contact": term(end.contact, bodies=("torso_link",)),
        **{name: each for name, each in g1_terminations().items() if each.settings},
    }
    for controller in ("P", "V", "T"):
        around: Any = "reference" if controller == "P" else "default"  # only targets have a centre
        drawn = {"torque_noise": Draw("torque_noise", (0.05, 0.15), when="reset")}
        for gain in () if controller == "T" else ("stiffness", "damping"):
            drawn[gain] = Draw(gain, (0.75, 1.25), operation="scale", when="reset")
        simulation = start(
            explicit,
            library,
            4,
            actuation=actuation(controller=controller, torque_noise=0.1, latency=(0, 2), limit=100.0, around=around),
            task={"rewards": rewards, "terminations": terminations, "noise_curriculum": True},
            more=[
                curricula(
                    penalty=0.1, penalty_adapts={"degree": 1e-5}, motion_far_adapts={}, limits_adapt={}, noise_adapts={}
                ),
                randomization({**USUAL, **drawn}, explicit),
            ],
        )
        limit = simulation.world[Robot].torque_limit
        assert bool((simulation.world[DofTorque].value.abs() <= limit).all())
        assert bool(simulation.world[Reward].total.isfinite().all())


def test_evaluation_needs_only_other_constants(model: RobotModel, library: MotionLibrary) -> None:
    quiet = {
        "terminations": g1_terminations(seconds=float("inf")), "noisy": False, "start": "start", "reset": start_on_reference
    }  # fmt: skip
    first, second = (start(model, library, 10, task=quiet, actuation=actuation(), more=[]).world for _ in range(2))
    assert len(first[Observation].actor.unique(dim=0)) == 1  # all rows do the same
    assert torch.equal(first[Observation].actor, second[Observation].actor)


def operations(simulation: Simulation, monkeypatch: pytest.MonkeyPatch) -> int:
    """Operations of one tick outside physics and the motion library, whose sampling is done beforehand."""
    world = simulation.world
    sampled = sample_root_and_dofs(world[MotionLibrary], world[MotionCursor].clip, world[MotionCursor].start)
    monkeypatch.setattr(task, "sample_root_and_dofs", lambda *_, **__: sampled)
    costs = count_operations(simulation.schedule)
    return sum(c.operations for (_, name), c in costs.items() if name not in OTHERS | MOTION)


def test_a_tick_with_a_failure_and_a_push_stays_within_its_share_of_the_budget(
    model: RobotModel, library: MotionLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulation = start(model, library, 3)
    world = simulation.world
    world[Episode].step.zero_()
    fail_row(simulation, 0)
    world[PushTimer].wait[1] = 1
    counted = operations(simulation, monkeypatch)
    assert bool(world[Done].terminated[0]) and not world[Done].truncated.any() and bool(world[PushTimer].due[1])
    assert counted <= 220


def test_a_tick_in_which_nothing_happens_is_cheap(
    model: RobotModel, library: MotionLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulation = start(model, library, 3)
    simulation.world[Episode].step.zero_()
    simulation.world[PushTimer].wait.fill_(100)
    simulation.world[MotionCursor].time.copy_(simulation.world[MotionCursor].start + 0.02)
    assert operations(simulation, monkeypatch) <= 160
    assert not simulation.world[Rewritten].rows.any()


# -- settings without effect ---------------------------------------------------------------------------


def refusal(made: Scene, **overrides: str) -> str:
    """The sentence with which a scene is refused; '' when it builds."""
    try:
        build(made, overrides={address.replace("__", "."): value for address, value in overrides.items()})
    except SceneError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def explicit() -> RobotModel:
    return build_robot(humanoid(), control="torque", self_collision=True)


def test_a_delay_longer_than_its_queue_is_refused(model: RobotModel, library: MotionLibrary) -> None:
    def refused(steps: str, **latency: Any) -> str:
        made = scene(model, library, 2, actuation=actuation(**latency))
        return refusal(made, actuation__reset_delay__steps=steps)

    assert refused("(2, 2)") == (
        "actuation.reset_delay.steps=(2, 2) has no effect beyond 0: the queue of actions in this scene holds 1. "
        "Build it with actuation(latency=(2, 2))."
    )
    assert refused("(1, 3)", latency=(0, 2)).startswith("actuation.reset_delay.steps=(1, 3) has no effect beyond 2")
    assert "is not a range of control steps" in refused("(2, 1)", latency=(0, 2))
    assert refused("(1, 2)", latency=(0, 2)) == refused("(0, 0)", latency=(0, 2)) == ""


def test_gains_that_nothing_computes_torque_from_are_refused(explicit: RobotModel, library: MotionLibrary) -> None:
    def refused(controller: Any) -> str:
        drawn = randomization({"gains": Draw("stiffness", (0.8, 1.2), operation="scale")}, explicit)
        return refusal(scene(explicit, library, 2, actuation=actuation(controller=controller), more=[drawn]))

    assert refused("T") == (
        "randomization.gains has no effect: torques are the commands themselves. Leave it out, or choose "
        "actuation(controller='P') or 'V'."
    )
    assert refused("P") == ""


@pytest.mark.parametrize(
    ("controller", "built", "changes", "text"),
    [
        ("P", {}, {"compute_torque__controller": "servo"}, "actuation.compute_torque.controller='servo' has no effect: this scene computes torques."),
        ("P", {"around": "reference"}, {"compute_torque__controller": "T"}, "actuation(around='reference') has no effect under controller='T'"),
        ("P", {}, {"compute_torque__dt": "0.01"}, "actuation.compute_torque.dt=0.01 has no effect under controller='P'."),
        ("P", {}, {"compute_torque__noisy": "True"}, "actuation.compute_torque.noisy=True has no effect: actuation.fill_torque_noise.amplitude is 0."),
        ("P", {}, {"fill_torque_noise__amplitude": "0.2"}, "actuation.fill_torque_noise.amplitude=0.2 has no effect: actuation.compute_torque.noisy is False."),
        ("V", {}, {"compute_torque__dt": "0.01"}, ""),
        ("P", {}, {"compute_torque__controller": "V", "compute_torque__dt": "0.01"}, ""),
        ("P", {"torque_noise": 0.1}, {"fill_torque_noise__amplitude": "0.2"}, ""),
        ("P", {}, {"compute_torque__noisy": "True", "fill_torque_noise__amplitude": "0.2"}, ""),
    ],
)  # fmt: skip
def test_constants_that_the_controller_ignores_are_refused(
    explicit: RobotModel, library: MotionLibrary, controller: Any, built: Any, changes: dict[str, str], text: str
) -> None:
    made = scene(explicit, library, 2, actuation=actuation(controller=controller, **built))
    found = refusal(made, **{f"actuation__{name}": value for name, value in changes.items()})
    assert found.startswith(text) and bool(found) == bool(text)


def test_torque_noise_that_no_motor_has_is_refused(explicit: RobotModel, library: MotionLibrary) -> None:
    def refused(noise: float, **overrides: str) -> str:
        own, drawn = actuation(controller="P", torque_noise=noise), {"noise": Draw("torque_noise", (0.0, 0.1))}
        return refusal(scene(explicit, library, 2, actuation=own, more=[randomization(drawn, explicit)]), **overrides)

    assert refused(0.0).startswith("randomization.noise has no effect: no motor of this scene is noisy.")
    assert refused(0.1) == ""
    assert refused(0.1, actuation__fill_torque_noise__amplitude="0.3") == (
        "actuation.fill_torque_noise.amplitude=0.3 has no effect: `vary_torque_noise` writes the amplitudes. "
        "Leave it out."
    )


def test_a_curriculum_that_nothing_follows_is_refused(model: RobotModel, library: MotionLibrary) -> None:
    made = scene(model, library, 2, more=[curricula(penalty_adapts={})])
    assert refusal(made) == (
        "curricula.adapt_penalty has no effect: no system of this scene reads PenaltyScale. Leave the curriculum out, "
        "or add what follows it."
    )
    assert "adapt_noise has no effect" in refusal(scene(model, library, 2, more=[curricula(noise_adapts={})]))


def test_a_falloff_of_no_width_is_refused_also_where_it_is_set_by_address(
    model: RobotModel, library: MotionLibrary
) -> None:
    text = refusal(scene(model, library, 2), tracking__reward__body_position__std="0.0")
    assert text == "Reward `body_position` says std=0.0; give a number above 0, or leave it out."


def test_an_edit_without_effect_is_refused_and_undone(explicit: RobotModel, library: MotionLibrary) -> None:
    simulation = build(scene(explicit, library, 2, actuation=actuation(controller="P")))
    editor = Editor(simulation)
    with pytest.raises(EditError, match=r"compute_torque\.noisy=True has no effect"):
        editor.set_constant("actuation.compute_torque.noisy", "True")
    assert editor.value("actuation.compute_torque.noisy") == "False" and not simulation.world.constants
