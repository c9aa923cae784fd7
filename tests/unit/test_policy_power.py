"""Power of policies by simulation: what is read off a simulator's answer. The simulator here is a coin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from allocator import ArgumentError
from allocator.inference import SimulatedRuns, simulated_power

HORIZONS = (100.0, 200.0, 400.0, 800.0)


def answering(correct: Sequence[int], runs: int = 100, decided_at: Sequence[float] = ()) -> Any:
    def simulate(horizons: Sequence[float]) -> SimulatedRuns:
        assert tuple(horizons) == HORIZONS
        return SimulatedRuns("thompson", runs, tuple(correct), tuple(decided_at), ("Two arms, seed 1.",))

    return simulate


@pytest.mark.parametrize(
    "correct,total",
    [
        ((50, 70, 90, 95), 300),
        ((50, 60, 70, 80), 800),
        ((50, 60, 70, 79), None),
        ((80, 90, 95, 99), 100),
        ((90, 70, 90, 99), 300),  # from there on it stays
        ((50, 70, 90, 70), None),
    ],
)
def test_units_from_which_on_the_best_arm_is_in_front(correct: tuple[int, ...], total: float | None) -> None:
    plan = simulated_power(answering(correct), HORIZONS, 0.8)
    assert plan.total == (total if total is None else pytest.approx(total))
    assert [n for n, _, _ in plan.horizons] == list(HORIZONS)
    p = (correct[0] + 2) / 104
    assert plan.horizons[0][1:] == pytest.approx((correct[0] / 100, math.sqrt(p * (1 - p) / 100)))
    assert (plan.total_error is None) == (total in (None, 100))


def test_the_error_of_the_units_is_that_of_the_share_over_the_slope() -> None:
    plan = simulated_power(answering((50, 70, 90, 95)), HORIZONS, 0.8)
    assert plan.total_error is not None
    half_way = (plan.horizons[1][2] + plan.horizons[2][2]) / 2
    assert plan.total_error == pytest.approx(half_way / (0.2 / 200))


@pytest.mark.parametrize(
    "decided_at,median",
    [((), None), ((10.0, 20.0, 40.0), 20.0), ((10.0, 20.0, math.inf, math.inf), 20.0), ((1.0, math.inf, math.inf), None)],
)
def test_half_of_the_runs_have_decided(decided_at: tuple[float, ...], median: float | None) -> None:
    runs = len(decided_at) or 4
    assert simulated_power(answering((1, 1, 1, 1), runs, decided_at), HORIZONS, 0.8).median_decided_at == median


def test_it_names_the_simulation_and_what_it_assumed() -> None:
    plan = simulated_power(answering((50, 70, 90, 95)), HORIZONS, 0.8)
    assert plan.method == "simulation of thompson, 100 runs"
    assert plan.assumptions == ("Two arms, seed 1.",)


def test_a_real_simulation_is_one_callable() -> None:
    """Greedy after an even split, two arms .5 and .6: right where the better arm has more successes."""

    def simulate(horizons: Sequence[float]) -> SimulatedRuns:
        rng, runs = np.random.default_rng(3), 4000
        ahead = [int((rng.binomial(int(n / 2), 0.6, runs) > rng.binomial(int(n / 2), 0.5, runs)).sum()) for n in horizons]
        return SimulatedRuns("even split", runs, tuple(ahead))

    plan = simulated_power(simulate, (50, 100, 200, 400), 0.9)
    assert plan.total is not None
    assert 100 < plan.total < 200


@pytest.mark.parametrize(
    "name,call",
    [
        ("horizons", lambda: simulated_power(answering((1,)), (), 0.8)),
        ("horizons", lambda: simulated_power(answering((1,)), (200.0, 100.0), 0.8)),
        ("horizons", lambda: simulated_power(answering((1,)), (0.0,), 0.8)),
        ("power", lambda: simulated_power(answering((1,)), HORIZONS, 1.0)),
        ("simulate", lambda: simulated_power(answering((1, 2, 3)), HORIZONS, 0.8)),
        ("simulate", lambda: simulated_power(answering((1, 2, 3, 101)), HORIZONS, 0.8)),
        ("simulate", lambda: simulated_power(answering((1, 2, 3, 4), 100, (5.0,)), HORIZONS, 0.8)),
        ("simulate", lambda: simulated_power(answering((0, 0, 0, 0), 0), HORIZONS, 0.8)),
    ],
)
def test_what_is_outside_its_domain_is_named(name: str, call: Any) -> None:
    with pytest.raises(ArgumentError) as error:
        call()
    assert error.value.name == name
