"""The Tick strip: which systems it shows, how wide, what it says about them and about the marked number."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PySide6.QtCore import QPointF

from engine.debugger.model.store import Store
from engine.debugger.panels.tick import TickPanel, group_systems, share_out
from engine.protocol.framing import pack_array
from tests.debugger.scripted_run import SYSTEMS, ScriptedRun


class Asked:
    def __init__(self):
        self.sent, self.answer = [], {}

    def send(self, message, then=None):
        self.sent.append(message)
        if then is not None:
            then(self.answer)

    def select(self, row): ...
    def show(self, panel_title): ...
    def plot(self, column_id, label): ...


@pytest.fixture
def store():
    made = Store()
    made.feed(ScriptedRun(rows=8).schema())
    return made


@pytest.fixture
def panel(qtbot, store):
    made = TickPanel(store, Asked())
    made.schema_changed()
    qtbot.addWidget(made)
    made.resize(1600, made.height())
    made.show()
    return made


def time_systems(store, milliseconds, tick=100):
    seconds = np.array(milliseconds, np.float32) * 1e-3
    store.feed({"t": "data", "kind": "timing", "sub": 0, "ticks": [tick, tick], "seconds": pack_array(seconds), "tick_seconds": float(seconds.sum())})  # fmt: skip


USUAL = [ms for *_, ms in SYSTEMS]


def test_repeated_phases_are_one_group_and_the_first_tick_is_left_out(store):
    groups = group_systems(store.schema)
    names = [group.name for group in groups]
    assert names[:4] == ["ACT", "ACTUATE", "TORQUE+STEP ×4", "SENSE"]
    shown = [number for group in groups for number in group.systems]
    assert 0 not in shown and shown == list(range(1, len(SYSTEMS)))


def test_widths_are_to_scale_and_fill_the_strip(panel, store):
    time_systems(store, USUAL)
    panel.refresh()
    widths = {SYSTEMS[s.system][0]: s.width for s in panel.strip.segments}
    assert sum(widths.values()) == pytest.approx(panel.strip.width() - 1, abs=0.5)
    assert widths["act"] / widths["reward"] == pytest.approx(2.1 / 1.4, rel=0.05)
    assert min(widths.values()) >= 2.9


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=40), st.floats(20, 4000))
def test_any_times_fill_the_room(seconds, room):
    widths = share_out(np.array(seconds, np.float32), room)
    assert np.isfinite(widths).all() and (widths > 0).all() and widths.sum() == pytest.approx(room)


def test_the_header_says_tick_time_and_what_comes_next(panel, store):
    panel.refresh()
    assert panel.header.text() == "no tick yet"
    time_systems(store, USUAL)
    store.feed({"t": "state", "mode": "paused", "tick": 184203, "next": 9, "substep": 2, "inspected": True})
    panel.refresh()
    total = sum(USUAL)
    assert (
        panel.header.text()
        == f"tick 184 203 · {total:.1f} ms (p95 {total:.1f}) · next: reward, substep 2 · inspected: slower"
    )


def test_nothing_is_next_while_the_run_goes_on(panel, store):
    store.feed({"t": "state", "mode": "running", "tick": 5, "next": 3})
    assert panel.store.next_system() is None
    store.feed({"t": "state", "mode": "paused", "tick": 5, "next": 300})
    assert panel.store.next_system() is None


def test_a_system_is_described_with_its_first_line_access_and_times(panel, store):
    for part in range(1, 21):
        time_systems(store, [ms * part / 10 for ms in USUAL], part)
    description = panel.strip.describe(9)
    assert description.splitlines()[0].startswith("reward   REWARD")
    assert "Add up weight × value × dt." in description and "reads robot.RelativeTarget, robot.Action" in description
    assert "writes robot.Reward, robot.Earned" in description and "median 1.470 ms, p95 2.667 ms" in description


def test_a_point_finds_its_system(panel, store):
    time_systems(store, USUAL)
    panel.refresh()
    for segment in panel.strip.segments:
        assert panel.strip.at(QPointF(segment.left + segment.width / 2, 5)) == segment.system


def test_provenance_is_asked_once_for_a_marked_number(panel, store):
    torque = store.by_address["robot.DofTorque.value"]
    panel.refresh()
    assert "mark a column" in panel.origin.text() and not panel.control.sent
    store.picked = (torque, 0)
    panel.control.answer = {
        "t": "ok",
        "writer": "pd_torque",
        "tick": 184203,
        "kind": "observed",
        "readers": ["step_physics", "record"],
    }
    panel.refresh()
    panel.refresh()
    assert panel.control.sent == [{"t": "provenance", "column": torque, "label": 0, "row": 0}]
    assert panel.origin.text() == (
        "DofTorque.value[left_hip_pitch]   written by pd_torque (tick 184 203)   read by step_physics, record"
    )


def test_without_an_answer_provenance_is_what_was_declared(panel, store):
    store.picked = (store.by_address["robot.DofTorque.value"], None)
    panel.control.answer = {"t": "error", "code": "unsupported", "text": ""}
    panel.refresh()
    assert panel.origin.text() == "DofTorque.value   written by pd_torque (declared)   read by step_physics"


def test_history_is_drawn_and_toggled(panel, store):
    low = panel.height()
    panel.toggle_history()
    panel.grab()
    for part in range(1, 700):
        time_systems(store, [ms * (1 + 0.1 * np.sin(part / 20)) for ms in USUAL], part)
    panel.refresh()
    assert panel.minimumHeight() > low + 60
    picture = panel.grab().toImage()
    colours = {picture.pixelColor(800, y).name() for y in range(20, picture.height() - 20)}
    assert len(colours) >= 4
    panel.toggle_history()
    assert panel.minimumHeight() == low


@pytest.mark.parametrize("milliseconds", [[0.0] * len(SYSTEMS), [np.nan] * len(SYSTEMS)])
def test_the_strip_is_drawn_whatever_was_measured(panel, store, milliseconds):
    time_systems(store, milliseconds)
    store.breaks = {1: {"at": "before reward", "when": ""}, 2: {"at": "after act", "when": "x"}}
    panel.strip.system = 9
    panel.refresh()
    panel.grab()
