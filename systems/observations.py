"""What the networks see: general terms, the system that lines them up, and histories.

A term returns (rows, width). Its settings: `groups`, of "actor" and "critic" (both by default; a shared term is
evaluated once); `noise`, half the width of uniform noise on the actor's copy; `clip`, a bound on the
magnitude; `scale`, a factor; `history`, how many past ticks are appended. Order: value, noise, clip, scale,
history. The critic sees everything without noise.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from components.control import Action, EncoderBias
from components.episode import Done, Rewritten
from components.observation import History, HistoryLayout, Observation, ObservationNoise, Seen
from components.robot import BaseFrame, Contact, ContactForce, DofState, Robot, RootState
from engine import (
    Bundle,
    Rng,
    System,
    Term,
    Terms,
    Write,
    any_row,
    concatenated,
    deferred,
    fuse,
    put_rows,
    system,
    term,
)
from engine.errors import SceneError
from systems.constants import indices, spread
from systems.tick import ACTUATE, OBSERVE, RESET

BOTH = ("actor", "critic")
ACTOR = ("actor",)
CRITIC = ("critic",)


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


def base_height(root: RootState) -> Tensor:
    """Height of the base above the row's own origin; 1 number, m."""
    return root.position[:, 2:]


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


def feet_force(forces: ContactForce, robot: Robot) -> Tensor:
    """Net contact force on each foot in world axes; 3 per foot, N."""
    return forces.force.index_select(1, indices(robot.body_names, robot.foot_names, forces.force.device)).flatten(1)


def feet_touching(contact: Contact) -> Tensor:
    """1 for each foot that bears load."""
    return contact.touching.to(torch.float32)


def actor_history(history: History) -> Tensor:
    """What the actor saw in the ticks before, of the terms that ask for it: term by term, newest first."""
    return history.actor


def critic_history(history: History) -> Tensor:
    """What the critic saw in the ticks before, of the terms that ask for it: term by term, newest first."""
    return history.critic


# -- lining up -----------------------------------------------------------------------------------------


def _extent(noise: Sequence[float | None], widths: Sequence[int]) -> tuple[int, int]:
    """The first column of the first noisy term, and one past the last column of the last."""
    noisy = [i for i, n in enumerate(noise) if n]
    return sum(widths[: noisy[0]]), sum(widths[: noisy[-1] + 1])


def _line_up(
    values: Terms, rng: Rng, observation: Observation, noisy: bool, limit: float, level: Tensor | None
) -> None:
    groups = values.setting("groups", BOTH)
    seen = [value for _, value in values]
    widths = [value.shape[1] for value in seen]
    settings = {key: values.setting(key) for key in ("noise", "clip", "scale")}
    for group, row in (("actor", observation.actor), ("critic", observation.critic)):
        inside = [i for i, member in enumerate(groups) if group in member]
        torch.cat([seen[i] for i in inside], -1, out=row)
        width = tuple(widths[i] for i in inside)
        noise, clip, scale = (tuple(settings[key][i] for i in inside) for key in ("noise", "clip", "scale"))
        if noisy and group == "actor" and any(noise):
            noisy_columns = slice(*_extent(noise, width))  # none is drawn for the clean ones before and behind
            amplitude = spread(tuple(2.0 * (n or 0.0) for n in noise), width, row.device)[noisy_columns]
            drawn = torch.rand((len(row), len(amplitude)), generator=rng, device=row.device).sub_(0.5)
            row[:, noisy_columns].addcmul_(drawn if level is None else drawn.mul_(level), amplitude)
        if any(c is not None for c in clip):
            bound = spread(tuple(math.inf if c is None else float(c) for c in clip), width, row.device)
            torch.clamp(row, -bound, bound, out=row)
        if any(s is not None for s in scale):
            row.mul_(spread(tuple(1.0 if s is None else float(s) for s in scale), width, row.device))
        if limit < math.inf:
            row.clamp_(-limit, limit)


def observe(
    values: Terms, rng: Rng, observation: Write[Observation], *, noisy: bool = True, limit: float = math.inf
) -> None:
    """Line up what actor and critic see; `noisy` adds noise to the actor's row, ±`limit` bounds both rows."""
    _line_up(values, rng, observation, noisy, limit, None)


def observe_under_curriculum(
    values: Terms,
    rng: Rng,
    noise: ObservationNoise,
    observation: Write[Observation],
    *,
    noisy: bool = True,
    limit: float = math.inf,
) -> None:
    """`observe`, with the noise of all terms scaled by the curriculum."""
    _line_up(values, rng, observation, noisy, limit, noise.level)


