"""Whatever program wrote a clip, the same motion is read from it."""

import bz2
import gzip
import json
import lzma
import os
import pickle
import re
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from components.motion import Clip
from engine.errors import SceneError
from systems.motion.files import read_clips
from tests.systems.motion import foreign
from tests.systems.motion.foreign import JOINTS, LAYOUTS, Motion, motion, write

MOTION = motion()
PEOPLE = ("walk.bvh", "walk.FBX", "walk.c3d", "walk.trc")


def only(spec: str) -> Clip:
    """The one clip of a list."""
    (clip,) = read_clips(spec)
    assert isinstance(clip, Clip)
    return clip


def check(clip: Clip, like: Motion = MOTION, tolerance: float = 1e-9) -> None:
    """A clip holds the arrays of a motion."""
    assert_allclose(clip.root_position, like.position, atol=tolerance)
    assert_allclose(clip.root_rotation, like.rotation, atol=tolerance)
    assert_allclose(clip.dof_position, like.angles, atol=tolerance)
    assert clip.fps == pytest.approx(like.fps)


def cure(error: SceneError) -> list[str]:
    """What an error says that the clip should be called."""
    return [found.rstrip(",.") for found in re.findall(r"as (\S*:\w+)", str(error))]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("ending", [".pkl", ".npz", ".pt"])
def test_every_layout_gives_the_same_motion_from_every_container(tmp_path: Path, layout: str, ending: str) -> None:
    content = LAYOUTS[layout](MOTION)
    if ending != ".pt":
        content = {
            k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in content.items() if k != "state_conversion"
        }
    elif layout != "protomotions":
        content = {
            k: torch.as_tensor(v) if isinstance(v, np.ndarray) and v.dtype.kind == "f" else v
            for k, v in content.items()
        }
    clip = only(write(tmp_path / f"walk{ending}", content))
    check(clip)
    named = layout in ("holosoma", "isaac_lab", "ergocub", "loco_mujoco")
    assert clip.dof_names == (JOINTS if named else None)
    assert clip.origin("joints") == ("file" if named else "assumed")
    assert [clip.origin(fact) for fact in ("rotation", "rate", "angles", "lengths")] == ["file"] * 4


def test_motion_file_of_protomotions_is_read_and_its_class_is_not_needed(tmp_path: Path) -> None:
    path = write(tmp_path / "walk.motion", LAYOUTS["protomotions"](MOTION))
    check(only(path))


def test_torch_file_that_names_a_function_is_refused_and_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "victim"),)

    torch.save({"dof_pos": Evil()}, tmp_path / "walk.motion")
    with pytest.raises(SceneError, match=r"asks for the class 'posix.mkdir'.*can run any code"):
        read_clips(str(tmp_path / "walk.motion"))
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.int64])
def test_tensors_of_any_type_and_stride_are_read(tmp_path: Path, kind: torch.dtype) -> None:
    whole = torch.arange(200).reshape(20, 10).to(kind)
    content = {
        "root_pos": whole.T[:3].T,
        "root_quat": torch.eye(4).tile(5, 1).to(kind),
        "dof_pos": whole[:, 3::2],
        "fps": torch.tensor(25),
    }
    clip = only(write(tmp_path / "walk.pt", content))
    assert_allclose(clip.root_position, whole[:, :3].double().numpy())
    assert_allclose(clip.dof_position, whole[:, 3::2].double().numpy())
    assert clip.fps == 25.0
    assert clip.origin("rotation") == "assumed"


