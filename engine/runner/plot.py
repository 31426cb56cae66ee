"""Learning curves with matplotlib: curve.png of one run, and several runs, such as seeds, in one picture.

python -m engine.curve RUN RUN RUN --out curves.png
"""

import argparse
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import attrs
import numpy as np

from engine.errors import SceneError
from engine.files import file_errors, whole_rows, write_file
from engine.runner.cli import ArgumentParser, reporting_errors
from engine.tools.figures import file_figure

BESIDES = ("iteration", "tick", "env_steps")
_POINTS = 1500
_MOST_LINES = 8
_WIDTH, _HEIGHT = 7.2, 3.3  # inches of a panel with what is written around it, as all below
_LEFT, _RIGHT = 0.72, 0.14  # beside a panel's axes: numbers
_BELOW, _ABOVE = 0.24, 0.28  # numbers; title
_MINUTES, _STEPS = 0.42, 0.24  # above the first panels, and below the last ones
_LINE, _MARGIN = 0.22, 0.12  # of the heading


def group(name: str) -> tuple[str, str]:
    """'reward/total' -> ('reward', 'total'); bare names are of the group 'other'."""
    head, slash, tail = name.partition("/")
    return (head, tail) if slash else ("other", head)


@attrs.frozen
class RunRecord:
    """Contents of a run folder: rows of metrics and timing, configuration, evaluation."""

    path: Path
    rows: Sequence[Mapping[str, Any]]
    times: Sequence[Mapping[str, Any]]
    config: Mapping[str, Any] = attrs.field(factory=dict)
    evaluation: Mapping[str, Any] = attrs.field(factory=dict)

    @classmethod
    def read(
        cls,
        path: Path,
        rows: Sequence[Mapping[str, Any]] | None = None,
        times: Sequence[Mapping[str, Any]] | None = None,
    ) -> Self:
        """A run folder as it is on disk; rows that are at hand need not be read. SceneError when there are none."""
        rows = _lines(path / "metrics.jsonl") if rows is None else rows
        times = _lines(path / "timing.jsonl") if times is None else times
        return cls(path, rows, times, _json(path / "config.json"), _json(path / "evaluation.json"))

    @property
    def seed(self) -> Any:
        """The seed that it was started with."""
        return self.config.get("run", {}).get("seed", "?")


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise SceneError(f"{path.parent} is not a run folder: {path.name} cannot be read (No such file or directory).")
    return [row for row, _ in whole_rows(path)]


def title_of(name: str, titles: Mapping[str, str]) -> str:
    """The panel of a number: the title of its name, else of its group 'group/', else the group itself."""
    head, _ = group(name)
    return titles.get(name) or titles.get(f"{head}/") or head


