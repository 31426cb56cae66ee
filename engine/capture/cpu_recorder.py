"""Recorder on the processor: records operations of torch without effect and replays them on the same memory, as a CUDA graph does.

It is for tests of what is captured, and gains nothing: every operation is called again.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from engine.capture.launches import Streams, Work, heard_by
from engine.capture.trace import identity, tensors
from engine.tools.operations import HostCopies, OperationMode, host_read

Call = tuple[Any, Any, Any, list[Tensor]]


class HostReadError(RuntimeError):
    """Something waits for a value that a recording does not have."""


class CpuRecorder(OperationMode):  # type: ignore[no-untyped-call]
    """Records what `run` does, in parts between which other libraries work. `whole`: in one part, their work included."""

    def __init__(self, *, whole: bool = False) -> None:
        super().__init__()
        self.whole = whole

    def warm(self) -> AbstractContextManager[None]:
        """Where systems run before they are recorded."""
        return nullcontext()

    def record(self, run: Callable[[], None], streams: Streams) -> list[Work]:
        """What `run` does, as parts to be called in order; nothing has happened yet.

        `streams` are those that each part draws from. Raises what `run` does, HostReadError, and for another stream RuntimeError.
        """
        self.streams = [[stream for part in streams for stream in part]] if self.whole else [*map(list, streams)]
        self.parts: list[Work] = []
        self.calls: list[Call | Work] = []
        with self._without_effect(), heard_by(self), HostCopies(_refuse), self:
            run()
        self._end_part()
        return self.parts

    def launch(self, work: Work, joins: bool) -> None:
        """Keep the work for the replay."""
        if joins or self.whole:
            self.calls.append(work)
        else:
            self._end_part()
            self.parts.append(work)
            self.streams.pop(0)

    def _end_part(self) -> None:
        if self.calls:
            self.parts.append(partial(_replay, self.calls))
        self.calls = []

    @contextmanager
    def _without_effect(self) -> Iterator[None]:
        """Put back all memory and all random streams that were there before."""
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self._made: set[int] = set()
        own = torch.default_generator
        self._streams = {identity(own): (own, own.get_state())}
        try:
            yield
        finally:
            for storage, old in self._before.values():
                storage.copy_(old)
            for stream, state in self._streams.values():
                stream.set_state(state)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if found := host_read(func, args, kwargs):
            _refuse(found)
        for each in (*args, *kwargs.values()):
            if isinstance(each, torch.Generator):
                if identity(each) not in map(identity, self.streams[0]):
                    raise RuntimeError("it draws from a random stream that is not registered with the graph")
                self._streams.setdefault(identity(each), (each, each.get_state()))
        for written in tensors(_written(func, args, kwargs)):
            self._keep(written.untyped_storage())
        given = {t.untyped_storage().data_ptr() for t in tensors((args, kwargs))}
        result = func(*args, **kwargs)
        made = list(tensors(result))
        self._made |= {t.untyped_storage().data_ptr() for t in made} - given
        self.calls.append((func, args, kwargs, made))
        return result

    def _keep(self, storage: torch.UntypedStorage) -> None:
        address = storage.data_ptr()
        if address not in self._made and address not in self._before:
            self._before[address] = storage, storage.clone()  # type: ignore[no-untyped-call]


def _refuse(what: str) -> None:
    raise HostReadError(f"it reads the device ({what})")


@cache
def _places_written(func: Any) -> tuple[tuple[int, str], ...]:
    arguments = enumerate(func._schema.arguments)
    return tuple((at, a.name) for at, a in arguments if a.alias_info is not None and a.alias_info.is_write)


def _written(func: Any, args: Any, kwargs: Any) -> list[Any]:
    """The arguments that an operation writes into."""
    return [args[at] if at < len(args) else kwargs.get(name) for at, name in _places_written(func)]


def _replay(calls: list[Call | Work]) -> None:
    """Call every operation again; what one makes goes into the memory that it made when it was recorded."""
    with torch.no_grad():
        for call in calls:
            if not isinstance(call, tuple):
                call()
                continue
            func, args, kwargs, made = call
            for new, recorded in zip(tensors(func(*args, **kwargs)), made, strict=True):
                if new.untyped_storage().data_ptr() != recorded.untyped_storage().data_ptr():
                    recorded.copy_(new)
