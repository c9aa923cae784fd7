"""Many runs as one answer."""

from __future__ import annotations

import numpy as np
import pytest

from allocator import ArgumentError
from allocator.simulate import Outcome, Plan, Trace
from allocator.simulate.baselines import kl_ucb, ucb1

INF, NAN = float("inf"), float("nan")
PLAN = Plan(horizon=20, batch=10)


def trace(regret: float, right: float, decided_at: float = INF, decided_right: float = NAN) -> Trace:
    shares = np.array([[0.5, 0.5], [0.2, 0.8]])
    return Trace(np.array([1.0, regret]), shares, np.array([0.5, 0.8]), np.array([1.0, right]), decided_at, decided_right)


def test_means_have_the_standard_error_of_their_runs() -> None:
    outcome = Outcome.of(PLAN, [trace(4, 1), trace(6, 0), trace(8, 1), trace(10, 1)])
    assert outcome.steps.tolist() == [10, 20]
    assert outcome.final_regret.value == 7
    assert outcome.final_regret.standard_error == pytest.approx(np.std([4, 6, 8, 10], ddof=1) / 2)
    assert outcome.regret.standard_error[0] == 0
    assert outcome.final_right.value == 0.75
    assert outcome.final_right.standard_error == pytest.approx((0.625 * 0.375 / 4) ** 0.5)
    assert outcome.best_share.value.tolist() == [0.5, 0.8]
    assert outcome.shares.value.tolist() == [[0.5, 0.5], [0.2, 0.8]]


def test_when_all_runs_agree_the_error_is_not_nought() -> None:
    assert Outcome.of(PLAN, [trace(4, 1)] * 10).final_right.standard_error > 0.05


def test_decisions_count_where_they_were_made() -> None:
    outcome = Outcome.of(PLAN, [trace(4, 1, 10, 1), trace(4, 1, 20, 0), trace(4, 1), trace(4, 1)])
    assert (outcome.decided.value, outcome.decided_right.value, outcome.time_to_decision.value) == (0.5, 0.5, 15)
    nobody = Outcome.of(PLAN, [trace(4, 1)])
    assert nobody.decided.value == 0
    assert np.isnan(Outcome.of(PLAN, [trace(4, 1, NAN)]).decided.value)
    assert np.isnan([nobody.time_to_decision.value, nobody.decided_right.value, nobody.final_regret.standard_error]).all()


def test_no_runs_are_no_outcome() -> None:
    with pytest.raises(ArgumentError, match="traces"):
        Outcome.of(PLAN, [])


def test_assumptions_are_part_of_it() -> None:
    outcome = Outcome.of(PLAN, [trace(4, 1)])
    assert "standard errors" in outcome.method
    assert len(outcome.assumptions) >= 4


def test_ucb1_by_hand() -> None:
    index = ucb1(np.array([4.0, 0.0]), np.array([2.0, 0.0]), 4)
    assert index.tolist() == [pytest.approx(0.5 + np.sqrt(2 * np.log(4) / 4)), np.inf]


def test_kl_ucb_solves_its_equation() -> None:
    n, total = np.array([10.0, 100.0, 5.0, 7.0]), np.array([3.0, 30.0, 0.0, 7.0])
    q = kl_ucb(n, total, 122)
    p = total / n
    with np.errstate(divide="ignore", invalid="ignore"):
        kl = np.nan_to_num(p * np.log(p / q)) + np.nan_to_num((1 - p) * np.log((1 - p) / (1 - q)))
    np.testing.assert_allclose((n * kl)[:3], np.log(122), rtol=1e-6)
    assert q[3] == pytest.approx(1)
    assert kl_ucb(np.zeros(2), np.zeros(2), 0).tolist() == [np.inf, np.inf]
