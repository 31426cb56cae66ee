"""Requests to stop: Ctrl-C and signals, remembered until a moment at which the run can stop."""

import signal
from contextlib import AbstractContextManager
from types import FrameType

import attrs

from engine.terminal import signals_handled

REQUEUE = 75  # exit status of several processes that a scheduler stopped: EX_TEMPFAIL, "try again later"
_ALWAYS = (signal.SIGINT, signal.SIGTERM)
_SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")  # Windows lacks the last two


@attrs.define
class StopRequest:
    """Whether somebody asked to stop; a second request stops at once, by KeyboardInterrupt."""

    requested: bool = False
    by_scheduler: bool = False  # by SIGTERM or SIGUSR1

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
        self.by_scheduler = number in (signal.SIGTERM, getattr(signal, "SIGUSR1", None))
