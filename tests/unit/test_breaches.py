"""What a decision makes of guardrails that are broken: who loses what, at once, for how long, and what is told."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from allocator.assignment import assign
from allocator.breaches import remaining, under
from allocator.decide import Decision, decide, decide_all
from allocator.errors import SpecErrors
from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.lifecycle import revise
from allocator.overrule import overrule
from allocator.spec import load_experiment
from allocator.weights import PPM, Weights
from streams.cli.guardrails import breach_line
from tests.trained import evidence_of, sums_of

HARM = {"a": 1000, "b": 1000, "c": 500}
"""Buys of 5000 units an arm: c is far worse than control, a."""
FINE = {"a": 1000, "b": 1000, "c": 1000}
CLICKS = {"a": 500, "b": 1000, "c": 1500}
"""The objective likes c best."""
SLOW = {"reserved": 0, "floor": 0.02, "warmup": 100, "max_shift": 0.1, "dead_band": 0.01}


def spec(action: str = "evict", arms: str = "abc", **changes: Any) -> Experiment:
    guardrail = {"tolerance": "2%", "action": action} | ({"cap": "5%"} if action == "cap" else {})
    written = {
        "experiment": "x",
        "arms": list(arms),
        "metrics": {"clicks": "binary", "buys": "binary"},
        "objective": "clicks",
        "guardrails": {"buys": guardrail},
        "constraints": SLOW,
    }
    return load_experiment(written | changes)


def seen(experiment: Experiment, buys: dict[str, int], n: int = 5000, segment: str = "") -> Evidence:
    cells = {(segment, 0, arm): sums_of(n, [CLICKS[arm] * n // 5000, buys[arm] * n // 5000]) for arm in experiment.arm_ids}
    return evidence_of(experiment, cells)


def shares(decision: Decision | Weights) -> dict[str, int]:
    weights = decision.weights if isinstance(decision, Decision) else decision
    return {arm.id: arm.ppm for arm in weights.arms}


def settled(experiment: Experiment, evidence: Evidence, previous: Weights | None = None) -> Weights:
    """The weights after so many decisions that nothing moves any more."""
    for _ in range(30):
        previous = decide(experiment, evidence, previous, 0.0).weights
    assert previous is not None
    return previous


def before(action: str = "evict", **changes: Any) -> tuple[Experiment, Weights]:
    """A run in which c has got nearly everything, and nothing is wrong."""
    experiment = spec(action, **changes)
    return experiment, settled(experiment, seen(experiment, FINE))


# -- actions ---------------------------------------------------------------------------------------------------------------------


def test_evict_takes_all_at_once_and_gives_it_to_the_others_in_proportion() -> None:
    experiment, previous = before()
    had = shares(previous)
    assert had["c"] > 900_000
    found = decide(experiment, seen(experiment, HARM), previous, 1.0)
    assert found.steps["guardrail"] == [
        round(PPM * had["a"] / (had["a"] + had["b"])),
        round(PPM * had["b"] / (had["a"] + had["b"])),
        0,
    ]
    assert shares(found)["c"] == 0
    assert found.publish
    (breach,) = found.weights.standing.breaches
    assert (breach.metric, breach.arm, breach.action) == ("buys", "c", "evict")
    assert (breach.version, breach.ts, breach.units) == (found.weights.version, 1.0, 5000)
    assert breach.estimate == pytest.approx(-0.1)
    assert -0.1 < breach.bound < -0.02 * 0.2
    assert found.reason.startswith("guardrail buys: c is 50 % below control, by at least ")
    assert " %, 2 % is allowed: evicted; b leads: P(best) 1.00" in found.reason


def test_an_evicted_arm_has_no_say_in_warm_up_floor_and_who_is_best() -> None:
    experiment, previous = before(constraints=SLOW | {"warmup": 5001, "floor": 0.1})
    evidence = seen(experiment, HARM)
    assert decide(experiment, seen(experiment, FINE), None, 0.0).reason.startswith("first weights; warm-up")
    cells = {("", 0, arm): sums_of(5001 if arm != "c" else 5000, [CLICKS[arm], HARM[arm]]) for arm in "abc"}
    found = settled(experiment, evidence_of(experiment, cells), decide(experiment, evidence, previous, 0.0).weights)
    assert shares(found) == {"a": pytest.approx(100_000, abs=2), "b": pytest.approx(900_000, abs=2), "c": 0}
    last = decide(experiment, evidence_of(experiment, cells), found, 0.0)
    assert last.arms[2].id == "c"
    assert last.arms[2].p_best == 0
    assert last.arms[2].n == 5000
    assert sum(arm.p_best for arm in last.arms) == pytest.approx(1)
    assert last.reason.endswith("; c evicted by guardrail buys")


def test_cap_limits_the_arm_at_once_and_the_others_share_the_rest() -> None:
    experiment, previous = before("cap")
    found = decide(experiment, seen(experiment, HARM), previous, 1.0)
    assert shares(found)["c"] == 50_000
    assert found.steps["guardrail"][2] == found.steps["limit"][2] == 50_000
    assert " is allowed: capped; held: " in found.reason
    last = settled(experiment, seen(experiment, HARM), found.weights)
    assert shares(last)["c"] == 50_000
    again = decide(experiment, seen(experiment, HARM), last, 1.0)
    assert again.settled
    assert not again.publish


def test_freeze_holds_what_there_is() -> None:
    experiment, previous = before("freeze")
    found = decide(experiment, seen(experiment, HARM), previous, 1.0)
    assert shares(found) == shares(previous)
    assert found.publish, "what stands has changed, and who looks should see why"
    assert list(found.steps) == ["frozen"]
    assert found.reason.endswith(" is allowed: frozen; weights held")
    after = decide(experiment, seen(experiment, FINE), found.weights, 2.0)
    assert after.reason == "weights held; frozen by guardrail buys (c)"
    assert not after.publish


def test_stop_sends_all_to_the_fallback_and_routers_take_it_for_stopped() -> None:
    experiment, previous = before("stop", fallback="b")
    found = decide(experiment, seen(experiment, HARM), previous, 1.0)
    assert shares(found) == {"a": 0, "b": PPM, "c": 0}
    assert found.weights.status == "stopped"
    assert assign(found.weights, "u", now=1.0).reason == "stopped"
    assert assign(found.weights, "u", now=1.0).arm == "b"
    assert found.reason.endswith(" is allowed: stopped; all traffic to b")
    assert (
        decide(experiment, seen(experiment, FINE), found.weights, 2.0).reason == "all traffic to b; stopped by guardrail buys (c)"
    )
    assert experiment.status == "running"
    back = overrule(experiment, "buys", "c")
    assert decide(back, seen(experiment, HARM), found.weights, 2.0).weights.status == "running"


def test_alert_is_told_and_changes_nothing() -> None:
    experiment, previous = before("alert")
    found = decide(experiment, seen(experiment, HARM), previous, 1.0)
    assert shares(found) == shares(previous)
    assert found.publish
    assert [breach.action for breach in found.weights.standing.breaches] == ["alert"]
    assert "is allowed: alert; " in found.reason
    after = decide(experiment, seen(experiment, HARM), found.weights, 2.0)
    assert not after.publish
    assert "guardrail" not in after.reason


@pytest.mark.parametrize("action", ["evict", "stop"])
def test_a_fallback_that_is_out_is_replaced_by_control(action: str) -> None:
    experiment, previous = before(action, fallback="c")
    found = decide(experiment, seen(experiment, HARM), previous, 1.0)
    assert found.weights.fallback == "a"
    assert shares(found)["c"] == 0
    if action == "stop":
        assert shares(found)["a"] == PPM


def test_the_last_arm_beside_control_leaves_control_alone() -> None:
    experiment = spec(arms="ac")
    found = decide(experiment, seen(experiment, HARM), settled(experiment, seen(experiment, FINE)), 1.0)
    assert shares(found) == {"a": PPM, "c": 0}
    assert found.reason.endswith(" is allowed: evicted; a is the only arm left")


def test_a_breach_in_the_first_data_is_obeyed_by_the_first_weights() -> None:
    experiment = spec()
    found = decide(experiment, seen(experiment, HARM), None, 1.0)
    assert shares(found)["c"] == 0
    assert found.weights.standing.breaches[0].version == 1


@pytest.mark.parametrize("status, gone", [("paused", True), ("stopped", False)])
def test_guardrails_act_in_a_paused_experiment_too(status: str, gone: bool) -> None:
    experiment, previous = before()
    at_rest = msgspec.structs.replace(experiment, status=status)
    found = decide(at_rest, seen(experiment, HARM), previous, 1.0)
    assert bool(found.weights.standing.breaches) == gone
    assert shares(found)["c"] == 0
    if gone:
        assert found.reason.endswith("evicted; paused: weights held")
        assert shares(decide(at_rest, seen(experiment, HARM), found.weights, 2.0)) == shares(found)


def test_a_fixed_split_goes_on_without_the_arm() -> None:
    experiment, previous = before(policy={"name": "fixed", "shares": {"a": 2, "b": 1, "c": 1}}, constraints=SLOW | {"floor": 0})
    found = decide(experiment, seen(experiment, HARM), previous, 1.0)
    assert found.failure is None
    assert shares(found) == {"a": 666_667, "b": 333_333, "c": 0}


# -- how long it stands ----------------------------------------------------------------------------------------------------------


def test_no_data_brings_an_arm_back() -> None:
    experiment, previous = before()
    out = decide(experiment, seen(experiment, HARM), previous, 1.0).weights
    after = decide(experiment, seen(experiment, FINE), out, 2.0)
    assert after.weights.standing == out.standing
    assert shares(after)["c"] == 0


def test_overruled_an_arm_comes_back_and_the_guardrail_only_alerts() -> None:
    experiment, previous = before()
    evidence = seen(experiment, HARM)
    out = decide(experiment, evidence, previous, 1.0).weights
    back = overrule(experiment, "buys", "c")
    found = decide(back, evidence, out, 2.0)
    assert shares(found)["c"] > 0
    assert [(b.action, b.version) for b in found.weights.standing.breaches] == [("alert", found.weights.version)]
    assert decide(back, seen(experiment, FINE), out, 2.0).weights.standing.breaches == (), "where it does not show any more"
    again = decide(overrule(back, "buys", "c", undo=True), evidence, found.weights, 3.0)
    assert shares(again)["c"] == 0


def test_a_breach_follows_the_spec_its_action_and_its_end() -> None:
    experiment, previous = before()
    evidence = seen(experiment, FINE)
    out = decide(experiment, seen(experiment, HARM), previous, 1.0).weights
    capped = decide(spec("cap"), evidence, out, 2.0)
    assert [breach.action for breach in capped.weights.standing.breaches] == ["cap"]
    assert 0 < shares(capped)["c"] <= 50_000
    assert decide(spec(guardrails={}), evidence, out, 2.0).weights.standing.breaches == ()
    fewer = spec(arms="ab")
    assert decide(fewer, seen(fewer, FINE), out, 2.0).weights.standing.breaches == ()


def test_what_stands_survives_the_record() -> None:
    experiment, previous = before()
    found = decide(experiment, seen(experiment, HARM), previous, 1.0).weights
    assert msgspec.json.decode(msgspec.json.encode(found), type=Weights) == found


# -- segments --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["evict", "cap", "stop"])
def test_segments_obey_the_breaches_of_the_experiment(action: str) -> None:
    experiment = spec(action, segments=["pro"], policy="per-segment")
    fine = seen(experiment, FINE, segment="pro")
    previous: dict[str | None, Weights] = {}
    for _ in range(30):
        previous = {at: found.weights for at, found in decide_all(experiment, fine, previous, 0.0).items()}
    assert shares(previous["pro"])["c"] > 900_000
    found = decide_all(experiment, seen(experiment, HARM, segment="pro"), previous, 1.0)
    assert set(found) == {None, "pro", "other"}
    for segment, decision in found.items():
        assert shares(decision)["c"] == (50_000 if action == "cap" else 0)
        assert decision.publish
        assert decision.weights.status == ("stopped" if action == "stop" else "running")
        assert bool(decision.weights.standing.breaches) == (segment is None)


# -- shares ----------------------------------------------------------------------------------------------------------------------


def test_what_an_evicted_arm_had_goes_to_control_if_nobody_had_anything() -> None:
    _, previous = before()
    arms = tuple(msgspec.structs.replace(arm, ppm=PPM if arm.id == "c" else 0) for arm in previous.arms)
    assert shares(remaining(msgspec.structs.replace(previous, arms=arms), ("c",), "a")) == {"a": PPM, "b": 0}


def test_what_a_limit_cuts_never_lifts_another_above_its_own() -> None:
    assert under(np.array([1.0, 0.1, 0.2]), (100_000, 150_000, 750_000)) == (700_000, 100_000, 200_000)
    assert under(np.array([1.0, 0.5, 0.05]), (100_000, 450_000, 450_000)) == (450_000, 500_000, 50_000)
    assert under(np.array([1.0, 0.05]), (0, PPM)) == (950_000, 50_000)
    assert under(None, (0, PPM)) == (0, PPM)


# -- the word of a person --------------------------------------------------------------------------------------------------------


def test_overruling_is_a_revision_of_the_spec_that_applying_it_again_keeps() -> None:
    experiment = spec()
    once = overrule(experiment, "buys", "c")
    assert (once.overruled, once.revision) == ({"buys": ("c",)}, 2)
    assert overrule(once, "buys", "c") is once
    assert overrule(once, "buys", "b").overruled == {"buys": ("b", "c")}
    assert revise(once, experiment) is once
    assert revise(once, spec(owner="me")).overruled == once.overruled
    assert revise(once, spec(guardrails={})).overruled == {}
    assert revise(once, spec(arms="ab")).overruled == {}
    assert revise(once, spec(control="c")).overruled == {}
    undone = overrule(once, "buys", "c", undo=True)
    assert (undone.overruled, undone.revision) == ({}, 3)
    assert overrule(undone, "buys", "c", undo=True) is undone


def test_guardrails_may_change_in_a_run() -> None:
    changed = revise(spec(), spec("stop", guardrails={"clicks": {"tolerance": "1%", "action": "stop"}}))
    assert changed.revision == 2
    assert list(changed.guardrails) == ["clicks"]


def test_what_cannot_be_overruled_is_told_at_once() -> None:
    with pytest.raises(SpecErrors) as error:
        overrule(spec(), "clicks", "a")
    assert [str(found) for found in error.value.errors] == [
        "metric: 'clicks': expected a guardrail: one of buys",
        "arm: 'a': expected an arm other than control: one of b, c",
    ]
    with pytest.raises(SpecErrors, match="a guardrail, and the spec has none"):
        overrule(spec(guardrails={}), "buys", "c")


def test_a_breach_in_a_line() -> None:
    experiment, previous = before()
    (breach,) = decide(experiment, seen(experiment, HARM), previous, 1.0).weights.standing.breaches
    assert breach_line(msgspec.structs.replace(breach, bound=-0.0775, units=12_000)) == (
        "guardrail buys broken by c: evict since version 31; -0.1 from control, bound -0.0775, 12,000 units"
    )
