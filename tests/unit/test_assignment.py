"""Assignment gives what the checked-in vectors say, shares what ppm says, and the fallback when it should."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import msgspec
import pytest
from scipy import stats

from allocator.assignment import Assigner, Assignment, _hashes_below, assign
from allocator.eligibility import Eligibility
from allocator.errors import ArgumentError
from allocator.segments import SegmentRule, segment_of
from allocator.weights import PPM, Gate, Holdback, Layer, WeightedArm, Weights
from tests.vectors import make_assignment as vectors

DOCUMENT = json.loads(vectors.FILE.read_text(encoding="ascii"))
CASES = DOCUMENT["cases"]
UNITS = 60_000


def published(*ppm: int, **changes: Any) -> Weights:
    weights = Weights(
        experiment="chat",
        version=3,
        arms=tuple(WeightedArm(chr(ord("a") + i), share, 101 + i) for i, share in enumerate(ppm)),
        enrolment=Gate(PPM, 7),
        holdback=Holdback(0, 8, "a"),
        valid_until=100.0,
        fallback="a",
        policy="thompson",
        reason="test",
        spec_hash="0",
        ts=40.0,
    )
    return msgspec.structs.replace(weights, **changes)


def fit(counts: Counter[str], shares: dict[str, int]) -> float:
    """P-value of the counts under the shares (ppm), by Pearson's chi-square."""
    total = sum(counts.values())
    observed = [counts[arm] for arm in shares]
    return float(stats.chisquare(observed, [total * ppm / PPM for ppm in shares.values()]).pvalue)


# ---- vectors ----


def test_the_vector_file_is_what_its_script_makes() -> None:
    assert vectors.FILE.read_text(encoding="ascii") == vectors.text(vectors.document())


def test_the_vectors_cover_what_they_should() -> None:
    answers = [answer for case in CASES for answer in case["assignments"]]
    assert len(answers) >= 1000
    assert {answer["reason"] for answer in answers} == {
        "assigned",
        "held back",
        "namespace",
        "not enrolled",
        "not eligible",
        "lease expired",
        "stopped",
    }
    assert any(not answer["unit"].isascii() for answer in answers)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["weights"]["experiment"])
def test_every_vector_is_met(case: dict[str, Any]) -> None:
    weights = msgspec.convert(case["weights"], Weights)
    for expected in case["assignments"]:
        given = expected.pop("attributes", None)
        found = msgspec.to_builtins(assign(weights, expected["unit"], vectors.NOW, given))
        assert {field: found[field] for field in expected} == expected


@pytest.mark.parametrize("row", DOCUMENT["rules"], ids=lambda row: json.dumps([row["rule"], row["attributes"]]))
def test_every_rule_of_the_vectors_is_met(row: dict[str, Any]) -> None:
    weights = published(0, PPM, eligibility=row["rule"])
    assert assign(weights, "u-1", 0.0, row["attributes"]).enrolled is row["eligible"]


@pytest.mark.parametrize("row", DOCUMENT["segments"], ids=lambda row: json.dumps([row["rule"], row["attributes"]]))
def test_every_segment_of_the_vectors_is_met(row: dict[str, Any]) -> None:
    assert segment_of(msgspec.convert(row["rule"], SegmentRule), row["attributes"]) == row["segment"]


def test_no_vector_hangs_on_the_last_bit_of_a_logarithm() -> None:
    for case in CASES:
        if case["weights"]["experiment"] == "tie-goes-to-the-first":
            continue
        for answer in case["assignments"]:
            ranked = vectors.scores(case["weights"], answer["unit"])
            assert len(ranked) < 2 or ranked[1][0] > ranked[0][0] * (1 + vectors.Decimal("1e-12"))


def test_an_exact_tie_goes_to_the_first_arm_that_has_a_share() -> None:
    twins = (WeightedArm("none", 0, 5), WeightedArm("first", 500_000, 5), WeightedArm("second", 500_000, 5))
    assigner = Assigner(published(arms=twins, fallback="none", holdback=Holdback(0, 8, "none")))
    assert {assigner.assign(f"u-{i}", 0.0).arm for i in range(200)} == {"first"}


