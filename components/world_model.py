"""Learning in imagination: what is remembered of the real rows, and the numbers of the last iteration."""

from typing import ClassVar

import torch
from torch import Tensor

from engine.ecs.component import column, component, constant, resource


@component
class Memory:
    """The last `memory` ticks of every row, in a ring: tick t stands at t modulo its length."""

    state: Tensor = column("memory", "remembered_state", doc="what imagined rows begin with, before the action")
    target: Tensor = column("memory", "dof", unit="rad", doc="what the joints' servos pulled to")
    reward: Tensor = column("memory", doc="that the tick earned")
    whole: Tensor = column("memory", dtype=torch.bool, doc="the next tick goes on from where this one led")
    count: Tensor = column(
        dtype=torch.int64, doc="ticks that were ever remembered, those that the ring forgot included"
    )


@resource
class WorldModelMetrics:
    """Numbers of the last iteration of learning in imagination: means over its updates unless noted."""

    REPORTED: ClassVar[str] = "imagine"

    real_reward: Tensor  # of a real control step
    imagined_reward: Tensor  # of an imagined control step, of rows whose episode goes on
    imagined_ends: Tensor  # share of imagined rows whose episode ended before the horizon
    gradient_norm: Tensor  # of the imagined return
    kl: Tensor  # nats, of one update
    skipped_steps: Tensor  # updates left out since the run began, for a gradient that was not finite
    taken_back: Tensor  # times since the run began that the best policy was put back, as the real reward fell
    settled: Tensor  # iterations since the policy made the last of its updates
    gap: Tensor  # share of the larger one by which an imagined step earns more than a real one, of running means
    parted: Tensor  # iterations since the run began in which the gap was wider than it may be
    unmoved_joints: Tensor  # that stood still in all that the model was fitted to
    one_step_loss: Tensor  # of the model: Huber's, of outputs in standard deviations
    error_1: Tensor  # rad, mean error of a joint that is predicted 1 step ahead
    error_4: Tensor  # rad, 4 steps
    error_8: Tensor  # rad, 8 steps
    error_16: Tensor  # rad, 16 steps

    def load(self, state: dict[str, Tensor]) -> None:
        """Put saved numbers back."""
        for name, value in state.items():
            getattr(self, name).copy_(value)

    @classmethod
    def zeros(cls, device: torch.device | str = "cpu") -> "WorldModelMetrics":
        """All zero, as before the first iteration."""
        names = [field.name for field in cls.__attrs_attrs__]  # type: ignore[attr-defined]
        return cls(**{name: torch.zeros((), device=device) for name in names})


@resource
class JointErrors:
    """Mean error of each joint that is predicted 16 steps ahead, in the last iteration."""

    REPORTED: ClassVar[str] = "imagine/error_16"

    labels: tuple[str, ...] = constant()
    error: Tensor  # (joints,) rad


@resource
class RunningRewards:
    """What a control step earns in real and in imagined rows: running means, both from 0, and over how many iterations."""

    real: Tensor
    imagined: Tensor
    iterations: Tensor
    parted: Tensor  # bool: they differ by more than they may


@resource
class MeanGradient:
    """Running mean, from 0, of what the policy's updates follow."""

    gradient: Tensor  # of the loss, (parameters of the actor,)


@resource
class BestPolicy:
    """The actor that earned most in real rows so far, the running mean of what the present one earns, and that of actors."""

    actor: dict[str, Tensor]
    reward: Tensor  # of a control step, of the kept actor
    mean: Tensor  # of the present one
    average: dict[str, Tensor]  # running mean of actors
    iterations: Tensor  # whose actors are in it


@resource
class Fallback:
    """Whether PPO has taken over from learning in imagination, and after which tick."""

    REPORTED: ClassVar[str] = "fallback"

    reason: str = constant()  # why it learns from the start; empty where it does not
    ppo: Tensor  # 1: it has
    tick: Tensor
