"""Actor and critic networks, their input normaliser, and a backward pass without autograd.

`Tape` is the chain rule of an MLP written out over buffers that are used again for every minibatch: on a
CPU, fresh activations cost as much in page faults as the activation function itself. Parameters therefore
do not ask for gradients; code that wants autograd calls `requires_grad_()` on a network.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from components.learning import Policy
from engine.errors import BuildError

SMALL = 0.01  # of the actor's last layer at the start: an untrained policy asks for next to nothing
MARGIN = 0.01  # added to the standard deviation, so that an input that never moves is not blown up


class Normaliser(nn.Module):
    """Shifts and scales each input element by the mean and deviation of everything seen so far.

    Before the first `update` it is the identity (but for `MARGIN`).
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: Tensor) -> Tensor:
        """(x − mean) / (std + MARGIN) of `batch`: (..., width)."""
        return (batch - self.mean).div_(self.variance.sqrt() + MARGIN)

    def update(self, batch: Tensor) -> None:
        """Merge the moments of `batch`: (samples, width), by Chan, Golub & LeVeque (1979).

        A batch with any non-finite element is left out altogether: it would poison the moments for good.
        """
        seen = batch.mean(0)
        spread = (batch - seen).square_().mean(0)
        sound = (seen + spread).isfinite().all()
        share = batch.shape[0] / (self.count + batch.shape[0])
        shift = seen - self.mean
        variance = self.variance + share * (spread - self.variance + (1 - share) * shift.square())
        self.mean.copy_(torch.where(sound, self.mean + share * shift, self.mean))
        self.variance.copy_(torch.where(sound, variance, self.variance))
        self.count.add_(sound * batch.shape[0])


class Untouched(nn.Module):
    """Stands where a normaliser would and leaves its inputs alone."""

    def forward(self, batch: Tensor) -> Tensor:
        """`batch` itself."""
        return batch

    def update(self, batch: Tensor) -> None:
        """There is nothing to learn."""


class Mlp(nn.Module):
    """Linear layers with ELU between them and none after the last."""

    def __init__(self, width: int, hidden: Sequence[int], outputs: int) -> None:
        super().__init__()
        widths = [width, *hidden, outputs]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.requires_grad_(False)

    def linears(self) -> Iterator[nn.Linear]:
        """The layers, first to last."""
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            yield layer

    def forward(self, inputs: Tensor) -> Tensor:
        """`inputs`: (..., width) to (..., outputs)."""
        for index, layer in enumerate(self.layers):
            inputs = layer(inputs if index == 0 else nn.functional.elu_(inputs))
        return inputs

    def initialise(self, generator: torch.Generator) -> None:
        """Draw weights and biases from U(−1/√inputs, 1/√inputs), torch's own rule for a linear layer."""
        for layer in self.linears():
            bound = 1 / math.sqrt(layer.in_features)
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.uniform_(-bound, bound, generator=generator)


class Actor(nn.Module):
    """Mean action of an observation, normalisation included: what is exported to a robot.

    The action distribution is a diagonal Gaussian around it, whose log standard deviation is a parameter
    of its own and does not depend on the observation.
    """

    def __init__(
        self, width: int, num_dofs: int, hidden: Sequence[int], std: float = 1.0, normalise: bool = True
    ) -> None:
        super().__init__()
        self.normaliser = Normaliser(width) if normalise else Untouched()
        self.body = Mlp(width, hidden, num_dofs)
        self.log_std = nn.Parameter(torch.full((num_dofs,), math.log(std)), requires_grad=False)

    def forward(self, observation: Tensor) -> Tensor:
        """`observation`: (..., width) to the mean action (..., dof)."""
        mean: Tensor = self.body(self.normaliser(observation))
        return mean


class Critic(nn.Module):
    """Expected discounted reward of a privileged observation."""

    def __init__(self, width: int, hidden: Sequence[int], normalise: bool = True) -> None:
        super().__init__()
        self.normaliser = Normaliser(width) if normalise else Untouched()
        self.body = Mlp(width, hidden, 1)

    def forward(self, observation: Tensor) -> Tensor:
        """`observation`: (..., width) to the value (...)."""
        value: Tensor = self.body(self.normaliser(observation)).squeeze(-1)
        return value


