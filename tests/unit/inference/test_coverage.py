"""A quick round of the coverage experiment; docs/reproduction.md has the long one, with 4000 runs."""

from __future__ import annotations

import pytest

from allocator.inference import asymptotic
from tests.reproduce.coverage import ALPHA, INVALID, METHODS, World, at_end, coverage
from tests.reproduce.widths import fixed_split, price

RUNS = 300
DRIFTING = World(rates=(0.3, 0.3, 0.3), drift=0.5)
RARE = World(rates=(0.02, 0.02, 0.02))
HEAVY_TAILED = World(rates=(1.0, 1.0, 1.0), sigma=1.5)


@pytest.mark.parametrize("method", METHODS)
def test_no_anytime_method_errs_more_often_than_it_says(method: str) -> None:
    share, standard_error = coverage(method, RUNS)
    assert share <= ALPHA + 2 * standard_error


@pytest.mark.parametrize("method", INVALID)
def test_the_experiment_notices_intervals_that_do_not_hold(method: str) -> None:
    share, standard_error = coverage(method, RUNS, world=RARE if "asymptotic" in method else World())
    assert share > ALPHA + 4 * standard_error


@pytest.mark.parametrize("method", ["empirical-bernstein difference", "asymptotic difference"])
def test_propensities_may_vary_within_a_period_and_rates_may_drift(method: str) -> None:
    for world in (World(batches_per_period=5), DRIFTING):
        share, standard_error = coverage(method, RUNS, world=world)
        assert share <= ALPHA + 2 * standard_error
    assert coverage("beta-mixture difference and lift", RUNS, world=DRIFTING)[0] > 0.5  # it assumes steady rates


@pytest.mark.parametrize("method", ["asymptotic mean", "asymptotic difference", "asymptotic lift"])
def test_values_with_heavy_tails(method: str) -> None:
    share, standard_error = coverage(method, RUNS, world=HEAVY_TAILED)
    assert share <= ALPHA + 2 * standard_error
    assert coverage("plain asymptotic difference", RUNS, world=HEAVY_TAILED)[0] > 2 * ALPHA


def test_few_successes_are_what_the_variance_rules_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    share, standard_error = coverage("asymptotic mean", RUNS, world=RARE)
    assert share <= ALPHA + 2 * standard_error
    monkeypatch.setattr(asymptotic, "VARIANCE_UNITS", 1e-9)
    assert coverage("asymptotic mean", RUNS, world=RARE)[0] > 2 * ALPHA


def test_sample_means_are_biased_and_weighted_ones_are_not() -> None:
    bias, standard_error, _ = at_end("sample mean", RUNS)
    assert bias < -3 * standard_error
    for estimator in ("ipw", "aipw"):
        bias, standard_error, held = at_end(estimator, RUNS)
        assert abs(bias) < 3 * standard_error
        assert held > 0.9


@pytest.mark.parametrize(
    "method,most",
    [
        ("beta-mixture mean", 2.2),
        ("empirical-bernstein mean", 2.0),
        ("asymptotic mean", 1.8),
        ("beta-mixture difference", 2.8),
        ("empirical-bernstein difference", 2.0),
        ("asymptotic difference", 1.8),
    ],
)
def test_the_price_of_peeking_at_10_000_units(method: str, most: float) -> None:
    assert 1.3 < price(method, fixed_split(2, 0.1), runs=20) < most
