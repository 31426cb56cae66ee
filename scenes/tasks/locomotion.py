"""Locomotion by velocity commands: its sets of terms by name, the bundles that make the task, and who learns it."""

import math
from collections.abc import Callable, Mapping, Sequence

import attrs
from torch import Tensor

from components.episode import SoftLimits
from components.robot import BodyInertia, Flight, FootState, Swing
from engine import Bundle, Term, term
from engine.errors import SceneError
from scenes.tasks import Tables
from scenes.tasks import humanoidverse_locomotion as hv
from scenes.tasks import mjlab_velocity as mjlab
from scenes.tasks.ground import ends_of, last_mark
from scenes.tasks.randomisation import chosen, of_robot, through_imu, with_privileged
from scenes.tasks.sets import chosen_terms
from scenes.tasks.simulators import unused
from scenes.tasks.velocity import LocomotionConfig
from systems import locomotion_terms as walk
from systems.episode import curricula, episode, num_steps
from systems.kinematics import feet, flight, kinematics
from systems.metrics import measurements, metrics
from systems.ppo import ppo
from systems.robots.model import RobotModel
from systems.robots.soles import body_inertia, soles
from systems.task import task
from systems.terrain import measured_levels, terrain
from systems.velocity import Stage, commands, fixed_command, gait_clock, standing

RESETS_PER_TICK = 8.0  # 4096 rows whose episodes last 550 steps, between the curriculum's thresholds of 400 and 700
OBSERVATIONS: Mapping[str, Callable[..., dict[str, Term]]] = {  # of (model, noise=share of the published sensor noise)
    "mjlab_velocity": mjlab.mjlab_observations,
    "humanoidverse_locomotion": hv.observations,
}
REWARDS: Mapping[str, Callable[[RobotModel], dict[str, Term]]] = {
    "mjlab_velocity": mjlab.mjlab_rewards,
    "from_afar": mjlab.rewards_from_afar,
    "humanoidverse_locomotion": hv.rewards,
}
TERMINATIONS: Mapping[str, Callable[..., dict[str, Term]]] = {  # of (model, seconds=longest episode, dt=control step)
    "mjlab_velocity": mjlab.mjlab_terminations,
    "humanoidverse_locomotion": hv.terminations,
    "extra": hv.extra_terminations,
}


def tables_of(config: LocomotionConfig, model: RobotModel, *, playing: bool, dt: float = 0.02) -> Tables:
    """The terms that a configuration names, as terrain, gait clock and what is drawn change them.

    SceneError as of `sets.chosen`, and for a set of rewards that there is not for the robot.
    """
    seen = chosen_terms(config, "observations", OBSERVATIONS, model, noise=config.robustness)
    earned = chosen_terms(config, "rewards", REWARDS, model)
    ends = chosen_terms(config, "terminations", TERMINATIONS, model, seconds=config.seconds, dt=dt)
    published = chosen_terms(config, "observations", OBSERVATIONS, model)
    noisy = any(each.settings.get("noise") for each in published.values())
    if config.robustness != 1.0 and not noisy and config.randomise == "none":
        raise SceneError(
            f"robustness={config.robustness:g} has no effect: no observation has sensor noise, and nothing pushes. Leave it out."
        )
    if "imu_mounting" in chosen(config.drawn(playing), of_robot(model.robot)):
        seen = through_imu(seen)
    if config.privileged:
        seen = with_privileged(seen, config.randomise, model, backend=config.backend, playing=playing)
    if config.gait_period is not None:
        seen |= {"gait_sine": term(walk.gait_sine), "gait_cosine": term(walk.gait_cosine)}
        earned |= {"gait_contact": term(walk.gait_contact, weight=config.gait_weight)}
    ends |= ends_of(config, model)
    return Tables(seen, {name: cheaper(each, config.penalties) for name, each in earned.items()}, ends)


def measured(rewards: Mapping[str, Term]) -> dict[str, Term]:
    """What is measured while learning, by the name that it is reported under; `rewards` say what is there to be measured."""
    known: dict[str, tuple[str, Callable[..., Tensor]]] = {
        "foot_slip": ("gait/slip", walk.slip_speed),
        "soft_landing": ("gait/landing_force", walk.mean_landing_force),
        "swing_height": ("gait/swing_peak", walk.mean_swing_peak),
        "angular_momentum": ("gait/momentum", walk.momentum_size),
    }
    return {
        **{name: term(function) for reward, (name, function) in known.items() if reward in rewards},
        "error/linear_velocity": term(walk.linear_error),
        "error/yaw_rate": term(walk.turn_error),
        "command/forward": term(walk.asked, place=0),
        "command/sideways": term(walk.asked, place=1),
        "command/yaw_rate": term(walk.asked, place=2),
    }


