"""Laws of covariate adjustment: order of arms, units of measurement and the covariate's origin mean nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator import Moments
from allocator.inference.cuped import AdjustedMeans, Slopes, adjusted_means
from tests.cells import moments_of

K = 3
ARMS = ("a", "b", "c")
SHARES = [0.2, 0.35, 0.45]

unit = st.tuples(st.integers(-50, 50), st.integers(-50, 50), st.sampled_from([1.0, 0.6]))
"""y, x, and what the arm's share was multiplied by when the unit came."""
Unit = tuple[int, int, float]
Cells = list[list[list[Unit]]]
cells = st.lists(st.lists(st.lists(unit, min_size=4, max_size=8), min_size=K, max_size=K), min_size=1, max_size=3)
slopes = st.sampled_from(["common", "by arm"])


def moments(units: list[Unit], arm: int, shift: int = 0) -> Moments:
    return moments_of([[y, x + shift] for y, x, _ in units], [SHARES[arm] * factor for _, _, factor in units])


def found(given_cells: Cells, how: Slopes, resolutions: tuple[float, float] = (1.0, 1.0), shift: int = 0) -> AdjustedMeans:
    periods = [[moments(units, k, shift) for k, units in enumerate(row)] for row in given_cells]
    return adjusted_means(ARMS, "a", periods, 0, [1], resolutions, how)


def same(one: AdjustedMeans, other: AdjustedMeans, factor: float = 1.0) -> None:
    """Means agree to rounding; a standard error near 0 is the root of rounding."""
    assert other.mean == pytest.approx(one.mean * factor, rel=1e-9, abs=1e-9 * factor)
    assert other.se == pytest.approx(one.se * factor, rel=1e-7, abs=1e-6 * factor)
    assert other.difference_se == pytest.approx(one.difference_se * factor, rel=1e-7, abs=1e-6 * factor)


@given(cells, slopes, st.permutations(range(K)))
def test_permuting_arms_permutes_the_result(given_cells: Cells, how: Slopes, order: list[int]) -> None:
    one = found(given_cells, how)
    periods = [[moments(row[k], k) for k in order] for row in given_cells]
    other = adjusted_means([ARMS[k] for k in order], "a", periods, 0, [1], slopes=how)
    np.testing.assert_allclose(other.mean, one.mean[order], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(other.difference, one.difference[order], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(other.difference_se, one.difference_se[order], rtol=1e-7, atol=1e-6)


@given(cells, slopes, st.sampled_from([1e-6, 0.1, 1000.0]))
def test_scaling_the_metric_scales_the_result(given_cells: Cells, how: Slopes, factor: float) -> None:
    same(found(given_cells, how), found(given_cells, how, (factor, 1.0)), factor)


@given(cells, slopes, st.sampled_from([1e-6, 0.1, 1000.0]), st.integers(-(10**6), 10**6))
def test_the_covariates_unit_and_origin_mean_nothing(given_cells: Cells, how: Slopes, factor: float, shift: int) -> None:
    same(found(given_cells, how), found(given_cells, how, (1.0, factor), shift))


@given(cells, slopes, st.permutations(range(3)))
def test_the_order_of_periods_means_nothing(given_cells: Cells, how: Slopes, order: list[int]) -> None:
    same(found(given_cells, how), found([given_cells[t] for t in order if t < len(given_cells)], how))


@given(cells, slopes)
def test_a_metric_that_its_covariate_explains_wholly_differs_by_nothing(given_cells: Cells, how: Slopes) -> None:
    """y = x: every arm's adjusted mean is the mean of all units."""
    doubled = [[[(x, x, factor) for _, x, factor in units] for units in row] for row in given_cells]
    one = found(doubled, how)
    if np.all(one.coefficients != 0):
        assert one.difference == pytest.approx(np.zeros(K), abs=1e-9)