# ---- shares ----


@pytest.mark.parametrize("ppm", [(500_000, 500_000), (400_000, 300_000, 200_000, 100_000), (980_000, 10_000, 10_000)])
def test_shares_follow_ppm(ppm: tuple[int, ...]) -> None:
    weights = published(*ppm)
    assigner = Assigner(weights)
    counts = Counter(assigner.assign(f"u-{i}", 0.0).arm for i in range(UNITS))
    assert fit(counts, {arm.id: arm.ppm for arm in weights.arms}) > 0.001


def test_the_chi_square_sees_a_wrong_share() -> None:
    assigner = Assigner(published(500_000, 500_000))
    counts = Counter(assigner.assign(f"u-{i}", 0.0).arm for i in range(UNITS))
    assert fit(counts, {"a": 480_000, "b": 520_000}) < 1e-9


def test_enrolment_and_holdback_take_their_share_and_leave_the_split_alone() -> None:
    assigner = Assigner(published(300_000, 700_000, enrolment=Gate(250_000, 7), holdback=Holdback(200_000, 8, "a")))
    found = [assigner.assign(f"u-{i}", 0.0) for i in range(4 * UNITS)]
    assert fit(Counter(str(one.enrolled) for one in found), {"True": 250_000, "False": 750_000}) > 0.001
    inside = [one for one in found if one.enrolled]
    assert fit(Counter(str(one.holdback) for one in inside), {"True": 200_000, "False": 800_000}) > 0.001
    assert fit(Counter(one.arm for one in inside if not one.holdback), {"a": 300_000, "b": 700_000}) > 0.001


def test_other_seeds_make_an_independent_draw() -> None:
    one = Assigner(published(500_000, 500_000))
    other = Assigner(published(arms=(WeightedArm("a", 500_000, 901), WeightedArm("b", 500_000, 902))))
    pairs = Counter((one.assign(f"u-{i}", 0.0).arm, other.assign(f"u-{i}", 0.0).arm) for i in range(UNITS))
    assert stats.chi2_contingency([[pairs[x, y] for y in "ab"] for x in "ab"]).pvalue > 0.001


@pytest.mark.parametrize("ppm", [0, 1, 3, 250_000, 333_333, 999_999, PPM])
def test_the_threshold_on_the_hash_is_the_bucket_rule(ppm: int) -> None:
    edge = _hashes_below(ppm)
    for h in {max(edge - 1, 0), min(edge, 2**64 - 1)}:
        assert (h < edge) == ((h * PPM) >> 64 < ppm)


# ---- who takes part ----


def test_outside_of_its_ranges_an_experiment_has_no_units() -> None:
    inside = Assigner(published(0, PPM, namespace=Layer("home-page", 77, ((0, 200_000), (700_000, 800_000)))))
    found = [inside.assign(f"u-{i}", 0.0) for i in range(UNITS)]
    assert fit(Counter(one.reason for one in found), {"assigned": 300_000, "namespace": 700_000}) > 0.001
    out = next(one for one in found if not one.enrolled)
    assert out == Assignment("chat", out.unit, "a", 1.0, 3, enrolled=False, reason="namespace")


