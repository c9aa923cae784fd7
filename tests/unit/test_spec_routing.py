"""Namespace, eligibility, segments by rule, schedule and params in a spec: what can be said, and every error with its path."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import yaml

from allocator.eligibility import DEPTH_MAX, RULE_BYTES_MAX
from allocator.errors import SpecErrors
from allocator.experiment import Experiment
from allocator.lifecycle import revise
from allocator.namespaces import Namespace
from allocator.schedule import Schedule
from allocator.segments import SegmentRule
from allocator.spec import load_experiment
from streams.cli.spec_yaml import to_yaml

FULL = """
experiment: reco
arms: [{id: old, params: {model: r1, since: 2026-01-01}}, {id: new, params: {model: r2}}]
metrics: {bought: binary}
namespace: {name: home-page, from: 0%, to: 30%}
eligibility: {and: [{">=": [{var: app_version}, 7]}, {ends_with: [{var: email}, "@example.org"]}]}
segments: {covariate: requests_28d, cuts: [10, 100], names: [light, medium, heavy]}
schedule: {start: 2026-12-01T00:00Z, end: 2026-12-31}
"""


def spec(**changes: Any) -> Experiment:
    return load_experiment({"experiment": "reco", "arms": ["old", "new"], "metrics": {"bought": "binary"}} | changes)


def errors(**changes: Any) -> list[str]:
    with pytest.raises(SpecErrors) as caught:
        spec(**changes)
    return [f"{error.path}: {error}" if error.path not in str(error) else str(error) for error in caught.value.errors]


def test_everything_can_be_said() -> None:
    found = load_experiment(FULL)
    assert found.namespace == Namespace(name="home-page", ranges=((0.0, 0.3),))
    assert found.eligibility == yaml.safe_load(FULL)["eligibility"]
    assert found.segments == ("light", "medium", "heavy")
    assert found.segment_rule == SegmentRule(attribute="requests_28d", names=found.segments, cuts=(10.0, 100.0))
    assert found.schedule == Schedule(start="2026-12-01T00:00Z", end="2026-12-31T00:00Z")
    assert found.arms[0].params == {"model": "r1", "since": "2026-01-01"}


@pytest.mark.parametrize(
    "text",
    [FULL, FULL.replace("segments: {covariate: requests_28d, cuts: [10, 100], names:", "segments: {attribute: plan, values:")],
)
def test_the_record_and_what_is_shown_read_back_as_the_same_spec(text: str) -> None:
    found = load_experiment(text)
    assert found.segment_rule is not None
    assert load_experiment(msgspec.json.decode(msgspec.json.encode(found))) == found
    assert load_experiment(to_yaml(found)) == found
    assert msgspec.json.decode(msgspec.json.encode(found), type=Experiment) == found


# ---- namespace ----


@pytest.mark.parametrize(
    "given,ranges",
    [
        ({"name": "n"}, ((0.0, 1.0),)),
        ({"name": "n", "from": 0.5}, ((0.5, 1.0),)),
        ({"name": "n", "to": "33.3333 %"}, ((0.0, 0.333333),)),
        ({"name": "n", "ranges": [["50%", "60%"], [0, 0.1]]}, ((0.0, 0.1), (0.5, 0.6))),
        ({"name": "n", "ranges": [["0%", "10%"], ["10%", "20%"]]}, ((0.0, 0.2),)),
    ],
)
def test_ranges_are_kept_ascending_in_whole_places(given: dict[str, Any], ranges: tuple[tuple[float, float], ...]) -> None:
    found = spec(namespace=given).namespace
    assert found == Namespace(name="n", ranges=ranges)


@pytest.mark.parametrize(
    "given,expected",
    [
        ("home-page", "namespace: 'home-page': expected a mapping such as {name: home-page, from: 0%, to: 30%}"),
        ({"form": 0, "name": "n"}, "namespace.form: 0: expected one of name, from, to, ranges; did you mean 'from'?"),
        ({"from": 0}, "namespace.name: 'missing': expected a name of at most 128 characters"),
        ({"name": "n", "from": "30%", "to": "10%"}, "namespace: ['30%', '10%']: expected a range whose end is greater"),
        ({"name": "n", "to": "101%"}, "namespace: [0, '101%']: expected from and to, each a share such as 10% or 0.1"),
        ({"name": "n", "to": True}, "namespace: [0, True]: expected from and to"),
        ({"name": "n", "ranges": []}, "namespace.ranges: []: expected a list of 1 to 100 ranges"),
        ({"name": "n", "ranges": [[0, 0.1], 0.2]}, "namespace.ranges[1]: 0.2: expected a pair of shares"),
        (
            {"name": "n", "ranges": [[0, 0.2], [0.1, 0.3]]},
            "namespace.ranges: '10%–20%': expected ranges without places in common",
        ),
        ({"name": "n", "from": 0, "ranges": [[0, 0.2]]}, "namespace.from: 0: expected nothing beside ranges"),
    ],
)
def test_a_wrong_namespace_is_named(given: Any, expected: str) -> None:
    [found] = errors(namespace=given)
    assert found.startswith(expected)


# ---- eligibility ----


@pytest.mark.parametrize(
    "rule,expected",
    [
        (True, "eligibility: True: expected a rule in JsonLogic"),
        ({}, "eligibility: {}: expected a rule in JsonLogic"),
        ({"=>": [1, 2]}, "eligibility: '=>': expected an operator of JsonLogic; did you mean '>='?"),
        (
            {"and": [{"startswith": ["a", "b"]}]},
            "eligibility.and[0]: 'startswith': expected an operator of JsonLogic; did you mean 's",
        ),
        ({"matches": ["a", "b"]}, "eligibility: 'matches': expected one of !, !!, !=, !==, %, "),
        ({"now": []}, "eligibility: 'now': expected one of"),  # the engine's own, which other libraries do not have
        ({"and": [1], "or": [2]}, "eligibility: {'and': [1], 'or': [2]}: expected one operator, with its arguments"),
        ({">=": [1]}, "eligibility: {'>=': [1]}: expected what JsonLogic allows: `>=` takes at least 2 arguments"),
        ({"or": [1, {"==": [1]}]}, "eligibility.or[1]: {'==': [1]}: expected what JsonLogic allows"),
        ({"==": [1, {1, 2}]}, "eligibility.==[1]: {1, 2}: expected a text, a number, true, false or null"),
        ({"==": [1, float("nan")]}, "eligibility.==[1]: nan: expected a text, a number"),
        ({"in": [{"var": "x"}, ["y" * RULE_BYTES_MAX]]}, "eligibility: '10025 bytes': expected at most 10000 bytes as JSON"),
    ],
)
def test_a_rule_that_is_none_is_named(rule: Any, expected: str) -> None:
    [found] = errors(eligibility=rule)
    assert found.startswith(expected)


def test_a_rule_may_be_deep_but_not_deeper() -> None:
    rule: Any = {"var": "x"}
    for _ in range((DEPTH_MAX - 2) // 2):
        rule = {"!": [rule]}
    assert spec(eligibility=rule).eligibility == rule
    for _ in range(5000):
        rule = {"!": [rule]}
    [found] = errors(eligibility=rule)
    assert found.endswith(f"expected at most {DEPTH_MAX} levels")


def test_all_operators_that_are_wrong_are_named_at_once() -> None:
    assert len(errors(eligibility={"and": [{"eq": [1, 2]}, {"or": [{"lt": [1, 2]}, {"var": "x"}]}]})) == 2


# ---- segments ----


@pytest.mark.parametrize(
    "given,expected",
    [
        ({"attribute": "plan"}, ["segments.values: 'missing': expected a list of at least one segment"]),
        (
            {"atribute": "plan", "values": ["free"]},
            ["segments.atribute: 'plan': expected one of attribute, values; did", "segments.attribute:"],
        ),
        ({"attribute": "plan", "values": ["free", "free"]}, ["segments.values[1]: 'free': expected a name no other segment has"]),
        ({"attribute": "plan", "values": [1]}, ["segments.values[0]: 1: expected a name"]),
        (
            {"covariate": "n", "cuts": [10, 5], "names": ["x", "y", "z"]},
            ["segments.cuts: [10, 5]: expected ascending numbers, 2 for 3 names"],
        ),
        (
            {"covariate": "n", "cuts": [10], "names": ["x", "y", "z"]},
            ["segments.cuts: [10]: expected ascending numbers, 2 for 3 names"],
        ),
        ({"covariate": "n", "names": ["x", "y"]}, ["segments.cuts: 'missing': expected ascending numbers, 1 for 2 names"]),
        ({"covariate": "n", "cuts": ["5"], "names": ["x", "y"]}, ["segments.cuts: ['5']: expected ascending numbers"]),
        (7, ["segments: 7: expected a list of segment names, or a rule such as {attribute: …, values: …}"]),
    ],
)
def test_a_wrong_rule_of_segments_is_named(given: Any, expected: list[str]) -> None:
    found = errors(segments=given)
    assert len(found) == len(expected)
    for one, beginning in zip(found, expected, strict=True):
        assert one.startswith(beginning)


def test_names_and_rule_of_a_record_must_agree() -> None:
    record = msgspec.to_builtins(spec(segments={"attribute": "plan", "values": ["free", "pro"]}))
    [found] = errors(**(record | {"segments": ["free"]}))
    assert found == "segments: ['free']: expected the names in segment_rule, free, pro"


@pytest.mark.parametrize(
    "wanted,path",
    [
        ({"covariate": "sessions", "cuts": [10, 100], "names": ["light", "medium", "heavy"]}, "segments"),
        ({"covariate": "requests_28d", "cuts": [10, 50], "names": ["light", "medium", "heavy"]}, "segments.cuts"),
    ],
)
def test_a_running_experiment_keeps_its_rule_of_segments(wanted: dict[str, Any], path: str) -> None:
    rule = {"covariate": "requests_28d", "cuts": [10, 100], "names": ["light", "medium", "heavy"]}
    with pytest.raises(SpecErrors) as caught:
        revise(spec(segments=rule), spec(segments=wanted))
    assert [error.path for error in caught.value.errors] == [path]
    assert revise(spec(segments=rule["names"]), spec(segments=rule)).segment_rule is not None  # said by hand before


# ---- schedule ----


@pytest.mark.parametrize(
    "given,expected",
    [
        ("2026-12-01", "schedule: '2026-12-01': expected a mapping such as"),
        ({"begin": "2026-12-01"}, "schedule.begin: '2026-12-01': expected one of start, end"),
        ({"start": "2026-12-01T00:00"}, "schedule.start: '2026-12-01T00:00': expected a time with its zone such as"),
        ({"start": "2026-02-30"}, "schedule.start: '2026-02-30': expected a time with its zone"),
        ({"start": 1764000000}, "schedule.start: 1764000000: expected a time with its zone"),
        (
            {"start": "2026-12-31", "end": "2026-12-31"},
            "schedule.end: '2026-12-31': expected a time after the start, 2026-12-31T00:00Z",
        ),
    ],
)
def test_a_wrong_schedule_is_named(given: Any, expected: str) -> None:
    [found] = errors(schedule=given)
    assert found.startswith(expected)


def test_a_schedule_of_nothing_is_none() -> None:
    assert spec(schedule={}).schedule is spec(schedule={"start": None}).schedule is spec().schedule is None


# ---- params ----


def test_params_that_cannot_travel_with_the_weights_are_refused() -> None:
    [found] = errors(arms=[{"id": "old", "params": {"prompt": "x" * 50_000}}, "new"])
    assert found.startswith("arms: 'params of 50015 bytes': expected at most 50000 bytes as JSON")
