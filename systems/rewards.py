"""Rewards: general terms, and the system that a table of them makes; `systems/reward_sum.py` adds them up.

A term returns (rows,). Its settings: `weight` per second; `std`, where the value is a squared error e, turns
it into exp(−e / std²), and `width` into exp(−e / width): 1 when on target; `penalty=True` puts it under the
penalty curriculum; `unclipped=True` adds it after `only_positive` has cut the others off at 0.

`adapts` lets the width of a term follow its running mean error e, which begins at the width and never lets it grow: "origin" takes
min(width, e), "mean" (min(width, e) + e) / 2 where that is less, and a number c min(width, c e).
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import attrs
import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from components.control import Action, DofTorque, PreviousDof
from components.episode import Done, Episode, PenaltyScale, SoftLimits
from components.robot import (
    BaseFrame,
    BodyState,
    Contact,
    ContactSensors,
    DofState,
    Flight,
    NamedForce,
    Robot,
    RootState,
    SelfContacts,
)
from engine import Bundle, Experiment, Scene, SceneError, System, Term, fuse, term
from engine.ecs.schedule import Schedule
from engine.ecs.system import check_terms
from systems.maths.quaternion import rotate, rotate_inverse
from systems.maths.tensors import indices, vector
from systems.reward_sum import reward, reward_that_adapts, reward_that_adapts_under_curriculum, reward_under_curriculum
from systems.terminations import outside

SETTINGS = {
    "weight": float,
    "std": float | None,
    "width": float | None,
    "penalty": bool,
    "unclipped": bool,
    "adapts": str | float | None,
}


def squares(a: Tensor, b: Tensor) -> Tensor:
    """(a − b)², element by element, in one operation; broadcasting."""
    a, b = torch.broadcast_tensors(a, b)
    return mse_loss(a, b, reduction="none")


# -- terms ---------------------------------------------------------------------------------------------


def alive(episode: Episode) -> Tensor:
    """1 in every tick."""
    return torch.ones_like(episode.step, dtype=torch.float32)


def failed(done: Done) -> Tensor:
    """1 in the tick in which the episode ends in failure; running out of time is no failure."""
    return done.terminated.to(torch.float32)


def action_rate(action: Action) -> Tensor:
    """Σ (a − a_previous)² over joints, of undelayed actions."""
    return squares(action.value, action.previous).sum(-1)


def torques(torque: DofTorque) -> Tensor:
    """Σ τ² over joints, in the last substep; (N·m)²."""
    return torque.value.square().sum(-1)


def dof_velocity(dofs: DofState) -> Tensor:
    """Σ q̇² over joints; (rad/s)²."""
    return dofs.velocity.square().sum(-1)


def dof_acceleration(dofs: DofState, previous: PreviousDof, *, dt: float = 0.02) -> Tensor:
    """Σ ((q̇ − q̇_previous) / dt)² over joints, with the change over one control step; (rad/s²)²."""
    return squares(dofs.velocity, previous.velocity).sum(-1) / dt**2


def energy(dofs: DofState, torque: DofTorque) -> Tensor:
    """Σ max(τ q̇, 0) over joints; W."""
    return (torque.value * dofs.velocity).clamp_min_(0.0).sum(-1)


def orientation(base: BaseFrame) -> Tensor:
    """g_x² + g_y² of unit gravity in the base frame: 0 upright, 1 lying down."""
    return base.gravity[:, :2].square().sum(-1)


def joint_limits(dofs: DofState, robot: Robot) -> Tensor:
    """Σ over joints of how far each lies outside the robot's own soft limits; rad."""
    low, high = robot.soft_position_limit.unbind(-1)
    return torch.linalg.vector_norm(dofs.position - dofs.position.clamp(low, high), 1, dim=-1)


def position_limits(dofs: DofState, robot: Robot, limits: SoftLimits) -> Tensor:
    """Σ over joints of how far each lies outside the current share of its hard range; rad."""
    return outside(dofs.position, robot.position_limit, limits.position).sum(-1)


def velocity_limits(dofs: DofState, robot: Robot, limits: SoftLimits) -> Tensor:
    """Σ over joints of how much faster each is than the current share of its limit, at most 1 rad/s each."""
    return (dofs.velocity.abs() - robot.velocity_limit * limits.velocity).clamp_(0.0, 1.0).sum(-1)


def torque_limits(torque: DofTorque, robot: Robot, limits: SoftLimits, *, most: float = math.inf) -> Tensor:
    """Σ over joints of how much stronger each is than the current share of its limit, at most `most` N·m each."""
    return (torque.value.abs() - robot.torque_limit * limits.torque).clamp_(0.0, most).sum(-1)


def self_collision(forces: SelfContacts) -> Tensor:
    """Number of physics substeps of this tick in which the robot touched itself too hard."""
    return forces.self_contacts


