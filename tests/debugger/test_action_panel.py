"""The Action panel, drawn offscreen."""

from types import SimpleNamespace

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF
from PySide6.QtGui import QHelpEvent
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from engine.debugger.panels.action import ActionPanel
from engine.debugger.widgets import parts
from tests.debugger.panels import SIZES, STORES, Asked, drawn, full, silent
from tests.debugger.planted import Planted, schema


@pytest.mark.parametrize("name", STORES)
def test_it_draws_whatever_came(qtbot: QtBot, name: str):
    panel = ActionPanel(STORES[name](), Asked())
    qtbot.addWidget(panel)
    for size in SIZES:
        drawn(panel, *size)
    panel.schema_changed()
    panel.refresh()


def test_each_joint_says_how_it_is_used(qtbot: QtBot):
    def spoil(run: Planted) -> None:
        run.vitals[..., 1] = 1.0
        run.columns["Action.value"][::2, :, 2] = 5.0

    panel = ActionPanel(full(spoil=spoil), Asked())
    qtbot.addWidget(panel)
    drawn(panel, 760, 300)
    knee, ankle, right_knee, _ = panel.bars.bars
    assert ankle.texts[:2] == ("100 %", "100 %") and knee.texts[0] == "0 %"
    assert right_knee.texts[3] == "50 %"
    assert float(knee.texts[2]) == pytest.approx(0.3, abs=0.05)
    assert "2 amber" in panel.head.text()


def test_the_mouse_is_told_of_the_joint_that_it_rests_on(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch):
    messages: list[str] = []
    monkeypatch.setattr(parts, "QToolTip", SimpleNamespace(showText=lambda place, text, widget: messages.append(text)))
    panel = ActionPanel(full(), Asked())
    qtbot.addWidget(panel)
    drawn(panel, 760, 300)
    bars = panel.bars
    second = QPointF(20.0, bars._top() + 1.5 * bars._line())
    assert bars.tip_at(second).startswith("left_ankle_joint\n") and bars.tip_at(QPointF(20.0, 0.0)) == ""
    QApplication.sendEvent(bars, QHelpEvent(QEvent.Type.ToolTip, second.toPoint(), QPoint(5, 5)))
    assert len(messages) == 1 and messages[0].startswith("left_ankle_joint\n")


def test_rate_and_deviation_by_an_independent_loop(qtbot: QtBot):
    panel = ActionPanel(full(rows=4), Asked())
    qtbot.addWidget(panel)
    drawn(panel, 760, 300)
    run = Planted(rows=4, ticks=300)
    changes = []
    for row in range(4):
        for tick in range(1, 300):
            if not run.columns["Done.ended"][tick - 1, row]:
                step = run.columns["Action.value"][tick, row, 0] - run.columns["Action.value"][tick - 1, row, 0]
                changes.append(step**2)
    assert float(panel.bars.bars[0].texts[4]) == pytest.approx(np.sqrt(np.mean(changes)), abs=0.01)
    assert panel.bars.bars[0].spread == pytest.approx(run.columns["Action.value"][:, :, 0].std(), rel=0.02)


def test_a_double_click_plots(qtbot: QtBot):
    asked = Asked()
    panel = ActionPanel(full(), asked)
    qtbot.addWidget(panel)
    panel.bars.opened.emit(1)
    assert asked.plotted == [(panel.store.by_address["robot.Action.value"], 1)]


def test_it_asks_for_actions_exploration_and_the_black_box(qtbot: QtBot):
    panel = ActionPanel(silent(), Asked())
    qtbot.addWidget(panel)
    assert {sub.kind for sub in panel.subscriptions()} == {"values", "trace", "vitals"}
    store = silent()
    store.feed({**schema(4), "vitals": {}})
    panel = ActionPanel(store, Asked())
    qtbot.addWidget(panel)
    assert {sub.kind for sub in panel.subscriptions()} == {"values", "trace"}
