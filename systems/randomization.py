"""Randomization of rows, and disturbances: encoder errors, gains, noisy motors, pushes."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from components.control import EncoderBias, PdGains, TorqueNoise
from components.episode import Done, PushTimer, Rewritten
from components.robot import Robot, RootState
from engine import Bundle, Rng, System, Write, any_row, first_tick, put_rows, system
from engine.ecs.schedule import Schedule
from engine.errors import SceneError
from systems.maths.tensors import vector
from systems.tick import BEGIN, PERTURB, RESET, TERMINATE

Span = tuple[float, float]
Triple = tuple[float, float, float]
PUSH_LINEAR: Triple = (0.5, 0.5, 0.2)  # m/s
PUSH_ANGULAR: Triple = (0.52, 0.52, 0.78)  # rad/s


# -- pushes --------------------------------------------------------------------------------------------


def draw_first_push(rng: Rng, timer: Write[PushTimer], *, interval: Span, dt: float) -> None:
    """Give every row its first wait, uniform over `interval` in s."""
    timer.wait.random_(*_steps(interval, dt), generator=rng)
    timer.due.zero_()


def mark_pushed(timer: Write[PushTimer], rewritten: Write[Rewritten]) -> None:
    """Count down; rows whose wait is over are pushed in this tick."""
    timer.wait.sub_(1)
    torch.le(timer.wait, 0, out=timer.due)
    rewritten.rows.logical_or_(timer.due)


def push(
    rewritten: Rewritten,
    rng: Rng,
    timer: Write[PushTimer],
    root: Write[RootState],
    *,
    linear: Triple,
    angular: Triple,
    interval: Span,
    dt: float,
) -> None:
    """Add U(−x, x) to the root velocity of rows that are due: x is `linear` in m/s, then `angular` in rad/s.

    Rows that are pushed, or about to start over, draw a new wait.
    """
    amplitude = vector(tuple(2.0 * x for x in (*linear, *angular)), root.position.device)
    kick = torch.rand((len(timer.due), 6), generator=rng, device=root.position.device).sub_(0.5).mul_(amplitude)
    kick.mul_(timer.due.unsqueeze(-1))
    root.linear_velocity.add_(kick[:, :3])
    root.angular_velocity.add_(kick[:, 3:])
    put_rows(timer.wait, rewritten.rows, torch.empty_like(timer.wait).random_(*_steps(interval, dt), generator=rng))


def _steps(interval: Span, dt: float) -> tuple[int, int]:
    """First and one past the last number of control steps that `interval` in s stands for."""
    first = max(1, round(interval[0] / dt))
    return first, max(first, round(interval[1] / dt)) + 1


# -- rows that differ ----------------------------------------------------------------------------------


def draw_encoder_bias(rng: Rng, bias: Write[EncoderBias], *, amplitude: float) -> None:
    """Draw U(−amplitude, amplitude) in rad for every joint, once for the whole run."""
    bias.value.uniform_(-amplitude, amplitude, generator=rng)


def vary_gains(done: Done, robot: Robot, rng: Rng, gains: Write[PdGains], *, stiffness: Span, damping: Span) -> None:
    """Ended rows get the robot's gains times factors, uniform over each range, for every joint by itself."""
    drawn = torch.rand((2, *gains.stiffness.shape), generator=rng, device=gains.stiffness.device)
    for column, nominal, factor, span in (
        (gains.stiffness, robot.stiffness, drawn[0], stiffness),
        (gains.damping, robot.damping, drawn[1], damping),
    ):
        put_rows(column, done.ended, factor.mul_(span[1] - span[0]).add_(span[0]).mul_(nominal))


def vary_torque_noise(done: Done, rng: Rng, noise: Write[TorqueNoise], *, share: float, factor: Span) -> None:
    """Ended rows get `share` of the torque limit times a factor, uniform over the range, for every joint by itself."""
    drawn = torch.rand(noise.amplitude.shape, generator=rng, device=noise.amplitude.device)
    put_rows(noise.amplitude, done.ended, drawn.mul_(factor[1] - factor[0]).add_(factor[0]).mul_(share))


# -- settings without effect ---------------------------------------------------------------------------