def test_truncated_and_legacy_torch_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "walk.pt"
    write(path, LAYOUTS["protomotions"](MOTION))
    whole = path.read_bytes()
    for size in (10, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(SceneError, match="Fetch or convert it again"):
            read_clips(str(path))
    torch.save({"dof_pos": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(SceneError, match=r"is a torch file of the old kind, which is not read\. Save it again"):
        read_clips(str(path))


def test_packed_library_of_protomotions_holds_many_clips(tmp_path: Path) -> None:
    first, second = (LAYOUTS["protomotions"](motion(seed, frames)) for seed, frames in ((1, 5), (2, 7)))
    names = {"gts": "rigid_body_pos", "grs": "rigid_body_rot", "dps": "dof_pos"}
    content = {new: torch.cat((first[old], second[old])) for new, old in names.items()}
    content |= {"length_starts": torch.tensor([0, 5]), "motion_num_frames": torch.tensor([5, 7])}
    content |= {
        "motion_dt": torch.tensor([0.02, 0.02], dtype=torch.float64),
        "motion_files": ("a/walk.motion", "b/kick.motion"),
    }
    path = write(tmp_path / "all.pt", content)
    walk, kick = read_clips(path)
    assert (walk.name, kick.name) == ("walk", "kick")
    check(only(f"{path}#kick"), motion(2, 7))


def test_trajectories_of_loco_mujoco_are_parted(tmp_path: Path) -> None:
    content = {**LAYOUTS["loco_mujoco"](MOTION), "split_points": np.array([0, 4, 12])}
    clips = read_clips(write(tmp_path / "walk.npz", content))
    assert [(clip.name, clip.num_frames) for clip in clips if isinstance(clip, Clip)] == [("walk_1", 4), ("walk_2", 8)]


def test_manifest_above_a_clip_gives_rate_and_names(tmp_path: Path) -> None:
    (tmp_path / "motions").mkdir()
    names = ["root_tx", "root_ty", "root_tz", "root_qw", "root_qx", "root_qy", "root_qz", *JOINTS]
    (tmp_path / "manifest.json").write_text(json.dumps({"timestep": 0.02, "qpos_names": names}))
    clip = only(write(tmp_path / "motions" / "walk.npz", {"qpos": MOTION.qpos}))
    check(clip)
    assert clip.dof_names == JOINTS


def test_rotation_vector_of_mimickit(tmp_path: Path) -> None:
    turn = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, np.pi / 2]])
    frames = np.concatenate((MOTION.position[:2], turn, MOTION.angles[:2]), 1)
    path = write(tmp_path / "walk.pkl", {"loop_mode": 1, "fps": 60, "frames": frames.tolist()})
    clip = only(path)
    assert_allclose(clip.root_rotation, [[1, 0, 0, 0], [np.sqrt(0.5), 0, 0, np.sqrt(0.5)]], atol=1e-12)
    with pytest.raises(SceneError, match=r"says xyzw, which has no effect: .* holds rotation vectors"):
        read_clips(f"{path}:xyzw")


def test_folder_of_tables_is_one_clip(tmp_path: Path) -> None:
    place = tmp_path / "set" / "walk"
    place.mkdir(parents=True)
    position, rotation = MOTION.bodies
    tables = {"joint_pos": MOTION.angles, "body_pos": position.reshape(12, -1), "body_quat": rotation.reshape(12, -1)}
    tables["joint_vel"] = MOTION.angles
    for name, table in tables.items():
        header = ",".join(f"{name}_{i}" for i in range(table.shape[1]))
        np.savetxt(place / f"{name}.csv", table, delimiter=",", header=header, comments="", fmt="%.12f")
    for spec in (tmp_path / "set", place):
        clip = only(f"{spec}:50fps")
        check(clip)
        assert clip.name == "walk"


