"""Recordings open in the same window: they can be looked through, and nothing in them can be changed."""

import numpy as np
import pytest
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication

from engine.debugger.app.window import Window
from engine.debugger.model.store import Store
from engine.debugger.model.subscription import Subscription
from engine.debugger.net.playback import Playback
from engine.debugger.widgets import theme
from engine.errors import SceneError
from engine.protocol.framing import pack_array
from engine.recording.file import END, TERMINAL, RecordingWriter
from tests.debugger.scripted_run import VITALS, ScriptedRun

ROWS, FIRST, LAST = [3, 5], 100, 160


@pytest.fixture
def run():
    return ScriptedRun(rows=8)


@pytest.fixture
def recording(run, tmp_path):
    """Two rows of the scripted run, as the flight recorder writes them."""
    writer = RecordingWriter.create(tmp_path / "x.rec", run.schema())
    ticks, moments = [], []
    for tick in range(FIRST, LAST + 1):
        if run.episode(np.full(2, tick), np.array(ROWS))[1].any():
            ticks.append(tick)
            moments.append(TERMINAL)
        ticks.append(tick)
        moments.append(END)
    at, moment = np.array(ticks), np.array(moments, np.uint8)
    ended = np.stack([run.episode(at, np.full(len(at), row))[1] for row in ROWS], 1)
    present = (moment == END)[:, None] | ended
    columns = []
    for number in run.ids.values():
        parts = [
            run.sample(number, at, np.full(len(at), row), (moment == TERMINAL) & ended[:, i])
            for i, row in enumerate(ROWS)
        ]
        columns.append([number, *pack_array(np.stack(parts, 1))])
    for half in (slice(0, 30), slice(30, None)):
        cut = [[number, *pack_array(array[half])] for number, array in ((c[0], _unpacked(c)) for c in columns)]
        writer.append({"t": "data", "sub": "trace", "table": "robot", "ticks": [int(at[half][0]), int(at[half][-1])], "rows": ROWS,
                       "at": pack_array(at[half]), "moment": pack_array(moment[half]), "present": pack_array(present[half]), "cols": cut})  # fmt: skip
    box = np.zeros((4, 8, len(VITALS)), np.float16)
    writer.append({"t": "data", "sub": "black_box", "table": "robot", "ticks": [157, 160], "at": pack_array(np.arange(157, 161)), "values": pack_array(box)})  # fmt: skip
    writer.append({"t": "event", "kind": "nonfinite", "tick": 150, "row": 3, "text": "a NaN"})
    writer.close()
    return tmp_path / "x.rec"


def _unpacked(column):
    from engine.protocol.framing import unpack_array

    return unpack_array(column[1:])


@pytest.fixture
def playback(qtbot, recording):
    made = Playback(Store(), recording)
    made.start()
    return made


def test_a_recording_says_what_it_holds(playback):
    store = playback.store
    assert store.selected == 3 and store.state["history"] == [FIRST, LAST] and store.state["mode"] == "ended"
    assert store.run["name"] == "x.rec" and store.events[0]["text"] == "a NaN"


def test_numbers_are_those_of_the_run_at_every_tick(playback, run):
    store = playback.store
    column = store.by_address["robot.RootState.position"]
    playback.subscribe([Subscription("values", ((column, None),), "selected", 10.0)])
    for tick in (FIRST, 123, LAST):
        playback.send({"t": "seek", "tick": tick})
        store.cursor = tick
        held = store.value(column, 3)
        finish = run.episode(np.array([tick]), np.array([3]))[1]
        assert held[0] == tick and np.allclose(held[1], run.sample(column, np.array([tick]), np.array([3]), finish)[0])


def test_traces_are_whole_and_break_where_episodes_end(playback, run):
    store = playback.store
    column = store.by_address["robot.Reward.total"]
    playback.subscribe([Subscription("trace", ((column, (0,)),), (3, 5), 20.0)])
    for row in ROWS:
        ticks, _, breaks = store.trace(column, 0, row)
        ends = [t for t in range(FIRST, LAST) if run.episode(np.array([t]), np.array([row]))[1][0]]
        assert sorted(set(ticks.tolist())) == list(range(FIRST, LAST + 1))
        assert ticks[breaks].tolist() == ends


def test_vitals_come_from_the_black_box(playback):
    playback.subscribe([Subscription("vitals", (), (7,), 1.0)])
    assert playback.store.boxes.rows[7][1].shape == (4, len(VITALS))


def test_commands_are_refused_in_words(playback, qtbot):
    answers = []
    playback.send({"t": "pause"}, answers.append)
    qtbot.waitUntil(lambda: bool(answers))
    assert answers[0]["code"] == "offline" and "recording" in answers[0]["text"]


def test_the_window_opens_it_with_controls_greyed_out(qtbot, recording, tmp_path):
    theme.apply(QApplication.instance())
    store = Store()
    playback = Playback(store, recording)
    window = Window(store, playback, QSettings(str(tmp_path / "s.ini"), QSettings.Format.IniFormat))
    qtbot.addWidget(window)
    window.show()
    playback.start()
    qtbot.waitUntil(lambda: bool(playback._subs))
    window.menu_actions.by_name["back_far"].trigger()
    for title in window.docks:
        window.show_panel(title)
        for _ in range(10):
            QApplication.processEvents()
        for host in window.hosts.values():
            host.refresh()
    assert not window.menu_actions.by_name["run"].isEnabled() and window.menu_actions.by_name["back"].isEnabled()
    assert store.cursor == LAST - 10
    assert {t: h.failed for t, h in window.hosts.items() if h.failed} == {}
    window.close()


@pytest.mark.parametrize("content", [None, b"", b"not a recording", b"LOCKSREC" + bytes(50)])
def test_what_is_no_recording_is_refused_in_a_sentence(tmp_path, content):
    path = tmp_path / "bad.rec"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SceneError, match="cannot be opened") as refused:
        Playback(Store(), path)
    assert str(refused.value).count("bad.rec") == 1 and ".." not in str(refused.value)


def test_a_recording_that_was_cut_off_opens_as_far_as_it_goes(recording, qtbot):
    recording.write_bytes(recording.read_bytes()[:-3])
    made = Playback(Store(), recording)
    made.start()
    assert made.store.state["why"] != "" and made.recorded.last == LAST
