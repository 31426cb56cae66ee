"""Figures of a report, as SVG: where in a clip policies err and fail, their joints beside the reference, and when feet touch.

No figure says the name of a run or a clip: the page does, and tells runs by their colours.
"""

import colorsys
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from engine.tools.figures import file_figure, svg_of
from engine.trained import RunRecord
from systems.maths.smoothing import gaussian_average
from systems.reporting.measures import bands
from systems.reporting.summary import Example, Outcome

COLOURS = ("#1f77b4", "#d95f02", "#1b9e77", "#7570b3", "#e7298a", "#66a61e", "#e6ab02", "#a6761d")
REFERENCE = "#444444"
POINTS = 240  # of a line
JOINT_POINTS = (60, 24_000, 500)  # of a joint's line: the least, of all lines of a figure together, and the most
_SMALL = 7  # points of text


def run_colours(runs: Sequence[str]) -> dict[str, str]:
    """A colour for each run."""
    if len(runs) <= len(COLOURS):
        return dict(zip(runs, COLOURS, strict=False))
    hues = (colorsys.hls_to_rgb(number / len(runs), 0.42, 0.75) for number in range(len(runs)))
    return {run: "#" + "".join(f"{round(255 * part):02x}" for part in hue) for run, hue in zip(runs, hues, strict=True)}


def draw_course(outcomes: Sequence[Outcome], clip: str, title: str, dt: float, colours: Mapping[str, str]) -> bytes:
    """Over the time of a clip: the share of episodes that go on, how many fail, and the error called `title`.

    Dashed lines are with noise; a band holds eight of ten episodes.
    """
    shown = [outcome for outcome in outcomes if clip in outcome.alive]
    erring = any(clip in outcome.errors for outcome in shown)
    figure = file_figure(10.0, 5.0 if erring else 2.6)
    axes = figure.subplots(2 if erring else 1, 1, sharex=True, squeeze=False)[:, 0]
    longest = max(part.shape[1] for outcome in shown for part in outcome.alive[clip])
    edges = np.linspace(0.0, longest * dt, 41)
    ended = axes[0].twinx()
    for outcome in shown:
        colour, style = colours[outcome.run], "--" if outcome.noisy else "-"
        alive = _stacked(outcome.alive[clip], longest)
        share = np.nan_to_num(alive).mean(0)
        time = dt * np.arange(1, longest + 1)
        axes[0].plot(_thin(time), 100.0 * _thin(share), style, color=colour, lw=1.4)
        times = [f["time s"] for f in outcome.failures if f["clip"] == clip]
        ended.hist(times, edges, histtype="step", color=colour, ls=style, lw=1.0)
        if clip in outcome.errors:
            _draw_band(axes[1], time, _stacked(outcome.errors[clip], longest), colour, style)
    axes[0].set_ylim(-2.0, 104.0)
    axes[0].set_ylabel("episodes that go on [%]", fontsize=_SMALL + 1)
    ended.set_ylabel("failures in a bin (steps)", fontsize=_SMALL + 1)
    ended.set_ylim(0.0, max(1.0, ended.get_ylim()[1]))
    ended.tick_params(labelsize=_SMALL)
    if erring:
        axes[1].set_ylabel(title, fontsize=_SMALL + 1)
        axes[1].set_ylim(bottom=0.0)
    axes[-1].set_xlabel(
        "time in the clip [s]" if title.endswith("mm") else "time in the episode [s]", fontsize=_SMALL + 1
    )
    for each in axes:
        _plain(each)
        each.set_xlim(0.0, longest * dt)
    return svg_of(figure)


def _stacked(parts: Sequence[torch.Tensor], longest: int) -> np.ndarray:
    """(episodes of all seeds, frames) float, nan or 0 past the end of what was kept."""
    blank = torch.nan if parts[0].is_floating_point() else 0.0
    padded = [torch.nn.functional.pad(part.double(), (0, longest - part.shape[1]), value=blank) for part in parts]
    return torch.cat(padded).numpy()


def _draw_band(axes: Any, time: np.ndarray, values: np.ndarray, colour: str, style: str) -> None:
    known = np.isfinite(values).any(0)
    low, middle, high = bands(torch.from_numpy(values[:, known])).numpy()
    axes.plot(_thin(time[known]), _thin(middle), style, color=colour, lw=1.4)
    axes.fill_between(_thin(time[known]), _thin(low), _thin(high), color=colour, alpha=0.15, lw=0)


