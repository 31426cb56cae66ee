"""Observations of actor and critic: general terms, the system that puts them side by side, and histories.

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

import difflib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
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
    ObservationNoise,
    Seen,
)
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
from engine.ecs.schedule import Schedule
from engine.errors import SceneError, did_you_mean
from systems.ground.heights import height_above_ground, height_at, scan_points
from systems.maths.gradients import write
from systems.maths.quaternion import from_rotation_vector, rotate_inverse, yaw
from systems.maths.tensors import indices, spread
from systems.tick import ACTUATE, OBSERVE, RECORD, RESET

BOTH = ("actor", "critic")
LONGEST_DELAY = 100  # control steps
SETTINGS = ("noise", "critic_noise", "clip", "scale")
Lags = tuple[int, int] | None
Drifts = tuple[float, float] | None
REGISTERED = {
    **dict.fromkeys(SETTINGS, float | None),
    "groups": tuple[str, ...],
    "history": int | None,
    "delay": Lags,
    "drift": Drifts,
}
"""What term(...) may say to the systems below."""
Lengths = tuple[tuple[str, int], ...]  # names of terms, and ticks
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
    wander: Callable[[Tensor, tuple[int, ...]], None] | None = None,
) -> None:
    """Fill `row` with what was seen side by side, 0 where it is not finite, as its settings ask; `rng` None: without noise."""
    write(row, torch.cat, list(seen), -1)
    finite = values.finite(row)
    widths, clip, scale = tuple(value.shape[1] for value in seen), settings["clip"], settings["scale"]
    if rng is not None and any(settings[noise]):
        _disturb(row, settings[noise], widths, rng, level)
    if wander is not None:
        wander(row, widths)
    if any(c is not None for c in clip):
        bound = spread(tuple(math.inf if c is None else float(c) for c in clip), widths, row.device)
        row.clamp_(-bound, bound)
    if any(s is not None for s in scale):
        row.mul_(spread(tuple(1.0 if s is None else float(s) for s in scale), widths, row.device))
    if limit < math.inf:
        row.clamp_(-limit, limit)
    if not finite:
        row.nan_to_num_(0.0, 0.0, 0.0)


def _drift(row: Tensor, widths: tuple[int, ...], drifts: Sequence[Drifts], state: Disturbance, rng: Rng) -> None:
    """Let the errors of drifting terms wander by one control step, and add them to the columns of `row`."""
    asked = [(drift, width) for drift, width in zip(drifts, widths, strict=True) if drift]
    own = tuple(width for _, width in asked)
    std = spread(tuple(drift[0] for drift, _ in asked), own, row.device)
    stays = spread(tuple(math.exp(-1.0 / drift[1]) for drift, _ in asked), own, row.device)
    fresh = torch.randn(state.drift.shape, generator=rng, device=row.device).mul_(std)
    began = (state.age == 0).unsqueeze(-1)  # a row begins anywhere in the process
    state.drift.copy_(torch.where(began, fresh, stays * state.drift + (1.0 - stays.square()).sqrt() * fresh))
    column, at = 0, 0
    for drift, width in zip(drifts, widths, strict=True):
        if drift:
            row[:, column : column + width] += state.drift[:, at : at + width]
            at += width
        column += width


def _delay(row: Tensor, widths: tuple[int, ...], delays: Sequence[Lags], state: Disturbance) -> None:
    """Put the reading of `lag` control steps ago, but none from before the row began, in the place of late terms' newest."""
    column, at, place = 0, 0, 0
    for delay, width in zip(delays, widths, strict=True):
        if delay is not None:
            most = delay[1]
            kept = state.queue[:, at : at + most * width]
            readings = torch.cat((row[:, column : column + width], kept), 1).unflatten(1, (most + 1, width))
            lag = torch.minimum(state.lag[:, place], state.age)[:, None, None].expand(-1, 1, width)
            row[:, column : column + width] = readings.gather(1, lag).squeeze(1)
            kept.copy_(readings[:, :most].flatten(1))
            at, place = at + most * width, place + 1
        column += width


def _observe(
    values: Terms,
    rng: Rng | None,
    observation: Observation,
    limit: float,
    level: Tensor | None = None,
    state: Disturbance | None = None,
) -> None:
    groups = values.setting("groups", BOTH)
    seen = [value for _, value in values]
    settings = {key: values.setting(key) for key in SETTINGS}
    for group, row, noise in (("actor", observation.actor, "noise"), ("critic", observation.critic, "critic_noise")):
        inside = [i for i, member in enumerate(groups) if group in member]
        if not inside:  # a learner without a critic
            continue
        own = {key: [setting[i] for i in inside] for key, setting in settings.items()}
        if state is None or group != "actor":
            _concatenate(row, values, [seen[i] for i in inside], own, noise, rng, level, limit)
            continue
        drifts, delays = ([values.setting(key)[i] for i in inside] for key in ("drift", "delay"))
        wander = None
        if rng is not None and any(drifts):
            wander = partial(_drift, drifts=drifts, state=state, rng=rng)
        _concatenate(row, values, [seen[i] for i in inside], own, noise, rng, level, limit, wander)
        _delay(row, tuple(seen[i].shape[1] for i in inside), delays, state)
        state.age.add_(1)


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


