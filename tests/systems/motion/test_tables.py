"""Tables of text in every dialect give the same motion, and a bad cell is named."""

import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from components.motion import Clip
from engine.errors import SceneError
from systems.motion.files import read_clips
from systems.motion.headers import understand
from tests.systems.motion.foreign import JOINTS, Motion, motion
from tests.systems.motion.test_layouts import check, cure, only

MOTION = motion()
WXYZ = ("root_x", "root_y", "root_z", "root_qw", "root_qx", "root_qy", "root_qz")


def table(
    columns: np.ndarray,
    header: Sequence[str] = (),
    *,
    mark: str = ",",
    comma: bool = False,
    end: str = "\n",
    comment: str = "",
) -> str:
    """Lines of numbers with 12 digits."""
    lines = [mark.join(f"{value:.12f}" for value in row) for row in columns.tolist()]
    lines = [line.replace(".", ",") for line in lines] if comma else lines
    return end.join([*([comment + mark.join(header)] if header else []), *lines]) + end


def read(folder: Path, text: str | bytes, options: str = "") -> Clip:
    """The clip in a table with this text."""
    path = folder / "walk.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return only(f"{path}{options}")


@settings(max_examples=120, deadline=None)
@given(
    mark=st.sampled_from([",", ";", "\t", " ", "  ", "|", ", "]),
    comma=st.booleans(),
    end=st.sampled_from(["\n", "\r\n", "\n\n", " \n"]),
    start=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    comment=st.sampled_from(["", "# made by hand\n", "# 1, 2, 3\n\n", "% a\n# b\n"]),
    names=st.sampled_from(["", "wxyz", "xyzw", "# wxyz"]),
    first=st.sampled_from(["", "Frame", "index", "time"]),
    trailing=st.booleans(),
)
def test_every_dialect_of_a_table_is_the_same_motion(
    mark: str, comma: bool, end: str, start: bytes, comment: str, names: str, first: str, trailing: bool
) -> None:
    comma = comma and "," not in mark
    xyzw = names == "xyzw"
    values = np.concatenate((MOTION.position, MOTION.xyzw if xyzw else MOTION.rotation, MOTION.angles), 1)
    header = [*WXYZ[:3], *(WXYZ[4:] if xyzw else ()), "root_qw", *(() if xyzw else WXYZ[4:]), *JOINTS]
    if first:
        count = np.arange(len(values)) / (50.0 if first == "time" else 1.0)
        values, header = np.concatenate((count[:, None], values), 1), [first, *header]
    sign = "# " if names.startswith("#") else ""
    text = table(values, header if names else (), mark=mark, comma=comma, end=end, comment=sign)
    if trailing and mark.strip():
        text = re.sub(r"(?<=\d)(\s*\r?\n)", rf"{mark}\1", text)
    with TemporaryDirectory() as folder:
        clip = read(Path(folder), start + (comment + text).encode())
    check(clip, MOTION if first == "time" else motion_at(30.0))
    assert clip.dof_names == (JOINTS if names else None)
    assert clip.origin("rotation") == ("file" if names else "assumed")
    assert clip.origin("rate") == ("file" if first == "time" else "assumed")


def motion_at(fps: float) -> Motion:
    """The motion at another rate."""
    return attrs.evolve(MOTION, fps=fps)


def test_angles_of_the_trunk_beside_a_quaternion_are_joints() -> None:
    names = [*WXYZ, "torso_yaw", "torso_pitch (rad)", "yaw", "root_yaw", "left_knee"]
    layout = understand(names, "walk.csv")
    assert [column.part for column in layout.joints] == ["torso_yaw", "torso_pitch", "yaw", "left_knee"]
    assert not layout.euler


def test_angles_without_a_quaternion_are_those_of_the_root() -> None:
    layout = understand([*WXYZ[:3], "torso_roll", "torso_pitch", "torso_yaw", "left_knee"], "walk.csv")
    assert sorted(layout.euler) == ["x", "y", "z"]
    assert [column.part for column in layout.joints] == ["left_knee"]


