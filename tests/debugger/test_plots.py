"""Charts: where lines break, what is hatched and what is red, ranges, and the charts that a person chooses."""

import time

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QPainter, QPixmap, QWheelEvent

from engine.debugger.model.store import Store
from engine.debugger.panels.plots import MOST, PlotsPanel, default_charts
from engine.debugger.widgets import theme
from engine.debugger.widgets.format import format_number
from engine.debugger.widgets.time_chart import AXIS_WIDTH, TimeChart, band_breaks, band_polygons, fit_range, make_line
from tests.debugger.made_up import IDS, Asked, feed_column, feed_trace, make_schema, make_store, picture_of

KNEE = ("DofState.position", 1)


@pytest.fixture
def plots(qtbot):
    made = PlotsPanel(make_store(), Asked())
    qtbot.addWidget(made)
    made.resize(340, 500)
    made.show()
    return made


def line_of(ticks, values, breaks=()):
    marks = np.zeros(len(ticks), bool)
    marks[list(breaks)] = True
    return make_line(np.array(ticks, np.int64), np.array(values, float), marks)


# -- lines ---------------------------------------------------------------------------------------------


def test_a_line_breaks_at_a_reset_without_a_gap():
    line = line_of([1, 2, 2, 3], [0.0, 1.0, 5.0, 6.0], breaks=(2,))
    assert line.connect.tolist() == [1, 0, 1, 0]
    assert line.gaps == line.bad == ()


def test_lost_frames_are_a_gap_that_no_line_bridges():
    line = line_of([1, 2, 9, 10], [0.0, 1.0, 5.0, 6.0], breaks=(2,))
    assert line.connect.tolist() == [1, 0, 1, 0]
    assert line.gaps == ((2.0, 9.0),)


def test_what_is_not_finite_is_red_from_before_its_first_to_behind_its_last_tick():
    line = line_of([1, 2, 3, 4, 5, 6], [0.0, np.nan, np.inf, 4.0, 5.0, -np.inf])
    assert line.connect.tolist() == [0, 0, 0, 1, 0, 0]
    assert line.bad == ((1.5, 3.5), (5.5, 6.5))
    assert line.y.tolist() == [0.0, 0.0, 0.0, 4.0, 5.0, 0.0]
    assert line.finite.tolist() == [True, False, False, True, True, False]


@pytest.mark.parametrize("values", [[], [1.0], [np.nan]])
def test_short_lines(values):
    line = line_of(list(range(len(values))), values)
    assert line.connect.sum() == 0 and len(line.x) == len(values)


def test_a_band_is_not_drawn_where_several_frames_are_missing():
    ticks = np.array([0, 10, 20, 70, 80])
    assert band_breaks(ticks).tolist() == [False, False, False, True, False]
    low = np.array([0.0, 1.0, np.nan, 3.0, 4.0])
    first, second = band_polygons(ticks, low, low + 1.0)
    assert [(p.x(), p.y()) for p in first] == [(0, 0), (10, 1), (10, 2), (0, 1)]
    assert [(p.x(), p.y()) for p in second] == [(70, 3), (80, 4), (80, 5), (70, 4)]
    assert band_polygons(ticks[:0], low[:0], low[:0])[0].isEmpty()


def test_a_range_has_a_margin_and_takes_in_a_limit_that_is_near():
    assert fit_range(np.array([0.0, 1.0, np.nan]), None) == pytest.approx((-0.08, 1.08))
    low, high = fit_range(np.array([0.0, 1.0]), (-1.2, 1.2))
    assert high == pytest.approx(1.2 + 0.08 * 1.2) and low == pytest.approx(-0.08 * 1.2)
    assert fit_range(np.array([0.0, 1.0]), (-9.0, 9.0)) == pytest.approx((-0.08, 1.08))
    assert fit_range(np.array([2.0]), None) == pytest.approx((1.8, 2.2))
    assert fit_range(np.zeros(0), None) == pytest.approx((-1.16, 1.16))


# -- the panel -----------------------------------------------------------------------------------------


def test_a_newcomer_sees_a_knee_the_reward_and_the_step():
    assert default_charts(make_store()) == [
        (IDS["DofState.position"], 1),
        (IDS["Reward.total"], 0),
        (IDS["Episode.step"], 0),
    ]
    assert default_charts(Store()) == []


def test_every_tick_of_the_row_and_all_rows_now_and_then_are_asked_for(plots: PlotsPanel):
    trace, *columns = plots.subscriptions()
    assert (trace.kind, trace.rows, trace.hz) == ("trace", "selected", 20.0)
    assert (IDS["DofState.position"], (1,)) in trace.columns
    assert (columns[0].kind, columns[0].columns, columns[0].hz) == (
        "column",
        ((IDS["DofState.position"], (1,)),),
        5.0,
    )
    plots.clear()
    assert plots.subscriptions() == []


