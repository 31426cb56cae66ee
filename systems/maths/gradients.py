"""Results on their way into columns, with gradients where they are recorded."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def write(column: Tensor, function: Callable[..., Tensor], *arguments: Any, **more: Any) -> Tensor:
    """`function(*arguments, **more)`, which takes `out=`, in `column`, which may be an argument; returns the column.

    It is written straight there, except where gradients are recorded: torch does not record `out=`.
    """
    if not torch.is_grad_enabled():
        return function(*arguments, out=column, **more)
    kept = (column.clone() if each is column else each for each in arguments)  # a gradient may need what stood there
    return column.copy_(function(*kept, **more))
