"""Decisions by segment, and the steps between what a policy wants and what is published."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from allocator import Decision, Experiment, assign, load_experiment
from allocator.decide import decide, decide_all
from allocator.evidence import Evidence
from allocator.weights import PPM
from tests.trained import evidence_of, sums_of

SEGMENTS = ["free", "pro"]
FREE = {"max_shift": 1, "dead_band": 0, "warmup": 100, "floor": 0}


def experiment(policy: Any = "per-segment", constraints: Any = None, **changes: Any) -> Experiment:
    rules = {**FREE, **(constraints or {})}
    fields = {"experiment": "x", "arms": ["a", "b", "c"], "metrics": {"good": "binary"}, "segments": SEGMENTS}
    return load_experiment({**fields, "policy": policy, "constraints": rules, **changes})


def counted(spec: Experiment, **segments: list[tuple[int, int]]) -> Evidence:
    """(units, successes) of every arm, by segment."""
    cells = {
        (segment, 0, arm): sums_of(n, [good])
        for segment, each in segments.items()
        for arm, (n, good) in zip(spec.arm_ids, each, strict=True)
    }
    return evidence_of(spec, cells)


OPPOSED = {
    "free": [(5000, 1000), (5000, 1400), (5000, 900)],
    "pro": [(5000, 1400), (5000, 1000), (5000, 900)],
    "other": [(5000, 1000), (5000, 1200), (5000, 900)],
}


def ppm(decision: Decision) -> list[int]:
    return [arm.ppm for arm in decision.weights.arms]


# -- segments --------------------------------------------------------------------------------------------------------------------


def test_every_declared_segment_and_the_other_have_weights_of_their_own() -> None:
    spec = experiment()
    decisions = decide_all(spec, counted(spec, **OPPOSED), {}, 0.0)
    assert list(decisions) == [None, "free", "pro", "other"]
    assert [decisions[segment].weights.segment for segment in decisions] == list(decisions)
    assert ppm(decisions["free"])[1] > 990_000
    assert ppm(decisions["pro"])[0] > 990_000
    assert decisions["pro"].reason.startswith("first weights; a leads: P(best) 1.00; ")
    assert [arm.n for arm in decisions["pro"].arms] == [5000, 5000, 5000]


def test_one_segment_alone_is_decided_as_among_all() -> None:
    spec = experiment()
    evidence = counted(spec, **OPPOSED)
    for segment, decision in decide_all(spec, evidence, {}, 3.0).items():
        assert decide(spec, evidence, None, 3.0, segment) == decision


def test_policies_that_do_not_ask_for_segments_decide_the_whole() -> None:
    for policy in ("thompson", "track-and-stop", "fixed"):
        spec = experiment(policy)
        assert list(decide_all(spec, counted(spec, **OPPOSED), {}, 0.0)) == [None]
    spec = experiment(segments=[])
    assert list(decide_all(spec, Evidence(spec.arm_ids, 1, {}), {}, 0.0)) == [None]


def test_a_segment_short_of_units_follows_the_whole_experiment() -> None:
    spec = experiment()
    evidence = counted(spec, free=OPPOSED["free"], pro=[(33, 33), (33, 0), (33, 0)])
    decisions = decide_all(spec, evidence, {}, 0.0)
    assert ppm(decisions["pro"]) == ppm(decisions[None])
    assert decisions["pro"].reason == "first weights; 99 of 100 units in the segment: as the whole experiment"
    assert list(decisions["pro"].steps) == ["pooled", "floor"]


def test_segments_warm_up_with_the_experiment() -> None:
    spec = experiment()
    evidence = counted(spec, free=[*OPPOSED["free"][:2], (99, 0)])
    for decision in decide_all(spec, evidence, {}, 0.0).values():
        assert ppm(decision) == [333_334, 333_333, 333_333]
        assert "warm-up: c has 99 of 100 units" in decision.reason


def test_a_new_segment_moves_from_the_shares_that_served_it() -> None:
    spec = experiment(constraints={"max_shift": 0.1})
    evidence = counted(spec, **OPPOSED)
    whole = decide(spec, evidence, None, 0.0)
    decisions = decide_all(spec, evidence, {None: whole.weights}, 1.0)
    for segment in ("free", "pro"):
        moved = np.abs(np.array(ppm(decisions[segment])) - ppm(whole))
        assert 0 < moved.max() <= 100_001
        assert decisions[segment].weights.version == 1
        assert decisions[segment].publish
    following = decide_all(spec, evidence, {segment: d.weights for segment, d in decisions.items()}, 2.0)
    assert following["pro"].weights.version == 2
    assert np.abs(np.array(ppm(following["pro"])) - ppm(decisions["pro"])).max() == pytest.approx(100_000, abs=1)


def test_a_unit_keeps_its_arm_where_weights_of_segments_allow_it() -> None:
    spec = experiment("fixed")
    decision = decide(spec, Evidence(spec.arm_ids, 1, {}), None, 0.0)
    other = decide(spec, Evidence(spec.arm_ids, 1, {}), None, 0.0, "pro")
    for unit in range(50):
        assert assign(decision.weights, f"u-{unit}", 1.0).arm == assign(other.weights, f"u-{unit}", 1.0).arm


def test_readouts_of_a_segment_are_those_of_the_objective() -> None:
    spec = experiment(metrics={"good": "binary", "bad": "binary"}, objective="good")
    cells = {(segment, 0, arm): sums_of(1000, [300, 10]) for segment in ("free", "pro") for arm in "abc"}
    decisions = decide_all(spec, evidence_of(spec, cells), {}, 0.0)
    assert all(set(arm.metrics) == {"good", "bad"} for arm in decisions[None].arms)
    assert all(arm.metrics == {} and arm.mean == pytest.approx(0.3, abs=1e-3) for arm in decisions["pro"].arms)


# -- steps -----------------------------------------------------------------------------------------------------------------------


def test_steps_come_in_the_documented_order_and_each_says_what_it_did() -> None:
    rules = {"reserved": 0.3, "floor": 0.05, "cap": 0.6, "max_shift": 0.1}
    spec = experiment("thompson", rules)
    even = decide(spec, Evidence(spec.arm_ids, 1, {}), None, 0.0).weights
    decision = decide(spec, counted(spec, free=OPPOSED["free"]), even, 1.0)
    assert list(decision.steps) == ["policy", "reserved", "floor", "cap", "shift"]
    assert decision.steps["policy"][1] > 999_000
    assert decision.steps["floor"][0] == pytest.approx(0.3 * PPM, abs=1)
    assert decision.steps["cap"][1] == pytest.approx(0.6 * PPM, abs=1)
    assert decision.steps["shift"] == ppm(decision)
    assert max(abs(np.array(ppm(decision)) - [arm.ppm for arm in even.arms])) <= 100_001
    assert not decision.settled


def test_a_reserved_share_that_is_raised_is_kept_at_once() -> None:
    evidence = counted(experiment(), free=OPPOSED["free"])
    before = decide(experiment("thompson"), evidence, None, 0.0).weights
    assert before.arms[0].ppm < 1000
    spec = experiment("thompson", {"reserved": 0.4, "max_shift": 0.05, "dead_band": 0.9})
    decision = decide(spec, evidence, before, 1.0)
    assert "lift" in decision.steps
    assert ppm(decision)[0] == 400_000


def test_warm_up_keeps_the_reserved_share() -> None:
    spec = experiment("thompson", {"reserved": 0.5, "cap": 0.5})
    assert ppm(decide(spec, Evidence(spec.arm_ids, 1, {}), None, 0.0)) == [500_000, 250_000, 250_000]


def test_where_a_reserved_share_leaves_little_the_default_floor_gives_way() -> None:
    spec = load_experiment(
        {"experiment": "x", "arms": ["a", "b"], "metrics": {"good": "binary"}, "constraints": {"reserved": 0.99}}
    )
    assert spec.constraints.floor == pytest.approx(0.005)
