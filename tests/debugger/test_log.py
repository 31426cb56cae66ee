"""The Log panel, drawn offscreen."""

import pytest
from pytestqt.qtbot import QtBot

from engine.debugger.model.store import Store
from engine.debugger.panels.log import LogPanel
from tests.debugger.panels import Asked


@pytest.fixture
def log(qtbot: QtBot) -> LogPanel:
    made = LogPanel(Store(), Asked())
    qtbot.addWidget(made)
    made.resize(600, 400)
    made.show()
    note(made, 100)
    return made


def note(log: LogPanel, lines: int) -> None:
    for number in range(lines):
        log.store.note(
            "iteration", f"iteration {number} with some words that need two lines where there is little room"
        )
    log.refresh()


def at_end(log: LogPanel) -> bool:
    bar = log.text.verticalScrollBar()
    return bar.maximum() > 0 and bar.value() == bar.maximum()


def test_it_stays_at_its_last_line_whatever_its_size(log: LogPanel, qtbot: QtBot):
    assert at_end(log)
    for size in ((250, 90), (980, 330), (220, 700), (600, 120)):
        log.resize(*size)
        qtbot.waitUntil(lambda: at_end(log))
        note(log, 3)
        assert at_end(log), size


def test_somebody_who_reads_further_up_is_left_there(log: LogPanel, qtbot: QtBot):
    bar = log.text.verticalScrollBar()
    bar.triggerAction(bar.SliderAction.SliderPageStepSub)
    place = bar.value()
    assert place < bar.maximum()
    note(log, 10)
    assert bar.value() == place
    bar.triggerAction(bar.SliderAction.SliderToMaximum)
    note(log, 10)
    assert at_end(log)