ROOTS = [
    "x,y,z,qw,qx,qy,qz", "x,y,z,w,x,y,z", "X,Y,Z,QW,QX,QY,QZ", "pos_x,pos_y,pos_z,quat_w,quat_x,quat_y,quat_z",
    "root_pos_x,root_pos_y,root_pos_z,root_rot_w,root_rot_x,root_rot_y,root_rot_z",
    "base_x,base_y,base_z,base_quat_w,base_quat_x,base_quat_y,base_quat_z",
    "rootPosX,rootPosY,rootPosZ,rootQuatW,rootQuatX,rootQuatY,rootQuatZ",
    "root_tx,root_ty,root_tz,root_qw,root_qx,root_qy,root_qz", "px,py,pz,q_w,q_x,q_y,q_z",
    "pelvis_x,pelvis_y,pelvis_z,pelvis_qw,pelvis_qx,pelvis_qy,pelvis_qz",
    "pose.position.x,pose.position.y,pose.position.z,pose.orientation.w,pose.orientation.x,pose.orientation.y,pose.orientation.z",
    "field.pose.position.x,field.pose.position.y,field.pose.position.z,field.pose.orientation.w,field.pose.orientation.x,"
    "field.pose.orientation.y,field.pose.orientation.z",
    "root_pos[0],root_pos[1],root_pos[2],qw,qx,qy,qz", "x [m],y [m],z [m],qw,qx,qy,qz", "root_x_m,root_y_m,root_z_m,qw,qx,qy,qz",
    "floating_base_x,floating_base_y,floating_base_z,floating_base_qw,floating_base_qx,floating_base_qy,floating_base_qz",
    "body_pos_w_x,body_pos_w_y,body_pos_w_z,body_quat_w_w,body_quat_w_x,body_quat_w_y,body_quat_w_z",
]  # fmt: skip
BARE = "x,y,z,w,x,y,z"  # backwards nobody would take it for a quaternion


@pytest.mark.parametrize(
    ("root", "order"),
    [pair for pair in product(ROOTS, [(0, 1, 2, 3), (1, 2, 3, 0), (3, 2, 1, 0)]) if pair != (BARE, (3, 2, 1, 0))],
)
def test_parts_of_the_quaternion_are_found_by_any_name_in_any_order(
    tmp_path: Path, root: str, order: tuple[int, ...]
) -> None:
    names = root.split(",")
    values = np.concatenate((MOTION.position, MOTION.rotation[:, order], MOTION.angles), 1)
    header = [*names[:3], *(names[3 + part] for part in order), *JOINTS]
    clip = read(tmp_path, table(values, header))
    check(clip, motion_at(30.0))
    assert clip.dof_names == JOINTS


@pytest.mark.parametrize(
    ("pattern", "scale", "origin"),
    [
        ("{}", 1.0, "assumed"), ("{}_dof", 1.0, "assumed"), ("{}_pos", 1.0, "assumed"), ("dof_pos_{}", 1.0, "assumed"),
        ("dof_pos[{}]", 1.0, "assumed"), ("joint_pos({})", 1.0, "assumed"), ("q['{}']", 1.0, "assumed"),
        ("{} (rad)", 1.0, "file"), ("{}_rad", 1.0, "file"), ("{} [deg]", 57.29577951308232, "file"), ("{}_dof_deg", 57.29577951308232, "file"),
        ("{} (°)", 57.29577951308232, "file"), (" '{}' ", 1.0, "assumed"),
    ],
)  # fmt: skip
def test_joints_by_any_spelling_and_unit(tmp_path: Path, pattern: str, scale: float, origin: str) -> None:
    values = np.concatenate((MOTION.position, MOTION.rotation, MOTION.angles * scale), 1)
    clip = read(tmp_path, table(values, [*WXYZ, *map(pattern.format, JOINTS)]))
    check(clip, motion_at(30.0))
    assert clip.dof_names == JOINTS
    assert clip.origin("angles") == origin


def test_line_of_units_below_a_header_is_read_as_units(tmp_path: Path) -> None:
    values = np.concatenate((MOTION.position * 100.0, MOTION.rotation, np.degrees(MOTION.angles)), 1)
    header, *lines = table(values, [*WXYZ, *JOINTS]).splitlines()
    units = ["[cm]"] * 3 + ["-", "", "", ""] + ["[deg]"] * 29
    clip = read(tmp_path, "\n".join([header, ",".join(units), *lines]))
    check(clip, motion_at(30.0))
    assert (clip.origin("angles"), clip.origin("lengths")) == ("file", "file")
    for words in (["NA"] * 36, ["deg"] * 35):  # of no unit, and of another length
        with pytest.raises(SceneError, match="Line 2"):
            read(tmp_path, "\n".join([header, ",".join(words), *lines]))


