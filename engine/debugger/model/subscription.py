"""Subscriptions of panels, merged: equal ones once, and nothing twice; and what a panel may ask of the window that it is in."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Protocol

import attrs

from engine.debugger.model.schema import ColumnInfo

Labels = tuple[int, ...] | None  # flat labels in one row; None for all
MOST_COLUMNS = 256  # columns that a run takes in one subscription
_WITHOUT_ROWS = ("timing", "learner", "column")
_Columns = dict[int, Labels]
_Rows = tuple[int, ...] | Literal["selected"]


@attrs.frozen
class Subscription:
    """Data that a run is asked to send.

    `columns` names (column id, flat labels in one row, or None for all); `rows` are row numbers, or "selected";
    `hz` is how often at most. Kinds without columns (timing, learner) leave `columns` empty.
    """

    kind: str
    columns: tuple[tuple[int, Labels], ...] = ()
    rows: _Rows = "selected"
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


def merge(wanted: Iterable[Subscription], known: Mapping[int, ColumnInfo]) -> list[Subscription]:
    """Subscriptions that bring at least what is wanted, no slower, in a stable order.

    Columns that a faster subscription of the same kind and rows brings are left out of slower ones. Columns and labels
    that the schema does not have are dropped.
    """
    made: list[Subscription] = []
    frames: dict[tuple[int, int | None], float] = {}
    groups: dict[tuple[str, _Rows, str], dict[float, _Columns]] = {}  # a run sends the rows that all tables have
    for sub in wanted:
        columns = _known(sub, known)
        if sub.columns and not columns:
            continue
        if sub.kind == "column":
            for column, labels in columns.items():
                single = known[column].size == 1
                for label in (0,) if single else (None,) if labels is None else labels:
                    frames[column, label] = max(sub.hz, frames.get((column, label), 0.0))
            continue
        rows: _Rows = "selected" if sub.kind in _WITHOUT_ROWS else sub.rows
        for table in dict.fromkeys(known[column].table for column in columns) or ("",):
            group = groups.setdefault((sub.kind, rows, table), {}).setdefault(float(sub.hz), {})
            for column, labels in columns.items():
                if known[column].table == table:
                    group[column] = _union(group[column], labels) if column in group else labels
    for (kind, rows, _), by_rate in groups.items():
        made += _without_repeats(kind, rows, by_rate)
    for (column, label), hz in frames.items():
        made.append(Subscription("column", ((column, None if label is None else (label,)),), "selected", float(hz)))
    return made


def _known(sub: Subscription, known: Mapping[int, ColumnInfo]) -> _Columns:
    """The columns of a subscription that exist, with labels that do; whole columns where the kind has no other."""
    found: _Columns = {}
    for column, labels in sub.columns:
        if column not in known:
            continue
        if labels is None or sub.kind in ("values", "pose"):
            found[column] = None
            continue
        fitting = tuple(sorted({label for label in labels if 0 <= label < known[column].size}))
        if fitting:
            found[column] = _union(found[column], fitting) if column in found else fitting
    return found


def _union(first: Labels, second: Labels) -> Labels:
    return None if first is None or second is None else tuple(sorted({*first, *second}))


def _without_repeats(kind: str, rows: _Rows, by_rate: dict[float, _Columns]) -> list[Subscription]:
    made: list[Subscription] = []
    covered: _Columns = {}
    for hz in sorted(by_rate, reverse=True):
        asked = by_rate[hz].items()
        left = {c: labels for c, labels in asked if c not in covered or _union(covered[c], labels) != covered[c]}
        covered |= {c: _union(covered[c], labels) if c in covered else labels for c, labels in left.items()}
        items = sorted(left.items())
        if (by_rate[hz] and not items) or (not by_rate[hz] and made):
            continue
        for start in range(0, max(1, len(items)), MOST_COLUMNS):
            made.append(Subscription(kind, tuple(items[start : start + MOST_COLUMNS]), rows, hz))
    return made
