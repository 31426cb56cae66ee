"""The window as a whole: keys, docks, subscriptions, failures of panels, files, looks and speed."""

import gc
import json
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PySide6.QtCore import QObject, QPointF, QSettings, Qt, QTimer
from PySide6.QtGui import QImage, QKeySequence
from PySide6.QtWidgets import QAbstractScrollArea, QApplication, QLabel, QToolButton, QTreeView

from engine.debugger.__main__ import DEMO
from engine.debugger.app import layout
from engine.debugger.app.actions import ACTIONS, KeyList
from engine.debugger.app.save import save_recording
from engine.debugger.app.toolbar import describe_cost, describe_mode
from engine.debugger.app.window import Window, show
from engine.debugger.model.store import Store
from engine.debugger.model.subscription import Subscription, merge
from engine.debugger.net.connection import Address
from engine.debugger.net.playback import Playback
from engine.debugger.net.qt_client import Client
from engine.debugger.panels.edit import BreakDialog, ConstantDialog, EditDialog
from engine.debugger.widgets import theme
from engine.debugger.widgets.format import format_number
from engine.errors import SceneError
from engine.recording.file import Recording
from tests.debugger.fake_scene import FakeColumn, fake_component, fake_schema
from tests.debugger.scripted import PATIENCE
from tests.debugger.scripted_run import ScriptedRun
from tests.debugger.windows import attached
from tests.helpers import REPOSITORY

SIZES = ((1600, 950), (1280, 800))


@pytest.fixture
def run(qtbot):
    with attached(qtbot) as made:
        yield made


def press(run, key, modifier=Qt.KeyboardModifier.NoModifier):
    """A key of the list, as QAction: the window of the tests is not the active one of a desktop."""
    sequence = QKeySequence(key)
    found = [a for a in run.window.menu_actions.by_name.values() if sequence in a.shortcuts()]
    assert len(found) == 1, f"{key} belongs to {len(found)} actions"
    found[0].trigger()
    run.settle()


# -- keys -----------------------------------------------------------------------------------------------

DESIGN = ["Space", "F5", "F6", "F9", "F10", "F11", "Shift+F11", "Left", "Right", "Shift+Left", "Shift+Right", "End", "[", "]",
          "W", "N", "P", "H", "E", "Ctrl+F", "Ctrl+R", "Ctrl+Shift+S", "?"]  # fmt: skip


def test_every_key_of_the_design_has_one_menu_entry(run):
    entries = {}
    for menu in run.window.menuBar().actions():
        for action in menu.menu().actions():
            for shortcut in action.shortcuts():
                entries.setdefault(shortcut.toString(), []).append(action.text())
    for key in DESIGN:
        assert len(entries[QKeySequence(key).toString()]) == 1
    texts = {text for each in entries.values() for text in each}
    assert texts == {entry.text for entry in ACTIONS if entry.keys}


def test_the_key_list_names_every_key(run):
    press(run, "?")
    shown = {label.text() for label in run.window.findChild(KeyList).findChildren(QLabel)}
    assert all("  ".join(entry.keys) in shown for entry in ACTIONS if entry.keys)


@pytest.mark.parametrize(
    ("key", "kind", "fields"),
    [
        ("F6", "pause", {}),
        ("F5", "run", {}),
        ("F10", "step", {"unit": "system", "count": 1}),
        ("F11", "step", {"unit": "tick", "count": 1}),
        ("Shift+F11", "step", {"unit": "phase", "count": 1}),
        ("Ctrl+R", "record", {"on": True}),
        ("Ctrl+T", "control", {"do": "release"}),
    ],
)
def test_keys_send_commands(run, key, kind, fields):
    press(run, key)
    run.expect(kind, **fields)


def test_space_pauses_and_runs(run):
    press(run, "Space")
    run.wait(lambda: run.store.state["mode"] == "paused")
    press(run, "Space")
    run.wait(lambda: run.store.state["mode"] == "running")


