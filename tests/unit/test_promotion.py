"""Drafts, archived experiments and promotions as `decide` sees them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest

from allocator import Decision, assign, decide
from allocator.decide import decide_all
from allocator.evidence import Evidence
from allocator.standing import Action, Breach
from allocator.weights import PPM
from tests.unit.test_decide import WARM, experiment, ppm


def test_a_draft_is_published_and_served_to_nobody() -> None:
    decision = decide(experiment(status="draft"), WARM, None, 0.0)
    assert (decision.weights.status, decision.weights.enrolment.ppm, decision.settled) == ("paused", 0, True)
    assert decision.reason == "draft: every unit gets a until the experiment is started"
    served = assign(decision.weights, "u-1", now=2.0)
    assert (served.arm, served.enrolled, served.reason) == ("a", False, "not enrolled")
    started = decide(experiment(), {}, decision.weights, 1.0)
    assert (started.weights.status, started.weights.enrolment.ppm) == ("running", PPM)


def test_a_decision_of_an_archived_experiment_gives_all_to_the_fallback() -> None:
    """Nobody publishes it."""
    weights = decide(experiment(status="archived"), WARM, None, 0.0).weights
    assert (weights.status, [arm.ppm for arm in weights.arms]) == ("stopped", [PPM, 0, 0])


def promotion(arm: str = "c", **changes: Any) -> list[Decision]:
    """Every decision from settled weights, where b leads, to the end of the promotion."""
    spec = experiment(**changes)
    decision = decide(spec, WARM, None, 0.0)
    promoted = msgspec.structs.replace(spec, status="promoted", promoted=arm)
    made: list[Decision] = []
    while not made or not made[-1].settled:
        decision = decide(promoted, WARM, decision.weights, float(len(made) + 1))
        made.append(decision)
    return made


def test_a_promoted_arm_gets_all_within_the_maximum_shift_then_everybody_takes_part() -> None:
    made = promotion(enrolment=0.7, holdback=0.1, constraints={"max_shift": 0.1, "cap": 0.95})
    shares = [ppm(decision)[2] for decision in made]
    enrolled = [decision.weights.enrolment.ppm for decision in made]
    assert shares == sorted(shares)
    assert max(later - earlier for earlier, later in pairwise(shares)) <= 100_000
    assert shares[-1] == PPM
    assert enrolled[shares.index(PPM)] == 700_000  # nobody new is enrolled while another arm has a share
    assert enrolled[-4:] == [700_000, 800_000, 900_000, PPM]
    assert {decision.weights.status for decision in made} == {"running"}
    assert made[0].reason == "promoted c: moved by at most 10 % to it"
    assert made[-1].reason == "promoted c: it has all shares, all units take part, 10 % of them held back on a"
    assert all(decision.publish for decision in made)


def test_the_holdback_stays_on_control_after_a_promotion() -> None:
    weights = promotion(holdback=0.25)[-1].weights
    served = [assign(weights, f"u-{i}", now=weights.ts) for i in range(400)]
    assert {(each.arm, each.holdback) for each in served} == {("c", False), ("a", True)}
    assert 60 < sum(each.holdback for each in served) < 140


def test_each_segment_moves_to_the_promoted_arm() -> None:
    spec = experiment(policy="per-segment", segments=["pro"], status="promoted", promoted="b", constraints={"max_shift": 0.5})
    evidence = Evidence(("a", "b", "c"), 1, {"pro": {arm: moments.sums for arm, moments in WARM.items()}})
    before = decide_all(msgspec.structs.replace(spec, status="running", promoted=None), evidence, {}, 0.0)
    previous = {segment: decision.weights for segment, decision in before.items()}
    for at in range(4):
        previous = {s: d.weights for s, d in decide_all(spec, evidence, previous, 1.0 + at).items()}
    assert {tuple(arm.ppm for arm in weights.arms) for weights in previous.values()} == {(0, PPM, 0)}


def test_the_enrolment_of_a_promoted_experiment_is_not_that_of_its_stages() -> None:
    made = promotion(stages=[{"enrolment": 0.1, "advance": "manual"}, {"enrolment": 0.5}], constraints={"max_shift": 0.4})
    enrolled = [decision.weights.enrolment.ppm for decision in made]
    assert enrolled == sorted(enrolled)
    assert set(enrolled) == {100_000, 500_000, 900_000, PPM}
    assert made[-1].weights.standing == made[0].weights.standing  # which stage it was in stays written down


def test_a_schedule_that_has_ended_does_not_end_a_promotion() -> None:
    spec = experiment(schedule={"start": "1970-01-01T00:00Z", "end": "1970-01-02T00:00Z"}, status="promoted", promoted="b")
    assert decide(spec, WARM, None, 1e6).weights.enrolment.ppm == PPM


def breached(action: Action, arm: str = "c", **changes: Any) -> list[Decision]:
    """The promotion of c, from weights under which a breach stands."""
    guardrail = {"tolerance": 0.01, "action": action} | ({"cap": 0.3} if action == "cap" else {})
    spec = experiment(guardrails={"good": guardrail}, constraints={"max_shift": 1.0}, **changes)
    before = decide(spec, WARM, None, 0.0).weights
    breach = Breach(metric="good", arm=arm, action=action, version=1, ts=0.0, units=100, estimate=-0.1, bound=-0.05)
    before = msgspec.structs.replace(before, standing=msgspec.structs.replace(before.standing, breaches=(breach,)))
    promoted = msgspec.structs.replace(spec, status="promoted", promoted="c")
    first = decide(promoted, WARM, before, 1.0)
    return [first, decide(promoted, WARM, first.weights, 2.0)]


@pytest.mark.parametrize(
    "action,shares,status",
    [
        ("alert", (0, 0, PPM), "running"),
        ("cap", (700_000, 0, 300_000), "running"),
        ("evict", (PPM, 0, 0), "running"),
        ("stop", (PPM, 0, 0), "stopped"),
    ],
)
def test_a_breach_of_the_promoted_arm_is_obeyed_and_control_gets_its_share(
    action: Action, shares: tuple[int, ...], status: str
) -> None:
    made = breached(action)
    assert [ppm(decision) for decision in made] == [shares, shares]
    assert {decision.weights.status for decision in made} == {status}
    assert made[-1].settled


def test_a_promoted_experiment_that_is_frozen_keeps_shares_and_enrolment() -> None:
    made = breached("freeze", enrolment=0.4)
    assert ppm(made[0]) == ppm(made[1]) != (0, 0, PPM)
    assert [decision.weights.enrolment.ppm for decision in made] == [400_000, 400_000]
    assert made[-1].settled


def test_an_evicted_arm_that_is_not_the_promoted_one_changes_no_promotion() -> None:
    assert [ppm(decision) for decision in breached("evict", arm="b")] == [(0, 0, PPM)] * 2


def test_a_promotion_without_former_weights_is_whole_at_once() -> None:
    decision = decide(experiment(status="promoted", promoted="b"), {}, None, 0.0)
    assert (ppm(decision), decision.weights.enrolment.ppm, decision.settled) == ((0, PPM, 0), PPM, True)
