"""Differences under adaptive allocation, from moments: by hand, with arms that come and go, and under drift."""

from __future__ import annotations

import numpy as np
import pytest

from allocator import ArgumentError, Moments
from allocator.experiment import Metric
from allocator.inference import Observations, differences, means
from allocator.inference.observations import Method
from tests.observed import Unit, counted, observed

BINARY = Metric(type="binary", resolution=1.0)
METHODS: tuple[Method, ...] = ("beta-mixture", "empirical-bernstein", "asymptotic")


def test_the_estimate_is_the_mean_of_predictable_aipw_outcomes() -> None:
    """Unit by unit: m + w 1 (y - m), with m from earlier periods, drawn by one unit to all arms' mean; first their mean now."""
    rng = np.random.default_rng(5)
    periods: list[list[Unit]] = []
    for _ in range(4):
        chosen = rng.random(200) < (share := rng.choice([0.3, 0.6], 200))
        periods.append(
            [("b" if b else "a", float(p if b else 1 - p), float(rng.integers(0, 8))) for b, p in zip(chosen, share, strict=True)]
        )
    total, n = {"a": 0.0, "b": 0.0}, 0
    for number, units in enumerate(periods):
        earlier = [unit for period in periods[:number] for unit in period]
        pooled = np.mean([y for _, _, y in earlier or units])
        for arm in "ab":
            own = [y for name, _, y in earlier if name == arm]
            m = (sum(own) + pooled) / (len(own) + 1)
            total[arm] += sum(m + ((y - m) / p if name == arm else 0.0) for name, p, y in units)
        n += len(units)
    found = differences(observed(Metric(type="count", resolution=1.0), "ab", periods), "a")[0]
    assert found.estimate == pytest.approx((total["b"] - total["a"]) / n, abs=1e-6)
    assert (found.n, found.against, found.arm) == (n, "a", "b")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("b", [(100, 1000), (140, 1000), (250, 1000), (900, 1000)])
def test_p_e_and_interval_agree(method: Method, b: tuple[int, int]) -> None:
    seen = counted({"a": (100, 1000), "b": b}, periods=3)
    for alpha in (0.3, 0.05, 0.001):
        found = differences(seen, "a", alpha=alpha, method=method)[0]
        assert found.p_value is not None
        assert found.e_value is not None
        assert (found.p_value <= alpha) == (found.low > 0 or found.high < 0)
        assert found.p_value == pytest.approx(min(1.0, 1 / found.e_value))
        assert found.low <= found.estimate <= found.high
        assert found.anytime


def test_a_difference_that_is_there_is_found() -> None:
    for method in METHODS:
        found = differences(counted({"a": (100, 1000), "b": (160, 1000)}, periods=10), "a", method=method)[0]
        assert found.estimate == pytest.approx(0.06)
        assert found.low > 0.02
        assert found.high < 0.1


def test_what_is_used_by_default_is_said() -> None:
    seen = counted({"a": (100, 1000), "b": (100, 1000)})
    bounded = differences(seen, "a")[0]
    assert bounded.method == "empirical-Bernstein confidence sequence of importance-weighted and predictable AIPW outcomes"
    assert "no unit had a propensity below 0.5" in bounded.assumptions
    assert "every value lies within the declared bounds" in bounded.assumptions
    unbounded = differences(observed(Metric(type="value"), "ab", [[("a", 0.5, 1.0)] * 10]), "a")[0]
    assert unbounded.method.startswith("asymptotic")
    assert any("in the limit of many units" in sentence for sentence in unbounded.assumptions)


def test_an_arm_added_later_is_compared_over_its_own_periods() -> None:
    """Control doubles its rate just when arm c comes: over all periods c would look twice as good."""
    early, late = counted({"a": (100, 1000), "b": (100, 1000)}), counted({"a": (200, 1000), "b": (200, 1000), "c": (200, 1000)})
    seen = Observations(BINARY, 0, ("a", "b", "c"), [*early.periods, *early.periods, *late.periods], propensity_min=1 / 3)
    for method in ("empirical-bernstein", "asymptotic"):
        b, c = differences(seen, "a", method=method)
        assert b.n == 2 * 2000 + 3000
        assert c.n == 3000
        assert c.estimate == pytest.approx(0.0, abs=0.003)
        assert c.low < 0 < c.high
    by_rates = differences(seen, "a", method="beta-mixture")[1]
    assert by_rates.estimate == pytest.approx(0.2 - 400 / 3000)  # what it assumes does not hold here


