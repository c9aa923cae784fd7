"""Covariates: how a spec says them, how a unit's become steps, and where the moments have them."""

from __future__ import annotations

from typing import Any

import pytest

from allocator.covariates import CovariateColumns
from allocator.errors import SpecErrors
from allocator.experiment import Covariate
from allocator.metric_tree import resolutions_of
from allocator.moments import layout_of
from allocator.simulate import Plan as SimulationPlan
from allocator.simulate import load_world, run
from allocator.spec import load_experiment
from allocator.spec_covariates import COVARIATES_MAX
from streams.audit.state import State
from streams.cli.spec_yaml import to_yaml
from tests.folding import Partition, experiment, exposure, reward

SPEC = experiment(
    metrics={"thumbs_up": "binary", "ms": {"type": "value", "missing": "excluded", "resolution": 0.1}},
    covariates=["revenue_28d", {"name": "sessions", "resolution": 1}],
)


def columns(given: dict[str, Any]) -> list[int]:
    found = CovariateColumns.of(SPEC)
    assert found is not None
    return found.steps(given)


def test_they_are_columns_behind_the_metrics_and_their_indicators() -> None:
    assert SPEC.covariates == (Covariate(name="revenue_28d", resolution=1e-6), Covariate(name="sessions", resolution=1.0))
    assert SPEC.columns == ("thumbs_up", "ms", "ms:reported", "revenue_28d:covariate", "sessions:covariate", ":lacking")
    assert SPEC.covariate_places == (3, 4, 5)
    assert resolutions_of(SPEC) == (1.0, 0.1, 1.0, 1e-6, 1.0, 1.0)
    assert (experiment().columns, experiment().covariate_places, CovariateColumns.of(experiment())) == (("thumbs_up",), (), None)


@pytest.mark.parametrize(
    "given,steps",
    [
        ({"revenue_28d": 1.5, "sessions": 3}, [1_500_000, 3, 0]),
        ({"revenue_28d": -0.25, "sessions": 2.5, "other": 9}, [-250_000, 3, 0]),
        ({"sessions": 3}, [0, 3, 1]),
        ({}, [0, 0, 1]),
        ({"revenue_28d": "7", "sessions": True}, [0, 0, 1]),
        ({"revenue_28d": 1e10, "sessions": None}, [0, 0, 1]),
        ({"revenue_28d": 10**400, "sessions": -(10**400)}, [0, 0, 1]),
        ({"revenue_28d": float("nan"), "sessions": float("inf")}, [0, 0, 1]),
        ({"revenue_28d": 1e9, "sessions": -1e15}, [10**15, -(10**15), 0]),
    ],
)
def test_a_value_becomes_steps_and_what_is_none_counts_as_0_and_as_missing(given: dict[str, Any], steps: list[int]) -> None:
    assert columns(given) == steps


def test_a_spec_reads_what_show_prints_and_what_the_wire_has() -> None:
    assert load_experiment(to_yaml(SPEC)) == SPEC
    assert load_experiment(to_yaml(experiment())) == experiment()


@pytest.mark.parametrize(
    "covariates,path",
    [
        ("revenue", "covariates"),
        ([f"x{i}" for i in range(COVARIATES_MAX + 1)], "covariates"),
        (["a b"], "covariates[0]"),
        ([3], "covariates[0]"),
        (["x", "x"], "covariates[1]"),
        ([{"name": "x", "resolution": 0}], "covariates[0].resolution"),
        ([{"name": "x", "resolution": True}], "covariates[0].resolution"),
        ([{"resolution": 1}], "covariates[0].name"),
        ([{"name": "x", "resoluton": 1}], "covariates[0].resoluton"),
    ],
)
def test_every_mistake_is_named(covariates: Any, path: str) -> None:
    with pytest.raises(SpecErrors) as caught:
        experiment(covariates=covariates)
    assert path in [error.path for error in caught.value.errors]


def test_more_sums_than_a_partition_keeps_are_refused() -> None:
    many = {"metrics": {f"m{i}": "binary" for i in range(10)}, "objective": "m0", "segments": [f"s{i}" for i in range(900)]}
    experiment(**many)
    with pytest.raises(SpecErrors, match=r"and 11 covariates and indicators.*at most 1000000 numbers"):
        experiment(**many, covariates=[f"x{i}" for i in range(10)])


def partition() -> Partition:
    return Partition([experiment(covariates=["x"])])


def row(found: Partition, arm: str = "a") -> list[int]:
    return next(sums for name, sums in found.moments().items() if name.arm == arm)


def test_a_unit_has_the_values_of_its_first_exposure_and_takes_them_along() -> None:
    found = partition().chunk(exposure(ts=1000.0, covariates={"x": 2}), reward(), exposure(ts=1010.0, covariates={"x": 7}))
    layout, sums = layout_of(3), row(found)
    assert (sums[0], sums[1:4]) == (1, [1, 2_000_000, 0])
    assert sums[layout.cross[0][1]] == 2_000_000
    found.chunk(exposure(ts=990.0, covariates={"x": 3}))
    assert row(found)[1:4] == [1, 3_000_000, 0], "an earlier exposure has come late"
    found.restart()
    found.chunk(exposure(arm="b", ts=1020.0, covariates={"x": 3}))
    assert found.moments() == {}, "a crossover takes its covariates out, too"
    assert found.contradictions() == []


def test_a_unit_that_lacks_one_is_counted_as_such() -> None:
    found = partition().chunk(exposure("u"), exposure("v", covariates={"x": 1}), exposure("w", covariates={"x": "?"}))
    assert (row(found)[0], row(found)[1:4]) == (3, [0, 1_000_000, 2])


def test_an_audit_reads_them() -> None:
    found = partition().chunk(exposure(covariates={"x": 2}), reward())
    scan = lambda prefix: iter(sorted((k, v) for k, v in found.stored.items() if k.startswith(prefix)))  # noqa: E731
    found.scan = scan  # type: ignore[attr-defined]
    state = State(found, {e.experiment: e for e in found.experiments})  # type: ignore[arg-type]
    (_, unit), *_ = state.units(0.0)
    assert unit.entries["chat"][0].values == [1, 2_000_000, 0]


def test_of_two_exposures_that_differ_in_nothing_else_the_least_counts_whichever_comes_first() -> None:
    for order in ((2, 5), (5, 2)):
        for chunks in (1, 2):
            found, events = partition(), [exposure(ts=1000.0, covariates={"x": x}) for x in order]
            for k in range(chunks):
                found.chunk(*(events if chunks == 1 else events[k : k + 1]), *([reward()] if k == 0 else []))
            assert row(found)[:4] == [1, 1, 2_000_000, 0]
            assert found.counters() == {"exposures.applied": 1, "exposures.duplicate": 1, "rewards.applied": 1}


@pytest.mark.parametrize("delay", [None, 50])
def test_a_simulation_leaves_them_0(delay: int | None) -> None:
    arms = {arm: {"thumbs_up": {"mean": mean, "delay": delay} if delay else mean} for arm, mean in (("a", 0.2), ("b", 0.4))}
    specs = [experiment(), experiment(covariates=["x"])]
    traces = [run(spec, load_world({"arms": arms}, spec), SimulationPlan(horizon=2000, batch=100), 0) for spec in specs]
    assert all(trace.right.shape == traces[0].right.shape for trace in traces)
    assert 0 < traces[1].regret[-1] < 400