def test_numbered_joints_have_no_names(tmp_path: Path) -> None:
    for names in (
        [f"joint_{i}" for i in range(29)],
        [f"dof{i}" for i in range(29)],
        [f"joint_pos[{i}]" for i in range(29)],
    ):
        clip = read(tmp_path, table(MOTION.qpos, [*WXYZ, *names]))
        assert clip.dof_names is None
        assert clip.origin("joints") == "assumed"
        check(clip, motion_at(30.0))


def test_columns_counted_by_pandas_are_no_frame(tmp_path: Path) -> None:
    numbers = np.concatenate((np.arange(12.0)[:, None], MOTION.qpos), 1)
    check(read(tmp_path, table(numbers, ["", *map(str, range(36))])), motion_at(30.0))
    for pattern in ("{}", "qpos_{}", "x{}", "col {}", "q[{}]", "Unnamed: {}"):
        for first in (0, 1):
            header = [pattern.format(i) for i in range(first, first + 36)]
            check(read(tmp_path, table(MOTION.qpos, header)), motion_at(30.0))
            check(read(tmp_path, table(numbers, ["Frame", *header])), motion_at(30.0))


def test_a_column_that_counts_is_found_where_height_and_quaternion_together_have_length_one_too(tmp_path: Path) -> None:
    frames = len(MOTION.angles)
    turn = np.tile(
        (0.6, 0.0, 0.0, 0.8), (frames, 1)
    )  # beside a height of 0.8 m the first three are of length one as well
    values = np.concatenate((MOTION.position * (1, 1, 0) + (0, 0, 0.8), turn, MOTION.angles), 1)
    for first in (np.arange(frames), np.arange(frames) / 30.0):
        clip = read(tmp_path, table(np.concatenate((first[:, None], values), 1), []))
        assert_allclose(clip.root_rotation, turn)
        assert_allclose(clip.dof_position, MOTION.angles)


def test_table_may_end_in_txt_but_text_of_json_is_none(tmp_path: Path) -> None:
    (tmp_path / "walk.txt").write_text(table(MOTION.qpos, mark=" "))
    check(only(str(tmp_path / "walk.txt")), motion_at(30.0))
    (tmp_path / "amp.txt").write_text('{"LoopMode": "Wrap", "FrameDuration": 0.03, "Frames": [[0.0]]}')
    with pytest.raises(SceneError, match="motions of DeepMimic and AMP"):
        read_clips(str(tmp_path / "amp.txt"))


@pytest.mark.parametrize("of_root", [0, 6])
def test_velocities_behind_joints_without_names_are_left_out_and_said(tmp_path: Path, of_root: int) -> None:
    speeds = np.gradient(MOTION.angles, axis=0) * 50.0
    zeros = np.zeros((len(speeds), of_root))
    clip = read(tmp_path, table(np.concatenate((MOTION.qpos, zeros, speeds), 1)))
    check(clip, motion_at(30.0))
    assert clip.notes[0].endswith(f"walk.csv: the last {of_root + 29} columns are velocities and left out.")
    others = np.random.default_rng(1).normal(size=speeds.shape)
    assert read(tmp_path, table(np.concatenate((MOTION.qpos, zeros, others), 1))).dof_position.shape[1] == 58 + of_root


def test_velocities_are_left_out_and_said(tmp_path: Path) -> None:
    values = np.concatenate((MOTION.qpos, MOTION.qpos[:, :6], MOTION.angles), 1)
    speeds = ["root_vx", "root_vy", "root_vz", "root_wx", "root_wy", "root_wz", *(f"{name}_vel" for name in JOINTS)]
    clip = read(tmp_path, table(values, [*WXYZ, *JOINTS, *speeds]))
    check(clip, motion_at(30.0))
    assert "root_vx, root_vy, root_vz, root_wx, … are not needed" in clip.notes[0]


