"""All rows at once: the square of cells, who is worst, what a click picks, and the sentence about a threshold."""

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QColor

from engine.debugger.model.store import Store
from engine.debugger.panels.rows import RowsPanel, default_column
from engine.debugger.widgets import theme
from engine.debugger.widgets.heatmap import HeatMap, arrange, colors, shade, side_of, worst_rows
from engine.debugger.widgets.histogram import WORST, Histogram
from tests.debugger.made_up import IDS, Asked, feed_column, make_schema, make_store, picture_of


@pytest.fixture
def rows(qtbot):
    made = RowsPanel(make_store(rows=10), Asked())
    qtbot.addWidget(made)
    made.resize(380, 240)
    made.show()
    return made


# -- arithmetic ----------------------------------------------------------------------------------------


def test_the_square_is_the_smallest_that_holds_all_rows():
    assert [side_of(n) for n in (0, 1, 2, 4, 5, 9, 10, 4096, 4097)] == [0, 1, 2, 2, 3, 3, 4, 64, 65]


def test_shades_go_from_the_lowest_to_the_highest_and_what_is_not_finite_has_its_own():
    assert shade(np.array([0.0, 0.5, 1.0, np.nan, np.inf])).tolist() == [0, 127, 255, 256, 256]
    assert shade(np.array([0.0, 1.0]), bright_is_low=True).tolist() == [255, 0]
    assert shade(np.full(3, 7.0)).tolist() == [127] * 3
    assert shade(np.full(2, np.nan)).tolist() == [256, 256]
    assert len(colors()) == 258


def test_one_outlier_does_not_swallow_the_others():
    values = np.append(np.linspace(0.0, 1.0, 999), 1e9)
    assert shade(values)[500] > 100


@given(arrays(np.float32, st.integers(0, 60), elements=st.floats(width=32)))
def test_the_worst_are_what_sorting_by_hand_finds(values):
    found = worst_rows(values, 10, highest=True)
    by_hand = sorted(
        range(len(values)), key=lambda i: (bool(np.isfinite(values[i])), -values[i] if np.isfinite(values[i]) else 0, i)
    )
    assert found == by_hand[:10]
    assert sorted(arrange(values, len(values)).tolist()) == list(range(len(values)))


# -- the heat map --------------------------------------------------------------------------------------


@pytest.fixture
def heat(qtbot):
    made = HeatMap()
    qtbot.addWidget(made)
    made.resize(124, 84)  # the square is 80 wide, begins at x = 22 and y = 2, and a cell of 4 x 4 is 20 wide
    return made


def test_a_click_picks_the_row_of_the_cell_in_whatever_order(qtbot, heat: HeatMap):
    picked = []
    heat.picked.connect(picked.append)
    heat.set(np.arange(10.0), np.arange(10), False)
    for place, row in (((23, 3), 0), ((101, 3), 3), ((43, 23), 5), ((61, 43), 9)):
        assert heat.number_at(QPointF(*place)) == row
        qtbot.mouseClick(heat, Qt.MouseButton.LeftButton, pos=QPoint(*place))
    assert picked == [0, 3, 5, 9]
    for beside in ((10, 40), (103, 40), (63, 43), (63, 70)):
        assert heat.number_at(QPointF(*beside)) == -1 and heat.tip_at(QPointF(*beside)) == ""
    heat.set(np.arange(10.0), np.arange(10)[::-1], False)
    assert heat.number_at(QPointF(23, 3)) == 9


def test_cells_have_the_colours_of_their_values_and_the_selected_row_a_mark(heat: HeatMap):
    values = np.array([0.0, 1.0, np.nan, 0.0])
    heat.set(values, np.arange(4), False)  # 2 x 2 cells of 40
    heat.mark(3)
    picture = heat.grab().toImage()
    assert picture.pixelColor(42, 22).rgb() == colors()[0]
    assert picture.pixelColor(82, 22).rgb() == colors()[255]
    assert picture.pixelColor(42, 62) == QColor(theme.RED)
    around = [picture.pixelColor(x, 70) for x in range(55, 110)]
    assert around.count(QColor(theme.WHITE)) == 2


