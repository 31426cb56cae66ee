"""The painter view: projection, its sentences, what is remembered, and that nothing in the data can break it."""

import time

import attrs
import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QColor, QImage, QMouseEvent, QPainter

from engine.debugger.body.painter import BodyPose, draw, ghost_capsules, wrong_bodies
from engine.debugger.body.skeleton import (
    heading,
    read_skeletons,
    slip_speeds,
    tip_positions,
    tracking_errors,
    violations,
)
from engine.debugger.body.viewport import Viewport
from engine.debugger.model.schema import declared
from engine.debugger.model.store import Store
from engine.debugger.panels.body import BodyPanel
from engine.debugger.widgets import theme
from engine.protocol.framing import unpack_array
from engine.render.camera import FIELD_OF_VIEW, OrbitCamera
from tests.debugger.made_up import (
    IDS,
    STANDING,
    TRACKED,
    Asked,
    feed_trace,
    feed_values,
    make_schema,
    make_store,
    picture_of,
)

FLAT = np.tile(np.array((1.0, 0.0, 0.0, 0.0), np.float32), (6, 1))
SCALE = 50.0 / np.tan(np.radians(20.0))  # pixels of 1 m at 1 m, in a picture 100 high seen under 40 degrees


def along_x(size=(200, 100)) -> OrbitCamera:
    """Stands at x = -2 m and looks along x: y is to the left, z up."""
    return OrbitCamera(np.zeros(3), 2.0, 0.0, 0.0, size)


def standing(reference: np.ndarray | None = None, **more: object) -> dict[str, object]:
    return {
        "BodyState.position": STANDING,
        "BodyState.rotation": FLAT,
        "MotionReference.body_position": STANDING[list(TRACKED)] if reference is None else reference,
        "ContactForce.force": np.zeros((4, 3)),
        **more,
    }


@pytest.fixture
def body(qtbot):
    made = BodyPanel(make_store(), Asked())
    qtbot.addWidget(made)
    made.resize(400, 300)
    made.show()
    return made


# -- projection ----------------------------------------------------------------------------------------


