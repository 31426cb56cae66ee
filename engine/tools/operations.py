"""Dispatch mode of torch: sees every operation that a piece of code runs; and which of them the host must wait for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

_WAITING = frozenset(
    ("_local_scalar_dense", "bincount", "equal", "is_nonzero", "masked_select", "nonzero", "repeat_interleave",
     "_unique", "_unique2", "unique_consecutive", "unique_dim")
)  # fmt: skip
_COPYING = frozenset(("tolist", "numpy", "cpu", "__array__"))


class OperationMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Base of modes with a `__torch_dispatch__`. The first operation does not import torch's compiler, which takes seconds."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class HostCopies(TorchFunctionMode):
    """Tells `note` of copies to the host, which no dispatch shows while the data lies on the CPU anyway."""

    def __init__(self, note: Callable[[str], object]) -> None:
        super().__init__()
        self.note = note

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in _COPYING:
            self.note(name.strip("_"))
        return func(*args, **(kwargs or {}))


def host_read(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """What of an operation the host must wait for, in a few words; "" where it waits for nothing."""
    name = str(func.overloadpacket.__name__)
    if name in _WAITING:
        return name.strip("_").removesuffix("2")
    if name.startswith(("index", "_index_put")) and len(args) > 1 and isinstance(args[1], (list, tuple)):
        if any(isinstance(i, Tensor) and i.dtype == torch.bool for i in args[1]):
            return "index with a mask"
    if name.startswith("masked_fill") and len(args) > 2 and isinstance(args[2], Tensor):
        return "masked_fill with a tensor of one number"
    device = kwargs.get("device")
    if name == "_to_copy" and device is not None and device.type == "cpu" and not args[0].is_cpu:
        return "copy to the host"
    return ""
