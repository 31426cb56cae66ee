"""Where a thread is, said by another one: for a debugger that asks while a system does not come back."""

import sys
from pathlib import PurePath
from types import CodeType

_DEEPEST = 40  # frames in a stack that is shown
_SCHEDULE = ("engine", "schedule.py")


def stack_of(thread: int) -> list[CodeType]:
    """The functions that a thread is in, outermost first; [] when it is gone. Lines are not looked at here."""
    return [code for code, _ in _frames(thread)]


def whereabouts(thread: int) -> tuple[str, list[str]]:
    """(the system that the thread is in, 'function (file:line)' of its stack, outermost first)."""
    frames = _frames(thread)
    if not frames:
        return "a thread that has ended", []
    lines = [f"{code.co_name} ({_short(code.co_filename)}:{line})" for code, line in frames]
    return _system([code for code, _ in frames]), lines[-_DEEPEST:]


def _frames(thread: int) -> list[tuple[CodeType, int]]:
    frame, found = sys._current_frames().get(thread), []
    while frame is not None:
        found.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return found[::-1]


def _system(codes: list[CodeType]) -> str:
    """What the schedule called, or the innermost function where no schedule is."""
    inside = [place for place, code in enumerate(codes) if PurePath(code.co_filename).parts[-2:] == _SCHEDULE]
    place = inside[-1] + 1 if inside else len(codes) - 1
    return codes[min(place, len(codes) - 1)].co_name


def _short(path: str) -> str:
    return "/".join(PurePath(path).parts[-2:])