def check_gains(vary: System, schedule: Schedule) -> None:
    """Raise SceneError where gains are drawn that no system computes torques from."""
    readers = [e for e in schedule.entries if any(cls is PdGains for _, cls in e.reads)]
    if all(e.system.constants.get("controller") == "T" for e in readers):
        why = "torques are the commands themselves" if readers else "the simulator's own servo has the robot's gains"
        spans = ", ".join(f"{name}={vary.constants[name]}" for name in ("stiffness", "damping"))
        raise SceneError(
            f"randomization.vary_gains: {spans} have no effect: {why}. Leave them out, or choose "
            "actuation(controller='P') or 'V'."
        )


def check_torque_noise(vary: System, schedule: Schedule) -> None:
    """Raise SceneError where amplitudes of torque noise are drawn and no system adds it."""
    readers = [e for e in schedule.entries if any(cls is TorqueNoise for _, cls in e.reads)]
    if not any(e.system.constants.get("noisy", True) for e in readers):
        share = vary.constants["share"]
        raise SceneError(
            f"randomization.vary_torque_noise.share={share:g} has no effect: no motor of this scene is noisy. Leave "
            f"torque_noise out, or choose actuation(controller='P', torque_noise={share:g})."
        )


def _refuse_idle(given: Mapping[str, tuple[Any, Any]], off: str) -> None:
    """Raise SceneError for arguments (value, default) that nothing reads, because of what is `off`."""
    for name, (value, default) in given.items():
        if value != default:
            raise SceneError(f"randomization: {name}={value} has no effect with {off}; leave it out.")


# -- bundle --------------------------------------------------------------------------------------------


def randomization(
    *,
    push_interval: Span | None = (1.0, 3.0),
    push_linear: Triple = PUSH_LINEAR,
    push_angular: Triple = PUSH_ANGULAR,
    encoder_bias: float = 0.01,
    stiffness: Span | None = None,
    damping: Span | None = None,
    torque_noise: float = 0.0,
    torque_noise_factor: Span = (1.0, 1.0),
    dt: float = 0.02,
) -> Bundle:
    """Pushes every U(`push_interval`) s per row (None: never), encoder bias, and motors that differ.

    Half ranges: `push_linear` m/s, `push_angular` rad/s, `encoder_bias` rad. `stiffness`, `damping`: ranges of
    factors on gains; `torque_noise`: share of the torque limit, times `torque_noise_factor`; both are drawn
    at every reset and need an explicit controller. Raises SceneError for what is not a range, or has no effect.
    """
    for name, span in (("push_interval", push_interval), ("stiffness", stiffness), ("damping", damping)):
        if span is not None and not 0 < span[0] <= span[1] < math.inf:
            raise SceneError(f"randomization: {name}={span} is not a range of positive numbers, such as (1.0, 3.0).")
    components: list[type] = []
    systems: dict[str, list[System]] = {BEGIN: [], TERMINATE: [], PERTURB: [], RESET: []}
    checks: list[Callable[[Schedule], None]] = []
    again = any_row(Rewritten, "rows")
    if push_interval is None:
        pushes = {"push_linear": (push_linear, PUSH_LINEAR), "push_angular": (push_angular, PUSH_ANGULAR)}
        _refuse_idle(pushes, "push_interval=None")
    else:
        timing: dict[str, Any] = {"interval": push_interval, "dt": dt}
        components.append(PushTimer)
        systems[BEGIN].append(system(draw_first_push, **timing))
        systems[TERMINATE].append(system(mark_pushed, after="mark_rewritten"))
        systems[PERTURB].append(system(push, when=again, linear=push_linear, angular=push_angular, **timing))
    if encoder_bias:
        systems[RESET].append(system(draw_encoder_bias, when=first_tick(), amplitude=encoder_bias))
    if stiffness is not None or damping is not None:
        spans: dict[str, Any] = {"stiffness": stiffness or (1.0, 1.0), "damping": damping or (1.0, 1.0)}
        systems[RESET].append(system(vary_gains, when=again, **spans))
        checks.append(partial(check_gains, systems[RESET][-1]))
    if torque_noise:
        systems[RESET].append(system(vary_torque_noise, when=again, share=torque_noise, factor=torque_noise_factor))
        checks.append(partial(check_torque_noise, systems[RESET][-1]))
    else:
        _refuse_idle({"torque_noise_factor": (torque_noise_factor, (1.0, 1.0))}, "torque_noise=0")
    return Bundle(
        "randomization", components=components, systems={p: s for p, s in systems.items() if s}, checks=checks
    )
