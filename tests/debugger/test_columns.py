"""World: what its lines say, which of them are read and asked for, and edits of what they show."""

import gc
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel

from engine.debugger.model.store import Store
from engine.debugger.panels.edit import EditDialog, Undo, describe_edit, parse_values
from engine.debugger.panels.panel_dock import COLUMN_MIME, dropped
from engine.debugger.panels.world import FRACTION, NAME, VALUE, WorldPanel
from engine.debugger.widgets.format import format_value, format_values, roll_pitch_yaw
from engine.errors import SceneError
from engine.protocol.framing import pack_array, unpack_array
from tests.debugger.scripted_run import ScriptedRun


class Asked:
    """A Control that remembers what it was asked."""

    def __init__(self):
        self.sent, self.answer = [], {"t": "ok"}

    def send(self, message, then=None):
        self.sent.append(message)
        if then is not None:
            then(self.answer)

    def select(self, row): ...
    def show(self, panel_title): ...
    def plot(self, column_id, label): ...


@pytest.fixture
def run():
    return ScriptedRun(rows=8)


@pytest.fixture
def store(run):
    made = Store()
    schema = run.schema()
    limits = np.tile(np.array([-50.0, 50.0]), (29, 1))
    for component in schema["tables"][0]["components"]:
        for column in component["columns"]:
            if (component["name"], column["name"]) == ("DofTorque", "value"):
                column["limits"] = pack_array(limits)
    made.feed(schema)
    return made


@pytest.fixture
def world(qtbot, store):
    made = WorldPanel(store, Asked())
    made.schema_changed()
    qtbot.addWidget(made)
    made.resize(430, 560)
    made.show()
    return made


def feed(store, address, values, tick=10, row=0):
    column = store.column(address)
    array = np.asarray(values, column.dtype).reshape(1, *column.shape)
    store.feed({"t": "data", "kind": "values", "sub": 0, "ticks": [tick, tick], "rows": [row], "cols": [[column.id, *pack_array(array)]]})  # fmt: skip


def line(world, name, component=None):
    found = [n for n in world.tree.columns() if n.name == name and component in (None, n.parent().name)]
    assert len(found) == 1
    return found[0]


def text(world, node):
    world.tree.read([node])
    return node.text(VALUE)


def inside(world, node, name):
    return next(child for child in node.lines if child.name == name)


def test_lines_say_value_type_and_writer(world, store):
    feed(store, "robot.RootState.position", [0.02, -0.11, 0.71])
    node = line(world, "position", "RootState")
    shown = [node.text(c) for c in range(4)]
    assert text(world, node) == "0.02 -0.11 0.71"
    assert shown[0] == "position" and shown[2] == "3 m" and shown[3] == "step_physics +1"


def test_vectors_expand_to_labelled_values(world, store):
    feed(store, "robot.DofState.position", np.arange(29) / 10)
    node = line(world, "position", "DofState")
    assert text(world, node) == "29 values"
    assert node.lines[3].name == "left_knee" and text(world, node.lines[3]) == "0.300"


def test_bodies_expand_to_vectors_and_those_to_numbers(world, store):
    numbers = np.zeros((30, 3))
    numbers[2] = [0.1, 0.2, 0.3]
    feed(store, "robot.BodyState.position", numbers)
    node = line(world, "position", "BodyState")
    body = node.lines[2]
    assert text(world, node) == "30×3 values" and body.name == store.columns[6].axes[0][2]
    assert text(world, body) == "0.10 0.20 0.30"
    assert [child.name for child in body.lines] == ["x", "y", "z"]
    assert text(world, body.lines[1]) == "0.200" and body.lines[1].label == 7


def test_quaternions_are_angles_too(world, store):
    half = math.radians(30.0) / 2
    feed(store, "robot.RootState.rotation", [math.cos(half), 0.0, 0.0, math.sin(half)])
    node = line(world, "rotation", "RootState")
    assert [child.name for child in node.lines] == ["w", "x", "y", "z", "roll", "pitch", "yaw"]
    assert [text(world, child) for child in node.lines[4:]] == ["0.0", "0.0", "30.0"]
    assert node.lines[6].label is None


