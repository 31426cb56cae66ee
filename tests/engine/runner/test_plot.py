"""Curves of runs: what is drawn where, and the message to a stranger."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from engine.runner import plot as curve
from engine.runner.plot import RunRecord, draw, heading, main, panels, title_of

TITLES = {"error/": "Distance [m]", "error/turn": "Turning [rad]", "reward/": "Reward [1]"}


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "iteration": i,
            "tick": 5 * i,
            "env_steps": 40 * i,
            "error/left": 1.0 / i + seed,
            "error/turn": 0.1 * i,
            "reward/total": i / 10,
            "loss/value": 1000.0 / i,
        }
        for i in range(1, count + 1)
    ]


def recorded(folder: str, count: int = 150, seed: int = 0, scene: str = "toy", **more: Any) -> Path:
    path = Path(folder)
    path.mkdir()
    times = [{"iteration": i, "elapsed": 30.0 * i} for i in range(1, count + 1)]
    for name, lines in (("metrics", rows(count, seed)), ("timing", times)):
        (path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = {"scene": scene, "run": {"seed": seed}, "titles": TITLES, "rows": 8, "identity": {"clips": ["a", "b"]}}
    (path / "config.json").write_text(json.dumps({**config, **more}))
    return path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_title_of_a_name_comes_before_that_of_its_group() -> None:
    assert title_of("error/turn", TITLES) == "Turning [rad]"
    assert title_of("error/left", TITLES) == "Distance [m]"
    assert title_of("loss/value", TITLES) == "loss"
    assert title_of("rate", {}) == "other"


def test_panels_are_in_the_order_of_titles_and_gaps_are_nan() -> None:
    found = rows(4)
    found[2]["error/right"] = 7.0
    found[1]["reward/total"] = None
    shown = panels(found, TITLES)
    assert list(shown) == ["Distance [m]", "Turning [rad]", "Reward [1]"]  # loss has no title, so it is not drawn
    np.testing.assert_array_equal(shown["Distance [m]"]["right"], [np.nan, np.nan, 7.0, np.nan])
    np.testing.assert_array_equal(shown["Reward [1]"]["total"], [0.1, np.nan, 0.3, 0.4])
    assert list(panels(found, {})) == ["error", "reward", "loss"]


def test_the_heading_names_scene_seed_clips_rows_and_results() -> None:
    path = recorded("one")
    (path / "evaluation.json").write_text(json.dumps({"summary": {"success %": 98.4375, "MPJPE mm": 31.25}}))
    lines = heading([RunRecord.read(path)]).splitlines()
    assert lines[0] == "toy:  seed 0  ·  clips a, b  ·  8 simulated in parallel"
    assert lines[-1] == "evaluation after training:  success % 98.44  ·  MPJPE mm 31.25"
    several = heading([RunRecord.read(path), RunRecord.read(recorded("two", seed=5))])
    assert several.startswith("toy:  seeds 0, 5  ·") and "evaluation of seed 0 after training" in several


def test_the_time_axis_shows_minutes_above_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[str]] = {}
    original = Axes.set_xticks

    def set_xticks(self: Axes, ticks: Any, labels: Any = None, **more: Any) -> Any:
        if labels is not None:
            seen.setdefault("minutes", [f"{tick:g}:{label}" for tick, label in zip(ticks, labels, strict=True)])
        return original(self, ticks, labels, **more)

    monkeypatch.setattr(Axes, "set_xticks", set_xticks)
    draw(Path("curve.png"), [RunRecord.read(recorded("one"))])  # 40 steps in half a minute each
    assert {"2000:25", "4000:50"} <= set(seen["minutes"])
    assert Path("curve.png").read_bytes().startswith(b"\x89PNG") and not list(Path().glob("*.part"))


def test_several_seeds_are_drawn_as_mean_and_range(monkeypatch: pytest.MonkeyPatch) -> None:
    bands: list[tuple[np.ndarray, np.ndarray]] = []
    original = Axes.fill_between

    def fill_between(self: Axes, x: Any, low: Any, high: Any, **more: Any) -> Any:
        bands.append((np.asarray(low), np.asarray(high)))
        return original(self, x, low, high, **more)

    monkeypatch.setattr(Axes, "fill_between", fill_between)
    for seed, count in ((0, 40), (2, 50)):
        recorded(f"seed{seed}", count, seed)
    assert main(["seed0", "seed2", "--out", "both.png"]) == 0
    assert Path("both.png").exists()
    low, high = bands[0]
    assert len(low) == 40  # only what both have reached
    np.testing.assert_allclose(high - low, 2.0)  # their errors differ by the seed
    np.testing.assert_allclose(low, 1.0 / np.arange(1, 41))


def test_all_that_is_written_fits_into_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for text is fixed: numbers of eight characters, the minutes above and the heading have their place in it."""
    seen: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *given, **more: seen.append(self))
    path = recorded("one")
    (path / "evaluation.json").write_text(json.dumps({"summary": {"success %": 98.4375}}))
    lines = [{**row, "reward/total": -1e-5 * row["iteration"] / 4} for row in rows(150)]  # -0.00035
    draw(Path("curve.png"), [RunRecord.read(path, lines)])
    (figure,) = seen
    written = figure.get_tightbbox()  # inches
    width, height = figure.get_size_inches()
    assert 0 <= written.x0 < written.x1 <= width and 0 <= written.y0 < written.y1 <= height
    boxes = [axes.get_tightbbox() for axes in figure.axes if axes.get_title(loc="left")]
    assert len(boxes) == 3
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])


def test_what_cannot_be_drawn_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    recorded("one"), recorded("other", scene="dance"), recorded("new", 0)
    for given, sentence in {
        ("nowhere",): "error: nowhere is not a run folder: metrics.jsonl cannot be read",
        ("one", "new"): "error: new has not finished an iteration yet",
        ("one", "other"): "error: The runs are of different scenes (toy, dance)",
    }.items():
        assert main(list(given)) == 2
        assert capsys.readouterr().err.startswith(sentence)
    assert not Path("curves.png").exists()


def test_nothing_is_drawn_without_numbers() -> None:
    draw(Path("none.png"), [RunRecord(Path("x"), [], [])])
    draw(Path("none.png"), [RunRecord(Path("x"), [{"iteration": 1, "tick": 5}], [])])
    assert not Path("none.png").exists()


def test_a_torn_last_line_is_left_out() -> None:
    path = recorded("one", 3)
    with open(path / "metrics.jsonl", "a") as file:
        file.write('{"iteration": 4, "err')
    assert len(RunRecord.read(path).rows) == 3
    assert curve.group("a/b/c") == ("a", "b/c")


def test_a_number_that_some_iterations_lack_is_one_line_through_those_that_have_it() -> None:
    axes = Figure().subplots()
    values = np.array([1.0, np.nan, np.nan, 3.0, np.nan, 5.0, np.nan])
    curve._draw_line(axes, np.arange(7), values, "return")
    (line,) = axes.get_lines()
    assert line.get_xdata().tolist() == [0, 3, 5] and line.get_ydata().tolist() == [1.0, 3.0, 5.0]
