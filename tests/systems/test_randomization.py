"""Randomisation: what is drawn, what it changes in columns and the simulator, and what is refused."""

import logging
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from components.control import Action, ActionDelay, EncoderBias, PdGains, TorqueNoise
from components.episode import Done, Rewritten
from components.observation import Observation
from components.physics import Physics
from components.randomization import Drawn, DrawTimer, ImuMounting, Variations
from components.robot import BaseFrame, DofState, RootState
from engine import Bundle, Scene, SceneError, Simulation, Write, any_row, build, system, table, term
from engine.snapshot.snapshot import restore, save
from scenes.robots.humanoid import humanoid
from systems import observations as seen
from systems import randomization as vary
from systems import rewards as earn
from systems import terminations as end
from systems.actuation import actuation
from systems.draws.checks import warn_of_unstable_gains
from systems.draws.draw import Draw
from systems.episode import episode
from systems.kinematics import kinematics
from systems.observation_groups import ACTOR, CRITIC
from systems.physics import physics
from systems.physics.contract import FIELDS
from systems.pushes import Push
from systems.randomization import num_drawn, randomization
from systems.robots.model import RobotModel, build_robot
from systems.task import task
from systems.tick import ACT, RESET, TICK
from tests.physics.rows import pendulum
from tests.systems.task_rows import generator, marked

Terms = dict[str, Draw | Push]


# -- a small scene: pendulums in the air, which start over now and then ---------------------------------


def hold(action: Write[Action]) -> None:
    """Ask for nothing."""
    action.value.zero_()


def stand_anew(done: Done, root: Write[RootState], dofs: Write[DofState]) -> None:
    """Ended rows hang at rest, high up."""
    ended = done.ended
    for column, value in ((root.position, (0.0, 0.0, 100.0)), (root.rotation, (1.0, 0.0, 0.0, 0.0))):
        vary.put_rows(column, ended, torch.tensor(value))
    for column in (root.linear_velocity, root.angular_velocity, dofs.position, dofs.velocity):
        vary.put_rows(column, ended, 0.0)


def scene(
    terms: Terms, model: RobotModel, rows: int = 8, *, steps: int = 10, backend: str = "mujoco", **changes: Any
) -> Scene:
    observations = changes.pop("observations", {"joint": term(seen.measured_joint_position)})
    drives = actuation(**{"controller": "servo" if model.control == "servo" else "P", **changes.pop("drives", {})})
    drives.systems = {ACT: [system(hold)], **drives.systems}
    assert not changes
    bundles = [
        physics(model, rows=rows, backend=backend, nthread=1 if backend == "mujoco" else 0),
        kinematics(feet=False),
        drives,
        episode(),
        Bundle("anew", systems={RESET: [system(stand_anew, when=any_row(Rewritten, "rows"))]}),
        task(
            observations=observations,
            rewards={"still": term(earn.action_rate, weight=-0.1)},
            terminations={"over": term(end.time_limit, kind="time_limit", steps=steps)},
        ),
        randomization(terms, model, backend=backend),
    ]
    return Scene([table("robot", rows=rows)], bundles, TICK)


def run(
    terms: Terms, model: RobotModel, ticks: int = 1, seed: int = 0, overrides: Any = None, **changes: Any
) -> Simulation:
    simulation = build(scene(terms, model, **changes), seed=seed, overrides=overrides)
    simulation.run(ticks)
    return simulation


def refusal(terms: Terms, model: RobotModel, overrides: Any = None, **changes: Any) -> str:
    try:
        run(terms, model, overrides=overrides, **changes)
    except SceneError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def swing() -> RobotModel:
    return build_robot(pendulum(), floor=False)


@pytest.fixture(scope="module")
def man() -> RobotModel:
    return build_robot(humanoid())


def own_models(simulation: Simulation, name: str) -> np.ndarray:
    """An array of the model of every row."""
    return np.asarray(simulation.world[Physics].backend._batch.expand(name))


# -- what is drawn ---------------------------------------------------------------------------------------


def draws(spans: Any, distribution: Any = "uniform", places: tuple[int, int] = (0, 1), rows: int = 20_000) -> Tensor:
    drawn = Drawn.make(rows, {"draw": places[1]})
    rewritten = marked(Rewritten, [True] * rows)
    vary.draw_at_start(rewritten, generator(), drawn, spans=spans, distribution=distribution, places=places)
    return drawn.value


