"""Decisions while rewards are pending: arms that are young, or that answer late, are compared fairly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from allocator.decide import Decision, decide, decide_all
from allocator.delay import LAG_BINS, lag_edges
from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.moments import layout_of
from allocator.pending import Pending
from allocator.quadrature import FloatArray
from allocator.spec import load_experiment

WINDOW_S, PERIOD_S = 8000.0, 1000.0
BEGIN = 1_000_000.0
"""A period begins then."""
Lags = Callable[[np.random.Generator, int], FloatArray]


def within(mean_s: float) -> Lags:
    return lambda rng, n: np.minimum(rng.exponential(mean_s, n), WINDOW_S)


FAST, SLOW = within(200.0), within(2000.0)


def experiment(**changes: Any) -> Experiment:
    metric = {"type": "binary", "window": WINDOW_S, **changes.pop("metric", {})}
    fields = {"experiment": "x", "arms": ["a", "b"], "metrics": {"good": metric, "other": "binary"}, "objective": "good"}
    return load_experiment({**fields, "period": PERIOD_S, **changes})


def evidence(
    spec: Experiment,
    now: float,
    arms: Mapping[str, tuple[Lags, float, FloatArray]],
    rng: np.random.Generator,
    segment: str = "",
    value: float = 1.0,
) -> Evidence:
    """What has been seen at `now`, of each arm by (lags, rate of rewards, times of exposures)."""
    layout, edges = layout_of(2), lag_edges(WINDOW_S)
    periods: dict[int, dict[str, list[int]]] = {}
    lags: dict[int, dict[str, list[list[int]]]] = {}
    total: dict[str, list[int]] = {}
    for arm, (lags_of, rate, times) in arms.items():
        found = lags_of(rng, len(times))
        seen = (rng.random(len(times)) < rate) & (times + found <= now)
        step = round(value / spec.metrics["good"].resolution)
        for at, lag, rewarded in zip(times.tolist(), found.tolist(), seen.tolist(), strict=True):
            period = int(at // PERIOD_S)
            sums, y = periods.setdefault(period, {}).setdefault(arm, layout.empty()), [0, 0]
            layout.enter(sums, 2_000_000)
            if rewarded:
                layout.change(sums, 2_000_000, y, 0, step)
                row = lags.setdefault(period, {}).setdefault(arm, [[0] * LAG_BINS])[0]
                row[int(edges[1:-1].searchsorted(lag))] += 1
        total[arm] = [sum(column) for column in zip(*(by[arm] for by in periods.values() if arm in by), strict=True)]
    return Evidence(spec.arm_ids, 2, {segment: total}, periods, lags, read_until=now)


def without_lags(known: Evidence) -> Evidence:
    return replace(known, lags={}, all_lags=None, read_until=None)


def spread(begin: float, end: float, units: int) -> FloatArray:
    return np.linspace(begin, end, units, endpoint=False)


NOW = BEGIN + 12_000.0
TIMES = np.concatenate([spread(BEGIN, NOW, 1000), spread(NOW - 3000.0, NOW, 4000)])
"""Some exposures are old enough to show how late rewards come; most have not had the time."""


def p_best(spec: Experiment, known: Evidence, now: float) -> list[float]:
    return [arm.p_best for arm in decide(spec, known, None, now).arms]


def test_of_two_equal_arms_the_fast_one_does_not_win() -> None:
    spec, now, times, found = experiment(), NOW, TIMES, []
    for seed in range(20):
        known = evidence(spec, now, {"a": (SLOW, 0.3, times), "b": (FAST, 0.3, times)}, np.random.default_rng(seed))
        assert p_best(spec, without_lags(known), now)[1] > 0.95
        found.append(p_best(spec, known, now)[1])
    assert np.mean(found) == pytest.approx(0.5, abs=0.25)
    assert sum(0.05 < p < 0.95 for p in found) >= 15


@pytest.mark.parametrize("lags", [FAST, SLOW])
def test_an_arm_whose_exposures_are_younger_is_not_punished(lags: Lags) -> None:
    spec, now, found = experiment(), BEGIN + 10_000.0, []
    old, young = spread(BEGIN, now, 3000), np.concatenate([spread(BEGIN, now, 300), spread(now - 1000.0, now, 2700)])
    for seed in range(20):
        known = evidence(spec, now, {"a": (lags, 0.3, old), "b": (lags, 0.3, young)}, np.random.default_rng(seed))
        assert p_best(spec, without_lags(known), now)[1] < 0.05
        found.append(p_best(spec, known, now)[1])
    assert np.mean(found) == pytest.approx(0.5, abs=0.25)
    assert sum(0.02 < p < 0.98 for p in found) >= 15


def test_a_better_arm_is_still_found() -> None:
    spec, now = experiment(), NOW
    times = TIMES
    known = evidence(spec, now, {"a": (SLOW, 0.4, times), "b": (FAST, 0.3, times)}, np.random.default_rng(1))
    assert p_best(spec, known, now)[0] > 0.95
    assert p_best(spec, without_lags(known), now)[0] < 0.05


@pytest.mark.parametrize("metric", [{"type": "value", "resolution": 0.5}, {"type": "count"}])
def test_values_and_counts_that_add_up_are_corrected(metric: dict[str, Any]) -> None:
    spec, now = experiment(metric=metric), NOW
    times = TIMES
    known = evidence(spec, now, {"a": (SLOW, 0.3, times), "b": (FAST, 0.3, times)}, np.random.default_rng(2), value=3.0)
    uncorrected, corrected = (decide(spec, of, None, now).arms for of in (without_lags(known), known))
    assert [arm.mean for arm in corrected] == pytest.approx([0.9, 0.9], rel=0.1)
    assert uncorrected[0].mean is not None
    assert uncorrected[0].mean < 0.6


@pytest.mark.parametrize("aggregate", ["max", "last"])
def test_a_maximum_and_a_last_value_stay_as_they_are(aggregate: str) -> None:
    spec, now = experiment(metric={"type": "value", "resolution": 1.0, "aggregate": aggregate}), NOW
    times = TIMES
    known = evidence(spec, now, {"a": (SLOW, 0.3, times), "b": (FAST, 0.3, times)}, np.random.default_rng(2))
    assert decide(spec, known, None, now) == decide(spec, without_lags(known), None, now)


def test_what_is_pending_is_said() -> None:
    spec, now = experiment(), NOW
    times = TIMES
    known = evidence(spec, now, {"a": (SLOW, 0.3, times), "b": (FAST, 0.3, times)}, np.random.default_rng(3))
    slow, fast = decide(spec, known, None, now).arms
    late = float(np.exp(-(now - times) / 2000.0).sum())
    assert slow.pending == pytest.approx(late, rel=0.1)
    assert 0 < fast.pending < 0.1 * slow.n
    assert (slow.n, fast.n) == (5000, 5000)
    assert [arm.pending for arm in decide(spec, without_lags(known), None, now).arms] == [0.0, 0.0]


def bits(decision: Decision) -> tuple[Any, ...]:
    return decision.weights, decision.arms, decision.steps


@pytest.mark.parametrize("missing", [{"lags": {}}, {"read_until": None}])
def test_without_lags_or_the_time_read_nothing_is_taken_for_pending(missing: dict[str, Any]) -> None:
    spec, now = experiment(), NOW
    times = TIMES
    known = evidence(spec, now, {"a": (SLOW, 0.3, times), "b": (FAST, 0.3, times)}, np.random.default_rng(4))
    expected = bits(decide(spec, without_lags(known), None, now))
    assert bits(decide(spec, replace(known, **missing), None, now)) == expected
    assert bits(decide(spec, known, None, now)) != expected


def test_once_all_is_in_the_decision_is_that_without_lags() -> None:
    spec, now = experiment(), BEGIN + 12_000.0
    times = spread(BEGIN, BEGIN + 4000.0, 400)
    known = evidence(spec, now, {"a": (SLOW, 0.3, times), "b": (FAST, 0.3, times)}, np.random.default_rng(5))
    assert Pending.of(spec, known, now) is None
    assert bits(decide(spec, known, None, now)) == bits(decide(spec, without_lags(known), None, now))


def test_rewards_are_never_read_beyond_now() -> None:
    """Of a partition with a clock that is ahead."""
    spec, now = experiment(), NOW
    times = TIMES
    known = evidence(spec, now, {"a": (SLOW, 0.3, times), "b": (FAST, 0.3, times)}, np.random.default_rng(6))
    ahead = replace(known, read_until=now + 1e6)
    assert bits(decide(spec, ahead, None, now)) == bits(decide(spec, known, None, now))


def test_what_is_older_than_the_window_may_be_one_period_or_many() -> None:
    """Its moments and lags are summed up beforehand: a decision does not take longer as the experiment grows old."""
    spec, now = experiment(), BEGIN + 40_000.0
    times = spread(BEGIN, now, 8000)
    known = evidence(spec, now, {"a": (SLOW, 0.3, times), "b": (FAST, 0.3, times)}, np.random.default_rng(7))
    young = {period for period in known.periods if (period + 1) * PERIOD_S > now - WINDOW_S}
    first = min(young) - 1
    merged = Evidence(
        known.arms,
        known.metrics,
        known.segments,
        {period: sums for period, sums in known.periods.items() if period in young},
        {period: lags for period, lags in known.lags.items() if period in young},
        all_lags=known.every_lag,
        read_until=now,
    )
    assert first in known.periods
    assert bits(decide(spec, merged, None, now)) == bits(decide(spec, known, None, now))


def test_an_arm_without_lags_is_taken_to_answer_as_the_others_do() -> None:
    spec, now = experiment(arms=["a", "b", "c"]), NOW
    times = TIMES
    arms = {"a": (SLOW, 0.3, times), "b": (SLOW, 0.3, times), "c": (SLOW, 0.0, times)}
    found = Pending.of(spec, evidence(spec, now, arms, np.random.default_rng(8)), now)
    assert found is not None
    assert found.arrived[2] == pytest.approx(found.arrived[:2].mean(), abs=0.03)
    assert any("segment" in assumption for assumption in found.assumptions)
    assert "by 5 pseudo-lags" in found.delay.method


@pytest.mark.parametrize(
    "policy",
    [
        {"name": "discounted-thompson", "gamma": 0.99},
        {"name": "sliding-window-thompson", "window": 8000},
    ],
)
def test_policies_that_look_beyond_the_posteriors_are_corrected_too(policy: dict[str, Any]) -> None:
    spec, now = experiment(policy=policy, constraints={"floor": 0.0, "max_shift": 1.0, "warmup": 0}), NOW
    times = TIMES
    known = evidence(spec, now, {"a": (SLOW, 0.3, times), "b": (FAST, 0.3, times)}, np.random.default_rng(10))
    uncorrected, corrected = (decide(spec, of, None, now).weights.arms[1].ppm for of in (without_lags(known), known))
    assert uncorrected > 950_000
    assert 100_000 < corrected < 900_000


@pytest.mark.parametrize("policy", ["per-segment", {"name": "linear-thompson", "features": {"pro": [1.0], "other": [0.0]}}])
def test_segments_have_their_arms_shares_of_the_whole(policy: Any) -> None:
    spec, now = experiment(policy=policy, segments=["pro"]), NOW
    times = TIMES
    known = evidence(spec, now, {"a": (SLOW, 0.3, times), "b": (FAST, 0.3, times)}, np.random.default_rng(11), segment="pro")
    uncorrected, corrected = (decide_all(spec, of, {}, now)["pro"] for of in (without_lags(known), known))
    assert uncorrected.arms[1].p_best > 0.95
    assert 0.05 < corrected.arms[1].p_best < 0.95
    assert corrected.arms[0].pending > 1000
