"""Every general reward term by hand, and how they are added up."""

import math

import numpy as np
import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from components.control import Action, DofTorque, PreviousDof
from components.episode import Done, Earned, Episode, PenaltyScale, Reward, SoftLimits
from components.robot import BaseFrame, BodyState, Contact, ContactForce, ContactSensors, DofState, Flight, RootState
from engine import BuildError, SceneError, term
from systems import reward_sum
from systems import rewards as earn
from tests.systems.task_rows import from_euler, matrix, random_rotations, small_robot, terms

SENSORS = ContactSensors(bodies=("pelvis", "right_foot", "torso"))
AXES = {"dof": 2, "body": 4, "sensed": SENSORS.bodies, "foot": 2, "termination": 1, "reward": 2}
LIMITS = SoftLimits(position=tensor(0.5), velocity=tensor(0.9), torque=tensor(0.8))


def test_alive_counts_every_tick_and_failed_only_failures():
    assert earn.alive(Episode.make(2, AXES)).tolist() == [1.0, 1.0]
    done = Done.make(
        3, AXES, ended=[True, True, False], terminated=[True, False, False], truncated=[False, True, False]
    )
    assert earn.failed(done).tolist() == [1.0, 0.0, 0.0]


def test_action_rate_is_the_squared_change():
    action = Action.make(1, AXES, value=[1.0, -2.0], previous=[0.5, 1.0])
    assert_close(earn.action_rate(action), tensor([0.25 + 9.0]))


def test_sums_of_squares_over_joints():
    dofs = DofState.make(1, AXES, velocity=[3.0, -4.0])
    assert_close(earn.torques(DofTorque.make(1, AXES, value=[3.0, -4.0])), tensor([25.0]))
    assert_close(earn.dof_velocity(dofs), tensor([25.0]))
    # ((3 - 1) / 0.02)² + ((-4 - -4) / 0.02)²
    assert_close(earn.dof_acceleration(dofs, PreviousDof.make(1, AXES, velocity=[1.0, -4.0]), dt=0.02), tensor([1e4]))


def test_energy_counts_only_work_that_is_done():
    dofs, torque = DofState.make(1, AXES, velocity=[2.0, 3.0]), DofTorque.make(1, AXES, value=[5.0, -7.0])
    assert_close(earn.energy(dofs, torque), tensor([10.0]))


def test_orientation_is_how_far_gravity_leans():
    assert_close(earn.orientation(BaseFrame.make(1, gravity=[0.3, -0.4, -0.87])), tensor([0.25]))


def test_joint_limits_sum_what_lies_outside():
    dofs = DofState.make(2, AXES, position=[[1.9, -2.0], [1.7, 0.0]])
    assert_close(earn.joint_limits(dofs, small_robot()), tensor([0.1 + 0.2, 0.0]))


def test_limits_follow_the_curriculum():
    robot = small_robot()
    dofs = DofState.make(1, AXES, position=[1.25, -1.5], velocity=[9.5, -12.0])
    # inside is ±0.5 · 2 = ±1 rad, 0.9 · 10 = 9 rad/s (at most 1 each), 0.8 · 20 = 16 N·m
    assert_close(earn.position_limits(dofs, robot, LIMITS), tensor([0.25 + 0.5]))
    assert_close(earn.velocity_limits(dofs, robot, LIMITS), tensor([0.5 + 1.0]))
    torque = DofTorque.make(1, AXES, value=[16.5, -20.0])
    assert_close(earn.torque_limits(torque, robot, LIMITS), tensor([0.5 + 4.0]))
    assert_close(earn.torque_limits(torque, robot, LIMITS, most=1.0), tensor([0.5 + 1.0]))


def test_collisions_are_counted():
    forces = ContactForce.make(1, AXES, self_contacts=3.0)
    forces.force[0, 0] = tensor([0.0, 0.2, 0.0])
    forces.force[0, 2] = tensor([0.0, 0.05, 0.0])
    forces.force[0, 1] = 10.0
    assert earn.self_collision(forces).tolist() == [3.0]
    assert earn.collision(forces, SENSORS, bodies=("pelvis", "torso"), force=0.1).tolist() == [1.0]