@pytest.mark.parametrize("name", ["fps", "mocap_framerate", "mocap_frame_rate", "framerate", "frame_rate", "frequency"])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_rate_by_any_of_its_names(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    content = {"qpos": MOTION.qpos, name: np.full(shape, 29.97)}
    assert only(write(tmp_path / "walk.npz", content)).fps == 29.97


def test_rate_by_a_step_or_by_times(tmp_path: Path) -> None:
    assert only(write(tmp_path / "a.npz", {"qpos": MOTION.qpos, "dt": 0.02})).fps == pytest.approx(50.0)
    assert only(write(tmp_path / "b.npz", {"qpos": MOTION.qpos, "time": np.arange(12) / 120.0})).fps == 120.0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_missing_rate_is_asked_for_and_the_cure_works(tmp_path: Path, layout: str) -> None:
    content = {
        key: value
        for key, value in LAYOUTS[layout](MOTION).items()
        if key not in ("fps", "motion_fps", "frequency", "dt")
    }
    path = write(tmp_path / "walk.pt", content)
    with pytest.raises(SceneError, match="lacks 'fps', the frame rate") as found:
        read_clips(path)
    (name,) = cure(found.value)
    clip = only(name)
    assert (clip.fps, clip.origin("rate")) == (30.0, "option")


def test_rate_by_hand_wins_over_one_that_makes_no_sense(tmp_path: Path) -> None:
    path = write(tmp_path / "walk.pkl", {**LAYOUTS["gmr"](MOTION), "fps": "fast"})
    with pytest.raises(SceneError, match=r"'fps' in .* is 'fast'"):
        read_clips(path)
    check(only(f"{path}:50fps"))


@pytest.mark.parametrize("rate", ["50", np.full(12, 50.0), [50, 50, 50], np.array("50.0")])
def test_rate_may_be_text_or_the_same_for_every_frame(tmp_path: Path, rate: Any) -> None:
    check(only(write(tmp_path / "walk.pkl", {**LAYOUTS["gmr"](MOTION), "fps": rate})))


def test_rates_that_differ_are_refused_and_shown_short(tmp_path: Path) -> None:
    path = write(tmp_path / "walk.pkl", {**LAYOUTS["gmr"](MOTION), "fps": np.arange(1.0, 200.0)})
    with pytest.raises(SceneError, match=r"'fps' in .* is array.*…; it should be one positive number") as found:
        read_clips(path)
    assert len(str(found.value).replace(str(path), "")) < 180


def test_rate_may_stand_in_a_text_of_json(tmp_path: Path) -> None:
    content = {k: v for k, v in LAYOUTS["holomotion"](MOTION).items() if k != "motion_fps"}
    check(only(write(tmp_path / "walk.npz", {**content, "metadata": json.dumps({"motion_fps": 50.0})})))


def test_plain_qpos_array_needs_a_rate(tmp_path: Path) -> None:
    np.save(tmp_path / "walk.npy", MOTION.qpos)
    with pytest.raises(SceneError) as found:
        read_clips(str(tmp_path / "walk.npy"))
    assert cure(found.value) == [f"{tmp_path}/walk.npy:30fps"]
    clip = only(f"{tmp_path}/walk.npy:50fps")
    check(clip)
    assert clip.origin("rotation") == "assumed"


def test_saved_dictionary_is_refused_with_a_cure_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("walk.npy", LAYOUTS["ergocub"](MOTION), allow_pickle=True)  # type: ignore[arg-type]
    with pytest.raises(SceneError, match=r"a Python object, such as a dictionary.*np.savez") as found:
        read_clips("walk.npy")
    code = str(found.value).split("plain arrays: ")[1].rstrip(".")
    exec(code, {"np": np})  # what the error says
    check(only("walk.npz"))


def test_quaternion_before_position_and_a_carried_object_are_found(tmp_path: Path) -> None:
    box = np.concatenate((MOTION.rotation, MOTION.position), 1)
    drake = np.concatenate((MOTION.rotation, MOTION.position, MOTION.angles, box), 1)
    clip = only(
        write(
            tmp_path / "a.npz",
            {"qpos": np.concatenate((MOTION.rotation, MOTION.position, MOTION.angles), 1), "fps": 50},
        )
    )
    check(clip)
    assert "the quaternion stands before the position" in clip.notes[0]
    clip = only(write(tmp_path / "b.npz", {"qpos": np.concatenate((MOTION.qpos, box), 1), "fps": 50}))
    check(clip)
    assert "the pose of an object" in clip.notes[0]
    clip = only(write(tmp_path / "c.npz", {"qpos": drake, "fps": 50}))
    check(clip)


def test_velocities_without_the_root_are_taken_too(tmp_path: Path) -> None:
    clip = only(write(tmp_path / "walk.npz", {**LAYOUTS["holosoma"](MOTION)}))
    assert clip.dof_velocity is not None
    assert_allclose(clip.dof_velocity, MOTION.angles)


def test_names_as_bytes_are_decoded(tmp_path: Path) -> None:
    content = {**LAYOUTS["holosoma"](MOTION), "joint_names": np.array([name.encode() for name in JOINTS])}
    assert only(write(tmp_path / "walk.npz", content)).dof_names == JOINTS


@pytest.mark.parametrize("ending", [".npz", ".pkl"])
def test_array_of_objects_is_named_and_the_cure_works(tmp_path: Path, ending: str) -> None:
    content = {**LAYOUTS["holosoma"](MOTION), "joint_names": np.array(JOINTS, dtype=object)}
    with pytest.raises(SceneError, match=r"'joint_names' in .* is an array of Python objects") as found:
        read_clips(write(tmp_path / f"walk{ending}", content))
    code = re.findall(r"joint_names=(np.array\(.*?dtype=str\))", str(found.value))[0]
    content["joint_names"] = eval(code, {"np": np, "joint_names": content["joint_names"]})  # what the error says
    assert only(write(tmp_path / f"walk{ending}", content)).dof_names == JOINTS


def test_array_of_objects_that_is_not_needed_does_not_matter(tmp_path: Path) -> None:
    check(only(write(tmp_path / "walk.npz", {**LAYOUTS["qpos"](MOTION), "metadata": np.array(None)})))


@pytest.mark.parametrize("prefix", ["robot/", "g1::", "g1.robot.", ""])
def test_prefix_that_all_names_share_is_dropped(tmp_path: Path, prefix: str) -> None:
    content = {**LAYOUTS["holosoma"](MOTION), "joint_names": np.array([prefix + name for name in JOINTS])}
    content["body_names"] = np.array([f"{prefix}pelvis", f"{prefix}torso_link"])
    clip = only(write(tmp_path / "walk.npz", content))
    assert (clip.dof_names, clip.body_names) == (JOINTS, ("pelvis", "torso_link"))


def test_pose_or_state_of_the_root_in_one_array_is_parted(tmp_path: Path) -> None:
    turned = {"wxyz": MOTION.rotation, "xyzw": MOTION.xyzw}
    for name, order, more in (("root_pose", "wxyz", 0), ("root_states", "xyzw", 6), ("base_pose_w", "wxyz", 0)):
        pose = np.concatenate((MOTION.position, turned[order], np.zeros((len(MOTION.angles), more))), 1)
        content = {name: pose, "joint_pos": MOTION.angles, "fps": 50}
        check(only(f"{write(tmp_path / 'walk.npz', content)}:{order}"))


def test_angles_called_joints_are_no_names_of_joints(tmp_path: Path) -> None:
    content = {"position": MOTION.position, "quaternion": MOTION.rotation, "joints": MOTION.angles, "fps": 50}
    check(only(write(tmp_path / "walk.npz", content)))


def test_dictionary_for_each_frame_is_one_clip(tmp_path: Path) -> None:
    frames = zip(MOTION.position, MOTION.xyzw, MOTION.angles.tolist(), strict=True)
    content = [
        {"root_pos": place, "root_rot": turn, "dof_pos": angles, "time": i / 50.0}
        for i, (place, turn, angles) in enumerate(frames)
    ]
    check(only(write(tmp_path / "walk.pkl", content)))
    clips = read_clips(write(tmp_path / "two.pkl", [LAYOUTS["gmr"](MOTION)] * 2))
    assert [clip.name for clip in clips] == ["0", "1"]


@pytest.mark.parametrize("name", ["walk.npz", "walk.csv"])
def test_archive_of_other_files_is_to_be_unpacked(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.writestr("a/walk.csv", "1,2,3")
    with pytest.raises(SceneError, match=rf"{name} is an archive of files \(a/walk.csv\). Unpack it first"):
        read_clips(str(tmp_path / name))


def test_clips_one_dictionary_deeper_are_found(tmp_path: Path) -> None:
    many = {"walk": LAYOUTS["gmr"](MOTION), "kick": LAYOUTS["asap"](MOTION)}
    assert [clip.name for clip in read_clips(write(tmp_path / "all.pkl", {"motions": many}))] == ["walk", "kick"]


@pytest.mark.parametrize("pack", [lzma.compress, bz2.compress, gzip.compress, zlib.compress])
def test_packed_pickle_is_unpacked(tmp_path: Path, pack: Any) -> None:
    path = tmp_path / "walk.pkl"
    path.write_bytes(pack(pickle.dumps(LAYOUTS["gmr"](MOTION))))
    check(only(str(path)))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(SceneError, match="Fetch or convert it again"):
        read_clips(str(path))


def test_plain_array_in_a_pickle_is_read_like_one_in_an_npy(tmp_path: Path) -> None:
    (tmp_path / "walk.pkl").write_bytes(pickle.dumps(MOTION.qpos))
    check(only(f"{tmp_path}/walk.pkl:50fps"))


def test_rate_beside_clips_holds_for_each_of_them(tmp_path: Path) -> None:
    clips = {name: {k: v for k, v in LAYOUTS["gmr"](MOTION).items() if k != "fps"} for name in ("walk", "kick")}
    for number in (1, 2):
        some = dict(list(clips.items())[:number])
        found = read_clips(write(tmp_path / "all.pkl", {"fps": 50.0, "version": "2", **some}))
        assert len(found) == number
        for clip in found:
            check(clip)


def test_arrays_with_a_column_for_each_frame_are_turned_and_said(tmp_path: Path) -> None:
    content = {key: value.T if np.ndim(value) == 2 else value for key, value in LAYOUTS["gmr"](MOTION).items()}
    clip = only(write(tmp_path / "walk.npz", content))
    check(clip)
    assert clip.notes == (f"{tmp_path}/walk.npz: each column is a frame, not each row.",)


@pytest.mark.parametrize(
    ("shape", "words"),
    [((3,), "3 numbers, as of rotation vectors or Euler angles"), ((6,), "6 numbers"), ((9,), "9"), ((3, 3), "3 by 3")],
)
def test_rotations_that_are_no_quaternions_are_named_with_how_to_make_some(
    tmp_path: Path, shape: tuple[int, ...], words: str
) -> None:
    content = {**LAYOUTS["gmr"](MOTION), "root_rot": np.zeros((12, *shape))}
    with pytest.raises(
        SceneError, match=rf"'root_rot' in .* has rotations of {words}.*as_quat\(\), which are x, y, z, w"
    ):
        read_clips(write(tmp_path / "walk.npz", content))


def test_tensors_in_a_pickle_are_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "walk.pkl").write_bytes(pickle.dumps({"dof_pos": torch.zeros(3)}))
    with pytest.raises(SceneError, match=r"holds torch tensors in a pickle.*value.numpy\(\)"):
        read_clips(str(tmp_path / "walk.pkl"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("walk.csv.gz", "is a packed file. Unpack it first"),
        ("walk.h5", "is not read. Save its arrays with np.savez"),
        ("walk.json", "motions of DeepMimic and AMP. Save its frames as a table with a header"),
        ("clips.yaml", "is a list of clips or settings. Name the clips themselves"),
    ],
)
def test_other_files_are_called_what_they_are(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(SceneError, match=message):
        read_clips(str(tmp_path / name))


def test_array_that_is_no_table_of_frames_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "points.npy", np.zeros((9, 22, 3)))
    np.save(tmp_path / "features.npy", np.zeros((9, 263)))
    np.save(tmp_path / "line.npy", np.zeros(36))
    for name in ("points", "features"):
        with pytest.raises(SceneError, match="the motion of a person"):
            read_clips(f"{tmp_path}/{name}.npy")
    with pytest.raises(SceneError, match=r"of shape \(36,\); a clip in a plain array has a row per frame"):
        read_clips(f"{tmp_path}/line.npy")


def test_array_in_a_batch_of_one_is_taken_out(tmp_path: Path) -> None:
    np.save(tmp_path / "walk.npy", MOTION.qpos[None])
    check(only(f"{tmp_path}/walk.npy:50fps"))


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    content = {**LAYOUTS["gmr"](MOTION), "dof_pos": MOTION.angles + 1j}
    with pytest.raises(SceneError, match=r"'dof_pos' in .* is not an array of numbers"):
        read_clips(write(tmp_path / "walk.pkl", content))


def test_root_is_found_by_its_name_among_bodies(tmp_path: Path) -> None:
    content = LAYOUTS["mjlab"](MOTION)
    content = {**content, **{key: content[key][:, ::-1] for key in ("body_pos_w", "body_quat_w")}}
    check(only(write(tmp_path / "walk.npz", {**content, "body_names": np.array(["torso_link", "pelvis"])})))


def test_shape_that_is_wrong_is_told_by_what_its_axes_are(tmp_path: Path) -> None:
    content = {**LAYOUTS["gmr"](MOTION), "dof_pos": MOTION.angles.ravel()}
    with pytest.raises(SceneError, match=r"'dof_pos' in .* has shape \(348,\); it should be \(frames, joints\)"):
        read_clips(write(tmp_path / "walk.pkl", content))


def test_surplus_sizes_of_one_are_dropped(tmp_path: Path) -> None:
    content = {**LAYOUTS["gmr"](MOTION), "dof_pos": MOTION.angles[..., None], "root_pos": MOTION.position[None]}
    check(only(write(tmp_path / "walk.pkl", content)))
    check(only(write(tmp_path / "walk.pkl", {**content, "dof_pos": MOTION.angles[:, None]})))


@pytest.mark.parametrize("name", PEOPLE)
def test_file_of_a_persons_motion_is_called_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("HIERARCHY")
    with pytest.raises(SceneError, match=r"the motion of a person, not of a robot.*lockstep clips retarget"):
        read_clips(str(tmp_path / name))
    with pytest.raises(SceneError, match="the motion of a person"):
        read_clips(str(tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        {"poses": np.zeros((9, 165)), "trans": np.zeros((9, 3)), "betas": np.zeros(16), "mocap_frame_rate": 120.0},
        {"pose_body": np.zeros((9, 63)), "root_orient": np.zeros((9, 3)), "trans": np.zeros((9, 3))},
        {
            "pose_aa": np.zeros((9, 24, 3)),
            "trans": np.zeros((9, 3)),
            "beta": np.zeros(16),
            "gender": "neutral",
            "fps": 30,
        },
        {"posed_joints": np.zeros((9, 22, 3)), "global_rot_mats": np.zeros((9, 22, 3, 3))},
        {"smpl_params_global": {"body_pose": np.zeros((9, 63))}, "K_fullimg": np.zeros((3, 3))},
    ],
)
def test_smpl_data_is_a_persons_motion(tmp_path: Path, content: dict[str, Any]) -> None:
    with pytest.raises(SceneError, match=r"SMPL or AMASS data .*: the motion of a person"):
        read_clips(write(tmp_path / "walk.pkl", content))


def test_unknown_names_are_listed_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        SceneError, match=r"has a, b: under these names no program keeps a clip\. Known are root_trans_"
    ):
        read_clips(write(tmp_path / "walk.npz", {"a": np.zeros(3), "b": np.zeros(3)}))


