"""Observations of actor and critic: general terms, the system that puts them side by side, and histories.

A term returns (rows, width). Its settings: `groups`, of "actor" and "critic" (both by default; a shared term is
evaluated once); `noise` and `critic_noise`, half the width of uniform noise on the actor's and on the critic's
copy (the critic's has none by default); `clip`, a bound on the magnitude; `scale`, a factor; `history`, how many
past ticks are remembered. Order: value, noise, clip, scale, and 0 in place of what is then not finite. What is remembered gets `noise` of its own
draw, and every group that sees the term sees the same past. The past stands after everything else, or
where the mapping of terms has a term of `actor_history` or `critic_history`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from components.control import Action, ActionDelay, EncoderBias
from components.episode import Done, Rewritten
from components.observation import FinalObservation, History, HistoryLayout, Observation, ObservationNoise, Seen
from components.randomization import Drawn, ImuMounting, Variations
from components.robot import BaseFrame, Contact, ContactSensors, DofState, FootForce, Robot, RootState
from components.terrain import Ground
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
from systems.ground.heights import ground_height, height_above_ground, scan_points
from systems.maths.gradients import write
from systems.maths.quaternion import from_rotation_vector, rotate_inverse, yaw
from systems.maths.tensors import indices, spread
from systems.tick import ACTUATE, OBSERVE, RECORD, RESET

BOTH = ("actor", "critic")
SETTINGS = ("noise", "critic_noise", "clip", "scale")
REGISTERED = {**dict.fromkeys(SETTINGS, float | None), "groups": tuple[str, ...], "history": int | None}
"""What term(...) may say to the systems below."""
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
    height = ground_height(ground, torch.stack((along, across), -1))
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


# -- observing ------------------------------------------------------------------------------------------


def _disturb(
    row: Tensor, noise: Sequence[float | None], widths: tuple[int, ...], rng: Rng, level: Tensor | None
) -> None:
    """Add noise to the columns of noisy terms; none is drawn for the others."""
    runs: list[list[int]] = []  # columns of neighbouring noisy terms: first, and one past the last
    column = 0
    for half, width in zip(noise, widths, strict=True):
        if half and runs and runs[-1][1] == column:
            runs[-1][1] += width
        elif half:
            runs.append([column, column + width])
        column += width
    amplitude = spread(tuple(2.0 * (n or 0.0) for n in noise), widths, row.device)
    count = sum(last - first for first, last in runs)
    drawn = torch.rand((len(row), count), generator=rng, device=row.device).sub_(0.5)
    pieces = (drawn if level is None else drawn.mul_(level)).split([last - first for first, last in runs], 1)
    for (first, last), piece in zip(runs, pieces, strict=True):
        row[:, first:last].addcmul_(piece, amplitude[first:last])


def _concatenate(
    row: Tensor,
    values: Terms,
    seen: Sequence[Tensor],
    settings: Mapping[str, Sequence[Any]],
    noise: str,
    rng: Rng | None,
    level: Tensor | None,
    limit: float = math.inf,
) -> None:
    """Fill `row` with what was seen side by side, 0 where it is not finite, as its settings ask; `rng` None: without noise."""
    write(row, torch.cat, list(seen), -1)
    finite = values.finite(row)
    widths, clip, scale = tuple(value.shape[1] for value in seen), settings["clip"], settings["scale"]
    if rng is not None and any(settings[noise]):
        _disturb(row, settings[noise], widths, rng, level)
    if any(c is not None for c in clip):
        bound = spread(tuple(math.inf if c is None else float(c) for c in clip), widths, row.device)
        row.clamp_(-bound, bound)
    if any(s is not None for s in scale):
        row.mul_(spread(tuple(1.0 if s is None else float(s) for s in scale), widths, row.device))
    if limit < math.inf:
        row.clamp_(-limit, limit)
    if not finite:
        row.nan_to_num_(0.0, 0.0, 0.0)


def _observe(
    values: Terms, rng: Rng | None, observation: Observation, limit: float, level: Tensor | None = None
) -> None:
    groups = values.setting("groups", BOTH)
    seen = [value for _, value in values]
    settings = {key: values.setting(key) for key in SETTINGS}
    for group, row, noise in (("actor", observation.actor, "noise"), ("critic", observation.critic, "critic_noise")):
        inside = [i for i, member in enumerate(groups) if group in member]
        if not inside:  # a learner without a critic
            continue
        own = {key: [setting[i] for i in inside] for key, setting in settings.items()}
        _concatenate(row, values, [seen[i] for i in inside], own, noise, rng, level, limit)


def observe(
    values: Terms, rng: Rng, observation: Write[Observation], *, noisy: bool = True, limit: float = math.inf
) -> None:
    """Put side by side what actor and critic see; `noisy` False leaves all noise out, ±`limit` bounds both rows."""
    _observe(values, rng if noisy else None, observation, limit)


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
    _observe(values, rng if noisy else None, observation, limit, noise.level)


def _observe_final(
    values: Terms, rng: Rng | None, final: FinalObservation, limit: float, level: Tensor | None = None
) -> None:
    settings = {key: values.setting(key) for key in SETTINGS}
    _concatenate(final.critic, values, [value for _, value in values], settings, "critic_noise", rng, level, limit)


def observe_final(
    values: Terms, rng: Rng, final: Write[FinalObservation], *, noisy: bool = True, limit: float = math.inf
) -> None:
    """Put side by side what the critic sees before a reset, with the noise and the bounds that it learns on."""
    _observe_final(values, rng if noisy else None, final, limit)


def observe_final_under_curriculum(
    values: Terms,
    rng: Rng,
    noise: ObservationNoise,
    final: Write[FinalObservation],
    *,
    noisy: bool = True,
    limit: float = math.inf,
) -> None:
    """`observe_final`, with the noise of all terms scaled by the curriculum."""
    _observe_final(values, rng if noisy else None, final, limit, noise.level)


# -- histories -----------------------------------------------------------------------------------------


def _remember(values: Terms, rng: Rng | None, seen: Seen, level: Tensor | None = None) -> None:
    settings = {key: values.setting(key) for key in SETTINGS}
    _concatenate(seen.value, values, [value for _, value in values], settings, "noise", rng, level)


def remember(values: Terms, rng: Rng, seen: Write[Seen], *, noisy: bool = True) -> None:
    """Keep what there is to see for the next tick's history, with noise of its own unless `noisy` is False."""
    _remember(values, rng if noisy else None, seen)


