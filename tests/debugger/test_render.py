"""The mesh view: a process that may die, and a window that neither waits for it nor loads MuJoCo."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.debugger.body import render_client as mesh_module
from engine.debugger.body.render_client import MeshView, RenderProcess, cut_out
from engine.debugger.panels.body import BodyPanel
from engine.render.camera import OrbitCamera
from tests.debugger.made_up import STANDING, Asked, feed_values, make_schema, make_store
from tests.helpers import REPOSITORY

MODEL = """<mujoco><worldbody><geom type="plane" size="5 5 1"/><light pos="0 0 3"/>
<body name="pelvis" pos="0 0 1"><freejoint/><geom size="0.3" rgba="1 0 0 1"/>
<body pos="0 0 0.6"><joint name="left_knee_joint" axis="0 1 0"/>
<geom type="capsule" size="0.1 0.2" rgba="0 1 0 1" contype="0" conaffinity="0"/></body></body></worldbody></mujoco>"""
CAMERA = OrbitCamera(np.array((0.0, 0.0, 1.0)), 4.0, 0.0, 0.0, (64, 48))
QPOS = np.array((0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0))
STAND_IN = """
import json, os, struct, sys, time
out = os.fdopen(1, "wb")
about = json.dumps({"joints": [["left_knee_joint", 7]], "free": 0, "size": 8, "renderer": "none", "shapes": "all"}).encode()
def say(data):
    out.write(data); out.flush()
MODE
say(struct.pack("<I", len(about)) + about)
while True:
    head = sys.stdin.buffer.read(4)
    if len(head) < 4:
        break
    width, height = struct.unpack("<HH", head)
    numbers = struct.unpack("<14d", sys.stdin.buffer.read(8 * 14))
    EACH
    say(head + bytes([int(numbers[13]), 0, 0]) * (width * height))
"""


def wait_for(found: Callable[[], object], seconds: float = 20.0) -> object:
    until = time.monotonic() + seconds
    while not (answer := found()) and time.monotonic() < until:
        time.sleep(0.01)
    assert answer, f"nothing within {seconds} s"
    return answer


def taken(renderer: RenderProcess) -> np.ndarray:
    pictures: list[np.ndarray] = []

    def look() -> bool:
        picture = renderer.take()
        pictures.extend([] if picture is None else [picture])
        return bool(pictures) or bool(renderer.problem)

    wait_for(look)
    assert pictures, renderer.problem
    return pictures[0]


@pytest.fixture
def stand_in(tmp_path):
    """A render process that needs neither MuJoCo nor OpenGL: a picture's red is the last number of the pose."""
    made: list[RenderProcess] = []

    def start(mode: str = "", each: str = "") -> RenderProcess:
        program = tmp_path / "stand_in.py"
        program.write_text(STAND_IN.replace("MODE", mode).replace("EACH", each), encoding="utf-8")
        made.append(RenderProcess(tmp_path / "model.xml", program=program))
        return made[-1]

    yield start
    for renderer in made:
        renderer.close()


def with_knee(degree: float) -> np.ndarray:
    return np.append(QPOS[:7], degree)


def test_poses_go_in_and_pictures_come_out(stand_in):
    renderer = stand_in()
    wait_for(lambda: renderer.about)
    assert renderer.about["joints"] == [["left_knee_joint", 7]]
    renderer.ask(CAMERA, with_knee(7.0))
    picture = taken(renderer)
    assert picture.shape == (48, 64, 3) and (picture == (7, 0, 0)).all()
    assert renderer.take() is None


