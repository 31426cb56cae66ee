"""Learning in imagination as long as that is sound and not done, and by PPO from then on.

Both learners stand in the same tick and improve the same policy; which of them runs is state like any other, so that a run
resumes, rewinds and replays to the same bytes whether it has changed over or not.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import torch

from components.control import Action
from components.dynamics import Dynamics
from components.episode import Episode
from components.learning import Policy, Rollout
from components.observation import Observation
from components.world_model import BestPolicy, Fallback, RunningRewards
from engine.ecs.access import Rng, Write
from engine.ecs.bundle import Bundle, Deferred, deferred
from engine.ecs.condition import Every
from engine.ecs.system import System, Term, system
from engine.ecs.world import Clock, World
from engine.errors import SceneError
from engine.ranks.blocks import Blocks
from systems.learning.config import PpoConfig, WorldModelConfig
from systems.learning.dynamics import finite
from systems.ppo import ppo
from systems.ppo_rollout import act
from systems.robots.model import RobotModel
from systems.tick import ACT, LEARN
from systems.world_model import explore, settling, world_model

LEAST_STD = 0.02  # of the actions that PPO begins with


@attrs.frozen
class WhileLearning(Every):
    """Every so many ticks, as long as it is PPO that learns, or imagination."""

    by_ppo: bool

    @property
    def label(self) -> str:
        """while_learning(learner, every(n))"""
        return f"while_learning({'ppo' if self.by_ppo else 'world_model'}, {super().label})"

    def holds(self, world: World) -> bool:
        """True on ticks n, 2n, … of that learner."""
        return super().holds(world) and bool(world.resource(Fallback).ppo) == self.by_ppo


def act_as_it_learns(
    observation: Observation, episode: Episode, clock: Clock, rng: Rng, fallback: Fallback, policy: Policy, blocks: Blocks, action: Write[Action], rollout: Write[Rollout],
    *, limit: float, std: float, last_std: float, settle: int, explorers: float,
) -> None:  # fmt: skip
    """What the learner does that learns now: PPO draws from the policy's own deviation and keeps what it drew."""
    if fallback.ppo:
        act(observation, clock, rng, policy, blocks, action, rollout, limit=limit)
    else:
        explore(
            observation, episode, clock, rng, policy, blocks, action,
            std=std, last_std=last_std, settle=settle, explorers=explorers,
        )  # fmt: skip


def fall_back(
    clock: Clock, rewards: RunningRewards, dynamics: Dynamics, blocks: Blocks,
    best: Write[BestPolicy], fallback: Write[Fallback], policy: Write[Policy], *, rows: int, std: float, last_std: float, settle: int,
) -> None:  # fmt: skip
    """Let PPO go on when imagination has made all of its updates; from the best policy when rewards part, or the model is not finite.

    The policy goes on with the noise that its rows explored with, and what normalises its observations counts as having seen all that
    rows of all processes saw, `rows` in each: it would else be another policy after the first iteration of PPO.
    """
    failed = bool(rewards.parted) or not finite(dynamics)
    if not failed and clock.tick < settle:
        return
    fallback.ppo.fill_(1.0)
    fallback.tick.fill_(clock.tick)
    if failed and best.reward.isfinite():
        policy.actor.load_state_dict(best.actor)
    with torch.no_grad():
        policy.actor.log_std.fill_(math.log(max(LEAST_STD, settling(std, last_std, settle, clock))))
    for name, tensor in policy.actor.state_dict().items():
        if name == "normaliser.count":
            tensor.clamp_(min=blocks.samples(clock.tick * rows))
        best.actor[name].copy_(tensor)


def keep_actor(
    clock: Clock, fallback: Fallback, best: BestPolicy, policy: Write[Policy], *, horizon: int, critic_first: int
) -> None:
    """Leave the actor as PPO took it over for its first `critic_first` iterations, in which only the critic learns."""
    if clock.tick > fallback.tick + horizon * critic_first:
        return
    policy.actor.load_state_dict(best.actor)
    own = sum(parameter.numel() for parameter in policy.actor.parameters())  # they stand before those of the critic
    for name in ("exp_avg", "exp_avg_sq"):
        policy.optimiser.moments[name][:own].zero_()


def make_fallback(axes: Mapping[str, Sequence[str]], seed: int, device: torch.device, *, reason: str = "") -> Fallback:
    """Imagination learns; with a `reason` why it cannot, PPO does from the start."""
    zero = torch.zeros((), device=device)
    return Fallback(reason=reason, ppo=zero + bool(reason), tick=zero)


def auto(
    learning: PpoConfig, config: WorldModelConfig, robot: RobotModel, observations: Mapping[str, Term], *, rows: int, dt: float,
) -> Bundle:  # fmt: skip
    """Learn in imagination until its alarm or its last update, and by PPO afterwards; an iteration is that of PPO."""
    if learning.horizon % config.collect:
        raise SceneError(
            f"learning.horizon={learning.horizon} ticks of PPO are no whole number of iterations of world_model.collect="
            f"{config.collect} ticks. Choose --world-model.collect so that they are, or --learner world_model."
        )
    imagined, real = world_model(learning, config, robot, observations, rows=rows, dt=dt), ppo(learning)
    systems = {
        phase: [  # each under the condition that its learner learns; who acts is proven to be one system
            *(_while(each, by_ppo=False) for each in imagined.systems.get(phase, ())),
            *(_while(each, by_ppo=True) for each in real.systems.get(phase, ())),
        ]
        for phase in {**imagined.systems, **real.systems}
    }
    acting = system(act_as_it_learns, limit=learning.action_limit, **config.of(act_as_it_learns))
    systems[ACT] = [*(each for each in systems[ACT] if each.function not in (act, explore)), acting]
    systems[LEARN].append(
        system(
            keep_actor,
            when=WhileLearning(learning.horizon, by_ppo=True),
            may_sync="asks for the tick",
            horizon=learning.horizon,
            critic_first=config.critic_first,
        )
    )
    systems[LEARN].append(
        system(
            fall_back,
            when=WhileLearning(learning.horizon, by_ppo=False),
            may_sync="asks for the alarm",
            rows=rows,
            **config.of(fall_back),
        )
    )
    return Bundle(
        "auto",
        components=list(dict.fromkeys([*imagined.components, *real.components])),
        resources=[
            *(r for r in imagined.resources if not _of_both(r)),  # but for the one without a critic
            *real.resources,
            deferred(Fallback, make_fallback),
        ],
        systems=systems,
        axes={**imagined.axes, **real.axes},
        iteration=learning.horizon,
        checks=[*imagined.checks, *real.checks],
    )


def refused(reason: str) -> Bundle:
    """Says that PPO learns from the start, and why."""
    return Bundle("auto", resources=[deferred(Fallback, partial(make_fallback, reason=reason))])


def _while(each: System, *, by_ppo: bool) -> System:
    """The system under the condition that its learner learns; what waits for rows does nothing that matters."""
    if each.when is not None and not isinstance(each.when, Every):
        return each
    return attrs.evolve(each, when=WhileLearning(each.when.ticks if each.when else 1, by_ppo=by_ppo))


def _of_both(resource: Any) -> bool:
    return isinstance(resource, Blocks) or (isinstance(resource, Deferred) and resource.type is Policy)
