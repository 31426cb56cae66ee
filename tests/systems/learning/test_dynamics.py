"""The learned dynamics: prediction against a loop in numpy, its gradient, and what each fit is for."""

from typing import Any

import attrs
import numpy as np
import pytest
import torch
from torch import Tensor

from components.dynamics import Dynamics
from engine.errors import BuildError, SceneError, SnapshotError
from systems.learning.dynamics import (
    fit_linear,
    fit_one_step,
    fit_open_loop,
    fold,
    inputs,
    layers_of,
    make_dynamics,
    open_loop_error,
    outputs_of,
    predict,
    unmoved,
)
from systems.maths.rotation import rotate, rotate_inverse
from tests.physics.rows import make_rows

DT = 0.02


def drawn(joints: int = 3, extras: int = 1, hidden: tuple[int, ...] = (7, 5), **changes: float) -> Dynamics:
    """A small model in float64 whose every number was drawn."""
    names = [f"joint{i}" for i in range(joints)]
    model = make_dynamics(
        names, DT, extras=[f"extra{i}" for i in range(extras)], hidden=hidden, dtype=torch.float64, seed=1
    )
    draw = torch.Generator().manual_seed(2)

    def some(like: Tensor) -> Tensor:
        return torch.rand(like.shape, generator=draw, dtype=torch.float64) - 0.5

    model.mean.copy_(some(model.mean))
    model.deviation.copy_(some(model.deviation) + 1.0)
    model.weights.copy_(some(model.weights))
    model.bias.copy_(some(model.bias))
    model.scale.copy_(0.3 * (some(model.scale) + 1.0))
    model.average.add_(0.1 * some(model.average))
    for name, value in changes.items():
        getattr(model, name).fill_(value)
    return model


def states(rows: int, joints: int = 3, seed: int = 3) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    made = torch.randn(rows, 13 + 2 * joints, generator=draw, dtype=torch.float64)
    made[:, 3:7] /= made[:, 3:7].norm(dim=1, keepdim=True)
    return made


def step_by_hand(model: Dynamics, state: np.ndarray, target: np.ndarray, extra: np.ndarray) -> np.ndarray:
    """One row one control step later, written down a second time."""
    count = len(model.joints)
    place, turn, joints = state[:3], state[3:7], state[7 : 7 + count]
    linear, angular, speeds = state[7 + count : 10 + count], state[10 + count : 13 + count], state[13 + count :]
    w, x, y, z = turn
    up = [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z]
    body_linear, body_angular = rotate_inverse(turn, linear), rotate_inverse(turn, angular)
    seen = np.concatenate(([place[2]], up, body_linear, body_angular, joints, speeds, target - joints, extra))
    seen = np.clip((seen - model.mean.numpy()) / model.deviation.numpy(), -8, 8)
    deep = seen
    for number, (matrix, bias) in enumerate(layers_of(model, model.average)):
        deep = (deep / (1 + np.exp(-deep)) if number else deep) @ matrix.numpy() + bias.numpy()
    found = np.clip(deep + seen @ model.weights.numpy() + model.bias.numpy(), -12, 12) * model.scale.numpy()
    d_linear, d_angular, d_speeds, c, d, e = np.split(found, np.cumsum((3, 3, count, 3, 3)))
    new_linear, new_angular = linear + rotate(turn, d_linear), angular + rotate(turn, d_angular)
    u = 0.5 * (0.5 * DT * (body_angular + body_angular + d_angular) + d)
    a, v = turn[0], turn[1:]
    turned = np.concatenate(([a - v @ u], v + a * u + np.cross(v, u)))
    new_speeds = speeds + d_speeds
    limit = model.speed_limit.numpy()
    return np.concatenate(
        (
            place + 0.5 * DT * (linear + new_linear) + rotate(turn, c),
            turned / np.linalg.norm(turned),
            joints + 0.5 * DT * (speeds + new_speeds) + e,
            np.clip(np.concatenate((new_linear, new_angular, new_speeds)), -limit, limit),
        )
    )


