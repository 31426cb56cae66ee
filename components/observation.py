"""Observations of actor and critic, and their histories."""

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


@resource
class ObservationNoise:
    """Factor on the noise of all observation terms; a scalar on the device."""

    level: Tensor
