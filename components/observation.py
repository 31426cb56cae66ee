"""Observations of actor, critic and further groups, their histories, and what makes sensors late or lets them drift."""

from collections.abc import Mapping

import torch
from torch import Tensor

from engine.ecs.component import column, component, constant, derived, resource, signal


@derived
class Observation:
    """One row of numbers for the actor (noisy, deployable) and one for the critic (privileged, and clean by default)."""

    actor: Tensor = column("actor_observation")
    critic: Tensor = column("critic_observation")


@signal
class FinalObservation:
    """The critic's observation of rows that are cut off in this tick, as they are before their reset."""

    critic: Tensor = column("critic_observation", doc="with noise and bounds as in Observation.critic")


@signal
class LastObservation:
    """What actor and critic see of rows whose episode ends in this tick, as they are before their reset."""

    actor: Tensor = column("actor_observation")
    critic: Tensor = column("critic_observation")


@component
class Seen:
    """What goes into the histories in the next tick: noisy, clipped and scaled, with noise of its own."""

    value: Tensor = column("remembered")


@component
class History:
    """Past values of the terms that ask for it: term by term, newest first; zero after a reset."""

    actor: Tensor = column("actor_history")
    critic: Tensor = column("critic_history")


@resource
class HistoryLayout:
    """Where each column of a history comes from: an index into (`Seen.value`, history) side by side."""

    actor: Tensor = constant()  # (actor_history,) int64
    critic: Tensor = constant()  # (critic_history,) int64
    recalled: Mapping[tuple[str, tuple[tuple[str, int], ...]], Tensor] = constant(factory=dict)
    """By group and (term, ticks) pairs of a compound: which columns of that group's history it has, int64."""


@resource
class ObservationNoise:
    """Factor on the noise of all observation terms; a scalar on the device."""

    level: Tensor


@derived
class GroupObservation:
    """What groups besides actor and critic see, group by group; which columns are whose is in `ObservationGroups`."""

    value: Tensor = column("group_observation")


@resource
class ObservationGroups:
    """Columns of `GroupObservation`, by the name of the group."""

    columns: Mapping[str, slice] = constant()


@component
class Disturbance:
    """What the actor's sensors do beyond noise: readings that are on their way, and errors that wander."""

    queue: Tensor = column("late", doc="earlier readings of late terms: term by term, newest first")
    lag: Tensor = column("late_term", dtype=torch.int64, unit="control steps", doc="by which each late term lags")
    age: Tensor = column(dtype=torch.int64, unit="control steps", doc="since the row began")
    drift: Tensor = column("drifting", doc="error of each number that drifts, before scaling")
