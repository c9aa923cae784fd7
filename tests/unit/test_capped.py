"""Caps and missing values at the join: what a unit's rewards make is cut off, and units without one are not in the mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.inference import metric_effects
from allocator.moments import Moments
from allocator.objective import Objective
from streams.records import Exposure, Reward
from tests.folding import Partition, experiment, exposure, reward


def spec(**metric: Any) -> Experiment:
    """One of 0 and 1, and one of values in quarters."""
    metrics = {"thumbs_up": "binary", "spend": {"type": "value", "resolution": 0.25, **metric}}
    return experiment(metrics=metrics, objective="spend", arms=["a", "b"])


def folded(of: Experiment, *events: Exposure | Reward, each: bool = False) -> Moments:
    """The moments of arm a; one chunk, or one an event."""
    partition = Partition([of])
    for event in events if each else ():
        partition.chunk(event)
    if not each:
        partition.chunk(*events)
    assert partition.contradictions() == []
    cells = [sums for name, sums in partition.moments().items() if name.arm == "a"]
    return Moments.total(len(of.columns), cells)


def spend(value: float, ts: float = 1001.0, unit: str = "u", **fields: Any) -> Reward:
    return reward(unit, value, ts, metric="spend", **fields)


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize(
    "aggregate, values, kept",
    [
        ("sum", [3.0, 4.0], 5.0),
        ("sum", [30.0, -28.0], 2.0),
        ("sum", [-30.0, 2.0], -5.0),
        ("sum", [6.0, -2.0, 0.5], 4.5),
        ("max", [3.0, 40.0, 2.0], 5.0),
        ("last", [40.0, 2.0], 2.0),
        ("last", [2.0, 40.0], 5.0),
    ],
)
def test_what_a_unit_has_in_all_is_cut_off_not_each_reward(aggregate: str, values: list[float], kept: float, each: bool) -> None:
    of = spec(cap=5, aggregate=aggregate)
    events = [exposure(), *(spend(value, 1001.0 + k) for k, value in enumerate(values))]
    found = folded(of, *events, each=each)
    assert found.sum(1) == kept * 4
    assert found.sum_squares(1) == (kept * 4) ** 2


def test_a_correction_undoes_a_cut() -> None:
    found = folded(spec(cap=5), exposure(), spend(90.0, reward_id="r"), spend(1.0, 1002.0, reward_id="r"), each=True)
    assert found.sum(1) == 4


def test_a_cap_between_two_steps_is_rounded_as_values_are() -> None:
    assert folded(spec(cap=1.1), exposure(), spend(9.0)).sum(1) == 4


def test_a_unit_is_reported_from_its_first_reward_on_even_if_that_is_zero() -> None:
    of = spec(missing="excluded")
    events: list[Exposure | Reward] = [exposure(unit) for unit in ("u", "v", "w")]
    for each in (False, True):
        found = folded(of, *events, spend(2.0), spend(1.0, 1002.0), spend(0.0, unit="v"), reward("w"), each=each)
        assert (found.n, found.sum(1), found.sum(2), found.sum(0)) == (3, 12, 2, 1)


def test_rewards_before_the_exposure_and_crossovers() -> None:
    of = spec(missing="excluded", cap=5)
    found = folded(of, spend(9.0), exposure(ts=1002.0), each=True)
    assert (found.sum(1), found.sum(2)) == (20, 1)
    found = folded(of, exposure(), spend(9.0), exposure(arm="b", ts=1003.0), each=True)
    assert (found.n, found.sum(1), found.sum(2)) == (0, 0, 0)


def test_lags_are_counted_under_a_cap_and_not_where_units_are_excluded() -> None:
    for metric, lags in (({}, 3), ({"cap": 5}, 3), ({"missing": "excluded"}, 0)):
        partition = Partition([spec(**metric)])
        partition.chunk(exposure(), spend(3.0))
        for ts in (1002.0, 1003.0):  # beyond the cap rewards still come
            partition.chunk(spend(4.0, ts))
        [rows] = map(partition.fold.lags.of_cell, range(len(partition.fold.cells.names)))
        assert sum(rows[1].values() if len(rows) > 1 else []) == lags


# -- read out --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["binary", "value", "count"])
def test_the_posterior_is_of_the_units_that_have_a_value(kind: str) -> None:
    """As if the others had never been."""
    rng = np.random.default_rng(1)
    values = {unit: float(rng.integers(0, 2 if kind == "binary" else 5)) for unit in map(str, range(60))}
    declared = {"type": kind, "missing": "excluded"}
    with_others = experiment(metrics={"m": declared}, objective="m")
    without = experiment(metrics={"m": {"type": kind}}, objective="m")

    def moments(of: Experiment, units: list[str]) -> list[Moments]:
        exposures = [exposure(unit) for unit in units]
        rewards = [reward(unit, value, metric="m") for unit, value in values.items()]
        return [folded(of, *exposures, *rewards)] * 2

    ours, theirs = Objective.of(with_others), Objective.of(without)
    seen = ours.posteriors(ours.samples(moments(with_others, [*values, *(f"x{k}" for k in range(500))])))
    plain = theirs.posteriors(theirs.samples(moments(without, list(values))))
    assert type(seen) is type(plain)
    np.testing.assert_array_equal(seen.mean, plain.mean)
    np.testing.assert_array_equal(seen.sd, plain.sd)


def test_the_effect_is_of_the_units_that_have_a_value() -> None:
    """Ten times as many units of b report: the means over all units differ, those over the reporting ones do not."""
    of, rng = spec(missing="excluded"), np.random.default_rng(2)
    partition = Partition([of])
    for arm, rate in (("a", 0.06), ("b", 0.6)):
        units = [f"{arm}{k}" for k in range(2000)]
        rewards = [spend(float(rng.normal(10, 1)), unit=unit) for unit in units if rng.random() < rate]
        partition.chunk(*(exposure(unit, arm) for unit in units), *rewards)
    cells = {name.arm: sums for name, sums in partition.moments().items()}
    evidence = Evidence(("a", "b"), 3, {"": cells}, {0: cells})
    [found] = metric_effects(of, evidence)
    assert abs(found.estimate) < 0.5
    assert found.low < 0.0 < found.high < 2.0
