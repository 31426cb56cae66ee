"""Encoding of nested tensors, arrays and plain values: copied to the host, and as a tree that msgpack can carry."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.errors import SnapshotError

_ARRAYS = "biufcmMSU"  # kinds of numpy's types that are numbers or text in themselves
_TENSORS = re.compile(r"bool|(u?int|b?float|complex)(8|16|32|64|128)(_\w+)?")  # others crash torch when asked for


def copied(value: Any, into: Any = None) -> Any:
    """`value` with every tensor and array copied to the host, into those of `into` where they fit.

    SnapshotError for what a snapshot cannot hold.
    """
    if isinstance(value, Tensor):
        if isinstance(into, Tensor) and into.shape == value.shape and into.dtype == value.dtype:
            return into.copy_(value.detach())
        return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in _ARRAYS:
            raise SnapshotError(f"A snapshot cannot hold an array of {value.dtype}; keep numbers or text in it.")
        if isinstance(into, np.ndarray) and into.shape == value.shape and into.dtype == value.dtype:
            np.copyto(into, value)
            return into
        return np.array(value, order="C")
    if isinstance(value, Mapping):
        old = into if isinstance(into, Mapping) else {}
        return {key: copied(part, old.get(key)) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        parts = [copied(part) for part in value]
        return tuple(parts) if isinstance(value, tuple) else parts
    _refuse_foreign(value)
    return value


def _refuse_foreign(value: Any) -> None:
    whole = isinstance(value, int) and -(2**63) <= value < 2**64
    if not whole and value is not None and not isinstance(value, (bool, float, str, bytes)):
        raise SnapshotError(
            f"A snapshot cannot hold {value!r:.60} ({type(value).__name__}). Declare the field with constant(), or give its resource state() and load()."
        )


def num_bytes_of(value: Any) -> int:
    """Memory of the tensors and arrays in a nested value."""
    if isinstance(value, (Tensor, np.ndarray)):
        return int(value.nbytes)
    if isinstance(value, Mapping):
        return sum(map(num_bytes_of, value.values()))
    return sum(map(num_bytes_of, value)) if isinstance(value, (list, tuple)) else 0


def encode(value: Any, arrays: "list[tuple[str, memoryview]] | None" = None, name: str = "") -> Any:
    """Nested tensors, arrays and plain values as msgpack can carry them; SnapshotError for anything else.

    With `arrays`, the bytes of tensors and arrays go there, under `name`, and the tree keeps their numbers.
    """

    def carried(data: np.ndarray) -> dict[str, Any]:
        if arrays is None:
            return {"data": data.tobytes()}
        flat = np.ascontiguousarray(data).reshape(-1)
        arrays.append((name, flat.view(np.uint8).data if flat.size else memoryview(b"")))
        return {"part": len(arrays) - 1}

    if isinstance(value, Tensor):
        flat = value.detach().cpu().contiguous().reshape(-1)
        dtype = str(value.dtype).removeprefix("torch.")
        data = (flat.view(torch.uint8) if flat.numel() else torch.empty(0, dtype=torch.uint8)).numpy()
        return {"__tensor__": dtype, "shape": list(value.shape), **carried(data)}
    if isinstance(value, np.ndarray):
        return {"__array__": str(value.dtype), "shape": list(value.shape), **carried(value)}
    if isinstance(value, Mapping):
        if all(isinstance(k, str) and not k.startswith("__") for k in value):
            return {k: encode(v, arrays, name) for k, v in value.items()}
        return {"__pairs__": [[encode(k), encode(v, arrays, name)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {"__tuple__": [encode(v, arrays, name) for v in value]}
    if isinstance(value, list):
        return [encode(v, arrays, name) for v in value]
    _refuse_foreign(value)
    return value


def _carried(value: Mapping[str, Any], arrays: list[bytearray]) -> "Tensor | np.ndarray":
    """The tensor or array that stands in the tree so; ValueError where type, shape and data do not fit together.

    Each part of `arrays` is given away once, so that no two tensors share memory.
    """
    named, shape, part = value.get("__tensor__", value.get("__array__")), value["shape"], value.get("part")
    if isinstance(value.get("data"), bytes):
        data = bytearray(value["data"])
    elif type(part) is int and 0 <= part < len(arrays):
        data, arrays[part] = arrays[part], bytearray()
    else:
        raise ValueError(f"there are no data for part {part!r:.20}")
    dtype: Any = None
    known = False
    if isinstance(named, str) and "__array__" in value:
        dtype = np.dtype(named)
        known = dtype.kind in _ARRAYS
    elif isinstance(named, str) and _TENSORS.fullmatch(named):
        dtype = getattr(torch, named, None)
        known = isinstance(dtype, torch.dtype)
    if not known or type(shape) is not list or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"there is no array of type {named!r:.40} and shape {shape!r:.40}")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"{len(data)} bytes are no {named} of shape {shape!r:.40}")
    if "__array__" in value:
        return np.frombuffer(data, dtype=dtype).reshape(shape).copy()
    return (torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)).reshape(shape)


def decode(value: Any, arrays: "list[bytearray] | None" = None) -> Any:
    """The inverse of `encode`; ValueError, or what else Python says, for what `encode` does not make."""
    if isinstance(value, list):
        return [decode(v, arrays) for v in value]
    if not isinstance(value, dict):
        if value is not None and not isinstance(value, (bool, int, float, str, bytes)):
            raise ValueError(f"{value!r:.60} is nothing that a snapshot holds")
        return value
    if "__tensor__" in value or "__array__" in value:
        return _carried(value, [] if arrays is None else arrays)
    if "__pairs__" in value:
        return {decode(k, arrays): decode(v, arrays) for k, v in value["__pairs__"]}
    if "__tuple__" in value:
        return tuple(decode(v, arrays) for v in value["__tuple__"])
    return {k: decode(v, arrays) for k, v in value.items()}
