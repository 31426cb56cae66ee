"""What a person sees of a run."""

import io
from typing import Any

import pytest
from rich.console import Console

from engine.runner.console import Progress, duration, make_console, number, results_table, sparkline


def console(width: int = 120, terminal: bool = True) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, highlight=False, color_system=None)


PARTS = ("physics", "systems", "learning")


def text(where: Console) -> str:
    file: Any = where.file
    return str(file.getvalue())


def reported(progress: Progress, iterations: int = 40) -> Progress:
    for i in range(1, iterations + 1):
        row = {"iteration": i, "tick": i, "env_steps": i, "reward/total": i / 40, "end/fallen": 0.25, "rate": 1e-3}
        split = {"physics": 0.5, "systems": 0.3, "learning": 0.2}
        progress.iteration(
            row, {"iteration": i, "elapsed": 2.0 * i, "seconds": 2.0, "steps_per_second": 1234.0, **split}
        )
    return progress


def test_numbers_and_durations_are_short() -> None:
    assert [duration(s) for s in (0, 75, 3700)] == ["0:00", "1:15", "1:01:40"]
    assert [number(v) for v in (0, 3, 0.123456, 12345.6, 1e-5, None, float("nan"), "walk")] == [
        *("0", "3", "0.1235", "12,346", "1.000e-05", "–", "–", "walk"),
    ]


def test_a_sparkline_runs_from_its_least_to_its_largest_value() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([2, 2, float("nan")]) == "▁▁" and sparkline([]) == ""
    assert sparkline([0] * 50 + [1] * 50, width=2) == "▁█"


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_the_panel_shows_progress_split_and_groups_at_any_width(width: int) -> None:
    progress = reported(Progress(console(), "toy  8 rows", 100, ["reward/total"], PARTS))
    progress.event("the disk is full")
    progress.console = where = console(width)
    where.print(progress.render())
    shown = text(where)
    words = ["40", "physics 50%", "learning 20%", "reward", "total", "fallen", "0.25", "other", "rate", "! the disk"]
    for word in words if width > 40 else words[3:]:
        assert word in shown
    assert max(len(line) for line in shown.splitlines()) <= width


def test_the_time_left_follows_the_pace() -> None:
    progress = reported(Progress(console(), "toy", 100, (), PARTS))
    assert progress.remaining() == 60 * 2.0  # 60 iterations at 2 s each
    assert "2:00 left" in progress.plain_line() and "1,234 steps/s" in progress.plain_line()


def test_without_a_terminal_there_are_plain_lines_few_of_them() -> None:
    where = console(200, terminal=False)
    progress = Progress(where, "toy", 40, (), PARTS)
    with progress.shown():
        reported(progress)
        progress.event("careful")
    lines = text(where).splitlines()
    assert [line.split()[1] for line in lines[:-1]] == [
        "1/40",
        "40/40",
    ]  # the first, the last; the others came too fast
    assert lines[-1] == "! careful"


def test_in_a_terminal_the_panel_is_live_and_stays() -> None:
    where = console()
    progress = Progress(where, "toy", 40, (), PARTS)
    with progress.shown():
        progress.tick(0.5)
        reported(progress)
    assert "the first iteration is under way" in text(where)
    assert "40/40" in text(where).split("under way")[-1]


def test_results_with_many_columns_are_turned_on_their_side() -> None:
    narrow, wide = console(), console()
    narrow.print(results_table({"table": [{"clip": "squat", "success": 0.9}, {"clip": "walk"}]}))
    lines = [line.split() for line in text(narrow).splitlines()]
    assert ["│", "squat", "│", "0.9", "│"] in lines and ["│", "walk", "│", "–", "│"] in lines
    wide.print(results_table({"table": [{"clip": "squat", **{f"error {i}": i for i in range(9)}}]}))
    assert ["│", "error", "8", "│", "8", "│"] in [line.split() for line in text(wide).splitlines()]
    results_table({"summary": {"mean": 1.0}})


def test_further_tables_of_an_evaluation_follow_with_their_titles() -> None:
    where = console()
    where.print(
        results_table({"table": [{"clip": "squat"}], "tables": {"Drift": [{"steps": 4, "rad": 0.5}], "None": []}})
    )
    before, after = text(where).split("Drift")
    assert "squat" in before and "None" not in after
    assert ["│", "4", "│", "0.5", "│"] in [line.split() for line in after.splitlines()]


def test_of_many_rows_the_worst_ten_and_all_are_shown() -> None:
    rows = [{"clip": f"c{i}", "success %": float(i // 2), "error": float(i % 2)} for i in range(1000)]
    rows[700]["success %"] = float("nan")
    whole = {"clip": "all", "success %": 249.5, "error": 0.5}
    summary = {name: value for name, value in whole.items() if name != "clip"}
    for table in ([*rows, whole], rows):
        where = console(120, terminal=False)
        where.print(results_table({"table": table, "summary": summary}, ("success %", "-error")))
        lines = text(where).splitlines()
        assert lines[0].strip() == "Evaluation, the worst 10 of 1000 and all"
        shown = [line.split("│")[1].strip() for line in lines if "│" in line]
        assert shown == ["c700", "c1", "c0", "c3", "c2", "c5", "c4", "c7", "c6", "c9", "all"]


def test_of_many_rows_that_nothing_ranks_the_first_are_shown() -> None:
    where = console(120, terminal=False)
    where.print(results_table({"table": [{"clip": f"c{i}"} for i in range(21)]}))
    assert "the first 10 of 21" in text(where) and "c9" in text(where) and "c10" not in text(where)


@pytest.mark.parametrize("columns", ["0", "3", "-5", "x"])
def test_a_width_that_makes_no_sense_is_not_taken(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert make_console().width >= 80


def test_a_dumb_terminal_gets_lines_and_no_live_panel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    where = console(120)
    with Progress(where, "toy", 40, (), PARTS).shown():
        pass
    assert text(where) == ""
