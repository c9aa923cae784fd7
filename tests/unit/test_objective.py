"""Objectives made of several metrics, from moments alone, against the units themselves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from allocator import ArgumentError, Experiment, Moments, load_experiment
from allocator.experiment import Metric, Prior
from allocator.moments import layout_of
from allocator.objective import LinearObjective, MetricObjective, Objective, RatioObjective
from allocator.posterior import StudentPosteriors
from allocator.samples import samples_of_sum

Ints = npt.NDArray[np.int64]
SPEC = {
    "experiment": "x",
    "arms": ["a", "b"],
    "metrics": {"click": "binary", "views": "count", "cost": {"type": "value", "resolution": 0.01}},
    "objective": "click",
}


@pytest.fixture
def experiment() -> Experiment:
    return load_experiment(SPEC)


def moments(units: Ints) -> Moments:
    """Of units' values in steps, shape (units, metrics)."""
    metrics = units.shape[1]
    layout, sums = layout_of(metrics), layout_of(metrics).empty()
    for unit in units.tolist():
        layout.enter(sums, 10**6)
        y = [0] * metrics
        for j, value in enumerate(unit):
            layout.change(sums, 10**6, y, j, value)
    return Moments(metrics, tuple(sums))


def units_of(seed: int, n: int) -> Ints:
    rng = np.random.default_rng(seed)
    views = rng.poisson(4.0, n)
    return np.stack([rng.binomial(1, 0.3, n), views, rng.integers(-500, 900, n) + 30 * views], axis=1)


def test_the_experiments_objective_is_a_metric_of_it(experiment: Experiment) -> None:
    found = Objective.of(experiment)
    assert isinstance(found, MetricObjective)
    assert (found.index, found.metric, found.arms) == (0, experiment.metrics["click"], ("a", "b"))
    assert Objective.of(experiment, "cost").index == 2


# -- sums ------------------------------------------------------------------------------------------------------------------------


def test_a_sum_has_the_moments_of_each_units_sum(experiment: Experiment) -> None:
    arms = [units_of(1, 40), units_of(2, 70), units_of(3, 0)]
    weights = {"click": 2.0, "cost": -0.3, "views": 1e-3}
    objective = LinearObjective.over(experiment, weights)
    found = objective.samples([moments(units) for units in arms])
    for k, units in enumerate(arms):
        value = units @ [2.0, 1e-3, -0.3 * 0.01]
        assert found.n[k] == len(units)
        assert found.total[k] + found.n[k] * found.origin == pytest.approx(value.sum(), rel=1e-13, abs=1e-13)
        assert found.squares[k] == pytest.approx(np.sum((value - value.mean()) ** 2) if len(units) else 0.0, rel=1e-12)


def test_a_sum_of_one_metric_is_the_metric(experiment: Experiment) -> None:
    arms = [moments(units_of(1, 40)), moments(units_of(2, 70))]
    alone, summed = Objective.of(experiment, "cost"), LinearObjective.over(experiment, {"cost": 1.0})
    np.testing.assert_allclose(
        summed.posteriors(summed.samples(arms)).prob_best(), alone.posteriors(alone.samples(arms)).prob_best(), rtol=1e-12
    )


def test_nothing_cancels_in_a_sum_of_large_terms() -> None:
    """Two metrics of 1e15 steps whose difference varies by 1: cᵀSc in floats would be off by 1e14."""
    units = np.array([[10**15 - 5, 10**15 - 5 + d] for d in (0, 1, 2, 1)])
    found = samples_of_sum({0: -1.0, 1: 1.0}, [moments(units)])
    assert (found.total[0] + 4 * found.origin, found.squares[0]) == (4.0, 2.0)
    tiny = samples_of_sum({0: -1e-300, 1: 1e-300}, [moments(units)])
    assert tiny.total[0] + 4 * tiny.origin == pytest.approx(4e-300)


def test_a_sum_has_direction_and_prior(experiment: Experiment) -> None:
    metric = Metric(type="value", direction="down", prior=Prior(units=10.0, mean=1.0, sd=2.0))
    objective = LinearObjective.over(experiment, {"cost": 1.0}, metric)
    found = objective.posteriors(objective.samples([moments(units_of(3, 0))] * 2))
    assert found.down
    np.testing.assert_allclose(found.mean, 1.0)


# -- ratios ----------------------------------------------------------------------------------------------------------------------


