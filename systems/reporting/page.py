"""The page of a report: one HTML file that needs nothing else, with everything in it that was measured, drawn and filmed."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import attrs

from engine.errors import listing
from engine.trained import number
from systems.film.film import squeeze
from systems.reporting.measures import FIXED, METRICS, Metric
from systems.reporting.summary import ReportColumn, Spread

MOST_BYTES = 5_000_000  # of a page
_MARKUP = 30_000  # bytes kept free for what is written around films
TOO_MUCH = "Left out, to keep the page small: {}. All numbers are in evaluation.json; evaluate fewer runs or clips to see more."
MANY_LINES, FEWEST_LINES = 200, 8  # of a table of clips, on a page that is too large
SHOWN_BY_CLIP = (
    "success %", "completion %", "MPJPE global mm", "R-MPKPE mm", "joints rad", "end effectors mm", "contact error %", "power W",
)  # fmt: skip
SUCCEEDED = " (succeeded)"


@attrs.define
class ClipPictures:
    """What is drawn of one clip: SVGs."""

    name: str
    course: bytes
    contacts: bytes | None = None
    joints: bytes | None = None
    failures: str = ""


@attrs.frozen
class ReportFilm:
    """A film of a run, and what it shows in words."""

    run: str
    path: Path
    shown: str


@attrs.define
class Report:
    """Everything that a page shows."""

    title: str
    facts: Mapping[str, Any]
    protocol: Sequence[str]
    runs: Sequence[Mapping[str, Any]]
    differences: str
    colours: Mapping[str, str]
    columns: Sequence[ReportColumn]
    clips: Sequence[ClipPictures] = ()
    films: Sequence[ReportFilm] = ()
    curve: bytes | None = None
    notes: Mapping[str, str] = attrs.field(factory=dict)  # course, contacts, joints, hidden
    lines: int = 10**9  # at most, in a table of clips

    def write(self) -> bytes:
        """The page, of at most MOST_BYTES as long as what is written and drawn leaves room for films."""
        bare, note, left_out = self._render([]), self.notes.get("hidden", ""), self._leave_out()
        while len(bare) > MOST_BYTES and (
            what := next(left_out, "")
        ):  # few runs of a robot with few joints never get here
            self.notes = {**self.notes, "hidden": f"{note} {TOO_MUCH.format(what)}".strip()}
            bare = self._render([])
        room = max(0, MOST_BYTES - len(bare) - _MARKUP) * 3 // 4 // max(1, len(self.films))
        films = [
            {"run": film.run, "shown": film.shown, "file": film.path.name, "data": _encoded(film, room)}
            for film in self.films
        ]
        return self._render(films)

    def _leave_out(self) -> Iterator[str]:
        """Leave out one thing after the other, the least telling first; says all that is left out so far."""
        gone, clips = dict[str, str](), len(self._clip_names())

        def shorten(to: int) -> Iterator[str]:
            while min(self.lines, clips) > to:
                self.lines = max(to, min(self.lines, clips) // 2)
                gone["lines"] = f"all but the worst {self.lines} clips in tables of clips"
                yield listing(gone.values())

        yield from shorten(MANY_LINES)
        for part in ("joints", "contacts"):
            for clip in reversed(self.clips):
                if getattr(clip, part) is not None:
                    setattr(clip, part, None)
                    gone[part + clip.name] = f"the {part} of {clip.name}"
                    yield listing(gone.values())
        yield from shorten(FEWEST_LINES)

    def _render(self, films: Sequence[Mapping[str, Any]]) -> bytes:
        names = self._names()
        text = page_template().render(
            title=self.title,
            facts=self.facts,
            protocol=self.protocol,
            runs=[{name: _cell(run.get(name)) for name in _heads(self.runs)} for run in self.runs],
            run_columns=_heads(self.runs),
            differences=self.differences,
            colours=self.colours,
            spread=_about_spread(self.columns),
            tables=[self._table(clip, names) for clip in self._summarised()],
            clip_tables=self._clip_tables(),
            films=films,
            clips=[
                {
                    "name": c.name,
                    "failures": c.failures,
                    **{k: _base64(getattr(c, k)) for k in ("course", "contacts", "joints")},
                }
                for c in self.clips
            ],
            course_note=self.notes.get("course", ""),
            contact_note=self.notes.get("contacts", ""),
            joint_note=self.notes.get("joints", ""),
            not_shown=self.notes.get("hidden", ""),
            curve={"kind": kind_of_picture(self.curve), "data": _base64(self.curve)} if self.curve else None,
            glossary={name: METRICS[name].about for name in names if name in METRICS},
        )
        return str(text).encode()

    def _clip_names(self) -> list[str]:
        return list(dict.fromkeys(clip for column in self.columns for clip in column.spreads))

    def _summarised(self) -> list[str]:
        """Clips with a table of all numbers: the only one, or all of them together."""
        clips = self._clip_names()
        return ["all"] if "all" in clips else clips[:1]

    def _names(self) -> list[str]:
        """Every number that there is, those that are known first."""
        found = dict.fromkeys(n for column in self.columns for numbers in column.spreads.values() for n in numbers)
        known = [name for name in METRICS if name in found]
        succeeded = [name for name in found if name.endswith(SUCCEEDED)]
        return [*known, *(n for n in found if n not in METRICS and n not in succeeded), *succeeded]

    def _table(self, clip: str, names: Sequence[str]) -> dict[str, Any]:
        lines = []
        for name in names:
            spreads = [column.spreads.get(clip, {}).get(name) for column in self.columns]
            if any(spreads):
                lines.append({"name": name, "about": about(name), "cells": self._compared(name, spreads)})
        return {"clip": clip, "headings": [column.title for column in self.columns], "lines": lines}

    def _compared(self, name: str, spreads: Sequence[Spread | None]) -> list[dict[str, Any]]:
        """Cells of a line; of the single runs that were played alike, the best is marked."""
        cells = [_cell_of(name, spread) for spread in spreads]
        better = metric_of(name).better
        for noisy in (False, True) if better else ():
            alike = {
                place: spread.mean
                for place, (column, spread) in enumerate(zip(self.columns, spreads, strict=True))
                if column.noisy is noisy and column.runs == 1 and spread is not None
            }
            best = (max if better == "more" else min)(alike.values(), default=None)
            places = [place for place, mean in alike.items() if mean == best]
            if len(alike) > 1 and len(places) == 1:
                cells[places[0]]["best"] = True
        return cells

    def _clip_tables(self) -> list[dict[str, Any]]:
        """A table for each column, of the clips; none of a single clip."""
        clips = [clip for clip in self._clip_names() if clip != "all"]
        if len(clips) < 2:
            return []
        found = []
        for column in self.columns:
            names = [name for name in SHOWN_BY_CLIP if any(name in column.spreads.get(clip, {}) for clip in clips)]
            lines = [
                {"name": clip, "cells": [_cell_of(name, column.spreads.get(clip, {}).get(name)) for name in names]}
                for clip in (clips if len(clips) <= self.lines else worst_clips([column.spreads], clips)[: self.lines])
            ]
            found.append({"title": column.title, "headings": names, "lines": lines})
        return found


def worst_clips(spreads: Sequence[Mapping[str, Mapping[str, Spread]]], clips: Sequence[str]) -> list[str]:
    """Clips, those first with the least success and then the largest error, on average."""

    def goodness(clip: str) -> tuple[float, float]:
        def mean(name: str) -> float:
            values = [s[clip][name].mean for s in spreads if name in s.get(clip, {})]
            return sum(values) / len(values) if values else 0.0

        return mean("success %"), -mean("R-MPKPE mm")

    return sorted(clips, key=goodness)


def metric_of(name: str) -> Metric:
    """What is known of a number; nothing of those that a scene of its own measures."""
    return METRICS.get(name.removesuffix(SUCCEEDED), Metric(""))


def about(name: str) -> str:
    """What a number is, in words."""
    words = metric_of(name).about
    return f"{words}, of the episodes that succeeded" if words and name.endswith(SUCCEEDED) else words


@cache
def page_template() -> Any:
    """The template of the page, in which every text is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string((Path(__file__).parent / "page.html.jinja").read_text(encoding="utf-8"))


