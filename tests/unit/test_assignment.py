"""Assignment gives what the checked-in vectors say, shares what ppm says, and the fallback when it should."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import msgspec
import pytest
from scipy import stats

from allocator.assignment import Assigner, Assignment, _hashes_below, assign
from allocator.errors import ArgumentError
from allocator.weights import PPM, Gate, Holdback, WeightedArm, Weights
from tests.vectors import make_assignment as vectors

CASES = json.loads(vectors.FILE.read_text(encoding="ascii"))["cases"]
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
        "not enrolled",
        "lease expired",
        "stopped",
    }
    assert any(not answer["unit"].isascii() for answer in answers)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["weights"]["experiment"])
def test_every_vector_is_met(case: dict[str, Any]) -> None:
    weights = msgspec.convert(case["weights"], Weights)
    for expected in case["assignments"]:
        found = msgspec.to_builtins(assign(weights, expected["unit"], vectors.NOW))
        assert {field: found[field] for field in expected} == expected


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
    ],
)
def test_weights_that_contradict_themselves_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Assigner(published(500_000, 500_000, **changes))
