"""e-BH and Bonferroni."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from allocator import ArgumentError
from allocator.inference import Estimate, bonferroni, differences, e_benjamini_hochberg, fixed_differences, means
from allocator.inference.p_values import always_valid
from tests.observed import counted

PLAIN = Estimate("b", "difference", 0.1, 0.0, 0.2, 0.05, 10, "m", ("x", "y"), against="a")


def of_e(*e_values: float) -> list[Estimate]:
    return [replace(PLAIN, e_value=e, p_value=min(1.0, 1 / e)) for e in e_values]


def test_e_bh_by_hand() -> None:
    """m = 4, alpha = .1: thresholds m / (alpha k) are 40, 20, 13.3, 10."""
    assert e_benjamini_hochberg(of_e(39, 19, 13, 9), 0.1).discovered == (False, False, False, False)
    assert e_benjamini_hochberg(of_e(39, 21, 1, 1), 0.1).discovered == (True, True, False, False)
    assert e_benjamini_hochberg(of_e(1, 10, 11, 1e6, 12)[1:], 0.1).discovered == (True, True, True, True)
    found = e_benjamini_hochberg(of_e(1, 50, 1, 1), 0.1)
    assert found.discovered == (False, True, False, False)
    assert found.interval_alpha == pytest.approx(0.025)
    assert "false discovery rate" in found.method


def test_bonferroni_by_hand() -> None:
    found = bonferroni(of_e(79, 81, 1, 1), 0.05)
    assert found.discovered == (False, True, False, False)
    assert found.interval_alpha == 0.0125
    assert found.assumptions == ("x", "y", "every comparison that was looked at is in the list")


def test_e_bh_finds_at_least_what_bonferroni_does() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        estimates = of_e(*np.exp(rng.normal(2, 2, rng.integers(1, 12))))
        by_bonferroni, by_e_bh = bonferroni(estimates).discovered, e_benjamini_hochberg(estimates).discovered
        assert all(e or not b for b, e in zip(by_bonferroni, by_e_bh, strict=True))


def test_over_arms_and_metrics() -> None:
    clicks = counted({"a": (100, 1000), "b": (100, 1000), "c": (180, 1000)}, periods=5)
    orders = counted({"a": (20, 1000), "b": (60, 1000), "c": (20, 1000)}, periods=5)
    estimates = [*differences(clicks, "a"), *differences(orders, "a")]
    for found in (e_benjamini_hochberg(estimates), bonferroni(estimates), bonferroni(fixed_differences(clicks, "a"))):
        assert found.discovered[:2] == (False, True)
    assert e_benjamini_hochberg(estimates).discovered == (False, True, True, False)


def test_none_to_compare() -> None:
    assert e_benjamini_hochberg([]).discovered == bonferroni([]).discovered == ()


def test_what_has_no_evidence_cannot_be_corrected() -> None:
    seen = counted({"a": (10, 100), "b": (10, 100)})
    with pytest.raises(ArgumentError, match="estimates with an e-value"):
        e_benjamini_hochberg(fixed_differences(seen, "a"))
    with pytest.raises(ArgumentError, match="estimates with a p-value"):
        bonferroni(means(seen))
    with pytest.raises(ArgumentError, match="alpha"):
        bonferroni([], 0.0)


def test_always_valid_p() -> None:
    assert always_valid(-3.0) == pytest.approx((1.0, np.exp(-3.0)))
    assert always_valid(3.0) == pytest.approx((np.exp(-3.0), np.exp(3.0)))
    p, e = always_valid(1e6)
    assert 0 < p < 1e-300
    assert np.isfinite(e)
