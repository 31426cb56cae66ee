"""Proximal policy optimisation (Schulman et al. 2017) as systems: act, record, estimate, improve.

A diagonal Gaussian policy with a state-independent deviation, a separate critic that may see more than
the actor (asymmetric), advantages by GAE (Schulman et al. 2016), and a learning rate that follows the KL
divergence. Gradients of the losses are written out next to the losses; see `networks.Tape` for why.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from components.control import Action
from components.episode import Done, Reward
from components.learning import LearningMetrics, Policy, Rollout
from components.observation import FinalObservation, Observation
from engine.ecs.access import Rng, Write
from engine.ecs.bundle import Bundle, Deferred, deferred
from engine.ecs.condition import any_row, every
from engine.ecs.system import system
from engine.ecs.table import put_rows
from engine.ecs.world import Clock
from systems.learning.config import PpoConfig
from systems.learning.networks import Tape, make_policy, views_like
from systems.learning.threads import Run, side_by_side
from systems.tick import ACT, LEARN, RECORD

LOG_TWO_PI = math.log(2 * math.pi)
KL_ROUNDING = 1e-8  # a divergence below this is rounding: the policy has not moved
SHARES = 2  # of a minibatch, computed side by side; results depend on it, but not on the number of threads
WIDE = 128  # units of a layer from which more threads save more than it costs to wake them


# -- act -----------------------------------------------------------------------------------------------


def act(
    observation: Observation,
    clock: Clock,
    rng: Rng,
    policy: Policy,
    action: Write[Action],
    rollout: Write[Rollout],
    *,
    limit: float = math.inf,
) -> None:
    """Draw an action from the policy and keep what was seen, chosen and expected.

    What is applied is held within ±`limit`; what is kept for learning is the action as drawn.
    """
    std = policy.actor.log_std.exp()
    mean = policy.actor(observation.actor)
    noise = torch.randn(mean.shape, generator=rng, device=mean.device)
    drawn = mean + std * noise
    put_action(action, drawn, limit)
    step = cursor(clock, rollout)
    rollout.actor[:, step] = observation.actor
    rollout.critic[:, step] = observation.critic
    rollout.action[:, step] = drawn
    rollout.mean[:, step] = mean
    rollout.log_prob[:, step] = gaussian_log_prob(noise.square_(), policy.actor.log_std)


def act_mean(observation: Observation, policy: Policy, action: Write[Action], *, limit: float = math.inf) -> None:
    """Take the mean action: the policy as it is deployed, without exploration."""
    put_action(action, policy.actor(observation.actor), limit)


def put_action(action: Action, chosen: Tensor, limit: float) -> None:
    """Make `chosen`, held within ±limit, the current action and the current one the previous."""
    action.previous.copy_(action.value)
    action.value.copy_(chosen)
    if limit < math.inf:
        action.value.clamp_(-limit, limit)


def cursor(clock: Clock, rollout: Rollout) -> int:
    """Where in the rollout this tick is kept; the first tick with an action is tick 1."""
    return (clock.tick - 1) % rollout.reward.shape[1]


# -- record --------------------------------------------------------------------------------------------


def record(clock: Clock, reward: Reward, done: Done, rollout: Write[Rollout]) -> None:
    """Keep what came of this tick's action."""
    step = cursor(clock, rollout)
    rollout.reward[:, step] = reward.total
    rollout.terminated[:, step] = done.terminated
    rollout.truncated[:, step] = done.truncated


def keep_final_observation(clock: Clock, done: Done, final: FinalObservation, rollout: Write[Rollout]) -> None:
    """Keep what the critic sees just before the reset: rows that are cut off are bootstrapped from it."""
    put_rows(rollout.final_critic[:, cursor(clock, rollout)], done.truncated, final.critic)


# -- estimate ------------------------------------------------------------------------------------------