@pytest.mark.parametrize("speed_limit", [1.0, float("inf")])
def test_a_prediction_is_what_a_loop_in_numpy_finds(speed_limit: float) -> None:
    model, state = drawn(speed_limit=speed_limit), states(5)
    target, extra = states(5, seed=4)[:, :3], states(5, seed=5)[:, :1]
    state[0] *= torch.cat((torch.ones(7), torch.full((12,), 20.0)))  # inputs and outputs beyond where they are held
    found = predict(model, state, target, extra)
    for row in range(5):
        expected = step_by_hand(model, state[row].numpy(), target[row].numpy(), extra[row].numpy())
        np.testing.assert_allclose(found[row].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("hidden", [(), (6,), (7, 5)])
@pytest.mark.parametrize("speed_limit", [1.0, float("inf")])
def test_the_written_gradient_is_that_of_finite_differences(hidden: tuple[int, ...], speed_limit: float) -> None:
    model = drawn(hidden=hidden, speed_limit=speed_limit)
    state, target, extra = states(4), states(4, seed=4)[:, :3].clone(), states(4, seed=5)[:, :1].clone()
    state[0, 13:] *= 20.0
    for tensor in (state, target, extra):
        tensor.requires_grad_()

    def with_parameters(state: Tensor, target: Tensor, extra: Tensor, parameters: Tensor) -> Tensor:
        changed = attrs.evolve(model, parameters=parameters)
        return predict(fold(changed, frozen=False), state, target, extra)

    assert torch.autograd.gradcheck(with_parameters, (state, target, extra, model.parameters))
    assert torch.autograd.gradcheck(lambda s, t, e: predict(model, s, t, e), (state, target, extra))


def test_a_frozen_model_gets_no_gradient_and_no_column_is_written() -> None:
    model, state, target = drawn(extras=0), states(4).requires_grad_(), states(4, seed=4)[:, :3]
    kept = state.detach().clone()
    predict(model, state, target).sum().backward()
    assert model.parameters.grad is None
    assert state.grad is not None and state.grad.isfinite().all() and torch.equal(state.detach(), kept)


def test_outputs_are_those_that_lead_from_one_state_to_the_next() -> None:
    model, state, target = drawn(extras=0, hidden=(), bias=0.0), states(50), states(50, seed=4)[:, :3]
    model.parameters.data.zero_()
    model.average.zero_()
    seen = ((inputs(state, target) - model.mean) / model.deviation).clamp(-8, 8)
    expected = (seen @ model.weights).clamp(-12, 12) * model.scale
    torch.testing.assert_close(outputs_of(state, predict(model, state, target), DT), expected)


def test_a_model_that_was_never_fitted_lets_everything_move_on() -> None:
    model = make_dynamics(["a", "b"], 0.5)
    state = torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.1, 0.2, 2.0, 0.0, 0.0, 0.0, 0.0, 0.4, 1.0, -1.0]])
    found = predict(model, state, torch.zeros(1, 2))
    half = torch.tensor([1.0, 0.0, 0.0, 0.1])  # tan of half an angle of about 0.5 s times 0.4 rad/s, about z
    turn = half / half.norm()
    expected = torch.cat((torch.tensor([1.0, 0.0, 1.0]), turn, torch.tensor([0.6, -0.3]), state[0, 9:]))
    torch.testing.assert_close(found[0], expected)


def test_equal_seeds_give_equal_models_and_others_do_not() -> None:
    first, same, other = (make_dynamics(["a"], DT, seed=seed).parameters for seed in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other)


@pytest.mark.parametrize("wrong", [{"hidden": (0,)}, {"dt": 0.0}, {"learning_rate": 0.0}, {"joints": []}])
def test_sizes_and_rates_of_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BuildError, match="every one must be above 0"):
        make_dynamics(**{"joints": ["a"], "dt": DT, **wrong})


def test_ridge_regression_recovers_a_linear_system() -> None:
    draw = torch.Generator().manual_seed(0)
    planted = drawn(extras=1, hidden=())
    planted.parameters.data.zero_()
    planted.average.zero_()
    state, target = states(4000), states(4000, seed=4)[:, :3]
    extra = torch.randn(4000, 1, generator=draw, dtype=torch.float64)
    planted.weights.mul_(0.3)
    following = predict(planted, state, target, extra)
    found = make_dynamics(planted.joints, DT, extras=planted.extras, hidden=(), dtype=torch.float64)
    fit_linear(found, state, target, following, extra)
    found.parameters.data.zero_()
    found.average.zero_()

    def plain(model: Dynamics) -> tuple[Tensor, Tensor]:
        matrix = model.weights / model.deviation[:, None] * model.scale
        return matrix, model.bias * model.scale - model.mean @ matrix

    for mine, theirs in zip(plain(found), plain(planted), strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-4, rtol=1e-3)
    wrong = predict(found, state, target, extra) - following
    assert wrong.abs().max() < 1e-3 < (following - state).abs().mean()


