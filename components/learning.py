"""What the learner keeps."""

import torch
from torch import Tensor

from engine.component import column, component


@component
class Rollout:
    """The last `step` ticks of every row: what was seen, done, and what came of it."""

    actor: Tensor = column("step", "actor_observation")
    critic: Tensor = column("step", "critic_observation")
    action: Tensor = column("step", "dof")
    mean: Tensor = column("step", "dof", doc="of the action distribution when it was drawn")
    log_prob: Tensor = column("step")
    reward: Tensor = column("step")
    terminated: Tensor = column("step", dtype=torch.bool)
    truncated: Tensor = column("step", dtype=torch.bool)
    final_critic: Tensor = column("step", "critic_observation", doc="observation before the reset, where truncated")
    value: Tensor = column("step", doc="of the state acted from")
    advantage: Tensor = column("step")
    target: Tensor = column("step", doc="λ-return, the critic's target")
