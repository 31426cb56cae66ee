"""The Observation panel, drawn offscreen."""

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from engine.debugger.panels.observation import ObservationPanel
from tests.debugger.panels import SIZES, STORES, Asked, drawn, full, silent
from tests.debugger.planted import Planted, schema


@pytest.mark.parametrize("name", STORES)
def test_it_draws_whatever_came(qtbot: QtBot, name: str):
    panel = ObservationPanel(STORES[name](), Asked())
    qtbot.addWidget(panel)
    for size in SIZES:
        drawn(panel, *size)
    panel.schema_changed()
    panel.refresh()


def test_a_constant_and_a_non_finite_channel_are_listed_by_name(qtbot: QtBot):
    def spoil(run: Planted) -> None:
        run.columns["Observation.actor"][..., 6] = -1.0
        run.columns["Observation.actor"][::2, :, 9] = np.nan

    asked = Asked()
    panel = ObservationPanel(full(spoil=spoil), asked)
    qtbot.addWidget(panel)
    drawn(panel, 760, 300)
    texts = [[panel.table.item(i, j).text() for j in range(4)] for i in range(panel.table.rowCount())]
    assert ["6", "gravity[2]", "constant", "always −1"] in texts
    assert ["9", "joint_position[2]", "non-finite", "50 % of samples"] in texts
    assert panel.head.text().endswith("2 suspicious")
    assert panel.strip.marked == {6, 9}
    panel.table.cellDoubleClicked.emit(0, 0)
    assert asked.plotted == [(panel.store.by_address["robot.Observation.actor"], 6)]


def test_sound_channels_are_said_to_be_sound_and_few_samples_few(qtbot: QtBot):
    panel = ObservationPanel(full(), Asked())
    qtbot.addWidget(panel)
    drawn(panel, 760, 300)
    assert panel.head.text() == "15 channels · 480 samples of 8 rows · none suspicious"
    few = ObservationPanel(full(ticks=10), Asked())
    qtbot.addWidget(few)
    drawn(few, 760, 300)
    assert "too few to judge" in few.head.text()


def test_the_row_is_that_of_the_selection(qtbot: QtBot):
    store = full()
    panel = ObservationPanel(store, Asked())
    qtbot.addWidget(panel)
    store.selected = 5
    drawn(panel, 760, 300)
    value = store.value(store.by_address["robot.Observation.actor"], 5)
    assert value is not None and panel.strip.row == pytest.approx(value[1])


def test_it_asks_for_a_few_rows_only(qtbot: QtBot):
    panel = ObservationPanel(silent(), Asked())
    qtbot.addWidget(panel)
    assert {sub.rows for sub in panel.subscriptions()} == {"selected", tuple(range(0, 16, 2))}
    panel.store.feed(schema(4096))
    panel.schema_changed()
    assert {sub.rows for sub in panel.subscriptions()} == {"selected", tuple(range(0, 4096, 512))}
