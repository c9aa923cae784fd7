"""What arrives is what the join would have counted: exact sums of whole values, each at its own time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from allocator import Experiment, load_experiment
from allocator.moments import layout_of
from allocator.simulate import load_world
from allocator.simulate.draws import Draws, Stretch, _summed
from allocator.simulate.ledger import Ledger

WEIGHTS = (2_000_000, 4_000_000, 4_000_000)
COUNTS = np.array([500, 0, 250])


def experiment(**metrics: Any) -> Experiment:
    return load_experiment(
        {"experiment": "x", "arms": ["a", "b", "c"], "metrics": metrics, "objective": next(iter(metrics)), "period": "1000s"}
    )


def drawn(spec: Experiment, arm: dict[str, Any], seed: int = 0, **fields: Any) -> Ledger:
    """Ledger after 750 units of batch 0, of 1000 steps."""
    world = load_world({"arms": {"*": arm}, **fields}, spec)
    rng = np.random.default_rng(seed)
    ledger = Ledger(spec.arm_ids, len(spec.metrics))
    epoch = world.epochs(rng, 1)[0]
    Draws.of(spec, world, 1000).into(ledger, rng, epoch, Stretch(0, 750, 0, 0), 0, COUNTS, WEIGHTS)
    return ledger


def test_the_quick_way_counts_what_the_long_way_counts() -> None:
    """One binary metric has a way of its own; beside another metric it goes the general one. Same sums, same distribution."""
    alone, beside = experiment(click="binary"), experiment(click="binary", other="binary")
    one = np.array([drawn(alone, {"click": 0.3}, seed).evidence().total[0].sums for seed in range(400)])
    two = [drawn(beside, {"click": 0.3, "other": 0.5}, seed).evidence().total[0] for seed in range(400)]
    layout, wide = layout_of(1), layout_of(2)
    np.testing.assert_array_equal(one[:, 0], 500)
    assert {m.sums[wide.w] for m in two} == set(one[:, layout.w]) == {500 * WEIGHTS[0]}
    assert {m.sums[wide.w2] for m in two} == {500 * WEIGHTS[0] ** 2}
    successes = np.array([m.sum(0) for m in two])
    for sums, layout_, s in ((one, layout, one[:, 1]), (np.array([m.sums for m in two]), wide, successes)):
        np.testing.assert_array_equal(sums[:, layout_.square[0]], s)
        np.testing.assert_array_equal(sums[:, layout_.wy], s * WEIGHTS[0])
        np.testing.assert_array_equal(sums[:, layout_.w2y2], s * WEIGHTS[0] ** 2)
        assert s.mean() == pytest.approx(150, abs=4 * (500 * 0.21 / 400) ** 0.5)
        assert s.var() == pytest.approx(500 * 0.21, rel=0.3)


def test_sums_contradict_nothing_and_arms_without_units_are_absent() -> None:
    spec = experiment(click="binary", latency={"type": "value", "resolution": 1e-3}, pages="count")
    evidence = drawn(spec, {"click": 0.3, "latency": {"mean": 2, "sd": 0.5}, "pages": 3}).evidence()
    assert [m.n for m in evidence.total] == [500, 0, 250]
    assert [layout_of(3).contradiction(m.sums) for m in evidence.total] == [None] * 3
    assert evidence.by_period[0] == evidence.total
    first = evidence.total[0]
    assert first.mean(1, 1e-3) == pytest.approx(2, abs=0.1)
    assert first.variance(1, 1e-3) == pytest.approx(0.25, rel=0.3)
    assert first.mean(2) == pytest.approx(3, abs=0.4)
    assert first.variance(2) == pytest.approx(3, rel=0.4)
    correlation = first.covariance([1, 1e-3, 1]) / np.sqrt(np.outer(*[first.covariance([1, 1e-3, 1]).diagonal()] * 2))
    assert np.abs(correlation - np.eye(3)).max() < 0.15


def test_sums_are_those_of_the_joins_own_updates() -> None:
    """Unit by unit with `Layout.enter` and `change`, as the join does, gives the same cells, products at the later decision."""
    rng = np.random.default_rng(5)
    layout = layout_of(2)
    arms = np.array([0, 0, 0, 1, 1, 2])
    values = [rng.integers(-3, 4, 6), rng.integers(-3, 4, 6) * 10**15]
    lags = [np.array([0, 1, -1, 0, 2, 1]), np.array([1, 0, 0, 0, 2, -1])]
    found = _summed(layout, arms, WEIGHTS, values, lags)
    state = [[0, 0] for _ in arms]
    for lag in range(3):
        for arm in range(3):
            expected = layout.empty()
            for unit in np.flatnonzero(arms == arm):
                for j in range(2):
                    if lags[j][unit] == lag:
                        layout.change(expected, WEIGHTS[arm], state[unit], j, int(values[j][unit]))
            assert found.get((arm, lag), layout.empty()) == expected


def test_a_fixed_delay_brings_rewards_that_many_steps_later() -> None:
    ledger = drawn(experiment(click="binary"), {"click": 1.0}, delay=600)
    assert ledger.evidence().total[0].n == 500
    at_once = sum(m.sum(0) for m in ledger.evidence().total)
    ledger.arrive(0)
    assert sum(m.sum(0) for m in ledger.evidence().total) == at_once == 400  # steps 0 to 399 answer before step 1000
    ledger.arrive(1)
    assert [m.sum(0) for m in ledger.evidence().total] == [500, 0, 250]
    assert ledger.evidence().by_period[0] == ledger.evidence().total  # the period is the exposure's


def test_delayed_rewards_come_after_their_distribution_and_none_after_the_window() -> None:
    spec = experiment(click={"type": "binary", "window": "2000s"})
    ledger = drawn(spec, {"click": {"mean": 1.0, "delay": {"exponential": 1000}}})
    for decision in range(10):
        ledger.arrive(decision)
    in_time = sum(m.sum(0) for m in ledger.evidence().total)
    assert in_time == pytest.approx(750 * (1 - np.exp(-2)), abs=3 * 750**0.5 * 0.35)


def test_a_replaced_arm_starts_anew_and_rewards_on_their_way_are_lost() -> None:
    ledger = drawn(experiment(click="binary"), {"click": 1.0}, delay=600)
    ledger.forget(0)
    ledger.arrive(1)
    assert [m.n for m in ledger.evidence().total] == [0, 0, 250]
    assert [m.sum(0) for m in ledger.evidence().total] == [0, 0, 250]
    assert [m.n for m in ledger.evidence().by_period[0]] == [0, 0, 250]
