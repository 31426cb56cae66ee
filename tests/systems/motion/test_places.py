"""Clip lists and robots by paths that mean the same from any folder."""

from pathlib import Path

import pytest

from systems.motion.files import _requests
from systems.motion.places import absolute_clips, absolute_robot


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with clips, which is also the user's home."""
    (tmp_path / "set").mkdir()
    (tmp_path / "squat").mkdir()
    for name in ("a.csv", "b.pkl", "odd=1.csv", "two,three.csv", "r.xml", "g1"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("a.csv", "H/a.csv"),
        ("~/a.csv", "H/a.csv"),
        ("./a.csv", "H/a.csv"),
        ("set", "H/set"),
        ("a.csv=2, b.pkl#kick_3:xyzw:60fps:10-250=0.5,set:xyzw", "H/a.csv=2,H/b.pkl#kick_3:xyzw:60fps:10-250=0.5,H/set:xyzw"),
        ("squat", "squat"),  # the built-in clip wins over a folder of that name
        ("squat=2,a.csv", "squat=2,H/a.csv"),
        ("squat:xyzw", "H/squat:xyzw"),  # a built-in clip has no options
        ("odd=1.csv=3", "H/odd=1.csv=3"),
        ("two,three.csv", "H/two,three.csv"),
        ("gone.csv:xyzw,a.csv", "gone.csv:xyzw,H/a.csv"),
        ("/nowhere/a.csv", "/nowhere/a.csv"),
        ("", ""),
    ],
)  # fmt: skip
def test_files_and_folders_become_absolute_and_all_else_stays(spec: str, expected: str, home: Path) -> None:
    assert absolute_clips(spec) == expected.replace("H/", f"{home}/")
    assert absolute_clips(absolute_clips(spec)) == absolute_clips(spec)


def test_folders_and_files_with_marks_in_their_names_are_read_back(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = home / "take #2, old: a=b"
    odd.mkdir()
    for name in ("a.csv", "b,c.csv"):
        (odd / name).touch()
    monkeypatch.chdir(odd)
    for spec in ("a.csv", "a.csv:xyzw=2", "b,c.csv", "b,c.csv:10-250=2,a.csv,squat"):
        kept = absolute_clips(spec)
        typed = [(request.path, request.words, request.weight) for request in _requests(spec)]
        monkeypatch.chdir(home)
        again = [(request.path, request.words, request.weight) for request in _requests(kept)]
        monkeypatch.chdir(odd)
        assert again == [(p if p == "squat" else str(odd / p), words, weight) for p, words, weight in typed]


def test_a_robots_file_becomes_absolute_and_its_name_stays(home: Path) -> None:
    assert absolute_robot("r.xml") == absolute_robot("./r.xml") == absolute_robot("~/r.xml") == str(home / "r.xml")
    assert [absolute_robot(name) for name in ("g1", "auto", "gone.xml")] == ["g1", "auto", "gone.xml"]
    assert absolute_robot("go2:r.xml") == f"go2:{home / 'r.xml'}" and absolute_robot("go2:gone.xml") == "go2:gone.xml"
