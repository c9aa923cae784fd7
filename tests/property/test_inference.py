"""Laws of intervals: what they must contain, and what must not change them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.experiment import Metric
from allocator.inference import Estimate, Observations, differences, fixed_differences, fixed_lifts, lifts, means
from allocator.inference.observations import Method
from allocator.moments import Moments, inverse_propensity, layout_of
from allocator.quadrature import FloatArray
from tests.observed import Unit, observed

METHODS: tuple[Method, ...] = ("beta-mixture", "empirical-bernstein", "asymptotic")
ARMS = ("a", "b", "c")
LEAST = 0.1


def cell(units: int, successes: int, propensity: float) -> Moments:
    """One arm in one period."""
    layout, w = layout_of(1), inverse_propensity(propensity)
    sums = layout.empty()
    layout.enter(sums, w, units)
    sums[1] = sums[layout.square[0]] = successes
    sums[layout.wy], sums[layout.w2y], sums[layout.w2y2] = w * successes, w * w * successes, w * w * successes
    return Moments(1, tuple(sums))


@st.composite
def cells(draw: st.DrawFn) -> Moments:
    """Units of two propensities, with any number of successes: what no randomisation would give is among it."""
    parts = []
    for propensity in (LEAST, draw(st.floats(LEAST, 1.0))):
        units = draw(st.one_of(st.sampled_from([0, 1, 10**9]), st.integers(0, 3000)))
        parts.append(cell(units, draw(st.one_of(st.sampled_from([0, units]), st.integers(0, units))), propensity))
    return parts[0] + parts[1]


histories = st.lists(st.dictionaries(st.sampled_from(ARMS), cells()), max_size=4)


@st.composite
def randomised(draw: st.DrawFn) -> list[dict[str, Moments]]:
    """Periods whose units were assigned with the propensities that are logged."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    rates = draw(st.lists(st.sampled_from([0.0, 0.02, 0.1, 0.12, 0.5, 1.0]), min_size=3, max_size=3))
    periods = []
    for size in draw(st.lists(st.sampled_from([0, 3, 100, 3000, 10**6]), min_size=1, max_size=4)):
        shares = LEAST + (1 - 3 * LEAST) * rng.dirichlet((1, 1, 1))
        units = rng.multinomial(size, shares)
        periods.append(
            {arm: cell(int(n), int(rng.binomial(n, r)), p) for arm, n, r, p in zip(ARMS, units, rates, shares, strict=True)}
        )
    return periods


def binary(periods: list[dict[str, Moments]], arms: tuple[str, ...] = ARMS) -> Observations:
    return Observations(Metric(type="binary", resolution=1.0), 0, arms, periods, propensity_min=LEAST)


def everything(seen: Observations, alpha: float = 0.05) -> list[Estimate]:
    by_method = [
        estimate
        for method in METHODS
        for estimate in (
            *means(seen, alpha=alpha, method=method),
            *differences(seen, "a", alpha=alpha, method=method),
            *lifts(seen, "a", alpha=alpha, method=method),
        )
    ]
    over_all = [estimate for method in METHODS[1:] for estimate in means(seen, alpha=alpha, method=method, over_all=True)]
    return [*by_method, *over_all, *fixed_differences(seen, "a", alpha=alpha), *fixed_lifts(seen, "a", alpha=alpha)]


@given(histories)
@settings(max_examples=15)
def test_every_interval_holds_its_estimate_and_says_what_it_assumes(periods: list[dict[str, Moments]]) -> None:
    for found in everything(binary(periods)):
        assert found.low <= found.high
        assert np.isnan(found.estimate) or found.low <= found.estimate <= found.high
        assert found.p_value is None or 0 < found.p_value <= 1 or not found.anytime
        assert found.method
        assert found.assumptions
        assert found.quantity == "lift" or found.refusal or np.isfinite(found.high - found.low)


