"""Observations of actor and critic: general terms, and the bundle that makes observations of a table of terms.

Rows are filled by `systems/observation_groups.py`, the past is kept by `systems/observation_history.py`.

A term returns (rows, width). Its settings: `groups`, of "actor", "critic" and any further words (the two by default; a term
that they share is evaluated once); `noise` and `critic_noise`, half the width of uniform noise on the actor's and on the critic's
copy (the critic's has none by default); `clip`, a bound on the magnitude; `scale`, a factor; `history`, how many
past ticks are remembered. Order: value, noise, clip, scale, and 0 in place of what is then not finite. What is remembered gets `noise` of its own
draw, and every group that sees the term sees the same past. The past stands after everything else, or
where the mapping of terms has a term of `actor_history` or `critic_history`. Histories of several lengths, of any terms, are terms
that `compound` makes, with settings of their own.

Two settings are of the actor's copy alone. `delay=(least, most)`: control steps by which it is late, drawn for each row and term at a
reset; no reading is older than the episode. `drift=(std, steps)`: an error that wanders, added with the noise: an
Ornstein-Uhlenbeck process of that standard deviation and correlation time in control steps.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import attrs
import torch
from torch import Tensor

from components.control import Action, ActionDelay, EncoderBias
from components.episode import Done, Rewritten
from components.observation import (
    Disturbance,
    FinalObservation,
    GroupObservation,
    History,
    HistoryLayout,
    Observation,
    ObservationGroups,
    Seen,
)
from components.randomization import Drawn, ImuMounting, Variations
from components.robot import BaseFrame, Contact, ContactSensors, DofState, FootForce, Robot, RootState
from components.terrain import Ground
from engine import Bundle, System, Term, any_row, concatenated, deferred, fuse, system, term
from engine.ecs.schedule import Schedule
from engine.errors import SceneError, did_you_mean
from systems.ground.heights import height_above_ground, height_at, scan_points
from systems.maths.quaternion import from_rotation_vector, rotate_inverse, yaw
from systems.maths.tensors import indices
from systems.observation_groups import (
    ACTOR,
    BOTH,
    REGISTERED,
    check_groups,
    find_groups,
    group_terms,
    observe,
    observe_disturbed,
    observe_disturbed_under_curriculum,
    observe_final,
    observe_final_under_curriculum,
    observe_groups,
    observe_under_curriculum,
    reset_disturbance,
)
from systems.observation_history import (
    Lengths,
    extend_history,
    make_layout,
    pasts,
    remember,
    remember_under_curriculum,
    reset_history,
)
from systems.tick import ACTUATE, OBSERVE, RECORD, RESET

# -- terms ---------------------------------------------------------------------------------------------


def base_linear_velocity(base: BaseFrame) -> Tensor:
    """Velocity of the base sensor in base axes; 3 numbers, m/s."""
    return base.linear_velocity


def base_angular_velocity(base: BaseFrame) -> Tensor:
    """Angular velocity of the base in base axes; 3 numbers, rad/s."""
    return base.angular_velocity


def projected_gravity(base: BaseFrame) -> Tensor:
    """Unit gravity in base axes; 3 numbers."""
    return base.gravity


def imu_angular_velocity(base: BaseFrame, mounting: ImuMounting) -> Tensor:
    """Angular velocity of the base as a gyro reports it that is mounted askew; 3 numbers, rad/s."""
    return rotate_inverse(from_rotation_vector(mounting.angles), base.angular_velocity)


def imu_gravity(base: BaseFrame, mounting: ImuMounting) -> Tensor:
    """Unit gravity as an accelerometer sees it that is mounted askew; 3 numbers."""
    return rotate_inverse(from_rotation_vector(mounting.angles), base.gravity)


def base_height(root: RootState, ground: Ground) -> Tensor:
    """Height of the base above the ground; 1 number, m."""
    return height_above_ground(ground, root.position).unsqueeze(-1)


def height_scan(
    root: RootState, ground: Ground, *, size: tuple[float, float] = (1.6, 1.0), spacing: float = 0.1,
    offset: float = 0.0, furthest: float = 5.0,
) -> Tensor:  # fmt: skip
    """How far the ground is below the base, at points of a grid around it that turns with its yaw; m, less `offset`.

    The grid is `size` m long and wide with points `spacing` m apart, row by row from the right to the left, each from the
    back to the front. Numbers are at most `furthest`, and negative where the ground is above the base.
    """
    points = scan_points(tuple(size), spacing, root.position.device)
    angle = yaw(root.rotation)
    sine, cosine = angle.sin().unsqueeze(-1), angle.cos().unsqueeze(-1)
    along = torch.addcmul(root.position[:, :1], cosine, points[:, 0]).addcmul_(sine, points[:, 1], value=-1.0)
    across = torch.addcmul(root.position[:, 1:2], sine, points[:, 0]).addcmul_(cosine, points[:, 1])
    height = height_at(ground, along, across)
    return (root.position[:, 2:] - offset - height).clamp_max_(furthest)


def joint_position(dofs: DofState, robot: Robot) -> Tensor:
    """True joint positions minus the default pose; one per joint, rad."""
    return dofs.position - robot.default_position


def measured_joint_position(dofs: DofState, robot: Robot, bias: EncoderBias) -> Tensor:
    """Joint positions as the encoders report them, minus the default pose; one per joint, rad."""
    return (dofs.position - robot.default_position).add_(bias.value)


def joint_velocity(dofs: DofState) -> Tensor:
    """Joint velocities; one per joint, rad/s."""
    return dofs.velocity


def last_action(action: Action) -> Tensor:
    """The action just executed, undelayed; 0 after a reset; one per joint."""
    return action.value


def feet_force(forces: FootForce, sensors: ContactSensors, robot: Robot) -> Tensor:
    """Net contact force on each foot in world axes; 3 per foot, N."""
    return forces.force.index_select(1, indices(sensors.bodies, robot.foot_names, forces.force.device)).flatten(1)


def feet_touching(contact: Contact) -> Tensor:
    """1 for each foot that bears load."""
    return contact.touching.to(torch.float32)


def drawn_dynamics(drawn: Drawn, variations: Variations) -> Tensor:
    """What was drawn for a row, each number as a share of its range: −1 at its low end and 1 at its high one."""
    return (drawn.value - variations.middle).div_(variations.half)


def action_lag(delay: ActionDelay) -> Tensor:
    """By how many control steps actions reach the joints late; 1 number."""
    return delay.steps.to(torch.float32).unsqueeze(-1)


def withheld(root: RootState, *, width: int) -> Tensor:
    """`width` zeros in the place of numbers that only a learning critic sees."""
    return torch.zeros(len(root.position), width, device=root.position.device)


def actor_history(history: History) -> Tensor:
    """The past of the actor's terms that ask for it: term by term, newest first; 0 before the episode."""
    return history.actor


