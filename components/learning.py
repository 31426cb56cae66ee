"""Learning: the rollout, the policy, and the numbers of the last update."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from engine.ecs.component import column, component, constant, resource
from engine.errors import SnapshotError
from engine.ranks.sharing import REDUCED, Combination


@component
class Rollout:
    """The last `step` ticks of every row: what was seen, done, and what came of it."""

    actor: Tensor = column("step", "actor_observation")
    critic: Tensor = column("step", "critic_observation")
    action: Tensor = column("step", "dof", doc="as drawn, before any limit")
    mean: Tensor = column("step", "dof", doc="of the action distribution when it was drawn")
    log_prob: Tensor = column("step")
    reward: Tensor = column("step")
    terminated: Tensor = column("step", dtype=torch.bool)
    truncated: Tensor = column("step", dtype=torch.bool)
    final_critic: Tensor = column("step", "critic_observation", doc="observation before the reset, where truncated")
    value: Tensor = column("step", doc="of the state acted from")
    advantage: Tensor = column("step")
    target: Tensor = column("step", doc="λ-return, the critic's target")


@component
class RolloutHeads:
    """What came of the rollout's actions by reward term, where the critic has a head for each."""

    reward: Tensor = column("step", "reward")
    value: Tensor = column("step", "reward", doc="of the state acted from")
    target: Tensor = column("step", "reward", doc="λ-return, the head's target")


@resource
class Policy:
    """Actor and critic (`systems/learning/networks.py`), their optimiser (`adam.py` there), and the learning rate in force.

    `parameters` is the storage of every network parameter, actor first, and `gradient` that of every
    gradient. The optimiser steps that one vector, so its moments are vectors as well.
    """

    COMBINED: ClassVar[Combination] = REDUCED

    actor: Any = constant()
    critic: Any = constant()  # None for a learner without one
    parameters: nn.Parameter = constant()
    gradient: Tensor = constant()
    optimiser: Any = constant()
    learning_rate: Tensor

    def state(self) -> dict[str, Any]:
        """Copies of everything that the next action and the next update depend on, by name."""
        return {name: tensor.clone() for name, tensor in self._tensors().items()}

    def exported(self) -> dict[str, Any]:
        """What acting needs, and judging: the state without the optimiser's moments."""
        return {name: tensor for name, tensor in self.state().items() if not name.startswith("optimiser.")}

    def load(self, state: dict[str, Any]) -> None:
        """Copy a saved or exported state into the existing storage, bit for bit; the latter begins with fresh moments.

        Raises SnapshotError, before anything is changed, when a name or shape differs.
        """
        own = self._tensors()
        if not any(name.startswith("optimiser.") for name in state):
            moments = {name: torch.zeros_like(t) for name, t in own.items() if name.startswith("optimiser.")}
            state = {**state, **moments}
        for name in [*own, *state]:
            if name not in state or name not in own:
                where = "is missing from the saved policy" if name in own else "is in the saved policy only"
                raise SnapshotError(
                    f"Policy: '{name}' {where}. Use the hidden layers and the normalisation that it was trained with."
                )
        for name in own:
            if own[name].shape != state[name].shape:
                raise SnapshotError(
                    f"Policy: '{name}' is {tuple(own[name].shape)} here but {tuple(state[name].shape)} in the saved policy. "
                    "Use the observations, joints and hidden sizes that it was trained with."
                )
        for name, tensor in own.items():
            tensor.copy_(state[name])

    def _tensors(self) -> dict[str, Tensor]:
        return {
            **{f"actor.{name}": tensor for name, tensor in self.actor.state_dict().items()},
            **{f"critic.{name}": tensor for name, tensor in (self.critic.state_dict() if self.critic else {}).items()},
            **{f"optimiser.{name}": tensor for name, tensor in self.optimiser.moments.items()},
            "learning_rate": self.learning_rate,
        }


@resource
class LearningMetrics:
    """Numbers of the last policy update: means over its minibatches unless noted."""

    REPORTED: ClassVar[str] = "learn"
    COMBINED: ClassVar[Combination] = REDUCED

    surrogate_loss: Tensor
    value_loss: Tensor
    entropy: Tensor  # nats, of the action distribution
    kl: Tensor  # nats, from the distribution that acted to the one being improved
    clip_fraction: Tensor  # share of samples whose probability ratio left the clip range
    learning_rate: Tensor  # after the update
    action_std: Tensor  # mean over joints, after the update
    explained_variance: Tensor  # 1 − Var(target − value) / Var(target), of the critic before the update
    gradient_norm: Tensor  # of actor and critic together, before either is clipped
    skipped_steps: Tensor  # optimiser steps left out since the run began, for a non-finite loss or gradient

    def load(self, state: dict[str, Tensor]) -> None:
        """Put saved numbers back; what an earlier version did not report is not known."""
        for name in [field.name for field in self.__attrs_attrs__]:  # type: ignore[attr-defined]
            own = getattr(self, name)
            own.copy_(state[name]) if name in state else own.fill_(torch.nan)

    @classmethod
    def zeros(cls, device: torch.device | str = "cpu") -> "LearningMetrics":
        """All zero, as before the first update."""
        names = [field.name for field in cls.__attrs_attrs__]  # type: ignore[attr-defined]
        return cls(**{name: torch.zeros((), device=device) for name in names})
