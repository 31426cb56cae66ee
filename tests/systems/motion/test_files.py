"""What a clip list may say, and what each reader makes of a file."""

import pickle
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from components.motion import BuiltInClip, Clip
from engine.errors import SceneError
from systems.motion.files import read_clips
from systems.motion.joint_orders import BREADTH_FIRST_ORDER, DOCUMENTED_ORDER
from tests.helpers import data_path

FRAMES = 4


def only(spec: str) -> Clip:
    """The one clip read from a file."""
    (clip,) = read_clips(spec)
    assert isinstance(clip, Clip)
    return clip


def write_csv(path: Path, joints: int = 29, header: str = "") -> Path:
    """Frame f, column c holds f + c/100; the quaternion is (1, 0, 0, 0)."""
    table = np.arange(FRAMES)[:, None] + np.arange(7 + joints) / 100.0
    table[:, 3:7] = (1.0, 0.0, 0.0, 0.0)
    np.savetxt(path, table, delimiter=",", header=header, comments="")
    return path


def pickled(**changes: Any) -> dict[str, Any]:
    """One ASAP clip of FRAMES frames and 23 joints."""
    clip = {
        "root_trans_offset": np.zeros((FRAMES, 3), np.float32),
        "root_rot": np.tile([0.1, 0.2, 0.3, 0.9], (FRAMES, 1)),
        "dof": np.zeros((FRAMES, 23), np.float32),
        "fps": 30,
    }
    return {key: value for key, value in {**clip, **changes}.items() if value is not None}


def write_pickle(path: Path, content: Any) -> str:
    """Save `content` and give the path back as text."""
    path.write_bytes(pickle.dumps(content))
    return str(path)


def write_npz(path: Path, **changes: Any) -> str:
    """A BeyondMimic clip with two bodies and two joints."""
    content = {
        "fps": np.array([50.0]),
        "joint_pos": np.zeros((FRAMES, 2)),
        "joint_vel": np.zeros((FRAMES, 2)),
        "body_pos_w": np.arange(FRAMES * 6.0).reshape(FRAMES, 2, 3),
        "body_quat_w": np.tile([1.0, 0.0, 0.0, 0.0], (FRAMES, 2, 1)),
        **changes,
    }
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return str(path)


def test_built_in_names_stay_names_until_a_robot_is_known() -> None:
    assert read_clips("stand,squat=3") == [BuiltInClip("stand", 1.0), BuiltInClip("squat", 3.0)]


def test_names_of_two_words_may_be_joined_either_way() -> None:
    assert read_clips("side-step=2,side_step") == [BuiltInClip("side-step", 2.0), BuiltInClip("side-step", 1.0)]


def test_documented_orders() -> None:
    assert DOCUMENTED_ORDER[29][19] == "left_wrist_roll_joint"
    assert DOCUMENTED_ORDER[23][15:19] == tuple(
        f"left_{name}_joint" for name in ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow")
    )
    assert BREADTH_FIRST_ORDER[29][:4] == (
        "left_hip_pitch_joint", "right_hip_pitch_joint", "waist_yaw_joint", "left_hip_roll_joint",
    )  # fmt: skip
    for width in (23, 29):
        assert sorted(BREADTH_FIRST_ORDER[width]) == sorted(DOCUMENTED_ORDER[width])


@pytest.mark.parametrize("joints", [29, 23])
def test_csv_columns(tmp_path: Path, joints: int) -> None:
    clip = only(str(write_csv(tmp_path / "walk.csv", joints)))
    assert (clip.name, clip.fps, clip.num_frames, clip.dof_names) == ("walk", 30.0, FRAMES, None)
    assert_allclose(clip.root_position[2], [2.0, 2.01, 2.02])
    assert_allclose(clip.root_rotation[2], [1.0, 0.0, 0.0, 0.0])
    assert_allclose(clip.dof_position[2], 2.07 + np.arange(joints) / 100.0)


def test_csv_header_names_joints(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "walk.csv", 2, header="x,y,z,qw,qx,qy,qz,knee,hip")
    assert only(str(path)).dof_names == ("knee", "hip")


def test_options_cut_change_rate_and_reorder_quaternions(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "walk.csv")
    (clip,) = read_clips(f"{path}:xyzw:59.94fps:2-3=0.5")
    assert isinstance(clip, Clip)
    assert (clip.fps, clip.weight, clip.num_frames, clip.name) == (59.94, 0.5, 2, "walk:2-3")
    assert_allclose(clip.root_position[:, 0], [1.0, 2.0])
    assert_allclose(clip.root_rotation[0], [0.0, 1.0, 0.0, 0.0])  # (1, 0, 0, 0) read as x, y, z, w
    assert clip.file_rotation == ""
    assert only(f"{path}:2-").num_frames == 3
    assert only(f"{path}:-2").num_frames == 2


