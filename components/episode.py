"""Episodes: progress, ends, rewards, pushes, and the curricula that follow how long episodes last."""

from typing import ClassVar

import torch
from torch import Tensor

from engine.ecs.component import column, component, resource, signal
from engine.ranks.sharing import GATHERED, Combination


@component
class Episode:
    """Progress of the current episode of each row."""

    step: Tensor = column(dtype=torch.int64, unit="control steps")
    began: Tensor = column(dtype=torch.int64, unit="tick", doc="after which the episode began")


@signal
class Done:
    """Rows whose episode ended in this tick, and why. Failure wins over a time limit in the same tick."""

    ended: Tensor = column(dtype=torch.bool)
    terminated: Tensor = column(dtype=torch.bool, doc="failed: there is no future to bootstrap")
    truncated: Tensor = column(dtype=torch.bool, doc="cut off by a time limit: the future goes on unseen")
    lost: Tensor = column(dtype=torch.bool, doc="the simulation failed: this tick is worth nothing")
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


@component
class PushTimer:
    """When each row is pushed next; a new episode draws a new wait."""

    wait: Tensor = column(dtype=torch.int64, unit="control steps")
    due: Tensor = column(dtype=torch.bool, doc="pushed in this tick")


@signal
class Chance:
    """A fresh draw for every row and tick, for terminations that apply only sometimes."""

    value: Tensor = column(doc="uniform in [0, 1)")


@component
class Earned:
    """What each reward term has paid so far."""

    sums: Tensor = column("reward", doc="in the current episode, weighted, × dt")
    least: Tensor = column("reward", doc="least of a tick's terms of Reward in this row since the run began, at most 0")


@resource
class EpisodeLength:
    """Running mean length of finished episodes, which drives all curricula; scalars on the device."""

    COMBINED: ClassVar[Combination] = GATHERED

    mean: Tensor  # control steps; 0 before the first episode has finished
    weight: Tensor  # how much of the averaging window is filled, in [0, 1]
    finished: Tensor  # episodes that finished in this tick


@resource
class PenaltyScale:
    """Factor on the weight of reward terms that are registered with `penalty=True`; a scalar on the device."""

    value: Tensor


@resource
class SoftLimits:
    """Share of each joint's hard limits that counts as inside; scalars on the device."""

    position: Tensor
    velocity: Tensor
    torque: Tensor


@resource
class RewardWidths:
    """Widths of reward terms that follow their error, along axis `reward`; 0 for the others."""

    COMBINED: ClassVar[Combination] = GATHERED

    width: Tensor  # in force: a squared error of so much pays 1 / e
    error: Tensor  # running mean of the term's value over rows