def estimate_advantage(
    observation: Observation,
    policy: Policy,
    rollout: Write[Rollout],
    *,
    gamma: float = 0.99,
    lam: float = 0.95,
    rows_at_once: int = 3072,
) -> None:
    """Value every kept state, and judge every action by what followed it.

    The critic runs here, once over the whole rollout, and not in `act`: its parameters stay the same in
    between, so the values do too, and a few large matrix products take less time than many small ones.
    A row cut off by a time limit goes on from what it saw before its reset.
    """
    rows, steps = rollout.reward.shape
    with side_by_side(SHARES) as run:
        values = batched(policy.critic, rollout.critic.flatten(0, 1), rows_at_once, run).view(rows, steps)
    following = torch.cat([values[:, 1:], policy.critic(observation.critic).unsqueeze(1)], dim=1)
    if values.is_cpu:
        where = rollout.truncated.nonzero(as_tuple=True)
        following[where] = policy.critic(rollout.final_critic[where])
    else:  # asking which rows were cut off would wait for the GPU
        final = policy.critic(rollout.final_critic.flatten(0, 1)).view(rows, steps)
        following = torch.where(rollout.truncated, final, following)
    rollout.value.copy_(values)
    rollout.advantage.copy_(
        generalised_advantage(
            rollout.reward, values, following, rollout.terminated, rollout.truncated, gamma=gamma, lam=lam
        )
    )
    torch.add(rollout.advantage, rollout.value, out=rollout.target)


def generalised_advantage(
    reward: Tensor, value: Tensor, following: Tensor, terminated: Tensor, truncated: Tensor, *, gamma: float, lam: float
) -> Tensor:
    """GAE: Σ_k (γλ)^k δ_{t+k} to the end of the episode or of the rollout. All tensors are (rows, steps).

    `following` is the value of the state that an action led to: of the true last state where the row was
    cut off, of anything where it terminated, since there it counts as 0.
    """
    error = reward + gamma * following.masked_fill(terminated, 0.0) - value
    carry = (gamma * lam) * (~(terminated | truncated)).to(error.dtype)
    advantage = torch.empty_like(error)
    running = torch.zeros_like(error[:, 0])
    for step in reversed(range(error.shape[1])):
        running = torch.addcmul(error[:, step], carry[:, step], running)
        advantage[:, step] = running
    return advantage


def batched(network: nn.Module, inputs: Tensor, rows_at_once: int, run: Run) -> Tensor:
    """`network(inputs)`, on a CPU at most so many rows at a time, as many as its cache holds."""
    if not inputs.is_cpu or len(inputs) <= rows_at_once:
        outputs: Tensor = network(inputs)
        return outputs
    return torch.cat(run(network, inputs.split(rows_at_once)))


# -- improve -------------------------------------------------------------------------------------------


def improve_policy(
    rng: Rng,
    rollout: Rollout,
    policy: Write[Policy],
    metrics: Write[LearningMetrics],
    *,
    epochs: int = 5,
    minibatches: int = 4,
    clip: float = 0.2,
    value_clip: float = 0.2,
    value_weight: float = 1.0,
    entropy_weight: float = 0.005,
    desired_kl: float = 0.01,
    lowest_rate: float = 1e-5,
    highest_rate: float = 1e-2,
    max_grad_norm: float = 1.0,
    rows_at_once: int = 3072,
) -> None:
    """Follow the clipped objective's gradient for a few epochs, each over a new permutation of the rollout.

    Normalisers learn from the rollout last, so that the first minibatch meets exactly the policy that acted
    (probability ratio 1); the first iteration therefore sees raw observations. A minibatch whose losses or
    gradients are not finite changes nothing and is counted. `desired_kl=0` keeps the learning rate fixed.
    """
    batch = Batch.of(rollout, policy)
    samples = len(batch.advantage)
    shares = SHARES if batch.advantage.is_cpu else 1
    room = math.ceil(math.ceil(samples / minibatches) / shares)
    room = min(room, rows_at_once) if batch.advantage.is_cpu else room
    workers = [Worker.of(policy, batch, room) for _ in range(shares)]
    settings: dict[str, Any] = {"policy": policy, "batch": batch, "old_log_std": policy.actor.log_std.clone()}
    settings |= {"clip": clip, "value_clip": value_clip, "value_weight": value_weight}
    totals, attempts = batch.advantage.new_zeros(6), 0
    with side_by_side(shares) as run:
        for _ in range(epochs):
            order = torch.randperm(samples, generator=rng, device=rng.device)
            for chosen in order.chunk(minibatches):
                parts = chosen.chunk(shares)
                add = partial(Worker.add, samples=len(chosen), **settings)
                losses = torch.stack(run(add, workers[: len(parts)], parts)).sum(0)
                torch.sum(torch.stack([w.gradient for w in workers[: len(parts)]]), 0, out=policy.gradient)
                policy.actor.log_std.grad.sub_(entropy_weight)
                norm = clip_gradients(policy, max_grad_norm)
                sound = torch.cat((losses, norm)).isfinite().all()
                attempts += 1
                if desired_kl > 0:
                    rate = scheduled_rate(policy.learning_rate, losses[2], desired_kl, lowest_rate, highest_rate)
                    policy.learning_rate.copy_(torch.where(sound, rate, policy.learning_rate))
                step_if(policy, sound)
                totals += torch.cat([torch.where(sound, torch.cat((losses, norm)), 0.0), sound.view(1)])
    report(metrics, policy, rollout, totals, attempts)
    policy.actor.normaliser.update(rollout.actor.flatten(0, 1))
    policy.critic.normaliser.update(rollout.critic.flatten(0, 1))