def test_speeds_end_at_half_as_much_again_as_the_data_shows() -> None:
    model, state = make_dynamics(["a", "b"], DT, dtype=torch.float64), states(20, joints=2)
    following = state.clone()
    following[7, 9:] = torch.tensor([0.0, -6.0, 0.0, 8.0, 0.0, 0.0, 10.0, -20.0])  # the highest of each kind
    fit_linear(model, state, state[:, 7:9], following)
    assert model.speed_limit.tolist() == [9.0] * 3 + [12.0] * 3 + [15.0, 30.0]


def test_a_joint_that_never_moved_is_named_and_a_state_far_from_it_does_not_blow_up() -> None:
    model, state = make_dynamics(["still", "moving"], DT, dtype=torch.float64), states(500, joints=2)
    following = states(500, joints=2, seed=8)
    target = states(500, joints=2, seed=9)[:, :2]
    for tensor in (state, following):
        tensor[:, 7] = 0.3
        tensor[:, 13 + 2] = 0.0
    target[:, 0] = 0.3
    assert unmoved(model) == []
    fit_linear(model, state, target, following)
    assert unmoved(model) == ["still"]
    state[:, 7] = 2.0
    after = predict(model, state, target)
    assert after.isfinite().all()
    assert (after[:, 7] - 2.0).abs().max() < 1e-3


def test_transitions_with_numbers_that_are_none_are_left_out_of_the_linear_fit() -> None:
    spoilt, clean = (make_dynamics(["a"], DT, dtype=torch.float64) for _ in range(2))
    state, following, target = states(100, 1), states(100, 1, seed=6), states(100, 1, seed=7)[:, :1]
    fit_linear(clean, state[1:], target[1:], following[1:])
    following[0, 4] = float("nan")
    fit_linear(spoilt, state, target, following)
    torch.testing.assert_close(spoilt.weights, clean.weights, atol=1e-6, rtol=1e-6)
    with pytest.raises(SceneError, match="0 transitions without a number that is not finite"):
        fit_linear(spoilt, state[:1], target[:1], following[:1])


def test_a_saved_model_predicts_and_learns_on_with_the_same_bytes() -> None:
    model = make_dynamics(["a", "b", "c"], DT, hidden=(8,))
    state, target, following = states(600).float(), states(600, seed=4)[:, :3].float(), states(600, seed=5).float()
    fit_linear(model, state, target, following)
    fit_one_step(model, state, target, following)
    kept, exported = model.state(), model.exported()
    fit_one_step(model, state, target, following)
    goal = model.state()
    again = make_dynamics(["a", "b", "c"], DT, hidden=(8,), seed=9)
    again.load(kept)
    fit_one_step(again, state, target, following)
    assert all(torch.equal(value, goal[name]) for name, value in again.state().items())
    again.load(exported)
    assert torch.equal(again.parameters, kept["parameters"]) and not again.state()["optimiser.exp_avg"].any()
    with pytest.raises(SnapshotError, match="'mean' is \\(13,\\) here but \\(19,\\) in the saved model"):
        make_dynamics(["a"], DT, hidden=(8,)).load(kept)


def test_a_step_whose_gradient_is_not_finite_changes_nothing() -> None:
    model = make_dynamics(["a", "b", "c"], DT, hidden=(8,))
    state, target, following = states(64).float(), states(64, seed=4)[:, :3].float(), states(64, seed=5).float()
    fit_linear(model, state, target, following)
    before = model.state()
    following[3, 0] = float("inf")
    fit_one_step(model, state, target, following)
    assert all(torch.equal(value, before[name]) for name, value in model.state().items())


def test_what_predicts_is_a_running_mean_of_the_parameters_that_soon_forgets_the_first() -> None:
    model = make_dynamics(["a", "b", "c"], DT, hidden=(8,))
    state, target, following = states(64).float(), states(64, seed=4)[:, :3].float(), states(64, seed=5).float()
    fit_linear(model, state, target, following)
    mean = model.parameters.detach().numpy().astype(np.float64)
    for step in range(1, 1201):
        fit_one_step(model, state, target, following, batch=64)
        decay = min(0.99, (1 + step) / (10 + step))
        mean = decay * mean + (1 - decay) * model.parameters.detach().numpy()
        if step in (1, 5, 1200):
            np.testing.assert_allclose(model.average.numpy(), mean, atol=1e-5)
    assert not torch.equal(model.average, model.parameters.detach())
    np.testing.assert_array_equal(
        predict(model, state, target).numpy(),
        predict(
            attrs.evolve(model, parameters=torch.nn.Parameter(torch.zeros_like(model.average))), state, target
        ).numpy(),
    )


