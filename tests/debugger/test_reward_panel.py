"""The Reward panel, drawn offscreen."""

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from engine.debugger.panels.reward import RewardPanel
from tests.debugger.panels import SIZES, STORES, Asked, drawn, full, silent
from tests.debugger.planted import Planted, schema


@pytest.mark.parametrize("name", STORES)
def test_it_draws_whatever_came(qtbot: QtBot, name: str):
    panel = RewardPanel(STORES[name](), Asked())
    qtbot.addWidget(panel)
    for size in SIZES:
        drawn(panel, *size)
    panel.schema_changed()
    panel.refresh()


def test_bars_are_of_the_row_and_marks_of_all_rows(qtbot: QtBot):
    store = full()
    panel = RewardPanel(store, Asked())
    qtbot.addWidget(panel)
    store.selected = 3
    drawn(panel, 760, 300)
    column = store.by_address["robot.Reward.terms"]
    value = store.value(column, 3)
    assert value is not None
    assert [bar.value for bar in panel.bars.bars] == pytest.approx(value[1].tolist())
    mean = np.mean(np.concatenate([Planted(ticks=300).columns["Reward.terms"][::50]]), axis=(0, 1))
    assert [bar.mark for bar in panel.bars.bars] == pytest.approx(mean.tolist(), rel=1e-4)
    assert [bar.texts[0] for bar in panel.bars.bars] == ["", "", "", "always 0"]
    shares = [float(bar.texts[1].split()[0]) for bar in panel.bars.bars]
    assert sum(shares) == pytest.approx(100, abs=2)


def test_a_saturated_kernel_is_marked_and_its_histogram_is_shown(qtbot: QtBot):
    def spoil(run: Planted) -> None:
        run.columns["Reward.terms"][..., 1] = 1e-6

    panel = RewardPanel(full(spoil=spoil), Asked())
    qtbot.addWidget(panel)
    drawn(panel, 760, 300)
    assert panel.bars.bars[1].texts[0] == "no signal 100 %"
    assert panel.bars.chosen == 1 and panel.histogram.title == "body_velocity, σ 1"
    assert "100 % < 0.05" in panel.histogram.caption


def test_a_click_picks_the_histogram_and_a_double_click_plots(qtbot: QtBot):
    asked = Asked()
    panel = RewardPanel(full(), asked)
    qtbot.addWidget(panel)
    drawn(panel, 760, 300)
    panel.bars.picked.emit(2)
    drawn(panel, 760, 300)
    assert panel.histogram.title == "action_rate: all rows"
    panel.bars.opened.emit(2)
    assert asked.plotted == [(panel.store.by_address["robot.Reward.terms"], 2)]


def test_it_asks_for_each_term_of_all_rows(qtbot: QtBot):
    panel = RewardPanel(silent(), Asked())
    qtbot.addWidget(panel)
    column = panel.store.by_address["robot.Reward.terms"]
    asked = [sub.columns for sub in panel.subscriptions() if sub.kind == "column"]
    assert asked == [((column, (i,)),) for i in range(4)]


def test_another_schema_forgets_the_old_terms(qtbot: QtBot):
    store = full()
    panel = RewardPanel(store, Asked())
    qtbot.addWidget(panel)
    drawn(panel, 760, 300)
    store.feed({**schema(2), "tables": []})
    panel.schema_changed()
    assert panel.bars.bars == () and panel.bars.title == "the run names no column of reward terms"
