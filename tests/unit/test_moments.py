"""Moments, by hand. The laws are in tests/property/test_moments.py."""

from __future__ import annotations

import math

import numpy as np
import pytest

from allocator import ArgumentError, Moments, RecordError
from allocator.moments import STEPS_MAX, Layout, inverse_propensity, layout_of, quantise


def two_units() -> Moments:
    """Units (y1, y2) = (3, -1) with W = 2e6 and (5, 4) with W = 4e6."""
    layout, sums = layout_of(2), layout_of(2).empty()
    for weight, values in ((2_000_000, (3, -1)), (4_000_000, (5, 4))):
        y = [0, 0]
        layout.enter(sums, weight)
        for j, value in enumerate(values):
            layout.change(sums, weight, y, j, value)
        assert y == list(values)
    return Moments(2, tuple(sums))


def test_the_layout_is_the_documented_one() -> None:
    w1, w2 = 2_000_000, 4_000_000
    expected = [2, 8, 3, 9 + 25, -3 + 20, 1 + 16, w1 + w2, w1**2 + w2**2]
    expected += [w1 * 3 + w2 * 5, -w1 + w2 * 4]
    expected += [w1**2 * 3 + w2**2 * 5, -(w1**2) + w2**2 * 4]
    expected += [w1**2 * 9 + w2**2 * 25, w1**2 + w2**2 * 16]
    assert list(two_units().sums) == expected
    assert [Layout(m).length for m in (1, 3, 5, 10)] == [8, 21, 38, 98]


def test_derived_figures_in_natural_units() -> None:
    moments = two_units()
    assert (moments.n, moments.sum(0), moments.sum_squares(1)) == (2, 8, 17)
    assert moments.mean(0, 0.1) == pytest.approx(0.4)
    assert moments.variance(1, 0.1) == pytest.approx(0.125)
    np.testing.assert_allclose(moments.covariance([0.1, 1.0]), np.cov([[0.3, 0.5], [-1.0, 4.0]]))


def test_too_few_units_have_no_mean_and_no_variance() -> None:
    none = Moments.zero(2)
    assert math.isnan(none.mean(0))
    assert math.isnan(none.variance(0))
    assert np.isnan(none.covariance([1.0, 1.0])).all()


def test_nothing_cancels() -> None:
    layout, sums = layout_of(1), layout_of(1).empty()
    for value in (10**15, 10**15 - 1, 10**15 - 2):
        layout.enter(sums, 1_000_000)
        layout.change(sums, 1_000_000, [0], 0, value)
    assert Moments(1, tuple(sums)).variance(0) == 1.0


def test_moments_of_other_metrics_do_not_mix() -> None:
    with pytest.raises(ArgumentError, match="moments of 3 metrics"):
        Moments.zero(1) + Moments.zero(3)
    with pytest.raises(ArgumentError, match="moments of 1 metrics"):
        Moments.zero(3) - Moments.zero(1)
    with pytest.raises(ArgumentError, match="8 for 1 metrics"):
        Moments(1, (0, 0))
    with pytest.raises(ArgumentError, match="at least 1"):
        Moments.zero(0)


@pytest.mark.parametrize(
    "value, per_one, steps",
    [
        (0.5, 1, 1),
        (-0.5, 1, 0),
        (1.4999, 1, 1),
        (0.1, 1e6, 100_000),
        (-2.25, 4, -9),
        (1e15, 1, STEPS_MAX),
        (-1e15, 1, -STEPS_MAX),
    ],
)
def test_halves_round_up(value: float, per_one: float, steps: int) -> None:
    assert quantise(value, per_one) == steps


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.1e15, -1.1e15, 1e300])
def test_values_beyond_the_limit_are_no_records(value: float) -> None:
    with pytest.raises(RecordError, match="1e\\+15 steps"):
        quantise(value, 1.0)


def test_inverse_propensities_are_millionths() -> None:
    assert [inverse_propensity(p) for p in (1.0, 0.5, 0.3, 1e-6)] == [10**6, 2 * 10**6, 3_333_333, 10**12]
    assert inverse_propensity(0.008192) == 122_070_313  # 122070312.5
    for wrong in (0.0, 9e-7, 1.0000001, -0.5, math.nan, math.inf):
        with pytest.raises(RecordError, match="a probability in"):
            inverse_propensity(wrong)


@pytest.mark.parametrize("at, change", [(0, -3), (6, -5_000_000), (3, -30), (7, -(10**13))])
def test_a_lost_change_is_a_contradiction(at: int, change: int) -> None:
    sums = list(two_units().sums)
    assert layout_of(2).contradiction(sums) is None
    sums[at] += change
    assert layout_of(2).contradiction(sums) is not None


def test_the_widest_sums_hold() -> None:
    n, y, w = 10**12, STEPS_MAX, 10**12
    sums = [n, n * y, n * y * y, n * w, n * w * w, n * w * y, n * w * w * y, n * w * w * y * y]
    assert layout_of(1).contradiction(sums) is None
    assert Moments(1, tuple(sums)).mean(0, 1e-6) == 1e9
    assert Moments(1, tuple(sums)).variance(0) == 0.0