def test_what_is_not_finite_is_named_and_red_up_to_its_component(world, store):
    numbers = np.zeros(29)
    numbers[4] = np.nan
    feed(store, "robot.DofTorque.value", numbers)
    node = line(world, "value", "DofTorque")
    assert text(world, node) == "NaN left_ankle_pitch"
    world.tree.read([node.parent()])
    colour = node.parent().foreground(NAME).color()
    assert node.wrong and node.parent().wrong and colour.name() == "#ff5c5c"


def test_flags_say_which_are_set(world, store):
    node = line(world, "reason")
    feed(store, "robot.Done.reason", [0, 1, 0, 0, 1, 0])
    assert text(world, node) == "anchor_tilt, time_limit"
    feed(store, "robot.Done.reason", [0] * 6, tick=11)
    assert text(world, node) == "—"
    feed(store, "robot.Done.ended", [1])
    assert text(world, line(world, "ended")) == "yes"


def test_a_limit_is_a_bar(world, store):
    numbers = np.zeros(29)
    numbers[1] = 25.0
    feed(store, "robot.DofTorque.value", numbers)
    child = line(world, "value", "DofTorque").lines[1]
    text(world, child)
    assert child.data(VALUE, FRACTION) == pytest.approx(0.75)


def test_a_step_shows_old_and_new(world, store):
    feed(store, "robot.Episode.step", [7])
    feed(store, "robot.Reward.total", [0.5])
    world.remember()
    feed(store, "robot.Episode.step", [8])
    feed(store, "robot.Reward.total", [0.5])
    assert text(world, line(world, "step")) == "7 → 8"
    assert text(world, line(world, "total")) == "0.500"
    world.forget()
    assert text(world, line(world, "step")) == "8"


def test_the_filter_looks_at_names_units_and_systems(world):
    def found(words):
        world.filter.setText(words)
        return {f"{n.parent().name}.{n.name}" for n in world.tree.columns()}

    assert found("stiff") == {"PdGains.stiffness"}
    assert found("rad/s root") == {"RootState.angular_velocity"}
    assert "BodyState.position" in found("refresh_kinematics")
    assert found("nothing like it") == set()
    assert len(found("")) == len(world.store.columns)


def test_only_lines_in_view_are_read_and_asked_for(world, store):
    seen = {node.info.id for node in world.visible_lines() if node.info is not None}
    asked = {column for sub in world.subscriptions() for column, _ in sub.columns}
    assert asked == seen and 0 < len(seen) < len(store.columns)
    for column in store.columns.values():
        feed(store, column.address, np.ones(column.size))
    world.refresh()
    assert all(n.text(VALUE) for n in world.tree.columns() if n.info.id in seen)
    assert not any(n.text(VALUE) for n in world.tree.columns() if n.info.id not in seen)


def test_the_tree_fills_its_place_without_a_scroll_bar(world):
    assert not world.tree.verticalScrollBar().isVisible()
    assert (
        0.6 * world.tree.viewport().height()
        < len(world.visible_lines()) * world.tree.visualItemRect(world.tree.tables[0]).height()
    )


def test_names_of_joints_are_whole_where_the_panel_has_its_usual_width(world, store):
    node = line(world, "position", "DofState")
    node.setExpanded(True)
    metrics = world.tree.fontMetrics()
    for child in node.lines:
        room = world.tree.visualItemRect(child).width()
        assert metrics.horizontalAdvance(child.name) + 4 <= room, child.name
    assert world.tree.header().length() == world.tree.viewport().width()


def test_what_was_marked_and_expanded_outlives_another_schema(world, store, run):
    torque = store.by_address["robot.DofTorque.value"]
    world.pick(torque, 4)
    assert store.picked == (torque, 4)
    schema = run.schema()
    del schema["tables"][0]["components"][0]["columns"][3]
    store.feed(schema)
    world.schema_changed()
    assert store.picked == (torque, 4)
    assert line(world, "value", "DofTorque").parent().isExpanded()


