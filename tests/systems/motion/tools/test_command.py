"""`lockstep clips`: what each sub-command prints, writes and refuses, and its exit status."""

import io
import pickle
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from components.motion import Clip
from engine.errors import SceneError
from engine.runner import cli
from systems.motion.files import read_clips
from systems.motion.library import build_library
from systems.motion.tools import fitted
from systems.motion.tools.command import SUB_COMMANDS
from systems.motion.tools.cut import cut
from systems.motion.tools.fitted import KnownRobots
from systems.motion.tools.output import distinct
from systems.motion.tools.resample import frame_rate
from systems.motion.writers import CONTAINERS
from tests.helpers import needs_g1
from tests.systems.motion.tools.robots import clips, model

HERE = ("info", "verify", "plot", "cut", "resample", "mirror", "height", "convert")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typed(line: str) -> int:
    """Type a line after `lockstep clips`, for the built-in humanoid; its exit status."""
    return clips(*line.split(), "--robot", "humanoid")


def only(spec: str) -> Clip:
    """The one clip of a file."""
    (found,) = read_clips(spec)
    assert isinstance(found, Clip)
    return found


def squat() -> Clip:
    """The built-in squat of the humanoid: 4.8 s at 50 frames per second."""
    return fitted.make_clip("squat", model("humanoid").robot, model("humanoid"))


# The command.


def test_it_is_an_entry_point_of_the_console_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    text = (Path(__file__).parents[4] / "pyproject.toml").read_text(encoding="utf-8")
    value = tomllib.loads(text)["project"]["entry-points"][cli.GROUP]["clips"]
    info = tmp_path / "lockstep_clips-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lockstep-clips\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{cli.GROUP}]\nclips = {value}\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert cli.main(["clips", "verify", "squat", "--robot", "humanoid"]) == 0
    assert "squat: 4.80 s for humanoid" in capsys.readouterr().out
    assert cli.main(["clips", "veryfy"]) == 2
    assert "Did you mean verify?" in capsys.readouterr().err
    assert cli.main([]) == 0
    assert re.search("clips +Look at motion clips, check, cut, mirror and convert them", capsys.readouterr().out)


def test_without_a_sub_command_it_lists_them(capsys):
    assert clips() == clips("--help") == 0
    printed = capsys.readouterr().out
    for name, (_, text) in SUB_COMMANDS.items():
        assert f"  {name}" in printed and text in printed


@pytest.mark.parametrize("name", HERE)
def test_the_help_of_each_sub_command_says_what_it_takes(name: str, capsys):
    assert clips(name, "--help") == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: lockstep clips {name} ")
    assert SUB_COMMANDS[name][1] in printed
    assert "--robot" in printed and "FILE" in printed


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("convert squat", "error: The following arguments are required: --out. See lockstep clips convert --help.\n"),
        ("convert squat --out a.npy", "--out a.npy ends in '.npy'; clips are written as .npz, .csv, .pkl, or into a folder."),
        ("convert squat --out a.npz --to csv", "Leave out --to csv, or end the name in .csv."),
        ("convert squat wave --out a.npz", "There are 2 clips, and a npz file holds one. Name a folder: --out a --to npz."),
        ("convert squat=2 --out a.npz", "No file can keep the weight of squat; leave out what stands behind '='."),
        ("convert nothing.csv --out a.npz", "The clip file nothing.csv does not exist."),
        ("resample squat fast --out a.npz", "'fast' is no frame rate from 1 to 1000. Write it like 50fps."),
        ("resample squat 0fps --out a.npz", "'0fps' is no frame rate from 1 to 1000."),
        ("cut squat 3s --out a.npz", "'3s' is no range. Write frames as 10-250 or seconds as 1.5s-4s"),
        ("cut squat 10-4s --out a.npz", "'10-4s' is no range."),
        ("cut squat - --out a.npz", "'-' is no range."),
        ("cut squat 100-900 --out a.npz", "which has 1 to 241 (0s to 4.80s). Name two frames or more of those."),
        ("plot squat --out a.txt", "--out a.txt ends in '.txt'; pictures are drawn as .png, .pdf, .svg, or into a folder."),
        ("plot squat wave --out a.png", "There are 2 clips, and a.png is one picture. Name a folder: --out a"),
        ("info sqat", "Did you mean squat or sway?"),
    ],
)  # fmt: skip
def test_a_mistake_is_a_sentence_and_exit_status_2_and_nothing_is_written(
    line: str, sentence: str, folder: Path, capsys
):
    assert typed(line) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err and printed.err.startswith("error: ")
    assert not list(folder.iterdir())