def test_arrows_scrub_and_end_is_live(run):
    run.say_state()
    newest = run.store.state["history"][1]
    press(run, "Left")
    press(run, "Shift+Left")
    assert run.store.cursor == newest - 11
    press(run, "Right")
    assert run.store.cursor == newest - 10
    assert run.expect("seek")["tick"] in (newest - 1, newest - 10, newest - 11)
    press(run, "End")
    assert run.store.cursor is None
    run.expect("live")


def test_brackets_go_through_rows_and_around(run):
    press(run, "[")
    assert run.store.selected == 63
    run.expect("select", rows=[63])
    press(run, "]")
    press(run, "]")
    assert run.store.selected == 1
    run.expect("select", rows=[1])
    assert run.window.toolbar.row.value() == 1


def test_the_row_box_selects(run):
    run.refresh()
    run.window.toolbar.row.setValue(17)
    run.expect("select", rows=[17])
    assert run.store.selected == 17


def test_w_goes_to_the_worst_row(run):
    reward = run.store.role("reward_total")
    numbers = np.ones(64, np.float32)
    numbers[23] = -9.0
    run.store._all_rows.latest[reward.id, 0] = (1, numbers)
    run.window.hosts["Rows"].fail(RuntimeError("so that reward decides"))
    press(run, "W")
    assert run.store.selected == 23


def test_n_goes_from_failure_to_failure(run):
    press(run, "N")
    assert "No failure" in run.window.message.text()
    for row in (5, 9):
        run.server.event("nonfinite", f"of {row}", row=row)
    run.wait(lambda: len(run.store.events) == 2)
    rows = []
    for _ in range(3):
        press(run, "N")
        rows.append(run.store.selected)
    assert rows == [9, 5, 9]


def test_f9_breaks_before_the_marked_system_and_takes_the_break_back(run):
    strip = run.window.tick.panel.strip
    strip.system = next(s["id"] for s in run.store.systems if s["name"] == "reward")
    press(run, "F9")
    run.expect("break", at="before reward", when="", rows=None, action="pause")
    run.wait(lambda: len(run.store.breaks) == 1)
    press(run, "F9")
    run.wait(lambda: not run.store.breaks)
    run.expect("unbreak", **{"break": 1})


def test_a_break_at_one_of_several_systems_of_a_name_is_set_at_that_one(run):
    first, *_ = (system for system in run.store.systems if system["name"] == "reward")
    run.store.systems.append({**first, "id": len(run.store.systems), "phase": "OBSERVE"})
    run.window.tick.panel.strip.system = len(run.store.systems) - 1
    press(run, "F9")
    run.expect("break", at=f"before {len(run.store.systems) - 1}")
    run.wait(lambda: any("before reward in OBSERVE" in note[3] for note in run.store.notes))
    press(run, "Ctrl+B")
    dialog = run.window.findChild(BreakDialog)
    assert dialog.at.currentText() == "after reward in OBSERVE"
    dialog.submit()
    run.expect("break", at=f"after {len(run.store.systems) - 1}")


def test_f9_asks_where_when_nothing_is_marked(run):
    run.window.world.call("pick", run.store.by_address["robot.DofTorque.value"])
    press(run, "F9")
    dialog = run.window.findChild(BreakDialog)
    assert dialog.when.text() == "nonfinite(robot.DofTorque.value)"
    dialog.submit()
    run.wait(lambda: len(run.store.breaks) == 1)
    run.expect("break", at="tick")


def test_p_and_h_show_the_marked_number(run):
    column = run.store.by_address["robot.DofTorque.value"]
    run.window.world.call("pick", column, 4)
    press(run, "P")
    plots, rows = run.window.hosts["Plots"].panel, run.window.hosts["Rows"].panel
    assert (column, 4) in [(chart.column, chart.label) for chart in plots.charts]
    press(run, "H")
    assert run.window.docks["Rows"].isVisible() and rows is run.window.hosts["Rows"].panel
    run.wait(lambda: bool(run.server.messages("sub", kind="column", columns=[[column, [4]]])))