def test_what_was_marked_stays_so_while_the_filter_hides_it(world, store):
    torque = store.by_address["robot.DofTorque.value"]
    world.pick(torque, 4)
    world.filter.setText("stiffness")
    assert store.picked == (torque, 4)
    world.filter.setText("")
    assert store.picked == (torque, 4) and world.tree.currentItem().name == "left_ankle_pitch"


def test_lines_of_the_tree_outlive_a_collection_of_garbage(world):
    before = [line.name for line in world.visible_lines()]
    gc.collect()
    assert len(before) > 10 and [line.name for line in world.visible_lines()] == before


def test_a_number_can_be_dragged(world, store):
    torque = line(world, "value", "DofTorque")
    data = world.tree.mimeData([torque.lines[4]])
    assert data.hasFormat(COLUMN_MIME) and dropped(data) == (torque.info.id, 4)
    assert dropped(world.tree.mimeData([torque])) == (torque.info.id, None)
    assert not torque.parent().flags() & Qt.ItemFlag.ItemIsDragEnabled


@given(st.floats(-179, 179), st.floats(-89, 89), st.floats(-179, 179))
def test_roll_pitch_yaw_undoes_turning_about_z_then_y_then_x(roll, pitch, yaw):
    def half(angle):
        return math.cos(math.radians(angle) / 2), math.sin(math.radians(angle) / 2)

    (cr, sr), (cp, sp), (cy, sy) = half(roll), half(pitch), half(yaw)
    quaternion = np.array([
        cr * cp * cy + sr * sp * sy, sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy, cr * cp * sy - sr * sp * cy,
    ])  # fmt: skip
    assert roll_pitch_yaw(quaternion) == pytest.approx((roll, pitch, yaw), abs=1e-6)
    assert roll_pitch_yaw(3.0 * quaternion) == pytest.approx((roll, pitch, yaw), abs=1e-6)


def test_no_turn_has_no_angles():
    assert all(math.isnan(angle) for angle in roll_pitch_yaw(np.zeros(4)))


def test_numbers_are_said_by_type(store):
    assert (
        format_value(1, "bool") == "yes"
        and format_value(171, "int64") == "171"
        and format_value(0.5, "float32") == "0.500"
    )
    empty = store.column("robot.Reward.total")
    assert format_values(np.zeros(0), empty, ()) == "—"


# -- edits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "text", "count", "values"),
    [
        ("robot.PdGains.stiffness", "120", 1, [120.0]),
        ("robot.PdGains.stiffness", "1e2", 29, [100.0] * 29),
        ("robot.RootState.position", "1, 2  -3", 3, [1.0, 2.0, -3.0]),
        ("robot.Episode.step", "7", 1, [7]),
        ("robot.Done.ended", "Yes", 1, [True]),
    ],
)
def test_what_is_typed_becomes_values_of_the_column(store, address, text, count, values):
    info = store.column(address)
    found = parse_values(text, info, count)
    assert found.tolist() == values and str(found.dtype) == info.dtype


@pytest.mark.parametrize(
    ("address", "text", "count", "says"),
    [
        ("robot.RootState.position", "1 2", 3, "or 3 of them"),
        ("robot.RootState.position", "", 3, "or 3 of them"),
        ("robot.RootState.position", "one", 1, "'one' is not a number"),
        ("robot.Episode.step", "1.5", 1, "'1.5' is not a whole number"),
        ("robot.Episode.step", str(2**63), 1, "lies between"),
        ("robot.Done.ended", "maybe", 1, "not yes or no"),
        ("robot.PdGains.stiffness", "nan", 1, "also if not finite"),
        ("robot.PdGains.stiffness", "1e60", 1, "also if not finite"),
    ],
)
def test_what_cannot_be_a_value_is_refused_in_words(store, address, text, count, says):
    with pytest.raises(SceneError, match=says):
        parse_values(text, store.column(address), count)


