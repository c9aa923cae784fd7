"""Health checks: each one raised by what it is for, silent without it, and unknown where too little is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from allocator.delay import LAG_BINS
from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.health import ALPHA, HealthCheck, Publication, Signs, health, worst
from allocator.health.counters import RULES
from allocator.health.rewards import rate_drop
from allocator.moments import inverse_propensity, layout_of
from allocator.standing import Breach, Standing
from allocator.versions import VersionTable
from tests.folding import experiment

CHAT = experiment(period="1h", lease="60s")
NOW = 10 * 3600.0 + 1800


def found(signs: Signs, name: str) -> HealthCheck:
    return next(check for check in health(signs) if check.name == name)


def sums(n: int, propensity: float, value: int = 0) -> list[int]:
    layout, cell = layout_of(1), layout_of(1).empty()
    layout.enter(cell, inverse_propensity(propensity), n)
    cell[1] = cell[layout.square[0]] = value
    return cell


def evidence(*periods: tuple[int, dict[str, tuple[int, float]]], spec: Experiment = CHAT, **fields: Any) -> Evidence:
    """Of {arm: (units, propensity)} by period."""
    of_period = {period: {arm: sums(*cell) for arm, cell in cells.items()} for period, cells in periods}
    total: dict[str, list[int]] = {}
    for cells in of_period.values():
        for arm, cell in cells.items():
            total[arm] = [a + b for a, b in zip(total.get(arm, [0] * len(cell)), cell, strict=True)]
    return Evidence(spec.arm_ids, 1, {"": total}, of_period, **fields)


def publication(version: int, a: int = 500_000, ts: float | None = None, reason: str = "") -> Publication:
    return Publication(version, NOW - 1000 + 10 * version if ts is None else ts, {"a": a, "b": 1_000_000 - a}, reason)


def table(*rows: tuple[int, float, int, int], propensity: float = 0.5) -> VersionTable:
    """Of (version, newest ts, units of a, units of b)."""
    made = VersionTable()
    for version, ts, a, b in rows:
        for arm, n in (("a", a), ("b", b)):
            if n:
                made.count(version, arm, n, n * inverse_propensity(propensity), ts)
    return made


def signs(**changes: Any) -> Signs:
    """A healthy experiment of two arms and ten periods."""
    even = [(period, {"a": (1000, 0.5), "b": (1000, 0.5)}) for period in range(10)]
    healthy = {
        "experiment": CHAT,
        "evidence": evidence(*even, read_until=NOW),
        "counters": {"exposures.applied": 20_000, "rewards.applied": 5000},
        "versions": table((1, NOW - 990, 500, 490), (2, NOW - 970, 495, 505)),
        "publications": [publication(1), publication(2)],
        "now": NOW,
        "event_ts": NOW,
        "valid_until": NOW + 30,
    }
    return Signs(**{**healthy, **changes})


def test_a_healthy_experiment_has_no_check_that_is_not_ok_but_what_needs_lags() -> None:
    states = {check.name: check.state for check in health(signs())}
    assert {name for name, state in states.items() if state != "ok"} == {"reward rate"}
    assert states["reward rate"] == "unknown"
    assert worst(health(signs())) == "ok"


def test_of_nothing_nothing_is_known() -> None:
    checks = health(Signs(experiment=CHAT, evidence=Evidence(CHAT.arm_ids, 1, {}), counters={}, now=NOW))
    assert {check.state for check in checks} == {"unknown"}
    assert worst(checks) == "unknown"
    assert all(check.figure is None and check.sentence for check in checks)


def test_names_are_the_same_and_in_the_same_order_whatever_is_found() -> None:
    empty = Signs(experiment=CHAT, evidence=Evidence(CHAT.arm_ids, 1, {}), counters={}, now=NOW)
    names = [check.name for check in health(empty)]
    assert names == [check.name for check in health(signs())]
    assert len(set(names)) == len(names)


# -- sample ratio ----------------------------------------------------------------------------------------------------------------


def test_an_arm_that_loses_units_breaks_the_sample_ratio() -> None:
    lost = evidence(*((period, {"a": (10_000, 0.5), "b": (9_500, 0.5)}) for period in range(10)))
    check = found(signs(evidence=lost), "sample ratio")
    assert check.state == "broken"
    assert check.figure == pytest.approx(0.974, abs=0.001)
    assert check.sentence.startswith("b has 2.56% fewer units")


def moved(begin: dict[str, tuple[int, float]], end: dict[str, tuple[int, float]]) -> Evidence:
    return evidence(*((p, begin) for p in range(5)), *((p, end) for p in range(5, 10)))


def test_shares_that_move_do_not_break_it() -> None:
    drifting = moved({"a": (5000, 0.5), "b": (5000, 0.5)}, {"a": (1000, 0.1), "b": (9000, 0.9)})
    assert found(signs(evidence=drifting), "sample ratio").state == "ok"


def test_an_arm_added_in_the_run_does_not_break_it() -> None:
    late = moved({"a": (10_000, 1.0)}, {"a": (5000, 0.5), "b": (5000, 0.5)})
    assert found(signs(evidence=late), "sample ratio").state == "ok"
    new = evidence(*((p, {"a": (10_000, 1.0)}) for p in range(10)))
    assert found(signs(evidence=new), "sample ratio").state == "unknown", "its first unit is still to come"
    for_long = signs(evidence=new, publications=[publication(1, ts=0.0), publication(2)])
    assert found(for_long, "sample ratio").state == "broken", "it has had half of all traffic for hours and not a unit"


def test_an_arm_that_was_evicted_does_not_break_it() -> None:
    gone = moved({"a": (5000, 0.5), "b": (5000, 0.5)}, {"a": (10_000, 1.0)})
    at = [publication(1, ts=0.0), publication(2, a=1_000_000, ts=5 * 3600.0 - 60)]
    assert found(signs(evidence=gone, publications=at), "sample ratio").state == "ok"
    assert found(signs(evidence=gone, publications=at[:1]), "sample ratio").state == "broken", "the control: not evicted"
    breach = Breach(metric="m", arm="b", action="evict", version=2, ts=5 * 3600.0 - 60, units=1, estimate=0.0, bound=0.0)
    only_new = signs(
        evidence=gone, publications=[publication(3, a=1_000_000, ts=9 * 3600.0)], standing=Standing(breaches=(breach,))
    )
    assert found(only_new, "sample ratio").state == "ok"


def test_an_arm_removed_in_the_run_does_not_break_it() -> None:
    three = {"a": (3000, 1 / 3), "b": (3000, 1 / 3), "c": (3000, 1 / 3)}
    left = moved(three, {"a": (4500, 0.5), "b": (4500, 0.5)})
    assert found(signs(evidence=left), "sample ratio").state == "ok"


def test_chance_breaks_it_seldom() -> None:
    rng = np.random.default_rng(5)
    alarms = 0
    for _ in range(200):
        a = int(rng.binomial(20_000, 0.5))
        alarms += found(signs(evidence=evidence((0, {"a": (a, 0.5), "b": (20_000 - a, 0.5)}))), "sample ratio").state == "broken"
    assert alarms <= 200 * ALPHA + 2


# -- versions --------------------------------------------------------------------------------------------------------------------


def test_a_version_whose_units_do_not_follow_its_shares_is_named() -> None:
    check = found(signs(versions=table((1, NOW, 500, 500), (2, NOW, 700, 300))), "shares by version")
    assert check.state == "broken"
    assert check.figure == pytest.approx(0.2)
    assert check.sentence.startswith("version 2 gave a 70.00% of 1000 units and published 50.00%")


def test_a_later_version_needs_more_evidence() -> None:
    def state(version: int) -> str:
        known = [publication(version)]
        return found(signs(versions=table((version, NOW, 575, 425)), publications=known), "shares by version").state

    assert (state(1), state(100_000)) == ("broken", "ok")


def test_units_of_an_arm_without_a_share_cannot_be() -> None:
    known = [publication(1, a=1_000_000)]
    changed = signs(versions=table((1, NOW, 1000, 1)), publications=known)
    assert found(changed, "shares by version").state == "broken"
    assert found(changed, "propensities").state == "broken"


def test_a_propensity_that_was_not_published_is_found_without_chance() -> None:
    wrong = table((1, NOW, 1000, 1000))
    wrong.count(2, "b", 5, 5 * inverse_propensity(0.3), NOW)
    check = found(signs(versions=wrong), "propensities")
    assert check.state == "warn"
    assert "b under version 2 is logged with 0.3 and was published with 0.5" in check.sentence
    rounded = table((1, NOW, 30, 30), propensity=0.33)
    thirds = [Publication(1, NOW, {"a": 333_333, "b": 333_333, "c": 333_334})]
    assert found(signs(versions=rounded, publications=thirds), "propensities").state == "ok"


def test_exposures_that_name_no_version_say_so() -> None:
    for name in ("shares by version", "propensities", "router staleness"):
        check = found(signs(versions=table((0, NOW, 500, 500))), name)
        assert (check.state, "weights_version" in check.sentence) == ("unknown", True)


@pytest.mark.parametrize("served_s, state", [(5.0, "ok"), (30.0, "warn"), (100.0, "broken")])
def test_a_router_that_serves_what_was_replaced_is_stale(served_s: float, state: str) -> None:
    known = [publication(1, ts=NOW - 500), publication(2, ts=NOW - 110)]
    stale = signs(versions=table((1, NOW - 110 + served_s, 10, 10), (2, NOW, 500, 500)), publications=known)
    check = found(stale, "router staleness")
    assert (check.state, check.figure) == (state, served_s)


def test_a_router_on_a_version_long_gone_is_stale_and_one_that_was_mended_is_not() -> None:
    known = [publication(version, ts=NOW - 400 + 20 * version) for version in range(1, 21)]
    rows = [(version, NOW - 400 + 20 * version + 19, 10, 10) for version in range(1, 21)]
    assert found(signs(versions=table(*rows), publications=known), "router staleness").state == "ok"
    old = signs(versions=table(*rows, (2, NOW - 5, 1, 0)), publications=known)
    assert found(old, "router staleness").state == "broken"
    assert "version 2 was still served 6 min after the next" in found(old, "router staleness").sentence
    later = table(*rows, (2, NOW - 5, 1, 0), (20, NOW + 1000, 1, 1))
    assert found(signs(versions=later, publications=known), "router staleness").state == "ok", "it was mended since"


def test_a_version_nobody_published_is_noted() -> None:
    check = found(signs(versions=table((99, NOW, 10, 10))), "router staleness")
    assert (check.state, "99" in check.sentence) == ("warn", True)


def test_clocks_that_are_ahead_or_behind() -> None:
    ahead = signs(versions=table((2, NOW + 120, 10, 10)))
    assert (found(ahead, "clocks").state, found(ahead, "clocks").figure) == ("warn", 120.0)
    behind = signs(versions=table((2, NOW - 8000, 10, 10)), publications=[publication(1), publication(2, ts=NOW - 900)])
    assert (found(behind, "clocks").state, found(behind, "clocks").figure) == ("broken", -7100.0)


# -- rewards ---------------------------------------------------------------------------------------------------------------------


def rated(counts: list[int], n: int = 1000, metrics: int = 1) -> Signs:
    """Ten rewards in a hundred units came within the first bin; `counts` are those of arm a by period."""
    lags = {period: {"a": [[count, *[0] * (LAG_BINS - 1)]]} for period, count in enumerate(counts)}
    given = evidence(*((p, {"a": (n, 0.5), "b": (n, 0.5)}) for p in range(len(counts))), read_until=NOW)
    return signs(evidence=replace(given, lags=lags))


def test_a_rate_that_falls_is_found_and_one_that_does_not_is_not() -> None:
    steady = [300, 288, 324, 297, 309, 282, 303, 300, 315, 291]
    assert found(rated(steady), "reward rate").state == "ok"
    halved = found(rated([*steady[:-1], 150]), "reward rate")
    assert (halved.state, halved.figure) == ("warn", pytest.approx(-0.5, abs=0.02))
    assert found(rated([*steady[:-1], 9]), "reward rate").state == "broken"
    # the same fall is nothing where periods scatter as much
    assert found(rated([300, 60, 540, 180, 450, 120, 570, 90, 510, 150]), "reward rate").state == "ok"


def test_a_rate_is_judged_at_equal_age() -> None:
    young = rated([100] * 9 + [100])
    lags = {**young.evidence.lags}
    for period in range(9):  # the others have had hours more: their late rewards must not count against the newest period
        lags[period] = {"a": [[100, *[0] * (LAG_BINS - 2), 900]]}
    drop = rate_drop(replace(young, evidence=replace(young.evidence, lags=lags)), "thumbs_up")
    assert drop is not None
    assert (drop.expected, drop.observed) == (100.0, 100.0)


def test_traffic_that_moves_to_a_poorer_arm_is_no_fall() -> None:
    rates, n = {"a": 0.5, "b": 0.1}, [(900, 100)] * 9 + [(100, 900)]
    given = evidence(*((p, {"a": (a, 0.5), "b": (b, 0.5)}) for p, (a, b) in enumerate(n)), read_until=NOW)
    rest = [0] * (LAG_BINS - 1)
    lags = {p: {"a": [[round(rates["a"] * a), *rest]], "b": [[round(rates["b"] * b), *rest]]} for p, (a, b) in enumerate(n)}
    assert found(signs(evidence=replace(given, lags=lags)), "reward rate").state == "ok"


def test_units_without_a_single_reward() -> None:
    none = {"exposures.applied": 20_000}
    assert found(signs(counters=none), "exposures without rewards").state == "broken"
    few = evidence((0, {"a": (100, 0.5), "b": (100, 0.5)}))
    assert found(signs(counters=none, evidence=few), "exposures without rewards").state == "warn"


def test_rewards_that_name_no_experiment_are_seen_by_what_they_changed() -> None:
    unnamed = rated([0, 40])
    unnamed = replace(unnamed, counters={key: n for key, n in unnamed.counters.items() if not key.startswith("rewards")})
    assert found(unnamed, "exposures without rewards").state == "ok"


def test_rewards_that_stopped_are_noted() -> None:
    silent = replace(signs().evidence, read_until=NOW - 3 * 3600)
    check = found(signs(evidence=silent), "exposures without rewards")
    assert (check.state, "2 h" in check.sentence or "3 h" in check.sentence) == ("warn", True)


# -- counters and weights --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_has_its_states(rule: Any) -> None:
    def state(share: float) -> str:
        bad = round(100_000 * share)
        base = rule.of or "exposures."
        counters = {f"{base}applied": 100_000 - bad, rule.outcomes[0]: bad}
        check = found(signs(counters=counters), rule.name)
        assert check.figure == pytest.approx(bad / 100_000)
        return check.state

    assert state(0.0) == "ok"
    assert state(rule.warn * 1.1 + 0.0001) == "warn"
    if rule.broken < 1:
        assert state(rule.broken * 1.1) == "broken"


def test_one_dead_letter_is_worth_a_look_however_few_events_there_are() -> None:
    check = found(signs(counters={"exposures.applied": 3, "rewards.dead": 1}), "dead letters")
    assert (check.state, "allocator dlt list" in check.sentence) == ("warn", True)


def test_weights_that_ran_out_or_are_held() -> None:
    assert found(signs(valid_until=NOW - 1), "weights").state == "broken"
    held = [replace(publication(v, ts=NOW - 900 + v, reason="held: no weights"), held=v > 1) for v in (1, 2, 3)]
    check = found(signs(publications=held), "weights")
    assert (check.state, check.figure, "held: no weights" in check.sentence) == ("broken", 898.0, True)
    assert found(signs(publications=held, now=NOW - 800), "weights").state == "warn"
    assert found(signs(publications=[*held, publication(4)]), "weights").state == "ok"


def test_a_collapse_is_early_only_before_there_are_units() -> None:
    few = evidence((0, {"a": (5000, 0.5), "b": (150, 0.5)}))
    gone = [publication(1, a=980_000)]
    assert found(signs(evidence=few, publications=gone), "early collapse").state == "warn"
    assert found(signs(publications=gone), "early collapse").state == "ok"
    fixed = experiment(period="1h", policy={"name": "fixed", "shares": {"a": 0.98, "b": 0.02}})
    assert found(signs(experiment=fixed, evidence=few, publications=gone), "early collapse").state == "ok"
