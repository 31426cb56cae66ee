"""What a clip list may say: options in any order, odd names, folders, and clips that do not fit."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from components.motion import BuiltInClip, Clip
from engine.errors import SceneError
from systems.motion.files import read_clips
from systems.motion.unfit import MAX_LISTED, Unfit
from tests.systems.motion.foreign import LAYOUTS, motion, write
from tests.systems.motion.test_layouts import MOTION, check, cure, only

SKIP = "Add --skip-unfit to go on without what does not fit."


def good(path: Path) -> str:
    """A table without a header."""
    np.savetxt(path, MOTION.qpos, delimiter=",", fmt="%.12f")
    return str(path)


def bad(path: Path) -> str:
    """A table that holds no motion."""
    path.write_text("file,seconds,tag\nwalk.csv,6.4,walk\n")
    return str(path)


@pytest.mark.parametrize("words", list(itertools.permutations((":2-5", ":60fps", ":wxyz", "#kick"))))
def test_options_and_key_may_stand_in_any_order(tmp_path: Path, words: tuple[str, ...]) -> None:
    path = write(tmp_path / "all.pkl", {"kick": LAYOUTS["qpos"](MOTION), "jump": LAYOUTS["qpos"](MOTION)})
    clip = only(path + "".join(words) + "=2")
    assert (clip.name, clip.fps, clip.num_frames, clip.weight) == ("kick:2-5", 60.0, 4, 2.0)
    assert clip.typed == path + "".join(words)


@settings(max_examples=60, deadline=None)
@given(
    stem=st.text("ab,=#: é'()[]", min_size=1, max_size=8).filter(
        lambda text: text.strip() == text and text[0] not in ".~"
    )
)
def test_any_name_of_a_file_that_exists_is_understood(tmp_path_factory: pytest.TempPathFactory, stem: str) -> None:
    path = good(tmp_path_factory.mktemp("clips") / f"{stem}.csv")
    for spec, fps, weight in ((path, 30.0, 1.0), (f"{path}:60fps", 60.0, 1.0), (f"{path}:60fps=3", 60.0, 3.0)):
        for clips in (read_clips(spec), read_clips(f"squat,{spec}")[1:], read_clips(f"{spec},squat")[:-1]):
            (clip,) = clips
            assert isinstance(clip, Clip)
            assert (clip.fps, clip.weight, clip.name) == (fps, weight, stem)


def test_drive_letters_are_no_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    good(tmp_path / r"C:\clips\walk.csv")
    assert only(r"C:\clips\walk.csv:60fps").fps == 60.0
    with pytest.raises(SceneError, match=r"The clip file C:\\clips\\run.csv does not exist"):
        read_clips(r"C:\clips\run.csv:60fps")


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        (":yxzw", "'yxzw' in .* is no option of a clip. The options are xyzw, .* Did you mean xyzw"),
        (":60hz", "'60hz' in .* is no option of a clip.* Did you mean 60fps?"),
        (":60", "'60' in .* is no option of a clip.* Did you mean 60fps?"),
        (":XYZW", "'XYZW' in .* is no option of a clip.* Did you mean xyzw"),
        (":xyzw:wxyz", "says both xyzw and wxyz. Say one of them."),
        (":30fps:60fps", "says both 30fps and 60fps"),
        (":0fps", "says 0fps; 1 to 1000 frames per second are believable"),
        (":cm:mm", "says both cm and mm"),
        (":pose_aa", "says pose_aa, which has no effect: .* is a table, which holds joint angles once"),
        (":dof", "says dof, which has no effect"),
        ("#kick", "has no clip 'kick'; it has walk"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, tail: str, message: str) -> None:
    with pytest.raises(SceneError, match=message):
        read_clips(good(tmp_path / "walk.csv") + tail)


def test_option_that_one_of_many_clips_has_a_use_for_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "a.pkl", LAYOUTS["asap"](MOTION))
    good(tmp_path / "b.csv")
    assert len(read_clips(f"{tmp_path}:dof")) == 2


def test_key_may_hold_commas(tmp_path: Path) -> None:
    path = write(tmp_path / "all.pkl", {"walk, fast": LAYOUTS["qpos"](MOTION), "walk": LAYOUTS["qpos"](MOTION)})
    assert only(f"{path}#walk, fast:2-5=2").name == "walk, fast:2-5"
    assert [clip.name for clip in read_clips(f"{path}#walk,squat=2,{path}#walk, fast")] == [
        "walk",
        "squat",
        "walk, fast",
    ]


@pytest.mark.parametrize("mark", [";", " ", "; "])
def test_other_marks_than_commas_between_clips_are_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.csv"):
        good(tmp_path / name)
    with pytest.raises(SceneError, match=r"Commas part the clips of a list: write a\.csv,b\.csv"):
        read_clips(f"a.csv{mark}b.csv")


def test_address_on_the_network_is_to_be_fetched_first() -> None:
    with pytest.raises(SceneError, match=r"is an address on the network\. Fetch the file first"):
        read_clips("https://example.org/walk.csv:60fps")


def test_folder_has_no_key(tmp_path: Path) -> None:
    good(tmp_path / "walk.csv")
    with pytest.raises(SceneError, match="is a folder, which has no clip '#walk'"):
        read_clips(f"{tmp_path}#walk")


def test_clip_knows_what_was_typed_for_it(tmp_path: Path) -> None:
    good(tmp_path / "a.csv")
    good(tmp_path / "b.csv")
    clips = [clip for clip in read_clips(f"{tmp_path}:60fps=2,stand,{tmp_path}/a.csv") if isinstance(clip, Clip)]
    assert [clip.typed for clip in clips] == [f"{tmp_path}:60fps", f"{tmp_path}:60fps", f"{tmp_path}/a.csv"]


def test_cure_of_a_folder_names_the_folder(tmp_path: Path) -> None:
    for name in ("a.pkl", "b.pkl"):
        write(tmp_path / name, {"qpos": MOTION.qpos})
    with pytest.raises(SceneError, match="None of the 2 clips fits") as found:
        read_clips(str(tmp_path))
    assert cure(found.value) == [f"{tmp_path}:30fps"] * 2
    assert len(read_clips(f"{tmp_path}:30fps")) == 2


def test_everything_that_does_not_fit_is_listed_and_the_rest_read_when_told_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b", "c"):
        good(tmp_path / f"{name}.csv")
    (tmp_path / "short.csv").write_text("1,2,3\n")
    write(tmp_path / "many.pkl", {"kick": LAYOUTS["gmr"](MOTION), "jump": {"fps": np.float64(30)}})
    (tmp_path / "README.txt").write_text("x")
    (tmp_path / "._a.csv").write_bytes(b"\x00\x05\x16\x07")
    with pytest.raises(SceneError) as found:
        read_clips(f"{tmp_path},squat")
    lines = str(found.value).splitlines()
    assert lines[0] == f"2 of 7 clips do not fit. {SKIP} They are:"
    assert ["many.pkl#jump" in lines[1], "short.csv" in lines[2], len(lines)] == [True, True, 3]
    clips = read_clips(f"{tmp_path},squat", skip_unfit=True)
    assert [clip.name for clip in clips] == ["a", "b", "c", "kick", "squat"]
    assert "2 of 7 clips are left out" in caplog.text
    assert "short.csv has 1 frames of 3 columns" in caplog.text


def test_table_that_is_no_motion_beside_clips_is_passed_over_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good(tmp_path / "a.csv")
    bad(tmp_path / "metadata.csv")
    bad(tmp_path / "splits.csv")
    assert [clip.name for clip in read_clips(str(tmp_path))] == ["a"]
    (record,) = caplog.records
    assert "metadata.csv is no table of a motion: its columns are file, seconds, tag" in record.message
    assert record.message.endswith("1 more of the kind are passed over too.")


def test_what_beside_clips_is_of_another_kind_is_passed_over_and_each_kind_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good(tmp_path / "a.csv")
    for name in ("a.csv.gz", "all.zip", "all.tar", "take.bvh", "take.fbx", "notes.md"):
        (tmp_path / name).write_bytes(b"x")
    assert [clip.name for clip in read_clips(str(tmp_path))] == ["a"]
    packed, person = (record.message for record in caplog.records)
    assert "all.tar is a packed file. Unpack it first" in packed and packed.endswith(
        "1 more of the kind are passed over too."
    )
    assert "take.bvh is a BVH file" in person and person.endswith("1 more of the kind are passed over too.")


@pytest.mark.parametrize("gone", ["b.csv.gz", "b.csv"])
def test_clip_that_is_packed_or_a_link_to_nothing_is_not_lost_without_a_word(tmp_path: Path, gone: str) -> None:
    good(tmp_path / "a.csv")
    if gone.endswith(".gz"):
        (tmp_path / gone).write_bytes(b"\x1f\x8b")
    else:
        (tmp_path / gone).symlink_to(tmp_path / "nowhere.csv")
    with pytest.raises(SceneError, match=rf"{gone} (is a packed file|cannot be read).*{SKIP}"):
        read_clips(str(tmp_path))
    assert [clip.name for clip in read_clips(str(tmp_path), skip_unfit=True)] == ["a"]


def test_folders_behind_links_count_once(tmp_path: Path) -> None:
    clips, more = tmp_path / "clips", tmp_path / "more"
    clips.mkdir()
    more.mkdir()
    good(clips / "a.csv")
    good(more / "b.csv")
    (clips / "more").symlink_to(more)
    (clips / "again").symlink_to(clips)
    assert [clip.name for clip in read_clips(str(clips))] == ["a", "b"]


def test_one_that_does_not_fit_is_told_with_the_way_on(tmp_path: Path) -> None:
    good(tmp_path / "a.csv")
    (tmp_path / "short.csv").write_text("1,2,3\n")
    with pytest.raises(SceneError, match=r"short.csv has 1 frames of 3 columns.* Add --skip-unfit"):
        read_clips(str(tmp_path))


def test_nothing_is_skipped_silently_where_nothing_fits(tmp_path: Path) -> None:
    bad(tmp_path / "metadata.csv")
    for skip in (False, True):
        with pytest.raises(SceneError, match="is no table of a motion"):
            read_clips(str(tmp_path), skip_unfit=skip)


def test_path_that_does_not_exist_is_never_skipped(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"nowhere.csv does not exist"):
        read_clips(f"squat,{tmp_path}/nowhere.csv", skip_unfit=True)


def test_long_lists_of_what_does_not_fit_end_in_a_count() -> None:
    unfit = Unfit(skip=False)
    for i in range(MAX_LISTED + 5):
        with unfit.caught():
            raise SceneError(f"Clip {i} is bad.")
    with pytest.raises(SceneError) as found:
        unfit.settle(3)
    assert len(str(found.value).splitlines()) == 1 + MAX_LISTED + 1
    assert str(found.value).endswith("and 5 more.")


def test_names_in_capitals_and_built_in_names_beside_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    good(tmp_path / "WALK.CSV")
    assert only(str(tmp_path)).name == "WALK"
    assert read_clips("stand,squat") == [BuiltInClip("stand"), BuiltInClip("squat")]


def test_built_in_clips_have_no_options() -> None:
    with pytest.raises(SceneError, match="'side_step:60fps' gives options to a built-in clip, which has none"):
        read_clips("side_step:60fps")


@pytest.mark.parametrize("spec", ["", "   "])
def test_empty_list_is_refused(spec: str) -> None:
    with pytest.raises(SceneError, match="The clip list is empty"):
        read_clips(spec)


@settings(max_examples=60, deadline=None)
@given(
    layout=st.sampled_from([name for name in LAYOUTS if name != "protomotions"]),
    seed=st.integers(0, 10),
    frames=st.integers(2, 6),
    ending=st.sampled_from([".pkl", ".npz", ".pt"]),
    damage=st.sampled_from(["none", "no rate", "degrees", "centimetres", "other order"]),
    many=st.booleans(),
)
def test_sound_clip_with_one_damage_is_read_the_same_or_refused_with_a_cure_that_works(
    tmp_path_factory: pytest.TempPathFactory, layout: str, seed: int, frames: int, ending: str, damage: str, many: bool
) -> None:
    sound = motion(seed, frames)
    content = LAYOUTS[layout](sound)
    option = {"no rate": ":50fps", "degrees": ":deg", "centimetres": ":cm", "other order": ":xyzw"}.get(damage, "")
    if damage == "no rate":
        content = {key: value for key, value in content.items() if key not in ("fps", "motion_fps", "frequency", "dt")}
    if layout == "qpos" and damage in ("degrees", "centimetres", "other order"):
        parts = {"centimetres": sound.position * 100.0}.get(damage, sound.position)
        turn = sound.xyzw if damage == "other order" else sound.rotation
        angles = np.rad2deg(sound.angles) if damage == "degrees" else sound.angles
        content["qpos"] = np.concatenate((parts, turn, angles), 1)
    elif damage not in ("none", "no rate"):
        return
    folder = tmp_path_factory.mktemp("clips")
    path = write(folder / f"walk{ending}", {"a": content, "b": content} if many and ending != ".npz" else content)
    if damage == "no rate":
        with pytest.raises(SceneError) as found:
            read_clips(path)
        assert set(cure(found.value)) == {f"{path}:30fps"}
    for clip in read_clips(path + option):
        assert isinstance(clip, Clip)
        check(clip, sound)
    assert_allclose(sound.fps, 50.0)


def test_pattern_of_names_is_told_that_a_folder_stands_for_its_clips() -> None:
    with pytest.raises(SceneError, match=r"patterns of names are not looked up. Name the folder"):
        read_clips("clips/*.csv")
