"""Posteriors from moments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from allocator.experiment import Metric
from allocator.moments import Moments, layout_of
from allocator.posterior import BetaPosteriors, StudentPosteriors, posteriors_of

VALUE = Metric(type="value", resolution=0.01)


def moments(values: Sequence[int]) -> Moments:
    """One metric's moments of units with these values, in steps."""
    layout, sums = layout_of(1), layout_of(1).empty()
    for value in values:
        layout.enter(sums, 2_000_000)
        layout.change(sums, 2_000_000, [0], 0, value)
    return Moments(1, tuple(sums))


def test_binary_is_a_beta_on_a_uniform_prior() -> None:
    found = posteriors_of(Metric(), 0, ["a", "b"], [moments([1, 0, 0, 1, 1]), Moments.zero(1)])
    assert isinstance(found, BetaPosteriors)
    assert (found.a.tolist(), found.b.tolist()) == ([4.0, 1.0], [3.0, 1.0])
    assert found.mean.tolist() == [4 / 7, 0.5]
    np.testing.assert_allclose(found.interval(0.9), [stats.beta(4, 3).interval(0.9), (0.05, 0.95)], rtol=1e-12)


def test_values_are_the_t_of_a_normal_with_a_prior_of_one_unit_like_all_arms_together() -> None:
    a, b = [100, 300], [500, 500, 800]
    found = posteriors_of(VALUE, 0, ["a", "b"], [moments(a), moments(b)])
    assert isinstance(found, StudentPosteriors)
    together = np.array(a + b) / 100
    for k, values in enumerate((np.array(a) / 100, np.array(b) / 100)):
        n, mean = len(values), values.mean()
        centre = (values.sum() + together.mean()) / (n + 1)
        squares = 3 * together.var() + ((values - mean) ** 2).sum() + n / (n + 1) * (mean - together.mean()) ** 2
        exact = stats.t(n + 3, centre, np.sqrt(squares / (n + 3) / (n + 1)))
        assert found.mean[k] == pytest.approx(centre, rel=1e-14)
        assert found.sd[k] == pytest.approx(exact.std(), rel=1e-12)
        np.testing.assert_allclose(found.interval(0.9)[k], exact.interval(0.9), rtol=1e-12)


def test_with_many_units_the_interval_is_the_textbook_one() -> None:
    values = np.random.default_rng(1).normal(500, 40, 5000).astype(int).tolist()
    found = posteriors_of(VALUE, 0, ["a", "b"], [moments(values), moments(values[:2500])])
    se = np.std(values, ddof=1) / 100 / np.sqrt(5000)
    low, high = found.interval()[0]
    assert (high - low) / 2 == pytest.approx(1.96 * se, rel=1e-3)


def test_an_arm_whose_few_values_agree_is_not_certain() -> None:
    found = posteriors_of(VALUE, 0, ["a", "b"], [moments([100, 100, 100]), moments([0, 200] * 50)])
    assert found.sd[0] > 0.2


def test_nothing_known_is_even_and_has_no_mean() -> None:
    found = posteriors_of(VALUE, 0, ["a", "b"], [Moments.zero(1)] * 2)
    assert np.isnan(found.mean).all()
    assert np.isnan(found.interval()).all()
    assert found.prob_best().tolist() == [0.5, 0.5]


@pytest.mark.parametrize("metric", [Metric(), Metric(type="count", resolution=1.0), VALUE])
def test_all_units_alike_is_even(metric: Metric) -> None:
    found = posteriors_of(metric, 0, ["a", "b", "c"], [moments([1] * 40)] * 3)
    np.testing.assert_allclose(found.prob_best(), 1 / 3, atol=1e-9)


@pytest.mark.parametrize("kind", ["binary", "count"])
def test_down_means_the_least_is_best(kind: str) -> None:
    few, many = moments([1, 0, 0, 0, 0, 0]), moments([1, 1, 1, 1, 0, 0])
    arms = [few, many]
    up = posteriors_of(Metric(type=kind, resolution=1.0), 0, ["a", "b"], arms)  # type: ignore[arg-type]
    down = posteriors_of(Metric(type=kind, resolution=1.0, direction="down"), 0, ["a", "b"], arms)  # type: ignore[arg-type]
    np.testing.assert_allclose(down.prob_best(), up.prob_best()[::-1], atol=1e-9)
    assert down.mean.tolist() == up.mean.tolist()
    assert down.prob_best()[0] > 0.9


def test_a_finer_resolution_or_another_unit_changes_no_probability() -> None:
    arms = [[12, 30, 7, 22], [25, 25, 40, 9], [0, 3, 1]]
    coarse = posteriors_of(Metric(type="value", resolution=1.0), 0, "abc", [moments(v) for v in arms])
    fine = posteriors_of(Metric(type="value", resolution=1e-6), 0, "abc", [moments([y * 10**9 for y in v]) for v in arms])
    np.testing.assert_allclose(fine.prob_best(), coarse.prob_best(), rtol=1e-9)
    np.testing.assert_allclose(fine.mean, coarse.mean * 1000, rtol=1e-12)


def test_a_large_common_value_costs_no_digits() -> None:
    arms = [[12, 30, 7, 22], [25, 25, 40, 9]]
    plain = posteriors_of(VALUE, 0, "ab", [moments(v) for v in arms])
    far = posteriors_of(VALUE, 0, "ab", [moments([y + 10**12 for y in v]) for v in arms])
    np.testing.assert_allclose(far.sd, plain.sd, rtol=1e-12)


def test_a_million_million_units_are_finite() -> None:
    n = 10**12
    sums = list(Moments.zero(1).sums)
    sums[0], sums[1], sums[2] = n, n // 20, n // 20
    for metric in (Metric(), VALUE):
        found = posteriors_of(metric, 0, "ab", [Moments(1, tuple(sums))] * 2)
        low, high = found.interval()[0]
        assert low < found.mean[0] < high
        np.testing.assert_allclose(found.prob_best(), 0.5, atol=1e-9)
