"""Observation rows of actor, critic and further groups: values side by side with their noise, drift, scale, clip and delay.

What the settings mean is explained in `systems/observations.py`.
"""

import difflib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from components.episode import Done
from components.observation import (
    Disturbance,
    FinalObservation,
    GroupObservation,
    Observation,
    ObservationGroups,
    ObservationNoise,
)
from engine import Rng, Term, Terms, Write, put_rows
from engine.errors import SceneError
from systems.maths.gradients import write
from systems.maths.tensors import spread

ACTOR = ("actor",)
CRITIC = ("critic",)
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
"""What term(...) may say to the systems of observations."""


def group_terms(terms: Mapping[str, Term], group: str) -> dict[str, Term]:
    """The terms that a group sees, in order."""
    return {name: each for name, each in terms.items() if group in each.settings.get("groups", BOTH)}


def check_groups(name: str, each: Term, remembered: Collection[str]) -> None:
    """SceneError for settings of a term that make no sense or have no effect; those of a compound are `remembered`."""
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
    if not groups and name not in remembered:
        raise SceneError(f"{start} groups=(), so nobody sees it. Name a group, or leave the term out.")
    if history is not None and (not isinstance(history, int) or history < 0):
        raise SceneError(f"{start} history={history!r}; give a number of ticks from 0 up.")
    if settings.get("noise") and set(groups) <= {"critic"} and not history and name not in remembered:
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
        if value is not None and (history or name in remembered):
            raise SceneError(
                f"{start} {key}={value} and is remembered, where it would have no effect. Leave one of them out."
            )
    if delay is not None and not 0 <= delay[0] <= delay[1] <= LONGEST_DELAY:
        raise SceneError(
            f"{start} delay={delay}; give a range of control steps from 0 to {LONGEST_DELAY}, such as (0, 2)."
        )
    if drift is not None and not (0.0 < drift[0] < math.inf and 0.0 < drift[1] < math.inf):
        raise SceneError(f"{start} drift={drift}; give a standard deviation and a time in control steps, both above 0.")


def find_groups(axes: Mapping[str, tuple[str, ...]], seed: int, device: torch.device) -> ObservationGroups:
    """Which columns are whose, by the labels of the axis; the seed is not used."""
    owners = [label.partition(".")[0] for label in axes["group_observation"]]
    return ObservationGroups(
        columns={each: slice(owners.index(each), owners.index(each) + owners.count(each)) for each in owners}
    )


# -- one row -------------------------------------------------------------------------------------------


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


def observe_row(
    row: Tensor,
    values: Terms,
    noise: str,
    rng: Rng | None,
    limit: float = math.inf,
    level: Tensor | None = None,
    group: str | None = None,
) -> None:
    """Put side by side what a group sees, or everything, with the noise that the setting `noise` says; `rng` None: without any."""
    seen, groups = [value for _, value in values], values.setting("groups", BOTH)
    inside = [i for i, member in enumerate(groups) if group is None or group in member]
    if inside:
        own = {key: [values.setting(key)[i] for i in inside] for key in SETTINGS}
        _concatenate(row, values, [seen[i] for i in inside], own, noise, rng, level, limit)


# -- systems -------------------------------------------------------------------------------------------


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


def observe_groups(
    values: Terms, rng: Rng, seen: Write[GroupObservation], *, noisy: bool = True, limit: float = math.inf
) -> None:
    """Put side by side what groups besides actor and critic see, each with `noise` of its own draw."""
    observe_row(seen.value, values, "noise", rng if noisy else None, limit)


def observe_final(
    values: Terms, rng: Rng, final: Write[FinalObservation], *, noisy: bool = True, limit: float = math.inf
) -> None:
    """Put side by side what the critic sees before a reset, with the noise and the bounds that it learns on."""
    observe_row(final.critic, values, "critic_noise", rng if noisy else None, limit)


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
    observe_row(final.critic, values, "critic_noise", rng if noisy else None, limit, noise.level)


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
