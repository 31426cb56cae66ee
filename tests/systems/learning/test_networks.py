"""The networks, their normaliser, and the policy's saved state."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from components.learning import Policy
from engine.errors import BuildError, SnapshotError
from systems.learning.config import PpoConfig
from systems.learning.networks import MARGIN, Mlp, Normaliser, make_policy, share_storage


def policy_of(actor: int, critic: int, dofs: int, seed: int = 0, **numbers: Any) -> Policy:
    """A policy of these widths."""
    widths = {"actor_observation": actor, "critic_observation": critic, "dof": dofs}
    axes = {name: [f"{name}[{i}]" for i in range(width)] for name, width in widths.items()}
    return make_policy(PpoConfig(**numbers), axes, seed)


def small_policy(seed: int = 0) -> Policy:
    return policy_of(5, 7, 2, hidden=(8, 6), seed=seed)


def test_normaliser_starts_as_identity_but_for_the_margin():
    assert_close(Normaliser(2)(torch.tensor([[1.01, -2.02]])), torch.tensor([[1.0, -2.0]]))


def test_normaliser_shifts_and_scales_by_what_it_saw():
    normaliser = Normaliser(1)
    normaliser.update(torch.tensor([[1.0], [5.0]]))  # mean 3, variance 4
    assert_close(normaliser.mean, torch.tensor([3.0]))
    assert_close(normaliser.variance, torch.tensor([4.0]))
    assert_close(normaliser(torch.tensor([[7.02]])), torch.tensor([[2.0]]))  # (7.02 − 3) / (2 + 0.01)


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_moments_of_batches_are_the_moments_of_everything(sizes, seed):
    draw = np.random.default_rng(seed)
    batches = [draw.normal(3.0, 2.0, (size, 4)).astype(np.float32) for size in sizes]
    normaliser = Normaliser(4)
    for batch in batches:
        normaliser.update(torch.from_numpy(batch))
    everything = np.concatenate(batches).astype(np.float64)
    assert_close(normaliser.mean.double().numpy(), everything.mean(0), rtol=1e-4, atol=1e-4)
    assert_close(normaliser.variance.double().numpy(), everything.var(0), rtol=1e-4, atol=1e-4)
    assert int(normaliser.count) == sum(sizes)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_normaliser_leaves_out_a_batch_that_is_not_finite(bad):
    normaliser = Normaliser(2)
    normaliser.update(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    before = {name: value.clone() for name, value in normaliser.state_dict().items()}
    normaliser.update(torch.tensor([[1.0, bad], [0.0, 0.0]]))
    for name, value in normaliser.state_dict().items():
        assert torch.equal(value, before[name])


def test_an_input_that_never_moves_is_not_blown_up():
    normaliser = Normaliser(1)
    normaliser.update(torch.full((10, 1), 5.0))
    assert_close(normaliser(torch.tensor([[5.0 + MARGIN]])), torch.tensor([[1.0]]), rtol=1e-3, atol=0.0)


@pytest.mark.parametrize("hidden", [(), (4,), (8, 6, 5)])
def test_layers_are_linear_with_elu_between_them_and_none_after_the_last(hidden):
    torch.manual_seed(0)
    mlp, inputs = Mlp(3, hidden, 2), torch.randn(11, 3)
    expected = inputs.double().numpy()
    for index, layer in enumerate(mlp.layers):
        expected = expected if index == 0 else np.where(expected > 0, expected, np.expm1(np.minimum(expected, 0)))
        expected = expected @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()
    assert_close(mlp(inputs).detach().double().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_shared_storage_moves_every_parameter_and_gradient():
    first, second = Mlp(2, (3,), 1), Mlp(1, (), 1)
    shared, gradient = share_storage([*first.parameters(), *second.parameters()])
    assert shared.numel() == 2 * 3 + 3 + 3 + 1 + 1 + 1
    shared.data.fill_(7.0)
    gradient.fill_(3.0)
    for parameter in [*first.parameters(), *second.parameters()]:
        assert bool((parameter == 7.0).all()) and bool((parameter.grad == 3.0).all())


def test_equal_seeds_give_equal_weights_and_others_do_not():
    torch.manual_seed(1)
    one = small_policy(3)
    torch.manual_seed(2)  # the global generator plays no part
    assert torch.equal(one.parameters, small_policy(3).parameters)
    assert not torch.equal(one.parameters, small_policy(4).parameters)


def test_weights_lie_within_one_over_the_root_of_the_inputs():
    policy = policy_of(100, 4, 2, hidden=(64,))
    first = policy.actor.body.layers[0]
    assert 0.095 < float(first.weight.detach().max()) <= 0.1  # 1 / √100
    assert policy.actor.log_std.tolist() == [0.0, 0.0]


def moved(policy: Policy) -> Policy:
    """A policy whose every saved tensor differs from a new one's."""
    policy.gradient.fill_(0.5)
    policy.optimiser.step(torch.zeros(()))
    policy.learning_rate.fill_(0.123)
    policy.actor.normaliser.update(torch.randn(9, 5))
    policy.critic.normaliser.update(torch.randn(9, 7))
    return policy


