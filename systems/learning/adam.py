"""Adam on one vector of parameters, by torch's fused kernel.

`torch.optim.Adam(fused=True)` gives the same bits, but making one imports torch's compiler, which takes longer than building
a scene.
"""

import torch
from torch import Tensor

BETAS = (0.9, 0.999)  # decay of the moments, as published
EPSILON = 1e-8
Parts = tuple[tuple[int, int | None, float], ...]
WHOLE: Parts = ((0, None, 1.0),)


class Adam:
    """Kingma and Ba, "Adam: a method for stochastic optimization", 2015; `rate` is read anew in each step.

    `moments` are `step`, `exp_avg` and `exp_avg_sq`, by the names that torch gives them. `parts` are places of the vector, from one up to
    another, with their own rate as a multiple of `rate`.
    """

    def __init__(
        self, parameters: Tensor, gradient: Tensor, rate: Tensor, betas: tuple[float, float] = BETAS,
        parts: Parts = WHOLE,
    ) -> None:  # fmt: skip
        self.betas, self.parts = betas, parts
        self.parameters, self.gradient, self.rate = parameters.detach(), gradient, rate
        names = ("exp_avg", "exp_avg_sq")
        self.moments = {
            "step": torch.zeros((), device=parameters.device),
            **{name: torch.zeros_like(self.parameters) for name in names},
        }

    @torch.no_grad()
    def step(self, unsound: Tensor) -> None:
        """Follow the gradient; where `unsound` (one float) is 1 nothing changes, without waiting for a device to say so."""
        step, first, second = self.moments.values()
        step.add_(1.0)
        for begin, end, share in self.parts:
            at = slice(begin, end)
            torch._fused_adam_(
                [self.parameters[at]], [self.gradient[at]], [first[at]], [second[at]], [], [step],
                lr=self.rate * share, beta1=self.betas[0], beta2=self.betas[1], weight_decay=0.0, eps=EPSILON, amsgrad=False,
                maximize=False, found_inf=unsound,
            )  # fmt: skip
        step.sub_(unsound)
