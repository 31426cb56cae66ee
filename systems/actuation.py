"""Actuation: action -> delayed joint target -> torque."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from components.control import Action, ActionDelay, DofTarget, DofTorque, EncoderBias, PdGains, PreviousDof, TorqueNoise
from components.episode import Done, Rewritten
from components.motion import MotionReference
from components.robot import DofState, Robot
from engine import Bundle, Rng, System, Write, any_row, push_history, put_rows, system
from engine.ecs.schedule import Schedule
from engine.errors import SceneError
from systems.maths.gradients import write
from systems.tick import ACTUATE, BEGIN, RESET, TORQUE
from systems.vitals import control_vitals

Controller = Literal["servo", "P", "V", "T"]


def fill_gains(robot: Robot, gains: Write[PdGains]) -> None:
    """Give every row the robot's own gains."""
    gains.stiffness.copy_(robot.stiffness.expand_as(gains.stiffness))
    gains.damping.copy_(robot.damping.expand_as(gains.damping))


def fill_torque_noise(noise: Write[TorqueNoise], *, amplitude: float) -> None:
    """Make all motors equally unreliable; `amplitude` is a share of the torque limit."""
    noise.amplitude.fill_(amplitude)


def remember_velocity(dofs: DofState, previous: Write[PreviousDof]) -> None:
    """Keep the joint velocities that this control step starts from, a reset's included."""
    previous.velocity.copy_(dofs.velocity)


def clip_action(action: Write[Action], *, limit: float) -> None:
    """Hold the action within ±limit; what is clipped is also what observations and rewards see."""
    action.value.clamp_(-limit, limit)


def delay_action(action: Action, delay: Write[ActionDelay]) -> None:
    """Put this tick's action at the front of each row's queue."""
    if delay.queue.shape[1] == 1:
        delay.queue[:, 0] = action.value
    else:
        push_history(delay.queue, action.value)


def _aim(delay: ActionDelay, robot: Robot, bias: EncoderBias, target: DofTarget, centre: Tensor) -> None:
    if delay.queue.shape[1] == 1:
        delayed = delay.queue[:, 0]
    else:
        places = delay.steps[:, None, None].expand(-1, 1, delay.queue.shape[2])
        delayed = delay.queue.gather(1, places).squeeze(1)
    write(target.command, torch.mul, delayed, robot.action_scale)
    write(target.position, torch.add, target.command, centre).sub_(bias.value)


def aim_around_default(delay: ActionDelay, robot: Robot, bias: EncoderBias, target: Write[DofTarget]) -> None:
    """Turn the action of `steps` control steps ago into joint targets around the default pose."""
    _aim(delay, robot, bias, target, robot.default_position)


def aim_around_reference(
    delay: ActionDelay, robot: Robot, bias: EncoderBias, reference: MotionReference, target: Write[DofTarget]
) -> None:
    """Turn the action of `steps` control steps ago into corrections of the reference's joint positions."""
    _aim(delay, robot, bias, target, reference.dof_position)


def compute_torque(
    dofs: DofState,
    previous: PreviousDof,
    target: DofTarget,
    gains: PdGains,
    noise: TorqueNoise,
    robot: Robot,
    rng: Rng,
    torque: Write[DofTorque],
    *,
    controller: Controller = "P",
    dt: float = 0.02,
    noisy: bool = False,
    limited: bool = True,
) -> None:
    """Compute what the motors do in this substep, from the joints as they are now.

    P: τ = Kp (q* − q) − Kd q̇. V: τ = Kp (c − q̇) − Kd (q̇ − q̇₀) / dt, where q̇₀ was measured when the control
    step of length `dt` in s began. T: τ = c. Here q* is the target position and c the target command.
    `noisy` adds U(−1, 1) × amplitude × limit, drawn every substep; `limited` holds the sum within the limit.
    """
    if controller == "T":
        torque.value.copy_(target.command)
    elif controller == "V":
        braking = (dofs.velocity - previous.velocity).mul_(gains.damping).div_(dt)
        write(torque.value, torch.mul, gains.stiffness, target.command - dofs.velocity).sub_(braking)
    else:
        write(torque.value, torch.mul, gains.stiffness, target.position - dofs.position)
        torque.value.addcmul_(gains.damping, dofs.velocity, value=-1.0)
    if noisy:
        value = torque.value
        drawn = torch.rand(value.shape, generator=rng, dtype=value.dtype, device=value.device).sub_(0.5).mul_(2.0)
        value.addcmul_(drawn.mul_(noise.amplitude), robot.torque_limit)
    if limited:
        torque.value.clamp_(-robot.torque_limit, robot.torque_limit)


def reset_action(done: Done, action: Write[Action]) -> None:
    """Start ended rows with a clean record of actions."""
    put_rows(action.value, done.ended, 0.0)
    put_rows(action.previous, done.ended, 0.0)


def reset_delay(done: Done, rng: Rng, delay: Write[ActionDelay], *, steps: tuple[int, int]) -> None:
    """Start ended rows with an empty queue and a new latency, both ends of `steps` included."""
    if steps[1] > 0:
        drawn = torch.randint(steps[0], steps[1] + 1, delay.steps.shape, generator=rng, device=delay.steps.device)
        put_rows(delay.steps, done.ended, drawn)
    put_rows(delay.queue, done.ended, 0.0)