@given(
    weight=st.floats(1e-3, 1e3).map(lambda value: round(value, 3)),
    first=st.integers(1, FRAMES - 1),
    rate=st.integers(1, 240),
)
def test_any_combination_of_options_is_understood(weight: float, first: int, rate: int) -> None:
    with TemporaryDirectory() as folder:
        path = write_csv(Path(folder) / "a=b.csv")
        (clip, _) = read_clips(f"{path}:{rate}fps:{first}-{FRAMES}={weight},squat")
        assert isinstance(clip, Clip)
        assert (clip.fps, clip.weight, clip.num_frames) == (rate, weight, FRAMES - first + 1)


def test_pickle_is_scalar_last(tmp_path: Path) -> None:
    clip = only(write_pickle(tmp_path / "kick.pkl", {"some long key": pickled()}))
    assert clip.name == "kick"
    assert_allclose(clip.root_rotation[0], [0.9, 0.1, 0.2, 0.3])
    assert clip.dof_position.dtype == np.float64


def test_pickle_of_several_clips_and_one_of_them(tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "all.pkl", {"kick": pickled(), "jump": pickled(fps=29.97)})
    assert [clip.name for clip in read_clips(path)] == ["kick", "jump"]
    assert only(f"{path}#jump").fps == 29.97
    with pytest.raises(SceneError, match=r"has no clip 'jum'; it has kick, jump. Did you mean jump?"):
        read_clips(f"{path}#jum")


def test_npz_names_bodies_and_root(tmp_path: Path) -> None:
    names = {"joint_names": np.array(["a", "b"]), "body_names": np.array(["pelvis", "leg"])}
    clip = only(write_npz(tmp_path / "walk.npz", **names))
    assert clip.dof_names == ("a", "b")
    assert clip.body_names == ("pelvis", "leg")
    assert_allclose(clip.root_position[1], [6.0, 7.0, 8.0])
    assert clip.fps == 50.0


def test_folder_stands_for_all_clips_below_it(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write_csv(tmp_path / "b.csv")
    write_npz(tmp_path / "deep" / "a.npz")
    (tmp_path / "LICENSE").write_text("text")
    clips = read_clips(f"{tmp_path}=2,stand")
    assert [(clip.name, clip.weight) for clip in clips] == [("b", 2.0), ("a", 2.0), ("stand", 1.0)]


def test_csv_and_npz_of_one_motion_agree() -> None:
    table = only(str(data_path("motions", "kimodo_g1_29dof", "kimodo_walk.csv")))
    packed = only(str(data_path("motions", "kimodo_g1_29dof", "kimodo_walk_50hz.npz")))
    assert_allclose(packed.root_position[::5], table.root_position[:149:3], atol=1e-5)  # 5/50 s = 3/30 s
    assert_allclose(packed.dof_position[::5], table.dof_position[:149:3], atol=1e-5)
    assert packed.dof_names is not None
    assert packed.dof_names == DOCUMENTED_ORDER[29]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sqat", "There is no clip 'sqat': it is neither .* turn, walk. Did you mean squat?"),
        ("nowhere.pkl", "The clip file nowhere.pkl does not exist."),
        ("some/where", "The clip file some/where does not exist."),
        ("stand=0", "The weight '0' in 'stand=0' is not a positive number. Write it like a.pkl=2."),
        ("stand=-1", "is not a positive number"),
        ("stand=nan", "is not a positive number"),
        ("stand=lots", "is not a positive number"),
        ("stand,", "The clip list 'stand,' has an empty entry."),
        ("", "has an empty entry"),
    ],
)
def test_clip_lists_that_make_no_sense(
    spec: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if not spec:
        spec = ","
    with pytest.raises(SceneError, match=message):
        read_clips(spec)


def test_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    write_csv(tmp_path / "kimodo_walk.csv")
    with pytest.raises(SceneError, match=r"does not exist. Check the path. Did you mean kimodo_walk.csv?"):
        read_clips(str(tmp_path / "kimodo_wlk.csv"))


def test_folder_without_clips_and_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"holds no motion clips; a clip ends in .pkl, .csv, .npz."):
        read_clips(str(tmp_path))
    (tmp_path / "walk.mp4").write_text("film")
    with pytest.raises(SceneError, match=r"ends in '.mp4', which no reader knows"):
        read_clips(str(tmp_path / "walk.mp4"))