# -- histories -----------------------------------------------------------------------------------------


def keep_seen(observation: Observation, seen: Write[Seen]) -> None:
    """Keep what was seen for the next tick's history."""
    seen.actor.copy_(observation.actor)
    seen.critic.copy_(observation.critic)


def push_history(seen: Seen, layout: HistoryLayout, history: Write[History]) -> None:
    """Put what was seen at the end of the tick before at the front of each term's history."""
    history.actor.copy_(torch.cat((seen.actor, history.actor), -1).index_select(1, layout.actor))
    history.critic.copy_(torch.cat((seen.critic, history.critic), -1).index_select(1, layout.critic))


def reset_history(done: Done, history: Write[History]) -> None:
    """Ended rows forget."""
    put_rows(history.actor, done.ended, 0.0)
    put_rows(history.critic, done.ended, 0.0)


def past(name: str, age: int) -> str:
    """The label of what term `name` was `age` ticks ago."""
    return f"{name}@{age}"


def lay_out(observed: Sequence[str], remembered: Sequence[str]) -> list[int]:
    """Where each label of a history comes from: its observation, or the place of the tick after it.

    Labels are 'term' or 'term[i]', and 'term@age' or 'term@age[i]' in the history.
    """
    places = {label: i for i, label in enumerate([*observed, *remembered])}
    found = []
    for label in remembered:
        name, _, rest = label.rpartition("@")
        age, bracket, column = rest.partition("[")
        younger = name if age == "1" else past(name, int(age) - 1)
        found.append(places[younger + bracket + column])
    return found


def make_layout(axes: Mapping[str, tuple[str, ...]], seed: int, device: torch.device) -> HistoryLayout:
    """The layout for the axes of this table; the seed is not used."""
    actor = lay_out(axes["actor_observation"], axes["actor_history"])
    critic = lay_out(axes["critic_observation"], axes["critic_history"])
    return HistoryLayout(
        actor=torch.tensor(actor, dtype=torch.int64, device=device),
        critic=torch.tensor(critic, dtype=torch.int64, device=device),
    )


# -- bundle --------------------------------------------------------------------------------------------


def group_terms(terms: Mapping[str, Term], group: str) -> dict[str, Term]:
    """The terms that a group sees, in order."""
    return {name: each for name, each in terms.items() if group in each.settings.get("groups", BOTH)}


def observations(
    terms: Mapping[str, Term], *, noisy: bool = True, limit: float = math.inf, curriculum: bool = False
) -> Bundle:
    """Everything that makes `Observation` from these terms, for a task's bundle to merge.

    `noisy` False switches all noise off; `limit` bounds every number; `curriculum` scales the noise by
    the resource ObservationNoise. Raises SceneError for an unknown group or an empty one.
    """
    for name, each in terms.items():
        strange = [g for g in each.settings.get("groups", BOTH) if g not in BOTH]
        if strange or isinstance(each.settings.get("groups"), str):
            raise SceneError(
                f"Observation `{name}` says groups={each.settings['groups']!r}; give a tuple of 'actor' and 'critic'."
            )
    ages = {g: {n: int(t.settings.get("history", 0)) for n, t in group_terms(terms, g).items()} for g in BOTH}
    remembering = any(age for group in ages.values() for age in group.values())
    every = dict(terms)
    if remembering:
        for group, function in (("actor", actor_history), ("critic", critic_history)):
            if any(ages[group].values()):
                every[f"{group}_history"] = term(function, groups=(group,))
    for group in BOTH:
        if not group_terms(every, group):
            raise SceneError(f"No observation term is for the {group}; give at least one with groups=('{group}',).")
    axes: dict[str, object] = {}
    if remembering:
        for group in BOTH:
            kept = {past(n, i): terms[n] for n, age in ages[group].items() for i in range(1, age + 1)}
            axes[f"{group}_history"] = concatenated(kept)
    axes |= {f"{group}_observation": concatenated(group_terms(every, group)) for group in BOTH}
    combiner = observe_under_curriculum if curriculum else observe
    systems: dict[str, list[System]] = {OBSERVE: [fuse(combiner, every, name="observe", noisy=noisy, limit=limit)]}
    if not remembering:
        return Bundle("observation", components=[Observation], systems=systems, axes=axes)
    systems[ACTUATE] = [system(push_history)]
    systems[RESET] = [system(reset_history, when=any_row(Rewritten, "rows"))]
    systems[OBSERVE].append(system(keep_seen))
    return Bundle(
        "observation",
        components=[Observation, Seen, History],
        resources=[deferred(HistoryLayout, make_layout)],
        systems=systems,
        axes=axes,
    )
