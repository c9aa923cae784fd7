"""Relative lift, valid at any time."""

from __future__ import annotations

import numpy as np
import pytest

from allocator.experiment import Metric
from allocator.inference import differences, lifts
from allocator.inference.bernoulli import ratio_interval
from allocator.inference.observations import Method
from tests.observed import counted, observed

METHODS: tuple[Method, ...] = ("beta-mixture", "empirical-bernstein", "asymptotic")


@pytest.mark.parametrize("method", METHODS)
def test_a_lift_is_found(method: Method) -> None:
    found = lifts(counted({"a": (100, 1000), "b": (150, 1000)}, periods=20), "a", method=method)[0]
    assert found.estimate == pytest.approx(0.5)
    assert 0.2 < found.low < 0.5 < found.high < 1.0
    assert (found.quantity, found.refusal, found.anytime) == ("lift", "", True)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("b", [(0, 1000), (60, 1000), (100, 1000), (130, 1000), (300, 1000)])
def test_p_and_interval_agree(method: Method, b: tuple[int, int]) -> None:
    seen = counted({"a": (100, 1000), "b": b}, periods=2)
    for alpha in (0.5, 0.05, 1e-3):
        found = lifts(seen, "a", alpha=alpha, method=method)[0]
        assert found.p_value is not None
        assert (found.p_value <= alpha) == (found.low > 0 or found.high < 0)
        assert -1 <= found.low <= found.estimate <= found.high


def test_steady_rates_use_the_joint_sequence() -> None:
    found = lifts(counted({"a": (100, 1000), "b": (130, 1000)}), "a", method="beta-mixture")[0]
    low, high = ratio_interval(130, 870, 100, 900, 0.05)
    assert (found.low, found.high) == pytest.approx((float(low) - 1, float(high) - 1))


def test_the_union_of_difference_and_control() -> None:
    """D ∈ [d, D] at .9 alpha over control's mean at .1 alpha: never narrower than the difference over control's estimate."""
    seen = counted({"a": (100, 1000), "b": (150, 1000)}, periods=20)
    for method in ("empirical-bernstein", "asymptotic"):
        lift, difference = lifts(seen, "a", method=method)[0], differences(seen, "a", alpha=0.045, method=method)[0]
        assert lift.low < difference.low / 0.1
        assert lift.high > difference.high / 0.1
        assert lift.high - lift.low < 1.5 * (difference.high - difference.low) / 0.1


def test_control_without_successes_leaves_the_lift_open_above() -> None:
    for method in ("beta-mixture", "empirical-bernstein"):
        found = lifts(counted({"a": (0, 1000), "b": (100, 1000)}, periods=5), "a", method=method)[0]
        assert found.high == np.inf
        assert found.low > 0  # however small control's rate is, b's is larger


def test_a_control_that_may_be_negative_has_no_lift() -> None:
    rng = np.random.default_rng(2)
    units = [("ab"[i % 2], 0.5, float(rng.standard_normal() + i % 2)) for i in range(2000)]
    found = lifts(observed(Metric(type="value"), "ab", [units]), "a")[0]
    assert (found.low, found.high, found.p_value) == (-np.inf, np.inf, 1.0)
    assert found.refusal == "control's mean may be 0"


def test_nothing_seen() -> None:
    for method in METHODS:
        found = lifts(counted({"a": (0, 0), "b": (0, 0)}), "a", method=method)[0]
        assert np.isnan(found.estimate)
        assert (found.p_value, found.high) == (1.0, np.inf)