@attrs.frozen(eq=False)
class Batch:
    """Samples as the losses take them: observations normalised, everything (samples, ...)."""

    actor: Tensor
    critic: Tensor
    action: Tensor
    mean: Tensor
    log_prob: Tensor
    value: Tensor
    target: Tensor
    advantage: Tensor  # mean 0 and deviation 1 over the whole rollout

    @classmethod
    def of(cls, rollout: Rollout, policy: Policy) -> "Batch":
        """Every step of every row of a rollout."""
        advantage = rollout.advantage.flatten()
        return cls(
            actor=policy.actor.normaliser(rollout.actor.flatten(0, 1)),
            critic=policy.critic.normaliser(rollout.critic.flatten(0, 1)),
            action=rollout.action.flatten(0, 1),
            mean=rollout.mean.flatten(0, 1),
            log_prob=rollout.log_prob.flatten(),
            value=rollout.value.flatten(),
            target=rollout.target.flatten(),
            advantage=(advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-8),
        )

    def tensors(self) -> list[Tensor]:
        """The fields in order."""
        return [getattr(self, field.name) for field in attrs.fields(Batch)]

    def like(self, samples: int) -> "Batch":
        """Uninitialised memory for so many samples."""
        return Batch(*(tensor.new_empty(samples, *tensor.shape[1:]) for tensor in self.tensors()))

    def take(self, rows: Tensor, memory: "Batch") -> "Batch":
        """The samples `rows`, in `memory`: fresh memory for every minibatch costs more than the copying."""
        pairs = zip(self.tensors(), memory.tensors(), strict=True)
        return Batch(*(torch.index_select(a, 0, rows, out=b[: len(rows)]) for a, b in pairs))


@attrs.frozen(eq=False)
class Worker:
    """What one thread needs for its share of a minibatch: memory for samples, tapes, and a gradient of its own."""

    memory: Batch
    actor: Tape
    critic: Tape
    gradient: Tensor  # like Policy.gradient
    log_std: Tensor  # the part of it that belongs to the actor's deviation

    @classmethod
    def of(cls, policy: Policy, batch: Batch, room: int) -> "Worker":
        """For at most `room` samples at a time."""
        gradient = torch.zeros_like(policy.gradient)
        (log_std, *actor), critic = views_like([policy.actor, policy.critic], gradient)
        tapes = Tape(policy.actor.body, room, actor), Tape(policy.critic.body, room, critic)
        return cls(batch.like(room), *tapes, gradient, log_std)

    def add(
        self,
        rows: Tensor,
        *,
        policy: Policy,
        batch: Batch,
        samples: int,
        old_log_std: Tensor,
        clip: float,
        value_clip: float,
        value_weight: float,
    ) -> Tensor:
        """Make `gradient` that of the samples `rows` of a minibatch of `samples`; their share of the four losses."""
        self.gradient.zero_()
        losses = batch.advantage.new_zeros(4)
        for some in rows.split(len(self.memory.advantage)):
            part = batch.take(some, self.memory)
            losses[:3] += add_actor_gradient(policy.actor, self.actor, self.log_std, part, old_log_std, samples, clip)
            losses[3] += add_critic_gradient(self.critic, part, samples, value_clip, value_weight)
        return losses


