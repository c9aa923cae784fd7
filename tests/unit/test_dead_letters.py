"""Dead letters without Kafka: what a record says, how letters are grouped and chosen, and which could be used now."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from allocator.spec import load_experiment
from streams.cli.dlt import _as_json, _preview
from streams.dead_letters import DeadLetterRecord, Group, grouped, is_wanted, note_of, parse_letter, parse_note
from streams.doctor import check_dead_letters
from streams.join.reasons import pattern, reason_class
from streams.records import Exposure, Reward, encode
from streams.redrive import Judge, Report
from streams.topics import Topics

TOPICS = Topics()
NOW = 1_764_000_000.0
HOUR_S = 3600.0
SPEC = load_experiment("{experiment: chat, arms: [a, b], metrics: {click: {type: binary, window: 1h}}, grace: 10m}")
UNKNOWN = "experiment: 'chat': expected the name of an applied experiment"


def raw(offset: int = 7, headers: tuple[tuple[str, bytes], ...] = (), **fields: Any) -> Any:
    """A record of the exposures' dead letters as aiokafka gives it."""
    shared = {"topic": "allocator.exposures.v1.dlt", "partition": 1, "timestamp": 5000, "key": b"u", "value": b"{}"}
    return SimpleNamespace(**shared | fields, offset=offset, headers=headers)


def letter(reason: str = UNKNOWN, **fields: Any) -> DeadLetterRecord:
    """One, whole and open unless said otherwise."""
    record = raw(headers=(("reason", reason.encode()),))
    return parse_letter(record, redriven=False)._replace(**fields)


def exposure(**changes: Any) -> DeadLetterRecord:
    fields = {"experiment": "chat", "unit": "u", "arm": "a", "propensity": 0.5, "ts": NOW, "exposure_id": "x"} | changes
    return letter(value=encode(Exposure(**fields)), key=fields["unit"].encode())


def reward(**changes: Any) -> DeadLetterRecord:
    fields = {"unit": "u", "metric": "click", "value": 1.0, "ts": NOW, "reward_id": "r", "experiment": "chat"} | changes
    return letter(value=encode(Reward(**fields)), key=b"u", topic=TOPICS.dead_letters(TOPICS.rewards))


# -- records -------------------------------------------------------------------------------------------------------------------


def test_headers_say_reason_and_origin() -> None:
    headers = (
        ("reason", b"arm: 'c': expected an arm of 'chat'"),
        ("origin-topic", b"allocator.exposures.v1"),
        ("origin-partition", b"3"),
        ("origin-offset", b"4711"),
        ("cut-from", b"900000"),
    )
    found = parse_letter(raw(headers=headers), redriven=True)
    assert (found.reason_class, found.origin, found.cut_from, found.time_s) == (
        "arm",
        "allocator.exposures.v1/3/4711",
        900_000,
        5,
    )
    assert (found.source, found.redriven) == ("allocator.exposures.v1", True)


def test_a_letter_somebody_else_wrote_without_headers_can_be_read() -> None:
    found = parse_letter(raw(headers=(("origin-offset", b"far"),)), redriven=False)
    assert (found.reason, found.reason_class, found.cut_from) == ("no reason given", "malformed", None)
    assert found.origin == "allocator.exposures.v1/?/?"


def test_a_note_is_read_as_it_was_written_and_a_letter_is_none() -> None:
    value, headers = note_of([3, 4, 9])
    assert parse_note(raw(value=value, headers=tuple(headers))) == [3, 4, 9]
    assert parse_note(raw(headers=(("reason", b"redriven"),))) is None


# -- reasons -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reason, shown",
    [
        (UNKNOWN, UNKNOWN),
        ("key: b'u\\'1': expected the unit, 'u-2'", "key: …: expected the unit, …"),
        ("key: missing: expected the unit", "key: missing: expected the unit"),
        ("ts: 1e+10: expected at most a day after the log time, 17.5", "ts: …: expected at most a day after the log time, …"),
        ('unit: "it\'s": has 64 rewards already', "unit: …: has … rewards already"),
        ("value: -7.5: expected 0 to 1", "value: …: expected 0 to 1"),
        ("JSON is malformed: invalid character (byte 17)", "JSON is malformed: invalid character (byte …)"),
        ("Expected `float` <= 1.0 - at `$.propensity`", "Expected `float` <= 1.0 - at `$.propensity`"),
    ],
)
def test_a_pattern_keeps_what_says_the_cause(reason: str, shown: str) -> None:
    assert pattern(reason) == shown
    assert pattern(shown) == shown


def test_groups_count_open_and_redriven_letters_and_their_span() -> None:
    groups: dict[tuple[str, str], Group] = {}
    keyed = [f"key: b'{unit}': expected the unit, 'v'" for unit in "abc"]
    grouped([letter(keyed[0], time_s=20.0), letter(keyed[1], time_s=10.0, redriven=True)], groups)
    grouped([letter(keyed[2], time_s=30.0), letter(UNKNOWN), letter(keyed[0], topic="other.dlt")], groups)
    first = groups["allocator.exposures.v1.dlt", "key: …: expected the unit, …"]
    assert (first.reason_class, first.open, first.redriven, first.first_s, first.last_s) == ("key", 2, 1, 10.0, 30.0)
    assert len(groups) == 3


