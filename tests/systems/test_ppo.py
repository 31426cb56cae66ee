"""PPO in the order of its argument: act, record, estimate, improve; then whether it learns."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, tensor
from torch.testing import assert_close

from components.control import Action
from components.episode import Done, Reward
from components.learning import LearningMetrics, Policy, Rollout, RolloutHeads
from components.observation import FinalObservation, Observation
from engine import (
    Bundle,
    Clock,
    Rng,
    Scene,
    Write,
    build,
    column,
    component,
    system,
    table,
    term,
)
from engine.errors import SceneError
from engine.ranks.blocks import Blocks
from engine.snapshot.snapshot import restore, save
from engine.tools.audit import Audit
from engine.tools.operations import OperationMode
from systems.learning.config import PpoConfig
from systems.learning.networks import make_policy
from systems.observations import observations
from systems.ppo import (
    LEARNED_FROM,
    act,
    act_mean,
    clipped_surrogate,
    clipped_value_loss,
    estimate_advantage,
    estimate_advantage_by_head,
    generalised_advantage,
    go_on_learning,
    improve_policy,
    improve_policy_by_head,
    keep_final_observation,
    losses_and_gradient,
    ppo,
    record,
    record_terms,
    scheduled_rate,
)
from systems.tick import BEGIN, COMMAND, REWARD, TICK
from tests.systems.learning.test_networks import policy_of

ROWS, STEPS = 6, 4
AXES = {"actor_observation": 3, "critic_observation": 5, "dof": 2, "step": STEPS}


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    """As systems run."""
    with torch.no_grad():
        yield


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_policy(**given: Any) -> Policy:
    return policy_of(3, 5, 2, hidden=(8, 8), seed=7, **given)


def seen(seed: int = 0) -> Observation:
    return Observation.make(
        ROWS,
        AXES,
        actor=torch.randn(ROWS, 3, generator=stream(seed)),
        critic=torch.randn(ROWS, 5, generator=stream(seed + 1)),
    )


def collected(policy: Policy, seed: int = 0) -> Rollout:
    """A full rollout of random experience with its advantages."""
    rollout, rng = Rollout.make(ROWS, AXES), stream(seed)
    for tick in range(1, STEPS + 1):
        act(seen(10 * tick + seed), Clock(tick=tick), rng, policy, Blocks(), Action.make(ROWS, AXES), rollout)
    rollout.reward.copy_(torch.randn(ROWS, STEPS, generator=rng))
    estimate(seen(99), policy, rollout)
    return rollout


def estimate(now: Observation, policy: Policy, rollout: Rollout, **constants: Any) -> None:
    """`estimate_advantage` with the published numbers, but for `constants`."""
    estimate_advantage(now, policy, Blocks(), rollout, **{**PpoConfig().of(estimate_advantage), **constants})


def improve(policy: Policy, rollout: Rollout, seed: int = 0, **constants: Any) -> LearningMetrics:
    metrics = LearningMetrics.zeros()
    improve_policy(
        seen(99), stream(seed), rollout, Blocks(), policy, metrics, **{**PpoConfig().of(improve_policy), **constants}
    )
    return metrics


# -- act and record ------------------------------------------------------------------------------------


def test_act_keeps_what_was_seen_chosen_and_expected():
    policy, observation = small_policy(init_std=0.5), seen()
    action, rollout = Action.make(ROWS, AXES, value=3.0), Rollout.make(ROWS, AXES)
    act(
        observation, Clock(tick=STEPS + 2), stream(5), policy, Blocks(), action, rollout
    )  # second step of the second iteration
    mean = policy.actor(observation.actor)
    drawn = mean + 0.5 * torch.randn(ROWS, 2, generator=stream(5))
    assert_close(action.value, drawn)
    assert_close(action.previous, torch.full((ROWS, 2), 3.0))
    assert_close(rollout.action[:, 1], drawn)
    assert_close(rollout.mean[:, 1], mean)
    assert_close(rollout.actor[:, 1], observation.actor)
    assert_close(rollout.critic[:, 1], observation.critic)
    expected = torch.distributions.Normal(mean, 0.5).log_prob(drawn).sum(-1)
    assert_close(rollout.log_prob[:, 1], expected)
    assert bool((rollout.action[:, [0, 2, 3]] == 0).all())


def test_limit_holds_what_is_applied_and_not_what_is_kept():
    policy, action, rollout = small_policy(init_std=10.0), Action.make(ROWS, AXES), Rollout.make(ROWS, AXES)
    act(seen(), Clock(tick=1), stream(), policy, Blocks(), action, rollout, limit=0.5)
    assert float(action.value.abs().max()) == 0.5
    assert float(rollout.action.abs().max()) > 5.0


def test_mean_action_draws_nothing():
    policy, observation, action = small_policy(), seen(), Action.make(ROWS, AXES, value=1.0)
    act_mean(observation, policy, action)
    assert_close(action.value, policy.actor(observation.actor))
    assert_close(action.previous, torch.ones(ROWS, 2))


def test_record_keeps_what_came_of_the_action():
    rollout = Rollout.make(2, AXES)
    done = Done.make(2, {"termination": 1}, terminated=[True, False], truncated=[False, True])
    record(Clock(tick=3), Reward.make(2, {"reward": 1}, total=[1.5, -2.0]), done, rollout)
    assert rollout.reward.tolist() == [[0, 0, 1.5, 0], [0, 0, -2.0, 0]]
    assert rollout.terminated.tolist() == [[False, False, True, False], [False] * 4]
    assert rollout.truncated.tolist() == [[False] * 4, [False, False, True, False]]


def test_final_observation_is_kept_where_cut_off():
    rollout = Rollout.make(2, {**AXES, "critic_observation": 3})
    done = Done.make(2, {"termination": 1}, truncated=[False, True])
    final = FinalObservation.make(2, {"critic_observation": 3}, critic=[[1.0, 2.0, 3.0], [4.0, -6.0, 0.7]])
    keep_final_observation(Clock(tick=2), done, final, rollout)
    assert_close(rollout.final_critic[1, 1], tensor([4.0, -6.0, 0.7]))
    rollout.final_critic[1, 1] = 0.0
    assert not bool(rollout.final_critic.any())


# -- estimate ------------------------------------------------------------------------------------------


def test_advantages_of_whole_terminated_truncated_and_mixed_rows():
    # γ = λ = ½, so γλ = ¼; rewards 1 2 3; every value 1; after the last step 2; "following" of a cut-off step
    # is the value of its true last state. δ = r + γ V' − V:
    # whole:      δ = 1+½−1, 2+½−1, 3+1−1 = ½, 3/2, 3     A2 = 3, A1 = 3/2+3/4 = 9/4, A0 = ½+9/16 = 17/16
    # terminated after step 1: δ1 = 2+0−1 = 1              A2 = 3, A1 = 1,             A0 = ½+¼ = 3/4
    # truncated after step 1 where V' = 4: δ1 = 2+2−1 = 3  A2 = 3, A1 = 3,             A0 = ½+3/4 = 5/4
    # terminated after 0, truncated after 2 where V' = 6: δ = 0, 3/2, 5   A2 = 5, A1 = 3/2+5/4 = 11/4, A0 = 0
    no, yes = False, True
    advantage = generalised_advantage(
        reward=tensor([[1.0, 2.0, 3.0]] * 4),
        value=torch.ones(4, 3),
        following=tensor([[1.0, 1.0, 2.0], [1.0, 1.0, 2.0], [1.0, 4.0, 2.0], [1.0, 1.0, 6.0]]),
        terminated=tensor([[no, no, no], [no, yes, no], [no, no, no], [yes, no, no]]),
        truncated=tensor([[no, no, no], [no, no, no], [no, yes, no], [no, no, yes]]),
        gamma=0.5,
        lam=0.5,
    )
    expected = tensor([[17 / 16, 9 / 4, 3.0], [3 / 4, 1.0, 3.0], [5 / 4, 3.0, 3.0], [0.0, 11 / 4, 5.0]])
    assert_close(advantage, expected)


def test_a_cut_off_row_goes_on_from_what_it_saw_before_its_reset():
    # a critic whose value is its first input: one layer of weight 1.01 undoes the new normaliser's 1 / (1 + 0.01)
    policy = policy_of(1, 2, 1, hidden=())
    layer = policy.critic.body.layers[0]
    layer.weight.copy_(tensor([[1.01, 0.0]]))
    layer.bias.zero_()
    axes = {"actor_observation": 1, "critic_observation": 2, "dof": 1, "step": 2}
    rollout = Rollout.make(3, axes, reward=1.0)
    rollout.critic[..., 0] = tensor([[10.0, 20.0], [10.0, 20.0], [10.0, 20.0]])
    rollout.truncated[1, 0] = True
    rollout.final_critic[1, 0, 0] = 40.0
    rollout.final_critic[0, 0, 0] = 1000.0  # left from before: not cut off, so not used
    rollout.terminated[2, 1] = True
    now = Observation.make(3, axes, critic=[[30.0, 0.0], [30.0, 0.0], [30.0, 0.0]])
    estimate(now, policy, rollout, gamma=0.5, lam=0.0)  # λ = 0: A = δ
    # row 0: 1+10−10, 1+15−20;  row 1: 1+20−10, 1+15−20;  row 2: 1+10−10, 1+0−20
    assert_close(rollout.advantage, tensor([[1.0, -4.0], [11.0, -4.0], [1.0, -19.0]]))
    assert_close(rollout.target, tensor([[11.0, 16.0], [21.0, 16.0], [11.0, 1.0]]))
    assert_close(rollout.value, tensor([[10.0, 20.0]] * 3))


def test_values_do_not_depend_on_how_many_rows_run_at_once():
    policy = small_policy()
    together, apart = collected(policy), collected(policy)
    estimate(seen(99), policy, apart, rows_at_once=5)
    assert_close(apart.advantage, together.advantage)


@given(seed=st.integers(0, 10_000), gamma=st.floats(0, 1), lam=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_advantages_equal_their_defining_sum(seed, gamma, lam):
    draw = np.random.default_rng(seed)
    rows, steps = 3, 7
    reward, value, following = (draw.normal(size=(rows, steps)) for _ in range(3))
    terminated = draw.random((rows, steps)) < 0.2
    truncated = (draw.random((rows, steps)) < 0.2) & ~terminated
    expected = np.zeros((rows, steps))
    for row in range(rows):
        for start in range(steps):
            for step in range(start, steps):
                future = 0.0 if terminated[row, step] else following[row, step]
                error = reward[row, step] + gamma * future - value[row, step]
                expected[row, start] += (gamma * lam) ** (step - start) * error
                if terminated[row, step] or truncated[row, step]:
                    break
    inputs = [torch.from_numpy(each) for each in (reward, value, following, terminated, truncated)]
    assert_close(generalised_advantage(*inputs, gamma=gamma, lam=lam), torch.from_numpy(expected))


# -- losses --------------------------------------------------------------------------------------------


def test_surrogate_takes_the_worse_of_free_and_clipped():
    ratio = tensor([1.5, 1.5, 0.5, 0.5, 1.0])
    advantage = tensor([1.0, -1.0, 1.0, -1.0, 2.0])
    # −1.5 or −1.2;  1.5 or 1.2;  −0.5 or −0.8;  0.5 or 0.8;  −2 both ways
    assert_close(clipped_surrogate(ratio, advantage, clip=0.2), tensor([-1.2, 1.5, -0.5, 0.8, -2.0]))


def test_value_loss_takes_the_worse_of_free_and_clipped():
    value, target = tensor([2.0, 2.0, 1.1]), tensor([0.0, 3.0, 0.0])
    # 2² or 1.2²;  (2−3)² or (1.2−3)²;  1.1² both ways
    assert_close(clipped_value_loss(value, torch.ones(3), target, clip=0.2), tensor([4.0, 3.24, 1.21]))


def test_a_sample_outside_the_clip_range_has_no_slope_where_the_clipped_loss_is_the_worse():
    with torch.enable_grad():
        ratio = tensor([1.5, 1.5, 0.5, 0.5, 1.0], requires_grad=True)
        clipped_surrogate(ratio, tensor([1.0, -1.0, 1.0, -1.0, 2.0]), clip=0.2).sum().backward()
        value = tensor([2.0, 2.0, 1.1], requires_grad=True)
        clipped_value_loss(value, torch.ones(3), tensor([0.0, 3.0, 0.0]), clip=0.2).sum().backward()
    assert_close(ratio.grad, tensor([0.0, 1.0, -1.0, 0.0, -2.0]))
    assert_close(value.grad, tensor([4.0, 0.0, 2.2]))


@given(seed=st.integers(0, 10_000), clip=st.floats(0.05, 0.5), value_clip=st.floats(0.05, 2.0))
@settings(max_examples=20, deadline=None)
def test_losses_equal_a_loop_over_samples_in_numpy(seed, clip, value_clip):
    policy = small_policy(init_std=0.7)
    rollout, old_std = collected(policy, seed), policy.actor.log_std.exp()
    policy.parameters.data.add_(0.1 * torch.randn(policy.parameters.shape, generator=stream(seed)))
    samples = {name: getattr(rollout, name).flatten(0, 1) for name in LEARNED_FROM}
    means, values = policy.actor.body(samples["actor"]).double(), policy.critic.body(samples["critic"]).double()
    chosen = torch.randperm(ROWS * STEPS, generator=stream(seed))[:10]
    found, gradient = losses_and_gradient(
        chosen, samples=samples, policy=policy, old_std=old_std,
        clip=clip, value_clip=value_clip, value_weight=0.7, entropy_weight=0.01,
    )  # fmt: skip
    std, old = policy.actor.log_std.exp().double().tolist(), old_std.double().tolist()
    expected = np.zeros(4)
    for index in chosen.tolist():
        drawn = {name: column[index].double().tolist() for name, column in samples.items()}
        change, divergence = -drawn["log_prob"], 0.0
        for joint, mean in enumerate(means[index].tolist()):
            new, was = std[joint], old[joint]
            change -= ((drawn["action"][joint] - mean) / new) ** 2 / 2 + math.log(new) + math.log(2 * math.pi) / 2
            divergence += math.log(new / was) + (was**2 + (drawn["mean"][joint] - mean) ** 2) / (2 * new**2) - 0.5
        ratio, advantage = math.exp(change), drawn["advantage"]
        held_ratio = min(max(ratio, 1 - clip), 1 + clip)
        value, target = float(values[index, 0]), drawn["target"]
        held_value = drawn["value"] + min(max(value - drawn["value"], -value_clip), value_clip)
        expected[0] += max(-advantage * ratio, -advantage * held_ratio)
        expected[1] += max((value - target) ** 2, (held_value - target) ** 2)
        expected[2] += divergence
        expected[3] += abs(ratio - 1) > clip
    np.testing.assert_allclose(found.double().numpy(), expected, rtol=1e-3, atol=1e-5)
    assert gradient.shape == policy.gradient.shape


@pytest.mark.parametrize(
    ("kl", "rate", "expected"),
    [
        (0.021, 3e-3, 2e-3),  # above 2 · 0.01: divide by 1.5
        (0.019, 3e-3, 3e-3),  # between: stay
        (0.006, 3e-3, 3e-3),
        (0.004, 2e-3, 3e-3),  # below ½ · 0.01: times 1.5
        (0.0, 2e-3, 2e-3),  # nothing moved, or only rounding: stay
        (1e-12, 2e-3, 2e-3),
        (1.0, 1.2e-5, 1e-5),  # floor
        (0.001, 8e-3, 1e-2),  # ceiling
    ],
)
def test_learning_rate_follows_the_divergence(kl, rate, expected):
    assert_close(scheduled_rate(tensor(rate), tensor(kl), 0.01, 1e-5, 1e-2), tensor(expected))


# -- improve -------------------------------------------------------------------------------------------


class _OnlyPolicy:
    """The part of a world that the learner's flags reach."""

    def __init__(self) -> None:
        self.policy = small_policy()

    def resource(self, kind: type) -> Policy:
        assert kind is Policy
        return self.policy