def draw_joints(examples: Mapping[str, Example], joints: Sequence[str], colours: Mapping[str, str]) -> bytes:
    """Every joint of an episode by run, and the reference as a dashed line, in rad over the time of the clip."""
    columns = 4
    lines = math.ceil(len(joints) / columns)
    least, together, most = JOINT_POINTS
    points = min(most, max(least, together // (len(joints) * (len(examples) + 1))))
    width, height = 13.0, 1.25 * lines + 0.4
    figure = file_figure(width, height, layout=None)
    figure.subplots_adjust(0.5 / width, 0.4 / height, 1 - 0.1 / width, 1 - 0.2 / height, wspace=0.22, hspace=0.38)
    grid = figure.subplots(lines, columns, sharex=True, squeeze=False)
    for number, axes in enumerate(grid.flat):
        if number >= len(joints):
            axes.set_visible(False)
            continue
        for run, example in examples.items():
            axes.plot(_thin(example.time, points), _thin(example.joints[:, number], points), color=colours[run], lw=0.9)
        longest = max(examples.values(), key=lambda each: len(each.time))
        if longest.reference is not None:
            wanted = _thin(longest.reference[:, number], points)
            axes.plot(_thin(longest.time, points), wanted, "--", color=REFERENCE, lw=0.9)
        axes.set_title(joints[number].replace("$", r"\$"), fontsize=_SMALL, loc="left", pad=2)
        _plain(axes)
        if number >= len(joints) - columns:  # the lowest of its column
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("s", fontsize=_SMALL)
    return svg_of(figure)


def draw_contacts(examples: Mapping[str, Example], feet: Sequence[str], colours: Mapping[str, str]) -> bytes | None:
    """When each foot touches, a bar for each run, below that of the reference; None where nothing tells of feet."""
    known = {run: example for run, example in examples.items() if example.touching is not None}
    if not known:
        return None
    longest = max(known.values(), key=lambda each: len(each.time))
    planned = longest.reference_down is not None
    count = len(known) + planned
    figure = file_figure(10.0, 0.5 + 0.17 * len(feet) * (count + 1))
    axes = figure.subplots()
    ticks = []
    for number, _ in enumerate(feet):
        top = -number * (count + 1)
        ticks.append(top - (count - 1) / 2)
        if longest.reference_down is not None:
            _draw_bars(axes, longest.time, longest.reference_down[:, number], top, REFERENCE)
        for line, (run, example) in enumerate(known.items()):
            assert example.touching is not None
            _draw_bars(axes, example.time, example.touching[:, number], top - line - planned, colours[run])
    axes.set_yticks(ticks, [name.replace("$", r"\$") for name in feet])
    axes.set_xlabel("s", fontsize=_SMALL)
    if len(longest.time) > 1:
        axes.set_xlim(float(longest.time[0]), float(longest.time[-1]))
    _plain(axes)
    axes.grid(visible=False)
    return svg_of(figure)


def _draw_bars(axes: Any, time: torch.Tensor, down: torch.Tensor, line: float, colour: str) -> None:
    step = float(time[1] - time[0]) if len(time) > 1 else 0.0
    padded = torch.nn.functional.pad(down.int(), (1, 1)).diff().tolist()
    starts = [place for place, change in enumerate(padded) if change == 1]
    ends = [place for place, change in enumerate(padded) if change == -1]
    first = float(time[0])
    spans = [(first + start * step, (end - start) * step) for start, end in zip(starts, ends, strict=True)]
    axes.broken_barh(spans, (line - 0.4, 0.8), facecolor=colour, lw=0)


def draw_training(
    records: Mapping[str, RunRecord], names: Sequence[str], titles: Mapping[str, str], colours: Mapping[str, str]
) -> bytes | None:
    """The numbers `names` of each run over environment steps, smoothed; None where no run has any of them."""
    names = [name for name in names if any(name in row for record in records.values() for row in record.rows)]
    if not names:
        return None
    columns = min(2, len(names))
    lines = math.ceil(len(names) / columns)
    figure = file_figure(13.0, 2.9 * lines)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    for name, axes in zip(names, grid.flat, strict=False):
        for run, record in records.items():
            rows = [row for row in record.rows if isinstance(row.get(name), (int, float))]
            values = np.array([row[name] for row in rows], float)
            steps = np.array([row.get("env_steps", row["iteration"]) for row in rows], float)
            if len(rows) > 2:
                values = gaussian_average(values[:, None], max(1.0, len(rows) / 60))[:, 0]
            axes.plot(_thin(steps), _thin(values), color=colours[run], lw=1.2)
        axes.set_title(titles.get(name) or name.replace("_", " "), fontsize=_SMALL + 1, loc="left")
        axes.set_xlabel("environment steps", fontsize=_SMALL)
        _plain(axes)
    return svg_of(figure)


def _thin(values: Any, points: int = POINTS) -> np.ndarray:
    """At most so many of them, the last one included."""
    known = np.asarray(values, float)
    if len(known) <= points:
        return known
    return known[np.linspace(0, len(known) - 1, points).round().astype(int)]


def _plain(axes: Any) -> None:
    axes.tick_params(labelsize=_SMALL)
    axes.grid(alpha=0.25, lw=0.5)
    axes.spines[["top", "right"]].set_visible(False)
