"""Fixed-horizon tests against scipy's own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from allocator import ArgumentError
from allocator.experiment import Metric
from allocator.inference import fixed_differences, fixed_lifts
from tests.observed import counted, observed


def test_two_proportions() -> None:
    """The pooled z test is Pearson's χ² on the 2 × 2 table without correction."""
    found = fixed_differences(counted({"a": (200, 1000), "b": (240, 1100)}), "a")[0]
    table = [[200, 800], [240, 860]]
    assert found.p_value == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue)
    se = (0.2 * 0.8 / 1000 + (240 / 1100) * (860 / 1100) / 1100) ** 0.5
    d = 240 / 1100 - 0.2
    assert (found.estimate, found.low, found.high) == pytest.approx((d, d - 1.959964 * se, d + 1.959964 * se))
    assert not found.anytime
    assert any("peeking invalidates it" in sentence for sentence in found.assumptions)
    assert found.e_value is None


def test_welch() -> None:
    rng = np.random.default_rng(4)
    a, b = np.round(rng.normal(5, 1, 40), 6), np.round(rng.normal(5.5, 3, 25), 6)
    units = [("a", 0.5, float(y)) for y in a] + [("b", 0.5, float(y)) for y in b]
    found = fixed_differences(observed(Metric(type="value"), "ab", [units[:30], units[30:]]), "a", alpha=0.1)[0]
    reference = stats.ttest_ind(b, a, equal_var=False)
    interval = reference.confidence_interval(0.9)
    assert found.p_value == pytest.approx(reference.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.method == "fixed horizon, Welch's t test and interval"


def test_lift_by_the_delta_method() -> None:
    """Gradient of μ_k / μ_c at (.12, .1) is (10, -12)."""
    found = fixed_lifts(counted({"a": (1000, 10000), "b": (1200, 10000)}), "a")[0]
    se = (10**2 * 0.12 * 0.88 / 10000 + 12**2 * 0.1 * 0.9 / 10000) ** 0.5
    assert (found.estimate, found.low, found.high) == pytest.approx((0.2, 0.2 - 1.959964 * se, 0.2 + 1.959964 * se))
    assert found.p_value == pytest.approx(2 * stats.norm.sf(0.2 / se))


def test_what_cannot_be_compared_is_refused() -> None:
    none = fixed_differences(counted({"a": (1, 10), "b": (0, 1)}), "a")[0]
    assert (none.low, none.high, none.p_value) == (-np.inf, np.inf, 1.0)
    assert "fewer than 2 units" in none.refusal
    zero = fixed_lifts(counted({"a": (0, 100), "b": (3, 100)}), "a")[0]
    assert zero.refusal == "control's mean is not above 0"
    assert (zero.low, zero.high, zero.p_value) == (-np.inf, np.inf, 1.0)


def test_equal_values_do_not_differ() -> None:
    same = fixed_differences(counted({"a": (0, 100), "b": (0, 100)}), "a")[0]
    assert (same.estimate, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ArgumentError, match="alpha"):
        fixed_differences(counted({"a": (0, 100), "b": (0, 100)}), "a", alpha=0.0)
    with pytest.raises(ArgumentError, match="control"):
        fixed_lifts(counted({"a": (0, 100), "b": (0, 100)}), "z")