def test_what_comes_after_a_reset_teaches_nothing_and_is_not_counted() -> None:
    targets, nexts = states(16, seed=4)[:, :3].float().expand(3, 16, 3), states(16, seed=5).float().expand(3, 16, 19)
    continues = torch.ones(3, 16, dtype=torch.bool)
    continues[0, 4:] = False
    learned = []
    for spoil in (False, True):
        model = make_dynamics(["a", "b", "c"], DT, hidden=(8,))
        fit_linear(model, states(16).float(), targets[0], nexts[0])
        truths = nexts.clone()
        if spoil:
            truths[1:, 4:] = float("nan")
        found = open_loop_error(model, states(16).float(), targets, truths, continues, horizons=(1, 3, 8))
        assert {steps: error.rows for steps, error in found.items()} == {1: 16, 3: 4}
        assert np.isfinite(found[3].position) and found[3].joints.isfinite().all()
        fit_open_loop(model, states(16).float(), targets, truths, continues)
        learned.append(model.parameters.detach().clone())
    assert torch.equal(*learned)


def test_a_quaternion_of_the_other_sign_is_the_same_rotation_to_the_open_loop_fit() -> None:
    targets, nexts = states(16, seed=4)[:, :3].float().expand(2, 16, 3), states(16, seed=5).float().expand(2, 16, 19)
    losses = []
    for sign in (1.0, -1.0):
        model = make_dynamics(["a", "b", "c"], DT, hidden=(8,))
        fit_linear(model, states(16).float(), targets[0], nexts[0])
        turned = nexts.clone()
        turned[..., 3:7] *= sign
        losses.append(
            float(fit_open_loop(model, states(16).float(), targets, turned, torch.ones(2, 16, dtype=torch.bool)))
        )
    assert losses[0] == losses[1]


@pytest.fixture(scope="module")
def logged() -> tuple[Tensor, Tensor, Tensor]:
    """128 rows of our humanoid in MuJoCo, 60 ticks around the default pose: states (61, rows, …), targets, who goes on."""
    rows = make_rows(128)
    draw = torch.Generator().manual_seed(0)
    rest = rows.model.robot.default_position
    seen, targets = [], []
    aim = torch.zeros(128, len(rest))
    for _ in range(60):
        aim = 0.8 * aim + 0.1 * torch.randn(aim.shape, generator=draw)
        seen.append(state_of(rows))
        targets.append(rest + aim)
        rows.tick(targets[-1])
    seen.append(state_of(rows))
    return torch.stack(seen), torch.stack(targets), torch.ones(60, 128, dtype=torch.bool)


def state_of(rows: Any) -> Tensor:
    root, dofs = rows.root, rows.dofs
    return torch.cat(
        (root.position, root.rotation, dofs.position, root.linear_velocity, root.angular_velocity, dofs.velocity), 1
    )


def test_fits_to_a_simulated_humanoid_bring_predictions_close(logged: tuple[Tensor, Tensor, Tensor]) -> None:
    seen, targets, goes_on = logged
    model = make_dynamics([str(i) for i in range(targets.shape[-1])], DT)
    state, target, following = (x.flatten(0, 1) for x in (seen[:-1], targets, seen[1:]))
    draw = torch.Generator().manual_seed(1)

    def error(steps: int) -> tuple[float, float]:
        at = slice(30, 30 + steps)
        found = open_loop_error(model, seen[30], targets[at], seen[31 : 31 + steps], goes_on[at], horizons=(steps,))
        return found[steps].position, float(found[steps].joints.mean())

    glided = error(1), error(8)
    fit_linear(model, state, target, following)
    linear = error(1), error(8)
    losses = []
    for _ in range(4):
        order = torch.randperm(len(state), generator=draw)
        losses.append(float(fit_one_step(model, state[order], target[order], following[order])))
    one_step = error(1), error(8)
    for _ in range(60):
        start = int(torch.randint(50, (), generator=draw))
        at = slice(start, start + 8)
        fit_open_loop(model, seen[start], targets[at], seen[start + 1 : start + 9], goes_on[at])
    open_loop = error(1), error(8)
    assert losses[-1] < 0.97 * losses[0]
    assert linear[0][1] < 0.3 * glided[0][1]
    assert one_step[1][0] < 0.9 * linear[1][0]
    assert open_loop[1][0] < 0.85 * one_step[1][0]
