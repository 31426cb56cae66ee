"""Requests to stop: Ctrl-C and signals, remembered until a moment at which the run can stop."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

import attrs

_ALWAYS = (signal.SIGINT, signal.SIGTERM)
_SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")  # Windows lacks the last two


@contextmanager
def signals_handled(numbers: Sequence[int], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have signals call a handler as long as this lasts; in another thread than the main one nothing is handled."""
    here = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handler) for number in (numbers if here else ())}
    try:
        yield
    finally:
        for number, handled in before.items():
            signal.signal(number, handled)


@attrs.define
class StopRequest:
    """Whether somebody asked to stop; a second request stops at once, by KeyboardInterrupt."""

    requested: bool = False

    def listening(self) -> AbstractContextManager[None]:
        """Answer Ctrl-C, SIGTERM, SIGUSR1 (a scheduler's warning) and SIGHUP (a terminal that is gone) as long as this lasts.

        Under nohup a terminal that is gone stops nothing.
        """
        numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
        kept = [number for number in numbers if number in _ALWAYS or signal.getsignal(number) is not signal.SIG_IGN]
        return signals_handled(kept, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