def test_the_latest_pose_wins(stand_in, tmp_path):
    file = f"{str(tmp_path)!r} + '/{{}}_' + str(int(numbers[13]))"
    asked, may_draw = file.format("asked"), file.format("may_draw")
    renderer = stand_in(each=f"open({asked}, 'w').close()\n    while not os.path.exists({may_draw}): time.sleep(0.01)")
    wait_for(lambda: renderer.about)
    renderer.ask(CAMERA, with_knee(1.0))
    wait_for((tmp_path / "asked_1").exists)
    for degree in (2.0, 3.0, 4.0):
        renderer.ask(CAMERA, with_knee(degree))
    (tmp_path / "may_draw_1").touch()
    assert int(taken(renderer)[0, 0, 0]) == 1
    (tmp_path / "may_draw_4").touch()
    assert int(taken(renderer)[0, 0, 0]) == 4


def test_a_large_panel_gets_a_smaller_picture(stand_in):
    renderer = stand_in()
    renderer.ask(OrbitCamera(np.zeros(3), 1.0, 0.0, 0.0, (1600, 1200)), with_knee(1.0))
    assert taken(renderer).shape == (480, 640, 3)


@pytest.mark.parametrize(
    ("mode", "each", "message"),
    [
        ("os.abort()", "", "signal 6"),
        ("sys.exit('no OpenGL here')", "", "status 1 (no OpenGL here)"),
        ("", "os._exit(3)", "status 3"),
        ("say(bytes(4) + b'rubbish')", "", "No mesh view"),
        ("print('x' * 200000, file=sys.stderr)\nsys.exit(5)", "", "status 5"),
    ],
)
def test_a_crash_costs_a_picture_only(stand_in, mode: str, each: str, message: str):
    renderer = stand_in(mode, each)
    renderer.ask(CAMERA, with_knee(1.0))
    assert message in str(wait_for(lambda: renderer.problem))
    renderer.ask(CAMERA, with_knee(1.0))
    assert renderer.take() is None


def test_a_process_that_hangs_is_given_up(stand_in, monkeypatch):
    monkeypatch.setattr(mesh_module, "PATIENCE", 0.3)
    renderer = stand_in(mode="time.sleep(60)")
    assert "no picture within 0.3 s" in str(wait_for(lambda: renderer.problem))
    wait_for(lambda: renderer.child.process.poll() is not None)


def test_closing_ends_the_process(stand_in):
    renderer = stand_in()
    wait_for(lambda: renderer.about)
    renderer.close()
    wait_for(lambda: renderer.child.process.poll() is not None)
    assert renderer.problem == ""


def test_black_is_transparent():
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[0, 1] = (10, 20, 30)
    image = cut_out(picture)
    assert [image.pixelColor(x, y).alpha() for y in range(2) for x in range(2)] == [0, 255, 0, 0]
    assert image.pixelColor(1, 0).getRgb() == (10, 20, 30, 255)


# -- the panel -----------------------------------------------------------------------------------------


def store_with_model(path: Path):
    store = make_store()
    schema = make_schema()
    schema["models"] = {"stick": {"file": str(path), "hash": ""}}
    store.feed(schema)
    return store


def test_there_is_no_mesh_view_without_mujoco_or_a_model(qapp, tmp_path, monkeypatch):
    store = make_store()
    body = BodyPanel(store, Asked())
    figure = body.view.figure
    assert "names no model file" in MeshView(store, Asked()).refusal(figure)
    gone = BodyPanel(store_with_model(tmp_path / "gone.xml"), Asked())
    assert "is not on this machine" in gone.mesh.refusal(gone.view.figure)
    monkeypatch.setattr(mesh_module.importlib.util, "find_spec", lambda name: None)
    assert "pip install mujoco" in MeshView(store, Asked()).refusal(figure)
    assert "no figure" in MeshView(store, Asked()).refusal(None)
    body._toggle_mesh()
    assert not body.mesh.running and "MuJoCo" in body.view.note
    body.deleteLater()
    gone.deleteLater()