def add_actor_gradient(
    actor: Any, tape: Tape, log_std_gradient: Tensor, part: Batch, old_log_std: Tensor, samples: int, clip: float
) -> Tensor:
    """Add the surrogate loss's gradient for a part of a minibatch of `samples`.

    Returns this part's share of (surrogate loss, clip fraction, KL divergence).
    """
    mean = tape.forward(part.actor)
    inverse_std = torch.exp(-actor.log_std)
    z = (part.action - mean).mul_(inverse_std)
    squares = z.square()
    change = gaussian_log_prob(squares, actor.log_std) - part.log_prob
    loss, slope = clipped_surrogate(change, part.advantage, clip)
    kl = gaussian_kl(part.mean, old_log_std, mean, actor.log_std)
    clipped = (change.exp() - 1).abs_() > clip
    slope /= samples
    log_std_gradient.addmv_(squares.sub_(1).t(), slope)  # d log π / d log σ = z² − 1
    tape.backward(z.mul_(inverse_std).mul_(slope.unsqueeze(1)))  # d log π / dμ = z / σ
    return torch.stack([loss.sum(), clipped.sum(), kl.sum()]) / samples


def add_critic_gradient(tape: Tape, part: Batch, samples: int, clip: float, weight: float) -> Tensor:
    """Add the weighted value loss's gradient for a part of a minibatch of `samples`; returns its share of the loss."""
    value = tape.forward(part.critic).squeeze(1)
    loss, slope = clipped_value_loss(value, part.value, part.target, clip)
    tape.backward(slope.mul_(weight / samples).unsqueeze(1))
    return loss.sum() / samples


def gaussian_log_prob(squares: Tensor, log_std: Tensor) -> Tensor:
    """log π = −½ Σ z² − Σ log σ − ½ dof log 2π, where `squares` (..., dof) is ((action − mean) / σ)²."""
    return -0.5 * squares.sum(-1) - (log_std.sum() + 0.5 * len(log_std) * LOG_TWO_PI)


def gaussian_entropy(log_std: Tensor) -> Tensor:
    """Σ log σ + ½ dof (1 + log 2π), in nats."""
    return log_std.sum() + 0.5 * len(log_std) * (1 + LOG_TWO_PI)


