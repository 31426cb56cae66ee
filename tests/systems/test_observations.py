"""Every general observation term, how rows are lined up, and histories."""

import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from components.control import Action, EncoderBias
from components.episode import Done, Rewritten
from components.observation import (
    Disturbance,
    FinalObservation,
    GroupObservation,
    History,
    HistoryLayout,
    Observation,
    ObservationGroups,
    ObservationNoise,
    Seen,
)
from components.robot import BaseFrame, Contact, ContactForce, ContactSensors, DofState, RootState
from components.terrain import Ground
from engine import Bundle, Clock, Scene, Write, build, system, table, term
from engine.ecs.scene import apply_overrides
from engine.errors import BuildError, SceneError
from systems import observation_groups, observation_history
from systems import observations as seen
from systems.learning.config import PpoConfig
from systems.learning.networks import make_policy
from systems.tick import ACTUATE, BEGIN, COMMAND, OBSERVE, RECORD, RESET, TERMINATE, TICK
from tests.systems.task_rows import generator, small_robot, terms

AXES = {"dof": 2, "body": 4, "foot": 2, "sensed": 3, "termination": 1}


def look(values, *, actor, critic, rows=1, level=None, rng=None, **options):
    observation = Observation.make(rows, {"actor_observation": actor, "critic_observation": critic})
    if level is None:
        observation_groups.observe(values, rng or generator(), observation, **options)
    else:
        noise = ObservationNoise(level=tensor(level))
        observation_groups.observe_under_curriculum(values, rng or generator(), noise, observation, **options)
    return observation


def test_general_terms():
    robot = small_robot()
    dofs = DofState.make(1, AXES, position=[0.5, -0.2], velocity=[3.0, 4.0])
    assert_close(seen.joint_position(dofs, robot), tensor([[0.4, -0.3]]))
    bias = EncoderBias.make(1, AXES, value=[0.01, -0.01])
    assert_close(seen.measured_joint_position(dofs, robot, bias), tensor([[0.41, -0.31]]))
    assert_close(dofs.position, tensor([[0.5, -0.2]]))
    assert_close(seen.joint_velocity(dofs), tensor([[3.0, 4.0]]))
    assert_close(seen.last_action(Action.make(1, AXES, value=[1.0, 2.0], previous=9.0)), tensor([[1.0, 2.0]]))
    base = BaseFrame.make(
        1, linear_velocity=[1.0, 2.0, 3.0], angular_velocity=[4.0, 5.0, 6.0], gravity=[0.0, 0.6, -0.8]
    )
    assert seen.base_linear_velocity(base).tolist() == [[1.0, 2.0, 3.0]]
    assert seen.base_angular_velocity(base).tolist() == [[4.0, 5.0, 6.0]]
    assert_close(seen.projected_gravity(base), tensor([[0.0, 0.6, -0.8]]))
    assert_close(seen.base_height(RootState.make(1, position=[1.0, 2.0, 0.7]), Ground()), tensor([[0.7]]))


def test_feet_are_seen_foot_by_foot():
    forces = ContactForce.make(1, AXES)
    forces.force[0, 1], forces.force[0, 2] = tensor([1.0, 2.0, 3.0]), tensor([4.0, 5.0, 6.0])
    sensors = ContactSensors(bodies=("torso", "left_foot", "right_foot"))
    assert seen.feet_force(forces, sensors, small_robot()).tolist() == [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]
    assert seen.feet_touching(Contact.make(1, AXES, touching=[True, False])).tolist() == [[1.0, 0.0]]


def test_terms_stand_in_order_of_declaration_and_shared_ones_are_evaluated_once():
    calls = []

    def counted():
        calls.append(1)
        return tensor([[1.0, 2.0]])

    values = terms(
        shared=(tensor([[0.0, 0.0]]), {}),
        secret=(tensor([[3.0]]), {"groups": ("critic",)}),
        own=(tensor([[4.0]]), {"groups": ("actor",)}),
    )
    values._bound[0] = ("shared", counted, {})
    observation = look(values, actor=3, critic=3, noisy=False)
    assert observation.actor.tolist() == [[1.0, 2.0, 4.0]]
    assert observation.critic.tolist() == [[1.0, 2.0, 3.0]]
    assert len(calls) == 1


