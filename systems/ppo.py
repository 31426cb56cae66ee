"""Proximal policy optimisation (Schulman et al. 2017) as systems: estimate advantages, improve the policy.

It learns from what `ppo_rollout.py` acts and records. The policy is a diagonal Gaussian whose deviation does not depend on
the observation; a separate critic may see more than the actor. Advantages are generalised (GAE, Schulman et al. 2016);
the learning rate follows the KL divergence.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import kl_divergence
from torch.nn.utils import clip_grad_norm_

from components.control import Action
from components.episode import Done
from components.learning import LearningMetrics, Policy, Rollout, RolloutHeads
from components.observation import Observation
from engine.ecs.access import Rng, Write
from engine.ecs.bundle import Bundle, deferred
from engine.ecs.condition import any_row, every
from engine.ecs.system import system
from engine.ecs.world import World
from engine.errors import SceneError
from engine.ranks.blocks import Blocks
from systems.learning.config import PpoConfig
from systems.learning.l2c2 import draw_places, l2c2_loss, seen_next
from systems.learning.networks import make_policy
from systems.learning.threads import pieces, thread_pool
from systems.ppo_rollout import Gaussian, act, act_mean, check_heads, keep_final_observation, record, record_terms
from systems.tick import ACT, LEARN, RECORD

LEARNED_FROM = ("actor", "critic", "action", "mean", "log_prob", "value", "target", "advantage")


def estimate_advantage(
    observation: Observation, policy: Policy, blocks: Blocks, rollout: Write[Rollout],
    *, gamma: float, lam: float, rows_at_once: int = 3072,
) -> None:  # fmt: skip
    """Value every kept state, and judge every action by what followed it; rows cut off go on from their final observation."""
    value, following = values_of(policy.critic, observation, blocks, rollout, rows_at_once)
    ends = rollout.terminated, rollout.truncated
    rollout.value.copy_(value)
    rollout.advantage.copy_(generalised_advantage(rollout.reward, value, following, *ends, gamma=gamma, lam=lam))
    rollout.target.copy_(rollout.advantage + value)


def estimate_advantage_by_head(
    observation: Observation, policy: Policy, blocks: Blocks, heads: Write[RolloutHeads], rollout: Write[Rollout],
    *, gamma: float, lam: float, rows_at_once: int = 3072,
) -> None:  # fmt: skip
    """`estimate_advantage` for each head of the critic by itself; an action's advantage is the sum over heads."""
    value, following = values_of(policy.critic.heads, observation, blocks, rollout, rows_at_once)
    ends = rollout.terminated.unsqueeze(-1), rollout.truncated.unsqueeze(-1)
    advantage = generalised_advantage(heads.reward, value, following, *ends, gamma=gamma, lam=lam)
    heads.value.copy_(value)
    heads.target.copy_(advantage + value)
    for column, by_head in ((rollout.value, value), (rollout.advantage, advantage), (rollout.target, heads.target)):
        column.copy_(by_head.sum(-1))


def values_of(
    critic: Callable[[Tensor], Tensor], observation: Observation, blocks: Blocks, rollout: Rollout, rows_at_once: int
) -> tuple[Tensor, Tensor]:
    """What the critic says of every kept state, and of what followed it, whose rows of ended episodes are their last state."""
    seen = rollout.critic.flatten(0, 1)
    with thread_pool() as run:
        values = torch.cat(run(critic, blocks.split(seen) if blocks.rows else pieces(seen, rows_at_once)))
    values = values.unflatten(0, rollout.value.shape)
    following = torch.cat([values[:, 1:], blocks.mapped(critic, observation.critic).unsqueeze(1)], dim=1)
    judged = blocks.mapped(lambda final, cut: critic(final[cut]), rollout.final_critic, rollout.truncated)
    following[rollout.truncated] = judged
    return values, following


def generalised_advantage(
    reward: Tensor, value: Tensor, following: Tensor, terminated: Tensor, truncated: Tensor, *, gamma: float, lam: float
) -> Tensor:
    """GAE: Σ_k (γλ)^k δ_{t+k} to the end of episode or rollout, δ = r + γ V' − V; `following` is V'. All (rows, steps) or with heads."""
    error = reward + gamma * following.masked_fill(terminated, 0.0) - value
    carry = gamma * lam * (~(terminated | truncated)).to(error.dtype)
    advantage = error.clone()
    for step in reversed(range(error.shape[1] - 1)):
        advantage[:, step] += carry[:, step] * advantage[:, step + 1]
    return advantage


