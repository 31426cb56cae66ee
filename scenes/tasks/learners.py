"""Learners by name: what a policy sees under each, who improves it, and who plays it afterwards."""

from collections.abc import Mapping

from engine import Bundle, Term
from scenes.tasks import Config
from systems.metrics import metrics
from systems.observations import only_actor
from systems.ppo import play, ppo
from systems.robots.model import RobotModel


def observed(config: Config) -> dict[str, Term]:
    """The task's observations, without those for the critic where the learner has none."""
    seen = config.task.observations(noise=config.robustness)
    return only_actor(seen) if config.learner == "world_model" else seen


def learner(config: Config, model: RobotModel, seen: Mapping[str, Term], *, dt: float) -> list[Bundle]:
    """Who acts and improves the policy, and the metrics of each of its iterations."""
    if config.learner == "world_model":
        from systems.world_model import world_model

        learns = world_model(config.learning, config.world_model, model, seen, dt=dt)
    else:
        learns = ppo(config.learning)
    return [learns, metrics(horizon=learns.iteration or 1, tracking=True)]


def player(config: Config) -> Bundle:
    """Who acts by the mean of a policy that such a learner has trained."""
    return play(config.learning, critic=config.learner != "world_model")