def test_endless_reasons_do_not_make_endless_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.dead_letters.GROUPS_MAX", 3)
    groups: dict[tuple[str, str], Group] = {}
    grouped([letter(f"experiment: '{i}': expected the name of an applied experiment") for i in range(50)], groups)
    assert [group.open for group in groups.values()] == [1, 1, 1, 47]
    assert list(groups)[-1] == ("allocator.exposures.v1.dlt", "experiment: …")


@pytest.mark.parametrize(
    "reason, wanted",
    [(None, True), ("key", True), ("b'u-1'", True), ("key: …: expected", True), ("experiment", False), ("malformed", False)],
)
def test_letters_are_chosen_by_class_or_by_part_of_reason_or_pattern(reason: str | None, wanted: bool) -> None:
    assert is_wanted(letter("key: b'u-1': expected the unit, 'u-2'"), reason) is wanted


def test_what_begins_with_no_field_is_malformed() -> None:
    assert reason_class("Expected `object`, got `array`") == "malformed"
    assert reason_class("chat: no field") == "malformed"


# -- judging -------------------------------------------------------------------------------------------------------------------


def test_an_unknown_experiment_is_no_fault_once_its_spec_is_there() -> None:
    before, after = Judge(TOPICS, {}, NOW), Judge(TOPICS, {"chat": SPEC}, NOW)
    for dead in (exposure(), reward()):
        assert before.refusal(dead) == UNKNOWN
        assert after.refusal(dead) is None
        assert not after.is_late(dead)


@pytest.mark.parametrize(
    "dead, reason",
    [
        (exposure(arm="c"), "arm: 'c': expected an arm of 'chat'"),
        (exposure()._replace(key=b"v"), "key: b'v': expected the unit, 'u'"),
        (exposure()._replace(key=None), "key: missing: expected the unit"),
        (exposure()._replace(value=None), "Input data was truncated"),
        (exposure(ts=NOW + 90_000), f"ts: {NOW + 90_000!r}: expected at most a day after the log time, {NOW!r}"),
        (reward(metric="view"), "metric: 'view': expected a metric of 'chat'"),
        (reward(value=7.0), "value: 7.0: expected 0 or 1"),
        (exposure()._replace(cut_from=900_000), "cut from 900000 bytes: send the event itself again"),
    ],
)
def test_what_the_join_would_refuse_again_is_refused(dead: DeadLetterRecord, reason: str) -> None:
    assert Judge(TOPICS, {"chat": SPEC}, NOW).refusal(dead) == reason


def test_a_clock_ahead_is_forgiven_when_its_time_has_come() -> None:
    assert Judge(TOPICS, {"chat": SPEC}, NOW + 90_000).refusal(exposure(ts=NOW + 90_000)) is None


def test_letters_of_one_unit_are_judged_each_alone() -> None:
    """A fold of them all would stop at the rewards that may wait for an exposure, and see duplicates."""
    judge = Judge(TOPICS, {"chat": SPEC}, NOW)
    assert [judge.refusal(reward(reward_id=f"r-{i}")) for i in range(200)] == [None] * 200
    assert judge.refusal(exposure(arm="c")) is not None
    assert judge.refusal(exposure()) is None


def test_what_is_past_window_and_grace_is_late() -> None:
    judge = Judge(TOPICS, {"chat": SPEC}, NOW)
    for make in (exposure, reward):
        assert not judge.is_late(make(ts=NOW - HOUR_S - 599))
        assert judge.is_late(make(ts=NOW - HOUR_S - 601))
        assert judge.refusal(make(ts=NOW - HOUR_S - 601)) is None


def test_every_letter_looked_at_is_in_the_report_once() -> None:
    report = Report()
    report.add(exposure(), None, True)
    report.add(exposure(), None, False)
    report.add(reward(), UNKNOWN, False)
    report.add(exposure()._replace(cut_from=1, origin_partition=0, origin_offset=9), "cut", False)
    assert report.sent == {TOPICS.exposures: 2}
    assert (report.late, report.left) == (1, {(TOPICS.rewards, UNKNOWN): 1})
    assert report.cut == ["allocator.exposures.v1/0/9"]


# -- shown ---------------------------------------------------------------------------------------------------------------------


def test_values_that_are_no_text_are_base64_for_programs_and_escaped_for_people() -> None:
    found = _as_json(letter(value=b"\xff\x00", key=None))
    assert (found["value_base64"], "value" in found, found["key"]) == ("/wA=", False, None)
    assert _preview(b"\xff\x00\n\x1b[2J") == "\\xff\\x00\\n\\x1b[2J"
    assert _preview(None) == "(none)"
    assert _preview(b"x" * 500) == "x" * 200 + "… (500 bytes)"


def test_doctor_warns_of_open_letters_only() -> None:
    reason = (("reason", UNKNOWN.encode()),)
    value, headers = note_of([7])
    settled = [raw(7, reason), raw(9, value=value, headers=tuple(headers))]
    assert check_dead_letters("t", [], NOW).state == "ok"
    assert check_dead_letters("t", settled, NOW).state == "ok"
    check = check_dead_letters("t", [*settled, raw(7, reason, partition=2)], now=65.0)
    assert (check.state, check.found) == ("warn", f"1 or more, the newest 60 s ago: {UNKNOWN}")
    assert "allocator dlt list" in check.repair