def clipped_surrogate(ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """max(−A ρ, −A clamp(ρ, 1 ± clip)) of the probability ratio ρ = π(a) / π'(a), π' the policy that acted."""
    return torch.maximum(-advantage * ratio, -advantage * ratio.clamp(1 - clip, 1 + clip))


def clipped_value_loss(value: Tensor, old: Tensor, target: Tensor, clip: float) -> Tensor:
    """max((V − R)², (V' + clamp(V − V', ±clip) − R)²), V' the `old` value and R the target."""
    held = old + (value - old).clamp(-clip, clip)
    return torch.maximum((value - target).square(), (held - target).square())


def losses_and_gradient(
    chosen: Tensor, *, samples: Mapping[str, Tensor], policy: Policy, old_std: Tensor,
    clip: float, value_clip: float, value_weight: float, entropy_weight: float, l2c2_actor: float = 0.0, l2c2_critic: float = 0.0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Sums over the samples `chosen`: surrogate and value loss, KL divergence, clipped samples; and the loss's gradient."""
    old = SimpleNamespace(**{name: column[chosen] for name, column in samples.items()})
    with torch.enable_grad():
        new = Gaussian(policy.actor.body(old.actor), policy.actor.log_std.exp())
        value = policy.critic.body(old.critic).view_as(old.value)
        ratio = torch.exp(new.log_prob(old.action).sum(-1) - old.log_prob)
        surrogate = clipped_surrogate(ratio, old.advantage, clip).sum()
        value_loss = clipped_value_loss(value, old.value, old.target, value_clip).sum() / value[0].numel()
        loss = surrogate + value_weight * value_loss - entropy_weight * new.entropy().sum()
        if l2c2_actor or l2c2_critic:
            loss = loss + l2c2_loss(policy, new.mean, value, old, l2c2_actor, l2c2_critic)
        gradient = torch.autograd.grad(loss, [*policy.actor.parameters(), *policy.critic.parameters()])
    kl = kl_divergence(Gaussian(old.mean, old_std), new).sum()
    clipped = ((ratio - 1).abs() > clip).sum()
    return torch.stack([surrogate, value_loss, kl, clipped]), torch.cat([piece.flatten() for piece in gradient])


def improve_policy(
    observation: Observation, rng: Rng, rollout: Rollout, blocks: Blocks, policy: Write[Policy], metrics: Write[LearningMetrics], *,
    epochs: int, minibatches: int, clip: float, value_clip: float, value_weight: float, entropy_weight: float, desired_kl: float,
    lowest_rate: float, highest_rate: float, max_grad_norm: float, l2c2_actor: float, l2c2_critic: float, rows_at_once: int = 3072,
) -> None:  # fmt: skip
    """Follow the clipped objective's gradient for a few epochs, each over a new permutation of the rollout.

    Normalisers learn last, so that the first minibatch meets exactly the policy that acted (probability ratio 1); the
    first iteration sees raw observations. A minibatch with losses or gradients that are not finite changes nothing. Where rows
    are cut into blocks, each of them is permuted and divided into minibatches by itself.
    """
    samples = {name: getattr(rollout, name).flatten(0, 1) for name in LEARNED_FROM}
    samples |= {name: getattr(policy, name).normaliser(samples[name]) for name in ("actor", "critic")}
    deviation, mean = blocks.std_mean(samples["advantage"])
    samples["advantage"] = (samples["advantage"] - mean) / (deviation + 1e-8)
    smooth = l2c2_actor or l2c2_critic
    samples |= seen_next(samples, rollout, observation, policy) if smooth else {}
    work = partial(
        losses_and_gradient, samples=samples, policy=policy, old_std=policy.actor.log_std.exp(), clip=clip, value_clip=value_clip,
        value_weight=value_weight, entropy_weight=entropy_weight, l2c2_actor=l2c2_actor, l2c2_critic=l2c2_critic,
    )  # fmt: skip
    totals = rollout.advantage.new_zeros(7)
    with thread_pool() as run:
        for _ in range(epochs):
            order = torch.randperm(rollout.advantage.numel(), generator=rng, device=rng.device)
            samples |= {"place": draw_places(rng, rollout)} if smooth else {}
            for chosen in order.view(blocks.count, -1).chunk(minibatches, 1):
                few = chosen.unbind() if blocks.rows else pieces(chosen[0], rows_at_once)
                summed = blocks.total([torch.cat(each) for each in run(work, few)]) / blocks.samples(chosen.numel())
                policy.gradient.copy_(summed[4:])
                norms = [clip_grad_norm_(n.parameters(), max_grad_norm) for n in (policy.actor, policy.critic)]
                found = torch.cat([summed[:4], torch.stack(norms).norm().view(1)])
                sound = found.isfinite().all()
                if desired_kl > 0:
                    rate = scheduled_rate(policy.learning_rate, found[2], desired_kl, lowest_rate, highest_rate)
                    policy.learning_rate.copy_(torch.where(sound, rate, policy.learning_rate))
                policy.optimiser.step((~sound).float())
                totals += torch.cat([torch.where(sound, found, 0.0), torch.stack([sound, ~sound])])
    report(metrics, policy, rollout, blocks, totals)
    policy.actor.normaliser.update(rollout.actor.flatten(0, 1), blocks)
    policy.critic.normaliser.update(rollout.critic.flatten(0, 1), blocks)


def improve_policy_by_head(
    observation: Observation, rng: Rng, rollout: Rollout, heads: RolloutHeads, blocks: Blocks, policy: Write[Policy],
    metrics: Write[LearningMetrics], *, epochs: int, minibatches: int, clip: float, value_clip: float, value_weight: float,
    entropy_weight: float, desired_kl: float, lowest_rate: float, highest_rate: float, max_grad_norm: float, l2c2_actor: float,
    l2c2_critic: float, rows_at_once: int = 3072,
) -> None:  # fmt: skip
    """`improve_policy` with a target for each head of the critic; the value loss is the mean over heads."""
    given = {name: value for name, value in locals().items() if name != "heads"}
    kept = {
        n: getattr(heads if n in ("value", "target") else rollout, n)
        for n in (*LEARNED_FROM, "terminated", "truncated")
    }
    improve_policy(**{**given, "rollout": SimpleNamespace(**kept)})


def go_on_learning(world: World, changed: Mapping[str, Any]) -> None:
    """Give the policy of a checkpoint the learning rate that a resumed run asks for (`changed` flags of its learner).

    Raises SceneError for a flag that only an untrained policy can heed.
    """
    if "learning.init_std" in changed:
        raise SceneError(
            "--learning.init-std is the deviation of an untrained policy, and that of a checkpoint has its own. Leave the flag "
            "out."
        )
    rate = changed.get("learning.learning_rate")
    if rate is not None:
        world.resource(Policy).learning_rate.fill_(rate)


def scheduled_rate(rate: Tensor, kl: Tensor, desired: float, lowest: float, highest: float) -> Tensor:
    """Learning rate after a measured `kl`: down by 1.5 above twice the desired, up below half."""
    slower, faster = (rate / 1.5).clamp(min=lowest), (rate * 1.5).clamp(max=highest)
    calm = (kl < desired / 2) & (kl > 1e-8)  # a divergence below that is rounding: the policy has not moved
    return torch.where(kl > desired * 2, slower, torch.where(calm, faster, rate))


def report(metrics: LearningMetrics, policy: Policy, rollout: Rollout, blocks: Blocks, totals: Tensor) -> None:
    """Write what the update did; `totals`: sums over sound minibatches, and how many were sound and not."""
    names = ("surrogate_loss", "value_loss", "kl", "clip_fraction", "gradient_norm")
    means = dict(zip(names, totals[:5] / totals[5].clamp(min=1), strict=True))
    std, skipped = policy.actor.log_std.exp(), metrics.skipped_steps + totals[6]
    target = rollout.target if rollout.target.dim() == 2 else rollout.target.sum(-1)  # of all heads
    unexplained = blocks.variance(rollout.advantage) / blocks.variance(target).clamp(min=1e-12)
    entropy, rate = Gaussian(torch.zeros_like(std), std).entropy().sum(), policy.learning_rate
    spread = {"entropy": entropy, "action_std": std.mean()}
    others = {"learning_rate": rate, "explained_variance": 1 - unexplained, "skipped_steps": skipped}
    metrics.load({**means, **spread, **others})


def ppo(config: PpoConfig) -> Bundle:
    """Learn by PPO, one iteration every `config.horizon` ticks."""
    metrics = deferred(LearningMetrics, lambda axes, seed, device: LearningMetrics.zeros(device))
    wide = max((0, *config.hidden, *(config.critic_hidden or ()))) >= 128  # units for which it pays to wake threads
    learn = partial(system, when=every(config.horizon), wide=wide)
    heads = config.value_heads
    estimate: Callable[..., None] = estimate_advantage_by_head if heads else estimate_advantage
    improve: Callable[..., None] = improve_policy_by_head if heads else improve_policy
    final = system(keep_final_observation, when=any_row(Done, "truncated"), after="observe_final")
    return Bundle(
        "ppo",
        components=[Action, Rollout, *([RolloutHeads] if heads else [])],
        resources=[deferred(Policy, partial(make_policy, config)), metrics, Blocks()],
        systems={
            ACT: [system(act, limit=config.action_limit)],
            RECORD: [system(record), *([system(record_terms)] if heads else []), final],
            LEARN: [
                learn(estimate, name="estimate_advantage", may_sync="gathers cut-off rows", **config.of(estimate)),
                learn(improve, name="improve_policy", **config.of(improve)),
            ],
        },
        axes={"step": config.horizon},
        iteration=config.horizon,
        checks=[check_heads] if heads else [],
    )


def play(config: PpoConfig, *, critic: bool = True) -> Bundle:
    """Act by the mean of a policy that was trained with this `config`, with or without a critic; nothing is drawn, kept or learned."""
    policy = deferred(Policy, partial(make_policy, config, critic=critic))
    return Bundle("ppo", [Action], [policy], {ACT: [system(act_mean, limit=config.action_limit)]})