def test_an_unknown_robot_is_refused_with_those_there_are(folder: Path, capsys):
    assert clips("info", "squat", "--robot", "humanod") == 2
    assert "Did you mean humanoid or" in capsys.readouterr().err


def test_the_robot_that_auto_means_is_asked_for_once():
    asked: list[str] = []

    def load(name: str):
        asked.append(name)
        from scenes.robots import humanoid

        return humanoid.humanoid()

    robots = KnownRobots(load, lambda clips: "that one")
    assert robots.model("auto", []) is robots.model("auto", []) is robots.model("that one", [])
    assert asked == ["that one"]


# Looking.


def test_info_says_length_joints_travel_and_speeds(capsys):
    assert typed("info walk") == 0
    lines = capsys.readouterr().out.splitlines()
    clip = fitted.make_clip("walk", model("humanoid").robot, model("humanoid"))
    travel = np.hypot(*(clip.root_position[-1] - clip.root_position[0])[:2])
    assert lines[0] == "walk: built in"
    assert f"{clip.num_frames} frames at 50 per second" in lines[1] and f"{clip.seconds:.2f} s" in lines[1]
    assert lines[2] == "  joints    19, with names"
    assert f"  travel    {travel:.2f} m along the floor" in lines[4]
    assert lines[6].strip().endswith("% of its limit")


@needs_g1
@pytest.mark.parametrize(
    ("order", "option", "shown"),
    [("xyzw", "", "quaternions xyzw (by evidence)"), ("xyzw", ":xyzw", "quaternions xyzw (as you said)"),
     ("wxyz", "", "quaternions wxyz (by evidence)")],
)  # fmt: skip
def test_info_shows_what_was_decided_and_by_whom(order: str, option: str, shown: str, folder: Path, capsys):
    clip = fitted.make_clip("turn", model("g1").robot, model("g1"))
    turns = np.roll(clip.root_rotation, -1 if order == "xyzw" else 0, -1)
    np.savetxt("bare.csv", np.concatenate((clip.root_position, turns, np.rad2deg(clip.dof_position)), 1), delimiter=",")
    assert clips("info", f"bare.csv{option}") == 0
    printed = capsys.readouterr().out
    assert f"  root      {shown}" in printed
    assert "  joints    29, without names, in the order of the G1 with 29 joints (by evidence)" in printed
    assert "  units     angles in degrees (by evidence), lengths in m (by evidence)" in printed
    assert "at 30 per second (assumed)" in printed
    assert clips("info", "bare.csv:50fps") == 0
    assert "at 50 per second (as you said)" in capsys.readouterr().out


@needs_g1
def test_info_names_no_unit_and_no_order_of_quaternions_that_a_file_does_not_have(folder: Path, capsys):
    clip = fitted.make_clip("squat", model("g1").robot, model("g1"))
    names = ["Frame", *(f"root_{kind}{axis}" for kind in ("translate", "rotate") for axis in "XYZ")]
    header = [*names, *(f"{name}_dof" for name in model("g1").robot.dof_names)]
    upright = np.zeros((clip.num_frames, 3))
    numbers = np.c_[np.arange(clip.num_frames), 100.0 * clip.root_position, upright, np.rad2deg(clip.dof_position)]
    np.savetxt("seed.csv", numbers, delimiter=",", header=",".join(header), comments="")
    assert clips("info", "seed.csv") == 0
    printed = capsys.readouterr().out
    assert "  root      angles or rotation vectors, which have no order of quaternions (from the file)" in printed
    assert "  units     angles as the file says, lengths as the file says" in printed


@needs_g1
def test_clips_of_a_folder_are_decided_together_and_that_is_said_once(folder: Path, capsys):
    (folder / "set").mkdir()
    for name in ("turn", "wave", "stand"):
        clip = fitted.make_clip(name, model("g1").robot, model("g1"))
        turns = np.roll(clip.root_rotation, -1, -1)
        np.savetxt(f"set/{name}.csv", np.concatenate((clip.root_position, turns, clip.dof_position), 1), delimiter=",")
    assert clips("convert", "squat", "set", "--out", "all.pkl") == 0
    lines = capsys.readouterr().out.splitlines()
    (place,) = (at for at, line in enumerate(lines) if "quaternions are taken as xyzw" in line)
    assert "#stand" in lines[place - 1] and "3 clips of set do not say" in lines[place]
    for found in read_clips("all.pkl"):
        assert isinstance(found, Clip)
        wanted = fitted.make_clip(found.name, model("g1").robot, model("g1"))
        assert_allclose(np.abs((found.root_rotation * wanted.root_rotation).sum(-1)), 1.0, atol=1e-6)


