"""Finding of a diagnosis rule."""

from functools import partial
from typing import Literal

import attrs

Severity = Literal["wrong", "attention", "note", "unknown"]
ORDER: tuple[Severity, ...] = ("wrong", "attention", "note", "unknown")


@attrs.frozen
class RuleFinding:
    """One sentence, how bad it is, and the panel that proves it.

    `likely` in [0, 1] orders findings of the same severity: causes before their consequences. "unknown" is what a
    rule says that cannot judge; a rule that finds nothing wrong says nothing. `column` and `label` name one number
    to plot.
    """

    severity: Severity
    text: str
    panel: str
    likely: float = 0.5
    column: int | None = None
    label: int | None = None


def cannot_judge(text: str, panel: str) -> list[RuleFinding]:
    """A rule that cannot judge."""
    return [RuleFinding("unknown", text, panel, 0.0)]


attention, note = partial(RuleFinding, "attention"), partial(RuleFinding, "note")
