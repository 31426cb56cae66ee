"""A page says what was measured, compares like with like, trusts no name, and stays small."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from systems.film.film import encode, squeeze
from systems.reporting import page
from systems.reporting.figures import draw_contacts, draw_course, draw_joints, run_colours
from systems.reporting.page import ClipPictures, Report, ReportFilm
from systems.reporting.summary import Example, Outcome, ReportColumn, Spread, column_of, short_names, together

EVIL = '<script>alert("x")</script>&$a$'
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Structure(HTMLParser):
    """The elements of a page; raises where they are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def spread(mean: float, std: float | None = None) -> Spread:
    return Spread(mean, std, 1 if std is None else 3)


def column(name: str, noisy: bool = False, runs: int = 1, **numbers: Spread) -> ReportColumn:
    return ReportColumn(name, noisy, {"walk": {key.replace("_", " "): value for key, value in numbers.items()}}, runs)


def report(*columns: ReportColumn, **more: Any) -> Report:
    given = {
        "title": "Evaluation",
        "facts": {"scene": "s"},
        "protocol": ["One episode."],
        "runs": [{"run": "a"}],
        "differences": "",
    }
    return Report(**{**given, "colours": {"a": "#123456"}, "columns": columns, **more})


def cells(text: str, metric: str) -> list[str]:
    (line,) = re.findall(rf"<tr><th[^>]*>{re.escape(metric)}</th>(.*?)</tr>", text, re.S)
    return re.findall(r"<td.*?</td>", line, re.S)


def test_names_of_runs_and_clips_are_text_wherever_they_stand() -> None:
    made = ReportColumn(EVIL, False, {EVIL: {"success %": spread(1.0)}, "b": {"success %": spread(1.0)}})
    pictures = ClipPictures(EVIL, b"<svg/>", b"<svg/>", b"<svg/>", EVIL)
    text = report(
        made, clips=[pictures], title=EVIL, facts={EVIL: EVIL}, protocol=[EVIL], runs=[{EVIL: EVIL}], colours={EVIL: "#123456"},
        differences=EVIL, notes={"course": EVIL, "hidden": EVIL},
    ).write().decode()  # fmt: skip
    found = Structure(text)
    assert not [tag for tag, _ in found.seen if tag == "script"]
    assert sum(EVIL in each for each in found.texts) >= 10
    assert next(a["alt"] for tag, a in found.seen if tag == "img").endswith(EVIL)  # type: ignore[union-attr]


def test_a_page_needs_nothing_from_elsewhere() -> None:
    text = (
        report(column("a", success=spread(1.0)), clips=[ClipPictures("walk", b"<svg/>")], curve=b"\x89PNG")
        .write()
        .decode()
    )
    sources = [a.get("src") or a.get("href") for _, a in Structure(text).seen if "src" in a or "href" in a]
    assert sources and all(str(each).startswith("data:") for each in sources)
    assert "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode() in text
    assert "://" not in re.sub(r'"data:[^"]*"', "", text)


def test_the_best_of_runs_that_were_played_alike_is_bold() -> None:
    columns = [
        column("a", power_W=spread(3.0)), column("b", power_W=spread(2.0)), column("a", True, power_W=spread(1.0)),
        column("a, b", False, 2, power_W=spread(0.5)),
    ]  # fmt: skip
    assert ["best" in cell for cell in cells(report(*columns).write().decode(), "power W")] == [
        False,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("name", "values", "best"), [("success %", (1.0, 2.0), [1]), ("return", (2.0, 2.0), []), ("mine", (1.0, 2.0), [])]
)
def test_more_is_better_where_it_is_and_nothing_is_best_that_others_equal(
    name: str, values: tuple[float, float], best: list[int]
) -> None:
    columns = [ReportColumn(run, False, {"walk": {name: spread(v)}}) for run, v in zip("ab", values, strict=True)]
    found = cells(report(*columns).write().decode(), name)
    assert [place for place, cell in enumerate(found) if "best" in cell] == best


def test_a_number_stands_beside_its_deviation_and_its_meaning() -> None:
    text = report(column("a", power_W=spread(3.25, 0.125), episodes=spread(64.0, 0.0))).write().decode()
    assert "3.25 <small>± 0.12</small>" in cells(text, "power W")[0]
    assert "±" not in cells(text, "episodes")[0]
    assert "max(torque × speed, 0)" in text


def test_every_clip_has_a_line_and_all_numbers_are_those_of_all_clips() -> None:
    numbers = {clip: {"success %": spread(value)} for clip, value in (("walk", 10.0), ("squat", 90.0), ("all", 50.0))}
    text = report(ReportColumn("a", False, numbers)).write().decode()
    assert "<h3>all</h3>" in text and "50" in cells(text, "success %")[0]
    assert "10" in cells(text, "walk")[0] and "90" in cells(text, "squat")[0]


# -- films ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of noise, which no encoder makes small."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    rng = np.random.default_rng(0)
    frames = (rng.integers(0, 255, (240, 320, 3), dtype=np.uint8) for _ in range(25))
    encode(path, frames, 25.0, (320, 240))
    return path