def test_noise_is_uniform_within_its_range_drawn_for_every_number_and_not_for_the_critic():
    rows = 4000
    values = terms(a=(torch.ones(rows, 2), {"noise": 0.25}), b=(torch.ones(rows, 1), {}))
    observation = look(values, actor=3, critic=3, rows=rows)
    noisy = observation.actor[:, :2] - 1.0
    assert -0.25 <= float(noisy.min()) < -0.249 and 0.249 < float(noisy.max()) <= 0.25
    assert abs(float(noisy.mean())) < 0.01
    assert abs(float((noisy[:, 0] * noisy[:, 1]).mean())) < 0.002  # var 0.25² / 3 = 0.02 if they were the same
    assert_close(observation.actor[:, 2], torch.ones(rows))
    assert_close(observation.critic, torch.ones(rows, 3))


def test_noise_comes_before_clip_and_clip_before_scale():
    rows = 2000
    settings = {"noise": 0.5, "clip": 1.2, "scale": 2.0}
    observation = look(terms(a=(torch.ones(rows, 1), settings)), actor=1, critic=1, rows=rows)
    assert float(observation.actor.max()) == pytest.approx(2.4)  # (1 + 0.5) clipped to 1.2, doubled
    assert float(observation.actor.min()) == pytest.approx(1.0, abs=0.01)
    assert_close(observation.critic, torch.full((rows, 1), 2.0))


def test_clip_and_scale_belong_to_their_own_columns():
    values = terms(
        a=(tensor([[5.0, -5.0]]), {"clip": 2.0}), b=(tensor([[5.0]]), {"scale": 0.1}), c=(tensor([[7.0]]), {})
    )
    observation = look(values, actor=4, critic=4)
    assert_close(observation.actor, tensor([[2.0, -2.0, 0.5, 7.0]]))
    assert_close(observation.critic, tensor([[2.0, -2.0, 0.5, 7.0]]))


def test_the_limit_bounds_every_number():
    observation = look(terms(a=(tensor([[500.0, -500.0, 3.0]]), {})), actor=3, critic=3, limit=100.0)
    assert observation.actor.tolist() == observation.critic.tolist() == [[100.0, -100.0, 3.0]]


def test_evaluation_is_without_noise_and_a_curriculum_scales_it():
    values = terms(a=(torch.zeros(2000, 1), {"noise": 1.0}))
    assert not look(values, actor=1, critic=1, rows=2000, noisy=False).actor.any()
    level = look(values, actor=1, critic=1, rows=2000, level=0.1).actor
    assert 0.099 < float(level.max()) <= 0.1


# -- histories -----------------------------------------------------------------------------------------

NOW = ("a[0]", "a[1]", "b", "c")  # c is remembered by the critic only
PAST = ("a@1[0]", "a@1[1]", "a@2[0]", "a@2[1]", "b@1")


def test_a_history_is_term_by_term_newest_first_each_with_its_own_length():
    layout = HistoryLayout(actor=tensor(observation_history.lay_out(NOW, PAST)), critic=tensor([], dtype=torch.int64))
    axes = {"remembered": 4, "actor_history": 5, "critic_history": 0}
    history = History.make(1, axes)
    recorded = []
    for tick in (1.0, 2.0, 3.0):
        now = Seen.make(1, axes, value=[10 * tick, 10 * tick + 1, 100 * tick, -1.0])
        observation_history.extend_history(now, layout, history)
        recorded.append(history.actor[0].tolist())
    assert recorded == [
        [10.0, 11.0, 0.0, 0.0, 100.0],
        [20.0, 21.0, 10.0, 11.0, 200.0],
        [30.0, 31.0, 20.0, 21.0, 300.0],
    ]


def test_ended_rows_forget():
    axes = {"actor_history": 2, "critic_history": 1, "termination": 1}
    history = History.make(2, axes, actor=5.0, critic=6.0)
    observation_history.reset_history(Done.make(2, axes, ended=[True, False]), history)
    assert history.actor.tolist() == [[0.0, 0.0], [5.0, 5.0]] and history.critic.tolist() == [[0.0], [6.0]]