def test_points_are_projected_as_by_hand():
    assert FIELD_OF_VIEW == 40.0
    seen = along_x().project(np.array([(0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (2.0, 0.0, 1.0)]))
    np.testing.assert_allclose(seen[0], (100.0, 50.0, 2.0))
    np.testing.assert_allclose(seen[1], (100.0 - SCALE / 2.0, 50.0, 2.0))  # to the left is y
    np.testing.assert_allclose(seen[2], (100.0, 50.0 - SCALE / 2.0, 2.0))  # up is up
    np.testing.assert_allclose(seen[3], (100.0, 50.0 - SCALE / 4.0, 4.0))  # twice as far is half as large


def test_from_above_x_is_up_and_y_to_the_left():
    above = OrbitCamera(np.zeros(3), 2.0, 0.0, -90.0, (200, 100))
    seen = above.project(np.array([(1.0, 0.0, 0.0), (0.0, 1.0, 0.0)]))
    np.testing.assert_allclose(seen, [(100.0, 50.0 - SCALE / 2.0, 2.0), (100.0 - SCALE / 2.0, 50.0, 2.0)], atol=1e-9)


def test_lines_are_cut_at_the_near_plane_and_left_out_behind_it():
    lines = np.array([[(0.0, 0.0, 1.0), (-4.0, 0.0, 1.0)], [(-3.0, 0.0, 0.0), (-4.0, 0.0, 0.0)]])
    seen = along_x().project_lines(lines)
    assert seen.shape == (1, 2, 2)
    np.testing.assert_allclose(seen[0, 0], (100.0, 50.0 - SCALE / 2.0))
    np.testing.assert_allclose(seen[0, 1], (100.0, 50.0 - SCALE / 0.05))  # as high as 1 m is at 5 cm


def test_the_heading_of_a_quarter_turn_to_the_left_is_90_degrees():
    half = np.radians(45.0)
    assert heading(np.array((np.cos(half), 0.0, 0.0, np.sin(half)))) == pytest.approx(90.0)
    assert heading(None) == heading(np.full(4, np.nan)) == 0.0


# -- figures -------------------------------------------------------------------------------------------


def test_a_figure_is_read_and_one_that_makes_no_sense_is_left_out():
    schema = make_schema()
    good = schema["figures"][0]
    cyclic = {**good, "bodies": [{"name": "a", "parent": 1}, {"name": "b", "parent": 0}]}
    missing = {**good, "tracked": [99]}
    (figure,) = read_skeletons({"figures": [cyclic, {}, None, missing, good]})
    assert figure.limbs.tolist() == [[0, 1], [1, 2], [0, 3], [3, 4], [0, 5]]
    assert figure.ghost_limbs.tolist() == [[0, 1], [0, 2]]  # ankles hang at the pelvis: knees are not tracked
    assert figure.blame.tolist() == [0, 1, 1, 2, 2, 0]  # a knee answers with its ankle, the head with the pelvis
    assert read_skeletons(None) == read_skeletons({}) == []


def test_two_tracked_points_on_one_body_are_joined_to_each_other():
    schema = make_schema()
    schema["figures"][0]["tracked"] = [0, 2, 2]
    assert read_skeletons(schema)[0].ghost_limbs.tolist() == [[0, 1], [1, 2]]


def test_tips_turn_with_their_body_or_go_on_straight():
    schema = make_schema()
    schema["figures"][0]["bodies"][2]["tip"] = [0.1, 0.0, 0.0]
    (figure,) = read_skeletons(schema)
    assert figure.tips.tolist() == [2, 4, 5]
    rotation = FLAT.astype(np.float64)
    rotation[2] = (np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5))  # a quarter turn to the left
    tips = tip_positions(figure, STANDING.astype(np.float64), rotation)
    np.testing.assert_allclose(tips[0], (0.0, 0.2, 0.1), atol=1e-6)
    np.testing.assert_allclose(tips[1], (0.0, -0.1, -0.1), atol=1e-6)  # 0.2 m on, from knee to ankle
    np.testing.assert_allclose(tips[2], (0.0, 0.0, 1.6), atol=1e-6)
    np.testing.assert_allclose(tip_positions(figure, STANDING.astype(np.float64), None)[0], STANDING[2], atol=1e-6)


def test_errors_and_slips_are_distances_and_speeds():
    (figure,) = read_skeletons(make_schema())
    reference = STANDING[list(TRACKED)].astype(np.float64) + np.array([(0, 0, 0), (0.3, 0, 0.4), (0, 0, 0.1)])
    np.testing.assert_allclose(tracking_errors(figure, STANDING, reference), (0.0, 0.5, 0.1), atol=1e-6)
    assert len(tracking_errors(figure, STANDING, None)) == 0
    assert wrong_bodies(figure, np.array((0.0, 0.5, 0.1))).tolist() == [False, True, True, False, False, False]
    after, force = STANDING.astype(np.float64), np.zeros((6, 3))
    after[2] += (0.03, 0.04, 1.0)
    after[4] += (0.5, 0.0, 0.0)
    force[2, 2] = 100.0
    np.testing.assert_allclose(slip_speeds(STANDING, after, force, force, 0.1), (0, 0, 0.5, 0, 0, 0), atol=1e-6)


def test_the_worst_is_said_first():
    (figure,) = read_skeletons(make_schema())
    slips = np.array((0, 0, 0.4, 0, 0, 0.0))
    found = violations(figure, STANDING, np.array((0.01, 0.21, 0.05)), slips)
    assert [text for text, _ in found][:2] == [
        "left_ankle 0.21 m from reference (ends at 0.25)",
        "left_ankle slips 0.4 m/s",
    ]
    assert found[0][1] == pytest.approx(0.84)
    broken = STANDING.copy()
    broken[3:5] = np.nan
    errors = tracking_errors(figure, broken, STANDING[list(TRACKED)])
    assert violations(figure, broken, errors, slips)[0][0] == "right_knee and 1 more: position is not finite"


