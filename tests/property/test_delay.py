"""Laws of effective units: never more than the units, rising with time, the same for a period and its parts, continuous."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.delay import DelayDistribution, beta_of_delayed, effective_units
from allocator.quadrature import FloatArray

EDGES = np.array([0.0, 1.0, 5.0, 30.0, 100.0])
ARMS = 3

rises = st.lists(st.floats(0, 1), min_size=4, max_size=4).map(sorted)
distributions = rises.map(lambda f: DelayDistribution.known(EDGES, [*f, 1.0]))
periods = st.lists(
    st.tuples(
        st.floats(0, 500),
        st.one_of(st.just(0.0), st.floats(1e-6, 300)),
        st.lists(st.integers(0, 10**9), min_size=ARMS, max_size=ARMS),
    ),
    min_size=1,
    max_size=6,
)
Periods = list[tuple[float, float, list[int]]]
moments_of_time = st.integers(0, 1_000_000).map(lambda ms: ms / 1000)  # clocks do not tell 1e-174 s from 0
histograms = st.lists(st.lists(st.integers(0, 1000), min_size=4, max_size=4), min_size=6, max_size=6)


def arrays(given_periods: Periods) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Units (arms, periods), starts, ends."""
    n = np.array([units for _, _, units in given_periods], dtype=float).T
    starts = np.array([start for start, _, _ in given_periods])
    return n, starts, starts + np.array([width for _, width, _ in given_periods])


def effective(given_periods: Periods, now: float, delay: DelayDistribution) -> FloatArray:
    n, starts, ends = arrays(given_periods)
    return effective_units(n, starts, ends, now, delay)


@given(periods, moments_of_time, st.floats(0, 500), distributions)
def test_at_most_the_units_and_rising_with_time(
    given_periods: Periods, now: float, later: float, delay: DelayDistribution
) -> None:
    n, _, _ = arrays(given_periods)
    first, second = effective(given_periods, now, delay), effective(given_periods, now + later, delay)
    assert np.all((first >= 0) & (first <= n.sum(axis=1)))
    assert np.all(second >= first - 1e-9 * n.sum(axis=1))


@given(periods, distributions)
def test_all_units_once_all_is_mature(given_periods: Periods, delay: DelayDistribution) -> None:
    n, _, ends = arrays(given_periods)
    assert effective(given_periods, ends.max() + 100.001, delay).tolist() == n.sum(axis=1).tolist()


@given(periods, st.integers(0, 5), moments_of_time, st.integers(2, 7), distributions)
def test_a_period_and_its_parts_are_the_same(
    given_periods: Periods, which: int, now: float, parts: int, delay: DelayDistribution
) -> None:
    """Fine periods and coarse ones agree, as long as the period is over; while it runs, it is the part until now."""
    start, width, n = given_periods[which % len(given_periods)]
    now = max(now, start + width)
    cut = [(start + width * i / parts, width / parts, n) for i in range(parts)]
    whole = effective([(start, width, n)], now, delay)
    assert effective(cut, now, delay) == pytest.approx(whole * parts, rel=1e-7, abs=1e-6)
    assert effective([(start, width + 100, n)], start + width, delay) == pytest.approx(
        effective([(start, width, n)], start + width, delay), rel=1e-9
    )


@given(periods, moments_of_time, distributions, st.permutations(range(ARMS)))
def test_permuting_arms_permutes_units(given_periods: Periods, now: float, delay: DelayDistribution, order: list[int]) -> None:
    n, starts, ends = arrays(given_periods)
    one = effective_units(n, starts, ends, now, delay)
    assert effective_units(n[order], starts, ends, now, delay).tolist() == one[order].tolist()
    by_arm = DelayDistribution.known(EDGES, np.tile(delay.cdf, (ARMS, 1)))
    assert effective_units(n, starts, ends, now, by_arm) == pytest.approx(one, rel=1e-12)


@given(periods, moments_of_time, histograms)
def test_continuous_in_time(given_periods: Periods, now: float, histogram: list[list[int]]) -> None:
    """A microsecond later nothing has jumped, neither F nor what is made of it; periods here are a second long at least."""
    wide = [(start, max(width, 1.0), n) for start, width, n in given_periods]
    n, starts, ends = arrays(wide)
    could_be_seen = now - starts[:, None] > EDGES[:-1]
    h = np.where(could_be_seen, histogram[: len(wide)], 0)
    one, other = (DelayDistribution.estimate(h, EDGES, starts, ends, at) for at in (now, now + 1e-6))
    assert other.cdf == pytest.approx(one.cdf, abs=1e-2)
    assert effective_units(n, starts, ends, now + 1e-6, one) == pytest.approx(
        effective_units(n, starts, ends, now, one), abs=1e-5 * float(n.sum()) + 1e-9
    )


@given(periods, moments_of_time, histograms)
def test_an_estimate_is_a_distribution(given_periods: Periods, now: float, histogram: list[list[int]]) -> None:
    _, starts, ends = arrays(given_periods)
    h = np.array(histogram[: len(given_periods)])
    found = DelayDistribution.estimate(h, EDGES, starts, ends, now)
    assert np.all((found.cdf > 0) & (found.cdf <= 1))
    assert np.all(np.diff(found.cdf) >= 0)
    assert found.cdf[-1] == 1.0
    by_arm = DelayDistribution.estimate(np.stack([h, 2 * h]), EDGES, starts, ends, now)
    assert by_arm.cdf[0] == pytest.approx(found.cdf, rel=1e-12)


@given(histograms, st.permutations(range(6)))
def test_the_order_of_periods_means_nothing(histogram: list[list[int]], order: list[int]) -> None:
    h, starts = np.array(histogram), np.arange(6) * 20.0
    one = DelayDistribution.estimate(h, EDGES, starts, starts + 20, 115.0)
    other = DelayDistribution.estimate(h[order], EDGES, starts[order], starts[order] + 20, 115.0)
    assert other.cdf == pytest.approx(one.cdf, rel=1e-9)


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.floats(0, 1))
def test_betas_are_finite_and_between_ignorance_and_what_all_units_say(s: int, more: int, share: float) -> None:
    n = s + more
    a, b = beta_of_delayed([s], [n], [share * n])
    assert np.all(np.isfinite(a) & np.isfinite(b) & (a > 0) & (b > 0))
    assert a[0] + b[0] <= (n + 2) * (1 + 1e-3)