def test_info_of_many_clips_is_a_line_each_and_of_one_that_does_not_fit_says_why(folder: Path, capsys):
    assert typed("convert squat wave twist sway --out set") == 0
    np.savetxt(folder / "set/other.csv", np.tile([0, 0, 0.5, 1, 0, 0, 0, 0.1, 0.1], (3, 1)), delimiter=",")
    capsys.readouterr()
    assert typed("info set") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["other", "squat", "sway", "twist", "wave"]
    assert "2 joints; humanoid cannot follow it" in lines[0]
    assert "squat: 4.80 s at 50 per second, 19 joints" in lines[1]


def test_verify_lists_every_clip_and_its_status_is_1_where_one_is_refused(folder: Path, capsys):
    assert typed("convert squat wave --out set") == 0
    assert typed("verify set") == 0
    with np.load(folder / "set/wave.npz") as file:
        content = dict(file)
    content["joint_pos"][50:] += 3.0
    np.savez(folder / "set/wave.npz", **content)
    capsys.readouterr()
    assert typed("verify set stand") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ok      squat (set/squat.npz): 4.80 s for humanoid"
    assert lines[1] == "refused wave (set/wave.npz)" and lines[2].startswith("  ! Clip 'wave'")
    assert lines[-1] == "ok      stand: 3.00 s for humanoid"


def test_verify_shows_warnings_and_goes_on_after_a_file_that_cannot_be_read(folder: Path, capsys):
    (folder / "no.pkl").write_bytes(b"nothing")
    lifted = squat()
    table = np.concatenate(
        (lifted.root_position + np.array((0.0, 0.0, 0.1)), lifted.root_rotation, lifted.dof_position), 1
    )
    np.savetxt("up.csv", table, delimiter=",")
    assert typed("verify no.pkl up.csv") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "refused no.pkl"
    assert "ok      up (up.csv)" in lines[2]
    assert any("hangs 10.0 cm above the floor" in line for line in lines)
    assert typed("verify up.csv --clip-height auto") == 0
    assert "height changed by -10.0" in capsys.readouterr().out


def test_verify_says_what_a_training_on_the_clips_says(folder: Path, capsys):
    clip = squat()
    table = np.concatenate((clip.root_position - np.array((0.0, 0.0, 0.03)), clip.root_rotation, clip.dof_position), 1)
    np.savetxt("low.csv", table, delimiter=",")
    robot = model("humanoid")
    library = build_library(read_clips("low.csv,stand"), robot.robot, robot)
    assert any("under the floor" in text for text in library.warnings)
    assert typed("verify low.csv stand") == 0
    printed = capsys.readouterr().out
    assert [line.removeprefix("  ! ") for line in printed.splitlines() if line.startswith("  ! ")] == [
        *library.warnings
    ]


def test_verify_goes_on_with_the_rest_of_a_folder_in_which_a_file_cannot_be_read(folder: Path, capsys):
    assert typed("convert stand squat --out set") == 0
    (folder / "set/broken.npz").write_bytes(b"nothing")
    capsys.readouterr()
    assert typed("verify set") == 1
    printed = capsys.readouterr()
    verdicts = [line.split()[:2] for line in printed.out.splitlines() if not line.startswith(" ")]
    assert verdicts == [["refused", "set"], ["ok", "squat"], ["ok", "stand"]]
    assert "broken.npz" in printed.out and not printed.err
    assert typed("verify set --skip-unfit") == 0
    assert typed("verify set/broken.npz --skip-unfit") == 1


def test_verify_goes_on_with_the_rest_of_a_file_of_many_in_which_a_clip_cannot_be_read(folder: Path, capsys):
    assert typed("convert stand squat wave --out all.pkl") == 0
    content = pickle.loads((folder / "all.pkl").read_bytes())
    del content["squat"]["fps"]
    (folder / "all.pkl").write_bytes(pickle.dumps(content))
    capsys.readouterr()
    assert typed("verify all.pkl") == 1
    printed = capsys.readouterr().out
    verdicts = [line.split()[:2] for line in printed.splitlines() if not line.startswith(" ")]
    assert verdicts == [["refused", "all.pkl"], ["ok", "stand"], ["ok", "wave"]]
    assert "all.pkl#squat lacks 'fps'" in printed and "--skip-unfit" in printed
    assert typed("convert all.pkl --out set") == 2
    assert typed("convert all.pkl --out set --skip-unfit") == 0
    assert sorted(path.name for path in (folder / "set").iterdir()) == ["stand.npz", "wave.npz"]


