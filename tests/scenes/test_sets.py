"""Observations, rewards and terminations chosen and combined by name, and terms of weight 0."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from components.episode import PenaltyScale, Reward, SoftLimits
from components.learning import Rollout, RolloutHeads
from components.motion import DofFar, MotionLibrary
from components.observation import Observation
from components.robot import DofState
from engine import Experiment, SceneError, build, term
from engine.ecs.constants import addresses
from engine.snapshot.snapshot import restore, save
from engine.tools.audit import Audit
from scenes.motion_tracking import CONFIGS, experiment
from scenes.tasks import Config
from scenes.tasks.tracking_sets import REWARDS, check_tables, named_tables
from systems import observations, rewards, terminations
from systems.task import task
from tests.helpers import tracking, tracking_scene

SMALL: dict[str, Any] = {
    "robot": "humanoid", "clip": "stand", "num_envs": 3, "hidden": (8,), "horizon": 6, "physics_threads": 1
}  # fmt: skip


def laptop(**numbers: Any) -> Config:
    return CONFIGS["laptop"].replace(**numbers)


def test_sets_and_terms_are_joined_and_taken_away_by_the_words_of_randomise() -> None:
    given = laptop(
        rewards="mjlab_tracking,-action_rate,humanoidverse_basic.penalty_torques",
        observations="mjlab_tracking,humanoidverse_deepmimic.projected_gravity",
        terminations="mjlab_tracking,terminate_by_gravity",
    )
    tables = named_tables(given, seconds=10.0)
    names = [*REWARDS["mjlab_tracking"](), "penalty_torques"]
    assert list(tables.rewards) == [name for name in names if name != "action_rate"]
    assert tables.rewards["penalty_torques"].settings["weight"] == -1e-6
    assert list(tables.observations)[-1] == "projected_gravity"
    assert tables.terminations["terminate_by_gravity"].constants == {"x": 0.8, "y": 0.8}


@pytest.mark.parametrize(
    ("flag", "text", "words"),
    [
        ("rewards", "mjlab", "rewards=mjlab: there is no set or term 'mjlab'; sets are mjlab_tracking, beyondmimic,"),
        ("rewards", "none", "rewards=none leaves nothing; choose a set, such as --rewards mjlab_tracking."),
        ("rewards", "mjlab_tracking,-alive", "rewards=mjlab_tracking,-alive: '-alive' takes away what is not there;"),
        (
            "rewards",
            "humanoidverse,humanoidverse_basic",
            "rewards=humanoidverse,humanoidverse_basic: humanoidverse and humanoidverse_basic both say "
            "`teleop_vr_3point`, and differently. Choose the second: --rewards "
            "humanoidverse,-teleop_vr_3point,humanoidverse_basic.",
        ),
        ("rewards", "action_rate", "rewards=action_rate: 'action_rate' differs from set to set; write"),
        ("observations", "hand", "observations=hand: there is no set or term 'hand'; sets are mjlab_tracking,"),
        ("terminations", "", "terminations=: there is no set or term '';"),
        ("terminations", "none", "terminations=none leaves nothing; choose a set, such as --terminations mjlab"),
    ],
)
def test_what_means_nothing_or_two_things_is_refused(flag: str, text: str, words: str) -> None:
    with pytest.raises(SceneError) as error:
        tracking(**{flag: text})
    assert str(error.value).startswith(words)


def test_the_cure_of_two_sets_that_differ_can_be_typed() -> None:
    text, found = "mjlab_tracking,low_rate", ""
    with pytest.raises(SceneError) as error:
        check_tables(laptop(rewards=text))
    found = str(error.value).rpartition("--rewards ")[2].rstrip(".")
    assert named_tables(laptop(rewards=found), seconds=1.0).rewards["action_rate"].settings["weight"] == -0.05


def test_terms_bring_what_they_read() -> None:
    """The G1's task with terms that read a penalty curriculum, soft limits, feet that touch: none of it is there otherwise."""
    plain = build(tracking_scene(**SMALL))
    assert PenaltyScale not in plain.world.resources and SoftLimits not in plain.world.resources
    both = "mjlab_tracking,humanoidverse.penalty_slippage,limits_dof_pos"
    mixed = build(tracking_scene(**SMALL, rewards=both))
    mixed.run(3)
    assert float(mixed.world[PenaltyScale].value) == pytest.approx(0.1)
    known = addresses(mixed.scene.bundles)
    assert "curricula.adapt_limits.degree" in known and "curricula.adapt_motion_far.degree" not in known
    labels = mixed.world.tables["robot"].axes["reward"]
    assert labels[-2:] == ("penalty_slippage", "limits_dof_pos")
    assert bool(mixed.world[Reward].terms.isfinite().all())


