"""The estimator against the textbook's matrices, written out in full."""

from __future__ import annotations

import numpy as np
import pytest

from allocator.policies.partial_pooling import pool, quasi_variances
from allocator.quadrature import FloatArray

G, K = 4, 3


def cells(seed: int, spread: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    n = rng.integers(50, 2000, (G, K)).astype(float)
    variance = np.array([1.0, 2.0, 0.5])
    level, arm = rng.normal(size=(G, 1)), np.array([0.0, 0.2, -0.1])
    truth = level + arm + spread * rng.normal(size=(G, K))
    return truth + rng.normal(size=(G, K)) * np.sqrt(variance / n), n, variance


def design() -> FloatArray:
    """A column for every segment, then one for every arm."""
    return np.array([[float(g == i) for i in range(G)] + [float(k == i) for i in range(K)] for g in range(G) for k in range(K)])


def contrasts(x: FloatArray) -> FloatArray:
    return x - x.mean()


def test_tau2_is_the_method_of_moments() -> None:
    mean, n, variance = cells(1, 0.3)
    x, y, w = design(), mean.ravel(), np.diag((n / variance).ravel())
    inverse = np.linalg.pinv(x.T @ w @ x)
    residual = y - x @ inverse @ x.T @ w @ y
    q, freedom = residual @ w @ residual, G * K - (G + K - 1)
    expected = (q - freedom) / (np.trace(w) - np.trace(inverse @ x.T @ w @ w @ x))
    assert pool(mean, n, variance).spread == pytest.approx(expected, rel=1e-3)  # the prior of one unit


def test_where_segments_differ_by_noise_alone_they_are_one() -> None:
    found = [pool(*cells(seed, 0.0)).spread for seed in range(20)]
    assert np.median(found) < 1e-3
    assert 0.0 in found


@pytest.mark.parametrize("seed", range(3))
def test_means_and_doubts_are_those_of_the_mixed_model(seed: int) -> None:
    """Henderson's equations: levels and arms fixed, their interaction N(0, τ̂²)."""
    mean, n, variance = cells(seed, 0.3)
    found = pool(mean, n, variance)
    x, z, w = design(), np.eye(G * K), np.diag((n / variance).ravel())
    xz = np.hstack([x, z])
    precision = xz.T @ w @ xz
    precision[G + K :, G + K :] += np.eye(G * K) / found.spread
    inverse = np.linalg.pinv(precision, rcond=1e-12)
    solved = inverse @ xz.T @ w @ mean.ravel()
    for g in range(G):
        pick = np.zeros((K, len(solved)))
        for k in range(K):
            pick[k, G + k] = pick[k, G + K + g * K + k] = 1.0
        ours, doubt = found.segment(g)
        np.testing.assert_allclose(contrasts(ours), contrasts(pick @ solved), atol=2e-3)
        covariance = pick @ inverse @ pick.T
        differences = np.array([covariance[i, i] + covariance[j, j] - 2 * covariance[i, j] for i, j in [(0, 1), (0, 2), (1, 2)]])
        np.testing.assert_allclose([doubt[0] + doubt[1], doubt[0] + doubt[2], doubt[1] + doubt[2]], differences, rtol=0.01)


def test_a_segment_without_units_is_as_the_experiment_with_more_doubt() -> None:
    mean, n, variance = cells(1, 0.3)
    n[2] = 0.0
    found = pool(mean, n, variance)
    ours, doubt = found.segment(2)
    whole, certain = found.whole()
    np.testing.assert_allclose(ours, whole)
    np.testing.assert_allclose(doubt, certain + found.spread, rtol=1e-6)
    assert found.shrinkage(2) == 1.0


def test_a_segment_with_many_units_is_as_it_is() -> None:
    mean, n, variance = cells(1, 0.3)
    n[0] = 1e9
    found = pool(mean, n, variance)
    np.testing.assert_allclose(contrasts(found.segment(0)[0]), contrasts(mean[0]), atol=1e-4)
    assert found.shrinkage(0) < 1e-6


def test_quasi_variances_of_independent_arms_are_theirs() -> None:
    np.testing.assert_allclose(quasi_variances(np.diag([1.0, 2.0, 5.0])), [1.0, 2.0, 5.0])
    np.testing.assert_allclose(quasi_variances(np.diag([1.0, 2.0, 5.0]) + 7.0), [1.0, 2.0, 5.0])
    np.testing.assert_allclose(quasi_variances(np.diag([1.0, 3.0])), [1.0, 3.0])


def test_quasi_variances_of_two_arms_sum_to_the_variance_of_their_difference() -> None:
    assert quasi_variances(np.array([[1.0, 0.9], [0.9, 2.0]])).sum() == pytest.approx(1.2)
