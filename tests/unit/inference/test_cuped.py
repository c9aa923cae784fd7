"""Covariate adjustment: right where pooling is not, as precise as ρ² promises, raw means without covariates."""

from __future__ import annotations

import numpy as np
import pytest

from allocator import ArgumentError, Moments
from allocator.inference.cuped import AdjustedMeans, adjusted_means
from allocator.quadrature import FloatArray
from tests.cells import moments_of, periods_of

AB = ("a", "b")
STEP = 0.01


def steps(*columns: FloatArray) -> FloatArray:
    return np.rint(np.stack(columns, axis=1) / STEP)


def correlated(rng: np.random.Generator, units: int, rho: float) -> tuple[FloatArray, FloatArray]:
    """y and x with mean 0, variance 1."""
    x = rng.normal(size=units)
    return rho * x + np.sqrt(1 - rho**2) * rng.normal(size=units), x


def moving(rng: np.random.Generator, units: int, periods: int, effect: float = 0.3) -> tuple[AdjustedMeans, float]:
    """Arm b's share and everybody's mean rise together, within periods and over them. Also the pooled raw difference."""
    period = np.arange(units) * periods // units
    rise = np.linspace(0, 1, units)
    share = 0.1 + 0.8 * np.round(rise * 20) / 20
    arm = (rng.random(units) < share).astype(int)
    noise, x = correlated(rng, units, 0.8)
    y = 3 * rise + effect * arm + noise
    cells = periods_of(2, period, arm, steps(y, x + 2 * rise), np.where(arm == 1, share, 1 - share))
    found = adjusted_means(AB, "a", cells, 0, [1], [STEP, STEP])
    pooled = [sum((row[k] for row in cells[1:]), cells[0][k]).mean(0, STEP) for k in range(2)]
    return found, pooled[1] - pooled[0]


@pytest.mark.parametrize("periods", [1, 4, 20])
def test_simpson_misleads_the_pooled_difference_but_not_this_one(periods: int) -> None:
    """The more of b, the higher everybody's mean: pooled, b looks better by 1.1 than the 0.3 it is."""
    rng, runs = np.random.default_rng(periods), 60
    estimates, claimed, pooled = np.empty(runs), np.empty(runs), np.empty(runs)
    for run in range(runs):
        found, pooled[run] = moving(rng, 2000, periods)
        estimates[run], claimed[run] = found.difference[1], found.difference_se[1]
    assert pooled.mean() > 1.0
    assert estimates.mean() == pytest.approx(0.3, abs=3 * estimates.std() / np.sqrt(runs))
    assert claimed.mean() == pytest.approx(estimates.std(), rel=0.3)  # the sd of 60 runs is known to a tenth


def test_the_standard_error_is_that_of_the_estimates() -> None:
    """95 % intervals cover in 95 % of 1000 runs, with shares that differ by period, for means and for the difference."""
    rng, runs = np.random.default_rng(1), 1000
    covered = np.zeros((runs, 3))
    for run in range(runs):
        cells = []
        for share, level in ((0.5, 0.0), (0.2, 1.0), (0.9, -1.0)):
            row = []
            for n, effect in ((round(200 * (1 - share)), 0.0), (round(200 * share), 0.3)):
                y, x = correlated(rng, n, 0.7)
                row.append(moments_of(steps(y + level + effect, x + level), share if effect else 1 - share))
            cells.append(row)
        found = adjusted_means(AB, "a", cells, 0, [1], [STEP, STEP])
        covered[run, :2] = np.abs(found.mean - [0.0, 0.3]) < 1.96 * found.se
        covered[run, 2] = abs(found.difference[1] - 0.3) < 1.96 * found.difference_se[1]
    assert covered.mean(axis=0) == pytest.approx([0.95] * 3, abs=0.02)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_the_variance_falls_by_rho_squared(rho: float) -> None:
    rng = np.random.default_rng(2)
    cells = [[moments_of(steps(*correlated(rng, n, rho)), n / 24_000) for n in (4000, 8000, 12_000)] for _ in range(2)]
    found = adjusted_means("abc", "b", cells, 0, [1], [STEP, STEP])
    assert found.reduction[[0, 2]] == pytest.approx([rho**2] * 2, abs=0.02)
    assert np.isnan(found.reduction[1])
    assert found.coefficients == pytest.approx(np.full((3, 1), rho), abs=0.02)
    assert np.abs(found.balance_z).max() < 3


def test_it_is_the_textbook_regression_where_the_split_is_fixed() -> None:
    """One period, even split: the difference is that of y on arm and two covariates by least squares."""
    rng, n = np.random.default_rng(3), 400
    arm = np.arange(n) % 2
    x = rng.normal(size=(n, 2)) @ np.array([[1.0, 0.4], [0.0, 1.0]])
    values = steps(0.2 * arm + x @ np.array([0.5, -0.3]) + 0.5 * rng.normal(size=n), x[:, 0], x[:, 1])
    design = np.column_stack([np.ones(n), arm, values[:, 1:]])
    beta, residuals, *_ = np.linalg.lstsq(design, values[:, 0], rcond=None)
    cells = periods_of(2, np.zeros(n), arm, values, np.full(n, 0.5))
    found = adjusted_means(AB, "a", cells, 0, [1, 2])
    assert found.difference[1] == pytest.approx(beta[1], rel=1e-9)
    assert found.coefficients[0] == pytest.approx(beta[2:], rel=1e-9)
    classical = np.sqrt(residuals[0] / (n - 4) * np.linalg.inv(design.T @ design)[1, 1])
    assert found.difference_se[1] == pytest.approx(classical, rel=0.01)


