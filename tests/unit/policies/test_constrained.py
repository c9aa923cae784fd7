"""Constrained: Thompson while no limit binds, the linear programme when all is known, and the best rule in between."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog, minimize_scalar

from allocator import ArgumentError, load_experiment
from allocator.decide import decide
from allocator.policies import Choice, Constrained, Thompson
from allocator.quadrature import FloatArray
from tests.trained import context_of, evidence_of, sums_of

ARMS = ("a", "b", "c", "d")


def experiment(**changes: Any) -> Any:
    metrics = {"good": {"type": "value", "resolution": 1e-6}, "cost": {"type": "value", "direction": "down", "resolution": 1e-3}}
    rules = {"warmup": 0, "floor": 0, "max_shift": 1, "dead_band": 0}
    fields = {"experiment": "x", "arms": list(ARMS), "metrics": metrics, "objective": "good", "constraints": rules}
    return load_experiment({**fields, **changes})


def cells(n: int, good: list[float], cost: list[float], sd: float = 1.0) -> Any:
    """n units an arm with these means; values of `good` have this sd, costs hardly any."""
    found = {}
    for arm, x, y in zip(ARMS, good, cost, strict=True):
        steps, millis = round(x * 1e6), round(y * 1e3)
        totals, squares = [steps * n, millis * n], [(steps**2 + round(sd**2 * 1e12)) * n, millis**2 * n]
        found["", 0, arm] = sums_of(n, totals, squares)
    return found


def chosen(policy: Constrained, n: int, good: list[float], cost: list[float]) -> Choice:
    context = context_of(experiment(), cells(n, good, cost))
    return policy.choose(context.posteriors(), context)


GOOD, COST = [0.15, 0.3, 0.2, 0.0], [1.0, 3.0, 1.5, 0.5]


def test_while_no_limit_binds_it_is_thompson() -> None:
    context = context_of(experiment(), cells(1000, GOOD, COST))
    choice = Constrained({"cost": 5.0}).choose(context.posteriors(), context)
    np.testing.assert_allclose(choice.weights, Thompson().weights(context.posteriors()), atol=1e-4)  # its normal to a t
    assert choice.note == ""


@pytest.mark.parametrize(
    "limits", [{"budgets": {"cost": 1.2}}, {"budgets": {"cost": 2.0}}, {"floors": {"good": 0.15}, "budgets": {"cost": 1.4}}]
)
def test_when_all_is_known_it_is_the_linear_programme(limits: Any) -> None:
    """max w · good subject to w · cost ≤ budget."""
    policy = Constrained(**limits)
    rows, most = [COST], [policy.budgets["cost"]]
    if policy.floors:
        rows, most = [*rows, [-x for x in GOOD]], [*most, -policy.floors["good"]]
    best = linprog([-x for x in GOOD], rows, most, [[1.0] * 4], [1.0], method="highs").x
    choice = chosen(policy, 10**11, GOOD, COST)
    np.testing.assert_allclose(choice.weights, best, atol=1e-5)
    assert choice.note == f"held back by cost ≤ {policy.budgets['cost']:g}"


def test_in_between_no_rule_within_the_budget_earns_more() -> None:
    """By duality the best rule earns min over λ ≥ 0 of E max_k (θ_k - λ (cost_k - budget)), and serves P(best) at that λ."""
    n, budget = 100, 1.4
    context = context_of(experiment(), cells(n, GOOD, COST))
    known = context.posteriors()
    choice = Constrained({"cost": budget}).choose(known, context)
    draws = known.mean + known.sd * np.random.default_rng(5).normal(size=(400_000, 4))
    excess = context.metrics["cost"].mean - budget

    def bound(price: float) -> float:
        return float((draws - price * excess).max(axis=1).mean())

    price = float(minimize_scalar(bound, bounds=(0, 2), method="bounded", options={"xatol": 1e-6}).x)
    served = np.bincount((draws - price * excess).argmax(axis=1), minlength=4) / len(draws)
    np.testing.assert_allclose(choice.weights, served, atol=4e-3)  # four standard errors and more
    assert choice.weights @ excess <= 1e-6
    assert choice.weights @ excess >= -1e-6, "the budget is used up"


def test_limits_that_cannot_be_kept_are_missed_by_as_little_as_can_be() -> None:
    choice = chosen(Constrained({"cost": 0.4}), 10**6, GOOD, COST)
    assert choice.note == "no shares keep cost ≤ 0.4: as near to it as can be"
    assert choice.weights[3] > 0.99, "the cheapest"
    assert choice.weights @ COST == pytest.approx(0.5 + 1e-3 * 2.6, abs=1e-6)  # within a thousandth of the range of what can be


@pytest.mark.parametrize(
    "tolerances, limits",
    [
        ({"cost": "20%"}, {"budgets": {"cost": 1.2}}),  # control's cost is 1, and less is better
        ({"cost": 0.5}, {"budgets": {"cost": 1.5}}),
        ({"good": "0%"}, {"floors": {"good": 0.15}}),
        ({"good": "20%", "cost": 1}, {"floors": {"good": 0.12}, "budgets": {"cost": 2.0}}),
    ],
)
def test_a_tolerance_is_a_limit_beside_control(tolerances: Any, limits: Any) -> None:
    beside, plain = (
        chosen(Constrained(tolerances=tolerances), 10**6, GOOD, COST),
        chosen(Constrained(**limits), 10**6, GOOD, COST),
    )
    np.testing.assert_allclose(beside.weights, plain.weights, atol=1e-4)  # control's mean has a prior
    assert ("held back by" in beside.note) == ("held back by" in plain.note)


def test_a_tolerance_is_told_as_it_was_written() -> None:
    choice = chosen(Constrained(tolerances={"cost": "20%"}), 10**6, GOOD, COST)
    assert choice.note == "held back by cost ≤ control + 20%"


def test_of_two_limits_that_fight_each_other_both_are_named() -> None:
    choice = chosen(Constrained(budgets={"cost": 0.2}, floors={"good": 0.9}), 10**6, GOOD, COST)
    assert choice.note == "no shares keep cost ≤ 0.2, good ≥ 0.9: as near to it as can be"
    assert choice.weights.sum() == pytest.approx(1)


def test_before_every_metric_has_a_unit_limits_say_nothing() -> None:
    spec = experiment()
    context = context_of(spec, {})
    choice = Constrained({"cost": 1.0}).choose(context.posteriors(), context)
    np.testing.assert_allclose(choice.weights, 0.25)
    assert choice.note == "limits are not looked at before every metric has a unit"


def test_the_decision_says_what_held_it_back() -> None:
    spec = experiment(policy={"name": "constrained", "budgets": {"cost": 1.2}})
    decision = decide(spec, evidence_of(spec, cells(1000, GOOD, COST)), None, 0.0)
    assert decision.reason.endswith("held back by cost ≤ 1.2")
    assert shares(decision) @ np.array(COST) <= 1.2 + 1e-5


def shares(decision: Any) -> FloatArray:
    return np.array([arm.ppm for arm in decision.weights.arms]) / 1e6


@pytest.mark.parametrize(
    "params, name",
    [
        ({}, "budgets"),
        ({"budgets": 3}, "budgets"),
        ({"budgets": {"cost": "3"}}, "budgets"),
        ({"floors": {"cost": float("nan")}}, "floors"),
        ({"floors": {"cost": True}}, "floors"),
        ({"tolerances": 3}, "tolerances"),
        ({"tolerances": {"cost": "much"}}, "tolerances.cost"),
        ({"tolerances": {"cost": -1}}, "tolerances.cost"),
    ],
)
def test_limits_are_numbers_by_metric(params: Any, name: str) -> None:
    with pytest.raises(ArgumentError, match=f"^{name}"):
        Constrained(**params)


def test_limits_are_of_metrics_there_are() -> None:
    context = context_of(experiment(), {})
    with pytest.raises(ArgumentError, match=r"^budgets.latency: 3: expected a limit of a metric of the experiment: good, cost"):
        Constrained({"latency": 3}).choose(context.posteriors(), context)
