"""Every general termination, and how they are combined."""

import math

import pytest
import torch
from torch import tensor

from components.control import DofTorque
from components.episode import Chance, Done, Episode
from components.physics import Diverged
from components.robot import BaseFrame, BodyState, ContactForce, ContactSensors, DofState, RootState
from components.terrain import Ground
from engine import term
from engine.errors import BuildError, SceneError
from systems import terminations as end
from tests.systems.task_rows import generator, marked, small_robot, terms

SENSORS = ContactSensors(bodies=("pelvis", "left_foot", "torso"))
AXES = {"dof": 2, "body": 4, "sensed": SENSORS.bodies, "termination": 3, "reward": 1}


def test_time_is_up_at_the_last_step_and_never_without_a_limit():
    episode = Episode.make(3, AXES, step=[499, 500, 501])
    assert end.time_limit(episode, steps=500).tolist() == [False, True, True]
    assert not end.time_limit(episode, steps=math.inf).any()


def test_rows_whose_simulation_failed_have_diverged():
    assert end.diverged(marked(Diverged, [True, False])).tolist() == [True, False]


def test_contact_ends_when_a_listed_body_carries_force():
    forces = ContactForce.make(3, AXES)
    forces.force[0, 0] = tensor([0.6, 0.0, 0.9])  # pelvis, |F| = 1.08
    forces.force[1, 0] = tensor([0.6, 0.0, 0.7])  # 0.92
    forces.force[2, 1] = 50.0  # a foot may
    assert end.contact(forces, SENSORS, bodies=("pelvis", "tor.*"), force=1.0).tolist() == [True, False, False]


def test_a_pattern_that_names_no_body_is_refused():
    with pytest.raises(SceneError) as error:
        end.contact(ContactForce.make(1, AXES), SENSORS, bodies=("torsoo",))
    assert str(error.value) == (
        "'torsoo' matches none of pelvis, left_foot, torso. Write a regular expression that matches a "
        "whole name. Did you mean torso?"
    )


def test_tilt_looks_at_both_horizontal_components_of_gravity():
    base = BaseFrame.make(3, gravity=[[0.81, 0.0, -0.58], [0.0, -0.81, -0.58], [0.79, 0.6, 0.0]])
    assert end.tilt(base, x=0.8, y=0.8).tolist() == [True, True, False]
    base = BaseFrame.make(2, gravity=[[0, math.sin(1.21), -math.cos(1.21)], [0, math.sin(1.23), -math.cos(1.23)]])
    assert end.tipped(base, degrees=70.0).tolist() == [False, True]  # 70° = 1.2217 rad


def test_leaning_looks_at_any_direction():
    base = BaseFrame.make(2, gravity=[[0.6, 0.46, -0.65], [0.6, 0.44, -0.66]])  # sines of 0.756 and 0.744
    assert end.leaning(base).tolist() == [True, False]


def test_low_looks_at_the_base_and_body_low_at_any_named_body():
    root = RootState.make(2, position=[[0, 0, 0.29], [0, 0, 0.31]])
    assert end.low(root, Ground(), height=0.3).tolist() == [True, False]
    bodies = BodyState.make(2, AXES, position=1.0)
    bodies.position[1, 2, 2] = 0.05
    assert end.body_low(bodies, small_robot(), Ground(), names=(".*_foot",), height=0.1).tolist() == [False, True]


def test_joint_limits_end_an_episode_only_for_the_rows_that_draw_it():
    robot, chance = small_robot(), Chance.make(3, value=[0.1, 0.3, 0.1])
    dofs = DofState.make(3, AXES, position=[[0, 1.97], [0, -1.97], [0, 1.95]], velocity=[[9.9, 0], [-9.9, 0], [9.7, 0]])
    torque = DofTorque.make(3, AXES, value=[[-19.7, 0], [19.7, 0], [19.5, 0]])
    # 0.98 of ±2, 10 and 20 is 1.96, 9.8 and 19.6; a quarter of the rows
    assert end.position_limit(dofs, robot, chance).tolist() == [True, False, False]
    assert end.velocity_limit(dofs, robot, chance).tolist() == [True, False, False]
    assert end.torque_limit(torque, robot, chance).tolist() == [True, False, False]
    assert end.position_limit(dofs, robot, chance, probability=1.0).tolist() == [True, True, False]