def critic_history(history: History) -> Tensor:
    """The past of the critic's terms that ask for it: term by term, newest first; 0 before the episode."""
    return history.critic


def recalled(history: History, layout: HistoryLayout, *, of: Lengths, ring: str = "actor") -> Tensor:
    """The past of the terms in `of`, each over so many ticks: term by term, newest first; 0 before the episode."""
    return getattr(history, ring).index_select(1, layout.recalled[ring, of])


def compound(of: Mapping[str, int], **settings: Any) -> Term:
    """A term of the past of other terms of the same mapping: how many ticks of each, by name. `settings` are those of a term."""
    return term(recalled, of=tuple(of.items()), **settings)


# -- bundle --------------------------------------------------------------------------------------------


def compounds_of(terms: Mapping[str, Term]) -> dict[str, Term]:
    """The terms of the past of others."""
    return {name: each for name, each in terms.items() if each.function is recalled}


def only_actor(terms: Mapping[str, Term]) -> dict[str, Term]:
    """What the actor sees of `terms`, for a learner without a critic."""
    seen = group_terms(terms, "actor")
    remembered = {name for each in compounds_of(seen).values() for name, _ in each.constants["of"]}
    found = {}
    for name, each in terms.items():
        if name in seen or name in remembered:
            settings = {key: value for key, value in each.settings.items() if key != "critic_noise"}
            found[name] = attrs.evolve(each, settings={**settings, "groups": ACTOR if name in seen else ()})
    return found


