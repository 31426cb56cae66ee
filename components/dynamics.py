"""Dynamics: a learned model of how a robot moves in one control step."""

from typing import Any

import torch
from torch import Tensor, nn

from engine.ecs.component import constant, resource
from engine.errors import SnapshotError


@resource
class Dynamics:
    """A linear map of the inputs plus a network of them; what both mean stands in `systems/learning/dynamics.py`.

    Inputs and outputs are those of its functions `inputs` and `outputs_of`. `parameters` is the storage of every
    weight and bias of the network, layer after layer; the optimiser steps that one vector. What predicts is their
    `average`, a running mean over the last steps.
    """

    joints: tuple[str, ...] = constant()
    extras: tuple[str, ...] = constant()  # names of the inputs that come after those of the state
    hidden: tuple[int, ...] = constant()
    dt: float = constant()  # s, one control step
    parameters: nn.Parameter = constant()
    optimiser: Any = constant()
    average: Tensor  # of the parameters, (parameters,)
    mean: Tensor  # (inputs,)
    deviation: Tensor  # (inputs,), never below a floor
    weights: Tensor  # (inputs, outputs), from shifted and scaled inputs to scaled outputs
    bias: Tensor  # (outputs,), scaled
    scale: Tensor  # (outputs,), standard deviations; 0 until the model is fitted
    speed_limit: Tensor  # (6 + joints,), beyond which no velocity is predicted: root's linear, angular, joints'

    def state(self) -> dict[str, Any]:
        """Copies of everything that the next prediction and the next fit depend on, by name."""
        return {name: tensor.clone() for name, tensor in self._tensors().items()}

    def exported(self) -> dict[str, Any]:
        """What predicting needs: the state without the optimiser's moments."""
        return {name: tensor for name, tensor in self.state().items() if not name.startswith("optimiser.")}

    def load(self, state: dict[str, Any]) -> None:
        """Copy a saved or exported state into the existing storage, bit for bit; the latter begins with fresh moments.

        Raises SnapshotError, before anything is changed, when a name or shape differs.
        """
        own = self._tensors()
        fresh = not any(name.startswith("optimiser.") for name in state)
        wanted = [name for name in own if not (fresh and name.startswith("optimiser."))]
        for name in dict.fromkeys([*wanted, *state]):
            here, there = (tuple(x[name].shape) if name in x else None for x in (own, state))
            if here != there:
                raise SnapshotError(
                    f"Dynamics: '{name}' is {here or 'missing'} here but {there or 'missing'} in the saved model. "
                    "Use the joints, extra inputs and hidden sizes that it was trained with."
                )
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(state[name]) if name in wanted else tensor.zero_()

    def _tensors(self) -> dict[str, Tensor]:
        return {
            **{name: getattr(self, name) for name in ("mean", "deviation", "weights", "bias", "scale", "speed_limit")},
            "parameters": self.parameters.data,
            "average": self.average,
            **{f"optimiser.{name}": tensor for name, tensor in self.optimiser.moments.items()},
        }