def test_what_is_remembered_is_noisy_clipped_and_scaled_with_a_draw_of_its_own():
    rows = 2000
    settings = {"noise": 0.5, "critic_noise": 9.0, "clip": 1.2, "scale": 2.0, "groups": ("actor",)}
    values = terms(a=(torch.ones(rows, 1), settings), b=(torch.zeros(rows, 1), {}))
    kept = Seen.make(rows, {"remembered": 2})
    observation_history.remember(values, generator(), kept)
    assert float(kept.value[:, 0].max()) == pytest.approx(2.4)  # (1 + 0.5) clipped to 1.2, doubled
    assert float(kept.value[:, 0].min()) == pytest.approx(1.0, abs=0.01)
    assert not kept.value[:, 1].any()
    observation_history.remember(values, generator(), kept, noisy=False)
    assert_close(kept.value[:, 0], torch.full((rows,), 2.0))
    observation_history.remember_under_curriculum(values, generator(), ObservationNoise(level=tensor(0.1)), kept)
    assert float(kept.value[:, 0].max()) == pytest.approx(2.1, abs=0.001)


def test_the_critic_gets_noise_of_its_own_where_it_is_asked_for():
    rows = 4000
    settings = {"noise": 0.25, "critic_noise": 0.5}
    values = terms(
        a=(torch.zeros(rows, 1), settings),
        b=(torch.zeros(rows, 1), {}),
        c=(torch.zeros(rows, 2), {"critic_noise": 1.0}),
    )
    observation = look(values, actor=4, critic=4, rows=rows)
    assert 0.249 < float(observation.actor[:, 0].max()) <= 0.25
    assert not observation.actor[:, 1:].any()
    assert 0.499 < float(observation.critic[:, 0].max()) <= 0.5
    assert not observation.critic[:, 1].any()
    assert 0.998 < float(observation.critic[:, 2:].max()) <= 1.0
    assert (
        abs(float((observation.actor[:, 0] * observation.critic[:, 0]).mean())) < 0.003
    )  # 0.042 if they were the same


def test_the_layout_follows_the_axes_of_the_table():
    axes = {
        "remembered": NOW,
        "actor_history": PAST,
        "critic_history": ("c@1",),
    }
    layout = observation_history.make_layout(axes, 0, torch.device("cpu"))
    # there are 4 columns to remember; a@2 comes from a@1, which is columns 0 and 1 of the history
    assert layout.actor.tolist() == [0, 1, 4, 5, 2] and layout.critic.tolist() == [3]


# -- compounds, further groups, delay and drift -----------------------------------------------------------


def begin_all(done: Write[Done], rewritten: Write[Rewritten]) -> None:
    done.ended.fill_(True)
    rewritten.rows.fill_(True)


def move_on(clock: Clock, dofs: Write[DofState]) -> None:
    """Positions are the number of the tick, velocities ten times that and one more."""
    dofs.position.fill_(float(clock.tick))
    dofs.velocity.copy_(tensor([0.0, 1.0]) + 10.0 * clock.tick)


def carry_on(done: Write[Done], rewritten: Write[Rewritten]) -> None:
    done.ended.fill_(False)
    rewritten.rows.fill_(False)
    done.truncated.fill_(False)


def simulated(terms_, rows=2, noisy=True):
    """A world of two joints that move by themselves, and these observation terms; every row begins in the first tick."""
    joints = Bundle(
        "joints",
        components=[DofState, Done, Rewritten, Action],
        resources=[small_robot(default_position=torch.zeros(2))],
        axes={"dof": 2, "termination": 1},
        systems={BEGIN: [system(begin_all)], TERMINATE: [system(carry_on)], COMMAND: [system(move_on)]},
    )
    return build(Scene([table("robot", rows=rows)], [joints, seen.observations(terms_, noisy=noisy)], TICK))


def ticked(terms_, *, ticks, **options):
    made = simulated(terms_, **options)
    made.run(ticks)
    return made.world


def test_two_histories_of_one_term_have_their_own_lengths_newest_first():
    world = ticked(
        {
            "v": term(seen.joint_velocity, scale=2.0),
            "short": seen.compound({"v": 1}),
            "long": seen.compound({"v": 3, "q": 2}, groups=("critic",), scale=0.5),
            "q": term(seen.joint_position, groups=()),
        },
        ticks=4,
    )
    # velocity is 10 t and 10 t + 1, position t and t, in tick t; in tick 3 the newest entry is that of tick 2
    actor, critic = world[Observation].actor[0].tolist(), world[Observation].critic[0].tolist()
    assert actor == [60.0, 62.0, 40.0, 42.0]
    older = [40.0, 42.0, 20.0, 22.0, 0.0, 2.0]  # v of ticks 2, 1 and 0, doubled
    assert critic == [60.0, 62.0, 40.0, 42.0, *(0.5 * x for x in [*older, 2.0, 2.0, 1.0, 1.0])]
    labels = world.tables["robot"].axes["critic_observation"]
    assert labels[2:5] == ("short.v@1[0]", "short.v@1[1]", "long.v@1[0]") and labels[-1] == "long.q@2[1]"


