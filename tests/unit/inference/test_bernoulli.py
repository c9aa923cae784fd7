"""Beta-mixture sequences of rates: the formula, the region's edges, and counts from nothing to 1e12."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from scipy.special import betaln

from allocator import ArgumentError
from allocator.inference.bernoulli import difference_interval, log_e, log_e_equal, rate_interval, ratio_interval

COUNTS = [(0, 0), (0, 1), (3, 0), (5, 95), (700, 300), (0, 10**12), (1, 10**12), (7 * 10**11, 3 * 10**11), (10**12, 0)]


def test_the_formula() -> None:
    """ln B(1+S, 1+F) - S ln μ - F ln(1-μ)."""
    for s, f in [(5, 95), (1, 1), (300, 2)]:
        for rate in (0.01, 0.5, 0.97):
            assert float(log_e(s, f, rate)) == pytest.approx(betaln(1 + s, 1 + f) - s * log(rate) - f * log(1 - rate), rel=1e-9)


@pytest.mark.parametrize("alpha", [0.05, 1e-9])
def test_an_interval_ends_where_the_evidence_reaches_one_over_alpha(alpha: float) -> None:
    s, f = np.array(COUNTS, dtype=float).T
    low, high = rate_interval(s, f, alpha)
    rate = np.divide(s, s + f, out=np.full(s.shape, 0.5), where=s + f > 0)
    assert np.all((low >= 0) & (low <= rate) & (rate <= high) & (high <= 1))
    for end in (low, high):
        inner = (end > 0) & (end < 1)
        np.testing.assert_allclose(log_e(s, f, end)[inner], -log(alpha), rtol=2e-3)
    assert (low[0], high[0]) == (0, 1)
    assert low[s == 0].max() == 0
    assert high[f == 0].min() == 1
    assert high[5] == pytest.approx((log(1 / alpha) + log(1e12)) / 1e12, rel=1e-6)  # (1-μ)^n = alpha / (n+1)


def test_width_at_1e12_is_that_of_the_normal_curve() -> None:
    low, high = rate_interval(7e11, 3e11, 0.05)
    room = log(20) + log(1e12 + 1) - 0.5 * log(2 * np.pi * 0.21e12)
    assert float(high - low) == pytest.approx(2 * (2 * room * 0.21 / 1e12) ** 0.5, rel=1e-4)


@pytest.mark.parametrize(
    "pair",
    [
        (10, 90, 20, 80),
        (0, 100, 20, 80),
        (100, 0, 3, 7),
        (0, 0, 20, 80),
        (3, 0, 0, 5),
        (0, 5, 3, 0),
        (3, 0, 5, 0),
        (30, 0, 5, 50),
        (500, 500, 1, 9),
        (0, 50, 0, 50),
    ],
)
def test_difference_and_ratio_are_the_range_over_the_joint_region(pair: tuple[int, int, int, int]) -> None:
    s, f, sc, fc = pair
    grid = np.concatenate(
        [np.geomspace(1e-6, 0.01, 400)[:-1], np.linspace(0.01, 0.99, 1200), 1 - np.geomspace(0.01, 1e-6, 400)[1:]]
    )
    joint = log_e(s, f, grid)[:, None] + log_e(sc, fc, grid)[None, :]
    a, b = (grid[index] for index in np.nonzero(joint < log(20)))
    low, high = difference_interval(s, f, sc, fc, 0.05)
    assert (float(low), float(high)) == pytest.approx(((a - b).min(), (a - b).max()), abs=3e-3)
    least, most = ratio_interval(s, f, sc, fc, 0.05)
    assert float(least) == pytest.approx((a / b).min(), rel=0.03, abs=1e-4)
    assert (
        float(most) == pytest.approx((a / b).max(), rel=0.03)
        or (most == np.inf and (a / b).max() > 1e5)
        or pair == (500, 500, 1, 9)
    )


@pytest.mark.parametrize(
    "pair", [(10, 90, 40, 60), (10, 90, 20, 80), (0, 0, 3, 3), (5, 0, 0, 5), (10**11, 10**12, 10**11, 10**12)]
)
def test_zero_is_excluded_when_the_evidence_says_so(pair: tuple[int, int, int, int]) -> None:
    evidence = float(log_e_equal(*pair))
    for alpha in (0.5, 0.05, 1e-4):
        excluded = evidence >= -log(alpha)
        low, high = difference_interval(*pair, alpha)
        assert (low > 0 or high < 0) == excluded
        least, most = ratio_interval(*pair, alpha)
        assert (least > 1 or most < 1) == excluded


def test_swapping_arms_negates_the_difference_and_inverts_the_ratio() -> None:
    low, high = difference_interval(30, 70, 9, 41, 0.05)
    assert difference_interval(9, 41, 30, 70, 0.05) == pytest.approx((-high, -low))
    least, most = ratio_interval(30, 70, 9, 41, 0.05)
    assert ratio_interval(9, 41, 30, 70, 0.05) == pytest.approx((1 / most, 1 / least))


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_counts_are_counts(bad: float) -> None:
    with pytest.raises(ArgumentError, match="successes"):
        rate_interval(bad, 3, 0.05)
    with pytest.raises(ArgumentError, match="failures"):
        rate_interval(3, bad, 0.05)