def test_slippage_is_the_speed_of_feet_that_bear_load():
    bodies = BodyState.make(1, AXES)
    bodies.linear_velocity[0, 1] = tensor([0.3, 0.4, 0.0])
    bodies.linear_velocity[0, 2] = tensor([9.0, 0.0, 0.0])
    bodies.linear_velocity[0, 0] = 5.0
    contact = Contact.make(1, AXES, touching=[True, False])
    assert_close(earn.slippage(bodies, contact, small_robot()), tensor([0.5]))


def test_foot_terms_agree_with_rotation_matrices():
    rotation, base = random_rotations(6, 4), random_rotations(6, seed=1)
    bodies, root = BodyState.make(6, AXES, rotation=rotation), RootState.make(6, rotation=base)
    tilted, turned = earn.foot_orientation(bodies, small_robot()), earn.foot_heading(bodies, root, small_robot())
    for row in range(6):
        lean = heading = 0.0
        trunk = matrix(base[row])
        for foot in (1, 2):
            r = matrix(rotation[row, foot])
            lean += np.linalg.norm((r.T @ [0, 0, -1])[:2])
            difference = math.atan2(r[1, 0], r[0, 0]) - math.atan2(trunk[1, 0], trunk[0, 0])
            heading += abs(math.atan2(math.sin(difference), math.cos(difference)))
        assert tilted[row] == pytest.approx(lean, abs=1e-5)
        assert turned[row] == pytest.approx(heading, abs=1e-4)


def test_feet_turned_outwards_by_a_known_angle():
    zero, out = torch.zeros(1), tensor([0.3])
    bodies = BodyState.make(1, AXES, rotation=[1.0, 0, 0, 0])
    bodies.rotation[0, 1] = from_euler(zero, zero, out)[0]
    root = RootState.make(1, rotation=from_euler(zero, zero, tensor([-0.2]))[0].tolist())
    assert_close(earn.foot_heading(bodies, root, small_robot()), tensor([0.5 + 0.2]))


def test_feet_are_judged_when_they_land():
    flight = Flight.make(2, AXES, seconds=[0.3, 0.7], peak=[0.05, 0.3])
    flight.landed[0, :] = True
    flight.landed[1, 0] = True
    assert_close(earn.flight_too_low(flight, height=0.2), tensor([0.15, 0.15]))  # 0.3 m is high enough
    assert_close(earn.flight_time(flight, least=0.5), tensor([0.0, -0.2]))


def test_feet_in_the_air_may_turn_as_they_like():
    rotation = random_rotations(4, 4)
    bodies, root = BodyState.make(4, AXES, rotation=rotation), RootState.make(4, rotation=random_rotations(4, seed=1))
    contact = Contact.make(4, AXES, touching=[False, True])
    only = small_robot(foot_names=("right_foot",))
    assert_close(earn.standing_foot_orientation(bodies, contact, small_robot()), earn.foot_orientation(bodies, only))
    assert_close(
        earn.standing_foot_heading(bodies, root, contact, small_robot()), earn.foot_heading(bodies, root, only)
    )


def test_small_actions_are_worth_something_or_large_ones_cost():
    action = Action.make(1, AXES, value=[0.6, -0.8])  # ‖a‖ = 1
    assert_close(earn.action_size(action), tensor([1.0]))
    assert_close(earn.action_growth(action), tensor([math.e - 1.0]))
    assert_close(earn.action_growth(action, sign=-1), tensor([1.0 / math.e - 1.0]))


# -- the sum -------------------------------------------------------------------------------------------


def summed(values, *, rows=1, lost=False, penalty=None, axes=AXES, **options):
    done, so_far, earned = (
        Done.make(rows, axes, lost=lost),
        Earned.make(rows, axes, sums=1.0),
        Reward.make(rows, axes),
    )
    if penalty is None:
        reward_sum.reward(values, done, so_far, earned, dt=0.02, **options)
    else:
        reward_sum.reward_under_curriculum(
            values, done, PenaltyScale(value=tensor(penalty)), so_far, earned, dt=0.02, **options
        )
    return earned, so_far