def test_a_ratio_has_the_delta_methods_variance(experiment: Experiment) -> None:
    arms = [units_of(1, 4000), units_of(2, 3000)]
    objective = RatioObjective.over(experiment, "cost", "views")
    samples = objective.samples([moments(units) for units in arms])
    found = objective.posteriors(samples)
    assert isinstance(found, StudentPosteriors)
    assert "delta method" in found.method
    for k, units in enumerate(arms):
        cost, views = units[:, 2] * 0.01, units[:, 1]
        ratio = cost.sum() / views.sum()
        cov = np.cov(cost, views, ddof=0)
        variance = (cov[0, 0] - 2 * ratio * cov[0, 1] + ratio**2 * cov[1, 1]) / len(units) / views.mean() ** 2
        assert samples.total[k] / samples.n[k] + samples.origin == pytest.approx(ratio, rel=1e-12)
        assert samples.squares[k] / samples.n[k] ** 2 == pytest.approx(variance, rel=1e-12)
        assert found.mean[k] == pytest.approx(ratio, rel=1e-3)
        assert found.sd[k] == pytest.approx(np.sqrt(variance), rel=2e-3)
    assert samples.n.sum() == pytest.approx(7000)


def test_a_ratio_of_a_metric_to_itself_is_certain(experiment: Experiment) -> None:
    objective = RatioObjective.over(experiment, "views", "views")
    found = objective.posteriors(objective.samples([moments(units_of(1, 40)), moments(units_of(2, 70))]))
    np.testing.assert_allclose(found.mean, 1.0, rtol=1e-14)
    np.testing.assert_allclose(found.sd, 0.0, atol=1e-12)
    np.testing.assert_allclose(found.prob_best(), 0.5, atol=1e-9)


def test_arms_without_denominators_have_no_units(experiment: Experiment) -> None:
    objective = RatioObjective.over(experiment, "click", "views")
    idle = np.array([[1, 0, 0], [0, 0, 0]])
    found = objective.posteriors(objective.samples([moments(idle), moments(units_of(2, 70))]))
    assert found.mean[0] == pytest.approx(found.mean[1], rel=0.05)  # that of the prior, one unit like all others
    assert found.sd[0] > found.sd[1]
    nothing = objective.posteriors(objective.samples([moments(idle)] * 2))
    assert np.isnan(nothing.mean).all()
    assert nothing.prob_best().tolist() == [0.5, 0.5]


def test_intervals_of_a_ratio_cover() -> None:
    """1200 intervals of 95 %, with a standard error of 0.6 %; clicks over views as if views were units cover 86 %."""
    experiment = load_experiment({**SPEC, "metrics": {"clicks": "count", "views": "count"}, "objective": "clicks"})
    objective, rng, layout = RatioObjective.over(experiment, "clicks", "views"), np.random.default_rng(6), layout_of(2)
    covered = naive = 0
    for _ in range(600):
        arms = []
        for _ in range(2):
            rate = rng.beta(2.0, 8.0, 200)
            views = 1 + rng.poisson(10, 200)
            clicks = rng.binomial(views, rate)
            sums = layout.empty()
            sums[0], sums[1], sums[2] = 200, int(clicks.sum()), int(views.sum())
            for j, k, product in ((0, 0, clicks @ clicks), (0, 1, clicks @ views), (1, 1, views @ views)):
                sums[layout.cross[j][k]] = int(product)
            arms.append(Moments(2, tuple(sums)))
            p = clicks.sum() / views.sum()
            naive += abs(p - 0.2) < 1.96 * np.sqrt(p * (1 - p) / views.sum())
        low, high = objective.posteriors(objective.samples(arms)).interval().T
        covered += int(((low < 0.2) & (high > 0.2)).sum())
    assert covered / 1200 > 0.93
    assert naive / 1200 < 0.9


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda e: LinearObjective.over(e, {}), "weights"),
        (lambda e: LinearObjective.over(e, {"clock": 1.0}), "weights"),
        (lambda e: LinearObjective.over(e, {"cost": float("inf")}), "weights"),
        (lambda e: LinearObjective.over(e, {"cost": 1.0}, Metric()), "metric"),
        (lambda e: RatioObjective.over(e, "clock", "views"), "numerator"),
        (lambda e: RatioObjective.over(e, "cost", "view"), "denominator"),
    ],
)
def test_what_is_wrong_is_named(experiment: Experiment, call, name: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ArgumentError) as raised:
        call(experiment)
    assert raised.value.name == name