# -- the panel -----------------------------------------------------------------------------------------


def test_reward_comes_first_and_its_low_values_are_the_bad_ones(rows: RowsPanel):
    assert rows.shown == (IDS["Reward.total"], 0)
    assert not rows.highest and rows.direction.text() == "low is bad"
    (sub,) = rows.subscriptions()
    assert (sub.kind, sub.columns, sub.hz) == ("column", ((IDS["Reward.total"], (0,)),), 5.0)
    assert default_column(Store()) is None


def test_the_worst_are_listed_and_a_click_selects(rows: RowsPanel):
    values = np.array([5, 4, 3, 2, 1, 0, np.nan, 7, 8, 9.0])
    feed_column(rows.store, "Reward.total", 0, 1, values)
    rows.refresh()
    assert [rows.worst.item(line, 0).text() for line in range(3)] == ["6", "5", "4"]
    assert rows.worst.item(0, 1).text() == "NaN"
    assert rows.worst.item(0, 1).foreground().color() == QColor(theme.RED)
    assert rows.worst_row() == 6
    rows.worst.cellClicked.emit(1, 0)
    assert rows.control.selected == [5]
    rows.direction.click()
    assert [rows.worst.item(line, 0).text() for line in range(3)] == ["6", "9", "8"]
    assert "1 of 10 not finite" in rows.words.text()


