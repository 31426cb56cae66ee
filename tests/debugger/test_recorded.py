"""Recordings that a real simulation made: as text, cut off, exported, and the one that ships."""

import csv
import io
import itertools
import json
import tomllib

import numpy as np
import pytest
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication, QTabBar

from engine import build
from engine.debugger import __main__ as command
from engine.debugger.app.save import chrome_trace, save_chrome_trace, save_recording, save_selection, selection
from engine.debugger.app.window import Window
from engine.debugger.model.store import Store
from engine.debugger.model.subscription import Subscription
from engine.debugger.net.playback import Playback
from engine.debugger.net.recording_source import RecordingSession, RecordingSource
from engine.debugger.text import Text
from engine.debugger.widgets import theme
from engine.ecs.schedule import Observer
from engine.errors import SceneError
from engine.protocol.framing import column_ids
from engine.protocol.vitals import find_ends
from engine.recording.file import Recording
from engine.recording.recorder import Recorder
from scenes.cartpole import experiment
from tests.helpers import REPOSITORY

ROWS, TICKS = (1, 4), 40


@pytest.fixture(scope="module")
def flight(tmp_path_factory):
    """What the flight recorder writes of two carts: file, angles and ends (ticks, 2), the last tick, the angle's address."""
    simulation = build(experiment(num_envs=6).train())
    recorder = Recorder(simulation, rows=list(ROWS), folder=tmp_path_factory.mktemp("records"))
    recorder.attach()
    angles, ends = [], []
    address = next(a for a in simulation.world.columns() if a.endswith("Cart.angle"))
    endings = next(iter(find_ends(simulation).values()))
    simulation.schedule.attach(Observer(at_finish=lambda: ends.append(endings.ended[list(ROWS)].tolist())))
    for _ in range(TICKS):
        simulation.run()
        angles.append(simulation.world.columns()[address][list(ROWS)].reshape(-1).tolist())
    path = recorder.keep("request", "asked for")
    last = simulation.world.clock.tick
    ends = [[False, False]] * (TICKS - len(ends)) + ends  # the first tick enters at RESET, and ends nothing
    return path, np.array(angles), np.array(ends), last, address


def say(session, line):
    """Whether a command was done, and what it prints."""
    out = io.StringIO()
    fine = Text(session, out).run(line)
    return fine, out.getvalue()


def test_a_recording_of_a_run_is_read_as_text(flight):
    path, angles, ends, last, address = flight
    session = RecordingSession(path)
    assert session.greeting.startswith(f"{path.name}: cartpole, 2 rows (1, 4), ticks ")
    fine, printed = say(session, f"print {address} 1,4")
    assert fine and f"at tick {last}" in printed
    shown = [float(line.split()[-1]) for line in printed.splitlines()[2:]]
    assert ends[-1].any() or np.allclose(shown, angles[-1], rtol=1e-4)
    going_on = np.flatnonzero(~ends[5:-5, 0])[0] + 5
    tick = last - (TICKS - 1 - going_on)
    assert say(session, f"seek {tick}")[0]
    _, printed = say(session, f"print {address} 1")
    assert say(session, f"seek {tick}")[1] == f"viewing tick {tick}; `live` goes back\n"
    assert say(session, "seek 99999999") == (
        False,
        f"Tick 99999999 is not in this recording; it holds ticks {session.recorded.first} to {last}.\n",
    )
    assert f"at tick {tick}" in printed and np.isclose(float(printed.split()[-1]), angles[going_on, 0], rtol=1e-4)
    fine, printed = say(session, f"watch {address} 1 3")
    assert fine and [line.split()[0] for line in printed.splitlines()[1:]] == [str(tick + i) for i in range(3)]


def test_text_refuses_what_would_change_a_recording_and_rows_that_it_lacks(flight):
    session = RecordingSession(flight[0])
    for line in ("pause", "step", "reset 1", f"set {flight[-1]} 1 0", "break tick > 3", "record on"):
        fine, printed = say(session, line)
        assert not fine and printed == "This is a recording: it can be looked at, but not changed.\n", line
    fine, printed = say(session, f"print {flight[-1]} 2")
    assert not fine and printed == "Row 2 is not in this recording; it holds 1, 4.\n"
    fine, printed = say(session, f"provenance {flight[-1]}")
    assert fine and "(declared)" in printed