def observe_disturbed(
    values: Terms,
    rng: Rng,
    disturbance: Write[Disturbance],
    observation: Write[Observation],
    *,
    noisy: bool = True,
    limit: float = math.inf,
) -> None:
    """`observe`, with what is late or drifts."""
    _observe(values, rng if noisy else None, observation, limit, None, disturbance)


def observe_disturbed_under_curriculum(
    values: Terms,
    rng: Rng,
    noise: ObservationNoise,
    disturbance: Write[Disturbance],
    observation: Write[Observation],
    *,
    noisy: bool = True,
    limit: float = math.inf,
) -> None:
    """`observe_disturbed`, with the noise of all terms, but not their drift, scaled by the curriculum."""
    _observe(values, rng if noisy else None, observation, limit, noise.level, disturbance)


def reset_disturbance(
    done: Done, rng: Rng, disturbance: Write[Disturbance], *, spans: tuple[tuple[int, int], ...]
) -> None:
    """Ended rows begin anew, each late term with a lag drawn from its range in `spans`, both ends included."""
    put_rows(disturbance.age, done.ended, 0)
    if spans:
        device = disturbance.lag.device
        least = torch.tensor([low for low, _ in spans], device=device)
        count = torch.tensor([high - low + 1 for low, high in spans], device=device)
        drawn = torch.rand(disturbance.lag.shape, generator=rng, device=device).mul_(count).long()
        put_rows(disturbance.lag, done.ended, least + torch.minimum(drawn, count - 1))


def observe_groups(
    values: Terms, rng: Rng, seen: Write[GroupObservation], *, noisy: bool = True, limit: float = math.inf
) -> None:
    """Put side by side what groups besides actor and critic see, each with `noise` of its own draw."""
    settings = {key: values.setting(key) for key in SETTINGS}
    _concatenate(
        seen.value, values, [value for _, value in values], settings, "noise", rng if noisy else None, None, limit
    )


def _observe_final(
    values: Terms, rng: Rng | None, final: FinalObservation, limit: float, level: Tensor | None = None
) -> None:
    settings = {key: values.setting(key) for key in SETTINGS}
    _concatenate(final.critic, values, [value for _, value in values], settings, "critic_noise", rng, level, limit)


def observe_row(
    row: Tensor, values: Terms, group: str, noise: str, rng: Rng | None, limit: float, level: Tensor | None = None
) -> None:
    """Put side by side what a group sees, with the noise that the setting `noise` says; `rng` None: without any."""
    groups, seen = values.setting("groups", BOTH), [value for _, value in values]
    inside = [i for i, member in enumerate(groups) if group in member]
    if inside:
        own = {key: [values.setting(key)[i] for i in inside] for key in SETTINGS}
        _concatenate(row, values, [seen[i] for i in inside], own, noise, rng, level, limit)


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


def make_layout(
    axes: Mapping[str, tuple[str, ...]],
    seed: int,
    device: torch.device,
    *,
    compounds: Sequence[tuple[str, Lengths]] = (),
) -> HistoryLayout:
    """The layout for the axes of this table and the `compounds` of its groups; the seed is not used."""

    def index(places: Sequence[int]) -> Tensor:
        return torch.tensor(places, dtype=torch.int64, device=device)

    actor, critic = (lay_out(axes["remembered"], axes[f"{group}_history"]) for group in BOTH)
    found = {}
    for ring, of in compounds:
        labels = axes[f"{ring}_history"]
        wanted = [past(name, age) for name, ticks in of for age in range(1, ticks + 1)]
        found[ring, of] = index([i for each in wanted for i, at in enumerate(labels) if at.partition("[")[0] == each])
    return HistoryLayout(actor=index(actor), critic=index(critic), recalled=found)


# -- bundle --------------------------------------------------------------------------------------------


def group_terms(terms: Mapping[str, Term], group: str) -> dict[str, Term]:
    """The terms that a group sees, in order."""
    return {name: each for name, each in terms.items() if group in each.settings.get("groups", BOTH)}


def compounds_of(terms: Mapping[str, Term]) -> dict[str, Term]:
    """The terms of the past of others."""
    return {name: each for name, each in terms.items() if each.function is recalled}


def only_actor(terms: Mapping[str, Term]) -> dict[str, Term]:
    """What the actor sees of `terms`, for a learner without a critic."""
    seen = group_terms(terms, "actor")
    behind = {name for each in compounds_of(seen).values() for name, _ in each.constants["of"]}
    found = {}
    for name, each in terms.items():
        if name in seen or name in behind:
            settings = {key: value for key, value in each.settings.items() if key != "critic_noise"}
            found[name] = attrs.evolve(each, settings={**settings, "groups": ACTOR if name in seen else ()})
    return found