# -- settings without effect ---------------------------------------------------------------------------


def check_latency(reset: System, places: int, schedule: Schedule) -> None:
    """Raise SceneError where rows may lag by more control steps than their queues of so many `places` hold."""
    steps = reset.constants["steps"]
    if not 0 <= steps[0] <= steps[1]:
        raise SceneError(
            f"actuation.reset_delay.steps={steps} is not a range of control steps from 0 up, such as (0, 2)."
        )
    if steps[1] >= places:
        raise SceneError(
            f"actuation.reset_delay.steps={steps} has no effect beyond {places - 1}: the queue of actions in this scene "
            f"holds {places}. Build it with actuation(latency={steps})."
        )


def check_torque(compute: System, fill: System, built: Mapping[str, Any], schedule: Schedule) -> None:
    """Raise SceneError for a constant that the controller ignores; `built` are the values that `actuation` was given."""
    controller, noisy, amplitude = (
        compute.constants["controller"],
        compute.constants["noisy"],
        fill.constants["amplitude"],
    )
    where, cure = "actuation.compute_torque", ""
    drawn = [e.name for e in schedule.entries if e.system is not fill and any(c is TorqueNoise for _, c in e.writes)]
    if controller == "servo":
        what = f"{where}.controller='servo' has no effect: this scene computes torques"
        cure = "Choose 'P', 'V' or 'T', or build it with actuation(controller='servo')"
    elif controller in ("V", "T") and built["around"] == "reference":
        what = (
            f"actuation(around='reference') has no effect under controller='{controller}', which has no target position"
        )
        cure = "Choose around='default', or controller='P'"
    elif controller != "V" and compute.constants["dt"] != built["dt"]:
        what = f"{where}.dt={compute.constants['dt']:g} has no effect under controller='{controller}'"
        cure = "Leave it out; only controller='V' takes differences over a control step"
    elif noisy and not amplitude and not drawn:
        what = f"{where}.noisy=True has no effect: actuation.fill_torque_noise.amplitude is 0"
        cure = "Build it with actuation(torque_noise=0.1), or set an amplitude too"
    elif amplitude and not noisy:
        what = f"actuation.fill_torque_noise.amplitude={amplitude:g} has no effect: {where}.noisy is False"
        cure = f"Set {where}.noisy=True too, or build it with actuation(torque_noise={amplitude:g})"
    elif drawn and amplitude != built["amplitude"]:
        what = f"actuation.fill_torque_noise.amplitude={amplitude:g} has no effect: `{drawn[0]}` writes the amplitudes"
        cure = "Leave it out"
    if cure:
        raise SceneError(f"{what}. {cure}.")


# -- bundle --------------------------------------------------------------------------------------------


def actuation(
    *,
    controller: Controller = "servo",
    latency: tuple[int, int] = (0, 0),
    around: Literal["default", "reference"] = "default",
    limit: float = math.inf,
    torque_noise: float = 0.0,
    limited: bool = True,
    dt: float = 0.02,
) -> Bundle:
    """Action -> delayed joint target -> torque.

    `controller` "servo" leaves torque to the simulator's own joint servo; "P", "V" and "T" compute it every
    substep. `latency` is the range of control steps by which each row lags, drawn at its reset. `limit`
    clips the action. `torque_noise` above 0 makes explicit torque noisy (amplitudes: see `randomization`).
    Raises SceneError for a controller, centre or latency that does not exist.
    """
    if controller not in ("servo", "P", "V", "T"):
        raise SceneError(f"actuation: controller={controller!r} is not one of 'servo', 'P', 'V', 'T'.")
    if around not in ("default", "reference"):
        raise SceneError(f"actuation: around={around!r} is neither 'default' nor 'reference'.")
    if not 0 <= latency[0] <= latency[1]:
        raise SceneError(f"actuation: latency={latency} is not a range of control steps from 0 up, such as (0, 2).")
    if torque_noise and controller == "servo":
        raise SceneError("actuation: torque_noise needs an explicit controller; choose controller='P', 'V' or 'T'.")
    aim = aim_around_reference if around == "reference" else aim_around_default
    clip = [system(clip_action, limit=limit)] if limit < math.inf else []
    when: Any = any_row(Rewritten, "rows")
    reset = system(reset_delay, when=when, steps=latency)
    checks = [partial(check_latency, reset, latency[1] + 1)]
    systems: dict[str, list[System]] = {
        BEGIN: [system(fill_gains)],
        ACTUATE: [system(remember_velocity), *clip, system(delay_action), system(aim)],
        RESET: [system(reset_action, when=when), reset],
    }
    components: list[type] = [Action, ActionDelay, EncoderBias, DofTarget, PdGains, PreviousDof]
    if controller != "servo":
        components += [DofTorque, TorqueNoise]
        fill = system(fill_torque_noise, amplitude=torque_noise)
        compute = system(compute_torque, controller=controller, dt=dt, noisy=torque_noise > 0, limited=limited)
        systems[BEGIN].append(fill)
        systems[TORQUE] = [compute]
        built = {"around": around, "dt": dt, "amplitude": torque_noise}
        checks.append(partial(check_torque, compute, fill, built))
    return Bundle(
        "actuation",
        components=components,
        systems=systems,
        axes={"delay": latency[1] + 1},
        checks=checks,
        vitals=control_vitals(explicit=controller != "servo"),
    )