def gaussian_kl(old_mean: Tensor, old_log_std: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """KL(old ‖ new) in nats: Σ [log σ − log σ' + (σ'² + (μ' − μ)²) / 2σ² − ½], primes for the old; means (..., dof).

    Written with expm1, so that it is not negative by rounding and 0 for equal distributions.
    """
    shrink = 2 * (old_log_std - log_std)
    moved = (old_mean - mean).mul_(torch.exp(-log_std)).square_().sum(-1)
    return 0.5 * (moved + (torch.expm1(shrink) - shrink).sum())


def clipped_surrogate(change: Tensor, advantage: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Loss max(−A ρ, −A clamp(ρ, 1 ± clip)) of ρ = exp(change), and its derivative by `change`.

    `change` is the log-probability now minus when acting. dρ/d change = ρ, so where the first branch holds
    the derivative is the loss itself; where the second one is larger ρ is outside the range and it is 0.
    """
    ratio = change.exp()
    free = -advantage * ratio
    held = -advantage * ratio.clamp(1 - clip, 1 + clip)
    return torch.maximum(free, held), free.masked_fill(free < held, 0.0)


def clipped_value_loss(value: Tensor, old: Tensor, target: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Loss max((V − R)², (V' + clamp(V − V', ±clip) − R)²), V' the `old` value, and its derivative by `value`."""
    error, change = value - target, value - old
    held = change.clamp(-clip, clip) + (old - target)
    free, bound = error.square(), held.square_()
    flat = (free < bound) & (change.abs_() > clip)  # inside the range both are equal but for rounding
    return torch.maximum(free, bound), (2 * error).masked_fill_(flat, 0.0)


def clip_gradients(policy: Policy, limit: float) -> Tensor:
    """Scale the actor's and the critic's gradient to a norm of at most `limit` each; (1,) the norm that both had together."""
    share = sum(parameter.numel() for parameter in policy.actor.parameters())
    pieces = policy.gradient.split([share, len(policy.gradient) - share])
    norms = torch.stack([torch.linalg.vector_norm(piece) for piece in pieces])
    for piece, factor in zip(pieces, (limit / (norms + 1e-6)).clamp_(max=1), strict=True):
        piece.mul_(factor)
    return torch.linalg.vector_norm(norms).view(1)


def scheduled_rate(rate: Tensor, kl: Tensor, desired: float, lowest: float, highest: float) -> Tensor:
    """The learning rate for a step that follows a measured `kl`: down by 1.5 above twice the desired, up below half.

    A divergence that is only rounding says that nothing has moved yet, and changes nothing.
    """
    slower = (rate / 1.5).clamp(min=lowest)
    faster = (rate * 1.5).clamp(max=highest)
    calm = (kl < desired / 2) & (kl > KL_ROUNDING)
    return torch.where(kl > desired * 2, slower, torch.where(calm, faster, rate))


def step_if(policy: Policy, sound: Tensor) -> None:
    """One optimiser step if `sound` (a 0-dim bool on the device), else none, without asking the device.

    Adam's fused kernel leaves parameters, moments and step count alone where `found_inf` is 1.
    """
    policy.optimiser.found_inf = (~sound).float()  # type: ignore[attr-defined]
    policy.optimiser.step()


def report(metrics: LearningMetrics, policy: Policy, rollout: Rollout, totals: Tensor, attempts: int) -> None:
    """Write what the update did; `totals`: sums of surrogate, clip fraction, KL, value loss, gradient norm, and sound
    minibatches.
    """
    means = totals[:5] / totals[5].clamp(min=1)
    spread = rollout.target.var(correction=0).clamp(min=1e-12)
    metrics.surrogate_loss.copy_(means[0])
    metrics.clip_fraction.copy_(means[1])
    metrics.kl.copy_(means[2])
    metrics.value_loss.copy_(means[3])
    metrics.gradient_norm.copy_(means[4])
    metrics.entropy.copy_(gaussian_entropy(policy.actor.log_std))
    metrics.learning_rate.copy_(policy.learning_rate)
    metrics.action_std.copy_(policy.actor.log_std.exp().mean())
    metrics.explained_variance.copy_(1 - (rollout.target - rollout.value).var(correction=0) / spread)
    metrics.skipped_steps.add_(attempts - totals[5])


# -- bundles -------------------------------------------------------------------------------------------


def ppo(config: PpoConfig) -> Bundle:
    """Learn by PPO, one iteration every `horizon` ticks."""
    c, due = config, every(config.horizon)
    names = (
        "epochs",
        "minibatches",
        "clip",
        "value_clip",
        "value_weight",
        "entropy_weight",
        "desired_kl",
        "lowest_rate",
        "highest_rate",
        "max_grad_norm",
    )
    constants = {name: getattr(c, name) for name in names}
    wide = max((0, *c.hidden, *(c.critic_hidden or ()))) >= WIDE
    return Bundle(
        "ppo",
        components=[Action, Rollout],
        resources=[
            new_policy(c.hidden, c.critic_hidden, c.init_std, c.learning_rate, c.normalise),
            deferred(LearningMetrics, lambda axes, seed, device: LearningMetrics.zeros(device)),
        ],
        systems={
            ACT: [system(act, limit=c.action_limit)],
            RECORD: [
                system(record),
                system(keep_final_observation, when=any_row(Done, "truncated"), after="observe_final"),
            ],
            LEARN: [
                system(
                    estimate_advantage,
                    when=due,
                    wide=wide,
                    may_sync="gathers cut-off rows once per rollout",
                    gamma=c.gamma,
                    lam=c.lam,
                ),
                system(improve_policy, when=due, wide=wide, **constants),
            ],
        },
        axes={"step": c.horizon},
        iteration=c.horizon,
    )


def play(config: PpoConfig) -> Bundle:
    """Act by the mean of a policy that `ppo` trained with the same layers; nothing is drawn, kept or learned."""
    policy = new_policy(config.hidden, config.critic_hidden, normalise=config.normalise)
    return Bundle("ppo", [Action], [policy], {ACT: [system(act_mean, limit=config.action_limit)]})


def new_policy(
    hidden: Sequence[int],
    critic_hidden: Sequence[int] | None,
    init_std: float = 1.0,
    learning_rate: float = 1e-3,
    normalise: bool = True,
) -> Deferred:
    """A policy as wide as the table's observations and joints, made once these are known."""

    def make(axes: Mapping[str, tuple[str, ...]], seed: int, device: torch.device) -> Policy:
        return make_policy(
            len(axes["actor_observation"]),
            len(axes["critic_observation"]),
            len(axes["dof"]),
            hidden=hidden,
            critic_hidden=critic_hidden,
            init_std=init_std,
            learning_rate=learning_rate,
            normalise=normalise,
            seed=seed,
            device=device,
        )

    return deferred(Policy, make)