def test_what_does_not_fit_is_listed_and_left_out_when_that_is_said(folder: Path, capsys):
    assert typed("convert stand squat --out set") == 0
    (folder / "set/broken.npz").write_bytes(b"nothing")
    np.savetxt("set/other.csv", np.tile([0, 0, 0.5, 1, 0, 0, 0, 0.1, 0.1], (3, 1)), delimiter=",")
    for line in ("info set", "convert set --out all.pkl", "mirror set --out all.pkl", "cut set 1-20 --out all.pkl"):
        assert typed(line) == 2
        assert "Add --skip-unfit to go on without what does not fit." in capsys.readouterr().err
        assert not (folder / "all.pkl").exists()
        assert typed(f"{line} --skip-unfit") == 0
        (folder / "all.pkl").unlink(missing_ok=True)
    assert typed("convert set --out all.pkl --skip-unfit") == 0
    assert [clip.name for clip in read_clips("all.pkl")] == ["squat", "stand"]
    capsys.readouterr()
    assert typed("convert set/other.csv --out none.pkl --skip-unfit") == 2
    assert "2 joints" in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_plot_is_a_picture_of_that_kind(ending: str, folder: Path):
    assert typed(f"plot wave --out wave.{ending}") == 0
    content = (folder / f"wave.{ending}").read_bytes()
    assert content.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending])
    if ending == "png":
        pixels = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
        assert (pixels < 200).mean() > 0.01


def test_plots_of_many_clips_go_into_a_folder(folder: Path):
    assert typed("plot stand stand --out pictures") == 0
    assert sorted(path.name for path in (folder / "pictures").iterdir()) == ["stand.png", "stand_2.png"]


# Changing.


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [("10-100", 10, 100), ("-100", 1, 100), ("10-", 10, 241), ("1s-2s", 51, 101), ("0.99s-2.01s", 51, 101),
     ("4s-", 201, 241), ("-0.5s", 1, 26), ("0.1s-0.3s", 6, 16)],
)  # fmt: skip
def test_a_cut_keeps_the_frames_that_lie_in_the_range(text: str, first: int, last: int):
    part = cut(squat(), text)
    assert_array_equal(part.dof_position, squat().dof_position[first - 1 : last])
    assert_array_equal(part.root_rotation, squat().root_rotation[first - 1 : last])


def test_a_cut_in_seconds_goes_by_the_rate_of_the_clip(folder: Path):
    assert typed("resample squat 100fps --out fast.pkl") == 0
    assert typed("cut fast.pkl 1s-2s --out part.pkl") == 0
    assert only("part.pkl").num_frames == 101


def test_a_clip_with_a_fault_can_be_mended_by_cutting(folder: Path, capsys):
    clip = squat()
    place = clip.root_position.copy()
    place[120:] += 5.0
    np.savez(
        "two.npz", fps=50.0, joint_pos=clip.dof_position, body_pos_w=place[:, None],
        body_quat_w=clip.root_rotation[:, None], joint_names=clip.dof_names, body_names=["pelvis"],
    )  # fmt: skip
    assert typed("verify two.npz") == 1
    assert typed("cut two.npz -120 --out one.npz") == 0
    assert typed("verify one.npz") == 0
    assert only("one.npz").num_frames == 120


def test_resampling_keeps_length_and_motion(folder: Path):
    assert typed("resample squat 30fps --out slow.pkl") == 0
    slow = only("slow.pkl")
    assert slow.fps == 30.0 and slow.num_frames == 145  # 4.8 s
    assert_allclose(slow.dof_position[::3], squat().dof_position[::5], atol=1e-12)
    assert frame_rate("59.94") == frame_rate("59.94fps") == 59.94


def test_a_rate_at_which_a_clip_has_one_frame_is_refused(folder: Path, capsys):
    assert typed("cut squat 1-10 --out short.pkl") == 0
    assert typed("resample short.pkl 1fps --out none.pkl") == 2
    assert "lasts 0.180 s, which is less than two frames at 1 per second" in capsys.readouterr().err


