"""Discounted and sliding-window Thompson: what an age is, and what it takes from a unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from allocator import ArgumentError, load_experiment, prob_best_beta
from allocator.evidence import Evidence
from allocator.policies import Context, DiscountedThompson, SlidingWindowThompson, Thompson
from allocator.policies.aged import pooled
from allocator.policies.protocol import Policy
from allocator.samples import samples_of
from tests.trained import context_of, sums_of

DAY = 86400.0
N = {0: (1000, 1000), 1: (100, 100), 3: (50, 80)}
GOOD = {0: (700, 300), 1: (40, 50), 3: (20, 40)}
NOW = 3.5 * DAY


def experiment(**changes: Any) -> Any:
    return load_experiment({"experiment": "x", "arms": ["a", "b"], "metrics": {"good": "binary"}, "period": "1d", **changes})


def context(now: float = NOW) -> Context:
    cells = {("", period, arm): sums_of(N[period][k], [GOOD[period][k]]) for period in N for k, arm in enumerate("ab")}
    return context_of(experiment(), cells, now)


def asked(policy: Policy, at: Context) -> list[float]:
    return policy.weights(at.posteriors(), at).tolist()


def expected(weights: dict[int, float]) -> list[float]:
    good = [sum(w * GOOD[period][k] for period, w in weights.items()) for k in (0, 1)]
    units = [sum(w * N[period][k] for period, w in weights.items()) for k in (0, 1)]
    return prob_best_beta([1 + g for g in good], [1 + n - g for n, g in zip(units, good, strict=True)]).tolist()


def test_a_unit_counts_gamma_to_its_age_in_periods() -> None:
    assert asked(DiscountedThompson(0.5), context()) == pytest.approx(expected({3: 1, 1: 0.25, 0: 0.125}), abs=1e-9)


def test_a_period_later_every_unit_counts_gamma_times_as_much() -> None:
    assert asked(DiscountedThompson(0.5), context(NOW + DAY)) == pytest.approx(expected({3: 0.5, 1: 0.125, 0: 0.0625}), abs=1e-9)


def test_gamma_of_one_and_a_window_of_everything_are_thompson() -> None:
    at = context()
    plain = asked(Thompson(), at)
    assert asked(DiscountedThompson(1), at) == pytest.approx(plain, abs=1e-12)
    assert asked(SlidingWindowThompson("30d"), at) == pytest.approx(plain, abs=1e-12)


@pytest.mark.parametrize("window, periods", [("1d", [3]), ("2d", [3]), ("60h", [3, 1]), (3 * DAY, [3, 1]), ("4d", [3, 1, 0])])
def test_periods_of_an_age_below_the_window_count(window: Any, periods: list[int]) -> None:
    assert asked(SlidingWindowThompson(window), context()) == pytest.approx(expected(dict.fromkeys(periods, 1.0)), abs=1e-9)


def test_without_units_in_the_window_all_is_open() -> None:
    assert asked(SlidingWindowThompson("1d"), context(30 * DAY)) == pytest.approx([0.5, 0.5], abs=1e-9)


def test_traffic_follows_an_arm_that_has_changed() -> None:
    at = context()
    assert asked(Thompson(), at)[0] > 0.999
    assert asked(DiscountedThompson(0.1), at)[1] > 0.6
    assert asked(SlidingWindowThompson("1d"), at)[1] > 0.8


def test_periods_pooled_without_weights_are_the_total() -> None:
    spec = experiment(metrics={"ms": {"type": "value", "resolution": 0.01}})
    cells = {("", t, arm): sums_of(9, [s], [s * s // 9 + 40]) for t, arm, s in [(0, "a", 70), (1, "a", 90), (1, "b", 10**9)]}
    evidence = context_of(spec, cells).evidence
    metric = spec.metrics["ms"]
    parts = [(samples_of(metric, 0, moments), 1.0) for moments in evidence.by_period.values()]
    whole, found = samples_of(metric, 0, evidence.total), pooled(parts)
    np.testing.assert_allclose(found.n, whole.n)
    np.testing.assert_allclose(found.total + found.n * (found.origin - whole.origin), whole.total, rtol=1e-9)
    np.testing.assert_allclose(found.squares, whole.squares, rtol=1e-6)


@pytest.mark.parametrize("policy", [DiscountedThompson(), SlidingWindowThompson()])
def test_evidence_without_periods_is_refused(policy: Policy) -> None:
    spec = experiment()
    evidence = Evidence(spec.arm_ids, 1, {"": {"a": sums_of(5, [1])}})
    at = Context.of(spec, evidence, 0.0)
    with pytest.raises(ArgumentError, match="periods: 'none': expected moments by period"):
        policy.weights(at.posteriors(), at)


@pytest.mark.parametrize("gamma", [0, 1.1, float("nan"), "x", None])
def test_gamma_has_a_domain(gamma: Any) -> None:
    with pytest.raises(ArgumentError, match="gamma"):
        DiscountedThompson(gamma)


@pytest.mark.parametrize("window", [0, -1, "7 days", float("nan"), None, True])
def test_window_is_a_duration(window: Any) -> None:
    with pytest.raises(ArgumentError, match="window"):
        SlidingWindowThompson(window)
