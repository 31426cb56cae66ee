"""Terminal output of a run: live progress in a terminal, plain lines elsewhere, warnings, and tables of results."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from engine.runner.plot import BESIDES, group
from engine.runner.run_log import RunLog

_COLOURS = ("cyan", "yellow", "green", "blue")  # of the parts of a tick's time, but for "systems"
_BARS = "▁▂▃▄▅▆▇█"
_REFRESH = 0.25
_MOST_ROWS, _WORST = 20, 10  # of a table that is printed whole, and those that are shown of a longer one
_LEAST_WIDTH = 20
_PLAIN_PAUSE = 5.0
_COLUMN = 36
_WITH_TRENDS = 49


def make_console(error: bool = False) -> Console:
    """A console; wide where nobody looks, so that tables in a log are not folded, and where COLUMNS makes no sense."""
    console = Console(stderr=error, highlight=False)
    if console.is_terminal and console.width >= _LEAST_WIDTH:
        return console
    return Console(stderr=error, highlight=False, width=80 if console.is_terminal else 160)


def duration(seconds: float) -> str:
    """75 -> '1:15', 3700 -> '1:01:40'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def number(value: Any) -> str:
    """Four significant digits, thousands with commas; a dash for what is unknown."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return "–" if not isinstance(value, str) else value
    if value == 0 or (isinstance(value, int) and abs(value) < 1e15) or abs(value) >= 1e4:
        return f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.3g}"
    return f"{value:.3e}" if abs(value) < 1e-3 else f"{value:.4g}"


def sparkline(values: Sequence[float], width: int = 12) -> str:
    """All values from left to right, averaged into at most `width` bars between the least and the largest."""
    known = np.asarray(values, float)
    parts = np.array_split(known[np.isfinite(known)], width)
    means = np.array([part.mean() for part in parts if len(part)])
    if not len(means):
        return ""
    low, high = means.min(), means.max()
    heights = (means - low) / (high - low) * (len(_BARS) - 1) if high > low else means * 0
    return "".join(_BARS[round(height)] for height in heights)


def print_facts(console: Any, facts: Mapping[str, str]) -> None:
    """One line each; empty ones are left out."""
    for name, value in facts.items():
        if value:
            console.print(f"  {name:<11} {value}", markup=False, soft_wrap=True)


@contextmanager
def progress_bar(console: Console, text: str) -> Iterator[Callable[[float, float, str], None]]:
    """A bar that stays as long as this lasts, in a terminal; the function that moves it gets what is done, of how much, and a text."""
    columns = (TextColumn("{task.description}"), BarColumn())
    with Bars(*columns, console=console, transient=True, disable=not console.is_interactive) as bar:
        task = bar.add_task(text, total=1.0)
        yield lambda done, total, text: bar.update(task, completed=done, total=total, description=text)


@attrs.define
class Progress:
    """Live display of a run's progress.

    `first` names the values that lead; `parts` those of a tick's time; `events` are the latest remarks.
    """

    console: Console
    title: str
    total: int
    first: Sequence[str] = ()
    parts: Sequence[str] = ("systems",)
    done: float = 0.0
    values: dict[str, Any] = attrs.field(factory=dict)
    timing: dict[str, Any] = attrs.field(factory=dict)
    history: dict[str, list[float]] = attrs.field(factory=dict)
    trends: dict[str, str] = attrs.field(factory=dict)
    events: deque[str] = attrs.field(factory=lambda: deque(maxlen=3))
    pace: deque[float] = attrs.field(factory=lambda: deque(maxlen=30))
    elapsed: float = 0.0
    live: Live | None = None
    last: float = -math.inf  # moment of the latest drawing
    noted: float = -math.inf  # moment of the latest plain line
    note: Callable[[str], None] = lambda text: None  # who else gets plain lines

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Live while training runs, in a terminal that can go back over what it shows."""
        if not self.console.is_interactive:
            yield
            return
        with Live(self.render(), console=self.console, auto_refresh=False) as self.live:
            yield
            self.live.update(self.render(), refresh=True)
        self.live = None

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Gone from the terminal, for something else that is drawn there."""
        if self.live is None:
            yield
            return
        self.live.stop()
        try:
            yield
        finally:
            self.live.start(refresh=True)

    def tick(self, done: float) -> None:
        """Take note of how many iterations are done, with a fraction; redraws a few times a second."""
        self.done = done
        if self.live is not None and time.monotonic() - self.last > _REFRESH:
            self.last = time.monotonic()
            self.live.update(self.render(), refresh=True)

    def iteration(self, row: Mapping[str, Any], timing: Mapping[str, Any]) -> None:
        """Take note of the numbers of a finished iteration; details, as group/name/label, are for files and debuggers."""
        self.done = row["iteration"]
        self.values = {name: value for name, value in row.items() if name not in BESIDES and name.count("/") < 2}
        self.timing = dict(timing)
        self.pace.append(timing["elapsed"] - self.elapsed if self.elapsed else timing["seconds"])
        self.elapsed = timing["elapsed"]
        for name, value in self.values.items():
            if isinstance(value, (int, float)):
                self.history.setdefault(name, []).append(value)
                self.trends[name] = sparkline(self.history[name])
        now = time.monotonic()
        if now - self.noted > _PLAIN_PAUSE or self.done >= self.total:
            self.noted = now
            line = self.plain_line()
            self.note(line)
            if self.live is None:
                self.console.print(line, markup=False, soft_wrap=True)

    def event(self, text: str) -> None:
        """A remark, such as a warning."""
        self.events.append(text)
        if self.live is None:
            self.console.print(f"! {text}", markup=False, soft_wrap=True)

    def remaining(self) -> float:
        """Seconds to the end at the pace of late."""
        return (self.total - self.done) * sum(self.pace) / max(len(self.pace), 1)

    def leading(self) -> list[str]:
        """Names of the values that stand for the run: the scene's, or the first of every group."""
        chosen = [name for name in self.first if name in self.values]
        firsts = {group(name)[0]: name for name in reversed(list(self.values))}
        return chosen or list(firsts.values())[::-1][:4]

    def plain_line(self) -> str:
        """One line of a log."""
        speed = number(round(self.timing.get("steps_per_second", 0)))
        shares = " ".join(f"{name} {self.timing[name]:.0%}" for name in self.parts if name in self.timing)
        parts = [f"iteration {int(self.done)}/{self.total}", f"{speed} steps/s", *([shares] if shares else [])]
        parts += [f"{name} {number(self.values[name])}" for name in self.leading()]
        return "  ".join([*parts, f"{duration(self.elapsed)} gone", f"{duration(self.remaining())} left"])

    def render(self) -> RenderableType:
        """The whole display."""
        inner = max(40, self.console.width - 4)
        body: list[RenderableType] = [self._progress(inner)]
        if self.timing:
            body += [self._split(inner), Text(), self._groups(inner)]
        else:
            body.append(Text("the first iteration is under way", style="dim"))
        body += [Text(f"! {text}", style="yellow") for text in self.events]
        title = f"[bold]{escape(self.title)}[/]"
        return Panel(Group(*body), title=title, title_align="left", border_style="blue", padding=(0, 1))

    def _progress(self, width: int) -> RenderableType:
        text = Text.assemble((f"  {int(self.done)}", "bold"), f"/{self.total}")
        if self.timing:
            text.append(f"  {duration(self.elapsed)} gone", "dim")
            text.append(f"  {duration(self.remaining())} left", "green")
            text.append(f"  {number(round(self.timing['steps_per_second']))} steps/s", "bold cyan")
        grid = Table.grid(expand=True)
        grid.add_column(ratio=1)
        grid.add_column(no_wrap=True)
        room = max(8, width - text.cell_len)
        grid.add_row(ProgressBar(total=self.total, completed=self.done, complete_style="blue", width=room), text)
        return grid

    def _split(self, width: int) -> RenderableType:
        bar, labels = Text(), Text(justify="left")
        left = width
        colours = dict(zip([part for part in self.parts if part != "systems"], _COLOURS, strict=False))
        for name in (part for part in self.parts if part in self.timing):
            style = colours.get(name, "magenta")
            share = self.timing[name]
            cells = min(left, round(share * width))
            left -= cells
            bar.append("━" * cells, style)
            labels.append("■ ", style)
            labels.append(f"{name} {share:.0%}   ", "dim")
        return Group(bar, labels)

    def _groups(self, width: int) -> RenderableType:
        groups: dict[str, list[str]] = {}
        lead = self.leading()
        for name in [*lead, *(name for name in self.values if name not in lead)]:
            groups.setdefault(group(name)[0], []).append(name)
        columns = max(1, min(len(groups), 2 if width < 3 * _WITH_TRENDS else 3, width // _COLUMN))
        stacks: list[list[RenderableType]] = [[] for _ in range(columns)]
        heights = [0] * columns
        for head, names in groups.items():
            at = heights.index(min(heights))
            stacks[at].append(self._table(head, names, (width - 2 * columns) // columns, lead))
            heights[at] += len(names) + 2
        grid = Table.grid(padding=(0, 2), expand=True)
        for _ in range(columns):
            grid.add_column(ratio=1)
        grid.add_row(*(Group(*stack) for stack in stacks))
        return grid

    def _table(self, head: str, names: Sequence[str], width: int, lead: Sequence[str]) -> RenderableType:
        trends = width >= _WITH_TRENDS
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=max(10, width - (26 if trends else 12)), no_wrap=True, overflow="ellipsis")
        grid.add_column(justify="right", width=10)
        grid.add_column(width=12 if trends else 0, style="blue", no_wrap=True)
        grid.add_row(Text(head, style="bold"))
        for name in names:
            style = "bold green" if name in lead else ""
            value = Text(number(self.values[name]), style=style)
            grid.add_row(Text(f"  {group(name)[1]}", style=style), value, self.trends.get(name, "") if trends else "")
        return grid


def worst_rows(rows: Sequence[Mapping[str, Any]], worst: Sequence[str], count: int) -> list[Mapping[str, Any]]:
    """The worst rows by the columns `worst`, of which the first counts most; with "-" in front less is better.

    Without such columns the first rows. A number that is not there, or not finite, is worse than any.
    """

    def goodness(row: Mapping[str, Any]) -> list[float]:
        found = []
        for name in worst:
            value = row.get(name.removeprefix("-"))
            known = isinstance(value, (int, float)) and math.isfinite(value)
            found.append(
                (-1.0 if name.startswith("-") else 1.0) * float(value) if known and value is not None else -math.inf
            )
        return found

    return sorted(rows, key=goodness)[:count]


def results_table(result: Mapping[str, Any], worst: Sequence[str] = ()) -> RenderableType:
    """The rows of an evaluation, of many the worst and what sums up all, and its further tables.

    A table is turned on its side where it is too wide for a terminal.
    """
    summary: Mapping[str, Any] = result.get("summary") or {}
    rows: list[Mapping[str, Any]] = list(result.get("table") or ([summary] if summary else []))
    title = "Evaluation"
    if len(rows) > _MOST_ROWS:
        last = summary and all(rows[-1].get(name) == value for name, value in summary.items())
        whole = rows[-1] if last else {next(iter(rows[0])): "all", **summary} if summary else None
        each = rows[:-1] if last else rows
        title = f"Evaluation, the {'worst' if worst else 'first'} {_WORST} of {len(each)}{' and all' if whole else ''}"
        rows = [*worst_rows(each, worst, _WORST), *([whole] if whole else [])]
    further = [_titled_table(name, some) for name, some in (result.get("tables") or {}).items() if some]
    return Group(_titled_table(title, rows), *further)


def _titled_table(title: str, rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(header_style="bold")
    cells = [columns, *([number(row.get(name)) for name in columns] for row in rows)]
    if len(columns) > 7 and len(rows) < len(columns):
        cells = [list(line) for line in zip(*cells, strict=True)]
    for position, head in enumerate(cells[0]):
        table.add_column(escape(head), justify="right" if position else "left")
    for line in cells[1:]:
        table.add_row(*map(escape, line))
    return Group(Text(title, style="bold"), table)


@attrs.define
class Warnings:
    """Warnings of a run: printed at once, shown beside its progress, and kept for the summary.

    It prints other things, too: on the console and, once there is one, into the run's log.
    """

    console: Any
    progress: Progress | None = None
    messages: list[str] = attrs.field(factory=list)
    listener: Callable[[str], None] | None = None  # who else gets them
    log: RunLog | None = None

    def begin_log(self, log: RunLog | None) -> None:
        """Keep in a run's log what is printed from now on, and the warnings until now."""
        self.log = log
        for text in self.messages:
            self.note(f"! {text}")

    def note(self, text: str) -> None:
        """A line for the log only."""
        if self.log is not None:
            self.log.print(text, markup=False, soft_wrap=True)

    def print(self, *what: Any, **how: Any) -> None:
        """Print on the console, and into the log."""
        self.console.print(*what, **how)
        if self.log is not None:
            self.log.print(*what, **how)

    def __call__(self, text: str) -> None:
        """Warn once."""
        self.messages.append(text)
        self.note(f"! {text}")
        if self.listener is not None:
            self.listener(text)
        if self.progress is not None:
            self.progress.event(text)
        else:
            self.console.print(f"! {text}", markup=False, soft_wrap=True)