def test_a_task_can_be_rewarded_and_ended_by_the_sets_of_another() -> None:
    given = {
        "rewards": "mjlab_tracking",
        "terminations": "mjlab_tracking",
        "observations": "humanoidverse_deepmimic_a2c",
    }
    made = build(tracking_scene("humanoidverse_tracking", **{**SMALL, **given, "self_collision": False}))
    made.run(3)
    assert made.world.tables["robot"].axes["termination"][0] == "anchor_height"
    assert PenaltyScale not in made.world.resources  # nothing hardens where no term is a penalty


def test_every_extra_term_runs() -> None:
    joined = dict.fromkeys(("rewards", "observations", "terminations"), "humanoidverse,extra")
    made = build(tracking_scene("humanoidverse_tracking", **{**SMALL, **joined}))
    made.run(4)
    world, axes = made.world, made.world.tables["robot"].axes
    assert axes["reward"][-1] == "penalty_minimal_action_norm" and axes["termination"][-1] == "terminate_when_dof_far"
    assert any(label.startswith("vr_3point_pos") for label in axes["actor_observation"])
    assert "terminate_by_contact" in axes["termination"] and float(world[DofFar].threshold) == 3.0
    assert bool(world[Reward].terms.isfinite().all()) and bool(world[Observation].critic.isfinite().all())


def test_a_critic_with_a_head_for_each_reward_learns_resumes_and_is_evaluated() -> None:
    numbers = {**SMALL, "value_heads": True, "rewards": "humanoidverse", "self_collision": False}
    made = experiment(CONFIGS["humanoidverse_tracking"].replace(**numbers))
    simulation = build(made.train())
    audit = Audit(simulation.schedule)
    simulation.run(9)
    kept = save(simulation.world)
    simulation.run(9)
    world = simulation.world
    terms = world.tables["robot"].axes["reward"]
    assert world[RolloutHeads].value.shape[-1] == len(terms) and audit.findings == []
    paid = world[RolloutHeads].reward[:, :, terms.index("termination")]
    assert bool((paid[world[Rollout].terminated] < 0.0).all()) and bool((paid[~world[Rollout].terminated] == 0.0).all())
    assert_close(world[RolloutHeads].reward.sum(-1), world[Rollout].reward)
    again = build(experiment(CONFIGS["humanoidverse_tracking"].replace(**numbers)).train())
    restore(again.world, kept)
    again.run(9)
    assert save(again.world) == save(world)
    assert made.evaluate is not None
    restore(build(made.evaluate.scene()).world, kept, only=made.evaluate.restores)


def test_heads_of_a_critic_are_refused_where_rewards_are_more_than_their_terms() -> None:
    def more(*config: Any) -> Experiment:
        return experiment(CONFIGS["laptop"].replace(**SMALL, value_heads=True))

    with pytest.raises(SceneError, match=r"Reward `alive` needs a head of the critic.*Leave value_heads out"):
        rewards.with_rewards(more, alive=term(rewards.alive, weight=1.0))().train()
    scene = more().train()
    for address, value in (("tracking.reward.only_positive", "true"),):
        with pytest.raises(SceneError, match=r"value_heads=True judges each reward term by itself, but `reward` cuts"):
            build(scene, overrides={address: value})


