"""Health from a worker's memory: made of partials and decisions, kept for a while, and looked at one experiment at a time."""

from __future__ import annotations

from allocator.health import HealthCheck
from streams.allocate.totals import Totals
from streams.health import DUE_S, FRESH_S, Checkups, ExperimentHealth, publication_of, signs_of
from streams.records import COUNTERS, ArmState, Cell, Decision, Partial, VersionUnits
from streams.report.health import health_alarms
from tests.folding import Partition, experiment, exposure


def decision(version: int, **fields: object) -> Decision:
    arms = [ArmState(id=arm, n=1, mean=None, interval=None, p_best=0.5, ppm=500_000) for arm in "ab"]
    given = {"reason": "", "steps": {"policy": [1, 1]}, **fields}
    return Decision(
        experiment="chat", version=version, ts=float(version), policy="thompson", arms=arms, inputs={}, counters={}, spec_hash="",
        **given,
    )  # type: ignore[arg-type]  # fmt: skip


def found(name: str, ts: float) -> ExperimentHealth:
    return ExperimentHealth(name=name, state="ok", ts=ts, checks=[HealthCheck("weights", "ok", 1.0, "")])


def test_a_decision_is_a_publication_and_says_whether_it_was_held() -> None:
    assert publication_of(decision(3)).ppm == {"a": 500_000, "b": 500_000}
    assert not publication_of(decision(3)).held
    assert publication_of(decision(3, steps={"held": [1, 1]}, reason="held: why")).held


def test_signs_are_put_together_from_sums_and_decisions() -> None:
    folded = (
        Partition().chunk(exposure(unit="u", arm="a", weights_version=7), exposure(unit="v", arm="b", weights_version=7)).fold
    )
    totals, versions = Totals(), folded.versions.of["chat"]
    common = {"experiment": "chat", "partition": 0, "seq": 1, "event_ts": 1000.0}
    for name, sums in zip(folded.cells.names, folded.cells.sums, strict=True):
        totals.replace(Partial(period=0, cell=Cell(name.segment, name.arm, name.holdback, sums), **common))
    totals.replace(Partial(period=COUNTERS, counters={"exposures.applied": 2}, versions=versions.rows, **common))
    signs = signs_of(experiment(), totals, [decision(6), decision(7)], None, now=1001.0)
    assert (signs.units, signs.counters, signs.event_ts, signs.valid_until) == (2, {"exposures.applied": 2}, 1000.0, None)
    assert signs.versions.rows == [VersionUnits(7, 1000.0, {"a": (1, 2_000_000), "b": (1, 2_000_000)})]
    assert [publication.version for publication in signs.publications] == [6, 7]


def test_an_answer_is_given_again_for_a_while() -> None:
    checkups = Checkups()
    assert checkups.fresh("chat", 0.0) is None
    kept = checkups.take(found("chat", 10.0))
    assert checkups.fresh("chat", 10.0 + FRESH_S / 2) is kept
    assert checkups.fresh("chat", 10.0 + FRESH_S) is None
    assert checkups.fresh("chat", 9.0) is None, "the clock went back"


def test_who_was_not_looked_at_for_longest_is_due() -> None:
    checkups = Checkups()
    assert checkups.due([], 0.0) is None
    assert checkups.due(["chat", "mail"], 0.0) == "chat"
    checkups.take(found("chat", 0.0))
    assert checkups.due(["chat", "mail"], 1.0) == "mail"
    checkups.take(found("mail", 1.0))
    assert checkups.due(["chat", "mail"], DUE_S - 1) is None
    assert checkups.due(["chat", "mail"], DUE_S) == "chat"
    assert checkups.due(["mail"], DUE_S) is None
    assert checkups.due(["chat", "mail"], 2.0) == "chat", "it was forgotten when it was owned no more"


def test_what_is_broken_is_an_alarm_of_the_report() -> None:
    checks = [
        HealthCheck("sample ratio", "broken", 0.9, "b has 10.00% fewer units"),
        HealthCheck("weights", "broken", -5.0, "ran out"),
        HealthCheck("clocks", "warn", 12.0, "ahead"),
    ]
    (alarm,) = health_alarms("chat", checks)  # the weights' lease is the verdict's own
    assert (alarm.check, alarm.found) == ("sample ratio", "b has 10.00% fewer units")
    assert alarm.repair == "allocator health chat shows every check"
