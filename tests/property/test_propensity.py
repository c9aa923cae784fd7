"""Laws of the propensity checks: the order of arms means nothing, and counts that are what was promised prove nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator import Moments
from allocator.inference.propensity import check_inverse_propensities, check_versions
from allocator.moments import inverse_propensity, layout_of

K = 3
ARMS = ("a", "b", "c")
counts = st.lists(st.integers(0, 10**9), min_size=K, max_size=K)
shares = st.lists(st.integers(1, 1000), min_size=K, max_size=K).map(lambda v: [x / sum(v) for x in v])
versions = st.lists(st.tuples(counts, shares), min_size=1, max_size=5)
orders = st.permutations(range(K)).map(list)
units = st.lists(st.tuples(st.integers(0, K - 1), st.floats(0.05, 1.0)), max_size=30)


def moments(logged: list[float]) -> Moments:
    layout, sums = layout_of(1), layout_of(1).empty()
    for p in logged:
        layout.enter(sums, inverse_propensity(p))
    return Moments(1, tuple(sums))


@given(versions, orders)
def test_permuting_arms_changes_no_version(given_versions: list[tuple[list[int], list[float]]], order: list[int]) -> None:
    n, p = np.array([v[0] for v in given_versions]), np.array([v[1] for v in given_versions])
    names = range(len(n))
    one = check_versions(ARMS, names, n, p)
    other = check_versions([ARMS[k] for k in order], names, n[:, order], p[:, order])
    assert np.log(other.e) == pytest.approx(np.log(one.e), rel=1e-9, abs=1e-6)
    assert other.alarm == one.alarm


@given(st.lists(st.tuples(st.lists(st.integers(1, 1000), min_size=K, max_size=K), st.integers(0, 10**6)), min_size=1, max_size=5))
def test_what_was_promised_proves_nothing(given_versions: list[tuple[list[int], int]]) -> None:
    p = np.array([np.array(parts) / sum(parts) for parts, _ in given_versions])
    n = np.array([np.array(parts) * times for parts, times in given_versions])
    found = check_versions(ARMS, range(len(n)), n, p, concentration=1.0)
    assert not found.alarm
    assert found.e < 1 + 1e-9


@given(units, orders)
def test_permuting_arms_permutes_inverse_propensities(given_units: list[tuple[int, float]], order: list[int]) -> None:
    each = [moments([p for arm, p in given_units if arm == k]) for k in range(K)]
    one = check_inverse_propensities(ARMS, each, 0.05)
    other = check_inverse_propensities([ARMS[k] for k in order], [each[k] for k in order], 0.05)
    assert other.e == pytest.approx(one.e, rel=1e-12)
    assert other.ratio == pytest.approx([one.ratio[k] for k in order], nan_ok=True)
    assert other.arm_e == pytest.approx([one.arm_e[k] for k in order])
