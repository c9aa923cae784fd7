"""Laws of the sample-ratio check: names and order of arms mean nothing, nor does how units of the same weights are batched."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from allocator.constraints import to_shares
from allocator.inference.srm import SrmState
from allocator.weights import PPM

K = 4
ARMS = ("a", "b", "c", "d")
counts = st.lists(st.integers(0, 10**6), min_size=K, max_size=K)


@st.composite
def shares(draw: st.DrawFn) -> tuple[float, ...]:
    """Published ones: whole ppm that sum to a million, none of them 0."""
    cuts = sorted(draw(st.lists(st.integers(1, PPM - 1), min_size=K - 1, max_size=K - 1, unique=True)))
    ends = [0, *cuts, PPM]
    return tuple(to_shares([high - low for low, high in pairwise(ends)]).tolist())


batches = st.lists(st.tuples(counts, shares()), min_size=1, max_size=5)


def after(given_batches: list[tuple[list[int], tuple[float, ...]]], order: list[int] | None = None) -> SrmState:
    picked = list(range(K)) if order is None else order
    state = SrmState.start([ARMS[k] for k in picked])
    for n, p in given_batches:
        state = state.update([n[k] for k in picked], [p[k] for k in picked])
    return state


@given(batches, st.permutations(range(K)))
def test_permuting_arms_permutes_the_result(given_batches: list[tuple[list[int], tuple[float, ...]]], order: list[int]) -> None:
    plain, permuted = after(given_batches), after(given_batches, list(order))
    assert float(permuted.log_e) == pytest.approx(float(plain.log_e), rel=1e-9, abs=1e-6)
    one, other = plain.result(), permuted.result()
    assert other.deviations == pytest.approx([one.deviations[k] for k in order], rel=1e-9, nan_ok=True)
    z = sorted(np.abs(one.z))
    assume(z[-1] > z[-2] * (1 + 1e-6))
    assert one.arm == other.arm


@given(batches, shares())
def test_a_batch_without_units_changes_nothing(
    given_batches: list[tuple[list[int], tuple[float, ...]]], of_empty: tuple[float, ...]
) -> None:
    assume(any(sum(n) for n, _ in given_batches))  # without any unit deviations are nan, and nan is not itself
    plain = after(given_batches)
    assert plain.update([0] * K, of_empty).result() == plain.result()


@given(shares(), counts, counts)
def test_units_of_the_first_weights_may_be_batched_in_any_way(p: tuple[float, ...], first: list[int], second: list[int]) -> None:
    together = after([([a + b for a, b in zip(first, second, strict=True)], p)])
    apart = after([(first, p), (second, p)])
    assert float(apart.log_e) == pytest.approx(float(together.log_e), rel=1e-9, abs=1e-6)
    assert apart.result().deviations == pytest.approx(together.result().deviations, rel=1e-9, nan_ok=True)


@given(batches, shares(), counts, counts)
def test_how_far_an_arm_is_off_depends_on_no_batching(
    given_batches: list[tuple[list[int], tuple[float, ...]]], p: tuple[float, ...], first: list[int], second: list[int]
) -> None:
    together = after([*given_batches, ([a + b for a, b in zip(first, second, strict=True)], p)])
    apart = after([(first, p), *given_batches, (second, p)])
    assert apart.result().observed == together.result().observed
    assert apart.result().deviations == pytest.approx(together.result().deviations, rel=1e-9, abs=1e-12, nan_ok=True)
    assert apart.result().z == pytest.approx(together.result().z, rel=1e-6, abs=1e-6)


@given(batches)
def test_extreme_counts_give_finite_answers(given_batches: list[tuple[list[int], tuple[float, ...]]]) -> None:
    found = after([([n * 10**6 for n in batch], p) for batch, p in given_batches]).result()
    assert not np.isnan(found.e)
    assert 0 <= found.p <= 1
    assert np.all(np.isfinite(found.z))