def test_a_click_in_the_histogram_puts_the_threshold_and_counts_what_is_beyond(qtbot, rows: RowsPanel):
    feed_column(rows.store, "Reward.total", 0, 1, np.arange(10.0))
    rows.refresh()
    assert not rows.histogram.threshold.isVisible()
    box = rows.histogram.getPlotItem().getViewBox()
    rows.grab()
    place = rows.histogram.mapFromScene(box.mapViewToScene(QPointF(2.5, 1.0)))
    qtbot.mouseClick(rows.histogram.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert rows.threshold == pytest.approx(2.5, abs=0.1)
    assert rows.histogram.threshold.isVisible()
    assert rows.words.text().startswith("3 below 2.") and rows.words.text().endswith("(30.0 %)")


def test_the_limit_of_a_column_is_its_threshold(rows: RowsPanel):
    rows.show_column(IDS["DofState.position"], 1)
    assert rows.threshold == 2.0 and rows.highest
    assert rows.choice.currentText() == "DofState.position · left_knee rad"
    feed_column(rows.store, "DofState.position", 1, 1, np.linspace(1.0, 3.0, 10))
    rows.refresh()
    assert rows.words.text() == "5 above 2.00 (50.0 %)"


def test_rows_are_sorted_by_value_clip_and_step(rows: RowsPanel):
    feed_column(rows.store, "Reward.total", 0, 1, np.array([3, 1, 2, 9, 8, 7, 6, 5, 4, np.nan]))
    clips = np.array([1, 0, 1, 0, 0, 0, 0, 0, 0, 0])
    rows.order.setCurrentIndex(1)
    rows._reorder()
    assert rows.map._order.tolist() == [9, 1, 2, 0, 8, 7, 6, 5, 4, 3]
    rows.order.setCurrentIndex(2)
    rows._reorder()
    assert [sub.columns[0][0] for sub in rows.subscriptions()] == [IDS["Reward.total"], IDS["MotionCursor.clip"]]
    feed_column(rows.store, "MotionCursor.clip", 0, 1, clips)
    rows._drawn = None
    rows.refresh()
    assert rows.map._order.tolist() == [1, 3, 4, 5, 6, 7, 8, 9, 0, 2]


def test_what_is_shown_survives_a_new_schema(rows: RowsPanel):
    rows.show_column(IDS["BodyState.position"], None)
    assert rows.shown == (IDS["BodyState.position"], None)
    assert rows.subscriptions()[0].columns == ((IDS["BodyState.position"], None),)
    rows.show_column(IDS["DofState.position"], 2)
    rows.show_column(99, 0)
    assert rows.shown == (IDS["DofState.position"], 2)
    rows.store.feed(make_schema(rows=10))
    rows.schema_changed()
    assert rows.shown == (IDS["DofState.position"], 2)
    rows.store.feed(make_schema(rows=10, without=("DofState.position",)))
    rows.schema_changed()
    assert rows.shown == (IDS["Reward.total"], 0)


@pytest.mark.parametrize("count", [1, 10, 4096])
@pytest.mark.parametrize("values", ["none", "nan", "one nan", "constant", "random"])
def test_no_data_breaks_the_panel(qtbot, count: int, values: str):
    store = make_store(rows=count)
    store.selected = count - 1
    panel = RowsPanel(store, Asked())
    qtbot.addWidget(panel)
    panel.resize(340, 236)
    made = np.random.default_rng(0).normal(size=count)
    made = {"nan": np.full(count, np.nan), "constant": np.zeros(count)}.get(values, made)
    if values == "one nan":
        made[count // 2] = np.nan
    if values != "none":
        feed_column(store, "Reward.total", 0, 1, made)
    panel.refresh()
    assert picture_of(panel).shape == (236, 340, 3)
    lost = int((~np.isfinite(made)).sum()) if values != "none" else 0
    assert (f"{lost} of {count} not finite" in panel.words.text()) == bool(lost)
    listed = [panel.worst.item(line, 0).text() for line in range(WORST)]
    assert sum(bool(text) for text in listed) == (0 if values == "none" else min(count, WORST))


def test_a_histogram_of_nothing_has_no_numbers(qtbot):
    histogram = Histogram()
    qtbot.addWidget(histogram)
    for values in ((), (1.0, 2.0), (np.nan,)):
        histogram.set(np.array(values), np.nan)
        assert bool(histogram.getPlotItem().getAxis("bottom")._tickLevels[0]) == (len(values) == 2)


@pytest.mark.parametrize(("low", "high"), [(0.0982, 0.0994), (-1234.5, 1234.5), (1e-7, 9e-7), (98765.25, 98765.75)])
@pytest.mark.parametrize("width", [90, 140, 300])
def test_numbers_below_the_histogram_do_not_touch(qtbot, low: float, high: float, width: int):
    histogram = Histogram()
    qtbot.addWidget(histogram)
    histogram.resize(width, 120)
    histogram.set(np.linspace(low, high, 64), np.nan)
    (labels,) = histogram.getPlotItem().getAxis("bottom")._tickLevels
    left, right = histogram.getPlotItem().getViewBox().viewRange()[0]
    measure = histogram.fontMetrics().horizontalAdvance
    ends = [((x - left) / (right - left) * width, measure(text) / 2) for x, text in labels]
    for (x, half), (following, other) in pairwise(ends):
        assert x + half < following - other


def test_nothing_is_wider_than_its_place(rows: RowsPanel):
    feed_column(rows.store, "Reward.total", 0, 1, np.arange(10.0))
    rows.refresh()
    for width, listed in ((330, True), (270, False)):
        rows.resize(width, 200)
        rows.grab()
        assert rows.width() == width and rows.worst.isVisible() == listed
        for widget in (rows.map, rows.histogram):
            assert widget.width() >= widget.minimumWidth() and widget.height() >= 64
        assert not rows.worst.verticalScrollBar().isVisible()


def test_4096_rows_cost_little(qtbot, qapp, capsys):
    store = make_store(rows=4096)
    panel = RowsPanel(store, Asked())
    qtbot.addWidget(panel)
    panel.resize(340, 236)
    panel.show()
    rng, took = np.random.default_rng(0), []
    for tick in range(30):
        feed_column(store, "Reward.total", 0, tick, rng.normal(size=4096))
        began = time.process_time()
        panel.refresh()
        qapp.processEvents()
        took.append(time.process_time() - began)
    with capsys.disabled():
        print(f"\n4096 rows: median {1e3 * np.median(took[5:]):.1f} ms of process time a frame")
    assert np.median(took[5:]) < 0.2