def test_terms_are_weighted_by_the_control_step_and_summed():
    earned, so_far = summed(terms(good=(tensor([2.0]), {"weight": 3.0}), bad=(tensor([4.0]), {"weight": -0.5})))
    assert_close(earned.terms, tensor([[0.12, -0.04]]))
    assert_close(earned.total, tensor([0.08]))
    assert_close(so_far.sums, tensor([[1.12, 0.96]]))


def test_an_error_with_a_std_becomes_one_on_target_and_falls_off():
    values = terms(
        near=(tensor([0.09, 0.0]), {"weight": 50.0, "std": 0.3}),
        old=(tensor([0.06, 0.0]), {"weight": 50.0, "width": 0.03}),
    )
    earned, _ = summed(values, rows=2)
    assert_close(earned.terms, tensor([[math.exp(-1.0), math.exp(-2.0)], [1.0, 1.0]]))


def test_rows_that_ended_have_earned_nothing_and_the_least_stays():
    so_far = Earned.make(2, AXES, sums=1.5, least=-2.0)
    reward_sum.reset_earned(Done.make(2, AXES, ended=[False, True]), so_far)
    assert so_far.sums.tolist() == [[1.5, 1.5], [0.0, 0.0]] and so_far.least.tolist() == [[-2.0, -2.0]] * 2


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_counts_nothing(broken):
    plain, tracked = (tensor([broken]), {"weight": 1.0}), (tensor([math.nan]), {"weight": 1.0, "std": 0.1})
    earned, so_far = summed(terms(plain=plain, tracked=tracked))
    assert earned.terms.tolist() == [[0.0, 0.0]] and earned.total.tolist() == [0.0]
    assert bool(so_far.sums.isfinite().all())


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("weight", [2.0, -2.0])
def test_what_is_not_finite_pays_the_least_that_any_row_was_ever_paid(broken, weight):
    done, so_far, earned = Done.make(3, AXES), Earned.make(3, AXES), Reward.make(3, AXES)
    paid = []
    for value in ([1.0, 4.0, 2.0], [broken, 1.0, 3.0], [broken, broken, broken], [broken, -5.0, 5.0]):
        values = terms(odd=(tensor(value), {"weight": weight}), even=(tensor([1.0, 2.0, 3.0]), {}))
        reward_sum.reward(values, done, so_far, earned, dt=1.0)
        paid.append(earned.terms[:, 0].tolist())
        assert_close(earned.total, earned.terms.sum(-1)) and bool(earned.total.isfinite().all())
    least = min(0.0, weight * (4.0 if weight < 0 else 1.0)), min(-10.0, weight * 5.0)
    assert paid == [
        [weight, 4 * weight, 2 * weight], [least[0], weight, 3 * weight], [least[0]] * 3, [least[1], -5 * weight, 5 * weight]
    ]  # fmt: skip
    assert earned.terms[:, 1].tolist() == [1.0, 2.0, 3.0]


def test_the_least_is_found_over_any_number_of_rows():
    rng = np.random.default_rng(0)
    for rows in (1, 7, 32, 96, 100):
        value, broken = rng.normal(size=(rows, 2)), rng.random((rows, 2)) < 0.3
        given = np.where(broken, math.nan, value)
        pair = {name: (tensor(given[:, i], dtype=torch.float32), {"weight": -1.0}) for i, name in enumerate("ab")}
        earned, _ = summed(terms(**pair), rows=rows)
        least = [min(0.0, -value[~broken[:, i], i].max(initial=0.0)) for i in range(2)]
        assert_close(earned.terms.double().numpy(), 0.02 * np.where(broken, least, -value), atol=1e-6, rtol=1e-6)


def test_an_error_below_zero_that_falls_up_without_bound_pays_nothing():
    earned, _ = summed(terms(near=(tensor([-100.0, 0.0]), {"std": 0.1}), far=(tensor([1.0, 2.0]), {})), rows=2)
    assert_close(earned.terms, tensor([[0.0, 0.02], [0.02, 0.04]]))


