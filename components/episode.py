"""Episodes: how long, how good, how they end."""

import torch
from torch import Tensor

from engine.component import column, component, signal


@component
class Episode:
    """Progress of the current episode of each row."""

    step: Tensor = column(dtype=torch.int64, unit="control steps")
    reward_sums: Tensor = column("reward", doc="weighted reward of each term so far, × dt")


@signal
class Done:
    """Rows whose episode ended in this tick, and why. Failure wins over a time limit in the same tick."""

    ended: Tensor = column(dtype=torch.bool)
    terminated: Tensor = column(dtype=torch.bool, doc="failed: there is no future to bootstrap")
    truncated: Tensor = column(dtype=torch.bool, doc="cut off by a time limit: the future goes on unseen")
    reason: Tensor = column("termination", dtype=torch.bool, doc="which terms fired")


@signal
class Rewritten:
    """Rows whose root or joints are changed by hand in this tick: ended, or pushed."""

    rows: Tensor = column(dtype=torch.bool)


@signal
class Reward:
    """What this tick was worth."""

    total: Tensor = column(unit="1")
    terms: Tensor = column("reward", doc="weight × value × dt of each term")