def test_a_learner_that_goes_on_gets_the_rate_that_is_asked_for_and_keeps_the_rest():
    world = _OnlyPolicy()
    before = world.policy.state()
    go_on_learning(world, {"clip": "walk"})
    assert_close(world.policy.state(), before, rtol=0, atol=0)
    go_on_learning(world, {"learning.learning_rate": 2e-4})
    assert world.policy.optimiser.rate.item() == pytest.approx(2e-4)
    with pytest.raises(SceneError, match=r"--learning\.init-std is the deviation of an untrained policy"):
        go_on_learning(world, {"learning.init_std": 0.5})


@torch.enable_grad()
def reference_step(policy: Policy, rollout: Rollout, norm: float) -> tuple[list[Tensor], float]:
    """One full-batch PPO step by autograd and plain Adam, on copies: the new parameters, and the norm of the gradient."""
    actor, critic = policy.actor, policy.critic
    parameters = {n: p.detach().clone().requires_grad_() for n, p in [*named(actor, "a."), *named(critic, "c.")]}
    mean = torch.func.functional_call(actor, part(parameters, "a."), rollout.actor.flatten(0, 1))
    value = torch.func.functional_call(critic, part(parameters, "c."), rollout.critic.flatten(0, 1))
    chosen = torch.distributions.Normal(mean, parameters["a.log_std"].exp())
    ratio = (chosen.log_prob(rollout.action.flatten(0, 1)).sum(-1) - rollout.log_prob.flatten()).exp()
    advantage = rollout.advantage.flatten()
    advantage = (advantage - advantage.mean()) / advantage.std(correction=0)
    surrogate = torch.max(-advantage * ratio, -advantage * ratio.clamp(0.8, 1.2)).mean()
    old, target = rollout.value.flatten(), rollout.target.flatten()
    held = old + (value - old).clamp(-0.2, 0.2)
    value_loss = torch.max((value - target) ** 2, (held - target) ** 2).mean()
    (surrogate + 0.7 * value_loss - 0.01 * chosen.entropy().sum(-1).mean()).backward()
    norms = [
        float(torch.nn.utils.clip_grad_norm_(list(part(parameters, prefix).values()), norm)) for prefix in ("a.", "c.")
    ]
    torch.optim.Adam(parameters.values(), lr=1e-3, fused=False, foreach=False).step()
    return [p.detach() for p in parameters.values()], math.hypot(*norms)


