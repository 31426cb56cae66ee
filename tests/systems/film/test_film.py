"""Films: the camera, the captions, the file, both ways of making pictures, and what is kept of an episode."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import SceneError
from engine.render import process
from engine.render.camera import OrbitCamera
from scenes import robots
from systems.film import film, render_scene
from systems.film import render as gl
from systems.film.film import FilmShot, caption, cut, encode, follow, write_film
from systems.film.painter import paint
from systems.film.render_scene import build_render_scene, cluster
from systems.film.scenery import LAMP, RenderScene
from tests.physics.rows import PENDULUM, pendulum

SIZE = (192, 144)
SIDEWAYS = (0.0, 0.8, 0.0)  # m, from the robot to its ghost
DYING = """
import os, struct, sys
out = sys.stdout.buffer
out.write(struct.pack("<I", 2) + b"{}")
for _ in range(3):  # two to see how long it takes, and the first of the film
    out.write(struct.pack("<HH", 192, 144) + bytes(192 * 144 * 3))
out.flush()
os.abort()
"""


@pytest.fixture(scope="module")
def scene() -> RenderScene:
    return build_render_scene(robots.load("humanoid"), size=SIZE)


def states(scene: RenderScene, frames: int, offset: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """The pose of the model file, moved."""
    made = np.tile(scene.model.qpos0, (frames, 1))
    made[:, :3] += offset
    return made


def shot(scene: RenderScene, frames: int, **changes: Any) -> FilmShot:
    given: dict[str, Any] = {
        "name": "clip",
        "robot": states(scene, frames),
        "ghost": states(scene, frames, SIDEWAYS),
        "captions": tuple((f"frame {i}",) for i in range(frames)),
    }
    return FilmShot(**{**given, **changes})


def decoded(path: Path) -> list[np.ndarray]:
    import av

    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.video[0].average_rate == 50
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def view(scene: RenderScene) -> np.ndarray:
    return np.array([0.0, 0.4, 0.6, 3.0, 180.0, 0.0])


def camera(scene: RenderScene) -> OrbitCamera:
    at = view(scene)
    return OrbitCamera(at[:3], float(at[3]), float(at[4]), float(at[5]), SIZE, scene.field_of_view)


# -- camera --------------------------------------------------------------------------------------------


def test_projection_of_points_worked_out_by_hand() -> None:
    # from (2, 0, 1) along −x; 90 degrees: at depth 2 the picture is 4 m high, 100 pixels: 25 pixels per metre
    at = OrbitCamera(np.array((0.0, 0.0, 1.0)), 2.0, 180.0, 0.0, (200, 100), 90.0)
    points = np.array(((0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (0.0, 0.0, 2.0), (1.0, 0.0, 2.0)))
    expected = np.array(((100.0, 50.0, 2.0), (125.0, 50.0, 2.0), (100.0, 25.0, 2.0), (100.0, 0.0, 1.0)))
    np.testing.assert_allclose(at.project(points), expected, atol=1e-9)


def test_a_camera_above_sees_nearer_points_of_the_floor_lower() -> None:
    at = OrbitCamera(np.zeros(3), 3.0, 180.0, -30.0, (200, 100), 40.0)
    near, far = at.project(np.array(((0.5, 0.0, 0.0), (-0.5, 0.0, 0.0))))
    assert near[1] > 50.0 > far[1] and near[2] < 3.0 < far[2]


def test_the_camera_follows_without_jerks_and_faces_the_robot(scene: RenderScene) -> None:
    still = follow(shot(scene, 30, ghost=None), 1.0, 50.0)
    assert still.shape == (30, 6) and np.ptp(still, axis=0).max() < 1e-9
    jump = states(scene, 200)
    jump[100:, 0] += 1.0
    path = follow(shot(scene, 200, robot=jump, ghost=None), 1.0, 50.0)
    assert path[0, 0] == pytest.approx(0.0, abs=1e-3) and path[-1, 0] == pytest.approx(1.0, abs=1e-3)
    assert np.abs(np.diff(path[:, 0])).max() < 0.03  # the robot jumps by 1 m
    turned = states(scene, 5)
    turned[:, 3:7] = (np.cos(np.pi / 4), 0.0, 0.0, np.sin(np.pi / 4))  # heads along y
    assert follow(shot(scene, 5, robot=turned, ghost=None), 1.0, 50.0)[0, 4] == pytest.approx(
        follow(shot(scene, 5, ghost=None), 1.0, 50.0)[0, 4] + 90.0
    )


def test_the_camera_steps_back_when_the_ghost_leaves(scene: RenderScene) -> None:
    near, far = (follow(shot(scene, 5, ghost=states(scene, 5, (0.0, d, 0.0))), 1.0, 50.0)[0] for d in (0.0, 2.0))
    assert far[3] == pytest.approx(near[3] + 2.0) and far[1] == pytest.approx(1.0)


# -- cutting and captions ------------------------------------------------------------------------------


def test_films_are_cut_after_twenty_seconds_and_endings_are_held(scene: RenderScene) -> None:
    short, long = shot(scene, 10, ending="fallen: tilt"), shot(scene, 1500, ghost=None, ending="never seen")
    shots, words = cut([short, long, short], 50.0)
    assert [len(t.robot) for t in shots] == [60, 940] and len(words) == 1000
    assert words[8] == (("frame 8",), "") and words[9] == words[59] == (("frame 9",), "fallen: tilt")
    assert words[-1] == (("frame 939",), "")


def test_a_caption_covers_its_corner_and_nothing_else() -> None:
    blank = np.full((144, 192, 3), 200, np.uint8)
    plain, alarmed = caption(blank, ("clip", "0.02 s")), caption(blank, ("clip", "0.02 s"), "fallen: tilt")
    changed = np.argwhere((plain != blank).any(-1))
    assert changed.min() >= 3 and changed[:, 0].max() < 60 and changed[:, 1].max() < 100
    assert (plain != alarmed).any() and (blank == 200).all()
    np.testing.assert_array_equal(caption(blank, ()), blank)


# -- the file ------------------------------------------------------------------------------------------


def test_a_film_decodes_to_its_frames(tmp_path: Path) -> None:
    tones = [np.full((144, 192, 3), 40 * i + 30, np.uint8) for i in range(5)]
    encode(tmp_path / "new" / "a.mp4", iter(tones), 50.0, SIZE)
    frames = decoded(tmp_path / "new" / "a.mp4")
    assert [frame.shape for frame in frames] == [(144, 192, 3)] * 5
    np.testing.assert_allclose([frame.mean() for frame in frames], [30, 70, 110, 150, 190], atol=4)


def test_a_film_that_cannot_be_written_is_one_sentence_and_keeps_the_old_one(
    tmp_path: Path, scene: RenderScene
) -> None:
    def broken() -> Any:
        yield np.zeros((144, 192, 3), np.uint8)
        raise KeyboardInterrupt

    target = tmp_path / "a.mp4"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        encode(target, broken(), 50.0, SIZE)
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]
    with pytest.raises(SceneError, match=r"a\.mp4/b\.mp4 cannot be written \("):
        encode(target / "b.mp4", iter(()), 50.0, SIZE)
    with pytest.raises(SceneError, match="nothing to film"):
        write_film(target, scene, [])


def test_without_an_encoder_the_cure_is_named(
    tmp_path: Path, scene: RenderScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(SceneError, match="needs the package av, which is not installed"):
        write_film(tmp_path / "a.mp4", scene, [shot(scene, 2)])


# -- scene ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("robot", ["humanoid", "g1_23dof"])
def test_every_piece_is_closed_and_faces_outwards(robot: str) -> None:
    made = build_render_scene(robots.load(robot), size=SIZE)
    assert 0.9 < made.height < 1.5
    for part in made.parts:
        points = part.vertices[part.faces]
        centre = part.vertices.mean(0)
        normal = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
        assert ((normal * (points.mean(1) - centre)).sum(-1) > -1e-12).all()
        volume = (points[:, 0] * np.cross(points[:, 1], points[:, 2])).sum() / 6.0
        moved = points + np.array((3.0, -2.0, 5.0))  # the volume of a closed surface does not depend on where it is
        shifted = (moved[:, 0] * np.cross(moved[:, 1], moved[:, 2])).sum() / 6.0
        assert volume > 0.0 and shifted == pytest.approx(volume, rel=1e-6, abs=1e-9)


def test_clustering_merges_close_vertices_and_drops_faces_without_area() -> None:
    vertices = np.array(((0.0, 0.0, 0.0), (0.02, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)))
    faces = np.array(((0, 1, 2), (0, 2, 3), (1, 2, 3), (2, 3, 1)))
    merged, left = cluster(vertices, faces, 0.1)
    assert len(merged) == 3 and len(left) == 1
    np.testing.assert_allclose(merged[left[0]].sum(0), (1.01, 1.0, 0.0))


def test_a_robots_looks_may_be_called_as_those_of_the_scene() -> None:
    looks = '<asset><texture name="grid" type="2d" builtin="flat" width="8" height="8"/><material name="grid" texture="grid"/></asset>'
    text = PENDULUM.replace("<worldbody>", f"{looks}<worldbody>").replace("<geom ", '<geom material="grid" ')
    model = build_render_scene(pendulum(model=lambda: text)).model
    assert model.ntex == 3 and len({int(model.geom_matid[g]) for g in range(model.ngeom)}) == 2


def test_a_mesh_that_is_smaller_than_a_pixel_stays_solid_when_meshes_are_coarsened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(render_scene, "MOST_FACES", 100)
    screw = (
        '<mesh name="screw" vertex="0 0 0 .001 0 0 0 .001 0 0 0 .001"/><mesh name="ball" builtin="sphere" params="3"/>'
    )
    looks = "".join(f'<geom type="mesh" mesh="{n}" contype="0" conaffinity="0" mass="0"/>' for n in ("screw", "ball"))
    text = PENDULUM.replace("<worldbody>", f"<asset>{screw}</asset><worldbody>").replace(
        "<freejoint/>", f"<freejoint/>{looks}"
    )
    model = build_render_scene(pendulum(model=lambda: text)).model
    assert model.nmesh == 2 and 12 < model.mesh_facenum.sum() <= 100
    assert model.geom_aabb[model.geom_dataid >= 0, 3:].min() > 0.001


def test_poses_are_those_of_the_state(scene: RenderScene) -> None:
    position, rotation = scene.poses(states(scene, 2, (1.0, 2.0, 3.0)))
    still, _ = scene.poses(states(scene, 2))
    np.testing.assert_allclose(position - still, np.broadcast_to((1.0, 2.0, 3.0), position.shape), atol=1e-12)
    np.testing.assert_allclose(
        rotation @ rotation.swapaxes(-1, -2), np.broadcast_to(np.eye(3), rotation.shape), atol=1e-9
    )


# -- pictures ------------------------------------------------------------------------------------------


def painted(scene: RenderScene, ghost: bool) -> np.ndarray:
    other = states(scene, 1, SIDEWAYS) if ghost else None
    return next(paint(scene, states(scene, 1), other, view(scene)[None], SIZE))


def blue_where(plain: np.ndarray, haunted: np.ndarray, at: np.ndarray) -> bool:
    """Whether the ghost tints the pixel of a projected point."""
    x, y = at[:2].round().astype(int)
    before, after = plain[y, x].astype(int), haunted[y, x].astype(int)
    return bool(after[2] - after[0] > before[2] - before[0] + 20)


def test_painting_shows_something_and_is_deterministic(scene: RenderScene) -> None:
    first, second = painted(scene, True), painted(scene, True)
    assert first.shape == (144, 192, 3) and first.dtype == np.uint8
    assert first.tobytes() == second.tobytes()
    x, y = camera(scene).project(states(scene, 1)[0, :3])[:2].round().astype(int)
    assert first[y, x].mean() < first[5, 5].mean() - 40  # the robot is darker than the sky


def check_ghost(scene: RenderScene, plain: np.ndarray, haunted: np.ndarray) -> None:
    robot, ghost = (camera(scene).project(states(scene, 1, off)[0, :3]) for off in ((0.0, 0.0, 0.0), SIDEWAYS))
    assert blue_where(plain, haunted, ghost)
    assert not blue_where(plain, haunted, robot)
    assert not blue_where(plain, haunted, 2 * robot - ghost)  # on the other side there is nobody


def test_the_painted_ghost_is_where_the_reference_is(scene: RenderScene) -> None:
    check_ghost(scene, painted(scene, False), painted(scene, True))


def test_the_rendered_ghost_is_where_the_reference_is(scene: RenderScene) -> None:
    try:
        plain, haunted = (
            next(gl.render(scene.model, states(scene, 1), other, view(scene)[None], SIZE, LAMP))
            for other in (None, states(scene, 1, SIDEWAYS))
        )
    except gl.NoPictures as problem:
        pytest.skip(f"OpenGL does not work here: {problem}")
    check_ghost(scene, plain, haunted)


def test_without_opengl_the_painter_makes_the_film(
    scene: RenderScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "disable")
    shares: list[float] = []
    how = write_film(tmp_path / "a.mp4", scene, [shot(scene, 4)], size=SIZE, progress=shares.append)
    assert how.startswith("painted, as OpenGL does not work here (disable: ")
    frames = decoded(tmp_path / "a.mp4")
    assert len(frames) == 4 and shares == [0.0, 0.25, 0.5, 0.75]
    assert frames[0].std() > 10 and list(tmp_path.iterdir()) == [tmp_path / "a.mp4"]


def test_a_renderer_that_dies_midway_is_replaced_for_the_whole_film(
    scene: RenderScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = tmp_path / "dying.py"
    dying.write_text(DYING, encoding="utf-8")
    monkeypatch.setattr(process, "PROGRAM", dying)
    monkeypatch.setenv("MUJOCO_GL", "egl")
    how = write_film(tmp_path / "a.mp4", scene, [shot(scene, 3)], size=SIZE)
    assert "painted" in how and "its process ended with signal 6" in how
    assert len(decoded(tmp_path / "a.mp4")) == 3


def test_a_renderer_that_hangs_is_given_up_and_ended(
    scene: RenderScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = tmp_path / "hanging.py"
    hanging.write_text("import time\ntime.sleep(1000)")
    monkeypatch.setattr(process, "PROGRAM", hanging)
    monkeypatch.setattr(gl, "PATIENCE", 0.2)
    monkeypatch.setenv("MUJOCO_GL", "egl")
    started: list[subprocess.Popen[bytes]] = []
    original = subprocess.Popen

    def popen(*given: Any, **more: Any) -> Any:
        started.append(original(*given, **more))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    with pytest.raises(gl.NoPictures, match=r"no picture within 0\.2 s"):
        next(gl.render(scene.model, states(scene, 1), None, view(scene)[None], SIZE, LAMP))
    assert [child.returncode for child in started] == [-9]


def test_the_platforms_are_those_without_a_window_unless_the_user_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert gl.platforms() == ["egl", "osmesa"]
    monkeypatch.setattr("sys.platform", "darwin")
    assert gl.platforms() == [""]
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    assert gl.platforms() == ["glfw"]


def test_the_longest_film_is_twenty_seconds() -> None:
    assert film.LONGEST == 20.0