def kind_of_picture(data: bytes) -> str:
    """The media type of a PNG, or else of an SVG."""
    return "image/png" if data.startswith(b"\x89PNG") else "image/svg+xml"


def _about_spread(columns: Sequence[ReportColumn]) -> str:
    counts = [
        spread.count for c in columns if c.runs == 1 for numbers in c.spreads.values() for spread in numbers.values()
    ]
    words = (
        f"Mean ± standard deviation over {max(counts, default=1)} seeds of the evaluation."
        if max(counts, default=1) > 1
        else ""
    )
    if any(column.runs > 1 for column in columns):
        words += (
            " Columns of several runs: mean ± standard deviation over the runs, which differ in their seed of training."
        )
    best = (
        " The best number of the runs that were played alike is bold."
        if sum(c.runs == 1 for c in columns if c.noisy == columns[0].noisy) > 1
        else ""
    )
    return (words + best).strip()


def _cell_of(name: str, spread: Spread | None) -> dict[str, Any]:
    if spread is None:
        return {"mean": "–", "std": "", "best": False}
    return {"mean": number(spread.mean), "std": "" if name in FIXED else spread.deviation(), "best": False}


def _heads(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return number(value) if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _encoded(film: ReportFilm, most: int) -> str:
    data = squeeze(film.path, most)
    return "" if data is None else _base64(data)


def _base64(data: bytes | None) -> str:
    return base64.b64encode(data).decode() if data is not None else ""
