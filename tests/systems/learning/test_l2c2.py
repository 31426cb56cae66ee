"""L2C2: what is asked of a network on the way from one observation to the next, against a loop over samples."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from components.control import Action
from components.learning import LearningMetrics, Policy, Rollout, RolloutHeads
from components.observation import Observation
from engine import Clock, build
from engine.errors import SceneError
from engine.ranks.blocks import Blocks
from engine.ranks.draws import BlockDraws
from engine.snapshot.snapshot import restore, save
from systems.learning.config import PpoConfig
from systems.learning.l2c2 import draw_places
from systems.learning.networks import make_policy
from systems.ppo import act, estimate_advantage, estimate_advantage_by_head, improve_policy, improve_policy_by_head
from tests.systems.learning.test_networks import policy_of
from tests.systems.test_ppo import AXES, ROWS, STEPS, grant_wishes, seen, stream

SMOOTH = {"l2c2_actor": 0.3, "l2c2_critic": 0.7}


def moved_policy() -> Policy:
    """An untrained policy asks for next to nothing; this one does not."""
    policy = policy_of(3, 5, 2, hidden=(8, 8), seed=7)
    policy.parameters.data.add_(0.3 * torch.randn(policy.parameters.shape, generator=stream(11)))
    return policy


def rolled_out(policy: Policy) -> Rollout:
    """Random experience in which row 1 fails at step 1 and row 2 is cut off at step 3, the last."""
    rollout, rng = Rollout.make(ROWS, AXES), stream()
    with torch.no_grad():
        for tick in range(1, STEPS + 1):
            act(seen(10 * tick), Clock(tick=tick), rng, policy, Blocks(), Action.make(ROWS, AXES), rollout)
        rollout.reward.copy_(torch.randn(ROWS, STEPS, generator=rng))
        rollout.terminated[1, 1] = rollout.truncated[2, 3] = True
        estimate_advantage(seen(99), policy, Blocks(), rollout, **PpoConfig().of(estimate_advantage))
    return rollout


def gradient_of(rollout: Rollout, policy: Policy, **given: Any) -> Tensor:
    """The gradient of one update of all samples at once, not clipped."""
    whole = {**PpoConfig().of(improve_policy), "epochs": 1, "minibatches": 1, "max_grad_norm": math.inf, **given}
    with torch.no_grad():
        improve_policy(seen(99), stream(3), rollout, Blocks(), policy, LearningMetrics.zeros(), **whole)
    return policy.gradient.clone()


def places(rollout: Rollout) -> np.ndarray:
    """What the only epoch draws: an order first, then a number for each row and step."""
    rng = stream(3)
    torch.randperm(ROWS * STEPS, generator=rng)
    return torch.rand((ROWS, STEPS), generator=rng).numpy()


@pytest.mark.parametrize("given", [SMOOTH, {"l2c2_actor": 0.5}, {"l2c2_critic": 2.0}])
def test_what_is_added_to_the_gradient_is_that_of_a_loop_over_samples(given: dict[str, float]):
    policy, plain, fresh = moved_policy(), moved_policy(), moved_policy()
    rollout, now = rolled_out(policy), seen(99)
    added = gradient_of(rollout, policy, **given) - gradient_of(rolled_out(plain), plain)

    u, total, counted = places(rollout), torch.zeros(()), 0
    for row in range(ROWS):
        for step in range(STEPS):
            if (row, step) in ((1, 1), (2, 3)):
                continue
            counted += 1
            for name, weight in (("actor", given.get("l2c2_actor", 0.0)), ("critic", given.get("l2c2_critic", 0.0))):
                here = getattr(rollout, name)[row, step]
                there = getattr(now, name)[row] if step == STEPS - 1 else getattr(rollout, name)[row, step + 1]
                network = getattr(fresh, name)
                between = here + float(u[row, step]) * (there - here)
                total = total + weight * (network(here) - network(between)).square().sum() / (ROWS * STEPS)
    assert counted == ROWS * STEPS - 2
    parameters = [*fresh.actor.parameters(), *fresh.critic.parameters()]
    expected = torch.autograd.grad(total, parameters, allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(added, torch.cat([each.flatten() for each in expected]), rtol=1e-3, atol=1e-6)
    assert float(added.abs().max()) > 0.01


def test_of_several_heads_the_mean_counts():
    axes = {**AXES, "reward": 2}
    named = {name: [str(i) for i in range(count)] for name, count in axes.items()}
    gradients = []
    for weight in (0.0, 2.0):
        policy = make_policy(PpoConfig(hidden=(8, 8), value_heads=True), named, 7)
        rollout, heads = rolled_out(policy_of(3, 5, 2, hidden=(8, 8), seed=7)), RolloutHeads.make(ROWS, axes)
        whole = {**PpoConfig().of(improve_policy), "epochs": 1, "minibatches": 1, "max_grad_norm": math.inf}
        with torch.no_grad():
            estimate = PpoConfig().of(estimate_advantage)
            estimate_advantage_by_head(seen(99), policy, Blocks(), heads, rollout, **estimate)
            improve_policy_by_head(
                seen(99),
                stream(3),
                rollout,
                heads,
                Blocks(),
                policy,
                LearningMetrics.zeros(),
                **{**whole, "l2c2_critic": weight},
            )
        gradients.append(policy.gradient.clone())
    fresh, u = make_policy(PpoConfig(hidden=(8, 8), value_heads=True), named, 7), torch.from_numpy(places(rollout))
    u = u.masked_fill(rollout.terminated | rollout.truncated, 0.0).unsqueeze(-1)
    after = torch.cat((rollout.critic[:, 1:], seen(99).critic.unsqueeze(1)), 1)
    changed = fresh.critic.heads(rollout.critic) - fresh.critic.heads(rollout.critic + u * (after - rollout.critic))
    loss = 2.0 * changed.square().sum(-1).mean() / 2.0  # of two heads
    expected = torch.autograd.grad(loss, [*fresh.critic.parameters()])
    added = (gradients[1] - gradients[0])[-sum(p.numel() for p in fresh.critic.parameters()) :]
    torch.testing.assert_close(added, torch.cat([each.flatten() for each in expected]), rtol=1e-3, atol=1e-6)


def test_without_it_nothing_is_drawn_and_with_it_every_epoch_draws_anew(monkeypatch: pytest.MonkeyPatch):
    drawn: list[Tensor] = []

    def watched(*given: Any) -> Tensor:
        drawn.append(draw_places(*given))
        return drawn[-1]

    monkeypatch.setattr("systems.ppo.draw_places", watched)
    for given in ({}, SMOOTH):
        policy = policy_of(3, 5, 2, hidden=(8, 8), seed=7)
        gradient_of(rolled_out(policy), policy, epochs=3, **given)
        assert len(drawn) == (3 if given else 0)
    assert not torch.equal(drawn[0], drawn[1])
    assert all(float(each.max()) < 1.0 and float(each.view(ROWS, STEPS)[1, 1]) == 0.0 for each in drawn)


def test_an_update_is_the_same_with_one_thread_and_with_several():
    before, states = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            policy = policy_of(3, 5, 2, hidden=(8, 8), seed=7)
            gradient_of(rolled_out(policy), policy, minibatches=2, rows_at_once=5, **SMOOTH)
            states.append(policy.parameters.data.clone())
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*states)


def test_rows_of_a_block_draw_the_same_however_many_blocks_a_process_has():
    rollout, part = Rollout.make(8, AXES), Rollout.make(4, AXES)
    rng, draws = stream(5), BlockDraws(torch.device("cpu"), 4)
    with draws:
        draws.begin(rng, 1, 0, (0, 1))
        both = draw_places(rng, rollout)
        draws.begin(rng, 1, 0, (1,))
        second = draw_places(rng, part)
    assert torch.equal(both[4 * STEPS :], second)


def test_a_run_that_is_resumed_goes_on_to_the_same_bytes():
    given = {f"ppo.improve_policy.{name}": str(value) for name, value in SMOOTH.items()}
    whole, again, without = (
        build(grant_wishes(), seed=3, overrides=given),
        build(grant_wishes(), seed=4, overrides=given),
        build(grant_wishes(), seed=3),
    )
    whole.run(1 + 8)
    saved = save(whole.world)
    whole.run(10)
    restore(again.world, saved)
    again.run(10)
    without.run(1 + 18)
    assert torch.equal(whole.world[Policy].parameters, again.world[Policy].parameters)
    assert not torch.equal(whole.world[Policy].parameters, without.world[Policy].parameters)


@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan])
def test_a_weight_that_makes_no_sense_is_refused(value: float):
    with pytest.raises(
        SceneError, match=r"learning\.l2c2_actor=.* makes no sense; give 0, or a finite number above it"
    ):
        PpoConfig(l2c2_actor=value)


def test_a_policy_that_learns_with_it_changes_less_from_one_observation_to_the_next():
    """Actions that are worth something change with what is seen; the weight says how much of that is given up."""
    steps: list[float] = []
    for weight in (0.0, 20.0):
        policy, rng, metrics = policy_of(2, 2, 1, hidden=(16,), seed=1), stream(1), LearningMetrics.zeros()
        axes = {"actor_observation": 2, "critic_observation": 2, "dof": 1, "step": 8}
        observation, action, rollout = (each.make(32, axes) for each in (Observation, Action, Rollout))
        config = PpoConfig(l2c2_actor=weight)
        with torch.no_grad():
            for tick in range(1, 8 * 40 + 1):
                observation.actor.copy_(torch.randn(32, 2, generator=rng))
                observation.critic.copy_(observation.actor)
                act(observation, Clock(tick=tick), rng, policy, Blocks(), action, rollout)
                wanted = observation.actor[:, 0]
                rollout.reward[:, (tick - 1) % 8] = -(action.value[:, 0] - wanted).square()
                if tick % 8 == 0:
                    estimate_advantage(observation, policy, Blocks(), rollout, **config.of(estimate_advantage))
                    improve_policy(observation, rng, rollout, Blocks(), policy, metrics, **config.of(improve_policy))
            means = policy.actor(rollout.actor)
            steps.append(float((means[:, 1:] - means[:, :-1]).square().mean()))
    assert steps[1] < 0.1 * steps[0]