def test_the_rule_is_asked_last_and_only_of_who_is_enrolled() -> None:
    asked: list[str] = []
    rule = {"<": [{"var": "list"}, 1]}
    weights = published(0, PPM, eligibility=rule, namespace=Layer("n", 77, ((0, PPM // 2),)), enrolment=Gate(PPM // 2, 7))
    assigner = Assigner(weights, rule_failed=lambda error: asked.append(str(error)))
    reasons = Counter(assigner.assign(f"u-{i}", 0.0, attributes={"list": [1, 2]}).reason for i in range(1000))
    assert set(reasons) == {"namespace", "not enrolled", "not eligible"}
    assert len(asked) == reasons["not eligible"]
    assert "attributes: ['list']: expected values that the rule can be evaluated on" in asked[0]


@pytest.mark.parametrize("value", [object(), float("nan"), 10**400, {1: 2}, {"x": {1, 2}}, b"7", "\ud800", [[[1]]], None])
def test_no_attribute_makes_a_rule_raise(value: Any) -> None:
    weights = published(0, PPM, eligibility={">=": [{"var": "app_version"}, 7]})
    assert assign(weights, "u-1", 0.0, {"app_version": value}).reason == "not eligible"


def test_a_rule_sees_only_attributes_and_an_attribute_may_be_missing() -> None:
    weights = published(0, PPM, eligibility={"!": [{"var": "bot"}]})
    assert assign(weights, "u-1", 0.0).enrolled
    assert assign(weights, "u-1", 0.0, {"bot": True}).reason == "not eligible"


def test_a_prepared_rule_is_shared_by_all_publications() -> None:
    rule = {"==": [{"var": "plan"}, "pro"]}
    assert Eligibility(rule)._rule is Eligibility(dict(rule))._rule


def test_every_assignment_has_the_params_of_its_arm() -> None:
    arms = (WeightedArm("a", 0, 1, {"model": "r1"}), WeightedArm("b", PPM, 2, {"model": "r2"}))
    for changes, params in (({}, "r2"), ({"holdback": Holdback(PPM, 8, "a")}, "r1"), ({"enrolment": Gate(0, 7)}, "r1")):
        assert assign(published(arms=arms, **changes), "u-1", 0.0).params == {"model": params}
    assert assign(published(0, PPM), "u-1", 0.0).params == {}


# ---- everything else an assignment says ----


def test_lease_expires_to_the_fallback() -> None:
    weights = published(0, PPM)
    assert assign(weights, "u-1", now=100.0) == Assignment("chat", "u-1", "b", 1.0, 3, enrolled=True)
    late = Assignment("chat", "u-1", "a", 1.0, 3, enrolled=False, reason="lease expired")
    assert assign(weights, "u-1", now=100.1) == late


def test_a_stopped_experiment_serves_the_fallback_and_a_paused_one_goes_on() -> None:
    assert assign(published(0, PPM, status="stopped"), "u-1", 0.0).reason == "stopped"
    assert assign(published(0, PPM, status="paused"), "u-1", 0.0).arm == "b"


def test_a_held_back_unit_takes_part_with_certainty() -> None:
    weights = published(0, PPM, holdback=Holdback(PPM, 8, "a"), segment="pro")
    assert assign(weights, "u-1", 0.0) == Assignment("chat", "u-1", "a", 1.0, 3, True, True, "pro", "held back")


def test_the_propensity_is_the_share_of_the_arm() -> None:
    weights = published(240_000, 760_000)
    assert {assign(weights, f"u-{i}", 0.0).propensity for i in range(50)} == {0.24, 0.76}


@pytest.mark.parametrize("unit", ["\ud800", 17, None])
def test_what_is_not_text_gets_the_fallback(unit: Any) -> None:
    found = assign(published(0, PPM), unit, 0.0)
    assert (found.arm, found.enrolled, found.reason) == ("a", False, "unit is not text")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"arms": ()}, "arms: .*at least one arm"),
        ({"arms": (WeightedArm("a", 500_000, 1), WeightedArm("a", 500_000, 2))}, "name of its own"),
        ({"arms": (WeightedArm("a", 500_000, 1), WeightedArm("b", 499_999, 2))}, "sum to 999999 ppm"),
        ({"arms": (WeightedArm("a", -1, 1), WeightedArm("b", 1_000_001, 2))}, "at least 0"),
        ({"fallback": "c"}, "fallback: 'c': expected one of the arms: a, b"),
        ({"holdback": Holdback(0, 8, "c")}, "holdback.arm: 'c'"),
        ({"eligibility": {"=>": [1, 2]}}, "eligibility: '=>'.* did you mean '>='"),
    ],
)
def test_weights_that_contradict_themselves_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Assigner(published(500_000, 500_000, **changes))