def _check_groups(name: str, each: Term, behind: Collection[str]) -> None:
    """SceneError for settings of a term that make no sense or have no effect; those `behind` a compound are remembered."""
    settings = each.settings
    groups, history = settings.get("groups", BOTH), settings.get("history")
    start = f"Observation `{name}` says"
    if isinstance(groups, str) or not all(isinstance(group, str) and group.isidentifier() for group in groups):
        raise SceneError(f"{start} groups={groups!r}; give a tuple of 'actor', 'critic' and names of your own.")
    for group in groups:
        near = difflib.get_close_matches(group, BOTH, cutoff=0.8)
        if near and group not in BOTH:
            raise SceneError(
                f"{start} groups={groups!r}; write '{near[0]}', or a name that is less like it than '{group}'."
            )
    if not groups and name not in behind:
        raise SceneError(f"{start} groups=(), so nobody sees it. Name a group, or leave the term out.")
    if history is not None and (not isinstance(history, int) or history < 0):
        raise SceneError(f"{start} history={history!r}; give a number of ticks from 0 up.")
    if settings.get("noise") and set(groups) <= {"critic"} and not history and name not in behind:
        raise SceneError(
            f"{start} noise={settings['noise']}, which has no effect on what only the critic sees. "
            "Say critic_noise, or leave it out."
        )
    if settings.get("critic_noise") and "critic" not in groups:
        raise SceneError(
            f"{start} critic_noise={settings['critic_noise']}, which has no effect on what only the "
            "actor sees. Say noise, or leave it out."
        )
    delay, drift = settings.get("delay"), settings.get("drift")
    for key, value in (("delay", delay), ("drift", drift)):
        if value is not None and "actor" not in groups:
            raise SceneError(
                f"{start} {key}={value}, which has no effect on what the actor does not see. Leave it out."
            )
        if value is not None and (history or name in behind):
            raise SceneError(
                f"{start} {key}={value} and is remembered, where it would have no effect. Leave one of them out."
            )
    if delay is not None and not 0 <= delay[0] <= delay[1] <= LONGEST_DELAY:
        raise SceneError(
            f"{start} delay={delay}; give a range of control steps from 0 to {LONGEST_DELAY}, such as (0, 2)."
        )
    if drift is not None and not (0.0 < drift[0] < math.inf and 0.0 < drift[1] < math.inf):
        raise SceneError(f"{start} drift={drift}; give a standard deviation and a time in control steps, both above 0.")


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
    behind = {name for each in compounds_of(terms).values() for name, _ in each.constants["of"]}
    for name, each in terms.items():
        _check_groups(name, each, behind)
    _check_compounds(terms)
    if curriculum and not any(each.settings.get(key) for each in terms.values() for key in ("noise", "critic_noise")):
        raise SceneError(
            "The curriculum of observation noise has no effect: no observation term has noise. Give noise=… to a term, "
            "or leave the curriculum out."
        )
    kept = {name: each for name, each in terms.items() if each.settings.get("history") or name in behind}
    every = dict(terms)
    for group, function in (("actor", actor_history), ("critic", critic_history)):
        placed = any(each.function is function for each in terms.values())
        if group_terms({n: t for n, t in kept.items() if n not in behind}, group) and not placed:
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
            axes[f"{group}_history"] = concatenated(_pasts(kept, _longest(every, kept, group)))
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
        axes["late"] = concatenated(_pasts(late, {name: each.settings["delay"][1] for name, each in late.items()}))
        axes["late_term"] = tuple(late)
        axes["drifting"] = concatenated({n: t for n, t in disturbed.items() if t.settings.get("drift")})
        components.append(Disturbance)
        spans = tuple(each.settings["delay"] for each in late.values())
        systems[RESET] = [system(reset_disturbance, when=again, spans=spans)]
    if kept:
        systems[ACTUATE] = [system(extend_history)]
        systems[RESET] = [*systems.get(RESET, ()), system(reset_history, when=again)]
        systems[OBSERVE].append(fuse(keep, kept, name="remember", settings=REGISTERED, noisy=noisy))
        pasts = [(each.constants["ring"], each.constants["of"]) for each in compounds_of(every).values()]
        components += [Seen, History]
        resources.append(deferred(HistoryLayout, partial(make_layout, compounds=pasts)))
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


def _pasts(terms: Mapping[str, Term], ticks: Mapping[str, int]) -> dict[str, Term]:
    """The terms once for each of so many past ticks, by their labels there."""
    return {past(n, age): each for n, each in terms.items() for age in range(1, ticks.get(n, 0) + 1)}


def _shown(terms: Mapping[str, Term], every: Mapping[str, Term]) -> dict[str, Term]:
    """The terms by the labels of what they show, a compound's as those of the terms that it recalls."""
    found: dict[str, Term] = {}
    for name, each in terms.items():
        if each.function is recalled:
            behind = {other: every[other] for other, _ in each.constants["of"]}
            found |= {f"{name}.{label}": t for label, t in _pasts(behind, dict(each.constants["of"])).items()}
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


def find_groups(axes: Mapping[str, tuple[str, ...]], seed: int, device: torch.device) -> ObservationGroups:
    """Which columns are whose, by the labels of the axis; the seed is not used."""
    owners = [label.partition(".")[0] for label in axes["group_observation"]]
    return ObservationGroups(
        columns={each: slice(owners.index(each), owners.index(each) + owners.count(each)) for each in owners}
    )
