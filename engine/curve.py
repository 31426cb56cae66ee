"""curve.png: the numbers of a run over iterations and minutes, one panel per group of names."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

BESIDES = ("iteration", "tick", "env_steps")
_POINTS = 1500
_MOST_LINES = 10


def group(name: str) -> tuple[str, str]:
    """'reward/total' -> ('reward', 'total'); bare names are of the group 'other'."""
    head, slash, tail = name.partition("/")
    return (head, tail) if slash else ("other", head)


def grouped(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, np.ndarray]]:
    """Values over rows by group and name, in order of first appearance; nan where a row lacks the name."""
    groups: dict[str, dict[str, np.ndarray]] = {}
    for number, row in enumerate(rows):
        for name, value in row.items():
            if name not in BESIDES and isinstance(value, (int, float)):
                head, tail = group(name)
                line = groups.setdefault(head, {}).setdefault(tail, np.full(len(rows), np.nan))
                line[number] = value
    return groups


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
    known = np.isfinite(values)
    kernel = np.ones(width)
    total = np.convolve(np.where(known, values, 0.0), kernel, "same")
    count = np.convolve(known, kernel, "same")
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def draw(path: Path, rows: Sequence[Mapping[str, Any]], times: Sequence[Mapping[str, Any]], title: str) -> None:
    """Draw the metrics `rows` and the minutes of the timing rows into a PNG; nothing when there are no rows."""
    if not rows:
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups = grouped(rows)
    iterations = np.array([row["iteration"] for row in rows], float)
    columns = min(2, max(1, len(groups)))
    lines = -(-len(groups) // columns)
    figure = Figure(figsize=(7.5 * columns, 3.6 * lines + 0.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11, color="0.3")
    for number, (head, series) in enumerate(groups.items()):
        axes = figure.add_subplot(lines, columns, number + 1)
        _draw_group(axes, head, iterations, series)
        if number < columns:
            _add_minutes(axes, iterations, times)
        if number >= len(groups) - columns:
            axes.set_xlabel("iteration")
    part = path.with_name(path.name + ".part")
    try:
        figure.savefig(part, format="png")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _draw_group(axes: Any, head: str, iterations: np.ndarray, series: Mapping[str, np.ndarray]) -> None:
    size = {
        name: float(np.abs(np.nan_to_num(values[-max(5, len(values) // 4) :])).max()) for name, values in series.items()
    }
    chosen = sorted(series, key=lambda name: -size[name])[:_MOST_LINES]
    width = max(1, len(iterations) // 60)
    step = max(1, len(iterations) // _POINTS)
    for name in (name for name in series if name in chosen):
        values = series[name]
        line = axes.plot(
            iterations[::step],
            _smooth(values, width)[::step],
            lw=1.6,
            marker="o" if len(values) < 3 else None,
            label=name,
        )[0]
        if width > 1:
            axes.plot(iterations[::step], values[::step], lw=0.6, alpha=0.25, color=line.get_color())
    hidden = len(series) - len(chosen)
    axes.set_title(
        head + (f" (largest {_MOST_LINES} of {len(series)})" if hidden else ""),
        loc="left",
        fontsize=11,
        fontweight="bold",
    )
    positive = [size[name] for name in chosen if size[name] > 0]
    if len(positive) > 1 and max(positive) > 1000 * min(positive):
        axes.set_yscale("symlog", linthresh=max(min(positive), max(positive) * 1e-4))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _add_minutes(axes: Any, iterations: np.ndarray, times: Sequence[Mapping[str, Any]]) -> None:
    known = {row["iteration"]: row["elapsed"] / 60 for row in times}
    if len(known) < 2:
        return
    x, y = np.array(sorted(known), float), np.array([known[i] for i in sorted(known)])
    y = np.maximum.accumulate(y) + np.arange(len(y)) * 1e-9  # strictly rising, to be inverted
    above = axes.secondary_xaxis(
        "top",
        functions=(lambda i: _straight(np.asarray(i, float), x, y), lambda m: _straight(np.asarray(m, float), y, x)),
    )
    above.set_xlabel("minutes", fontsize=9)
    above.tick_params(labelsize=8)


def _straight(at: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Linear interpolation that goes on with the mean slope beyond the ends, so that it stays invertible."""
    slope = (y[-1] - y[0]) / (x[-1] - x[0])
    inside: np.ndarray = np.interp(at, x, y)
    beyond: np.ndarray = np.minimum(at - x[0], 0) * slope + np.maximum(at - x[-1], 0) * slope
    total: np.ndarray = inside + beyond
    return total
