"""Files: JSON lines that are torn, cut back or taken over."""

from pathlib import Path

from engine import files
from engine.files import JsonLines, absolute, write_shared_file


def test_rows_after_a_tick_and_torn_ones_are_dropped(tmp_path: Path):
    path = tmp_path / "lines"
    for rest in ("", '{"tick": 3}\n{"tick": 2}\n', '{"tick": 2', "rubbish\n", '{"tick": 2}', "[]\n", '{"tick": "2"}\n'):
        path.write_text('{"tick": 1}\n{"tick": 2}\n' + rest)
        JsonLines(path, print).cut(0, 2)
        assert path.read_text() == '{"tick": 1}\n{"tick": 2}\n'
    JsonLines(tmp_path / "nothing", print).cut(0, 2)
    assert not (tmp_path / "nothing").exists()


def test_rows_that_tell_no_tick_are_cut_by_their_iteration(tmp_path: Path):
    path = tmp_path / "lines"
    path.write_text('{"iteration": 1}\n{"iteration": 2}\n{"iteration": 3}\n')
    JsonLines(path, print).cut(2, 0)
    assert path.read_text() == '{"iteration": 1}\n{"iteration": 2}\n'


def test_rows_of_another_file_are_taken_also_after_a_later_one(tmp_path: Path):
    """What was done by hand in a run that went back stands in the order of time, not of ticks."""
    source = tmp_path / "source"
    source.write_text('{"tick": 1}\n{"tick": 9}\n{"tick": 2}\n')
    JsonLines(tmp_path / "lines", print).take(source, 0, 5)
    assert (tmp_path / "lines").read_text() == '{"tick": 1}\n{"tick": 2}\n'


def test_two_processes_that_write_one_file_do_not_spoil_each_others(tmp_path: Path, monkeypatch) -> None:
    path, order = tmp_path / "evaluation.json", []

    def pieces():
        yield b"first "
        monkeypatch.setattr(files.os, "getpid", lambda: 4712)
        write_shared_file(path, b"second")
        order.append(path.read_bytes())
        yield b"half"

    write_shared_file(path, pieces())
    assert order == [b"second"] and path.read_bytes() == b"first half" and list(tmp_path.iterdir()) == [path]


def test_an_absolute_path_takes_back_what_it_can_and_follows_no_link(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    for name in ("a/clip.csv", "b/clip.csv"):
        (tmp_path / name).touch()
    (tmp_path / "b" / "link").symlink_to(tmp_path / "a" / "deep")
    monkeypatch.chdir(tmp_path / "b")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert absolute(Path("../a/clip.csv")) == absolute(Path("~/a/clip.csv")) == tmp_path / "a" / "clip.csv"
    assert absolute(Path("link/../clip.csv")).samefile(tmp_path / "a" / "clip.csv")  # and not b/clip.csv
    assert absolute(Path("link")) == tmp_path / "b" / "link" and absolute(Path("gone")) == tmp_path / "b" / "gone"
