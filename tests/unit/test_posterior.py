"""Posteriors from moments."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from allocator import ArgumentError
from allocator.experiment import Metric, MetricType, Prior
from allocator.moments import Moments, layout_of
from allocator.posterior import (
    BetaPosteriors,
    GammaPosteriors,
    NormalPosteriors,
    Posteriors,
    StudentPosteriors,
    posteriors,
    posteriors_of,
)
from allocator.samples import Samples

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


# -- counts ----------------------------------------------------------------------------------------------------------------------

COUNT = Metric(type="count", resolution=1.0)


def test_poisson_counts_are_the_conjugate_gamma_on_a_prior_of_one_event() -> None:
    rng = np.random.default_rng(2)
    values = rng.poisson(2.0, (2, 20_000)).tolist()
    found = posteriors_of(COUNT, 0, "ab", [moments(v) for v in values])
    rate = np.mean(values)
    for k, counts in enumerate(values):
        exact = stats.gamma(1 + sum(counts), scale=1 / (1 / rate + len(counts)))
        assert found.mean[k] == pytest.approx(exact.mean(), rel=1e-4)
        assert found.sd[k] == pytest.approx(exact.std(), rel=0.02)  # φ̂ is 1 ± 0.01
        np.testing.assert_allclose(found.interval()[k], exact.interval(0.95), rtol=1e-3)


@pytest.mark.parametrize("dispersion", [0.2, 3.0, 20.0])
def test_the_width_follows_the_dispersion(dispersion: float) -> None:
    rng, n, mean = np.random.default_rng(4), 4000, 6.0
    if dispersion < 1:
        counts = mean - 1 + rng.binomial(1, 0.5, n) + rng.binomial(1, 0.5, n) + 0.0
    else:
        counts = rng.poisson(rng.gamma(mean / (dispersion - 1), dispersion - 1, n))
    found = posteriors_of(COUNT, 0, "a", [moments(counts.astype(int).tolist())])
    assert found.sd[0] == pytest.approx(np.std(counts) / np.sqrt(n), rel=0.06)


@pytest.mark.parametrize("dispersion, least", [(1.0, 0.925), (3.0, 0.925), (20.0, 0.90)])
def test_intervals_of_counts_cover(dispersion: float, least: float) -> None:
    """1600 intervals of 95 %, with a standard error of 0.6 %; those of a plain gamma-Poisson cover 74 % and 33 % at 3 and 20."""
    rng, n, arms = np.random.default_rng(5), 100, 4
    covered = 0
    for _ in range(400):
        rate = 5.0 * np.exp(0.2 * rng.normal(size=arms))
        spread = (
            np.ones((arms, n)) if dispersion == 1 else rng.gamma((rate / (dispersion - 1))[:, None], dispersion - 1, (arms, n))
        )
        counts = rng.poisson(spread * rate[:, None] if dispersion == 1 else spread)
        low, high = posteriors(COUNT, "abcd", samples(counts)).interval().T
        covered += int(((low <= rate) & (rate <= high)).sum())
    assert covered / 1600 > least


def test_an_arm_without_events_yet_is_not_given_up() -> None:
    found = posteriors_of(COUNT, 0, "ab", [moments([0] * 10), moments([1] * 10 + [0] * 90)])
    assert found.prob_best()[0] > 0.1
    nowhere = posteriors_of(COUNT, 0, "ab", [moments([0] * 10), moments([0] * 100)])
    assert np.isfinite(nowhere.interval()).all()
    assert nowhere.prob_best()[0] > 0.6  # few units say less against it


# -- values of few units ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_intervals_of_few_normal_values_cover(n: int) -> None:
    """4000 intervals of 95 %, with a standard error of 0.35 %; those of a normal with the same variance cover 88 % at 2 and 3."""
    rng, arms = np.random.default_rng(n), 4
    covered = 0
    for _ in range(1000):
        mean = 0.2 * rng.normal(size=arms)
        low, high = posteriors(VALUE, "abcd", samples(mean[:, None] + rng.normal(size=(arms, n)))).interval().T
        covered += int(((low <= mean) & (mean <= high)).sum())
    assert covered / 4000 > 0.94


def samples(values: np.ndarray) -> Samples:  # type: ignore[type-arg]
    """Of units, shape (arms, units)."""
    n = np.full(len(values), float(values.shape[1]))
    return Samples(n=n, total=values.sum(axis=1), squares=((values - values.mean(axis=1, keepdims=True)) ** 2).sum(axis=1))


# -- what every family answers ---------------------------------------------------------------------------------------------------

FAMILIES = [
    BetaPosteriors(("a", "b"), np.array([3.0, 30.0]), np.array([40.0, 400.0])),
    GammaPosteriors(("a", "b"), np.array([3.0, 30.0]), np.array([40.0, 400.0])),
    NormalPosteriors(("a", "b"), np.array([0.1, 0.2]), np.array([0.05, 0.02])),
    StudentPosteriors(("a", "b"), np.array([0.1, 0.2]), np.array([0.05, 0.02]), np.array([4.0, 40.0])),
]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: type(f).__name__)
def test_a_family_is_named_with_its_assumptions_and_refuses_what_is_outside(family: Posteriors) -> None:
    assert family.method
    assert all(family.assumptions)
    for level in (0.0, 1.0, float("nan"), 95):
        with pytest.raises(ArgumentError, match="level"):
            family.interval(level)
    for control in (-1, 2):
        with pytest.raises(ArgumentError, match="control"):
            family.prob_beats(control)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: type(f).__name__)
@pytest.mark.parametrize("down", [False, True])
def test_the_answers_of_a_family_are_those_of_its_draws(family: Posteriors, down: bool) -> None:
    family = dataclasses.replace(family, down=down)  # type: ignore[type-var]
    rng = np.random.default_rng(7)
    draws = {
        BetaPosteriors: lambda f: rng.beta(f.a, f.b, (200_000, 2)),
        GammaPosteriors: lambda f: rng.gamma(f.alpha, 1 / f.beta, (200_000, 2)),
        NormalPosteriors: lambda f: rng.normal(f.mean, f.sd, (200_000, 2)),
        StudentPosteriors: lambda f: f.mean + f.scale * rng.standard_t(f.dof, (200_000, 2)),
    }[type(family)](family)
    better = draws if not down else -draws
    best = better.max(axis=1)
    np.testing.assert_allclose(family.mean, draws.mean(axis=0), rtol=0.01)
    np.testing.assert_allclose(family.sd, draws.std(axis=0), rtol=0.05)
    np.testing.assert_allclose(family.interval(0.9), np.quantile(draws, [0.05, 0.95], axis=0).T, rtol=0.02, atol=1e-3)
    np.testing.assert_allclose(family.prob_best(), (better == best[:, None]).mean(axis=0), atol=0.005)
    np.testing.assert_allclose(family.prob_beats(1)[0], (better[:, 0] > better[:, 1]).mean(), atol=0.005)
    np.testing.assert_allclose(family.expected_loss(), (best[:, None] - better).mean(axis=0), atol=5e-4)


NAMES = ("a", "b")
TWO = np.array([1.0, 2.0])


def changed(value: float) -> np.ndarray:  # type: ignore[type-arg]
    return np.array([value, 2.0])


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: BetaPosteriors((), TWO[:0], TWO[:0]), "arms"),
        (lambda: BetaPosteriors(NAMES, changed(0.0), TWO), "a"),
        (lambda: BetaPosteriors(NAMES, TWO, changed(np.nan)), "b"),
        (lambda: BetaPosteriors(NAMES, TWO, np.ones(3)), "b"),
        (lambda: GammaPosteriors(NAMES, changed(-1.0), TWO), "alpha"),
        (lambda: GammaPosteriors(NAMES, TWO, changed(np.inf)).prob_best(), "beta"),
        (lambda: NormalPosteriors(NAMES, TWO, changed(-1.0)), "sd"),
        (lambda: NormalPosteriors(NAMES, changed(-np.inf), TWO).prob_best(), "mean"),
        (lambda: StudentPosteriors(NAMES, np.ones(3), TWO, TWO), "mean"),
        (lambda: StudentPosteriors(NAMES, TWO, changed(-1.0), TWO), "scale"),
        (lambda: StudentPosteriors(NAMES, TWO, TWO, changed(0.0)), "dof"),
        (lambda: posteriors_of(Metric(), 0, (), []), "arms"),
        (lambda: posteriors_of(Metric(), 0, NAMES, [Moments.zero(1)] * 3), "moments"),
        (lambda: posteriors_of(Metric(), 1, NAMES, [Moments.zero(1)] * 2), "j"),
        (lambda: posteriors_of(Metric(), -1, NAMES, [Moments.zero(1)] * 2), "j"),
        (lambda: posteriors(VALUE, NAMES, Samples(np.ones(3), TWO, TWO)), "n"),
        (lambda: posteriors(VALUE, NAMES, Samples(changed(-1.0), TWO, TWO)), "samples.n"),
        (lambda: posteriors(VALUE, NAMES, Samples(TWO, changed(np.nan), TWO)), "samples.total"),
        (lambda: posteriors(VALUE, NAMES, Samples(TWO, TWO, changed(-1.0))), "samples.squares"),
        (lambda: posteriors(VALUE, NAMES, Samples(TWO, TWO, TWO, np.inf)), "samples.origin"),
        (lambda: posteriors(Metric(), NAMES, Samples(TWO, 2 * TWO, TWO)), "b"),
        (lambda: posteriors(Metric(prior=Prior(mean=2.0, units=3.0)), NAMES, Samples(TWO, TWO, TWO)), "mean"),
    ],
)
def test_what_is_outside_its_domain_is_named(call, name: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ArgumentError) as raised:
        call()
    assert raised.value.name == name


@pytest.mark.parametrize("kind", ["binary", "value", "count"])
@pytest.mark.parametrize("units", [1e3, 1e12, None])
@pytest.mark.parametrize("variance", [0.0, 0.3])
def test_a_thousand_arms_of_any_type(kind: MetricType, units: float | None, variance: float) -> None:
    rng, arms = np.random.default_rng(8), 1000
    n = np.floor(10 ** rng.uniform(0, 9, arms)) if units is None else np.full(arms, units)
    total = np.clip(np.rint(0.1 * n + np.sqrt(0.1 * n) * rng.normal(size=arms)), 0.0, n)
    found = posteriors(Metric(type=kind), tuple(map(str, range(arms))), Samples(n, total, variance * n))
    p, loss, beats = found.prob_best(), found.expected_loss(), found.prob_beats(0)
    assert p.min() > 0
    assert p.sum() == pytest.approx(1, abs=5e-9)
    assert np.isfinite(found.interval()).all()
    assert np.all(np.isfinite(loss) & (loss >= 0))
    assert np.all((beats >= 0) & (beats <= 1))


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
@pytest.mark.parametrize("a, b", [(1000.0, 1000.0), (1000.0, 1e5), (1e5, 1200.0), (2e4, 2e5), (3e6, 3e7)])
def test_quantiles_of_many_units_are_those_of_the_beta(a: float, b: float, level: float) -> None:
    found = BetaPosteriors(("a",), np.array([a]), np.array([b])).interval(level)[0]
    sd = np.sqrt(a * b / (a + b) ** 2 / (a + b + 1))
    np.testing.assert_allclose(found, stats.beta(a, b).interval(level), rtol=0, atol=2e-8 * sd)


def test_quantiles_of_arms_with_few_and_with_many_units() -> None:
    a, b = np.array([5.0, 5000.0, 2.0]), np.array([50.0, 50_000.0, 1e9])
    np.testing.assert_allclose(
        BetaPosteriors(tuple("abc"), a, b).interval(), np.transpose(stats.beta(a, b).interval(0.95)), rtol=1e-9
    )


def test_nothing_known_loses_nothing_that_is_known() -> None:
    for metric in (VALUE, COUNT):
        found = posteriors_of(metric, 0, "ab", [Moments.zero(1)] * 2)
        assert found.prob_best().tolist() == found.prob_beats(0).tolist() == [0.5, 0.5]
        assert np.isnan(found.mean).all()
        assert np.isnan(found.sd).all()
        assert np.isnan(found.interval()).all()
        assert np.isnan(found.expected_loss()).all()
