"""Tests of the natural gradient: against matrices that numpy inverts, and what an update may change."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from components.learning import Policy
from components.world_model import MeanGradient
from systems.learning.config import PpoConfig
from systems.learning.natural import divergence, natural_step, solve, take_natural_step
from systems.learning.networks import make_policy

AXES = {"actor_observation": tuple("abcde"), "critic_observation": (), "dof": ("hip", "knee")}


def a_policy() -> Policy:
    policy = make_policy(PpoConfig(hidden=(8,)), AXES, 3, critic=False)
    with torch.no_grad():
        for parameter in policy.actor.body.layers[-1].parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(1))
    return policy


def no_mean(policy: Policy) -> MeanGradient:
    return MeanGradient(gradient=torch.zeros_like(policy.gradient))


@settings(deadline=None, max_examples=30)
@given(size=st.integers(1, 8), seed=st.integers(0, 2**16))
def test_conjugate_gradients_solve_what_numpy_solves(size: int, seed: int):
    drawn = np.random.default_rng(seed)
    root = drawn.normal(size=(size, size))
    matrix, wanted = root @ root.T + 0.5 * np.eye(size), drawn.normal(size=size)
    found = solve(lambda x: torch.from_numpy(matrix) @ x, torch.from_numpy(wanted), 3 * size)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, wanted), rtol=1e-6, atol=1e-8)


def test_nothing_wanted_is_solved_by_nothing():
    assert torch.equal(solve(lambda x: 2.0 * x, torch.zeros(3), 5), torch.zeros(3))


@pytest.mark.parametrize("damping", [0.1, 10.0])
def test_a_natural_step_goes_along_the_inverse_fisher_information_as_far_as_the_divergence(damping: float):
    drawn = np.random.default_rng(4)
    rows, weights, gradient = drawn.normal(size=(20, 3)), drawn.normal(size=(2, 3)), drawn.normal(size=6)
    deviation, kl = 0.3, 0.02
    layer = nn.Parameter(torch.from_numpy(weights))
    with torch.enable_grad():
        step = natural_step(
            torch.from_numpy(rows) @ layer.t(),
            [layer],
            torch.from_numpy(gradient),
            deviation=deviation,
            kl=kl,
            damping=damping,
            solves=20,
        )
    fisher = np.zeros((6, 6))  # means are W x, so each action has its own block, the mean of x xᵀ
    for row in rows:
        for action in range(2):
            here = slice(3 * action, 3 * action + 3)
            fisher[here, here] += np.outer(row, row) / deviation**2 / len(rows)
    direction = -np.linalg.solve(fisher + damping * np.eye(6), gradient)
    wanted = direction * math.sqrt(2 * kl / (direction @ fisher @ direction))
    np.testing.assert_allclose(step, wanted, rtol=1e-6)
    moved = rows @ step.numpy().reshape(2, 3).T
    assert 0.5 * np.mean(np.sum((moved / deviation) ** 2, 1)) == pytest.approx(kl)


def test_an_update_changes_actions_by_no_more_than_the_divergence_even_where_the_quadratic_form_falls_short():
    policy, seen = a_policy(), torch.randn(64, 5, generator=torch.Generator().manual_seed(2))
    gradient = torch.randn(policy.gradient.shape, generator=torch.Generator().manual_seed(5))
    for kl, least in ((0.001, 0.0005), (0.1, 0.05), (30.0, 0.1)):
        before = policy.actor(seen)
        made, sound = take_natural_step(
            policy, no_mean(policy), gradient, seen, momentum=0.5, deviation=0.1, kl=kl, damping=1.0, solves=10
        )
        assert sound == 1
        assert least < divergence(before, policy.actor(seen), 0.1) <= 1.3 * kl
        assert made <= kl


def test_an_update_goes_down_the_gradient():
    policy, seen = a_policy(), torch.randn(64, 5, generator=torch.Generator().manual_seed(2))
    wanted = torch.randn(64, 2, generator=torch.Generator().manual_seed(6))

    def loss() -> torch.Tensor:
        return (policy.actor(seen) - wanted).square().sum(1).mean()

    first, mean = loss(), no_mean(policy)
    for _ in range(30):
        with torch.enable_grad():
            pieces = torch.autograd.grad(
                loss(), list(policy.actor.parameters()), allow_unused=True, materialize_grads=True
            )
        gradient = torch.cat([piece.flatten() for piece in pieces])
        take_natural_step(policy, mean, gradient, seen, momentum=0.0, deviation=1.0, kl=0.02, damping=1e-3, solves=10)
    assert loss() < 0.6 * first


def test_an_update_follows_the_mean_of_the_gradients_so_far():
    first, second = (torch.randn(a_policy().gradient.shape, generator=torch.Generator().manual_seed(s)) for s in (5, 6))
    seen = torch.randn(64, 5, generator=torch.Generator().manual_seed(2))
    numbers = {"deviation": 0.1, "kl": 0.001, "damping": 1.0, "solves": 10}
    policy, mean = a_policy(), no_mean(a_policy())
    take_natural_step(policy, mean, first, seen, momentum=0.25, **numbers)
    np.testing.assert_allclose(mean.gradient, 0.75 * first, rtol=1e-6)
    alike = a_policy()
    alike.parameters.data.copy_(policy.parameters)
    take_natural_step(policy, mean, second, seen, momentum=0.25, **numbers)
    blend = 0.25 * 0.75 * first + 0.75 * second
    np.testing.assert_allclose(mean.gradient, blend, rtol=1e-5, atol=1e-6)
    take_natural_step(alike, no_mean(alike), blend, seen, momentum=0.0, **numbers)
    np.testing.assert_allclose(policy.parameters.detach(), alike.parameters.detach(), atol=1e-6)


def test_a_gradient_that_is_not_finite_changes_nothing():
    policy, gradient = a_policy(), torch.ones_like(a_policy().gradient)
    mean, before = MeanGradient(gradient=gradient.clone()), policy.parameters.clone()
    gradient[3] = math.nan
    made, sound = take_natural_step(
        policy, mean, gradient, torch.ones(4, 5), momentum=0.5, deviation=0.1, kl=0.1, damping=1.0, solves=5
    )
    assert (made, sound) == (0, 0)
    assert torch.equal(policy.parameters, before) and torch.equal(mean.gradient, torch.ones_like(gradient))


def test_a_gradient_of_zero_changes_nothing():
    policy = a_policy()
    before = policy.parameters.clone()
    made, sound = take_natural_step(
        policy, no_mean(policy), torch.zeros_like(policy.gradient), torch.ones(4, 5),
        momentum=0.5, deviation=0.1, kl=0.1, damping=1.0, solves=5,
    )  # fmt: skip
    assert (made, sound) == (0, 1)
    assert torch.equal(policy.parameters, before)
