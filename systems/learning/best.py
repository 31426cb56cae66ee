"""The policy that earned most in real rows, put back when the present one earns far less; and the running mean of policies."""

import math
from collections.abc import Mapping, Sequence

import torch

from components.learning import Policy
from components.world_model import BestPolicy, MeanGradient, WorldModelMetrics
from systems.learning.config import PpoConfig
from systems.learning.networks import make_policy

PATIENCE = 20  # iterations over which the real reward is averaged
AVERAGED = 0.1  # least share of the present policy in the running mean of policies


def make_best(config: PpoConfig, axes: Mapping[str, Sequence[str]], seed: int, device: torch.device) -> BestPolicy:
    """Nothing is kept yet."""
    actor = make_policy(config, axes, seed, device, critic=False).actor
    reward = torch.tensor(-math.inf, device=device)
    average = {name: tensor.clone() for name, tensor in actor.state_dict().items()}
    zero = torch.zeros((), device=device)
    return BestPolicy(
        actor=dict(actor.state_dict()), reward=reward, mean=zero, average=average, iterations=zero.clone()
    )


def average_policies(policy: Policy, best: BestPolicy, *, last: bool) -> None:
    """Take the policy into the running mean of policies, which with the `last` update becomes the policy.

    The mean falls less often than the policies that it is made of, since each update is of a fixed size in a noisy direction.
    """
    best.iterations += 1
    share = max(AVERAGED, 1.0 / float(best.iterations))
    for name, tensor in policy.actor.state_dict().items():
        mean = best.average[name]
        mean.copy_(mean.lerp(tensor, share) if tensor.is_floating_point() else tensor)
    if last:
        policy.actor.load_state_dict(best.average)


def keep_the_best(
    policy: Policy, mean: MeanGradient, best: BestPolicy, metrics: WorldModelMetrics, relapse: float
) -> None:
    """Keep a policy that earns more in real rows than any before, and put it back when the present one earns far less."""
    real = metrics.real_reward
    best.mean += (real - best.mean) * (1.0 / PATIENCE)
    if best.mean > best.reward:
        best.reward.copy_(best.mean)
        for name, tensor in policy.actor.state_dict().items():
            best.actor[name].copy_(tensor)
    elif best.mean < best.reward - relapse * best.reward.abs():
        policy.actor.load_state_dict(best.actor)
        mean.gradient.zero_()  # of another policy
        best.mean.copy_(best.reward)
        metrics.taken_back += 1