def remember_under_curriculum(
    values: Terms, rng: Rng, noise: ObservationNoise, seen: Write[Seen], *, noisy: bool = True
) -> None:
    """`remember`, with the noise of all terms scaled by the curriculum."""
    _remember(values, rng if noisy else None, seen, noise.level)


def extend_history(seen: Seen, layout: HistoryLayout, history: Write[History]) -> None:
    """Put what there was to see at the end of the tick before at the front of each term's history."""
    history.actor.copy_(torch.cat((seen.value, history.actor), -1).index_select(1, layout.actor))
    history.critic.copy_(torch.cat((seen.value, history.critic), -1).index_select(1, layout.critic))


def reset_history(done: Done, history: Write[History]) -> None:
    """Ended rows forget."""
    put_rows(history.actor, done.ended, 0.0)
    put_rows(history.critic, done.ended, 0.0)


def past(name: str, age: int) -> str:
    """The label of what term `name` was `age` ticks ago."""
    return f"{name}@{age}"


def lay_out(remembered: Sequence[str], history: Sequence[str]) -> list[int]:
    """Where each label of a history comes from: what was just seen, or the place of the tick after it.

    Labels are 'term' or 'term[i]', and 'term@age' or 'term@age[i]' in the history.
    """
    places = {label: i for i, label in enumerate([*remembered, *history])}
    found = []
    for label in history:
        name, _, rest = label.rpartition("@")
        age, bracket, column = rest.partition("[")
        younger = name if age == "1" else past(name, int(age) - 1)
        found.append(places[younger + bracket + column])
    return found


def make_layout(axes: Mapping[str, tuple[str, ...]], seed: int, device: torch.device) -> HistoryLayout:
    """The layout for the axes of this table; the seed is not used."""
    actor, critic = (lay_out(axes["remembered"], axes[f"{group}_history"]) for group in BOTH)
    return HistoryLayout(
        actor=torch.tensor(actor, dtype=torch.int64, device=device),
        critic=torch.tensor(critic, dtype=torch.int64, device=device),
    )


# -- bundle --------------------------------------------------------------------------------------------


def group_terms(terms: Mapping[str, Term], group: str) -> dict[str, Term]:
    """The terms that a group sees, in order."""
    return {name: each for name, each in terms.items() if group in each.settings.get("groups", BOTH)}