def test_uniform_draws_fill_their_range_evenly() -> None:
    value = draws(((-1.0, 3.0),))
    assert -1.0 <= float(value.min()) < -0.99 and 2.99 < float(value.max()) <= 3.0
    assert float(value.mean()) == pytest.approx(1.0, abs=0.03) and float(value.std()) == pytest.approx(
        4 / 12**0.5, rel=0.02
    )


def test_the_logarithm_of_log_uniform_draws_is_uniform() -> None:
    value = draws(((1e-4, 1e-2),), "log_uniform").log10()
    assert float(value.min()) >= -4.0 and float(value.max()) <= -2.0 + 1e-5
    assert float(value.mean()) == pytest.approx(-3.0, abs=0.02) and float(value.std()) == pytest.approx(
        2 / 12**0.5, rel=0.02
    )


def test_normal_draws_have_their_mean_and_deviation_and_end_at_three_of_them() -> None:
    value = draws(((2.0, 0.5),), "normal")
    assert float(value.mean()) == pytest.approx(2.0, abs=0.02) and float(value.std()) == pytest.approx(0.5, rel=0.03)
    assert float(value.min()) >= 0.5 and float(value.max()) <= 3.5


def test_several_ranges_go_round_the_places() -> None:
    value = draws(((0.0, 1.0), (10.0, 11.0), (20.0, 21.0)), places=(0, 6))
    assert (value.floor() // 10).unique(dim=0).tolist() == [[0, 1, 2, 0, 1, 2]]
    assert abs(float(torch.corrcoef(value.t())[0, 3])) < 0.03  # drawn apart


def test_only_rows_that_start_over_are_drawn_anew() -> None:
    done, drawn = (
        Done.make(4, {"termination": 1}, ended=[True, False, True, False]),
        Drawn.make(4, {"draw": 3}, value=7.0),
    )
    vary.draw_at_reset(done, generator(), drawn, spans=((0.0, 1.0),), places=(1, 2))
    assert drawn.value[1].tolist() == drawn.value[3].tolist() == [7.0, 7.0, 7.0]
    assert (drawn.value[::2, 1] <= 1.0).all() and (drawn.value[::2, ::2] == 7.0).all()


def test_draws_at_intervals_wait_as_long_as_they_say(swing: RobotModel) -> None:
    terms: Terms = {"g": Draw("gravity", (-0.1, 0.1), operation="add", when="interval", interval=(0.1, 0.2))}
    simulation, known, waits = run(terms, swing, rows=50, steps=1000), None, []
    since = torch.zeros(50)
    for _ in range(60):
        simulation.run(1)
        value = simulation.world[Drawn].value.clone()
        since += 1
        if known is not None:
            new = (value != known).any(1)
            waits += since[new].tolist()
            since[new] = 0
        known = value
    assert set(waits[50:]) == {5.0, 6.0, 7.0, 8.0, 9.0, 10.0}
    assert simulation.world[DrawTimer].wait.min() >= 1


@given(low=st.floats(-10, 10), width=st.floats(0, 10))
@settings(deadline=None, max_examples=50)
def test_whatever_the_range_draws_lie_in_it(low: float, width: float) -> None:
    value = draws(((low, low + width),), rows=50)
    assert float(value.min()) >= low - 1e-5 and float(value.max()) <= low + width + 1e-5


# -- what it changes -------------------------------------------------------------------------------------


def test_one_draw_for_all_and_one_for_each(man: RobotModel) -> None:
    feet = tuple(man.robot.foot_names)
    terms: Terms = {
        "foot_friction": Draw("friction", (0.3, 1.2), of=feet, shared=True),
        "knees": Draw("armature", (0.5, 2.0), of=(".*_knee_joint",), operation="scale"),
    }
    simulation = run(terms, man)
    world = simulation.world
    assert world.tables["robot"].axes["draw"] == ("foot_friction", "knees[left_knee_joint]", "knees[right_knee_joint]")
    friction = own_models(simulation, "geom_friction")[:, list(man.foot_geoms), 0]
    assert_close(torch.from_numpy(friction).float(), world[Drawn].value[:, :1].expand(-1, friction.shape[1]))
    knees = [man.robot.dof_names.index(f"{side}_knee_joint") for side in ("left", "right")]
    armature = torch.from_numpy(own_models(simulation, "dof_armature")[:, 6:]).float()
    assert_close(armature[:, knees], man.robot.armature[knees] * world[Drawn].value[:, 1:])
    others = [i for i in range(armature.shape[1]) if i not in knees]
    assert_close(armature[:, others], man.robot.armature[others].expand(8, -1), rtol=0.0, atol=0.0)
    assert len(world[Drawn].value.unique(dim=0)) == 8


def test_terms_of_one_field_apply_in_their_order(swing: RobotModel) -> None:
    terms: Terms = {
        "all": Draw("body_mass", (2.0, 2.0), operation="scale"),
        "more": Draw("body_mass", (0.5, 0.5), of=("base",), operation="add"),
        "arm": Draw("body_mass", (3.0, 3.0), of=("arm",)),
    }
    assert own_models(run(terms, swing), "body_mass")[0, 1:].tolist() == pytest.approx([2.0 * 2.0 + 0.5, 3.0])


def test_a_term_drawn_at_resets_changes_the_model_of_those_rows_only(swing: RobotModel) -> None:
    simulation = run(
        {"mass": Draw("body_mass", (0.5, 1.5), of=("arm",), operation="scale", when="reset")}, swing, steps=10
    )
    before = own_models(simulation, "body_mass")[:, 2].copy()
    simulation.run(9)
    assert (own_models(simulation, "body_mass")[:, 2] == before).all()
    simulation.run(2)
    after = own_models(simulation, "body_mass")[:, 2]
    assert (after != before).all()
    assert_close(torch.from_numpy(after).float(), simulation.world[Drawn].value[:, 0])


def test_drawn_gravity_is_how_fast_a_row_falls(swing: RobotModel) -> None:
    simulation = run({"g": Draw("gravity", (0.5, 1.5), operation="scale", shared=False)}, swing, steps=100)
    simulation.run(5)  # 0.1 s
    world = simulation.world
    assert_close(world[RootState].linear_velocity[:, 2], -0.981 * world[Drawn].value[:, 2], atol=1e-4, rtol=1e-3)


def test_drawn_gains_reach_the_servo_and_the_column(swing: RobotModel) -> None:
    terms: Terms = {name: Draw(name, (0.5, 1.5), operation="scale") for name in ("stiffness", "damping")}
    simulation = run(terms, swing)
    world = simulation.world
    assert_close(world[PdGains].stiffness, 40.0 * world[Drawn].value[:, :1])
    assert_close(world[PdGains].damping, 2.0 * world[Drawn].value[:, 1:])
    gains, biases = own_models(simulation, "actuator_gainprm"), own_models(simulation, "actuator_biasprm")
    np.testing.assert_allclose(gains[:, 0, 0], world[PdGains].stiffness[:, 0].numpy(), rtol=1e-6)
    np.testing.assert_allclose(
        -biases[:, 0, 1:3], np.stack([world[PdGains].stiffness[:, 0], world[PdGains].damping[:, 0]], 1), rtol=1e-6
    )


def test_explicit_torques_use_drawn_gains() -> None:
    model = build_robot(pendulum(), control="torque", floor=False)
    simulation = run({"kp": Draw("stiffness", (0.5, 1.5), operation="scale", when="reset")}, model)
    assert_close(simulation.world[PdGains].stiffness, 40.0 * simulation.world[Drawn].value)


def test_a_joint_offset_is_an_encoder_bias_the_other_way(swing: RobotModel) -> None:
    """The default pose moves by δ: targets are higher by it and measurements lower."""
    simulation = run({"offset": Draw("joint_offset", (0.02, 0.05), operation="add")}, swing, steps=1000)
    simulation.run(100)
    world = simulation.world
    offset = world[Drawn].value
    assert_close(world[EncoderBias].value, -offset)
    assert_close(world[DofState].position, offset, atol=2e-3, rtol=0.0)  # an action of 0 holds the moved default pose
    assert_close(world[Observation].actor, world[DofState].position - offset)


def test_an_imu_that_sits_askew_sees_gravity_from_the_side(swing: RobotModel) -> None:
    terms: Terms = {"imu": Draw("imu_mounting", ((-0.3, 0.3), (0.0, 0.0), (0.0, 0.0)), operation="add")}
    observations = {"true": term(seen.projected_gravity, groups=CRITIC), "askew": term(seen.imu_gravity, groups=ACTOR),
                    "spin": term(seen.imu_angular_velocity)}  # fmt: skip
    world = run(terms, swing, observations=observations).world
    roll, zero = world[ImuMounting].angles[:, 0], torch.zeros(8)
    assert_close(world[BaseFrame].gravity, torch.tensor([0.0, 0.0, -1.0]).expand(8, -1), atol=1e-4, rtol=0.0)
    assert_close(world[Observation].actor[:, :3], torch.stack((zero, -roll.sin(), -roll.cos()), 1), atol=1e-4, rtol=0.0)
    assert roll.abs().max() > 0.1


def test_torque_noise_and_delay_are_drawn_at_resets() -> None:
    model = build_robot(pendulum(), control="torque", floor=False)
    terms: Terms = {"noise": Draw("torque_noise", (0.05, 0.15), when="reset")}
    world = run(terms, model, rows=200, drives={"torque_noise": 0.15, "latency": (0, 2)}).world
    assert_close(world[TorqueNoise].amplitude, world[Drawn].value)
    assert world[Drawn].value.min() >= 0.05 and world[ActionDelay].steps.unique().tolist() == [0, 1, 2]


def test_any_column_can_be_drawn(swing: RobotModel) -> None:
    """Any (Component, "column") of floating point numbers that a scene reads."""
    world = run({"askew": Draw((EncoderBias, "value"), (0.1, 0.2))}, swing).world
    assert_close(world[EncoderBias].value, world[Drawn].value)


@pytest.mark.parametrize("what", sorted(FIELDS))
def test_every_field_can_be_drawn_at_every_moment(what: str, man: RobotModel) -> None:
    for when, interval in (("start", None), ("reset", None), ("interval", (0.05, 0.1))):
        if what in ("torsional_friction", "rolling_friction"):
            assert "has no effect on" in refusal({"x": Draw(what, (0.1, 0.2))}, man)
            return
        changes = FIELDS[what].least < 0.0
        draw = Draw(what, (-0.01, 0.01), operation="add") if changes else Draw(what, (0.4, 0.5))
        simulation = run({"x": attrs.evolve(draw, when=when, interval=interval)}, man, ticks=12, rows=2)
        assert bool(simulation.world[DofState].position.isfinite().all())


# -- snapshots -------------------------------------------------------------------------------------------

EVERYTHING: Terms = {
    "mass": Draw("body_mass", (0.8, 1.2), operation="scale"),
    "com": Draw("body_com", (-0.02, 0.02), of=("base",), operation="add", when="reset"),
    "armature": Draw("armature", (0.8, 1.2), operation="scale", when="reset"),
    "stiffness": Draw("stiffness", (0.9, 1.1), operation="scale", when="reset"),
    "gravity": Draw("gravity", (-0.1, 0.1), operation="add", when="interval", interval=(0.06, 0.12)),
    "bias": Draw("encoder_bias", (-0.01, 0.01), operation="add"),
    "push": Push(interval=(0.1, 0.2)),
}


def test_a_randomised_world_goes_on_to_the_same_bytes_from_a_snapshot(swing: RobotModel) -> None:
    simulation = run(EVERYTHING, swing, ticks=13)
    kept = save(simulation.world)
    simulation.run(25)
    end_of_it = save(simulation.world)
    restore(simulation.world, kept)  # back in time
    simulation.run(25)
    assert save(simulation.world) == end_of_it
    other = run(EVERYTHING, swing, ticks=3, seed=5)  # somewhere else
    restore(other.world, kept)
    other.run(25)
    assert save(other.world) == end_of_it


def test_adding_a_term_changes_no_others_draws(swing: RobotModel) -> None:
    few = run({"bias": EVERYTHING["bias"]}, swing).world[EncoderBias].value
    assert_close(run({"mass": EVERYTHING["mass"], "bias": EVERYTHING["bias"]}, swing).world[EncoderBias].value, few)


# -- the critic ------------------------------------------------------------------------------------------


def test_a_critic_sees_each_draw_as_a_share_of_its_range(swing: RobotModel) -> None:
    terms: Terms = {"mass": Draw("body_mass", (1.0, 3.0), of=("arm",)), "kp": Draw("stiffness", (30.0, 30.0))}
    observations = {"joint": term(seen.joint_position), "drawn": term(seen.drawn_dynamics, groups=CRITIC)}
    world = run(terms, swing, observations=observations).world
    assert num_drawn(terms, swing) == 2
    assert_close(world[Observation].critic[:, 1], world[Drawn].value[:, 0] - 2.0)
    assert (world[Observation].critic[:, 2] == 0.0).all()  # a range without width
    narrow = {"randomization.mass.spans": "((1.0, 1.5),)"}
    observations = {"joint": term(seen.joint_position), "drawn": term(seen.drawn_dynamics, groups=CRITIC)}
    world = run(terms, swing, observations=observations, overrides=narrow).world
    assert world[Variations].middle.tolist() == [1.25, 30.0] and world[Observation].critic[:, 1].abs().max() <= 1.0


# -- refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "text"),
    [
        (Draw("friction", (1.2, 0.3)), "randomization.x: spans=(1.2, 0.3) is upside down; write the lower number first: (0.3, 1.2)."),
        (Draw("gravity", (0.0, float("inf")), operation="add"), "randomization.x: spans=(0.0, inf) must be finite numbers."),
        (Draw("friction", (0.0, 1.0), distribution="log_uniform"), "randomization.x: spans=(0.0, 1.0) has no logarithm; a log-uniform range lies above 0"),
        (Draw("armature", (1.0, -0.1), distribution="normal"), "randomization.x: spans=(1.0, -0.1) is a mean and a standard deviation; the latter"),
        (Draw("armature", (1.0, 2.0), when="interval"), "randomization.x: when='interval' with interval=None does not fit. Give the range"),
        (Draw("armature", (1.0, 2.0), interval=(1.0, 2.0)), "randomization.x: when='start' with interval=(1.0, 2.0) does not fit. Leave it out."),
        (Draw("armature", (1.0, 2.0), when="interval", interval=(2.0, 1.0)), "randomization.x: interval=(2.0, 1.0) is not a range of positive"),
        (Draw("armature", (1.0, 2.0), of=("swnig",)), "randomization.x: 'swnig' matches none of swing. Write a regular expression that matches a whole name. Did you mean swing?"),
        (Draw("body_com", ((0.0, 1.0), (0.0, 1.0))), "randomization.x: spans=((0.0, 1.0), (0.0, 1.0)) are 2 ranges; body_com takes one, or one for each of x, y, z."),
        (Draw("charm", (0.0, 1.0)), "randomization.x: there is no field or column 'charm'; there are friction, torsional_friction,"),
        (Draw((PdGains, "stifness"), (0.0, 1.0)), "randomization.x: PdGains has no column 'stifness'; it has stiffness, damping. Did you mean stiffness?"),
        (Draw((ActionDelay, "steps"), (0.0, 1.0)), "randomization.x: ActionDelay.steps holds torch.int64; only floating point numbers are drawn."),
        (Draw((ActionDelay, "queue"), (0.0, 1.0)), "randomization.x: ActionDelay.queue runs along ('delay', 'dof'); what is drawn runs along at most one of"),
        (Draw("imu_mounting", (0.0, 1.0)), "randomization.x has no effect: nothing in this scene reads ImuMounting. Leave it out."),
        (Draw("torque_noise", (0.0, 0.1)), "randomization.x has no effect: no motor of this scene is noisy. Leave it out, or choose actuation(controller='P', torque_noise=0.1)."),
        (Draw("joint_damping", (0.5, 2.0), operation="scale"), "randomization.x: operation='scale' has no effect: joint_damping of swing is 0. Say operation='set' or 'add'."),
        (Draw("body_mass", (-5.0, 10.0), of=("base",), operation="add"), "randomization.x: spans=(-5.0, 10.0) with operation='add' can make body_mass of base -3 kg; it must be above 0."),
        (Draw("restitution", (0.0, 1.5)), "randomization.x: there is nothing that"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(draw: Draw, text: str, swing: RobotModel) -> None:
    found = refusal({"x": draw}, swing)
    if draw.what in ("restitution", "friction") and not found.startswith(text):  # a pendulum touches nothing
        found = refusal({"x": draw}, build_robot(humanoid()))
        text = (
            text
            if draw.what == "friction"
            else "randomization.x: spans=(0.0, 1.5) with operation='set' can make restitution of "
        )
    assert found.startswith(text), found


def test_the_cure_of_an_impossible_range_can_be_typed(swing: RobotModel) -> None:
    terms: Terms = {"x": Draw("body_mass", (-5.0, 10.0), of=("base",), operation="add")}
    text = refusal(terms, swing)
    address, _, value = text.rpartition('--set "')[2].rstrip('"').partition("=")
    assert refusal(terms, swing, overrides={address: value}) == ""


def test_negative_friction_and_mass_from_the_command_line_are_refused(swing: RobotModel) -> None:
    terms: Terms = {"mass": Draw("body_mass", (0.8, 1.2), operation="scale")}
    assert refusal(terms, swing, {"randomization.mass.spans": "((-1.0, 1.0),)"}).startswith(
        "randomization.mass: spans=(-1.0, 1.0) with"
    )
    assert "is not for you to set" in refusal(terms, swing, {"randomization.mass.places": "(0, 1)"})


def test_a_field_that_the_backend_cannot_vary_is_refused_and_columns_are_not(swing: RobotModel) -> None:
    terms: Terms = {"g": Draw("gravity", (0.9, 1.1), operation="scale")}
    assert (
        refusal(terms, swing, backend="kinematic")
        == "randomization.g: the backend 'kinematic' cannot vary gravity. Choose --backend mujoco."
    )
    assert refusal({"b": Draw("encoder_bias", (0.0, 0.1))}, swing, backend="kinematic") == ""


def test_two_terms_that_make_one_body_anew_are_refused(swing: RobotModel) -> None:
    terms: Terms = {
        "inertia": Draw("pseudo_inertia", (-0.1, 0.1)),
        "mass": Draw("body_mass", (0.9, 1.1), operation="scale", of=("arm",)),
    }
    assert refusal(terms, swing) == (
        "randomization: inertia and mass both say the pseudo inertia of arm, as pseudo_inertia includes body_mass. Leave one of them out."
    )
    terms["inertia"] = attrs.evolve(terms["inertia"], of=("base",))
    assert refusal(terms, swing) == ""


def test_torque_limits_above_the_motors_own_are_refused_where_torques_are_explicit() -> None:
    model = build_robot(pendulum(), control="torque", floor=False)
    terms: Terms = {"limit": Draw("torque_limit", (0.8, 1.2), operation="scale")}
    assert refusal(terms, model).startswith(
        "randomization.limit can raise torque limits above the motors' own, which has no effect"
    )
    assert refusal({"limit": Draw("torque_limit", (0.8, 1.0), operation="scale")}, model) == ""


def test_two_kinds_of_pushes_are_refused(swing: RobotModel) -> None:
    assert refusal({"a": Push(), "b": Push(replace=True)}, swing) == (
        "randomization: a, b are two kinds of pushes; rows are pushed in one way. Leave one out."
    )


# -- gains that no time step holds -----------------------------------------------------------------------


def grows(control: str, stiffness: float, damping: float) -> bool:
    """Whether the pendulum swings ever wider with such a servo, in free space without gravity."""
    free = pendulum(
        motors={"swing": attrs.evolve(pendulum().motors["swing"], stiffness=stiffness, damping=damping, torque=1e9)}
    )
    model = build_robot(free, control=control, floor=False)
    simulation = build(scene({"g": Draw("gravity", (0.0, 0.0))}, model, 1, steps=10_000))
    simulation.run(1)
    simulation.world[DofState].position[:] = 1e-4
    simulation.run(40)
    return bool(simulation.world[DofState].position.abs().max() > 1e-3)


@pytest.mark.parametrize("control", ["servo", "torque"])
def test_the_warning_of_gains_stands_where_the_simulation_begins_to_swing(
    control: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = build_robot(pendulum(), control=control, floor=False)
    inertia, dt, damping = 1.0 / model.model.dof_invweight0[6], model.dt, 0.5
    edge = 2 * (2 * inertia + damping * dt) if control == "servo" else 4 * inertia - 2 * damping * dt
    for share, unstable in ((0.9, False), (1.1, True)):
        stiffness = share * edge / dt**2
        caplog.clear()
        gains = {
            "PdGains.stiffness": (torch.tensor([[stiffness]]),) * 2,
            "PdGains.damping": (torch.tensor([[damping]]),) * 2,
        }
        warn_of_unstable_gains(gains, model)
        assert bool(caplog.records) == unstable
        assert grows(control, stiffness, damping) == unstable
    assert "swing unstable at physics steps of 0.005 s. Draw lower ones, or take more steps: --substeps." in caplog.text
    assert caplog.records[0].levelno == logging.WARNING
