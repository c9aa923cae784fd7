"""Pending rewards of an objective made of several metrics: each leaf is taken for what it will be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from allocator.decide import decide
from allocator.delay import LAG_BINS, lag_edges
from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.moments import layout_of
from allocator.pending import Pending
from allocator.pending_tree import PendingTree, pending_of
from allocator.policies import Context
from allocator.spec import load_experiment

WINDOW_S, PERIOD_S, NOW = 8000.0, 1000.0, 112_000.0
METRICS = {
    "click": {"type": "binary", "window": WINDOW_S},
    "spend": {"type": "value", "window": WINDOW_S, "resolution": 0.01},
    "speed": {"type": "value", "window": WINDOW_S, "aggregate": "last"},
}


def experiment(tree: dict[str, Any]) -> Experiment:
    fields = {"experiment": "x", "arms": ["a", "b"], "metrics": {**METRICS, "m": tree}, "objective": "m"}
    return load_experiment({**fields, "period": PERIOD_S, "constraints": {"warmup": 0}})


def evidence() -> Evidence:
    """Two equal arms; b got most of its units lately. Clicks come in 100 s on average, spending in 2000 s."""
    rng, layout, edges = np.random.default_rng(3), layout_of(3), lag_edges(WINDOW_S)
    periods: dict[int, dict[str, list[int]]] = {}
    lags: dict[int, dict[str, list[list[int]]]] = {}
    total = {arm: layout.empty() for arm in "ab"}
    for arm, (old, young) in {"a": (8000, 1000), "b": (1000, 8000)}.items():
        times = np.concatenate([rng.uniform(NOW - 12_000, NOW - 3000, old), rng.uniform(NOW - 3000, NOW, young)])
        for at in times.tolist():
            period, y = int(at // PERIOD_S), [0, 0, 0]
            for sums in (total[arm], periods.setdefault(period, {}).setdefault(arm, layout.empty())):
                layout.enter(sums, 2_000_000)
            for j, (rate, lag, step) in enumerate(((0.3, rng.exponential(100), 1), (0.5, rng.exponential(2000), 1000))):
                if rng.random() < rate and lag < WINDOW_S and at + lag <= NOW:
                    row = lags.setdefault(period, {}).setdefault(arm, [[0] * LAG_BINS, [0] * LAG_BINS])[j]
                    row[int(edges[1:-1].searchsorted(lag))] += 1
                    was = list(y)
                    layout.change(total[arm], 2_000_000, was, j, step)
                    layout.change(periods[period][arm], 2_000_000, y, j, step)
    return Evidence(("a", "b"), 3, {"": total}, periods, lags, read_until=NOW)


SUM, RATIO = {"sum": {"click": 1, "spend": 0.1}}, {"ratio": ["spend", "click"]}


@pytest.mark.parametrize("tree, truth", [(SUM, 0.3 + 0.5), (RATIO, 5 / 0.3), ({"product": ["click", "spend"]}, 0.3 * 5)])
def test_a_young_arm_is_worth_what_it_will_be(tree: dict[str, Any], truth: float) -> None:
    spec, known = experiment(tree), evidence()
    pending = pending_of(spec, known, NOW)
    assert isinstance(pending, PendingTree)
    assert set(pending.parts) == {0, 1}
    context = Context.of(spec, known, NOW)
    found = context.posteriors()
    blind = context.objective.posteriors(context.objective.samples(known.total))
    for k in range(2):
        assert abs(found.mean[k] - truth) < 4 * found.sd[k]
    assert abs(blind.mean[1] - truth) > 10 * blind.sd[1]
    states = decide(spec, known, None, NOW).arms
    assert states[1].pending > 4 * states[0].pending > 0
    assert states[1].metrics["m"].mean == pytest.approx(float(found.mean[1]))


def test_segments_and_periods_are_corrected_too() -> None:
    spec, known = experiment(SUM), evidence()
    context = Context.of(spec, known, NOW)
    newest = max(known.periods)
    found = context.samples_of_period(newest)
    blind = context.objective.samples(known.by_period[newest])
    assert (found.total / found.n + found.origin > 1.2 * (blind.total / blind.n + blind.origin)).all()
    assert (found.n < blind.n).all()


def test_a_sum_of_one_metric_is_pending_as_that_metric_is() -> None:
    known = evidence()
    alias, plain = experiment({"sum": {"spend": 1}}), experiment(SUM)
    found, own = pending_of(alias, known, NOW), Pending.of(plain, known, NOW, "spend")
    assert isinstance(found, Pending)
    assert own is not None
    np.testing.assert_array_equal(found.arrived, own.arrived)


def test_what_cannot_be_corrected_is_not() -> None:
    assert pending_of(experiment({"sum": {"speed": 2}}), evidence(), NOW) is None
    found = pending_of(experiment({"sum": {"speed": 2, "click": 1}}), evidence(), NOW)
    assert isinstance(found, PendingTree)
    assert set(found.parts) == {0}
    assert found.assumptions