def test_widths_follow_the_running_error_downwards_only():
    """Widths 0.2, 0.2, 0.2 and 0.3² by origin, mean, three times and not at all; the error is 0.1 on the mean, then 9."""
    settings = [{"width": 0.2, "adapts": how} for how in ("origin", "mean", 3.0)]
    own = [*settings, {"std": 0.3}]
    axes = {**AXES, "reward": 4}
    system = earn.rewards({f"t{i}": term(earn.torques, **each) for i, each in enumerate(own)})
    assert system.function is reward_sum.reward_that_adapts
    widths = reward_sum.begin_widths(system, {"reward": tuple(system.terms)}, 0, torch.device("cpu"))
    error, width, done = 0.2, [0.2, 0.2, 0.2], Done.make(2, axes)
    for values in ([0.05, 0.15], [0.0, 0.2], [9.0, 9.0]):
        earned = Reward.make(2, axes)
        given = terms(**{f"t{i}": (tensor(values), each) for i, each in enumerate(own)})
        reward_sum.reward_that_adapts(given, done, widths, Earned.make(2, axes), earned, dt=1.0, alpha=0.25)
        error = 0.75 * error + 0.25 * sum(values) / 2
        halved = (min(error, width[1]) + error) / 2
        width = [min(width[0], error), min(width[1], halved), min(width[2], 3.0 * error)]
        assert_close(widths.width, tensor([*width, 0.0]))
        expected = [[math.exp(-v / w) for w in (*width, 0.09)] for v in values]
        assert_close(earned.terms, tensor(expected))
    assert width == pytest.approx([0.15625, 0.15625, 0.2])  # 0.2 → 0.175 → 0.15625, and never back
    assert earned.terms[0, 0] < 1e-20  # nothing widens for an error of 9


def test_a_lost_tick_earns_nothing():
    earned, _ = summed(terms(good=(tensor([1.0]), {}), failed=(tensor([1.0]), {"weight": -200.0})), lost=True)
    assert earned.terms.tolist() == [[0.0, 0.0]] and earned.total.tolist() == [0.0]


def test_the_penalty_curriculum_scales_only_what_is_registered_as_a_penalty():
    values = terms(good=(tensor([1.0]), {"weight": 50.0}), bad=(tensor([1.0]), {"weight": -50.0, "penalty": True}))
    earned, _ = summed(values, penalty=0.1)
    assert_close(earned.terms, tensor([[1.0, -0.1]]))


def test_only_positive_cuts_the_sum_but_not_the_price_of_failure():
    values = terms(
        bad=(tensor([1.0, 0.0]), {"weight": -50.0}), failed=(tensor([1.0, 0.0]), {"weight": -200.0, "unclipped": True})
    )
    earned, _ = summed(values, rows=2, only_positive=True)
    assert_close(earned.total, tensor([-4.0, 0.0]))
    free, _ = summed(values, rows=2)
    assert_close(free.total, tensor([-5.0, 0.0]))


def test_the_combiner_reads_the_curriculum_only_where_a_term_is_a_penalty():
    plain, scaled = term(earn.torques, weight=-1.0), term(earn.torques, weight=-1.0, penalty=True)
    assert PenaltyScale not in earn.rewards({"torques": plain}).reads
    system = earn.rewards({"torques": scaled})
    assert PenaltyScale in system.reads and system.name == "reward"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"weigth": 0.5}, "Term `torques` of `reward` has no setting 'weigth', so weigth=0.5 has no effect. It has weight, std, width, penalty, unclipped, adapts. Did you mean weight or width?"),
        ({"std": 0.1, "width": 0.2}, "Reward `torques` says std=0.1 and width=0.2; width has no effect beside std, so give one of them."),
        ({"adapts": "mean"}, "Reward `torques` says adapts='mean', but has no std or width that could; give one."),
        ({"adapts": "men", "std": 1.0}, "Reward `torques` says adapts='men'; it is 'origin', 'mean' or a number above 0."),
        ({"adapts": 0.0, "std": 1.0}, "Reward `torques` says adapts=0.0; it is 'origin', 'mean' or a number above 0."),
        ({"width": 0}, "Reward `torques` says width=0; give a number above 0, or leave it out."),
    ],
)  # fmt: skip
def test_a_setting_without_effect_is_refused(settings, text):
    with pytest.raises((SceneError, BuildError)) as error:
        earn.rewards({"torques": term(earn.torques, **settings)})
    assert str(error.value) == text
