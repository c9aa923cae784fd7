"""Each arm's mean, by every method."""

from __future__ import annotations

import numpy as np
import pytest

from allocator import ArgumentError, Moments
from allocator.experiment import Metric
from allocator.inference import Observations, means
from allocator.inference.bernoulli import rate_interval
from tests.observed import counted, observed


def test_binary_metrics_get_the_beta_mixture() -> None:
    a, b = means(counted({"a": (5, 100), "b": (0, 0)}))
    assert a.method == "Beta(1, 1)-mixture confidence sequence"
    assert (a.low, a.high) == pytest.approx(tuple(map(float, rate_interval(5, 95, 0.05))))
    assert (a.estimate, a.n, a.quantity, a.p_value) == (0.05, 100, "mean", None)
    assert (b.low, b.high, b.n) == (0.0, 1.0, 0)
    assert np.isnan(b.estimate)


def test_bounded_values_get_empirical_bernstein_in_their_own_unit() -> None:
    rng = np.random.default_rng(8)
    values = 20 + 10 * rng.beta(2, 5, 4000)
    periods = [[("a", 1.0, float(v)) for v in values[i : i + 500]] for i in range(0, 4000, 500)]
    (a,) = means(observed(Metric(type="value"), "a", periods, bounds=(20, 30)))
    assert a.method.startswith("empirical-Bernstein")
    assert a.low < values.mean() < a.high
    fixed_horizon = 1.96 * values.std() / 4000**0.5
    assert a.high - a.low < 2 * 3 * fixed_horizon


def test_other_values_get_the_asymptotic_sequence() -> None:
    rng = np.random.default_rng(9)
    values = 1e9 + rng.standard_normal(2000)
    (a,) = means(observed(Metric(type="value", resolution=1e-4), "a", [[("a", 1.0, float(v)) for v in values]]))
    assert a.method.startswith("asymptotic")
    assert a.low < values.mean() < a.high
    assert a.high - a.low < 2 * 2 * 1.96 / 2000**0.5


@pytest.mark.parametrize("method", ["empirical-bernstein", "asymptotic"])
def test_steady_means_are_the_same_over_all_units(method: str) -> None:
    seen = counted({"a": (100, 1000), "b": (300, 1000)}, periods=10)
    for own, over_all in zip(means(seen, method=method), means(seen, method=method, over_all=True), strict=True):  # type: ignore[arg-type]
        assert over_all.estimate == pytest.approx(own.estimate, abs=1e-9)
        assert (own.n, over_all.n) == (10_000, 20_000)
        assert over_all.high - over_all.low == pytest.approx(own.high - own.low, rel=0.05)  # w Σ 1 = T: nothing is lost


def test_over_all_units_a_binary_metric_is_a_bounded_one() -> None:
    seen = counted({"a": (10, 100)})
    assert means(seen, over_all=True)[0].method.startswith("empirical-Bernstein")
    with pytest.raises(ArgumentError, match="mean over all units"):
        means(seen, over_all=True, method="beta-mixture")


def test_binary_counts_must_be_counts() -> None:
    with pytest.raises(ArgumentError, match="bounds"):
        means(Observations(Metric(type="binary"), 0, ("a",), [{"a": Moments(1, (2, 3, 9, 2 * 10**6, 2 * 10**12, 0, 0, 0))}]))