def test_ctrl_f_opens_the_filter(run):
    run.window.docks["World"].close()
    press(run, "Ctrl+F")
    assert run.window.docks["World"].isVisible()


def test_letters_are_typed_into_the_filter_not_taken_as_keys(run, qtbot):
    box = run.window.world.panel.filter
    box.setFocus()
    qtbot.keyClicks(box, "pn")
    assert box.text() == "pn"


def test_an_edit_is_sent_said_and_undone(run):
    column = run.store.by_address["robot.PdGains.stiffness"]
    run.window.world.call("pick", column, 2)
    press(run, "E")
    dialog = run.window.findChild(EditDialog)
    dialog.value.setText("120")
    dialog.reason.setText("stiffer")
    dialog.submit()
    run.expect("set", column=column, rows=[0], labels=[2], reason="stiffer")
    run.wait(lambda: bool(run.window.menu_actions.undoable.messages))
    assert "99.0 → 120" in run.window.message.text()
    press(run, "Ctrl+Z")
    run.expect("set", reason="undo: stiffer")
    run.wait(lambda: "120 → 99.0" in run.window.message.text())


def test_edits_are_undone_one_after_the_other(run):
    column = run.store.by_address["robot.PdGains.stiffness"]
    run.window.world.call("pick", column, 2)
    undo = run.window.menu_actions.undoable
    for count, value in enumerate(("120", "150"), 1):
        press(run, "E")
        dialog = run.window.findChildren(EditDialog)[-1]
        dialog.value.setText(value)
        dialog.submit()
        run.wait(lambda count=count: len(undo.messages) == count)
    for change, left in (("150 → 120", 1), ("120 → 99.0", 0)):
        press(run, "Ctrl+Z")
        run.wait(lambda change=change: change in run.window.message.text())
        assert len(undo.messages) == left
    press(run, "Ctrl+Z")
    assert "no edit to undo" in run.window.message.text()


def test_an_undo_that_is_refused_for_the_moment_can_be_asked_for_again(run):
    undo = run.window.menu_actions.undoable
    undo.remember({"t": "set", "address": "a.b", "reason": ""}, {"t": "ok", "old": "1"})
    run.server.refuse["set"] = ("not_controller", "somebody@host has control.")
    press(run, "Ctrl+Z")
    run.wait(lambda: "has control" in run.window.message.text())
    assert len(undo.messages) == 1
    run.server.refuse["set"] = ("bad_message", "There is no constant a.b.")
    press(run, "Ctrl+Z")
    run.wait(lambda: "no constant" in run.window.message.text())
    assert not undo.messages


def test_a_recording_that_somebody_else_began_can_be_ended(run):
    run.server.refuse["record"] = ("busy", "The run is being recorded already; stop that first.")
    press(run, "Ctrl+R")
    run.wait(lambda: run.window.menu_actions.recording)
    del run.server.refuse["record"]
    press(run, "Ctrl+R")
    run.wait(lambda: not run.window.menu_actions.recording)
    run.expect("record", on=False)


def test_a_constant_is_set_by_address(run):
    run.store.schema.setdefault("constants", []).append({"address": "reward.sigma", "type": "float", "value": 0.3})
    run.window.menu_actions.constant()
    dialog = run.window.findChild(ConstantDialog)
    dialog.address.setCurrentText("reward.sigma")
    assert dialog.value.text() == "0.3"
    dialog.value.setText("0.5")
    dialog.submit()
    run.expect("set", address="reward.sigma", value="0.5")


def test_a_refusal_is_said_with_the_cure(run):
    run.server.refuse["pause"] = ("not_controller", "somebody@host has control.")
    press(run, "F6")
    run.wait(lambda: "has control" in run.window.message.text())
    assert "Ctrl+T" in run.window.message.text()
    assert any("has control" in note[3] for note in run.store.notes)


# -- panels ---------------------------------------------------------------------------------------------


