"""Subscription of a panel, and what a panel may ask of the window that it is in."""

from collections.abc import Callable
from typing import Any, Literal, Protocol

import attrs

Labels = tuple[int, ...] | None
"""Flat labels in one row; None for all."""


@attrs.frozen
class Subscription:
    """Data that a run is asked to send.

    `columns` names (column id, flat labels in one row, or None for all); `rows` are row numbers, or "selected";
    `hz` is how often at most. Kinds without columns (timing, learner) leave `columns` empty.
    """

    kind: str
    columns: tuple[tuple[int, Labels], ...] = ()
    rows: tuple[int, ...] | Literal["selected"] = "selected"
    hz: float = 10.0

    def message(self, number: int) -> dict[str, Any]:
        """The message that asks for it, as subscription `number`."""
        columns = [[column, None if labels is None else list(labels)] for column, labels in self.columns]
        rows = self.rows if self.rows == "selected" else list(self.rows)
        return {"t": "sub", "id": number, "kind": self.kind, "columns": columns, "rows": rows, "hz": float(self.hz)}


class PanelControl(Protocol):
    """What a panel may do besides drawing."""

    def send(self, message: dict[str, Any], then: Callable[[dict[str, Any]], None] | None = None) -> None:
        """Send a command without its id; `then` gets the answer (`ok` or `error`) on the Qt thread."""

    def select(self, row: int) -> None:
        """Make another row the selected one, everywhere."""

    def show(self, panel_title: str) -> None:
        """Bring a panel to the front."""

    def plot(self, column_id: int, label: int) -> None:
        """Add a chart of one number to Plots."""
