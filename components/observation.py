"""What the networks may see."""

from torch import Tensor

from engine.component import column, component, derived


@derived
class Observation:
    """One row of numbers for the actor (noisy, deployable) and one for the critic (clean, privileged)."""

    actor: Tensor = column("actor_observation")
    critic: Tensor = column("critic_observation")


@component
class History:
    """The actor's past observations, newest first; zero after a reset."""

    actor: Tensor = column("history", "actor_observation")