def test_clips_that_say_which_feet_bear_load_are_rewarded_for_it_and_others_refused(tmp_path: Path) -> None:
    frames = {"dof_pos": np.zeros((30, 19)), "root_pos": np.tile([0.0, 0.0, 0.9], (30, 1)), "fps": 50.0}
    mask, clips = np.tile([[1.0, 0.0]], (30, 1)), {}
    for name, beside in (("masked", {"contact_mask": mask}), ("plain", {}), ("wide", {"contact_mask": mask[:, :1]})):
        pickled = {**frames, "root_rot": np.tile([0.0, 0.0, 0.0, 1.0], (30, 1)), **beside}
        clips[name] = tmp_path / f"{name}.pkl"
        clips[name].write_bytes(pickle.dumps({name: pickled}))
    asked = {**SMALL, "rewards": "mjlab_tracking,teleop_contact_mask"}
    made = build(tracking_scene(**{**asked, "clip": str(clips["masked"])}))
    assert made.world[MotionLibrary].contacts.tolist() == mask.tolist()
    made.run(2)
    assert made.world.tables["robot"].axes["reward"][-1] == "teleop_contact_mask"
    for name in ("plain", "wide"):
        both = f"{clips['masked']},{clips[name]}"
        with pytest.raises(SceneError, match=rf"for another number of feet: {name}\. Leave.*-teleop_contact_mask"):
            tracking_scene(**{**asked, "clip": both})


def test_a_rate_makes_control_steps_longer_and_clips_coarser() -> None:
    made = tracking_scene(**SMALL, rate=25.0, substeps=6)
    known = addresses(made.bundles)
    for address in ("tracking.reward.dt", "tracking.draw_motion.dt", "tracking.advance_motion.dt"):
        place = known[address][0]
        assert place.holder[place.key] == 0.04
    with pytest.raises(SceneError, match=r"rate=0 makes no sense; give from 1 to 1000 control steps in one second."):
        laptop(rate=0.0)


# -- weight 0 ------------------------------------------------------------------------------------------

computed: list[str] = []


def counted(dofs: DofState) -> Tensor:
    computed.append("counted")
    return dofs.position.sum(-1)


def weighed(**weights: float) -> Any:
    """A task of observations, rewards with these weights and ends, alone."""
    return task(
        observations={"speed": term(observations.joint_velocity)},
        rewards={name: term(counted, weight=weight) for name, weight in weights.items()},
        terminations={"over": term(terminations.time_limit, kind="time_limit")},
    )


def test_a_term_of_weight_0_is_no_part_of_the_scene() -> None:
    bundle = weighed(a=1.0, b=0.0)
    earned = next(s for some in bundle.systems.values() for s in some if s.name == "reward")
    assert list(earned.terms) == ["a"] and bundle.axes["reward"]([]) == ("a",)


def test_a_term_whose_weight_is_set_to_0_is_not_computed_and_keeps_its_column() -> None:
    scene = tracking_scene(**SMALL)
    scene = rewards.add_rewards(lambda: scene, {"counted": term(counted, weight=2.0)})
    made = build(scene, overrides={"tracking.reward.counted.weight": "0"})
    computed.clear()
    made.run(3)
    assert computed == []
    labels = made.world.tables["robot"].axes["reward"]
    assert labels[-1] == "counted" and not bool(made.world[Reward].terms[:, -1].any())
    with pytest.raises(SceneError, match=r"Reward `counted` says weight=1, but was built with 0 and is not computed."):
        made.constants.edit("tracking.reward.counted.weight", "1.0")


def test_a_term_that_has_a_weight_is_computed_once_in_a_tick() -> None:
    scene = tracking_scene(**SMALL)
    made = build(rewards.add_rewards(lambda: scene, {"counted": term(counted, weight=2.0)}))
    made.run(1)
    computed.clear()
    made.run(3)
    assert computed == ["counted"] * 3
    assert torch.equal(made.world[Reward].terms[:, -1] != 0.0, torch.ones(3, dtype=torch.bool))
