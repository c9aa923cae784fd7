"""Thompson: weights are P(best)."""

from __future__ import annotations

import numpy as np
import pytest

from allocator import ArgumentError, prob_best_beta
from allocator.policies import Thompson
from allocator.posterior import BetaPosteriors

POSTERIORS = BetaPosteriors(("a", "b", "c"), np.array([30.0, 40.0, 34.0]), np.array([70.0, 60.0, 66.0]))


def test_weights_are_the_probability_of_being_best() -> None:
    weights = Thompson().weights(POSTERIORS)
    np.testing.assert_allclose(weights, prob_best_beta(POSTERIORS.a, POSTERIORS.b), atol=1e-9)
    assert weights.sum() == pytest.approx(1, abs=1e-15)


def test_a_lower_temper_explores_more() -> None:
    plain, flat = Thompson().weights(POSTERIORS), Thompson(temper=0.5).weights(POSTERIORS)
    np.testing.assert_allclose(flat, np.sqrt(plain) / np.sqrt(plain).sum(), rtol=1e-12)


@pytest.mark.parametrize("temper", [0.0, -1.0, 1.5, float("nan")])
def test_temper_has_a_domain(temper: float) -> None:
    with pytest.raises(ArgumentError, match="temper"):
        Thompson(temper)


def test_the_chance_of_a_worse_arm_falls_as_units_come() -> None:
    shares = [
        Thompson().weights(BetaPosteriors(("a", "b"), n * np.array([0.4, 0.5]), n * np.array([0.6, 0.5])))[0]
        for n in (50, 500, 5000)
    ]
    assert shares == sorted(shares, reverse=True)
    assert 0 < shares[-1] < 1e-10
