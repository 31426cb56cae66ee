"""The learned dynamics: inputs, prediction with a gradient that is written out, and the fits to what a simulator did.

A state is one row of 13 + 2 · joints numbers: root position (m) and rotation (scalar-first unit quaternion, root to
world), joints; then the root's linear and angular velocity (world axes) and joint velocities. A target is what each
joint's servo pulls to. In one control step of `dt` velocities change by the first half of the outputs, and

    position  p + dt (v + v') / 2 + R(q) c      rotation  q ⊗ (1, (dt (ω + ω') / 2 + d) / 2), scaled to norm 1
    joints    j + dt (u + u') / 2 + e

by them and the second half, the corrections c, d and e; what concerns the root is in its axes at the step's beginning.
"""

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from components.dynamics import Dynamics
from engine.errors import BuildError, SceneError
from systems.learning.adam import Adam
from systems.maths.quaternion import angle_between, conjugate, multiply, rotate_inverse, to_columns, to_matrix

HIDDEN = (256, 256)
FLOOR, OUTPUT_FLOOR = (
    1e-3,
    1e-5,
)  # least deviation of an input and of an output, so that what never moves is not blown up
MOST_INPUT, MOST_OUTPUT = 8.0, 12.0  # deviations within which inputs and outputs are held
FASTEST = 1.5  # times the highest speed in the data: what may be predicted
SHRINK = 0.1  # of the last layer when it is drawn: an untrained network adds little to the linear part
RIDGE = 1e-4  # penalty on squared weights, as a share of the rows
MOST_ROWS = 16_384  # of which the linear part is found
LARGEST_GRADIENT = 1.0  # norm to which the gradient of a fit is clipped
AVERAGED = 0.99  # decay of the mean of the parameters in each step of a fit
HORIZONS = (1, 4, 8, 16)  # steps


