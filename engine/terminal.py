"""Output to wherever it goes: a terminal or log of any encoding, a pipe whose reader has left, a disk that is full; and signals.

What is printed is for people; nothing that a command does depends on it. Imports nothing.
"""

import codecs
import errno
import os
import signal
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

PLAIN = "lockstep_plain"
"""Name of the error handler by which characters that an encoding lacks become similar ones of ASCII."""
_SIMILAR = {
    "–": "-", "—": "-", "−": "-", "·": ".", "×": "x", "÷": "/", "±": "+-", "°": "deg", "‖": "|", "→": "->", "←": "<-", "↔": "<->",
    "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "√": "sqrt", "Σ": "sum", "Δ": "d", "π": "pi", "σ": "sigma", "ω": "omega",
    "μ": "u", "∞": "inf", "‘": "'", "’": "'", "“": '"', "”": '"', "■": "#", "●": "*", "•": "*", "⊗": "x",
}  # fmt: skip
_GONE = (errno.EPIPE, errno.EBADF, errno.EIO)  # nobody will ever read it


def _similar(character: str) -> str:
    if character in _SIMILAR:
        return _SIMILAR[character]
    if "\u2500" <= character <= "\u257f":  # lines of boxes
        name = unicodedata.name(character)
        return "+" if " AND " in name or "DIAGONAL" in name else "-" if "HORIZONTAL" in name else "|"
    if "\u2580" <= character <= "\u259f":  # blocks, of which bars are made
        return "#"
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character, after = error.object[error.start], error.start + 1
    if "\udc80" <= character <= "\udcff":  # a byte of a file's name that is no text
        return bytes([ord(character) - 0xDC00]), after
    return _similar(character), after


codecs.register_error(PLAIN, _plain)


def accept_any_text() -> None:
    """Let stdout and stderr take text that their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=PLAIN)


class LastingStream:
    """A text stream that raises for nothing: what cannot be written is not."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, if that is possible; the number of characters."""
        try:
            self._stream.write(text)
        except (OSError, ValueError) as error:  # ValueError: it is closed
            self._lost(error)
        return len(text)

    def flush(self) -> None:
        """Bring what was written to its reader, if that is possible."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._lost(error)

    def _lost(self, error: Exception, for_good: bool = False) -> None:
        if for_good or getattr(error, "errno", None) in _GONE:
            with suppress(OSError, ValueError):  # it may be no file
                silent = os.open(os.devnull, os.O_WRONLY)
                os.dup2(silent, self._stream.fileno())
                os.close(silent)

    def end(self) -> None:
        """Flush for the last time; what still waits is given up, so that the interpreter need not."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._lost(error, for_good=True)
            self.flush()


@contextmanager
def lasting_output() -> Iterator[None]:
    """Let nothing that is printed end what is being done, as long as this lasts."""
    before = sys.stdout, sys.stderr
    accept_any_text()
    for name, stream in zip(("stdout", "stderr"), before, strict=True):
        if not isinstance(stream, LastingStream):
            setattr(sys, name, LastingStream(open(os.devnull, "w") if stream is None else stream))  # noqa: SIM115
    try:
        yield
    finally:
        for name, stream in zip(("stdout", "stderr"), before, strict=True):
            if stream is not getattr(sys, name):
                getattr(sys, name).end()
                setattr(sys, name, stream)


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