def seed(folder: Path, *, options: str = "", step: int = 1, unit: str = "_dof") -> Clip:
    """A clip under the header of SEED, turned by (0.1, 0.2, 0.3) about fixed x, y, z."""
    names = [f"root_{kind}{axis}" for kind in ("translate", "rotate") for axis in "XYZ"]
    turn = np.tile(np.rad2deg([0.1, 0.2, 0.3]), (12, 1))
    values = np.concatenate(
        (np.arange(12.0)[:, None] * step, MOTION.position * 100, turn, np.rad2deg(MOTION.angles)), 1
    )
    return read(folder, table(values, ["Frame", *names, *(f"{name}{unit}" for name in JOINTS)]), options)


@pytest.mark.parametrize("unit", ["_dof", ""])
def test_header_of_seed_is_centimetres_and_degrees_about_fixed_axes(tmp_path: Path, unit: str) -> None:
    clip = seed(tmp_path, unit=unit)
    assert_allclose(clip.root_position, MOTION.position, atol=1e-9)
    assert_allclose(clip.dof_position, MOTION.angles, atol=1e-9)
    x, y, z = (np.array([[np.cos(a / 2), *(np.sin(a / 2) * np.eye(3)[i])]]) for i, a in enumerate((0.1, 0.2, 0.3)))
    assert_allclose(clip.root_rotation[0], product(z[0], product(y[0], x[0])), atol=1e-12)  # x first, about fixed axes
    assert (clip.fps, clip.origin("rate"), clip.dof_names) == (120.0, "assumed", JOINTS)
    assert "header of SEED" in clip.notes[0]
    assert clip.file_rotation == ""  # there is no order of quaternions to doubt


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamilton's product, scalar first."""
    scalar = a[0] * b[0] - a[1:] @ b[1:]
    return np.array([scalar, *(a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:]))])


def test_every_fourth_frame_of_seed_is_thirty_a_second(tmp_path: Path) -> None:
    assert seed(tmp_path, step=4).fps == 30.0


def test_options_win_over_the_header_of_seed(tmp_path: Path) -> None:
    clip = seed(tmp_path, options=":60fps:m:rad")
    assert_allclose(clip.root_position, MOTION.position * 100, atol=1e-9)
    assert_allclose(clip.dof_position, np.rad2deg(MOTION.angles), atol=1e-9)
    assert clip.fps == 60.0
    assert {clip.origin(fact) for fact in ("rate", "angles", "lengths")} == {"option"}
    with pytest.raises(SceneError, match=r"says wxyz, which has no effect: .* holds Euler angles"):
        seed(tmp_path, options=":wxyz")


@pytest.mark.parametrize(("scale", "unit_word"), [(1.0, "radians"), (57.29577951308232, "degrees")])
def test_roll_pitch_and_yaw_are_read_in_the_unit_that_fits(tmp_path: Path, scale: float, unit_word: str) -> None:
    turn = np.tile(np.array([0.1, 0.2, 0.3]), (12, 1))
    values = np.concatenate((MOTION.position, turn * scale, MOTION.angles * scale), 1)
    clip = read(tmp_path, table(values, ["x", "y", "z", "roll", "pitch", "yaw", *JOINTS]))
    assert_allclose(clip.dof_position, MOTION.angles, atol=1e-9)
    assert_allclose(clip.root_rotation[:, 0], clip.root_rotation[0, 0])
    assert clip.root_rotation[0, 0] == pytest.approx(0.98334744, abs=1e-6)
    assert unit_word in clip.notes[0]


def test_the_roots_euler_angles_may_be_in_degrees_beside_joints_in_radians(tmp_path: Path) -> None:
    header = ["x", "y", "z", "roll", "pitch", "yaw", *JOINTS]
    turn = np.tile(np.array([0.0, 0.0, 90.0]), (12, 1))
    clip = read(tmp_path, table(np.concatenate((MOTION.position, turn, MOTION.angles), 1), header))
    assert_allclose(clip.root_rotation, np.tile(np.sqrt((0.5, 0.0, 0.0, 0.5)), (12, 1)), atol=1e-9)
    assert_allclose(clip.dof_position, MOTION.angles, atol=1e-9)
    assert clip.notes[0].endswith("they are read as degrees, since some exceed a whole turn, and joints as radians.")


