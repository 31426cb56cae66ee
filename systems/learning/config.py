"""Hyperparameters of PPO."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import attrs


@attrs.frozen
class PpoConfig:
    """Every number of PPO; the defaults are the published ones."""

    horizon: int = 24  # ticks in one learning iteration
    epochs: int = 5  # passes over the rollout in one iteration
    minibatches: int = 4  # optimiser steps in one pass
    hidden: tuple[int, ...] = (512, 256, 128)  # hidden layers of actor and critic
    critic_hidden: tuple[int, ...] | None = None  # hidden layers of the critic where they differ
    init_std: float = 1.0  # standard deviation of actions when training starts
    gamma: float = 0.99  # discount of a reward for each tick that it is away
    lam: float = 0.95  # λ of advantage estimation: 0 relies on the critic, 1 on rewards
    clip: float = 0.2  # how far a probability ratio may be from 1 and still change
    value_clip: float = 0.2  # how far a value may be from that of the rollout and still change
    value_weight: float = 1.0  # weight of the value loss
    entropy_weight: float = 0.005  # weight of the entropy bonus
    learning_rate: float = 1e-3  # learning rate when training starts
    desired_kl: float = 0.01  # KL divergence that the learning rate aims at; 0 keeps the rate
    lowest_rate: float = 1e-5  # least learning rate
    highest_rate: float = 1e-2  # greatest learning rate
    max_grad_norm: float = 1.0  # to which the gradients of actor and critic are clipped, each
    normalise: bool = True  # shift and scale observations by their running mean and deviation
    action_limit: float = math.inf  # bound of an action as it is applied

    def of(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Those numbers that `function` takes, by name."""
        return {name: getattr(self, name) for name in inspect.signature(function).parameters if hasattr(self, name)}