def test_charts_are_added_once_removed_moved_and_written_down(plots: PlotsPanel):
    signals = []
    plots.changed.connect(lambda: signals.append(1))
    plots.add_chart(IDS["MotionCursor.time"], 0)
    plots.add_chart(IDS["MotionCursor.time"], 0)
    plots.add_chart(99, 0)
    plots.add_chart(IDS["Reward.total"], 7)
    assert len(plots.charts) == 4 and len(signals) == 1
    plots.move_chart(plots.charts[3], 0)
    chosen = plots.chosen()
    assert chosen[0] == "robot.MotionCursor.time:0"
    plots.charts[1].header.cross.click()
    assert len(plots.charts) == 3
    plots.choose([*chosen, "robot.Gone.value:0", "nonsense"])
    assert plots.chosen() == chosen
    plots.reset()
    assert plots.chosen()[0] == "robot.DofState.position:1"


def test_dragging_a_title_below_its_neighbour_changes_their_order(plots: PlotsPanel):
    first, second = plots.charts[:2]
    plots.grab()
    below = second.mapToGlobal(second.rect().center()).y() + 5
    first.header.dragged(below)
    assert plots.charts[:2] == [second, first]


def test_more_charts_than_can_be_drawn_in_time_are_refused_in_words(plots: PlotsPanel):
    for name in ("BodyState.position",):
        for label in range(18):
            plots.add_chart(IDS[name], label)
    assert len(plots.charts) == MOST
    assert f"{MOST} charts are the most" in plots._legend.text()


def test_charts_stay_when_their_columns_do(plots: PlotsPanel):
    plots.store.feed(make_schema(without=("Reward.total",)))
    plots.schema_changed()
    assert plots.chosen() == ["robot.DofState.position:1", "robot.Episode.step:0"]


def test_charts_follow_their_columns_to_other_numbers(plots: PlotsPanel):
    before = plots.chosen()
    schema = make_schema()
    columns = [c for table in schema["tables"] for component in table["components"] for c in component["columns"]]
    for column in columns:
        column["id"] = len(columns) - 1 - column["id"]
    plots.store.feed(schema)
    plots.schema_changed()
    assert plots.chosen() == before
    assert [chart.column for chart in plots.charts] == [plots.store.by_address[c.rpartition(":")[0]] for c in before]


def fill(plots: PlotsPanel, bad: bool = False) -> None:
    ticks = [*range(100, 160), *range(200, 250)]
    values = np.sin(np.array(ticks) / 9.0)
    if bad:
        values[70:80] = np.nan
    feed_trace(plots.store, *KNEE, ticks, values.tolist())
    for tick in range(100, 250, 5):
        feed_column(plots.store, *KNEE, tick, np.random.default_rng(tick).normal(0.0, 0.2, 4))


def test_row_median_band_gap_and_bad_region_are_drawn_in_their_colours(plots: PlotsPanel):
    fill(plots, bad=True)
    plots.refresh()
    chart = plots.charts[0]
    picture = chart.plot.grab().toImage()
    box = chart.plot.getPlotItem().getViewBox()

    def column(tick: float) -> list[QColor]:
        x = round(box.mapViewToScene(QPointF(tick, 0.0)).x())
        return [picture.pixelColor(x, y) for y in range(2, picture.height() - 10)]

    def reddish(color: QColor) -> bool:
        return color.red() > color.blue() + 30

    assert sum(reddish(c) for c in column(215)) > 0.8 * len(column(215))
    assert not any(reddish(c) for c in column(130))
    assert any(c == QColor(theme.WHITE) for tick in (110, 120, 130, 140) for c in column(tick))
    assert not any(c == QColor(theme.WHITE) for tick in range(166, 196, 3) for c in column(tick))
    assert any(c == QColor(theme.BLUE) for tick in range(110, 150) for c in column(tick))
    assert chart.marks._gaps == ((159.0, 200.0),)


@pytest.mark.parametrize(("low", "high"), [(0.0984, 0.0991), (-0.0991, -0.0984), (123456, 123999), (86000.2, 86000.9)])
def test_every_range_has_numbers_at_its_axis(qtbot, low: float, high: float):
    chart = TimeChart(0, 0, "long numbers", None)
    qtbot.addWidget(chart)
    chart.resize(330, 140)
    chart.show()
    ticks, nothing = np.arange(50), (np.zeros(0, np.int64), *(np.zeros(0),) * 3)
    chart.set_data((ticks, np.linspace(low, high, 50), np.zeros(50, bool)), nothing, None)
    chart.fit_range(0, 50)
    picture = chart.grab().toImage()
    left = {picture.pixelColor(x, y).name() for x in range(AXIS_WIDTH - 8) for y in range(20, 130)}
    assert len(left) > 3, "nothing is written there"


def test_the_limits_of_a_column_are_dashed_lines(plots: PlotsPanel):
    chart = plots.charts[0]
    lines = [item for item in chart.plot.getPlotItem().items if getattr(item, "angle", None) == 0]
    assert sorted(line.value() for line in lines) == [-2.0, 2.0]
    assert all(line.pen.style() == Qt.PenStyle.DashLine and line.pen.width() == 1 for line in lines)


