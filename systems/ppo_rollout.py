"""Rollout that PPO learns from, as systems: act, and record what was seen and done, and what came of it."""

import math
from functools import partial

import torch
from torch import Tensor
from torch.distributions import Normal

from components.control import Action
from components.episode import Done, Reward
from components.learning import Policy, Rollout, RolloutHeads
from components.observation import FinalObservation, Observation
from engine.capture.launches import capturing
from engine.ecs.access import Rng, Write
from engine.ecs.schedule import Schedule
from engine.ecs.table import put_rows
from engine.ecs.world import Clock
from engine.errors import SceneError
from engine.ranks.blocks import Blocks

Gaussian = partial(Normal, validate_args=False)  # looking at values would wait for the device


def act(
    observation: Observation, clock: Clock, rng: Rng, policy: Policy, blocks: Blocks, action: Write[Action],
    rollout: Write[Rollout], *, limit: float = math.inf,
) -> None:  # fmt: skip
    """Draw an action and keep what was seen and chosen: applied within ±`limit`, kept for learning as drawn."""
    mean, std = blocks.mapped(policy.actor, observation.actor), policy.actor.log_std.exp()
    drawn = mean + std * torch.randn(mean.shape, generator=rng, device=mean.device)
    put_action(action, drawn, limit)
    step = cursor(clock, rollout)
    put_step(rollout.actor, step, observation.actor)
    put_step(rollout.critic, step, observation.critic)
    put_step(rollout.action, step, drawn)
    put_step(rollout.mean, step, mean)
    put_step(rollout.log_prob, step, Gaussian(mean, std).log_prob(drawn).sum(-1))


def act_mean(observation: Observation, policy: Policy, action: Write[Action], *, limit: float = math.inf) -> None:
    """Take the mean action: the policy as it is deployed, without exploration."""
    put_action(action, policy.actor(observation.actor), limit)


def put_action(action: Action, chosen: Tensor, limit: float) -> None:
    """Make `chosen`, held within ±limit, the current action and the current one the previous."""
    action.previous.copy_(action.value)
    action.value.copy_(chosen.clamp(-limit, limit))


def record(clock: Clock, reward: Reward, done: Done, rollout: Write[Rollout]) -> None:
    """Keep what came of this tick's action."""
    step = cursor(clock, rollout)
    put_step(rollout.reward, step, reward.total)
    put_step(rollout.terminated, step, done.terminated)
    put_step(rollout.truncated, step, done.truncated)


def record_terms(clock: Clock, reward: Reward, heads: Write[RolloutHeads]) -> None:
    """Keep what each reward term paid for this tick's action, that of a failure too."""
    put_step(heads.reward, cursor(clock, heads), reward.terms)


def check_heads(schedule: Schedule) -> None:
    """SceneError where what a row earns is not the sum of its terms, so that heads would learn something else."""
    for entry in schedule.entries:
        if entry.system.constants.get("only_positive"):
            raise SceneError(
                f"value_heads=True judges each reward term by itself, but `{entry.name}` cuts their sum off at 0 "
                "(only_positive=True). Leave one of the two out."
            )


def keep_final_observation(clock: Clock, done: Done, final: FinalObservation, rollout: Write[Rollout]) -> None:
    """Keep what the critic sees just before the reset: rows that are cut off are bootstrapped from it."""
    step = cursor(clock, rollout)
    if isinstance(step, int):
        put_rows(rollout.final_critic[:, step], done.truncated, final.critic)
    else:
        kept = rollout.final_critic.index_select(1, step).squeeze(1)
        put_rows(kept, done.truncated, final.critic)
        put_step(rollout.final_critic, step, kept)


def cursor(clock: Clock, rollout: Rollout | RolloutHeads) -> int | Tensor:
    """Step of the rollout that this tick fills; the first tick with an action is tick 1.

    Where operations are recorded, and on a GPU, it is one of the device (1,); the processor is faster with one of its own.
    """
    length = rollout.reward.shape[1]
    if rollout.reward.is_cpu and not capturing():
        return (clock.tick - 1) % length
    return (clock.device_tick - 1).remainder(length).view(1)


def put_step(column: Tensor, step: int | Tensor, value: Tensor) -> None:
    """Write `value` (rows, ...) into a step of `column` (rows, steps, ...)."""
    if isinstance(step, int):
        column[:, step] = value
    else:
        column.index_copy_(1, step, value.unsqueeze(1))
