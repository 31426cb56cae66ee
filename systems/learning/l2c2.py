"""L2C2 (Kobayashi, "L2C2: Locally Lipschitz Continuous Constraint towards Stable and Smooth Reinforcement Learning", 2022).

What a network says must not change much on the way from what was seen to what is seen a tick later. Between the two a
place is drawn for every sample; where an episode ended there is no way, and nothing is asked for.
"""

from types import SimpleNamespace

import torch
from torch import Tensor

from components.learning import Policy, Rollout
from components.observation import Observation
from engine.ecs.access import Rng


def seen_next(
    samples: dict[str, Tensor], rollout: Rollout, observation: Observation, policy: Policy
) -> dict[str, Tensor]:
    """What actor and critic see one tick after every sample, as they are normalised: `next_actor`, `next_critic` (samples, width).

    After the last tick of the rollout that is what is seen now.
    """
    found = {}
    for name in ("actor", "critic"):
        seen = samples[name].unflatten(0, rollout.advantage.shape)
        now = getattr(policy, name).normaliser(getattr(observation, name))
        found[f"next_{name}"] = torch.cat((seen[:, 1:], now.unsqueeze(1)), 1).flatten(0, 1)
    return found


def draw_places(rng: Rng, rollout: Rollout) -> Tensor:
    """How far along its way the place of each sample is: U[0, 1), and 0 where an episode ended; (samples, 1)."""
    drawn = torch.rand(rollout.advantage.shape, generator=rng, device=rollout.advantage.device)
    return drawn.masked_fill_(rollout.terminated | rollout.truncated, 0.0).view(-1, 1)


def l2c2_loss(policy: Policy, mean: Tensor, value: Tensor, old: SimpleNamespace, actor: float, critic: float) -> Tensor:
    """`actor` Σ ‖μ(s) − μ(s̃)‖² + `critic` Σ (V(s) − V(s̃))² over samples, with s̃ = s + u (s' − s); of heads of V the mean.

    `mean` is μ(s) and `value` V(s); `old` has s, s' (`next_actor`, `next_critic`) and u (`place`).
    """
    loss = mean.new_zeros(())
    if actor:
        changed = mean - policy.actor.body(torch.lerp(old.actor, old.next_actor, old.place))
        loss = loss + actor * changed.square().sum()
    if critic:
        changed = value - policy.critic.body(torch.lerp(old.critic, old.next_critic, old.place)).view_as(value)
        loss = loss + critic * changed.square().sum() / value[0].numel()
    return loss
