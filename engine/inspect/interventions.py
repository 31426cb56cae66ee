"""What was done to a run by hand: one line each in interventions.jsonl, and how often, for its metrics."""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from engine.files import INTERVENTIONS, JsonLines

MOST_VALUES = 1024
"""Old and new values that a line says of an edit of many rows."""


def counted(folder: Path) -> int:
    """How many interventions a run folder tells of."""
    path = folder / INTERVENTIONS
    return len(JsonLines(path, print).rows()) if path.exists() else 0


@attrs.define(eq=False)
class Interventions:
    """Counts and writes interventions. Those of a past that is only looked at count when the run goes on from there.

    Without a folder they are only counted. `warn` is called when a line cannot be written; it waits for the next.
    """

    folder: Path | None
    warn: Callable[[str], None]
    count: int = attrs.field(init=False)
    tentative: list[dict[str, Any]] = attrs.field(factory=list, init=False)
    _lines: JsonLines | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._lines = JsonLines(self.folder / INTERVENTIONS, self.warn) if self.folder is not None else None
        self.count = counted(self.folder) if self.folder is not None else 0

    def note(self, line: Mapping[str, Any], *, viewing: bool) -> None:
        """One intervention: tick, client, what, where, old, new and reason; `viewing`: into an earlier tick that is in view."""
        noted = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **{k: _plain(v) for k, v in line.items()}}
        if viewing:
            self.tentative.append(noted)
        else:
            self._write(noted)

    def branch(self) -> None:
        """The run goes on from the tick in view: what was done there counts."""
        for line in self.tentative:
            self._write(line)
        self.tentative = []

    def discard(self) -> None:
        """The tick in view is left: what was done there never was."""
        self.tentative = []

    def _write(self, line: dict[str, Any]) -> None:
        self.count += 1
        if self._lines is not None:
            self._lines.append(line)


def _plain(value: Any) -> Any:
    """A value as JSON has it: what is not finite in words, and of many values the first."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, list):
        flat = [_plain(part) for part in value[:MOST_VALUES]]
        return [*flat, f"and {len(value) - MOST_VALUES} more"] if len(value) > MOST_VALUES else flat
    return value