def test_order_by_hand_wins_over_the_layout(tmp_path: Path) -> None:
    path = write(
        tmp_path / "walk.npz",
        {**LAYOUTS["qpos"](MOTION), "qpos": np.concatenate((MOTION.position, MOTION.xyzw, MOTION.angles), 1)},
    )
    clip = only(f"{path}:xyzw")
    check(clip)
    assert (clip.origin("rotation"), clip.file_rotation) == ("option", "")


def test_units_by_hand_scale_angles_and_lengths(tmp_path: Path) -> None:
    content = LAYOUTS["mjlab"](MOTION)
    content |= {
        "joint_pos": np.rad2deg(MOTION.angles),
        "joint_vel": np.rad2deg(MOTION.angles),
        "body_pos_w": MOTION.bodies[0] * 1000.0,
    }
    clip = only(write(tmp_path / "walk.npz", content) + ":mm:deg")
    check(clip)
    assert clip.body_position is not None
    assert clip.dof_velocity is not None
    assert_allclose(clip.body_position, MOTION.bodies[0])
    assert_allclose(clip.dof_velocity, MOTION.angles)
    assert (clip.origin("angles"), clip.origin("lengths")) == ("option", "option")


def test_axis_of_either_sign_and_of_any_direction_agrees_with_the_angles(tmp_path: Path) -> None:
    axes = np.eye(3)[np.arange(29) % 3]
    axes[3], axes[7] = -axes[3], (0.6, 0.0, 0.8)
    content = {**foreign.asap(MOTION), "pose_aa": foreign.rotation_vectors(MOTION, axes)}
    clip = only(write(tmp_path / "walk.pkl", content))
    check(clip)
    assert "1 of 29 joints (the first is 3) turn the other way round" in clip.notes[0]
    check(only(f"{tmp_path}/walk.pkl:dof"))
    check(only(f"{tmp_path}/walk.pkl:pose_aa"))


