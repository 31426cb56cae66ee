"""Merged subscriptions of several panels: equal ones once, and nothing twice."""

from collections.abc import Iterable
from typing import Literal

from engine.debugger.model.store import Store
from engine.debugger.model.subscription import Subscription

MOST_COLUMNS = 256
"""Columns that a run takes in one subscription."""
_WITHOUT_ROWS = ("timing", "learner", "column")
_Labels = tuple[int, ...] | None
_Columns = dict[int, _Labels]
_Rows = tuple[int, ...] | Literal["selected"]


def merge(wanted: Iterable[Subscription], store: Store) -> list[Subscription]:
    """Subscriptions that bring at least what is wanted, no slower, in a stable order.

    Columns that a faster subscription of the same kind and rows brings are left out of slower ones. Columns and labels
    that the schema does not have are dropped.
    """
    made: list[Subscription] = []
    frames: dict[tuple[int, int | None], float] = {}
    groups: dict[tuple[str, _Rows, str], dict[float, _Columns]] = {}  # a run sends the rows that all tables have
    for sub in wanted:
        columns = _known(sub, store)
        if sub.columns and not columns:
            continue
        if sub.kind == "column":
            for column, labels in columns.items():
                single = store.columns[column].size == 1
                for label in (0,) if single else (None,) if labels is None else labels:
                    frames[column, label] = max(sub.hz, frames.get((column, label), 0.0))
            continue
        rows: _Rows = "selected" if sub.kind in _WITHOUT_ROWS else sub.rows
        for table in dict.fromkeys(store.columns[column].table for column in columns) or ("",):
            group = groups.setdefault((sub.kind, rows, table), {}).setdefault(float(sub.hz), {})
            for column, labels in columns.items():
                if store.columns[column].table == table:
                    group[column] = _union(group[column], labels) if column in group else labels
    for (kind, rows, _), by_rate in groups.items():
        made += _without_repeats(kind, rows, by_rate)
    for (column, label), hz in frames.items():
        made.append(Subscription("column", ((column, None if label is None else (label,)),), "selected", float(hz)))
    return made


def _known(sub: Subscription, store: Store) -> _Columns:
    """The columns of a subscription that exist, with labels that do; whole columns where the kind has no other."""
    found: _Columns = {}
    for column, labels in sub.columns:
        if column not in store.columns:
            continue
        if labels is None or sub.kind in ("values", "pose"):
            found[column] = None
            continue
        fitting = tuple(sorted({label for label in labels if 0 <= label < store.columns[column].size}))
        if fitting:
            found[column] = _union(found[column], fitting) if column in found else fitting
    return found


def _union(first: _Labels, second: _Labels) -> _Labels:
    return None if first is None or second is None else tuple(sorted({*first, *second}))


def _without_repeats(kind: str, rows: _Rows, by_rate: dict[float, _Columns]) -> list[Subscription]:
    made: list[Subscription] = []
    covered: _Columns = {}
    for hz in sorted(by_rate, reverse=True):
        left = {c: labels for c, labels in by_rate[hz].items() if c not in covered or not _covers(covered[c], labels)}
        covered |= {c: _union(covered[c], labels) if c in covered else labels for c, labels in left.items()}
        items = sorted(left.items())
        if (by_rate[hz] and not items) or (not by_rate[hz] and made):
            continue
        for start in range(0, max(1, len(items)), MOST_COLUMNS):
            made.append(Subscription(kind, tuple(items[start : start + MOST_COLUMNS]), rows, hz))
    return made


def _covers(have: _Labels, want: _Labels) -> bool:
    return have is None or (want is not None and set(want) <= set(have))
