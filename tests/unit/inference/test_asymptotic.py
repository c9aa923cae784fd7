"""Asymptotic sequences: what they demand before they say anything, and that they have no unit."""

from __future__ import annotations

import numpy as np
import pytest

from allocator import ArgumentError
from allocator.experiment import Metric
from allocator.inference import differences, lifts, means
from allocator.inference.asymptotic import of_contrast, of_own_units
from allocator.inference.boundaries import best_rho, normal_bound
from allocator.inference.period_sums import PeriodSums
from allocator.inference.pseudo_outcomes import Contrast
from tests.observed import Unit, observed


def units(n: int, seed: int = 1, scale: float = 1.0, shift: float = 0.0) -> list[Unit]:
    rng = np.random.default_rng(seed)
    return [("ab"[int(rng.random() < 0.5)], 0.5, float(scale * round(rng.exponential(), 3) + shift)) for _ in range(n)]


def sums(n: list[float], mean: list[float], sd: float, periods: int = 1, w: float = 2.0) -> PeriodSums:
    """The same in every period, two arms."""
    count = np.tile(n, (periods, 1))
    y, y2 = count * mean, count * (np.square(mean) + sd**2)
    return PeriodSums(count, y, y2, w * count, w * w * count, w * y, w * w * y, w * w * y2, np.ones(2, dtype=bool))


def test_below_the_demanded_units_it_says_nothing_and_why() -> None:
    seen = observed(Metric(type="value"), "ab", [units(120)])
    for estimate in (*means(seen), *differences(seen, "a"), *lifts(seen, "a")):
        assert (estimate.low, estimate.high) == (-np.inf, np.inf)
        assert "equally weighted units, 100 are demanded" in estimate.refusal
        assert estimate.p_value in (None, 1.0)
    for estimate in (*means(seen, units_min=40), *differences(seen, "a", units_min=40)):
        assert estimate.refusal == ""
        assert -np.inf < estimate.low < estimate.estimate < estimate.high < np.inf


def test_unequal_weights_are_worth_fewer_units() -> None:
    """99 units of weight 1.01 and one of weight 100 weigh like 4."""
    seen = [("a", 1 / 1.01, 1.0)] * 99 + [("a", 0.01, 2.0)] + [("b", 0.5, 1.0), ("b", 0.5, 2.0)] * 100
    estimate = differences(observed(Metric(type="value"), "ab", [seen]), "a")[0]
    assert estimate.refusal.startswith("worth 4 equally weighted units")


def test_once_qualified_always_so() -> None:
    """A rare unit of huge weight lowers the effective number of units again; the interval widens but stays."""
    first = sums([150, 150], [1.0, 1.0], 1.0)
    heavy = sums([1, 1], [1.0, 1.0], 1.0, w=100.0)
    both = PeriodSums(*(np.concatenate([getattr(x, f) for x in (first, heavy)]) for f in FIELDS), present=first.present)
    found = of_contrast(both, Contrast(0))
    assert found.effective[-1, 1] < 100
    assert found.qualified[-1, 1]
    low, high = found.interval(0.05)
    assert (high - low)[1, 1] > (high - low)[0, 1]


FIELDS = ("n", "y", "y2", "w", "w2", "wy", "w2y", "w2y2")


def test_equal_values_tell_no_spread() -> None:
    seen = observed(Metric(type="value"), "ab", [[("a", 0.5, 3.0), ("b", 0.5, 3.0)] * 500])
    estimate = differences(seen, "a")[0]
    assert (estimate.low, estimate.high, estimate.estimate) == (-np.inf, np.inf, 0.0)
    assert estimate.refusal == "all values so far are equal"


def test_an_arm_without_spread_borrows_that_of_all() -> None:
    """150 zeros say little where the other arm has a rate of .1: the interval is far from a point."""
    seen = [("a", 0.5, 0.0)] * 150 + [("b", 0.5, float(i % 10 == 0)) for i in range(1500)]
    estimate = means(observed(Metric(type="value"), "ab", [seen]), method="asymptotic")[0]
    assert estimate.estimate == 0.0
    assert estimate.high > 0.05


def test_the_curve_is_the_normal_mixture_tuned_to_the_first_look_that_qualifies() -> None:
    found = of_own_units(sums([200, 200], [0.0, 0.0], 3.0, periods=5))
    low, high = found.interval(0.05)
    v = 9.0 * 200 * np.arange(1, 6)
    np.testing.assert_allclose((high - low)[:, 0] / 2, normal_bound(v, 0.05, best_rho(2 * v[0])) / (200 * np.arange(1, 6)))


@pytest.mark.parametrize("scale,shift", [(1000.0, 0.0), (0.01, 0.0), (1.0, 1e9), (-1.0, 5.0)])
def test_no_unit_and_no_origin(scale: float, shift: float) -> None:
    metric = Metric(type="value", resolution=1e-5)
    plain = differences(observed(metric, "ab", [units(300), units(900, seed=2)]), "a")[0]
    moved = differences(observed(metric, "ab", [units(300, 1, scale, shift), units(900, 2, scale, shift)]), "a")[0]
    ends = sorted([scale * plain.low, scale * plain.high])
    assert (moved.low, moved.high) == pytest.approx(ends, rel=1e-4)
    assert moved.estimate == pytest.approx(scale * plain.estimate, rel=1e-5)
    assert moved.p_value == pytest.approx(plain.p_value)


def test_units_min_has_a_domain() -> None:
    with pytest.raises(ArgumentError, match="units_min"):
        means(observed(Metric(type="value"), "ab", [units(10)]), units_min=1)
