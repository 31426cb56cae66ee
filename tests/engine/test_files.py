"""Files: JSON lines that are torn, cut back or taken over."""

from pathlib import Path

from engine.files import JsonLines


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
