"""Actor and critic networks, the normaliser of their inputs, and a policy made of them."""

import itertools
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from components.learning import Policy
from engine.errors import BuildError
from engine.ranks.blocks import Blocks
from systems.learning.adam import WHOLE, Adam
from systems.learning.config import PpoConfig

MARGIN = 0.01  # added to the standard deviation, so that an input that never moves is not blown up


class Normaliser(nn.Module):
    """Shifts and scales each input by the mean and deviation of everything seen; at first the identity, but for MARGIN."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.zeros(width))
        self.variance = nn.Buffer(torch.ones(width))
        self.count = nn.Buffer(torch.zeros((), dtype=torch.int64))

    def forward(self, batch: Tensor) -> Tensor:
        """(x − mean) / (std + MARGIN) of `batch`: (..., width)."""
        return (batch - self.mean).div_(self.variance.sqrt() + MARGIN)

    def update(self, batch: Tensor, blocks: Blocks | None = None) -> None:
        """Merge the moments of a `batch`: (samples, width) (Chan, Golub & LeVeque 1979), unless one is not finite.

        With `blocks`, of the batches of all processes.
        """
        blocks = blocks or Blocks()
        variance, mean = blocks.moments(batch)
        sound = (mean + variance).isfinite().all()
        samples = blocks.samples(len(batch))
        share = samples / (self.count + samples)
        shift = mean - self.mean
        variance = self.variance + share * (variance - self.variance + (1 - share) * shift.square())
        self.mean.copy_(torch.where(sound, self.mean + share * shift, self.mean))
        self.variance.copy_(torch.where(sound, variance, self.variance))
        self.count.add_(sound * samples)


class Untouched(nn.Identity):
    """Stands where a normaliser would and leaves its inputs alone."""

    def update(self, batch: Tensor, blocks: Blocks | None = None) -> None:
        """There is nothing to learn."""


class Mlp(nn.Module):
    """Linear layers with ELU between them and none after the last."""

    def __init__(self, width: int, hidden: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise([width, *hidden, outputs]))

    def forward(self, inputs: Tensor) -> Tensor:
        """`inputs`: (..., width) to (..., outputs)."""
        for index, layer in enumerate(self.layers):
            inputs = layer(inputs if index == 0 else nn.functional.elu_(inputs))
        return inputs


class Network(nn.Module):
    """MLP after a normaliser of its inputs."""

    def __init__(self, width: int, hidden: Sequence[int], outputs: int, normalise: bool) -> None:
        super().__init__()
        self.normaliser = Normaliser(width) if normalise else Untouched()
        self.body = Mlp(width, hidden, outputs)

    def forward(self, observation: Tensor) -> Tensor:
        """`observation`: (..., width) to (..., outputs)."""
        return self.body(self.normaliser(observation))


class Actor(Network):
    """Mean action of an observation, normalisation included: what is exported to a robot; and its standard deviation."""

    def __init__(self, width: int, hidden: Sequence[int], num_dofs: int, normalise: bool, std: float) -> None:
        super().__init__(width, hidden, num_dofs, normalise)
        self.log_std = nn.Parameter(torch.full((num_dofs,), math.log(std)))


class Critic(Network):
    """Expected discounted reward of a privileged observation; (..., width) to (...)."""

    def heads(self, observation: Tensor) -> Tensor:
        """(..., width) to (..., heads): by reward term, where there is more than one."""
        return super().forward(observation)

    def forward(self, observation: Tensor) -> Tensor:
        """The only output, or the sum of several."""
        found = self.heads(observation)
        return found.squeeze(-1) if found.shape[-1] == 1 else found.sum(-1)


def share_storage(parameters: Sequence[nn.Parameter]) -> tuple[nn.Parameter, Tensor]:
    """Make `parameters` views of one vector, and their gradients of another, so that one operation steps them all."""
    vector = nn.Parameter(parameters_to_vector(parameters).detach(), requires_grad=False)
    gradient = vector.grad = torch.zeros_like(vector.data)
    vector_to_parameters(vector, parameters)
    for parameter, piece in zip(parameters, gradient.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = piece.view_as(parameter)
    return vector, gradient


def make_policy(
    config: PpoConfig,
    axes: Mapping[str, Sequence[str]],
    seed: int = 0,
    device: "torch.device | str" = "cpu",
    *,
    critic: bool = True,
) -> Policy:
    """A new policy as wide as the axes of observations and joints; equal seeds give equal weights on every device.

    Without `critic` it only acts.
    """
    actor_width, seen, dofs = len(axes["actor_observation"]), axes["critic_observation"], len(axes["dof"])
    critic_hidden = config.hidden if config.critic_hidden is None else config.critic_hidden
    if critic and not seen:
        raise BuildError("No observation term is for the critic; give at least one with groups=('critic',).")
    if min(actor_width, dofs, *config.hidden, *(critic_hidden if critic else ())) < 1:
        raise BuildError(
            f"A policy of widths {actor_width} (actor), {len(seen)} (critic), {dofs} joints and hidden layers "
            f"{tuple(config.hidden)}, {tuple(critic_hidden)} has an empty layer; every size must be at least 1."
        )
    critic_rate = config.learning_rate if config.critic_learning_rate is None else config.critic_learning_rate
    if min(config.init_std, config.learning_rate, critic_rate) <= 0:
        raise BuildError(
            f"The policy was given init_std={config.init_std}, learning_rate={config.learning_rate} and "
            f"critic_learning_rate={config.critic_learning_rate}; each must be above 0."
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        actor = Actor(actor_width, config.hidden, dofs, config.normalise, config.init_std)
        heads = len(axes["reward"]) if config.value_heads and critic else 1
        judge = Critic(len(seen), critic_hidden, heads, config.normalise) if critic else None
    for parameter in actor.body.layers[-1].parameters():
        parameter.data.mul_(0.01)  # an untrained policy asks for next to nothing
    actor.to(device)
    parameters = [*actor.parameters(), *(judge.to(device).parameters() if judge else ())]
    vector, gradient = share_storage(parameters)
    rate = torch.tensor(config.learning_rate, device=device)
    acts = sum(parameter.numel() for parameter in actor.parameters())
    apart = ((0, acts, 1.0), (acts, None, critic_rate / config.learning_rate))
    adam = Adam(vector, gradient, rate, parts=apart if judge and critic_rate != config.learning_rate else WHOLE)
    return Policy(actor=actor, critic=judge, parameters=vector, gradient=gradient, optimiser=adam, learning_rate=rate)