def test_watching_ends_where_the_recording_does(flight):
    fine, printed = say(RecordingSession(flight[0]), f"watch {flight[-1]} 1")
    assert not fine and len(printed.splitlines()) == 3 and "no more of this; `seek`" in printed.splitlines()[-1]


def test_the_command_line_opens_a_recording_as_text(flight, capsys):
    assert command.main(["--text", str(flight[0]), "state"]) == 0
    assert "ended" in capsys.readouterr().out
    assert command.main(["--text", str(flight[0]), "pause"]) == 1
    assert command.main(["--text", "missing.rec", "state"]) == 1
    assert capsys.readouterr().err == "There is no recording missing.rec.\n"


@pytest.mark.parametrize("share", [0.4, 0.7, 0.95])
def test_a_recording_cut_anywhere_opens_to_the_last_whole_record_and_says_what_is_lost(flight, tmp_path, qtbot, share):
    data = flight[0].read_bytes()
    schema_end = Recording.open(flight[0]).records[0].end
    path = tmp_path / "cut.rec"
    path.write_bytes(data[: schema_end + int(share * (len(data) - schema_end))])
    session = RecordingSession(path)
    assert "cut off" in session.greeting or "not closed" in session.greeting or "trailer" in session.greeting
    playback = Playback(Store(), path)
    playback.start()
    assert playback.store.state["why"] == playback.recorded.lost != "" and playback.store.state["mode"] == "ended"


def test_ends_of_episodes_are_marked_where_the_traces_show_them(flight):
    path, _, ends, last, _ = flight
    found = [(e["tick"], e["row"]) for e in RecordingSource(path).events() if e["kind"] == "reset"]
    wanted = [(last - (TICKS - 1 - i), ROWS[place]) for i, place in np.argwhere(ends)]
    assert sorted(found) == sorted(wanted)


def test_columns_kept_seldom_are_found_beside_those_kept_always():
    recorded = RecordingSource(command.DEMO)
    ids = column_ids(recorded.schema)
    wanted = {ids["robot.DofState.position"]: None, ids["robot.Observation.actor"]: None}
    frames = recorded.values(recorded.rows[1], recorded.last - 3, wanted)
    assert sorted(column[0] for frame in frames for column in frame["cols"]) == sorted(wanted)
    assert max(frame["ticks"][1] for frame in frames) == recorded.last - 3


# -- the one that ships ----------------------------------------------------------------------------------


@pytest.fixture
def demo(qtbot, tmp_path):
    theme.apply(QApplication.instance())
    store = Store()
    playback = Playback(store, command.DEMO)
    window = Window(store, playback, QSettings(str(tmp_path / "s.ini"), QSettings.Format.IniFormat))
    qtbot.addWidget(window)
    window.show()
    playback.start()
    qtbot.waitUntil(lambda: bool(playback._subs))
    yield window
    window.close()


def test_the_demo_shows_something_in_every_panel(demo, qtbot):
    store = demo.store
    for title in demo.docks:
        demo.show_panel(title)
        for _ in range(10):
            QApplication.processEvents()
        for host in demo.hosts.values():
            host.refresh()
    assert {t: h.failed for t, h in demo.hosts.items() if h.failed} == {} and store.bad == 0
    reward = store.role("reward_total")
    assert len(store.frame(reward.id, 0)[1]) == 64 and len(store.band(reward.id, 0)[0]) > 20
    assert len(store.learner) >= 20 and store.timing["tick_seconds"] > 0.0
    failures = [e for e in store.events if e["kind"] == "reset"]
    assert len(failures) > 50 and len({e["row"] for e in failures}) > 20
    assert demo.call("Time", "say")[0].startswith("run ended · history of")