def test_further_groups_stand_side_by_side_with_noise_of_their_own():
    world = ticked(
        {
            "v": term(seen.joint_velocity, groups=("actor", "critic", "guide")),
            "q": term(seen.joint_position, scale=3.0, groups=("teacher", "guide")),
        },
        ticks=2,
    )
    groups, value = world[ObservationGroups].columns, world[GroupObservation].value[0]
    assert value[groups["guide"]].tolist() == [10.0, 11.0, 3.0, 3.0] and value[groups["teacher"]].tolist() == [3.0, 3.0]
    assert world[Observation].actor[0].tolist() == [10.0, 11.0]


def test_a_late_term_shows_what_was_read_that_many_steps_ago_and_nothing_from_before_the_row_began():
    table = {"v": term(seen.joint_velocity, delay=(2, 2)), "q": term(seen.joint_position)}
    shown = [ticked(table, ticks=ticks)[Observation] for ticks in (1, 2, 3, 4, 5)]
    assert [each.actor[0].tolist() for each in shown] == [
        [0.0, 1.0, 0.0, 0.0],  # the first reading: there is none before it
        [0.0, 1.0, 1.0, 1.0],
        [0.0, 1.0, 2.0, 2.0],  # two steps late from here on
        [10.0, 11.0, 3.0, 3.0],
        [20.0, 21.0, 4.0, 4.0],
    ]
    assert shown[-1].critic[0].tolist() == [40.0, 41.0, 4.0, 4.0]  # the critic is never late


def test_lags_are_drawn_for_each_row_and_term_both_ends_included():
    world = ticked({n: term(seen.joint_velocity, delay=(1, 3)) for n in ("a", "b")}, rows=300, ticks=1)
    lag = world[Disturbance].lag
    assert sorted(set(lag.flatten().tolist())) == [1, 2, 3] and not torch.equal(lag[:, 0], lag[:, 1])
    for value in (1, 2, 3):
        assert 60 < int((lag[:, 0] == value).sum()) < 140  # of 300, a third each


def test_drift_has_its_deviation_from_the_first_step_and_its_correlation_from_one_to_the_next():
    world = ticked({"v": term(seen.joint_velocity, drift=(0.5, 2.0), scale=2.0)}, rows=4000, ticks=1)
    first = world[Disturbance].drift.clone()
    assert float(first.std()) == pytest.approx(0.5, rel=0.03)
    seen_ = world[Observation]
    assert_close(seen_.actor, 2.0 * (tensor([0.0, 1.0]) + first))  # added before scaling
    assert_close(seen_.critic, tensor([[0.0, 2.0]]).expand(4000, 2))
    world = ticked({"v": term(seen.joint_velocity, drift=(0.5, 2.0), scale=2.0)}, rows=4000, ticks=2)
    second = world[Disturbance].drift
    assert float(second.std()) == pytest.approx(0.5, rel=0.03)
    assert float((first * second).mean()) == pytest.approx(0.25 * math.exp(-0.5), abs=0.01)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"p": seen.compound({"w": 2})}, "Observation `p` is the past of `w`, which is no term with a present."),
        ({"p": seen.compound({"v": 0})}, "Observation `p` has 0 ticks of `v`; give a number from 1 up."),
        ({"p": seen.compound({})}, "Observation `p` is the past of nothing; name a term and its ticks."),
        (
            {"p": seen.compound({"v": 2}), "h": term(seen.joint_velocity, history=2)},
            "Observation `h` says history=2 beside the compound `p`. Say it in a compound too, or leave",
        ),
        ({"h": term(seen.joint_velocity, groups=())}, "Observation `h` says groups=(), so nobody sees it."),
        ({"h": term(seen.joint_velocity, delay=(2, 1))}, "Observation `h` says delay=(2, 1); give a range of control"),
        ({"h": term(seen.joint_velocity, drift=(0.0, 1.0))}, "Observation `h` says drift=(0.0, 1.0); give a standard"),
        (
            {"h": term(seen.joint_velocity, delay=(0, 1), groups=("critic",))},
            "Observation `h` says delay=(0, 1), which has no effect on what the actor does not see. Leave it out.",
        ),
        (
            {"h": term(seen.joint_velocity, drift=(1.0, 1.0)), "p": seen.compound({"h": 2})},
            "Observation `h` says drift=(1.0, 1.0) and is remembered, where it would have no effect. Leave one of them",
        ),
    ],
)
def test_a_past_a_delay_or_a_drift_that_makes_no_sense_is_refused(table, words):
    with pytest.raises(SceneError) as error:
        seen.observations({"v": term(seen.joint_velocity), **table})
    assert str(error.value).startswith(words)


