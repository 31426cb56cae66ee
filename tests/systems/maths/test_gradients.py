"""Gradients of rotation maths at turns that have none, and results that a gradient passes through on their way into a column."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, tensor

from systems.maths import quaternion
from systems.maths.bodies import carry
from systems.maths.gradients import write
from tests.systems.task_rows import generator, random_rotations

HALF = 0.5**0.5
TURNS = tensor(
    [
        [1.0, 0.0, 0.0, 0.0],
        [-1.0, 0.0, 0.0, 0.0],
        [HALF, 0.0, HALF, 0.0],
        [HALF, 0.0, -HALF, 0.0],
        [0.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 1.0],
        [1.0, 1e-25, 1e-25, 1e-25],
    ]
)
ONE: dict[str, Callable[[Tensor], Tensor]] = {
    "yaw": quaternion.yaw,
    "to_rotation_vector": quaternion.to_rotation_vector,
    "from_rotation_vector": lambda q: quaternion.from_rotation_vector(q[..., 1:]),
    "normalize": quaternion.normalize,
    "conjugate": quaternion.conjugate,
    "to_matrix": quaternion.to_matrix,
    "turn": lambda q: quaternion.turn(q, "y", q[..., 0]),
    "turn_by_euler": lambda q: quaternion.turn_by_euler(q, q[..., 1:]),
}
TWO: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "multiply": quaternion.multiply,
    "difference": quaternion.difference,
    "rotate": lambda a, b: quaternion.rotate(a, b[..., 1:]),
    "rotate_inverse": lambda a, b: quaternion.rotate_inverse(a, b[..., 1:]),
    "angle_between": quaternion.angle_between,
    "slerp": lambda a, b: quaternion.slerp(a, b, 0.3 * torch.ones_like(a[..., :1])),
    "slerp at 0": lambda a, b: quaternion.slerp(a, b, torch.zeros_like(a[..., :1])),
}


@pytest.mark.parametrize("name", ONE)
def test_a_function_of_one_rotation_has_a_finite_gradient_at_singular_turns(name: str) -> None:
    q = TURNS.clone().requires_grad_()
    ONE[name](q).sum().backward()  # type: ignore[no-untyped-call]
    assert q.grad is not None and bool(q.grad.isfinite().all())


@pytest.mark.parametrize("name", TWO)
def test_a_function_of_two_rotations_has_finite_gradients_at_every_pair_of_singular_turns(name: str) -> None:
    a, b = (each.clone().requires_grad_() for each in (TURNS[:, None], TURNS[None]))
    first, second = torch.broadcast_tensors(a, b)
    TWO[name](first, second).sum().backward()  # type: ignore[no-untyped-call]
    for each in (a, b):
        assert each.grad is None or bool(each.grad.isfinite().all())


@pytest.mark.parametrize("name", [*ONE, *(name for name in TWO if name != "slerp at 0")])
def test_gradients_of_rotations_are_central_differences(name: str) -> None:
    a, b = (random_rotations(5, seed=seed).double().requires_grad_() for seed in (1, 2))
    assert torch.autograd.gradcheck(ONE[name], a) if name in ONE else torch.autograd.gradcheck(TWO[name], (a, b))


def test_an_interpolation_leaves_its_first_rotation_towards_its_second() -> None:
    a, b = (quaternion.normalize(random_rotations(4, seed=seed).double()) for seed in (1, 2))
    for target in (b, -b):  # the shorter way is the same
        for begin in (0.0, 0.4):
            t = torch.full((4, 1), begin, dtype=torch.float64, requires_grad=True)
            now, later = quaternion.slerp(a, target, t), quaternion.slerp(a, target, t.detach() + 1e-7)
            (slope,) = torch.autograd.grad(now.sum(), t)
            torch.testing.assert_close(slope, (later - now.detach()).sum(-1, keepdim=True) / 1e-7, rtol=1e-4, atol=1e-5)


def test_an_interpolation_between_rotations_that_are_nearly_the_same_keeps_the_smallest_angle() -> None:
    for angle in (0.0, 0.9e-3, 0.99e-3, 1.01e-3, 1.1e-3):
        a = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
        b = torch.tensor([[torch.tensor(angle).cos(), torch.tensor(angle).sin(), 0.0, 0.0]])
        middle = quaternion.slerp(a, b, torch.tensor([[0.5]]))
        torch.testing.assert_close(middle, torch.nn.functional.normalize(a + b, dim=-1), atol=2e-7, rtol=0.0)


def test_a_result_is_written_straight_into_a_column_where_nobody_records_gradients() -> None:
    seen: list[Tensor | None] = []

    def double(value: Tensor, *, out: Tensor | None = None) -> Tensor:
        seen.append(out)
        return torch.mul(value, 2.0, out=out)

    column = torch.zeros(3)
    with torch.no_grad():
        assert write(column, double, torch.ones(3)) is column
    assert column.tolist() == [2.0] * 3 and seen[0] is column
    write(column, double, torch.full((3,), 2.0))
    assert column.tolist() == [4.0] * 3 and seen[1] is None


def test_a_gradient_passes_through_a_column_that_is_read_and_written() -> None:
    start, other = tensor([1.0, 5.0], requires_grad=True), tensor([3.0, 2.0], requires_grad=True)
    column = start.clone()
    write(column, torch.mul, column, other)
    assert column.tolist() == [3.0, 10.0]
    column.sum().backward()  # type: ignore[no-untyped-call]
    assert start.grad is not None and other.grad is not None
    assert (start.grad.tolist(), other.grad.tolist()) == ([3.0, 2.0], [1.0, 5.0])


def test_virtual_bodies_pass_gradients_to_their_parents() -> None:
    rng, count = generator(3), 2
    offset, twist = torch.randn(count, 3, generator=rng).double(), random_rotations(count).double()
    parts = [torch.randn(3, 4, width, generator=rng).double().requires_grad_() for width in (3, 4, 3, 3)]

    def carried(*motion: Tensor) -> tuple[Tensor, ...]:
        position, rotation, linear, angular = (each.clone() for each in motion)
        carry(position, rotation, linear, angular, offset, twist)
        return position, rotation, linear

    assert torch.autograd.gradcheck(carried, parts)