class Tape:
    """Forward and backward pass of one MLP for up to `rows` samples at a time, in memory of its own.

    `forward` remembers the activations that the next `backward` needs; both may be called any number of
    times. Derivatives are added to `gradients`, tensors like the MLP's parameters and in their order; by
    default to the `grad` of these, which must exist.
    """

    def __init__(self, mlp: Mlp, rows: int, gradients: Sequence[Tensor] | None = None) -> None:
        self.linears = list(mlp.linears())
        own = [p.grad for p in mlp.parameters()] if gradients is None else gradients
        self.gradients = [g for g in own if g is not None]
        self.inputs = torch.empty(0)
        self.outputs = [layer.weight.new_empty(rows, layer.out_features) for layer in self.linears]
        self.slopes = [torch.empty_like(output) for output in self.outputs[:-1]]

    def forward(self, inputs: Tensor) -> Tensor:
        """`inputs`: (samples, width) to (samples, outputs), valid until the next call."""
        self.inputs = inputs
        for layer, output in zip(self.linears, self.outputs, strict=True):
            inputs = torch.addmm(layer.bias, inputs, layer.weight.t(), out=output[: len(inputs)])
            if layer is not self.linears[-1]:
                nn.functional.elu_(inputs)
        return inputs

    def backward(self, slope: Tensor) -> None:
        """Add the parameters' gradients; `slope`: (samples, outputs), the loss's derivative by the last output."""
        samples = len(slope)
        for index in reversed(range(len(self.linears))):
            layer = self.linears[index]
            inputs = self.outputs[index - 1][:samples] if index else self.inputs
            weight, bias = self.gradients[2 * index : 2 * index + 2]
            weight.addmm_(slope.t(), inputs)
            bias.add_(slope.sum(0))
            if index:
                below = torch.mm(slope, layer.weight, out=self.slopes[index - 1][:samples])
                # ELU's derivative from its result h: 1 where h > 0, else h + 1
                slope = torch.ops.aten.elu_backward.grad_input(below, 1, 1, 1, True, inputs, grad_input=below)


def share_storage(networks: Sequence[nn.Module]) -> tuple[nn.Parameter, Tensor]:
    """Move all parameters into one vector and their gradients into another, network after network.

    The modules keep views, so that one operation on the vector clips, steps or clears them all.
    """
    parameters = [parameter for network in networks for parameter in network.parameters()]
    sizes = [parameter.numel() for parameter in parameters]
    shared = nn.Parameter(torch.cat([parameter.flatten() for parameter in parameters]), requires_grad=False)
    gradient = shared.grad = torch.zeros_like(shared.data)
    for parameter, values, slopes in zip(parameters, shared.data.split(sizes), gradient.split(sizes), strict=True):
        parameter.data = values.view_as(parameter)
        parameter.grad = slopes.view_as(parameter)
    return shared, gradient


def views_like(networks: Sequence[nn.Module], vector: Tensor) -> list[list[Tensor]]:
    """A vector as long as all parameters, as tensors like those of each network, in the order of `share_storage`."""
    shapes = [[parameter.shape for parameter in network.parameters()] for network in networks]
    pieces = iter(vector.split([shape.numel() for group in shapes for shape in group]))
    return [[next(pieces).view(shape) for shape in group] for group in shapes]


def make_policy(
    actor_width: int,
    critic_width: int,
    num_dofs: int,
    *,
    hidden: Sequence[int] = (512, 256, 128),
    critic_hidden: Sequence[int] | None = None,
    init_std: float = 1.0,
    learning_rate: float = 1e-3,
    normalise: bool = True,
    seed: int = 0,
    device: "torch.device | str" = "cpu",
) -> Policy:
    """A new policy; equal seeds give equal weights on every device. `critic_hidden` is `hidden` unless given.

    `normalise` False feeds the networks observations as they are. Raises BuildError for a layer without units, or a deviation or learning rate that is not positive.
    """
    critic_hidden = hidden if critic_hidden is None else critic_hidden
    if min(actor_width, critic_width, num_dofs, *hidden, *critic_hidden) < 1:
        raise BuildError(
            f"A policy of widths {actor_width} (actor), {critic_width} (critic), {num_dofs} joints and hidden layers "
            f"{tuple(hidden)}, {tuple(critic_hidden)} has an empty layer; every size must be at least 1."
        )
    if init_std <= 0 or learning_rate <= 0:
        raise BuildError(
            f"The policy was given init_std={init_std} and learning_rate={learning_rate}; both must be above 0."
        )
    generator = torch.Generator().manual_seed(seed)
    actor = Actor(actor_width, num_dofs, hidden, init_std, normalise)
    critic = Critic(critic_width, critic_hidden, normalise)
    actor.body.initialise(generator)
    *_, last = actor.body.linears()
    last.weight.mul_(SMALL)
    last.bias.mul_(SMALL)
    critic.body.initialise(generator)
    actor.to(device)
    critic.to(device)
    parameters, gradient = share_storage([actor, critic])
    rate = torch.tensor(learning_rate, device=device)
    # a tensor as rate and a fused step let the schedule and the guard against non-finite steps stay on the device
    optimiser = torch.optim.Adam([parameters], lr=rate, fused=True)
    optimiser.state[parameters] = {
        "step": torch.zeros((), device=device),
        "exp_avg": torch.zeros_like(parameters.data),
        "exp_avg_sq": torch.zeros_like(parameters.data),
    }
    return Policy(
        actor=actor, critic=critic, parameters=parameters, gradient=gradient, optimiser=optimiser, learning_rate=rate
    )


def deployed(policy: Policy) -> Actor:
    """A copy of the actor on the CPU that shares nothing with training: observation to mean action."""
    first = next(policy.actor.body.linears())
    hidden = [layer.out_features for layer in policy.actor.body.linears()][:-1]
    normalise = isinstance(policy.actor.normaliser, Normaliser)
    copy = Actor(first.in_features, len(policy.actor.log_std), hidden, normalise=normalise)
    copy.load_state_dict(policy.actor.state_dict())
    return copy.eval()