def test_load_restores_every_bit_into_the_storage_that_exists():
    trained, other = moved(small_policy(1)), small_policy(2)
    places = [tensor.data_ptr() for tensor in other._tensors().values()]
    other.load(trained.state())
    assert [tensor.data_ptr() for tensor in other._tensors().values()] == places
    for policy in (trained, other):
        policy.gradient.fill_(-0.25)
        policy.optimiser.step(torch.zeros(()))
    for name, tensor in trained.state().items():
        assert torch.equal(tensor, other.state()[name]), name


def test_state_is_a_copy():
    policy = small_policy()
    saved = policy.state()
    kept = saved["actor.body.layers.0.weight"].clone()
    moved(policy)
    assert torch.equal(saved["actor.body.layers.0.weight"], kept)


def test_load_of_other_layers_is_refused_before_anything_changes():
    policy, other = small_policy(), policy_of(5, 9, 2, hidden=(8, 6))
    before = policy.state()
    with pytest.raises(
        SnapshotError, match=r"Policy: 'critic\.normaliser\.mean' is \(7,\) here but \(9,\) in the saved policy"
    ):
        policy.load(other.state())
    with pytest.raises(SnapshotError, match=r"'actor\.body\.layers\.2\.weight' is missing from the saved policy"):
        policy.load(policy_of(5, 7, 2, hidden=(8,)).state())
    for name, tensor in policy.state().items():
        assert torch.equal(tensor, before[name])


def test_a_copy_of_the_actor_says_the_same_and_shares_nothing():
    policy = moved(small_policy())
    actor = copy.deepcopy(policy.actor)
    observation = torch.randn(4, 5)
    expected = policy.actor(observation)
    assert torch.equal(actor(observation), expected)
    policy.parameters.data.zero_()
    assert torch.equal(actor(observation), expected)


def test_empty_layers_and_impossible_numbers_are_refused():
    with pytest.raises(BuildError, match="has an empty layer; every size must be at least 1"):
        policy_of(5, 7, 0)
    with pytest.raises(
        BuildError, match=r"init_std=0\.0, learning_rate=0\.001 and critic_learning_rate=None; each must be above 0"
    ):
        policy_of(5, 7, 2, init_std=0.0)


def test_a_policy_without_normalisation_feeds_its_layers_observations_as_they_are():
    policy = policy_of(5, 7, 2, hidden=(8, 6), seed=3, normalise=False)
    actor, critic = torch.randn(4, 5), torch.randn(4, 7)
    before = actor.clone()
    policy.actor.normaliser.update(100.0 * actor)
    assert torch.equal(policy.actor(actor), policy.actor.body(before))
    assert torch.equal(policy.critic(critic), policy.critic.body(critic).squeeze(-1))
    assert torch.equal(actor, before)
    assert not any("normaliser" in name for name in policy.state())
    assert torch.equal(copy.deepcopy(policy.actor)(actor), policy.actor(actor))
    with pytest.raises(SnapshotError, match="hidden layers and the normalisation that it was trained with"):
        policy.load(small_policy(3).state())