def test_height_puts_the_feet_on_the_floor(folder: Path, capsys):
    clip = squat()
    table = np.concatenate((clip.root_position + np.array((0.0, 0.0, 0.07)), clip.root_rotation, clip.dof_position), 1)
    np.savetxt("up.csv", table, delimiter=",")
    assert typed("height up.csv --out down.pkl") == 0
    assert "height changed by -7.0 to -7.0 cm" in capsys.readouterr().out
    assert_allclose(only("down.pkl").root_position, clip.root_position, atol=1e-3)
    assert typed("verify down.pkl") == 0


def test_converting_at_another_rate_resamples_first(folder: Path):
    assert typed("convert squat --fps 100fps --out fast.npz") == 0
    with np.load(folder / "fast.npz") as file:
        assert file["fps"].tolist() == [100] and len(file["joint_pos"]) == 481
        speed = np.gradient(file["joint_pos"].astype(float), axis=0) * 100.0
        assert_allclose(file["joint_vel"], speed, atol=1e-3)


def test_reading_and_writing_again_changes_no_byte(folder: Path):
    for ending in CONTAINERS:
        assert typed(f"convert walk --out a/walk.{ending}") == 0
        assert typed(f"convert a/walk.{ending} --out b/walk.{ending}") == 0
        assert (folder / f"a/walk.{ending}").read_bytes() == (folder / f"b/walk.{ending}").read_bytes()


# Files.


def test_many_clips_go_into_a_folder_or_into_one_pickle(folder: Path):
    assert typed("convert squat wave squat --out set --to pkl") == 0
    assert sorted(path.name for path in (folder / "set").iterdir()) == ["squat.pkl", "squat_2.pkl", "wave.pkl"]
    assert typed("convert squat wave squat --out all.pkl") == 0
    assert [clip.name for clip in read_clips("all.pkl")] == ["squat", "wave", "squat_2"]
    assert typed("convert all.pkl#wave --out wave.npz") == 0
    assert only("wave.npz").name == "wave"


def test_one_clip_in_a_file_is_called_like_the_file(folder: Path):
    assert typed("convert squat --out deep.pkl") == 0
    assert only("deep.pkl").name == "deep"


def test_a_file_that_exists_is_replaced_by_force_only(folder: Path, capsys):
    assert typed("convert squat --out a.pkl") == 0
    before = (folder / "a.pkl").read_bytes()
    assert typed("mirror a.pkl --out a.pkl") == 2
    assert "a.pkl would be replaced. Add --force to do so, or name another --out." in capsys.readouterr().err
    assert (folder / "a.pkl").read_bytes() == before
    assert typed("mirror a.pkl --out a.pkl --force") == 0
    assert (folder / "a.pkl").read_bytes() != before
    assert typed("mirror a.pkl --out a.pkl --force") == 0
    assert (folder / "a.pkl").read_bytes() == before


def test_nothing_is_written_where_one_of_many_files_exists_or_one_clip_is_refused(folder: Path, capsys):
    (folder / "set").mkdir()
    (folder / "set/wave.npz").write_text("mine")
    assert typed("convert squat wave --out set") == 2
    assert "set/wave.npz would be replaced" in capsys.readouterr().err
    (folder / "no.pkl").write_bytes(b"nothing")
    assert typed("convert squat no.pkl --out set --force") == 2
    assert [path.name for path in (folder / "set").iterdir()] == ["wave.npz"]
    assert (folder / "set/wave.npz").read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_a_sentence(folder: Path, capsys):
    (folder / "file").write_text("")
    assert typed("convert squat --out file/a.npz") == 2
    assert "error: The folder file cannot be made (File exists)." in capsys.readouterr().err


def test_a_tilde_is_a_home(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(folder / "home"))
    assert typed("convert stand --out=~/stand.pkl") == typed("plot stand --out=~/stand.png") == 0
    assert (folder / "home/stand.pkl").is_file() and (folder / "home/stand.png").is_file()


def test_names_that_a_file_system_would_not_take_are_changed(folder: Path):
    assert typed("convert squat --out all.pkl") == 0
    assert typed("convert all.pkl:10-100 --out set") == 0
    assert [path.name for path in (folder / "set").iterdir()] == ["all_10-100.npz"]


def test_names_that_occur_twice_are_numbered():
    assert distinct(["a", "b", "a", "a_2", "a"]) == ["a", "b", "a_2", "a_2_2", "a_3"]
    assert distinct(["Walk", "WALK"]) == ["Walk", "WALK_2"]  # one file where capitals do not count


def test_a_clip_that_cannot_be_cut_names_what_there_is():
    with pytest.raises(SceneError, match=r"300-310 is frames 300 to 310 of Clip 'squat' .*which has 1 to 241"):
        cut(squat(), "300-310")
