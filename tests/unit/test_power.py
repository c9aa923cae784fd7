"""Sample size, power and least detectable effect: computed numbers, one relation seen from three sides, simulated tests."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator import ArgumentError
from allocator.inference import (
    Baseline,
    Count,
    Design,
    Mean,
    Proportion,
    Ratio,
    Traffic,
    detectable_effect,
    duration,
    even_shares,
    power_of,
    sample_size,
)

CLICKS_A_VIEW = Ratio(numerator=1.2, numerator_sd=3.0, denominator=10.0, denominator_sd=8.0, correlation=0.7)
BASELINES = [Proportion(0.1), Proportion(0.97), Mean(3.0, 2.0), Mean(0.0, 1e-6), Count(0.4), Count(5.0, 3.0), CLICKS_A_VIEW]


@st.composite
def designs(draw: st.DrawFn) -> Design:
    weights = draw(st.lists(st.floats(0.05, 1), min_size=2, max_size=5))
    alpha = draw(st.floats(1e-6, 0.3))
    return Design(
        tuple(weight / math.fsum(weights) for weight in weights),
        alpha=alpha,
        power=draw(st.floats(0.4, 0.999)),
        two_sided=draw(st.booleans()),
        comparisons=draw(st.none() | st.integers(1, 20)),
    )


@pytest.mark.parametrize("control,treatment,n", [(0.10, 0.11, 14_748.05), (0.5, 0.45, 1561.93), (0.05, 0.055, 31_230.69)])
def test_units_an_arm_for_two_proportions(control: float, treatment: float, n: float) -> None:
    """Computed for this project: two-sided .05, power .8, variances not pooled."""
    plan = sample_size(Proportion(control), treatment - control, Design())
    assert [round(units, 2) for units in plan.units] == [n, n]
    assert plan.whole_units == (math.ceil(n),) * 2
    assert plan.whole_total == 2 * math.ceil(n)


@pytest.mark.parametrize(
    "effect,design,n",
    [
        (0.1, Design((0.25, 0.75), two_sided=False), 824.3409642693737),
        (0.1, Design(alpha=0.05 / 3, power=0.9, two_sided=False), 2325.070067385055),
        (0.1, Design(even_shares(4), power=0.9, two_sided=False), 2325.070067385055),
        # Counts finds in the wrong direction, too: a millionth of the power.
        (0.1, Design(), pytest.approx(1569.7721019023288, rel=1e-5)),
    ],
)
def test_units_of_control_agree_with_statsmodels(effect: float, design: Design, n: Any) -> None:
    """statsmodels 0.15.0, NormalIndPower().solve_power(effect, None, alpha, power, ratio, alternative)."""
    assert sample_size(Mean(0.0, 1.0), effect, design).units[0] == (
        n if not isinstance(n, float) else pytest.approx(n, rel=1e-10)
    )


@pytest.mark.parametrize("effect,n,ratio,power", [(0.1, 1000, 1, 0.7228115956892014), (0.2, 500, 2, 0.977605467524708)])
def test_power_agrees_with_statsmodels(effect: float, n: int, ratio: int, power: float) -> None:
    """statsmodels 0.15.0, NormalIndPower().power(effect, n, 0.05, ratio, 'larger')."""
    design = Design((1 / (1 + ratio), ratio / (1 + ratio)), two_sided=False)
    assert power_of(Mean(7.0, 1.0), effect, n * (1 + ratio), design).power == pytest.approx(power, rel=1e-10)


@given(st.sampled_from(BASELINES), designs(), st.floats(-0.02, 0.02).filter(lambda x: abs(x) > 1e-4))
def test_the_three_questions_are_one_relation(baseline: Baseline, design: Design, size: float) -> None:
    effect = size * math.sqrt(baseline.variance(baseline.value))
    plan = sample_size(baseline, effect, design)
    again = power_of(baseline, effect, plan.total, design)
    assert again.power == pytest.approx(design.power, abs=1e-9)
    assert again.units == plan.units
    least = detectable_effect(baseline, plan.total, design, "up" if effect > 0 else "down")
    assert least.effect == pytest.approx(effect, rel=1e-9)
    assert math.fsum(plan.units) == pytest.approx(plan.total)


@given(st.sampled_from(BASELINES), designs(), st.floats(1e-3, 0.02))
def test_more_is_asked_for_more_power_less_error_and_smaller_effects(baseline: Baseline, design: Design, size: float) -> None:
    effect = size * math.sqrt(baseline.variance(baseline.value))
    total = sample_size(baseline, effect, design).total
    assert sample_size(baseline, effect, replace(design, power=(1 + design.power) / 2)).total > total
    assert sample_size(baseline, effect, replace(design, alpha=design.alpha / 2)).total > total
    assert sample_size(baseline, effect / 2, design).total > total
    assert sample_size(baseline, effect, replace(design, comparisons=design.divisor + 1)).total > total


@given(designs(), st.floats(1e-6, 1e6), st.floats(0.01, 10.0))
def test_the_unit_of_a_metric_changes_nothing(design: Design, scale: float, lift: float) -> None:
    plain = sample_size(Mean(2.0, 3.0), 2.0 * lift, design)
    scaled = sample_size(Mean(2.0 * scale, 3.0 * scale), 2.0 * scale * lift, design)
    assert scaled.total == pytest.approx(plain.total)
    assert scaled.lift == pytest.approx(plain.lift)


def test_bonferroni_divides_alpha_and_the_smallest_arm_rules() -> None:
    baseline, shares = Proportion(0.1), (0.4, 0.3, 0.1, 0.2)
    several = sample_size(baseline, 0.01, Design(shares))
    alone = sample_size(baseline, 0.01, Design((0.4, 0.1), alpha=0.05 / 3))
    assert several.total == pytest.approx(alone.total)
    assert several.units == pytest.approx([several.total * share for share in shares])
    assert any("3 comparisons with control, each at 0.05 / 3 (Bonferroni)" in sentence for sentence in several.assumptions)
    assert sample_size(baseline, 0.01, Design(shares, comparisons=1)).total < several.total


def test_an_even_split_of_two_needs_least() -> None:
    totals = [sample_size(Mean(1.0, 1.0), 0.1, Design((q, 1 - q))).total for q in (0.5, 0.6, 0.75, 0.9, 0.99)]
    assert totals == sorted(totals)
    assert totals[2] == pytest.approx(totals[0] * 4 / 3)


def test_a_ratio_over_a_constant_is_a_mean() -> None:
    ratio, mean = Ratio(6.0, 2.0, 3.0, 0.0, 0.0), Mean(2.0, 2.0 / 3.0)
    assert sample_size(ratio, 0.1, Design()).total == pytest.approx(sample_size(mean, 0.1, Design()).total)


def test_the_delta_method_gives_the_variance_that_a_ratio_has() -> None:
    rng, runs, n = np.random.default_rng(5), 4000, 400
    c = CLICKS_A_VIEW
    shared, own = rng.normal(size=(2, runs, n))
    y = c.numerator + c.numerator_sd * (c.correlation * shared + math.sqrt(1 - c.correlation**2) * own)
    x = c.denominator + c.denominator_sd * shared
    found = (y.mean(axis=1) / x.mean(axis=1)).std() * math.sqrt(n)
    assert found == pytest.approx(math.sqrt(c.variance(c.value)), rel=4 / math.sqrt(2 * runs))


@pytest.mark.parametrize("effect,power", [(0.02, 0.8), (-0.02, 0.9), (0.0, 0.025)])
def test_simulated_tests_have_the_planned_power(effect: float, power: float) -> None:
    """Without an effect: the half of alpha on one side."""
    design = Design((1 / 3, 2 / 3), power=power if effect else 0.8)
    plan = sample_size(Proportion(0.1), effect or 0.02, design)
    rng, runs = np.random.default_rng(7), 20_000
    n0, n1 = plan.whole_units
    p0, p1 = rng.binomial(n0, 0.1, runs) / n0, rng.binomial(n1, 0.1 + effect, runs) / n1
    z = (p1 - p0) / np.sqrt(p0 * (1 - p0) / n0 + p1 * (1 - p1) / n1)
    found = np.mean(z * math.copysign(1, effect) > design.z_alpha)
    assert found == pytest.approx(power, abs=4 * math.sqrt(power * (1 - power) / runs) + 0.003)


def test_a_down_effect_is_negative_and_has_its_own_variance() -> None:
    up = detectable_effect(Proportion(0.1), 20_000, Design(), "up")
    down = detectable_effect(Proportion(0.1), 20_000, Design(), "down")
    assert up.effect > -down.effect > 0
    assert (up.lift, down.lift) == (up.effect / 0.1, down.effect / 0.1)


@pytest.mark.parametrize("total", [1e-3, 1.0, 1e3, 1e15])
@pytest.mark.parametrize("baseline", [Mean(1e-9, 1e9), Mean(-5.0, 0.1), Count(1e-6)], ids=repr)
def test_extreme_totals_give_finite_effects(baseline: Baseline, total: float) -> None:
    plan = detectable_effect(baseline, total, Design())
    assert math.isfinite(plan.effect)
    assert power_of(baseline, plan.effect, total, Design()).power == pytest.approx(0.8)


def test_time_from_traffic() -> None:
    traffic = Traffic(units_per_day=10_000, usable=0.45, window_days=2)
    took = duration(45_000, traffic)
    assert took.days == pytest.approx(12)
    assert took.whole_weeks == 2
    assert traffic.units_after(took.days) == pytest.approx(45_000)
    assert traffic.units_after(1) == 0
    assert duration(31_500, traffic).whole_weeks == 1


def test_rough_approximations_say_so() -> None:
    assert any("rough" in sentence for sentence in power_of(Proportion(0.01), 0.02, 1000, Design()).assumptions)
    assert any("t test" in sentence for sentence in power_of(Mean(1.0, 1.0), 2.0, 20, Design()).assumptions)
    assert not any("rough" in sentence for sentence in sample_size(Proportion(0.1), 0.01, Design()).assumptions)


@pytest.mark.parametrize("baseline", BASELINES, ids=repr)
def test_results_name_their_method_and_assumptions(baseline: Baseline) -> None:
    plan = detectable_effect(baseline, 1e6, Design(two_sided=False))
    assert plan.method.startswith("one-sided z test of a difference of ")
    assert set(baseline.assumptions) <= set(plan.assumptions)
    assert duration(10, Traffic(5)).assumptions


@pytest.mark.parametrize(
    "name,call",
    [
        ("baseline", lambda: Proportion(0.0)),
        ("baseline", lambda: Proportion(1.0)),
        ("baseline", lambda: Proportion(math.nan)),
        ("baseline", lambda: Mean(math.inf, 1.0)),
        ("baseline", lambda: Mean(1e200, 1.0)),
        ("sd", lambda: Mean(1.0, 1e-200)),
        ("sd", lambda: Mean(1.0, 0.0)),
        ("baseline", lambda: Count(0.0)),
        ("dispersion", lambda: Count(1.0, -1.0)),
        ("denominator", lambda: replace(CLICKS_A_VIEW, denominator=0.0)),
        ("numerator", lambda: replace(CLICKS_A_VIEW, numerator=math.nan)),
        ("numerator_sd", lambda: replace(CLICKS_A_VIEW, numerator_sd=0.0)),
        ("denominator_sd", lambda: replace(CLICKS_A_VIEW, denominator_sd=-1.0)),
        ("correlation", lambda: replace(CLICKS_A_VIEW, correlation=1.0)),
        ("shares", lambda: Design((1.0,))),
        ("shares", lambda: Design((0.5, 0.6))),
        ("shares", lambda: Design((0.5, 0.0))),
        ("alpha", lambda: Design(alpha=0.0)),
        ("alpha", lambda: Design(alpha=0.6)),
        ("power", lambda: Design(power=1.0)),
        ("power", lambda: Design(power=0.05)),
        ("comparisons", lambda: Design(comparisons=0)),
        ("arms", lambda: even_shares(1)),
        ("effect", lambda: sample_size(Proportion(0.1), 0.0, Design())),
        ("effect", lambda: sample_size(Proportion(0.1), 0.9, Design())),
        ("effect", lambda: sample_size(Mean(0.0, 1.0), 1e-100, Design())),
        ("effect", lambda: power_of(Count(1.0), -1.0, 10, Design())),
        ("total", lambda: power_of(Proportion(0.1), 0.01, 0, Design())),
        ("total", lambda: detectable_effect(Proportion(0.1), -1, Design())),
        ("total", lambda: detectable_effect(Proportion(0.1), 20, Design(), "down")),
        ("total", lambda: detectable_effect(CLICKS_A_VIEW, 0.1, Design())),
        ("total", lambda: duration(math.nan, Traffic(1))),
        ("direction", lambda: detectable_effect(Proportion(0.1), 20, Design(), "left")),  # type: ignore[arg-type]
        ("units_per_day", lambda: Traffic(0)),
        ("usable", lambda: Traffic(1, usable=0)),
        ("window_days", lambda: Traffic(1, window_days=-1)),
    ],
)
def test_what_is_outside_its_domain_is_named(name: str, call: Any) -> None:
    with pytest.raises(ArgumentError) as error:
        call()
    assert error.value.name == name
