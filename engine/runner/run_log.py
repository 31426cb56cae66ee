"""The log of a run, run.log: what it wrote on the console, warnings included, as plain lines."""

from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import attrs

from engine.files import Say

NAME = "run.log"
_WIDTH = 160  # so that tables are not folded


@attrs.define
class RunLog:
    """The file, to which lines are added at once; after a failure there are no more of them."""

    file: TextIO
    console: Any  # of rich, which writes into the file
    warn: Say

    @classmethod
    def open(cls, folder: Path, title: str, warn: Say) -> "RunLog | None":
        """Go on with the log of a folder, with a line that says when; None, with a warning, where it cannot be written."""
        try:
            file = open(folder / NAME, "a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115 - held as long as the run
        except OSError as error:
            warn(f"{NAME} cannot be written ({error.strerror or error}).")
            return None
        from rich.console import Console

        made = cls(file, Console(file=file, width=_WIDTH, highlight=False, no_color=True), warn)
        made.print(f"{datetime.now():%Y-%m-%d %H:%M:%S}  {title}", markup=False, soft_wrap=True)
        return made

    def print(self, *what: Any, **how: Any) -> None:
        """Add what rich would print."""
        if self.file.closed:
            return
        try:
            self.console.print(*what, **how)
            self.file.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.close()
        self.warn(f"{NAME} cannot be written ({error.strerror or error}).")

    def close(self) -> None:
        """Let go of the file."""
        with suppress(OSError):  # what waited for room is lost, after a warning; the file is closed all the same
            self.file.close()