def test_seconds_of_a_tick_are_told_only_where_all_agree():
    assert declared(make_schema()).dt == 0.02
    two = {"constants": [{"address": "a.dt", "value": 0.02}, {"address": "b.dt", "value": 0.01}]}
    assert declared(two).dt is None
    assert declared({**two, "dt": 0.005}).dt == 0.005
    assert declared(None).dt is None


# -- the panel -----------------------------------------------------------------------------------------


def words(body: BodyPanel) -> list[str]:
    return [text for line in body.view.lines for text, _ in line]


def test_it_asks_for_poses_and_the_path_of_the_selected_row(body: BodyPanel):
    pose, trace = body.subscriptions()
    assert (pose.kind, pose.rows, pose.hz) == ("pose", "selected", 30.0)
    assert {column for column, _ in pose.columns} >= {0, 1, 2, 3}
    assert trace.kind == "trace" and trace.columns == ((0, (0, 1, 2)),)


def test_row_episode_clip_and_violations_are_written(body: BodyPanel):
    reference = STANDING[list(TRACKED)] + np.array([(0, 0, 0), (0.3, 0, 0), (0, 0, 0)], np.float32)
    more = {"Episode.step": 171, "MotionCursor.clip": 0, "MotionCursor.time": 0.43}
    feed_values(body.store, 5, standing(reference, **more))
    body.refresh()
    assert words(body)[:4] == [
        "row 0",
        "episode 3.42 s (step 171)",
        "clip walk_07 @ 0.43 s",
        "left_ankle 0.30 m from reference (ends at 0.25)",
    ]
    assert body.view.lines[1][0][1] == theme.RED


@pytest.mark.parametrize("what", ["nothing", "one row", "nan", "all nan", "another shape", "no figure", "no schema"])
def test_no_data_breaks_the_picture(qtbot, what: str):
    store = make_store(rows=1 if what == "one row" else 4096, figure=what != "no figure")
    if what == "no schema":
        store = Store()
    position = STANDING.copy()
    position[2] = np.nan
    position = np.full_like(STANDING, np.nan) if what == "all nan" else position if what == "nan" else STANDING
    panel = BodyPanel(store, Asked())
    qtbot.addWidget(panel)
    if what == "another shape":
        panel.view.figure = attrs.evolve(panel.view.figure, position=5)
    if what in ("one row", "nan", "all nan"):
        feed_values(
            store, 1, standing(**{"BodyState.position": position, "ContactForce.force": position[[0, 2, 4, 5]] * 100})
        )
    if what == "another shape":
        feed_values(store, 1, {"Reward.total": 1.0})
    panel.resize(300, 220)
    panel.refresh()
    picture = picture_of(panel)
    assert picture.shape == (220, 300, 3)
    white = (picture.min(-1) > 200).sum()
    assert white > 300 if what in ("one row", "nan") else True
    if "nan" in what:
        assert "not finite" in words(panel)[1]
    if what == "no figure":
        assert "no figure" in words(panel)[0]


def test_limbs_beyond_the_threshold_are_red_and_the_ghost_is_blue(body: BodyPanel):
    far = STANDING[list(TRACKED)] + np.array([(0, 0, 0), (0, 0.4, 0), (0, 0, 0)], np.float32)
    feed_values(body.store, 1, standing(far))
    body.refresh()
    picture = picture_of(body).astype(int)
    near_red = np.abs(picture - QColor(theme.RED).getRgb()[:3]).max(-1) < 70
    blue = (picture[..., 2] > 90) & (picture[..., 2] > picture[..., 0] + 60)
    assert near_red[60:].sum() > 200 and blue.sum() > 200
    feed_values(body.store, 2, standing())
    body.refresh()
    picture = picture_of(body).astype(int)
    assert not (np.abs(picture - QColor(theme.RED).getRgb()[:3]).max(-1) < 70)[60:280].any()


def test_the_ghost_stands_at_its_true_place():
    (figure,) = read_skeletons(make_schema())
    ghost = ghost_capsules(along_x(), figure, STANDING[list(TRACKED)].astype(np.float64))
    np.testing.assert_allclose(ghost.ends[0, 1], along_x().project(STANDING[2])[:2], atol=1e-4)
    assert ghost.width[0] == pytest.approx(0.05 * SCALE / 2.0)


