"""Exceptions of the engine, whose texts are sentences: where, what, value, cure."""

import difflib
from collections.abc import Iterable


class LockstepError(Exception):
    """A mistake that a person can mend; its text is a sentence that says how."""


class BuildError(LockstepError):
    """The scene does not fit together; found before anything runs."""


class AccessError(LockstepError):
    """A system or a caller touched data in a way that its declaration forbids."""


class SceneError(LockstepError):
    """A scene file, flag, address or value that cannot be used as given."""


class LostError(LockstepError):
    """Something outside this process is gone without which a run cannot go on, such as a process that simulates for it."""


class SnapshotError(LockstepError):
    """Snapshot bytes that are damaged or belong to another world."""


class EditError(LockstepError):
    """Something that cannot be changed by hand; `code` is one of the debugger protocol's."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class BreakError(LockstepError):
    """A break expression that cannot be understood."""


class WireError(LockstepError):
    """Bytes that are no frame or no recording, or a value that a frame cannot carry."""


class AttachError(LockstepError):
    """A run that a debugger cannot attach to, or that it lost."""


class ReplayError(LockstepError):
    """A tick or row that cannot be gone back to."""


def did_you_mean(word: str, known: Iterable[str], count: int = 3) -> str:
    """' Did you mean a or b or c?' for the names closest to `word`; '' when none is near."""
    names = sorted(set(known))
    near = difflib.get_close_matches(word, names, n=count, cutoff=0.5)
    tail = word.rsplit(".", 1)[-1]
    near += [n for n in names if n not in near and n.rsplit(".", 1)[-1] == tail][: count - len(near)]
    if not near:
        return ""
    return f" Did you mean {' or '.join(near)}?"


def listing(names: Iterable[str], limit: int = 20) -> str:
    """'a, b, c' with '…' when there are more than `limit`."""
    all_names = list(names)
    return ", ".join(all_names[:limit]) + (", …" if len(all_names) > limit else "")
