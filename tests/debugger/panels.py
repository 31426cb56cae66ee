"""What the tests of panels share: a control that remembers, and stores with little, much and broken data."""

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from engine.debugger.model.history import history_of
from engine.debugger.model.store import Store
from engine.debugger.panels.panel import Panel
from engine.protocol.framing import pack_array
from tests.debugger.planted import COLUMNS, Planted, schema

FLOATS = [i for i, (*_, dtype) in enumerate(COLUMNS) if dtype == "float32"]


@attrs.define
class Asked:
    """A control that only remembers."""

    shown: list[str] = attrs.field(factory=list)
    plotted: list[tuple[int, int]] = attrs.field(factory=list)

    def send(self, message: dict[str, Any], then: Callable[[dict[str, Any]], None] | None = None) -> None:
        """Nothing."""

    def select(self, row: int) -> None:
        """Nothing."""

    def show(self, panel_title: str) -> None:
        """Remember."""
        self.shown.append(panel_title)

    def plot(self, column_id: int, label: int) -> None:
        """Remember."""
        self.plotted.append((column_id, label))


def nothing() -> Store:
    """No schema yet."""
    return Store()


def silent() -> Store:
    """A schema, and nothing else."""
    store = Store()
    store.feed(schema(16))
    return store


def foreign() -> Store:
    """A schema without any of the roles."""
    store = Store()
    store.feed({**schema(2), "tables": [], "systems": [], "constants": [], "vitals": {}, "endings": {}})
    return store


def full(rows: int = 16, ticks: int = 300, spoil: Callable[[Planted], None] | None = None) -> Store:
    """A run."""
    store, run = Store(), Planted(rows=rows, ticks=ticks)
    if spoil is not None:
        spoil(run)
    store.feed(schema(rows))
    run.feed(store, history_of(store).collect)
    assert store.bad == 0
    return store


def some_nan(run: Planted) -> None:
    """NaN in one label of row 0."""
    for column in FLOATS:
        component, name, *_ = COLUMNS[column]
        run.columns[f"{component}.{name}"].reshape(run.ticks, run.rows, -1)[150:, 0, 0] = np.nan
    run.vitals[150:, 0, 0] = np.nan
    run.learner[-1] = dict.fromkeys(run.learner[-1], np.nan)


def all_nan(run: Planted) -> None:
    """NaN wherever there can be any."""
    for column in FLOATS:
        component, name, *_ = COLUMNS[column]
        run.columns[f"{component}.{name}"][:] = np.nan
    run.vitals[:] = np.nan
    run.learner = [dict.fromkeys(values, np.nan) for values in run.learner]


def many() -> Store:
    """4096 rows of which a few ticks came."""
    rows = 4096
    store, run = full(rows=16, ticks=100), Planted(rows=16, ticks=100)
    wide = schema(rows)
    store.feed(wide)
    for number, labels in enumerate(range(4)):
        values = np.resize(run.columns["Reward.terms"][..., labels], rows).astype(np.float32)
        for tick in range(200, 230):
            column = next(i for i, c in enumerate(COLUMNS) if c[:2] == ("Reward", "terms"))
            message = {"t": "data", "sub": 50 + number, "kind": "column", "ticks": [tick, tick], "labels": [labels]}
            store.feed({**message, "cols": [[column, *pack_array(values)]]})
            history_of(store).collect(store)
    assert store.bad == 0
    return store


STORES: dict[str, Callable[[], Store]] = {
    "nothing": nothing,
    "silent": silent,
    "foreign": foreign,
    "one row": lambda: full(rows=1),
    "4096 rows": many,
    "some NaN": lambda: full(spoil=some_nan),
    "all NaN": lambda: full(spoil=all_nan),
}
SIZES = ((430, 200), (430, 560), (760, 300))


def drawn(panel: Panel, width: int, height: int) -> Any:
    """The panel at a size, after some refreshes."""
    panel.resize(width, height)
    panel.show()
    for _ in range(20):
        panel.refresh()
    image = panel.grab().toImage()
    assert (image.width(), image.height()) == (width, height), "the panel asks for more room"
    return image