def test_a_foot_that_slips_leaves_a_trail_until_the_episode_ends(body: BodyPanel):
    pushed = np.zeros((4, 3), np.float32)
    pushed[1, 2] = 200.0  # the left ankle, which is body 2, has the second sensor
    moved = STANDING.copy()
    for tick in range(3):
        moved[2, 0] = 0.02 * tick  # 1 m/s
        feed_values(
            body.store,
            tick,
            standing(**{"BodyState.position": moved, "ContactForce.force": pushed, "Episode.step": tick + 5}),
        )
        body.refresh()
    assert len(body._memory.trails) == 2
    assert "left_ankle slips 1.0 m/s" in words(body)
    feed_values(body.store, 3, standing(**{"Episode.step": 0, "ContactForce.force": pushed}))
    body.refresh()
    assert not body._memory.trails


@pytest.mark.parametrize(("terminated", "kept"), [(True, True), (False, False)])
def test_the_last_failure_is_kept_as_an_outline_and_a_time_limit_is_not(body: BodyPanel, terminated: bool, kept: bool):
    fallen = STANDING * (1, 1, 0.3)
    ends = {"BodyState.position": fallen, "Episode.step": 50, "Done.terminated": terminated}
    feed_values(body.store, 8, standing(**ends), finish=True)
    body.refresh()
    assert "episode ends in this tick" in words(body)
    feed_values(body.store, 9, standing(**{"Episode.step": 1, "Done.terminated": False}))
    body.refresh()
    shot = body.view.shot
    assert shot is not None and (shot.failure is not None) == kept
    body.resize(640, 480)
    assert ("grey outline last failure" in body.view.legend()) == kept
    if kept:
        np.testing.assert_allclose(shot.failure.position, fallen, atol=1e-6)


def test_the_path_begins_with_the_episode(body: BodyPanel):
    ticks = [1, 2, 2, 3, 4]
    for label in range(3):
        values = [10.0, 11.0, 0.0, 0.1, 0.2] if label == 0 else [0.0] * 5
        feed_trace(body.store, "BodyState.position", label, ticks, values, ended=(1,))
    feed_values(body.store, 3, standing())
    body.refresh()
    assert body.view.shot is not None
    np.testing.assert_allclose(body.view.shot.path[:, 0], (0.0, 0.1), atol=1e-6)


def drag(view: Viewport, by: tuple[float, float], modifiers=Qt.KeyboardModifier.NoModifier) -> None:
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    start, end = QPointF(100, 100), QPointF(100 + by[0], 100 + by[1])
    view.mousePressEvent(QMouseEvent(QEvent.Type.MouseButtonPress, start, start, left, left, modifiers))
    view.mouseMoveEvent(QMouseEvent(QEvent.Type.MouseMove, end, end, none, left, modifiers))
    view.mouseReleaseEvent(QMouseEvent(QEvent.Type.MouseButtonRelease, end, end, left, none, modifiers))


def test_keys_and_mouse_move_the_camera(body: BodyPanel):
    feed_values(body.store, 1, standing())
    body.refresh()
    body.view.setFocus()
    for key, azimuth, elevation in (("1", 180.0, -5.0), ("2", 90.0, -5.0), ("3", 0.0, -89.0), ("0", 145.0, -12.0)):
        next(a for a in body._actions if a.shortcut().toString() == key).trigger()
        camera = body.view.camera()
        assert (camera.azimuth, camera.elevation) == (azimuth, elevation)
    distance = body.view.camera().distance
    drag(body.view, (10.0, 0.0))
    assert body.view.camera().azimuth == pytest.approx(141.0)  # 0.4 degrees a pixel
    before = body.view.camera()
    drag(body.view, (0.0, 10.0), Qt.KeyboardModifier.ShiftModifier)
    moved = body.view.camera().look_at - before.look_at  # 10 pixels up, as long as they are where is looked at
    np.testing.assert_allclose(moved, 10.0 * before.axes()[1] * distance / before.scale(), atol=1e-9)
    body.view.look(30.0, 200.0)
    assert body.view.camera().elevation == 89.0
    assert distance == pytest.approx(2.5 * 1.4, rel=1e-5)
    body.view.frame_figure()
    np.testing.assert_allclose(body.view.camera().look_at, (0.0, 0.0, 0.7), atol=1e-6)