@given(randomised())
@settings(max_examples=15)
def test_intervals_are_nested_in_alpha_and_agree_with_p(periods: list[dict[str, Moments]]) -> None:
    seen = binary(periods)
    for wide, narrow in zip(everything(seen, 0.01), everything(seen, 0.2), strict=True):
        assert wide.low <= narrow.low + 1e-12
        assert wide.high >= narrow.high - 1e-12
        if narrow.anytime and narrow.p_value is not None and not np.isclose(narrow.p_value, 0.2, rtol=1e-6):
            assert (narrow.p_value <= 0.2) == (narrow.low > 0 or narrow.high < 0)


@given(histories)
@settings(max_examples=15)
def test_permuting_arms_permutes_results(periods: list[dict[str, Moments]]) -> None:
    def by_arm(arms: tuple[str, ...]) -> dict[tuple[str, str, str], list[float]]:
        found = everything(binary(periods, arms))
        return {(e.arm, e.quantity, e.method): [e.estimate, e.low, e.high, e.p_value or 0.0] for e in found}

    plain, turned = by_arm(("a", "b", "c")), by_arm(("c", "a", "b"))
    assert plain.keys() == turned.keys()
    for key, numbers in plain.items():
        np.testing.assert_allclose(numbers, turned[key], rtol=1e-7, atol=1e-9)


@given(histories)
@settings(max_examples=15)
def test_control_and_arm_trade_places(periods: list[dict[str, Moments]]) -> None:
    seen = binary(periods)
    for method in METHODS:
        (b, *_), (a, *_) = differences(seen, "a", method=method), differences(seen, "b", method=method)
        np.testing.assert_allclose([b.low, b.high], [-a.high, -a.low], rtol=1e-7, atol=1e-9)
        assert b.p_value == pytest.approx(a.p_value, rel=1e-6)


values = st.lists(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0.1, 0.25, 0.5]), st.integers(0, 20)), max_size=60), max_size=3
)


def numbers(found: tuple[Estimate, ...]) -> FloatArray:
    return np.array([[e.estimate, e.low, e.high] for e in found])


@given(values, st.sampled_from([3.0, 100.0]), st.integers(-50, 10**9))
@settings(max_examples=25)
def test_intervals_follow_unit_and_origin(periods: list[list[Unit]], scale: float, shift: int) -> None:
    metric = Metric(type="value", resolution=0.5)
    moved = [[(arm, p, scale * y + shift) for arm, p, y in units] for units in periods]
    kept = observed(metric, "ab", periods, bounds=(0.0, 20.0), propensity_min=0.1)
    other = observed(metric, "ab", moved, bounds=(shift, scale * 20.0 + shift), propensity_min=0.1)
    for method in METHODS[1:]:
        before, after = numbers(means(kept, method=method, units_min=5)), numbers(means(other, method=method, units_min=5))
        np.testing.assert_allclose(after, scale * before + shift, rtol=1e-9, atol=1e-6)
        before, after = (numbers(differences(seen, "a", method=method, units_min=5)) for seen in (kept, other))
        np.testing.assert_allclose(after, scale * before, atol=1e-6)


@given(values, st.integers(0, 3))
@settings(max_examples=15)
def test_empty_periods_change_nothing(periods: list[list[Unit]], at: int) -> None:
    metric = Metric(type="count", resolution=1.0)
    padded = [*periods[:at], [], *periods[at:]]
    for bounds in (None, (0.0, 20.0)):
        kept, other = (observed(metric, "ab", p, bounds=bounds, propensity_min=0.1) for p in (periods, padded))
        for method in METHODS[1 if bounds else 2 :]:
            for compute in (means, lambda seen, **k: differences(seen, "a", **k)):
                np.testing.assert_allclose(
                    numbers(compute(kept, method=method, units_min=5)),
                    numbers(compute(other, method=method, units_min=5)),
                    atol=1e-9,
                )


@given(histories)
@settings(max_examples=20)
def test_without_a_known_floor_there_is_still_an_interval(periods: list[dict[str, Moments]]) -> None:
    for found in differences(replace(binary(periods), propensity_min=None), "a"):
        assert -1 <= found.low <= found.high <= 1
        assert "AIPW" not in found.method
