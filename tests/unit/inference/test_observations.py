"""Observations of an experiment: whose periods are over, whose metric, whose floor."""

from __future__ import annotations

from dataclasses import replace

import pytest

from allocator import ArgumentError
from allocator.evidence import Evidence
from allocator.inference import Observations, differences
from allocator.moments import inverse_propensity, layout_of
from allocator.spec import load_experiment

EXPERIMENT = load_experiment(
    {
        "experiment": "e",
        "arms": ["a", "b"],
        "metrics": {"spend": {"type": "value", "window": "1d", "resolution": 0.01}, "click": {"type": "binary", "window": "10m"}},
        "objective": "click",
        "constraints": {"floor": 0.05},
        "period": "1h",
        "grace": "1h",
    }
)


def evidence() -> Evidence:
    """Hours 0 to 9, a hundred units an arm and hour, of which 10 and 20 click."""
    layout, w = layout_of(2), inverse_propensity(0.5)
    sums = {}
    for arm, clicks in (("a", 10), ("b", 20)):
        sums[arm] = layout.empty()
        for unit in range(100):
            layout.enter(sums[arm], w)
            layout.change(sums[arm], w, [0, 0], 1, int(unit < clicks))
    return Evidence(("a", "b"), 2, {"": sums}, dict.fromkeys(range(10), sums))


def test_a_metric_by_its_name_with_the_experiment_s_floor() -> None:
    found = Observations.of(EXPERIMENT, "click", evidence(), now=1e6)
    (b,) = differences(found, "a")
    assert (b.estimate, b.n, b.metric) == (pytest.approx(0.1), 2000, "click")
    assert "no unit had a propensity below 0.05" in b.assumptions
    lower = Observations.of(EXPERIMENT, "click", evidence(), now=1e6, propensity_min=0.01)
    assert lower.propensity_min == 0.01
    assert Observations.of(EXPERIMENT, "spend", evidence(), now=1e6, bounds=(0, 9)).bounds == (0, 9)


@pytest.mark.parametrize("hours,metric,periods", [(2.16, "click", 0), (2.17, "click", 1), (11.17, "click", 10), (27, "spend", 2)])
def test_a_period_counts_once_its_rewards_are_all_in(hours: float, metric: str, periods: int) -> None:
    """The first hour's last unit may click until 1 h 10 min, and be told of it an hour later."""
    assert len(Observations.of(EXPERIMENT, metric, evidence(), now=3600 * hours).periods) == periods


def test_a_metric_that_the_experiment_does_not_have() -> None:
    with pytest.raises(ArgumentError, match="one of spend, click"):
        Observations.of(EXPERIMENT, "order", evidence(), now=1e6)


def test_an_arm_that_is_gone_is_judged_by_the_time_when_it_was_there() -> None:
    every = evidence()
    gone = replace(every, periods={p: sums if p < 3 else {"a": sums["a"]} for p, sums in every.periods.items()})
    while_there = replace(every, periods={p: every.periods[p] for p in range(3)})
    found, expected = (Observations.of(EXPERIMENT, "click", each, now=1e6) for each in (gone, while_there))
    assert differences(found, "a") == differences(expected, "a")
    late = replace(every, periods={p: sums if p > 6 else {"a": sums["a"]} for p, sums in every.periods.items()})
    assert [sorted(cells) for cells in Observations.of(EXPERIMENT, "click", late, now=1e6).periods] == [["a"]] * 7 + [
        ["a", "b"]
    ] * 3


def test_an_arm_that_got_no_unit_by_chance_was_there() -> None:
    """With a floor of 5 %, 100 units without one of its own happen to an arm in 6 of 1000 periods."""
    every = evidence()
    once = replace(every, periods={p: sums if p < 9 else {"a": sums["a"]} for p, sums in every.periods.items()})
    assert all(len(cells) == 2 for cells in Observations.of(EXPERIMENT, "click", once, now=1e6).periods)