def collision(forces: NamedForce, sensors: ContactSensors, *, bodies: tuple[str, ...], force: float = 0.1) -> Tensor:
    """Number of bodies matching the patterns `bodies` that carry more than `force` in N."""
    index = indices(sensors.bodies, tuple(bodies), forces.force.device)
    touched = torch.linalg.vector_norm(forces.force.index_select(1, index), dim=-1)
    return (touched > force).sum(-1, dtype=torch.float32)


def slippage(bodies: BodyState, contact: Contact, robot: Robot) -> Tensor:
    """Σ over feet that bear load of their speed; m/s."""
    feet = indices(robot.body_names, robot.foot_names, bodies.position.device)
    speed = torch.linalg.vector_norm(bodies.linear_velocity.index_select(1, feet), dim=-1)
    return (speed * contact.touching).sum(-1)


def foot_orientation(bodies: BodyState, robot: Robot) -> Tensor:
    """Σ over feet of the sine of the angle between sole and ground: √(g_x² + g_y²) in the foot frame."""
    return _sole_tilt(bodies, robot).sum(-1)


def standing_foot_orientation(bodies: BodyState, contact: Contact, robot: Robot) -> Tensor:
    """`foot_orientation` of the feet that bear load."""
    return (_sole_tilt(bodies, robot) * contact.touching).sum(-1)


def _sole_tilt(bodies: BodyState, robot: Robot) -> Tensor:
    feet = bodies.rotation.index_select(1, indices(robot.body_names, robot.foot_names, bodies.rotation.device))
    gravity = rotate_inverse(feet, vector((0.0, 0.0, -1.0), feet.device, feet.dtype).expand(*feet.shape[:-1], 3))
    return torch.linalg.vector_norm(gravity[..., :2], dim=-1)


def foot_heading(bodies: BodyState, root: RootState, robot: Robot) -> Tensor:
    """Σ over feet of the angle between the headings of foot and base, each that of its x axis; rad in [0, π]."""
    return _sole_turn(bodies, root, robot).sum(-1)


def standing_foot_heading(bodies: BodyState, root: RootState, contact: Contact, robot: Robot) -> Tensor:
    """`foot_heading` of the feet that bear load."""
    return (_sole_turn(bodies, root, robot) * contact.touching).sum(-1)


def _sole_turn(bodies: BodyState, root: RootState, robot: Robot) -> Tensor:
    feet = bodies.rotation.index_select(1, indices(robot.body_names, robot.foot_names, bodies.rotation.device))
    forward = vector((1.0, 0.0, 0.0), feet.device, feet.dtype)
    axes = rotate(
        torch.cat((feet, root.rotation.unsqueeze(1)), 1), forward.expand(*feet.shape[:1], feet.shape[1] + 1, 3)
    )
    heading = torch.atan2(axes[..., 1], axes[..., 0])
    difference = heading[:, :-1] - heading[:, -1:]
    return torch.atan2(difference.sin(), difference.cos()).abs()


def action_size(action: Action) -> Tensor:
    """‖a‖ of the undelayed action; with width=1 it pays exp(−‖a‖)."""
    return torch.linalg.vector_norm(action.value, dim=-1)


def action_growth(action: Action, *, sign: Literal[-1, 1] = 1) -> Tensor:
    """exp(`sign` ‖a‖) − 1 of the undelayed action: unbounded, or with sign −1 from 0 down to −1."""
    return torch.expm1(sign * action_size(action))


def flight_too_low(flight: Flight, *, height: float) -> Tensor:
    """Σ over feet that land in this tick of how far their highest point stayed below `height`; m."""
    return ((height - flight.peak).clamp_min_(0.0) * flight.landed).sum(-1)


def flight_time(flight: Flight, *, least: float = 0.5) -> Tensor:
    """Σ over feet that land in this tick of their time in the air beyond `least`; s."""
    return ((flight.seconds - least) * flight.landed).sum(-1)


# -- tables of terms -----------------------------------------------------------------------------------


def check_falloff(terms: Mapping[str, Term]) -> None:
    """Raise SceneError for a `std` or `width` that is not above 0, or that is ignored for the other."""
    for name, each in terms.items():
        std, width = each.settings.get("std"), each.settings.get("width")
        for key, value in (("std", std), ("width", width)):
            if value is not None and not value > 0:
                raise SceneError(f"Reward `{name}` says {key}={value!r}; give a number above 0, or leave it out.")
        adapts = each.settings.get("adapts")
        if adapts is not None and std is None and width is None:
            raise SceneError(f"Reward `{name}` says adapts={adapts!r}, but has no std or width that could; give one.")
        if isinstance(adapts, str) and adapts not in ("origin", "mean"):
            raise SceneError(f"Reward `{name}` says adapts={adapts!r}; it is 'origin', 'mean' or a number above 0.")
        if isinstance(adapts, (int, float)) and not 0.0 < adapts < math.inf:
            raise SceneError(f"Reward `{name}` says adapts={adapts!r}; it is 'origin', 'mean' or a number above 0.")
        if std is not None and width is not None:
            raise SceneError(
                f"Reward `{name}` says std={std} and width={width}; width has no effect beside std, so give one of them."
            )