def test_cut_outside_the_clip(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "walk.csv")
    for cut in ("0-3", "2-9", "3-2", "2-2"):
        with pytest.raises(SceneError, match="it has frames 1 to 4, and a clip needs two frames or more"):
            read_clips(f"{path}:{cut}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 0 frames of 0 columns"),
        ("x,y,z\n", "does not name a whole rotation of the root"),
        ("1,2,3\n", "has 1 frames of 3 columns; a clip needs 7 for the root and one per joint"),
        ("1,2,3,1,0,0,0,5\n1,2,3,1,0\n", "Line 2 of .* has 5 columns and the lines before 8. Is it truncated?"),
        ("1,2,3,1,0,0,0,5\n1,2,3,1,0,oops,0,5\n", "Line 2, column 6 of .* is 'oops', which is not a number"),
    ],
)
def test_bad_csv(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(SceneError, match=message):
        read_clips(str(tmp_path / "bad.csv"))


def test_binary_csv(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(SceneError, match="is not a text file"):
        read_clips(str(tmp_path / "bad.csv"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds list, not a dictionary of clips"),
        ({}, "holds nothing, not a dictionary of clips"),
        ({"clip": 3}, "holds int, not a dictionary of arrays"),
        ({"clip": {}}, "has nothing: under these names no program keeps a clip"),
        ({"clip": pickled(dof=None)}, "lacks 'dof'; it has root_trans_offset, root_rot, fps"),
        (
            {"clip": pickled(root_rot=np.zeros((FRAMES, 3)))},
            r"'root_rot' in .* has shape \(4, 3\); it should be \(4, 4\)",
        ),
        (
            {"clip": pickled(dof=np.zeros((2, 23)))},
            r"'root_trans_offset' in .* has shape \(4, 3\); it should be \(2, 3\)",
        ),
        ({"clip": pickled(fps=0)}, "'fps' in .* is 0; it should be one positive number"),
        ({"clip": pickled(fps="fast")}, "'fps' in .* is 'fast'; it should be one positive number"),
        ({"clip": pickled(pose_aa=np.zeros((FRAMES, 9, 3)))}, "has 9 rows for 23 joints"),
    ],
)
def test_bad_pickle_content(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(SceneError, match=message):
        read_clips(write_pickle(tmp_path / "bad.pkl", content))


def axis_angles(dof: np.ndarray, order: tuple[str, ...]) -> np.ndarray:
    """pose_aa whose joints turn about the axis in their name."""
    pose = np.zeros((len(dof), dof.shape[1] + 4, 3))
    for joint, name in enumerate(order):
        axis = 0 if "roll" in name else 2 if "yaw" in name else 1
        pose[:, 1 + joint, axis] = dof[:, joint]
    return pose


def test_axis_angles_reveal_joints_in_another_order(tmp_path: Path) -> None:
    dof = np.full((FRAMES, 23), 0.3)
    good = pickled(dof=dof, pose_aa=axis_angles(dof, DOCUMENTED_ORDER[23]))
    assert only(write_pickle(tmp_path / "good.pkl", {"clip": good})).num_frames == FRAMES
    bad = pickled(dof=dof, pose_aa=axis_angles(dof, BREADTH_FIRST_ORDER[23]))
    path = write_pickle(tmp_path / "bad.pkl", {"clip": bad})
    turned = "joint 1 should be left_hip_roll_joint, which turns about x, but the file turns it about y"
    with pytest.raises(SceneError, match=f"{turned}.* Name the clip as {path}:lock-wrist-breadth-first"):
        read_clips(path)
    assert only(f"{path}:lock-wrist-breadth-first").joint_order == "lock-wrist-breadth-first"


def test_axis_angles_that_disagree_with_joints(tmp_path: Path) -> None:
    dof = np.zeros((FRAMES, 23))
    pose = axis_angles(dof, DOCUMENTED_ORDER[23])
    dof[2, 5] = 0.5
    with pytest.raises(SceneError, match=r"frame 2: joint 5 is 0.500 rad in 'dof' and 0.000 rad in 'pose_aa'"):
        read_clips(write_pickle(tmp_path / "bad.pkl", {"clip": pickled(dof=dof, pose_aa=pose)}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joint_pos": None}, "lacks 'joint_pos'"),
        ({"fps": np.array([50.0, 60.0])}, "should be one positive number"),
        ({"body_pos_w": np.zeros((FRAMES, 0, 3)), "body_quat_w": np.zeros((FRAMES, 0, 4))}, "has no bodies"),
        ({"joint_names": np.array(["a"])}, "'joint_names' in .* has 1 names for 2 columns"),
        ({"joint_pos": np.array(["x"])}, "'joint_pos' in .* is not an array of numbers"),
    ],
)
def test_bad_npz_content(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SceneError, match=message):
        read_clips(write_npz(tmp_path / "bad.npz", **changes))


@pytest.mark.parametrize("name", ["fps", "joint_names", "joint_pos"])
def test_npz_with_objects_names_the_array_that_holds_them(tmp_path: Path, name: str) -> None:
    path = write_npz(tmp_path / "bad.npz", **{name: np.array([50.0, "x"], dtype=object)})
    with pytest.raises(SceneError, match=f"'{name}' in .*bad.npz is an array of Python objects.*{name}=np.array"):
        read_clips(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_npz(tmp_path: Path, share: float) -> None:
    path = Path(write_npz(tmp_path / "bad.npz"))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(SceneError, match="is truncated or not an npz of plain arrays"):
        read_clips(str(path))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_npz_is_read_or_refused_but_never_fails_otherwise(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = Path(write_npz(Path(folder) / "bad.npz"))
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 6))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        with suppress(SceneError):
            read_clips(str(path))


def test_reading_twice_gives_equal_clips(tmp_path: Path) -> None:
    path = str(write_csv(tmp_path / "walk.csv"))
    assert_array_equal(only(path).dof_position, only(path).dof_position)