def test_a_body_goes_on_with_capsules_when_the_process_dies(qtbot, tmp_path, monkeypatch):
    program = tmp_path / "stand_in.py"
    program.write_text(
        STAND_IN.replace("MODE", "").replace("EACH", "numbers[13] > 1.5 and os.abort()"), encoding="utf-8"
    )
    (tmp_path / "model.xml").touch()
    monkeypatch.setattr(mesh_module, "RenderProcess", lambda model, platform: RenderProcess(model, platform, program))
    body = BodyPanel(store_with_model(tmp_path / "model.xml"), Asked())
    qtbot.addWidget(body)
    pose = {"BodyState.position": STANDING, "BodyState.rotation": np.tile((1.0, 0, 0, 0), (6, 1))}
    knees = {"DofState.position": (0.0, 1.0, 0.0)}
    feed_values(body.store, 1, pose | knees)
    body._toggle_mesh()
    assert body.mesh.running
    assert any(column == 4 for column, _ in body.subscriptions()[0].columns)  # joints, for the model

    def drawn() -> bool:
        body._drawn = None
        body.refresh()
        return body.view.mesh is not None

    wait_for(drawn)
    assert body.grab().width() == body.width()
    feed_values(body.store, 2, {"DofState.position": (0.0, 2.0, 0.0)})

    def dead() -> bool:
        drawn()
        return not body.mesh.running

    wait_for(dead)
    assert "signal 6" in body.view.note and body.view.mesh is None
    assert not body._actions[-1].isChecked()


def test_a_window_with_a_mesh_view_imports_neither_mujoco_nor_torch():
    program = (
        "import sys, os; os.environ['QT_QPA_PLATFORM'] = 'offscreen'\n"
        "import engine.debugger.panels.body, engine.debugger.panels.plots, engine.debugger.panels.rows, engine.render.process\n"
        "print([name for name in ('mujoco', 'torch', 'matplotlib', 'OpenGL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- with MuJoCo ---------------------------------------------------------------------------------------


def test_without_a_gpu_collision_shapes_are_shown_and_the_floor_never(tmp_path):
    mujoco = pytest.importorskip("mujoco")
    from engine.render import program

    (tmp_path / "model.xml").write_text(MODEL, encoding="utf-8")
    kinds = mujoco.mjtGeom
    for gpu, shapes, visible in ((False, "collision", [0.0, 1.0, 0.0]), (True, "all", [0.0, 1.0, 1.0])):
        model = program.load(str(tmp_path / "model.xml"), {"alone": True})
        assert model.vis.quality.offsamples == 0
        assert model.geom_type.tolist() == [
            int(kinds.mjGEOM_PLANE),
            int(kinds.mjGEOM_SPHERE),
            int(kinds.mjGEOM_CAPSULE),
        ]
        assert program.choose_shapes(model, gpu) == shapes
        assert model.geom_rgba[:, 3].tolist() == visible


def test_a_real_picture_is_where_the_painter_would_draw(tmp_path):
    pytest.importorskip("mujoco")
    (tmp_path / "model.xml").write_text(MODEL, encoding="utf-8")
    renderer = RenderProcess(tmp_path / "model.xml", platform="egl")
    try:
        wait_for(lambda: renderer.about or renderer.problem, 60.0)
        if renderer.problem:
            pytest.skip(renderer.problem)
        assert renderer.about["free"] == 0 and renderer.about["joints"] == [["left_knee_joint", 7]]
        camera = OrbitCamera(np.array((0.0, 0.0, 1.0)), 4.0, 0.0, 0.0, (320, 240))
        renderer.ask(camera, np.array((0.0, 0.5, 1.2, 1.0, 0.0, 0.0, 0.0, 0.0)))
        red = taken(renderer)[..., 0] > 60
        height, width = np.nonzero(red)
        expected = camera.project(np.array((0.0, 0.5, 1.2)))
        assert abs(width.mean() - expected[0]) < 3.0 and abs(height.mean() - expected[1]) < 3.0
        radius = 0.3 * camera.scale() / 4.0
        assert abs(np.ptp(width) / 2.0 - radius) < 3.0
    finally:
        renderer.close()