def test_what_is_not_finite_can_be_forced(store):
    assert np.isnan(parse_values("nan", store.column("robot.PdGains.stiffness"), 1, force=True)[0])


def test_an_edit_dialog_starts_from_what_is_and_shows_limits(qtbot, store):
    feed(store, "robot.DofTorque.value", np.arange(29))
    dialog = EditDialog(store, Asked(), store.by_address["robot.DofTorque.value"], 4, None)
    qtbot.addWidget(dialog)
    assert dialog.value.text() == "4.00" and "left_ankle_pitch" in dialog.windowTitle()
    assert "-50.0 … 50.0" in [label.text() for label in dialog.findChildren(QLabel)]


def test_a_refused_edit_stays_open_and_says_why(qtbot, store):
    asked = Asked()
    asked.answer = {"t": "error", "code": "not_editable", "text": "A signal is set only while paused."}
    dialog = EditDialog(store, asked, store.by_address["robot.DofTorque.value"], 4, None)
    qtbot.addWidget(dialog)
    dialog.open()
    dialog.value.setText("3")
    dialog.submit()
    assert dialog.isVisible() and dialog.problem.text() == "A signal is set only while paused."
    dialog.value.setText("three")
    dialog.submit()
    assert len(asked.sent) == 1 and "not a number" in dialog.problem.text()
    asked.answer = {"t": "ok"}
    dialog.value.setText("3")
    dialog.rows.setCurrentIndex(1)
    dialog.submit()
    assert not dialog.isVisible() and asked.sent[-1]["rows"] == list(range(8))
    assert unpack_array(asked.sent[-1]["values"]).shape == (8, 1)


def test_a_derived_column_is_not_edited(qtbot, store):
    dialog = EditDialog(store, Asked(), store.by_address["robot.BodyState.position"], None, None)
    qtbot.addWidget(dialog)
    assert "derived by refresh_kinematics" in dialog.problem.text() and not dialog.confirm.isEnabled()


def test_undo_sends_back_what_was_there():
    undo, old = Undo(), pack_array(np.array([[1.0]]))
    command = {"t": "set", "column": 3, "rows": [0], "labels": [2], "values": b"", "force": False, "reason": "try"}
    undo.remember(command, {"t": "error"})
    undo.remember(command, {"t": "ok", "old": old})
    undo.remember({"t": "set", "address": "a.b", "value": "2", "reason": ""}, {"t": "ok", "old": "1", "new": "2"})
    assert undo.take() == {"t": "set", "address": "a.b", "value": "1", "reason": "undo:"}
    back = undo.take()
    assert back["values"] == old and (back["column"], back["rows"], back["labels"]) == (3, [0], [2])
    assert undo.take() is None


def test_an_undo_that_is_refused_when_columns_have_other_numbers_is_forgotten():
    undo = Undo()
    undo.remember({"t": "set", "address": "a.b", "value": "2", "reason": ""}, {"t": "ok", "old": "1", "new": "2"})
    taken = undo.take()
    undo.clear()
    undo.refused(taken, {"t": "error", "code": "lost"})
    assert undo.take() is None


def test_an_edit_is_said_with_old_and_new(store):
    stiffness = store.by_address["robot.PdGains.stiffness"]
    command = {"t": "set", "column": stiffness, "rows": [5], "labels": [3], "values": pack_array(np.array([[120.0]]))}
    description = describe_edit(command, {"old": pack_array(np.array([[99.0]]))}, store)
    assert description == "robot.PdGains.stiffness[left_knee] of row 5: 99.0 → 120"
    assert (
        describe_edit({"address": "a.b"}, {"old": "1", "new": "2", "when": "at_reset"}, store)
        == "a.b: 1 → 2, from the next reset on"
    )
    assert "edited" in describe_edit(command, {"old": "nonsense"}, store)