def test_the_demo_is_packaged_small_and_private():
    packaged = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert "debugger/demo.rec" in packaged["engine"]
    recording = Recording.open(command.DEMO)
    assert recording.complete and command.DEMO.stat().st_size <= 3 << 20
    assert not {"host", "folder", "pid"} & set(recording.schema["run"])
    recorded = json.dumps([recording.schema, *recording.of("event")], default=str)
    assert not [private for private in ("/tmp", "/home", "/root", "/work") if private in recorded]


def test_the_demo_is_opened_by_its_flag(monkeypatch):
    opened = {}

    def show(**given):
        opened.update(given)
        return 0

    monkeypatch.setattr("engine.debugger.app.window.show", show)
    assert command.main(["--demo"]) == 0 and opened["recording"] == command.DEMO


def test_tabs_are_there_after_a_panel_was_torn_off_and_put_back(demo, qtbot):
    dock = demo.docks["Why"]
    dock.setFloating(True)
    qtbot.wait(50)
    dock.setFloating(False)
    demo.reset_layout()

    def tabs():
        bars = [bar for bar in demo.findChildren(QTabBar) if bar.parent() is demo and bar.count() > 1]
        return sorted(bar.tabText(0) for bar in bars if bar.isVisible())

    qtbot.waitUntil(lambda: tabs() == ["Reward", "Why"])


# -- files for others ------------------------------------------------------------------------------------


def test_what_was_received_keeps_learner_timing_and_all_rows(demo, tmp_path):
    save_recording(demo.store, tmp_path / "again.rec")
    again = Playback(Store(), tmp_path / "again.rec")
    again.start()
    old, new = demo.store, again.store
    reward = old.role("reward_total").id
    assert new.learner == old.learner and len(new.timing["history"]) == len(old.timing["history"])
    np.testing.assert_array_equal(new.frame(reward, 0)[1], old.frame(reward, 0)[1])
    for new_part, old_part in zip(new.band(reward, 0), old.band(reward, 0), strict=True):
        np.testing.assert_array_equal(new_part, old_part)


def test_timing_is_exported_as_trace_events(demo, tmp_path):
    save_chrome_trace(demo.store, tmp_path / "t.json")
    events = [e for e in json.loads((tmp_path / "t.json").read_text())["traceEvents"] if e["ph"] == "X"]
    ticks = [e for e in events if e["cat"] == "tick"]
    systems = [e for e in events if e["cat"] != "tick"]
    history = list(demo.store.timing["history"])
    assert len(ticks) == len(history) and all(a["ts"] < b["ts"] for a, b in itertools.pairwise(ticks))
    assert sum(e["dur"] for e in systems) == pytest.approx(1e6 * sum(float(s.sum()) for _, s, _ in history), rel=1e-3)
    assert any(e["name"].startswith("step_physics") and e["cat"] == "STEP" for e in systems)
    with pytest.raises(SceneError, match="No timing"):
        chrome_trace(Store())


def test_numbers_are_exported_as_csv_and_npz(demo, tmp_path):
    store = demo.store
    step = store.column("robot.Episode.step")
    row = store.selected
    demo.client.subscribe([Subscription("trace", ((step.id, None),), (row,), 10.0)])
    numbers = selection(store, [(step.id, None)], row)
    ticks, values = numbers[step.address]
    save_selection(numbers, tmp_path / "n.npz")
    with np.load(tmp_path / "n.npz") as saved:
        np.testing.assert_array_equal(saved[step.address], values)
        np.testing.assert_array_equal(saved[f"{step.address}.tick"], ticks)
    save_selection(numbers, tmp_path / "n.csv")
    lines = list(csv.reader((tmp_path / "n.csv").open()))
    assert lines[0] == ["tick", step.address] and len(lines) == len(ticks) + 1
    assert [(int(t), float(v)) for t, v in lines[1:]] == [*zip(ticks.tolist(), values.tolist(), strict=True)]
    with pytest.raises(SceneError, match="Nothing has been received"):
        save_selection({}, tmp_path / "none.csv")