def panels(rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> dict[str, dict[str, np.ndarray]]:
    """Values over rows by panel title and name; nan where a row lacks the name.

    With `titles`, these are the panels, in their order, and numbers without one are left out.
    """
    found: dict[str, dict[str, np.ndarray]] = {title: {} for title in titles.values()}
    for number, row in enumerate(rows):
        for name, value in row.items():
            title = title_of(name, titles)
            if name in BESIDES or not isinstance(value, (int, float)) or (titles and title not in found):
                continue
            series = found.setdefault(title, {})
            series.setdefault(group(name)[1], np.full(len(rows), np.nan))[number] = value
    return {title: series for title, series in found.items() if series}


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
    known = np.isfinite(values)
    kernel = np.ones(width)
    total = np.convolve(np.where(known, values, 0.0), kernel, "same")
    count = np.convolve(known, kernel, "same")
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def draw(path: Path, runs: Sequence[RunRecord]) -> None:
    """Draw runs of one scene into a PNG: a line for one run, mean and range for several; nothing without rows."""
    runs = [run for run in runs if run.rows]
    shown = [panels(run.rows, run.config.get("titles", {})) for run in runs]
    names = list(dict.fromkeys(title for each in shown for title in each))
    if not names:
        return
    columns = min(2, len(names))
    lines = -(-len(names) // columns)
    figure = _figure(lines, columns, heading(runs))
    unit, scale = _step_unit(max(float(run.rows[-1].get("env_steps", 0)) for run in runs))
    for number, title in enumerate(names):
        axes = figure.add_subplot(lines, columns, number + 1)
        axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
        parts = [(_steps(run) / scale, each.get(title, {})) for run, each in zip(runs, shown, strict=True)]
        _draw_panel(axes, parts, [str(run.seed) for run in runs])
        if number < columns:
            _add_minutes(axes, runs[0], scale, len(runs) > 1)
        if number >= len(names) - columns:
            axes.set_xlabel(f"environment steps{unit}, over all parallel robots", fontsize=9)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_file(path, picture.getvalue())


def _figure(lines: int, columns: int, head: str) -> Any:
    """The figure of `lines` × `columns` panels: room for text is fixed, measuring it would take as long as drawing."""
    top = _MARGIN + _LINE * (head.count("\n") + 1) + _MINUTES
    width, height = _WIDTH * columns, _HEIGHT * lines + top + _STEPS
    figure = file_figure(width, height, dpi=110, layout=None)
    figure.suptitle(head, fontsize=10, x=_MARGIN / width, y=1 - _MARGIN / height, ha="left", va="top", linespacing=1.5)
    figure.subplots_adjust(
        left=_LEFT / width,
        right=1 - _RIGHT / width,
        bottom=(_STEPS + _BELOW) / height,
        top=1 - (top + _ABOVE) / height,
        wspace=(_LEFT + _RIGHT) / (_WIDTH - _LEFT - _RIGHT),
        hspace=(_BELOW + _ABOVE) / (_HEIGHT - _BELOW - _ABOVE),
    )
    return figure


def heading(runs: Sequence[RunRecord]) -> str:
    """What was run, and what the evaluation measured; without a date."""
    config = runs[0].config
    facts = [f"{'seed' if len(runs) == 1 else 'seeds'} {', '.join(str(run.seed) for run in runs)}"]
    for name, value in config.get("identity", {}).items():
        facts.append(f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}")
    if "rows" in config:
        facts.append(f"{config['rows']:,} simulated in parallel")
    lines = [f"{config.get('scene', runs[0].path)}:  " + "  ·  ".join(facts)]
    if len(runs) > 1:
        lines.append("lines: mean of the seeds; bands: from the lowest seed to the highest; thin lines: single seeds")
    elif len(runs[0].rows) >= 120:
        lines.append("thick lines: average over neighbouring iterations; thin lines: single iterations")
    for run in runs:
        summary = run.evaluation.get("summary") or {}
        results = [f"{name} {value:.4g}" for name, value in summary.items() if isinstance(value, (int, float))]
        if results:
            whose = "" if len(runs) == 1 else f" of seed {run.seed}"
            lines += [f"evaluation{whose} after training:  " + "  ·  ".join(results[:6])]
    return "\n".join(lines)


def _step_unit(most: float) -> tuple[str, float]:
    return (" (millions)", 1e6) if most >= 1e6 else (" (thousands)", 1e3) if most >= 1e4 else ("", 1.0)


def _steps(run: RunRecord) -> np.ndarray:
    return np.array([row.get("env_steps", row["iteration"]) for row in run.rows], float)


def _draw_panel(axes: Any, parts: Sequence[tuple[np.ndarray, Mapping[str, np.ndarray]]], seeds: Sequence[str]) -> None:
    names = list(dict.fromkeys(name for _, series in parts for name in series))
    late = {
        name: max(
            float(np.abs(np.nan_to_num(s[name][-max(5, len(s[name]) // 4) :])).max()) for _, s in parts if name in s
        )
        for name in names
    }
    chosen = sorted(names, key=lambda name: -late[name])[:_MOST_LINES]
    for name in (name for name in names if name in chosen):
        label = name.replace("_", " ")
        runs = [(steps, series[name]) for steps, series in parts if name in series]
        if len(runs) == 1:
            _draw_line(axes, *runs[0], label)
        else:
            _draw_range(axes, runs, label if len(chosen) > 1 else "mean", seeds if len(chosen) == 1 else ())
    if len(names) > len(chosen):
        axes.plot([], [], " ", label=f"(and {len(names) - len(chosen)} smaller)")
    positive = [late[name] for name in chosen if late[name] > 0]
    if len(positive) > 1 and max(positive) > 1000 * min(positive):
        axes.set_yscale("symlog", linthresh=max(min(positive), max(positive) * 1e-4))
    axes.grid(alpha=0.25)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)
    if len(chosen) > 4:
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.35 * (high - low))  # room for the legend
    if len(names) > 1 or len(parts) > 1:
        axes.legend(fontsize=8, framealpha=0.6, edgecolor="none", ncols=2 if len(chosen) > 4 else 1)


def _draw_line(axes: Any, steps: np.ndarray, values: np.ndarray, label: str) -> None:
    known = np.isfinite(values)
    steps, values = steps[known], values[known]  # a number that some iterations lack is one line all the same
    width, every = max(1, len(steps) // 60), max(1, len(steps) // _POINTS)
    marker = "o" if len(values) < 3 else None
    (line,) = axes.plot(steps[::every], _smooth(values, width)[::every], lw=1.6, marker=marker, label=label)
    if width > 1:
        axes.plot(steps[::every], values[::every], lw=0.6, alpha=0.25, color=line.get_color())


def _draw_range(axes: Any, runs: Sequence[tuple[np.ndarray, np.ndarray]], label: str, seeds: Sequence[str]) -> None:
    """Mean and range over the steps that all runs have reached; `seeds` name the single lines, which else are left out."""
    last = min(steps[-1] for steps, _ in runs)
    grid = np.unique(np.concatenate([steps for steps, _ in runs]))
    grid = grid[grid <= last][:: max(1, len(grid) // _POINTS)]
    curves = []
    for steps, values in runs:
        known = np.isfinite(values)
        smooth = _smooth(values, max(1, len(steps) // 60))
        curves.append(np.interp(grid, steps[known], smooth[known]) if known.any() else np.full(len(grid), np.nan))
    stack = np.stack(curves)
    some = np.isfinite(stack).any(0)
    if not some.any():
        return
    grid, stack = grid[some], stack[:, some]
    (line,) = axes.plot(grid, np.nanmean(stack, 0), lw=2.0, label=label)
    axes.fill_between(grid, np.nanmin(stack, 0), np.nanmax(stack, 0), alpha=0.2, color=line.get_color(), lw=0)
    for seed, curve in zip(seeds, stack, strict=False):
        axes.plot(grid, curve, lw=0.8, label=f"seed {seed}")


def _add_minutes(axes: Any, run: RunRecord, scale: float, several: bool) -> None:
    """Minutes above the ticks that count steps: a run is not equally fast throughout, so they have no ticks of their own."""
    steps = dict(zip((row["iteration"] for row in run.rows), _steps(run), strict=True))
    known = {steps[row["iteration"]] / scale: row["elapsed"] / 60 for row in run.times if row["iteration"] in steps}
    if len(known) < 2:
        return
    x, y = np.array(sorted(known)), np.array([known[i] for i in sorted(known)])
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= min(high, x[-1])]
    above = axes.twiny()
    above.set_xlim(low, high)
    above.set_xticks(ticks, [_clock(float(np.interp(tick, [0.0, *x], [0.0, *y]))) for tick in ticks])
    above.set_xlabel("minutes of training" + (f", seed {run.seed}" if several else ""), fontsize=8)
    above.tick_params(labelsize=8)
    above.spines[["top", "right"]].set_visible(False)


def _clock(minutes: float) -> str:
    return f"{minutes:.0f}" if minutes >= 10 or minutes == 0 else f"{minutes:.1f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit status: 0 done, 2 bad input."""
    parser = ArgumentParser("python -m engine.curve", description="Draw runs of one scene together.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, such as those of several seeds")
    parser.add_argument("--out", type=Path, default=Path("curves.png"), help="the PNG to write (default: curves.png)")
    return reporting_errors(lambda words: _draw_together(parser.parse_args(words)), arguments)


def _draw_together(given: argparse.Namespace) -> int:
    with file_errors("The runs cannot be read"):
        runs = [RunRecord.read(path) for path in given.runs]
    empty = next((run.path for run in runs if not run.rows), None)
    if empty is not None:
        raise SceneError(f"{empty} has not finished an iteration yet, so there is nothing to draw.")
    scenes = list(dict.fromkeys(str(run.config.get("scene")) for run in runs))
    if len(scenes) > 1:
        raise SceneError(f"The runs are of different scenes ({', '.join(scenes)}); draw those of one scene together.")
    with file_errors(f"{given.out} cannot be written"):
        draw(given.out, runs)
    print(given.out)
    return 0
