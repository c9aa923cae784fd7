"""A guardrail that is looked at all the time: its boundary, how soon it finds a loss, and how seldom it cries wolf."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from scipy import integrate

from allocator import ArgumentError
from allocator.inference import Design, Mean, Proportion, early_detection, even_shares, guardrail_power
from allocator.inference.boundaries import best_rho, one_sided_normal_bound

RATE, LOSS = 0.1, -0.02
RUNS, EACH = 2000, 4
"""Runs, and units an arm between two looks."""


def found_at(treatment: float, total: float, rho: float) -> npt.NDArray[np.float64]:
    """Units in all at which each run finds the loss, inf where it does not by `total`; from 100 units an arm on."""
    rng = np.random.default_rng(11)
    looks = math.ceil(total / 2 / EACH)
    n = EACH * np.arange(1, looks + 1)
    p0 = rng.binomial(EACH, RATE, (RUNS, looks)).cumsum(axis=1) / n
    p1 = rng.binomial(EACH, treatment, (RUNS, looks)).cumsum(axis=1) / n
    s = np.sqrt(2 * (p0 * (1 - p0) + p1 * (1 - p1))) + 1e-300
    crossed = (2 * n * (p0 - p1) / s >= one_sided_normal_bound(2 * n, 0.05, rho)) & (n >= 100)
    return np.where(crossed.any(axis=1), 2.0 * n[crossed.argmax(axis=1)], np.inf)


def test_simulated_losses_are_found_when_planned() -> None:
    plan = early_detection(Proportion(RATE), LOSS, Design())
    end = plan.looks[-1][0]
    found = found_at(RATE + LOSS, end, float(best_rho(plan.at_end, 0.05, two_sided=False)))
    assert np.mean(found <= plan.total) == pytest.approx(0.8, abs=3 * math.sqrt(0.16 / RUNS) + 0.005)
    until = np.minimum(found, end)
    assert until.mean() == pytest.approx(plan.mean_total, abs=4 * until.std() / math.sqrt(RUNS) + 2 * EACH)


def test_without_a_loss_it_is_seldom_found_however_long_one_looks() -> None:
    plan = early_detection(Proportion(RATE), LOSS, Design())
    alarms = np.mean(found_at(RATE, 3 * plan.total, float(best_rho(plan.at_end, 0.05, two_sided=False))) < np.inf)
    assert alarms <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / RUNS)


@pytest.mark.parametrize("v", [0.0, 1.0, 100.0, 1e5])
@pytest.mark.parametrize("alpha,rho", [(0.05, 15.0), (0.001, 1.0), (0.4, 300.0)])
def test_the_boundary_is_where_the_mixture_reaches_one_over_alpha(v: float, alpha: float, rho: float) -> None:
    s, top = float(one_sided_normal_bound(v, alpha, rho)), 40 / math.sqrt(v + rho)

    def weighted(drift: float) -> float:
        return 2 * math.sqrt(rho / (2 * math.pi)) * math.exp(drift * s - drift**2 * (v + rho) / 2)

    mixture, _ = integrate.quad(weighted, 0, s / (v + rho) + top, points=[s / (v + rho)], epsabs=0, epsrel=1e-11, limit=200)
    assert mixture * alpha == pytest.approx(1, rel=1e-8)


@pytest.mark.parametrize("v,alpha", [(100.0, 0.05), (1e6, 0.01), (1.0, 1e-4)])
def test_it_is_tuned_to_be_about_tightest_there(v: float, alpha: float) -> None:
    tuned = float(one_sided_normal_bound(v, alpha, float(best_rho(v, alpha, two_sided=False))))
    best = min(float(one_sided_normal_bound(v, alpha, v * factor)) for factor in np.geomspace(1e-4, 10, 400))
    assert tuned == pytest.approx(best, rel=1e-4)


def test_finer_steps_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    coarse = early_detection(Proportion(RATE), LOSS, Design())
    monkeypatch.setattr(guardrail_power, "GROWTH", 1.015)
    monkeypatch.setattr(guardrail_power, "NODES", 200)
    fine = early_detection(Proportion(RATE), LOSS, Design())
    assert coarse.total == pytest.approx(fine.total, rel=5e-4)
    assert coarse.mean_total == pytest.approx(fine.mean_total, rel=2e-3)


def test_looking_all_the_time_is_no_more_than_twice_as_late_and_on_average_little_later() -> None:
    plan = early_detection(Mean(10.0, 5.0), -1.0, Design())
    assert plan.at_end < plan.mean_total < 1.2 * plan.at_end < plan.total < 2 * plan.at_end
    probabilities = [p for _, p in plan.looks]
    assert all(a <= b <= 1 + 1e-9 for a, b in pairwise(probabilities))
    assert probabilities[-1] >= 0.999


def test_only_the_size_of_the_loss_in_standard_deviations_counts() -> None:
    down, up = early_detection(Mean(10.0, 5.0), -1.0, Design()), early_detection(Mean(3.0, 50.0), 10.0, Design(two_sided=False))
    assert up.total == pytest.approx(down.total)
    assert (up.loss, down.loss, down.lift) == (10.0, -1.0, -0.1)


def test_several_arms_share_alpha() -> None:
    several = early_detection(Proportion(RATE), LOSS, Design(even_shares(4)))
    alone = early_detection(Proportion(RATE), LOSS, Design((0.25, 0.25), alpha=0.05 / 3))
    assert several.total == pytest.approx(alone.total)
    assert several.units == pytest.approx([several.total / 4] * 4)
    assert any("0.05 / 3" in sentence and "Bonferroni" in sentence for sentence in several.assumptions)
    assert "normal-mixture" in several.method


def test_a_loss_that_the_first_look_shows_is_found_there() -> None:
    plan = early_detection(Mean(10.0, 1.0), -5.0, Design(), minimum=100)
    assert plan.total == 200
    assert plan.mean_total == pytest.approx(200)
    assert plan.units == (100, 100)


def test_a_boundary_tuned_elsewhere_is_wider_here() -> None:
    tuned, elsewhere = (early_detection(Proportion(RATE), LOSS, Design(), tuned_at=at) for at in (None, 1e6))
    assert elsewhere.total > tuned.total


@pytest.mark.parametrize("loss", [-0.09999, -1e-6])
@pytest.mark.parametrize(
    "design", [Design(), Design((0.999, 0.001)), Design(alpha=1e-200), Design(alpha=0.5, power=0.999999)], ids=repr
)
def test_extremes_are_found_in_finite_time(loss: float, design: Design) -> None:
    plan = early_detection(Proportion(RATE), loss, design)
    assert 0 < plan.mean_total < math.inf
    assert 0 < plan.total <= plan.looks[-1][0] < math.inf


@pytest.mark.parametrize(
    "name,arguments",
    [
        ("loss", {"loss": 0.0}),
        ("loss", {"loss": -0.1}),
        ("loss", {"loss": math.nan}),
        ("loss", {"loss": -1e-100}),
        ("minimum", {"minimum": 0.0}),
        ("tuned_at", {"tuned_at": -1.0}),
    ],
)
def test_what_is_outside_its_domain_is_named(name: str, arguments: dict[str, float]) -> None:
    with pytest.raises(ArgumentError) as error:
        early_detection(Proportion(RATE), **{"loss": LOSS, "design": Design(), **arguments})  # type: ignore[arg-type]
    assert error.value.name == name
