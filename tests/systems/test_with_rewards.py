"""More rewards for any scene function: the same flags, more terms, and a sentence where it cannot be."""

import inspect
import math

import pytest
import torch
from torch import Tensor

from components.control import Action
from components.episode import Episode, Reward
from engine import Scene, SceneError, build, term
from engine.runner.flags import scene_flags
from scenes import cartpole
from systems.rewards import with_rewards


def effort(action: Action) -> Tensor:
    """The square of the action."""
    return action.value.square().sum(-1)


def test_another_reward_is_weighted_and_added_behind_the_others():
    scene = with_rewards(cartpole.scene, effort=term(effort, weight=-2.0))
    simulation = build(scene(num_envs=4))
    simulation.run(2)  # the first tick only resets; in the second the policy acts
    world = simulation.world
    assert world.tables["cart"].axes["reward"] == ("balanced", "effort")
    paid = -2.0 * 0.02 * world[Action].value[:, 0].square()
    torch.testing.assert_close(world[Reward].terms[:, 1], paid)
    torch.testing.assert_close(world[Reward].total, 1.0 + paid)  # `balanced` earns 1 a tick
    assert world[Episode].reward_sums.shape == (4, 2)


def test_a_name_that_is_there_gets_the_other_term():
    scene = with_rewards(cartpole.scene, balanced=term(effort, weight=1.0))
    simulation = build(scene(num_envs=2))
    simulation.run(2)
    assert simulation.world.tables["cart"].axes["reward"] == ("balanced",)
    torch.testing.assert_close(simulation.world[Reward].total, 0.02 * simulation.world[Action].value[:, 0].square())


def test_flags_and_description_stay_the_same():
    scene = with_rewards(cartpole.scene, effort=term(effort, weight=-2.0))
    assert scene_flags(scene, "mine.py") == scene_flags(cartpole.scene, "cartpole.py")
    assert inspect.getdoc(scene) == inspect.getdoc(cartpole.scene)


def test_the_original_scene_is_left_alone():
    with_rewards(cartpole.scene, effort=term(effort, weight=-2.0))(num_envs=2)
    simulation = build(cartpole.scene(num_envs=2))
    assert simulation.world.tables["cart"].axes["reward"] == ("balanced",)


def test_terms_may_be_added_in_turn():
    once = with_rewards(cartpole.scene, effort=term(effort, weight=-2.0))
    twice = with_rewards(once, waste=term(effort, std=math.sqrt(2.0)))
    assert build(twice(num_envs=2)).world.tables["cart"].axes["reward"] == ("balanced", "effort", "waste")


def test_a_scene_without_rewards_is_named():
    def bare() -> Scene:
        made = cartpole.scene(num_envs=2)
        made.bundles = [b for b in made.bundles if "reward" not in b.axes]
        return made

    with pytest.raises(SceneError) as caught:
        with_rewards(bare, effort=term(effort))()
    assert str(caught.value) == "The scene 'cartpole' has no system `reward` to add effort to."


def test_a_penalty_without_a_curriculum_is_refused():
    with pytest.raises(SceneError) as caught:
        with_rewards(cartpole.scene, effort=term(effort, weight=-1.0, penalty=True))()
    assert str(caught.value) == (
        "Reward `effort` says penalty=True, but the scene 'cartpole' has no penalty curriculum; leave it out."
    )
