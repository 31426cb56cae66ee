"""Run-time proofs: undeclared writes, terms and columns that are not finite, and operations that wait for device values."""

from collections.abc import Iterator
from typing import Any

import attrs
import torch
from torch import Tensor

from engine.ecs.binding import Key
from engine.ecs.component import info
from engine.ecs.schedule import Entry, Schedule
from engine.ecs.table import tensors_in
from engine.ecs.world import NonFinite
from engine.tools.operations import HostCopies, OperationMode, host_read


@attrs.frozen
class Finding:
    """One thing that a declaration did not allow, as a sentence."""

    tick: int
    text: str


class _HostReads(OperationMode):  # type: ignore[no-untyped-call]
    """Collects operations whose result the host must wait for."""

    def __init__(self, seen: set[str]) -> None:
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if found := host_read(func, args, kwargs or {}):
            self.seen.add(found)
        return func(*args, **(kwargs or {}))


class Audit:
    """Watches a schedule after every system; `findings` collects what it saw, once per system and column."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.findings: list[Finding] = []
        self._known: set[tuple[str, ...]] = set()
        world = schedule.world
        several = len(world.tables) > 1
        self._columns: list[tuple[str, Key, Tensor]] = [
            (f"{table}." * several + f"{cls.__name__}.{name}", (table, cls), getattr(instance, name))
            for (table, cls), instance in world.components.items()
            for name in info(cls).columns
        ]
        schedule.wrap = self._run
        world.noticed.append(self._notice)

    def detach(self) -> None:
        """Stop watching."""
        self.schedule.wrap = None
        self.schedule.world.noticed.remove(self._notice)

    def _notice(self, found: NonFinite) -> None:
        self._report(
            ("term", found.system, found.term),
            f"The term `{found.term}` of {found.system} is {found.value} in row {found.row}.",
        )

    def _watched(self) -> Iterator[tuple[str, Key, Tensor]]:
        yield from self._columns
        for cls, item in self.schedule.world.resources.items():
            for path, tensor in tensors_in(item):
                yield f"{cls.__name__}.{path}", ("", cls), tensor

    def _read_versions(self) -> dict[str, Any]:
        versions: dict[str, Any] = {name: (id(tensor), tensor._version) for name, _, tensor in self._watched()}
        for cls, item in self.schedule.world.resources.items():
            for field in attrs.fields(type(item)):
                value = getattr(item, field.name)
                if isinstance(value, (bool, int, float, str)):
                    versions[f"{cls.__name__}.{field.name}"] = value
        return versions

    def _run(self, entry: Entry) -> None:
        before = self._read_versions()  # what happened between systems is nobody's fault
        seen: set[str] = set()
        with HostCopies(seen.add), _HostReads(seen):
            entry.call()
        if seen and not entry.system.may_sync:
            self._report(
                ("sync", entry.name, entry.phase),
                f"{entry.place} waits for device values ({', '.join(sorted(seen))}); on a GPU every tick would "
                "stall there. Use masks and put_rows, or say may_sync= with a reason.",
            )
        after = self._read_versions()
        changed = {name for name in after if after[name] != before.get(name)}
        self._check_declared(entry, changed)
        for name, key, tensor in self._columns:
            if tensor.is_floating_point() and (name in changed or key in entry.writes):
                self._check_finite(entry, name, tensor)

    def _check_declared(self, entry: Entry, changed: set[str]) -> None:
        by_name = {name: key for name, key, _ in self._columns}
        resources = {cls.__name__: ("", cls) for cls in self.schedule.world.resources}
        for name in sorted(changed):
            key = by_name.get(name) or resources[name.split(".")[0]]
            if key not in entry.writes:
                self._report(
                    ("write", entry.name, entry.phase, name),
                    f"{entry.place} changed {name} without declaring it. "
                    f"Type its parameter Write[{key[1].__name__}], or leave it alone.",
                )

    def _check_finite(self, entry: Entry, name: str, tensor: Tensor) -> None:
        bad = ~torch.isfinite(tensor)
        if not bool(bad.any()):
            return
        where = bad.nonzero()[0].tolist()
        value = float(tensor[tuple(where)])
        self._report(
            ("finite", name),
            f"{name} is {value} in row {where[0]}{f' at {tuple(where[1:])}' if where[1:] else ''}, written by {entry.place}.",
        )

    def _report(self, key: tuple[str, ...], text: str) -> None:
        if key not in self._known:
            self._known.add(key)
            self.findings.append(Finding(self.schedule.world.clock.tick, text))
