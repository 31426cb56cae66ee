"""Clips that do not fit, gathered so that one message tells about all of them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import SceneError

MAX_LISTED = 12
_log = logging.getLogger(__name__)


class NoMotion(SceneError):
    """A file that holds no clip of a robot at all, such as a list of clips beside them; `kind` says what it is."""

    def __init__(self, text: str, kind: str = "table") -> None:
        super().__init__(text)
        self.kind = kind


class Unfit:
    """What was wrong with each clip that could not be used.

    `with unfit.caught():` around the work on one clip keeps its SceneError; `settle` speaks of all that were kept.
    """

    def __init__(self, *, skip: bool) -> None:
        self.skip = skip
        self.found: list[str] = []
        self.passed: dict[str, list[str]] = {}  # beside clips of a folder, by their kind

    @contextmanager
    def caught(self, *, beside: bool = False) -> Iterator[None]:
        """Keep a SceneError of what is done within, and go on after it; `beside` others, a file may be no motion."""
        try:
            yield
        except SceneError as error:
            if beside and isinstance(error, NoMotion):
                self.passed.setdefault(error.kind, []).append(str(error))
            else:
                self.found.append(str(error))

    def settle(self, left: int) -> None:
        """Raise SceneError listing what does not fit; with `skip` and some clips `left`, warn of it instead."""
        if not left:
            self.found, self.passed = [*(text for texts in self.passed.values() for text in texts), *self.found], {}
        for first, *others in self.passed.values():
            also = f" {len(others)} more of the kind are passed over too." if others else ""
            _log.warning(f"Passed over: {first}{also}")
        if not self.found:
            return
        if len(self.found) == 1 and not (self.skip and left):
            raise SceneError(self.found[0] + (CURE if left else ""))
        count = f"{len(self.found)} of {len(self.found) + left} clips"
        if self.skip and left:
            _log.warning(f"{count} are left out, since they do not fit:{self._list()}")
        elif left:
            raise SceneError(f"{count} do not fit.{CURE} They are:{self._list()}")
        else:
            raise SceneError(f"None of the {len(self.found)} clips fits:{self._list()}")

    def _list(self) -> str:
        shown = "".join(f"\n  {text}" for text in self.found[:MAX_LISTED])
        more = len(self.found) - MAX_LISTED
        return shown + (f"\n  and {more} more." if more > 0 else "")


CURE = " Add --skip-unfit to go on without what does not fit."