def test_a_panel_that_raises_is_replaced_by_its_traceback_and_can_be_reloaded(run):
    host = run.window.hosts["Reward"]
    others = [each for each in run.window.hosts.values() if each is not host]

    def boom():
        raise ValueError("planted")

    host.panel.refresh = boom
    run.refresh()
    assert "planted" in host.failed and "ValueError" in host.failed
    assert not any(each.failed for each in others)
    run.flow(5)
    host.reload()
    run.refresh()
    assert not host.failed


def test_what_is_raised_while_painting_is_blamed_on_its_panel(run):
    host = run.window.hosts["Tick"]
    with pytest.raises(IndexError) as raised:
        host.panel.strip.describe(10_000)
    assert run.window.contain(raised.value, raised.tb)
    assert "IndexError" in host.failed


def test_what_is_raised_elsewhere_is_said_and_ends_nothing(run):
    error = RuntimeError("somewhere")
    assert not run.window.contain(error, None)
    assert "somewhere" in run.window.message.text()


def test_only_what_can_be_seen_is_subscribed_to(run):
    def kinds():
        return {sub.kind for sub in run.client._subs}

    def columns(kind):
        return {c for sub in run.client._subs if sub.kind == kind for c, _ in sub.columns}

    run.wait(lambda: "pose" in kinds() or "values" in kinds())
    seen = run.store.by_address["robot.Observation.actor"]
    run.window.show_panel("Observation")
    run.wait(lambda: any(seen in columns(kind) for kind in ("trace", "values", "column")))
    run.window.docks["Plots"].close()
    run.window.docks["Rows"].close()
    run.window.show_panel("Log")
    run.window.show_panel("Learner")
    run.wait(lambda: "column" not in kinds())
    run.expect("unsub")


def test_a_minimised_window_asks_for_nothing(run):
    run.window.showMinimized()
    run.wait(lambda: not run.client._subs)
    run.window.showNormal()
    run.wait(lambda: len(run.client._subs) > 3)


@pytest.mark.parametrize("rows", [1, 4096])
@pytest.mark.parametrize("nan", ["none", "all"])
def test_every_panel_stands_any_data(qtbot, rows, nan):
    with attached(qtbot, rows) as run:
        run.server.run.nan = nan
        for title in run.window.docks:
            run.window.show_panel(title)
            run.flow(12)
            run.refresh()
        run.window.grab()
        assert {t: h.failed for t, h in run.window.hosts.items() if h.failed} == {}
        assert run.store.bad == 0


def test_rows_of_every_table_can_be_looked_at(qtbot, monkeypatch):
    whole = ScriptedRun.schema

    def schema(self):
        """A small table that nobody writes comes first."""
        made = whole(self)
        patch = fake_component("Patch", {"height": FakeColumn(unit="m")})
        (terrain,) = fake_schema([patch], [], rows=2, axes={}, phases=("STEP",))["tables"]
        for component in made["tables"][0]["components"]:
            for column in component["columns"]:
                column["id"] += 1
        made["tables"].insert(0, {**terrain, "name": "terrain"})
        return made

    monkeypatch.setattr(ScriptedRun, "schema", schema)
    with attached(qtbot) as run:
        assert not any(host.failed for host in run.window.hosts.values())
        assert run.store.table_rows() == 64
        run.window.select(40)
        assert run.store.selected == 40
        tables = [{run.store.columns[c].table for c, _ in sub.columns} for sub in run.client._subs]
        assert all(len(each) <= 1 for each in tables) and {"terrain"} in tables


def test_every_panel_stands_no_data(qtbot):
    with attached(qtbot) as run:
        for title in run.window.docks:
            run.window.show_panel(title)
            run.settle()
            run.refresh()
        assert not any(host.failed for host in run.window.hosts.values())


# -- what happens to runs --------------------------------------------------------------------------------


def test_a_run_that_ends_leaves_its_data_and_an_offer_to_save(run, tmp_path):
    run.flow(20)
    run.server.end("4000 iterations done")
    run.wait(lambda: run.client.over)
    run.refresh()
    assert run.window.message.text() == "Run ended: 4000 iterations done"
    assert run.window.toolbar.pill.text() == "ENDED"
    assert run.window._save.isVisible() and not run.window.menu_actions.by_name["run"].isEnabled()
    assert any(len(run.store.trace(c, 0, 0)[0]) for c in run.store.columns)
    run.window.save(tmp_path / "kept.rec")
    kept = Recording.open(tmp_path / "kept.rec")
    assert kept.complete and kept.trace(0).columns