def test_euler_angles_of_an_unknown_unit_that_would_lean_far_are_refused_and_the_cures_work(tmp_path: Path) -> None:
    header = ["x", "y", "z", "roll", "pitch", "yaw", *JOINTS]
    values = np.concatenate((MOTION.position, np.tile(np.array([0.0, 2.0, 5.0]), (12, 1)), MOTION.angles), 1)
    with pytest.raises(SceneError, match=r"as radians it leans over by 115 degrees. Write the unit") as found:
        read(tmp_path, table(values, header))
    assert f"{tmp_path / 'walk.csv'}:rad" in str(found.value)
    assert read(tmp_path, table(values, header), ":rad").root_rotation[0, 0] == pytest.approx(np.cos(1.0) * np.cos(2.5))
    for unit, scale in (("deg", np.pi / 180.0), ("rad", 1.0)):
        clip = read(tmp_path, table(values, [*header[:3], *(f"{name}_{unit}" for name in header[3:6]), *JOINTS]))
        assert clip.root_rotation[0, 0] == pytest.approx(np.cos(1.0 * scale) * np.cos(2.5 * scale))
        assert_allclose(clip.dof_position, MOTION.angles, atol=1e-9)


def test_order_by_hand_wins_over_the_header(tmp_path: Path) -> None:
    header = [*WXYZ[:3], "qx", "qy", "qz", "qw", *JOINTS]
    clip = read(tmp_path, table(MOTION.qpos, header), ":wxyz")
    check(clip, motion_at(30.0))
    assert clip.origin("rotation") == "option"


@pytest.mark.parametrize("unit", [1.0, 1e3, 1e9])
def test_times_give_the_rate_in_whatever_unit(tmp_path: Path, unit: float) -> None:
    times = 1000.0 + np.arange(12) * 0.02 * unit
    assert read(tmp_path, table(np.c_[times, MOTION.qpos], ["timestamp", *WXYZ, *JOINTS])).fps == 50.0


@pytest.mark.parametrize(
    "comment",
    ["# fps: 50", "# fps=50", "# frame_rate: 50.0", "# made at 50 Hz by me", "% dt: 0.02", "# Frame Time: 0.02"],
)
@pytest.mark.parametrize("header", [(), (*WXYZ, *JOINTS)])
def test_comment_may_say_the_rate(tmp_path: Path, comment: str, header: tuple[str, ...]) -> None:
    clip = read(tmp_path, f"{comment}\n{table(MOTION.qpos, header)}")
    check(clip)
    assert clip.origin("rate") == "file"
    assert read(tmp_path, f"{comment}\n{table(MOTION.qpos, header)}", ":60fps").fps == 60.0


@pytest.mark.parametrize(
    ("comment", "rate", "origin"),
    [
        ("# made 2024-05-05 fps=50Hz", 50.0, "file"),
        ("# made 2024-05-05 with fps 50", 50.0, "file"),
        ("# v1.2 Hz\n# 50 Hz", 50.0, "file"),
        ("# 120 fps, brought to 30 fps", 30.0, "assumed"),
        ("# 120 fps (dt = 0.00833)", 120.0, "file"),
        ("# dt: 0.0083\n# fps: 120", 120.0, "file"),
        ("# 120 fps\n# dt: 0.02", 30.0, "assumed"),
    ],
)
def test_comment_that_says_more_than_a_rate_is_read_for_its_rate_alone(
    tmp_path: Path, comment: str, rate: float, origin: str
) -> None:
    text = comment + "\n" + table(np.column_stack((MOTION.position, MOTION.rotation, MOTION.angles)), [*WXYZ, *JOINTS])
    clip = read(tmp_path, text)
    assert (clip.fps, clip.origin("rate")) == (rate, origin)


def test_table_whose_columns_are_frames_is_turned(tmp_path: Path) -> None:
    clip = read(tmp_path, table(MOTION.qpos.T))
    check(clip, motion_at(30.0))
    assert "each column is a frame" in clip.notes[0]


def test_table_without_a_root_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(
        SceneError, match="has 29 columns, as many as the G1 has joints: the root's position and rotation"
    ):
        read(tmp_path, table(MOTION.angles))


