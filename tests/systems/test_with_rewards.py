"""More rewards for any experiment: the same flags, more terms, and a sentence where it cannot be."""

import inspect
import math

import attrs
import pytest
import torch
from torch import Tensor

from components.control import Action
from components.episode import Earned, Reward
from engine import Experiment, Scene, SceneError, build, term
from engine.ecs.constants import addresses
from scenes import cartpole
from systems.rewards import with_rewards


def effort(action: Action) -> Tensor:
    """The square of the action."""
    return action.value.square().sum(-1)


def without_rewards(scene: Scene) -> Scene:
    scene.bundles = [bundle for bundle in scene.bundles if "reward" not in bundle.axes]
    return scene


def test_another_reward_is_weighted_and_added_behind_the_others():
    experiment = with_rewards(cartpole.experiment, effort=term(effort, weight=-2.0))
    simulation = build(experiment(num_envs=4).train())
    simulation.run(2)  # the first tick only resets; in the second the policy acts
    world = simulation.world
    assert world.tables["cart"].axes["reward"] == ("balanced", "effort")
    paid = -2.0 * 0.02 * world[Action].value[:, 0].square()
    torch.testing.assert_close(world[Reward].terms[:, 1], paid)
    torch.testing.assert_close(world[Reward].total, 1.0 + paid)  # `balanced` earns 1 a tick
    assert world[Earned].sums.shape == (4, 2)


def test_a_name_that_is_there_gets_the_other_term():
    experiment = with_rewards(cartpole.experiment, balanced=term(effort, weight=1.0))
    simulation = build(experiment(num_envs=2).train())
    simulation.run(2)
    assert simulation.world.tables["cart"].axes["reward"] == ("balanced",)
    torch.testing.assert_close(simulation.world[Reward].total, 0.02 * simulation.world[Action].value[:, 0].square())


def test_flags_and_description_stay_the_same():
    experiment = with_rewards(cartpole.experiment, effort=term(effort, weight=-2.0))
    assert inspect.signature(experiment) == inspect.signature(cartpole.experiment)
    assert inspect.getdoc(experiment) == inspect.getdoc(cartpole.experiment)


def test_the_evaluation_measures_as_before():
    made = with_rewards(cartpole.experiment, effort=term(effort, weight=-2.0))(num_envs=2)
    assert made.evaluate is not None
    assert build(made.evaluate.scene()).world.tables["cart"].axes["reward"] == ("balanced",)


def test_scenes_made_in_turn_share_no_term():
    made = with_rewards(cartpole.experiment, effort=term(effort, weight=-2.0))(num_envs=2)
    changed = build(made.train(), overrides={"task.reward.effort.weight": "5"})
    assert changed.scene.bundles is not made.train().bundles
    (place,) = addresses(made.train().bundles)["task.reward.effort.weight"]
    assert place.holder[place.key] == -2.0


def test_the_original_scene_is_left_alone():
    with_rewards(cartpole.experiment, effort=term(effort, weight=-2.0))(num_envs=2).train()
    simulation = build(cartpole.experiment(num_envs=2).train())
    assert simulation.world.tables["cart"].axes["reward"] == ("balanced",)


def test_terms_may_be_added_in_turn():
    once = with_rewards(cartpole.experiment, effort=term(effort, weight=-2.0))
    twice = with_rewards(once, waste=term(effort, std=math.sqrt(2.0)))
    assert build(twice(num_envs=2).train()).world.tables["cart"].axes["reward"] == ("balanced", "effort", "waste")


def test_a_scene_without_rewards_is_named():
    def bare() -> Experiment:
        made = cartpole.experiment(num_envs=2)
        return attrs.evolve(made, train=lambda: without_rewards(made.train()))

    with pytest.raises(SceneError) as caught:
        with_rewards(bare, effort=term(effort))().train()
    assert str(caught.value) == "The scene 'cartpole' has no system `reward` to add effort to."


def test_a_penalty_without_a_curriculum_is_refused():
    with pytest.raises(SceneError) as caught:
        with_rewards(cartpole.experiment, effort=term(effort, weight=-1.0, penalty=True))().train()
    assert str(caught.value) == (
        "Reward `effort` says penalty=True, but the scene 'cartpole' has no penalty curriculum; leave it out."
    )
