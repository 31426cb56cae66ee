"""Trained policies, for programs that play or measure them: `TrainedPolicy.open` reads a run. The code is in `engine.runner`."""

from engine.runner.console import make_console, number, print_facts, results_table
from engine.runner.plot import RunRecord, draw
from engine.runner.run_folder import refuse_unusable
from engine.runner.trained import TrainedPolicy

__all__ = [
    "RunRecord",
    "TrainedPolicy",
    "draw",
    "make_console",
    "number",
    "print_facts",
    "refuse_unusable",
    "results_table",
]
