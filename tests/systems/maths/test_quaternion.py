"""Quaternion functions against rotation matrices made in numpy by the textbook formulas."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from systems.maths import quaternion as q
from tests.systems.task_rows import about, matrix, matrix_angle

number = st.floats(-1.0, 1.0)
angle = st.floats(-3.1, 3.1)


@st.composite
def rotations(draw: st.DrawFn) -> Tensor:
    values = np.array([draw(number) for _ in range(4)])
    norm = np.linalg.norm(values)
    if norm < 0.1:
        values, norm = np.array([1.0, 0.0, 0.0, 0.0]), 1.0
    return torch.tensor(values / norm, dtype=torch.float64)


vectors = st.tuples(number, number, number).map(lambda v: torch.tensor(v, dtype=torch.float64))


def near(a: Tensor | np.ndarray | float, b: Tensor | np.ndarray | float, tolerance: float = 1e-9) -> None:
    np.testing.assert_allclose(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64), atol=tolerance)


@given(rotations(), rotations())
def test_products_are_products_of_matrices(a: Tensor, b: Tensor) -> None:
    near(matrix(q.multiply(a, b)), matrix(a) @ matrix(b))
    near(matrix(q.difference(a, b)), matrix(a) @ matrix(b).T)
    near(matrix(q.conjugate(a)), matrix(a).T)


@given(rotations(), vectors)
def test_rotating_is_multiplying_by_the_matrix(a: Tensor, v: Tensor) -> None:
    near(q.rotate(a, v), matrix(a) @ v.numpy())
    near(q.rotate_inverse(a, v), matrix(a).T @ v.numpy())


@given(rotations(), rotations())
def test_angle_between_is_the_angle_of_the_relative_matrix(a: Tensor, b: Tensor) -> None:
    near(q.angle_between(a, b), matrix_angle(matrix(a), matrix(b)), 1e-6)
    near(q.angle_between(a, -b), matrix_angle(matrix(a), matrix(b)), 1e-6)


def test_angle_between_keeps_small_angles_in_float32() -> None:
    small = torch.tensor([np.cos(5e-5), np.sin(5e-5), 0.0, 0.0], dtype=torch.float32)  # a turn by 1e-4
    near(q.angle_between(small, torch.tensor([1.0, 0.0, 0.0, 0.0])), 1e-4, 1e-7)


@given(rotations())
def test_yaw_is_where_the_x_axis_points(a: Tensor) -> None:
    forward = matrix(a)[:, 0]
    if np.hypot(forward[0], forward[1]) > 1e-3:
        heading = np.arctan2(forward[1], forward[0])
        difference = float(q.yaw(a)) - heading
        near(np.arctan2(np.sin(difference), np.cos(difference)), 0.0, 1e-7)


@given(rotations(), angle, st.sampled_from("xyz"))
def test_turn_multiplies_from_the_left(a: Tensor, by: float, axis: str) -> None:
    near(matrix(q.turn(a, axis, torch.tensor(by, dtype=torch.float64))), about(axis, by) @ matrix(a), 1e-7)


@given(rotations(), angle, angle, angle)
def test_euler_turns_about_fixed_axes_x_then_y_then_z(a: Tensor, x: float, y: float, z: float) -> None:
    turned = about("z", z) @ about("y", y) @ about("x", x)
    angles = torch.tensor([x, y, z], dtype=torch.float64)
    near(matrix(q.turn_by_euler(a, angles)), turned @ matrix(a), 1e-7)


@given(vectors)
def test_logarithm_undoes_the_exponential(v: Tensor) -> None:
    near(q.to_rotation_vector(q.from_rotation_vector(3.0 / 2.0 * v)), 1.5 * v, 1e-7)
    size = float(v.norm())
    near(q.angle_between(q.from_rotation_vector(v), torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)), size, 1e-7)


@given(rotations(), rotations(), st.floats(0.0, 1.0))
def test_slerp_divides_the_angle_and_stays_on_the_arc(a: Tensor, b: Tensor, t: float) -> None:
    whole = float(q.angle_between(a, b))
    if whole > 3.1:  # two arcs of nearly the same length: either is right
        return
    between = q.slerp(a, b, torch.tensor([t], dtype=torch.float64))
    near(between.norm(), 1.0)
    near(q.angle_between(a, between), t * whole, 1e-6)
    near(q.angle_between(between, b), (1 - t) * whole, 1e-6)


def test_slerp_of_equal_rotations_is_that_rotation() -> None:
    a = torch.tensor([0.6, 0.0, 0.8, 0.0])
    near(q.slerp(a, a, torch.tensor([0.3])), a, 1e-6)
    near(matrix(q.slerp(a, -a, torch.tensor([0.3]))), matrix(a), 1e-6)


def test_normalize_scales_to_unit_length() -> None:
    near(q.normalize(torch.tensor([0.0, 3.0, 0.0, 4.0])), [0.0, 0.6, 0.0, 0.8], 1e-7)


def test_one_rotation_serves_many() -> None:
    a = q.from_rotation_vector(torch.tensor([[[0.1, 0.2, 0.3]]]))  # (1, 1, 4)
    many = torch.nn.functional.normalize(torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(1)), dim=-1)
    product, between = q.multiply(a, many), q.difference(a, many)
    for i in range(5):
        near(matrix(between[0, i]), matrix(a[0, 0]) @ matrix(many[0, i]).T, 1e-6)
        near(matrix(product[0, i]), matrix(a[0, 0]) @ matrix(many[0, i]), 1e-6)
