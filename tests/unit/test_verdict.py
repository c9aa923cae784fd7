"""What to do with an experiment: each rule by itself, their order, and the whole way from moments."""

from __future__ import annotations

import sys
from dataclasses import replace
from math import inf, nan
from typing import Any

import msgspec
import numpy as np
import pytest

from allocator.decide import decide
from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.inference import Estimate
from allocator.posterior import NormalPosteriors
from allocator.spec import load_experiment
from allocator.standing import Breach
from allocator.verdict import RULES, Alarm, Case, lease_alarms, verdict
from tests.trained import evidence_of, sums_of

DAY_S = 86400.0


def spec(**changes: Any) -> Experiment:
    wanted = {"experiment": "shop", "arms": ["a", "b", "c"], "metrics": {"clicks": {"type": "binary", "window": "1h"}}}
    return load_experiment({**wanted, "period": "1d", **changes})


def effect(arm: str, estimate: float, half: float, n: int = 10_000, refusal: str = "") -> Estimate:
    return Estimate(arm, "difference", estimate, estimate - half, estimate + half, 0.025, n, "test", ("units",), refusal=refusal)


def case(*effects: Estimate, sd: float = 0.001, breaches: tuple[Breach, ...] = (), **changes: Any) -> Case:
    """Control at a mean of 1, the others where their effects say."""
    means = np.array([1.0, *(1 + x.estimate for x in effects)])
    experiment = changes.pop("experiment", spec(arms=["a", *(x.arm for x in effects)]))
    posteriors = NormalPosteriors(experiment.arm_ids, means, np.full(len(means), sd), changes.pop("down", False))
    units = (5000,) * len(means)
    changes = {"lifts": {x.arm: x.estimate for x in effects}, **changes}
    return Case(experiment, effects, posteriors, units, now=10 * DAY_S, breaches=breaches, since=0.0, **changes)


def breach(arm: str, action: Any) -> Breach:
    return Breach(metric="cost", arm=arm, action=action, version=7, ts=0.0, units=900, estimate=0.2, bound=0.11)


B_WINS, C_LOSES = effect("b", 0.10, 0.05), effect("c", -0.10, 0.05)
UNDECIDED = (effect("b", 0.03, 0.06), effect("c", -0.10, 0.05))


# -- each rule -------------------------------------------------------------------------------------------------------------------


def test_over():
    stopped = case(B_WINS, experiment=msgspec.structs.replace(spec(arms=["a", "b"]), status="stopped"))
    assert (verdict(stopped).headline, verdict(stopped).rule) == ("stop", "over")
    assert verdict(stopped).reason == "the experiment is stopped: all traffic goes to a"
    assert verdict(case(C_LOSES, promoted="c")).headline == "promote c"


@pytest.mark.parametrize(
    "status,headline", [("promoted", "promote b"), ("archived", "promote b"), ("stopped", "stop"), ("draft", "keep going")]
)
def test_the_status_of_a_spec_decides(status: str, headline: str):
    changed = msgspec.structs.replace(spec(arms=["a", "b"]), status=status, promoted=None if status == "draft" else "b")
    assert verdict(Case.of(changed, Evidence(("a", "b"), len(changed.columns), {}), 0.0)).headline == headline


def test_health():
    alarms = (
        Alarm("sample ratio", "b has 48 % of the units, 50 % were meant", "find where units are lost"),
        Alarm("x", "y", "z"),
    )
    found = verdict(case(B_WINS, alarms=alarms))
    assert (found.headline, found.rule) == ("broken", "health")
    assert found.reason == "sample ratio: b has 48 % of the units, 50 % were meant; find where units are lost (1 more alarm)"


def test_a_guardrail_that_stops():
    found = verdict(case(B_WINS, C_LOSES, breaches=(breach("c", "stop"),)))
    assert (found.headline, found.arm, found.rule) == ("stop", "a", "stopped by a guardrail")
    assert found.reason == "stopped by guardrail cost: c is 0.2 above control, by at least 0.11"
    assert found.cautions == ()


def test_nothing_left():
    found = verdict(case(B_WINS, C_LOSES, breaches=(breach("b", "evict"), breach("c", "evict"))))
    assert (found.headline, found.arm, found.rule) == ("stop", "a", "nothing left")
    assert found.reason == "every arm but control has been evicted: guardrail cost: b is 0.2 above control, by at least 0.11"
    assert found.cautions == ("guardrail cost: c is 0.2 above control, by at least 0.11: evicted",)


