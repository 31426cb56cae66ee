"""Launches: work of another library in the middle of a system, of which a recording of torch's operations must know."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from torch import Generator

Work = Callable[[], None]
Streams = Sequence[Sequence[Generator]]  # by part of a recording


class LaunchListener(Protocol):
    """Whoever records a system, or looks at what it does."""

    def launch(self, work: Work, joins: bool) -> None:
        """Take note of the work, and do it, or have it done in its place when the system is replayed."""
        ...


_listening: list[LaunchListener] = []


def launch(work: Work, *, joins: bool = False) -> None:
    """Do work of another library, on torch's current stream.

    Work that `joins` becomes part of a CUDA graph that torch records, and asks torch whether it does. Other work, such as the
    launch of another graph, comes between two graphs of torch, unless whoever records wants only one.
    """
    if _listening:
        _listening[-1].launch(work, joins)
    else:
        work()


def capturing() -> bool:
    """Whether operations are recorded now, or compared, to be replayed without the host: numbers of the host would stay as they are."""
    return bool(_listening)


@contextmanager
def heard_by(listener: LaunchListener) -> Iterator[None]:
    """Tell a listener of launches as long as this lasts."""
    _listening.append(listener)
    try:
        yield
    finally:
        _listening.remove(listener)