def test_angles_and_rotation_vectors_that_differ_are_refused_and_both_cures_work(tmp_path: Path) -> None:
    pose = foreign.rotation_vectors(MOTION)
    pose[:, 6] = 0.0
    path = write(tmp_path / "punch.pkl", {**foreign.asap(MOTION), "pose_aa": pose})
    frame = int(np.abs(MOTION.angles[:, 5]).argmax())
    value = MOTION.angles[frame, 5]
    with pytest.raises(
        SceneError, match=rf"frame {frame}: joint 5 is {value:.3f} rad in 'dof' and 0.000 rad in"
    ) as found:
        read_clips(path)
    by_angles, by_vectors = cure(found.value)
    check(only(by_angles))
    clip = only(by_vectors)
    assert_allclose(clip.dof_position[:, 5], 0.0)
    assert_allclose(np.delete(clip.dof_position, 5, 1), np.delete(MOTION.angles, 5, 1), atol=1e-9)


def test_angles_of_more_than_half_a_turn_agree_with_their_rotation_vectors(tmp_path: Path) -> None:
    pose = foreign.rotation_vectors(MOTION)
    wound = Motion(MOTION.position, MOTION.rotation, MOTION.angles.copy())
    wound.angles[:, 2] += 2.0 * np.pi
    check(only(write(tmp_path / "walk.pkl", {**foreign.asap(wound), "pose_aa": pose})), wound)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS.*git lfs pull"),
        (b"<!DOCTYPE html><html>", "is a web page, not a motion clip"),
    ],
)
@pytest.mark.parametrize("name", ["walk.npz", "walk.csv", "walk.pkl"])
def test_what_was_never_fetched_is_said(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SceneError, match=message):
        read_clips(str(tmp_path / name))


