"""Learners by name: what a policy sees under each, who improves it, and who plays it afterwards."""

import math
from collections.abc import Callable, Mapping

import attrs

from components.motion import MotionLibrary
from engine import Bundle, Scene, Term, World, build
from engine.errors import LockstepError, SceneError, listing
from scenes.tasks import Config, Tables
from scenes.tasks.ground import ends_of
from scenes.tasks.randomisation import chosen, of_robot, through_imu, with_privileged
from scenes.tasks.tracking_sets import named_tables
from systems.metrics import metrics
from systems.observations import only_actor
from systems.ppo import play, ppo
from systems.rewards import self_collision
from systems.robots.model import RobotModel


def tables_of(config: Config, model: RobotModel, *, playing: bool) -> Tables:
    """The terms that a configuration names, as what is drawn and who learns change them.

    The critic's observations are left out where the learner has none, and endless episodes where a policy is only `playing`.
    """
    seconds = math.inf if playing else config.seconds
    tables = named_tables(config, seconds=seconds)
    seen, drawn = tables.observations, config.drawn(playing)
    if "imu_mounting" in chosen(drawn, of_robot(model.robot)):
        seen = through_imu(seen)
    if config.privileged:
        seen = with_privileged(seen, config.randomise, model, backend=config.backend, playing=playing)
    seen = only_actor(seen) if config.learner == "world_model" else seen
    # without self-collision there is none to count
    rewards = {n: t for n, t in tables.rewards.items() if model.self_collision or t.function is not self_collision}
    off = ends_of(config, model, kind="failure" if playing else "time_limit")  # a clip that is not played to its end
    ends = {**tables.terminations, **off}
    return attrs.evolve(tables, observations=seen, rewards=rewards, terminations=ends)


def learner(
    config: Config, model: RobotModel, library: MotionLibrary, seen: Mapping[str, Term], *, dt: float
) -> list[Bundle]:
    """Who acts and improves the policy, and the metrics of each of its iterations."""
    if config.learner == "world_model":
        from systems.world_model import world_model

        refuse_short_clips(library, config.world_model.horizon)
        learns = world_model(config.learning, config.world_model, model, seen, rows=config.num_envs, dt=dt)
    elif config.learner == "auto" and not config.unimaginable:
        from systems.auto import auto

        refuse_short_clips(library, config.world_model.horizon)
        learns = auto(config.learning, config.world_model, model, seen, rows=config.num_envs, dt=dt)
    else:
        learns = ppo(config.learning)
    return [learns, *unimagined(config), metrics(horizon=learns.iteration or 1, tracking=True)]


def unimagined(config: Config) -> list[Bundle]:
    """Says why PPO learns where imagination was to begin."""
    if not config.unimaginable:
        return []
    from systems.auto import refused

    return [refused(config.unimaginable)]


def trained(config: Config, make: Callable[..., Scene]) -> Scene:
    """The scene to train; with `auto` one that learns by PPO where it cannot be built to learn in imagination, and says why."""
    if config.learner == "auto":
        try:
            build(make(config, rows=2))
        except LockstepError as error:
            config = attrs.evolve(config, unimaginable=str(error).splitlines()[0])
    return make(config, rows=config.num_envs)


def refuse_short_clips(library: MotionLibrary, horizon: int) -> None:
    """SceneError for clips that are over before so many imagined ticks, wherever those begin."""
    short = {name: frames - 1 for name, frames in zip(library.names, library.frames.tolist(), strict=True)}
    short = {name: ticks for name, ticks in short.items() if ticks < horizon}
    if not short:
        return
    least = min(short.values())
    fewer = f"imagine fewer ticks, --world-model.horizon {least}, " if least else ""
    raise SceneError(
        f"world_model.horizon={horizon} imagined ticks are more than these clips have: "
        f"{listing([f'{name} ({ticks} ticks)' for name, ticks in short.items()], 6)}. Leave them out, {fewer}or learn by "
        "PPO, --learner ppo."
    )


def alarms(config: Config) -> Callable[[World], Mapping[str, str]] | None:
    """What says in words that the learning goes wrong; PPO has nothing to say."""
    if config.learner == "ppo":
        return None
    from systems.learning.alarms import alarms

    return alarms


def player(config: Config) -> Bundle:
    """Who acts by the mean of a policy that such a learner has trained."""
    return play(config.learning, critic=config.learner != "world_model")