def cheaper(each: Term, share: float) -> Term:
    """A term that costs, with a `share` of its weight; one that pays as it is."""
    weight = each.settings["weight"]
    return attrs.evolve(each, settings={**each.settings, "weight": share * weight}) if weight < 0.0 else each


def learner(config: LocomotionConfig, model: RobotModel) -> list[Bundle]:
    """Who acts and improves the policy, and the numbers of each of its iterations."""
    horizon, levels = config.learning.horizon, {} if model.terrain is None else measured_levels(model.terrain)
    counted = measurements({**measured(tables_of(config, model, playing=False).rewards), **levels}, horizon=horizon)
    return [ppo(config.learning), metrics(horizon=horizon), counted, *unused(config)]


def on_terrain(
    config: LocomotionConfig, bundles: Sequence[Bundle], stages: Sequence[Stage], *, playing: bool, dt: float
) -> Bundle:
    """Rows on the tiles of the terrain; where a policy is played, every episode is on any of all levels."""
    tiles = config.tiles
    if playing:
        tiles = attrs.evolve(tiles, curriculum=False, begin=(0, tiles.levels - 1))
    fastest = max(math.hypot(*(max(map(abs, span)) for span in stage[1:3])) for stage in stages)
    if config.command is not None:
        fastest = math.hypot(*config.command[:2])
    return terrain(tiles, seconds=config.seconds, fastest=fastest, after=last_mark(bundles), dt=dt)


def readings(config: LocomotionConfig, model: RobotModel, tables: Tables, *, playing: bool, dt: float) -> list[Bundle]:
    """What derives the readings of base and feet that the terms read, and, unless `playing`, penalties that harden.

    They harden while episodes last longer than 700 control steps. The published degree holds for one tick with resets; here every
    finished episode counts by itself, so it is divided by the resets in a tick of the published setting.
    """
    read = tables.read
    hardens = {"degree": 3e-5 / RESETS_PER_TICK, "down": 400.0, "up": 700.0}
    penalties = any(each.settings.get("penalty") for each in tables.rewards.values())
    moving = hardens if penalties and not playing else None
    return [
        kinematics(sensor=config.task.sensor if model.robot.name.startswith("g1") else (0.0, 0.0, 0.0)),
        *([feet(soles(model), dt=dt)] if FootState in read or Swing in read else []),
        *([flight(dt=dt)] if Flight in read else []),
        *([Bundle("masses", resources=[body_inertia(model)])] if BodyInertia in read else []),
        *config.randomised(model, playing, dt),
        *(
            [curricula(penalty=0.1, penalty_adapts=moving, limits=(0.9, 0.9, 0.9))]
            if penalties or SoftLimits in read
            else []
        ),
    ]


def locomotion(config: LocomotionConfig, model: RobotModel, *, playing: bool, dt: float) -> list[Bundle]:
    """The task's bundles. `playing` a policy: without noise, pushes or a curriculum, in the first range of commands."""
    stages = config.task.stages if config.curriculum and not playing else config.task.stages[:1]
    fixed = {"stages": stages} if config.command is None else fixed_command(stages, config.command)
    tables = tables_of(config, model, playing=playing)
    of_task, walked = readings(config, model, tables, playing=playing, dt=dt), list[Bundle]()
    if model.terrain is not None:
        walked = [on_terrain(config, of_task, stages, playing=playing, dt=dt)]
    return [
        episode(spread=1 if playing else num_steps(config.seconds, dt)),
        *of_task,
        *([gait_clock(model.robot, period=config.gait_period, dt=dt)] if config.gait_period is not None else []),
        standing(**config.task.start),
        *walked,
        commands(**{**config.task.draws, **fixed}, dt=dt),
        task(
            observations=tables.observations,
            rewards=tables.rewards,
            terminations=tables.terminations,
            noisy=not playing,
            observation_limit=config.task.limit,
            dt=dt,
        ),
    ]
