"""Metrics of motions are worked out by hand on few bodies and by independent numpy loops."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from systems.maths import motion_metrics as metrics
from systems.maths.motion_metrics import procrustes_error

STILL = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
UPRIGHT = torch.tensor([1.0, 0.0, 0.0, 0.0])


def turned(axis: str, angle: float) -> Tensor:
    """A quaternion about x, y or z."""
    found = torch.zeros(4)
    found[0], found[1 + "xyz".index(axis)] = math.cos(angle / 2), math.sin(angle / 2)
    return found


def matrix(q: np.ndarray) -> np.ndarray:
    w, x, y, z = q
    return np.array(
        (
            (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        )
    )


def test_global_error_is_the_mean_distance_and_the_root_relative_one_ignores_where_the_root_is() -> None:
    robot = torch.tensor([[0.3, 0.0, 0.0], [0.3, 0.0, 1.1]])
    assert_close(metrics.global_error(robot, STILL), torch.tensor((0.3 + math.hypot(0.3, 0.1)) / 2))
    assert_close(metrics.root_relative_error(robot, STILL), torch.tensor(0.05))
    assert_close(metrics.root_relative_error(robot, STILL, root=1), torch.tensor(0.05))


def test_the_anchor_relative_error_ignores_heading_and_horizontal_drift_but_not_height_and_tilt() -> None:
    rng = np.random.default_rng(0)
    reference = torch.tensor(rng.normal(size=(5, 3)))
    facing = torch.nn.functional.normalize(torch.tensor(rng.normal(size=(5, 4))), dim=-1)
    turn = matrix(turned("z", 0.7).double().numpy())
    moved = torch.tensor(reference.numpy() @ turn.T + np.array((3.0, -2.0, 0.0)))
    c, s = math.cos(0.35), math.sin(0.35)
    w, x, y, z = facing.unbind(-1)
    seen = torch.stack((c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w), -1)
    assert float(metrics.anchor_relative_error(moved, seen, reference, facing, 2)) < 1e-7
    place, attitude = metrics.anchored(moved, seen, reference, facing, 2)
    assert_close(place, moved)
    assert_close(attitude, seen)
    higher = moved + torch.tensor([0.0, 0.0, 0.2])
    assert_close(metrics.anchor_relative_error(higher, seen, reference, facing, 2), torch.tensor(0.2).double())


def test_velocity_and_acceleration_errors_are_of_displacements_per_frame() -> None:
    robot = torch.stack([STILL + torch.tensor([x, 0.0, 0.0]) for x in (0.0, 0.1, 0.4)])
    still = STILL.expand(3, 2, 3)
    assert_close(metrics.velocity_error(robot, still), torch.tensor([0.1, 0.3]))
    assert_close(metrics.acceleration_error(robot, still), torch.tensor([0.2]))
    assert_close(metrics.velocity_error(robot, robot + 1.0), torch.zeros(2))


def test_end_effectors_are_compared_with_the_reference_around_the_anchor() -> None:
    robot = torch.tensor([[5.0, 0.0, 0.0], [5.0, 0.0, 1.0], [5.3, 0.0, 1.0]])
    reference = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.2, 0.0, 1.0]])
    upright = UPRIGHT.expand(3, 4)
    rotation = torch.stack((UPRIGHT, UPRIGHT, turned("x", 0.4)))
    distance, angle = metrics.end_effector_error(robot, rotation, reference, upright, 0, torch.tensor([1, 2]))
    assert_close(distance, torch.tensor(0.05))
    assert_close(angle, torch.tensor(0.2))


def test_joints_are_off_by_their_mean_and_their_speeds_by_the_root_mean_square() -> None:
    assert_close(metrics.joint_error(torch.tensor([0.1, -0.3]), torch.zeros(2)), torch.tensor(0.2))
    assert_close(metrics.joint_velocity_error(torch.tensor([3.0, -4.0]), torch.zeros(2)), torch.tensor(math.sqrt(12.5)))


def test_actions_change_by_the_mean_over_joints_and_jerk_is_the_second_difference_of_speeds() -> None:
    actions = torch.tensor([[0.0, 0.0], [0.1, -0.3], [0.1, -0.3]])
    assert_close(metrics.action_rate(actions), torch.tensor([0.2, 0.0]))
    t = torch.arange(5.0).unsqueeze(-1) * 0.02
    assert_close(metrics.joint_jerk(50.0 * t**2, 0.02), torch.full((3,), 100.0), rtol=1e-3, atol=0.0)
    assert metrics.jerky(torch.cat((50.0 * t**2, 6000.0 * t**2), -1), 0.02).all()
    assert not metrics.jerky(50.0 * t**2, 0.02).any()


def test_power_counts_what_motors_put_in_and_the_cost_of_transport_sets_it_against_weight_and_speed() -> None:
    torque, speed = torch.tensor([2.0, 5.0, -1.0]), torch.tensor([3.0, -4.0, -2.0])
    assert_close(metrics.power(torque, speed), torch.tensor(8.0))
    watts = torch.tensor([[100.0, 300.0], [100.0, 300.0]])
    cost = metrics.cost_of_transport(watts, torch.tensor([[1.0, 1.0], [0.0, 0.0]]), mass=10.0, gravity=10.0)
    assert_close(cost, torch.tensor([2.0, math.nan]), equal_nan=True)


def test_feet_slip_by_their_horizontal_speed_while_they_touch() -> None:
    velocity = torch.tensor([[[3.0, 4.0, 9.0], [1.0, 0.0, 0.0]]] * 3)
    touching = torch.tensor([[True, True], [True, False], [False, False]])
    assert_close(metrics.foot_slip(velocity, touching), torch.tensor([3.0, 5.0, math.nan]), equal_nan=True)


def test_bodies_are_far_above_half_a_metre_on_average() -> None:
    assert metrics.far(STILL + torch.tensor([0.51, 0.0, 0.0]), STILL)
    assert not metrics.far(STILL + torch.tensor([0.49, 0.0, 0.0]), STILL)


@pytest.mark.parametrize(
    ("height", "tilt", "lost"), [(0.24, 0.0, False), (-0.26, 0.0, True), (0.0, 1.36, False), (0.0, 1.38, True)]
)  # the cosine of 1.369 rad is 0.2
def test_an_anchor_is_lost_by_its_height_or_by_its_tilt(height: float, tilt: float, lost: bool) -> None:
    place = torch.tensor([7.0, 0.0, 1.0 + height])
    found = metrics.low_or_tilted(place, turned("y", tilt), torch.tensor([0.0, 0.0, 1.0]), turned("z", 2.0))
    assert bool(found) is lost


def test_commands_are_missed_by_a_distance_and_by_a_rate_of_turning() -> None:
    linear, turning = metrics.command_errors(
        torch.tensor([[0.8, 0.4, 9.0]]), torch.tensor([0.1]), torch.tensor([[0.5, 0.0, -0.1]])
    )
    assert_close(linear, torch.tensor([0.5]))
    assert_close(turning, torch.tensor([0.2]))


def test_procrustes_error_is_zero_for_a_similar_shape_and_matches_numpy_for_noise():
    rng = np.random.default_rng(0)
    target = rng.normal(size=(6, 3))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    moved = 1.7 * target @ turn.T + np.array([1.0, -2.0, 0.5])
    assert float(procrustes_error(torch.tensor(moved), torch.tensor(target))) < 1e-9
    noisy = moved + 0.1 * rng.normal(size=moved.shape)
    a, b = noisy - noisy.mean(0), target - target.mean(0)
    u, s, vh = np.linalg.svd(b.T @ a)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vh))])
    rotation = u @ flip @ vh
    scale = np.trace(np.diag(s) @ flip) / (a**2).sum()
    best = np.linalg.norm(scale * a @ rotation.T - b, axis=1).mean()
    assert_close(float(procrustes_error(torch.tensor(noisy), torch.tensor(target))), best)
    for _ in range(200):  # no similarity nearby does better in the least-squares sense
        other, _ = np.linalg.qr(rotation + 0.05 * rng.normal(size=(3, 3)))
        other *= np.sign(np.linalg.det(other))
        worse = ((scale * a @ other.T - b) ** 2).sum()
        assert worse >= ((scale * a @ rotation.T - b) ** 2).sum() - 1e-12


def test_a_mirrored_shape_is_not_similar():
    target = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.3, 0.2, 0.1], [-1.0, 0.4, 0.8]])
    mirrored = target * torch.tensor([-1.0, 1.0, 1.0])
    assert float(procrustes_error(mirrored, target)) > 0.05