def test_prefix_that_all_joints_share_is_dropped(tmp_path: Path) -> None:
    assert read(tmp_path, table(MOTION.qpos, [*WXYZ, *(f"robot/{name}" for name in JOINTS)])).dof_names == JOINTS


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("order", ["wxyz", "xyzw"])
def test_counted_parts_of_a_quaternion_are_in_the_order_that_their_name_says(
    tmp_path: Path, order: str, first: int
) -> None:
    turns = MOTION.rotation[:, ["wxyz".index(part) for part in order]]
    names = [*(f"root_pos_{i}" for i in range(3)), *(f"root_rot_{order}_{first + i}" for i in range(4))]
    header = [*names, *(f"dof_{joint}(rad)" for joint in JOINTS)]
    clip = read(
        tmp_path, table(np.column_stack((MOTION.position, turns, MOTION.angles)), header), f":{MOTION.fps:g}fps"
    )
    check(clip)
    assert clip.origin("rotation") == "file" and clip.dof_names == tuple(JOINTS)
    header[3] = header[3].replace(f"_{first}", "_9")
    with pytest.raises(SceneError, match="does not name a whole rotation"):
        read(tmp_path, table(np.column_stack((MOTION.position, turns, MOTION.angles)), header))


@pytest.mark.parametrize("step", [0.0, -0.02])
def test_times_that_do_not_grow_are_called_so_and_the_cure_works(tmp_path: Path, step: float) -> None:
    times = step * np.arange(len(MOTION.position))
    columns = np.column_stack((times, MOTION.position, MOTION.rotation, MOTION.angles))
    with pytest.raises(SceneError, match=f"do not grow: frame 1 comes {step:g} after the one before") as error:
        read(tmp_path, table(columns, ["time", *WXYZ, *JOINTS]))
    (named,) = cure(error.value)
    assert only(named).fps == 50.0


def test_times_in_whole_milliseconds_give_the_rate_that_they_were_rounded_from(tmp_path: Path) -> None:
    frames = 241
    values = np.resize(MOTION.qpos, (frames, MOTION.qpos.shape[1]))
    clip = read(tmp_path, table(np.c_[np.round(np.arange(frames) / 240.0, 3), values], ["time", *WXYZ, *JOINTS]))
    assert clip.fps == 240.0


def test_uneven_times_are_refused_and_the_cure_works(tmp_path: Path) -> None:
    times = np.arange(12) * 0.02
    times[7:] += 0.3
    with pytest.raises(
        SceneError, match=r"not evenly spaced: frame 7 comes 0\.32 after the one before, where 0\.02"
    ) as found:
        read(tmp_path, table(np.c_[times, MOTION.qpos], ["time", *WXYZ, *JOINTS]))
    check(only(cure(found.value)[0]))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("file,seconds,tag", "is no table of a motion: its columns are file, seconds, tag, and none is a root"),
        ("x,y,z,qw,qx,qy,knee", "does not name a whole rotation"),
        ("x,y,qw,qx,qy,qz,knee,hip", "does not name the root's z"),
        ("x,y,z,qw,qx,qy,qz", "names no joints"),
        ("x,y,z,x,qw,qx,qy,qz,knee", "names the root's x twice, 'x' and 'x'"),
    ],
)
def test_headers_that_name_no_motion(header: str, message: str) -> None:
    names = header.split(",")
    with pytest.raises(SceneError, match=message):
        understand(names, "walk.csv")


def test_header_of_other_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="names 35 columns and its lines have 36"):
        read(tmp_path, table(MOTION.qpos, [*WXYZ, *JOINTS[1:]]))


@pytest.mark.parametrize(
    ("cell", "message"),
    [("", "Line 3, column 9 of .* is empty"), ("oops", "Line 3, column 9 of .* is 'oops', which is not a number")],
)
def test_bad_cell_is_named(tmp_path: Path, cell: str, message: str) -> None:
    lines = table(MOTION.qpos).splitlines()
    cells = lines[2].split(",")
    lines[2] = ",".join([*cells[:8], cell, *cells[9:]])
    with pytest.raises(SceneError, match=message):
        read(tmp_path, "\n".join(lines))


def test_text_in_utf_16_is_read(tmp_path: Path) -> None:
    check(read(tmp_path, table(MOTION.qpos, [*WXYZ, *JOINTS]).encode("utf-16")), motion_at(30.0))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_table_is_read_or_refused_but_never_fails_otherwise(data: st.DataObject) -> None:
    content = bytearray(table(MOTION.qpos[:3], [*WXYZ, *JOINTS]).encode())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "walk.csv"
        path.write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
        with suppress(SceneError):
            read_clips(str(path))
