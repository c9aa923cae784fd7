"""Specs of metrics made of others, caps, missing values and objectives with limits: what can be said, and every error."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from allocator import Experiment, SpecErrors, load_experiment
from allocator.experiment import Derived, Policy, derived_kind
from allocator.spec_metrics import NODES_MAX
from allocator.tolerances import Tolerance, tolerance_of
from streams.cli.spec_yaml import to_yaml

METRICS: dict[str, Any] = {
    "cart": "binary",
    "revenue": {"type": "value", "cap": 500},
    "sessions": {"type": "count", "cap": 40},
    "latency": {"type": "value", "direction": "down", "missing": "excluded"},
}


def spec(objective: Any = "cart", policy: Any = None, **derived: Any) -> Experiment:
    fields = {"experiment": "x", "arms": ["a", "b"], "metrics": {**METRICS, **derived}, "objective": objective}
    return load_experiment(fields if policy is None else {**fields, "policy": policy})


def errors(*args: Any, **derived: Any) -> dict[str, str]:
    with pytest.raises(SpecErrors) as raised:
        spec(*args, **derived)
    return {error.path: error.expected for error in raised.value.errors}


TREE: dict[str, Any] = {
    "per_session": {"ratio": ["revenue", "sessions"], "direction": "up"},
    "oec": {"sum": {"cart": 1, "per_session": 0.02}, "prior": {"mean": 0.1, "units": 20}},
    "gmv": {"product": ["cart", "oec"]},
}


def test_metrics_are_sorted_into_observed_and_made() -> None:
    found = spec("oec", **TREE)
    assert found.metric_names == ("cart", "revenue", "sessions", "latency")
    assert found.columns == (*found.metric_names, "latency:reported")
    assert found.reported == {"latency": 4}
    assert [derived_kind(derived) for derived in found.derived.values()] == [
        ("ratio", ("revenue", "sessions"), ()),
        ("sum", ("cart", "per_session"), (1.0, 0.02)),
        ("product", ("cart", "oec"), ()),
    ]
    assert found.metrics["revenue"].cap == 500.0
    assert found.objective == "oec"


@pytest.mark.parametrize("objective", ["oec", {"maximise": "oec", "subject_to": {"revenue": {"tolerance": "1%"}}}])
def test_what_is_shown_and_what_is_sent_read_back_as_the_same(objective: Any) -> None:
    found = spec(objective, **TREE)
    assert load_experiment(msgspec.json.encode(found).decode()) == found
    assert msgspec.json.decode(msgspec.json.encode(found), type=Experiment) == found
    assert "derived" not in to_yaml(found)
    assert load_experiment(to_yaml(found)) == found


def test_records_from_before_read_as_specs_without_any() -> None:
    record = msgspec.to_builtins(spec())
    del record["derived"]
    for metric in record["metrics"].values():
        del metric["cap"], metric["missing"]
    found = load_experiment(record)
    assert (found.derived, found.columns) == ({}, found.metric_names)


@pytest.mark.parametrize(
    "derived, path, expected",
    [
        ({"m": {"sum": {"crat": 1}}}, "metrics.m.sum.crat", "did you mean 'cart'?"),
        ({"m": {"ratio": ["cart", "session"]}}, "metrics.m.ratio[1]", "did you mean 'sessions'?"),
        ({"m": {"ratio": ["cart"]}}, "metrics.m.ratio", "a list of two metrics"),
        ({"m": {"product": "cart"}}, "metrics.m.product", "a list of two metrics"),
        ({"m": {"sum": {}}}, "metrics.m.sum", "a mapping from metrics to their weights"),
        ({"m": {"sum": {"cart": float("inf")}}}, "metrics.m.sum.cart", "a finite number"),
        ({"m": {"sum": {"cart": True}}}, "metrics.m.sum.cart", "a finite number"),
        ({"m": {"sum": {"cart": 1}, "ratio": ["cart", "sessions"]}}, "metrics.m", "one of sum, ratio and product"),
        ({"m": {"sum": {"cart": 1}, "window": "7d"}}, "metrics.m.window", "one of sum, ratio, product, direction, prior"),
        ({"m": {"sum": {"cart": 1}, "direction": "left"}}, "metrics.m.direction", "one of up, down"),
        ({"m": {"sum": {"cart": 1}, "prior": {"units": -1}}}, "metrics.m.prior.units", "at least"),
        ({"m": {"sum": {"m": 1}}}, "metrics.m", "no cycle"),
        ({"a b": {"sum": {"cart": 1}}}, "metrics.a b", "a name of at most"),
        ({"m": {"type": "binary", "cap": 1}}, "metrics.m.cap", "nothing: a binary metric"),
        ({"m": {"type": "count", "cap": 1.5}}, "metrics.m.cap", "a whole number above 0"),
        ({"m": {"type": "value", "cap": 0}}, "metrics.m.cap", "a number above 0"),
        ({"m": {"type": "value", "missing": "exclude"}}, "metrics.m.missing", "did you mean 'excluded'?"),
    ],
)
def test_every_mistake_has_its_path(derived: Any, path: str, expected: str) -> None:
    found = errors(**derived)
    assert expected in found[path]


def test_a_cycle_is_named_whole() -> None:
    with pytest.raises(SpecErrors, match=r"metrics.p: 'q → r → q': expected no cycle"):
        spec(p={"sum": {"q": 1}}, q={"ratio": ["r", "cart"]}, r={"product": ["q", "cart"]})


def test_a_tree_that_doubles_at_each_step_is_refused() -> None:
    chain: dict[str, Any] = {"d0": {"product": ["cart", "revenue"]}}
    chain |= {f"d{k}": {"product": [f"d{k - 1}", f"d{k - 1}"]} for k in range(1, 40)}
    assert f"at most {NODES_MAX}" in next(iter(errors(**chain).values()))


def test_something_must_be_observed_and_names_are_used_once() -> None:
    with pytest.raises(SpecErrors, match="at least one that is observed"):
        load_experiment({"experiment": "x", "arms": ["a"], "metrics": {"m": {"sum": {"m2": 1}}}, "objective": "m"})
    with pytest.raises(SpecErrors, match="a name no other metric has"):
        load_experiment(
            {
                "experiment": "x",
                "arms": ["a"],
                "metrics": METRICS,
                "derived": {"cart": msgspec.to_builtins(Derived(sum={"revenue": 1.0}))},
                "objective": "cart",
            }
        )


# -- objectives ------------------------------------------------------------------------------------------------------------------

LIMITS = {"revenue": {"tolerance": "1%"}, "sessions": {"at_least": 2}, "latency": {"budget": 0.2, "tolerance": 0.01}}


@pytest.mark.parametrize("policy", [None, "constrained", {"name": "constrained"}])
def test_limits_are_the_policy_constrained(policy: Any) -> None:
    found = spec({"maximise": "cart", "subject_to": LIMITS}, policy)
    assert found.objective == "cart"
    assert found.policy == Policy(
        name="constrained",
        params={"tolerances": {"revenue": "1%", "latency": 0.01}, "floors": {"sessions": 2}, "budgets": {"latency": 0.2}},
    )


def test_what_is_better_less_is_minimised() -> None:
    aim = {"minimise": "latency", "subject_to": {"revenue": {"tolerance": 0}}}
    assert spec(aim).objective == "latency"
    wrong = errors({"maximise": "latency", "subject_to": LIMITS})
    assert wrong["objective.maximise"] == "minimise: the metric's direction is down"


@pytest.mark.parametrize(
    "objective, policy, path, expected",
    [
        ("carts", None, "objective", "did you mean 'cart'?"),
        ({"maximise": "carts", "subject_to": LIMITS}, None, "objective.maximise", "did you mean 'cart'?"),
        ({"maximize": "cart", "subject_to": LIMITS}, None, "objective.maximize", "did you mean 'maximise'?"),
        ({"maximise": "cart"}, None, "objective.subject_to", "a mapping from metrics to limits"),
        (
            {"maximise": "cart", "subject_to": {"revenu": {"budget": 1}}},
            None,
            "objective.subject_to.revenu",
            "did you mean 'revenue'?",
        ),
        ({"maximise": "cart", "subject_to": {"revenue": 1}}, None, "objective.subject_to.revenue", "a mapping with tolerance"),
        (
            {"maximise": "cart", "subject_to": {"revenue": {"tolerence": 1}}},
            None,
            "objective.subject_to.revenue.tolerence",
            "did you mean 'tolerance'?",
        ),
        (
            {"maximise": "cart", "subject_to": {"revenue": {"tolerance": "-1%"}}},
            None,
            "objective.subject_to.revenue.tolerance",
            "1%",
        ),
        (
            {"maximise": "cart", "subject_to": {"revenue": {"budget": "1%"}}},
            None,
            "objective.subject_to.revenue.budget",
            "finite",
        ),
        ({"maximise": "cart", "subject_to": LIMITS}, "thompson", "policy", "constrained, or nothing"),
        (
            {"maximise": "cart", "subject_to": LIMITS},
            {"name": "constrained", "budgets": {"latency": 1}},
            "policy.budgets",
            "nothing",
        ),
    ],
)
def test_every_mistake_of_an_objective_has_its_path(objective: Any, policy: Any, path: str, expected: str) -> None:
    assert expected in errors(objective, policy)[path]


@pytest.mark.parametrize(
    "value, size, relative",
    [("1%", 0.01, True), (" 0.5 % ", 0.005, True), (".5%", 0.005, True), (0, 0.0, False), (0.01, 0.01, False)],
)
def test_tolerances(value: Any, size: float, relative: bool) -> None:
    assert tolerance_of("t", value) == Tolerance(pytest.approx(size), relative)
    assert tolerance_of("t", value).of(-200.0) == pytest.approx(200 * size if relative else size)
