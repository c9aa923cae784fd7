"""Specs: the smallest one, the record's round trip, and every error with its path."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
import yaml

from allocator import SpecErrors, load_experiment
from allocator.experiment import Experiment, Policy

SMALLEST = """
experiment: exp-0
arms: [a, b, c, d]
control: a
metrics: {thumbs_up: binary}
objective: thumbs_up
policy: thompson
"""

FULL = """
experiment: chat
arms: [{id: small, params: {temperature: 0.2}}, large]
control: large
metrics:
  thumbs_up: binary
  latency: {type: value, direction: down, window: 10m, resolution: 1e-3, aggregate: last}
  tokens: count
objective: latency
policy: {name: top-two-thompson, beta: 0.4}
constraints: {floor: 0.05, warmup: 10, max_shift: 0.2, dead_band: 0}
fallback: small
segments: [free, pro]
enrolment: 0.25
holdback: 0.1
period: 1h
publish_interval: 2s
lease: 30s
"""


def smallest(**changes: Any) -> dict[str, Any]:
    return {**yaml.safe_load(SMALLEST), **changes}


def test_the_smallest_spec_has_defaults_for_the_rest() -> None:
    spec = load_experiment(SMALLEST)
    assert spec.arm_ids == ("a", "b", "c", "d")
    assert (spec.fallback, spec.constraints.floor, spec.lease_s, spec.status, spec.revision) == ("a", 0.02, 60.0, "running", 1)
    assert (spec.metrics["thumbs_up"].resolution, spec.metrics["thumbs_up"].aggregate) == (1.0, "max")
    assert spec.policy == Policy(name="thompson")


def test_everything_can_be_said() -> None:
    spec = load_experiment(FULL)
    assert spec.arms[0].params == {"temperature": 0.2}
    assert spec.metric_names == ("thumbs_up", "latency", "tokens")
    latency = spec.metrics["latency"]
    assert (latency.window_s, latency.resolution, latency.direction, latency.aggregate) == (600.0, 0.001, "down", "last")
    assert spec.policy == Policy(name="top-two-thompson", params={"beta": 0.4})
    assert (spec.period_s, spec.publish_interval_s, spec.lease_s) == (3600.0, 2.0, 30.0)


@pytest.mark.parametrize("text", [SMALLEST, FULL])
def test_the_record_reads_back_as_the_same_spec(text: str) -> None:
    spec = load_experiment(text)
    record = msgspec.json.encode(spec)
    assert load_experiment(record.decode()) == spec
    assert load_experiment(json.loads(record)) == spec
    assert load_experiment(yaml.safe_dump(msgspec.to_builtins(spec))) == spec
    assert msgspec.json.decode(record, type=Experiment) == spec


def test_numbers_in_scientific_notation_need_no_dot() -> None:
    for resolution in ("1e-6", "1.0e-06", "1E-6", "0.000001"):
        assert load_experiment(FULL.replace("1e-3", resolution)).metrics["latency"].resolution == 1e-6


def test_json_may_be_indented_with_tabs() -> None:
    assert load_experiment(json.dumps(smallest(), indent="\t")) == load_experiment(SMALLEST)


def test_a_long_publish_interval_lengthens_the_default_lease() -> None:
    assert load_experiment(smallest(publish_interval="5m")).lease_s == 900


def test_every_error_at_once_in_the_order_of_the_spec() -> None:
    wrong = smallest(arms=["a", "b", "b", "-"], objective="thumbs_upp", policy="thomson", lease="soon", enrolment=2)
    with pytest.raises(SpecErrors) as raised:
        load_experiment(wrong)
    assert [error.path for error in raised.value.errors] == [
        "arms[2]",
        "arms[3]",
        "objective",
        "policy.name",
        "enrolment",
        "lease",
    ]
    assert "did you mean 'thumbs_up'?" in str(raised.value)


@pytest.mark.parametrize(
    "changes, paths",
    [
        ({"experiment": "no spaces"}, ["experiment"]),
        ({"arms": []}, ["arms"]),
        ({"arms": "a"}, ["arms"]),
        ({"arms": [{"id": "a"}, {"idd": "b"}]}, ["arms[1].idd", "arms[1].id"]),
        ({"arms": [f"arm-{k}" for k in range(101)], "control": "arm-0"}, ["arms"]),
        ({"control": "z"}, ["control"]),
        ({"fallback": "z"}, ["fallback"]),
        ({"metrics": {}}, ["metrics"]),
        ({"metrics": {"thumbs_up": "binry"}}, ["metrics.thumbs_up.type"]),
        ({"metrics": {"thumbs_up": {"resolution": 0.1}}}, ["metrics.thumbs_up.resolution"]),
        ({"metrics": {"thumbs_up": {"type": "value", "resolution": 0}}}, ["metrics.thumbs_up.resolution"]),
        ({"metrics": {"thumbs_up": {"aggregate": "sum"}}}, ["metrics.thumbs_up.aggregate"]),
        ({"constraints": {"floor": 0.26}}, ["constraints.floor"]),
        ({"constraints": {"floor": 0.2, "reserved": 0.5}}, ["constraints.floor"]),
        ({"constraints": {"cap": 0.2}}, ["constraints.cap"]),
        ({"constraints": {"cap": 0.4, "reserved": 0.5}}, ["constraints.reserved"]),
        ({"constraints": {"reserved": -0.1, "cap": 1.1}}, ["constraints.cap", "constraints.reserved"]),
        ({"constraints": {"max_shift": 0}}, ["constraints.max_shift"]),
        ({"constraints": {"warmup": 1.5, "dead_band": -1}}, ["constraints.warmup", "constraints.dead_band"]),
        ({"policy": {"name": "top-two-thompson", "beta": 7}}, ["policy.beta"]),
        ({"policy": {"name": "top-two-thompson", "params": {"beta": 0.1}, "beta": 0.2}}, ["policy.beta"]),
        ({"policy": {"name": "top-two-thompson", "params": {}, "betta": 0.2}}, ["policy.betta"]),
        ({"policy": {"name": "fixed", "shares": {"a": 1}}}, ["policy.shares"]),
        ({"policy": {"name": "constrained", "budgets": {"cost": 1}}}, ["policy.budgets.cost"]),
        ({"policy": {"name": "linear-thompson", "features": {"pro": [1]}}}, ["policy.features"]),
        ({"policy": "own.package:Class"}, ["policy.name"]),
        ({"policy": {"beta": 1}}, ["policy"]),
        ({"segments": ["pro", "free", "pro"]}, ["segments[2]"]),
        ({"holdback": 10**400}, ["holdback"]),
        ({"lease": 10**400}, ["lease"]),
        ({"lease": "1s", "publish_interval": "1s"}, ["lease"]),
        ({"status": "done"}, ["status"]),
        ({"revision": 0}, ["revision"]),
        ({"objectiv": "x"}, ["objectiv"]),
    ],
)
def test_each_error_has_its_path(changes: dict[str, Any], paths: list[str]) -> None:
    with pytest.raises(SpecErrors) as raised:
        load_experiment(smallest(**changes))
    found = [error.path for error in raised.value.errors]
    assert found == paths


@pytest.mark.parametrize("text", ["", "[]", "a: b: c", "experiment: [", "x: 2024-13-45", "\x00", "hello", "[" * 5000, "{"])
def test_what_is_no_mapping_is_said_to_be_none(text: str) -> None:
    with pytest.raises(SpecErrors):
        load_experiment(text)


def test_a_missing_field_is_called_missing() -> None:
    with pytest.raises(SpecErrors) as raised:
        load_experiment({"experiment": "x"})
    assert {error.path: error.value for error in raised.value.errors}["arms"] == "missing"


def test_more_sums_than_a_partition_keeps_are_refused() -> None:
    spec = {"experiment": "wide", "arms": [f"a{i}" for i in range(100)], "metrics": {"click": "binary"}}
    load_experiment({**spec, "segments": [f"s{i}" for i in range(250)]})
    with pytest.raises(SpecErrors, match=r"100 arms × 500 segments × 1 metrics: 1771035 numbers.*at most 1000000"):
        load_experiment({**spec, "segments": [f"s{i}" for i in range(500)]})


def test_a_decision_that_is_no_record_any_more_is_refused() -> None:
    def deep(length: int) -> Experiment:
        names = [f"m{i}".ljust(length, "x") for i in range(50)]
        metrics = dict.fromkeys(names, "binary")
        return load_experiment(
            {"experiment": "deep", "arms": [f"a{i}" for i in range(100)], "metrics": metrics, "objective": names[0]}
        )

    deep(60)
    with pytest.raises(SpecErrors, match=r"100 arms × 50 metrics with names of 128 characters.*shorter names.*900000 bytes"):
        deep(128)


@pytest.mark.parametrize(
    "windows,period_s",
    [(["1d"], 10_800.0), (["10m"], 3600.0), (["30d"], 86_400.0), (["7d", "2d"], 21_600.0)],
)
def test_periods_are_an_eighth_of_the_shortest_window_from_an_hour_to_a_day(windows: list[str], period_s: float) -> None:
    metrics = {f"m{i}": {"type": "binary", "window": window} for i, window in enumerate(windows)}
    spec = {"experiment": "x", "arms": ["a", "b"], "metrics": metrics}
    for objective in metrics:
        assert load_experiment({**spec, "objective": objective}).period_s == period_s
    assert load_experiment({**spec, "objective": "m0", "period": "1m"}).period_s == 60.0