def test_slopes_by_arm_pay_off_where_arms_depend_on_x_differently() -> None:
    rng, cells = np.random.default_rng(4), []
    for _ in range(3):
        row = []
        for n, slope in ((2000, 1.0), (1000, -1.0)):
            x = rng.normal(size=n)
            row.append(moments_of(steps(slope * x + 0.3 * rng.normal(size=n), x), n / 3000))
        cells.append(row)
    common = adjusted_means(AB, "a", cells, 0, [1], [STEP] * 2)
    by_arm = adjusted_means(AB, "a", cells, 0, [1], [STEP] * 2, slopes="by arm")
    assert by_arm.coefficients[:, 0] == pytest.approx([1, -1], abs=0.03)
    assert by_arm.se[1] < 0.6 * common.se[1]
    assert np.all(by_arm.difference_se <= common.difference_se)


def test_without_covariates_the_raw_means_remain() -> None:
    rng = np.random.default_rng(5)
    cells = [[moments_of(steps(*correlated(rng, n, 0.5)), n / 400) for n in (100, 300)] for _ in range(2)]
    found = adjusted_means(AB, "b", cells, 0, [], [STEP, STEP])
    assert found.mean.tolist() == found.raw_mean.tolist()
    assert found.se.tolist() == found.raw_se.tolist()
    assert found.coefficients.shape == (2, 0)
    assert found.reduction[0] == 0.0
    m = cells[0][0] + cells[1][0]  # equal periods, one share: the raw mean is the plain one
    assert found.raw_mean[0] == pytest.approx(m.mean(0, STEP), rel=1e-12)


def test_a_covariate_that_an_arm_changes_shows() -> None:
    rng = np.random.default_rng(6)
    cells = [[moments_of(steps(rng.normal(size=500), rng.normal(size=500) + shift), 0.5) for shift in (0.0, 0.5)]]
    assert np.abs(adjusted_means(AB, "a", cells, 0, [1]).balance_z).max() > 4


def test_covariates_that_do_not_vary_or_repeat_each_other_do_no_harm() -> None:
    rng = np.random.default_rng(7)
    cells = []
    for _ in range(2):
        row = []
        for n in (300, 300):
            y, x = correlated(rng, n, 0.8)
            row.append(moments_of(steps(y, x, x, np.full(n, 5.0)), 0.5))
        cells.append(row)
    alone, all_three = adjusted_means(AB, "a", cells, 0, [1]), adjusted_means(AB, "a", cells, 0, [1, 2, 3])
    assert all_three.mean == pytest.approx(alone.mean, rel=1e-9)
    assert all_three.difference_se == pytest.approx(alone.difference_se, rel=2e-3)
    assert all_three.coefficients[0, 2] == 0.0


def test_periods_where_an_arm_is_missing_are_left_out_and_counted() -> None:
    rng = np.random.default_rng(8)
    whole = [moments_of(steps(*correlated(rng, 50, 0.5)), 0.5) for _ in range(2)]
    lone = [moments_of(steps(*correlated(rng, 50, 0.5)), 1.0), Moments.zero(2)]
    found, alone = adjusted_means(AB, "a", [lone, whole], 0, [1]), adjusted_means(AB, "a", [whole], 0, [1])
    assert found.mean.tolist() == alone.mean.tolist()
    assert (found.units, found.units_used, found.periods_used) == (150, 100, 1)


@pytest.mark.parametrize("periods", [[], [[Moments.zero(2), Moments.zero(2)]]])
def test_nothing_is_known_without_units(periods: list[list[Moments]]) -> None:
    found = adjusted_means(AB, "a", periods, 0, [1])
    assert np.isnan(found.mean).all()
    assert np.isnan(found.se).all()
    assert found.units_used == 0


def test_no_variance_gives_no_error() -> None:
    cells = [[moments_of(np.full((10, 2), 7), 0.5) for _ in range(2)]]
    found = adjusted_means(AB, "a", cells, 0, [1])
    assert found.mean.tolist() == [7.0, 7.0]
    assert found.se.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "changes, name",
    [
        ({"control": "z"}, "control"),
        ({"periods": [[Moments.zero(2)]]}, "periods"),
        ({"metric": 2}, "metric"),
        ({"metric": -1}, "metric"),
        ({"covariates": [0]}, "covariates"),
        ({"covariates": [1, 1]}, "covariates"),
        ({"covariates": [2]}, "covariates"),
        ({"slopes": "none"}, "slopes"),
    ],
)
def test_arguments_outside_their_domain_are_named(changes: dict[str, object], name: str) -> None:
    whole = {"arms": AB, "control": "a", "periods": [[Moments.zero(2)] * 2], "metric": 0, "covariates": [1]}
    with pytest.raises(ArgumentError) as raised:
        adjusted_means(**(whole | changes))  # type: ignore[arg-type]
    assert raised.value.name == name