def test_contents_count_and_not_the_ending(tmp_path: Path) -> None:
    np.savez(tmp_path / "walk.npz", **LAYOUTS["qpos"](MOTION))
    for name in ("walk.pkl", "walk.csv", "walk.pt"):
        shutil.copy(tmp_path / "walk.npz", tmp_path / name)
        check(only(str(tmp_path / name)))
    np.savetxt(tmp_path / "table.npz", MOTION.qpos, delimiter=",", fmt="%.12f")
    check(only(f"{tmp_path}/table.npz:50fps"))


@pytest.mark.parametrize(
    ("name", "shape"), [("dof_vel", (-1, len(JOINTS))), ("action", (-1, 3)), ("contact_mask", (0,))]
)
def test_what_stands_beside_a_motion_in_another_shape_is_left_out_and_said(
    tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    frames = len(MOTION.position)
    beside = np.zeros((frames + shape[0], *shape[1:]))
    path = tmp_path / "walk.npz"
    np.savez(path, **{k: v for k, v in LAYOUTS["gmr"](MOTION).items() if k != "dof_vel"}, **{name: beside})
    clip = only(str(path))
    check(clip)
    assert (clip.dof_velocity, clip.action, clip.contact_mask) == (None, None, None)
    assert f"'{name}' in {path} has shape {beside.shape}; it should be ({frames}, " in clip.notes[-1]
    assert clip.notes[-1].endswith(" It is left out.")


def test_dictionary_in_an_npz_is_named_with_how_to_save_it(tmp_path: Path) -> None:
    path = tmp_path / "walk.npz"
    np.savez(path, motion=np.array({"root_pos": MOTION.position}, dtype=object))
    with pytest.raises(SceneError, match=r"'motion' in .* is an array of Python objects.*\*\*motion.item\(\)"):
        only(str(path))


def test_rate_of_nothing_is_refused_and_the_cure_works(tmp_path: Path) -> None:
    path = tmp_path / "walk.npz"
    np.savez(path, **{**LAYOUTS["gmr"](MOTION), "fps": 0})
    with pytest.raises(SceneError, match=r"'fps' in .* is .*0.*; it should be one positive number") as error:
        only(str(path))
    (named,) = cure(error.value)
    assert only(named).fps == 30.0
