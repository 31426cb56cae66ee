"""Requests to stop: Ctrl-C and SIGTERM, remembered until a moment at which the run can stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import attrs


@attrs.define
class StopRequest:
    """Whether somebody asked to stop; a second request stops at once, by KeyboardInterrupt."""

    requested: bool = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Answer Ctrl-C and SIGTERM as long as this lasts."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
