"""Hyperparameters of PPO."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import attrs

from engine.errors import SceneError

AHEAD = 16  # ticks over which the error of a learned model is followed
MOST_TICKS = 100_000  # of one row that are remembered, half an hour
_ABOVE_0 = (
    "pull",
    "std",
    "imagined_std",
    "kl",
    "last_kl",
    "damping",
    "model_rate",
    "relapse",
    "gamma",
)


@attrs.frozen
class PpoConfig:
    """Every number of PPO; the defaults are the published ones."""

    horizon: int = 24  # ticks in one learning iteration
    epochs: int = 5  # passes over the rollout in one iteration
    minibatches: int = 4  # optimiser steps in one pass
    hidden: tuple[int, ...] = (512, 256, 128)  # hidden layers of actor and critic
    critic_hidden: tuple[int, ...] | None = None  # hidden layers of the critic where they differ
    value_heads: bool = False  # a head of the critic for each reward term, with a value loss of its own
    init_std: float = 1.0  # standard deviation of actions when training starts
    gamma: float = 0.99  # discount of a reward for each tick that it is away
    lam: float = 0.95  # λ of advantage estimation: 0 relies on the critic, 1 on rewards
    clip: float = 0.2  # how far a probability ratio may be from 1 and still change
    value_clip: float = 0.2  # how far a value may be from that of the rollout and still change
    value_weight: float = 1.0  # weight of the value loss
    entropy_weight: float = 0.005  # weight of the entropy bonus
    l2c2_actor: float = 0.0  # weight of what mean actions change on the way to the next observation (L2C2); 0: none
    l2c2_critic: float = 0.0  # weight of what values change on that way
    learning_rate: float = 1e-3  # learning rate when training starts
    critic_learning_rate: float | None = None  # that of the critic where it differs; it keeps its ratio to the actor's
    desired_kl: float = 0.01  # KL divergence that the learning rate aims at; 0 keeps the rate
    lowest_rate: float = 1e-5  # least learning rate
    highest_rate: float = 1e-2  # greatest learning rate
    max_grad_norm: float = 1.0  # to which the gradients of actor and critic are clipped, each
    normalise: bool = True  # shift and scale observations by their running mean and deviation
    action_limit: float = math.inf  # bound of an action as it is applied

    def __attrs_post_init__(self) -> None:
        """Refuse what makes no sense, in one sentence."""
        for name in ("l2c2_actor", "l2c2_critic"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise SceneError(
                    f"learning.{name}={getattr(self, name)} makes no sense; give 0, or a finite number above it."
                )

    def of(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Those numbers that `function` takes, by name."""
        return {name: getattr(self, name) for name in inspect.signature(function).parameters if hasattr(self, name)}


@attrs.frozen
class WorldModelConfig:
    """Every number of learning in imagination, but the policy's layers and normalisation, which are those of PPO."""

    collect: int = 8  # ticks in one learning iteration
    memory: int = 128  # ticks of every row that are remembered
    warm_up: int = 32  # ticks before the model is fitted for the first time
    first_fits: int = 600  # optimiser steps of the model then
    fits: int = 120  # optimiser steps of the model in one iteration, on single transitions
    open_loop_fits: int = 12  # optimiser steps of the model in one iteration, on runs of 8 ticks
    fit_batch: int = 256  # transitions or runs in one such step
    model_hidden: tuple[int, ...] = (256, 256)  # hidden layers of the model
    model_rate: float = 1e-3  # learning rate of the model
    updates: int = 4  # updates of the policy in one iteration
    batch: int = 192  # imagined rows in one update
    horizon: int = 32  # imagined ticks
    gamma: float = 0.99  # discount of a reward for each tick that it is away
    pull: float = 10.0  # how hard an imagined row may pull at the policy, in times of what the median row does
    std: float = 0.2  # standard deviation of actions when training starts
    last_std: float = 0.1  # that from tick `settle` on
    explorers: float = 0.5  # share of the episodes with noise on the actions; those of the first tick all have it
    imagined_std: float = 0.1  # standard deviation of imagined actions
    momentum: float = 0.5  # share of the mean gradient before that stays in that of the next update
    kl: float = 0.04  # nats, KL divergence by which an update changes the policy's actions
    last_kl: float = 0.001  # that at tick `settle`
    hold: int = 400  # tick until which `kl` stays as it is, and observations are normalised anew
    settle: int = 1040  # tick with which the policy becomes the running mean of policies, and stays as it is
    damping: float = 10.0  # what is added to the Fisher information of the actions
    solves: int = 10  # steps of conjugate gradients, in which an update is found
    most_gap: float = 0.25  # share by which imagined and real rewards may differ before a run warns
    critic_first: int = 8  # iterations of PPO after it took over in which only its critic learns
    relapse: float = 0.15  # share of the best mean reward that may be lost before the best policy is put back

    def __attrs_post_init__(self) -> None:
        """Refuse what makes no sense, in one sentence."""
        least = {
            **dict.fromkeys(("collect", "updates", "horizon", "fit_batch", "first_fits", "settle", "solves"), 1),
            **dict.fromkeys(("fits", "open_loop_fits", "hold", "critic_first"), 0),
            "batch": 2,  # a share for each thread
            "warm_up": AHEAD + 1,
            "memory": AHEAD + 2,
        }
        for name, low in least.items():
            if getattr(self, name) < low:
                raise SceneError(f"world_model.{name}={getattr(self, name)} makes no sense; give at least {low}.")
        if self.memory > MOST_TICKS:
            raise SceneError(f"world_model.memory={self.memory} makes no sense; give at most {MOST_TICKS:,}.")
        for name in _ABOVE_0:
            if not getattr(self, name) > 0:
                raise SceneError(f"world_model.{name}={getattr(self, name)} makes no sense; give a number above 0.")
        if not self.last_std >= 0:
            raise SceneError(f"world_model.last_std={self.last_std} makes no sense; give 0 or more.")
        for name in ("std", "last_std", "imagined_std", "kl", "last_kl", "damping", "model_rate"):
            if math.isinf(getattr(self, name)):
                raise SceneError(f"world_model.{name}={getattr(self, name)} makes no sense; give a finite number.")
        if not 0 <= self.explorers <= 1:
            raise SceneError(f"world_model.explorers={self.explorers} makes no sense; a share is 0 to 1.")
        if not 0 <= self.momentum < 1:
            raise SceneError(
                f"world_model.momentum={self.momentum} makes no sense; give 0, or a number between it and 1."
            )
        if self.gamma > 1:
            raise SceneError(f"world_model.gamma={self.gamma} makes no sense; a discount is at most 1.")
        if not self.model_hidden or min(self.model_hidden) < 1:
            raise SceneError(
                f"world_model.model_hidden={self.model_hidden} makes no sense; give at least one layer, each of at least 1."
            )
        if self.hold >= self.settle:
            raise SceneError(
                f"world_model.hold={self.hold} does not end before settle={self.settle}; give a hold below it, or let it settle later."
            )
        if self.settle < max(self.warm_up, self.collect):
            raise SceneError(
                f"world_model.settle={self.settle} comes before the first update; let it settle later than warm_up={self.warm_up} and "
                f"collect={self.collect} ticks."
            )
        if self.collect >= self.memory:
            raise SceneError(
                f"world_model.collect={self.collect} ticks do not fit into a memory={self.memory}; remember more, or collect less."
            )

    def of(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Those numbers that `function` takes, by name."""
        constants = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        return {p.name: getattr(self, p.name) for p in constants if hasattr(self, p.name)}
