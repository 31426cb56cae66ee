"""Recorded motion: what a row did becomes a clip that the readers read back, with what the policy did and which feet stood."""

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from components.motion import Clip
from engine import SceneError
from systems.footage import episode_clips
from systems.motion.check import verify_clip
from systems.motion.files import read_clips
from systems.motion.kinematics import resample
from systems.motion.tools.mirror import mirror_clip
from systems.motion.writers import clip_bytes
from tests.systems.motion.test_writers import motion
from tests.systems.motion.tools.robots import model

FRAMES = 30


@pytest.fixture(scope="module")
def columns() -> dict[str, np.ndarray]:
    """Columns of a robot that turned and moved its joints, as float32, the way replay makes them."""
    clip = motion(model("humanoid"), "squat", heading=0.7)
    draw = np.random.default_rng(0)
    kept = {
        "robot.RootState.position": clip.root_position[:FRAMES],
        "robot.RootState.rotation": clip.root_rotation[:FRAMES],
        "robot.DofState.position": clip.dof_position[:FRAMES],
        "robot.Action.value": draw.normal(size=(FRAMES, clip.dof_position.shape[1])),
    }
    touching = draw.integers(0, 2, (FRAMES, 2)).astype(bool)
    return {**{name: value.astype(np.float32) for name, value in kept.items()}, "robot.Contact.touching": touching}


def read(path: Path) -> Clip:
    """The file's only clip, for the humanoid."""
    (clip,) = read_clips(str(path))
    assert isinstance(clip, Clip)
    robot = model("humanoid")
    return verify_clip(clip, robot.robot, robot)[0]


@pytest.mark.parametrize("container", ["npz", "pkl", "csv"])
def test_what_a_row_did_is_read_back_from_the_file(columns: Any, tmp_path: Path, container: str) -> None:
    path = tmp_path / f"fall.{container}"
    written = episode_clips(model("humanoid"), table="robot", fps=50.0).write({path.stem: columns}, path)
    beside = "" if container == "csv" else ", actions, contacts"
    assert written["clip"].endswith(
        f"30 frames at 50 per second, {len(model('humanoid').robot.dof_names)} joints of humanoid{beside}"
    )
    found = read(path)
    assert (found.fps, found.num_frames) == (50.0, FRAMES)
    for part, address in (("root_position", "RootState.position"), ("dof_position", "DofState.position")):
        assert_allclose(getattr(found, part), columns[f"robot.{address}"], atol=1e-6, rtol=0.0)
    turned = np.abs((found.root_rotation * columns["robot.RootState.rotation"]).sum(-1))
    assert_allclose(turned, 1.0, atol=1e-6)
    if container == "csv":
        assert found.action is None and found.contact_mask is None
        return
    assert found.action is not None
    assert_array_equal(found.action, columns["robot.Action.value"])
    assert_array_equal(found.contact_mask, columns["robot.Contact.touching"])


def test_a_pkl_holds_what_several_rows_did_each_under_its_name(columns: Any, tmp_path: Path) -> None:
    half = {name: value[10:25] for name, value in columns.items()}
    file, kinds = tmp_path / "all.pkl", episode_clips(model("humanoid"), table="robot", fps=50.0)
    written = kinds.write({"row_0_tick_30": columns, "row_5_tick_30": half}, file)
    assert kinds.several == (".pkl",)
    assert written["clip"].startswith(f"{file}: 2 clips, 15 to 30 frames at 50 per second")
    first, second = read_clips(str(file))
    assert (first.name, second.name) == ("row_0_tick_30", "row_5_tick_30")
    for clip, expected in ((first, columns), (second, half)):
        assert isinstance(clip, Clip)
        assert_allclose(clip.root_position, expected["robot.RootState.position"], atol=1e-6, rtol=0.0)
        assert_allclose(clip.dof_position, expected["robot.DofState.position"], atol=1e-6, rtol=0.0)
        assert_array_equal(clip.action, expected["robot.Action.value"])


def test_a_scene_without_contacts_keeps_none(columns: Any, tmp_path: Path) -> None:
    some = {name: value for name, value in columns.items() if "Contact" not in name}
    kinds = episode_clips(model("humanoid"), table="robot", fps=50.0)
    assert kinds.endings == (".npz", ".csv", ".pkl")
    kinds.write({"a": some}, tmp_path / "a.pkl")
    assert read(tmp_path / "a.pkl").contact_mask is None


def test_an_episode_without_a_step_is_no_motion(columns: Any, tmp_path: Path) -> None:
    first = {name: value[:1] for name, value in columns.items()}
    with pytest.raises(SceneError, match=r"lasts no whole control step"):
        episode_clips(model("humanoid"), table="robot", fps=50.0).write({"a": first}, tmp_path / "a.npz")
    assert not (tmp_path / "a.npz").exists()


def test_an_action_follows_its_joint_when_a_file_counts_joints_otherwise(columns: Any, tmp_path: Path) -> None:
    robot = model("humanoid")
    clip = attrs.evolve(motion(robot, "squat"), action=np.tile(np.arange(len(robot.robot.dof_names)) + 0.5, (241, 1)))
    (tmp_path / "b.npz").write_bytes(clip_bytes([clip], robot, "npz", breadth_first=True))
    with np.load(tmp_path / "b.npz") as kept:
        names = kept["joint_names"].tolist()
        assert names != list(robot.robot.dof_names)
        expected = [robot.robot.dof_names.index(name) + 0.5 for name in names]
        assert_array_equal(kept["action"][7], np.array(expected, np.float32))
    assert_array_equal(read(tmp_path / "b.npz").action, clip.action)


def test_actions_and_contacts_are_held_between_frames_and_cut_with_them(tmp_path: Path) -> None:
    """Ten frames at 30 per second, at 50: 0 and 20 ms show frame 0, 40 ms frame 1, 100 ms exactly frame 3."""
    robot = model("humanoid")
    usual = motion(robot, "squat")
    parts = {name: getattr(usual, name)[:10] for name in ("root_position", "root_rotation", "dof_position")}
    clip = attrs.evolve(usual, fps=30.0, action=np.arange(10.0)[:, None], contact_mask=np.eye(10)[:, :2], **parts)
    held = resample(clip, 50.0)
    assert held.action is not None and held.contact_mask is not None
    assert held.action[:, 0].tolist() == [0, 0, 1, 1, 2, 3, 3, 4, 4, 5, 6, 6, 7, 7, 8, 9]
    assert held.contact_mask[:3].tolist() == [[1, 0], [1, 0], [0, 1]]
    (tmp_path / "c.pkl").write_bytes(clip_bytes([clip], robot, "pkl"))
    (part,) = read_clips(f"{tmp_path / 'c.pkl'}:3-5")
    assert isinstance(part, Clip) and part.action is not None and part.action[:, 0].tolist() == [2, 3, 4]
    image = mirror_clip(clip, robot)
    assert image.action is None and image.contact_mask is None
