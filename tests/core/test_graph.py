from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError, ShapeError
from core.graph import chebyshev_stack, gaussian_adjacency, scaled_laplacian
from tests.oracles import graph_oracle


def _distances(seed: int, size: int) -> np.ndarray:
    places = np.random.default_rng(seed).uniform(0, 5, (size, 2))
    return np.linalg.norm(places[:, None] - places[None], axis=-1)


@given(st.integers(0, 1000), st.integers(1, 8), st.floats(0.5, 30), st.floats(0.01, 0.99))
def test_gaussian_adjacency_is_equation_16(seed, size, sigma_squared, epsilon):
    distances = _distances(seed, size)
    expected = graph_oracle.adjacency(distances, sigma_squared, epsilon)
    np.testing.assert_allclose(gaussian_adjacency(distances, sigma_squared, epsilon), expected)


def test_gaussian_adjacency_by_hand():
    distances = np.array([[0.0, 2.0, np.inf], [2.0, 0.0, 2.7], [np.inf, 2.7, 0.0]])
    # exp(-4/10) = 0.6703 stays, exp(-7.29/10) = 0.4824 falls below 0.5.
    expected = [[0, 0.670320046, 0], [0.670320046, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(gaussian_adjacency(distances), expected, rtol=1e-8)


@given(st.integers(0, 1000), st.integers(2, 8))
def test_scaled_laplacian_matches_its_definition(seed, size):
    weights = gaussian_adjacency(_distances(seed, size), 3.0, 0.3)
    expected = graph_oracle.scaled_laplacian(weights)
    np.testing.assert_allclose(scaled_laplacian(weights), expected, atol=1e-10)
    values = np.linalg.eigvalsh(expected)
    assert values.min() >= -1 - 1e-9
    assert values.max() == pytest.approx(1.0)


@given(st.integers(0, 1000), st.integers(2, 8), st.integers(1, 5))
def test_chebyshev_filter_matches_eigen_decomposition(seed, size, order):
    rng = np.random.default_rng(seed)
    weights = gaussian_adjacency(_distances(seed, size), 3.0, 0.3)
    coefficients, signal = rng.normal(size=order), rng.normal(size=size)
    stack = chebyshev_stack(weights, order).double().numpy()
    filtered = sum(c * kernel @ signal for c, kernel in zip(coefficients, stack, strict=True))
    operator = graph_oracle.scaled_laplacian(weights)
    expected = graph_oracle.chebyshev_filter(operator, coefficients, signal)
    np.testing.assert_allclose(filtered, expected, atol=1e-5)


def test_a_sensor_without_neighbours_hears_only_itself():
    weights = np.zeros((3, 3))
    weights[0, 1] = weights[1, 0] = 0.8
    stack = chebyshev_stack(weights, 3).numpy()
    assert np.isfinite(stack).all()
    assert not stack[:, 2, :2].any()
    assert not stack[:, :2, 2].any()


def test_a_graph_without_edges_has_a_finite_kernel():
    stack = chebyshev_stack(np.zeros((4, 4)), 3).numpy()
    np.testing.assert_array_equal(stack, np.stack([np.eye(4)] * 3))


def test_what_must_hold_is_said():
    with pytest.raises(ShapeError, match=r"square matrix \[N, N\], got shape \[2, 3\]"):
        gaussian_adjacency(np.zeros((2, 3)))
    with pytest.raises(ConfigError, match="sigma_squared must be positive, got 0"):
        gaussian_adjacency(np.zeros((2, 2)), 0.0)
    with pytest.raises(ConfigError, match="chebyshev_order must be at least 1, got 0"):
        chebyshev_stack(np.zeros((2, 2)), 0)