def only_actor(terms: Mapping[str, Term]) -> dict[str, Term]:
    """What the actor sees of `terms`, for a learner without a critic."""
    found = {}
    for name, each in group_terms(terms, "actor").items():
        settings = {key: value for key, value in each.settings.items() if key != "critic_noise"}
        found[name] = attrs.evolve(each, settings={**settings, "groups": ACTOR})
    return found


def _check_groups(name: str, each: Term) -> None:
    settings = each.settings
    groups, history = settings.get("groups", BOTH), settings.get("history")
    if isinstance(groups, str) or any(group not in BOTH for group in groups):
        raise SceneError(f"Observation `{name}` says groups={groups!r}; give a tuple of 'actor' and 'critic'.")
    if history is not None and (not isinstance(history, int) or history < 0):
        raise SceneError(f"Observation `{name}` says history={history!r}; give a number of ticks from 0 up.")
    if settings.get("noise") and "actor" not in groups and not history:
        raise SceneError(
            f"Observation `{name}` says noise={settings['noise']}, which has no effect on what only the critic sees. "
            "Say critic_noise, or leave it out."
        )
    if settings.get("critic_noise") and "critic" not in groups:
        raise SceneError(
            f"Observation `{name}` says critic_noise={settings['critic_noise']}, which has no effect on what only the "
            "actor sees. Say noise, or leave it out."
        )


def observations(
    terms: Mapping[str, Term], *, noisy: bool = True, limit: float = math.inf, curriculum: bool = False
) -> Bundle:
    """Everything that makes `Observation` and `FinalObservation` from these terms, for a task's bundle to merge.

    `noisy` False switches all noise off; `limit` bounds every number; `curriculum` scales the noise by
    the resource ObservationNoise. Raises SceneError for an unknown group or an empty one, and for a setting
    that has no effect.
    """
    for name, each in terms.items():
        _check_groups(name, each)
    if curriculum and not any(each.settings.get(key) for each in terms.values() for key in ("noise", "critic_noise")):
        raise SceneError(
            "The curriculum of observation noise has no effect: no observation term has noise. Give noise=… to a term, "
            "or leave the curriculum out."
        )
    kept = {name: each for name, each in terms.items() if each.settings.get("history")}
    every = dict(terms)
    for group, function in (("actor", actor_history), ("critic", critic_history)):
        placed = any(each.function is function for each in terms.values())
        if group_terms(kept, group) and not placed:
            every[f"{group}_history"] = term(function, groups=(group,))
    if not group_terms(every, "actor"):
        raise SceneError("No observation term is for the actor; give at least one with groups=('actor',).")
    axes: dict[str, object] = {}
    if kept:
        axes["remembered"] = concatenated(kept)
        for group in BOTH:
            ages = [(n, t, range(1, int(t.settings["history"]) + 1)) for n, t in group_terms(kept, group).items()]
            axes[f"{group}_history"] = concatenated({past(n, age): t for n, t, some in ages for age in some})
    axes |= {f"{group}_observation": concatenated(group_terms(every, group)) for group in BOTH}
    look, look_last, keep = (
        (observe_under_curriculum, observe_final_under_curriculum, remember_under_curriculum)
        if curriculum
        else (observe, observe_final, remember)
    )
    seen = fuse(look, every, name="observe", settings=REGISTERED, noisy=noisy, limit=limit)
    last = group_terms(every, "critic")
    final = fuse(look_last, last, name="observe_final", settings=REGISTERED, when=any_row(Done, "truncated"))
    final.constants = seen.constants  # one noise and one limit for both: to set either is to set both
    systems: dict[str, list[System]] = {RECORD: [final] if last else [], OBSERVE: [seen]}
    if not kept:
        return Bundle("observation", components=[Observation, FinalObservation], systems=systems, axes=axes)
    systems[ACTUATE] = [system(extend_history)]
    systems[RESET] = [system(reset_history, when=any_row(Rewritten, "rows"))]
    systems[OBSERVE].append(fuse(keep, kept, name="remember", settings=REGISTERED, noisy=noisy))
    return Bundle(
        "observation",
        components=[Observation, FinalObservation, Seen, History],
        resources=[deferred(HistoryLayout, make_layout)],
        systems=systems,
        axes=axes,
    )
