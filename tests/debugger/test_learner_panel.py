"""The Learner panel, drawn offscreen."""

import numpy as np
import pytest
from PySide6.QtGui import QColor
from pytestqt.qtbot import QtBot

from engine.debugger.panels.learner import LearnerPanel
from engine.debugger.widgets import theme
from engine.debugger.widgets.sparkline import Sparkline
from tests.debugger.panels import SIZES, STORES, Asked, drawn, full, silent
from tests.debugger.planted import Planted, schema


@pytest.mark.parametrize("name", STORES)
def test_it_draws_whatever_came(qtbot: QtBot, name: str):
    panel = LearnerPanel(STORES[name](), Asked())
    qtbot.addWidget(panel)
    for size in SIZES:
        drawn(panel, *size)
    panel.schema_changed()
    panel.refresh()


def test_values_outside_their_usual_bands_say_so(qtbot: QtBot):
    def spoil(run: Planted) -> None:
        run.learner = [{**v, "learn/kl": 0.08, "learn/explained_variance": 0.1} for v in run.learner]

    panel = LearnerPanel(full(spoil=spoil), Asked())
    qtbot.addWidget(panel)
    drawn(panel, 760, 300)
    assert panel.charts["learn/kl"].word == "0.080 high"
    assert panel.charts["learn/kl"].band == (0.005, 0.02)
    assert panel.charts["learn/explained_variance"].word == "0.100 low"
    assert panel.charts["learn/clip_fraction"].word == "0.100 usual"
    assert "outside the usual band: explained variance, KL divergence" in panel.head.text()


def test_what_is_not_reported_is_said_not_to_be(qtbot: QtBot):
    panel = LearnerPanel(full(), Asked())
    qtbot.addWidget(panel)
    drawn(panel, 760, 300)
    assert "all within their usual bands" in panel.head.text()
    assert "not reported: episode length, surrogate loss" in panel.head.text()
    assert panel.charts["learn/surrogate_loss"].isHidden() and not panel.charts["learn/gradient_norm"].isHidden()
    waiting = LearnerPanel(silent(), Asked())
    qtbot.addWidget(waiting)
    assert waiting.head.text() == "waiting for the first iteration"


def test_a_number_that_is_not_finite_interrupts_the_line(qtbot: QtBot):
    def spoil(run: Planted) -> None:
        run.learner[5]["learn/kl"] = np.nan
        run.learner[-1]["learn/kl"] = np.inf

    panel = LearnerPanel(full(spoil=spoil), Asked())
    qtbot.addWidget(panel)
    drawn(panel, 430, 560)
    assert panel.charts["learn/kl"].word == "∞ not finite"
    assert np.isfinite(panel.charts["learn/kl"].ys).sum() == 18


def test_what_an_iteration_does_not_report_is_not_wrong(qtbot: QtBot):
    def spoil(run: Planted) -> None:
        for report in run.learner:
            report["episode/length"] = 100.0
        del run.learner[-1]["episode/length"]  # none ended

    panel = LearnerPanel(full(spoil=spoil), Asked())
    qtbot.addWidget(panel)
    drawn(panel, 430, 560)
    assert panel.charts["episode/length"].word == "not in this one"
    assert "all within their usual bands" in panel.head.text()


def test_no_line_leads_over_iterations_that_were_not_received(qtbot: QtBot):
    chart = Sparkline("kl")
    qtbot.addWidget(chart)
    chart.resize(400, 120)
    xs = np.array([*range(10), *range(90, 100)], np.float64)
    chart.show_line(xs, np.linspace(0.0, 1.0, 20), None, "", theme.TEXT)
    picture = chart.grab().toImage()

    def white(left: float, right: float) -> bool:
        across = range(round(left * 400), round(right * 400))
        return any(picture.pixelColor(x, y) == QColor(theme.WHITE) for x in across for y in range(22, 112))

    assert not white(0.3, 0.8) and white(0.1, 0.25) and white(0.9, 0.98)


def test_charts_fill_the_width(qtbot: QtBot):
    panel = LearnerPanel(full(), Asked())
    qtbot.addWidget(panel)
    for width, across in ((430, 2), (760, 3), (1280, 6)):
        drawn(panel, width, 400)
        panel.refresh()
        assert len({chart.x() for chart in panel.charts.values() if not chart.isHidden()}) == across
    panel.store.feed({**schema(16), "constants": []})
    panel.schema_changed()
    assert panel.charts["learn/kl"].band is None


def dreaming(run: Planted) -> None:
    """A run that learns in imagination, in which imagined and real rewards part; the knee is predicted worst."""
    joints = {"left_hip": 0.01, "left_knee": 0.03, "right_hip": 0.012, "right_knee": 0.025}
    run.learner = [
        {
            "reward/per_step": 0.08,
            "imagine/real_reward": 0.08 - 0.001 * i,
            "imagine/imagined_reward": 0.08 + 0.001 * i,
            "imagine/gap": 2 * i / (80 + i),
            "imagine/gradient_norm": 0.5 + 0.1 * (i % 3),
            "imagine/kl": 0.3,
            "imagine/taken_back": 0.0,
            **{f"imagine/error_{ahead}": 0.002 * ahead / (1 + 0.1 * i) for ahead in (1, 4, 8, 16)},
            **{f"imagine/error_16/{name}": error for name, error in joints.items()},
        }
        for i in range(20)
    ]


def test_a_run_that_learns_in_imagination_shows_both_rewards_and_the_error_by_horizon_and_joint(qtbot: QtBot):
    panel = LearnerPanel(full(spoil=dreaming), Asked())
    qtbot.addWidget(panel)
    drawn(panel, 760, 900)
    chart = panel.charts["imagine/real_reward"]
    assert (chart.ys[-1], chart.beside[-1]) == pytest.approx((0.061, 0.099))
    assert panel.charts["imagine/gap"].word.endswith("high") and "imagined − real" in panel.head.text()
    shown = {name for name, chart in panel.charts.items() if not chart.isHidden()}
    assert {f"imagine/error_{ahead}" for ahead in (1, 4, 8, 16)} <= shown and not {"learn/kl", "imagine/parted"} & shown
    assert "explained variance" not in panel.head.text()  # which the other learner reports
    assert [(bar.name, bar.value) for bar in panel.joints.bars][1] == ("left_knee", 0.03)
    assert panel.joints.high == 0.03 and not panel.joints.isHidden()


def test_a_run_that_learns_otherwise_shows_nothing_of_imagination(qtbot: QtBot):
    panel = LearnerPanel(full(), Asked())
    qtbot.addWidget(panel)
    drawn(panel, 760, 300)
    assert panel.joints.isHidden() and "model error" not in panel.head.text()
    assert not [name for name, chart in panel.charts.items() if name.startswith("imagine/") and not chart.isHidden()]