@pytest.mark.parametrize(
    "tolerance, mean, figures",
    [
        ("1%", 4.0, "5 % above control, by at least 2.75 %, 1 % is allowed"),
        ("1%", nan, "0.2 above control, by at least 0.11, 1 % of its mean is allowed"),
        (0.05, 4.0, "0.2 above control, by at least 0.11, 0.05 is allowed"),
    ],
)
def test_an_eviction_is_told_with_arm_metric_estimate_and_tolerance(tolerance: Any, mean: float, figures: str):
    """Where it is the reason, and where it is not."""
    metrics = {"clicks": {"type": "binary", "window": "1h"}, "cost": {"type": "value", "direction": "down", "window": "1h"}}
    guarded = spec(metrics=metrics, objective="clicks", guardrails={"cost": {"tolerance": tolerance, "action": "evict"}})
    told = {"experiment": guarded, "breaches": (breach("c", "evict"),), "control_means": {("cost", "c"): mean}}
    found = verdict(case(B_WINS, C_LOSES, **told))
    assert found.headline == "promote b"
    assert found.cautions == (f"guardrail cost: c is {figures}: evicted",)
    two = msgspec.structs.replace(guarded, arms=(guarded.arms[0], guarded.arms[2]))
    alone = verdict(case(effect("c", 0.3, 0.05), **{**told, "experiment": two}))
    assert (alone.headline, alone.rule) == ("stop", "nothing left")
    assert alone.reason == f"c has been evicted: guardrail cost: c is {figures}"
    assert alone.cautions == ()


def test_winner():
    found = verdict(case(B_WINS, C_LOSES))
    assert (found.headline, found.arm, found.rule) == ("promote b", "b", "winner")
    assert found.reason == "b is better than a on clicks: +0.1 (+0.05 to +0.15), a lift of +10.0 %"


def test_an_evicted_arm_does_not_win_and_stands_in_nobodys_way():
    better = effect("c", 0.3, 0.05)
    assert verdict(case(B_WINS, better)).headline == "promote c"
    assert verdict(case(B_WINS, better, breaches=(breach("c", "evict"),))).headline == "promote b"
    assert verdict(case(B_WINS, better, breaches=(breach("c", "alert"),))).headline == "promote c"


def test_two_equally_good_arms_do_not_run_for_ever():
    twins = (effect("b", 0.10, 0.05), effect("c", 0.10, 0.05))
    assert verdict(case(*twins, sd=0.005)).headline == "promote b"
    found = verdict(case(*twins, sd=0.05))
    assert (found.headline, found.rule) == ("keep going", "undecided")
    assert "another arm may be better still" in found.reason


def test_down_is_better_for_some_metrics():
    metrics = {"clicks": {"type": "binary", "direction": "down", "window": "1h"}}
    found = verdict(case(B_WINS, C_LOSES, down=True, experiment=spec(metrics=metrics)))
    assert found.headline == "promote c"
    assert found.reason == "c is better than a on clicks: -0.1 (-0.15 to -0.05), a lift of -10.0 %"


def test_futility():
    found = verdict(case(effect("b", 0.002, 0.005), effect("c", -0.02, 0.01)))
    assert (found.headline, found.arm, found.rule) == ("stop", "a", "futility")
    assert found.reason == "no arm can be worth 1 % more than a on clicks: at most b, +0.002 (-0.003 to +0.007), a lift of +0.2 %"
    assert verdict(case(effect("b", 0.002, 0.005), effect("c", -0.02, 0.05))).headline == "keep going"


def test_undecided_says_how_many_units_are_missing():
    found = verdict(case(*UNDECIDED))
    assert (found.headline, found.arm, found.rule) == ("keep going", None, "undecided")
    assert found.reason == "b leads on clicks, undecided: +0.03 (-0.03 to +0.09), a lift of +3.0 %"
    assert found.remaining is not None
    assert found.remaining.units == pytest.approx(10_000 * (2**2 - 1))  # half the half-width: four times the units
    assert found.remaining.days == pytest.approx(30_000 / 1500)  # 15 000 units in ten days