def test_a_past_that_was_not_built_is_refused():
    made = simulated({"v": term(seen.joint_velocity), "p": seen.compound({"v": 2})})
    with pytest.raises(SceneError, match=r"Observation `p` is the past of .* but its history was built for others"):
        made.constants.edit("observation.observe.p.of", "(('v', 3),)")


# -- before a reset --------------------------------------------------------------------------------------


def test_the_final_observation_is_clipped_scaled_and_held_within_the_limit_as_the_critics():
    values = terms(
        speed=(tensor([[1.0, -9.0], [2.0, -8.0]]), {"clip": 5.0, "scale": 2.0}),
        height=(tensor([[0.5], [0.7]]), {}),
    )
    final = FinalObservation.make(2, {"critic_observation": 3})
    observation_groups.observe_final(values, generator(), final, limit=6.0)
    assert_close(final.critic, tensor([[2.0, -6.0, 0.5], [4.0, -6.0, 0.7]]))  # 2·2;  −5·2 = −10 held at −6;  0.7


def test_the_final_observation_is_as_noisy_as_what_the_critic_learns_on():
    rows = 4000
    values = terms(a=(torch.zeros(rows, 1), {"noise": 0.25, "critic_noise": 0.5}), b=(torch.zeros(rows, 1), {}))
    final = FinalObservation.make(rows, {"critic_observation": 2})
    observation_groups.observe_final(values, generator(), final)
    assert 0.499 < float(final.critic[:, 0].max()) <= 0.5 and -0.5 <= float(final.critic[:, 0].min()) < -0.499
    assert not final.critic[:, 1].any()
    observation_groups.observe_final_under_curriculum(values, generator(), ObservationNoise(level=tensor(0.1)), final)
    assert 0.0499 < float(final.critic[:, 0].max()) <= 0.05
    observation_groups.observe_final(values, generator(), final, noisy=False)
    assert not final.critic.any()


def test_noise_and_limit_of_the_observation_are_those_of_the_final_one():
    bundle = seen.observations({"velocity": term(seen.joint_velocity, critic_noise=0.5)})
    changes = {"noisy": "False", "limit": "7.0", "velocity.critic_noise": "0.1"}
    apply_overrides([bundle], {f"observation.observe.{name}": text for name, text in changes.items()})
    (final,), (look, *_) = bundle.systems[RECORD], bundle.systems[OBSERVE]
    assert final.constants == look.constants == {"noisy": False, "limit": 7.0}
    assert final.terms["velocity"].settings == {"critic_noise": 0.1}


# -- bundle ----------------------------------------------------------------------------------------------


def test_history_systems_exist_only_where_a_term_asks_for_them():
    plain = seen.observations({"velocity": term(seen.joint_velocity)})
    assert set(plain.systems) == {RECORD, OBSERVE} and plain.components == [Observation, FinalObservation]
    bundle = seen.observations(
        {"velocity": term(seen.joint_velocity, history=4, groups=("actor",)), "c": term(seen.joint_position)}
    )
    assert [s.name for s in bundle.systems[OBSERVE]] == ["observe", "remember"]
    assert [s.name for s in bundle.systems[ACTUATE] + bundle.systems[RESET]] == ["extend_history", "reset_history"]
    assert list(bundle.axes["actor_history"].terms) == [f"velocity@{i}" for i in (1, 2, 3, 4)]
    assert list(bundle.axes["actor_observation"].terms) == ["velocity", "c", "actor_history"]
    assert list(bundle.axes["critic_observation"].terms) == ["c"]
    assert list(bundle.axes["remembered"].terms) == ["velocity"]