def test_every_row_draws_its_own_chance():
    chance = Chance.make(4000)
    end.draw_chance(generator(), chance)
    assert 0.22 < float((chance.value < 0.25).double().mean()) < 0.28


def test_outside_measures_from_the_shrunken_range():
    limit = tensor([[-1.0, 3.0]])  # middle 1, half 2; 0.5 of it: 0 … 2
    assert end.outside(tensor([[2.5], [-0.25], [1.0]]), limit, 0.5).flatten().tolist() == [0.5, 0.25, 0.0]
    assert end.outside(tensor([[2.5]]), limit, tensor(0.5)).item() == 0.5


def test_failure_wins_over_a_time_limit_and_every_reason_is_kept():
    done = Done.make(4, AXES)
    end.terminate(
        terms(
            late=(tensor([True, True, False, False]), {"kind": "time_limit"}),
            fallen=(tensor([False, True, False, False]), {}),
            broken=(tensor([False, False, True, False]), {"kind": "fault"}),
        ),
        done,
    )
    assert done.reason.tolist() == [[True, False, False], [True, True, False], [False, False, True], [False] * 3]
    assert done.terminated.tolist() == [False, True, True, False]
    assert done.truncated.tolist() == [True, False, False, False]
    assert done.lost.tolist() == [False, False, True, False]
    assert done.ended.tolist() == [True, True, True, False]


def test_a_task_may_have_only_one_kind_of_end():
    done = Done.make(2, {"termination": 1}, truncated=True, terminated=True, lost=True)
    end.terminate(terms(late=(tensor([True, False]), {"kind": "time_limit"})), done)
    assert (done.truncated.tolist(), done.terminated.any().item(), done.lost.any().item()) == (
        [True, False],
        False,
        False,
    )
    end.terminate(terms(fallen=(tensor([True, False]), {})), done)
    assert (done.terminated.tolist(), done.truncated.any().item()) == ([True, False], False)


def test_the_order_of_kinds_does_not_matter():
    done, off, on = Done.make(1, AXES), tensor([False]), tensor([True])
    given = {"fallen": (off, {}), "late": (off, {"kind": "time_limit"}), "tilted": (on, {})}
    end.terminate(terms(**given), done)
    assert (done.terminated.item(), done.truncated.item(), done.ended.item()) == (True, False, True)
    end.terminate(terms(**{**given, "tilted": (off, {}), "late": (on, {"kind": "time_limit"})}), done)
    assert (done.terminated.item(), done.truncated.item(), done.ended.item()) == (False, True, True)


def test_an_unknown_kind_is_refused():
    with pytest.raises(SceneError) as error:
        end.terminations({"late": term(end.time_limit, kind="timeout")})
    assert str(error.value) == "Termination `late` says kind='timeout'; it is one of failure, fault, time_limit."


def test_terminations_of_no_rows_leave_nobody_behind():
    done = Done.make(2, {"termination": 2}, ended=True)
    end.terminate(terms(a=(torch.zeros(2, dtype=torch.bool), {}), b=(torch.zeros(2, dtype=torch.bool), {})), done)
    assert not done.ended.any()


def test_an_unknown_setting_is_refused():
    with pytest.raises(
        BuildError, match=r"Term `late` of `terminate` has no setting 'kin', so kin='time_limit' has no"
    ):
        end.terminations({"late": term(end.time_limit, kin="time_limit")})


def test_a_termination_that_is_a_number_and_may_be_none_is_refused_by_its_name():
    done = Done.make(2, {"termination": 1})
    with pytest.raises(BuildError, match=r"Term `far` returned float32 of shape \(2,\); its system takes one bool"):
        end.terminate(terms(far=(tensor([math.nan, 1.0]), {})), done)