def _check_compounds(terms: Mapping[str, Term]) -> None:
    """SceneError for a compound of terms that there are not, or of no ticks, or beside another history of its group."""
    for name, each in compounds_of(terms).items():
        for other, ticks in each.constants["of"]:
            if other not in terms or terms[other].function in (recalled, actor_history, critic_history):
                raise SceneError(
                    f"Observation `{name}` is the past of `{other}`, which is no term with a present."
                    f"{did_you_mean(other, terms)}"
                )
            if not isinstance(ticks, int) or ticks < 1:
                raise SceneError(f"Observation `{name}` has {ticks!r} ticks of `{other}`; give a number from 1 up.")
        if not each.constants["of"]:
            raise SceneError(f"Observation `{name}` is the past of nothing; name a term and its ticks.")
    whole = [name for name, each in terms.items() if each.settings.get("history")]
    if whole and compounds_of(terms):
        raise SceneError(
            f"Observation `{whole[0]}` says history={terms[whole[0]].settings['history']} beside the compound "
            f"`{next(iter(compounds_of(terms)))}`. Say it in a compound too, or leave the compound out."
        )


def refuse_other_pasts(observed: System, schedule: Schedule) -> None:
    """SceneError for a compound that is given other terms or ticks than its history was built with."""
    layout = schedule.world.resource(HistoryLayout)
    for name, each in compounds_of(observed.terms).items():
        if (each.constants["ring"], each.constants["of"]) not in layout.recalled:
            raise SceneError(
                f"Observation `{name}` is the past of {each.constants['of']}, but its history was built for others. Change the "
                "table of terms."
            )