def test_a_film_that_fits_is_left_as_it_is_and_another_made_smaller(film: Path) -> None:
    whole = film.read_bytes()
    assert squeeze(film, len(whole)) == whole
    less = squeeze(film, len(whole) // 3)
    assert less is not None and len(less) <= len(whole) // 3 and b"ftyp" in less[:16]
    assert squeeze(film, 100) is None


def test_films_that_are_too_large_stay_beside_the_page(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films = [ReportFilm("a", film, "walk"), ReportFilm("b", film, "walk")]
    made = report(column("a", success=spread(1.0)), films=films)
    assert made.write().count(b"data:video/mp4;base64,") == 2
    most = len(made._render([])) + page._MARKUP + film.stat().st_size
    monkeypatch.setattr(page, "MOST_BYTES", most)
    assert len(made.write()) <= most and b"data:video/mp4" in made.write()
    monkeypatch.setattr(page, "MOST_BYTES", 100)
    assert b'too large for this page: <a href="film.mp4">' in made.write()


def test_joints_are_left_out_of_a_page_that_grows_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [ClipPictures(name, b"<svg/>", joints=b"x" * 30_000) for name in ("walk", "squat")]
    monkeypatch.setattr(page, "MOST_BYTES", 60_000)
    made = report(column("a", success=spread(1.0)), clips=clips)
    text = made.write().decode()
    assert len(text) <= 60_000 and text.count("Every joint over time") == 1
    assert page.TOO_MUCH.format("the joints of squat") in text


def test_the_worst_of_very_many_clips_stand_on_a_page_that_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = {f"clip_{n:05d}": {"success %": spread(float(n)), "power W": spread(1.0, 0.5)} for n in range(2_000)}
    monkeypatch.setattr(page, "MOST_BYTES", 60_000)
    made = report(ReportColumn("a", False, {"all": clips["clip_00000"], **clips}, 1))
    text = made.write().decode()
    assert len(text) <= 60_000 and made.lines == 500  # half of a half
    assert page.TOO_MUCH.format("all but the worst 500 clips in tables of clips") in text
    assert ">clip_00499<" in text and ">clip_00500<" not in text


# -- figures -------------------------------------------------------------------------------------------


def example(frames: int = 50) -> Example:
    time = 0.02 * torch.arange(1, frames + 1)
    swing = torch.stack((time.sin(), time.cos()), 1)
    touching = torch.stack((time > 0.5, time > 9.0), 1)
    return Example(time, swing, swing + 0.1, touching, ~touching)


def test_figures_are_the_same_bytes_each_time_and_say_no_names_of_runs() -> None:
    outcome = Outcome(
        "evil run", True, errors={"walk": [torch.rand(4, 50)]}, alive={"walk": [torch.ones(4, 50).bool()]}
    )
    outcome.failures = [{"clip": "walk", "time s": 0.3}]
    colours = run_colours(["evil run"])
    for draw in (
        lambda: draw_course([outcome], "walk", "R-MPKPE mm", 0.02, colours),
        lambda: draw_joints({"evil run": example()}, ("$hip$", "_knee"), colours),
        lambda: draw_contacts({"evil run": example()}, ("left", "right"), colours),
    ):
        once, again = draw(), draw()
        assert once is not None and once == again and once.lstrip().startswith(b"<?xml") and b"evil" not in once
    assert b"$hip$" in draw_joints({"evil run": example()}, ("$hip$", "_knee"), colours)


def test_who_tells_of_no_feet_has_no_contacts() -> None:
    blind = Example(torch.arange(3.0), torch.zeros(3, 2), None, None, None)
    assert draw_contacts({"a": blind}, ("left",), {"a": "#123456"}) is None


def test_every_run_has_a_colour_of_its_own() -> None:
    for count in (1, 8, 9, 40):
        colours = run_colours([str(number) for number in range(count)])
        assert len(set(colours.values())) == count and all(re.fullmatch("#[0-9a-f]{6}", c) for c in colours.values())


# -- summaries -----------------------------------------------------------------------------------------


def test_a_spread_is_mean_and_deviation_of_what_is_known() -> None:
    found = Spread.over([1.0, 3.0, None, float("nan"), 5.0])
    assert found == Spread(3.0, 2.0, 3)
    assert Spread.over([7]) == Spread(7.0, None, 1) and Spread.over([None]) is None


@pytest.mark.parametrize(
    ("std", "text"), [(None, ""), (0.0, "0"), (0.01234, "0.012"), (12.34, "12"), (1234.5, "1,234")]
)
def test_a_deviation_has_the_digits_that_say_something(std: float | None, text: str) -> None:
    assert Spread(1.0, std, 3).deviation() == text


def test_a_column_is_over_the_seeds_of_the_evaluation_and_runs_together_are_over_their_means() -> None:
    tables = [[[{"clip": "walk", "power W": value}] for value in values] for values in ((1.0, 3.0), (5.0, 7.0))]
    columns = [column_of(Outcome(name, False, [0, 1], table)) for name, table in zip("ab", tables, strict=True)]
    assert columns[0].spreads["walk"]["power W"] == Spread(2.0, pytest.approx(2**0.5), 2)
    (both,) = together(columns, {"mean": ["a", "b"]})
    assert both.spreads["walk"]["power W"] == Spread(4.0, pytest.approx(8**0.5), 2) and both.runs == 2


def test_names_are_as_short_as_they_differ() -> None:
    assert short_names([Path("/r/a"), Path("/r/b")]) == ["a", "b"]
    assert short_names([Path("/r/a/x"), Path("/r/b/x")]) == ["a/x", "b/x"]