def test_a_critic_with_a_rate_of_its_own_moves_by_it_and_keeps_its_ratio_to_the_actors():
    """The first step of Adam is rate · g / (|g| + ε) ≈ ±rate of every number that has a gradient."""
    policy = small_policy(critic_learning_rate=4e-3)
    for rate in (1e-3, 5e-4):
        policy.learning_rate.fill_(rate)
        before = [p.detach().clone() for p in (policy.actor.log_std, policy.critic.body.layers[-1].bias)]
        policy.gradient.fill_(1.0)
        policy.optimiser.step(torch.tensor(0.0))
        after = (policy.actor.log_std, policy.critic.body.layers[-1].bias)
        for old, new, share in zip(before, after, (1.0, 4.0), strict=True):
            assert_close(old - new.detach(), torch.full_like(old, share * rate), rtol=1e-3, atol=0.0)
    assert float(policy.optimiser.moments["step"]) == 2.0


def named(network: torch.nn.Module, prefix: str) -> list[tuple[str, Tensor]]:
    return [(prefix + name, p) for name, p in network.named_parameters()]


def part(parameters: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): p for name, p in parameters.items() if name.startswith(prefix)}


@pytest.mark.parametrize("norm", [0.05, 1e3])
@pytest.mark.parametrize("rows_at_once", [5, 1000])
def test_one_step_is_the_step_of_plain_adam_on_the_whole_batch(norm, rows_at_once):
    policy = small_policy()
    rollout = collected(policy)
    policy.parameters.data.add_(
        0.05 * torch.randn(policy.parameters.shape, generator=stream(3))
    )  # so that ratios differ
    expected, gradient_norm = reference_step(policy, rollout, norm)
    metrics = improve(
        policy, rollout, epochs=1, minibatches=1, entropy_weight=0.01, value_weight=0.7, desired_kl=0.0,
        max_grad_norm=norm, rows_at_once=rows_at_once,
    )  # fmt: skip
    got = [p for _, p in [*named(policy.actor, ""), *named(policy.critic, "")]]
    for mine, theirs in zip(got, expected, strict=True):
        assert_close(mine.data, theirs, rtol=1e-4, atol=2e-6)
    assert float(metrics.gradient_norm) == pytest.approx(gradient_norm, rel=1e-4)