def test_drift_that_moves_with_the_allocation_fools_rates_but_not_weighted_outcomes() -> None:
    """Simpson: both arms go from .1 to .5 while b goes from 10 % to 90 % of traffic. They never differ."""
    cells = []
    for rate, share in ((0.1, 0.1), (0.5, 0.9)):
        a = counted({"a": (round(rate * 10000 * (1 - share)), round(10000 * (1 - share)))}, propensity=1 - share)
        b = counted({"b": (round(rate * 10000 * share), round(10000 * share))}, propensity=share)
        cells.append({**a.periods[0], **b.periods[0]})
    seen = Observations(BINARY, 0, ("a", "b"), cells, propensity_min=0.1)
    assert differences(seen, "a", method="beta-mixture")[0].low > 0.2
    for method in ("empirical-bernstein", "asymptotic"):
        found = differences(seen, "a", method=method)[0]
        assert found.low < 0 < found.high
        assert found.estimate == pytest.approx(0.0, abs=1e-6)
        a, b = means(seen, over_all=True, method=method)
        assert a.estimate == pytest.approx(0.3, abs=1e-6)
        assert b.estimate == pytest.approx(0.3, abs=1e-6)


def test_propensities_that_cannot_have_been_used_are_said_to_be_wrong() -> None:
    """All 500 units got b, at a logged propensity of .1: no difference explains that."""
    found = differences(counted({"a": (0, 0), "b": (50, 500)}, propensity=0.1), "a")[0]
    assert (found.low, found.high, found.p_value) == (-1.0, 1.0, 1.0)
    assert found.refusal.startswith("no value agrees with the evidence")


@pytest.mark.parametrize("method", METHODS)
def test_nothing_seen_is_nothing_known(method: Method) -> None:
    for periods in ([], [{}], [{"a": Moments.zero(1), "b": Moments.zero(1)}]):
        found = differences(Observations(BINARY, 0, ("a", "b"), periods, propensity_min=0.1), "a", method=method)[0]
        assert np.isnan(found.estimate)
        assert found.low <= -1
        assert found.high >= 1
        assert (found.p_value, found.n) == (1.0, 0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("b", [(0, 10**12), (10**12, 10**12), (10**11, 10**12), (1, 1), (0, 1)])
def test_extremes_are_finite_and_sensible(method: Method, b: tuple[int, int]) -> None:
    found = differences(counted({"a": (10**11, 10**12), "b": b}), "a", method=method)[0]
    assert found.low <= found.estimate <= found.high
    if b[1] > 1:
        assert found.high - found.low < 1e-4
        truth = b[0] / b[1] - 0.1
        assert found.low <= truth + 1e-9
        assert found.high >= truth - 1e-9


@pytest.mark.parametrize("method", METHODS)
def test_one_arm_has_no_difference(method: Method) -> None:
    assert differences(counted({"a": (3, 10)}), "a", method=method) == ()


def test_a_thousand_arms() -> None:
    arms = {f"arm-{k}": (10 + k % 7, 100) for k in range(1000)}
    found = differences(counted(arms), "arm-0")
    assert len(found) == 999
    assert all(estimate.low <= estimate.estimate <= estimate.high for estimate in found)


def test_bad_arguments_are_named() -> None:
    seen = counted({"a": (3, 10), "b": (5, 10)})
    with pytest.raises(ArgumentError, match="control"):
        differences(seen, "c")
    with pytest.raises(ArgumentError, match="alpha"):
        differences(seen, "a", alpha=1.0)
    with pytest.raises(ArgumentError, match="method"):
        differences(seen, "a", method="guess")  # type: ignore[arg-type]
    values = observed(Metric(type="value"), "ab", [[("a", 0.5, 3.0)]])
    with pytest.raises(ArgumentError, match="bounds of the metric"):
        differences(values, "a", method="empirical-bernstein")
    with pytest.raises(ArgumentError, match="type value"):
        differences(values, "a", method="beta-mixture")
    with pytest.raises(ArgumentError, match="hold every value of a in periods"):
        differences(observed(Metric(type="value"), "ab", [[("a", 0.5, 3.0)]], bounds=(0, 2)), "a")
    with pytest.raises(ArgumentError, match="two finite numbers"):
        observed(Metric(type="value"), "ab", [], bounds=(2, 2))
    with pytest.raises(ArgumentError, match=r"periods\[0\]"):
        differences(Observations(BINARY, 0, ("a",), [{"b": Moments.zero(1)}]), "a")
    with pytest.raises(ArgumentError, match="at least 2"):
        differences(Observations(BINARY, 1, ("a",), [{"a": Moments.zero(1)}]), "a")
    with pytest.raises(ArgumentError, match="none of them twice"):
        differences(Observations(BINARY, 0, ("a", "a"), []), "a")
    with pytest.raises(ArgumentError, match="contradict each other"):
        differences(Observations(BINARY, 0, ("a",), [{"a": Moments(1, (-1, 0, 0, 0, 0, 0, 0, 0))}]), "a")
