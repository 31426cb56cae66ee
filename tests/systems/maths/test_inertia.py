"""Pseudo-inertia: there and back, and bodies that stay physical whatever is done to them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systems.maths.inertia import deformed, from_pseudo_inertia, principal, pseudo_inertia
from systems.maths.rotation import rotate

SMALL = st.floats(-0.5, 0.5)


def cloud(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Twenty points and their masses: a body."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(20, 3)), rng.uniform(0.1, 1.0, 20)


def weighed(points: np.ndarray, masses: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mass, centre and inertia about it, point by point."""
    center = (masses[:, None] * points).sum(0) / masses.sum()
    inertia = np.zeros((3, 3))
    for point, mass in zip(points - center, masses, strict=True):
        inertia += mass * (point @ point * np.eye(3) - np.outer(point, point))
    return masses.sum(), center, inertia


def test_a_deformed_body_is_its_points_moved_by_the_map() -> None:
    points, masses = cloud()
    change = np.array([0.1, 0.2, -0.1, 0.3, 0.05, -0.02, 0.03, 0.1, 0.0, -0.2])
    affine = np.array([[np.exp(0.2), 0.05, 0.03], [0.0, np.exp(-0.1), -0.02], [0.0, 0.0, np.exp(0.3)]])
    expected = weighed(points @ affine.T + [0.1, 0.0, -0.2], masses * np.exp(0.2))
    for found, wanted in zip(deformed(*map(np.asarray, weighed(points, masses)), change), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_no_change_gives_the_same_body() -> None:
    body = weighed(*cloud(1))
    for found, wanted in zip(from_pseudo_inertia(pseudo_inertia(*map(np.asarray, body))), body, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(st.lists(SMALL, min_size=10, max_size=10), st.integers(0, 100))
def test_whatever_is_drawn_the_body_can_exist(change: list[float], seed: int) -> None:
    mass, _, inertia = deformed(*map(np.asarray, weighed(*cloud(seed))), np.array(change))
    moments, axes = principal(inertia)
    assert mass > 0.0 and (moments > 0.0).all() and moments.sum() > 2.0 * moments.max()
    turned = rotate(axes, np.eye(3))  # the principal axes, one a row
    np.testing.assert_allclose(np.einsum("ki,k,kj->ij", turned, moments, turned), inertia, rtol=1e-9, atol=1e-9)
    assert np.linalg.norm(axes) == pytest.approx(1.0)