def test_the_gradient_norm_is_a_mean_over_minibatches_that_counted():
    policy, other = small_policy(), small_policy()
    rollout = collected(policy)
    rollout.actor[2, 1, 0] = math.nan
    norms: list[float] = []

    def watched(unsound: Tensor) -> None:
        norms.append(float(policy.gradient.norm()))  # the limit is out of reach, so nothing is scaled
        step(unsound)

    step = policy.optimiser.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policy.optimiser, "step", watched)
        metrics = improve(policy, rollout, epochs=2, minibatches=4, max_grad_norm=1e9)
    sound = [norm for norm in norms if math.isfinite(norm)]
    assert len(norms) == 8 and len(sound) == 6
    assert float(metrics.gradient_norm) == pytest.approx(sum(sound) / 6, rel=1e-5)
    assert float(improve(other, collected(other)).gradient_norm) > 0.0


def test_numbers_saved_before_the_gradient_norm_was_reported_can_be_loaded():
    metrics = LearningMetrics.zeros()
    saved = {"kl": torch.tensor(0.5), "skipped_steps": torch.tensor(3.0)}
    metrics.load(saved)
    assert (float(metrics.kl), float(metrics.skipped_steps)) == (0.5, 3.0)
    assert math.isnan(float(metrics.gradient_norm))