def test_a_connection_that_breaks_is_said_and_comes_back(run, monkeypatch):
    again = threading.Event()
    monkeypatch.setattr(run.client.link._stop, "wait", lambda seconds: again.wait(PATIENCE))
    run.server.drop()
    run.wait(lambda: run.window.toolbar.pill.text() == "NOT CONNECTED")
    run.refresh()
    assert "Trying again" in run.window.message.text()
    again.set()
    run.wait(lambda: run.client.connected and len(run.client._subs) > 3)
    run.refresh()
    assert run.window.toolbar.pill.text() == "RUNNING"


def test_why_a_run_ended_stays_in_the_status_line_while_one_looks_back(run):
    run.flow(40)
    run.window.menu_actions.recording = True
    run.server.end("out of memory")
    run.wait(lambda: run.client.over)
    press(run, "Left")
    run.window.message_until = 0.0  # some seconds later
    run.refresh()
    assert run.window.message.text() == "Run ended: out of memory"
    assert not run.window.toolbar.record_action.isChecked()
    assert not any("no connection" in note[3] for note in run.store.notes)
    run.window.select(63)
    run.refresh()
    assert "nothing was received" in str(run.window.hosts["Body"].panel.view.lines)


def test_what_is_viewed_follows_the_run(run):
    run.server.view, run.server.mode = 900, "viewing"
    run.say_state()
    assert run.store.cursor == 900
    run.server.view, run.server.mode = None, "running"
    run.say_state()
    assert run.store.cursor is None


def test_another_version_is_said(qtbot):
    with attached(qtbot) as run:
        run.client.link._put_status("over", "upgrade the run's engine")
        run.wait(lambda: run.client.over)
        run.refresh()
        assert run.window.message.text() == "upgrade the run's engine"
        assert run.window.toolbar.pill.text() == "NOT CONNECTED"


# -- layout and files ------------------------------------------------------------------------------------


def test_a_layout_is_kept_for_its_scene_and_can_be_reset(qtbot, tmp_path):
    settings = tmp_path / "settings.ini"
    with attached(qtbot, settings=settings) as run:
        run.window.docks["Rows"].close()
        run.window.call("Plots", "clear")
        run.window.plot(run.store.by_address["robot.Reward.total"], 0)
    with attached(qtbot, settings=settings) as run:
        assert not run.window.docks["Rows"].isVisible()
        assert run.window.call("Plots", "chosen") == ["robot.Reward.total:0"]
        run.window.reset_layout()
        run.settle()
        assert run.window.docks["Rows"].isVisible() and len(run.window.call("Plots", "chosen")) > 1


def test_a_window_is_no_larger_than_its_screen(qtbot, tmp_path):
    client = Client(Store(), Address(path=str(tmp_path / "nobody.sock")))
    window = Window(client.store, client, QSettings(str(tmp_path / "s.ini"), QSettings.Format.IniFormat))
    qtbot.addWidget(window)
    room = window.screen().availableGeometry()
    client.close()
    assert window.width() == min(1600, room.width()) and window.height() == min(950, room.height())


@pytest.mark.parametrize(
    "broken", [b"", b"\xff\x00[layout\n=", b"[layout]\nscenes_scripted.py\\layout=@ByteArray(abc)\n"]
)
def test_a_broken_layout_file_is_as_none(qtbot, tmp_path, broken):
    settings = tmp_path / "settings.ini"
    with attached(qtbot, settings=settings) as run:
        scene = run.window.scene_name.replace("/", "_")
    settings.write_bytes(broken.replace(b"scenes_scripted.py", scene.encode()))
    with attached(qtbot, settings=settings) as run:
        assert all(dock.isVisible() or dock.visibleRegion().isEmpty() for dock in run.window.docks.values())
        assert run.window.docks["World"].isVisible() and not run.window.hosts["World"].failed


