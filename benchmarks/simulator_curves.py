"""The picture of docs/backends.md: what runs of the same command in several simulators earn, and how long their episodes last.

python -m benchmarks.simulator_curves docs/pictures/simulators_curve.png NAME=RUN NAME=RUN ...
"""

import sys
from pathlib import Path

from matplotlib.figure import Figure

from engine.files import whole_rows

PANELS = {
    "reward/per_step": "mean reward of a control step",
    "episode/return": "mean return of an episode",
    "episode/length": "mean length of an episode, control steps",
}


def main() -> None:
    """Draw the runs that are given into the path that is given first."""
    figure = Figure(figsize=(10.5, 2.9), layout="constrained")
    panels = figure.subplots(1, len(PANELS))
    for name, folder in (text.split("=", 1) for text in sys.argv[2:]):
        rows = [row for row, _ in whole_rows(Path(folder) / "metrics.jsonl")]
        for panel, number in zip(panels, PANELS, strict=True):
            panel.plot([row["iteration"] for row in rows], [row[number] for row in rows], label=name, linewidth=1.2)
    for panel, title in zip(panels, PANELS.values(), strict=True):
        panel.set_title(title, fontsize=9)
        panel.set_xlabel("iteration", fontsize=8)
        panel.tick_params(labelsize=8)
        panel.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    figure.savefig(sys.argv[1], dpi=110)


if __name__ == "__main__":
    main()