def test_where_futility_is_nearer_it_is_what_is_waited_for():
    found = verdict(case(effect("b", -0.01, 0.06)))
    assert found.reason == "a leads on clicks, undecided: b is nearest, -0.01 (-0.07 to +0.05), a lift of -1.0 %"
    assert found.remaining is not None
    assert found.remaining.units == pytest.approx(10_000 * (3**2 - 1))  # until +5 % has become +1 %


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"units": (0, 0, 0)}, "no unit has been counted yet"),
        ({"effects": (effect("b", nan, inf, n=0),) * 2, "ready_at": 10 * DAY_S + 7200}, "the first are in 2 h"),
        ({"effects": (effect("b", 0.1, inf, refusal="worth 12 units"),) * 2}, "too little is known of b: worth 12 units"),
        ({"breaches": (breach("b", "freeze"), breach("c", "cap"))}, "there is no arm to compare with control"),
    ],
)
def test_undecided_for_want_of_data(changes: dict[str, Any], reason: str):
    found = verdict(replace(case(*UNDECIDED), **changes))
    assert found.headline == "keep going"
    assert reason in found.reason
    assert found.remaining is None


def test_rules_are_asked_in_the_order_of_the_table():
    """Everything at once; what spoke is taken away, and the next one speaks."""
    rows = [
        line.split("|")[1].strip() for line in (sys.modules[verdict.__module__].__doc__ or "").splitlines() if line[:1] == "|"
    ]
    assert rows[2:] == [name for name, _ in RULES]
    evicted = (breach("b", "evict"), breach("c", "stop"))
    now = case(B_WINS, C_LOSES, breaches=evicted, promoted="b", alarms=(Alarm("x", "y", "z"),))
    spoken = [verdict(now).rule]
    for change in (
        {"promoted": None},
        {"alarms": ()},
        {"breaches": (breach("b", "evict"), breach("c", "evict"))},
        {"breaches": ()},
    ):
        now = replace(now, **change)  # type: ignore[arg-type]
        spoken.append(verdict(now).rule)
    assert spoken == [name for name, _ in RULES][:5]


def test_cautions_go_along():
    assert verdict(case(B_WINS, cautions=("the effect fades",))).cautions == ("the effect fades",)


# -- from moments ----------------------------------------------------------------------------------------------------------------


def counted(rates: dict[str, float], units: int, days: int = 4) -> Case:
    experiment = spec()
    cells = {
        ("", day, arm): sums_of(units, [round(units * rate)], weight=3.0) for day in range(days) for arm, rate in rates.items()
    }
    return Case.of(experiment, evidence_of(experiment, cells), now=(days + 1) * DAY_S)


def test_from_moments():
    assert verdict(counted({"a": 0.10, "b": 0.14, "c": 0.10}, 5000)).headline == "promote b"
    assert verdict(counted({"a": 0.10, "b": 0.11, "c": 0.10}, 500)).headline == "keep going"
    assert verdict(counted({"a": 0.50, "b": 0.45, "c": 0.45}, 20_000)).rule == "futility"
    found = verdict(counted({"a": 0.10, "b": 0.11, "c": 0.10}, 500))
    assert "for all arms together at 0.05" in found.method
    assert found.assumptions


def test_expected_units_are_about_right():
    """With as many units more as were said to be missing, the same rates decide within a factor of two."""
    rates = {"a": 0.10, "b": 0.112, "c": 0.10}
    first = verdict(counted(rates, 2000))
    assert first.remaining is not None
    more = first.remaining.units / (3 * 2000 * 4)
    assert verdict(counted(rates, round(2000 * (1 + more / 2)))).headline == "keep going"
    assert verdict(counted(rates, round(2000 * (1 + more * 2)))).headline == "promote b"


def test_unfinished_periods_do_not_count():
    experiment = spec()
    cells = {("", 0, arm): sums_of(5000, [hits], weight=3.0) for arm, hits in (("a", 500), ("b", 900), ("c", 500))}
    early = Case.of(experiment, evidence_of(experiment, cells), now=0.9 * DAY_S)
    assert verdict(early).reason == "no unit's rewards are all in yet, the first are in 4 h"
    assert verdict(Case.of(experiment, evidence_of(experiment, cells), now=3 * DAY_S)).headline == "promote b"


def test_alarms_of_the_weights():
    experiment = spec()
    weights = decide(experiment, {}, None, 1000.0).weights
    assert lease_alarms(experiment, weights, 1000.0) == lease_alarms(experiment, None, 1000.0) == ()
    (alarm,) = lease_alarms(experiment, weights, 1000.0 + experiment.lease_s + 300)
    assert alarm.found == "the weights ran out 5 min ago, so that routers serve a"
    held = msgspec.structs.replace(weights, reason="held: policy: nan: expected weights")
    assert [alarm.check for alarm in lease_alarms(experiment, held, 1000.0)] == ["policy"]
    assert lease_alarms(msgspec.structs.replace(experiment, status="stopped"), weights, 1e9) == ()
