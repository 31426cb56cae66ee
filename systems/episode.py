"""Episodes: begin, count, end; and the curricula that follow how long they last.

A curriculum is a number that shrinks while episodes are shorter than `down` control steps and grows while
they are longer than `up` (or the other way round). The published form multiplies it by 1 ± degree once
per tick in which any row is reset, so that its pace depends on the number of rows. Here every finished
episode counts: n episodes that finish in one tick multiply by (1 ± degree)ⁿ. A published degree d that saw
k resets per tick corresponds to d / k.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from components.episode import Done, Episode, EpisodeLength, PenaltyScale, Rewritten, SoftLimits
from components.motion import DofFar, MotionFar
from components.observation import ObservationNoise
from engine import Bundle, Clock, Endings, Rng, System, Write, any_row, deferred, first_tick, put_rows, system
from engine.ecs.bundle import Deferred
from engine.ecs.schedule import Schedule
from engine.errors import SceneError
from systems.tick import BEGIN, RECORD, RESET, SENSE

Axes = Mapping[str, tuple[str, ...]]


# -- episodes ------------------------------------------------------------------------------------------


def mark_all_done(done: Write[Done], rewritten: Write[Rewritten]) -> None:
    """Send every row through RESET before the first tick; no row failed or ran out of time."""
    for column in (done.terminated, done.truncated, done.lost, done.reason):
        column.fill_(False)
    done.ended.fill_(True)
    rewritten.rows.fill_(True)


def count_step(episode: Write[Episode]) -> None:
    """One more control step."""
    episode.step.add_(1)


def mark_rewritten(done: Done, rewritten: Write[Rewritten]) -> None:
    """Rows that ended are about to be rewritten."""
    rewritten.rows.copy_(done.ended)


def reset_episode(done: Done, clock: Clock, episode: Write[Episode]) -> None:
    """Start ended rows at step 0."""
    put_rows(episode.step, done.ended, 0)
    put_rows(episode.began, done.ended, clock.device_tick)


def spread_episodes(rng: Rng, episode: Write[Episode], *, steps: int) -> None:
    """Pretend that each row is already somewhere in [0, steps), so that time limits do not strike together."""
    episode.step.random_(0, max(steps, 1), generator=rng)


def num_steps(seconds: float, dt: float) -> float:
    """Control steps of an episode of `seconds`, rounded to the nearest; infinite for an endless one.

    Raises SceneError for a duration that is not positive.
    """
    if not seconds > 0:
        raise SceneError(f"An episode of seconds={seconds} is not possible; give a positive number, or inf.")
    return max(1, round(seconds / dt)) if math.isfinite(seconds) else math.inf


def episode(*, spread: float = 1.0) -> Bundle:
    """Counts, marks and restarts episodes. The terms that end them come with the task's bundle.

    The first episodes start at random steps of [0, `spread`): at step 0 unless it is more than 1. An infinite spread, of
    episodes without end, is none.
    """
    ended = any_row(Rewritten, "rows")
    resets: list[System] = [system(reset_episode, when=ended)]
    if math.isfinite(spread) and spread > 1:
        resets.append(system(spread_episodes, when=first_tick(), steps=int(spread)))
    return Bundle(
        "episode",
        components=[Episode, Done, Rewritten],
        systems={BEGIN: [system(mark_all_done)], SENSE: [system(count_step)], RESET: resets},
        endings=Endings(
            Done,
            ended="ended",
            failed="terminated",
            reason="reason",
            began=(Episode, "began"),
            follow=((Done, "truncated"), (Rewritten, "rows")),
        ),
    )


# -- curricula -----------------------------------------------------------------------------------------


def measure_length(done: Done, episode: Episode, length: Write[EpisodeLength], *, window: float = 10_000.0) -> None:
    """Fold the episodes that finished in this tick into the running mean, one `window`-th each.

    With n episodes of mean length L: mean ← mean + (L − mean)(1 − k) / w, k = (1 − 1/window)ⁿ,
    w ← 1 − k (1 − w). Dividing by w, the part of the window filled so far, makes it an honest mean from the
    first episode on; and it stays between the shortest and the longest whatever n is.
    """
    finished = done.terminated | done.truncated
    length.finished.copy_(finished.sum())
    mean = (episode.step * finished).sum() / length.finished.clamp_min(1.0)
    keep = torch.pow(1.0 - 1.0 / window, length.finished)
    length.weight.copy_(1.0 - keep * (1.0 - length.weight))
    length.mean.add_((mean - length.mean) * (1.0 - keep) / length.weight.clamp_min(1e-12))


def _pace(length: EpisodeLength, down: float, up: float, degree: float) -> Tensor:
    """(1 + degree)ⁿ where episodes are longer than `up`, (1 − degree)ⁿ where shorter than `down`; n finished."""
    longer, shorter = (length.mean > up).double(), (length.mean < down).double()
    return longer.mul_(math.log1p(degree)).add_(shorter, alpha=math.log1p(-degree)).mul_(length.finished).exp_()


def adapt_penalty(
    length: EpisodeLength,
    penalty: Write[PenaltyScale],
    *,
    down: float = 40.0,
    up: float = 42.0,
    degree: float = 1e-7,
    low: float = 0.0,
    high: float = 1.0,
) -> None:
    """Weigh penalties more as episodes get longer."""
    penalty.value.mul_(_pace(length, down, up, degree)).clamp_(low, high)


def adapt_limits(
    length: EpisodeLength,
    limits: Write[SoftLimits],
    *,
    down: float = 40.0,
    up: float = 42.0,
    degree: float = 2.5e-9,
    position: tuple[float, float] = (0.95, 1.15),
    velocity: tuple[float, float] = (0.95, 1.25),
    torque: tuple[float, float] = (0.85, 1.25),
) -> None:
    """Tighten the soft joint limits as episodes get longer; each range is (lowest, highest) share."""
    factor = _pace(length, down, up, -degree)
    for value, span in ((limits.position, position), (limits.velocity, velocity), (limits.torque, torque)):
        value.mul_(factor).clamp_(*span)


def adapt_motion_far(
    length: EpisodeLength,
    far: Write[MotionFar],
    *,
    down: float = 40.0,
    up: float = 42.0,
    degree: float = 2.5e-7,
    low: float = 0.25,
    high: float = 2.0,
) -> None:
    """Demand closer tracking as episodes get longer; `low` and `high` in m."""
    far.threshold.mul_(_pace(length, down, up, -degree)).clamp_(low, high)


def adapt_dof_far(
    length: EpisodeLength,
    far: Write[DofFar],
    *,
    down: float = 40.0,
    up: float = 42.0,
    degree: float = 2e-8,
    low: float = 1.0,
    high: float = 3.0,
) -> None:
    """Demand joints closer to the reference as episodes get longer; `low` and `high` in rad."""
    far.threshold.mul_(_pace(length, down, up, -degree)).clamp_(low, high)


def adapt_noise(
    length: EpisodeLength,
    noise: Write[ObservationNoise],
    *,
    down: float = 40.0,
    up: float = 42.0,
    degree: float = 1e-7,
    low: float = 1e-5,
    high: float = 1.0,
) -> None:
    """Make observations noisier as episodes get longer."""
    noise.level.mul_(_pace(length, down, up, degree)).clamp_(low, high)


def scalars(cls: type, **values: float) -> Deferred:
    """A resource of scalar tensors that is made on the world's device.

    In float64: a curriculum of the published pace moves by less in one tick than float32 can represent.
    """

    def make(axes: Axes, seed: int, device: torch.device) -> object:
        return cls(
            **{name: torch.tensor(float(value), dtype=torch.float64, device=device) for name, value in values.items()}
        )

    return deferred(cls, make)


def check_readers(moving: Sequence[tuple[System, type]], schedule: Schedule) -> None:
    """Raise SceneError for a curriculum whose number no system of the scene reads."""
    for adapt, cls in moving:
        readers = [e for e in schedule.entries if e.system is not adapt and any(each is cls for _, each in e.reads)]
        if not readers:
            raise SceneError(
                f"curricula.{adapt.name} has no effect: no system of this scene reads {cls.__name__}. Leave the "
                "curriculum out, or add what follows it."
            )


def check_thresholds(moving: Sequence[tuple[System, type]], schedule: Schedule | None = None) -> None:
    """Raise SceneError for a curriculum that would harden and ease at the same length of episodes."""
    for adapt, _ in moving:
        down, up = adapt.constants["down"], adapt.constants["up"]
        if not 0.0 <= down <= up:
            raise SceneError(
                f"curricula.{adapt.name}: down={down:g} and up={up:g} cross: episodes of a length between them would be too "
                "short and too long at once. Give a down that is at most up, in control steps."
            )


def curricula(
    *,
    window: float = 10_000.0,
    penalty: float = 1.0,
    limits: tuple[float, float, float] = (0.95, 0.95, 0.95),
    motion_far: float = 1.5,
    dof_far: float | None = None,
    noise: float = 1.0,
    penalty_adapts: Mapping[str, Any] | None = None,
    limits_adapt: Mapping[str, Any] | None = None,
    motion_far_adapts: Mapping[str, Any] | None = None,
    dof_far_adapts: Mapping[str, Any] | None = None,
    noise_adapts: Mapping[str, Any] | None = None,
) -> Bundle:
    """Where each curriculum starts, and how those that move do so.

    `penalty`, `limits` (position, velocity, torque), `motion_far` (m), `dof_far` (rad; None: there is none) and `noise` are
    start values, and final ones where the constants of their system are not given: `penalty_adapts={"degree": 1e-7}` turns
    `adapt_penalty` on. They stand still where RECORD is skipped. Raises SceneError for thresholds that cross.
    """
    given = (
        (adapt_penalty, PenaltyScale, penalty_adapts),
        (adapt_limits, SoftLimits, limits_adapt),
        (adapt_motion_far, MotionFar, motion_far_adapts),
        (adapt_dof_far, DofFar, dof_far_adapts),
        (adapt_noise, ObservationNoise, noise_adapts),
    )
    ended = any_row(Done, "ended")
    moving = [
        (system(function, when=ended, after="measure_length", **constants), cls)
        for function, cls, constants in given
        if constants is not None
    ]
    check_thresholds(moving)
    look = "observe_final" if noise_adapts is not None else None  # which reads the noise level in RECORD too
    return Bundle(
        "curricula",
        resources=[
            scalars(EpisodeLength, mean=0.0, weight=0.0, finished=0.0),
            scalars(PenaltyScale, value=penalty),
            scalars(SoftLimits, position=limits[0], velocity=limits[1], torque=limits[2]),
            scalars(MotionFar, threshold=motion_far),
            *([scalars(DofFar, threshold=dof_far)] if dof_far is not None else []),
            scalars(ObservationNoise, level=noise),
        ],
        systems={
            RECORD: [system(measure_length, when=ended, after=look, window=window), *(each for each, _ in moving)]
        },
        checks=[partial(check_readers, moving), partial(check_thresholds, moving)],
    )
