"""Empirical Bernstein against an independent program, and how sums, guesses and scales enter."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from allocator import ArgumentError
from allocator.inference.boundaries import gamma_exponential_bound
from allocator.inference.empirical_bernstein import RHO, TwoSided, augmented, of_contrast, of_own_units, weighted
from allocator.inference.period_sums import PeriodSums
from allocator.inference.pseudo_outcomes import Contrast
from allocator.quadrature import FloatArray


def one_unit_a_period(arm: FloatArray, w: FloatArray, y: FloatArray) -> PeriodSums:
    """Two arms; `arm`, `w`, `y` of shape (units,)."""
    got = np.stack([arm == 0, arm == 1], axis=1).astype(float)

    def column(x: FloatArray) -> FloatArray:
        return got * x[:, None]

    ones = np.ones_like(w)
    values = (ones, y, y * y, w, w * w, w * y, w * w * y, w * w * y * y)
    return PeriodSums(*map(column, values), present=np.ones(2, dtype=bool))


def logged(units: int = 400) -> PeriodSums:
    """A log by formula: arm 0 has propensity .7 at every third unit, else .4."""
    t = np.arange(1, units + 1)
    p = np.where(t % 3 == 0, 0.7, 0.4)
    arm = np.where((t * 7919) % 1000 < 1000 * p, 0, 1)
    return one_unit_a_period(arm, np.where(arm == 0, 1 / p, 1 / (1 - p)), (t * 104729) % 97 / 96)


@pytest.mark.parametrize(
    "units,alpha,low,high",
    [
        (20, 0.05, 0.0, 1.0),
        (50, 0.05, 0.0804765058019347, 0.8812896495173184),
        (50, 0.2, 0.14838441999067714, 0.8168040798430163),
        (100, 0.05, 0.25159719552510246, 0.7677359069261347),
        (400, 0.05, 0.36457171427928836, 0.6326175198933783),
        (400, 0.2, 0.38169997465956673, 0.6155655374515412),
    ],
)
def test_agrees_with_vw_estimators(units: int, alpha: float, low: float, high: float) -> None:
    """vw-estimators 0.2.2, estimators.bandits.cs.Interval(0, 1): for each unit of `logged` add_example(p_log=1 / w, r=y, p_pred=1
    for arm 0 else 0), then get(alpha). It predicts from one unit to the next, so here a unit is a period.
    """
    above, below = weighted(logged(), Contrast(), rho=1.0)
    found = TwoSided((above,), (below,), 0.0, 1.0).interval(alpha)
    assert [float(end[units - 1, 0]) for end in found] == pytest.approx([low, high], abs=1e-9)


def test_bounds_shift_and_scale_the_interval() -> None:
    """The same program with Interval(-2, 6) and y = 8 · share - 2 says (0.9165737142343136, 3.0609401591470267)."""
    sums = logged()
    wide = one_unit_a_period(np.where(sums.n[:, 0] > 0, 0, 1), sums.w.sum(axis=1), 8 * sums.y.sum(axis=1) - 2).scaled(-2.0, 6.0)
    above, below = weighted(wide, Contrast(), rho=1.0)
    low, high = TwoSided((above,), (below,), 0.0, 1.0).interval(0.05)
    assert -2 + 8 * float(low[-1, 0]) == pytest.approx(0.9165737142343136, abs=1e-7)
    assert -2 + 8 * float(high[-1, 0]) == pytest.approx(3.0609401591470267, abs=1e-7)


def test_a_single_kind_inverts_the_gamma_exponential_curve() -> None:
    above, below = weighted(logged(), Contrast(1))
    low, high = TwoSided((above,), (below,), -1.0, 1.0).interval(0.05)
    for evidence, end in ((above, low), (below, -high)):
        curve = gamma_exponential_bound(evidence.squares, 0.025, RHO * 4, 2.0)
        np.testing.assert_allclose(end[50:, 0], ((evidence.total - curve) / evidence.n)[50:, 0], atol=1e-9)


def test_the_interval_is_what_the_evidence_does_not_exclude() -> None:
    found = of_contrast(logged(), Contrast(1), propensity_min=0.3)
    for end in found.interval(0.05):
        inner = np.abs(end[:, 0]) < 1
        np.testing.assert_allclose(found.log_e(end)[inner, 0], log(20), atol=1e-6)
    assert np.all(np.diff(found.interval(0.5)[0] >= found.interval(0.05)[0]) == 0)


def test_a_difference_is_mirrored_by_swapping_arms() -> None:
    low, high = of_contrast(logged(), Contrast(0), 0.3).interval(0.05)
    mirrored_low, mirrored_high = of_contrast(logged(), Contrast(1), 0.3).interval(0.05)
    np.testing.assert_allclose(low[:, 1], -mirrored_high[:, 0], atol=1e-9)
    np.testing.assert_allclose(high[:, 1], -mirrored_low[:, 0], atol=1e-9)


def test_own_units_need_no_propensities() -> None:
    sums = logged()
    nothing = np.zeros_like(sums.w)
    blind = PeriodSums(sums.n, sums.y, sums.y2, nothing, nothing, nothing, nothing, nothing, sums.present)
    low, high = of_own_units(blind).interval(0.05)
    mean = np.cumsum(sums.y, axis=0) / np.maximum(np.cumsum(sums.n, axis=0), 1)
    assert np.all((low <= mean) & (mean <= high) | (np.cumsum(sums.n, axis=0) == 0))
    assert float((high - low)[-1].max()) < 0.4


def test_a_first_period_does_not_know_the_rate_and_pays_little_for_it() -> None:
    """1000 units of rate .01 in one period. Guessing ½ alone would be five times as wide as knowing the rate."""
    n, y = np.array([[1000.0]]), np.array([[10.0]])
    zero = np.zeros_like(n)
    low, high = of_own_units(PeriodSums(n, y, y, zero, zero, zero, zero, zero, np.ones(1, dtype=bool))).interval(0.05)
    known = 2 * float(gamma_exponential_bound(9.9, 0.025, RHO)) / 1000
    assert float(high[0, 0] - low[0, 0]) < 1.3 * known
    blind = 2 * float(gamma_exponential_bound(1000 * (0.0099 + 0.49**2), 0.025, RHO)) / 1000
    assert blind > 3 * known


def test_augmenting_pays_where_the_floor_is_known() -> None:
    """Values near .9 in both arms: weighting alone sees w y jump between 1.8 and .2, augmenting only the spread of y."""
    rng = np.random.default_rng(3)
    arm = rng.integers(0, 2, 3000)
    sums = one_unit_a_period(arm, np.full(3000, 2.0), 0.85 + 0.1 * rng.random(3000))
    with_floor, without = (of_contrast(sums, Contrast(0), least).last().interval(0.05) for least in (0.5, None))
    assert float((with_floor[1] - with_floor[0])[0, 1]) < 0.3 * float((without[1] - without[0])[0, 1])


@pytest.mark.parametrize("least", [0.0, 1e-6, 1.5, float("nan")])
def test_a_least_propensity_is_a_probability(least: float) -> None:
    with pytest.raises(ArgumentError, match="propensity_min"):
        of_contrast(logged(), Contrast(), least)


def test_a_least_propensity_that_the_sums_contradict() -> None:
    augmented(logged(), Contrast(), 0.3, 0.5)
    with pytest.raises(ArgumentError, match="smaller one were counted"):
        augmented(logged(), Contrast(), 0.5, 0.5)