def test_a_push_makes_the_selected_row_faster_where_one_looks(body: BodyPanel):
    """From the side, at an azimuth of 90 degrees, that is along y."""
    push = next(a for a in body._actions if a.shortcut().toString() == "K")
    push.trigger()
    assert isinstance(body.control, Asked) and not body.control.sent and "is not known" in body.view.note
    feed_values(body.store, 1, standing(**{"RootState.linear_velocity": np.array((0.5, 0.0, 0.1))}))
    body.refresh()
    body.view.look(90.0, -5.0)
    push.trigger()
    (sent,) = body.control.sent
    assert (sent["t"], sent["column"], sent["rows"]) == ("set", IDS["RootState.linear_velocity"], [body.store.selected])
    np.testing.assert_allclose(unpack_array(sent["values"]), [[0.5, 1.0, 0.1]], atol=1e-6)
    body._answered({"t": "error", "text": "Somebody else controls the run."})
    assert body.view.note == "Somebody else controls the run."


def test_a_key_asks_for_the_next_clip_of_the_selected_row(body: BodyPanel):
    key = next(a for a in body._actions if a.shortcut().toString() == "G")
    key.trigger()
    assert isinstance(body.control, Asked)
    (sent,) = body.control.sent
    assert (sent["t"], sent["column"], sent["rows"]) == ("set", IDS["NextClip.asked"], [body.store.selected])
    assert (sent["reason"], unpack_array(sent["values"]).tolist()) == ("next clip", [True])


def test_without_clips_the_key_says_so(qtbot):
    made = BodyPanel(make_store(without=("NextClip.asked",)), Asked())
    qtbot.addWidget(made)
    next(a for a in made._actions if a.shortcut().toString() == "G").trigger()
    assert isinstance(made.control, Asked) and not made.control.sent
    assert made.view.note == "This figure follows no clips, so that there is no next one."


def test_every_key_is_a_menu_entry_with_a_text(body: BodyPanel):
    assert [a.shortcut().toString() for a in body._actions] == ["0", "1", "2", "3", "K", "G", "C", "M"]
    assert all(a.text() for a in body._actions) and set(body._actions) <= set(body.actions())


def test_nothing_new_is_not_drawn_again(body: BodyPanel, monkeypatch):
    feed_values(body.store, 1, standing())
    body.refresh()
    drawn = []
    monkeypatch.setattr(body.view, "update", lambda: drawn.append(1))
    body.refresh()
    assert not drawn
    feed_values(body.store, 2, standing())
    body.refresh()
    assert drawn


def test_a_frame_of_two_figures_costs_little(body: BodyPanel, capsys):
    """The bound is generous, since a shared machine is slow at times; the figure is printed."""
    feed_values(body.store, 1, standing())
    body.refresh()
    (figure,) = read_skeletons(make_schema())
    camera = OrbitCamera(np.array((0.0, 0.0, 0.7)), 3.0, 145.0, -12.0, (640, 480))
    image, layer = (QImage(640, 480, QImage.Format.Format_ARGB32_Premultiplied) for _ in range(2))
    shot = BodyPose(STANDING.astype(np.float64), FLAT, STANDING[list(TRACKED)].astype(np.float64), errors=np.zeros(3))

    def cost(act) -> float:
        took = []
        for _ in range(9):
            began = time.process_time()
            act()
            took.append(time.process_time() - began)
        return min(took)

    painter = QPainter(image)
    floor = cost(lambda: [painter.fillRect(0, 0, 640, 480, QColor(n, 0, 0)) for n in range(20)])
    picture = cost(lambda: draw(painter, camera, figure, shot, layer))
    painter.end()
    with capsys.disabled():
        print(f"\nbody view 640 x 480: {1e3 * picture:.2f} ms of process time; 20 fills {1e3 * floor:.2f} ms")
    assert picture < 60.0 * max(floor, 5e-4)