def observations(
    terms: Mapping[str, Term],
    *,
    noisy: bool = True,
    limit: float = math.inf,
    curriculum: bool = False,
) -> Bundle:
    """Everything that makes `Observation` and `FinalObservation` from these terms, for a task's bundle to merge.

    `noisy` False switches all noise and drift off; `limit` bounds every number; `curriculum` scales the noise by
    the resource ObservationNoise. Groups besides actor and critic are in `GroupObservation`.
    Raises SceneError for a group that sees nothing, and for a setting that has no effect.
    """
    remembered = {name for each in compounds_of(terms).values() for name, _ in each.constants["of"]}
    for name, each in terms.items():
        check_groups(name, each, remembered)
    _check_compounds(terms)
    if curriculum and not any(each.settings.get(key) for each in terms.values() for key in ("noise", "critic_noise")):
        raise SceneError(
            "The curriculum of observation noise has no effect: no observation term has noise. Give noise=… to a term, "
            "or leave the curriculum out."
        )
    kept = {name: each for name, each in terms.items() if each.settings.get("history") or name in remembered}
    every = dict(terms)
    for group, function in (("actor", actor_history), ("critic", critic_history)):
        placed = any(each.function is function for each in terms.values())
        if group_terms({n: t for n, t in kept.items() if n not in remembered}, group) and not placed:
            every[f"{group}_history"] = term(function, groups=(group,))
    for name, each in compounds_of(every).items():
        ring = "actor" if "actor" in each.settings.get("groups", BOTH) else "critic"
        every[name] = attrs.evolve(each, constants={**each.constants, "ring": ring})
    if not group_terms(every, "actor"):
        raise SceneError("No observation term is for the actor; give at least one with groups=('actor',).")
    axes: dict[str, object] = {}
    if kept:
        axes["remembered"] = concatenated(kept)
        for group in BOTH:
            axes[f"{group}_history"] = concatenated(pasts(kept, _longest(every, kept, group)))
    axes |= {f"{group}_observation": concatenated(_shown(group_terms(every, group), every)) for group in BOTH}
    disturbed = {n: t for n, t in every.items() if t.settings.get("delay") or t.settings.get("drift")}
    looks: dict[tuple[bool, bool], Callable[..., None]] = {
        (False, False): observe,
        (True, False): observe_under_curriculum,
        (False, True): observe_disturbed,
        (True, True): observe_disturbed_under_curriculum,
    }
    look_last, keep = (
        (observe_final_under_curriculum, remember_under_curriculum) if curriculum else (observe_final, remember)
    )
    look = looks[curriculum, bool(disturbed)]
    visible = {name: each for name, each in every.items() if set(each.settings.get("groups", BOTH)) & set(BOTH)}
    seen = fuse(look, visible, name="observe", settings=REGISTERED, noisy=noisy, limit=limit)
    last = group_terms(every, "critic")
    final = fuse(look_last, last, name="observe_final", settings=REGISTERED, when=any_row(Done, "truncated"))
    final.constants = seen.constants  # one noise and one limit for both: to set either is to set both
    systems: dict[str, list[System]] = {RECORD: [final] if last else [], OBSERVE: [seen]}
    components: list[type] = [Observation, FinalObservation]
    resources: list[Any] = []
    checks: list[Callable[[Schedule], None]] = []
    again = any_row(Rewritten, "rows")
    further = _further(every)
    if further:
        systems[OBSERVE].append(
            fuse(observe_groups, further, name="observe_groups", settings=REGISTERED, noisy=noisy, limit=limit)
        )
        axes["group_observation"] = concatenated(_shown(further, every))
        components.append(GroupObservation)
        resources.append(deferred(ObservationGroups, find_groups))
    if disturbed:
        late = {name: each for name, each in disturbed.items() if each.settings.get("delay")}
        axes["late"] = concatenated(pasts(late, {name: each.settings["delay"][1] for name, each in late.items()}))
        axes["late_term"] = tuple(late)
        axes["drifting"] = concatenated({n: t for n, t in disturbed.items() if t.settings.get("drift")})
        components.append(Disturbance)
        spans = tuple(each.settings["delay"] for each in late.values())
        systems[RESET] = [system(reset_disturbance, when=again, spans=spans)]
    if kept:
        systems[ACTUATE] = [system(extend_history)]
        systems[RESET] = [*systems.get(RESET, ()), system(reset_history, when=again)]
        systems[OBSERVE].append(fuse(keep, kept, name="remember", settings=REGISTERED, noisy=noisy))
        recalls = [(each.constants["ring"], each.constants["of"]) for each in compounds_of(every).values()]
        components += [Seen, History]
        resources.append(deferred(HistoryLayout, partial(make_layout, compounds=recalls)))
        checks += [partial(refuse_other_pasts, each) for each in systems[OBSERVE] if compounds_of(each.terms)]
    return Bundle("observation", components=components, resources=resources, systems=systems, axes=axes, checks=checks)


def _longest(every: Mapping[str, Term], kept: Mapping[str, Term], group: str) -> dict[str, int]:
    """How many ticks a group's history holds of each term."""
    found: dict[str, int] = {
        name: int(each.settings["history"])
        for name, each in group_terms(kept, group).items()
        if each.settings.get("history")
    }
    for each in compounds_of(every).values():
        if each.constants["ring"] == group:
            for name, ticks in each.constants["of"]:
                found[name] = max(ticks, found.get(name, 0))
    return found


def _shown(terms: Mapping[str, Term], every: Mapping[str, Term]) -> dict[str, Term]:
    """The terms by the labels of what they show, a compound's as those of the terms that it recalls."""
    found: dict[str, Term] = {}
    for name, each in terms.items():
        if each.function is recalled:
            remembered = {other: every[other] for other, _ in each.constants["of"]}
            found |= {f"{name}.{label}": t for label, t in pasts(remembered, dict(each.constants["of"])).items()}
        else:
            found[name] = each
    return found


def _further(every: Mapping[str, Term]) -> dict[str, Term]:
    """The terms of groups besides actor and critic, group by group, as group.term."""
    words = dict.fromkeys(g for each in every.values() for g in each.settings.get("groups", BOTH) if g not in BOTH)
    own = ("noise", "clip", "scale")
    return {
        f"{group}.{name}": attrs.evolve(each, settings={k: v for k, v in each.settings.items() if k in own})
        for group in words
        for name, each in group_terms(every, group).items()
    }
