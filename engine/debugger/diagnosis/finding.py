"""What a rule of diagnosis says."""

from collections.abc import Sequence
from typing import Literal

import attrs

Severity = Literal["wrong", "attention", "note", "unknown"]
ORDER: tuple[Severity, ...] = ("wrong", "attention", "note", "unknown")


@attrs.frozen
class Finding:
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


def unknown(text: str, panel: str) -> list[Finding]:
    """A rule that cannot judge."""
    return [Finding("unknown", text, panel, 0.0)]


def percent(share: float) -> str:
    """A share in words, as a whole percentage where that says enough."""
    return f"{100 * share:.1f} %" if 0 < share < 0.0095 else f"{100 * share:.0f} %"


def figure(value: float) -> str:
    """A number with three significant digits and a true minus sign."""
    return f"{value:.3g}".replace("-", "−")


def listed(names: Sequence[str], most: int = 3) -> str:
    """Some names, and how many more there are."""
    shown = list(names[:most])
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