def test_a_history_stands_where_it_is_put():
    bundle = seen.observations(
        {
            "a": term(seen.joint_velocity, history=1),
            "past": term(seen.actor_history, groups=("actor",)),
            "z": term(seen.joint_position),
        }
    )
    assert list(bundle.axes["actor_observation"].terms) == ["a", "past", "z"]
    assert list(bundle.axes["critic_observation"].terms) == ["a", "z", "critic_history"]


@pytest.mark.parametrize(
    ("groups", "cure"),
    [
        ("actor", "give a tuple of 'actor', 'critic' and names of your own."),
        (("actor", "a b"), "give a tuple of 'actor', 'critic' and names of your own."),
        (("actor", "critc"), "write 'critic', or a name that is less like it than 'critc'."),
    ],
)
def test_what_is_no_name_of_a_group_is_refused(groups, cure):
    with pytest.raises(SceneError) as error:
        seen.observations({"velocity": term(seen.joint_velocity, groups=groups)})
    assert str(error.value) == f"Observation `velocity` says groups={groups!r}; {cure}"


def test_an_actor_that_sees_nothing_is_refused():
    with pytest.raises(SceneError) as error:
        seen.observations({"velocity": term(seen.joint_velocity, groups=("critic",))})
    assert str(error.value) == "No observation term is for the actor; give at least one with groups=('actor',)."


def test_a_critic_that_sees_nothing_is_refused_where_there_is_one():
    axes = {"actor_observation": ("a",), "critic_observation": (), "dof": ("b",)}
    with pytest.raises(BuildError) as error:
        make_policy(PpoConfig(hidden=(4,)), axes)
    assert str(error.value) == "No observation term is for the critic; give at least one with groups=('critic',)."
    assert make_policy(PpoConfig(hidden=(4,)), axes, critic=False).critic is None


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"groups": ("critic",), "noise": 0.1}, "Observation `v` says noise=0.1, which has no effect on what only the critic sees."),
        ({"groups": ("actor",), "critic_noise": 0.1}, "Observation `v` says critic_noise=0.1, which has no effect on what only the actor sees."),
        ({"history": -1}, "Observation `v` says history=-1; give a number of ticks from 0 up."),
        ({"nosie": 0.1}, "Term `v` of `observe` has no setting 'nosie', so nosie=0.1 has no effect."),
    ],
)  # fmt: skip
def test_a_setting_without_effect_is_refused(settings, text):
    both = {"v": term(seen.joint_velocity, **settings), "p": term(seen.joint_position)}
    with pytest.raises((SceneError, BuildError)) as error:
        seen.observations(both)
    assert str(error.value).startswith(text)


def test_noise_of_what_only_the_critic_sees_is_that_of_its_history():
    seen.observations({"v": term(seen.joint_velocity, noise=0.1, history=1, groups=("critic",)), "p": term(seen.joint_position)})  # fmt: skip


def test_a_noise_curriculum_without_noise_is_refused():
    with pytest.raises(SceneError, match="The curriculum of observation noise has no effect: no observation term has"):
        seen.observations({"v": term(seen.joint_velocity)}, curriculum=True)


def test_infinity_stays_out_of_a_clipped_column():
    observation = look(terms(a=(tensor([[math.inf]]), {"clip": 3.0}), b=(tensor([[1.0]]), {})), actor=2, critic=2)
    assert observation.actor.tolist() == [[3.0, 1.0]]


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_seen_as_zero_and_noticed_by_its_term(broken):
    values = terms(
        a=(tensor([[1.0, broken], [2.0, 3.0]]), {"scale": 2.0}),
        b=(tensor([[4.0], [5.0]]), {"groups": ("critic",)}),
        c=(tensor([[6.0], [broken]]), {"clip": 7.0}),
    )
    observation = look(values, rows=2, actor=3, critic=4)
    bound = 0.0 if math.isnan(broken) else math.copysign(7.0, broken)
    assert observation.actor.tolist() == [[2.0, 0.0, 6.0], [4.0, 6.0, bound]]
    assert observation.critic.tolist() == [[2.0, 0.0, 4.0, 6.0], [4.0, 6.0, 5.0, bound]]
    found = values.nonfinite(wait=True)
    assert [(name, row, count) for name, row, _, count in found] == [("a", 0, 1), ("c", 1, 1)]
    assert all(str(value) == str(broken) for _, _, value, _ in found)
    assert values.nonfinite(wait=True) == []