def test_the_first_minibatch_meets_the_policy_that_acted():
    policy = small_policy()
    for seed in range(3):  # from the second iteration on, the normalisers have moved
        metrics = improve(policy, collected(policy, seed), epochs=1, minibatches=1, rows_at_once=5)
        assert float(metrics.kl) < 1e-10
        assert abs(float(metrics.surrogate_loss)) < 1e-5  # mean of −A over normalised advantages
        assert float(metrics.clip_fraction) == 0.0
        assert_close(metrics.learning_rate, tensor(1e-3))


def test_normalisers_learn_the_whole_rollout_after_the_update():
    policy = small_policy()
    rollout = collected(policy)
    improve(policy, rollout)
    flat = rollout.actor.flatten(0, 1)
    assert int(policy.actor.normaliser.count) == ROWS * STEPS
    assert_close(policy.actor.normaliser.mean, flat.mean(0))
    assert_close(policy.critic.normaliser.variance, rollout.critic.flatten(0, 1).var(0, correction=0))


def test_a_deviation_that_learning_drives_down_stays_above_0():
    policy = small_policy(init_std=0.05, learning_rate=1e-2)
    improve(policy, collected(policy), epochs=20, entropy_weight=-100.0, desired_kl=0.0)  # 80 steps of up to 0.01
    std = policy.actor.log_std.exp()
    assert bool(((std > 0.0) & (std < 0.03)).all()) and bool(policy.parameters.isfinite().all())


