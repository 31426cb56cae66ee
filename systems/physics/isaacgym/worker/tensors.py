"""Tensors of Isaac Gym as numpy arrays: what gymtorch wraps, on the processor a view of it, on a GPU a copy."""

import sys
from typing import Any, Tuple

import numpy as np
from isaacgym import gymapi, gymtorch


class Tensors:
    """Makes and reads tensors of the kind and on the device of `example`, one that gymtorch wrapped."""

    def __init__(self, example: Any) -> None:
        self._plain = isinstance(example, np.ndarray)  # gymtorch gives torch tensors, unless it was made for numpy
        self._device: Any = None if self._plain else example.device

    def host(self, tensor: Any) -> np.ndarray:
        """Its numbers; waits for the GPU."""
        return np.asarray(tensor if self._plain else tensor.cpu())

    def put(self, tensor: Any, values: np.ndarray) -> None:
        """Write `values`, all of them; where `host` gave a view of the tensor they are there already."""
        if self._plain or self._device.type == "cpu":
            if not np.shares_memory(self.host(tensor), values):
                self.host(tensor)[:] = values
        else:
            tensor.copy_(self._torch().from_numpy(values))

    def make(self, shape: Tuple[int, ...], kind: str) -> Any:
        """Zeros, kept by the caller for as long as a descriptor of them is in use."""
        values = np.zeros(shape, kind)
        return values if self._plain else self._torch().from_numpy(values).to(self._device)

    def descriptor(self, tensor: Any) -> gymapi.Tensor:
        """What a setter of Isaac Gym takes: it holds the address alone."""
        return gymtorch.unwrap_tensor(tensor)

    def _torch(self) -> Any:
        return sys.modules["torch"]  # which gymtorch imported
