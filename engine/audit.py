"""Run-time proofs: undeclared writes, non-finite values, and operations that wait for device values."""

from collections.abc import Iterator
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from engine.component import info
from engine.schedule import Entry, Schedule

_WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "unique", "is_nonzero")


@attrs.frozen
class Finding:
    """One thing that a declaration did not allow, as a sentence."""

    tick: int
    text: str


class _HostReads(TorchDispatchMode):
    """Collects operations whose result the host must wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name == "index" and any(isinstance(i, Tensor) and i.dtype == torch.bool for i in args[1] if i is not None)
        if name in _WAITING or by_mask:
            self.seen.append("index with a mask" if by_mask else name.lstrip("_"))
        return func(*args, **(kwargs or {}))


def tensors_in(value: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor reachable from a resource, with a path to it."""
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, torch.nn.Module):
        for name, part in [*value.named_parameters(), *value.named_buffers()]:
            yield f"{path}.{name}", part
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from tensors_in(part, f"{path}.{key}")
    elif attrs.has(type(value)) and hasattr(type(value), "__lockstep_resource__"):
        for field in attrs.fields(type(value)):
            yield from tensors_in(getattr(value, field.name), f"{path}.{field.name}" if path else field.name)


class Audit:
    """Watches a schedule after every system; `findings` collects what it saw, once per system and column."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.findings: list[Finding] = []
        self._known: set[tuple[str, ...]] = set()
        self._last_writer: dict[str, str] = {}
        world = schedule.world
        self._columns = {
            f"{cls.__name__}.{name}": ((table, cls), getattr(instance, name))
            for (table, cls), instance in world.components.items()
            for name in info(cls).columns
        }
        self._versions: dict[str, int] = {}
        schedule.around = self._run
        self._remember()

    def detach(self) -> None:
        """Stop watching."""
        self.schedule.around = None

    def _resource_tensors(self) -> Iterator[tuple[str, type, Tensor]]:
        for cls, item in self.schedule.world.resources.items():
            for path, tensor in tensors_in(item):
                yield f"{cls.__name__}.{path}", cls, tensor

    def _remember(self) -> None:
        self._versions = {name: tensor._version for name, (_, tensor) in self._columns.items()}
        self._versions.update({name: tensor._version for name, _, tensor in self._resource_tensors()})

    def _run(self, entry: Entry) -> None:
        host = _HostReads()
        with host:
            entry.call()
        if host.seen and not entry.system.may_sync:
            self._report(
                ("sync", entry.name, entry.phase),
                f"{entry.place} waits for device values ({', '.join(sorted(set(host.seen)))}); on a GPU every tick would "
                "stall there. Use masks and put_rows, or say may_sync= with a reason.",
            )
        allowed = set(entry.system.writes)
        for name, (key, tensor) in self._columns.items():
            if tensor._version != self._versions[name]:
                self._versions[name] = tensor._version
                self._last_writer[name] = entry.place
                if key[1] not in allowed:
                    self._undeclared(entry, name, key[1])
            elif key[1] not in allowed:
                continue
            if tensor.is_floating_point():
                self._check_finite(entry, name, tensor)
        for name, cls, tensor in self._resource_tensors():
            if tensor._version != self._versions.get(name, tensor._version):
                if cls not in allowed:
                    self._undeclared(entry, name, cls)
            self._versions[name] = tensor._version

    def _undeclared(self, entry: Entry, name: str, cls: type) -> None:
        self._report(
            ("write", entry.name, entry.phase, name),
            f"{entry.place} changed {name} without declaring it. Type its parameter Write[{cls.__name__}], or leave it alone.",
        )

    def _check_finite(self, entry: Entry, name: str, tensor: Tensor) -> None:
        bad = ~torch.isfinite(tensor)
        if not bool(bad.any()):
            return
        where = bad.nonzero()[0].tolist()
        value = float(tensor[tuple(where)])
        self._report(
            ("finite", name),
            f"{name} is {value} in row {where[0]}{f' at {tuple(where[1:])}' if where[1:] else ''}, "
            f"written by {self._last_writer.get(name, entry.place)}.",
        )

    def _report(self, key: tuple[str, ...], text: str) -> None:
        if key not in self._known:
            self._known.add(key)
            self.findings.append(Finding(self.schedule.world.clock.tick, text))


