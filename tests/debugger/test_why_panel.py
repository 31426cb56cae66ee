"""The Why panel, drawn offscreen."""

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from engine.debugger.diagnosis.rules import RULES
from engine.debugger.panels.diagnosis import DiagnosisPanel
from tests.debugger.panels import SIZES, STORES, Asked, drawn, full, silent
from tests.debugger.planted import Planted, schema


def falling(run: Planted) -> None:
    run.__init__(ticks=run.ticks, fall=lambda row, episode: 100 if (row + episode) % 3 else None)  # type: ignore[misc]


@pytest.mark.parametrize("name", STORES)
def test_it_draws_whatever_came(qtbot: QtBot, name: str):
    panel = DiagnosisPanel(STORES[name](), Asked())
    qtbot.addWidget(panel)
    for size in SIZES:
        drawn(panel, *size)
        for picture in range(panel.pictures.count()):
            panel.pictures.setCurrentIndex(picture)
            panel.grab()
    panel.schema_changed()
    panel.refresh()


def test_the_table_has_share_step_and_trend(qtbot: QtBot):
    panel = DiagnosisPanel(full(ticks=600, spoil=falling), Asked())
    qtbot.addWidget(panel)
    drawn(panel, 430, 560)
    first = [panel.reasons.item(0, j).text() for j in range(4)]
    assert first[0] == "fallen" and first[1].endswith(" %") and first[2] == "100"
    assert panel.pictures.isVisible() and panel.clip.title == "where in walk_07 episodes end: fallen"
    panel.reasons.cellClicked.emit(1, 0)
    assert panel.clip.title == "where in walk_07 episodes end: time_limit"


def test_the_table_is_as_high_as_its_lines(qtbot: QtBot):
    panel = DiagnosisPanel(full(ticks=600, spoil=falling), Asked())
    qtbot.addWidget(panel)
    drawn(panel, 430, 300)
    assert panel.reasons.rowCount() >= 2 and not panel.reasons.verticalScrollBar().isVisible()
    last = panel.reasons.visualItemRect(panel.reasons.item(panel.reasons.rowCount() - 1, 0))
    assert panel.reasons.viewport().rect().contains(last)


def test_pictures_go_where_there_is_no_room(qtbot: QtBot):
    panel = DiagnosisPanel(full(), Asked())
    qtbot.addWidget(panel)
    drawn(panel, 430, 200)
    assert panel.pictures.isHidden()
    drawn(panel, 430, 560)
    assert not panel.pictures.isHidden()


def test_sentences_come_worst_first_and_lead_to_their_panel(qtbot: QtBot):
    def spoil(run: Planted) -> None:
        run.columns["Observation.actor"][..., 6] = -1.0

    asked = Asked()
    panel = DiagnosisPanel(full(ticks=600, spoil=spoil), asked)
    qtbot.addWidget(panel)
    drawn(panel, 430, 560)
    first = panel.sentences.item(0)
    assert first.text() == "LOOK  policy channel 6 (gravity[2]) never changes (always −1)"
    panel.sentences.itemClicked.emit(first)
    assert asked.shown == ["Observation"]
    assert asked.plotted == [(panel.store.by_address["robot.Observation.actor"], 6)]


def test_a_sound_run_says_that_nothing_stands_out(qtbot: QtBot):
    panel = DiagnosisPanel(full(ticks=600), Asked())
    qtbot.addWidget(panel)
    drawn(panel, 430, 560)
    assert panel.sentences.item(0).text() == "note  nothing stands out in what was received so far"


def test_waiting_is_said_to_be_waiting_and_too_few_data_are_one_line(qtbot: QtBot):
    panel = DiagnosisPanel(silent(), Asked())
    qtbot.addWidget(panel)
    assert panel.sentences.item(0).text() == "cannot tell  waiting for data"
    drawn(panel, 430, 560)
    last = panel.sentences.item(panel.sentences.count() - 1).text()
    assert last.startswith("cannot tell  ") and last.count("too few data") > 5


def test_rules_take_turns_and_rest_while_nothing_comes(qtbot: QtBot):
    panel = DiagnosisPanel(full(), Asked())
    qtbot.addWidget(panel)
    for _ in range(len(RULES) + 1):
        assert panel.evidence is None
        panel.refresh()
    panel.refresh()
    found = panel.evidence
    assert found is not None
    for _ in range(3 * len(RULES)):
        panel.refresh()
    assert panel.evidence is found


def test_another_run_forgets_the_last_one(qtbot: QtBot):
    panel = DiagnosisPanel(full(ticks=600, spoil=falling), Asked())
    qtbot.addWidget(panel)
    drawn(panel, 430, 560)
    panel.store.feed(schema(2))
    panel.schema_changed()
    assert panel.reasons.rowCount() == 0 and panel.sentences.count() == 1


def test_gait_is_of_the_selected_row_where_it_is_watched(qtbot: QtBot):
    store = full(ticks=400)
    panel = DiagnosisPanel(store, Asked())
    qtbot.addWidget(panel)
    store.selected = 5
    drawn(panel, 430, 560)
    assert {foot.row for foot in panel.gait.feet} == {5}
    assert len(panel.gait.feet) == 2 and np.any(panel.gait.feet[0].touching)


def test_subscriptions_stay_within_the_limits_of_the_wire(qtbot: QtBot):
    panel = DiagnosisPanel(silent(), Asked())
    qtbot.addWidget(panel)
    subs = panel.subscriptions()
    assert len(subs) < 40
    assert all(len(sub.rows) <= 64 for sub in subs if sub.rows != "selected")
    assert all(len(sub.rows) <= 8 for sub in subs if sub.kind == "values")