def rewards(terms: Mapping[str, Term], *, dt: float = 0.02, only_positive: bool = False) -> System:
    """The system `reward` over these terms; `dt` is the control step in s.

    Terms of weight 0 are left out. Raises BuildError for an unknown setting, and SceneError for one that has no effect.
    """
    check_falloff(terms)
    terms = paying(terms)
    curriculum = any(each.settings.get("penalty") for each in terms.values())
    adapts = any(each.settings.get("adapts") is not None for each in terms.values())
    combiners: dict[tuple[bool, bool], Callable[..., None]] = {
        (False, False): reward,
        (True, False): reward_under_curriculum,
        (False, True): reward_that_adapts,
        (True, True): reward_that_adapts_under_curriculum,
    }
    combiner = combiners[curriculum, adapts]
    return fuse(combiner, terms, name="reward", settings=SETTINGS, dt=dt, only_positive=only_positive)


def paying(terms: Mapping[str, Term]) -> dict[str, Term]:
    """The terms whose weight is not 0: the others are no part of a scene."""
    return {name: each for name, each in terms.items() if each.settings.get("weight", 1.0) != 0.0}


def nothing(done: Done) -> Tensor:
    """0 in every row, in the place of a term whose weight is set to 0."""
    return torch.zeros_like(done.ended, dtype=torch.float32)


def skip_weightless(earned: System, bundles: Sequence[Bundle]) -> tuple[str, ...]:
    """Leave out of the computation the terms whose weight is 0 by now; the labels of axis `reward`, which keeps them."""
    for name, each in earned.terms.items():
        if each.settings.get("weight", 1.0) == 0.0:
            earned.terms[name] = term(nothing, **each.settings)
    return tuple(earned.terms)


def check_weights(earned: System, schedule: Schedule) -> None:
    """Raise SceneError for a weight that is no longer 0 of a term that is not computed, and as `check_falloff` does."""
    check_falloff(earned.terms)
    for name, each in earned.terms.items():
        if each.function is nothing and each.settings["weight"] != 0.0:
            raise SceneError(
                f"Reward `{name}` says weight={each.settings['weight']:g}, but was built with 0 and is not computed. Start the "
                "scene with another weight than 0."
            )


def with_rewards(experiment: Callable[..., Experiment], **terms: Term) -> Callable[..., Experiment]:
    """An experiment function that earns `terms` too while it learns, after its own; a name that it has gets another term.

    Its flags, report, evaluation and film stay the same, so that results can be compared. Raises SceneError, when the
    scene is made, for one without the system `reward`, and for a term under `penalty` where no curriculum scales penalties.
    """

    @functools.wraps(experiment)
    def extended(*config: Any, **flags: Any) -> Experiment:
        made = experiment(*config, **flags)
        return attrs.evolve(made, train=functools.partial(add_rewards, made.train, terms))

    return extended


def add_rewards(train: Callable[[], Scene], terms: Mapping[str, Term]) -> Scene:
    """The scene that `train` makes, which earns `terms` too; see `with_rewards`."""
    made = train()
    found = [(b, s) for b in made.bundles for group in b.systems.values() for s in group if s.name == "reward"]
    if not found:
        raise SceneError(f"The scene '{made.name}' has no system `reward` to add {', '.join(terms)} to.")
    bundle, summed = found[0]
    scaled = [name for name, each in terms.items() if each.settings.get("penalty")]
    if scaled and PenaltyScale not in summed.reads:
        raise SceneError(
            f"Reward `{scaled[0]}` says penalty=True, but the scene '{made.name}' has no penalty curriculum; leave it out."
        )
    adapting = [name for name, each in terms.items() if each.settings.get("adapts") is not None]
    if adapting:
        raise SceneError(
            f"Reward `{adapting[0]}` says adapts={terms[adapting[0]].settings['adapts']!r}, which only terms of the task's own "
            "table can; leave it out."
        )
    bundle.axes = {**bundle.axes, "reward": functools.partial(skip_weightless, summed)}
    if any(s.name == "record_terms" for b in made.bundles for group in b.systems.values() for s in group):
        raise SceneError(
            f"Reward `{next(iter(terms))}` needs a head of the critic, which the evaluation of the scene '{made.name}' would lack. Leave "
            "value_heads out, or add the term to the task's own table."
        )
    check_terms("reward", terms, SETTINGS)
    check_falloff(terms)
    summed.terms.update(
        {
            name: attrs.evolve(each, constants=dict(each.constants), settings=dict(each.settings))
            for name, each in paying(terms).items()
        }
    )
    return made