def test_a_screenshot_is_a_picture_a_layout_and_the_data(run):
    run.flow(10)
    press(run, "Ctrl+Shift+S")
    files = {path.suffix: path for path in run.window.pictures.iterdir()}
    assert set(files) == {".png", ".layout", ".rec"}
    assert QImage(str(files[".png"])).width() == 1600
    assert run.window.restoreState(files[".layout"].read_bytes())
    assert Recording.open(files[".rec"]).complete


def test_what_cannot_be_saved_is_said(run, tmp_path):
    (tmp_path / "file").write_text("")
    run.window.save(tmp_path / "file" / "x.rec")
    assert "cannot be written" in run.window.message.text()
    with pytest.raises(SceneError, match="Nothing has been received"):
        save_recording(Store(), tmp_path / "x.rec")


def test_what_was_saved_plays_back_as_it_was_seen(run, tmp_path):
    reward, torque = run.store.by_address["robot.Reward.total"], run.store.by_address["robot.DofTorque.value"]
    root = run.store.by_address["robot.RootState.position"]
    run.window.plot(torque, 4)
    run.flow(60)
    while len(run.store.values.history(0).get(root, ())) < 3:
        run.flow(5)
    run.refresh()
    tick, values, _ = run.store.values.history(0)[root][-2]  # what comes while the file is written is not in it
    save_recording(run.store, tmp_path / "x.rec")
    again = Playback(Store(), tmp_path / "x.rec")
    again.start()
    again.subscribe(
        [
            Subscription("trace", ((reward, None), (torque, (4, 5)))),
            Subscription("values", ((root, None), (torque, None))),
        ]
    )
    for column, label in ((reward, 0), (torque, 4)):
        for was, found in zip(run.store.trace(column, label, 0), again.store.trace(column, label, 0), strict=True):
            assert len(was) and np.allclose(was.astype(float), found.astype(float))
    assert len(again.store.trace(torque, 5, 0)[0]) == 0
    again.store.cursor = tick
    again.send({"t": "seek", "tick": tick})
    held = again.store.value(root, 0)
    assert held[0] == tick and np.allclose(held[1], values)
    assert again.store.bad == 0


# -- looks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_squeezed_or_clipped_in_the_default_layout(qtbot, size):
    with attached(qtbot, 4096, size) as run:
        run.flow(30)
        run.refresh()
        run.settle(50)
        window = run.window
        assert (window.width(), window.height()) == size
        for title, dock in window.docks.items():
            if dock.host.shown:
                panel = dock.host.panel
                least = panel.minimumSizeHint().expandedTo(panel.minimumSize()).expandedTo(dock.host.minimumSize())
                assert panel.width() >= least.width() and panel.height() >= least.height(), (title, panel.size(), least)
        for label in (window.toolbar.pill, window.toolbar.cost, window.tick.panel.header, window.time.panel.text):
            assert label.fontMetrics().horizontalAdvance(label.text()) <= label.width(), label.text()
        for button in window.toolbar.findChildren(QToolButton):
            if button.text():
                assert button.isVisible() and button.width() >= button.sizeHint().width(), button.text()
        for area in window.world.findChildren(QTreeView) + window.docks["Plots"].findChildren(QAbstractScrollArea):
            assert not area.verticalScrollBar().isVisible() and not area.horizontalScrollBar().isVisible()
        body = window.centralWidget()
        assert body.width() > 0.35 * size[0] and body.height() > 0.4 * size[1]


