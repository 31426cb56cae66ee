"""Matrix products of rows, made block by block: libraries round them otherwise when there are more rows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_NAMES = ("matmul", "__matmul__", "mm", "bmm", "mv", "addmm", "addmv", "baddbmm")
PRODUCTS = {getattr(home, name) for home in (torch, Tensor) for name in _NAMES if hasattr(home, name)}
PRODUCTS |= {torch.nn.functional.linear, torch.einsum, Tensor.__rmatmul__}


class BlockProducts(TorchFunctionMode):
    """While it lasts, products whose first factor has `length` rows are made in parts of `rows` rows; `seen` says that one was."""

    def __init__(self, length: int, rows: int) -> None:
        super().__init__()
        self.length, self.rows, self.seen = length, rows, False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a function of torch; a product in parts."""
        kwargs = kwargs or {}
        if func not in PRODUCTS:
            return func(*args, **kwargs)
        split = self._split(func, args)
        if not any(split):
            return func(*args, **kwargs)
        self.seen = True
        if self.length == self.rows:
            return func(*args, **kwargs)
        out = kwargs.get("out")
        parts = [
            torch.split(arg, self.rows) if cut else [arg] * (self.length // self.rows)
            for arg, cut in zip(args, split, strict=True)
        ]
        made = [
            func(*some, **{name: value for name, value in kwargs.items() if name != "out"})
            for some in zip(*parts, strict=True)
        ]
        return torch.cat(made, out=out) if out is not None else torch.cat(made)

    def _split(self, func: Callable[..., Any], args: Sequence[Any]) -> list[bool]:
        """Which arguments have the rows that the result has."""
        if func is torch.einsum and isinstance(args[0], str):
            inputs, _, output = args[0].replace(" ", "").partition("->")
            letters = inputs.split(",")
            return [
                False,
                *(
                    bool(output) and each[:1] == output[0] and self._of_rows(arg)
                    for each, arg in zip(letters, args[1:], strict=False)
                ),
            ]
        added = int(getattr(func, "__name__", "").startswith(("add", "badd")))  # what is added comes first
        if len(args) <= added or not self._of_rows(args[added]) or func is Tensor.__rmatmul__:
            return [False] * len(args)
        batched = args[added].dim() > 2
        second = [batched and self._of_rows(arg) and arg.dim() > 2 for arg in args[added + 1 :]]
        return [self._of_rows(arg) and arg.dim() >= args[1].dim() - (func in _VECTORS) for arg in args[:added]] + [
            True,
            *second,
        ]

    def _of_rows(self, value: Any) -> bool:
        return isinstance(value, Tensor) and value.dim() > 0 and len(value) == self.length


_VECTORS = {torch.addmv, Tensor.addmv}
