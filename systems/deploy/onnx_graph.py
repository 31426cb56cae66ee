"""ONNX graphs of torch modules that write in place: traced once, made free of writing, and given to torch's exporter.

torch's newer exporter would take half a minute for what takes a second here, and refuses some of what systems do.
"""

import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

OPSET = 17
_ATEN = torch.ops.aten


class _Pure(nn.Module):
    """A graph without writing, which takes the constants of the traced module after its arguments."""

    def __init__(self, graph: fx.GraphModule, constants: Sequence[Tensor]) -> None:
        super().__init__()
        self.graph, self.count = graph, len(constants)
        for number, constant in enumerate(constants):
            self.register_buffer(f"constant{number}", constant)

    def forward(self, *given: Tensor) -> Any:
        return self.graph(*given, *(getattr(self, f"constant{number}") for number in range(self.count)))


@torch.no_grad()
def onnx_graph(module: nn.Module, example: Sequence[Tensor], inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """The bytes of an ONNX file that computes what `module` does, for arguments of the shapes of the `example`."""
    from torch.fx.experimental.proxy_tensor import make_fx

    written = make_fx(lambda *given: module(*given))(*example)
    constants = _constants_as_arguments(written)
    pure = make_fx(torch.func.functionalize(written))(*example, *constants)
    for node in pure.graph.nodes:
        if node.op == "call_function":
            node.target = _KNOWN.get(node.target, node.target)
    pure.graph.eliminate_dead_code()
    pure.recompile()
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes are constants here, and the exporter's age is known
        torch.onnx.export(
            _Pure(pure, constants).eval(),
            tuple(example),
            file,  # type: ignore[arg-type]
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=False,
        )
    return file.getvalue()


def _constants_as_arguments(traced: fx.GraphModule) -> list[Tensor]:
    """Make the constants of a graph its last arguments; what is written in place must be an argument or made inside."""
    last = [node for node in traced.graph.nodes if node.op == "placeholder"][-1]
    found = []
    for node in [node for node in traced.graph.nodes if node.op == "get_attr"]:
        with traced.graph.inserting_after(last):
            last = traced.graph.placeholder(f"{node.name}_given")
        node.replace_all_uses_with(last)
        found.append(getattr(traced, node.target).detach().clone())
        traced.graph.erase_node(node)
    traced.recompile()
    return found


def _put_slice(
    whole: Tensor, part: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    size = int(whole.shape[dim])
    places = range(size)[start:end:step]
    first, past = (places[0], places[-1] + 1) if len(places) else (0, 0)
    if step != 1:
        taken = torch.arange(first, past, step)
        return whole.index_copy(dim, taken, part)
    pieces = [
        whole.narrow(dim, 0, first),
        part.expand(whole.narrow(dim, first, past - first).shape),
        whole.narrow(dim, past, size - past),
    ]
    kept = [piece for piece, count in zip(pieces, (first, past - first, size - past), strict=True) if count]
    return torch.cat(kept, dim) if len(kept) > 1 else kept[0]


def _put_one(whole: Tensor, part: Tensor, dim: int, index: int) -> Tensor:
    place = index % int(whole.shape[dim])
    return _put_slice(whole, part.unsqueeze(dim), dim, place, place + 1)


def _convert(x: Tensor, *, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    return x.clone() if dtype is None else x.to(dtype)


_KNOWN: dict[Any, Callable[..., Tensor]] = {  # what torch's exporter does not know, in operations that it does
    _ATEN._to_copy.default: _convert,
    _ATEN._unsafe_view.default: lambda x, size: x.reshape(size),
    _ATEN.copy.default: lambda old, new, non_blocking=False: new.to(old.dtype).expand(old.shape),
    _ATEN.lift_fresh_copy.default: lambda x: x.clone(),
    _ATEN.new_empty.default: lambda x, size, **_: torch.zeros(size, dtype=x.dtype),
    _ATEN.new_zeros.default: lambda x, size, **_: torch.zeros(size, dtype=x.dtype),
    _ATEN.select_scatter.default: _put_one,
    _ATEN.slice_scatter.default: _put_slice,
    _ATEN.view.default: lambda x, size: x.reshape(size),
}