def test_docks_lie_as_in_the_design(qtbot):
    with attached(qtbot) as run:
        place = {title: dock.geometry() for title, dock in run.window.docks.items()}
        body = run.window.centralWidget().geometry()
        assert place["Tick"].bottom() < place["Time"].top() < place["World"].top()
        assert place["Tick"].width() == place["Time"].width() == 1600
        assert place["World"].right() < body.left() and body.right() < place["Plots"].left()
        assert place["World"].bottom() < place["Why"].top() and place["Why"].right() < body.left()
        assert body.bottom() < place["Rows"].top() and place["Rows"].right() < place["Reward"].left()
        assert place["Plots"].bottom() > place["Rows"].top() and place["Why"].bottom() > place["Rows"].top()
        for title in layout.LOWER[1:]:
            assert run.window.docks[title] in run.window.tabifiedDockWidgets(run.window.docks["Reward"])
        assert run.window.docks["Log"] in run.window.tabifiedDockWidgets(run.window.docks["Why"])


@pytest.mark.parametrize(
    ("state", "cursor", "connection", "words", "colour"),
    [
        ({"mode": "running"}, None, "", "RUNNING", theme.GREEN),
        ({"mode": "paused", "next": 0, "why": "break: nonfinite(x)"}, None, "", "PAUSED before act", theme.RED),
        ({"mode": "paused", "next": 99}, None, "", "PAUSED", theme.AMBER),
        ({"mode": "running", "history": [0, 255]}, 220, "", "VIEWING −35", theme.AMBER),
        ({"mode": "running"}, None, "No connection", "NOT CONNECTED", theme.RED),
        ({"mode": "ended"}, None, "", "ENDED", theme.DIM),
        ({}, None, "", "WAITING", theme.DIM),
    ],
)
def test_the_pill_says_the_state_in_words(state, cursor, connection, words, colour):
    store = Store()
    store.state, store.cursor, store.connection, store.systems = state, cursor, connection, [{"name": "act"}]
    assert describe_mode(store) == (words, colour)


def test_cost_is_said_as_in_the_design():
    state = {"ticks_per_second": 54.94, "cost": 0.003, "dropped": 0}
    assert describe_cost(state, "control") == "control · 54.9 tick/s · cost 0.3 % · dropped 0"
    assert describe_cost(state | {"intervened": 2}, "observe").startswith("observe · intervened 2 · ")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.118, "0.118"), (-12.54, "-12.5"), (1234.5, "1234"), (2e6, "2.0e+06"), (1e-5, "1.0e-05"), (float("nan"), "NaN"), (float("-inf"), "-∞")],
)  # fmt: skip
def test_numbers_are_short(value, text):
    assert format_number(value) == text


# -- merging --------------------------------------------------------------------------------------------


@pytest.fixture
def store():
    made = Store()
    made.feed(ScriptedRun(rows=4).schema())
    return made


def test_equal_wishes_are_asked_for_once(store):
    same = Subscription("values", ((0, None), (1, None)), "selected", 10.0)
    assert merge([same, same], store.columns) == [same]


def test_a_slower_wish_is_left_out_where_a_faster_one_brings_it(store):
    fast, slow = (
        Subscription("values", ((0, None),), "selected", 30.0),
        Subscription("values", ((0, None), (1, None)), "selected", 5.0),
    )
    assert merge([slow, fast], store.columns) == [fast, Subscription("values", ((1, None),), "selected", 5.0)]
    other_rows = Subscription("values", ((0, None),), (3,), 5.0)
    assert other_rows in merge([fast, other_rows], store.columns)


def test_labels_of_traces_are_joined(store):
    column = store.by_address["robot.DofTorque.value"]
    wishes = [Subscription("trace", ((column, labels),), "selected", 20.0) for labels in ((3,), (1, 3), (900,))]
    assert merge(wishes, store.columns) == [Subscription("trace", ((column, (1, 3)),), "selected", 20.0)]
    whole = Subscription("trace", ((column, None),), "selected", 20.0)
    assert merge([*wishes, whole], store.columns) == [whole]


def test_frames_of_all_rows_are_asked_for_one_by_one_at_the_highest_rate(store):
    reward = store.by_address["robot.Reward.total"]
    torque = store.by_address["robot.DofTorque.value"]
    wishes = [
        Subscription("column", ((reward, None), (torque, (1,))), "selected", 2.0),
        Subscription("column", ((reward, (0,)),), (), 5.0),
    ]
    made = merge(wishes, store.columns)
    assert {(sub.columns, sub.hz) for sub in made} == {(((reward, (0,)),), 5.0), (((torque, (1,)),), 2.0)}


