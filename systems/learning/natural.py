"""Natural gradient of a policy with Gaussian actions: of all changes that alter its actions equally, the one that gains most.

Amari, "Natural gradient works efficiently in learning", 1998; by conjugate gradients as in TRPO, Schulman et al. 2015.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from components.learning import Policy
from components.world_model import MeanGradient
from systems.learning.config import PpoConfig
from systems.learning.networks import make_policy

TINY = 1e-30  # below every divisor, so that a gradient of 0 gives a step of 0


def make_mean_gradient(
    config: PpoConfig, axes: Mapping[str, Sequence[str]], seed: int, device: torch.device
) -> MeanGradient:
    """0, of as many parameters as the actor has."""
    return MeanGradient(gradient=torch.zeros_like(make_policy(config, axes, seed, device, critic=False).gradient))


def take_natural_step(
    policy: Policy, mean: MeanGradient, gradient: Tensor, seen: Tensor, *,
    momentum: float, deviation: float, kl: float, damping: float, solves: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Change the policy by a natural step down the mean gradient, of at most `kl` nats over what was `seen` (rows, observation).

    `gradient` is taken into the mean first, which keeps the share `momentum` of what it was. Returns the divergence
    that the step made, and 1; without any change, 0 and 0, where the gradient is not finite.
    """
    parameters = list(policy.actor.parameters())
    own = policy.parameters.data[: len(gradient)]  # parameters of a critic follow
    if not bool(gradient.isfinite().all()):
        nothing = seen.new_zeros(())
        return nothing, nothing
    gradient = mean.gradient.lerp_(gradient, 1.0 - momentum)
    with torch.enable_grad():
        means = policy.actor(seen)
        change = natural_step(means, parameters, gradient, deviation=deviation, kl=kl, damping=damping, solves=solves)
    own.add_(change)
    made = divergence(means.detach(), policy.actor(seen), deviation)
    if made > kl:  # by which the quadratic form falls short
        own.sub_(change * (1.0 - (kl / made).sqrt()))
        made = made.clamp_max(kl)
    return made, torch.ones_like(made)


def divergence(mean: Tensor, other: Tensor, deviation: float) -> Tensor:
    """KL divergence of Gaussians with one deviation, ½ Σ ((μ − μ') / σ)², mean over rows."""
    return ((other - mean) / deviation).square().sum(-1).mean() * 0.5


def natural_step(
    means: Tensor, parameters: Sequence[nn.Parameter], gradient: Tensor, *,
    deviation: float, kl: Tensor | float, damping: float, solves: int,
) -> Tensor:  # fmt: skip
    """The change of the parameters that goes down the gradient fastest, as far as a KL divergence of `kl` nats by its quadratic form.

    It is −a (F + damping)⁻¹ gradient, solved by `solves` steps of conjugate gradients; (parameters,) like the gradient. F is the Fisher
    information of Gaussian actions of one `deviation` around `means` (rows, actions), which carry gradients to the `parameters`:
    the mean over rows of Jᵀ J / deviation².
    """
    scaled = means / deviation
    probe = torch.zeros_like(scaled, requires_grad=True)
    pulled = _joined(scaled, parameters, probe, create_graph=True)

    def fisher(direction: Tensor) -> Tensor:
        (moved,) = torch.autograd.grad(pulled, probe, direction, retain_graph=True)
        return _joined(scaled, parameters, moved, retain_graph=True) / len(means)

    direction = solve(lambda x: fisher(x) + damping * x, -gradient, solves)
    return direction * (2.0 * kl / (direction @ fisher(direction)).clamp_min(TINY)).sqrt()


def _joined(values: Tensor, parameters: Sequence[nn.Parameter], seed: Tensor, **options: bool) -> Tensor:
    pieces = torch.autograd.grad(values, parameters, seed, materialize_grads=True, allow_unused=True, **options)
    return torch.cat([piece.flatten() for piece in pieces])


def solve(product: Callable[[Tensor], Tensor], wanted: Tensor, steps: int) -> Tensor:
    """x with `product`(x) = `wanted`, as far as so many steps of conjugate gradients come; `product` is symmetric and positive."""
    found, left = torch.zeros_like(wanted), wanted.clone()
    direction, square = left.clone(), left @ left
    for _ in range(steps):
        image = product(direction)
        reach = square / (direction @ image).clamp_min(TINY)
        found += reach * direction
        left -= reach * image
        before, square = square, left @ left
        direction = left + square / before.clamp_min(TINY) * direction
    return found