def test_a_number_at_an_axis_is_whole_or_left_out(plots: PlotsPanel):
    chart = plots.charts[0]
    axis = chart.plot.getPlotItem().getAxis("left")
    for top in (1.0, 1.01, 0.999):
        chart.plot.setRange(yRange=(0.0, top), padding=0, disableAutoRange=False)
        picture = QPixmap(200, 200)
        painter = QPainter(picture)
        texts = axis.generateDrawSpecs(painter)[2]
        painter.end()
        place = axis.mapRectFromParent(axis.geometry())
        assert texts and all(place.top() <= box.top() and box.bottom() <= place.bottom() for box, _, _ in texts)


def test_the_cursor_is_a_red_line_and_the_header_says_the_value_there(plots: PlotsPanel):
    fill(plots)
    plots.refresh()
    chart = plots.charts[0]
    assert not chart.now.isVisible()
    assert chart.header.value.text() == format_number(float(np.float32(np.sin(249 / 9.0))))
    plots.store.cursor = 120
    plots.refresh()
    assert chart.now.isVisible() and chart.now.value() == 120
    assert chart.header.value.text() == format_number(float(np.float32(np.sin(120 / 9.0))))
    plots.store.cursor = 180
    plots.refresh()
    assert chart.header.value.text() == ""


def test_all_charts_have_one_time_axis_and_the_wheel_changes_it(plots: PlotsPanel):
    fill(plots)
    plots.refresh()
    ranges = {tuple(chart.plot.getPlotItem().getViewBox().viewRange()[0]) for chart in plots.charts}
    assert ranges == {(100, 249 + 24)}
    assert [chart.plot.getPlotItem().getAxis("bottom").style["showValues"] for chart in plots.charts] == [
        False,
        False,
        True,
    ]
    wheel = QWheelEvent(
        QPointF(5, 5), QPointF(5, 5), QPoint(), QPoint(0, 120), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    plots.wheelEvent(wheel)
    assert plots.span == 200


def test_a_slow_run_is_not_squeezed_into_the_end_of_an_empty_axis(plots: PlotsPanel):
    feed_trace(plots.store, *KNEE, [3, 4, 5, 6], [0.0, 0.1, 0.2, 0.3])
    plots.refresh()
    assert plots.charts[0]._x == (3.0, 6 + 24)
    feed_column(plots.store, *KNEE, 1, np.zeros(4))
    plots._ranged = 0.0
    plots.refresh()
    assert plots.charts[0]._x[0] == 1.0
    feed_trace(plots.store, *KNEE, list(range(7, 600)), [0.0] * 593)
    plots._ranged = 0.0
    plots.refresh()
    assert plots.charts[0]._x == (599 + 24 - 300, 599 + 24)


def test_ranges_change_at_most_twice_a_second(plots: PlotsPanel):
    fill(plots)
    plots.refresh()
    before = plots.charts[0]._x
    feed_trace(plots.store, *KNEE, list(range(250, 260)), [9.0] * 10)
    plots.refresh()
    assert plots.charts[0]._x == before
    plots._ranged = time.monotonic() - 1.0
    plots.refresh()
    assert plots.charts[0]._x[1] == 259 + 24 and plots.charts[0]._y[1] > 9.0


@pytest.mark.parametrize("rows", [1, 4096])
@pytest.mark.parametrize("values", ["none", "one", "nan", "constant"])
def test_no_data_breaks_a_chart(qtbot, rows: int, values: str):
    store = make_store(rows=rows)
    panel = PlotsPanel(store, Asked())
    qtbot.addWidget(panel)
    panel.resize(300, 300)
    count = {"none": 0, "one": 1}.get(values, 50)
    if count:
        number = np.nan if values == "nan" else 2.5
        feed_trace(store, *KNEE, list(range(count)), [number] * count)
        feed_column(store, *KNEE, count, np.full(rows, number))
    panel.refresh()
    panel.refresh()
    assert picture_of(panel).shape == (300, 300, 3)
    if values == "nan":
        assert panel.charts[0].header.value.text() == "NaN"
        assert panel.charts[0].line.bad == ((-0.5, 49.5),)


def test_four_charts_cost_little(plots: PlotsPanel, qapp, capsys):
    plots.add_chart(IDS["MotionCursor.time"], 0)
    names = [KNEE, ("Reward.total", 0), ("Episode.step", 0), ("MotionCursor.time", 0)]
    rng = np.random.default_rng(0)

    def frame(tick: int) -> float:
        for name, label in names:
            feed_trace(plots.store, name, label, list(range(tick, tick + 5)), rng.normal(size=5).tolist())
            feed_column(plots.store, name, label, tick, rng.normal(size=4))
        began = time.process_time()
        plots.refresh()
        qapp.processEvents()
        return time.process_time() - began

    took = [frame(tick) for tick in range(0, 500, 5)]
    with capsys.disabled():
        print(f"\nfour charts: median {1e3 * np.median(took[20:]):.1f} ms of process time a frame")
    assert np.median(took[20:]) < 0.25
