"""Wrapping of the stand-in's memory: numpy arrays, or torch tensors where STANDIN_TENSORS=torch."""

import ctypes
import os
import weakref
from typing import Any

import numpy as np
from isaacgym import gymapi

if os.environ.get("STANDIN_TENSORS") == "torch":
    import torch
else:
    torch = None


def wrap_tensor(tensor: Any) -> Any:
    """A view of the memory that a descriptor tells of."""
    if not isinstance(tensor, gymapi.Tensor):
        raise TypeError(f"wrap_tensor(): incompatible function arguments: {type(tensor).__name__}")
    kind = ctypes.c_float if tensor.dtype == gymapi.DTYPE_FLOAT32 else ctypes.c_int32
    count = int(np.prod(tensor.shape))
    memory = np.ctypeslib.as_array((kind * count).from_address(tensor.data_address)).reshape(tensor.shape)
    return memory if torch is None else torch.from_numpy(memory)


def unwrap_tensor(values: Any) -> Any:
    """A descriptor of an array or tensor: its address and nothing that keeps it alive."""
    array = values if torch is None else values.detach().numpy()
    if torch is not None and not isinstance(values, torch.Tensor):
        raise TypeError(f"unwrap_tensor(): a torch tensor is needed, not {type(values).__name__}")
    if not array.flags["C_CONTIGUOUS"]:
        raise RuntimeError("Input tensor must be contiguous")
    kinds = {"float32": gymapi.DTYPE_FLOAT32, "int32": gymapi.DTYPE_UINT32, "int64": gymapi.DTYPE_UINT64}
    if array.dtype.name not in kinds:
        raise RuntimeError(f"Unsupported tensor type {array.dtype}")
    made = gymapi.Tensor()
    made.data_address, made.shape, made.device = array.ctypes.data, tuple(array.shape), -1
    made.dtype, made.own_data = kinds[array.dtype.name], False
    gymapi.SOURCES[id(made)] = weakref.ref(values)
    weakref.finalize(made, gymapi.SOURCES.pop, id(made), None)
    return made