def test_what_has_no_columns_is_asked_for_once_and_unknown_columns_are_not(store):
    wishes = [
        Subscription("timing", (), "selected", 5.0),
        Subscription("timing", (), (), 10.0),
        Subscription("values", ((999, None),)),
    ]
    assert merge(wishes, store.columns) == [Subscription("timing", (), "selected", 10.0)]


# -- what it costs ---------------------------------------------------------------------------------------


def test_the_window_needs_neither_torch_nor_mujoco():
    script = (
        "import sys, json, engine.debugger.app.window, engine.debugger.net.playback;"
        "print(json.dumps([m for m in ('torch', 'mujoco', 'matplotlib', 'scenes', 'systems') if m in sys.modules]))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY, env=os.environ, timeout=60
    )
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout) == []


def test_keys_reach_the_window_while_no_box_has_the_cursor(run):
    assert not run.window.world.panel.filter.hasFocus() and not run.window.toolbar.row.hasFocus()


def test_twenty_frames_a_second_at_4096_rows_on_one_core(qtbot):
    with attached(qtbot, 4096) as run:
        run.flow(40)
        run.refresh()
        for timer in run.window._timers:
            timer.stop()
        frames, spent = 60, 0.0
        for _ in range(frames):
            for _ in range(2):
                run.server.tick += 1
                for peer in run.server.peers:
                    run.server._publish(peer)
            time.sleep(0.02)  # the server's share of the work is not the window's
            start = time.process_time()
            run.settle(3)
            run.refresh()
            run.settle(3)
            spent += time.process_time() - start
        print(f"{frames / spent:.1f} frames/s")
        assert spent / frames < 1 / 20


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="None is immortal from Python 3.12 on")
def test_drawing_loses_no_references_to_none(qtbot):
    with attached(qtbot) as run:
        run.flow(20)
        run.refresh()
        gc.collect()  # windows of other tests hold None as well
        before = sys.getrefcount(None)
        for _ in range(60):
            run.flow(1)
            run.refresh()
            run.window.repaint()
            run.settle(2)
        assert abs(sys.getrefcount(None) - before) / 60 < 10


def test_the_mouse_picks_a_system(run, qtbot):
    run.flow(10)
    strip = run.window.tick.panel.strip
    strip.arrange()
    segment = max(strip.segments, key=lambda each: each.width)
    place = QPointF(segment.left + segment.width / 2, 10).toPoint()
    qtbot.mouseClick(strip, Qt.MouseButton.LeftButton, pos=place)
    assert strip.system == segment.system == run.window.marked_system()
    qtbot.mouseClick(strip, Qt.MouseButton.LeftButton, pos=place)
    assert run.window.marked_system() is None


def test_closing_stops_everything(qtbot):
    with attached(qtbot) as run:
        run.window.close()
        assert not any(timer.isActive() for timer in run.window._timers)
        assert not run.client.link._thread.is_alive()
        QApplication.processEvents()


def test_garbage_is_freed_in_the_thread_of_the_window_only(qtbot, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    freed, seen = [], []

    class Circle(QObject):
        def __init__(self):
            super().__init__()
            self.myself = self

        def __del__(self):
            freed.append(threading.get_ident())

    def meanwhile():
        window = next(each for each in QApplication.topLevelWidgets() if isinstance(each, Window) and each.isVisible())
        for _ in range(20):
            Circle()
        worker = threading.Thread(target=lambda: seen.append([[number] for number in range(50_000)]))
        worker.start()
        worker.join()
        qtbot.waitUntil(lambda: len(freed) == 20)
        window.close()

    gc.enable()
    QTimer.singleShot(200, meanwhile)
    assert show(recording=DEMO) == 0
    assert set(freed) == {threading.get_ident()}, "another thread has freed objects of Qt"
    assert gc.isenabled()