def test_every_epoch_draws_a_new_permutation(monkeypatch):
    drawn: list[Tensor] = []
    plain: Callable[..., Tensor] = torch.randperm

    def watched(*args: int, **given: object) -> Tensor:
        drawn.append(plain(*args, **given))
        return drawn[-1]

    monkeypatch.setattr(torch, "randperm", watched)
    policy = small_policy()
    improve(policy, collected(policy), epochs=3)
    assert len(drawn) == 3
    assert len({tuple(order.tolist()) for order in drawn}) == 3
    assert all(sorted(order.tolist()) == list(range(ROWS * STEPS)) for order in drawn)


def test_a_batch_that_does_not_divide_is_still_used_whole():
    policy = small_policy()
    metrics = improve(policy, collected(policy), epochs=1, minibatches=7)  # 24 samples: 6 of 4
    assert float(policy.optimiser.moments["step"]) == 6
    assert float(metrics.skipped_steps) == 0


def test_equal_seeds_give_equal_bytes():
    states = []
    for _ in range(2):
        policy = small_policy()
        for seed in range(2):
            improve(policy, collected(policy, seed), seed)
        states.append(policy.state())
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def test_a_saved_policy_goes_on_to_the_same_bytes():
    policy, other = small_policy(), policy_of(3, 5, 2, hidden=(8, 8), seed=8)
    improve(policy, collected(policy))
    other.load(policy.state())
    for each in (policy, other):
        improve(each, collected(each, 1), 1)
    for name, value in policy.state().items():
        assert torch.equal(value, other.state()[name]), name


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_non_finite_reward_changes_no_parameter_and_is_counted(bad):
    policy = small_policy()
    rollout = collected(policy)
    rollout.reward[2, 1] = bad
    estimate(seen(99), policy, rollout)
    before = policy.state()
    metrics = improve(policy, rollout, epochs=2, minibatches=4)
    assert float(metrics.skipped_steps) == 8
    for name, value in policy.state().items():
        if "normaliser" not in name:
            assert torch.equal(value, before[name]), name
    assert math.isfinite(float(metrics.value_loss))


