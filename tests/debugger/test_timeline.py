"""The Time strip: what it says, what it marks, and what dragging asks for."""

import pytest
from PySide6.QtCore import QPoint, Qt

from engine.debugger.model.store import Store
from engine.debugger.panels.timeline import TimelinePanel


class Asked:
    def __init__(self):
        self.sent, self.waiting = [], []

    def send(self, message, then=None):
        self.sent.append(message)
        self.waiting += [then] if then is not None else []

    def answer(self):
        while self.waiting:
            self.waiting.pop(0)({"t": "ok"})

    def select(self, row): ...
    def show(self, panel_title): ...
    def plot(self, column_id, label): ...


@pytest.fixture
def panel(qtbot):
    made = TimelinePanel(Store(), Asked())
    qtbot.addWidget(made)
    made.resize(1000, made.height())
    made.show()
    return made


def state(panel, **more):
    panel.store.feed({"t": "state", "mode": "running", "tick": 1255, "history": [1000, 1255], "exact": True, "view": None} | more)  # fmt: skip


def happen(panel, kind, tick, row=None, **fields):
    panel.store.feed({"t": "event", "kind": kind, "tick": tick, "row": row, "text": "", "fields": fields})


def test_the_text_says_what_is_shown(panel):
    assert panel.say()[0] == "live · no history"
    state(panel)
    assert panel.say()[0] == "live · history of 255 ticks · drag to look back"
    panel.store.cursor = 1220
    assert panel.say()[0] == "viewing tick 1 220 (−35 of 255, what was received, the run is asked)"
    state(panel, view=1220)
    assert panel.say()[0] == "viewing tick 1 220 (−35 of 255, exact)"
    state(panel, mode="paused", exact=False, view=1220)
    assert panel.say()[0] == "viewing tick 1 220 (−35 of 255, replayed, not bit-exact) — engine paused"


def test_dragging_looks_at_once_and_asks_again_when_it_was_answered(panel, qtbot):
    state(panel)
    bar = panel.bar
    seen = []
    qtbot.mousePress(bar, Qt.MouseButton.LeftButton, pos=QPoint(100, 10))
    for x in range(100, 600, 5):
        bar.mouseMoveEvent(moved(bar, x))
        seen.append(panel.store.cursor)
    assert seen == sorted(seen) and seen[-1] == bar.tick_at(595)
    assert len(panel.control.sent) == 1, "the run still looks for the first"
    panel.control.answer()
    qtbot.waitUntil(lambda: panel.control.sent[-1] == {"t": "seek", "tick": seen[-1]})


def moved(bar, x):
    from PySide6.QtCore import QEvent, QPointF
    from PySide6.QtGui import QMouseEvent

    button = Qt.MouseButton.LeftButton
    place = QPointF(x, 10)
    return QMouseEvent(
        QEvent.Type.MouseMove, place, bar.mapToGlobal(place), button, button, Qt.KeyboardModifier.NoModifier
    )


def test_the_right_end_is_live(panel):
    state(panel)
    panel.seek(1100)
    panel.bar.mouseMoveEvent(moved(panel.bar, panel.bar.width() - 2))
    assert panel.store.cursor is None and panel.control.sent[-1] == {"t": "live"}


def test_seeking_stays_within_history(panel):
    state(panel)
    panel.seek(3)
    assert panel.store.cursor == 1000
    panel.scrub(-1)
    assert panel.store.cursor == 1000
    panel.seek(9999)
    assert panel.store.cursor == 1255
    panel.scrub(1)
    assert panel.store.cursor is None


def test_without_history_nothing_is_asked(panel):
    panel.seek(5)
    panel.scrub(-1)
    panel.go_live()
    panel.bar.mouseMoveEvent(moved(panel.bar, 50))
    assert panel.control.sent == [] and panel.store.cursor is None


def test_ticks_and_places_agree(panel):
    state(panel)
    assert all(panel.bar.tick_at(panel.bar.x_of(tick)) == tick for tick in range(1000, 1256))


def test_what_happened_is_marked_the_worst_first(panel):
    state(panel)
    happen(panel, "reset", 1010, row=0)
    happen(panel, "reset", 1011, row=5)
    happen(panel, "reset", 1012)
    happen(panel, "edit", 1020, what="edit gains")
    happen(panel, "nonfinite", 1100, row=3)
    happen(panel, "break", 1101)
    happen(panel, "break", 500)
    happen(panel, "iteration", 1200)
    marks = [(tick, kind, word) for tick, kind, _, word in panel.bar.marks()]
    assert marks == [
        (1100, "nonfinite", "NaN"), (1101, "break", "break"), (1020, "edit", "edit gains"), (1012, "reset", ""),
        (1010, "reset", "reset"),
    ]  # fmt: skip
    panel.refresh()
    picture = panel.bar.grab().toImage()
    x = int(panel.bar.x_of(1100))
    assert any(picture.pixelColor(x, y).red() > 200 > picture.pixelColor(x, y).blue() for y in range(picture.height()))


def test_a_marker_for_every_tick_is_still_drawn_in_time(panel):
    state(panel)
    for tick in range(1000, 1256):
        for _ in range(8):
            happen(panel, "reset", tick)
    panel.refresh()
    panel.grab()