def make_dynamics(
    joints: Sequence[str],
    dt: float,
    *,
    extras: Sequence[str] = (),
    hidden: Sequence[int] = HIDDEN,
    learning_rate: float = 1e-3,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Dynamics:
    """A model that was never fitted: everything goes on as it moves. Equal seeds give equal weights on every device."""
    if min((len(joints), *hidden)) < 1 or dt <= 0 or learning_rate <= 0:
        raise BuildError(
            f"A dynamics model of {len(joints)} joints, hidden layers {tuple(hidden)}, dt={dt} and "
            f"learning_rate={learning_rate} makes no sense; every one must be above 0."
        )
    inputs, outputs = 10 + 3 * len(joints) + len(extras), 12 + 2 * len(joints)
    generator = torch.Generator().manual_seed(seed)
    pieces = []
    sizes = [inputs, *hidden, outputs]
    for number, (before, after) in enumerate(itertools.pairwise(sizes), 1):
        reach = (SHRINK if number == len(sizes) - 1 else 1.0) / math.sqrt(before)
        pieces += [(2 * torch.rand(before * after, generator=generator) - 1) * reach, torch.zeros(after)]
    options: dict[str, Any] = {"dtype": dtype, "device": device}
    vector = nn.Parameter(torch.cat(pieces).to(**options))
    adam = Adam(vector, torch.zeros_like(vector.data), torch.tensor(learning_rate, device=device))
    return Dynamics(
        joints=tuple(joints),
        extras=tuple(extras),
        hidden=tuple(hidden),
        dt=dt,
        parameters=vector,
        optimiser=adam,
        average=vector.data.clone(),
        mean=torch.zeros(inputs, **options),
        deviation=torch.ones(inputs, **options),
        weights=torch.zeros(inputs, outputs, **options),
        bias=torch.zeros(outputs, **options),
        scale=torch.zeros(outputs, **options),
        speed_limit=torch.full((6 + len(joints),), math.inf, **options),
    )


def inputs(state: Tensor, target: Tensor, extra: Tensor | None = None) -> Tensor:
    """What the model sees of states (..., 13 + 2 · joints), targets (..., joints) rad and `extra` (..., extras).

    Root height, the world's vertical in root axes (the third row of the root's rotation matrix), root velocities in root
    axes, joints, joint velocities, servo errors `target − joints`, and the extras: (..., 10 + 3 · joints + extras).
    """
    count = target.shape[-1]
    turn, joints, velocities = state[..., 3:7], state[..., 7 : 7 + count], state[..., 7 + count :]
    up = to_matrix(turn)[..., 2, :]
    body = rotate_inverse(turn.unsqueeze(-2), velocities[..., :6].unflatten(-1, (2, 3))).flatten(-2)
    parts = [state[..., 2:3], up, body, joints, velocities[..., 6:], target - joints]
    return torch.cat(parts if extra is None else [*parts, extra], -1)


def outputs_of(state: Tensor, following: Tensor, dt: float) -> Tensor:
    """The outputs that lead from each state to the `following` one: (..., 12 + 2 · joints)."""
    count = state.shape[-1] // 2 - 6
    turn, velocities, after = state[..., 3:7], state[..., 7 + count :], following[..., 7 + count :]
    change, mean = after - velocities, 0.5 * dt * (velocities + after)
    moved = following[..., :3] - state[..., :3] - mean[..., :3]
    both = torch.cat((change[..., :6], mean[..., 3:6], moved), -1).unflatten(-1, (4, 3))
    linear, angular, spin, shift = rotate_inverse(turn.unsqueeze(-2), both).unbind(-2)
    apart = multiply(conjugate(turn), following[..., 3:7])
    twist = 2.0 * apart[..., 1:] / apart[..., :1] - spin
    joints = following[..., 7 : 7 + count] - state[..., 7 : 7 + count] - mean[..., 6:]
    return torch.cat((linear, angular, change[..., 6:], shift, twist, joints), -1)


@attrs.frozen(eq=False)
class Folded:
    """A model as prediction uses it: shifts and scales are multiplied into the matrices."""

    dt: float
    low: Tensor  # (inputs,), and
    high: Tensor  # between which inputs are held
    linear: Tensor  # (inputs, outputs)
    layers: tuple[tuple[Tensor, Tensor], ...]  # matrix and bias; the last bias is that of the linear part as well
    most: Tensor  # (outputs,), the largest of either sign
    speed_limit: Tensor


def layers_of(dynamics: Dynamics, parameters: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Matrix (before, after) and bias (after,) of each layer, views of the vector `parameters`."""
    sizes = list(itertools.pairwise([len(dynamics.mean), *dynamics.hidden, len(dynamics.bias)]))
    pieces = parameters.split([n for before, after in sizes for n in (before * after, after)])
    for (before, after), matrix, bias in zip(sizes, pieces[::2], pieces[1::2], strict=True):
        yield matrix.view(before, after), bias


def fold(dynamics: Dynamics, *, frozen: bool = True) -> Folded:
    """The model as it predicts; unless `frozen`, the one of its last step, and gradients reach its parameters."""
    parameters = dynamics.average if frozen else dynamics.parameters
    (first, shift), *rest = layers_of(dynamics, parameters)
    scaled, mean = dynamics.deviation.reciprocal().unsqueeze(1), dynamics.mean
    linear = dynamics.weights * scaled * dynamics.scale
    first = first * scaled
    layers = [(first, torch.addmv(shift, first.t(), mean, alpha=-1.0)), *rest]
    last, bias = layers[-1]
    bias = torch.addmv((bias + dynamics.bias) * dynamics.scale, linear.t(), mean, alpha=-1.0)
    layers[-1] = last * dynamics.scale, bias
    reach = MOST_INPUT * dynamics.deviation
    return Folded(
        dt=dynamics.dt,
        low=mean - reach,
        high=mean + reach,
        linear=linear,
        layers=tuple(layers),
        most=MOST_OUTPUT * dynamics.scale,
        speed_limit=dynamics.speed_limit,
    )


def predict(model: Dynamics | Folded, state: Tensor, target: Tensor, extra: Tensor | None = None) -> Tensor:
    """The states one control step later, (rows, 13 + 2 · joints).

    Differentiable once with respect to state, target and extras, and to the parameters of a model that was folded so. A
    model that is used for many steps is folded once.
    """
    folded = fold(model) if isinstance(model, Dynamics) else model
    weights = [tensor for layer in folded.layers for tensor in layer]
    predicted: Tensor = _Step.apply(folded, state, target, extra, *weights)
    return predicted


class _Step(Function):
    """`predict`, and its gradient."""

    @staticmethod
    def forward(
        ctx: Any, model: Folded, state: Tensor, target: Tensor, extra: Tensor | None, *weights: Tensor
    ) -> Tensor:
        rows, count, dt = len(state), target.shape[1], model.dt
        place, speed = 7 + count, 6 + count  # widths of what a state begins with, and ends with
        turn, joints, velocities = state[:, 3:7], state[:, 7:place], state[:, place:]
        squares, products = _constants(state.dtype, state.device)
        matrix = torch.mm((turn.unsqueeze(2) * turn.unsqueeze(1)).view(rows, 16), squares).view(
            rows, 3, 3
        )  # R, transposed
        root = velocities[:, :6].view(rows, 2, 3)
        body = torch.bmm(root, matrix.mT).view(rows, 6)
        parts = [state[:, 2:3], matrix[:, :, 2], body, joints, velocities[:, 6:], target - joints]
        seen = torch.cat(parts if extra is None else [*parts, extra], 1)
        held = seen.clamp(model.low, model.high)
        deep, before = held, []
        for number in range(0, len(weights) - 2, 2):
            before.append(torch.addmm(weights[number + 1], deep, weights[number]))
            deep = nn.functional.silu(before[-1])
        free = torch.addmm(weights[-1], held, model.linear).addmm_(deep, weights[-2])
        found = torch.clamp(free, -model.most, model.most)
        faster = found[:, :speed]
        shift = torch.add(found[:, speed:], faster, alpha=0.5 * dt)  # beyond dt times the velocity at the beginning
        local = torch.cat((faster[:, :6], shift[:, :3]), 1).view(rows, 3, 3)
        world = torch.bmm(local, matrix).view(rows, 9)
        half = torch.add(shift[:, 3:6], body[:, 3:], alpha=dt).mul_(0.5)
        mixed = (turn.unsqueeze(2) * half.unsqueeze(1)).view(rows, 12)
        turned = torch.addmm(turn, mixed, products)
        norm = torch.linalg.vector_norm(turned, dim=1, keepdim=True)
        following = torch.empty_like(state)
        torch.add(state[:, :3], world[:, 6:], out=following[:, :3]).add_(velocities[:, :3], alpha=dt)
        torch.div(turned, norm, out=following[:, 3:7])
        torch.add(joints, shift[:, 6:], out=following[:, 7:place]).add_(velocities[:, 6:], alpha=dt)
        after = following[:, place:]
        torch.add(velocities[:, :6], world[:, :6], out=after[:, :6])
        torch.add(velocities[:, 6:], faster[:, 6:], out=after[:, 6:])
        if any(ctx.needs_input_grad):
            slow = after.abs() <= model.speed_limit
            ctx.model, ctx.count, unit = model, count, following[:, 3:7].clone()
            inside = (held == seen, found == free, slow)
            ctx.save_for_backward(state, matrix, half, unit, norm, local, held, *inside, *before, *weights)
        after.clamp_(-model.speed_limit, model.speed_limit)
        return following

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        model, count, dt = ctx.model, ctx.count, ctx.model.dt
        state, matrix, half, unit, norm, local, held, seen, free, slow, *rest = ctx.saved_tensors
        depth = len(model.layers) - 1
        before, weights = rest[:depth], rest[depth:]
        rows, place = len(state), 7 + count
        turn, root = state[:, 3:7], state[:, place : place + 6].view(rows, 2, 3)
        squares, products = _constants(state.dtype, state.device)
        to_place, to_turn, to_joints = gradient[:, :3], gradient[:, 3:7], gradient[:, 7:place]
        to_speed = gradient[:, place:] * slow
        to_world = torch.cat((to_speed[:, :6], to_place), 1).view(rows, 3, 3)
        to_local = torch.bmm(to_world, matrix.mT).view(rows, 9)
        to_turned = torch.addcmul(to_turn, unit, (unit * to_turn).sum(1, keepdim=True), value=-1.0).div_(norm)
        to_mixed = torch.mm(to_turned, products.t()).view(rows, 4, 3)
        to_half = torch.bmm(turn.unsqueeze(1), to_mixed).view(rows, 3).mul_(0.5)
        to_turn = torch.baddbmm(to_turned.unsqueeze(2), to_mixed, half.unsqueeze(2)).squeeze(2)
        to_shift = torch.cat((to_local[:, 6:], to_half, to_joints), 1)
        to_found = torch.cat((to_local[:, :6], to_speed[:, 6:], to_shift), 1)
        to_found[:, : 6 + count].add_(to_shift, alpha=0.5 * dt)
        to_found.mul_(free)
        flow, to_weights = to_found, list[Tensor | None]()
        for layer in reversed(range(depth + 1)):
            if ctx.needs_input_grad[4 + 2 * layer]:
                deep = nn.functional.silu(before[layer - 1]) if layer else held
                to_weights[:0] = [torch.mm(deep.t(), flow), flow.sum(0)]
            else:
                to_weights[:0] = [None, None]
            flow = torch.mm(flow, weights[2 * layer].t())
            if layer:
                flow = torch.ops.aten.silu_backward(flow, before[layer - 1])
        to_seen = flow.addmm_(to_found, model.linear.t()).mul_(seen)
        to_body = to_seen[:, 4:10].clone()
        to_body[:, 3:].add_(to_half, alpha=dt)
        to_body = to_body.view(rows, 2, 3)
        to_matrix = torch.bmm(local.mT, to_world).baddbmm_(to_body.mT, root)
        to_matrix[:, :, 2] += to_seen[:, 1:4]
        to_squares = torch.mm(to_matrix.view(rows, 9), squares.t()).view(rows, 4, 4)
        to_squares = to_squares + to_squares.mT
        to_turn = to_turn.unsqueeze(2).baddbmm_(to_squares, turn.unsqueeze(2)).squeeze(2)
        to_target = to_seen[:, 10 + 2 * count : 10 + 3 * count]
        to_state = torch.cat((to_place, to_turn, to_joints, to_speed), 1)
        to_state[:, 2] += to_seen[:, 0]
        to_state[:, 7:place].add_(to_seen[:, 10 : 10 + count]).sub_(to_target)
        to_state[:, place : place + 3].add_(to_place, alpha=dt)
        to_state[:, place : place + 6].add_(torch.bmm(to_body, matrix).view(rows, 6))
        to_state[:, place + 6 :].add_(to_seen[:, 10 + count : 10 + 2 * count]).add_(to_joints, alpha=dt)
        to_extra = to_seen[:, 10 + 3 * count :] if ctx.needs_input_grad[3] else None
        return None, to_state, to_target, to_extra, *to_weights


@functools.cache
def _constants(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Of the products q_k q_m, (16, 9), to the columns of the rotation matrix; of q_k u_m, (12, 4), to q ⊗ (0, u)."""
    units = torch.eye(4, dtype=dtype)
    sums = to_columns(units.unsqueeze(1) + units) - to_columns(units).unsqueeze(1) - to_columns(units)
    return (0.5 * sums).view(16, 9).to(device), multiply(units.unsqueeze(1), units[1:]).view(12, 4).to(device)


def fit_linear(
    dynamics: Dynamics, state: Tensor, target: Tensor, following: Tensor, extra: Tensor | None = None
) -> None:
    """Find shifts, scales, speed limits and the linear part, by ridge regression, from transitions of N rows each.

    At most MOST_ROWS of them are used, evenly spread, and none with a number that is not finite. The network keeps its
    parameters: it was fitted to what another linear part had left over, if to any.
    """
    every = max(1, math.ceil(len(state) / MOST_ROWS))
    seen = inputs(state, target, extra)[::every].double()
    moved = outputs_of(state, following, dynamics.dt)[::every].double()
    speeds = torch.cat((state, following))[:, 7 + target.shape[1] :].abs()
    sound = seen.isfinite().all(1) & moved.isfinite().all(1)
    seen, moved, speeds = seen[sound], moved[sound], speeds[speeds.isfinite().all(1)]
    if len(seen) < 2:
        raise SceneError(
            f"The dynamics model was given {len(seen)} transitions without a number that is not finite; collect at least 2."
        )
    deviation, mean = torch.std_mean(seen, 0)
    scale = moved.std(0).clamp_min(OUTPUT_FLOOR)
    deviation.clamp_(min=FLOOR)
    seen = ((seen - mean) / deviation).clamp_(-MOST_INPUT, MOST_INPUT)
    moved /= scale
    centre, level = seen.mean(0), moved.mean(0)
    seen -= centre
    penalty = RIDGE * len(seen) * torch.eye(seen.shape[1], dtype=seen.dtype, device=seen.device)
    weights = torch.linalg.solve(seen.t() @ seen + penalty, seen.t() @ (moved - level))
    fastest = speeds.amax(0)
    limit = torch.cat((fastest[:3].amax().expand(3), fastest[3:6].amax().expand(3), fastest[6:]))
    found = {"mean": mean, "deviation": deviation, "scale": scale, "weights": weights, "bias": level - centre @ weights}
    for name, values in {**found, "speed_limit": FASTEST * limit}.items():
        getattr(dynamics, name).copy_(values)


def fit_one_step(
    dynamics: Dynamics,
    state: Tensor,
    target: Tensor,
    following: Tensor,
    extra: Tensor | None = None,
    *,
    batch: int = 256,
) -> Tensor:
    """Fit the network to what the linear part leaves over: one optimiser step per `batch` transitions, in their order.

    Returns the mean loss: Huber's, of outputs in standard deviations.
    """
    with torch.no_grad():
        seen = ((inputs(state, target, extra) - dynamics.mean) / dynamics.deviation).clamp_(-MOST_INPUT, MOST_INPUT)
        left = outputs_of(state, following, dynamics.dt).div_(dynamics.scale)
        left -= torch.addmm(dynamics.bias, seen, dynamics.weights)
    losses = []
    for some, wanted in zip(seen.split(batch), left.split(batch), strict=True):
        with torch.enable_grad():
            (matrix, shift), *rest = layers_of(dynamics, dynamics.parameters)
            some = torch.addmm(shift, some, matrix)
            for matrix, shift in rest:
                some = torch.addmm(shift, nn.functional.silu(some), matrix)
            losses.append(nn.functional.smooth_l1_loss(some, wanted))
            _descend(dynamics, losses[-1])
    return torch.stack(losses).detach().mean()


def fit_open_loop(
    dynamics: Dynamics,
    state: Tensor,
    targets: Tensor,
    followings: Tensor,
    continues: Tensor,
    extras: Tensor | None = None,
) -> Tensor:
    """Fit the network to k steps from `state` (rows, ...) that are predicted one from the other; the loss of the mean step.

    `targets`, `followings` and `extras` are (k, rows, ...); `continues` (k, rows) bool says where the step after goes on from
    the `following` state. Where it does not, as after a reset, nothing that comes later counts in this row.
    """
    weight = _error_weights(dynamics)
    alive = torch.ones(len(state), 1, dtype=state.dtype, device=state.device)
    with torch.enable_grad():
        model, loss = fold(dynamics, frozen=False), state.new_zeros(())
        for step, (target, truth) in enumerate(zip(targets, followings, strict=True)):
            state = predict(model, state, target, None if extras is None else extras[step])
            wrong = torch.where(alive > 0, state - _same_side(truth, state), 0.0)
            loss = loss + (wrong.square() @ weight).mean()
            alive = alive * continues[step].unsqueeze(1)
        loss = loss / len(targets)
        _descend(dynamics, loss)
    return loss.detach()


def _descend(dynamics: Dynamics, loss: Tensor) -> None:
    """One optimiser step down the clipped gradient, and one of the mean; none where it is not finite."""
    (gradient,) = torch.autograd.grad(loss, dynamics.parameters)
    norm = torch.linalg.vector_norm(gradient)
    dynamics.optimiser.gradient.copy_(gradient).mul_((LARGEST_GRADIENT / (norm + 1e-6)).clamp(max=1.0))
    unsound = (~norm.isfinite()).float()
    dynamics.optimiser.step(unsound)
    step = dynamics.optimiser.moments["step"]
    decay = ((1.0 + step) / (10.0 + step)).clamp(max=AVERAGED)  # the first steps are soon forgotten
    dynamics.average.lerp_(dynamics.parameters.detach(), (1.0 - decay) * (1.0 - unsound))


def _same_side(truth: Tensor, state: Tensor) -> Tensor:
    """`truth` with its quaternions of the sign that is nearer to those of `state`."""
    turn = truth[:, 3:7]
    side = torch.where((turn * state[:, 3:7].detach()).sum(1, keepdim=True) < 0, -1.0, 1.0)
    return torch.cat((truth[:, :3], turn * side, truth[:, 7:]), 1)


def _error_weights(dynamics: Dynamics) -> Tensor:
    """Of squared errors (13 + 2 · joints,): means over root and joints, in deviations of what velocities change by in a step.

    Places count in what such a velocity makes of them in one step; a quaternion is half as far off as its angle.
    """
    count, dt = len(dynamics.joints), dynamics.dt
    linear, angular, joint = (x.mean() for x in dynamics.scale[: 6 + count].split((3, 3, count)))
    groups = [(linear * dt, 3, 3), (0.5 * angular * dt, 4, 3), (joint * dt, count, count)]
    groups += [(linear, 3, 3), (angular, 3, 3), (joint, count, count)]
    return torch.cat([(1.0 / (among * scale.square())).expand(width) for scale, width, among in groups])


@attrs.frozen(eq=False)
class OpenLoopError:
    """How far predictions are off after some steps from a true state: means over the rows that still went on."""

    rows: int
    position: float  # m, of the root
    rotation: float  # rad, of the root
    joints: Tensor  # (joints,) rad
    joint_velocities: Tensor  # (joints,) rad/s


def open_loop_error(
    model: Dynamics | Folded,
    state: Tensor,
    targets: Tensor,
    followings: Tensor,
    continues: Tensor,
    extras: Tensor | None = None,
    *,
    horizons: Sequence[int] = HORIZONS,
) -> Mapping[int, OpenLoopError]:
    """By number of steps, of those `horizons` that the data reaches; the arguments are those of `fit_open_loop`."""
    count, found = targets.shape[-1], {}
    alive = torch.ones(len(state), dtype=torch.bool, device=state.device)
    with torch.no_grad():
        folded = fold(model) if isinstance(model, Dynamics) else model
        for step, (target, truth) in enumerate(zip(targets, followings, strict=True)):
            state = predict(folded, state, target, None if extras is None else extras[step])
            if step + 1 in horizons and bool(alive.any()):
                here, there = state[alive], truth[alive]
                wrong = (here - there).abs().mean(0)
                found[step + 1] = OpenLoopError(
                    rows=len(here),
                    position=float((here - there)[:, :3].norm(dim=1).mean()),
                    rotation=float(angle_between(here[:, 3:7], there[:, 3:7]).mean()),
                    joints=wrong[7 : 7 + count],
                    joint_velocities=wrong[13 + count :],
                )
            alive = alive & continues[step]
    return found


def finite(dynamics: Dynamics) -> bool:
    """Whether all of the model's numbers are."""
    parts = (dynamics.mean, dynamics.deviation, dynamics.weights, dynamics.bias, dynamics.scale, dynamics.average)
    return all(bool(part.isfinite().all()) for part in parts)


def unmoved(dynamics: Dynamics) -> list[str]:
    """Joints that stood still in the data that the model was fitted to, so that it cannot know what moving them does."""
    own = dynamics.deviation[10 : 10 + len(dynamics.joints)] <= FLOOR
    return [name for name, still in zip(dynamics.joints, own.tolist(), strict=True) if still]