def test_only_the_minibatch_with_a_non_finite_observation_is_skipped():
    policy = small_policy()
    rollout = collected(policy)
    rollout.actor[2, 1, 0] = math.nan
    metrics = improve(policy, rollout, epochs=3, minibatches=4)
    assert float(metrics.skipped_steps) == 3  # once an epoch
    assert float(policy.optimiser.moments["step"]) == 9
    assert all(bool(value.isfinite().all()) for value in policy.state().values())
    assert int(policy.actor.normaliser.count) == 0
    assert int(policy.critic.normaliser.count) == ROWS * STEPS
    assert all(math.isfinite(float(getattr(metrics, name))) for name in ("surrogate_loss", "kl", "entropy"))


def test_learning_needs_no_device_values_on_the_host():
    forbidden = {"_local_scalar_dense", "nonzero", "is_nonzero", "item"}

    class Watch(OperationMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            assert func.overloadpacket.__name__ not in forbidden, func
            return func(*args, **(kwargs or {}))

    policy = small_policy()
    rollout = collected(policy)
    with Watch():
        improve(policy, rollout)


# -- learning ------------------------------------------------------------------------------------------


@pytest.fixture
def one_thread():
    """Networks this small only wait for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_it_learns_to_match_a_target_that_it_sees():
    axes = {"actor_observation": 2, "critic_observation": 2, "dof": 1, "step": 8}
    policy, metrics, rng = policy_of(2, 2, 1, hidden=(32,), seed=1), LearningMetrics.zeros(), stream(1)
    rows = 32
    observation, action, rollout = (each.make(rows, axes) for each in (Observation, Action, Rollout))
    rollout.terminated.fill_(True)  # every step is an episode
    scores = []
    for tick in range(1, 8 * 100 + 1):
        observation.actor.copy_(torch.rand(rows, 2, generator=rng) * 4 + 3)
        observation.critic.copy_(observation.actor)
        act(observation, Clock(tick=tick), rng, policy, Blocks(), action, rollout)
        wanted = observation.actor[:, 0] - observation.actor[:, 1]
        rollout.reward[:, (tick - 1) % 8] = -(action.value[:, 0] - wanted).square()
        if tick % 8 == 0:
            scores.append(float(rollout.reward.mean()))
            estimate(observation, policy, rollout)
            improve_policy(observation, rng, rollout, Blocks(), policy, metrics, **PpoConfig().of(improve_policy))
    # always 0 scores −Var = −2 · 4²/12 = −2.7, and the first deviation of 1 costs 1 more
    assert scores[0] < -2.0
    assert sum(scores[-5:]) / 5 > -0.1
    assert float(metrics.action_std) < 0.3
    assert float(metrics.skipped_steps) == 0


# -- heads ---------------------------------------------------------------------------------------------


def headed(seed: int = 0) -> tuple[Policy, Rollout, RolloutHeads]:
    """A policy with a head for each of two terms, and a rollout whose second term pays -3 for a failure and nothing else."""
    axes = {name: [str(i) for i in range(n)] for name, n in {**AXES, "reward": 2}.items()}
    policy = make_policy(PpoConfig(hidden=(8, 8), value_heads=True), axes, 7)
    rollout, heads = collected(small_policy(), seed), RolloutHeads.make(ROWS, {**AXES, "reward": 2})
    rollout.terminated[:2, 1] = True
    for step in range(STEPS):
        terms = torch.stack((rollout.reward[:, step], -3.0 * rollout.terminated[:, step]), -1)
        record_terms(Clock(tick=step + 1), Reward.make(ROWS, {**AXES, "reward": 2}, terms=terms), heads)
    rollout.reward.copy_(heads.reward.sum(-1))
    return policy, rollout, heads


def test_the_price_of_a_failure_reaches_its_own_head_and_actions_are_judged_by_the_sum():
    policy, rollout, heads = headed()
    numbers = PpoConfig().of(estimate_advantage)
    estimate_advantage_by_head(seen(99), policy, Blocks(), heads, rollout, **numbers)
    assert heads.target[:2, 1, 1].tolist() == [-3.0, -3.0]  # nothing follows a failure
    assert_close(heads.value, policy.critic.heads(rollout.critic))
    plain = Rollout.make(ROWS, AXES)
    for name in ("critic", "reward", "terminated", "truncated", "final_critic"):
        getattr(plain, name).copy_(getattr(rollout, name))
    estimate_advantage(seen(99), policy, Blocks(), plain, **numbers)  # the advantage is linear in rewards and values
    for name in ("advantage", "value", "target"):
        assert_close(getattr(rollout, name), getattr(plain, name), rtol=1e-4, atol=1e-5)


def test_every_head_learns_its_own_target_and_the_loss_is_their_mean():
    policy, rollout, heads = headed()
    estimate_advantage_by_head(seen(99), policy, Blocks(), heads, rollout, **PpoConfig().of(estimate_advantage))
    numbers = {**PpoConfig().of(improve_policy), "desired_kl": 0.0, "value_clip": math.inf}

    def errors() -> Tensor:
        return (policy.critic.heads(rollout.critic) - heads.target).square().mean((0, 1))

    before, metrics = errors(), LearningMetrics.zeros()
    whole = {**numbers, "epochs": 1, "minibatches": 1}
    improve_policy_by_head(seen(99), stream(), rollout, heads, Blocks(), policy, metrics, **whole)
    assert float(metrics.value_loss) == pytest.approx(float(before.mean()), rel=1e-4)
    for _ in range(40):
        improve_policy_by_head(seen(99), stream(), rollout, heads, Blocks(), policy, metrics, **numbers)
    assert bool((errors() < 0.7 * before).all())


# -- bundle --------------------------------------------------------------------------------------------


def test_constants_reach_their_systems_and_others_are_refused():
    bundle = ppo(PpoConfig(horizon=12, gamma=0.9, epochs=3))
    estimate, improve_ = bundle.systems["LEARN"]
    assert bundle.iteration == 12
    assert estimate.constants["gamma"] == 0.9
    assert estimate.constants["lam"] == 0.95
    assert improve_.constants["epochs"] == 3
    with pytest.raises(TypeError, match="unexpected keyword argument 'epoch'"):
        PpoConfig(epoch=3)  # type: ignore[call-arg]


@component
class Wish:
    """The action that earns most."""

    value: Tensor = column("dof")


def wished(wish: Wish) -> Tensor:
    return wish.value


def draw_wish(rng: Rng, wish: Write[Wish]) -> None:
    wish.value.uniform_(-1.0, 1.0, generator=rng)


def judge(wish: Wish, action: Action, clock: Clock, reward: Write[Reward], done: Write[Done]) -> None:
    reward.total.copy_(-(action.value - wish.value).square().sum(-1))
    done.truncated.fill_(clock.tick % 5 == 0)
    done.terminated.fill_(clock.tick % 7 == 0 and clock.tick % 5 != 0)


def grant_wishes() -> Scene:
    """The shortest task that has everything ppo touches."""
    terms = {"wished": term(wished, clip=0.5, scale=2.0)}
    task = Bundle(
        "task",
        components=[Wish, Action, Reward, Done],
        systems={BEGIN: [system(draw_wish, name="first_wish")], REWARD: [system(judge)], COMMAND: [system(draw_wish)]},
    )
    return Scene(
        tables=[table("robot", rows=8, axes={"dof": 2, "reward": 1, "termination": 1})],
        bundles=[
            task,
            observations(terms),
            ppo(PpoConfig(horizon=6, hidden=(16,))),
        ],
        tick=TICK,
    )


def test_bundle_runs_resumes_and_takes_constants_by_address():
    simulation = build(
        grant_wishes(), seed=3, overrides={"ppo.improve_policy.epochs": "2", "ppo.estimate_advantage.gamma": "0.5"}
    )
    audit = Audit(simulation.schedule)
    simulation.run(1 + 10)  # the entry tick, one iteration, and part of the next
    world = simulation.world
    policy = world[Policy]
    assert float(policy.optimiser.moments["step"]) == 2 * 4
    assert bool(world[Rollout].final_critic[:, (5 - 1) % 6].any())  # tick 5 was cut off
    assert float(world[Rollout].final_critic.abs().max()) == 1.0  # clip 0.5, then scale 2
    saved = save(world)
    simulation.run(9)
    expected = policy.state()
    again = build(
        grant_wishes(), seed=4, overrides={"ppo.improve_policy.epochs": "2", "ppo.estimate_advantage.gamma": "0.5"}
    )
    restore(again.world, saved)
    again.run(9)
    for name, value in again.world[Policy].state().items():
        assert torch.equal(value, expected[name]), name
    assert [finding.text for finding in audit.findings] == []


def test_an_update_is_the_same_with_one_thread_and_with_several():
    before, states = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            policy = small_policy()
            with torch.no_grad():
                improve(policy, collected(policy), rows_at_once=5)  # every minibatch in pieces
            states.append(policy.state())
    finally:
        torch.set_num_threads(before)
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
